/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory sites at run time: filling, forgetting, and giving up those that miss too often. */

#include <sys/mman.h>

#include "hv/engine/dbt/sys.h"
#include "hv/engine/dbt/tr.h"

/* A miss costs what so many accesses gain. */
#define BREAK_EVEN 10

static bool is_keyed(const struct tr_site *s)
{
        return s->k & TR_SITE_KEYED;
}

static unsigned list_of(uint64_t lin)
{
        return (unsigned)(lin >> DBT_PAGE_SHIFT) & (TR_SITE_LISTS - 1);
}

static void site_remove(struct tr_site *s)
{
        if (!s->prev)
                return;
        *s->prev = s->next;
        if (s->next)
                s->next->prev = s->prev;
        s->prev = NULL;
        s->match = TR_SITE_INVALID;
        s->k &= (uint8_t)~TR_SITE_ROAMING;
}

static void link_to(struct tr_site **head, struct tr_site *s)
{
        s->next = *head;
        s->prev = head;
        if (s->next)
                s->next->prev = &s->next;
        *head = s;
}

static void site_insert(struct tr_sites *sites, struct tr_site *s, bool global, uint64_t lin)
{
        unsigned n = list_of(lin);

        link_to(&sites->lists[global][n], s);
        sites->used[global][n / 64] |= 1ULL << (n % 64);
}

/* --- Misses -------------------------------------------------------------------------------------------------------------- */

static void count_miss(struct dbt_vcpu *v, struct tr_site *s)
{
        struct tr_sites *sites = &v->translator->sites;
        uint32_t before = s->misses++;

        if (!before || before % TR_SITE_MISSES_MAX || sites->convert)
                return;
        dbt_block_more(s->block)->by_tlb |= 1ULL << (s->k & TR_SITE_INSN);
        sites->convert = s->block;
        dbt_ask(v, DBT_REQ_CONVERT);
}

void tr_sites_judge(struct dbt_vcpu *v, struct dbt_block *b, unsigned runs)
{
        const struct tr_site *s = &v->translator->sites.site[b->first_site];

        for (unsigned n = 0; n < b->n_sites; n++)
                if (!is_keyed(&s[n]) && s[n].misses > runs / BREAK_EVEN)
                        dbt_block_more(b)->by_tlb |= 1ULL << (s[n].k & TR_SITE_INSN);
}

const struct dbt_tlb_entry *tr_tlb_entry(struct dbt_vcpu *v, uint64_t lin, unsigned span, bool write)
{
        const struct dbt_tlb_entry *e = dbt_tlb_slot(v, v->mmu, lin);

        if (((write ? e->match_write : e->match_read) ^ lin) <= DBT_PAGE_SIZE - span)
                return e;
        if ((lin & ~DBT_PAGE_MASK) + span > DBT_PAGE_SIZE || !dbt_tlb_refill(v, lin, v->mmu, write ? DBT_WRITE : DBT_READ))
                return NULL;
        return e;
}

/* The site is about to become valid for the page of lin. */
static void choose_list(struct dbt_vcpu *v, struct tr_site *s, uint64_t lin)
{
        struct tr_sites *sites = &v->translator->sites;

        if (s->k & TR_SITE_ROAMING)
                return;
        if (!s->prev || is_keyed(s)) {
                site_remove(s);
                site_insert(sites, s, dbt_tlb_is_global(v, lin), lin);
                return;
        }
        site_remove(s);
        s->k |= TR_SITE_ROAMING;
        link_to(&sites->roaming, s);
}

bool tr_site_missed(struct dbt_vcpu *v, struct tr_site *s, uint64_t lin, enum tr_miss how)
{
        const struct dbt_tlb_entry *e;

        if (lin > UINT32_MAX && !(v->mode & DBT_MODE_CS64)) /* it wraps */
                return false;
        e = tr_tlb_entry(v, lin, (unsigned)DBT_PAGE_SIZE - s->limit, how & 1);
        if (!e)
                return false;
        if (!is_keyed(s))
                count_miss(v, s);
        choose_list(v, s, lin);
        s->match = is_keyed(s) ? lin - (uint64_t)(int64_t)s->disp : lin & DBT_PAGE_MASK;
        s->addend = is_keyed(s) ? lin + e->addend : e->addend;
        return true;
}

