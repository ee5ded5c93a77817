/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Compares what a sequence left on both sides, but for what the architecture leaves open. */

#include <stdio.h>
#include <string.h>

#include "diff.h"

static uint32_t get32(const uint8_t *p)
{
        uint32_t v;

        memcpy(&v, p, 4);
        return v;
}

void normalize_xsave(uint8_t *x)
{
        uint64_t bv;

        memcpy(&bv, x + 512, 8);
        if (!(bv & 1)) {
                memset(x, 0, 24);
                memset(x + 32, 0, 128);
                x[0] = 0x7f;
                x[1] = 0x03;
        }
        if (!(bv & 2))
                memset(x + 160, 0, 256);
        if (!(bv & 4))
                memset(x + 576, 0, 256);
        memset(x + 28, 0, 4); /* MXCSR_MASK */
        memset(x + 416, 0, 160);
        for (unsigned k = 0; k < 8; k++)
                memset(x + 32 + 16 * k + 10, 0, 6);
        /* The last instruction's opcode and pointers: CPUs differ in when they save them. */
        memset(x + 6, 0, 18);
}

/* --- Comparison -------------------------------------------------------------------------------------------------- */

bool compare_report, compare_exact_flags;

static bool differ(const char *what, uint64_t host, uint64_t guest)
{
        if (host == guest)
                return false;
        if (compare_report)
                printf("  %-8s host %016llx  engine %016llx\n", what, (unsigned long long)host, (unsigned long long)guest);
        return true;
}

static bool differ_bytes(const char *what, unsigned at, const uint8_t *a, const uint8_t *b, unsigned n)
{
        if (memcmp(a, b, n) == 0)
                return false;
        if (compare_report) {
                printf("  %s %x:\n    host   ", what, at);
                for (unsigned k = n; k-- > 0;)
                        printf("%02x", a[k]);
                printf("\n    engine ");
                for (unsigned k = n; k-- > 0;)
                        printf("%02x", b[k]);
                printf("\n");
        }
        return true;
}

/* Flags that the instructions which ran leave undefined. With branches it is not known which ones ran. */
static uint32_t undefined_flags(const struct sequence *s, uint64_t rip)
{
        uint32_t undefined = 0;

        if (s->block)
                return s->undefined;
        for (unsigned at = 0; at < s->length && (s->branches || code_start(s) + at < rip);) {
                ZydisDisassembledInstruction z;
                uint32_t after;

                if (!ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), code_start(s) + at, s->code + at,
                            s->length - at, &z)))
                        break;
                after = gen_undefined_after(&z.info, undefined);
                undefined = s->branches ? undefined | after : after;
                at += z.info.length;
        }
        return undefined;
}

/* The engine does not tell stack accesses from others when an address is not canonical. */
static unsigned vector_class(const struct cpu *c)
{
        return c->vector == X86_SSF && c->error == 0 ? X86_GP : c->vector;
}

/* Does the instruction that faulted have one of these mnemonics? */
static bool faulted_in(const struct sequence *s, const struct cpu *h, const ZydisMnemonic *m, unsigned n)
{
        ZydisDisassembledInstruction z;
        uint64_t at = h->rip - code_start(s);

        if (h->vector == X86_BP || at >= s->length ||
                !ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), h->rip, host_code() + at, s->length - at, &z)))
                return false;
        while (n-- > 0)
                if (z.info.mnemonic == m[n])
                        return true;
        return false;
}

/* Microcode that does not start with the first byte. */
static bool may_fault_anywhere(const struct sequence *s, const struct cpu *h)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FNSAVE,
                ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FBLD};

        return faulted_in(s, h, m, 5);
}

/* The host goes over to MMX state before an operand faults: with maskmovq on AMD's CPUs, with every store of an MMX register on Intel's. */
static bool faulted_in_mmx_store(const struct sequence *s, const struct cpu *h)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_MASKMOVQ, ZYDIS_MNEMONIC_MOVNTQ, ZYDIS_MNEMONIC_MOVQ, ZYDIS_MNEMONIC_MOVD};

        return faulted_in(s, h, m, 4);
}

/* Any of its bytes may be the first one whose fault is reported. */
static bool faulted_in_byte_mask(const struct sequence *s, const struct cpu *h)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_MASKMOVQ, ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_VMASKMOVDQU};

        return faulted_in(s, h, m, 3);
}

