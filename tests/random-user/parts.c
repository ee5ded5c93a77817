/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Parts of programs: instructions that belong together. What is known of registers and flags holds behind a part whichever way it was left. */

#include <string.h>

#include "random-user.h"

#define BODY_ROOM 700 /* bytes that a part and what ends the function may need */

static void known(struct gen *g, unsigned reg, enum kind kind, enum buffer b, int32_t lo, int32_t hi)
{
        g->s.reg[reg] = (struct value){ .kind = (uint8_t)kind, .buffer = (uint8_t)b, .lo = lo, .hi = hi };
}

void merge(struct state *s, const struct state *other)
{
        for (unsigned k = 0; k < 16; k++) {
                struct value *a = &s->reg[k];
                const struct value *b = &other->reg[k];

                if (a->kind != b->kind || (a->kind == POINTER && a->buffer != b->buffer)) {
                        *a = (struct value){ .kind = ANY };
                } else {
                        a->lo = a->lo < b->lo ? a->lo : b->lo;
                        a->hi = a->hi > b->hi ? a->hi : b->hi;
                }
        }
        s->undefined |= other->undefined;
}

static bool room(const struct gen *g)
{
        return g->left > 0 && g->at + BODY_ROOM < g->end;
}

void put_body(struct gen *g, unsigned parts)
{
        while (parts-- && room(g))
                random_part(g);
}

static void put_plain(struct gen *g, unsigned n)
{
        for (unsigned tries = 0; n && tries < 50; tries++)
                n -= random_insn(g);
}

void put_cmp(struct gen *g)
{
        if (rng_percent(&g->r, 50))
                put_rr(g, 0x39, rng_percent(&g->r, 50), pick_source(g), pick_source(g));
        else
                put_ri(g, 7, rng_percent(&g->r, 50), pick_source(g), (int32_t)rng_below(&g->r, 256) - 128);
        flags_after(g, ALL, 0);
}

/* A register, not among those, that may be written now. */
static unsigned free_register(struct gen *g, unsigned but)
{
        unsigned reg;
        uint16_t pinned = g->s.pinned;

        g->s.pinned |= (uint16_t)but;
        reg = pick_dest(g);
        g->s.pinned = pinned;
        return reg;
}

static unsigned n_free(const struct gen *g)
{
        return (unsigned)__builtin_popcount(0xffffu & ~g->s.pinned & ~(1u << RSP));
}

/* --- Pointers and small numbers ----------------------------------------------------------------------------------------------------- */

static int32_t pointer_offset(struct gen *g, enum buffer b)
{
        int32_t at = (int32_t)rng_below(&g->r, b == STACK ? STACK_FREE : BUFFER_SIZE);

        if (rng_percent(&g->r, 20))
                at = (int32_t)(PAGE * (1 + rng_below(&g->r, b == STACK ? 1 : 3))) - (int32_t)rng_below(&g->r, 64) + 8;
        return rng_percent(&g->r, 80) ? at & ~31 : at;
}

/* The register holds that address behind it. */
static void put_address(struct gen *g, unsigned reg, enum buffer b, int32_t at)
{
        struct program *p = g->p;

        if (b == NEAR && (p->movable || rng_percent(&g->r, 60)))
                put_rm(g, 0x8d, true, reg, &(struct mem){ .base = RIP, .index = NONE, .disp = NEAR_AT + at });
        else
                put_mov_imm(g, reg, (b == NEAR ? p->base + NEAR_AT : b == FAR ? p->far : p->far + STACK_AT) + (uint64_t)at);
        known(g, reg, POINTER, b, at, at);
}

void put_pointer(struct gen *g)
{
        unsigned reg = pick_dest(g), b = rng_below(&g->r, N_BUFFERS), from = rng_below(&g->r, 16);
        struct value v = g->s.reg[from];
        int32_t by = (int32_t)rng_below(&g->r, 256) - 128;

        if (reg == NONE)
                return;
        if (v.kind != POINTER || rng_percent(&g->r, 40)) {
                put_address(g, reg, b, pointer_offset(g, b));
        } else if (rng_percent(&g->r, 30)) {
                put_rr(g, 0x89, true, from, reg);
                g->s.reg[reg] = v;
        } else if (v.lo + by >= 0 && v.hi + by < BUFFER_SIZE) {
                put_rm(g, 0x8d, true, reg, &(struct mem){ .base = (uint8_t)from, .index = NONE, .disp = by });
                known(g, reg, POINTER, v.buffer, v.lo + by, v.hi + by);
        }
}

