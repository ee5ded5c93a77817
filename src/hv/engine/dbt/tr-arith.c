/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Instructions with implicit operands: the guest's RAX and RCX come from their homes into the host's registers of that name. */

#include "hv/engine/dbt/tr-gen.h"

/* op reg, r; with an immediate byte if imm >= 0 */
static void op_reg(struct gen *g, unsigned opcode, bool w, unsigned reg, unsigned rm, int imm)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = w };

        tr_op_reg(g->e, &op, reg, rm);
        if (imm >= 0)
                tr_put(g->e, (unsigned)imm);
}

static void op_operand(struct gen *g, const struct tr_insn *t, const struct tr_mem *m, unsigned reg, unsigned rm)
{
        if (t->mem)
                tr_op_mem(g->e, &t->op, reg, m);
        else
                tr_op_reg(g->e, &t->op, reg, rm);
}

/* --- Shifts by CL -------------------------------------------------------------------------------------------------------- */

/* The memory operand by RAX alone, as RCX is to hold the count. */
static struct tr_mem operand_at_rax(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = gen_operand(g, i, t->size, true);

        gen_flags_need(g);
        tr_lea(g->e, TR_RAX, &m);
        return gen_at(TR_RAX, 0);
}

static void shift_high(struct gen *g, const struct tr_insn *t)
{
        struct tr_op op = t->op;
        unsigned r;

        op.byte = false;
        gen_flags_need(g);
        r = gen_byte_source(g, t->rm, true, TR_RAX);
        tr_mov(g->e, TR_RCX, HOME_RCX);
        tr_op_reg(g->e, &op, t->reg & 7, r);
        if (r == TR_RAX + 4)
                tr_mov(g->e, tr_home[t->rm], TR_RAX);
        gen_flags_changed(g);
}

void gen_shift_cl(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = gen_at(TR_RAX, 0);
        unsigned rm = TR_RAX;

        if (t->high_rm) {
                shift_high(g, t);
                return;
        }
        if (t->mem)
                m = operand_at_rax(g, i, t);
        gen_flags_need(g);
        if (!t->mem)
                rm = gen_source(g, t->rm, TR_RAX);
        tr_mov(g->e, TR_RCX, HOME_RCX);
        op_operand(g, t, &m, t->reg & 7, rm);
        if (!t->mem)
                gen_write_back(g, t->rm, TR_RAX);
        gen_flags_changed(g);
}

/* One of the two registers has a home; reg has one if rm is memory. */
void gen_shiftd_cl(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = gen_at(TR_RAX, 0);
        unsigned reg, rm = TR_RAX;

        if (t->mem)
                m = operand_at_rax(g, i, t);
        gen_flags_need(g);
        reg = gen_source(g, t->reg, TR_RAX);
        if (!t->mem)
                rm = gen_source(g, t->rm, TR_RAX);
        tr_mov(g->e, TR_RCX, HOME_RCX);
        op_operand(g, t, &m, reg, rm);
        if (!t->mem)
                gen_write_back(g, t->rm, TR_RAX);
        gen_flags_changed(g);
}

/* --- Bit strings ----------------------------------------------------------------------------------------------------------- */

/* To dst: how far the bit's 4 or 8 bytes are from the operand, in such units (SDM vol. 2, BT). */
static void bit_unit(struct gen *g, const struct tr_insn *t, unsigned dst)
{
        unsigned r = gen_source(g, t->reg, dst);

        if (t->size == 8 && r != dst)
                tr_mov(g->e, dst, r);
        else if (t->size == 4)
                op_reg(g, 0x63, true, dst, r, -1); /* movsxd */
        op_reg(g, 0xc1, true, 7, dst, t->size == 8 ? 6 : 5); /* sar */
}

/* The host's instruction adds the distance to the address by itself, so that it is subtracted from that of the bytes that were looked up. */
void gen_bit_string(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = { .base = TR_RAX, .index = TR_RCX, .scale = t->size == 8 ? 3 : 2 };
        const uint8_t *retry;

        gen_flags_clobber(g);
        retry = tr_here(g->e);
        gen_linear(g, &i->mem);
        bit_unit(g, t, TR_RCX);
        tr_lea(g->e, TR_RAX, &m);
        gen_checked(g, retry, t->size, t->rm_use & TR_W);
        bit_unit(g, t, TR_RAX);
        op_reg(g, 0xc1, true, 4, TR_RAX, t->size == 8 ? 3 : 2); /* shl */
        op_reg(g, 0x29, true, TR_RAX, TR_RCX, -1);              /* sub */
        gen_flags_need(g);
        m = gen_at(TR_RCX, 0);
        tr_op_mem(g->e, &t->op, gen_source(g, t->reg, TR_RAX), &m);
        gen_flags_changed(g);
}

/* --- Multiplication and division --------------------------------------------------------------------------------------------- */

