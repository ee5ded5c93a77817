/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Parts of blocks: several instructions that belong together. */

#include <string.h>

#include "gen.h"

/* --- One instruction with [base + disp] --------------------------------------------------------------------------- */

enum { BYTE_REG = 1, VECTOR_REG = 2 };

struct form {
        uint8_t prefix;   /* 66, F2, F3, F0 or 0 */
        uint8_t op[3];    /* up to the first zero but in the first place */
        int8_t digit;     /* of ModRM.reg, or -1: a register */
        uint8_t imm;      /* bytes of immediate */
        uint8_t wide;     /* percent with REX.W */
        uint8_t kind;
};

static const struct form forms[] = {
        {0, {0x8b}, -1, 0, 50, 0}, {0, {0x8b}, -1, 0, 50, 0}, {0, {0x89}, -1, 0, 50, 0}, {0, {0x89}, -1, 0, 50, 0}, {0x66, {0x8b}, -1, 0, 0, 0},
        {0x66, {0x89}, -1, 0, 0, 0}, {0, {0x8a}, -1, 0, 0, BYTE_REG}, {0, {0x88}, -1, 0, 0, BYTE_REG}, {0, {0x0f, 0xb6}, -1, 0, 50, 0},
        {0, {0x0f, 0xbe}, -1, 0, 50, 0}, {0, {0x0f, 0xb7}, -1, 0, 30, 0}, {0, {0x63}, -1, 0, 100, 0}, {0, {0x03}, -1, 0, 50, 0},
        {0, {0x2b}, -1, 0, 50, 0}, {0, {0x33}, -1, 0, 50, 0}, {0, {0x3b}, -1, 0, 50, 0}, {0, {0x13}, -1, 0, 50, 0}, {0, {0x01}, -1, 0, 50, 0},
        {0, {0x29}, -1, 0, 50, 0}, {0, {0x39}, -1, 0, 50, 0}, {0, {0x19}, -1, 0, 50, 0}, {0, {0x21}, -1, 0, 50, 0}, {0, {0x83}, 7, 1, 50, 0},
        {0, {0x83}, 0, 1, 50, 0}, {0, {0x80}, 5, 1, 0, 0}, {0, {0xc7}, 0, 4, 50, 0}, {0, {0xc6}, 0, 1, 0, 0}, {0, {0xff}, 0, 0, 50, 0},
        {0, {0xff}, 1, 0, 50, 0}, {0, {0xf7}, 3, 0, 50, 0}, {0, {0xf7}, 2, 0, 50, 0}, {0, {0xd1}, 4, 0, 50, 0}, {0, {0xff}, 6, 0, 0, 0},
        {0, {0x8f}, 0, 0, 0, 0}, {0, {0x87}, -1, 0, 50, 0}, {0xf0, {0x0f, 0xc1}, -1, 0, 50, 0}, {0xf0, {0x01}, -1, 0, 50, 0},
        {0, {0x0f, 0xb1}, -1, 0, 50, 0}, {0xf0, {0x0f, 0xb1}, -1, 0, 50, 0}, {0, {0x0f, 0xba}, 4, 1, 50, 0}, {0, {0x0f, 0xba}, 5, 1, 50, 0},
        {0, {0x0f, 0x44}, -1, 0, 50, 0}, {0, {0x0f, 0x92}, 0, 0, 0, 0}, {0, {0x0f, 0x10}, -1, 0, 0, VECTOR_REG},
        {0, {0x0f, 0x11}, -1, 0, 0, VECTOR_REG}, {0xf3, {0x0f, 0x6f}, -1, 0, 0, VECTOR_REG}, {0xf3, {0x0f, 0x7f}, -1, 0, 0, VECTOR_REG},
        {0, {0x0f, 0x28}, -1, 0, 0, VECTOR_REG}, {0, {0x0f, 0x29}, -1, 0, 0, VECTOR_REG}, {0xf2, {0x0f, 0x10}, -1, 0, 0, VECTOR_REG},
        {0xf2, {0x0f, 0x11}, -1, 0, 0, VECTOR_REG}, {0xf3, {0x0f, 0x58}, -1, 0, 0, VECTOR_REG}, {0x66, {0x0f, 0xfe}, -1, 0, 0, VECTOR_REG},
        {0x66, {0x0f, 0xd6}, -1, 0, 0, VECTOR_REG}, {0xf3, {0x0f, 0x7e}, -1, 0, 0, VECTOR_REG}, {0, {0xdd}, 0, 0, 0, 0}, {0, {0xd9}, 3, 0, 0, 0},
        {0, {0x0f, 0x6f}, -1, 0, 0, 0}, {0, {0x0f, 0x7f}, -1, 0, 0, 0}, {0xf0, {0xff}, 0, 0, 50, 0}, {0, {0x0f, 0xc7}, 1, 0, 50, 0},
};

