/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Code for one block. See tr.h for the convention. */

#include "hv/engine/dbt/tr.h"

const uint8_t tr_home[X86_NGPRS] = {
        [X86_RAX] = 10, [X86_RCX] = 11, [X86_RDX] = TR_RDX, [X86_RBX] = TR_RBX, [X86_RSP] = 15, [X86_RBP] = TR_RBP,
        [X86_RSI] = TR_RSI, [X86_RDI] = TR_RDI, [X86_R8] = 8, [X86_R9] = 9, [X86_R10] = TR_NO_HOME,
        [X86_R11] = TR_NO_HOME, [X86_R12] = 12, [X86_R13] = 13, [X86_R14] = 14, [X86_R15] = TR_NO_HOME,
};
#define HOME_RAX 10
#define HOME_RCX 11
#define HOME_RSP 15

/* Code that a jump in the block's straight part leads to. */
struct out {
        uint8_t *jump;
        const uint8_t *back;  /* behind the instruction, in the executable view */
        uint16_t insn;
        uint16_t offset;      /* of the instruction in the page */
        bool flags;           /* behind the instruction the flags are expected in RFLAGS */
};

struct gen {
        struct dbt_vcpu *v;
        struct tr_emit *e;
        struct dbt_block *b;
        const uint8_t *bytes;  /* of the present instruction */
        unsigned insn, offset; /* its number, and its offset in the page */
        bool valid;            /* RFLAGS holds the guest's flags */
        bool dirty;            /* and v->tr_flags does not */
        struct out outs[2 * DBT_BLOCK_MAX];
        unsigned n_outs;
};

static struct tr_mem at(unsigned base, int32_t disp)
{
        return (struct tr_mem){ .base = (uint8_t)base, .index = TR_NO_HOME, .disp = disp };
}

static struct tr_mem gpr_field(unsigned reg)
{
        return tr_field(offsetof(struct dbt_vcpu, gpr) + reg * 8);
}

static void load_field(struct gen *g, unsigned dst, size_t offset)
{
        struct tr_mem m = tr_field(offset);

        tr_load(g->e, dst, &m);
}

static void store_field(struct gen *g, size_t offset, unsigned src)
{
        struct tr_mem m = tr_field(offset);

        tr_store(g->e, &m, src);
}

/* The host register that has the guest register's value: its home, or scratch after loading it. */
static unsigned source(struct gen *g, unsigned reg, unsigned scratch)
{
        if (tr_home[reg] != TR_NO_HOME)
                return tr_home[reg];
        load_field(g, scratch, offsetof(struct dbt_vcpu, gpr) + reg * 8);
        return scratch;
}

/* After scratch was written in place of a register without a home. */
static void write_back(struct gen *g, unsigned reg, unsigned scratch)
{
        struct tr_mem m = gpr_field(reg);

        if (tr_home[reg] == TR_NO_HOME)
                tr_store(g->e, &m, scratch);
}

/* The register to write to. */
static unsigned target(unsigned reg, unsigned scratch)
{
        return tr_home[reg] == TR_NO_HOME ? scratch : tr_home[reg];
}

/* --- Flags. All of this uses RAX. ----------------------------------------------------------------------------------- */

static void flags_store(struct gen *g)
{
        static const struct tr_op op = { .opcode = 0x89 };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, tr_flags));

        if (!g->dirty)
                return;
        tr_put(g->e, 0x9f); /* lahf */
        tr_put(g->e, 0x0f); /* seto al */
        tr_put(g->e, 0x90);
        tr_put(g->e, 0xc0);
        tr_op_mem(g->e, &op, TR_RAX, &m);
        g->dirty = false;
}

static void emit_flags_load(struct gen *g)
{
        static const struct tr_op op = { .opcode = 0x8b };
        struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, tr_flags));

        tr_op_mem(g->e, &op, TR_RAX, &m);
        tr_put(g->e, 0x04); /* add al, 0x7f: OF */
        tr_put(g->e, 0x7f);
        tr_put(g->e, 0x9e); /* sahf */
}

