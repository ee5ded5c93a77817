/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Groups: accesses of one block relative to the same registers and close to each other, such as those to a stack frame. The first one's check covers
 * them all, so that the others need none.
 *
 * Where that check fails for good (the group reaches into a second page, is MMIO, ...), handlers run all instructions up to the group's last; and so they
 * do whenever an instruction in between needs its handler, which may call devices: the permission may be gone afterwards.
 *
 * 32-bit code has none: its registers may wrap between two accesses. */

#include "hv/engine/dbt/tr-gen.h"

/* Bytes from a group's first to its last. A group that reaches into a second page is run by handlers in code that seldom runs, where checks are small. */
#define GROUP_SPAN 512
#define GROUP_SPAN_SELDOM 64

static bool is_plain_segment(const struct dbt_mem *m)
{
        return m->seg_base == DBT_SEG_BASE_NONE;
}

static void set_stack(struct gen_access *a, int32_t disp, bool write)
{
        *a = (struct gen_access){ .valid = true, .base = X86_RSP, .index = DBT_REG_NONE, .disp = disp, .size = 8, .write = write };
}

static void set_operand(struct gen_access *a, const struct dbt_insn *i, unsigned size, bool write)
{
        const struct dbt_mem *m = &i->mem;

        if (m->base >= X86_NGPRS || !is_plain_segment(m))
                return;
        *a = (struct gen_access){ .valid = true, .base = m->base, .index = m->index, .scale = m->scale, .disp = m->disp,
                .size = (uint16_t)size, .write = write };
}

/* The access that gen_operand or gen_stack is asked for. Not valid: none, or not one that can be in a group. */
static void access_of(const struct gen_insn *n, struct gen_access *a)
{
        const struct tr_insn *t = &n->t;

        *a = (struct gen_access){ .valid = false };
        switch (t->kind) {
        case TR_PUSH_REG:
        case TR_PUSH_IMM:
        case TR_CALL:
                set_stack(a, -8, true);
                break;
        case TR_CALL_RM:
                if (!t->mem)
                        set_stack(a, -8, true);
                break;
        case TR_POP:
        case TR_RET:
                set_stack(a, 0, false);
                break;
        case TR_LEAVE:
                *a = (struct gen_access){ .valid = true, .base = X86_RBP, .index = DBT_REG_NONE, .size = 8 };
                break;
        case TR_PLAIN:
        case TR_NATIVE:
                if (t->mem)
                        set_operand(a, n->i, t->size, t->rm_use & TR_W);
                break;
        case TR_SHIFT_CL:
        case TR_SHIFTD_CL:
        case TR_CMPXCHG:
                if (t->mem)
                        set_operand(a, n->i, t->size, true);
                break;
        case TR_MUL:
        case TR_DIV:
        case TR_IDIV:
        case TR_JMP_RM:
                if (t->mem)
                        set_operand(a, n->i, t->kind == TR_JMP_RM ? 8 : t->size, false);
                break;
        }
}

/* --- How registers move ------------------------------------------------------------------------------------------------------ */

static bool add_immediate(const struct gen_insn *n, unsigned reg, int64_t *ret)
{
        const struct tr_insn *t = &n->t;
        unsigned ext = t->reg & 7;

        if (t->kind != TR_PLAIN || t->mem || t->op.map0f || !t->op.w || t->rm != reg)
                return false;
        if (t->op.opcode == 0x81 || t->op.opcode == 0x83) {
                *ret = ext == 5 ? -(int64_t)n->i->imm : (int64_t)n->i->imm;
                return ext == 0 || ext == 5;
        }
        *ret = ext ? -1 : 1;
        return t->op.opcode == 0xff && ext < 2;
}

static bool lea_constant(const struct gen_insn *n, unsigned reg, int64_t *ret)
{
        const struct dbt_mem *m = &n->i->mem;

        *ret = m->disp;
        return n->t.kind == TR_LEA && n->t.op.w && n->t.reg == reg && m->base == reg && m->index == DBT_REG_NONE;
}

static bool push_or_pop(const struct gen_insn *n, unsigned reg, int64_t *ret)
{
        bool push = n->t.kind == TR_PUSH_REG || n->t.kind == TR_PUSH_IMM;

        *ret = push ? -8 : 8;
        return reg == X86_RSP && (push || (n->t.kind == TR_POP && n->t.rm != X86_RSP));
}

