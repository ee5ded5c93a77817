/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/grub.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

#define ENVIRONMENT_MAX 65536

/* The path on the configuration's own file system, or NULL if it is on another device. */
static const char *own_path(struct grub *g, const char *path)
{
        static const char own[] = "(" GRUB_OWN_DEVICE ")";

        if (strncmp(path, own, sizeof(own) - 1) == 0)
                path += sizeof(own) - 1;
        else if (strcmp(grub_get(g, "root"), GRUB_OWN_DEVICE) != 0)
                return NULL;
        return *path == '/' ? path : NULL;
}

/* --- Tests --- */

static int file_size(struct grub *g, const char *name, uint64_t *size)
{
        const char *path = own_path(g, name);
        struct trouble none;
        struct fs_file file;
        int r = path ? g->config->fs->ops->open_file(g->config->fs, path, &file, &none) : -ENOENT;

        if (r >= 0) {
                *size = file.size;
                g->config->fs->ops->close_file(&file);
        }
        return r;
}

static void ignore_name(const char *name, void *opaque)
{
}

static bool is_folder(struct grub *g, const char *name)
{
        const char *path = own_path(g, name);
        struct trouble none;

        return path && g->config->fs->ops->list(g->config->fs, path, ignore_name, NULL, &none) >= 0;
}

static bool test_one(struct grub *g, const char *op, const char *s)
{
        uint64_t size = 0;

        if (strcmp(op, "-n") == 0)
                return *s;
        if (strcmp(op, "-z") == 0)
                return !*s;
        if (strcmp(op, "-d") == 0)
                return is_folder(g, s);
        if (strcmp(op, "-f") == 0 || strcmp(op, "-s") == 0)
                return file_size(g, s, &size) >= 0 && (op[1] == 'f' || size);
        return strcmp(op, "-e") == 0 && (file_size(g, s, &size) >= 0 || is_folder(g, s));
}

static bool test_two(const char *a, const char *op, const char *b)
{
        static const char *const words[] = { "-eq", "-ne", "-lt", "-le", "-gt", "-ge" };
        long x = strtol(a, NULL, 10), y = strtol(b, NULL, 10);
        const bool results[] = { x == y, x != y, x < y, x <= y, x > y, x >= y };

        if (strcmp(op, "=") == 0 || strcmp(op, "==") == 0)
                return strcmp(a, b) == 0;
        if (strcmp(op, "!=") == 0)
                return strcmp(a, b) != 0;
        for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
                if (strcmp(op, words[i]) == 0)
                        return results[i];
        return false;
}

static bool test_simple(struct grub *g, const struct grub_word *w, unsigned n)
{
        bool not = false;

        while (n > 1 && strcmp(w->s, "!") == 0) {
                not = !not;
                w++;
                n--;
        }
        switch (n) {
        case 1:
                return not != (*w[0].s != 0);
        case 2:
                return not != test_one(g, w[0].s, w[1].s);
        case 3:
                return not != test_two(w[0].s, w[1].s, w[2].s);
        default:
                return not;
        }
}

/* "-a" binds tighter than "-o". */
static bool test(struct grub *g, const struct grub_word *w, unsigned n)
{
        bool any = false, all = true;
        unsigned from = 0;

        for (unsigned i = 0; i <= n; i++) {
                bool or = i == n || (w[i].plain && strcmp(w[i].s, "-o") == 0);

                if (!or && !(w[i].plain && strcmp(w[i].s, "-a") == 0))
                        continue;
                all = all && test_simple(g, w + from, i - from);
                from = i + 1;
                if (or) {
                        any |= all;
                        all = true;
                }
        }
        return any;
}

static int do_test(struct grub *g, const struct grub_line *line)
{
        g->status = test(g, line->words + 1, line->n - 1);
        return 0;
}

static int do_bracket(struct grub *g, const struct grub_line *line)
{
        bool closed = line->n > 1 && strcmp(line->words[line->n - 1].s, "]") == 0;

        g->status = closed && test(g, line->words + 1, line->n - 2);
        return 0;
}

/* --- Variables --- */

