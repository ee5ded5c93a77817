/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Single instructions with random operands: what compilers emit, the more often the more common it is. Which flags they define is of the SDM, volume 2; where AMD's
 * manual (24594) leaves more of them undefined, of that. Memory operands lie inside the buffers. */

#include <string.h>

#include "random-user.h"


/* --- Table ------------------------------------------------------------------------------------------------------------------- */

/* ADD, OR, ...: op is the first opcode, to: TO_RM unless it is CMP. */
#define ALU(op, n, to, reads, sets, leaves, w) \
        { 0, 0, op, -1, WALL, 0, 0, BYTE_BIT | ((to) ? TO_RM | LOCK : 0), reads, sets, leaves, 0, 3 * (w) }, \
        { 0, 0, op + 2, -1, WALL, 0, 0, BYTE_BIT | ((to) ? TO_REG : 0), reads, sets, leaves, 0, 3 * (w) }, \
        { 0, 0, 0x80, n, WALL, IMM_FULL, 0, BYTE_BIT | ((to) ? TO_RM | LOCK : 0), reads, sets, leaves, 0, 2 * (w) }, \
        { 0, 0, 0x83, n, WBIG, IMM8, 0, (to) ? TO_RM | LOCK : 0, reads, sets, leaves, 0, 3 * (w) }, \
        { 0, 0, op + 4, 0, WALL, IMM_FULL, 0, BYTE_BIT | ACC | NO_MODRM | ((to) ? OUT_A : 0), reads, sets, leaves, 0, 1 * (w) }

/* By an immediate, by 1 and by CL; the flags are in shift_flags. */
#define SHIFTS(n, w) \
        { 0, 0, 0xc0, n, WALL, IMM_SHIFT, 0, BYTE_BIT | SHIFT | TO_RM, 0, 0, 0, 0, 3 * (w) }, \
        { 0, 0, 0xd0, n, WALL, 0, 0, BYTE_BIT | SHIFT | TO_RM, 0, 0, 0, 0, 2 * (w) }, \
        { 0, 0, 0xd2, n, WALL, 0, 0, BYTE_BIT | SHIFT | TO_RM, 0, 0, 0, 0, 2 * (w) }

#define BIT(op, n, how, w) \
        { 0, 1, op, -1, WBIG, 0, 0, ONLY_REG | (how), 0, C, LOGIC_FLAGS & ~C, 0, w }, \
        { 0, 1, 0xba, n, WBIG, IMM8, 0, (how) ? TO_RM | LOCK : 0, 0, C, ALL & ~C, 0, w }

/* Vector arithmetic, 66 0F op. */
#define PACKED(op, w) { 0x66, 1, op, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE | INTEGER, 0, 0, 0, 0, w }
#define PACKED_IMM(prefix, op, w) { prefix, 1, op, -1, W32, IMM8, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | WIDE | INTEGER, 0, 0, 0, 0, w }
#define VSHIFT(op, n, w) { 0x66, 1, op, n, W32, IMM8, 16, ONLY_REG | VEC_RM | TO_RM, 0, 0, 0, 0, w }
#define FLOATS(op, w) \
        { 0, 1, op, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, w }, \
        { 0x66, 1, op, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, w }, \
        { 0xf3, 1, op, -1, W32, 0, 4, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, w }, \
        { 0xf2, 1, op, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 2 * (w) }
/* A move: op loads, op + store stores. */
#define VMOVE(prefix, op, store, size, how, w) \
        { prefix, 1, op, -1, W32, 0, size, TO_REG | VEC_REG | VEC_RM | VEX | (how), 0, 0, 0, 0, w }, \
        { prefix, 1, (op) + (store), -1, W32, 0, size, TO_RM | VEC_REG | VEC_RM | VEX | (how), 0, 0, 0, 0, w }