bool gen_moves_by(const struct gen_insn *n, unsigned reg, int64_t *ret)
{
        return add_immediate(n, reg, ret) || lea_constant(n, reg, ret) || push_or_pop(n, reg, ret);
}

static bool writes(const struct gen_insn *n, unsigned reg)
{
        return reg < X86_NGPRS && (n->use.writes >> reg & 1);
}

/* --- Planning ---------------------------------------------------------------------------------------------------------------- */

/* A group that may grow. */
struct open {
        struct gen_group *group;
        int64_t moved; /* the base register since the group's first instruction */
};

struct plan {
        struct gen *g;
        struct open open[GEN_GROUPS];
        unsigned n_open;
};

static void close_group(struct plan *p, unsigned n)
{
        p->open[n] = p->open[--p->n_open];
}

/* What instruction k does to the registers of open groups. */
static void move_open(struct plan *p, const struct gen_insn *n)
{
        for (unsigned o = p->n_open; o-- > 0;) {
                const struct gen_group *group = p->open[o].group;
                int64_t by;

                if (writes(n, group->index))
                        close_group(p, o);
                else if (writes(n, group->base) && gen_moves_by(n, group->base, &by) && by == (int32_t)by)
                        p->open[o].moved += by;
                else if (writes(n, group->base))
                        close_group(p, o);
        }
}

static bool is_relative_to(const struct gen_group *group, const struct gen_access *a)
{
        return group->base == a->base && group->index == a->index && (a->index == DBT_REG_NONE || group->scale == a->scale);
}

/* Joins the access to the group if that stays small enough. */
static bool join(struct open *o, const struct gen_access *a, unsigned k, int64_t span)
{
        struct gen_group *group = o->group;
        int64_t lo = a->disp + o->moved, hi = lo + a->size;

        if (group->lo < lo)
                lo = group->lo;
        if (group->hi > hi)
                hi = group->hi;
        if (hi - lo > span || lo != (int32_t)lo || hi != (int32_t)hi)
                return false;
        group->lo = (int32_t)lo;
        group->hi = (int32_t)hi;
        group->write |= a->write;
        group->last = (uint8_t)k;
        group->members++;
        return true;
}

static void start(struct plan *p, const struct gen_access *a, unsigned k)
{
        struct gen *g = p->g;
        struct gen_group *group;

        if (g->n_groups == GEN_GROUPS)
                return;
        group = &g->groups[g->n_groups];
        *group = (struct gen_group){ .base = a->base, .index = a->index, .scale = a->scale, .lo = a->disp, .hi = a->disp + a->size,
                .write = a->write, .first = (uint8_t)k, .last = (uint8_t)k, .members = 1 };
        g->insns[k].group = (int8_t)g->n_groups++;
        p->open[p->n_open++] = (struct open){ .group = group };
}

static void place(struct plan *p, const struct gen_access *a, unsigned k)
{
        for (unsigned o = 0; o < p->n_open; o++) {
                if (!is_relative_to(p->open[o].group, a))
                        continue;
                if (join(&p->open[o], a, k, p->g->b->stage == TR_SELDOM ? GROUP_SPAN_SELDOM : GROUP_SPAN)) {
                        p->g->insns[k].group = (int8_t)(p->open[o].group - p->g->groups);
                        return;
                }
                close_group(p, o);
                break;
        }
        start(p, a, k);
}

/* The last instruction that handlers run if instruction k needs one: no group is under way behind it. */
static uint8_t closure(const struct gen *g, unsigned k)
{
        unsigned last = k, before;

        do {
                before = last;
                for (unsigned j = 0; j < g->n_groups; j++)
                        if (g->groups[j].first <= last && g->groups[j].last > last)
                                last = g->groups[j].last;
        } while (last != before);
        return (uint8_t)last;
}

void gen_plan_groups(struct gen *g)
{
        struct plan p = { .g = g };

        g->n_groups = 0;
        for (unsigned k = 0; k < g->n; k++) {
                struct gen_insn *n = &g->insns[k];

                n->group = -1;
                access_of(n, &n->access);
                if (n->access.valid && !gen_mirrored(g) && gen_64(g) && !g->b->apart)
                        place(&p, &n->access, k);
                if (n->t.kind == TR_HANDLER || n->t.kind == TR_JCC)
                        p.n_open = 0;
                else
                        move_open(&p, n);
        }
        for (unsigned k = 0; k < g->n; k++)
                g->insns[k].last = closure(g, k);
}
