/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Images: what disks of all kinds read and write. A back end is one file and one row in block.c's table; limits (iotune), statistics, zero detection and error policy are
 * common. Everything is called with the device lock held; completions come on the main thread with the lock held. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "hv/bus/props.h"
#include "hv/bus/timer.h"
#include "hv/bus/watch.h"

struct block;
struct guest_memory;

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_OPS };

/* Embedded in who asks. */
struct block_request {
        enum block_op op;
        bool unmap;            /* WRITE_ZEROES: the space may be given back */
        uint64_t offset, len;  /* bytes, multiples of the logical block size, within the image: checked by block_submit */
        const struct iovec *iov; /* READ, WRITE: len bytes in all; stays valid until done */
        unsigned n_iov;
        /* result: 0 or negative errno. Exactly once, perhaps before block_submit returns. Requests may complete in any order; a FLUSH covers what was done before it was submitted. */
        void (*done)(struct block_request *request, int result);
        struct block_request *next; /* the layer's own from here */
        struct block *block;
        uint64_t started;           /* virtual ns */
        void *private;
};

enum block_action { BLOCK_REPORT, BLOCK_STOP, BLOCK_IGNORE, BLOCK_ENOSPC }; /* enospc: stop on a full disk, else report */

struct block_env {
        struct timer_loop *timers;
        struct watch_loop *watches;
        const struct guest_memory *memory; /* for back ends that share it */
        /* A request failed and waits for block_retry, the guest shall be paused (stop), or it was only reported to the guest. */
        void (*error)(void *opaque, bool stop, int error);
        /* The image has another size now. May be NULL. */
        void (*resized)(void *opaque);
        /* The offset that was written passed the threshold. May be NULL. */
        void (*threshold)(void *opaque, uint64_t threshold);
        void *opaque;
};

/* Takes the image's properties (see vmproto.h: fd or vhost-user, readonly, cache, discard, detect-zeroes, iotune, logical-block-size, rerror, werror, ...) from props. Errors as for
 * struct plug_driver's new. */
int block_new(const struct block_env *env, struct props *props, struct block **ret, char **ret_error);
/* Nothing may be in flight: see block_drain. */
void block_free(struct block *b);
/* Changes properties (iotune, size to look at the image's size again, threshold) of props; the others are left. */
int block_set(struct block *b, struct props *props, char **ret_error);

uint64_t block_size(const struct block *b);  /* bytes */
unsigned block_logical_size(const struct block *b), block_physical_size(const struct block *b);
bool block_readonly(const struct block *b), block_can_discard(const struct block *b), block_writes_through(const struct block *b);
/* The guest chose the write cache's mode (virtio-blk's wce). */
void block_set_write_through(struct block *b, bool on);

void block_submit(struct block *b, struct block_request *request);
/* Between these, submissions may be held back to go to the kernel together. */
void block_plug(struct block *b), block_unplug(struct block *b);
/* Waits until nothing is in flight (throttled and stopped requests are failed with -ECANCELED). Blocks the caller. */
void block_drain(struct block *b);
/* Requests that wait after an error that stopped the guest are submitted again. */
void block_retry(struct block *b);
bool block_idle(const struct block *b);

struct block_stats {
        uint64_t ops[BLOCK_OPS], bytes[BLOCK_OPS], time_ns[BLOCK_OPS], errors[BLOCK_OPS];
        uint64_t highest; /* offset behind the last byte written */
};
const struct block_stats *block_stats(const struct block *b);

/* --- Back ends --- */

/* A request goes in by submit and comes back by block_complete, also from within submit. len and offset are right. */
struct block_backend {
        const char *prop; /* the descriptor property that chooses it: "fd", "vhost-user" */
        int (*open)(struct block *b, struct props *props, char **ret_error); /* sets b's private pointer, size, sizes, features by block_set_* below */
        void (*submit)(struct block *b, struct block_request *request);
        void (*flush_queue)(struct block *b);  /* what submit held back goes out; NULL: nothing is ever held back */
        void (*wait)(struct block *b);         /* blocks until something in flight has completed */
        int (*look)(struct block *b);          /* the size again */
        void (*close)(struct block *b);
};
void block_complete(struct block *b, struct block_request *request, int result);
