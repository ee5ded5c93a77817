/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the instructions that are translated do to registers and flags (Intel SDM vol. 2; vol. 1, appendix A). Instructions run by handlers count as
 * reading all flags and writing all registers: they may fault, and their exceptions' frames show everything. */

#include "hv/engine/dbt/native.h"
#include "hv/engine/dbt/tr.h"

_Static_assert((int)NATIVE_CF == TR_CF && (int)NATIVE_PF == TR_PF && (int)NATIVE_AF == TR_AF && (int)NATIVE_ZF == TR_ZF &&
        (int)NATIVE_SF == TR_SF && (int)NATIVE_OF == TR_OF, "the same sets");

/* Flags that condition codes read, by cond / 2. */
static const uint8_t cond_flags[8] = {
        TR_OF, TR_CF, TR_ZF, TR_CF | TR_ZF, TR_SF, TR_PF, TR_SF | TR_OF, TR_SF | TR_OF | TR_ZF,
};

static const struct native_form *native_form(const struct dbt_insn *i)
{
        return &((const struct native_stub *)i->native)->form;
}

static bool is_group(const struct tr_insn *t, unsigned first, unsigned last)
{
        return !t->op.map0f && t->op.opcode >= first && t->op.opcode <= last;
}

static unsigned extension(const struct tr_insn *t)
{
        return t->reg & 7;
}

/* A count of 0 keeps all flags; rcl and rcr read CF. */
static void shift(const struct tr_insn *t, struct tr_use *u)
{
        bool through_carry = !t->op.map0f && (extension(t) == 2 || extension(t) == 3);

        u->flags_read = through_carry ? TR_CF : 0;
        u->flags_written = 0;
}

static void one_byte(const struct tr_insn *t, struct tr_use *u)
{
        unsigned n = is_group(t, 0x80, 0x83) ? extension(t) : t->op.opcode >> 3;

        if (t->op.opcode < 0x40 || is_group(t, 0x80, 0x83)) {
                u->flags_read = n == 2 || n == 3 ? TR_CF : 0;
        } else if (is_group(t, 0xfe, 0xff)) {
                u->flags_read = 0;
                u->flags_written = TR_ALL_FLAGS & ~TR_CF;
        } else if (is_group(t, 0xc0, 0xc1) || is_group(t, 0xd0, 0xd1)) {
                if (t->flags & TR_R)
                        shift(t, u);
        }
}

static void two_byte(const struct dbt_insn *i, const struct tr_insn *t, struct tr_use *u)
{
        switch (t->op.opcode) {
        case 0x40 ... 0x4f: /* cmovcc */
        case 0x90 ... 0x9f: /* setcc */
                u->flags_read = cond_flags[i->cond >> 1 & 7];
                break;
        case 0xa3: /* bt and its kin */
        case 0xab:
        case 0xb3:
        case 0xbb:
        case 0xba:
                u->flags_read = 0;
                u->flags_written = TR_CF;
                break;
        case 0xa4: /* shld, shrd */
        case 0xac:
                u->flags_read = 0;
                break;
        case 0xbc: /* bsf, bsr, tzcnt, lzcnt */
        case 0xbd:
                u->flags_read = 0;
                u->flags_written = t->op.rep ? TR_CF | TR_ZF : TR_ZF;
                break;
        }
}

/* From the coarse description: what needs or keeps earlier flags may read any of them. */
static void flags_of(const struct dbt_insn *i, const struct tr_insn *t, struct tr_use *u)
{
        u->flags_touched = t->flags & TR_W;
        u->flags_read = t->flags & TR_R ? TR_ALL_FLAGS : 0;
        u->flags_written = t->flags == TR_W ? TR_ALL_FLAGS : 0;
        if (t->kind == TR_JCC)
                u->flags_read = cond_flags[i->cond >> 1 & 7];
        if (t->kind == TR_SHIFT_CL || t->kind == TR_SHIFTD_CL)
                shift(t, u);
        if (t->kind == TR_NATIVE) {
                u->flags_read = native_form(i)->flags_read;
                u->flags_written = native_form(i)->flags_written;
        }
        if (t->kind == TR_BIT_STRING || t->kind == TR_CMPXCHG_WIDE) {
                u->flags_read = 0;
                u->flags_written = t->kind == TR_BIT_STRING ? TR_CF : TR_ZF;
        }
        if (t->kind != TR_PLAIN)
                return;
        if (t->op.map0f)
                two_byte(i, t, u);
        else
                one_byte(t, u);
}

static uint16_t bit(unsigned reg)
{
        return (uint16_t)(1u << (reg & 15));
}

static uint16_t writes_plain(const struct tr_insn *t)
{
        uint16_t w = t->reg_use & TR_W ? bit(t->reg) : 0;

        return !t->mem && (t->rm_use & TR_W) ? w | bit(t->rm) : w;
}

static uint16_t writes_of(const struct dbt_insn *i, const struct tr_insn *t)
{
        switch (t->kind) {
        case TR_NOTHING:
        case TR_COPY:
        case TR_BIT_STRING:
        case TR_CLI:
        case TR_CLD:
        case TR_STD:
        case TR_SAHF:
        case TR_SWAPGS:
        case TR_STI:
        case TR_CLAC:
        case TR_STAC:
        case TR_JRCXZ:
        case TR_JCC:
        case TR_JMP:
        case TR_JMP_RM:
                return 0;
        case TR_PLAIN:
                return writes_plain(t);
        case TR_LEA:
                return bit(t->reg);
        case TR_MOV_IMM:
        case TR_BSWAP:
                return bit(t->rm);
        case TR_SHIFT_CL:
        case TR_SHIFTD_CL:
        case TR_MOV_FROM_SEG:
                return t->mem ? 0 : bit(t->rm);
        case TR_CDQE:
        case TR_CMPXCHG:
        case TR_LAHF:
                return bit(X86_RAX);
        case TR_LOOP:
                return bit(X86_RCX);
        case TR_RDTSC:
                return bit(X86_RAX) | bit(X86_RCX) | bit(X86_RDX);
        case TR_CDQ:
                return bit(X86_RDX);
        case TR_MUL:
        case TR_DIV:
        case TR_IDIV:
        case TR_CMPXCHG_WIDE:
                return bit(X86_RAX) | bit(X86_RDX);
        case TR_PUSH_REG:
        case TR_PUSH_IMM:
        case TR_PUSH_MEM:
        case TR_PUSHF:
        case TR_CALL:
        case TR_CALL_RM:
        case TR_RET:
                return bit(X86_RSP);
        case TR_POP:
                return bit(X86_RSP) | bit(t->rm);
        case TR_LEAVE:
                return bit(X86_RSP) | bit(X86_RBP);
        case TR_NATIVE:
                return native_form(i)->writes;
        default:
                return 0xffff;
        }
}

void tr_use(const struct dbt_insn *i, const struct tr_insn *t, struct tr_use *ret)
{
        *ret = (struct tr_use){ .writes = writes_of(i, t) };
        if (t->kind == TR_HANDLER)
                ret->flags_read = TR_ALL_FLAGS;
        else
                flags_of(i, t, ret);
}
