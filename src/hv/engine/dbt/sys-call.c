/* SPDX-License-Identifier: GPL-2.0-or-later */

/* syscall, sysret, sysenter, sysexit, swapgs (Intel SDM vol. 2, AMD APM vol. 3). Where the vendors differ, the guest's CPUID
 * decides: compatibility-mode syscall and legacy-mode syscall are AMD's, sysenter in long mode is Intel's. */

#include "hv/engine/dbt/sys.h"

/* Flat segments as these instructions load them, without reading a descriptor. */
static struct x86_segment flat_code(uint16_t selector, unsigned dpl, bool is_64)
{
        return (struct x86_segment){
                .selector = selector, .limit = UINT32_MAX,
                .attr = X86_SEG_G | X86_SEG_P | X86_SEG_S | 0xb | dpl << X86_SEG_DPL_SHIFT | (is_64 ? X86_SEG_L : X86_SEG_DB),
        };
}

/* sysret on AMD leaves the attributes of SS alone; loading flat ones instead is what every system wants, and CPL is kept in them. */
static struct x86_segment flat_stack(uint16_t selector, unsigned dpl)
{
        return (struct x86_segment){
                .selector = selector, .limit = UINT32_MAX,
                .attr = X86_SEG_G | X86_SEG_DB | X86_SEG_P | X86_SEG_S | 3 | dpl << X86_SEG_DPL_SHIFT,
        };
}

static void enter(struct dbt_vcpu *v, uint16_t cs, uint16_t ss, unsigned cpl, bool is_64)
{
        v->seg[X86_CS] = flat_code(cs, cpl, is_64);
        v->seg[X86_SS] = flat_stack(ss, cpl);
}

static void check_syscall(struct dbt_vcpu *v)
{
        bool vendor_ok = v->sys.amd || (v->mode & DBT_MODE_CS64);

        if (!(v->efer & X86_EFER_SCE) || !protected_mode(v) || !vendor_ok)
                dbt_raise_ud(v);
}

void dbt_syscall(struct dbt_vcpu *v, uint64_t next_rip)
{
        uint64_t star = v->msr[X86_MSR_STAR];
        uint16_t cs = (uint16_t)(star >> 32) & 0xfffc;
        bool is_64 = v->mode & DBT_MODE_CS64;

        check_syscall(v);
        if (long_mode(v)) {
                v->gpr[X86_RCX] = next_rip;
                v->gpr[X86_R11] = v->rflags & ~(uint64_t)X86_FLAG_RF;
                v->rip = v->msr[is_64 ? X86_MSR_LSTAR : X86_MSR_CSTAR];
                v->rflags &= ~(v->msr[X86_MSR_SFMASK] | X86_FLAG_RF);
                v->rflags |= 2;
                enter(v, cs, cs + 8, 0, true);
        } else {
                v->gpr[X86_RCX] = (uint32_t)next_rip;
                v->rip = (uint32_t)star;
                v->rflags &= ~(uint64_t)(X86_FLAG_IF | X86_FLAG_RF | X86_FLAG_VM);
                enter(v, cs, cs + 8, 0, false);
        }
        dbt_mode_update(v);
}

static void sysret_long(struct dbt_vcpu *v, uint16_t base, bool to_64)
{
        uint64_t keep = X86_FLAG_RF | X86_FLAG_VM, flags = 0x3c7fd7;

        if (to_64 && !v->sys.amd && !dbt_canonical(v->gpr[X86_RCX]))
                dbt_raise_gp0(v);
        v->rip = to_64 ? v->gpr[X86_RCX] : (uint32_t)v->gpr[X86_RCX];
        v->rflags = (v->gpr[X86_R11] & flags & ~keep) | 2;
        enter(v, (uint16_t)((to_64 ? base + 16 : base) | 3), (uint16_t)((base + 8) | 3), 3, to_64);
}

void dbt_sysret(struct dbt_vcpu *v, unsigned opsize)
{
        uint16_t base = (uint16_t)(v->msr[X86_MSR_STAR] >> 48);

        check_syscall(v);
        dbt_check_cpl0(v);
        if (long_mode(v)) {
                sysret_long(v, base, opsize == 8);
        } else {
                v->rip = (uint32_t)v->gpr[X86_RCX];
                v->rflags |= X86_FLAG_IF;
                enter(v, base | 3, (uint16_t)((base + 8) | 3), 3, false);
        }
        dbt_mode_update(v);
        dbt_interrupts_enabled(v);
}

static void check_sysenter(struct dbt_vcpu *v)
{
        if (v->sys.amd && long_mode(v))
                dbt_raise_ud(v);
        if (!(v->cr0 & X86_CR0_PE) || selector_null((uint16_t)v->msr[X86_MSR_SYSENTER_CS]))
                dbt_raise_gp0(v);
}

void dbt_sysenter(struct dbt_vcpu *v)
{
        uint16_t cs = (uint16_t)v->msr[X86_MSR_SYSENTER_CS] & 0xfffc;
        bool is_64 = long_mode(v);

        check_sysenter(v);
        v->rflags &= ~(uint64_t)(X86_FLAG_IF | X86_FLAG_VM | X86_FLAG_RF);
        v->gpr[X86_RSP] = is_64 ? v->msr[X86_MSR_SYSENTER_ESP] : (uint32_t)v->msr[X86_MSR_SYSENTER_ESP];
        v->rip = is_64 ? v->msr[X86_MSR_SYSENTER_EIP] : (uint32_t)v->msr[X86_MSR_SYSENTER_EIP];
        enter(v, cs, cs + 8, 0, is_64);
        dbt_mode_update(v);
}

void dbt_sysexit(struct dbt_vcpu *v, unsigned opsize)
{
        uint16_t base = (uint16_t)v->msr[X86_MSR_SYSENTER_CS] & 0xfffc;
        uint64_t rip = v->gpr[X86_RDX], rsp = v->gpr[X86_RCX];
        bool to_64 = opsize == 8;

        check_sysenter(v);
        dbt_check_cpl0(v);
        if (to_64 && (!dbt_canonical(rip) || !dbt_canonical(rsp)))
                dbt_raise_gp0(v);
        v->rip = to_64 ? rip : (uint32_t)rip;
        v->gpr[X86_RSP] = to_64 ? rsp : (uint32_t)rsp;
        base = to_64 ? base + 32 : base + 16;
        enter(v, base | 3, (uint16_t)((base + 8) | 3), 3, to_64);
        dbt_mode_update(v);
}

void dbt_swapgs(struct dbt_vcpu *v)
{
        uint64_t base = v->seg[X86_GS].base;

        if (!(v->mode & DBT_MODE_CS64))
                dbt_raise_ud(v);
        dbt_check_cpl0(v);
        v->seg[X86_GS].base = v->msr[X86_MSR_KERNEL_GS_BASE];
        v->msr[X86_MSR_KERNEL_GS_BASE] = base;
}
