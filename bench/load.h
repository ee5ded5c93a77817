/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Loads: named pieces of work that are timed, and whose result is a number that must not depend on who runs them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NELEMENTS(a) (sizeof(a) / sizeof(a[0]))
/* Keeps the compiler from inlining a function whose call is what is measured, or from hoisting work out of its loop. */
#define NOINLINE __attribute__((noinline))
#define BARRIER() __asm__ volatile("" ::: "memory")

struct load {
        const char *name;
        /* Does n units of work and returns a checksum of all results. */
        uint64_t (*run)(unsigned n);
        unsigned n;
        /* Makes the data; not timed. May be NULL. */
        void (*prepare)(void);
        /* If not NULL: whether this CPU can run it. */
        bool (*possible)(void);
};

/*
 * How a program's loads are run. Work: each once, with n scaled. Time: each in batches of n until the time is over; every
 * batch must return the same checksum.
 */
enum load_mode {
        LOAD_WORK,
        LOAD_TIME,
};

/*
 * The main function of a program of loads: PROGRAM [--scale FACTOR] [NAME ...]. Prints for each load "domus-bench: begin NAME"
 * and "domus-bench: NAME SECONDS CPU-SECONDS OPERATIONS CHECKSUM", at last "domus-bench: end".
 */
int load_main(const struct load *loads, size_t nloads, enum load_mode mode, int argc, char **argv);

/* A reproducible sequence of pseudo-random numbers. */
uint64_t load_random(uint64_t *state);
/* Adds bytes to a checksum. */
uint64_t load_sum(uint64_t sum, const void *data, size_t len);
double load_now(void);
/* Prints what failed with errno's text, and exits: a load without its result has no figure. */
void load_fail(const char *what) __attribute__((noreturn));
