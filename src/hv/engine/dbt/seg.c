/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Segment registers and descriptors (Intel SDM vol. 3, chapters 3 and 5; AMD APM vol. 2, chapter 4). */

#include "base/log.h"
#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/seg.h"

/* --- Descriptors --------------------------------------------------------------------------------------------- */

static void desc_parse(uint64_t raw, uint16_t selector, struct x86_segment *s)
{
        uint32_t lo = (uint32_t)raw, hi = (uint32_t)(raw >> 32);

        s->selector = selector;
        s->base = lo >> 16 | (hi & 0xff) << 16 | (hi & 0xff000000);
        s->limit = (lo & 0xffff) | (hi & 0xf0000);
        s->attr = hi >> 8 & 0xf0ff;
        if (s->attr & X86_SEG_G)
                s->limit = s->limit << 12 | 0xfff;
}

bool dbt_desc_fetch(struct dbt_vcpu *v, uint16_t selector, struct dbt_desc *ret)
{
        bool ldt = selector & 4;
        uint64_t base = ldt ? v->ldtr.base : v->gdtr.base;
        uint32_t limit = ldt ? v->ldtr.limit : v->gdtr.limit;

        if (selector_null(selector) || (ldt && (v->ldtr.attr & X86_SEG_UNUSABLE)) || (selector | 7u) > limit)
                return false;
        ret->lin = base + (selector & ~7u);
        ret->raw = dbt_load64(v, ret->lin, dbt_system_mmu(v));
        desc_parse(ret->raw, selector, &ret->seg);
        return true;
}

bool dbt_desc_fetch_high(struct dbt_vcpu *v, uint16_t selector, const struct dbt_desc *d, uint64_t *ret)
{
        uint32_t limit = selector & 4 ? v->ldtr.limit : v->gdtr.limit;

        if ((selector | 7u) + 8 > limit)
                return false;
        *ret = dbt_load64(v, d->lin + 8, dbt_system_mmu(v));
        return true;
}

/* Sets bits in the descriptor's type byte, atomically where that is possible. */
static void desc_or_type(struct dbt_vcpu *v, const struct dbt_desc *d, uint8_t bits)
{
        uint8_t *p = dbt_host_ptr(v, d->lin + 5, 1, DBT_WRITE, dbt_system_mmu(v));

        if (p)
                __atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST);
        else
                dbt_store8(v, d->lin + 5, (uint8_t)(d->raw >> 40) | bits, dbt_system_mmu(v));
}

void dbt_desc_set_accessed(struct dbt_vcpu *v, struct dbt_desc *d)
{
        if (!(d->seg.attr & X86_SEG_S) || (d->seg.attr & DESC_ACCESSED))
                return;
        desc_or_type(v, d, DESC_ACCESSED);
        d->seg.attr |= DESC_ACCESSED;
}

struct x86_segment dbt_seg_null(uint16_t selector, unsigned dpl)
{
        return (struct x86_segment){ .selector = selector, .attr = X86_SEG_UNUSABLE | dpl << X86_SEG_DPL_SHIFT };
}

void dbt_task_switch_unsupported(struct dbt_vcpu *v, uint32_t error)
{
        if (!v->sys.task_gate_logged) {
                v->sys.task_gate_logged = true;
                dbt_fpu_save(v);
                log_warning("vCPU %u: the guest tried a hardware task switch, which the software engine lacks", v->index);
        }
        dbt_raise_error(v, X86_GP, error);
}

/* --- Segmented addresses ------------------------------------------------------------------------------------- */

bool dbt_seg_within(const struct x86_segment *s, uint64_t offset, unsigned n)
{
        uint64_t last = offset + n - 1;

        if (last < offset)
                return false;
        if ((seg_type(s) & (DESC_CODE | DESC_DOWN)) == DESC_DOWN)
                return offset > s->limit && last <= (s->attr & X86_SEG_DB ? UINT32_MAX : UINT16_MAX);
        return last <= s->limit;
}

/* dbt_seg_within for this CPU: in a segment of 4 GiB Intel's CPUs let an access go on at its start (Intel SDM vol. 3, 5.3). */
static bool within(const struct dbt_vcpu *v, const struct x86_segment *s, uint64_t offset, unsigned n)
{
        if (dbt_seg_within(s, offset, n))
                return true;
        return !v->sys.amd && s->limit == UINT32_MAX && (seg_type(s) & (DESC_CODE | DESC_DOWN)) != DESC_DOWN && offset <= UINT32_MAX;
}

