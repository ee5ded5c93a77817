/* SPDX-License-Identifier: GPL-2.0-or-later */

/* rdmsr, wrmsr, rdtsc, rdpmc (Intel SDM vol. 4; AMD APM vol. 2 appendix A and the processor programming references). */

#include "base/log.h"
#include "hv/engine/dbt/sys.h"

enum {
        MSR_TSC = 0x10, MSR_PLATFORM_ID = 0x17, MSR_APIC_BASE = 0x1b, MSR_TSC_ADJUST = 0x3b, MSR_SPEC_CTRL = 0x48,
        MSR_PRED_CMD = 0x49, MSR_UCODE_WRITE = 0x79,
        MSR_UCODE_REV = 0x8b, MSR_MTRR_CAP = 0xfe, MSR_ARCH_CAPABILITIES = 0x10a, MSR_SYSENTER_CS = 0x174,
        MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176, MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a,
        MSR_PERF_STATUS = 0x198, MSR_MISC_ENABLE = 0x1a0, MSR_DEBUGCTL = 0x1d9, MSR_LBR_FIRST = 0x1db, MSR_LBR_LAST = 0x1de,
        MSR_MTRR_VAR_FIRST = 0x200, MSR_MTRR_VAR_LAST = 0x20f, MSR_MTRR_FIX64K = 0x250, MSR_MTRR_FIX16K = 0x258,
        MSR_MTRR_FIX4K = 0x268, MSR_PAT = 0x277, MSR_MTRR_DEF_TYPE = 0x2ff, MSR_TSC_DEADLINE = 0x6e0,
        MSR_X2APIC_FIRST = 0x800, MSR_X2APIC_EOI = 0x80b, MSR_X2APIC_ICR = 0x830, MSR_X2APIC_LAST = 0x8ff, MSR_KVM_FIRST = 0x4b564d00, MSR_KVM_LAST = 0x4b564dff,
};

enum {
        MSR_EFER = 0xc0000080u, MSR_STAR = 0xc0000081u, MSR_LSTAR = 0xc0000082u, MSR_CSTAR = 0xc0000083u,
        MSR_SFMASK = 0xc0000084u, MSR_FS_BASE = 0xc0000100u, MSR_GS_BASE = 0xc0000101u, MSR_KERNEL_GS_BASE = 0xc0000102u,
        MSR_TSC_AUX = 0xc0000103u, MSR_AMD_SYSCFG = 0xc0010010u, MSR_AMD_HWCR = 0xc0010015u, MSR_AMD_TOP_MEM = 0xc001001au,
        MSR_AMD_TOP_MEM2 = 0xc001001du, MSR_AMD_NB_CFG = 0xc001001fu, MSR_AMD_PATCH_LOADER = 0xc0010020u,
        MSR_AMD_INT_PENDING = 0xc0010055u, MSR_AMD_MMIO_CONF = 0xc0010058u, MSR_AMD_PSTATE_LIMIT = 0xc0010061u,
        MSR_AMD_PSTATE_STATUS = 0xc0010063u, MSR_AMD_VM_CR = 0xc0010114u, MSR_AMD_LS_CFG = 0xc0011020u,
        MSR_AMD_IC_CFG = 0xc0011021u, MSR_AMD_DC_CFG = 0xc0011022u, MSR_AMD_DE_CFG = 0xc0011029u, MSR_AMD_BU_CFG2 = 0xc001102au,
};

/* What Intel's processors say about speculation side channels (SDM vol. 4, IA32_ARCH_CAPABILITIES). The engine isolates a guest's user mode from
 * its kernel by separate lookups, not by the processor's privilege levels, so that no mitigation in the guest protects anything: none shall
 * be switched on. IBRS_ALL makes kernels write SPEC_CTRL once and leave out retpolines. */
