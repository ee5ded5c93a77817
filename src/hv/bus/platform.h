/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where the fixed hardware of the PC sits: the ACPI tables describe it and the devices implement it, and neither may
 * see the other. PIIX4-compatible numbers. */

#define ACPI_PM_BASE 0x600        /* PM1a event block, 4 bytes: status, enable */
#define ACPI_PM1A_CNT 0x604       /* 2 bytes; SLP_TYP for S5 is 0 */
#define ACPI_PM_TIMER 0x608       /* 4 bytes, 3.579545 MHz, 32 bits */
#define ACPI_GPE0_BASE 0xafe0     /* 4 bytes: status, enable */
#define ACPI_GPE_PCI 1            /* slots were filled or shall be emptied: see dev/pci-hotplug.h */
#define PCI_HOTPLUG_BASE 0xae00   /* 12 bytes */
#define ACPI_SMI_CMD 0xb2         /* write ACPI_ENABLE / ACPI_DISABLE */
#define ACPI_ENABLE_VALUE 0xf1
#define ACPI_DISABLE_VALUE 0xf0
#define ACPI_SCI_GSI 9            /* level, active high */
#define ACPI_RESET_PORT 0xcf9     /* value 0x06 */
#define IOAPIC_BASE 0xfec00000ULL
#define LAPIC_BASE 0xfee00000ULL
#define PCI_HOLE_START 0xc0000000ULL /* 32-bit MMIO window for PCI BARs, up to the IOAPIC */
#define PCI_HOLE_END 0xfec00000ULL
/* PIRQ routing: INTA..INTD of slot s use GSI 16 + ((s + pin) & 7), level, active high. */
#define PCI_GSI(slot, pin) (16u + (((slot) + (pin)) & 7u))
