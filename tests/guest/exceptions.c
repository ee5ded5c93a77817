/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Exceptions: the right vector, error code, RIP and CR2, and nothing half done before them. */
#include "guest.h"

#define NOWHERE 0x6000000000ull
#define NON_CANONICAL 0x800000000000ull

#define CR0_MP 0x2ull
#define CR0_EM 0x4ull
#define CR0_TS 0x8ull

struct __attribute__((packed)) pointer {
        uint16_t limit;
        uint64_t base;
};

static struct pointer idt_pointer(void)
{
        struct pointer p;

        asm volatile("sidt %0" : "=m"(p));
        return p;
}

static void idt_present(unsigned vector, bool present)
{
        volatile uint8_t *type = (uint8_t *)idt_pointer().base + vector * 16 + 5;

        *type = (uint8_t)(present ? *type | 0x80 : *type & 0x7f);
}

static void test_divide(void)
{
        TRY("divl %%ecx", : : "a"(1), "d"(0), "c"(0));
        CHECK(trapped(0, 0));
        TRY("divl %%ecx", : : "a"(1), "d"(5), "c"(5));
        CHECK(trapped(0, 0));
        TRY("idivq %%rcx", : : "a"(1ull << 63), "d"(-1ll), "c"(-1ll));
        CHECK(trapped(0, 0));
        TRY("idivb %%cl", : : "a"(0x4000), "c"(1));
        CHECK(trapped(0, 0));
        TRY("divl %%ecx", : : "a"(100), "d"(0), "c"(7));
        CHECK(trap.vector == -1);
}

static void test_undefined(void)
{
        TRY("ud2", :);
        CHECK(trapped(6, 0));
        TRY(".byte 0x06", :); /* push es does not exist in 64-bit mode */
        CHECK(trapped(6, 0));
        TRY(".byte 0xf0, 0x01, 0xc0", :); /* lock add with a register */
        CHECK(trapped(6, 0));
}

/* Hints of extensions that are absent or off do nothing, and touch neither register nor memory. */
static void test_hints(void)
{
        uint64_t rax = 0x1234;

        TRY("rdsspq %0", : "+a"(rax));
        CHECK(trap.vector == -1 && rax == 0x1234);
        TRY("rdsspd %k0", : "+a"(rax));
        CHECK(trap.vector == -1 && rax == 0x1234);
        TRY("endbr64", :);
        CHECK(trap.vector == -1);
        TRY("nopl (%%rax)", : : "a"(NOWHERE));
        CHECK(trap.vector == -1);
        TRY("prefetcht0 (%%rax)", : : "a"(NOWHERE));
        CHECK(trap.vector == -1);
        TRY("bndmov (%%rax), %%bnd0", : : "a"(NOWHERE));
        CHECK(trap.vector == -1);
        TRY("bndcl (%%rax), %%bnd1", : : "a"(NOWHERE));
        CHECK(trap.vector == -1);
}

/* What QEMU's emulator, on which this guest is tried too, lets pass. */
static void test_strict(void)
{
        TRY(".byte 0xf0, 0x8b, 0x00", : : "a"(&trap)); /* lock mov */
        CHECK(trapped(6, 0));
        TRY(".byte 0x0f, 0x20, 0xc8", : : : "rax"); /* mov from cr1 */
        CHECK(trapped(6, 0));
        TRY("rdmsr", : : "c"(0x12345678) : "rax", "rdx");
        CHECK(trapped(13, 0));
        TRY("movq %0, %%cr4", : : "r"(read_cr4() | 1ull << 40));
        CHECK(trapped(13, 0));
        TRY("movq %0, %%cr0", : : "r"(read_cr0() & ~1ull)); /* PE off, PG on */
        CHECK(trapped(13, 0));
        TRY("movq %0, %%cr4", : : "r"(read_cr4() & ~0x20ull)); /* PAE off in long mode */
        CHECK(trapped(13, 0));
}

static void test_protection(void)
{
        TRY("movq (%%rax), %%rax", : : "a"(NON_CANONICAL));
        CHECK(trapped(13, 0));
        TRY("movw %w0, %%fs", : : "r"(0x333));
        CHECK(trapped(13, 0x330));
        TRY("movw %w0, %%fs", : : "r"(0x48)); /* code that is not present */
        CHECK(trapped(11, 0x48));
        TRY("movw %w0, %%ss", : : "r"(0)); /* fine in ring 0 of 64-bit mode */
        CHECK(trap.vector == -1);
        TRY("movw %w0, %%ss", : : "r"(KERNEL_CS));
        CHECK(trapped(13, KERNEL_CS));
        TRY("movw %w0, %%ss", : : "r"(KERNEL_DS));
        CHECK(trap.vector == -1);
}

static void test_software_interrupts(void)
{
        TRY("int3", :);
        CHECK(trap.vector == 3 && trap.rip == trap_at + 1);
        TRY(".byte 0xcd, 3", :);
        CHECK(trap.vector == 3 && trap.rip == trap_at + 2);
        TRY(".byte 0xf1", :);
        CHECK_STRICT(trap.vector == 1 && trap.rip == trap_at + 1);
}

