/* SPDX-License-Identifier: GPL-2.0-or-later */
/* extlinux.conf, as syslinux and U-Boot read it. */
#include "bootloader/config.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

struct extlinux {
        struct config *config;
        struct pool *pool;
        struct menu_entry *entry;
        const char *args; /* for all entries */
};

/* Relative paths begin where the configuration is. */
static const char *full_path(struct extlinux *x, const char *s, size_t n)
{
        const char *slash = strrchr(x->config->path, '/');
        struct text t = { .pool = x->pool };

        if (*s != '/')
                text_add(&t, x->config->path, (size_t)(slash - x->config->path) + 1);
        text_add(&t, s, n);
        return text_get(&t);
}

static void add_initrds(struct extlinux *x, const char *s)
{
        struct menu_entry *e = x->entry;

        while (*s) {
                size_t n = strcspn(s, ", \t");

                if (n && e->n_initrds < MENU_INITRDS_MAX)
                        e->initrds[e->n_initrds++] = full_path(x, s, n);
                s += n + strspn(s + n, ", \t");
        }
}

/* The words but for initrd=, which is one of the loader's own. */
static const char *take_args(struct extlinux *x, const char *s)
{
        struct text t = { .pool = x->pool };

        while (*s) {
                size_t n = strcspn(s, " \t");

                if (n > 7 && strncmp(s, "initrd=", 7) == 0 && x->entry) {
                        add_initrds(x, pool_strndup(x->pool, s + 7, n - 7));
                } else if (n) {
                        if (t.len)
                                text_add_str(&t, " ");
                        text_add(&t, s, n);
                }
                s += n + strspn(s + n, " \t");
        }
        return text_get(&t);
}

static void begin_entry(struct extlinux *x, const char *label)
{
        x->entry = menu_add(x->config->menu, label, -1);
        if (!x->entry)
                return;
        x->entry->id = pool_strdup(x->pool, label);
        x->entry->args = x->args;
        x->entry->base = strncmp(x->config->path, "/boot/", 6) == 0 ? "/boot" : NULL;
}

static void menu_line(struct extlinux *x, const char *value)
{
        if (!x->entry)
                return;
        if (strncasecmp(value, "label ", 6) == 0)
                x->entry->title = pool_strdup(x->pool, value + 6 + strspn(value + 6, " \t"));
        else if (strcasecmp(value, "default") == 0)
                x->config->menu->chosen = x->entry->id;
}

static void line(struct extlinux *x, const char *key, const char *value)
{
        if (strcasecmp(key, "label") == 0)
                begin_entry(x, value);
        else if (strcasecmp(key, "default") == 0)
                x->config->menu->chosen = pool_strdup(x->pool, value);
        else if (strcasecmp(key, "menu") == 0)
                menu_line(x, value);
        else if (strcasecmp(key, "append") == 0 && x->entry)
                x->entry->args = strcmp(value, "-") == 0 ? "" : take_args(x, value);
        else if (strcasecmp(key, "append") == 0)
                x->args = take_args(x, value);
        else if (x->entry && (strcasecmp(key, "linux") == 0 || strcasecmp(key, "kernel") == 0))
                x->entry->kernel = full_path(x, value, strlen(value));
        else if (x->entry && strcasecmp(key, "initrd") == 0)
                add_initrds(x, value);
}

int extlinux_read(struct config *c, const char *text, size_t n)
{
        struct extlinux x = { .config = c, .pool = c->menu->pool, .args = "" };
        char *copy = pool_strndup(x.pool, text, n), *save;

        for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
                char *key = l + strspn(l, " \t"), *value, *end = key + strlen(key);

                while (end > key && strchr(" \t\r", end[-1]))
                        *--end = 0;
                value = key + strcspn(key, " \t");
                if (*value) {
                        *value++ = 0;
                        value += strspn(value, " \t");
                }
                if (*key && *key != '#')
                        line(&x, key, value);
        }
        return 0;
}
