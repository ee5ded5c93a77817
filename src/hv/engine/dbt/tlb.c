/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The software TLB (Intel SDM vol. 3, 4.10).
 *
 * First level: a direct-mapped table for each view with what handlers and translated code need. It holds translations of the present context
 * only: a CR3 load drops all that are not global.
 *
 * Second level: what the page tables say, found again without a walk. An entry's tag names its context: global pages, or a number that
 * stands for a PCID since it was last flushed. So a context is forgotten by giving it another number, and a CR3 load that keeps a context
 * finds its entries again. One entry covers a large page. Rights and A/D bits are the guest's; nothing here depends on slots or code pages. */

#include "hv/engine/dbt/check.h"
#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/mmu.h"

#define WORDS (DBT_TLB_SIZE / 64)
/* Tags: page number above, then the size's code, then the context. */
#define CONTEXT_BITS 26
#define CODE_BITS 2
#define PACKED_RIGHTS 0x3f

/* --- First level --------------------------------------------------------------------------------------------------------- */

/* For a forbidden access: in the hole between canonical addresses, and in the page number's lowest bit different from all that use
 * this slot. */
static uint64_t no_match(unsigned slot)
{
        return 1ULL << 63 | (uint64_t)(~slot & 1) << DBT_PAGE_SHIFT;
}

static void entry_clear(struct dbt_vcpu *v, unsigned mmu, unsigned slot)
{
        struct dbt_tlb_entry *e = &v->tlb[mmu][slot];

        e->match_read = e->match_write = e->match_exec = no_match(slot);
        v->tlb_info[mmu][slot].gpa = ~0ULL;
}

/* Filter of the ranges that have pages of a large size, for each half of the address space: 4M and 1G. */
static uint64_t *large_filter(struct dbt_vcpu *v, uint64_t lin, unsigned shift)
{
        return &v->tlb_large[lin >> 63][shift == 30];
}

static uint64_t large_bit(uint64_t lin, unsigned shift)
{
        return 1ULL << ((lin >> (shift == 30 ? 30 : 22)) & 63);
}

/* Filter of the pages that instructions may have been fetched from, for each half of the address space. */
static uint64_t *code_filter(struct dbt_vcpu *v, uint64_t lin)
{
        return &v->tlb_code[lin >> 63][lin >> (DBT_PAGE_SHIFT + 6) & (DBT_TLB_CODE_WORDS - 1)];
}

static void note_code(struct dbt_vcpu *v, unsigned mmu, uint64_t lin, bool global)
{
        *code_filter(v, lin) |= 1ULL << (lin >> DBT_PAGE_SHIFT & 63);
        if (mmu != DBT_MMU_USER && !global)
                v->tlb_local_code = true;
        if (!(lin >> 63) && (mmu != DBT_MMU_USER || global))
                v->tlb_low_code = true;
}

static void note_entry(struct dbt_vcpu *v, unsigned mmu, uint64_t lin, unsigned shift, bool global)
{
        unsigned slot = dbt_tlb_index(lin), word = slot / 64;
        uint64_t bit = 1ULL << (slot % 64);

        v->tlb_used[global][mmu].word[word] |= bit;
        v->tlb_used[global][mmu].words |= 1U << word;
        v->tlb_used[!global][mmu].word[word] &= ~bit;
        if (shift > DBT_PAGE_SHIFT)
                *large_filter(v, lin, shift) |= large_bit(lin, shift);
}

bool dbt_direct_write(const struct dbt_vcpu *v, const struct dbt_page *page, const struct dbt_slot *slot)
{
        return (page->rights & DBT_PAGE_DIRTY) && !slot->readonly && dbt_slot_is_dirty(slot, page->gpa) &&
                !dbt_code_page_test(v->vm, page->gpa);
}

void dbt_tlb_forbid_write(struct dbt_vcpu *v, unsigned mmu, unsigned slot)
{
        v->tlb[mmu][slot].match_write = no_match(slot);
}

