/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The user-mode loads. */

#include "load.h"

/* user-int.c */
uint64_t user_alu(unsigned n);
void user_bytes_prepare(void);
uint64_t user_sha256(unsigned n);
uint64_t user_crc32(unsigned n);
void user_chase_prepare(void);
uint64_t user_chase(unsigned n);
uint64_t user_quicksort(unsigned n);

/* user-vec.c */
uint64_t user_copy_sse(unsigned n);
void user_matmul_prepare(void);
uint64_t user_matmul_sse2(unsigned n);
bool user_has_avx2(void);
uint64_t user_matmul_avx2(unsigned n);
uint64_t user_fp_scalar(unsigned n);

/* user-call.c */
uint64_t user_fib(unsigned n);
uint64_t user_icall(unsigned n);
uint64_t user_interp(unsigned n);
