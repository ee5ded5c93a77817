/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Whatever tr-quick-take.c says of an instruction is what Zydis says of it: length, operands, immediates, flags, and that every x86-64 CPU has it. Over all opcodes with all
 * ModRM bytes behind all prefixes, and over random bytes. With an argument it prints what of libc's code is not known, the most frequent first. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/engine/dbt/test-random.h"
#include "hv/engine/dbt/tr-quick.h"

#define ROUNDS 3000000
#define BYTES 32
#define CODE_SIZE 600000
#define ARITHMETIC (ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF)
#define BIT(n) (1u << (n))

static ZydisDecoder decoder;
static unsigned taken, failures;
static bool told[2][256]; /* one failure of each opcode is enough */

/* An instruction as both see it. */
struct pair {
        const struct quick_insn *q;
        ZydisDecodedInstruction z;
        ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
        const char *wrong;  /* the first difference */
        unsigned found;     /* QUICK_REG and QUICK_RM, if there are such general registers */
        unsigned implied;   /* BIT of the general registers that the opcode alone stands for */
        bool mem, vector;
};

static void require(struct pair *p, bool ok, const char *what)
{
        if (!ok && !p->wrong)
                p->wrong = what;
}

static void tell(const struct pair *p)
{
        const struct quick_insn *q = p->q;

        failures++;
        if (told[q->map0f][q->opcode])
                return;
        told[q->map0f][q->opcode] = true;
        for (unsigned k = 0; k < ZYDIS_MAX_INSTRUCTION_LENGTH; k++)
                fprintf(stderr, "%02x ", q->bytes[k]);
        fprintf(stderr, ": %s, %u bytes, %s\n", ZydisMnemonicGetString(p->z.mnemonic), p->z.length, p->wrong);
}

/* Is it in every x86-64 CPU? endbr64 does nothing where there is no CET. */
static bool is_baseline(const ZydisDecodedInstruction *z)
{
        static const ZydisISASet sets[] = { ZYDIS_ISA_SET_I86, ZYDIS_ISA_SET_I186, ZYDIS_ISA_SET_I386, ZYDIS_ISA_SET_I486REAL, ZYDIS_ISA_SET_PPRO, ZYDIS_ISA_SET_CMOV,
                ZYDIS_ISA_SET_FAT_NOP, ZYDIS_ISA_SET_LONGMODE, ZYDIS_ISA_SET_SSE, ZYDIS_ISA_SET_SSE_PREFETCH, ZYDIS_ISA_SET_SSE2 };

        for (unsigned k = 0; k < sizeof(sets) / sizeof(sets[0]); k++)
                if (z->meta.isa_set == sets[k])
                        return true;
        return z->mnemonic == ZYDIS_MNEMONIC_ENDBR64;
}

#define ANY_OF(kind, ...) [QUICK_##kind] = { __VA_ARGS__ }

