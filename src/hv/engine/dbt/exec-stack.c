/* SPDX-License-Identifier: GPL-2.0-or-later */

/* push, pop, pusha, popa, pushf, popf, enter, leave. */

#include "hv/engine/dbt/exec.h"
#include "hv/engine/dbt/seg.h"

/* --- 64-bit mode, 64-bit operands: the common case ------------------------------------------------------------- */

DBT_SLOW push64_r_slow(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_push(v, v->gpr[i->reg[0]], 8);
}

static void push64_r(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = v->gpr[X86_RSP] - 8;

        DBT_FAST_HOST(64, match_write, push64_r_slow)
        *host = v->gpr[i->reg[0]];
        v->gpr[X86_RSP] = lin;
}

static void push64_i(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t sp = v->gpr[X86_RSP] - 8;

        dbt_store64(v, sp, i->imm, v->mmu);
        v->gpr[X86_RSP] = sp;
}

DBT_SLOW pop64_r_slow(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t value = dbt_stack_peek(v, 0, 8);

        v->gpr[X86_RSP] += 8;
        v->gpr[i->reg[0]] = value;
}

static void pop64_r(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = v->gpr[X86_RSP];

        DBT_FAST_HOST(64, match_read, pop64_r_slow)
        v->gpr[X86_RSP] = lin + 8;
        v->gpr[i->reg[0]] = *host;
}

static void leave64(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t sp = v->gpr[X86_RBP];
        uint64_t value = dbt_load64(v, sp, v->mmu);

        v->gpr[X86_RSP] = sp + 8;
        v->gpr[X86_RBP] = value;
}

static bool plain64(const struct dbt_decoding *d)
{
        return d->mode64 && d->i->op_size == 8;
}

/* --- push ----------------------------------------------------------------------------------------------------- */

static void push_r(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_push(v, v->gpr[i->reg[0]], i->op_size);
}

static void push_i(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_push(v, i->imm, i->op_size);
}

static void push_m(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_push(v, dbt_mem_get(v, i, i->op_size), i->op_size);
}

/* Intel's CPUs write only the selector of a 32-bit push and leave the upper half of its place alone (Intel SDM vol. 2, PUSH). */
static void push_seg(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        struct dbt_stack s;

        if (v->sys.amd || i->op_size != 4) {
                dbt_push(v, v->seg[i->reg[0]].selector, i->op_size);
                return;
        }
        dbt_stack_current(v, &s);
        s.sp = (s.sp - 2) & s.mask;
        dbt_stack_push(v, &s, v->seg[i->reg[0]].selector, 2);
        dbt_set_sp(v, s.sp);
}

