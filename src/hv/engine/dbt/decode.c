/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From bytes to a struct dbt_insn: Zydis finds out what the instruction is, a table says who chooses its handler. */

#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/exec.h"

struct row {
        dbt_setup setup;
        unsigned arg;
};

#define CONDITIONS(prefix, fn)                                                                              \
        [ZYDIS_MNEMONIC_##prefix##O] = { fn, 0 }, [ZYDIS_MNEMONIC_##prefix##NO] = { fn, 1 },                \
        [ZYDIS_MNEMONIC_##prefix##B] = { fn, 2 }, [ZYDIS_MNEMONIC_##prefix##NB] = { fn, 3 },                \
        [ZYDIS_MNEMONIC_##prefix##Z] = { fn, 4 }, [ZYDIS_MNEMONIC_##prefix##NZ] = { fn, 5 },                \
        [ZYDIS_MNEMONIC_##prefix##BE] = { fn, 6 }, [ZYDIS_MNEMONIC_##prefix##NBE] = { fn, 7 },              \
        [ZYDIS_MNEMONIC_##prefix##S] = { fn, 8 }, [ZYDIS_MNEMONIC_##prefix##NS] = { fn, 9 },                \
        [ZYDIS_MNEMONIC_##prefix##P] = { fn, 10 }, [ZYDIS_MNEMONIC_##prefix##NP] = { fn, 11 },              \
        [ZYDIS_MNEMONIC_##prefix##L] = { fn, 12 }, [ZYDIS_MNEMONIC_##prefix##NL] = { fn, 13 },              \
        [ZYDIS_MNEMONIC_##prefix##LE] = { fn, 14 }, [ZYDIS_MNEMONIC_##prefix##NLE] = { fn, 15 }
#define STRING(name, op)                                                                                    \
        [ZYDIS_MNEMONIC_##name##B] = { dbt_setup_string, op }, [ZYDIS_MNEMONIC_##name##W] = { dbt_setup_string, op }, \
        [ZYDIS_MNEMONIC_##name##D] = { dbt_setup_string, op }
#define STRING64(name, op) STRING(name, op), [ZYDIS_MNEMONIC_##name##Q] = { dbt_setup_string, op }

static const struct row rows[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
        [ZYDIS_MNEMONIC_ADD] = { dbt_setup_alu, DBT_ADD },
        [ZYDIS_MNEMONIC_OR] = { dbt_setup_alu, DBT_OR },
        [ZYDIS_MNEMONIC_ADC] = { dbt_setup_alu, DBT_ADC },
        [ZYDIS_MNEMONIC_SBB] = { dbt_setup_alu, DBT_SBB },
        [ZYDIS_MNEMONIC_AND] = { dbt_setup_alu, DBT_AND },
        [ZYDIS_MNEMONIC_SUB] = { dbt_setup_alu, DBT_SUB },
        [ZYDIS_MNEMONIC_XOR] = { dbt_setup_alu, DBT_XOR },
        [ZYDIS_MNEMONIC_CMP] = { dbt_setup_alu, DBT_CMP },
        [ZYDIS_MNEMONIC_TEST] = { dbt_setup_alu, DBT_TEST },
        [ZYDIS_MNEMONIC_INC] = { dbt_setup_unary, DBT_INC },
        [ZYDIS_MNEMONIC_DEC] = { dbt_setup_unary, DBT_DEC },
        [ZYDIS_MNEMONIC_NEG] = { dbt_setup_unary, DBT_NEG },
        [ZYDIS_MNEMONIC_NOT] = { dbt_setup_unary, DBT_NOT },

        [ZYDIS_MNEMONIC_ROL] = { dbt_setup_shift, DBT_ROL },
        [ZYDIS_MNEMONIC_ROR] = { dbt_setup_shift, DBT_ROR },
        [ZYDIS_MNEMONIC_RCL] = { dbt_setup_shift, DBT_RCL },
        [ZYDIS_MNEMONIC_RCR] = { dbt_setup_shift, DBT_RCR },
        [ZYDIS_MNEMONIC_SHL] = { dbt_setup_shift, DBT_SHL },
        [ZYDIS_MNEMONIC_SHR] = { dbt_setup_shift, DBT_SHR },
        [ZYDIS_MNEMONIC_SAR] = { dbt_setup_shift, DBT_SAR },
        [ZYDIS_MNEMONIC_SHLD] = { dbt_setup_shiftd, 0 },
        [ZYDIS_MNEMONIC_SHRD] = { dbt_setup_shiftd, 1 },
        [ZYDIS_MNEMONIC_BT] = { dbt_setup_bittest, DBT_BT },
        [ZYDIS_MNEMONIC_BTS] = { dbt_setup_bittest, DBT_BTS },
        [ZYDIS_MNEMONIC_BTR] = { dbt_setup_bittest, DBT_BTR },
        [ZYDIS_MNEMONIC_BTC] = { dbt_setup_bittest, DBT_BTC },
        [ZYDIS_MNEMONIC_BSF] = { dbt_setup_bitscan, DBT_BSF },
        [ZYDIS_MNEMONIC_BSR] = { dbt_setup_bitscan, DBT_BSR },
        [ZYDIS_MNEMONIC_TZCNT] = { dbt_setup_bitscan, DBT_TZCNT },
        [ZYDIS_MNEMONIC_LZCNT] = { dbt_setup_bitscan, DBT_LZCNT },
        [ZYDIS_MNEMONIC_POPCNT] = { dbt_setup_bitscan, DBT_POPCNT },

        [ZYDIS_MNEMONIC_MOV] = { dbt_setup_mov, 0 },
        [ZYDIS_MNEMONIC_MOVZX] = { dbt_setup_movx, 0 },
        [ZYDIS_MNEMONIC_MOVSX] = { dbt_setup_movx, 1 },
        [ZYDIS_MNEMONIC_MOVSXD] = { dbt_setup_movx, 1 },
        [ZYDIS_MNEMONIC_LEA] = { dbt_setup_lea, 0 },
        [ZYDIS_MNEMONIC_XCHG] = { dbt_setup_xchg, 0 },
        [ZYDIS_MNEMONIC_BSWAP] = { dbt_setup_bswap, 0 },
        [ZYDIS_MNEMONIC_CBW] = { dbt_setup_convert, DBT_CBW },
        [ZYDIS_MNEMONIC_CWDE] = { dbt_setup_convert, DBT_CWDE },
        [ZYDIS_MNEMONIC_CDQE] = { dbt_setup_convert, DBT_CDQE },
        [ZYDIS_MNEMONIC_CWD] = { dbt_setup_convert, DBT_CWD },
        [ZYDIS_MNEMONIC_CDQ] = { dbt_setup_convert, DBT_CDQ },
        [ZYDIS_MNEMONIC_CQO] = { dbt_setup_convert, DBT_CQO },
        [ZYDIS_MNEMONIC_XLAT] = { dbt_setup_xlat, 0 },
        [ZYDIS_MNEMONIC_CLC] = { dbt_setup_flag, DBT_CLC },
        [ZYDIS_MNEMONIC_STC] = { dbt_setup_flag, DBT_STC },
        [ZYDIS_MNEMONIC_CMC] = { dbt_setup_flag, DBT_CMC },
        [ZYDIS_MNEMONIC_CLD] = { dbt_setup_flag, DBT_CLD },
        [ZYDIS_MNEMONIC_STD] = { dbt_setup_flag, DBT_STD },
        [ZYDIS_MNEMONIC_LAHF] = { dbt_setup_flag, DBT_LAHF },
        [ZYDIS_MNEMONIC_SAHF] = { dbt_setup_flag, DBT_SAHF },
        [ZYDIS_MNEMONIC_SALC] = { dbt_setup_flag, DBT_SALC },
        [ZYDIS_MNEMONIC_NOP] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_ENDBR32] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_ENDBR64] = { dbt_setup_nop, 0 },
        /* SDM volume 2B: no operation where shadow stacks are off, and this machine has none. Unwinders probe with them. */
        [ZYDIS_MNEMONIC_RDSSPD] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_RDSSPQ] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_BNDCL] = { dbt_setup_nop, 0 }, /* nor bounds: volume 1, the appendix on MPX */
        [ZYDIS_MNEMONIC_BNDCN] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_BNDCU] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_BNDLDX] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_BNDMK] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_BNDMOV] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_BNDSTX] = { dbt_setup_nop, 0 },
        [ZYDIS_MNEMONIC_LFENCE] = { dbt_setup_nop, 0 },
        CONDITIONS(CMOV, dbt_setup_cmov),
        CONDITIONS(SET, dbt_setup_setcc),

        [ZYDIS_MNEMONIC_PUSH] = { dbt_setup_push, 0 },
        [ZYDIS_MNEMONIC_POP] = { dbt_setup_pop, 0 },
        [ZYDIS_MNEMONIC_PUSHA] = { dbt_setup_stack, DBT_PUSHA },
        [ZYDIS_MNEMONIC_PUSHAD] = { dbt_setup_stack, DBT_PUSHA },
        [ZYDIS_MNEMONIC_POPA] = { dbt_setup_stack, DBT_POPA },
        [ZYDIS_MNEMONIC_POPAD] = { dbt_setup_stack, DBT_POPA },
        [ZYDIS_MNEMONIC_PUSHF] = { dbt_setup_stack, DBT_PUSHF },
        [ZYDIS_MNEMONIC_PUSHFD] = { dbt_setup_stack, DBT_PUSHF },
        [ZYDIS_MNEMONIC_PUSHFQ] = { dbt_setup_stack, DBT_PUSHF },
        [ZYDIS_MNEMONIC_POPF] = { dbt_setup_stack, DBT_POPF },
        [ZYDIS_MNEMONIC_POPFD] = { dbt_setup_stack, DBT_POPF },
        [ZYDIS_MNEMONIC_POPFQ] = { dbt_setup_stack, DBT_POPF },
        [ZYDIS_MNEMONIC_ENTER] = { dbt_setup_stack, DBT_ENTER },
        [ZYDIS_MNEMONIC_LEAVE] = { dbt_setup_stack, DBT_LEAVE },

        [ZYDIS_MNEMONIC_MUL] = { dbt_setup_mul, DBT_MUL },
        [ZYDIS_MNEMONIC_IMUL] = { dbt_setup_imul, 0 },
        [ZYDIS_MNEMONIC_DIV] = { dbt_setup_mul, DBT_DIV },
        [ZYDIS_MNEMONIC_IDIV] = { dbt_setup_mul, DBT_IDIV },
        [ZYDIS_MNEMONIC_AAA] = { dbt_setup_bcd, DBT_AAA },
        [ZYDIS_MNEMONIC_AAS] = { dbt_setup_bcd, DBT_AAS },
        [ZYDIS_MNEMONIC_DAA] = { dbt_setup_bcd, DBT_DAA },
        [ZYDIS_MNEMONIC_DAS] = { dbt_setup_bcd, DBT_DAS },
        [ZYDIS_MNEMONIC_AAM] = { dbt_setup_bcd, DBT_AAM },
        [ZYDIS_MNEMONIC_AAD] = { dbt_setup_bcd, DBT_AAD },

        [ZYDIS_MNEMONIC_XADD] = { dbt_setup_xadd, 0 },
        [ZYDIS_MNEMONIC_CMPXCHG] = { dbt_setup_cmpxchg, 0 },
        [ZYDIS_MNEMONIC_CMPXCHG8B] = { dbt_setup_cmpxchg_wide, 8 },
        [ZYDIS_MNEMONIC_CMPXCHG16B] = { dbt_setup_cmpxchg_wide, 16 },

        CONDITIONS(J, dbt_setup_jcc),
        [ZYDIS_MNEMONIC_JMP] = { dbt_setup_jmp, 0 },
        [ZYDIS_MNEMONIC_CALL] = { dbt_setup_call, 0 },
        [ZYDIS_MNEMONIC_RET] = { dbt_setup_ret, 0 },
        [ZYDIS_MNEMONIC_LOOPNE] = { dbt_setup_loop, DBT_LOOPNE },
        [ZYDIS_MNEMONIC_LOOPE] = { dbt_setup_loop, DBT_LOOPE },
        [ZYDIS_MNEMONIC_LOOP] = { dbt_setup_loop, DBT_LOOP },
        [ZYDIS_MNEMONIC_JCXZ] = { dbt_setup_loop, DBT_JCXZ },
        [ZYDIS_MNEMONIC_JECXZ] = { dbt_setup_loop, DBT_JCXZ },
        [ZYDIS_MNEMONIC_JRCXZ] = { dbt_setup_loop, DBT_JCXZ },
        [ZYDIS_MNEMONIC_INT] = { dbt_setup_int, DBT_INTN },
        [ZYDIS_MNEMONIC_INT3] = { dbt_setup_int, DBT_INT3 },
        [ZYDIS_MNEMONIC_INT1] = { dbt_setup_int, DBT_INT1 },
        [ZYDIS_MNEMONIC_INTO] = { dbt_setup_int, DBT_INTO },
        [ZYDIS_MNEMONIC_BOUND] = { dbt_setup_int, DBT_BOUND },
        [ZYDIS_MNEMONIC_IRET] = { dbt_setup_int, DBT_IRET },
        [ZYDIS_MNEMONIC_IRETD] = { dbt_setup_int, DBT_IRET },
        [ZYDIS_MNEMONIC_IRETQ] = { dbt_setup_int, DBT_IRET },
        [ZYDIS_MNEMONIC_UD0] = { dbt_setup_int, DBT_UD },
        [ZYDIS_MNEMONIC_UD1] = { dbt_setup_int, DBT_UD },
        [ZYDIS_MNEMONIC_UD2] = { dbt_setup_int, DBT_UD },

        STRING64(MOVS, DBT_MOVS),
        STRING64(STOS, DBT_STOS),
        STRING64(LODS, DBT_LODS),
        STRING64(CMPS, DBT_CMPS),
        STRING64(SCAS, DBT_SCAS),
        STRING(INS, DBT_INS),
        STRING(OUTS, DBT_OUTS),
        [ZYDIS_MNEMONIC_IN] = { dbt_setup_io, 0 },
        [ZYDIS_MNEMONIC_OUT] = { dbt_setup_io, 1 },

        [ZYDIS_MNEMONIC_LDS] = { dbt_setup_load_far, X86_DS },
        [ZYDIS_MNEMONIC_LES] = { dbt_setup_load_far, X86_ES },
        [ZYDIS_MNEMONIC_LSS] = { dbt_setup_load_far, X86_SS },
        [ZYDIS_MNEMONIC_LFS] = { dbt_setup_load_far, X86_FS },
        [ZYDIS_MNEMONIC_LGS] = { dbt_setup_load_far, X86_GS },
};

/* --- Operands --------------------------------------------------------------------------------------------------- */

/* A byte register as the byte's offset in v->gpr. */
static uint8_t byte_register(ZydisRegister r)
{
        if (r <= ZYDIS_REGISTER_BL)
                return (uint8_t)((r - ZYDIS_REGISTER_AL) * 8);
        if (r <= ZYDIS_REGISTER_BH)
                return (uint8_t)((r - ZYDIS_REGISTER_AH) * 8 + 1);
        return (uint8_t)((r - ZYDIS_REGISTER_SPL + 4) * 8);
}

static uint8_t register_number(ZydisRegister r)
{
        if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR8)
                return byte_register(r);
        return (uint8_t)ZydisRegisterGetId(r);
}

