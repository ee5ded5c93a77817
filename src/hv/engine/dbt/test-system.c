/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The system side of one vCPU without its executor: page walks, segments, delivery, control registers, MSRs. */

#include "hv/engine/dbt/sys.h"

#include <string.h>

#include "hv/bus/check.h"

enum { RAM = 0x800000, ROM_GPA = 0xf0000000, ROM = 0x2000 };
enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (1ULL << 63)

/* Physical places of the tables. */
enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000, GDT = 0x5000, IDT = 0x6000, TSS = 0x7000, STACK = 0x20000,
       IST = 0x30000, RSP0 = 0x40000, HANDLER = 0x9000 };

static uint8_t ram[RAM] __attribute__((aligned(4096))), rom[ROM] __attribute__((aligned(4096)));
static struct dbt_vm vm;
static struct dbt_vcpu *v;
static struct lapic_bus *bus;
static uint64_t code_page, code_written, mmio_addr, mmio_value;

/* --- What the executor would provide -------------------------------------------------------------------------- */

void dbt_fpu_save(struct dbt_vcpu *c)
{
}

void dbt_leave_guest(struct dbt_vcpu *c)
{
}

void dbt_enter_guest(struct dbt_vcpu *c)
{
}

void dbt_end_block(struct dbt_vcpu *c)
{
}

bool dbt_code_was_mirrored(struct dbt_vcpu *c)
{
        return false;
}

void dbt_mapping_changed(struct dbt_vcpu *c, enum dbt_change change, uint64_t lin, enum dbt_code_change code)
{
}

void dbt_tr_look_again(struct dbt_vcpu *c); /* of tr.h, too */
void dbt_tr_look_again(struct dbt_vcpu *c)
{
}

void dbt_tr_forget_host(struct dbt_vcpu *c, uintptr_t start, uint64_t size)
{
}

void dbt_request(struct dbt_vcpu *c, uint32_t bits)
{
        atomic_fetch_or(&c->request, bits);
}

bool dbt_uses_stack(struct dbt_vcpu *c); /* insn.h needs Zydis */
bool dbt_uses_stack(struct dbt_vcpu *c)
{
        return false;
}

void dbt_code_written(struct dbt_vcpu *c, uint64_t gpa, unsigned n)
{
        code_written = gpa;
}

bool dbt_code_page_test(struct dbt_vm *m, uint64_t gpa_page)
{
        return code_page && gpa_page == code_page;
}

static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
        mmio_addr = gpa;
        return 0x1122334455667788 & (size == 8 ? UINT64_MAX : (1ULL << size * 8) - 1);
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value)
{
        mmio_addr = gpa;
        mmio_value = value;
}

static void cb_wake(void *opaque, unsigned index)
{
        dbt_request(v, DBT_REQ_INTR);
}

static void cb_eoi(void *opaque, uint8_t vector)
{
}

static uint64_t cb_tsc(void *opaque, unsigned index)
{
        return dbt_guest_tsc(v);
}

static uint64_t cb_now(void *opaque)
{
        return 0;
}

/* --- Helpers -------------------------------------------------------------------------------------------------- */

/* Runs a statement; true if it raised, with the exception in v->raised. */
#define RAISES(statement) (sigsetjmp(v->unwind, 0) ? true : ((void)(statement), false))

static void put64(uint64_t gpa, uint64_t value)
{
        memcpy(ram + gpa, &value, 8);
}

static void put32(uint64_t gpa, uint32_t value)
{
        memcpy(ram + gpa, &value, 4);
}

static uint64_t get64(uint64_t gpa)
{
        uint64_t value;

        memcpy(&value, ram + gpa, 8);
        return value;
}

static void check_pf(uint64_t lin, uint32_t error)
{
        CHECK_EQ(v->raised.vector, X86_PF);
        CHECK_EQ(v->raised.error, error);
        CHECK_EQ(v->cr2, lin);
}

static void put_gate(unsigned vector, unsigned type, unsigned dpl, unsigned ist)
{
        put64(IDT + vector * 16, HANDLER | 0x08 << 16 | (uint64_t)(0x8000 | dpl << 13 | type << 8 | ist) << 32);
        put64(IDT + vector * 16 + 8, 0);
}

/* Long mode, the first 2 MiB mapped 4K-wise and supervisor only, except what a test adds; GDT: 8 code64, 0x10 data,
 * 0x18 user code32, 0x20 user data, 0x28 user code64. */
static void setup_long(void)
{
        memset(ram, 0, RAM);
        code_page = code_written = mmio_addr = 0;
        dbt_vcpu_reset(v, false);
        put64(PML4, PDPT | P | W | U);
        put64(PDPT, PD | P | W | U);
        put64(PD, PT | P | W | U);
        for (unsigned i = 0; i < 512; i++)
                put64(PT + i * 8, (uint64_t)i << 12 | P | W);
        put64(GDT + 0x08, 0x00af9b000000ffff);
        put64(GDT + 0x10, 0x00cf93000000ffff);
        put64(GDT + 0x18, 0x00cffb000000ffff);
        put64(GDT + 0x20, 0x00cff3000000ffff);
        put64(GDT + 0x28, 0x00affb000000ffff);
        for (unsigned i = 0; i < 256; i++)
                put_gate(i, DESC_INT32, 3, 0);
        put64(TSS + 4, RSP0);
        put64(TSS + 36, IST);
        v->gdtr = (struct x86_table){ GDT, 0xfff };
        v->idtr = (struct x86_table){ IDT, 0xfff };
        v->tr = (struct x86_segment){ .base = TSS, .limit = 0x67, .attr = 0x8b, .selector = 0x40 };
        v->cr4 = X86_CR4_PAE | X86_CR4_PGE;
        v->efer = X86_EFER_LME | X86_EFER_NXE | X86_EFER_SCE;
        v->cr3 = PML4;
        dbt_mov_to_cr(v, 0, X86_CR0_PE | X86_CR0_PG | X86_CR0_WP);
        CHECK(v->efer & X86_EFER_LMA);
        dbt_far_jump(v, 0x08, 0x1000, 4);
        dbt_load_seg(v, X86_SS, 0x10);
        CHECK(v->mode & DBT_MODE_CS64);
        v->gpr[X86_RSP] = STACK;
        v->rip = 0x1000;
}

