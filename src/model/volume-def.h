/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a storage volume is: libvirt's volume XML (formatstorage.html, "Storage volume XML").
 *
 * All of a document is in the typed view, because everything else is refused by name (CONFIG_UNSUPPORTED); so it is written from there. What
 * describes a volume that is there (key, physical, timestamps, source extents) may stand in a document of one that is to be made, as clients send
 * the XML of one volume to make another; it says nothing then. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* virStorageVolType's values. */
typedef enum {
        DOMUS_VOLUME_FILE,
        DOMUS_VOLUME_BLOCK,
        DOMUS_VOLUME_DIR,
        DOMUS_VOLUME_NETWORK,
} DomusVolumeType;

/* -1 each: not given. */
typedef struct {
        int mode;
        int64_t uid, gid;
} DomusPermissions;

/* A piece of a device that a volume lies on, in bytes; end is behind its last one. */
typedef struct {
        char *path;
        uint64_t start, end;
} DomusExtent;

typedef struct {
        DomusVolumeType type;
        char *name, *key;
        uint64_t capacity, allocation, physical; /* bytes */
        bool has_capacity, has_allocation;
        char *path;
        char *format;            /* "raw", "qcow2", ...; NULL: not given */
        DomusPermissions perms;
        char *compat;            /* qcow2: "0.10", "1.1"; NULL */
        uint64_t cluster_size;   /* qcow2, bytes; 0: the format's own */
        bool lazy_refcounts, extended_l2, nocow;
        bool has_times;
        struct timespec atime, mtime, ctime, btime; /* btime: 0 where the file system does not keep it */
        char *backing_path, *backing_format;        /* NULL: none, not given */
        GArray *extents;         /* of DomusExtent */
} DomusVolumeDef;

typedef enum {
        DOMUS_VOLUME_DEF_VALIDATE = 1 << 0,          /* also against libvirt's schema, where installed */
        DOMUS_VOLUME_DEF_OPTIONAL_CAPACITY = 1 << 1, /* a copy or an overlay takes the other image's */
} DomusVolumeDefParseFlags;

/* An empty one, of a file. */
DomusVolumeDef *domus_volume_def_new(const char *name);
DomusVolumeDef *domus_volume_def_parse(const char *xml, unsigned flags, GError **error);
DomusVolumeDef *domus_volume_def_copy(const DomusVolumeDef *def);
void domus_volume_def_free(DomusVolumeDef *def);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusVolumeDef, domus_volume_def_free)

/* g_free the result. */
char *domus_volume_def_format(const DomusVolumeDef *def);
void domus_volume_def_add_extent(DomusVolumeDef *def, const char *path, uint64_t start, uint64_t end);
