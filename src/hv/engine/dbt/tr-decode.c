/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which instructions are translated, and what they read and write (Intel SDM vol. 2, appendix A). dbt_insn already holds the
 * address and the immediate; the bytes tell the operation. */

#include "hv/engine/dbt/tr.h"

/* Prefixes, opcode and ModRM. */
struct bytes {
        const uint8_t *p;
        unsigned rex, opcode, mod, reg, rm, rep; /* rep: F2, F3 or 0 */
        bool op16, map0f, mode64;
};

static bool is_segment_prefix(unsigned byte)
{
        return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 || byte == 0x65;
}

/* Bytes beyond the instruction may be read as ModRM; the caller has three to spare. */
static void split(const uint8_t *p, bool mode64, struct bytes *ret)
{
        *ret = (struct bytes){ .mode64 = mode64 };
        for (;; p++) {
                if (*p == 0x66)
                        ret->op16 = true;
                else if (*p == 0xf2 || *p == 0xf3)
                        ret->rep = *p;
                else if (*p != 0xf0 && !is_segment_prefix(*p))
                        break;
        }
        if (mode64 && (*p & 0xf0) == 0x40)
                ret->rex = *p++;
        if (*p == 0x0f) {
                ret->map0f = true;
                p++;
        }
        ret->opcode = *p++;
        ret->p = p;
        ret->mod = *p >> 6;
        ret->reg = (*p >> 3 & 7) | (ret->rex & 4) << 1;
        ret->rm = (*p & 7) | (ret->rex & 1) << 3;
}

/* AH..BH? */
static bool is_high_byte(const struct bytes *b, unsigned reg)
{
        return !b->rex && reg >= 4;
}

static void plain(struct tr_insn *t, unsigned reg_use, unsigned rm_use, unsigned flags)
{
        t->kind = TR_PLAIN;
        t->reg_use = (uint8_t)reg_use;
        t->rm_use = (uint8_t)rm_use;
        t->flags = (uint8_t)flags;
}

/* The operation's second half: opcode extension with operand rm. */
static void extension(struct tr_insn *t, unsigned rm_use, unsigned flags)
{
        plain(t, 0, rm_use, flags);
}

/* Operation n of 8: add or adc sbb and sub xor cmp. */
static unsigned alu_flags(unsigned n)
{
        return n == 2 || n == 3 ? TR_RW : TR_W;
}

static void accumulator(struct tr_insn *t, unsigned opcode, unsigned ext)
{
        t->mem = false;
        t->rm = X86_RAX;
        t->reg = (uint8_t)ext;
        t->op.opcode = (uint8_t)opcode;
        t->n_imm = t->size == 8 ? 4 : t->size;
}

static void alu(struct tr_insn *t, const struct bytes *b)
{
        unsigned n = b->opcode >> 3, dst = n == 7 ? TR_R : TR_RW;

        switch (b->opcode & 7) {
        case 0:
        case 1:
                plain(t, TR_R, dst, alu_flags(n));
                return;
        case 2:
        case 3:
                plain(t, dst, TR_R, alu_flags(n));
                return;
        case 4:
        case 5:
                extension(t, dst, alu_flags(n));
                accumulator(t, 0x80 | (b->opcode & 1), n);
                return;
        }
}

static unsigned imm_size(const struct tr_insn *t)
{
        return t->size == 8 ? 4 : t->size;
}

/* Rotates keep flags, and a count of zero keeps all. */
static unsigned shift_flags(const struct dbt_insn *i, const struct tr_insn *t, bool by_one)
{
        unsigned count = by_one ? 1 : (unsigned)i->imm & (t->size == 8 ? 63 : 31);

        return (t->reg & 7) >= 4 && count ? TR_W : TR_RW;
}

static void group3(struct tr_insn *t)
{
        switch (t->reg & 7) {
        case 0:
        case 1:
                extension(t, TR_R, TR_W);
                t->n_imm = (uint8_t)imm_size(t);
                return;
        case 2:
                extension(t, TR_RW, 0);
                return;
        case 3:
                extension(t, TR_RW, TR_W);
                return;
        case 4:
        case 5:
                extension(t, TR_R, TR_W);
                t->kind = TR_MUL;
                return;
        case 6:
        case 7:
                if (t->size >= 4 || (t->reg & 7) == 6) {
                        extension(t, TR_R, 0);
                        t->kind = (t->reg & 7) == 6 ? TR_DIV : TR_IDIV;
                }
                return;
        }
}

