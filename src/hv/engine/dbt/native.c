/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which instructions can run as copies, and what they read and write. */

#include "hv/engine/dbt/native.h"

/* --- Does the guest's CPUID offer it? ------------------------------------------------------------------------ */

enum { EAX, EBX, ECX, EDX };

static bool has_feature(const struct dbt_vcpu *v, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
        struct cpuid_regs r = cpuid_query(&v->cpuid, leaf, subleaf);
        const uint32_t value[] = {r.eax, r.ebx, r.ecx, r.edx};

        return value[reg] >> bit & 1;
}

static const struct isa_feature {
        uint8_t isa_set;
        uint8_t reg, bit;
        uint32_t leaf, subleaf;
} isa_features[] = {
        {ZYDIS_ISA_SET_X87, EDX, 0, 1, 0},
        {ZYDIS_ISA_SET_FCMOV, EDX, 15, 1, 0},
        {ZYDIS_ISA_SET_CMOV, EDX, 15, 1, 0},
        {ZYDIS_ISA_SET_PENTIUMMMX, EDX, 23, 1, 0},
        {ZYDIS_ISA_SET_CLFSH, EDX, 19, 1, 0},
        {ZYDIS_ISA_SET_SSE, EDX, 25, 1, 0},
        {ZYDIS_ISA_SET_SSEMXCSR, EDX, 25, 1, 0},
        {ZYDIS_ISA_SET_SSE2, EDX, 26, 1, 0},
        {ZYDIS_ISA_SET_SSE2MMX, EDX, 26, 1, 0},
        {ZYDIS_ISA_SET_SSE3, ECX, 0, 1, 0},
        {ZYDIS_ISA_SET_SSE3X87, ECX, 0, 1, 0},
        {ZYDIS_ISA_SET_PCLMULQDQ, ECX, 1, 1, 0},
        {ZYDIS_ISA_SET_SSSE3, ECX, 9, 1, 0},
        {ZYDIS_ISA_SET_SSSE3MMX, ECX, 9, 1, 0},
        {ZYDIS_ISA_SET_FMA, ECX, 12, 1, 0},
        {ZYDIS_ISA_SET_CMPXCHG16B, ECX, 13, 1, 0},
        {ZYDIS_ISA_SET_SSE4, ECX, 19, 1, 0},
        {ZYDIS_ISA_SET_SSE42, ECX, 20, 1, 0},
        {ZYDIS_ISA_SET_MOVBE, ECX, 22, 1, 0},
        {ZYDIS_ISA_SET_POPCNT, ECX, 23, 1, 0},
        {ZYDIS_ISA_SET_AES, ECX, 25, 1, 0},
        {ZYDIS_ISA_SET_AVX, ECX, 28, 1, 0},
        {ZYDIS_ISA_SET_AVXAES, ECX, 25, 1, 0},
        {ZYDIS_ISA_SET_F16C, ECX, 29, 1, 0},
        {ZYDIS_ISA_SET_RDRAND, ECX, 30, 1, 0},
        {ZYDIS_ISA_SET_BMI1, EBX, 3, 7, 0},
        {ZYDIS_ISA_SET_AVX2, EBX, 5, 7, 0},
        {ZYDIS_ISA_SET_AVX2GATHER, EBX, 5, 7, 0},
        {ZYDIS_ISA_SET_BMI2, EBX, 8, 7, 0},
        {ZYDIS_ISA_SET_RDSEED, EBX, 18, 7, 0},
        {ZYDIS_ISA_SET_ADOX_ADCX, EBX, 19, 7, 0},
        {ZYDIS_ISA_SET_CLFLUSHOPT, EBX, 23, 7, 0},
        {ZYDIS_ISA_SET_CLWB, EBX, 24, 7, 0},
        {ZYDIS_ISA_SET_SHA, EBX, 29, 7, 0},
        {ZYDIS_ISA_SET_GFNI, ECX, 8, 7, 0},
        {ZYDIS_ISA_SET_AVX_GFNI, ECX, 8, 7, 0},
        {ZYDIS_ISA_SET_VAES, ECX, 9, 7, 0},
        {ZYDIS_ISA_SET_VPCLMULQDQ, ECX, 10, 7, 0},
        {ZYDIS_ISA_SET_AVX_VNNI, EAX, 4, 7, 1},
        {ZYDIS_ISA_SET_LZCNT, ECX, 5, 0x80000001, 0},
        {ZYDIS_ISA_SET_SSE4A, ECX, 6, 0x80000001, 0},
};

