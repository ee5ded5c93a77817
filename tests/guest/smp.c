/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Several CPUs: start by SIPI, atomic instructions, memory order, interprocessor interrupts, TLB shootdown. */
#include "guest.h"

#define IPI_COUNT 0x40
#define IPI_FLUSH 0x41
#define TURNS 3000u
#define IPIS 200u
#define FLUSHES 50u

static unsigned cpus;
static volatile uint64_t counters[5] __attribute__((aligned(64)));
static volatile uint64_t pair[2] __attribute__((aligned(16)));
static volatile uint32_t lock_word;
static volatile uint64_t under_lock;
static volatile unsigned phase, done;
static volatile unsigned ipis[CPUS_MAX], flushes;
static void *flush_pages[2];

static void barrier(unsigned n)
{
        __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&phase, __ATOMIC_SEQ_CST) < n)
                pause();
}

/* CPU 0: waits for all others at the barrier, then opens the next phase. */
static void next_phase(unsigned n)
{
        while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < cpus - 1)
                pause();
        done = 0;
        __atomic_store_n(&phase, n, __ATOMIC_SEQ_CST);
}

static void count(void)
{
        for (unsigned i = 0; i < TURNS; i++) {
                uint64_t old;

                asm volatile("lock incq %0" : "+m"(counters[0]));
                old = 1;
                asm volatile("lock xaddq %0, %1" : "+r"(old), "+m"(counters[1]));
                asm volatile("lock addb $1, %0" : "+m"(*(volatile uint8_t *)&counters[2]));
                old = counters[3];
                while (!__atomic_compare_exchange_n(&counters[3], &old, old + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                        ;
                asm volatile("lock addq %1, %0" : "+m"(*(volatile uint64_t *)((char *)counters + 60 - 28)) : "r"(0ull));
        }
}

static void count_pair(void)
{
        if (has_word("lenient"))
                return; /* an emulating /dev/kvm does not have cmpxchg16b */
        for (unsigned i = 0; i < TURNS / 4; i++) {
                bool ok;

                do {
                        uint64_t lo = pair[0], hi = pair[1];

                        asm volatile("lock cmpxchg16b %1"
                                     : "=@ccz"(ok), "+m"(pair), "+a"(lo), "+d"(hi)
                                     : "b"(lo + 1), "c"(hi + 2)
                                     : "memory");
                } while (!ok);
        }
}

static void count_locked(void)
{
        for (unsigned i = 0; i < TURNS / 4; i++) {
                while (__atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE))
                        pause();
                under_lock = under_lock + 1;
                __atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE);
        }
}

static void on_count(struct frame *f)
{
        ipis[cpu_index()]++;
        apic_eoi();
}

static void on_flush(struct frame *f)
{
        invlpg((void *)TEST_VA);
        __atomic_add_fetch(&flushes, 1, __ATOMIC_SEQ_CST);
        apic_eoi();
}

/* Waits in hlt with interrupts on until the phase is n. */
static void sleep_until(unsigned n)
{
        while (__atomic_load_n(&phase, __ATOMIC_SEQ_CST) < n)
                wait_irq();
}

static volatile uint64_t seen[CPUS_MAX];
static volatile bool watching;

static void watch_page(unsigned cpu)
{
        irq_enable();
        while (watching)
                seen[cpu] = *(volatile uint64_t *)TEST_VA;
        irq_disable();
}

static void other_cpu(unsigned cpu)
{
        apic_enable(has_word("x2apic"));
        barrier(1);
        count();
        barrier(2);
        count_pair();
        barrier(3);
        count_locked();
        barrier(4);
        __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
        sleep_until(5);
        __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
        watch_page(cpu);
        barrier(6);
}

static void test_counters(void)
{
        next_phase(1);
        count();
        next_phase(2);
        CHECK(counters[0] == (uint64_t)TURNS * cpus);
        CHECK(counters[1] == (uint64_t)TURNS * cpus);
        CHECK((counters[2] & 0xff) == (TURNS * cpus & 0xff) && counters[2] < 256);
        CHECK(counters[3] == (uint64_t)TURNS * cpus);
        count_pair();
        next_phase(3);
        CHECK_STRICT(pair[0] == (uint64_t)TURNS / 4 * cpus && pair[1] == (uint64_t)TURNS / 4 * 2 * cpus);
        count_locked();
        next_phase(4);
        CHECK(under_lock == (uint64_t)TURNS / 4 * cpus);
}

static unsigned sum_ipis(void)
{
        unsigned n = 0;

        for (unsigned i = 1; i < cpus; i++)
                n += ipis[i];
        return n;
}

/* Each is waited for, so that none may be merged with the next. */
static void test_ipis(void)
{
        while (done < cpus - 1)
                pause();
        done = 0;
        for (unsigned i = 1; i <= IPIS; i++) {
                if (i % 2)
                        apic_send(0, 0xc4000 | IPI_COUNT); /* all but self */
                else
                        for (unsigned id = 0; id < cpus; id++)
                                if (id != apic_id())
                                        apic_send(id, 0x4000 | IPI_COUNT);
                while (sum_ipis() < i * (cpus - 1))
                        pause();
        }
        CHECK(sum_ipis() == IPIS * (cpus - 1));
        /* To itself. */
        apic_send(0, 0x44000 | IPI_COUNT);
        irq_enable();
        for (unsigned i = 0; i < 1000000 && ipis[0] == 0; i++)
                pause();
        irq_disable();
        CHECK(ipis[0] == 1);
}

static bool all_see(uint64_t value)
{
        for (unsigned i = 1; i < cpus; i++)
                while (seen[i] != value)
                        pause();
        return true;
}

/* The others read a page all the time; after the shootdown they must see the new one and never the old again. */
static void test_shootdown(void)
{
        watching = true;
        __atomic_store_n(&phase, 5, __ATOMIC_SEQ_CST);
        apic_send(0, 0xc4000 | IPI_COUNT);
        while (done < cpus - 1)
                pause();
        done = 0;
        for (unsigned i = 1; i <= FLUSHES; i++) {
                uint8_t *page = flush_pages[i & 1];

                *(volatile uint64_t *)page = i;
                flushes = 0;
                map(TEST_VA, (uintptr_t)page, PTE_P);
                apic_send(0, 0xc4000 | IPI_FLUSH);
                while (__atomic_load_n(&flushes, __ATOMIC_SEQ_CST) < cpus - 1)
                        pause();
                *(volatile uint64_t *)flush_pages[~i & 1] = 0xdead;
                all_see(i);
        }
        for (unsigned i = 1; i < cpus; i++)
                CHECK(seen[i] == FLUSHES);
        watching = false;
        next_phase(6);
}

void guest_main(void)
{
        cpus = cpu_count();
        print("%u CPUs\n", cpus);
        irq_set_handler(IPI_COUNT, on_count);
        irq_set_handler(IPI_FLUSH, on_flush);
        flush_pages[0] = page_alloc();
        flush_pages[1] = page_alloc();
        map(TEST_VA, (uintptr_t)flush_pages[0], PTE_P);
        apic_enable(has_word("x2apic"));
        if (cpus == 1)
                fail("this guest needs more CPUs");
        smp_start(other_cpu);
        RUN(test_counters);
        RUN(test_ipis);
        RUN(test_shootdown);
}