static void group5(struct tr_insn *t, const struct bytes *b)
{
        switch (t->reg & 7) {
        case 0:
        case 1:
                extension(t, TR_RW, TR_RW);
                return;
        case 2:
        case 4:
                if (b->opcode == 0xff) {
                        t->kind = (t->reg & 7) == 2 ? TR_CALL_RM : TR_JMP_RM;
                        t->size = b->mode64 ? 8 : 4;
                }
                return;
        case 6:
                if (b->opcode == 0xff && !b->op16)
                        t->kind = t->mem ? TR_PUSH_MEM : TR_PUSH_REG;
                return;
        }
}

/* Registers in the opcode's low bits. */
static void opcode_register(struct tr_insn *t, const struct bytes *b)
{
        t->rm = (uint8_t)((b->opcode & 7) | (b->rex & 1) << 3);
        t->mem = false;
}

/* inc and dec of 32-bit code, in their longer form */
static void short_inc(struct tr_insn *t, const struct bytes *b)
{
        opcode_register(t, b);
        extension(t, TR_RW, TR_RW);
        t->reg = b->opcode >= 0x48;
        t->op.opcode = 0xff;
}

static void one_byte_low(struct tr_insn *t, const struct bytes *b)
{
        if (b->opcode < 0x40) {
                alu(t, b);
        } else if (b->opcode <= 0x4f) { /* in 64-bit code REX prefixes that do not count */
                if (!b->mode64)
                        short_inc(t, b);
        } else if (b->opcode >= 0x70 && b->opcode <= 0x7f) {
                t->kind = TR_JCC;
        } else if (b->opcode >= 0x50 && b->opcode <= 0x5f && !b->op16) {
                opcode_register(t, b);
                t->kind = b->opcode >= 0x58 ? TR_POP : TR_PUSH_REG;
        } else if (b->opcode == 0x63 && b->mode64 && !b->op16) {
                plain(t, TR_W, TR_R, 0);
                t->size = 4;
        } else if ((b->opcode == 0x68 || b->opcode == 0x6a) && !b->op16) {
                t->kind = TR_PUSH_IMM;
        } else if (b->opcode == 0x69 || b->opcode == 0x6b) {
                plain(t, TR_W, TR_R, TR_W);
                t->n_imm = b->opcode == 0x6b ? 1 : (uint8_t)imm_size(t);
        }
}

/* movs, stos, lods */
static void string(const struct dbt_insn *i, struct tr_insn *t, const struct bytes *b)
{
        t->mem = false;
        t->size = i->op_size;
        if (i->mem.addr_size != (b->mode64 ? 8 : 4) || i->mem.seg >= X86_FS || (!b->mode64 && i->mem.seg == X86_CS))
                return;
        if (!b->rep) {
                t->kind = TR_STRING;
        } else if (b->rep == 0xf3 && b->opcode < 0xac) {
                t->kind = TR_REP_STRING;
                t->op.rep = 0xf3;
        }
}

/* mov between the accumulator and an address that is in the instruction; those of 64-bit code do not fit in dbt_insn's mem. */
static void offset_operand(struct tr_insn *t, const struct bytes *b)
{
        if (b->mode64)
                return;
        if (b->opcode < 0xa2)
                plain(t, TR_W, TR_R, 0);
        else
                plain(t, TR_R, TR_W, 0);
        t->mem = true;
        t->reg = X86_RAX;
        t->op.byte = !(b->opcode & 1);
        t->op.op16 = b->op16 && !t->op.byte;
        t->size = t->op.byte ? 1 : t->op.op16 ? 2 : 4;
        t->op.opcode = (uint8_t)((b->opcode < 0xa2 ? 0x8a : 0x88) | (b->opcode & 1));
}

/* xchg with the accumulator; nop is one */
static void exchange(struct tr_insn *t, const struct bytes *b)
{
        if (b->opcode == 0x90 && !(b->rex & 1)) {
                t->kind = TR_NOTHING;
                return;
        }
        plain(t, TR_RW, TR_RW, 0);
        opcode_register(t, b);
        t->reg = X86_RAX;
        t->op.opcode = 0x87;
}