static void to_user(void)
{
        v->msr[X86_MSR_STAR] = 0x0018000800000000;
        v->gpr[X86_RCX] = 0x1234;
        v->gpr[X86_R11] = 0x202;
        dbt_sysret(v, 8);
        CHECK_EQ(v->cpl, 3);
        CHECK_EQ(v->seg[X86_CS].selector, 0x2b);
        CHECK_EQ(v->seg[X86_SS].selector, 0x23);
}

/* --- Page walks ------------------------------------------------------------------------------------------------ */

static void test_walk(void)
{
        setup_long();
        put64(0x100010, 0xabcdef);
        CHECK_EQ(dbt_load64(v, 0x100010, v->mmu), 0xabcdef);
        CHECK_EQ(get64(PT + 0x100 * 8), 0x100000 | P | W | A); /* no D from a read */
        dbt_store32(v, 0x100010, 7, v->mmu);
        CHECK_EQ(get64(PT + 0x100 * 8), 0x100000 | P | W | A | D);
        CHECK_EQ(get64(PML4), PDPT | P | W | U | A);
        CHECK(RAISES(dbt_load8(v, 0x200000, v->mmu)));
        check_pf(0x200000, 0);
        CHECK(RAISES(dbt_store8(v, 0x300001, 0, v->mmu)));
        check_pf(0x300001, 2);
        CHECK(RAISES(dbt_load8(v, 0x800000000000, v->mmu)));
        CHECK_EQ(v->raised.vector, X86_GP);
        CHECK(RAISES(dbt_load8(v, 0x100000, DBT_MMU_USER)));
        check_pf(0x100000, 5);
}

static void test_protection(void)
{
        uint64_t gpa;

        setup_long();
        put64(PT + 0x101 * 8, 0x101000 | P);          /* read only */
        put64(PT + 0x102 * 8, 0x102000 | P | W | U | NX);
        put64(PT + 0x103 * 8, 0x103000 | P | W | 1ULL << 51);
        CHECK(RAISES(dbt_store8(v, 0x101000, 1, v->mmu)));
        check_pf(0x101000, 3);
        CHECK_EQ(get64(PT + 0x101 * 8) & D, 0);
        dbt_mov_to_cr(v, 0, v->cr0 & ~(uint64_t)X86_CR0_WP);
        CHECK(!RAISES(dbt_store8(v, 0x101000, 1, v->mmu)));
        CHECK(RAISES(dbt_load8(v, 0x103000, v->mmu)));
        check_pf(0x103000, 9);
        CHECK(RAISES(dbt_fetch_ptr(v, 0x102000, &gpa)));
        check_pf(0x102000, 0x11);
        CHECK(dbt_fetch_ptr(v, 0x104abc, &gpa) == ram + 0x104abc);
        CHECK_EQ(gpa, 0x104abc);
}

static void test_smep_smap(void)
{
        uint64_t gpa;

        setup_long();
        put64(PT + 0x102 * 8, 0x102000 | P | W | U);
        CHECK(!RAISES(dbt_fetch_ptr(v, 0x102000, &gpa)));
        v->cr4 |= X86_CR4_SMEP | X86_CR4_SMAP;
        dbt_mode_update(v);
        dbt_tlb_flush(v);
        CHECK(RAISES(dbt_fetch_ptr(v, 0x102000, &gpa)));
        check_pf(0x102000, 0x11);
        CHECK(RAISES(dbt_load8(v, 0x102000, v->mmu)));
        check_pf(0x102000, 1);
        dbt_set_rflags(v, X86_FLAG_AC, X86_FLAG_AC);
        CHECK(!RAISES(dbt_load8(v, 0x102000, v->mmu)));
        CHECK(RAISES(dbt_load8(v, 0x102000, dbt_system_mmu(v))));
        dbt_set_rflags(v, 0, X86_FLAG_AC);
        CHECK(RAISES(dbt_load8(v, 0x102000, v->mmu)));
        CHECK(!RAISES(dbt_load8(v, 0x102000, DBT_MMU_USER)));
}

static void test_large_pages(void)
{
        setup_long();
        put64(PD + 8, 0x600000 | P | W | PS | G);
        put64(PD + 16, 0x602000 | P | W | PS); /* bit 13 is reserved */
        put64(0x654320, 42);
        CHECK_EQ(dbt_load64(v, 0x254320, v->mmu), 42);
        CHECK_EQ(dbt_load64(v, 0x255000, v->mmu), 0);
        CHECK(RAISES(dbt_load64(v, 0x400000, v->mmu)));
        check_pf(0x400000, 9);
        put64(PD + 8, 0);
        dbt_mov_to_cr(v, 3, PML4); /* a global page survives */
        CHECK(!RAISES(dbt_load64(v, 0x254320, v->mmu)));
        dbt_invlpg(v, 0x201000); /* any address in it drops all of it */
        CHECK(RAISES(dbt_load64(v, 0x254320, v->mmu)));
        CHECK(RAISES(dbt_load64(v, 0x255000, v->mmu)));
}

