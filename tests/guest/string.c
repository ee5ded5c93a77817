/* SPDX-License-Identifier: GPL-2.0-or-later */

/* String instructions: all sizes, both directions, faults in the middle, and port I/O by strings. */
#include "guest.h"

#define COM1 0x3f8

static uint8_t *pages; /* two in a row, both mapped at TEST_VA; the third there is missing */

static void test_move(void)
{
        uint8_t *a = pages, *b = pages + 4096;

        for (unsigned i = 0; i < 4096; i++)
                a[i] = (uint8_t)(i * 7);
        memset(b, 0, 4096);
        memcpy(b + 3, a + 1, 1000);
        CHECK(memcmp(b + 3, a + 1, 1000) == 0 && b[2] == 0 && b[1003] == 0);
        asm volatile("rep movsq" : : "S"(a), "D"(b), "c"(100) : "memory", "cc");
        CHECK(memcmp(a, b, 800) == 0);
        asm volatile("rep movsl" : : "S"(a + 1), "D"(b), "c"(100) : "memory", "cc");
        CHECK(memcmp(a + 1, b, 400) == 0);
        /* Overlap forwards repeats the first bytes. */
        a[0] = 0x11;
        asm volatile("rep movsb" : : "S"(a), "D"(a + 1), "c"(50) : "memory");
        CHECK(a[50] == 0x11 && a[25] == 0x11);
}

static void test_backwards(void)
{
        uint8_t *a = pages;
        void *si = a + 99, *di = a + 109;
        uint64_t n = 100;

        for (unsigned i = 0; i < 200; i++)
                a[i] = (uint8_t)i;
        asm volatile("std\n\trep movsb\n\tcld" : "+S"(si), "+D"(di), "+c"(n) : : "memory", "cc");
        CHECK(a[10] == 0 && a[109] == 99 && a[60] == 50);
        CHECK(si == a - 1 && di == a + 9 && n == 0);
}

static void test_scan(void)
{
        uint8_t *a = pages;
        void *di = a, *si;
        uint64_t n = 4096;
        bool zero;

        memset(a, 0x20, 4096);
        a[1234] = 0x41;
        asm volatile("repne scasb" : "+D"(di), "+c"(n), "=@ccz"(zero) : "a"(0x41) : "memory");
        CHECK(zero && di == a + 1235 && n == 4096 - 1235);
        memset(pages + 4096, 0x20, 4096);
        si = a;
        di = pages + 4096;
        n = 4096;
        asm volatile("repe cmpsb" : "+S"(si), "+D"(di), "+c"(n), "=@ccz"(zero) : : "memory");
        CHECK(!zero && si == a + 1235);
        n = 0;
        asm volatile("cmpb %%al, %%al\n\trepe cmpsb" : "+S"(si), "+D"(di), "+c"(n), "=@ccz"(zero) : : "memory");
        CHECK(zero); /* nothing done, flags kept */
}

/* RIP stays, and the registers say how far it went. */
static void test_fault(void)
{
        uint8_t *end = (uint8_t *)TEST_VA + 8192;
        uint64_t si, di, n;

        si = (uintptr_t)pages;
        di = (uintptr_t)end - 100;
        n = 300;
        TRY("rep movsb", : "+S"(si), "+D"(di), "+c"(n) : : "memory");
        CHECK(trapped_pf(PF_W, end));
        CHECK(di == (uintptr_t)end && si == (uintptr_t)pages + 100 && n == 200);
        di = (uintptr_t)end - 64;
        n = 100;
        TRY("rep stosq", : "+D"(di), "+c"(n) : "a"(0x5555555555555555ull) : "memory");
        CHECK(trapped_pf(PF_W, end) && n == 92 && di == (uintptr_t)end && pages[8191] == 0x55);
        si = (uintptr_t)end - 2;
        n = 7;
        TRY("rep lodsw", : "+S"(si), "+c"(n) : : "rax");
        CHECK(trapped_pf(0, end) && n == 6);
        /* Nothing to do: no fault. */
        di = 0x6000000000;
        n = 0;
        TRY("rep stosb", : "+D"(di), "+c"(n) : "a"(0) : "memory");
        CHECK(trap.vector == -1);
}

static void test_ports(void)
{
        static const char text[] = "written by outs\r\n";
        uint8_t *a = pages;
        const void *si = text;
        void *di = a;
        uint64_t n = sizeof(text) - 1;

        asm volatile("rep outsb" : "+S"(si), "+c"(n) : "d"(COM1) : "memory");
        CHECK(n == 0 && si == text + sizeof(text) - 1);
        memset(a, 0, 16);
        n = 4;
        asm volatile("rep insb" : "+D"(di), "+c"(n) : "d"(COM1 + 3) : "memory"); /* the line control register, four times */
        CHECK(n == 0 && di == a + 4 && a[0] == 0x03 && a[3] == 0x03 && a[4] == 0);
        /* A fault comes before the port is read. */
        di = (uint8_t *)TEST_VA + 8192;
        TRY("insb", : "+D"(di) : "d"(COM1 + 3) : "memory");
        CHECK(trapped_pf(PF_W, (uint8_t *)TEST_VA + 8192));
        CHECK(in8(0x2f7) == 0xff && in16(0x2f0) == 0xffff && in32(0x2f0) == 0xffffffff); /* nobody there */
}

/* Across the end of the ranges of two mappings, which are one here but swapped there. */
static void test_crossing(void)
{
        map(TEST_VA + 0x10000, (uintptr_t)pages + 4096, PTE_P | PTE_W);
        map(TEST_VA + 0x11000, (uintptr_t)pages, PTE_P | PTE_W);
        memset((void *)TEST_VA, 0xee, 8192);
        *(volatile uint64_t *)(TEST_VA + 0x11000 - 3) = 0x1122334455667788;
        CHECK(pages[8189] == 0x88 && pages[8191] == 0x66 && pages[0] == 0x55 && pages[4] == 0x11 && pages[5] == 0xee);
        CHECK(*(volatile uint64_t *)(TEST_VA + 0x11000 - 3) == 0x1122334455667788);
}

void guest_main(void)
{
        pages = page_alloc();
        if ((uint8_t *)page_alloc() != pages + 4096)
                fail("two pages in a row");
        map(TEST_VA, (uintptr_t)pages, PTE_P | PTE_W);
        map(TEST_VA + 4096, (uintptr_t)pages + 4096, PTE_P | PTE_W);
        RUN(test_move);
        RUN(test_backwards);
        RUN(test_scan);
        RUN(test_fault);
        RUN(test_ports);
        RUN(test_crossing);
}
