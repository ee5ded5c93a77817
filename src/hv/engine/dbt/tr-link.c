/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Links between blocks: an exit's jump leads to its successor while that is known, and else to where translated code is left. */

#include "hv/engine/dbt/tr.h"

static struct tr_link *link_at(const struct dbt_tr *t, uint32_t offset)
{
        return (struct tr_link *)(t->write + offset);
}

static dbt_guest32 *cell_at(const struct dbt_tr *t, uint32_t offset)
{
        return (dbt_guest32 *)(t->write + offset);
}

/* The cell in which the list of the links to b begins. */
static uint32_t list_of(const struct dbt_block *b)
{
        return b->code - TR_HEADER_LINKS;
}

static uint32_t entry_of(const struct dbt_tr *t, uint32_t at)
{
        const struct tr_link *link = link_at(t, at);

        if (link->kind == TR_LINK_HERE)
                return at - link->to_entry_near;
        return at - (uint32_t)(tr_link_is_near(link) ? link->near_to_entry : link->to_entry);
}

/* The block that the link is an exit of. */
static struct dbt_block *block_of(const struct dbt_vcpu *v, uint32_t at)
{
        const struct dbt_tr *t = v->translator;

        return tr_block_at(v, t->exec + entry_of(t, at));
}

static uint32_t jump_of(const struct dbt_tr *t, uint32_t at)
{
        const struct tr_link *link = link_at(t, at);

        if (tr_link_is_near(link))
                return entry_of(t, at) + link->near_jump;
        return link->back ? at - link->jump : entry_of(t, at) + link->jump;
}

/* 0: it has none. */
static uint32_t tail_of(const struct dbt_tr *t, uint32_t at)
{
        const struct tr_link *link = link_at(t, at);

        if (link->kind == TR_LINK_TAIL_FRONT)
                return at - TR_CALL_SIZE - 4;
        return link->kind == TR_LINK_TAIL ? entry_of(t, at) + link->tail : 0;
}

/* Makes what is in front of the link a call or a jump. */
static void patch_here(struct dbt_tr *t, uint32_t at, uint8_t opcode, uint32_t target)
{
        *(volatile uint8_t *)(t->write + at - TR_CALL_SIZE) = opcode;
        tr_patch(t, at - 4, target);
}

/* May it lead behind the successor's look at v->request? Not if that is to be counted: what comes behind code that runs often may run as often. */
static bool skips_look(struct dbt_vcpu *v, uint32_t at, const struct dbt_block *b)
{
        return link_at(v->translator, at)->forward && !(b->quick && block_of(v, at)->stage == TR_OFTEN);
}

static bool is_saving(const struct tr_link *link)
{
        return link->kind == TR_LINK_NEAR_SAVING || link->kind == TR_LINK_FAR_SAVING;
}

void tr_link_set(struct dbt_vcpu *v, uint32_t at, const struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        uint32_t target = b->code;

        if (is_saving(link_at(t, at)) && b->flags_in)
                target -= TR_HEADER_SAVE;
        else if (skips_look(v, at, b))
                target += b->skip;
        tr_patch(t, jump_of(t, at), target);
}

void tr_link_clear(struct dbt_tr *t, uint32_t at)
{
        tr_patch(t, jump_of(t, at), at - TR_CALL_SIZE);
}

/* The code as if the link had never been linked. */
static void unlink_one(struct dbt_vcpu *v, uint32_t at)
{
        struct dbt_tr *t = v->translator;
        struct tr_link *link = link_at(t, at);
        uint32_t stub = at - TR_CALL_SIZE, tail = tail_of(t, at);

        link->next = 0;
        if (tr_link_is_near(link)) {
                tr_link_clear(t, at);
                return;
        }
        if (link->kind == TR_LINK_HERE) {
                patch_here(t, at, TR_OPCODE_CALL, tr_code_offset(t, t->ways[tr_is_mirrored(tr_mode(block_of(v, at)))].exit));
                return;
        }
        if (tail)
                tr_patch(t, tail, stub);
        tr_patch(t, jump_of(t, at), tail ? tail - TR_TAIL_SIZE : stub);
}

static void link_insert(struct dbt_tr *t, uint32_t list, uint32_t at)
{
        uint32_t first = *cell_at(t, list);

        link_at(t, at)->next = first ? first : list | TR_LIST;
        *cell_at(t, list) = at;
}

/* Lists are short: links stay within a page. */
static void link_remove(struct dbt_vcpu *v, uint32_t at)
{
        const struct dbt_tr *t = v->translator;
        uint32_t next = link_at(t, at)->next, cell = next;

        while (!(cell & TR_LIST))
                cell = link_at(t, cell)->next;
        cell &= ~TR_LIST;
        if (*cell_at(t, cell) == at) {
                *cell_at(t, cell) = next & TR_LIST ? 0 : next;
        } else {
                for (cell = *cell_at(t, cell); link_at(t, cell)->next != at;)
                        cell = link_at(t, cell)->next;
                link_at(t, cell)->next = next;
        }
        unlink_one(v, at);
}

