/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Cached decoded code of one vCPU. Private to block.c, run.c and vm.c. */

#include "hv/engine/dbt/insn.h"
#include "hv/engine/dbt/vm.h"

/* Longest block in instructions. */
#define DBT_BLOCK_MAX 48
/* Branches that a block can leave by. */
#define DBT_EXITS 6
/* The same of a quick one. */
#define DBT_QUICK_EXITS 4
#define DBT_INDEX_WAYS 8
#define DBT_HASH_FACTOR 0x9e3779b97f4a7c15ULL
#define DBT_PAGE_HASH_SIZE 4096u
#define DBT_NO_PAGE (~0ULL)
/* Of the code cache, of both kinds. */
#define DBT_SEGMENTS 16
/* Room that one more block needs at most. */
#define DBT_BLOCK_RESERVE \
        (sizeof(struct dbt_block) + sizeof(struct dbt_block_more) + (DBT_BLOCK_MAX + 1) * (sizeof(struct dbt_insn) + ZYDIS_MAX_INSTRUCTION_LENGTH) + 64)

/* Values of siglongjmp to v->unwind. */
enum dbt_unwind {
        DBT_UNWIND_RAISED = 1, /* v->raised is to be delivered */
        DBT_UNWIND_RESTART,    /* go on at v->rip */
        DBT_UNWIND_ERROR,      /* the vCPU cannot go on */
};

/* What --engine-check does with a block. */
enum dbt_check_kind { DBT_CHECK_UNKNOWN, DBT_CHECK_ALONE, DBT_CHECK_BOTH };

/* Consecutive instructions from one physical page, decoded for one mode. Only the last one can be a transfer or end the
 * block; in translations there are conditional branches before, see tr-source.c. A block never moves and is never freed alone: once dropped, every fn in it is the handler that leaves it, so that running
 * vCPUs and stale chains find their way out; its memory is reused when its segment is emptied, see cache.c. */
struct dbt_block {
        uint64_t key;              /* dbt_block_key of the first byte */
        uint32_t code;             /* translation: offset, in the code, of the address that jumps to the block go to; 0: none */
        uint32_t page_next;        /* place of a later block of the first page, of the same list */
        union {
                struct { /* Without code */
                        /* Places of known successors that are not translated: [0] what follows in memory, [1] the last instruction's target; only
                         * within the page, as another page may come to be mapped there */
                        uint32_t next[2];
                        uint32_t chained;  /* value of the cold ring's advances from which on next is not valid any longer */
                        uint32_t runs;     /* by the executor */
                };
                struct { /* With code */
                        uint32_t cold;         /* offset in the code, of what is seldom run of the block; quick: begins with a stub for each exit, see tr-link.c */
                        uint32_t dropped_next; /* place, in dbt_decode's list */
                        union {
                                uint32_t first_site;
                                uint32_t far_links; /* mirrored code, which has no sites: first of tr-bound.c's links to it */
                        };
                        uint8_t n_sites;   /* from dbt_tr's number first_site on */
                        uint8_t n_exits;
                        uint8_t skip;      /* bytes at the beginning of code that look at v->request */
                        uint8_t samples;   /* times that it was met by chance */
                };
        };
        uint16_t size;             /* bytes */
        uint16_t space;            /* that it takes in its segment, in units of DBT_BLOCK_ALIGN */
        uint8_t n;                 /* elements of insn that make up the block */
        uint8_t flags_in;          /* TR_*F that the translation reads before it overwrites them */
        uint8_t list;              /* enum dbt_list: which ones of its pages it is in */
        bool dead;                 /* dropped */
        bool crosses;              /* it is one instruction, which goes on in a second page */
        bool is_bound;             /* bound is not 0; behind crosses, as code looks at both at once */
        /* Written by the own vCPU only: */
        uint8_t check : 2;         /* enum dbt_check_kind */
        uint8_t stage : 2;         /* enum tr_stage */
        bool apart : 1;            /* its code has no groups of memory accesses */
        bool stubs : 1;            /* an instruction has one of native.c's */
        bool ends : 1;             /* the last instruction may change mode, mapping or interrupt state */
        bool direct : 1;           /* successors can be chained */
        bool fused : 1;            /* the last of insn is two of the guest's; insn[n] and insn[n + 1] have them alone. Not with code */
        bool quick : 1;            /* made by tr-quick.c: the bytes are where the guest has them */
        uint32_t bound;            /* a translation: linear address of the page where it runs; 0: anywhere. See tr-bound.c */
        /* With a translation only those that it calls handlers for; behind them the bytes, then dbt_block_exits, and at the end, if there is such a thing, struct dbt_block_more. Nothing of this with one of tr-quick.c. */
        struct dbt_insn insn[];
};
_Static_assert(sizeof(struct dbt_block) == 48, "there are hundreds of thousands of them");