static unsigned put_modrm(uint8_t *b, unsigned reg, unsigned base, int32_t disp)
{
        unsigned n = 0;
        bool small = disp >= -128 && disp < 128;

        b[n++] = (uint8_t)((small ? 0x40 : 0x80) | (reg & 7) << 3 | (base & 7));
        if ((base & 7) == X86_RSP)
                b[n++] = 0x24;
        memcpy(b + n, &disp, small ? 1 : 4);
        return n + (small ? 1 : 4);
}

/* Puts the instruction unless it is not allowed here. */
static bool put_form(struct gen *g, const struct form *f, unsigned base, int32_t disp)
{
        uint8_t b[32] = {0}, rex;
        bool mode64 = g->s->bits == 64;
        unsigned n = 0, reg = f->digit >= 0 ? (unsigned)f->digit : rng_below(&g->r, mode64 ? 16 : 8);

        if (f->prefix)
                b[n++] = f->prefix;
        rex = (uint8_t)((rng_percent(&g->r, f->wide) ? 8 : 0) | (reg >= 8) << 2 | (base >= 8));
        if (mode64 && (rex || (f->kind == BYTE_REG && rng_percent(&g->r, 50))))
                b[n++] = 0x40 | rex;
        b[n++] = f->op[0];
        for (unsigned k = 1; k < 3 && f->op[k]; k++)
                b[n++] = f->op[k];
        n += put_modrm(b + n, reg, base, disp);
        for (unsigned k = 0; k < f->imm; k++)
                b[n++] = (uint8_t)rng_next(&g->r);
        return try_insn(g, b);
}

/* lea reg, [base + disp] */
static void put_lea(struct gen *g, unsigned reg, unsigned base, int32_t disp)
{
        uint8_t b[10] = {(uint8_t)(0x48 | (reg >= 8) << 2 | (base >= 8)), 0x8d};
        unsigned n = 2 + put_modrm(b + 2, reg, base, disp), skip = g->s->bits != 64;

        put_insn(g, b + skip, n - skip);
        forget_register(g, reg);
}

static unsigned pick_base(struct gen *g)
{
        unsigned r = rng_below(&g->r, 16);

        while (!(g->bases >> r & 1))
                r = (r + 1) & 15;
        return r;
}

/* vmovups ymm, [base + disp], or the store */
static void put_ymm(struct gen *g, unsigned base, int32_t disp)
{
        unsigned reg = rng_below(&g->r, g->s->bits == 64 ? 16 : 8);
        uint8_t b[16] = {0xc4, (uint8_t)((reg < 8) << 7 | 0x40 | (base < 8) << 5 | 1), 0x7c, (uint8_t)(0x10 | rng_below(&g->r, 2))};

        put_modrm(b + 4, reg, base, disp);
        try_insn(g, b);
}

/* --- Memory -------------------------------------------------------------------------------------------------------- */

