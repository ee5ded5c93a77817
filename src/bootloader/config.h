/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Boot configurations in a guest's file system. */

#include "bootloader/fs.h"
#include "bootloader/menu.h"

#define CONFIG_SIZE_MAX ((size_t)1 << 20)

struct config {
        struct fs *fs;
        struct menu *menu;
        const char *path; /* of the file or folder */
        struct trouble *trouble;
};

/* Looks for a configuration of any known kind on a file system, and fills the menu from it. 1 if there is one, 0 if not, negative errno if there
 * is one that cannot be read. */
int config_read(struct config *c);

/* The kinds. text ends in a NUL at text[n]. Negative errno, with c->trouble filled. */
int grub_read(struct config *c, const char *text, size_t n);
int extlinux_read(struct config *c, const char *text, size_t n);
/* Boot Loader Specification type 1: path is the folder with the entries. A word of the options that begins with $ is looked up by variable,
 * which may be NULL. Returns how many there were. */
int bls_read(struct config *c, const char *(*variable)(void *opaque, const char *name), void *opaque);
