/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The run loop of a vCPU's thread: runs blocks, answers requests, sleeps in HLT.
 *
 * A fault or a dropped block unwinds out of whatever a handler is doing to the sigsetjmp in dbt_vcpu_run; everything
 * worth keeping is in v. */

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/check.h"
#include "hv/engine/dbt/sys.h"
#include "hv/engine/dbt/tr.h"

/* --- Requests ------------------------------------------------------------------------------------------------------ */

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
        return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* The order of the two accesses here and of those in sleep_once makes sure that the sleeper sees the bits or this sees the sleeper. */
void dbt_request(struct dbt_vcpu *v, uint32_t bits)
{
        dbt_ask(v, bits);
        if (atomic_load(&v->sleeping))
                futex(&v->request, FUTEX_WAKE, INT_MAX);
}

void dbt_end_block(struct dbt_vcpu *v)
{
        dbt_ask(v, DBT_REQ_INTR | DBT_REQ_TIMER);
}

/* --- Sleeping ----------------------------------------------------------------------------------------------------------- */

#define ANSWERED_BY_LOOKING (DBT_REQ_INTR | DBT_REQ_INIT | DBT_REQ_TIMER | DBT_REQ_EXCLUSIVE)

/* One sleep in HLT or waiting for SIPI, outside of the guest. Returns true when there may be a reason to go on. The timer's signal comes before
 * the futex's look at the requests, which then differ, or interrupts it. */
static bool sleep_once(struct dbt_vcpu *v)
{
        uint32_t seen;

        /* Requests from before this point are answered by looking at what they point to. One for an exclusive section is void for a
         * vCPU outside of the guest. */
        seen = atomic_fetch_and(&v->request, ~(uint32_t)ANSWERED_BY_LOOKING);
        dbt_timer_refresh(v, !dbt_has_wakeup(v));
        if ((seen & DBT_REQ_KICK) || dbt_has_wakeup(v))
                return true;
        futex(&v->request, FUTEX_WAIT, seen & ~(uint32_t)ANSWERED_BY_LOOKING);
        return false;
}

static void sleep_until_wakeup(struct dbt_vcpu *v)
{
        dbt_fpu_save(v);
        dbt_leave_guest(v);
        atomic_store(&v->sleeping, true);
        while (!sleep_once(v))
                ;
        atomic_store(&v->sleeping, false);
        dbt_enter_guest(v);
        if (dbt_has_wakeup(v)) {
                if (v->mp_state == X86_MP_HALTED) {
                        atomic_store(&v->sys.pv_kick, false);
                        v->mp_state = X86_MP_RUNNABLE;
                }
                dbt_end_block(v);
        }
}

/* --- Running ---------------------------------------------------------------------------------------------------------------- */

static __attribute__((noinline, cold)) void trace_block(struct dbt_vcpu *v)
{
        dbt_fpu_save(v);
        log_debug("vCPU %u: %#llx mode %#x rax %#llx rsp %#llx rflags %#llx", v->index, (unsigned long long)v->rip, v->mode,
                (unsigned long long)v->gpr[X86_RAX], (unsigned long long)v->gpr[X86_RSP], (unsigned long long)v->rflags);
}

/* Runs the block at v->rip and leaves the address of the next instruction there. Returns whether it went on behind the block. */
static inline bool run_block(struct dbt_vcpu *v, const struct dbt_block *b)
{
        const struct dbt_insn *i = b->insn, *last = i + b->n - 1;
        uint64_t rip = v->rip, behind;

        for (; i != last; i++) {
                i->fn(v, i);
                rip += i->length;
                v->rip = rip;
        }
        behind = rip + i->length;
        i->fn(v, i);
        if (!(i->flags & DBT_INSN_TRANSFER))
                v->rip = behind;
        return v->rip == behind;
}

/* One instruction, for single stepping, breakpoints and interrupt shadows. */
static void run_one(struct dbt_vcpu *v)
{
        bool trap = v->rflags & X86_FLAG_TF;
        const struct dbt_block *b;
        const struct dbt_insn *i;

        v->interrupt_shadow = false;
        dbt_debug_before(v);
        b = dbt_block_lookup(v);
        i = b->code ? dbt_tr_insn(v, b, 0) : b->fused && b->n == 1 ? &b->insn[1] : b->insn;
        i->fn(v, i);
        if (!(i->flags & DBT_INSN_TRANSFER))
                v->rip += i->length;
        dbt_debug_after(v, trap && (v->rflags & X86_FLAG_TF));
}

