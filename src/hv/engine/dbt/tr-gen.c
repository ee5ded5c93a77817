/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What all parts of the generator share: guest registers and fields of the vCPU. */

#include "hv/engine/dbt/tr-gen.h"

struct tr_mem gen_at(unsigned base, int32_t disp)
{
        return (struct tr_mem){ .base = (uint8_t)base, .index = TR_NO_HOME, .disp = disp };
}

static struct tr_mem gpr_field(unsigned reg)
{
        return tr_field(offsetof(struct dbt_vcpu, gpr) + reg * 8);
}

void gen_load_field(struct gen *g, unsigned dst, size_t offset)
{
        struct tr_mem m = tr_field(offset);

        tr_load(g->e, dst, &m);
}

void gen_load_page(struct gen *g, unsigned dst)
{
        if (g->b->is_bound)
                tr_mov_imm(g->e, dst, g->b->bound);
        else
                gen_load_field(g, dst, offsetof(struct dbt_vcpu, tr_page));
}

void gen_load_word(struct gen *g, unsigned dst, const struct tr_mem *m)
{
        struct tr_op op = { .opcode = 0x8b, .w = gen_64(g) };

        tr_op_mem(g->e, &op, dst, m);
}

void gen_store_word(struct gen *g, const struct tr_mem *m, unsigned src)
{
        struct tr_op op = { .opcode = 0x89, .w = gen_64(g) };

        tr_op_mem(g->e, &op, src, m);
}

void gen_lea(struct gen *g, unsigned dst, const struct tr_mem *m)
{
        struct tr_op op = { .opcode = 0x8d, .w = gen_64(g) };

        tr_op_mem(g->e, &op, dst, m);
}

void gen_store_field(struct gen *g, size_t offset, unsigned src)
{
        struct tr_mem m = tr_field(offset);

        tr_store(g->e, &m, src);
}

/* The host register that has the guest register's value: its home, or scratch after loading it. */
unsigned gen_source(struct gen *g, unsigned reg, unsigned scratch)
{
        if (tr_home[reg] != TR_NO_HOME)
                return tr_home[reg];
        gen_load_field(g, scratch, offsetof(struct dbt_vcpu, gpr) + reg * 8);
        return scratch;
}

/* After scratch was written in place of a register without a home. */
void gen_write_back(struct gen *g, unsigned reg, unsigned scratch)
{
        struct tr_mem m = gpr_field(reg);

        if (tr_home[reg] == TR_NO_HOME)
                tr_store(g->e, &m, scratch);
}

/* The register to write to. */
unsigned gen_target(unsigned reg, unsigned scratch)
{
        return tr_home[reg] == TR_NO_HOME ? scratch : tr_home[reg];
}