/* Of blocks that cross or have sites. */
struct dbt_block_more {
        uint64_t second;           /* the second page */
        uint64_t by_tlb;           /* memory operands, bit per instruction, for which the translation does without a site */
        uint32_t page_next;        /* as the block's, of the second page */
};

/* What the block was decoded from. Without a translation, DBT_BYTES_MORE further ones can be read. */
static inline const uint8_t *dbt_block_bytes(const struct dbt_block *b)
{
        return (const uint8_t *)&b->insn[b->n + (b->fused ? 2 : 0)];
}
#define DBT_BYTES_MORE 4

/* struct tr_link of the exits of a translation, as distances from cold, or TR_EXIT_NEAR: n_exits. */
static inline uint16_t *dbt_block_exits(const struct dbt_block *b)
{
        return (uint16_t *)(((uintptr_t)dbt_block_bytes(b) + b->size + 1) & ~(uintptr_t)1);
}

#define DBT_BLOCK_ALIGN 16u

static inline struct dbt_block_more *dbt_block_more(const struct dbt_block *b)
{
        return (struct dbt_block_more *)((uintptr_t)b + (size_t)b->space * DBT_BLOCK_ALIGN) - 1;
}

/* What a segment of the hot ring has: translations of which it is not known whether they run often, and those that do; and of the first ones those that are kept for longer, which only cache.c
 * tells apart. */
enum dbt_kind { DBT_KIND_NEW, DBT_KIND_OFTEN, DBT_KINDS, DBT_KIND_KEPT = DBT_KINDS };

enum dbt_list { DBT_LIST_COLD, DBT_LIST_HOT, DBT_LISTS = DBT_LIST_HOT + DBT_KINDS + 1 };

/* A physical page from which a vCPU has blocks. */
struct dbt_code_page {
        uint64_t gpa;
        struct dbt_code_page *hash_next;
        /* Blocks of the cold ring and of each kind of the hot one, in the order in which they were made, so that those evicted are in front. Dead ones may be
         * among them. */
        struct dbt_page_blocks {
                struct dbt_block *first, *last;
        } blocks[DBT_LISTS];
        unsigned generation;      /* writes so far */
        bool filling;             /* bytes are being decoded: counts as a block */
        bool mirrored;            /* had blocks of tr-quick.c */
        bool unbound;             /* lies at several linear addresses: its blocks are not bound */
};

/* Blocks one behind the other in segments. Those of the cold ring are filled in turn. */
struct dbt_ring {
        uint8_t *base;
        size_t size;                /* of a segment */
        size_t used[DBT_SEGMENTS];
        unsigned n;                 /* segments that are in use or may become so: DBT_SEGMENTS, later perhaps fewer */
        unsigned current;
        unsigned advances;          /* times that another segment became the current one, and what was in it was evicted */
        /* Hot ring: */
        uint8_t kind[DBT_SEGMENTS]; /* enum dbt_kind */
        unsigned since[DBT_SEGMENTS]; /* value of advances when it began to be filled */
        unsigned filling[DBT_KINDS]; /* the segment of each kind; the current one is one of them */
        unsigned met[DBT_SEGMENTS]; /* how often blocks of it were met by chance, the last times count for more */
};

/* What evicting segments took in the thread's time. */
struct dbt_cache_stats {
        unsigned cold, hot;
        uint64_t ns, max_ns;
};

/* A set of the index: a line of the host's cache. Each way is a part of the hash, DBT_INDEX_TAG, and in the lower half dbt_block_place. What was made last is in front; what falls out behind is forgotten, and made again if need be. */
struct dbt_index_set {
        _Atomic uint64_t way[DBT_INDEX_WAYS];
} __attribute__((aligned(64)));
#define DBT_INDEX_SHIFT 18
#define DBT_INDEX_TAG(hash) ((uint32_t)((hash) >> DBT_INDEX_SHIFT))

/* An instruction that was decoded, for others like it; see decode-quick.c. insn.length 0: none. */
struct dbt_example {
        uint64_t key;
        struct dbt_insn insn;      /* counts as a user of its stub */
        uint8_t disp_at, disp;     /* bytes of the displacement */
        uint8_t imm;               /* bytes of the immediate, at the end; 0 also if it is part of the key */
        bool is_signed : 1, relative : 1;
};

#define DBT_EXAMPLES_BITS 13
#define DBT_EXAMPLES (1u << DBT_EXAMPLES_BITS)

