/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Far jumps, calls, returns and iret (Intel SDM vol. 2 under JMP, CALL, RET, IRET; vol. 3, 5.8). Nothing of the CPU's
 * registers changes before the last check and memory access is done. */

#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/seg.h"

/* Where control goes. */
struct target {
        struct dbt_desc cs;
        uint64_t rip;
        unsigned cpl;
};

static void check_present(struct dbt_vcpu *v, const struct dbt_desc *d)
{
        if (!(d->seg.attr & X86_SEG_P))
                dbt_raise_error(v, X86_NP, selector_error(d->seg.selector));
}

static bool target_64(const struct dbt_vcpu *v, const struct target *t)
{
        return long_mode(v) && (t->cs.seg.attr & X86_SEG_L);
}

/* The rules that hold for every code segment: L and D exclude each other in long mode, RIP lies inside. */
static void check_target(struct dbt_vcpu *v, const struct target *t)
{
        if (target_64(v, t) && (t->cs.seg.attr & X86_SEG_DB))
                dbt_raise_error(v, X86_GP, selector_error(t->cs.seg.selector));
        if (target_64(v, t) ? !dbt_canonical(t->rip) : t->rip > t->cs.seg.limit)
                dbt_raise_gp0(v);
}

static void enter_target(struct dbt_vcpu *v, struct target *t)
{
        dbt_desc_set_accessed(v, &t->cs);
        v->seg[X86_CS] = t->cs.seg;
        v->seg[X86_CS].selector = (uint16_t)((t->cs.seg.selector & ~3u) | t->cpl);
        v->rip = t->rip;
}

static void enter_real(struct dbt_vcpu *v, uint16_t selector, uint64_t rip)
{
        struct x86_segment *cs = &v->seg[X86_CS];

        if (rip > cs->limit)
                dbt_raise_gp0(v);
        cs->selector = selector;
        cs->base = (uint32_t)selector << 4;
        if (v->rflags & X86_FLAG_VM) {
                cs->limit = 0xffff;
                cs->attr = 0xf3;
        } else {
                /* Real mode code is 16-bit from the first far transfer on. */
                cs->attr = 0x93;
        }
        v->rip = rip;
        dbt_mode_update(v);
}

/* --- Jumps and calls ----------------------------------------------------------------------------------------- */

/* A code segment named directly by a far jump or call. */
static void direct_target(struct dbt_vcpu *v, struct target *t, uint64_t offset, unsigned opsize)
{
        const struct x86_segment *s = &t->cs.seg;
        unsigned rpl = s->selector & 3;
        bool ok = seg_is_conforming(s) ? seg_dpl(s) <= v->cpl : rpl <= v->cpl && seg_dpl(s) == v->cpl;

        if (!seg_is_code(s) || !ok)
                dbt_raise_error(v, X86_GP, selector_error(s->selector));
        check_present(v, &t->cs);
        t->cpl = v->cpl;
        t->rip = opsize == 2 ? (uint16_t)offset : opsize == 4 ? (uint32_t)offset : offset;
        check_target(v, t);
}

/* Follows the call gate in t->cs to its code segment; returns the gate's type, *params its parameter count. */
static unsigned gate_target(struct dbt_vcpu *v, struct target *t, bool call, unsigned *params)
{
        const struct x86_segment gate = t->cs.seg;
        uint64_t raw = t->cs.raw, high = 0;
        uint16_t selector = (uint16_t)(raw >> 16);
        uint32_t error = selector_error(gate.selector);
        struct x86_segment *s = &t->cs.seg;

        if (seg_dpl(&gate) < v->cpl || seg_dpl(&gate) < (gate.selector & 3u))
                dbt_raise_error(v, X86_GP, error);
        check_present(v, &t->cs);
        if (long_mode(v) && !dbt_desc_fetch_high(v, gate.selector, &t->cs, &high))
                dbt_raise_error(v, X86_GP, error);
        t->rip = (raw & 0xffff) | (seg_type(&gate) == DESC_CALL32 ? raw >> 32 & 0xffff0000 : 0) | high << 32;
        *params = raw >> 32 & 0x1f;
        if (selector_null(selector))
                dbt_raise_gp0(v);
        error = selector_error(selector);
        if (!dbt_desc_fetch(v, selector, &t->cs) || !seg_is_code(s) || seg_dpl(s) > v->cpl)
                dbt_raise_error(v, X86_GP, error);
        if (long_mode(v) && (s->attr & (X86_SEG_L | X86_SEG_DB)) != X86_SEG_L)
                dbt_raise_error(v, X86_GP, error);
        if (!call && !seg_is_conforming(s) && seg_dpl(s) != v->cpl)
                dbt_raise_error(v, X86_GP, error);
        check_present(v, &t->cs);
        t->cpl = call && !seg_is_conforming(s) ? seg_dpl(s) : v->cpl;
        check_target(v, t);
        return seg_type(&gate);
}