static const struct insn table[] = {
        /* Moves. */
        { 0, 0, 0x88, -1, WALL, 0, 0, BYTE_BIT | TO_RM, 0, 0, 0, 0, 60 },
        { 0, 0, 0x8a, -1, WALL, 0, 0, BYTE_BIT | TO_REG, 0, 0, 0, 0, 80 },
        { 0, 0, 0xc6, 0, WALL, IMM_FULL, 0, BYTE_BIT | TO_RM, 0, 0, 0, 0, 20 },
        { 0, 0, 0xb0, 0, W8, IMM_FULL, 0, OP_REG | NO_MODRM | TO_RM, 0, 0, 0, 0, 6 },
        { 0, 0, 0xb8, 0, WBIG, IMM_FULL, 0, OP_REG | NO_MODRM | TO_RM, 0, 0, 0, 0, 20 },
        { 0, 1, 0xb6, -1, WBIG, 0, 1, TO_REG | BYTE_RM, 0, 0, 0, 0, 25 },
        { 0, 1, 0xb7, -1, W3264, 0, 2, TO_REG, 0, 0, 0, 0, 12 },
        { 0, 1, 0xbe, -1, WBIG, 0, 1, TO_REG | BYTE_RM, 0, 0, 0, 0, 10 },
        { 0, 1, 0xbf, -1, W3264, 0, 2, TO_REG, 0, 0, 0, 0, 6 },
        { 0, 0, 0x63, -1, W3264, 0, 4, TO_REG, 0, 0, 0, 0, 15 },
        { 0, 0, 0x8d, -1, WBIG, 0, 0, TO_REG | ONLY_MEM | ADDRESS, 0, 0, 0, 0, 50 },
        { 0, 1, 0x40, -1, WBIG, 0, 0, TO_REG | COND, 0, 0, 0, 0, 25 },
        { 0, 1, 0x90, 0, W8, 0, 0, TO_RM | COND, 0, 0, 0, 0, 25 },
        { 0, 1, 0xc8, 0, W3264, 0, 0, OP_REG | NO_MODRM | TO_RM, 0, 0, 0, 0, 5 },
        { 0, 0, 0x86, -1, WALL, 0, 0, BYTE_BIT | TO_REG | TO_RM | LOCK, 0, 0, 0, 0, 6 },
        { 0, 0, 0x90, 0, W3264, 0, 0, OP_REG | NO_MODRM | TO_RM | OUT_A, 0, 0, 0, 0, 2 },
        { 0, 0, 0x98, 0, WBIG, 0, 0, ACC | NO_MODRM | OUT_A, 0, 0, 0, 0, 6 },
        { 0, 0, 0x99, 0, WBIG, 0, 0, ACC | NO_MODRM | OUT_D, 0, 0, 0, 0, 4 },
        { 0, 2, 0xf0, -1, WBIG, 0, 0, TO_REG | ONLY_MEM, 0, 0, 0, HAS_MOVBE, 3 },
        { 0, 2, 0xf1, -1, WBIG, 0, 0, TO_RM | ONLY_MEM, 0, 0, 0, HAS_MOVBE, 3 },
        { 0, 1, 0xc3, -1, W3264, 0, 0, TO_RM | ONLY_MEM, 0, 0, 0, 0, 2 },
        /* Arithmetic. */
        ALU(0x00, 0, 1, 0, ALL, 0, 8),
        ALU(0x08, 1, 1, 0, LOGIC_FLAGS, A, 4),
        ALU(0x10, 2, 1, C, ALL, 0, 2),
        ALU(0x18, 3, 1, C, ALL, 0, 2),
        ALU(0x20, 4, 1, 0, LOGIC_FLAGS, A, 5),
        ALU(0x28, 5, 1, 0, ALL, 0, 5),
        ALU(0x30, 6, 1, 0, LOGIC_FLAGS, A, 5),
        ALU(0x38, 7, 0, 0, ALL, 0, 8),
        { 0, 0, 0x84, -1, WALL, 0, 0, BYTE_BIT, 0, LOGIC_FLAGS, A, 0, 20 },
        { 0, 0, 0xf6, 0, WALL, IMM_FULL, 0, BYTE_BIT, 0, LOGIC_FLAGS, A, 0, 10 },
        { 0, 0, 0xa8, 0, WALL, IMM_FULL, 0, BYTE_BIT | ACC | NO_MODRM, 0, LOGIC_FLAGS, A, 0, 5 },
        { 0, 0, 0xfe, 0, WALL, 0, 0, BYTE_BIT | TO_RM | LOCK, 0, ALL & ~C, 0, 0, 10 },
        { 0, 0, 0xfe, 1, WALL, 0, 0, BYTE_BIT | TO_RM | LOCK, 0, ALL & ~C, 0, 0, 10 },
        { 0, 0, 0xf6, 2, WALL, 0, 0, BYTE_BIT | TO_RM | LOCK, 0, 0, 0, 0, 8 },
        { 0, 0, 0xf6, 3, WALL, 0, 0, BYTE_BIT | TO_RM | LOCK, 0, ALL, 0, 0, 8 },
        { 0, 1, 0xc0, -1, WALL, 0, 0, BYTE_BIT | TO_REG | TO_RM | LOCK, 0, ALL, 0, 0, 6 },
        { 0, 1, 0xb0, -1, WALL, 0, 0, BYTE_BIT | TO_RM | OUT_A | LOCK, 0, ALL, 0, 0, 8 },
        { 0, 1, 0xc7, 1, W32, 0, 8, TO_RM | ONLY_MEM | OUT_A | OUT_D | LOCK, 0, Z, 0, 0, 2 },
        { 0, 1, 0xc7, 1, W64, 0, 16, TO_RM | ONLY_MEM | OUT_A | OUT_D | LOCK | ALIGN, 0, Z, 0, HAS_CX16, 2 },
        { 0, 1, 0xaf, -1, WBIG, 0, 0, TO_REG, 0, C | O, P | A | Z | S, 0, 12 },
        { 0, 0, 0x69, -1, WBIG, IMM_FULL, 0, TO_REG, 0, C | O, P | A | Z | S, 0, 5 },
        { 0, 0, 0x6b, -1, WBIG, IMM8, 0, TO_REG, 0, C | O, P | A | Z | S, 0, 6 },
        { 0, 0, 0xf6, 4, WALL, 0, 0, BYTE_BIT | OUT_A | OUT_D, 0, C | O, P | A | Z | S, 0, 4 },
        { 0, 0, 0xf6, 5, WALL, 0, 0, BYTE_BIT | OUT_A | OUT_D, 0, C | O, P | A | Z | S, 0, 3 },
        SHIFTS(0, 2), SHIFTS(1, 2), SHIFTS(2, 1), SHIFTS(3, 1), SHIFTS(4, 5), SHIFTS(5, 4), SHIFTS(7, 3),
        { 0, 1, 0xa4, -1, W3264, IMM_SHIFT, 0, SHIFT | TO_RM, 0, 0, 0, 0, 3 },
        { 0, 1, 0xac, -1, W3264, IMM_SHIFT, 0, SHIFT | TO_RM, 0, 0, 0, 0, 3 },
        { 0, 1, 0xa5, -1, W3264, 0, 0, SHIFT | TO_RM, 0, 0, 0, 0, 2 },
        { 0, 1, 0xad, -1, W3264, 0, 0, SHIFT | TO_RM, 0, 0, 0, 0, 2 },
        BIT(0xa3, 4, 0, 5), BIT(0xab, 5, TO_RM, 3), BIT(0xb3, 6, TO_RM, 3), BIT(0xbb, 7, TO_RM, 3),
        { 0xf3, 1, 0xbc, -1, WBIG, 0, 0, TO_REG, 0, C | Z, P | A | S | O, HAS_BMI, 4 },
        { 0xf3, 1, 0xbd, -1, WBIG, 0, 0, TO_REG, 0, C | Z, P | A | S | O, HAS_LZCNT, 4 },
        { 0xf3, 1, 0xb8, -1, WBIG, 0, 0, TO_REG, 0, ALL, 0, HAS_POPCNT, 4 },
        { 0xf2, 2, 0xf0, -1, W3264, 0, 1, TO_REG | BYTE_RM, 0, 0, 0, HAS_SSE42, 2 },
        { 0xf2, 2, 0xf1, -1, W3264, 0, 0, TO_REG, 0, 0, 0, HAS_SSE42, 2 },
        { 0x66, 2, 0xf6, -1, W3264, 0, 0, TO_REG, C, C, 0, HAS_ADX, 2 },
        { 0xf3, 2, 0xf6, -1, W3264, 0, 0, TO_REG, O, O, 0, HAS_ADX, 2 },
        { 0, 2, 0xf2, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, C | Z | S | O, A | P, HAS_BMI, 4 },
        { 0, 2, 0xf3, 1, W3264, 0, 0, TO_VVVV | NO_LEGACY | THIRD, 0, C | Z | S | O, A | P, HAS_BMI, 3 },
        { 0, 2, 0xf3, 2, W3264, 0, 0, TO_VVVV | NO_LEGACY | THIRD, 0, C | S | O, A | P | Z, HAS_BMI, 2 },
        { 0, 2, 0xf3, 3, W3264, 0, 0, TO_VVVV | NO_LEGACY | THIRD, 0, C | Z | S | O, A | P, HAS_BMI, 2 },
        { 0, 2, 0xf7, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, C | Z | O, A | P | S, HAS_BMI, 2 },
        { 0, 2, 0xf5, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, C | Z | S | O, A | P, HAS_BMI2, 2 },
        { 0xf2, 2, 0xf6, -1, W3264, 0, 0, TO_REG | TO_VVVV | NO_LEGACY | THIRD, 0, 0, 0, HAS_BMI2, 3 },
        { 0xf2, 2, 0xf5, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, 0, 0, HAS_BMI2, 2 },
        { 0xf3, 2, 0xf5, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, 0, 0, HAS_BMI2, 2 },
        { 0x66, 2, 0xf7, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, 0, 0, HAS_BMI2, 4 },
        { 0xf3, 2, 0xf7, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, 0, 0, HAS_BMI2, 3 },
        { 0xf2, 2, 0xf7, -1, W3264, 0, 0, TO_REG | NO_LEGACY | THIRD, 0, 0, 0, HAS_BMI2, 3 },
        { 0xf2, 3, 0xf0, -1, W3264, IMM8, 0, TO_REG | NO_LEGACY, 0, 0, 0, HAS_BMI2, 3 },
        /* Flags. */
        { 0, 0, 0xf5, 0, W32, 0, 0, NO_MODRM, C, C, 0, 0, 2 },
        { 0, 0, 0xf8, 0, W32, 0, 0, NO_MODRM, 0, C, 0, 0, 2 },
        { 0, 0, 0xf9, 0, W32, 0, 0, NO_MODRM, 0, C, 0, 0, 2 },
        { 0, 0, 0x9e, 0, W32, 0, 0, NO_MODRM, 0, ALL & ~O, 0, 0, 2 },
        { 0, 0, 0x9f, 0, W32, 0, 0, ACC | NO_MODRM | OUT_A, ALL & ~O, 0, 0, 0, 2 },
        /* Nothing. */
        { 0, 1, 0x1f, 0, W16 | W32, 0, 0, ONLY_MEM | ADDRESS, 0, 0, 0, 0, 5 },
        { 0, 0, 0x90, 0, W16 | W32, 0, 0, NO_MODRM, 0, 0, 0, 0, 3 },
        { 0, 1, 0x18, 1, W32, 0, 0, ONLY_MEM, 0, 0, 0, 0, 2 },
        /* Vector moves. */
        VMOVE(0, 0x10, 1, 16, WIDE, 15), VMOVE(0x66, 0x10, 1, 16, WIDE, 3), VMOVE(0, 0x28, 1, 16, WIDE | ALIGN, 12), VMOVE(0x66, 0x28, 1, 16, WIDE | ALIGN, 3),
        VMOVE(0x66, 0x6f, 0x10, 16, WIDE | ALIGN, 10), VMOVE(0xf3, 0x6f, 0x10, 16, WIDE, 12), VMOVE(0xf2, 0x10, 1, 8, ONLY_MEM, 8),
        VMOVE(0xf3, 0x10, 1, 4, ONLY_MEM, 6),
        { 0xf2, 1, 0x10, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD | ONLY_REG, 0, 0, 0, 0, 2 },
        { 0xf3, 1, 0x10, -1, W32, 0, 4, TO_REG | VEC_REG | VEC_RM | VEX | THIRD | ONLY_REG, 0, 0, 0, 0, 2 },
        { 0, 1, 0x12, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 2 },
        { 0, 1, 0x16, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 3 },
        { 0, 1, 0x13, -1, W32, 0, 8, TO_RM | VEC_REG | VEC_RM | VEX | ONLY_MEM, 0, 0, 0, 0, 2 },
        { 0, 1, 0x17, -1, W32, 0, 8, TO_RM | VEC_REG | VEC_RM | VEX | ONLY_MEM, 0, 0, 0, 0, 3 },
        { 0x66, 1, 0x6e, -1, W3264, 0, 0, TO_REG | VEC_REG | VEX, 0, 0, 0, 0, 6 },
        { 0x66, 1, 0x7e, -1, W3264, 0, 0, TO_RM | VEC_REG | VEX, 0, 0, 0, 0, 6 },
        { 0xf3, 1, 0x7e, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX, 0, 0, 0, 0, 5 },
        { 0x66, 1, 0xd6, -1, W32, 0, 8, TO_RM | VEC_REG | VEC_RM | VEX, 0, 0, 0, 0, 5 },
        { 0x66, 1, 0xe7, -1, W32, 0, 16, TO_RM | VEC_REG | VEC_RM | VEX | WIDE | ALIGN | ONLY_MEM, 0, 0, 0, 0, 2 },
        { 0, 1, 0x50, -1, W32, 0, 0, TO_REG | VEC_RM | VEX | WIDE | ONLY_REG, 0, 0, 0, 0, 3 },
        { 0x66, 1, 0x50, -1, W32, 0, 0, TO_REG | VEC_RM | VEX | WIDE | ONLY_REG, 0, 0, 0, 0, 2 },
        { 0x66, 1, 0xd7, -1, W32, 0, 0, TO_REG | VEC_RM | VEX | WIDE | INTEGER | ONLY_REG, 0, 0, 0, 0, 4 },
        { 0x66, 1, 0xc4, -1, W32, IMM8, 2, TO_REG | VEC_REG | VEX | THIRD, 0, 0, 0, 0, 3 },
        { 0x66, 1, 0xc5, -1, W32, IMM8, 0, TO_REG | VEC_RM | VEX | ONLY_REG, 0, 0, 0, 0, 3 },
        { 0x66, 3, 0x22, -1, W3264, IMM8, 0, TO_REG | VEC_REG | VEX | THIRD, 0, 0, 0, HAS_SSE41, 3 },
        { 0x66, 3, 0x16, -1, W3264, IMM8, 0, TO_RM | VEC_REG | VEX, 0, 0, 0, HAS_SSE41, 3 },
        { 0x66, 2, 0x18, -1, W32, 0, 4, TO_REG | VEC_REG | VEC_RM | NO_LEGACY | VEX | WIDE | ONLY_MEM, 0, 0, 0, 0, 2 },
        { 0x66, 2, 0x59, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | NO_LEGACY | VEX, 0, 0, 0, HAS_AVX2, 2 },
        { 0x66, 3, 0x19, -1, W32, IMM8, 16, TO_RM | VEC_REG | VEC_RM | NO_LEGACY | VEX | ONLY_256, 0, 0, 0, 0, 2 },
        { 0x66, 3, 0x18, -1, W32, IMM8, 16, TO_REG | VEC_REG | VEC_RM | NO_LEGACY | VEX | THIRD | ONLY_256, 0, 0, 0, 0, 2 },
        { 0, 1, 0x77, 0, W32, 0, 0, NO_MODRM | NO_LEGACY | VEX, 0, 0, 0, 0, 2 },
        /* Vector arithmetic. */
        PACKED(0xef, 10), PACKED(0xfe, 5), PACKED(0xd4, 4), PACKED(0xfc, 3), PACKED(0xfa, 3), PACKED(0xf8, 3), PACKED(0xdb, 4), PACKED(0xdf, 3), PACKED(0xeb, 4), PACKED(0x74, 4),
        PACKED(0x75, 2), PACKED(0x76, 4), PACKED(0x64, 2), PACKED(0x66, 2), PACKED(0x60, 3), PACKED(0x61, 2), PACKED(0x62, 3), PACKED(0x6c, 4), PACKED(0x68, 2), PACKED(0x6d, 3),
        PACKED(0x6b, 2), PACKED(0x67, 2), PACKED(0xd5, 2), PACKED(0xf4, 3), PACKED(0xf5, 2), PACKED(0xda, 2), PACKED(0xde, 2), PACKED(0xee, 1), PACKED(0xd2, 1), PACKED(0xf3, 1), PACKED(0xe0, 1),
        PACKED_IMM(0x66, 0x70, 6), PACKED_IMM(0xf2, 0x70, 2), PACKED_IMM(0xf3, 0x70, 2),
        VSHIFT(0x72, 2, 3), VSHIFT(0x72, 6, 3), VSHIFT(0x73, 2, 3), VSHIFT(0x73, 6, 3), VSHIFT(0x73, 3, 3), VSHIFT(0x73, 7, 2), VSHIFT(0x71, 4, 1),
        FLOATS(0x58, 3), FLOATS(0x59, 3), FLOATS(0x5c, 2), FLOATS(0x5e, 1), FLOATS(0x5d, 1), FLOATS(0x5f, 1),
        { 0, 1, 0x51, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | WIDE, 0, 0, 0, 0, 1 },
        { 0x66, 1, 0x51, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | WIDE, 0, 0, 0, 0, 1 },
        { 0xf3, 1, 0x51, -1, W32, 0, 4, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 1 },
        { 0xf2, 1, 0x51, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 2 },
        { 0, 1, 0x54, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, 3 },
        { 0, 1, 0x57, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, 4 },
        { 0, 1, 0x14, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, 2 },
        { 0x66, 1, 0x14, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, 2 },
        { 0, 1, 0xc6, -1, W32, IMM8, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, 3 },
        { 0, 1, 0xc2, -1, W32, IMM_COMPARE, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE, 0, 0, 0, 0, 2 },
        { 0xf2, 1, 0xc2, -1, W32, IMM_COMPARE, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 2 },
        { 0x66, 2, 0x00, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE | INTEGER, 0, 0, 0, HAS_SSE41, 3 },
        { 0x66, 2, 0x40, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE | INTEGER, 0, 0, 0, HAS_SSE41, 2 },
        { 0x66, 2, 0x30, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX, 0, 0, 0, HAS_SSE41, 2 },
        { 0x66, 3, 0x0f, -1, W32, IMM8, 16, TO_REG | VEC_REG | VEC_RM | ALIGN | VEX | THIRD | WIDE | INTEGER, 0, 0, 0, HAS_SSE41, 2 },
        { 0x66, 2, 0x17, -1, W32, 0, 16, VEC_REG | VEC_RM | ALIGN | VEX | WIDE, 0, ALL, 0, HAS_SSE41, 2 },
        { 0x66, 2, 0xb8, -1, W3264, 0, 16, TO_REG | VEC_REG | VEC_RM | NO_LEGACY | VEX | THIRD | WIDE, 0, 0, 0, HAS_FMA, 2 },
        { 0x66, 3, 0x0b, -1, W32, IMM_COMPARE, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, HAS_SSE41, 2 },
        { 0x66, 1, 0x2e, -1, W32, 0, 8, VEC_REG | VEC_RM | VEX, 0, ALL, 0, 0, 4 },
        { 0x66, 1, 0x2f, -1, W32, 0, 8, VEC_REG | VEC_RM | VEX, 0, ALL, 0, 0, 4 },
        { 0, 1, 0x2e, -1, W32, 0, 4, VEC_REG | VEC_RM | VEX, 0, ALL, 0, 0, 2 },
        { 0, 1, 0x2f, -1, W32, 0, 4, VEC_REG | VEC_RM | VEX, 0, ALL, 0, 0, 2 },
        { 0xf2, 1, 0x2a, -1, W3264, 0, 0, TO_REG | VEC_REG | VEX | THIRD, 0, 0, 0, 0, 4 },
        { 0xf3, 1, 0x2a, -1, W3264, 0, 0, TO_REG | VEC_REG | VEX | THIRD, 0, 0, 0, 0, 2 },
        { 0xf2, 1, 0x2c, -1, W3264, 0, 8, TO_REG | VEC_RM | VEX, 0, 0, 0, 0, 4 },
        { 0xf2, 1, 0x2d, -1, W3264, 0, 8, TO_REG | VEC_RM | VEX, 0, 0, 0, 0, 2 },
        { 0xf3, 1, 0x2c, -1, W3264, 0, 4, TO_REG | VEC_RM | VEX, 0, 0, 0, 0, 2 },
        { 0xf3, 1, 0x5a, -1, W32, 0, 4, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 2 },
        { 0xf2, 1, 0x5a, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX | THIRD, 0, 0, 0, 0, 2 },
        { 0, 1, 0x5a, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX, 0, 0, 0, 0, 1 },
        { 0xf3, 1, 0xe6, -1, W32, 0, 8, TO_REG | VEC_REG | VEC_RM | VEX, 0, 0, 0, 0, 2 },
        { 0, 1, 0x5b, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | VEX | ALIGN | WIDE, 0, 0, 0, 0, 2 },
        { 0xf3, 1, 0x5b, -1, W32, 0, 16, TO_REG | VEC_REG | VEC_RM | VEX | ALIGN | WIDE, 0, 0, 0, 0, 2 },
};