static bool access_allowed(const struct dbt_vcpu *v, const struct x86_segment *s, enum dbt_access access)
{
        if (s->attr & X86_SEG_UNUSABLE)
                return false;
        if (!protected_mode(v))
                return true;
        if (access == DBT_WRITE)
                return seg_is_writable_data(s);
        return access == DBT_EXEC || !(seg_type(s) & DESC_CODE) || (seg_type(s) & DESC_READ);
}

uint64_t dbt_seg_linear(struct dbt_vcpu *v, enum x86_sreg reg, uint64_t offset, unsigned n, enum dbt_access access)
{
        const struct x86_segment *s = &v->seg[reg];
        uint64_t lin;

        if (v->mode & DBT_MODE_CS64) {
                lin = reg == X86_FS || reg == X86_GS ? s->base + offset : offset;
                if (dbt_canonical(lin) && dbt_canonical(lin + n - 1))
                        return lin;
        } else if (access_allowed(v, s, access) && within(v, s, offset, n)) {
                return (uint32_t)(s->base + offset);
        }
        dbt_raise_error(v, reg == X86_SS ? X86_SSF : X86_GP, 0);
}

/* --- Stacks -------------------------------------------------------------------------------------------------- */

static uint64_t stack_mask(const struct x86_segment *ss)
{
        return ss->attr & X86_SEG_DB ? UINT32_MAX : UINT16_MAX;
}

void dbt_stack_current(struct dbt_vcpu *v, struct dbt_stack *ret)
{
        ret->ss = v->seg[X86_SS];
        ret->flat = v->mode & DBT_MODE_CS64;
        ret->mask = ret->flat ? UINT64_MAX : stack_mask(&ret->ss);
        ret->sp = v->gpr[X86_RSP] & ret->mask;
        ret->mmu = v->mmu;
        ret->error = 0;
}

static uint64_t stack_linear(struct dbt_vcpu *v, const struct dbt_stack *s, unsigned size)
{
        if (s->flat) {
                if (!dbt_canonical(s->sp))
                        dbt_raise_error(v, X86_SSF, s->error);
                return s->sp;
        }
        if (!within(v, &s->ss, s->sp, size))
                dbt_raise_error(v, X86_SSF, s->error);
        return (uint32_t)(s->ss.base + s->sp);
}

void dbt_stack_push(struct dbt_vcpu *v, struct dbt_stack *s, uint64_t value, unsigned size)
{
        uint64_t lin;

        s->sp = (s->sp - size) & s->mask;
        lin = stack_linear(v, s, size);
        if (size == 8)
                dbt_store64(v, lin, value, s->mmu);
        else if (size == 4)
                dbt_store32(v, lin, (uint32_t)value, s->mmu);
        else
                dbt_store16(v, lin, (uint16_t)value, s->mmu);
}

uint64_t dbt_stack_pop(struct dbt_vcpu *v, struct dbt_stack *s, unsigned size)
{
        uint64_t lin = stack_linear(v, s, size);

        s->sp = (s->sp + size) & s->mask;
        if (size == 8)
                return dbt_load64(v, lin, s->mmu);
        return size == 4 ? dbt_load32(v, lin, s->mmu) : dbt_load16(v, lin, s->mmu);
}

uint64_t dbt_stack_rsp(const struct dbt_vcpu *v, const struct dbt_stack *s)
{
        if (s->mask == UINT16_MAX)
                return (v->gpr[X86_RSP] & ~(uint64_t)UINT16_MAX) | s->sp;
        return s->sp;
}

uint64_t dbt_tss64_rsp(struct dbt_vcpu *v, unsigned slot, uint32_t ext)
{
        unsigned off = 4 + 8 * slot;
        uint64_t rsp;

        if ((v->tr.attr & X86_SEG_UNUSABLE) || off + 7 > v->tr.limit)
                dbt_raise_error(v, X86_TS, selector_error(v->tr.selector) | ext);
        rsp = dbt_load64(v, v->tr.base + off, dbt_system_mmu(v));
        if (!dbt_canonical(rsp))
                dbt_raise_error(v, X86_SSF, ext);
        return rsp;
}