/* A pointer that moves a little. */
static void part_advance(struct gen *g)
{
        unsigned reg = rng_below(&g->r, 16);
        struct value *v = &g->s.reg[reg];
        int32_t by = (int32_t)(rng_below(&g->r, 16) + 1) * (rng_percent(&g->r, 80) ? 8 : 1);

        by = rng_percent(&g->r, 25) ? -by : by;
        if (v->kind != POINTER || reg == RSP || !may_write(g, 1u << reg) || v->lo + by < 0 || v->hi + by >= BUFFER_SIZE)
                return;
        if (by < 0 && rng_percent(&g->r, 50))
                put_ri(g, 5, true, reg, -by);
        else
                put_ri(g, 0, true, reg, by);
        flags_after(g, ALL, 0);
        v->lo += by;
        v->hi += by;
}

static void part_small(struct gen *g)
{
        static const uint8_t masks[] = { 1, 3, 7, 15, 31, 63, 127 };
        unsigned reg = pick_dest(g), mask = masks[rng_below(&g->r, 7)];
        uint8_t movzx[4] = { 0x40, 0x0f, 0xb6, 0xc0 };

        if (reg == NONE)
                return;
        switch (rng_below(&g->r, 4)) {
        case 0:
                movzx[0] |= (uint8_t)((reg >= R8) * 5);
                movzx[3] |= (uint8_t)((reg & 7) * 9);
                emit_bytes(g, movzx, 4);
                known(g, reg, SMALL, 0, 0, 255);
                break;
        case 1:
                put_mov_imm(g, reg, mask);
                known(g, reg, SMALL, 0, (int32_t)mask, (int32_t)mask);
                break;
        default:
                put_ri(g, 4, rng_percent(&g->r, 50), reg, (int32_t)mask);
                flags_after(g, LOGIC_FLAGS, A);
                known(g, reg, SMALL, 0, 0, (int32_t)mask);
        }
}

/* Accesses near each other off one register, as of a structure. */
static void part_group(struct gen *g)
{
        unsigned n = 2 + rng_below(&g->r, 6), first = rng_below(&g->r, 16);

        for (unsigned k = 0; k < 16 && g->prefer == NONE; k++)
                if (g->s.reg[(first + k) & 15].kind == POINTER && (first + k) % 16 != RSP)
                        g->prefer = (first + k) & 15;
        if (g->prefer == NONE)
                return;
        for (unsigned k = 0; k < n && g->s.reg[g->prefer].kind == POINTER; k++)
                put_plain(g, 1);
        g->prefer = NONE;
}

/* --- Branches ------------------------------------------------------------------------------------------------------------------------ */

static uint8_t pick_jump(struct gen *g, bool near)
{
        unsigned cond = pick_condition(g);

        if (!near && rng_percent(&g->r, 3))
                return 0xe3; /* jrcxz */
        if (cond == 16 || rng_percent(&g->r, 40)) {
                put_cmp(g);
                cond = rng_below(&g->r, 16);
        }
        return (uint8_t)(0x70 | cond);
}

/* What a failed attempt has to take back. */
struct mark {
        struct state s;
        uint32_t at, cost, tables;
        int left;
        unsigned n_entries, n_patches, n_insns;
};

static struct mark mark(const struct gen *g)
{
        return (struct mark){ g->s, g->at, g->p->cost, g->p->tables, g->left, g->p->n_entries, g->p->n_patches, g->p->n_insns };
}

static void go_back(struct gen *g, const struct mark *m)
{
        memset(g->p->length + m->at, 0, g->at - m->at);
        memset(g->p->cmps + m->at, 0, g->at - m->at);
        g->s = m->s;
        g->at = m->at;
        g->left = m->left;
        g->p->cost = m->cost;
        g->p->tables = m->tables;
        g->p->n_entries = m->n_entries;
        g->p->n_patches = m->n_patches;
        g->p->n_insns = m->n_insns;
}

static bool try_if(struct gen *g, bool near, bool with_else)
{
        uint8_t op = pick_jump(g, near);
        uint32_t jump = emit_jump(g, op, near), over;
        struct state before = g->s, first;
        bool reaches;

        put_body(g, 1 + rng_below(&g->r, 3));
        if (!with_else) {
                reaches = jump_reaches(g, jump, near);
                jump_here(g, jump, near);
                merge(&g->s, &before);
                return reaches;
        }
        over = emit_jump(g, 0xeb, near);
        reaches = jump_reaches(g, jump, near);
        jump_here(g, jump, near);
        first = g->s;
        g->s = before;
        put_body(g, 1 + rng_below(&g->r, 2));
        reaches &= jump_reaches(g, over, near);
        jump_here(g, over, near);
        merge(&g->s, &first);
        return reaches;
}

static void part_if(struct gen *g)
{
        bool near = rng_percent(&g->r, 40), with_else = rng_percent(&g->r, 35);
        struct mark m = mark(g);

        g->nesting++;
        if (!try_if(g, near, with_else)) {
                go_back(g, &m);
                try_if(g, true, with_else);
        }
        g->nesting--;
}

