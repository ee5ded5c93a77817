/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/bus.h"

#include <errno.h>

#include "hv/bus/check.h"

struct probe {
        struct bus *bus;
        unsigned reads, writes, size;
        uint64_t off, value;
};

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
        struct probe *p = dev;

        p->reads++;
        p->off = off;
        p->size = size;
        return 0x1111111111111100ULL + off;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct probe *p = dev;

        p->writes++;
        p->off = off;
        p->size = size;
        p->value = value;
}

static const struct bus_ops probe_ops = { .read = probe_read, .write = probe_write };

/* A device that moves its own range when written, as a PCI BAR does. */
static void mover_write(void *dev, uint64_t off, unsigned size, uint64_t value);
static const struct bus_ops mover_ops = { .read = probe_read, .write = mover_write };

static void mover_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct probe *p = dev;

        CHECK_EQ(bus_unmap(p->bus, BUS_MMIO, 0x9000), 0);
        CHECK_EQ(bus_map(p->bus, BUS_MMIO, value, 0x1000, &mover_ops, p, "mover"), 0);
}

static void test_map(struct bus *bus)
{
        struct probe p = { .bus = bus };

        CHECK_EQ(bus_map(bus, BUS_PIO, 0x60, 4, &probe_ops, &p, "a"), 0);
        CHECK_EQ(bus_map(bus, BUS_PIO, 0x63, 1, &probe_ops, &p, "b"), -EBUSY);
        CHECK_EQ(bus_map(bus, BUS_PIO, 0x5f, 2, &probe_ops, &p, "b"), -EBUSY);
        CHECK_EQ(bus_map(bus, BUS_PIO, 0x50, 0x100, &probe_ops, &p, "b"), -EBUSY);
        CHECK_EQ(bus_map(bus, BUS_PIO, 0x64, 1, &probe_ops, &p, "b"), 0);
        CHECK_EQ(bus_map(bus, BUS_PIO, 0xffff, 2, &probe_ops, &p, "b"), -EINVAL);
        CHECK_EQ(bus_map(bus, BUS_MMIO, UINT64_MAX, 2, &probe_ops, &p, "b"), -EINVAL);
        CHECK_EQ(bus_unmap(bus, BUS_PIO, 0x61), -ENOENT);
        CHECK_EQ(bus_unmap(bus, BUS_PIO, 0x64), 0);

        CHECK_EQ(bus_read(bus, BUS_PIO, 0x62, 2), 0x1102);
        CHECK_EQ(p.size, 2);
        CHECK_EQ(p.off, 2);
        bus_write(bus, BUS_PIO, 0x60, 4, 0xffffffff12345678ULL);
        CHECK_EQ(p.value, 0x12345678);
        CHECK_EQ(bus_unmap(bus, BUS_PIO, 0x60), 0);
}

static void test_unclaimed(struct bus *bus)
{
        struct probe p = { .bus = bus };

        CHECK_EQ(bus_read(bus, BUS_PIO, 0x300, 1), 0xff);
        CHECK_EQ(bus_read(bus, BUS_PIO, 0x300, 4), 0xffffffff);
        CHECK(bus_read(bus, BUS_MMIO, 0x300, 8) == UINT64_MAX);
        CHECK(bus_read(bus, BUS_MMIO, UINT64_MAX - 3, 8) == UINT64_MAX);
        bus_write(bus, BUS_MMIO, UINT64_MAX, 8, 0);

        /* Accesses over either edge fall into bytes. */
        CHECK_EQ(bus_map(bus, BUS_MMIO, 0x1000, 2, &probe_ops, &p, "edge"), 0);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0xffe, 4), 0x0100ffff);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0x1001, 2), 0xff01);
        CHECK_EQ(p.reads, 3);
        bus_write(bus, BUS_MMIO, 0xfff, 2, 0xaabb);
        CHECK_EQ(p.writes, 1);
        CHECK_EQ(p.value, 0xaa);
        CHECK_EQ(bus_unmap(bus, BUS_MMIO, 0x1000), 0);
}

static void test_many(struct bus *bus)
{
        static struct probe p[200];

        for (unsigned i = 0; i < 200; i++)
                CHECK_EQ(bus_map(bus, BUS_MMIO, (i * 37 % 200) * 0x1000, 0x10, &probe_ops, &p[i * 37 % 200], "m"), 0);
        for (unsigned i = 0; i < 200; i++) {
                bus_write(bus, BUS_MMIO, i * 0x1000 + 8, 8, i);
                CHECK_EQ(p[i].writes, 1);
                CHECK_EQ(p[i].value, i);
        }
        for (unsigned i = 0; i < 200; i++)
                CHECK_EQ(bus_unmap(bus, BUS_MMIO, i * 0x1000), 0);
}

static void test_move(struct bus *bus)
{
        struct probe p = { .bus = bus };

        CHECK_EQ(bus_map(bus, BUS_MMIO, 0x9000, 0x1000, &mover_ops, &p, "mover"), 0);
        bus_write(bus, BUS_MMIO, 0x9000, 4, 0x40000);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0x9000, 1), 0xff);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0x40004, 1), 4);
}

int main(void)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct bus *bus;

        CHECK_EQ(bus_new(&lock, &bus), 0);
        test_map(bus);
        test_unclaimed(bus);
        test_many(bus);
        test_move(bus);
        bus_free(bus);
        return 0;
}
