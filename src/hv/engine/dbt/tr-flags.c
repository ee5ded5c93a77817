/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The guest's arithmetic flags in translated code. All of this uses RAX. */

#include "hv/engine/dbt/tr-gen.h"

void gen_flags_store(struct gen *g)
{
        static const struct tr_op op = { .opcode = 0x89 };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, tr_flags));

        if (!g->dirty)
                return;
        tr_put(g->e, 0x9f); /* lahf */
        tr_put(g->e, 0x0f); /* seto al */
        tr_put(g->e, 0x90);
        tr_put(g->e, 0xc0);
        tr_op_mem(g->e, &op, TR_RAX, &m);
        g->dirty = false;
}

void gen_flags_load(struct gen *g)
{
        static const struct tr_op op = { .opcode = 0x8b };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, tr_flags));

        tr_op_mem(g->e, &op, TR_RAX, &m);
        tr_put(g->e, 0x04); /* add al, 0x7f: OF */
        tr_put(g->e, 0x7f);
        tr_put(g->e, 0x9e); /* sahf */
}

void gen_flags_need(struct gen *g)
{
        if (!g->valid)
                gen_flags_load(g);
        g->valid = true;
}

/* Before code that changes RFLAGS. */
void gen_flags_clobber(struct gen *g)
{
        gen_flags_store(g);
        g->valid = false;
}

void gen_flags_changed(struct gen *g)
{
        g->valid = g->dirty = true;
}
