/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/ioapic.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "hv/bus/platform.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI 0x40

#define INDEX_ID 0x00
#define INDEX_VERSION 0x01
#define INDEX_ARBITRATION 0x02
#define INDEX_REDIRECTION 0x10

#define VERSION 0x20u

/* Redirection entry (82093AA data sheet, 3.2.4). */
#define RTE_VECTOR 0xffULL
#define RTE_DELIVERY (7ULL << 8)
#define RTE_LOGICAL (1ULL << 11)
#define RTE_STATUS (1ULL << 12)
#define RTE_REMOTE_IRR (1ULL << 14)
#define RTE_LEVEL (1ULL << 15)
#define RTE_MASKED (1ULL << 16)
#define RTE_READONLY (RTE_STATUS | RTE_REMOTE_IRR)

#define MSI_ADDRESS 0xfee00000ULL
#define MSI_LOGICAL (1ULL << 2)
#define MSI_ASSERT (1u << 14)
#define MSI_LEVEL (1u << 15)

struct ioapic {
        struct bus *bus;
        struct irq_sink *sink;
        uint8_t select, id;
        uint32_t lines;   /* input levels */
        uint32_t missed;  /* edges that came while masked and whose line is still up */
        uint64_t rte[IOAPIC_PINS];
};

static void send(struct ioapic *a, unsigned pin)
{
        uint64_t e = a->rte[pin];
        uint64_t addr = MSI_ADDRESS | (e >> 56) << 12 | (e & RTE_LOGICAL ? MSI_LOGICAL : 0);
        uint32_t data = (uint32_t)(e & (RTE_VECTOR | RTE_DELIVERY)) | MSI_ASSERT | (e & RTE_LEVEL ? MSI_LEVEL : 0);

        a->sink->msi(a->sink, addr, data);
}

/* Sends what the pin's line and entry ask for, if anything. */
static void evaluate(struct ioapic *a, unsigned pin)
{
        uint32_t bit = 1u << pin;
        uint64_t e = a->rte[pin];

        if (e & RTE_MASKED)
                return;
        if (e & RTE_LEVEL) {
                if (!(a->lines & bit) || (e & RTE_REMOTE_IRR))
                        return;
                a->rte[pin] |= RTE_REMOTE_IRR;
                send(a, pin);
        } else if (a->missed & bit) {
                a->missed &= ~bit;
                send(a, pin);
        }
}

void ioapic_set_pin(struct ioapic *a, unsigned pin, int level)
{
        uint32_t bit;

        if (pin >= IOAPIC_PINS)
                return;
        bit = 1u << pin;
        if (!level) {
                a->lines &= ~bit;
                a->missed &= ~bit;
                return;
        }
        if (!(a->lines & bit))
                a->missed |= bit;
        a->lines |= bit;
        evaluate(a, pin);
}

void ioapic_eoi(struct ioapic *a, uint8_t vector)
{
        for (unsigned i = 0; i < IOAPIC_PINS; i++) {
                if (!(a->rte[i] & RTE_REMOTE_IRR) || (a->rte[i] & RTE_VECTOR) != vector)
                        continue;
                a->rte[i] &= ~RTE_REMOTE_IRR;
                evaluate(a, i);
        }
}

static void write_rte(struct ioapic *a, unsigned pin, bool high, uint32_t value)
{
        uint64_t old = a->rte[pin], e;

        e = high ? (old & 0xffffffffULL) | (uint64_t)value << 32 : (old & ~0xffffffffULL) | value;
        e = (e & ~RTE_READONLY) | (old & RTE_READONLY);
        if (!(e & RTE_LEVEL))
                e &= ~RTE_REMOTE_IRR;
        else
                a->missed &= ~(1u << pin);
        a->rte[pin] = e;
        evaluate(a, pin);
}

static uint32_t read_window(struct ioapic *a)
{
        unsigned i = a->select - INDEX_REDIRECTION;

        switch (a->select) {
        case INDEX_ID:
        case INDEX_ARBITRATION:
                return (uint32_t)a->id << 24;
        case INDEX_VERSION:
                return (IOAPIC_PINS - 1) << 16 | VERSION;
        default:
                if (a->select < INDEX_REDIRECTION || i / 2 >= IOAPIC_PINS)
                        return 0;
                return (uint32_t)(a->rte[i / 2] >> (i % 2 * 32));
        }
}

static void write_window(struct ioapic *a, uint32_t value)
{
        unsigned i = a->select - INDEX_REDIRECTION;

        if (a->select == INDEX_ID)
                a->id = (value >> 24) & 0xf;
        else if (a->select >= INDEX_REDIRECTION && i / 2 < IOAPIC_PINS)
                write_rte(a, i / 2, i % 2, value);
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
        struct ioapic *a = dev;

        switch (ALIGN_DOWN(off, 4)) {
        case REG_SELECT:
                return (uint64_t)a->select >> (off % 4 * 8);
        case REG_WINDOW:
                return read_window(a) >> (off % 4 * 8);
        default:
                return 0;
        }
}

static void mmio_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct ioapic *a = dev;

        if (off == REG_SELECT)
                a->select = (uint8_t)value;
        else if (off == REG_WINDOW && size >= 4)
                write_window(a, (uint32_t)value);
        else if (off == REG_EOI)
                ioapic_eoi(a, (uint8_t)value);
}

static const struct bus_ops ioapic_ops = { .read = mmio_read, .write = mmio_write };

void ioapic_reset(struct ioapic *a)
{
        a->select = a->id = 0;
        a->missed = 0;
        for (unsigned i = 0; i < IOAPIC_PINS; i++)
                a->rte[i] = RTE_MASKED;
}

int ioapic_new(struct bus *bus, struct irq_sink *sink, struct ioapic **ret)
{
        struct ioapic *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return -ENOMEM;
        a->bus = bus;
        a->sink = sink;
        ioapic_reset(a);
        r = bus_map(bus, BUS_MMIO, IOAPIC_BASE, 0x1000, &ioapic_ops, a, "ioapic");
        if (r < 0) {
                free(a);
                return r;
        }
        *ret = a;
        return 0;
}

void ioapic_free(struct ioapic *a)
{
        if (!a)
                return;
        bus_unmap(a->bus, BUS_MMIO, IOAPIC_BASE);
        free(a);
}