/* Registers of which something is known stay as they are in the loop, or are forgotten. */
static void enter_loop(struct gen *g)
{
        for (unsigned k = 0; k < 16; k++) {
                if (k == RSP || g->s.reg[k].kind == ANY || (g->s.pinned >> k & 1))
                        continue;
                if (rng_percent(&g->r, 70))
                        g->s.pinned |= (uint16_t)(1u << k);
                else
                        wrote(g, k);
        }
        g->s.undefined = ALL;
}

/* A pointer that each round moves on by step bytes. Returns it. */
static unsigned loop_pointer(struct gen *g, unsigned rounds, int32_t step)
{
        unsigned first = rng_below(&g->r, 16);

        for (unsigned k = 0; k < 16; k++) {
                unsigned reg = (first + k) & 15;
                struct value *v = &g->s.reg[reg];

                if (reg == RSP || v->kind != POINTER || !may_write(g, 1u << reg) || v->hi + (int32_t)rounds * step >= BUFFER_SIZE)
                        continue;
                v->hi += (int32_t)(rounds - 1) * step;
                g->s.pinned |= (uint16_t)(1u << reg);
                return reg;
        }
        return NONE;
}

/* Ends a loop that counts down to 0. */
static bool count_down(struct gen *g, unsigned counter, uint32_t head)
{
        bool near = g->at - head > 100 || rng_percent(&g->r, 20);
        uint8_t dec[3] = { (uint8_t)(0x48 | (counter >= R8)), 0xff, (uint8_t)(0xc8 | (counter & 7)) };
        uint32_t jump;

        if (counter == RCX && !near && rng_percent(&g->r, 60)) {
                jump_to(g, emit_jump(g, 0xe2, false), false, head);
                return true;
        }
        if (rng_percent(&g->r, 50)) {
                emit_bytes(g, dec, 3);
                flags_after(g, ALL & ~C, 0);
        } else {
                put_ri(g, 5, rng_percent(&g->r, 50), counter, 1);
                flags_after(g, ALL, 0);
        }
        jump = emit_jump(g, 0x75, near);
        jump_to(g, jump, near, head);
        return true;
}

static void count_up(struct gen *g, unsigned counter, unsigned rounds, uint32_t head)
{
        bool near = g->at - head > 100;
        uint32_t jump;

        put_ri(g, 0, rng_percent(&g->r, 50), counter, 1);
        put_ri(g, 7, rng_percent(&g->r, 50), counter, (int32_t)rounds);
        flags_after(g, ALL, 0);
        jump = emit_jump(g, rng_percent(&g->r, 50) ? 0x75 : 0x72, near);
        jump_to(g, jump, near, head);
}

static void part_loop(struct gen *g)
{
        unsigned rounds = 2 + rng_below(&g->r, 7), counter = rng_percent(&g->r, 25) && may_write(g, 1u << RCX) ? RCX : pick_dest(g), moving = NONE;
        int32_t step = rng_percent(&g->r, 80) ? 8 : (int32_t)rng_below(&g->r, 48) + 1;
        bool up = rng_percent(&g->r, 40);
        uint16_t pinned = g->s.pinned;
        uint32_t head, times = g->times;

        if (counter == NONE || g->nesting > 1 || g->times * rounds > 60)
                return;
        put_mov_imm(g, counter, up ? 0 : rounds);
        known(g, counter, SMALL, 0, !up, (int32_t)rounds - up);
        g->s.pinned |= (uint16_t)(1u << counter);
        if (rng_percent(&g->r, 60))
                moving = loop_pointer(g, rounds, step);
        enter_loop(g);
        head = g->at;
        g->nesting++;
        g->times *= rounds;
        put_body(g, 1 + rng_below(&g->r, 4));
        if (moving != NONE) {
                put_ri(g, 0, true, moving, step);
                flags_after(g, ALL, 0);
                g->s.reg[moving].lo += step;
                g->s.reg[moving].hi += step;
        }
        if (up)
                count_up(g, counter, rounds, head);
        else
                count_down(g, counter, head);
        g->times = times;
        g->nesting--;
        g->s.pinned = pinned;
        wrote(g, counter);
}

static uint32_t new_entry(struct gen *g, uint32_t target, uint32_t from)
{
        struct program *p = g->p;
        uint32_t at = TABLES_AT + p->tables;

        p->entries[p->n_entries++] = (struct table_entry){ .at = at, .target = target, .from = from };
        p->tables += from ? 4 : 8;
        return at;
}

static bool tables_full(const struct gen *g)
{
        return g->p->n_entries + 8 > ENTRIES_MAX || g->p->tables + 64 > PAGE / 2;
}

