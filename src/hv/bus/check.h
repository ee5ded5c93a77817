/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* For the unit tests of hv: CHECK(condition) ends the test with the place and the condition; CHECK_EQ shows both values. */

#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond)                                                                                         \
        do {                                                                                                \
                if (!(cond)) {                                                                              \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                          \
                        exit(1);                                                                            \
                }                                                                                           \
        } while (0)

#define CHECK_EQ(a, b)                                                                                      \
        do {                                                                                                \
                long long check_a = (long long)(a), check_b = (long long)(b);                               \
                if (check_a != check_b) {                                                                   \
                        fprintf(stderr, "%s:%d: %s is %#llx, not %#llx\n", __FILE__, __LINE__, #a, check_a, \
                                check_b);                                                                   \
                        exit(1);                                                                            \
                }                                                                                           \
        } while (0)
