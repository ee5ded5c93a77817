/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/pci-hotplug.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "hv/bus/platform.h"
#include "hv/pci/pci.h"

#define FILLED 0
#define REQUESTED 4
#define EJECT 8
#define SIZE 12
/* The host bridge does not come out. */
#define FIXED_SLOTS 1u

struct pci_hotplug {
        struct device device;
        const struct device_env *env;
        uint32_t filled, requested;
};

static uint64_t hotplug_read(void *dev, uint64_t off, unsigned size)
{
        struct pci_hotplug *h = dev;
        uint32_t filled = h->filled;

        if (size != 4)
                return 0;
        if (off == REQUESTED)
                return h->requested;
        if (off != FILLED)
                return 0;
        h->filled = 0;
        return filled;
}

static void hotplug_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct pci_hotplug *h = dev;
        uint32_t slots = (uint32_t)value & ~FIXED_SLOTS;

        if (off != EJECT || size != 4)
                return;
        for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
                if (!(slots & (1u << slot)) || !pci_bus_eject(h->env->pci, slot))
                        continue;
                pci_hotplug_forget(&h->device, slot);
                h->env->pci_ejected(h->env->opaque, slot);
        }
}

static const struct bus_ops hotplug_ops = { .read = hotplug_read, .write = hotplug_write };

void pci_hotplug_filled(struct device *dev, unsigned slot)
{
        struct pci_hotplug *h = container_of(dev, struct pci_hotplug, device);

        h->filled |= 1u << slot;
        h->env->gpe(h->env->opaque, ACPI_GPE_PCI);
}

void pci_hotplug_request(struct device *dev, unsigned slot)
{
        struct pci_hotplug *h = container_of(dev, struct pci_hotplug, device);

        h->requested |= 1u << slot;
        h->env->gpe(h->env->opaque, ACPI_GPE_PCI);
}

void pci_hotplug_forget(struct device *dev, unsigned slot)
{
        struct pci_hotplug *h = container_of(dev, struct pci_hotplug, device);

        h->filled &= ~(1u << slot);
        h->requested &= ~(1u << slot);
}

static void hotplug_reset(struct device *dev)
{
        struct pci_hotplug *h = container_of(dev, struct pci_hotplug, device);

        h->filled = h->requested = 0;
}

static void hotplug_free(struct device *dev)
{
        struct pci_hotplug *h = container_of(dev, struct pci_hotplug, device);

        bus_unmap(h->env->bus, BUS_PIO, PCI_HOTPLUG_BASE);
        free(h);
}

static const struct device_ops device_ops = { .reset = hotplug_reset, .free = hotplug_free };

int pci_hotplug_new(const struct device_env *env, struct device **ret)
{
        struct pci_hotplug *h = calloc(1, sizeof(*h));
        int r;

        if (!h)
                return -ENOMEM;
        h->device.ops = &device_ops;
        h->env = env;
        r = bus_map(env->bus, BUS_PIO, PCI_HOTPLUG_BASE, SIZE, &hotplug_ops, h, "pci-hotplug");
        if (r < 0) {
                free(h);
                return r;
        }
        *ret = &h->device;
        return 0;
}