/* Is it what the kind's code is for? What the operands do not tell. */
static bool is_of_kind(const struct quick_insn *q, const ZydisDecodedInstruction *z)
{
        static const ZydisInstructionCategory categories[][4] = {
                ANY_OF(NOTHING, ZYDIS_CATEGORY_NOP, ZYDIS_CATEGORY_WIDENOP, ZYDIS_CATEGORY_PREFETCH, ZYDIS_CATEGORY_CET), ANY_OF(LEA, ZYDIS_CATEGORY_MISC),
                ANY_OF(ACCUMULATOR, ZYDIS_CATEGORY_BINARY, ZYDIS_CATEGORY_LOGICAL), ANY_OF(GROUP1, ZYDIS_CATEGORY_BINARY, ZYDIS_CATEGORY_LOGICAL),
                ANY_OF(GROUP3, ZYDIS_CATEGORY_BINARY), ANY_OF(GROUP5, ZYDIS_CATEGORY_CALL, ZYDIS_CATEGORY_UNCOND_BR, ZYDIS_CATEGORY_PUSH),
                ANY_OF(SHIFT, ZYDIS_CATEGORY_SHIFT, ZYDIS_CATEGORY_ROTATE), ANY_OF(BY_CL, ZYDIS_CATEGORY_SHIFT, ZYDIS_CATEGORY_ROTATE),
                ANY_OF(MOV_IMM, ZYDIS_CATEGORY_DATAXFER), ANY_OF(BSWAP, ZYDIS_CATEGORY_DATAXFER), ANY_OF(CDQE, ZYDIS_CATEGORY_CONVERT), ANY_OF(CDQ, ZYDIS_CATEGORY_CONVERT),
                ANY_OF(PUSH, ZYDIS_CATEGORY_PUSH), ANY_OF(PUSH_IMM, ZYDIS_CATEGORY_PUSH), ANY_OF(POP, ZYDIS_CATEGORY_POP), ANY_OF(LEAVE, ZYDIS_CATEGORY_MISC),
                ANY_OF(JCC, ZYDIS_CATEGORY_COND_BR), ANY_OF(JMP, ZYDIS_CATEGORY_UNCOND_BR), ANY_OF(CALL, ZYDIS_CATEGORY_CALL), ANY_OF(RET, ZYDIS_CATEGORY_RET),
        };

        for (unsigned k = 0; k < 4; k++)
                if (categories[q->op.kind][k] == z->meta.category && z->meta.category)
                        return true;
        return q->op.kind == QUICK_PLAIN;
}

static bool is_near_branch(const struct quick_insn *q)
{
        return q->op.kind >= QUICK_JCC || (q->op.kind == QUICK_GROUP5 && q->ext != 6);
}

static void check_insn(struct pair *p)
{
        const ZydisDecodedInstruction *z = &p->z;

        p->vector = z->meta.isa_set == ZYDIS_ISA_SET_SSE || z->meta.isa_set == ZYDIS_ISA_SET_SSE2;
        require(p, z->length == p->q->length, "another length");
        require(p, z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && z->address_width == 64, "another encoding");
        require(p, !(z->attributes & (ZYDIS_ATTRIB_IS_PRIVILEGED | ZYDIS_ATTRIB_HAS_LOCK)), "privileged, or locked");
        require(p, is_baseline(z), "not in every CPU");
        require(p, is_of_kind(p->q, z), "of another kind");
        require(p, z->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR && is_near_branch(p->q) == (z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE), "a branch, or none");
}

/* General registers that the opcode alone stands for and that tr-quick.c knows of. */
static unsigned implied(const struct quick_insn *q)
{
        static const uint8_t by_kind[] = {
                [QUICK_ACCUMULATOR] = BIT(X86_RAX), [QUICK_CDQE] = BIT(X86_RAX), [QUICK_GROUP3] = BIT(X86_RAX) | BIT(X86_RDX),
                [QUICK_CDQ] = BIT(X86_RAX) | BIT(X86_RDX), [QUICK_BY_CL] = BIT(X86_RCX), [QUICK_PUSH] = BIT(X86_RSP), [QUICK_PUSH_IMM] = BIT(X86_RSP),
                [QUICK_POP] = BIT(X86_RSP), [QUICK_GROUP5] = BIT(X86_RSP), [QUICK_CALL] = BIT(X86_RSP), [QUICK_RET] = BIT(X86_RSP),
                [QUICK_LEAVE] = BIT(X86_RSP) | BIT(X86_RBP),
        };

        if (q->op.kind >= sizeof(by_kind) || (q->op.kind == QUICK_GROUP5 && q->ext == 4))
                return 0;
        return by_kind[q->op.kind];
}

/* enum x86_gpr, or TR_NO_HOME. */
static unsigned number_of(ZydisRegister reg)
{
        ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

        return whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15 ? (unsigned)(whole - ZYDIS_REGISTER_RAX) : TR_NO_HOME;
}