/* Everything is written under vm->code_lock; the index is read by the own vCPU without it. */
struct dbt_decode {
        struct dbt_index_set *index;
        unsigned index_bits;       /* it has 1 << index_bits sets: so many that few blocks fall out while their memory is theirs */
        struct dbt_code_page *pages[DBT_PAGE_HASH_SIZE];
        struct dbt_example examples[DBT_EXAMPLES]; /* own vCPU, without the lock */
        struct dbt_vcpu *owner;
        struct dbt_block *dropped; /* translated blocks that were dropped and to which links may lead */
        struct dbt_ring cold, hot; /* blocks without and with a translation */
        unsigned flooded_until;    /* value of the hot ring's advances: DBT_SEGMENTS after the last block of tr-quick.c was made */
        bool shrinking;            /* the cold ring has segments that are to be given up */
        uint8_t *arena;            /* of the rings; nothing is at its beginning */
        size_t arena_size;
        struct dbt_code_page *page_pool, *page_free;
        unsigned n_pages, max_pages; /* of the pool: taken at some time, in all */
        unsigned flushes; /* times that blocks were evicted: pointers from before are void */
        struct dbt_cache_stats stats;
        uint64_t hot_since; /* the hot ring came to its present segment, in the thread's time */
};

/* Where a block is: offset in the arena in units of DBT_BLOCK_ALIGN. 0: NULL. */
static inline uint32_t dbt_block_place(const struct dbt_decode *d, const struct dbt_block *b)
{
        return b ? (uint32_t)((size_t)((const uint8_t *)b - d->arena) / DBT_BLOCK_ALIGN) : 0;
}

static inline struct dbt_block *dbt_block_at(const struct dbt_decode *d, uint32_t place)
{
        return place ? (struct dbt_block *)(d->arena + (size_t)place * DBT_BLOCK_ALIGN) : NULL;
}

/* Physical addresses have at most 52 bits, modes 7. */
static inline uint64_t dbt_block_key(uint64_t gpa, uint32_t mode)
{
        return gpa | (uint64_t)mode << 56;
}

/* Of the first byte. */
static inline uint64_t dbt_block_gpa(const struct dbt_block *b)
{
        return b->key & 0x000fffffffffffffULL;
}

/* Multiplicative: the upper bits are the good ones. */
static inline uint64_t dbt_block_hash(uint64_t key)
{
        return key * DBT_HASH_FACTOR;
}

static inline struct dbt_index_set *dbt_index_set(struct dbt_decode *d, uint64_t hash)
{
        return &d->index[hash >> (64 - d->index_bits)];
}

/* The block with the key, NULL: it is not known. Own vCPU. */
static inline struct dbt_block *dbt_index_find(struct dbt_decode *d, uint64_t key)
{
        uint64_t hash = dbt_block_hash(key);
        struct dbt_index_set *set = dbt_index_set(d, hash);

        for (unsigned k = 0; k < DBT_INDEX_WAYS; k++) {
                uint64_t way = atomic_load_explicit(&set->way[k], memory_order_acquire);
                struct dbt_block *b = dbt_block_at(d, (uint32_t)way);

                if (way >> 32 == DBT_INDEX_TAG(hash) && b && b->key == key)
                        return b;
        }
        return NULL;
}

/* Linear address of the next instruction. */
static inline uint64_t dbt_rip_linear(const struct dbt_vcpu *v)
{
        if (likely(v->mode & DBT_MODE_CS64))
                return v->rip;
        return (uint32_t)(v->seg[X86_CS].base + v->rip);
}

/* Is something due before the next instruction that only the run loop does? To be asked after an instruction with DBT_INSN_ENDS_BLOCK. */
static inline bool dbt_must_stop(const struct dbt_vcpu *v)
{
        return v->interrupt_shadow || (v->intr_waiting && (v->rflags & X86_FLAG_IF)) || (v->rflags & X86_FLAG_TF) || v->sys.breaks ||
                v->sys.watch || v->mp_state != X86_MP_RUNNABLE;
}

/* --- cache.c ------------------------------------------------------------------------------------------------------ */

int dbt_decode_new(struct dbt_vcpu *owner, struct dbt_decode **ret);
void dbt_decode_free(struct dbt_decode *d);
/* Makes room for another block without translation; may evict others. Own vCPU, not inside a block. */
void dbt_cache_reserve(struct dbt_vcpu *v);
/* The same for a translated one, in a segment of the kind, which becomes the hot ring's current one. */
void dbt_cache_reserve_hot(struct dbt_vcpu *v, enum dbt_kind kind);
/* The kind for first translations of code that has run some times. */
enum dbt_kind dbt_cache_kind(const struct dbt_vcpu *v);
/* Takes space for a block of size bytes from a ring that has room. */
struct dbt_block *dbt_ring_take(struct dbt_ring *r, size_t size);
/* A block of the hot ring was met by chance. */
static inline void dbt_ring_met(struct dbt_ring *r, const struct dbt_block *b)
{
        r->met[(size_t)((const uint8_t *)b - r->base) / r->size]++;
}