static void test_flushes(void)
{
        setup_long();
        dbt_load8(v, 0x100000, v->mmu);
        put64(PT + 0x100 * 8, 0);
        CHECK(!RAISES(dbt_load8(v, 0x100000, v->mmu)));
        dbt_mov_to_cr(v, 3, PML4);
        CHECK(RAISES(dbt_load8(v, 0x100000, v->mmu)));
        dbt_load8(v, 0x101000, v->mmu);
        put64(PT + 0x101 * 8, 0);
        dbt_invlpg(v, 0x101fff);
        CHECK(RAISES(dbt_load8(v, 0x101000, v->mmu)));
}

static bool present(uint64_t lin)
{
        return !RAISES(dbt_load8(v, lin, v->mmu));
}

/* Reads the page of PT entry n, so that it is cached, and takes it away. */
static void cache_and_unmap(unsigned n)
{
        put64(PT + n * 8, (uint64_t)n << 12 | P | W);
        dbt_load8(v, (uint64_t)n << 12, v->mmu);
        put64(PT + n * 8, 0);
}

/* Intel SDM vol. 3, 4.10.4. */
static void test_pcid(void)
{
        const uint64_t keep = 1ULL << 63;

        setup_long();
        CHECK(RAISES(dbt_mov_to_cr(v, 3, PML4 | keep))); /* reserved without PCIDE */
        dbt_mov_to_cr(v, 3, PML4 | 8);
        CHECK(RAISES(dbt_mov_to_cr(v, 4, v->cr4 | X86_CR4_PCIDE)));
        dbt_mov_to_cr(v, 3, PML4);
        CHECK(RAISES(dbt_invpcid(v, 1, 5, 0)));
        dbt_mov_to_cr(v, 4, v->cr4 | X86_CR4_PCIDE);
        CHECK(RAISES(dbt_mov_to_cr(v, 0, v->cr0 & ~(uint64_t)X86_CR0_PG)));

        dbt_mov_to_cr(v, 3, PML4 | 5);
        cache_and_unmap(0x100);
        dbt_mov_to_cr(v, 3, PML4 | 6);
        CHECK_EQ(v->cr3, PML4 | 6);
        CHECK(!present(0x100000)); /* another context */
        dbt_mov_to_cr(v, 3, PML4 | 5 | keep);
        CHECK_EQ(v->cr3, PML4 | 5);
        CHECK(present(0x100000)); /* found again */
        dbt_mov_to_cr(v, 3, PML4 | 6 | keep);
        dbt_invpcid(v, 0, 5, 0x101000); /* another page */
        dbt_mov_to_cr(v, 3, PML4 | 5 | keep);
        CHECK(present(0x100000));
        dbt_mov_to_cr(v, 3, PML4 | 6 | keep);
        dbt_invpcid(v, 0, 5, 0x100fff);
        dbt_mov_to_cr(v, 3, PML4 | 5 | keep);
        CHECK(!present(0x100000));

        cache_and_unmap(0x100);
        dbt_mov_to_cr(v, 3, PML4 | 6 | keep);
        dbt_invpcid(v, 1, 5, 0);
        dbt_mov_to_cr(v, 3, PML4 | 5 | keep);
        CHECK(!present(0x100000));
        cache_and_unmap(0x100);
        dbt_invpcid(v, 1, 5, 0);
        CHECK(!present(0x100000));
        cache_and_unmap(0x100);
        dbt_mov_to_cr(v, 3, PML4 | 5);
        CHECK(!present(0x100000));
}

/* Global pages: whose flushes spare them, and whose do not. */
static void test_global(void)
{
        const uint64_t keep = 1ULL << 63;

        setup_long();
        dbt_mov_to_cr(v, 4, v->cr4 | X86_CR4_PCIDE | X86_CR4_PGE);
        put64(PT + 0x100 * 8, 0x100000 | P | W | G);
        dbt_load8(v, 0x100000, v->mmu);
        put64(PT + 0x100 * 8, 0);
        cache_and_unmap(0x101);
        dbt_invpcid(v, 3, 0, 0);
        CHECK(present(0x100000));
        CHECK(!present(0x101000));
        dbt_mov_to_cr(v, 3, PML4 | 7);
        CHECK(present(0x100000));
        dbt_invpcid(v, 2, 0, 0);
        CHECK(!present(0x100000));

        put64(PT + 0x100 * 8, 0x100000 | P | W | G);
        dbt_load8(v, 0x100000, v->mmu);
        put64(PT + 0x100 * 8, 0);
        dbt_invlpg(v, 0x100000);
        CHECK(!present(0x100000));

        put64(PT + 0x100 * 8, 0x100000 | P | W | G);
        dbt_load8(v, 0x100000, v->mmu);
        put64(PT + 0x100 * 8, 0);
        dbt_mov_to_cr(v, 4, v->cr4 & ~(uint64_t)X86_CR4_PGE);
        CHECK(!present(0x100000));
        cache_and_unmap(0x101);
        dbt_mov_to_cr(v, 4, v->cr4 | X86_CR4_PGE);
        CHECK(!present(0x101000));

        /* Contexts come and go: more than are remembered. */
        for (unsigned pcid = 1; pcid < 40; pcid++) {
                dbt_mov_to_cr(v, 3, PML4 | pcid | keep);
                cache_and_unmap(0x102);
                CHECK(present(0x102000));
        }
        dbt_mov_to_cr(v, 3, PML4 | 39 | keep);
        CHECK(present(0x102000));
        dbt_invpcid(v, 3, 0, 0);
        CHECK(!present(0x102000));
}