/* jmp or call (digit 4 or 2) by a register or memory. */
static void put_indirect(struct gen *g, unsigned digit, unsigned rm, const struct mem *m)
{
        struct insn i = { .op = 0xff, .digit = (int8_t)digit };

        emit(g, &(struct op){ .i = &i, .size = 2, .rm = rm, .m = m });
}

/* To the place that entry + index (pinned) names. */
static void put_switch_jump(struct gen *g, unsigned index, uint32_t table, bool offsets)
{
        struct program *p = g->p;
        unsigned base = free_register(g, 1u << index), to = free_register(g, 1u << index | (base != NONE ? 1u << base : 0));
        struct mem at = { .base = NONE, .index = (uint8_t)index, .scale = 3 };

        if (!offsets && !p->movable && p->base + AREA_SIZE < 1ULL << 31 && rng_percent(&g->r, 70)) {
                at.disp = (int32_t)(p->base + table);
                put_indirect(g, 4, 0, &at);
                return;
        }
        put_rm(g, 0x8d, true, base, &(struct mem){ .base = RIP, .index = NONE, .disp = (int32_t)table });
        at.base = (uint8_t)base;
        if (offsets) {
                at.scale = 2;
                put_rm(g, 0x63, true, to, &at);
                put_rr(g, 0x01, true, base, to);
                flags_after(g, ALL, 0);
                wrote(g, to);
                put_indirect(g, 4, to, NULL);
        } else if (rng_percent(&g->r, 50)) {
                put_rm(g, 0x8b, true, to, &at);
                wrote(g, to);
                put_indirect(g, 4, to, NULL);
        } else {
                put_indirect(g, 4, 0, &at);
        }
        wrote(g, base);
}

static void part_switch(struct gen *g)
{
        unsigned n = 1u << (1 + rng_below(&g->r, 2)), index = pick_dest(g), first = g->p->n_entries;
        bool offsets = rng_percent(&g->r, 50);
        uint32_t table, end[4];
        struct state before, sum;

        if (index == NONE || tables_full(g) || n_free(g) < 3)
                return;
        g->p->tables = (g->p->tables + 7) & ~7u;
        table = TABLES_AT + g->p->tables;
        for (unsigned k = 0; k < n; k++)
                new_entry(g, 0, offsets ? table : 0);
        put_ri(g, 4, rng_percent(&g->r, 30), index, (int32_t)n - 1);
        flags_after(g, LOGIC_FLAGS, A);
        known(g, index, SMALL, 0, 0, (int32_t)n - 1);
        g->s.pinned |= (uint16_t)(1u << index);
        put_switch_jump(g, index, table, offsets);
        g->s.pinned &= (uint16_t)~(1u << index);
        before = g->s;
        g->nesting++;
        for (unsigned k = 0; k < n; k++) {
                g->p->entries[first + k].target = g->at;
                g->s = before;
                put_body(g, 1);
                end[k] = emit_jump(g, 0xeb, true);
                if (k)
                        merge(&sum, &g->s);
                else
                        sum = g->s;
        }
        for (unsigned k = 0; k < n; k++)
                jump_here(g, end[k], true);
        g->s = sum;
        g->nesting--;
}

/* --- Stack --------------------------------------------------------------------------------------------------------------------------- */

static void move_rsp(struct gen *g, int32_t by)
{
        struct value *v = &g->s.reg[RSP];

        v->lo += by;
        v->hi += by;
        g->s.depth = (uint16_t)(g->s.depth - by);
        g->s.align = 1;
}

static void put_push_reg(struct gen *g, unsigned reg)
{
        struct insn i = { .op = 0x50, .how = OP_REG | NO_MODRM };

        emit(g, &(struct op){ .i = &i, .size = 2, .rm = reg, .plus = reg & 7 });
        move_rsp(g, -8);
}

static void put_pop_reg(struct gen *g, unsigned reg)
{
        struct insn i = { .op = 0x58, .how = OP_REG | NO_MODRM };

        emit(g, &(struct op){ .i = &i, .size = 2, .rm = reg, .plus = reg & 7 });
        move_rsp(g, 8);
}

static void put_push(struct gen *g)
{
        uint8_t imm[5] = { 0x6a, (uint8_t)rng_next(&g->r) };
        struct insn i = { .op = 0xff, .digit = 6 };
        unsigned kind = rng_below(&g->r, 10);
        struct mem m;

        if (kind < 6) {
                put_push_reg(g, pick_source(g));
        } else if (kind < 8) {
                if (rng_percent(&g->r, 50)) {
                        imm[0] = 0x68;
                        memcpy(imm + 1, &(uint32_t){ (uint32_t)rng_next(&g->r) }, 4);
                }
                emit_bytes(g, imm, imm[0] == 0x68 ? 5 : 2);
                move_rsp(g, -8);
        } else {
                choose_mem(g, 8, 1, false, &m);
                emit(g, &(struct op){ .i = &i, .size = 2, .m = &m });
                move_rsp(g, -8);
        }
}

