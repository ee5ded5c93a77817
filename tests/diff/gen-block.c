/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Makes blocks: some basic blocks of random instructions and parts, joined by jumps, calls and returns of all kinds, on one page of code or on
 * two, that run several rounds, so that the translator's blocks get hot and linked to each other. */

#include <string.h>

#include "gen.h"

struct profile {
        uint8_t vector, flags;                          /* percent of the random instructions */
        uint8_t memory, stack, string, fault, patch;    /* percent of the parts; the rest are random instructions */
        uint8_t blocks, parts;                          /* at most, and at least one less than half */
};

const char *const gen_profiles[] = {"mixed", "memory", "flags", "branches", "strings", "vectors", "patches", "faults"};
const unsigned gen_n_profiles = sizeof(gen_profiles) / sizeof(gen_profiles[0]);

static const struct profile profiles[] = {
        {.vector = 15, .flags = 20, .memory = 10, .stack = 5, .string = 2, .fault = 1, .blocks = 6, .parts = 6},
        {.vector = 10, .flags = 10, .memory = 60, .stack = 15, .blocks = 4, .parts = 4},
        {.vector = 0, .flags = 70, .memory = 5, .blocks = 8, .parts = 5},
        {.vector = 3, .flags = 30, .memory = 3, .stack = 3, .blocks = 12, .parts = 2},
        {.vector = 5, .flags = 20, .memory = 5, .string = 45, .blocks = 4, .parts = 4},
        {.vector = 75, .flags = 10, .memory = 10, .blocks = 5, .parts = 7},
        {.vector = 5, .flags = 20, .memory = 5, .patch = 40, .blocks = 6, .parts = 4},
        {.vector = 10, .flags = 20, .memory = 15, .stack = 5, .string = 5, .fault = 20, .blocks = 4, .parts = 6},
};

/* --- Instructions -------------------------------------------------------------------------------------------------- */

static void note_insn(struct sequence *s, unsigned start)
{
        s->start[s->n] = start;
        s->size[s->n++] = (uint8_t)(s->length - start);
        s->start[s->n] = s->length;
}

void put_insn(struct gen *g, const void *bytes, unsigned n)
{
        unsigned start = g->s->length;

        put_bytes(g->s, bytes, n);
        note_insn(g->s, start);
}

bool try_insn(struct gen *g, uint8_t *bytes)
{
        unsigned start = g->s->length;

        if (!add_insn(g, bytes))
                return false;
        note_insn(g->s, start);
        return true;
}

static void put_random(struct gen *g)
{
        unsigned start = g->s->length;

        while (!add_random(g))
                ;
        note_insn(g->s, start);
}

void put_fixup(struct gen *g, unsigned at, enum fixup_kind kind, unsigned target)
{
        g->fixup[g->n_fixups++] = (struct fixup){.at = (uint16_t)at, .kind = (uint8_t)kind, .target = (uint8_t)target};
}

void forget_register(struct gen *g, unsigned reg)
{
        g->pointers &= (uint16_t)~(1u << reg);
        g->small &= (uint16_t)~(1u << reg);
}

unsigned free_register(struct gen *g)
{
        for (;;) {
                unsigned r = rng_below(&g->r, g->s->bits == 64 ? 16 : 8);

                if (r != X86_RSP && !(g->pinned >> r & 1))
                        return r;
        }
}

/* mov r32, imm32 */
static void put_mov_imm(struct gen *g, unsigned reg, uint32_t value)
{
        uint8_t b[6] = {0x41, (uint8_t)(0xb8 | (reg & 7))};

        memcpy(b + 2, &value, 4);
        put_insn(g, b + (reg < 8), 6 - (reg < 8));
        forget_register(g, reg);
}

static void put_mov_label(struct gen *g, unsigned reg, unsigned label)
{
        put_mov_imm(g, reg, 0);
        put_fixup(g, g->s->length - 4, FIX_ABS32, label);
}

/* --- Branches ------------------------------------------------------------------------------------------------------ */

static uint32_t tested_flags(unsigned cc)
{
        static const uint32_t flags[] = {X86_FLAG_OF, X86_FLAG_CF, X86_FLAG_ZF, X86_FLAG_CF | X86_FLAG_ZF, X86_FLAG_SF, X86_FLAG_PF,
                X86_FLAG_SF | X86_FLAG_OF, X86_FLAG_SF | X86_FLAG_OF | X86_FLAG_ZF};

        return flags[cc >> 1];
}

/* A condition that only looks at what is defined, or -1. */
static int pick_condition(struct gen *g)
{
        for (unsigned k = 0; k < 20; k++) {
                unsigned cc = rng_below(&g->r, 16);

                if (!(tested_flags(cc) & g->undefined))
                        return (int)cc;
        }
        return -1;
}

