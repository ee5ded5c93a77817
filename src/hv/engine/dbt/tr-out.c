/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The ways out of a block's straight code: TLB misses, and instructions that their handlers run now and then.
 *
 * There are so many that they are kept small: each is a call of a common routine with a record behind it, which says where to go on. Faults of the host, and
 * of t->check, have a table, struct tr_fault, where most are all that there is of the way out. Of the instructions only the bytes are kept; those that handlers run
 * this way are decoded again. */

#include "hv/engine/dbt/exec.h"
#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/native.h"
#include "hv/engine/dbt/sys.h"
#include "hv/engine/dbt/tr-gen.h"

/* --- Making them ----------------------------------------------------------------------------------------------------------- */

static void put_bytes(struct gen *g, const void *from, size_t n)
{
        for (const uint8_t *p = from; n > 0; n--)
                tr_put(g->e, *p++);
}

uint8_t *tr_put_out_record(uint8_t *p, const struct tr_out_record *o, const struct tr_out_rsp *rsp)
{
        *(struct tr_out_record *)p = *o;
        p += sizeof(*o);
        if (!o->moved)
                return p;
        *(struct tr_out_rsp *)p = *rsp;
        return p + sizeof(*rsp);
}

static int32_t back_to(const struct gen *g, const uint8_t *to)
{
        return (int32_t)(tr_here(g->e) - to);
}

void gen_miss_tlb(struct gen *g, const struct gen_out *o)
{
        struct tr_miss_record m = { .span = (uint16_t)o->span };

        tr_call(g->e, o->how == TR_MISS_STACK ? g->v->translator->missed_stack[gen_view(g)] : g->v->translator->missed[o->how]);
        m.back = back_to(g, o->retry);
        put_bytes(g, &m, sizeof(m));
}

/* Handlers run instructions k up to its last. */
static void put_out(struct gen *g, unsigned k)
{
        const struct gen_insn *first = &g->insns[k], *last = &g->insns[first->last];
        struct tr_out_record o = { .offset = first->offset, .fpu = last->fpu, .n = (uint8_t)(first->last - k + 1) };
        struct tr_out_rsp rsp = { .before = first->rsp, .behind = -last->rsp_behind };

        o.moved = rsp.before || rsp.behind;
        tr_call(g->e, gen_ways(g)->out);
        o.to_entry = back_to(g, g->entry);
        o.behind = (uint16_t)(last->behind - g->entry);
        put_bytes(g, &o, sizeof(o));
        if (o.moved)
                put_bytes(g, &rsp, sizeof(rsp));
}

/* What a way out does before it joins the others of its instruction. */
static void emit_way(struct gen *g, const struct gen_out *o)
{
        struct tr_fault *f;

        if (o->jump) {
                gen_miss(g, o);
                return;
        }
        f = tr_fault_new(g->v->translator, o->fault);
        f->own = true;
        f->exit = (uint32_t)(tr_here(g->e) - g->v->translator->exec);
        if (o->count)
                tr_mov(g->e, HOME_RCX, TR_RCX);
        if (o->store)
                gen_flags_save(g);
}

static bool is_plain_jump(const struct gen_out *o)
{
        return o->jump && o->how == TR_MISSES;
}

/* Ways out of the instruction that o[0] to o[count - 1] belong to, but for those that the table tells all of: at most three have code of their own. */
static void emit_ways(struct gen *g, const struct gen_out *o, unsigned count)
{
        uint8_t *joins[GEN_WAYS];
        unsigned n = 0;

        for (unsigned k = 0; k < count; k++) {
                if (is_plain_jump(&o[k]) || o[k].told)
                        continue;
                emit_way(g, &o[k]);
                joins[n++] = tr_jcc(g->e, TR_ALWAYS);
        }
        if (n) { /* the last one falls through */
                g->e->p = joins[--n] - 1;
        }
        for (unsigned k = 0; k < count; k++)
                if (is_plain_jump(&o[k]))
                        tr_set_jump(g->e, o[k].jump);
        while (n > 0)
                tr_set_jump(g->e, joins[--n]);
}

/* --- Groups apart: where a group's check fails, in most cases because it reaches into a second page, code that runs often does its instructions
 * with a check for each. ----------------------------------------------------------------------------------------------------------- */

static bool has_room(const struct gen *g, unsigned insns)
{
        return ARRAY_SIZE(g->outs) - g->n_outs >= insns * GEN_WAYS;
}

/* Its pointers are put off, too, see tr-x87.c. */
static bool touches_x87(const struct gen_insn *n)
{
        const struct native_stub *s = n->i->native;

        return n->x87.insn || n->x87.data || (n->t.kind == TR_NATIVE && s->class == NATIVE_X87);
}

