/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The way into a block and out of it: entry, exits, branches. */

#include "hv/engine/dbt/tr-gen.h"

/* To RAX: linear address of the offset from the page's start. */
static void page_plus(struct gen *g, int32_t offset)
{
        struct tr_mem m = gen_at(TR_RAX, offset);

        gen_load_page(g, TR_RAX);
        gen_lea(g, TR_RAX, &m);
}

int64_t gen_branch_target(const struct gen *g, const struct dbt_insn *i)
{
        return (int64_t)g->offset + (int64_t)i->imm;
}

/* --- Jumps through the jump cache: inline in code that runs often, else by a routine ---------------------------------------------------------------------------------------- */

static void with_slot(struct gen *g, const struct tr_op *op, unsigned reg, size_t offset)
{
        struct tr_mem m = { .base = TR_RCX, .index = TR_NO_HOME, .vcpu = true, .disp = (int32_t)offset };

        tr_op_mem(g->e, op, reg, &m);
}

static const struct tr_op op_jmp = { .opcode = 0xff };

static size_t cached_code(const struct gen *g)
{
        return tr_jump_slots((unsigned)g->jumps) + offsetof(struct dbt_jump, code);
}

/* routine: of t->to_far or t->to_cached. The jump is here, so that the host can predict it. */
static void jump_by_routine(struct gen *g, const uint8_t *routine)
{
        tr_call(g->e, routine);
        with_slot(g, &op_jmp, 4, cached_code(g));
}

/* To v->tr_page: that of the address in RAX. */
static void take_page(struct gen *g)
{
        static const struct tr_op and = { .opcode = 0x81, .w = true };

        tr_op_reg(g->e, &and, 4, TR_RAX);
        tr_put32(g->e, (uint32_t)DBT_PAGE_MASK);
        gen_store_field(g, offsetof(struct dbt_vcpu, tr_page), TR_RAX);
}

void gen_jump_rax(struct gen *g)
{
        static const struct tr_op imul = { .opcode = 0x69 }, shr = { .opcode = 0xc1 }, cmp = { .opcode = 0x3b, .w = true }, and8 = { .opcode = 0x83 };

        gen_settle_rsp(g);
        if (g->jumps < 0) {
                tr_jmp(g->e, gen_ways(g)->jump);
                return;
        }
        if (g->b->stage == TR_SELDOM) {
                jump_by_routine(g, g->v->translator->to_cached[g->jumps]);
                return;
        }
        tr_op_reg(g->e, &imul, TR_RCX, TR_RAX);
        tr_put32(g->e, DBT_JUMP_HASH);
        tr_op_reg(g->e, &shr, 5, TR_RCX);
        tr_put(g->e, 32 - tr_jump_bits((unsigned)g->jumps) - DBT_JUMP_SHIFT);
        tr_op_reg(g->e, &and8, 4, TR_RCX);
        tr_put(g->e, 0x100 - (1 << DBT_JUMP_SHIFT << DBT_JUMP_WAYS_BITS));
        with_slot(g, &cmp, TR_RAX, cached_code(g) - offsetof(struct dbt_jump, code) + offsetof(struct dbt_jump, rip));
        tr_jcc_to(g->e, TR_CC_NE, g->v->translator->jump_in[g->jumps]);
        take_page(g);
        with_slot(g, &op_jmp, 4, cached_code(g));
}

/* --- Linked exits ---------------------------------------------------------------------------------------------------------- */

/* What begins at the page's very end may go on in the next page: the jump cache leads there as long as that page is the one it was. */
bool gen_is_within_page(int64_t offset)
{
        return offset >= 0 && offset <= (int64_t)DBT_PAGE_SIZE - ZYDIS_MAX_INSTRUCTION_LENGTH;
}

static void jump_cached(struct gen *g, int64_t offset)
{
        if ((g->b->stage == TR_SELDOM || g->e == g->seldom) && g->jumps >= 0 && gen_64(g) && !g->b->is_bound) {
                tr_mov_imm(g->e, TR_RAX, (uint32_t)offset);
                jump_by_routine(g, g->v->translator->to_far[g->jumps]);
                return;
        }
        page_plus(g, (int32_t)offset);
        gen_jump_rax(g);
}

static void jump_far(struct gen *g, int64_t offset)
{
        uint8_t *slow = gen_jump_far(g, offset);

        if (slow)
                g->exits[g->n_exits++] = (struct gen_exit){ .jump = slow, .offset = offset, .cached = true };
        else
                jump_cached(g, offset);
}

/* Can an exit to the offset be one of TR_LINK_FAR? */
static bool is_bound_exit(const struct gen *g, int64_t offset)
{
        int32_t lin;

        return !gen_is_within_page(offset) && tr_links_to(g->b, offset, &lin);
}

