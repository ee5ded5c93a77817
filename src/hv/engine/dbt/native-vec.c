/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Vector instructions that touch only some elements of memory: gathers and masked moves. What a mask leaves out must not
 * fault. The vector registers are read and changed in the XSAVE image. */

#include "hv/engine/dbt/native.h"

#define XSAVE_XMM 160
#define XSAVE_YMM_HIGH 576
#define XSAVE_BV 512

/* Byte of vector register reg in the image. */
static uint8_t *vector_byte(struct dbt_vcpu *v, unsigned reg, unsigned byte)
{
        unsigned offset = byte < 16 ? XSAVE_XMM + 16 * reg + byte : XSAVE_YMM_HIGH + 16 * reg + byte - 16;

        return v->fpu.xsave + offset;
}

/* An element never crosses the halves of a register. */
static uint64_t get_element(struct dbt_vcpu *v, unsigned reg, unsigned index, unsigned size)
{
        const uint8_t *p = vector_byte(v, reg, index * size);

        return size == 8 ? *(const uint64_t *)p : *(const uint32_t *)p;
}

static void set_element(struct dbt_vcpu *v, unsigned reg, unsigned index, unsigned size, uint64_t value)
{
        uint8_t *p = vector_byte(v, reg, index * size);

        if (size == 8)
                *(uint64_t *)p = value;
        else
                *(uint32_t *)p = (uint32_t)value;
}

static bool is_selected(struct dbt_vcpu *v, const struct native_stub *s, unsigned index)
{
        return get_element(v, s->vec_mask, index, s->elem_size) >> (8 * s->elem_size - 1) & 1;
}

static void clear_from(struct dbt_vcpu *v, unsigned reg, unsigned byte)
{
        for (; byte < 32; byte += 4)
                *(uint32_t *)vector_byte(v, reg, byte) = 0;
}

static uint64_t load_element(struct dbt_vcpu *v, uint64_t lin, unsigned size)
{
        return size == 8 ? dbt_load64(v, lin, v->mmu) : dbt_load32(v, lin, v->mmu);
}

/* --- vmaskmov, vpmaskmov --------------------------------------------------------------------------------------- */

/* The operand's host address if a look at the TLB gives it; never faults. */
static void *cached_pointer(struct dbt_vcpu *v, const struct native_stub *s, uint64_t lin)
{
        struct dbt_tlb_entry *e = dbt_tlb_slot(v, v->mmu, lin);
        uint64_t match = s->access & NATIVE_WRITE ? e->match_write : e->match_read;

        return (lin ^ match) <= DBT_PAGE_SIZE - s->mem_size ? (void *)(lin + e->addend) : NULL;
}

/* Of the byte at the operand's beginning + k. Segments are checked per element. */
static uint64_t element_linear(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned k, unsigned size, enum dbt_access access)
{
        uint64_t offset = dbt_mem_offset(v, i) + k;

        if (i->mem.fast)
                return dbt_mem_linear(v, i, size, access) + k;
        if (i->mem.addr_size == 4)
                offset = (uint32_t)offset;
        return dbt_seg_linear(v, (enum x86_sreg)i->mem.seg, offset, size, access);
}

/* The whole operand, if no fault is possible. */
static void *whole_pointer(struct dbt_vcpu *v, const struct dbt_insn *i, const struct native_stub *s)
{
        return i->mem.fast ? cached_pointer(v, s, dbt_mem_linear(v, i, s->mem_size, DBT_READ)) : NULL;
}

void native_run_masked_load(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        uint8_t *bounce = v->native->bounce;
        void *p;

        native_enter(v, s);
        p = whole_pointer(v, i, s);
        if (p) {
                native_call(v, s, p);
                return;
        }
        dbt_fpu_save(v);
        native_zero(bounce, s->mem_size);
        for (unsigned k = 0; k < s->mem_size; k += s->elem_size) {
                uint64_t value;

                if (!is_selected(v, s, k / s->elem_size))
                        continue;
                value = load_element(v, element_linear(v, i, k, s->elem_size, DBT_READ), s->elem_size);
                native_copy(bounce + k, &value, s->elem_size);
        }
        native_enter(v, s);
        native_call(v, s, bounce);
}