static bool is_worth_apart(const struct gen *g, const struct gen_out *o)
{
        const struct gen_insn *n = &g->insns[o->k];
        const struct gen_group *group = n->group >= 0 ? &g->groups[n->group] : NULL;

        if (o->apart || g->b->stage != TR_OFTEN || !group || group->members < 2 || group->first != o->k)
                return false;
        for (unsigned k = o->k; k <= n->last; k++)
                if (g->insns[k].t.kind == TR_CALL || g->insns[k].t.kind == TR_CALL_RM || g->insns[k].t.kind == TR_HANDLER || touches_x87(&g->insns[k]))
                        return false;
        return has_room(g, n->last - o->k + 1u);
}

/* The flags are stored, RCX and RAX are free. Goes on behind the last one. */
static void emit_apart(struct gen *g, unsigned k)
{
        const struct gen_insn *last = &g->insns[g->insns[k].last];

        g->apart = true;
        g->held = -1;
        g->rsp = g->insns[k].rsp;
        g->valid = 0;
        g->dirty = false;
        g->fpu = k ? g->insns[k - 1].fpu : GEN_FPU_UNKNOWN;
        for (; &g->insns[k] <= last; k++)
                gen_emit_insn(g, k);
        if (!(last->i->flags & DBT_INSN_TRANSFER)) {
                gen_flags_store(g);
                if (last->valid & ~g->valid)
                        gen_flags_load(g);
                tr_jmp(g->e, last->behind);
        }
        /* As at the end of the straight code. */
        g->apart = g->dirty = false;
        g->rsp = 0;
}

/* What is to be added to RSP before and behind the handlers, in sum. */
static int32_t rsp_sum(const struct gen_insn *first, const struct gen_insn *last)
{
        if (last->i->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK)) /* code does not go on behind it */
                return 0;
        return first->rsp - last->rsp_behind;
}

/* Is there room in an entry of the table? */
static bool fits_table(const struct gen_insn *first, const struct gen_insn *last, const struct gen_out *o, int64_t to_entry)
{
        int32_t before = first->rsp, sum = rsp_sum(first, last);
        int64_t behind = last->behind - o->fault;

        if (before % 8 || before / 8 < -64 || before / 8 > 63 || sum % 8 || sum / 8 < -4 || sum / 8 > 3)
                return false;
        return to_entry >= 0 && to_entry <= 0xfff && behind >= 0 && behind <= 0xff;
}

/* A fault of which an entry in the table tells all. Returns whether it is one. */
static bool tell(struct gen *g, struct gen_out *o)
{
        const struct gen_insn *first = &g->insns[o->k], *last = &g->insns[first->last];
        int64_t to_entry = o->fault - g->entry;
        struct tr_fault *f;

        if (o->jump || o->apart || o->count || first->x87.insn || first->x87.data || is_worth_apart(g, o) || !fits_table(first, last, o, to_entry))
                return false;
        f = tr_fault_new(g->v->translator, o->fault);
        f->store = o->store;
        f->fpu = last->fpu & 3;
        f->n = gen_mirrored(g) ? o->kept & 63 : (first->last - o->k + 1u) & 63;
        f->rsp_before = first->rsp / 8;
        f->rsp_sum = rsp_sum(first, last) / 8;
        f->offset = first->offset & 0xfff;
        f->to_entry = to_entry & 0xfff;
        f->behind = (last->behind - o->fault) & 0xff;
        return true;
}

/* Returns whether that is so of all. */
static bool tell_all(struct gen *g, struct gen_out *o, unsigned count)
{
        bool all = true;

        for (unsigned k = 0; k < count; k++) {
                o[k].told = tell(g, &o[k]);
                all &= o[k].told;
        }
        return all;
}

static bool belong_together(const struct gen_out *a, const struct gen_out *b)
{
        return a->k == b->k && a->apart == b->apart;
}

void gen_emit_outs(struct gen *g)
{
        unsigned count;

        /* Groups apart have further ones. */
        for (unsigned k = 0; k < g->n_outs; k += count) {
                for (count = 1; k + count < g->n_outs && belong_together(&g->outs[k + count], &g->outs[k]);)
                        count++;
                if (tell_all(g, &g->outs[k], count))
                        continue;
                emit_ways(g, &g->outs[k], count);
                if (is_worth_apart(g, &g->outs[k])) {
                        emit_apart(g, g->outs[k].k);
                } else {
                        g->e->overflow |= g->outs[k].kept != 0; /* nothing tells of it here */
                        gen_x87_store(g, &g->insns[g->outs[k].k].x87);
                        put_out(g, g->outs[k].k);
                }
        }
}