/* The second level's rights are those of the page tables: a view that they forbid gets nothing, and D is set before a write. */
static void test_second_level(void)
{
        setup_long();
        put64(PT + 0x100 * 8, 0x100000 | P);
        dbt_load8(v, 0x100000, v->mmu);
        CHECK(!dbt_tlb_refill(v, 0x100000, DBT_MMU_USER, DBT_READ));
        CHECK(dbt_tlb_refill(v, 0x100000, v->mmu, DBT_READ));
        CHECK(RAISES(dbt_load8(v, 0x100000, DBT_MMU_USER)));
        put64(PT + 0x100 * 8, 0x100000 | P | W);
        dbt_tlb_flush(v);
        dbt_load8(v, 0x100000, v->mmu);
        CHECK(!(get64(PT + 0x100 * 8) & D));
        CHECK(dbt_tlb_refill(v, 0x100000, v->mmu, DBT_WRITE));
        CHECK(get64(PT + 0x100 * 8) & D);
        CHECK(!dbt_tlb_refill(v, 0x8000000000000000ULL, v->mmu, DBT_READ));
        CHECK(!dbt_tlb_refill(v, 0x7000000000ULL, v->mmu, DBT_READ)); /* not mapped */
        code_page = 0x100000;
        dbt_tlb_flush(v);
        CHECK(!dbt_tlb_refill(v, 0x100000, v->mmu, DBT_WRITE));
        CHECK(dbt_tlb_refill(v, 0x100000, v->mmu, DBT_READ));
        code_page = 0;
}

static void test_crossing(void)
{
        uint8_t buf[16];

        setup_long();
        put64(PT + 0x101 * 8, 0x180000 | P | W); /* not neighbours */
        dbt_store64(v, 0x100ffd, 0x1122334455667788, v->mmu);
        CHECK_EQ(ram[0x100ffd], 0x88);
        CHECK_EQ(ram[0x180000], 0x55);
        CHECK_EQ(dbt_load64(v, 0x100ffd, v->mmu), 0x1122334455667788);
        CHECK(dbt_host_ptr(v, 0x100ffd, 8, DBT_READ, v->mmu) == NULL);
        CHECK(dbt_host_ptr(v, 0x100ff0, 16, DBT_WRITE, v->mmu) == ram + 0x100ff0);
        dbt_read_bytes(v, 0x100ff8, buf, 16, v->mmu);
        CHECK_EQ(buf[5], 0x88);
        put64(PT + 0x101 * 8, 0);
        dbt_tlb_flush(v);
        CHECK(RAISES(dbt_store64(v, 0x100ffd, 0, v->mmu)));
        check_pf(0x101000, 2);
        CHECK_EQ(ram[0x100ffd], 0x88); /* nothing was written */
}

static void test_special_memory(void)
{
        setup_long();
        put64(PT + 0x110 * 8, ROM_GPA | P | W);
        put64(PT + 0x111 * 8, 0xe0000000 | P | W);
        put64(PT + 0x112 * 8, 0xfee00000 | P | W);
        rom[3] = 9;
        CHECK_EQ(dbt_load8(v, 0x110003, v->mmu), 9);
        dbt_store8(v, 0x110003, 1, v->mmu);
        CHECK_EQ(rom[3], 9);
        CHECK_EQ(mmio_addr, ROM_GPA + 3);
        CHECK_EQ(dbt_load32(v, 0x111010, v->mmu), 0x55667788);
        CHECK_EQ(mmio_addr, 0xe0000010);
        dbt_store64(v, 0x111020, 77, v->mmu);
        CHECK_EQ(mmio_value, 77);
        CHECK_EQ(dbt_load32(v, 0x112030, v->mmu), 0x50014);
        CHECK_EQ(mmio_addr, 0xe0000020); /* the APIC is ours */
        code_page = 0x113000;
        dbt_store8(v, 0x113004, 1, v->mmu);
        CHECK_EQ(code_written, 0x113004);
        code_written = 0;
        dbt_store8(v, 0x113005, 1, v->mmu);
        CHECK_EQ(code_written, 0x113005); /* every write, not the first alone */
        code_page = 0;
        dbt_tlb_flush(v);
        dbt_store8(v, 0x113004, 1, v->mmu);
        CHECK_EQ(dbt_tlb_protect_code(v, 0x113000), 1 << 3);
        CHECK_EQ(dbt_tlb_protect_code(v, 0x113000), 0);
        dbt_store8(v, 0x114004, 1, v->mmu); /* a neighbour's entry is named and stays */
        CHECK_EQ(dbt_tlb_protect_code(v, 0x113000), 1 << 4);
        CHECK_EQ(dbt_tlb_protect_code(v, 0x113000), 1 << 4);
}

static void test_legacy_paging(void)
{
        setup_long();
        dbt_vcpu_reset(v, false);
        put32(PML4, PDPT | P | W | U);                     /* as a 32-bit directory */
        put32(PML4 + 4, 0x400000 | P | W | PS);
        put32(PDPT + 0x50 * 4, 0x123000 | P | W);
        v->cr3 = PML4;
        v->cr4 = X86_CR4_PSE;
        dbt_mov_to_cr(v, 0, X86_CR0_PE | X86_CR0_PG);
        dbt_store32(v, 0x50004, 5, v->mmu);
        CHECK_EQ(ram[0x123004], 5);
        dbt_store8(v, 0x712345, 6, v->mmu);
        CHECK_EQ(ram[0x712345], 6);
        /* PAE */
        memset(ram + PML4, 0, 0x3000);
        put64(PML4, PDPT | P);
        put64(PDPT, PD | P | W | U);
        put64(PDPT + 8, 0x600000 | P | W | U | PS);
        put64(PD + 0x50 * 8, 0x124000 | P | W);
        dbt_mov_to_cr(v, 0, X86_CR0_PE);
        dbt_mov_to_cr(v, 4, X86_CR4_PAE);
        dbt_mov_to_cr(v, 0, X86_CR0_PE | X86_CR0_PG);
        dbt_store32(v, 0x50004, 8, v->mmu);
        CHECK_EQ(ram[0x124004], 8);
        dbt_store8(v, 0x212345, 9, v->mmu);
        CHECK_EQ(ram[0x612345], 9);
        put64(PML4 + 8, 0x1e7);
        CHECK(RAISES(dbt_mov_to_cr(v, 3, PML4)));
        CHECK_EQ(v->raised.vector, X86_GP);
}