static void flags_need(struct gen *g)
{
        if (!g->valid)
                emit_flags_load(g);
        g->valid = true;
}

/* Before code that changes RFLAGS. */
static void flags_clobber(struct gen *g)
{
        flags_store(g);
        g->valid = false;
}

static void flags_changed(struct gen *g)
{
        g->valid = g->dirty = true;
}

/* --- Memory operands ------------------------------------------------------------------------------------------------- */

/* The operand's address as a host operand without segment; RAX and RCX stand for registers without a home. */
static struct tr_mem offset_of(struct gen *g, const struct dbt_mem *m)
{
        struct tr_mem a = { .base = TR_NO_HOME, .index = TR_NO_HOME, .scale = m->scale, .disp = m->disp };

        if (m->base == DBT_REG_RIP) {
                load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
                a.base = TR_RAX;
                a.disp += (int32_t)g->offset;
        } else if (m->base != DBT_REG_NONE) {
                a.base = (uint8_t)source(g, m->base, TR_RAX);
        }
        if (m->index != DBT_REG_NONE)
                a.index = (uint8_t)source(g, m->index, TR_RCX);
        return a;
}

/* The same with segment, as one register and a displacement: RAX if it is not that simple. */
static struct tr_mem address_of(struct gen *g, const struct dbt_mem *m)
{
        static const struct tr_op add = { .opcode = 0x03, .w = true };
        bool segment = m->seg_base != offsetof(struct dbt_vcpu, zero);
        struct tr_mem a = offset_of(g, m);

        if (a.base != TR_RAX && a.base != TR_NO_HOME && a.index == TR_NO_HOME && !segment)
                return a;
        tr_lea(g->e, TR_RAX, &a);
        if (segment) {
                struct tr_mem base = tr_field(m->seg_base);

                tr_op_mem(g->e, &add, TR_RAX, &base);
        }
        return at(TR_RAX, 0);
}

static void alu_imm(struct gen *g, unsigned ext, unsigned reg, uint32_t imm, bool w)
{
        struct tr_op op = { .opcode = 0x81, .w = w };

        tr_op_reg(g->e, &op, ext, reg);
        tr_put32(g->e, imm);
}

static void xor_rax(struct gen *g, size_t offset)
{
        static const struct tr_op op = { .opcode = 0x33, .w = true };
        struct tr_mem m = { .base = TR_RCX, .index = TR_NO_HOME, .gs = true, .disp = (int32_t)offset };

        tr_op_mem(g->e, &op, TR_RAX, &m);
}

static void add_out(struct gen *g, uint8_t *jump)
{
        g->outs[g->n_outs++] = (struct out){ .jump = jump, .insn = (uint16_t)g->insn, .offset = (uint16_t)g->offset };
}

/* Looks up the address a, from address_of or a home with a displacement, for an access of size bytes. Returns the host operand,
 * which uses RCX; RAX is free. The flags are stored. */
static struct tr_mem lookup(struct gen *g, struct tr_mem a, unsigned size, bool write)
{
        static const struct tr_op shr = { .opcode = 0xc1 }, mov = { .opcode = 0x8b }, add = { .opcode = 0x03, .w = true };
        size_t view = offsetof(struct dbt_vcpu, tlb) + g->v->mmu * sizeof(g->v->tlb[0]);
        size_t match = view + (write ? offsetof(struct dbt_tlb_entry, match_write) : offsetof(struct dbt_tlb_entry, match_read));
        struct tr_mem addend = { .base = TR_RCX, .index = TR_NO_HOME, .gs = true };
        bool simple = a.base != TR_RAX;

