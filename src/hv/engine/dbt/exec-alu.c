/* SPDX-License-Identifier: GPL-2.0-or-later */

/* add, or, adc, sbb, and, sub, xor, cmp, test; inc, dec, neg, not; with and without lock. */

#include "hv/engine/dbt/exec.h"

/* --- The operations ------------------------------------------------------------------------------------------- */

/* calc_<op><bits>(v, a, b, &flags): a op b. */
#define CALC(name, insn, suffix, bits)                                                                      \
        static inline uint##bits##_t calc_##name##bits(const struct dbt_vcpu *v, uint##bits##_t a,          \
                                                       uint##bits##_t b, uint32_t *flags)                   \
        {                                                                                                   \
                __asm__(insn suffix " %[b], %[a]" DBT_FLAGS_OUT                                             \
                        : [a] "+r"(a), "=&a"(*flags)                                                        \
                        : [b] "r"(b)                                                                        \
                        : "cc");                                                                            \
                return a;                                                                                   \
        }

/* The same with the carry flag as input. */
#define CALC_CARRY(name, insn, suffix, bits)                                                                \
        static inline uint##bits##_t calc_##name##bits(const struct dbt_vcpu *v, uint##bits##_t a,          \
                                                       uint##bits##_t b, uint32_t *flags)                   \
        {                                                                                                   \
                __asm__("btl $0, %[fl]\n\t" insn suffix " %[b], %[a]" DBT_FLAGS_OUT                         \
                        : [a] "+r"(a), "=&a"(*flags)                                                        \
                        : [b] "r"(b), [fl] "r"((uint32_t)v->rflags)                                         \
                        : "cc");                                                                            \
                return a;                                                                                   \
        }

/* calc_<op><bits>(v, a, 0, &flags): op a. */
#define CALC_UNARY(name, insn, suffix, bits)                                                                \
        static inline uint##bits##_t calc_##name##bits(const struct dbt_vcpu *v, uint##bits##_t a,          \
                                                       uint##bits##_t unused, uint32_t *flags)              \
        {                                                                                                   \
                __asm__(insn suffix " %[a]" DBT_FLAGS_OUT : [a] "+r"(a), "=&a"(*flags) : : "cc");           \
                return a;                                                                                   \
        }

#define ALL_SIZES(M, name, insn) M(name, insn, "b", 8) M(name, insn, "w", 16) M(name, insn, "l", 32) M(name, insn, "q", 64)

ALL_SIZES(CALC, add, "add")
ALL_SIZES(CALC, or, "or")
ALL_SIZES(CALC_CARRY, adc, "adc")
ALL_SIZES(CALC_CARRY, sbb, "sbb")
ALL_SIZES(CALC, and, "and")
ALL_SIZES(CALC, sub, "sub")
ALL_SIZES(CALC, xor, "xor")
ALL_SIZES(CALC, cmp, "cmp")
ALL_SIZES(CALC, test, "test")
ALL_SIZES(CALC_UNARY, inc, "inc")
ALL_SIZES(CALC_UNARY, dec, "dec")
ALL_SIZES(CALC_UNARY, neg, "neg")
ALL_SIZES(CALC_UNARY, not, "not")

/* --- Handlers without lock ------------------------------------------------------------------------------------ */

/* set_flags_<op>: which flags the operation changes. */
#define SET_ALL(name) \
        static inline void set_flags_##name(struct dbt_vcpu *v, uint32_t f) { dbt_set_flags(v, f); }
#define SET_BUT_CF(name)                                                                                    \
        static inline void set_flags_##name(struct dbt_vcpu *v, uint32_t f)                                 \
        {                                                                                                   \
                dbt_set_flags_masked(v, f, DBT_FLAGS_ARITH & ~(uint64_t)X86_FLAG_CF);                       \
        }
SET_ALL(add)
SET_ALL(or)
SET_ALL(adc)
SET_ALL(sbb)
SET_ALL(and)
SET_ALL(sub)
SET_ALL(xor)
SET_ALL(cmp)
SET_ALL(test)
SET_ALL(neg)
SET_BUT_CF(inc)
SET_BUT_CF(dec)
static inline void set_flags_not(struct dbt_vcpu *v, uint32_t f) {}

