/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Random numbers that are the same in every run, for tests. */

#include <stdint.h>

static inline uint32_t random32(void)
{
        static uint64_t state = 0x123456789abcdefULL;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (uint32_t)(state >> 16);
}
