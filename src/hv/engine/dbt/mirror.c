/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A program of the guest that runs for long gets its memory from the host's own page tables: each page that it uses is mapped at its linear address, too, in this process. Blocks of
 * DBT_MODE_MIRROR have the guest's memory operands as they are, without a look into a TLB; what is not mapped, or may not be written, is a SIGSEGV, which costs some 20 us where a miss in the TLB costs
 * 0.1. So this is for programs that have run for a while, and one address space (CR3) at a time.
 *
 * The mappings are those of a TLB: a page is mapped as the page tables say, to be written only once its D bit is set and while there is no code in it. Where the architecture drops
 * TLB entries, what the page tables do not say any more goes: one page at INVLPG, else all pages are looked at before the program runs again.
 *
 * A page brings with it those around it that lie beside it in the guest's memory, too: the host's work is for each mapping, hardly for its size. A TLB may have a page that was not accessed if
 * the A bits are set in all its entries (Intel SDM vol. 3, 4.10.2.3). No bit is set for such a page, so that the guest sees nothing of it.
 *
 * All other memory of the process is out of reach of such code: it has the protection key 0, to which PKRU denies access while a block of DBT_MODE_MIRROR runs (tr-keys.c). Two more keys are for the
 * guest's pages and what the blocks themselves write, and for what they read. An address that is in use here is not mirrored; an access to it is a SIGSEGV, too, and the handler's. Where the blocks' own
 * memory lies, there would be none: a program that has something near is not mirrored. One that has not, and reads there all the same, sees it instead of getting a #PF.
 *
 * Only for VMs of one vCPU: another one would run another program at the same addresses. */

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/sys.h"
#include "hv/engine/dbt/tr.h"

/* The run-time library of the sanitizers has memory all over the address space, and its mmap changes vector registers, which are the guest's. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#else
#define SANITIZED false
#endif
#define PAGES_MAX 32768u
#define INDEX_BITS 16
#define INDEX_SIZE (1u << INDEX_BITS)
#define FILTER_BITS 15
/* Pages that are mapped together if they can be: as many as Linux enters in its page tables for one fault of a file's page, and it does so for a fault of ours, too. */
#define AROUND 16u
#define AROUND_SIZE (AROUND * DBT_PAGE_SIZE)
#define LOWEST 0x10000u /* mmap_min_addr(5) */
/* In a page's state, beside its physical address: it may be written; it is a part of a larger page. */
#define WRITABLE 1u
#define LARGE 2u

#define CANDIDATES 8
#define OURS_MAX 6
/* Ticks of the TSC. */
#define MS(v) ((v)->vm->tsc_khz)
#define LONG(v) (8 * MS(v))             /* so long a program has run that it is mirrored */
#define ALONE(v) (24 * MS(v))           /* or while the one that is did not run at all */
#define KNOWN_ALONE(v) (10 * MS(v))     /* a program whose code was mirrored before, */
#define KNOWN_SEEN 3                    /* and so many samples, as each counts for all the time since the last one */
#define MISS_COST(v) (MS(v) / 100)
#define DROP_COST(v) (MS(v) / 250)
#define MISSES_FREE(v) (40 * MS(v))     /* what misses may cost anyway, beside a fourth of the time that the program ran */
#define BANNED(v) (1000 * MS(v))        /* after that; twice as long each further time */
#define BANS_MAX 8

struct page {
        uint64_t lin, state;
};

/* What the page tables say of AROUND pages, if their A bits are set. */
struct around {
        uint64_t start;
        struct dbt_page pages[AROUND];
};

struct candidate {
        uint64_t cr3;           /* 0: none */
        uint64_t ran, kernel;   /* by samples, halved now and then */
        uint64_t alone;         /* since the program that is mirrored ran */
        unsigned seen;          /* samples of that */
        uint64_t banned_until;
        unsigned bans;
};

/* Memory of the process that mirrored code reaches, and what lies around it under the same tables of pages. */
struct range {
        uint64_t start, end;
};

