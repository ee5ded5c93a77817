/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/macros.h"

/* Accesses that nobody claims are logged for people who debug a guest; at most this many lines a second. */
#define LOG_LINES_PER_SECOND 8

struct bus_range {
        uint64_t start, len;
        const struct bus_ops *ops;
        void *dev;
        const char *name;
};

/* Sorted by start; ranges do not overlap. */
struct bus_table {
        struct bus_range *ranges;
        size_t n, allocated;
};

struct bus {
        pthread_mutex_t *lock;
        struct bus_table tables[2];
        time_t log_second;
        unsigned log_lines;
};

int bus_new(pthread_mutex_t *lock, struct bus **ret)
{
        struct bus *bus = calloc(1, sizeof(*bus));

        if (!bus)
                return -ENOMEM;
        bus->lock = lock;
        *ret = bus;
        return 0;
}

void bus_free(struct bus *bus)
{
        if (!bus)
                return;
        for (size_t i = 0; i < ARRAY_SIZE(bus->tables); i++)
                free(bus->tables[i].ranges);
        free(bus);
}

/* Index of the first range that ends beyond addr; t->n if there is none. */
static size_t table_search(const struct bus_table *t, uint64_t addr)
{
        size_t lo = 0, hi = t->n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (t->ranges[mid].start + (t->ranges[mid].len - 1) < addr)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

static int table_grow(struct bus_table *t)
{
        size_t n = t->allocated ? t->allocated * 2 : 16;
        struct bus_range *p;

        if (t->n < t->allocated)
                return 0;
        p = reallocarray(t->ranges, n, sizeof(*p));
        if (!p)
                return -ENOMEM;
        t->ranges = p;
        t->allocated = n;
        return 0;
}

int bus_map(struct bus *bus, enum bus_space space, uint64_t start, uint64_t len, const struct bus_ops *ops, void *dev,
            const char *name)
{
        struct bus_table *t = &bus->tables[space];
        size_t i;
        int r;

        if (len == 0 || start + (len - 1) < start || (space == BUS_PIO && start + (len - 1) > 0xffff))
                return -EINVAL;
        i = table_search(t, start);
        if (i < t->n && t->ranges[i].start <= start + (len - 1))
                return -EBUSY;
        r = table_grow(t);
        if (r < 0)
                return r;
        memmove(&t->ranges[i + 1], &t->ranges[i], (t->n - i) * sizeof(*t->ranges));
        t->ranges[i] = (struct bus_range){ .start = start, .len = len, .ops = ops, .dev = dev, .name = name };
        t->n++;
        return 0;
}

int bus_unmap(struct bus *bus, enum bus_space space, uint64_t start)
{
        struct bus_table *t = &bus->tables[space];
        size_t i = table_search(t, start);

        if (i == t->n || t->ranges[i].start != start)
                return -ENOENT;
        t->n--;
        memmove(&t->ranges[i], &t->ranges[i + 1], (t->n - i) * sizeof(*t->ranges));
        return 0;
}

static void log_unclaimed(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size, const char *what)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
        if (ts.tv_sec != bus->log_second) {
                bus->log_second = ts.tv_sec;
                bus->log_lines = 0;
        }
        if (bus->log_lines++ < LOG_LINES_PER_SECOND)
                log_debug("%s %s of %u bytes at %#llx: nothing is there", space == BUS_PIO ? "port" : "memory", what,
                        size, (unsigned long long)addr);
}

static uint64_t ones(unsigned size)
{
        return size >= 8 ? UINT64_MAX : (1ULL << (size * 8)) - 1;
}

/* The range that holds addr, by value: the device may remap itself while it handles the access. */
static bool find(struct bus *bus, enum bus_space space, uint64_t addr, struct bus_range *ret)
{
        struct bus_table *t = &bus->tables[space];
        size_t i = table_search(t, addr);

        if (i == t->n || t->ranges[i].start > addr)
                return false;
        *ret = t->ranges[i];
        return true;
}

static bool touches(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size)
{
        struct bus_table *t = &bus->tables[space];
        size_t i = table_search(t, addr);

        return i < t->n && t->ranges[i].start - addr < size;
}

/* The size of the pieces in which an access reaches its range: size if it fits, less if it must be split; 0: nobody is there. */
static unsigned piece_size(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size, struct bus_range *range)
{
        unsigned max;

        if (!find(bus, space, addr, range))
                return size > 1 && touches(bus, space, addr, size) ? 1 : 0;
        if (range->len - (addr - range->start) < size)
                return 1;
        max = range->ops->max_size;
        return max && max < size ? max : size;
}

static uint64_t read_locked(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size)
{
        struct bus_range range;
        uint64_t value = 0;
        unsigned piece = piece_size(bus, space, addr, size, &range);

        if (piece == 0) {
                log_unclaimed(bus, space, addr, size, "read");
                return ones(size);
        }
        if (piece == size)
                return range.ops->read(range.dev, addr - range.start, size) & ones(size);
        for (unsigned i = 0; i < size; i += piece)
                value |= read_locked(bus, space, addr + i, piece) << (i * 8);
        return value;
}

static void write_locked(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size, uint64_t value)
{
        struct bus_range range;
        unsigned piece = piece_size(bus, space, addr, size, &range);

        if (piece == 0)
                log_unclaimed(bus, space, addr, size, "write");
        else if (piece == size)
                range.ops->write(range.dev, addr - range.start, size, value & ones(size));
        else
                for (unsigned i = 0; i < size; i += piece)
                        write_locked(bus, space, addr + i, piece, (value >> (i * 8)) & ones(piece));
}

uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size)
{
        uint64_t value;

        pthread_mutex_lock(bus->lock);
        value = read_locked(bus, space, addr, size);
        pthread_mutex_unlock(bus->lock);
        return value;
}

void bus_write(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size, uint64_t value)
{
        pthread_mutex_lock(bus->lock);
        write_locked(bus, space, addr, size, value);
        pthread_mutex_unlock(bus->lock);
}
