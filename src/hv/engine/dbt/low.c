/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory in the lowest 2 GiB, which instructions reach by a 32-bit displacement alone. */

#include <sys/mman.h>

#include "base/macros.h"
#include "hv/engine/dbt/sys.h"
#include "hv/engine/dbt/tr.h"

#define LOW_START MiB(1536) /* below, mirrored programs that are linked to fixed addresses have their code and heap */
#define LOW_END GiB(2)
#define TRIES 64

/* Different in each process and at each call. */
static uint64_t somewhere(const void *stack)
{
        return ((uintptr_t)stack ^ dbt_host_tsc()) * DBT_HASH_FACTOR >> 32;
}

void *tr_low_map(size_t size)
{
        uint64_t pages = (LOW_END - LOW_START - ALIGN_UP(size, DBT_PAGE_SIZE)) / DBT_PAGE_SIZE;

        for (unsigned k = 0; size < LOW_END / 2 && k < TRIES; k++) {
                uint8_t *at = (uint8_t *)(uintptr_t)(LOW_START + somewhere(&pages) % pages * DBT_PAGE_SIZE);
                void *map = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

                if (map == at)
                        return map;
                if (map != MAP_FAILED) /* a kernel before 4.17 */
                        munmap(map, size);
        }
        return MAP_FAILED;
}
