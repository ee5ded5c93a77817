/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Initial registers and memory. */

#include <string.h>

#include "gen.h"

static uint64_t special_integer(struct rng *r)
{
        static const uint64_t values[] = {
                0, 1, 2, ~0ULL, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                0x7fffffffffffffff, 0x8000000000000000, 0x5555555555555555
        };

        return values[rng_below(r, sizeof(values) / sizeof(values[0]))];
}

uint64_t data_pointer(struct rng *r)
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
/* --- Registers --------------------------------------------------------------------------------------------------- */

void random_registers(struct gen *g)
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