        addend.disp = (int32_t)(view + offsetof(struct dbt_tlb_entry, addend));
        if (simple)
                tr_lea(g->e, TR_RAX, &a);
        tr_op_reg(g->e, &mov, TR_RCX, TR_RAX);
        tr_op_reg(g->e, &shr, 5, TR_RCX);
        tr_put(g->e, DBT_PAGE_SHIFT - 6); /* entries have 64 bytes */
        alu_imm(g, 4, TR_RCX, (DBT_TLB_SIZE - 1) << 6, false);
        xor_rax(g, match);
        alu_imm(g, 7, TR_RAX, (uint32_t)DBT_PAGE_SIZE - size, true);
        add_out(g, tr_jcc(g->e, TR_CC_A));
        if (!simple)
                xor_rax(g, match);
        tr_load(g->e, TR_RCX, &addend);
        if (simple)
                return (struct tr_mem){ .base = TR_RCX, .index = a.base, .disp = a.disp };
        tr_op_reg(g->e, &add, TR_RCX, TR_RAX);
        return at(TR_RCX, 0);
}

static struct tr_mem operand(struct gen *g, const struct dbt_insn *i, unsigned size, bool write)
{
        flags_clobber(g);
        return lookup(g, address_of(g, &i->mem), size, write);
}

static struct tr_mem stack(struct gen *g, int32_t disp, bool write)
{
        flags_clobber(g);
        return lookup(g, at(HOME_RSP, disp), 8, write);
}

static void move_rsp(struct gen *g, int32_t by)
{
        struct tr_mem m = at(HOME_RSP, by);

        tr_lea(g->e, HOME_RSP, &m);
}

/* --- Leaving the block ------------------------------------------------------------------------------------------------- */

/* To RAX: linear address of the offset from the page's start. */
static void page_plus(struct gen *g, int32_t offset)
{
        struct tr_mem m = at(TR_RAX, offset);

        load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        tr_lea(g->e, TR_RAX, &m);
}

/* jmp qword [link], or lea rcx, [link] */
static void with_link(struct gen *g, const struct tr_link *link, unsigned opcode, unsigned modrm, bool w)
{
        if (w)
                tr_put(g->e, 0x48);
        tr_put(g->e, opcode);
        tr_put(g->e, modrm);
        tr_put32(g->e, (uint32_t)((const uint8_t *)link - (tr_here(g->e) + 4)));
}

static void linked_exit(struct gen *g, uint32_t offset)
{
        struct tr_link *link = tr_link_new(g->v->translator, NULL);

        with_link(g, link, 0xff, 0x25, false);
        link->target = link->unlinked = tr_here(g->e);
        with_link(g, link, 0x8d, 0x0d, true);
        store_field(g, offsetof(struct dbt_vcpu, tr_link), TR_RCX);
        tr_mov_imm(g->e, TR_RAX, offset);
        tr_jmp(g->e, g->v->translator->leave_at);
}

/* Goes on at an offset from the page's start. The flags are stored. */
static void exit_to(struct gen *g, int64_t offset)
{
        if (offset >= 0 && offset < (int64_t)DBT_PAGE_SIZE) {
                linked_exit(g, (uint32_t)offset);
                return;
        }
        page_plus(g, (int32_t)offset);
        tr_jmp(g->e, g->v->translator->jump);
}

static int64_t branch_target(const struct gen *g, const struct dbt_insn *i)
{
        return (int64_t)g->offset + (int64_t)i->imm;
}

/* --- Handlers -------------------------------------------------------------------------------------------------------------- */

static void call_handlers(struct gen *g, const struct dbt_insn *i, unsigned offset, unsigned n)
{
        tr_mov_imm(g->e, TR_RAX, (uintptr_t)i);
        tr_mov_imm(g->e, TR_RCX, offset | n << 16);
        tr_call(g->e, g->v->translator->call);
        tr_jcc_to(g->e, TR_CC_NE, g->v->translator->leave_jump);
}

static void go_on_at_rip(struct gen *g)
{
        load_field(g, TR_RAX, offsetof(struct dbt_vcpu, rip));
        tr_jmp(g->e, g->v->translator->jump);
}

