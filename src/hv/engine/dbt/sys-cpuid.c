/* SPDX-License-Identifier: GPL-2.0-or-later */

/* CPUID: the host's answers, cut down to what the engine runs. Every bit offered is listed here. */

#include <cpuid.h>

#include "hv/engine/dbt/sys.h"

#define BIT(n) (1u << (n))

enum {
        /* SSE3 PCLMUL SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
        LEAF1_ECX = BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) | BIT(26) |
                    BIT(28) | BIT(29) | BIT(30),
        /* PCID and, in leaf 7, INVPCID: whatever the host has, they are the engine's */
        LEAF1_ECX_OWN = BIT(17),
        LEAF7_EBX_OWN = BIT(10),
        /* FPU DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2, MCE and MCA (without banks), MTRR */
        LEAF1_EDX = BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) | BIT(11) | BIT(12) | BIT(13) |
                    BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26),
        /* FSGSBASE TSC_ADJUST BMI1 AVX2 SMEP BMI2 ERMS RDSEED ADX SMAP SHA */
        LEAF7_EBX = BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) | BIT(13) | BIT(18) | BIT(19) | BIT(20) | BIT(29),
        /* UMIP GFNI VAES VPCLMULQDQ */
        LEAF7_ECX = BIT(2) | BIT(8) | BIT(9) | BIT(10),
        /* FSRM */
        LEAF7_EDX = BIT(4),
        /* IBRS and IBPB (SPEC_CTRL, PRED_CMD), ARCH_CAPABILITIES: what says that nothing needs to be done, see sys-msr.c */
        LEAF7_EDX_INTEL = BIT(26) | BIT(29),
        /* AVX-VNNI */
        LEAF7_1_EAX = BIT(4),
        /* BHI_CTRL: kernels that do not look at BHI_NO set a bit of SPEC_CTRL instead of clearing the branch history at each system call */
        LEAF7_2_EDX_INTEL = BIT(4),
        /* XSAVEOPT XSAVEC */
        LEAFD_1_EAX = BIT(0) | BIT(1),
        /* LAHF ABM SSE4A 3DNOWPREFETCH TOPOEXT; not MISALIGNSSE: the guest's MXCSR has no bit 17 */
        EXT1_ECX = BIT(0) | BIT(5) | BIT(6) | BIT(8) | BIT(22),
        /* SYSCALL NX MMXEXT PDPE1GB RDTSCP LM */
        EXT1_EDX = BIT(11) | BIT(20) | BIT(22) | BIT(26) | BIT(27) | BIT(29),
        /* the bits that AMD repeats from leaf 1 */
        EXT1_EDX_REPEATED = 0x0183f3ff,
        /* invariant TSC */
        EXT7_EDX = BIT(8),
        /* AMD's ways to say that a guest need not do anything about speculation: SSB_NO, BTC_NO (BTC_NO is heard on Intel, too) */
        EXT8_EBX = BIT(26) | BIT(29),
        /* LFENCE serialises; null selectors clear the base; automatic IBRS, so that kernels leave out retpolines, which would
         * protect nothing here: under this engine every indirect branch goes through its own lookup; SRSO_NO */
        EXT21_EAX = BIT(2) | BIT(6) | BIT(8) | BIT(29),
        /* TSA_SQ_NO TSA_L1_NO */
        EXT21_ECX = BIT(1) | BIT(2),
        PHYS_BITS_MAX = 48,
        /* the newest models without AVX-512 whose other features the guest is offered: Skylake (client), Zen 3 */
        SIGNATURE_INTEL = 0x000506e3,
        SIGNATURE_AMD = 0x00a20f10,
};

static struct cpuid_regs host(uint32_t leaf, uint32_t subleaf)
{
        struct cpuid_regs r;

        __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
        return r;
}

static bool host_is_amd(void)
{
        uint32_t vendor = host(0, 0).ebx;

        return vendor == 0x68747541 || vendor == 0x6f677948; /* "Auth", "Hygo" */
}

