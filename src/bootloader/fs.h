/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* File systems of a guest, to be read only. A path is absolute. Its owner vouches for nothing: every answer is bounded. */

#include "bootloader/pool.h"
#include "bootloader/source.h"
#include "bootloader/trouble.h"

struct fs;
struct fs_file;

struct fs_ops {
        const char *name;
        /* -EMEDIUMTYPE: it is not of this kind, and nothing is said; else fills label, uuid and private, or says what is wrong with it. */
        int (*open)(struct fs *fs, struct trouble *trouble);
        /* A regular file, symbolic links followed. -ENOENT (nothing said) if there is none. */
        int (*open_file)(struct fs *fs, const char *path, struct fs_file *file, struct trouble *trouble);
        /* n bytes at an offset, all within the file's size. */
        int (*read)(struct fs_file *file, uint64_t offset, void *buf, size_t n, struct trouble *trouble);
        void (*close_file)(struct fs_file *file);
        /* The names in a folder, in no order, at most FS_NAMES_MAX. -ENOENT as above. */
        int (*list)(struct fs *fs, const char *path, void (*each)(const char *name, void *opaque), void *opaque, struct trouble *trouble);
        void (*close)(struct fs *fs);
};

#define FS_NAMES_MAX 4096

struct fs {
        const struct fs_ops *ops;
        struct source bytes;
        struct pool *pool;
        char label[64], uuid[40]; /* as blkid writes them */
        void *private;
};

struct fs_file {
        struct fs *fs;
        uint64_t size;
        void *private;
};

extern const struct fs_ops fs_ext_ops, fs_vfat_ops;

/* Finds out what is on bytes and opens it. -EMEDIUMTYPE: nothing known, or something that is not supported: then the words name
 * it. What is opened must be closed. */
int fs_open(struct fs *fs, const struct source *bytes, struct pool *pool, struct trouble *trouble);
void fs_close(struct fs *fs);
/* A whole file of at most max bytes, in the pool, with a NUL behind it. */
int fs_read_file(struct fs *fs, const char *path, size_t max, char **ret, size_t *ret_len, struct trouble *trouble);
