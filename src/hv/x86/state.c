/* SPDX-License-Identifier: GPL-2.0-or-later */

#include <string.h>

#include "base/bytes.h"
#include "hv/x86/state.h"

enum { DATA_RW = 0x93, CODE_RX = 0x9b, SYS_LDT = 0x82, SYS_TSS_BUSY = 0x8b };

/* Offsets in the legacy region of an XSAVE image (Intel SDM vol. 1, table 10-2 and 13.4). */
enum { XSAVE_FCW = 0, XSAVE_MXCSR = 24, XSAVE_HEADER = 512 };

/* Offsets in the local APIC's register page (Intel SDM vol. 3, table 11-1). */
enum {
        APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_DFR = 0xe0, APIC_SPIV = 0xf0, APIC_LVT_TIMER = 0x320,
        APIC_LVT_ERROR = 0x370
};

static void reset_segments(struct x86_state *s)
{
        for (unsigned i = 0; i < X86_NSREGS; i++)
                s->seg[i] = (struct x86_segment){ .limit = 0xffff, .attr = DATA_RW };
        s->seg[X86_CS] = (struct x86_segment){
                .base = 0xffff0000, .limit = 0xffff, .attr = CODE_RX, .selector = 0xf000
        };
        s->ldtr = (struct x86_segment){ .limit = 0xffff, .attr = SYS_LDT };
        s->tr = (struct x86_segment){ .limit = 0xffff, .attr = SYS_TSS_BUSY };
        s->gdtr.limit = s->idtr.limit = 0xffff;
}

static void reset_lapic(struct x86_state *s, uint32_t apic_id)
{
        le32_store(s->lapic + APIC_ID, apic_id << 24);
        le32_store(s->lapic + APIC_VERSION, 0x50014);
        le32_store(s->lapic + APIC_DFR, UINT32_MAX);
        le32_store(s->lapic + APIC_SPIV, 0xff);
        for (unsigned off = APIC_LVT_TIMER; off <= APIC_LVT_ERROR; off += 0x10)
                le32_store(s->lapic + off, 1 << 16);
}

void x86_state_reset(struct x86_state *s, uint32_t apic_id, bool bsp)
{
        memset(s, 0, sizeof(*s));
        s->rip = 0xfff0;
        s->rflags = 2;
        reset_segments(s);
        s->cr0 = X86_CR0_ET | X86_CR0_CD | X86_CR0_NW;
        s->xcr0 = X86_XCR0_X87;
        s->dr6 = 0xffff0ff0;
        s->dr7 = 0x400;
        s->apic_base = 0xfee00800 | (bsp ? 0x100 : 0);
        s->msr[X86_MSR_PAT] = 0x0007040600070406;
        s->msr[X86_MSR_MISC_ENABLE] = 0x1801; /* fast strings; no branch trace store, no PEBS */
        /* Not the reset value 0, but what firmware leaves: enabled, write-back. A kernel that is started directly takes it for
         * the firmware's choice. */
        s->msr[X86_MSR_MTRR_DEF_TYPE] = 0x806;
        s->mp_state = bsp ? X86_MP_RUNNABLE : X86_MP_WAIT_SIPI;
        reset_lapic(s, apic_id);
        le16_store(s->xsave + XSAVE_FCW, 0x37f);
        le32_store(s->xsave + XSAVE_MXCSR, 0x1f80);
        /* x87 and SSE have their values in the image rather than in their init state. */
        s->xsave[XSAVE_HEADER] = X86_XCR0_X87 | X86_XCR0_SSE;
}
