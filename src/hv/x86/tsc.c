/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/tsc.h"

#include <time.h>
#include <x86intrin.h>

#define MEASURE_NS 20000000u
#define ATTEMPTS 5

struct sample {
        uint64_t ns, tsc, width;
};

/* Both clocks at the same moment: of several readings the one that the counter brackets most closely. */
static struct sample take_sample(void)
{
        struct sample best = { .width = UINT64_MAX };

        for (unsigned i = 0; i < ATTEMPTS; i++) {
                struct timespec ts;
                uint64_t before = __rdtsc(), after;

                clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
                after = __rdtsc();
                if (after - before < best.width)
                        best = (struct sample){
                                .ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec,
                                .tsc = before + (after - before) / 2,
                                .width = after - before,
                        };
        }
        return best;
}

uint64_t tsc_host_khz(void)
{
        struct sample a = take_sample(), b;

        nanosleep(&(struct timespec){ .tv_nsec = MEASURE_NS }, NULL);
        b = take_sample();
        return (b.tsc - a.tsc) * 1000000u / (b.ns - a.ns);
}
