/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Page walks (Intel SDM vol. 3, chapter 4). */

#include "hv/engine/dbt/check.h"
#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/vm.h"

enum {
        PTE_P = 1 << 0,
        PTE_W = 1 << 1,
        PTE_U = 1 << 2,
        PTE_A = 1 << 5,
        PTE_D = 1 << 6,
        PTE_PS = 1 << 7,
        PTE_G = 1 << 8,
};
#define PTE_NX (1ULL << 63)

enum {
        PF_P = 1 << 0,
        PF_W = 1 << 1,
        PF_U = 1 << 2,
        PF_RSVD = 1 << 3,
        PF_I = 1 << 4,
};

/* One paging-structure entry on the way. */
struct walk_step {
        uint8_t *host; /* NULL: not in RAM */
        struct dbt_slot *slot;
        uint64_t gpa, pte;
};

struct walk {
        struct walk_step step[4];
        unsigned n;
        unsigned entry_size; /* 4 or 8 */
        uint64_t gpa;        /* of the 4K page */
        uint8_t shift;       /* of the page that maps it */
        bool write, user, nx, global, dirty;
        uint32_t error; /* PF_* if !ok */
        bool ok;
};

/* Reads the entry at gpa as the next step; what lies outside of RAM reads as not present. */
static inline uint64_t read_entry(struct dbt_vcpu *v, struct walk *w, uint64_t gpa)
{
        struct walk_step *s = &w->step[w->n++];

        s->gpa = gpa;
        s->slot = dbt_slot_find(v->vm, gpa);
        s->host = s->slot ? dbt_slot_host(s->slot, gpa) : NULL;
        s->pte = 0;
        if (s->host)
                s->pte = w->entry_size == 8 ? *(volatile uint64_t *)s->host : *(volatile uint32_t *)s->host;
        return s->pte;
}

/* Folds one entry's rights into w; false with w->error set if the walk ends here. leaf_shift: 0, or the size of the page
 * that the entry maps. */
static inline bool apply_entry(struct walk *w, uint64_t pte, uint64_t reserved, unsigned leaf_shift)
{
        if (!(pte & PTE_P)) {
                w->error = 0;
                return false;
        }
        if (pte & reserved) {
                w->error = PF_P | PF_RSVD;
                return false;
        }
        w->write &= !!(pte & PTE_W);
        w->user &= !!(pte & PTE_U);
        w->nx |= !!(pte & PTE_NX);
        if (leaf_shift) {
                w->shift = (uint8_t)leaf_shift;
                w->global = pte & PTE_G;
                w->dirty = pte & PTE_D;
                w->ok = true;
        }
        return true;
}

/* The 8-byte entries of levels top..1, 9 address bits each, from the table at base. common: reserved in every entry. */
static void walk_levels(struct dbt_vcpu *v, struct walk *w, uint64_t lin, uint64_t base, unsigned top, uint64_t common)
{
        for (unsigned level = top; level >= 1; level--) {
                unsigned shift = 12 + 9 * (level - 1);
                uint64_t pte = read_entry(v, w, base + (lin >> shift & 0x1ff) * 8);
                bool leaf = level == 1 || ((pte & PTE_PS) && level <= 3);
                uint64_t size = 1ULL << shift, reserved = common;

                if (level == 4)
                        reserved |= PTE_PS;
                if (leaf && level > 1)
                        reserved |= (size - 1) & ~0x1fffULL; /* bit 12 is PAT */
                if (!apply_entry(w, pte, reserved, leaf ? shift : 0))
                        return;
                base = pte & v->sys.phys_mask & DBT_PAGE_MASK;
                if (leaf) {
                        w->gpa = ((base & ~(size - 1)) | (lin & (size - 1))) & DBT_PAGE_MASK;
                        return;
                }
        }
}

static uint64_t reserved_bits(const struct dbt_vcpu *v)
{
        uint64_t reserved = ~v->sys.phys_mask & 0x000fffffffffffffULL;

        return v->efer & X86_EFER_NXE ? reserved : reserved | PTE_NX;
}

