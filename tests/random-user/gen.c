/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A program: some functions and what calls them, each in pages of its own, and the registers that it begins with. */

#include <string.h>

#include "random-user.h"

#define SLOTS (FUNCTIONS_MAX + 1)
#define SLOT_SIZE (CODE_SIZE / SLOTS)

static void initial_registers(struct gen *g)
{
        unsigned n = 2 + rng_below(&g->r, 3);

        while (n) {
                unsigned reg = rng_below(&g->r, 16);

                if (reg == RSP || reg == RBP || (reg < R8 && rng_percent(&g->r, 80)) || reg == g->p->counter || (g->globals >> reg & 1))
                        continue;
                g->globals |= (uint16_t)(1u << reg);
                n--;
        }
        for (unsigned k = 0; k < 16; k++) {
                struct value *v = &g->p->initial[k];
                unsigned kind = rng_below(&g->r, 100);

                *v = (struct value){ .kind = ANY };
                if (k == g->p->counter)
                        continue;
                if ((g->globals >> k & 1) || kind < 25) {
                        v->kind = POINTER;
                        v->buffer = (uint8_t)rng_below(&g->r, kind < 25 ? 3 : 2);
                        v->lo = (int32_t)rng_below(&g->r, v->buffer == STACK ? STACK_FREE : BUFFER_SIZE);
                        v->lo &= rng_percent(&g->r, 80) ? ~31 : ~0;
                        v->hi = v->lo;
                } else if (kind < 40) {
                        v->kind = SMALL;
                        v->hi = (1 << rng_below(&g->r, 10)) - 1;
                }
        }
        g->p->initial[RSP] = (struct value){ .kind = POINTER, .buffer = STACK, .lo = 0x2800 + 16 * (int32_t)rng_below(&g->r, 0x100) + (rng_percent(&g->r, 6) ? 4 : 8) };
        g->p->initial[RSP].hi = g->p->initial[RSP].lo;
}

/* Often such that the code goes on in the next page. */
static void choose_place(struct gen *g, unsigned slot)
{
        unsigned at = rng_percent(&g->r, 35) ? rng_below(&g->r, 0x800) : PAGE - 8 - rng_below(&g->r, 300);

        g->at = slot * SLOT_SIZE + at;
        g->end = (slot + 1) * SLOT_SIZE;
        if (rng_percent(&g->r, 50))
                g->at &= ~15u;
}

static void add_function(struct gen *g, unsigned slot, int insns)
{
        struct function *f = &g->function[g->n_functions];
        uint32_t before = g->p->cost;

        choose_place(g, slot);
        *f = (struct function){ .at = g->at, .args = (uint8_t)(rng_percent(&g->r, 20) ? 8 * (1 + rng_below(&g->r, 2)) : 0) };
        g->s = (struct state){ .undefined = ALL, .align = 1, .pinned = (uint16_t)(g->globals | CALLEE_SAVED) };
        if (g->p->counter != NONE)
                g->s.pinned |= (uint16_t)(1u << g->p->counter);
        for (unsigned k = 0; k < 16; k++)
                if (g->globals >> k & 1)
                        g->s.reg[k] = g->p->initial[k];
        g->s.reg[RSP] = (struct value){ .kind = POINTER, .buffer = STACK, .lo = STACK_LOW + BODY_DEPTH, .hi = 0x3800 };
        g->left = insns;
        g->in_function = true;
        put_body(g, 100);
        put_return(g, f->args);
        g->in_function = false;
        f->cost = g->p->cost - before;
        g->p->cost = before;
        g->n_functions++;
}

static void add_main(struct gen *g, unsigned slot, int insns)
{
        struct program *p = g->p;
        uint32_t head;

        choose_place(g, slot);
        p->entry = g->at;
        memset(&g->s, 0, sizeof(g->s));
        memcpy(g->s.reg, p->initial, sizeof(g->s.reg));
        g->s.reg[RSP].lo = g->s.reg[RSP].hi -= 8;
        g->s.align = 1;
        g->s.pinned = g->globals;
        g->left = insns;
        if (p->counter == NONE) {
                put_body(g, 1000);
                put_return(g, 0);
                p->undefined = g->s.undefined;
                return;
        }
        for (unsigned k = 0; k < 16; k++)
                if (k != RSP && !(g->globals >> k & 1))
                        wrote(g, k);
        g->s.pinned |= (uint16_t)(1u << p->counter);
        g->s.undefined = ALL;
        head = g->at;
        put_body(g, 1000);
        put_ri(g, 5, true, p->counter, 1);
        flags_after(g, ALL, 0);
        jump_to(g, emit_jump(g, 0x75, true), true, head);
        put_return(g, 0);
        p->undefined = 0;
}

/* What is not code is INT3; pages without code are left alone. */
static void clear(struct program *p)
{
        for (unsigned at = 0; at < CODE_SIZE; at++)
                if (p->length[at])
                        memset(p->code + at, 0xcc, p->length[at]);
}

void generate(struct program *p, struct rng *r, unsigned features, unsigned insns)
{
        struct gen g = { .r = *r, .p = p, .features = features, .times = 1, .prefer = NONE };
        unsigned n = rng_below(&g.r, FUNCTIONS_MAX + 1), first = rng_below(&g.r, SLOTS), total;

        if (insns < 6)
                insns = 6;
        total = 5 + rng_below(&g.r, insns - 4);
        clear(p);
        memset(p->length, 0, sizeof(p->length));
        memset(p->cmps, 0, sizeof(p->cmps));
        p->n_entries = p->tables = p->n_patches = p->cost = p->n_insns = 0;
        initial_registers(&g);
        for (unsigned k = 0; k < n; k++)
                add_function(&g, (first + k) % SLOTS, (int)(3 + rng_below(&g.r, total / (n + 1) + 1)));
        add_main(&g, (first + n) % SLOTS, (int)total);
        *r = g.r;
}