struct mirror {
        int keys[2];            /* what is written, what is read */
        struct range ours[OURS_MAX];
        unsigned n_ours;
        uint32_t pkru;
        uint64_t cr3;           /* of the program that is mirrored, ~0: none */
        bool stale;             /* pages have to be looked at before it runs */
        uint64_t missed;        /* address | 1: write; 0: none */
        uint64_t pending;       /* page that missed and is likely to be there when the program runs again */
        uint64_t sampled;       /* TSC of the last sample */
        uint64_t ran, missing;  /* ticks since the program is mirrored, and what of them misses took */
        struct candidate candidates[CANDIDATES];
        unsigned next, n, n_large;
        struct page pages[PAGES_MAX];
        uint16_t index[INDEX_SIZE];      /* 1 + of pages, 0: none */
        uint64_t written[(1u << FILTER_BITS) / 64]; /* filter of physical pages that are writable in some page */
};

/* --- The table of pages ------------------------------------------------------------------------------------------------------ */

static unsigned hash(uint64_t page, unsigned bits)
{
        return (unsigned)((page >> DBT_PAGE_SHIFT) * DBT_HASH_FACTOR >> (64 - bits));
}

static unsigned slot_of(const struct mirror *m, uint64_t lin)
{
        unsigned k = hash(lin, INDEX_BITS);

        while (m->index[k] && m->pages[m->index[k] - 1].lin != lin)
                k = (k + 1) % INDEX_SIZE;
        return k;
}

static struct page *find(struct mirror *m, uint64_t lin)
{
        unsigned n = m->index[slot_of(m, lin)];

        return n ? &m->pages[n - 1] : NULL;
}

static void index_remove(struct mirror *m, unsigned hole)
{
        for (unsigned k = (hole + 1) % INDEX_SIZE; m->index[k]; k = (k + 1) % INDEX_SIZE) {
                unsigned home = hash(m->pages[m->index[k] - 1].lin, INDEX_BITS);

                if ((k - home) % INDEX_SIZE < (k - hole) % INDEX_SIZE)
                        continue;
                m->index[hole] = m->index[k];
                hole = k;
        }
        m->index[hole] = 0;
}

/* The last one takes its place. */
static void forget(struct mirror *m, struct page *p)
{
        unsigned n = (unsigned)(p - m->pages);

        m->n_large -= (p->state & LARGE) != 0;
        index_remove(m, slot_of(m, p->lin));
        if (n != --m->n) {
                m->index[slot_of(m, m->pages[m->n].lin)] = (uint16_t)(n + 1);
                m->pages[n] = m->pages[m->n];
        }
}

static void note_written(struct mirror *m, uint64_t state)
{
        unsigned k = hash(state, FILTER_BITS);

        if (state & WRITABLE)
                m->written[k / 64] |= 1ULL << k % 64;
}

static void remember(struct mirror *m, uint64_t lin, uint64_t state)
{
        unsigned k = slot_of(m, lin);
        struct page *p;

        if (!m->index[k]) {
                m->pages[m->n++] = (struct page){ .lin = lin };
                m->index[k] = (uint16_t)m->n;
        }
        p = &m->pages[m->index[k] - 1];
        m->n_large += (state & LARGE) != 0;
        m->n_large -= (p->state & LARGE) != 0;
        p->state = state;
        note_written(m, state);
}

/* --- Mappings ------------------------------------------------------------------------------------------------------------------ */

static void *at(uint64_t lin)
{
        return (void *)(uintptr_t)lin;
}

static void drop_page(struct dbt_vcpu *v, struct page *p)
{
        munmap(at(p->lin), DBT_PAGE_SIZE);
        forget(v->mirror, p);
        v->mirror->missing += DROP_COST(v);
}

static void drop_range(struct mirror *m, uint64_t start, uint64_t end)
{
        munmap(at(start), end - start);
        for (; start != end; start += DBT_PAGE_SIZE)
                forget(m, find(m, start));
}

