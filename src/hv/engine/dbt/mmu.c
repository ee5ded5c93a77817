/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Software TLB, page walks and guest memory access by linear address (Intel SDM vol. 3, chapter 4).
 *
 * Nothing here may use a vector register, so bytes are copied with rep movsb instead of memcpy. */

#include "hv/engine/dbt/insn.h"
#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/vm.h"

enum {
        PTE_P = 1 << 0,
        PTE_W = 1 << 1,
        PTE_U = 1 << 2,
        PTE_A = 1 << 5,
        PTE_D = 1 << 6,
        PTE_PS = 1 << 7,
        PTE_G = 1 << 8,
};
#define PTE_NX (1ULL << 63)

enum {
        PF_P = 1 << 0,
        PF_W = 1 << 1,
        PF_U = 1 << 2,
        PF_RSVD = 1 << 3,
        PF_I = 1 << 4,
};

/* One paging-structure entry on the way. */
struct walk_step {
        uint8_t *host; /* NULL: not in RAM */
        struct dbt_slot *slot;
        uint64_t gpa, pte;
};

struct walk {
        struct walk_step step[4];
        unsigned n;
        unsigned entry_size; /* 4 or 8 */
        uint64_t gpa;        /* of the 4K page */
        uint8_t shift;       /* of the page that maps it */
        bool write, user, nx, global, dirty;
        uint32_t error; /* PF_* if !ok */
        bool ok;
};

/* --- Page walks ---------------------------------------------------------------------------------------------- */

