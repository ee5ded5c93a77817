/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The cache of decoded code and its coherence with guest memory.
 *
 * The rule: while any vCPU has a block with bytes from a page, that page is marked in its slot's code_pages and no TLB
 * entry of any vCPU allows a direct write to it. So every write of a guest takes the slow path in mmu.c, which stores and then calls
 * dbt_code_written; that drops the overlapping blocks of all vCPUs.
 *
 *   Marking pages happens inside an exclusive section: all other vCPUs are at a block boundary, in a callback or asleep, so none is
 *   between a look at the mark and the use of a TLB entry; the section's owner clears match_write in everybody's TLB. Bytes are decoded only
 *   after that.
 *   A write after the mark and before the block is entered is noticed by the page's generation: the block is thrown away and the
 *   instruction started again.
 *   Other vCPUs' blocks are dropped where they are, under code_lock: their owner does not take it to look up or run a block,
 *   but reads one word at a time: a way of the index or an instruction's fn, which then leads out of the block. An owner may finish the
 *   one instruction it has begun, as a processor that has already fetched it. In translated code (tr.h) that is the block it has begun,
 *   unless that calls a handler, as all serializing instructions do.
 *
 * Deadlock: code_lock is held for bounded work only, never while waiting for another vCPU, and is always taken last: inside an exclusive
 * section, not around one. */

#include "base/log.h"
#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/tr.h"

void dbt_mapping_changed(struct dbt_vcpu *v, enum dbt_change change, uint64_t lin, enum dbt_code_change code)
{
        if (code != DBT_CODE_NONE) {
                dbt_tr_forget_jumps(v, code == DBT_CODE_ALL);
                dbt_tr_code_changed(v, change == DBT_CHANGE_PAGE, lin);
        }
        if (change == DBT_CHANGE_PAGE)
                dbt_tr_forget_page(v, lin);
        else
                dbt_tr_forget_sites(v, change == DBT_CHANGE_ALL);
}

/* --- Pages with code ---------------------------------------------------------------------------------------------- */

static _Atomic uint64_t *mark_word(struct dbt_vm *vm, uint64_t gpa, uint64_t *ret_bit)
{
        struct dbt_slot *slot = dbt_slot_find(vm, gpa);
        uint64_t page;

        if (!slot || !slot->code_pages)
                return NULL;
        page = (gpa - slot->gpa) >> DBT_PAGE_SHIFT;
        *ret_bit = 1ULL << (page % 64);
        return &slot->code_pages[page / 64];
}

bool dbt_code_page_test(struct dbt_vm *vm, uint64_t gpa_page)
{
        uint64_t bit;
        _Atomic uint64_t *word = mark_word(vm, gpa_page, &bit);

        return word && (atomic_load_explicit(word, memory_order_relaxed) & bit);
}

static void mark(struct dbt_vm *vm, uint64_t gpa_page, bool on)
{
        uint64_t bit;
        _Atomic uint64_t *word = mark_word(vm, gpa_page, &bit);

        if (word && on)
                atomic_fetch_or(word, bit);
        else if (word)
                atomic_fetch_and(word, ~bit);
}

static struct dbt_code_page **page_bucket(struct dbt_decode *d, uint64_t gpa_page)
{
        return &d->pages[(gpa_page >> DBT_PAGE_SHIFT) & (DBT_PAGE_HASH_SIZE - 1)];
}

static struct dbt_code_page *page_find(struct dbt_decode *d, uint64_t gpa_page)
{
        struct dbt_code_page *p = *page_bucket(d, gpa_page);

        while (p && p->gpa != gpa_page)
                p = p->hash_next;
        return p;
}

static struct dbt_code_page *page_find_or_add(struct dbt_decode *d, uint64_t gpa_page)
{
        struct dbt_code_page *p = page_find(d, gpa_page), **bucket = page_bucket(d, gpa_page);

        if (p)
                return p;
        p = dbt_cache_page(d);
        *p = (struct dbt_code_page){ .gpa = gpa_page, .hash_next = *bucket };
        *bucket = p;
        return p;
}

/* With code_lock held and the page marked. */
static struct dbt_code_page *page_begin_fill(struct dbt_vcpu *v, uint64_t gpa_page)
{
        struct dbt_code_page *p = page_find_or_add(v->decode, gpa_page);

        p->filling = true;
        return p;
}