/* Together with what is mirrored in front of it and behind it. */
static void drop_run(struct mirror *m, uint64_t lin)
{
        uint64_t start = lin, end = lin + DBT_PAGE_SIZE;

        while (find(m, start - DBT_PAGE_SIZE))
                start -= DBT_PAGE_SIZE;
        while (find(m, end))
                end += DBT_PAGE_SIZE;
        drop_range(m, start, end);
}

static void drop_all(struct mirror *m)
{
        while (m->n)
                drop_run(m, m->pages[m->n - 1].lin);
        for (unsigned k = 0; k < ARRAY_SIZE(m->written); k++)
                m->written[k] = 0;
        m->stale = false;
}

static bool allows_write(const struct dbt_vcpu *v, const struct dbt_page *page, const struct dbt_slot *slot)
{
        return dbt_page_allows(v, page, DBT_WRITE, DBT_MMU_USER) && dbt_direct_write(v, page, slot);
}

/* How a page, the slot of which that is, can be mirrored; 0: it cannot. */
static uint64_t state_of(struct dbt_vcpu *v, const struct dbt_page *page, const struct dbt_slot *slot)
{
        if (!dbt_page_allows(v, page, DBT_READ, DBT_MMU_USER) || !slot || slot->fd < 0 || slot->readonly || dbt_lapic_page(v, page->gpa))
                return 0;
        return page->gpa | (allows_write(v, page, slot) ? WRITABLE : 0) | (page->shift > DBT_PAGE_SHIFT ? LARGE : 0);
}

static bool may_be_mirrored(const struct dbt_vcpu *v, uint64_t lin)
{
        return lin >= LOWEST && lin >> 47 == 0 && !v->sys.watch;
}

/* What the page tables say of a page that is accessed. */
static uint64_t wanted(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, struct dbt_slot **ret_slot)
{
        struct dbt_page page;
        uint32_t error;

        if (!may_be_mirrored(v, lin) || !dbt_tlb_page(v, lin, access, DBT_MMU_USER, true, &page, &error))
                return 0;
        *ret_slot = dbt_slot_find(v->vm, page.gpa);
        if (access == DBT_WRITE && *ret_slot && !(*ret_slot)->readonly)
                dbt_slot_mark_dirty(*ret_slot, page.gpa);
        return state_of(v, &page, *ret_slot);
}

static void look_around(struct dbt_vcpu *v, struct around *a, uint64_t lin)
{
        a->start = ALIGN_DOWN(lin, AROUND_SIZE);
        dbt_walk_accessed(v, a->start, AROUND, a->pages);
        v->tlb2.shifts |= 1u << a->pages[0].shift; /* pages of that size have to be thought of when some page is flushed; here, they are of one size if large */
}

/* What the page tables say of a page of which nothing happens, so that they do not change. */
static uint64_t wanted_around(struct dbt_vcpu *v, const struct around *a, uint64_t lin)
{
        const struct dbt_page *page = &a->pages[(lin - a->start) / DBT_PAGE_SIZE];

        return page->shift && may_be_mirrored(v, lin) ? state_of(v, page, dbt_slot_find(v->vm, page->gpa)) : 0;
}

/* For pages that are not mapped yet, the addresses must be free. False: they are as they were, or cannot be used. */
static bool map_pages(const struct mirror *m, const struct dbt_slot *slot, uint64_t lin, uint64_t state, uint64_t size, bool known)
{
        int prot = state & WRITABLE ? PROT_READ | PROT_WRITE : PROT_READ;
        uint64_t offset = slot->offset + ((state & DBT_PAGE_MASK) - slot->gpa);
        void *map = mmap(at(lin), size, PROT_NONE, MAP_SHARED | (known ? MAP_FIXED : MAP_FIXED_NOREPLACE), slot->fd, (off_t)offset);

        if (map == MAP_FAILED)
                return false;
        if (map == at(lin) && pkey_mprotect(map, size, prot, m->keys[0]) == 0)
                return true;
        if (!known)
                munmap(map, size);
        return false;
}

