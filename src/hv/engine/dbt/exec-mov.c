/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Data movement without arithmetic: mov, movzx, movsx, lea, xchg, cmov, setcc, bswap, cbw..., xlat, flag instructions. */

#include "hv/engine/dbt/exec.h"

uint64_t dbt_mem_linear_slow(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned n, enum dbt_access access)
{
        uint64_t off = dbt_mem_offset(v, i);

        if ((v->mode & DBT_MODE_FLAT) && !(v->mode & DBT_MODE_CS64) && i->mem.seg < X86_FS && off + n - 1 <= UINT32_MAX &&
                (access == DBT_READ || i->mem.seg != X86_CS))
                return off;
        return dbt_seg_linear(v, (enum x86_sreg)i->mem.seg, off, n, access);
}

/* --- mov ------------------------------------------------------------------------------------------------------ */

#define MOV(bits)                                                                                           \
        static void mov##bits##_rr(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                dbt_set_reg##bits(v, i->reg[0], dbt_reg##bits(v, i->reg[1]));                               \
        }                                                                                                   \
        static void mov##bits##_ri(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                dbt_set_reg##bits(v, i->reg[0], (uint##bits##_t)i->imm);                                    \
        }                                                                                                   \
        DBT_SLOW mov##bits##_rm_slow(struct dbt_vcpu *v, const struct dbt_insn *i)                          \
        {                                                                                                   \
                dbt_set_reg##bits(v, i->reg[0], dbt_mem_get##bits(v, i));                                   \
        }                                                                                                   \
        static void mov##bits##_rm(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                DBT_FAST_LINEAR(mov##bits##_rm_slow);                                                       \
                DBT_FAST_HOST(bits, match_read, mov##bits##_rm_slow)                                          \
                dbt_set_reg##bits(v, i->reg[0], *host);                                                     \
        }                                                                                                   \
        DBT_SLOW mov##bits##_mr_slow(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                dbt_mem_set##bits(v, i, dbt_reg##bits(v, i->reg[1]));                                       \
        }                                                                                                   \
        static void mov##bits##_mr(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                DBT_FAST_LINEAR(mov##bits##_mr_slow);                                                       \
                DBT_FAST_HOST(bits, match_write, mov##bits##_mr_slow)                                         \
                *host = dbt_reg##bits(v, i->reg[1]);                                                \
        }                                                                                                   \
        DBT_SLOW mov##bits##_mi_slow(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                dbt_mem_set##bits(v, i, (uint##bits##_t)i->imm);                                            \
        }                                                                                                   \
        static void mov##bits##_mi(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                DBT_FAST_LINEAR(mov##bits##_mi_slow);                                                       \
                DBT_FAST_HOST(bits, match_write, mov##bits##_mi_slow)                                         \
                *host = (uint##bits##_t)i->imm;                                                     \
        }                                                                                                   \
        /* mov accumulator, [absolute address] and back: the address is in imm */                           \
        static void mov##bits##_load_abs(struct dbt_vcpu *v, const struct dbt_insn *i)                      \
        {                                                                                                   \
                uint64_t lin = i->imm + dbt_seg_base(v, i);             \
                                                                                                            \
                dbt_set_reg##bits(v, X86_RAX, dbt_load##bits(v, lin, v->mmu));                              \
        }                                                                                                   \
        static void mov##bits##_store_abs(struct dbt_vcpu *v, const struct dbt_insn *i)                     \
        {                                                                                                   \
                uint64_t lin = i->imm + dbt_seg_base(v, i);             \
                                                                                                            \
                dbt_store##bits(v, lin, dbt_reg##bits(v, X86_RAX), v->mmu);                                 \
        }
MOV(8)
MOV(16)
MOV(32)
MOV(64)

/* Only with 64-bit addresses; smaller ones fit in disp. */
static bool is_wide_absolute(const struct dbt_decoding *d, unsigned n)
{
        const ZydisDecodedOperandMem *m = &d->ops[n].mem;

        return dbt_is_mem(d, n) && d->i->mem.fast && m->base == ZYDIS_REGISTER_NONE && m->index == ZYDIS_REGISTER_NONE &&
                m->disp.value != (int32_t)m->disp.value;
}

bool dbt_setup_mov(struct dbt_decoding *d, unsigned arg)
{
#define ROW(bits) { mov##bits##_rr, mov##bits##_ri, mov##bits##_rm, mov##bits##_mr, mov##bits##_mi }
        static const dbt_handler handlers[4][DBT_NFORMS] = { ROW(8), ROW(16), ROW(32), ROW(64) };
#undef ROW
        static const dbt_handler load_abs[4] = { mov8_load_abs, mov16_load_abs, mov32_load_abs, mov64_load_abs };
        static const dbt_handler store_abs[4] = { mov8_store_abs, mov16_store_abs, mov32_store_abs, mov64_store_abs };
        int form = dbt_form_of(d);
        unsigned size = dbt_size_index(d->i->op_size);

        for (unsigned n = 0; n < 2; n++) {
                if (d->ops[n].type != ZYDIS_OPERAND_TYPE_REGISTER)
                        continue;
                switch (ZydisRegisterGetClass(d->ops[n].reg.value)) {
                case ZYDIS_REGCLASS_SEGMENT:
                        return dbt_setup_mov_seg(d, n);
                case ZYDIS_REGCLASS_CONTROL:
                case ZYDIS_REGCLASS_DEBUG:
                        return dbt_setup_mov_control(d, n);
                default:
                        break;
                }
        }
        if (form < 0)
                return false;
        d->i->fn = handlers[size][form];
        if (is_wide_absolute(d, form == DBT_RM)) {
                d->i->imm = (uint64_t)d->ops[form == DBT_RM].mem.disp.value;
                d->i->fn = form == DBT_RM ? load_abs[size] : store_abs[size];
        }
        return true;
}

/* --- movzx movsx ---------------------------------------------------------------------------------------------- */

#define MOVX(name, to, from, type)                                                                          \
        static void name##to##_##from##_rr(struct dbt_vcpu *v, const struct dbt_insn *i)                    \
        {                                                                                                   \
                dbt_set_reg##to(v, i->reg[0], (uint##to##_t)(type)dbt_reg##from(v, i->reg[1]));             \
        }                                                                                                   \
        DBT_SLOW name##to##_##from##_slow(struct dbt_vcpu *v, const struct dbt_insn *i)                     \
        {                                                                                                   \
                dbt_set_reg##to(v, i->reg[0], (uint##to##_t)(type)dbt_mem_get##from(v, i));                 \
        }                                                                                                   \
        static void name##to##_##from##_rm(struct dbt_vcpu *v, const struct dbt_insn *i)                    \
        {                                                                                                   \
                DBT_FAST_LINEAR(name##to##_##from##_slow);                                                  \
                DBT_FAST_HOST(from, match_read, name##to##_##from##_slow)                                     \
                dbt_set_reg##to(v, i->reg[0], (uint##to##_t)(type)*host);                                   \
        }
#define MOVX_FROM(from) \
        MOVX(movzx, 16, from, uint##from##_t) MOVX(movzx, 32, from, uint##from##_t) MOVX(movzx, 64, from, uint##from##_t) \
        MOVX(movsx, 16, from, int##from##_t) MOVX(movsx, 32, from, int##from##_t) MOVX(movsx, 64, from, int##from##_t)
MOVX_FROM(8)
MOVX_FROM(16)
MOVX(movsx, 16, 32, int32_t)
MOVX(movsx, 32, 32, int32_t)
MOVX(movsx, 64, 32, int32_t)

bool dbt_setup_movx(struct dbt_decoding *d, unsigned is_signed)
{
#define PAIR(name, to, from) { name##to##_##from##_rr, name##to##_##from##_rm }
#define ROW(name, from) { PAIR(name, 16, from), PAIR(name, 32, from), PAIR(name, 64, from) }
        static const dbt_handler handlers[2][3][3][2] = {
                { ROW(movzx, 8), ROW(movzx, 16), { { NULL } } },
                { ROW(movsx, 8), ROW(movsx, 16), ROW(movsx, 32) },
        };
#undef ROW
#undef PAIR
        unsigned from = dbt_size_index(d->ops[1].size / 8u), to = dbt_size_index(d->ops[0].size / 8u);

        if (from > 2 || to < 1)
                return false;
        d->i->fn = handlers[is_signed][from][to - 1][dbt_is_mem(d, 1)];
        return d->i->fn != NULL;
}

/* --- lea ------------------------------------------------------------------------------------------------------ */

static void lea64(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->gpr[i->reg[0]] = (uint64_t)i->mem.disp + v->regs[i->mem.base] + (v->regs[i->mem.index] << i->mem.scale);
}

static void lea_any(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_set_reg(v, i->reg[0], dbt_mem_offset(v, i), i->op_size);
}

bool dbt_setup_lea(struct dbt_decoding *d, unsigned arg)
{
        if (!dbt_is_mem(d, 1))
                return false;
        d->i->fn = d->i->op_size == 8 && d->i->mem.addr_size == 8 ? lea64 : lea_any;
        return true;
}

/* --- xchg: with memory always locked --------------------------------------------------------------------------- */

#define XCHG(bits)                                                                                          \
        static void xchg##bits##_rr(struct dbt_vcpu *v, const struct dbt_insn *i)                           \
        {                                                                                                   \
                uint##bits##_t a = dbt_reg##bits(v, i->reg[0]);                                             \
                                                                                                            \
                dbt_set_reg##bits(v, i->reg[0], dbt_reg##bits(v, i->reg[1]));                               \
                dbt_set_reg##bits(v, i->reg[1], a);                                                         \
        }                                                                                                   \
        /* aux: which operand is the register */                                                            \
        static void xchg##bits##_m(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                uint64_t lin = dbt_mem_linear(v, i, bits / 8, DBT_WRITE);                                   \
                dbt_guest##bits *p = dbt_rmw_ptr(v, lin, bits / 8);                                          \
                uint##bits##_t a = dbt_reg##bits(v, i->reg[i->aux]);                                        \
                                                                                                            \
                if (likely(p)) {                                                                            \
                        a = __atomic_exchange_n(p, a, __ATOMIC_SEQ_CST);                                    \
                } else {                                                                                    \
                        uint##bits##_t old;                                                                 \
                                                                                                            \
                        dbt_exclusive_begin(v);                                                             \
                        dbt_probe(v, lin, bits / 8, DBT_WRITE, v->mmu);                                     \
                        old = dbt_load##bits(v, lin, v->mmu);                                               \
                        dbt_store##bits(v, lin, a, v->mmu);                                                 \
                        dbt_exclusive_end(v);                                                               \
                        a = old;                                                                            \
                }                                                                                           \
                dbt_set_reg##bits(v, i->reg[i->aux], a);                                                    \
        }
XCHG(8)
XCHG(16)
XCHG(32)
XCHG(64)

bool dbt_setup_xchg(struct dbt_decoding *d, unsigned arg)
{
        static const dbt_handler handlers[4][2] = {
                { xchg8_rr, xchg8_m }, { xchg16_rr, xchg16_m }, { xchg32_rr, xchg32_m }, { xchg64_rr, xchg64_m },
        };
        bool mem = dbt_is_mem(d, 0) || dbt_is_mem(d, 1);

        if ((d->i->flags & DBT_INSN_LOCK) && !mem)
                return false;
        d->i->aux = dbt_is_mem(d, 0);
        d->i->fn = handlers[dbt_size_index(d->i->op_size)][mem];
        return true;
}

/* --- cmov setcc ----------------------------------------------------------------------------------------------- */

/* One function per condition, because the processor predicts a branch per place. */
#define CONDITION(cc)                                                                                       \
        static void cmov32_rr_##cc(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                unsigned from = dbt_condition(v, cc) ? i->reg[1] : i->reg[0];                               \
                                                                                                            \
                v->gpr[i->reg[0]] = (uint32_t)v->gpr[from];                                                 \
        }                                                                                                   \
        static void cmov64_rr_##cc(struct dbt_vcpu *v, const struct dbt_insn *i)                            \
        {                                                                                                   \
                unsigned from = dbt_condition(v, cc) ? i->reg[1] : i->reg[0];                               \
                                                                                                            \
                v->gpr[i->reg[0]] = v->gpr[from];                                                           \
        }                                                                                                   \
        static void set_r_##cc(struct dbt_vcpu *v, const struct dbt_insn *i)                                \
        {                                                                                                   \
                dbt_set_reg8(v, i->reg[0], dbt_condition(v, cc));                                           \
        }
CONDITION(0)
CONDITION(1)
CONDITION(2)
CONDITION(3)
CONDITION(4)
CONDITION(5)
CONDITION(6)
CONDITION(7)
CONDITION(8)
CONDITION(9)
CONDITION(10)
CONDITION(11)
CONDITION(12)
CONDITION(13)
CONDITION(14)
CONDITION(15)
#define PER_CONDITION(name) \
        { name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, \
          name##_8, name##_9, name##_10, name##_11, name##_12, name##_13, name##_14, name##_15 }

/* The load happens, and can fault, whatever the condition; a 32-bit destination is always zero-extended. */
static void cmov_any(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t src = dbt_operand_get(v, i, 1, i->op_size);
        uint64_t old = v->gpr[i->reg[0]];

        dbt_set_reg(v, i->reg[0], dbt_condition(v, i->cond) ? src : old, i->op_size);
}

bool dbt_setup_cmov(struct dbt_decoding *d, unsigned cond)
{
        static const dbt_handler rr32[16] = PER_CONDITION(cmov32_rr), rr64[16] = PER_CONDITION(cmov64_rr);

        d->i->cond = (uint8_t)cond;
        d->i->fn = dbt_is_mem(d, 1) || d->i->op_size == 2 ? cmov_any : d->i->op_size == 4 ? rr32[cond] : rr64[cond];
        return true;
}

static void set_m(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_mem_set8(v, i, dbt_condition(v, i->cond));
}

bool dbt_setup_setcc(struct dbt_decoding *d, unsigned cond)
{
        static const dbt_handler r[16] = PER_CONDITION(set_r);

        d->i->cond = (uint8_t)cond;
        d->i->fn = dbt_is_mem(d, 0) ? set_m : r[cond];
        return true;
}

/* --- bswap ---------------------------------------------------------------------------------------------------- */

static void bswap_r(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t a = v->gpr[i->reg[0]];

        if (i->op_size == 8)
                v->gpr[i->reg[0]] = __builtin_bswap64(a);
        else if (i->op_size == 4)
                v->gpr[i->reg[0]] = __builtin_bswap32((uint32_t)a);
        else
                dbt_set_reg16(v, i->reg[0], 0); /* undefined; what processors do */
}

bool dbt_setup_bswap(struct dbt_decoding *d, unsigned arg)
{
        d->i->fn = bswap_r;
        return true;
}

/* --- cbw cwde cdqe cwd cdq cqo --------------------------------------------------------------------------------- */

static void exec_cbw(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_set_reg16(v, X86_RAX, (uint16_t)(int8_t)v->gpr[X86_RAX]);
}

static void exec_cwde(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->gpr[X86_RAX] = (uint32_t)(int16_t)v->gpr[X86_RAX];
}

static void exec_cdqe(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->gpr[X86_RAX] = (uint64_t)(int32_t)v->gpr[X86_RAX];
}

static void exec_cwd(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_set_reg16(v, X86_RDX, (int16_t)v->gpr[X86_RAX] < 0 ? 0xffff : 0);
}

static void exec_cdq(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->gpr[X86_RDX] = (int32_t)v->gpr[X86_RAX] < 0 ? 0xffffffff : 0;
}

static void exec_cqo(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->gpr[X86_RDX] = (int64_t)v->gpr[X86_RAX] < 0 ? ~0ULL : 0;
}

bool dbt_setup_convert(struct dbt_decoding *d, unsigned op)
{
        static const dbt_handler handlers[] = {
                [DBT_CBW] = exec_cbw, [DBT_CWDE] = exec_cwde, [DBT_CDQE] = exec_cdqe,
                [DBT_CWD] = exec_cwd, [DBT_CDQ] = exec_cdq, [DBT_CQO] = exec_cqo,
        };

        d->i->fn = handlers[op];
        return true;
}

/* --- xlat ----------------------------------------------------------------------------------------------------- */

/* The decoder left rBX as the base of the memory operand. */
static void exec_xlat(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t off = dbt_truncate(v->gpr[X86_RBX] + (uint8_t)v->gpr[X86_RAX], i->mem.addr_size), lin;

        if (i->mem.fast)
                lin = off + dbt_seg_base(v, i);
        else
                lin = dbt_seg_linear(v, (enum x86_sreg)i->mem.seg, off, 1, DBT_READ);
        dbt_set_reg8(v, X86_RAX * 8, dbt_load8(v, lin, v->mmu));
}

bool dbt_setup_xlat(struct dbt_decoding *d, unsigned arg)
{
        d->i->fn = exec_xlat;
        return true;
}

/* --- flags ---------------------------------------------------------------------------------------------------- */

static void exec_clc(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rflags &= ~(uint64_t)X86_FLAG_CF;
}

static void exec_stc(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rflags |= X86_FLAG_CF;
}

static void exec_cmc(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rflags ^= X86_FLAG_CF;
}

static void exec_cld(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rflags &= ~(uint64_t)X86_FLAG_DF;
}

static void exec_std(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rflags |= X86_FLAG_DF;
}

static void exec_lahf(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_set_reg8(v, X86_RAX * 8 + 1, (uint8_t)((v->rflags & 0xd5) | 2));
}

static void exec_sahf(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rflags = (v->rflags & ~0xd5ULL) | (dbt_reg8(v, X86_RAX * 8 + 1) & 0xd5);
}

static void exec_salc(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_set_reg8(v, X86_RAX * 8, v->rflags & X86_FLAG_CF ? 0xff : 0);
}

bool dbt_setup_flag(struct dbt_decoding *d, unsigned op)
{
        static const dbt_handler handlers[] = {
                [DBT_CLC] = exec_clc, [DBT_STC] = exec_stc, [DBT_CMC] = exec_cmc, [DBT_CLD] = exec_cld,
                [DBT_STD] = exec_std, [DBT_LAHF] = exec_lahf, [DBT_SAHF] = exec_sahf, [DBT_SALC] = exec_salc,
        };

        d->i->fn = handlers[op];
        return true;
}

/* Also hints without effect on what a program computes: prefetch, cache line flushes, fences that the host's own ordering makes
 * superfluous do not come here. */
static void exec_nop(struct dbt_vcpu *v, const struct dbt_insn *i)
{
}

bool dbt_setup_nop(struct dbt_decoding *d, unsigned arg)
{
        d->i->fn = exec_nop;
        return true;
}