void dbt_tlb_fill(struct dbt_vcpu *v, const struct dbt_page *page, const struct dbt_slot *slot, uint64_t lin, unsigned mmu)
{
        unsigned n = dbt_tlb_index(lin);
        struct dbt_tlb_entry *e = &v->tlb[mmu][n];
        struct dbt_tlb_info *info = &v->tlb_info[mmu][n];
        uint64_t base = lin & DBT_PAGE_MASK, none = no_match(n);

        info->gpa = page->gpa;
        info->shift = page->shift;
        e->addend = (uintptr_t)dbt_slot_host(slot, page->gpa) - base;
        e->match_read = dbt_page_allows(v, page, DBT_READ, mmu) ? base : none;
        e->match_exec = dbt_page_allows(v, page, DBT_EXEC, mmu) ? base : none;
        e->match_write = dbt_page_allows(v, page, DBT_WRITE, mmu) && dbt_direct_write(v, page, slot) ? base : none;
        if (unlikely(v->sys.watch) && dbt_debug_watched(v, base))
                e->match_read = e->match_write = none;
        if (e->match_write != none && unlikely(!check_grant(v, mmu, n)))
                e->match_write = none;
        if (e->match_exec == base)
                note_code(v, mmu, lin, page->rights & DBT_PAGE_GLOBAL);
        note_entry(v, mmu, lin, page->shift, page->rights & DBT_PAGE_GLOBAL);
}

static void clear_used(struct dbt_vcpu *v, unsigned mmu, struct dbt_tlb_used *used)
{
        while (used->words) {
                unsigned word = (unsigned)__builtin_ctz(used->words);

                for (uint64_t left = used->word[word]; left; left &= left - 1)
                        entry_clear(v, mmu, word * 64 + (unsigned)__builtin_ctzll(left));
                used->word[word] = 0;
                used->words &= used->words - 1;
        }
}

static void clear_words(uint64_t *word, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                word[i] = 0;
}

/* Drops the first level's local entries, or all. */
static void first_flush(struct dbt_vcpu *v, bool global)
{
        enum dbt_code_change code = global || v->tlb_local_code ? DBT_CODE_ALL : DBT_CODE_USER;

        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++) {
                clear_used(v, mmu, &v->tlb_used[0][mmu]);
                if (global)
                        clear_used(v, mmu, &v->tlb_used[1][mmu]);
        }
        if (global) {
                clear_words(v->tlb_code[0], 2 * DBT_TLB_CODE_WORDS);
                clear_words(v->tlb_large[0], 4);
                v->tlb_low_code = false;
        } else if (!v->tlb_low_code) {
                clear_words(v->tlb_code[0], DBT_TLB_CODE_WORDS);
        }
        v->tlb_local_code = false;
        dbt_mapping_changed(v, global ? DBT_CHANGE_ALL : DBT_CHANGE_LOCAL, 0, code);
}

static bool contains(const struct dbt_tlb_entry *e, unsigned shift, uint64_t lin)
{
        return (e->match_read ^ lin) >> shift == 0 || (e->match_exec ^ lin) >> shift == 0 || (e->match_write ^ lin) >> shift == 0;
}

/* Drops all parts of the large page that lin lies in. */
static void flush_large(struct dbt_vcpu *v, uint64_t lin)
{
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++)
                for (unsigned slot = 0; slot < DBT_TLB_SIZE; slot++)
                        if (contains(&v->tlb[mmu][slot], v->tlb_info[mmu][slot].shift, lin))
                                entry_clear(v, mmu, slot);
}

/* Code of the lower half is user mode's alone on any usual system. */
static enum dbt_code_change code_change(struct dbt_vcpu *v, uint64_t lin)
{
        return lin >> 63 || v->tlb_low_code ? DBT_CODE_ALL : DBT_CODE_USER;
}