static bool is_forward(const struct gen *g, int64_t offset)
{
        return offset > (int64_t)g->offset;
}

/* jump: what leads to it, with flags that are not stored if dirty. */
static void add_exit(struct gen *g, uint8_t *jump, int64_t offset, bool dirty)
{
        g->exits[g->n_exits++] = (struct gen_exit){ .jump = jump, .offset = offset, .dirty = dirty, .forward = is_forward(g, offset) };
}

/* TR_LINK_HERE: smaller than with a jump to seldom run code. The flags are stored. */
static void exit_here(struct gen *g, int64_t offset)
{
        struct tr_link link = { .offset = (uint16_t)offset & 0xfff, .forward = is_forward(g, offset), .kind = TR_LINK_HERE };

        tr_call(g->e, gen_ways(g)->exit);
        link.to_entry_near = (uint16_t)(tr_here(g->e) - g->entry);
        g->links[g->n_links++] = (uint16_t)(link.to_entry_near | TR_EXIT_NEAR);
        tr_put_bytes(g->e, (const uint8_t *)&link, offsetof(struct tr_link, to_entry_near) + sizeof(link.to_entry_near));
}

/* Code that seldom runs has no tails: one call for all of a branch's exits, whether their successors read the flags or not. Keeps the flags in RFLAGS, too. */
static void store_without_tail(struct gen *g)
{
        if (g->b->stage != TR_SELDOM || !g->dirty)
                return;
        gen_flags_save(g);
        g->dirty = false;
}

/* A jump to the exit of the offset, which is seldom run code once it is linked. One that cannot be linked needs no jump, if it is always taken. */
static void jump_to_exit(struct gen *g, unsigned cond, int64_t offset)
{
        gen_settle_rsp(g);
        store_without_tail(g);
        if (cond == TR_ALWAYS && !gen_is_within_page(offset) && !is_bound_exit(g, offset)) {
                if (g->dirty)
                        gen_flags_save(g);
                jump_far(g, offset);
                return;
        }
        if (cond == TR_ALWAYS && g->b->stage == TR_SELDOM && gen_is_within_page(offset)) {
                exit_here(g, offset);
                return;
        }
        add_exit(g, tr_jcc(g->e, cond), offset, g->dirty);
}

static bool has_tail(const struct gen_exit *x)
{
        return x->dirty && gen_is_within_page(x->offset);
}

bool gen_skips_tail(const struct gen *g, const struct gen_exit *x)
{
        const struct dbt_block *to;

        if (!has_tail(x))
                return true;
        to = dbt_index_find(g->v->decode, (g->b->key & DBT_PAGE_MASK) + (uint64_t)x->offset);
        return to && to->code && !to->flags_in;
}

void gen_emit_tail(struct gen *g, struct gen_exit *x)
{
        if (!has_tail(x) || x->tail)
                return;
        tr_set_jump(g->e, x->jump);
        tr_call(g->e, g->v->translator->save_flags);
        x->tail = tr_jcc(g->e, TR_ALWAYS);
}

/* Behind the call of ways->exit: the rest of the link and of its record. */
static void put_exit(struct gen *g, const struct gen_exit *x, struct tr_link *link, size_t size)
{
        int64_t jump = x->jump + g->e->to_exec - g->entry;

        link->to_entry = (int32_t)(tr_here(g->e) - g->entry);
        link->back = jump < 0 || jump >= TR_LINK_JUMP; /* in seldom run code, too */
        if (link->back)
                jump = g->e->p - x->jump;
        g->e->overflow |= jump >= TR_LINK_JUMP;
        link->jump = (uint16_t)(jump & (TR_LINK_JUMP - 1));
        g->links[g->n_links++] = (uint16_t)(tr_here(g->e) - g->cold);
        tr_put_bytes(g->e, (const uint8_t *)link, (unsigned)size);
}

static void exit_within_page(struct gen *g, const struct gen_exit *x)
{
        struct tr_link link = { .offset = (uint16_t)x->offset & 0xfff, .forward = x->forward };
        size_t size = offsetof(struct tr_link, tail);

        if (x->tail && x->tail == g->e->p - 4) {
                link.kind = TR_LINK_TAIL_FRONT;
        } else if (x->tail) {
                link.kind = TR_LINK_TAIL;
                link.tail = (uint16_t)(x->tail + g->e->to_exec - g->entry);
                size = offsetof(struct tr_link, tail) + sizeof(link.tail);
        }
        tr_set_jump(g->e, x->tail ? x->tail : x->jump);
        tr_call(g->e, gen_ways(g)->exit);
        put_exit(g, x, &link, size);
}

