/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/machine/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/machine/aml.h"
#include "hv/machine/loader.h"

#define HEADER_SIZE 36u
#define FADT_SIZE 276u
#define FACS_SIZE 64u
#define RSDP_SIZE 36u

#define MADT_LAPIC 0
#define MADT_IOAPIC 1
#define MADT_OVERRIDE 2
#define MADT_LAPIC_NMI 4
#define MADT_PCAT_COMPAT 1u   /* there are 8259s too */
#define MADT_LEVEL_HIGH 0x0du /* MPS INTI flags: active high, level triggered */

/* FADT fixed feature flags (ACPI 6.4 table 5.10). PWR_BUTTON stays clear: the power button is fixed hardware. */
#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_SLP_BUTTON (1u << 5) /* set: not fixed hardware; there is none */
#define FADT_FIX_RTC (1u << 6)    /* set: RTC wake status is not in the fixed registers */
#define FADT_TMR_VAL_EXT (1u << 8)
#define FADT_RESET_REG_SUP (1u << 10)

/* IA-PC boot architecture flags (table 5.11). No i8042, and the CMOS RTC is there. */
#define BOOT_LEGACY_DEVICES (1u << 0)
#define BOOT_VGA_NOT_PRESENT (1u << 2)
#define BOOT_NO_ASPM (1u << 4)

#define GAS_IO 1
#define CMOS_CENTURY 0x32
#define COM1_PORT 0x3f8
#define COM1_IRQ 4
#define RTC_PORT 0x70
#define RTC_IRQ 8
#define PCI_SLOTS 32u
#define PCI_LINKS 8u /* GSI 16..23 */
#define PCI_FIRST_SLOT 1u /* that something may be plugged into */
#define NOTIFY_DEVICE_CHECK 1
#define NOTIFY_EJECT 3

struct builder {
        uint8_t *buf; /* image of [LOADER_ACPI_BASE, +LOADER_ACPI_SIZE) */
        size_t len;
};

/* Reserves n zeroed bytes; what the tables need at most is far below the space (test-acpi checks). */
static uint8_t *reserve(struct builder *b, size_t n, size_t align, uint64_t *ret_addr)
{
        size_t at = ALIGN_UP(b->len, align);

        if (at + n > LOADER_ACPI_SIZE)
                return NULL;
        b->len = at + n;
        *ret_addr = LOADER_ACPI_BASE + at;
        return b->buf + at;
}

static uint8_t checksum(const uint8_t *p, size_t n)
{
        uint8_t sum = 0;

        while (n--)
                sum = (uint8_t)(sum + *p++);
        return (uint8_t)-sum;
}

static void finish_table(uint8_t *t, const char *signature, size_t n, uint8_t revision)
{
        memcpy(t, signature, 4);
        le32_store(t + 4, (uint32_t)n);
        t[8] = revision;
        t[9] = 0;
        memcpy(t + 10, "DOMUS ", 6);
        memcpy(t + 16, "DOMUSPC ", 8);
        le32_store(t + 24, 1);
        memcpy(t + 28, "DOMU", 4);
        le32_store(t + 32, 1);
        t[9] = checksum(t, n);
}

/* --- DSDT ---------------------------------------------------------------------------------------------------- */

static void write_s5(struct aml *a)
{
        size_t package;

        aml_name(a, "_S5_");
        package = aml_package(a, 4);
        for (unsigned i = 0; i < 4; i++)
                aml_integer(a, 0); /* SLP_TYP for both control blocks, and two reserved */
        aml_end(a, package);
}

static void write_cpus(struct aml *a, unsigned cpus)
{
        for (unsigned i = 0; i < cpus; i++) {
                char name[8];
                size_t device;

                snprintf(name, sizeof(name), "CP%02X", i & 0xff);
                device = aml_device(a, name);
                aml_name(a, "_HID");
                aml_string(a, "ACPI0007");
                aml_name(a, "_UID");
                aml_integer(a, i);
                aml_end(a, device);
        }
}

