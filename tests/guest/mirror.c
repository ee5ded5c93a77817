/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The memory of a program in ring 3, at addresses all over its half: what an engine that maps it into its own process must get right. */
#include "mirror.h"

#define ROUNDS 40
#define ENGINE_LOW 0x60000000ull /* see dbt/low.c */
#define ENGINE_LOW_END 0x80000000ull
#define CR3_KEEP (1ull << 63)
#define CPUID1_PCID (1u << 17)
#define CPUID7_INVPCID (1u << 10)

/* --- loads and stores ------------------------------------------------------------------------------------------------ */

static const struct {
        unsigned size;
        const uint8_t *copy, *store;
} sizes[] = {
        { 1, u_copy1, u_store1 }, { 2, u_copy2, u_store2 }, { 4, u_copy4, u_store4 }, { 8, u_copy8, u_store }, { 16, u_copy16, u_store16 }, { 32, u_copy32, u_store32 },
};

static unsigned n_sizes(void)
{
        return avx ? 6 : 5;
}

static void copy_one(uint64_t va, unsigned k, unsigned from, unsigned to)
{
        uint8_t *target = at(page[2]), old[128 + 32];
        unsigned n = sizes[k].size, first = to < 64 ? 0 : to - 64, lead = to - first, room = 2 * PAGE - first < sizeof(old) ? 2 * PAGE - first : sizeof(old);

        memcpy(old, target + first, room);
        memcpy(old + lead, (uint8_t *)at(page[0]) + from, n);
        fresh();
        user.rsi = va + from;
        user.rdi = va + 0x80000 + to;
        start(sizes[k].copy);
        EXPECT(done());
        EXPECT(memcmp(old, target + first, room) == 0);
}

static void test_sizes(void)
{
        for (unsigned i = 0; i < N_PLACES; i++) {
                set_pair(places[i], 0, USER_W);
                set_pair(places[i] + 0x80000, 2, USER_W);
                fill(page[0], 2 * PAGE);
                fill(page[2], 2 * PAGE);
                for (unsigned k = 0; k < n_sizes(); k++) {
                        unsigned n = sizes[k].size;
                        const unsigned offsets[] = { 0, 1, 2048, 4096 - n, 4096 - n + 1, 4096 - n / 2, 4095, 8192 - n };

                        for (unsigned a = 0; a < 8; a++)
                                copy_one(places[i], k, offsets[a], offsets[(a * 3 + k) % 8]);
                }
        }
}

static void test_first_touch(void)
{
        for (unsigned i = 0; i < N_PLACES; i++) {
                uint64_t va = places[i], a = number(), b = number();

                set(va, page[0] | USER_W);
                put(page[0] + 64, a);
                fresh();
                user.rsi = va + 64;
                start(u_load);
                EXPECT(done() && user.rax == a);
                EXPECT((*pte(va) & (PTE_A | PTE_D)) == PTE_A);
                user.rbx = b;
                start(u_load_store_load);
                EXPECT(done() && user.rax == a && user.rcx == b && word(page[0] + 64) == b);
                EXPECT((*pte(va) & (PTE_A | PTE_D)) == (PTE_A | PTE_D));
                /* The first touch is a write, or a read and write at once. */
                set(va, page[0] | USER_W);
                fresh();
                user.rdi = va + 64;
                user.rax = 5;
                start(u_add);
                EXPECT(done() && word(page[0] + 64) == b + 5);
                EXPECT((*pte(va) & (PTE_A | PTE_D)) == (PTE_A | PTE_D));
        }
}

static void test_accessed_dirty(void)
{
        for (unsigned i = 0; i < N_PLACES; i++) {
                uint64_t va = places[i];

                set(va, page[0] | USER_W);
                fresh();
                user.rdi = user.rsi = va + 8;
                start(u_store);
                EXPECT(done() && (*pte(va) & PTE_D));
                *pte(va) &= ~PTE_D;
                invlpg((void *)va);
                start(u_load);
                EXPECT(done() && !(*pte(va) & PTE_D));
                start(u_store);
                EXPECT(done() && (*pte(va) & PTE_D));
                *pte(va) &= ~(PTE_A | PTE_D);
                invlpg((void *)va);
                EXPECT(!(*pte(va) & PTE_A));
                start(u_load);
                EXPECT(done() && (*pte(va) & (PTE_A | PTE_D)) == PTE_A);
                /* Flushed all at once. */
                start(u_store);
                *pte(va) &= ~PTE_D;
                write_cr3(read_cr3());
                start(u_store);
                EXPECT(done() && (*pte(va) & PTE_D));
                /* A refused write is none. */
                set(va, page[0] | USER);
                start(u_store);
                EXPECT(faulted(PF_P | PF_W | PF_U, va + 8) && !(*pte(va) & PTE_D));
        }
}