static uint8_t segment_number(ZydisRegister r)
{
        return r == ZYDIS_REGISTER_NONE ? X86_DS : (uint8_t)ZydisRegisterGetId(r);
}

static uint8_t address_register(ZydisRegister r)
{
        switch (r) {
        case ZYDIS_REGISTER_NONE:
                return DBT_REG_NONE;
        case ZYDIS_REGISTER_IP:
        case ZYDIS_REGISTER_EIP:
        case ZYDIS_REGISTER_RIP:
                return DBT_REG_RIP;
        default:
                /* a vector index: native.c looks at Zydis's operand itself */
                return ZydisRegisterGetClass(r) > ZYDIS_REGCLASS_GPR64 ? DBT_REG_NONE : (uint8_t)ZydisRegisterGetId(r);
        }
}

static void take_memory(struct dbt_decoding *d, const ZydisDecodedOperandMem *z)
{
        struct dbt_mem *m = &d->i->mem;

        d->i->flags |= DBT_INSN_MEM;
        m->base = address_register(z->base);
        m->index = address_register(z->index);
        m->scale = z->scale ? (uint8_t)__builtin_ctz(z->scale) : 0;
        m->disp = (int32_t)z->disp.value;
        /* Zydis 4.0 takes REX.B for a base where SIB says that there is none. */
        if ((d->z->attributes & ZYDIS_ATTRIB_HAS_SIB) && d->z->raw.modrm.mod == 0 && d->z->raw.sib.base == 5) {
                m->base = DBT_REG_NONE;
                m->disp = (int32_t)d->z->raw.disp.value;
        }
        if (m->base == DBT_REG_RIP)
                m->disp += d->i->length;
        m->seg = segment_number(z->segment);
        m->fast = d->mode64 && m->addr_size == 8;
        m->seg_base = DBT_SEG_BASE(m->seg);
}

