/* SPDX-License-Identifier: GPL-2.0-or-later */

/* AH, CH, DH, BH. With a REX prefix their numbers mean other registers, and without one only the first eight registers can be named: so the operands
 * are RAX and RCX, as copies, or RDX and RBX themselves. */

#include "hv/engine/dbt/tr-gen.h"

unsigned gen_byte_source(struct gen *g, unsigned reg, bool high, unsigned scratch)
{
        unsigned r = gen_source(g, reg, scratch);

        if (r >= 8) {
                tr_mov(g->e, scratch, r);
                r = scratch;
        }
        return r + (high ? 4 : 0);
}

static void put_back(struct gen *g, unsigned reg, unsigned r, unsigned scratch)
{
        if ((r & 3) != scratch || tr_home[reg] == scratch)
                return;
        if (tr_home[reg] == TR_NO_HOME)
                gen_write_back(g, reg, scratch);
        else
                tr_mov(g->e, tr_home[reg], scratch);
}

static void with_mem(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t, const struct tr_op *op)
{
        struct tr_mem m = gen_operand(g, i, t->size, t->rm_use & TR_W);
        unsigned reg;

        tr_lea(g->e, TR_RCX, &m);
        m = gen_at(TR_RCX, 0);
        if (t->flags & TR_R)
                gen_flags_need(g);
        reg = gen_byte_source(g, t->reg, true, TR_RAX);
        tr_op_mem(g->e, op, reg, &m);
        if (t->reg_use & TR_W)
                put_back(g, t->reg, reg, TR_RAX);
}

static void with_reg(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t, const struct tr_op *op)
{
        bool same = t->reg_use && t->reg == t->rm;
        unsigned reg = t->reg & 7, rm;

        if (t->flags & TR_R)
                gen_flags_need(g);
        if (t->reg_use)
                reg = gen_byte_source(g, t->reg, t->high_reg, TR_RAX);
        if (same)
                rm = (t->high_reg ? reg - 4 : reg) + (t->high_rm ? 4 : 0);
        else
                rm = gen_byte_source(g, t->rm, t->high_rm, TR_RCX);
        tr_op_reg(g->e, op, reg, rm);
        gen_copy_imm(g, i, t);
        if (same) {
                put_back(g, t->reg, reg, TR_RAX);
                return;
        }
        if (t->reg_use & TR_W)
                put_back(g, t->reg, reg, TR_RAX);
        if (t->rm_use & TR_W)
                put_back(g, t->rm, rm, TR_RCX);
}

void gen_high(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_op op = t->op;

        op.byte = false;
        if (t->mem)
                with_mem(g, i, t, &op);
        else
                with_reg(g, i, t, &op);
        if (t->flags & TR_W)
                gen_flags_changed(g);
}

void gen_high_imm(struct gen *g, const struct tr_insn *t, unsigned imm)
{
        unsigned r = gen_byte_source(g, t->rm, true, TR_RAX);

        tr_put(g->e, 0xb0 | r);
        tr_put(g->e, imm);
        put_back(g, t->rm, r, TR_RAX);
}
