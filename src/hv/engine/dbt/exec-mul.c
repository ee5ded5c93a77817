/* SPDX-License-Identifier: GPL-2.0-or-later */

/* mul, imul, div, idiv and the decimal adjustments. */

#include "hv/engine/dbt/exec.h"

/* --- mul imul with one operand --------------------------------------------------------------------------------- */

#define MUL(name, suffix, bits)                                                                             \
        static void name##bits(struct dbt_vcpu *v, const struct dbt_insn *i)                                \
        {                                                                                                   \
                uint##bits##_t b = (uint##bits##_t)dbt_operand_get(v, i, 0, bits / 8);                      \
                uint64_t lo = v->gpr[X86_RAX], hi = v->gpr[X86_RDX];                                        \
                uint64_t f;                                                                                 \
                                                                                                            \
                __asm__(#name suffix " %[b]\n\tpushfq\n\tpopq %[f]"                                         \
                        : "+a"(lo), "+d"(hi), [f] "=r"(f) : [b] "r"(b) : "cc");                             \
                v->gpr[X86_RAX] = lo;                                                                       \
                v->gpr[X86_RDX] = hi;                                                                       \
                v->rflags = (v->rflags & ~DBT_FLAGS_ARITH) | (f & DBT_FLAGS_ARITH);                         \
        }
MUL(mul, "w", 16)
MUL(mul, "l", 32)
MUL(mul, "q", 64)
MUL(imul, "w", 16)
MUL(imul, "l", 32)
MUL(imul, "q", 64)

static uint8_t byte_operand(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        return i->flags & DBT_INSN_MEM ? dbt_mem_get8(v, i) : dbt_reg8(v, i->reg[0]);
}

