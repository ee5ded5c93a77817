/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What mmu.c offers the other system files beside vcpu.h. Private to engine/dbt. */

#include "hv/engine/dbt/vcpu.h"

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

/* Before the first use of a new vCPU's TLB. */
void dbt_tlb_init(struct dbt_vcpu *v);
/* Is gpa in the local APIC's register page? */
bool dbt_lapic_page(const struct dbt_vcpu *v, uint64_t gpa);
/* Host address of n bytes of guest RAM for the engine's own writes (paravirtual structures), marked dirty; false if they are not all in
 * one writable slot. */
bool dbt_guest_phys(struct dbt_vcpu *v, uint64_t gpa, unsigned n, void **ret);
