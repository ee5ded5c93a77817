/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory operands of translated code: addresses and TLB lookups. */

#include "hv/engine/dbt/tr-gen.h"

/* A constant, or relative to the page's address, which is loaded to the register. */
static void relative_to_rip(struct gen *g, const struct dbt_mem *m, unsigned reg, struct tr_mem *ret)
{
        int64_t offset = (int64_t)m->disp + g->offset;

        if (tr_linear_of(g->b, offset, &ret->disp))
                return;
        gen_load_page(g, reg);
        ret->base = (uint8_t)reg;
        ret->disp = (int32_t)offset;
}

/* The operand's address as a host operand without segment; RAX and RCX stand for registers without a home. */
struct tr_mem gen_offset_of(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem a = { .base = TR_NO_HOME, .index = TR_NO_HOME, .scale = m->scale, .disp = m->disp };

        if (m->base == DBT_REG_RIP) {
                relative_to_rip(g, m, TR_RAX, &a);
        } else if (m->base != DBT_REG_NONE) {
                a.base = (uint8_t)gen_source(g, m->base, TR_RAX);
                if (m->base == X86_RSP)
                        a.disp += g->rsp;
        }
        if (m->index != DBT_REG_NONE)
                a.index = (uint8_t)gen_source(g, m->index, TR_RCX);
        return a;
}

/* FS and GS may have limits. */
static void check_open(struct gen *g, const struct dbt_mem *m)
{
        static const struct tr_op cmp = { .opcode = 0x80 };
        struct tr_mem open = tr_field(offsetof(struct dbt_vcpu, seg_open) + m->seg - X86_FS);

        tr_op_mem(g->e, &cmp, 7, &open);
        tr_put(g->e, 0);
        gen_add_out(g, tr_jcc(g->e, TR_CC_E));
}

static struct tr_mem address_of_32(struct gen *g, const struct dbt_mem *m)
{
        static const struct tr_op add = { .opcode = 0x03, .ends = 1 };
        struct tr_mem a;

        if (m->seg < X86_FS) {
                a = gen_offset_of(g, m);
                gen_lea(g, TR_RAX, &a);
                return gen_at(TR_RAX, 0);
        }
        check_open(g, m);
        a = gen_offset_of(g, m);
        gen_lea(g, TR_RAX, &a);
        a = tr_field(DBT_SEG_BASE_FIELD(m->seg_base));
        tr_op_mem(g->e, &add, TR_RAX, &a);
        return gen_at(TR_RAX, 0);
}

/* The same with segment, as one register and a displacement: RAX if it is not that simple. */
static struct tr_mem address_of(struct gen *g, const struct dbt_mem *m)
{
        static const struct tr_op add = { .opcode = 0x03, .w = true, .ends = 1 };
        bool segment = m->seg_base != DBT_SEG_BASE_NONE;
        struct tr_mem a;

        if (!gen_64(g))
                return address_of_32(g, m);
        a = gen_offset_of(g, m);
        if (a.base != TR_RAX && a.base != TR_NO_HOME && a.index == TR_NO_HOME && !segment)
                return a;
        tr_lea(g->e, TR_RAX, &a);
        if (segment) {
                struct tr_mem base = tr_field(DBT_SEG_BASE_FIELD(m->seg_base));

                tr_op_mem(g->e, &add, TR_RAX, &base);
        }
        return gen_at(TR_RAX, 0);
}

static const struct tr_op op_add = { .opcode = 0x03, .w = true, .ends = 1 }, op_sub = { .opcode = 0x2b, .w = true, .ends = 1 }, op_cmp = { .opcode = 0x3b, .w = true },
                          op_xor = { .opcode = 0x33, .w = true, .ends = 1 }, op_mov = { .opcode = 0x8b, .w = true, .ends = 1 };

static void alu_imm(struct gen *g, unsigned ext, unsigned reg, uint32_t imm, bool w)
{
        struct tr_op op = { .opcode = 0x81, .w = w };

        if (reg == TR_RAX) {
                if (w)
                        tr_put(g->e, 0x48);
                tr_put(g->e, ext << 3 | 5);
        } else {
                tr_op_reg(g->e, &op, ext, reg);
        }
        tr_put32(g->e, imm);
}

/* --- Checks. In: RAX the address. Out: RCX the addend, RAX the address again if it is to be restored; in code that seldom runs, where it always is, RCX is their sum. ------------------------------ */

