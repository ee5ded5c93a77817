/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/lapic.h"

#include <string.h>

#include "hv/bus/check.h"

enum { CPUS = 4 };
enum { TPR = 0x80, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SPIV = 0xf0, ICR = 0x300, ICR2 = 0x310, LVT_TIMER = 0x320,
       TMICT = 0x380, TMCCT = 0x390, TDCR = 0x3e0 };

static struct lapic_bus *bus;
static unsigned woken;
static int eoi_vector;
static uint64_t now, tsc;

static void cb_wake(void *opaque, unsigned index)
{
        woken |= 1u << index;
}

static void cb_eoi(void *opaque, uint8_t vector)
{
        eoi_vector = vector;
}

static uint64_t cb_tsc(void *opaque, unsigned index)
{
        return tsc;
}

static uint64_t cb_now(void *opaque)
{
        return now;
}

static struct lapic *cpu(unsigned i)
{
        return lapic_bus_get(bus, i);
}

static void setup(bool x2apic)
{
        for (unsigned i = 0; i < CPUS; i++) {
                lapic_reset(cpu(i), i == 0, false);
                if (x2apic)
                        CHECK(lapic_set_base_msr(cpu(i), lapic_base_msr(cpu(i)) | 0x400));
                if (x2apic)
                        CHECK(lapic_msr_write(cpu(i), 0x80f, 0x1ff));
                else
                        lapic_mmio_write(cpu(i), SPIV, 0x1ff);
        }
        woken = 0;
        eoi_vector = -1;
        now = tsc = 1000;
}

/* Which CPUs have the vector pending; takes it. */
static unsigned receivers(int vector)
{
        unsigned set = 0;

        for (unsigned i = 0; i < CPUS; i++) {
                if (lapic_pending(cpu(i)) != vector)
                        continue;
                set |= 1u << i;
                CHECK_EQ(lapic_ack(cpu(i)), vector);
                lapic_eoi(cpu(i));
        }
        return set;
}

static void msi(unsigned dest, bool logical, uint32_t data)
{
        CHECK_EQ(lapic_bus_msi(bus, 0xfee00000 | dest << 12 | (logical ? 4 : 0), data), 0);
}

static void test_priorities(void)
{
        struct lapic *l = cpu(0);

        setup(false);
        CHECK_EQ(lapic_pending(l), -1);
        msi(0, false, 0x41);
        msi(0, false, 0x63);
        CHECK_EQ(woken, 1);
        CHECK_EQ(lapic_pending(l), 0x63);
        CHECK_EQ(lapic_ack(l), 0x63);
        CHECK_EQ(lapic_pending(l), -1); /* a lower class waits */
        msi(0, false, 0x68);
        CHECK_EQ(lapic_pending(l), -1); /* so does the same class */
        msi(0, false, 0x71);
        CHECK_EQ(lapic_ack(l), 0x71);
        CHECK_EQ(lapic_mmio_read(l, 0xa0), 0x70);
        lapic_eoi(l);
        lapic_eoi(l);
        CHECK_EQ(lapic_ack(l), 0x68);
        lapic_eoi(l);
        lapic_mmio_write(l, TPR, 0x40);
        CHECK_EQ(lapic_pending(l), -1);
        lapic_mmio_write(l, TPR, 0x3f);
        CHECK_EQ(lapic_ack(l), 0x41);
        lapic_mmio_write(l, EOI, 0);
        CHECK_EQ(eoi_vector, -1); /* edges are not broadcast */
}

static void test_level(void)
{
        setup(false);
        msi(1, false, 0x8000 | 0x4000 | 0x55);
        CHECK_EQ(lapic_mmio_read(cpu(1), 0x180 + 0x20), 1u << 21);
        CHECK_EQ(lapic_ack(cpu(1)), 0x55);
        lapic_eoi(cpu(1));
        CHECK_EQ(eoi_vector, 0x55);
}

static void test_disabled(void)
{
        setup(false);
        lapic_mmio_write(cpu(0), SPIV, 0xff);
        msi(0, false, 0x41);
        CHECK_EQ(lapic_pending(cpu(0)), -1);
        CHECK(lapic_mmio_read(cpu(0), LVT_TIMER) & 0x10000);
        msi(0, false, 0x400); /* NMI needs no software enable */
        CHECK(lapic_take_nmi(cpu(0)));
        CHECK(!lapic_take_nmi(cpu(0)));
        CHECK_EQ(lapic_bus_msi(bus, 0xfed00000, 0x41), -22);
}

