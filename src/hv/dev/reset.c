/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/reset.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"

#define PORT_A 0x92
#define PORT_A_RESET 0x01
#define PORT_A_A20 0x02

struct system_control {
        struct device device;
        const struct device_env *env;
        uint8_t value;
};

static uint64_t port_a_read(void *dev, uint64_t off, unsigned size)
{
        struct system_control *c = dev;

        return c->value;
}

/* A20 is always on; the bit only remembers. */
static void port_a_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct system_control *c = dev;
        bool rises = (value & PORT_A_RESET) && !(c->value & PORT_A_RESET);

        c->value = value & (PORT_A_RESET | PORT_A_A20);
        if (rises)
                c->env->event(c->env->opaque, DEVICE_EVENT_RESET, 0);
}

static const struct bus_ops port_a_ops = { .read = port_a_read, .write = port_a_write, .max_size = 1 };

static void system_control_reset(struct device *dev)
{
        struct system_control *c = container_of(dev, struct system_control, device);

        c->value = PORT_A_A20;
}

static void system_control_free(struct device *dev)
{
        struct system_control *c = container_of(dev, struct system_control, device);

        bus_unmap(c->env->bus, BUS_PIO, PORT_A);
        free(c);
}

static const struct device_ops device_ops = { .reset = system_control_reset, .free = system_control_free };

int system_control_new(const struct device_env *env, struct device **ret)
{
        struct system_control *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->device.ops = &device_ops;
        c->env = env;
        system_control_reset(&c->device);
        r = bus_map(env->bus, BUS_PIO, PORT_A, 1, &port_a_ops, c, "system-control");
        if (r < 0) {
                free(c);
                return r;
        }
        *ret = &c->device;
        return 0;
}
