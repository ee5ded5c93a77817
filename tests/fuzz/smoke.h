/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A fuzz target is a file with LLVMFuzzerTestOneInput, as libFuzzer wants it, and a list of seeds. Linked with smoke.c it is a program of
 * its own that feeds the seeds, mutated, for a fixed number of rounds: a quick test that needs no clang. */

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_seed {
        const void *data;
        size_t size;
};
extern const struct fuzz_seed fuzz_seeds[];
extern const size_t fuzz_n_seeds;