/* --- Taking them ----------------------------------------------------------------------------------------------------------- */

static const uint8_t *stack_missed(struct dbt_vcpu *v, uint64_t difference, const uint8_t *at)
{
        const struct tr_miss_record *m = (const struct tr_miss_record *)at;

        return tr_stack_missed(v, difference ^ v->tr_stack[v->mmu].match, m->span & (TR_SPAN_WRITE - 1), m->span & TR_SPAN_WRITE) ? at - m->back : at + sizeof(*m);
}

const uint8_t *tr_tlb_missed(struct dbt_vcpu *v, uint64_t difference, uint64_t entry, const uint8_t *at, enum tr_miss how)
{
        const struct dbt_tlb_entry *e = (const struct dbt_tlb_entry *)((const uint8_t *)v->tlb_now + entry);
        const struct tr_miss_record *m = (const struct tr_miss_record *)at;
        uint64_t lin;

        if (how == TR_MISS_STACK)
                return stack_missed(v, difference, at);
        lin = difference ^ (how & 1 ? e->match_write : e->match_read);
        return tr_tlb_entry(v, lin, m->span, how & 1) ? at - m->back : at + sizeof(*m);
}

/* By example where possible, which looks at more bytes than the last instructions have behind them: these are 0, and part of no instruction. */
void tr_decode_known(struct dbt_vcpu *v, const struct dbt_block *b, unsigned at, struct dbt_insn *ret)
{
        const uint8_t *bytes = tr_block_bytes(v, b) + at;
        unsigned left = b->size - at;
        uint8_t padded[DBT_QUICK_MIN];

        if (b->quick) /* there is more in the page */
                left = (unsigned)(DBT_PAGE_SIZE - ((b->key + at) & ~DBT_PAGE_MASK));
        if (left >= sizeof(padded)) {
                dbt_decode(v, bytes, left, ret);
                return;
        }
        for (unsigned k = 0; k < sizeof(padded); k++)
                padded[k] = k < left ? bytes[k] : 0;
        if (!dbt_decode_quick(v, padded, sizeof(padded), ret))
                dbt_decode(v, bytes, left, ret);
}

const struct dbt_insn *dbt_tr_insn(struct dbt_vcpu *v, const struct dbt_block *b, unsigned at)
{
        struct tr_decoded *d = &v->translator->decoded[(((uintptr_t)b / DBT_BLOCK_ALIGN) + at) % TR_DECODED];

        if (d->block == b && d->at == at)
                return &d->insn;
        if (dbt_native_full(v)) {
                dbt_tr_forget_decoded(v);
                dbt_decode_forget(v);
        } else if (d->block) {
                dbt_native_release(v, &d->insn);
        }
        tr_decode_known(v, b, at, &d->insn);
        d->block = b;
        d->at = at;
        return &d->insn;
}

void dbt_tr_forget_decoded(struct dbt_vcpu *v)
{
        struct tr_decoded *d = v->translator ? v->translator->decoded : NULL;

        for (unsigned k = 0; d && k < TR_DECODED; k++) {
                if (d[k].block)
                        dbt_native_release(v, &d[k].insn);
                d[k].block = NULL;
        }
}

static bool is_dropped(const struct dbt_block *b)
{
        return __atomic_load_n(&b->dead, __ATOMIC_RELAXED);
}

/* Runs n instructions from offset at of the block on. Returns the last one. */
static const struct dbt_insn *run_handlers(struct dbt_vcpu *v, const struct dbt_block *b, unsigned at, unsigned n)
{
        const struct dbt_insn *i;
        uint64_t rip = v->rip;
        unsigned length;

        do {
                if (is_dropped(b))
                        siglongjmp(v->unwind, DBT_UNWIND_RESTART);
                i = dbt_tr_insn(v, b, at);
                length = i->length;
                i->fn(v, i);
                at += length;
                rip += length;
                if (!(i->flags & DBT_INSN_TRANSFER))
                        v->rip = rip;
        } while (--n > 0);
        return i;
}

/* Groups that reach into a second page are run by handlers as a whole. A block for which that takes most of the time is better off without. */
static void count_closure(struct dbt_vcpu *v, struct dbt_block *b, uint64_t start)
{
        struct tr_sites *sites = &v->translator->sites;
        uint64_t now = dbt_host_tsc();
        bool most;

        v->tr_closure_ticks += now - start;
        if (++v->tr_closures % TR_CLOSURES)
                return;
        most = v->tr_closure_ticks > (now - v->tr_closures_since) / 2;
        v->tr_closure_ticks = 0;
        v->tr_closures_since = now;
        if (!most || sites->convert || b->apart)
                return;
        b->apart = true;
        sites->convert = b;
        dbt_ask(v, DBT_REQ_CONVERT);
}

