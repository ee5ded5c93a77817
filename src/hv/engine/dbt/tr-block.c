/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Code for one block. See tr.h for the convention. */

#include "hv/engine/dbt/tr-gen.h"

const uint8_t tr_home[X86_NGPRS] = {
        [X86_RAX] = HOME_RAX, [X86_RCX] = HOME_RCX, [X86_RDX] = TR_RDX, [X86_RBX] = TR_RBX, [X86_RSP] = HOME_RSP, [X86_RBP] = TR_RBP,
        [X86_RSI] = TR_RSI, [X86_RDI] = TR_RDI, [X86_R8] = 8, [X86_R9] = 9, [X86_R10] = TR_NO_HOME,
        [X86_R11] = TR_NO_HOME, [X86_R12] = 12, [X86_R13] = 13, [X86_R14] = 14, [X86_R15] = TR_NO_HOME,
};

/* --- Handlers -------------------------------------------------------------------------------------------------------------- */

static void call_handlers(struct gen *g, const struct dbt_insn *i, unsigned offset, unsigned n)
{
        tr_mov_imm(g->e, TR_RAX, (uintptr_t)i);
        tr_mov_imm(g->e, TR_RCX, offset | n << 16);
        tr_call(g->e, g->v->translator->call);
        tr_jcc_to(g->e, TR_CC_NE, g->v->translator->leave_jump);
}

static void go_on_at_rip(struct gen *g)
{
        gen_load_field(g, TR_RAX, offsetof(struct dbt_vcpu, rip));
        tr_jmp(g->e, g->v->translator->jump);
}

static void emit_out(struct gen *g, const struct gen_out *o)
{
        const struct dbt_insn *i = &g->b->insn[o->insn];

        tr_set_jump(g->e, o->jump);
        call_handlers(g, i, o->offset, 1);
        if (i->flags & DBT_INSN_TRANSFER) {
                go_on_at_rip(g);
                return;
        }
        if (o->flags)
                gen_flags_load(g);
        tr_jmp(g->e, o->back);
}
/* --- The block ----------------------------------------------------------------------------------------------------------------- */

static bool fits(int64_t value)
{
        return value == (int32_t)value;
}

/* Can the code above do it? */
static bool supported(const struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        if ((i->flags & DBT_INSN_MEM) && i->mem.base == DBT_REG_RIP && !fits((int64_t)i->mem.disp + g->offset))
                return false;
        switch (t->kind) {
        case TR_LEA:
                return !t->op.op16 || tr_home[t->reg] != TR_NO_HOME;
        case TR_CMPXCHG:
                return tr_home[t->reg] != TR_NO_HOME;
        case TR_PUSH_IMM:
                return fits((int64_t)i->imm);
        case TR_JCC:
        case TR_JMP:
        case TR_CALL:
                return fits(gen_branch_target(g, i));
        default:
                return true;
        }
}

/* With the misses of its lookups leading back behind it. */
static void emit_native(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        unsigned first = g->n_outs;

        if (t->kind >= TR_JCC)
                gen_branch(g, i, t);
        else
                gen_integer(g, i, t);
        for (unsigned k = first; k < g->n_outs; k++) {
                g->outs[k].back = tr_here(g->e);
                g->outs[k].flags = g->valid;
        }
}

/* Run by handlers: i and those behind it up to but not including end. */
static void emit_handlers(struct gen *g, const struct dbt_insn *i, const struct dbt_insn *end, unsigned offset)
{
        const struct dbt_insn *last = end - 1;

        gen_flags_clobber(g);
        call_handlers(g, i, offset, (unsigned)(end - i));
        if (last->flags & DBT_INSN_ENDS_BLOCK) {
                tr_mov_imm(g->e, TR_RAX, TR_EXIT_ENDED);
                tr_jmp(g->e, g->v->translator->leave);
        } else if (last->flags & DBT_INSN_TRANSFER) {
                go_on_at_rip(g);
        }
}

/* Instruction k of the guest's. */
static const struct dbt_insn *insn_of(const struct dbt_block *b, unsigned k)
{
        return &b->insn[b->fused && k + 1 >= b->n ? k + 1 : k];
}

static void emit_body(struct gen *g)
{
        const struct dbt_block *b = g->b;
        const struct dbt_insn *i = NULL, *first = NULL;
        unsigned first_offset = 0;
        struct tr_insn t;

        for (unsigned k = 0; k < b->n + (b->fused ? 1u : 0u); k++) {
                if (first && insn_of(b, k) != i + 1) { /* behind it is the fused one */
                        emit_handlers(g, first, i + 1, first_offset);
                        first = NULL;
                }
                i = insn_of(b, k);
                tr_decode(i, g->bytes, &t);
                g->insn = (unsigned)(i - b->insn);
                if (t.kind == TR_HANDLER || !supported(g, i, &t)) {
                        if (!first) {
                                first = i;
                                first_offset = g->offset;
                        }
                } else {
                        if (first)
                                emit_handlers(g, first, i, first_offset);
                        first = NULL;
                        emit_native(g, i, &t);
                }
                g->bytes += i->length;
                g->offset += i->length;
        }
        if (first)
                emit_handlers(g, first, i + 1, first_offset);
        if (!(i->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK))) {
                gen_flags_store(g);
                gen_exit_to(g, g->offset);
        }
}

const uint8_t *tr_emit_block(struct dbt_vcpu *v, struct tr_emit *e, struct dbt_block *b)
{
        struct gen g = { .v = v, .e = e, .b = b, .bytes = dbt_block_bytes(b) };
        const uint8_t *leave = tr_here(e), *entry;

        g.offset = (unsigned)(b->key & ~DBT_PAGE_MASK);
        tr_mov_imm(e, TR_RAX, g.offset);
        tr_jmp(e, v->translator->leave_asked);
        entry = tr_here(e);
        gen_entry(&g, leave);
        emit_body(&g);
        for (unsigned k = 0; k < g.n_outs; k++)
                emit_out(&g, &g.outs[k]);
        return e->overflow ? NULL : entry;
}