enum {
        ARCH_RDCL_NO = 1 << 0, ARCH_IBRS_ALL = 1 << 1, ARCH_SKIP_L1DFL = 1 << 3, ARCH_SSB_NO = 1 << 4, ARCH_MDS_NO = 1 << 5,
        ARCH_PSCHANGE_MC_NO = 1 << 6, ARCH_TAA_NO = 1 << 8, ARCH_SBDR_SSDP_NO = 1 << 13, ARCH_FBSDP_NO = 1 << 14, ARCH_PSDP_NO = 1 << 15,
        ARCH_BHI_NO = 1 << 20, ARCH_PBRSB_NO = 1 << 24, ARCH_GDS_NO = 1 << 26, ARCH_RFDS_NO = 1 << 27,
};
#define ARCH_ITS_NO (1ULL << 62)
#define ARCH_CAPABILITIES                                                                                   \
        (ARCH_RDCL_NO | ARCH_IBRS_ALL | ARCH_SKIP_L1DFL | ARCH_SSB_NO | ARCH_MDS_NO | ARCH_PSCHANGE_MC_NO |  \
                ARCH_TAA_NO | ARCH_SBDR_SSDP_NO | ARCH_FBSDP_NO | ARCH_PSDP_NO | ARCH_BHI_NO | ARCH_PBRSB_NO | \
                ARCH_GDS_NO | ARCH_RFDS_NO | ARCH_ITS_NO)

/* MSRs that are plain storage in v->msr, with what a value must satisfy. */
enum rule { RULE_ANY, RULE_CANONICAL, RULE_32 };

static const struct {
        uint32_t msr;
        uint8_t slot, rule;
} plain_msrs[] = {
        { MSR_STAR, X86_MSR_STAR, RULE_ANY },
        { MSR_LSTAR, X86_MSR_LSTAR, RULE_CANONICAL },
        { MSR_CSTAR, X86_MSR_CSTAR, RULE_CANONICAL },
        { MSR_SFMASK, X86_MSR_SFMASK, RULE_32 },
        { MSR_KERNEL_GS_BASE, X86_MSR_KERNEL_GS_BASE, RULE_CANONICAL },
        { MSR_TSC_AUX, X86_MSR_TSC_AUX, RULE_32 },
        { MSR_SYSENTER_CS, X86_MSR_SYSENTER_CS, RULE_32 },
        { MSR_SYSENTER_ESP, X86_MSR_SYSENTER_ESP, RULE_CANONICAL },
        { MSR_SYSENTER_EIP, X86_MSR_SYSENTER_EIP, RULE_CANONICAL },
        { MSR_MISC_ENABLE, X86_MSR_MISC_ENABLE, RULE_ANY },
};

/* AMD's configuration registers that systems look at: reads give the value, writes do nothing. */
static const struct {
        uint32_t msr;
        uint64_t value;
} amd_msrs[] = {
        { MSR_AMD_SYSCFG, 0 },
        { MSR_AMD_TOP_MEM, 0 },
        { MSR_AMD_TOP_MEM2, 0 },
        { MSR_AMD_NB_CFG, 0 },
        { MSR_AMD_PATCH_LOADER, 0 },
        { MSR_AMD_INT_PENDING, 0 },
        { MSR_AMD_MMIO_CONF, 0 },
        { MSR_AMD_PSTATE_LIMIT, 0 },
        { MSR_AMD_PSTATE_STATUS, 0 },
        { MSR_AMD_VM_CR, 1 << 4 }, /* SVM is disabled */
        { MSR_AMD_LS_CFG, 0 },
        { MSR_AMD_IC_CFG, 0 },
        { MSR_AMD_DC_CFG, 0 },
        { MSR_AMD_DE_CFG, 1 << 1 }, /* lfence serialises */
        { MSR_AMD_BU_CFG2, 0 },
};

#define HWCR_TSC_FREQ_SEL (1ULL << 24) /* the TSC counts at the P0 frequency */

/* --- Time stamp counter -------------------------------------------------------------------------------------- */