/* Fetches what selector names. False: it is a code segment; true: a call gate. Others are refused. */
static bool fetch_target(struct dbt_vcpu *v, uint16_t selector, struct target *t)
{
        unsigned type;

        if (selector_null(selector))
                dbt_raise_gp0(v);
        if (!dbt_desc_fetch(v, selector, &t->cs))
                dbt_raise_error(v, X86_GP, selector_error(selector));
        if (t->cs.seg.attr & X86_SEG_S)
                return false;
        type = seg_type(&t->cs.seg);
        if (type == DESC_CALL32 || (type == DESC_CALL16 && !long_mode(v)))
                return true;
        if (!long_mode(v) && (type == DESC_TASK_GATE || type == DESC_TSS16 || type == DESC_TSS32))
                dbt_task_switch_unsupported(v, selector_error(selector));
        dbt_raise_error(v, X86_GP, selector_error(selector));
}

void dbt_far_jump(struct dbt_vcpu *v, uint16_t selector, uint64_t offset, unsigned opsize)
{
        struct target t;
        unsigned params;

        if (!protected_mode(v)) {
                enter_real(v, selector, opsize == 2 ? (uint16_t)offset : (uint32_t)offset);
                return;
        }
        if (fetch_target(v, selector, &t))
                gate_target(v, &t, false, &params);
        else
                direct_target(v, &t, offset, opsize);
        enter_target(v, &t);
        dbt_mode_update(v);
}

static void push_return(struct dbt_vcpu *v, struct dbt_stack *st, uint64_t next_rip, unsigned size)
{
        dbt_stack_push(v, st, v->seg[X86_CS].selector, size);
        dbt_stack_push(v, st, next_rip, size);
}

/* A call through a gate to an inner level: new stack, old SS:SP and the parameters copied to it. */
static void call_inner(struct dbt_vcpu *v, struct target *t, unsigned size, unsigned params, uint64_t next_rip)
{
        uint32_t values[32];
        struct dbt_stack from, to;

        dbt_stack_current(v, &from);
        dbt_stack_inner(v, t->cpl, 0, &to);
        if (size == 8)
                params = 0;
        for (unsigned i = 0; i < params; i++)
                values[i] = (uint32_t)dbt_stack_pop(v, &from, size);
        dbt_stack_push(v, &to, v->seg[X86_SS].selector, size);
        dbt_stack_push(v, &to, v->gpr[X86_RSP], size);
        for (unsigned i = params; i-- > 0;)
                dbt_stack_push(v, &to, values[i], size);
        push_return(v, &to, next_rip, size);
        enter_target(v, t);
        v->seg[X86_SS] = to.ss;
        v->gpr[X86_RSP] = dbt_stack_rsp(v, &to);
        dbt_mode_update(v);
}

static void call_same_level(struct dbt_vcpu *v, struct target *t, unsigned size, uint64_t next_rip)
{
        struct dbt_stack st;

        dbt_stack_current(v, &st);
        push_return(v, &st, next_rip, size);
        enter_target(v, t);
        v->gpr[X86_RSP] = dbt_stack_rsp(v, &st);
        dbt_mode_update(v);
}

void dbt_far_call(struct dbt_vcpu *v, uint16_t selector, uint64_t offset, unsigned opsize, uint64_t next_rip)
{
        struct target t;
        struct dbt_stack st;
        unsigned params, size;

        if (!protected_mode(v)) {
                dbt_stack_current(v, &st);
                push_return(v, &st, next_rip, opsize);
                enter_real(v, selector, opsize == 2 ? (uint16_t)offset : (uint32_t)offset);
                v->gpr[X86_RSP] = dbt_stack_rsp(v, &st);
                return;
        }
        if (!fetch_target(v, selector, &t)) {
                direct_target(v, &t, offset, opsize);
                call_same_level(v, &t, opsize, next_rip);
                return;
        }
        size = gate_target(v, &t, true, &params) == DESC_CALL16 ? 2 : long_mode(v) ? 8 : 4;
        if (t.cpl < v->cpl)
                call_inner(v, &t, size, params, next_rip);
        else
                call_same_level(v, &t, size, next_rip);
}