static void put_jump(struct gen *g, unsigned label)
{
        if (rng_percent(&g->r, 50)) {
                put_insn(g, "\xeb", 2);
                put_fixup(g, g->s->length - 1, FIX_REL8, label);
        } else {
                put_insn(g, "\xe9\0\0\0", 5);
                put_fixup(g, g->s->length - 4, FIX_REL32, label);
        }
}

static void put_jcc_far(struct gen *g, unsigned cc, unsigned label)
{
        uint8_t b[6] = {0x0f, (uint8_t)(0x80 | cc)};

        put_insn(g, b, 6);
        put_fixup(g, g->s->length - 4, FIX_REL32, label);
}

static void put_jcc(struct gen *g, unsigned label)
{
        int cc = pick_condition(g);
        uint8_t b[2] = {(uint8_t)(0x70 | cc)};

        if (cc >= 0 && rng_percent(&g->r, 50)) {
                put_jcc_far(g, (unsigned)cc, label);
                return;
        }
        if (cc < 0)
                b[0] = 0xe3; /* jrcxz */
        put_insn(g, b, 2);
        put_fixup(g, g->s->length - 1, FIX_REL8, label);
}

/* jmp reg (4) or call reg (2) with reg one of two labels. */
static void put_indirect(struct gen *g, unsigned op, unsigned label, unsigned other)
{
        unsigned reg = free_register(g), second = free_register(g);
        int cc = pick_condition(g);
        uint8_t cmov[4], b[3] = {0x41, 0xff, (uint8_t)(0xc0 | op << 3 | (reg & 7))};

        put_mov_label(g, reg, label);
        if (cc >= 0 && second != reg && rng_percent(&g->r, 60)) {
                put_mov_label(g, second, other);
                cmov[0] = (uint8_t)(0x40 | (reg >= 8) << 2 | (second >= 8));
                cmov[1] = 0x0f;
                cmov[2] = (uint8_t)(0x40 | cc);
                cmov[3] = (uint8_t)(0xc0 | (reg & 7) << 3 | (second & 7));
                put_insn(g, cmov + (g->s->bits != 64), 4 - (g->s->bits != 64));
        }
        put_insn(g, b + (reg < 8), 3 - (reg < 8));
}

/* A table of labels that lies behind the code, and jmp [table + counter * size]. */
static void put_switch(struct gen *g, unsigned first, unsigned last)
{
        struct sequence *s = g->s;
        unsigned size = s->bits / 8, table = CODE_SIZE - 64 * (1 + rng_below(&g->r, 8)), c = g->counter;
        uint8_t b[8] = {0x42, 0xff, 0x24, (uint8_t)((size == 8 ? 0xc5 : 0x85) | (c & 7) << 3)};
        uint32_t address = (uint32_t)CODE_ADDR + table;

        if (g->n_fixups + 12 > FIXUPS_MAX)
                return;
        for (unsigned k = 0; k < 64 / size; k++) {
                memset(s->code + table + k * size, 0, size);
                put_fixup(g, table + k * size, FIX_ABS32, first + rng_below(&g->r, last - first + 1));
        }
        memcpy(b + 4, &address, 4);
        put_insn(g, b + (c < 8), 8 - (c < 8));
}

static void put_push_ret(struct gen *g, unsigned label)
{
        put_insn(g, "\x68\0\0\0", 5);
        put_fixup(g, g->s->length - 4, FIX_ABS32, label);
        put_insn(g, "\xc3", 1);
}

/* What block k ends with; later blocks are k + 1 to last, subroutines behind that. */
static void put_end(struct gen *g, unsigned k, unsigned last, unsigned n_subs)
{
        unsigned kind = rng_below(&g->r, 100), to = k + 1 + rng_below(&g->r, last - k), sub = last + 1 + (n_subs ? rng_below(&g->r, n_subs) : 0);

        if (kind < 20)
                return;
        if (kind < 50)
                put_jcc(g, to);
        else if (kind < 58)
                put_jump(g, to);
        else if (kind < 74 && n_subs) {
                put_insn(g, "\xe8\0\0\0", 5);
                put_fixup(g, g->s->length - 4, FIX_REL32, sub);
        } else if (kind < 80)
                put_indirect(g, 4, to, k + 1 + rng_below(&g->r, last - k));
        else if (kind < 88 && n_subs)
                put_indirect(g, 2, sub, last + 1 + rng_below(&g->r, n_subs));
        else if (kind < 94)
                put_switch(g, k + 1, last);
        else
                put_push_ret(g, to);
}

/* --- Loops --------------------------------------------------------------------------------------------------------- */

