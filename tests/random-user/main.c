/* SPDX-License-Identifier: GPL-2.0-or-later */

/* usage: random-user [--features MASK] [--calm] [--verbose] [--dump SEED | --memory SEED] [--code FILE] FIRST-SEED SEEDS INSTRUCTIONS
 *        random-user --list-features
 *
 * A line has the first seed and, for it and those behind it, four digits each of what it came to; with --verbose, all digits of one. --dump prints the code of one of the seeds and the registers
 * after each run, --code writes that code for objdump -D -b binary -m i386:x86-64. --calm: without faults and changed code, at one place, and more
 * loops, for an engine that needs time to know a program. INSTRUCTIONS: of a program, at most, about. Features are those of enum feature. */

#include <cpuid.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "random-user.h"

#define PER_LINE 16

static unsigned cpu_features(void)
{
        static const struct { unsigned leaf, reg, bit, feature; } bits[] = {
                { 7, 1, 3, HAS_BMI }, { 7, 1, 8, HAS_BMI2 }, { 0x80000001, 2, 5, HAS_LZCNT }, { 1, 2, 23, HAS_POPCNT }, { 1, 2, 22, HAS_MOVBE }, { 7, 1, 19, HAS_ADX },
                { 1, 2, 19, HAS_SSE41 }, { 7, 1, 5, HAS_AVX2 }, { 1, 2, 13, HAS_CX16 }, { 1, 2, 12, HAS_FMA }, { 1, 2, 20, HAS_SSE42 },
        };
        unsigned features = 0;

        for (unsigned k = 0; k < ARRAY_SIZE(bits); k++) {
                unsigned r[4];

                if (__get_cpuid_count(bits[k].leaf, 0, &r[0], &r[1], &r[2], &r[3]) && (r[bits[k].reg] >> bits[k].bit & 1))
                        features |= bits[k].feature;
        }
        return features;
}

static bool has_avx(void)
{
        unsigned a, b, c, d;

        return __get_cpuid(1, &a, &b, &c, &d) && (c >> 27 & 1) && (c >> 28 & 1);
}

static void run_seeds(const struct options *o, uint64_t first, uint64_t n, unsigned per_line)
{
        for (uint64_t k = 0; k < n; k++) {
                uint64_t hash = run_seed(o, first + k);

                if (k % per_line == 0)
                        printf("%llu:", (unsigned long long)(first + k));
                if (per_line == 1)
                        printf(" %016llx\n", (unsigned long long)hash);
                else
                        printf(" %04llx%s", (unsigned long long)hash >> 48, k % per_line == per_line - 1 || k == n - 1 ? "\n" : "");
                fflush(stdout);
        }
        printf("end\n");
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "features", required_argument, NULL, 'f' }, { "calm", no_argument, NULL, 'C' }, { "verbose", no_argument, NULL, 'v' }, { "dump", required_argument, NULL, 'd' }, { "memory", required_argument, NULL, 'm' }, { "code", required_argument, NULL, 'c' },
                { "list-features", no_argument, NULL, 'l' }, { 0 },
        };
        struct options o = { .features = cpu_features() };
        unsigned per_line = PER_LINE;
        int c;

        if (!has_avx()) {
                printf("random-user: this CPU has no AVX\n");
                return 77;
        }
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c == 'C')
                        o.calm = true;
                else if (c == 'f')
                        o.features &= (unsigned)strtoul(optarg, NULL, 16);
                else if (c == 'v')
                        per_line = 1;
                else if (c == 'd')
                        o.dump = true, o.dumped = strtoull(optarg, NULL, 0);
                else if (c == 'm')
                        o.memory = true, o.dumped = strtoull(optarg, NULL, 0);
                else if (c == 'c')
                        o.code_file = optarg;
                else if (c == 'l')
                        return printf("%x\n", o.features) < 0;
                else
                        return 2;
        }
        if (argc - optind != 3) {
                fprintf(stderr, "usage: random-user [--features MASK] [--calm] [--verbose] [--dump SEED | --memory SEED] [--code FILE] FIRST-SEED SEEDS INSTRUCTIONS\n       random-user --list-features\n");
                return 2;
        }
        o.insns = (unsigned)strtoul(argv[optind + 2], NULL, 0);
        insns_init(o.features);
        run_init();
        run_seeds(&o, strtoull(argv[optind], NULL, 0), strtoull(argv[optind + 1], NULL, 0), per_line);
        return 0;
}
