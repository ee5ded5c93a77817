/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A guest that does its worst: garbage to every port and to device memory. It must only harm itself: the test is that
 * domus-vm lives, says how it ended, and lets itself be stopped. Words: "triple" ends in a triple fault, "spin" never ends. */
#include "guest.h"

#define DEBUG_EXIT 0xf4

static uint32_t seed = 12345;

static uint32_t random(void)
{
        seed = seed * 1664525 + 1013904223;
        return seed >> 3;
}

/* Those that would end the guest on purpose: reset by 0xcf9, 0x64, 0x92; power off by PM1a control; debug exit. */
static bool ends_guest(uint16_t port)
{
        return (port >= DEBUG_EXIT && port < DEBUG_EXIT + 4) || (port >= 0xcf6 && port <= 0xcff) || port == 0x64 || port == 0x92 ||
               (port >= 0x600 && port < 0x610) || port == 0x61 || port == 0x63 || port == 0x8f || port == 0x91 ||
               (port >= 0xf1 && port < 0xf4);
}

static void all_ports(void)
{
        for (uint32_t port = 0; port < 0x10000; port++) {
                /* Most of the space is empty and one look at each part of it is enough. */
                if (port > 0x1000 && port % 64 != 0 && (port < 0xafe0 || port > 0xaff0))
                        continue;
                if (ends_guest((uint16_t)port))
                        continue;
                if (port < 0x3f0 || port > 0x400) { /* the serial line stays usable for the report */
                        out8((uint16_t)port, (uint8_t)random());
                        if (port % 4 == 0 && !ends_guest((uint16_t)(port + 3)))
                                out32((uint16_t)port, random());
                        if (port % 2 == 0 && !ends_guest((uint16_t)(port + 1)))
                                out16((uint16_t)port, (uint16_t)random());
                }
                in8((uint16_t)port);
                in32((uint16_t)port);
        }
}

static void pci_garbage(void)
{
        out32(0xcf8, 0x80000000u);
        if (in32(0xcf8) != 0x80000000u) {
                print("no PCI host bridge\n");
                return;
        }
        for (unsigned i = 0; i < 500; i++) {
                out32(0xcf8, 0x80000000u | (random() & 0xfffffc));
                in32(0xcfc);
                out16(0xcfc, (uint16_t)random());
                out32(0xcfc, random());
                in8((uint16_t)(0xcfc + random() % 4));
        }
}

static void mmio_range(uint64_t base, uint32_t length, unsigned times)
{
        for (unsigned i = 0; i < times; i++) {
                volatile uint8_t *p = (uint8_t *)(base + random() % (length - 8));

                switch (random() % 8) {
                case 0:
                        *p = (uint8_t)random();
                        break;
                case 1:
                        *(volatile uint16_t *)p = (uint16_t)random();
                        break;
                case 2:
                        *(volatile uint64_t *)p = random();
                        break;
                case 3:
                        *(volatile uint32_t *)((uintptr_t)p & ~3ull) = random();
                        break;
                case 4:
                        (void)*(volatile uint64_t *)p;
                        break;
                case 5:
                        (void)*p;
                        break;
                default:
                        (void)*(volatile uint32_t *)((uintptr_t)p & ~3ull);
                        break;
                }
        }
}

static void all_mmio(void)
{
        mmio_range(0xa0000, 0x20000, 100);
        mmio_range(0xfec00000, 0x1000, 1500);
        mmio_range(0xfec01000, 0x1ff000, 100);
        mmio_range(0xff000000, 0x1000000 - 16, 100);
        mmio_range(0xc0000000, 0x3ec00000, 300);
}

/* Random interrupt commands, but none to itself that would restart it: the local APIC, too, takes anything. */
static void apic_garbage(void)
{
        apic_enable(false);
        for (unsigned i = 0; i < 300; i++) {
                unsigned reg = random() % 0x40 * 0x10;

                if (reg >= 0x2f0 && reg < 0x380)
                        apic_write(reg, random() & ~0x700u); /* no local INIT */
                else if (reg != APIC_ICR)
                        apic_write(reg, random());
                apic_read(reg);
        }
        for (unsigned i = 0; i < 100; i++) {
                apic_write(APIC_ICR + 16, (random() % 14 + 2) << 24);
                apic_write(APIC_ICR, (random() & 0x3c7ff & ~0xc0000u) | 0x20);
        }
        apic_enable(false);
}

static void odd_msrs(void)
{
        for (unsigned i = 0; i < 300; i++) {
                uint32_t msr = i % 3 == 0 ? random() % 0x1000 : i % 3 == 1 ? 0xc0000000 + random() % 0x200 : 0x4b564d00 + random() % 16;

                if (msr == 0xc0000080 || msr == 0x1b || (msr & 0xffffff00) == 0x800 || msr == 0xc0000100 || msr == 0xc0000101)
                        continue;
                TRY("rdmsr", : : "c"(msr) : "rax", "rdx");
                if (msr < 0x4b564d00 || msr > 0x4b564e00)
                        TRY("wrmsr", : : "c"(msr), "a"(random()), "d"(random() % 8) : "memory");
        }
}

static void triple_fault(void)
{
        struct __attribute__((packed)) {
                uint16_t limit;
                uint64_t base;
        } none = { 0, 0 };

        asm volatile("lidt %0\n\tint3" : : "m"(none));
}

/* What it brings upon itself. */
static void on_any(struct frame *f)
{
}

void guest_main(void)
{
        irq_set_handler(2, on_any);
        for (unsigned i = 32; i < 256; i++)
                irq_set_handler(i, on_any);
        if (has_word("triple"))
                triple_fault();
        if (has_word("spin"))
                for (;;)
                        asm volatile("cli");
        RUN(all_ports);
        RUN(pci_garbage);
        RUN(all_mmio);
        RUN(apic_garbage);
        RUN(odd_msrs);
}