/* May the link, within a page, lead to b? */
static bool leads_to(struct dbt_vcpu *v, uint32_t at, const struct dbt_block *b)
{
        const struct dbt_block *from = block_of(v, at);

        if ((from->key ^ b->key) >> DBT_PAGE_SHIFT) /* v->tr_page may be what a mirrored program has made of it */
                return false;
        if (b->bound == from->bound)
                return true;
        if (!b->is_bound) /* it depends on v->tr_page */
                return false;
        dbt_block_unbind(v, b); /* else this exit were never linked */
        return false;
}

static void link_within_page(struct dbt_vcpu *v, uint32_t at, const struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        const struct tr_link *link = link_at(t, at);
        uint32_t target = b->code;

        if (link->next || !leads_to(v, at, b))
                return;
        link_insert(t, list_of(b), at);
        if (tr_link_is_near(link)) {
                tr_link_set(v, at, b);
                return;
        }
        if (skips_look(v, at, b))
                target += b->skip;
        if (link->kind == TR_LINK_HERE)
                patch_here(t, at, TR_OPCODE_JMP, target);
        else
                tr_patch(t, tail_of(t, at) && b->flags_in ? tail_of(t, at) : jump_of(t, at), target);
}

void dbt_tr_link(struct dbt_vcpu *v, struct dbt_block *b)
{
        uint32_t at = tr_code_offset(v->translator, v->tr_link);

        if (b->dead)
                return;
        if (tr_link_is_far(link_at(v->translator, at)))
                tr_bound_link(v, at, b);
        else
                link_within_page(v, at, b);
}

static uint32_t next_link(const struct dbt_tr *t, uint32_t at)
{
        return at + TR_CALL_SIZE + (uint32_t)(tr_link_is_far(link_at(t, at)) ? TR_LINK_FAR_SIZE : TR_LINK_NEAR_SIZE);
}

/* The first link of a quick block. */
static uint32_t first_link(const struct dbt_block *b)
{
        return b->cold + TR_CALL_SIZE;
}

static void link_ready(struct dbt_vcpu *v, uint32_t at, const struct dbt_block *from)
{
        const struct tr_link *link = link_at(v->translator, at);
        const struct dbt_block *b;

        if (tr_link_is_far(link)) {
                tr_bound_link_ready(v, at);
                return;
        }
        b = dbt_index_find(v->decode, (from->key & DBT_PAGE_MASK) + link->offset);
        if (b && b->code && !b->dead)
                link_within_page(v, at, b);
}

void dbt_tr_link_ready(struct dbt_vcpu *v, const struct dbt_block *b)
{
        uint32_t at = first_link(b);

        for (unsigned k = 0; k < b->n_exits && !b->dead; k++) {
                link_ready(v, at, b);
                at = next_link(v->translator, at);
        }
}

void dbt_tr_unlink(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        dbt_guest32 *list = cell_at(t, list_of(b));
        uint32_t at = *list, next;

        for (; at && !(at & TR_LIST); at = next) {
                next = link_at(t, at)->next;
                unlink_one(v, at);
        }
        *list = 0;
        if (tr_is_mirrored(tr_mode(b)))
                tr_bound_unlink(v, b);
}

void tr_link_left(struct dbt_vcpu *v)
{
        const struct dbt_tr *t = v->translator;
        uint32_t at = tr_code_offset(t, v->tr_link);
        const struct tr_link *link = link_at(t, at);
        const struct dbt_block *b;

        if (tr_link_is_far(link)) {
                v->rip = (uint32_t)link->lin;
                return;
        }
        b = block_of(v, at);
        if (b->is_bound)
                v->rip = b->bound + link->offset;
}

static uint32_t exit_of(const struct dbt_block *b, unsigned k)
{
        unsigned exit = dbt_block_exits(b)[k];

        return exit & TR_EXIT_NEAR ? b->code + (exit & ~TR_EXIT_NEAR) : b->cold + exit;
}

static void detach_exit(struct dbt_vcpu *v, uint32_t at)
{
        const struct tr_link *link = link_at(v->translator, at);

        if (!link->next)
                return;
        if (tr_link_is_far(link))
                tr_bound_remove(v, at);
        else
                link_remove(v, at);
}

static void detach_quick(struct dbt_vcpu *v, const struct dbt_block *b)
{
        uint32_t at = first_link(b);

        for (unsigned k = 0; k < b->n_exits; k++) {
                detach_exit(v, at);
                at = next_link(v->translator, at);
        }
}

void dbt_tr_detach(struct dbt_vcpu *v, struct dbt_block *b)
{
        dbt_tr_unlink(v, b);
        if (b->quick) {
                detach_quick(v, b);
                return;
        }
        for (unsigned k = 0; k < b->n_exits; k++)
                detach_exit(v, exit_of(b, k));
}
