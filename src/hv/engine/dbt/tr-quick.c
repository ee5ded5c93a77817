/* SPDX-License-Identifier: GPL-2.0-or-later */

/* First translations of mirrored programs' blocks, made in one pass over the bytes.
 *
 * Large programs run most of their code so seldom that what it costs to make a translation is what it costs to run it, and have so much of it that it is made again
 * and again. Where memory operands are what they are in the program, most instructions become themselves with other register numbers, and neither
 * struct dbt_insn nor a plan is needed. What is not known here ends the block; where it begins one, the block is decoded and translated as everywhere else, and so is what
 * turns out to run often.
 *
 * The convention is that of tr.h. A host register that the guest's lacks is loaded from v->gpr before each instruction and stored behind it. Flags are in RFLAGS
 * once an instruction has set them, and stored by exits to code that reads them. What the stack pointer is moved by is put off as in tr-frame.c. */

#include "hv/engine/dbt/tr-gen.h"
#include "hv/engine/dbt/tr-quick-gen.h"

/* Instructions of a block, and bytes. */
#define INSNS_MAX 32
#define BYTES_MAX 128
/* Of code up to a block's last exit, so that struct tr_link holds the distance: less one instruction's. */
#define CODE_MAX (TR_LINK_NEAR_JUMP - 128)
/* Of seldom run code of a block: that of the exits, and the one out. */
#define COLD_MAX (DBT_QUICK_EXITS * (TR_CALL_SIZE + TR_LINK_FAR_SIZE) + TR_CALL_SIZE + sizeof(struct tr_out_record) + sizeof(struct tr_out_rsp))
/* Beyond this RSP is moved at once, so that what is put off fits into struct tr_fault. */
#define RSP_PUT_OFF 256

/* --- Registers ------------------------------------------------------------------------------------------------------------------------ */

static size_t field_of(unsigned guest)
{
        return offsetof(struct dbt_vcpu, gpr) + guest * sizeof(uint64_t);
}

/* The host register of a guest's, loaded if it has no home. */
static unsigned host_of(struct quick *q, unsigned guest, bool load)
{
        unsigned r;

        if (tr_home[guest] != TR_NO_HOME)
                return tr_home[guest];
        for (r = 2; r-- > 0;)
                if (q->scratch[r] == guest)
                        return r;
        for (r = 1; q->scratch[r] != TR_NO_HOME; r--) {
                if (r == 0) {
                        q->failed = true;
                        return 0;
                }
        }
        q->scratch[r] = (uint8_t)guest;
        if (load)
                with_field(q, 0x8b, r, field_of(guest));
        return r;
}

/* The guest register, of which the host's was written, to where it belongs. */
static void store(struct quick *q, unsigned guest)
{
        if (tr_home[guest] == TR_NO_HOME)
                with_field(q, 0x89, q->scratch[TR_RAX] == guest ? TR_RAX : TR_RCX, field_of(guest));
}

static void reserve(struct quick *q, unsigned scratch)
{
        q->scratch[scratch] = X86_NGPRS;
}

static void settle(struct quick *q)
{
        if (q->now.rsp)
                with_stack(q, 0x8d, HOME_RSP, q->now.rsp);
        q->now.rsp = 0;
}

/* --- Flags -------------------------------------------------------------------------------------------------------------------------- */

/* Keeps RFLAGS. */
static void store_flags(struct quick *q)
{
        if (q->now.dirty)
                call(q, q->t->save_flags);
        q->now.dirty = false;
}

static void need_flags(struct quick *q)
{
        q->now.read |= !q->now.written;
        if (q->now.valid)
                return;
        put(q, 0x8b); /* mov eax, [tr_flags]; add al, 0x7f; sahf */
        put(q, 0x05);
        put_relative(q, (uintptr_t)q->v + offsetof(struct dbt_vcpu, tr_flags), 0);
        put(q, 0x04);
        put(q, 0x7f);
        put(q, 0x9e);
        q->now.valid = true;
}

static void flags_set(struct quick *q, unsigned flags)
{
        if (!(flags & QUICK_SETS))
                return;
        q->now.valid = q->now.dirty = true;
        q->now.written |= !(flags & QUICK_NEEDS);
}