/* CMPS has two operands in memory. Intel's CPUs, and the engine, meet a fault at rSI first, AMD's at rDI. */
static bool faulted_in_either_operand(const struct sequence *s, const struct cpu *h, const struct cpu *g)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_CMPSB, ZYDIS_MNEMONIC_CMPSW, ZYDIS_MNEMONIC_CMPSD, ZYDIS_MNEMONIC_CMPSQ};
        bool both = (h->vector == X86_PF || h->vector == X86_GP) && (g->vector == X86_PF || g->vector == X86_GP);

        return both && h->rip == g->rip && faulted_in(s, h, m, 4);
}

/* AMD's misaligned mode, which the guest is not offered. */
static bool is_misaligned_mode(const struct cpu *h)
{
        return get32(h->xsave + 24) & 1u << 17;
}

/* Bit per vector register whose elements beyond the first the architecture leaves open at a fault: destination and mask of a gather. */
static uint32_t gather_registers(const struct sequence *s, const struct cpu *h)
{
        ZydisDisassembledInstruction z;
        uint64_t at = h->rip - code_start(s);

        if (h->vector == X86_BP || at >= s->length ||
                !ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), h->rip, host_code() + at, s->length - at, &z)) ||
                (z.info.meta.category != ZYDIS_CATEGORY_GATHER && z.info.meta.category != ZYDIS_CATEGORY_AVX2GATHER))
                return 0;
        return 1u << ZydisRegisterGetId(z.operands[0].reg.value) | 1u << ZydisRegisterGetId(z.operands[2].reg.value);
}

/* Microcode on Intel's CPUs that has loaded other components when it finds MXCSR to be bad. */
static bool faulted_in_restore(const struct sequence *s, const struct cpu *h)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_XRSTOR, ZYDIS_MNEMONIC_XRSTOR64};

        return h->vector == X86_GP && faulted_in(s, h, m, 2);
}

/* Stores of ten bytes that cross into a page which cannot be written may leave their first part in the page before. */
static bool faulted_in_long_store(const struct sequence *s, const struct cpu *h)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_FSTP, ZYDIS_MNEMONIC_FBSTP};

        return h->vector == X86_PF && !(h->cr2 & 4095) && faulted_in(s, h, m, 2);
}

/* Near branches to an address that is not canonical: Intel's CPUs fault before they go there, AMD's afterwards, and so does the engine. */
static bool is_far_away(const struct sequence *s, const struct cpu *h, const struct cpu *g)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_RET, ZYDIS_MNEMONIC_JMP, ZYDIS_MNEMONIC_CALL};

        return vector_class(h) == X86_GP && vector_class(g) == X86_GP && (uint64_t)((int64_t)(g->rip << 16) >> 16) != g->rip &&
               faulted_in(s, h, m, 3);
}

/* Linux does itself what UMIP forbids. Only code that a block has made by accident has these. */
static bool is_emulated(const struct sequence *s, const struct cpu *h)
{
        static const ZydisMnemonic m[] = {ZYDIS_MNEMONIC_SLDT, ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT,
                ZYDIS_MNEMONIC_SMSW};

        return s->block && faulted_in(s, h, m, 5);
}

/* In the 16 MiB that hold all memory of the test. */
static bool is_of_test(uint64_t address)
{
        return address >> 24 == DATA_ADDR >> 24;
}

static bool differ_fault(const struct sequence *s, const struct cpu *h, const struct cpu *g)
{
        bool d = false;

        if (h->vector == X86_PF && g->vector == X86_PF) {
                /* Linux hides whether kernel addresses are mapped; elsewhere the process has memory that the guest has not. */
                uint64_t mask = is_of_test(h->cr2) ? ~0ULL : ~1ULL;

                d |= differ("error", h->error & mask, g->error & mask);
                mask = may_fault_anywhere(s, h) ? ~4095ULL : ~0ULL;
                if (!faulted_in_byte_mask(s, h) || (uint16_t)(h->cr2 - g->cr2) >= 16)
                        d |= differ("cr2", h->cr2 & mask, g->cr2 & mask);
        } else if (h->vector != X86_BP) {
                d |= differ("error", h->error, g->error);
        }
        return d;
}

