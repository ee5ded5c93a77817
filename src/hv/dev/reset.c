/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/reset.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "hv/bus/platform.h"

#define RESET_SYSTEM 0x02 /* hard rather than soft */
#define RESET_CPU 0x04    /* its rising edge resets */

#define PORT_A 0x92
#define PORT_A_RESET 0x01
#define PORT_A_A20 0x02

struct reset_control {
        struct device device;
        const struct device_env *env;
        uint8_t control, port_a;
};

static uint64_t control_read(void *dev, uint64_t off, unsigned size)
{
        struct reset_control *c = dev;

        return c->control;
}

static void control_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct reset_control *c = dev;
        bool rises = (value & RESET_CPU) && !(c->control & RESET_CPU);

        c->control = value & (RESET_SYSTEM | RESET_CPU);
        if (rises)
                c->env->event(c->env->opaque, DEVICE_EVENT_RESET, 0);
}

static uint64_t port_a_read(void *dev, uint64_t off, unsigned size)
{
        struct reset_control *c = dev;

        return c->port_a;
}

/* A20 is always on; the bit only remembers. */
static void port_a_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct reset_control *c = dev;
        bool rises = (value & PORT_A_RESET) && !(c->port_a & PORT_A_RESET);

        c->port_a = value & (PORT_A_RESET | PORT_A_A20);
        if (rises)
                c->env->event(c->env->opaque, DEVICE_EVENT_RESET, 0);
}

static const struct bus_ops control_ops = { .read = control_read, .write = control_write, .max_size = 1 };
static const struct bus_ops port_a_ops = { .read = port_a_read, .write = port_a_write, .max_size = 1 };

static void reset_control_reset(struct device *dev)
{
        struct reset_control *c = container_of(dev, struct reset_control, device);

        c->control = 0;
        c->port_a = PORT_A_A20;
}

static void reset_control_free(struct device *dev)
{
        struct reset_control *c = container_of(dev, struct reset_control, device);

        bus_unmap(c->env->bus, BUS_PIO, ACPI_RESET_PORT);
        bus_unmap(c->env->bus, BUS_PIO, PORT_A);
        free(c);
}

static const struct device_ops device_ops = { .reset = reset_control_reset, .free = reset_control_free };

int reset_control_new(const struct device_env *env, struct device **ret)
{
        struct reset_control *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->device.ops = &device_ops;
        c->env = env;
        reset_control_reset(&c->device);
        r = bus_map(env->bus, BUS_PIO, ACPI_RESET_PORT, 1, &control_ops, c, "reset-control");
        if (r == 0)
                r = bus_map(env->bus, BUS_PIO, PORT_A, 1, &port_a_ops, c, "port-a");
        if (r < 0) {
                reset_control_free(&c->device);
                return r;
        }
        *ret = &c->device;
        return 0;
}