static bool assign(struct grub *g, const char *word)
{
        const char *equals = strchr(word, '=');

        if (!equals || equals == word)
                return false;
        for (const char *p = word; p < equals; p++)
                if (!isalnum((unsigned char)*p) && *p != '_')
                        return false;
        grub_set(g, pool_strndup(g->pool, word, (size_t)(equals - word)), equals + 1);
        return true;
}

static int do_set(struct grub *g, const struct grub_line *line)
{
        for (unsigned i = 1; i < line->n; i++)
                assign(g, line->words[i].s);
        return 0;
}

static int do_unset(struct grub *g, const struct grub_line *line)
{
        for (unsigned i = 1; i < line->n; i++)
                grub_set(g, line->words[i].s, "");
        return 0;
}

static int do_nothing(struct grub *g, const struct grub_line *line)
{
        return 0;
}

static int do_fail(struct grub *g, const struct grub_line *line)
{
        g->status = false;
        return 0;
}

/* Lines "name=value", a backslash before what would be special, and # to fill the block. */
static void load_line(struct grub *g, const char *s, size_t n)
{
        struct text t = { .pool = g->pool };

        if (n == 0 || *s == '#')
                return;
        for (size_t i = 0; i < n; i++) {
                if (s[i] == '\\' && i + 1 < n)
                        i++;
                text_add(&t, s + i, 1);
        }
        assign(g, text_get(&t));
}

static int do_load_env(struct grub *g, const struct grub_line *line)
{
        struct text name = { .pool = g->pool };
        const char *path;
        struct trouble none;
        char *text;
        size_t n, from = 0;

        text_add_str(&name, grub_get(g, "prefix"));
        text_add_str(&name, "/grubenv");
        for (unsigned i = 1; i < line->n; i++) {
                const char *s = line->words[i].s;
                bool given = strncmp(s, "--file=", 7) == 0;

                if (given || ((strcmp(s, "-f") == 0 || strcmp(s, "--file") == 0) && i + 1 < line->n)) {
                        name = (struct text){ .pool = g->pool };
                        text_add_str(&name, given ? s + 7 : line->words[++i].s);
                }
        }
        path = own_path(g, text_get(&name));
        g->status = path && fs_read_file(g->config->fs, path, ENVIRONMENT_MAX, &text, &n, &none) >= 0;
        while (g->status && from < n) {
                size_t length = strcspn(text + from, "\n");

                load_line(g, text + from, length);
                from += length + 1;
        }
        return 0;
}

/* --- Devices and files --- */

static const char *two(struct grub *g, const char *a, const char *b)
{
        struct text t = { .pool = g->pool };

        text_add_str(&t, a);
        text_add_str(&t, b);
        return text_get(&t);
}

/* Where it is is looked up when an entry is booted. */
static void found(struct grub *g, const char *variable, const char *kind, const char *what)
{
        grub_set(g, variable, two(g, kind, what));
}

static int do_search(struct grub *g, const struct grub_line *line)
{
        const char *variable = "root", *kind = "file:", *what = NULL;

        for (unsigned i = 1; i < line->n; i++) {
                const char *s = line->words[i].s;

                if (strcmp(s, "--fs-uuid") == 0 || strcmp(s, "-u") == 0)
                        kind = "uuid:";
                else if (strcmp(s, "--label") == 0 || strcmp(s, "-l") == 0 || strcmp(s, "--fs-label") == 0)
                        kind = "label:";
                else if (strncmp(s, "--set=", 6) == 0)
                        variable = s + 6;
                else if (strcmp(s, "--hint") == 0)
                        i++;
                else if (*s != '-')
                        what = s;
        }
        g->status = what != NULL;
        if (what)
                found(g, pool_strdup(g->pool, variable), kind, what);
        return 0;
}

/* The forms of a core image: search.fs_uuid UUID VARIABLE HINT... */
static int do_search_embedded(struct grub *g, const struct grub_line *line)
{
        const char *s = line->words[0].s;
        const char *kind = strcmp(s, "search.fs_uuid") == 0 ? "uuid:" : strcmp(s, "search.fs_label") == 0 ? "label:" : "file:";

        if (line->n > 1)
                found(g, line->n > 2 ? line->words[2].s : "root", kind, line->words[1].s);
        return 0;
}

