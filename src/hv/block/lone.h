/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A write that is all that is in flight, done by the very thread that would otherwise wait for it. A file system takes a buffered write without sleeping, but not the promise never to: io_uring gives it
 * to another thread, and waking that one costs more than the copy into the page cache. Only whole pages, so that nothing is read first.
 *
 * All of it with the device lock held but lone_run, during which the write is the caller's alone: what it needs (descriptor, memory) stays until it is done. That thread cannot be interrupted
 * meanwhile, so it has to be short: the file system is a local one, the kernel lets a writer wait 200 ms at a time at most when there is too much unwritten data, and whoever met that leaves the way alone for a
 * while, which grows as long as it happens. Storage that hangs altogether hangs this thread as it hangs all others that touch its files. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "hv/bus/timer.h"

enum lone_state {
        LONE_NONE,
        LONE_HELD,    /* nobody knows yet whether somebody waits */
        LONE_KEPT,    /* somebody will call lone_begin */
        LONE_RUNNING, /* in lone_run */
        LONE_DONE,
};

struct lone {
        atomic_int state;
        bool possible;              /* by lone_probe */
        int fd;
        const struct iovec *iov;
        unsigned n_iov;
        uint64_t offset;
        int result;                 /* of a DONE one: bytes or negative errno */
        uint64_t took;              /* ns */
        uint64_t away_until, away;  /* virtual ns: the way is not taken; how long last time */
};

/* May writes to the regular file or block device be done like this? */
bool lone_probe(int fd, bool regular);
/* Is this write one of them, now (virtual ns)? */
bool lone_suits(const struct lone *lone, uint64_t offset, uint64_t len, uint64_t now);
/* NONE -> HELD. iov stays valid until the write is done or taken back. */
void lone_hold(struct lone *lone, int fd, const struct iovec *iov, unsigned n_iov, uint64_t offset);
/* HELD -> KEPT. False: nothing is held. */
bool lone_keep(struct lone *lone);
/* HELD -> NONE; KEPT -> NONE if kept: goes another way. False: it was neither. */
bool lone_take_back(struct lone *lone, bool kept);
/* KEPT -> RUNNING. False: it has been taken back. */
bool lone_begin(struct lone *lone);
/* RUNNING -> DONE. Without the device lock. */
void lone_run(struct lone *lone, const struct timer_loop *clock);
/* Waits for a RUNNING one to be DONE. */
void lone_wait(const struct lone *lone);
/* DONE -> NONE. False: it is not done, or somebody has taken the result. */
bool lone_take_result(struct lone *lone, uint64_t now, int *ret);
