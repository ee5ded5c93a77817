/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The routines that the code of all blocks shares: the way in and out, calls of C, and looking up where to go on. */

#include "hv/engine/dbt/tr.h"

/* Times that an address is met in another way of the jump cache than the first, until one takes the first. */
#define FIRST_TURN 16

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

/* op reg, [base + disp], 64 bits */
static void with_base(struct tr_emit *e, unsigned opcode, unsigned reg, unsigned base, size_t disp)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = true };
        struct tr_mem m = { .base = (uint8_t)base, .index = TR_NO_HOME, .disp = (int32_t)disp };

        tr_op_mem(e, &op, reg, &m);
}

/* To code of the present mode. */
static void jump_rax(struct tr_emit *e)
{
        static const struct tr_op cmp = { .opcode = 0x83, .ends = 2 };
        struct tr_mem pkru = tr_field(offsetof(struct dbt_vcpu, tr_pkru));
        uint8_t *open;

        tr_op_mem(e, &cmp, 7, &pkru);
        tr_put(e, 0);
        open = tr_jcc(e, TR_CC_E);
        tr_close(e);
        tr_set_jump(e, open);
        TR_CODE(e, 0xff, 0xe0); /* jmp rax */
}

/* C: enum tr_exit enter(struct dbt_vcpu *v, const void *code) */
static void emit_enter(struct tr_emit *e)
{
        TR_CODE(e, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push rbx, rbp, r12..r15 */
        TR_CODE(e, 0x48, 0x83, 0xec, 0x08);                                     /* sub rsp, 8 */
        tr_with_field(e, 0x89, true, TR_RSP, offsetof(struct dbt_vcpu, tr_c_stack));
        tr_with_field(e, 0x8b, true, TR_RSP, offsetof(struct dbt_vcpu, tr_calls_top));
        tr_mov(e, TR_RAX, TR_RSI);
        reload(e);
        jump_rax(e);
}

/* In: EAX what to return. */
static void emit_leave(struct tr_emit *e)
{
        spill(e);
        tr_with_field(e, 0x89, true, TR_RSP, offsetof(struct dbt_vcpu, tr_calls_top));
        tr_with_field(e, 0x8b, true, TR_RSP, offsetof(struct dbt_vcpu, tr_c_stack));
        TR_CODE(e, 0x48, 0x83, 0xc4, 0x08);
        TR_CODE(e, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

/* In: RAX offset from the page's start. */
static void emit_set_rip(struct tr_emit *e)
{
        tr_with_field(e, 0x03, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
}

/* To RCX: the key of the block at v->rip, whose TLB entry is in RCX. */
static void emit_key(struct tr_emit *e)
{
        tr_with_field(e, 0x2b, true, TR_RCX, offsetof(struct dbt_vcpu, tlb_now));
        TR_CODE(e, 0xd1, 0xe9); /* shr ecx, 1 */
        _Static_assert(DBT_TLB_ENTRY_SHIFT - DBT_TLB_INFO_SHIFT == 1, "shifted");
        tr_with_field(e, 0x03, true, TR_RCX, offsetof(struct dbt_vcpu, tlb_info_now));
        with_base(e, 0x8b, TR_RCX, TR_RCX, offsetof(struct dbt_tlb_info, gpa));
        tr_with_field(e, 0x8b, false, TR_RAX, offsetof(struct dbt_vcpu, rip));
        TR_CODE(e, 0x25, 0xff, 0x0f, 0x00, 0x00); /* and eax, 0xfff */
        TR_CODE(e, 0x48, 0x09, 0xc1);             /* or rcx, rax */
        tr_with_field(e, 0x8b, false, TR_RAX, offsetof(struct dbt_vcpu, mode));
        TR_CODE(e, 0x48, 0xc1, 0xe0, 56);         /* shl rax, 56 */
        TR_CODE(e, 0x48, 0x09, 0xc1);
}

/* Leaves if the block in RAX crosses, or is bound to another page than v->tr_page. Uses RCX. */
static void emit_fits(struct tr_emit *e, const struct dbt_tr *t)
{
        uint8_t *fits;

        _Static_assert(offsetof(struct dbt_block, bound) < 128 && offsetof(struct dbt_block, is_bound) == offsetof(struct dbt_block, crosses) + 1, "as is read here");
        TR_CODE(e, 0x66, 0x83, 0x78, offsetof(struct dbt_block, crosses), 0); /* cmp word [rax + crosses], 0 */
        fits = tr_jcc(e, TR_CC_E);
        TR_CODE(e, 0x80, 0x78, offsetof(struct dbt_block, crosses), 0); /* cmp byte [rax + crosses], 0 */
        tr_jcc_to(e, TR_CC_NE, t->ways[0].leave_jump);
        TR_CODE(e, 0x8b, 0x48, offsetof(struct dbt_block, bound)); /* mov ecx, [rax + bound] */
        tr_with_field(e, 0x3b, true, TR_RCX, offsetof(struct dbt_vcpu, tr_page));
        tr_jcc_to(e, TR_CC_NE, t->ways[0].leave_jump);
        tr_set_jump(e, fits);
}

/* dbt_index_find: RCX the key; to RAX the block, or leaves. */
static void emit_index(struct tr_emit *e, const struct dbt_tr *t)
{
        uint8_t *found[DBT_INDEX_WAYS];

        _Static_assert(sizeof(struct dbt_index_set) == 64 && DBT_BLOCK_ALIGN == 16, "shifted");
        tr_save(e, 1u << TR_RDX);
        tr_mov_imm(e, TR_RAX, DBT_HASH_FACTOR);
        TR_CODE(e, 0x48, 0x0f, 0xaf, 0xc1);                       /* imul rax, rcx */
        TR_CODE(e, 0x48, 0x89, 0xc2);                             /* mov rdx, rax */
        TR_CODE(e, 0x48, 0xc1, 0xea, DBT_INDEX_SHIFT);            /* shr rdx, imm8 */
        TR_CODE(e, 0x48, 0xc1, 0xe8, (uint8_t)(64 - t->index_bits)); /* shr rax, imm8 */
        TR_CODE(e, 0xc1, 0xe0, 6);                                /* shl eax, 6 */
        tr_with_field(e, 0x03, true, TR_RAX, offsetof(struct dbt_vcpu, code_index));
        for (unsigned k = 0; k < DBT_INDEX_WAYS; k++) {
                if (k)
                        TR_CODE(e, 0x48, 0x83, 0xc0, 8); /* add rax, 8 */
                TR_CODE(e, 0x3b, 0x50, 4);               /* cmp edx, [rax + 4] */
                found[k] = tr_jcc(e, TR_CC_E);
        }
        tr_restore(e, 1u << TR_RDX);
        tr_jmp(e, t->ways[0].leave_jump);
        for (unsigned k = 0; k < DBT_INDEX_WAYS; k++)
                tr_set_jump(e, found[k]);
        TR_CODE(e, 0x8b, 0x00, 0x48, 0xc1, 0xe0, 4); /* mov eax, [rax]; shl rax, 4 */
        tr_with_field(e, 0x8b, true, TR_RDX, offsetof(struct dbt_vcpu, decode));
        with_base(e, 0x03, TR_RAX, TR_RDX, offsetof(struct dbt_decode, arena));
        tr_restore(e, 1u << TR_RDX);
        with_base(e, 0x3b, TR_RCX, TR_RAX, offsetof(struct dbt_block, key));
        tr_jcc_to(e, TR_CC_NE, t->ways[0].leave_jump); /* no mode of translated code has the key 0 of where there is none */
        emit_fits(e, t);
}

/* In: RAX where to go on. Out: RAX the code of the block there; leaves if it has none. dbt_block_lookup for translated code. */
static void emit_find(struct tr_emit *e, const struct dbt_tr *t)
{
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
        tr_tlb_slot(e);
        TR_CODE(e, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff); /* and rax, -4096 */
        tr_with_field(e, 0x03, true, TR_RCX, offsetof(struct dbt_vcpu, tlb_now));
        with_base(e, 0x3b, TR_RAX, TR_RCX, offsetof(struct dbt_tlb_entry, match_exec));
        tr_jcc_to(e, TR_CC_NE, t->ways[0].leave_jump);
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        emit_key(e);
        emit_index(e, t);
        TR_CODE(e, 0x8b, 0x40, offsetof(struct dbt_block, code), 0x85, 0xc0); /* mov eax, [rax + code]; test eax, eax */
        tr_jcc_to(e, TR_CC_E, t->ways[0].leave_jump);
        tr_mov_imm(e, TR_RCX, (uintptr_t)t->exec);
        TR_CODE(e, 0x48, 0x01, 0xc8); /* add rax, rcx */
}

static void emit_jump(struct tr_emit *e, const struct dbt_tr *t)
{
        emit_find(e, t);
        jump_rax(e);
}

/* In a routine that was called: goes on at target. By ret, so that the host's return predictions stay in step with the calls. */
static void ret_to(struct tr_emit *e, const uint8_t *target)
{
        tr_mov_imm(e, TR_RCX, (uintptr_t)target);
        TR_CODE(e, 0x48, 0x89, 0x0c, 0x24, 0xc3); /* mov [rsp], rcx; ret */
}

/* To RCX: the set of the address in RAX in the jump cache of the mode with that number, as an offset. */
static void emit_set(struct tr_emit *e, unsigned mode)
{
        _Static_assert(sizeof(struct dbt_jump) == 1 << DBT_JUMP_SHIFT, "shifted");
        TR_CODE(e, 0x69, 0xc8); /* imul ecx, eax, imm32 */
        tr_put32(e, DBT_JUMP_HASH);
        TR_CODE(e, 0xc1, 0xe9, (uint8_t)(32 - tr_jump_bits(mode) - DBT_JUMP_SHIFT));  /* shr ecx, imm8 */
        TR_CODE(e, 0x83, 0xe1, 0x100 - (1 << DBT_JUMP_SHIFT << DBT_JUMP_WAYS_BITS)); /* and ecx, imm8 */
}

/* op reg, [vCPU + rcx + offset] */
static void with_jumps(struct tr_emit *e, unsigned opcode, bool w, unsigned reg, size_t offset)
{
        struct tr_op op = { .opcode = (uint8_t)opcode, .w = w };
        struct tr_mem m = { .base = TR_RCX, .index = TR_NO_HOME, .vcpu = true, .disp = (int32_t)offset };

        tr_op_mem(e, &op, reg, &m);
}

/* To v->tr_page: that of the address in RAX. */
static void emit_take_page(struct tr_emit *e)
{
        TR_CODE(e, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff); /* and rax, -4096 */
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
}

/* op reg, [the slot of that way of the set at RCX + offset], 64 bits */
static void with_slot(struct tr_emit *e, unsigned opcode, unsigned reg, unsigned mode, unsigned way, size_t offset)
{
        with_jumps(e, opcode, true, reg, tr_jump_slots(mode) + way * sizeof(struct dbt_jump) + offset);
}

/* Compares the address in RAX with that of the way of the set at RCX. Returns a jump to where they differ. */
static uint8_t *emit_look(struct tr_emit *e, unsigned mode, unsigned way)
{
        with_slot(e, 0x3b, TR_RAX, mode, way, offsetof(struct dbt_jump, rip));
        return tr_jcc(e, TR_CC_NE);
}

/* The address in RAX, which is in that way of the set at RCX, changes places with what is in the first way. */
static void emit_make_first(struct tr_emit *e, unsigned mode, unsigned way)
{
        static const struct tr_op mov = { .opcode = 0xc7, .ends = 5 };
        struct tr_mem turn = tr_field(offsetof(struct dbt_vcpu, tr_jump_turn));

        if (mode == DBT_JUMP_MIRROR)
                tr_open(e);
        tr_op_mem(e, &mov, 0, &turn);
        tr_put32(e, FIRST_TURN - 1);
        tr_save(e, 1u << TR_RDX);
        with_slot(e, 0x8b, TR_RDX, mode, 0, offsetof(struct dbt_jump, rip));
        with_slot(e, 0x89, TR_RDX, mode, way, offsetof(struct dbt_jump, rip));
        with_slot(e, 0x89, TR_RAX, mode, 0, offsetof(struct dbt_jump, rip));
        with_slot(e, 0x8b, TR_RDX, mode, 0, offsetof(struct dbt_jump, code));
        with_slot(e, 0x87, TR_RDX, mode, way, offsetof(struct dbt_jump, code)); /* xchg */
        with_slot(e, 0x89, TR_RDX, mode, 0, offsetof(struct dbt_jump, code));
        tr_restore(e, 1u << TR_RDX);
        if (mode == DBT_JUMP_MIRROR)
                tr_close(e);
}

/* t->to_cached and t->jump_in. What is met in another way takes the first one now and then: so that is for what is often looked for, and not each address of others costs as much. */
static void emit_cached(struct tr_emit *e, struct dbt_tr *t, unsigned mode)
{
        static const struct tr_op sub = { .opcode = 0x83, .ends = 2 }, jmp = { .opcode = 0xff };
        struct tr_mem turn = tr_field(offsetof(struct dbt_vcpu, tr_jump_turn));
        struct tr_mem code = { .base = TR_RCX, .index = TR_NO_HOME, .vcpu = true, .disp = (int32_t)(tr_jump_slots(mode) + offsetof(struct dbt_jump, code)) };
        uint8_t *miss, *its_turn[DBT_JUMP_WAYS];
        const uint8_t *others;

        t->to_cached[mode] = tr_here(e);
        emit_set(e, mode);
        miss = emit_look(e, mode, 0);
        emit_take_page(e);
        TR_CODE(e, 0xc3);
        tr_set_jump(e, miss);
        others = tr_here(e);
        for (unsigned way = 1; way < DBT_JUMP_WAYS; way++) {
                miss = emit_look(e, mode, way);
                tr_op_mem(e, &sub, 5, &turn);
                tr_put(e, 1);
                its_turn[way] = tr_jcc(e, TR_CC_S);
                TR_CODE(e, 0x83, 0xc1, (uint8_t)(way << DBT_JUMP_SHIFT)); /* add ecx, imm8 */
                emit_take_page(e);
                TR_CODE(e, 0xc3);
                tr_set_jump(e, miss);
        }
        ret_to(e, t->jump_find[mode]);
        for (unsigned way = 1; way < DBT_JUMP_WAYS; way++) {
                tr_set_jump(e, its_turn[way]);
                emit_make_first(e, mode, way);
                emit_take_page(e);
                TR_CODE(e, 0xc3);
        }
        t->jump_in[mode] = tr_here(e);
        tr_call(e, others);
        tr_op_mem(e, &jmp, 4, &code);
}

/* The first way of the set at RCX stays as it is, if there is something, and the next one becomes free. Out: RCX: the slot that is to be filled. Uses RAX. */
static void emit_make_room(struct tr_emit *e, unsigned mode)
{
        static const struct tr_op cmp = { .opcode = 0x83, .w = true, .ends = 2 };
        struct tr_mem rip = { .base = TR_RCX, .index = TR_NO_HOME, .vcpu = true, .disp = (int32_t)(tr_jump_slots(mode) + offsetof(struct dbt_jump, rip)) };
        uint8_t *empty;

        tr_op_mem(e, &cmp, 7, &rip);
        tr_put(e, 1); /* 0 and 1 stand for none */
        empty = tr_jcc(e, TR_CC_BE);
        for (unsigned way = DBT_JUMP_WAYS - 1; way > 1; way--) {
                with_slot(e, 0x8b, TR_RAX, mode, way - 1, offsetof(struct dbt_jump, rip));
                with_slot(e, 0x89, TR_RAX, mode, way, offsetof(struct dbt_jump, rip));
                with_slot(e, 0x8b, TR_RAX, mode, way - 1, offsetof(struct dbt_jump, code));
                with_slot(e, 0x89, TR_RAX, mode, way, offsetof(struct dbt_jump, code));
        }
        TR_CODE(e, 0x83, 0xc1, 1 << DBT_JUMP_SHIFT); /* add ecx, imm8 */
        tr_set_jump(e, empty);
}

/* In: RAX the address, which is in no way. */
static void emit_jump_find(struct tr_emit *e, const struct dbt_tr *t, unsigned mode)
{
        static const struct tr_op mov = { .opcode = 0xc6 };
        struct tr_mem used = { .base = TR_RAX, .index = TR_NO_HOME, .vcpu = true, .disp = (int32_t)(offsetof(struct dbt_vcpu, jumps) + mode * sizeof(struct dbt_jumps) + offsetof(struct dbt_jumps, used)) };

        if (mode == DBT_JUMP_MIRROR)
                tr_open(e);
        emit_find(e, t);
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        tr_with_field(e, 0x8b, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
        emit_set(e, mode);
        emit_make_room(e, mode);
        tr_with_field(e, 0x8b, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
        with_slot(e, 0x89, TR_RAX, mode, 0, offsetof(struct dbt_jump, rip));
        TR_CODE(e, 0x89, 0xc8, 0xc1, 0xe8, DBT_JUMP_SHIFT + DBT_JUMP_PART_BITS); /* mov eax, ecx; shr eax, imm8 */
        tr_op_mem(e, &mov, 0, &used);
        tr_put(e, 1);
        tr_with_field(e, 0x8b, true, TR_RAX, offsetof(struct dbt_vcpu, tr_target));
        with_slot(e, 0x89, TR_RAX, mode, 0, offsetof(struct dbt_jump, code));
        if (mode == DBT_JUMP_MIRROR)
                tr_close(e);
        TR_CODE(e, 0xff, 0xe0); /* jmp rax */
}

/* Both called: in front of a block's header, at its entry. Leave with v->rip at the block. */
static void emit_leave_asked(struct tr_emit *e, const struct dbt_vcpu *v, const struct dbt_tr *t, struct tr_ways *ways)
{
        static const struct tr_op mov = { .opcode = 0x8b };
        struct tr_mem header = { .base = TR_RAX, .index = TR_NO_HOME, .disp = -TR_CALL_SIZE - TR_HEADER_BLOCK };
        struct tr_mem key = { .base = TR_RCX, .index = TR_NO_HOME, .disp = offsetof(struct dbt_block, key) };
        struct tr_mem bound = { .base = TR_RCX, .index = TR_NO_HOME, .disp = offsetof(struct dbt_block, bound) };
        uint8_t *unbound;

        ways->leave_asked = tr_here(e);
        TR_CODE(e, 0x48, 0x83, 0x04, 0x24, TR_HEADER_LEAVE); /* add qword [rsp], imm8: as if it had been called at the entry */
        ways->leave_counted = tr_here(e);
        TR_CODE(e, 0x48, 0x8b, 0x04, 0x24); /* mov rax, [rsp] */
        tr_op_mem(e, &mov, TR_RAX, &header);
        _Static_assert(DBT_BLOCK_ALIGN == 16, "shifted");
        TR_CODE(e, 0x48, 0xc1, 0xe0, 4); /* shl rax, 4 */
        tr_mov_imm(e, TR_RCX, (uintptr_t)v->decode->arena);
        TR_CODE(e, 0x48, 0x01, 0xc1); /* add rcx, rax */
        tr_op_mem(e, &mov, TR_RAX, &bound);
        TR_CODE(e, 0x85, 0xc0); /* test eax, eax */
        unbound = tr_jcc(e, TR_CC_E);
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
        tr_set_jump(e, unbound);
        tr_op_mem(e, &mov, TR_RAX, &key);
        TR_CODE(e, 0x25, 0xff, 0x0f, 0x00, 0x00); /* and eax, 0xfff */
        emit_set_rip(e);
        tr_mov_imm(e, TR_RAX, TR_EXIT_ASKED);
        ret_to(e, t->leave);
}

/* Called at a block's entry. */
static void emit_count(struct tr_emit *e, const uint8_t *leave)
{
        static const struct tr_op op = { .opcode = 0x83, .ends = 2 };
        struct tr_mem budget = tr_field(offsetof(struct dbt_vcpu, tr_budget));

        tr_op_mem(e, &op, 5, &budget); /* sub dword [tr_budget], 1 */
        tr_put(e, 1);
        tr_jcc_to(e, TR_CC_S, leave);
        TR_CODE(e, 0xc3);
}

/* Called, with a struct tr_link behind the call. */
static void emit_exit(struct tr_emit *e, const struct dbt_tr *t)
{
        TR_CODE(e, 0x48, 0x8b, 0x04, 0x24); /* mov rax, [rsp] */
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_link));
        TR_CODE(e, 0x8b, 0x00, 0x25, 0xff, 0x0f, 0x00, 0x00); /* mov eax, [rax]; and eax, 0xfff */
        ret_to(e, t->leave_at);
}

#define MISSED_SAVED (1u << TR_RAX | 1u << TR_RCX)

static void flags_to_field(struct tr_emit *e)
{
        TR_CODE(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
        tr_with_field(e, 0x89, false, TR_RAX, offsetof(struct dbt_vcpu, tr_flags));
}

static void emit_save_flags(struct tr_emit *e)
{
        flags_to_field(e);
        TR_CODE(e, 0xc3);
}

/* Called, with a record behind the call; out: tr_out, or tr_out_missed without a record: RAX and RCX are saved then, and what it leaves there is loaded. */
static void emit_out(struct tr_emit *e, const uint8_t *(*out)(struct dbt_vcpu *, const uint8_t *), bool mirrored)
{
        if (mirrored)
                tr_open(e);
        tr_c_begin(e);
        spill(e);
        tr_with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        tr_with_field(e, 0x8b, true, TR_RSI, offsetof(struct dbt_vcpu, tr_return));
        tr_mov_imm(e, TR_RAX, (uintptr_t)out);
        TR_CODE(e, 0xff, 0xd0); /* call rax */
        tr_with_field(e, 0x89, true, TR_RAX, offsetof(struct dbt_vcpu, tr_return));
        reload(e);
        tr_with_field(e, 0x8b, false, TR_RAX, offsetof(struct dbt_vcpu, tr_flags));
        TR_CODE(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
        tr_c_end(e);
        if (mirrored)
                tr_close(e);
        if (out == tr_out_missed)
                tr_restore(e, MISSED_SAVED);
        TR_CODE(e, 0xc3); /* ret: see ret_to */
}

/* Not called. */
static void emit_out_missed(struct tr_emit *e, struct tr_ways *ways, bool mirrored)
{
        const uint8_t *out = tr_here(e);

        emit_out(e, tr_out_missed, mirrored);
        ways->missed[1] = tr_here(e);
        tr_save(e, MISSED_SAVED);
        flags_to_field(e);
        tr_call(e, out); /* it comes back elsewhere */
        ways->missed[0] = tr_here(e);
        tr_save(e, MISSED_SAVED);
        tr_call(e, out);
}

/* In: RAX the instruction, ECX its offset in the page and, from bit 16, how many. Out: NZ if translated code is to be left. */
static void emit_call(struct tr_emit *e, bool mirrored)
{
        if (mirrored)
                tr_open(e);
        tr_c_begin(e);
        spill(e);
        tr_with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        tr_mov(e, TR_RSI, TR_RAX);
        TR_CODE(e, 0x0f, 0xb7, 0xd1, 0xc1, 0xe9, 0x10); /* movzx edx, cx; shr ecx, 16 */
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_handlers);
        TR_CODE(e, 0xff, 0xd0); /* call rax */
        TR_CODE(e, 0x84, 0xc0); /* test al, al */
        reload(e);
        tr_c_end(e);
        if (mirrored)
                tr_close(e);
        TR_CODE(e, 0xc3);
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
        TR_CODE(e, 0xc1, 0xea, DBT_PAGE_SHIFT - DBT_TLB_ENTRY_SHIFT); /* shr edx, imm8 */
        TR_CODE(e, 0x81, 0xe2);                                       /* and edx, imm32 */
        tr_put32(e, (DBT_TLB_SIZE - 1) << DBT_TLB_ENTRY_SHIFT);
        tr_with_field(e, 0x03, true, TR_RDX, offsetof(struct dbt_vcpu, tlb_now));
        with_base(e, 0x8b, TR_RSI, TR_RDX, match);
        TR_CODE(e, 0x48, 0x31, 0xc6); /* xor rsi, rax */
        tr_op_mem(e, &movzx, TR_RDI, &limit);
        TR_CODE(e, 0x48, 0x39, 0xfe); /* cmp rsi, rdi */
        slow[1] = tr_jcc(e, TR_CC_A);
        tr_op_mem(e, &inc, 0, &misses);
        tr_op_mem(e, &test32, 0, &misses);
        tr_put32(e, TR_SITE_MISSES_MAX - 1);
        slow[2] = tr_jcc(e, TR_CC_E);
        TR_CODE(e, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff); /* and rax, -4096 */
        with_base(e, 0x89, TR_RAX, TR_RCX, offsetof(struct tr_site, match));
        with_base(e, 0x8b, TR_RAX, TR_RDX, offsetof(struct dbt_tlb_entry, addend));
        with_base(e, 0x89, TR_RAX, TR_RCX, offsetof(struct tr_site, addend));
        tr_restore(e, ROAM_SAVED);
        TR_CODE(e, 0x85, 0xe4, 0xc3); /* test esp, esp, which is not aligned to 16; ret */
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
        tr_with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        tr_mov(e, TR_RSI, TR_RCX);
        tr_mov(e, TR_RDX, TR_RAX);
        tr_mov_imm(e, TR_RCX, how);
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_site_missed);
        TR_CODE(e, 0xff, 0xd0); /* call rax */
        TR_CODE(e, 0x84, 0xc0); /* test al, al */
        tr_restore(e, TR_VOLATILE);
        tr_c_end(e);
        TR_CODE(e, 0xc3);
}

/* In: RAX what the address and the match in the TLB entry differ by, RCX the entry's offset; a record is behind the call. Keeps all registers of the guest. */
static void emit_missed_tlb(struct tr_emit *e, enum tr_miss how)
{
        struct tr_mem back = tr_field(offsetof(struct dbt_vcpu, tr_return));

        tr_save(e, TR_VOLATILE);
        tr_c_begin(e);
        tr_with_field(e, 0x8b, true, TR_RDI, offsetof(struct dbt_vcpu, self));
        tr_mov(e, TR_RSI, TR_RAX);
        tr_mov(e, TR_RDX, TR_RCX);
        tr_load(e, TR_RCX, &back);
        tr_mov_imm(e, 8, how);
        tr_mov_imm(e, TR_RAX, (uintptr_t)tr_tlb_missed);
        TR_CODE(e, 0xff, 0xd0); /* call rax */
        tr_store(e, &back, TR_RAX);
        tr_restore(e, TR_VOLATILE);
        tr_c_end(e);
        TR_CODE(e, 0xc3);
}

/* In: RAX what the address and the match of the view's tr_stack differ by; a record is behind the call. A page that the TLB has, to be written, is taken at once; C does the rest.
 * Keeps all registers of the guest. */
static void emit_missed_stack(struct tr_emit *e, unsigned view)
{
        size_t stack = offsetof(struct dbt_vcpu, tr_stack) + view * sizeof(struct dbt_stack_page);
        uint8_t *slow;

        _Static_assert(offsetof(struct tr_miss_record, span) == 0, "as is read below");
        tr_with_field(e, 0x33, true, TR_RAX, stack + offsetof(struct dbt_stack_page, match));
        tr_save(e, ROAM_SAVED);
        TR_CODE(e, 0x48, 0x8b, 0x14, 0x24); /* mov rdx, [rsp] */
        tr_tlb_slot(e);
        tr_with_entry(e, 0x8b, TR_RSI, view, offsetof(struct dbt_tlb_entry, match_write));
        TR_CODE(e, 0x48, 0x31, 0xc6);       /* xor rsi, rax */
        TR_CODE(e, 0x0f, 0xb7, 0x3a);       /* movzx edi, word [rdx]: the span */
        TR_CODE(e, 0x81, 0xe7);             /* and edi, imm32 */
        tr_put32(e, TR_SPAN_WRITE - 1);
        TR_CODE(e, 0xf7, 0xdf);             /* neg edi */
        TR_CODE(e, 0x81, 0xc7);             /* add edi, imm32: where an access can begin at most */
        tr_put32(e, (uint32_t)DBT_PAGE_SIZE);
        TR_CODE(e, 0x48, 0x39, 0xfe);       /* cmp rsi, rdi */
        slow = tr_jcc(e, TR_CC_A);
        tr_with_entry(e, 0x8b, TR_RSI, view, offsetof(struct dbt_tlb_entry, addend));
        tr_with_field(e, 0x89, true, TR_RSI, stack + offsetof(struct dbt_stack_page, addend));
        TR_CODE(e, 0x48, 0x25, 0x00, 0xf0, 0xff, 0xff); /* and rax, -4096 */
        tr_with_field(e, 0x89, true, TR_RAX, stack + offsetof(struct dbt_stack_page, match));
        TR_CODE(e, 0x48, 0x63, 0x7a, offsetof(struct tr_miss_record, back)); /* movsxd rdi, [rdx + back] */
        TR_CODE(e, 0x48, 0x29, 0xfa);       /* sub rdx, rdi */
        TR_CODE(e, 0x48, 0x89, 0x14, 0x24); /* mov [rsp], rdx */
        tr_restore(e, ROAM_SAVED);
        TR_CODE(e, 0xc3);
        tr_set_jump(e, slow);
        tr_restore(e, ROAM_SAVED);
        tr_with_field(e, 0x33, true, TR_RAX, stack + offsetof(struct dbt_stack_page, match));
        emit_missed_tlb(e, TR_MISS_STACK);
}

/* Those that call C and come back. */
static void emit_calling(struct tr_emit *e, struct tr_ways *ways, bool mirrored)
{
        ways->out = tr_here(e);
        emit_out(e, tr_out, mirrored);
        emit_out_missed(e, ways, mirrored);
        ways->call = tr_here(e);
        emit_call(e, mirrored);
}

/* The same routine, once all memory is accessible. */
static const uint8_t *opened(struct tr_emit *e, const uint8_t *routine)
{
        const uint8_t *at = tr_here(e);

        tr_open(e);
        tr_jmp(e, routine);
        return at;
}

static void emit_mirrored_ways(struct tr_emit *e, const struct tr_ways *plain, struct tr_ways *ways)
{
        ways->leave_jump = opened(e, plain->leave_jump);
        ways->leave_asked = opened(e, plain->leave_asked);
        ways->leave_counted = opened(e, plain->leave_counted);
        ways->count = tr_here(e);
        emit_count(e, ways->leave_counted);
        ways->exit_saving = tr_here(e);
        flags_to_field(e);
        ways->exit = opened(e, plain->exit);
        ways->jump = opened(e, plain->jump);
        ways->jump_rip = opened(e, plain->jump_rip);
        emit_calling(e, ways, true);
}

void tr_emit_routines(struct dbt_vcpu *v, struct tr_emit *e)
{
        struct dbt_tr *t = v->translator;
        struct tr_ways *ways = &t->ways[0];

        t->enter = tr_here(e);
        emit_enter(e);
        t->leave_at = tr_here(e);
        emit_set_rip(e);
        ways->leave_jump = tr_here(e);
        TR_CODE(e, 0x31, 0xc0); /* xor eax, eax: TR_EXIT_JUMP */
        t->leave = tr_here(e);
        emit_leave(e);
        emit_leave_asked(e, v, t, ways);
        ways->count = tr_here(e);
        emit_count(e, ways->leave_counted);
        ways->jump_rip = tr_here(e);
        tr_with_field(e, 0x8b, true, TR_RAX, offsetof(struct dbt_vcpu, rip));
        ways->jump = tr_here(e);
        emit_jump(e, t);
        for (unsigned k = 0; k < DBT_JUMP_MODES; k++) {
                t->jump_find[k] = tr_here(e);
                emit_jump_find(e, t, k);
                emit_cached(e, t, k);
                t->to_far[k] = tr_here(e);
                TR_CODE(e, 0x48, 0x63, 0xc0); /* movsxd rax, eax */
                tr_with_field(e, 0x03, true, TR_RAX, offsetof(struct dbt_vcpu, tr_page));
                tr_jmp(e, t->to_cached[k]);
        }
        for (unsigned k = 0; k < TR_MISSES; k++) {
                t->missed[k] = tr_here(e);
                if (k < TR_MISS_TLB_READ)
                        emit_missed(e, k);
                else
                        emit_missed_tlb(e, k);
        }
        for (unsigned view = 0; view < DBT_NMMUS; view++) {
                t->missed_stack[view] = tr_here(e);
                emit_missed_stack(e, view);
        }
        ways->exit = tr_here(e);
        emit_exit(e, t);
        t->save_flags = tr_here(e);
        emit_save_flags(e);
        tr_emit_string_routines(t, e);
        emit_calling(e, ways, false);
        emit_mirrored_ways(e, ways, &t->ways[1]);
        tr_emit_call_routines(v, e);
        tr_emit_lookups(t, e);
}
