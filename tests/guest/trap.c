/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"

struct gate {
        uint16_t offset0, selector;
        uint8_t ist, type;
        uint16_t offset1;
        uint32_t offset2, zero;
};

struct __attribute__((packed)) tss {
        uint32_t reserved0;
        uint64_t rsp[3], reserved1, ist[7], reserved2;
        uint16_t reserved3, iomap;
};

struct __attribute__((packed)) pointer {
        uint16_t limit;
        uint64_t base;
};

extern uint64_t gdt[], gdt_end[];
extern uint8_t trap_stubs[256][16];
extern void user_enter(uint64_t rip, uint64_t rsp, uint64_t arg);
extern uint8_t user_leave[];

volatile struct trap trap;
volatile uint64_t trap_at, trap_resume, trap_rsp;
static volatile bool in_user;
static struct gate idt[256] __attribute__((aligned(16)));
static struct tss tss[CPUS_MAX];
static uint8_t ring0_stacks[CPUS_MAX][8192] __attribute__((aligned(16)));
static irq_fn handlers[256];

void idt_set(unsigned vector, const void *entry, unsigned dpl)
{
        uint64_t p = (uintptr_t)entry;

        idt[vector] = (struct gate){ .offset0 = (uint16_t)p, .selector = KERNEL_CS, .type = (uint8_t)(0x8e | dpl << 5),
                .offset1 = (uint16_t)(p >> 16), .offset2 = (uint32_t)(p >> 32) };
}

void irq_set_handler(unsigned vector, irq_fn fn)
{
        handlers[vector] = fn;
}

static void load_tss(unsigned cpu)
{
        uint64_t base = (uintptr_t)&tss[cpu];
        unsigned slot = (TSS_SELECTOR + cpu * 16) / 8;

        tss[cpu].rsp[0] = (uintptr_t)(ring0_stacks[cpu] + sizeof(ring0_stacks[cpu]));
        tss[cpu].iomap = sizeof(tss[cpu]);
        gdt[slot] = (sizeof(tss[cpu]) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
        gdt[slot + 1] = base >> 32;
        asm volatile("ltr %w0" : : "r"(TSS_SELECTOR + cpu * 16));
}

void trap_load(unsigned cpu)
{
        struct pointer idtr = { sizeof(idt) - 1, (uintptr_t)idt };

        if (cpu == 0)
                for (unsigned i = 0; i < 256; i++)
                        idt_set(i, trap_stubs[i], i == 3 || i == 0x80 ? 3 : 0);
        asm volatile("lidt %0" : : "m"(idtr));
        load_tss(cpu);
}

static void record(const struct frame *f)
{
        trap.error = f->error;
        trap.rip = f->rip;
        trap.rflags = f->rflags;
        trap.rsp = f->rsp;
        trap.cs = f->cs;
        trap.rcx = f->rcx;
        trap.rsi = f->rsi;
        trap.rdi = f->rdi;
        trap.cr2 = read_cr2();
        trap.vector = (int)f->vector;
}

/* From start.S. */
void trap_handler(struct frame *f);
void trap_handler(struct frame *f)
{
        if (in_user && (f->cs & 3)) {
                record(f);
                in_user = false;
                f->rip = (uintptr_t)user_leave;
                f->cs = KERNEL_CS;
                f->ss = KERNEL_DS;
                f->rflags = 2;
                f->rsp = tss[0].rsp[0];
                return;
        }
        if (handlers[f->vector]) {
                handlers[f->vector](f);
                return;
        }
        if (f->vector < 32 && trap_resume) {
                record(f);
                f->rip = trap_resume;
                f->rsp = trap_rsp;
                f->rflags &= ~0x100ull;
                return;
        }
        print("vector %u error %lx rip %lx rsp %lx cr2 %lx\n", (unsigned)f->vector, f->error, f->rip, f->rsp, read_cr2());
        fail("an exception or interrupt that nobody asked for");
}

bool trapped(int vector, uint64_t error)
{
        if (trap.vector == vector && trap.error == error && (trap.rip == trap_at))
                return true;
        print("got vector %d error %lx rip %lx (code at %lx) cr2 %lx\n", trap.vector, trap.error, trap.rip, trap_at, trap.cr2);
        return false;
}

bool trapped_pf(uint64_t error, const volatile void *cr2)
{
        if (!trapped(14, error))
                return false;
        if (trap.cr2 == (uintptr_t)cr2)
                return true;
        print("got cr2 %lx\n", trap.cr2);
        return false;
}

void run_user(const void *fn, size_t size, uint64_t arg)
{
        static void *code, *stack;

        if (!code) {
                code = page_alloc();
                stack = page_alloc();
                map(USER_CODE, (uintptr_t)code, PTE_P | PTE_W | PTE_U);
                map(USER_STACK - 4096, (uintptr_t)stack, PTE_P | PTE_W | PTE_U | PTE_NX);
        }
        memcpy(code, fn, size);
        trap.vector = -1;
        trap_at = USER_CODE;
        in_user = true;
        user_enter(USER_CODE, USER_STACK - 64, arg);
}