/* --- Registers --------------------------------------------------------------------------------------------------------------- */

bool may_write(const struct gen *g, unsigned regs)
{
        return !(g->s.pinned & regs);
}

void wrote(struct gen *g, unsigned reg)
{
        g->s.reg[reg & 15] = (struct value){ .kind = ANY };
}

unsigned pick_source(struct gen *g)
{
        return rng_below(&g->r, 16);
}

/* Pointers and small numbers are mostly left alone. */
unsigned pick_dest(struct gen *g)
{
        unsigned first = rng_below(&g->r, 16), reg;
        bool careless = rng_percent(&g->r, 12);

        for (unsigned pass = 0; pass < 2; pass++)
                for (unsigned k = 0; k < 16; k++) {
                        reg = (first + k) & 15;
                        if (reg != RSP && may_write(g, 1u << reg) && (pass || careless || g->s.reg[reg].kind == ANY))
                                return reg;
                }
        return NONE;
}

static unsigned pick_kind(struct gen *g, enum kind kind)
{
        unsigned first = rng_below(&g->r, 16);

        for (unsigned k = 0; k < 16; k++)
                if (g->s.reg[(first + k) & 15].kind == kind && (first + k) % 16 != RSP)
                        return (first + k) & 15;
        return NONE;
}

/* A byte register in the place of this one, perhaps one of AH to BH. */
static unsigned byte_register(struct gen *g, unsigned reg)
{
        return reg < RSP && rng_percent(&g->r, 15) ? (HIGH_BYTE | RSP | reg) : reg;
}