static int do_source(struct grub *g, const struct grub_line *line)
{
        const char *path = line->n > 1 ? own_path(g, line->words[1].s) : NULL;

        g->status = false;
        return path ? grub_run_file(g, path) : 0;
}

static const char *variable_of(void *opaque, const char *name)
{
        return grub_get(opaque, name);
}

static int do_blscfg(struct grub *g, const struct grub_line *line)
{
        static const char *const folders[] = { "/loader/entries/", "/boot/loader/entries/" };
        struct config c = *g->config;

        for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
                int r;

                c.path = folders[i];
                r = bls_read(&c, variable_of, g);
                if (r < 0 && r != -ENOENT)
                        return r;
                if (r > 0)
                        return 0;
        }
        g->status = false;
        return 0;
}

/* --- What is in a menu entry --- */

/* A path in parentheses names its device itself; else it is $root's. All of an entry's files are where its kernel is. */
static const char *place(struct grub *g, const char *path, const char **device)
{
        const char *close = *path == '(' ? strchr(path, ')') : NULL;

        *device = close ? pool_strndup(g->pool, path + 1, (size_t)(close - path - 1)) : grub_get(g, "root");
        if (strcmp(*device, GRUB_OWN_DEVICE) == 0)
                *device = NULL;
        return close ? close + 1 : path;
}

static const char *join_args(struct grub *g, const struct grub_line *line, unsigned from)
{
        struct text t = { .pool = g->pool };

        for (unsigned i = from; i < line->n; i++) {
                bool quote = strpbrk(line->words[i].s, " \t") != NULL;

                text_add_str(&t, i > from ? " " : "");
                text_add_str(&t, quote ? "\"" : "");
                text_add_str(&t, line->words[i].s);
                text_add_str(&t, quote ? "\"" : "");
        }
        return text_get(&t);
}

static int do_linux(struct grub *g, const struct grub_line *line)
{
        struct menu_entry *e = g->entry >= 0 ? &g->config->menu->entries[g->entry] : NULL;

        g->status = e && line->n > 1;
        if (!g->status)
                return 0;
        e->kernel = place(g, line->words[1].s, &e->device);
        e->args = join_args(g, line, 2);
        return 0;
}

static int do_initrd(struct grub *g, const struct grub_line *line)
{
        struct menu_entry *e = g->entry >= 0 ? &g->config->menu->entries[g->entry] : NULL;
        const char *device;

        g->status = e && line->n > 1;
        for (unsigned i = 1; e && i < line->n && e->n_initrds < MENU_INITRDS_MAX; i++)
                e->initrds[e->n_initrds++] = place(g, line->words[i].s, &device);
        return 0;
}

static const struct {
        const char *name;
        int (*run)(struct grub *g, const struct grub_line *line);
} commands[] = {
        { "[", do_bracket },
        { "test", do_test },
        { "set", do_set },
        { "unset", do_unset },
        { "load_env", do_load_env },
        { "search", do_search },
        { "search.fs_uuid", do_search_embedded },
        { "search.fs_label", do_search_embedded },
        { "search.file", do_search_embedded },
        { "source", do_source },
        { ".", do_source },
        { "configfile", do_source },
        { "blscfg", do_blscfg },
        { "linux", do_linux },
        { "linux16", do_linux },
        { "linuxefi", do_linux },
        { "initrd", do_initrd },
        { "initrd16", do_initrd },
        { "initrdefi", do_initrd },
        { "export", do_nothing },
        { "insmod", do_nothing },
        { "save_env", do_nothing },
        { "echo", do_nothing },
        { "true", do_nothing },
        { "loadfont", do_nothing },
        { "terminal_input", do_nothing },
        { "terminal_output", do_nothing },
        { "serial", do_nothing },
        { "false", do_fail },
};

int grub_command(struct grub *g, const struct grub_line *line)
{
        for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
                if (strcmp(line->words[0].s, commands[i].name) == 0) {
                        g->status = true;
                        return commands[i].run(g, line);
                }
        }
        g->status = assign(g, line->words[0].s);
        return 0;
}
