/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

#define FIFO_SIZE 16

/* Register offsets; with LCR.DLAB 0 and 1 are the divisor. */
enum { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RX 0x01
#define IER_THRE 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08
#define IER_MASK 0x0f

#define IIR_MODEM 0x00
#define IIR_NONE 0x01
#define IIR_THRE 0x02
#define IIR_RX 0x04
#define IIR_LINE 0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO 0xc0

#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02

#define LCR_DLAB 0x80

#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08 /* gates the interrupt on a PC */
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DR 0x01
#define LSR_OE 0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DELTAS 0x0f
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

struct serial {
        struct device device;
        const struct device_env *env;
        unsigned number;
        uint16_t port;
        struct irq_line irq;
        struct timer timeout;  /* four character times without a read or a new byte */
        uint8_t ier, lcr, mcr, lsr, msr, scr;
        uint16_t divisor;
        bool fifo_enabled;
        uint8_t trigger;       /* bytes in the FIFO that raise the receive interrupt */
        uint8_t rx[FIFO_SIZE];
        unsigned rx_head, rx_count;
        bool rx_timeout;       /* the timeout interrupt is pending */
        bool thre_pending;     /* the transmitter became empty and nobody has looked */
        bool refused;          /* input was refused: call serial_ready when there is room */
};

static uint8_t interrupt_id(const struct serial *s)
{
        if ((s->ier & IER_LINE) && (s->lsr & LSR_OE))
                return IIR_LINE;
        if ((s->ier & IER_RX) && s->rx_count >= s->trigger)
                return IIR_RX;
        if ((s->ier & IER_RX) && s->rx_timeout)
                return IIR_TIMEOUT;
        if ((s->ier & IER_THRE) && s->thre_pending)
                return IIR_THRE;
        if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
                return IIR_MODEM;
        return IIR_NONE;
}

static void update(struct serial *s)
{
        bool wired = (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP);

        irq_set(&s->irq, wired && interrupt_id(s) != IIR_NONE);
}

/* Four frames of ten bits at the programmed rate, between 100 us and 10 ms. */
static uint64_t timeout_ns(const struct serial *s)
{
        uint64_t ns = 4ull * 10 * (s->divisor ? s->divisor : 1) * 1000000000ull / 115200;

        return ns < 100000 ? 100000 : ns > 10000000 ? 10000000 : ns;
}

static void restart_timeout(struct serial *s)
{
        s->rx_timeout = false;
        if (s->fifo_enabled && s->rx_count > 0 && s->rx_count < s->trigger)
                timer_arm(&s->timeout, timer_now(s->env->timers) + timeout_ns(s));
        else
                timer_cancel(&s->timeout);
}

static void timed_out(void *opaque)
{
        struct serial *s = opaque;

        s->rx_timeout = s->rx_count > 0;
        update(s);
}

/* The peer sends only when asked to, by RTS: what is typed before a guest has set its port up is not lost in the FIFO
 * reset. A guest that leaves the modem lines alone counts as listening when it enables the receive interrupt; all
 * interrupts at once are a driver's probe for the register. In loopback the receiver is cut off from the line. */
static bool listening(const struct serial *s)
{
        bool ignores_lines = s->mcr == 0 && (s->ier & IER_RX) && s->ier != IER_MASK;

        return !(s->mcr & MCR_LOOP) && ((s->mcr & MCR_RTS) || ignores_lines);
}

static unsigned room(const struct serial *s)
{
        return (s->fifo_enabled ? FIFO_SIZE : 1) - s->rx_count;
}

static void receive(struct serial *s, uint8_t byte)
{
        if (room(s) == 0) {
                s->lsr |= LSR_OE;
                return;
        }
        s->rx[(s->rx_head + s->rx_count++) % FIFO_SIZE] = byte;
        s->lsr |= LSR_DR;
}

size_t serial_input(struct device *dev, const uint8_t *buf, size_t len)
{
        struct serial *s = container_of(dev, struct serial, device);
        size_t n = 0;

        while (listening(s) && n < len && room(s) > 0)
                receive(s, buf[n++]);
        s->refused = n < len;
        if (n > 0) {
                restart_timeout(s);
                update(s);
        }
        return n;
}

static void offer_room(struct serial *s)
{
        if (!s->refused || room(s) == 0 || !listening(s))
                return;
        s->refused = false;
        if (s->env->serial_ready)
                s->env->serial_ready(s->env->opaque, s->number);
}

static void clear_rx(struct serial *s)
{
        s->rx_head = s->rx_count = 0;
        s->lsr &= (uint8_t)~LSR_DR;
        restart_timeout(s);
}

static uint8_t read_data(struct serial *s)
{
        uint8_t byte;

        if (s->rx_count == 0)
                return 0;
        byte = s->rx[s->rx_head];
        s->rx_head = (s->rx_head + 1) % FIFO_SIZE;
        if (--s->rx_count == 0)
                s->lsr &= (uint8_t)~LSR_DR;
        restart_timeout(s);
        /* Refill when empty: with each byte would make the guest take an interrupt per byte. */
        if (s->rx_count == 0)
                offer_room(s);
        return byte;
}

static void write_data(struct serial *s, uint8_t byte)
{
        if (s->mcr & MCR_LOOP) {
                receive(s, byte);
                restart_timeout(s);
        } else {
                s->env->serial_output(s->env->opaque, s->number, &byte, 1);
        }
        /* The byte is gone already: the transmitter was full and became empty within this write. */
        s->thre_pending = true;
}

static void write_fcr(struct serial *s, uint8_t value)
{
        static const uint8_t triggers[] = { 1, 4, 8, 14 };
        bool enable = value & FCR_ENABLE;

        /* Switching modes empties the FIFOs. */
        if ((value & FCR_CLEAR_RX) || enable != s->fifo_enabled)
                clear_rx(s);
        s->fifo_enabled = enable;
        s->trigger = enable ? triggers[value >> 6] : 1;
        restart_timeout(s);
        offer_room(s);
}

/* The modem inputs: a ready peer, or in loopback our own outputs. */
static uint8_t modem_inputs(const struct serial *s)
{
        if (!(s->mcr & MCR_LOOP))
                return MSR_CTS | MSR_DSR | MSR_DCD;
        return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                         (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void update_modem(struct serial *s)
{
        uint8_t inputs = modem_inputs(s), old = s->msr & 0xf0;
        uint8_t changed = inputs ^ old;

        /* Ring counts at its end only. */
        if (inputs & MSR_RI)
                changed &= (uint8_t)~MSR_RI;
        s->msr = (uint8_t)(inputs | (s->msr & MSR_DELTAS) | changed >> 4);
}

static void write_mcr(struct serial *s, uint8_t value)
{
        s->mcr = value & MCR_MASK;
        update_modem(s);
        offer_room(s);
}

static void write_ier(struct serial *s, uint8_t value)
{
        /* Enabling the interrupt of an empty transmitter raises it. */
        if ((value & IER_THRE) && !(s->ier & IER_THRE))
                s->thre_pending = true;
        s->ier = value & IER_MASK;
        offer_room(s);
}

static uint8_t read_iir(struct serial *s)
{
        uint8_t id = interrupt_id(s);

        if (id == IIR_THRE)
                s->thre_pending = false;
        return (uint8_t)(id | (s->fifo_enabled ? IIR_FIFO : 0));
}

static uint8_t read_lsr(struct serial *s)
{
        uint8_t value = s->lsr | LSR_THRE | LSR_TEMT;

        s->lsr &= (uint8_t)~LSR_OE;
        return value;
}

static uint8_t read_msr(struct serial *s)
{
        uint8_t value = s->msr;

        s->msr &= (uint8_t)~MSR_DELTAS;
        return value;
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
        bool dlab = s->lcr & LCR_DLAB;

        switch (reg) {
        case DATA:
                return dlab ? (uint8_t)s->divisor : read_data(s);
        case IER:
                return dlab ? (uint8_t)(s->divisor >> 8) : s->ier;
        case IIR_FCR:
                return read_iir(s);
        case LCR:
                return s->lcr;
        case MCR:
                return s->mcr;
        case LSR:
                return read_lsr(s);
        case MSR:
                return read_msr(s);
        default:
                return s->scr;
        }
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
        bool dlab = s->lcr & LCR_DLAB;

        switch (reg) {
        case DATA:
                if (dlab)
                        s->divisor = (uint16_t)((s->divisor & 0xff00) | value);
                else
                        write_data(s, value);
                break;
        case IER:
                if (dlab)
                        s->divisor = (uint16_t)((s->divisor & 0x00ff) | value << 8);
                else
                        write_ier(s, value);
                break;
        case IIR_FCR:
                write_fcr(s, value);
                break;
        case LCR:
                s->lcr = value;
                break;
        case MCR:
                write_mcr(s, value);
                break;
        case SCR:
                s->scr = value;
                break;
        }
}

static uint64_t serial_read(void *dev, uint64_t off, unsigned size)
{
        struct serial *s = dev;
        uint8_t value = read_register(s, (unsigned)off);

        update(s);
        return value;
}

static void serial_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct serial *s = dev;

        write_register(s, (unsigned)off, (uint8_t)value);
        update(s);
}

static const struct bus_ops serial_ops = { .read = serial_read, .write = serial_write, .max_size = 1 };

static void serial_reset(struct device *dev)
{
        struct serial *s = container_of(dev, struct serial, device);

        s->ier = s->lcr = s->mcr = s->lsr = s->scr = 0;
        s->divisor = 12;
        s->fifo_enabled = s->thre_pending = false;
        s->trigger = 1;
        s->msr = modem_inputs(s);
        clear_rx(s);
        update(s);
}

static void serial_free(struct device *dev)
{
        struct serial *s = container_of(dev, struct serial, device);

        timer_cancel(&s->timeout);
        bus_unmap(s->env->bus, BUS_PIO, s->port);
        free(s);
}

static const struct device_ops device_ops = { .reset = serial_reset, .free = serial_free };

static int serial_new(const struct device_env *env, unsigned number, uint16_t port, unsigned gsi, struct device **ret)
{
        struct serial *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->device.ops = &device_ops;
        s->env = env;
        s->number = number;
        s->port = port;
        s->irq = (struct irq_line){ .sink = env->irqs, .gsi = gsi };
        timer_init(&s->timeout, env->timers, timed_out, s);
        serial_reset(&s->device);
        r = bus_map(env->bus, BUS_PIO, port, 8, &serial_ops, s, "serial");
        if (r < 0) {
                free(s);
                return r;
        }
        *ret = &s->device;
        return 0;
}

int serial_com1_new(const struct device_env *env, struct device **ret)
{
        return serial_new(env, 0, 0x3f8, 4, ret);
}

int serial_com2_new(const struct device_env *env, struct device **ret)
{
        return serial_new(env, 1, 0x2f8, 3, ret);
}
