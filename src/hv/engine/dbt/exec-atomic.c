/* SPDX-License-Identifier: GPL-2.0-or-later */

/* xadd, cmpxchg, cmpxchg8b, cmpxchg16b. In memory they run as locked host instructions if they are locked, and only then: across two lines of the cache such a lock is one of the whole
 * bus, which some hosts trap (Intel SDM vol. 3, 17.3.1.6). */

#include "hv/engine/dbt/exec.h"

static inline bool is_locked(const struct dbt_insn *i)
{
        return i->flags & DBT_INSN_LOCK;
}

/* --- xadd ----------------------------------------------------------------------------------------------------- */

/* On the host; b gets the old value. Returns the flags. */
#define XADD_HOST(name, bits, prefix, suffix)                                                               \
        static inline uint32_t name##bits(dbt_guest##bits *p, uint##bits##_t *b)                            \
        {                                                                                                   \
                uint32_t f;                                                                                 \
                                                                                                            \
                __asm__ volatile(prefix "xadd" suffix " %[b], %[p]" DBT_FLAGS_OUT                           \
                                 : [p] "+m"(*p), [b] "+r"(*b), "=&a"(f) : : "cc", "memory");                \
                return f;                                                                                   \
        }
#define XADD(bits, suffix)                                                                                  \
        XADD_HOST(xadd_plain, bits, "", suffix)                                                             \
        XADD_HOST(xadd_locked, bits, "lock ", suffix)                                                       \
        static void xadd##bits##_r(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                uint##bits##_t a = dbt_reg##bits(v, i->reg[0]), b = dbt_reg##bits(v, i->reg[1]);            \
                uint32_t f;                                                                                 \
                                                                                                            \
                __asm__("xadd" suffix " %[b], %[a]" DBT_FLAGS_OUT : [a] "+r"(a), [b] "+r"(b), "=&a"(f) : : "cc"); \
                dbt_set_reg##bits(v, i->reg[1], b);                                                         \
                dbt_set_reg##bits(v, i->reg[0], a);                                                         \
                dbt_set_flags(v, f);                                                                        \
        }                                                                                                   \
        static __attribute__((noinline)) uint32_t xadd##bits##_slow(struct dbt_vcpu *v, uint64_t lin, uint##bits##_t *b) \
        {                                                                                                   \
                uint##bits##_t a, r = *b;                                                                   \
                uint32_t f;                                                                                 \
                                                                                                            \
                dbt_exclusive_begin(v);                                                                     \
                dbt_probe(v, lin, bits / 8, DBT_WRITE, v->mmu);                                             \
                a = dbt_load##bits(v, lin, v->mmu);                                                         \
                *b = a;                                                                                     \
                __asm__("add" suffix " %[a], %[r]" DBT_FLAGS_OUT : [r] "+r"(r), "=&a"(f) : [a] "r"(a) : "cc"); \
                dbt_store##bits(v, lin, r, v->mmu);                                                         \
                dbt_exclusive_end(v);                                                                       \
                return f;                                                                                   \
        }                                                                                                   \
        static void xadd##bits##_m(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                                   \
                dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                         \
                uint##bits##_t b = dbt_reg##bits(v, i->reg[1]);                                             \
                uint32_t f;                                                                                 \
                                                                                                            \
                if (likely(p))                                                                              \
                        f = is_locked(i) ? xadd_locked##bits(p, &b) : xadd_plain##bits(p, &b);              \
                else                                                                                        \
                        f = xadd##bits##_slow(v, lin, &b);                                                  \
                dbt_set_reg##bits(v, i->reg[1], b);                                                         \
                dbt_set_flags(v, f);                                                                        \
        }
XADD(8, "b")
XADD(16, "w")
XADD(32, "l")
XADD(64, "q")

bool dbt_setup_xadd(struct dbt_decoding *d, unsigned arg)
{
        static const dbt_handler handlers[4][2] = {
                { xadd8_r, xadd8_m }, { xadd16_r, xadd16_m }, { xadd32_r, xadd32_m }, { xadd64_r, xadd64_m },
        };

        d->i->fn = handlers[dbt_size_index(d->i->op_size)][dbt_is_mem(d, 0)];
        return true;
}

/* --- cmpxchg -------------------------------------------------------------------------------------------------- */

