/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Calls, returns and jumps between pages: an engine that remembers where they led before must notice when they lead elsewhere. */
#include "guest.h"

#define HIGH 0xffffffff90000000ull
#define OTHER 0xffffffff90100000ull
#define TIMES 3000
#define CR4_PGE (1ull << 7)

typedef uint64_t (*fn)(uint64_t);

static uint8_t *page[4];

/* Depth calls one inside the other. */
static uint64_t nested(uint64_t depth)
{
        uint64_t left = depth, seen = 0;

        asm volatile("call 1f\n\tjmp 2f\n"
                     "1:\tdec %0\n\tjz 3f\n\tcall 1b\n"
                     "3:\tinc %1\n\tret\n"
                     "2:" : "+r"(left), "+r"(seen) : : "cc", "memory");
        return seen;
}

static void test_deep(void)
{
        for (unsigned i = 0; i < 40; i++)
                CHECK(nested(400) == 400);
        for (unsigned depth = 240; depth < 270; depth++)
                CHECK(nested(depth) == depth);
}

/* A ret that is a jump, a call without a ret, and a return to the caller's caller. */
static uint64_t unbalanced(uint64_t n)
{
        uint64_t seen = 0;

        asm volatile("movq %1, %%rcx\n"
                     "1:\tleaq 2f(%%rip), %%rax\n\tpushq %%rax\n\tret\n\tud2\n"
                     "2:\tinc %0\n\tcall 3f\n\tud2\n"
                     "3:\taddq $8, %%rsp\n\tinc %0\n\tcall 4f\n\tjmp 6f\n"
                     "4:\tcall 5f\n\tud2\n"
                     "5:\taddq $8, %%rsp\n\tinc %0\n\tret\n"
                     "6:\tdec %%rcx\n\tjnz 1b" : "+r"(seen) : "r"(n) : "rax", "rcx", "cc", "memory");
        return seen;
}

static void test_unbalanced(void)
{
        CHECK(unbalanced(TIMES) == 3 * TIMES);
}

/* To a function whose flags differ from its caller's: user accesses are allowed in one of them only. */
static void test_access_flag(void)
{
        uint64_t seen = 0;

        if (!(cpuid(7, 0).b & 1u << 20)) {
                print("no SMAP\n");
                return;
        }
        write_cr4(read_cr4() | 1ull << 21);
        for (unsigned i = 0; i < TIMES; i++)
                asm volatile("call 1f\n\tclac\n\tstac\n\tcall 2f\n\tjmp 3f\n"
                             "1:\tstac\n\tinc %0\n\tret\n"
                             "2:\tclac\n\tinc %0\n\tret\n"
                             "3:" : "+r"(seen) : : "cc", "memory");
        write_cr4(read_cr4() & ~(1ull << 21));
        CHECK(seen == 2 * TIMES);
}

/* call to the page behind; add $value, %rax; ret */
static void write_caller(uint8_t *p, uint8_t value)
{
        static const uint8_t code[] = { 0xe8, 0xfb, 0x0f, 0, 0, 0x48, 0x83, 0xc0, 0, 0xc3 };

        memcpy(p, code, sizeof(code));
        p[8] = value;
}

/* lea value(%rdi), %rax; ret */
static void write_callee(uint8_t *p, uint8_t value)
{
        static const uint8_t code[] = { 0x48, 0x8d, 0x47, 0, 0xc3 };

        memcpy(p, code, sizeof(code));
        p[3] = value;
}

static uint64_t run_often(uint64_t at)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < TIMES; i++)
                sum += ((fn)at)(1);
        return sum;
}

static void map_pair(uint64_t at, unsigned first, unsigned second)
{
        map(at, (uintptr_t)page[first], PTE_P | PTE_W | PTE_G);
        map(at + 4096, (uintptr_t)page[second], PTE_P | PTE_W | PTE_G);
}

static void test_pages(void)
{
        write_caller(page[0], 10);
        write_callee(page[1], 3);
        write_callee(page[2], 5);
        write_caller(page[3], 20);
        map_pair(HIGH, 0, 1);
        CHECK(run_often(HIGH) == TIMES * 14);
        map_pair(HIGH, 0, 2); /* another page is called */
        CHECK(run_often(HIGH) == TIMES * 16);
        map_pair(HIGH, 3, 2); /* by another page */
        CHECK(run_often(HIGH) == TIMES * 26);
        map_pair(OTHER, 0, 1); /* the page at two addresses, beside different ones */
        map_pair(HIGH, 0, 2);
        for (unsigned i = 0; i < 10; i++) {
                CHECK(run_often(HIGH) == TIMES * 16);
                CHECK(run_often(OTHER) == TIMES * 14);
        }
        write_callee(page[2], 7); /* other code */
        CHECK(run_often(HIGH) == TIMES * 18);
        *pte_of(HIGH + 4096) = (uintptr_t)page[1] | PTE_P | PTE_W | PTE_G;
        write_cr4(read_cr4() & ~CR4_PGE);
        write_cr4(read_cr4() | CR4_PGE);
        CHECK(run_often(HIGH) == TIMES * 14);
        map(HIGH + 4096, 0, 0);
        TRY("call *%0", : : "r"(HIGH), "D"(1ull) : "rax");
        CHECK(trap.vector == 14 && (trap.error & ~PF_I) == 0 && trap.cr2 == HIGH + 4096);
}

/* push %rbx; mov %rdi, %rbx; call *%rsi; add $value, %rax; pop %rbx; ret: what it goes back to is another page by then. */
static void write_changer(uint8_t *p, uint8_t value)
{
        static const uint8_t code[] = { 0x53, 0x48, 0x89, 0xfb, 0xff, 0xd6, 0x48, 0x83, 0xc0, 0, 0x5b, 0xc3 };

        memcpy(p, code, sizeof(code));
        p[9] = value;
}

static uint64_t turn;

static uint64_t exchange(void)
{
        map(HIGH, (uintptr_t)page[++turn % 2], PTE_P | PTE_W | PTE_G);
        return 100;
}

static void test_return_to_other_page(void)
{
        write_changer(page[0], 1);
        write_changer(page[1], 2);
        map(HIGH, (uintptr_t)page[0], PTE_P | PTE_W | PTE_G);
        for (turn = 0; turn < 400;) {
                uint64_t got = ((uint64_t(*)(uint64_t, uint64_t(*)(void)))HIGH)(0, exchange);

                CHECK(got == 100 + turn % 2 + 1);
        }
}

void guest_main(void)
{
        for (unsigned i = 0; i < 4; i++)
                page[i] = page_alloc();
        write_cr4(read_cr4() | CR4_PGE);
        RUN(test_deep);
        RUN(test_unbalanced);
        RUN(test_access_flag);
        RUN(test_pages);
        RUN(test_return_to_other_page);
}
