/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Storage pools and their volumes: the logic behind every presentation. One thread, one sd-event loop; what may take long runs in workers.
 *
 * Operations that take long have a callback that is called exactly once, never before the function returns, or, where the operation is refused at once,
 * possibly before; error is borrowed, NULL on success. A pool has one such operation at a time, others queue; operations on its volumes go on beside
 * them, but a pool with volumes at work cannot be stopped, deleted or undefined.
 *
 * A raw volume that was made here, or handed to a guest, stays raw whatever its first bytes say: that is remembered in the state directory. The
 * formats of other files in a pool are read from their headers at every refresh. */

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "model/error.h"
#include "model/pool-def.h"
#include "model/volume-def.h"

typedef struct DomusPools DomusPools;
typedef struct DomusPool DomusPool;
typedef struct DomusVolume DomusVolume;

typedef void (*DomusPoolDone)(DomusPool *pool /* NULL on failure */, const GError *error, gpointer opaque);
typedef void (*DomusVolumeDone)(DomusVolume *volume /* NULL on failure, and when it was deleted */, const GError *error, gpointer opaque);

/* --- All pools of this daemon --- */

typedef struct {
        const char *config_dir; /* definitions in storage/, marks in storage/autostart/ */
        const char *run_dir;    /* storage/: what is active */
        const char *state_dir;  /* storage/: formats that were settled */
        bool privileged;        /* may mount, log in to iSCSI targets, ... */
} DomusPoolDirs;

/* Loads the definitions and looks again at the pools that were active before. Strings are copied. SIGCHLD must be blocked (storage/worker.h). */
DomusPools *domus_pools_new(sd_event *loop, const DomusPoolDirs *dirs, GError **error);
/* Gives up what is under way; pools stay active. */
void domus_pools_free(DomusPools *pools);
/* Starts the pools marked so, once per boot, and runs the loop until they have started, or have failed to, or
 * timeout_ms have passed: domains that start on their own may need them. */
void domus_pools_autostart(DomusPools *pools, unsigned timeout_ms);

/* Borrowed; NULL with DOMUS_ERROR_NO_STORAGE_POOL. */
DomusPool *domus_pools_lookup_uuid(DomusPools *pools, const uint8_t uuid[DOMUS_UUID_LEN], GError **error);
DomusPool *domus_pools_lookup_name(DomusPools *pools, const char *name, GError **error);
DomusPool *domus_pools_lookup_target(DomusPools *pools, const char *path, GError **error);
/* Array of DomusPool *, each referenced, sorted by name; flags: virConnectListAllStoragePoolsFlags, 0: all. */
GPtrArray *domus_pools_list(DomusPools *pools, unsigned flags);

/* flags: virStoragePoolDefineFlags. Borrowed result. */
DomusPool *domus_pools_define(DomusPools *pools, const char *xml, unsigned flags, GError **error);
/* A transient pool, started; flags: virStoragePoolCreateFlags. */
void domus_pools_create_xml(DomusPools *pools, const char *xml, unsigned flags, DomusPoolDone done, gpointer opaque);

/* The <storagepoolCapabilities> document; g_free. */
char *domus_pools_capabilities(DomusPools *pools);
typedef void (*DomusSourcesDone)(const char *xml /* NULL on failure */, const GError *error, gpointer opaque);
/* spec: a <source> document or NULL. */
void domus_pools_find_sources(DomusPools *pools, const char *type, const char *spec, DomusSourcesDone done, gpointer opaque);

/* --- Events --- */

typedef struct {
        DomusPool *pool; /* still complete, also when undefined */
        bool refresh;    /* else a life cycle event */
        int event;       /* virStoragePoolEventLifecycleType */
} DomusPoolEvent;

typedef void (*DomusPoolEventFn)(const DomusPoolEvent *event, gpointer opaque);
/* One listener; NULL removes it. Called before the operation's callback. */
void domus_pools_set_listener(DomusPools *pools, DomusPoolEventFn fn, gpointer opaque);

/* --- One pool --- */

DomusPool *domus_pool_ref(DomusPool *p);
void domus_pool_unref(DomusPool *p);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusPool, domus_pool_unref)