/* --- Faults -------------------------------------------------------------------------------------------------------------------------- */

/* The next host instruction may fault: nothing of the guest's has changed yet. */
static void may_fault(struct quick *q)
{
        struct tr_fault *f = tr_fault_new(q->t, here(q));

        f->store = q->now.dirty;
        f->rsp_before = q->rsp_before / 8;
        f->offset = q->offset & 0xfff;
        f->to_entry = (uint32_t)(here(q) - q->entry) & 0xfff;
        q->fault_at[q->n_faults] = here(q);
        q->fault[q->n_faults++] = f;
}

/* Behind the instruction's code. */
static void faults_done(struct quick *q, bool goes_on)
{
        for (unsigned k = 0; k < q->n_faults; k++) {
                q->fault[k]->fpu = q->now.fpu & 3;
                q->fault[k]->rsp_sum = goes_on ? (q->rsp_before - q->now.rsp) / 8 : 0;
                q->fault[k]->behind = (uint32_t)(here(q) - q->fault_at[k]) & 0xff;
        }
}

/* --- The vector state: as in tr-vec.c --------------------------------------------------------------------------------------------------- */

static void check_vector(struct quick *q)
{
        if (q->now.fpu >= GEN_FPU_LIVE)
                return;
        store_flags(q);
        q->now.valid = false;
        put(q, 0x66); /* cmp word [fpu_live], 1 */
        put(q, 0x83);
        put(q, 0x3d);
        put_relative(q, (uintptr_t)q->v + offsetof(struct dbt_vcpu, fpu_live), 1);
        put(q, 1);
        put(q, 0x0f);
        put(q, 0x80 | TR_CC_NE);
        put32(q, 0);
        q->now.out = q->now.p - 4;
        q->out_offset = q->offset;
        q->now.fpu = GEN_FPU_LIVE;
}

static void emit_out(struct quick *q)
{
        struct tr_out_record o = { .offset = q->out_offset & 0xfff, .fpu = GEN_FPU_LIVE, .n = 1, .moved = q->out_rsp.before || q->out_rsp.behind };
        uint8_t *jump = q->now.out;

        if (!jump)
                return;
        change_over(q);
        set_jump(q, jump);
        call(q, q->t->ways[1].out);
        o.to_entry = (int32_t)(here(q) - q->entry);
        o.behind = (uint16_t)(q->out_behind - q->entry);
        q->now.p = tr_put_out_record(q->now.p, &o, &q->out_rsp);
        change_over(q);
}

/* --- Instructions with operands --------------------------------------------------------------------------------------------------------------- */

/* Where an operand is on the host. */
struct place {
        unsigned reg, rm;
        unsigned base, index;
        int32_t disp;
};

static void place_memory(struct quick *q, const struct quick_insn *i, struct place *ret)
{
        ret->base = ret->index = TR_NO_HOME;
        ret->disp = i->disp;
        if (i->rip && tr_linear_of(q->b, (int64_t)q->offset + i->length + i->disp, &ret->disp))
                return;
        if (i->rip) {
                q->failed |= q->scratch[TR_RCX] != TR_NO_HOME;
                reserve(q, TR_RCX);
                load_page(q, TR_RCX);
                ret->base = TR_RCX;
                ret->disp = i->disp + (int32_t)(q->offset + i->length);
                return;
        }
        if (i->base != TR_NO_HOME)
                ret->base = host_of(q, i->base, true);
        if (i->base == X86_RSP)
                ret->disp = i->disp + q->now.rsp;
        if (i->index != TR_NO_HOME)
                ret->index = host_of(q, i->index, true);
}

static void put_sib(struct quick *q, unsigned base, const struct quick_insn *i, const struct place *at)
{
        put(q, i->scale << 6 | (at->index == TR_NO_HOME ? 4u : at->index & 7u) << 3 | (base & 7));
}

