/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting on the vCPU's own thread. A guest that has asked for one thing mostly goes to sleep until it has it: if that takes some microseconds only, waiting costs less than what the guest does to
 * fall asleep and wake up, and than the way by the main loop. How long it is worth to wait is learnt from how long requests take: too long, and nobody waits any more. What a back end keeps for the thread
 * that waits is done by that thread itself. */
#include <sched.h>
#include <stdatomic.h>

#include "base/macros.h"
#include "hv/block/backend.h"

#define WAIT_MIN 10000u  /* ns */
/* What a sleeping guest, a sleeping server of its image and the main loop lose for a request is 100 to 300 us where a CPU that wakes up first has to be let go by a hypervisor. */
#define WAIT_MAX 500000u
/* What takes longer to copy is not waited for, nor does it say anything of what is not. */
#define LARGE MiB(1)
#define LOOKS 32u /* between looks at the clock, which also let others have the CPU: what is waited for may be done there */

struct block_poller {
        struct block_poller *next;
        atomic_bool stop; /* by who frees the image */
        atomic_bool out;  /* nothing of the image is touched any more without the lock */
        bool works;       /* instead of looking */
        bool gone;        /* the image is freed */
};

static void spin(struct block *b, struct block_poller *self, uint64_t until)
{
        while (!atomic_load(&self->stop) && timer_now(b->env.timers) < until) {
                for (unsigned i = 0; i < LOOKS; i++) {
                        if (b->backend->ready(b))
                                return;
                        __builtin_ia32_pause();
                }
                sched_yield();
        }
}

static void leave(struct block *b, struct block_poller *self)
{
        struct block_poller **p = &b->pollers;

        while (*p != self)
                p = &(*p)->next;
        *p = self->next;
}

void block_poll_begin(struct block *b)
{
        if (b->in_flight != 1 || !b->env.lock || b->poll_begun || b->work_kept)
                return;
        if (b->backend->keep && b->backend->keep(b)) {
                b->work_kept = true;
        } else if (b->poll_ns[b->poll_op] && b->poll_len <= LARGE) {
                b->poll_begun = true;
                b->backend->quiet(b, true);
        }
}

/* Without the device lock: looks, or works. False: the image is gone. */
static bool wait_here(struct block *b, bool works)
{
        struct block_poller self = { .next = b->pollers, .works = works };
        pthread_mutex_t *lock = b->env.lock;

        b->pollers = &self;
        pthread_mutex_unlock(lock);
        if (works)
                b->backend->work(b);
        else
                spin(b, &self, timer_now(b->env.timers) + b->poll_ns[b->poll_op]);
        atomic_store(&self.out, true); /* b may be freed from here on */
        pthread_mutex_lock(lock);
        if (!self.gone)
                leave(b, &self);
        return !self.gone;
}

void block_poll(struct block *b)
{
        bool kept = b->work_kept, begun = b->poll_begun;

        b->work_kept = b->poll_begun = false;
        if (kept) {
                if (b->backend->begin(b) && wait_here(b, true))
                        b->backend->worked(b);
        } else if (begun) {
                if (b->in_flight == 0 || wait_here(b, false))
                        b->backend->quiet(b, false);
        }
}

void block_poll_learn(struct block *b, const struct block_request *request, uint64_t took)
{
        unsigned wait = b->poll_ns[request->op];

        if (request->len > LARGE)
                return;
        if (took > WAIT_MAX)
                wait = wait / 2 < WAIT_MIN ? 0 : wait / 2;
        else if (took > wait)
                wait = wait * 2 < WAIT_MIN ? WAIT_MIN : wait * 2 < WAIT_MAX ? wait * 2 : WAIT_MAX;
        b->poll_ns[request->op] = wait;
}

void block_poll_end(struct block *b)
{
        for (struct block_poller *p = b->pollers; p; p = p->next)
                atomic_store(&p->stop, true);
        for (; b->pollers; b->pollers = b->pollers->next) {
                while (!atomic_load(&b->pollers->out))
                        sched_yield();
                b->pollers->gone = true;
                if (!b->pollers->works)
                        b->backend->quiet(b, false);
        }
}