static bool same_page(uint64_t a, uint64_t b)
{
        return ((a ^ b) & DBT_PAGE_MASK) == 0;
}

/* Translates b if it has run often enough. Returns it, or what has become of it when the cache was flushed. */
static struct dbt_block *warm_up(struct dbt_vcpu *v, struct dbt_block *b)
{
        if (likely(++b->runs < v->translate_after))
                return b;
        b->runs = 0;
        if (!dbt_tr_can(v->mode))
                return b;
        dbt_tr_translate(v, b);
        return dbt_block_lookup(v);
}

/* The exit just taken gets its jump to the block at v->rip, which is returned. */
static struct dbt_block *link_exit(struct dbt_vcpu *v)
{
        struct dbt_block *b = dbt_block_lookup(v);

        if (!b->code)
                b = warm_up(v, b);
        if (v->tr_link && b->code)
                dbt_tr_link(v, b);
        return b;
}

/* Translated code was left for what was asked: is it its turn to be sampled? Each entry of a block shall be sampled with about the same chance, however often
 * the count is broken off. */
static bool used_up(struct dbt_vcpu *v)
{
        int32_t left = atomic_load_explicit(&v->tr_budget, memory_order_relaxed);

        if (left >= 0)
                return false;
        atomic_store_explicit(&v->tr_budget, left == -1 ? TR_BUDGET : 1 + (int32_t)(dbt_host_tsc() % (2 * TR_BUDGET)), memory_order_relaxed);
        return left == -1;
}

/* Runs translated code from b on. Returns the block that comes next, NULL after one that ends what can be run at a stretch. */
static struct dbt_block *run_translated(struct dbt_vcpu *v, struct dbt_block *b)
{
        enum tr_exit exit = dbt_tr_run(v, b);
        bool sample = exit == TR_EXIT_ASKED && used_up(v);
        struct dbt_block *linked = NULL;

        if (v->tr_link) /* before what stops here every time, such as the shadow of sti */
                linked = link_exit(v);
        if (unlikely(dbt_must_stop(v)) || (exit == TR_EXIT_ASKED && atomic_load_explicit(&v->request, memory_order_relaxed)))
                return NULL;
        if (linked && !linked->dead)
                return linked;
        if (sample)
                dbt_tr_sample(v, dbt_block_lookup(v));
        b = dbt_block_lookup(v);
        return exit == TR_EXIT_ASKED || b->code ? b : warm_up(v, b);
}

static bool is_chained(const struct dbt_vcpu *v, const struct dbt_block *b)
{
        return (int)(b->chained - v->decode->cold.advances) > 0;
}

static void chain(struct dbt_vcpu *v, struct dbt_block *b, unsigned side, struct dbt_block *next)
{
        const struct dbt_ring *r = &v->decode->cold;
        unsigned until = r->advances + dbt_ring_stays(r, next);

        if (!is_chained(v, b)) {
                b->next[0] = b->next[1] = 0;
                b->chained = until;
        }
        if ((int)(until - b->chained) < 0)
                b->chained = until;
        b->next[side] = dbt_block_place(v->decode, next);
}

/* Runs blocks until something else wants attention. Not inlined: beside a sigsetjmp nothing stays in registers. */
static __attribute__((noinline)) void run_blocks(struct dbt_vcpu *v)
{
        struct dbt_block *b = dbt_block_lookup(v), *next;
        unsigned flushes;
        uint64_t start;
        bool behind;

        while (!atomic_load_explicit(&v->request, memory_order_relaxed)) {
                if (b->code || (v->translator && (b = warm_up(v, b))->code)) {
                        b = likely(!v->check) ? run_translated(v, b) : dbt_check_block(v, b);
                        if (!b)
                                return;
                        continue;
                }
                if (unlikely(v->vm->trace))
                        trace_block(v);
                start = v->rip;
                behind = run_block(v, b);
                if (unlikely(b->ends)) {
                        if (dbt_must_stop(v))
                                return;
                        b = dbt_block_lookup(v);
                        continue;
                }
                next = is_chained(v, b) ? dbt_block_at(v->decode, b->next[!behind]) : NULL;
                if (likely(next && !next->dead)) {
                        b = next;
                        continue;
                }
                flushes = v->decode->flushes;
                next = dbt_block_lookup(v);
                if (b->direct && same_page(start, v->rip) && !next->crosses && !next->code && flushes == v->decode->flushes)
                        chain(v, b, !behind, next);
                b = next;
        }
}