/* SS:SP for a level from a 16- or 32-bit TSS. */
static void tss_stack(struct dbt_vcpu *v, unsigned cpl, uint32_t ext, uint16_t *ss, uint32_t *sp)
{
        bool wide = seg_type(&v->tr) == DESC_TSS32_BUSY;
        unsigned size = wide ? 4 : 2, off = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
        uint64_t lin = v->tr.base + off;

        if ((v->tr.attr & X86_SEG_UNUSABLE) || off + size + 1 > v->tr.limit)
                dbt_raise_error(v, X86_TS, selector_error(v->tr.selector) | ext);
        *sp = wide ? dbt_load32(v, lin, dbt_system_mmu(v)) : dbt_load16(v, lin, dbt_system_mmu(v));
        *ss = dbt_load16(v, lin + size, dbt_system_mmu(v));
}

void dbt_stack_inner(struct dbt_vcpu *v, unsigned cpl, uint32_t ext, struct dbt_stack *ret)
{
        uint32_t sp, error;
        uint16_t selector;
        struct dbt_desc d;

        ret->mmu = dbt_system_mmu(v);
        if (long_mode(v)) {
                ret->ss = dbt_seg_null((uint16_t)cpl, cpl);
                ret->flat = true;
                ret->mask = UINT64_MAX;
                ret->error = ext;
                ret->sp = dbt_tss64_rsp(v, cpl, ext);
                return;
        }
        tss_stack(v, cpl, ext, &selector, &sp);
        error = selector_error(selector) | ext;
        if (!dbt_desc_fetch(v, selector, &d) || (selector & 3) != cpl || seg_dpl(&d.seg) != cpl ||
                !seg_is_writable_data(&d.seg))
                dbt_raise_error(v, X86_TS, error);
        if (!(d.seg.attr & X86_SEG_P))
                dbt_raise_error(v, X86_SSF, error);
        dbt_desc_set_accessed(v, &d);
        ret->ss = d.seg;
        ret->flat = false;
        ret->mask = stack_mask(&d.seg);
        ret->sp = sp & ret->mask;
        ret->error = error;
}

/* --- Loads of segment registers ------------------------------------------------------------------------------ */

static void load_real(struct dbt_vcpu *v, enum x86_sreg reg, uint16_t selector)
{
        struct x86_segment *s = &v->seg[reg];

        s->selector = selector;
        s->base = (uint32_t)selector << 4;
        if (v->rflags & X86_FLAG_VM) {
                s->limit = 0xffff;
                s->attr = 0xf3;
        } else {
                /* The limit and the size bits survive from protected mode ("unreal" mode). */
                if (s->attr & X86_SEG_UNUSABLE)
                        s->limit = 0xffff;
                s->attr = (s->attr & (X86_SEG_G | X86_SEG_DB)) | 0x93;
        }
}

static void load_ss(struct dbt_vcpu *v, uint16_t selector, struct dbt_desc *d)
{
        if (selector_null(selector)) {
                if (!(v->mode & DBT_MODE_CS64) || v->cpl == 3 || (selector & 3) != v->cpl)
                        dbt_raise_gp0(v);
                d->seg = dbt_seg_null(selector, v->cpl);
                return;
        }
        if (!dbt_desc_fetch(v, selector, d) || (selector & 3) != v->cpl || seg_dpl(&d->seg) != v->cpl ||
                !seg_is_writable_data(&d->seg))
                dbt_raise_error(v, X86_GP, selector_error(selector));
        if (!(d->seg.attr & X86_SEG_P))
                dbt_raise_error(v, X86_SSF, selector_error(selector));
        dbt_desc_set_accessed(v, d);
}

static void load_data(struct dbt_vcpu *v, uint16_t selector, struct dbt_desc *d)
{
        unsigned rpl = selector & 3;

        if (selector_null(selector)) {
                d->seg = dbt_seg_null(selector, 0);
                return;
        }
        if (!dbt_desc_fetch(v, selector, d) || !(d->seg.attr & X86_SEG_S) ||
                (seg_is_code(&d->seg) && !(seg_type(&d->seg) & DESC_READ)) ||
                (!seg_is_conforming(&d->seg) && (rpl > seg_dpl(&d->seg) || v->cpl > seg_dpl(&d->seg))))
                dbt_raise_error(v, X86_GP, selector_error(selector));
        if (!(d->seg.attr & X86_SEG_P))
                dbt_raise_error(v, X86_NP, selector_error(selector));
        dbt_desc_set_accessed(v, d);
}

