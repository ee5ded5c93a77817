/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A decoded guest instruction as the executor keeps it, and what native.c and exec-*.c share. Private to engine/dbt. */

#include <Zydis/Zydis.h>

#include "hv/engine/dbt/vcpu.h"

struct dbt_insn;

/* Executes one instruction. On entry v->rip is its address. On return v->rip is unchanged for a plain instruction (the
 * run loop advances it by length) and the target for one that has DBT_INSN_TRANSFER. */
typedef void (*dbt_handler)(struct dbt_vcpu *v, const struct dbt_insn *i);

enum dbt_insn_flags {
        DBT_INSN_TRANSFER = 1 << 0, /* sets v->rip itself; ends the block */
        DBT_INSN_ENDS_BLOCK = 1 << 1, /* may change mode, mapping or interrupt state */
        DBT_INSN_LOCK = 1 << 2,
        DBT_INSN_REP = 1 << 3,      /* F3 on a string instruction */
        DBT_INSN_REPNE = 1 << 4,
        DBT_INSN_MEM = 1 << 5,      /* has an explicit memory operand: mem below */
        DBT_INSN_VECTOR = 1 << 6,   /* needs the host's vector or x87 state loaded, and the CR0.TS/EM checks */
        DBT_INSN_DIRECT = 1 << 7,   /* a transfer whose target is at a constant distance */
};

#define DBT_LENGTH_MAX 15            /* also of two that are fused */
#define DBT_REG_NONE X86_NGPRS       /* v->zero */
#define DBT_REG_RIP (X86_NGPRS + 1)  /* v->rip; the instruction's length is in disp */

struct dbt_mem {
        int32_t disp;
        uint8_t base;        /* index into v->regs: enum x86_gpr, DBT_REG_NONE or DBT_REG_RIP */
        uint8_t index:7;
        bool stub:1;         /* of the instruction rather than the operand: native is valid */
        uint8_t seg_base:6;  /* fast: where the segment's base is, in units of 8 bytes from v->regs: DBT_SEG_BASE */
        uint8_t scale:2;     /* shift count 0..3 */
        uint8_t addr_size:4; /* 2, 4, 8 */
        uint8_t seg:3;       /* enum x86_sreg, override applied */
        bool fast:1;         /* 64-bit mode, 64-bit address size: no limits and no truncation */
};

#define DBT_SEG_BASE_OF(field) ((offsetof(struct dbt_vcpu, field) - offsetof(struct dbt_vcpu, regs)) / 8)
#define DBT_SEG_BASE_NONE DBT_SEG_BASE_OF(zero)
/* The field that one of these stands for. */
#define DBT_SEG_BASE_FIELD(base) (offsetof(struct dbt_vcpu, regs) + (base) * sizeof(uint64_t))
/* In 64-bit mode: the base is that of v->zero for all but FS and GS. */
#define DBT_SEG_BASE(reg) ((reg) == X86_FS || (reg) == X86_GS ? \
        DBT_SEG_BASE_OF(seg) + ((reg) * sizeof(struct x86_segment) + offsetof(struct x86_segment, base)) / 8 : DBT_SEG_BASE_NONE)
_Static_assert(DBT_SEG_BASE(X86_GS) < 64 && offsetof(struct dbt_vcpu, seg) % 8 == 0 && sizeof(struct x86_segment) % 8 == 0, "seg_base has 6 bits");

/* Decoded code does not depend on the address it runs at: one physical page can be mapped at many. */
struct dbt_insn {
        dbt_handler fn;
        union {
                uint64_t imm;       /* immediate, sign-extended; relative branches: target - address of this instruction; moffs: the address */
                const void *native; /* native.c's stub, if mem.stub; it has the immediate */
        };
        struct dbt_mem mem;
        union {
                uint32_t aux;       /* free for the handler */
                uint32_t cond;      /* condition code of jcc, setcc, cmovcc */
        };
        uint8_t flags;       /* enum dbt_insn_flags */
        uint8_t length:4;
        uint8_t op_size:4;   /* effective operand size in bytes: 1, 2, 4, 8 */
        uint8_t reg[2];      /* the first two explicit register operands in operand order: enum x86_gpr; sreg, CR, DR numbers; byte
                              * registers as the byte's offset in v->gpr: 8 n, for AH..BH 8 (n - 4) + 1 */
};

