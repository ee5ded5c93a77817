/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Pages side by side that follow each other in memory, too, and have been accessed already: an engine may get several of them at one access, but as a CPU gets what its TLB has. */
#include "mirror.h"

#define N 32u /* pages, twice as many as an engine gets at once */
#define STEPS 400
#define ROW_PLACES 3
#define HUGE_AT 0x300000000000ull
#define CPUID_HUGE (1u << 26)
#define USED (PTE_A | PTE_D)
#define FRAME(e) ((e) & 0xffffffffff000ull)

static const uint64_t row_places[ROW_PLACES] = { 0x20000000, 0x555555a00000, 0x7f1234500000 };

static uint64_t row, other, code; /* physical: N + 1 frames one behind the other, N + 1 others, code */
static unsigned accesses, ahead;  /* A bits that came without an access */

static uint64_t frames_alloc(unsigned n)
{
        uint64_t first = frame_alloc();

        for (unsigned i = 1; i < n; i++)
                frame_alloc();
        return first;
}

static void make_all(void)
{
        if (row)
                return;
        row = frames_alloc(N + 1);
        other = frames_alloc(N + 1);
        code = frames_alloc(N);
}

static void set_row(uint64_t va, uint64_t phys, uint64_t flags)
{
        for (unsigned i = 0; i < N; i++)
                set(va + i * PAGE, (phys + i * PAGE) | flags);
}

static uint64_t fault_of(uint64_t entry, bool write)
{
        if (!(entry & PTE_P))
                return PF_U | (write ? PF_W : 0);
        return PF_P | PF_U | (write ? PF_W : 0);
}

/* One access to the page; the entries of the others do not change. */
static void access_one(uint64_t va, unsigned k, bool write)
{
        volatile uint64_t *entries = pte(va);
        uint64_t old[N], e = entries[k], v = number(), offset = v % (PAGE / 8) * 8, at_va = va + k * PAGE + offset, phys = FRAME(e) + offset;
        bool allowed = (e & USER) == USER && (!write || (e & PTE_W));

        for (unsigned i = 0; i < N; i++)
                old[i] = entries[i];
        if (e & PTE_P)
                put(phys, v);
        fresh();
        user.rsi = user.rdi = at_va;
        user.rax = ~v;
        start(write ? u_store : u_load);
        if (allowed)
                expect(done() && (write ? word(phys) == ~v : user.rax == v), "the page is the one in the table", k);
        else
                expect(faulted(fault_of(e, write), at_va) && (!(e & PTE_P) || word(phys) == v), "the page cannot be accessed", k);
        if (allowed)
                old[k] |= PTE_A | (write ? PTE_D : 0);
        accesses++;
        for (unsigned i = 0; i < N; i++) {
                ahead += (entries[i] & ~old[i] & PTE_A) != 0;
                expect((entries[i] & ~PTE_A) == (old[i] & ~PTE_A) && (old[i] & ~entries[i]) == 0, "the entries are as they were", i);
        }
}

static void access_all(uint64_t va, unsigned first, bool write)
{
        for (unsigned i = 0; i < N; i++)
                access_one(va, (first + i) % N, write);
}

/* --- all of them ---------------------------------------------------------------------------------------------------------- */

static void test_rows(uint64_t va)
{
        static const uint64_t flags[] = { USER_W | USED, USER_W | PTE_A, USER_W, USER_W | PTE_D, USER | USED, USER, USER_W | USED | PTE_NX, PTE_P | PTE_W | USED };

        for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
                for (unsigned write = 0; write < 2; write++) {
                        set_row(va, row, flags[i]);
                        access_all(va, number() % N, write);
                        access_all(va, number() % N, !write);
                        set_row(va, other, flags[i]);
                        access_all(va, number() % N, write);
                        for (unsigned k = 0; k < N; k++) /* the other way round */
                                set(va + k * PAGE, (row + (N - 1 - k) * PAGE) | flags[i]);
                        access_all(va, number() % N, write);
                }
}

/* What was accessed, or came along, is not any more after it was flushed: one page, or all at once. */
static void test_going(uint64_t va)
{
        static const uint64_t flags[] = { 0, USER | USED, PTE_P | PTE_W | USED, USER_W | PTE_A, USER_W };

        for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
                for (unsigned k = 3; k < N; k += 5) {
                        set_row(va, row, USER_W | USED);
                        access_one(va, k / 16 * 16, true);
                        set(va + k * PAGE, (row + k * PAGE) | flags[i]);
                        access_one(va, k, i & 1);
                        access_one(va, k, true);
                        access_one(va, k - 1, true);
                        set_row(va, row, USER_W | USED);
                        access_one(va, k / 16 * 16 + 1, false);
                        for (unsigned n = k / 2; n <= k; n++)
                                pte(va)[n] = (row + n * PAGE) | flags[i];
                        write_cr3(read_cr3());
                        access_all(va, k, true);
                }
}