static void emit_out(struct gen *g, const struct out *o)
{
        const struct dbt_insn *i = &g->b->insn[o->insn];

        tr_set_jump(g->e, o->jump);
        call_handlers(g, i, o->offset, 1);
        if (i->flags & DBT_INSN_TRANSFER) {
                go_on_at_rip(g);
                return;
        }
        if (o->flags)
                emit_flags_load(g);
        tr_jmp(g->e, o->back);
}

/* --- Instructions ------------------------------------------------------------------------------------------------------------ */

static void copy_imm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        for (unsigned k = i->length - t->n_imm; k < i->length; k++)
                tr_put(g->e, g->bytes[k]);
}

/* An operand of 8 or 16 bits that is written keeps the register's other bits. */
static bool reads_reg(const struct tr_insn *t)
{
        return (t->reg_use & TR_R) || t->op.op16 || (t->op.byte && t->size == 1 && t->reg_use);
}

static bool reads_rm(const struct tr_insn *t)
{
        return (t->rm_use & TR_R) || t->op.op16 || t->op.byte;
}

static unsigned reg_operand(struct gen *g, const struct tr_insn *t)
{
        if (!t->reg_use)
                return t->reg & 7;
        return reads_reg(t) ? source(g, t->reg, TR_RAX) : target(t->reg, TR_RAX);
}

static void emit_plain(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m;
        unsigned reg, rm;

        if (t->mem)
                m = operand(g, i, t->size, t->rm_use & TR_W);
        if (t->flags & TR_R)
                flags_need(g);
        reg = reg_operand(g, t);
        if (t->mem) {
                tr_op_mem(g->e, &t->op, reg, &m);
        } else {
                rm = reads_rm(t) ? source(g, t->rm, TR_RCX) : target(t->rm, TR_RCX);
                tr_op_reg(g->e, &t->op, reg, rm);
        }
        copy_imm(g, i, t);
        if (t->reg_use & TR_W)
                write_back(g, t->reg, TR_RAX);
        if (!t->mem && (t->rm_use & TR_W))
                write_back(g, t->rm, TR_RCX);
        if (t->flags & TR_W)
                flags_changed(g);
}

static void emit_lea(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem a = offset_of(g, &i->mem);

        tr_op_mem(g->e, &t->op, target(t->reg, TR_RAX), &a);
        write_back(g, t->reg, TR_RAX);
}

static void emit_mov_imm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_op op = { .opcode = t->size == 1 ? 0xc6 : 0xc7, .op16 = t->size == 2, .byte = t->size == 1 };

        if (t->size >= 4) {
                tr_mov_imm(g->e, target(t->rm, TR_RAX), t->size == 8 ? i->imm : (uint32_t)i->imm);
                write_back(g, t->rm, TR_RAX);
                return;
        }
        tr_op_reg(g->e, &op, 0, source(g, t->rm, TR_RAX));
        tr_put(g->e, i->imm & 0xff);
        if (t->size == 2)
                tr_put(g->e, i->imm >> 8 & 0xff);
        write_back(g, t->rm, TR_RAX);
}

static void emit_bswap(struct gen *g, const struct tr_insn *t)
{
        unsigned r = source(g, t->rm, TR_RAX);

        tr_put(g->e, 0x40 | (t->op.w ? 8 : 0) | (r >= 8 ? 1 : 0));
        tr_put(g->e, 0x0f);
        tr_put(g->e, 0xc8 | (r & 7));
        write_back(g, t->rm, TR_RAX);
}