/* --- Returns ------------------------------------------------------------------------------------------------- */

/* The code segment that a return goes to. */
static void return_target(struct dbt_vcpu *v, struct target *t, uint16_t selector, uint64_t rip)
{
        const struct x86_segment *s = &t->cs.seg;

        if (selector_null(selector))
                dbt_raise_gp0(v);
        t->cpl = selector & 3;
        t->rip = rip;
        if (!dbt_desc_fetch(v, selector, &t->cs) || t->cpl < v->cpl || !seg_is_code(s) ||
                (seg_is_conforming(s) ? seg_dpl(s) > t->cpl : seg_dpl(s) != t->cpl))
                dbt_raise_error(v, X86_GP, selector_error(selector));
        check_present(v, &t->cs);
        check_target(v, t);
}

/* The stack segment popped by a return. */
static struct x86_segment return_ss(struct dbt_vcpu *v, const struct target *t, uint16_t selector)
{
        struct dbt_desc d;

        if (selector_null(selector)) {
                if (!target_64(v, t) || t->cpl == 3 || (selector & 3u) != t->cpl)
                        dbt_raise_gp0(v);
                return dbt_seg_null(selector, t->cpl);
        }
        if (!dbt_desc_fetch(v, selector, &d) || (selector & 3u) != t->cpl || seg_dpl(&d.seg) != t->cpl ||
                !seg_is_writable_data(&d.seg))
                dbt_raise_error(v, X86_GP, selector_error(selector));
        if (!(d.seg.attr & X86_SEG_P))
                dbt_raise_error(v, X86_SSF, selector_error(selector));
        dbt_desc_set_accessed(v, &d);
        return d.seg;
}

/* After a return to an outer level no data segment of the inner one stays usable. */
static void drop_inner_data(struct dbt_vcpu *v)
{
        static const uint8_t regs[] = { X86_ES, X86_DS, X86_FS, X86_GS };

        for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
                struct x86_segment *s = &v->seg[regs[i]];

                if (!(s->attr & X86_SEG_UNUSABLE) && !seg_is_conforming(s) && seg_dpl(s) < v->cpl) {
                        uint64_t base = s->base;

                        *s = dbt_seg_null(0, 0);
                        if (long_mode(v))
                                s->base = base; /* MSR-set FS and GS bases stay with the processor */
                }
        }
}

static uint64_t return_rsp(const struct dbt_vcpu *v, const struct target *t, const struct x86_segment *ss, uint64_t sp)
{
        if (target_64(v, t))
                return sp;
        if (ss->attr & X86_SEG_DB)
                return (uint32_t)sp;
        return (v->gpr[X86_RSP] & ~(uint64_t)UINT16_MAX) | (uint16_t)sp;
}

void dbt_far_return(struct dbt_vcpu *v, unsigned opsize, unsigned pop_bytes)
{
        struct dbt_stack st;
        struct target t;
        struct x86_segment ss;
        uint64_t rip, sp;
        uint16_t selector;
        bool outer;

        dbt_stack_current(v, &st);
        rip = dbt_stack_pop(v, &st, opsize);
        selector = (uint16_t)dbt_stack_pop(v, &st, opsize);
        st.sp = (st.sp + pop_bytes) & st.mask;
        if (!protected_mode(v)) {
                enter_real(v, selector, rip);
                v->gpr[X86_RSP] = dbt_stack_rsp(v, &st);
                return;
        }
        return_target(v, &t, selector, rip);
        outer = t.cpl > v->cpl;
        if (outer) {
                sp = dbt_stack_pop(v, &st, opsize);
                ss = return_ss(v, &t, (uint16_t)dbt_stack_pop(v, &st, opsize));
                sp = return_rsp(v, &t, &ss, sp + pop_bytes);
                enter_target(v, &t);
                v->seg[X86_SS] = ss;
        } else {
                sp = dbt_stack_rsp(v, &st);
                enter_target(v, &t);
        }
        v->gpr[X86_RSP] = sp;
        dbt_mode_update(v);
        if (outer)
                drop_inner_data(v);
}

/* --- iret ---------------------------------------------------------------------------------------------------- */

