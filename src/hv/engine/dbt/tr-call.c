/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The stacks of calls: while translated code runs, the host's RSP is the top of one, so that the host predicts where the guest's returns lead.
 *
 * A call pushes the address that it will go back to, and calls its target's code. A ret of the guest takes the address from the guest's stack and does a ret
 * of the host; there, behind the call, the two addresses are compared. What a stack tells is a guess only: all of it can be forgotten at any time, and is whenever
 * another address than the one told comes up. Then the jump cache knows more.
 *
 * Each mode with a jump cache has a stack of its own, so that code never comes back to that of another mode. What is told is forgotten together with what the
 * jump cache knows, as it may not be true any more or the code may be gone.
 *
 * At the base of a stack lies the address of a routine for returns of which nothing is known; beyond its end is no memory: the signal handler forgets all, and
 * the instruction is tried again. For that, code and routines push nothing but these pairs and the return addresses of routines; before they call C, they go back
 * to the C stack, with their return address in v->tr_return. */

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/tr.h"

#define STACK_SIZE DBT_PAGE_SIZE
#define STACKS (DBT_JUMP_MODES + 1)
/* Of a signal handler: what the kernel stores is less than 16 KiB. */
#define SIGNAL_STACK_SIZE KiB(64)
#define ALL_SIZE (STACKS * 2 * STACK_SIZE + SIGNAL_STACK_SIZE)

void tr_c_begin(struct tr_emit *e)
{
        tr_with_field(e, 0x8f, false, 0, offsetof(struct dbt_vcpu, tr_return)); /* pop */
        tr_with_field(e, 0x89, true, TR_RSP, offsetof(struct dbt_vcpu, tr_calls_top));
        tr_with_field(e, 0x8b, true, TR_RSP, offsetof(struct dbt_vcpu, tr_c_stack));
}

void tr_c_end(struct tr_emit *e)
{
        tr_with_field(e, 0x8b, true, TR_RSP, offsetof(struct dbt_vcpu, tr_calls_top));
        tr_with_field(e, 0xff, false, 6, offsetof(struct dbt_vcpu, tr_return)); /* push */
}

static void move_saved(struct tr_emit *e, unsigned opcode, unsigned regs)
{
        for (unsigned r = 0; r < 16; r++)
                if (regs >> r & 1)
                        tr_with_field(e, opcode, true, r, offsetof(struct dbt_vcpu, tr_saved) + r * sizeof(uint64_t));
}

void tr_save(struct tr_emit *e, unsigned regs)
{
        move_saved(e, 0x89, regs);
}

void tr_restore(struct tr_emit *e, unsigned regs)
{
        move_saved(e, 0x8b, regs);
}

/* --- Returns of which nothing is known ------------------------------------------------------------------------------------------ */

/* In: RAX where to go on; the stack is at its base. A jump of its own for each mode. */
static void emit_unknown(struct dbt_vcpu *v, struct tr_emit *e, unsigned k)
{
        static const struct tr_op jmp = { .opcode = 0xff };
        struct tr_mem code = { .base = TR_RCX, .index = TR_NO_HOME, .vcpu = true };

        code.disp = (int32_t)(tr_jump_slots(k) + offsetof(struct dbt_jump, code));
        tr_call(e, v->translator->to_cached[k]);
        tr_op_mem(e, &jmp, 4, &code);
}

void tr_emit_call_routines(struct dbt_vcpu *v, struct tr_emit *e)
{
        struct tr_mem below = { .base = TR_RSP, .index = TR_NO_HOME, .disp = -8 };

        for (unsigned k = 0; k < DBT_JUMP_MODES; k++) {
                struct dbt_calls *c = &v->calls[k];

                v->translator->returned[k] = tr_here(e);
                tr_with_field(e, 0x8b, true, TR_RSP, offsetof(struct dbt_vcpu, calls) + k * sizeof(*c) + offsetof(struct dbt_calls, base));
                emit_unknown(v, e, k);
                *(const void **)(uintptr_t)c->base = tr_here(e);
                tr_lea(e, TR_RSP, &below);
                emit_unknown(v, e, k);
        }
}

