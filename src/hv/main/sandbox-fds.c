/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/main/sandbox.h"

static int compare(const void *a, const void *b)
{
        return *(const int *)a - *(const int *)b;
}

void sandbox_close_others(const int *keep, unsigned n)
{
        int sorted[8];
        unsigned from = STDERR_FILENO + 1;

        if (n > 8)
                return;
        memcpy(sorted, keep, n * sizeof(int));
        qsort(sorted, n, sizeof(int), compare);
        for (unsigned i = 0; i < n; i++) {
                if (sorted[i] < (int)from)
                        continue;
                if (sorted[i] > (int)from)
                        close_range(from, (unsigned)sorted[i] - 1, 0);
                from = (unsigned)sorted[i] + 1;
        }
        close_range(from, ~0u, 0);
}