/* --- Delivery -------------------------------------------------------------------------------------------------- */

static void test_deliver_long(void)
{
        setup_long();
        v->gpr[X86_RSP] = STACK + 8; /* gets aligned */
        v->rflags = 0x202;
        CHECK(RAISES(dbt_raise_error(v, X86_GP, 0x18)));
        CHECK(dbt_deliver_raised(v));
        CHECK_EQ(v->rip, HANDLER);
        CHECK_EQ(v->gpr[X86_RSP], STACK - 48);
        CHECK_EQ(get64(STACK - 48), 0x18);
        CHECK_EQ(get64(STACK - 40), 0x1000);
        CHECK_EQ(get64(STACK - 32), 0x08);
        CHECK_EQ(get64(STACK - 24), 0x10202); /* RF: a fault */
        CHECK_EQ(get64(STACK - 16), STACK + 8);
        CHECK_EQ(get64(STACK - 8), 0x10);
        CHECK_EQ(v->rflags, 2);
        v->gpr[X86_RSP] += 8;
        dbt_iret(v, 8);
        CHECK_EQ(v->rip, 0x1000);
        CHECK_EQ(v->gpr[X86_RSP], STACK + 8);
        CHECK_EQ(v->rflags, 0x202); /* RF only while there are breakpoints */
}

static void test_deliver_from_user(void)
{
        setup_long();
        to_user();
        v->gpr[X86_RSP] = 0x5555;
        put_gate(0x80, DESC_TRAP32, 3, 0);
        put_gate(0x81, DESC_INT32, 0, 0);
        CHECK(!RAISES(dbt_software_interrupt(v, 0x80, 0x1236)));
        CHECK_EQ(v->cpl, 0);
        CHECK_EQ(v->gpr[X86_RSP], RSP0 - 40);
        CHECK_EQ(get64(RSP0 - 40), 0x1236);
        CHECK_EQ(get64(RSP0 - 32), 0x2b);
        CHECK_EQ(get64(RSP0 - 16), 0x5555);
        CHECK_EQ(v->seg[X86_SS].selector, 0);
        CHECK(v->rflags & X86_FLAG_IF); /* a trap gate */
        dbt_iret(v, 8);
        CHECK_EQ(v->cpl, 3);
        CHECK_EQ(v->rip, 0x1236);
        CHECK_EQ(v->gpr[X86_RSP], 0x5555);
        CHECK(RAISES(dbt_software_interrupt(v, 0x81, 0x1236)));
        CHECK_EQ(v->raised.vector, X86_GP);
        CHECK_EQ(v->raised.error, 0x81 * 8 + 2);
        CHECK_EQ(v->rip, 0x1236);
        CHECK_EQ(v->cpl, 3);
}

static void test_icebp(void)
{
        setup_long();
        to_user();
        put_gate(X86_DB, DESC_INT32, 0, 0);
        CHECK(!RAISES(dbt_icebp(v, 0x1240))); /* no gate privilege check */
        CHECK_EQ(v->cpl, 0);
        CHECK_EQ(get64(RSP0 - 40), 0x1240);
        CHECK_EQ(get64(RSP0 - 24), 0x202); /* a trap: no RF */
        CHECK_EQ(v->dr6, 0xffff0ff0);
}

static void test_ist_and_double_fault(void)
{
        setup_long();
        put_gate(X86_DF, DESC_INT32, 0, 1);
        v->gpr[X86_RSP] = 0x300000; /* not mapped */
        CHECK(RAISES(dbt_raise_error(v, X86_PF, 0)));
        CHECK(RAISES(dbt_deliver_raised(v)));
        CHECK_EQ(v->raised.vector, X86_PF);
        CHECK_EQ(v->cr2, 0x300000 - 8);
        CHECK(dbt_deliver_raised(v)); /* becomes #DF, on its own stack */
        CHECK_EQ(v->gpr[X86_RSP], IST - 48);
        CHECK_EQ(get64(IST - 48), 0);
        CHECK_EQ(get64(IST - 16), 0x300000);
        /* triple fault: #DF has no good stack either */
        setup_long();
        v->gpr[X86_RSP] = 0x300000;
        CHECK(RAISES(dbt_raise_error(v, X86_PF, 0)));
        CHECK(RAISES(dbt_deliver_raised(v)));
        CHECK(RAISES(dbt_deliver_raised(v)));
        CHECK(!dbt_deliver_raised(v));
        CHECK_EQ(v->gpr[X86_RSP], 0x300000);
        CHECK_EQ(v->rip, 0x1000);
}

static void test_deliver_real(void)
{
        setup_long();
        dbt_vcpu_reset(v, false);
        v->idtr = (struct x86_table){ 0, 0x3ff };
        put32(0x10 * 4, 0x12345678);
        v->gpr[X86_RSP] = 0xabcd0000; /* SP wraps */
        v->rip = 0x100;
        v->rflags = 0x202;
        dbt_load_seg(v, X86_SS, 0x2000);
        CHECK(dbt_deliver_interrupt(v, 0x10));
        CHECK_EQ(v->rip, 0x5678);
        CHECK_EQ(v->seg[X86_CS].base, 0x12340);
        CHECK_EQ(v->gpr[X86_RSP], 0xabcdfffa);
        CHECK_EQ(get64(0x2fffa) & 0xffffffffffff, 0x0202f0000100);
        dbt_iret(v, 2);
        CHECK_EQ(v->rip, 0x100);
        CHECK_EQ(v->seg[X86_CS].selector, 0xf000);
        CHECK_EQ(v->gpr[X86_RSP], 0xabcd0000);
}