static void copy_bytes(void *dst, const void *src, size_t n)
{
        __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

static uint8_t *slot_host(const struct dbt_slot *slot, uint64_t gpa)
{
        return slot->host + (gpa - slot->gpa);
}

static void mark_dirty(struct dbt_slot *slot, uint64_t gpa)
{
        uint64_t page = (gpa - slot->gpa) >> DBT_PAGE_SHIFT;

        if (slot->dirty_pages)
                atomic_fetch_or_explicit(&slot->dirty_pages[page / 64], 1ULL << (page % 64), memory_order_relaxed);
}

static bool is_dirty(const struct dbt_slot *slot, uint64_t gpa)
{
        uint64_t page = (gpa - slot->gpa) >> DBT_PAGE_SHIFT;

        return !slot->dirty_pages ||
                (atomic_load_explicit(&slot->dirty_pages[page / 64], memory_order_relaxed) >> (page % 64) & 1);
}

/* Reads the entry at gpa as the next step; what lies outside of RAM reads as not present. */
static uint64_t read_entry(struct dbt_vcpu *v, struct walk *w, uint64_t gpa)
{
        struct walk_step *s = &w->step[w->n++];

        s->gpa = gpa;
        s->slot = dbt_slot_find(v->vm, gpa);
        s->host = s->slot ? slot_host(s->slot, gpa) : NULL;
        s->pte = 0;
        if (s->host)
                s->pte = w->entry_size == 8 ? *(volatile uint64_t *)s->host : *(volatile uint32_t *)s->host;
        return s->pte;
}

/* Folds one entry's rights into w; false with w->error set if the walk ends here. leaf_shift: 0, or the size of the page
 * that the entry maps. */
static bool apply_entry(struct walk *w, uint64_t pte, uint64_t reserved, unsigned leaf_shift)
{
        if (!(pte & PTE_P)) {
                w->error = 0;
                return false;
        }
        if (pte & reserved) {
                w->error = PF_P | PF_RSVD;
                return false;
        }
        w->write &= !!(pte & PTE_W);
        w->user &= !!(pte & PTE_U);
        w->nx |= !!(pte & PTE_NX);
        if (leaf_shift) {
                w->shift = (uint8_t)leaf_shift;
                w->global = pte & PTE_G;
                w->dirty = pte & PTE_D;
                w->ok = true;
        }
        return true;
}

/* The 8-byte entries of levels top..1, 9 address bits each, from the table at base. common: reserved in every entry. */
static void walk_levels(struct dbt_vcpu *v, struct walk *w, uint64_t lin, uint64_t base, unsigned top, uint64_t common)
{
        for (unsigned level = top; level >= 1; level--) {
                unsigned shift = 12 + 9 * (level - 1);
                uint64_t pte = read_entry(v, w, base + (lin >> shift & 0x1ff) * 8);
                bool leaf = level == 1 || ((pte & PTE_PS) && level <= 3);
                uint64_t size = 1ULL << shift, reserved = common;

                if (level == 4)
                        reserved |= PTE_PS;
                if (leaf && level > 1)
                        reserved |= (size - 1) & ~0x1fffULL; /* bit 12 is PAT */
                if (!apply_entry(w, pte, reserved, leaf ? shift : 0))
                        return;
                base = pte & v->sys.phys_mask & DBT_PAGE_MASK;
                if (leaf) {
                        w->gpa = ((base & ~(size - 1)) | (lin & (size - 1))) & DBT_PAGE_MASK;
                        return;
                }
        }
}

static uint64_t reserved_bits(const struct dbt_vcpu *v)
{
        uint64_t reserved = ~v->sys.phys_mask & 0x000fffffffffffffULL;

        return v->efer & X86_EFER_NXE ? reserved : reserved | PTE_NX;
}

static void walk_pae(struct dbt_vcpu *v, struct walk *w, uint64_t lin)
{
        uint64_t pdpte = read_entry(v, w, (v->cr3 & 0xffffffe0) + (lin >> 30 & 3) * 8);

        w->n = 0; /* it has no accessed bit */
        if (!(pdpte & PTE_P)) {
                w->error = 0;
                return;
        }
        walk_levels(v, w, lin, pdpte & v->sys.phys_mask & DBT_PAGE_MASK, 2, reserved_bits(v) | 0x7ff0000000000000ULL);
}

static void walk_32(struct dbt_vcpu *v, struct walk *w, uint64_t lin)
{
        uint32_t pte;

        w->entry_size = 4;
        pte = (uint32_t)read_entry(v, w, (v->cr3 & 0xfffff000) + (lin >> 22 & 0x3ff) * 4);
        if ((pte & PTE_PS) && (v->cr4 & X86_CR4_PSE)) {
                uint64_t base = (pte & 0xffc00000) | (uint64_t)(pte & 0x1fe000) << 19;

                w->gpa = (base & v->sys.phys_mask) | (lin & 0x3ff000);
                apply_entry(w, pte, 1 << 21, 22);
                return;
        }
        if (!apply_entry(w, pte, 0, 0))
                return;
        pte = (uint32_t)read_entry(v, w, (pte & 0xfffff000) + (lin >> 12 & 0x3ff) * 4);
        w->gpa = pte & 0xfffff000;
        apply_entry(w, pte, 0, 12);
}

static void walk_tables(struct dbt_vcpu *v, struct walk *w, uint64_t lin)
{
        *w = (struct walk){ .n = 0, .entry_size = 8, .write = true, .user = true };
        if (!(v->cr0 & X86_CR0_PG)) {
                w->ok = w->dirty = w->global = true;
                w->shift = 12;
                w->gpa = lin & DBT_PAGE_MASK & v->sys.phys_mask;
        } else if (v->efer & X86_EFER_LMA)
                walk_levels(v, w, lin, v->cr3 & v->sys.phys_mask & DBT_PAGE_MASK, 4, reserved_bits(v));
        else if (v->cr4 & X86_CR4_PAE)
                walk_pae(v, w, lin);
        else
                walk_32(v, w, lin);
}

static bool allowed(const struct dbt_vcpu *v, const struct walk *w, enum dbt_access access, unsigned mmu)
{
        if (!(v->cr0 & X86_CR0_PG))
                return true;
        if (mmu == DBT_MMU_USER && !w->user)
                return false;
        switch (access) {
        case DBT_EXEC:
                return !w->nx && (mmu == DBT_MMU_USER || !w->user || !(v->cr4 & X86_CR4_SMEP));
        case DBT_WRITE:
                if (!w->write && (mmu == DBT_MMU_USER || (v->cr0 & X86_CR0_WP)))
                        return false;
                break;
        case DBT_READ:
                break;
        }
        return mmu != DBT_MMU_KERNEL_SMAP || !w->user;
}

/* Sets the accessed bits, and the leaf's dirty bit for a write. False: an entry changed meanwhile, walk again. */
static bool set_accessed(struct dbt_vcpu *v, struct walk *w, bool write)
{
        for (unsigned i = 0; i < w->n; i++) {
                struct walk_step *s = &w->step[i];
                uint64_t want = s->pte | PTE_A | (write && i == w->n - 1 ? PTE_D : 0);
                bool done;

                if (want == s->pte || !s->host || s->slot->readonly)
                        continue;
                if (w->entry_size == 8) {
                        done = __sync_bool_compare_and_swap((uint64_t *)s->host, s->pte, want);
                } else {
                        done = __sync_bool_compare_and_swap((uint32_t *)s->host, (uint32_t)s->pte, (uint32_t)want);
                }
                if (!done)
                        return false;
                mark_dirty(s->slot, s->gpa);
                if (dbt_code_page_test(v->vm, s->gpa & DBT_PAGE_MASK))
                        dbt_code_written(v, s->gpa, w->entry_size);
        }
        w->dirty |= write;
        return true;
}

static uint32_t access_error(const struct dbt_vcpu *v, enum dbt_access access, unsigned mmu)
{
        bool nx = (v->cr4 & X86_CR4_SMEP) || ((v->cr4 & X86_CR4_PAE) && (v->efer & X86_EFER_NXE));

        return (access == DBT_WRITE ? PF_W : 0) | (mmu == DBT_MMU_USER ? PF_U : 0) |
                (access == DBT_EXEC && nx ? PF_I : 0);
}

/* 48-bit canonical; without long mode every address is. */
static bool canonical(const struct dbt_vcpu *v, uint64_t lin)
{
        return !(v->efer & X86_EFER_LMA) || dbt_canonical(lin);
}

/* Walks for one access and updates A and D. False: *error has the #PF error code. */
static bool walk(struct dbt_vcpu *v, struct walk *w, uint64_t lin, enum dbt_access access, unsigned mmu)
{
        do {
                walk_tables(v, w, lin);
                if (w->ok && !allowed(v, w, access, mmu)) {
                        w->ok = false;
                        w->error = PF_P;
                }
                if (!w->ok) {
                        w->error |= access_error(v, access, mmu);
                        return false;
                }
        } while (!set_accessed(v, w, access == DBT_WRITE));
        return true;
}

/* --- The TLB ------------------------------------------------------------------------------------------------- */

/* Where an access goes. */
struct xlat {
        uint64_t gpa;
        uint8_t *host; /* NULL: MMIO, or a write to ROM */
        struct dbt_slot *slot;
        bool code;     /* a write to a page with cached code: dbt_code_written() must follow */
};

static unsigned large_bit(uint64_t lin, unsigned shift)
{
        return (unsigned)((lin >> shift) & 63);
}

static void note_entry(struct dbt_vcpu *v, unsigned mmu, uint64_t lin, unsigned shift)
{
        unsigned i = dbt_tlb_index(lin);

        v->tlb_used[mmu][i / 64] |= 1ULL << (i % 64);
        if (shift == 30)
                v->tlb_large[1] |= 1ULL << large_bit(lin, 30);
        else if (shift > 12)
                v->tlb_large[0] |= 1ULL << large_bit(lin, 22);
}

/* May later writes through the entry go straight to memory? */
static bool direct_write(const struct dbt_vcpu *v, const struct walk *w, const struct dbt_slot *slot)
{
        return w->dirty && !slot->readonly && is_dirty(slot, w->gpa) && !dbt_code_page_test(v->vm, w->gpa);
}

/* For a forbidden access: in the hole between canonical addresses, and in the page number's lowest bit different from all that use
 * this slot. */
static uint64_t no_match(unsigned slot)
{
        return 1ULL << 63 | (uint64_t)(~slot & 1) << DBT_PAGE_SHIFT;
}

static void fill(struct dbt_vcpu *v, const struct walk *w, const struct xlat *x, uint64_t lin, unsigned mmu)
{
        unsigned slot = dbt_tlb_index(lin);
        struct dbt_tlb_entry *e = &v->tlb[mmu][slot];
        struct dbt_tlb_info *info = &v->tlb_info[mmu][slot];
        uint64_t page = lin & DBT_PAGE_MASK, none = no_match(slot);

        info->gpa = w->gpa;
        info->global = w->global && ((v->cr4 & X86_CR4_PGE) || !(v->cr0 & X86_CR0_PG));
        info->shift = w->shift;
        e->addend = (uintptr_t)slot_host(x->slot, w->gpa) - page;
        e->match_read = allowed(v, w, DBT_READ, mmu) ? page : none;
        e->match_exec = allowed(v, w, DBT_EXEC, mmu) ? page : none;
        e->match_write = allowed(v, w, DBT_WRITE, mmu) && direct_write(v, w, x->slot) ? page : none;
        if (unlikely(v->sys.watch) && dbt_debug_watched(v, page))
                e->match_read = e->match_write = none;
        note_entry(v, mmu, lin, w->shift);
}

static bool tlb_hit(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu, struct xlat *x)
{
        unsigned slot = dbt_tlb_index(lin);
        const struct dbt_tlb_entry *e = &v->tlb[mmu][slot];
        uint64_t match = access == DBT_READ ? e->match_read : access == DBT_WRITE ? e->match_write : e->match_exec;

        if (match != (lin & DBT_PAGE_MASK))
                return false;
        *x = (struct xlat){ .gpa = v->tlb_info[mmu][slot].gpa | (lin & ~DBT_PAGE_MASK), .host = (uint8_t *)(lin + e->addend) };
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
        struct walk w;

        if (tlb_hit(v, lin, access, mmu, x))
                return;
        if (unlikely(!canonical(v, lin)))
                raise_not_canonical(v, access);
        if (!walk(v, &w, lin, access, mmu))
                dbt_raise_pf(v, lin, w.error);
        *x = (struct xlat){ .gpa = w.gpa | (lin & ~DBT_PAGE_MASK), .slot = dbt_slot_find(v->vm, w.gpa) };
        if (!x->slot || dbt_lapic_page(v, w.gpa)) {
                x->slot = NULL;
                return;
        }
        if (access == DBT_WRITE && !x->slot->readonly) {
                mark_dirty(x->slot, w.gpa);
                x->code = dbt_code_page_test(v->vm, w.gpa);
        }
        fill(v, &w, x, lin, mmu);
        if (access != DBT_WRITE || !x->slot->readonly)
                x->host = slot_host(x->slot, x->gpa);
}

bool dbt_tlb_refill(struct dbt_vcpu *v, uint64_t lin, unsigned mmu, bool write)
{
        enum dbt_access access = write ? DBT_WRITE : DBT_READ;
        const struct dbt_tlb_entry *e = dbt_tlb_slot(v, mmu, lin);
        struct xlat x = { .gpa = 0 };
        struct walk w;

        if (!canonical(v, lin) || !walk(v, &w, lin, access, mmu))
                return false;
        x.slot = dbt_slot_find(v->vm, w.gpa);
        if (!x.slot || dbt_lapic_page(v, w.gpa))
                return false;
        if (write && !x.slot->readonly)
                mark_dirty(x.slot, w.gpa);
        fill(v, &w, &x, lin, mmu);
        return ((write ? e->match_write : e->match_read) ^ lin) < DBT_PAGE_SIZE;
}

static void entry_clear(struct dbt_vcpu *v, unsigned mmu, unsigned slot)
{
        struct dbt_tlb_entry *e = &v->tlb[mmu][slot];

        e->match_read = e->match_write = e->match_exec = no_match(slot);
        v->tlb_info[mmu][slot].gpa = ~0ULL;
}

typedef bool (*entry_filter)(const struct dbt_tlb_entry *e, const struct dbt_tlb_info *info, uint64_t arg);

/* Clears the used entries of all views for which drop says so. */
static void flush_matching(struct dbt_vcpu *v, entry_filter drop, uint64_t arg)
{
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++) {
                for (unsigned word = 0; word < DBT_TLB_SIZE / 64; word++) {
                        uint64_t left = v->tlb_used[mmu][word];

                        while (left) {
                                unsigned bit = (unsigned)__builtin_ctzll(left);
                                unsigned slot = word * 64 + bit;

                                left &= left - 1;
                                if (!drop(&v->tlb[mmu][slot], &v->tlb_info[mmu][slot], arg))
                                        continue;
                                entry_clear(v, mmu, slot);
                                v->tlb_used[mmu][word] &= ~(1ULL << bit);
                        }
                }
        }
}