static void put_memory(struct quick *q, unsigned reg, const struct quick_insn *i, const struct place *at)
{
        bool sib = at->index != TR_NO_HOME || (at->base & 7) == 4, small = at->disp == (int8_t)at->disp;

        if (at->base == TR_NO_HOME) {
                put(q, (reg & 7) << 3 | 4);
                put_sib(q, 5, i, at);
                put32(q, (uint32_t)at->disp);
                return;
        }
        put(q, (!at->disp && (at->base & 7) != 5 ? 0 : small ? 0x40 : 0x80) | (reg & 7) << 3 | (sib ? 4 : at->base & 7));
        if (sib)
                put_sib(q, at->base, i, at);
        if (!at->disp && (at->base & 7) != 5)
                return;
        if (small)
                put(q, (uint8_t)at->disp);
        else
                put32(q, (uint32_t)at->disp);
}

static bool is_byte_that_needs_rex(const struct quick_insn *i, const struct place *at)
{
        return ((i->op.flags & QUICK_REG_BYTE) && at->reg >= 4) || ((i->op.flags & QUICK_RM_BYTE) && !i->mem && at->rm >= 4);
}

static void put_prefixes(struct quick *q, const struct quick_insn *i, const struct place *at)
{
        unsigned x = i->mem && at->index != TR_NO_HOME && at->index >= 8 ? 2 : 0;
        unsigned b = i->mem ? at->base != TR_NO_HOME && at->base >= 8 : at->rm >= 8;
        unsigned rex = (i->rex & 8) | (at->reg >= 8 ? 4 : 0) | x | b;

        if (i->op16)
                put(q, 0x66);
        if (i->rep)
                put(q, i->rep);
        if (rex || is_byte_that_needs_rex(i, at))
                put(q, 0x40 | rex);
        if (i->map0f)
                put(q, 0x0f);
}

static void put_imm(struct quick *q, const struct quick_insn *i)
{
        for (unsigned k = i->length - i->imm; k < i->length; k++)
                put(q, i->bytes[k]);
}

static void put_insn(struct quick *q, const struct quick_insn *i, unsigned opcode, const struct place *at)
{
        put_prefixes(q, i, at);
        put(q, opcode);
        if (i->mem)
                put_memory(q, at->reg, i, at);
        else
                put(q, 0xc0 | (at->reg & 7) << 3 | (at->rm & 7));
        put_imm(q, i);
}

/* Does a register that is written keep a part of what it was? */
static bool keeps_a_part(const struct quick_insn *i, unsigned byte)
{
        return (i->op.flags & byte) || quick_op_size(i) == 2;
}

/* What is read comes first: the other one may be the same. */
static void place_registers(struct quick *q, const struct quick_insn *i, struct place *ret)
{
        unsigned flags = i->op.flags;

        ret->reg = i->reg;
        ret->rm = i->rm;
        if ((flags & QUICK_REG) && !(flags & QUICK_REG_NOT_R))
                ret->reg = host_of(q, i->reg, true);
        if (!i->mem && (flags & QUICK_RM))
                ret->rm = host_of(q, i->rm, !(flags & QUICK_RM_NOT_R) || keeps_a_part(i, QUICK_RM_BYTE));
        if (flags & QUICK_REG_NOT_R)
                ret->reg = host_of(q, i->reg, keeps_a_part(i, QUICK_REG_BYTE));
}

static bool uses_rsp_itself(const struct quick_insn *i)
{
        return ((i->op.flags & QUICK_REG) && i->reg == X86_RSP) || ((i->op.flags & QUICK_RM) && !i->mem && i->rm == X86_RSP);
}

static void plain(struct quick *q, const struct quick_insn *i)
{
        unsigned flags = i->op.flags;
        struct place at;

        if (i->mem)
                place_memory(q, i, &at);
        place_registers(q, i, &at);
        if ((i->mem && i->op.kind != QUICK_LEA) || (flags & QUICK_MAY_FAULT))
                may_fault(q);
        put_insn(q, i, i->opcode, &at);
        if (flags & QUICK_REG_W)
                store(q, i->reg);
        if ((flags & QUICK_RM_W) && !i->mem)
                store(q, i->rm);
}

/* As the longer form of group 1 or, test, of group 3. */
static void accumulator(struct quick *q, const struct quick_insn *i)
{
        bool test = i->opcode >= 0xa8;
        struct place at = { .reg = test ? 0 : i->opcode >> 3, .rm = HOME_RAX };

        put_insn(q, i, (test ? 0xf6 : 0x80) | (i->opcode & 1), &at);
}

