/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/pci/msix.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define CAP_ID 0x11
#define CAP_SIZE 12
#define CAP_CONTROL 2
#define CONTROL_ENABLE 0x8000
#define CONTROL_MASK 0x4000
#define CAP_TABLE 4
#define CAP_PENDING 8

#define ENTRY_DATA 8
#define ENTRY_CONTROL 12
#define ENTRY_MASK 1u

static uint16_t control(const struct pci_msix *msix)
{
        return le16_load(msix->pci->config + msix->cap + CAP_CONTROL);
}

bool pci_msix_enabled(const struct pci_msix *msix)
{
        return control(msix) & CONTROL_ENABLE;
}

static uint8_t *entry(struct pci_msix *msix, unsigned vector)
{
        return msix->table + vector * PCI_MSIX_ENTRY;
}

static bool masked(struct pci_msix *msix, unsigned vector)
{
        return (control(msix) & CONTROL_MASK) || (le32_load(entry(msix, vector) + ENTRY_CONTROL) & ENTRY_MASK);
}

static uint64_t pending_bit(unsigned vector)
{
        return 1ull << (vector % 64);
}

void pci_msix_raise(struct pci_msix *msix, unsigned vector)
{
        if (vector >= msix->n || !pci_msix_enabled(msix))
                return;
        if (masked(msix, vector)) {
                msix->pending[vector / 64] |= pending_bit(vector);
                return;
        }
        msix->pending[vector / 64] &= ~pending_bit(vector);
        msix->irqs->msi(msix->irqs, le64_load(entry(msix, vector)), le32_load(entry(msix, vector) + ENTRY_DATA));
}

static void send_pending(struct pci_msix *msix)
{
        for (unsigned vector = 0; vector < msix->n; vector++)
                if (msix->pending[vector / 64] & pending_bit(vector))
                        pci_msix_raise(msix, vector);
}

void pci_msix_written(struct pci_msix *msix, unsigned offset, unsigned size)
{
        if (offset < msix->cap + CAP_TABLE && msix->cap < offset + size)
                send_pending(msix);
}

/* The specification wants naturally aligned dwords and quadwords; others that stay within the table or the pending bits do no harm. */
static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
        struct pci_msix *msix = dev;
        uint64_t value = 0;

        if (off + size <= sizeof(msix->table))
                memcpy(&value, msix->table + off, size);
        else if (off >= PCI_MSIX_PENDING && off + size <= PCI_MSIX_PENDING + sizeof(msix->pending))
                memcpy(&value, (uint8_t *)msix->pending + (off - PCI_MSIX_PENDING), size);
        return le64toh(value);
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct pci_msix *msix = dev;
        unsigned vector = (unsigned)(off / PCI_MSIX_ENTRY);

        if (off + size > msix->n * PCI_MSIX_ENTRY || off % size)
                return;
        value = htole64(value);
        memcpy(msix->table + off, &value, size);
        if (msix->pending[vector / 64] & pending_bit(vector))
                pci_msix_raise(msix, vector);
}

static const struct bus_ops bar_ops = { .read = bar_read, .write = bar_write };

void pci_msix_reset(struct pci_msix *msix)
{
        memset(msix->table, 0, sizeof(msix->table));
        memset(msix->pending, 0, sizeof(msix->pending));
        for (unsigned vector = 0; vector < msix->n; vector++)
                le32_store(entry(msix, vector) + ENTRY_CONTROL, ENTRY_MASK);
}

int pci_msix_init(struct pci_msix *msix, struct pci_device *pci, struct irq_sink *irqs, unsigned n, unsigned bar)
{
        int cap;

        if (n == 0 || n > PCI_MSIX_MAX || bar >= PCI_BARS)
                return -EINVAL;
        cap = pci_device_add_cap(pci, CAP_ID, CAP_SIZE);
        if (cap < 0)
                return cap;
        *msix = (struct pci_msix){ .pci = pci, .irqs = irqs, .n = n, .cap = (unsigned)cap };
        le16_store(pci->config + cap + CAP_CONTROL, (uint16_t)(n - 1));
        le16_store(pci->writable + cap + CAP_CONTROL, CONTROL_ENABLE | CONTROL_MASK);
        le32_store(pci->config + cap + CAP_TABLE, bar);
        le32_store(pci->config + cap + CAP_PENDING, PCI_MSIX_PENDING | bar);
        pci_device_add_bar(pci, bar, PCI_BAR_MMIO32, PCI_MSIX_BAR_SIZE, &bar_ops, msix);
        pci_msix_reset(msix);
        return 0;
}