#define MUL8(name)                                                                                          \
        static void name##8(struct dbt_vcpu *v, const struct dbt_insn *i)                                   \
        {                                                                                                   \
                uint8_t b = byte_operand(v, i);                                                             \
                uint64_t a = v->gpr[X86_RAX], f;                                                            \
                                                                                                            \
                __asm__(#name "b %[b]\n\tpushfq\n\tpopq %[f]" : "+a"(a), [f] "=r"(f) : [b] "r"(b) : "cc");  \
                v->gpr[X86_RAX] = a;                                                                        \
                v->rflags = (v->rflags & ~DBT_FLAGS_ARITH) | (f & DBT_FLAGS_ARITH);                         \
        }
MUL8(mul)
MUL8(imul)

/* --- div idiv: #DE before anything changes --------------------------------------------------------------------- */

typedef unsigned __int128 u128;
typedef __int128 s128;

/* The flags are undefined; processors leave them alone or not: the host's choice shows in the differential test as undefined. */
#define DIV(bits, wide, swide)                                                                              \
        static void put_div##bits(struct dbt_vcpu *v, uint##bits##_t q, uint##bits##_t r)                   \
        {                                                                                                   \
                dbt_set_reg##bits(v, X86_RAX, q);                                                           \
                dbt_set_reg##bits(v, X86_RDX, r);                                                           \
        }                                                                                                   \
        static void div##bits(struct dbt_vcpu *v, const struct dbt_insn *i)                                 \
        {                                                                                                   \
                uint##bits##_t b = (uint##bits##_t)dbt_operand_get(v, i, 0, bits / 8);                      \
                uint##bits##_t hi = dbt_reg##bits(v, X86_RDX), lo = dbt_reg##bits(v, X86_RAX);              \
                                                                                                            \
                if (hi >= b) /* zero included: the quotient would not fit */                                \
                        dbt_raise(v, X86_DE);                                                               \
                divide##bits(&lo, &hi, b);                                                                  \
                put_div##bits(v, lo, hi);                                                                   \
        }                                                                                                   \
        static void idiv##bits(struct dbt_vcpu *v, const struct dbt_insn *i)                                \
        {                                                                                                   \
                int##bits##_t b = (int##bits##_t)dbt_operand_get(v, i, 0, bits / 8);                        \
                uint##bits##_t hi = dbt_reg##bits(v, X86_RDX), lo = dbt_reg##bits(v, X86_RAX);              \
                swide a = (swide)((wide)hi << bits | lo);                                                   \
                uint##bits##_t mag = b < 0 ? (uint##bits##_t)-(uint##bits##_t)b : (uint##bits##_t)b, q, r;  \
                wide am = a < 0 ? -(wide)a : (wide)a;                                                       \
                                                                                                            \
                r = (uint##bits##_t)(am >> bits);                                                           \
                if (r >= mag)                                                                               \
                        dbt_raise(v, X86_DE);                                                               \
                q = (uint##bits##_t)am;                                                                     \
                divide##bits(&q, &r, mag);                                                                  \
                if (q > (uint##bits##_t)1 << (bits - 1) || (q >> (bits - 1) && (a < 0) == (b < 0)))         \
                        dbt_raise(v, X86_DE);                                                               \
                put_div##bits(v, (uint##bits##_t)((a < 0) == (b < 0) ? q : (uint##bits##_t)-q),             \
                              (uint##bits##_t)(a < 0 ? (uint##bits##_t)-r : r));                            \
        }

/* *hi:*lo / b, quotient to *lo, remainder to *hi; *hi < b. */
#define DIVIDE(bits, suffix)                                                                                \
        static inline void divide##bits(uint##bits##_t *lo, uint##bits##_t *hi, uint##bits##_t b)           \
        {                                                                                                   \
                __asm__("div" suffix " %[b]" : "+a"(*lo), "+d"(*hi) : [b] "r"(b) : "cc");                   \
        }
DIVIDE(16, "w")
DIVIDE(32, "l")
DIVIDE(64, "q")
DIV(16, uint32_t, int32_t)
DIV(32, uint64_t, int64_t)
DIV(64, u128, s128)

static void div8(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint8_t b = byte_operand(v, i);
        uint16_t a = (uint16_t)v->gpr[X86_RAX];

        if (!b || a / b > 0xff)
                dbt_raise(v, X86_DE);
        dbt_set_reg16(v, X86_RAX, (uint16_t)(a % b << 8 | a / b));
}

static void idiv8(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        int8_t b = (int8_t)byte_operand(v, i);
        int16_t a = (int16_t)v->gpr[X86_RAX];

        if (!b || a / b != (int8_t)(a / b))
                dbt_raise(v, X86_DE);
        dbt_set_reg16(v, X86_RAX, (uint16_t)((uint8_t)(a % b) << 8 | (uint8_t)(a / b)));
}

bool dbt_setup_mul(struct dbt_decoding *d, unsigned op)
{
        static const dbt_handler handlers[DBT_NMUL][4] = {
                [DBT_MUL] = { mul8, mul16, mul32, mul64 }, [DBT_IMUL1] = { imul8, imul16, imul32, imul64 },
                [DBT_DIV] = { div8, div16, div32, div64 }, [DBT_IDIV] = { idiv8, idiv16, idiv32, idiv64 },
        };

        d->i->fn = handlers[op][dbt_size_index(d->i->op_size)];
        return true;
}

/* --- imul with two and three operands -------------------------------------------------------------------------- */

#define IMUL(bits, suffix)                                                                                  \
        static void imul_put##bits(struct dbt_vcpu *v, const struct dbt_insn *i, uint##bits##_t a, uint##bits##_t b) \
        {                                                                                                   \
                uint64_t f;                                                                                 \
                                                                                                            \
                __asm__("imul" suffix " %[b], %[a]\n\tpushfq\n\tpopq %[f]"                                  \
                        : [a] "+r"(a), [f] "=r"(f) : [b] "r"(b) : "cc");                                    \
                dbt_set_reg##bits(v, i->reg[0], a);                                                         \
                v->rflags = (v->rflags & ~DBT_FLAGS_ARITH) | (f & DBT_FLAGS_ARITH);                         \
        }                                                                                                   \
        static void imul##bits##_2(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                imul_put##bits(v, i, dbt_reg##bits(v, i->reg[0]), (uint##bits##_t)dbt_operand_get(v, i, 1, bits / 8)); \
        }                                                                                                   \
        static void imul##bits##_3(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                imul_put##bits(v, i, (uint##bits##_t)dbt_operand_get(v, i, 1, bits / 8), (uint##bits##_t)i->imm); \
        }
IMUL(16, "w")
IMUL(32, "l")
IMUL(64, "q")

bool dbt_setup_imul(struct dbt_decoding *d, unsigned arg)
{
        static const dbt_handler two[3] = { imul16_2, imul32_2, imul64_2 }, three[3] = { imul16_3, imul32_3, imul64_3 };
        unsigned n = d->z->operand_count_visible;

        if (n == 1)
                return dbt_setup_mul(d, DBT_IMUL1);
        d->i->fn = (n == 2 ? two : three)[dbt_size_index(d->i->op_size) - 1];
        return true;
}

/* --- aaa aas daa das aam aad: not in 64-bit mode, so no host instruction helps --------------------------------- */

static void set_result_flags(struct dbt_vcpu *v, uint8_t r)
{
        v->rflags &= ~(uint64_t)(X86_FLAG_PF | X86_FLAG_ZF | X86_FLAG_SF);
        if (!r)
                v->rflags |= X86_FLAG_ZF;
        if (r & 0x80)
                v->rflags |= X86_FLAG_SF;
        if (!__builtin_parity(r))
                v->rflags |= X86_FLAG_PF;
}

static void set_carries(struct dbt_vcpu *v, bool cf, bool af)
{
        v->rflags &= ~(uint64_t)(X86_FLAG_CF | X86_FLAG_AF);
        v->rflags |= (cf ? X86_FLAG_CF : 0) | (af ? X86_FLAG_AF : 0);
}

static void exec_daa_das(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint8_t old = (uint8_t)v->gpr[X86_RAX], al = old;
        bool sub = i->aux == DBT_DAS, cf = v->rflags & X86_FLAG_CF, af = v->rflags & X86_FLAG_AF, carry = false;

        if ((old & 15) > 9 || af) {
                carry = cf || (sub ? old < 6 : old > 0xf9);
                al = (uint8_t)(sub ? al - 6 : al + 6);
                af = true;
        }
        if (old > 0x99 || cf) {
                al = (uint8_t)(sub ? al - 0x60 : al + 0x60);
                carry = true;
        } else if (!sub) {
                carry = false;
        }
        dbt_set_reg8(v, X86_RAX * 8, al);
        set_result_flags(v, al);
        set_carries(v, carry, af);
}

static void exec_aaa_aas(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint16_t ax = (uint16_t)v->gpr[X86_RAX];
        bool adjust = (ax & 15) > 9 || (v->rflags & X86_FLAG_AF);

        if (adjust)
                ax = (uint16_t)(i->aux == DBT_AAA ? ax + 0x106 : ax - 0x106);
        dbt_set_reg16(v, X86_RAX, ax & 0xff0f);
        set_carries(v, adjust, adjust);
}

static void exec_aam(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint8_t al = (uint8_t)v->gpr[X86_RAX], base = (uint8_t)i->imm;

        if (!base)
                dbt_raise(v, X86_DE);
        dbt_set_reg16(v, X86_RAX, (uint16_t)(al / base << 8 | al % base));
        set_result_flags(v, al % base);
}

static void exec_aad(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint16_t ax = (uint16_t)v->gpr[X86_RAX];
        uint8_t al = (uint8_t)((ax >> 8) * (uint8_t)i->imm + ax);

        dbt_set_reg16(v, X86_RAX, al);
        set_result_flags(v, al);
}

bool dbt_setup_bcd(struct dbt_decoding *d, unsigned op)
{
        static const dbt_handler handlers[] = {
                [DBT_AAA] = exec_aaa_aas, [DBT_AAS] = exec_aaa_aas, [DBT_DAA] = exec_daa_das, [DBT_DAS] = exec_daa_das,
                [DBT_AAM] = exec_aam, [DBT_AAD] = exec_aad,
        };

        d->i->aux = op;
        d->i->fn = handlers[op];
        return true;
}