/* Sets that every x86-64 CPU has, or that are no-operations where they are not known. */
static bool is_baseline(ZydisISASet set)
{
        switch (set) {
        case ZYDIS_ISA_SET_I86:
        case ZYDIS_ISA_SET_I186:
        case ZYDIS_ISA_SET_I386:
        case ZYDIS_ISA_SET_I486REAL:
        case ZYDIS_ISA_SET_PENTIUMREAL:
        case ZYDIS_ISA_SET_PPRO:
        case ZYDIS_ISA_SET_LONGMODE:
        case ZYDIS_ISA_SET_LAHF:
        case ZYDIS_ISA_SET_FAT_NOP:
        case ZYDIS_ISA_SET_PAUSE:
        case ZYDIS_ISA_SET_PREFETCH_NOP:
        case ZYDIS_ISA_SET_SSE_PREFETCH:
        case ZYDIS_ISA_SET_CLDEMOTE:
                return true;
        default:
                return false;
        }
}

static bool is_offered(const struct dbt_vcpu *v, const ZydisDecodedInstruction *z)
{
        ZydisISASet set = z->meta.isa_set;

        if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
                /* VEX does not exist in real and virtual-8086 mode. */
                if (!(v->mode & DBT_MODE_PE) || (v->mode & DBT_MODE_VM86))
                        return false;
                if (set != ZYDIS_ISA_SET_BMI1 && set != ZYDIS_ISA_SET_BMI2 && !has_feature(v, 1, 0, ECX, 28))
                        return false;
        } else if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
                return false;
        }
        for (unsigned k = 0; k < ARRAY_SIZE(isa_features); k++)
                if (isa_features[k].isa_set == set)
                        return has_feature(v, isa_features[k].leaf, isa_features[k].subleaf, isa_features[k].reg,
                                isa_features[k].bit);
        return is_baseline(set);
}

/* --- Is it plain? -------------------------------------------------------------------------------------------- */

static bool has_plain_category(const ZydisDecodedInstruction *z)
{
        switch (z->meta.category) {
        case ZYDIS_CATEGORY_CALL:
        case ZYDIS_CATEGORY_COND_BR:
        case ZYDIS_CATEGORY_UNCOND_BR:
        case ZYDIS_CATEGORY_RET:
        case ZYDIS_CATEGORY_INTERRUPT:
        case ZYDIS_CATEGORY_IO:
        case ZYDIS_CATEGORY_IOSTRINGOP:
        case ZYDIS_CATEGORY_STRINGOP:
        case ZYDIS_CATEGORY_PUSH:
        case ZYDIS_CATEGORY_POP:
        case ZYDIS_CATEGORY_SEGOP:
        case ZYDIS_CATEGORY_SYSCALL:
        case ZYDIS_CATEGORY_SYSRET:
        case ZYDIS_CATEGORY_SYSTEM:
        case ZYDIS_CATEGORY_DECIMAL:
        case ZYDIS_CATEGORY_PKU: /* what keeps mirrored programs out of the engine's memory */
        case ZYDIS_CATEGORY_XSAVE:
        case ZYDIS_CATEGORY_XSAVEOPT:
                return false;
        default:
                return true;
        }
}

/* Encodings that mean something else, or nothing, in 64-bit mode; and those whose memory operand is not ModRM's. */
static bool can_copy(const struct dbt_vcpu *v, const ZydisDecodedInstruction *z)
{
        switch (z->mnemonic) {
        case ZYDIS_MNEMONIC_LEA:
        case ZYDIS_MNEMONIC_SALC:
        case ZYDIS_MNEMONIC_BOUND:
        case ZYDIS_MNEMONIC_ARPL:
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR64:
                return false;
        default:
                break;
        }
        if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
                if (z->opcode >= 0x40 && z->opcode <= 0x4f)
                        return false;
                if (z->opcode == 0x82 || (z->opcode >= 0xa0 && z->opcode <= 0xa3))
                        return false;
        }
        return !(z->cpu_flags->modified & ~(uint32_t)NATIVE_FLAGS) && !(z->cpu_flags->set_0 & ~(uint32_t)NATIVE_FLAGS) &&
                !(z->cpu_flags->set_1 & ~(uint32_t)NATIVE_FLAGS) && !(z->cpu_flags->tested & ~(uint32_t)NATIVE_FLAGS) &&
                has_plain_category(z);
}

