/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Code for one block. See tr.h for the convention. */

#include "hv/engine/dbt/tr-gen.h"

const uint8_t tr_home[X86_NGPRS] = {
        [X86_RAX] = HOME_RAX, [X86_RCX] = HOME_RCX, [X86_RDX] = TR_RDX, [X86_RBX] = TR_RBX, [X86_RSP] = HOME_RSP, [X86_RBP] = TR_RBP,
        [X86_RSI] = TR_RSI, [X86_RDI] = TR_RDI, [X86_R8] = 8, [X86_R9] = 9, [X86_R10] = TR_NO_HOME,
        [X86_R11] = TR_NO_HOME, [X86_R12] = 12, [X86_R13] = 13, [X86_R14] = 14, [X86_R15] = TR_NO_HOME,
};

const uint8_t tr_kept[TR_KEPT_MAX] = { X86_R10, X86_R11, X86_R15 };

/* --- Handlers -------------------------------------------------------------------------------------------------------------- */

static void call_handlers(struct gen *g, const struct dbt_insn *i, unsigned offset, unsigned n)
{
        if (g->b->is_bound) {
                gen_load_page(g, TR_RAX);
                gen_store_field(g, offsetof(struct dbt_vcpu, tr_page), TR_RAX);
        }
        tr_mov_imm(g->e, TR_RAX, (uintptr_t)i);
        tr_mov_imm(g->e, TR_RCX, offset | n << 16);
        tr_call(g->e, gen_ways(g)->call);
        tr_jcc_to(g->e, TR_CC_NE, gen_ways(g)->leave_jump);
}

static void go_on_at_rip(struct gen *g)
{
        tr_jmp(g->e, gen_ways(g)->jump_rip);
}

/* --- The block ----------------------------------------------------------------------------------------------------------------- */

static bool fits(int64_t value)
{
        return value == (int32_t)value;
}

/* Is the stack of calls one of those that code can change between? */
static bool has_calls_beyond(const struct gen *g, bool ac)
{
        return g->jumps >= 0 && tr_jump_mode(g->v, gen_mode_with_ac(g, ac)) >= 0;
}

/* Can the other files do it? */
static bool supported(const struct gen *g, const struct gen_insn *n)
{
        const struct dbt_insn *i = n->i;
        const struct tr_insn *t = &n->t;

        if ((i->flags & DBT_INSN_MEM) && i->mem.base == DBT_REG_RIP && !fits((int64_t)i->mem.disp + n->offset))
                return false;
        switch (t->kind) {
        case TR_CLD: /* what they write or read is out of reach */
        case TR_STD:
        case TR_RDTSC:
        case TR_CMPXCHG_WIDE: /* a miss finds registers exchanged */
                return !gen_mirrored(g);
        case TR_LEA:
                return !t->op.op16 || tr_home[t->reg] != TR_NO_HOME;
        case TR_NATIVE:
                return gen_native_supported(i, n->bytes);
        case TR_CMPXCHG:
                return tr_home[t->reg] != TR_NO_HOME;
        case TR_SHIFTD_CL:
                return tr_home[t->reg] != TR_NO_HOME || (!t->mem && tr_home[t->rm] != TR_NO_HOME);
        case TR_MOV_FROM_SEG:
                return t->mem || !t->op.op16 || tr_home[t->rm] != TR_NO_HOME;
        case TR_STAC:
        case TR_CLAC:
                return !(gen_mode(g) & DBT_MODE_CPL3) && n->offset + i->length < DBT_PAGE_SIZE && has_calls_beyond(g, t->kind == TR_STAC);
        case TR_CLI:
        case TR_STI:
        case TR_SWAPGS:
                return !(gen_mode(g) & DBT_MODE_CPL3);
        case TR_PUSH_IMM:
                return !gen_64(g) || fits((int64_t)i->imm);
        case TR_JCC:
        case TR_JRCXZ:
        case TR_LOOP:
        case TR_JMP:
        case TR_CALL:
                return fits((int64_t)n->offset + (int64_t)i->imm);
        default:
                return true;
        }
}

/* --- Before code is made ------------------------------------------------------------------------------------------------------ */

/* Instruction k of the guest's. */
static const struct dbt_insn *insn_of(const struct dbt_block *b, unsigned k)
{
        return &b->insn[b->fused && k + 1 >= b->n ? k + 1 : k];
}

