/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/boot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/macros.h"
#include "bootloader/json.h"

#define COPY_SIZE MiB(1)

struct guest {
        struct pool *pool;
        struct partition_table table;
        struct fs fs[PARTITIONS_MAX]; /* ops NULL: none that we can read */
        struct trouble why[PARTITIONS_MAX];
        struct menu menu;
        const char *config; /* its path, or NULL */
        int own;            /* index of the partition that the configuration is on, or -1 */
        struct trouble *trouble;
};

/* --- File systems --- */

static void open_file_systems(struct guest *g, int only)
{
        for (unsigned i = 0; i < g->table.n; i++) {
                const struct partition *p = &g->table.parts[i];

                if (only < 0 || (unsigned)only == p->number)
                        fs_open(&g->fs[i], &p->bytes, g->pool, &g->why[i]);
                else
                        trouble_say(&g->why[i], -EACCES, "not looked at");
        }
        /* What failed to open has nothing to close. */
        for (unsigned i = 0; i < g->table.n; i++)
                if (*g->why[i].text)
                        g->fs[i].ops = NULL;
}

static void close_file_systems(struct guest *g)
{
        for (unsigned i = 0; i < g->table.n; i++)
                fs_close(&g->fs[i]);
}

/* What was found, for an error. */
static const char *describe(struct guest *g)
{
        struct text t = { .pool = g->pool };
        char number[24];

        for (unsigned i = 0; i < g->table.n; i++) {
                text_add_str(&t, i ? "; " : "");
                if (g->table.parts[i].number) {
                        snprintf(number, sizeof(number), "partition %u: ", g->table.parts[i].number);
                        text_add_str(&t, number);
                }
                text_add_str(&t, g->fs[i].ops ? g->fs[i].ops->name : g->why[i].text);
        }
        return text_get(&t);
}

static bool any_file_system(const struct guest *g)
{
        for (unsigned i = 0; i < g->table.n; i++)
                if (g->fs[i].ops)
                        return true;
        return false;
}

static int open_guest(struct guest *g, const struct source *image, const struct boot_request *request)
{
        int r = partition_table_read(&g->table, image, g->trouble);

        if (r < 0)
                return r;
        open_file_systems(g, request->partition);
        if (any_file_system(g))
                return 0;
        if (strcmp(g->table.kind, "none") == 0)
                return trouble_say(g->trouble, -ENOENT, "no partition table, %s", g->why[0].text);
        return trouble_say(g->trouble, -ENOENT, "no file system that can be read (%s)", describe(g));
}

/* --- The configuration --- */

static int try_config(struct guest *g, unsigned i)
{
        struct config c = { .fs = &g->fs[i], .menu = &g->menu, .trouble = g->trouble };
        int r = g->fs[i].ops ? config_read(&c) : 0;

        if (r > 0) {
                g->config = c.path;
                g->own = (int)i;
        }
        return r;
}

/* The partition that is marked for booting first. A damaged one is said only if no other has a configuration. */
static int find_config(struct guest *g)
{
        struct trouble damage = { 0 };

        for (unsigned pass = 0; pass < 2; pass++) {
                for (unsigned i = 0; i < g->table.n; i++) {
                        int r = g->table.parts[i].active == (pass == 0) ? try_config(g, i) : 0;

                        if (r > 0)
                                return 0;
                        if (r < 0)
                                damage = *g->trouble;
                }
        }
        if (*damage.text) {
                *g->trouble = damage;
                return -EIO;
        }
        return trouble_say(g->trouble, -ENOENT, "no grub.cfg, loader/entries or extlinux.conf (%s)", describe(g));
}

/* --- Where an entry's files are --- */

