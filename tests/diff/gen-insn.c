/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Makes random instructions: random opcodes with prefixes, kept if Zydis knows them and they are in the engine's range; memory
 * operands are steered to the data area most of the time. */

#include <string.h>

#include "gen.h"

static ZydisDecoder decoder64, decoder32, decoder16;

/* Mostly general-purpose instructions in 64-bit mode, which is what the translator is about. */
static bool integer_only;

void gen_init(bool integer)
{
        integer_only = integer;
        ZydisDecoderInit(&decoder64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisDecoderInit(&decoder16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&decoder32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
}

bool gen_integer_only(void)
{
        return integer_only;
}

unsigned pick_register(struct gen *g, uint16_t set)
{
        unsigned r = rng_below(&g->r, g->s->bits != 64 ? 8 : 16);

        if (g->s->bits != 64)
                set &= 0xff;
        if (!set || rng_percent(&g->r, g->s->block ? 1 : 8))
                return r;
        while (!(set >> r & 1))
                r = (r + 1) & 15;
        return r;
}

void put_bytes(struct sequence *s, const void *bytes, unsigned n)
{
        memcpy(s->code + s->length, bytes, n);
        s->length += n;
}

/* --- Encodings --------------------------------------------------------------------------------------------------- */

/* ModRM, SIB and displacement with their extension bits. */
struct modrm {
        uint8_t b[6];
        unsigned n;
        bool x, bb; /* index and base (or rm) are registers 8..15 */
};

static unsigned random_scale(struct gen *g)
{
        return rng_below(&g->r, 4);
}

static int32_t random_disp(struct gen *g)
{
        if (g->s->block)
                return (int32_t)rng_below(&g->r, 1024) - 512;
        return rng_percent(&g->r, 3) ? (int32_t)rng_next(&g->r) : (int32_t)rng_below(&g->r, 4096) - 2048;
}

static void put_disp(struct modrm *m, int32_t disp, unsigned size)
{
        memcpy(m->b + m->n, &disp, size);
        m->n += size;
}

static void memory_modrm(struct gen *g, struct modrm *m, unsigned reg)
{
        unsigned kind = rng_below(&g->r, 16), base = pick_register(g, g->pointers), mod = rng_below(&g->r, 3);
        int32_t disp = random_disp(g);

        if (rng_percent(&g->r, g->s->block ? 95 : 60)) /* keeps what alignment the base has */
                disp &= g->s->block ? ~31 : ~15;
        if (kind == 0) {
                *m = (struct modrm){.b = {(uint8_t)(reg << 3 | 5)}, .n = 1};
                put_disp(m, (int32_t)data_pointer(&g->r), 4); /* in 64-bit mode relative to RIP, see below */
                return;
        }
        if (kind == 1) { /* absolute, SIB without base and index */
                *m = (struct modrm){.b = {(uint8_t)(reg << 3 | 4), 0x25}, .n = 2};
                put_disp(m, (int32_t)data_pointer(&g->r), 4);
                return;
        }
        if (mod == 0 && (base & 7) == 5)
                mod = 1;
        *m = (struct modrm){.bb = base >= 8};
        if (kind < 8 || (base & 7) == 4) {
                unsigned index = pick_register(g, g->small);

                m->b[m->n++] = (uint8_t)(mod << 6 | reg << 3 | 4);
                m->b[m->n++] = (uint8_t)(random_scale(g) << 6 | (index & 7) << 3 | (base & 7));
                m->x = index >= 8;
        } else {
                m->b[m->n++] = (uint8_t)(mod << 6 | reg << 3 | (base & 7));
        }
        if (mod)
                put_disp(m, mod == 1 ? (int8_t)disp : disp, mod == 1 ? 1 : 4);
}

/* With 16-bit addressing: pairs of BX, BP, SI, DI. */
static void memory_modrm16(struct gen *g, struct modrm *m, unsigned reg)
{
        unsigned mod = rng_below(&g->r, 3), rm = rng_percent(&g->r, 70) ? 4 + rng_below(&g->r, 4) : rng_below(&g->r, 8);
        int32_t disp = random_disp(g);

        *m = (struct modrm){.b = {(uint8_t)(mod << 6 | reg << 3 | rm)}, .n = 1};
        if (mod == 0 && rm == 6)
                put_disp(m, (int32_t)(data_pointer(&g->r) - DATA_ADDR), 2);
        else if (mod)
                put_disp(m, disp & ~15, mod);
}

static void random_modrm(struct gen *g, struct modrm *m)
{
        unsigned reg = rng_below(&g->r, 8);

        if (rng_percent(&g->r, 45)) {
                *m = (struct modrm){.b = {(uint8_t)(0xc0 | reg << 3 | rng_below(&g->r, 8))}, .n = 1};
                m->bb = g->s->bits == 64 && rng_percent(&g->r, 30);
                return;
        }
        if (g->s->bits == 16 && rng_percent(&g->r, 90))
                memory_modrm16(g, m, reg);
        else
                memory_modrm(g, m, reg);
}

static void append(uint8_t *buf, unsigned *n, uint8_t byte)
{
        buf[(*n)++] = byte;
}

static void append_tail(struct gen *g, uint8_t *buf, unsigned *n, const struct modrm *m)
{
        for (unsigned k = 0; k < m->n; k++)
                append(buf, n, m->b[k]);
        for (unsigned k = 0; k < 8; k++)
                append(buf, n, (uint8_t)(rng_percent(&g->r, 50) ? rng_next(&g->r) : rng_below(&g->r, 4)));
}

static void append_prefixes(struct gen *g, uint8_t *buf, unsigned *n, bool vector)
{
        static const uint8_t segs[] = {0x64, 0x65, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e};
        static const uint8_t mandatory[] = {0x66, 0xf2, 0xf3};

        if (rng_percent(&g->r, 6))
                append(buf, n, segs[rng_below(&g->r, 8)]);
        if (rng_percent(&g->r, 5))
                append(buf, n, 0x67);
        if (vector) {
                if (rng_percent(&g->r, 75))
                        append(buf, n, mandatory[rng_below(&g->r, 3)]);
                return;
        }
        if (rng_percent(&g->r, 15))
                append(buf, n, 0x66);
        if (rng_percent(&g->r, 6))
                append(buf, n, 0xf0);
        if (rng_percent(&g->r, 8))
                append(buf, n, (uint8_t)(0xf2 + rng_below(&g->r, 2)));
}

static void append_rex(struct gen *g, uint8_t *buf, unsigned *n, const struct modrm *m)
{
        uint8_t rex;

        if (g->s->bits != 64)
                return;
        rex = (uint8_t)(0x40 | (m->x ? 2 : 0) | (m->bb ? 1 : 0));

        if (rng_percent(&g->r, 40))
                rex |= 8;
        if (rng_percent(&g->r, 40))
                rex |= 4;
        if (rex != 0x40 || rng_percent(&g->r, 10))
                append(buf, n, rex);
}

static void legacy_candidate(struct gen *g, uint8_t *buf)
{
        unsigned n = 0, map = rng_below(&g->r, 20);
        struct modrm m;

        random_modrm(g, &m);
        append_prefixes(g, buf, &n, map >= 10);
        append_rex(g, buf, &n, &m);
        if (map >= 6)
                append(buf, &n, 0x0f);
        if (map >= 17)
                append(buf, &n, map == 19 ? 0x3a : 0x38);
        append(buf, &n, (uint8_t)rng_next(&g->r));
        append_tail(g, buf, &n, &m);
}

static void integer_candidate(struct gen *g, uint8_t *buf)
{
        static const uint8_t first[][2] = {{0x00, 0x3f}, {0x50, 0x6b}, {0x80, 0x99}, {0xa8, 0xa9}, {0xb0, 0xc9}, {0xd0, 0xd3}, {0xf6, 0xff}};
        static const uint8_t second[][2] = {{0x40, 0x4f}, {0x90, 0x9f}, {0xa3, 0xaf}, {0xb0, 0xcf}};
        unsigned n = 0;
        bool wide = rng_percent(&g->r, 30);
        const uint8_t *range = wide ? second[rng_below(&g->r, 4)] : first[rng_below(&g->r, 7)];
        struct modrm m;

        random_modrm(g, &m);
        append_prefixes(g, buf, &n, false);
        append_rex(g, buf, &n, &m);
        if (wide)
                append(buf, &n, 0x0f);
        append(buf, &n, (uint8_t)(range[0] + rng_below(&g->r, range[1] - range[0] + 1u)));
        append_tail(g, buf, &n, &m);
}

/* Instructions that use flags or make them in unusual ways. */
static void flags_candidate(struct gen *g, uint8_t *buf)
{
        static const uint8_t one[] = {0x11, 0x13, 0x15, 0x19, 0x1b, 0x1d, 0x10, 0x1a, 0x9f, 0x9e, 0xf5, 0xf8, 0xf9, 0xd1, 0xd3, 0xc1, 0xd0, 0xff, 0xfe, 0x9c,
                0x83, 0x3b, 0x39, 0x29, 0x03, 0xf7, 0x85, 0xa8};
        static const uint8_t two[] = {0x90, 0x40, 0x90, 0x40, 0xa3, 0xba, 0xbb, 0xb3, 0xb1, 0xc1, 0xa4, 0xac, 0xbc, 0xbd, 0xb8};
        unsigned n = 0, map = rng_below(&g->r, 10);
        struct modrm m;
        uint8_t op;

        random_modrm(g, &m);
        if (rng_percent(&g->r, 10) || map == 9)
                append(buf, &n, rng_percent(&g->r, 50) ? 0x66 : 0xf3);
        append_rex(g, buf, &n, &m);
        if (map < 5) {
                append(buf, &n, one[rng_below(&g->r, sizeof(one))]);
        } else if (map < 9) {
                op = two[rng_below(&g->r, sizeof(two))];
                append(buf, &n, 0x0f);
                append(buf, &n, op == 0x90 || op == 0x40 ? (uint8_t)(op | rng_below(&g->r, 16)) : op);
        } else { /* adcx, adox */
                append(buf, &n, 0x0f);
                append(buf, &n, 0x38);
                append(buf, &n, 0xf6);
        }
        append_tail(g, buf, &n, &m);
}

static void x87_candidate(struct gen *g, uint8_t *buf)
{
        unsigned n = 0;
        struct modrm m;

        random_modrm(g, &m);
        append_prefixes(g, buf, &n, false);
        append_rex(g, buf, &n, &m);
        append(buf, &n, (uint8_t)(0xd8 + rng_below(&g->r, 8)));
        append_tail(g, buf, &n, &m);
}

static void vex_candidate(struct gen *g, uint8_t *buf)
{
        unsigned n = 0, map = 1 + rng_below(&g->r, 3);
        struct modrm m;

        random_modrm(g, &m);
        if (rng_percent(&g->r, 6))
                append(buf, &n, rng_percent(&g->r, 50) ? 0x64 : 0x65);
        if (rng_percent(&g->r, 5))
                append(buf, &n, 0x67);
        if (map == 1 && !m.x && !m.bb && rng_percent(&g->r, 60)) {
                append(buf, &n, 0xc5);
        } else {
                append(buf, &n, 0xc4);
                append(buf, &n, (uint8_t)((g->s->bits != 64 ? 0x80 : rng_next(&g->r) & 0x80) | (m.x ? 0 : 0x40) | (m.bb ? 0 : 0x20) | map));
        }
        append(buf, &n, (uint8_t)((rng_percent(&g->r, 25) ? 0x78 : 0) | (g->s->bits != 64 && buf[n - 1] == 0xc5 ? 0xc0 : 0) |
                rng_next(&g->r)));
        append(buf, &n, (uint8_t)rng_next(&g->r));
        append_tail(g, buf, &n, &m);
}

/* --- What may be run ------------------------------------------------------------------------------------------- */

static bool wanted_isa(ZydisISASet set)
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
        case ZYDIS_ISA_SET_X87:
        case ZYDIS_ISA_SET_FCMOV:
        case ZYDIS_ISA_SET_CMOV:
        case ZYDIS_ISA_SET_PENTIUMMMX:
        case ZYDIS_ISA_SET_CLFSH:
        case ZYDIS_ISA_SET_SSE:
        case ZYDIS_ISA_SET_SSEMXCSR:
        case ZYDIS_ISA_SET_SSE2:
        case ZYDIS_ISA_SET_SSE2MMX:
        case ZYDIS_ISA_SET_SSE3:
        case ZYDIS_ISA_SET_SSE3X87:
        case ZYDIS_ISA_SET_SSE4A:
        case ZYDIS_ISA_SET_PCLMULQDQ:
        case ZYDIS_ISA_SET_SSSE3:
        case ZYDIS_ISA_SET_SSSE3MMX:
        case ZYDIS_ISA_SET_FMA:
        case ZYDIS_ISA_SET_CMPXCHG16B:
        case ZYDIS_ISA_SET_SSE4:
        case ZYDIS_ISA_SET_SSE42:
        case ZYDIS_ISA_SET_MOVBE:
        case ZYDIS_ISA_SET_POPCNT:
        case ZYDIS_ISA_SET_AES:
        case ZYDIS_ISA_SET_AVX:
        case ZYDIS_ISA_SET_AVXAES:
        case ZYDIS_ISA_SET_F16C:
        case ZYDIS_ISA_SET_BMI1:
        case ZYDIS_ISA_SET_AVX2:
        case ZYDIS_ISA_SET_AVX2GATHER:
        case ZYDIS_ISA_SET_BMI2:
        case ZYDIS_ISA_SET_ADOX_ADCX:
        case ZYDIS_ISA_SET_SHA:
        case ZYDIS_ISA_SET_GFNI:
        case ZYDIS_ISA_SET_AVX_GFNI:
        case ZYDIS_ISA_SET_VAES:
        case ZYDIS_ISA_SET_VPCLMULQDQ:
        case ZYDIS_ISA_SET_AVX_VNNI:
        case ZYDIS_ISA_SET_LZCNT:
        case ZYDIS_ISA_SET_RDWRFSGS:
                return true;
        default:
                return false;
        }
}

