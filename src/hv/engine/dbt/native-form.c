/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the translator needs to know of an instruction to copy it with other registers. */

#include "hv/engine/dbt/native.h"

static bool is_float(ZydisElementType t)
{
        return t == ZYDIS_ELEMENT_TYPE_FLOAT16 || t == ZYDIS_ELEMENT_TYPE_FLOAT32 || t == ZYDIS_ELEMENT_TYPE_FLOAT64 ||
                t == ZYDIS_ELEMENT_TYPE_FLOAT80;
}

static bool is_register(const ZydisDecodedOperand *op, ZydisRegisterClass class)
{
        return op->type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(op->reg.value) == class;
}

/* x87 and MMX instructions raise what earlier ones left pending. */
static bool may_wait(const struct native_plan *p, const struct native_stub *s)
{
        if (s->class == NATIVE_X87 || s->class == NATIVE_MMX || s->class == NATIVE_FWAIT)
                return true;
        for (unsigned k = 0; k < p->z->operand_count; k++)
                if (is_register(&p->ops[k], ZYDIS_REGCLASS_MMX) || is_register(&p->ops[k], ZYDIS_REGCLASS_X87))
                        return true;
        return false;
}

/* Is it of a type with SIMD floating-point exceptions (Intel SDM vol. 2, 2.4)? */
static bool has_simd_exceptions(const ZydisDecodedInstruction *z)
{
        switch (z->meta.exception_class) {
        case ZYDIS_EXCEPTION_CLASS_SSE2:
        case ZYDIS_EXCEPTION_CLASS_SSE3:
        case ZYDIS_EXCEPTION_CLASS_AVX2:
        case ZYDIS_EXCEPTION_CLASS_AVX3:
        case ZYDIS_EXCEPTION_CLASS_AVX11:
                return true;
        default:
                return false;
        }
}

/* Can the copy raise an exception on the host? In doubt, yes: Zydis knows each of these things for most instructions, but not for all. */
static bool may_fault(const struct native_plan *p, const struct native_stub *s)
{
        ZydisInstructionCategory c = p->z->meta.category;

        if (s->class == NATIVE_GPR)
                return false;
        if (may_wait(p, s) || s->mem_size >= 16 || s->align_mask || has_simd_exceptions(p->z))
                return true;
        if (c == ZYDIS_CATEGORY_DATAXFER || c == ZYDIS_CATEGORY_LOGICAL_FP)
                return false;
        for (unsigned k = 0; k < p->z->operand_count; k++) {
                if (is_float(p->ops[k].element_type) ||
                        (p->ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER && p->ops[k].reg.value == ZYDIS_REGISTER_MXCSR))
                        return true;
        }
        return c == ZYDIS_CATEGORY_CONVERT;
}

/* False: not a field of ModRM or VEX. */
static bool add_use(struct native_form *f, const ZydisDecodedOperand *op, unsigned use)
{
        switch (op->encoding) {
        case ZYDIS_OPERAND_ENCODING_MODRM_REG:
                f->reg_use = use & 3;
                return true;
        case ZYDIS_OPERAND_ENCODING_MODRM_RM:
                f->rm_use = use & 3;
                return true;
        case ZYDIS_OPERAND_ENCODING_NDSNDD:
                f->vvvv_use = use & 3;
                return true;
        default:
                return false;
        }
}

/* One that no field names: those of pcmpestri and its kin, of mulx and of fnstsw ax. */
static bool add_fixed(struct native_form *f, const ZydisDecodedOperand *op, unsigned gpr, unsigned use)
{
        if (gpr == X86_RAX) {
                f->reads_rax = true; /* what is written may be a part */
                f->writes_rax |= use & NATIVE_WRITE;
                return op->size >= 16;
        }
        f->writes_rcx |= gpr == X86_RCX && use == NATIVE_WRITE;
        return use == NATIVE_READ ? gpr == X86_RDX : gpr == X86_RCX && use == NATIVE_WRITE;
}