/* Counts reg down and goes back while it is not 0. */
static void put_loop(struct gen *g, unsigned reg, unsigned label)
{
        bool wide = g->s->bits == 64;
        unsigned first = g->s->n;
        uint8_t rex = (uint8_t)(0x48 | (reg >= 8)), low = (uint8_t)(reg & 7);
        uint8_t dec[3] = {rex, 0xff, (uint8_t)(0xc8 | low)}, sub[4] = {rex, 0x83, (uint8_t)(0xe8 | low), 1};
        uint8_t add[4] = {rex, 0x83, (uint8_t)(0xc0 | low), 0xff}, lea[4] = {0x48, 0x8d, 0x49, 0xff};

        switch (reg == X86_RCX && rng_percent(&g->r, 80) ? 3 : rng_below(&g->r, 3)) {
        case 0:
                put_insn(g, dec + !wide, 2u + wide);
                put_jcc_far(g, 5, label);
                break;
        case 1:
                put_insn(g, sub + !wide, 3u + wide);
                put_jcc_far(g, rng_percent(&g->r, 50) ? 5 : 7, label);
                break;
        case 2:
                put_insn(g, add + !wide, 3u + wide);
                put_jcc_far(g, 5, label);
                break;
        default: /* the flags live on; 2 is the length of the jump over the jump back */
                put_insn(g, lea + !wide, 3u + wide);
                put_insn(g, "\xe3\x05", 2);
                put_insn(g, "\xe9\0\0\0", 5);
                put_fixup(g, g->s->length - 4, FIX_REL32, label);
        }
        for (unsigned k = first; k < g->s->n; k++)
                g->s->keep[k] = true;
}

/* --- Parts --------------------------------------------------------------------------------------------------------- */

static bool has_room(const struct gen *g)
{
        return g->s->n < INSNS_MAX - 40 && g->n_fixups < FIXUPS_MAX - 40;
}

static void put_part(struct gen *g, const struct profile *p)
{
        unsigned kind = rng_below(&g->r, 100);

        if (!has_room(g))
                return;
        if (kind < p->memory)
                part_memory(g);
        else if ((kind -= p->memory) < p->stack && !g->no_stack)
                part_stack(g);
        else if ((kind -= p->stack) < p->string)
                part_string(g);
        else if ((kind -= p->string) < p->fault)
                part_fault(g);
        else if ((kind -= p->fault) < p->patch)
                rng_percent(&g->r, 50) ? part_patch(g) : part_anchor(g);
        else
                put_random(g);
}

static void start_block(struct gen *g, unsigned label)
{
        g->label[label] = (uint16_t)g->s->length;
        g->undefined = g->may_undefine;
        g->pointers = g->bases;
        g->small = (uint16_t)(1u << g->counter);
}

static void put_parts(struct gen *g, const struct profile *p)
{
        for (unsigned n = p->parts / 2 + rng_below(&g->r, p->parts + 1u - p->parts / 2); n > 0; n--)
                put_part(g, p);
}

static void put_block(struct gen *g, const struct profile *p, unsigned k, unsigned last, unsigned n_subs)
{
        bool loop = g->s->bits == 64 && rng_percent(&g->r, 15);

        start_block(g, k);
        if (loop) {
                put_mov_imm(g, g->inner, 1 + rng_below(&g->r, 4));
                g->s->keep[g->s->n - 1] = true;
                start_block(g, LABELS_MAX / 2 + k);
        }
        put_parts(g, p);
        if (loop)
                put_loop(g, g->inner, LABELS_MAX / 2 + k);
        put_end(g, k, last, n_subs);
}

static void put_return(struct gen *g)
{
        unsigned reg = free_register(g);
        uint8_t pop[2] = {0x41, (uint8_t)(0x58 | (reg & 7))}, jmp[3] = {0x41, 0xff, (uint8_t)(0xe0 | (reg & 7))};

        if (rng_percent(&g->r, 75)) {
                put_insn(g, "\xc3", 1);
        } else if (rng_percent(&g->r, 50)) {
                put_insn(g, "\xc2\x08", 3);
        } else {
                put_insn(g, pop + (reg < 8), 2 - (reg < 8));
                put_insn(g, jmp + (reg < 8), 3 - (reg < 8));
        }
}

static void put_subroutine(struct gen *g, const struct profile *p, unsigned label, unsigned end)
{
        start_block(g, label);
        g->no_stack = true;
        put_parts(g, p);
        if (label + 1 < end && rng_percent(&g->r, 25)) {
                put_insn(g, "\xe8\0\0\0", 5);
                put_fixup(g, g->s->length - 4, FIX_REL32, label + 1 + rng_below(&g->r, end - label - 1));
        }
        put_return(g);
}

/* --- The whole ------------------------------------------------------------------------------------------------------- */