/* --- Operands ------------------------------------------------------------------------------------------------ */

/* Everything about an instruction while it is being prepared. */
struct prepare {
        struct native_plan plan;
        struct native_stub stub;
        const ZydisDecodedOperand *mem;
        bool has_xmm, has_mm, has_x87, has_mxcsr;
        bool amd;
};

static bool scan_register(struct prepare *p, const ZydisDecodedOperand *op)
{
        ZydisRegister r = op->reg.value;
        unsigned gpr;

        switch (ZydisRegisterGetClass(r)) {
        case ZYDIS_REGCLASS_GPR8:
        case ZYDIS_REGCLASS_GPR16:
        case ZYDIS_REGCLASS_GPR32:
        case ZYDIS_REGCLASS_GPR64:
                gpr = (unsigned)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r));
                if (gpr >= X86_NGPRS || (gpr == X86_RSP && op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN))
                        return false;
                if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
                        p->plan.reads |= (uint16_t)(1u << gpr);
                if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
                        p->plan.writes |= (uint16_t)(1u << gpr);
                return true;
        case ZYDIS_REGCLASS_X87:
                p->has_x87 = true;
                return true;
        case ZYDIS_REGCLASS_MMX:
                p->has_mm = true;
                return true;
        case ZYDIS_REGCLASS_XMM:
        case ZYDIS_REGCLASS_YMM:
                p->has_xmm = true;
                return ZydisRegisterGetId(r) < 16;
        case ZYDIS_REGCLASS_FLAGS:
                return true;
        default:
                break;
        }
        if (r == ZYDIS_REGISTER_MXCSR)
                p->has_mxcsr = true;
        else if (r == ZYDIS_REGISTER_X87CONTROL || r == ZYDIS_REGISTER_X87STATUS || r == ZYDIS_REGISTER_X87TAG)
                p->has_x87 = true;
        else
                return false;
        return true;
}

static bool scan_memory(struct prepare *p, const ZydisDecodedOperand *op)
{
        bool masked = p->plan.z->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || p->plan.z->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
                p->plan.z->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;

        if (p->mem || (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && !masked))
                return false;
        if (op->mem.type == ZYDIS_MEMOP_TYPE_MIB)
                return false;
        p->mem = op;
        if (op->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
                return true;
        p->plan.mem_is_rdi = masked;
        p->stub.mem_size = op->size / 8;
        if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
                p->stub.access |= NATIVE_READ;
        if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
                p->stub.access |= NATIVE_WRITE;
        return true;
}

static bool scan_operands(struct prepare *p)
{
        for (unsigned k = 0; k < p->plan.z->operand_count; k++) {
                const ZydisDecodedOperand *op = &p->plan.ops[k];

                switch (op->type) {
                case ZYDIS_OPERAND_TYPE_REGISTER:
                        if (!scan_register(p, op))
                                return false;
                        break;
                case ZYDIS_OPERAND_TYPE_MEMORY:
                        if (!scan_memory(p, op))
                                return false;
                        break;
                case ZYDIS_OPERAND_TYPE_POINTER:
                        return false;
                default:
                        if (op->imm.is_relative)
                                return false;
                        break;
                }
        }
        p->plan.mem = p->mem && p->stub.mem_size && p->stub.access;
        return p->stub.mem_size <= NATIVE_BOUNCE_SIZE || p->mem->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
                p->plan.z->mnemonic == ZYDIS_MNEMONIC_CLFLUSH;
}

/* All arithmetic flags are loaded and stored unless all are written: those that stay, are undefined, or that Zydis does not
 * know about (vtestps clears AF and PF) are then right in any case. */
static void scan_flags(struct prepare *p)
{
        const ZydisAccessedFlags *f = p->plan.z->cpu_flags;
        uint32_t set = (uint32_t)(f->modified | f->set_0 | f->set_1) & NATIVE_FLAGS;
        ZydisInstructionCategory c = p->plan.z->meta.category;

        if (set || (f->undefined & NATIVE_FLAGS))
                p->plan.flags_out = NATIVE_FLAGS;
        /* Shifts by zero keep the flags. */
        p->plan.flags_in = (f->tested & NATIVE_FLAGS) || (p->plan.flags_out && set != NATIVE_FLAGS) ||
                c == ZYDIS_CATEGORY_SHIFT || c == ZYDIS_CATEGORY_ROTATE;
}

/* The operand size prefix selects the width of general registers and, for x87, the format of an environment. Elsewhere it is a
 * part of the opcode. */
static bool needs_prefix_66(const struct prepare *p)
{
        const ZydisDecodedInstruction *z = p->plan.z;

        if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || z->operand_width != 16)
                return false;
        switch (z->mnemonic) {
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FRSTOR:
                return true;
        case ZYDIS_MNEMONIC_MOVNTI:
                return false;
        default:
                return p->stub.class == NATIVE_GPR;
        }
}

