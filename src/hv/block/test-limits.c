/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hv/block/limits.h"
#include "hv/bus/check.h"

#define SECOND 1000000000ull

/* As much as the limits let through in that many seconds. */
static uint64_t run(struct limits *l, uint64_t start, unsigned seconds, bool write, uint64_t bytes)
{
        uint64_t now = start, end = start + seconds * SECOND, ops = 0;

        for (;;) {
                uint64_t wait = limits_wait(l, now, write);

                now += wait;
                if (now >= end)
                        return ops;
                if (wait == 0) {
                        limits_take(l, write, bytes);
                        ops++;
                }
        }
}

static bool is_near(uint64_t value, uint64_t wanted)
{
        return value >= wanted * 9 / 10 && value <= wanted * 11 / 10;
}

static void test_rate(void)
{
        struct prop_entry table[] = { { (char *)(uintptr_t)"write-iops-sec", 100 }, { (char *)(uintptr_t)"total-bytes-sec", MiB(10) } };
        struct limits l;
        char *error = NULL;

        CHECK(limits_parse(&l, table, 2, &error) == 0 && l.active);
        CHECK(is_near(run(&l, 0, 10, true, 4096), 1000));
        CHECK(is_near(run(&l, 100 * SECOND, 10, false, 65536), MiB(100) / 65536));
        CHECK(is_near(run(&l, 200 * SECOND, 10, true, MiB(1)), 100));
}

static void test_burst(void)
{
        struct prop_entry table[] = {
                { (char *)(uintptr_t)"read-iops-sec", 100 },
                { (char *)(uintptr_t)"read-iops-sec-max", 1000 },
                { (char *)(uintptr_t)"read-iops-sec-max-length", 5 },
                { (char *)(uintptr_t)"size-iops-sec", 4096 },
        };
        struct limits l;
        char *error = NULL;

        CHECK(limits_parse(&l, table, 4, &error) == 0);
        CHECK(is_near(run(&l, 0, 5, false, 512), 5000));
        CHECK(is_near(run(&l, 20 * SECOND, 10, false, 512), 1000 + 2000)); /* what has leaked since is there for a burst again */
        /* Two operations each. */
        CHECK(is_near(run(&l, 1000 * SECOND, 4, false, 8192), 2000));
        CHECK(limits_wait(&l, 1004 * SECOND, true) == 0);
}

static void test_refused(void)
{
        static const char *const bad[][2] = {
                { "read-bytes-sec-max", "needs read-bytes-sec" },
                { "read-bytes", "no limit 'read-bytes'" },
        };

        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
                struct prop_entry entry = { (char *)(uintptr_t)bad[i][0], 5 };
                struct limits l;
                char *error = NULL;

                CHECK(limits_parse(&l, &entry, 1, &error) == -EINVAL);
                CHECK(error && strstr(error, bad[i][1]));
                free(error);
        }
}

int main(void)
{
        test_rate();
        test_burst();
        test_refused();
        return 0;
}
