/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What reads or changes more of the vCPU than registers and arithmetic flags. */

#include "hv/engine/dbt/exec.h"
#include "hv/engine/dbt/tr-gen.h"

/* op dword [field], imm32 */
static void field_imm(struct gen *g, unsigned ext, size_t offset, uint32_t imm)
{
        static const struct tr_op op = { .opcode = 0x81, .ends = 5 };
        struct tr_mem m = tr_field(offset);

        tr_op_mem(g->e, &op, ext, &m);
        tr_put32(g->e, imm);
}

/* To RCX: RFLAGS as pushed, from v->tr_flags and v->rflags. */
static void whole_flags(struct gen *g)
{
        static const struct tr_op op_load = { .opcode = 0x8b }, op_movzx = { .opcode = 0xb6, .map0f = true }, op_and = { .opcode = 0x81 },
                                  op_shl = { .opcode = 0xc1 }, op_or = { .opcode = 0x09 };
        struct tr_mem arith = tr_field(offsetof(struct dbt_vcpu, tr_flags)), others = tr_field(offsetof(struct dbt_vcpu, rflags));

        tr_op_mem(g->e, &op_load, TR_RAX, &arith);
        tr_op_reg(g->e, &op_movzx, TR_RCX, TR_RAX + 4); /* ah */
        tr_op_reg(g->e, &op_and, 4, TR_RAX);
        tr_put32(g->e, 1);
        tr_op_reg(g->e, &op_shl, 4, TR_RAX);
        tr_put(g->e, 11); /* to OF */
        tr_op_reg(g->e, &op_or, TR_RAX, TR_RCX);
        tr_op_mem(g->e, &op_load, TR_RAX, &others);
        tr_op_reg(g->e, &op_and, 4, TR_RAX);
        tr_put32(g->e, (uint32_t) ~(DBT_FLAGS_ARITH | X86_FLAG_RF | X86_FLAG_VM));
        tr_op_reg(g->e, &op_or, TR_RAX, TR_RCX);
}

void gen_pushf(struct gen *g)
{
        gen_flags_clobber(g);
        whole_flags(g);
        gen_store_field(g, offsetof(struct dbt_vcpu, tr_target), TR_RCX);
        gen_push_target(g);
}

/* lahf, sahf */
void gen_lahf(struct gen *g, const struct tr_insn *t)
{
        gen_flags_need(g);
        tr_mov(g->e, TR_RAX, HOME_RAX);
        tr_put(g->e, t->kind == TR_LAHF ? 0x9f : 0x9e);
        if (t->kind == TR_LAHF)
                tr_mov(g->e, HOME_RAX, TR_RAX);
        else
                gen_flags_changed(g);
}

void gen_flag_bit(struct gen *g, const struct tr_insn *t)
{
        uint32_t bit = t->kind == TR_CLI ? X86_FLAG_IF : X86_FLAG_DF;

        gen_flags_clobber(g);
        field_imm(g, t->kind == TR_STD ? 1 : 4, offsetof(struct dbt_vcpu, rflags), t->kind == TR_STD ? bit : ~bit); /* or, and */
}

/* Behind an sti that sets IF no interrupt is taken before the next instruction is done: should translated code be left just there, dbt_tr_run sees it. One that
 * has been waiting is the handler's. */
void gen_sti(struct gen *g, const struct dbt_insn *i)
{
        static const struct tr_op cmp = { .opcode = 0x80 }, bts = { .opcode = 0xba, .map0f = true };
        struct tr_mem waiting = tr_field(offsetof(struct dbt_vcpu, intr_waiting)), rflags = tr_field(offsetof(struct dbt_vcpu, rflags));
        struct tr_mem next = gen_at(TR_RAX, (int32_t)(g->offset + i->length));
        uint8_t *was_set;

        gen_flags_clobber(g);
        tr_op_mem(g->e, &cmp, 7, &waiting);
        tr_put(g->e, 0);
        gen_add_out(g, tr_jcc(g->e, TR_CC_NE));
        tr_op_mem(g->e, &bts, 5, &rflags);
        tr_put(g->e, 9); /* IF */
        was_set = tr_jcc(g->e, TR_CC_B);
        gen_load_page(g, TR_RAX);
        tr_lea(g->e, TR_RAX, &next);
        gen_store_field(g, offsetof(struct dbt_vcpu, tr_shadow), TR_RAX);
        tr_set_jump(g->e, was_set);
}

/* mov qword [field], address */
static void store_address(struct gen *g, size_t offset, const void *address)
{
        tr_mov_imm(g->e, TR_RAX, (uintptr_t)address);
        gen_store_field(g, offset, TR_RAX);
}

