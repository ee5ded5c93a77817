/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* An io_uring(7) with its watch. Operations that the kernel can do at once (data in the page cache) are completed on the thread that submits them, in ring_reap; only
 * those that it could not wake the main loop. With the device lock held. */

#include <stdbool.h>
#include <liburing.h>

#include "hv/bus/watch.h"

struct ring {
        struct io_uring uring;
        struct watch watch;
        int event_fd;
        bool reaping;
        /* What an operation came to, as in the completion: bytes, or negative errno. data: as given with it. May submit more. */
        void (*done)(void *opaque, void *data, int result);
        void *opaque;
};

/* Negative errno; then nothing has to be undone. */
int ring_init(struct ring *ring, struct watch_loop *watches, void (*done)(void *opaque, void *data, int result), void *opaque);
/* Nothing is in flight. */
void ring_finish(struct ring *ring);
/* An entry to be filled in by io_uring_prep_*; NULL: none is free, what is in flight has to complete first. */
struct io_uring_sqe *ring_get(struct ring *ring, void *data);
/* Everything that was filled in goes to the kernel; what is done then is completed. */
void ring_submit(struct ring *ring);
/* Blocks until something has completed. Only while something is in flight. */
void ring_wait(struct ring *ring);