static bool is_segment_operand(const struct dbt_decoding *d)
{
        return d->ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                ZydisRegisterGetClass(d->ops[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

bool dbt_setup_push(struct dbt_decoding *d, unsigned arg)
{
        if (is_segment_operand(d))
                d->i->fn = push_seg;
        else if (dbt_is_mem(d, 0))
                d->i->fn = push_m;
        else if (d->ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
                d->i->fn = plain64(d) ? push64_i : push_i;
        else
                d->i->fn = plain64(d) ? push64_r : push_r;
        return true;
}

/* --- pop ------------------------------------------------------------------------------------------------------ */

static void pop_r(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t value = dbt_stack_peek(v, 0, i->op_size);

        dbt_set_sp(v, v->gpr[X86_RSP] + i->op_size);
        dbt_set_reg(v, i->reg[0], value, i->op_size);
}

/* An address with RSP in it is that after the increment (Intel SDM vol. 2, POP). */
static void pop_m(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t value = dbt_stack_peek(v, 0, i->op_size), old = v->gpr[X86_RSP], lin;
        struct dbt_insn at = *i;

        if (i->mem.base == X86_RSP)
                at.mem.disp += i->op_size;
        lin = dbt_mem_linear(v, &at, i->op_size, DBT_WRITE);
        dbt_store(v, lin, value, i->op_size);
        dbt_set_sp(v, old + i->op_size);
}

static void pop_seg(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t sp = v->gpr[X86_RSP];
        uint16_t selector = (uint16_t)dbt_stack_peek(v, 0, i->op_size);
        uint64_t mask = dbt_stack_mask(v);

        dbt_load_seg(v, i->reg[0], selector);
        if (i->reg[0] == X86_SS)
                v->interrupt_shadow = true;
        /* by the stack's size from before */
        v->gpr[X86_RSP] = mask == 0xffff ? (sp & ~mask) | ((sp + i->op_size) & mask) : (sp + i->op_size) & mask;
}

bool dbt_setup_pop(struct dbt_decoding *d, unsigned arg)
{
        if (is_segment_operand(d)) {
                d->i->fn = pop_seg;
                d->i->flags |= DBT_INSN_ENDS_BLOCK;
        } else if (dbt_is_mem(d, 0)) {
                d->i->fn = pop_m;
        } else {
                d->i->fn = plain64(d) ? pop64_r : pop_r;
        }
        return true;
}

/* --- pusha popa ------------------------------------------------------------------------------------------------ */

static void exec_pusha(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint64_t sp = v->gpr[X86_RSP];

        for (unsigned r = 0; r < 8; r++)
                dbt_store(v, dbt_stack_linear(v, sp - (r + 1) * n, n, DBT_WRITE), v->gpr[r], n);
        dbt_set_sp(v, sp - 8 * n);
}

static void exec_popa(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint64_t value[8];

        for (unsigned r = 8; r-- > 0;)
                value[r] = dbt_stack_peek(v, (7 - r) * n, n);
        for (unsigned r = 0; r < 8; r++)
                if (r != X86_RSP)
                        dbt_set_reg(v, r, value[r], n);
        dbt_set_sp(v, v->gpr[X86_RSP] + 8 * n);
}

/* --- pushf popf ------------------------------------------------------------------------------------------------ */

static void check_vm86_iopl(struct dbt_vcpu *v)
{
        if ((v->rflags & X86_FLAG_VM) && (v->rflags & X86_FLAG_IOPL) != X86_FLAG_IOPL)
                dbt_raise_gp0(v);
}

static void exec_pushf(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_vm86_iopl(v);
        dbt_push(v, (v->rflags & ~(uint64_t)(X86_FLAG_RF | X86_FLAG_VM)) | 2, i->op_size);
}

static void exec_popf(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t may_change = DBT_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_IOPL | X86_FLAG_NT;
        uint64_t value;

        check_vm86_iopl(v);
        value = dbt_stack_peek(v, 0, i->op_size);
        dbt_set_sp(v, v->gpr[X86_RSP] + i->op_size);
        if (i->op_size > 2)
                may_change |= X86_FLAG_AC | X86_FLAG_ID | X86_FLAG_RF;
        if (v->rflags & X86_FLAG_VM)
                may_change &= ~(uint64_t)X86_FLAG_IOPL;
        dbt_set_rflags(v, value & ~(uint64_t)X86_FLAG_RF, may_change);
}

/* --- enter leave ----------------------------------------------------------------------------------------------- */

/* imm: frame size; aux: nesting level. */
static void exec_enter(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size, level = i->aux & 31;
        uint64_t sp = v->gpr[X86_RSP] - n, bp = v->gpr[X86_RBP], frame = sp;

        dbt_store(v, dbt_stack_linear(v, sp, n, DBT_WRITE), bp, n);
        for (unsigned k = 1; k < level; k++) {
                uint64_t up = dbt_load(v, dbt_stack_linear(v, bp - k * n, n, DBT_READ), n);

                sp -= n;
                dbt_store(v, dbt_stack_linear(v, sp, n, DBT_WRITE), up, n);
        }
        if (level) {
                sp -= n;
                dbt_store(v, dbt_stack_linear(v, sp, n, DBT_WRITE), frame, n);
        }
        sp -= i->imm;
        /* the new top of the stack has to be writable */
        dbt_probe(v, dbt_stack_linear(v, sp, n, DBT_WRITE), n, DBT_WRITE, v->mmu);
        dbt_set_reg(v, X86_RBP, frame, n);
        dbt_set_sp(v, sp);
}

static void exec_leave(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t bp = v->gpr[X86_RBP];
        uint64_t value = dbt_load(v, dbt_stack_linear(v, bp, i->op_size, DBT_READ), i->op_size);

        dbt_set_sp(v, bp + i->op_size);
        dbt_set_reg(v, X86_RBP, value, i->op_size);
}

bool dbt_setup_stack(struct dbt_decoding *d, unsigned op)
{
        struct dbt_insn *i = d->i;

        switch (op) {
        case DBT_PUSHA:
                i->fn = exec_pusha;
                break;
        case DBT_POPA:
                i->fn = exec_popa;
                break;
        case DBT_PUSHF:
                i->fn = exec_pushf;
                break;
        case DBT_POPF:
                i->fn = exec_popf;
                i->flags |= DBT_INSN_ENDS_BLOCK;
                break;
        case DBT_ENTER:
                i->imm = d->ops[0].imm.value.u & 0xffff;
                i->aux = (uint32_t)d->ops[1].imm.value.u;
                i->fn = exec_enter;
                break;
        case DBT_LEAVE:
                i->fn = plain64(d) ? leave64 : exec_leave;
                break;
        }
        return true;
}