static bool drop_all(const struct dbt_tlb_entry *e, const struct dbt_tlb_info *info, uint64_t arg)
{
        return true;
}

static bool drop_nonglobal(const struct dbt_tlb_entry *e, const struct dbt_tlb_info *info, uint64_t arg)
{
        return !info->global;
}

/* The entry belongs to the guest page (of its size) that arg lies in. */
static bool drop_containing(const struct dbt_tlb_entry *e, const struct dbt_tlb_info *info, uint64_t lin)
{
        return (e->match_read ^ lin) >> info->shift == 0 || (e->match_exec ^ lin) >> info->shift == 0 ||
                (e->match_write ^ lin) >> info->shift == 0;
}

void dbt_tlb_init(struct dbt_vcpu *v)
{
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++) {
                for (unsigned i = 0; i < DBT_TLB_SIZE; i++)
                        entry_clear(v, mmu, i);
                for (unsigned i = 0; i < DBT_TLB_SIZE / 64; i++)
                        v->tlb_used[mmu][i] = 0;
        }
        v->tlb_large[0] = v->tlb_large[1] = 0;
}

void dbt_tlb_flush(struct dbt_vcpu *v)
{
        dbt_tr_forget_sites(v, true);
        flush_matching(v, drop_all, 0);
        v->tlb_large[0] = v->tlb_large[1] = 0;
}