static void link_name(char name[5], unsigned link)
{
        memcpy(name, "LNK0", 5);
        name[3] = (char)('0' + link);
}

/* Interrupt links that cannot be moved. They exist to say "active high", which a plain number in _PRT does not. */
static void write_link(struct aml *a, unsigned link)
{
        static const char *const resources[] = { "_PRS", "_CRS" };
        char name[5];
        size_t device;

        link_name(name, link);
        device = aml_device(a, name);
        aml_name(a, "_HID");
        aml_eisa_id(a, "PNP0C0F");
        aml_name(a, "_UID");
        aml_integer(a, link);
        for (unsigned i = 0; i < ARRAY_SIZE(resources); i++) {
                size_t crs;

                aml_name(a, resources[i]);
                crs = aml_resources(a);
                aml_interrupt(a, 16 + link);
                aml_resources_end(a, crs);
        }
        aml_end(a, aml_method(a, "_SRS", 1));
        aml_end(a, device);
}

static void write_prt(struct aml *a)
{
        size_t prt;

        aml_name(a, "_PRT");
        prt = aml_package(a, PCI_SLOTS * 4);
        for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
                for (unsigned pin = 0; pin < 4; pin++) {
                        size_t entry = aml_package(a, 4);
                        char name[5];

                        link_name(name, PCI_GSI(slot, pin) - 16);
                        aml_integer(a, slot << 16 | 0xffff);
                        aml_integer(a, pin);
                        aml_reference(a, name);
                        aml_integer(a, 0);
                        aml_end(a, entry);
                }
        }
        aml_end(a, prt);
}

static void write_isa_device(struct aml *a, const char *name, const char *hid, uint16_t port, uint8_t len, unsigned irq)
{
        size_t device = aml_device(a, name), crs;

        aml_name(a, "_HID");
        aml_eisa_id(a, hid);
        aml_name(a, "_UID");
        aml_integer(a, 1);
        aml_name(a, "_CRS");
        crs = aml_resources(a);
        aml_io(a, port, len);
        aml_irq(a, irq);
        aml_resources_end(a, crs);
        aml_end(a, device);
}

/* The ports of the fixed ACPI hardware, so that nothing else is put there. */
static void write_board_resources(struct aml *a)
{
        size_t device = aml_device(a, "BRD0"), crs;

        aml_name(a, "_HID");
        aml_eisa_id(a, "PNP0C02");
        aml_name(a, "_UID");
        aml_integer(a, 1);
        aml_name(a, "_CRS");
        crs = aml_resources(a);
        aml_io(a, ACPI_PM_BASE, 0x40);
        aml_io(a, ACPI_GPE0_BASE, 4);
        aml_io(a, ACPI_SMI_CMD, 2);
        aml_io(a, PCI_HOTPLUG_BASE, 12);
        aml_resources_end(a, crs);
        aml_end(a, device);
}

static void write_pci_windows(struct aml *a)
{
        size_t crs;

        aml_name(a, "_CRS");
        crs = aml_resources(a);
        aml_bus_window(a, 0, 0xff);
        aml_io(a, 0xcf8, 8);
        aml_io_window(a, 0, 0xcf7);
        aml_io_window(a, 0xd00, 0xffff);
        aml_memory_window(a, 0xa0000, 0xbffff);
        aml_memory_window(a, (uint32_t)PCI_HOLE_START, (uint32_t)PCI_HOLE_END - 1);
        aml_resources_end(a, crs);
}

/* --- Slots that can be filled and emptied: see dev/pci-hotplug.h for the registers --- */

static void slot_name(char name[8], unsigned slot)
{
        snprintf(name, 8, "S%03X", slot & 0xff);
}

