/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the sys-*.c files share. Private to engine/dbt. */

#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/seg.h"
#include "hv/engine/dbt/vm.h"

static inline void dbt_check_cpl0(struct dbt_vcpu *v)
{
        if (v->cpl)
                dbt_raise_gp0(v);
}

static inline uint64_t dbt_edx_eax(const struct dbt_vcpu *v)
{
        return (uint32_t)v->gpr[X86_RAX] | v->gpr[X86_RDX] << 32;
}

static inline void dbt_set_edx_eax(struct dbt_vcpu *v, uint64_t value)
{
        v->gpr[X86_RAX] = (uint32_t)value;
        v->gpr[X86_RDX] = value >> 32;
}

static inline uint64_t dbt_host_tsc(void)
{
        return __builtin_ia32_rdtsc();
}

static inline uint64_t dbt_guest_tsc(const struct dbt_vcpu *v)
{
        return dbt_host_tsc() + (uint64_t)v->tsc_offset;
}

/* sys-msr.c: false means #GP. */
bool dbt_msr_read(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret);
bool dbt_msr_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value);
/* sys-cr.c: EFER's write rules. */
bool dbt_efer_write(struct dbt_vcpu *v, uint64_t value);
/* sys-debug.c: DR7 or an address changed. */
void dbt_debug_update(struct dbt_vcpu *v);
/* sys-kvm.c: the MSRs of the KVM paravirtual interface. */
bool dbt_kvm_msr_read(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret);
bool dbt_kvm_msr_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value);
/* Starts kvm-clock at 0. */
void dbt_clock_init(struct dbt_vm *vm);
/* Takes the present moment as the point that kvm-clock's line goes through: the guest's TSC was set, and must not have been negative there. */
void dbt_clock_mark(struct dbt_vm *vm);
/* sys-cpuid.c: does the guest's CPUID have this bit of a leaf's register (0..3: EAX..EDX)? */
bool dbt_cpuid_has(const struct dbt_vcpu *v, uint32_t leaf, unsigned reg, unsigned bit);
/* Fills v->sys from v->cpuid. */
void dbt_cpuid_apply(struct dbt_vcpu *v);