void dbt_load_seg(struct dbt_vcpu *v, enum x86_sreg reg, uint16_t selector)
{
        struct dbt_desc d;

        if (!protected_mode(v)) {
                load_real(v, reg, selector);
        } else {
                if (reg == X86_SS)
                        load_ss(v, selector, &d);
                else
                        load_data(v, selector, &d);
                v->seg[reg] = d.seg;
        }
        if (!(v->mode & DBT_MODE_CS64))
                dbt_mode_update(v);
}

/* --- LDTR, TR and the descriptor queries --------------------------------------------------------------------- */

static void check_system_insn(struct dbt_vcpu *v)
{
        if (!protected_mode(v))
                dbt_raise_ud(v);
        if (v->cpl)
                dbt_raise_gp0(v);
}

/* A system descriptor of the GDT with its 64-bit base; type must be in the set (bit per type). */
static void fetch_system(struct dbt_vcpu *v, uint16_t selector, unsigned types, struct dbt_desc *d)
{
        uint64_t high;

        if ((selector & 4) || !dbt_desc_fetch(v, selector, d) || (d->seg.attr & X86_SEG_S) ||
                !(types >> seg_type(&d->seg) & 1))
                dbt_raise_error(v, X86_GP, selector_error(selector));
        if (!(d->seg.attr & X86_SEG_P))
                dbt_raise_error(v, X86_NP, selector_error(selector));
        if (!long_mode(v))
                return;
        if (!dbt_desc_fetch_high(v, selector, d, &high) || (high & 0x1f0000000000ULL))
                dbt_raise_error(v, X86_GP, selector_error(selector));
        d->seg.base |= high << 32;
        if (!dbt_canonical(d->seg.base))
                dbt_raise_error(v, X86_GP, selector_error(selector));
}

void dbt_lldt(struct dbt_vcpu *v, uint16_t selector)
{
        struct dbt_desc d;

        check_system_insn(v);
        if (selector_null(selector)) {
                v->ldtr = dbt_seg_null(selector, 0);
                return;
        }
        fetch_system(v, selector, 1u << DESC_LDT, &d);
        v->ldtr = d.seg;
}

void dbt_ltr(struct dbt_vcpu *v, uint16_t selector)
{
        struct dbt_desc d;

        check_system_insn(v);
        if (selector_null(selector))
                dbt_raise_gp0(v);
        fetch_system(v, selector, long_mode(v) ? 1u << DESC_TSS32 : 1u << DESC_TSS32 | 1u << DESC_TSS16, &d);
        desc_or_type(v, &d, 2); /* busy */
        d.seg.attr |= 2;
        v->tr = d.seg;
}

/* Is the segment visible at the current privilege level, and what lar and lsl know: types (bit per system type)? */
static bool query_desc(struct dbt_vcpu *v, uint16_t selector, unsigned types, struct dbt_desc *d)
{
        unsigned level = v->cpl > (selector & 3u) ? v->cpl : selector & 3u;

        if (!protected_mode(v))
                dbt_raise_ud(v);
        if (!dbt_desc_fetch(v, selector, d))
                return false;
        if (!(d->seg.attr & X86_SEG_S) && !(types >> seg_type(&d->seg) & 1))
                return false;
        return seg_is_conforming(&d->seg) || level <= seg_dpl(&d->seg);
}

static unsigned lsl_types(const struct dbt_vcpu *v)
{
        unsigned types = 1u << DESC_LDT | 1u << DESC_TSS32 | 1u << DESC_TSS32_BUSY;

        return long_mode(v) ? types : types | 1u << DESC_TSS16 | 1u << DESC_TSS16_BUSY;
}

bool dbt_lar(struct dbt_vcpu *v, uint16_t selector, uint32_t *ret)
{
        unsigned types = lsl_types(v) | 1u << DESC_CALL32;
        struct dbt_desc d;

        if (!long_mode(v))
                types |= 1u << DESC_CALL16 | 1u << DESC_TASK_GATE;
        if (!query_desc(v, selector, types, &d))
                return false;
        *ret = (uint32_t)(d.raw >> 32) & 0x00ffff00;
        return true;
}

bool dbt_lsl(struct dbt_vcpu *v, uint16_t selector, uint32_t *ret)
{
        struct dbt_desc d;

        if (!query_desc(v, selector, lsl_types(v), &d))
                return false;
        *ret = d.seg.limit;
        return true;
}

bool dbt_verify(struct dbt_vcpu *v, uint16_t selector, bool write)
{
        struct dbt_desc d;

        if (!query_desc(v, selector, 0, &d))
                return false;
        if (write)
                return seg_is_writable_data(&d.seg);
        return !seg_is_code(&d.seg) || (seg_type(&d.seg) & DESC_READ);
}