static void one_byte_mid(const struct dbt_insn *i, struct tr_insn *t, const struct bytes *b)
{
        switch (b->opcode) {
        case 0x80:
        case 0x81:
        case 0x83:
                extension(t, (t->reg & 7) == 7 ? TR_R : TR_RW, alu_flags(t->reg & 7));
                t->n_imm = b->opcode == 0x81 ? (uint8_t)imm_size(t) : 1;
                break;
        case 0x84:
        case 0x85:
                plain(t, TR_R, TR_R, TR_W);
                break;
        case 0x86:
        case 0x87:
                plain(t, TR_RW, TR_RW, 0);
                break;
        case 0x88:
        case 0x89:
                plain(t, TR_R, TR_W, 0);
                break;
        case 0x8a:
        case 0x8b:
                plain(t, TR_W, TR_R, 0);
                break;
        case 0x8d:
                t->kind = TR_LEA;
                break;
        case 0x90 ... 0x97:
                exchange(t, b);
                break;
        case 0x8c:
                t->kind = TR_MOV_FROM_SEG;
                break;
        case 0x98:
        case 0x99:
                t->kind = b->opcode == 0x98 ? TR_CDQE : TR_CDQ;
                t->mem = false;
                break;
        case 0x9c:
                if (!b->op16)
                        t->kind = TR_PUSHF;
                t->flags = TR_R;
                break;
        case 0x9e:
        case 0x9f:
                t->kind = b->opcode == 0x9e ? TR_SAHF : TR_LAHF;
                t->flags = b->opcode == 0x9e ? TR_RW : TR_R;
                break;
        case 0xa0 ... 0xa3:
                offset_operand(t, b);
                break;
        case 0xa4:
        case 0xa5:
        case 0xaa ... 0xad:
                string(i, t, b);
                break;
        case 0xa8:
        case 0xa9:
                extension(t, TR_R, TR_W);
                accumulator(t, 0xf6 | (b->opcode & 1), 0);
                break;
        }
}

/* clc, stc, cmc, cli, sti, cld, std */
static void flag_operation(struct tr_insn *t, const struct bytes *b)
{
        t->mem = false;
        if (b->opcode == 0xfa || b->opcode == 0xfb) {
                t->kind = b->opcode == 0xfa ? TR_CLI : TR_STI;
        } else if (b->opcode >= 0xfc) {
                t->kind = b->opcode == 0xfc ? TR_CLD : TR_STD;
        } else {
                t->kind = TR_COPY;
                t->flags = TR_RW;
        }
}

static void one_byte_high(const struct dbt_insn *i, struct tr_insn *t, const struct bytes *b)
{
        switch (b->opcode) {
        case 0xb0 ... 0xbf:
                opcode_register(t, b);
                t->kind = TR_MOV_IMM;
                break;
        case 0xc0:
        case 0xc1:
        case 0xd0:
        case 0xd1:
                extension(t, TR_RW, shift_flags(i, t, b->opcode >= 0xd0));
                t->n_imm = b->opcode < 0xd0;
                break;
        case 0xd2:
        case 0xd3:
                extension(t, TR_RW, TR_RW);
                t->kind = TR_SHIFT_CL;
                break;
        case 0xc2:
        case 0xc3:
                t->kind = TR_RET;
                break;
        case 0xc6:
        case 0xc7:
                if (!(t->reg & 7))
                        extension(t, TR_W, 0);
                t->n_imm = (uint8_t)imm_size(t);
                break;
        case 0xc9:
                if (!b->op16)
                        t->kind = TR_LEAVE;
                break;
        case 0xe2:
        case 0xe3:
                t->kind = b->opcode == 0xe2 ? TR_LOOP : TR_JRCXZ;
                break;
        case 0xe8:
                t->kind = TR_CALL;
                break;
        case 0xe9:
        case 0xeb:
                t->kind = TR_JMP;
                break;
        case 0xf6:
        case 0xf7:
                group3(t);
                break;
        case 0xf5:
        case 0xf8:
        case 0xf9:
        case 0xfa:
        case 0xfb:
        case 0xfc:
        case 0xfd:
                flag_operation(t, b);
                break;
        case 0xfe:
        case 0xff:
                group5(t, b);
                break;
        }
}