static void write_tsc(struct dbt_vcpu *v, uint64_t value)
{
        uint64_t delta = value - dbt_guest_tsc(v);

        v->tsc_offset += (int64_t)delta;
        v->sys.tsc_adjust += delta;
        dbt_self_request(v, DBT_REQ_TIMER);
}

static void write_tsc_adjust(struct dbt_vcpu *v, uint64_t value)
{
        v->tsc_offset += (int64_t)(value - v->sys.tsc_adjust);
        v->sys.tsc_adjust = value;
        dbt_self_request(v, DBT_REQ_TIMER);
}

static bool write_tsc_deadline(struct dbt_vcpu *v, uint64_t value)
{
        if (!lapic_set_tsc_deadline(v->lapic, value))
                return false;
        dbt_self_request(v, DBT_REQ_TIMER);
        return true;
}

void dbt_rdtsc(struct dbt_vcpu *v, bool with_aux)
{
        if (v->cpl && (v->cr4 & X86_CR4_TSD))
                dbt_raise_gp0(v);
        dbt_set_edx_eax(v, dbt_guest_tsc(v));
        if (with_aux)
                v->gpr[X86_RCX] = (uint32_t)v->msr[X86_MSR_TSC_AUX];
}

/* There are no performance counters, so every index is invalid. */
void dbt_rdpmc(struct dbt_vcpu *v)
{
        dbt_raise_gp0(v);
}

/* --- Memory types: storage only, all of memory behaves as write-back ------------------------------------------ */

static int fixed_range_index(uint32_t msr)
{
        if (msr == MSR_MTRR_FIX64K)
                return 0;
        if (msr - MSR_MTRR_FIX16K < 2)
                return 1 + (int)(msr - MSR_MTRR_FIX16K);
        if (msr - MSR_MTRR_FIX4K < 8)
                return 3 + (int)(msr - MSR_MTRR_FIX4K);
        return -1;
}

static bool valid_type(unsigned type, bool pat)
{
        return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool valid_types(uint64_t value, bool pat)
{
        for (unsigned i = 0; i < 8; i++)
                if (!valid_type(value >> (8 * i) & 0xff, pat))
                        return false;
        return true;
}

static bool mtrr_read(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret)
{
        int fixed = fixed_range_index(msr);

        if (msr == MSR_MTRR_CAP)
                *ret = 8 | 1 << 8 | 1 << 10; /* 8 variable ranges, fixed ranges, write combining */
        else if (msr == MSR_MTRR_DEF_TYPE)
                *ret = v->msr[X86_MSR_MTRR_DEF_TYPE];
        else if (msr >= MSR_MTRR_VAR_FIRST && msr <= MSR_MTRR_VAR_LAST)
                *ret = v->sys.mtrr_var[msr - MSR_MTRR_VAR_FIRST];
        else if (fixed >= 0)
                *ret = v->sys.mtrr_fix[fixed];
        else
                return false;
        return true;
}

static bool mtrr_var_write(struct dbt_vcpu *v, unsigned i, uint64_t value)
{
        uint64_t low = i & 1 ? 0x7ff : 0xf00; /* reserved bits of a mask, of a base */

        if ((value & ~v->sys.phys_mask) || (value & low) || (!(i & 1) && !valid_type(value & 0xff, false)))
                return false;
        v->sys.mtrr_var[i] = value;
        return true;
}

static bool mtrr_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
        int fixed = fixed_range_index(msr);

        if (msr == MSR_MTRR_DEF_TYPE) {
                if ((value & ~0xcffULL) || !valid_type(value & 0xff, false))
                        return false;
                v->msr[X86_MSR_MTRR_DEF_TYPE] = value;
                return true;
        }
        if (msr >= MSR_MTRR_VAR_FIRST && msr <= MSR_MTRR_VAR_LAST)
                return mtrr_var_write(v, msr - MSR_MTRR_VAR_FIRST, value);
        if (fixed < 0 || !valid_types(value, false))
                return false;
        v->sys.mtrr_fix[fixed] = value;
        return true;
}