static void test_stack_fault(void)
{
        TRY_WITH("pushq %%rbp\n\tmovq %0, %%rbp", "movq (%%rbp), %%rax", "popq %%rbp", : : "r"(NON_CANONICAL) : "rax");
        if (trap.vector == 13) /* the software engine does not tell segments apart there */
                print("KNOWN DEVIATION: a non-canonical stack address gives #GP instead of #SS\n");
        else
                CHECK_STRICT(trapped(12, 0));
}

static void test_page_fault(void)
{
        volatile uint64_t *p = (uint64_t *)NOWHERE;
        uint64_t rax = 0x1122334455667788;

        TRY("movq (%1), %0", : "+a"(rax) : "r"(p));
        CHECK(trapped_pf(0, p) && rax == 0x1122334455667788);
        TRY("movq %0, (%1)", : : "a"(rax), "r"(p));
        CHECK(trapped_pf(PF_W, p));
        TRY("incl 4(%0)", : : "r"(p));
        CHECK_STRICT(trapped_pf(PF_W, (char *)p + 4));
        TRY("call *%%rax", : : "a"(p)); /* faults at the target, with the return address pushed */
        CHECK(trap.vector == 14 && (trap.error & ~PF_I) == 0 && trap.rip == NOWHERE && trap.cr2 == NOWHERE);
        CHECK(trap.rsp == trap_rsp - 8);
        TRY("pushq (%0)", : : "r"(p));
        CHECK(trapped_pf(0, p) && trap.rsp == trap_rsp);
        TRY_WITH("pushq $5", "popq (%0)", "popq %%rax", : : "r"(p) : "rax");
        CHECK(trapped_pf(PF_W, p) && trap.rsp == trap_rsp);
}

static void test_page_crossing(void)
{
        uint8_t *page = page_alloc();
        volatile uint64_t *p = (uint64_t *)(TEST_VA + 4096 - 4);

        map(TEST_VA, (uintptr_t)page, PTE_P | PTE_W | PTE_NX);
        memset(page, 0x55, 4096);
        TRY("movq %0, (%1)", : : "a"(0ull), "r"(p));
        CHECK(trapped_pf(PF_W, (void *)(TEST_VA + 4096)));
        CHECK(page[4095] == 0x55 && page[4092] == 0x55); /* nothing was written */
        TRY("movq (%0), %%rax", : : "r"(p) : "rax");
        CHECK(trapped_pf(0, (void *)(TEST_VA + 4096)));
        TRY("addq %0, (%1)", : : "a"(1ull), "r"(p));
        CHECK(trap.vector == 14 && trap.cr2 == TEST_VA + 4096 && page[4092] == 0x55);
}

/* All of these count as writes, whether they write or not. */
static void test_rmw(void)
{
        void *page = page_alloc();
        volatile void *p = (void *)(TEST_VA + 0x10000);
        uint64_t rax = 7;

        map(TEST_VA + 0x10000, (uintptr_t)page, PTE_P);
        TRY("cmpxchgq %%rcx, (%1)", : "+a"(rax) : "r"(p), "c"(1));
        CHECK(trapped_pf(PF_P | PF_W, p) && rax == 7);
        rax = 9;
        TRY("xaddq %0, (%1)", : "+a"(rax) : "r"(p));
        CHECK(trapped_pf(PF_P | PF_W, p) && rax == 9);
        TRY("xchgq %0, (%1)", : "+a"(rax) : "r"(p));
        CHECK(trapped_pf(PF_P | PF_W, p) && rax == 9);
        TRY("lock incq (%0)", : : "r"(p));
        CHECK(trapped_pf(PF_P | PF_W, p));
}

static void test_single_step(void)
{
        uint64_t rax = 0;

        TRY("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tincl %%eax\n\tincl %%eax\n\tincl %%eax", : "+a"(rax));
        CHECK(trap.vector == 1);
        CHECK(rax == 1); /* the trap comes after the instruction that follows popf */
        CHECK(trap.rflags & 0x100);
}

static void test_device_not_available(void)
{
        uint64_t cr0 = read_cr0();

        write_cr0(cr0 | CR0_TS);
        TRY("fninit", :);
        CHECK(trapped(7, 0));
        TRY("movaps %%xmm0, %%xmm0", :);
        CHECK(trapped(7, 0));
        TRY("fwait", :);
        CHECK(trap.vector == -1); /* only with MP */
        write_cr0(cr0 | CR0_TS | CR0_MP);
        TRY("fwait", :);
        CHECK(trapped(7, 0));
        asm volatile("clts");
        TRY("fninit", :);
        CHECK(trap.vector == -1);
        write_cr0((cr0 & ~CR0_TS) | CR0_EM);
        TRY("movaps %%xmm0, %%xmm0", :);
        CHECK(trapped(6, 0));
        TRY("fninit", :);
        CHECK(trapped(7, 0));
        write_cr0(cr0);
}