static void two_byte_bits(struct tr_insn *t, const struct bytes *b)
{
        switch (b->opcode) {
        case 0xa3:
        case 0xab:
        case 0xb3:
        case 0xbb:
                plain(t, TR_R, b->opcode == 0xa3 ? TR_R : TR_RW, TR_RW);
                if (t->mem)
                        t->kind = t->size >= 4 ? TR_BIT_STRING : TR_HANDLER;
                break;
        case 0xba:
                if ((t->reg & 7) >= 4)
                        extension(t, (t->reg & 7) == 4 ? TR_R : TR_RW, TR_RW);
                t->n_imm = 1;
                break;
        case 0xa4:
        case 0xac:
                if (t->size >= 4)
                        plain(t, TR_R, TR_RW, TR_RW);
                t->n_imm = 1;
                break;
        case 0xa5:
        case 0xad:
                if (t->size >= 4)
                        plain(t, TR_R, TR_RW, TR_RW);
                t->kind = t->size >= 4 ? TR_SHIFTD_CL : TR_HANDLER;
                break;
        case 0xb8:
                if (b->rep == 0xf3)
                        plain(t, TR_W, TR_R, TR_W);
                t->op.rep = 0xf3;
                break;
        case 0xbc:
        case 0xbd:
                /* lzcnt and tzcnt with F3: two of the flags are undefined */
                plain(t, b->rep ? TR_W : TR_RW, TR_R, TR_RW);
                t->op.rep = b->rep == 0xf3 ? 0xf3 : 0;
                break;
        }
}

static void system_group(struct tr_insn *t, const struct bytes *b)
{
        if (b->op16)
                return;
        if (*b->p == 0xca || *b->p == 0xcb)
                t->kind = *b->p == 0xca ? TR_CLAC : TR_STAC;
        else if (*b->p == 0xf8 && b->mode64)
                t->kind = TR_SWAPGS;
        else if (*b->p == 0xf9)
                t->kind = TR_RDTSC;
        else
                return;
        t->mem = false;
}

static void two_byte(struct tr_insn *t, const struct bytes *b)
{
        switch (b->opcode) {
        case 0x01:
                system_group(t, b);
                break;
        case 0x0d: /* prefetch, prefetchw */
        case 0x18:
        case 0x1f:
                t->kind = TR_NOTHING;
                break;
        case 0xae:
                if (b->mod == 3 && (b->reg & 7) >= 5 && !b->op16) {
                        t->kind = TR_COPY; /* lfence, mfence, sfence */
                        t->mem = false;
                }
                break;
        case 0xc7:
                if (t->mem && (t->reg & 7) == 1 && !b->op16) {
                        t->kind = TR_CMPXCHG_WIDE;
                        t->size = t->op.w ? 16 : 8;
                        t->flags = TR_RW;
                }
                break;
        case 0x31:
                t->kind = TR_RDTSC;
                break;
        case 0x40 ... 0x4f:
                plain(t, TR_RW, TR_R, TR_R);
                break;
        case 0x80 ... 0x8f:
                t->kind = TR_JCC;
                break;
        case 0x90 ... 0x9f:
                extension(t, TR_W, TR_R);
                t->size = 1;
                t->op.byte = true;
                t->reg = 0;
                break;
        case 0xaf:
                plain(t, TR_RW, TR_R, TR_W);
                break;
        case 0xb0:
        case 0xb1:
                if (t->mem) {
                        plain(t, TR_R, TR_RW, TR_W);
                        t->kind = TR_CMPXCHG;
                        t->op.byte = b->opcode == 0xb0;
                }
                break;
        case 0xb6:
        case 0xb7:
        case 0xbe:
        case 0xbf:
                plain(t, TR_W, TR_R, 0);
                t->size = b->opcode & 1 ? 2 : 1;
                t->op.byte = !(b->opcode & 1);
                break;
        case 0xc0:
        case 0xc1:
                plain(t, TR_RW, TR_RW, TR_W);
                t->op.byte = b->opcode == 0xc0;
                break;
        case 0xc8 ... 0xcf:
                opcode_register(t, b);
                if (!b->op16)
                        t->kind = TR_BSWAP;
                break;
        default:
                two_byte_bits(t, b);
        }
}