/* Code has more code beside it: pages of the group that nobody writes to at the moment are marked at once, as a section and a search of all TLBs
 * cost more than the one slow write to a page that turns out to be data. */
static void mark_group(struct dbt_vm *vm, uint64_t gpa_page, uint32_t written)
{
        uint64_t first = gpa_page & ~(DBT_CODE_GROUP * DBT_PAGE_SIZE - 1);

        for (unsigned k = 0; k < DBT_CODE_GROUP; k++)
                if (first + k * DBT_PAGE_SIZE == gpa_page || !(written >> k & 1))
                        mark(vm, first + k * DBT_PAGE_SIZE, true);
}

static struct dbt_code_page *page_mark_and_fill(struct dbt_vcpu *v, uint64_t gpa_page)
{
        struct dbt_vm *vm = v->vm;
        struct dbt_code_page *p;
        uint32_t written = 0;

        dbt_fpu_save(v);
        dbt_exclusive_begin(v);
        pthread_mutex_lock(&vm->code_lock);
        for (unsigned i = 0; i < vm->n_vcpus; i++)
                written |= dbt_tlb_protect_code(vm->vcpus[i], gpa_page);
        mark_group(vm, gpa_page, written);
        p = page_begin_fill(v, gpa_page);
        pthread_mutex_unlock(&vm->code_lock);
        dbt_exclusive_end(v);
        return p;
}

/* From now until the block is entered or given up, writes to the page are counted in its generation, which goes to *ret_generation. */
static struct dbt_code_page *page_open(struct dbt_vcpu *v, uint64_t gpa_page, unsigned *ret_generation)
{
        struct dbt_code_page *p = NULL;

        pthread_mutex_lock(&v->vm->code_lock);
        if (dbt_code_page_test(v->vm, gpa_page))
                p = page_begin_fill(v, gpa_page);
        pthread_mutex_unlock(&v->vm->code_lock);
        if (!p)
                p = page_mark_and_fill(v, gpa_page);
        *ret_generation = atomic_load_explicit((_Atomic unsigned *)&p->generation, memory_order_acquire);
        return p;
}

static void page_close(struct dbt_vcpu *v, struct dbt_code_page *p)
{
        pthread_mutex_lock(&v->vm->code_lock);
        p->filling = false;
        pthread_mutex_unlock(&v->vm->code_lock);
}

/* --- Dropping ------------------------------------------------------------------------------------------------------ */

/* Stands in for every instruction of a dropped block. */
static void leave_dead_block(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        siglongjmp(v->unwind, DBT_UNWIND_RESTART);
}

static uint64_t way_of(const struct dbt_decode *d, const struct dbt_block *b)
{
        return (uint64_t)DBT_INDEX_TAG(dbt_block_hash(b->key)) << 32 | dbt_block_place(d, b);
}

static void index_remove(struct dbt_decode *d, const struct dbt_block *b)
{
        struct dbt_index_set *set = dbt_index_set(d, dbt_block_hash(b->key));
        uint64_t way = way_of(d, b);

        for (unsigned k = 0; k < DBT_INDEX_WAYS; k++)
                if (atomic_load_explicit(&set->way[k], memory_order_relaxed) == way)
                        atomic_store_explicit(&set->way[k], 0, memory_order_relaxed);
}

/* In front, and the others up to the first free way one further on. */
static void index_put(struct dbt_decode *d, const struct dbt_block *b)
{
        struct dbt_index_set *set = dbt_index_set(d, dbt_block_hash(b->key));
        uint64_t way = way_of(d, b), before;

        for (unsigned k = 0; k < DBT_INDEX_WAYS && way; k++) {
                before = atomic_load_explicit(&set->way[k], memory_order_relaxed);
                atomic_store_explicit(&set->way[k], way, memory_order_release);
                way = before;
        }
}

void dbt_block_retire(struct dbt_decode *d, struct dbt_block *b)
{
        if (b->dead)
                return;
        b->dead = true;
        index_remove(d, b);
}

static void bury(struct dbt_decode *d, struct dbt_block *b)
{
        dbt_block_retire(d, b);
        for (unsigned i = 0; i < b->n + (b->fused ? 2u : 0u); i++)
                __atomic_store_n(&b->insn[i].fn, leave_dead_block, __ATOMIC_RELAXED);
}

static void block_drop(struct dbt_decode *d, struct dbt_block *b)
{
        bury(d, b);
        if (!b->code)
                return;
        b->dropped_next = dbt_block_place(d, d->dropped);
        d->dropped = b;
        dbt_ask(d->owner, DBT_REQ_CODE);
}