struct check {
        const uint8_t *retry; /* where the code that makes the address begins */
        unsigned span;        /* bytes from there on */
        bool write, restore, stack; /* stack: relative to RSP */
};

static struct gen_out *add_out(struct gen *g, unsigned cond, enum tr_miss how, const uint8_t *retry)
{
        struct gen_out *o = &g->outs[g->n_outs++];

        *o = (struct gen_out){ .jump = tr_jcc(g->e, cond), .k = (uint8_t)g->k, .apart = g->apart, .how = (uint8_t)how, .retry = retry };
        return o;
}

static void compare_span(struct gen *g, const struct check *c)
{
        alu_imm(g, 7, TR_RAX, (uint32_t)DBT_PAGE_SIZE - c->span, true);
}

/* op reg, [site + offset] */
static void with_site(struct gen *g, const struct tr_op *op, unsigned reg, const struct tr_site *site, size_t offset)
{
        tr_op_rip(g->e, op, reg, (const uint8_t *)site + offset);
}

static void load_addend(struct gen *g, const struct tr_site *site)
{
        with_site(g, &op_mov, TR_RCX, site, offsetof(struct tr_site, addend));
}

static struct tr_site *check_site(struct gen *g, const struct check *c)
{
        struct tr_site *site = tr_site_new(&g->v->translator->sites, g->b, g->k, c->span);

        with_site(g, &op_xor, TR_RAX, site, offsetof(struct tr_site, match));
        compare_span(g, c);
        add_out(g, TR_CC_A, c->write ? TR_MISS_WRITE : TR_MISS_READ, c->retry)->site = site;
        if (c->restore)
                with_site(g, &op_xor, TR_RAX, site, offsetof(struct tr_site, match));
        load_addend(g, site);
        return site;
}

static size_t match_field(bool write)
{
        return write ? offsetof(struct dbt_tlb_entry, match_write) : offsetof(struct dbt_tlb_entry, match_read);
}

/* In code that seldom runs, a routine does it. False: not for that many bytes. */
static bool check_by_routine(struct gen *g, const struct check *c)
{
        unsigned n = 0;

        while (n < TR_SPANS && 1u << n < c->span)
                n++;
        if (g->b->stage != TR_SELDOM || n == TR_SPANS)
                return false;
        tr_call(g->e, g->v->translator->check[gen_view(g)][c->write][n]);
        g->outs[g->n_outs++] = (struct gen_out){ .fault = tr_here(g->e), .k = (uint8_t)g->k, .apart = g->apart, .how = TR_MISSES };
        return true;
}

static void check_tlb(struct gen *g, const struct check *c)
{
        unsigned view = gen_view(g);

        if (check_by_routine(g, c))
                return;
        tr_tlb_slot(g->e);
        tr_with_entry(g->e, 0x33, TR_RAX, view, match_field(c->write));
        compare_span(g, c);
        add_out(g, TR_CC_A, c->write ? TR_MISS_TLB_WRITE : TR_MISS_TLB_READ, c->retry)->span = c->span;
        if (c->restore)
                tr_with_entry(g->e, 0x33, TR_RAX, view, match_field(c->write));
        tr_with_entry(g->e, 0x8b, TR_RCX, view, offsetof(struct dbt_tlb_entry, addend));
        if (g->b->stage == TR_SELDOM)
                tr_op_reg(g->e, &op_add, TR_RCX, TR_RAX);
}

static void with_stack(struct gen *g, const struct tr_op *op, unsigned reg, size_t offset)
{
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, tr_stack) + gen_view(g) * sizeof(g->v->tr_stack[0]) + offset);

        tr_op_mem(g->e, op, reg, &m);
}

static void check_stack(struct gen *g, const struct check *c)
{
        with_stack(g, &op_xor, TR_RAX, offsetof(struct dbt_stack_page, match));
        compare_span(g, c);
        add_out(g, TR_CC_A, TR_MISS_STACK, c->retry)->span = c->span | (c->write ? TR_SPAN_WRITE : 0);
        if (c->restore)
                with_stack(g, &op_xor, TR_RAX, offsetof(struct dbt_stack_page, match));
        with_stack(g, &op_mov, TR_RCX, offsetof(struct dbt_stack_page, addend));
}

/* Returns the site, NULL if there is none. */
static struct tr_site *check(struct gen *g, const struct check *c, bool by_site)
{
        if (c->stack && g->b->stage != TR_SELDOM && gen_64(g)) {
                check_stack(g, c);
                return NULL;
        }
        if (by_site)
                return check_site(g, c);
        check_tlb(g, c);
        return NULL;
}

