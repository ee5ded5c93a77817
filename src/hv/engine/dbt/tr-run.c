/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The translator's buffers, and translating and running blocks. */

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "hv/engine/dbt/exec.h"
#include "hv/engine/dbt/tr.h"

bool tr_handlers(struct dbt_vcpu *v, const struct dbt_insn *i, uint32_t offset, uint32_t n)
{
        const struct dbt_insn *last = i + n - 1;
        uint64_t rip = v->tr_page + offset;

        dbt_set_flags(v, v->tr_flags);
        v->rip = rip;
        for (; i != last; i++) {
                i->fn(v, i);
                rip += i->length;
                v->rip = rip;
        }
        i->fn(v, i);
        if (!(i->flags & DBT_INSN_TRANSFER))
                v->rip = rip + i->length;
        v->tr_flags = dbt_flags_ax(v);
        tr_calls_follow(v);
        return dbt_insn_dropped(i) || (atomic_load_explicit(&v->request, memory_order_relaxed) & DBT_REQ_CODE) || ((i->flags & DBT_INSN_ENDS_BLOCK) && dbt_must_stop(v));
}

/* --- Segments ------------------------------------------------------------------------------------------------------------- */

static uint8_t *segment_code(const struct dbt_tr *t, unsigned segment)
{
        return t->write + TR_ROUTINES_SIZE + segment * t->segment;
}

size_t dbt_tr_used(const struct dbt_vcpu *v)
{
        const struct dbt_tr *t = v->translator;

        return t->fill->used + t->sites.n[t->current] * sizeof(struct tr_site) +
                t->faults.n[t->current] * sizeof(struct tr_fault);
}

/* Gives the host the pages back that lie wholly in it. */
static void release(void *start, size_t size)
{
        uintptr_t from = ALIGN_UP((uintptr_t)start, DBT_PAGE_SIZE), to = ALIGN_DOWN((uintptr_t)start + size, DBT_PAGE_SIZE);

        if (from < to)
                madvise((void *)from, to - from, MADV_DONTNEED);
}

void dbt_tr_evict(struct dbt_vcpu *v, unsigned segment)
{
        struct dbt_tr *t = v->translator;
        uint32_t start = (uint32_t)(segment_code(t, segment) - t->write);

        tr_faults_evict(t, segment);
        tr_far_evict(v, start, start + (uint32_t)t->segment);
        tr_jumps_evict(v, start, start + (uint32_t)t->segment);
        v->tr_link = NULL;
        tr_sites_evict(v, segment);
        /* The next ones in the segment may be of a kind that has fewer of both: what they take is counted, not what others have taken. */
        release(&t->sites.site[segment * t->sites.max], t->sites.max * sizeof(struct tr_site));
        release(&t->faults.fault[segment * t->faults.max], t->faults.max * sizeof(struct tr_fault));
}

void dbt_tr_select(struct dbt_vcpu *v, enum dbt_kind kind)
{
        struct dbt_tr *t = v->translator;

        t->current = t->sites.current = v->decode->hot.filling[kind];
        t->fill = &t->fills[kind];
}

void dbt_tr_begin_segment(struct dbt_vcpu *v, enum dbt_kind kind)
{
        struct dbt_tr *t = v->translator;

        dbt_tr_select(v, kind);
        *t->fill = (struct tr_fill){ .used = 0 };
}

/* --- Translating ------------------------------------------------------------------------------------------------------------- */

/* What a block's seldom run code takes at most in nearly all cases. */
static size_t cold_estimate(const struct dbt_block *source)
{
        return 64 + 28 * (size_t)source->n;
}

void tr_reserve_cold(struct dbt_tr *t, size_t size, size_t max)
{
        struct tr_fill *f = t->fill;
        const uint8_t *next = segment_code(t, t->current) + f->used;

        if (f->cold && (size_t)(f->cold_end - f->cold) >= size && (size_t)(next - f->cold) < max)
                return;
        f->cold = segment_code(t, t->current) + f->used;
        f->cold_end = f->cold + TR_COLD_SIZE;
        f->used += TR_COLD_SIZE;
}

/* What a translation that is being made adds to. */
struct made {
        unsigned n_sites, n_far;
        size_t used;
        uint8_t *cold;
};

static struct made made_so_far(const struct dbt_tr *t)
{
        return (struct made){ .n_sites = t->sites.n[t->current], .n_far = t->n_far, .used = t->fill->used, .cold = t->fill->cold };
}