static void mov_imm(struct quick *q, const struct quick_insn *i)
{
        struct place at = { .reg = 0 };

        at.rm = host_of(q, i->rm, keeps_a_part(i, QUICK_RM_BYTE));
        put_prefixes(q, i, &at);
        put(q, (i->opcode & 0xf8) | (at.rm & 7));
        put_imm(q, i);
        store(q, i->rm);
}

static void bswap(struct quick *q, const struct quick_insn *i)
{
        struct place at = { .reg = 0 };

        at.rm = host_of(q, i->rm, true);
        put_prefixes(q, i, &at);
        put(q, 0xc8 | (at.rm & 7));
        store(q, i->rm);
}

/* By CL: that of the host. */
static void by_cl(struct quick *q, const struct quick_insn *i)
{
        reserve(q, TR_RCX);
        with_reg(q, 0x89, HOME_RCX, TR_RCX);
        plain(q, i);
}

/* mul, imul, div, idiv with one operand: RAX is the host's, RDX at home. */
static void multiply(struct quick *q, const struct quick_insn *i)
{
        reserve(q, TR_RAX);
        with_reg(q, 0x89, HOME_RAX, TR_RAX);
        plain(q, i);
        with_reg(q, 0x89, TR_RAX, HOME_RAX);
}

/* cwde, cdqe */
static void cdqe(struct quick *q, const struct quick_insn *i)
{
        if (i->rex & 8) { /* movsxd */
                with_reg(q, 0x63, HOME_RAX, HOME_RAX);
                return;
        }
        put(q, 0x45); /* movsx r32, r16 */
        put(q, 0x0f);
        put(q, 0xbf);
        put(q, 0xc0 | (HOME_RAX & 7) << 3 | (HOME_RAX & 7));
}

static void cdq(struct quick *q, const struct quick_insn *i)
{
        with_reg(q, 0x89, HOME_RAX, TR_RAX);
        if (i->rex & 8)
                put(q, 0x48);
        put(q, 0x99);
}

/* --- The stack ------------------------------------------------------------------------------------------------------------------------------ */

static void push_reg(struct quick *q, unsigned host)
{
        may_fault(q);
        with_stack(q, 0x89, host, q->now.rsp - 8);
        q->now.rsp -= 8;
}

/* Of 32 bits, sign-extended. */
static void push_value(struct quick *q, uint32_t value)
{
        may_fault(q);
        with_stack(q, 0xc7, 0, q->now.rsp - 8);
        put32(q, value);
        q->now.rsp -= 8;
}

static void pop(struct quick *q, unsigned guest)
{
        unsigned host = host_of(q, guest, false);

        may_fault(q);
        with_stack(q, 0x8b, host, q->now.rsp);
        q->now.rsp += 8;
        store(q, guest);
}

/* The word at the operand to RAX. */
static void load_operand(struct quick *q, const struct quick_insn *i)
{
        struct place at;

        if (!i->mem) {
                with_reg(q, 0x89, host_of(q, i->rm, true), TR_RAX);
                return;
        }
        place_memory(q, i, &at);
        may_fault(q);
        at.reg = TR_RAX;
        put(q, 0x48 | (at.index != TR_NO_HOME && at.index >= 8 ? 2 : 0) | (at.base != TR_NO_HOME && at.base >= 8 ? 1 : 0));
        put(q, 0x8b);
        put_memory(q, TR_RAX, i, &at);
}

static void leave(struct quick *q)
{
        settle(q);
        q->rsp_before = 0;
        may_fault(q);
        put(q, 0x48); /* mov rax, [rbp] */
        put(q, 0x8b);
        put_based(q, TR_RAX, TR_RBP, 0);
        put(q, 0x4c); /* lea rsp, [rbp + 8] */
        put(q, 0x8d);
        put_based(q, HOME_RSP, TR_RBP, 8);
        with_reg(q, 0x89, TR_RAX, TR_RBP);
}

/* --- Leaving the block -------------------------------------------------------------------------------------------------------------------------- */