_Static_assert(sizeof(struct dbt_insn) == 32, "there are many of them");

/* Base of the operand's segment if mem.fast. */
static inline uint64_t dbt_seg_base(const struct dbt_vcpu *v, const struct dbt_insn *i)
{
        return *(const uint64_t *)(const void *)((const uint8_t *)v + DBT_SEG_BASE_FIELD(i->mem.seg_base));
}

/* Offset part of the memory operand's address, truncated to the address size; without segment base. */
static inline uint64_t dbt_mem_offset(const struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t a = (uint64_t)i->mem.disp + v->regs[i->mem.base] + (v->regs[i->mem.index] << i->mem.scale);

        if (likely(i->mem.addr_size == 8))
                return a;
        return i->mem.addr_size == 4 ? (uint32_t)a : (uint16_t)a;
}

/* dbt_mem_linear for everything but plain 64-bit addressing. */
uint64_t dbt_mem_linear_slow(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned n, enum dbt_access access);

/* Linear address of the memory operand for an access of n bytes; raises #GP or #SS (limits). Whether it is canonical shows in
 * the page walk: a TLB tag always is. */
static inline uint64_t dbt_mem_linear(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned n, enum dbt_access access)
{
        if (likely(i->mem.fast))
                return (uint64_t)i->mem.disp + v->regs[i->mem.base] + (v->regs[i->mem.index] << i->mem.scale) + dbt_seg_base(v, i);
        return dbt_mem_linear_slow(v, i, n, access);
}

/* decode.c: decodes the instruction at bytes (avail of them readable; fewer than 15 only at a page end) for v's
 * present mode. Returns the length; 0: more bytes than avail are needed; an invalid one decodes to a
 * handler that raises #UD. */
unsigned dbt_decode(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, struct dbt_insn *ret);
/* The same, whatever was decoded before. */
unsigned dbt_decode_anew(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, struct dbt_insn *ret);

/* exec-alu.c: makes op do also what the conditional jump behind it does; false, and op unchanged, if there is no handler for the pair. */
bool dbt_fuse(struct dbt_insn *op, const struct dbt_insn *jump);

/* Is the memory operand of the instruction at v->rip in the stack segment? 64-bit mode: for non-canonical addresses, which raise #SS there and #GP
 * elsewhere. */
bool dbt_uses_stack(struct dbt_vcpu *v);

/* native.c: instructions whose semantics are the host's own: x87, MMX, SSE, AVX, BMI, and every other plain one that exec-*.c
 * does not handle itself. prepare is called by decode.c when it has no handler: it makes the stub, sets fn, aux, flags and native; false
 * means unknown here, too: #UD (or a feature the guest's CPUID does not offer). bytes are the instruction's. */
bool dbt_native_prepare(struct dbt_vcpu *v, struct dbt_insn *i, const ZydisDecodedInstruction *z,
                        const ZydisDecodedOperand *ops, const uint8_t *bytes);
int dbt_native_init(struct dbt_vcpu *v);
void dbt_native_finish(struct dbt_vcpu *v);
/* Tells the handler of the host's signals which vCPU this thread runs. */
void dbt_native_thread(struct dbt_vcpu *v);
/* One copy of the instruction more, or less; those without a stub are left alone. dbt_decode makes the first one. */
void dbt_native_retain(struct dbt_vcpu *v, const struct dbt_insn *i);
void dbt_native_release(struct dbt_vcpu *v, const struct dbt_insn *i);
/* Asked before a block is decoded: is there too little room left for the stubs of another block? Then others are to be evicted. */
bool dbt_native_full(const struct dbt_vcpu *v);
/* All stubs are forgotten; cache.c has dropped all decoded instructions before. */
void dbt_native_flush(struct dbt_vcpu *v);
/* fxsave, fxrstor, xsave*, xrstor*, fninit..., ldmxcsr: called as handlers, set by decode.c's table. */
void dbt_fxsave(struct dbt_vcpu *v, const struct dbt_insn *i);
void dbt_fxrstor(struct dbt_vcpu *v, const struct dbt_insn *i);
void dbt_xsave(struct dbt_vcpu *v, const struct dbt_insn *i);   /* xsave, xsaveopt */
void dbt_xsavec(struct dbt_vcpu *v, const struct dbt_insn *i);
void dbt_xrstor(struct dbt_vcpu *v, const struct dbt_insn *i);
