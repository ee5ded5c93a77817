/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A machine around one device, for the unit tests: bus, timers, interrupt lines and what the device said. */

#include <poll.h>
#include <string.h>

#include "hv/bus/check.h"
#include "hv/dev/device.h"

struct test_env {
        pthread_mutex_t lock;
        struct irq_sink sink;
        struct device_env env;
        int level[24];
        unsigned rises[24];
        unsigned events;
        enum device_event event;
        unsigned value;
        uint8_t out[4096];
        size_t out_len;
        unsigned ready;
};

static inline void test_irq_set(struct irq_sink *sink, unsigned gsi, int level)
{
        struct test_env *t = (struct test_env *)((char *)sink - offsetof(struct test_env, sink));

        CHECK(gsi < 24);
        t->level[gsi] = level;
        t->rises[gsi] += (unsigned)level;
}

static inline void test_event(void *opaque, enum device_event event, unsigned value)
{
        struct test_env *t = opaque;

        t->events++;
        t->event = event;
        t->value = value;
}

static inline void test_output(void *opaque, unsigned n, const uint8_t *buf, size_t len)
{
        struct test_env *t = opaque;

        CHECK(t->out_len + len <= sizeof(t->out));
        memcpy(t->out + t->out_len, buf, len);
        t->out_len += len;
}

static inline void test_ready(void *opaque, unsigned n)
{
        struct test_env *t = opaque;

        t->ready++;
}

static inline void test_env_init(struct test_env *t)
{
        memset(t, 0, sizeof(*t));
        pthread_mutex_init(&t->lock, NULL);
        t->sink.set = test_irq_set;
        t->env = (struct device_env){
                .irqs = &t->sink, .event = test_event, .serial_output = test_output, .serial_ready = test_ready, .opaque = t
        };
        CHECK_EQ(bus_new(&t->lock, &t->env.bus), 0);
        CHECK_EQ(timer_loop_new(&t->lock, &t->env.timers), 0);
        timer_loop_pause(t->env.timers, false);
}

static inline void test_env_finish(struct test_env *t)
{
        timer_loop_free(t->env.timers);
        bus_free(t->env.bus);
}

static inline unsigned in8(struct test_env *t, unsigned port)
{
        return (unsigned)bus_read(t->env.bus, BUS_PIO, port, 1);
}

static inline void out8(struct test_env *t, unsigned port, unsigned value)
{
        bus_write(t->env.bus, BUS_PIO, port, 1, value);
}

/* Runs timers until there was one, or ms have passed. */
static inline void test_run(struct test_env *t, int ms)
{
        struct pollfd p = { .fd = timer_loop_fd(t->env.timers), .events = POLLIN };

        if (poll(&p, 1, ms) == 1)
                timer_loop_dispatch(t->env.timers);
}
