/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The vCPU's state in engine-neutral form. The vCPU does not run meanwhile. */

#include <string.h>

#include "hv/engine/dbt/sys.h"

_Static_assert(sizeof(((struct dbt_fpu *)0)->xsave) == sizeof(((struct x86_state *)0)->xsave), "one XSAVE format");

/* While the VM is paused its counters stand. */
static uint64_t stopped_tsc(const struct dbt_vcpu *v)
{
        return v->vm->pause_tsc ? v->vm->pause_tsc : dbt_host_tsc();
}

void dbt_get_state(struct dbt_vcpu *v, struct x86_state *s)
{
        dbt_fpu_save(v);
        memset(s, 0, sizeof(*s));
        memcpy(s->gpr, v->gpr, sizeof(s->gpr));
        memcpy(s->seg, v->seg, sizeof(s->seg));
        memcpy(s->dr, v->dr, sizeof(s->dr));
        memcpy(s->msr, v->msr, sizeof(s->msr));
        memcpy(s->xsave, v->fpu.xsave, sizeof(s->xsave));
        s->rip = v->rip;
        s->rflags = v->rflags;
        s->ldtr = v->ldtr;
        s->tr = v->tr;
        s->gdtr = v->gdtr;
        s->idtr = v->idtr;
        s->cr0 = v->cr0;
        s->cr2 = v->cr2;
        s->cr3 = v->cr3;
        s->cr4 = v->cr4;
        s->efer = v->efer;
        s->xcr0 = v->xcr0;
        s->dr6 = v->dr6;
        s->dr7 = v->dr7;
        s->apic_base = lapic_base_msr(v->lapic);
        s->tsc = stopped_tsc(v) + (uint64_t)v->tsc_offset;
        s->msr[X86_MSR_TSC_DEADLINE] = lapic_tsc_deadline(v->lapic);
        s->mp_state = v->mp_state;
        s->nmi_pending = atomic_load(&v->nmi_pending);
        s->nmi_blocked = v->nmi_blocked;
        s->interrupt_shadow = v->interrupt_shadow;
        lapic_save(v->lapic, s->lapic);
}

static void set_registers(struct dbt_vcpu *v, const struct x86_state *s)
{
        memcpy(v->gpr, s->gpr, sizeof(s->gpr));
        memcpy(v->seg, s->seg, sizeof(s->seg));
        memcpy(v->dr, s->dr, sizeof(s->dr));
        memcpy(v->msr, s->msr, sizeof(s->msr));
        memcpy(v->fpu.xsave, s->xsave, sizeof(s->xsave));
        v->rip = s->rip;
        v->rflags = s->rflags | 2;
        v->ldtr = s->ldtr;
        v->tr = s->tr;
        v->gdtr = s->gdtr;
        v->idtr = s->idtr;
        v->cr0 = s->cr0;
        v->cr2 = s->cr2;
        v->cr3 = s->cr3;
        v->cr4 = s->cr4;
        v->efer = s->efer;
        v->xcr0 = (s->xcr0 & 7) | X86_XCR0_X87;
        v->dr6 = s->dr6;
        v->dr7 = s->dr7;
}

/* The counters of all vCPUs were read one after the other, or start at one value: within a second of vCPU 0's they mean the same moment
 * (as KVM has it), because a guest notices the smallest difference. */
static int64_t tsc_offset_for(const struct dbt_vcpu *v, uint64_t tsc)
{
        int64_t offset = (int64_t)(tsc - stopped_tsc(v)), second = (int64_t)v->vm->tsc_khz * 1000, first, diff;

        if (v->index == 0 || !v->vm->vcpus[0])
                return offset;
        first = v->vm->vcpus[0]->tsc_offset;
        diff = (int64_t)((uint64_t)offset - (uint64_t)first);
        return diff > -second && diff < second ? first : offset;
}

void dbt_set_state(struct dbt_vcpu *v, const struct x86_state *s)
{
        dbt_fpu_save(v);
        set_registers(v, s);
        v->tsc_offset = tsc_offset_for(v, s->tsc);
        if (v->index == 0)
                dbt_clock_mark(v->vm);
        v->mp_state = s->mp_state;
        v->nmi_blocked = s->nmi_blocked;
        v->interrupt_shadow = s->interrupt_shadow;
        atomic_store(&v->nmi_pending, s->nmi_pending);
        lapic_restore_base(v->lapic, s->apic_base);
        lapic_load(v->lapic, s->lapic);
        lapic_set_tsc_deadline(v->lapic, s->msr[X86_MSR_TSC_DEADLINE]);
        v->delivering = -1;
        dbt_debug_update(v);
        dbt_tlb_flush(v);
        dbt_mode_update(v);
        dbt_self_request(v, DBT_REQ_INTR | DBT_REQ_TIMER);
}