static void emit_shift_cl(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = at(TR_RAX, 0);
        unsigned rm = TR_RAX;

        if (t->mem)
                m = operand(g, i, t->size, true);
        flags_need(g);
        if (t->mem) {
                tr_lea(g->e, TR_RAX, &m);
                m = at(TR_RAX, 0);
        } else {
                rm = source(g, t->rm, TR_RAX);
        }
        tr_mov(g->e, TR_RCX, HOME_RCX);
        if (t->mem)
                tr_op_mem(g->e, &t->op, t->reg & 7, &m);
        else
                tr_op_reg(g->e, &t->op, t->reg & 7, rm);
        if (!t->mem)
                write_back(g, t->rm, TR_RAX);
        flags_changed(g);
}

/* cbw, cwde, cdqe */
static void emit_cdqe(struct gen *g, const struct tr_insn *t)
{
        struct tr_op op = { .opcode = t->size == 8 ? 0x63 : t->size == 4 ? 0xbf : 0xbe, .map0f = t->size != 8,
                            .w = t->size == 8, .op16 = t->size == 2 };

        tr_op_reg(g->e, &op, HOME_RAX, HOME_RAX);
}

/* cwd, cdq, cqo: RDX is at home. */
static void emit_cdq(struct gen *g, const struct tr_insn *t)
{
        tr_mov(g->e, TR_RAX, HOME_RAX);
        if (t->size != 4)
                tr_put(g->e, t->size == 8 ? 0x48 : 0x66);
        tr_put(g->e, 0x99);
}

static void emit_mul(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m;
        unsigned rm = 0;

        if (t->mem)
                m = operand(g, i, t->size, false);
        else
                rm = source(g, t->rm, TR_RCX);
        tr_mov(g->e, TR_RAX, HOME_RAX);
        if (t->mem)
                tr_op_mem(g->e, &t->op, t->reg & 7, &m);
        else
                tr_op_reg(g->e, &t->op, t->reg & 7, rm);
        tr_mov(g->e, HOME_RAX, TR_RAX);
        flags_changed(g);
}

static void emit_cmpxchg(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m = operand(g, i, t->size, true);

        tr_mov(g->e, TR_RAX, HOME_RAX);
        tr_op_mem(g->e, &t->op, tr_home[t->reg], &m);
        tr_mov(g->e, HOME_RAX, TR_RAX);
        flags_changed(g);
}

static void emit_push_reg(struct gen *g, const struct tr_insn *t)
{
        struct tr_mem m = stack(g, -8, true);

        tr_store(g->e, &m, source(g, t->rm, TR_RAX));
        move_rsp(g, -8);
}

static void emit_push_imm(struct gen *g, const struct dbt_insn *i)
{
        static const struct tr_op op = { .opcode = 0xc7, .w = true };
        struct tr_mem m = stack(g, -8, true);

        tr_op_mem(g->e, &op, 0, &m);
        tr_put32(g->e, (uint32_t)i->imm);
        move_rsp(g, -8);
}

static void emit_pop(struct gen *g, const struct tr_insn *t)
{
        struct tr_mem m = stack(g, 0, false);

        tr_load(g->e, target(t->rm, TR_RAX), &m);
        write_back(g, t->rm, TR_RAX);
        if (t->rm != X86_RSP)
                move_rsp(g, 8);
}

static void emit_leave(struct gen *g)
{
        struct tr_mem m;

        flags_clobber(g);
        m = lookup(g, at(TR_RBP, 0), 8, false);
        tr_load(g->e, TR_RAX, &m);
        m = at(TR_RBP, 8);
        tr_lea(g->e, HOME_RSP, &m);
        tr_mov(g->e, TR_RBP, TR_RAX);
}

static void emit_jcc(struct gen *g, const struct dbt_insn *i)
{
        uint8_t *taken;

        flags_need(g);
        flags_store(g);
        taken = tr_jcc(g->e, i->cond);
        exit_to(g, g->offset + i->length);
        tr_set_jump(g->e, taken);
        exit_to(g, branch_target(g, i));
}

static void emit_jmp(struct gen *g, const struct dbt_insn *i)
{
        flags_store(g);
        exit_to(g, branch_target(g, i));
}

