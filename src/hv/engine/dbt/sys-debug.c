/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Debug registers and breakpoints (Intel SDM vol. 3, chapter 17). While one is enabled the run loop goes instruction by instruction, and pages
 * with data breakpoints stay out of the TLB's direct paths, so that all accesses come by dbt_debug_access. I/O breakpoints do not match. */

#include "hv/engine/dbt/sys.h"

enum { DR6_BS = 1 << 14, DR6_FIXED = (int)0xffff0ff0, DR7_GD = 1 << 13 };
enum { RW_EXECUTE, RW_WRITE, RW_IO, RW_ACCESS };

static unsigned breakpoint_rw(const struct dbt_vcpu *v, unsigned n)
{
        return v->dr7 >> (16 + 4 * n) & 3;
}

static unsigned breakpoint_length(const struct dbt_vcpu *v, unsigned n)
{
        static const uint8_t lengths[] = { 1, 2, 8, 4 };

        return lengths[v->dr7 >> (18 + 4 * n) & 3];
}

void dbt_debug_update(struct dbt_vcpu *v)
{
        bool watched = v->sys.watch;

        v->sys.breaks = v->sys.watch = 0;
        for (unsigned n = 0; n < 4; n++) {
                unsigned rw = breakpoint_rw(v, n);

                if (!(v->dr7 >> (2 * n) & 3))
                        continue;
                if (rw == RW_EXECUTE)
                        v->sys.breaks |= 1u << n;
                else if (rw != RW_IO)
                        v->sys.watch |= 1u << n;
        }
        if (watched || v->sys.watch)
                dbt_tlb_flush(v);
        if (v->sys.watch || v->sys.breaks)
                dbt_self_request(v, DBT_REQ_INTR); /* out of the run of blocks */
}

/* DR4 and DR5 are aliases unless CR4.DE is set. */
static unsigned debug_register(struct dbt_vcpu *v, unsigned dr)
{
        dbt_check_cpl0(v);
        if (dr == 4 || dr == 5) {
                if (v->cr4 & X86_CR4_DE)
                        dbt_raise_ud(v);
                dr += 2;
        }
        if (dr > 7)
                dbt_raise_ud(v);
        return dr;
}

uint64_t dbt_mov_from_dr(struct dbt_vcpu *v, unsigned dr)
{
        dr = debug_register(v, dr);
        return dr < 4 ? v->dr[dr] : dr == 6 ? v->dr6 : v->dr7;
}

void dbt_mov_to_dr(struct dbt_vcpu *v, unsigned dr, uint64_t value)
{
        dr = debug_register(v, dr);
        if (dr >= 4 && value >> 32)
                dbt_raise_gp0(v);
        if (dr < 4)
                v->dr[dr] = value;
        else if (dr == 6)
                v->dr6 = (value & 0xe00f) | (uint32_t)DR6_FIXED;
        else
                v->dr7 = (value & ~0xd800ULL) | 0x400;
        if (dr != 6)
                dbt_debug_update(v);
}

bool dbt_debug_watched(const struct dbt_vcpu *v, uint64_t page)
{
        for (unsigned n = 0; n < 4; n++)
                if ((v->sys.watch >> n & 1) && (v->dr[n] & DBT_PAGE_MASK) == page)
                        return true;
        return false;
}

void dbt_debug_access(struct dbt_vcpu *v, uint64_t lin, unsigned size, enum dbt_access access)
{
        for (unsigned n = 0; n < 4; n++) {
                unsigned length = breakpoint_length(v, n);
                uint64_t start = v->dr[n] & ~(uint64_t)(length - 1);

                if (!(v->sys.watch >> n & 1) || (access == DBT_READ && breakpoint_rw(v, n) != RW_ACCESS))
                        continue;
                if (lin < start + length && start < lin + size)
                        v->sys.hits |= 1u << n;
        }
}

void dbt_debug_before(struct dbt_vcpu *v)
{
        uint64_t rip = v->mode & DBT_MODE_CS64 ? v->rip : (uint32_t)(v->seg[X86_CS].base + v->rip);
        unsigned hits = 0;

        v->sys.hits = 0;
        for (unsigned n = 0; n < 4; n++)
                if ((v->sys.breaks >> n & 1) && v->dr[n] == rip)
                        hits |= 1u << n;
        if (v->rflags & X86_FLAG_RF) {
                v->rflags &= ~(uint64_t)X86_FLAG_RF; /* for one instruction */
        } else if (hits) {
                v->dr6 |= hits;
                dbt_raise(v, X86_DB);
        }
}

void dbt_debug_after(struct dbt_vcpu *v, bool single_step)
{
        if (!single_step && !v->sys.hits)
                return;
        v->dr6 |= v->sys.hits | (single_step ? (unsigned)DR6_BS : 0);
        v->sys.hits = 0;
        dbt_raise(v, X86_DB);
}
