/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The memory of a vCPU's code cache, which is bounded, and what is given up when it is full.
 *
 * A block is decoded into the cold ring. When it is translated, one that has only the bytes, and instructions for handlers, goes into the hot ring, together
 * with its code and links, and the first one is dropped. So code that runs once or twice passes through a small piece of memory. Each ring consists of segments; when there is no empty one
 * left, the oldest is evicted: all of its blocks are dropped and its memory is used again.
 *
 * A program that is larger than the cache would find nothing of it again, as it comes to each part when that has just been evicted. So blocks that were found to run often, which are translated once more,
 * have segments of their own in the hot ring, up to OFTEN_MAX. Of the others, most stay where they are while some of their blocks are met now and then, but for one of them every KEPT_TURN times, and only
 * NEW_MIN are evicted each time round. While a mirrored program's blocks, which are translated when they are first met, pass through the cache, first translations of all other code, which has run some times before, count
 * as those that run often. And as a translation takes less room than what it was made of, the cold ring becomes shorter
 * when the hot one is nearly full: while a kernel boots, most code runs too seldom to be translated.
 *
 * Who may hold a pointer to an evicted block, and how it goes:
 *   the index                   dbt_block_retire
 *   the lists of its pages      dbt_block_sweep
 *   next[] of cold blocks       void when d->cold.advances has come to where the first of them is evicted
 *   links to and from it        dbt_tr_detach
 *   the jump cache              dbt_tr_evict
 *   the run loop, and tests     compare d->flushes before they use a block from before a lookup
 * A segment is evicted by its owner only, between two blocks: no handler and no translated code is running. The pages' marks stay; the next
 * write to such a page finds no block and clears it. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/log.h"
#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/tr.h"

/* Where there is a translator, parts of the cache that the cold ring gets while the hot one has fewer than HOT_SHARE segments in use, and after that. */
#define COLD_PART 4
#define COLD_PART_LEFT 16
#define COLD_LEFT (DBT_SEGMENTS * COLD_PART / COLD_PART_LEFT)
#define HOT_SHARE (DBT_SEGMENTS * 3 / 4)
/* The cache's size as a multiple of that of the index: blocks take some 170 bytes with all that belongs to them, and their entries 8 in sets that are less
 * than three quarters full. */
#define CACHE_PER_INDEX 16
#define INDEX_BITS_MIN 10
/* Time until another hot segment is needed that counts as short, as long. */
#define SHORT_LIFE_NS 50000000ULL
#define LONG_LIFE_NS 200000000ULL
#define TRANSLATE_AFTER_MAX 256
/* Segments of the hot ring with what runs often, at most; and for how many advances they stay though others are wanted. */
#define OFTEN_MAX (DBT_SEGMENTS / 2)
#define OFTEN_STAYS 60
/* Others that the hot ring is filled with in turn; and for how many advances one of those that are kept goes. */
#define NEW_MIN 3
#define KEPT_TURN 8

static size_t round_segment(size_t size)
{
        return ALIGN_UP(size / DBT_SEGMENTS, DBT_PAGE_SIZE);
}

/* Every block has at most two pages, and one being made has two more. */
static unsigned pages_needed(const struct dbt_decode *d)
{
        return (unsigned)(2 * d->arena_size / sizeof(struct dbt_block) + 4);
}