static void push_return(struct gen *g, const struct dbt_insn *i)
{
        struct tr_mem m = stack(g, -8, true);

        page_plus(g, (int32_t)(g->offset + i->length));
        tr_store(g->e, &m, TR_RAX);
        move_rsp(g, -8);
}

static void emit_call(struct gen *g, const struct dbt_insn *i)
{
        push_return(g, i);
        exit_to(g, branch_target(g, i));
}

static void emit_ret(struct gen *g, const struct dbt_insn *i)
{
        struct tr_mem m = stack(g, 0, false);

        tr_load(g->e, TR_RAX, &m);
        move_rsp(g, 8 + (int32_t)i->imm);
        tr_jmp(g->e, g->v->translator->jump);
}

/* The target of an indirect jump or call to RAX. */
static void load_target(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m;

        flags_store(g);
        if (t->mem) {
                m = operand(g, i, 8, false);
                tr_load(g->e, TR_RAX, &m);
        } else {
                unsigned rm = source(g, t->rm, TR_RAX);

                if (rm != TR_RAX)
                        tr_mov(g->e, TR_RAX, rm);
        }
}

static void emit_jmp_rm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        load_target(g, i, t);
        tr_jmp(g->e, g->v->translator->jump);
}

static void emit_call_rm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        load_target(g, i, t);
        store_field(g, offsetof(struct dbt_vcpu, tr_target), TR_RAX);
        push_return(g, i);
        load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        tr_jmp(g->e, g->v->translator->jump);
}

/* --- The block ----------------------------------------------------------------------------------------------------------------- */

static bool fits(int64_t value)
{
        return value == (int32_t)value;
}

/* Can the code above do it? */
static bool supported(const struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        if ((i->flags & DBT_INSN_MEM) && i->mem.base == DBT_REG_RIP && !fits((int64_t)i->mem.disp + g->offset))
                return false;
        switch (t->kind) {
        case TR_LEA:
                return !t->op.op16 || tr_home[t->reg] != TR_NO_HOME;
        case TR_CMPXCHG:
                return tr_home[t->reg] != TR_NO_HOME;
        case TR_PUSH_IMM:
                return fits((int64_t)i->imm);
        case TR_JCC:
        case TR_JMP:
        case TR_CALL:
                return fits(branch_target(g, i));
        default:
                return true;
        }
}

static void emit_branch(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        switch (t->kind) {
        case TR_JCC:
                emit_jcc(g, i);
                break;
        case TR_JMP:
                emit_jmp(g, i);
                break;
        case TR_CALL:
                emit_call(g, i);
                break;
        case TR_RET:
                emit_ret(g, i);
                break;
        case TR_JMP_RM:
                emit_jmp_rm(g, i, t);
                break;
        case TR_CALL_RM:
                emit_call_rm(g, i, t);
                break;
        }
}

static void emit_insn(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        switch (t->kind) {
        case TR_NOTHING:
                break;
        case TR_PLAIN:
                emit_plain(g, i, t);
                break;
        case TR_LEA:
                emit_lea(g, i, t);
                break;
        case TR_MOV_IMM:
                emit_mov_imm(g, i, t);
                break;
        case TR_BSWAP:
                emit_bswap(g, t);
                break;
        case TR_SHIFT_CL:
                emit_shift_cl(g, i, t);
                break;
        case TR_CDQE:
                emit_cdqe(g, t);
                break;
        case TR_CDQ:
                emit_cdq(g, t);
                break;
        case TR_MUL:
                emit_mul(g, i, t);
                break;
        case TR_CMPXCHG:
                emit_cmpxchg(g, i, t);
                break;
        case TR_PUSH_REG:
                emit_push_reg(g, t);
                break;
        case TR_PUSH_IMM:
                emit_push_imm(g, i);
                break;
        case TR_POP:
                emit_pop(g, t);
                break;
        case TR_LEAVE:
                emit_leave(g);
                break;
        default:
                emit_branch(g, i, t);
        }
}

