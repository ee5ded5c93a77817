/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Control and table registers, EFER, XCR0, TLB instructions (Intel SDM vol. 3, 2.5 and 4.10; AMD APM vol. 2, 3.1).
 *
 * The instructions end their blocks: what comes next is looked up in the new mode and mapping. */

#include "hv/engine/dbt/sys.h"

#define CR0_BITS                                                                                            \
        (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | \
                X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR4_BITS                                                                                            \
        (X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE |    \
                X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT)

#define EFER_AUTO_IBRS (1u << 21)
#define CR3_KEEP (1ULL << 63) /* a load that leaves what is cached for the PCID */
#define CR3_PCID 0xfffULL

/* --- Control registers --------------------------------------------------------------------------------------- */

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
        return (cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) && !(efer & X86_EFER_LMA);
}

/* A load of the four PDPTEs faults on reserved bits. (The walk itself reads them from memory each time.) */
static void check_pdptes(struct dbt_vcpu *v, uint64_t cr3)
{
        uint64_t reserved = ~v->sys.phys_mask | 0x1e6;

        for (unsigned i = 0; i < 4; i++) {
                uint64_t gpa = (cr3 & 0xffffffe0) + i * 8;
                struct dbt_slot *slot = dbt_slot_find(v->vm, gpa);
                uint64_t pdpte = slot ? *(volatile uint64_t *)(slot->host + (gpa - slot->gpa)) : 0;

                if ((pdpte & 1) && (pdpte & reserved))
                        dbt_raise_gp0(v);
        }
}

/* The checks and EFER.LMA for a change of CR0.PG; returns the new EFER. */
static uint64_t paging_switch(struct dbt_vcpu *v, uint64_t cr0)
{
        bool cs_long = v->seg[X86_CS].attr & X86_SEG_L;

        if (!((cr0 ^ v->cr0) & X86_CR0_PG))
                return v->efer;
        if (!(cr0 & X86_CR0_PG)) {
                if ((v->mode & DBT_MODE_CS64) || (v->cr4 & X86_CR4_PCIDE))
                        dbt_raise_gp0(v);
                return v->efer & ~(uint64_t)X86_EFER_LMA;
        }
        if (!(v->efer & X86_EFER_LME))
                return v->efer;
        if (!(v->cr4 & X86_CR4_PAE) || cs_long)
                dbt_raise_gp0(v);
        return v->efer | X86_EFER_LMA;
}