/* Does a page that is not mirrored follow the one in its slot that is about to be, in the guest's memory as well as here, and may the same be done with it? */
static bool goes_along(struct dbt_vcpu *v, const struct around *a, const struct dbt_slot *slot, uint64_t lin, uint64_t state)
{
        return lin - a->start < AROUND_SIZE && wanted_around(v, a, lin) == state && (state & DBT_PAGE_MASK) - slot->gpa < slot->size && !find(v->mirror, lin);
}

/* The page and those around it that go along with it. Half of the table is for pages that had to be accessed each. */
static bool map_around(struct dbt_vcpu *v, const struct dbt_slot *slot, uint64_t lin, uint64_t state)
{
        struct mirror *m = v->mirror;
        uint64_t start = lin, end = lin + DBT_PAGE_SIZE, apart = state - lin;
        struct around a;

        if (m->n >= PAGES_MAX / 2)
                return false;
        look_around(v, &a, lin);
        while (goes_along(v, &a, slot, start - DBT_PAGE_SIZE, start - DBT_PAGE_SIZE + apart))
                start -= DBT_PAGE_SIZE;
        while (goes_along(v, &a, slot, end, end + apart))
                end += DBT_PAGE_SIZE;
        if (!map_pages(m, slot, start, start + apart, end - start, false))
                return false;
        for (; start != end; start += DBT_PAGE_SIZE)
                remember(m, start, start + apart);
        return true;
}

static void mirror_page(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access)
{
        struct mirror *m = v->mirror;
        struct dbt_slot *slot;
        uint64_t state = wanted(v, lin, access, &slot);
        struct page *p = find(m, lin);

        if (!state || (p && p->state == state))
                return;
        if (m->n == PAGES_MAX) {
                drop_all(m);
                p = NULL;
        }
        if (!p && map_around(v, slot, lin, state))
                return;
        if (map_pages(m, slot, lin, state, DBT_PAGE_SIZE, p))
                remember(m, lin, state);
        else if (p)
                drop_page(v, p);
}

static bool is_wrong(struct dbt_vcpu *v, struct around *a, const struct page *p)
{
        if (!p)
                return false;
        if (p->lin - a->start >= AROUND_SIZE)
                look_around(v, a, p->lin);
        return wanted_around(v, a, p->lin) != p->state;
}

/* Pages of which the page tables say something else now, or of which a CPU would tell them first that it has accessed them. */
static void look_again(struct dbt_vcpu *v)
{
        struct mirror *m = v->mirror;
        struct around a = { .start = ~0ULL };
        bool were_any = m->n;

        m->stale = false;
        for (unsigned k = m->n; k-- > 0;) {
                uint64_t start, end;

                if (k >= m->n || !is_wrong(v, &a, &m->pages[k]))
                        continue;
                start = m->pages[k].lin;
                end = start + DBT_PAGE_SIZE;
                while (is_wrong(v, &a, find(m, start - DBT_PAGE_SIZE)))
                        start -= DBT_PAGE_SIZE;
                while (is_wrong(v, &a, find(m, end)))
                        end += DBT_PAGE_SIZE;
                drop_range(m, start, end);
                m->missing += DROP_COST(v);
        }
        if (were_any && !m->n) /* another program, with the same table */
                m->ran = m->missing = 0;
}

/* --- Which program ------------------------------------------------------------------------------------------------------------- */

static uint64_t present(const struct dbt_vcpu *v)
{
        return v->cr3 & DBT_PAGE_MASK;
}

static struct candidate *candidate(struct mirror *m, uint64_t cr3)
{
        struct candidate *c;

        for (unsigned k = 0; k < CANDIDATES; k++)
                if (m->candidates[k].cr3 == cr3)
                        return &m->candidates[k];
        c = &m->candidates[m->next++ % CANDIDATES];
        *c = (struct candidate){ .cr3 = cr3 };
        return c;
}

/* The program that is mirrored is the one that runs. */
static void note_present(struct mirror *m)
{
        for (unsigned k = 0; k < CANDIDATES; k++)
                m->candidates[k].alone = m->candidates[k].seen = 0;
}

