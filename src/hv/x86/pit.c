/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/pit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"

#define NS_PER_S 1000000000ull

/* Clocks: what lies closer to the last interrupt is lost to it. Shorter than every use of the PIT, and long enough that a
 * hostile reload value does not keep the main loop busy. */
#define INTERRUPT_GAP 60u

#define PORT_BASE 0x40
#define PORT_B 0x61
#define PORT_B_GATE 0x01
#define PORT_B_SPEAKER 0x02
#define PORT_B_REFRESH 0x10
#define PORT_B_OUT2 0x20

/* Values of the control word's RW field. */
enum rw { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };

struct channel {
        uint8_t mode, rw;
        bool bcd;
        bool gate;
        bool loaded;           /* a count was written since the control word: the channel has something to count */
        bool triggered;        /* modes 1 and 5: the gate started it */
        bool write_high, read_high; /* which byte comes next, with RW_BOTH */
        uint8_t write_low;
        uint32_t count;        /* 1..0x10000 (BCD: ..10000), what counting starts from */
        uint64_t start;        /* virtual ns at which counting began */
        uint64_t held;         /* clocks counted before the gate stopped the channel */
        bool counting;
        bool latched, status_latched;
        uint8_t status;
        uint16_t latch;
};

struct pit {
        struct bus *bus;
        struct timer_loop *timers;
        struct irq_line irq;
        struct timer timer;    /* channel 0's next rising edge */
        struct channel channels[3];
        uint8_t port_b;
};

static uint64_t ns_to_clocks(uint64_t ns)
{
        return (uint64_t)((unsigned __int128)ns * PIT_HZ / NS_PER_S);
}

