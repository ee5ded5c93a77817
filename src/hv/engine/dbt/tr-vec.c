/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Vector instructions and the others that native.c describes: copies with other register numbers (Intel SDM vol. 2, 2.1 to 2.3).
 *
 * Before the first vector instruction of a block, and behind each one that was run by its handler, the block makes sure that the
 * vector state is live and that nothing traps it. Where a copy faults on the host, the signal handler goes on at the instruction's
 * out code, as if a TLB lookup had missed: the handler runs the instruction again and raises. */

#include "hv/engine/dbt/native.h"
#include "hv/engine/dbt/tr-gen.h"

/* Register fields of the instruction: guest registers, and after assign() the host's. vex: the bytes behind C4, as if it were that. */
struct fields {
        unsigned reg, rm, vvvv;
        uint8_t vex[2];
};

bool tr_decode_native(const struct dbt_insn *i, bool mode64, struct tr_insn *ret)
{
        const struct native_stub *s = i->native;

        if (i->fn == native_run_nop) {
                ret->kind = TR_NOTHING;
                return true;
        }
        if (i->fn != native_run_reg && i->fn != native_run_mem && i->fn != native_run_x87)
                return false;
        if (!s->form.copy || ((i->flags & DBT_INSN_MEM) && (!tr_is_plain_memory(i, mode64) || !s->mem_size)))
                return false;
        ret->kind = TR_NATIVE;
        ret->mem = i->flags & DBT_INSN_MEM;
        ret->rm_use = (s->access & NATIVE_READ ? TR_R : 0) | (s->access & NATIVE_WRITE ? TR_W : 0);
        ret->size = (uint8_t)s->mem_size;
        ret->flags = (s->form.flags_read ? TR_R : 0) | (s->form.flags_touched ? TR_W : 0);
        return true;
}

/* --- Registers ------------------------------------------------------------------------------------------------------------- */

#define VEX3 0xc4
#define VEX_NO_R 0x80
#define VEX_NO_X 0x40
#define VEX_NO_B 0x20
#define VEX_W 0x80

static void split(const struct native_form *f, const uint8_t *bytes, struct fields *ret)
{
        unsigned modrm = f->modrm ? bytes[f->modrm] : 0;
        const uint8_t *vex = bytes + f->opcode + 1;

        *ret = (struct fields){ .reg = modrm >> 3 & 7, .rm = modrm & 7 };
        if (!f->vex) {
                ret->reg |= (f->rex & 4) << 1;
                ret->rm |= (f->rex & 1) << 3;
                return;
        }
        if (vex[-1] == VEX3) {
                ret->vex[0] = vex[0];
                ret->vex[1] = vex[1];
        } else {
                ret->vex[0] = (vex[0] & VEX_NO_R) | VEX_NO_X | VEX_NO_B | 1;
                ret->vex[1] = vex[0] & ~VEX_W;
        }
        ret->reg |= ret->vex[0] & VEX_NO_R ? 0 : 8;
        ret->rm |= ret->vex[0] & VEX_NO_B ? 0 : 8;
        ret->vvvv = ~ret->vex[1] >> 3 & 15;
}

/* The next of the scratch registers in *free; TR_NO_HOME: there is none left. */
static unsigned take(unsigned *free)
{
        unsigned r = *free & 1 << TR_RAX ? TR_RAX : *free & 1 << TR_RCX ? TR_RCX : TR_NO_HOME;

        if (r != TR_NO_HOME)
                *free &= ~(1u << r);
        return r;
}

/* A general register's place on the host. sources, targets: scratch registers that are free for reading and for writing. Those that are only
 * written can share one with those that are only read. */
static bool assign_one(unsigned *field, unsigned use, unsigned *sources, unsigned *targets)
{
        if (!use)
                return true;
        if (tr_home[*field] != TR_NO_HOME) {
                *field = tr_home[*field];
                return true;
        }
        *field = take(use & NATIVE_READ ? sources : targets);
        if (use == (NATIVE_READ | NATIVE_WRITE) && *field != TR_NO_HOME) {
                if (!(*targets & 1u << *field))
                        return false;
                *targets &= ~(1u << *field);
        }
        return *field != TR_NO_HOME;
}

