/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Small kernels of integer, floating-point, vector and string code; prints a checksum of each. */

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 1;
static int size = 10;

static uint32_t rnd(void)
{
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        return seed;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
        h ^= x;
        h *= 0x100000001b3ULL;
        return h << 7 | h >> 57;
}

static uint64_t integers(void)
{
        uint64_t h = 1;

        for (int i = 0; i < 5000 * size; i++) {
                uint32_t a = rnd(), b = rnd() | 1;
                uint64_t c = (uint64_t)a << 32 | b;

                h = mix(h, a / b + a % b);
                h = mix(h, c / (a | 1) + c % (b >> 3 | 1));
                h = mix(h, (uint64_t)((int64_t)c / (int32_t)b | (int64_t)((int16_t)a * (int8_t)b)));
                h = mix(h, (unsigned)__builtin_popcount(a) + (unsigned)__builtin_clz(b) + (unsigned)__builtin_ctzll(c));
                h = mix(h, __builtin_bswap64(c) >> (a & 31) | (uint64_t)((int64_t)c >> (b & 63)));
                h = mix(h, (uint64_t)(uint16_t)(a << 3) + (uint8_t)(b >> 5) + (a > b) + ((int32_t)a > (int32_t)b));
        }
        return h;
}

static uint64_t vectors(void)
{
        static int32_t a[4099], b[4099], c[4099];
        static uint8_t p[4099], q[4099];
        static float f[4099], g[4099];
        uint64_t h = 2;

        for (int i = 0; i < 4099; i++) {
                a[i] = (int32_t)rnd();
                b[i] = (int32_t)rnd();
                p[i] = (uint8_t)rnd();
                f[i] = (float)(int32_t)rnd() / 65536;
        }
        for (int round = 0; round < 2 * size; round++) {
                int32_t best = INT32_MIN;
                uint32_t sum = 0;

                for (int i = 0; i < 4099; i++)
                        c[i] = (int32_t)((uint32_t)a[i] * 3u + (uint32_t)(b[i] >> 3)) ^ (a[i] < b[i] ? a[i] : b[i]);
                for (int i = 0; i < 4098; i++)
                        q[i] = (uint8_t)((p[i] + p[i + 1] + 1) >> 1);
                for (int i = 0; i < 4099; i++)
                        g[i] = f[i] * 0.5f + (float)c[i] * 0.25f;
                for (int i = 0; i < 4099; i++) {
                        best = c[i] > best ? c[i] : best;
                        sum += (uint32_t)c[i] + q[i];
                }
                memcpy(a, c, sizeof(a) / 2);
                memmove(p + 1, q, sizeof(q) - 1);
                h = mix(mix(h, (uint32_t)best), sum);
                for (int i = 0; i < 4099; i += 97) {
                        uint32_t bits;

                        memcpy(&bits, &g[i], 4);
                        h = mix(h, bits);
                }
        }
        return h;
}

#ifdef X87
static uint64_t doubles(void)
{
        uint64_t h = 3;

        for (int i = 1; i < 500 * size; i++) {
                long double x = (long double)rnd() / (long double)i;

                h = mix(h, (uint64_t)(sqrtl(x) * 4096));
                h = mix(h, (uint64_t)(int64_t)(sinl(x) * 1e12L));
                h = mix(h, (uint64_t)(int64_t)(logl(x + 1) * 1e12L));
                h = mix(h, (uint64_t)llrintl(atan2l(x, (long double)i) * 1e9L));
        }
        return h;
}
#else
static uint64_t bits_of(double x)
{
        uint64_t bits;

        memcpy(&bits, &x, 8);
        return bits;
}