static int map_arena(struct dbt_decode *d)
{
        size_t pool;

        d->arena_size = DBT_BLOCK_ALIGN + DBT_SEGMENTS * (d->cold.size + d->hot.size);
        d->max_pages = pages_needed(d);
        pool = d->max_pages * sizeof(struct dbt_code_page);
        d->arena = mmap(NULL, d->arena_size + pool, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (d->arena == MAP_FAILED)
                return -ENOMEM;
        d->cold.base = d->arena + DBT_BLOCK_ALIGN;
        d->hot.base = d->cold.base + DBT_SEGMENTS * d->cold.size;
        d->page_pool = (struct dbt_code_page *)(d->arena + d->arena_size);
        return 0;
}

/* By large pages of the host, if it has some: what is looked up there is all over it. */
static void *map_large(size_t size)
{
        uint8_t *all = mmap(NULL, size + MiB(2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *start;

        if (all == MAP_FAILED)
                return all;
        start = (uint8_t *)ALIGN_UP((uintptr_t)all, MiB(2));
        if (start != all)
                munmap(all, (size_t)(start - all));
        munmap(start + size, (size_t)(all + MiB(2) - start));
        madvise(start, size, MADV_HUGEPAGE);
        return start;
}

static size_t index_size(const struct dbt_decode *d)
{
        return sizeof(struct dbt_index_set) << d->index_bits;
}

static int map_index(struct dbt_decode *d, size_t cache)
{
        d->index_bits = INDEX_BITS_MIN;
        while (index_size(d) < cache / CACHE_PER_INDEX)
                d->index_bits++;
        d->index = map_large(index_size(d));
        return d->index == MAP_FAILED ? -ENOMEM : 0;
}

static void begin_kinds(struct dbt_ring *r)
{
        for (unsigned kind = 0; kind < DBT_KINDS; kind++) {
                r->filling[kind] = kind;
                r->kind[kind] = (uint8_t)kind;
                r->since[kind] = r->advances;
        }
}

int dbt_decode_new(struct dbt_vcpu *owner, struct dbt_decode **ret)
{
        struct dbt_decode *d = aligned_alloc(_Alignof(struct dbt_decode), sizeof(*d));
        bool translates = owner->vm->translate_after != ENGINE_NEVER_TRANSLATE;
        size_t size = owner->vm->code_cache;

        if (!d)
                return -ENOMEM;
        memset(d, 0, sizeof(*d));
        d->index = MAP_FAILED;
        d->arena = MAP_FAILED;
        d->owner = owner;
        d->cold.size = round_segment(translates ? size / COLD_PART : size);
        d->hot.size = round_segment(translates ? size - size / COLD_PART_LEFT : 0);
        d->cold.n = d->hot.n = DBT_SEGMENTS;
        begin_kinds(&d->hot);
        if (map_index(d, size) < 0 || map_arena(d) < 0) {
                dbt_decode_free(d);
                return -ENOMEM;
        }
        owner->code_index = d->index;
        *ret = d;
        return 0;
}

static void log_stats(const struct dbt_decode *d)
{
        if (d->stats.cold || d->stats.hot)
                log_debug("vCPU %u: code cache: %u cold and %u hot segments evicted in %llu us, one in at most %llu us", d->owner->index,
                        d->stats.cold, d->stats.hot, (unsigned long long)d->stats.ns / 1000, (unsigned long long)d->stats.max_ns / 1000);
}

void dbt_decode_free(struct dbt_decode *d)
{
        if (!d)
                return;
        log_stats(d);
        if (d->arena != MAP_FAILED)
                munmap(d->arena, d->arena_size + d->max_pages * sizeof(struct dbt_code_page));
        if (d->index != MAP_FAILED)
                munmap(d->index, index_size(d));
        free(d);
}

struct dbt_code_page *dbt_cache_page(struct dbt_decode *d)
{
        struct dbt_code_page *p = d->page_free;

        if (p)
                d->page_free = p->hash_next;
        else
                p = &d->page_pool[d->n_pages++];
        return p;
}

/* --- Rings -------------------------------------------------------------------------------------------------------- */

static uint8_t *segment_start(const struct dbt_ring *r, unsigned segment)
{
        return r->base + segment * r->size;
}

static struct dbt_block *segment_first(const struct dbt_ring *r, unsigned segment)
{
        return (struct dbt_block *)segment_start(r, segment);
}

static struct dbt_block *block_behind(const struct dbt_block *b)
{
        return (struct dbt_block *)((uint8_t *)b + (size_t)b->space * DBT_BLOCK_ALIGN);
}

#define FOREACH_BLOCK(b, r, segment)                                                                                    \
        for (struct dbt_block *b = segment_first(r, segment), *b##_end = (struct dbt_block *)((uint8_t *)b + (r)->used[segment]); \
                b < b##_end; b = block_behind(b))

struct dbt_block *dbt_ring_take(struct dbt_ring *r, size_t size)
{
        struct dbt_block *b = (struct dbt_block *)(segment_start(r, r->current) + r->used[r->current]);

        size = ALIGN_UP(size, DBT_BLOCK_ALIGN);
        b->space = (uint16_t)(size / DBT_BLOCK_ALIGN);
        r->used[r->current] += size;
        return b;
}

/* --- Eviction ------------------------------------------------------------------------------------------------------ */

static uint64_t thread_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void drop_blocks(struct dbt_decode *d, struct dbt_ring *r, unsigned segment)
{
        FOREACH_BLOCK(b, r, segment)
                dbt_block_retire(d, b);
        FOREACH_BLOCK(b, r, segment)
                dbt_block_sweep(d, b);
}

static void release_stubs(struct dbt_vcpu *v, const struct dbt_ring *r, unsigned segment)
{
        FOREACH_BLOCK(b, r, segment)
                for (unsigned i = 0; b->stubs && i < b->n + (b->fused ? 2u : 0u); i++)
                        dbt_native_release(v, &b->insn[i]);
}

static void evict(struct dbt_vcpu *v, struct dbt_ring *r, unsigned segment)
{
        struct dbt_decode *d = v->decode;
        uint64_t start, ns;

        dbt_fpu_save(v);
        start = thread_ns();
        pthread_mutex_lock(&v->vm->code_lock);
        dbt_block_unlink_dropped(v); /* they may lie in the segment */
        drop_blocks(d, r, segment);
        pthread_mutex_unlock(&v->vm->code_lock);
        release_stubs(v, r, segment);
        dbt_tr_forget_decoded(v);
        if (r == &d->hot) {
                FOREACH_BLOCK(b, r, segment)
                        dbt_tr_detach(v, b);
                dbt_tr_evict(v, segment);
        }
        r->used[segment] = 0;
        d->flushes++;
        ns = thread_ns() - start;
        if (r == &d->cold)
                d->stats.cold++;
        else
                d->stats.hot++;
        d->stats.ns += ns;
        d->stats.max_ns = d->stats.max_ns > ns ? d->stats.max_ns : ns;
}

static void begin_segment(struct dbt_vcpu *v, struct dbt_ring *r, unsigned segment)
{
        r->current = segment;
        r->advances++;
        if (r->used[segment])
                evict(v, r, segment);
}

static unsigned count_used(const struct dbt_ring *r)
{
        unsigned n = 0;

        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                n += r->used[k] != 0;
        return n;
}

/* The oldest one of the cold ring that is not being filled goes, while it has fewer segments than it had and others of before are left. One at a time: it takes some time. What has been chained
 * may not stay as long as was thought. */
static void give_up_segment(struct dbt_vcpu *v)
{
        struct dbt_ring *r = &v->decode->cold;
        unsigned k = r->current + 1;

        while (k < DBT_SEGMENTS && !r->used[k])
                k++;
        if (k == DBT_SEGMENTS) {
                v->decode->shrinking = false;
                return;
        }
        evict(v, r, k);
        r->advances += DBT_SEGMENTS;
        madvise((void *)ALIGN_UP((uintptr_t)segment_start(r, k), DBT_PAGE_SIZE), r->size - DBT_PAGE_SIZE, MADV_DONTNEED);
}

/* Goes on to the next segment, which is the oldest. When it is the first one again, the ring may become shorter as the hot one wants the memory. */
static void advance_cold(struct dbt_vcpu *v)
{
        struct dbt_decode *d = v->decode;
        struct dbt_ring *r = &d->cold;
        unsigned next = (r->current + 1) % r->n;

        begin_segment(v, r, next);
        if (next || r->n == COLD_LEFT || count_used(&d->hot) < HOT_SHARE)
                return;
        r->n = COLD_LEFT;
        d->shrinking = true;
}

/* Translating costs as much as running a block a hundred times. That is wasted if the translation is gone soon: then only hotter code is
 * translated, unless the configuration says when. */
static void adapt_threshold(struct dbt_vcpu *v)
{
        uint64_t now = thread_ns(), since = now - v->decode->hot_since;

        v->decode->hot_since = now;
        if (since < SHORT_LIFE_NS && v->translate_after < TRANSLATE_AFTER_MAX)
                v->translate_after *= 2;
        else if (since > LONG_LIFE_NS && v->translate_after > v->vm->translate_after)
                v->translate_after /= 2;
}

static bool is_filling(const struct dbt_ring *r, unsigned segment)
{
        return segment == r->filling[DBT_KIND_NEW] || segment == r->filling[DBT_KIND_OFTEN];
}

/* The one with something in it that is of the kind, and not being filled, for the longest time. DBT_SEGMENTS: there is none. */
static unsigned oldest(const struct dbt_ring *r, enum dbt_kind kind)
{
        unsigned found = DBT_SEGMENTS;

        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                if (r->used[k] && r->kind[k] == kind && !is_filling(r, k) && (found == DBT_SEGMENTS || (int)(r->since[k] - r->since[found]) < 0))
                        found = k;
        return found;
}

static unsigned count_kind(const struct dbt_ring *r, enum dbt_kind kind)
{
        unsigned n = 0;

        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                n += r->kind[k] == kind && (r->used[k] || is_filling(r, k));
        return n;
}

/* Where what is full goes on. */
static unsigned next_hot(const struct dbt_ring *r, enum dbt_kind kind)
{
        unsigned often = oldest(r, DBT_KIND_OFTEN), kept = oldest(r, DBT_KIND_KEPT), other = oldest(r, DBT_KIND_NEW);

        if (often < DBT_SEGMENTS && (kind == DBT_KIND_OFTEN ? count_kind(r, DBT_KIND_OFTEN) >= OFTEN_MAX : r->advances - r->since[often] > OFTEN_STAYS))
                return often;
        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                if (!r->used[k] && !is_filling(r, k))
                        return k;
        if (kept < DBT_SEGMENTS && (kind == DBT_KIND_OFTEN || !r->met[kept] || r->advances % KEPT_TURN == 0))
                return kept;
        return other < DBT_SEGMENTS ? other : kept;
}

/* What is not known to run often goes into segments of two kinds: what this one becomes. */
static enum dbt_kind kind_of_new(const struct dbt_ring *r, unsigned segment)
{
        unsigned others = count_kind(r, DBT_KIND_NEW);

        if (r->used[segment] && r->kind[segment] == DBT_KIND_NEW)
                others--;
        return others < NEW_MIN ? DBT_KIND_NEW : DBT_KIND_KEPT;
}

static void begin_hot(struct dbt_vcpu *v, enum dbt_kind kind, unsigned segment)
{
        struct dbt_ring *r = &v->decode->hot;
        enum dbt_kind becomes = kind == DBT_KIND_OFTEN ? kind : kind_of_new(r, segment);

        begin_segment(v, r, segment);
        r->kind[segment] = (uint8_t)becomes;
        r->since[segment] = r->advances;
        r->filling[kind] = segment;
        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                r->met[k] /= 2;
        dbt_tr_begin_segment(v, kind);
}

/* Have blocks of tr-quick.c been made lately? */
static bool is_flooded(const struct dbt_decode *d)
{
        return d->flooded_until - d->hot.advances - 1 < DBT_SEGMENTS;
}

enum dbt_kind dbt_cache_kind(const struct dbt_vcpu *v)
{
        return is_flooded(v->decode) ? DBT_KIND_OFTEN : DBT_KIND_NEW;
}

static void advance_hot(struct dbt_vcpu *v, enum dbt_kind kind)
{
        const struct dbt_ring *r = &v->decode->hot;
        unsigned segment = next_hot(r, kind);

        if (!v->vm->config.translate_after && r->used[segment] && kind == dbt_cache_kind(v))
                adapt_threshold(v);
        begin_hot(v, kind, segment);
}

/* For what is scarce besides memory. */
static void evict_hot(struct dbt_vcpu *v)
{
        const struct dbt_ring *r = &v->decode->hot;

        for (enum dbt_kind kind = 0; kind <= DBT_KIND_KEPT; kind++) {
                unsigned segment = oldest(r, kind);

                if (segment == DBT_SEGMENTS && kind < DBT_KINDS)
                        segment = r->filling[kind];
                if (segment < DBT_SEGMENTS && r->used[segment]) {
                        begin_hot(v, kind == DBT_KIND_OFTEN ? kind : DBT_KIND_NEW, segment);
                        return;
                }
        }
}

/* Stubs are shared between blocks: there may be none to free in the first segment. */
static void reserve_stubs(struct dbt_vcpu *v)
{
        struct dbt_decode *d = v->decode;

        while (dbt_native_full(v)) {
                if (dbt_decode_forget(v))
                        continue;
                if (d->shrinking)
                        give_up_segment(v);
                else if (count_used(&d->cold))
                        advance_cold(v);
                else if (count_used(&d->hot))
                        evict_hot(v);
                else
                        dbt_native_flush(v); /* free pieces are too small; dbt_tr_forget_decoded was called when the last block went */
        }
}

void dbt_cache_reserve(struct dbt_vcpu *v)
{
        struct dbt_ring *r = &v->decode->cold;

        reserve_stubs(v);
        if (r->size - r->used[r->current] < DBT_BLOCK_RESERVE)
                advance_cold(v);
        if (unlikely(v->decode->shrinking))
                give_up_segment(v);
}

void dbt_cache_reserve_hot(struct dbt_vcpu *v, enum dbt_kind kind)
{
        struct dbt_ring *r = &v->decode->hot;

        r->current = r->filling[kind];
        dbt_tr_select(v, kind);
        if (dbt_tr_used(v) + r->used[r->current] + DBT_BLOCK_RESERVE + DBT_TR_RESERVE > r->size)
                advance_hot(v, kind);
}

static struct dbt_block *next_place(const struct dbt_ring *r)
{
        return (struct dbt_block *)(segment_start(r, r->current) + r->used[r->current]);
}

static uint8_t list_of(const struct dbt_ring *r)
{
        return (uint8_t)(DBT_LIST_HOT + r->kind[r->current]);
}

struct dbt_block *dbt_cache_new_hot(struct dbt_vcpu *v, const struct dbt_block *b)
{
        const struct dbt_ring *r = &v->decode->hot;
        struct dbt_block *hot = next_place(r);

        *hot = *b;
        hot->code = 0;
        hot->list = list_of(r);
        hot->n = 0;
        hot->fused = hot->stubs = hot->quick = false;
        return hot;
}

struct dbt_block *dbt_cache_new_quick(struct dbt_vcpu *v, uint64_t key)
{
        const struct dbt_ring *r = &v->decode->hot;
        struct dbt_block *hot = next_place(r);

        v->decode->flooded_until = r->advances + DBT_SEGMENTS;
        *hot = (struct dbt_block){ .key = key, .list = list_of(r), .quick = true, .space = sizeof(*hot) / DBT_BLOCK_ALIGN };
        return hot;
}

void dbt_cache_keep_hot(struct dbt_vcpu *v, const struct dbt_block *hot)
{
        struct dbt_ring *r = &v->decode->hot;

        r->used[r->current] += (size_t)hot->space * DBT_BLOCK_ALIGN;
        for (unsigned i = 0; i < hot->n; i++)
                dbt_native_retain(v, &hot->insn[i]);
}

static void ring_reset(struct dbt_decode *d, struct dbt_ring *r)
{
        for (unsigned k = 0; k < DBT_SEGMENTS; k++) {
                FOREACH_BLOCK(b, r, k)
                        dbt_block_retire(d, b);
                r->used[k] = 0;
        }
        r->current = 0;
        r->advances += DBT_SEGMENTS;
        r->n = DBT_SEGMENTS;
        begin_kinds(r);
}

void dbt_block_flush(struct dbt_vcpu *v)
{
        struct dbt_decode *d = v->decode;

        pthread_mutex_lock(&v->vm->code_lock);
        for (unsigned i = 0; i < DBT_PAGE_HASH_SIZE; i++)
                d->pages[i] = NULL;
        /* Marks of pages stay: the next write finds no block and clears them. */
        d->page_free = NULL;
        d->n_pages = 0;
        ring_reset(d, &d->cold);
        ring_reset(d, &d->hot);
        d->shrinking = false;
        d->flushes++;
        d->dropped = NULL;
        dbt_decode_forget(v);
        dbt_tr_forget_decoded(v);
        dbt_native_flush(v);
        dbt_tr_flush(v);
        pthread_mutex_unlock(&v->vm->code_lock);
}