/* --- Memory operands ---------------------------------------------------------------------------------------------------------- */

static const struct mem nowhere = { .base = NONE, .index = NONE };

static int32_t end_of(enum buffer b, bool write)
{
        return b == STACK && write ? STACK_FREE : BUFFER_SIZE;
}

/* An offset at which size bytes are within the first limit; often across the end of a page. */
static int32_t random_offset(struct gen *g, int32_t limit, unsigned size, unsigned align)
{
        int32_t at;

        if (align < 2 && size > 1 && rng_percent(&g->r, 7))
                at = (int32_t)(PAGE * (1 + rng_below(&g->r, (unsigned)limit / PAGE)) - 1 - rng_below(&g->r, size - 1));
        else
                at = (int32_t)rng_below(&g->r, (unsigned)limit);
        if (align < 2 && rng_percent(&g->r, 70))
                at &= ~7;
        if (at > limit - (int32_t)size)
                at = limit - (int32_t)size;
        return align > 1 ? at & ~(int32_t)(align - 1) : at;
}

static unsigned pick_index(struct gen *g, int32_t room, struct mem *m)
{
        unsigned index = pick_kind(g, SMALL);

        if (index == NONE)
                return 0;
        m->scale = (uint8_t)rng_below(&g->r, 4);
        while (g->s.reg[index].hi << m->scale > room && m->scale)
                m->scale--;
        if (g->s.reg[index].hi << m->scale > room)
                return 0;
        m->index = (uint8_t)index;
        return (unsigned)g->s.reg[index].hi << m->scale;
}

