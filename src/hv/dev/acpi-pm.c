/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/acpi-pm.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "hv/bus/platform.h"

#define PM_TIMER_HZ 3579545ull
#define NS_PER_S 1000000000ull

/* PM1 status and enable bits. */
#define PM1_TIMER 0x0001
#define PM1_GLOBAL 0x0020
#define PM1_POWER_BUTTON 0x0100
#define PM1_RTC 0x0400 /* can be enabled, as systems insist; an alarm has nothing to wake here */
#define PM1_ENABLE_MASK (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_RTC)

/* PM1 control bits. */
#define PM1_SCI_EN 0x0001
#define PM1_SLP_TYP 0x1c00
#define PM1_SLP_EN 0x2000
#define SLP_TYP_S5 0

#define GPE0_BYTES 4 /* two of status, two of enable */

struct acpi_pm {
        struct device device;
        const struct device_env *env;
        struct irq_line sci;
        struct timer timer;     /* the PM timer's highest bit changes */
        uint64_t timer_base;    /* virtual ns of timer value 0 */
        uint16_t status, enable, control;
        uint8_t gpe[GPE0_BYTES];
        uint8_t smi[2];         /* command and data as last written */
};

static void update(struct acpi_pm *p)
{
        bool event = (p->status & p->enable) || (p->gpe[0] & p->gpe[2]) || (p->gpe[1] & p->gpe[3]);

        irq_set(&p->sci, (p->control & PM1_SCI_EN) && event);
}

static uint64_t ticks(const struct acpi_pm *p)
{
        return (uint64_t)((unsigned __int128)(timer_now(p->env->timers) - p->timer_base) * PM_TIMER_HZ / NS_PER_S);
}

static void arm_timer(struct acpi_pm *p)
{
        uint64_t at = (ticks(p) | 0x7fffffff) + 1;

        timer_arm(&p->timer, p->timer_base + (uint64_t)((unsigned __int128)at * NS_PER_S / PM_TIMER_HZ) + 1);
}

static void timer_carry(void *opaque)
{
        struct acpi_pm *p = opaque;

        p->status |= PM1_TIMER;
        arm_timer(p);
        update(p);
}

void acpi_pm_power_button(struct device *dev)
{
        struct acpi_pm *p = container_of(dev, struct acpi_pm, device);

        p->status |= PM1_POWER_BUTTON;
        update(p);
}

void acpi_pm_gpe(struct device *dev, unsigned n)
{
        struct acpi_pm *p = container_of(dev, struct acpi_pm, device);

        p->gpe[n / 8] |= (uint8_t)(1u << (n % 8));
        update(p);
}

static uint8_t byte_of(uint16_t value, unsigned n)
{
        return (uint8_t)(value >> (n * 8));
}

static uint16_t with_byte(uint16_t old, unsigned n, uint8_t byte)
{
        return (uint16_t)((old & ~(0xff << (n * 8))) | byte << (n * 8));
}

/* Status, enable, control: two bytes each. All work byte by byte: status bits are cleared by ones, and the sleep type
 * shares its byte with SLP_EN. */
static uint64_t pm1_read(void *dev, uint64_t off, unsigned size)
{
        struct acpi_pm *p = dev;
        uint16_t value = off < 2 ? p->status : off < 4 ? p->enable : p->control;

        return byte_of(value, off & 1);
}

static void write_control(struct acpi_pm *p, unsigned n, uint8_t byte)
{
        uint16_t value = with_byte(p->control, n, byte);

        p->control = value & (PM1_SCI_EN | PM1_SLP_TYP);
        if ((value & PM1_SLP_EN) && (value & PM1_SLP_TYP) >> 10 == SLP_TYP_S5)
                p->env->event(p->env->opaque, DEVICE_EVENT_SHUTDOWN, 0);
}

static void pm1_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct acpi_pm *p = dev;
        uint8_t byte = (uint8_t)value;

        if (off < 2)
                p->status &= (uint16_t)~(byte << (off * 8));
        else if (off < 4)
                p->enable = with_byte(p->enable, off & 1, byte) & PM1_ENABLE_MASK;
        else
                write_control(p, off & 1, byte);
        update(p);
}

