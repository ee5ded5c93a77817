/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Code that changes: what an engine has cached of it must go, whichever way the bytes were written. */
#include "guest.h"

#define ALIAS TEST_VA

typedef uint32_t (*fn)(void);

static uint8_t *code;
static volatile uint32_t turn, answer;

/* mov $value, %eax; ret */
static void write_return(volatile uint8_t *p, uint32_t value)
{
        p[0] = 0xb8;
        memcpy((void *)(p + 1), &value, 4);
        p[5] = 0xc3;
}

static void serialize(void)
{
        cpuid(0, 0);
}

static void test_rewrite(void)
{
        for (uint32_t i = 0; i < 200; i++) {
                write_return(code, i * 3);
                serialize();
                CHECK(((fn)code)() == i * 3);
        }
}

static void test_alias(void)
{
        map(ALIAS, (uintptr_t)code, PTE_P | PTE_W);
        for (uint32_t i = 0; i < 50; i++) {
                write_return((uint8_t *)ALIAS, i + 1000); /* written there, run here */
                serialize();
                CHECK(((fn)code)() == i + 1000);
                write_return(code, i + 2000); /* and the other way round */
                serialize();
                CHECK(((fn)ALIAS)() == i + 2000);
        }
}

/* An instruction changes the one right behind it. On real processors the new one runs. */
static void test_next_instruction(void)
{
        for (uint32_t i = 0; i < 50; i++) {
                uint8_t *p = code + 256;
                uint32_t value = i + 3000;

                /* movl $value, 1(%rip) -> the immediate of the following mov $0, %eax; ret */
                p[0] = 0xc7;
                p[1] = 0x05;
                memcpy(p + 2, &(uint32_t){ 1 }, 4);
                memcpy(p + 6, &value, 4);
                write_return(p + 10, 0);
                serialize();
                CHECK(((fn)p)() == value);
        }
}

/* rep movsb, cmpxchg and a store over the end of the page write code, too. */
static void test_other_writes(void)
{
        uint8_t *p = code + 4096 - 3; /* crosses into the next page */
        uint8_t fresh[6];
        uint32_t old = 0;

        write_return(p, 1);
        serialize();
        CHECK(((fn)p)() == 1);
        write_return(fresh, 0x11223344);
        memcpy(p, fresh, 6);
        serialize();
        CHECK(((fn)p)() == 0x11223344);
        *(uint32_t *)(p + 1) = 0x55667788; /* one store in both pages */
        serialize();
        CHECK(((fn)p)() == 0x55667788);
        old = 0x55667788;
        CHECK(__atomic_compare_exchange_n((uint32_t *)(p + 1), &old, 0x99aabbcc, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
        serialize();
        CHECK(((fn)p)() == 0x99aabbcc);
        __atomic_exchange_n((uint8_t *)(p + 4), 0x12, __ATOMIC_SEQ_CST);
        serialize();
        CHECK(((fn)p)() == 0x12aabbcc);
}

/* The same address mapped to another page: no byte is written, the mapping changes. */
static void test_remap(void)
{
        uint8_t *other = page_alloc();

        write_return(code, 1);
        write_return(other, 2);
        for (unsigned i = 0; i < 20; i++) {
                map(ALIAS, (uintptr_t)(i & 1 ? other : code), PTE_P);
                CHECK(((fn)ALIAS)() == 1 + (i & 1));
        }
        /* A loop that runs hot before it changes. */
        map(ALIAS, (uintptr_t)code, PTE_P | PTE_W);
        for (unsigned i = 0; i < 2000; i++)
                if (((fn)code)() != 1)
                        fail("a hot function gave a wrong result");
        write_return((uint8_t *)ALIAS, 77);
        serialize();
        CHECK(((fn)code)() == 77);
}

/* An instruction over a page end that runs hot, and jumps to it from both pages, while the second page changes: by its mapping and by a write. */
static void test_remap_second(void)
{
        uint8_t *second[2] = { page_alloc(), page_alloc() };
        uint8_t *start = (uint8_t *)ALIAS + 4096 - 3, around[16];

        map(ALIAS, (uintptr_t)code, PTE_P | PTE_W);
        for (unsigned i = 0; i < 2; i++) {
                map(ALIAS + 4096, (uintptr_t)second[i], PTE_P | PTE_W);
                write_return(start, 0x01010101u * (i + 1));
        }
        memcpy(around, (uint8_t[]){ 0xe9, 0, 0, 0, 0 }, 5); /* jmp start, from the first page */
        memcpy(around + 1, &(uint32_t){ 4096 - 3 - 64 - 5 }, 4);
        memcpy((uint8_t *)ALIAS + 64, around, 5);
        for (unsigned i = 0; i < 400; i++) {
                uint32_t want = (i & 1 ? 0x02020202u : 0x01010101u) & 0xffff0000u;

                map(ALIAS + 4096, (uintptr_t)second[i & 1], PTE_P | PTE_W);
                for (unsigned k = 0; k < 20; k++) {
                        if ((((fn)(uintptr_t)start)() & 0xffff0000u) != want || (((fn)(ALIAS + 64))() & 0xffff0000u) != want)
                                fail("an instruction over a page end came from the wrong page");
                }
        }
        for (uint32_t i = 0; i < 200; i++) {
                start[4] = (uint8_t)i;
                serialize();
                for (unsigned k = 0; k < 3; k++)
                        if ((((fn)(ALIAS + 64))() >> 24) != i)
                                fail("an instruction over a page end has old bytes");
        }
}

/* Data beside code on one page: writes must go through and the code stay right. */
static void test_mixed_page(void)
{
        volatile uint32_t *data = (uint32_t *)(code + 2048);

        write_return(code + 1024, 5);
        *data = 0;
        serialize();
        for (unsigned i = 0; i < 500; i++)
                *data += ((fn)(code + 1024))();
        CHECK(*data == 2500);
}

static void other_cpu(unsigned cpu)
{
        uint32_t seen = 0;

        if (cpu != 1)
                return;
        for (;;) {
                while (turn == seen)
                        pause();
                seen = turn;
                serialize();
                answer = ((fn)code)();
                __atomic_store_n(&turn, seen + 1, __ATOMIC_SEQ_CST);
                seen++;
        }
}

/* One CPU writes what the other runs. */
static void test_cross_cpu(void)
{
        if (cpu_count() < 2) {
                print("one CPU only\n");
                return;
        }
        apic_enable(false);
        smp_start(other_cpu);
        for (uint32_t i = 0; i < 100; i++) {
                write_return(code, i + 5000);
                __atomic_store_n(&turn, 2 * i + 1, __ATOMIC_SEQ_CST);
                while (turn != 2 * i + 2)
                        pause();
                CHECK(answer == i + 5000);
        }
}

void guest_main(void)
{
        code = page_alloc();
        page_alloc(); /* right behind it */
        RUN(test_rewrite);
        RUN(test_alias);
        RUN(test_next_instruction);
        RUN(test_other_writes);
        RUN(test_remap);
        RUN(test_remap_second);
        RUN(test_mixed_page);
        RUN(test_cross_cpu);
}