static void take(struct mirror *m, uint64_t cr3)
{
        drop_all(m);
        m->cr3 = cr3;
        m->pending = m->ran = m->missing = 0;
        for (unsigned k = 0; k < CANDIDATES; k++)
                m->candidates[k].ran = m->candidates[k].kernel = 0;
        note_present(m);
}

static void ban(struct dbt_vcpu *v, struct candidate *c, uint64_t now)
{
        take(v->mirror, ~0ULL);
        c->banned_until = now + (BANNED(v) << c->bans);
        c->bans += c->bans < BANS_MAX;
}

/* Most of the time in the kernel: each way there and back costs a mirrored program more, and its own code is not what takes long. */
static bool is_kernels(const struct dbt_vcpu *v, const struct candidate *c)
{
        return c->kernel > 2 * c->ran + 5 * LONG(v);
}

static void halve(struct mirror *m)
{
        for (unsigned k = 0; k < CANDIDATES; k++) {
                m->candidates[k].ran /= 2;
                m->candidates[k].kernel /= 2;
        }
}

/* Is it c's turn, rather than the owner's? A program that is started again and again, such as a compiler, is not to wait each time until it is known what it does. */
static bool is_next(struct dbt_vcpu *v, const struct candidate *c, const struct candidate *owner)
{
        if (c->alone > KNOWN_ALONE(v) && c->seen >= KNOWN_SEEN && dbt_code_was_mirrored(v))
                return true;
        return c->ran > LONG(v) + c->kernel + (c->alone > ALONE(v) ? 0 : 4 * owner->ran);
}

/* Another program takes its turn if the one that is mirrored does not run any more, or seldom. */
void mirror_sample(struct dbt_vcpu *v)
{
        struct mirror *m = v->mirror;
        uint64_t now, took;
        struct candidate *owner, *c;

        if (!m || v->vm->config.mirror == ENGINE_MIRROR_ALWAYS)
                return;
        now = dbt_host_tsc();
        took = now - m->sampled < LONG(v) ? now - m->sampled : LONG(v);
        m->sampled = now;
        owner = candidate(m, m->cr3);
        c = candidate(m, present(v));
        *(v->cpl == 3 ? &c->ran : &c->kernel) += took;
        c->alone += v->cpl == 3 ? took : 0;
        c->seen += v->cpl == 3;
        if (c->cr3 == m->cr3) {
                note_present(m);
                m->ran += v->cpl == 3 ? took : 0;
                if (m->missing > MISSES_FREE(v) + m->ran / 4 || is_kernels(v, c))
                        ban(v, c, now);
        } else if (now > c->banned_until && v->cpl == 3 && is_next(v, c, owner)) {
                take(m, c->cr3);
        }
        if (c->ran + c->kernel > 16 * LONG(v))
                halve(m);
}

/* Is there a page table for lin, or a large page? */
static bool has_table(const struct dbt_vcpu *v, uint64_t lin)
{
        uint64_t table = v->cr3;

        for (unsigned shift = 39; shift >= 21; shift -= 9) {
                uint64_t gpa = (table & v->sys.phys_mask & DBT_PAGE_MASK) + (lin >> shift & 511) * 8;
                const struct dbt_slot *slot = dbt_slot_find(v->vm, gpa);

                table = slot ? *(const volatile uint64_t *)dbt_slot_host(slot, gpa) : 0;
                if (!(table & 1) || (shift < 39 && (table & 1 << 7)))
                        return table & 1;
        }
        return true;
}

/* May the program have something where mirrored code would find the process's own memory? Only its kernel can change that. */
static bool is_in_the_way(const struct dbt_vcpu *v)
{
        const struct mirror *m = v->mirror;

        for (unsigned k = 0; k < m->n_ours; k++)
                for (uint64_t lin = m->ours[k].start; lin != m->ours[k].end; lin += MiB(2))
                        if (has_table(v, lin))
                                return true;
        return false;
}

