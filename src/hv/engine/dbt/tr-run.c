/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The translator's buffers and common routines, and the way in and out. */

#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "hv/engine/dbt/exec.h"
#include "hv/engine/dbt/tr.h"

/* Linux: the instructions that set FS and GS base are enabled for user mode. */
#define HWCAP2_FSGSBASE (1 << 1)

/* --- Common routines ---------------------------------------------------------------------------------------------------- */

static void spill(struct tr_emit *e)
{
        for (unsigned r = 0; r < X86_NGPRS; r++) {
                struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, gpr) + r * 8);

                if (tr_home[r] != TR_NO_HOME)
                        tr_store(e, &m, tr_home[r]);
        }
}

static void reload(struct tr_emit *e)
{
        for (unsigned r = 0; r < X86_NGPRS; r++) {
                struct tr_mem m = tr_field(offsetof(struct dbt_vcpu, gpr) + r * 8);

                if (tr_home[r] != TR_NO_HOME)
                        tr_load(e, tr_home[r], &m);
        }
}

static void put_bytes(struct tr_emit *e, const uint8_t *bytes, unsigned n)
{
        while (n-- > 0)
                tr_put(e, *bytes++);
}
#define CODE(e, ...) put_bytes(e, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* op reg, [vCPU + offset] */
static void with_field(struct tr_emit *e, unsigned opcode, bool w, unsigned reg, size_t offset)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = w };
        struct tr_mem m = tr_field(offset);

        tr_op_mem(e, &op, reg, &m);
}

/* op reg, [base + disp], 64 bits */
static void with_base(struct tr_emit *e, unsigned opcode, unsigned reg, unsigned base, size_t disp)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = true };
        struct tr_mem m = { .base = (uint8_t)base, .index = TR_NO_HOME, .disp = (int32_t)disp };

        tr_op_mem(e, &op, reg, &m);
}