/* Code for ring 3, position independent. */
asm(".pushsection .rodata\n"
    "user_hlt: hlt\nuser_hlt_end:\n"
    "user_read: movq (%rdi), %rax\n int $0x80\nuser_read_end:\n"
    "user_int80: nop\n int $0x80\nuser_int80_end:\n"
    "user_int82: int $0x82\nuser_int82_end:\n"
    "user_in: inb $0x80, %al\nuser_in_end:\n"
    "user_cr: movq %cr0, %rax\nuser_cr_end:\n"
    "user_cli: cli\nuser_cli_end:\n"
    ".popsection");
extern uint8_t user_hlt[], user_hlt_end[], user_read[], user_read_end[], user_int80[], user_int80_end[], user_int82[],
        user_int82_end[], user_in[], user_in_end[], user_cr[], user_cr_end[], user_cli[], user_cli_end[];
#define RUN_USER(name, arg) run_user(name, (size_t)(name##_end - name), arg)

static void test_user(void)
{
        RUN_USER(user_int80, 0);
        CHECK(trap.vector == 0x80 && trap.rip == USER_CODE + 3 && trap.cs == USER_CS && trap.rsp == USER_STACK - 64);
        RUN_USER(user_hlt, 0);
        CHECK(trapped(13, 0));
        RUN_USER(user_in, 0);
        CHECK(trapped(13, 0));
        RUN_USER(user_cr, 0);
        CHECK(trapped(13, 0));
        RUN_USER(user_cli, 0);
        CHECK(trapped(13, 0));
        RUN_USER(user_int82, 0);
        CHECK_STRICT(trapped(13, 0x82 * 8 + 2));
        RUN_USER(user_read, 0x100000);
        CHECK(trapped_pf(PF_P | PF_U, (void *)0x100000));
        RUN_USER(user_read, NOWHERE);
        CHECK(trapped_pf(PF_U, (void *)NOWHERE));
        RUN_USER(user_read, USER_CODE);
        CHECK(trap.vector == 0x80);
}

static void test_interrupt_table(void)
{
        struct pointer old = idt_pointer(), cut = { 0x84 * 16 - 1, old.base };

        asm volatile("lidt %0" : : "m"(cut));
        TRY("int $0x85", :);
        CHECK_STRICT(trapped(13, 0x85 * 8 + 2));
        asm volatile("lidt %0" : : "m"(old));
        idt_present(0x85, false);
        TRY("int $0x85", :);
        CHECK_STRICT(trapped(11, 0x85 * 8 + 2));
        idt_present(0x85, true);
}

/* While #GP is delivered its gate is missing: that makes a double fault. */
static void test_double_fault(void)
{
        idt_present(13, false);
        TRY("movq (%%rax), %%rax", : : "a"(NON_CANONICAL));
        CHECK(trap.vector == 8 && trap.error == 0);
        idt_present(13, true);
        TRY("movq (%%rax), %%rax", : : "a"(NON_CANONICAL));
        CHECK(trapped(13, 0));
        /* A page fault whose gate is missing is no double fault's cause if the second one is a #PF, but #NP makes it one. */
        idt_present(14, false);
        TRY("movq (%%rax), %%rax", : : "a"(NOWHERE));
        CHECK(trap.vector == 8 && trap.error == 0);
        idt_present(14, true);
}

static void test_iret(void)
{
        uint64_t flags = 0;

        TRY_WITH("movq %%rsp, %%rbx\n\tpushq $0x18\n\tpushq %%rbx\n\tpushq $0x8d7\n\tpushq $0x10\n\tpushq $776f",
                "iretq\n776: pushfq\n\tpopq %0", "movq %%rbx, %%rsp", : "=r"(flags) : : "rbx", "cc");
        CHECK(trap.vector == -1 && flags == 0x8d7);
        TRY_WITH("movq %%rsp, %%rbx\n\tpushq $0x18\n\tpushq %%rbx\n\tpushq $2\n\tpushq $0x48\n\tpushq $776f",
                "iretq\n776:", "movq %%rbx, %%rsp", : : : "rbx", "cc");
        CHECK(trapped(11, 0x48));
        TRY_WITH("movq %%rsp, %%rbx\n\tpushq $0x18\n\tpushq %%rbx\n\tpushq $2\n\tpushq $0x18\n\tpushq $776f",
                "iretq\n776:", "movq %%rbx, %%rsp", : : : "rbx", "cc");
        CHECK(trapped(13, 0x18));
}

void guest_main(void)
{
        RUN(test_divide);
        RUN(test_undefined);
        RUN(test_hints);
        if (!has_word("lenient"))
                RUN(test_strict);
        RUN(test_protection);
        RUN(test_software_interrupts);
        RUN(test_stack_fault);
        RUN(test_page_fault);
        RUN(test_page_crossing);
        RUN(test_rmw);
        RUN(test_single_step);
        RUN(test_device_not_available);
        RUN(test_user);
        RUN(test_interrupt_table);
        RUN(test_double_fault);
        RUN(test_iret);
}
