/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What happens between instructions: interrupts, NMI, INIT, SIPI, HLT, reset. */

#include "hv/engine/dbt/sys.h"

void dbt_hlt(struct dbt_vcpu *v)
{
        dbt_check_cpl0(v);
        v->mp_state = X86_MP_HALTED;
        dbt_end_block(v);
}

/* --- Pending events ------------------------------------------------------------------------------------------ */

static bool extint_pending(const struct dbt_vcpu *v)
{
        return v->index == 0 && atomic_load(&v->vm->extint_level) && lapic_accepts_extint(v->lapic);
}

static bool nmi_due(struct dbt_vcpu *v)
{
        if (lapic_take_nmi(v->lapic))
                atomic_store(&v->nmi_pending, true);
        return atomic_load(&v->nmi_pending) && !v->nmi_blocked;
}

/* The vector of the 8259s' interrupt; -1 if it is gone. */
static int extint_ack(struct dbt_vcpu *v)
{
        const struct engine_config *c = &v->vm->config;
        int vector;

        dbt_fpu_save(v);
        dbt_leave_guest(v);
        vector = c->callbacks->extint_ack(c->opaque);
        dbt_enter_guest(v);
        return vector;
}

static void start_at(struct dbt_vcpu *v, uint8_t page)
{
        v->seg[X86_CS].selector = (uint16_t)(page << 8);
        v->seg[X86_CS].base = (uint64_t)page << 12;
        v->rip = 0;
        v->mp_state = X86_MP_RUNNABLE;
        dbt_mode_update(v);
}

static void take_init_or_sipi(struct dbt_vcpu *v)
{
        uint8_t page;

        if (lapic_take_init(v->lapic))
                dbt_vcpu_reset(v, true);
        /* A SIPI means something to a waiting processor only. */
        if (lapic_take_sipi(v->lapic, &page) && v->mp_state == X86_MP_WAIT_SIPI)
                start_at(v, page);
}

/* Delivers the most urgent maskable interrupt, if there is one. */
static bool deliver_maskable(struct dbt_vcpu *v)
{
        int vector = -1;

        if (extint_pending(v))
                vector = extint_ack(v);
        if (vector < 0)
                vector = lapic_ack(v->lapic);
        if (vector < 0)
                return true;
        v->intr_waiting = true; /* there may be more: look again when the handler lets interrupts in */
        return dbt_deliver_interrupt(v, (unsigned)vector);
}

bool dbt_poll_events(struct dbt_vcpu *v)
{
        atomic_fetch_and(&v->request, ~(uint32_t)(DBT_REQ_INTR | DBT_REQ_INIT));
        v->intr_waiting = false;
        if (unlikely(lapic_has_init_or_sipi(v->lapic)))
                take_init_or_sipi(v);
        if (v->mp_state == X86_MP_WAIT_SIPI)
                return true;
        /* One that comes before the HLT stays for it: the guest may have looked at its lock already. */
        if (unlikely(v->mp_state == X86_MP_HALTED) && atomic_exchange(&v->sys.pv_kick, false))
                v->mp_state = X86_MP_RUNNABLE;
        if (nmi_due(v) && !v->interrupt_shadow) {
                atomic_store(&v->nmi_pending, false);
                v->intr_waiting = true;
                return dbt_deliver_interrupt(v, X86_NMI);
        }
        if (v->interrupt_shadow || !(v->rflags & X86_FLAG_IF)) {
                v->intr_waiting = lapic_pending(v->lapic) >= 0 || extint_pending(v) || nmi_due(v);
                return true;
        }
        return deliver_maskable(v);
}

bool dbt_has_wakeup(struct dbt_vcpu *v)
{
        if (lapic_has_init_or_sipi(v->lapic))
                return true;
        if (v->mp_state == X86_MP_WAIT_SIPI)
                return false;
        if (nmi_due(v) || atomic_load(&v->sys.pv_kick))
                return true;
        return (v->rflags & X86_FLAG_IF) && (lapic_pending(v->lapic) >= 0 || extint_pending(v));
}

/* --- Reset --------------------------------------------------------------------------------------------------- */

static void copy_registers(struct dbt_vcpu *v, const struct x86_state *s)
{
        for (unsigned i = 0; i < X86_NGPRS; i++)
                v->gpr[i] = s->gpr[i];
        for (unsigned i = 0; i < X86_NSREGS; i++)
                v->seg[i] = s->seg[i];
        for (unsigned i = 0; i < 4; i++)
                v->dr[i] = s->dr[i];
        v->rip = s->rip;
        v->rflags = s->rflags;
        v->ldtr = s->ldtr;
        v->tr = s->tr;
        v->gdtr = s->gdtr;
        v->idtr = s->idtr;
        v->cr2 = s->cr2;
        v->cr3 = s->cr3;
        v->cr4 = s->cr4;
        v->efer = s->efer;
        v->dr6 = s->dr6;
        v->dr7 = s->dr7;
        v->mp_state = s->mp_state;
}

/* What INIT leaves alone. */
static void copy_rest(struct dbt_vcpu *v, const struct x86_state *s)
{
        v->cr0 = s->cr0;
        v->xcr0 = s->xcr0;
        v->zero = 0;
        for (unsigned i = 0; i < X86_NMSRS; i++)
                v->msr[i] = s->msr[i];
        for (unsigned i = 0; i < sizeof(v->fpu.xsave); i++)
                v->fpu.xsave[i] = s->xsave[i];
        v->sys = (struct dbt_sys){ .bios_sign = 0 };
        dbt_cpuid_apply(v);
        v->sys.mtrr_var[0] = 0xc0000000; /* uncached: 3 to 4 GiB */
        v->sys.mtrr_var[1] = (v->sys.phys_mask & ~0x3fffffffULL) | 0x800;
        dbt_tlb_init(v);
        if (v->index == 0)
                dbt_clock_init(v->vm);
}

void dbt_vcpu_reset(struct dbt_vcpu *v, bool init)
{
        struct cpuid_regs signature = cpuid_query(&v->cpuid, 1, 0);
        struct x86_state s;

        dbt_fpu_save(v); /* what follows may use vector registers */
        x86_state_reset(&s, v->index, v->index == 0);
        copy_registers(v, &s);
        v->gpr[X86_RDX] = signature.eax;
        if (init) {
                v->cr0 = (v->cr0 & (X86_CR0_CD | X86_CR0_NW)) | X86_CR0_ET;
                dbt_tlb_flush(v);
        } else {
                copy_rest(v, &s);
        }
        v->interrupt_shadow = v->nmi_blocked = v->intr_waiting = false;
        atomic_store(&v->nmi_pending, false);
        atomic_store(&v->sys.pv_kick, false);
        v->delivering = -1;
        dbt_debug_update(v);
        lapic_reset(v->lapic, v->index == 0, init);
        dbt_mode_update(v);
        dbt_end_block(v);
}
