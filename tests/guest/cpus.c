/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"

#define TRAMPOLINE 0x8000ull

extern uint8_t ap_trampoline[], ap_trampoline_end[];
extern volatile uint32_t ap_arrived;
static void (*volatile ap_fn)(unsigned cpu);
static volatile uint32_t ap_ready;
static volatile uint32_t apic_ids[CPUS_MAX];

const uint8_t *acpi_table(const char *signature)
{
        const uint8_t *rsdp = (const uint8_t *)guest_rsdp, *root;
        unsigned width;

        if (!rsdp)
                return NULL;
        width = rsdp[15] >= 2 ? 8 : 4; /* XSDT, else RSDT */
        root = width == 8 ? *(uint8_t *const *)(rsdp + 24) : (uint8_t *)(uintptr_t) * (const uint32_t *)(rsdp + 16);
        for (uint32_t i = 36; i < *(const uint32_t *)(root + 4); i += width) {
                const uint8_t *t = NULL;

                memcpy(&t, root + i, width);
                if (memcmp(t, signature, 4) == 0)
                        return t;
        }
        return NULL;
}

unsigned cpu_count(void)
{
        const uint8_t *madt = acpi_table("APIC");
        unsigned n = 0;

        if (!madt)
                return 1;
        for (uint32_t i = 44; i < *(const uint32_t *)(madt + 4); i += madt[i + 1])
                if (madt[i] == 0 && (madt[i + 4] & 1))
                        n++;
        return n < CPUS_MAX ? n : CPUS_MAX;
}

unsigned cpu_index(void)
{
        uint32_t id = cpuid(1, 0).b >> 24;

        for (unsigned i = 0; i < CPUS_MAX; i++)
                if (apic_ids[i] == id)
                        return i;
        return 0;
}

/* From start.S; cpu counts from 1. */
void ap_start(unsigned cpu);
void ap_start(unsigned cpu)
{
        trap_load(cpu);
        apic_ids[cpu] = cpuid(1, 0).b >> 24;
        __atomic_add_fetch(&ap_ready, 1, __ATOMIC_SEQ_CST);
        ap_fn(cpu);
}

static void delay(uint64_t cycles)
{
        uint64_t start = rdtsc();

        while (rdtsc() - start < cycles)
                pause();
}

void smp_start(void (*fn)(unsigned cpu))
{
        unsigned want = cpu_count() - 1;

        apic_ids[0] = cpuid(1, 0).b >> 24;
        ap_fn = fn;
        memcpy((void *)TRAMPOLINE, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
        apic_send(0, 0xc4500); /* INIT, all but self */
        delay(1000000);
        apic_send(0, 0xc4600 | TRAMPOLINE >> 12);
        delay(1000000);
        if (ap_arrived < want)
                apic_send(0, 0xc4600 | TRAMPOLINE >> 12);
        while (ap_ready < want)
                pause();
}