static bool wanted_category(struct rng *r, const ZydisDecodedInstruction *z)
{
        switch (z->meta.category) {
        case ZYDIS_CATEGORY_CALL:
        case ZYDIS_CATEGORY_COND_BR: /* made separately */
        case ZYDIS_CATEGORY_UNCOND_BR:
        case ZYDIS_CATEGORY_RET:
        case ZYDIS_CATEGORY_INTERRUPT:
        case ZYDIS_CATEGORY_IOSTRINGOP:
        case ZYDIS_CATEGORY_SYSCALL:
        case ZYDIS_CATEGORY_SYSRET:
        case ZYDIS_CATEGORY_SYSTEM:
        case ZYDIS_CATEGORY_XSAVE:
        case ZYDIS_CATEGORY_XSAVEOPT:
                return false;
        default:
                break;
        }
        switch (z->mnemonic) {
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_POPF:
        case ZYDIS_MNEMONIC_POPFD:
        case ZYDIS_MNEMONIC_POPFQ:
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR64:
                return false;
        case ZYDIS_MNEMONIC_NOP: /* 0f 0d with a register is one on some CPUs only */
                return z->opcode_map != ZYDIS_OPCODE_MAP_0F || z->opcode != 0x0d;
        case ZYDIS_MNEMONIC_VPINSRD: /* outside of 64-bit mode W is invalid or ignored */
        case ZYDIS_MNEMONIC_VPEXTRD:
                return !z->raw.vex.W;
        case ZYDIS_MNEMONIC_PAUSE: /* with REX.B it is xchg r8, rax, which Zydis does not know */
                return !z->raw.rex.B;
        case ZYDIS_MNEMONIC_IN:
        case ZYDIS_MNEMONIC_OUT:
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_UD0:
        case ZYDIS_MNEMONIC_UD1:
        case ZYDIS_MNEMONIC_UD2: /* always the end */
                return rng_percent(r, 5);
        default:
                return true;
        }
}