static void first_flush_page(struct dbt_vcpu *v, uint64_t lin)
{
        bool code = *code_filter(v, lin) >> (lin >> DBT_PAGE_SHIFT & 63) & 1, large = false;

        mirror_flush_page(v, lin);
        if ((*large_filter(v, lin, 22) & large_bit(lin, 22)) || (*large_filter(v, lin, 30) & large_bit(lin, 30))) {
                flush_large(v, lin);
                code = large = true;
        }
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++)
                entry_clear(v, mmu, dbt_tlb_index(lin));
        dbt_mapping_changed(v, large ? DBT_CHANGE_ALL : DBT_CHANGE_PAGE, lin, code ? code_change(v, lin) : DBT_CODE_NONE);
}

static uint32_t protect(struct dbt_vcpu *v, unsigned mmu, const struct dbt_tlb_used *used, uint64_t gpa_page)
{
        uint64_t first = gpa_page & ~(DBT_CODE_GROUP * DBT_PAGE_SIZE - 1);
        uint32_t written = 0;

        for (unsigned words = used->words; words; words &= words - 1) {
                unsigned word = (unsigned)__builtin_ctz(words);

                for (uint64_t left = used->word[word]; left; left &= left - 1) {
                        unsigned slot = word * 64 + (unsigned)__builtin_ctzll(left);
                        struct dbt_tlb_entry *e = &v->tlb[mmu][slot];
                        uint64_t gpa = v->tlb_info[mmu][slot].gpa;

                        if (gpa - first >= DBT_CODE_GROUP * DBT_PAGE_SIZE || e->match_write == no_match(slot))
                                continue;
                        written |= 1u << ((gpa - first) >> DBT_PAGE_SHIFT);
                        if (gpa == gpa_page)
                                e->match_write = no_match(slot);
                }
        }
        return written;
}

uint32_t dbt_tlb_protect_code(struct dbt_vcpu *v, uint64_t gpa_page)
{
        const struct dbt_slot *slot = dbt_slot_find(v->vm, gpa_page);
        uint64_t in_group = gpa_page & (DBT_CODE_GROUP * DBT_PAGE_SIZE - 1);
        uint32_t written = mirror_protect(v, gpa_page);

        if (slot)
                dbt_tr_forget_host(v, (uintptr_t)dbt_slot_host(slot, gpa_page) - in_group, DBT_CODE_GROUP * DBT_PAGE_SIZE);
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++) {
                written |= protect(v, mmu, &v->tlb_used[0][mmu], gpa_page);
                written |= protect(v, mmu, &v->tlb_used[1][mmu], gpa_page);
        }
        return written;
}

/* --- Second level -------------------------------------------------------------------------------------------------------- */

static unsigned size_code(unsigned shift)
{
        return shift == 12 ? 0 : shift == 21 ? 1 : shift == 22 ? 2 : 3;
}

static uint64_t tag_of(uint64_t lin, unsigned shift, uint32_t context)
{
        uint64_t number = (lin & 0xffffffffffffULL) >> shift;

        return number << (CONTEXT_BITS + CODE_BITS) | (uint64_t)size_code(shift) << CONTEXT_BITS | context;
}

static struct dbt_tlb2_entry *set_of(struct dbt_vcpu *v, uint64_t lin, unsigned shift)
{
        uint64_t number = lin >> shift;

        if (shift == DBT_PAGE_SHIFT)
                return v->tlb2.small[(number ^ number >> DBT_TLB2_BITS) & ((1u << DBT_TLB2_BITS) - 1)];
        return v->tlb2.large[number & ((1u << DBT_TLB2_LARGE_BITS) - 1)];
}

/* The entry of the page of that size in either of two contexts. */
static struct dbt_tlb2_entry *find_entry(struct dbt_vcpu *v, uint64_t lin, unsigned shift, uint32_t local, uint32_t global)
{
        struct dbt_tlb2_entry *set = set_of(v, lin, shift);
        uint64_t a = tag_of(lin, shift, local), b = tag_of(lin, shift, global);

        for (unsigned way = 0; way < DBT_TLB2_WAYS; way++)
                if (set[way].tag == a || set[way].tag == b)
                        return &set[way];
        return NULL;
}