/* Answers what v->request asks for. Returns an exit, or -1 to go on. */
static int answer_requests(struct dbt_vcpu *v)
{
        uint32_t req = atomic_load(&v->request);

        if (req & DBT_REQ_KICK) {
                atomic_fetch_and(&v->request, ~(uint32_t)DBT_REQ_KICK);
                return ENGINE_EXIT_KICK;
        }
        if (req & DBT_REQ_EXCLUSIVE) {
                dbt_leave_guest(v);
                dbt_enter_guest(v);
        }
        if (req & DBT_REQ_TLB_FLUSH) {
                atomic_fetch_and(&v->request, ~(uint32_t)DBT_REQ_TLB_FLUSH);
                dbt_tlb_flush(v);
        }
        if (req & DBT_REQ_CODE) {
                atomic_fetch_and(&v->request, ~(uint32_t)DBT_REQ_CODE);
                dbt_block_unlink(v);
        }
        if (req & DBT_REQ_CONVERT) {
                atomic_fetch_and(&v->request, ~(uint32_t)DBT_REQ_CONVERT);
                dbt_tr_convert(v);
        }
        if (req & DBT_REQ_TIMER) {
                mirror_sample(v);
                dbt_timer_refresh(v, false);
        }
        return -1;
}

static bool events_due(const struct dbt_vcpu *v)
{
        return (atomic_load_explicit(&v->request, memory_order_relaxed) & (DBT_REQ_INTR | DBT_REQ_INIT)) ||
                (v->intr_waiting && (v->rflags & X86_FLAG_IF));
}

/* Returns an exit. */
static int run(struct dbt_vcpu *v)
{
        for (;;) {
                int r = answer_requests(v);

                if (r >= 0)
                        return r;
                if (unlikely(v->mp_state != X86_MP_RUNNABLE))
                        sleep_until_wakeup(v);
                if (!v->interrupt_shadow && events_due(v) && !dbt_poll_events(v))
                        return ENGINE_EXIT_SHUTDOWN;
                if (unlikely(v->mp_state != X86_MP_RUNNABLE))
                        continue;
                if (unlikely(v->interrupt_shadow || (v->rflags & X86_FLAG_TF) || v->sys.breaks || v->sys.watch))
                        run_one(v);
                else
                        run_blocks(v);
        }
}

/* After an unwind: what it was for. Returns an exit, or -1 to go on. */
static int unwound(struct dbt_vcpu *v, int why)
{
        if (v->exclusive)
                dbt_exclusive_end(v);
        switch (why) {
        case DBT_UNWIND_RAISED:
                if (unlikely(v->vm->trace)) {
                        dbt_fpu_save(v);
                        log_debug("vCPU %u: raises %u error %#x rip %#llx cr2 %#llx", v->index, v->raised.vector,
                                v->raised.error, (unsigned long long)v->rip, (unsigned long long)v->cr2);
                }
                v->raise_pending = false;
                v->interrupt_shadow = false;
                return dbt_deliver_raised(v) ? -1 : ENGINE_EXIT_SHUTDOWN;
        case DBT_UNWIND_ERROR:
                return ENGINE_EXIT_ERROR;
        default:
                return -1;
        }
}

static int enter(struct dbt_vcpu *v)
{
        int r = dbt_timer_enter(v);

        if (r < 0) {
                log_error("vCPU %u: no timer: %s", v->index, strerror(-r));
                return r;
        }
        mirror_thread(v);
        r = dbt_tr_begin(v);
        if (r < 0) {
                log_error("vCPU %u: no stack for signals: %s", v->index, strerror(-r));
                dbt_timer_leave();
                return r;
        }
        dbt_enter_guest(v);
        return 0;
}

int dbt_vcpu_run(struct dbt_vcpu *v)
{
        int why, r;

        if (enter(v) < 0)
                return ENGINE_EXIT_ERROR;
        why = sigsetjmp(v->unwind, 0);
        if (!why && v->raise_pending)
                why = DBT_UNWIND_RAISED;
        r = unwound(v, why);
        if (r < 0)
                r = run(v);
        dbt_fpu_save(v);
        dbt_leave_guest(v);
        dbt_tr_end(v);
        dbt_timer_leave();
        return r;
}