static void test_deliver_protected(void)
{
        setup_long();
        dbt_vcpu_reset(v, false);
        put64(GDT + 0x08, 0x00cf9b000000ffff);
        v->gdtr = (struct x86_table){ GDT, 0xfff };
        v->idtr = (struct x86_table){ IDT, 0x7ff };
        for (unsigned i = 0; i < 256; i++)
                put64(IDT + i * 8, HANDLER | 0x08 << 16 | 0x8e00ULL << 32);
        v->tr = (struct x86_segment){ .base = TSS, .limit = 0x67, .attr = 0x8b, .selector = 0x40 };
        put32(TSS + 4, RSP0);
        put32(TSS + 8, 0x10);
        dbt_mov_to_cr(v, 0, X86_CR0_PE);
        dbt_far_jump(v, 0x08, 0x1000, 4);
        dbt_load_seg(v, X86_SS, 0x10);
        dbt_load_seg(v, X86_DS, 0x10);
        dbt_load_seg(v, X86_ES, 0x10);
        CHECK_EQ(v->mode, DBT_MODE_PE | DBT_MODE_CS32 | DBT_MODE_SS32 | DBT_MODE_FLAT);
        v->gpr[X86_RSP] = STACK;
        /* to user mode by iret, and back by an exception */
        put32(STACK, 0x2222);
        put32(STACK + 4, 0x1b);
        put32(STACK + 8, 0x202);
        put32(STACK + 12, 0x3333);
        put32(STACK + 16, 0x23);
        dbt_iret(v, 4);
        CHECK_EQ(v->cpl, 3);
        CHECK_EQ(v->rip, 0x2222);
        CHECK(v->seg[X86_DS].attr & X86_SEG_UNUSABLE);
        CHECK(RAISES(dbt_seg_linear(v, X86_DS, 0, 1, DBT_READ)));
        CHECK_EQ(v->raised.vector, X86_GP);
        CHECK(dbt_deliver_raised(v));
        CHECK_EQ(v->cpl, 0);
        CHECK_EQ(v->gpr[X86_RSP], RSP0 - 24);
        CHECK_EQ(get64(RSP0 - 8), 0x2300003333);
        CHECK_EQ(get64(RSP0 - 24), 0x222200000000);
}

/* --- Segments -------------------------------------------------------------------------------------------------- */

static void test_segments(void)
{
        struct x86_segment up = { .limit = 0xfff, .attr = 0x93 };
        struct x86_segment down = { .limit = 0xfff, .attr = 0x97 };

        CHECK(dbt_seg_within(&up, 0xffc, 4));
        CHECK(!dbt_seg_within(&up, 0xffd, 4));
        CHECK(!dbt_seg_within(&up, UINT64_MAX, 2));
        CHECK(dbt_seg_within(&down, 0x1000, 4));
        CHECK(!dbt_seg_within(&down, 0xfff, 1));
        CHECK(!dbt_seg_within(&down, 0xffff, 2));

        setup_long();
        put64(GDT + 0x30, 0x00cf13000000ffff); /* not present */
        put64(GDT + 0x38, 0x00cf92000000ffff); /* not yet accessed */
        CHECK(RAISES(dbt_load_seg(v, X86_DS, 0x30)));
        CHECK_EQ(v->raised.vector, X86_NP);
        CHECK_EQ(v->raised.error, 0x30);
        CHECK(RAISES(dbt_load_seg(v, X86_SS, 0x30)));
        CHECK_EQ(v->raised.vector, X86_SSF);
        CHECK(RAISES(dbt_load_seg(v, X86_SS, 0x23)));
        CHECK_EQ(v->raised.vector, X86_GP);
        CHECK(RAISES(dbt_load_seg(v, X86_DS, 0x1000)));
        CHECK_EQ(v->raised.error, 0x1000);
        CHECK(!RAISES(dbt_load_seg(v, X86_DS, 0x38)));
        CHECK_EQ(get64(GDT + 0x38), 0x00cf93000000ffff);
        CHECK(!RAISES(dbt_load_seg(v, X86_SS, 0)));
        CHECK(!RAISES(dbt_load_seg(v, X86_FS, 0)));
        CHECK_EQ(v->cpl, 0);
        put64(GDT + 0x40, 0x0000890070000067);
        put64(GDT + 0x48, 0xffff8000);
        dbt_ltr(v, 0x40);
        CHECK_EQ(v->tr.base, 0xffff800000007000);
        CHECK_EQ(get64(GDT + 0x40) >> 40 & 0xf, 0xb);
        CHECK(RAISES(dbt_ltr(v, 0x40))); /* busy */
}

