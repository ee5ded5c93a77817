/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/pci/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/bus/platform.h"

#define BAR_IS_IO 0x1u
#define BAR_IS_64 0x4u
#define HEADER_END 0x40u

struct pci_bus {
        struct bus *bus;
        struct irq_sink *irqs;
        struct pci_device *slots[PCI_SLOTS];
};

int pci_bus_new(struct bus *bus, struct irq_sink *irqs, struct pci_bus **ret)
{
        struct pci_bus *pci = calloc(1, sizeof(*pci));

        if (!pci)
                return -ENOMEM;
        pci->bus = bus;
        pci->irqs = irqs;
        *ret = pci;
        return 0;
}

void pci_bus_free(struct pci_bus *pci)
{
        free(pci);
}

/* --- Base address registers --- */

static unsigned bar_offset(unsigned n)
{
        return PCI_BAR0 + n * 4;
}

/* Where the guest put a BAR. */
static uint64_t bar_address(const struct pci_device *dev, unsigned n)
{
        const struct pci_bar *bar = &dev->bars[n];
        uint64_t addr = le32_load(dev->config + bar_offset(n)) & ~0xfu;

        if (bar->kind == PCI_BAR_PIO)
                return le32_load(dev->config + bar_offset(n)) & ~0x3u;
        if (bar->kind == PCI_BAR_MMIO64)
                addr |= (uint64_t)le32_load(dev->config + bar_offset(n + 1)) << 32;
        return addr;
}

static enum bus_space bar_space(const struct pci_bar *bar)
{
        return bar->kind == PCI_BAR_PIO ? BUS_PIO : BUS_MMIO;
}

static void unmap_bar(struct pci_device *dev, struct pci_bar *bar)
{
        if (!bar->mapped)
                return;
        bus_unmap(dev->bus->bus, bar_space(bar), bar->addr);
        bar->mapped = false;
}