static void enter(struct dbt_vcpu *v)
{
        struct mirror *m = v->mirror;
        uint64_t pending;

        if (v->vm->config.mirror == ENGINE_MIRROR_ALWAYS && m->cr3 != present(v))
                take(m, present(v));
        if (m->cr3 != present(v) || is_in_the_way(v))
                return;
        v->mode |= DBT_MODE_MIRROR;
        v->tr_pkru = m->pkru;
        if (m->stale)
                look_again(v);
        dbt_tr_look_again(v);
        pending = m->pending;
        m->pending = 0;
        if (pending)
                mirror_page(v, pending, DBT_READ);
}

void mirror_mode(struct dbt_vcpu *v)
{
        if (!v->mirror)
                return;
        v->tr_pkru = 0;
        if (v->cpl == 3 && (v->mode & DBT_MODE_CS64))
                enter(v);
        else
                v->zero = 0; /* whatever a program has made of it */
}

/* --- Misses -------------------------------------------------------------------------------------------------------------------- */

void mirror_note_miss(struct dbt_vcpu *v, uint64_t address, bool write)
{
        v->mirror->missed = (address & DBT_PAGE_MASK) | 2 | write;
}

uint64_t mirror_begin_miss(struct dbt_vcpu *v)
{
        struct mirror *m = v->mirror;
        uint64_t missed;

        if (!m || !m->missed)
                return 0;
        missed = m->missed;
        m->missed = 0;
        m->missing += MISS_COST(v);
        m->pending = missed & DBT_PAGE_MASK;
        return missed;
}

void mirror_end_miss(struct dbt_vcpu *v, uint64_t missed)
{
        v->mirror->pending = 0;
        if (tr_is_mirrored(v->mode))
                mirror_page(v, missed & DBT_PAGE_MASK, missed & 1 ? DBT_WRITE : DBT_READ);
}

/* --- Changes ------------------------------------------------------------------------------------------------------------------- */

void mirror_flush(struct dbt_vcpu *v)
{
        if (!v->mirror)
                return;
        v->mirror->stale = true;
        if (tr_is_mirrored(v->mode))
                look_again(v);
}

void mirror_flush_present(struct dbt_vcpu *v)
{
        /* Without PCIDs, those of all address spaces go. */
        if (v->mirror && (!(v->cr4 & X86_CR4_PCIDE) || present(v) == v->mirror->cr3))
                mirror_flush(v);
}

/* Those of the large page that lin may lie in. */
static void flush_large(struct dbt_vcpu *v, uint64_t lin)
{
        uint64_t start = lin & ~(MiB(2) - 1);

        for (lin = start; lin != start + MiB(2); lin += DBT_PAGE_SIZE) {
                struct page *p = find(v->mirror, lin);

                if (p && (p->state & LARGE))
                        drop_page(v, p);
        }
        if (v->tlb2.shifts >> 30 & 1)
                mirror_flush(v);
}

void mirror_flush_page(struct dbt_vcpu *v, uint64_t lin)
{
        struct page *p;

        if (!v->mirror || !v->mirror->n)
                return;
        if (present(v) != v->mirror->cr3) {
                mirror_flush_present(v);
                return;
        }
        p = find(v->mirror, lin & DBT_PAGE_MASK);
        if (p && !(p->state & LARGE))
                drop_page(v, p);
        else if (v->mirror->n_large)
                flush_large(v, lin);
}

static bool may_be_written(const struct mirror *m, uint64_t gpa)
{
        unsigned bit = hash(gpa, FILTER_BITS);

        return m->written[bit / 64] >> bit % 64 & 1;
}

uint32_t mirror_protect(struct dbt_vcpu *v, uint64_t gpa)
{
        struct mirror *m = v->mirror;
        uint64_t group = gpa & ~(DBT_CODE_GROUP * DBT_PAGE_SIZE - 1);
        uint32_t written = 0;

        if (!m)
                return 0;
        for (unsigned k = 0; k < DBT_CODE_GROUP; k++)
                if (may_be_written(m, group + k * DBT_PAGE_SIZE))
                        written |= 1u << k;
        if (!may_be_written(m, gpa))
                return written;
        for (unsigned k = m->n; k-- > 0;)
                if ((m->pages[k].state & ~(uint64_t)LARGE) == (gpa | WRITABLE))
                        drop_page(v, &m->pages[k]);
        return written;
}

