/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/engine/kvm-state.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
        int r;

        do
                r = ioctl(fd, request, arg);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r;
}

int kvm_ioctl_value(int fd, unsigned long request, unsigned long arg)
{
        return kvm_ioctl(fd, request, (void *)arg);
}

/* --- MSRs ---------------------------------------------------------------------------------------------------- */

static const uint32_t msr_numbers[X86_NMSRS] = {
        [X86_MSR_STAR] = 0xc0000081,
        [X86_MSR_LSTAR] = 0xc0000082,
        [X86_MSR_CSTAR] = 0xc0000083,
        [X86_MSR_SFMASK] = 0xc0000084,
        [X86_MSR_KERNEL_GS_BASE] = 0xc0000102,
        [X86_MSR_TSC_AUX] = 0xc0000103,
        [X86_MSR_SYSENTER_CS] = 0x174,
        [X86_MSR_SYSENTER_ESP] = 0x175,
        [X86_MSR_SYSENTER_EIP] = 0x176,
        [X86_MSR_PAT] = 0x277,
        [X86_MSR_MISC_ENABLE] = 0x1a0,
        [X86_MSR_TSC_DEADLINE] = KVM_MSR_TSC_DEADLINE,
        [X86_MSR_MTRR_DEF_TYPE] = 0x2ff,
        [X86_MSR_KVM_WALL_CLOCK] = 0x4b564d00,
        [X86_MSR_KVM_SYSTEM_TIME] = 0x4b564d01,
        [X86_MSR_KVM_PV_EOI] = 0x4b564d04,
        [X86_MSR_KVM_POLL_CONTROL] = 0x4b564d05,
};

struct one_msr {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
};

int kvm_get_msr(int fd, uint32_t number, uint64_t *ret)
{
        struct one_msr m = { .head.nmsrs = 1, .entry.index = number };
        int r = kvm_ioctl(fd, KVM_GET_MSRS, &m);

        *ret = r == 1 ? m.entry.data : 0;
        return r;
}

int kvm_set_msr(int fd, uint32_t number, uint64_t value)
{
        struct one_msr m = { .head.nmsrs = 1, .entry = { .index = number, .data = value } };

        return kvm_ioctl(fd, KVM_SET_MSRS, &m);
}

static struct x86_segment segment_from_kvm(const struct kvm_segment *k)
{
        uint32_t attr = k->type | (uint32_t)k->s << 4 | (uint32_t)k->dpl << X86_SEG_DPL_SHIFT | (uint32_t)k->present << 7;

        attr |= (k->avl ? X86_SEG_AVL : 0) | (k->l ? X86_SEG_L : 0) | (k->db ? X86_SEG_DB : 0) | (k->g ? X86_SEG_G : 0) |
                (k->unusable ? X86_SEG_UNUSABLE : 0);
        return (struct x86_segment){ .base = k->base, .limit = k->limit, .attr = attr, .selector = k->selector };
}

static struct kvm_segment segment_to_kvm(const struct x86_segment *s)
{
        return (struct kvm_segment){
                .base = s->base,
                .limit = s->limit,
                .selector = s->selector,
                .type = s->attr & X86_SEG_TYPE_MASK,
                .s = !!(s->attr & X86_SEG_S),
                .dpl = s->attr >> X86_SEG_DPL_SHIFT & 3,
                .present = !!(s->attr & X86_SEG_P),
                .avl = !!(s->attr & X86_SEG_AVL),
                .l = !!(s->attr & X86_SEG_L),
                .db = !!(s->attr & X86_SEG_DB),
                .g = !!(s->attr & X86_SEG_G),
                .unusable = !!(s->attr & X86_SEG_UNUSABLE),
        };
}

static int get_regs(int fd, struct x86_state *s)
{
        struct kvm_regs k;
        int r = kvm_ioctl(fd, KVM_GET_REGS, &k);
        const uint64_t gpr[X86_NGPRS] = { k.rax, k.rcx, k.rdx, k.rbx, k.rsp, k.rbp, k.rsi, k.rdi,
                k.r8, k.r9, k.r10, k.r11, k.r12, k.r13, k.r14, k.r15 };

        if (r < 0)
                return r;
        memcpy(s->gpr, gpr, sizeof(gpr));
        s->rip = k.rip;
        s->rflags = k.rflags;
        return 0;
}

