/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Raising and delivering exceptions and interrupts (Intel SDM vol. 3, chapter 6; AMD APM vol. 2, chapter 8).
 *
 * A delivery pushes its frame word by word and changes registers only when all is done: a fault half-way leaves
 * nothing but bytes below the stack pointer. */

#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/seg.h"

/* v->delivering for what is not an exception: counts as benign for the double-fault rules. */
#define DELIVERING_INTERRUPT 256

struct event {
        unsigned vector;
        bool has_error;
        uint32_t error;
        bool software;     /* int n, int3, into: gate privilege is checked */
        uint64_t rip;      /* return address */
        uint64_t rflags;   /* to be pushed */
};

struct gate {
        unsigned type;
        uint16_t selector;
        uint64_t offset;
        unsigned dpl, ist;
        bool present;
};

/* --- Raising ------------------------------------------------------------------------------------------------- */

static _Noreturn void raise_event(struct dbt_vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
        v->raised.vector = (uint8_t)vector;
        v->raised.has_error = has_error;
        v->raised.error = error;
        v->raised.software = false;
        siglongjmp(v->unwind, 1);
}

void dbt_raise(struct dbt_vcpu *v, unsigned vector)
{
        raise_event(v, vector, false, 0);
}

void dbt_raise_error(struct dbt_vcpu *v, unsigned vector, uint32_t error)
{
        raise_event(v, vector, true, error);
}

void dbt_raise_pf(struct dbt_vcpu *v, uint64_t lin, uint32_t error)
{
        v->cr2 = lin;
        raise_event(v, X86_PF, true, error);
}

/* --- Delivery ------------------------------------------------------------------------------------------------ */

/* Error code that names an entry of the IDT. */
static uint32_t idt_error(const struct event *ev)
{
        return ev->vector * 8 + 2 + !ev->software;
}

static uint64_t entry_flags(const struct dbt_vcpu *v, const struct gate *g)
{
        uint64_t clear = X86_FLAG_TF | X86_FLAG_NT | X86_FLAG_RF | X86_FLAG_VM;

        if (g->type == DESC_INT16 || g->type == DESC_INT32)
                clear |= X86_FLAG_IF;
        return v->rflags & ~clear;
}

static void deliver_real(struct dbt_vcpu *v, const struct event *ev)
{
        struct x86_segment *cs = &v->seg[X86_CS];
        struct dbt_stack st;
        uint32_t entry;

        if (ev->vector * 4 + 3 > v->idtr.limit)
                dbt_raise_error(v, X86_GP, idt_error(ev));
        entry = dbt_load32(v, v->idtr.base + ev->vector * 4, DBT_MMU_KERNEL);
        dbt_stack_current(v, &st);
        dbt_stack_push(v, &st, ev->rflags, 2);
        dbt_stack_push(v, &st, cs->selector, 2);
        dbt_stack_push(v, &st, ev->rip, 2);
        v->gpr[X86_RSP] = dbt_stack_rsp(v, &st);
        cs->selector = (uint16_t)(entry >> 16);
        cs->base = (uint32_t)cs->selector << 4;
        v->rip = (uint16_t)entry;
        v->rflags &= ~(uint64_t)(X86_FLAG_IF | X86_FLAG_TF | X86_FLAG_AC | X86_FLAG_RF);
}

static void read_gate(struct dbt_vcpu *v, const struct event *ev, struct gate *g)
{
        unsigned size = long_mode(v) ? 16 : 8;
        uint64_t lin = v->idtr.base + ev->vector * size, raw;

        if (ev->vector * size + size - 1 > v->idtr.limit)
                dbt_raise_error(v, X86_GP, idt_error(ev));
        raw = dbt_load64(v, lin, dbt_system_mmu(v));
        g->type = raw >> 40 & 0x1f; /* with the S bit, which no gate has */
        g->selector = (uint16_t)(raw >> 16);
        g->offset = raw & 0xffff;
        if (g->type != DESC_INT16 && g->type != DESC_TRAP16)
                g->offset |= raw >> 32 & 0xffff0000;
        g->dpl = raw >> 45 & 3;
        g->present = raw >> 47 & 1;
        g->ist = 0;
        if (long_mode(v)) {
                g->ist = raw >> 32 & 7;
                g->offset |= dbt_load64(v, lin + 8, dbt_system_mmu(v)) << 32;
        }
}