static void test_presence(void)
{
        for (unsigned i = 0; i < N_PLACES; i++) {
                uint64_t va = places[i], a = number();

                set(va, 0);
                put(page[0], a);
                fresh();
                user.rsi = user.rdi = va;
                start(u_load);
                EXPECT(faulted(PF_U, va));
                *pte(va) = page[0] | USER_W; /* from absent to present nothing has to be flushed */
                go_on();
                EXPECT(done() && user.rax == a);
                user.rax = ~a;
                start(u_store);
                EXPECT(done() && word(page[0]) == ~a);
                set(va, page[0] | USER);
                start(u_store);
                EXPECT(faulted(PF_P | PF_W | PF_U, va));
                start(u_load);
                EXPECT(done() && user.rax == ~a);
                user.rax = a;
                start(u_store);
                EXPECT(faulted(PF_P | PF_W | PF_U, va));
                *pte(va) = page[0] | USER_W;
                go_on();
                EXPECT(done() && word(page[0]) == a);
                set(va, 0);
                start(u_store);
                EXPECT(faulted(PF_W | PF_U, va));
                start(u_add);
                EXPECT(faulted(PF_W | PF_U, va));
                start(u_load1);
                EXPECT(faulted(PF_U, va));
                EXPECT(word(page[0]) == a);
        }
}

/* Nothing of an access over two pages happens if one of them is missing or cannot be written. */
static void crossing(uint64_t va, unsigned k)
{
        unsigned n = sizes[k].size, left = n / 2;
        uint64_t to = va + PAGE - left;
        uint8_t old[64], *around = (uint8_t *)at(page[2]) + PAGE - 32, source[32];

        set_pair(va, 2, USER_W);
        set_pair(va + 0x80000, 0, USER_W);
        fill(page[0], 2 * PAGE);
        memcpy(source, at(page[0]), n);
        fresh();
        user.rsi = va + 0x80000;
        user.rdi = va + 0x80000 + 2048;
        start(sizes[k].copy); /* what is stored below is in the register now */
        EXPECT(done());
        memcpy(old, around, 64);
        user.rdi = user.rsi = to;
        set(va + PAGE, 0);
        start(sizes[k].store);
        EXPECT(faulted(PF_W | PF_U, va + PAGE) && memcmp(old, around, 64) == 0);
        start(sizes[k].copy);
        EXPECT(faulted(PF_U, va + PAGE) && memcmp(old, around, 64) == 0);
        set(va + PAGE, page[3] | USER);
        start(sizes[k].store);
        EXPECT(faulted(PF_P | PF_W | PF_U, va + PAGE) && memcmp(old, around, 64) == 0);
        set_pair(va, 2, USER_W);
        set(va, 0);
        start(sizes[k].store);
        EXPECT(faulted(PF_W | PF_U, to) && memcmp(old, around, 64) == 0);
        set(va, page[2] | USER);
        start(sizes[k].store);
        EXPECT(faulted(PF_P | PF_W | PF_U, to) && memcmp(old, around, 64) == 0);
        *pte(va) = page[2] | USER_W;
        go_on();
        memcpy(old + 32 - left, source, n);
        EXPECT(done() && memcmp(old, around, 64) == 0);
}

static void test_crossing(void)
{
        for (unsigned i = 0; i < N_PLACES; i++)
                for (unsigned k = 1; k < n_sizes(); k++)
                        if (strict || sizes[k].size <= 8)
                                crossing(places[i], k);
}

