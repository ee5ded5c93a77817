/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/timer.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"

/* Far more than a machine has: each device has a handful. */
#define TIMERS_MAX 256

#define RUNNING UINT64_MAX

struct timer_loop {
        pthread_mutex_t *lock;
        int fd;
        _Atomic uint64_t frozen; /* virtual time while paused, else RUNNING */
        _Atomic uint64_t offset; /* CLOCK_MONOTONIC less virtual time, while running */
        unsigned n;
        struct timer *heap[TIMERS_MAX + 1]; /* binary heap by deadline, from index 1 */
};

static uint64_t host_now(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int timer_loop_new(pthread_mutex_t *lock, struct timer_loop **ret)
{
        struct timer_loop *loop = calloc(1, sizeof(*loop));

        if (!loop)
                return -ENOMEM;
        loop->lock = lock;
        loop->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (loop->fd < 0) {
                int r = -errno;

                free(loop);
                return r;
        }
        *ret = loop;
        return 0;
}

void timer_loop_free(struct timer_loop *loop)
{
        if (!loop)
                return;
        fd_close(loop->fd);
        free(loop);
}

int timer_loop_fd(struct timer_loop *loop)
{
        return loop->fd;
}

uint64_t timer_now(const struct timer_loop *loop)
{
        uint64_t frozen = atomic_load(&loop->frozen);

        return frozen != RUNNING ? frozen : host_now() - atomic_load(&loop->offset);
}

/* Sets the timerfd for the earliest timer; disarms it while there is none or time stands still. */
static void program(struct timer_loop *loop)
{
        struct itimerspec its = { 0 };

        if (loop->n && atomic_load(&loop->frozen) == RUNNING) {
                uint64_t when = loop->heap[1]->deadline, offset = atomic_load(&loop->offset);

                /* A deadline far beyond any lifetime must not wrap; 0 would disarm. */
                when = when > (uint64_t)INT64_MAX - offset ? (uint64_t)INT64_MAX : when + offset;
                its.it_value.tv_sec = (time_t)(when / 1000000000u);
                its.it_value.tv_nsec = when ? (long)(when % 1000000000u) : 1;
        }
        timerfd_settime(loop->fd, TFD_TIMER_ABSTIME, &its, NULL);
}

void timer_loop_pause(struct timer_loop *loop, bool paused)
{
        pthread_mutex_lock(loop->lock);
        if (paused) {
                atomic_store(&loop->frozen, timer_now(loop));
        } else if (atomic_load(&loop->frozen) != RUNNING) {
                atomic_store(&loop->offset, host_now() - atomic_load(&loop->frozen));
                atomic_store(&loop->frozen, RUNNING);
        }
        program(loop);
        pthread_mutex_unlock(loop->lock);
}

static void place(struct timer_loop *loop, struct timer *t, unsigned pos)
{
        loop->heap[pos] = t;
        t->heap_pos = pos;
}

static void sift(struct timer_loop *loop, struct timer *t, unsigned pos)
{
        while (pos > 1 && t->deadline < loop->heap[pos / 2]->deadline) {
                place(loop, loop->heap[pos / 2], pos);
                pos /= 2;
        }
        for (;;) {
                unsigned child = pos * 2;

                if (child < loop->n && loop->heap[child + 1]->deadline < loop->heap[child]->deadline)
                        child++;
                if (child > loop->n || t->deadline <= loop->heap[child]->deadline)
                        break;
                place(loop, loop->heap[child], pos);
                pos = child;
        }
        place(loop, t, pos);
}

static void heap_remove(struct timer_loop *loop, struct timer *t)
{
        struct timer *last = loop->heap[loop->n--];

        if (last != t)
                sift(loop, last, t->heap_pos);
        t->heap_pos = 0;
}

void timer_init(struct timer *t, struct timer_loop *loop, timer_fn fn, void *opaque)
{
        *t = (struct timer){ .loop = loop, .fn = fn, .opaque = opaque };
}

void timer_arm(struct timer *t, uint64_t deadline)
{
        struct timer_loop *loop = t->loop;
        bool was_first = t->heap_pos == 1;

        if (!t->heap_pos) {
                if (loop->n == TIMERS_MAX) {
                        log_error("more than %d timers are armed", TIMERS_MAX);
                        return;
                }
                t->heap_pos = ++loop->n;
        }
        t->deadline = deadline;
        sift(loop, t, t->heap_pos);
        if (was_first || t->heap_pos == 1)
                program(loop);
}

void timer_cancel(struct timer *t)
{
        bool was_first = t->heap_pos == 1;

        if (!t->heap_pos)
                return;
        heap_remove(t->loop, t);
        if (was_first)
                program(t->loop);
}

void timer_loop_dispatch(struct timer_loop *loop)
{
        uint64_t now, expirations;

        if (read(loop->fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
                log_warning("cannot read the timer descriptor: %m");
        pthread_mutex_lock(loop->lock);
        /* One reading of the clock, and a timer that re-arms itself without getting on ends the round: other work of the
         * main loop gets its turn. */
        now = timer_now(loop);
        while (loop->n && loop->heap[1]->deadline <= now) {
                struct timer *t = loop->heap[1];
                uint64_t deadline = t->deadline;

                heap_remove(loop, t);
                t->fn(t->opaque);
                if (t->heap_pos && t->deadline <= deadline)
                        break;
        }
        program(loop);
        pthread_mutex_unlock(loop->lock);
}