void dbt_tlb_flush_nonglobal(struct dbt_vcpu *v)
{
        dbt_tr_forget_sites(v, false);
        flush_matching(v, drop_nonglobal, 0);
}

void dbt_tlb_flush_page(struct dbt_vcpu *v, uint64_t lin)
{
        if ((v->tlb_large[0] >> large_bit(lin, 22) & 1) || (v->tlb_large[1] >> large_bit(lin, 30) & 1)) {
                dbt_tr_forget_sites(v, true);
                flush_matching(v, drop_containing, lin);
                return;
        }
        dbt_tr_forget_page(v, lin);
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++)
                entry_clear(v, mmu, dbt_tlb_index(lin));
}

bool dbt_tlb_protect_code(struct dbt_vcpu *v, uint64_t gpa_page)
{
        struct dbt_slot *slot = dbt_slot_find(v->vm, gpa_page);
        bool found = false;

        if (slot)
                dbt_tr_forget_host(v, slot_host(slot, gpa_page));
        for (unsigned mmu = 0; mmu < DBT_NMMUS; mmu++) {
                for (unsigned i = 0; i < DBT_TLB_SIZE; i++) {
                        struct dbt_tlb_entry *e = &v->tlb[mmu][i];

                        if (v->tlb_info[mmu][i].gpa != gpa_page || e->match_write == no_match(i))
                                continue;
                        /* An entry that allows nothing else is as good as none. */
                        e->match_write = no_match(i);
                        found = true;
                }
        }
        return found;
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

        dbt_fpu_save(v);
        if (dbt_lapic_page(v, gpa)) {
                if (size == 4 && !(gpa & 3)) /* others are undefined and do nothing here */
                        lapic_mmio_write(v->lapic, gpa & 0xfff, (uint32_t)value);
                atomic_fetch_or(&v->request, DBT_REQ_INTR | DBT_REQ_TIMER);
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
        mark_dirty(slot, gpa);
        mark_dirty(slot, gpa + n - 1);
        *ret = slot_host(slot, gpa);
        return true;
}
