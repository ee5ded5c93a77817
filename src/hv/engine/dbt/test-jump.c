/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The jump cache: what is entered is found until others take its place, its code goes, or a mapping changes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/engine/dbt/tr.h"

#define CODE KiB(64)
#define PROGRAM (DBT_MODE_CS64 | DBT_MODE_CPL3 | DBT_MODE_MIRROR)
#define KERNEL (DBT_MODE_CS64 | DBT_MODE_PE)

static void check(bool ok, const char *what)
{
        if (ok)
                return;
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
}

/* As the routines do. */
static const uint8_t *find(const struct dbt_vcpu *v, int mode, uint64_t lin)
{
        uint32_t first = ((uint32_t)lin * DBT_JUMP_HASH) >> (32 - tr_jump_bits((unsigned)mode)) & ~(DBT_JUMP_WAYS - 1);
        const struct dbt_jump *set = (const struct dbt_jump *)((const uint8_t *)v + tr_jump_slots((unsigned)mode)) + first;

        for (unsigned way = 0; way < DBT_JUMP_WAYS; way++)
                if (set[way].rip == lin)
                        return set[way].code;
        return NULL;
}

/* Nothing is known at first, whatever the address. */
static void test_empty(struct dbt_vcpu *v, int mode)
{
        for (uint64_t lin = 0; lin < 4 * DBT_MIRROR_JUMPS; lin++)
                check(!find(v, mode, lin), "an entry for nobody");
        check(!find(v, mode, ~0ULL) && !find(v, mode, 1ULL << 63), "an entry for nobody");
}

static void test_places(struct dbt_vcpu *v, int mode)
{
        const uint8_t *code = v->translator->exec;
        uint64_t lin = 0x401234;

        for (unsigned k = 0; k < DBT_JUMP_WAYS; k++)
                tr_jump_enter(v, (unsigned)mode, lin + ((uint64_t)k << 32), code + k);
        for (unsigned k = 0; k < DBT_JUMP_WAYS; k++)
                check(find(v, mode, lin + ((uint64_t)k << 32)) == code + k, "all ways of a set");
        tr_jump_enter(v, (unsigned)mode, lin, code + 100);
        check(find(v, mode, lin) == code + 100, "the newer code");
        tr_jump_enter(v, (unsigned)mode, lin + (9ULL << 32), code + 9);
        check(find(v, mode, lin + (9ULL << 32)) == code + 9 && find(v, mode, lin) == code + 100, "one more takes the last way");
        tr_jump_replace(v, (unsigned)mode, lin, code + 50);
        tr_jump_replace(v, (unsigned)mode, lin + 1, code + 51);
        check(find(v, mode, lin) == code + 50 && !find(v, mode, lin + 1), "only what is known is replaced");
}

static void test_evict(struct dbt_vcpu *v, int mode)
{
        uint8_t *code = v->translator->exec;

        memset(code, 0xe8, CODE);
        for (unsigned k = 0; k < 1000; k++)
                tr_jump_enter(v, (unsigned)mode, 0x500000 + 16 * k, code + 60 * k);
        code[60 * 7] = TR_OPCODE_JMP; /* it has been translated again */
        tr_jumps_evict(v, 60 * 100, 60 * 200);
        for (unsigned k = 0; k < 1000; k++) {
                const uint8_t *found = find(v, mode, 0x500000 + 16 * k);

                if (k == 7 || (k >= 100 && k < 200))
                        check(!found, "code that is gone");
                else if (found)
                        check(found == code + 60 * k, "the right code");
        }
        check(find(v, mode, 0x500000) && find(v, mode, 0x500000 + 16 * 300), "other code stays");
}

static void test_forget(struct dbt_vcpu *v, int user, int kernel)
{
        tr_jump_enter(v, (unsigned)user, 0x1000, v->translator->exec);
        tr_jump_enter(v, (unsigned)kernel, 0x1000, v->translator->exec);
        dbt_tr_forget_jumps(v, false);
        check(!find(v, user, 0x1000) && find(v, kernel, 0x1000), "programs' addresses are forgotten");
        dbt_tr_forget_jumps(v, true);
        check(!find(v, kernel, 0x1000), "all are");
        test_empty(v, user);
        test_empty(v, kernel);
}

int main(void)
{
        struct dbt_vcpu *v = aligned_alloc(_Alignof(struct dbt_vcpu), sizeof(*v));
        struct dbt_tr *t = calloc(1, sizeof(*t));
        int user, kernel;

        check(v && t, "memory");
        memset(v, 0, sizeof(*v));
        t->exec = calloc(1, CODE);
        check(t->exec, "memory");
        v->translator = t;
        user = tr_jump_mode(v, PROGRAM);
        kernel = tr_jump_mode(v, KERNEL);
        check(user == DBT_JUMP_MIRROR && kernel == 0 && tr_jump_mode(v, KERNEL) == kernel, "numbers of modes");
        test_empty(v, user);
        test_empty(v, kernel);
        test_places(v, user);
        test_places(v, kernel);
        test_evict(v, user);
        test_forget(v, user, kernel);
        free(t->exec);
        free(t);
        free(v);
        return 0;
}
