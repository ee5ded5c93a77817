/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Lookups in the TLB: what all of them begin with, and routines, for code that seldom runs: there, a call in place of the lookup makes a third less code for the host's caches. */

#include "hv/engine/dbt/tr.h"

void tr_tlb_slot(struct tr_emit *e)
{
        TR_CODE(e, 0x89, 0xc1, 0xc1, 0xe9, DBT_PAGE_SHIFT - DBT_TLB_ENTRY_SHIFT); /* mov ecx, eax; shr ecx, imm8 */
        TR_CODE(e, 0x81, 0xe1);                                                   /* and ecx, imm32 */
        tr_put32(e, (DBT_TLB_SIZE - 1) << DBT_TLB_ENTRY_SHIFT);
}

void tr_with_entry(struct tr_emit *e, unsigned opcode, unsigned reg, unsigned view, size_t offset)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = true };
        struct tr_mem m = { .base = TR_RCX, .index = TR_NO_HOME, .vcpu = true };

        m.disp = (int32_t)(offsetof(struct dbt_vcpu, tlb) + view * DBT_TLB_SIZE * sizeof(struct dbt_tlb_entry) + offset);
        tr_op_mem(e, &op, reg, &m);
}

/* Called. */
static void emit_check(struct tr_emit *e, unsigned view, bool write, unsigned span, const uint8_t *missed)
{
        size_t match = write ? offsetof(struct dbt_tlb_entry, match_write) : offsetof(struct dbt_tlb_entry, match_read);
        uint8_t *miss;

        tr_tlb_slot(e);
        tr_with_entry(e, 0x33, TR_RAX, view, match);
        TR_CODE(e, 0x48, 0x3d); /* cmp rax, imm32 */
        tr_put32(e, (uint32_t)DBT_PAGE_SIZE - span);
        TR_CODE(e, 0x70 | TR_CC_A, 0); /* short, so that all is in one line */
        miss = e->p;
        tr_with_entry(e, 0x33, TR_RAX, view, match);
        tr_with_entry(e, 0x8b, TR_RCX, view, offsetof(struct dbt_tlb_entry, addend));
        TR_CODE(e, 0x48, 0x01, 0xc1, 0xc3); /* add rcx, rax; ret */
        miss[-1] = (uint8_t)(e->p - miss);
        tr_with_entry(e, 0x33, TR_RAX, view, match);
        tr_mov_imm(e, TR_RCX, span | (uint32_t)write << 16);
        tr_jmp(e, missed);
}

/* In: RAX the address, ECX tr_check_missed's what; the return address is that of the check. Keeps RAX and all registers of the guest. */
static void emit_missed(struct tr_emit *e)
{
        struct tr_mem back = tr_field(offsetof(struct dbt_vcpu, tr_return)), self = tr_field(offsetof(struct dbt_vcpu, self));

        tr_save(e, TR_VOLATILE | 1u << TR_RAX);
        tr_c_begin(e);
        tr_load(e, TR_RDI, &self);
        tr_mov(e, TR_RSI, TR_RAX);
        TR_CODE(e, 0x89, 0xca); /* mov edx, ecx */
        tr_load(e, TR_RCX, &back);
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_check_missed);
        TR_CODE(e, 0xff, 0xd0); /* call rax */
        tr_store(e, &back, TR_RAX);
        tr_restore(e, TR_VOLATILE | 1u << TR_RAX);
        tr_c_end(e);
        TR_CODE(e, 0xc3);
}

/* Each begins a line of the host's cache. */
void tr_emit_lookups(struct dbt_tr *t, struct tr_emit *e)
{
        const uint8_t *missed = tr_here(e);

        emit_missed(e);
        for (unsigned k = 0; k < DBT_NMMUS * 2 * TR_SPANS; k++) {
                unsigned view = k / (2 * TR_SPANS), write = k / TR_SPANS % 2, n = k % TR_SPANS;

                while ((uintptr_t)e->p % 64)
                        tr_put(e, 0xcc);
                t->check[view][write][n] = tr_here(e);
                emit_check(e, view, write, 1u << n, missed);
        }
}

const uint8_t *tr_check_missed(struct dbt_vcpu *v, uint64_t lin, uint32_t what, const uint8_t *at)
{
        if (tr_tlb_entry(v, lin, what & 0xffff, what >> 16))
                return at - TR_CALL_SIZE;
        return dbt_tr_fault_exit(v, (uintptr_t)at);
}