/* A displacement from a pointer, mostly a small one. */
static bool from_pointer(struct gen *g, unsigned base, unsigned size, unsigned align, bool write, struct mem *m)
{
        const struct value *v = &g->s.reg[base];
        int32_t limit = end_of(v->buffer, write) - (v->hi - v->lo), span = 0, at;

        if (limit < (int32_t)size || (align > 1 && v->lo != v->hi))
                return false;
        m->base = (uint8_t)base;
        if (align < 2 && rng_percent(&g->r, 30))
                span = (int32_t)pick_index(g, limit - (int32_t)size, m);
        limit -= span;
        at = random_offset(g, limit, size, align);
        if (rng_percent(&g->r, 70)) {
                int32_t near = v->lo + (rng_percent(&g->r, 60) ? (int32_t)rng_below(&g->r, 16) * 8 : (int32_t)rng_below(&g->r, 256) - 128);

                near &= ~(int32_t)(align > 1 ? align - 1 : 0);
                at = near >= 0 && near <= limit - (int32_t)size ? near : at;
        }
        m->disp = at - v->lo;
        if (v->buffer == NEAR ? !g->p->movable && g->p->base + AREA_SIZE < 1ULL << 32 : g->p->far + STACK_AT + BUFFER_SIZE < 1ULL << 32)
                m->a32 = rng_percent(&g->r, 2);
        return true;
}

