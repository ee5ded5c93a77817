/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Integer instructions. */

#include "hv/engine/dbt/tr-gen.h"

void gen_copy_imm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        for (unsigned k = i->length - t->n_imm; k < i->length; k++)
                tr_put(g->e, g->bytes[k]);
}

/* An operand of 8 or 16 bits that is written keeps the register's other bits. */
static bool reads_reg(const struct tr_insn *t)
{
        return (t->reg_use & TR_R) || t->op.op16 || (t->op.byte && t->size == 1 && t->reg_use);
}

static bool reads_rm(const struct tr_insn *t)
{
        return (t->rm_use & TR_R) || t->op.op16 || t->op.byte;
}

/* The guest register, beside the memory operand: RAX if it has no home. */
static unsigned beside(struct gen *g, unsigned reg, bool load, const struct tr_mem *m)
{
        if (g->in_place)
                return gen_scratch(g, reg, load, m->base <= TR_RCX ? m->base : m->index);
        return load ? gen_source(g, reg, TR_RAX) : gen_target(reg, TR_RAX);
}

/* It was written. */
static void written_beside(struct gen *g, unsigned reg)
{
        if (g->in_place)
                gen_scratch_changed(g, reg);
        else
                gen_write_back(g, reg, TR_RAX);
}

static void emit_copy(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        if (t->flags & TR_R)
                gen_flags_need(g);
        for (unsigned k = 0; k < i->length; k++)
                tr_put(g->e, g->bytes[k]);
        if (t->flags & TR_W)
                gen_flags_changed(g);
}

/* No memory operand. */
static void emit_registers(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        bool both = t->reg_use && t->reg == t->rm && reads_reg(t);
        unsigned reg = t->reg & 7, rm;

        gen_flags_need(g);
        rm = gen_scratch(g, t->rm, reads_rm(t) || both, TR_NO_HOME);
        if (t->reg_use)
                reg = gen_scratch(g, t->reg, reads_reg(t), rm);
        tr_op_reg(g->e, &t->op, reg, rm);
        gen_copy_imm(g, i, t);
        if (t->reg_use & TR_W)
                gen_scratch_changed(g, t->reg);
        if (t->rm_use & TR_W)
                gen_scratch_changed(g, t->rm);
        if (t->flags & TR_W)
                gen_flags_changed(g);
}

static void emit_plain(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m;
        unsigned reg;

        if (t->high_reg || t->high_rm) {
                gen_high(g, i, t);
                return;
        }
        if (!t->mem) {
                emit_registers(g, i, t);
                return;
        }
        if (g->in_place) /* while RAX is free */
                gen_flags_need(g);
        m = gen_operand(g, i, t->size, t->rm_use & TR_W);
        gen_flags_need(g);
        reg = t->reg_use ? beside(g, t->reg, reads_reg(t), &m) : t->reg & 7u;
        gen_access(g);
        tr_op_mem(g->e, &t->op, reg, &m);
        gen_copy_imm(g, i, t);
        if (t->reg_use & TR_W)
                written_beside(g, t->reg);
        if (t->flags & TR_W)
                gen_flags_changed(g);
}

static void emit_lea(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem a;

        if (i->mem.base == DBT_REG_RIP) {
                a = gen_offset_of(g, &i->mem);
                tr_op_mem(g->e, &t->op, gen_target(t->reg, TR_RAX), &a);
                gen_write_back(g, t->reg, TR_RAX);
                return;
        }
        a = gen_in_place(g, &i->mem);
        tr_op_mem(g->e, &t->op, gen_scratch(g, t->reg, false, TR_NO_HOME), &a);
        gen_scratch_changed(g, t->reg);
}

static void emit_mov_imm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_op op = { .opcode = t->size == 1 ? 0xc6 : 0xc7, .op16 = t->size == 2, .byte = t->size == 1 };
        unsigned rm;

        if (t->high_rm) {
                gen_high_imm(g, t, (unsigned)i->imm & 0xff);
                return;
        }
        rm = gen_scratch(g, t->rm, t->size < 4, TR_NO_HOME);
        gen_scratch_changed(g, t->rm);
        if (t->size >= 4) {
                tr_mov_imm(g->e, rm, t->size == 8 ? i->imm : (uint32_t)i->imm);
                return;
        }
        tr_op_reg(g->e, &op, 0, rm);
        tr_put(g->e, i->imm & 0xff);
        if (t->size == 2)
                tr_put(g->e, i->imm >> 8 & 0xff);
}

static void emit_bswap(struct gen *g, const struct tr_insn *t)
{
        unsigned r = gen_scratch(g, t->rm, true, TR_NO_HOME);

        tr_put(g->e, 0x40 | (t->op.w ? 8 : 0) | (r >= 8 ? 1 : 0));
        tr_put(g->e, 0x0f);
        tr_put(g->e, 0xc8 | (r & 7));
        gen_scratch_changed(g, t->rm);
}

/* cbw, cwde, cdqe */
static void emit_cdqe(struct gen *g, const struct tr_insn *t)
{
        struct tr_op op = { .opcode = t->size == 8 ? 0x63 : t->size == 4 ? 0xbf : 0xbe, .map0f = t->size != 8,
                            .w = t->size == 8, .op16 = t->size == 2 };

        tr_op_reg(g->e, &op, HOME_RAX, HOME_RAX);
}

