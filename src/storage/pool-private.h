/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Inside of pools.h. */

#include "storage/backend.h"
#include "storage/pools.h"
#include "storage/store.h"
#include "storage/worker.h"

struct DomusPools {
        sd_event *loop;
        StorageStore *store;
        StorageWorkers *workers;
        bool privileged;
        GHashTable *by_name, *by_uuid; /* of DomusPool; by_uuid owns */
        unsigned jobs;                 /* of all pools */
        DomusPoolEventFn listener;
        gpointer listener_opaque;
};

struct DomusPool {
        unsigned refs;
        DomusPools *pools;      /* NULL: gone */
        char *name;
        uint8_t uuid[DOMUS_UUID_LEN];
        DomusPoolDef *def;      /* in use, or else what will be */
        DomusPoolDef *next;     /* defined anew while in use; NULL: no */
        bool persistent, autostart, active;
        DomusPoolState state;
        GHashTable *volumes;    /* name -> DomusVolume */
        GHashTable *raw;        /* names of volumes that stay raw */
        GHashTable *reserved;   /* names of volumes being made */
        unsigned volume_jobs;   /* under way on volumes, those being made too */
        unsigned changes;       /* grows when volumes do come and go other than by a scan */
        GQueue jobs;            /* of struct pool_job; the head runs */
};

struct DomusVolume {
        unsigned refs;
        DomusPool *pool;        /* referenced */
        DomusVolumeDef *def;
        unsigned users;         /* operations under way */
        bool writing;           /* one of them changes it; it is alone then */
        bool gone;              /* deleted, or not found by a scan */
};

/* --- pools.c --- */

DomusPool *pools_add(DomusPools *pools, DomusPoolDef *def);
/* The pool leaves the tables; hold a reference. */
void pools_drop(DomusPool *p);
void pools_emit(DomusPool *p, bool refresh, int event);
/* The pool that def names by its name and uuid, NULL if there is none; false if it contradicts one, or takes another's source. */
bool pools_match(DomusPools *pools, const DomusPoolDef *def, DomusPool **ret, GError **error);

/* --- pool-job.c --- */

/* Looks whether a pool that was active is so still. */
void pool_recover(DomusPool *p);
bool pool_require_active(const DomusPool *p, GError **error);
/* Calls of jobs that have not begun; those under way end by the workers. */
void pool_abort_jobs(DomusPool *p);

/* --- volume.c --- */

DomusVolume *volume_new(DomusPool *p, DomusVolumeDef *def);
/* Its pool is not in use any more, or it is no more. */
void volume_set_gone(DomusVolume *v);
/* Takes over what a scan found; volumes at work stay as they are. */
void pool_take_volumes(DomusPool *p, GPtrArray *found);
void pool_drop_volumes(DomusPool *p);
/* A copy of the names, for workers. */
DomusRawNames *pool_raw_names(const DomusPool *p);
void pool_set_raw(DomusPool *p, const char *name, bool raw);
/* An operation begins, which changes the volume or only reads it: OPERATION_INVALID if it is in use so that it cannot. */
bool volume_begin(DomusVolume *v, bool write, GError **error);
void volume_end(DomusVolume *v);
