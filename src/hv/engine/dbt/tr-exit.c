/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The way into a block and out of it: entry, exits, branches. */

#include "hv/engine/dbt/tr-gen.h"

/* To RAX: linear address of the offset from the page's start. */
static void page_plus(struct gen *g, int32_t offset)
{
        struct tr_mem m = gen_at(TR_RAX, offset);

        gen_load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        tr_lea(g->e, TR_RAX, &m);
}

/* jmp qword [link], or lea rcx, [link] */
static void with_link(struct gen *g, const struct tr_link *link, unsigned opcode, unsigned modrm, bool w)
{
        if (w)
                tr_put(g->e, 0x48);
        tr_put(g->e, opcode);
        tr_put(g->e, modrm);
        tr_put32(g->e, (uint32_t)((const uint8_t *)link - (tr_here(g->e) + 4)));
}

static void linked_exit(struct gen *g, uint32_t offset)
{
        struct tr_link *link = tr_link_new(g->v->translator, NULL);

        with_link(g, link, 0xff, 0x25, false);
        link->target = link->unlinked = tr_here(g->e);
        with_link(g, link, 0x8d, 0x0d, true);
        gen_store_field(g, offsetof(struct dbt_vcpu, tr_link), TR_RCX);
        tr_mov_imm(g->e, TR_RAX, offset);
        tr_jmp(g->e, g->v->translator->leave_at);
}

/* Goes on at an offset from the page's start. The flags are stored. */
void gen_exit_to(struct gen *g, int64_t offset)
{
        if (offset >= 0 && offset < (int64_t)DBT_PAGE_SIZE) {
                linked_exit(g, (uint32_t)offset);
                return;
        }
        page_plus(g, (int32_t)offset);
        tr_jmp(g->e, g->v->translator->jump);
}

int64_t gen_branch_target(const struct gen *g, const struct dbt_insn *i)
{
        return (int64_t)g->offset + (int64_t)i->imm;
}

/* --- Branches ---------------------------------------------------------------------------------------------------------- */

static void emit_jcc(struct gen *g, const struct dbt_insn *i)
{
        uint8_t *taken;

        gen_flags_need(g);
        gen_flags_store(g);
        taken = tr_jcc(g->e, i->cond);
        gen_exit_to(g, g->offset + i->length);
        tr_set_jump(g->e, taken);
        gen_exit_to(g, gen_branch_target(g, i));
}

static void emit_jmp(struct gen *g, const struct dbt_insn *i)
{
        gen_flags_store(g);
        gen_exit_to(g, gen_branch_target(g, i));
}

static void push_return(struct gen *g, const struct dbt_insn *i)
{
        struct tr_mem m = gen_stack(g, -8, true);

        page_plus(g, (int32_t)(g->offset + i->length));
        tr_store(g->e, &m, TR_RAX);
        gen_move_rsp(g, -8);
}

static void emit_call(struct gen *g, const struct dbt_insn *i)
{
        push_return(g, i);
        gen_exit_to(g, gen_branch_target(g, i));
}

static void emit_ret(struct gen *g, const struct dbt_insn *i)
{
        struct tr_mem m = gen_stack(g, 0, false);

        tr_load(g->e, TR_RAX, &m);
        gen_move_rsp(g, 8 + (int32_t)i->imm);
        tr_jmp(g->e, g->v->translator->jump);
}

/* The target of an indirect jump or call to RAX. */
static void load_target(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m;

        gen_flags_store(g);
        if (t->mem) {
                m = gen_operand(g, i, 8, false);
                tr_load(g->e, TR_RAX, &m);
        } else {
                unsigned rm = gen_source(g, t->rm, TR_RAX);

                if (rm != TR_RAX)
                        tr_mov(g->e, TR_RAX, rm);
        }
}

static void emit_jmp_rm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        load_target(g, i, t);
        tr_jmp(g->e, g->v->translator->jump);
}

static void emit_call_rm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        load_target(g, i, t);
        gen_store_field(g, offsetof(struct dbt_vcpu, tr_target), TR_RAX);
        push_return(g, i);
        gen_load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        tr_jmp(g->e, g->v->translator->jump);
}

void gen_branch(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        switch (t->kind) {
        case TR_JCC:
                emit_jcc(g, i);
                break;
        case TR_JMP:
                emit_jmp(g, i);
                break;
        case TR_CALL:
                emit_call(g, i);
                break;
        case TR_RET:
                emit_ret(g, i);
                break;
        case TR_JMP_RM:
                emit_jmp_rm(g, i, t);
                break;
        case TR_CALL_RM:
                emit_call_rm(g, i, t);
                break;
        }
}

/* leave: code that leaves for what was asked */
void gen_entry(struct gen *g, const uint8_t *leave)
{
        static const struct tr_op op = { .opcode = 0x83 };
        struct tr_mem request = tr_field(offsetof(struct dbt_vcpu, request));
        struct tr_mem budget = tr_field(offsetof(struct dbt_vcpu, tr_budget));

        tr_op_mem(g->e, &op, 7, &request); /* cmp */
        tr_put(g->e, 0);
        tr_jcc_to(g->e, TR_CC_NE, leave);
        tr_op_mem(g->e, &op, 5, &budget); /* sub */
        tr_put(g->e, 1);
        tr_jcc_to(g->e, TR_CC_S, leave);
}
