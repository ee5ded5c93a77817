/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The fixed devices of the PC. One file makes one kind; machine/devices.c lists them: adding a device is a file and a row. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/bus/bus.h"
#include "hv/bus/irq.h"
#include "hv/bus/timer.h"

enum device_event {
        DEVICE_EVENT_SHUTDOWN,   /* ACPI S5 */
        DEVICE_EVENT_RESET,      /* any of the reset ports */
        DEVICE_EVENT_DEBUG_EXIT, /* value: what was written to port 0xf4 */
};

struct pci_bus;

/* What a device gets from its machine; all of it outlives the device. */
struct device_env {
        struct bus *bus;
        struct pci_bus *pci;
        struct timer_loop *timers;
        struct irq_sink *irqs;
        uint64_t ram_low, ram_high; /* bytes of RAM below and above 4 GiB */
        bool rtc_localtime;
        /* The guest asks the machine for something. With the device lock held; the vCPUs stop soon after, not at once. */
        void (*event)(void *opaque, enum device_event event, unsigned value);
        /* Bytes that leave serial port n. With the device lock held; must not block. */
        void (*serial_output)(void *opaque, unsigned n, const uint8_t *buf, size_t len);
        /* Serial port n, after it refused input, has room again. With the device lock held. May be NULL. */
        void (*serial_ready)(void *opaque, unsigned n);
        /* Raises a general purpose event; nothing without ACPI. With the device lock held. */
        void (*gpe)(void *opaque, unsigned n);
        /* The guest let go of the PCI slot: it is empty now as far as the guest is concerned. With the device lock held. */
        void (*pci_ejected)(void *opaque, unsigned slot);
        void *opaque;
};

struct device;

/* reset and free are set. reset: with the device lock held, vCPUs stopped: to the power-on state, host side unchanged.
 * free: no vCPU exists any more; NULL is fine. */
struct device_ops {
        void (*reset)(struct device *dev);
        void (*free)(struct device *dev);
};

/* Embedded in each device. */
struct device {
        const struct device_ops *ops;
};

/* Makes a device and maps its registers; 0 or negative errno. */
typedef int (*device_new_fn)(const struct device_env *env, struct device **ret);
