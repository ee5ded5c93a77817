/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Is there a machine at all: serial line, CPUID, the time stamp counter, the command line, the ACPI tables. */
#include "guest.h"

static bool sums_to_zero(const uint8_t *p, size_t n)
{
        uint8_t sum = 0;

        for (size_t i = 0; i < n; i++)
                sum = (uint8_t)(sum + p[i]);
        return sum == 0;
}

static void check_cpuid(void)
{
        struct cpuid leaf = cpuid(0, 0);
        char vendor[13] = { 0 };

        memcpy(vendor, &leaf.b, 4);
        memcpy(vendor + 4, &leaf.d, 4);
        memcpy(vendor + 8, &leaf.c, 4);
        print("cpu %s, leaves up to %x\n", vendor, leaf.a);
        CHECK(leaf.a >= 7);
        CHECK(cpuid(1, 0).d & 1u << 15); /* cmov */
        CHECK(cpuid(1, 0).c & 1u << 31); /* hypervisor */
        CHECK(cpuid(0x80000001, 0).d & 1u << 29);
}

static void check_tsc(void)
{
        uint64_t last = rdtsc(), now;

        for (unsigned i = 0; i < 100; i++) {
                now = rdtsc();
                CHECK(now >= last);
                last = now;
        }
}

static void check_acpi(void)
{
        static const char *const names[] = { "FACP", "APIC" };

        CHECK(guest_rsdp != 0 && sums_to_zero((uint8_t *)guest_rsdp, 20));
        for (unsigned i = 0; i < 2; i++) {
                const uint8_t *t = acpi_table(names[i]);

                CHECK(t != NULL && sums_to_zero(t, *(const uint32_t *)(t + 4)));
        }
}

void guest_main(void)
{
        print("hello from the guest\n");
        print("command line: %s\n", guest_cmdline);
        CHECK(has_word("smoke"));
        check_cpuid();
        check_tsc();
        if (guest_rsdp)
                check_acpi();
        else
                print("no RSDP from this loader\n");
}