static const uint8_t large_shifts[] = { 21, 30, 22 };

static bool second_find(struct dbt_vcpu *v, uint64_t lin, struct dbt_page *page)
{
        const struct dbt_tlb2 *t = &v->tlb2;
        const struct dbt_tlb2_entry *e = find_entry(v, lin, 12, t->context, t->global);
        unsigned shift = 12;

        for (unsigned i = 0; !e && i < ARRAY_SIZE(large_shifts); i++) {
                shift = large_shifts[i];
                if (t->shifts >> shift & 1)
                        e = find_entry(v, lin, shift, t->context, t->global);
        }
        if (!e)
                return false;
        page->gpa = (e->page & DBT_PAGE_MASK) | (lin & ((1ULL << shift) - 1) & DBT_PAGE_MASK);
        page->shift = (uint8_t)shift;
        page->rights = e->page & PACKED_RIGHTS;
        return true;
}

static void second_enter(struct dbt_vcpu *v, uint64_t lin, const struct dbt_page *page)
{
        struct dbt_tlb2 *t = &v->tlb2;
        struct dbt_tlb2_entry *e = find_entry(v, lin, page->shift, t->context, t->global);
        uint64_t base = page->gpa & ~((1ULL << page->shift) - 1);

        if (!e)
                e = &set_of(v, lin, page->shift)[t->next++ % DBT_TLB2_WAYS];
        e->tag = tag_of(lin, page->shift, page->rights & DBT_PAGE_GLOBAL ? t->global : t->context);
        e->page = base | page->rights;
        t->shifts |= 1u << page->shift;
}

static void second_flush_page(struct dbt_vcpu *v, uint64_t lin, uint32_t local, uint32_t global)
{
        struct dbt_tlb2_entry *e = find_entry(v, lin, 12, local, global);

        if (e)
                e->tag = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(large_shifts); i++) {
                e = v->tlb2.shifts >> large_shifts[i] & 1 ? find_entry(v, lin, large_shifts[i], local, global) : NULL;
                if (e)
                        e->tag = 0;
        }
}

/* --- Contexts ------------------------------------------------------------------------------------------------------------ */

static void second_wipe(struct dbt_tlb2 *t)
{
        for (unsigned i = 0; i < ARRAY_SIZE(t->small); i++)
                for (unsigned way = 0; way < DBT_TLB2_WAYS; way++)
                        t->small[i][way].tag = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(t->large); i++)
                for (unsigned way = 0; way < DBT_TLB2_WAYS; way++)
                        t->large[i][way].tag = 0;
        for (unsigned i = 0; i < DBT_TLB2_CONTEXTS; i++)
                t->known[i].number = 0;
        t->last = 0;
        t->global = ++t->last;
}

/* Context 0 is nobody's: a tag of 0 is an empty entry. */
static uint32_t new_context(struct dbt_tlb2 *t)
{
        if (t->last == (1u << CONTEXT_BITS) - 1)
                second_wipe(t);
        return ++t->last;
}

static uint32_t *known_context(struct dbt_tlb2 *t, unsigned pcid)
{
        for (unsigned i = 0; i < DBT_TLB2_CONTEXTS; i++)
                if (t->known[i].number && t->known[i].pcid == pcid)
                        return &t->known[i].number;
        return NULL;
}

/* The present context becomes that of the PCID, with or without what was cached for it. */
static void use_context(struct dbt_tlb2 *t, unsigned pcid, bool keep)
{
        uint32_t *known = known_context(t, pcid), number = known && keep ? *known : new_context(t);
        unsigned victim;

        known = known_context(t, pcid);
        if (!known) {
                victim = t->victim++ % DBT_TLB2_CONTEXTS;
                t->known[victim].pcid = (uint16_t)pcid;
                known = &t->known[victim].number;
        }
        *known = t->context = number;
        t->pcid = (uint16_t)pcid;
}