static void check_gate(struct dbt_vcpu *v, const struct event *ev, const struct gate *g)
{
        bool wide = g->type == DESC_INT32 || g->type == DESC_TRAP32;
        bool narrow = (g->type == DESC_INT16 || g->type == DESC_TRAP16 || g->type == DESC_TASK_GATE) && !long_mode(v);

        if ((!wide && !narrow) || (ev->software && g->dpl < v->cpl))
                dbt_raise_error(v, X86_GP, idt_error(ev));
        if (!g->present)
                dbt_raise_error(v, X86_NP, idt_error(ev));
        if (g->type == DESC_TASK_GATE)
                dbt_task_switch_unsupported(v, idt_error(ev));
}

/* The handler's code segment; returns the privilege level it runs at. */
static unsigned handler_segment(struct dbt_vcpu *v, const struct event *ev, const struct gate *g, struct dbt_desc *cs)
{
        uint32_t ext = !ev->software, error = selector_error(g->selector) | ext;
        unsigned cpl;

        if (selector_null(g->selector))
                dbt_raise_error(v, X86_GP, ext);
        if (!dbt_desc_fetch(v, g->selector, cs) || !seg_is_code(&cs->seg) || seg_dpl(&cs->seg) > v->cpl)
                dbt_raise_error(v, X86_GP, error);
        if (long_mode(v) && (cs->seg.attr & (X86_SEG_L | X86_SEG_DB)) != X86_SEG_L)
                dbt_raise_error(v, X86_GP, error);
        if (!(cs->seg.attr & X86_SEG_P))
                dbt_raise_error(v, X86_NP, error);
        cpl = seg_is_conforming(&cs->seg) ? v->cpl : seg_dpl(&cs->seg);
        if ((v->rflags & X86_FLAG_VM) && cpl != 0)
                dbt_raise_error(v, X86_GP, error);
        if (long_mode(v) ? !dbt_canonical(g->offset) : g->offset > cs->seg.limit)
                dbt_raise_error(v, X86_GP, ext);
        return cpl;
}

static void push_vm86_segments(struct dbt_vcpu *v, struct dbt_stack *st, unsigned size)
{
        dbt_stack_push(v, st, v->seg[X86_GS].selector, size);
        dbt_stack_push(v, st, v->seg[X86_FS].selector, size);
        dbt_stack_push(v, st, v->seg[X86_DS].selector, size);
        dbt_stack_push(v, st, v->seg[X86_ES].selector, size);
}

static void push_frame(struct dbt_vcpu *v, struct dbt_stack *st, const struct event *ev, bool with_stack, unsigned size)
{
        if (with_stack) {
                dbt_stack_push(v, st, v->seg[X86_SS].selector, size);
                dbt_stack_push(v, st, v->gpr[X86_RSP], size);
        }
        dbt_stack_push(v, st, ev->rflags, size);
        dbt_stack_push(v, st, v->seg[X86_CS].selector, size);
        dbt_stack_push(v, st, ev->rip, size);
        if (ev->has_error)
                dbt_stack_push(v, st, ev->error, size);
}

/* All is checked and pushed: the handler begins. */
static void enter_handler(struct dbt_vcpu *v, const struct gate *g, struct dbt_desc *cs, unsigned cpl,
        const struct dbt_stack *st)
{
        dbt_desc_set_accessed(v, cs);
        v->gpr[X86_RSP] = dbt_stack_rsp(v, st);
        v->seg[X86_SS] = st->ss;
        v->seg[X86_CS] = cs->seg;
        v->seg[X86_CS].selector = (uint16_t)((g->selector & ~3u) | cpl);
        if (v->rflags & X86_FLAG_VM) {
                v->seg[X86_ES] = v->seg[X86_DS] = dbt_seg_null(0, 0);
                v->seg[X86_FS] = v->seg[X86_GS] = dbt_seg_null(0, 0);
        }
        v->rip = g->offset;
        v->rflags = entry_flags(v, g);
        dbt_mode_update(v);
}

static void deliver_legacy(struct dbt_vcpu *v, const struct event *ev, const struct gate *g, struct dbt_desc *cs, unsigned cpl)
{
        unsigned size = g->type == DESC_INT32 || g->type == DESC_TRAP32 ? 4 : 2;
        bool inner = cpl < v->cpl;
        struct dbt_stack st;

        if (inner)
                dbt_stack_inner(v, cpl, !ev->software, &st);
        else
                dbt_stack_current(v, &st);
        if (v->rflags & X86_FLAG_VM)
                push_vm86_segments(v, &st, size);
        push_frame(v, &st, ev, inner, size);
        enter_handler(v, g, cs, cpl, &st);
}