/* Accesses near each other off one base, which changes now and then. */
void part_memory(struct gen *g)
{
        unsigned base = pick_base(g), n = 2 + rng_below(&g->r, 6), step = rng_percent(&g->r, 50) ? 16 : 1u << rng_below(&g->r, 4);
        int32_t at = (int32_t)rng_below(&g->r, 16) * 8 - 64;

        if (rng_percent(&g->r, 15))
                at = (int32_t)rng_below(&g->r, 1024) - 512;
        for (unsigned k = 0; k < n; k++) {
                int32_t disp = at + (int32_t)(rng_below(&g->r, 12) * step);

                if (rng_percent(&g->r, 7))
                        put_ymm(g, base, disp);
                else if (rng_percent(&g->r, 4))
                        put_lea(g, base, base, (int32_t)rng_below(&g->r, 9) * 4 - 16);
                else
                        put_form(g, &forms[rng_below(&g->r, sizeof(forms) / sizeof(forms[0]))], base, disp);
        }
}

/* Pushes, pops and accesses relative to RSP; as many of the one as of the other, if all of them are allowed. */
void part_stack(struct gen *g)
{
        unsigned n = 1 + rng_below(&g->r, 4);

        for (unsigned k = 0; k < 2 * n; k++) {
                unsigned reg = free_register(g);
                uint8_t push[16] = {0x41, (uint8_t)(0x50 | (reg & 7))}, pop[16] = {0x41, (uint8_t)(0x58 | (reg & 7))};

                try_insn(g, (k < n ? push : pop) + (reg < 8));
                if (rng_percent(&g->r, 40))
                        put_form(g, &forms[rng_below(&g->r, sizeof(forms) / sizeof(forms[0]))], X86_RSP, (int32_t)rng_below(&g->r, 8) * 8);
        }
}

/* --- Strings ------------------------------------------------------------------------------------------------------- */

static void put_string_operation(struct gen *g)
{
        static const uint8_t ops[] = {0xa4, 0xa5, 0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xa7, 0xae, 0xaf, 0xac, 0xad};
        uint8_t b[16] = {0};
        unsigned n = 0, kind = rng_below(&g->r, 8);

        if (rng_percent(&g->r, 10))
                b[n++] = 0x66;
        if (kind)
                b[n++] = kind < 6 ? 0xf3 : 0xf2;
        if (g->s->bits == 64 && rng_percent(&g->r, 40))
                b[n++] = 0x48;
        b[n] = ops[rng_below(&g->r, sizeof(ops) - (g->pinned & 1u << X86_RAX ? 2 : 0))]; /* lods writes RAX */
        forget_register(g, X86_RAX);
        put_insn(g, b, n + 1);
        if (b[n] == 0xa6 || b[n] == 0xa7 || b[n] == 0xae || b[n] == 0xaf)
                g->undefined |= g->may_undefine;
}

void part_string(struct gen *g)
{
        const uint16_t used = 1u << X86_RSI | 1u << X86_RDI | 1u << X86_RCX;
        uint32_t count = rng_percent(&g->r, 90) ? rng_below(&g->r, 40) : rng_below(&g->r, 5000);
        uint8_t mov[5] = {0xb9};

        if (g->pinned & used)
                return;
        put_lea(g, X86_RSI, pick_base(g), (int32_t)rng_below(&g->r, 256) - 128);
        put_lea(g, X86_RDI, pick_base(g), (int32_t)rng_below(&g->r, 256) - 128);
        memcpy(mov + 1, &count, 4);
        put_insn(g, mov, 5);
        if (rng_percent(&g->r, 15))
                put_insn(g, "\xfd", 1);
        put_string_operation(g);
        if (rng_percent(&g->r, 80))
                put_insn(g, "\xfc", 1);
        forget_register(g, X86_RCX);
}

/* --- Faults -------------------------------------------------------------------------------------------------------- */