/* cwd, cdq, cqo: RDX is at home. */
static void emit_cdq(struct gen *g, const struct tr_insn *t)
{
        tr_mov(g->e, TR_RAX, HOME_RAX);
        if (t->size != 4)
                tr_put(g->e, t->size == 8 ? 0x48 : 0x66);
        tr_put(g->e, 0x99);
}

static void emit_push_reg(struct gen *g, const struct tr_insn *t)
{
        struct tr_mem m = gen_stack(g, -(int32_t)gen_word(g), true);
        unsigned rm = beside(g, t->rm, true, &m);

        gen_access(g);
        gen_store_word(g, &m, rm);
        gen_move_rsp(g, -(int32_t)gen_word(g));
}

static void emit_push_imm(struct gen *g, const struct dbt_insn *i)
{
        struct tr_op op = { .opcode = 0xc7, .w = gen_64(g) };
        struct tr_mem m = gen_stack(g, -(int32_t)gen_word(g), true);

        tr_op_mem(g->e, &op, 0, &m);
        tr_put32(g->e, (uint32_t)i->imm);
        gen_move_rsp(g, -(int32_t)gen_word(g));
}

void gen_push_target(struct gen *g)
{
        struct tr_mem m = gen_stack(g, -(int32_t)gen_word(g), true);

        gen_load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        gen_store_word(g, &m, TR_RAX);
        gen_move_rsp(g, -(int32_t)gen_word(g));
}

static void emit_push_mem(struct gen *g, const struct dbt_insn *i)
{
        struct tr_mem m = gen_operand(g, i, gen_word(g), false);

        gen_load_word(g, TR_RAX, &m);
        gen_store_field(g, offsetof(struct dbt_vcpu, tr_target), TR_RAX);
        gen_push_target(g);
}

static void emit_pop(struct gen *g, const struct tr_insn *t)
{
        struct tr_mem m = gen_stack(g, 0, false);
        unsigned rm = beside(g, t->rm, false, &m);

        gen_access(g);
        gen_load_word(g, rm, &m);
        written_beside(g, t->rm);
        if (t->rm != X86_RSP)
                gen_move_rsp(g, (int32_t)gen_word(g));
}

static void emit_leave(struct gen *g)
{
        struct tr_mem m = gen_frame(g);

        gen_load_word(g, TR_RAX, &m);
        m = gen_at(TR_RBP, (int32_t)gen_word(g));
        gen_lea(g, HOME_RSP, &m);
        g->rsp = 0;
        tr_mov(g->e, TR_RBP, TR_RAX);
}

void gen_integer(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        switch (t->kind) {
        case TR_NOTHING:
                break;
        case TR_COPY:
                emit_copy(g, i, t);
                break;
        case TR_PLAIN:
                emit_plain(g, i, t);
                break;
        case TR_LEA:
                emit_lea(g, i, t);
                break;
        case TR_MOV_IMM:
                emit_mov_imm(g, i, t);
                break;
        case TR_BSWAP:
                emit_bswap(g, t);
                break;
        case TR_MOV_FROM_SEG:
                gen_mov_from_seg(g, i, t);
                break;
        case TR_SHIFT_CL:
                gen_shift_cl(g, i, t);
                break;
        case TR_SHIFTD_CL:
                gen_shiftd_cl(g, i, t);
                break;
        case TR_BIT_STRING:
                gen_bit_string(g, i, t);
                break;
        case TR_CDQE:
                emit_cdqe(g, t);
                break;
        case TR_CDQ:
                emit_cdq(g, t);
                break;
        case TR_MUL:
                gen_mul(g, i, t);
                break;
        case TR_DIV:
        case TR_IDIV:
                gen_div(g, i, t);
                break;
        case TR_CMPXCHG:
                gen_cmpxchg(g, i, t);
                break;
        case TR_CMPXCHG_WIDE:
                gen_cmpxchg_wide(g, i, t);
                break;
        case TR_PUSH_MEM:
                emit_push_mem(g, i);
                break;
        case TR_PUSH_REG:
                emit_push_reg(g, t);
                break;
        case TR_PUSH_IMM:
                emit_push_imm(g, i);
                break;
        case TR_POP:
                emit_pop(g, t);
                break;
        case TR_LEAVE:
                emit_leave(g);
                break;
        case TR_PUSHF:
                gen_pushf(g);
                break;
        case TR_LAHF:
        case TR_SAHF:
                gen_lahf(g, t);
                break;
        case TR_CLI:
        case TR_CLD:
        case TR_STD:
                gen_flag_bit(g, t);
                break;
        case TR_SWAPGS:
                gen_swapgs(g);
                break;
        case TR_RDTSC:
                gen_rdtsc(g, t);
                break;
        case TR_STI:
                gen_sti(g, i);
                break;
        case TR_CLAC:
        case TR_STAC:
                gen_set_ac(g, t);
                break;
        case TR_STRING:
                gen_string(g, t);
                break;
        case TR_REP_STRING:
                gen_rep_string(g, i, t);
                break;
        }
}
