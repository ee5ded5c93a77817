/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Volumes that are block devices, for all back ends that have such. Worker threads. */

#include "storage/backend.h"

/* As DomusPoolBackend.update: what is on the device is the guest's, and never looked at. */
bool storage_block_update(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, bool raw, GError **error);
/* Waits some seconds for the device to appear. */
bool storage_block_wait(const StorageCancel *c, const char *path, GError **error);
/* Writes what source holds to the device, zeros included. NULL source: nothing. */
bool storage_block_fill(const StorageCancel *c, const DomusVolumeDef *vol, const DomusVolumeDef *source, GError **error);
bool storage_block_set_owner(const DomusVolumeDef *vol, GError **error);
/* What blkid(8) finds on a device: file system, partition table; "" for nothing. g_free. */
bool storage_block_content(const StorageCancel *c, const char *device, char **ret, GError **error);
/* STORAGE_POOL_BUILT if there is something. */
bool storage_block_check_empty(const StorageCancel *c, const DomusPoolDef *def, const char *device, GError **error);
/* The name below dir of the device at node (g_free): node itself if there is none. The second waits some seconds for udev to make one. */
char *storage_block_stable_path(const char *dir, const char *node);
char *storage_block_wait_stable_path(const StorageCancel *c, const char *dir, const char *node);