/* A store or load that meets the hole before the data in the last rounds only. */
static void put_late_fault(struct gen *g)
{
        unsigned c = g->counter;
        uint32_t address = (uint32_t)DATA_ADDR - 8 * rng_below(&g->r, 5);
        uint8_t b[16] = {0x42, rng_percent(&g->r, 50) ? 0x89 : 0x8b, (uint8_t)(4 | (free_register(g) & 7) << 3), (uint8_t)(0xc5 | (c & 7) << 3)};

        memcpy(b + 4, &address, 4);
        try_insn(g, b + (c < 8));
}

void part_fault(struct gen *g)
{
        static const struct form divides[] = {
                {0, {0xf7}, 6, 0, 50, 0}, {0, {0xf7}, 7, 0, 50, 0}, {0, {0xf6}, 6, 0, 0, 0}, {0, {0x0f, 0x28}, -1, 0, 0, VECTOR_REG}
        };
        unsigned kind = rng_below(&g->r, 10);
        int32_t far = (int32_t)rng_below(&g->r, 2) * 8192 * 8 - 8192 * 4;

        if (kind < 4)
                put_late_fault(g);
        else if (kind < 8)
                put_form(g, &divides[rng_below(&g->r, 4)], pick_base(g), (int32_t)rng_below(&g->r, 64));
        else
                put_form(g, &forms[rng_below(&g->r, 30)], pick_base(g), far);
}

/* --- Code that changes itself ---------------------------------------------------------------------------------------- */

/* Four bytes of whole instructions that leave the pinned registers alone. */
static void pick_variant(struct gen *g, uint8_t *b)
{
        static const uint8_t plain[][4] = {{0x0f, 0x1f, 0x00, 0x90}, {0xf8, 0xf9, 0xf5, 0xf9}, {0x90, 0xf9, 0x66, 0x90}, {0xeb, 0x01, 0xf5, 0xf8}, {0xeb, 0x02, 0xf5, 0xf8}};
        unsigned reg = free_register(g) & 7;

        if (g->pinned >> reg & 1 || reg == X86_RSP || rng_percent(&g->r, 50)) {
                memcpy(b, plain[rng_below(&g->r, 5)], 4);
                return;
        }
        memcpy(b, "\x83\xc0\x05\x90", 4); /* add r32, imm8; nop */
        b[1] |= (uint8_t)reg;
        b[2] = (uint8_t)rng_next(&g->r);
}

/* Bytes that may be changed, and nothing is known about the flags behind them. */
void part_anchor(struct gen *g)
{
        uint8_t b[4];
        struct sequence *s = g->s;

        if (g->n_anchors == ANCHORS_MAX)
                return;
        pick_variant(g, b);
        g->anchor[g->n_anchors++] = (uint16_t)s->length;
        put_insn(g, b, 4);
        g->undefined |= g->may_undefine;
}

/* mov dword [anchor], imm32; or only the byte that holds a constant. */
void part_patch(struct gen *g)
{
        uint8_t b[11] = {0xc7, 0x04, 0x25};
        bool alias = rng_percent(&g->r, 30);
        uint32_t address = (uint32_t)(alias ? ALIAS_ADDR : CODE_ADDR);
        unsigned skip = g->s->bits != 64;

        if (skip)
                b[2] = 0x05;
        b[skip] = 0xc7;
        if (!skip)
                b[1] = 0x04;
        memcpy(b + 3, &address, 4);
        pick_variant(g, b + 7);
        put_insn(g, b + skip, 11 - skip);
        put_fixup(g, g->s->length - 8, FIX_ANCHOR, rng_below(&g->r, ANCHORS_MAX));
        /* Flags that the old bytes would have overwritten may be lost where the new ones do not, unless the engine is told to be exact. */
        if (!compare_exact_flags)
                put_insn(g, "\x38\xc0", 2); /* cmp al, al */
        if (alias || rng_percent(&g->r, 30))
                put_insn(g, "\xeb", 2);
}