static void put_pop(struct gen *g)
{
        struct insn i = { .op = 0x8f, .digit = 0 };
        unsigned reg = pick_dest(g);
        struct mem m;

        choose_mem(g, 8, 1, true, &m);
        if (m.base != RSP && (reg == NONE || rng_percent(&g->r, 20))) {
                emit(g, &(struct op){ .i = &i, .size = 2, .m = &m });
                move_rsp(g, 8);
        } else if (reg != NONE) {
                put_pop_reg(g, reg);
                wrote(g, reg);
        } else {
                put_rm(g, 0x8d, true, RSP, &(struct mem){ .base = RSP, .index = NONE, .disp = 8 });
                move_rsp(g, 8);
        }
}

static bool stack_left(const struct gen *g, unsigned bytes)
{
        return g->s.depth + bytes <= BODY_DEPTH;
}

static void part_push(struct gen *g)
{
        unsigned n = 1 + rng_below(&g->r, 5), align = g->s.align, locals = g->s.locals;

        if (!stack_left(g, 64))
                return;
        g->s.locals = 0;
        for (unsigned k = 0; k < n; k++)
                put_push(g);
        g->nesting++;
        put_body(g, rng_below(&g->r, 3));
        g->nesting--;
        for (unsigned k = 0; k < n; k++)
                put_pop(g);
        g->s.align = (uint16_t)align;
        g->s.locals = (uint16_t)locals;
}

/* A frame with room for locals, with RBP or without it. */
static void part_frame(struct gen *g)
{
        unsigned size = 16 * (1 + rng_below(&g->r, 6)), locals = g->s.locals, align = g->s.align, how = rng_below(&g->r, 3);
        struct value rsp = g->s.reg[RSP], rbp = g->s.reg[RBP];
        uint16_t pinned = g->s.pinned, depth = g->s.depth;
        bool aligned;

        if (!stack_left(g, 160) || (how && !may_write(g, 1u << RBP)))
                return;
        g->s.align = 1;
        if (how == 2) {
                emit_bytes(g, (uint8_t[4]){ 0xc8, (uint8_t)size, 0, 0 }, 4); /* enter */
        } else if (how) {
                put_push_reg(g, RBP);
                put_rr(g, 0x89, true, RSP, RBP);
        }
        if (how == 1 && rng_percent(&g->r, 30)) {
                put_ri(g, 4, true, RSP, -32);
                flags_after(g, LOGIC_FLAGS, A);
                g->s.align = 32;
                size = 32 * (1 + rng_below(&g->r, 2));
        }
        aligned = g->s.align == 32;
        if (how != 2) {
                put_ri(g, 5, true, RSP, (int32_t)size);
                flags_after(g, ALL, 0);
        }
        if (how)
                known(g, RBP, POINTER, STACK, rsp.lo - 8, rsp.hi - 8);
        g->s.reg[RSP].lo = rsp.lo - (int32_t)size - (how ? 8 : 0) - 32;
        g->s.reg[RSP].hi = rsp.hi - (int32_t)size - (how ? 8 : 0);
        g->s.align = aligned ? 32 : 1;
        g->s.depth = (uint16_t)(depth + size + 40);
        g->s.locals = (uint16_t)size;
        if (how)
                g->s.pinned |= 1u << RBP;
        g->nesting++;
        put_body(g, 2 + rng_below(&g->r, 4));
        g->nesting--;
        if (how) {
                emit_bytes(g, "\xc9", 1); /* leave */
        } else if (rng_percent(&g->r, 50)) {
                put_ri(g, 0, true, RSP, (int32_t)size);
                flags_after(g, ALL, 0);
        } else {
                put_rm(g, 0x8d, true, RSP, &(struct mem){ .base = RSP, .index = NONE, .disp = (int32_t)size });
        }
        g->s.reg[RSP] = rsp;
        g->s.reg[RBP] = how ? rbp : g->s.reg[RBP];
        g->s.pinned = pinned;
        g->s.depth = depth;
        g->s.locals = (uint16_t)locals;
        g->s.align = (uint16_t)align;
}

