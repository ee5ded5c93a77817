/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The instructions of a block that is translated again, and of those that come next in memory where it just goes on, or its last branch, and theirs, are mostly not taken: together
 * they have one entry, what they do to flags is known, and the host fetches them in a row. The others stay, for who jumps to them. */

#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/native.h"
#include "hv/engine/dbt/tr.h"

/* Samples of a block that is not known to run often yet, for which it is likely that it runs mostly when the one before it does. */
#define LIKELY_SAMPLES (TR_SAMPLES / 4)

const uint8_t *tr_block_bytes(const struct dbt_vcpu *v, const struct dbt_block *b)
{
        uint64_t gpa = dbt_block_gpa(b);

        return b->quick ? dbt_slot_host(dbt_slot_find(v->vm, gpa), gpa) : dbt_block_bytes(b);
}

/* Of instructions whose last one leaves by two exits. */
static bool has_too_many_exits(const struct dbt_block *b)
{
        unsigned branches = 0;

        for (unsigned k = 0; k < b->n; k++)
                branches += (b->insn[k].flags & DBT_INSN_TRANSFER) != 0;
        return branches > DBT_EXITS - 1;
}

static void shorten(struct dbt_vcpu *v, struct dbt_block *b, unsigned n)
{
        while (b->n > n)
                dbt_native_release(v, &b->insn[--b->n]);
}

/* The block's instructions behind those that are there, as many as there is room for. Returns their bytes; 0, and nothing is changed: too many. */
static unsigned append(struct dbt_vcpu *v, const struct dbt_block *b, struct dbt_block *ret, uint64_t *by_tlb)
{
        unsigned before = ret->n, at = 0;

        while (at < b->size && ret->n < DBT_BLOCK_MAX) {
                tr_decode_known(v, b, at, &ret->insn[ret->n]);
                at += ret->insn[ret->n++].length;
        }
        if (has_too_many_exits(ret)) {
                shorten(v, ret, before);
                return 0;
        }
        ret->ends = b->ends && at == b->size;
        ret->direct = b->direct || at < b->size;
        if (b->code && b->n_sites)
                *by_tlb |= dbt_block_more(b)->by_tlb << before;
        return at;
}

/* Can the last instruction, of the last part, be followed by what comes next? */
static bool goes_on(const struct dbt_vcpu *v, const struct dbt_block *ret, const struct dbt_block *part)
{
        const struct dbt_insn *last = &ret->insn[ret->n - 1];
        struct tr_insn t;

        if (!(last->flags & (DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK)))
                return true;
        tr_decode(last, tr_block_bytes(v, part) + part->size - last->length, (part->key >> 56) & DBT_MODE_CS64, &t);
        return t.kind == TR_JCC;
}

/* What comes next in memory, if it is to be a part of the block. */
static struct dbt_block *next_part(struct dbt_vcpu *v, const struct dbt_block *b, unsigned size)
{
        struct dbt_block *next;

        if (b->crosses || (b->key & ~DBT_PAGE_MASK) + size >= DBT_PAGE_SIZE)
                return NULL;
        next = dbt_index_find(v->decode, b->key + size);
        if (!next || !next->code || next->dead || next->crosses)
                return NULL;
        return next->stage != TR_SELDOM || next->samples >= LIKELY_SAMPLES ? next : NULL;
}

static void put_bytes(const struct dbt_vcpu *v, const struct tr_source *s)
{
        uint8_t *to = (uint8_t *)dbt_block_bytes(s->block);

        for (unsigned k = 0; k < s->n_parts; k++) {
                const uint8_t *from = tr_block_bytes(v, s->part[k]);

                for (unsigned at = 0; at < s->size[k]; at++)
                        *to++ = from[at];
        }
}

void tr_source_get(struct dbt_vcpu *v, struct dbt_block *b, struct tr_source *ret)
{
        struct dbt_block *all = ret->block = (struct dbt_block *)ret->room;
        struct dbt_block *part = b;
        unsigned size = 0, taken;

        *all = *b;
        all->n = 0;
        all->fused = all->quick = false;
        ret->by_tlb = 0;
        ret->n_parts = 0;
        while (part && (taken = append(v, part, all, &ret->by_tlb)) > 0) {
                ret->size[ret->n_parts] = (uint16_t)taken;
                ret->part[ret->n_parts++] = part;
                size += taken;
                part = ret->n_parts < TR_PARTS && taken == part->size && goes_on(v, all, part) ? next_part(v, b, size) : NULL;
        }
        all->size = (uint16_t)size;
        if (ret->n_parts > 1)
                all->check = DBT_CHECK_UNKNOWN;
        put_bytes(v, ret);
}

void tr_source_put(struct dbt_vcpu *v, struct tr_source *s)
{
        shorten(v, s->block, 0);
}