static void test_msi_routes(void)
{
        setup(false);
        msi(2, false, 0x42);
        CHECK_EQ(receivers(0x42), 4);
        msi(0xff, false, 0x42);
        CHECK_EQ(receivers(0x42), 0xf);
        for (unsigned i = 0; i < CPUS; i++)
                lapic_mmio_write(cpu(i), LDR, 1u << (24 + i));
        msi(0xa, true, 0x42); /* flat */
        CHECK_EQ(receivers(0x42), 0xa);
        msi(0xc, true, 0x142); /* lowest priority: one of them */
        CHECK_EQ(receivers(0x42), 4);
        for (unsigned i = 0; i < CPUS; i++) {
                lapic_mmio_write(cpu(i), DFR, 0x0fffffff);
                lapic_mmio_write(cpu(i), LDR, (i / 2) << 28 | 1u << (24 + i % 2));
        }
        msi(0x13, true, 0x42); /* cluster 1 */
        CHECK_EQ(receivers(0x42), 0xc);
}

static void test_ipi(void)
{
        setup(false);
        lapic_mmio_write(cpu(0), ICR2, 3u << 24);
        lapic_mmio_write(cpu(0), ICR, 0x45);
        CHECK_EQ(receivers(0x45), 8);
        CHECK_EQ(lapic_mmio_read(cpu(0), ICR), 0x45);
        lapic_mmio_write(cpu(1), ICR, 1u << 18 | 0x45);
        CHECK_EQ(receivers(0x45), 2);
        lapic_mmio_write(cpu(1), ICR, 2u << 18 | 0x45);
        CHECK_EQ(receivers(0x45), 0xf);
        lapic_mmio_write(cpu(1), ICR, 3u << 18 | 0x45);
        CHECK_EQ(receivers(0x45), 0xd);
        lapic_mmio_write(cpu(1), ICR, 1u << 18 | 0x5); /* illegal vector */
        lapic_mmio_write(cpu(1), 0x280, 0);
        CHECK_EQ(lapic_mmio_read(cpu(1), 0x280), 0x20);
}

static void test_startup(void)
{
        uint8_t page;

        setup(false);
        lapic_mmio_write(cpu(0), ICR2, 2u << 24);
        lapic_mmio_write(cpu(0), ICR, 0xc500);
        lapic_mmio_write(cpu(0), ICR, 0x8500); /* de-assert */
        lapic_mmio_write(cpu(0), ICR, 0x699);
        CHECK_EQ(woken, 4);
        CHECK(lapic_has_init_or_sipi(cpu(2)));
        CHECK(!lapic_has_init_or_sipi(cpu(1)));
        CHECK(lapic_take_init(cpu(2)));
        lapic_reset(cpu(2), false, true);
        CHECK(lapic_take_sipi(cpu(2), &page));
        CHECK_EQ(page, 0x99);
        CHECK(!lapic_has_init_or_sipi(cpu(2)));
}

static void test_x2apic(void)
{
        uint64_t value;

        setup(true);
        CHECK(lapic_msr_read(cpu(3), 0x802, &value));
        CHECK_EQ(value, 3);
        CHECK(lapic_msr_read(cpu(3), 0x80d, &value));
        CHECK_EQ(value, 8);
        CHECK(!lapic_msr_write(cpu(3), 0x80d, 8));  /* read only */
        CHECK(!lapic_msr_write(cpu(3), 0x80b, 1));  /* EOI takes 0 */
        CHECK(!lapic_msr_read(cpu(3), 0x80b, &value)); /* write only */
        CHECK(!lapic_msr_read(cpu(3), 0x831, &value)); /* ICR is one register */
        CHECK(lapic_msr_write(cpu(0), 0x830, 1ULL << 32 | 0x46));
        CHECK_EQ(receivers(0x46), 2);
        CHECK(lapic_msr_write(cpu(0), 0x830, 0x5ULL << 32 | 0x800 | 0x46)); /* logical */
        CHECK_EQ(receivers(0x46), 5);
        CHECK(lapic_msr_write(cpu(0), 0x830, 0x10005ULL << 32 | 0x800 | 0x46)); /* another cluster */
        CHECK_EQ(receivers(0x46), 0);
        CHECK(lapic_msr_write(cpu(0), 0x830, 0xffffffffULL << 32 | 0x46));
        CHECK_EQ(receivers(0x46), 0xf);
        CHECK(lapic_msr_write(cpu(2), 0x83f, 0x47));
        CHECK_EQ(receivers(0x47), 4);
        msi(0x6, true, 0x48);
        CHECK_EQ(receivers(0x48), 6);
        CHECK(!lapic_set_base_msr(cpu(0), 0xfee00900)); /* not straight back to xAPIC */
        CHECK(lapic_set_base_msr(cpu(0), 0xfee00100));
        CHECK(!lapic_msr_read(cpu(0), 0x802, &value));
}

