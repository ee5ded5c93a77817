/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Page walks: present, write, user, NX, WP, SMEP, SMAP, reserved bits, accessed and dirty bits, large pages, and what the TLB may
 * keep and must forget. */
#include "guest.h"

#define CR0_WP 0x10000ull
#define CR4_PGE 0x80ull
#define CR4_SMEP 0x100000ull
#define CR4_SMAP 0x200000ull
#define CPUID7_SMEP (1u << 7)
#define CPUID7_SMAP (1u << 20)

static uint8_t *page_a, *page_b;
static volatile uint64_t *const va = (uint64_t *)TEST_VA;
static uint64_t phys_a, phys_b;

#define LOAD(p) TRY("movq (%0), %%rax", : : "r"(p) : "rax", "memory")
#define STORE(p, v) TRY("movq %1, (%0)", : : "r"(p), "r"((uint64_t)(v)) : "memory")
/* Calls; what is there must be a ret. */
#define CALL(p) TRY("call *%0", : : "r"(p) : "memory")

static bool no_trap(void)
{
        if (trap.vector != -1)
                print("got vector %d error %lx cr2 %lx\n", trap.vector, trap.error, trap.cr2);
        return trap.vector == -1;
}

static bool fetch_faulted(uint64_t error)
{
        if (trap.vector == 14 && trap.error == error && trap.cr2 == TEST_VA && trap.rip == TEST_VA)
                return true;
        print("got vector %d error %lx rip %lx cr2 %lx\n", trap.vector, trap.error, trap.rip, trap.cr2);
        return false;
}

static void test_basic(void)
{
        map(TEST_VA, phys_a, PTE_P | PTE_W);
        STORE(va, 0x1234);
        CHECK(no_trap() && *(uint64_t *)page_a == 0x1234);
        map(TEST_VA, phys_a, PTE_P);
        LOAD(va);
        CHECK(no_trap());
        STORE(va, 1);
        CHECK(trapped_pf(PF_P | PF_W, va));
        map(TEST_VA, phys_a, 0);
        LOAD(va);
        CHECK(trapped_pf(0, va));
        STORE(va, 1);
        CHECK(trapped_pf(PF_W, va));
        CHECK(*(uint64_t *)page_a == 0x1234);
}

static void test_write_protect(void)
{
        write_cr0(read_cr0() & ~CR0_WP);
        map(TEST_VA, phys_a, PTE_P);
        STORE(va, 0x77);
        CHECK(no_trap() && *(uint64_t *)page_a == 0x77);
        write_cr0(read_cr0() | CR0_WP);
        STORE(va, 0x78);
        CHECK(trapped_pf(PF_P | PF_W, va) && *(uint64_t *)page_a == 0x77);
}

static void test_no_execute(void)
{
        page_a[0] = 0xc3; /* ret */
        map(TEST_VA, phys_a, PTE_P);
        CALL(va);
        CHECK(no_trap());
        map(TEST_VA, phys_a, PTE_P | PTE_NX);
        CALL(va);
        CHECK(fetch_faulted(PF_P | PF_I));
        LOAD(va);
        CHECK(no_trap());
        map(TEST_VA, phys_a, 0);
        CALL(va);
        CHECK(fetch_faulted(PF_I));
        map(TEST_VA, phys_a, PTE_P);
        CALL(va);
        CHECK(no_trap());
}

static void test_reserved_bits(void)
{
        if ((cpuid(0x80000008, 0).a & 0xff) == 52) {
                print("all physical address bits exist\n");
                return;
        }
        map(TEST_VA, phys_a, PTE_P | PTE_W | 1ull << 51);
        LOAD(va);
        CHECK_STRICT(trapped_pf(PF_P | PF_RSVD, va));
        STORE(va, 1);
        CHECK_STRICT(trapped_pf(PF_P | PF_RSVD | PF_W, va));
        map(TEST_VA, phys_a, PTE_P | PTE_W);
}

static void test_accessed_dirty(void)
{
        volatile uint64_t *pte = pte_of(TEST_VA);

        map(TEST_VA, phys_a, PTE_P | PTE_W);
        CHECK(!(*pte & (PTE_A | PTE_D)));
        LOAD(va);
        CHECK((*pte & (PTE_A | PTE_D)) == PTE_A);
        STORE(va, 5);
        CHECK((*pte & (PTE_A | PTE_D)) == (PTE_A | PTE_D));
        *pte &= ~(PTE_A | PTE_D);
        invlpg(va);
        STORE(va, 6);
        CHECK((*pte & (PTE_A | PTE_D)) == (PTE_A | PTE_D));
        *pte &= ~PTE_D;
        invlpg(va);
        LOAD(va); /* cached as clean */
        STORE(va, 7);
        CHECK(*pte & PTE_D);
        CHECK(*pde_of(TEST_VA) & PTE_A);
        /* A refused write sets no dirty bit. */
        map(TEST_VA, phys_a, PTE_P);
        STORE(va, 8);
        CHECK(!(*pte & PTE_D));
}

