/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What tr-quick.c knows of each opcode. Only what every x86-64 CPU has: where CPUID has a say, the other translator asks it. */

#include "hv/engine/dbt/tr-quick.h"

#define SIZES (QUICK_NP | QUICK_66)
#define REG_BYTE (QUICK_REG | QUICK_REG_BYTE)
#define RM_BYTE (QUICK_RM | QUICK_RM_BYTE)
#define TO_REG (QUICK_REG | QUICK_REG_W | QUICK_REG_NOT_R)
#define TO_RM (QUICK_RM | QUICK_RM_W | QUICK_RM_NOT_R)
#define OP(kind_, flags_, prefixes_) { .kind = QUICK_##kind_, .flags = (flags_), .prefixes = (prefixes_) }
#define PLAIN(flags) OP(PLAIN, QUICK_MODRM | (flags), SIZES)
#define PLAIN8(flags) OP(PLAIN, QUICK_MODRM | (flags), QUICK_NP)
#define VECTOR(flags, prefixes) OP(PLAIN, QUICK_MODRM | QUICK_VECTOR | QUICK_MAY_FAULT | (flags), prefixes)

/* Operation n of 8: more are the flags it needs, rm_w and reg_w whether it writes there. */
#define ALU(n, more, reg_w, rm_w) \
        [8 * (n) + 0] = PLAIN8(REG_BYTE | RM_BYTE | (rm_w) | QUICK_SETS | (more)), \
        [8 * (n) + 1] = PLAIN(QUICK_REG | QUICK_RM | (rm_w) | QUICK_SETS | (more)), \
        [8 * (n) + 2] = PLAIN8(REG_BYTE | RM_BYTE | (reg_w) | QUICK_SETS | (more)), \
        [8 * (n) + 3] = PLAIN(QUICK_REG | QUICK_RM | (reg_w) | QUICK_SETS | (more)), \
        [8 * (n) + 4] = OP(ACCUMULATOR, QUICK_IMM8 | QUICK_SETS | (more), QUICK_NP), \
        [8 * (n) + 5] = OP(ACCUMULATOR, QUICK_IMM | QUICK_SETS | (more), SIZES)
#define ALU_W(n, more) ALU(n, more, QUICK_REG_W, QUICK_RM_W)

#define ALL_PREFIXES (QUICK_NP | QUICK_66 | QUICK_F3 | QUICK_F2)

