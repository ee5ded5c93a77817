/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Makes short sequences: a few random instructions with forward branches, 64-, 32- and 16-bit code. */

#include <string.h>

#include "gen.h"

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
        struct gen g = {.r = {seed}, .s = s, .may_undefine = ~0u};
        unsigned n = 1 + rng_below(&g.r, 8);
        bool areas = false;
        uint32_t branches = 0;

        memset(s, 0, sizeof(*s));
        rng_next(&g.r);
        g.branches = rng_percent(&g.r, 40);
        s->bits = gen_integer_only() || rng_percent(&g.r, 75) ? 64 : rng_percent(&g.r, 60) ? 32 : 16;
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
