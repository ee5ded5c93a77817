/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Translations that are bound to a linear page, and their links to other pages.
 *
 * A bound translation runs at one linear page only, so that its code has linear addresses as constants. That is for programs that are mirrored and lie below 2 GiB, where such constants are small: one
 * program at a time, whose code mostly stays where it is. Should a physical page turn out to be mapped at two linear ones, nothing in it is bound any more, see dbt_block_unbind.
 *
 * Bound code does not need v->tr_page, and does not keep it: its exits to other pages are linked as others are. Such a link is right while the present program has the same physical page there. All
 * target pages are known here: where the architecture drops TLB entries for code, they are looked at before the program runs on. The links to those that are not there any more sleep: their code
 * is as if they were not linked. When one of these exits is taken and finds the physical page again, all of that page's links wake up: so it is when a program is started once more. */

#include <errno.h>
#include <sys/mman.h>

#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/tr-gen.h"

#define LINKS_MAX 131072u
#define PAGES_MAX 16384u
#define BUCKETS 4096u
#define LINEAR_END (1ULL << 31)

/* What follows has numbers; 0 is none. A link is in two lists, each of which begins with the newest. */
struct link {
        uint32_t at;                   /* where its struct tr_link is, in the code; 0: it is free */
        uint32_t target;               /* code of the block that it leads to */
        uint32_t page;
        uint32_t next, prev;           /* to the same block; next: also of the free ones */
        uint32_t page_next, page_prev; /* to the same page */
};

/* A target page: a physical page at a linear address. */
struct page {
        uint64_t gpa;
        uint32_t lin, first;           /* first: of its links */
        uint32_t next;                 /* in its bucket, or of the free ones */
        bool used, awake;              /* awake: it is there, and its links are jumps */
};

struct tr_bound {
        bool stale;                    /* pages have to be looked at before the program runs on */
        uint32_t n_links, free_link, n_pages, free_page; /* n: numbers that were ever used */
        uint32_t bucket[BUCKETS];
        struct page page[PAGES_MAX];
        struct link link[LINKS_MAX];
};

