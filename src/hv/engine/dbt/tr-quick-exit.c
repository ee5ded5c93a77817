/* SPDX-License-Identifier: GPL-2.0-or-later */

/* First translations (tr-quick.c): the ways out of a block to the next one. What runs is a jump, and what it leads to until it is linked is apart from it. */

#include "hv/engine/dbt/tr-quick-gen.h"

void quick_page_plus(struct quick *q, int64_t offset)
{
        load_page(q, TR_RAX);
        put(q, 0x48); /* lea rax, [rax + disp32] */
        put(q, 0x8d);
        put(q, 0x80);
        put32(q, (uint32_t)offset);
}

void quick_jump_by_routine(struct quick *q, const uint8_t *routine)
{
        call(q, routine);
        put(q, 0xff); /* jmp [rcx + the jump cache's code] */
        put(q, 0xa1);
        put32(q, (uint32_t)((uintptr_t)q->v + tr_jump_slots((unsigned)q->jumps) + offsetof(struct dbt_jump, code)));
}

/* jmp or jcc, to be set. Returns its displacement. */
static uint8_t *put_jump(struct quick *q, unsigned cond)
{
        if (cond == TR_ALWAYS) {
                put(q, TR_OPCODE_JMP);
        } else {
                put(q, 0x0f);
                put(q, 0x80 | cond);
        }
        q->now.p += 4;
        return q->now.p - 4;
}

/* What jump leads to until it is linked. */
static void put_stub(struct quick *q, uint8_t *jump, struct tr_link *link)
{
        unsigned size = link->kind == TR_LINK_FAR ? TR_LINK_FAR_SIZE : TR_LINK_NEAR_SIZE, distance = (unsigned)(jump + q->to_exec - q->entry);

        change_over(q);
        set_jump(q, jump);
        link->kind |= q->now.dirty;
        call(q, q->now.dirty ? q->t->ways[1].exit_saving : q->t->ways[1].exit);
        if (size == TR_LINK_FAR_SIZE) {
                link->to_entry = (int32_t)(here(q) - q->entry);
                link->jump = distance & (TR_LINK_JUMP - 1);
        } else {
                link->near_to_entry = (int32_t)(here(q) - q->entry);
                link->near_jump = distance & (TR_LINK_NEAR_JUMP - 1);
        }
        for (unsigned k = 0; k < size; k++)
                put(q, ((const uint8_t *)link)[k]);
        q->now.exits++;
        change_over(q);
}

/* By the jump cache. */
static void leave_cached(struct quick *q, int64_t offset)
{
        if (q->now.dirty)
                call(q, q->t->save_flags);
        if (q->b->is_bound) {
                quick_page_plus(q, offset);
                quick_jump_by_routine(q, q->t->to_cached[q->jumps]);
                return;
        }
        put(q, 0xb8); /* mov eax, imm32 */
        put32(q, (uint32_t)offset);
        quick_jump_by_routine(q, q->t->to_far[q->jumps]);
}

void quick_leave_to(struct quick *q, unsigned cond, int64_t offset, bool forward)
{
        struct tr_link link = { .offset = (uint16_t)(offset & 0xfff), .forward = forward, .kind = TR_LINK_NEAR };
        uint8_t *jump;
        int32_t lin;

        if (gen_is_within_page(offset)) {
                put_stub(q, put_jump(q, cond), &link);
        } else if (tr_links_to(q->b, offset, &lin)) {
                link = (struct tr_link){ .forward = forward, .kind = TR_LINK_FAR, .lin = lin };
                put_stub(q, put_jump(q, cond), &link);
        } else if (cond == TR_ALWAYS) {
                leave_cached(q, offset);
        } else {
                put(q, 0x70 | (cond ^ 1));
                put(q, 0);
                jump = q->now.p;
                leave_cached(q, offset);
                jump[-1] = (uint8_t)(q->now.p - jump);
        }
}
