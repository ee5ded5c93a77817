/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/ioapic.h"

#include "hv/bus/check.h"
#include "hv/bus/platform.h"

static struct bus *bus;
static struct ioapic *ioapic;
static unsigned sent;
static uint64_t sent_addr;
static uint32_t sent_data;

static void sink_msi(struct irq_sink *sink, uint64_t addr, uint32_t data)
{
        sent++;
        sent_addr = addr;
        sent_data = data;
}

static uint32_t reg(uint8_t index)
{
        bus_write(bus, BUS_MMIO, IOAPIC_BASE, 4, index);
        return (uint32_t)bus_read(bus, BUS_MMIO, IOAPIC_BASE + 0x10, 4);
}

static void set_reg(uint8_t index, uint32_t value)
{
        bus_write(bus, BUS_MMIO, IOAPIC_BASE, 4, index);
        bus_write(bus, BUS_MMIO, IOAPIC_BASE + 0x10, 4, value);
}

static void test_registers(void)
{
        CHECK_EQ(reg(1), 0x00170020);
        set_reg(0, 0xffffffff);
        CHECK_EQ(reg(0), 0x0f000000);
        CHECK_EQ(reg(0x10), 0x10000);
        set_reg(0x3f, 0xab000000);
        CHECK_EQ(reg(0x3f), 0xab000000);
        CHECK_EQ(reg(0x40), 0);
        set_reg(0x40, 1);
        set_reg(0xff, 1);
        CHECK_EQ(bus_read(bus, BUS_MMIO, IOAPIC_BASE + 0x800, 8), 0);
}

static void test_edge(void)
{
        sent = 0;
        set_reg(0x13, 0x05000000);
        set_reg(0x12, 0x0951); /* logical, lowest priority */
        ioapic_set_pin(ioapic, 1, 1);
        CHECK_EQ(sent, 1);
        CHECK_EQ(sent_addr, 0xfee05004);
        CHECK_EQ(sent_data, 0x4151);
        ioapic_set_pin(ioapic, 1, 1);
        ioapic_set_pin(ioapic, 1, 0);
        CHECK_EQ(sent, 1);
        /* A pulse while masked is lost; an edge whose line stays up is not. */
        set_reg(0x12, 0x10951);
        ioapic_set_pin(ioapic, 1, 1);
        ioapic_set_pin(ioapic, 1, 0);
        set_reg(0x12, 0x0951);
        CHECK_EQ(sent, 1);
        set_reg(0x12, 0x10951);
        ioapic_set_pin(ioapic, 1, 1);
        set_reg(0x12, 0x0951);
        CHECK_EQ(sent, 2);
        set_reg(0x12, 0x0951);
        CHECK_EQ(sent, 2);
        ioapic_set_pin(ioapic, 1, 0);
}

static void test_level(void)
{
        sent = 0;
        set_reg(0x30, 0x8061);
        ioapic_set_pin(ioapic, 16, 1);
        CHECK_EQ(sent, 1);
        CHECK_EQ(sent_data, 0xc061);
        CHECK_EQ(reg(0x30), 0xc061); /* remote IRR */
        ioapic_eoi(ioapic, 0x60);
        CHECK_EQ(sent, 1);
        ioapic_eoi(ioapic, 0x61);
        CHECK_EQ(sent, 2); /* still asserted */
        ioapic_set_pin(ioapic, 16, 0);
        bus_write(bus, BUS_MMIO, IOAPIC_BASE + 0x40, 4, 0x61);
        CHECK_EQ(sent, 2);
        CHECK_EQ(reg(0x30), 0x8061);
        /* Masked, raised, unmasked. */
        set_reg(0x30, 0x18061);
        ioapic_set_pin(ioapic, 16, 1);
        CHECK_EQ(sent, 2);
        set_reg(0x30, 0x8061);
        CHECK_EQ(sent, 3);
        /* Switching to edge drops remote IRR. */
        set_reg(0x30, 0x10061);
        CHECK_EQ(reg(0x30), 0x10061);
        ioapic_set_pin(ioapic, 24, 1);
        ioapic_set_pin(ioapic, ~0u, 1);
}

int main(void)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct irq_sink sink = { .msi = sink_msi };

        CHECK_EQ(bus_new(&lock, &bus), 0);
        CHECK_EQ(ioapic_new(bus, &sink, &ioapic), 0);
        test_registers();
        test_edge();
        test_level();
        ioapic_free(ioapic);
        bus_free(bus);
        return 0;
}