/* C: enum tr_exit enter(struct dbt_vcpu *v, const void *code) */
static void emit_enter(struct tr_emit *e)
{
        CODE(e, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push rbx, rbp, r12..r15 */
        CODE(e, 0x48, 0x83, 0xec, 0x08);                                     /* sub rsp, 8 */
        with_field(e, 0x89, true, TR_RSP, offsetof(struct dbt_vcpu, tr_c_stack));
        with_field(e, 0x8b, true, TR_RSP, offsetof(struct dbt_vcpu, tr_calls_top));
        tr_mov(e, TR_RAX, TR_RSI);
        reload(e);
        CODE(e, 0xff, 0xe0); /* jmp rax */
}

/* In: EAX what to return. */
static void emit_leave(struct tr_emit *e)
{
        spill(e);
        with_field(e, 0x89, true, TR_RSP, offsetof(struct dbt_vcpu, tr_calls_top));
        with_field(e, 0x8b, true, TR_RSP, offsetof(struct dbt_vcpu, tr_c_stack));
        CODE(e, 0x48, 0x83, 0xc4, 0x08);
        CODE(e, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

/* In: RAX offset from the page's start. */
static void emit_set_rip(struct tr_emit *e)
{
        with_field(e, 0x03, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
}

/* To RCX: the key of the block at v->rip, whose TLB entry is in RCX. */
static void emit_key(struct tr_emit *e)
{
        with_field(e, 0x2b, true, TR_RCX, offsetof(struct dbt_vcpu, tlb_now));
        CODE(e, 0xd1, 0xe9); /* shr ecx, 1 */
        _Static_assert(DBT_TLB_ENTRY_SHIFT - DBT_TLB_INFO_SHIFT == 1, "shifted");
        with_field(e, 0x03, true, TR_RCX, offsetof(struct dbt_vcpu, tlb_info_now));
        with_base(e, 0x8b, TR_RCX, TR_RCX, offsetof(struct dbt_tlb_info, gpa));
        with_field(e, 0x8b, false, TR_RAX, offsetof(struct dbt_vcpu, rip));
        CODE(e, 0x25, 0xff, 0x0f, 0x00, 0x00); /* and eax, 0xfff */
        CODE(e, 0x48, 0x09, 0xc1);             /* or rcx, rax */
        with_field(e, 0x8b, false, TR_RAX, offsetof(struct dbt_vcpu, mode));
        CODE(e, 0x48, 0xc1, 0xe0, 56);         /* shl rax, 56 */
        CODE(e, 0x48, 0x09, 0xc1);
}

/* dbt_index_find: RCX the key; to RAX the block, or leaves. */
static void emit_index(struct tr_emit *e, const struct dbt_tr *t)
{
        uint8_t *found[DBT_INDEX_WAYS];

        _Static_assert(sizeof(struct dbt_index_set) == 64 && DBT_BLOCK_ALIGN == 16, "shifted");
        tr_save(e, 1u << TR_RDX);
        tr_mov_imm(e, TR_RAX, DBT_HASH_FACTOR);
        CODE(e, 0x48, 0x0f, 0xaf, 0xc1);                       /* imul rax, rcx */
        CODE(e, 0x48, 0x89, 0xc2);                             /* mov rdx, rax */
        CODE(e, 0x48, 0xc1, 0xea, DBT_INDEX_SHIFT);            /* shr rdx, imm8 */
        CODE(e, 0x48, 0xc1, 0xe8, (uint8_t)(64 - t->index_bits)); /* shr rax, imm8 */
        CODE(e, 0xc1, 0xe0, 6);                                /* shl eax, 6 */
        with_field(e, 0x03, true, TR_RAX, offsetof(struct dbt_vcpu, code_index));
        for (unsigned k = 0; k < DBT_INDEX_WAYS; k++) {
                if (k)
                        CODE(e, 0x48, 0x83, 0xc0, 8); /* add rax, 8 */
                CODE(e, 0x3b, 0x50, 4);               /* cmp edx, [rax + 4] */
                found[k] = tr_jcc(e, TR_CC_E);
        }
        tr_restore(e, 1u << TR_RDX);
        tr_jmp(e, t->leave_jump);
        for (unsigned k = 0; k < DBT_INDEX_WAYS; k++)
                tr_set_jump(e, found[k]);
        CODE(e, 0x8b, 0x00, 0x48, 0xc1, 0xe0, 4); /* mov eax, [rax]; shl rax, 4 */
        with_field(e, 0x8b, true, TR_RDX, offsetof(struct dbt_vcpu, decode));
        with_base(e, 0x03, TR_RAX, TR_RDX, offsetof(struct dbt_decode, arena));
        tr_restore(e, 1u << TR_RDX);
        with_base(e, 0x3b, TR_RCX, TR_RAX, offsetof(struct dbt_block, key));
        tr_jcc_to(e, TR_CC_NE, t->leave_jump); /* no mode of translated code has the key 0 of where there is none */
        CODE(e, 0x48, 0x83, 0x78, offsetof(struct dbt_block, second), 0xff); /* cmp qword [rax + second], -1 */
        _Static_assert(DBT_NO_PAGE == ~0ULL && offsetof(struct dbt_block, second) < 128, "immediate and displacement of 8 bits");
        tr_jcc_to(e, TR_CC_NE, t->leave_jump);
}

/* In: RAX where to go on. Out: RAX the code of the block there; leaves if it has none. dbt_block_lookup for translated code. */
static void emit_find(struct tr_emit *e, const struct dbt_tr *t)
{
        with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
        CODE(e, 0x89, 0xc1, 0xc1, 0xe9, DBT_PAGE_SHIFT - DBT_TLB_ENTRY_SHIFT); /* mov ecx, eax; shr ecx, imm8 */
        CODE(e, 0x81, 0xe1);                                                   /* and ecx, imm32 */
        tr_put32(e, (DBT_TLB_SIZE - 1) << DBT_TLB_ENTRY_SHIFT);
        CODE(e, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff); /* and rax, -4096 */
        with_field(e, 0x03, true, TR_RCX, offsetof(struct dbt_vcpu, tlb_now));
        with_base(e, 0x3b, TR_RAX, TR_RCX, offsetof(struct dbt_tlb_entry, match_exec));
        tr_jcc_to(e, TR_CC_NE, t->leave_jump);
        with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        emit_key(e);
        emit_index(e, t);
        with_base(e, 0x8b, TR_RAX, TR_RAX, offsetof(struct dbt_block, code));
        CODE(e, 0x48, 0x85, 0xc0); /* test rax, rax */
        tr_jcc_to(e, TR_CC_E, t->leave_jump);
}

static void emit_jump(struct tr_emit *e, const struct dbt_tr *t)
{
        emit_find(e, t);
        CODE(e, 0xff, 0xe0); /* jmp rax */
}

/* In a routine that was called: goes on at target. By ret, so that the host's return predictions stay in step with the calls. */
static void ret_to(struct tr_emit *e, const uint8_t *target)
{
        tr_mov_imm(e, TR_RCX, (uintptr_t)target);
        CODE(e, 0x48, 0x89, 0x0c, 0x24, 0xc3); /* mov [rsp], rcx; ret */
}

/* To RCX: the slot of the address in RAX, as an offset. */
static void emit_slot(struct tr_emit *e)
{
        _Static_assert(sizeof(struct dbt_jump) == 1 << DBT_JUMP_SHIFT, "shifted");
        CODE(e, 0x69, 0xc8); /* imul ecx, eax, imm32 */
        tr_put32(e, DBT_JUMP_HASH);
        CODE(e, 0xc1, 0xe9, 32 - DBT_JUMP_BITS - DBT_JUMP_SHIFT); /* shr ecx, imm8 */
        CODE(e, 0x83, 0xe1, 0x100 - (1 << DBT_JUMP_SHIFT));       /* and ecx, imm8 */
}

/* op reg, [gs: rcx + offset] */
static void with_jumps(struct tr_emit *e, unsigned opcode, bool w, unsigned reg, size_t offset)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = w };
        struct tr_mem m = { .base = TR_RCX, .index = TR_NO_HOME, .gs = true, .disp = (int32_t)offset };

        tr_op_mem(e, &op, reg, &m);
}

/* Called. */
static void emit_to_cached(struct tr_emit *e, const struct dbt_tr *t, unsigned mode)
{
        size_t cache = offsetof(struct dbt_vcpu, jumps) + mode * sizeof(struct dbt_jumps);
        uint8_t *miss;

        emit_slot(e);
        with_jumps(e, 0x3b, true, TR_RAX, cache + offsetof(struct dbt_jumps, slot[0].rip));
        miss = tr_jcc(e, TR_CC_NE);
        CODE(e, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff); /* and rax, -4096 */
        with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        CODE(e, 0xc3);
        tr_set_jump(e, miss);
        ret_to(e, t->jump_in[mode]);
}

static void emit_jump_in(struct tr_emit *e, const struct dbt_tr *t, unsigned mode)
{
        static const struct tr_op mov = { .opcode = 0xc6 };
        size_t cache = offsetof(struct dbt_vcpu, jumps) + mode * sizeof(struct dbt_jumps);
        struct tr_mem used = { .base = TR_RAX, .index = TR_NO_HOME, .gs = true, .disp = (int32_t)(cache + offsetof(struct dbt_jumps, used)) };

        emit_find(e, t);
        with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        with_field(e, 0x8b, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
        emit_slot(e);
        with_jumps(e, 0x89, true, TR_RAX, cache + offsetof(struct dbt_jumps, slot[0].rip));
        CODE(e, 0x89, 0xc8, 0xc1, 0xe8, DBT_JUMP_SHIFT + DBT_JUMP_PART_BITS); /* mov eax, ecx; shr eax, imm8 */
        tr_op_mem(e, &mov, 0, &used);
        tr_put(e, 1);
        with_field(e, 0x8b, true, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        with_jumps(e, 0x89, true, TR_RAX, cache + offsetof(struct dbt_jumps, slot[0].code));
        CODE(e, 0xff, 0xe0);
}

/* Called by the header of a block's seldom run code; leaves with v->rip at the block. */
static void emit_leave_asked(struct tr_emit *e, const struct dbt_vcpu *v, const struct dbt_tr *t)
{
        static const struct tr_op mov = { .opcode = 0x8b };
        struct tr_mem header = { .base = TR_RAX, .index = TR_NO_HOME, .disp = -TR_HEADER_BLOCK };
        struct tr_mem key = { .base = TR_RAX, .index = TR_RCX, .disp = offsetof(struct dbt_block, key) };

        CODE(e, 0x48, 0x8b, 0x04, 0x24); /* mov rax, [rsp] */
        tr_op_mem(e, &mov, TR_RAX, &header);
        _Static_assert(DBT_BLOCK_ALIGN == 16, "shifted");
        CODE(e, 0x48, 0xc1, 0xe0, 4); /* shl rax, 4 */
        tr_mov_imm(e, TR_RCX, (uintptr_t)v->decode->hot.base);
        tr_op_mem(e, &mov, TR_RAX, &key);
        CODE(e, 0x25, 0xff, 0x0f, 0x00, 0x00); /* and eax, 0xfff */
        emit_set_rip(e);
        tr_mov_imm(e, TR_RAX, TR_EXIT_ASKED);
        ret_to(e, t->leave);
}

/* Called, with a struct tr_link behind the call. */
static void emit_exit(struct tr_emit *e, const struct dbt_tr *t)
{
        CODE(e, 0x48, 0x8b, 0x04, 0x24); /* mov rax, [rsp] */
        with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_link));
        CODE(e, 0x8b, 0x00, 0x25, 0xff, 0x0f, 0x00, 0x00); /* mov eax, [rax]; and eax, 0xfff */
        ret_to(e, t->leave_at);
}

static void emit_save_flags(struct tr_emit *e)
{
        CODE(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
        with_field(e, 0x89, false, TR_RAX, offsetof(struct dbt_vcpu, tr_flags));
        CODE(e, 0xc3);
}

/* Called, with a record behind the call. */
static void emit_out(struct tr_emit *e)
{
        tr_c_begin(e);
        spill(e);
        with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        with_field(e, 0x8b, true, TR_RSI, offsetof(struct dbt_vcpu, tr_return));
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_out);
        CODE(e, 0xff, 0xd0); /* call rax */
        with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_return));
        reload(e);
        with_field(e, 0x8b, false, TR_RAX, offsetof(struct dbt_vcpu, tr_flags));
        CODE(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
        tr_c_end(e);
        CODE(e, 0xc3); /* ret: see ret_to */
}

/* In: RAX the instruction, ECX its offset in the page and, from bit 16, how many. Out: NZ if translated code is to be left. */
static void emit_call(struct tr_emit *e)
{
        tr_c_begin(e);
        spill(e);
        with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        tr_mov(e, TR_RSI, TR_RAX);
        CODE(e, 0x0f, 0xb7, 0xd1, 0xc1, 0xe9, 0x10); /* movzx edx, cx; shr ecx, 16 */
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_handlers);
        CODE(e, 0xff, 0xd0); /* call rax */
        CODE(e, 0x84, 0xc0); /* test al, al */
        reload(e);
        tr_c_end(e);
        CODE(e, 0xc3);
}