/* What the kernel has, null pointers, and addresses that are none. */
static void test_not_theirs(void)
{
        static const uint64_t theirs[] = { 0x100000, 0x1ffff8, 0x200000, 0x3ffff8, HIGH + 0x800000 };
        static const uint64_t nowhere[] = { 0x800000000000, 0xffff7ffffffffff8, 0x8000000000000000, 0x7fffffffffffff00, 0x1000000000000 };

        fresh();
        for (unsigned i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++) {
                user.rsi = user.rdi = theirs[i];
                start(u_load);
                EXPECT(faulted(PF_P | PF_U, theirs[i]));
                start(u_store);
                EXPECT(faulted(PF_P | PF_U | PF_W, theirs[i]));
        }
        for (unsigned i = 0; i < 0x10000; i += 0x1238) {
                user.rsi = user.rdi = i;
                start(u_load);
                EXPECT(faulted(PF_U, i));
                start(u_store);
                EXPECT(faulted(PF_U | PF_W, i));
                start(u_add);
                EXPECT(faulted(PF_U | PF_W, i));
        }
        for (unsigned i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
                user.rsi = user.rdi = nowhere[i];
                start(u_load);
                EXPECT(user.vector == 13 && user.error == 0 && unchanged());
                start(u_store);
                EXPECT(user.vector == 13 && user.error == 0 && unchanged());
                user.rsp = nowhere[i] & ~7ull;
                start(u_push);
                EXPECT(((user.vector == 12 || !strict) && user.error == 0 && unchanged()) || nowhere[i] == 0x800000000000);
                user.rsp = STACK;
        }
        /* The last page of the lower half, and over its end. */
        set(0x7ffffffff000, page[0] | USER_W);
        put(page[0] + 4088, 99);
        user.rsi = user.rdi = 0x7ffffffffff8;
        start(u_load);
        EXPECT(done() && user.rax == 99);
        user.rax = 98;
        start(u_store);
        EXPECT(done() && word(page[0] + 4088) == 98);
        user.rsi = user.rdi = 0x7ffffffffffc;
        start(u_load);
        EXPECT(user.vector == 13 && unchanged());
        start(u_store);
        EXPECT(user.vector == 13 && unchanged() && word(page[0] + 4088) == 98);
        set(0x7ffffffff000, 0);
        /* A page in the same table that is the kernel's. */
        set(places[0], page[0] | PTE_P | PTE_W);
        user.rsi = user.rdi = places[0] + 16;
        start(u_load);
        EXPECT(faulted(PF_P | PF_U, places[0] + 16));
        start(u_store);
        EXPECT(faulted(PF_P | PF_U | PF_W, places[0] + 16));
}

/* --- other mappings --------------------------------------------------------------------------------------------------- */

static void test_remap(void)
{
        for (unsigned i = 0; i < N_PLACES; i++) {
                uint64_t va = places[i];

                for (unsigned k = 0; k < 4; k++) {
                        set(va, page[k] | USER_W);
                        EXPECT_PAGE(va, page[k]);
                }
                for (unsigned k = 0; k < 4; k++) {
                        *pte(va) = page[k] | USER_W;
                        write_cr3(read_cr3());
                        EXPECT_PAGE(va, page[k]);
                }
                /* One of two that lie side by side. */
                set_pair(va, 0, USER_W);
                EXPECT_PAGE(va, page[0]);
                EXPECT_PAGE(va + PAGE, page[1]);
                set(va + PAGE, page[4] | USER_W);
                EXPECT_PAGE(va, page[0]);
                EXPECT_PAGE(va + PAGE, page[4]);
                /* A table above goes. */
                *entry_of(space, va, 1) &= ~PTE_P;
                invlpg((void *)va);
                user.rsi = va;
                start(u_load);
                EXPECT(faulted(PF_U, va));
                *entry_of(space, va, 1) |= PTE_P;
                go_on();
                EXPECT(done());
                EXPECT_PAGE(va, page[0]);
        }
}

static void test_global(void)
{
        uint64_t va = places[1];

        set(va, page[0] | USER_W | PTE_G);
        EXPECT_PAGE(va, page[0]);
        *pte(va) = page[1] | USER_W | PTE_G;
        put(page[0], 10);
        put(page[1], 11);
        write_cr3(read_cr3());
        user.rsi = va;
        start(u_load);
        EXPECT(done() && (user.rax == 10 || user.rax == 11)); /* may be kept */
        invlpg((void *)va);
        EXPECT_PAGE(va, page[1]);
        *pte(va) = page[2] | USER_W | PTE_G;
        write_cr4(read_cr4() & ~CR4_PGE);
        EXPECT_PAGE(va, page[2]);
        write_cr4(read_cr4() | CR4_PGE);
        set(va, page[3] | USER_W);
        EXPECT_PAGE(va, page[3]);
}