const char *domus_pool_name(const DomusPool *p);
const uint8_t *domus_pool_uuid(const DomusPool *p);
bool domus_pool_is_active(const DomusPool *p);
bool domus_pool_is_persistent(const DomusPool *p);
/* virStoragePoolState. */
int domus_pool_state(const DomusPool *p);
/* Zeros while inactive. */
const DomusPoolState *domus_pool_sizes(const DomusPool *p);
bool domus_pool_get_autostart(const DomusPool *p);
bool domus_pool_set_autostart(DomusPool *p, bool on, GError **error);
/* flags: virStorageXMLFlags. g_free. */
char *domus_pool_xml(DomusPool *p, unsigned flags);

void domus_pool_start(DomusPool *p, unsigned flags, DomusPoolDone done, gpointer opaque);  /* virStoragePoolCreateFlags */
void domus_pool_build(DomusPool *p, unsigned flags, DomusPoolDone done, gpointer opaque);  /* virStoragePoolBuildFlags */
void domus_pool_refresh(DomusPool *p, DomusPoolDone done, gpointer opaque);
void domus_pool_stop(DomusPool *p, DomusPoolDone done, gpointer opaque);
void domus_pool_delete(DomusPool *p, unsigned flags, DomusPoolDone done, gpointer opaque); /* virStoragePoolDeleteFlags */
bool domus_pool_undefine(DomusPool *p, GError **error);

/* --- Volumes: of active pools only --- */

/* Borrowed; NULL with DOMUS_ERROR_NO_STORAGE_VOL, or OPERATION_INVALID for a pool that is not active. Hold a reference across the main loop. */
DomusVolume *domus_pool_lookup_volume(DomusPool *p, const char *name, GError **error);
DomusVolume *domus_pools_lookup_volume_key(DomusPools *pools, const char *key, GError **error);
DomusVolume *domus_pools_lookup_volume_path(DomusPools *pools, const char *path, GError **error);
/* Array of DomusVolume *, each referenced, sorted by name; NULL for a pool that is not active. */
GPtrArray *domus_pool_list_volumes(DomusPool *p, GError **error);

DomusVolume *domus_volume_ref(DomusVolume *v);
void domus_volume_unref(DomusVolume *v);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusVolume, domus_volume_unref)

DomusPool *domus_volume_pool(const DomusVolume *v);
/* What it is, as last looked at. */
const DomusVolumeDef *domus_volume_def(const DomusVolume *v);

/* flags: virStorageVolCreateFlags; source: to be copied from, of this or another pool, or NULL. */
void domus_pool_create_volume(DomusPool *p, const char *xml, DomusVolume *source, unsigned flags, DomusVolumeDone done, gpointer opaque);
/* Looks at the volume again: sizes, times, permissions. */
void domus_volume_update(DomusVolume *v, DomusVolumeDone done, gpointer opaque);
void domus_volume_delete(DomusVolume *v, unsigned flags, DomusVolumeDone done, gpointer opaque);            /* virStorageVolDeleteFlags */
void domus_volume_resize(DomusVolume *v, uint64_t capacity, unsigned flags, DomusVolumeDone done, gpointer opaque); /* bytes; virStorageVolResizeFlags */
void domus_volume_wipe(DomusVolume *v, unsigned algorithm, DomusVolumeDone done, gpointer opaque);          /* virStorageVolWipeAlgorithm */

/* A socket that speaks storage/transfer.h's records, non-blocking, the caller's; -1 on failure. offset and length in bytes; length 0: to the end. */
int domus_volume_upload(DomusVolume *v, uint64_t offset, uint64_t length, bool sparse, GError **error);
int domus_volume_download(DomusVolume *v, uint64_t offset, uint64_t length, bool sparse, GError **error);

/* --- For domains --- */

typedef struct {
        char *path; /* NULL: an iSCSI unit that is no device of the host */
        char *format;
        bool block; /* a block device */
        char *host, *port, *unit, *initiator; /* of such a unit: where (port NULL: the usual one), "TARGET/NUMBER", and who asks */
} DomusVolumeLocation;

/* Where the volume is, for a guest that will use it. Active pools only; NO_STORAGE_POOL, NO_STORAGE_VOL, or OPERATION_INVALID "storage pool 'x' is not
 * active". A raw volume is never probed again from here on. */
bool domus_pools_resolve(DomusPools *pools, const char *pool, const char *volume, DomusVolumeLocation *ret, GError **error);
void domus_volume_location_clear(DomusVolumeLocation *l);
/* A guest uses the image at path as raw: should it be a volume, it is never probed again. */
void domus_pools_note_raw(DomusPools *pools, const char *path);
