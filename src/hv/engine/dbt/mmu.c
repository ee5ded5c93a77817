/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Guest memory access by linear address: the slow paths.
 *
 * Nothing here may use a vector register, so bytes are copied with rep movsb instead of memcpy. */

#include "hv/engine/dbt/check.h"
#include "hv/engine/dbt/insn.h"
#include "hv/engine/dbt/mmu.h"

/* --- Translation ------------------------------------------------------------------------------------------------- */

/* Where an access goes. */
struct xlat {
        uint64_t gpa;
        uint8_t *host; /* NULL: MMIO, or a write to ROM */
        struct dbt_slot *slot;
        bool code;     /* a write to a page with cached code: dbt_code_written() must follow */
};

static void copy_bytes(void *dst, const void *src, size_t n)
{
        __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

/* 48-bit canonical; without long mode every address is. */
static bool canonical(const struct dbt_vcpu *v, uint64_t lin)
{
        return !(v->efer & X86_EFER_LMA) || dbt_canonical(lin);
}

static bool tlb_hit(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu, struct xlat *x)
{
        unsigned n = dbt_tlb_index(lin);

        if (!dbt_tlb_allows(v, lin, access, mmu))
                return false;
        *x = (struct xlat){ .gpa = v->tlb_info[mmu][n].gpa | (lin & ~DBT_PAGE_MASK), .host = (uint8_t *)(lin + v->tlb[mmu][n].addend) };
        return true;
}

static _Noreturn void raise_not_canonical(struct dbt_vcpu *v, enum dbt_access access)
{
        bool stack = access != DBT_EXEC && (v->mode & DBT_MODE_CS64) && dbt_canonical(v->rip) && dbt_uses_stack(v);

        dbt_raise_error(v, stack ? X86_SSF : X86_GP, 0);
}

/* Translates an access that stays in one page; raises #PF or #GP. */
static void translate(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu, struct xlat *x)
{
        struct dbt_page page;
        uint32_t error;

        if (tlb_hit(v, lin, access, mmu, x))
                return;
        if (unlikely(!canonical(v, lin)))
                raise_not_canonical(v, access);
        if (!dbt_tlb_page(v, lin, access, mmu, false, &page, &error))
                dbt_raise_pf(v, lin, error);
        *x = (struct xlat){ .gpa = page.gpa | (lin & ~DBT_PAGE_MASK), .slot = dbt_slot_find(v->vm, page.gpa) };
        if (!x->slot || dbt_lapic_page(v, page.gpa)) {
                x->slot = NULL;
                return;
        }
        if (access == DBT_WRITE && !x->slot->readonly) {
                dbt_slot_mark_dirty(x->slot, page.gpa);
                x->code = dbt_code_page_test(v->vm, page.gpa);
                if (x->code)
                        check_once(v);
        }
        dbt_tlb_fill(v, &page, x->slot, lin, mmu);
        if (access != DBT_WRITE || !x->slot->readonly)
                x->host = dbt_slot_host(x->slot, x->gpa);
}

/* --- MMIO ---------------------------------------------------------------------------------------------------- */

bool dbt_lapic_page(const struct dbt_vcpu *v, uint64_t gpa)
{
        uint64_t base = lapic_base_msr(v->lapic);

        /* enabled, and not in x2APIC mode */
        return (base & 0xc00) == 0x800 && ((base ^ gpa) & DBT_PAGE_MASK & v->sys.phys_mask) == 0;
}

static uint64_t lapic_read(struct dbt_vcpu *v, uint64_t gpa, unsigned size)
{
        unsigned off = gpa & 0xfff;
        uint32_t value = lapic_mmio_read(v->lapic, off & ~3u);

        return size == 4 ? value : value >> (off & 3) * 8;
}

static uint64_t mmio_read(struct dbt_vcpu *v, uint64_t gpa, unsigned size)
{
        const struct engine_config *c = &v->vm->config;
        uint64_t value;

        check_once(v);
        dbt_fpu_save(v);
        if (dbt_lapic_page(v, gpa))
                return lapic_read(v, gpa, size);
        dbt_leave_guest(v);
        value = c->callbacks->mmio_read(c->opaque, gpa, size);
        dbt_enter_guest(v);
        return value;
}

static void mmio_write(struct dbt_vcpu *v, uint64_t gpa, uint64_t value, unsigned size)
{
        const struct engine_config *c = &v->vm->config;

        check_once(v);
        dbt_fpu_save(v);
        if (dbt_lapic_page(v, gpa)) {
                if (size == 4 && !(gpa & 3)) /* others are undefined and do nothing here */
                        lapic_mmio_write(v->lapic, gpa & 0xfff, (uint32_t)value);
                dbt_end_block(v);
                return;
        }
        dbt_leave_guest(v);
        c->callbacks->mmio_write(c->opaque, gpa, size, value);
        dbt_enter_guest(v);
}

/* The largest naturally aligned access at gpa of at most n bytes. */
static unsigned mmio_chunk(uint64_t gpa, unsigned n)
{
        unsigned size = 8;

        while (size > n || (gpa & (size - 1)))
                size /= 2;
        return size;
}

static void mmio_read_bytes(struct dbt_vcpu *v, uint64_t gpa, uint8_t *buf, unsigned n)
{
        while (n) {
                unsigned size = mmio_chunk(gpa, n);
                uint64_t value = mmio_read(v, gpa, size);

                copy_bytes(buf, &value, size);
                gpa += size;
                buf += size;
                n -= size;
        }
}

static void mmio_write_bytes(struct dbt_vcpu *v, uint64_t gpa, const uint8_t *buf, unsigned n)
{
        while (n) {
                unsigned size = mmio_chunk(gpa, n);
                uint64_t value = 0;

                copy_bytes(&value, buf, size);
                mmio_write(v, gpa, value, size);
                gpa += size;
                buf += size;
                n -= size;
        }
}

/* --- Accesses ------------------------------------------------------------------------------------------------ */

/* Bytes of [lin, lin+n) that lie in lin's page. */
static unsigned in_page(uint64_t lin, unsigned n)
{
        uint64_t room = DBT_PAGE_SIZE - (lin & ~DBT_PAGE_MASK);

        return n < room ? n : (unsigned)room;
}

/* lin + n, wrapping at 4 GiB outside of 64-bit mode (tables may lie higher in compatibility mode). */
static uint64_t advance(const struct dbt_vcpu *v, uint64_t lin, unsigned n)
{
        uint64_t next = lin + n;

        return !(v->mode & DBT_MODE_CS64) && lin <= UINT32_MAX ? (uint32_t)next : next;
}

void dbt_probe(struct dbt_vcpu *v, uint64_t lin, unsigned n, enum dbt_access access, unsigned mmu)
{
        struct xlat x;

        while (n) {
                unsigned part = in_page(lin, n);

                translate(v, lin, access, mmu, &x);
                lin = advance(v, lin, part);
                n -= part;
        }
}

/* translate() for an access of n bytes in one page, which meets data breakpoints. */
static void translate_access(struct dbt_vcpu *v, uint64_t lin, unsigned n, enum dbt_access access, unsigned mmu,
        struct xlat *x)
{
        translate(v, lin, access, mmu, x);
        if (access == DBT_WRITE)
                check_write(v, lin, x->host, n, mmu);
        if (unlikely(v->sys.watch))
                dbt_debug_access(v, lin, n, access);
}

static void read_part(struct dbt_vcpu *v, uint64_t lin, uint8_t *buf, unsigned n, unsigned mmu)
{
        struct xlat x;

        translate_access(v, lin, n, DBT_READ, mmu, &x);
        if (x.host)
                copy_bytes(buf, x.host, n);
        else
                mmio_read_bytes(v, x.gpa, buf, n);
}

void dbt_read_bytes(struct dbt_vcpu *v, uint64_t lin, void *buf, unsigned n, unsigned mmu)
{
        uint8_t *to = buf;

        dbt_probe(v, lin, n, DBT_READ, mmu);
        while (n) {
                unsigned part = in_page(lin, n);

                read_part(v, lin, to, part, mmu);
                lin = advance(v, lin, part);
                to += part;
                n -= part;
        }
}

static void write_part(struct dbt_vcpu *v, uint64_t lin, const uint8_t *buf, unsigned n, unsigned mmu)
{
        struct xlat x;

        translate_access(v, lin, n, DBT_WRITE, mmu, &x);
        if (!x.host) {
                mmio_write_bytes(v, x.gpa, buf, n);
                return;
        }
        copy_bytes(x.host, buf, n);
        if (x.code)
                dbt_code_written(v, x.gpa, n);
}

void dbt_write_bytes(struct dbt_vcpu *v, uint64_t lin, const void *buf, unsigned n, unsigned mmu)
{
        const uint8_t *from = buf;

        dbt_probe(v, lin, n, DBT_WRITE, mmu);
        while (n) {
                unsigned part = in_page(lin, n);

                write_part(v, lin, from, part, mmu);
                lin = advance(v, lin, part);
                from += part;
                n -= part;
        }
}

/* One host access, so that it is atomic where the guest's would be. */
static uint64_t host_load(const uint8_t *p, unsigned size)
{
        switch (size) {
        case 1:
                return *(const volatile dbt_guest8 *)p;
        case 2:
                return *(const volatile dbt_guest16 *)p;
        case 4:
                return *(const volatile dbt_guest32 *)p;
        default:
                return *(const volatile dbt_guest64 *)p;
        }
}

static void host_store(uint8_t *p, uint64_t value, unsigned size)
{
        switch (size) {
        case 1:
                *(volatile dbt_guest8 *)p = (uint8_t)value;
                break;
        case 2:
                *(volatile dbt_guest16 *)p = (uint16_t)value;
                break;
        case 4:
                *(volatile dbt_guest32 *)p = (uint32_t)value;
                break;
        default:
                *(volatile dbt_guest64 *)p = value;
        }
}

uint64_t dbt_load_slow(struct dbt_vcpu *v, uint64_t lin, unsigned size, unsigned mmu)
{
        uint64_t value = 0;
        struct xlat x;

        if (in_page(lin, size) != size) {
                dbt_read_bytes(v, lin, &value, size, mmu);
                return value;
        }
        translate_access(v, lin, size, DBT_READ, mmu, &x);
        return x.host ? host_load(x.host, size) : mmio_read(v, x.gpa, size);
}

void dbt_store_slow(struct dbt_vcpu *v, uint64_t lin, uint64_t value, unsigned size, unsigned mmu)
{
        struct xlat x;

        if (in_page(lin, size) != size) {
                dbt_write_bytes(v, lin, &value, size, mmu);
                return;
        }
        translate_access(v, lin, size, DBT_WRITE, mmu, &x);
        if (!x.host) {
                mmio_write(v, x.gpa, value, size);
                return;
        }
        host_store(x.host, value, size);
        if (x.code)
                dbt_code_written(v, x.gpa, size);
}

void *dbt_host_ptr(struct dbt_vcpu *v, uint64_t lin, unsigned n, enum dbt_access access, unsigned mmu)
{
        struct xlat x;

        if (in_page(lin, n) != n) {
                dbt_probe(v, lin, n, access, mmu);
                return NULL;
        }
        translate_access(v, lin, n, access, mmu, &x);
        return x.code ? NULL : x.host;
}

const uint8_t *dbt_fetch_ptr(struct dbt_vcpu *v, uint64_t lin, uint64_t *ret_gpa)
{
        struct xlat x;

        translate(v, lin, DBT_EXEC, v->cpl == 3 ? DBT_MMU_USER : v->mmu, &x);
        *ret_gpa = x.gpa;
        return x.host;
}

bool dbt_guest_phys(struct dbt_vcpu *v, uint64_t gpa, unsigned n, void **ret)
{
        struct dbt_slot *slot = dbt_slot_find(v->vm, gpa);

        if (!slot || slot->readonly || slot->size - (gpa - slot->gpa) < n)
                return false;
        dbt_slot_mark_dirty(slot, gpa);
        dbt_slot_mark_dirty(slot, gpa + n - 1);
        *ret = dbt_slot_host(slot, gpa);
        return true;
}