static int set_regs(int fd, const struct x86_state *s)
{
        const uint64_t *g = s->gpr;
        struct kvm_regs k = { .rax = g[X86_RAX], .rcx = g[X86_RCX], .rdx = g[X86_RDX], .rbx = g[X86_RBX],
                .rsp = g[X86_RSP], .rbp = g[X86_RBP], .rsi = g[X86_RSI], .rdi = g[X86_RDI], .r8 = g[X86_R8],
                .r9 = g[X86_R9], .r10 = g[X86_R10], .r11 = g[X86_R11], .r12 = g[X86_R12], .r13 = g[X86_R13],
                .r14 = g[X86_R14], .r15 = g[X86_R15], .rip = s->rip, .rflags = s->rflags | 2 };

        return kvm_ioctl(fd, KVM_SET_REGS, &k);
}

static int get_sregs(int fd, struct x86_state *s)
{
        struct kvm_sregs k;
        int r = kvm_ioctl(fd, KVM_GET_SREGS, &k);

        if (r < 0)
                return r;
        s->seg[X86_ES] = segment_from_kvm(&k.es);
        s->seg[X86_CS] = segment_from_kvm(&k.cs);
        s->seg[X86_SS] = segment_from_kvm(&k.ss);
        s->seg[X86_DS] = segment_from_kvm(&k.ds);
        s->seg[X86_FS] = segment_from_kvm(&k.fs);
        s->seg[X86_GS] = segment_from_kvm(&k.gs);
        s->ldtr = segment_from_kvm(&k.ldt);
        s->tr = segment_from_kvm(&k.tr);
        s->gdtr = (struct x86_table){ .base = k.gdt.base, .limit = k.gdt.limit };
        s->idtr = (struct x86_table){ .base = k.idt.base, .limit = k.idt.limit };
        s->cr0 = k.cr0;
        s->cr2 = k.cr2;
        s->cr3 = k.cr3;
        s->cr4 = k.cr4;
        s->efer = k.efer;
        s->apic_base = k.apic_base;
        return 0;
}

static int set_sregs(int fd, const struct x86_state *s)
{
        struct kvm_sregs k = {
                .es = segment_to_kvm(&s->seg[X86_ES]),
                .cs = segment_to_kvm(&s->seg[X86_CS]),
                .ss = segment_to_kvm(&s->seg[X86_SS]),
                .ds = segment_to_kvm(&s->seg[X86_DS]),
                .fs = segment_to_kvm(&s->seg[X86_FS]),
                .gs = segment_to_kvm(&s->seg[X86_GS]),
                .ldt = segment_to_kvm(&s->ldtr),
                .tr = segment_to_kvm(&s->tr),
                .gdt = { .base = s->gdtr.base, .limit = s->gdtr.limit },
                .idt = { .base = s->idtr.base, .limit = s->idtr.limit },
                .cr0 = s->cr0,
                .cr2 = s->cr2,
                .cr3 = s->cr3,
                .cr4 = s->cr4,
                .cr8 = s->lapic[0x80] >> 4, /* the task priority register */
                .efer = s->efer,
                .apic_base = s->apic_base,
        };

        return kvm_ioctl(fd, KVM_SET_SREGS, &k);
}

_Static_assert(sizeof(struct kvm_xsave) == X86_XSAVE_MAX, "KVM_GET_XSAVE has the size of our area");

static int get_fpu(int fd, struct x86_state *s)
{
        struct kvm_xcrs x = { 0 };
        int r = kvm_ioctl(fd, KVM_GET_XSAVE, s->xsave);

        if (r == 0)
                r = kvm_ioctl(fd, KVM_GET_XCRS, &x);
        s->xcr0 = X86_XCR0_X87;
        for (unsigned i = 0; i < x.nr_xcrs && i < KVM_MAX_XCRS; i++)
                if (x.xcrs[i].xcr == 0)
                        s->xcr0 = x.xcrs[i].value;
        return r;
}

