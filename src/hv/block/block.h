/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Images: what disks of all kinds read and write. A back end is one file and one row in block.c's table; limits (iotune), statistics, zero detection and error policy are
 * common. Everything is called with the device lock held, on vCPU threads and on the main thread; so do completions come. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "hv/bus/memory.h"
#include "hv/bus/props.h"
#include "hv/bus/timer.h"
#include "hv/bus/watch.h"

struct block;
struct ring;

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_OPS };

/* A request has at most this many pieces. */
#define BLOCK_IOV_MAX 1024

/* Embedded in who asks. */
struct block_request {
        enum block_op op;
        bool unmap;            /* WRITE_ZEROES: the space may be given back */
        uint64_t offset, len;  /* bytes, multiples of the logical block size, within the image: checked by block_submit */
        const struct iovec *iov; /* READ, WRITE: len bytes in all, none of the pieces empty; stays valid until done */
        unsigned n_iov;
        /* result: 0 or negative errno. Exactly once, perhaps before block_submit returns. Requests may complete in any order; a FLUSH covers what was done before it was submitted. */
        void (*done)(struct block_request *request, int result);
        struct block_request *next; /* the layer's own from here */
        struct block *block;
        enum block_op real_op;      /* what is done for it: a WRITE of zeroes may be a WRITE_ZEROES */
        bool real_unmap;
        uint64_t started;           /* virtual ns */
        void *private;              /* the back end's */
};

enum block_action { BLOCK_REPORT, BLOCK_STOP, BLOCK_IGNORE, BLOCK_ENOSPC }; /* enospc: stop on a full disk, else report */

/* What happened, for PLUG_EVENT_IO_ERROR. error: positive errno. */
const char *block_error_text(int error);

/* All of it outlives the image. */
struct block_env {
        struct timer_loop *timers;
        struct watch_loop *watches;
        pthread_mutex_t *lock;             /* the device lock; NULL: block_poll does nothing */
        struct ring *ring;                 /* NULL: an image that needs one makes its own */
        const struct guest_memory *memory; /* for back ends that share it */
        bool readonly;                     /* the device never writes */
        /* A request failed and waits for block_retry, the guest shall be paused (stop), or it goes on and was or was not told. error: positive errno; ECONNRESET: the back end has gone. */
        void (*error)(void *opaque, bool stop, int error);
        /* The image has another size now. May be NULL. */
        void (*resized)(void *opaque);
        /* A write went so many bytes beyond the threshold, which is off from now on. May be NULL. */
        void (*threshold)(void *opaque, uint64_t threshold, uint64_t excess);
        void *opaque;
};

/* Takes the image's properties from props: fd or vhost-user, readonly b, cache s (none, writeback, writethrough, directsync, unsafe), io s (a hint), discard b, detect-zeroes s (off, on, unmap),
 * logical-block-size u, physical-block-size u, iotune a{st} (limits.h), rerror and werror s (report, stop, ignore, enospc), threshold t, size t (what the guest sees of it; 0: all). Errors as for struct plug_driver's new. */
int block_new(const struct block_env *env, struct props *props, struct block **ret, char **ret_error);
/* Is there a property in props that chooses a back end? */
bool block_is_given(const struct props *props);
/* Waits for what is in flight: see block_drain. NULL is allowed. */
void block_free(struct block *b);
/* Changes properties of props: iotune (complete: what the table does not name is unlimited), size t (the image is looked at again; a regular file is made that long), threshold t (bytes; 0: off).
 * Others are left untaken. */
int block_set(struct block *b, struct props *props, char **ret_error);

uint64_t block_size(const struct block *b); /* bytes, a multiple of the logical block size */
unsigned block_logical_size(const struct block *b), block_physical_size(const struct block *b);
bool block_readonly(const struct block *b), block_can_discard(const struct block *b), block_writes_through(const struct block *b);
/* The guest chose the write cache's mode (virtio-blk's wce, SCSI's WCE). */
void block_set_write_through(struct block *b, bool on);

void block_submit(struct block *b, struct block_request *request);
/* Between these, submissions may be held back to go to the kernel together. They nest. */
void block_plug(struct block *b);
void block_unplug(struct block *b);
/* On the thread of a vCPU, after it has submitted requests and before it lets go of the device lock: it will poll for them, if they are likely to be done soon. Best before block_unplug. */
void block_poll_begin(struct block *b);
/* After block_poll_begin, once: waits a little, or writes. Lets go of the device lock meanwhile; the image may have been freed when it returns, and the device with it. */
void block_poll(struct block *b);
/* Throttled and stopped requests are failed with -ECANCELED; what is in flight goes on. */
void block_cancel(struct block *b);
/* block_cancel, then waits until nothing is in flight. Blocks the caller. */
void block_drain(struct block *b);
/* Requests that wait after an error that stopped the guest are submitted again. */
void block_retry(struct block *b);
/* Nothing is in flight, throttled or stopped. */
bool block_idle(const struct block *b);

struct block_stats {
        uint64_t ops[BLOCK_OPS], bytes[BLOCK_OPS], time_ns[BLOCK_OPS], errors[BLOCK_OPS]; /* by what was asked for; failed ones count as errors only */
        uint64_t highest; /* offset behind the last byte written */
};
const struct block_stats *block_stats(const struct block *b);
/* All figures under the names of vmproto.h. */
void block_report(const struct block *b, void (*fn)(void *opaque, const char *name, uint64_t value), void *opaque);
