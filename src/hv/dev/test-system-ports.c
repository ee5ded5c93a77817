/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macros.h"
#include "hv/bus/platform.h"
#include "hv/dev/absent.h"
#include "hv/dev/acpi-pm.h"
#include "hv/dev/debug-exit.h"
#include "hv/dev/pci-host.h"
#include "hv/dev/reset.h"
#include "hv/dev/test-env.h"
#include "hv/pci/pci.h"

static struct test_env t;

static unsigned in(unsigned port, unsigned size)
{
        return (unsigned)bus_read(t.env.bus, BUS_PIO, port, size);
}

static void out(unsigned port, unsigned size, unsigned value)
{
        bus_write(t.env.bus, BUS_PIO, port, size, value);
}

static void test_acpi(void)
{
        struct device *dev;
        unsigned a, b;

        CHECK_EQ(acpi_pm_new(&t.env, &dev), 0);
        CHECK_EQ(in(ACPI_PM1A_CNT, 2), 0);
        out(ACPI_SMI_CMD, 1, ACPI_ENABLE_VALUE);
        CHECK_EQ(in(ACPI_PM1A_CNT, 2), 1);
        out(ACPI_PM_BASE + 2, 2, 0xffff);
        CHECK_EQ(in(ACPI_PM_BASE + 2, 2), 0x0521);
        acpi_pm_power_button(dev);
        CHECK_EQ(t.level[ACPI_SCI_GSI], 1);
        CHECK_EQ(in(ACPI_PM_BASE, 2), 0x0100);
        out(ACPI_PM_BASE, 2, 0x0100);
        CHECK_EQ(in(ACPI_PM_BASE, 2), 0);
        CHECK_EQ(t.level[ACPI_SCI_GSI], 0);
        out(ACPI_GPE0_BASE, 4, 0xffffffff);
        CHECK_EQ(in(ACPI_GPE0_BASE, 4), 0xffff0000);
        a = in(ACPI_PM_TIMER, 4);
        poll(NULL, 0, 10);
        b = in(ACPI_PM_TIMER, 4);
        CHECK(b - a > 35000 && b - a < 3579545);
        out(ACPI_PM1A_CNT, 2, 0x2401); /* S1: nothing */
        CHECK_EQ(t.events, 0);
        out(ACPI_PM1A_CNT, 2, 0x2001);
        CHECK_EQ(t.events, 1);
        CHECK_EQ(t.event, DEVICE_EVENT_SHUTDOWN);
        dev->ops->reset(dev);
        CHECK_EQ(in(ACPI_PM1A_CNT, 2), 0);
        dev->ops->free(dev);
        CHECK_EQ(in(ACPI_PM1A_CNT, 2), 0xffff);
}

static void test_pci_host(void)
{
        struct device *dev;

        t.events = 0;
        CHECK_EQ(pci_bus_new(t.env.bus, &t.sink, &t.env.pci), 0);
        CHECK_EQ(pci_host_new(&t.env, &dev), 0);
        out(0xcf8, 4, 0x80000000);
        CHECK_EQ(in(0xcf8, 4), 0x80000000);
        CHECK_EQ(in(0xcfc, 4), 0x12378086);
        CHECK_EQ(in(0xcfe, 2), 0x1237);
        out(0xcf8, 4, 0x80010000); /* bus 1 */
        CHECK_EQ(in(0xcfc, 4), 0xffffffff);
        out(0xcf8, 4, 0x80000800); /* slot 1 */
        CHECK_EQ(in(0xcfc, 2), 0xffff);
        out(0xcf8, 4, 0x00000000); /* not enabled */
        CHECK_EQ(in(0xcfc, 4), 0xffffffff);
        /* An address whose second byte would be a reset. */
        out(0xcf8, 4, 0x80000600);
        CHECK_EQ(t.events, 0);
        out(0xcf9, 1, 0x02);
        CHECK_EQ(t.events, 0);
        out(0xcf9, 1, 0x06);
        CHECK_EQ(t.events, 1);
        CHECK_EQ(t.event, DEVICE_EVENT_RESET);
        CHECK_EQ(in(0xcf9, 1), 0x06);
        out(0xcf9, 1, 0x06);
        CHECK_EQ(t.events, 1);
        dev->ops->free(dev);
        pci_bus_free(t.env.pci);
}

static void test_system_control(void)
{
        struct device *dev;

        t.events = 0;
        CHECK_EQ(system_control_new(&t.env, &dev), 0);
        CHECK_EQ(in(0x92, 1), 0x02);
        out(0x92, 1, 0x03);
        CHECK_EQ(t.events, 1);
        CHECK_EQ(t.event, DEVICE_EVENT_RESET);
        dev->ops->free(dev);
}

static void test_keyboard(void)
{
        struct device *dev;

        t.events = 0;
        CHECK_EQ(keyboard_controller_new(&t.env, &dev), 0);
        CHECK_EQ(in(0x64, 1) & 3, 0);
        out(0x64, 1, 0xaa);
        CHECK_EQ(in(0x64, 1) & 1, 1);
        CHECK_EQ(in(0x60, 1), 0x55);
        CHECK_EQ(in(0x64, 1) & 1, 0);
        out(0x64, 1, 0x60);
        out(0x60, 1, 0x47);
        out(0x64, 1, 0x20);
        CHECK_EQ(in(0x60, 1), 0x47);
        out(0x60, 1, 0xff); /* nobody answers */
        CHECK_EQ(in(0x64, 1) & 1, 0);
        out(0x64, 1, 0xff);
        CHECK_EQ(t.events, 0);
        out(0x64, 1, 0xfe);
        CHECK_EQ(t.events, 1);
        CHECK_EQ(t.event, DEVICE_EVENT_RESET);
        out(0x64, 1, 0xd1);
        out(0x60, 1, 0xdf);
        CHECK_EQ(t.events, 1);
        out(0x64, 1, 0xd1);
        out(0x60, 1, 0x02);
        CHECK_EQ(t.events, 2);
        dev->ops->free(dev);
}

static void test_debug_exit(void)
{
        struct device *dev;

        CHECK_EQ(debug_exit_new(&t.env, &dev), 0);
        out(0xf4, 4, 0x21);
        CHECK_EQ(t.event, DEVICE_EVENT_DEBUG_EXIT);
        CHECK_EQ(t.value, 0x21);
        dev->ops->free(dev);
}

static void test_absent(void)
{
        struct device *dev;

        CHECK_EQ(absent_ports_new(&t.env, &dev), 0);
        out(0x80, 1, 0xaa);
        CHECK_EQ(in(0x3f4, 1), 0xff);
        dev->ops->free(dev);
}

int main(void)
{
        test_env_init(&t);
        test_acpi();
        test_pci_host();
        test_system_control();
        test_keyboard();
        test_debug_exit();
        test_absent();
        test_env_finish(&t);
        return 0;
}