/* Relative to RSP: what is below and the function's locals. Everything may be read. */
static bool from_stack(struct gen *g, unsigned size, unsigned align, bool write, struct mem *m)
{
        int32_t at, limit = write ? g->s.locals : 192;

        if (align > 1 && g->s.align < align)
                return false;
        m->base = RSP;
        at = (int32_t)rng_below(&g->r, (unsigned)(128 + limit)) - 128;
        at &= ~(int32_t)(align > 1 ? align - 1 : rng_percent(&g->r, 85) ? 7 : 0);
        if (at > limit - (int32_t)size)
                return false;
        m->disp = at;
        return write ? at + (int32_t)size <= 0 || at >= 0 : true;
}

/* Without a base register; buffers below 2 GiB, data near the code, and segments. */
static bool from_nothing(struct gen *g, unsigned size, unsigned align, bool write, struct mem *m)
{
        struct program *p = g->p;
        unsigned kind = rng_below(&g->r, 10);
        bool near = rng_percent(&g->r, 50);
        enum buffer b = near ? NEAR : FAR;
        int32_t limit = end_of(b, write), at;

        at = random_offset(g, limit, size, align);
        if (kind < 6) {
                m->base = RIP;
                m->disp = NEAR_AT + at;
                if (!write && align < 2 && rng_percent(&g->r, 4))
                        m->disp = TABLES_AT + 0x800 + at % 0x700;
        } else if (kind < 8) {
                uint64_t address = near ? p->base + NEAR_AT : p->far;

                if (address + BUFFER_SIZE >= 1ULL << 31 || (near && p->movable))
                        return false;
                if (align < 2 && rng_percent(&g->r, 40))
                        at = random_offset(g, limit - (int32_t)pick_index(g, limit / 2, m), size, 1);
                m->disp = (int32_t)address + at;
        } else {
                bool fs = p->fs >= 0 && rng_percent(&g->r, 60);

                at = random_offset(g, limit - (align < 2 && rng_percent(&g->r, 40) ? (int32_t)pick_index(g, limit / 2, m) : 0), size, align);
                m->segment = fs ? 0x64 : 0x65;
                m->disp = at - (fs ? p->fs : p->gs);
        }
        return true;
}

bool choose_mem(struct gen *g, unsigned size, unsigned align, bool write, struct mem *m)
{
        for (unsigned tries = 0; tries < 8; tries++) {
                unsigned way = rng_below(&g->r, 100), base = g->prefer != NONE && rng_percent(&g->r, 80) ? g->prefer : pick_kind(g, POINTER);
                bool done;

                *m = nowhere;
                if (g->prefer == NONE && way < 18)
                        done = from_stack(g, size, align, write, m);
                else if (g->prefer == NONE && way < 45)
                        done = from_nothing(g, size, align, write, m);
                else
                        done = base != NONE && from_pointer(g, base, size, align, write, m);
                if (done)
                        return true;
        }
        *m = (struct mem){ .base = RIP, .index = NONE, .disp = NEAR_AT + random_offset(g, BUFFER_SIZE, size, align) };
        return true;
}

/* For instructions that do not access it. */
static void random_address(struct gen *g, struct mem *m)
{
        *m = nowhere;
        if (rng_percent(&g->r, 90))
                m->base = (uint8_t)rng_below(&g->r, 16);
        if (rng_percent(&g->r, 60))
                m->index = (uint8_t)rng_below(&g->r, 16);
        m->index = m->index == RSP ? NONE : m->index;
        m->scale = (uint8_t)(m->index == NONE ? 0 : rng_below(&g->r, 4));
        m->disp = rng_percent(&g->r, 15) ? (int32_t)rng_next(&g->r) : rng_percent(&g->r, 40) ? 0 : (int32_t)rng_below(&g->r, 256) - 128;
        m->a32 = rng_percent(&g->r, 3);
}

/* --- Flags -------------------------------------------------------------------------------------------------------------------- */

