/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Port I/O: permission (Intel SDM vol. 1, 19.5) and the machine's callbacks. */

#include "hv/engine/dbt/sys.h"

enum { TSS_IO_BASE = 102 };

/* Is every port of the access cleared in the TSS's permission bitmap? */
static bool bitmap_allows(struct dbt_vcpu *v, uint16_t port, unsigned size)
{
        const struct x86_segment *tr = &v->tr;
        unsigned type = seg_type(tr), mmu = dbt_system_mmu(v), base, bits;

        if ((tr->attr & X86_SEG_UNUSABLE) || type != DESC_TSS32_BUSY || tr->limit < TSS_IO_BASE + 1)
                return false;
        base = dbt_load16(v, tr->base + TSS_IO_BASE, mmu) + port / 8u;
        if (base + 1 > tr->limit)
                return false;
        bits = dbt_load16(v, tr->base + base, mmu);
        return !(bits >> (port & 7) & ((1u << size) - 1));
}

void dbt_io_check(struct dbt_vcpu *v, uint16_t port, unsigned size)
{
        bool restricted = (v->cr0 & X86_CR0_PE) &&
                ((v->rflags & X86_FLAG_VM) || v->cpl > (v->rflags >> 12 & 3));

        if (restricted && !bitmap_allows(v, port, size))
                dbt_raise_gp0(v);
}

uint64_t dbt_io_in(struct dbt_vcpu *v, uint16_t port, unsigned size)
{
        const struct engine_config *c = &v->vm->config;
        uint64_t value;

        dbt_io_check(v, port, size);
        dbt_fpu_save(v);
        dbt_leave_guest(v);
        value = c->callbacks->pio_read(c->opaque, port, size);
        dbt_enter_guest(v);
        return value;
}

void dbt_io_out(struct dbt_vcpu *v, uint16_t port, unsigned size, uint64_t value)
{
        const struct engine_config *c = &v->vm->config;

        dbt_io_check(v, port, size);
        dbt_fpu_save(v);
        dbt_leave_guest(v);
        c->callbacks->pio_write(c->opaque, port, size, value);
        dbt_enter_guest(v);
}