void mirror_drop(struct dbt_vcpu *v)
{
        if (v->mirror)
                drop_all(v->mirror);
}

/* --- Keys ---------------------------------------------------------------------------------------------------------------------- */

/* CPUID.7.ECX.OSPKE: the kernel has enabled protection keys. */
static bool has_keys(void)
{
        unsigned a, b, c, d;

        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c >> 4 & 1);
}

bool mirror_possible(const struct engine_config *config)
{
        return config->mirror != ENGINE_MIRROR_NEVER && config->cpus == 1 && !config->check && !SANITIZED && has_keys();
}

/* Two bits per key: no access, no writes. */
static uint32_t pkru_of(const int keys[2])
{
        return ~(3u << 2 * keys[0]) & ~(1u << 2 * keys[1]);
}

static void note_ours(struct mirror *m, uint64_t start, uint64_t end)
{
        struct range *r = m->ours;

        while (r != &m->ours[m->n_ours] && (start > r->end || end < r->start))
                r++;
        if (r == &m->ours[m->n_ours]) {
                m->n_ours++;
                *r = (struct range){ start, end };
        }
        r->start = start < r->start ? start : r->start;
        r->end = end > r->end ? end : r->end;
}

static int set_key(struct dbt_vcpu *v, void *memory, size_t size, int key)
{
        struct mirror *m = v->mirror;
        uint64_t start = (uintptr_t)memory;

        if (key && m->n_ours == OURS_MAX)
                return -ENOSPC;
        if (key)
                note_ours(m, ALIGN_DOWN(start, MiB(2)), ALIGN_UP(start + size, MiB(2)));
        return pkey_mprotect(memory, size, PROT_READ | PROT_WRITE, key) < 0 ? -errno : 0;
}

/* The vCPU's parts. */
static int set_keys(struct dbt_vcpu *v, int written, int read)
{
        int r = set_key(v, v, offsetof(struct dbt_vcpu, seg), written);

        if (r == 0)
                r = set_key(v, v->seg, offsetof(struct dbt_vcpu, mode) - offsetof(struct dbt_vcpu, seg), read);
        return r < 0 ? r : set_key(v, v->mirror_jumps, sizeof(v->mirror_jumps), read);
}

int mirror_give(struct dbt_vcpu *v, void *memory, size_t size)
{
        return v->mirror ? set_key(v, memory, size, v->mirror->keys[0]) : 0;
}

void mirror_init(struct dbt_vcpu *v)
{
        struct mirror *m;

        if (!mirror_possible(&v->vm->config))
                return;
        m = calloc(1, sizeof(*m));
        if (!m)
                return;
        m->cr3 = ~0ULL;
        m->keys[0] = pkey_alloc(0, 0);
        m->keys[1] = pkey_alloc(0, 0);
        m->pkru = pkru_of(m->keys);
        v->mirror = m;
        if (m->keys[0] > 0 && m->keys[1] > 0 && set_keys(v, m->keys[0], m->keys[1]) == 0)
                return;
        log_info("programs of the guest are not mirrored: there are no protection keys");
        mirror_finish(v);
}

void mirror_finish(struct dbt_vcpu *v)
{
        struct mirror *m = v->mirror;

        if (!m)
                return;
        drop_all(m);
        set_keys(v, 0, 0);
        for (unsigned k = 0; k < ARRAY_SIZE(m->keys); k++)
                if (m->keys[k] > 0)
                        pkey_free(m->keys[k]);
        free(m);
        v->mirror = NULL;
}

void mirror_thread(const struct dbt_vcpu *v)
{
        uint8_t *self = __builtin_thread_pointer();

        /* The kernel writes to a thread's rseq(2) area as it preempts the thread, in kernels before 6.16 with the keys of that moment. */
        if (v->mirror && __rseq_size)
                syscall(SYS_rseq, self + __rseq_offset, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}