void flags_after(struct gen *g, unsigned sets, unsigned leaves)
{
        g->s.undefined = (uint16_t)((g->s.undefined & ~sets) | leaves);
}

static unsigned read_by_condition(unsigned cond)
{
        static const uint16_t reads[8] = { O, C, Z, C | Z, S, P, S | O, S | O | Z };

        return reads[cond / 2];
}

unsigned pick_condition(struct gen *g)
{
        for (unsigned tries = 0; tries < 20; tries++) {
                unsigned cond = rng_below(&g->r, 16);

                if (!(read_by_condition(cond) & g->s.undefined))
                        return cond;
        }
        return 16;
}

/* count: what it is known to be, or -1: CL. digit: of C0, or 4: SHLD and SHRD. */
static void shift_flags(struct gen *g, unsigned digit, unsigned bits, int count)
{
        bool rotate = digit < 4;

        if (count == 0)
                return;
        if (count < 0) {
                flags_after(g, 0, O | (rotate ? 0 : A) | (bits < 32 && !rotate && digit != 7 ? C : 0));
                return;
        }
        flags_after(g, rotate ? C : C | P | Z | S, (rotate ? 0 : A) | O);
        if (count == 1)
                flags_after(g, O, 0);
        if (!rotate && digit != 7 && (unsigned)count >= bits)
                flags_after(g, 0, C);
}

/* --- A random instruction -------------------------------------------------------------------------------------------------------- */

/* The instructions that this CPU has, by weight. */
static uint16_t by_weight[4096];
static unsigned n_by_weight;

void insns_init(unsigned features)
{
        n_by_weight = 0;
        for (unsigned k = 0; k < ARRAY_SIZE(table); k++)
                for (unsigned n = 0; n < table[k].weight && n_by_weight < ARRAY_SIZE(by_weight); n++)
                        if (!(table[k].feature & ~features))
                                by_weight[n_by_weight++] = (uint16_t)k;
}

static unsigned pick_size(struct gen *g, unsigned sizes)
{
        static const uint8_t sizes_by_weight[16] = { 0, 0, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 1 };
        unsigned size;

        do
                size = sizes_by_weight[rng_below(&g->r, 15)];
        while (!(sizes >> size & 1));
        return size;
}

static uint64_t random_imm(struct gen *g)
{
        static const int64_t some[] = { 0, 1, -1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, -128, 255, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x7fffffff, -0x80000000LL };

        return rng_percent(&g->r, 50) ? (uint64_t)some[rng_below(&g->r, ARRAY_SIZE(some))] : rng_next(&g->r);
}

static void pick_imm(struct gen *g, struct op *o, int *count)
{
        const struct insn *i = o->i;
        unsigned bits = 8u << o->size;

        o->imm = random_imm(g);
        *count = -1;
        if (i->imm == IMM_FULL) {
                o->imm_size = o->size == 3 ? 4 : 1u << o->size;
                if ((i->how & OP_REG) && o->size == 3)
                        o->imm_size = 8;
        } else if (i->imm != NO_IMM) {
                o->imm_size = 1;
        }
        if (i->imm == IMM_COMPARE)
                o->imm &= 7;
        if (i->imm == IMM_SHIFT) {
                bool carry = i->map == 0 && (i->digit == 2 || i->digit == 3);

                o->imm = rng_percent(&g->r, 92) || carry ? 1 + rng_below(&g->r, bits - 1) : rng_below(&g->r, 256);
                *count = (int)(o->imm & (o->size == 3 ? 63 : 31));
        } else if ((i->how & SHIFT) && i->map == 0 && i->op == 0xd0) {
                *count = 1;
        }
}

/* An immediate that may be another one. */
static void note_patch(struct gen *g, const struct op *o)
{
        struct program *p = g->p;

        if (p->n_patches == PATCHES_MAX || (o->i->imm != IMM_FULL && o->i->imm != IMM8) || (o->i->imm == IMM8 && (o->i->how & (VEC_REG | VEC_RM))))
                return;
        p->patch[p->n_patches].at = (uint16_t)(g->at - o->imm_size);
        p->patch[p->n_patches++].size = (uint8_t)o->imm_size;
}

static bool pick_reg(struct gen *g, struct op *o)
{
        const struct insn *i = o->i;

        if (i->digit >= 0)
                return true;
        if (i->how & VEC_REG) {
                o->reg = rng_below(&g->r, 16);
                return true;
        }
        o->reg = i->how & TO_REG ? pick_dest(g) : pick_source(g);
        if (o->reg != NONE && o->size == 0)
                o->reg = byte_register(g, o->reg);
        return o->reg != NONE;
}

static bool pick_rm(struct gen *g, struct op *o, struct mem *m)
{
        const struct insn *i = o->i;
        unsigned size = i->msize ? i->msize : 1u << o->size;
        unsigned align = i->how & ALIGN && (!o->vex || (i->how & (VEC_REG | VEC_RM) && !(i->how & THIRD))) ? size << o->l256 : 1;

        if ((i->how & NO_MODRM) && !(i->how & OP_REG))
                return true;
        if (i->how & ADDRESS) {
                random_address(g, m);
                o->m = m;
                return true;
        }
        if (!(i->how & (ONLY_REG | OP_REG)) && ((i->how & ONLY_MEM) || rng_percent(&g->r, g->prefer != NONE ? 95 : 45))) {
                o->m = m;
                return choose_mem(g, size << o->l256, align, i->how & TO_RM, m);
        }
        if (i->how & VEC_RM)
                o->rm = rng_below(&g->r, 16);
        else
                o->rm = i->how & TO_RM ? pick_dest(g) : pick_source(g);
        if (o->rm != NONE && !(i->how & VEC_RM) && (o->size == 0 || (i->how & BYTE_RM)))
                o->rm = byte_register(g, o->rm);
        return o->rm != NONE;
}

