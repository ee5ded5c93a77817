/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What mmu.c offers the other system files beside vcpu.h. Private to engine/dbt. */

#include "hv/engine/dbt/vm.h"

/* Bits 63..47 equal (4-level paging). */
static inline bool dbt_canonical(uint64_t lin)
{
        return (uint64_t)((int64_t)(lin << 16) >> 16) == lin;
}

/* The view for implicit supervisor accesses (GDT, LDT, IDT, TSS), which SMAP restricts whatever RFLAGS.AC says. */
static inline unsigned dbt_system_mmu(const struct dbt_vcpu *v)
{
        return v->cr4 & X86_CR4_SMAP ? DBT_MMU_KERNEL_SMAP : DBT_MMU_KERNEL;
}

/* The view for explicit accesses by code at the given CPL with the given RFLAGS. */
static inline unsigned dbt_cpl_mmu(const struct dbt_vcpu *v, unsigned cpl, uint64_t rflags)
{
        if (cpl == 3)
                return DBT_MMU_USER;
        return (v->cr4 & X86_CR4_SMAP) && !(rflags & X86_FLAG_AC) ? DBT_MMU_KERNEL_SMAP : DBT_MMU_KERNEL;
}

/* sys-debug.c: does an enabled data breakpoint lie in the page? */
bool dbt_debug_watched(const struct dbt_vcpu *v, uint64_t page);
/* Notes which data breakpoints an access meets. */
void dbt_debug_access(struct dbt_vcpu *v, uint64_t lin, unsigned size, enum dbt_access access);

/* The present PCID. */
static inline unsigned dbt_pcid(const struct dbt_vcpu *v)
{
        return v->cr4 & X86_CR4_PCIDE ? v->cr3 & 0xfff : 0;
}

/* --- Memory slots ------------------------------------------------------------------------------------------------ */

static inline uint8_t *dbt_slot_host(const struct dbt_slot *slot, uint64_t gpa)
{
        return slot->host + (gpa - slot->gpa);
}

static inline void dbt_slot_mark_dirty(struct dbt_slot *slot, uint64_t gpa)
{
        uint64_t page = (gpa - slot->gpa) >> DBT_PAGE_SHIFT;

        if (slot->dirty_pages)
                atomic_fetch_or_explicit(&slot->dirty_pages[page / 64], 1ULL << (page % 64), memory_order_relaxed);
}

static inline bool dbt_slot_is_dirty(const struct dbt_slot *slot, uint64_t gpa)
{
        uint64_t page = (gpa - slot->gpa) >> DBT_PAGE_SHIFT;

        return !slot->dirty_pages ||
                (atomic_load_explicit(&slot->dirty_pages[page / 64], memory_order_relaxed) >> (page % 64) & 1);
}

/* --- mmu-walk.c -------------------------------------------------------------------------------------------------- */

enum dbt_rights {
        DBT_PAGE_WRITE = 1 << 0, DBT_PAGE_USER = 1 << 1, DBT_PAGE_EXEC = 1 << 2, DBT_PAGE_GLOBAL = 1 << 3,
        DBT_PAGE_DIRTY = 1 << 4, /* in the page tables: writes need not set it */
};

/* What the page tables say of a linear page of 4 KiB. */
struct dbt_page {
        uint64_t gpa;
        uint8_t shift;  /* log2 of the size of the guest's page that it is a part of: 12, 21, 22, 30 */
        uint8_t rights; /* enum dbt_rights */
};

/* Walks for one access and updates A and D. False: *error has the #PF error code. quiet: false, too, if A or D had to be set in a page with
 * cached code. */
bool dbt_walk(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu, bool quiet, struct dbt_page *page, uint32_t *error);
/* What a CPU may have in its TLB without an access, as all A bits are set already: n pages from lin on, a multiple of n, which is a power of two up to 512. Changes nothing. The shift of a page
 * of which that is not so is 0. Only in long mode. */
void dbt_walk_accessed(struct dbt_vcpu *v, uint64_t lin, unsigned n, struct dbt_page *pages);
bool dbt_page_allows(const struct dbt_vcpu *v, const struct dbt_page *page, enum dbt_access access, unsigned mmu);

/* --- tlb.c ------------------------------------------------------------------------------------------------------- */

/* May later writes of the page, which lies in slot, go straight to memory, if the view allows them? */
bool dbt_direct_write(const struct dbt_vcpu *v, const struct dbt_page *page, const struct dbt_slot *slot);
/* The page's translation in the present context, from the second level or by a walk. Otherwise as dbt_walk. */
bool dbt_tlb_page(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu, bool quiet, struct dbt_page *page, uint32_t *error);
/* Enters the page, which lies in slot, in the view's first level. */
void dbt_tlb_fill(struct dbt_vcpu *v, const struct dbt_page *page, const struct dbt_slot *slot, uint64_t lin, unsigned mmu);
/* CR3 load: the new context. keep: what was cached of it before may be used. */
void dbt_tlb_switch(struct dbt_vcpu *v, unsigned pcid, bool keep);
/* INVPCID types 0 and 1. */
void dbt_tlb_flush_pcid_page(struct dbt_vcpu *v, unsigned pcid, uint64_t lin);
void dbt_tlb_flush_pcid(struct dbt_vcpu *v, unsigned pcid);
/* Before the first use of a new vCPU's TLB. */
void dbt_tlb_init(struct dbt_vcpu *v);
/* Is gpa in the local APIC's register page? */
bool dbt_lapic_page(const struct dbt_vcpu *v, uint64_t gpa);
/* Host address of n bytes of guest RAM for the engine's own writes (paravirtual structures), marked dirty; false if they are not all in
 * one writable slot. */
bool dbt_guest_phys(struct dbt_vcpu *v, uint64_t gpa, unsigned n, void **ret);
