/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Virtual time and device timers. Virtual time is CLOCK_MONOTONIC less the time the machine was paused. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct timer_loop;
struct timer;

/* Runs on the main loop's thread with the device lock held. */
typedef void (*timer_fn)(void *opaque);

struct timer {
        struct timer_loop *loop;
        timer_fn fn;
        void *opaque;
        uint64_t deadline; /* virtual ns; valid while armed */
        unsigned heap_pos; /* 1-based; 0: not armed */
};

/* lock is the device lock. The loop starts paused, at virtual time 0. */
int timer_loop_new(pthread_mutex_t *lock, struct timer_loop **ret);
void timer_loop_free(struct timer_loop *loop);
/* A timerfd that polls readable when timer_loop_dispatch has work. */
int timer_loop_fd(struct timer_loop *loop);
/* Runs what is due; takes the device lock itself. Main loop only. */
void timer_loop_dispatch(struct timer_loop *loop);
/* Stop and restart virtual time. */
void timer_loop_pause(struct timer_loop *loop, bool paused);

/* Virtual time in ns; any thread, no lock needed. */
uint64_t timer_now(const struct timer_loop *loop);

void timer_init(struct timer *t, struct timer_loop *loop, timer_fn fn, void *opaque);
/* Arms or re-arms t for an absolute virtual time in ns. With the device lock held, from any thread. */
void timer_arm(struct timer *t, uint64_t deadline);
/* With the device lock held; harmless if not armed. */
void timer_cancel(struct timer *t);
