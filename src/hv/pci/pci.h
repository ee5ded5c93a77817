/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* PCI bus 0 and what all functions on it have in common: type 0 configuration space, base address registers, INTx
 * (PCI Local Bus Specification 3.0, chapter 6). One function per slot. Everything is called with the device lock held or before
 * any vCPU runs. */

#include <stdbool.h>

#include "hv/bus/bus.h"
#include "hv/bus/irq.h"

#define PCI_SLOTS 32
#define PCI_BARS 6
#define PCI_CONFIG_SIZE 256

#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x0001
#define PCI_COMMAND_MEMORY 0x0002
#define PCI_COMMAND_MASTER 0x0004
#define PCI_COMMAND_INTX_OFF 0x0400
#define PCI_STATUS 0x06
#define PCI_STATUS_INTX 0x08
#define PCI_STATUS_CAPABILITIES 0x10
#define PCI_REVISION 0x08
#define PCI_CLASS 0x09 /* 3 bytes: interface, subclass, class */
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR 0x2c
#define PCI_SUBSYSTEM 0x2e
#define PCI_CAPABILITIES 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d

struct pci_bus;

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_PIO, PCI_BAR_MMIO32, PCI_BAR_MMIO64 };

struct pci_bar {
        enum pci_bar_kind kind;
        uint64_t size;             /* a power of two */
        const struct bus_ops *ops;
        void *dev;
        uint64_t addr;             /* valid while mapped */
        bool mapped;
};

struct pci_device {
        const char *name;          /* for logs */
        struct pci_bus *bus;       /* NULL: not attached */
        unsigned slot;
        uint8_t config[PCI_CONFIG_SIZE];
        uint8_t writable[PCI_CONFIG_SIZE]; /* bits that the guest may change */
        struct pci_bar bars[PCI_BARS];
        struct irq_line intx;
        bool gone;                 /* pci_bus_eject: the guest sees it no more */
        bool intx_level;           /* what the device wants, whatever INTX_OFF says */
        unsigned caps_end;         /* where the next capability goes */
        uint8_t last_cap;          /* the one that ends the list; 0: none */
        /* The guest is about to read size bytes at offset: what is not kept in config is put there. May be NULL. */
        void (*reading)(struct pci_device *dev, unsigned offset, unsigned size);
        /* The guest wrote size bytes at offset (already in config). May be NULL. */
        void (*written)(struct pci_device *dev, unsigned offset, unsigned size);
};

struct pci_id {
        uint16_t vendor, device, subsystem_vendor, subsystem;
        uint32_t class; /* 24 bits: class, subclass, interface */
        uint8_t revision;
        uint8_t pin;    /* 0: no INTx, 1: INTA.. */
};

int pci_bus_new(struct bus *bus, struct irq_sink *irqs, struct pci_bus **ret);
/* After all devices have been detached. */
void pci_bus_free(struct pci_bus *pci);
bool pci_bus_has(const struct pci_bus *pci, unsigned slot);
/* The guest sees nothing in slot from now on; the function stays attached until its owner detaches it. False: nothing is there. */
bool pci_bus_eject(struct pci_bus *pci, unsigned slot);
/* Configuration access by the guest. offset + size stay within an aligned dword. No such function: all ones. */
uint32_t pci_config_read(struct pci_bus *pci, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *pci, unsigned devfn, unsigned offset, unsigned size, uint32_t value);

/* dev must be zeroed or finished. */
void pci_device_init(struct pci_device *dev, const char *name, const struct pci_id *id);
/* BAR n decodes size bytes (PIO at least 4, MMIO at least 16; a 64-bit one takes n + 1 too) and reaches ops. Before attaching. */
void pci_device_add_bar(struct pci_device *dev, unsigned n, enum pci_bar_kind kind, uint64_t size,
                        const struct bus_ops *ops, void *opaque);
/* Appends a capability (chapter 6.7) of size bytes, the two of its header included, all zero and read-only but for the header. Before attaching. Its offset in
 * config, or -ENOSPC. */
int pci_device_add_cap(struct pci_device *dev, uint8_t id, unsigned size);
/* -EBUSY: the slot is taken. */
int pci_device_attach(struct pci_device *dev, struct pci_bus *pci, unsigned slot);
void pci_device_detach(struct pci_device *dev);
/* BARs unmapped, what the guest wrote into config gone, INTx off. */
void pci_device_reset(struct pci_device *dev);
/* Raises or lowers the function's interrupt line, GSI PCI_GSI(slot, pin). */
void pci_device_set_intx(struct pci_device *dev, int level);