/* Rounded up, so that at the returned time the clock has really happened. */
static uint64_t clocks_to_ns(uint64_t clocks)
{
        return (uint64_t)(((unsigned __int128)clocks * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static uint64_t elapsed(const struct channel *c, uint64_t now)
{
        return c->counting ? ns_to_clocks(now - c->start) : c->held;
}

static bool periodic(const struct channel *c)
{
        return c->mode == 2 || c->mode == 3;
}

static bool output(const struct channel *c, uint64_t now)
{
        uint64_t d = elapsed(c, now);

        if (!c->loaded || (!c->triggered && (c->mode == 1 || c->mode == 5)))
                return c->mode != 0;
        switch (c->mode) {
        case 0:
        case 1:
                return d >= c->count;
        case 2:
                return !c->gate || d % c->count != c->count - 1;
        case 3:
                return !c->gate || d % c->count < (c->count + 1) / 2;
        default: /* 4, 5: low for one clock */
                return d != c->count;
        }
}

static uint16_t to_bcd(uint32_t n)
{
        return (uint16_t)(n / 1000 % 10 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10);
}

static uint32_t from_bcd(uint16_t n)
{
        return (n >> 12) * 1000u + (n >> 8 & 15) * 100u + (n >> 4 & 15) * 10u + (n & 15);
}

/* What the counting element shows. */
static uint16_t current(const struct channel *c, uint64_t now)
{
        uint32_t range = c->bcd ? 10000 : 0x10000, value;
        uint64_t d = c->loaded ? elapsed(c, now) : 0;

        if (c->mode == 2)
                value = c->count - (uint32_t)(d % c->count);
        else if (c->mode == 3)
                value = c->count - (uint32_t)(2 * d % c->count);
        else
                value = (c->count + range - (uint32_t)(d % range)) % range;
        value %= range;
        return c->bcd ? to_bcd(value) : (uint16_t)value;
}

/* Clocks after start at which OUT rises next, later than d; UINT64_MAX: never. */
static uint64_t next_rise(const struct channel *c, uint64_t d)
{
        if (!c->loaded || !c->counting)
                return UINT64_MAX;
        if (periodic(c))
                return (d / c->count + 1) * c->count;
        /* Mode 0 rises at the terminal count, mode 4 one clock later; the others need the gate that channel 0 lacks. */
        if (c->mode == 0 || c->mode == 4) {
                uint64_t at = c->count + (c->mode == 4);

                return d < at ? at : UINT64_MAX;
        }
        return UINT64_MAX;
}

static void schedule(struct pit *p, uint64_t after)
{
        struct channel *c = &p->channels[0];
        uint64_t at = next_rise(c, after);

        if (at == UINT64_MAX)
                timer_cancel(&p->timer);
        else
                timer_arm(&p->timer, c->start + clocks_to_ns(at));
}

static void rise(void *opaque)
{
        struct pit *p = opaque;

        irq_pulse(&p->irq);
        /* Periods that passed unseen are lost, as when interrupts are disabled for too long. */
        schedule(p, elapsed(&p->channels[0], timer_now(p->timers)) + (periodic(&p->channels[0]) ? INTERRUPT_GAP : 0));
}

static void start(struct pit *p, struct channel *c)
{
        c->start = timer_now(p->timers);
        c->held = 0;
        c->counting = c->gate;
        if (c == &p->channels[0])
                schedule(p, 0);
}

static void load(struct pit *p, struct channel *c, uint16_t value)
{
        uint32_t n = c->bcd ? from_bcd(value) : value;

        c->count = n ? n : c->bcd ? 10000 : 0x10000;
        /* A count of 1 cannot make the pulses of the periodic modes; real chips do not count then. */
        if (periodic(c) && c->count == 1)
                c->count = 2;
        c->loaded = true;
        /* Modes 1 and 5 take the count with the next trigger. */
        if (c->mode != 1 && c->mode != 5)
                start(p, c);
}

static void write_count(struct pit *p, struct channel *c, uint8_t value)
{
        switch (c->rw) {
        case RW_LOW:
                load(p, c, value);
                break;
        case RW_HIGH:
                load(p, c, (uint16_t)(value << 8));
                break;
        default:
                if (!c->write_high)
                        c->write_low = value;
                else
                        load(p, c, (uint16_t)(value << 8 | c->write_low));
                c->write_high = !c->write_high;
        }
}

static uint8_t read_count(struct pit *p, struct channel *c)
{
        uint16_t value;
        bool high = c->rw == RW_HIGH;

        if (c->status_latched) {
                c->status_latched = false;
                return c->status;
        }
        value = c->latched ? c->latch : current(c, timer_now(p->timers));
        if (c->rw == RW_BOTH) {
                high = c->read_high;
                c->read_high = !c->read_high;
        }
        /* A latched count stays until all of it was read. */
        if (c->rw != RW_BOTH || high)
                c->latched = false;
        return (uint8_t)(high ? value >> 8 : value);
}

static void latch_count(struct pit *p, struct channel *c)
{
        if (c->latched)
                return;
        c->latch = current(c, timer_now(p->timers));
        c->latched = true;
}

static void latch_status(struct pit *p, struct channel *c)
{
        if (c->status_latched)
                return;
        c->status = (uint8_t)(output(c, timer_now(p->timers)) << 7 | !c->loaded << 6 | c->rw << 4 | c->mode << 1 | c->bcd);
        c->status_latched = true;
}

static void read_back(struct pit *p, uint8_t value)
{
        for (unsigned i = 0; i < 3; i++) {
                if (!(value & (2u << i)))
                        continue;
                if (!(value & 0x20))
                        latch_count(p, &p->channels[i]);
                if (!(value & 0x10))
                        latch_status(p, &p->channels[i]);
        }
}

static void write_control(struct pit *p, uint8_t value)
{
        struct channel *c;
        uint8_t mode = (value >> 1) & 7;

        if (value >> 6 == 3) {
                read_back(p, value);
                return;
        }
        c = &p->channels[value >> 6];
        if (((value >> 4) & 3) == RW_LATCH) {
                latch_count(p, c);
                return;
        }
        c->rw = (value >> 4) & 3;
        c->mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
        c->bcd = value & 1;
        c->write_high = c->read_high = false;
        c->loaded = c->triggered = c->latched = c->status_latched = c->counting = false;
        c->held = 0;
        if (c == &p->channels[0])
                timer_cancel(&p->timer);
}

static void set_gate(struct pit *p, struct channel *c, bool gate)
{
        uint64_t now = timer_now(p->timers);

        if (gate == c->gate)
                return;
        c->gate = gate;
        if (!c->loaded)
                return;
        if (c->mode == 1 || c->mode == 5) {
                if (gate) {
                        c->triggered = true;
                        start(p, c);
                }
        } else if (!gate) {
                c->held = elapsed(c, now);
                c->counting = false;
        } else if (periodic(c)) {
                start(p, c);
        } else {
                c->start = now - clocks_to_ns(c->held);
                c->counting = true;
        }
}

static uint64_t pit_read(void *dev, uint64_t off, unsigned size)
{
        struct pit *p = dev;

        return off == 3 ? 0xff : read_count(p, &p->channels[off]);
}

static void pit_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct pit *p = dev;

        if (off == 3)
                write_control(p, (uint8_t)value);
        else
                write_count(p, &p->channels[off], (uint8_t)value);
}

static uint64_t port_b_read(void *dev, uint64_t off, unsigned size)
{
        struct pit *p = dev;

        /* Software times short delays by the refresh bit, which changes with every read. */
        p->port_b ^= PORT_B_REFRESH;
        return p->port_b | (output(&p->channels[2], timer_now(p->timers)) ? PORT_B_OUT2 : 0);
}

static void port_b_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct pit *p = dev;
        uint8_t writable = PORT_B_GATE | PORT_B_SPEAKER;

        p->port_b = (uint8_t)((p->port_b & ~writable) | (value & writable));
        set_gate(p, &p->channels[2], value & PORT_B_GATE);
}

static const struct bus_ops pit_ops = { .read = pit_read, .write = pit_write, .max_size = 1 };
static const struct bus_ops port_b_ops = { .read = port_b_read, .write = port_b_write, .max_size = 1 };

void pit_reset(struct pit *p)
{
        timer_cancel(&p->timer);
        for (unsigned i = 0; i < 3; i++)
                p->channels[i] = (struct channel){ .mode = 3, .rw = RW_BOTH, .gate = i != 2, .count = 0x10000 };
        p->port_b = 0;
}

int pit_new(struct bus *bus, struct timer_loop *timers, struct irq_sink *sink, struct pit **ret)
{
        struct pit *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->bus = bus;
        p->timers = timers;
        p->irq = (struct irq_line){ .sink = sink, .gsi = 0 };
        timer_init(&p->timer, timers, rise, p);
        pit_reset(p);
        r = bus_map(bus, BUS_PIO, PORT_BASE, 4, &pit_ops, p, "pit");
        if (r == 0)
                r = bus_map(bus, BUS_PIO, PORT_B, 1, &port_b_ops, p, "port-b");
        if (r < 0) {
                pit_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

void pit_free(struct pit *p)
{
        if (!p)
                return;
        timer_cancel(&p->timer);
        bus_unmap(p->bus, BUS_PIO, PORT_BASE);
        bus_unmap(p->bus, BUS_PIO, PORT_B);
        free(p);
}
