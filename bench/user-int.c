/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Integer loads: arithmetic in registers, a hash, table look-ups, pointers, sorting. */

#include <string.h>

#include "user.h"

#define SEED 0x2545f4914f6cdd1d
#define NBYTES 65536

static uint8_t bytes[NBYTES];

void user_bytes_prepare(void)
{
        uint64_t seed = SEED;

        for (size_t i = 0; i < NBYTES; i++)
                bytes[i] = (uint8_t)load_random(&seed);
}

/* --- Registers only ------------------------------------------------------------------------------------------------------ */

uint64_t user_alu(unsigned n)
{
        uint64_t a = SEED, b = 1, odd = 0;

        for (uint64_t i = 0; i < n * UINT64_C(1000000); i++) {
                a += b ^ (a >> 9);
                b = (b << 5 | b >> 59) + i;
                if (a & 1)
                        odd += b;
                else
                        b ^= a;
        }
        return a ^ b ^ odd;
}

/* --- SHA-256 (FIPS 180-4) ------------------------------------------------------------------------------------------------ */

static const uint32_t sha_k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
        0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
        0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
        0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t sha_start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static inline uint32_t ror(uint32_t x, unsigned n)
{
        return x >> n | x << (32 - n);
}

static void sha_schedule(uint32_t *w, const uint8_t *block)
{
        for (unsigned i = 0; i < 16; i++) {
                memcpy(&w[i], block + i * 4, 4);
                w[i] = __builtin_bswap32(w[i]);
        }
        for (unsigned i = 16; i < 64; i++) {
                uint32_t s0 = ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3;
                uint32_t s1 = ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10;

                w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
}

static NOINLINE void sha_block(uint32_t *hash, const uint8_t *block)
{
        uint32_t w[64], a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4], f = hash[5], g = hash[6], h = hash[7];

        sha_schedule(w, block);
        for (unsigned i = 0; i < 64; i++) {
                uint32_t t1 = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + sha_k[i] + w[i];
                uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));

                h = g;
                g = f;
                f = e;
                e = d + t1;
                d = c;
                c = b;
                b = a;
                a = t1 + t2;
        }
        hash[0] += a;
        hash[1] += b;
        hash[2] += c;
        hash[3] += d;
        hash[4] += e;
        hash[5] += f;
        hash[6] += g;
        hash[7] += h;
}

/* n times 16 KiB, without the padding at the end */
uint64_t user_sha256(unsigned n)
{
        uint32_t hash[8];

        memcpy(hash, sha_start, sizeof(hash));
        while (n-- > 0)
                for (size_t i = 0; i < 16384; i += 64)
                        sha_block(hash, bytes + i);
        return load_sum(0, hash, sizeof(hash));
}

/* --- CRC-32 by a table of 256 -------------------------------------------------------------------------------------------- */

static uint32_t crc_table[256];

static void crc_make_table(void)
{
        for (uint32_t i = 0; i < 256; i++) {
                uint32_t c = i;

                for (unsigned bit = 0; bit < 8; bit++)
                        c = c & 1 ? 0xedb88320 ^ c >> 1 : c >> 1;
                crc_table[i] = c;
        }
}

static NOINLINE uint32_t crc_bytes(uint32_t c, const uint8_t *p, size_t len)
{
        while (len-- > 0)
                c = crc_table[(c ^ *p++) & 255] ^ c >> 8;
        return c;
}

uint64_t user_crc32(unsigned n)
{
        uint32_t c = UINT32_MAX;

        crc_make_table();
        while (n-- > 0)
                c = crc_bytes(c, bytes, NBYTES);
        return c;
}

/* --- A chain of pointers in random order through 8 MiB ------------------------------------------------------------------- */

#define NNODES (1 << 17)

static struct node {
        struct node *next;
        uint64_t value;
        uint64_t unused[6];
} nodes[NNODES];

void user_chase_prepare(void)
{
        static uint32_t order[NNODES];
        uint64_t seed = SEED;

        for (uint32_t i = 0; i < NNODES; i++)
                order[i] = i;
        for (uint32_t i = NNODES - 1; i > 0; i--) {
                uint32_t j = (uint32_t)(load_random(&seed) % (i + 1)), t = order[i];

                order[i] = order[j];
                order[j] = t;
        }
        for (uint32_t i = 0; i < NNODES; i++) {
                nodes[order[i]].next = &nodes[order[(i + 1) % NNODES]];
                nodes[order[i]].value = i;
        }
}

uint64_t user_chase(unsigned n)
{
        const struct node *p = nodes;
        uint64_t sum = 0;

        for (uint64_t i = 0; i < (uint64_t)n * NNODES; i++) {
                sum = sum * 3 + p->value;
                p = p->next;
        }
        return sum;
}

/* --- Quicksort ----------------------------------------------------------------------------------------------------------- */

#define NNUMBERS (1 << 18)

static int32_t numbers[NNUMBERS];

static NOINLINE void quicksort(int32_t *first, int32_t *last)
{
        int32_t pivot = first[(last - first) / 2], *i = first, *j = last;

        while (i <= j) {
                while (*i < pivot)
                        i++;
                while (*j > pivot)
                        j--;
                if (i <= j) {
                        int32_t t = *i;

                        *i++ = *j;
                        *j-- = t;
                }
        }
        if (first < j)
                quicksort(first, j);
        if (i < last)
                quicksort(i, last);
}

uint64_t user_quicksort(unsigned n)
{
        uint64_t sum = 0;

        for (unsigned round = 0; round < n; round++) {
                uint64_t seed = SEED + round;

                for (size_t i = 0; i < NNUMBERS; i++)
                        numbers[i] = (int32_t)load_random(&seed);
                quicksort(numbers, numbers + NNUMBERS - 1);
                for (size_t i = 0; i < NNUMBERS; i += 999)
                        sum = sum * 31 + (uint32_t)numbers[i];
        }
        return sum;
}