static int set_fpu(int fd, const struct x86_state *s)
{
        struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0].value = s->xcr0 | X86_XCR0_X87 };
        struct kvm_xsave *copy = aligned_alloc(64, sizeof(*copy));
        int r;

        if (!copy)
                return -ENOMEM;
        memcpy(copy, s->xsave, sizeof(*copy));
        r = kvm_ioctl(fd, KVM_SET_XCRS, &x);
        if (r == 0)
                r = kvm_ioctl(fd, KVM_SET_XSAVE, copy);
        free(copy);
        return r;
}

static int get_debug(int fd, struct x86_state *s)
{
        struct kvm_debugregs k;
        int r = kvm_ioctl(fd, KVM_GET_DEBUGREGS, &k);

        if (r < 0)
                return r;
        for (unsigned i = 0; i < 4; i++)
                s->dr[i] = k.db[i];
        s->dr6 = k.dr6;
        s->dr7 = k.dr7;
        return 0;
}

static int set_debug(int fd, const struct x86_state *s)
{
        struct kvm_debugregs k = { .db = { s->dr[0], s->dr[1], s->dr[2], s->dr[3] }, .dr6 = s->dr6, .dr7 = s->dr7 };

        return kvm_ioctl(fd, KVM_SET_DEBUGREGS, &k);
}

/* An interrupt that the APIC has handed out but the guest has not seen goes back from in service to requested. */
static void take_back_interrupt(struct x86_state *s, unsigned vector)
{
        uint8_t *isr = &s->lapic[0x100 + vector / 32 * 16 + vector % 32 / 8];
        uint8_t bit = (uint8_t)(1u << vector % 8);

        if (*isr & bit) {
                *isr &= (uint8_t)~bit;
                isr[0x100] |= bit; /* the request registers follow 0x100 bytes behind */
        }
}

static int get_events(int fd, struct x86_state *s)
{
        struct kvm_vcpu_events k = { 0 };
        int r = kvm_ioctl(fd, KVM_GET_VCPU_EVENTS, &k);

        if (r < 0)
                return r;
        s->exception_pending = k.exception.injected;
        s->exception_vector = k.exception.nr;
        s->exception_has_error = k.exception.has_error_code;
        s->exception_error = k.exception.error_code;
        s->nmi_pending = k.nmi.pending || k.nmi.injected;
        s->nmi_blocked = k.nmi.masked && !k.nmi.injected;
        s->interrupt_shadow = k.interrupt.shadow;
        if (k.interrupt.injected && !k.interrupt.soft)
                take_back_interrupt(s, k.interrupt.nr);
        return 0;
}

static int set_events(int fd, const struct x86_state *s)
{
        struct kvm_vcpu_events k = {
                .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
                .exception = { .injected = s->exception_pending, .nr = s->exception_vector,
                        .has_error_code = s->exception_has_error, .error_code = s->exception_error },
                .interrupt.shadow = s->interrupt_shadow ? KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0,
                .nmi = { .pending = s->nmi_pending, .masked = s->nmi_blocked },
        };

        return kvm_ioctl(fd, KVM_SET_VCPU_EVENTS, &k);
}

static int get_mp_state(int fd, struct x86_state *s)
{
        struct kvm_mp_state k;
        int r = kvm_ioctl(fd, KVM_GET_MP_STATE, &k);

        if (r < 0)
                return r;
        s->mp_state = k.mp_state == KVM_MP_STATE_UNINITIALIZED || k.mp_state == KVM_MP_STATE_INIT_RECEIVED ? X86_MP_WAIT_SIPI
                      : k.mp_state == KVM_MP_STATE_HALTED                                                  ? X86_MP_HALTED
                                                                                                           : X86_MP_RUNNABLE;
        return 0;
}

