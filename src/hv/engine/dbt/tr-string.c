/* SPDX-License-Identifier: GPL-2.0-or-later */

/* movs, stos and lods going up. Repeated ones are done by C if all of it lies in one page of source and destination each, in mirrored code by the host's CPU if they are not too long; their
 * handler does the others. */

#include "hv/engine/dbt/exec.h"
#include "hv/engine/dbt/tr-gen.h"

/* --- Called by translated code ------------------------------------------------------------------------------------------- */

/* Flag beside the element's size: indices and count have 32 bits. */
#define OFFSETS_32 0x100
/* Up to this size a loop is faster than starting the host's own repetition. */
#define SHORT 128u
/* Elements after which nothing has been asked in mirrored code. */
#define MIRRORED_MAX 65536u

static uint8_t *in_page(struct dbt_vcpu *v, uint64_t lin, uint64_t n, bool write)
{
        const struct dbt_tlb_entry *e = &v->tlb_now[dbt_tlb_index(lin)];

        if ((lin ^ (write ? e->match_write : e->match_read)) > DBT_PAGE_SIZE - n)
                return NULL;
        return (uint8_t *)(uintptr_t)(lin + e->addend);
}

static void put_at(uint8_t *to, uint64_t value)
{
        *(volatile dbt_guest64 *)to = value;
}

static uint64_t get_at(const uint8_t *from)
{
        return *(const volatile dbt_guest64 *)from;
}

static void copy_short(uint8_t *to, const uint8_t *from, uint64_t n)
{
        uint64_t k = 0;

        for (; k + 8 <= n; k += 8)
                put_at(to + k, get_at(from + k));
        for (; k < n; k++)
                to[k] = from[k];
}

static bool rep_movs(struct dbt_vcpu *v, uint64_t dst, uint64_t src, uint64_t count, uint64_t size)
{
        const uint8_t *from;
        uint64_t n;
        uint8_t *to;

        if (size & OFFSETS_32) {
                dst = (uint32_t)dst;
                src = (uint32_t)src;
                count = (uint32_t)count;
        }
        n = count * (size & 15);
        if (count > DBT_PAGE_SIZE || n > DBT_PAGE_SIZE || (v->rflags & X86_FLAG_DF))
                return false;
        from = in_page(v, src, n, false);
        to = in_page(v, dst, n, true);
        if (!from || !to || (uint64_t)(to - from) < n) /* what overlaps depends on the element's size */
                return !count;
        if (n <= SHORT)
                copy_short(to, from, n);
        else
                __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        return true;
}

static void fill_short(uint8_t *to, uint64_t pattern, uint64_t n)
{
        uint64_t k = 0;

        for (; k + 8 <= n; k += 8)
                put_at(to + k, pattern);
        for (; k < n; k++, pattern >>= 8)
                to[k] = (uint8_t)pattern;
}

static uint64_t repeated(uint64_t value, uint64_t size)
{
        switch (size) {
        case 1:
                return (uint8_t)value * 0x0101010101010101ULL;
        case 2:
                return (uint16_t)value * 0x0001000100010001ULL;
        case 4:
                return (uint32_t)value * 0x0000000100000001ULL;
        default:
                return value;
        }
}

static bool rep_stos(struct dbt_vcpu *v, uint64_t dst, uint64_t value, uint64_t count, uint64_t size)
{
        uint64_t n, pattern = repeated(value, size & 15), eights;
        uint8_t *to;

        if (size & OFFSETS_32) {
                dst = (uint32_t)dst;
                count = (uint32_t)count;
        }
        n = count * (size & 15);
        eights = n / 8;
        if (count > DBT_PAGE_SIZE || n > DBT_PAGE_SIZE || (v->rflags & X86_FLAG_DF))
                return false;
        to = in_page(v, dst, n, true);
        if (!to)
                return !count;
        if (n > SHORT) {
                __asm__ volatile("rep stosq" : "+D"(to), "+c"(eights) : "a"(pattern) : "memory");
                n %= 8;
        }
        fill_short(to, pattern, n);
        return true;
}

/* --- Generator ----------------------------------------------------------------------------------------------------------------- */

static bool has_source(const struct tr_insn *t)
{
        return t->op.opcode != 0xaa && t->op.opcode != 0xab;
}

static bool has_destination(const struct tr_insn *t)
{
        return t->op.opcode < 0xac;
}

static struct tr_op move(const struct tr_insn *t, unsigned opcode)
{
        return (struct tr_op){ .opcode = (uint8_t)(t->size == 1 ? opcode - 1 : opcode), .w = t->size == 8, .op16 = t->size == 2,
                               .byte = t->size == 1 };
}

static void advance(struct gen *g, unsigned reg, unsigned size)
{
        struct tr_mem m = gen_at(reg, (int32_t)size);

        gen_lea(g, reg, &m);
}

static struct tr_mem at_index(struct gen *g, unsigned reg, unsigned size, bool write)
{
        const uint8_t *retry = tr_here(g->e);
        struct tr_mem a = gen_at(reg, 0);

        if (gen_mirrored(g)) {
                gen_add_fault(g);
                return a;
        }
        gen_lea(g, TR_RAX, &a);
        return gen_checked(g, retry, size, write);
}

