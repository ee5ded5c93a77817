/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/limits.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "hv/bus/plug.h"

#define NS_PER_S 1e9
/* Without a burst, or on top of -max, this part of a second's worth may go at once. */
#define SLACK 0.1

static const char *const names[LIMIT_KINDS] = {
        [LIMIT_TOTAL_BYTES] = "total-bytes-sec", [LIMIT_READ_BYTES] = "read-bytes-sec", [LIMIT_WRITE_BYTES] = "write-bytes-sec",
        [LIMIT_TOTAL_IOPS] = "total-iops-sec", [LIMIT_READ_IOPS] = "read-iops-sec", [LIMIT_WRITE_IOPS] = "write-iops-sec",
};

/* The field that an entry of that name sets, or NULL. */
static uint64_t *field(struct limits *l, const char *name)
{
        if (strcmp(name, "size-iops-sec") == 0)
                return &l->io_size;
        for (unsigned i = 0; i < LIMIT_KINDS; i++) {
                size_t n = strlen(names[i]);

                if (strncmp(name, names[i], n) != 0)
                        continue;
                if (!name[n])
                        return &l->limit[i].rate;
                if (strcmp(name + n, "-max") == 0)
                        return &l->limit[i].max;
                if (strcmp(name + n, "-max-length") == 0)
                        return &l->limit[i].length;
        }
        return NULL;
}

static int check(const struct limits *l, char **ret_error)
{
        for (unsigned i = 0; i < LIMIT_KINDS; i++) {
                const struct limit *limit = &l->limit[i];

                if (limit->max && !limit->rate)
                        return plug_fail(ret_error, -EINVAL, "iotune: %s-max needs %s", names[i], names[i]);
                if (limit->max && limit->max < limit->rate)
                        return plug_fail(ret_error, -EINVAL, "iotune: %s-max is below %s", names[i], names[i]);
                if (limit->length && !limit->max)
                        return plug_fail(ret_error, -EINVAL, "iotune: %s-max-length needs %s-max", names[i], names[i]);
        }
        return 0;
}

int limits_parse(struct limits *l, const struct prop_entry *entries, size_t n, char **ret_error)
{
        int r;

        *l = (struct limits){ 0 };
        for (size_t i = 0; i < n; i++) {
                uint64_t *to = field(l, entries[i].name);

                if (!to)
                        return plug_fail(ret_error, -EINVAL, "iotune: there is no limit '%s'", entries[i].name);
                *to = entries[i].value;
        }
        r = check(l, ret_error);
        for (unsigned i = 0; i < LIMIT_KINDS; i++) {
                if (l->limit[i].rate)
                        l->active = true;
                if (!l->limit[i].length)
                        l->limit[i].length = 1;
        }
        return r;
}

static double drain(double level, double amount)
{
        return level > amount ? level - amount : 0;
}

static void leak(struct limits *l, uint64_t now)
{
        double seconds = (double)(now - l->leaked) / NS_PER_S;

        l->leaked = now;
        for (unsigned i = 0; i < LIMIT_KINDS; i++) {
                l->limit[i].level = drain(l->limit[i].level, seconds * (double)l->limit[i].rate);
                l->limit[i].burst = drain(l->limit[i].burst, seconds * (double)l->limit[i].max);
        }
}

/* Seconds until the bucket is at its brim again. */
static double limit_wait(const struct limit *limit)
{
        double brim = limit->max ? (double)limit->max * (double)limit->length : (double)limit->rate * SLACK, wait = 0;

        if (limit->level > brim)
                wait = (limit->level - brim) / (double)limit->rate;
        /* Within a burst of several seconds no second may take it all. */
        if (limit->max && limit->length > 1) {
                double more = limit->burst - (double)limit->max * SLACK;

                if (more > 0 && more / (double)limit->max > wait)
                        wait = more / (double)limit->max;
        }
        return wait;
}

static bool applies(unsigned kind, bool write)
{
        switch (kind) {
        case LIMIT_READ_BYTES:
        case LIMIT_READ_IOPS:
                return !write;
        case LIMIT_WRITE_BYTES:
        case LIMIT_WRITE_IOPS:
                return write;
        default:
                return true;
        }
}

uint64_t limits_wait(struct limits *l, uint64_t now, bool write)
{
        double wait = 0;

        leak(l, now);
        for (unsigned i = 0; i < LIMIT_KINDS; i++)
                if (l->limit[i].rate && applies(i, write)) {
                        double one = limit_wait(&l->limit[i]);

                        wait = one > wait ? one : wait;
                }
        return wait > 0 ? (uint64_t)(wait * NS_PER_S) + 1 : 0;
}

void limits_take(struct limits *l, bool write, uint64_t bytes)
{
        double ops = l->io_size && bytes > l->io_size ? (double)((bytes + l->io_size - 1) / l->io_size) : 1;

        for (unsigned i = 0; i < LIMIT_KINDS; i++) {
                double amount = i < LIMIT_TOTAL_IOPS ? (double)bytes : ops;

                if (!applies(i, write))
                        continue;
                l->limit[i].level += amount;
                l->limit[i].burst += amount;
        }
}
