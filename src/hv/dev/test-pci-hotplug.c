/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/pci-hotplug.h"

#include "hv/bus/platform.h"
#include "hv/dev/acpi-pm.h"
#include "hv/dev/test-env.h"
#include "hv/pci/pci.h"

#define FILLED PCI_HOTPLUG_BASE
#define REQUESTED (PCI_HOTPLUG_BASE + 4)
#define EJECT (PCI_HOTPLUG_BASE + 8)
#define GPE_BIT (1u << ACPI_GPE_PCI)

static struct test_env t;
static struct device *pm, *hotplug;
static struct pci_device card;
static unsigned ejected, ejections;

static void on_gpe(void *opaque, unsigned n)
{
        acpi_pm_gpe(pm, n);
}

static void on_ejected(void *opaque, unsigned slot)
{
        ejections++;
        ejected = slot;
}

static uint64_t in(uint64_t port, unsigned size)
{
        return bus_read(t.env.bus, BUS_PIO, port, size);
}

static void out(uint64_t port, unsigned size, uint64_t value)
{
        bus_write(t.env.bus, BUS_PIO, port, size, value);
}

/* The event reaches the guest by SCI if it is enabled, and stays up until the status is cleared. */
static void check_event(void)
{
        CHECK_EQ(in(ACPI_GPE0_BASE, 1), GPE_BIT);
        CHECK_EQ(t.level[ACPI_SCI_GSI], 1);
        out(ACPI_GPE0_BASE, 1, GPE_BIT);
        CHECK_EQ(t.level[ACPI_SCI_GSI], 0);
}

static void test_filled(void)
{
        pci_hotplug_filled(hotplug, 3);
        pci_hotplug_filled(hotplug, 31);
        check_event();
        CHECK_EQ(in(FILLED, 4), 1u << 3 | 1u << 31);
        CHECK_EQ(in(FILLED, 4), 0);
        CHECK_EQ(in(REQUESTED, 4), 0);
}

static void test_request(void)
{
        pci_hotplug_request(hotplug, 3);
        check_event();
        CHECK_EQ(in(REQUESTED, 4), 1u << 3);
        CHECK_EQ(in(REQUESTED, 4), 1u << 3);
        /* Slots with nothing in them, the host bridge's, other registers, half a register: nothing happens. */
        out(EJECT, 4, ~(1u << 3));
        out(EJECT, 2, 1u << 3);
        out(FILLED, 4, 1u << 3);
        CHECK_EQ(ejections, 0);
        CHECK_EQ(in(EJECT, 4), 0);
        CHECK(pci_config_read(t.env.pci, 3 << 3, 0, 4) != UINT32_MAX);
        out(EJECT, 4, 1u << 3);
        CHECK_EQ(ejections, 1);
        CHECK_EQ(ejected, 3);
        CHECK_EQ(in(REQUESTED, 4), 0);
        CHECK_EQ(pci_config_read(t.env.pci, 3 << 3, 0, 4), UINT32_MAX);
        CHECK(pci_bus_has(t.env.pci, 3)); /* until the machine has taken the card out */
}

static void test_reset(void)
{
        pci_hotplug_filled(hotplug, 3);
        pci_hotplug_request(hotplug, 4);
        hotplug->ops->reset(hotplug);
        CHECK_EQ(in(FILLED, 4), 0);
        CHECK_EQ(in(REQUESTED, 4), 0);
}

int main(void)
{
        struct pci_id id = { .vendor = 0x1af4, .device = 0x1044, .class = 0xff0000, .pin = 1 };

        test_env_init(&t);
        t.env.gpe = on_gpe;
        t.env.pci_ejected = on_ejected;
        CHECK_EQ(pci_bus_new(t.env.bus, &t.sink, &t.env.pci), 0);
        CHECK_EQ(acpi_pm_new(&t.env, &pm), 0);
        CHECK_EQ(pci_hotplug_new(&t.env, &hotplug), 0);
        out(ACPI_SMI_CMD, 1, ACPI_ENABLE_VALUE);
        out(ACPI_GPE0_BASE + 2, 1, GPE_BIT);
        pci_device_init(&card, "card", &id);
        CHECK_EQ(pci_device_attach(&card, t.env.pci, 3), 0);
        test_filled();
        test_request();
        test_reset();
        pci_device_detach(&card);
        hotplug->ops->free(hotplug);
        pm->ops->free(pm);
        pci_bus_free(t.env.pci);
        test_env_finish(&t);
        return 0;
}