static void fix(struct gen *g, const struct fixup *f)
{
        struct sequence *s = g->s;
        uint32_t value, old;
        int32_t distance;

        memcpy(&old, s->code + f->at, 4);
        switch (f->kind) {
        case FIX_REL8:
                distance = g->label[f->target] - (f->at + 1);
                s->code[f->at] = distance >= -128 && distance < 128 ? (uint8_t)distance : 0;
                return;
        case FIX_REL32:
                value = g->label[f->target] - (f->at + 4u);
                break;
        case FIX_ABS32:
                value = (uint32_t)CODE_ADDR + g->label[f->target];
                break;
        default:
                value = old + g->anchor[f->target % g->n_anchors];
        }
        memcpy(s->code + f->at, &value, 4);
}

static unsigned pin(struct gen *g, bool strings)
{
        unsigned r;

        do
                r = free_register(g);
        while (strings && (r == X86_RSI || r == X86_RDI || r == X86_RCX));
        g->pinned |= (uint16_t)(1u << r);
        return r;
}

/* A register that points into the data for all of the block. */
static void pin_base(struct gen *g, bool strings)
{
        unsigned r = pin(g, strings), kind = rng_below(&g->r, 10);
        uint64_t address = DATA_ADDR + 4096 * rng_below(&g->r, DATA_PAGES);

        if (kind < 6)
                address += 512 + 64 * rng_below(&g->r, 48);
        else if (kind < 9) /* around a page end */
                address += 4096 - 8 * rng_below(&g->r, 24);
        else
                address = data_pointer(&g->r);
        g->s->in.gpr[r] = address;
        g->bases |= (uint16_t)(1u << r);
}

/* What instructions may leave undefined: the less, the more may look at flags across blocks. */
static uint32_t pick_undefined(struct rng *r)
{
        static const uint32_t sets[] = {
                X86_FLAG_AF, X86_FLAG_AF, X86_FLAG_AF | X86_FLAG_OF, X86_FLAG_AF | X86_FLAG_OF | X86_FLAG_SF | X86_FLAG_PF | X86_FLAG_ZF,
                X86_FLAG_AF | X86_FLAG_OF | X86_FLAG_SF | X86_FLAG_PF | X86_FLAG_ZF | X86_FLAG_CF
        };

        return sets[rng_below(r, 5)];
}

static void prepare(struct gen *g, bool strings)
{
        random_registers(g);
        g->counter = !strings && rng_percent(&g->r, 25) ? X86_RCX : pin(g, strings);
        g->pinned |= (uint16_t)(1u << g->counter);
        g->s->in.gpr[g->counter] = 1 + rng_below(&g->r, 7);
        g->inner = g->s->bits == 64 ? pin(g, strings) : X86_RSP;
        pin_base(g, strings);
        if (g->s->bits == 64 || rng_percent(&g->r, 30))
                pin_base(g, strings);
        g->may_undefine = g->s->undefined = pick_undefined(&g->r);
        g->s->in.rflags &= rng_percent(&g->r, 85) ? ~(uint64_t)X86_FLAG_DF : ~0ULL;
}

void gen_block(struct sequence *s, unsigned profile, uint64_t seed)
{
        const struct profile *p = &profiles[profile];
        struct gen g = {.r = {seed}, .s = s};
        unsigned last, n_subs, crossing;

        memset(s, 0, sizeof(*s));
        memset(s->code, 0xcc, sizeof(s->code));
        rng_next(&g.r);
        s->block = true;
        s->bits = rng_percent(&g.r, 75) ? 64 : 32;
        s->writable = p->patch;
        g.vector_percent = p->vector;
        g.flags_percent = p->flags;
        prepare(&g, p->string >= 20);
        last = p->blocks / 3 + rng_below(&g.r, p->blocks - p->blocks / 3);
        n_subs = rng_below(&g.r, 4);
        crossing = rng_below(&g.r, 3); /* subroutines on the other page, main part across, all on one page */
        s->length = crossing == 1 ? 4096 - rng_below(&g.r, 200) : 64 + rng_below(&g.r, 1500);
        s->in.rip = CODE_ADDR + s->length;
        for (unsigned k = 0; k < last; k++)
                put_block(&g, p, k, last, n_subs);
        start_block(&g, last);
        put_part(&g, p);
        put_loop(&g, g.counter, 0);
        if (p->patch && !g.n_anchors)
                part_anchor(&g);
        put_insn(&g, "\xcc", 1);
        if (crossing == 0)
                s->length = 4096 + rng_below(&g.r, 1000);
        for (unsigned k = 0; k < n_subs; k++)
                put_subroutine(&g, p, last + 1 + k, last + 1 + n_subs);
        for (unsigned k = 0; k < g.n_fixups; k++)
                fix(&g, &g.fixup[k]);
        s->length = CODE_SIZE;
}
