/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The guest's x87, SSE and AVX state: in the host's registers while v->fpu_live, else in the XSAVE image; and the
 * instructions that save and restore it (Intel SDM vol. 1, 10.5 and 13.4 to 13.11).
 *
 * The image is in standard format with 64-bit pointers. Offsets are those of the XSAVE area. */

#include "hv/engine/dbt/native.h"

enum {
        AREA_FCW = 0,
        AREA_FSW = 2,
        AREA_FOP = 6,
        AREA_FIP = 8,
        AREA_FDP = 16,
        AREA_MXCSR = 24,
        AREA_MXCSR_MASK = 28,
        AREA_ST = 32,
        AREA_XMM = 160,
        AREA_LEGACY_USED = 416, /* what follows up to 512 is not written */
        AREA_SELECTORS = 464,   /* here: those of the pointers, in what the architecture leaves to software */
        AREA_HEADER = 512,
        AREA_XCOMP_BV = 520,
        AREA_AVX = 576,
        AREA_END = 832,
};
#define GUEST_COMPONENTS (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX)
#define COMPACTED (1ULL << 63)
#define MXCSR_INIT 0x1f80u
#define FCW_INIT 0x37f

/* Fields of an area, wherever it lies. */
static uint64_t get64(const uint8_t *p)
{
        return *(const dbt_guest64 *)p;
}

static uint32_t get32(const uint8_t *p)
{
        return *(const dbt_guest32 *)p;
}

static void put64(uint8_t *p, uint64_t value)
{
        *(dbt_guest64 *)p = value;
}

static void put32(uint8_t *p, uint32_t value)
{
        *(dbt_guest32 *)p = value;
}

static void put16(uint8_t *p, uint16_t value)
{
        *(dbt_guest16 *)p = value;
}

/* --- Between image and registers ----------------------------------------------------------------------------- */

