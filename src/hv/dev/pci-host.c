/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/pci-host.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "hv/bus/platform.h"
#include "hv/pci/pci.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA 0xcfc

#define ADDRESS_ENABLE 0x80000000u

#define RESET_SYSTEM 0x02 /* hard rather than soft */
#define RESET_CPU 0x04    /* its rising edge resets */

static const struct pci_id bridge_id = { .vendor = 0x8086, .device = 0x1237, .class = 0x060000, .revision = 2 };

struct pci_host {
        struct device device;
        const struct device_env *env;
        struct pci_device bridge;
        uint32_t address;
        uint8_t reset_control;
};

static void write_reset_control(struct pci_host *h, uint8_t value)
{
        bool rises = (value & RESET_CPU) && !(h->reset_control & RESET_CPU);

        h->reset_control = value & (RESET_SYSTEM | RESET_CPU);
        if (rises)
                h->env->event(h->env->opaque, DEVICE_EVENT_RESET, 0);
}

/* The address register exists for whole dwords only; a byte in the middle of it is the reset control register. */
static uint64_t address_read(void *dev, uint64_t off, unsigned size)
{
        struct pci_host *h = dev;

        if (off == 0 && size == 4)
                return h->address;
        return off == ACPI_RESET_PORT - PORT_ADDRESS && size == 1 ? h->reset_control : UINT64_MAX;
}

static void address_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct pci_host *h = dev;

        if (off == 0 && size == 4)
                h->address = (uint32_t)value & ~3u;
        else if (off == ACPI_RESET_PORT - PORT_ADDRESS && size == 1)
                write_reset_control(h, (uint8_t)value);
}

/* Only bus 0 has anything on it. */
static bool selected(const struct pci_host *h, unsigned *ret_devfn, unsigned *ret_offset)
{
        *ret_devfn = (h->address >> 8) & 0xff;
        *ret_offset = h->address & 0xfc;
        return (h->address & ADDRESS_ENABLE) && ((h->address >> 16) & 0xff) == 0;
}

static uint64_t data_read(void *dev, uint64_t off, unsigned size)
{
        struct pci_host *h = dev;
        unsigned devfn, offset;

        if (!selected(h, &devfn, &offset))
                return UINT64_MAX;
        return pci_config_read(h->env->pci, devfn, offset + (unsigned)off, size);
}

static void data_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct pci_host *h = dev;
        unsigned devfn, offset;

        if (selected(h, &devfn, &offset))
                pci_config_write(h->env->pci, devfn, offset + (unsigned)off, size, (uint32_t)value);
}

static const struct bus_ops address_ops = { .read = address_read, .write = address_write };
static const struct bus_ops data_ops = { .read = data_read, .write = data_write };

static void pci_host_reset(struct device *dev)
{
        struct pci_host *h = container_of(dev, struct pci_host, device);

        h->address = 0;
        h->reset_control = 0;
        pci_device_reset(&h->bridge);
}

static void pci_host_free(struct device *dev)
{
        struct pci_host *h = container_of(dev, struct pci_host, device);

        pci_device_detach(&h->bridge);
        bus_unmap(h->env->bus, BUS_PIO, PORT_ADDRESS);
        bus_unmap(h->env->bus, BUS_PIO, PORT_DATA);
        free(h);
}

static const struct device_ops device_ops = { .reset = pci_host_reset, .free = pci_host_free };

int pci_host_new(const struct device_env *env, struct device **ret)
{
        struct pci_host *h = calloc(1, sizeof(*h));
        int r;

        if (!h)
                return -ENOMEM;
        h->device.ops = &device_ops;
        h->env = env;
        pci_device_init(&h->bridge, "host-bridge", &bridge_id);
        r = pci_device_attach(&h->bridge, env->pci, 0);
        if (r == 0)
                r = bus_map(env->bus, BUS_PIO, PORT_ADDRESS, 4, &address_ops, h, "pci-address");
        if (r == 0)
                r = bus_map(env->bus, BUS_PIO, PORT_DATA, 4, &data_ops, h, "pci-data");
        if (r < 0) {
                pci_host_free(&h->device);
                return r;
        }
        *ret = &h->device;
        return 0;
}