static uint64_t doubles(void)
{
        uint64_t h = 3;
        double m[20][20], n[20][20];

        for (int i = 1; i < 500 * size; i++) {
                double x = (double)rnd() / i;

                h = mix(h, bits_of(sqrt(x)));
                h = mix(h, bits_of(x / 3 - floor(x) * ceil(x / 7)));
                h = mix(h, (uint64_t)(int64_t)(x - 1e5) + (uint64_t)(float)x);
                h = mix(h, bits_of((double)(int64_t)rnd() * 1e-3) ^ (uint64_t)(x < i) ^ (uint64_t)lrint(x));
        }
        for (int i = 0; i < 400; i++)
                m[i / 20][i % 20] = (double)rnd() / 4294967296.0;
        for (int i = 0; i < 20; i++)
                for (int j = 0; j < 20; j++) {
                        n[i][j] = 0;
                        for (int k = 0; k < 20; k++)
                                n[i][j] += m[i][k] * m[k][j];
                        h = mix(h, bits_of(n[i][j]));
                }
        return h;
}
#endif

static int compare(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

static uint64_t strings(void)
{
        static char text[8192], line[256];
        uint32_t numbers[1000];
        uint64_t h = 4;

        for (int i = 0; i < 8191; i++)
                text[i] = (char)(32 + rnd() % 90);
        for (int i = 0; i < 1000; i++)
                numbers[i] = rnd();
        qsort(numbers, 1000, sizeof(numbers[0]), compare);
        for (int i = 0; i < 1000; i += 7)
                h = mix(h, numbers[i]);
        for (int i = 0; i < 40 * size; i++) {
                char *at = strchr(text + i * 20, 'a' + i % 26);
                int n = snprintf(line, sizeof(line), "%d %08x %-9.3f|%s", i, numbers[i], numbers[i] / 1000.0, at ? "yes" : "no");

                h = mix(h, (uint64_t)n + strlen(text + i) + (at ? (uint64_t)(at - text) : 0));
                for (int k = 0; k < n; k++)
                        h = mix(h, (uint8_t)line[k]);
                h = mix(h, (uint64_t)(memcmp(text, text + i, 50) < 0) + strtoul(line + 3, NULL, 16));
        }
        return h;
}

static jmp_buf back;
static int signals;

static void on_signal(int sig)
{
        signals += sig;
        siglongjmp(back, 1);
}

/* Faults of several kinds, and returns from their handlers. */
static uint64_t faults(void)
{
        volatile int zero = 0;
        volatile int *null = NULL;

        signal(SIGFPE, on_signal);
        signal(SIGSEGV, on_signal);
        signal(SIGILL, on_signal);
        signal(SIGTRAP, on_signal);
        for (int i = 0; i < 400; i++)
                if (!sigsetjmp(back, 1)) {
                        switch (i % 4) {
                        case 0:
                                signals += 7 / zero;
                                break;
                        case 1:
                                signals += *null;
                                break;
                        case 2:
                                __asm__ volatile("ud2");
                                break;
                        default:
                                __asm__ volatile("int3");
                        }
                }
        return (uint64_t)signals;
}

static uint64_t shared;
static uint32_t small;

static void *add(void *arg)
{
        for (int i = 0; i < 2000 * size; i++) {
                uint32_t old = __atomic_load_n(&small, __ATOMIC_RELAXED);

                __atomic_fetch_add(&shared, (uint64_t)(uintptr_t)arg, __ATOMIC_SEQ_CST);
                while (!__atomic_compare_exchange_n(&small, &old, old * 3 + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
                        ;
        }
        return NULL;
}

static uint64_t threads(void)
{
        pthread_t t[4];

        for (uintptr_t i = 0; i < 4; i++)
                if (pthread_create(&t[i], NULL, add, (void *)(i + 1)))
                        return 0;
        for (int i = 0; i < 4; i++)
                pthread_join(t[i], NULL);
        return mix(shared, small);
}

int main(int argc, char **argv)
{
        (void)argv;
        if (argc > 1)
                size = 1;
        printf("integers %016llx\n", (unsigned long long)integers());
        printf("vectors  %016llx\n", (unsigned long long)vectors());
        printf("doubles  %016llx\n", (unsigned long long)doubles());
        printf("strings  %016llx\n", (unsigned long long)strings());
        printf("faults   %016llx\n", (unsigned long long)faults());
        printf("threads  %016llx\n", (unsigned long long)threads());
        return 0;
}
