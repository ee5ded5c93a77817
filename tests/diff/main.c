/* SPDX-License-Identifier: GPL-2.0-or-later */

/* usage: diff [--count N] [--seed S] [--keep-going N] [--translate] [--integer] [--show]
 *
 * Sequence k of a run has the seed S + k, so that one that differs is repeated with --seed <its seed> --count 1. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "diff.h"

#define MEMORY_SEEDS 64

uint64_t current_seed;
static uint8_t memory[DATA_SIZE];
static unsigned faults[32];

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

static bool report;

static bool differ(const char *what, uint64_t host, uint64_t guest)
{
        if (host == guest)
                return false;
        if (report)
                printf("  %-8s host %016llx  engine %016llx\n", what, (unsigned long long)host, (unsigned long long)guest);
        return true;
}

static bool differ_bytes(const char *what, unsigned at, const uint8_t *a, const uint8_t *b, unsigned n)
{
        if (memcmp(a, b, n) == 0)
                return false;
        if (report) {
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
                !ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), h->rip, s->code + at, s->length - at, &z)))
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

/* Bit per vector register whose elements beyond the first the architecture leaves open at a fault: destination and mask of a gather. */
static uint32_t gather_registers(const struct sequence *s, const struct cpu *h)
{
        ZydisDisassembledInstruction z;
        uint64_t at = h->rip - code_start(s);

        if (h->vector == X86_BP || at >= s->length ||
                !ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), h->rip, s->code + at, s->length - at, &z)) ||
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

static bool differ_fault(const struct sequence *s, const struct cpu *h, const struct cpu *g)
{
        bool d = false;

        if (h->vector == X86_PF && g->vector == X86_PF) {
                /* Linux hides whether kernel addresses are mapped. */
                uint64_t mask = h->cr2 >> 47 ? ~1ULL : ~0ULL;

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
        bool d, half = s->bits != 64;

        /* Whether such an operand first meets the end of its segment or of its page. */
        if (s->bits != 64 && h->vector != g->vector && h->rip == g->rip && may_fault_anywhere(s, h))
                return false;
        d = differ("vector", vector_class(h), vector_class(g));

        d |= differ("rip", h->rip, g->rip);
        if ((h->rflags ^ g->rflags) & flags)
                flags &= ~(uint64_t)undefined_flags(s, h->rip);
        d |= differ("rflags", h->rflags & flags, g->rflags & flags);
        for (unsigned k = 0; k < X86_NGPRS; k++)
                d |= differ(names[k], half ? (uint32_t)h->gpr[k] : h->gpr[k], half ? (uint32_t)g->gpr[k] : g->gpr[k]);
        if (s->bits != 64) /* compatibility mode cannot change them */
                return d | differ_fault(s, h, g);
        d |= differ("fs", h->fs_base, g->fs_base);
        d |= differ("gs", h->gs_base, g->gs_base);
        return d | differ_fault(s, h, g);
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

static bool differ_memory(const struct sequence *s, const struct cpu *cpu)
{
        uint64_t torn = faulted_in_long_store(s, cpu) ? (cpu->cr2 & ~4095ULL) - 16 - DATA_ADDR : ~0ULL;
        bool d = false;

        for (unsigned page = 0; page <= DATA_PAGES; page++) {
                const uint8_t *h = host_memory() + page * 4096, *g = guest_page(page);

                if (memcmp(h, g, 4096) == 0)
                        continue;
                for (unsigned k = 0; k < 4096; k += 16)
                        if (page * 4096 + k != torn)
                                d |= differ_bytes("memory", page * 4096 + k, h + k, g + k, 16);
        }
        return d;
}

/* Of the last sequence. */
static struct cpu host_cpu, guest_cpu;
static int guest_result;

static bool compare(const struct sequence *s)
{
        bool d;

        if (guest_result < 0) {
                if (report)
                        printf("  the engine stopped: %d (host: vector %u at %llx)\n", guest_result, host_cpu.vector,
                                (unsigned long long)host_cpu.rip);
                return true;
        }
        d = differ_registers(s, &host_cpu, &guest_cpu);
        d |= differ_vectors(s, &host_cpu, &guest_cpu);
        d |= differ_memory(s, &host_cpu);
        return d;
}

/* Runs the sequence on both sides; true if they differ. */
static bool run_both(const struct sequence *s)
{
        memset(&host_cpu, 0, sizeof(host_cpu));
        memset(&guest_cpu, 0, sizeof(guest_cpu));
        host_run(s, memory, &host_cpu);
        guest_result = guest_run(s, memory, &guest_cpu);
        normalize_xsave(host_cpu.xsave);
        normalize_xsave(guest_cpu.xsave);
        return compare(s);
}

/* --- Report ------------------------------------------------------------------------------------------------------ */

static void disassemble(const struct sequence *s)
{
        for (unsigned at = 0; at < s->length;) {
                ZydisDisassembledInstruction z;

                if (!ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), code_start(s) + at, s->code + at,
                            s->length - at, &z)))
                        break;
                printf("  %llx ", (unsigned long long)code_start(s) + at);
                for (unsigned k = 0; k < 15; k++)
                        k < z.info.length ? printf("%02x", s->code[at + k]) : printf("  ");
                printf(" %s\n", z.text);
                at += z.info.length;
        }
}