void gen_add_out(struct gen *g, uint8_t *jump)
{
        g->outs[g->n_outs++] = (struct gen_out){ .jump = jump, .k = (uint8_t)g->k, .apart = g->apart, .how = TR_MISSES };
}

void gen_miss(struct gen *g, const struct gen_out *o)
{
        static const struct tr_op lea = { .opcode = 0x8d, .w = true };
        struct tr_mem keyed = gen_at(TR_RAX, o->disp);

        tr_set_jump(g->e, o->jump);
        if (o->how == TR_MISSES)
                return;
        if (o->how >= TR_MISS_TLB_READ) {
                gen_miss_tlb(g, o);
                return;
        }
        if (o->keyed)
                tr_lea(g->e, TR_RAX, &keyed);
        else
                with_site(g, &op_xor, TR_RAX, o->site, offsetof(struct tr_site, match));
        tr_op_rip(g->e, &lea, TR_RCX, o->site);
        tr_call(g->e, g->v->translator->missed[o->how]);
        tr_jcc_to(g->e, TR_CC_NE, o->retry);
}

/* User code that runs often and seldom sees another page there does without the TLB. */
static bool prefers_site(const struct gen *g, const struct dbt_mem *m)
{
        if (g->b->stage == TR_SELDOM || g->apart)
                return false;
        if (g->k < 64 && (g->by_tlb >> g->k & 1))
                return false;
        return gen_view(g) == DBT_MMU_USER;
}

/* --- Keyed operands ------------------------------------------------------------------------------------------------------------- */

/* An address at a constant distance from the page that the code lies in, or from a segment's base: the field with the key, 0 if it is none. */
static size_t key_of(const struct gen *g, const struct dbt_mem *m, int32_t *ret_disp)
{
        bool segment = m->seg_base != DBT_SEG_BASE_NONE;

        *ret_disp = m->disp;
        if (m->index != DBT_REG_NONE || g->b->stage == TR_SELDOM || g->apart || gen_view(g) != DBT_MMU_USER)
                return 0;
        if (m->base == DBT_REG_RIP && !segment) {
                *ret_disp = m->disp + (int32_t)g->offset;
                return offsetof(struct dbt_vcpu, tr_page);
        }
        return m->base == DBT_REG_NONE && segment ? DBT_SEG_BASE_FIELD(m->seg_base) : 0;
}

static struct tr_mem keyed_operand(struct gen *g, size_t key, int32_t disp, unsigned size, bool write)
{
        struct tr_site *site = tr_site_new(&g->v->translator->sites, g->b, g->k | TR_SITE_KEYED, size);
        const uint8_t *retry;
        struct gen_out *o;

        site->disp = disp;
        gen_flags_clobber(g);
        retry = tr_here(g->e);
        gen_load_field(g, TR_RAX, key);
        with_site(g, &op_cmp, TR_RAX, site, offsetof(struct tr_site, match));
        o = add_out(g, TR_CC_NE, write ? TR_MISS_WRITE : TR_MISS_READ, retry);
        o->keyed = true;
        o->site = site;
        o->disp = disp;
        load_addend(g, site);
        return gen_at(TR_RCX, 0);
}

/* --- Operands by registers -------------------------------------------------------------------------------------------------------- */

static bool is_homed(unsigned reg)
{
        return reg == DBT_REG_NONE || (reg < X86_NGPRS && tr_home[reg] != TR_NO_HOME);
}

/* 32-bit code: an operand of which the unwrapped address will do, as a site never matches one beyond 4 GiB, while a TLB entry might. That should be
 * rare: what wraps goes to the handler. */
static bool is_near(const struct gen *g, const struct dbt_mem *m)
{
        return m->index == DBT_REG_NONE && m->disp > -(int32_t)DBT_PAGE_SIZE && m->disp < (int32_t)DBT_PAGE_SIZE && prefers_site(g, m);
}

/* Can host instructions address the operand by its registers, once a base without a home is added to the addend? */
static bool by_registers(const struct gen *g, const struct dbt_mem *m)
{
        if (!gen_64(g) && !is_near(g, m))
                return false;
        return (m->base < X86_NGPRS || m->base == DBT_REG_NONE) && is_homed(m->index) && m->seg_base == DBT_SEG_BASE_NONE &&
                (m->base != DBT_REG_NONE || m->index != DBT_REG_NONE);
}