static void forget_made(struct dbt_tr *t, const struct made *from)
{
        t->sites.n[t->current] = from->n_sites;
        t->faults.n_fresh = 0;
        t->n_far = from->n_far;
        t->fill->used = from->used;
        t->fill->cold = from->cold;
}

static struct tr_emit emitter(const struct dbt_vcpu *v)
{
        const struct dbt_tr *t = v->translator;

        return (struct tr_emit){ .to_exec = t->exec - t->write, .vcpu = (int32_t)(uintptr_t)v };
}

/* Where a block's code can begin in the segment, so that its entry is where it should be. */
static size_t code_start(const struct dbt_tr *t, enum tr_stage stage)
{
        return stage == TR_OFTEN ? ALIGN_UP(t->fill->used + TR_HEADER_LEAVE, TR_CODE_ALIGN) - TR_HEADER_LEAVE : t->fill->used;
}

/* A block like b with the code of source, not kept yet; NULL if there was no room. apart: seldom run code in the piece for it. */
static struct dbt_block *make(struct dbt_vcpu *v, const struct tr_source *source, bool apart)
{
        struct dbt_block *hot = dbt_cache_new_hot(v, source->block);
        struct dbt_tr *t = v->translator;
        struct tr_emit straight = emitter(v), seldom = straight;
        const uint8_t *code;

        hot->n_sites = 0;
        hot->samples = hot->skip = 0;
        tr_bind(v, source->block, hot);
        if (v->vm->config.translate_hot)
                hot->stage = TR_OFTEN;
        straight.p = segment_code(t, t->current) + code_start(t, hot->stage);
        straight.end = straight.p + TR_CODE_RESERVE;
        seldom.p = t->fill->cold;
        seldom.end = t->fill->cold_end;
        code = tr_emit_block(v, &straight, apart ? &seldom : &straight, source, hot);
        if (!code)
                return NULL;
        hot->code = tr_code_offset(t, code);
        t->fill->used = (size_t)(straight.p - segment_code(t, t->current));
        if (apart)
                t->fill->cold = seldom.p;
        return hot;
}

static void count_made(struct dbt_tr *t, const struct made *from, const struct dbt_block *hot)
{
        t->stats.sites += (t->sites.n[t->current] - from->n_sites) * sizeof(struct tr_site);
        t->stats.faults += t->faults.n_fresh * sizeof(struct tr_fault);
        t->stats.copies += (size_t)hot->space * DBT_BLOCK_ALIGN;
}

/* A translation of source takes the place of its first part, and is returned; NULL if there is none. */
static struct dbt_block *replace(struct dbt_vcpu *v, const struct tr_source *source)
{
        struct dbt_tr *t = v->translator;
        struct dbt_block *hot;
        struct made from;

        tr_reserve_cold(t, cold_estimate(source->block), SIZE_MAX);
        from = made_so_far(t);
        hot = make(v, source, true);
        if (!hot) {
                forget_made(t, &from);
                hot = make(v, source, false);
        }
        if (!hot || !dbt_block_replace(v, source->part, source->n_parts, hot)) {
                forget_made(t, &from);
                return NULL;
        }
        dbt_cache_keep_hot(v, hot);
        count_made(t, &from, hot);
        tr_faults_keep(t);
        return hot;
}

/* What cannot be decoded, see decode.c: where the bytes end matters there. */
static bool ends_raising(const struct dbt_block *b)
{
        const struct dbt_insn *last = &b->insn[b->n - 1];

        return last->length == 1 && (last->fn == dbt_exec_ud || last->fn == dbt_exec_gp);
}

static struct dbt_block *replace_whole(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_block *now;
        struct tr_source s;

        tr_source_get(v, b, &s);
        now = replace(v, &s);
        tr_source_put(v, &s);
        return now;
}

/* Tests: what comes behind a block is translated before it, so that there are blocks of several parts at once. */
static void translate_parts(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_block *part[TR_PARTS] = { b };
        unsigned n = 1, flushes = v->decode->flushes;
        uint64_t rip = v->rip;

        while (n < TR_PARTS && b->direct && (v->rip & ~DBT_PAGE_MASK) + b->size + ZYDIS_MAX_INSTRUCTION_LENGTH <= DBT_PAGE_SIZE) {
                v->rip += b->size;
                part[n++] = b = dbt_block_get(v);
        }
        v->rip = rip;
        if (flushes != v->decode->flushes) /* some of them may be gone: another time */
                return;
        while (n-- > 0) {
                dbt_cache_reserve_hot(v, DBT_KIND_OFTEN);
                if (!part[n]->code && !part[n]->dead && !part[n]->crosses && !ends_raising(part[n]))
                        replace_whole(v, part[n]);
        }
}

