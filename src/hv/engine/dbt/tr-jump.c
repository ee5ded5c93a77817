/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The jump cache: where translated code goes on at a linear address. tr-routine.c has the routines that look there, and enter what they had to find otherwise.
 *
 * An entry may lead to a block's old code, which leads, by a jump, to where it has been translated again. When code is evicted, those that lead there go; when a mapping changes, or a block that
 * may be anywhere in it is dropped, all do. */

#include "hv/engine/dbt/tr.h"

struct table {
        struct dbt_jump *slot;
        uint8_t *used; /* parts that may hold something */
        unsigned bits;
};

static struct table table_of(struct dbt_vcpu *v, unsigned mode)
{
        return (struct table){ .slot = (struct dbt_jump *)((uint8_t *)v + tr_jump_slots(mode)), .used = v->jumps[mode].used, .bits = tr_jump_bits(mode) };
}

/* The first slot of the set. */
static uint32_t set_of(const struct table *t, uint64_t lin)
{
        return (uint32_t)((uint32_t)lin * DBT_JUMP_HASH) >> (32 - t->bits) & ~(DBT_JUMP_WAYS - 1);
}

/* An entry stands for none if it is not in the set of its address: 0 in all but its own, where 1 does. */
static void clear_slot(const struct table *t, uint32_t n)
{
        t->slot[n].rip = n < DBT_JUMP_WAYS;
}

static bool is_entry(const struct table *t, uint32_t n)
{
        return set_of(t, t->slot[n].rip) == (n & ~(DBT_JUMP_WAYS - 1));
}

static void clear(const struct table *t)
{
        for (unsigned part = 0; part < 1u << (t->bits - DBT_JUMP_PART_BITS); part++) {
                for (unsigned k = 0; t->used[part] && k < 1u << DBT_JUMP_PART_BITS; k++)
                        clear_slot(t, (part << DBT_JUMP_PART_BITS) + k);
                t->used[part] = 0;
        }
}

static void begin(struct dbt_vcpu *v, unsigned k, uint32_t mode)
{
        struct table t = table_of(v, k);

        v->jumps[k].mode = mode;
        t.used[0] = 1;
        clear(&t);
}

int tr_jump_mode(struct dbt_vcpu *v, uint32_t mode)
{
        int k = tr_is_mirrored(mode) ? DBT_JUMP_MIRROR : 0, end = tr_is_mirrored(mode) ? DBT_JUMP_MODES : DBT_JUMP_MIRROR;

        for (; k < end; k++) {
                if (v->jumps[k].mode == mode)
                        return k;
                if (!v->jumps[k].mode) {
                        begin(v, (unsigned)k, mode);
                        return k;
                }
        }
        return -1;
}

void tr_jump_enter(struct dbt_vcpu *v, unsigned mode, uint64_t lin, const void *code)
{
        struct table t = table_of(v, mode);
        uint32_t set = set_of(&t, lin), n = set;

        while (n < set + DBT_JUMP_WAYS - 1 && is_entry(&t, n) && t.slot[n].rip != lin)
                n++;
        t.slot[n] = (struct dbt_jump){ .rip = lin, .code = code };
        t.used[n >> DBT_JUMP_PART_BITS] = 1;
}

void tr_jump_replace(struct dbt_vcpu *v, unsigned mode, uint64_t lin, const void *code)
{
        struct table t = table_of(v, mode);
        struct dbt_jump *set = &t.slot[set_of(&t, lin)];

        for (unsigned way = 0; way < DBT_JUMP_WAYS; way++)
                if (set[way].rip == lin)
                        set[way].code = code;
}

void dbt_tr_forget_jumps(struct dbt_vcpu *v, bool kernel)
{
        for (unsigned k = 0; k < DBT_JUMP_MODES; k++) {
                struct table t = table_of(v, k);

                if (v->jumps[k].mode && (kernel || (v->jumps[k].mode & DBT_MODE_CPL3)))
                        clear(&t);
        }
        if (!v->translator)
                return;
        tr_calls_forget(v, kernel);
        if (kernel)
                tr_far_forget(v);
}

/* Is it from start to end, or does it only lead to other code, which may be there? */
static bool is_gone(const struct dbt_tr *tr, const uint8_t *code, uint32_t start, uint32_t end)
{
        return tr_code_offset(tr, code) - start < end - start || *code == TR_OPCODE_JMP;
}

static void evict(const struct dbt_tr *tr, const struct table *t, uint32_t start, uint32_t end)
{
        for (uint32_t n = 0; n < 1u << t->bits; n++)
                if (t->used[n >> DBT_JUMP_PART_BITS] && is_entry(t, n) && is_gone(tr, t->slot[n].code, start, end))
                        clear_slot(t, n);
}

void tr_jumps_evict(struct dbt_vcpu *v, uint32_t start, uint32_t end)
{
        for (unsigned k = 0; k < DBT_JUMP_MODES; k++) {
                struct table t = table_of(v, k);

                if (v->jumps[k].mode)
                        evict(v->translator, &t, start, end);
        }
        tr_calls_forget(v, true);
        tr_far_forget(v);
}
