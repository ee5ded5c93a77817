/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The jump cache: where translated code goes on at a linear address. tr-routine.c has the routines that look there, and enter what they had to find otherwise.
 *
 * An entry may lead to a block's old code, which leads, by a jump, to where it has been translated again. When code is evicted, those that lead there go; when a mapping changes, or a block that
 * may be anywhere in it is dropped, all do. */

#include "hv/engine/dbt/tr.h"

/* The first slot of the set. */
static uint32_t set_of(uint64_t lin)
{
        return (uint32_t)((uint32_t)lin * DBT_JUMP_HASH) >> (32 - DBT_JUMP_BITS) & ~(DBT_JUMP_WAYS - 1);
}

/* An entry stands for none if it is not in the set of its address: 0 in all but its own, where 1 does. */
static void clear_slot(struct dbt_jumps *j, uint32_t n)
{
        j->slot[n].rip = n < DBT_JUMP_WAYS;
}

static bool is_entry(const struct dbt_jumps *j, uint32_t n)
{
        return set_of(j->slot[n].rip) == (n & ~(DBT_JUMP_WAYS - 1));
}

static void clear(struct dbt_jumps *j)
{
        for (unsigned part = 0; part < ARRAY_SIZE(j->used); part++) {
                for (unsigned k = 0; j->used[part] && k < 1u << DBT_JUMP_PART_BITS; k++)
                        clear_slot(j, (part << DBT_JUMP_PART_BITS) + k);
                j->used[part] = 0;
        }
}

int tr_jump_mode(struct dbt_vcpu *v, uint32_t mode)
{
        int k = tr_is_mirrored(mode) ? DBT_JUMP_MIRROR : 0, end = tr_is_mirrored(mode) ? DBT_JUMP_MODES : DBT_JUMP_MIRROR;

        for (; k < end; k++) {
                if (v->jumps[k].mode == mode)
                        return k;
                if (!v->jumps[k].mode) {
                        v->jumps[k].mode = mode;
                        v->jumps[k].used[0] = 1;
                        clear(&v->jumps[k]);
                        return k;
                }
        }
        return -1;
}

void tr_jump_enter(struct dbt_vcpu *v, unsigned mode, uint64_t lin, const void *code)
{
        struct dbt_jumps *j = &v->jumps[mode];
        uint32_t set = set_of(lin), n = set;

        while (n < set + DBT_JUMP_WAYS - 1 && is_entry(j, n) && j->slot[n].rip != lin)
                n++;
        j->slot[n] = (struct dbt_jump){ .rip = lin, .code = code };
        j->used[n >> DBT_JUMP_PART_BITS] = 1;
}

void tr_jump_replace(struct dbt_vcpu *v, unsigned mode, uint64_t lin, const void *code)
{
        struct dbt_jump *set = &v->jumps[mode].slot[set_of(lin)];

        for (unsigned way = 0; way < DBT_JUMP_WAYS; way++)
                if (set[way].rip == lin)
                        set[way].code = code;
}

void dbt_tr_forget_jumps(struct dbt_vcpu *v, bool kernel)
{
        for (unsigned k = 0; k < DBT_JUMP_MODES; k++)
                if (v->jumps[k].mode && (kernel || (v->jumps[k].mode & DBT_MODE_CPL3)))
                        clear(&v->jumps[k]);
        if (!v->translator)
                return;
        tr_calls_forget(v, kernel);
        if (kernel)
                tr_far_forget(v);
}

/* Is it from start to end, or does it only lead to other code, which may be there? */
static bool is_gone(const struct dbt_tr *t, const uint8_t *code, uint32_t start, uint32_t end)
{
        return tr_code_offset(t, code) - start < end - start || *code == TR_OPCODE_JMP;
}

static void evict(const struct dbt_tr *t, struct dbt_jumps *j, uint32_t start, uint32_t end)
{
        for (uint32_t n = 0; n < DBT_JUMPS; n++)
                if (j->used[n >> DBT_JUMP_PART_BITS] && is_entry(j, n) && is_gone(t, j->slot[n].code, start, end))
                        clear_slot(j, n);
}

void tr_jumps_evict(struct dbt_vcpu *v, uint32_t start, uint32_t end)
{
        for (unsigned k = 0; k < DBT_JUMP_MODES; k++)
                if (v->jumps[k].mode)
                        evict(v->translator, &v->jumps[k], start, end);
        tr_calls_forget(v, true);
        tr_far_forget(v);
}