#define ROAM_SAVED (1u << TR_RDX | 1u << TR_RSI | 1u << TR_RDI)

/* For a roaming site and a page that the TLB has: what tr_site_missed does then. The registers that it uses are saved. */
static void emit_roam(struct tr_emit *e, enum tr_miss how)
{
        size_t match = how == TR_MISS_WRITE ? offsetof(struct dbt_tlb_entry, match_write) : offsetof(struct dbt_tlb_entry, match_read);
        static const struct tr_op test = { .opcode = 0xf6 }, inc = { .opcode = 0xff }, test32 = { .opcode = 0xf7 }, movzx = { .opcode = 0xb7, .map0f = true },
                                  mov = { .opcode = 0x8b };
        struct tr_mem k = { .base = TR_RCX, .index = TR_NO_HOME, .disp = offsetof(struct tr_site, k) }, limit = k, misses = k;
        uint8_t *slow[3];

        limit.disp = offsetof(struct tr_site, limit);
        misses.disp = offsetof(struct tr_site, misses);
        tr_op_mem(e, &test, 0, &k);
        tr_put(e, TR_SITE_ROAMING);
        slow[0] = tr_jcc(e, TR_CC_E);
        tr_op_reg(e, &mov, TR_RDX, TR_RAX);
        CODE(e, 0xc1, 0xea, DBT_PAGE_SHIFT - DBT_TLB_ENTRY_SHIFT); /* shr edx, imm8 */
        CODE(e, 0x81, 0xe2);                                       /* and edx, imm32 */
        tr_put32(e, (DBT_TLB_SIZE - 1) << DBT_TLB_ENTRY_SHIFT);
        with_field(e, 0x03, true, TR_RDX, offsetof(struct dbt_vcpu, tlb_now));
        with_base(e, 0x8b, TR_RSI, TR_RDX, match);
        CODE(e, 0x48, 0x31, 0xc6); /* xor rsi, rax */
        tr_op_mem(e, &movzx, TR_RDI, &limit);
        CODE(e, 0x48, 0x39, 0xfe); /* cmp rsi, rdi */
        slow[1] = tr_jcc(e, TR_CC_A);
        tr_op_mem(e, &inc, 0, &misses);
        tr_op_mem(e, &test32, 0, &misses);
        tr_put32(e, TR_SITE_MISSES_MAX - 1);
        slow[2] = tr_jcc(e, TR_CC_E);
        CODE(e, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff); /* and rax, -4096 */
        with_base(e, 0x89, TR_RAX, TR_RCX, offsetof(struct tr_site, match));
        with_base(e, 0x8b, TR_RAX, TR_RDX, offsetof(struct dbt_tlb_entry, addend));
        with_base(e, 0x89, TR_RAX, TR_RCX, offsetof(struct tr_site, addend));
        tr_restore(e, ROAM_SAVED);
        CODE(e, 0x85, 0xe4, 0xc3); /* test esp, esp, which is not aligned to 16; ret */
        for (unsigned n = 0; n < ARRAY_SIZE(slow); n++)
                tr_set_jump(e, slow[n]);
}