const struct quick_op quick_ops[2][256] = {
        {
                ALU_W(0, 0), ALU_W(1, 0), ALU_W(2, QUICK_NEEDS), ALU_W(3, QUICK_NEEDS), ALU_W(4, 0), ALU_W(5, 0), ALU_W(6, 0), ALU(7, 0, 0, 0),
                [0x50 ... 0x57] = OP(PUSH, 0, QUICK_NP),
                [0x58 ... 0x5f] = OP(POP, 0, QUICK_NP),
                [0x63] = OP(PLAIN, QUICK_MODRM | TO_REG | QUICK_RM, QUICK_NP), /* movsxd */
                [0x68] = OP(PUSH_IMM, QUICK_IMM, QUICK_NP),
                [0x69] = PLAIN(TO_REG | QUICK_RM | QUICK_IMM | QUICK_SETS),
                [0x6a] = OP(PUSH_IMM, QUICK_IMM8, QUICK_NP),
                [0x6b] = PLAIN(TO_REG | QUICK_RM | QUICK_IMM8 | QUICK_SETS),
                [0x70 ... 0x7f] = OP(JCC, QUICK_IMM8 | QUICK_NEEDS, QUICK_NP),
                [0x80] = OP(GROUP1, QUICK_MODRM | RM_BYTE | QUICK_IMM8 | QUICK_SETS, QUICK_NP),
                [0x81] = OP(GROUP1, QUICK_MODRM | QUICK_RM | QUICK_IMM | QUICK_SETS, SIZES),
                [0x83] = OP(GROUP1, QUICK_MODRM | QUICK_RM | QUICK_IMM8 | QUICK_SETS, SIZES),
                [0x84] = PLAIN8(REG_BYTE | RM_BYTE | QUICK_SETS),
                [0x85] = PLAIN(QUICK_REG | QUICK_RM | QUICK_SETS),
                [0x88] = PLAIN8(REG_BYTE | TO_RM | QUICK_RM_BYTE),
                [0x89] = PLAIN(QUICK_REG | TO_RM),
                [0x8a] = PLAIN8(TO_REG | QUICK_REG_BYTE | RM_BYTE),
                [0x8b] = PLAIN(TO_REG | QUICK_RM),
                [0x8d] = OP(LEA, QUICK_MODRM | TO_REG, SIZES),
                [0x90] = OP(NOTHING, 0, SIZES),
                [0x98] = OP(CDQE, 0, QUICK_NP),
                [0x99] = OP(CDQ, 0, QUICK_NP),
                [0xa8] = OP(ACCUMULATOR, QUICK_IMM8 | QUICK_SETS, QUICK_NP),
                [0xa9] = OP(ACCUMULATOR, QUICK_IMM | QUICK_SETS, SIZES),
                [0xb0 ... 0xb7] = OP(MOV_IMM, TO_RM | QUICK_RM_BYTE | QUICK_IMM8, QUICK_NP),
                [0xb8 ... 0xbf] = OP(MOV_IMM, TO_RM | QUICK_IMM, SIZES),
                [0xc0] = OP(SHIFT, QUICK_MODRM | RM_BYTE | QUICK_RM_W | QUICK_IMM8 | QUICK_SETS | QUICK_NEEDS, QUICK_NP),
                [0xc1] = OP(SHIFT, QUICK_MODRM | QUICK_RM | QUICK_RM_W | QUICK_IMM8 | QUICK_SETS | QUICK_NEEDS, SIZES),
                [0xc3] = OP(RET, 0, QUICK_NP | QUICK_F3),
                [0xc6] = OP(PLAIN, QUICK_MODRM | TO_RM | QUICK_RM_BYTE | QUICK_IMM8, QUICK_NP),
                [0xc7] = OP(PLAIN, QUICK_MODRM | TO_RM | QUICK_IMM, SIZES),
                [0xc9] = OP(LEAVE, 0, QUICK_NP),
                [0xd0] = OP(SHIFT, QUICK_MODRM | RM_BYTE | QUICK_RM_W | QUICK_SETS | QUICK_NEEDS, QUICK_NP),
                [0xd1] = OP(SHIFT, QUICK_MODRM | QUICK_RM | QUICK_RM_W | QUICK_SETS | QUICK_NEEDS, SIZES),
                [0xd2] = OP(BY_CL, QUICK_MODRM | RM_BYTE | QUICK_RM_W | QUICK_SETS | QUICK_NEEDS, QUICK_NP),
                [0xd3] = OP(BY_CL, QUICK_MODRM | QUICK_RM | QUICK_RM_W | QUICK_SETS | QUICK_NEEDS, SIZES),
                [0xe8] = OP(CALL, QUICK_IMM, QUICK_NP),
                [0xe9] = OP(JMP, QUICK_IMM, QUICK_NP),
                [0xeb] = OP(JMP, QUICK_IMM8, QUICK_NP),
                [0xf6] = OP(GROUP3, QUICK_MODRM | RM_BYTE, QUICK_NP),
                [0xf7] = OP(GROUP3, QUICK_MODRM | QUICK_RM, SIZES),
                [0xfe] = OP(GROUP5, QUICK_MODRM | RM_BYTE, QUICK_NP),
                [0xff] = OP(GROUP5, QUICK_MODRM | QUICK_RM, SIZES),
        },
        {
                [0x10 ... 0x11] = VECTOR(0, ALL_PREFIXES),
                [0x12 ... 0x17] = VECTOR(0, QUICK_NP | QUICK_66),
                [0x18] = OP(NOTHING, QUICK_MODRM, QUICK_NP), /* prefetch */
                [0x1e] = OP(NOTHING, QUICK_MODRM, QUICK_F3), /* endbr64 */
                [0x1f] = OP(NOTHING, QUICK_MODRM, SIZES),
                [0x28 ... 0x29] = VECTOR(0, QUICK_NP | QUICK_66),
                [0x2a] = VECTOR(QUICK_RM, QUICK_F3 | QUICK_F2),
                [0x2c ... 0x2d] = VECTOR(TO_REG, QUICK_F3 | QUICK_F2),
                [0x2e ... 0x2f] = VECTOR(QUICK_SETS, QUICK_NP | QUICK_66),
                [0x40 ... 0x4f] = PLAIN(QUICK_REG | QUICK_REG_W | QUICK_RM | QUICK_NEEDS),
                [0x50] = VECTOR(TO_REG | QUICK_NO_MEMORY, QUICK_NP | QUICK_66),
                [0x51] = VECTOR(0, ALL_PREFIXES),
                [0x52 ... 0x53] = VECTOR(0, QUICK_NP | QUICK_F3),
                [0x54 ... 0x57] = VECTOR(0, QUICK_NP | QUICK_66),
                [0x58 ... 0x5a] = VECTOR(0, ALL_PREFIXES),
                [0x5b] = VECTOR(0, QUICK_NP | QUICK_66 | QUICK_F3),
                [0x5c ... 0x5f] = VECTOR(0, ALL_PREFIXES),
                [0x60 ... 0x6d] = VECTOR(0, QUICK_66),
                [0x6e] = VECTOR(QUICK_RM, QUICK_66),
                [0x6f] = VECTOR(0, QUICK_66 | QUICK_F3),
                [0x70] = VECTOR(QUICK_IMM8, QUICK_66 | QUICK_F3 | QUICK_F2),
                [0x71 ... 0x73] = VECTOR(QUICK_IMM8 | QUICK_NO_MEMORY, QUICK_66),
                [0x74 ... 0x76] = VECTOR(0, QUICK_66),
                [0x7e] = VECTOR(0, QUICK_66 | QUICK_F3), /* with 66 to a general register */
                [0x7f] = VECTOR(0, QUICK_66 | QUICK_F3),
                [0x80 ... 0x8f] = OP(JCC, QUICK_IMM | QUICK_NEEDS, QUICK_NP),
                [0x90 ... 0x9f] = OP(PLAIN, QUICK_MODRM | QUICK_RM | QUICK_RM_W | QUICK_RM_BYTE | QUICK_NEEDS, QUICK_NP),
                [0xa3] = PLAIN(QUICK_REG | QUICK_RM | QUICK_SETS | QUICK_NEEDS | QUICK_NO_MEMORY),
                [0xa4] = PLAIN(QUICK_REG | QUICK_RM | QUICK_RM_W | QUICK_IMM8 | QUICK_SETS | QUICK_NEEDS),
                [0xab] = PLAIN(QUICK_REG | QUICK_RM | QUICK_RM_W | QUICK_SETS | QUICK_NEEDS | QUICK_NO_MEMORY),
                [0xac] = PLAIN(QUICK_REG | QUICK_RM | QUICK_RM_W | QUICK_IMM8 | QUICK_SETS | QUICK_NEEDS),
                [0xaf] = PLAIN(QUICK_REG | QUICK_REG_W | QUICK_RM | QUICK_SETS),
                [0xb3] = PLAIN(QUICK_REG | QUICK_RM | QUICK_RM_W | QUICK_SETS | QUICK_NEEDS | QUICK_NO_MEMORY),
                [0xb6] = PLAIN(TO_REG | RM_BYTE),
                [0xb7] = PLAIN(TO_REG | QUICK_RM),
                [0xba] = OP(BITS, QUICK_MODRM | QUICK_RM | QUICK_IMM8 | QUICK_SETS | QUICK_NEEDS, SIZES),
                [0xbb] = PLAIN(QUICK_REG | QUICK_RM | QUICK_RM_W | QUICK_SETS | QUICK_NEEDS | QUICK_NO_MEMORY),
                [0xbc ... 0xbd] = PLAIN(QUICK_REG | QUICK_REG_W | QUICK_RM | QUICK_SETS | QUICK_NEEDS), /* bsf, bsr; with F3 others */
                [0xbe] = PLAIN(TO_REG | RM_BYTE),
                [0xbf] = PLAIN(TO_REG | QUICK_RM),
                [0xc2] = VECTOR(QUICK_IMM8, ALL_PREFIXES),
                [0xc4] = VECTOR(QUICK_RM | QUICK_IMM8, QUICK_66),
                [0xc5] = VECTOR(TO_REG | QUICK_IMM8 | QUICK_NO_MEMORY, QUICK_66),
                [0xc6] = VECTOR(QUICK_IMM8, QUICK_NP | QUICK_66),
                [0xc8 ... 0xcf] = OP(BSWAP, QUICK_RM | QUICK_RM_W, QUICK_NP),
                [0xd1 ... 0xd6] = VECTOR(0, QUICK_66),
                [0xd7] = VECTOR(TO_REG | QUICK_NO_MEMORY, QUICK_66),
                [0xd8 ... 0xe5] = VECTOR(0, QUICK_66),
                [0xe6] = VECTOR(0, QUICK_66 | QUICK_F3 | QUICK_F2),
                [0xe8 ... 0xef] = VECTOR(0, QUICK_66),
                [0xf1 ... 0xf6] = VECTOR(0, QUICK_66),
                [0xf8 ... 0xfe] = VECTOR(0, QUICK_66),
        },
};
