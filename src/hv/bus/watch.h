/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* File descriptors that back ends wait for. A loop of its own, an epoll(7) instance that the main loop polls, so that device code can
 * change what it waits for from any thread. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct watch_loop;

/* Runs on the main loop's thread with the device lock held. events: EPOLLIN and so on. */
typedef void (*watch_fn)(void *opaque, uint32_t events);

/* Embedded in who waits; zeroed before watch_add. */
struct watch {
        struct watch_loop *loop; /* NULL: not in one */
        int fd;                  /* borrowed */
        uint32_t events;
        watch_fn fn;
        void *opaque;
};

/* lock is the device lock. Negative errno. */
int watch_loop_new(pthread_mutex_t *lock, struct watch_loop **ret);
/* All watches have been removed. */
void watch_loop_free(struct watch_loop *loop);
/* Polls readable when watch_loop_dispatch has work. */
int watch_loop_fd(const struct watch_loop *loop);
/* Calls what is ready; takes the device lock itself. Main loop only. */
void watch_loop_dispatch(struct watch_loop *loop);

/* All three with the device lock held or before any vCPU exists, from any thread, also from within watch_fn. events may be 0: only errors and hang-ups are
 * reported then. Negative errno. */
int watch_add(struct watch_loop *loop, struct watch *w, int fd, uint32_t events, watch_fn fn, void *opaque);
int watch_set(struct watch *w, uint32_t events);
/* No call follows; harmless if it is in no loop. */
void watch_remove(struct watch *w);