static void take_immediate(struct dbt_decoding *d, const ZydisDecodedOperandImm *z)
{
        d->i->imm = z->value.u;
        if (z->is_relative)
                d->i->imm += d->i->length;
}

/* The explicit operands; of a string instruction the implicit memory operand, for its segment. */
static void take_operands(struct dbt_decoding *d)
{
        const ZydisDecodedInstruction *z = d->z;
        bool have_imm = false;

        for (unsigned n = 0; n < z->operand_count_visible; n++) {
                const ZydisDecodedOperand *op = &d->ops[n];

                if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && n < ARRAY_SIZE(d->i->reg))
                        d->i->reg[n] = register_number(op->reg.value);
                else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
                        take_memory(d, &op->mem);
                else if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && !have_imm) {
                        take_immediate(d, &op->imm);
                        have_imm = true;
                }
        }
}

/* String instructions and xlat: the source's segment is in a hidden operand. */
static void take_hidden_source(struct dbt_decoding *d)
{
        for (unsigned n = d->z->operand_count_visible; n < d->z->operand_count; n++) {
                const ZydisDecodedOperand *op = &d->ops[n];

                if (op->type != ZYDIS_OPERAND_TYPE_MEMORY)
                        continue;
                if (op->mem.base == ZYDIS_REGISTER_DI || op->mem.base == ZYDIS_REGISTER_EDI || op->mem.base == ZYDIS_REGISTER_RDI)
                        continue;
                take_memory(d, &op->mem);
                return;
        }
}

