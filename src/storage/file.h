/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Volumes that are files in a folder, for all back ends that end up with one; and what applies to block devices as well. Worker threads. */

#include "storage/backend.h"

/* Names that begin so are files being made; they are no volumes. */
#define STORAGE_TEMPORARY ".domus-new-"

/* As DomusPoolBackend's functions of these names. */
bool storage_dir_scan(const StorageCancel *c, const DomusPoolDef *def, DomusRawNames *raw, DomusPoolScan *ret, GError **error);
bool storage_dir_measure(const StorageCancel *c, const DomusPoolDef *def, DomusPoolState *ret, GError **error);
bool storage_file_create(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags,
        GError **error);
bool storage_file_remove(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, unsigned flags, GError **error);
bool storage_file_resize(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, uint64_t capacity, unsigned flags,
        GError **error);
bool storage_file_update(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, bool raw, GError **error);
/* Of a DomusPoolBackend whose volumes are files. */
#define STORAGE_DIR_VOLUMES \
        .scan = storage_dir_scan, .measure = storage_dir_measure, .create = storage_file_create, .remove = storage_file_remove, \
        .resize = storage_file_resize, .update = storage_file_update

/* vol's name and path are set; the rest is filled in from what is at the path. ret_skip: it is nothing for a pool. */
bool storage_volume_look(DomusVolumeDef *vol, bool raw, bool *ret_skip, GError **error);
/* Makes the pool's folder. */
bool storage_dir_make(const DomusPoolDef *def, GError **error);
/* DomusPoolBackend.destroy: removes the pool's folder, which must be empty. */
bool storage_dir_remove(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error);

/* File or block device; algorithm: virStorageVolWipeAlgorithm. */
bool storage_wipe(const StorageCancel *c, const DomusVolumeDef *vol, unsigned algorithm, GError **error);

/* Writes what is in from at to, both from their beginnings, up to length bytes; holes and zeros are left out if sparse. */
bool storage_copy(const StorageCancel *c, int from, const char *from_path, int to, const char *to_path, uint64_t length, bool sparse, GError **error);
/* Fills vol at fd (path: another name of fd, for programs) by qemu-img, from source or empty. */
bool storage_qemu_create(const StorageCancel *c, int fd, const DomusVolumeDef *vol, unsigned flags, GError **error);
bool storage_qemu_convert(const StorageCancel *c, int fd, const DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags, GError **error);