static void test_large(void)
{
        static const uint64_t bigs[] = { 0x40000000, 0x70000000, 0x555566600000, 0x200000000000 };
        static const uint64_t offsets[] = { 0, 8, 0x7008, 0x100000, 0x1ff000, 0x1ffff8 };

        for (unsigned i = 0; i < sizeof(bigs) / sizeof(bigs[0]); i++) {
                uint64_t va = bigs[i], table = frame_alloc();
                volatile uint64_t *pde = entry_of(space, va, 1);

                for (unsigned round = 0; round < 3; round++) {
                        *pde = LARGE_A | USER_W | PTE_PS;
                        write_cr3(read_cr3());
                        fresh();
                        user.rsi = va;
                        start(u_load);
                        EXPECT(done() && (*pde & (PTE_A | PTE_D)) == PTE_A);
                        for (unsigned k = 0; k < 6; k++)
                                EXPECT_PAGE(va + offsets[k], LARGE_A + offsets[k]);
                        EXPECT(*pde & PTE_D);
                        *pde = LARGE_B | USER_W | PTE_PS;
                        invlpg((void *)(va + offsets[round * 2])); /* anywhere */
                        for (unsigned k = 0; k < 6; k++)
                                EXPECT_PAGE(va + offsets[k], LARGE_B + offsets[k]);
                        EXPECT(*pde & PTE_D);
                        *pde = LARGE_B | USER | PTE_PS;
                        invlpg((void *)(va + 0x54321));
                        for (unsigned k = 0; k < 6; k++) {
                                user.rdi = user.rsi = va + offsets[k];
                                start(u_store);
                                EXPECT(faulted(PF_P | PF_W | PF_U, va + offsets[k]));
                                start(u_load);
                                EXPECT(done() && user.rax == word(LARGE_B + offsets[k]));
                        }
                        /* In small pages, the other way round. */
                        for (unsigned k = 0; k < 512; k++)
                                ((uint64_t *)at(table))[k] = (LARGE_A + (511 - k) * PAGE) | USER_W;
                        *pde = table | USER_W;
                        invlpg((void *)(va + offsets[round + 2]));
                        for (unsigned k = 0; k < 6; k++)
                                EXPECT_PAGE(va + offsets[k], LARGE_A + (511 - offsets[k] / PAGE) * PAGE + offsets[k] % PAGE);
                        ((uint64_t *)at(table))[7] = 0;
                        invlpg((void *)(va + 0x7000));
                        user.rsi = va + 0x7008;
                        start(u_load);
                        EXPECT(faulted(PF_U, va + 0x7008));
                        EXPECT_PAGE(va, LARGE_A + 511 * PAGE);
                }
                *pde = 0;
                write_cr3(read_cr3());
        }
}

static void test_alias(void)
{
        uint64_t a = places[2] + 0x4000, b = places[6] + 0x8000;

        set(a, page[0] | USER_W);
        set(b, page[0] | USER_W);
        for (unsigned i = 0; i < 20; i++) {
                uint64_t v = number();

                fresh();
                user.rdi = a + 24;
                user.rsi = b + 24;
                user.rax = v;
                start(u_store);
                user.rax = 0;
                start(u_load);
                EXPECT(done() && user.rax == v && word(page[0] + 24) == v);
                put(page[0] + 24, v + 1); /* by the kernel */
                start(u_load);
                EXPECT(done() && user.rax == v + 1);
                user.rsi = a + 24;
                start(u_load);
                EXPECT(done() && user.rax == v + 1);
        }
        set(b, page[0] | USER);
        user.rdi = b + 24;
        start(u_store);
        EXPECT(faulted(PF_P | PF_W | PF_U, b + 24));
        EXPECT_PAGE(a + 24, page[0] + 24);
        user.rsi = b + 24;
        start(u_load);
        EXPECT(done() && user.rax == word(page[0] + 24));
}

/* --- address spaces ------------------------------------------------------------------------------------------------------ */

static void invpcid(uint64_t type, uint64_t pcid, uint64_t va)
{
        const struct {
                uint64_t pcid, va;
        } d = { pcid, va };

        asm volatile("invpcid %0, %1" : : "m"(d), "r"(type) : "memory");
}

