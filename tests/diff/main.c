/* SPDX-License-Identifier: GPL-2.0-or-later */

/* usage: diff [--count N] [--seed S] [--keep-going N] [--translate | --hot] [--integer] [--blocks | --profile NAME] [--exact] [--show]
 *
 * --translate: translated code instead of the executor; --hot: with what only code that runs often gets.
 * --blocks: blocks of many instructions, of all profiles in turn. --exact: at faults in blocks, too, all flags are compared.
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

/* Of the last sequence. */
static struct cpu host_cpu, guest_cpu;
static int guest_result;

uint64_t current_seed, current_run;
static uint8_t memory[DATA_SIZE];
static unsigned endless; /* not compared */
static unsigned faults[16][32]; /* by profile */

struct options {
        uint64_t count, seed;
        unsigned keep_going, profile; /* profile: all of them if there is no such */
        bool show, translate, hot, integer, blocks;
};

/* Runs the sequence on both sides; true if they differ. */
static bool run_both(const struct sequence *s)
{
        memset(&host_cpu, 0, sizeof(host_cpu));
        memset(&guest_cpu, 0, sizeof(guest_cpu));
        current_run++;
        host_run(s, memory, &host_cpu);
        if (host_cpu.vector == VECTOR_TIMEOUT)
                return false;
        current_run++;
        guest_result = guest_run(s, memory, &guest_cpu);
        normalize_xsave(host_cpu.xsave);
        normalize_xsave(guest_cpu.xsave);
        return compare(s, &host_cpu, &guest_cpu, guest_result);
}

/* --- Report ------------------------------------------------------------------------------------------------------ */

static unsigned disassemble_one(const struct sequence *s, unsigned at)
{
        ZydisDisassembledInstruction z;

        if (!ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), code_start(s) + at, s->code + at, s->length - at, &z)))
                return 0;
        printf("  %llx ", (unsigned long long)code_start(s) + at);
        for (unsigned k = 0; k < 15; k++)
                k < z.info.length ? printf("%02x", s->code[at + k]) : printf("  ");
        printf(" %s\n", z.text);
        return z.info.length;
}

static bool is_filler(const struct sequence *s, unsigned k)
{
        return s->size[k] > 0 && s->code[s->start[k] + s->size[k] - 1] == 0x90 && (s->size[k] == 1 || s->code[s->start[k]] == 0x66);
}

static void disassemble(const struct sequence *s)
{
        if (s->block) {
                printf("  %u bits, at %llx\n", s->bits, (unsigned long long)s->in.rip);
                for (unsigned k = 0; k < s->n; k++)
                        if (!is_filler(s, k))
                                disassemble_one(s, s->start[k]);
                return;
        }
        for (unsigned at = 0, n; at < s->length; at += n) {
                n = disassemble_one(s, at);
                if (!n)
                        break;
        }
}