/* What is read comes first: those have less to choose from. */
static bool assign(const struct native_form *f, bool mem, struct fields *r)
{
        unsigned sources = 1 << TR_RAX | (mem ? 0 : 1 << TR_RCX), targets = 1 << TR_RAX | 1 << TR_RCX;

        if (f->reads_rax)
                sources &= ~(1u << TR_RAX);
        if (f->writes_rcx)
                targets &= ~(1u << TR_RCX);
        if (f->writes_rax)
                targets &= ~(1u << TR_RAX);
        for (unsigned read = 2; read-- > 0;) {
                if (!(f->reg_use & NATIVE_READ) == !read && !assign_one(&r->reg, f->reg_use, &sources, &targets))
                        return false;
                if (!(f->vvvv_use & NATIVE_READ) == !read && !assign_one(&r->vvvv, f->vvvv_use, &sources, &targets))
                        return false;
                if (!mem && !(f->rm_use & NATIVE_READ) == !read && !assign_one(&r->rm, f->rm_use, &sources, &targets))
                        return false;
        }
        return true;
}

bool gen_native_supported(const struct dbt_insn *i, const uint8_t *bytes)
{
        const struct native_stub *s = i->native;
        struct fields r;

        split(&s->form, bytes, &r);
        return assign(&s->form, i->flags & DBT_INSN_MEM, &r);
}

static void load_one(struct gen *g, unsigned guest, unsigned host, unsigned use)
{
        if (use & NATIVE_READ)
                gen_source(g, guest, host);
}

static void load_registers(struct gen *g, const struct native_form *f, const struct fields *guest, const struct fields *host)
{
        load_one(g, guest->reg, host->reg, f->reg_use);
        load_one(g, guest->vvvv, host->vvvv, f->vvvv_use);
        load_one(g, guest->rm, host->rm, f->rm_use);
        if (f->reads_rax)
                tr_mov(g->e, TR_RAX, HOME_RAX);
}

/* mulx: of two equal registers the one in ModRM wins. */
static void store_registers(struct gen *g, const struct native_form *f, const struct fields *guest, const struct fields *host)
{
        if (f->vvvv_use & NATIVE_WRITE)
                gen_write_back(g, guest->vvvv, host->vvvv);
        if (f->rm_use & NATIVE_WRITE)
                gen_write_back(g, guest->rm, host->rm);
        if (f->reg_use & NATIVE_WRITE)
                gen_write_back(g, guest->reg, host->reg);
        if (f->writes_rcx)
                tr_mov(g->e, HOME_RCX, TR_RCX);
        if (f->writes_rax)
                tr_mov(g->e, HOME_RAX, TR_RAX);
}

/* --- The copy -------------------------------------------------------------------------------------------------------------- */

/* x, b: what the memory operand or rm needs REX.X and REX.B for. */
static void put_legacy(struct gen *g, const struct native_form *f, const struct fields *r, unsigned x, unsigned b)
{
        unsigned rex = (f->rex & 8) | (r->reg >= 8 ? 4 : 0) | (x >= 8 ? 2 : 0) | (b >= 8 ? 1 : 0);

        if (f->op16)
                tr_put(g->e, 0x66);
        if (f->rep)
                tr_put(g->e, f->rep);
        if (rex || f->byte)
                tr_put(g->e, 0x40 | rex);
}

/* Returns where the opcode is. */
static unsigned put_vex(struct gen *g, const struct native_form *f, const struct fields *r, unsigned x, unsigned b)
{
        unsigned last = (f->w ? VEX_W : 0) | (~r->vvvv & 15) << 3 | (r->vex[1] & 7);
        unsigned first = (r->reg >= 8 ? 0 : VEX_NO_R) | (x >= 8 ? 0 : VEX_NO_X) | (b >= 8 ? 0 : VEX_NO_B) | (r->vex[0] & 0x1f);

        if ((first & ~VEX_NO_R) == (VEX_NO_X | VEX_NO_B | 1) && !(last & VEX_W)) {
                tr_put(g->e, 0xc5);
                tr_put(g->e, (first & VEX_NO_R) | last);
        } else {
                tr_put(g->e, VEX3);
                tr_put(g->e, first);
                tr_put(g->e, last);
        }
        return f->opcode + (g->bytes[f->opcode] == VEX3 ? 3 : 2);
}