int tr_bound_init(struct dbt_tr *t)
{
        t->bound = mmap(NULL, sizeof(*t->bound), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (t->bound == MAP_FAILED) {
                t->bound = NULL;
                return -ENOMEM;
        }
        return 0;
}

void tr_bound_free(struct dbt_tr *t)
{
        if (t->bound)
                munmap(t->bound, sizeof(*t->bound));
}

void tr_bound_flush(struct dbt_tr *t)
{
        struct tr_bound *f = t->bound;

        f->n_links = f->free_link = f->n_pages = f->free_page = 0;
        for (unsigned k = 0; k < BUCKETS; k++)
                f->bucket[k] = 0;
}

/* --- Target pages ------------------------------------------------------------------------------------------------------------- */

static uint32_t *bucket_of(struct tr_bound *f, uint32_t lin)
{
        return &f->bucket[lin >> DBT_PAGE_SHIFT & (BUCKETS - 1)];
}

static uint32_t page_find(struct tr_bound *f, uint32_t lin, uint64_t gpa)
{
        uint32_t n = *bucket_of(f, lin);

        while (n && (f->page[n].lin != lin || f->page[n].gpa != gpa))
                n = f->page[n].next;
        return n;
}

/* Does some link lead to the linear page? */
static bool page_known(struct tr_bound *f, uint32_t lin)
{
        uint32_t n = *bucket_of(f, lin);

        while (n && f->page[n].lin != lin)
                n = f->page[n].next;
        return n;
}

static uint32_t page_add(struct tr_bound *f, uint32_t lin, uint64_t gpa)
{
        uint32_t n = f->free_page, *bucket = bucket_of(f, lin);

        if (n)
                f->free_page = f->page[n].next;
        else if (f->n_pages + 1 < PAGES_MAX)
                n = ++f->n_pages;
        else
                return 0;
        f->page[n] = (struct page){ .gpa = gpa, .lin = lin, .next = *bucket, .used = true, .awake = true };
        *bucket = n;
        return n;
}

static void page_drop(struct tr_bound *f, uint32_t n)
{
        struct page *p = &f->page[n];
        uint32_t *cell = bucket_of(f, p->lin);

        while (*cell != n)
                cell = &f->page[*cell].next;
        *cell = p->next;
        p->used = false;
        p->next = f->free_page;
        f->free_page = n;
}

/* Is it where the program has code? */
static bool is_there(struct dbt_vcpu *v, uint64_t lin, uint64_t gpa)
{
        unsigned slot = dbt_tlb_index(lin);

        if (!DBT_TLB_HIT(&v->tlb[DBT_MMU_USER][slot], match_exec, lin, 1) && !dbt_tlb_refill(v, lin, DBT_MMU_USER, DBT_EXEC))
                return false;
        return v->tlb_info[DBT_MMU_USER][slot].gpa == gpa;
}

static void set_link(struct dbt_vcpu *v, const struct link *l, bool awake)
{
        struct dbt_tr *t = v->translator;

        if (awake)
                tr_link_set(v, l->at, tr_block_at(v, t->exec + l->target));
        else
                tr_link_clear(t, l->at);
}

static void set_awake(struct dbt_vcpu *v, struct page *p, bool awake)
{
        const struct link *all = v->translator->bound->link;

        p->awake = awake;
        for (uint32_t n = p->first; n; n = all[n].page_next)
                set_link(v, &all[n], awake);
}

/* --- Links ---------------------------------------------------------------------------------------------------------------------- */

static struct tr_link *record_at(const struct dbt_tr *t, uint32_t at)
{
        return (struct tr_link *)(t->write + at);
}

static uint32_t link_new(struct tr_bound *f)
{
        uint32_t n = f->free_link;

        if (n)
                f->free_link = f->link[n].next;
        else if (f->n_links + 1 < LINKS_MAX)
                n = ++f->n_links;
        return n;
}

static void link_free(struct tr_bound *f, uint32_t n)
{
        f->link[n].at = 0;
        f->link[n].next = f->free_link;
        f->free_link = n;
}

static void leave_page(struct tr_bound *f, const struct link *l)
{
        struct page *p = &f->page[l->page];

        if (l->page_next)
                f->link[l->page_next].page_prev = l->page_prev;
        if (l->page_prev)
                f->link[l->page_prev].page_next = l->page_next;
        else
                p->first = l->page_next;
        if (!p->first)
                page_drop(f, l->page);
}

/* The code as if it had never been linked. It is in the list of its block still. */
static void take_away(struct dbt_tr *t, uint32_t n)
{
        struct tr_bound *f = t->bound;
        const struct link *l = &f->link[n];

        record_at(t, l->at)->next = 0;
        tr_link_clear(t, l->at);
        leave_page(f, l);
        link_free(f, n);
}

void tr_bound_remove(struct dbt_vcpu *v, uint32_t at)
{
        struct dbt_tr *t = v->translator;
        struct link *all = t->bound->link;
        uint32_t n = record_at(t, at)->next;
        const struct link *l = &all[n];

        if (l->next)
                all[l->next].prev = l->prev;
        if (l->prev)
                all[l->prev].next = l->next;
        else
                tr_block_at(v, t->exec + l->target)->far_links = l->next;
        take_away(t, n);
}

void tr_bound_unlink(struct dbt_vcpu *v, struct dbt_block *b)
{
        uint32_t next;

        for (uint32_t n = b->far_links; n; n = next) {
                next = v->translator->bound->link[n].next;
                take_away(v->translator, n);
        }
        b->far_links = 0;
}

void tr_bound_move(struct dbt_vcpu *v, struct dbt_block *from, struct dbt_block *to)
{
        struct dbt_tr *t = v->translator;
        struct link *all = t->bound->link;

        if (!tr_is_mirrored(tr_mode(from)))
                return;
        for (uint32_t n = from->far_links; n; n = all[n].next) {
                all[n].target = to->code;
                if (t->bound->page[all[n].page].awake)
                        set_link(v, &all[n], true);
        }
        to->far_links = from->far_links;
        from->far_links = 0;
}

static void remove_all(struct dbt_vcpu *v)
{
        struct tr_bound *f = v->translator->bound;

        for (uint32_t n = 1; n <= f->n_links; n++)
                if (f->link[n].at)
                        tr_bound_remove(v, f->link[n].at);
}

static void put(struct dbt_vcpu *v, uint32_t n, uint32_t at, uint32_t page, struct dbt_block *b)
{
        struct tr_bound *f = v->translator->bound;
        struct page *p = &f->page[page];

        f->link[n] = (struct link){ .at = at, .target = b->code, .page = page, .next = b->far_links, .page_next = p->first };
        if (b->far_links)
                f->link[b->far_links].prev = n;
        if (p->first)
                f->link[p->first].page_prev = n;
        b->far_links = p->first = n;
        record_at(v->translator, at)->next = n;
        set_link(v, &f->link[n], true);
}

/* The page where the exit leads to b, with its links awake. */
static uint32_t page_of_exit(struct dbt_vcpu *v, uint32_t lin, const struct dbt_block *b)
{
        struct tr_bound *f = v->translator->bound;
        uint64_t gpa = dbt_block_gpa(b) & DBT_PAGE_MASK;
        uint32_t n = page_find(f, lin, gpa);

        if (!n)
                return page_add(f, lin, gpa);
        if (!f->page[n].awake)
                set_awake(v, &f->page[n], true);
        return n;
}

/* The exit, which leads to lin, leads to b. */
static void link_to(struct dbt_vcpu *v, uint32_t at, uint32_t lin, struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        struct tr_bound *f = t->bound;
        uint32_t page, n;

        if (f->stale || b->crosses || !b->is_bound) /* what is not bound depends on v->tr_page */
                return;
        page = page_of_exit(v, lin & (uint32_t)DBT_PAGE_MASK, b);
        n = record_at(t, at)->next;
        if (n && f->link[n].page == page) /* it slept */
                return;
        if (n)
                tr_bound_remove(v, at);
        n = page ? link_new(f) : 0;
        if (n)
                put(v, n, at, page, b);
        else
                remove_all(v); /* to begin anew */
}

void tr_bound_link(struct dbt_vcpu *v, uint32_t at, struct dbt_block *b)
{
        uint32_t lin = (uint32_t)record_at(v->translator, at)->lin;

        if (dbt_rip_linear(v) == lin && tr_is_mirrored(v->mode))
                link_to(v, at, lin, b);
}

void tr_bound_link_ready(struct dbt_vcpu *v, uint32_t at)
{
        uint32_t lin = (uint32_t)record_at(v->translator, at)->lin;
        unsigned slot = dbt_tlb_index(lin);
        struct dbt_block *b;

        if (!DBT_TLB_HIT(&v->tlb[DBT_MMU_USER][slot], match_exec, lin, 1))
                return;
        b = dbt_index_find(v->decode, dbt_block_key(v->tlb_info[DBT_MMU_USER][slot].gpa | (lin & ~DBT_PAGE_MASK), v->mode));
        if (b && b->code && !b->dead && b->bound == (lin & (uint32_t)DBT_PAGE_MASK))
                link_to(v, at, lin, b);
}

/* --- Changes ------------------------------------------------------------------------------------------------------------------- */

void dbt_tr_look_again(struct dbt_vcpu *v)
{
        struct tr_bound *f = v->translator ? v->translator->bound : NULL;

        if (!f || !f->stale)
                return;
        f->stale = false;
        for (uint32_t n = 1; n <= f->n_pages; n++) {
                struct page *p = &f->page[n];

                if (p->used && p->awake && !is_there(v, p->lin, p->gpa))
                        set_awake(v, p, false);
        }
}

void dbt_tr_code_changed(struct dbt_vcpu *v, bool one, uint64_t lin)
{
        struct tr_bound *f = v->translator ? v->translator->bound : NULL;

        if (!f || (one && (lin >= LINEAR_END || !page_known(f, (uint32_t)(lin & DBT_PAGE_MASK)))))
                return;
        f->stale = true;
        if (tr_is_mirrored(v->mode))
                dbt_tr_look_again(v);
}

/* --- Binding ------------------------------------------------------------------------------------------------------------------- */

/* A block that is translated again stays what it was: its old code leads to the new one. */
static uint32_t page_to_bind(struct dbt_vcpu *v, const struct dbt_block *b)
{
        uint64_t lin = dbt_rip_linear(v), gpa = dbt_block_gpa(b) & DBT_PAGE_MASK;

        if (b->code)
                return b->bound;
        if (!tr_is_mirrored(v->mode) || v->mode != tr_mode(b) || lin >= LINEAR_END || !is_there(v, lin, gpa) || !dbt_block_can_bind(v, b))
                return 0;
        return (uint32_t)(lin & DBT_PAGE_MASK);
}

void tr_bind(struct dbt_vcpu *v, const struct dbt_block *source, struct dbt_block *b)
{
        b->bound = page_to_bind(v, source);
        b->is_bound = b->bound != 0;
        if (tr_is_mirrored(tr_mode(b)))
                b->far_links = 0;
}

bool tr_linear_of(const struct dbt_block *b, int64_t offset, int32_t *ret)
{
        int64_t lin = (int64_t)b->bound + offset;

        *ret = (int32_t)lin;
        return b->is_bound && lin == *ret;
}

bool tr_links_to(const struct dbt_block *b, int64_t offset, int32_t *ret)
{
        return tr_linear_of(b, offset, ret) && *ret >= (int32_t)DBT_PAGE_SIZE && gen_is_within_page(*ret & (int32_t)~DBT_PAGE_MASK);
}