static void exit_to_bound(struct gen *g, const struct gen_exit *x)
{
        struct tr_link link = { .forward = x->forward, .kind = x->dirty ? TR_LINK_FAR_SAVING : TR_LINK_FAR };
        int32_t lin;

        tr_links_to(g->b, x->offset, &lin);
        link.lin = lin;
        tr_set_jump(g->e, x->jump);
        tr_call(g->e, x->dirty ? gen_ways(g)->exit_saving : gen_ways(g)->exit);
        put_exit(g, x, &link, TR_LINK_FAR_SIZE);
}

void gen_emit_exit(struct gen *g, struct gen_exit *x)
{
        gen_emit_tail(g, x); /* not yet there: of a group apart, or skipped */
        if (gen_is_within_page(x->offset)) {
                exit_within_page(g, x);
                return;
        }
        if (is_bound_exit(g, x->offset)) {
                exit_to_bound(g, x);
                return;
        }
        tr_set_jump(g->e, x->jump);
        if (x->dirty)
                gen_flags_save(g);
        if (x->cached)
                jump_cached(g, x->offset);
        else
                jump_far(g, x->offset);
}

void gen_exit_to(struct gen *g, int64_t offset)
{
        jump_to_exit(g, TR_ALWAYS, offset);
}

/* --- Branches ---------------------------------------------------------------------------------------------------------- */

static void emit_jcc(struct gen *g, const struct dbt_insn *i)
{
        gen_flags_need(g);
        jump_to_exit(g, i->cond, gen_branch_target(g, i));
        if (g->k == g->n - 1) /* else the block goes on */
                gen_exit_to(g, g->offset + i->length);
}

/* jrcxz, loop */
static void emit_by_count(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_op test = { .opcode = 0x85, .w = gen_64(g) };
        struct tr_mem less = gen_at(HOME_RCX, -1);

        gen_flags_clobber(g);
        if (t->kind == TR_LOOP)
                gen_lea(g, HOME_RCX, &less);
        tr_op_reg(g->e, &test, HOME_RCX, HOME_RCX);
        jump_to_exit(g, t->kind == TR_LOOP ? TR_CC_NE : TR_CC_E, gen_branch_target(g, i));
        gen_exit_to(g, g->offset + i->length);
}

static void push_return(struct gen *g, const struct dbt_insn *i)
{
        static const struct tr_op mov = { .opcode = 0xc7, .w = true };
        struct tr_mem m = gen_stack(g, -(int32_t)gen_word(g), true);
        int64_t offset = g->offset + i->length;
        int32_t lin;

        if (tr_linear_of(g->b, offset, &lin)) {
                tr_op_mem(g->e, &mov, 0, &m);
                tr_put32(g->e, (uint32_t)lin);
        } else {
                page_plus(g, (int32_t)offset);
                gen_store_word(g, &m, TR_RAX);
        }
        gen_move_rsp(g, -(int32_t)gen_word(g));
}

/* --- Calls and returns, with the stack of calls: see tr-call.c ------------------------------------------------------------------------------------------- */

/* Kernels call their way through so much code that the host forgets where indirect jumps lead. Programs loop in less, and there the further jumps of this make
 * the host's guesses at other ones worse: up to 1.6 times as slow. In tests programs have them, too. */
static bool has_calls(const struct gen *g)
{
        return g->jumps >= 0 && (!(gen_mode(g) & DBT_MODE_CPL3) || (g->v->vm->config.translate_hot && !gen_mirrored(g)));
}

/* Where the call's ret comes back to: RAX is the address that the guest goes back to. */
static void come_back(struct gen *g, const struct dbt_insn *i)
{
        static const struct tr_op cmp = { .opcode = 0x3b, .w = true }, add = { .opcode = 0x83, .w = true };
        struct tr_mem told = gen_at(TR_RSP, 0);

        tr_op_mem(g->e, &cmp, TR_RAX, &told);
        tr_jcc_to(g->e, TR_CC_NE, g->v->translator->returned[g->jumps]);
        tr_op_reg(g->e, &add, 0, TR_RSP);
        tr_put(g->e, 8);
        g->valid = 0;
        g->dirty = false;
        if (!gen_is_within_page(g->offset + i->length)) {
                gen_jump_rax(g);
                return;
        }
        take_page(g);
        gen_exit_to(g, g->offset + i->length);
}

void gen_calls_of(struct gen *g, int jumps)
{
        static const struct tr_op mov_byte = { .opcode = 0xc6 };
        struct tr_mem of = tr_field(offsetof(struct dbt_vcpu, tr_calls_of));

        gen_store_field(g, offsetof(struct dbt_vcpu, calls) + (size_t)g->jumps * sizeof(struct dbt_calls) + offsetof(struct dbt_calls, top), TR_RSP);
        gen_load_field(g, TR_RSP, offsetof(struct dbt_vcpu, calls) + (size_t)jumps * sizeof(struct dbt_calls) + offsetof(struct dbt_calls, top));
        tr_op_mem(g->e, &mov_byte, 0, &of);
        tr_put(g->e, (unsigned)jumps);
}