static void look(struct gen *g)
{
        const uint8_t *bytes = dbt_block_bytes(g->source);
        unsigned offset = (unsigned)(g->b->key & ~DBT_PAGE_MASK);

        g->n = g->source->n + (g->source->fused ? 1u : 0u);
        for (unsigned k = 0; k < g->n; k++) {
                struct gen_insn *n = &g->insns[k];

                n->i = insn_of(g->source, k);
                n->bytes = bytes;
                n->offset = (uint16_t)offset;
                tr_decode(n->i, bytes, gen_64(g), &n->t);
                if (!supported(g, n))
                        n->t.kind = TR_HANDLER;
                tr_use(n->i, &n->t, &n->use);
                bytes += n->i->length;
                offset += n->i->length;
        }
}

/* Which flags are alive where. All are at the end: that successors overwrite them is found out when they are linked. */
static void flags_liveness(struct gen *g)
{
        bool exact = g->v->vm->config.exact_flags;
        uint8_t live = TR_ALL_FLAGS;

        for (unsigned k = g->n; k-- > 0;) {
                struct gen_insn *n = &g->insns[k];

                n->live_out = live;
                if (n->t.kind == TR_JCC) /* what is taken may need them */
                        live = TR_ALL_FLAGS;
                live = exact ? TR_ALL_FLAGS : (uint8_t)(n->use.flags_read | (live & ~n->use.flags_written));
                n->live_in = live;
        }
        g->b->flags_in = live;
}

/* --- Making code ---------------------------------------------------------------------------------------------------------------- */

/* Runs the instruction in a way that leaves translated code, or may. */
static bool is_way_out(const struct gen_insn *n)
{
        return n->t.kind == TR_HANDLER || n->t.kind >= TR_STI;
}

static void begin_insn(struct gen *g, unsigned k)
{
        struct gen_insn *n = &g->insns[k];
        int32_t by;

        gen_scratch_before(g, k);
        if (is_way_out(n))
                gen_x87_flush(g);
        if (!g->apart)
                n->x87 = g->x87;
        if (!gen_bears_moved_rsp(n) && !gen_only_moves_rsp(g, n, &by))
                gen_settle_rsp(g);
        n->rsp = g->rsp;

        g->k = k;
        g->bytes = n->bytes;
        g->offset = n->offset;
        g->live = n->live_in;
        g->written = n->use.flags_written;
        g->need = n->use.flags_read | (n->use.flags_touched ? n->live_out & ~n->use.flags_written : 0);
}

/* Does RCX keep what it held before? */
static bool keeps_rcx(const struct gen_insn *n)
{
        const struct tr_insn *t = &n->t;

        if (gen_scratch_uses(n)) /* if not, gen_scratch says so */
                return true;
        switch (t->kind) {
        case TR_PUSH_REG:
        case TR_PUSH_IMM:
        case TR_POP:
        case TR_LEA: /* relative to RIP */
                return true;
        case TR_PLAIN:
                return t->mem && !t->high_reg;
        case TR_NATIVE:
                return gen_native_keeps_rcx(n->i);
        default:
                return false;
        }
}

static void end_insn(struct gen *g, unsigned k)
{
        gen_scratch_behind(g, k);
        if (!keeps_rcx(&g->insns[k]))
                g->held = -1;
        g->live = g->insns[k].live_out;
        if (g->apart)
                return;
        g->insns[k].rsp_behind = g->rsp;
        g->insns[k].behind = tr_here(g->e);
        g->insns[k].valid = g->valid;
        g->insns[k].fpu = g->fpu;
}

void gen_emit_insn(struct gen *g, unsigned k)
{
        const struct gen_insn *n = &g->insns[k];
        int32_t by;

        begin_insn(g, k);
        if (gen_only_moves_rsp(g, n, &by))
                gen_move_rsp(g, by);
        else if (n->t.kind >= TR_JCC)
                gen_branch(g, n->i, &n->t);
        else if (n->t.kind == TR_NATIVE)
                gen_native(g, n->i);
        else
                gen_integer(g, n->i, &n->t);
        end_insn(g, k);
}

/* Instructions from k on that are run by handlers in one go. */
static unsigned handlers_from(const struct gen *g, unsigned k)
{
        unsigned end = k + 1;

        while (end < g->n && g->insns[end].t.kind == TR_HANDLER)
                end++;
        return end - k;
}

/* Copies of instructions, for their handlers. */
static const struct dbt_insn *keep_insns(struct gen *g, unsigned k, unsigned count)
{
        struct dbt_insn *first = &g->b->insn[g->b->n];

        for (unsigned end = k + count; k < end; k++) {
                g->b->insn[g->b->n++] = *g->insns[k].i;
                g->b->stubs |= g->insns[k].i->mem.stub;
        }
        return first;
}