static void copy(struct gen *g, const struct dbt_insn *i, const struct native_form *f, const struct fields *r, const struct tr_mem *m)
{
        unsigned x = m && m->index != TR_NO_HOME ? m->index : 0, b = !m ? r->rm : m->base != TR_NO_HOME ? m->base : 0;
        unsigned at = f->opcode, end = f->modrm ? f->modrm : i->length - f->n_imm;

        if (f->vex)
                at = put_vex(g, f, r, x, b);
        else
                put_legacy(g, f, r, x, b);
        while (at < end)
                tr_put(g->e, g->bytes[at++]);
        if (m)
                tr_operand(g->e, r->reg, m);
        else if (f->modrm)
                tr_put(g->e, 0xc0 | (r->reg & 7) << 3 | (r->rm & 7));
        for (at = i->length - f->n_imm; at < i->length; at++)
                tr_put(g->e, g->bytes[at]);
}

/* --- The vector state ------------------------------------------------------------------------------------------------------ */

/* Sets NZ unless it is live and SSE instructions are not trapped. */
static void compare_live(struct gen *g)
{
        static const struct tr_op cmp = { .opcode = 0x83, .op16 = true };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, fpu_live));

        _Static_assert(offsetof(struct dbt_vcpu, fpu_trap) == offsetof(struct dbt_vcpu, fpu_live) + 1, "compared at once");
        tr_op_mem(g->e, &cmp, 7, &m);
        tr_put(g->e, 1);
}

/* Sets NZ if AVX instructions are trapped. */
static void compare_avx(struct gen *g)
{
        static const struct tr_op cmp = { .opcode = 0x80 };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, avx_trap));

        tr_op_mem(g->e, &cmp, 7, &m);
        tr_put(g->e, 0);
}

/* The instruction's handler does the checks and loads the state. */
static void check_fpu(struct gen *g, enum gen_fpu state)
{
        if (g->fpu >= state)
                return;
        gen_scratch_settle(g, 1u << TR_RAX | 1u << TR_RCX);
        g->in_place = false; /* there is a way out */
        gen_flags_clobber(g);
        if (g->fpu < GEN_FPU_LIVE) {
                compare_live(g);
                gen_add_out(g, tr_jcc(g->e, TR_CC_NE));
        }
        if (state == GEN_FPU_AVX) {
                compare_avx(g);
                gen_add_out(g, tr_jcc(g->e, TR_CC_NE));
        }
        g->fpu = (uint8_t)state;
}

bool gen_native_keeps_scratch(const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;

        return gen_native_keeps_rcx(i) && !s->form.writes_rax;
}

bool gen_native_keeps_rcx(const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        const struct native_form *f = &s->form;

        return !f->reg_use && !f->vvvv_use && !f->rm_use && !f->reads_rax && !f->writes_rcx && s->class != NATIVE_X87;
}

void gen_add_fault(struct gen *g)
{
        g->outs[g->n_outs++] = (struct gen_out){ .fault = tr_here(g->e), .store = g->dirty && g->live, .k = (uint8_t)g->k, .apart = g->apart,
                .how = TR_MISSES, .kept = (uint8_t)(gen_mirrored(g) ? gen_scratch_kept(g) : 0) };
}

void gen_access(struct gen *g)
{
        if (g->in_place)
                gen_add_fault(g);
}

void gen_native(struct gen *g, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        const struct native_form *f = &s->form;
        bool mem = i->flags & DBT_INSN_MEM;
        struct fields guest, host;
        struct tr_mem m;

        split(f, g->bytes, &guest);
        host = guest;
        assign(f, mem, &host);
        if (s->class != NATIVE_GPR)
                check_fpu(g, s->class == NATIVE_AVX ? GEN_FPU_AVX : GEN_FPU_LIVE);
        if (g->in_place) /* while RAX is free */
                gen_flags_need(g);
        if (mem)
                m = gen_operand(g, i, s->mem_size, s->access & NATIVE_WRITE);
        gen_flags_need(g);
        load_registers(g, f, &guest, &host);
        if (mem)
                gen_access(g);
        if (f->may_fault)
                gen_add_fault(g);
        copy(g, i, f, &host, mem ? &m : NULL);
        store_registers(g, f, &guest, &host);
        if (s->class == NATIVE_X87)
                gen_x87_ran(g, i);
        if (f->flags_touched)
                gen_flags_changed(g);
}