static void load(struct gen *g, const struct tr_insn *t)
{
        struct tr_mem m = at_index(g, TR_RSI, t->size, false);
        struct tr_op op = move(t, 0x8b);

        tr_op_mem(g->e, &op, has_destination(t) ? TR_RAX : HOME_RAX, &m);
        if (has_destination(t))
                gen_store_field(g, offsetof(struct dbt_vcpu, tr_target), TR_RAX);
}

static void store(struct gen *g, const struct tr_insn *t)
{
        struct tr_mem m = at_index(g, TR_RDI, t->size, true);
        struct tr_op op = move(t, 0x89);

        if (has_source(t))
                gen_load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        tr_op_mem(g->e, &op, has_source(t) ? TR_RAX : HOME_RAX, &m);
}

static void check_up(struct gen *g)
{
        static const struct tr_op test = { .opcode = 0xf7 };
        struct tr_mem rflags = tr_field(offsetof(struct dbt_vcpu, rflags));

        tr_op_mem(g->e, &test, 0, &rflags);
        tr_put32(g->e, X86_FLAG_DF);
        gen_add_out(g, tr_jcc(g->e, TR_CC_NE));
}

void gen_string(struct gen *g, const struct tr_insn *t)
{
        gen_flags_clobber(g);
        check_up(g);
        if (has_source(t))
                load(g, t);
        if (has_destination(t))
                store(g, t);
        if (has_source(t))
                advance(g, TR_RSI, t->size);
        if (has_destination(t))
                advance(g, TR_RDI, t->size);
}

/* add reg, RCX * size */
static void advance_all(struct gen *g, unsigned reg, unsigned size)
{
        struct tr_mem m = { .base = (uint8_t)reg, .index = HOME_RCX, .scale = (uint8_t)__builtin_ctz(size) };

        gen_lea(g, reg, &m);
}

/* If it faults, the registers tell what has been done. */
static void rep_mirrored(struct gen *g, const struct tr_insn *t)
{
        static const struct tr_op cmp = { .opcode = 0x81, .w = true };

        check_up(g);
        tr_op_reg(g->e, &cmp, 7, HOME_RCX);
        tr_put32(g->e, MIRRORED_MAX);
        gen_add_out(g, tr_jcc(g->e, TR_CC_A));
        tr_mov(g->e, TR_RCX, HOME_RCX);
        if (!has_source(t))
                tr_mov(g->e, TR_RAX, HOME_RAX);
        gen_add_fault(g);
        g->outs[g->n_outs - 1].count = true;
        tr_put(g->e, 0xf3);
        if (t->size == 2)
                tr_put(g->e, 0x66);
        if (t->size == 8)
                tr_put(g->e, 0x48);
        tr_put(g->e, (has_source(t) ? 0xa4u : 0xaau) | (t->size > 1));
        tr_mov(g->e, HOME_RCX, TR_RCX);
}

void gen_rep_string(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        static const struct tr_op xor = { .opcode = 0x31 };

        gen_flags_clobber(g);
        if (gen_mirrored(g)) {
                rep_mirrored(g, t);
                gen_exit_to(g, g->offset + i->length);
                return;
        }
        tr_mov_imm(g->e, TR_RAX, t->size | (gen_64(g) ? 0 : OFFSETS_32));
        tr_call(g->e, has_source(t) ? g->v->translator->rep_movs : g->v->translator->rep_stos);
        gen_add_out(g, tr_jcc(g->e, TR_CC_E));
        if (has_source(t))
                advance_all(g, TR_RSI, t->size);
        advance_all(g, TR_RDI, t->size);
        tr_op_reg(g->e, &xor, HOME_RCX, HOME_RCX);
        gen_exit_to(g, g->offset + i->length);
}

/* --- Common routines -------------------------------------------------------------------------------------------------------------- */

/* In: EAX the size. Calls fn(v, RDI, source, RCX, size). Out: Z if it returned false. Only what C may change is saved. */
static void emit_rep(struct tr_emit *e, bool (*fn)(struct dbt_vcpu *, uint64_t, uint64_t, uint64_t, uint64_t), unsigned source)
{
        struct tr_mem self = tr_field(offsetof(struct dbt_vcpu, self));

        tr_save(e, TR_VOLATILE);
        tr_c_begin(e);
        tr_mov(e, TR_RDX, source);
        tr_mov(e, TR_RSI, TR_RDI);
        tr_load(e, TR_RDI, &self);
        tr_mov(e, TR_RCX, HOME_RCX);
        tr_mov(e, 8, TR_RAX);
        tr_mov_imm(e, TR_RAX, (uintptr_t)fn);
        tr_put(e, 0xff); /* call rax */
        tr_put(e, 0xd0);
        tr_put(e, 0x84); /* test al, al */
        tr_put(e, 0xc0);
        tr_restore(e, TR_VOLATILE);
        tr_c_end(e);
        tr_put(e, 0xc3);
}

void tr_emit_string_routines(struct dbt_tr *t, struct tr_emit *e)
{
        t->rep_movs = tr_here(e);
        emit_rep(e, rep_movs, TR_RSI);
        t->rep_stos = tr_here(e);
        emit_rep(e, rep_stos, HOME_RAX);
}