bool tr_stack_missed(struct dbt_vcpu *v, uint64_t lin, unsigned span, bool write)
{
        const struct dbt_tlb_entry *e = tr_tlb_entry(v, lin, span, write);

        if (!e || (e->match_write ^ lin) > DBT_PAGE_SIZE - span)
                return false;
        v->tr_stack[v->mmu].match = lin & DBT_PAGE_MASK;
        v->tr_stack[v->mmu].addend = e->addend;
        return true;
}

/* --- Forgetting ------------------------------------------------------------------------------------------------------------ */

static void forget_chain(struct tr_site **head)
{
        struct tr_site *next;

        for (struct tr_site *s = *head; s; s = next) {
                next = s->next;
                s->prev = NULL;
                s->match = TR_SITE_INVALID;
                s->k &= (uint8_t)~TR_SITE_ROAMING;
        }
        *head = NULL;
}

static void forget_list(struct tr_sites *sites, unsigned global, unsigned n)
{
        forget_chain(&sites->lists[global][n]);
        sites->used[global][n / 64] &= ~(1ULL << (n % 64));
}

static void forget_all(struct tr_sites *sites, unsigned global)
{
        for (unsigned word = 0; word < TR_SITE_LISTS / 64; word++) {
                uint64_t left = sites->used[global][word];

                for (; left; left &= left - 1)
                        forget_list(sites, global, word * 64 + (unsigned)__builtin_ctzll(left));
        }
}

void tr_stacks_forget(struct dbt_vcpu *v)
{
        for (unsigned view = 0; view < DBT_NMMUS; view++)
                v->tr_stack[view].match = TR_SITE_INVALID;
}

void dbt_tr_forget_sites(struct dbt_vcpu *v, bool global)
{
        if (!v->translator)
                return;
        tr_stacks_forget(v);
        forget_chain(&v->translator->sites.roaming);
        forget_all(&v->translator->sites, 0);
        if (global)
                forget_all(&v->translator->sites, 1);
}

void dbt_tr_forget_page(struct dbt_vcpu *v, uint64_t lin)
{
        if (!v->translator)
                return;
        tr_stacks_forget(v);
        forget_chain(&v->translator->sites.roaming);
        forget_list(&v->translator->sites, 0, list_of(lin));
        forget_list(&v->translator->sites, 1, list_of(lin));
}

/* Takes from the sites of a list what leads to the host's memory. */
static void forget_host(struct tr_sites *sites, unsigned global, unsigned n, uintptr_t start, uint64_t size)
{
        struct tr_site *s = sites->lists[global][n], *next;

        for (; s; s = next) {
                uint64_t host = is_keyed(s) ? s->addend & DBT_PAGE_MASK : s->match + s->addend;

                next = s->next;
                if (host - start < size)
                        site_remove(s);
        }
}

void dbt_tr_forget_host(struct dbt_vcpu *v, uintptr_t start, uint64_t size)
{
        struct tr_sites *sites;

        if (!v->translator)
                return;
        sites = &v->translator->sites;
        tr_stacks_forget(v);
        forget_chain(&sites->roaming);
        for (unsigned global = 0; global < 2; global++)
                for (unsigned n = 0; n < TR_SITE_LISTS; n++)
                        forget_host(sites, global, n, start, size);
}

/* --- All of them ------------------------------------------------------------------------------------------------------------ */

struct tr_site *tr_site_new(struct tr_sites *sites, struct dbt_block *b, unsigned k, unsigned span)
{
        unsigned n = sites->current * sites->max + sites->n[sites->current]++;
        struct tr_site *s = &sites->site[n];

        if (!b->n_sites++)
                b->first_site = n;
        *s = (struct tr_site){ .match = TR_SITE_INVALID, .addend = (uintptr_t)sites->site - DBT_PAGE_SIZE - TR_SITE_INVALID,
                .block = b, .k = (uint8_t)k, .limit = (uint16_t)(DBT_PAGE_SIZE - span) };
        return s;
}

void tr_sites_evict(struct dbt_vcpu *v, unsigned segment)
{
        struct tr_sites *sites = &v->translator->sites;

        for (unsigned k = 0; k < sites->n[segment]; k++)
                site_remove(&sites->site[segment * sites->max + k]);
        sites->n[segment] = 0;
        sites->convert = NULL;
}

void tr_sites_flush(struct dbt_vcpu *v)
{
        dbt_tr_forget_sites(v, true);
        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                v->translator->sites.n[k] = 0;
        v->translator->sites.convert = NULL;
}
