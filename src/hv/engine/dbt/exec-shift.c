/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Shifts and rotates, double shifts, bt family, bit scans and counts. */

#include "hv/engine/dbt/exec.h"

/* --- rol ror rcl rcr shl shr sar ------------------------------------------------------------------------------ */

/* shift_<op><bits>(v, a, count): count is masked and not zero. Flags that the operation leaves alone, or leaves undefined by leaving
 * them alone, come out as they went in because the host's are loaded first. */
#define SHIFT_CALC(name, suffix, bits)                                                                      \
        static inline uint##bits##_t shift_##name##bits(uint##bits##_t a, uint8_t count, uint32_t *flags)   \
        {                                                                                                   \
                __asm__(DBT_FLAGS_IN #name suffix " %%cl, %[a]" DBT_FLAGS_OUT                               \
                        : [a] "+r"(a), "+a"(*flags) : "c"(count) : "cc");                                   \
                return a;                                                                                   \
        }

#define SHIFT_REG(form, name, bits, count_expr)                                                             \
        static void name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                       \
        {                                                                                                   \
                uint8_t count = (count_expr) & (bits == 64 ? 63 : 31);                                      \
                uint##bits##_t a = dbt_reg##bits(v, i->reg[0]);                                             \
                uint32_t f = dbt_flags_ax(v);                                                               \
                                                                                                            \
                dbt_set_reg##bits(v, i->reg[0], shift_##name##bits(a, count, &f));                          \
                dbt_set_flags(v, f);                                                                        \
        }

#define SHIFT_MEM(form, name, bits, count_expr)                                                             \
        static void name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                       \
        {                                                                                                   \
                uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                                   \
                volatile dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                 \
                uint8_t count = (count_expr) & (bits == 64 ? 63 : 31);                                      \
                uint32_t f = dbt_flags_ax(v);                                                               \
                                                                                                            \
                if (likely(p))                                                                              \
                        *p = shift_##name##bits(*p, count, &f);                                             \
                else                                                                                        \
                        dbt_store##bits(v, lin, shift_##name##bits(dbt_load##bits(v, lin, v->mmu), count, &f), v->mmu); \
                dbt_set_flags(v, f);                                                                        \
        }

#define SHIFT(name, suffix, bits)                                                                           \
        SHIFT_CALC(name, suffix, bits)                                                                      \
        SHIFT_REG(ri, name, bits, i->imm)                                                                   \
        SHIFT_REG(rc, name, bits, v->gpr[X86_RCX])                                                          \
        SHIFT_MEM(mi, name, bits, i->imm)                                                                   \
        SHIFT_MEM(mc, name, bits, v->gpr[X86_RCX])
#define SHIFT_SIZES(name) SHIFT(name, "b", 8) SHIFT(name, "w", 16) SHIFT(name, "l", 32) SHIFT(name, "q", 64)

SHIFT_SIZES(rol)
SHIFT_SIZES(ror)
SHIFT_SIZES(rcl)
SHIFT_SIZES(rcr)
SHIFT_SIZES(shl)
SHIFT_SIZES(shr)
SHIFT_SIZES(sar)

/* shl, shr, sar r, imm with a count that is not zero: all flags are outputs. */
#define SHIFT_FAST(name, suffix, bits)                                                                      \
        static void name##bits##_fast(struct dbt_vcpu *v, const struct dbt_insn *i)                         \
        {                                                                                                   \
                uint##bits##_t a = dbt_reg##bits(v, i->reg[0]);                                             \
                uint32_t f;                                                                                 \
                                                                                                            \
                __asm__(#name suffix " %%cl, %[a]" DBT_FLAGS_OUT                                            \
                        : [a] "+r"(a), "=&a"(f) : "c"((uint8_t)i->imm) : "cc");                             \
                dbt_set_reg##bits(v, i->reg[0], a);                                                         \
                dbt_set_flags(v, f);                                                                        \
        }
SHIFT_FAST(shl, "l", 32)
SHIFT_FAST(shl, "q", 64)
SHIFT_FAST(shr, "l", 32)
SHIFT_FAST(shr, "q", 64)
SHIFT_FAST(sar, "l", 32)
SHIFT_FAST(sar, "q", 64)

