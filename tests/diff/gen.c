/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Makes sequences: random opcodes with prefixes, kept if Zydis knows them and they are in the engine's range; memory
 * operands are steered to the data area most of the time. */

#include <string.h>

#include "diff.h"

static ZydisDecoder decoder64, decoder32, decoder16;

/* Mostly general-purpose instructions in 64-bit mode, which is what the translator is about. */
static bool integer_only;

void gen_init(bool integer)
{
        integer_only = integer;
        ZydisDecoderInit(&decoder64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisDecoderInit(&decoder16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&decoder32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
}

/* --- State and memory ------------------------------------------------------------------------------------------ */

static uint64_t special_integer(struct rng *r)
{
        static const uint64_t values[] = {
                0, 1, 2, ~0ULL, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                0x7fffffffffffffff, 0x8000000000000000, 0x5555555555555555
        };

        return values[rng_below(r, sizeof(values) / sizeof(values[0]))];
}

static uint64_t data_pointer(struct rng *r)
{
        uint64_t p = DATA_ADDR + rng_below(r, DATA_PAGES) * 4096 + rng_below(r, 4096 / 64) * 64;

        switch (rng_below(r, 8)) {
        case 0:
                return p + rng_below(r, 64);
        case 1: /* just before a page end */
                return (p | 4095) - rng_below(r, 32);
        case 2:
                return DATA_ADDR + DATA_SIZE - rng_below(r, 8192); /* read-only page, or behind it */
        case 3:
                return p + rng_below(r, 8) * 8;
        default:
                return p + rng_below(r, 4) * 16;
        }
}

static uint64_t float_bits(struct rng *r, bool wide)
{
        static const uint32_t f[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 1,
                0x00800000, 0x7f7fffff, 0x4f000000, 0x40490fdb};
        static const uint64_t d[] = {0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000,
                0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 1, 0x0010000000000000, 0x7fefffffffffffff,
                0x41e0000000000000, 0x400921fb54442d18};
        uint64_t x = rng_next(r);

        if (!wide) {
                uint32_t a = f[rng_below(r, 13)], b = f[rng_below(r, 13)];

                if (rng_percent(r, 60)) /* of ordinary size */
                        a = (uint32_t)(x & 0x80ffffff) | (0x78 + rng_below(r, 16)) << 23;
                return (uint64_t)a << 32 | b;
        }
        if (rng_percent(r, 60))
                return (x & 0x800fffffffffffff) | (uint64_t)(0x3f8 + rng_below(r, 16)) << 52;
        return d[rng_below(r, 13)];
}

static uint64_t random_quad(struct rng *r)
{
        switch (rng_below(r, 6)) {
        case 0:
                return special_integer(r);
        case 1:
                return float_bits(r, true);
        case 2:
                return float_bits(r, false);
        case 3:
                return rng_percent(r, 50) ? data_pointer(r) : rng_below(r, 256);
        default:
                return rng_next(r);
        }
}

void gen_memory(uint8_t *mem, uint64_t seed)
{
        struct rng r = {seed};

        for (unsigned k = 0; k < DATA_SIZE; k += 8) {
                uint64_t q = random_quad(&r);

                memcpy(mem + k, &q, 8);
        }
}

static void random_x87(struct rng *r, uint8_t *x)
{
        uint16_t fcw = 0x37f, fsw = (uint16_t)(rng_below(r, 8) << 11);
        uint8_t tags = rng_percent(r, 50) ? (uint8_t)rng_next(r) : (uint8_t)((1u << rng_below(r, 9)) - 1);

        if (rng_percent(r, 40))
                fcw = (uint16_t)((rng_next(r) & 0xf00) | 0x7f);
        if (rng_percent(r, 10))
                fcw &= (uint16_t)(rng_next(r) | 0xffc0);
        fsw |= (uint16_t)(rng_next(r) & 0x4700);
        memcpy(x, &fcw, 2);
        memcpy(x + 2, &fsw, 2);
        x[4] = tags;
        for (unsigned k = 0; k < 8; k++) {
                uint64_t mantissa = rng_next(r) | (rng_percent(r, 90) ? 1ULL << 63 : 0);
                uint16_t exponent = (uint16_t)(0x3fff - 8 + rng_below(r, 16)) | (uint16_t)(rng_next(r) & 0x8000);

                if (rng_percent(r, 15))
                        exponent = (uint16_t)rng_next(r);
                if (rng_percent(r, 20))
                        mantissa &= 0xffffffff00000000;
                memcpy(x + 32 + 16 * k, &mantissa, 8);
                memcpy(x + 40 + 16 * k, &exponent, 2);
        }
}

static void random_xsave(struct rng *r, uint8_t *x)
{
        uint32_t mxcsr = 0x1f80;

        memset(x, 0, XSAVE_SIZE);
        random_x87(r, x);
        if (rng_percent(r, 30))
                mxcsr |= rng_next(r) & 0xe03f;
        if (rng_percent(r, 8))
                mxcsr &= (uint32_t)(rng_next(r) | ~0x1f80u);
        memcpy(x + 24, &mxcsr, 4);
        for (unsigned k = 0; k < 512; k += 8) {
                uint64_t q = random_quad(r);

                memcpy(x + (k < 256 ? 160 + k : 576 + k - 256), &q, 8);
        }
        x[512] = 7;
}

/* --- What is known about registers ------------------------------------------------------------------------------ */

struct gen {
        struct rng r;
        struct sequence *s;
        uint16_t pointers; /* registers that hold addresses of data */
        uint16_t small;    /* registers that hold small numbers */
        uint32_t undefined; /* flags that no instruction may look at now */
        bool branches;
};

static void random_registers(struct gen *g)
{
        struct cpu *in = &g->s->in;

        for (unsigned k = 0; k < X86_NGPRS; k++) {
                unsigned kind = rng_below(&g->r, 10);

                if (kind < 4 || k == X86_RSP || ((k == X86_RSI || k == X86_RDI) && kind < 8)) {
                        in->gpr[k] = data_pointer(&g->r);
                        g->pointers |= (uint16_t)(1u << k);
                } else if (kind < 6 || (k == X86_RCX && kind < 9)) {
                        in->gpr[k] = rng_below(&g->r, rng_percent(&g->r, 50) ? 8 : 80);
                        g->small |= (uint16_t)(1u << k);
                } else {
                        in->gpr[k] = kind < 8 ? rng_next(&g->r) : special_integer(&g->r);
                }
                if (g->s->bits == 16 && (g->pointers >> k & 1))
                        in->gpr[k] -= DATA_ADDR;
                if (g->s->bits != 64)
                        in->gpr[k] = (uint32_t)in->gpr[k];
        }
        in->gpr[X86_RSP] = DATA_ADDR + 4 * 4096 + (rng_below(&g->r, 512) * 8);
        if (g->s->bits == 16)
                in->gpr[X86_RSP] -= DATA_ADDR;
        in->rip = code_start(g->s);
        in->rflags = 0x202 | (rng_next(&g->r) & 0x8d5) | (rng_percent(&g->r, 25) ? X86_FLAG_DF : 0);
        in->fs_base = rng_percent(&g->r, 70) ? rng_below(&g->r, 4096) : data_pointer(&g->r);
        in->gs_base = rng_percent(&g->r, 70) ? rng_below(&g->r, 4096) : data_pointer(&g->r);
        random_xsave(&g->r, in->xsave);
}

static unsigned pick_register(struct gen *g, uint16_t set)
{
        unsigned r = rng_below(&g->r, g->s->bits != 64 ? 8 : 16);

        if (g->s->bits != 64)
                set &= 0xff;
        if (!set || rng_percent(&g->r, 8))
                return r;
        while (!(set >> r & 1))
                r = (r + 1) & 15;
        return r;
}

/* --- Encodings --------------------------------------------------------------------------------------------------- */

/* ModRM, SIB and displacement with their extension bits. */
struct modrm {
        uint8_t b[6];
        unsigned n;
        bool x, bb; /* index and base (or rm) are registers 8..15 */
};

static unsigned random_scale(struct gen *g)
{
        return rng_below(&g->r, 4);
}

static int32_t random_disp(struct gen *g)
{
        return rng_percent(&g->r, 3) ? (int32_t)rng_next(&g->r) : (int32_t)rng_below(&g->r, 4096) - 2048;
}

static void put_disp(struct modrm *m, int32_t disp, unsigned size)
{
        memcpy(m->b + m->n, &disp, size);
        m->n += size;
}

static void memory_modrm(struct gen *g, struct modrm *m, unsigned reg)
{
        unsigned kind = rng_below(&g->r, 16), base = pick_register(g, g->pointers), mod = rng_below(&g->r, 3);
        int32_t disp = random_disp(g);

        if (rng_percent(&g->r, 60)) /* keeps what alignment the base has */
                disp &= ~15;
        if (kind == 0) {
                *m = (struct modrm){.b = {(uint8_t)(reg << 3 | 5)}, .n = 1};
                put_disp(m, (int32_t)data_pointer(&g->r), 4); /* in 64-bit mode relative to RIP, see below */
                return;
        }
        if (kind == 1) { /* absolute, SIB without base and index */
                *m = (struct modrm){.b = {(uint8_t)(reg << 3 | 4), 0x25}, .n = 2};
                put_disp(m, (int32_t)data_pointer(&g->r), 4);
                return;
        }
        if (mod == 0 && (base & 7) == 5)
                mod = 1;
        *m = (struct modrm){.bb = base >= 8};
        if (kind < 8 || (base & 7) == 4) {
                unsigned index = pick_register(g, g->small);

                m->b[m->n++] = (uint8_t)(mod << 6 | reg << 3 | 4);
                m->b[m->n++] = (uint8_t)(random_scale(g) << 6 | (index & 7) << 3 | (base & 7));
                m->x = index >= 8;
        } else {
                m->b[m->n++] = (uint8_t)(mod << 6 | reg << 3 | (base & 7));
        }
        if (mod)
                put_disp(m, mod == 1 ? (int8_t)disp : disp, mod == 1 ? 1 : 4);
}

/* With 16-bit addressing: pairs of BX, BP, SI, DI. */
static void memory_modrm16(struct gen *g, struct modrm *m, unsigned reg)
{
        unsigned mod = rng_below(&g->r, 3), rm = rng_percent(&g->r, 70) ? 4 + rng_below(&g->r, 4) : rng_below(&g->r, 8);
        int32_t disp = random_disp(g);

        *m = (struct modrm){.b = {(uint8_t)(mod << 6 | reg << 3 | rm)}, .n = 1};
        if (mod == 0 && rm == 6)
                put_disp(m, (int32_t)(data_pointer(&g->r) - DATA_ADDR), 2);
        else if (mod)
                put_disp(m, disp & ~15, mod);
}

static void random_modrm(struct gen *g, struct modrm *m)
{
        unsigned reg = rng_below(&g->r, 8);

        if (rng_percent(&g->r, 45)) {
                *m = (struct modrm){.b = {(uint8_t)(0xc0 | reg << 3 | rng_below(&g->r, 8))}, .n = 1};
                m->bb = g->s->bits == 64 && rng_percent(&g->r, 30);
                return;
        }
        if (g->s->bits == 16 && rng_percent(&g->r, 90))
                memory_modrm16(g, m, reg);
        else
                memory_modrm(g, m, reg);
}

static void append(uint8_t *buf, unsigned *n, uint8_t byte)
{
        buf[(*n)++] = byte;
}

static void append_tail(struct gen *g, uint8_t *buf, unsigned *n, const struct modrm *m)
{
        for (unsigned k = 0; k < m->n; k++)
                append(buf, n, m->b[k]);
        for (unsigned k = 0; k < 8; k++)
                append(buf, n, (uint8_t)(rng_percent(&g->r, 50) ? rng_next(&g->r) : rng_below(&g->r, 4)));
}

static void append_prefixes(struct gen *g, uint8_t *buf, unsigned *n, bool vector)
{
        static const uint8_t segs[] = {0x64, 0x65, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e};
        static const uint8_t mandatory[] = {0x66, 0xf2, 0xf3};

        if (rng_percent(&g->r, 6))
                append(buf, n, segs[rng_below(&g->r, 8)]);
        if (rng_percent(&g->r, 5))
                append(buf, n, 0x67);
        if (vector) {
                if (rng_percent(&g->r, 75))
                        append(buf, n, mandatory[rng_below(&g->r, 3)]);
                return;
        }
        if (rng_percent(&g->r, 15))
                append(buf, n, 0x66);
        if (rng_percent(&g->r, 6))
                append(buf, n, 0xf0);
        if (rng_percent(&g->r, 8))
                append(buf, n, (uint8_t)(0xf2 + rng_below(&g->r, 2)));
}

static void append_rex(struct gen *g, uint8_t *buf, unsigned *n, const struct modrm *m)
{
        uint8_t rex;

        if (g->s->bits != 64)
                return;
        rex = (uint8_t)(0x40 | (m->x ? 2 : 0) | (m->bb ? 1 : 0));

        if (rng_percent(&g->r, 40))
                rex |= 8;
        if (rng_percent(&g->r, 40))
                rex |= 4;
        if (rex != 0x40 || rng_percent(&g->r, 10))
                append(buf, n, rex);
}

static void legacy_candidate(struct gen *g, uint8_t *buf)
{
        unsigned n = 0, map = rng_below(&g->r, 20);
        struct modrm m;

        random_modrm(g, &m);
        append_prefixes(g, buf, &n, map >= 10);
        append_rex(g, buf, &n, &m);
        if (map >= 6)
                append(buf, &n, 0x0f);
        if (map >= 17)
                append(buf, &n, map == 19 ? 0x3a : 0x38);
        append(buf, &n, (uint8_t)rng_next(&g->r));
        append_tail(g, buf, &n, &m);
}

static void integer_candidate(struct gen *g, uint8_t *buf)
{
        static const uint8_t first[][2] = {{0x00, 0x3f}, {0x50, 0x6b}, {0x80, 0x99}, {0xa8, 0xa9}, {0xb0, 0xc9}, {0xd0, 0xd3}, {0xf6, 0xff}};
        static const uint8_t second[][2] = {{0x40, 0x4f}, {0x90, 0x9f}, {0xa3, 0xaf}, {0xb0, 0xcf}};
        unsigned n = 0;
        bool wide = rng_percent(&g->r, 30);
        const uint8_t *range = wide ? second[rng_below(&g->r, 4)] : first[rng_below(&g->r, 7)];
        struct modrm m;

        random_modrm(g, &m);
        append_prefixes(g, buf, &n, false);
        append_rex(g, buf, &n, &m);
        if (wide)
                append(buf, &n, 0x0f);
        append(buf, &n, (uint8_t)(range[0] + rng_below(&g->r, range[1] - range[0] + 1u)));
        append_tail(g, buf, &n, &m);
}

static void x87_candidate(struct gen *g, uint8_t *buf)
{
        unsigned n = 0;
        struct modrm m;

        random_modrm(g, &m);
        append_prefixes(g, buf, &n, false);
        append_rex(g, buf, &n, &m);
        append(buf, &n, (uint8_t)(0xd8 + rng_below(&g->r, 8)));
        append_tail(g, buf, &n, &m);
}

static void vex_candidate(struct gen *g, uint8_t *buf)
{
        unsigned n = 0, map = 1 + rng_below(&g->r, 3);
        struct modrm m;

        random_modrm(g, &m);
        if (rng_percent(&g->r, 6))
                append(buf, &n, rng_percent(&g->r, 50) ? 0x64 : 0x65);
        if (rng_percent(&g->r, 5))
                append(buf, &n, 0x67);
        if (map == 1 && !m.x && !m.bb && rng_percent(&g->r, 60)) {
                append(buf, &n, 0xc5);
        } else {
                append(buf, &n, 0xc4);
                append(buf, &n, (uint8_t)((g->s->bits != 64 ? 0x80 : rng_next(&g->r) & 0x80) | (m.x ? 0 : 0x40) | (m.bb ? 0 : 0x20) | map));
        }
        append(buf, &n, (uint8_t)((rng_percent(&g->r, 25) ? 0x78 : 0) | (g->s->bits != 64 && buf[n - 1] == 0xc5 ? 0xc0 : 0) |
                rng_next(&g->r)));
        append(buf, &n, (uint8_t)rng_next(&g->r));
        append_tail(g, buf, &n, &m);
}

/* --- What may be run ------------------------------------------------------------------------------------------- */

static bool wanted_isa(ZydisISASet set)
{
        switch (set) {
        case ZYDIS_ISA_SET_I86:
        case ZYDIS_ISA_SET_I186:
        case ZYDIS_ISA_SET_I386:
        case ZYDIS_ISA_SET_I486REAL:
        case ZYDIS_ISA_SET_PENTIUMREAL:
        case ZYDIS_ISA_SET_PPRO:
        case ZYDIS_ISA_SET_LONGMODE:
        case ZYDIS_ISA_SET_LAHF:
        case ZYDIS_ISA_SET_FAT_NOP:
        case ZYDIS_ISA_SET_PAUSE:
        case ZYDIS_ISA_SET_PREFETCH_NOP:
        case ZYDIS_ISA_SET_SSE_PREFETCH:
        case ZYDIS_ISA_SET_X87:
        case ZYDIS_ISA_SET_FCMOV:
        case ZYDIS_ISA_SET_CMOV:
        case ZYDIS_ISA_SET_PENTIUMMMX:
        case ZYDIS_ISA_SET_CLFSH:
        case ZYDIS_ISA_SET_SSE:
        case ZYDIS_ISA_SET_SSEMXCSR:
        case ZYDIS_ISA_SET_SSE2:
        case ZYDIS_ISA_SET_SSE2MMX:
        case ZYDIS_ISA_SET_SSE3:
        case ZYDIS_ISA_SET_SSE3X87:
        case ZYDIS_ISA_SET_SSE4A:
        case ZYDIS_ISA_SET_PCLMULQDQ:
        case ZYDIS_ISA_SET_SSSE3:
        case ZYDIS_ISA_SET_SSSE3MMX:
        case ZYDIS_ISA_SET_FMA:
        case ZYDIS_ISA_SET_CMPXCHG16B:
        case ZYDIS_ISA_SET_SSE4:
        case ZYDIS_ISA_SET_SSE42:
        case ZYDIS_ISA_SET_MOVBE:
        case ZYDIS_ISA_SET_POPCNT:
        case ZYDIS_ISA_SET_AES:
        case ZYDIS_ISA_SET_AVX:
        case ZYDIS_ISA_SET_AVXAES:
        case ZYDIS_ISA_SET_F16C:
        case ZYDIS_ISA_SET_BMI1:
        case ZYDIS_ISA_SET_AVX2:
        case ZYDIS_ISA_SET_AVX2GATHER:
        case ZYDIS_ISA_SET_BMI2:
        case ZYDIS_ISA_SET_ADOX_ADCX:
        case ZYDIS_ISA_SET_SHA:
        case ZYDIS_ISA_SET_GFNI:
        case ZYDIS_ISA_SET_AVX_GFNI:
        case ZYDIS_ISA_SET_VAES:
        case ZYDIS_ISA_SET_VPCLMULQDQ:
        case ZYDIS_ISA_SET_AVX_VNNI:
        case ZYDIS_ISA_SET_LZCNT:
        case ZYDIS_ISA_SET_RDWRFSGS:
                return true;
        default:
                return false;
        }
}

static bool wanted_category(struct rng *r, const ZydisDecodedInstruction *z)
{
        switch (z->meta.category) {
        case ZYDIS_CATEGORY_CALL:
        case ZYDIS_CATEGORY_COND_BR: /* made separately */
        case ZYDIS_CATEGORY_UNCOND_BR:
        case ZYDIS_CATEGORY_RET:
        case ZYDIS_CATEGORY_INTERRUPT:
        case ZYDIS_CATEGORY_IOSTRINGOP:
        case ZYDIS_CATEGORY_SYSCALL:
        case ZYDIS_CATEGORY_SYSRET:
        case ZYDIS_CATEGORY_SYSTEM:
        case ZYDIS_CATEGORY_XSAVE:
        case ZYDIS_CATEGORY_XSAVEOPT:
                return false;
        default:
                break;
        }
        switch (z->mnemonic) {
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_POPF:
        case ZYDIS_MNEMONIC_POPFD:
        case ZYDIS_MNEMONIC_POPFQ:
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR64:
                return false;
        case ZYDIS_MNEMONIC_NOP: /* 0f 0d with a register is one on some CPUs only */
                return z->opcode_map != ZYDIS_OPCODE_MAP_0F || z->opcode != 0x0d;
        case ZYDIS_MNEMONIC_VPINSRD: /* outside of 64-bit mode W is invalid or ignored */
        case ZYDIS_MNEMONIC_VPEXTRD:
                return !z->raw.vex.W;
        case ZYDIS_MNEMONIC_PAUSE: /* with REX.B it is xchg r8, rax, which Zydis does not know */
                return !z->raw.rex.B;
        case ZYDIS_MNEMONIC_IN:
        case ZYDIS_MNEMONIC_OUT:
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_UD0:
        case ZYDIS_MNEMONIC_UD1:
        case ZYDIS_MNEMONIC_UD2: /* always the end */
                return rng_percent(r, 5);
        default:
                return true;
        }
}

/* Marks what is written, so that it is no longer taken for an address. RSP is moved explicitly only now and then. */
static bool track_registers(struct gen *g, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
        uint16_t written = 0;

        for (unsigned k = 0; k < z->operand_count; k++) {
                ZydisRegister r = ops[k].reg.value;
                unsigned id;

                if (ops[k].type != ZYDIS_OPERAND_TYPE_REGISTER || !(ops[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
                        continue;
                if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_SEGMENT)
                        return false;
                if (ZydisRegisterGetClass(r) < ZYDIS_REGCLASS_GPR8 || ZydisRegisterGetClass(r) > ZYDIS_REGCLASS_GPR64)
                        continue;
                id = (unsigned)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(machine_mode(g->s), r));
                if (id == X86_RSP && ops[k].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
                        continue;
                if (id == X86_RSP && !rng_percent(&g->r, 10))
                        return false;
                written |= (uint16_t)(1u << id);
        }
        g->pointers &= (uint16_t)~written;
        g->small &= (uint16_t)~written;
        return true;
}

static bool only_segment_reads(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
        for (unsigned k = 0; k < z->operand_count; k++)
                if (ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                        (ZydisRegisterGetClass(ops[k].reg.value) == ZYDIS_REGCLASS_CONTROL ||
                                ZydisRegisterGetClass(ops[k].reg.value) == ZYDIS_REGCLASS_DEBUG))
                        return false;
        return true;
}

static void aim_rip_relative(struct gen *g, uint8_t *insn, const ZydisDecodedInstruction *z, unsigned at)
{
        int32_t disp;

        if (g->s->bits != 64)
                return;
        if (!(z->attributes & ZYDIS_ATTRIB_HAS_MODRM) || z->raw.modrm.mod != 0 || z->raw.modrm.rm != 5)
                return;
        disp = (int32_t)(data_pointer(&g->r) - (CODE_ADDR + at + z->length));
        memcpy(insn + z->raw.disp.offset, &disp, 4);
}

uint32_t gen_undefined_after(const ZydisDecodedInstruction *z, uint32_t before)
{
        const ZydisAccessedFlags *f = z->cpu_flags;
        uint32_t defined = (uint32_t)(f->modified | f->set_0 | f->set_1);

        switch (z->meta.category) {
        case ZYDIS_CATEGORY_SHIFT: /* a count of zero leaves them as they were */
        case ZYDIS_CATEGORY_ROTATE:
        case ZYDIS_CATEGORY_STRINGOP:
                defined = 0;
                break;
        default:
                break;
        }
        return (before & ~defined) | (uint32_t)f->undefined;
}

/* One instruction behind the others; false: try again. */
static bool add_random(struct gen *g)
{
        struct sequence *s = g->s;
        uint8_t buf[32] = {0};
        ZydisDecodedInstruction z;
        ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
        unsigned kind = rng_below(&g->r, 100);
        uint32_t undefined;

        if (integer_only && kind < 90)
                integer_candidate(g, buf);
        else if (kind < 60)
                legacy_candidate(g, buf);
        else if (kind < 70)
                x87_candidate(g, buf);
        else
                vex_candidate(g, buf);
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(s->bits == 64 ? &decoder64 : s->bits == 32 ? &decoder32 : &decoder16, buf, 15, &z, ops)))
                return false;
        if (z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
                return false;
        if (z.cpu_flags->tested & g->undefined)
                return false;
        if (!wanted_isa(z.meta.isa_set) || !wanted_category(&g->r, &z) || !only_segment_reads(&z, ops) ||
                !track_registers(g, &z, ops))
                return false;
        aim_rip_relative(g, buf, &z, s->length);
        undefined = gen_undefined_after(&z, g->undefined);
        g->undefined = g->branches ? g->undefined | undefined : undefined;
        memcpy(s->code + s->length, buf, z.length);
        s->length += z.length;
        return true;
}

/* Operands of pushes and calls. */
static unsigned word_size(const struct sequence *s)
{
        return s->bits == 16 ? 2 : 4;
}

/* A forward branch; its target is filled in when all instructions are there. */
static void add_branch(struct gen *g)
{
        struct sequence *s = g->s;
        unsigned kind = rng_below(&g->r, 24);

        if (kind < 15 && !g->undefined) {
                s->code[s->length++] = (uint8_t)(0x70 | rng_below(&g->r, 16));
        } else if (kind < 19) {
                /* loopne, loope, loop, jrcxz */
                s->code[s->length++] = (uint8_t)(g->undefined ? 0xe2 + rng_below(&g->r, 2) : 0xe0 + rng_below(&g->r, 4));
                g->small &= (uint16_t)~(1u << X86_RCX);
        } else if (kind < 20) {
                s->code[s->length++] = 0xeb;
        } else {
                s->code[s->length++] = kind < 22 ? 0xe8 : 0x68; /* call; push, ret */
                s->length += word_size(s);
                if (kind >= 22)
                        s->code[s->length++] = 0xc3;
                return;
        }
        s->length++;
}

/* push imm32; popf, with flags that are harmless on the host. */
static void add_popf(struct gen *g)
{
        struct sequence *s = g->s;
        uint32_t flags = (uint32_t)rng_next(&g->r) & 0xcd5; /* sigreturn would keep ID */

        s->code[s->length++] = 0x68;
        memcpy(s->code + s->length, &flags, word_size(s));
        s->length += word_size(s);
        s->code[s->length++] = 0x9d;
}

static void put_bytes(struct sequence *s, const void *bytes, unsigned n)
{
        memcpy(s->code + s->length, bytes, n);
        s->length += n;
}

/* mov qword [rbx + disp], imm32 */
static void put_store(struct sequence *s, int32_t disp, int32_t value)
{
        put_bytes(s, "\x48\xc7\x83", 3);
        put_bytes(s, &disp, 4);
        put_bytes(s, &value, 4);
}

static void put_area_operation(struct gen *g, const uint8_t (*ops)[2], unsigned n)
{
        const uint8_t *op = ops[rng_below(&g->r, n)];

        if (rng_percent(&g->r, 50))
                put_bytes(g->s, "\x48", 1);
        put_bytes(g->s, "\x0f", 1);
        put_bytes(g->s, op, 2);
}

/* Changes that XRSTOR must refuse or honour. Bits that are only the host's stay clear. */
static void put_area_change(struct gen *g)
{
        static const int32_t places[] = {512, 512, 512, 520, 528, 536, 24, 1, 4};
        int32_t at = places[rng_below(&g->r, 9)], value = (int32_t)rng_below(&g->r, 8);

        if (at == 24)
                value = (int32_t)(rng_next(&g->r) & 0x1ffff);
        else if (at < 24)
                value = (int32_t)rng_next(&g->r);
        else if (rng_percent(&g->r, 15))
                value |= 8;
        put_store(g->s, at, value);
        if (at == 24) /* MXCSR_MASK: wider on the host */
                put_store(g->s, 28, 0);
}

/* [F]XSAVE* to a place with a proper header, changes, and [F]XRSTOR from it. EDX:EAX asks for what both sides have. */
static void add_area(struct gen *g)
{
        static const uint8_t saves[][2] = {{0xae, 0x23}, {0xae, 0x23}, {0xc7, 0x23}, {0xae, 0x03}};
        static const uint8_t restores[][2] = {{0xae, 0x2b}, {0xae, 0x2b}, {0xae, 0x0b}};
        static const char *const between[] = {"\xc5\xfc\x77", "\xc5\xf8\x77", "\x90\xdb\xe3", "\x0f\x57\xc0"};
        struct sequence *s = g->s;
        uint32_t address = (uint32_t)DATA_ADDR + rng_below(&g->r, 6) * 4096 + rng_below(&g->r, 64) * 64;
        uint32_t rfbm = rng_below(&g->r, 8);

        if (rng_percent(&g->r, 5))
                address += 16;
        put_bytes(s, "\xbb", 1);
        put_bytes(s, &address, 4);
        put_bytes(s, "\xb8", 1);
        put_bytes(s, &rfbm, 4);
        put_bytes(s, "\x31\xd2", 2);
        for (int32_t at = 512; at < 576; at += 8)
                put_store(s, at, at == 512 ? (int32_t)rng_below(&g->r, 8) : 0);
        put_area_operation(g, saves, 4);
        put_store(s, 28, 0);
        if (rng_percent(&g->r, 50))
                put_area_change(g);
        if (rng_percent(&g->r, 60))
                put_bytes(s, between[rng_below(&g->r, 4)], 3);
        if (rng_percent(&g->r, 80))
                put_area_operation(g, restores, 3);
        g->pointers &= (uint16_t)~(1u << X86_RBX | 1u << X86_RAX | 1u << X86_RDX);
        g->small &= (uint16_t)~(1u << X86_RBX | 1u << X86_RAX | 1u << X86_RDX);
}

static void resolve_branch(struct sequence *s, unsigned k, unsigned target)
{
        uint8_t *code = s->code + s->start[k];
        uint32_t relative = s->start[target] - s->start[k + 1], absolute = (uint32_t)code_start(s) + s->start[target];

        if (code[0] == 0xe8)
                memcpy(code + 1, &relative, word_size(s));
        else if (code[0] == 0x68)
                memcpy(code + 1, &absolute, word_size(s));
        else
                code[1] = relative < 128 ? (uint8_t)relative : 0;
}

static void resolve_branches(struct gen *g, uint32_t branches)
{
        struct sequence *s = g->s;

        for (unsigned k = 0; k < s->n; k++)
                if (branches >> k & 1)
                        resolve_branch(s, k, k + 1 + rng_below(&g->r, s->n - k));
}

void gen_sequence(struct sequence *s, uint64_t seed)
{
        struct gen g = {.r = {seed}, .s = s};
        unsigned n = 1 + rng_below(&g.r, 8);
        bool areas = false;
        uint32_t branches = 0;

        memset(s, 0, sizeof(*s));
        rng_next(&g.r);
        g.branches = rng_percent(&g.r, 40);
        s->bits = integer_only || rng_percent(&g.r, 75) ? 64 : rng_percent(&g.r, 60) ? 32 : 16;
        random_registers(&g);
        while (s->n < n) {
                s->start[s->n] = s->length;
                if (g.branches && rng_percent(&g.r, 20)) {
                        branches |= 1u << s->n;
                        add_branch(&g);
                } else if (rng_percent(&g.r, 1)) {
                        add_popf(&g);
                } else if (!areas && s->bits == 64 && rng_percent(&g.r, 1)) {
                        areas = true;
                        add_area(&g);
                } else {
                        while (!add_random(&g))
                                ;
                }
                s->start[++s->n] = s->length;
        }
        s->branches = branches;
        resolve_branches(&g, branches);
}
