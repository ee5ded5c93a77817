/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Fixed-width loads and stores from unaligned bytes, in little (le) and big (be) endian. */

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define DOMUS_BYTES(bits)                                                                                   \
        static inline uint##bits##_t le##bits##_load(const void *p)                                         \
        {                                                                                                   \
                uint##bits##_t v;                                                                           \
                memcpy(&v, p, sizeof(v));                                                                   \
                return le##bits##toh(v);                                                                    \
        }                                                                                                   \
        static inline void le##bits##_store(void *p, uint##bits##_t v)                                      \
        {                                                                                                   \
                v = htole##bits(v);                                                                         \
                memcpy(p, &v, sizeof(v));                                                                   \
        }                                                                                                   \
        static inline uint##bits##_t be##bits##_load(const void *p)                                         \
        {                                                                                                   \
                uint##bits##_t v;                                                                           \
                memcpy(&v, p, sizeof(v));                                                                   \
                return be##bits##toh(v);                                                                    \
        }                                                                                                   \
        static inline void be##bits##_store(void *p, uint##bits##_t v)                                      \
        {                                                                                                   \
                v = htobe##bits(v);                                                                         \
                memcpy(p, &v, sizeof(v));                                                                   \
        }

DOMUS_BYTES(16)
DOMUS_BYTES(32)
DOMUS_BYTES(64)

#undef DOMUS_BYTES