static bool differ_registers(const struct sequence *s, const struct cpu *h, const struct cpu *g)
{
        static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
        uint64_t flags = ~(uint64_t)X86_FLAG_RF;
        bool d, two, half = s->bits != 64;

        /* Whether such an operand first meets the end of its segment or of its page. */
        if (s->bits != 64 && h->vector != g->vector && h->rip == g->rip && may_fault_anywhere(s, h))
                return false;
        two = faulted_in_either_operand(s, h, g);
        d = !two && differ("vector", vector_class(h), vector_class(g));
        d |= differ("rip", h->rip, g->rip);
        if ((h->rflags ^ g->rflags) & flags)
                flags &= ~(uint64_t)undefined_flags(s, h->rip);
        if (((h->rflags ^ g->rflags) & flags) && h->vector != X86_BP && !compare_exact_flags)
                flags &= ~(uint64_t)dead_flags(s, host_code(), h->rip);
        d |= differ("rflags", h->rflags & flags, g->rflags & flags);
        for (unsigned k = 0; k < X86_NGPRS; k++)
                d |= differ(names[k], half ? (uint32_t)h->gpr[k] : h->gpr[k], half ? (uint32_t)g->gpr[k] : g->gpr[k]);
        if (s->bits != 64) /* compatibility mode cannot change them */
                return d | (!two && differ_fault(s, h, g));
        d |= differ("fs", h->fs_base, g->fs_base);
        d |= differ("gs", h->gs_base, g->gs_base);
        return d | (!two && differ_fault(s, h, g));
}

static bool differ_vectors(const struct sequence *s, const struct cpu *h, const struct cpu *g)
{
        uint32_t open;
        bool d;

        if (faulted_in_restore(s, h))
                return false;
        open = gather_registers(s, h);
        d = differ("mxcsr", get32(h->xsave + 24), get32(g->xsave + 24));
        if (!faulted_in_mmx_store(s, h)) {
                d |= differ_bytes("x87 head", 0, h->xsave, g->xsave, 24);
                for (unsigned k = 0; k < 8; k++)
                        d |= differ_bytes("st", k, h->xsave + 32 + 16 * k, g->xsave + 32 + 16 * k, 16);
        }
        for (unsigned k = 0; k < 16; k++) {
                d |= differ_bytes("xmm", k, h->xsave + 160 + 16 * k, g->xsave + 160 + 16 * k, open >> k & 1 ? 4 : 16);
                if (!(open >> k & 1))
                        d |= differ_bytes("ymm high", k, h->xsave + 576 + 16 * k, g->xsave + 576 + 16 * k, 16);
        }
        return d;
}

/* CPUs differ in which instructions leave a pointer to their operand behind; the engine's may be 0. It may lie anywhere. */
static bool lacks_pointer(const uint8_t *h, const uint8_t *g)
{
        for (unsigned k = 0; k < 16; k++)
                if (h[k] != g[k] && g[k] != 0)
                        return false;
        return true;
}

static bool differ_page(const struct sequence *s, const char *what, unsigned at, const uint8_t *h, const uint8_t *g, uint64_t torn)
{
        bool d = false;

        if (memcmp(h, g, 4096) == 0)
                return false;
        for (unsigned k = 0; k < 4096; k += 16)
                if (at + k != torn && !(s->stores_pointers && lacks_pointer(h + k, g + k)))
                        d |= differ_bytes(what, at + k, h + k, g + k, 16);
        return d;
}

static bool differ_memory(const struct sequence *s, const struct cpu *cpu)
{
        uint64_t torn = faulted_in_long_store(s, cpu) ? (cpu->cr2 & ~4095ULL) - 16 - DATA_ADDR : ~0ULL;
        bool d = false;

        for (unsigned page = 0; page <= DATA_PAGES; page++)
                d |= differ_page(s, "memory", page * 4096, host_memory() + page * 4096, guest_page(page), torn);
        for (unsigned page = 0; page < CODE_PAGES; page++)
                d |= differ_page(s, "code", page * 4096, host_code() + page * 4096, guest_code(page), ~0ULL);
        return d;
}

bool compare(const struct sequence *s, const struct cpu *h, const struct cpu *g, int guest_result)
{
        bool d;

        if (guest_result < 0) {
                if (compare_report)
                        printf("  the engine stopped: %d (host: vector %u at %llx)\n", guest_result, h->vector,
                                (unsigned long long)h->rip);
                return true;
        }
        if (is_far_away(s, h, g) || is_emulated(s, h) || is_misaligned_mode(h))
                return false;
        d = differ_registers(s, h, g);
        d |= differ_vectors(s, h, g);
        d |= differ_memory(s, h);
        return d;
}
