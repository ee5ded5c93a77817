/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The state of one x86-64 CPU in engine-neutral form: what an engine gets, sets, and what is saved and migrated. */

#include <stdbool.h>
#include <stdint.h>

/* In the order of the instruction encoding. */
enum x86_gpr {
        X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI,
        X86_R8, X86_R9, X86_R10, X86_R11, X86_R12, X86_R13, X86_R14, X86_R15,
        X86_NGPRS
};

enum x86_sreg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_NSREGS };

/* attr has the layout of bits 8..23 of a descriptor's second dword, limit bits cleared (Intel SDM vol. 3, 3.4.5),
 * plus X86_SEG_UNUSABLE for a null selector. limit is in bytes, already scaled by G. */
#define X86_SEG_TYPE_MASK 0x000fu
#define X86_SEG_S 0x0010u
#define X86_SEG_DPL_SHIFT 5
#define X86_SEG_P 0x0080u
#define X86_SEG_AVL 0x1000u
#define X86_SEG_L 0x2000u
#define X86_SEG_DB 0x4000u
#define X86_SEG_G 0x8000u
#define X86_SEG_UNUSABLE 0x10000u

struct x86_segment {
        uint64_t base;
        uint32_t limit;
        uint32_t attr;
        uint16_t selector;
};

struct x86_table {
        uint64_t base;
        uint16_t limit;
};

#define X86_CR0_PE (1u << 0)
#define X86_CR0_MP (1u << 1)
#define X86_CR0_EM (1u << 2)
#define X86_CR0_TS (1u << 3)
#define X86_CR0_ET (1u << 4)
#define X86_CR0_NE (1u << 5)
#define X86_CR0_WP (1u << 16)
#define X86_CR0_AM (1u << 18)
#define X86_CR0_NW (1u << 29)
#define X86_CR0_CD (1u << 30)
#define X86_CR0_PG (1u << 31)

#define X86_CR4_VME (1u << 0)
#define X86_CR4_TSD (1u << 2)
#define X86_CR4_DE (1u << 3)
#define X86_CR4_PSE (1u << 4)
#define X86_CR4_PAE (1u << 5)
#define X86_CR4_MCE (1u << 6)
#define X86_CR4_PGE (1u << 7)
#define X86_CR4_PCE (1u << 8)
#define X86_CR4_OSFXSR (1u << 9)
#define X86_CR4_OSXMMEXCPT (1u << 10)
#define X86_CR4_UMIP (1u << 11)
#define X86_CR4_LA57 (1u << 12)
#define X86_CR4_FSGSBASE (1u << 16)
#define X86_CR4_PCIDE (1u << 17)
#define X86_CR4_OSXSAVE (1u << 18)
#define X86_CR4_SMEP (1u << 20)
#define X86_CR4_SMAP (1u << 21)

#define X86_EFER_SCE (1u << 0)
#define X86_EFER_LME (1u << 8)
#define X86_EFER_LMA (1u << 10)
#define X86_EFER_NXE (1u << 11)

#define X86_FLAG_CF (1u << 0)
#define X86_FLAG_PF (1u << 2)
#define X86_FLAG_AF (1u << 4)
#define X86_FLAG_ZF (1u << 6)
#define X86_FLAG_SF (1u << 7)
#define X86_FLAG_TF (1u << 8)
#define X86_FLAG_IF (1u << 9)
#define X86_FLAG_DF (1u << 10)
#define X86_FLAG_OF (1u << 11)
#define X86_FLAG_IOPL (3u << 12)
#define X86_FLAG_NT (1u << 14)
#define X86_FLAG_RF (1u << 16)
#define X86_FLAG_VM (1u << 17)
#define X86_FLAG_AC (1u << 18)
#define X86_FLAG_ID (1u << 21)

enum x86_vector {
        X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF = 4, X86_BR = 5, X86_UD = 6, X86_NM = 7,
        X86_DF = 8, X86_TS = 10, X86_NP = 11, X86_SSF = 12, X86_GP = 13, X86_PF = 14, X86_MF = 16, X86_AC = 17,
        X86_MC = 18, X86_XM = 19
};

/* Names as in the Intel SDM vol. 4 / AMD APM vol. 2 and Linux Documentation/virt/kvm/x86/msr.rst. */
enum x86_msr_slot {
        X86_MSR_STAR, X86_MSR_LSTAR, X86_MSR_CSTAR, X86_MSR_SFMASK, X86_MSR_KERNEL_GS_BASE, X86_MSR_TSC_AUX,
        X86_MSR_SYSENTER_CS, X86_MSR_SYSENTER_ESP, X86_MSR_SYSENTER_EIP, X86_MSR_PAT, X86_MSR_MISC_ENABLE,
        X86_MSR_TSC_DEADLINE, X86_MSR_MTRR_DEF_TYPE, X86_MSR_KVM_WALL_CLOCK, X86_MSR_KVM_SYSTEM_TIME,
        X86_MSR_KVM_PV_EOI, X86_MSR_KVM_POLL_CONTROL,
        X86_NMSRS
};

/* KVM_MP_STATE_* order is not used on purpose; engines translate. */
enum x86_mp_state { X86_MP_RUNNABLE, X86_MP_HALTED, X86_MP_WAIT_SIPI };

#define X86_XSAVE_MAX 4096
/* What the engines offer the guest in XCR0: x87, SSE, AVX. */
#define X86_XCR0_X87 (1u << 0)
#define X86_XCR0_SSE (1u << 1)
#define X86_XCR0_AVX (1u << 2)

#define X86_LAPIC_REGS_SIZE 1024

struct x86_state {
        uint64_t gpr[X86_NGPRS];
        uint64_t rip;
        uint64_t rflags;
        struct x86_segment seg[X86_NSREGS];
        struct x86_segment ldtr, tr;
        struct x86_table gdtr, idtr;
        uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
        uint64_t dr[4], dr6, dr7;
        uint64_t apic_base; /* IA32_APIC_BASE */
        uint64_t tsc;       /* the guest's counter at the time of the call */
        uint64_t msr[X86_NMSRS];

        enum x86_mp_state mp_state;
        bool exception_pending; /* raised but not yet delivered */
        uint8_t exception_vector;
        bool exception_has_error;
        uint32_t exception_error;
        bool nmi_pending, nmi_blocked;
        bool interrupt_shadow; /* after sti or mov ss */

        uint8_t lapic[X86_LAPIC_REGS_SIZE]; /* register page as KVM_GET_LAPIC lays it out; CR8 follows from TPR */
        uint8_t xsave[X86_XSAVE_MAX] __attribute__((aligned(64))); /* standard format */
};

/* State after RESET (Intel SDM vol. 3, 9.1.1). The bootstrap processor is runnable at f000:fff0, the others wait for
 * SIPI; apic_id goes into the LAPIC page. */
void x86_state_reset(struct x86_state *s, uint32_t apic_id, bool bsp);