/* RSP elsewhere for a while. */
static void part_other_stack(struct gen *g)
{
        unsigned save = pick_dest(g), b = rng_percent(&g->r, 50) ? NEAR : FAR, n = 1 + rng_below(&g->r, 3);
        struct state before;

        if (save == NONE || g->in_function)
                return;
        put_rr(g, 0x89, true, RSP, save);
        wrote(g, save);
        before = g->s;
        put_address(g, RSP, b, 256 + 8 * (int32_t)rng_below(&g->r, 1900));
        for (unsigned k = 0; k < n; k++)
                put_push_reg(g, pick_source(g));
        for (unsigned k = 0; k < n; k++)
                if (rng_percent(&g->r, 60)) {
                        uint16_t pinned = g->s.pinned;
                        unsigned reg;

                        g->s.pinned |= (uint16_t)(1u << save);
                        reg = pick_dest(g);
                        g->s.pinned = pinned;
                        if (reg == NONE)
                                continue;
                        put_pop_reg(g, reg);
                        wrote(g, reg);
                        before.reg[reg] = g->s.reg[reg];
                }
        if (rng_percent(&g->r, 50))
                put_rr(g, 0x89, true, save, RSP);
        else
                put_rr(g, 0x8b, true, RSP, save);
        g->s.reg[RSP] = before.reg[RSP];
        g->s.depth = before.depth;
        g->s.align = before.align;
}

static void part_pushf(struct gen *g)
{
        uint32_t flags = 0x202;

        if (g->s.undefined)
                put_cmp(g);
        if (!stack_left(g, 16))
                return;
        emit_bytes(g, "\x9c", 1);
        move_rsp(g, -8);
        if (rng_percent(&g->r, 50)) {
                emit_bytes(g, "\x9d", 1);
                move_rsp(g, 8);
                return;
        }
        put_pop(g);
        flags |= (uint32_t)rng_next(&g->r) & ALL;
        emit_bytes(g, (uint8_t[5]){ 0x68, (uint8_t)flags, (uint8_t)(flags >> 8), 0, 0 }, 5);
        emit_bytes(g, "\x9d", 1);
        flags_after(g, ALL, 0);
}

/* --- Calls --------------------------------------------------------------------------------------------------------------------------- */

void put_return(struct gen *g, unsigned args)
{
        if (args)
                emit_bytes(g, (uint8_t[3]){ 0xc2, (uint8_t)args, 0 }, 3);
        else if (rng_percent(&g->r, 15))
                emit_bytes(g, "\xf3\xc3", 2);
        else
                emit_bytes(g, "\xc3", 1);
}

/* Returns the registers that it needed. */
static unsigned put_call(struct gen *g, const struct function *f)
{
        unsigned reg = pick_dest(g), kind = rng_below(&g->r, 10);
        struct mem m = { .base = RIP, .index = NONE };

        if (kind < 5 || tables_full(g) || reg == NONE) {
                jump_to(g, emit_jump(g, 0xe8, true), true, f->at);
                return 0;
        }
        if (kind < 7) {
                put_rm(g, 0x8d, true, reg, &(struct mem){ .base = RIP, .index = NONE, .disp = (int32_t)f->at });
                put_indirect(g, 2, reg, NULL);
                return 1u << reg;
        }
        g->p->tables = (g->p->tables + 7) & ~7u;
        m.disp = (int32_t)new_entry(g, f->at, 0);
        if (kind < 9) {
                put_indirect(g, 2, 0, &m);
                return 0;
        }
        put_rm(g, 0x8b, true, reg, &m);
        put_indirect(g, 2, reg, NULL);
        return 1u << reg;
}

static void part_call(struct gen *g)
{
        const struct function *f;
        struct state before = g->s;
        unsigned save = g->s.pinned & ~g->globals & ~CALLEE_SAVED, saved[16], n = 0, used;

        if (!g->n_functions)
                return;
        f = &g->function[rng_below(&g->r, g->n_functions)];
        if (!stack_left(g, 128) || g->times * f->cost > 2000)
                return;
        g->s.locals = 0;
        for (unsigned k = 0; k < 16; k++)
                if (k != RSP && (save >> k & 1))
                        put_push_reg(g, saved[n++] = k);
        for (unsigned k = 0; k < f->args; k += 8)
                put_push(g);
        used = put_call(g, f);
        g->p->cost += g->times * f->cost;
        while (n)
                put_pop_reg(g, saved[--n]);
        g->s = before;
        for (unsigned k = 0; k < 16; k++)
                if (k != RSP && (used >> k & 1 || !((g->globals | CALLEE_SAVED | save) >> k & 1)))
                        wrote(g, k);
        g->s.undefined = ALL;
}

/* --- Strings ------------------------------------------------------------------------------------------------------------------------- */

static void put_string(struct gen *g, unsigned size, unsigned op, bool repeat)
{
        uint8_t b[4];
        unsigned n = 0;
        bool compares = op == 0xa6 || op == 0xae;

        if (size == 1)
                b[n++] = 0x66;
        if (repeat)
                b[n++] = compares && rng_percent(&g->r, 50) ? 0xf2 : 0xf3;
        if (size == 3)
                b[n++] = 0x48;
        b[n++] = (uint8_t)(op | (size != 0));
        g->p->cmps[g->at] = op == 0xa6;
        emit_bytes(g, b, n);
        if (compares)
                flags_after(g, ALL, 0);
}

