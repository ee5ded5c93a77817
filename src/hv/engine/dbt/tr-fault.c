/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table of faults: which host instructions may fault, and what comes then. There are so many that an entry has only the lower bits of the address; another table has how many there are
 * up to each page of the code. */

#include <errno.h>
#include <stdlib.h>

#include "hv/engine/dbt/tr.h"

#define PAGE (1u << TR_FAULT_BITS)

static uint32_t *ends_of(const struct tr_faults *fs, unsigned segment)
{
        return &fs->ends[segment * fs->pages];
}

static struct tr_fault *faults_of(const struct tr_faults *fs, unsigned segment)
{
        return &fs->fault[segment * fs->max];
}

/* --- Making them ----------------------------------------------------------------------------------------------------------- */

struct tr_fault *tr_fault_new(struct dbt_tr *t, const uint8_t *pc)
{
        uint32_t at = (uint32_t)(pc - t->exec);
        struct tr_fault *f = &t->faults.fresh[t->faults.n_fresh];

        t->faults.fresh_at[t->faults.n_fresh++] = at;
        *f = (struct tr_fault){ .own = false };
        return f;
}

/* at: offset in the segment. In most cases behind all others. */
static void insert(struct tr_faults *fs, unsigned segment, uint32_t at, const struct tr_fault *fresh)
{
        struct tr_fault *f = faults_of(fs, segment);
        uint32_t *ends = ends_of(fs, segment), page = at / PAGE, start, k = fs->n[segment]++;

        while (fs->n_ends[segment] <= page)
                ends[fs->n_ends[segment]++] = k;
        start = page ? ends[page - 1] : 0;
        for (; k > ends[page] || (k > start && f[k - 1].pc > at % PAGE); k--)
                f[k] = f[k - 1];
        f[k] = *fresh;
        f[k].pc = at % PAGE;
        for (; page < fs->n_ends[segment]; page++)
                ends[page]++;
}

void tr_faults_keep(struct dbt_tr *t)
{
        struct tr_faults *fs = &t->faults;
        uint32_t start = (uint32_t)(TR_ROUTINES_SIZE + t->current * t->segment);

        for (unsigned k = 0; k < fs->n_fresh; k++)
                insert(fs, t->current, fs->fresh_at[k] - start, &fs->fresh[k]);
        fs->n_fresh = 0;
}

void tr_faults_evict(struct dbt_tr *t, unsigned segment)
{
        t->faults.n[segment] = t->faults.n_ends[segment] = 0;
}

int tr_faults_init(struct dbt_tr *t)
{
        struct tr_faults *fs = &t->faults;

        fs->max = (unsigned)(t->segment / sizeof(struct tr_fault));
        fs->pages = (unsigned)(t->segment / PAGE + 1);
        fs->ends = calloc(DBT_SEGMENTS * (size_t)fs->pages, sizeof(*fs->ends));
        return fs->ends ? 0 : -ENOMEM;
}

void tr_faults_free(struct dbt_tr *t)
{
        free(t->faults.ends);
}

/* --- Finding them, in the signal handler, too -------------------------------------------------------------------------------------- */

/* The last one at or before that offset in the segment, and where it is; NULL: there is none. */
static const struct tr_fault *fault_before(const struct tr_faults *fs, unsigned segment, uint32_t at, uint32_t *ret_at)
{
        const struct tr_fault *f = faults_of(fs, segment);
        const uint32_t *ends = ends_of(fs, segment);
        uint32_t page = at / PAGE, n = fs->n[segment], start;

        if (page < fs->n_ends[segment]) {
                start = page ? ends[page - 1] : 0;
                for (n = ends[page]; n > start && f[n - 1].pc > at % PAGE;)
                        n--;
        } else {
                page = fs->n_ends[segment] - 1;
        }
        if (!n)
                return NULL;
        while (page > 0 && ends[page - 1] >= n)
                page--;
        *ret_at = page * PAGE + f[n - 1].pc;
        return &f[n - 1];
}

/* The one that begins less than within bytes before pc, or at it. */
static const void *fault_exit(struct dbt_vcpu *v, uint64_t pc, uint64_t within)
{
        const struct dbt_tr *t = v->translator;
        uint64_t offset = pc - (uintptr_t)t->exec - TR_ROUTINES_SIZE, segment = offset / t->segment;
        const struct tr_fault *f;
        uint32_t at;

        if (segment >= DBT_SEGMENTS)
                return NULL;
        f = fault_before(&t->faults, (unsigned)segment, (uint32_t)(offset % t->segment), &at);
        if (!f || offset % t->segment - at >= within)
                return NULL;
        if (f->own)
                return t->exec + f->exit;
        v->tr_fault = f;
        v->tr_fault_pc = t->exec + TR_ROUTINES_SIZE + segment * t->segment + at;
        return t->ways[tr_is_mirrored(v->mode)].missed[f->store];
}

const void *dbt_tr_fault_exit(struct dbt_vcpu *v, uint64_t pc)
{
        return fault_exit(v, pc, 1);
}

const void *dbt_tr_miss_exit(struct dbt_vcpu *v, uint64_t pc)
{
        return v->translator && tr_is_mirrored(v->mode) ? fault_exit(v, pc, TR_MISS_WITHIN) : NULL;
}
