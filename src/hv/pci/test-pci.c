/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/pci/pci.h"

#include <errno.h>

#include "hv/bus/check.h"
#include "hv/bus/platform.h"

static struct bus *bus;
static struct pci_bus *pci;
static int level[24];

static void sink_set(struct irq_sink *sink, unsigned gsi, int value)
{
        level[gsi] = value;
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
        return 0x42 + off;
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
}

static const struct bus_ops ops = { .read = bar_read, .write = bar_write };
static struct pci_device dev;

static void test_config(void)
{
        CHECK_EQ(pci_config_read(pci, 3 << 3, 0, 4), 0x10011af4);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 8, 4), 0x01000002);
        CHECK_EQ(pci_config_read(pci, 3 << 3 | 1, 0, 4), 0xffffffff);
        CHECK_EQ(pci_config_read(pci, 4 << 3, 0, 2), 0xffffffff);
        pci_config_write(pci, 3 << 3, 0, 4, 0);
        pci_config_write(pci, 4 << 3, 0, 4, 0);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 2, 2), 0x1001);
        pci_config_write(pci, 3 << 3, PCI_INTERRUPT_LINE, 2, 0xff0b);
        CHECK_EQ(pci_config_read(pci, 3 << 3, PCI_INTERRUPT_LINE, 2), 0x010b);
}

static void test_bars(void)
{
        /* Sizing. */
        pci_config_write(pci, 3 << 3, 0x10, 4, 0xffffffff);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 0x10, 4), 0xffffffc1);
        pci_config_write(pci, 3 << 3, 0x14, 4, 0xffffffff);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 0x14, 4), 0xfffff000);
        pci_config_write(pci, 3 << 3, 0x18, 4, 0xffffffff);
        pci_config_write(pci, 3 << 3, 0x1c, 4, 0xffffffff);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 0x18, 4), 0xffffc004);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 0x1c, 4), 0xffffffff);

        pci_config_write(pci, 3 << 3, 0x10, 4, 0xc000);
        pci_config_write(pci, 3 << 3, 0x14, 4, 0xe0000000);
        pci_config_write(pci, 3 << 3, 0x18, 4, 0x4000);
        pci_config_write(pci, 3 << 3, 0x1c, 4, 0x8);
        CHECK_EQ(bus_read(bus, BUS_PIO, 0xc001, 1), 0xff); /* not enabled */
        pci_config_write(pci, 3 << 3, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
        CHECK_EQ(bus_read(bus, BUS_PIO, 0xc001, 1), 0x43);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0xe0000008, 4), 0x4a);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0x800004000, 4), 0x42);
        pci_config_write(pci, 3 << 3, 0x14, 4, 0xe1000000);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0xe0000008, 1), 0xff);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0xe1000008, 1), 0x4a);
        /* On top of another mapping: refused, and no harm later. */
        pci_config_write(pci, 3 << 3, 0x14, 4, 0);
        CHECK_EQ(bus_map(bus, BUS_MMIO, 0xe2000800, 16, &ops, NULL, "other"), 0);
        pci_config_write(pci, 3 << 3, 0x14, 4, 0xe2000000);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0xe2000000, 1), 0xff);
        CHECK_EQ(bus_unmap(bus, BUS_MMIO, 0xe2000800), 0);
        pci_config_write(pci, 3 << 3, 0x14, 4, 0xfffff000);
        CHECK_EQ(bus_read(bus, BUS_MMIO, 0xfffff000, 1), 0x42);
}

static void test_intx(void)
{
        unsigned gsi = PCI_GSI(3, 0);

        pci_device_set_intx(&dev, 1);
        CHECK_EQ(level[gsi], 1);
        CHECK_EQ(pci_config_read(pci, 3 << 3, PCI_STATUS, 2), PCI_STATUS_INTX);
        pci_config_write(pci, 3 << 3, PCI_COMMAND, 2, PCI_COMMAND_INTX_OFF);
        CHECK_EQ(level[gsi], 0);
        CHECK_EQ(bus_read(bus, BUS_PIO, 0xc001, 1), 0xff);
        pci_config_write(pci, 3 << 3, PCI_COMMAND, 2, PCI_COMMAND_IO);
        CHECK_EQ(level[gsi], 1);
        pci_device_reset(&dev);
        CHECK_EQ(level[gsi], 0);
        CHECK_EQ(pci_config_read(pci, 3 << 3, PCI_COMMAND, 4), 0);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 0x10, 4), 1);
        CHECK_EQ(bus_read(bus, BUS_PIO, 0xc001, 1), 0xff);
}

int main(void)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct irq_sink sink = { .set = sink_set };
        struct pci_id id = { .vendor = 0x1af4, .device = 0x1001, .class = 0x010000, .revision = 2, .pin = 1 };

        CHECK_EQ(bus_new(&lock, &bus), 0);
        CHECK_EQ(pci_bus_new(bus, &sink, &pci), 0);
        pci_device_init(&dev, "test", &id);
        pci_device_add_bar(&dev, 0, PCI_BAR_PIO, 64, &ops, NULL);
        pci_device_add_bar(&dev, 1, PCI_BAR_MMIO32, 4096, &ops, NULL);
        pci_device_add_bar(&dev, 2, PCI_BAR_MMIO64, 16384, &ops, NULL);
        CHECK_EQ(pci_device_attach(&dev, pci, 3), 0);
        CHECK_EQ(pci_device_attach(&dev, pci, 3), -EBUSY);
        test_config();
        test_bars();
        test_intx();
        pci_device_detach(&dev);
        CHECK_EQ(pci_config_read(pci, 3 << 3, 0, 4), 0xffffffff);
        pci_bus_free(pci);
        bus_free(bus);
        return 0;
}