static void part_string(struct gen *g)
{
        static const uint8_t ops[] = { 0xa4, 0xa4, 0xa4, 0xaa, 0xaa, 0xac, 0xa6, 0xae };
        unsigned op = ops[rng_below(&g->r, 8)], size = rng_below(&g->r, 4), from = rng_below(&g->r, N_BUFFERS), to = rng_below(&g->r, N_BUFFERS);
        bool repeat = rng_percent(&g->r, 75), down = rng_percent(&g->r, 15), writes = op == 0xa4 || op == 0xaa;
        unsigned count = repeat ? (rng_percent(&g->r, 85) ? 1 + rng_below(&g->r, 40) : 1 + rng_below(&g->r, 500)) : 1;
        int32_t bytes = (int32_t)((count + 1) << size), limit = to == STACK && writes ? STACK_FREE : BUFFER_SIZE, at;

        if (!may_write(g, 1u << RSI | 1u << RDI | 1u << RCX | 1u << RAX) || (g->times > 8 && count > 40))
                return;
        at = (int32_t)rng_below(&g->r, (unsigned)(BUFFER_SIZE - bytes)) & ~(int32_t)(rng_percent(&g->r, 60) ? 7 : 0);
        put_address(g, RSI, from, down ? at + bytes - 8 : at);
        at = (int32_t)rng_below(&g->r, (unsigned)(limit - bytes)) & ~(int32_t)(rng_percent(&g->r, 60) ? 7 : 0);
        put_address(g, RDI, to, down ? at + bytes - 8 : at);
        if (repeat)
                put_mov_imm(g, RCX, count);
        wrote(g, RCX);
        if (down)
                emit_bytes(g, "\xfd", 1);
        put_string(g, size, op, repeat);
        if (down)
                emit_bytes(g, "\xfc", 1);
        wrote(g, RSI);
        wrote(g, RDI);
        if (op == 0xac)
                wrote(g, RAX);
}

/* --- Other instructions that need operands of a kind ----------------------------------------------------------------------------------- */

/* The dividend is not larger than the divisor's half of the number allows, and this not 0. */
static void part_divide(struct gen *g)
{
        bool is_signed = rng_percent(&g->r, 50), w = rng_percent(&g->r, 50);
        unsigned by;
        struct insn div = { .op = 0xf7, .digit = is_signed ? 7 : 6 }, and = { .op = 0x81, .digit = 4 }, or = { .op = 0x83, .digit = 1 };
        struct mem m;
        bool mem = rng_percent(&g->r, 30);

        if (!may_write(g, 1u << RAX | 1u << RDX))
                return;
        by = free_register(g, 1u << RAX | 1u << RDX);
        if (by == NONE && !mem)
                return;
        do
                choose_mem(g, w ? 8 : 4, 1, true, &m);
        while (m.base == RAX || m.base == RDX || m.index == RAX || m.index == RDX);
        if (is_signed)
                emit(g, &(struct op){ .i = &and, .size = w ? 3 : 2, .rm = by, .m = mem ? &m : NULL, .imm = (uint32_t)rng_next(&g->r) >> 1, .imm_size = 4 });
        emit(g, &(struct op){ .i = &or, .size = w ? 3 : 2, .rm = by, .m = mem ? &m : NULL, .imm = 1 + rng_below(&g->r, 100), .imm_size = 1 });
        if (!mem)
                wrote(g, by);
        if (is_signed)
                emit_bytes(g, w ? "\x48\x99" : "\x99", w ? 2 : 1);
        else
                put_rr(g, 0x31, false, RDX, RDX);
        emit(g, &(struct op){ .i = &div, .size = w ? 3 : 2, .rm = by, .m = mem ? &m : NULL });
        wrote(g, RAX);
        wrote(g, RDX);
        flags_after(g, 0, ALL);
}

/* BT and others with a bit's number in a register and a bit string in memory. */
static void part_bits(struct gen *g)
{
        static const uint8_t ops[] = { 0xa3, 0xab, 0xb3, 0xbb };
        struct insn i = { .map = 1, .op = ops[rng_below(&g->r, 4)], .digit = -1 };
        struct mem m;

        for (unsigned k = 0; k < 16; k++) {
                unsigned reg = (k + g->at) & 15;

                if (g->s.reg[reg].kind != SMALL || g->s.reg[reg].hi > 1000)
                        continue;
                choose_mem(g, 160, 1, i.op != 0xa3, &m);
                emit(g, &(struct op){ .i = &i, .size = 1 + rng_below(&g->r, 3), .reg = reg, .m = &m, .lock = i.op != 0xa3 && rng_percent(&g->r, 10) });
                flags_after(g, C, ALL & ~C);
                return;
        }
}

