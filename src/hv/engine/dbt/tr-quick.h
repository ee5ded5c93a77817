/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The instructions that tr-quick.c knows. Private to tr-quick*.c. */

#include "hv/engine/dbt/tr.h"

enum quick_kind {
        QUICK_NONE,      /* left to the other translator */
        QUICK_PLAIN,     /* itself with other register numbers */
        QUICK_NOTHING,
        QUICK_LEA,
        QUICK_ACCUMULATOR, /* AL, EAX and an immediate */
        QUICK_GROUP1, QUICK_GROUP3, QUICK_GROUP5,
        QUICK_SHIFT,     /* by an immediate, or 1 */
        QUICK_BY_CL,
        QUICK_BITS,
        QUICK_MOV_IMM,
        QUICK_BSWAP,
        QUICK_CDQE, QUICK_CDQ,
        QUICK_PUSH, QUICK_PUSH_IMM, QUICK_POP, QUICK_LEAVE,
        /* The block ends behind these. */
        QUICK_JCC, QUICK_JMP, QUICK_CALL, QUICK_RET,
};

enum quick_flags {
        QUICK_MODRM = 1 << 0,
        /* ModRM.reg and, if it is none of memory, ModRM.rm, or that of the opcode for other kinds than QUICK_PUSH and QUICK_POP: general registers, that are written, that are not read, of which only bytes are used. */
        QUICK_REG = 1 << 1, QUICK_REG_W = 1 << 2, QUICK_REG_NOT_R = 1 << 3, QUICK_REG_BYTE = 1 << 4,
        QUICK_RM = 1 << 5, QUICK_RM_W = 1 << 6, QUICK_RM_NOT_R = 1 << 7, QUICK_RM_BYTE = 1 << 8,
        QUICK_IMM8 = 1 << 9, QUICK_IMM = 1 << 10, /* an immediate of 8 bits, or of the operand size, at most 32 bits */
        QUICK_NEEDS = 1 << 11,   /* arithmetic flags: reads them, or may leave some as they are */
        QUICK_SETS = 1 << 12,    /* changes them; all of them, but with QUICK_NEEDS */
        QUICK_VECTOR = 1 << 13,  /* SSE */
        QUICK_MAY_FAULT = 1 << 14, /* without a memory operand, too */
        QUICK_NO_MEMORY = 1 << 15, /* not known with a memory operand */
};

/* Of which prefix the opcode may have. */
enum { QUICK_NP = 1, QUICK_66 = 2, QUICK_F3 = 4, QUICK_F2 = 8 };

struct quick_op {
        uint16_t flags;
        uint8_t kind, prefixes;
};

/* The one-byte opcodes, and those behind 0F, in 64-bit mode (Intel SDM vol. 2, appendix A). */
extern const struct quick_op quick_ops[2][256];

/* An instruction that was taken apart. */
struct quick_insn {
        const uint8_t *bytes;
        struct quick_op op;
        uint8_t rex, rep, opcode;
        bool op16, map0f, mem, rip;
        uint8_t reg, rm;           /* of ModRM or, rm, the opcode; with the bits of REX */
        uint8_t ext;               /* ModRM.reg without it */
        uint8_t base, index, scale; /* enum x86_gpr or TR_NO_HOME */
        int32_t disp;
        uint8_t length, imm;       /* imm: bytes, at the end */
};

/* Of the operands: bytes. */
static inline unsigned quick_op_size(const struct quick_insn *i)
{
        return i->rex & 8 ? 8 : i->op16 ? 2 : 4;
}

/* The immediate, of 1 or 4 bytes, or what a branch adds to the address behind it. */
static inline int64_t quick_immediate(const struct quick_insn *i)
{
        const uint8_t *p = i->bytes + i->length - i->imm;

        return i->imm == 1 ? (int8_t)*p : (int32_t)*(const dbt_guest32 *)p;
}

/* --- tr-quick-take.c --- */

/* False: tr-quick.c does not know it. As many bytes are read as the longest instruction has, and two more. */
bool tr_quick_take(const uint8_t *bytes, struct quick_insn *ret);