#define SHIFT_FORMS(name, bits) { name##bits##_ri, name##bits##_rc, name##bits##_mi, name##bits##_mc }
#define SHIFT_ROW(name) { SHIFT_FORMS(name, 8), SHIFT_FORMS(name, 16), SHIFT_FORMS(name, 32), SHIFT_FORMS(name, 64) }
static const dbt_handler shift_handlers[DBT_NSHIFT][4][4] = {
        [DBT_ROL] = SHIFT_ROW(rol), [DBT_ROR] = SHIFT_ROW(ror), [DBT_RCL] = SHIFT_ROW(rcl), [DBT_RCR] = SHIFT_ROW(rcr),
        [DBT_SHL] = SHIFT_ROW(shl), [DBT_SHR] = SHIFT_ROW(shr), [DBT_SAR] = SHIFT_ROW(sar),
};
static const dbt_handler shift_fast[DBT_NSHIFT][2] = {
        [DBT_SHL] = { shl32_fast, shl64_fast }, [DBT_SHR] = { shr32_fast, shr64_fast }, [DBT_SAR] = { sar32_fast, sar64_fast },
};

bool dbt_setup_shift(struct dbt_decoding *d, unsigned op)
{
        struct dbt_insn *i = d->i;
        unsigned size = dbt_size_index(i->op_size);
        bool by_cl = d->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
        uint64_t count = i->imm & (i->op_size == 8 ? 63 : 31);

        if (!by_cl && !dbt_is_mem(d, 0) && i->op_size >= 4 && count && shift_fast[op][size - 2]) {
                i->imm = count;
                i->fn = shift_fast[op][size - 2];
                return true;
        }
        i->fn = shift_handlers[op][size][dbt_is_mem(d, 0) * 2 + by_cl];
        return true;
}

/* --- shld shrd ------------------------------------------------------------------------------------------------ */

#define SHIFTD(name, suffix, bits)                                                                          \
        static inline uint##bits##_t calc_##name##bits(uint##bits##_t a, uint##bits##_t b, uint8_t count, uint32_t *flags) \
        {                                                                                                   \
                __asm__(DBT_FLAGS_IN #name suffix " %%cl, %[b], %[a]" DBT_FLAGS_OUT                         \
                        : [a] "+r"(a), "+a"(*flags) : [b] "r"(b), "c"(count) : "cc");                       \
                return a;                                                                                   \
        }                                                                                                   \
        static void name##bits(struct dbt_vcpu *v, const struct dbt_insn *i)                                \
        {                                                                                                   \
                uint8_t count = (uint8_t)(i->aux ? v->gpr[X86_RCX] : i->imm);                               \
                uint32_t f = dbt_flags_ax(v);                                                               \
                                                                                                            \
                if (i->flags & DBT_INSN_MEM) {                                                              \
                        uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                           \
                        uint##bits##_t a;                                                                   \
                                                                                                            \
                        dbt_probe(v, lin, bits / 8, DBT_WRITE, v->mmu);                                     \
                        a = dbt_load##bits(v, lin, v->mmu);                                                 \
                        a = calc_##name##bits(a, dbt_reg##bits(v, i->reg[1]), count, &f);                   \
                        dbt_store##bits(v, lin, a, v->mmu);                                                 \
                } else {                                                                                    \
                        uint##bits##_t a = dbt_reg##bits(v, i->reg[0]);                                     \
                                                                                                            \
                        a = calc_##name##bits(a, dbt_reg##bits(v, i->reg[1]), count, &f);                   \
                        dbt_set_reg##bits(v, i->reg[0], a);                                                 \
                }                                                                                           \
                dbt_set_flags(v, f);                                                                        \
        }
SHIFTD(shld, "w", 16)
SHIFTD(shld, "l", 32)
SHIFTD(shld, "q", 64)
SHIFTD(shrd, "w", 16)
SHIFTD(shrd, "l", 32)
SHIFTD(shrd, "q", 64)

bool dbt_setup_shiftd(struct dbt_decoding *d, unsigned right)
{
        static const dbt_handler handlers[2][3] = { { shld16, shld32, shld64 }, { shrd16, shrd32, shrd64 } };

        d->i->aux = d->ops[2].type == ZYDIS_OPERAND_TYPE_REGISTER;
        d->i->fn = handlers[right][dbt_size_index(d->i->op_size) - 1];
        return true;
}

/* --- bt bts btr btc ------------------------------------------------------------------------------------------- */