static bool add_register(struct native_form *f, const ZydisDecodedOperand *op)
{
        unsigned use = (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? NATIVE_READ : 0) |
                (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? NATIVE_WRITE : 0);
        unsigned gpr = (unsigned)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op->reg.value));

        if (use & NATIVE_WRITE)
                f->writes |= (uint16_t)(1u << gpr);
        if (op->encoding == ZYDIS_OPERAND_ENCODING_NONE)
                return add_fixed(f, op, gpr, use);
        if (op->reg.value >= ZYDIS_REGISTER_AH && op->reg.value <= ZYDIS_REGISTER_BH)
                return false;
        f->byte |= op->size == 8;
        if (use == NATIVE_WRITE && op->size < 32)
                use |= NATIVE_READ; /* the other bits stay */
        return add_use(f, op, use);
}

static bool is_general_register(const ZydisDecodedOperand *op)
{
        return is_register(op, ZYDIS_REGCLASS_GPR8) || is_register(op, ZYDIS_REGCLASS_GPR16) || is_register(op, ZYDIS_REGCLASS_GPR32) ||
                is_register(op, ZYDIS_REGCLASS_GPR64);
}

static bool is_prefix(uint8_t b)
{
        return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) || b == 0xf0 || b == 0xf2 || b == 0xf3 ||
                (b & 0xf0) == 0x40;
}

/* Prefixes that are a part of the operation, and where the bytes behind the prefixes are. */
static void describe_prefixes(const struct native_plan *p, struct native_form *f)
{
        const ZydisDecodedInstruction *z = p->z;

        f->op16 = p->prefix_66;
        for (unsigned k = 0; k < z->raw.prefix_count; k++) {
                uint8_t b = z->raw.prefixes[k].value;

                if (z->raw.prefixes[k].type != ZYDIS_PREFIX_TYPE_MANDATORY)
                        continue;
                f->op16 |= b == 0x66;
                if (b == 0xf2 || b == 0xf3)
                        f->rep = b;
        }
        if (z->attributes & ZYDIS_ATTRIB_HAS_REX)
                f->rex = (uint8_t)(0x40 | z->raw.rex.W << 3 | z->raw.rex.R << 2 | z->raw.rex.X << 1 | z->raw.rex.B);
        while (is_prefix(p->bytes[f->opcode]))
                f->opcode++;
}

/* Outside of 64-bit mode some bits that would name registers 8 to 15 are ignored. */
static bool has_ignored_bits(const struct native_plan *p)
{
        const ZydisDecodedInstruction *z = p->z;

        if (p->mode64 || z->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
                return false;
        for (unsigned k = 0; k < z->operand_count_visible; k++)
                if (p->ops[k].encoding == ZYDIS_OPERAND_ENCODING_IS4 && (p->bytes[z->length - 1] & 0x80))
                        return true;
        return !(z->raw.vex.vvvv & 8) || (z->raw.vex.size == 3 && !z->raw.vex.B);
}

static uint8_t flag_set(uint32_t flags)
{
        return (flags & X86_FLAG_CF ? NATIVE_CF : 0) | (flags & X86_FLAG_PF ? NATIVE_PF : 0) | (flags & X86_FLAG_AF ? NATIVE_AF : 0) |
                (flags & X86_FLAG_ZF ? NATIVE_ZF : 0) | (flags & X86_FLAG_SF ? NATIVE_SF : 0) | (flags & X86_FLAG_OF ? NATIVE_OF : 0);
}

static void describe_flags(const struct native_plan *p, struct native_form *f)
{
        const ZydisAccessedFlags *z = p->z->cpu_flags;

        f->flags_read = flag_set(z->tested);
        f->flags_written = flag_set((z->modified | z->set_0 | z->set_1) & ~z->undefined);
        f->flags_touched = p->flags_out;
}

void native_describe(const struct native_plan *p, struct native_stub *s)
{
        const ZydisDecodedInstruction *z = p->z;
        struct native_form *f = &s->form;

        *f = (struct native_form){ .vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX };
        describe_prefixes(p, f);
        if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
                f->modrm = z->raw.modrm.offset;
        if (z->raw.imm[0].size)
                f->n_imm = (uint8_t)(z->length - z->raw.imm[0].offset);
        describe_flags(p, f);
        f->may_fault = may_fault(p, s);
        f->w = f->vex && native_vex_w(p);
        f->copy = !s->lock && !has_ignored_bits(p);
        for (unsigned k = 0; k < z->operand_count; k++)
                if (is_general_register(&p->ops[k]) && !add_register(f, &p->ops[k]))
                        f->copy = false;
}
