/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/absent.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"

static const struct {
        uint16_t port, len;
        const char *name;
} absent[] = {
        { 0x000, 16, "dma" },        { 0x080, 16, "dma-page-and-post" }, { 0x0c0, 32, "dma" },
        { 0x0e9, 1, "debug-output" }, { 0x0ed, 1, "delay" },             { 0x02e, 2, "super-io" },
        { 0x04e, 2, "super-io" },    { 0x072, 2, "extended-cmos" },      { 0x278, 3, "parallel" },
        { 0x2e8, 8, "com4" },        { 0x378, 3, "parallel" },           { 0x3b0, 48, "vga" },
        { 0x3e8, 8, "com3" },        { 0x3f0, 6, "floppy" },             { 0x3f7, 1, "floppy" },
};

struct absent_ports {
        struct device device;
        const struct device_env *env;
        unsigned mapped;
};

static uint64_t absent_read(void *dev, uint64_t off, unsigned size)
{
        return UINT64_MAX;
}

static void absent_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
}

static const struct bus_ops absent_ops = { .read = absent_read, .write = absent_write };

static void absent_reset(struct device *dev)
{
}

static void absent_free(struct device *dev)
{
        struct absent_ports *a = container_of(dev, struct absent_ports, device);

        while (a->mapped > 0)
                bus_unmap(a->env->bus, BUS_PIO, absent[--a->mapped].port);
        free(a);
}

static const struct device_ops device_ops = { .reset = absent_reset, .free = absent_free };

int absent_ports_new(const struct device_env *env, struct device **ret)
{
        struct absent_ports *a = calloc(1, sizeof(*a));

        if (!a)
                return -ENOMEM;
        a->device.ops = &device_ops;
        a->env = env;
        for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
                int r = bus_map(env->bus, BUS_PIO, absent[i].port, absent[i].len, &absent_ops, a, absent[i].name);

                if (r < 0) {
                        absent_free(&a->device);
                        return r;
                }
                a->mapped++;
        }
        *ret = &a->device;
        return 0;
}
