/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The stack pointer: what pushes, pops and the like add to it is put off and done at once, before the first instruction that uses it otherwise and before the
 * block is left. While g->rsp is not 0, the guest's RSP is the host register plus g->rsp. 64-bit code only. */

#include "hv/engine/dbt/native.h"
#include "hv/engine/dbt/tr-gen.h"

void gen_add_rsp(struct gen *g, int32_t by)
{
        struct tr_mem m = gen_at(HOME_RSP, by);

        if (by)
                gen_lea(g, HOME_RSP, &m);
}

void gen_move_rsp(struct gen *g, int32_t by)
{
        if (gen_64(g))
                g->rsp += by;
        else
                gen_add_rsp(g, by);
}

void gen_settle_rsp(struct gen *g)
{
        gen_add_rsp(g, g->rsp);
        g->rsp = 0;
}

/* Only as the base of the memory operand? */
static bool has_it_as_base_only(const struct tr_insn *t)
{
        if (t->reg_use && t->reg == X86_RSP)
                return false;
        return t->mem || !t->rm_use || t->rm != X86_RSP;
}

static bool native_is_free_of_it(const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        const struct native_form *f = &s->form;

        return !f->reg_use && !f->vvvv_use && !f->rm_use;
}

bool gen_bears_moved_rsp(const struct gen_insn *n)
{
        const struct tr_insn *t = &n->t;

        switch (t->kind) {
        case TR_NOTHING:
        case TR_CDQE:
        case TR_CDQ:
        case TR_PUSH_IMM:
        case TR_CALL:
        case TR_RET:
        case TR_LEAVE:
                return true;
        case TR_MOV_IMM:
        case TR_BSWAP:
        case TR_PUSH_REG:
        case TR_POP:
                return t->rm != X86_RSP;
        case TR_LEA:
                return t->reg != X86_RSP;
        case TR_CALL_RM:
        case TR_JMP_RM:
                return t->mem || t->rm != X86_RSP;
        case TR_PLAIN:
        case TR_SHIFT_CL:
                return !t->high_reg && !t->high_rm && has_it_as_base_only(t);
        case TR_NATIVE:
                return native_is_free_of_it(n->i);
        default:
                return false;
        }
}

bool gen_only_moves_rsp(const struct gen *g, const struct gen_insn *n, int32_t *ret)
{
        int64_t by;

        if (!gen_64(g) || n->live_out || (n->t.kind != TR_PLAIN && n->t.kind != TR_LEA) || !gen_moves_by(n, X86_RSP, &by) || by != (int32_t)by)
                return false;
        *ret = (int32_t)by;
        return *ret + (int64_t)g->rsp == (int32_t)(*ret + g->rsp);
}