/* Family, model, stepping: the host's, unless its model has AVX-512, which the guest is not offered. Programs choose code by the
 * model alone (GCC's __builtin_cpu_is, behind target_clones with "arch=") and would run into instructions that are not there. */
static uint32_t signature(bool amd)
{
        if (!(host(7, 0).ebx & BIT(16)))
                return host(1, 0).eax;
        return amd ? SIGNATURE_AMD : SIGNATURE_INTEL;
}

static void add(struct cpuid_table *t, uint32_t leaf, struct cpuid_regs r)
{
        cpuid_set(t, leaf, 0, false, r);
}

static void add_sub(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf, struct cpuid_regs r)
{
        cpuid_set(t, leaf, subleaf, true, r);
}

/* Cache descriptions until the end mark; at most 8. */
static void add_caches(struct cpuid_table *t, uint32_t leaf)
{
        for (uint32_t i = 0; i < 8; i++) {
                struct cpuid_regs r = host(leaf, i);

                add_sub(t, leaf, i, r);
                if (!(r.eax & 0x1f))
                        return;
        }
}

/* Sizes of the XSAVE area for x87, SSE and AVX. */
static void add_xsave(struct cpuid_table *t)
{
        struct cpuid_regs features = host(0xd, 1);
        uint32_t xcr0 = host(0xd, 0).eax & (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX);
        uint32_t size = xcr0 & X86_XCR0_AVX ? 832 : 576;

        add_sub(t, 0xd, 0, (struct cpuid_regs){ .eax = xcr0, .ebx = 576, .ecx = size });
        add_sub(t, 0xd, 1, (struct cpuid_regs){ .eax = features.eax & LEAFD_1_EAX });
        if (xcr0 & X86_XCR0_AVX)
                add_sub(t, 0xd, 2, (struct cpuid_regs){ .eax = 256, .ebx = 576 });
}

static void add_basic(struct cpuid_table *t, bool amd)
{
        struct cpuid_regs r = host(0, 0);

        if (r.eax > 0x16)
                r.eax = 0x16;
        add(t, 0, r);
        r = host(1, 0);
        add(t, 1, (struct cpuid_regs){
                .eax = signature(amd), .ebx = r.ebx & 0xff00, .ecx = (r.ecx & LEAF1_ECX) | LEAF1_ECX_OWN, .edx = r.edx & LEAF1_EDX
        });
        if (!amd) {
                add(t, 2, host(2, 0));
                add_caches(t, 4);
        }
        r = host(7, 0);
        add_sub(t, 7, 0, (struct cpuid_regs){
                .eax = amd ? 1 : 2, .ebx = (r.ebx & LEAF7_EBX) | LEAF7_EBX_OWN, .ecx = r.ecx & LEAF7_ECX,
                .edx = (r.edx & LEAF7_EDX) | (amd ? 0 : LEAF7_EDX_INTEL)
        });
        add_sub(t, 7, 1, (struct cpuid_regs){ .eax = r.eax >= 1 ? host(7, 1).eax & LEAF7_1_EAX : 0 });
        if (!amd)
                add_sub(t, 7, 2, (struct cpuid_regs){ .edx = LEAF7_2_EDX_INTEL });
        add_xsave(t);
}