static bool is_fpu_ready(const struct dbt_vcpu *v, enum gen_fpu state)
{
        return (state < GEN_FPU_LIVE || (v->fpu_live && !v->fpu_trap)) && (state < GEN_FPU_AVX || !v->avx_trap);
}

/* What is to be done, from either record. */
struct way {
        struct dbt_block *b;
        unsigned offset, n;    /* in the page, of the first instruction; instructions */
        enum gen_fpu fpu;
        struct tr_out_rsp rsp;
        const uint8_t *behind; /* where to go on */
};

static const uint8_t *behind_handlers(struct dbt_vcpu *v, const struct way *w, const struct dbt_insn *last)
{
        const struct tr_ways *ways = &v->translator->ways[tr_is_mirrored((uint32_t)(w->b->key >> 56))];

        if (is_dropped(w->b) || (atomic_load_explicit(&v->request, memory_order_relaxed) & DBT_REQ_CODE))
                return ways->leave_jump;
        if (last->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK))
                return (last->flags & DBT_INSN_ENDS_BLOCK) && dbt_must_stop(v) ? ways->leave_jump : ways->jump_rip;
        if (!is_fpu_ready(v, w->fpu))
                return ways->leave_jump;
        v->gpr[X86_RSP] += (uint64_t)(int64_t)w->rsp.behind;
        return w->behind;
}

static const uint8_t *go(struct dbt_vcpu *v, const struct way *w)
{
        uint64_t start = w->n > 1 ? dbt_host_tsc() : 0, missed = mirror_begin_miss(v);
        const struct dbt_insn *last;

        dbt_set_flags(v, v->tr_flags);
        v->rip = (w->b->is_bound ? w->b->bound : v->tr_page) + w->offset;
        v->gpr[X86_RSP] += (uint64_t)(int64_t)w->rsp.before;
        last = run_handlers(v, w->b, w->offset - (unsigned)(w->b->key & ~DBT_PAGE_MASK), w->n);
        v->tr_flags = dbt_flags_ax(v);
        tr_calls_follow(v);
        if (missed)
                mirror_end_miss(v, missed);
        if (w->n > 1)
                count_closure(v, w->b, start);
        return behind_handlers(v, w, last);
}

const uint8_t *tr_out(struct dbt_vcpu *v, const uint8_t *at)
{
        const struct tr_out_record *o = (const struct tr_out_record *)at;
        const uint8_t *entry = at - o->to_entry;
        struct way w = { .b = tr_block_at(v, entry), .offset = o->offset, .n = o->n, .fpu = o->fpu, .behind = entry + o->behind };

        if (o->moved)
                w.rsp = *(const struct tr_out_rsp *)(o + 1);
        return go(v, &w);
}

/* The host registers that mirrored code has kept guest registers in, and their places in v->gpr: what TR_KEPT_* of that one tells. */
static uint64_t *kept_in(struct dbt_vcpu *v, unsigned kept)
{
        return &v->gpr[tr_kept[(kept & TR_KEPT_REG) - 1]];
}

static void take_kept(struct dbt_vcpu *v, unsigned kept)
{
        for (unsigned r = TR_RAX; kept; r++, kept >>= TR_KEPT_BITS)
                if (kept & TR_KEPT_DIRTY)
                        *kept_in(v, kept) = v->tr_saved[r];
}

static void give_kept(struct dbt_vcpu *v, unsigned kept)
{
        for (unsigned r = TR_RAX; kept; r++, kept >>= TR_KEPT_BITS)
                if (kept & TR_KEPT_REG)
                        v->tr_saved[r] = *kept_in(v, kept);
}

const uint8_t *tr_out_missed(struct dbt_vcpu *v, const uint8_t *at)
{
        const struct tr_fault *f = v->tr_fault;
        const uint8_t *pc = v->tr_fault_pc, *next;
        struct way w = { .b = tr_block_at(v, pc - f->to_entry), .offset = f->offset, .n = f->n, .fpu = f->fpu, .behind = pc + f->behind };
        unsigned kept = 0;

        if (tr_is_mirrored(tr_mode(w.b))) {
                kept = f->n;
                w.n = 1;
        }
        w.rsp = (struct tr_out_rsp){ .before = f->rsp_before * 8, .behind = (f->rsp_sum - f->rsp_before) * 8 };
        take_kept(v, kept);
        next = go(v, &w);
        give_kept(v, kept);
        return next;
}