/* Inline what the handlers do: the view, and with it the mode of the next block, changes. Which mode that is does not depend on more than this block's. */
void gen_set_ac(struct gen *g, const struct tr_insn *t)
{
        static const struct tr_op test = { .opcode = 0xf7 }, mov_byte = { .opcode = 0xc6 }, mov = { .opcode = 0xc7 };
        struct tr_mem cr4 = tr_field(offsetof(struct dbt_vcpu, cr4)), mmu = tr_field(offsetof(struct dbt_vcpu, mmu));
        struct tr_mem mode = tr_field(offsetof(struct dbt_vcpu, mode));
        bool on = t->kind == TR_STAC;
        uint32_t to = gen_mode_with_ac(g, on);
        unsigned view = on ? DBT_MMU_KERNEL : DBT_MMU_KERNEL_SMAP;

        gen_flags_clobber(g);
        tr_op_mem(g->e, &test, 0, &cr4);
        tr_put32(g->e, X86_CR4_SMAP);
        gen_add_out(g, tr_jcc(g->e, TR_CC_E));
        field_imm(g, on ? 1 : 4, offsetof(struct dbt_vcpu, rflags), on ? X86_FLAG_AC : ~(uint32_t)X86_FLAG_AC); /* or, and */
        tr_op_mem(g->e, &mov_byte, 0, &mmu);
        tr_put(g->e, view);
        store_address(g, offsetof(struct dbt_vcpu, tlb_now), g->v->tlb[view]);
        store_address(g, offsetof(struct dbt_vcpu, tlb_info_now), g->v->tlb_info[view]);
        tr_op_mem(g->e, &mov, 0, &mode);
        tr_put32(g->e, to);
        gen_calls_of(g, tr_jump_mode(g->v, to));
}

void gen_swapgs(struct gen *g)
{
        size_t base = offsetof(struct dbt_vcpu, seg) + X86_GS * sizeof(struct x86_segment) + offsetof(struct x86_segment, base);
        size_t other = offsetof(struct dbt_vcpu, msr) + X86_MSR_KERNEL_GS_BASE * sizeof(uint64_t);

        gen_load_field(g, TR_RAX, base);
        gen_load_field(g, TR_RCX, other);
        gen_store_field(g, other, TR_RAX);
        gen_store_field(g, base, TR_RCX);
}

/* rdtsc, rdtscp. RDX is at home. */
void gen_rdtsc(struct gen *g, const struct tr_insn *t)
{
        static const struct tr_op test = { .opcode = 0xf7 }, shift = { .opcode = 0xc1, .w = true }, add = { .opcode = 0x03, .w = true },
                                  load32 = { .opcode = 0x8b }, mov32 = { .opcode = 0x89 };
        struct tr_mem cr4 = tr_field(offsetof(struct dbt_vcpu, cr4)), offset = tr_field(offsetof(struct dbt_vcpu, tsc_offset));
        struct tr_mem aux = tr_field(offsetof(struct dbt_vcpu, msr) + X86_MSR_TSC_AUX * sizeof(uint64_t));
        struct tr_mem sum = { .base = TR_RAX, .index = TR_RDX };

        gen_flags_clobber(g);
        if (gen_mode(g) & DBT_MODE_CPL3) {
                tr_op_mem(g->e, &test, 0, &cr4);
                tr_put32(g->e, X86_CR4_TSD);
                gen_add_out(g, tr_jcc(g->e, TR_CC_NE));
        }
        tr_put(g->e, 0x0f); /* rdtsc */
        tr_put(g->e, 0x31);
        tr_op_reg(g->e, &shift, 4, TR_RDX); /* shl */
        tr_put(g->e, 32);
        tr_lea(g->e, TR_RDX, &sum);
        tr_op_mem(g->e, &add, TR_RDX, &offset);
        tr_op_reg(g->e, &mov32, TR_RDX, HOME_RAX);
        tr_op_reg(g->e, &shift, 5, TR_RDX); /* shr */
        tr_put(g->e, 32);
        if (t->op.opcode == 0x01)
                tr_op_mem(g->e, &load32, HOME_RCX, &aux);
}

/* A register gets the selector zero-extended unless its size is 16. */
void gen_mov_from_seg(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        static const struct tr_op load = { .opcode = 0xb7, .map0f = true }, store = { .opcode = 0x89, .op16 = true };
        struct tr_mem selector = tr_field(offsetof(struct dbt_vcpu, seg) + i->reg[1] * sizeof(struct x86_segment) +
                                          offsetof(struct x86_segment, selector));
        struct tr_mem m;

        if (t->mem) {
                m = gen_operand(g, i, 2, true);
                tr_op_mem(g->e, &load, TR_RAX, &selector);
                tr_op_mem(g->e, &store, TR_RAX, &m);
                return;
        }
        if (t->op.op16) {
                tr_op_mem(g->e, &load, TR_RAX, &selector);
                tr_op_reg(g->e, &store, TR_RAX, tr_home[t->rm]);
                return;
        }
        tr_op_mem(g->e, &load, gen_target(t->rm, TR_RAX), &selector);
        gen_write_back(g, t->rm, TR_RAX);
}
