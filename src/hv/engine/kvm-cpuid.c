/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/engine/kvm-cpuid.h"

#include "hv/x86/state.h"

/* What the guest does not get: state that struct x86_state has no place for, virtualization, performance counters. */
static void filter_features(struct cpuid_entry *e)
{
        struct cpuid_regs *r = &e->r;

        if (e->leaf == 1) {
                r->ecx &= ~(1u << 5 | 1u << 3 | 1u << 15); /* VMX, MONITOR, PDCM */
        } else if (e->leaf == 7 && e->subleaf == 0) {
                /* MPX, AVX-512 F DQ IFMA PF ER CD BW VL, processor trace, SGX */
                r->ebx &= ~(1u << 14 | 1u << 16 | 1u << 17 | 1u << 21 | 7u << 26 | 3u << 30 | 1u << 25 | 1u << 2);
                /* AVX-512 VBMI VBMI2 VNNI BITALG VPOPCNTDQ, PKU, WAITPKG, CET, LA57, PKS */
                r->ecx &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14 | 1u << 3 | 1u << 5 | 1u << 7 | 1u << 16 |
                            1u << 31);
                /* AVX-512 4VNNIW 4FMAPS VP2INTERSECT FP16, AMX, CET-IBT, user interrupts, architectural LBR */
                r->edx &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 23 | 1u << 22 | 1u << 24 | 1u << 25 | 1u << 20 | 1u << 5 |
                            1u << 19);
        } else if (e->leaf == 7) {
                r->eax &= ~(1u << 5 | 1u << 17 | 1u << 21); /* AVX512_BF16, FRED, AMX-FP16 */
                r->edx &= ~(1u << 8 | 1u << 19 | 1u << 18);  /* AMX-COMPLEX, AVX10, CET-SSS */
        } else if (e->leaf == 0x80000001) {
                r->ecx &= ~(1u << 2 | 1u << 10 | 1u << 15 | 1u << 23 | 1u << 24 | 1u << 28); /* SVM, IBS, LWP, counters */
        }
}

/* XCR0 has x87, SSE and AVX; no compacted supervisor state. Returns false for a leaf that goes. */
static bool filter_xsave(struct cpuid_entry *e)
{
        if (e->subleaf == 0) {
                e->r.eax &= X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
                e->r.edx = 0;
                e->r.ecx = e->r.eax & X86_XCR0_AVX ? 832 : 576; /* bytes of the standard form */
                e->r.ebx = e->r.ecx;
                return true;
        }
        if (e->subleaf == 1) {
                e->r.eax &= 0x7; /* XSAVEOPT, XSAVEC, XGETBV(1); no XSAVES */
                e->r.ecx = e->r.edx = 0;
                return true;
        }
        return e->subleaf == 2;
}

bool kvm_cpuid_filter(struct cpuid_entry *e)
{
        switch (e->leaf) {
        case 0x5:  /* MONITOR */
        case 0xa:  /* counters */
        case 0xf:
        case 0x10: /* resource control */
        case 0x12: /* SGX */
        case 0x14: /* processor trace */
        case 0x1c:
        case 0x1d:
        case 0x1e: /* LBR, AMX */
        case 0x23:
        case 0x24:
        case 0x8000000a: /* SVM */
        case 0x8000001f: /* SEV */
        case 0x80000022:
                return false;
        case 0xd:
                return filter_xsave(e);
        default:
                filter_features(e);
                return true;
        }
}
