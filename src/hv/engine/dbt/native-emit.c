/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Machine code of the stubs: a frame around a re-encoded copy of the guest's instruction. */

#include "hv/engine/dbt/native.h"

/* Registers with their host numbers, which are those of enum x86_gpr. */
#define BIT(r) (1u << (r))
#define CALLEE_SAVED (BIT(X86_RBX) | BIT(X86_RBP) | BIT(X86_R12) | BIT(X86_R13) | BIT(X86_R14) | BIT(X86_R15))
#define NO_REG 0xff

struct emit {
        uint8_t *b;
        unsigned n;
        uint8_t v;       /* holds the vCPU */
        uint8_t mem;     /* holds the host pointer */
        uint8_t sub;     /* stands in for the guest's RSP, NO_REG if it has none */
        uint16_t used;   /* host registers that the copied instruction uses */
        uint16_t saved;  /* pushed */
};

static void put(struct emit *e, unsigned byte)
{
        if (e->n < NATIVE_CODE_MAX)
                e->b[e->n] = (uint8_t)byte;
        e->n++;
}

static void put32(struct emit *e, uint32_t value)
{
        for (unsigned k = 0; k < 4; k++)
                put(e, value >> (8 * k) & 0xff);
}

static void push(struct emit *e, unsigned r)
{
        if (r >= 8)
                put(e, 0x41);
        put(e, 0x50 | (r & 7));
}

static void pop(struct emit *e, unsigned r)
{
        if (r >= 8)
                put(e, 0x41);
        put(e, 0x58 | (r & 7));
}

static void mov_reg(struct emit *e, unsigned dst, unsigned src)
{
        put(e, 0x48 | (src >= 8 ? 4 : 0) | (dst >= 8 ? 1 : 0));
        put(e, 0x89);
        put(e, 0xc0 | (src & 7) << 3 | (dst & 7));
}

/* opcode /reg with [v + offset], 64-bit. */
static void with_vcpu(struct emit *e, unsigned opcode, unsigned reg, unsigned offset)
{
        put(e, 0x48 | (reg >= 8 ? 4 : 0) | (e->v >= 8 ? 1 : 0));
        put(e, opcode);
        if (offset < 128) {
                put(e, 0x40 | (reg & 7) << 3 | (e->v & 7));
                put(e, offset);
        } else {
                put(e, 0x80 | (reg & 7) << 3 | (e->v & 7));
                put32(e, offset);
        }
}

/* and r32, imm32 */
static void and_imm(struct emit *e, unsigned r, uint32_t imm)
{
        if (r >= 8)
                put(e, 0x41);
        put(e, 0x81);
        put(e, 0xe0 | (r & 7));
        put32(e, imm);
}

/* --- Which host register does what --------------------------------------------------------------------------- */

static uint8_t choose(const uint8_t *candidates, unsigned n, unsigned taken)
{
        for (unsigned k = 0; k < n; k++)
                if (!(taken & BIT(candidates[k])))
                        return candidates[k];
        return NO_REG;
}

/* R12 and RSP need a SIB byte as a base, RBP and R13 a displacement. */
static const uint8_t v_candidates[] = {X86_RDI, X86_R11, X86_R10, X86_R9, X86_R8, X86_RAX, X86_RCX, X86_RDX, X86_RBX};
static const uint8_t mem_candidates[] = {X86_RSI, X86_RDX, X86_RCX, X86_RAX, X86_RBX};
static const uint8_t sub_candidates[] = {X86_RDX, X86_RCX, X86_RAX, X86_RBX};
static const uint8_t scratch_candidates[] = {X86_RAX, X86_RCX, X86_RDX, X86_R8};

static bool assign_registers(struct emit *e, const struct native_plan *p)
{
        unsigned used = p->reads | p->writes, taken;

        e->sub = NO_REG;
        if (used & BIT(X86_RSP)) {
                e->sub = choose(sub_candidates, ARRAY_SIZE(sub_candidates), used);
                if (e->sub == NO_REG)
                        return false;
                used = (used & ~BIT(X86_RSP)) | BIT(e->sub);
        }
        e->used = (uint16_t)used;
        taken = used | BIT(X86_RSI);
        e->mem = NO_REG;
        if (p->mem_is_rdi) {
                e->mem = X86_RDI;
                taken |= BIT(X86_RDI);
        } else if (p->mem) {
                e->mem = choose(mem_candidates, ARRAY_SIZE(mem_candidates), used);
                if (e->mem == NO_REG)
                        return false;
                taken |= BIT(e->mem);
        }
        e->v = choose(v_candidates, ARRAY_SIZE(v_candidates), taken);
        if (e->v == NO_REG)
                return false;
        e->saved = (used | BIT(e->v) | (e->mem == NO_REG ? 0 : BIT(e->mem))) & CALLEE_SAVED;
        return true;
}

static unsigned scratch(const struct emit *e)
{
        return choose(scratch_candidates, ARRAY_SIZE(scratch_candidates),
                BIT(e->v) | (e->mem == NO_REG ? 0 : BIT(e->mem)));
}