/* BSF and BSR of what is not 0. */
static void part_scan(struct gen *g)
{
        struct insn i = { .map = 1, .op = rng_percent(&g->r, 50) ? 0xbc : 0xbd, .digit = -1 };
        unsigned from = pick_dest(g), to = pick_dest(g);
        bool w = rng_percent(&g->r, 50);

        if (from == NONE)
                return;
        put_ri(g, 1, w, from, 1 << rng_below(&g->r, 7));
        wrote(g, from);
        emit(g, &(struct op){ .i = &i, .size = w ? 3 : 2, .reg = to, .rm = from });
        wrote(g, to);
        flags_after(g, Z, ALL & ~Z);
}

/* Numbers on the x87's stack, which is empty behind it. */
static void part_x87(struct gen *g)
{
        static const uint8_t sums[] = { 0, 1, 4, 6 };
        struct insn i = { .op = rng_percent(&g->r, 60) ? 0xdd : 0xd9 };
        unsigned size = i.op == 0xdd ? 8 : 4;
        struct mem m;

        choose_mem(g, size, 1, false, &m);
        emit(g, &(struct op){ .i = &i, .size = 2, .m = &m });
        for (unsigned n = rng_below(&g->r, 3); n; n--) {
                struct insn sum = { .op = size == 8 ? 0xdc : 0xd8, .digit = (int8_t)sums[rng_below(&g->r, 4)] };

                choose_mem(g, size, 1, false, &m);
                emit(g, &(struct op){ .i = &sum, .size = 2, .m = &m });
        }
        i.digit = 3;
        choose_mem(g, size, 1, true, &m);
        emit(g, &(struct op){ .i = &i, .size = 2, .m = &m });
}

/* A system call that there is not: RCX and R11 are RIP and RFLAGS, RAX is -ENOSYS. */
static void part_syscall(struct gen *g)
{
        if (!may_write(g, 1u << RAX | 1u << RCX | 1u << R11) || g->times > 1)
                return;
        put_mov_imm(g, RAX, 0x7ff0);
        put_cmp(g);
        emit_bytes(g, "\x0f\x05", 2);
        wrote(g, RAX);
        wrote(g, RCX);
        wrote(g, R11);
}

/* UD2, and a division by 0, which the handler skips. */
static void part_trap(struct gen *g)
{
        if (!g->p->traps || g->times > 1 || !may_write(g, 1u << RCX))
                return;
        if (rng_percent(&g->r, 50)) {
                emit_bytes(g, "\x0f\x0b", 2);
                return;
        }
        put_rr(g, 0x31, false, RCX, RCX);
        emit_bytes(g, "\xf7\xf1", 2);
        wrote(g, RCX);
        flags_after(g, 0, ALL);
}

/* --- All of them ------------------------------------------------------------------------------------------------------------------------ */

static void part_plain(struct gen *g)
{
        put_plain(g, 1 + rng_below(&g->r, 4));
}

static void part_nop(struct gen *g)
{
        static const struct { uint8_t n, b[4]; } nops[] = {
                { 4, { 0xf3, 0x0f, 0x1e, 0xfa } }, { 2, { 0x66, 0x90 } }, { 2, { 0x2e, 0x90 } }, { 2, { 0x48, 0x90 } }, { 2, { 0xf3, 0x90 } }, { 3, { 0x66, 0x66, 0x90 } },
        };
        unsigned k = rng_below(&g->r, ARRAY_SIZE(nops));

        emit_bytes(g, nops[k].b, nops[k].n);
}

void random_part(struct gen *g)
{
        static const struct {
                void (*put)(struct gen *g);
                uint8_t weight;
                bool nests;
        } parts[] = {
                { part_plain, 90 }, { part_group, 20 }, { put_pointer, 16 }, { part_advance, 8 }, { part_small, 10 }, { part_if, 16, true }, { part_loop, 8, true },
                { part_switch, 4, true }, { part_push, 9, true }, { part_frame, 5, true }, { part_other_stack, 2 }, { part_pushf, 3 }, { part_call, 9 }, { part_string, 5 },
                { part_divide, 5 }, { part_bits, 3 }, { part_scan, 3 }, { part_x87, 2 }, { part_syscall, 1 }, { part_trap, 3 }, { part_nop, 3 },
        };
        unsigned sum = 0, pick, k = 0;

        for (unsigned n = 0; n < ARRAY_SIZE(parts); n++)
                sum += parts[n].weight;
        pick = rng_below(&g->r, sum);
        while (pick >= parts[k].weight)
                pick -= parts[k++].weight;
        if (!parts[k].nests || g->nesting < 4)
                parts[k].put(g);
}