/* What follows prefix, or NULL. */
static const char *after(const char *text, const char *prefix)
{
        size_t n = strlen(prefix);

        return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

static int by_name(struct guest *g, const char *device)
{
        const char *uuid = after(device, "uuid:"), *label = after(device, "label:"), *path = after(device, "file:");

        for (unsigned i = 0; i < g->table.n; i++) {
                const struct fs *fs = &g->fs[i];
                struct fs_file file;
                struct trouble none;

                if (!fs->ops)
                        continue;
                if (uuid && strcasecmp(fs->uuid, uuid) == 0)
                        return (int)i;
                if (label && strcmp(fs->label, label) == 0)
                        return (int)i;
                if (path && fs->ops->open_file(&g->fs[i], path, &file, &none) >= 0) {
                        fs->ops->close_file(&file);
                        return (int)i;
                }
        }
        return -ENOENT;
}

/* "hd0,gpt2", "hd0,msdos5", "hd0,2"; "hd0" is the whole image. */
static int by_number(struct guest *g, const char *device)
{
        const char *digits = device + strcspn(device, ",");
        unsigned long number = 0;

        digits += strcspn(digits, "0123456789");
        if (*digits)
                number = strtoul(digits, NULL, 10);
        for (unsigned i = 0; i < g->table.n; i++)
                if (g->table.parts[i].number == number && g->fs[i].ops)
                        return (int)i;
        return -ENOENT;
}

/* The index of the partition. */
static int find_device(struct guest *g, const char *device)
{
        int at;

        if (!device)
                return g->own;
        at = strchr(device, ':') ? by_name(g, device) : strncmp(device, "hd0", 3) == 0 ? by_number(g, device) : -ENOENT;
        if (at < 0)
                return trouble_say(g->trouble, -ENOENT, "%s looks for %s, which is not there (%s)", g->config, device, describe(g));
        return at;
}

/* A kernel that was asked for by its path is on the first file system that has it. */
static int find_kernel(struct guest *g, const char *path)
{
        struct text device = { .pool = g->pool };
        int at;

        text_add_str(&device, "file:");
        text_add_str(&device, path);
        at = by_name(g, text_get(&device));
        if (at < 0)
                return trouble_say(g->trouble, -ENOENT, "no file %s (%s)", path, describe(g));
        return at;
}

static const char *below(struct guest *g, const char *base, const char *path)
{
        struct text t = { .pool = g->pool };

        text_add_str(&t, base);
        text_add_str(&t, *path == '/' ? "" : "/");
        text_add_str(&t, path);
        return text_get(&t);
}

static int open_file(struct guest *g, unsigned at, const char *base, const char *path, struct fs_file *file)
{
        struct fs *fs = &g->fs[at];
        const char *full = *path == '/' ? path : below(g, "", path);
        int r = fs->ops->open_file(fs, full, file, g->trouble);

        if (r == -ENOENT && base)
                r = fs->ops->open_file(fs, below(g, base, path), file, g->trouble);
        if (r == -ENOENT)
                return trouble_say(g->trouble, r, g->config ? "%s names %s, which is not there" : "%s%s is not there",
                        g->config ? g->config : "", path);
        return r;
}

/* --- Copies --- */

static int copy(struct guest *g, struct fs_file *file, int fd)
{
        char *buf = malloc(file->size < COPY_SIZE ? (size_t)file->size + 1 : COPY_SIZE);
        int r = buf ? 0 : trouble_say(g->trouble, -ENOMEM, "out of memory");

        for (uint64_t at = 0; r >= 0 && at < file->size; at += COPY_SIZE) {
                size_t n = file->size - at < COPY_SIZE ? (size_t)(file->size - at) : COPY_SIZE;

                r = file->fs->ops->read(file, at, buf, n, g->trouble);
                if (r >= 0 && fd >= 0) {
                        r = fd_write_all(fd, buf, n);
                        if (r < 0)
                                trouble_say(g->trouble, r, "cannot write what was read: %s", strerror(-r));
                }
        }
        free(buf);
        return r;
}

/* *total counts the bytes of several files that come behind each other. */
static int copy_file(struct guest *g, unsigned at, const struct menu_entry *e, const char *path, int fd, uint64_t max, uint64_t *total)
{
        static const char zeroes[4];
        struct fs_file file;
        size_t pad = (size_t)(-*total & 3);
        int r = open_file(g, at, e->base, path, &file);

        if (r < 0)
                return r;
        if (file.size > max - *total)
                r = trouble_say(g->trouble, -EFBIG, "%s has %llu bytes: too large", path, (unsigned long long)file.size);
        if (r >= 0 && fd >= 0 && pad)
                r = fd_write_all(fd, zeroes, pad);
        if (r >= 0)
                r = copy(g, &file, fd);
        *total += pad + file.size;
        file.fs->ops->close_file(&file);
        return r;
}

static int load(struct guest *g, unsigned at, const struct menu_entry *e, const struct boot_output *output)
{
        uint64_t kernel = 0, initrds = 0;
        int r = copy_file(g, at, e, e->kernel, output->kernel_fd, KERNEL_SIZE_MAX, &kernel);

        if (r >= 0 && kernel == 0)
                r = trouble_say(g->trouble, -EINVAL, "%s is empty", e->kernel);
        for (unsigned i = 0; r >= 0 && i < e->n_initrds; i++)
                r = copy_file(g, at, e, e->initrds[i], output->initrd_fd, INITRD_SIZE_MAX, &initrds);
        return r;
}

/* --- The answer --- */

static void add_place(struct guest *g, struct text *t, int index)
{
        const struct menu_entry *e = &g->menu.entries[index];
        char digits[16];
        unsigned n = 0;

        if (e->parent >= 0) {
                add_place(g, t, e->parent);
                text_add_str(t, ">");
        }
        for (int i = 0; i < index; i++)
                n += g->menu.entries[i].parent == e->parent;
        snprintf(digits, sizeof(digits), "%u", n);
        text_add_str(t, digits);
}

static void answer_entry(struct guest *g, struct text *t, const struct menu_entry *e, int index)
{
        struct text place = { .pool = g->pool };

        if (index >= 0) {
                add_place(g, &place, index);
                json_member(t, "entry");
                json_string(t, text_get(&place));
        }
        json_member(t, "title");
        json_string(t, e->title);
        json_member(t, "id");
        json_string(t, e->id);
        json_member(t, "kernel");
        json_string(t, e->kernel);
        json_member(t, "initrds");
        text_add_str(t, "[");
        for (unsigned i = 0; i < e->n_initrds; i++) {
                text_add_str(t, i ? ", " : "");
                json_string(t, e->initrds[i]);
        }
        text_add_str(t, "]");
        json_member(t, "cmdline");
        json_string(t, e->args);
}

static void answer_config(struct guest *g, struct text *t)
{
        json_member(t, "config");
        json_string(t, g->config);
        if (g->own >= 0) {
                json_member(t, "partition");
                json_number(t, g->table.parts[g->own].number);
        }
}

static void answer_menu(struct guest *g, struct text *t)
{
        struct text place = { .pool = g->pool };
        int chosen = menu_default(&g->menu);
        bool first = true;

        answer_config(g, t);
        if (chosen >= 0)
                add_place(g, &place, chosen);
        json_member(t, "default");
        json_string(t, place.s);
        json_member(t, "entries");
        text_add_str(t, "[");
        for (unsigned i = 0; i < g->menu.n; i++) {
                if (g->menu.entries[i].submenu)
                        continue;
                text_add_str(t, first ? "{" : ", {");
                answer_entry(g, t, &g->menu.entries[i], (int)i);
                text_add_str(t, "}");
                first = false;
        }
        text_add_str(t, "]");
}

/* --- Choosing --- */

static int choose(struct guest *g, const char *wanted)
{
        int at = wanted ? menu_find(&g->menu, wanted) : menu_default(&g->menu);

        if (at < 0 && wanted)
                return trouble_say(g->trouble, -ENOENT, "%s has no entry \"%s\"", g->config, wanted);
        if (at < 0)
                return trouble_say(g->trouble, -ENOENT, "%s has no entry", g->config);
        if (!g->menu.entries[at].kernel)
                return trouble_say(g->trouble, -ENOTSUP, "entry \"%s\" of %s boots no Linux kernel", g->menu.entries[at].title, g->config);
        return at;
}

/* The configuration's entry, changed as asked. */
static void adjust(struct guest *g, struct menu_entry *e, const struct boot_request *request)
{
        struct text args = { .pool = g->pool };

        if (request->initrd) {
                e->n_initrds = *request->initrd ? 1 : 0;
                e->initrds[0] = request->initrd;
        }
        text_add_str(&args, request->args ? request->args : e->args);
        if (request->append && *request->append) {
                text_add_str(&args, args.len ? " " : "");
                text_add_str(&args, request->append);
        }
        e->args = text_get(&args);
}

static int boot_entry(struct guest *g, const struct boot_request *request, const struct boot_output *output, struct text *answer)
{
        struct menu_entry e = { .title = "", .args = "", .kernel = request->kernel };
        int index = -1, at;

        if (!request->kernel) {
                index = choose(g, request->entry);
                if (index < 0)
                        return index;
                e = g->menu.entries[index];
        }
        adjust(g, &e, request);
        at = request->kernel ? find_kernel(g, e.kernel) : find_device(g, e.device);
        if (at < 0)
                return at;
        answer_config(g, answer);
        answer_entry(g, answer, &e, index);
        return load(g, (unsigned)at, &e, output);
}

int boot(const struct source *image, const struct boot_request *request, const struct boot_output *output, struct text *answer,
        struct trouble *trouble)
{
        struct guest *g = pool_alloc(answer->pool, sizeof(*g));
        int r;

        g->pool = g->menu.pool = answer->pool;
        g->trouble = trouble;
        g->own = -1;
        text_add_str(answer, "{");
        r = open_guest(g, image, request);
        if (r >= 0 && !request->kernel)
                r = find_config(g);
        if (r >= 0 && request->list)
                answer_menu(g, answer);
        else if (r >= 0)
                r = boot_entry(g, request, output, answer);
        text_add_str(answer, "}\n");
        close_file_systems(g);
        return r;
}
