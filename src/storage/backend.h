/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a type of pool can do. A back end is one file with one DomusPoolBackend and a row in backend.c.
 *
 * All functions run in worker threads, several at once; they see definitions only. All may be NULL: then there is nothing to do, or, for those
 * marked (*), OPERATION_UNSUPPORTED. They return false with error set, and then have undone what they had begun. */

#include "model/error.h"
#include "model/pool-def.h"
#include "storage/worker.h"

typedef struct {
        DomusPoolState state;
        GPtrArray *volumes; /* of DomusVolumeDef *, owned */
} DomusPoolScan;

/* Which volumes are known to be raw: GHashTable of names, or NULL. */
typedef GHashTable DomusRawNames;

typedef struct {
        DomusPoolType type;
        /* Programs that it runs, NULL-terminated: without them the type is not supported here. NULL: none. */
        const char *const *programs;
        bool needs_privilege;

        /* Whether it is in use already, after a restart of the daemon. NULL: always. */
        bool (*check)(const StorageCancel *c, const DomusPoolDef *def, bool *ret, GError **error);
        /* flags: virStoragePoolBuildFlags. */
        bool (*build)(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error);
        bool (*start)(const StorageCancel *c, const DomusPoolDef *def, GError **error);
        bool (*stop)(const StorageCancel *c, const DomusPoolDef *def, GError **error);
        /* Removes what build made; the pool is stopped. flags: virStoragePoolDeleteFlags. (*) */
        bool (*destroy)(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error);
        /* Sizes and volumes of a pool in use; volumes come with name, key, path, type, sizes, format. */
        bool (*scan)(const StorageCancel *c, const DomusPoolDef *def, DomusRawNames *raw, DomusPoolScan *ret, GError **error);
        /* Sizes alone. */
        bool (*measure)(const StorageCancel *c, const DomusPoolDef *def, DomusPoolState *ret, GError **error);

        /* Makes vol, whose name is free; on return vol has what scan would say of it. source: copied from, or NULL. flags: virStorageVolCreateFlags.
         * On failure nothing is left behind. (*) */
        bool (*create)(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags,
                GError **error);
        /* (*) */
        bool (*remove)(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, unsigned flags, GError **error);
        /* flags: virStorageVolResizeFlags without DELTA; capacity in bytes. (*) */
        bool (*resize)(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, uint64_t capacity, unsigned flags,
                GError **error);
        /* Looks at vol again. raw: its format is settled. */
        bool (*update)(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, bool raw, GError **error);

        /* Appends the <source> elements for find-storage-pool-sources; host may be NULL. (*) */
        bool (*find)(const StorageCancel *c, const char *host, GString *out, GError **error);
} DomusPoolBackend;

extern const DomusPoolBackend storage_backend_dir, storage_backend_fs, storage_backend_netfs, storage_backend_logical, storage_backend_disk,
        storage_backend_iscsi, storage_backend_iscsi_direct;

const DomusPoolBackend *storage_backend(DomusPoolType type);
/* That the host has what it needs: CONFIG_UNSUPPORTED or OPERATION_DENIED otherwise. */
bool storage_backend_usable(const DomusPoolBackend *b, bool privileged, GError **error);

void storage_scan_clear(DomusPoolScan *scan);
bool storage_fail(GError **error, DomusError code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* SYSTEM, with the text of errno at its end. */
bool storage_fail_errno(GError **error, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
