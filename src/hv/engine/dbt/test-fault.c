/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table of faults finds what a list of all of them would: for code that is made front to back, with some of it in pieces further in front, segment by segment. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/engine/dbt/tr.h"

#define SEGMENT KiB(64)
#define ALL (DBT_SEGMENTS * SEGMENT)

static void check(bool ok, const char *what)
{
        if (ok)
                return;
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
}

/* What there is at each place of the code: 0, or a number. */
static uint32_t known[ALL];
static uint32_t numbers;

static const uint8_t *place(const struct dbt_tr *t, uint32_t at)
{
        return t->exec + TR_ROUTINES_SIZE + at;
}

static void add(struct dbt_tr *t, uint32_t at)
{
        struct tr_fault *f;

        if (known[at])
                return;
        known[at] = ++numbers;
        f = tr_fault_new(t, place(t, at));
        f->own = numbers % 3 != 0;
        f->store = numbers & 1;
        if (f->own)
                f->exit = numbers;
        else
                f->behind = numbers & 0xff;
}

/* Blocks with up to 8 faults, of which one in 16 is in a piece in front of them. */
static void fill(struct dbt_tr *t, unsigned segment)
{
        uint32_t start = segment * SEGMENT, piece = start, at = start;

        t->current = segment;
        tr_faults_evict(t, segment);
        memset(&known[start], 0, SEGMENT * sizeof(known[0]));
        while (at < start + SEGMENT - 5000) {
                unsigned n = (unsigned)rand() % 8;

                if (rand() % 64 == 0)
                        piece = at;
                if (rand() % 100 == 0)
                        at += 4096; /* for a while nothing faults */
                while (n-- > 0)
                        add(t, rand() % 16 ? at += (unsigned)rand() % 90 : piece + (unsigned)rand() % (at - piece + 1));
                at += 20;
                tr_faults_keep(t);
        }
}

static void look(struct dbt_vcpu *v, uint32_t at, uint32_t from, const void *found)
{
        const struct dbt_tr *t = v->translator;
        uint32_t number = known[from];

        if (number % 3) {
                check(found == t->exec + number, "code of its own");
                return;
        }
        check(found == t->ways[1].missed[number & 1] && v->tr_fault_pc == place(t, from), "no code of its own");
        check(v->tr_fault->behind == (number & 0xff), "the one found");
}

static void look_everywhere(struct dbt_vcpu *v)
{
        const struct dbt_tr *t = v->translator;

        for (uint32_t at = 0; at < ALL; at++) {
                const void *found = dbt_tr_miss_exit(v, (uintptr_t)place(t, at));
                uint32_t from = at, first = at / SEGMENT * SEGMENT;

                while (from > first && at - from < TR_MISS_WITHIN && !known[from])
                        from--;
                if (known[from] && at - from < TR_MISS_WITHIN)
                        look(v, at, from, found);
                else
                        check(!found, "none");
                check(!known[at] == !dbt_tr_fault_exit(v, (uintptr_t)place(t, at)), "only there");
        }
}

int main(void)
{
        struct dbt_vcpu *v = aligned_alloc(_Alignof(struct dbt_vcpu), sizeof(*v));
        struct dbt_tr *t = calloc(1, sizeof(*t));

        check(v && t, "memory");
        memset(v, 0, sizeof(*v));
        t->segment = SEGMENT;
        t->exec = malloc(TR_ROUTINES_SIZE + ALL);
        t->faults.fault = calloc(DBT_SEGMENTS, SEGMENT);
        check(t->exec && t->faults.fault && tr_faults_init(t) == 0, "memory");
        t->ways[1].missed[0] = t->exec + 1;
        t->ways[1].missed[1] = t->exec;
        v->translator = t;
        v->mode = DBT_MODE_CS64 | DBT_MODE_CPL3 | DBT_MODE_MIRROR;
        for (unsigned segment = 0; segment < DBT_SEGMENTS - 1; segment++)
                fill(t, segment);
        look_everywhere(v);
        fill(t, 0);
        fill(t, 1);
        look_everywhere(v);
        check(!dbt_tr_miss_exit(v, (uintptr_t)t->exec) && !dbt_tr_miss_exit(v, (uintptr_t)place(t, ALL)), "outside");
        printf("%u faults\n", numbers);
        tr_faults_free(t);
        free(t->faults.fault);
        free(t->exec);
        free(t);
        free(v);
        return 0;
}