static void write_cr0(struct dbt_vcpu *v, uint64_t value)
{
        uint64_t efer, changed;

        if (value >> 32 || ((value & X86_CR0_PG) && !(value & X86_CR0_PE)) ||
                ((value & X86_CR0_NW) && !(value & X86_CR0_CD)))
                dbt_raise_gp0(v);
        value = (value & CR0_BITS) | X86_CR0_ET;
        efer = paging_switch(v, value);
        changed = value ^ v->cr0;
        if ((changed & X86_CR0_PG) && pae_paging(value, v->cr4, efer))
                check_pdptes(v, v->cr3);
        v->cr0 = value;
        v->efer = efer;
        dbt_mode_update(v);
        if (changed & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
                dbt_tlb_flush(v);
}

static void write_cr3(struct dbt_vcpu *v, uint64_t value)
{
        bool keep = (value & CR3_KEEP) && (v->cr4 & X86_CR4_PCIDE);

        if (keep)
                value &= ~CR3_KEEP;
        if ((v->efer & X86_EFER_LMA) && (value & ~v->sys.phys_mask))
                dbt_raise_gp0(v);
        if (pae_paging(v->cr0, v->cr4, v->efer))
                check_pdptes(v, value);
        v->cr3 = value;
        dbt_tlb_switch(v, dbt_pcid(v), keep);
}

/* The bits of CR4 that may be set, as CPUID offers them. */
static uint64_t cr4_allowed(const struct dbt_vcpu *v)
{
        uint64_t allowed = CR4_BITS;

        if (dbt_cpuid_has(v, 1, 2, 17))
                allowed |= X86_CR4_PCIDE;
        if (dbt_cpuid_has(v, 1, 2, 26))
                allowed |= X86_CR4_OSXSAVE;
        if (dbt_cpuid_has(v, 7, 1, 0))
                allowed |= X86_CR4_FSGSBASE;
        if (dbt_cpuid_has(v, 7, 1, 7))
                allowed |= X86_CR4_SMEP;
        if (dbt_cpuid_has(v, 7, 1, 20))
                allowed |= X86_CR4_SMAP;
        if (dbt_cpuid_has(v, 7, 2, 2))
                allowed |= X86_CR4_UMIP;
        return allowed;
}

static void write_cr4(struct dbt_vcpu *v, uint64_t value)
{
        uint64_t changed = value ^ v->cr4;

        if (value & ~cr4_allowed(v))
                dbt_raise_gp0(v);
        if ((changed & X86_CR4_PAE) && (v->efer & X86_EFER_LMA))
                dbt_raise_gp0(v);
        if ((changed & value & X86_CR4_PCIDE) && (!(v->efer & X86_EFER_LMA) || (v->cr3 & CR3_PCID)))
                dbt_raise_gp0(v);
        if (pae_paging(v->cr0, value, v->efer) && !pae_paging(v->cr0, v->cr4, v->efer))
                check_pdptes(v, v->cr3);
        if (changed & (X86_CR4_OSFXSR | X86_CR4_OSXSAVE))
                dbt_fpu_save(v);
        v->cr4 = value;
        dbt_mode_update(v);
        if (changed & (X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP))
                dbt_tlb_flush(v);
}

static void write_cr8(struct dbt_vcpu *v, uint64_t value)
{
        if (value >> 4)
                dbt_raise_gp0(v);
        lapic_set_tpr(v->lapic, (uint8_t)(value << 4));
        dbt_self_request(v, DBT_REQ_INTR);
}

uint64_t dbt_mov_from_cr(struct dbt_vcpu *v, unsigned cr)
{
        dbt_check_cpl0(v);
        switch (cr) {
        case 0:
                return v->cr0;
        case 2:
                return v->cr2;
        case 3:
                return v->cr3;
        case 4:
                return v->cr4;
        case 8:
                return lapic_tpr(v->lapic) >> 4;
        default:
                dbt_raise_ud(v);
        }
}

void dbt_mov_to_cr(struct dbt_vcpu *v, unsigned cr, uint64_t value)
{
        dbt_check_cpl0(v);
        switch (cr) {
        case 0:
                write_cr0(v, value);
                break;
        case 2:
                v->cr2 = value;
                break;
        case 3:
                write_cr3(v, value);
                break;
        case 4:
                write_cr4(v, value);
                break;
        case 8:
                write_cr8(v, value);
                break;
        default:
                dbt_raise_ud(v);
        }
}

void dbt_lmsw(struct dbt_vcpu *v, uint16_t value)
{
        uint64_t cr0 = (v->cr0 & ~0xfULL) | (value & 0xf) | (v->cr0 & X86_CR0_PE); /* PE can be set only */

        dbt_check_cpl0(v);
        write_cr0(v, cr0);
}

void dbt_clts(struct dbt_vcpu *v)
{
        dbt_check_cpl0(v);
        v->cr0 &= ~(uint64_t)X86_CR0_TS;
        dbt_mode_update(v);
}

bool dbt_efer_write(struct dbt_vcpu *v, uint64_t value)
{
        uint64_t allowed = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA, changed;

        if (dbt_cpuid_has(v, 0x80000001, 3, 20))
                allowed |= X86_EFER_NXE;
        if (dbt_cpuid_has(v, 0x80000021, 0, 8))
                allowed |= EFER_AUTO_IBRS;
        if (value & ~allowed)
                return false;
        value = (value & ~(uint64_t)X86_EFER_LMA) | (v->efer & X86_EFER_LMA);
        changed = value ^ v->efer;
        if ((changed & X86_EFER_LME) && (v->cr0 & X86_CR0_PG))
                return false;
        v->efer = value;
        dbt_mode_update(v);
        if (changed & X86_EFER_NXE)
                dbt_tlb_flush(v);
        return true;
}

/* --- Table registers ----------------------------------------------------------------------------------------- */

static void load_table(struct dbt_vcpu *v, struct x86_table *t, uint64_t base, uint16_t limit)
{
        dbt_check_cpl0(v);
        if ((v->mode & DBT_MODE_CS64) && !dbt_canonical(base))
                dbt_raise_gp0(v);
        t->base = base;
        t->limit = limit;
}

void dbt_lgdt(struct dbt_vcpu *v, uint64_t base, uint16_t limit)
{
        load_table(v, &v->gdtr, base, limit);
}

void dbt_lidt(struct dbt_vcpu *v, uint64_t base, uint16_t limit)
{
        load_table(v, &v->idtr, base, limit);
}

void dbt_check_umip(struct dbt_vcpu *v)
{
        if (v->cpl && (v->cr4 & X86_CR4_UMIP))
                dbt_raise_gp0(v);
}

/* --- Caches and TLBs ----------------------------------------------------------------------------------------- */

void dbt_invlpg(struct dbt_vcpu *v, uint64_t lin)
{
        dbt_check_cpl0(v);
        dbt_tlb_flush_page(v, lin);
}

/* Without CR4.PCIDE there is one context, 0 (Intel SDM vol. 2, INVPCID). */
void dbt_invpcid(struct dbt_vcpu *v, uint64_t type, uint64_t pcid, uint64_t lin)
{
        dbt_check_cpl0(v);
        if (type > 3 || pcid >> 12 || (type < 2 && pcid && !(v->cr4 & X86_CR4_PCIDE)) || (type == 0 && !dbt_canonical(lin)))
                dbt_raise_gp0(v);
        switch (type) {
        case 0:
                dbt_tlb_flush_pcid_page(v, (unsigned)pcid, lin);
                break;
        case 1:
                dbt_tlb_flush_pcid(v, (unsigned)pcid);
                break;
        case 2:
                dbt_tlb_flush(v);
                break;
        default:
                dbt_tlb_flush_nonglobal(v);
        }
}

void dbt_wbinvd(struct dbt_vcpu *v)
{
        dbt_check_cpl0(v);
}

/* --- XCR0 ---------------------------------------------------------------------------------------------------- */

void dbt_xgetbv(struct dbt_vcpu *v)
{
        if (!(v->cr4 & X86_CR4_OSXSAVE))
                dbt_raise_ud(v);
        if ((uint32_t)v->gpr[X86_RCX] != 0)
                dbt_raise_gp0(v);
        dbt_set_edx_eax(v, v->xcr0);
}

void dbt_xsetbv(struct dbt_vcpu *v)
{
        const struct cpuid_entry *e = cpuid_find(&v->cpuid, 0xd, 0);
        uint64_t value = dbt_edx_eax(v), offered = e ? e->r.eax : X86_XCR0_X87 | X86_XCR0_SSE;

        if (!(v->cr4 & X86_CR4_OSXSAVE))
                dbt_raise_ud(v);
        dbt_check_cpl0(v);
        if ((uint32_t)v->gpr[X86_RCX] != 0 || !(value & X86_XCR0_X87) || (value & ~offered) ||
                (value & (X86_XCR0_SSE | X86_XCR0_AVX)) == X86_XCR0_AVX)
                dbt_raise_gp0(v);
        dbt_fpu_save(v);
        v->xcr0 = value;
        dbt_mode_update(v);
}