void gen_mul(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = gen_at(TR_RAX, 0);
        struct tr_op op = t->op;
        unsigned rm = 0;

        op.byte &= !t->high_rm;
        if (t->mem)
                m = gen_operand(g, i, t->size, false);
        else
                rm = t->high_rm ? gen_byte_source(g, t->rm, true, TR_RCX) : gen_source(g, t->rm, TR_RCX);
        tr_mov(g->e, TR_RAX, HOME_RAX);
        if (t->mem)
                tr_op_mem(g->e, &op, t->reg & 7, &m);
        else
                tr_op_reg(g->e, &op, t->reg & 7, rm);
        tr_mov(g->e, HOME_RAX, TR_RAX);
        gen_flags_changed(g);
}

/* div: the quotient fits if the upper half of the dividend, DX or AH, is below the divisor in RCX. */
static void check_div(struct gen *g, const struct tr_insn *t)
{
        struct tr_op cmp = { .opcode = t->size == 1 ? 0x3a : 0x3b, .w = t->size == 8, .op16 = t->size == 2 };

        if (t->size == 1)
                tr_mov(g->e, TR_RAX, HOME_RAX);
        tr_op_reg(g->e, &cmp, t->size == 1 ? TR_RAX + 4 : TR_RDX, TR_RCX);
        gen_add_out(g, tr_jcc(g->e, TR_CC_AE));
}

/* idiv: the divisor is neither 0 nor -1 and the dividend fits in its lower half: then the quotient does, too. */
static void check_idiv(struct gen *g, const struct tr_insn *t)
{
        struct tr_op lea = { .opcode = 0x8d, .w = t->size == 8 };
        struct tr_mem plus_one = gen_at(TR_RCX, 1);

        tr_op_mem(g->e, &lea, TR_RAX, &plus_one);
        op_reg(g, 0x83, t->size == 8, 7, TR_RAX, 1); /* cmp */
        gen_add_out(g, tr_jcc(g->e, TR_CC_BE));
        tr_mov(g->e, TR_RAX, HOME_RAX);
        op_reg(g, 0xc1, t->size == 8, 7, TR_RAX, t->size * 8 - 1); /* sar */
        op_reg(g, 0x3b, t->size == 8, TR_RAX, TR_RDX, -1);         /* cmp */
        gen_add_out(g, tr_jcc(g->e, TR_CC_NE));
}

/* The flags after a division are undefined: they stay as they are, as in the executor. What may raise goes to the handler. */
void gen_div(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_op load = { .opcode = t->size == 1 ? 0x8a : 0x8b, .w = t->size == 8, .op16 = t->size == 2, .byte = t->size == 1 };
        struct tr_mem m;

        gen_flags_clobber(g);
        if (t->mem) {
                m = gen_operand(g, i, t->size, false);
                tr_op_mem(g->e, &load, TR_RCX, &m);
        } else {
                tr_op_reg(g->e, &load, TR_RCX, gen_source(g, t->rm, TR_RCX));
        }
        if (t->kind == TR_DIV)
                check_div(g, t);
        else
                check_idiv(g, t);
        tr_mov(g->e, TR_RAX, HOME_RAX);
        tr_op_reg(g->e, &t->op, t->reg & 7, TR_RCX);
        tr_mov(g->e, HOME_RAX, TR_RAX);
}

/* --- Compare and exchange ------------------------------------------------------------------------------------------------------ */

void gen_cmpxchg(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = gen_operand(g, i, t->size, true);

        tr_mov(g->e, TR_RAX, HOME_RAX);
        tr_op_mem(g->e, &t->op, tr_home[t->reg], &m);
        tr_mov(g->e, HOME_RAX, TR_RAX);
        gen_flags_changed(g);
}

/* cmpxchg8b, cmpxchg16b, which raises #GP unless aligned. RDX and RBX are at home; the address goes where guest RCX was. */
void gen_cmpxchg_wide(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        const uint8_t *retry;
        struct tr_mem m;

        gen_flags_clobber(g);
        retry = tr_here(g->e);
        gen_linear(g, &i->mem);
        if (t->size == 16) {
                tr_put(g->e, 0xa8); /* test al, 15 */
                tr_put(g->e, 15);
                gen_add_out(g, tr_jcc(g->e, TR_CC_NE));
        }
        m = gen_checked(g, retry, t->size, true);
        gen_flags_need(g);
        tr_lea(g->e, TR_RAX, &m);
        tr_mov(g->e, TR_RCX, HOME_RCX);
        tr_mov(g->e, HOME_RCX, TR_RAX);
        tr_mov(g->e, TR_RAX, HOME_RAX);
        m = gen_at(HOME_RCX, 0);
        tr_op_mem(g->e, &t->op, 1, &m);
        tr_mov(g->e, HOME_RCX, TR_RCX);
        tr_mov(g->e, HOME_RAX, TR_RAX);
        gen_flags_changed(g);
}
