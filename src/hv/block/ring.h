/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* An io_uring(7) that all images of a machine share. It can do nothing but read, write, synchronise and zero what is open already, and cannot be taught more: so the sandbox may let its one system
 * call through. What the kernel can do at once (data in the page cache) is completed on the thread that submits it, in ring_submit; only the rest wakes the main loop. */

#include <stdbool.h>
#include <liburing.h>

#include "hv/bus/watch.h"

struct ring;

/* An operation, embedded in who asks for it. */
struct ring_op {
        /* What it came to, as in the completion: bytes, or negative errno. May ask for more. */
        void (*done)(struct ring_op *op, int result);
        /* After ring_hold: there may be room now. */
        void (*start)(struct ring_op *op);
        struct ring_op *next;
};

/* Negative errno. Before the sandbox's filter. */
int ring_new(struct ring **ret);
/* Nothing is in flight, and it is detached. NULL is allowed. */
void ring_free(struct ring *ring);
/* From here on until ring_detach the device lock is held for everything. */
int ring_attach(struct ring *ring, struct watch_loop *watches);
void ring_detach(struct ring *ring);
/* An entry to be filled in by io_uring_prep_* and then by io_uring_sqe_set_data with op; NULL: none is free, see ring_hold. */
struct io_uring_sqe *ring_get(struct ring *ring);
/* op->start is called when something else has completed. */
void ring_hold(struct ring *ring, struct ring_op *op);
/* Everything that was filled in goes to the kernel; what is done then is completed. */
void ring_submit(struct ring *ring);
/* See struct block_backend's ready and quiet. */
bool ring_ready(const struct ring *ring);
void ring_quiet(struct ring *ring, bool on);
/* Blocks until something has completed. Only while something is in flight. */
void ring_wait(struct ring *ring);