/* shift: from the flags of ModRM.reg to those of this one. bsf and bsr, of 0, leave what they write to as it is, which Zydis does not tell. */
static void check_general(struct pair *p, const ZydisDecodedOperand *op, unsigned number, unsigned shift)
{
        unsigned flags = p->q->op.flags >> shift;
        bool writes = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
        bool sure = op->actions == ZYDIS_OPERAND_ACTION_WRITE && p->z.mnemonic != ZYDIS_MNEMONIC_BSF && p->z.mnemonic != ZYDIS_MNEMONIC_BSR;

        p->found |= (unsigned)QUICK_REG << shift;
        require(p, flags & QUICK_REG, "a register that is not told");
        require(p, number_of(op->reg.value) == number, "another register");
        require(p, !(flags & QUICK_REG_W) == !writes, "a register that is written, or not");
        require(p, sure || !(flags & QUICK_REG_NOT_R), "a register that is read");
        require(p, !(flags & QUICK_REG_BYTE) == (op->size != 8), "a byte register, or not");
        require(p, op->size != 16 || !(flags & QUICK_REG_NOT_R) || quick_op_size(p->q) == 2, "a register that keeps a part");
}

static void check_vector(struct pair *p, const ZydisDecodedOperand *op)
{
        unsigned id = (unsigned)ZydisRegisterGetId(op->reg.value);
        bool is_reg = op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG;

        p->vector = true;
        require(p, (is_reg || op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) && id == (is_reg ? p->q->reg : p->q->rm), "another vector register");
        require(p, !(p->q->op.flags & (is_reg ? QUICK_REG : QUICK_RM)), "a vector register, no general one");
}

static void check_register(struct pair *p, const ZydisDecodedOperand *op)
{
        ZydisRegister reg = op->reg.value;

        if (p->q->op.kind == QUICK_NOTHING) {
                require(p, !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) || reg == ZYDIS_REGISTER_RIP, "something");
                return;
        }
        if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_XMM) {
                check_vector(p, op);
        } else if (number_of(reg) == TR_NO_HOME) {
                bool may = ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_FLAGS || (is_near_branch(p->q) && reg == ZYDIS_REGISTER_RIP) ||
                        (reg == ZYDIS_REGISTER_MXCSR && (p->q->op.flags & QUICK_VECTOR));
                require(p, may, "a special register");
        } else {
                require(p, reg < ZYDIS_REGISTER_AH || reg > ZYDIS_REGISTER_BH, "AH, CH, DH or BH");
                if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
                        check_general(p, op, p->q->reg, 0);
                else if (op->encoding == ZYDIS_OPERAND_ENCODING_OPCODE && (p->q->op.kind == QUICK_PUSH || p->q->op.kind == QUICK_POP))
                        require(p, number_of(reg) == p->q->rm && reg != ZYDIS_REGISTER_RSP, "another register in the opcode");
                else if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM || op->encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
                        check_general(p, op, p->q->rm, 4);
                else
                        p->implied |= BIT(number_of(reg));
        }
}

static void check_memory(struct pair *p, const ZydisDecodedOperand *op)
{
        const struct quick_insn *q = p->q;
        const ZydisDecodedOperandMem *m = &op->mem;

        if (op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM) {
                require(p, (implied(q) & BIT(X86_RSP)) && (number_of(m->base) == X86_RSP || q->op.kind == QUICK_LEAVE), "hidden memory");
                return;
        }
        p->mem = true;
        require(p, m->type == ZYDIS_MEMOP_TYPE_MEM || q->op.kind == QUICK_LEA || q->op.kind == QUICK_NOTHING, "an odd memory operand");
        require(p, m->segment != ZYDIS_REGISTER_FS && m->segment != ZYDIS_REGISTER_GS, "FS or GS");
        require(p, q->mem, "a memory operand that is not told");
        require(p, q->rip == (m->base == ZYDIS_REGISTER_RIP), "relative to RIP, or not");
        require(p, number_of(m->base) == q->base, "another base");
        require(p, number_of(m->index) == q->index && (q->index == TR_NO_HOME || m->scale == BIT(q->scale)), "another index");
        require(p, m->disp.value == q->disp, "another displacement");
        require(p, llabs((long long)q->disp) + (long long)DBT_PAGE_SIZE + ZYDIS_MAX_INSTRUCTION_LENGTH <= INT32_MAX, "too large a displacement");
}