/* --- Vendor's own -------------------------------------------------------------------------------------------- */

static bool amd_read(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret)
{
        if (msr == MSR_AMD_HWCR) {
                *ret = v->sys.hwcr | HWCR_TSC_FREQ_SEL;
                return true;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(amd_msrs); i++) {
                if (amd_msrs[i].msr == msr) {
                        *ret = amd_msrs[i].value;
                        return true;
                }
        }
        return false;
}

static bool amd_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
        if (msr == MSR_AMD_HWCR) {
                v->sys.hwcr = value;
                return true;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(amd_msrs); i++)
                if (amd_msrs[i].msr == msr)
                        return true;
        return false;
}

/* --- The table of all MSRs ------------------------------------------------------------------------------------ */

static int plain_index(uint32_t msr)
{
        for (unsigned i = 0; i < ARRAY_SIZE(plain_msrs); i++)
                if (plain_msrs[i].msr == msr)
                        return (int)i;
        return -1;
}

static bool other_read(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret)
{
        int i = plain_index(msr);

        if (i >= 0) {
                *ret = v->msr[plain_msrs[i].slot];
                return true;
        }
        if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
                return lapic_msr_read(v->lapic, msr, ret);
        if (msr >= MSR_KVM_FIRST && msr <= MSR_KVM_LAST)
                return dbt_kvm_msr_read(v, msr, ret);
        if (v->sys.amd && msr >= 0xc0010000u)
                return amd_read(v, msr, ret);
        return mtrr_read(v, msr, ret);
}

bool dbt_msr_read(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret)
{
        *ret = 0;
        switch (msr) {
        case MSR_TSC:
                *ret = dbt_guest_tsc(v);
                return true;
        case MSR_TSC_ADJUST:
                *ret = v->sys.tsc_adjust;
                return dbt_cpuid_has(v, 7, 1, 1);
        case MSR_APIC_BASE:
                *ret = lapic_base_msr(v->lapic);
                return true;
        case MSR_UCODE_REV:
                *ret = v->sys.bios_sign;
                return true;
        case MSR_ARCH_CAPABILITIES:
                *ret = ARCH_CAPABILITIES;
                return dbt_cpuid_has(v, 7, 3, 29);
        case MSR_SPEC_CTRL:
                *ret = v->sys.spec_ctrl;
                return dbt_cpuid_has(v, 7, 3, 26);
        case MSR_PAT:
                *ret = v->msr[X86_MSR_PAT];
                return true;
        case MSR_TSC_DEADLINE:
                *ret = lapic_tsc_deadline(v->lapic);
                return true;
        case MSR_EFER:
                *ret = v->efer;
                return true;
        case MSR_FS_BASE:
                *ret = v->seg[X86_FS].base;
                return true;
        case MSR_GS_BASE:
                *ret = v->seg[X86_GS].base;
                return true;
        case MSR_PLATFORM_ID:
        case MSR_PERF_STATUS:
                return !v->sys.amd;
        case MSR_MCG_CAP: /* no banks */
        case MSR_MCG_STATUS:
        case MSR_DEBUGCTL:
        case MSR_LBR_FIRST ... MSR_LBR_LAST:
                return true;
        default:
                return other_read(v, msr, ret);
        }
}

static bool set_base(struct x86_segment *s, uint64_t value)
{
        if (!dbt_canonical(value))
                return false;
        s->base = value;
        return true;
}

static bool set_apic_base(struct dbt_vcpu *v, uint64_t value)
{
        if ((value & ~v->sys.phys_mask) || !lapic_set_base_msr(v->lapic, value))
                return false;
        dbt_tlb_flush(v); /* the page may have covered or may now cover RAM */
        dbt_end_block(v);
        return true;
}