/* Keeps the flags. */
static void add_to_rcx(struct gen *g, unsigned reg)
{
        struct tr_mem sum = { .base = TR_RCX, .index = (uint8_t)gen_source(g, reg, TR_RAX) };

        tr_lea(g->e, TR_RCX, &sum);
}

/* The operand as seen from RCX, which holds the addend. Keeps the flags. */
static struct tr_mem with_addend(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem a = { .base = TR_RCX, .index = TR_NO_HOME, .disp = m->disp + (m->base == X86_RSP ? g->rsp : 0) };

        if (m->index == DBT_REG_NONE && tr_home[m->base] != TR_NO_HOME) {
                a.index = tr_home[m->base];
                return a;
        }
        if (m->base != DBT_REG_NONE)
                add_to_rcx(g, m->base);
        if (m->index == DBT_REG_NONE)
                return a;
        a.index = (uint8_t)gen_source(g, m->index, TR_RAX);
        a.scale = m->scale;
        if (a.index != TR_RAX)
                return a;
        tr_lea(g->e, TR_RCX, &a);
        return gen_at(TR_RCX, 0);
}

/* with_addend where the flags need not be kept. */
static struct tr_mem with_addend_freely(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem base = tr_field(offsetof(struct dbt_vcpu, gpr) + m->base * 8u);
        struct dbt_mem rest = *m;

        if (is_homed(m->base))
                return with_addend(g, m);
        tr_op_mem(g->e, &op_add, TR_RCX, &base);
        rest.base = DBT_REG_NONE;
        if (m->index != DBT_REG_NONE)
                return with_addend(g, &rest);
        return gen_at(TR_RCX, m->disp);
}

static bool is_stack(const struct dbt_mem *m)
{
        return m->base == X86_RSP && m->index == DBT_REG_NONE && m->seg_base == DBT_SEG_BASE_NONE;
}

/* To the addend of a check that restored the address. */
static void add_address(struct gen *g)
{
        if (g->b->stage != TR_SELDOM)
                tr_op_reg(g->e, &op_add, TR_RCX, TR_RAX);
}

/* An operand alone. The routine for code that seldom runs leaves the address where it is. */
static struct tr_mem single(struct gen *g, const struct dbt_mem *m, unsigned size, bool write)
{
        struct check c = { .span = size, .write = write, .stack = is_stack(m), .restore = g->b->stage == TR_SELDOM || !by_registers(g, m) };
        struct tr_mem a;

        gen_flags_clobber(g);
        c.retry = tr_here(g->e);
        a = c.restore ? address_of(g, m) : gen_offset_of(g, m);
        if (a.base != TR_RAX || a.index != TR_NO_HOME || a.disp)
                tr_lea(g->e, TR_RAX, &a);
        check(g, &c, prefers_site(g, m));
        if (!c.restore)
                return with_addend_freely(g, m);
        add_address(g);
        return gen_at(TR_RCX, 0);
}

void gen_linear(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem a;

        gen_flags_clobber(g);
        a = address_of(g, m);
        if (a.base != TR_RAX)
                tr_lea(g->e, TR_RAX, &a);
}

struct tr_mem gen_checked(struct gen *g, const uint8_t *retry, unsigned size, bool write)
{
        static const struct dbt_mem anywhere = { .base = DBT_REG_NONE, .index = DBT_REG_NONE };
        struct check c = { .retry = retry, .span = size, .write = write, .restore = true };

        if (gen_mirrored(g)) {
                tr_mov(g->e, TR_RCX, TR_RAX);
                gen_add_fault(g);
                return gen_at(TR_RCX, 0);
        }
        check(g, &c, prefers_site(g, &anywhere));
        add_address(g);
        return gen_at(TR_RCX, 0);
}

/* The check for a whole group, at its first operand. */
static void check_group(struct gen *g, struct gen_group *group, const struct dbt_mem *m)
{
        struct check c = { .span = (unsigned)(group->hi - group->lo), .write = group->write, .stack = is_stack(m), .restore = g->b->stage == TR_SELDOM };
        struct dbt_mem low = *m;
        struct tr_mem a;

        low.disp = group->lo;
        gen_flags_clobber(g);
        c.retry = tr_here(g->e);
        a = gen_offset_of(g, &low);
        tr_lea(g->e, TR_RAX, &a);
        group->site = check(g, &c, prefers_site(g, m));
        if (g->b->stage == TR_SELDOM)
                tr_op_reg(g->e, &op_sub, TR_RCX, TR_RAX);
        if (!group->site)
                gen_store_field(g, offsetof(struct dbt_vcpu, tr_addends) + (size_t)(group - g->groups) * 8, TR_RCX);
}