static void test_two_spaces(void)
{
        uint64_t va = places[3];

        set(va, page[0] | USER_W);
        *entry_of(other_space, va, 0) = page[1] | USER_W;
        *entry_of(other_space, va + PAGE, 0) = 0;
        set(va + PAGE, page[2] | USER_W);
        for (unsigned i = 0; i < 20; i++) {
                write_cr3(space);
                EXPECT_PAGE(va, page[0]);
                EXPECT_PAGE(va + PAGE, page[2]);
                write_cr3(other_space);
                EXPECT_PAGE(va, page[1]);
                user.rsi = va + PAGE;
                start(u_load);
                EXPECT(faulted(PF_U, va + PAGE));
        }
        write_cr3(space);
}

static void test_pcid(void)
{
        uint64_t va = places[4], one = space | 1, two = other_space | 2, keep = CR3_KEEP;
        bool has_invpcid = cpuid(7, 0).b & CPUID7_INVPCID;
        volatile uint64_t *other = entry_of(other_space, va, 0);

        if (!(cpuid(1, 0).c & CPUID1_PCID)) {
                print("no PCID\n");
                return;
        }
        set(va, page[0] | USER_W);
        write_cr4(read_cr4() | CR4_PCIDE);
        *other = page[1] | USER_W;
        write_cr3(two);
        write_cr3(one);
        for (unsigned i = 0; i < 10; i++) {
                write_cr3(one | keep);
                EXPECT_PAGE(va, page[0]);
                write_cr3(two | keep);
                EXPECT_PAGE(va, page[1]);
        }
        /* A change in the space that does not run is seen after it was flushed. */
        write_cr3(one | keep);
        EXPECT_PAGE(va, page[0]);
        *other = page[2] | USER_W;
        put(page[1], 1);
        put(page[2], 2);
        write_cr3(two | keep);
        user.rsi = va;
        start(u_load);
        EXPECT(done() && (user.rax == 1 || user.rax == 2));
        write_cr3(two);
        EXPECT_PAGE(va, page[2]);
        write_cr3(one | keep);
        EXPECT_PAGE(va, page[0]);
        for (unsigned type = 0; has_invpcid && type < 4; type++) {
                EXPECT_PAGE(va, page[0]);
                *other = page[3 + type % 2] | USER_W;
                invpcid(type, type < 2 ? 2 : 0, type ? 0 : va);
                write_cr3(two | keep);
                EXPECT_PAGE(va, page[3 + type % 2]);
                /* Of its own space. */
                *other = page[5] | USER_W;
                invpcid(type, type < 2 ? 2 : 0, type ? 0 : va);
                EXPECT_PAGE(va, page[5]);
                write_cr3(one | keep);
        }
        /* invlpg is for the space that runs; a global page is in all. */
        set(va, page[6] | USER_W);
        EXPECT_PAGE(va, page[6]);
        write_cr3(two | keep);
        EXPECT_PAGE(va, page[5]);
        *other = 0;
        invlpg((void *)va);
        user.rsi = va;
        start(u_load);
        EXPECT(faulted(PF_U, va));
        write_cr3(one | keep);
        EXPECT_PAGE(va, page[6]);
        /* The same tables with another PCID. */
        write_cr3(space | 3);
        EXPECT_PAGE(va, page[6]);
        set(va, page[7] | USER_W);
        EXPECT_PAGE(va, page[7]);
        write_cr3(one);
        EXPECT_PAGE(va, page[7]);
        write_cr3(space);
        write_cr4(read_cr4() & ~CR4_PCIDE);
        EXPECT_PAGE(va, page[7]);
}

/* --- code ------------------------------------------------------------------------------------------------------------------- */

#define CODE1 (places[5] + 0x40000)
#define CODE2 (places[0] + 0x40000)

static void write_code(const uint8_t *program, uint64_t at_va, uint64_t target, uint64_t writes_to)
{
        for (unsigned i = 0; i < 4; i++) {
                fresh();
                user.rdi = target;
                user.rdx = writes_to;
                user.rsi = 0x12345678 + i;
                user.rcx = 20;
                user.rbx = 0;
                start_at(at_va);
                EXPECT(done() && (program == u_write_code ? user.rax == 0x12345678 + i : user.rbx == 210));
        }
}