static void test_calls(void)
{
        uint64_t cs;

        setup_long();
        to_user();
        v->msr[X86_MSR_LSTAR] = 0x7777;
        v->msr[X86_MSR_SFMASK] = X86_FLAG_IF;
        dbt_syscall(v, 0x1240);
        CHECK_EQ(v->rip, 0x7777);
        CHECK_EQ(v->gpr[X86_RCX], 0x1240);
        CHECK_EQ(v->gpr[X86_R11], 0x202);
        CHECK_EQ(v->rflags, 2);
        CHECK_EQ(v->cpl, 0);
        CHECK_EQ(v->seg[X86_CS].selector, 8);
        CHECK_EQ(v->seg[X86_SS].selector, 0x10);
        /* lretq to compatibility mode */
        v->gpr[X86_RSP] = STACK;
        put64(STACK, 0x4444);
        put64(STACK + 8, 0x1b);
        put64(STACK + 16, 0x8888);
        put64(STACK + 24, 0x23);
        dbt_far_return(v, 8, 0);
        CHECK_EQ(v->mode, DBT_MODE_PE | DBT_MODE_CS32 | DBT_MODE_SS32 | DBT_MODE_CPL3);
        CHECK_EQ(v->gpr[X86_RSP], 0x8888);
        /* a call gate back */
        put64(GDT + 0x50, 0x0000ec0000087000);
        put64(GDT + 0x58, 0);
        cs = RAISES(dbt_far_call(v, 0x53, 0, 4, 0x4450));
        CHECK(!cs);
        CHECK_EQ(v->rip, 0x7000);
        CHECK_EQ(v->gpr[X86_RSP], RSP0 - 32);
        CHECK_EQ(get64(RSP0 - 32), 0x4450);
        CHECK_EQ(get64(RSP0 - 8), 0x23);
}

/* --- System registers ------------------------------------------------------------------------------------------ */

static bool wrmsr(uint32_t msr, uint64_t value)
{
        return dbt_msr_write(v, msr, value);
}

static void test_registers(void)
{
        uint64_t value;

        setup_long();
        CHECK(RAISES(dbt_mov_to_cr(v, 0, X86_CR0_PG)));
        CHECK(RAISES(dbt_mov_to_cr(v, 0, X86_CR0_PE | X86_CR0_NW)));
        CHECK(RAISES(dbt_mov_to_cr(v, 4, 0)));                           /* PAE in long mode */
        CHECK(RAISES(dbt_mov_to_cr(v, 4, v->cr4 | X86_CR4_LA57)));
        CHECK(RAISES(dbt_mov_to_cr(v, 3, 1ULL << 52)));
        CHECK(RAISES(dbt_mov_to_cr(v, 8, 16)));
        dbt_mov_to_cr(v, 8, 5);
        CHECK_EQ(dbt_mov_from_cr(v, 8), 5);
        CHECK(RAISES(dbt_mov_to_cr(v, 1, 0)));
        CHECK_EQ(v->raised.vector, X86_UD);
        CHECK(!wrmsr(0xc0000080, 1 << 12));
        CHECK(!wrmsr(0xc0000080, v->efer & ~(uint64_t)X86_EFER_LME));
        CHECK(!wrmsr(0xc0000082, 1ULL << 47));
        CHECK(wrmsr(0xc0000082, 0xffff800000000000));
        CHECK(!wrmsr(0x277, 2));
        CHECK(!wrmsr(0x12345, 0));
        CHECK(!dbt_msr_read(v, 0x12345, &value));
        CHECK(wrmsr(0x10, 0));
        CHECK(dbt_guest_tsc(v) < 1000000000);
        CHECK(dbt_msr_read(v, 0xfe, &value));
        CHECK_EQ(value & 0xff, 8);
        to_user();
        CHECK(RAISES(dbt_rdmsr(v)));
        CHECK(RAISES(dbt_mov_from_cr(v, 0)));
        CHECK(RAISES(dbt_hlt(v)));
        CHECK_EQ(v->mp_state, X86_MP_RUNNABLE);
}

static void test_breakpoints(void)
{
        setup_long();
        dbt_mov_to_dr(v, 0, 0x100010);
        dbt_mov_to_dr(v, 1, 0x1000);
        dbt_mov_to_dr(v, 7, 0xd0000 | 1); /* writes of 4 bytes */
        dbt_store8(v, 0x10000f, 1, v->mmu);
        dbt_load64(v, 0x100010, v->mmu);
        CHECK(!RAISES(dbt_debug_after(v, false)));
        dbt_store8(v, 0x100013, 1, v->mmu);
        CHECK(RAISES(dbt_debug_after(v, false)));
        CHECK_EQ(v->raised.vector, X86_DB);
        CHECK_EQ(v->dr6, 0xffff0ff1);
        dbt_debug_before(v);
        dbt_mov_to_dr(v, 7, 0xf0000 | 1); /* and reads */
        dbt_load8(v, 0x100000, v->mmu);   /* fills the TLB */
        dbt_load64(v, 0x10000c, v->mmu);
        CHECK(RAISES(dbt_debug_after(v, true)));
        CHECK_EQ(v->dr6, 0xffff4ff1);
        dbt_mov_to_dr(v, 7, 4); /* DR1: execution */
        v->rip = 0x1001;
        CHECK(!RAISES(dbt_debug_before(v)));
        v->rip = 0x1000;
        CHECK(RAISES(dbt_debug_before(v)));
        v->rflags |= X86_FLAG_RF;
        CHECK(!RAISES(dbt_debug_before(v)));
        CHECK_EQ(v->rflags & X86_FLAG_RF, 0);
        dbt_mov_to_dr(v, 7, 0);
        CHECK(!v->sys.breaks && !v->sys.watch);
}

static void test_io(void)
{
        setup_long();
        CHECK(!RAISES(dbt_io_check(v, 0x60, 1)));
        to_user();
        put32(TSS + 0x66, 0x68);
        CHECK(RAISES(dbt_io_check(v, 0x60, 1))); /* no bitmap */
        v->tr.limit = 0x200;
        put64(TSS + 0x74, ~3ULL); /* ports 0x60, 0x61 */
        CHECK(!RAISES(dbt_io_check(v, 0x60, 2)));
        CHECK(RAISES(dbt_io_check(v, 0x61, 2)));
        CHECK(RAISES(dbt_io_check(v, 0xffff, 1)));
        CHECK_EQ(v->raised.vector, X86_GP);
}

