/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Encoding of host instructions (Intel SDM vol. 2, chapter 2). */

#include "hv/engine/dbt/tr.h"

void tr_put(struct tr_emit *e, unsigned byte)
{
        if (e->p < e->end)
                *e->p++ = (uint8_t)byte;
        else
                e->overflow = true;
}

void tr_put32(struct tr_emit *e, uint32_t value)
{
        for (unsigned k = 0; k < 4; k++)
                tr_put(e, value >> 8 * k & 0xff);
}

void tr_put64(struct tr_emit *e, uint64_t value)
{
        tr_put32(e, (uint32_t)value);
        tr_put32(e, (uint32_t)(value >> 32));
}

const uint8_t *tr_here(const struct tr_emit *e)
{
        return e->p + e->to_exec;
}

/* Prefixes and opcode. r, x, b: registers that need the REX bit of that name if they are 8 or above. */
static void head(struct tr_emit *e, const struct tr_op *op, unsigned r, unsigned x, unsigned b)
{
        unsigned rex = (op->w ? 8 : 0) | (r >= 8 ? 4 : 0) | (x >= 8 ? 2 : 0) | (b >= 8 ? 1 : 0);

        if (op->lock)
                tr_put(e, 0xf0);
        if (op->op16)
                tr_put(e, 0x66);
        if (op->rep)
                tr_put(e, op->rep);
        if (rex || op->byte)
                tr_put(e, 0x40 | rex);
        if (op->map0f)
                tr_put(e, 0x0f);
        tr_put(e, op->opcode);
}

