/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_ENABLE 0x800u
#define APIC_BASE_X2 0x400u
#define APIC_MMIO 0xfee00000ull
#define IOAPIC_MMIO 0xfec00000ull
#define SPURIOUS 0xff

static volatile bool x2apic; /* the same on all CPUs */

static void spurious(struct frame *f)
{
}

void apic_enable(bool x2)
{
        uint64_t base = rdmsr(MSR_APIC_BASE);

        if (x2 && !(cpuid(1, 0).c & 1u << 21))
                fail("no x2APIC");
        if (!x2 && (base & APIC_BASE_X2))
                wrmsr(MSR_APIC_BASE, base & ~(uint64_t)(APIC_BASE_ENABLE | APIC_BASE_X2)); /* the only way back */
        wrmsr(MSR_APIC_BASE, (base & ~(uint64_t)APIC_BASE_X2) | APIC_BASE_ENABLE);
        if (x2)
                wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2);
        x2apic = x2;
        irq_set_handler(SPURIOUS, spurious);
        apic_write(APIC_SVR, 0x100 | SPURIOUS);
        apic_write(APIC_TPR, 0);
}

uint32_t apic_read(unsigned reg)
{
        if (x2apic)
                return (uint32_t)rdmsr(0x800 + reg / 16);
        return *(volatile uint32_t *)(APIC_MMIO + reg);
}

void apic_write(unsigned reg, uint32_t v)
{
        if (x2apic)
                wrmsr(0x800 + reg / 16, v);
        else
                *(volatile uint32_t *)(APIC_MMIO + reg) = v;
}

void apic_send(uint32_t dest, uint32_t command)
{
        if (x2apic) {
                wrmsr(0x800 + APIC_ICR / 16, (uint64_t)dest << 32 | command);
                return;
        }
        apic_write(APIC_ICR + 16, dest << 24);
        apic_write(APIC_ICR, command);
        while (apic_read(APIC_ICR) & 0x1000)
                pause();
}

unsigned apic_id(void)
{
        uint32_t id = apic_read(APIC_ID);

        return x2apic ? id : id >> 24;
}

void apic_eoi(void)
{
        apic_write(APIC_EOI, 0);
}

uint32_t ioapic_read(unsigned reg)
{
        *(volatile uint32_t *)IOAPIC_MMIO = reg;
        return *(volatile uint32_t *)(IOAPIC_MMIO + 0x10);
}

void ioapic_write(unsigned reg, uint32_t v)
{
        *(volatile uint32_t *)IOAPIC_MMIO = reg;
        *(volatile uint32_t *)(IOAPIC_MMIO + 0x10) = v;
}

void ioapic_route(unsigned pin, unsigned vector, bool level, bool masked)
{
        ioapic_write(0x11 + 2 * pin, 0); /* to APIC 0 */
        ioapic_write(0x10 + 2 * pin, vector | (level ? 0x8000u : 0) | (masked ? 0x10000u : 0));
}

void pic_init(unsigned base, uint16_t mask)
{
        out8(0x20, 0x11);
        out8(0xa0, 0x11);
        out8(0x21, (uint8_t)base);
        out8(0xa1, (uint8_t)(base + 8));
        out8(0x21, 0x04);
        out8(0xa1, 0x02);
        out8(0x21, 0x01);
        out8(0xa1, 0x01);
        out8(0x21, (uint8_t)mask);
        out8(0xa1, (uint8_t)(mask >> 8));
}

void pic_eoi(unsigned irq)
{
        if (irq >= 8)
                out8(0xa0, 0x20);
        out8(0x20, 0x20);
}