static void update_bar(struct pci_device *dev, unsigned n)
{
        struct pci_bar *bar = &dev->bars[n];
        uint16_t command = le16_load(dev->config + PCI_COMMAND);
        uint64_t addr = bar_address(dev, n);
        bool wanted = bar->kind != PCI_BAR_NONE && addr != 0 &&
                      (command & (bar->kind == PCI_BAR_PIO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
        int r;

        if (bar->mapped && wanted && bar->addr == addr)
                return;
        unmap_bar(dev, bar);
        if (!wanted)
                return;
        /* A guest that puts a BAR over something else does not get it. */
        r = bus_map(dev->bus->bus, bar_space(bar), addr, bar->size, bar->ops, bar->dev, dev->name);
        if (r < 0) {
                log_debug("pci %s: BAR %u cannot be at %#llx: error %d", dev->name, n, (unsigned long long)addr, -r);
                return;
        }
        bar->addr = addr;
        bar->mapped = true;
}

void pci_device_add_bar(struct pci_device *dev, unsigned n, enum pci_bar_kind kind, uint64_t size,
                        const struct bus_ops *ops, void *opaque)
{
        uint64_t mask = ~(size - 1);

        dev->bars[n] = (struct pci_bar){ .kind = kind, .size = size, .ops = ops, .dev = opaque };
        le32_store(dev->config + bar_offset(n),
                kind == PCI_BAR_PIO ? BAR_IS_IO : kind == PCI_BAR_MMIO64 ? BAR_IS_64 : 0);
        le32_store(dev->writable + bar_offset(n), (uint32_t)mask);
        if (kind == PCI_BAR_MMIO64)
                le32_store(dev->writable + bar_offset(n + 1), (uint32_t)(mask >> 32));
}

/* --- Interrupts --- */

static void update_intx(struct pci_device *dev)
{
        bool off = le16_load(dev->config + PCI_COMMAND) & PCI_COMMAND_INTX_OFF;

        if (dev->intx_level)
                dev->config[PCI_STATUS] |= PCI_STATUS_INTX;
        else
                dev->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
        if (dev->intx.sink)
                irq_set(&dev->intx, dev->intx_level && !off);
}

void pci_device_set_intx(struct pci_device *dev, int level)
{
        dev->intx_level = level;
        update_intx(dev);
}

/* --- Devices --- */

void pci_device_init(struct pci_device *dev, const char *name, const struct pci_id *id)
{
        *dev = (struct pci_device){ .name = name, .caps_end = HEADER_END };
        le16_store(dev->config + PCI_VENDOR_ID, id->vendor);
        le16_store(dev->config + PCI_DEVICE_ID, id->device);
        dev->config[PCI_REVISION] = id->revision;
        dev->config[PCI_CLASS] = (uint8_t)id->class;
        dev->config[PCI_CLASS + 1] = (uint8_t)(id->class >> 8);
        dev->config[PCI_CLASS + 2] = (uint8_t)(id->class >> 16);
        le16_store(dev->config + PCI_SUBSYSTEM_VENDOR, id->subsystem_vendor);
        le16_store(dev->config + PCI_SUBSYSTEM, id->subsystem);
        dev->config[PCI_INTERRUPT_PIN] = id->pin;
        dev->writable[PCI_INTERRUPT_LINE] = 0xff;
        le16_store(dev->writable + PCI_COMMAND,
                PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF);
}

int pci_device_add_cap(struct pci_device *dev, uint8_t id, unsigned size)
{
        unsigned at = dev->caps_end;

        if (size < 2 || size > PCI_CONFIG_SIZE - at)
                return -ENOSPC;
        dev->config[at] = id;
        dev->config[dev->last_cap ? dev->last_cap + 1u : PCI_CAPABILITIES] = (uint8_t)at;
        dev->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
        dev->last_cap = (uint8_t)at;
        dev->caps_end = ALIGN_UP(at + size, 4u);
        return (int)at;
}

int pci_device_attach(struct pci_device *dev, struct pci_bus *pci, unsigned slot)
{
        unsigned pin = dev->config[PCI_INTERRUPT_PIN];

        if (slot >= PCI_SLOTS)
                return -EINVAL;
        if (pci->slots[slot])
                return -EBUSY;
        pci->slots[slot] = dev;
        dev->bus = pci;
        dev->slot = slot;
        dev->gone = false;
        if (pin)
                dev->intx = (struct irq_line){ .sink = pci->irqs, .gsi = PCI_GSI(slot, pin - 1) };
        return 0;
}

void pci_device_reset(struct pci_device *dev)
{
        for (unsigned n = 0; n < PCI_BARS; n++)
                unmap_bar(dev, &dev->bars[n]);
        for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
                dev->config[i] &= (uint8_t)~dev->writable[i];
        pci_device_set_intx(dev, 0);
}

void pci_device_detach(struct pci_device *dev)
{
        if (!dev->bus)
                return;
        pci_device_reset(dev);
        dev->bus->slots[dev->slot] = NULL;
        dev->bus = NULL;
}

bool pci_bus_has(const struct pci_bus *pci, unsigned slot)
{
        return slot < PCI_SLOTS && pci->slots[slot];
}

bool pci_bus_eject(struct pci_bus *pci, unsigned slot)
{
        if (!pci_bus_has(pci, slot))
                return false;
        pci_device_reset(pci->slots[slot]);
        pci->slots[slot]->gone = true;
        return true;
}

/* --- Configuration access --- */

static struct pci_device *find(struct pci_bus *pci, unsigned devfn)
{
        struct pci_device *dev = devfn % 8 == 0 && devfn / 8 < PCI_SLOTS ? pci->slots[devfn / 8] : NULL;

        return dev && !dev->gone ? dev : NULL;
}

uint32_t pci_config_read(struct pci_bus *pci, unsigned devfn, unsigned offset, unsigned size)
{
        struct pci_device *dev = find(pci, devfn);
        uint32_t value = 0;

        if (!dev || offset + size > PCI_CONFIG_SIZE)
                return UINT32_MAX;
        if (dev->reading)
                dev->reading(dev, offset, size);
        for (unsigned i = 0; i < size; i++)
                value |= (uint32_t)dev->config[offset + i] << (i * 8);
        return value;
}

static bool overlaps(unsigned offset, unsigned size, unsigned start, unsigned len)
{
        return offset < start + len && start < offset + size;
}

void pci_config_write(struct pci_bus *pci, unsigned devfn, unsigned offset, unsigned size, uint32_t value)
{
        struct pci_device *dev = find(pci, devfn);

        if (!dev || offset + size > PCI_CONFIG_SIZE)
                return;
        for (unsigned i = 0; i < size; i++) {
                uint8_t mask = dev->writable[offset + i], *p = &dev->config[offset + i];

                *p = (uint8_t)((*p & ~mask) | ((value >> (i * 8)) & mask));
        }
        if (overlaps(offset, size, PCI_COMMAND, 2) || overlaps(offset, size, PCI_BAR0, PCI_BARS * 4))
                for (unsigned n = 0; n < PCI_BARS; n++)
                        update_bar(dev, n);
        if (overlaps(offset, size, PCI_COMMAND, 2))
                update_intx(dev);
        if (dev->written)
                dev->written(dev, offset, size);
}
