/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which flags matter: the translator does not keep those that are overwritten on all ways on before anything looks at them, so that
 * a fault may find them with other values than the host has. */

#include "diff.h"

#define ARITHMETIC (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF)
/* Branches looked behind, and instructions on one way. */
#define DEPTH 3
#define LENGTH 64

/* A shift or rotation by a constant that is not zero. */
static bool has_count(const ZydisDisassembledInstruction *z)
{
        const ZydisDecodedOperand *count = &z->operands[z->info.operand_count_visible - 1];

        return count->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && (count->imm.value.u & (z->operands[0].size == 64 ? 63 : 31));
}

/* Certainly written whatever the operands are. */
static uint32_t overwritten(const ZydisDisassembledInstruction *z)
{
        const ZydisAccessedFlags *f = z->info.cpu_flags;
        uint32_t all = (uint32_t)(f->modified | f->set_0 | f->set_1 | f->undefined);

        switch (z->info.meta.category) {
        case ZYDIS_CATEGORY_SHIFT:
        case ZYDIS_CATEGORY_ROTATE:
                return has_count(z) ? all : 0;
        case ZYDIS_CATEGORY_STRINGOP:
                return 0;
        default:
                return all;
        }
}

static uint32_t dead_from(const struct sequence *s, const uint8_t *code, uint64_t rip, unsigned depth);

/* At an instruction that goes elsewhere. */
static uint32_t dead_at_branch(const struct sequence *s, const uint8_t *code, const ZydisDisassembledInstruction *z, uint64_t rip, unsigned depth)
{
        uint64_t behind = rip + z->info.length;
        ZyanU64 target;

        if (!depth || z->operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
                !ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&z->info, &z->operands[0], rip, &target)))
                return 0;
        if (z->info.meta.category == ZYDIS_CATEGORY_COND_BR)
                return dead_from(s, code, target, depth - 1) & dead_from(s, code, behind, depth - 1);
        return dead_from(s, code, target, depth - 1);
}

static bool is_branch(const ZydisDecodedInstruction *z)
{
        return z->meta.category == ZYDIS_CATEGORY_COND_BR || z->meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
               z->meta.category == ZYDIS_CATEGORY_CALL || z->meta.category == ZYDIS_CATEGORY_RET;
}

static uint32_t dead_from(const struct sequence *s, const uint8_t *code, uint64_t rip, unsigned depth)
{
        uint32_t dead = 0, read = 0;

        for (unsigned k = 0; k < LENGTH && (dead | read) != ARITHMETIC; k++) {
                uint64_t at = rip - CODE_ADDR;
                ZydisDisassembledInstruction z;

                if (at >= CODE_SIZE || !ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), rip, code + at, CODE_SIZE - at, &z)) ||
                        z.info.mnemonic == ZYDIS_MNEMONIC_INT3)
                        break;
                read |= (uint32_t)z.info.cpu_flags->tested & ~dead & ARITHMETIC;
                if (is_branch(&z.info))
                        return dead | (dead_at_branch(s, code, &z, rip, depth) & ~read);
                dead |= overwritten(&z) & ~read & ARITHMETIC;
                rip += z.info.length;
        }
        return dead;
}

uint32_t dead_flags(const struct sequence *s, const uint8_t *code, uint64_t rip)
{
        return s->bits == 16 ? 0 : dead_from(s, code, rip, DEPTH);
}