/* In: RAX the address, RCX the site. Keeps all registers of the guest. Out: NE: the access may be tried again. */
static void emit_missed(struct tr_emit *e, enum tr_miss how)
{
        tr_save(e, ROAM_SAVED);
        emit_roam(e, how);
        tr_save(e, TR_VOLATILE & ~ROAM_SAVED);
        tr_c_begin(e);
        with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        tr_mov(e, TR_RSI, TR_RCX);
        tr_mov(e, TR_RDX, TR_RAX);
        tr_mov_imm(e, TR_RCX, how);
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_site_missed);
        CODE(e, 0xff, 0xd0); /* call rax */
        CODE(e, 0x84, 0xc0); /* test al, al */
        tr_restore(e, TR_VOLATILE);
        tr_c_end(e);
        CODE(e, 0xc3);
}

/* In: RAX what the address and the match in the TLB entry differ by, RCX the entry's offset; a record is behind the call. Keeps all registers of the guest. */
static void emit_missed_tlb(struct tr_emit *e, enum tr_miss how)
{
        struct tr_mem back = tr_field(offsetof(struct dbt_vcpu, tr_return));

        tr_save(e, TR_VOLATILE);
        tr_c_begin(e);
        with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        tr_mov(e, TR_RSI, TR_RAX);
        tr_mov(e, TR_RDX, TR_RCX);
        tr_load(e, TR_RCX, &back);
        tr_mov_imm(e, 8, how);
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_tlb_missed);
        CODE(e, 0xff, 0xd0); /* call rax */
        tr_store(e, &back, TR_RAX);
        tr_restore(e, TR_VOLATILE);
        tr_c_end(e);
        CODE(e, 0xc3);
}