/* The bytes of one-byte opcodes with an even number are byte operations, but for these. */
static bool is_byte_operation(const struct bytes *b)
{
        if (b->map0f)
                return b->opcode == 0xb0 || b->opcode == 0xc0;
        if (b->opcode >= 0xb0 && b->opcode <= 0xbf)
                return b->opcode < 0xb8;
        if (b->opcode < 0x40 || (b->opcode >= 0x80 && b->opcode <= 0x8b) || b->opcode >= 0xa8)
                return !(b->opcode & 1);
        return false;
}

static void high_bytes(struct tr_insn *t, const struct bytes *b)
{
        bool byte_reg = t->reg_use && !(b->map0f && b->opcode >= 0xb6 && b->opcode <= 0xbf);

        if (!t->op.byte || (t->kind != TR_MOV_IMM && (t->kind < TR_PLAIN || t->kind > TR_CMPXCHG)))
                return;
        t->high_reg = byte_reg && is_high_byte(b, t->reg);
        t->high_rm = !t->mem && is_high_byte(b, t->rm);
        t->reg -= t->high_reg ? 4 : 0;
        t->rm -= t->high_rm ? 4 : 0;
        if ((t->high_reg || t->high_rm) && (t->kind == TR_CMPXCHG || t->kind == TR_DIV))
                t->kind = TR_HANDLER;
}

/* endbr64, endbr32; lfence, which orders nothing that somebody could see */
static bool is_nothing(const struct dbt_insn *i, const uint8_t *bytes)
{
        if (i->length == 3)
                return bytes[0] == 0x0f && bytes[1] == 0xae && (bytes[2] & 0xf8) == 0xe8;
        return i->length == 4 && bytes[0] == 0xf3 && bytes[1] == 0x0f && bytes[2] == 0x1e && (bytes[3] == 0xfa || bytes[3] == 0xfb);
}

/* Those with DBT_INSN_TRANSFER. */
static bool is_transfer(const struct tr_insn *t)
{
        return t->kind >= TR_CLAC;
}

static bool has_operand(const struct tr_insn *t)
{
        return (t->kind >= TR_PLAIN && t->kind <= TR_PUSH_MEM) || t->kind >= TR_JMP_RM;
}

static void fill(const struct dbt_insn *i, const struct bytes *b, struct tr_insn *t)
{
        bool byte = is_byte_operation(b);

        *t = (struct tr_insn){ .reg = (uint8_t)b->reg, .rm = (uint8_t)b->rm, .mem = b->mod != 3 };
        t->op = (struct tr_op){ .opcode = (uint8_t)b->opcode, .map0f = b->map0f, .w = b->rex & 8, .byte = byte };
        t->op.op16 = b->op16 && !byte && !t->op.w;
        t->op.lock = i->flags & DBT_INSN_LOCK;
        t->size = byte ? 1 : t->op.w ? 8 : t->op.op16 ? 2 : 4;
        if (b->map0f)
                two_byte(t, b);
        else if (b->opcode < 0x80)
                one_byte_low(t, b);
        else if (b->opcode < 0xb0)
                one_byte_mid(i, t, b);
        else
                one_byte_high(i, t, b);
}

void tr_decode(const struct dbt_insn *i, const uint8_t *bytes, bool mode64, struct tr_insn *ret)
{
        struct bytes b;

        *ret = (struct tr_insn){ .kind = TR_HANDLER };
        if (tr_decode_native(i, mode64, ret))
                return;
        if (is_nothing(i, bytes))
                ret->kind = TR_NOTHING;
        /* What raises instead of doing something ends its block. */
        if ((i->flags & DBT_INSN_ENDS_BLOCK) && bytes[0] != 0xfb) /* sti */
                return;
        if (i->flags & (DBT_INSN_REPNE | DBT_INSN_VECTOR))
                return;
        if ((i->flags & DBT_INSN_MEM) && !tr_is_plain_memory(i, mode64))
                return;
        if (ret->kind == TR_NOTHING)
                return;
        split(bytes, mode64, &b);
        fill(i, &b, ret);
        high_bytes(ret, &b);
        if (ret->kind >= TR_JCC ? b.op16 : b.rep != ret->op.rep)
                ret->kind = TR_HANDLER;
        if (!(i->flags & DBT_INSN_TRANSFER) != !is_transfer(ret))
                ret->kind = TR_HANDLER;
        if (has_operand(ret) && ret->mem != !!(i->flags & DBT_INSN_MEM))
                ret->kind = TR_HANDLER;
}