static void write_slot(struct aml *a, unsigned slot)
{
        char name[8];
        size_t device, method;

        slot_name(name, slot);
        device = aml_device(a, name);
        aml_name(a, "_ADR");
        aml_integer(a, slot << 16);
        aml_name(a, "_SUN");
        aml_integer(a, slot);
        method = aml_method(a, "_EJ0", 1);
        aml_store(a);
        aml_integer(a, 1u << slot);
        aml_reference(a, "PCEJ");
        aml_end(a, method);
        aml_end(a, device);
}

static void write_slot_notify(struct aml *a, unsigned local, unsigned slot, uint8_t value)
{
        size_t condition = aml_if_bit(a, local, 1u << slot);
        char name[8];

        slot_name(name, slot);
        aml_notify(a, name, value);
        aml_end(a, condition);
}

static void write_hotplug(struct aml *a)
{
        size_t fields, method;

        aml_io_region(a, "PCHP", PCI_HOTPLUG_BASE, 12);
        fields = aml_fields(a, "PCHP");
        aml_field(a, "PCFI");
        aml_field(a, "PCRQ");
        aml_field(a, "PCEJ");
        aml_end(a, fields);
        for (unsigned slot = PCI_FIRST_SLOT; slot < PCI_SLOTS; slot++)
                write_slot(a, slot);
        method = aml_method(a, "PCNT", 0);
        aml_store(a);
        aml_reference(a, "PCFI");
        aml_local(a, 0);
        aml_store(a);
        aml_reference(a, "PCRQ");
        aml_local(a, 1);
        for (unsigned slot = PCI_FIRST_SLOT; slot < PCI_SLOTS; slot++) {
                write_slot_notify(a, 0, slot, NOTIFY_DEVICE_CHECK);
                write_slot_notify(a, 1, slot, NOTIFY_EJECT);
        }
        aml_end(a, method);
}

static void write_events(struct aml *a)
{
        size_t scope = aml_scope(a, "\\_GPE"), method;
        char name[8];

        snprintf(name, sizeof(name), "_E%02X", ACPI_GPE_PCI);
        method = aml_method(a, name, 0);
        aml_call(a, "\\_SB_PCI0PCNT");
        aml_end(a, method);
        aml_end(a, scope);
}

static void write_pci(struct aml *a)
{
        size_t device = aml_device(a, "PCI0");

        aml_name(a, "_HID");
        aml_eisa_id(a, "PNP0A03");
        aml_name(a, "_UID");
        aml_integer(a, 0);
        aml_name(a, "_BBN");
        aml_integer(a, 0);
        write_pci_windows(a);
        write_prt(a);
        write_isa_device(a, "COM1", "PNP0501", COM1_PORT, 8, COM1_IRQ);
        write_isa_device(a, "RTC0", "PNP0B00", RTC_PORT, 2, RTC_IRQ);
        write_board_resources(a);
        write_hotplug(a);
        aml_end(a, device);
}

static void write_namespace(struct aml *a, unsigned cpus)
{
        size_t scope = aml_scope(a, "\\_SB_");

        write_cpus(a, cpus);
        for (unsigned i = 0; i < PCI_LINKS; i++)
                write_link(a, i);
        write_pci(a);
        aml_end(a, scope);
        write_events(a);
        write_s5(a);
}

static int build_dsdt(struct builder *b, unsigned cpus, uint64_t *ret)
{
        uint8_t *t = reserve(b, HEADER_SIZE, 16, ret);
        struct aml a;

        if (!t)
                return -ENOSPC;
        a = (struct aml){ .buf = b->buf + b->len, .cap = LOADER_ACPI_SIZE - b->len };
        write_namespace(&a, cpus);
        if (a.overflow)
                return -ENOSPC;
        b->len += a.len;
        finish_table(t, "DSDT", HEADER_SIZE + a.len, 2);
        return 0;
}

/* --- the other tables ------------------------------------------------------------------------------------------ */

static int build_facs(struct builder *b, uint64_t *ret)
{
        uint8_t *t = reserve(b, FACS_SIZE, 64, ret);

        if (!t)
                return -ENOSPC;
        memcpy(t, "FACS", 4);
        le32_store(t + 4, FACS_SIZE);
        t[32] = 2; /* version */
        return 0;
}

