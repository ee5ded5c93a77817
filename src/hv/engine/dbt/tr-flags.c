/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The guest's arithmetic flags in translated code. All of this uses RAX.
 *
 * While g->dirty, all flags that are alive are in RFLAGS, and v->tr_flags is out of date. */

#include "hv/engine/dbt/tr-gen.h"

/* lahf; seto al; mov [tr_flags], eax; in code that seldom runs by a routine */
void gen_flags_save(struct gen *g)
{
        static const struct tr_op op = { .opcode = 0x89, .ends = 1 };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, tr_flags));

        gen_scratch_settle(g, 1u << TR_RAX);
        if (g->b->stage == TR_SELDOM) {
                tr_call(g->e, g->v->translator->save_flags);
                return;
        }
        tr_put(g->e, 0x9f);
        tr_put(g->e, 0x0f);
        tr_put(g->e, 0x90);
        tr_put(g->e, 0xc0);
        tr_op_mem(g->e, &op, TR_RAX, &m);
}

/* mov eax, [tr_flags]; add al, 0x7f: sets OF from it; sahf */
void gen_flags_load(struct gen *g)
{
        static const struct tr_op op = { .opcode = 0x8b, .ends = 1 };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, tr_flags));

        gen_scratch_settle(g, 1u << TR_RAX);
        tr_op_mem(g->e, &op, TR_RAX, &m);
        tr_put(g->e, 0x04);
        tr_put(g->e, 0x7f);
        tr_put(g->e, 0x9e);
}

void gen_flags_store(struct gen *g)
{
        if (g->dirty && g->live)
                gen_flags_save(g);
        g->dirty = false;
}

void gen_flags_need(struct gen *g)
{
        if (!(g->need & ~g->valid))
                return;
        gen_flags_load(g);
        g->valid = TR_ALL_FLAGS;
        g->dirty = false;
}

void gen_flags_clobber(struct gen *g)
{
        gen_flags_store(g);
        g->valid = 0;
}

void gen_flags_changed(struct gen *g)
{
        g->valid |= g->written;
        g->dirty = true;
}
