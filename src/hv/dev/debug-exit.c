/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/debug-exit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"

#define PORT 0xf4

struct debug_exit {
        struct device device;
        const struct device_env *env;
};

static uint64_t debug_exit_read(void *dev, uint64_t off, unsigned size)
{
        return 0;
}

static void debug_exit_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct debug_exit *d = dev;

        d->env->event(d->env->opaque, DEVICE_EVENT_DEBUG_EXIT, (unsigned)value);
}

static const struct bus_ops debug_exit_ops = { .read = debug_exit_read, .write = debug_exit_write };

static void debug_exit_reset(struct device *dev)
{
}

static void debug_exit_free(struct device *dev)
{
        struct debug_exit *d = container_of(dev, struct debug_exit, device);

        bus_unmap(d->env->bus, BUS_PIO, PORT);
        free(d);
}

static const struct device_ops device_ops = { .reset = debug_exit_reset, .free = debug_exit_free };

int debug_exit_new(const struct device_env *env, struct device **ret)
{
        struct debug_exit *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        d->device.ops = &device_ops;
        d->env = env;
        r = bus_map(env->bus, BUS_PIO, PORT, 4, &debug_exit_ops, d, "debug-exit");
        if (r < 0) {
                free(d);
                return r;
        }
        *ret = &d->device;
        return 0;
}