static void test_code(void)
{
        set_pair(CODE1, 4, USER_W);
        set_pair(CODE2, 4, USER_W);
        fill(page[4], 2 * PAGE);
        memcpy(at(page[4]), u_write_code, (size_t)(u_write_code_end - u_write_code));
        memcpy(at(page[4] + 256), u_write_code_loop, (size_t)(u_write_code_loop_end - u_write_code_loop));
        write_code(u_write_code, CODE1, CODE1 + 2048, CODE1 + 2048); /* in its own page */
        write_code(u_write_code, CODE1, CODE1 + 2048, CODE2 + 2048); /* by another address */
        write_code(u_write_code, CODE1, CODE2 + 2048, CODE1 + 2048);
        write_code(u_write_code, CODE1, CODE1 + PAGE - 3, CODE2 + PAGE - 3); /* over the end */
        write_code(u_write_code, text_of(u_write_code), CODE1 + 2048, CODE1 + 2048);
        write_code(u_write_code_loop, CODE1 + 256, CODE1 + 3000, CODE1 + 3000);
        write_code(u_write_code_loop, CODE1 + 256, CODE1 + 3000, CODE2 + 3000);
        write_code(u_write_code_loop, text_of(u_write_code_loop), CODE2 + 3000, CODE2 + 3000);
        write_code(u_write_code_loop, text_of(u_write_code_loop), CODE1 + PAGE - 2, CODE1 + PAGE - 2);
        /* The kernel writes it. */
        for (unsigned i = 0; i < 5; i++) {
                uint8_t *p = at(page[4] + 2048);

                p[0] = 0xb8;
                memcpy(p + 1, &(uint32_t){ i + 500 }, 4);
                p[5] = 0xcd;
                p[6] = DONE;
                start_at(CODE1 + 2048);
                EXPECT(done() && user.rax == i + 500);
        }
        /* Numbers beside the code. */
        put(page[4] + 3500, 0);
        memset(at(page[4] + 3500), 0, 160);
        fresh();
        user.rsi = CODE1 + 3500;
        user.rdx = 8;
        user.rcx = 20;
        user.rax = 0;
        start(u_walk);
        EXPECT(done() && user.rax == 20);
        start_at(CODE1 + 2048);
        EXPECT(done() && user.rax == 504);
        set_pair(CODE1, 4, USER_W | PTE_NX);
        start_at(CODE1 + 2048);
        EXPECT(fault(PF_P | PF_U | PF_I, CODE1 + 2048));
        EXPECT_PAGE(CODE1 + 2048, page[4] + 2048);
        set_pair(CODE1, 0, USER_W);
        EXPECT_PAGE(CODE1 + 2048, page[0] + 2048);
}

/* --- far and wide ------------------------------------------------------------------------------------------------------------------------- */

/* Pages of the engine that a program can read where it has none, and those of them that it can write, see mirror.c there. */
#define READABLE_MAX 147
#define WRITABLE_MAX 18

static unsigned readable, writable;

static void wild(uint64_t va)
{
        bool there = is_present(va);

        user.rsi = user.rdi = va;
        start(u_wild_read);
        if (there)
                return;
        if (!fault(PF_U, va) || !unchanged())
                readable++;
        start(u_wild_write);
        if (!fault(PF_U | PF_W, va) || !unchanged())
                writable++;
}

static void wild_pages(uint64_t start, uint64_t end)
{
        readable = writable = 0;
        for (uint64_t va = start; va < end; va += PAGE)
                wild(va + number() % PAGE);
        EXPECT(readable <= READABLE_MAX && writable <= WRITABLE_MAX);
        if (readable)
                print("%u pages of the engine can be read, %u written\n", readable, writable);
}

static void test_wild(void)
{
        readable = writable = 0;
        fresh();
        for (uint64_t va = 0x400123; va < 1ull << 32; va += 0x10000)
                wild(va);
        /* Where the engine has memory of its own: each page, at some place in it. */
        EXPECT(readable <= READABLE_MAX && writable <= WRITABLE_MAX);
        wild_pages(ENGINE_LOW, ENGINE_LOW_END);
        readable = writable = 0;
        for (unsigned i = 0; i < 5000; i++)
                wild(number() >> 17);
        for (unsigned i = 0; i < 5000; i++) /* where a process has its stack and libraries */
                wild(0x7f0000000000 + (number() >> 24));
        for (unsigned i = 0; i < 5000; i++) /* and its own code */
                wild(0x550000000000 + (number() >> 23));
        EXPECT(readable <= 2); /* the stacks that signals and routines use are somewhere there */
        EXPECT_PAGE(TEXT + (uint64_t)(user_text_end - user_text), (uintptr_t)user_data);
}

