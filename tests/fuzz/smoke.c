/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "smoke.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIZE 65536

/* xorshift64*, the same series in each run. */
static uint64_t next_random(uint64_t *state)
{
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static void overwrite(uint8_t *buf, size_t n, uint64_t *rng)
{
        static const uint8_t interesting[] = { 0, 1, 0x7f, 0x80, 0xff, '<', '>', '&', '\'', '/', '0', '-' };
        uint64_t r = next_random(rng);

        buf[r % n] = r >> 63 ? (uint8_t)(r >> 32) : interesting[(r >> 40) % sizeof(interesting)];
}

/* Copies or removes a run of bytes. */
static size_t splice(uint8_t *buf, size_t n, uint64_t *rng)
{
        size_t from = next_random(rng) % n, to = next_random(rng) % n, len = next_random(rng) % 64;

        if (len > n - from)
                len = n - from;
        if (next_random(rng) & 1) {
                memmove(buf + from, buf + from + len, n - from - len);
                return n - len;
        }
        if (n + len > MAX_SIZE)
                return n;
        memmove(buf + to + len, buf + to, n - to);
        memmove(buf + to, buf + from, len);
        return n + len;
}

static size_t mutate(uint8_t *buf, size_t n, uint64_t *rng)
{
        for (unsigned steps = 1 + next_random(rng) % 6; steps > 0 && n > 0; steps--) {
                if (next_random(rng) % 3)
                        overwrite(buf, n, rng);
                else
                        n = splice(buf, n, rng);
        }
        return n;
}

static int run_file(const char *path)
{
        static uint8_t buf[MAX_SIZE];
        FILE *f = fopen(path, "rb");
        size_t n;

        if (!f) {
                perror(path);
                return 1;
        }
        n = fread(buf, 1, sizeof(buf), f);
        fclose(f);
        LLVMFuzzerTestOneInput(buf, n);
        return 0;
}

/* Arguments: rounds, or a file to feed once. */
int main(int argc, char **argv)
{
        unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
        uint64_t rng = 88172645463325252;
        uint8_t *buf = malloc(MAX_SIZE);

        if (argc > 1 && rounds == 0)
                return run_file(argv[1]);
        for (size_t i = 0; i < fuzz_n_seeds; i++)
                LLVMFuzzerTestOneInput(fuzz_seeds[i].data, fuzz_seeds[i].size);
        for (unsigned long i = 0; i < rounds; i++) {
                const struct fuzz_seed *seed = &fuzz_seeds[next_random(&rng) % fuzz_n_seeds];
                uint8_t *exact;
                size_t n;

                memcpy(buf, seed->data, seed->size);
                n = mutate(buf, seed->size, &rng);
                exact = malloc(n ? n : 1); /* so that a sanitizer sees a read beyond the end */
                memcpy(exact, buf, n);
                LLVMFuzzerTestOneInput(exact, n);
                free(exact);
        }
        free(buf);
        printf("%lu rounds from %zu seeds\n", rounds, fuzz_n_seeds);
        return 0;
}