/* --- Class, alignment ---------------------------------------------------------------------------------------- */

/* With a memory operand these name no XMM register and, in Zydis, no MXCSR. */
static bool is_conversion(const ZydisDecodedInstruction *z)
{
        switch (z->mnemonic) {
        case ZYDIS_MNEMONIC_CVTPS2PI:
        case ZYDIS_MNEMONIC_CVTTPS2PI:
        case ZYDIS_MNEMONIC_CVTPD2PI:
        case ZYDIS_MNEMONIC_CVTTPD2PI:
        case ZYDIS_MNEMONIC_CVTSS2SI:
        case ZYDIS_MNEMONIC_CVTTSS2SI:
        case ZYDIS_MNEMONIC_CVTSD2SI:
        case ZYDIS_MNEMONIC_CVTTSD2SI:
        case ZYDIS_MNEMONIC_VCVTSS2SI:
        case ZYDIS_MNEMONIC_VCVTTSS2SI:
        case ZYDIS_MNEMONIC_VCVTSD2SI:
        case ZYDIS_MNEMONIC_VCVTTSD2SI:
                return true;
        default:
                return false;
        }
}

static enum native_class classify(const struct prepare *p)
{
        const ZydisDecodedInstruction *z = p->plan.z;
        bool vector = p->has_xmm || p->has_mxcsr || is_conversion(z);

        if (z->mnemonic == ZYDIS_MNEMONIC_FWAIT)
                return NATIVE_FWAIT;
        if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
                vector |= z->mnemonic == ZYDIS_MNEMONIC_VZEROALL || z->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER;
                return vector ? NATIVE_AVX : NATIVE_GPR;
        }
        if (vector)
                return NATIVE_SSE;
        if (p->has_mm || z->mnemonic == ZYDIS_MNEMONIC_EMMS)
                return NATIVE_MMX;
        if (p->has_x87 || z->meta.isa_set == ZYDIS_ISA_SET_X87 || z->meta.isa_set == ZYDIS_ISA_SET_FCMOV ||
                z->meta.isa_set == ZYDIS_ISA_SET_SSE3X87)
                return NATIVE_X87;
        return NATIVE_GPR;
}

static bool allows_unaligned(ZydisMnemonic m)
{
        switch (m) {
        case ZYDIS_MNEMONIC_MOVUPS:
        case ZYDIS_MNEMONIC_MOVUPD:
        case ZYDIS_MNEMONIC_MOVDQU:
        case ZYDIS_MNEMONIC_LDDQU:
        case ZYDIS_MNEMONIC_PCMPESTRI:
        case ZYDIS_MNEMONIC_PCMPESTRM:
        case ZYDIS_MNEMONIC_PCMPISTRI:
        case ZYDIS_MNEMONIC_PCMPISTRM:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
                return true;
        default:
                return false;
        }
}

/* Intel SDM vol. 2, 2.4: legacy SSE operands of 16 bytes are aligned but for those made for unaligned data; with VEX only
 * those of exception type 1 are. */
