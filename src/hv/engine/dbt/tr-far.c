/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Direct jumps of a kernel to its other pages, without the jump cache, which costs a dozen instructions and a line of the host's cache each.
 *
 * Such a jump is made when its block is translated, if the target's block is known then. It looks whether its own page lies at the linear address that it had
 * then; the target's is a part of the code. So both are addresses in the upper 2 GiB, which is where Linux has its text and its modules, and the target's page is
 * global. Whatever makes the jump cache of a supervisor mode void makes these jumps void, too: all of them get an address that no page has, and take the way by the
 * jump cache. Some time later they are linked again where that is right. */

#include <errno.h>
#include <sys/mman.h>

#include "hv/engine/dbt/mmu.h"
#include "hv/engine/dbt/sys.h"
#include "hv/engine/dbt/tr-gen.h"

#define FAR_MAX 16384u
/* Between two times that jumps are linked again, in ms. */
#define AGAIN_MS 5
#define NO_PAGE_HERE 1u

/* A jump: where its cmp has the immediate, in the code, and its mode's jump cache; what comes after that in the code is at fixed distances. */
struct tr_far {
        uint32_t at : 29, jumps : 3;
        int32_t source, target; /* linear: the page, the address */
};
_Static_assert(DBT_JUMP_MODES <= 8, "as many as jumps can tell");

/* From the cmp's immediate to the displacement of the jmp: the immediate, jne, mov, the jmp's opcode. */
#define TO_JMP (4 + 6 + 12 + 1)

static void patch32(struct dbt_tr *t, uint32_t at, uint32_t value)
{
        *(volatile dbt_guest32 *)(t->write + at) = value;
}

/* The physical address of code at lin, if the page is global. */
static bool code_at(struct dbt_vcpu *v, uint64_t lin, uint64_t *ret_gpa)
{
        unsigned slot = dbt_tlb_index(lin);

        if (!DBT_TLB_HIT(&v->tlb_now[slot], match_exec, lin, 1) && !dbt_tlb_refill(v, lin, v->mmu, DBT_EXEC))
                return false;
        *ret_gpa = v->tlb_info_now[slot].gpa | (lin & ~DBT_PAGE_MASK);
        return dbt_tlb_is_global(v, lin);
}

static struct dbt_block *block_at(struct dbt_vcpu *v, uint64_t lin, uint32_t mode)
{
        struct dbt_block *b;
        uint64_t gpa;

        if (!code_at(v, lin, &gpa))
                return NULL;
        b = dbt_index_find(v->decode, dbt_block_key(gpa, mode));
        return b && b->code && !b->dead && !b->crosses ? b : NULL;
}

static void link_far(struct dbt_tr *t, const struct tr_far *f, const struct dbt_block *b)
{
        uint32_t jmp = f->at + TO_JMP;

        patch32(t, jmp, b->code - (jmp + 4));
        patch32(t, f->at, (uint32_t)f->source);
}

void tr_far_forget(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;

        for (unsigned k = 0; t->far_linked && k < t->n_far; k++)
                patch32(t, t->far[k].at, NO_PAGE_HERE);
        t->far_linked = false;
}

void tr_far_evict(struct dbt_vcpu *v, uint32_t start, uint32_t end)
{
        struct dbt_tr *t = v->translator;
        unsigned n = 0;

        for (unsigned k = 0; k < t->n_far; k++)
                if (t->far[k].at < start || t->far[k].at >= end)
                        t->far[n++] = t->far[k];
        t->n_far = n;
}

void tr_far_again(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;
        uint64_t now = dbt_host_tsc();

        if (now - t->far_since < v->vm->tsc_khz * AGAIN_MS)
                return;
        t->far_since = now;
        t->far_linked = true;
        for (unsigned k = 0; k < t->n_far; k++) {
                const struct tr_far *f = &t->far[k];
                struct dbt_block *b = block_at(v, (uint64_t)(int64_t)f->target, v->jumps[f->jumps].mode);

                if (b)
                        link_far(t, f, b);
        }
}

int tr_far_init(struct dbt_tr *t)
{
        t->far = mmap(NULL, FAR_MAX * sizeof(*t->far), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (t->far == MAP_FAILED) {
                t->far = NULL;
                return -ENOMEM;
        }
        t->far_linked = true;
        return 0;
}

void tr_far_free(struct dbt_tr *t)
{
        if (t->far)
                munmap(t->far, FAR_MAX * sizeof(*t->far));
}

/* --- Generator ------------------------------------------------------------------------------------------------------------------ */

static bool fits(uint64_t lin)
{
        return (int64_t)lin < 0 && (int64_t)lin == (int32_t)lin;
}

/* Is the block that is translated the one that runs next, so that its linear address is known? */
static bool is_next(struct dbt_vcpu *v, const struct dbt_block *b, uint64_t lin)
{
        uint64_t gpa;

        return code_at(v, lin, &gpa) && dbt_block_key(gpa, v->mode) == b->key;
}

/* op qword [tr_page], imm32 */
static uint32_t with_page(struct gen *g, unsigned opcode, unsigned ext, uint32_t imm)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = true };
        struct tr_mem page = tr_field(offsetof(struct dbt_vcpu, tr_page));

        tr_op_mem(g->e, &op, ext, &page);
        tr_put32(g->e, imm);
        return (uint32_t)(tr_here(g->e) - 4 - g->v->translator->exec);
}

uint8_t *gen_jump_far(struct gen *g, int64_t offset)
{
        struct dbt_tr *t = g->v->translator;
        uint64_t from = dbt_rip_linear(g->v), source = from & DBT_PAGE_MASK, target = source + (uint64_t)offset;
        struct tr_far *f = &t->far[t->n_far];
        struct dbt_block *b;
        uint8_t *slow;

        if (g->jumps < 0 || (gen_mode(g) & DBT_MODE_CPL3) || gen_mode(g) != g->v->mode || !gen_64(g) || !t->far_linked || t->n_far == FAR_MAX ||
            !fits(source) || !fits(target) || !is_next(g->v, g->source, from))
                return NULL;
        b = block_at(g->v, target, gen_mode(g));
        if (!b)
                return NULL;
        *f = (struct tr_far){ .jumps = (unsigned)g->jumps & 7, .source = (int32_t)source, .target = (int32_t)target };
        f->at = with_page(g, 0x81, 7, (uint32_t)source) & 0x1fffffff;
        slow = tr_jcc(g->e, TR_CC_NE);
        with_page(g, 0xc7, 0, (uint32_t)(target & DBT_PAGE_MASK));
        tr_jmp(g->e, tr_code(t, b));
        t->n_far++;
        return slow;
}