/* calc: value and bit number in registers; lock: on memory, the bit number within the operand. */
#define BIT_CALC(name, suffix, bits)                                                                        \
        static inline uint##bits##_t calc_##name##bits(uint##bits##_t a, uint##bits##_t bit, uint32_t *flags) \
        {                                                                                                   \
                __asm__(DBT_FLAGS_IN #name suffix " %[bit], %[a]" DBT_FLAGS_OUT                             \
                        : [a] "+r"(a), "+a"(*flags) : [bit] "r"(bit) : "cc");                               \
                return a;                                                                                   \
        }
#define BIT_LOCK(name, suffix, bits)                                                                        \
        static inline void lock_##name##bits(dbt_guest##bits *p, uint##bits##_t bit, uint32_t *flags)        \
        {                                                                                                   \
                __asm__ volatile(DBT_FLAGS_IN "lock " #name suffix " %[bit], %[p]" DBT_FLAGS_OUT            \
                                 : [p] "+m"(*p), "+a"(*flags) : [bit] "r"(bit) : "cc", "memory");           \
        }

/* Where the bit is: a bit number in a register reaches beyond the operand (Intel SDM vol. 2, BT). */
static uint64_t bit_linear(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned bits, enum dbt_access access)
{
        struct dbt_insn at = *i;
        int64_t n;

        if (!i->aux)
                return dbt_mem_linear(v, i, bits / 8, access);
        n = bits == 64 ? (int64_t)v->gpr[i->reg[1]] : bits == 32 ? (int32_t)v->gpr[i->reg[1]] : (int16_t)v->gpr[i->reg[1]];
        n = (n >> (bits == 64 ? 6 : bits == 32 ? 5 : 4)) * (bits / 8);
        if (i->mem.fast)
                return dbt_mem_linear(v, i, bits / 8, access) + (uint64_t)n;
        n += at.mem.disp;
        at.mem.disp = (int32_t)n;
        return dbt_mem_linear(v, &at, bits / 8, access);
}

#define BIT_OP(name, bits, changes)                                                                         \
        static void name##bits##_reg(struct dbt_vcpu *v, const struct dbt_insn *i)                          \
        {                                                                                                   \
                uint##bits##_t bit = i->aux ? dbt_reg##bits(v, i->reg[1]) : (uint##bits##_t)i->imm, a;      \
                uint32_t f = dbt_flags_ax(v);                                                               \
                                                                                                            \
                a = calc_##name##bits(dbt_reg##bits(v, i->reg[0]), bit & (bits - 1), &f);                   \
                if (changes)                                                                                \
                        dbt_set_reg##bits(v, i->reg[0], a);                                                 \
                dbt_set_flags(v, f);                                                                        \
        }                                                                                                   \
        static void name##bits##_mem(struct dbt_vcpu *v, const struct dbt_insn *i)                          \
        {                                                                                                   \
                uint##bits##_t bit = (i->aux ? dbt_reg##bits(v, i->reg[1]) : (uint##bits##_t)i->imm) & (bits - 1); \
                uint64_t lin = bit_linear(v, i, bits, changes ? DBT_WRITE : DBT_READ);                      \
                uint##bits##_t a;                                                                           \
                uint32_t f = dbt_flags_ax(v);                                                               \
                                                                                                            \
                if (changes)                                                                                \
                        dbt_probe(v, lin, bits / 8, DBT_WRITE, v->mmu);                                     \
                a = calc_##name##bits(dbt_load##bits(v, lin, v->mmu), bit, &f);                             \
                if (changes)                                                                                \
                        dbt_store##bits(v, lin, a, v->mmu);                                                 \
                dbt_set_flags(v, f);                                                                        \
        }
#define BIT_LOCKED(name, bits)                                                                              \
        static void name##bits##_lock(struct dbt_vcpu *v, const struct dbt_insn *i)                         \
        {                                                                                                   \
                uint##bits##_t bit = (i->aux ? dbt_reg##bits(v, i->reg[1]) : (uint##bits##_t)i->imm) & (bits - 1); \
                uint64_t lin = bit_linear(v, i, bits, DBT_WRITE);                                           \
                dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                          \
                uint32_t f = dbt_flags_ax(v);                                                               \
                                                                                                            \
                if (unlikely(!p)) {                                                                         \
                        dbt_exclusive_begin(v);                                                             \
                        name##bits##_mem(v, i);                                                             \
                        dbt_exclusive_end(v);                                                               \
                        return;                                                                             \
                }                                                                                           \
                lock_##name##bits(p, bit, &f);                                                              \
                dbt_set_flags(v, f);                                                                        \
        }