static void check_operands(struct pair *p)
{
        unsigned flags = p->q->op.flags;

        for (unsigned k = 0; k < p->z.operand_count; k++) {
                if (p->ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER)
                        check_register(p, &p->ops[k]);
                else if (p->ops[k].type == ZYDIS_OPERAND_TYPE_MEMORY)
                        check_memory(p, &p->ops[k]);
        }
        require(p, p->mem == p->q->mem, "no memory operand");
        require(p, !(flags & (QUICK_REG | (p->mem ? 0u : QUICK_RM)) & ~p->found), "no such register");
        require(p, p->implied == implied(p->q), "other hidden registers");
        require(p, p->vector == !!(flags & QUICK_VECTOR), "a vector instruction, or not");
        require(p, (flags & QUICK_MAY_FAULT) || !(p->vector || p->z.mnemonic == ZYDIS_MNEMONIC_DIV || p->z.mnemonic == ZYDIS_MNEMONIC_IDIV), "it may fault");
}

static void check_immediate(struct pair *p)
{
        const struct quick_insn *q = p->q;

        require(p, q->imm * 8 == p->z.raw.imm[0].size && !p->z.raw.imm[1].size && (!q->imm || p->z.raw.imm[0].offset + q->imm == q->length), "an immediate of another size");
        if (q->imm != 1 && q->imm != 4)
                return;
        require(p, !(uint32_t)(((uint64_t)quick_immediate(q) ^ p->z.raw.imm[0].value.u) << (32 - 8 * q->imm)), "another immediate");
        require(p, (q->op.kind != QUICK_PUSH_IMM && q->op.kind < QUICK_JCC) || quick_immediate(q) == p->ops[0].imm.value.s, "another target, or value pushed");
}

static void check_flags(struct pair *p)
{
        static const ZydisAccessedFlags none;
        const ZydisAccessedFlags *f = p->z.cpu_flags ? p->z.cpu_flags : &none;
        unsigned flags = p->q->op.flags, changed = f->modified | f->set_0 | f->set_1 | f->undefined;
        bool may_keep = p->z.meta.category == ZYDIS_CATEGORY_SHIFT || p->z.meta.category == ZYDIS_CATEGORY_ROTATE || (changed && changed != ARITHMETIC);

        require(p, !((changed | f->tested) & ~ARITHMETIC), "more flags than the arithmetic ones");
        require(p, !(flags & QUICK_SETS) == !changed, "changes flags, or not");
        require(p, (flags & QUICK_NEEDS) || !(f->tested || may_keep), "needs flags");
}

static bool decode(struct pair *p, const uint8_t *bytes)
{
        return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, BYTES, &p->z, p->ops));
}

static void compare_taken(const struct quick_insn *q)
{
        struct pair p = { .q = q };

        taken++;
        if (decode(&p, q->bytes)) {
                check_insn(&p);
                check_operands(&p);
                check_immediate(&p);
                check_flags(&p);
        } else {
                p.wrong = "not an instruction";
        }
        if (p.wrong)
                tell(&p);
}

/* Returns whether it is known. */
static bool compare(const uint8_t *bytes)
{
        struct quick_insn q;
        bool known = tr_quick_take(bytes, &q);

        if (known)
                compare_taken(&q);
        return known;
}

/* Every ModRM byte, and where it has a SIB byte some of those, behind what is in the first n bytes. */
static void all_modrm(uint8_t *bytes, unsigned n)
{
        static const uint8_t sibs[] = { 0x24, 0x25, 0xa5, 0xec, 0x5d };

        for (unsigned modrm = 0; modrm < 256; modrm++) {
                bool sib = modrm < 0xc0 && (modrm & 7) == 4;

                bytes[n] = (uint8_t)modrm;
                for (unsigned k = 0; k < (sib ? sizeof(sibs) : 1); k++) {
                        for (unsigned m = n + 1; m < n + ZYDIS_MAX_INSTRUCTION_LENGTH; m++)
                                bytes[m] = (uint8_t)(0x11 + 0x5b * (m - n) + 0x67 * modrm);
                        if (sib)
                                bytes[n + 1] = sibs[k];
                        compare(bytes);
                }
        }
}