/* A CPU that waits for SIPI has had its INIT: KVM drops a SIPI in the state "uninitialized". */
static int set_mp_state(int fd, const struct x86_state *s)
{
        struct kvm_mp_state k = { .mp_state = s->mp_state == X86_MP_WAIT_SIPI ? KVM_MP_STATE_INIT_RECEIVED
                                              : s->mp_state == X86_MP_HALTED  ? KVM_MP_STATE_HALTED
                                                                              : KVM_MP_STATE_RUNNABLE };

        return kvm_ioctl(fd, KVM_SET_MP_STATE, &k);
}

static int get_msrs(int fd, struct x86_state *s)
{
        int r = kvm_get_msr(fd, KVM_MSR_TSC, &s->tsc);

        for (unsigned i = 0; r >= 0 && i < X86_NMSRS; i++)
                r = kvm_get_msr(fd, msr_numbers[i], &s->msr[i]);
        return r < 0 ? r : 0;
}

/* KVM may lack one: that matters only if it should hold something. The deadline comes after the local APIC, which clears it. */
static int set_msrs(int fd, const struct x86_state *s)
{
        int r = kvm_set_msr(fd, KVM_MSR_TSC, s->tsc);

        for (unsigned i = 0; r >= 0 && i < X86_NMSRS; i++) {
                if (i == X86_MSR_TSC_DEADLINE)
                        continue;
                r = kvm_set_msr(fd, msr_numbers[i], s->msr[i]);
                if (r == 0 && s->msr[i] != 0)
                        log_warning("KVM does not take %#llx for MSR %#x",
                                (unsigned long long)s->msr[i], msr_numbers[i]);
        }
        return r < 0 ? r : 0;
}

static int get_lapic(int fd, struct x86_state *s)
{
        struct kvm_lapic_state k;
        int r = kvm_ioctl(fd, KVM_GET_LAPIC, &k);

        if (r == 0)
                memcpy(s->lapic, k.regs, sizeof(s->lapic));
        return r;
}

static int set_lapic(int fd, const struct x86_state *s)
{
        struct kvm_lapic_state k;
        int r;

        memcpy(k.regs, s->lapic, sizeof(k.regs));
        r = kvm_ioctl(fd, KVM_SET_LAPIC, &k);
        if (r == 0)
                r = kvm_set_msr(fd, KVM_MSR_TSC_DEADLINE, s->msr[X86_MSR_TSC_DEADLINE]);
        return r < 0 ? r : 0;
}

_Static_assert(X86_LAPIC_REGS_SIZE == KVM_APIC_REG_SIZE, "KVM_GET_LAPIC has the size of our area");

int kvm_get_state(int fd, struct x86_state *s)
{
        int r;

        memset(s, 0, sizeof(*s));
        r = get_mp_state(fd, s); /* first: it makes KVM take pending INITs and SIPIs */
        if (r == 0)
                r = get_regs(fd, s);
        if (r == 0)
                r = get_sregs(fd, s);
        if (r == 0)
                r = get_fpu(fd, s);
        if (r == 0)
                r = get_debug(fd, s);
        if (r == 0)
                r = get_msrs(fd, s);
        if (r == 0)
                r = get_lapic(fd, s);
        if (r == 0)
                r = get_events(fd, s);
        return r;
}

int kvm_set_state(int fd, const struct x86_state *s, const char **ret_what)
{
        int r;

        *ret_what = "registers", r = set_regs(fd, s);
        if (r == 0)
                *ret_what = "system registers", r = set_sregs(fd, s);
        if (r == 0)
                *ret_what = "vector state", r = set_fpu(fd, s);
        if (r == 0)
                *ret_what = "debug registers", r = set_debug(fd, s);
        if (r == 0)
                *ret_what = "MSRs", r = set_msrs(fd, s);
        if (r == 0)
                *ret_what = "local APIC", r = set_lapic(fd, s);
        if (r == 0)
                *ret_what = "run state", r = set_mp_state(fd, s);
        if (r == 0)
                *ret_what = "events", r = set_events(fd, s);
        return r;
}