/* A block without all instructions that it takes no part in the difference. */
static void thin_out(struct sequence *s)
{
        for (unsigned k = s->n; k-- > 0;) {
                struct sequence t = *s;

                if (s->keep[k])
                        continue;
                memset(t.code + t.start[k], 0x66, t.size[k]);
                t.code[t.start[k] + t.size[k] - 1] = 0x90;
                if (run_both(&t))
                        *s = t;
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

/* As the code is at the end. */
static void print_fault(const struct sequence *s)
{
        uint64_t at = host_cpu.rip - code_start(s);
        ZydisDisassembledInstruction z;

        if (s->block && at < CODE_SIZE &&
                ZYAN_SUCCESS(ZydisDisassembleIntel(machine_mode(s), host_cpu.rip, host_code() + at, CODE_SIZE - at, &z)))
                printf("  ended at %llx %s\n", (unsigned long long)host_cpu.rip, z.text);
}

static void print_difference(struct sequence *s, uint64_t seed)
{
        printf("seed %llu:\n", (unsigned long long)seed);
        print_fault(s);
        compare_report = true;
        compare(s, &host_cpu, &guest_cpu, guest_result);
        compare_report = false;
        if (!run_both(s))
                printf("  only the first time\n");
        if (s->block)
                thin_out(s);
        else
                shorten(s);
        disassemble(s);
        printf("  in: rflags %llx fs %llx gs %llx mxcsr %x fcw %x", (unsigned long long)s->in.rflags,
                (unsigned long long)s->in.fs_base, (unsigned long long)s->in.gs_base, s->in.xsave[24] | s->in.xsave[25] << 8u,
                s->in.xsave[0] | s->in.xsave[1] << 8u);
        for (unsigned k = 0; k < X86_NGPRS; k++)
                printf("%s %llx", k % 8 ? "" : "\n  ", (unsigned long long)s->in.gpr[k]);
        printf("\n");
        fflush(stdout);
}

/* Which profile the seed is for. */
static unsigned profile_of(const struct options *o, uint64_t seed)
{
        return o->profile < gen_n_profiles ? o->profile : (unsigned)(seed % gen_n_profiles);
}

static bool one(uint64_t seed, const struct options *o)
{
        static struct sequence s;
        static uint64_t memory_seed = ~0ULL;
        bool bad;

        if (memory_seed != seed / MEMORY_SEEDS) {
                memory_seed = seed / MEMORY_SEEDS;
                gen_memory(memory, memory_seed);
        }
        current_seed = seed;
        if (o->blocks)
                gen_block(&s, profile_of(o, seed), seed);
        else
                gen_sequence(&s, seed);
        if (o->show) {
                disassemble(&s);
                fflush(stdout);
        }
        bad = run_both(&s);
        endless += host_cpu.vector == VECTOR_TIMEOUT;
        if (host_cpu.vector < 32)
                faults[o->blocks ? profile_of(o, seed) : 0][host_cpu.vector]++;
        if (!bad)
                return false;
        print_difference(&s, seed);
        return true;
}

static void print_vectors(const unsigned *n)
{
        for (unsigned k = 0; k < 32; k++)
                if (n[k])
                        printf(" %u:%u", k, n[k]);
        printf("\n");
}

static void print_summary(const struct options *o, unsigned bad)
{
        printf("%llu %s, %u different, %u without end; ended by vector:", (unsigned long long)o->count,
                o->blocks ? "blocks" : "sequences", bad, endless);
        if (!o->blocks) {
                print_vectors(faults[0]);
                return;
        }
        printf("\n");
        for (unsigned p = 0; p < gen_n_profiles; p++) {
                printf("  %-10s", gen_profiles[p]);
                print_vectors(faults[p]);
        }
}

static int parse_profile(struct options *o, const char *name)
{
        o->blocks = true;
        for (o->profile = 0; o->profile < gen_n_profiles; o->profile++)
                if (!strcmp(gen_profiles[o->profile], name))
                        return 0;
        fprintf(stderr, "no such profile: %s\n", name);
        return -EINVAL;
}

static int parse(int argc, char **argv, struct options *o)
{
        static const struct option options[] = {
                {"count", required_argument, NULL, 'c'}, {"seed", required_argument, NULL, 's'},
                {"keep-going", required_argument, NULL, 'k'}, {"show", no_argument, NULL, 'p'}, {"exact", no_argument, NULL, 'e'},
                {"translate", no_argument, NULL, 't'}, {"hot", no_argument, NULL, 'h'}, {"integer", no_argument, NULL, 'i'}, {"blocks", no_argument, NULL, 'b'},
                {"profile", required_argument, NULL, 'f'}, {NULL, 0, NULL, 0}
        };
        int opt, r = 0;

        while (r == 0 && (opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (opt == 'c')
                        o->count = strtoull(optarg, NULL, 0);
                else if (opt == 's')
                        o->seed = strtoull(optarg, NULL, 0);
                else if (opt == 'k')
                        o->keep_going = (unsigned)strtoul(optarg, NULL, 0);
                else if (opt == 'p')
                        o->show = true;
                else if (opt == 't')
                        o->translate = true;
                else if (opt == 'h')
                        o->translate = o->hot = true;
                else if (opt == 'i')
                        o->integer = true;
                else if (opt == 'b')
                        o->blocks = true;
                else if (opt == 'e')
                        compare_exact_flags = true;
                else
                        r = opt == 'f' ? parse_profile(o, optarg) : -EINVAL;
        }
        return r;
}

int main(int argc, char **argv)
{
        static const struct itimerval watch = {{0, 50000}, {0, 50000}} /* of CPU time */;
        struct options o = {.count = 20000, .seed = 1, .keep_going = 1, .profile = ~0u};
        unsigned bad = 0;
        int r;

        if (parse(argc, argv, &o) < 0)
                return 2;
        gen_init(o.integer);
        r = host_init();
        if (r == -EOPNOTSUPP) {
                printf("skipped: needs the FSGSBASE instructions and modify_ldt\n");
                return 77;
        }
        if (r < 0 || guest_init(o.translate, o.hot) < 0) {
                fprintf(stderr, "cannot set up host or engine\n");
                return 1;
        }
        setitimer(ITIMER_PROF, &watch, NULL);
        for (uint64_t k = 0; k < o.count && bad < o.keep_going; k++)
                bad += one(o.seed + k, &o);
        print_summary(&o, bad);
        guest_free();
        return bad ? 1 : 0;
}
