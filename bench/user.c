/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * User-mode loads that hardly enter the kernel. The amounts make each take some tenths of a second on a current machine,
 * those with vectors and floating point less, because emulators that compute these in software take a hundred times as long.
 */

#include "user.h"

static const struct load loads[] = {
        { "alu", user_alu, 100, NULL, NULL },
        { "sha256", user_sha256, 4000, user_bytes_prepare, NULL },
        { "crc32", user_crc32, 2000, user_bytes_prepare, NULL },
        { "chase", user_chase, 50, user_chase_prepare, NULL },
        { "quicksort", user_quicksort, 20, NULL, NULL },
        { "copy-sse", user_copy_sse, 30000, NULL, NULL },
        { "fib", user_fib, 130, NULL, NULL },
        { "icall", user_icall, 200, NULL, NULL },
        { "matmul-sse2", user_matmul_sse2, 25, user_matmul_prepare, NULL },
        { "matmul-avx2", user_matmul_avx2, 25, user_matmul_prepare, user_has_avx2 },
        { "fp-scalar", user_fp_scalar, 60, NULL, NULL },
        { "interp", user_interp, 10, NULL, NULL },
};

int main(int argc, char **argv)
{
        return load_main(loads, NELEMENTS(loads), LOAD_WORK, argc, argv);
}