/* Destination in a register; src is an expression. store: does the operation have a result? */
#define TO_REG(form, name, bits, src, store) TO_REG_AS(static void, form, name, bits, src, store)
#define TO_REG_AS(kind, form, name, bits, src, store)                                                       \
        kind name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                       \
        {                                                                                                   \
                uint##bits##_t b = (uint##bits##_t)(src), r;                                                \
                uint32_t f;                                                                                 \
                                                                                                            \
                r = calc_##name##bits(v, dbt_reg##bits(v, i->reg[0]), b, &f);                               \
                if (store)                                                                                  \
                        dbt_set_reg##bits(v, i->reg[0], r);                                                 \
                set_flags_##name(v, f);                                                                     \
        }

/* Destination in a register, source in memory. */
#define TO_REG_FROM_MEM(name, bits, store)                                                                  \
        TO_REG_AS(DBT_SLOW, rm_slow, name, bits, dbt_mem_get##bits(v, i), store)                            \
        static void name##bits##_rm(struct dbt_vcpu *v, const struct dbt_insn *i)                           \
        {                                                                                                   \
                uint##bits##_t r;                                                                           \
                uint32_t f;                                                                                 \
                                                                                                            \
                DBT_FAST_LINEAR(name##bits##_rm_slow);                                                      \
                DBT_FAST_HOST(bits, match_read, name##bits##_rm_slow)                                         \
                r = calc_##name##bits(v, dbt_reg##bits(v, i->reg[0]), *host, &f);                           \
                if (store)                                                                                  \
                        dbt_set_reg##bits(v, i->reg[0], r);                                                 \
                set_flags_##name(v, f);                                                                     \
        }

/* Read-modify-write in memory. */
#define TO_MEM(form, name, bits, src)                                                                       \
        TO_MEM_SLOW(form##_slow, name, bits, src)                                                           \
        static void name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                       \
        {                                                                                                   \
                uint32_t f;                                                                                 \
                                                                                                            \
                DBT_FAST_LINEAR(name##bits##_##form##_slow);                                                \
                DBT_FAST_HOST(bits, match_write, name##bits##_##form##_slow)                                  \
                *host = calc_##name##bits(v, *host, (uint##bits##_t)(src), &f);                             \
                set_flags_##name(v, f);                                                                     \
        }
#define TO_MEM_SLOW(form, name, bits, src)                                                                  \
        DBT_SLOW name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                       \
        {                                                                                                   \
                uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                                   \
                volatile dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                \
                uint##bits##_t b = (uint##bits##_t)(src);                                                   \
                uint32_t f;                                                                                 \
                                                                                                            \
                if (likely(p))                                                                              \
                        *p = calc_##name##bits(v, *p, b, &f);                                               \
                else                                                                                        \
                        dbt_store##bits(v, lin, calc_##name##bits(v, dbt_load##bits(v, lin, v->mmu), b, &f), v->mmu); \
                set_flags_##name(v, f);                                                                     \
        }

/* Destination in memory that is only read: cmp, test. */
#define FROM_MEM(form, name, bits, src)                                                                     \
        FROM_MEM_SLOW(form##_slow, name, bits, src)                                                         \
        static void name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                       \
        {                                                                                                   \
                uint32_t f;                                                                                 \
                                                                                                            \
                DBT_FAST_LINEAR(name##bits##_##form##_slow);                                                \
                DBT_FAST_HOST(bits, match_read, name##bits##_##form##_slow)                                   \
                calc_##name##bits(v, *host, (uint##bits##_t)(src), &f);                                     \
                set_flags_##name(v, f);                                                                     \
        }
#define FROM_MEM_SLOW(form, name, bits, src)                                                                \
        DBT_SLOW name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                       \
        {                                                                                                   \
                uint##bits##_t a = dbt_mem_get##bits(v, i);                                                 \
                uint32_t f;                                                                                 \
                                                                                                            \
                calc_##name##bits(v, a, (uint##bits##_t)(src), &f);                                         \
                set_flags_##name(v, f);                                                                     \
        }

#define HANDLERS(name, bits)                                                                                \
        TO_REG(rr, name, bits, dbt_reg##bits(v, i->reg[1]), true)                                           \
        TO_REG(ri, name, bits, i->imm, true)                                                                \
        TO_REG_FROM_MEM(name, bits, true)                                                                   \
        TO_MEM(mr, name, bits, dbt_reg##bits(v, i->reg[1]))                                                 \
        TO_MEM(mi, name, bits, i->imm)
#define HANDLERS_READ(name, bits)                                                                           \
        TO_REG(rr, name, bits, dbt_reg##bits(v, i->reg[1]), false)                                          \
        TO_REG(ri, name, bits, i->imm, false)                                                               \
        TO_REG_FROM_MEM(name, bits, false)                                                                  \
        FROM_MEM(mr, name, bits, dbt_reg##bits(v, i->reg[1]))                                               \
        FROM_MEM(mi, name, bits, i->imm)
#define HANDLERS_UNARY(name, bits)                                                                          \
        TO_REG(r, name, bits, 0, true)                                                                      \
        TO_MEM(m, name, bits, 0)
#define SIZES(M, name) M(name, 8) M(name, 16) M(name, 32) M(name, 64)

SIZES(HANDLERS, add)
SIZES(HANDLERS, or)
SIZES(HANDLERS, adc)
SIZES(HANDLERS, sbb)
SIZES(HANDLERS, and)
SIZES(HANDLERS, sub)
SIZES(HANDLERS, xor)
SIZES(HANDLERS_READ, cmp)
SIZES(HANDLERS_READ, test)
SIZES(HANDLERS_UNARY, inc)
SIZES(HANDLERS_UNARY, dec)
SIZES(HANDLERS_UNARY, neg)
SIZES(HANDLERS_UNARY, not)

/* xor r, r and sub r, r: the common way to make a zero. */
static void zero32(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->gpr[i->reg[0]] = 0;
        v->rflags = (v->rflags & ~DBT_FLAGS_ARITH) | X86_FLAG_ZF | X86_FLAG_PF;
}

/* test r, r: the common way to look at a value. */
#define TEST_SELF(bits, suffix)                                                                             \
        static void test_self##bits(struct dbt_vcpu *v, const struct dbt_insn *i)                           \
        {                                                                                                   \
                uint##bits##_t a = dbt_reg##bits(v, i->reg[0]);                                             \
                uint32_t f;                                                                                 \
                                                                                                            \
                __asm__("test" suffix " %[a], %[a]" DBT_FLAGS_OUT : "=&a"(f) : [a] "r"(a) : "cc");          \
                dbt_set_flags(v, f);                                                                        \
        }
TEST_SELF(32, "l")
TEST_SELF(64, "q")

/* --- Handlers with lock --------------------------------------------------------------------------------------- */

/* The slow half of a locked operation: a page crossing, MMIO, or a page that must not be written behind the engine's back. */
#define LOCKED_SLOW(name, bits)                                                                             \
        static __attribute__((noinline)) void locked_slow_##name##bits(struct dbt_vcpu *v, uint64_t lin, uint##bits##_t b) \
        {                                                                                                   \
                uint##bits##_t a;                                                                           \
                uint32_t f;                                                                                 \
                                                                                                            \
                dbt_exclusive_begin(v);                                                                     \
                dbt_probe(v, lin, bits / 8, DBT_WRITE, v->mmu);                                             \
                a = dbt_load##bits(v, lin, v->mmu);                                                         \
                dbt_store##bits(v, lin, calc_##name##bits(v, a, b, &f), v->mmu);                            \
                set_flags_##name(v, f);                                                                     \
                dbt_exclusive_end(v);                                                                       \
        }

/* pre: what comes before the instruction; src: the source's expression. */
#define LOCKED(form, name, insn, suffix, bits, pre, src)                                                    \
        static void lock_##name##bits##_##form(struct dbt_vcpu *v, const struct dbt_insn *i)                \
        {                                                                                                   \
                uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                                   \
                dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                          \
                uint##bits##_t b = (uint##bits##_t)(src);                                                   \
                uint32_t f;                                                                                 \
                                                                                                            \
                if (unlikely(!p)) {                                                                         \
                        locked_slow_##name##bits(v, lin, b);                                                \
                        return;                                                                             \
                }                                                                                           \
                __asm__ volatile(pre "lock " insn suffix " %[b], %[p]" DBT_FLAGS_OUT                        \
                                 : [p] "+m"(*p), "=&a"(f)                                                   \
                                 : [b] "r"(b), [fl] "r"((uint32_t)v->rflags)                                \
                                 : "cc", "memory");                                                         \
                set_flags_##name(v, f);                                                                     \
        }

#define LOCKED_UNARY(name, insn, suffix, bits)                                                              \
        LOCKED_SLOW(name, bits)                                                                             \
        static void lock_##name##bits##_m(struct dbt_vcpu *v, const struct dbt_insn *i)                     \
        {                                                                                                   \
                uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                                   \
                dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                          \
                uint32_t f;                                                                                 \
                                                                                                            \
                if (unlikely(!p)) {                                                                         \
                        locked_slow_##name##bits(v, lin, 0);                                                \
                        return;                                                                             \
                }                                                                                           \
                __asm__ volatile("lock " insn suffix " %[p]" DBT_FLAGS_OUT                                  \
                                 : [p] "+m"(*p), "=&a"(f) : : "cc", "memory");                              \
                set_flags_##name(v, f);                                                                     \
        }

#define LOCKED_BOTH(name, insn, suffix, bits, pre)                                                          \
        LOCKED_SLOW(name, bits)                                                                             \
        LOCKED(mr, name, insn, suffix, bits, pre, dbt_reg##bits(v, i->reg[1]))                              \
        LOCKED(mi, name, insn, suffix, bits, pre, i->imm)
#define LOCKED_PLAIN(name, insn, suffix, bits) LOCKED_BOTH(name, insn, suffix, bits, "")
#define LOCKED_CARRY(name, insn, suffix, bits) LOCKED_BOTH(name, insn, suffix, bits, "btl $0, %[fl]\n\t")

ALL_SIZES(LOCKED_PLAIN, add, "add")
ALL_SIZES(LOCKED_PLAIN, or, "or")
ALL_SIZES(LOCKED_CARRY, adc, "adc")
ALL_SIZES(LOCKED_CARRY, sbb, "sbb")
ALL_SIZES(LOCKED_PLAIN, and, "and")
ALL_SIZES(LOCKED_PLAIN, sub, "sub")
ALL_SIZES(LOCKED_PLAIN, xor, "xor")
ALL_SIZES(LOCKED_UNARY, inc, "inc")
ALL_SIZES(LOCKED_UNARY, dec, "dec")
ALL_SIZES(LOCKED_UNARY, neg, "neg")
ALL_SIZES(LOCKED_UNARY, not, "not")

/* --- Choice --------------------------------------------------------------------------------------------------- */

#define FORMS(name, bits) \
        { name##bits##_rr, name##bits##_ri, name##bits##_rm, name##bits##_mr, name##bits##_mi }
#define ROW(name) { FORMS(name, 8), FORMS(name, 16), FORMS(name, 32), FORMS(name, 64) }
static const dbt_handler alu_handlers[DBT_NALU][4][DBT_NFORMS] = {
        [DBT_ADD] = ROW(add), [DBT_OR] = ROW(or), [DBT_ADC] = ROW(adc), [DBT_SBB] = ROW(sbb), [DBT_AND] = ROW(and),
        [DBT_SUB] = ROW(sub), [DBT_XOR] = ROW(xor), [DBT_CMP] = ROW(cmp), [DBT_TEST] = ROW(test),
};

#define LOCK_FORMS(name, bits) { lock_##name##bits##_mr, lock_##name##bits##_mi }
#define LOCK_ROW(name) { LOCK_FORMS(name, 8), LOCK_FORMS(name, 16), LOCK_FORMS(name, 32), LOCK_FORMS(name, 64) }
static const dbt_handler lock_handlers[DBT_CMP][4][2] = {
        [DBT_ADD] = LOCK_ROW(add), [DBT_OR] = LOCK_ROW(or), [DBT_ADC] = LOCK_ROW(adc), [DBT_SBB] = LOCK_ROW(sbb),
        [DBT_AND] = LOCK_ROW(and), [DBT_SUB] = LOCK_ROW(sub), [DBT_XOR] = LOCK_ROW(xor),
};

#define UNARY_FORMS(name, bits) { name##bits##_r, name##bits##_m, lock_##name##bits##_m }
#define UNARY_ROW(name) { UNARY_FORMS(name, 8), UNARY_FORMS(name, 16), UNARY_FORMS(name, 32), UNARY_FORMS(name, 64) }
static const dbt_handler unary_handlers[DBT_NUNARY][4][3] = {
        [DBT_INC] = UNARY_ROW(inc), [DBT_DEC] = UNARY_ROW(dec), [DBT_NEG] = UNARY_ROW(neg), [DBT_NOT] = UNARY_ROW(not),
};

/* The handler for two equal registers, or NULL. */
static dbt_handler same_register(const struct dbt_insn *i, unsigned op)
{
        if (i->reg[0] != i->reg[1])
                return NULL;
        if ((op == DBT_XOR || op == DBT_SUB) && i->op_size >= 4)
                return zero32;
        if (op == DBT_TEST && i->op_size >= 4)
                return i->op_size == 4 ? test_self32 : test_self64;
        return NULL;
}

bool dbt_setup_alu(struct dbt_decoding *d, unsigned op)
{
        struct dbt_insn *i = d->i;
        int form = dbt_form_of(d);
        unsigned size = dbt_size_index(i->op_size);

        if (form < 0)
                return false;
        if (i->flags & DBT_INSN_LOCK) {
                if (op >= DBT_CMP || (form != DBT_MR && form != DBT_MI))
                        return false;
                i->fn = lock_handlers[op][size][form == DBT_MI];
                return true;
        }
        i->fn = form == DBT_RR ? same_register(i, op) : NULL;
        if (!i->fn)
                i->fn = alu_handlers[op][size][form];
        return true;
}

bool dbt_setup_unary(struct dbt_decoding *d, unsigned op)
{
        struct dbt_insn *i = d->i;
        bool mem = dbt_is_mem(d, 0);

        if ((i->flags & DBT_INSN_LOCK) && !mem)
                return false;
        i->fn = unary_handlers[op][dbt_size_index(i->op_size)][i->flags & DBT_INSN_LOCK ? 2 : mem];
        return true;
}

/* --- Together with a conditional jump ---------------------------------------------------------------------------- */

/* What often comes right before jcc, fused with it into one handler: it saves a dispatch, and the condition need not come from memory. aux is the
 * distance from this instruction to the target, length that of both. */
#define FUSED_OPS(M)                                                                                        \
        M(cmp8_rr) M(cmp8_ri) M(cmp8_rm) M(cmp8_mr) M(cmp8_mi) M(cmp16_ri) M(cmp16_rm) M(cmp16_mi)          \
        M(cmp32_rr) M(cmp32_ri) M(cmp32_rm) M(cmp32_mr) M(cmp32_mi)                                         \
        M(cmp64_rr) M(cmp64_ri) M(cmp64_rm) M(cmp64_mr) M(cmp64_mi)                                         \
        M(test8_rr) M(test8_ri) M(test8_mi) M(test32_rr) M(test32_ri) M(test32_mi) M(test64_rr)             \
        M(test_self32) M(test_self64) M(and32_ri) M(sub32_ri) M(sub64_ri) M(sub32_rr) M(sub64_rr)           \
        M(add32_ri) M(add64_ri) M(dec32_r) M(dec64_r)

#define FUSED(op, cc)                                                                                       \
        static __attribute__((flatten)) void op##_then_j##cc(struct dbt_vcpu *v, const struct dbt_insn *i)  \
        {                                                                                                   \
                op(v, i);                                                                                   \
                v->rip += dbt_condition(v, cc) ? (uint64_t)(int32_t)i->aux : i->length;                     \
        }
#define FUSED_CONDITIONS(op)                                                                                \
        FUSED(op, 0) FUSED(op, 1) FUSED(op, 2) FUSED(op, 3) FUSED(op, 4) FUSED(op, 5) FUSED(op, 6) FUSED(op, 7) \
        FUSED(op, 8) FUSED(op, 9) FUSED(op, 10) FUSED(op, 11) FUSED(op, 12) FUSED(op, 13) FUSED(op, 14) FUSED(op, 15)
FUSED_OPS(FUSED_CONDITIONS)

#define FUSED_ROW(op)                                                                                       \
        { op, { op##_then_j0, op##_then_j1, op##_then_j2, op##_then_j3, op##_then_j4, op##_then_j5,         \
                op##_then_j6, op##_then_j7, op##_then_j8, op##_then_j9, op##_then_j10, op##_then_j11,       \
                op##_then_j12, op##_then_j13, op##_then_j14, op##_then_j15 } },
static const struct {
        dbt_handler op, fused[16];
} fused_handlers[] = { FUSED_OPS(FUSED_ROW) };

bool dbt_fuse(struct dbt_insn *op, const struct dbt_insn *jump)
{
        if (!dbt_is_jcc64(jump) || op->length + jump->length > DBT_LENGTH_MAX)
                return false;
        for (unsigned k = 0; k < ARRAY_SIZE(fused_handlers); k++) {
                if (fused_handlers[k].op != op->fn)
                        continue;
                op->fn = fused_handlers[k].fused[jump->cond];
                op->aux = (uint32_t)(jump->imm + op->length);
                op->length = (op->length + jump->length) & DBT_LENGTH_MAX;
                op->flags |= DBT_INSN_TRANSFER | DBT_INSN_DIRECT;
                return true;
        }
        return false;
}