/* The comparison alone: flags of accumulator - value. */
#define COMPARE(bits, suffix)                                                                               \
        static inline uint32_t compare##bits(uint##bits##_t acc, uint##bits##_t value)                      \
        {                                                                                                   \
                uint32_t f;                                                                                 \
                                                                                                            \
                __asm__("cmp" suffix " %[b], %[a]" DBT_FLAGS_OUT : "=&a"(f) : [a] "r"(acc), [b] "r"(value) : "cc"); \
                return f;                                                                                   \
        }
COMPARE(8, "b")
COMPARE(16, "w")
COMPARE(32, "l")
COMPARE(64, "q")

/* After a comparison that found old in the destination: the accumulator gets it if it differs. A 32-bit accumulator that compares equal
 * keeps its upper half. */
#define CMPXCHG(bits)                                                                                       \
        static inline void cmpxchg_plain##bits(dbt_guest##bits *p, uint##bits##_t *old, uint##bits##_t value) \
        {                                                                                                   \
                __asm__ volatile("cmpxchg %[value], %[p]" : [p] "+m"(*p), "+a"(*old) : [value] "r"(value) : "cc", "memory"); \
        }                                                                                                   \
        static inline void take_old##bits(struct dbt_vcpu *v, uint##bits##_t acc, uint##bits##_t old)       \
        {                                                                                                   \
                if (acc != old)                                                                             \
                        dbt_set_reg##bits(v, X86_RAX * (bits == 8 ? 8 : 1), old);                           \
                dbt_set_flags(v, compare##bits(acc, old));                                                  \
        }                                                                                                   \
        static void cmpxchg##bits##_r(struct dbt_vcpu *v, const struct dbt_insn *i)                         \
        {                                                                                                   \
                uint##bits##_t acc = (uint##bits##_t)v->gpr[X86_RAX], old = dbt_reg##bits(v, i->reg[0]);    \
                                                                                                            \
                if (acc == old) /* else also the upper half of a 64-bit register keeps its value */         \
                        dbt_set_reg##bits(v, i->reg[0], dbt_reg##bits(v, i->reg[1]));                       \
                take_old##bits(v, acc, old);                                                                \
        }                                                                                                   \
        static __attribute__((noinline)) uint##bits##_t cmpxchg##bits##_slow(struct dbt_vcpu *v, uint64_t lin, \
                uint##bits##_t acc, uint##bits##_t value)                                                   \
        {                                                                                                   \
                uint##bits##_t old;                                                                         \
                                                                                                            \
                dbt_exclusive_begin(v);                                                                     \
                dbt_probe(v, lin, bits / 8, DBT_WRITE, v->mmu);                                             \
                old = dbt_load##bits(v, lin, v->mmu);                                                       \
                dbt_store##bits(v, lin, acc == old ? value : old, v->mmu);                                  \
                dbt_exclusive_end(v);                                                                       \
                return old;                                                                                 \
        }                                                                                                   \
        static void cmpxchg##bits##_m(struct dbt_vcpu *v, const struct dbt_insn *i)                         \
        {                                                                                                   \
                uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                                   \
                dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                         \
                uint##bits##_t value = dbt_reg##bits(v, i->reg[1]);     \
                uint##bits##_t acc = (uint##bits##_t)v->gpr[X86_RAX], old = acc;                            \
                                                                                                            \
                if (likely(p) && !is_locked(i))                                                             \
                        cmpxchg_plain##bits(p, &old, value);                                                \
                else if (likely(p))                                                                         \
                        __atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
                else                                                                                        \
                        old = cmpxchg##bits##_slow(v, lin, acc, value);                                     \
                take_old##bits(v, acc, old);                                                                \
        }
CMPXCHG(8)
CMPXCHG(16)
CMPXCHG(32)
CMPXCHG(64)

bool dbt_setup_cmpxchg(struct dbt_decoding *d, unsigned arg)
{
        static const dbt_handler handlers[4][2] = {
                { cmpxchg8_r, cmpxchg8_m }, { cmpxchg16_r, cmpxchg16_m },
                { cmpxchg32_r, cmpxchg32_m }, { cmpxchg64_r, cmpxchg64_m },
        };

        d->i->fn = handlers[dbt_size_index(d->i->op_size)][dbt_is_mem(d, 0)];
        return true;
}

/* --- cmpxchg8b cmpxchg16b ------------------------------------------------------------------------------------- */

/* n: bytes of one half. Returns whether the destination matched; the old value is in old. */
static bool cmpxchg_wide_slow(struct dbt_vcpu *v, uint64_t lin, unsigned n, uint64_t old[2])
{
        bool equal;

        dbt_exclusive_begin(v);
        dbt_probe(v, lin, 2 * n, DBT_WRITE, v->mmu);
        old[0] = dbt_load(v, lin, n);
        old[1] = dbt_load(v, lin + n, n);
        equal = old[0] == dbt_truncate(v->gpr[X86_RAX], n) && old[1] == dbt_truncate(v->gpr[X86_RDX], n);
        dbt_store(v, lin, equal ? v->gpr[X86_RBX] : old[0], n);
        dbt_store(v, lin + n, equal ? v->gpr[X86_RCX] : old[1], n);
        dbt_exclusive_end(v);
        return equal;
}

#define CMPXCHG8B_HOST(name, prefix)                                                                        \
        static bool name(struct dbt_vcpu *v, void *p, uint64_t old[2])                                      \
        {                                                                                                   \
                uint32_t lo = (uint32_t)v->gpr[X86_RAX], hi = (uint32_t)v->gpr[X86_RDX];                    \
                bool equal;                                                                                 \
                                                                                                            \
                __asm__ volatile(prefix "cmpxchg8b %[p]"                                                    \
                                 : [p] "+m"(*(dbt_guest64 *)p), "+a"(lo), "+d"(hi), "=@ccz"(equal)          \
                                 : "b"((uint32_t)v->gpr[X86_RBX]), "c"((uint32_t)v->gpr[X86_RCX]) : "memory"); \
                old[0] = lo;                                                                                \
                old[1] = hi;                                                                                \
                return equal;                                                                               \
        }
CMPXCHG8B_HOST(cmpxchg8b_plain, "")
CMPXCHG8B_HOST(cmpxchg8b_locked, "lock ")

/* Its operand is aligned, or it raises: always locked. */
static bool cmpxchg16b_host(struct dbt_vcpu *v, void *p, uint64_t old[2])
{
        uint64_t lo = v->gpr[X86_RAX], hi = v->gpr[X86_RDX];
        bool equal;

        __asm__ volatile("lock cmpxchg16b %[p]"
                         : [p] "+m"(*(unsigned __int128 *)p), "+a"(lo), "+d"(hi), "=@ccz"(equal)
                         : "b"(v->gpr[X86_RBX]), "c"(v->gpr[X86_RCX]) : "memory");
        old[0] = lo;
        old[1] = hi;
        return equal;
}

static void finish_wide(struct dbt_vcpu *v, unsigned n, bool equal, const uint64_t old[2])
{
        if (equal) {
                v->rflags |= X86_FLAG_ZF;
                return;
        }
        v->rflags &= ~(uint64_t)X86_FLAG_ZF;
        dbt_set_reg(v, X86_RAX, old[0], n);
        dbt_set_reg(v, X86_RDX, old[1], n);
}

static void exec_cmpxchg8b(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = dbt_mem_linear(v, i, 8, DBT_WRITE), old[2];
        void *p = dbt_rmw_ptr(v, lin, 8);
        bool equal = !p ? cmpxchg_wide_slow(v, lin, 4, old) : is_locked(i) ? cmpxchg8b_locked(v, p, old) : cmpxchg8b_plain(v, p, old);

        finish_wide(v, 4, equal, old);
}

static void exec_cmpxchg16b(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = dbt_mem_linear(v, i, 16, DBT_WRITE), old[2];
        void *p;
        bool equal;

        if (lin & 15)
                dbt_raise_gp0(v);
        p = dbt_rmw_ptr(v, lin, 16);
        equal = p ? cmpxchg16b_host(v, p, old) : cmpxchg_wide_slow(v, lin, 8, old);
        finish_wide(v, 8, equal, old);
}

bool dbt_setup_cmpxchg_wide(struct dbt_decoding *d, unsigned bytes)
{
        if (!dbt_is_mem(d, 0))
                return false;
        d->i->fn = bytes == 16 ? exec_cmpxchg16b : exec_cmpxchg8b;
        return true;
}