/* Leaves the host's registers as C code of the engine's callees expects them. */
static void set_host_defaults(void)
{
        static const uint32_t mxcsr = MXCSR_INIT;

        __asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

/* The live state to the image; it stays live. */
static void store_image(struct dbt_vcpu *v)
{
        uint8_t *area = v->fpu.xsave;

        __asm__ volatile("xsave64 %0" : "+m"(v->fpu) : "a"(GUEST_COMPONENTS), "d"(0) : "memory");
        native_settle(v, (uint16_t)get32(area + AREA_FSW));
        put16(area + AREA_FOP, (uint16_t)v->x87.known_fop);
        put64(area + AREA_FIP, v->x87.fip);
        put64(area + AREA_FDP, v->x87.known_fdp);
        put16(area + AREA_SELECTORS, (uint16_t)v->x87.fcs);
        put16(area + AREA_SELECTORS + 2, (uint16_t)v->x87.known_fds);
        put32(area + AREA_MXCSR_MASK, NATIVE_MXCSR_MASK);
}

void dbt_fpu_save(struct dbt_vcpu *v)
{
        if (!v->fpu_live)
                return;
        store_image(v);
        v->fpu_live = false;
        set_host_defaults();
}

/* Whatever image was set from outside, XRSTOR must not fault. */
static void make_image_valid(uint8_t *area)
{
        put64(area + AREA_HEADER, get64(area + AREA_HEADER) & GUEST_COMPONENTS);
        for (unsigned k = 0; k < 56; k += 8)
                put64(area + AREA_XCOMP_BV + k, 0);
        put32(area + AREA_MXCSR, get32(area + AREA_MXCSR) & NATIVE_MXCSR_MASK);
}

void dbt_fpu_load(struct dbt_vcpu *v)
{
        uint8_t *area = v->fpu.xsave;
        bool x87 = get64(area + AREA_HEADER) & X86_XCR0_X87;

        make_image_valid(area);
        native_clear_pointers(v);
        if (x87) {
                v->x87.known_fop = get32(area + AREA_FOP) & 0x7ff;
                v->x87.fip = get64(area + AREA_FIP);
                v->x87.known_fdp = get64(area + AREA_FDP);
                v->x87.fcs = (uint16_t)get32(area + AREA_SELECTORS);
                v->x87.known_fds = (uint16_t)(get32(area + AREA_SELECTORS) >> 16);
        }
        if (v->sys.no_x87_selectors)
                v->x87.fcs = v->x87.known_fds = 0;
        __asm__ volatile("xrstor64 %0" : : "m"(v->fpu), "a"(GUEST_COMPONENTS), "d"(0) : "memory");
        v->fpu_live = true;
}

/* The image with every component in it, to be read: the state is live. */
static const uint8_t *current_image(struct dbt_vcpu *v)
{
        if (!v->fpu_live)
                dbt_fpu_load(v);
        store_image(v);
        return v->fpu.xsave;
}

/* The same to be changed and loaded; not live. all: every component will be replaced. */
static uint8_t *image_to_change(struct dbt_vcpu *v, bool all)
{
        if (!all)
                current_image(v);
        v->fpu_live = false;
        return v->fpu.xsave;
}

/* --- Pieces of an area ----------------------------------------------------------------------------------------- */

static bool is_long_mode(const struct dbt_vcpu *v)
{
        return v->mode & DBT_MODE_CS64;
}

/* Size of the XMM registers, and of the upper halves of the YMM registers. Outside of 64-bit mode registers 8 and up do not exist and their
 * place is left alone. */
static unsigned half_bytes(const struct dbt_vcpu *v)
{
        return is_long_mode(v) ? 256 : 128;
}

/* Bytes 0..23 in the form of the instruction: with REX.W pointers of 64 bits, else 32 bits and selectors. AMD's CPUs leave the pointers out unless an exception is pending (AMD APM vol. 2, 11.4.4). */
static void x87_head_from_image(const struct dbt_vcpu *v, uint8_t *out, const uint8_t *image, bool wide)
{
        native_copy(out, image, AREA_MXCSR);
        if (!wide) {
                put32(out + AREA_FIP + 4, get32(image + AREA_SELECTORS) & 0xffff);
                put32(out + AREA_FDP + 4, get32(image + AREA_SELECTORS) >> 16);
        }
        if (v->sys.amd && !(image[AREA_FSW] & NATIVE_FSW_ES)) {
                put16(out + AREA_FOP, 0);
                native_zero(out + AREA_FIP, AREA_MXCSR - AREA_FIP);
        }
}

static void x87_to_image(uint8_t *image, const uint8_t *in, bool wide)
{
        native_copy(image, in, AREA_MXCSR);
        put32(image + AREA_SELECTORS, 0);
        native_copy(image + AREA_ST, in + AREA_ST, 128);
        if (!wide) {
                put16(image + AREA_SELECTORS, (uint16_t)get32(in + AREA_FIP + 4));
                put16(image + AREA_SELECTORS + 2, (uint16_t)get32(in + AREA_FDP + 4));
                put32(image + AREA_FIP + 4, 0);
                put32(image + AREA_FDP + 4, 0);
        }
}

static void x87_init(uint8_t *image)
{
        native_zero(image, AREA_MXCSR);
        put32(image + AREA_SELECTORS, 0);
        native_zero(image + AREA_ST, 128);
        put16(image + AREA_FCW, FCW_INIT);
}

static void set_in_use(uint8_t *image, uint64_t components)
{
        put64(image + AREA_HEADER, get64(image + AREA_HEADER) | components);
}

static bool is_wide(const struct dbt_insn *i)
{
        return i->op_size == 8;
}

/* --- FXSAVE, FXRSTOR ------------------------------------------------------------------------------------------- */

static uint64_t fx_operand(struct dbt_vcpu *v, const struct dbt_insn *i, enum dbt_access access)
{
        uint64_t lin;

        if (v->cr0 & (X86_CR0_EM | X86_CR0_TS))
                dbt_raise(v, X86_NM);
        lin = dbt_mem_linear(v, i, 512, access);
        if (lin & 15)
                dbt_raise_gp0(v);
        return lin;
}

void dbt_fxsave(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = fx_operand(v, i, DBT_WRITE);
        const uint8_t *image = current_image(v);
        uint8_t out[AREA_LEGACY_USED];
        unsigned n = AREA_XMM + half_bytes(v);

        native_copy(out, image, n);
        x87_head_from_image(v, out, image, is_wide(i));
        dbt_write_bytes(v, lin, out, n, v->mmu);
}

void dbt_fxrstor(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = fx_operand(v, i, DBT_READ);
        uint8_t in[AREA_LEGACY_USED], *image;
        unsigned n = AREA_XMM + half_bytes(v);

        dbt_read_bytes(v, lin, in, n, v->mmu);
        if (get32(in + AREA_MXCSR) & ~NATIVE_MXCSR_MASK)
                dbt_raise_gp0(v);
        image = image_to_change(v, false);
        x87_to_image(image, in, is_wide(i));
        put32(image + AREA_MXCSR, get32(in + AREA_MXCSR));
        native_copy(image + AREA_XMM, in + AREA_XMM, n - AREA_XMM);
        set_in_use(image, X86_XCR0_X87 | X86_XCR0_SSE);
        dbt_fpu_load(v); /* brings the control and status words into their architectural form */
}

/* --- XSAVE ----------------------------------------------------------------------------------------------------- */

/* Checks that all XSAVE instructions share; returns RFBM, the linear address in *ret_lin. */
static uint64_t xsave_operand(struct dbt_vcpu *v, const struct dbt_insn *i, enum dbt_access access, uint64_t *ret_lin)
{
        uint64_t rfbm = v->gpr[X86_RDX] << 32 | (uint32_t)v->gpr[X86_RAX];

        if (!(v->cr4 & X86_CR4_OSXSAVE))
                dbt_raise_ud(v);
        if (v->cr0 & X86_CR0_TS)
                dbt_raise(v, X86_NM);
        *ret_lin = dbt_mem_linear(v, i, AREA_AVX, access);
        if (*ret_lin & 63)
                dbt_raise_gp0(v);
        return rfbm & v->xcr0 & GUEST_COMPONENTS;
}

/* Raises before the first byte is written. */
static void probe_area(struct dbt_vcpu *v, uint64_t lin, uint64_t rfbm)
{
        dbt_probe(v, lin, rfbm & X86_XCR0_AVX ? AREA_AVX + half_bytes(v) : AREA_AVX, DBT_WRITE, v->mmu);
}

static void write_components(struct dbt_vcpu *v, uint64_t lin, const uint8_t *image, uint64_t components, bool wide)
{
        uint8_t head[AREA_MXCSR];

        if (components & X86_XCR0_X87) {
                x87_head_from_image(v, head, image, wide);
                dbt_write_bytes(v, lin, head, AREA_MXCSR, v->mmu);
                dbt_write_bytes(v, lin + AREA_ST, image + AREA_ST, 128, v->mmu);
        }
        if (components & X86_XCR0_SSE)
                dbt_write_bytes(v, lin + AREA_XMM, image + AREA_XMM, half_bytes(v), v->mmu);
        if (components & X86_XCR0_AVX)
                dbt_write_bytes(v, lin + AREA_AVX, image + AREA_AVX, half_bytes(v), v->mmu);
}

/* Also XSAVEOPT, which may write more than it must. */
void dbt_xsave(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin, rfbm = xsave_operand(v, i, DBT_WRITE, &lin), bv;
        const uint8_t *image = current_image(v);

        probe_area(v, lin, rfbm);
        bv = dbt_load64(v, lin + AREA_HEADER, v->mmu);
        write_components(v, lin, image, rfbm, is_wide(i));
        if (rfbm & (X86_XCR0_SSE | X86_XCR0_AVX))
                dbt_write_bytes(v, lin + AREA_MXCSR, image + AREA_MXCSR, 8, v->mmu);
        dbt_store64(v, lin + AREA_HEADER, (bv & ~rfbm) | (get64(image + AREA_HEADER) & rfbm), v->mmu);
}

void dbt_xsavec(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin, rfbm = xsave_operand(v, i, DBT_WRITE, &lin), bv;
        const uint8_t *image = current_image(v);

        bv = get64(image + AREA_HEADER);
        if (get32(image + AREA_MXCSR) != MXCSR_INIT)
                bv |= X86_XCR0_SSE;
        bv &= rfbm;
        probe_area(v, lin, bv);
        write_components(v, lin, image, bv, is_wide(i));
        if (bv & X86_XCR0_SSE)
                dbt_write_bytes(v, lin + AREA_MXCSR, image + AREA_MXCSR, 8, v->mmu);
        dbt_store64(v, lin + AREA_HEADER, bv, v->mmu);
        dbt_store64(v, lin + AREA_XCOMP_BV, rfbm | COMPACTED, v->mmu);
}

/* --- XRSTOR ---------------------------------------------------------------------------------------------------- */

/* n: a multiple of 8 */
static bool is_zero(const uint8_t *p, unsigned n)
{
        uint64_t any = 0;

        for (unsigned k = 0; k < n; k += 8)
                any |= get64(p + k);
        return !any;
}

/* Intel SDM vol. 1, 13.8: what XRSTOR accepts as a header. */
static bool is_valid_header(const struct dbt_vcpu *v, const uint8_t *header)
{
        uint64_t bv = get64(header), comp = get64(header + 8);

        if (!(comp & COMPACTED))
                return !(bv & ~v->xcr0) && is_zero(header + 8, 16);
        return !(comp & ~COMPACTED & ~v->xcr0) && !(bv & ~comp) && is_zero(header + 16, 48);
}

static void restore_x87(struct dbt_vcpu *v, const uint8_t *in, bool present, bool wide)
{
        uint8_t *image = v->fpu.xsave;

        if (present)
                x87_to_image(image, in, wide);
        else
                x87_init(image);
}

static void restore_half_registers(struct dbt_vcpu *v, unsigned offset, const uint8_t *in, bool present)
{
        if (present)
                native_copy(v->fpu.xsave + offset, in + offset, half_bytes(v));
        else
                native_zero(v->fpu.xsave + offset, half_bytes(v));
}

/* Is MXCSR taken from the area? In the standard form whenever SSE or AVX is asked for, in the compacted one as a part of SSE. */
static bool loads_mxcsr(uint64_t rfbm, uint64_t bv, bool compacted)
{
        if (compacted)
                return rfbm & bv & X86_XCR0_SSE;
        return rfbm & (X86_XCR0_SSE | X86_XCR0_AVX);
}

void dbt_xrstor(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin, rfbm = xsave_operand(v, i, DBT_READ, &lin), bv;
        uint8_t in[AREA_END], *image;
        bool compacted, mxcsr;

        dbt_read_bytes(v, lin + AREA_HEADER, in + AREA_HEADER, 64, v->mmu);
        if (!is_valid_header(v, in + AREA_HEADER))
                dbt_raise_gp0(v);
        bv = get64(in + AREA_HEADER);
        compacted = get64(in + AREA_XCOMP_BV) & COMPACTED;
        mxcsr = loads_mxcsr(rfbm, bv, compacted);
        if ((rfbm & bv & (X86_XCR0_X87 | X86_XCR0_SSE)) || mxcsr)
                dbt_read_bytes(v, lin, in, AREA_LEGACY_USED, v->mmu);
        if (rfbm & bv & X86_XCR0_AVX)
                dbt_read_bytes(v, lin + AREA_AVX, in + AREA_AVX, half_bytes(v), v->mmu);
        if (mxcsr && (get32(in + AREA_MXCSR) & ~NATIVE_MXCSR_MASK))
                dbt_raise_gp0(v);

        image = image_to_change(v, rfbm == GUEST_COMPONENTS && is_long_mode(v));
        if (rfbm & X86_XCR0_X87)
                restore_x87(v, in, bv & X86_XCR0_X87, is_wide(i));
        if (rfbm & X86_XCR0_SSE)
                restore_half_registers(v, AREA_XMM, in, bv & X86_XCR0_SSE);
        if (rfbm & X86_XCR0_AVX)
                restore_half_registers(v, AREA_AVX, in, bv & X86_XCR0_AVX);
        if (mxcsr)
                put32(image + AREA_MXCSR, get32(in + AREA_MXCSR));
        else if (compacted && (rfbm & X86_XCR0_SSE))
                put32(image + AREA_MXCSR, MXCSR_INIT);
        put64(image + AREA_HEADER, (get64(image + AREA_HEADER) & ~rfbm) | (bv & rfbm));
        if (!is_long_mode(v)) /* registers 8 and up were kept */
                set_in_use(image, rfbm & (X86_XCR0_SSE | X86_XCR0_AVX));
        dbt_fpu_load(v);
}
