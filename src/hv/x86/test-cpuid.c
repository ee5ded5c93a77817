/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/cpuid.h"

#include <string.h>

#include "hv/bus/check.h"
#include "hv/x86/state.h"

static const struct cpuid_regs intel = { .eax = 0xd, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69 };
static const struct cpuid_regs amd = { .eax = 0xd, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65 };

static void base(struct cpuid_table *t, const struct cpuid_regs *vendor)
{
        t->n = 0;
        cpuid_set(t, 0, 0, false, *vendor);
        cpuid_set(t, 1, 0, false, (struct cpuid_regs){ .eax = 0x1234, .ebx = 0x55550855 });
        cpuid_set(t, 4, 0, true, (struct cpuid_regs){ .eax = 0x1c004121 });
        cpuid_set(t, 4, 3, true, (struct cpuid_regs){ .eax = 0x1c03c163 });
        cpuid_set(t, 0xd, 0, true, (struct cpuid_regs){ .eax = 7 });
        cpuid_set(t, 0x80000000, 0, false, (struct cpuid_regs){ .eax = 0x80000008 });
        cpuid_set(t, 0x80000008, 0, false, (struct cpuid_regs){ .eax = 0x3028 });
}

static void test_lookup(void)
{
        struct cpuid_table t;

        base(&t, &intel);
        CHECK_EQ(cpuid_query(&t, 1, 7).eax, 0x1234); /* the subleaf is not significant */
        CHECK_EQ(cpuid_query(&t, 4, 3).eax, 0x1c03c163);
        CHECK_EQ(cpuid_query(&t, 4, 2).eax, 0);
        CHECK_EQ(cpuid_query(&t, 3, 0).eax, 0); /* in range, not there */
        CHECK_EQ(cpuid_query(&t, 0x20, 0).eax, 7); /* beyond: the last basic leaf */
        CHECK_EQ(cpuid_query(&t, 0x80000020, 0).eax, 7);
        CHECK_EQ(cpuid_query(&t, 0x40000005, 0).eax, 0);
        base(&t, &amd);
        CHECK_EQ(cpuid_query(&t, 0x20, 0).eax, 0);
        cpuid_set(&t, 1, 0, false, (struct cpuid_regs){ .eax = 5 });
        CHECK_EQ(cpuid_query(&t, 1, 0).eax, 5);
}

static void test_finish(const struct cpuid_regs *vendor)
{
        struct cpuid_topology topo = { .cpus = 6, .index = 5 };
        struct cpuid_table t;
        struct cpuid_regs r;

        base(&t, vendor);
        cpuid_finish(&t, &topo, KVM_PV_CLOCKSOURCE2, 2600000);
        CHECK(t.n < CPUID_ENTRIES_MAX / 2);
        r = cpuid_query(&t, 1, 0);
        CHECK_EQ(r.ebx, 0x05060800 | 0);
        CHECK(r.ecx >> 31 && (r.ecx >> 21 & 1) && (r.ecx >> 24 & 1));
        CHECK(r.edx >> 28 & 1);
        r = cpuid_query(&t, 0xb, 1);
        CHECK_EQ(r.eax, 3);
        CHECK_EQ(r.ebx, 6);
        CHECK_EQ(r.edx, 5);
        r = cpuid_query(&t, 0xb, 9);
        CHECK_EQ(r.ebx, 0);
        CHECK_EQ(r.ecx, 9);
        CHECK_EQ(r.edx, 5);
        r = cpuid_query(&t, 0x40000000, 0);
        CHECK(memcmp(&r.ebx, "KVMKVMKVM\0\0\0", 12) == 0);
        CHECK_EQ(r.eax, 0x40000010);
        CHECK_EQ(cpuid_query(&t, 0x40000001, 0).eax, KVM_PV_CLOCKSOURCE2);
        CHECK_EQ(cpuid_query(&t, 0x40000010, 0).eax, 2600000);
}

static void test_vendors(void)
{
        struct cpuid_topology topo = { .cpus = 4, .index = 1 };
        struct cpuid_table t;
        struct cpuid_regs r;

        base(&t, &intel);
        cpuid_finish(&t, &topo, 0, 2600000);
        CHECK_EQ(cpuid_query(&t, 4, 0).eax, 0x0c000121); /* one thread, four cores */
        CHECK_EQ(cpuid_query(&t, 4, 3).eax, 0x0c00c163);
        r = cpuid_query(&t, 0x15, 0);
        CHECK_EQ((uint64_t)r.ecx * r.ebx / r.eax, 2600000000);
        base(&t, &amd);
        cpuid_finish(&t, &topo, 0, 2600000);
        CHECK_EQ(cpuid_query(&t, 0x80000008, 0).ecx, 0x2003);
        CHECK_EQ(cpuid_query(&t, 0x80000008, 0).eax, 0x3028);
}

static void test_reset(void)
{
        static struct x86_state s;

        x86_state_reset(&s, 3, false);
        CHECK_EQ(s.seg[X86_CS].base + s.rip, 0xfffffff0);
        CHECK_EQ(s.mp_state, X86_MP_WAIT_SIPI);
        CHECK_EQ(s.apic_base, 0xfee00800);
        CHECK_EQ(s.lapic[0x23], 3);
        CHECK_EQ(s.xsave[0] | s.xsave[1] << 8, 0x37f);
        x86_state_reset(&s, 0, true);
        CHECK_EQ(s.mp_state, X86_MP_RUNNABLE);
        CHECK_EQ(s.apic_base, 0xfee00900);
}

int main(void)
{
        test_lookup();
        test_finish(&intel);
        test_finish(&amd);
        test_vendors();
        test_reset();
        return 0;
}