static void emit_routines(struct dbt_vcpu *v, struct tr_emit *e)
{
        struct dbt_tr *t = v->translator;

        t->enter = tr_here(e);
        emit_enter(e);
        t->leave_at = tr_here(e);
        emit_set_rip(e);
        t->leave_jump = tr_here(e);
        CODE(e, 0x31, 0xc0); /* xor eax, eax: TR_EXIT_JUMP */
        t->leave = tr_here(e);
        emit_leave(e);
        t->leave_asked = tr_here(e);
        emit_leave_asked(e, v, t);
        t->jump_rip = tr_here(e);
        with_field(e, 0x8b, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
        t->jump = tr_here(e);
        emit_jump(e, t);
        for (unsigned k = 0; k < DBT_JUMP_MODES; k++) {
                t->jump_in[k] = tr_here(e);
                emit_jump_in(e, t, k);
                t->to_far[k] = tr_here(e);
                CODE(e, 0x48, 0x63, 0xc0); /* movsxd rax, eax */
                with_field(e, 0x03, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
                t->to_cached[k] = tr_here(e);
                emit_to_cached(e, t, k);
        }
        for (unsigned k = 0; k < TR_MISSES; k++) {
                t->missed[k] = tr_here(e);
                if (k < TR_MISS_TLB_READ)
                        emit_missed(e, k);
                else
                        emit_missed_tlb(e, k);
        }
        t->exit = tr_here(e);
        emit_exit(e, t);
        t->save_flags = tr_here(e);
        emit_save_flags(e);
        t->out = tr_here(e);
        emit_out(e);
        t->call = tr_here(e);
        emit_call(e);
        tr_emit_call_routines(v, e);
        tr_emit_string_routines(t, e);
        tr_emit_lookups(t, e);
}

bool tr_handlers(struct dbt_vcpu *v, const struct dbt_insn *i, uint32_t offset, uint32_t n)
{
        const struct dbt_insn *last = i + n - 1;
        uint64_t rip = v->tr_page + offset;

        dbt_set_flags(v, v->tr_flags);
        v->rip = rip;
        for (; i != last; i++) {
                i->fn(v, i);
                rip += i->length;
                v->rip = rip;
        }
        i->fn(v, i);
        if (!(i->flags & DBT_INSN_TRANSFER))
                v->rip = rip + i->length;
        v->tr_flags = dbt_flags_ax(v);
        tr_calls_follow(v);
        return dbt_insn_dropped(i) || (atomic_load_explicit(&v->request, memory_order_relaxed) & DBT_REQ_CODE) || ((i->flags & DBT_INSN_ENDS_BLOCK) && dbt_must_stop(v));
}

/* --- Links and the jump cache -------------------------------------------------------------------------------------------------- */

/* Makes the jump or call whose displacement is at offset at lead to target, also an offset. */
static void patch(struct dbt_tr *t, uint32_t at, uint32_t target)
{
        *(volatile dbt_guest32 *)(t->write + at) = target - (at + 4);
}

static uint32_t code_offset(const struct dbt_tr *t, const void *code)
{
        return (uint32_t)((const uint8_t *)code - t->exec);
}

static struct tr_link *link_at(const struct dbt_tr *t, uint32_t offset)
{
        return (struct tr_link *)(t->write + offset);
}

static dbt_guest32 *cell_at(const struct dbt_tr *t, uint32_t offset)
{
        return (dbt_guest32 *)(t->write + offset);
}

/* The cell in which the list of the links to b begins. */
static uint32_t list_of(const struct dbt_tr *t, const struct dbt_block *b)
{
        return b->cold - TR_HEADER_LINKS;
}

/* The code as if the link had never been linked. */
static void unlink_one(struct dbt_tr *t, uint32_t at)
{
        struct tr_link *link = link_at(t, at);
        uint32_t stub = at - TR_CALL_SIZE, tail = at - (uint32_t)link->to_tail;

        if (link->to_tail)
                patch(t, tail, stub);
        patch(t, at - (uint32_t)link->to_jump, link->to_tail ? tail - TR_TAIL_SIZE : stub);
        link->prev = 0;
}

static void link_insert(struct dbt_tr *t, uint32_t list, uint32_t at)
{
        struct tr_link *link = link_at(t, at);

        link->next = *cell_at(t, list);
        link->prev = list;
        if (link->next)
                link_at(t, link->next)->prev = at + offsetof(struct tr_link, next);
        *cell_at(t, list) = at;
}

static void link_remove(struct dbt_tr *t, uint32_t at)
{
        const struct tr_link *link = link_at(t, at);

        *cell_at(t, link->prev) = link->next;
        if (link->next)
                link_at(t, link->next)->prev = link->prev;
        unlink_one(t, at);
}

void dbt_tr_link(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        uint32_t target = code_offset(t, b->code), at = code_offset(t, v->tr_link);
        const struct tr_link *link = link_at(t, at);

        if (b->dead || link->prev)
                return;
        link_insert(t, list_of(t, b), at);
        if (link->forward)
                target += b->skip;
        patch(t, at - (uint32_t)(link->to_tail && b->flags_in ? link->to_tail : link->to_jump), target);
}

void dbt_tr_unlink(struct dbt_vcpu *v, const struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        dbt_guest32 *list = cell_at(t, list_of(t, b));

        for (uint32_t at = *list; at; at = link_at(t, at)->next)
                unlink_one(t, at);
        *list = 0;
}

void dbt_tr_detach(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;

        dbt_tr_unlink(v, b);
        for (unsigned k = 0; k < ARRAY_SIZE(b->exits); k++) {
                uint32_t at = b->cold + b->exits[k];

                if (b->exits[k] && link_at(t, at)->prev)
                        link_remove(t, at);
        }
}

static uint32_t jump_slot(uint64_t lin)
{
        return (uint32_t)((uint32_t)lin * DBT_JUMP_HASH) >> (32 - DBT_JUMP_BITS);
}

/* An entry stands for none if it is not in the slot of its address: 0 in all but its own, where 1 does. */
static void clear_jumps(struct dbt_jumps *j)
{
        for (unsigned part = 0; part < ARRAY_SIZE(j->used); part++) {
                struct dbt_jump *slot = &j->slot[part << DBT_JUMP_PART_BITS];

                for (unsigned k = 0; j->used[part] && k < 1u << DBT_JUMP_PART_BITS; k++)
                        slot[k].rip = 0;
                j->used[part] = 0;
        }
        j->slot[0].rip = 1;
}

static void enter_jump(struct dbt_jumps *j, uint64_t lin, const void *code)
{
        uint32_t n = jump_slot(lin);

        j->slot[n] = (struct dbt_jump){ .rip = lin, .code = code };
        j->used[n >> DBT_JUMP_PART_BITS] = 1;
}

int tr_jump_mode(struct dbt_vcpu *v, uint32_t mode)
{
        for (int k = 0; k < DBT_JUMP_MODES; k++) {
                if (v->jumps[k].mode == mode)
                        return k;
                if (!v->jumps[k].mode) {
                        v->jumps[k].mode = mode;
                        for (unsigned part = 0; part < ARRAY_SIZE(v->jumps[k].used); part++)
                                v->jumps[k].used[part] = 1;
                        clear_jumps(&v->jumps[k]);
                        return k;
                }
        }
        return -1;
}

void dbt_tr_forget_jumps(struct dbt_vcpu *v, bool kernel)
{
        for (int k = 0; k < DBT_JUMP_MODES && v->jumps[k].mode; k++)
                if (kernel || (v->jumps[k].mode & DBT_MODE_CPL3))
                        clear_jumps(&v->jumps[k]);
        if (!v->translator)
                return;
        tr_calls_forget(v, kernel);
        if (kernel)
                tr_far_forget(v);
}

/* --- Faults of the host ------------------------------------------------------------------------------------------------------- */

void tr_fault_new(struct dbt_tr *t, const uint8_t *pc, const uint8_t *exit)
{
        struct tr_fault *f = &t->faults[t->current * t->faults_max + t->n_faults[t->current]++];

        *f = (struct tr_fault){ .pc = (uint32_t)(pc - t->exec), .exit = (uint32_t)(exit - t->exec) };
}

const void *dbt_tr_fault_exit(const struct dbt_tr *t, uint64_t pc)
{
        uint64_t offset = pc - (uintptr_t)t->exec, segment = (offset - TR_ROUTINES_SIZE) / t->segment;
        const struct tr_fault *faults;
        unsigned low = 0, high;

        if (offset < TR_ROUTINES_SIZE || segment >= DBT_SEGMENTS)
                return NULL;
        faults = &t->faults[segment * t->faults_max];
        high = t->n_faults[segment];
        while (low < high) {
                unsigned mid = low + (high - low) / 2;

                if (faults[mid].pc == offset)
                        return t->exec + faults[mid].exit;
                if (faults[mid].pc < offset)
                        low = mid + 1;
                else
                        high = mid;
        }
        return NULL;
}

/* --- Segments ------------------------------------------------------------------------------------------------------------- */

static uint8_t *segment_code(const struct dbt_tr *t, unsigned segment)
{
        return t->write + TR_ROUTINES_SIZE + segment * t->segment;
}

size_t dbt_tr_used(const struct dbt_vcpu *v)
{
        const struct dbt_tr *t = v->translator;

        return t->used + t->sites.n[t->current] * sizeof(struct tr_site) +
                t->n_faults[t->current] * sizeof(struct tr_fault);
}

void dbt_tr_evict(struct dbt_vcpu *v, unsigned segment)
{
        struct dbt_tr *t = v->translator;
        uint32_t start = (uint32_t)(segment_code(t, segment) - t->write);

        t->n_faults[segment] = 0;
        tr_far_evict(v, start, start + (uint32_t)t->segment);
        v->tr_link = NULL;
        tr_sites_evict(v, segment);
}

void dbt_tr_segment(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;

        t->current = t->sites.current = v->decode->hot.current;
        t->used = 0;
        t->cold = t->cold_end = NULL;
        /* The memory is in the executable view, too, and is not lost: it counts once. */
        madvise(t->write, TR_ROUTINES_SIZE + DBT_SEGMENTS * t->segment, MADV_DONTNEED);
}

/* --- Translating ------------------------------------------------------------------------------------------------------------- */

/* What a block's seldom run code takes at most in nearly all cases. */
static size_t cold_estimate(const struct dbt_block *source)
{
        return 64 + 24 * (size_t)source->n;
}

static void reserve_cold(struct dbt_tr *t, const struct dbt_block *source)
{
        if (t->cold && (size_t)(t->cold_end - t->cold) >= cold_estimate(source))
                return;
        t->cold = segment_code(t, t->current) + t->used;
        t->cold_end = t->cold + TR_COLD_SIZE;
        t->used += TR_COLD_SIZE;
}

/* What a translation that is being made adds to. */
struct made {
        unsigned n_sites, n_faults, n_far;
        size_t used;
        uint8_t *cold;
};

static struct made made_so_far(const struct dbt_tr *t)
{
        return (struct made){ .n_sites = t->sites.n[t->current], .n_faults = t->n_faults[t->current], .n_far = t->n_far, .used = t->used, .cold = t->cold };
}

static void forget_made(struct dbt_tr *t, const struct made *from)
{
        t->sites.n[t->current] = from->n_sites;
        t->n_faults[t->current] = from->n_faults;
        t->n_far = from->n_far;
        t->used = from->used;
        t->cold = from->cold;
}

/* A block like b with the code of source, not kept yet; NULL if there was no room. apart: seldom run code in the piece for it. */
static struct dbt_block *make(struct dbt_vcpu *v, const struct dbt_block *source, bool apart)
{
        struct dbt_block *hot = dbt_cache_new_hot(v, source);
        struct dbt_tr *t = v->translator;
        struct tr_emit straight = { .to_exec = t->exec - t->write }, seldom = straight;

        hot->n_sites = 0;
        hot->samples = hot->skip = 0;
        if (v->vm->config.translate_hot)
                hot->stage = TR_OFTEN;
        straight.p = segment_code(t, t->current) + ALIGN_UP(t->used, hot->stage == TR_SELDOM ? TR_SELDOM_ALIGN : TR_CODE_ALIGN);
        straight.end = straight.p + TR_CODE_RESERVE;
        seldom.p = t->cold;
        seldom.end = t->cold_end;
        hot->code = tr_emit_block(v, &straight, apart ? &seldom : &straight, source, hot);
        if (!hot->code)
                return NULL;
        t->used = (size_t)(straight.p - segment_code(t, t->current));
        if (apart)
                t->cold = seldom.p;
        return hot;
}

/* Those of a block's seldom run code lie before others. */
static void sort_faults(struct dbt_tr *t, unsigned from)
{
        struct tr_fault *f = &t->faults[t->current * t->faults_max];

        for (unsigned k = from; k < t->n_faults[t->current]; k++) {
                struct tr_fault one = f[k];
                unsigned to = k;

                for (; to > 0 && f[to - 1].pc > one.pc; to--)
                        f[to] = f[to - 1];
                f[to] = one;
        }
}

static void count_made(struct dbt_tr *t, const struct made *from, const struct dbt_block *hot)
{
        t->stats.sites += (t->sites.n[t->current] - from->n_sites) * sizeof(struct tr_site);
        t->stats.faults += (t->n_faults[t->current] - from->n_faults) * sizeof(struct tr_fault);
        t->stats.copies += (size_t)hot->space * DBT_BLOCK_ALIGN;
}

/* A translation takes the place of b, and is returned; NULL if there is none. source: b, or the same with its instructions. */
static struct dbt_block *replace(struct dbt_vcpu *v, struct dbt_block *b, const struct dbt_block *source)
{
        struct dbt_tr *t = v->translator;
        struct dbt_block *hot;
        struct made from;

        reserve_cold(t, source);
        from = made_so_far(t);
        hot = make(v, source, true);
        if (!hot) {
                forget_made(t, &from);
                hot = make(v, source, false);
        }
        if (!hot || !dbt_block_replace(v, b, hot)) {
                forget_made(t, &from);
                return NULL;
        }
        sort_faults(t, from.n_faults);
        dbt_cache_keep_hot(v, hot);
        count_made(t, &from, hot);
        return hot;
}

/* What cannot be decoded, see decode.c: where the bytes end matters there. */
static bool ends_raising(const struct dbt_block *b)
{
        const struct dbt_insn *last = &b->insn[b->n - 1];

        return last->length == 1 && (last->fn == dbt_exec_ud || last->fn == dbt_exec_gp);
}

void dbt_tr_translate(struct dbt_vcpu *v, struct dbt_block *b)
{
        if (ends_raising(b))
                return;
        dbt_fpu_save(v);
        dbt_cache_reserve_hot(v);
        replace(v, b, b);
}

/* Translated blocks have no instructions but those for handlers: decodes them from the bytes. */
static void decode_again(struct dbt_vcpu *v, const struct dbt_block *b, struct dbt_block *ret)
{
        const uint8_t *bytes = dbt_block_bytes(b);
        uint8_t *to;

        *ret = *b;
        ret->n = 0;
        for (unsigned at = 0; at < b->size; at += ret->insn[ret->n++].length)
                tr_decode_known(v, b, at, &ret->insn[ret->n]);
        to = (uint8_t *)dbt_block_bytes(ret);
        for (unsigned k = 0; k < b->size; k++)
                to[k] = bytes[k];
}

static struct dbt_block *replace_translated(struct dbt_vcpu *v, struct dbt_block *b)
{
        uint64_t room[DBT_BLOCK_RESERVE / sizeof(uint64_t) + 1];
        struct dbt_block *source = (struct dbt_block *)room, *now;

        decode_again(v, b, source);
        now = replace(v, b, source);
        for (unsigned k = 0; k < source->n; k++)
                dbt_native_release(v, &source->insn[k]);
        return now;
}

/* The old code stays where it is, with its links and sites, until it is evicted; who comes there by the jump cache goes on to the new code. */
static struct dbt_block *translate_again(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_tr *t = v->translator;
        struct dbt_block *now;
        uint32_t at;

        dbt_fpu_save(v);
        dbt_cache_reserve(v);
        dbt_cache_reserve_hot(v);
        if (b->dead) /* it has just been evicted */
                return NULL;
        at = (uint32_t)((const uint8_t *)b->code - t->exec);
        now = replace_translated(v, b);
        if (!now)
                return NULL;
        dbt_tr_unlink(v, b);
        t->write[at] = 0xe9;
        patch(t, at + 1, (uint32_t)((const uint8_t *)now->code - t->exec));
        return now;
}

void dbt_tr_convert(struct dbt_vcpu *v)
{
        struct dbt_block *b = v->translator->sites.convert;

        v->translator->sites.convert = NULL;
        if (!b || b->dead)
                return;
        if (v->mode == (uint32_t)(b->key >> 56))
                translate_again(v, b);
        else
                b->apart = false; /* it could not be decoded: another time */
}

void dbt_tr_sample(struct dbt_vcpu *v, struct dbt_block *b)
{
        int mode = tr_jump_mode(v, v->mode);
        struct dbt_block *now;
        uint64_t rip;

        if (!b->code || b->stage == TR_OFTEN || ++b->samples < (b->stage == TR_TRIAL ? TR_TRIAL_SAMPLES : TR_SAMPLES))
                return;
        if (b->stage == TR_TRIAL)
                tr_sites_judge(v, b, TR_TRIAL_SAMPLES * TR_BUDGET);
        b->stage = b->stage == TR_SELDOM && v->mmu == DBT_MMU_USER ? TR_TRIAL : TR_OFTEN;
        rip = dbt_rip_linear(v);
        now = translate_again(v, b);
        if (now && mode >= 0 && v->jumps[mode].slot[jump_slot(rip)].rip == rip)
                enter_jump(&v->jumps[mode], rip, now->code);
}

/* --- Running ------------------------------------------------------------------------------------------------------------------ */

typedef enum tr_exit (*tr_enter)(struct dbt_vcpu *v, const void *code);

/* A block with bytes of a second page, which is the right one now: until a mapping changes, the jump cache leads to it. */
static void enter_crossing(struct dbt_vcpu *v, const struct dbt_block *b)
{
        int mode = tr_jump_mode(v, v->mode);

        if (mode >= 0)
                enter_jump(&v->jumps[mode], dbt_rip_linear(v), b->code);
}

enum tr_exit dbt_tr_run(struct dbt_vcpu *v, const struct dbt_block *b)
{
        enum tr_exit exit;

        if (unlikely(b->second != DBT_NO_PAGE))
                enter_crossing(v, b);
        v->tr_page = dbt_rip_linear(v) & DBT_PAGE_MASK;
        v->tr_flags = dbt_flags_ax(v);
        v->tr_link = NULL;
        v->tr_shadow = ~0ULL;
        tr_calls_follow(v);
        if (unlikely(!v->translator->far_linked) && !(v->mode & DBT_MODE_CPL3))
                tr_far_again(v);
        exit = ((tr_enter)(uintptr_t)v->translator->enter)(v, b->code);
        dbt_set_flags(v, v->tr_flags);
        if (unlikely(v->rip == v->tr_shadow))
                v->interrupt_shadow = true;
        return exit;
}

int dbt_tr_begin(struct dbt_vcpu *v)
{
        dbt_native_thread(v);
        if (!v->translator)
                return 0;
        __asm__ volatile("wrgsbase %0" : : "r"(v));
        return tr_signals_enter(v);
}

void dbt_tr_end(struct dbt_vcpu *v)
{
        if (v->translator)
                tr_signals_leave(v);
}

/* --- Buffers ------------------------------------------------------------------------------------------------------------------- */

static size_t code_size(const struct dbt_tr *t)
{
        return TR_ROUTINES_SIZE + DBT_SEGMENTS * t->segment;
}

static size_t data_size(const struct dbt_tr *t)
{
        return 2 * DBT_SEGMENTS * t->segment + DBT_PAGE_SIZE;
}

/* The code's two views and, behind the executable one, the page for TR_SITE_INVALID, the sites, and the faults. */
static int map_code(struct dbt_tr *t, int fd)
{
        size_t code = code_size(t);
        uint8_t *data;

        if (ftruncate(fd, (off_t)code) < 0)
                return -errno;
        t->write = mmap(NULL, code, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        t->exec = mmap(NULL, code + data_size(t), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (t->write == MAP_FAILED || t->exec == MAP_FAILED)
                return -ENOMEM;
        data = mmap(t->exec + code, data_size(t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        t->sites.site = (struct tr_site *)(data + DBT_PAGE_SIZE);
        t->faults = (struct tr_fault *)((uint8_t *)t->sites.site + DBT_SEGMENTS * t->segment);
        if (data == MAP_FAILED || mmap(t->exec, code, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
                return -ENOMEM;
        return 0;
}

static int make_routines(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;
        struct tr_emit e = { .p = t->write, .end = t->write + TR_ROUTINES_SIZE, .to_exec = t->exec - t->write };

        emit_routines(v, &e);
        return e.overflow ? -ENOSPC : 0;
}

int dbt_tr_init(struct dbt_vcpu *v)
{
        struct dbt_tr *t;
        int fd, r;

        v->self = v;
        if (v->vm->translate_after == ENGINE_NEVER_TRANSLATE || !(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
                return 0;
        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->write = t->exec = MAP_FAILED;
        t->index_bits = v->decode->index_bits;
        t->segment = v->decode->hot.size;
        t->sites.max = (unsigned)(t->segment / sizeof(struct tr_site));
        t->faults_max = (unsigned)(t->segment / sizeof(struct tr_fault));
        v->translator = t;
        fd = memfd_create("dbt-code", MFD_CLOEXEC);
        r = fd < 0 ? -errno : map_code(t, fd);
        if (fd >= 0)
                close(fd);
        if (r >= 0)
                r = tr_calls_init(v);
        if (r >= 0)
                r = tr_far_init(t);
        if (r >= 0)
                r = make_routines(v);
        if (r < 0)
                dbt_tr_finish(v);
        return r;
}

/* Tenths of a byte. */
static unsigned per_insn(const struct tr_stats *s, uint64_t bytes)
{
        return (unsigned)(bytes * 10 / s->insns);
}

static void log_stats(const struct dbt_vcpu *v)
{
        const struct tr_stats *s = &v->translator->stats;
        uint64_t all = s->straight + s->outs + s->exits + s->sites + s->faults + s->copies;

        if (s->insns)
                log_debug("vCPU %u: %llu instructions in %llu blocks, %llu of which run often, translated to %llu KiB; tenths of a byte per instruction: "
                        "straight code %u, outs %u, exits %u, sites %u, faults %u, blocks %u", v->index,
                        (unsigned long long)s->insns, (unsigned long long)s->blocks, (unsigned long long)s->often,
                        (unsigned long long)all / KiB(1), per_insn(s, s->straight), per_insn(s, s->outs), per_insn(s, s->exits),
                        per_insn(s, s->sites), per_insn(s, s->faults), per_insn(s, s->copies));
}

void dbt_tr_finish(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;

        if (!t)
                return;
        log_stats(v);
        tr_calls_free(v);
        tr_far_free(t);
        if (t->write != MAP_FAILED)
                munmap(t->write, code_size(t));
        if (t->exec != MAP_FAILED)
                munmap(t->exec, code_size(t) + data_size(t));
        free(t);
        v->translator = NULL;
}

void dbt_tr_flush(struct dbt_vcpu *v)
{
        struct dbt_tr *t = v->translator;

        if (!t)
                return;
        for (unsigned k = 0; k < DBT_SEGMENTS; k++)
                t->n_faults[k] = 0;
        t->n_far = 0;
        dbt_tr_segment(v);
        tr_sites_flush(v);
        v->tr_link = NULL;
        dbt_tr_forget_jumps(v, true);
}