void dbt_tr_translate(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct tr_source s;

        if (ends_raising(b))
                return;
        dbt_fpu_save(v);
        if (v->vm->config.translate_hot && !b->crosses) {
                translate_parts(v, b);
                return;
        }
        dbt_cache_reserve_hot(v, dbt_cache_kind(v));
        s.block = s.part[0] = b;
        s.n_parts = 1;
        s.by_tlb = 0;
        replace(v, &s);
}

/* The old code stays where it is, with its links and sites, until it is evicted; who comes there by the jump cache goes on to the new code. */
static struct dbt_block *translate_again(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        struct dbt_block *now;
        uint32_t at;

        dbt_fpu_save(v);
        dbt_cache_reserve(v);
        dbt_cache_reserve_hot(v, b->stage == TR_OFTEN ? DBT_KIND_OFTEN : DBT_KIND_NEW);
        if (b->dead) /* it has just been evicted */
                return NULL;
        at = b->code;
        now = replace_whole(v, b);
        if (!now)
                return NULL;
        tr_bound_move(v, b, now);
        dbt_tr_unlink(v, b);
        t->write[at] = TR_OPCODE_JMP;
        tr_patch(t, at + 1, now->code);
        return now;
}

void dbt_tr_convert(struct dbt_vcpu *v)
{
        struct dbt_block *b = v->translator->sites.convert;

        v->translator->sites.convert = NULL;
        if (!b || b->dead)
                return;
        if (v->mode == (uint32_t)(b->key >> 56))
                translate_again(v, b);
        else
                b->apart = false; /* it could not be decoded: another time */
}

void dbt_tr_sample(struct dbt_vcpu *v, struct dbt_block *b)
{
        int mode = tr_jump_mode(v, v->mode);
        struct dbt_block *now;
        uint64_t rip;

        if (!b->code)
                return;
        dbt_ring_met(&v->decode->hot, b);
        if (b->stage == TR_OFTEN || ++b->samples < (b->stage == TR_TRIAL ? TR_TRIAL_SAMPLES : TR_SAMPLES))
                return;
        if (b->stage == TR_TRIAL)
                tr_sites_judge(v, b, TR_TRIAL_SAMPLES * TR_BUDGET);
        b->stage = b->stage == TR_SELDOM && v->mmu == DBT_MMU_USER && !tr_is_mirrored(v->mode) ? TR_TRIAL : TR_OFTEN;
        rip = dbt_rip_linear(v);
        now = translate_again(v, b);
        if (now && mode >= 0)
                tr_jump_replace(v, (unsigned)mode, rip, tr_code(v->translator, now));
}

/* --- Running ------------------------------------------------------------------------------------------------------------------ */

typedef enum tr_exit (*tr_enter)(struct dbt_vcpu *v, const void *code);

/* A block with bytes of a second page, which is the right one now: until a mapping changes, the jump cache leads to it. */
static void enter_crossing(struct dbt_vcpu *v, const struct dbt_block *b)
{
        int mode = tr_jump_mode(v, v->mode);

        if (mode >= 0)
                tr_jump_enter(v, (unsigned)mode, dbt_rip_linear(v), tr_code(v->translator, b));
}

enum tr_exit dbt_tr_run(struct dbt_vcpu *v, const struct dbt_block *b)
{
        enum tr_exit exit;

        if (unlikely(b->crosses))
                enter_crossing(v, b);
        v->tr_page = dbt_rip_linear(v) & DBT_PAGE_MASK;
        v->tr_flags = dbt_flags_ax(v);
        v->tr_link = NULL;
        v->tr_shadow = ~0ULL;
        tr_calls_follow(v);
        if (unlikely(!v->translator->far_linked) && !(v->mode & DBT_MODE_CPL3))
                tr_far_again(v);
        exit = ((tr_enter)(uintptr_t)v->translator->enter)(v, tr_code(v->translator, b));
        dbt_set_flags(v, v->tr_flags);
        if (v->tr_link && tr_is_mirrored(v->mode))
                tr_link_left(v);
        if (unlikely(v->rip == v->tr_shadow))
                v->interrupt_shadow = true;
        return exit;
}

int dbt_tr_begin(struct dbt_vcpu *v)
{
        dbt_native_thread(v);
        if (!v->translator)
                return 0;
        return tr_signals_enter(v);
}

void dbt_tr_end(struct dbt_vcpu *v)
{
        if (v->translator)
                tr_signals_leave(v);
}

/* --- Buffers ------------------------------------------------------------------------------------------------------------------- */