/* The bits of a whole row are taken away, as by a kernel that looks what is in use. */
static void test_aging(uint64_t va)
{
        for (unsigned i = 0; i < 8; i++) {
                unsigned before_all = ahead;

                set_row(va, row, USER_W | USED);
                access_all(va, i, true);
                for (unsigned k = 0; k < N; k++)
                        pte(va)[k] &= ~(i & 1 ? PTE_A : USED);
                write_cr3(read_cr3());
                EXPECT_PAGE(va + N * PAGE, page[0]);
                for (unsigned k = 0; k < N; k++)
                        ahead += (pte(va)[k] & PTE_A) != 0;
                EXPECT(ahead - before_all < N / 2);
                access_all(va, i * 3, false);
                access_all(va, i * 5, true);
        }
}

/* --- step by step ------------------------------------------------------------------------------------------------------- */

static uint64_t some_entry(unsigned k)
{
        uint64_t n = number(), frame = (n & 3 ? row + k * PAGE : n & 4 ? row + (k + 1) * PAGE : other + k * PAGE), e = frame | USER_W | USED;

        switch (n >> 8 & 15) {
        case 0:
                return 0;
        case 1:
                return e & ~PTE_P;
        case 2:
        case 3:
                return e & ~PTE_W;
        case 4:
                return e & ~PTE_U;
        case 5:
        case 6:
                return e & ~PTE_D;
        case 7:
                return e & ~USED;
        case 8:
                return e & ~PTE_A;
        default:
                return e;
        }
}

/* One entry, or several and one flush for all. */
static void change(uint64_t va)
{
        uint64_t n = number();
        unsigned k = n >> 8 & (N - 1);

        if (n & 3) {
                set(va + k * PAGE, some_entry(k));
                return;
        }
        for (unsigned i = 0; i < (n >> 16 & 15); i++, k = (k + 1) % N)
                pte(va)[k] = some_entry(k);
        write_cr3(read_cr3());
}

static void test_steps(uint64_t va)
{
        set_row(va, row, USER_W | USED);
        for (unsigned i = 0; i < STEPS; i++) {
                uint64_t n = number();

                if (n & 1)
                        change(va);
                access_one(va, n >> 8 & (N - 1), n & 2);
        }
}

/* --- code ----------------------------------------------------------------------------------------------------------------- */

static void put_code(unsigned k, uint32_t result)
{
        uint8_t *p = at(code + k * PAGE + 0x100);

        p[0] = 0xb8; /* mov eax, imm32 */
        memcpy(p + 1, &result, 4);
        p[5] = 0xcd;
        p[6] = DONE;
}

static void expect_code(uint64_t va, unsigned k, uint32_t result)
{
        start_at(va + k * PAGE + 0x100);
        EXPECT(done() && user.rax == result);
}

/* The program changes it where it runs. */
static void change_code(uint64_t va, unsigned k, uint32_t result)
{
        fresh();
        user.rdi = va + k * PAGE + 0x101;
        user.rax = result;
        start(u_store4);
        EXPECT(done());
}

static void test_code_around(uint64_t va)
{
        set_row(va, code, USER_W | USED);
        for (unsigned i = 0; i < 4 * N; i++) {
                unsigned k = number() % N;

                if (i & 1) {
                        put_code(k, i);
                        expect_code(va, k, i);
                }
                if (i & 2) /* with what is around it */
                        access_one(va, (k + 1) % N, true);
                if (i % 8 == 0)
                        set_row(va, code, USER_W | USED);
                if (i & 4) {
                        access_one(va, (k + N - 1) % N, false);
                        put_code(k, i + 1000);
                        expect_code(va, k, i + 1000);
                }
                put_code(k, 1);
                change_code(va, k, i + 2000);
                expect_code(va, k, i + 2000);
                change_code(va, k, i + 3000);
                expect_code(va, k, i + 3000);
        }
}

/* --- pages of 1 GiB ------------------------------------------------------------------------------------------------------ */

static void test_huge(void)
{
        volatile uint64_t *e = entry_of(space, HUGE_AT, 2);

        if (!(cpuid(0x80000001, 0).d & CPUID_HUGE))
                return;
        for (unsigned i = 0; i < 8; i++) {
                uint64_t after = LARGE_A + (i & 4 ? LARGE : PAGE); /* in another part, or accessed already */

                *e = USER_W | USED | PTE_PS;
                for (unsigned k = 0; k < 8; k++)
                        EXPECT_PAGE(HUGE_AT + LARGE_A + k * 5 * PAGE, LARGE_A + k * 5 * PAGE);
                if (i & 1) /* what is kept of it is still a part of such a page */
                        write_cr3(read_cr3());
                if (i & 2)
                        write_cr4(read_cr4() ^ CR4_PGE);
                EXPECT_PAGE(HUGE_AT + after, after);
                *e = 0;
                invlpg((void *)(HUGE_AT + 12345 * PAGE));
                for (unsigned k = 0; k < 64; k++) {
                        user.rsi = HUGE_AT + LARGE_A + k * PAGE;
                        start(u_load);
                        EXPECT(faulted(PF_U, HUGE_AT + LARGE_A + k * PAGE));
                }
        }
}

void test_around(void)
{
        make_all();
        for (unsigned i = 0; i < ROW_PLACES; i++) {
                uint64_t va = row_places[i];

                set(va + N * PAGE, page[0] | USER_W);
                test_rows(va);
                test_going(va);
                test_aging(va);
                test_steps(va);
                test_code_around(va);
                set_row(va, 0, 0);
        }
        EXPECT(ahead < accesses / 4);
        test_huge();
}