/* In: RAX the address behind the call. Returns the call's displacement. */
static uint8_t *begin_call(struct gen *g)
{
        gen_settle_rsp(g);
        tr_put(g->e, 0x50); /* push rax */
        return tr_call_later(g->e);
}

static void call_near(struct gen *g, const struct dbt_insn *i)
{
        bool dirty = g->dirty;

        add_exit(g, begin_call(g), gen_branch_target(g, i), dirty);
        come_back(g, i);
}

static void emit_call(struct gen *g, const struct dbt_insn *i)
{
        int64_t target = gen_branch_target(g, i);
        uint8_t *call;

        if (has_calls(g) && (!gen_is_within_page(target) || g->b->stage == TR_SELDOM))
                gen_flags_clobber(g);
        push_return(g, i);
        if (!has_calls(g)) {
                gen_exit_to(g, target);
                return;
        }
        if (gen_is_within_page(target)) {
                call_near(g, i);
                return;
        }
        call = begin_call(g);
        come_back(g, i);
        tr_set_jump(g->e, call);
        jump_far(g, target);
}

static void emit_ret(struct gen *g, const struct dbt_insn *i)
{
        struct tr_mem m;

        gen_flags_clobber(g);
        m = gen_stack(g, 0, false);
        gen_load_word(g, TR_RAX, &m);
        gen_move_rsp(g, (int32_t)gen_word(g) + (int32_t)i->imm);
        if (!has_calls(g)) {
                gen_jump_rax(g);
                return;
        }
        gen_settle_rsp(g);
        tr_put(g->e, 0xc3);
}

/* The target of an indirect jump or call to RAX. */
static void load_target(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        struct tr_mem m;

        gen_flags_clobber(g);
        if (t->mem) {
                m = gen_operand(g, i, gen_word(g), false);
                gen_load_word(g, TR_RAX, &m);
        } else {
                unsigned rm = gen_source(g, t->rm, TR_RAX);

                m = gen_at(rm, 0);
                if (rm != TR_RAX || !gen_64(g))
                        gen_lea(g, TR_RAX, &m);
        }
}

static void emit_jmp_rm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        load_target(g, i, t);
        gen_jump_rax(g);
}

static void emit_call_rm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        uint8_t *call;

        load_target(g, i, t);
        gen_store_field(g, offsetof(struct dbt_vcpu, tr_target), TR_RAX);
        push_return(g, i);
        if (has_calls(g)) {
                call = begin_call(g);
                come_back(g, i);
                tr_set_jump(g->e, call);
        }
        gen_load_field(g, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        gen_jump_rax(g);
}

void gen_branch(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t)
{
        switch (t->kind) {
        case TR_JCC:
                emit_jcc(g, i);
                break;
        case TR_JRCXZ:
        case TR_LOOP:
                emit_by_count(g, i, t);
                break;
        case TR_JMP:
                gen_exit_to(g, gen_branch_target(g, i));
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

/* TR_HEADER_*. */
static void put_header(struct gen *g)
{
        if (g->b->stage == TR_OFTEN)
                tr_call(g->e, gen_ways(g)->leave_asked); /* here, so that a short jump leads to it */
        if (g->b->stage == TR_OFTEN || gen_mirrored(g)) {
                tr_call(g->e, g->v->translator->save_flags);
                TR_CODE(g->e, 0xeb, TR_HEADER_LINKS); /* jmp rel8 */
        }
        tr_put32(g->e, 0);
        tr_put32(g->e, dbt_block_place(g->v->decode, g->b));
        g->entry = tr_here(g->e);
}

void gen_entry(struct gen *g)
{
        static const struct tr_op op = { .opcode = 0x83, .ends = 2 };
        struct tr_mem request = tr_field(offsetof(struct dbt_vcpu, request));

        put_header(g);
        if (g->b->stage != TR_OFTEN) {
                tr_call(g->e, gen_ways(g)->count);
                return;
        }
        tr_op_mem(g->e, &op, 7, &request); /* cmp dword [request], 0 */
        tr_put(g->e, 0);
        tr_put(g->e, 0x70 | TR_CC_NE);
        tr_put(g->e, (unsigned)(g->entry - TR_HEADER_LEAVE - (tr_here(g->e) + 1)) & 0xff);
        g->b->skip = (uint8_t)(tr_here(g->e) - g->entry); /* others are sampled, and so have to be counted */
}