static uint64_t iret_flags(const struct dbt_vcpu *v, unsigned opsize)
{
        bool breakpoints = v->sys.breaks | v->sys.watch;
        uint64_t flags = X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_TF | X86_FLAG_IF |
                X86_FLAG_DF | X86_FLAG_OF | X86_FLAG_IOPL | X86_FLAG_NT;

        /* RF means something while breakpoints are enabled only: nobody clears it otherwise. */
        return opsize == 2 ? flags : flags | (breakpoints ? X86_FLAG_RF : 0) | X86_FLAG_AC | X86_FLAG_ID;
}

static void iret_real(struct dbt_vcpu *v, unsigned opsize)
{
        uint64_t rip, flags, may_change = iret_flags(v, opsize);
        struct dbt_stack st;
        uint16_t selector;

        if (v->rflags & X86_FLAG_VM) {
                if ((v->rflags & X86_FLAG_IOPL) != X86_FLAG_IOPL)
                        dbt_raise_gp0(v);
                may_change &= ~(uint64_t)X86_FLAG_IOPL;
        }
        dbt_stack_current(v, &st);
        rip = dbt_stack_pop(v, &st, opsize);
        selector = (uint16_t)dbt_stack_pop(v, &st, opsize);
        flags = dbt_stack_pop(v, &st, opsize);
        enter_real(v, selector, rip);
        v->gpr[X86_RSP] = dbt_stack_rsp(v, &st);
        dbt_set_rflags(v, flags, may_change);
}

static void iret_to_vm86(struct dbt_vcpu *v, struct dbt_stack *st, uint32_t rip, uint16_t cs, uint32_t flags)
{
        static const uint8_t order[] = { X86_SS, X86_ES, X86_DS, X86_FS, X86_GS };
        uint32_t esp = (uint32_t)dbt_stack_pop(v, st, 4);
        uint16_t selectors[ARRAY_SIZE(order)];

        for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
                selectors[i] = (uint16_t)dbt_stack_pop(v, st, 4);
        v->rflags = (flags & (iret_flags(v, 4) | X86_FLAG_VM)) | 2;
        v->gpr[X86_RSP] = esp;
        v->seg[X86_CS] = (struct x86_segment){ .limit = 0xffff, .attr = 0xf3 };
        for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
                dbt_load_seg(v, order[i], selectors[i]);
        enter_real(v, cs, (uint16_t)rip);
        dbt_interrupts_enabled(v);
}

static void iret_protected(struct dbt_vcpu *v, unsigned opsize)
{
        struct x86_segment ss = v->seg[X86_SS];
        uint64_t rip, flags, sp;
        struct dbt_stack st;
        struct target t;
        uint16_t selector;
        bool outer;

        dbt_stack_current(v, &st);
        rip = dbt_stack_pop(v, &st, opsize);
        selector = (uint16_t)dbt_stack_pop(v, &st, opsize);
        flags = dbt_stack_pop(v, &st, opsize);
        if ((flags & X86_FLAG_VM) && v->cpl == 0 && opsize == 4 && !long_mode(v)) {
                iret_to_vm86(v, &st, (uint32_t)rip, selector, (uint32_t)flags);
                return;
        }
        return_target(v, &t, selector, rip);
        outer = t.cpl > v->cpl;
        if (outer || (v->mode & DBT_MODE_CS64)) {
                sp = dbt_stack_pop(v, &st, opsize);
                ss = return_ss(v, &t, (uint16_t)dbt_stack_pop(v, &st, opsize));
                sp = return_rsp(v, &t, &ss, sp);
        } else {
                sp = dbt_stack_rsp(v, &st);
        }
        enter_target(v, &t);
        dbt_set_rflags(v, flags, iret_flags(v, opsize)); /* by the rules of the level that is left */
        v->seg[X86_SS] = ss;
        v->gpr[X86_RSP] = sp;
        dbt_mode_update(v);
        if (outer)
                drop_inner_data(v);
}

void dbt_iret(struct dbt_vcpu *v, unsigned opsize)
{
        if (!protected_mode(v)) {
                iret_real(v, opsize);
        } else {
                if (v->rflags & X86_FLAG_NT) {
                        if (long_mode(v))
                                dbt_raise_gp0(v);
                        dbt_task_switch_unsupported(v, 0);
                }
                iret_protected(v, opsize);
        }
        if (v->nmi_blocked) {
                v->nmi_blocked = false;
                dbt_self_request(v, DBT_REQ_INTR);
        }
}