static void test_clock(void)
{
        struct {
                uint32_t version, pad;
                uint64_t tsc, ns;
                uint32_t mul;
                int8_t shift;
                uint8_t flags;
        } c;

        setup_long();
        CHECK(wrmsr(0x4b564d01, 0x150000 | 1));
        memcpy(&c, ram + 0x150000, sizeof(c));
        CHECK(c.version && !(c.version & 1));
        CHECK_EQ(c.flags, 1);
        CHECK_EQ(c.tsc, vm.clock_tsc + (uint64_t)v->tsc_offset);
        /* a second's worth of ticks is a second */
        CHECK_EQ((((c.shift < 0 ? 2000000000ULL >> -c.shift : 2000000000ULL << c.shift) * c.mul >> 32) + 50) / 100, 10000000);
        CHECK(!wrmsr(0x4b564d01, 0x90000000 | 1));
}

static void test_events(void)
{
        setup_long();
        v->rflags = 2;
        lapic_mmio_write(v->lapic, 0xf0, 0x1ff);
        lapic_bus_msi(bus, 0xfee00000, 0x41);
        CHECK(v->request & DBT_REQ_INTR);
        CHECK(dbt_poll_events(v));
        CHECK_EQ(v->rip, 0x1000);
        CHECK(v->intr_waiting && !dbt_has_wakeup(v));
        dbt_sti(v);
        CHECK(dbt_has_wakeup(v));
        CHECK(dbt_poll_events(v)); /* the shadow */
        CHECK_EQ(v->rip, 0x1000);
        v->interrupt_shadow = false;
        dbt_hlt(v);
        CHECK(dbt_poll_events(v));
        CHECK_EQ(v->rip, HANDLER);
        CHECK_EQ(v->mp_state, X86_MP_RUNNABLE);
        v->nmi_pending = true;
        CHECK(dbt_poll_events(v)); /* IF does not matter */
        CHECK(v->nmi_blocked);
        v->nmi_pending = true;
        v->rip = 5;
        CHECK(dbt_poll_events(v));
        CHECK_EQ(v->rip, 5);
        dbt_iret(v, 8);
        CHECK(!v->nmi_blocked && (v->request & DBT_REQ_INTR));
        /* INIT and SIPI */
        lapic_bus_msi(bus, 0xfee00000, 0x500);
        lapic_bus_msi(bus, 0xfee00000, 0x699);
        v->mp_state = X86_MP_HALTED;
        CHECK(dbt_has_wakeup(v));
        CHECK(dbt_poll_events(v));
        CHECK_EQ(v->cr0, X86_CR0_ET);
        CHECK_EQ(v->seg[X86_CS].selector, 0xf000); /* the bootstrap processor ignores SIPI */
}

static void test_state(void)
{
        static struct x86_state s, again;

        setup_long();
        to_user();
        v->gpr[X86_R9] = 99;
        dbt_get_state(v, &s);
        dbt_vcpu_reset(v, false);
        CHECK_EQ(v->cpl, 0);
        dbt_set_state(v, &s);
        CHECK_EQ(v->cpl, 3);
        CHECK(v->mode & DBT_MODE_CS64);
        dbt_get_state(v, &again);
        CHECK(again.tsc - s.tsc < 100000000);
        again.tsc = s.tsc;
        CHECK(memcmp(&s, &again, sizeof(s)) == 0);
}

static void new_vcpu(void)
{
        static const struct lapic_callbacks lapic_cb = { .wake = cb_wake, .eoi = cb_eoi, .tsc = cb_tsc, .now = cb_now };
        static const struct engine_callbacks cb = { .mmio_read = mmio_read, .mmio_write = mmio_write };
        struct cpuid_topology topo = { .cpus = 1 };
        uint32_t pv;

        CHECK_EQ(posix_memalign((void **)&v, DBT_PAGE_SIZE, sizeof(*v)), 0);
        memset(v, 0xff, sizeof(*v));
        v->mirror = NULL;
        v->check = NULL;
        vm.config.callbacks = &cb;
        vm.tsc_khz = 2000000;
        vm.slots[0] = (struct dbt_slot){ .gpa = 0, .size = RAM, .host = ram };
        vm.slots[1] = (struct dbt_slot){ .gpa = ROM_GPA, .size = ROM, .host = rom, .readonly = true };
        vm.n_slots = 2;
        vm.vcpus[0] = v;
        vm.n_vcpus = 1;
        v->vm = &vm;
        v->index = 0;
        v->tsc_offset = 0;
        v->request = 0;
        v->fpu_live = false;
        CHECK_EQ(lapic_bus_new(1, &lapic_cb, NULL, &bus), 0);
        v->lapic = lapic_bus_get(bus, 0);
        dbt_cpuid_supported(&v->cpuid, &pv);
        cpuid_finish(&v->cpuid, &topo, pv, 2000000);
        CHECK(v->cpuid.n < CPUID_ENTRIES_MAX);
}

int main(void)
{
        new_vcpu();
        test_walk();
        test_protection();
        test_smep_smap();
        test_large_pages();
        test_flushes();
        test_pcid();
        test_global();
        test_second_level();
        test_crossing();
        test_special_memory();
        test_legacy_paging();
        test_deliver_long();
        test_deliver_from_user();
        test_icebp();
        test_ist_and_double_fault();
        test_deliver_real();
        test_deliver_protected();
        test_segments();
        test_calls();
        test_registers();
        test_breakpoints();
        test_io();
        test_clock();
        test_events();
        test_state();
        lapic_bus_free(bus);
        free(v);
        return 0;
}
