/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The little library under the test guests: they start in 64-bit mode with the first 4 GiB mapped to themselves, one CPU
 * running, interrupts off, and report by COM1 and the debug-exit port. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_DS 0x3b
#define USER_CS 0x43
#define TSS_SELECTOR 0x50 /* of CPU 0; each CPU has its own */

#define CPUS_MAX 16

/* --- report.c -------------------------------------------------------------------------------------------------- */

void put_char(char c);
void put_string(const char *s);
/* %s %c %d %u %x and %lx, %lu. */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Counts and, on failure, names a check. */
void check(bool ok, const char *what);
#define CHECK(cond) check(cond, #cond)
/* What QEMU's emulator does not do as the processors do; the word "lenient" is for trying the guests on it. */
#define CHECK_STRICT(cond) check((cond) || has_word("lenient"), #cond)
/* Says which part comes, so that one that hangs is known. */
#define RUN(fn) (print("%s\n", #fn), fn())
/* Ends the guest: exit code 33 of domus-vm if all checks passed, 35 if not. */
__attribute__((noreturn)) void finish(void);
__attribute__((noreturn)) void fail(const char *why);

extern const char *guest_cmdline;
extern uint64_t guest_rsdp;
bool has_word(const char *word); /* on the command line */

/* What the test file provides. Returning is finish(). */
void guest_main(void);

/* --- instructions ------------------------------------------------------------------------------------------------ */

#define DEFINE_PORT(name, type, letter)                                                                     \
        static inline type in##name(uint16_t port)                                                          \
        {                                                                                                   \
                type v;                                                                                     \
                asm volatile("in" #letter " %1, %0" : "=a"(v) : "Nd"(port) : "memory");                     \
                return v;                                                                                   \
        }                                                                                                   \
        static inline void out##name(uint16_t port, type v)                                                 \
        {                                                                                                   \
                asm volatile("out" #letter " %0, %1" : : "a"(v), "Nd"(port) : "memory");                    \
        }
DEFINE_PORT(8, uint8_t, b)
DEFINE_PORT(16, uint16_t, w)
DEFINE_PORT(32, uint32_t, l)

static inline uint64_t rdmsr(uint32_t msr)
{
        uint32_t lo, hi;

        asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
        return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
        asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static inline uint64_t rdtsc(void)
{
        uint32_t lo, hi;

        asm volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
        return (uint64_t)hi << 32 | lo;
}

struct cpuid {
        uint32_t a, b, c, d;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
        struct cpuid r;

        asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
        return r;
}

#define DEFINE_CR(n)                                                                                        \
        static inline uint64_t read_cr##n(void)                                                             \
        {                                                                                                   \
                uint64_t v;                                                                                 \
                asm volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory");                                  \
                return v;                                                                                   \
        }                                                                                                   \
        static inline void write_cr##n(uint64_t v)                                                          \
        {                                                                                                   \
                asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                                      \
        }
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)

static inline void invlpg(const volatile void *p)
{
        asm volatile("invlpg (%0)" : : "r"(p) : "memory");
}

static inline void pause(void)
{
        asm volatile("pause" : : : "memory");
}

static inline void irq_enable(void)
{
        asm volatile("sti; nop" : : : "memory");
}

static inline void irq_disable(void)
{
        asm volatile("cli" : : : "memory");
}

/* Sleeps until an interrupt; interrupts off before and after. */
static inline void wait_irq(void)
{
        asm volatile("sti; hlt; cli" : : : "memory");
}

void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

/* --- trap.c -------------------------------------------------------------------------------------------------------- */

struct frame {
        uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
        uint64_t vector, error;
        uint64_t rip, cs, rflags, rsp, ss;
};

/* What the last exception was; vector -1: none since the last TRY. */
struct trap {
        int vector;
        uint64_t error, rip, cr2, rflags, rsp, cs, rcx, rsi, rdi;
};

extern volatile struct trap trap;
extern volatile uint64_t trap_at, trap_resume, trap_rsp;

/* Runs code, which may raise an exception; execution goes on behind it, with RSP as before it. before and after are
 * instructions around it that the exception's address does not count. */
#define TRY_WITH(before, code, after, ...)                                                                  \
        do {                                                                                                \
                trap.vector = -1;                                                                           \
                asm volatile("movq $772f, trap_resume\n\tmovq $771f, trap_at\n\t" before                    \
                             "\n\tmovq %%rsp, trap_rsp\n771: " code "\n772: " after __VA_ARGS__);            \
                trap_resume = 0;                                                                            \
        } while (0)
#define TRY(code, ...) TRY_WITH("", code, "", __VA_ARGS__)

/* Was there this exception, at the first instruction of the code? */
bool trapped(int vector, uint64_t error);
bool trapped_pf(uint64_t error, const volatile void *cr2);

typedef void (*irq_fn)(struct frame *f);
void irq_set_handler(unsigned vector, irq_fn fn);
void trap_load(unsigned cpu); /* IDT, GDT's TSS: each CPU once */
/* The descriptor of a vector: privilege level for int n, and interrupt or trap gate. */
void idt_set(unsigned vector, const void *entry, unsigned dpl);

/* Runs fn in ring 3 on a page of its own until it raises an exception or interrupt (int $0x80 to end); the result is in trap.
 * fn must be position independent and at most one page. */
void run_user(const void *fn, size_t size, uint64_t arg);
#define USER_CODE 0x5000000000ull
#define USER_STACK 0x5000010000ull

/* --- page.c ---------------------------------------------------------------------------------------------------------- */

#define PTE_P 0x1ull
#define PTE_W 0x2ull
#define PTE_U 0x4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_G 0x100ull
#define PTE_NX (1ull << 63)

#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_I 16u

/* A place for 4 KiB mappings of a test's own. */
#define TEST_VA 0x4000000000ull

/* The 4 KiB entry of va, with its tables made (present, writable, user) where they are missing. */
volatile uint64_t *pte_of(uint64_t va);
/* The entry that maps or would map 2 MiB at va. */
volatile uint64_t *pde_of(uint64_t va);
/* Sets the entry and flushes va. phys: page aligned. */
void map(uint64_t va, uint64_t phys, uint64_t flags);
/* Zeroed 4 KiB page, identity mapped; never freed. */
void *page_alloc(void);

/* --- apic.c ------------------------------------------------------------------------------------------------------------ */

#define APIC_ID 0x20
#define APIC_TPR 0x80
#define APIC_EOI 0xb0
#define APIC_SVR 0xf0
#define APIC_ISR 0x100
#define APIC_IRR 0x200
#define APIC_ICR 0x300
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE 0x3e0

/* Turns the calling CPU's APIC on, in xAPIC or x2APIC mode. */
void apic_enable(bool x2);
uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t v);
void apic_send(uint32_t dest, uint32_t command);
unsigned apic_id(void);
void apic_eoi(void);

void ioapic_route(unsigned pin, unsigned vector, bool level, bool masked);
uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t v);
/* 8259s: vectors base..base+15, all masked but mask's zero bits. */
void pic_init(unsigned base, uint16_t mask);
void pic_eoi(unsigned irq);

/* --- cpus.c --------------------------------------------------------------------------------------------------------------- */

/* How many processors the MADT lists. */
unsigned cpu_count(void);
/* Starts the others by INIT and SIPI; each runs fn(index) and then halts for ever. Returns when all have come. */
void smp_start(void (*fn)(unsigned cpu));
unsigned cpu_index(void);
/* Finds an ACPI table by its signature; NULL. */
const uint8_t *acpi_table(const char *signature);
