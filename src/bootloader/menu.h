/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a boot configuration offers. */

#include <stdbool.h>

#include "bootloader/pool.h"

#define MENU_ENTRIES_MAX 256
#define MENU_INITRDS_MAX 8

struct menu_entry {
        const char *title, *id; /* id: NULL if it has none */
        int parent;             /* index of the submenu that it is in; -1: at the top */
        bool submenu;
        /* Where its paths are: NULL for the configuration's own file system, else "hd0,gpt2" (or ",msdos5", ",2"), "uuid:…", "label:…" or "file:/…". */
        const char *device;
        const char *kernel; /* NULL: it boots no Linux kernel */
        const char *args;
        const char *base; /* if a path is not there, it may be below this folder; or NULL */
        unsigned n_initrds;
        const char *initrds[MENU_INITRDS_MAX];
};

struct menu {
        struct pool *pool;
        unsigned n;
        struct menu_entry entries[MENU_ENTRIES_MAX];
        const char *chosen; /* the default as the configuration gives it, or NULL: the first */
};

/* A new entry behind the others; NULL if the menu is full. title is copied. */
struct menu_entry *menu_add(struct menu *m, const char *title, int parent);
/* The entry that spec names: numbers from 0, titles or ids, with ">" between a submenu and what is in it; an id or title is also found in any
 * submenu. A submenu means its first entry. -1 if there is none. */
int menu_find(const struct menu *m, const char *spec);
/* The default entry, or the first, as GRUB does if the default is not there. -1 if the menu is empty. */
int menu_default(const struct menu *m);
