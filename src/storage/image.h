/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the header of a disk image says. Reading is bounded: some MiB of metadata, whatever the header claims.
 *
 * The first bytes of a raw image belong to the guest. So whoever knows the format says it; format NULL is for images that no guest has written
 * (a file that has just come into a pool, a definition that does not say it), and what was found is written down then. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define DOMUS_IMAGE_CHAIN_MAX 200

typedef struct {
        char *path;   /* absolute */
        char *format;
} DomusImageLayer;

typedef struct {
        char *format;             /* "raw", "qcow2", "vmdk", ...; "iso" from storage_image_read only */
        uint64_t virtual_size;    /* bytes that the guest sees */
        uint64_t allocation;      /* bytes that the file occupies */
        uint64_t physical;        /* length of the file or device, bytes */
        bool block;               /* a block device */
        bool encrypted;
        char *compat;             /* qcow2: "0.10" or "1.1"; else NULL */
        uint64_t cluster_size;    /* qcow2, bytes; else 0 */
        bool lazy_refcounts, extended_l2;
        char *backing_path;       /* as a path to open; NULL: none */
        char *backing_format;     /* NULL: the header does not say */
        GPtrArray *chain;         /* of DomusImageLayer *: what lies below, the nearest first; domus_image_probe only */
} DomusImage;

/* One image and all below it. format: NULL to find it out. Errors name the file: not there, shorter than its header says, a chain that is
 * cyclic or too long, a backing file that is no file. */
bool domus_image_probe(const char *path, const char *format, DomusImage *ret, GError **error);
void domus_image_clear(DomusImage *image);

/* The one open at fd alone, without what is below; path is for messages and for relative backing paths. deep: look also whether the data lie within the
 * file, as domus_image_probe does; without, whether the tables do. */
bool storage_image_read(int fd, const char *path, const char *format, bool deep, DomusImage *ret, GError **error);
/* The format that the header says; "raw" if none is known. Negative errno. */
int storage_image_guess(int fd, const char **ret);
/* Formats that qemu-img makes and converts. */
bool storage_image_format_known(const char *format);