static void add_extended(struct cpuid_table *t, bool amd)
{
        struct cpuid_regs r = host(0x80000001, 0);
        uint32_t last = host(0x80000000, 0).eax, phys = host(0x80000008, 0).eax & 0xff;
        uint32_t edx = EXT1_EDX | (amd ? LEAF1_EDX & EXT1_EDX_REPEATED : 0);

        add(t, 0x80000000, (struct cpuid_regs){ .eax = amd ? 0x80000021 : 0x80000008 });
        add(t, 0x80000001, (struct cpuid_regs){
                .eax = amd ? signature(amd) : r.eax, .ebx = r.ebx, .ecx = r.ecx & EXT1_ECX, .edx = r.edx & edx
        });
        for (uint32_t leaf = 0x80000002; leaf <= 0x80000006; leaf++)
                add(t, leaf, host(leaf, 0));
        add(t, 0x80000007, (struct cpuid_regs){ .edx = host(0x80000007, 0).edx & EXT7_EDX });
        if (phys > PHYS_BITS_MAX)
                phys = PHYS_BITS_MAX;
        add(t, 0x80000008, (struct cpuid_regs){ .eax = 48 << 8 | phys, .ebx = EXT8_EBX });
        if (!amd)
                return;
        if ((r.ecx & BIT(22)) && last >= 0x8000001e) {
                add_caches(t, 0x8000001d);
                add(t, 0x8000001e, (struct cpuid_regs){ 0 }); /* cpuid_finish fills it */
        }
        add(t, 0x80000021, (struct cpuid_regs){ .eax = EXT21_EAX, .ecx = EXT21_ECX });
}

void dbt_cpuid_supported(struct cpuid_table *ret, uint32_t *ret_pv)
{
        bool amd = host_is_amd();

        ret->n = 0;
        add_basic(ret, amd);
        add_extended(ret, amd);
        *ret_pv = KVM_PV_CLOCKSOURCE2 | KVM_PV_CLOCKSOURCE_STABLE | KVM_PV_UNHALT | KVM_PV_SEND_IPI;
}

bool dbt_cpuid_has(const struct dbt_vcpu *v, uint32_t leaf, unsigned reg, unsigned bit)
{
        const struct cpuid_entry *e = cpuid_find(&v->cpuid, leaf, 0);
        uint32_t regs[4] = { 0 };

        if (e) {
                regs[0] = e->r.eax;
                regs[1] = e->r.ebx;
                regs[2] = e->r.ecx;
                regs[3] = e->r.edx;
        }
        return regs[reg] >> bit & 1;
}

void dbt_cpuid_apply(struct dbt_vcpu *v)
{
        const struct cpuid_entry *vendor = cpuid_find(&v->cpuid, 0, 0), *size = cpuid_find(&v->cpuid, 0x80000008, 0);
        const struct cpuid_entry *features = cpuid_find(&v->cpuid, 7, 0);
        uint32_t ebx = vendor ? vendor->r.ebx : 0;
        unsigned phys = size ? size->r.eax & 0xff : 36;

        if (phys < 32 || phys > 52)
                phys = 36;
        v->sys.phys_mask = (1ULL << phys) - 1;
        v->sys.amd = ebx == 0x68747541 || ebx == 0x6f677948;
        v->sys.no_x87_selectors = features && (features->r.ebx & BIT(13));
        v->sys.fdp_of_exceptions = features && (features->r.ebx & BIT(6));
        v->sys.bios_sign = v->sys.amd ? 0x01000065 : 1ULL << 32;
}

void dbt_cpuid(struct dbt_vcpu *v)
{
        uint32_t leaf = (uint32_t)v->gpr[X86_RAX], subleaf = (uint32_t)v->gpr[X86_RCX];
        struct cpuid_regs r = cpuid_query(&v->cpuid, leaf, subleaf);

        /* The bits that follow the CPU's state. */
        if (leaf == 1) {
                r.ecx = (r.ecx & ~BIT(27)) | (v->cr4 & X86_CR4_OSXSAVE ? BIT(27) : 0);
                if (!(lapic_base_msr(v->lapic) & BIT(11)))
                        r.edx &= ~BIT(9);
        } else if (leaf == 0xd && subleaf <= 1) {
                r.ebx = v->xcr0 & X86_XCR0_AVX ? 832 : 576;
        }
        v->gpr[X86_RAX] = r.eax;
        v->gpr[X86_RBX] = r.ebx;
        v->gpr[X86_RCX] = r.ecx;
        v->gpr[X86_RDX] = r.edx;
}