static void forget_contexts(struct dbt_tlb2 *t)
{
        for (unsigned i = 0; i < DBT_TLB2_CONTEXTS; i++)
                t->known[i].number = 0;
        use_context(t, t->pcid, false);
}

/* --- Flushes ------------------------------------------------------------------------------------------------------------- */

void dbt_tlb_init(struct dbt_vcpu *v)
{
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++) {
                for (unsigned i = 0; i < DBT_TLB_SIZE; i++)
                        entry_clear(v, mmu, i);
                v->tlb_used[0][mmu] = v->tlb_used[1][mmu] = (struct dbt_tlb_used){ .words = 0 };
        }
        v->tlb2.pcid = 0;
        second_wipe(&v->tlb2);
        use_context(&v->tlb2, 0, false);
        first_flush(v, true);
}

void dbt_tlb_flush(struct dbt_vcpu *v)
{
        struct dbt_tlb2 *t = &v->tlb2;

        t->global = new_context(t);
        t->pcid = (uint16_t)dbt_pcid(v);
        forget_contexts(t);
        t->shifts = 0;
        first_flush(v, true);
        mirror_flush(v);
}

void dbt_tlb_flush_nonglobal(struct dbt_vcpu *v)
{
        forget_contexts(&v->tlb2);
        first_flush(v, false);
        mirror_flush(v);
}

void dbt_tlb_flush_page(struct dbt_vcpu *v, uint64_t lin)
{
        second_flush_page(v, lin, v->tlb2.context, v->tlb2.global);
        first_flush_page(v, lin);
}

void dbt_tlb_switch(struct dbt_vcpu *v, unsigned pcid, bool keep)
{
        use_context(&v->tlb2, pcid, keep);
        first_flush(v, false);
        if (!keep)
                mirror_flush_present(v);
}

void dbt_tlb_flush_pcid(struct dbt_vcpu *v, unsigned pcid)
{
        uint32_t *known = known_context(&v->tlb2, pcid);

        if (pcid == v->tlb2.pcid)
                dbt_tlb_switch(v, pcid, false);
        else if (known)
                *known = 0;
        mirror_flush(v);
}

void dbt_tlb_flush_pcid_page(struct dbt_vcpu *v, unsigned pcid, uint64_t lin)
{
        const uint32_t *known = known_context(&v->tlb2, pcid);

        if (known)
                second_flush_page(v, lin, *known, *known);
        if (pcid == v->tlb2.pcid)
                first_flush_page(v, lin);
        else
                mirror_flush(v);
}

/* --- Lookups ------------------------------------------------------------------------------------------------------------- */

bool dbt_tlb_page(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu, bool quiet, struct dbt_page *page, uint32_t *error)
{
        bool paging = v->cr0 & X86_CR0_PG;

        if (paging && second_find(v, lin, page) && dbt_page_allows(v, page, access, mmu) &&
                (access != DBT_WRITE || (page->rights & DBT_PAGE_DIRTY)))
                return true;
        if (!dbt_walk(v, lin, access, mmu, quiet, page, error))
                return false;
        if (paging)
                second_enter(v, lin, page);
        return true;
}

static bool canonical(const struct dbt_vcpu *v, uint64_t lin)
{
        return !(v->efer & X86_EFER_LMA) || dbt_canonical(lin);
}

bool dbt_tlb_refill(struct dbt_vcpu *v, uint64_t lin, unsigned mmu, enum dbt_access access)
{
        struct dbt_slot *slot;
        struct dbt_page page;
        uint32_t error;

        if (!canonical(v, lin) || !dbt_tlb_page(v, lin, access, mmu, true, &page, &error))
                return false;
        slot = dbt_slot_find(v->vm, page.gpa);
        if (!slot || dbt_lapic_page(v, page.gpa))
                return false;
        if (access == DBT_WRITE && !slot->readonly)
                dbt_slot_mark_dirty(slot, page.gpa);
        dbt_tlb_fill(v, &page, slot, lin, mmu);
        return dbt_tlb_allows(v, lin, access, mmu);
}