static bool is_forward(const struct quick *q, int64_t offset)
{
        return offset > (int64_t)q->offset;
}

static void finish_to(struct quick *q, int64_t offset, bool forward)
{
        settle(q);
        quick_leave_to(q, TR_ALWAYS, offset, forward);
}

static int64_t target(const struct quick *q, const struct quick_insn *i)
{
        return (int64_t)q->offset + i->length + quick_immediate(i);
}

/* Is what comes next in memory to be a part of the block? */
static bool takes_next(const struct quick *q, const struct quick_insn *i)
{
        unsigned behind = q->offset + i->length;
        const struct dbt_block *b;

        if (q->branches + 3 > DBT_QUICK_EXITS || !gen_is_within_page(behind))
                return false;
        b = dbt_index_find(q->v->decode, (q->b->key & DBT_PAGE_MASK) + behind);
        return !b || !b->code;
}

/* Returns whether the block goes on. */
static bool jcc(struct quick *q, const struct quick_insn *i)
{
        bool goes_on = takes_next(q, i);

        settle(q);
        q->branches += goes_on;
        quick_leave_to(q, i->opcode & 15, target(q, i), is_forward(q, target(q, i)));
        if (!goes_on)
                quick_leave_to(q, TR_ALWAYS, (int64_t)q->offset + i->length, true);
        return goes_on;
}

static void push_return(struct quick *q, const struct quick_insn *i)
{
        int32_t lin;

        if (tr_linear_of(q->b, q->offset + i->length, &lin)) {
                push_value(q, (uint32_t)lin);
                return;
        }
        quick_page_plus(q, q->offset + i->length);
        push_reg(q, TR_RAX);
}

static void call_near(struct quick *q, const struct quick_insn *i)
{
        push_return(q, i);
        finish_to(q, target(q, i), is_forward(q, target(q, i)));
}

static void ret(struct quick *q)
{
        store_flags(q);
        may_fault(q);
        with_stack(q, 0x8b, TR_RAX, q->now.rsp);
        q->now.rsp += 8;
        settle(q);
        quick_jump_by_routine(q, q->t->to_cached[q->jumps]);
}