/* push, ret and the like: their accesses count as those of the stack segment. */
static void take_stack(struct dbt_decoding *d)
{
        for (unsigned n = d->z->operand_count_visible; n < d->z->operand_count; n++)
                if (d->ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY && d->ops[n].mem.segment == ZYDIS_REGISTER_SS)
                        d->i->mem.seg = X86_SS;
}

/* --- The instruction ------------------------------------------------------------------------------------------- */

static void init_decoder(const struct dbt_vcpu *v, ZydisDecoder *z)
{
        if (v->mode & DBT_MODE_CS64)
                ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        else if (v->mode & DBT_MODE_CS32)
                ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
        else if (v->mode & DBT_MODE_PE)
                ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
        else
                ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16);
}

/* What raises instead of doing something; ends the block. */
static unsigned raising(struct dbt_insn *i, dbt_handler fn)
{
        *i = (struct dbt_insn){ .fn = fn, .length = 1, .op_size = 1, .flags = DBT_INSN_TRANSFER | DBT_INSN_ENDS_BLOCK };
        return 1;
}

static void fill_common(struct dbt_decoding *d)
{
        const ZydisDecodedInstruction *z = d->z;
        struct dbt_insn *i = d->i;

        *i = (struct dbt_insn){ .length = z->length, .op_size = z->operand_width / 8 };
        i->mem.addr_size = z->address_width / 8;
        i->mem.base = i->mem.index = DBT_REG_NONE;
        i->mem.seg = X86_DS;
        i->mem.seg_base = DBT_SEG_BASE_NONE;
        if (z->attributes & ZYDIS_ATTRIB_HAS_LOCK)
                i->flags |= DBT_INSN_LOCK;
        if (z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
                i->flags |= DBT_INSN_REP;
        if (z->attributes & ZYDIS_ATTRIB_HAS_REPNE)
                i->flags |= DBT_INSN_REPNE;
        take_operands(d);
        if (!(i->flags & DBT_INSN_MEM))
                take_stack(d);
}

/* movsd and cmpsd are also names of SSE instructions. */
static bool is_general(const ZydisDecodedInstruction *z)
{
        return z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
                ((z->mnemonic != ZYDIS_MNEMONIC_MOVSD && z->mnemonic != ZYDIS_MNEMONIC_CMPSD) ||
                        z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT);
}

static bool choose_handler(struct dbt_decoding *d)
{
        const struct row *row = &rows[d->z->mnemonic];

        if (is_general(d->z)) {
                if (row->setup == dbt_setup_string || row->setup == dbt_setup_xlat)
                        take_hidden_source(d);
                if (row->setup)
                        return row->setup(d, row->arg);
                if (dbt_setup_system(d, 0))
                        return true;
        }
        return dbt_native_prepare(d->v, d->i, d->z, d->ops, d->bytes);
}

static unsigned decode(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, struct dbt_insn *ret, bool learn)
{
        ZydisDecoder decoder;
        ZydisDecodedInstruction z;
        ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
        struct dbt_decoding d = { .v = v, .i = ret, .z = &z, .ops = ops, .bytes = bytes, .mode64 = v->mode & DBT_MODE_CS64 };
        ZyanStatus status;

        init_decoder(v, &decoder);
        status = ZydisDecoderDecodeFull(&decoder, bytes, avail, &z, ops);
        if (status == ZYDIS_STATUS_NO_MORE_DATA && avail < ZYDIS_MAX_INSTRUCTION_LENGTH)
                return 0;
        if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
                return raising(ret, dbt_exec_gp);
        if (!ZYAN_SUCCESS(status))
                return raising(ret, dbt_exec_ud);
        fill_common(&d);
        if (!choose_handler(&d))
                return raising(ret, dbt_exec_ud);
        if (learn)
                dbt_decode_learn(v, bytes, avail, &z, ret);
        return ret->length;
}

unsigned dbt_decode(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, struct dbt_insn *ret)
{
        unsigned length = dbt_decode_quick(v, bytes, avail, ret);

        if (length)
                return length;
        dbt_fpu_save(v);
        return decode(v, bytes, avail, ret, true);
}

unsigned dbt_decode_anew(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, struct dbt_insn *ret)
{
        dbt_fpu_save(v);
        return decode(v, bytes, avail, ret, false);
}

bool dbt_uses_stack(struct dbt_vcpu *v)
{
        struct dbt_insn i;
        uint64_t gpa;
        const uint8_t *bytes = dbt_fetch_ptr(v, v->rip, &gpa);
        uint64_t room = DBT_PAGE_SIZE - (v->rip & ~DBT_PAGE_MASK);

        if (!bytes || !dbt_decode(v, bytes, room < ZYDIS_MAX_INSTRUCTION_LENGTH ? (unsigned)room : ZYDIS_MAX_INSTRUCTION_LENGTH, &i))
                return false;
        dbt_native_release(v, &i);
        return i.mem.seg == X86_SS;
}