/* A program overwrites what it can reach where it has nothing, word by word: the machine and its kernel go on as if nothing had happened. */
static void test_overwrite(void)
{
        unsigned words = 0;

        set(places[0], page[0] | USER_W);
        for (uint64_t va = ENGINE_LOW; va < ENGINE_LOW_END; va += PAGE) {
                if (is_present(va))
                        continue;
                fresh();
                user.rdi = va;
                start(u_store);
                if (fault(PF_U | PF_W, va))
                        continue;
                for (unsigned i = 0; i < PAGE; i += 8, words++) {
                        fresh();
                        user.rax = 0x5a5a5a5a5a5a5a5a;
                        user.rdi = va + i;
                        start(u_store);
                        EXPECT_PAGE(places[0], page[0]);
                }
        }
        print("%u words\n", words);
}

/* A loop over addresses adds 1 to a word at each; the sum of what is there then comes back. */
static void expect_walk(uint64_t va, uint64_t step, unsigned n, uint64_t sum)
{
        fresh();
        user.rsi = va;
        user.rdx = step;
        user.rcx = n;
        user.rax = 0;
        start(u_walk);
        EXPECT(done() && user.rax == sum);
}

/* A page of its own every 16 MiB, then one page for all every 64 KiB where the engine has memory of its own. */
static void test_wide(void)
{
        uint64_t frames[256], sum = 0;

        for (unsigned i = 1; i < 256; i++) {
                frames[i] = frame_alloc();
                set((uint64_t)i << 24, frames[i] | USER_W);
                put(frames[i], i * 1000);
                sum += i * 1000;
        }
        for (unsigned k = 1; k < 5; k++)
                expect_walk(1 << 24, 1 << 24, 255, sum + 255 * k);
        for (unsigned i = 1; i < 256; i++)
                EXPECT(word(frames[i]) == i * 1000 + 4);
        for (unsigned i = 1; i < 256; i++)
                set((uint64_t)i << 24, frames[256 - i] | USER_W);
        expect_walk(1 << 24, 1 << 24, 255, sum + 255 * 5);
        put(page[0] + 0x800, 0);
        for (uint64_t va = ENGINE_LOW; va < ENGINE_LOW_END; va += 0x10000)
                set(va, page[0] | USER_W);
        expect_walk(ENGINE_LOW + 0x800, 0x10000, 8192, 8192ull * 8193 / 2);
        EXPECT(word(page[0] + 0x800) == 8192);
        for (unsigned i = 0; i < 300; i++) {
                uint64_t va = (number() >> 17) & ~(PAGE - 1);

                if (va < IMAGE_END || is_present(va))
                        continue;
                set(va, page[1] | USER_W);
                EXPECT_PAGE(va + 0x458, page[1] + 0x458);
        }
        for (uint64_t va = ENGINE_LOW; va < ENGINE_LOW_END; va += 0x10000)
                set(va, 0);
}

static void all_once(void)
{
        test_sizes();
        test_first_touch();
        test_accessed_dirty();
        test_presence();
        test_crossing();
        test_not_theirs();
        test_remap();
        test_global();
        test_alias();
        test_two_spaces();
        test_pcid();
        test_code();
        test_pages();
        test_stack();
        test_locked();
        test_bits();
        test_high_bytes();
        test_operands();
        test_strings();
        test_segments();
        test_rip();
        test_flags();
        test_vectors();
}

void guest_main(void)
{
        mirror_setup();
        print("first round\n");
        RUN(test_sizes);
        RUN(test_first_touch);
        RUN(test_accessed_dirty);
        RUN(test_presence);
        RUN(test_crossing);
        RUN(test_not_theirs);
        RUN(test_remap);
        RUN(test_global);
        RUN(test_large);
        RUN(test_around);
        RUN(test_alias);
        RUN(test_two_spaces);
        RUN(test_pcid);
        RUN(test_code);
        RUN(test_pages_alone);
        RUN(test_pages);
        RUN(test_interrupted);
        RUN(test_stack);
        RUN(test_locked);
        RUN(test_bits);
        RUN(test_high_bytes);
        RUN(test_operands);
        RUN(test_strings);
        RUN(test_segments);
        RUN(test_rip);
        RUN(test_flags);
        RUN(test_vectors);
        for (unsigned i = 1; i < ROUNDS; i++)
                all_once(); /* so that the programs run often enough to be translated, and hot */
        RUN(test_interrupted);
        RUN(test_around);
        RUN(test_wild);
        RUN(test_overwrite);
        RUN(test_wide);
        RUN(test_large);
        RUN(test_wild);
}
