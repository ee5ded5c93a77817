/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/log.h"
#include "base/macros.h"
#include "hv/dev/absent.h"
#include "hv/dev/acpi-pm.h"
#include "hv/dev/debug-exit.h"
#include "hv/dev/pci-host.h"
#include "hv/dev/pci-hotplug.h"
#include "hv/dev/reset.h"
#include "hv/dev/rtc-cmos.h"
#include "hv/dev/serial.h"
#include "hv/machine/machine-private.h"

static bool with_debug_exit(const struct machine_config *config)
{
        return config->debug_exit;
}

static bool with_acpi(const struct machine_config *config)
{
        return config->acpi;
}

#define SLOT(member) (offsetof(struct machine, member) + 1)

static const struct device_type {
        const char *name;
        device_new_fn new;
        bool (*wanted)(const struct machine_config *config); /* NULL: always */
        size_t slot; /* where the machine keeps a pointer to it, SLOT(); 0: nowhere */
} types[] = {
        { "serial0", serial_com1_new, NULL, SLOT(serials[0]) },
        { "serial1", serial_com2_new, NULL, SLOT(serials[1]) },
        { "rtc", rtc_cmos_new },
        { "pci-host", pci_host_new },
        { "system-control", system_control_new },
        { "i8042", keyboard_controller_new },
        { "acpi-pm", acpi_pm_new, with_acpi, SLOT(acpi_pm) },
        { "pci-hotplug", pci_hotplug_new, with_acpi, SLOT(pci_hotplug) },
        { "debug-exit", debug_exit_new, with_debug_exit },
        { "absent", absent_ports_new },
};
_Static_assert(ARRAY_SIZE(types) <= MACHINE_DEVICES_MAX, "too many devices");

static void device_event(void *opaque, enum device_event event, unsigned value)
{
        static const unsigned posts[] = {
                [DEVICE_EVENT_SHUTDOWN] = MACHINE_POST_SHUTDOWN,
                [DEVICE_EVENT_RESET] = MACHINE_POST_RESET,
                [DEVICE_EVENT_DEBUG_EXIT] = MACHINE_POST_DEBUG_EXIT,
        };
        struct machine *m = opaque;

        if (event == DEVICE_EVENT_DEBUG_EXIT)
                m->exit_value = value;
        /* The guest shall not get far beyond the instruction that asked. */
        machine_vcpus_halt(m);
        machine_post(m, posts[event]);
}

static void serial_output(void *opaque, unsigned n, const uint8_t *buf, size_t len)
{
        struct machine *m = opaque;

        if (m->config.serial_output)
                m->config.serial_output(m->config.opaque, n, buf, len);
}

static void serial_ready(void *opaque, unsigned n)
{
        machine_post(opaque, MACHINE_POST_SERIAL_READY << n);
}

static void gpe(void *opaque, unsigned n)
{
        struct machine *m = opaque;

        if (m->acpi_pm)
                acpi_pm_gpe(m->acpi_pm, n);
}

static void pci_ejected(void *opaque, unsigned slot)
{
        machine_plugs_ejected(opaque, slot);
}

int machine_devices_new(struct machine *m)
{
        m->env = (struct device_env){
                .bus = m->bus,
                .pci = m->pci,
                .timers = m->timers,
                .irqs = &m->irqs,
                .rtc_localtime = m->config.rtc_localtime,
                .event = device_event,
                .serial_output = serial_output,
                .serial_ready = serial_ready,
                .gpe = gpe,
                .pci_ejected = pci_ejected,
                .opaque = m,
        };
        m->env.ram_low = m->memory.ram_size < GUEST_LOW_RAM_END ? m->memory.ram_size : GUEST_LOW_RAM_END;
        m->env.ram_high = m->memory.ram_size - m->env.ram_low;
        for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
                int r;

                if (types[i].wanted && !types[i].wanted(&m->config))
                        continue;
                r = types[i].new(&m->env, &m->devices[i]);
                if (r < 0) {
                        log_error("device %s cannot be made: error %d", types[i].name, -r);
                        return r;
                }
                if (types[i].slot)
                        *(struct device **)((char *)m + types[i].slot - 1) = m->devices[i];
        }
        return 0;
}

void machine_devices_reset(struct machine *m)
{
        for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
                if (m->devices[i])
                        m->devices[i]->ops->reset(m->devices[i]);
}

void machine_devices_free(struct machine *m)
{
        for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
                if (m->devices[i])
                        m->devices[i]->ops->free(m->devices[i]);
}