void native_run_masked_store(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        uint8_t *bounce = v->native->bounce;
        void *p;

        native_enter(v, s);
        p = whole_pointer(v, i, s);
        if (p) {
                native_call(v, s, p);
                return;
        }
        native_call(v, s, bounce);
        dbt_fpu_save(v);
        for (unsigned k = 0; k < s->mem_size; k += s->elem_size)
                if (is_selected(v, s, k / s->elem_size))
                        dbt_probe(v, element_linear(v, i, k, s->elem_size, DBT_WRITE), s->elem_size, DBT_WRITE,
                                v->mmu);
        for (unsigned k = 0; k < s->mem_size; k += s->elem_size)
                if (is_selected(v, s, k / s->elem_size))
                        dbt_write_bytes(v, element_linear(v, i, k, s->elem_size, DBT_WRITE), bounce + k,
                                s->elem_size, v->mmu);
}

/* --- maskmovq, maskmovdqu -------------------------------------------------------------------------------------- */

void native_run_byte_mask(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        uint8_t *bounce = v->native->bounce;
        uint64_t lin;
        void *p;

        native_enter(v, s);
        native_check_pending(v, s);
        lin = dbt_mem_linear(v, i, s->mem_size, DBT_WRITE);
        p = cached_pointer(v, s, lin);
        if (!p)
                p = dbt_host_ptr(v, lin, s->mem_size, DBT_WRITE, v->mmu);
        if (p) {
                native_enter(v, s);
                native_call(v, s, p);
                return;
        }
        /* What the mask leaves out is written back as it was read. */
        dbt_probe(v, lin, s->mem_size, DBT_WRITE, v->mmu);
        dbt_read_bytes(v, lin, bounce, s->mem_size, v->mmu);
        native_enter(v, s);
        native_call(v, s, bounce);
        dbt_write_bytes(v, lin, bounce, s->mem_size, v->mmu);
}

/* --- vzeroupper, vzeroall outside of 64-bit mode ----------------------------------------------------------------- */

/* They leave registers 8 to 15 alone. */
void native_run_vzero32(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;

        native_enter(v, s);
        dbt_fpu_save(v);
        for (unsigned reg = 0; reg < 8; reg++)
                clear_from(v, reg, s->keep);
}

/* --- Gathers ------------------------------------------------------------------------------------------------- */

static uint64_t gather_linear(struct dbt_vcpu *v, const struct dbt_insn *i, const struct native_stub *s, unsigned k)
{
        uint64_t index = get_element(v, s->vec_index, k, s->index_size), offset;

        if (s->index_size == 4)
                index = (uint64_t)(int64_t)(int32_t)index;
        offset = dbt_mem_offset(v, i) + index * s->scale;
        if (i->mem.addr_size == 4)
                offset = (uint32_t)offset;
        if (i->mem.fast)
                return offset + dbt_seg_base(v, i);
        return dbt_seg_linear(v, (enum x86_sreg)i->mem.seg, offset, s->elem_size, DBT_READ);
}

/* Intel's CPUs begin with that, so that a fault finds it done. */
static void widen_mask(struct dbt_vcpu *v, const struct native_stub *s)
{
        for (unsigned k = 0; k < s->elem_count; k++)
                set_element(v, s->vec_mask, k, s->elem_size, is_selected(v, s, k) ? ~0ULL : 0);
        clear_from(v, s->vec_mask, s->elem_count * s->elem_size);
}

/* Each element done is recorded in the mask, so that the instruction can be resumed after a fault (Intel SDM vol. 2, VPGATHERDD). */
void native_run_gather(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;

        native_enter(v, s);
        dbt_fpu_save(v);
        *(uint64_t *)(v->fpu.xsave + XSAVE_BV) |= X86_XCR0_SSE | X86_XCR0_AVX;
        if (!v->sys.amd)
                widen_mask(v, s);
        for (unsigned k = 0; k < s->elem_count; k++) {
                if (is_selected(v, s, k))
                        set_element(v, s->vec_dest, k, s->elem_size,
                                load_element(v, gather_linear(v, i, s, k), s->elem_size));
                set_element(v, s->vec_mask, k, s->elem_size, 0);
        }
        clear_from(v, s->vec_mask, 0);
        clear_from(v, s->vec_dest, s->elem_count * s->elem_size);
}
