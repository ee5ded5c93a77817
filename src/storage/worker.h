/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Work that may take long (file systems that hang, copies, programs) runs in threads; the loop hears when it is done. A work function sees nothing
 * but what it was given: no pool, no volume, only copies and shared definitions.
 *
 * Whoever makes workers, or calls a work function himself, has SIGCHLD blocked, as sd-event wants it of who watches children. */

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct StorageWorkers StorageWorkers;

/* What a work function asks whether it shall give up, as the daemon is ending. NULL: never. */
typedef struct {
        int fd; /* becomes readable then */
} StorageCancel;

/* In a thread. */
typedef bool (*StorageWorkFn)(const StorageCancel *cancel, gpointer data, GError **error);
/* On the loop, exactly once, never before storage_work_begin returns. error is borrowed; NULL: success. */
typedef void (*StorageWorkDone)(gpointer data, const GError *error);

StorageWorkers *storage_workers_new(sd_event *loop, GError **error);
/* Tells all work to give up, waits for it (some seconds; what hangs in the kernel is left behind) and calls what is to be called. */
void storage_workers_free(StorageWorkers *w);
void storage_work_begin(StorageWorkers *w, StorageWorkFn fn, StorageWorkDone done, gpointer data);

/* True, with OPERATION_ABORTED, if the work shall give up. */
bool storage_cancelled(const StorageCancel *cancel, GError **error);

/* Runs a program and waits for it; ret_out: what it wrote (g_free), may be NULL. fds become 3, 4, ... in it. */
bool storage_run(const StorageCancel *cancel, const char *const *argv, const int *fds, size_t n_fds, char **ret_out, GError **error);
