/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the tests of the loaders share: one run of the loader, and a small bzImage. */

#include <stddef.h>
#include <stdint.h>

#include "hv/bus/memory.h"
#include "hv/x86/state.h"

struct run {
        struct guest_memory mem;
        struct x86_state state;
        const char *error;
        int r;
};

/* Loads a kernel of n bytes into a fresh VM with that much memory; stop() ends the run. random as in struct loader_input. */
void start_at(struct run *run, uint64_t memory, const void *kernel, size_t n, size_t initrd_size, const char *cmdline,
        const uint64_t random[2]);
void start(struct run *run, uint64_t memory, const void *kernel, size_t n, size_t initrd_size, const char *cmdline);
void stop(struct run *run);

uint64_t peek64(struct run *run, uint64_t gpa);
uint32_t peek32(struct run *run, uint64_t gpa);
/* The state is that of a 64-bit start. */
void check_long_state(struct run *run);

/* For 16 MiB, with 4096 bytes of code at BZ_CODE and no payload. The caller frees it. */
#define BZ_CODE (512 * 5)
#define BZ_SIZE (BZ_CODE + 4096)
uint8_t *make_bzimage(void);

void test_unpacked(void);