/* Marks what is written, so that it is no longer taken for an address. RSP is moved explicitly only now and then. */
static bool track_registers(struct gen *g, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
        uint16_t written = 0;

        for (unsigned k = 0; k < z->operand_count; k++) {
                ZydisRegister r = ops[k].reg.value;
                unsigned id;

                if (ops[k].type != ZYDIS_OPERAND_TYPE_REGISTER || !(ops[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
                        continue;
                if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_SEGMENT)
                        return false;
                if (ZydisRegisterGetClass(r) < ZYDIS_REGCLASS_GPR8 || ZydisRegisterGetClass(r) > ZYDIS_REGCLASS_GPR64)
                        continue;
                id = (unsigned)ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(machine_mode(g->s), r));
                if (id == X86_RSP && ops[k].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
                        continue;
                if (id == X86_RSP && !rng_percent(&g->r, g->s->block ? 1 : 10))
                        return false;
                written |= (uint16_t)(1u << id);
        }
        if (written & g->pinned)
                return false;
        g->pointers &= (uint16_t)~written;
        g->small &= (uint16_t)~written;
        return true;
}

static bool only_segment_reads(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
        for (unsigned k = 0; k < z->operand_count; k++)
                if (ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                        (ZydisRegisterGetClass(ops[k].reg.value) == ZYDIS_REGCLASS_CONTROL ||
                                ZydisRegisterGetClass(ops[k].reg.value) == ZYDIS_REGCLASS_DEBUG))
                        return false;
        return true;
}

static void aim_rip_relative(struct gen *g, uint8_t *insn, const ZydisDecodedInstruction *z, unsigned at)
{
        int32_t disp;

        if (g->s->bits != 64)
                return;
        if (!(z->attributes & ZYDIS_ATTRIB_HAS_MODRM) || z->raw.modrm.mod != 0 || z->raw.modrm.rm != 5)
                return;
        disp = (int32_t)(data_pointer(&g->r) - (CODE_ADDR + at + z->length));
        memcpy(insn + z->raw.disp.offset, &disp, 4);
}

uint32_t gen_undefined_after(const ZydisDecodedInstruction *z, uint32_t before)
{
        const ZydisAccessedFlags *f = z->cpu_flags;
        uint32_t defined = (uint32_t)(f->modified | f->set_0 | f->set_1);

        switch (z->meta.category) {
        case ZYDIS_CATEGORY_SHIFT: /* a count of zero leaves them as they were */
        case ZYDIS_CATEGORY_ROTATE:
        case ZYDIS_CATEGORY_STRINGOP:
                defined = 0;
                break;
        default:
                break;
        }
        return (before & ~defined) | (uint32_t)f->undefined;
}

/* Of a block, which shall run on most of the time. */
static bool wanted_in_block(struct gen *g, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
        if (!g->s->block)
                return true;
        if (z->cpu_flags->undefined & ~g->may_undefine)
                return false;
        if (z->mnemonic == ZYDIS_MNEMONIC_DIV || z->mnemonic == ZYDIS_MNEMONIC_IDIV || z->mnemonic == ZYDIS_MNEMONIC_LEAVE ||
                z->mnemonic == ZYDIS_MNEMONIC_ENTER || z->mnemonic == ZYDIS_MNEMONIC_INT3 || z->meta.category == ZYDIS_CATEGORY_STRINGOP ||
                z->mnemonic == ZYDIS_MNEMONIC_XLAT)
                return rng_percent(&g->r, 5);
        for (unsigned k = 0; k < z->operand_count; k++) {
                bool stack = ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER && ops[k].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
                        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, ops[k].reg.value) == ZYDIS_REGISTER_RSP;

                if (g->no_stack && stack)
                        return false;
        }
        return true;
}

bool add_insn(struct gen *g, uint8_t *buf)
{
        struct sequence *s = g->s;
        ZydisDecodedInstruction z;
        ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
        uint32_t undefined;

        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(s->bits == 64 ? &decoder64 : s->bits == 32 ? &decoder32 : &decoder16, buf, 15, &z, ops)))
                return false;
        if (z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
                return false;
        if (z.cpu_flags->tested & g->undefined)
                return false;
        if (!wanted_isa(z.meta.isa_set) || !wanted_category(&g->r, &z) || !only_segment_reads(&z, ops) ||
                !wanted_in_block(g, &z, ops) || !track_registers(g, &z, ops))
                return false;
        s->stores_pointers |= z.mnemonic == ZYDIS_MNEMONIC_FNSTENV || z.mnemonic == ZYDIS_MNEMONIC_FNSAVE;
        aim_rip_relative(g, buf, &z, s->length);
        undefined = gen_undefined_after(&z, g->undefined);
        g->undefined = g->branches ? g->undefined | undefined : undefined;
        memcpy(s->code + s->length, buf, z.length);
        s->length += z.length;
        return true;
}

bool add_random(struct gen *g)
{
        uint8_t buf[32] = {0};
        unsigned kind = rng_below(&g->r, 100);

        if (g->s->block && kind >= g->vector_percent)
                rng_percent(&g->r, g->flags_percent) ? flags_candidate(g, buf) : integer_candidate(g, buf);
        else if (integer_only && kind < 90)
                integer_candidate(g, buf);
        else if (kind < 60)
                legacy_candidate(g, buf);
        else if (kind < 70)
                x87_candidate(g, buf);
        else
                vex_candidate(g, buf);
        return add_insn(g, buf);
}