/* IBRS and BHI_DIS_S; there is nothing to be switched. */
static bool spec_ctrl_write(struct dbt_vcpu *v, uint64_t value)
{
        if (!dbt_cpuid_has(v, 7, 3, 26) || (value & ~(1ULL | 1 << 10)))
                return false;
        v->sys.spec_ctrl = value;
        return true;
}

static bool plain_write(struct dbt_vcpu *v, unsigned i, uint64_t value)
{
        if (plain_msrs[i].rule == RULE_CANONICAL && !dbt_canonical(value))
                return false;
        if (plain_msrs[i].rule == RULE_32)
                value = (uint32_t)value;
        v->msr[plain_msrs[i].slot] = value;
        return true;
}

static bool x2apic_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
        /* An EOI may reach the IOAPIC, a timer's count needs the time. Waking threads uses no vector register. */
        if (msr == MSR_X2APIC_EOI ? lapic_eoi_calls_back(v->lapic) : msr != MSR_X2APIC_ICR)
                dbt_fpu_save(v);
        if (!lapic_msr_write(v->lapic, msr, value))
                return false;
        dbt_self_request(v, DBT_REQ_TIMER | DBT_REQ_INTR);
        return true;
}

static bool other_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
        int i = plain_index(msr);

        if (i >= 0)
                return plain_write(v, (unsigned)i, value);
        if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
                return x2apic_write(v, msr, value);
        if (msr >= MSR_KVM_FIRST && msr <= MSR_KVM_LAST)
                return dbt_kvm_msr_write(v, msr, value);
        if (v->sys.amd && msr >= 0xc0010000u)
                return amd_write(v, msr, value);
        return mtrr_write(v, msr, value);
}

bool dbt_msr_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
        switch (msr) {
        case MSR_TSC:
                write_tsc(v, value);
                return true;
        case MSR_TSC_ADJUST:
                if (!dbt_cpuid_has(v, 7, 1, 1))
                        return false;
                write_tsc_adjust(v, value);
                return true;
        case MSR_APIC_BASE:
                return set_apic_base(v, value);
        case MSR_UCODE_WRITE:
        case MSR_UCODE_REV: /* both: no update happens */
        case MSR_MCG_STATUS:
                return true;
        case MSR_SPEC_CTRL:
                return spec_ctrl_write(v, value);
        case MSR_PRED_CMD:
                return dbt_cpuid_has(v, 7, 3, 26) && value <= 1;
        case MSR_PAT:
                if (!valid_types(value, true))
                        return false;
                v->msr[X86_MSR_PAT] = value;
                return true;
        case MSR_TSC_DEADLINE:
                return write_tsc_deadline(v, value);
        case MSR_EFER:
                return dbt_efer_write(v, value);
        case MSR_FS_BASE:
                return set_base(&v->seg[X86_FS], value);
        case MSR_GS_BASE:
                return set_base(&v->seg[X86_GS], value);
        case MSR_DEBUGCTL:
                return value == 0;
        default:
                return other_write(v, msr, value);
        }
}

static _Noreturn void refuse(struct dbt_vcpu *v, const char *what, uint32_t msr)
{
        dbt_fpu_save(v);
        log_debug("vCPU %u: %s of MSR 0x%x refused", v->index, what, msr);
        dbt_raise_gp0(v);
}

void dbt_rdmsr(struct dbt_vcpu *v)
{
        uint32_t msr = (uint32_t)v->gpr[X86_RCX];
        uint64_t value;

        dbt_check_cpl0(v);
        if (!dbt_msr_read(v, msr, &value))
                refuse(v, "read", msr);
        dbt_set_edx_eax(v, value);
}

void dbt_wrmsr(struct dbt_vcpu *v)
{
        uint32_t msr = (uint32_t)v->gpr[X86_RCX];

        dbt_check_cpl0(v);
        if (!dbt_msr_write(v, msr, dbt_edx_eax(v)))
                refuse(v, "write", msr);
}
