/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Encodes instructions ("Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2, chapter 2). */

#include <string.h>

#include "random-user.h"

struct encoder {
        struct gen *g;
        uint8_t b[24];
        unsigned n, fix; /* fix: place of a displacement relative to the end, 0: none */
};

static void put(struct encoder *e, unsigned byte)
{
        e->b[e->n++] = (uint8_t)byte;
}

static void put_n(struct encoder *e, uint64_t value, unsigned bytes)
{
        memcpy(e->b + e->n, &value, bytes);
        e->n += bytes;
}

/* An instruction with all that is noted of one. */
static void finish(struct encoder *e)
{
        struct gen *g = e->g;

        if (e->fix) {
                int32_t disp;

                memcpy(&disp, e->b + e->fix, 4);
                disp -= (int32_t)(g->at + e->n);
                memcpy(e->b + e->fix, &disp, 4);
        }
        memcpy(g->p->code + g->at, e->b, e->n);
        g->p->length[g->at] = (uint8_t)e->n;
        g->at += e->n;
        g->left--;
        g->p->cost += g->times;
        g->p->n_insns++;
}

static void put_modrm(struct encoder *e, unsigned reg, const struct op *o)
{
        const struct mem *m = o->m;
        struct rng *r = &e->g->r;
        unsigned mod;

        reg = (reg & 7) << 3;
        if (!m) {
                put(e, 0xc0 | reg | (o->rm & 7));
        } else if (m->base == RIP) {
                put(e, reg | 5);
                e->fix = e->n;
                put_n(e, (uint32_t)m->disp, 4);
        } else if (m->base == NONE) {
                put(e, reg | 4);
                put(e, m->index == NONE ? 0x25 : (m->scale << 6 | (m->index & 7) << 3 | 5));
                put_n(e, (uint32_t)m->disp, 4);
        } else {
                mod = m->disp == 0 && (m->base & 7) != RBP && !rng_percent(r, 10) ? 0 : m->disp == (int8_t)m->disp && !rng_percent(r, 5) ? 1 : 2;
                if (m->index != NONE || (m->base & 7) == RSP || rng_percent(r, 3)) {
                        put(e, mod << 6 | reg | 4);
                        put(e, m->scale << 6 | (m->index == NONE ? 4 : m->index & 7) << 3 | (m->base & 7));
                } else {
                        put(e, mod << 6 | reg | (m->base & 7));
                }
                put_n(e, (uint32_t)m->disp, mod == 2 ? 4 : mod);
        }
}

/* Bits of REX: 4: R, 2: X, 1: B. */
static unsigned high_bits(const struct op *o)
{
        unsigned bits = o->i->digit < 0 && (o->reg & 8) && !(o->reg & HIGH_BYTE) ? 4 : 0;

        if (!o->m)
                return bits | ((o->rm & 8) && !(o->rm & HIGH_BYTE) ? 1 : 0);
        if (o->m->index != NONE && (o->m->index & 8))
                bits |= 2;
        if (o->m->base < RIP && (o->m->base & 8))
                bits |= 1;
        return bits;
}

static void put_rex(struct encoder *e, const struct op *o)
{
        const struct insn *i = o->i;
        unsigned rex = high_bits(o) | (o->size == 3 ? 8 : 0);
        bool reg8 = o->size == 0 && i->digit < 0 && !(i->how & (VEC_REG | NO_MODRM)), rm8 = !o->m && (o->size == 0 || (i->how & BYTE_RM));
        bool high = (reg8 && (o->reg & HIGH_BYTE)) || (rm8 && (o->rm & HIGH_BYTE));
        bool low = (reg8 && o->reg >= RSP && o->reg < R8) || (rm8 && o->rm >= RSP && o->rm < R8);

        if (rex || low || (!high && rng_percent(&e->g->r, 3)))
                put(e, 0x40 | rex);
}

static void put_vex(struct encoder *e, const struct op *o)
{
        unsigned pp = o->i->prefix == 0x66 ? 1 : o->i->prefix == 0xf3 ? 2 : o->i->prefix == 0xf2 ? 3 : 0;
        unsigned bits = high_bits(o), last = (~o->vvvv & 15) << 3 | o->l256 << 2 | pp;

        if (o->i->map == 1 && o->size != 3 && !(bits & 3) && !rng_percent(&e->g->r, 20)) {
                put(e, 0xc5);
                put(e, (bits & 4 ? 0 : 0x80) | last);
                return;
        }
        put(e, 0xc4);
        put(e, (~bits & 7) << 5 | o->i->map);
        put(e, (o->size == 3) << 7 | last);
}

static void put_legacy(struct encoder *e, const struct op *o)
{
        if (o->size == 1 && !(o->i->how & (VEC_REG | VEC_RM)))
                put(e, 0x66);
        if (o->i->prefix)
                put(e, o->i->prefix);
        if (o->lock)
                put(e, 0xf0);
        put_rex(e, o);
        if (o->i->map)
                put(e, 0x0f);
        if (o->i->map > 1)
                put(e, o->i->map == 2 ? 0x38 : 0x3a);
}

void emit(struct gen *g, const struct op *o)
{
        struct encoder e = { .g = g };
        const struct insn *i = o->i;

        if (o->m && o->m->segment)
                put(&e, o->m->segment);
        else if (o->m && rng_percent(&g->r, 1))
                put(&e, 0x2e);
        if (o->m && o->m->a32)
                put(&e, 0x67);
        if (o->vex)
                put_vex(&e, o);
        else
                put_legacy(&e, o);
        put(&e, (i->op | ((i->how & BYTE_BIT) && o->size ? 1 : 0)) + o->plus);
        if (!(i->how & NO_MODRM))
                put_modrm(&e, i->digit < 0 ? o->reg : (unsigned)i->digit, o);
        put_n(&e, o->imm, o->imm_size);
        finish(&e);
}

void emit_bytes(struct gen *g, const void *bytes, unsigned n)
{
        struct encoder e = { .g = g };

        memcpy(e.b, bytes, n);
        e.n = n;
        finish(&e);
}

uint32_t emit_jump(struct gen *g, uint8_t op, bool near)
{
        uint8_t jcc[6] = { 0x0f, (uint8_t)(op + 0x10) }, jmp[5] = { op == 0xe8 ? op : 0xe9 };

        if (near && (op & 0xf0) == 0x70)
                emit_bytes(g, jcc, 6);
        else if (near)
                emit_bytes(g, jmp, 5);
        else
                emit_bytes(g, (uint8_t[2]){ op }, 2);
        return g->at;
}

bool jump_reaches(const struct gen *g, uint32_t jump, bool near)
{
        return near || g->at - jump < 128;
}

void jump_to(struct gen *g, uint32_t jump, bool near, uint32_t target)
{
        int32_t distance = (int32_t)(target - jump);

        memcpy(g->p->code + jump - (near ? 4 : 1), &distance, near ? 4 : 1);
}

void jump_here(struct gen *g, uint32_t jump, bool near)
{
        jump_to(g, jump, near, g->at);
}