static void all_opcodes(uint8_t *bytes, unsigned n)
{
        for (unsigned opcode = 0; opcode < 512; opcode++) {
                unsigned k = n;

                if (opcode >= 256)
                        bytes[k++] = 0x0f;
                bytes[k++] = (uint8_t)opcode;
                all_modrm(bytes, k);
        }
}

/* Two prefixes or one, or none, and REX, or none. */
static void test_all(void)
{
        static const uint8_t prefixes[] = { 0, 0x66, 0xf2, 0xf3, 0x2e, 0x3e, 0x64, 0x65, 0x67, 0xf0, 0x26, 0x36, 0x48 }, rexes[] = { 0, 0x48, 0x41, 0x40, 0x42, 0x44, 0x4f };
        uint8_t bytes[BYTES] = { 0 };

        for (unsigned k = 0; k < sizeof(prefixes) * sizeof(prefixes); k++) {
                unsigned first = k % sizeof(prefixes), second = k / sizeof(prefixes), n = !!first + !!second;

                bytes[0] = prefixes[first];
                bytes[1] = prefixes[second];
                for (unsigned rex = 0; rex < (!second ? sizeof(rexes) : first ? 2 : 0); rex++) {
                        bytes[n] = rexes[rex];
                        all_opcodes(bytes, n + !!rex);
                }
        }
}

static void test_random(void)
{
        static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0x2e, 0x3e, 0x67 };
        uint8_t bytes[BYTES];
        unsigned n = 0;

        for (unsigned k = 0; k < sizeof(bytes); k++)
                bytes[k] = (uint8_t)random32();
        while (n < 6 && random32() % 2 == 0)
                bytes[n++] = prefixes[random32() % sizeof(prefixes)];
        if (random32() % 2)
                bytes[n++] = 0x40 | random32() % 16;
        if (random32() % 2)
                bytes[n++] = 0x0f;
        if (random32() % 4 == 0) /* a large displacement */
                memcpy(bytes + n + 3, random32() % 2 ? "\xff\xff\x7f" : "\0\0\x80", 3);
        compare(bytes);
}

static unsigned unknown[ZYDIS_MNEMONIC_MAX_VALUE + 1];

/* Returns how many instructions there are. */
static unsigned look_at_code(const uint8_t *code)
{
        unsigned n = 0;

        for (size_t at = 0; at + BYTES <= CODE_SIZE; n++) {
                struct pair p;
                bool valid = decode(&p, code + at);

                if (!compare(code + at) && valid)
                        unknown[p.z.mnemonic]++;
                at += valid ? p.z.length : 1;
        }
        return n;
}

static void print_unknown(unsigned n)
{
        for (;;) {
                unsigned most = 0;

                for (unsigned k = 1; k <= ZYDIS_MNEMONIC_MAX_VALUE; k++)
                        if (unknown[k] > unknown[most])
                                most = k;
                if (!unknown[most])
                        return;
                printf("%7u %5.2f%% %s\n", unknown[most], 100.0 * unknown[most] / n, ZydisMnemonicGetString((ZydisMnemonic)most));
                unknown[most] = 0;
        }
}

int main(int argc, char **argv)
{
        unsigned n;

        (void)argv;
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        n = look_at_code((const uint8_t *)(uintptr_t)strtod);
        if (argc > 1) {
                print_unknown(n);
                return 0;
        }
        test_all();
        for (unsigned k = 0; k < ROUNDS; k++)
                test_random();
        printf("%u instructions compared, %u differ\n", taken, failures);
        return failures || taken < 1000000;
}
