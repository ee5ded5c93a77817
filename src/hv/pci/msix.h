/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* MSI-X (PCI Local Bus Specification 3.0, chapter 6.8.2): a capability, and a BAR of one page with the table and the pending bits. Called as pci.h says. */

#include "hv/pci/pci.h"

#define PCI_MSIX_MAX 128       /* vectors that fit in the BAR */
#define PCI_MSIX_ENTRY 16
#define PCI_MSIX_BAR_SIZE 4096
#define PCI_MSIX_PENDING 2048  /* where the pending bits are in the BAR */

/* Embedded in the function's struct. */
struct pci_msix {
        struct pci_device *pci; /* NULL: not in use */
        struct irq_sink *irqs;
        unsigned n, cap;
        uint8_t table[PCI_MSIX_MAX * PCI_MSIX_ENTRY];
        uint64_t pending[PCI_MSIX_MAX / 64];
};

/* Gives the function n vectors in BAR bar. Before attaching; -EINVAL, -ENOSPC. */
int pci_msix_init(struct pci_msix *msix, struct pci_device *pci, struct irq_sink *irqs, unsigned n, unsigned bar);
/* The guest uses messages: INTx is not for this function then. */
bool pci_msix_enabled(const struct pci_msix *msix);
/* Sends a vector's message now, or when the guest unmasks it. Out of range: nothing happens. */
void pci_msix_raise(struct pci_msix *msix, unsigned vector);
/* From the function's written. */
void pci_msix_written(struct pci_msix *msix, unsigned offset, unsigned size);
/* All masked, nothing pending; the capability is reset by pci_device_reset. */
void pci_msix_reset(struct pci_msix *msix);
