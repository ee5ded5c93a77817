/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the instruction handlers (exec-*.c) and the decoder share. Private to these files.
 *
 * Arithmetic is the host's: a handler runs the same instruction on the operands it fetched and takes over the flags
 * with lahf and seto, which cost a fraction of pushf and popf. */

#include "hv/engine/dbt/insn.h"
#include "hv/engine/dbt/vm.h"

/* One instruction on its way from Zydis to a handler. i has length, op_size, flags, mem, imm and reg filled in already. */
struct dbt_decoding {
        struct dbt_vcpu *v;
        struct dbt_insn *i;
        const ZydisDecodedInstruction *z;
        const ZydisDecodedOperand *ops;
        const uint8_t *bytes;
        bool mode64;
};

/* Chooses the handler. arg is from decode.c's table, which has a row per mnemonic. False: not a valid instruction (#UD). */
typedef bool (*dbt_setup)(struct dbt_decoding *d, unsigned arg);

bool dbt_setup_alu(struct dbt_decoding *d, unsigned op);
bool dbt_setup_unary(struct dbt_decoding *d, unsigned op);
bool dbt_setup_shift(struct dbt_decoding *d, unsigned op);
bool dbt_setup_shiftd(struct dbt_decoding *d, unsigned right);
bool dbt_setup_bittest(struct dbt_decoding *d, unsigned op);
bool dbt_setup_bitscan(struct dbt_decoding *d, unsigned op);
bool dbt_setup_mov(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_movx(struct dbt_decoding *d, unsigned is_signed);
bool dbt_setup_lea(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_xchg(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_cmov(struct dbt_decoding *d, unsigned cond);
bool dbt_setup_setcc(struct dbt_decoding *d, unsigned cond);
bool dbt_setup_bswap(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_convert(struct dbt_decoding *d, unsigned op);
bool dbt_setup_xlat(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_flag(struct dbt_decoding *d, unsigned op);
bool dbt_setup_nop(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_push(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_pop(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_stack(struct dbt_decoding *d, unsigned op);
bool dbt_setup_mul(struct dbt_decoding *d, unsigned op);
bool dbt_setup_imul(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_bcd(struct dbt_decoding *d, unsigned op);
bool dbt_setup_xadd(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_cmpxchg(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_cmpxchg_wide(struct dbt_decoding *d, unsigned bytes);
bool dbt_setup_jcc(struct dbt_decoding *d, unsigned cond);
bool dbt_setup_jmp(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_call(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_ret(struct dbt_decoding *d, unsigned is_far);
bool dbt_setup_loop(struct dbt_decoding *d, unsigned op);
bool dbt_setup_int(struct dbt_decoding *d, unsigned op);
bool dbt_setup_string(struct dbt_decoding *d, unsigned op);
bool dbt_setup_io(struct dbt_decoding *d, unsigned out);
bool dbt_setup_system(struct dbt_decoding *d, unsigned op);
bool dbt_setup_load_far(struct dbt_decoding *d, unsigned seg);
bool dbt_setup_mov_seg(struct dbt_decoding *d, unsigned arg);
bool dbt_setup_mov_control(struct dbt_decoding *d, unsigned arg);

/* Handlers that more than one file needs. */
void dbt_exec_ud(struct dbt_vcpu *v, const struct dbt_insn *i);
void dbt_exec_gp(struct dbt_vcpu *v, const struct dbt_insn *i);

/* exec-branch.c: a conditional jump of 64-bit mode? */
bool dbt_is_jcc64(const struct dbt_insn *i);

/* enum values of the arg of the tables above */
enum { DBT_ADD, DBT_OR, DBT_ADC, DBT_SBB, DBT_AND, DBT_SUB, DBT_XOR, DBT_CMP, DBT_TEST, DBT_NALU };
enum { DBT_INC, DBT_DEC, DBT_NEG, DBT_NOT, DBT_NUNARY };
enum { DBT_ROL, DBT_ROR, DBT_RCL, DBT_RCR, DBT_SHL, DBT_SHR, DBT_SAR, DBT_NSHIFT };
enum { DBT_BT, DBT_BTS, DBT_BTR, DBT_BTC, DBT_NBT };
enum { DBT_BSF, DBT_BSR, DBT_TZCNT, DBT_LZCNT, DBT_POPCNT, DBT_NSCAN };
enum { DBT_CBW, DBT_CWDE, DBT_CDQE, DBT_CWD, DBT_CDQ, DBT_CQO };
enum { DBT_CLC, DBT_STC, DBT_CMC, DBT_CLD, DBT_STD, DBT_LAHF, DBT_SAHF, DBT_SALC };
enum { DBT_PUSHA, DBT_POPA, DBT_PUSHF, DBT_POPF, DBT_ENTER, DBT_LEAVE };
enum { DBT_MUL, DBT_IMUL1, DBT_DIV, DBT_IDIV, DBT_NMUL };
enum { DBT_AAA, DBT_AAS, DBT_DAA, DBT_DAS, DBT_AAM, DBT_AAD };
enum { DBT_LOOPNE, DBT_LOOPE, DBT_LOOP, DBT_JCXZ };
enum { DBT_INTN, DBT_INT3, DBT_INT1, DBT_INTO, DBT_BOUND, DBT_IRET, DBT_UD };
enum { DBT_MOVS, DBT_STOS, DBT_LODS, DBT_CMPS, DBT_SCAS, DBT_INS, DBT_OUTS };

/* --- Operand forms -------------------------------------------------------------------------------------------- */

enum dbt_form { DBT_RR, DBT_RI, DBT_RM, DBT_MR, DBT_MI, DBT_NFORMS };

/* The form of a two-operand instruction; -1 if it is none of them. */
static inline int dbt_form_of(const struct dbt_decoding *d)
{
        bool dst_mem = d->ops[0].type == ZYDIS_OPERAND_TYPE_MEMORY;

        switch (d->ops[1].type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
                return dst_mem ? DBT_MR : DBT_RR;
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
                return dst_mem ? DBT_MI : DBT_RI;
        case ZYDIS_OPERAND_TYPE_MEMORY:
                return dst_mem ? -1 : DBT_RM;
        default:
                return -1;
        }
}

/* Index of an operand size in the handler tables: 0..3 for 1, 2, 4, 8 bytes. */
static inline unsigned dbt_size_index(unsigned bytes)
{
        return (unsigned)__builtin_ctz(bytes);
}

static inline bool dbt_is_mem(const struct dbt_decoding *d, unsigned n)
{
        return d->ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

/* --- Registers ------------------------------------------------------------------------------------------------ */

/* Writes are always of the whole register: a narrow store would make the next wide load wait for it. */
static inline uint8_t dbt_reg8(const struct dbt_vcpu *v, unsigned off)
{
        return *((const uint8_t *)v->regs + off);
}

static inline void dbt_set_reg8(struct dbt_vcpu *v, unsigned off, uint8_t value)
{
        unsigned shift = (off & 7) * 8;

        v->regs[off >> 3] = (v->regs[off >> 3] & ~(0xffULL << shift)) | (uint64_t)value << shift;
}

#define DBT_REG_ACCESSORS(bits, assign)                                                                     \
        static inline uint##bits##_t dbt_reg##bits(const struct dbt_vcpu *v, unsigned n)                    \
        {                                                                                                   \
                return (uint##bits##_t)v->regs[n];                                                          \
        }                                                                                                   \
        static inline void dbt_set_reg##bits(struct dbt_vcpu *v, unsigned n, uint##bits##_t value)          \
        {                                                                                                   \
                v->regs[n] = assign;                                                                        \
        }
DBT_REG_ACCESSORS(16, (v->regs[n] & ~0xffffULL) | value)
DBT_REG_ACCESSORS(32, value)
DBT_REG_ACCESSORS(64, value)
#undef DBT_REG_ACCESSORS

/* By byte count, for the rare instructions. Not for byte registers. */
static inline void dbt_set_reg(struct dbt_vcpu *v, unsigned n, uint64_t value, unsigned bytes)
{
        if (bytes == 8)
                v->regs[n] = value;
        else if (bytes == 4)
                v->regs[n] = (uint32_t)value;
        else
                dbt_set_reg16(v, n, (uint16_t)value);
}

static inline uint64_t dbt_truncate(uint64_t value, unsigned bytes)
{
        return bytes == 8 ? value : value & ((1ULL << bytes * 8) - 1);
}

/* --- Memory --------------------------------------------------------------------------------------------------- */

/* The slot of lin in the present view. */
static inline struct dbt_tlb_entry *dbt_tlb_now(struct dbt_vcpu *v, uint64_t lin)
{
        return &v->tlb_now[dbt_tlb_index(lin)];
}

/* Fast paths of handlers with a memory operand: declare lin and a reference to the host's memory, or hand over to the slow handler, which has
 * all of the cases, as a tail call: so the fast one needs no stack frame. */
#define DBT_FAST_LINEAR(slow)                                                                               \
        uint64_t lin;                                                                                       \
        if (unlikely(!i->mem.fast)) {                                                                       \
                slow(v, i);                                                                                 \
                return;                                                                                     \
        }                                                                                                   \
        lin = (uint64_t)i->mem.disp + v->regs[i->mem.base] + (v->regs[i->mem.index] << i->mem.scale) +      \
                dbt_seg_base(v, i)
#define DBT_FAST_HOST(bits, match, slow)                                                                    \
        const struct dbt_tlb_entry *e = dbt_tlb_now(v, lin);                                                \
        volatile dbt_guest##bits *host = (volatile dbt_guest##bits *)(lin + e->addend);                     \
        if (unlikely(!DBT_TLB_HIT(e, match, lin, bits / 8))) {                                                \
                slow(v, i);                                                                                 \
                return;                                                                                     \
        }
#define DBT_SLOW static __attribute__((noinline, cold)) void

/* Read-modify-write access to [lin, lin+n): the host address, or NULL if the caller has to use dbt_load and dbt_store. Raises #PF
 * as a write does. */
static inline void *dbt_rmw_ptr(struct dbt_vcpu *v, uint64_t lin, unsigned n)
{
        struct dbt_tlb_entry *e = dbt_tlb_now(v, lin);

        if (DBT_TLB_HIT(e, match_write, lin, n))
                return (void *)(lin + e->addend);
        return dbt_host_ptr(v, lin, n, DBT_WRITE, v->mmu);
}

#define DBT_MEM_ACCESSORS(bits)                                                                             \
        static inline uint##bits##_t dbt_mem_get##bits(struct dbt_vcpu *v, const struct dbt_insn *i)        \
        {                                                                                                   \
                return dbt_load##bits(v, dbt_mem_linear(v, i, bits / 8, DBT_READ), v->mmu);                 \
        }                                                                                                   \
        static inline void dbt_mem_set##bits(struct dbt_vcpu *v, const struct dbt_insn *i, uint##bits##_t value) \
        {                                                                                                   \
                dbt_store##bits(v, dbt_mem_linear(v, i, bits / 8, DBT_WRITE), value, v->mmu);               \
        }
DBT_MEM_ACCESSORS(8)
DBT_MEM_ACCESSORS(16)
DBT_MEM_ACCESSORS(32)
DBT_MEM_ACCESSORS(64)
#undef DBT_MEM_ACCESSORS

/* The same for a size known at run time only. */
static inline uint64_t dbt_load(struct dbt_vcpu *v, uint64_t lin, unsigned bytes)
{
        switch (bytes) {
        case 1:
                return dbt_load8(v, lin, v->mmu);
        case 2:
                return dbt_load16(v, lin, v->mmu);
        case 4:
                return dbt_load32(v, lin, v->mmu);
        default:
                return dbt_load64(v, lin, v->mmu);
        }
}

static inline void dbt_store(struct dbt_vcpu *v, uint64_t lin, uint64_t value, unsigned bytes)
{
        switch (bytes) {
        case 1:
                dbt_store8(v, lin, (uint8_t)value, v->mmu);
                break;
        case 2:
                dbt_store16(v, lin, (uint16_t)value, v->mmu);
                break;
        case 4:
                dbt_store32(v, lin, (uint32_t)value, v->mmu);
                break;
        default:
                dbt_store64(v, lin, value, v->mmu);
        }
}

static inline uint64_t dbt_mem_get(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned bytes)
{
        return dbt_load(v, dbt_mem_linear(v, i, bytes, DBT_READ), bytes);
}

static inline void dbt_mem_set(struct dbt_vcpu *v, const struct dbt_insn *i, uint64_t value, unsigned bytes)
{
        dbt_store(v, dbt_mem_linear(v, i, bytes, DBT_WRITE), value, bytes);
}

/* Operand n, a register of at least 16 bits or the memory operand. */
static inline uint64_t dbt_operand_get(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned n, unsigned bytes)
{
        return i->flags & DBT_INSN_MEM ? dbt_mem_get(v, i, bytes) : dbt_truncate(v->regs[i->reg[n]], bytes);
}

/* --- Flags ---------------------------------------------------------------------------------------------------- */

#define DBT_FLAGS_ARITH \
        ((uint64_t)(X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF))

/* Follows an instruction in inline asm: its flags to an "=&a" operand: AH as lahf, AL = OF. */
#define DBT_FLAGS_OUT "\n\tlahf\n\tseto %%al"
/* Precedes one: loads the flags from a "+a" operand of that layout. */
#define DBT_FLAGS_IN "addb $0x7f, %%al\n\tsahf\n\t"

/* The layout above as RFLAGS bits; bit 1 is set. */
static inline uint64_t dbt_flags_of(uint32_t ax)
{
        return (ax >> 8 & 0xff) | (ax & 1) << 11;
}

static inline void dbt_set_flags(struct dbt_vcpu *v, uint32_t ax)
{
        v->rflags = (v->rflags & ~DBT_FLAGS_ARITH) | dbt_flags_of(ax);
}

/* Only those in mask. */
static inline void dbt_set_flags_masked(struct dbt_vcpu *v, uint32_t ax, uint64_t mask)
{
        v->rflags = (v->rflags & ~mask) | (dbt_flags_of(ax) & mask);
}

static inline uint32_t dbt_flags_ax(const struct dbt_vcpu *v)
{
        return (uint32_t)((v->rflags & 0xff) << 8 | (v->rflags >> 11 & 1));
}

/* Condition codes 0..15 in the order of the opcodes. */
static inline bool dbt_condition(const struct dbt_vcpu *v, unsigned cond)
{
        uint64_t f = v->rflags;
        bool r;

        switch (cond >> 1) {
        case 0:
                r = f & X86_FLAG_OF;
                break;
        case 1:
                r = f & X86_FLAG_CF;
                break;
        case 2:
                r = f & X86_FLAG_ZF;
                break;
        case 3:
                r = f & (X86_FLAG_CF | X86_FLAG_ZF);
                break;
        case 4:
                r = f & X86_FLAG_SF;
                break;
        case 5:
                r = f & X86_FLAG_PF;
                break;
        case 6:
                r = (f >> 7 ^ f >> 11) & 1;
                break;
        default:
                r = ((f >> 7 ^ f >> 11) & 1) || (f & X86_FLAG_ZF);
        }
        return r ^ (cond & 1);
}

/* --- Stack ---------------------------------------------------------------------------------------------------- */

static inline uint64_t dbt_stack_mask(const struct dbt_vcpu *v)
{
        if (likely(v->mode & DBT_MODE_CS64))
                return ~0ULL;
        return v->mode & DBT_MODE_SS32 ? 0xffffffff : 0xffff;
}

static inline void dbt_set_sp(struct dbt_vcpu *v, uint64_t sp)
{
        uint64_t mask = dbt_stack_mask(v);

        v->gpr[X86_RSP] = mask == 0xffff ? (v->gpr[X86_RSP] & ~mask) | (sp & mask) : sp & mask;
}

/* Linear address of n bytes at stack offset sp, which is truncated to the stack's size. */
static inline uint64_t dbt_stack_linear(struct dbt_vcpu *v, uint64_t sp, unsigned n, enum dbt_access access)
{
        if (likely(v->mode & DBT_MODE_CS64))
                return sp;
        return dbt_seg_linear(v, X86_SS, sp & dbt_stack_mask(v), n, access);
}

static inline void dbt_push(struct dbt_vcpu *v, uint64_t value, unsigned bytes)
{
        uint64_t sp = v->gpr[X86_RSP] - bytes;

        dbt_store(v, dbt_stack_linear(v, sp, bytes, DBT_WRITE), value, bytes);
        dbt_set_sp(v, sp);
}

/* The value that a pop at RSP + skip would give; RSP stays. */
static inline uint64_t dbt_stack_peek(struct dbt_vcpu *v, unsigned skip, unsigned bytes)
{
        return dbt_load(v, dbt_stack_linear(v, v->gpr[X86_RSP] + skip, bytes, DBT_READ), bytes);
}