/* --- Following and forgetting ---------------------------------------------------------------------------------------------------- */

static bool is_kernel(const struct dbt_vcpu *v, unsigned k)
{
        return k < DBT_JUMP_MODES && !(v->jumps[k].mode & DBT_MODE_CPL3);
}

void tr_calls_follow(struct dbt_vcpu *v)
{
        unsigned from = v->tr_calls_of, to;
        int k;

        if (from < DBT_JUMP_MODES && v->jumps[from].mode == v->mode)
                return;
        k = tr_jump_mode(v, v->mode);
        to = k < 0 ? DBT_JUMP_MODES : (unsigned)k;
        v->calls[from].top = v->tr_calls_top;
        /* A kernel that is entered has not called anything yet. */
        v->tr_calls_top = is_kernel(v, to) && !is_kernel(v, from) ? v->calls[to].base : v->calls[to].top;
        v->tr_calls_of = (uint8_t)to;
}

void tr_calls_forget(struct dbt_vcpu *v, bool kernel)
{
        for (unsigned k = 0; k < STACKS; k++)
                if (kernel || !is_kernel(v, k))
                        v->calls[k].top = v->calls[k].base;
        if (kernel || !is_kernel(v, v->tr_calls_of))
                v->tr_calls_top = v->calls[v->tr_calls_of].base;
}

uint64_t dbt_tr_calls_full(const struct dbt_vcpu *v, uint64_t address)
{
        uint64_t base = v->calls[v->tr_calls_of].base, end = base & DBT_PAGE_MASK;

        _Static_assert(STACK_SIZE == DBT_PAGE_SIZE, "as is what lies beyond the end");
        return v->translator && end - address - 1 < STACK_SIZE ? base : 0;
}

/* --- Memory -------------------------------------------------------------------------------------------------------------------- */

int tr_calls_init(struct dbt_vcpu *v)
{
        int r;
        uint8_t *all = mmap(NULL, ALL_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (all == MAP_FAILED)
                return -ENOMEM;
        v->translator->stacks = all;
        for (unsigned k = 0; k < STACKS; k++) {
                uint8_t *stack = all + (2 * k + 1) * STACK_SIZE;

                if (mprotect(stack, STACK_SIZE, PROT_READ | PROT_WRITE) < 0)
                        return -errno;
                v->calls[k].top = v->calls[k].base = (uintptr_t)stack + STACK_SIZE - 16;
        }
        if (mprotect(all + STACKS * 2 * STACK_SIZE, SIGNAL_STACK_SIZE, PROT_READ | PROT_WRITE) < 0)
                return -errno;
        /* Kernels before 6.12 store a signal's frame with the keys of the code that is interrupted. */
        r = mirror_give(v, all + STACKS * 2 * STACK_SIZE, SIGNAL_STACK_SIZE);
        if (r == 0)
                r = mirror_give(v, all + (2 * DBT_JUMP_MIRROR + 1) * STACK_SIZE, STACK_SIZE);
        if (r < 0)
                return r;
        v->tr_calls_of = DBT_JUMP_MODES;
        v->tr_calls_top = v->calls[DBT_JUMP_MODES].base;
        return 0;
}

int tr_signals_enter(struct dbt_vcpu *v)
{
        stack_t stack = { .ss_sp = v->translator->stacks + STACKS * 2 * STACK_SIZE, .ss_size = SIGNAL_STACK_SIZE };

        return sigaltstack(&stack, &v->translator->signals) < 0 ? -errno : 0;
}

void tr_signals_leave(struct dbt_vcpu *v)
{
        sigaltstack(&v->translator->signals, NULL);
}

void tr_calls_free(struct dbt_vcpu *v)
{
        if (v->translator->stacks)
                munmap(v->translator->stacks, ALL_SIZE);
}