/* The shortest beginning of the sequence that still differs. */
static void shorten(struct sequence *s)
{
        for (unsigned n = 1; n < s->n; n++) {
                struct sequence t = *s;

                t.n = n;
                t.length = t.start[n];
                if (run_both(&t)) {
                        *s = t;
                        return;
                }
        }
}

static void print_difference(struct sequence *s, uint64_t seed)
{
        printf("seed %llu:\n", (unsigned long long)seed);
        report = true;
        compare(s);
        report = false;
        if (!run_both(s))
                printf("  only the first time\n");
        shorten(s);
        disassemble(s);
        printf("  in: rflags %llx fs %llx gs %llx mxcsr %x fcw %x", (unsigned long long)s->in.rflags,
                (unsigned long long)s->in.fs_base, (unsigned long long)s->in.gs_base, get32(s->in.xsave + 24),
                get32(s->in.xsave));
        for (unsigned k = 0; k < X86_NGPRS; k++)
                printf("%s %llx", k % 8 ? "" : "\n  ", (unsigned long long)s->in.gpr[k]);
        printf("\n");
        fflush(stdout);
}

static bool one(uint64_t seed, bool show)
{
        static struct sequence s;
        static uint64_t memory_seed = ~0ULL;
        bool bad;

        if (memory_seed != seed / MEMORY_SEEDS) {
                memory_seed = seed / MEMORY_SEEDS;
                gen_memory(memory, memory_seed);
        }
        current_seed = seed;
        gen_sequence(&s, seed);
        if (show) {
                disassemble(&s);
                fflush(stdout);
        }
        bad = run_both(&s);
        if (host_cpu.vector < 32)
                faults[host_cpu.vector]++;
        if (!bad)
                return false;
        print_difference(&s, seed);
        return true;
}

static void print_summary(uint64_t count, unsigned bad)
{
        printf("%llu sequences, %u different; ended by vector:", (unsigned long long)count, bad);
        for (unsigned k = 0; k < 32; k++)
                if (faults[k])
                        printf(" %u:%u", k, faults[k]);
        printf("\n");
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                {"count", required_argument, NULL, 'c'}, {"seed", required_argument, NULL, 's'},
                {"keep-going", required_argument, NULL, 'k'}, {"show", no_argument, NULL, 'p'},
                {"translate", no_argument, NULL, 't'}, {"integer", no_argument, NULL, 'i'}, {NULL, 0, NULL, 0}
        };
        static const struct itimerval watch = {{2, 0}, {2, 0}};
        uint64_t count = 20000, seed = 1;
        unsigned keep_going = 1, bad = 0;
        bool show = false, translate = false, integer = false;
        int opt, r;

        while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (opt == 'c')
                        count = strtoull(optarg, NULL, 0);
                else if (opt == 's')
                        seed = strtoull(optarg, NULL, 0);
                else if (opt == 'k')
                        keep_going = (unsigned)strtoul(optarg, NULL, 0);
                else if (opt == 'p')
                        show = true;
                else if (opt == 't')
                        translate = true;
                else if (opt == 'i')
                        integer = true;
                else
                        return 2;
        }
        gen_init(integer);
        r = host_init();
        if (r == -EOPNOTSUPP) {
                printf("skipped: needs the FSGSBASE instructions and modify_ldt\n");
                return 77;
        }
        if (r < 0 || guest_init(translate) < 0) {
                fprintf(stderr, "cannot set up host or engine\n");
                return 1;
        }
        setitimer(ITIMER_REAL, &watch, NULL);
        for (uint64_t k = 0; k < count && bad < keep_going; k++)
                bad += one(seed + k, show);
        print_summary(count, bad);
        return bad ? 1 : 0;
}
