/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Loads of two threads or processes that hardly wait for each other: twice as fast on two CPUs, if these are worth two. */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

/* --- A sort: each thread makes and sorts a half, then each merges a half of the result ---------------------------------------------- */

#define NNUMBERS (1 << 20)
#define HALF (NNUMBERS / 2)

static uint32_t numbers[NNUMBERS], merged[NNUMBERS];
static pthread_barrier_t sorted;

static int compare(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

static void merge_least(void)
{
        const uint32_t *a = numbers, *b = numbers + HALF;

        for (size_t i = 0; i < HALF; i++)
                merged[i] = *a <= *b ? *a++ : *b++;
}

static void merge_greatest(void)
{
        const uint32_t *a = numbers + HALF - 1, *b = numbers + NNUMBERS - 1;

        for (size_t i = NNUMBERS; i-- > HALF;)
                merged[i] = *a > *b ? *a-- : *b--;
}

static void *sort_half(void *second)
{
        uint32_t *half = second ? numbers + HALF : numbers;
        uint64_t seed = second ? 98 : 99;

        for (size_t i = 0; i < HALF; i++)
                half[i] = (uint32_t)load_random(&seed);
        qsort(half, HALF, sizeof(*half), compare);
        pthread_barrier_wait(&sorted);
        if (second)
                merge_greatest();
        else
                merge_least();
        return NULL;
}

static uint64_t run_sort(unsigned n)
{
        uint64_t sum = 0;

        while (n-- > 0) {
                pthread_t thread;

                if (pthread_barrier_init(&sorted, NULL, 2) || pthread_create(&thread, NULL, sort_half, numbers))
                        load_fail("pthread_create");
                sort_half(NULL);
                pthread_join(thread, NULL);
                pthread_barrier_destroy(&sorted);
                for (size_t i = 0; i < NNUMBERS; i += 1001)
                        sum = sum * 31 + merged[i];
        }
        return sum;
}

/* --- Two processes that each start others ------------------------------------------------------------------------------- */

static int make_children(unsigned n)
{
        unsigned good = 0;

        for (unsigned i = 0; i < n; i++) {
                pid_t pid = fork();
                int status;

                if (pid == 0)
                        _exit(3);
                good += pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 3;
        }
        return good == n ? 0 : 1;
}

static uint64_t run_fork(unsigned n)
{
        uint64_t sum = 0;
        pid_t pids[2];
        int status;

        for (size_t i = 0; i < NELEMENTS(pids); i++) {
                pids[i] = fork();
                if (pids[i] < 0)
                        load_fail("fork");
                if (pids[i] == 0)
                        _exit(make_children(n));
        }
        for (size_t i = 0; i < NELEMENTS(pids); i++) {
                if (waitpid(pids[i], &status, 0) != pids[i])
                        load_fail("waitpid");
                sum = sum * 31 + (uint64_t)status;
        }
        return sum + n;
}

static const struct load loads[] = {
        { "sort", run_sort, 4, NULL, NULL },
        { "fork", run_fork, 1000, NULL, NULL },
};

int main(int argc, char **argv)
{
        return load_main(loads, NELEMENTS(loads), LOAD_WORK, argc, argv);
}
