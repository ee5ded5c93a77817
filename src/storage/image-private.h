/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "storage/image.h"

struct image_file {
        int fd;
        const char *path;
        uint64_t size; /* of the file */
        bool deep;     /* look also at what takes reading some MiB */
};

G_GNUC_PRINTF(3, 4)
bool image_fail(const struct image_file *f, GError **error, const char *fmt, ...);
/* All n bytes, else "is shorter than its header says". */
bool image_pread(const struct image_file *f, void *buf, size_t n, uint64_t offset, GError **error);
/* Fills in backing_path: name may be relative to the image. Takes name. */
bool image_set_backing(const struct image_file *f, DomusImage *image, char *name, GError **error);

/* Header, extensions, and that L1, L2 and data lie within the file (docs/interop/qcow2.txt of QEMU). */
bool image_read_qcow2(const struct image_file *f, DomusImage *ret, GError **error);
