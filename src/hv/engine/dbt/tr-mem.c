/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory operands of translated code: addresses and TLB lookups. */

#include "hv/engine/dbt/tr-gen.h"

/* The operand's address as a host operand without segment; RAX and RCX stand for registers without a home. */
struct tr_mem gen_offset_of(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem a = { .base = TR_NO_HOME, .index = TR_NO_HOME, .scale = m->scale, .disp = m->disp };

        if (m->base == DBT_REG_RIP) {
                gen_load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
                a.base = TR_RAX;
                a.disp += (int32_t)g->offset;
        } else if (m->base != DBT_REG_NONE) {
                a.base = (uint8_t)gen_source(g, m->base, TR_RAX);
        }
        if (m->index != DBT_REG_NONE)
                a.index = (uint8_t)gen_source(g, m->index, TR_RCX);
        return a;
}

/* The same with segment, as one register and a displacement: RAX if it is not that simple. */
static struct tr_mem address_of(struct gen *g, const struct dbt_mem *m)
{
        static const struct tr_op add = { .opcode = 0x03, .w = true };
        bool segment = m->seg_base != offsetof(struct dbt_vcpu, zero);
        struct tr_mem a = gen_offset_of(g, m);

        if (a.base != TR_RAX && a.base != TR_NO_HOME && a.index == TR_NO_HOME && !segment)
                return a;
        tr_lea(g->e, TR_RAX, &a);
        if (segment) {
                struct tr_mem base = tr_field(m->seg_base);

                tr_op_mem(g->e, &add, TR_RAX, &base);
        }
        return gen_at(TR_RAX, 0);
}

static void alu_imm(struct gen *g, unsigned ext, unsigned reg, uint32_t imm, bool w)
{
        struct tr_op op = { .opcode = 0x81, .w = w };

        tr_op_reg(g->e, &op, ext, reg);
        tr_put32(g->e, imm);
}

static void xor_rax(struct gen *g, size_t offset)
{
        static const struct tr_op op = { .opcode = 0x33, .w = true };
        struct tr_mem m = { .base = TR_RCX, .index = TR_NO_HOME, .gs = true, .disp = (int32_t)offset };

        tr_op_mem(g->e, &op, TR_RAX, &m);
}

void gen_add_out(struct gen *g, uint8_t *jump)
{
        g->outs[g->n_outs++] = (struct gen_out){ .jump = jump, .k = (uint8_t)g->k };
}

/* Looks up the address a, from address_of or a home with a displacement, for an access of size bytes. Returns the host operand,
 * which uses RCX; RAX is free. The flags are stored. */
struct tr_mem gen_lookup(struct gen *g, struct tr_mem a, unsigned size, bool write)
{
        static const struct tr_op shr = { .opcode = 0xc1 }, mov = { .opcode = 0x8b }, add = { .opcode = 0x03, .w = true };
        size_t view = offsetof(struct dbt_vcpu, tlb) + g->v->mmu * sizeof(g->v->tlb[0]);
        size_t match = view + (write ? offsetof(struct dbt_tlb_entry, match_write) : offsetof(struct dbt_tlb_entry, match_read));
        struct tr_mem addend = { .base = TR_RCX, .index = TR_NO_HOME, .gs = true };
        bool simple = a.base != TR_RAX;

        addend.disp = (int32_t)(view + offsetof(struct dbt_tlb_entry, addend));
        if (simple)
                tr_lea(g->e, TR_RAX, &a);
        tr_op_reg(g->e, &mov, TR_RCX, TR_RAX);
        tr_op_reg(g->e, &shr, 5, TR_RCX);
        tr_put(g->e, DBT_PAGE_SHIFT - DBT_TLB_ENTRY_SHIFT);
        alu_imm(g, 4, TR_RCX, (DBT_TLB_SIZE - 1) << DBT_TLB_ENTRY_SHIFT, false);
        xor_rax(g, match);
        alu_imm(g, 7, TR_RAX, (uint32_t)DBT_PAGE_SIZE - size, true);
        gen_add_out(g, tr_jcc(g->e, TR_CC_A));
        if (!simple)
                xor_rax(g, match);
        tr_load(g->e, TR_RCX, &addend);
        if (simple)
                return (struct tr_mem){ .base = TR_RCX, .index = a.base, .disp = a.disp };
        tr_op_reg(g->e, &add, TR_RCX, TR_RAX);
        return gen_at(TR_RCX, 0);
}

struct tr_mem gen_operand(struct gen *g, const struct dbt_insn *i, unsigned size, bool write)
{
        gen_flags_clobber(g);
        return gen_lookup(g, address_of(g, &i->mem), size, write);
}

struct tr_mem gen_stack(struct gen *g, int32_t disp, bool write)
{
        gen_flags_clobber(g);
        return gen_lookup(g, gen_at(HOME_RSP, disp), 8, write);
}

void gen_move_rsp(struct gen *g, int32_t by)
{
        struct tr_mem m = gen_at(HOME_RSP, by);

        tr_lea(g->e, HOME_RSP, &m);
}