void tr_op_reg(struct tr_emit *e, const struct tr_op *op, unsigned reg, unsigned rm)
{
        head(e, op, reg, 0, rm);
        tr_put(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static int32_t displacement(const struct tr_emit *e, const struct tr_mem *m)
{
        return m->disp + (m->vcpu ? e->vcpu : 0);
}

static void put_absolute(struct tr_emit *e, unsigned reg, const struct tr_mem *m)
{
        tr_put(e, (reg & 7) << 3 | 4);
        tr_put(e, m->index == TR_NO_HOME ? 0x25 : m->scale << 6 | (m->index & 7) << 3 | 5);
        tr_put32(e, (uint32_t)displacement(e, m));
}

static void put_based(struct tr_emit *e, unsigned reg, const struct tr_mem *m)
{
        int32_t disp = displacement(e, m);
        bool sib = m->index != TR_NO_HOME || (m->base & 7) == 4, none = !disp && (m->base & 7) != 5;
        bool small = disp >= -128 && disp <= 127;

        tr_put(e, (none ? 0 : small ? 0x40 : 0x80) | (reg & 7) << 3 | (sib ? 4 : m->base & 7));
        if (sib)
                tr_put(e, m->scale << 6 | (m->index == TR_NO_HOME ? 4u : m->index & 7u) << 3 | (m->base & 7));
        if (!none && small)
                tr_put(e, disp & 0xff);
        else if (!none)
                tr_put32(e, (uint32_t)disp);
}

void tr_operand(struct tr_emit *e, unsigned reg, const struct tr_mem *m)
{
        if (m->base == TR_NO_HOME)
                put_absolute(e, reg, m);
        else
                put_based(e, reg, m);
}

/* A field of the vCPU, relative to RIP: a byte less. Not where the code lies too far away from it. */
static bool put_near(struct tr_emit *e, const struct tr_op *op, unsigned reg, const struct tr_mem *m)
{
        int64_t distance;

        if (!m->vcpu || m->base != TR_NO_HOME || m->index != TR_NO_HOME || !op->ends)
                return false;
        distance = displacement(e, m) - (int64_t)(uintptr_t)(tr_here(e) + 5 + op->ends - 1);
        if (distance != (int32_t)distance)
                return false;
        tr_put(e, (reg & 7) << 3 | 5);
        tr_put32(e, (uint32_t)distance);
        return true;
}

void tr_op_mem(struct tr_emit *e, const struct tr_op *op, unsigned reg, const struct tr_mem *m)
{
        head(e, op, reg, m->index == TR_NO_HOME ? 0 : m->index, m->base == TR_NO_HOME ? 0 : m->base);
        if (!put_near(e, op, reg, m))
                tr_operand(e, reg, m);
}

void tr_op_rip(struct tr_emit *e, const struct tr_op *op, unsigned reg, const void *target)
{
        head(e, op, reg, 0, 0);
        tr_put(e, (reg & 7) << 3 | 5);
        tr_put32(e, (uint32_t)((const uint8_t *)target - (tr_here(e) + 4)));
}

struct tr_mem tr_field(size_t offset)
{
        return (struct tr_mem){ .base = TR_NO_HOME, .index = TR_NO_HOME, .vcpu = true, .disp = (int32_t)offset };
}

static const struct tr_op op_store = { .opcode = 0x89, .w = true, .ends = 1 }, op_load = { .opcode = 0x8b, .w = true, .ends = 1 },
                          op_lea = { .opcode = 0x8d, .w = true, .ends = 1 };

void tr_mov(struct tr_emit *e, unsigned dst, unsigned src)
{
        tr_op_reg(e, &op_store, src, dst);
}

void tr_load(struct tr_emit *e, unsigned dst, const struct tr_mem *m)
{
        tr_op_mem(e, &op_load, dst, m);
}

void tr_store(struct tr_emit *e, const struct tr_mem *m, unsigned src)
{
        tr_op_mem(e, &op_store, src, m);
}

void tr_lea(struct tr_emit *e, unsigned dst, const struct tr_mem *m)
{
        tr_op_mem(e, &op_lea, dst, m);
}

void tr_mov_imm(struct tr_emit *e, unsigned dst, uint64_t value)
{
        bool wide = value > UINT32_MAX;

        if (wide || dst >= 8)
                tr_put(e, 0x40 | (wide ? 8 : 0) | (dst >= 8 ? 1 : 0));
        tr_put(e, 0xb8 | (dst & 7));
        if (wide)
                tr_put64(e, value);
        else
                tr_put32(e, (uint32_t)value);
}

static void relative(struct tr_emit *e, const void *target)
{
        tr_put32(e, (uint32_t)((const uint8_t *)target - (tr_here(e) + 4)));
}

void tr_jmp(struct tr_emit *e, const void *target)
{
        tr_put(e, TR_OPCODE_JMP);
        relative(e, target);
}

void tr_call(struct tr_emit *e, const void *target)
{
        tr_put(e, TR_OPCODE_CALL);
        relative(e, target);
}

void tr_jcc_to(struct tr_emit *e, unsigned cond, const void *target)
{
        tr_put(e, 0x0f);
        tr_put(e, 0x80 | cond);
        relative(e, target);
}

uint8_t *tr_jcc(struct tr_emit *e, unsigned cond)
{
        if (cond == TR_ALWAYS) {
                tr_put(e, TR_OPCODE_JMP);
        } else {
                tr_put(e, 0x0f);
                tr_put(e, 0x80 | cond);
        }
        tr_put32(e, 0);
        return e->p - 4;
}

void tr_put_bytes(struct tr_emit *e, const uint8_t *bytes, unsigned n)
{
        while (n-- > 0)
                tr_put(e, *bytes++);
}

void tr_with_field(struct tr_emit *e, unsigned opcode, bool w, unsigned reg, size_t offset)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = w, .ends = 1 };
        struct tr_mem m = tr_field(offset);

        tr_op_mem(e, &op, reg, &m);
}

uint8_t *tr_call_later(struct tr_emit *e)
{
        tr_put(e, TR_OPCODE_CALL);
        tr_put32(e, 0);
        return e->p - 4;
}

void tr_set_jump(struct tr_emit *e, uint8_t *jump)
{
        uint32_t distance = (uint32_t)(e->p - (jump + 4));

        if (e->overflow)
                return;
        for (unsigned k = 0; k < 4; k++)
                jump[k] = (uint8_t)(distance >> 8 * k);
}
