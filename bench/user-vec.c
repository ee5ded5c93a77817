/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Vector and floating-point loads. */

#include <immintrin.h>

#include "user.h"

/* --- Copies with unaligned SSE loads and stores -------------------------------------------------------------------------- */

#define COPY_BYTES 65536

static uint8_t copy_from[COPY_BYTES + 64], copy_to[COPY_BYTES + 64];

static NOINLINE void copy_sse(uint8_t *to, const uint8_t *from)
{
        for (size_t i = 0; i < COPY_BYTES; i += 64) {
                __m128i a = _mm_loadu_si128((const __m128i *)(from + i));
                __m128i b = _mm_loadu_si128((const __m128i *)(from + i + 16));
                __m128i c = _mm_loadu_si128((const __m128i *)(from + i + 32));
                __m128i d = _mm_loadu_si128((const __m128i *)(from + i + 48));

                _mm_storeu_si128((__m128i *)(to + i), a);
                _mm_storeu_si128((__m128i *)(to + i + 16), b);
                _mm_storeu_si128((__m128i *)(to + i + 32), c);
                _mm_storeu_si128((__m128i *)(to + i + 48), d);
        }
}

uint64_t user_copy_sse(unsigned n)
{
        uint64_t seed = 1, sum = 0;

        for (size_t i = 0; i < sizeof(copy_from); i++)
                copy_from[i] = (uint8_t)load_random(&seed);
        for (unsigned i = 0; i < n; i++) {
                copy_sse(copy_to + i / 16 % 16, copy_from + i % 16);
                BARRIER();
                sum = sum * 31 + copy_to[i % COPY_BYTES];
        }
        return load_sum(sum, copy_to, sizeof(copy_to));
}

/* --- Products of matrices ------------------------------------------------------------------------------------------------ */

#define DIM 192

static double left[DIM][DIM] __attribute__((aligned(32)));
static double right[DIM][DIM] __attribute__((aligned(32)));
static double product[DIM][DIM] __attribute__((aligned(32)));

void user_matmul_prepare(void)
{
        uint64_t seed = 7;

        for (size_t i = 0; i < DIM; i++)
                for (size_t j = 0; j < DIM; j++) {
                        left[i][j] = (double)(int32_t)load_random(&seed) / 65536;
                        right[i][j] = (double)(int32_t)load_random(&seed) / 65536;
                        product[i][j] = 0;
                }
}

static NOINLINE void multiply_sse2(void)
{
        for (size_t i = 0; i < DIM; i++)
                for (size_t k = 0; k < DIM; k++) {
                        __m128d a = _mm_set1_pd(left[i][k]);

                        for (size_t j = 0; j < DIM; j += 2) {
                                __m128d p = _mm_mul_pd(a, _mm_load_pd(&right[k][j]));

                                _mm_store_pd(&product[i][j], _mm_add_pd(_mm_load_pd(&product[i][j]), p));
                        }
                }
}

__attribute__((target("avx2,fma"))) static NOINLINE void multiply_avx2(void)
{
        for (size_t i = 0; i < DIM; i++)
                for (size_t k = 0; k < DIM; k++) {
                        __m256d a = _mm256_set1_pd(left[i][k]);

                        for (size_t j = 0; j < DIM; j += 4) {
                                __m256d p = _mm256_load_pd(&product[i][j]);

                                _mm256_store_pd(&product[i][j], _mm256_fmadd_pd(a, _mm256_load_pd(&right[k][j]), p));
                        }
                }
}

/* The products are added up over the rounds. */
static uint64_t multiply(void (*round)(void), unsigned n)
{
        while (n-- > 0)
                round();
        return load_sum(0, product, sizeof(product));
}

uint64_t user_matmul_sse2(unsigned n)
{
        return multiply(multiply_sse2, n);
}

bool user_has_avx2(void)
{
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

uint64_t user_matmul_avx2(unsigned n)
{
        return multiply(multiply_avx2, n);
}

/* --- Scalar floating point ----------------------------------------------------------------------------------------------- */

uint64_t user_fp_scalar(unsigned n)
{
        double x = 0.5, y = 1, z = 0;

        for (uint64_t i = 0; i < n * UINT64_C(1000000); i++) {
                x = x * 1.0000001 + y / 3;
                y = y * 0.999 + (double)(i & 3);
                if (x > 1e6) {
                        z += x;
                        x -= 1e6;
                }
        }
        x += y + z;
        return load_sum(0, &x, sizeof(x));
}
