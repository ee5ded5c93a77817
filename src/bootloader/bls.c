/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries of the Boot Loader Specification (uapi-group.org/specifications), type 1, and the default of systemd-boot's loader.conf. */
#include "bootloader/config.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

struct bls_entry {
        const char *id, *title, *version, *sort_key, *machine, *kernel;
        struct text options;
        unsigned n_initrds;
        const char *initrds[MENU_INITRDS_MAX];
};

struct bls {
        struct config *config;
        struct pool *pool;
        const char *(*variable)(void *opaque, const char *name);
        void *opaque;
        unsigned n;
        struct bls_entry entries[MENU_ENTRIES_MAX];
};

static void add_name(const char *name, void *opaque)
{
        struct bls *b = opaque;
        size_t n = strlen(name);

        if (n > 5 && strcmp(name + n - 5, ".conf") == 0 && b->n < MENU_ENTRIES_MAX)
                b->entries[b->n++].id = pool_strndup(b->pool, name, n - 5);
}

/* --- One entry --- */

static void add_option(struct bls *b, struct bls_entry *e, const char *word, size_t n)
{
        const char *value = NULL;

        if (*word == '$' && b->variable)
                value = b->variable(b->opaque, pool_strndup(b->pool, word + 1, n - 1));
        if (*word == '$' && b->variable && (!value || !*value))
                return;
        if (e->options.len)
                text_add_str(&e->options, " ");
        if (value)
                text_add_str(&e->options, value);
        else
                text_add(&e->options, word, n);
}

static void add_options(struct bls *b, struct bls_entry *e, const char *value)
{
        while (*value) {
                size_t n = strcspn(value, " \t");

                if (n)
                        add_option(b, e, value, n);
                value += n + strspn(value + n, " \t");
        }
}

/* Words that begin with $ name variables of GRUB here too. */
static void add_initrds(struct bls *b, struct bls_entry *e, const char *value)
{
        while (*value) {
                size_t n = strcspn(value, " \t");

                if (n && *value != '$' && e->n_initrds < MENU_INITRDS_MAX)
                        e->initrds[e->n_initrds++] = pool_strndup(b->pool, value, n);
                value += n + strspn(value + n, " \t");
        }
}

static void entry_line(struct bls *b, struct bls_entry *e, const char *key, const char *value)
{
        const struct {
                const char *key, **field;
        } fields[] = {
                { "title", &e->title }, { "version", &e->version }, { "sort-key", &e->sort_key }, { "machine-id", &e->machine },
                { "linux", &e->kernel },
        };

        if (strcmp(key, "options") == 0)
                add_options(b, e, value);
        else if (strcmp(key, "initrd") == 0)
                add_initrds(b, e, value);
        for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
                if (strcmp(key, fields[i].key) == 0)
                        *fields[i].field = value;
}

/* Calls fn for each line "key value" of a text, which it takes apart. */
static void each_line(char *text, void (*fn)(void *opaque, const char *key, const char *value), void *opaque)
{
        for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *key = line + strspn(line, " \t"), *value, *end = key + strlen(key);

                while (end > key && strchr(" \t\r", end[-1]))
                        *--end = 0;
                if (!*key || *key == '#')
                        continue;
                value = key + strcspn(key, " \t");
                if (*value) {
                        *value++ = 0;
                        value += strspn(value, " \t");
                }
                fn(opaque, key, value);
        }
}

struct reading {
        struct bls *b;
        struct bls_entry *e;
};

static void read_line(void *opaque, const char *key, const char *value)
{
        struct reading *r = opaque;

        entry_line(r->b, r->e, key, value);
}

static char *join(struct pool *pool, const char *folder, const char *name)
{
        struct text t = { .pool = pool };

        text_add_str(&t, folder);
        text_add_str(&t, name);
        return (char *)text_get(&t);
}

static int read_entry(struct bls *b, struct bls_entry *e)
{
        struct reading reading = { b, e };
        char *path = join(b->pool, join(b->pool, b->config->path, e->id), ".conf"), *text;
        size_t n;
        int r = fs_read_file(b->config->fs, path, CONFIG_SIZE_MAX / 16, &text, &n, b->config->trouble);

        if (r < 0)
                return r == -ENOENT ? 0 : r; /* a folder, say */
        e->options.pool = b->pool;
        each_line(text, read_line, &reading);
        return 0;
}

/* --- Their order --- */

static int order(const char *a, const char *b, int (*cmp)(const char *, const char *))
{
        return a && b ? cmp(a, b) : 0;
}

/* With a sort key first; then by key and machine; newer versions first. */
static int compare(const void *x, const void *y)
{
        const struct bls_entry *a = x, *b = y;
        int r = !a->sort_key - !b->sort_key;

        if (!r && a->sort_key) {
                r = strcmp(a->sort_key, b->sort_key);
                if (!r)
                        r = order(a->machine, b->machine, strcmp);
                if (!r)
                        r = -order(a->version, b->version, strverscmp);
        }
        return r ? r : -strverscmp(a->id, b->id);
}

static void to_menu(struct bls *b, const struct bls_entry *e)
{
        struct menu_entry *m = e->kernel ? menu_add(b->config->menu, e->title ? e->title : e->id, -1) : NULL;

        if (!m)
                return;
        m->id = e->id;
        m->kernel = e->kernel;
        m->args = text_get(&e->options);
        m->n_initrds = e->n_initrds;
        memcpy(m->initrds, e->initrds, sizeof(m->initrds));
        m->base = strncmp(b->config->path, "/boot/", 6) == 0 ? "/boot" : NULL;
}

static void loader_line(void *opaque, const char *key, const char *value)
{
        struct bls *b = opaque;

        if (strcmp(key, "default") != 0)
                return;
        for (unsigned i = 0; i < b->n; i++) {
                const char *id = b->entries[i].id;

                if (fnmatch(value, id, 0) == 0 || fnmatch(value, join(b->pool, id, ".conf"), 0) == 0) {
                        b->config->menu->chosen = id;
                        return;
                }
        }
}

/* loader.conf is beside the folder with the entries. */
static void read_default(struct bls *b)
{
        const char *folder = b->config->path;
        struct trouble none;
        char *text;
        size_t n;

        if (fs_read_file(b->config->fs, join(b->pool, folder, "../loader.conf"), CONFIG_SIZE_MAX / 16, &text, &n, &none) == 0)
                each_line(text, loader_line, b);
}

int bls_read(struct config *c, const char *(*variable)(void *opaque, const char *name), void *opaque)
{
        struct pool *pool = c->menu->pool;
        struct bls *b = pool_alloc(pool, sizeof(*b));
        int r;

        *b = (struct bls){ .config = c, .pool = pool, .variable = variable, .opaque = opaque };
        r = c->fs->ops->list(c->fs, c->path, add_name, b, c->trouble);
        for (unsigned i = 0; r >= 0 && i < b->n; i++)
                r = read_entry(b, &b->entries[i]);
        if (r < 0)
                return r;
        qsort(b->entries, b->n, sizeof(b->entries[0]), compare);
        for (unsigned i = 0; i < b->n; i++)
                to_menu(b, &b->entries[i]);
        if (!variable)
                read_default(b);
        return (int)b->n;
}