static unsigned host_reg(const struct emit *e, unsigned guest)
{
        return guest == X86_RSP ? e->sub : guest;
}

/* --- The frame ----------------------------------------------------------------------------------------------- */

static void prologue(struct emit *e, const struct native_plan *p)
{
        unsigned regs = p->reads | p->writes;

        for (unsigned r = 0; r < X86_NGPRS; r++)
                if (e->saved & BIT(r))
                        push(e, r);
        if (e->v != X86_RDI)
                mov_reg(e, e->v, X86_RDI);
        if (e->mem != NO_REG && e->mem != X86_RSI)
                mov_reg(e, e->mem, X86_RSI);
        if (p->flags_in) {
                unsigned s = scratch(e);

                with_vcpu(e, 0x8b, s, offsetof(struct dbt_vcpu, rflags));
                and_imm(e, s, NATIVE_FLAGS);
                push(e, s);
                put(e, 0x9d); /* popfq */
        }
        for (unsigned r = 0; r < X86_NGPRS; r++)
                if (regs & BIT(r))
                        with_vcpu(e, 0x8b, host_reg(e, r), (unsigned)offsetof(struct dbt_vcpu, gpr) + r * 8);
}

static void leave(struct emit *e, unsigned result)
{
        put(e, 0xb8); /* mov eax, imm32 */
        put32(e, result);
        for (unsigned r = X86_NGPRS; r-- > 0;)
                if (e->saved & BIT(r))
                        pop(e, r);
        put(e, 0xc3);
}

static void epilogue(struct emit *e, const struct native_plan *p)
{
        for (unsigned r = 0; r < X86_NGPRS; r++)
                if (p->writes & BIT(r))
                        with_vcpu(e, 0x89, host_reg(e, r), (unsigned)offsetof(struct dbt_vcpu, gpr) + r * 8);
        if (p->flags_out) {
                unsigned s = scratch(e);

                put(e, 0x9c); /* pushfq */
                pop(e, s);
                and_imm(e, s, p->flags_out);
                with_vcpu(e, 0x81, 4, offsetof(struct dbt_vcpu, rflags)); /* and qword, imm32 */
                put32(e, ~p->flags_out);
                with_vcpu(e, 0x09, s, offsetof(struct dbt_vcpu, rflags)); /* or */
        }
        leave(e, 0);
}

/* --- The copy ------------------------------------------------------------------------------------------------ */

/* The register fields of the encoding with their extension bits, after substitution. */
struct fields {
        unsigned reg, rm, vvvv, opcode_reg;
        bool rm_is_mem;
};

