/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Guest registers without a home, in the scratch registers: what an integer instruction loaded there or left there stays until something else needs
 * the scratch register, and is stored then if it is newer than v->gpr. Code that a way out returns to finds nothing there, but for that of mirrored code where an access faulted: struct tr_fault
 * tells what was there, and what has to be there again. */

#include "hv/engine/dbt/tr-gen.h"

#define N_SCRATCH 2
/* Limits of what struct tr_fault can hold, less what one instruction adds. */
#define KEPT_RSP 448
#define KEPT_CODE 0xf00

static const uint8_t host[N_SCRATCH] = { TR_RAX, TR_RCX };

static size_t gpr_offset(unsigned reg)
{
        return offsetof(struct dbt_vcpu, gpr) + reg * 8;
}

static void store(struct gen *g, unsigned n)
{
        struct gen_scratch *s = &g->scratch[n];

        if (s->used && s->dirty)
                gen_store_field(g, gpr_offset(s->reg), host[n]);
        s->dirty = false;
}

static void settle(struct gen *g, unsigned n)
{
        store(g, n);
        g->scratch[n].used = false;
}

void gen_scratch_settle(struct gen *g, unsigned which)
{
        for (unsigned n = 0; n < N_SCRATCH; n++)
                if (which >> host[n] & 1)
                        settle(g, n);
}

static int find(const struct gen *g, unsigned reg)
{
        for (int n = 0; n < N_SCRATCH; n++)
                if (g->scratch[n].used && g->scratch[n].reg == reg)
                        return n;
        return -1;
}

/* One that may be taken: an unused one, RCX only if it holds no addend, or else the one used longer ago. */
static unsigned choose(const struct gen *g, unsigned keep)
{
        if (keep == host[0] || keep == host[1])
                return keep == host[0];
        if (!g->scratch[0].used)
                return 0;
        if (!g->scratch[1].used)
                return g->held < 0;
        return g->scratch[1].age < g->scratch[0].age;
}

unsigned gen_scratch(struct gen *g, unsigned reg, bool load, unsigned keep)
{
        int n;

        if (tr_home[reg] != TR_NO_HOME)
                return tr_home[reg];
        n = find(g, reg);
        if (n < 0) {
                n = (int)choose(g, keep);
                settle(g, (unsigned)n);
                if (host[n] == TR_RCX)
                        g->held = -1;
                if (load)
                        gen_load_field(g, host[n], gpr_offset(reg));
                g->scratch[n] = (struct gen_scratch){ .used = true, .reg = (uint8_t)reg };
        }
        g->scratch[n].age = g->k;
        return host[n];
}

void gen_scratch_changed(struct gen *g, unsigned reg)
{
        if (tr_home[reg] == TR_NO_HOME)
                g->scratch[find(g, reg)].dirty = true;
}

static unsigned kept_in(const struct gen_scratch *s)
{
        unsigned k = 0;

        if (!s->used)
                return 0;
        while (tr_kept[k] != s->reg)
                k++;
        return (k + 1) | (s->dirty ? TR_KEPT_DIRTY : 0);
}

unsigned gen_scratch_kept(const struct gen *g)
{
        return kept_in(&g->scratch[0]) | kept_in(&g->scratch[1]) << TR_KEPT_BITS;
}

/* --- Which instructions leave what where it is ------------------------------------------------------------------------------------- */

bool gen_scratch_uses(const struct gen_insn *n)
{
        const struct tr_insn *t = &n->t;

        switch (t->kind) {
        case TR_NOTHING:
        case TR_BSWAP:
                return true;
        case TR_MOV_IMM:
                return !t->high_rm;
        case TR_LEA:
                return n->i->mem.base != DBT_REG_RIP;
        case TR_PLAIN:
                return !t->mem && !t->high_reg && !t->high_rm;
        default:
                return false;
        }
}

static bool has_home(unsigned reg)
{
        return reg == DBT_REG_NONE || (reg < X86_NGPRS && tr_home[reg] != TR_NO_HOME);
}

/* The access is checked already, and RCX is all that it needs. */
static bool is_free_of_rax(const struct gen *g, const struct gen_insn *n, unsigned k)
{
        const struct gen_group *group = n->group >= 0 ? &g->groups[n->group] : NULL;
        const struct tr_insn *t = &n->t;

        if (!group || group->members < 2 || group->first == k || !has_home(group->base) || !has_home(group->index))
                return false;
        switch (t->kind) {
        case TR_PLAIN:
                return !t->high_reg && (!t->reg_use || has_home(t->reg));
        case TR_PUSH_REG:
        case TR_POP:
                return has_home(t->rm);
        default:
                return false;
        }
}

static void add_needed(unsigned reg, unsigned *set)
{
        if (!has_home(reg) && reg < X86_NGPRS)
                *set |= 1u << reg;
}

/* Are there enough scratch registers for those that the instruction has, and does it need none for anything else? */
static bool has_enough(const struct gen *g, const struct gen_insn *n)
{
        const struct dbt_mem *m = &n->i->mem;
        unsigned set = 0;
        int32_t lin;

        if (n->t.mem && (m->seg_base != DBT_SEG_BASE_NONE || (m->base == DBT_REG_RIP && !tr_linear_of(g->b, (int64_t)m->disp + n->offset, &lin))))
                return false;
        if (n->t.mem) {
                add_needed(m->base, &set);
                add_needed(m->index, &set);
        }
        switch (n->t.kind) {
        case TR_PLAIN:
                if (n->t.reg_use)
                        add_needed(n->t.reg, &set);
                return n->t.mem && !n->t.high_reg && __builtin_popcount(set) <= N_SCRATCH;
        case TR_PUSH_REG:
        case TR_POP:
                return true;
        case TR_NATIVE:
                return gen_native_keeps_scratch(n->i);
        default:
                return false;
        }
}

/* Can struct tr_fault tell all? */
static bool is_in_reach(const struct gen *g)
{
        return !(g->rsp % 8) && g->rsp >= -KEPT_RSP && g->rsp <= KEPT_RSP && tr_here(g->e) - g->entry < KEPT_CODE && !g->x87.insn && !g->x87.data;
}

static bool is_in_place(const struct gen *g, const struct gen_insn *n)
{
        return gen_mirrored(g) && gen_64(g) && is_in_reach(g) && has_enough(g, n);
}

void gen_scratch_before(struct gen *g, unsigned k)
{
        const struct gen_insn *n = &g->insns[k];

        g->in_place = is_in_place(g, n);
        if (g->in_place || gen_scratch_uses(n))
                return;
        if (n->t.kind == TR_JCC && !g->x87.insn && !g->x87.data) {
                store(g, 0);
                store(g, 1);
                return;
        }
        gen_scratch_settle(g, 1u << TR_RCX);
        if (g->apart || !is_free_of_rax(g, n, k))
                gen_scratch_settle(g, 1u << TR_RAX);
}

void gen_scratch_behind(struct gen *g, unsigned k)
{
        if (g->apart || (g->insns[k].resumes && !g->in_place))
                gen_scratch_settle(g, 1u << TR_RAX | 1u << TR_RCX);
}

void gen_plan_scratch(struct gen *g)
{
        for (unsigned k = 0; k < g->n; k++)
                g->insns[k].resumes = false;
        for (unsigned k = 0; k < g->n; k++)
                if (!gen_scratch_uses(&g->insns[k]) && g->insns[k].t.kind != TR_JCC)
                        g->insns[g->insns[k].last].resumes = true;
}