static void test_user_pages(void)
{
        uint32_t features = cpuid(7, 0).b;

        map(TEST_VA, phys_a, PTE_P | PTE_W | PTE_U);
        page_a[0] = 0xc3;
        CALL(va);
        CHECK(no_trap());
        if (features & CPUID7_SMEP) {
                write_cr4(read_cr4() | CR4_SMEP);
                CALL(va);
                CHECK(fetch_faulted(PF_P | PF_I));
                LOAD(va);
                CHECK(no_trap());
                write_cr4(read_cr4() & ~CR4_SMEP);
                CALL(va);
                CHECK(no_trap());
        } else {
                print("no SMEP\n");
        }
        if (features & CPUID7_SMAP) {
                write_cr4(read_cr4() | CR4_SMAP);
                LOAD(va);
                CHECK(trapped_pf(PF_P, va));
                STORE(va, 1);
                CHECK(trapped_pf(PF_P | PF_W, va));
                TRY("stac\n\tmovq (%0), %%rax\n\tclac", : : "r"(va) : "rax");
                CHECK(no_trap());
                LOAD(va);
                CHECK(trapped_pf(PF_P, va));
                write_cr4(read_cr4() & ~CR4_SMAP);
                LOAD(va);
                CHECK(no_trap());
        } else {
                print("no SMAP\n");
        }
}

static void test_remap(void)
{
        *(uint64_t *)page_a = 0xaaaa;
        *(uint64_t *)page_b = 0xbbbb;
        map(TEST_VA, phys_a, PTE_P | PTE_W);
        CHECK(*va == 0xaaaa);
        map(TEST_VA, phys_b, PTE_P | PTE_W); /* with invlpg */
        CHECK(*va == 0xbbbb);
        *pte_of(TEST_VA) = phys_a | PTE_P | PTE_W;
        write_cr3(read_cr3());
        CHECK(*va == 0xaaaa);
        /* From not present to present nothing needs to be flushed. */
        map(TEST_VA + 4096, 0, 0);
        LOAD(va + 512);
        CHECK(trapped_pf(0, va + 512));
        *pte_of(TEST_VA + 4096) = phys_b | PTE_P;
        CHECK(va[512] == 0xbbbb);
}

/* Global pages may survive a CR3 load, but must go with invlpg and with a change of CR4.PGE. */
static void test_global(void)
{
        write_cr4(read_cr4() | CR4_PGE);
        map(TEST_VA, phys_a, PTE_P | PTE_W | PTE_G);
        CHECK(*va == 0xaaaa);
        *pte_of(TEST_VA) = phys_b | PTE_P | PTE_W | PTE_G;
        write_cr3(read_cr3());
        CHECK(*va == 0xaaaa || *va == 0xbbbb);
        invlpg(va);
        CHECK(*va == 0xbbbb);
        *pte_of(TEST_VA) = phys_a | PTE_P | PTE_W | PTE_G;
        write_cr4(read_cr4() & ~CR4_PGE);
        CHECK(*va == 0xaaaa);
}

static void test_large_pages(void)
{
        const uint64_t big = TEST_VA + (1ull << 31);
        volatile uint64_t *p = (uint64_t *)(big + (phys_a & 0x1fffff));
        volatile uint64_t *pde = pde_of(big);

        *pde = (phys_a & ~0x1fffffull) | PTE_P | PTE_W | PTE_PS;
        CHECK(*p == 0xaaaa);
        CHECK((*pde & (PTE_A | PTE_D)) == PTE_A);
        *p = 0xcccc;
        CHECK(*(uint64_t *)page_a == 0xcccc && (*pde & PTE_D));
        *pde |= 1ull << 13; /* reserved in a large page's entry */
        invlpg(p);
        LOAD(p);
        CHECK_STRICT(trapped_pf(PF_P | PF_RSVD, p));
        *pde = (phys_a & ~0x1fffffull) | PTE_P | PTE_PS | PTE_NX;
        invlpg(p);
        STORE(p, 1);
        CHECK(trapped_pf(PF_P | PF_W, p));
}

/* Rights of all levels are combined. */
static void test_upper_levels(void)
{
        const uint64_t place = TEST_VA + (1ull << 32);
        volatile uint64_t *p = (uint64_t *)place, *pde;

        map(place, phys_a, PTE_P | PTE_W);
        pde = pde_of(place);
        CHECK(*p == 0xcccc);
        *pde &= ~PTE_W;
        invlpg(p);
        STORE(p, 1);
        CHECK(trapped_pf(PF_P | PF_W, p));
        *pde |= PTE_W | PTE_NX;
        invlpg(p);
        STORE(p, 0xc3);
        CHECK(no_trap());
        CALL(p);
        CHECK(trap.vector == 14 && trap.error == (PF_P | PF_I) && trap.cr2 == place);
        *pde &= ~(PTE_P | PTE_NX);
        invlpg(p);
        LOAD(p);
        CHECK(trapped_pf(0, p));
}

void guest_main(void)
{
        page_a = page_alloc();
        page_b = page_alloc();
        phys_a = (uintptr_t)page_a;
        phys_b = (uintptr_t)page_b;
        RUN(test_basic);
        RUN(test_write_protect);
        RUN(test_no_execute);
        RUN(test_reserved_bits);
        RUN(test_accessed_dirty);
        RUN(test_user_pages);
        RUN(test_remap);
        RUN(test_global);
        RUN(test_large_pages);
        RUN(test_upper_levels);
}