/* With the misses of its lookups leading back behind it. */
static void emit_native(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        unsigned first = g->n_outs;

        emit_insn(g, i, t);
        for (unsigned k = first; k < g->n_outs; k++) {
                g->outs[k].back = tr_here(g->e);
                g->outs[k].flags = g->valid;
        }
}

/* Run by handlers: i and those behind it up to but not including end. */
static void emit_handlers(struct gen *g, const struct dbt_insn *i, const struct dbt_insn *end, unsigned offset)
{
        const struct dbt_insn *last = end - 1;

        flags_clobber(g);
        call_handlers(g, i, offset, (unsigned)(end - i));
        if (last->flags & DBT_INSN_ENDS_BLOCK) {
                tr_mov_imm(g->e, TR_RAX, TR_EXIT_ENDED);
                tr_jmp(g->e, g->v->translator->leave);
        } else if (last->flags & DBT_INSN_TRANSFER) {
                go_on_at_rip(g);
        }
}

/* leave: code that leaves for what was asked */
static void emit_entry(struct gen *g, const uint8_t *leave)
{
        static const struct tr_op op = { .opcode = 0x83 };
        struct tr_mem request = tr_field(offsetof(struct dbt_vcpu, request));
        struct tr_mem budget = tr_field(offsetof(struct dbt_vcpu, tr_budget));

        tr_op_mem(g->e, &op, 7, &request); /* cmp */
        tr_put(g->e, 0);
        tr_jcc_to(g->e, TR_CC_NE, leave);
        tr_op_mem(g->e, &op, 5, &budget); /* sub */
        tr_put(g->e, 1);
        tr_jcc_to(g->e, TR_CC_S, leave);
}

/* Instruction k of the guest's. */
static const struct dbt_insn *insn_of(const struct dbt_block *b, unsigned k)
{
        return &b->insn[b->fused && k + 1 >= b->n ? k + 1 : k];
}

static void emit_body(struct gen *g)
{
        const struct dbt_block *b = g->b;
        const struct dbt_insn *i = NULL, *first = NULL;
        unsigned first_offset = 0;
        struct tr_insn t;

        for (unsigned k = 0; k < b->n + (b->fused ? 1u : 0u); k++) {
                if (first && insn_of(b, k) != i + 1) { /* behind it is the fused one */
                        emit_handlers(g, first, i + 1, first_offset);
                        first = NULL;
                }
                i = insn_of(b, k);
                tr_decode(i, g->bytes, &t);
                g->insn = (unsigned)(i - b->insn);
                if (t.kind == TR_HANDLER || !supported(g, i, &t)) {
                        if (!first) {
                                first = i;
                                first_offset = g->offset;
                        }
                } else {
                        if (first)
                                emit_handlers(g, first, i, first_offset);
                        first = NULL;
                        emit_native(g, i, &t);
                }
                g->bytes += i->length;
                g->offset += i->length;
        }
        if (first)
                emit_handlers(g, first, i + 1, first_offset);
        if (!(i->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK))) {
                flags_store(g);
                exit_to(g, g->offset);
        }
}

const uint8_t *tr_emit_block(struct dbt_vcpu *v, struct tr_emit *e, struct dbt_block *b)
{
        struct gen g = { .v = v, .e = e, .b = b, .bytes = dbt_block_bytes(b) };
        const uint8_t *leave = tr_here(e), *entry;

        g.offset = (unsigned)(b->key & ~DBT_PAGE_MASK);
        tr_mov_imm(e, TR_RAX, g.offset);
        tr_jmp(e, v->translator->leave_asked);
        entry = tr_here(e);
        emit_entry(&g, leave);
        emit_body(&g);
        for (unsigned k = 0; k < g.n_outs; k++)
                emit_out(&g, &g.outs[k]);
        return e->overflow ? NULL : entry;
}
