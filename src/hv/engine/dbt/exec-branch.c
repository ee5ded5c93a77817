/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Transfers of control: jcc, jmp, call, ret, loop, far forms, int, iret, bound; and the handlers that only raise. */

#include "hv/engine/dbt/exec.h"

void dbt_exec_ud(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_raise_ud(v);
}

void dbt_exec_gp(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_raise_gp0(v);
}

static bool transfer(struct dbt_decoding *d, dbt_handler fn)
{
        d->i->fn = fn;
        d->i->flags |= DBT_INSN_TRANSFER;
        return true;
}

/* The target does not depend on registers. */
static bool direct(struct dbt_decoding *d, dbt_handler fn)
{
        d->i->flags |= DBT_INSN_DIRECT;
        return transfer(d, fn);
}

/* Far transfers and interrupts may change everything. */
static bool far_transfer(struct dbt_decoding *d, dbt_handler fn)
{
        d->i->flags |= DBT_INSN_ENDS_BLOCK;
        return transfer(d, fn);
}

static bool is_far(const struct dbt_decoding *d)
{
        return d->z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

/* Of the following instruction. Outside of 64-bit mode EIP wraps. */
static uint64_t next_rip(const struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t next = v->rip + i->length;

        return likely(v->mode & DBT_MODE_CS64) ? next : (uint32_t)next;
}

/* --- jcc ------------------------------------------------------------------------------------------------------ */

#define JCC(cc)                                                                                             \
        static void jcc64_##cc(struct dbt_vcpu *v, const struct dbt_insn *i)                                \
        {                                                                                                   \
                v->rip += dbt_condition(v, cc) ? i->imm : i->length;                                        \
        }
JCC(0)
JCC(1)
JCC(2)
JCC(3)
JCC(4)
JCC(5)
JCC(6)
JCC(7)
JCC(8)
JCC(9)
JCC(10)
JCC(11)
JCC(12)
JCC(13)
JCC(14)
JCC(15)

static void jump_relative(struct dbt_vcpu *v, const struct dbt_insn *i, bool taken)
{
        v->rip = taken ? dbt_truncate(v->rip + i->imm, i->op_size) : next_rip(v, i);
}

static void jcc_any(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        jump_relative(v, i, dbt_condition(v, i->cond));
}

static const dbt_handler jcc64[16] = {
        jcc64_0, jcc64_1, jcc64_2, jcc64_3, jcc64_4, jcc64_5, jcc64_6, jcc64_7,
        jcc64_8, jcc64_9, jcc64_10, jcc64_11, jcc64_12, jcc64_13, jcc64_14, jcc64_15,
};

bool dbt_is_jcc64(const struct dbt_insn *i)
{
        return i->cond < 16 && i->fn == jcc64[i->cond];
}

bool dbt_setup_jcc(struct dbt_decoding *d, unsigned cond)
{
        d->i->cond = (uint8_t)cond;
        return direct(d, d->mode64 ? jcc64[cond] : jcc_any);
}

/* --- jmp ------------------------------------------------------------------------------------------------------ */

static void jmp64_rel(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rip += i->imm;
}

static void jmp_rel(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        jump_relative(v, i, true);
}

static void jmp64_r(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rip = v->gpr[i->reg[0]];
}

static void jmp64_m(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rip = dbt_mem_get64(v, i);
}

static void jmp_any(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rip = dbt_operand_get(v, i, 0, i->op_size);
}

/* imm: offset; aux: selector */
static void jmp_far_pointer(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_far_jump(v, (uint16_t)i->aux, i->imm, i->op_size);
}

/* The far pointer in memory: offset, then selector. */
static uint16_t load_far(struct dbt_vcpu *v, const struct dbt_insn *i, uint64_t *ret_offset)
{
        uint64_t lin = dbt_mem_linear(v, i, i->op_size + 2u, DBT_READ);
        uint16_t selector = dbt_load16(v, lin + i->op_size, v->mmu);

        *ret_offset = dbt_load(v, lin, i->op_size);
        return selector;
}

static void jmp_far_m(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t offset;
        uint16_t selector = load_far(v, i, &offset);

        dbt_far_jump(v, selector, offset, i->op_size);
}

static void take_pointer(struct dbt_decoding *d)
{
        d->i->imm = d->ops[0].ptr.offset;
        d->i->aux = d->ops[0].ptr.segment;
}

bool dbt_setup_jmp(struct dbt_decoding *d, unsigned arg)
{
        bool mem = dbt_is_mem(d, 0);

        if (d->ops[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
                take_pointer(d);
                return far_transfer(d, jmp_far_pointer);
        }
        if (is_far(d))
                return far_transfer(d, jmp_far_m);
        if (d->ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
                return direct(d, d->mode64 ? jmp64_rel : jmp_rel);
        if (d->mode64 && d->i->op_size == 8)
                return transfer(d, mem ? jmp64_m : jmp64_r);
        return transfer(d, jmp_any);
}

/* --- call ----------------------------------------------------------------------------------------------------- */

static inline void push_return64(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t sp = v->gpr[X86_RSP] - 8;

        dbt_store64(v, sp, v->rip + i->length, v->mmu);
        v->gpr[X86_RSP] = sp;
}

DBT_SLOW call64_rel_slow(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        push_return64(v, i);
        v->rip += i->imm;
}

static void call64_rel(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = v->gpr[X86_RSP] - 8, rip = v->rip;

        DBT_FAST_HOST(64, match_write, call64_rel_slow)
        *host = rip + i->length;
        v->gpr[X86_RSP] = lin;
        v->rip = rip + i->imm;
}

static void call64_r(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t target = v->gpr[i->reg[0]];

        push_return64(v, i);
        v->rip = target;
}

static void call64_m(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t target = dbt_mem_get64(v, i);

        push_return64(v, i);
        v->rip = target;
}

static void call_rel(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_push(v, next_rip(v, i), i->op_size);
        jump_relative(v, i, true);
}

static void call_any(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t target = dbt_operand_get(v, i, 0, i->op_size);

        dbt_push(v, next_rip(v, i), i->op_size);
        v->rip = target;
}

static void call_far_pointer(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_far_call(v, (uint16_t)i->aux, i->imm, i->op_size, next_rip(v, i));
}

static void call_far_m(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t offset;
        uint16_t selector = load_far(v, i, &offset);

        dbt_far_call(v, selector, offset, i->op_size, next_rip(v, i));
}

bool dbt_setup_call(struct dbt_decoding *d, unsigned arg)
{
        bool mem = dbt_is_mem(d, 0);

        if (d->ops[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
                take_pointer(d);
                return far_transfer(d, call_far_pointer);
        }
        if (is_far(d))
                return far_transfer(d, call_far_m);
        if (d->ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
                return direct(d, d->mode64 ? call64_rel : call_rel);
        if (d->mode64 && d->i->op_size == 8)
                return transfer(d, mem ? call64_m : call64_r);
        return transfer(d, call_any);
}

/* --- ret: imm is the number of bytes to drop ------------------------------------------------------------------- */

DBT_SLOW ret64_slow(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rip = dbt_stack_peek(v, 0, 8);
        v->gpr[X86_RSP] += 8 + i->imm;
}

static void ret64(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = v->gpr[X86_RSP];

        DBT_FAST_HOST(64, match_read, ret64_slow)
        v->rip = *host;
        v->gpr[X86_RSP] = lin + 8 + i->imm;
}

static void ret_any(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rip = dbt_stack_peek(v, 0, i->op_size);
        dbt_set_sp(v, v->gpr[X86_RSP] + i->op_size + i->imm);
}

static void ret_far(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_far_return(v, i->op_size, (unsigned)i->imm);
}

bool dbt_setup_ret(struct dbt_decoding *d, unsigned arg)
{
        d->i->imm &= 0xffff;
        if (is_far(d))
                return far_transfer(d, ret_far);
        return transfer(d, d->mode64 && d->i->op_size == 8 ? ret64 : ret_any);
}

/* --- loop jcxz: the counter has the address size ---------------------------------------------------------------- */

static uint64_t count_down(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t count = dbt_truncate(v->gpr[X86_RCX] - 1, i->mem.addr_size);

        dbt_set_reg(v, X86_RCX, count, i->mem.addr_size);
        return count;
}

static void exec_loop(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        jump_relative(v, i, count_down(v, i) != 0);
}

static void exec_loope(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        jump_relative(v, i, count_down(v, i) != 0 && (v->rflags & X86_FLAG_ZF));
}

static void exec_loopne(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        jump_relative(v, i, count_down(v, i) != 0 && !(v->rflags & X86_FLAG_ZF));
}

static void exec_jcxz(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        jump_relative(v, i, dbt_truncate(v->gpr[X86_RCX], i->mem.addr_size) == 0);
}

bool dbt_setup_loop(struct dbt_decoding *d, unsigned op)
{
        static const dbt_handler handlers[] = {
                [DBT_LOOPNE] = exec_loopne, [DBT_LOOPE] = exec_loope, [DBT_LOOP] = exec_loop, [DBT_JCXZ] = exec_jcxz,
        };

        return direct(d, handlers[op]);
}

/* --- int and friends ------------------------------------------------------------------------------------------- */

static void exec_intn(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        if ((v->rflags & X86_FLAG_VM) && (v->rflags & X86_FLAG_IOPL) != X86_FLAG_IOPL)
                dbt_raise_gp0(v);
        dbt_software_interrupt(v, (uint8_t)i->imm, next_rip(v, i));
}

static void exec_int3(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_software_interrupt(v, X86_BP, next_rip(v, i));
}

static void exec_int1(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_icebp(v, next_rip(v, i));
}

static void exec_into(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        if (v->rflags & X86_FLAG_OF)
                dbt_software_interrupt(v, X86_OF, next_rip(v, i));
        else
                v->rip = next_rip(v, i);
}

static void exec_iret(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_iret(v, i->op_size);
}

static void exec_bound(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint64_t lin = dbt_mem_linear(v, i, 2 * n, DBT_READ), low = dbt_load(v, lin, n), high = dbt_load(v, lin + n, n);
        uint64_t value = v->gpr[i->reg[0]];
        bool outside;

        if (n == 2)
                outside = (int16_t)value < (int16_t)low || (int16_t)value > (int16_t)high;
        else
                outside = (int32_t)value < (int32_t)low || (int32_t)value > (int32_t)high;
        if (outside)
                dbt_raise(v, X86_BR);
}

bool dbt_setup_int(struct dbt_decoding *d, unsigned op)
{
        static const dbt_handler handlers[] = {
                [DBT_INTN] = exec_intn, [DBT_INT3] = exec_int3, [DBT_INT1] = exec_int1, [DBT_INTO] = exec_into,
                [DBT_IRET] = exec_iret, [DBT_UD] = dbt_exec_ud,
        };

        if (op == DBT_BOUND) {
                d->i->fn = exec_bound;
                return true;
        }
        return far_transfer(d, handlers[op]);
}
