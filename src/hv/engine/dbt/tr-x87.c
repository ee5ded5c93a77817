/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The pointers to the last x87 instruction and its operand (Intel SDM vol. 1, 8.1.8). The data pointer is stored at once, as the registers that it was
 * computed from may change; the others only where somebody may look: before a handler and at the block's end. */

#include "hv/engine/dbt/native.h"
#include "hv/engine/dbt/tr-gen.h"

static void store_imm(struct gen *g, size_t offset, uint32_t value)
{
        static const struct tr_op op = { .opcode = 0xc7 };
        struct tr_mem m = tr_field(offset);

        tr_op_mem(g->e, &op, 0, &m);
        tr_put32(g->e, value);
}

static void store_selector(struct gen *g, size_t offset, unsigned seg)
{
        static const struct tr_op movzx = { .opcode = 0xb7, .map0f = true }, store = { .opcode = 0x89 };
        struct tr_mem from = tr_field(offsetof(struct dbt_vcpu, seg) + seg * sizeof(struct x86_segment) + offsetof(struct x86_segment, selector));
        struct tr_mem to = tr_field(offset);

        tr_op_mem(g->e, &movzx, TR_RAX, &from);
        tr_op_mem(g->e, &store, TR_RAX, &to);
}

static void store_insn(struct gen *g, const struct gen_insn *n)
{
        struct tr_mem rip = gen_at(TR_RAX, n->offset);

        gen_load_page(g, TR_RAX);
        tr_lea(g->e, TR_RAX, &rip);
        gen_store_field(g, offsetof(struct dbt_vcpu, x87.fip), TR_RAX);
        store_imm(g, offsetof(struct dbt_vcpu, x87.fop), ((const struct native_stub *)n->i->native)->fop & 0x7ff);
        store_selector(g, offsetof(struct dbt_vcpu, x87.fcs), X86_CS);
}

void gen_x87_store(struct gen *g, const struct gen_x87 *x)
{
        if (x->insn)
                store_insn(g, &g->insns[x->k]);
        if (x->data)
                store_selector(g, offsetof(struct dbt_vcpu, x87.fds), x->seg);
}

void gen_x87_flush(struct gen *g)
{
        gen_x87_store(g, &g->x87);
        g->x87.insn = g->x87.data = false;
}

void gen_x87_ran(struct gen *g, const struct dbt_insn *i)
{
        const struct tr_op lea = { .opcode = 0x8d, .w = i->mem.addr_size == 8 };
        const struct native_stub *s = i->native;
        struct tr_mem a;

        if (!s->tracks)
                return;
        g->x87.insn = true;
        g->x87.k = (uint8_t)g->k;
        if (!s->mem_size)
                return;
        a = gen_offset_of(g, &i->mem);
        tr_op_mem(g->e, &lea, TR_RAX, &a);
        gen_store_field(g, offsetof(struct dbt_vcpu, x87.fdp), TR_RAX);
        g->x87.data = true;
        g->x87.seg = i->mem.seg;
}