static void walk_pae(struct dbt_vcpu *v, struct walk *w, uint64_t lin)
{
        uint64_t pdpte = read_entry(v, w, (v->cr3 & 0xffffffe0) + (lin >> 30 & 3) * 8);

        w->n = 0; /* it has no accessed bit */
        if (!(pdpte & PTE_P)) {
                w->error = 0;
                return;
        }
        walk_levels(v, w, lin, pdpte & v->sys.phys_mask & DBT_PAGE_MASK, 2, reserved_bits(v) | 0x7ff0000000000000ULL);
}

static void walk_32(struct dbt_vcpu *v, struct walk *w, uint64_t lin)
{
        uint32_t pte;

        w->entry_size = 4;
        pte = (uint32_t)read_entry(v, w, (v->cr3 & 0xfffff000) + (lin >> 22 & 0x3ff) * 4);
        if ((pte & PTE_PS) && (v->cr4 & X86_CR4_PSE)) {
                uint64_t base = (pte & 0xffc00000) | (uint64_t)(pte & 0x1fe000) << 19;

                w->gpa = (base & v->sys.phys_mask) | (lin & 0x3ff000);
                apply_entry(w, pte, 1 << 21, 22);
                return;
        }
        if (!apply_entry(w, pte, 0, 0))
                return;
        pte = (uint32_t)read_entry(v, w, (pte & 0xfffff000) + (lin >> 12 & 0x3ff) * 4);
        w->gpa = pte & 0xfffff000;
        apply_entry(w, pte, 0, 12);
}

static void walk_tables(struct dbt_vcpu *v, struct walk *w, uint64_t lin)
{
        w->n = 0;
        w->entry_size = 8;
        w->write = w->user = true;
        w->nx = w->global = w->dirty = w->ok = false;
        w->error = 0;
        if (!(v->cr0 & X86_CR0_PG)) {
                w->ok = w->dirty = w->global = true;
                w->shift = 12;
                w->gpa = lin & DBT_PAGE_MASK & v->sys.phys_mask;
        } else if (v->efer & X86_EFER_LMA)
                walk_levels(v, w, lin, v->cr3 & v->sys.phys_mask & DBT_PAGE_MASK, 4, reserved_bits(v));
        else if (v->cr4 & X86_CR4_PAE)
                walk_pae(v, w, lin);
        else
                walk_32(v, w, lin);
}

enum set { SET_DONE, SET_AGAIN, SET_REFUSED };

/* Sets the accessed bits, and the leaf's dirty bit for a write. SET_AGAIN: an entry changed meanwhile. quiet: not in pages with cached code. */
static enum set set_accessed(struct dbt_vcpu *v, struct walk *w, bool write, bool quiet)
{
        for (unsigned i = 0; i < w->n; i++) {
                struct walk_step *s = &w->step[i];
                uint64_t want = s->pte | PTE_A | (write && i == w->n - 1 ? PTE_D : 0);
                bool done, code;

                if (want == s->pte || !s->host || s->slot->readonly)
                        continue;
                code = dbt_code_page_test(v->vm, s->gpa & DBT_PAGE_MASK);
                if (code && quiet)
                        return SET_REFUSED;
                if (w->entry_size == 8) {
                        done = __sync_bool_compare_and_swap((uint64_t *)s->host, s->pte, want);
                } else {
                        done = __sync_bool_compare_and_swap((uint32_t *)s->host, (uint32_t)s->pte, (uint32_t)want);
                }
                if (!done)
                        return SET_AGAIN;
                check_once(v); /* run again, the code might see the bits too early */
                dbt_slot_mark_dirty(s->slot, s->gpa);
                if (code)
                        dbt_code_written(v, s->gpa, w->entry_size);
        }
        w->dirty |= write;
        return SET_DONE;
}

static uint32_t access_error(const struct dbt_vcpu *v, enum dbt_access access, unsigned mmu)
{
        bool nx = (v->cr4 & X86_CR4_SMEP) || ((v->cr4 & X86_CR4_PAE) && (v->efer & X86_EFER_NXE));

        return (access == DBT_WRITE ? PF_W : 0) | (mmu == DBT_MMU_USER ? PF_U : 0) |
                (access == DBT_EXEC && nx ? PF_I : 0);
}