/* Generic address structure: a port of the given width. */
static void write_gas(uint8_t *p, uint16_t port, unsigned bytes)
{
        p[0] = GAS_IO;
        p[1] = (uint8_t)(bytes * 8);
        p[2] = 0;
        p[3] = (uint8_t)(bytes > 4 ? 0 : bytes == 4 ? 3 : bytes); /* access size: 1 byte, 2 word, 3 dword */
        le64_store(p + 4, port);
}

static void write_fadt_blocks(uint8_t *t)
{
        le32_store(t + 56, ACPI_PM_BASE);
        le32_store(t + 64, ACPI_PM1A_CNT);
        le32_store(t + 76, ACPI_PM_TIMER);
        le32_store(t + 80, ACPI_GPE0_BASE);
        t[88] = 4; /* lengths: PM1 event, PM1 control, PM2 control, timer, GPE0 */
        t[89] = 2;
        t[90] = 0;
        t[91] = 4;
        t[92] = 4;
        write_gas(t + 148, ACPI_PM_BASE, 4);
        write_gas(t + 172, ACPI_PM1A_CNT, 2);
        write_gas(t + 208, ACPI_PM_TIMER, 4);
        write_gas(t + 220, ACPI_GPE0_BASE, 4);
}

static int build_fadt(struct builder *b, uint64_t facs, uint64_t dsdt, uint64_t *ret)
{
        uint8_t *t = reserve(b, FADT_SIZE, 16, ret);

        if (!t)
                return -ENOSPC;
        le32_store(t + 36, (uint32_t)facs);
        le32_store(t + 40, (uint32_t)dsdt);
        t[45] = 4; /* preferred profile: enterprise server */
        le16_store(t + 46, ACPI_SCI_GSI);
        le32_store(t + 48, ACPI_SMI_CMD);
        t[52] = ACPI_ENABLE_VALUE;
        t[53] = ACPI_DISABLE_VALUE;
        write_fadt_blocks(t);
        le16_store(t + 96, 0xfff); /* no C2, no C3 */
        le16_store(t + 98, 0xfff);
        t[108] = CMOS_CENTURY;
        le16_store(t + 109, BOOT_LEGACY_DEVICES | BOOT_VGA_NOT_PRESENT | BOOT_NO_ASPM);
        le32_store(t + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT |
                                    FADT_RESET_REG_SUP);
        write_gas(t + 116, ACPI_RESET_PORT, 1);
        t[128] = 0x06; /* the value that resets */
        t[131] = 3;    /* minor version */
        le64_store(t + 140, dsdt);
        memcpy(t + 268, "DomusVM", 8); /* hypervisor vendor identity */
        finish_table(t, "FACP", FADT_SIZE, 6);
        return 0;
}

static uint8_t *madt_entry(uint8_t *p, uint8_t type, uint8_t len)
{
        p[0] = type;
        p[1] = len;
        return p + len;
}

static uint8_t *madt_override(uint8_t *p, uint8_t irq, uint32_t gsi, uint16_t flags)
{
        p[2] = 0; /* ISA */
        p[3] = irq;
        le32_store(p + 4, gsi);
        le16_store(p + 8, flags);
        return madt_entry(p, MADT_OVERRIDE, 10);
}

static uint8_t *madt_lapic(uint8_t *p, unsigned index)
{
        p[2] = (uint8_t)index;
        p[3] = (uint8_t)index;
        le32_store(p + 4, 1); /* enabled */
        return madt_entry(p, MADT_LAPIC, 8);
}