bool dbt_insn_dropped(const struct dbt_insn *i)
{
        return __atomic_load_n(&i->fn, __ATOMIC_RELAXED) == leave_dead_block;
}

void dbt_block_unlink_dropped(struct dbt_vcpu *v)
{
        struct dbt_decode *d = v->decode;

        if (!d->dropped)
                return;
        for (struct dbt_block *b = d->dropped; b; b = dbt_block_at(d, b->dropped_next))
                dbt_tr_unlink(v, b);
        d->dropped = NULL;
        dbt_tr_forget_jumps(v, true);
}

void dbt_block_unlink(struct dbt_vcpu *v)
{
        pthread_mutex_lock(&v->vm->code_lock);
        dbt_block_unlink_dropped(v);
        pthread_mutex_unlock(&v->vm->code_lock);
}

/* Does the block have bytes of [gpa, gpa+n)? Physical addresses of a block that crosses are not in sequence. */
static bool block_overlaps(const struct dbt_block *b, uint64_t gpa, unsigned n)
{
        uint64_t start = dbt_block_gpa(b), room = DBT_PAGE_SIZE - (start & ~DBT_PAGE_MASK);
        uint64_t first = b->size < room ? b->size : room;

        if (gpa < start + first && start < gpa + n)
                return true;
        return b->crosses && gpa < dbt_block_more(b)->second + (b->size - first) && dbt_block_more(b)->second < gpa + n;
}

/* The link to the next block of the page. */
static uint32_t *link_in_page(const struct dbt_code_page *p, struct dbt_block *b)
{
        return (dbt_block_gpa(b) & DBT_PAGE_MASK) == p->gpa ? &b->page_next : &dbt_block_more(b)->page_next;
}

static struct dbt_block *next_in_page(const struct dbt_decode *d, const struct dbt_code_page *p, struct dbt_block *b)
{
        return dbt_block_at(d, *link_in_page(p, b));
}

static void page_append(const struct dbt_decode *d, struct dbt_code_page *p, struct dbt_block *b)
{
        struct dbt_page_blocks *list = &p->blocks[b->list];

        *link_in_page(p, b) = 0;
        if (list->first)
                *link_in_page(p, list->last) = dbt_block_place(d, b);
        else
                list->first = b;
        list->last = b;
}

static bool page_is_empty(const struct dbt_code_page *p)
{
        for (unsigned k = 0; k < DBT_LISTS; k++)
                if (p->blocks[k].first)
                        return false;
        return true;
}

/* Drops the list's blocks that have bytes of [gpa, gpa+n) and makes it anew of those that live. */
static void list_drop(struct dbt_decode *d, struct dbt_code_page *p, struct dbt_page_blocks *list, uint64_t gpa, unsigned n)
{
        struct dbt_block *b = list->first, *next;

        *list = (struct dbt_page_blocks){ .first = NULL };
        for (; b; b = next) {
                next = next_in_page(d, p, b);
                if (!b->dead && block_overlaps(b, gpa, n))
                        block_drop(d, b);
                if (!b->dead)
                        page_append(d, p, b);
        }
}

static void page_drop(struct dbt_decode *d, struct dbt_code_page *p, uint64_t gpa, unsigned n)
{
        for (unsigned k = 0; k < DBT_LISTS; k++)
                list_drop(d, p, &p->blocks[k], gpa, n);
}

/* None of its blocks is bound from now on. */
static void page_unbind(struct dbt_decode *d, struct dbt_code_page *p)
{
        p->unbound = true;
        for (unsigned k = 0; k < DBT_LISTS; k++)
                for (struct dbt_block *b = p->blocks[k].first; b; b = next_in_page(d, p, b))
                        if (b->is_bound && !b->dead)
                                block_drop(d, b);
}

static void page_free(struct dbt_decode *d, struct dbt_code_page *p)
{
        struct dbt_code_page **link = page_bucket(d, p->gpa);

        while (*link != p)
                link = &(*link)->hash_next;
        *link = p->hash_next;
        p->hash_next = d->page_free;
        d->page_free = p;
}

