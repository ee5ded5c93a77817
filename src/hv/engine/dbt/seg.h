/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Descriptors and stacks, as seg.c and fault.c share them. Private to engine/dbt. */

#include "hv/engine/dbt/vcpu.h"

/* Descriptor types of system segments (S clear), Intel SDM vol. 3, table 3-2. */
enum {
        DESC_TSS16 = 1, DESC_LDT = 2, DESC_TSS16_BUSY = 3, DESC_CALL16 = 4, DESC_TASK_GATE = 5, DESC_INT16 = 6,
        DESC_TRAP16 = 7, DESC_TSS32 = 9, DESC_TSS32_BUSY = 11, DESC_CALL32 = 12, DESC_INT32 = 14, DESC_TRAP32 = 15,
};

/* Bits of a code or data descriptor's type. */
enum { DESC_ACCESSED = 1, DESC_WRITE = 2, DESC_READ = 2, DESC_CONFORMING = 4, DESC_DOWN = 4, DESC_CODE = 8 };

struct dbt_desc {
        struct x86_segment seg;
        uint64_t lin;  /* address of the descriptor */
        uint64_t raw;  /* its first 8 bytes */
};

static inline unsigned seg_type(const struct x86_segment *s)
{
        return s->attr & X86_SEG_TYPE_MASK;
}

static inline unsigned seg_dpl(const struct x86_segment *s)
{
        return s->attr >> X86_SEG_DPL_SHIFT & 3;
}

static inline bool seg_is_code(const struct x86_segment *s)
{
        return (s->attr & X86_SEG_S) && (seg_type(s) & DESC_CODE);
}

static inline bool seg_is_writable_data(const struct x86_segment *s)
{
        return (s->attr & X86_SEG_S) && !(seg_type(s) & DESC_CODE) && (seg_type(s) & DESC_WRITE);
}

static inline bool seg_is_conforming(const struct x86_segment *s)
{
        return seg_is_code(s) && (seg_type(s) & DESC_CONFORMING);
}

static inline bool selector_null(uint16_t selector)
{
        return !(selector & ~3u);
}

/* Selector as an error code has it. */
static inline uint32_t selector_error(uint16_t selector)
{
        return selector & 0xfffcu;
}

static inline bool long_mode(const struct dbt_vcpu *v)
{
        return v->efer & X86_EFER_LMA;
}

static inline bool protected_mode(const struct dbt_vcpu *v)
{
        return (v->cr0 & X86_CR0_PE) && !(v->rflags & X86_FLAG_VM);
}

/* Fetches a descriptor of the GDT or LDT; false if the selector is null or beyond the table. Raises page faults only. */
bool dbt_desc_fetch(struct dbt_vcpu *v, uint16_t selector, struct dbt_desc *ret);
/* Upper 8 bytes of a 16-byte system descriptor (long mode); false beyond the table. */
bool dbt_desc_fetch_high(struct dbt_vcpu *v, uint16_t selector, const struct dbt_desc *d, uint64_t *ret);
/* Sets the accessed bit in the table and in d, if it is a code or data descriptor without. */
void dbt_desc_set_accessed(struct dbt_vcpu *v, struct dbt_desc *d);

/* Does [offset, offset+n) lie within the segment's limit? */
bool dbt_seg_within(const struct x86_segment *s, uint64_t offset, unsigned n);
/* A null segment register with the given privilege level in its attributes. */
struct x86_segment dbt_seg_null(uint16_t selector, unsigned dpl);

/* A stack that values are pushed to or popped from; the CPU's own registers change only when the user says so. Raises #SS(error). */
struct dbt_stack {
        uint64_t sp, mask;
        struct x86_segment ss;
        bool flat; /* 64-bit: no base, no limit */
        unsigned mmu;
        uint32_t error;
};

void dbt_stack_current(struct dbt_vcpu *v, struct dbt_stack *ret);
void dbt_stack_push(struct dbt_vcpu *v, struct dbt_stack *s, uint64_t value, unsigned size);
uint64_t dbt_stack_pop(struct dbt_vcpu *v, struct dbt_stack *s, unsigned size);
/* RSP for the stack's present position: bits beyond the stack's size stay as they are in RSP. */
uint64_t dbt_stack_rsp(const struct dbt_vcpu *v, const struct dbt_stack *s);
/* The stack of an inner privilege level from the TSS, checked; in long mode with the null SS. ext: bit 0 of error codes. */
void dbt_stack_inner(struct dbt_vcpu *v, unsigned cpl, uint32_t ext, struct dbt_stack *ret);
/* Stack pointer from the 64-bit TSS: slot 0..2 for RSPn, 4..10 for IST1..7. */
uint64_t dbt_tss64_rsp(struct dbt_vcpu *v, unsigned slot, uint32_t ext);

/* Records that v should look for events again; for the vCPU's own thread. */
static inline void dbt_self_request(struct dbt_vcpu *v, uint32_t bits)
{
        dbt_ask(v, bits);
}

/* After IF or nmi_blocked changed so that a held-back interrupt may be due. */
static inline void dbt_interrupts_enabled(struct dbt_vcpu *v)
{
        if (v->intr_waiting)
                dbt_self_request(v, DBT_REQ_INTR);
}

/* Logs once that the guest tried a hardware task switch, and raises #GP(error). */
_Noreturn void dbt_task_switch_unsupported(struct dbt_vcpu *v, uint32_t error);