static struct tr_mem group_operand(struct gen *g, int n, const struct dbt_mem *m)
{
        struct gen_group *group = &g->groups[n];

        if (g->k == group->first)
                check_group(g, group, m);
        else if (g->held != n && group->site)
                load_addend(g, group->site);
        else if (g->held != n)
                gen_load_field(g, TR_RCX, offsetof(struct dbt_vcpu, tr_addends) + (size_t)n * 8);
        g->held = m->index == DBT_REG_NONE && is_homed(m->base) ? (int8_t)n : -1;
        return with_addend(g, m);
}

/* The operand itself. Keeps the flags. */
static struct tr_mem mirrored(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem a = { .base = TR_NO_HOME, .index = TR_NO_HOME, .scale = m->scale, .disp = m->disp }, field;

        g->held = -1;
        if (m->base == DBT_REG_RIP) {
                relative_to_rip(g, m, TR_RCX, &a);
        } else if (m->base != DBT_REG_NONE) {
                a.base = (uint8_t)gen_source(g, m->base, TR_RCX);
                if (m->base == X86_RSP)
                        a.disp += g->rsp;
        }
        if (m->index != DBT_REG_NONE) {
                a.index = (uint8_t)gen_source(g, m->index, a.base == TR_RCX ? TR_RAX : TR_RCX);
                if (a.index == TR_RAX) {
                        tr_lea(g->e, TR_RCX, &a);
                        a = gen_at(TR_RCX, 0);
                }
        }
        if (m->seg_base != DBT_SEG_BASE_NONE) {
                field = tr_field(DBT_SEG_BASE_FIELD(m->seg_base));
                tr_load(g->e, TR_RAX, &field);
                if (a.base != TR_NO_HOME || a.index != TR_NO_HOME) {
                        tr_lea(g->e, TR_RCX, &a);
                        a = (struct tr_mem){ .base = TR_RCX, .index = TR_RAX };
                        tr_lea(g->e, TR_RCX, &a);
                        a = gen_at(TR_RCX, 0);
                } else {
                        a = gen_at(TR_RCX, a.disp);
                        tr_mov(g->e, TR_RCX, TR_RAX);
                }
        }
        gen_add_fault(g);
        return a;
}

struct tr_mem gen_in_place(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem a = { .base = TR_NO_HOME, .index = TR_NO_HOME, .scale = m->scale, .disp = m->disp };

        if (m->base == DBT_REG_RIP)
                relative_to_rip(g, m, TR_NO_HOME, &a); /* a constant */
        else if (m->base != DBT_REG_NONE)
                a.base = (uint8_t)gen_scratch(g, m->base, true, TR_NO_HOME);
        if (m->base == X86_RSP)
                a.disp += g->rsp;
        if (m->index != DBT_REG_NONE)
                a.index = (uint8_t)gen_scratch(g, m->index, true, a.base);
        return a;
}

static struct tr_mem operand(struct gen *g, const struct dbt_mem *m, unsigned size, bool write)
{
        int n = g->insns[g->k].group;
        int32_t disp;
        size_t key;

        if (gen_mirrored(g))
                return g->in_place ? gen_in_place(g, m) : mirrored(g, m);
        if (n >= 0 && g->groups[n].members > 1 && !g->apart)
                return group_operand(g, n, m);
        g->held = -1;
        key = key_of(g, m, &disp);
        if (!key)
                return single(g, m, size, write);
        if (!gen_64(g)) {
                gen_flags_clobber(g);
                check_open(g, m);
        }
        return keyed_operand(g, key, disp, size, write);
}

struct tr_mem gen_operand(struct gen *g, const struct dbt_insn *i, unsigned size, bool write)
{
        return operand(g, &i->mem, size, write);
}

static struct tr_mem based(struct gen *g, unsigned base, int32_t disp, bool write)
{
        struct dbt_mem m = { .base = (uint8_t)base, .index = DBT_REG_NONE, .seg_base = DBT_SEG_BASE_NONE, .disp = disp };

        return operand(g, &m, gen_word(g), write);
}

struct tr_mem gen_stack(struct gen *g, int32_t disp, bool write)
{
        return based(g, X86_RSP, disp, write);
}

struct tr_mem gen_frame(struct gen *g)
{
        return based(g, X86_RBP, 0, false);
}