/* For how many advances the block of the cold ring will stay where it is. */
static inline unsigned dbt_ring_stays(const struct dbt_ring *r, const struct dbt_block *b)
{
        unsigned segment = (unsigned)((size_t)((const uint8_t *)b - r->base) / r->size);

        return segment < r->n ? (segment + r->n - r->current - 1) % r->n + 1 : 1;
}

/* A block for b's translation, without instructions, in a place of the hot ring that dbt_cache_keep_hot then makes its own. */
struct dbt_block *dbt_cache_new_hot(struct dbt_vcpu *v, const struct dbt_block *b);
void dbt_cache_keep_hot(struct dbt_vcpu *v, const struct dbt_block *hot);
/* The same for a block that has nothing behind it. */
struct dbt_block *dbt_cache_new_quick(struct dbt_vcpu *v, uint64_t key);
/* With code_lock held: an unused page. There always is one. */
struct dbt_code_page *dbt_cache_page(struct dbt_decode *d);

/* --- decode-quick.c ----------------------------------------------------------------------------------------------- */

/* dbt_decode for an instruction like one that was learned; 0: there is none, or avail is less than DBT_QUICK_MIN. Keeps the guest's vector state where
 * it is. */
#define DBT_QUICK_MIN 16
unsigned dbt_decode_quick(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, struct dbt_insn *ret);
/* i is a valid instruction that was decoded from bytes by way of z. */
void dbt_decode_learn(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, const ZydisDecodedInstruction *z, const struct dbt_insn *i);
/* Forgets all; true: there were users of stubs. */
bool dbt_decode_forget(struct dbt_vcpu *v);

/* --- block.c ------------------------------------------------------------------------------------------------------ */

/* For eviction, with code_lock held. The first one does what dbt_block_unlink does; then all blocks of a segment are retired, and all of them swept. */
void dbt_block_unlink_dropped(struct dbt_vcpu *v);
void dbt_block_retire(struct dbt_decode *d, struct dbt_block *b);
/* Takes the first ones out of the lists of the block's pages while they are dead, and gives up pages without blocks. */
void dbt_block_sweep(struct dbt_decode *d, const struct dbt_block *b);
/* The block at v->rip, decoded now if need be. Raises what the fetch raises; unwinds with DBT_UNWIND_RESTART if the bytes changed
 * meanwhile, with DBT_UNWIND_ERROR if there is no memory at that address. */
struct dbt_block *dbt_block_get(struct dbt_vcpu *v);
/* May the block, which has the right key, run at v->rip: does its second page still lie behind the first, is it bound to that page? Raises #PF. */
bool dbt_block_fits(struct dbt_vcpu *v, const struct dbt_block *b);
/* Its page lies at another linear address, too: drops its blocks that are bound; no others will be. */
void dbt_block_unbind(struct dbt_vcpu *v, const struct dbt_block *b);
/* Is that not known of it? */
bool dbt_block_can_bind(struct dbt_vcpu *v, const struct dbt_block *b);
/* Was the block of the instruction dropped? */
bool dbt_insn_dropped(const struct dbt_insn *i);
/* Answers DBT_REQ_CODE. */
void dbt_block_unlink(struct dbt_vcpu *v);
/* Puts hot, which was made of the n parts, in the place of the first one, unless one of them was dropped meanwhile: false. */
bool dbt_block_replace(struct dbt_vcpu *v, struct dbt_block *const *part, unsigned n, struct dbt_block *hot);
/* Drops all blocks of v, which is the caller or stopped. */
void dbt_block_flush(struct dbt_vcpu *v);

/* The same for the common case. */
static inline struct dbt_block *dbt_block_lookup(struct dbt_vcpu *v)
{
        uint64_t lin = dbt_rip_linear(v), key;
        unsigned slot = dbt_tlb_index(lin);
        struct dbt_block *b;

        if (!DBT_TLB_HIT(&v->tlb_now[slot], match_exec, lin, 1) &&
                (!(v->mode & DBT_MODE_CS64) || !dbt_tlb_refill(v, lin, v->mmu, DBT_EXEC)))
                return dbt_block_get(v);
        key = dbt_block_key(v->tlb_info_now[slot].gpa | (lin & ~DBT_PAGE_MASK), v->mode);
        b = dbt_index_find(v->decode, key);
        if (unlikely(!b) || (unlikely(b->crosses | b->is_bound) && !dbt_block_fits(v, b)))
                return dbt_block_get(v);
        return b;
}