/* --- Mode and flags ------------------------------------------------------------------------------------------ */

static bool seg_flat(const struct x86_segment *s)
{
        return s->base == 0 && s->limit == UINT32_MAX && !(s->attr & X86_SEG_UNUSABLE) &&
                (seg_type(s) & (DESC_CODE | DESC_DOWN)) != DESC_DOWN;
}

static bool data_flat(const struct x86_segment *s)
{
        return seg_flat(s) && seg_is_writable_data(s);
}

static uint32_t segment_mode(const struct dbt_vcpu *v)
{
        const struct x86_segment *cs = &v->seg[X86_CS];
        uint32_t mode = 0;

        if (long_mode(v) && (cs->attr & X86_SEG_L))
                return DBT_MODE_CS64;
        if (cs->attr & X86_SEG_DB)
                mode |= DBT_MODE_CS32;
        if (v->seg[X86_SS].attr & X86_SEG_DB)
                mode |= DBT_MODE_SS32;
        if ((mode & DBT_MODE_CS32) && protected_mode(v) && seg_flat(cs) && data_flat(&v->seg[X86_SS]) &&
                data_flat(&v->seg[X86_DS]) && data_flat(&v->seg[X86_ES]))
                mode |= DBT_MODE_FLAT;
        return mode;
}

static bool seg_open(const struct x86_segment *s)
{
        return s->limit == UINT32_MAX && !(s->attr & X86_SEG_UNUSABLE) && seg_is_writable_data(s) && !(seg_type(s) & DESC_DOWN);
}

void dbt_mode_update(struct dbt_vcpu *v)
{
        uint32_t mode = segment_mode(v);

        for (unsigned k = 0; k < ARRAY_SIZE(v->seg_open); k++)
                v->seg_open[k] = seg_open(&v->seg[X86_FS + k]);

        if (v->cr0 & X86_CR0_PE)
                mode |= DBT_MODE_PE;
        v->cpl = v->cr0 & X86_CR0_PE ? (uint8_t)seg_dpl(&v->seg[X86_SS]) : 0;
        if (v->rflags & X86_FLAG_VM) {
                mode |= DBT_MODE_VM86;
                v->cpl = 3;
        }
        if (v->cpl == 3)
                mode |= DBT_MODE_CPL3;
        v->mode = mode;
        dbt_set_view(v, dbt_cpl_mmu(v, v->cpl, v->rflags));
        if (v->mmu == DBT_MMU_KERNEL_SMAP)
                v->mode |= DBT_MODE_SMAP;
        mirror_mode(v);
        v->fpu_trap = (v->cr0 & (X86_CR0_EM | X86_CR0_TS)) || !(v->cr4 & X86_CR4_OSFXSR);
        v->avx_trap = v->fpu_trap || !(v->cr4 & X86_CR4_OSXSAVE) || (v->xcr0 & 7) != 7;
}

void dbt_set_rflags(struct dbt_vcpu *v, uint64_t value, uint64_t may_change)
{
        uint64_t old = v->rflags;

        if (protected_mode(v)) {
                if (v->cpl)
                        may_change &= ~(uint64_t)X86_FLAG_IOPL;
                if (v->cpl > (old >> 12 & 3))
                        may_change &= ~(uint64_t)X86_FLAG_IF;
        }
        v->rflags = (old & ~may_change) | (value & may_change) | 2;
        if (~old & v->rflags & X86_FLAG_IF)
                dbt_interrupts_enabled(v);
        if ((old ^ v->rflags) & (X86_FLAG_AC | X86_FLAG_VM))
                dbt_mode_update(v);
}

void dbt_cli(struct dbt_vcpu *v)
{
        if ((v->cr0 & X86_CR0_PE) && v->cpl > (v->rflags >> 12 & 3))
                dbt_raise_gp0(v);
        v->rflags &= ~(uint64_t)X86_FLAG_IF;
}

void dbt_sti(struct dbt_vcpu *v)
{
        if ((v->cr0 & X86_CR0_PE) && v->cpl > (v->rflags >> 12 & 3))
                dbt_raise_gp0(v);
        if (v->rflags & X86_FLAG_IF)
                return;
        v->rflags |= X86_FLAG_IF;
        v->interrupt_shadow = true;
        dbt_interrupts_enabled(v);
}
