/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A first translation that is being made, and how its bytes are put. Private to tr-quick.c and tr-quick-exit.c. */

#include "hv/engine/dbt/tr-gen.h"
#include "hv/engine/dbt/tr-quick.h"

#define FAULTS_MAX 2
/* Instructions that are looked at before code is made. */
#define FIRST_MAX 8

struct quick {
        struct dbt_vcpu *v;
        struct dbt_tr *t;
        struct dbt_block *b;
        ptrdiff_t to_exec;
        const uint8_t *entry;
        struct quick_insn first[FIRST_MAX];
        unsigned n_first;
        unsigned offset;           /* of the instruction, in the page */
        int jumps;                 /* tr_jump_mode */
        unsigned branches;         /* that the block goes on behind */
        bool failed;               /* there are not enough scratch registers */
        uint8_t scratch[2];        /* guest registers that RAX and RCX stand for */
        struct state {
                uint8_t *p;        /* in the writable view */
                uint8_t *cold;     /* the same, of seldom run code */
                uint8_t exits;
                int32_t rsp;       /* the guest's is the host register plus this */
                bool valid, dirty; /* the flags are in RFLAGS; and v->tr_flags is older */
                bool read, written; /* the flags from before the block are; all of them were overwritten */
                uint8_t fpu;       /* enum gen_fpu */
                uint8_t *out;      /* jump of the look at the vector state, or NULL */
        } now;
        /* Of the present instruction. */
        struct tr_fault *fault[FAULTS_MAX];
        const uint8_t *fault_at[FAULTS_MAX];
        unsigned n_faults;
        int32_t rsp_before;
        /* Of the one that looks at the vector state. */
        unsigned out_offset;
        struct tr_out_rsp out_rsp;
        const uint8_t *out_behind;
};

/* --- Bytes ----------------------------------------------------------------------------------------------------------------------- */

static inline void put(struct quick *q, unsigned byte)
{
        *q->now.p++ = (uint8_t)byte;
}

static inline void put32(struct quick *q, uint32_t value)
{
        *(dbt_guest32 *)q->now.p = value;
        q->now.p += 4;
}

static inline const uint8_t *here(const struct quick *q)
{
        return q->now.p + q->to_exec;
}

static inline void set_jump(struct quick *q, uint8_t *jump)
{
        *(dbt_guest32 *)jump = (uint32_t)(q->now.p - (jump + 4));
}

/* To and from seldom run code. */
static inline void change_over(struct quick *q)
{
        uint8_t *p = q->now.p;

        q->now.p = q->now.cold;
        q->now.cold = p;
}

/* The displacement of a jump, or of an operand relative to RIP that further bytes follow. */
static inline void put_relative(struct quick *q, uintptr_t target, unsigned further)
{
        put32(q, (uint32_t)(target - (uintptr_t)(here(q) + 4 + further)));
}

static inline void call(struct quick *q, const uint8_t *target)
{
        put(q, TR_OPCODE_CALL);
        put_relative(q, (uintptr_t)target, 0);
}

/* op reg, [field], 64 bits */
static inline void with_field(struct quick *q, unsigned opcode, unsigned reg, size_t field)
{
        put(q, 0x48 | (reg >= 8 ? 4 : 0));
        put(q, opcode);
        put(q, (reg & 7) << 3 | 5);
        put_relative(q, (uintptr_t)q->v + field, 0);
}

/* mov reg, the linear address of the block's page */
static inline void load_page(struct quick *q, unsigned reg)
{
        if (!q->b->is_bound) {
                with_field(q, 0x8b, reg, offsetof(struct dbt_vcpu, tr_page));
                return;
        }
        put(q, 0xb8 | reg);
        put32(q, q->b->bound);
}

/* op reg, rm, 64 bits */
static inline void with_reg(struct quick *q, unsigned opcode, unsigned reg, unsigned rm)
{
        put(q, 0x48 | (reg >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0));
        put(q, opcode);
        put(q, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* ModRM with a displacement; base has no use for SIB. */
static inline void put_based(struct quick *q, unsigned reg, unsigned base, int32_t disp)
{
        bool small = disp == (int8_t)disp;

        put(q, (small ? 0x40 : 0x80) | (reg & 7) << 3 | (base & 7));
        if (small)
                put(q, (uint8_t)disp);
        else
                put32(q, (uint32_t)disp);
}

/* op reg, [RSP + disp], 64 bits */
static inline void with_stack(struct quick *q, unsigned opcode, unsigned reg, int32_t disp)
{
        put(q, 0x49 | (reg >= 8 ? 4 : 0));
        put(q, opcode);
        put_based(q, reg, HOME_RSP, disp);
}

/* --- tr-quick-exit.c ----------------------------------------------------------------------------------------------------------------- */

/* To RAX: linear address of the offset from the page's start. */
void quick_page_plus(struct quick *q, int64_t offset);
/* By t->to_cached or t->to_far, as tr.h describes them. */
void quick_jump_by_routine(struct quick *q, const uint8_t *routine);
/* To the offset from the page's start, if the condition holds, or TR_ALWAYS. RSP is settled. Keeps RFLAGS where the condition does not hold. */
void quick_leave_to(struct quick *q, unsigned cond, int64_t offset, bool forward);