static size_t code_size(const struct dbt_tr *t)
{
        return TR_ROUTINES_SIZE + DBT_SEGMENTS * t->segment;
}

static size_t data_size(const struct dbt_tr *t)
{
        return 2 * DBT_SEGMENTS * t->segment + DBT_PAGE_SIZE;
}

/* The code's two views and, behind the executable one, the page for TR_SITE_INVALID, the sites, and the faults. */
static int map_code(struct dbt_tr *t, int fd)
{
        size_t code = code_size(t);
        uint8_t *data;

        if (ftruncate(fd, (off_t)code) < 0)
                return -errno;
        t->write = mmap(NULL, code, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        t->exec = tr_low_map(code + data_size(t));
        if (t->exec == MAP_FAILED) /* many vCPUs: their fields take a byte more each */
                t->exec = mmap(NULL, code + data_size(t), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (t->write == MAP_FAILED || t->exec == MAP_FAILED)
                return -ENOMEM;
        data = mmap(t->exec + code, data_size(t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        t->sites.site = (struct tr_site *)(data + DBT_PAGE_SIZE);
        t->faults.fault = (struct tr_fault *)((uint8_t *)t->sites.site + DBT_SEGMENTS * t->segment);
        if (data == MAP_FAILED || mmap(t->exec, code, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
                return -ENOMEM;
        return 0;
}

static int make_routines(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;
        struct tr_emit e = emitter(v);

        e.p = t->write;
        e.end = t->write + TR_ROUTINES_SIZE;
        tr_emit_routines(v, &e);
        return e.overflow ? -ENOSPC : 0;
}

int dbt_tr_init(struct dbt_vcpu *v)
{
        struct dbt_tr *t;
        int fd, r;

        v->self = v;
        if (v->vm->translate_after == ENGINE_NEVER_TRANSLATE)
                return 0;
        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->write = t->exec = MAP_FAILED;
        t->index_bits = v->decode->index_bits;
        t->segment = v->decode->hot.size;
        t->sites.max = (unsigned)(t->segment / sizeof(struct tr_site));
        v->translator = t;
        dbt_tr_select(v, DBT_KIND_NEW);
        fd = memfd_create("dbt-code", MFD_CLOEXEC);
        r = fd < 0 ? -errno : map_code(t, fd);
        if (fd >= 0)
                close(fd);
        tr_stacks_forget(v);
        if (r >= 0)
                r = tr_calls_init(v);
        if (r >= 0)
                r = tr_far_init(t);
        if (r >= 0)
                r = tr_bound_init(t);
        if (r >= 0)
                r = tr_faults_init(t);
        if (r >= 0)
                r = make_routines(v);
        if (r < 0)
                dbt_tr_finish(v);
        return r;
}

/* Tenths of a byte. */
static unsigned per_insn(const struct tr_stats *s, uint64_t bytes)
{
        return (unsigned)(bytes * 10 / s->insns);
}

static void log_stats(const struct dbt_vcpu *v)
{
        const struct tr_stats *s = &v->translator->stats;
        uint64_t all = s->straight + s->outs + s->exits + s->sites + s->faults + s->copies;

        if (s->insns)
                log_debug("vCPU %u: %llu instructions in %llu blocks, %llu of which run often, translated to %llu KiB; tenths of a byte per instruction: "
                        "straight code %u, outs %u, exits %u, sites %u, faults %u, blocks %u", v->index,
                        (unsigned long long)s->insns, (unsigned long long)s->blocks, (unsigned long long)s->often,
                        (unsigned long long)all / KiB(1), per_insn(s, s->straight), per_insn(s, s->outs), per_insn(s, s->exits),
                        per_insn(s, s->sites), per_insn(s, s->faults), per_insn(s, s->copies));
}

void dbt_tr_finish(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;

        if (!t)
                return;
        log_stats(v);
        tr_calls_free(v);
        tr_far_free(t);
        tr_bound_free(t);
        tr_faults_free(t);
        if (t->write != MAP_FAILED)
                munmap(t->write, code_size(t));
        if (t->exec != MAP_FAILED)
                munmap(t->exec, code_size(t) + data_size(t));
        free(t);
        v->translator = NULL;
}

void dbt_tr_flush(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;

        if (!t)
                return;
        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                tr_faults_evict(t, k);
        t->n_far = 0;
        tr_bound_flush(t);
        for (unsigned kind = DBT_KINDS; kind-- > 0;)
                dbt_tr_begin_segment(v, kind);
        tr_sites_flush(v);
        v->tr_link = NULL;
        dbt_tr_forget_jumps(v, true);
}