static uint8_t alignment(const struct prepare *p)
{
        const ZydisDecodedInstruction *z = p->plan.z;

        if (z->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
                return 15;
        if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
                return z->meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX1 ? (uint8_t)(p->stub.mem_size - 1) : 0;
        if (z->meta.isa_set == ZYDIS_ISA_SET_SHA)
                return p->amd ? 0 : 15; /* AMD's CPUs do not ask for it */
        if (p->stub.class == NATIVE_SSE && p->stub.mem_size == 16 && !allows_unaligned(z->mnemonic))
                return 15;
        return 0;
}

/* --- Special cases ------------------------------------------------------------------------------------------- */

static bool is_x87_control(ZydisMnemonic m)
{
        switch (m) {
        case ZYDIS_MNEMONIC_FNINIT:
        case ZYDIS_MNEMONIC_FNCLEX:
        case ZYDIS_MNEMONIC_FLDCW:
        case ZYDIS_MNEMONIC_FNSTCW:
        case ZYDIS_MNEMONIC_FNSTSW:
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_FENI8087_NOP:
        case ZYDIS_MNEMONIC_FDISI8087_NOP:
        case ZYDIS_MNEMONIC_FSETPM287_NOP:
                return true;
        default:
                return false;
        }
}

/* Raises a pending #MF before it looks at its memory operand. */
static bool is_waiting(const struct prepare *p)
{
        switch (p->plan.z->mnemonic) {
        case ZYDIS_MNEMONIC_FNSTCW:
        case ZYDIS_MNEMONIC_FNSTSW:
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FNSAVE:
                return false;
        default:
                return p->stub.class == NATIVE_X87 || p->has_mm;
        }
}

static uint8_t vector_number(const ZydisDecodedOperand *op)
{
        return (uint8_t)ZydisRegisterGetId(op->reg.value);
}

/* vmaskmovps xmm1, xmm2, m128 loads; vmaskmovps m128, xmm1, xmm2 stores: mask, then data. */
static void prepare_masked(struct prepare *p, struct dbt_insn *i, unsigned elem_size)
{
        p->stub.vec_mask = vector_number(&p->plan.ops[1]);
        p->stub.elem_size = (uint8_t)elem_size;
        i->fn = p->stub.access & NATIVE_WRITE ? native_run_masked_store : native_run_masked_load;
}

static void prepare_gather(struct prepare *p, struct dbt_insn *i, unsigned index_size, unsigned elem_size)
{
        const ZydisDecodedOperand *ops = p->plan.ops;
        unsigned data = ops[0].size / 8, index = ZydisRegisterGetWidth(p->plan.z->machine_mode, ops[1].mem.index) / 8;

        p->stub.vec_dest = vector_number(&ops[0]);
        p->stub.vec_index = (uint8_t)ZydisRegisterGetId(ops[1].mem.index);
        p->stub.vec_mask = vector_number(&ops[2]);
        p->stub.elem_size = (uint8_t)elem_size;
        p->stub.index_size = (uint8_t)index_size;
        p->stub.elem_count = (uint8_t)(data / elem_size < index / index_size ? data / elem_size : index / index_size);
        p->stub.scale = ops[1].mem.scale;
        i->mem.index = DBT_REG_NONE;
        i->mem.scale = 0;
        i->fn = native_run_gather;
}

/* The operand at DS:rDI (segment override applied) that no ModRM byte names. */
static void prepare_byte_mask(struct prepare *p, struct dbt_insn *i)
{
        struct dbt_mem *m = &i->mem;

        p->plan.writes &= (uint16_t)~(1u << X86_RDI);
        p->plan.reads &= (uint16_t)~(1u << X86_RDI);
        p->stub.vec_mask = vector_number(&p->plan.ops[1]);
        p->stub.mem_size = p->has_xmm ? 16 : 8;
        m->base = X86_RDI;
        m->index = DBT_REG_NONE;
        m->scale = 0;
        m->disp = 0;
        m->seg = (uint8_t)(p->mem->mem.segment - ZYDIS_REGISTER_ES);
        m->addr_size = p->plan.z->address_width / 8;
        m->fast = p->plan.mode64 && m->addr_size == 8;
        m->seg_base = DBT_SEG_BASE(m->seg);
        i->fn = native_run_byte_mask;
}

static void choose_handler(struct prepare *p, struct dbt_insn *i)
{
        switch (p->plan.z->mnemonic) {
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FNSAVE:
                i->fn = native_run_save_env;
                return;
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FRSTOR:
                i->fn = native_run_load_env;
                return;
        case ZYDIS_MNEMONIC_FNINIT:
                i->fn = native_run_fninit;
                return;
        case ZYDIS_MNEMONIC_FNCLEX:
        case ZYDIS_MNEMONIC_FLDCW:
                i->fn = native_run_settled;
                return;
        case ZYDIS_MNEMONIC_LDMXCSR:
        case ZYDIS_MNEMONIC_VLDMXCSR:
                i->fn = native_run_ldmxcsr;
                return;
        case ZYDIS_MNEMONIC_CLFLUSH:
        case ZYDIS_MNEMONIC_CLFLUSHOPT:
        case ZYDIS_MNEMONIC_CLWB:
                i->fn = native_run_cache_line;
                return;
        case ZYDIS_MNEMONIC_CLDEMOTE:
        case ZYDIS_MNEMONIC_NOP:
        case ZYDIS_MNEMONIC_PAUSE:
                i->fn = native_run_nop;
                return;
        case ZYDIS_MNEMONIC_VMASKMOVPS:
        case ZYDIS_MNEMONIC_VPMASKMOVD:
                prepare_masked(p, i, 4);
                return;
        case ZYDIS_MNEMONIC_VMASKMOVPD:
        case ZYDIS_MNEMONIC_VPMASKMOVQ:
                prepare_masked(p, i, 8);
                return;
        case ZYDIS_MNEMONIC_VCVTPS2PH:
                if (p->stub.mem_size) {
                        i->fn = native_run_convert;
                        return;
                }
                break;
        case ZYDIS_MNEMONIC_MASKMOVQ:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
        case ZYDIS_MNEMONIC_VMASKMOVDQU:
                prepare_byte_mask(p, i);
                return;
        case ZYDIS_MNEMONIC_VZEROUPPER:
        case ZYDIS_MNEMONIC_VZEROALL:
                p->stub.keep = p->plan.z->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER ? 16 : 0;
                i->fn = p->plan.mode64 ? native_run_reg : native_run_vzero32;
                return;
        case ZYDIS_MNEMONIC_VGATHERDPS:
        case ZYDIS_MNEMONIC_VPGATHERDD:
                prepare_gather(p, i, 4, 4);
                return;
        case ZYDIS_MNEMONIC_VGATHERDPD:
        case ZYDIS_MNEMONIC_VPGATHERDQ:
                prepare_gather(p, i, 4, 8);
                return;
        case ZYDIS_MNEMONIC_VGATHERQPS:
        case ZYDIS_MNEMONIC_VPGATHERQD:
                prepare_gather(p, i, 8, 4);
                return;
        case ZYDIS_MNEMONIC_VGATHERQPD:
        case ZYDIS_MNEMONIC_VPGATHERQQ:
                prepare_gather(p, i, 8, 8);
                return;
        default:
                break;
        }
        if (p->plan.z->meta.category == ZYDIS_CATEGORY_PREFETCH || p->plan.z->meta.category == ZYDIS_CATEGORY_WIDENOP)
                i->fn = native_run_nop;
        else if (p->stub.class == NATIVE_X87)
                i->fn = native_run_x87;
        else
                i->fn = p->plan.mem ? native_run_mem : native_run_reg;
}

static bool needs_code(dbt_handler fn)
{
        return fn != native_run_nop && fn != native_run_cache_line && fn != native_run_gather &&
                fn != native_run_vzero32;
}

static void describe(struct prepare *p, const struct dbt_vcpu *v)
{
        const ZydisDecodedInstruction *z = p->plan.z;

        p->plan.mode64 = v->mode & DBT_MODE_CS64;
        p->stub.class = (uint8_t)classify(p);
        p->plan.prefix_66 = needs_prefix_66(p);
        p->stub.align_mask = alignment(p);
        p->stub.lock = z->attributes & ZYDIS_ATTRIB_HAS_LOCK;
        if (z->mnemonic == ZYDIS_MNEMONIC_XCHG && p->mem)
                p->stub.lock = true;
        p->stub.waits = is_waiting(p);
        if (p->stub.class == NATIVE_X87) {
                p->stub.tracks = !is_x87_control(z->mnemonic);
                p->stub.fop = (uint16_t)((z->opcode & 7) << 8 | z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 |
                        z->raw.modrm.rm);
        }
        scan_flags(p);
}

bool dbt_native_prepare(struct dbt_vcpu *v, struct dbt_insn *i, const ZydisDecodedInstruction *z,
        const ZydisDecodedOperand *ops, const uint8_t *bytes)
{
        struct prepare p = {.plan = {.z = z, .ops = ops, .bytes = bytes}, .amd = v->sys.amd};
        uint8_t code[NATIVE_CODE_MAX];
        unsigned size = 0;

        if (!is_offered(v, z) || !can_copy(v, z) || !scan_operands(&p))
                return false;
        describe(&p, v);
        choose_handler(&p, i);
        native_describe(&p.plan, &p.stub);
        if (needs_code(i->fn)) {
                size = native_emit(&p.plan, code, &p.stub.fault_offset);
                if (!size)
                        return false;
        }
        p.stub.size = (uint16_t)size;
        i->native = native_stub_get(v->native, &p.stub, code);
        if (!i->native)
                return false;
        i->mem.stub = true;
        if (p.stub.class != NATIVE_GPR)
                i->flags |= DBT_INSN_VECTOR;
        return true;
}
