/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The host's timer behind a vCPU's LAPIC timer: it signals the vCPU's own thread, whose handler asks the run loop to look (DBT_REQ_TIMER).
 *
 * A thread that waits for all vCPUs would have to be scheduled itself, beside vCPUs that use every processor, and be woken for every timer that
 * a guest programs before it sleeps. The signal comes from the timer's interrupt, on the processor that runs the vCPU.
 *
 * Guests program their timer much more often than it expires, mostly to a later time. So one that is armed early enough stays: when it goes off,
 * the run loop finds nothing due and arms it for what is left. The calls are made without the C library, which may use vector registers. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/sys.h"

#define TIMER_SIGNAL (SIGRTMIN + 4)
/* From one expiry to the next: a guest that asks for more interrupts than it can take still gets on. */
#define SHORTEST_NS 10000u
/* Longer ones go off early. */
#define LONGEST_NS 3600000000000u
/* How much too early the host's timer may be for a vCPU that goes to sleep. */
#define SLACK_NS 50000u

/* What this thread runs, for the signal handler; NULL outside of dbt_vcpu_run. */
static __thread struct dbt_vcpu *timer_self __attribute__((tls_model("initial-exec")));

static __attribute__((used)) void on_timer(int sig, siginfo_t *info, void *context)
{
        struct dbt_vcpu *v = timer_self;

        if (!v)
                return;
        atomic_store(&v->timer.armed, UINT64_MAX);
        dbt_ask(v, DBT_REQ_TIMER);
}

MIRROR_HANDLER(on_timer_mirrored, "on_timer")

int dbt_timer_install_signal(bool mirrored)
{
        struct sigaction sa;

        memset(&sa, 0, sizeof(sa));
        sa.sa_sigaction = mirrored ? on_timer_mirrored : on_timer;
        sa.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK; /* translated code uses RSP for something else */
        sigemptyset(&sa.sa_mask);
        return sigaction(TIMER_SIGNAL, &sa, NULL) < 0 ? -errno : 0;
}

void dbt_timer_free(struct dbt_vcpu *v)
{
        if (v->timer.thread)
                syscall(SYS_timer_delete, v->timer.id);
        v->timer.thread = 0;
}

static int timer_for_thread(struct dbt_vcpu *v, pid_t thread)
{
        struct sigevent event;

        memset(&event, 0, sizeof(event));
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = TIMER_SIGNAL;
        event._sigev_un._tid = thread;
        if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &v->timer.id) < 0)
                return -errno;
        v->timer.thread = thread;
        return 0;
}

/* Signals from before this point have been lost: whatever is armed does not count. */
int dbt_timer_enter(struct dbt_vcpu *v)
{
        pid_t thread = gettid();
        int r = 0;

        if (v->timer.thread != thread) {
                dbt_timer_free(v);
                r = timer_for_thread(v, thread);
        }
        timer_self = v;
        atomic_store(&v->timer.armed, UINT64_MAX);
        dbt_ask(v, DBT_REQ_TIMER);
        return r;
}

void dbt_timer_leave(void)
{
        timer_self = NULL;
}

/* The handler may run at any point here: armed is set first, so that it is never later than what the host knows. */
static void arm(struct dbt_vcpu *v, uint64_t ns, uint64_t at)
{
        struct itimerspec t = { .it_value = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) } };

        atomic_store(&v->timer.armed, at);
        syscall(SYS_timer_settime, v->timer.id, 0, &t, NULL);
}

static uint64_t ticks(const struct dbt_vcpu *v, uint64_t ns)
{
        return ns * v->vm->tsc_khz / 1000000;
}

static void set(struct dbt_vcpu *v, uint64_t ns, bool sleeps)
{
        uint64_t armed = atomic_load(&v->timer.armed), at;

        if (ns == UINT64_MAX) {
                if (sleeps && armed != UINT64_MAX)
                        arm(v, 0, UINT64_MAX);
                return;
        }
        if (ns < SHORTEST_NS)
                ns = SHORTEST_NS;
        if (ns > LONGEST_NS)
                ns = LONGEST_NS;
        at = dbt_host_tsc() + ticks(v, ns);
        if (armed > at || (sleeps && armed < at - ticks(v, SLACK_NS)))
                arm(v, ns, at);
}

/* Fires the LAPIC's timer if it is due. Returns ns until the next expiry. */
static uint64_t expire(struct dbt_vcpu *v)
{
        uint64_t ns = lapic_timer_poll(v->lapic);

        if (ns)
                return ns;
        v->timer.expired = dbt_host_tsc();
        return lapic_timer_poll(v->lapic); /* a periodic one has a next time */
}

void dbt_timer_refresh(struct dbt_vcpu *v, bool sleeps)
{
        atomic_fetch_and(&v->request, ~(uint32_t)DBT_REQ_TIMER);
        if (dbt_host_tsc() - v->timer.expired < ticks(v, SHORTEST_NS)) {
                set(v, SHORTEST_NS, sleeps);
                return;
        }
        if (lapic_timer_asks_time(v->lapic))
                dbt_fpu_save(v);
        set(v, expire(v), sleeps);
}