static void sweep(struct dbt_decode *d, uint64_t gpa_page, const struct dbt_block *b)
{
        struct dbt_code_page *p = page_find(d, gpa_page);
        struct dbt_page_blocks *list;

        if (!p)
                return;
        list = &p->blocks[b->list];
        while (list->first && list->first->dead)
                list->first = next_in_page(d, p, list->first);
        /* Its mark stays: the next write finds no block and clears it. */
        if (page_is_empty(p) && !p->filling)
                page_free(d, p);
}

void dbt_block_sweep(struct dbt_decode *d, const struct dbt_block *b)
{
        sweep(d, dbt_block_gpa(b) & DBT_PAGE_MASK, b);
        if (b->crosses)
                sweep(d, dbt_block_more(b)->second, b);
}

void dbt_code_written(struct dbt_vcpu *v, uint64_t gpa, unsigned n)
{
        struct dbt_vm *vm = v->vm;
        bool left = false;

        pthread_mutex_lock(&vm->code_lock);
        for (unsigned i = 0; i < vm->n_vcpus; i++) {
                struct dbt_decode *d = vm->vcpus[i]->decode;
                struct dbt_code_page *p = page_find(d, gpa & DBT_PAGE_MASK);

                if (!p)
                        continue;
                p->generation++;
                page_drop(d, p, gpa, n);
                left |= !page_is_empty(p) || p->filling;
        }
        if (!left)
                mark(vm, gpa & DBT_PAGE_MASK, false);
        pthread_mutex_unlock(&vm->code_lock);
}

/* --- Making blocks --------------------------------------------------------------------------------------------------- */

/* A block being made: where its bytes are, and its pages. */
struct fill {
        uint64_t lin, gpa, second;
        const uint8_t *bytes; /* at gpa, up to the page end */
        struct dbt_code_page *page[2];
        unsigned generation[2];
        uint8_t crossing[ZYDIS_MAX_INSTRUCTION_LENGTH];
        unsigned n, size;
        struct dbt_insn insn[DBT_BLOCK_MAX + 1];
};

static _Noreturn void no_memory(struct dbt_vcpu *v, uint64_t gpa)
{
        dbt_fpu_save(v);
        log_error("vCPU %u: executes at %#llx, where there is no memory (rip %#llx)", v->index, (unsigned long long)gpa,
                (unsigned long long)v->rip);
        siglongjmp(v->unwind, DBT_UNWIND_ERROR);
}

static unsigned page_room(uint64_t lin)
{
        return (unsigned)(DBT_PAGE_SIZE - (lin & ~DBT_PAGE_MASK));
}

/* The first instruction goes on in the next page: puts its bytes together. */
static void open_second(struct dbt_vcpu *v, struct fill *f)
{
        unsigned room = page_room(f->lin);
        uint64_t lin = f->lin + room;
        const uint8_t *next;

        next = dbt_fetch_ptr(v, v->mode & DBT_MODE_CS64 ? lin : (uint32_t)lin, &f->second);
        dbt_fpu_save(v);
        if (!next)
                no_memory(v, f->second);
        f->page[1] = page_open(v, f->second, &f->generation[1]);
        for (unsigned i = 0; i < sizeof(f->crossing); i++)
                f->crossing[i] = i < room ? f->bytes[i] : next[i - room];
}

static void decode_crossing(struct dbt_vcpu *v, struct fill *f)
{
        f->size = dbt_decode(v, f->crossing, sizeof(f->crossing), &f->insn[0]);
        f->n = 1;
}

static void decode_block(struct dbt_vcpu *v, struct fill *f)
{
        unsigned room = page_room(f->lin);

        while (f->n < DBT_BLOCK_MAX && f->size < room) {
                struct dbt_insn *i = &f->insn[f->n];
                unsigned length = dbt_decode(v, f->bytes + f->size, room - f->size, i);

                if (!length)
                        break;
                f->n++;
                f->size += length;
                if (i->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK))
                        break;
        }
}

/* Makes one of the last two, and puts them behind it. */
static bool fuse_last(struct fill *f)
{
        struct dbt_insn alone;

        if (f->n < 2)
                return false;
        alone = f->insn[f->n - 2];
        if (!dbt_fuse(&f->insn[f->n - 2], &f->insn[f->n - 1]))
                return false;
        f->n--;
        f->insn[f->n + 1] = f->insn[f->n];
        f->insn[f->n] = alone;
        return true;
}

/* Into the index and the lists of its pages. */
static void block_publish(struct dbt_decode *d, struct dbt_block *b, struct dbt_code_page *const page[2])
{
        index_put(d, b);
        for (unsigned side = 0; side < 2 && page[side]; side++) {
                if (side && page[1] == page[0])
                        break; /* the same page twice in a row */
                page_append(d, page[side], b);
        }
}