static void test_oneshot(void)
{
        struct lapic *l = cpu(0);

        setup(false);
        CHECK_EQ(lapic_timer_poll(l), UINT64_MAX);
        lapic_mmio_write(l, LVT_TIMER, 0x50);
        lapic_mmio_write(l, TDCR, 3); /* 16 */
        lapic_mmio_write(l, TMICT, 100);
        CHECK_EQ(lapic_timer_poll(l), 1600);
        now += 800;
        CHECK_EQ(lapic_mmio_read(l, TMCCT), 50);
        CHECK_EQ(lapic_timer_poll(l), 800);
        now += 800;
        CHECK_EQ(lapic_timer_poll(l), 0);
        CHECK_EQ(receivers(0x50), 1);
        CHECK_EQ(lapic_timer_poll(l), UINT64_MAX);
        CHECK_EQ(lapic_mmio_read(l, TMCCT), 0);
}

static void test_periodic(void)
{
        struct lapic *l = cpu(0);

        setup(false);
        lapic_mmio_write(l, LVT_TIMER, 0x20051);
        lapic_mmio_write(l, TDCR, 0xb); /* 1 */
        lapic_mmio_write(l, TMICT, 1000);
        now += 3500;
        CHECK_EQ(lapic_timer_poll(l), 0);
        CHECK_EQ(receivers(0x51), 1);
        CHECK_EQ(lapic_timer_poll(l), 500);
        now += 500;
        lapic_mmio_write(l, LVT_TIMER, 0x30051); /* masked: counts, but does not interrupt */
        CHECK_EQ(lapic_timer_poll(l), 0);
        CHECK_EQ(receivers(0x51), 0);
}

static void test_deadline(void)
{
        struct lapic *l = cpu(0);

        setup(false);
        lapic_set_tsc_deadline(l, 5000);
        CHECK_EQ(lapic_tsc_deadline(l), 0); /* another mode: ignored */
        lapic_mmio_write(l, LVT_TIMER, 0x40052);
        lapic_set_tsc_deadline(l, 2001000);
        CHECK_EQ(lapic_tsc_deadline(l), 2001000);
        CHECK_EQ(lapic_timer_poll(l), 1000001); /* 2 GHz */
        tsc = 2001000;
        CHECK_EQ(lapic_timer_poll(l), 0);
        CHECK_EQ(receivers(0x52), 1);
        CHECK_EQ(lapic_tsc_deadline(l), 0);
        lapic_set_tsc_deadline(l, UINT64_MAX);
        CHECK(lapic_timer_poll(l) > 1ULL << 40);
        lapic_set_tsc_deadline(l, 0);
        CHECK_EQ(lapic_timer_poll(l), UINT64_MAX);
}

static void test_save(void)
{
        uint8_t regs[X86_LAPIC_REGS_SIZE], again[X86_LAPIC_REGS_SIZE];
        struct lapic *l = cpu(1);

        setup(false);
        lapic_mmio_write(l, LVT_TIMER, 0x20051);
        lapic_mmio_write(l, TMICT, 1000);
        lapic_mmio_write(l, LDR, 0x02000000);
        lapic_mmio_write(l, TPR, 0x20);
        msi(1, false, 0x61);
        lapic_ack(l);
        msi(1, false, 0x8051);
        now += 200;
        lapic_save(l, regs);
        lapic_reset(l, false, false);
        lapic_load(l, regs);
        lapic_save(l, again);
        CHECK(memcmp(regs, again, sizeof(regs)) == 0);
        lapic_eoi(l);
        CHECK_EQ(lapic_ack(l), 0x51);
}

int main(void)
{
        static const struct lapic_callbacks cb = {
                .wake = cb_wake, .eoi = cb_eoi, .tsc = cb_tsc, .now = cb_now, .tsc_khz = 2000000
        };

        CHECK_EQ(lapic_bus_new(CPUS, &cb, NULL, &bus), 0);
        CHECK(!lapic_bus_get(bus, CPUS));
        test_priorities();
        test_level();
        test_disabled();
        test_msi_routes();
        test_ipi();
        test_startup();
        test_x2apic();
        test_oneshot();
        test_periodic();
        test_deadline();
        test_save();
        lapic_bus_free(bus);
        return 0;
}