/* Returns how many instructions that was. */
static unsigned emit_handlers(struct gen *g, unsigned k)
{
        unsigned count = handlers_from(g, k);
        const struct dbt_insn *last = g->insns[k + count - 1].i;

        begin_insn(g, k);
        gen_flags_clobber(g);
        g->fpu = GEN_FPU_UNKNOWN;
        call_handlers(g, keep_insns(g, k, count), g->offset, count);
        if (last->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK))
                go_on_at_rip(g);
        end_insn(g, k + count - 1);
        return count;
}

static void emit_body(struct gen *g)
{
        const struct gen_insn *last = &g->insns[g->n - 1];

        for (unsigned k = 0; k < g->n;) {
                if (g->insns[k].t.kind == TR_HANDLER)
                        k += emit_handlers(g, k);
                else
                        gen_emit_insn(g, k++);
        }
        gen_scratch_settle(g, 1u << TR_RAX | 1u << TR_RCX);
        gen_x87_flush(g);
        if (!(last->i->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK)) || (last->t.kind >= TR_STI && last->t.kind <= TR_STAC))
                gen_exit_to(g, last->offset + last->i->length);
}

/* The sizes of the code's parts. */
static void count(struct gen *g, size_t straight, size_t outs, size_t exits)
{
        struct tr_stats *s = &g->v->translator->stats;

        s->blocks++;
        s->often += g->b->stage == TR_OFTEN;
        s->insns += g->n;
        s->straight += straight;
        s->outs += outs;
        s->exits += exits;
}

static void emit_straight(struct gen *g)
{
        g->e = g->straight;
        gen_entry(g);
        emit_body(g);
        for (unsigned k = 0; k < g->n_exits; k++)
                if (!gen_skips_tail(g, &g->exits[k]))
                        gen_emit_tail(g, &g->exits[k]);
}

static void emit_exits(struct gen *g)
{
        for (unsigned k = 0; k < g->n_exits; k++)
                gen_emit_exit(g, &g->exits[k]);
}

static void init(struct gen *g, struct dbt_vcpu *v, struct tr_emit *straight, struct tr_emit *seldom, const struct dbt_block *source, struct dbt_block *b)
{
        g->v = v;
        g->e = g->seldom = seldom;
        g->straight = straight;
        g->source = source;
        g->b = b;
        g->cold = tr_here(seldom);
        b->cold = (uint32_t)(g->cold - v->translator->exec);
        g->n_outs = g->n_exits = g->n_links = 0;
        g->apart = false;
        g->held = -1;
        g->scratch[0].used = g->scratch[1].used = false;
        g->rsp = 0;
        g->valid = 0;
        g->dirty = false;
        g->fpu = GEN_FPU_UNKNOWN;
        g->x87 = (struct gen_x87){ .insn = false };
        g->jumps = tr_jump_mode(v, gen_mode(g));
}

/* What is behind the block's instructions. */
static void finish(const struct gen *g, const struct dbt_block *first)
{
        struct dbt_block *b = g->b;
        const uint8_t *from = dbt_block_bytes(g->source);
        uint8_t *to = (uint8_t *)dbt_block_bytes(b);
        uint16_t *exits = dbt_block_exits(b);
        size_t used = (size_t)((uint8_t *)(exits + g->n_links) - (uint8_t *)b);
        bool more = b->crosses || b->n_sites;

        for (unsigned k = 0; k < b->size; k++)
                to[k] = from[k];
        for (unsigned k = 0; k < g->n_links; k++)
                exits[k] = g->links[k];
        b->n_exits = (uint8_t)g->n_links;
        if (more)
                used += sizeof(struct dbt_block_more);
        b->space = (uint16_t)(ALIGN_UP(used, DBT_BLOCK_ALIGN) / DBT_BLOCK_ALIGN);
        if (more)
                *dbt_block_more(b) = (struct dbt_block_more){ .second = b->crosses ? dbt_block_more(first)->second : DBT_NO_PAGE, .by_tlb = g->by_tlb };
}

const uint8_t *tr_emit_block(struct dbt_vcpu *v, struct tr_emit *straight, struct tr_emit *seldom, const struct tr_source *source, struct dbt_block *b)
{
        const uint8_t *start = tr_here(straight), *outs, *exits;
        struct gen g;

        init(&g, v, straight, seldom, source->block, b);
        g.by_tlb = source->by_tlb;
        look(&g);
        flags_liveness(&g);
        gen_plan_groups(&g);
        gen_plan_scratch(&g);
        emit_straight(&g);
        outs = tr_here(straight);
        g.e = seldom;
        gen_emit_outs(&g);
        exits = tr_here(seldom);
        emit_exits(&g);
        finish(&g, source->part[0]);
        if (straight->overflow || seldom->overflow)
                return NULL;
        count(&g, (size_t)(outs - start), (size_t)(exits - (straight == seldom ? outs : g.cold)), (size_t)(tr_here(seldom) - exits));
        return g.entry;
}