static struct dbt_block *block_enter(struct dbt_vcpu *v, struct fill *f)
{
        struct dbt_decode *d = v->decode;
        uint8_t flags = f->insn[f->n - 1].flags;
        bool fused = fuse_last(f);
        unsigned n = f->n + (fused ? 2 : 0);
        bool crosses = f->second != DBT_NO_PAGE;
        struct dbt_block *b = dbt_ring_take(&d->cold, sizeof(*b) + n * sizeof(b->insn[0]) + f->size + DBT_BYTES_MORE + (crosses ? sizeof(struct dbt_block_more) : 0));
        uint16_t space = b->space;
        uint8_t *bytes;
        const uint8_t *from = crosses ? f->crossing : f->bytes;

        *b = (struct dbt_block){ .key = dbt_block_key(f->gpa, v->mode), .n = (uint8_t)f->n, .size = (uint16_t)f->size, .space = space, .fused = fused,
                .crosses = crosses };
        if (crosses)
                dbt_block_more(b)->second = f->second;
        b->ends = flags & DBT_INSN_ENDS_BLOCK;
        b->direct = !b->ends && (!(flags & DBT_INSN_TRANSFER) || (flags & DBT_INSN_DIRECT));
        for (unsigned i = 0; i < n; i++) {
                b->insn[i] = f->insn[i];
                b->stubs |= f->insn[i].mem.stub;
        }
        bytes = (uint8_t *)dbt_block_bytes(b);
        for (unsigned i = 0; i < f->size; i++)
                bytes[i] = from[i];
        block_publish(d, b, f->page);
        return b;
}

/* Ends the filling; NULL if a page was written meanwhile. */
static struct dbt_block *fill_finish(struct dbt_vcpu *v, struct fill *f)
{
        struct dbt_block *b = NULL;
        bool same = true;

        pthread_mutex_lock(&v->vm->code_lock);
        for (unsigned side = 0; side < 2 && f->page[side]; side++) {
                f->page[side]->filling = false;
                same &= f->page[side]->generation == f->generation[side];
        }
        if (same && f->n)
                b = block_enter(v, f);
        pthread_mutex_unlock(&v->vm->code_lock);
        for (unsigned i = 0; !b && i < f->n; i++)
                dbt_native_release(v, &f->insn[i]);
        return b;
}

static struct dbt_block *block_make(struct dbt_vcpu *v, uint64_t lin, uint64_t gpa, const uint8_t *bytes)
{
        struct dbt_block *b;
        struct fill f;

        f.lin = lin;
        f.gpa = gpa;
        f.bytes = bytes;
        f.second = DBT_NO_PAGE;
        f.page[1] = NULL;
        f.n = f.size = 0;
        dbt_cache_reserve(v);
        f.page[0] = page_open(v, gpa & DBT_PAGE_MASK, &f.generation[0]);
        decode_block(v, &f);
        if (!f.n) {
                /* The fetch may raise: the first page must not stay open. It is opened again with the bytes unchanged or not; both are
                 * decoded again below. */
                page_close(v, f.page[0]);
                open_second(v, &f);
                f.page[0] = page_open(v, gpa & DBT_PAGE_MASK, &f.generation[0]);
                for (unsigned i = 0; i < page_room(lin) && i < sizeof(f.crossing); i++)
                        f.crossing[i] = bytes[i];
                decode_crossing(v, &f);
        }
        b = fill_finish(v, &f);
        if (!b)
                siglongjmp(v->unwind, DBT_UNWIND_RESTART);
        return b;
}

/* The same by tr-quick.c; NULL: it does not know the first instruction. */
static struct dbt_block *quick_make(struct dbt_vcpu *v, uint64_t gpa, const uint8_t *bytes)
{
        struct dbt_code_page *page[2] = { NULL, NULL };
        struct dbt_block *b;
        unsigned generation;
        bool same;