static void substitute(const struct emit *e, const struct native_plan *p, struct fields *f)
{
        for (unsigned k = 0; k < p->z->operand_count_visible; k++) {
                const ZydisDecodedOperand *op = &p->ops[k];

                if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
                        continue;
                switch (op->reg.value) {
                case ZYDIS_REGISTER_RSP:
                case ZYDIS_REGISTER_ESP:
                case ZYDIS_REGISTER_SP:
                case ZYDIS_REGISTER_SPL:
                        break;
                default:
                        continue;
                }
                if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
                        f->reg = e->sub;
                else if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
                        f->rm = e->sub;
                else if (op->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
                        f->vvvv = e->sub;
                else if (op->encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
                        f->opcode_reg = e->sub;
        }
}

static void put_modrm(struct emit *e, const struct native_plan *p, const struct fields *f)
{
        if (!(p->z->attributes & ZYDIS_ATTRIB_HAS_MODRM))
                return;
        put(e, (f->rm_is_mem ? 0 : 0xc0) | (f->reg & 7) << 3 | (f->rm & 7));
}

static void put_immediate(struct emit *e, const struct native_plan *p, unsigned mask)
{
        const ZydisDecodedInstruction *z = p->z;

        if (!z->raw.imm[0].size)
                return;
        for (unsigned k = z->raw.imm[0].offset; k < z->length; k++)
                put(e, p->bytes[k] & mask);
}

static bool is_legacy_prefix(uint8_t b)
{
        switch (b) {
        case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: case 0x66: case 0x67: case 0xf0: case 0xf2: case 0xf3:
                return true;
        default:
                return false;
        }
}

/* Segment and address size prefixes are not copied: they belong to the guest's memory operand. */
static void put_prefixes(struct emit *e, const struct native_plan *p)
{
        const ZydisDecodedInstruction *z = p->z;
        bool have_66 = false;

        if (z->attributes & ZYDIS_ATTRIB_HAS_LOCK)
                put(e, 0xf0);
        for (unsigned k = 0; k < z->raw.prefix_count; k++) {
                uint8_t b = z->raw.prefixes[k].value;

                if (z->raw.prefixes[k].type != ZYDIS_PREFIX_TYPE_MANDATORY)
                        continue;
                if (b == 0x66 || b == 0xf2 || b == 0xf3)
                        put(e, b);
                have_66 |= b == 0x66;
        }
        if (p->prefix_66 && !have_66)
                put(e, 0x66);
}

static void copy_legacy(struct emit *e, const struct native_plan *p, struct fields *f)
{
        const ZydisDecodedInstruction *z = p->z;
        unsigned first = 0, last, rex = 0;
        bool has_rex = p->mode64 && (z->attributes & ZYDIS_ATTRIB_HAS_REX);

        while (is_legacy_prefix(p->bytes[first]) || (p->mode64 && (p->bytes[first] & 0xf0) == 0x40))
                first++;
        if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
                last = z->raw.modrm.offset;
        else
                last = z->raw.imm[0].size ? z->raw.imm[0].offset : z->length;
        f->opcode_reg = (p->bytes[last - 1] & 7) | (has_rex && z->raw.rex.B ? 8 : 0);
        substitute(e, p, f);

        put_prefixes(e, p);
        if (has_rex)
                rex = 0x40 | (z->raw.rex.W ? 8 : 0);
        if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
                rex |= (f->reg >= 8 ? 4 : 0) | (f->rm >= 8 ? 1 : 0);
        else
                rex |= f->opcode_reg >= 8 ? 1 : 0;
        if (rex)
                put(e, 0x40 | rex);
        for (unsigned k = first; k + 1 < last; k++)
                put(e, p->bytes[k]);
        if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM)
                put(e, p->bytes[last - 1]);
        else
                put(e, (p->bytes[last - 1] & ~7u) | (f->opcode_reg & 7));
        put_modrm(e, p, f);
        put_immediate(e, p, 0xff);
}

/* Outside of 64-bit mode VEX.W means nothing for general registers; on the host it would make them 64 bits wide. */
bool native_vex_w(const struct native_plan *p)
{
        const ZydisDecodedInstruction *z = p->z;

        if (p->mode64)
                return z->raw.vex.W;
        for (unsigned k = 0; k < z->operand_count_visible; k++)
                if (p->ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                        ZydisRegisterGetClass(p->ops[k].reg.value) == ZYDIS_REGCLASS_GPR32)
                        return false;
        switch (z->mnemonic) {
        case ZYDIS_MNEMONIC_VMOVD:
        case ZYDIS_MNEMONIC_VPINSRD:
        case ZYDIS_MNEMONIC_VPEXTRD:
        case ZYDIS_MNEMONIC_VPCMPESTRI: /* lengths in EAX and EDX */
        case ZYDIS_MNEMONIC_VPCMPESTRM:
        case ZYDIS_MNEMONIC_VCVTSI2SS:
        case ZYDIS_MNEMONIC_VCVTSI2SD:
                return false;
        default:
                return z->raw.vex.W;
        }
}

static void copy_vex(struct emit *e, const struct native_plan *p, struct fields *f)
{
        const ZydisDecodedInstruction *z = p->z;

        f->vvvv = ~z->raw.vex.vvvv & (p->mode64 ? 15 : 7);
        substitute(e, p, f);
        put(e, 0xc4);
        put(e, (f->reg >= 8 ? 0 : 0x80) | 0x40 | (f->rm >= 8 ? 0 : 0x20) | z->raw.vex.m_mmmm);
        put(e, (native_vex_w(p) ? 0x80 : 0) | (~f->vvvv & 15) << 3 | (z->raw.vex.L ? 4 : 0) | z->raw.vex.pp);
        put(e, z->opcode);
        put_modrm(e, p, f);
        /* A register in the immediate has no fourth bit outside of 64-bit mode. */
        put_immediate(e, p, !p->mode64 && z->operand_count_visible == 4 &&
                        p->ops[3].encoding == ZYDIS_OPERAND_ENCODING_IS4 ? 0x7f : 0xff);
}

static void copy_instruction(struct emit *e, const struct native_plan *p)
{
        const ZydisDecodedInstruction *z = p->z;
        bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
        struct fields f = {.reg = z->raw.modrm.reg, .rm = z->raw.modrm.rm};

        f.rm_is_mem = p->mem && !p->mem_is_rdi;
        if (p->mode64 && vex) {
                f.reg |= z->raw.vex.R ? 0 : 8;
                f.rm |= z->raw.vex.B ? 0 : 8;
        } else if (p->mode64) {
                f.reg |= z->raw.rex.R ? 8 : 0;
                f.rm |= z->raw.rex.B ? 8 : 0;
        }
        if (f.rm_is_mem)
                f.rm = e->mem;
        if (vex)
                copy_vex(e, p, &f);
        else
                copy_legacy(e, p, &f);
}

unsigned native_emit(const struct native_plan *plan, uint8_t *buf, uint16_t *ret_fault)
{
        struct emit e = {.b = buf};

        if (!assign_registers(&e, plan))
                return 0;
        prologue(&e, plan);
        copy_instruction(&e, plan);
        epilogue(&e, plan);
        *ret_fault = (uint16_t)e.n;
        leave(&e, 1);
        return e.n <= NATIVE_CODE_MAX ? e.n : 0;
}