static void deliver_long(struct dbt_vcpu *v, const struct event *ev, const struct gate *g, struct dbt_desc *cs, unsigned cpl)
{
        uint32_t ext = !ev->software;
        struct dbt_stack st = {
                .flat = true, .mask = UINT64_MAX, .error = ext,
                .mmu = cpl == 3 ? DBT_MMU_USER : dbt_system_mmu(v),
                .ss = cpl < v->cpl ? dbt_seg_null((uint16_t)cpl, cpl) : v->seg[X86_SS],
        };

        if (g->ist)
                st.sp = dbt_tss64_rsp(v, 3 + g->ist, ext);
        else if (cpl < v->cpl)
                st.sp = dbt_tss64_rsp(v, cpl, ext);
        else
                st.sp = v->gpr[X86_RSP];
        st.sp &= ~15ULL;
        push_frame(v, &st, ev, true, 8);
        enter_handler(v, g, cs, cpl, &st);
}

static void deliver(struct dbt_vcpu *v, const struct event *ev)
{
        struct dbt_desc cs;
        struct gate g;
        unsigned cpl;

        if (!(v->cr0 & X86_CR0_PE)) {
                deliver_real(v, ev);
        } else {
                read_gate(v, ev, &g);
                check_gate(v, ev, &g);
                cpl = handler_segment(v, ev, &g, &cs);
                if (long_mode(v))
                        deliver_long(v, ev, &g, &cs, cpl);
                else
                        deliver_legacy(v, ev, &g, &cs, cpl);
        }
        v->delivering = -1;
        v->interrupt_shadow = false;
}

/* --- Exceptions ---------------------------------------------------------------------------------------------- */

static bool contributory(int vector)
{
        return vector == X86_DE || (vector >= X86_TS && vector <= X86_GP);
}

/* What v->raised turns into, given what was being delivered when it was raised (Intel SDM vol. 3, table 6-5). False: triple fault. */
static bool escalate(struct dbt_vcpu *v)
{
        int first = v->delivering, second = v->raised.vector;
        bool serious = contributory(second) || second == X86_PF;

        if (first == X86_DF)
                return !serious;
        if ((contributory(first) && contributory(second)) || (first == X86_PF && serious)) {
                v->raised.vector = X86_DF;
                v->raised.has_error = true;
                v->raised.error = 0;
                v->raised.software = false;
        }
        return true;
}

bool dbt_deliver_raised(struct dbt_vcpu *v)
{
        struct event ev = { .rip = v->rip, .rflags = v->rflags };

        if (!escalate(v))
                return false;
        ev.vector = v->raised.vector;
        ev.software = v->raised.software;
        ev.has_error = v->raised.has_error && (v->cr0 & X86_CR0_PE);
        ev.error = v->raised.error;
        if (v->delivering >= 0 && ev.vector >= X86_TS && ev.vector <= X86_GP)
                ev.error |= ev.has_error; /* EXT: raised while an event was delivered */
        if (ev.vector == X86_DB) {
                v->dr7 &= ~(1ULL << 13);
        } else if (!ev.software) {
                ev.rflags |= X86_FLAG_RF;
        }
        v->delivering = (int)ev.vector;
        deliver(v, &ev);
        return true;
}

void dbt_software_interrupt(struct dbt_vcpu *v, unsigned vector, uint64_t next_rip)
{
        struct event ev = { .vector = vector, .software = true, .rip = next_rip, .rflags = v->rflags };

        /* int n in vm86 mode needs IOPL 3; int3, into and icebp do not, but no vm86 monitor depends on that. */
        if ((v->rflags & X86_FLAG_VM) && vector != X86_BP && vector != X86_OF &&
                (v->rflags & X86_FLAG_IOPL) != X86_FLAG_IOPL)
                dbt_raise_gp0(v);
        deliver(v, &ev);
}

void dbt_icebp(struct dbt_vcpu *v, uint64_t next_rip)
{
        struct event ev = { .vector = X86_DB, .rip = next_rip, .rflags = v->rflags };

        deliver(v, &ev);
}

bool dbt_deliver_interrupt(struct dbt_vcpu *v, unsigned vector)
{
        struct event ev = { .vector = vector, .rip = v->rip, .rflags = v->rflags };

        v->mp_state = X86_MP_RUNNABLE;
        v->delivering = DELIVERING_INTERRUPT;
        if (vector == X86_NMI)
                v->nmi_blocked = true;
        deliver(v, &ev);
        return true;
}