/* Indirect call or jump. */
static void go_to_operand(struct quick *q, const struct quick_insn *i)
{
        store_flags(q);
        load_operand(q, i);
        if (i->ext == 2) {
                with_field(q, 0x89, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
                push_return(q, i);
                with_field(q, 0x8b, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        }
        settle(q);
        quick_jump_by_routine(q, q->t->to_cached[q->jumps]);
}

/* --- The block ------------------------------------------------------------------------------------------------------------------------------------ */

/* Code for one instruction. Returns whether the block goes on behind it. */
static bool emit(struct quick *q, const struct quick_insn *i)
{
        switch (i->op.kind) {
        case QUICK_NOTHING:
                return true;
        case QUICK_ACCUMULATOR:
                accumulator(q, i);
                return true;
        case QUICK_GROUP3:
                multiply(q, i);
                return true;
        case QUICK_GROUP5:
                if (i->ext != 6) {
                        go_to_operand(q, i);
                        return false;
                }
                load_operand(q, i);
                push_reg(q, TR_RAX);
                return true;
        case QUICK_BY_CL:
                by_cl(q, i);
                return true;
        case QUICK_MOV_IMM:
                mov_imm(q, i);
                return true;
        case QUICK_BSWAP:
                bswap(q, i);
                return true;
        case QUICK_CDQE:
                cdqe(q, i);
                return true;
        case QUICK_CDQ:
                cdq(q, i);
                return true;
        case QUICK_PUSH:
                push_reg(q, host_of(q, i->rm, true));
                return true;
        case QUICK_PUSH_IMM:
                push_value(q, (uint32_t)quick_immediate(i));
                return true;
        case QUICK_POP:
                pop(q, i->rm);
                return true;
        case QUICK_LEAVE:
                leave(q);
                return true;
        case QUICK_JCC:
                return jcc(q, i);
        case QUICK_JMP:
                finish_to(q, target(q, i), is_forward(q, target(q, i)));
                return false;
        case QUICK_CALL:
                call_near(q, i);
                return false;
        case QUICK_RET:
                ret(q);
                return false;
        default:
                plain(q, i);
                return true;
        }
}

/* Shifts by a constant that is not 0, other than rotations, set all flags. */
static unsigned flags_of(const struct quick_insn *i)
{
        unsigned count;

        if (i->op.kind != QUICK_SHIFT || i->ext < 4)
                return i->op.flags;
        count = i->imm ? (unsigned)quick_immediate(i) & (i->rex & 8 ? 63 : 31) : 1;
        return count ? i->op.flags & ~(unsigned)QUICK_NEEDS : i->op.flags;
}

/* Returns whether the block goes on behind it; what was made is as it was if the instruction cannot be one of the block: *ret_known is false then. */
static bool emit_insn(struct quick *q, const struct quick_insn *i, bool *ret_known)
{
        struct state before = q->now;
        unsigned n_fresh = q->t->faults.n_fresh, flags = flags_of(i);
        bool goes_on, looked = !q->now.out;

        q->scratch[0] = q->scratch[1] = TR_NO_HOME;
        q->n_faults = 0;
        if (uses_rsp_itself(i) || q->now.rsp > RSP_PUT_OFF || q->now.rsp < -RSP_PUT_OFF)
                settle(q);
        q->rsp_before = q->now.rsp;
        if (flags & QUICK_VECTOR)
                check_vector(q);
        if (flags & QUICK_NEEDS)
                need_flags(q);
        goes_on = emit(q, i);
        *ret_known = !q->failed;
        if (q->failed) {
                q->now = before;
                q->failed = false;
                q->t->faults.n_fresh = n_fresh;
                return false;
        }
        flags_set(q, flags);
        faults_done(q, goes_on);
        if (looked && q->now.out) {
                q->out_rsp = (struct tr_out_rsp){ .before = q->rsp_before, .behind = -q->now.rsp };
                q->out_behind = here(q);
        }
        return goes_on;
}

/* The instructions up to the first that reads or overwrites all arithmetic flags, or behind which the block may be left. Returns whether code that comes there must have stored
 * them. */
static bool take_first(struct quick *q, const uint8_t *bytes)
{
        unsigned at = 0, flags;

        for (q->n_first = 0; q->n_first < FIRST_MAX && gen_is_within_page(q->offset + at);) {
                struct quick_insn *i = &q->first[q->n_first];

                if (!tr_quick_take(bytes + at, i))
                        break;
                q->n_first++;
                at += i->length;
                flags = flags_of(i);
                if ((flags & QUICK_NEEDS) || i->op.kind >= QUICK_JCC || i->op.kind == QUICK_GROUP5)
                        break;
                if (flags & QUICK_SETS)
                        return q->v->vm->config.exact_flags;
        }
        return true;
}

static bool take(struct quick *q, const uint8_t *bytes, unsigned n, struct quick_insn *ret)
{
        if (n >= q->n_first)
                return tr_quick_take(bytes, ret);
        *ret = q->first[n];
        return true;
}

/* All of the block's instructions. Returns how many. */
static unsigned emit_insns(struct quick *q, const uint8_t *bytes)
{
        unsigned start = q->offset, n = 0;
        bool goes_on = true, known = true;
        struct quick_insn i = { .op.kind = QUICK_NONE };

        while (goes_on && n < INSNS_MAX && q->offset - start < BYTES_MAX && here(q) - q->entry < CODE_MAX && gen_is_within_page(q->offset)) {
                if (!take(q, bytes + (q->offset - start), n, &i))
                        break;
                goes_on = emit_insn(q, &i, &known);
                if (!known)
                        break;
                q->offset += i.length;
                n++;
        }
        if (!n)
                return 0;
        q->b->direct = goes_on || !known || i.op.kind == QUICK_JCC || i.op.kind == QUICK_JMP || i.op.kind == QUICK_CALL;
        if (goes_on || !known)
                finish_to(q, q->offset, true);
        return n;
}

/* saves: it can be entered with flags that are to be stored. */
static void put_header(struct quick *q, bool saves)
{
        if (saves) {
                call(q, q->t->save_flags);
                put(q, 0xeb); /* jmp rel8 */
                put(q, TR_HEADER_LINKS);
        }
        put32(q, 0);
        put32(q, dbt_block_place(q->v->decode, q->b));
        q->entry = here(q);
        call(q, q->t->ways[1].count);
        q->b->skip = TR_CALL_SIZE;
}

/* All of the block's code. Returns how many instructions; 0: there is none, or the flags are to be stored after all. */
static unsigned emit_block(struct quick *q, const uint8_t *bytes, bool saves)
{
        unsigned n;

        put_header(q, saves);
        n = emit_insns(q, bytes);
        q->b->n_exits = q->now.exits;
        q->b->flags_in = q->now.read || !q->now.written || q->v->vm->config.exact_flags ? TR_ALL_FLAGS : 0;
        emit_out(q);
        return q->b->flags_in && !saves ? 0 : n;
}

bool tr_quick_can(struct dbt_vcpu *v)
{
        const struct dbt_tr *t = v->translator;

        return t && tr_is_mirrored(v->mode) && (v->mode & DBT_MODE_CS64) && !v->vm->config.translate_hot && (uintptr_t)t->exec < GiB(2) && tr_jump_mode(v, v->mode) >= 0;
}

/* The bytes are copied, as others may write to them meanwhile. */
static void copy_bytes(uint8_t *to, const uint8_t *from, unsigned n)
{
        unsigned k = 0;

        for (; k + sizeof(uint64_t) <= n; k += sizeof(uint64_t))
                *(dbt_guest64 *)(to + k) = *(const volatile dbt_guest64 *)(from + k);
        for (; k < n; k++)
                to[k] = ((const volatile uint8_t *)from)[k];
}

static void count(struct dbt_tr *t, const struct dbt_block *b, unsigned insns, size_t code, size_t exits)
{
        t->stats.blocks++;
        t->stats.insns += insns;
        t->stats.straight += code;
        t->stats.exits += exits;
        t->stats.faults += t->faults.n_fresh * sizeof(struct tr_fault);
        t->stats.copies += (size_t)b->space * DBT_BLOCK_ALIGN;
}

/* Where the code and the seldom run code begin. */
static void begin(struct quick *q, unsigned offset)
{
        q->offset = offset;
        q->branches = 0;
        q->now = (struct state){ .p = tr_segment_code(q->t) + q->t->fill->used, .cold = q->t->fill->cold };
        q->t->faults.n_fresh = 0;
}

struct dbt_block *tr_quick(struct dbt_vcpu *v, uint64_t gpa, const uint8_t *bytes)
{
        struct dbt_tr *t = v->translator;
        unsigned offset = (unsigned)(gpa & ~DBT_PAGE_MASK), room = (unsigned)DBT_PAGE_SIZE - offset, n;
        uint8_t copy[BYTES_MAX + 2 * ZYDIS_MAX_INSTRUCTION_LENGTH], *start, *cold;
        struct quick q;
        bool saves;

        q.v = v;
        q.t = t;
        q.to_exec = t->exec - t->write;
        q.jumps = tr_jump_mode(v, v->mode);
        q.failed = false;
        copy_bytes(copy, bytes, room < sizeof(copy) ? room : sizeof(copy));
        q.b = dbt_cache_new_quick(v, dbt_block_key(gpa, v->mode));
        tr_bind(v, q.b, q.b);
        tr_reserve_cold(t, COLD_MAX, TR_LINK_NEAR_ENTRY / 2);
        begin(&q, offset);
        start = q.now.p;
        cold = q.now.cold;
        saves = take_first(&q, copy);
        n = emit_block(&q, copy, saves);
        if (!n && !saves) {
                begin(&q, offset);
                n = emit_block(&q, copy, true);
        }
        if (!n)
                return NULL;
        q.b->code = (uint32_t)(q.entry - t->exec);
        q.b->cold = (uint32_t)(cold - t->write);
        q.b->size = (uint16_t)(q.offset - offset);
        t->fill->used += (size_t)(q.now.p - start);
        t->fill->cold = q.now.cold;
        count(t, q.b, n, (size_t)(q.now.p - start), (size_t)(q.now.cold - cold));
        tr_faults_keep(t);
        return q.b;
}