static int build_madt(struct builder *b, unsigned cpus, uint64_t *ret)
{
        size_t n = HEADER_SIZE + 8 + cpus * 8u + 12 + 2 * 10 + 6;
        uint8_t *t = reserve(b, n, 16, ret), *p;

        if (!t)
                return -ENOSPC;
        le32_store(t + 36, (uint32_t)LAPIC_BASE);
        le32_store(t + 40, MADT_PCAT_COMPAT);
        p = t + 44;
        for (unsigned i = 0; i < cpus; i++)
                p = madt_lapic(p, i);
        p[2] = 0; /* id */
        le32_store(p + 4, (uint32_t)IOAPIC_BASE);
        le32_store(p + 8, 0); /* its first GSI */
        p = madt_entry(p, MADT_IOAPIC, 12);
        p = madt_override(p, 0, 2, 0); /* the PIT; polarity and trigger as the bus has them */
        p = madt_override(p, ACPI_SCI_GSI, ACPI_SCI_GSI, MADT_LEVEL_HIGH);
        p[2] = 0xff; /* all processors: NMI at LINT1 */
        p[5] = 1;
        madt_entry(p, MADT_LAPIC_NMI, 6);
        finish_table(t, "APIC", n, 4);
        return 0;
}

/* RSDT and XSDT differ in the width of their entries. */
static int build_root(struct builder *b, const uint64_t *tables, unsigned n_tables, unsigned width, uint64_t *ret)
{
        size_t n = HEADER_SIZE + (size_t)n_tables * width;
        uint8_t *t = reserve(b, n, 16, ret);

        if (!t)
                return -ENOSPC;
        for (unsigned i = 0; i < n_tables; i++) {
                if (width == 8)
                        le64_store(t + HEADER_SIZE + i * 8, tables[i]);
                else
                        le32_store(t + HEADER_SIZE + i * 4, (uint32_t)tables[i]);
        }
        finish_table(t, width == 8 ? "XSDT" : "RSDT", n, 1);
        return 0;
}

static void fill_rsdp(uint8_t *p, uint64_t rsdt, uint64_t xsdt)
{
        memcpy(p, "RSD PTR ", 8);
        memcpy(p + 9, "DOMUS ", 6);
        p[15] = 2;
        le32_store(p + 16, (uint32_t)rsdt);
        le32_store(p + 20, RSDP_SIZE);
        le64_store(p + 24, xsdt);
        p[8] = checksum(p, 20);
        p[32] = checksum(p, RSDP_SIZE);
}

static int build_all(struct builder *b, unsigned cpus, uint64_t *ret_rsdp)
{
        uint64_t facs = 0, dsdt = 0, tables[2], rsdt = 0, xsdt = 0;
        uint8_t *rsdp = reserve(b, RSDP_SIZE, 16, ret_rsdp); /* first: scans for it look at 16-byte steps */
        int r = rsdp ? 0 : -ENOSPC;

        if (r == 0)
                r = build_facs(b, &facs);
        if (r == 0)
                r = build_dsdt(b, cpus, &dsdt);
        if (r == 0)
                r = build_fadt(b, facs, dsdt, &tables[0]);
        if (r == 0)
                r = build_madt(b, cpus, &tables[1]);
        if (r == 0)
                r = build_root(b, tables, ARRAY_SIZE(tables), 4, &rsdt);
        if (r == 0)
                r = build_root(b, tables, ARRAY_SIZE(tables), 8, &xsdt);
        if (r == 0)
                fill_rsdp(rsdp, rsdt, xsdt);
        return r;
}

int acpi_build(struct guest_memory *mem, unsigned cpus, uint64_t *ret_rsdp)
{
        struct builder b = { 0 };
        int r;

        /* APIC ids are a byte in the MADT's entries and 0xff means all. */
        if (cpus == 0 || cpus > 254)
                return -EINVAL;
        b.buf = calloc(1, LOADER_ACPI_SIZE);
        if (!b.buf)
                return -ENOMEM;
        r = build_all(&b, cpus, ret_rsdp);
        if (r == 0)
                r = guest_write(mem, LOADER_ACPI_BASE, b.buf, b.len);
        free(b.buf);
        return r;
}