static void page_of(const struct dbt_vcpu *v, const struct walk *w, struct dbt_page *page)
{
        bool global = w->global && ((v->cr4 & X86_CR4_PGE) || !(v->cr0 & X86_CR0_PG));

        page->gpa = w->gpa;
        page->shift = w->shift;
        page->rights = (uint8_t)((w->write ? DBT_PAGE_WRITE : 0) | (w->user ? DBT_PAGE_USER : 0) | (w->nx ? 0 : DBT_PAGE_EXEC) |
                (global ? DBT_PAGE_GLOBAL : 0) | (w->dirty ? DBT_PAGE_DIRTY : 0));
}

bool dbt_walk(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu, bool quiet, struct dbt_page *page, uint32_t *error)
{
        enum set set;
        struct walk w;

        do {
                walk_tables(v, &w, lin);
                page_of(v, &w, page);
                if (!w.ok || !dbt_page_allows(v, page, access, mmu)) {
                        *error = (w.ok ? PF_P : w.error) | access_error(v, access, mmu);
                        return false;
                }
                set = set_accessed(v, &w, access == DBT_WRITE, quiet);
        } while (set == SET_AGAIN);
        if (w.dirty)
                page->rights |= DBT_PAGE_DIRTY;
        return set == SET_DONE;
}

/* w has come to the table of pages that lin's entry lies in: reads that one, too. */
static void walk_beside(struct dbt_vcpu *v, struct walk *w, uint64_t lin)
{
        struct walk_step *s = &w->step[w->n - 1];
        const uint8_t *table = s->host - (s->gpa & ~DBT_PAGE_MASK);

        s->pte = ((const volatile uint64_t *)table)[lin >> DBT_PAGE_SHIFT & 0x1ff];
        w->write = w->user = true;
        w->nx = w->ok = false;
        for (unsigned i = 0; i < w->n - 1; i++)
                apply_entry(w, w->step[i].pte, 0, 0);
        apply_entry(w, s->pte, reserved_bits(v), DBT_PAGE_SHIFT);
        w->gpa = s->pte & v->sys.phys_mask & DBT_PAGE_MASK;
}

static bool is_accessed(const struct walk *w)
{
        bool accessed = w->ok;

        for (unsigned i = 0; i < w->n; i++)
                accessed = accessed && (w->step[i].pte & PTE_A);
        return accessed;
}

void dbt_walk_accessed(struct dbt_vcpu *v, uint64_t lin, unsigned n, struct dbt_page *pages)
{
        struct walk w;
        bool small;

        walk_tables(v, &w, lin);
        small = w.n == 4 && w.step[3].host;
        for (unsigned k = 0; k < n; k++, lin += DBT_PAGE_SIZE) {
                if (small)
                        walk_beside(v, &w, lin);
                page_of(v, &w, &pages[k]);
                if (!is_accessed(&w))
                        pages[k].shift = 0;
                else if (!small)
                        pages[k].gpa += k * DBT_PAGE_SIZE;
        }
}

bool dbt_page_allows(const struct dbt_vcpu *v, const struct dbt_page *page, enum dbt_access access, unsigned mmu)
{
        bool user = page->rights & DBT_PAGE_USER;

        if (!(v->cr0 & X86_CR0_PG))
                return true;
        if (mmu == DBT_MMU_USER && !user)
                return false;
        switch (access) {
        case DBT_EXEC:
                return (page->rights & DBT_PAGE_EXEC) && (mmu == DBT_MMU_USER || !user || !(v->cr4 & X86_CR4_SMEP));
        case DBT_WRITE:
                if (!(page->rights & DBT_PAGE_WRITE) && (mmu == DBT_MMU_USER || (v->cr0 & X86_CR0_WP)))
                        return false;
                break;
        case DBT_READ:
                break;
        }
        return mmu != DBT_MMU_KERNEL_SMAP || !user;
}