#define BITS(M, name, ...) M(name, 16, __VA_ARGS__) M(name, 32, __VA_ARGS__) M(name, 64, __VA_ARGS__)
#define BIT_CALCS(name) BIT_CALC(name, "w", 16) BIT_CALC(name, "l", 32) BIT_CALC(name, "q", 64)
#define BIT_LOCKS(name) \
        BIT_LOCK(name, "w", 16) BIT_LOCK(name, "l", 32) BIT_LOCK(name, "q", 64) \
        BIT_LOCKED(name, 16) BIT_LOCKED(name, 32) BIT_LOCKED(name, 64)
BIT_CALCS(bt)
BITS(BIT_OP, bt, false)
BIT_CALCS(bts)
BITS(BIT_OP, bts, true)
BIT_LOCKS(bts)
BIT_CALCS(btr)
BITS(BIT_OP, btr, true)
BIT_LOCKS(btr)
BIT_CALCS(btc)
BITS(BIT_OP, btc, true)
BIT_LOCKS(btc)

#define BIT_ROW(name) \
        { { name##16_reg, name##16_mem, name##16_lock }, { name##32_reg, name##32_mem, name##32_lock }, \
          { name##64_reg, name##64_mem, name##64_lock } }
static const dbt_handler bit_handlers[DBT_NBT][3][3] = {
        [DBT_BT] = { { bt16_reg, bt16_mem }, { bt32_reg, bt32_mem }, { bt64_reg, bt64_mem } },
        [DBT_BTS] = BIT_ROW(bts), [DBT_BTR] = BIT_ROW(btr), [DBT_BTC] = BIT_ROW(btc),
};

bool dbt_setup_bittest(struct dbt_decoding *d, unsigned op)
{
        struct dbt_insn *i = d->i;
        bool mem = dbt_is_mem(d, 0);

        i->aux = d->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
        i->fn = bit_handlers[op][dbt_size_index(i->op_size) - 1][mem ? 1 + !!(i->flags & DBT_INSN_LOCK) : 0];
        return i->fn != NULL;
}

/* --- bsf bsr tzcnt lzcnt popcnt ------------------------------------------------------------------------------- */

#define SCAN(name, suffix, bits)                                                                            \
        static void name##bits(struct dbt_vcpu *v, const struct dbt_insn *i)                                \
        {                                                                                                   \
                uint##bits##_t a = (uint##bits##_t)dbt_operand_get(v, i, 1, bits / 8);                      \
                uint64_t r = v->gpr[i->reg[0]];                                                             \
                uint32_t f = dbt_flags_ax(v);                                                               \
                                                                                                            \
                __asm__(DBT_FLAGS_IN #name suffix " %[a], %" suffix_modifier_##bits "[r]" DBT_FLAGS_OUT     \
                        : [r] "+r"(r), "+a"(f) : [a] "r"(a) : "cc");                                        \
                v->gpr[i->reg[0]] = r;                                                                      \
                dbt_set_flags(v, f);                                                                        \
        }
#define suffix_modifier_16 "w"
#define suffix_modifier_32 "k"
#define suffix_modifier_64 "q"
#define SCANS(name) SCAN(name, "w", 16) SCAN(name, "l", 32) SCAN(name, "q", 64)
SCANS(bsf)
SCANS(bsr)
SCANS(tzcnt)
SCANS(lzcnt)
SCANS(popcnt)

/* The destination keeps its whole old value, upper half included, where the host's does (bsf and bsr of zero). */
bool dbt_setup_bitscan(struct dbt_decoding *d, unsigned op)
{
        static const dbt_handler handlers[DBT_NSCAN][3] = {
                [DBT_BSF] = { bsf16, bsf32, bsf64 }, [DBT_BSR] = { bsr16, bsr32, bsr64 },
                [DBT_TZCNT] = { tzcnt16, tzcnt32, tzcnt64 }, [DBT_LZCNT] = { lzcnt16, lzcnt32, lzcnt64 },
                [DBT_POPCNT] = { popcnt16, popcnt32, popcnt64 },
        };

        d->i->fn = handlers[op][dbt_size_index(d->i->op_size) - 1];
        return true;
}
