/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs loads, times them and prints the results. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "load.h"

#define BATCH_SECONDS 0.5

uint64_t load_random(uint64_t *state)
{
        uint64_t x = *state;

        /* Marsaglia, "Xorshift RNGs" (2003) */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return *state = x;
}

uint64_t load_sum(uint64_t sum, const void *data, size_t len)
{
        const uint8_t *p = data;

        /* FNV-1a */
        while (len-- > 0)
                sum = (sum ^ *p++) * 0x100000001b3;
        return sum;
}

double load_now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* User and system time of this process and of the children that it has waited for. */
static double cpu_seconds(void)
{
        const int whose[] = { RUSAGE_SELF, RUSAGE_CHILDREN };
        double sum = 0;

        for (size_t i = 0; i < NELEMENTS(whose); i++) {
                struct rusage u;

                getrusage(whose[i], &u);
                sum += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
        }
        return sum;
}

void load_fail(const char *what)
{
        printf("domus-bench: failed: %s: %s\n", what, strerror(errno));
        exit(EXIT_FAILURE);
}

struct watch {
        const struct load *load;
        double start, cpu;
};

static struct watch begin(const struct load *l)
{
        printf("domus-bench: begin %s\n", l->name);
        fflush(stdout);
        return (struct watch){ .load = l, .start = load_now(), .cpu = cpu_seconds() };
}

static void end(const struct watch *w, uint64_t operations, uint64_t checksum)
{
        double seconds = load_now() - w->start, cpu = cpu_seconds() - w->cpu;

        printf("domus-bench: %s %.6f %.6f %" PRIu64 " %016" PRIx64 "\n", w->load->name, seconds, cpu, operations, checksum);
        fflush(stdout);
}

static void run_work(const struct load *l, double scale)
{
        double n = l->n * scale;
        unsigned units = n < 1 ? 1 : (unsigned)n;
        struct watch w = begin(l);
        uint64_t checksum = l->run(units);

        end(&w, units, checksum);
}

static void run_time(const struct load *l, double scale)
{
        uint64_t checksum = l->run(l->n), operations = 0;
        struct watch w = begin(l);

        do {
                if (l->run(l->n) != checksum) {
                        errno = EIO;
                        load_fail(l->name);
                }
                operations += l->n;
        } while (load_now() - w.start < BATCH_SECONDS * scale);
        end(&w, operations, checksum);
}

static void run(const struct load *l, enum load_mode mode, double scale)
{
        if (l->possible && !l->possible())
                return;
        if (l->prepare)
                l->prepare();
        if (mode == LOAD_WORK)
                run_work(l, scale);
        else
                run_time(l, scale);
}

static bool chosen(const char *name, char **names)
{
        bool found = !*names;

        while (*names && !found)
                found = !strcmp(*names++, name);
        return found;
}

static void check_names(const struct load *loads, size_t nloads, char **names)
{
        for (; *names; names++) {
                size_t i = 0;

                while (i < nloads && strcmp(loads[i].name, *names))
                        i++;
                if (i < nloads)
                        continue;
                fprintf(stderr, "no load is called '%s'; there are:", *names);
                for (i = 0; i < nloads; i++)
                        fprintf(stderr, " %s", loads[i].name);
                fprintf(stderr, "\n");
                exit(2);
        }
}

int load_main(const struct load *loads, size_t nloads, enum load_mode mode, int argc, char **argv)
{
        char **names = argv + 1, *rest = argv[0] + strlen(argv[0]);
        double scale = 1;

        if (argc > 2 && !strcmp(argv[1], "--scale")) {
                scale = strtod(argv[2], &rest);
                names += 2;
        }
        if (*rest || !(scale > 0 && scale <= 100)) {
                fprintf(stderr, "%s: the scale is a number above 0, at most 100\n", argv[0]);
                return 2;
        }
        check_names(loads, nloads, names);
        for (size_t i = 0; i < nloads; i++)
                if (chosen(loads[i].name, names))
                        run(&loads[i], mode, scale);
        printf("domus-bench: end\n");
        return 0;
}