static uint64_t pm_timer_read(void *dev, uint64_t off, unsigned size)
{
        struct acpi_pm *p = dev;

        return (uint32_t)ticks(p) >> (off * 8);
}

static void pm_timer_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
}

static uint64_t gpe_read(void *dev, uint64_t off, unsigned size)
{
        struct acpi_pm *p = dev;

        return p->gpe[off];
}

static void gpe_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct acpi_pm *p = dev;

        if (off < GPE0_BYTES / 2)
                p->gpe[off] &= (uint8_t)~value;
        else
                p->gpe[off] = (uint8_t)value;
        update(p);
}

static uint64_t smi_read(void *dev, uint64_t off, unsigned size)
{
        struct acpi_pm *p = dev;

        return p->smi[off];
}

/* What firmware's SMI handler does for these commands. */
static void smi_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct acpi_pm *p = dev;

        p->smi[off] = (uint8_t)value;
        if (off == 0 && value == ACPI_ENABLE_VALUE)
                p->control |= PM1_SCI_EN;
        else if (off == 0 && value == ACPI_DISABLE_VALUE)
                p->control &= (uint16_t)~PM1_SCI_EN;
        update(p);
}

static const struct bus_ops pm1_ops = { .read = pm1_read, .write = pm1_write, .max_size = 1 };
static const struct bus_ops pm_timer_ops = { .read = pm_timer_read, .write = pm_timer_write };
static const struct bus_ops gpe_ops = { .read = gpe_read, .write = gpe_write, .max_size = 1 };
static const struct bus_ops smi_ops = { .read = smi_read, .write = smi_write, .max_size = 1 };

static void acpi_pm_reset(struct device *dev)
{
        struct acpi_pm *p = container_of(dev, struct acpi_pm, device);

        p->status = p->enable = p->control = 0;
        for (unsigned i = 0; i < GPE0_BYTES; i++)
                p->gpe[i] = 0;
        p->timer_base = timer_now(p->env->timers);
        arm_timer(p);
        update(p);
}

static void acpi_pm_free(struct device *dev)
{
        struct acpi_pm *p = container_of(dev, struct acpi_pm, device);

        timer_cancel(&p->timer);
        bus_unmap(p->env->bus, BUS_PIO, ACPI_PM_BASE);
        bus_unmap(p->env->bus, BUS_PIO, ACPI_PM_TIMER);
        bus_unmap(p->env->bus, BUS_PIO, ACPI_GPE0_BASE);
        bus_unmap(p->env->bus, BUS_PIO, ACPI_SMI_CMD);
        free(p);
}

static const struct device_ops device_ops = { .reset = acpi_pm_reset, .free = acpi_pm_free };

static int map(struct acpi_pm *p)
{
        struct bus *bus = p->env->bus;
        int r;

        r = bus_map(bus, BUS_PIO, ACPI_PM_BASE, 6, &pm1_ops, p, "acpi-pm1");
        if (r == 0)
                r = bus_map(bus, BUS_PIO, ACPI_PM_TIMER, 4, &pm_timer_ops, p, "acpi-timer");
        if (r == 0)
                r = bus_map(bus, BUS_PIO, ACPI_GPE0_BASE, GPE0_BYTES, &gpe_ops, p, "acpi-gpe0");
        if (r == 0)
                r = bus_map(bus, BUS_PIO, ACPI_SMI_CMD, 2, &smi_ops, p, "acpi-smi");
        return r;
}

int acpi_pm_new(const struct device_env *env, struct device **ret)
{
        struct acpi_pm *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->device.ops = &device_ops;
        p->env = env;
        p->sci = (struct irq_line){ .sink = env->irqs, .gsi = ACPI_SCI_GSI };
        timer_init(&p->timer, env->timers, timer_carry, p);
        acpi_pm_reset(&p->device);
        r = map(p);
        if (r < 0) {
                acpi_pm_free(&p->device);
                return r;
        }
        *ret = &p->device;
        return 0;
}