        dbt_cache_reserve_hot(v, DBT_KIND_NEW);
        page[0] = page_open(v, gpa & DBT_PAGE_MASK, &generation);
        b = tr_quick(v, gpa, bytes);
        pthread_mutex_lock(&v->vm->code_lock);
        page[0]->filling = false;
        same = page[0]->generation == generation;
        if (b && same) {
                page[0]->mirrored = true;
                block_publish(v->decode, b, page);
                dbt_cache_keep_hot(v, b);
        }
        pthread_mutex_unlock(&v->vm->code_lock);
        if (b && !same)
                siglongjmp(v->unwind, DBT_UNWIND_RESTART);
        if (b)
                dbt_tr_link_ready(v, b);
        return b;
}

bool dbt_code_was_mirrored(struct dbt_vcpu *v)
{
        uint64_t lin = dbt_rip_linear(v);
        unsigned slot = dbt_tlb_index(lin);
        const struct dbt_code_page *p;
        bool was;

        if (!DBT_TLB_HIT(&v->tlb_now[slot], match_exec, lin, 1))
                return false;
        pthread_mutex_lock(&v->vm->code_lock);
        p = page_find(v->decode, v->tlb_info_now[slot].gpa);
        was = p && p->mirrored;
        pthread_mutex_unlock(&v->vm->code_lock);
        return was;
}

static bool second_ok(struct dbt_vcpu *v, const struct dbt_block *b)
{
        uint64_t lin = (dbt_rip_linear(v) & DBT_PAGE_MASK) + DBT_PAGE_SIZE, gpa;

        return dbt_fetch_ptr(v, v->mode & DBT_MODE_CS64 ? lin : (uint32_t)lin, &gpa) && gpa == dbt_block_more(b)->second;
}

static bool is_bound_elsewhere(const struct dbt_vcpu *v, const struct dbt_block *b)
{
        return b->is_bound && (dbt_rip_linear(v) & DBT_PAGE_MASK) != b->bound;
}

bool dbt_block_fits(struct dbt_vcpu *v, const struct dbt_block *b)
{
        return !is_bound_elsewhere(v, b) && (!b->crosses || second_ok(v, b));
}

void dbt_block_unbind(struct dbt_vcpu *v, const struct dbt_block *b)
{
        struct dbt_decode *d = v->decode;
        struct dbt_code_page *p;

        pthread_mutex_lock(&v->vm->code_lock);
        p = page_find(d, dbt_block_gpa(b) & DBT_PAGE_MASK);
        if (p)
                page_unbind(d, p);
        pthread_mutex_unlock(&v->vm->code_lock);
}

bool dbt_block_can_bind(struct dbt_vcpu *v, const struct dbt_block *b)
{
        const struct dbt_code_page *p;
        bool can;

        pthread_mutex_lock(&v->vm->code_lock);
        p = page_find(v->decode, dbt_block_gpa(b) & DBT_PAGE_MASK);
        can = p && !p->unbound;
        pthread_mutex_unlock(&v->vm->code_lock);
        return can;
}

bool dbt_block_replace(struct dbt_vcpu *v, struct dbt_block *const *part, unsigned n, struct dbt_block *hot)
{
        struct dbt_decode *d = v->decode;
        struct dbt_block *b = part[0];
        bool same = true;

        pthread_mutex_lock(&v->vm->code_lock);
        for (unsigned k = 0; k < n; k++)
                same &= !part[k]->dead;
        if (same) {
                struct dbt_code_page *page[2] = { page_find(d, dbt_block_gpa(b) & DBT_PAGE_MASK),
                                                  b->crosses ? page_find(d, dbt_block_more(b)->second) : NULL };

                bury(d, b);
                block_publish(d, hot, page);
        }
        pthread_mutex_unlock(&v->vm->code_lock);
        return same;
}

struct dbt_block *dbt_block_get(struct dbt_vcpu *v)
{
        uint64_t lin, gpa;
        const uint8_t *bytes;
        struct dbt_block *b;

        if (!(v->mode & DBT_MODE_CS64)) {
                v->rip = (uint32_t)v->rip;
                if (v->rip > v->seg[X86_CS].limit)
                        dbt_raise_gp0(v);
        }
        lin = dbt_rip_linear(v);
        bytes = dbt_fetch_ptr(v, lin, &gpa);
        if (!bytes)
                no_memory(v, gpa);
        b = dbt_index_find(v->decode, dbt_block_key(gpa, v->mode));
        if (b && dbt_block_fits(v, b))
                return b;
        if (b && is_bound_elsewhere(v, b))
                dbt_block_unbind(v, b);
        b = tr_quick_can(v) ? quick_make(v, gpa, bytes) : NULL;
        return b ? b : block_make(v, lin, gpa, bytes);
}