/* AH to BH exclude what takes REX. */
static bool encodable(const struct op *o)
{
        bool high = (o->i->digit < 0 && (o->reg & HIGH_BYTE)) || (!o->m && (o->rm & HIGH_BYTE));
        bool reg8 = o->i->digit < 0 && !(o->reg & HIGH_BYTE) && (o->reg >= R8 || (o->size == 0 && o->reg >= RSP));
        bool rm8 = !o->m && !(o->rm & HIGH_BYTE) && (o->rm >= R8 || ((o->size == 0 || (o->i->how & BYTE_RM)) && o->rm >= RSP));
        bool mem = o->m && ((o->m->base >= R8 && o->m->base < RIP) || (o->m->index >= R8 && o->m->index < RIP));

        return !high || !(reg8 || rm8 || mem || o->size == 3);
}

static bool implied(struct gen *g, const struct insn *i)
{
        return may_write(g, (i->how & OUT_A ? 1u << RAX : 0) | (i->how & OUT_C ? 1u << RCX : 0) | (i->how & OUT_D ? 1u << RDX : 0));
}

static bool pick_form(struct gen *g, struct op *o)
{
        const struct insn *i = o->i;

        o->vex = (i->how & NO_LEGACY) || ((i->how & VEX) && rng_percent(&g->r, 25));
        if (o->vex && (i->how & WIDE) && (!(i->how & INTEGER) || (g->features & HAS_AVX2)) && !(i->how & ONLY_256))
                o->l256 = rng_percent(&g->r, 40);
        if (i->how & ONLY_256)
                o->l256 = true;
        if (!o->vex || !(i->how & THIRD))
                return true;
        o->vvvv = i->how & (VEC_REG | VEC_RM) ? rng_below(&g->r, 16) : i->how & TO_VVVV ? pick_dest(g) : pick_source(g);
        return o->vvvv != NONE;
}

static void note_written(struct gen *g, const struct op *o)
{
        const struct insn *i = o->i;

        if ((i->how & TO_REG) && !(i->how & VEC_REG))
                wrote(g, o->reg & HIGH_BYTE ? o->reg & 3 : o->reg);
        if ((i->how & TO_RM) && !(i->how & VEC_RM) && !o->m)
                wrote(g, o->rm & HIGH_BYTE ? o->rm & 3 : o->rm);
        if (i->how & TO_VVVV)
                wrote(g, o->vvvv);
        if (i->how & OUT_A)
                wrote(g, RAX);
        if (i->how & OUT_C)
                wrote(g, RCX);
        if (i->how & OUT_D)
                wrote(g, RDX);
}

bool random_insn(struct gen *g)
{
        struct op o = { .i = &table[by_weight[rng_below(&g->r, n_by_weight)]] };
        const struct insn *i = o.i;
        struct mem m;
        int count;
        bool carry = (i->how & SHIFT) && i->map == 0 && (i->digit == 2 || i->digit == 3);

        o.size = pick_size(g, i->sizes);
        if (((i->reads | (carry ? C : 0)) & g->s.undefined) || !implied(g, i) || !pick_form(g, &o) || !pick_reg(g, &o) || !pick_rm(g, &o, &m) || !encodable(&o))
                return false;
        if (i->how & COND) {
                o.plus = (uint8_t)pick_condition(g);
                if (o.plus == 16)
                        return false;
        }
        if (i->how & OP_REG)
                o.plus = o.rm & 7;
        pick_imm(g, &o, &count);
        o.lock = (i->how & LOCK) && o.m && rng_percent(&g->r, 10);
        emit(g, &o);
        note_patch(g, &o);
        note_written(g, &o);
        flags_after(g, i->sets, i->leaves);
        if (i->how & SHIFT)
                shift_flags(g, i->map ? 4 : (unsigned)i->digit, 8u << o.size, count);
        return true;
}

/* --- Chosen instructions ---------------------------------------------------------------------------------------------------------- */

void put_rr(struct gen *g, uint8_t op, bool w, unsigned reg, unsigned rm)
{
        struct insn i = { .op = op, .digit = -1 };

        emit(g, &(struct op){ .i = &i, .size = w ? 3 : 2, .reg = reg, .rm = rm });
}

void put_rm(struct gen *g, uint8_t op, bool w, unsigned reg, const struct mem *m)
{
        struct insn i = { .op = op, .digit = -1 };

        emit(g, &(struct op){ .i = &i, .size = w ? 3 : 2, .reg = reg, .m = m });
}

void put_ri(struct gen *g, unsigned digit, bool w, unsigned rm, int32_t imm)
{
        bool small = imm == (int8_t)imm;
        struct insn i = { .op = small ? 0x83 : 0x81, .digit = (int8_t)digit };

        emit(g, &(struct op){ .i = &i, .size = w ? 3 : 2, .rm = rm, .imm = (uint32_t)imm, .imm_size = small ? 1 : 4 });
}

void put_mov_imm(struct gen *g, unsigned reg, uint64_t imm)
{
        struct insn i = { .op = 0xb8, .how = OP_REG | NO_MODRM }, sign = { .op = 0xc7 };

        if (imm == (uint64_t)(int64_t)(int32_t)imm && rng_percent(&g->r, 30))
                emit(g, &(struct op){ .i = &sign, .size = 3, .rm = reg, .imm = imm, .imm_size = 4 });
        else if (imm >> 32)
                emit(g, &(struct op){ .i = &i, .size = 3, .rm = reg, .imm = imm, .imm_size = 8, .plus = reg & 7 });
        else
                emit(g, &(struct op){ .i = &i, .size = 2, .rm = reg, .imm = imm, .imm_size = 4, .plus = reg & 7 });
}
