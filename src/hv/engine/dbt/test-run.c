/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs small flat guests in the software engine through engine.h: arithmetic and branches, page faults, self-modifying code, string
 * instructions, port I/O, two CPUs, and the way from real to long mode. A guest ends with an out to port 0xf4 whose value is the result. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "hv/engine/engine.h"

#define MEMORY (8u << 20)
#define CODE 0x10000u    /* the guest's code is copied there */
#define TABLES 0x1000u   /* page tables */
#define IDT 0x5000u
#define GDT 0x6000u
#define STACK 0x9000u
#define DATA 0x100000u

struct guest {
        struct engine_vm *vm;
        struct engine_vcpu *vcpu[4];
        unsigned cpus;
        uint8_t *memory;
        uint32_t result[4];
        uint32_t port_value;
        unsigned finished;
};

static uint64_t pio_read(void *opaque, uint16_t port, unsigned size)
{
        return port == 0x40 ? 0x11223344 : ~0ULL;
}

/* 0xf4 + n: CPU n is done. */
static void pio_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
        struct guest *g = opaque;

        if (port >= 0xf4 && port < 0xf4 + g->cpus) {
                g->result[port - 0xf4] = (uint32_t)value;
                engine_dbt.vcpu_kick(g->vcpu[port - 0xf4]);
        } else if (port == 0x80) {
                g->port_value = (uint32_t)value;
        }
}

static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
        return gpa;
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value)
{
        struct guest *g = opaque;

        g->port_value = (uint32_t)value;
}

static void eoi(void *opaque, uint8_t vector)
{
}

static int extint_ack(void *opaque)
{
        return -1;
}

static const struct engine_callbacks callbacks = {
        .pio_read = pio_read, .pio_write = pio_write, .mmio_read = mmio_read, .mmio_write = mmio_write, .eoi = eoi,
        .extint_ack = extint_ack,
};

static void check(bool ok, const char *what)
{
        if (ok)
                return;
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
}

/* As in struct engine_config. */
static unsigned translate_after;
static uint64_t code_cache;

static void guest_new(struct guest *g, unsigned cpus)
{
        struct engine_config config = { .cpus = cpus, .callbacks = &callbacks, .opaque = g, .tsc_khz = 1000000,
                                        .translate_after = translate_after, .code_cache = code_cache };
        struct cpuid_table *cpuid = calloc(1, sizeof(*cpuid));
        uint32_t pv;

        *g = (struct guest){ .cpus = cpus };
        g->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(engine_dbt.vm_new(&config, &g->vm) == 0, "vm_new");
        check(engine_dbt.map(g->vm, 0, 0, MEMORY, g->memory, false) == 0, "map");
        check(engine_dbt.cpuid_supported(g->vm, cpuid, &pv) == 0, "cpuid_supported");
        for (unsigned i = 0; i < cpus; i++)
                check(engine_dbt.vcpu_new(g->vm, i, cpuid, &g->vcpu[i]) == 0, "vcpu_new");
        free(cpuid);
}

static void guest_free(struct guest *g)
{
        for (unsigned i = 0; i < g->cpus; i++)
                engine_dbt.vcpu_free(g->vcpu[i]);
        engine_dbt.vm_free(g->vm);
        munmap(g->memory, MEMORY);
}

static void put64(struct guest *g, uint32_t gpa, uint64_t value)
{
        memcpy(g->memory + gpa, &value, sizeof(value));
}

/* Identity mapping of the first GiB by 2 MiB pages, but for the last of these, which is missing. */
static void make_tables(struct guest *g)
{
        put64(g, TABLES, (TABLES + 0x1000) | 3);
        put64(g, TABLES + 0x1000, (TABLES + 0x2000) | 3);
        for (unsigned i = 0; i < 511; i++)
                put64(g, TABLES + 0x2000 + i * 8, (uint64_t)i << 21 | 0x83);
}

static void set_gate(struct guest *g, unsigned vector, uint32_t handler)
{
        put64(g, IDT + vector * 16, (handler & 0xffff) | 8 << 16 | 0x8e0000000000ULL | (uint64_t)(handler >> 16) << 48);
        put64(g, IDT + vector * 16 + 8, 0);
}

static const struct x86_segment code64 = { .limit = ~0u, .attr = 0xa09b, .selector = 8 };
static const struct x86_segment data64 = { .limit = ~0u, .attr = 0xc093, .selector = 16 };

static void start_long_mode(struct guest *g, unsigned cpu, uint32_t rip)
{
        struct x86_state *s = calloc(1, sizeof(*s));

        check(engine_dbt.vcpu_get_state(g->vcpu[cpu], s) == 0, "get_state");
        make_tables(g);
        put64(g, GDT + 8, 0x00af9b000000ffffULL);
        put64(g, GDT + 16, 0x00cf93000000ffffULL);
        s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
        s->cr3 = TABLES;
        s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR;
        s->efer = X86_EFER_LME | X86_EFER_LMA;
        for (unsigned i = 0; i < X86_NSREGS; i++)
                s->seg[i] = i == X86_CS ? code64 : data64;
        s->gdtr = (struct x86_table){ .base = GDT, .limit = 23 };
        s->idtr = (struct x86_table){ .base = IDT, .limit = 0xfff };
        s->rip = rip;
        s->rflags = 2;
        s->gpr[X86_RSP] = STACK - cpu * 0x400;
        s->gpr[X86_RDI] = cpu;
        s->mp_state = X86_MP_RUNNABLE;
        check(engine_dbt.vcpu_set_state(g->vcpu[cpu], s) == 0, "set_state");
        free(s);
}

/* --- The guests ------------------------------------------------------------------------------------------------------ */

#define BLOB(name, code)                                                                                    \
        __asm__(".pushsection .rodata\n.balign 256\n" #name ":\n" code "\n" #name "_end:\n.code64\n.popsection"); \
        extern const uint8_t name[], name##_end[];
#define DONE "mov $0xf4, %edx\n out %eax, %dx\n 9: jmp 9b\n"

/* Sum of 1..1000, by a loop, a call, push, pop, cmov, setcc and a division. Without shadow stacks rdssp leaves its register alone. */
BLOB(blob_arithmetic,
     "xor %eax, %eax\n mov $1000, %ecx\n"
     "1: add %ecx, %eax\n dec %ecx\n jnz 1b\n"
     "push %rax\n call 2f\n pop %rbx\n"
     "cmp %ebx, %eax\n sete %cl\n movzbl %cl, %ecx\n imul $7, %ecx, %ecx\n"
     "xor %edx, %edx\n div %ecx\n rdsspq %rax\n rdsspd %eax\n" DONE
     "2: mov 8(%rsp), %rax\n cmp $500500, %eax\n mov $1, %esi\n cmovne %rsi, %rax\n ret\n")

/* Touches the missing page; the handler adds the length of the load to the return address and counts. */
BLOB(blob_fault,
     "mov $0x3fe00000, %ebx\n xor %esi, %esi\n"
     "mov (%rbx), %eax\n nop\n"
     "mov (%rbx), %eax\n nop\n"
     "mov %cr2, %rax\n sub %rbx, %rax\n lea (%rax, %rsi), %eax\n" DONE
     ".balign 256\n"
     "add $8, %rsp\n addq $2, (%rsp)\n inc %esi\n iretq\n")

/* Rewrites the immediate of the next instruction (0x1111 becomes 0x2222), and runs a function before and after a change. */
BLOB(blob_modify,
     "lea 1f(%rip), %rbx\n movl $0x2222, 1(%rbx)\n"
     "1: mov $0x1111, %eax\n mov %eax, %ebp\n"
     "call 2f\n add %eax, %ebp\n"
     "lea 2f(%rip), %rbx\n mov $1000, %esi\n"
     "3: mov %esi, 1(%rbx)\n call 2f\n add %eax, %ebp\n dec %esi\n jnz 3b\n"
     "mov %ebp, %eax\n" DONE
     ".balign 64\n 2: mov $5, %eax\n ret\n")

/* Copies 10000 bytes to an odd address over page ends, compares, then fills and scans. */
BLOB(blob_strings,
     "mov $0x100000, %edi\n mov $2500, %ecx\n 1: mov %ecx, (%rdi)\n add $4, %rdi\n dec %ecx\n jnz 1b\n"
     "mov $0x100000, %esi\n mov $0x110003, %edi\n mov $10000, %ecx\n rep movsb\n"
     "mov $0x100000, %esi\n mov $0x110003, %edi\n mov $2500, %ecx\n repe cmpsl\n jne 2f\n"
     "mov $0x110003, %edi\n mov $1250, %ecx\n mov $0x5a5a5a5a5a5a5a5a, %rax\n rep stosq\n"
     "mov $0x110003, %edi\n mov $20000, %ecx\n repe scasb\n"
     "mov %edi, %eax\n sub $0x110003, %eax\n" DONE
     "2: xor %eax, %eax\n" DONE)

BLOB(blob_io,
     "in $0x40, %eax\n xor %ebx, %ebx\n mov %eax, %ebx\n out %al, $0x80\n"
     "mov $0x20000000, %edi\n mov (%rdi), %rax\n movl $77, (%rdi)\n add %ebx, %eax\n" DONE)

/* Each CPU adds to a shared counter, half by lock add, half by cmpxchg; CPU 0 waits for the other. */
BLOB(blob_smp,
     "mov $0x100000, %ebx\n mov $20000, %ecx\n"
     "1: lock addl $1, (%rbx)\n"
     "2: mov (%rbx), %eax\n lea 1(%rax), %esi\n lock cmpxchg %esi, (%rbx)\n jne 2b\n"
     "dec %ecx\n jnz 1b\n"
     "lock incl 64(%rbx)\n"
     "3: pause\n cmpl $2, 64(%rbx)\n jne 3b\n"
     "mov (%rbx), %eax\n lea 0xf4(%rdi), %edx\n out %eax, %dx\n 4: jmp 4b\n")

/* CPU 1 runs a function in a loop until it returns 2; CPU 0 rewrites it and tells by an IPI-free flag. */
BLOB(blob_cross,
     "lea 9f(%rip), %rbp\n mov $0x100000, %ebx\n test %edi, %edi\n jnz 5f\n"
     "1: cmpl $1000, (%rbx)\n jb 1b\n movb $2, 1(%rbp)\n"
     "mov $1, %eax\n mov $0xf4, %edx\n out %eax, %dx\n 2: jmp 2b\n"
     "5: call 9f\n lock incl (%rbx)\n cmp $2, %eax\n jne 5b\n"
     "mov $0xf5, %edx\n out %eax, %dx\n 6: jmp 6b\n"
     ".balign 64\n 9: mov $1, %eax\n ret\n")

/* From the reset vector's mode: real, 16-bit protected, 32-bit protected, long; each adds to EBP. Copied to CODE, CS = CODE >> 4. */
BLOB(blob_modes,
     ".code16\n"
     "cli\n mov %cs, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x8000, %sp\n"
     "mov $1, %ebp\n call 1f\n jmp 2f\n"
     "1: push %bp\n pop %cx\n add $1, %bp\n ret\n"
     "2: lgdtl (8f - blob_modes)\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
     "ljmpl $8, $(0x10000 + 3f - blob_modes)\n"
     ".code32\n"
     "3: mov $16, %eax\n mov %eax, %ds\n mov %eax, %ss\n mov %eax, %es\n mov $0x9000, %esp\n"
     "push %ebp\n popl %ecx\n lea 2(%ecx, %ecx), %ebp\n daa\n"
     "mov %cr4, %eax\n or $0x20, %eax\n mov %eax, %cr4\n mov $0x1000, %eax\n mov %eax, %cr3\n"
     "mov $0xc0000080, %ecx\n rdmsr\n or $0x100, %eax\n wrmsr\n"
     "mov %cr0, %eax\n or $0x80000000, %eax\n mov %eax, %cr0\n"
     "ljmpl $24, $(0x10000 + 4f - blob_modes)\n"
     ".code64\n"
     "4: mov %rbp, %rax\n shl $32, %rax\n or $7, %rax\n shr $32, %rax\n" DONE
     ".balign 8\n"
     "7: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff\n"
     "8: .word 31\n .long 0x10000 + 7b - blob_modes\n")

/* The speed of plain code, printed only. */
BLOB(blob_speed,
     "mov $0x100000, %ebx\n mov $2000000, %ecx\n xor %eax, %eax\n"
     "1: mov %eax, (%rbx)\n add %ecx, %eax\n mov (%rbx), %edx\n xor %edx, %eax\n lea 3(%rax, %rdx), %esi\n"
     "and $0xff, %esi\n cmp $300, %esi\n ja 2f\n shr $1, %eax\n"
     "2: sub $1, %ecx\n jnz 1b\n" DONE)

/* Calls each of many functions three times, again and again, and changes every second one before. */
BLOB(blob_many,
     "xor %eax, %eax\n mov $5, %esi\n"
     "1: mov $0x200000, %edi\n mov $4000, %ecx\n"
     "2: test $1, %cl\n jz 3f\n incl 1(%rdi)\n"
     "3: call *%rdi\n call *%rdi\n call *%rdi\n"
     "add $64, %edi\n dec %ecx\n jnz 2b\n dec %esi\n jnz 1b\n" DONE)
#define MANY 4000u
#define MANY_ROUNDS 5

#define LOAD(g, blob) memcpy((g)->memory + CODE, blob, (size_t)(blob##_end - blob))

/* Runs CPU 0 to its end. */
static uint32_t run(struct guest *g)
{
        check(engine_dbt.vcpu_run(g->vcpu[0]) == ENGINE_EXIT_KICK, "vcpu_run");
        return g->result[0];
}

#define RUN_ONE(g, blob)                                                                                    \
        ({                                                                                                  \
                LOAD(g, blob);                                                                              \
                start_long_mode(g, 0, CODE);                                                                \
                run(g);                                                                                     \
        })

static void test_basic(void)
{
        struct guest g;

        guest_new(&g, 1);
        check(RUN_ONE(&g, blob_arithmetic) == 500500 / 7, "arithmetic");
        set_gate(&g, X86_PF, CODE + 256);
        check(RUN_ONE(&g, blob_fault) == 2, "page fault");
        check(RUN_ONE(&g, blob_modify) == 0x2222 + 5 + 500500, "self-modifying code");
        check(RUN_ONE(&g, blob_strings) == 10001, "strings");
        check(RUN_ONE(&g, blob_io) == 0x11223344 + 0x20000000, "port and memory-mapped I/O");
        check(g.port_value == 77, "memory-mapped write");
        guest_free(&g);
}

/* What blob_many returns. */
static uint32_t call_many(void)
{
        uint32_t add[MANY], eax = 0;

        for (unsigned k = 0; k < MANY; k++)
                add[k] = k * 0x9e3779b1u;
        for (unsigned k = 0; k < MANY * MANY_ROUNDS; k++) {
                uint32_t *a = &add[k % MANY];

                *a += (MANY - k % MANY) & 1;
                for (unsigned times = 0; times < 3; times++) {
                        eax += *a;
                        eax = (eax << 3 | eax >> 29) * 2;
                }
        }
        return eax;
}

/* More code than the cache holds: two blocks each that are linked, with instructions that have stubs. */
static void test_small_cache(void)
{
        /* add eax, imm32; jmp over a byte; rol eax, 3; movd xmm0, eax; paddd xmm0, xmm0; movd eax, xmm0; ret */
        static const uint8_t function[] = { 0x05, 0, 0, 0, 0, 0xeb, 1, 0xcc, 0xc1, 0xc0, 3, 0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xfe, 0xc0,
                0x66, 0x0f, 0x7e, 0xc0, 0xc3 };
        struct guest g;

        code_cache = ENGINE_CODE_CACHE_MIN;
        guest_new(&g, 1);
        for (unsigned k = 0; k < MANY; k++) {
                uint32_t add = k * 0x9e3779b1u;

                memcpy(g.memory + 0x200000 + k * 64, function, sizeof(function));
                memcpy(g.memory + 0x200000 + k * 64 + 1, &add, sizeof(add));
        }
        check(RUN_ONE(&g, blob_many) == call_many(), "more code than the cache holds");
        guest_free(&g);
        code_cache = 0;
}

static void test_modes(void)
{
        struct guest g;
        struct x86_state *s = calloc(1, sizeof(*s));

        guest_new(&g, 1);
        LOAD(&g, blob_modes);
        make_tables(&g);
        check(engine_dbt.vcpu_get_state(g.vcpu[0], s) == 0, "get_state");
        s->seg[X86_CS].selector = CODE >> 4;
        s->seg[X86_CS].base = CODE;
        s->rip = 0;
        check(engine_dbt.vcpu_set_state(g.vcpu[0], s) == 0, "set_state");
        check(run(&g) == 6, "real mode to long mode");
        free(s);
        guest_free(&g);
}

/* The pages that blob_strings writes, each once. */
static void test_dirty_log(void)
{
        uint8_t bits[MEMORY / 4096 / 8], again[sizeof(bits)];
        struct guest g;

        guest_new(&g, 1);
        check(RUN_ONE(&g, blob_strings) == 10001, "strings before the log");
        check(engine_dbt.dirty_log(g.vm, 0, true, NULL) == 0, "dirty_log on");
        check(RUN_ONE(&g, blob_strings) == 10001, "strings with the log");
        check(engine_dbt.dirty_log(g.vm, 0, true, bits) == 0, "dirty_log fetch");
        for (unsigned page = 0; page < MEMORY / 4096; page++) {
                bool want = (page >= 0x100 && page <= 0x102) || (page >= 0x110 && page <= 0x112);

                if (page >= 0x100)
                        check((bits[page / 8] >> page % 8 & 1) == want, "dirty bits");
        }
        check(engine_dbt.dirty_log(g.vm, 0, false, again) == 0, "dirty_log off");
        for (unsigned i = 0; i < sizeof(again); i++)
                check(again[i] == 0, "dirty bits are cleared");
        guest_free(&g);
}

static uint64_t guest_tsc(struct guest *g)
{
        struct x86_state *s = calloc(1, sizeof(*s));
        uint64_t tsc;

        check(engine_dbt.vcpu_get_state(g->vcpu[0], s) == 0, "get_state");
        tsc = s->tsc;
        free(s);
        return tsc;
}

static void test_kick_and_pause(void)
{
        struct guest g;
        uint64_t tsc;

        guest_new(&g, 1);
        LOAD(&g, blob_speed);
        start_long_mode(&g, 0, CODE);
        engine_dbt.vcpu_kick(g.vcpu[0]);
        check(engine_dbt.vcpu_run(g.vcpu[0]) == ENGINE_EXIT_KICK && !g.result[0], "a kick before the run is not lost");
        engine_dbt.pause(g.vm, true);
        tsc = guest_tsc(&g);
        check(guest_tsc(&g) == tsc, "the counter stands while paused");
        engine_dbt.pause(g.vm, false);
        check(guest_tsc(&g) - tsc < 1000000000, "the counter goes on where it was");
        guest_free(&g);
}

struct runner {
        struct guest *g;
        unsigned cpu;
};

static void *run_thread(void *arg)
{
        struct runner *r = arg;

        check(engine_dbt.vcpu_run(r->g->vcpu[r->cpu]) == ENGINE_EXIT_KICK, "vcpu_run");
        return NULL;
}

static void run_two(struct guest *g)
{
        struct runner r[2] = { { g, 0 }, { g, 1 } };
        pthread_t t[2];

        for (unsigned i = 0; i < 2; i++) {
                start_long_mode(g, i, CODE);
                pthread_create(&t[i], NULL, run_thread, &r[i]);
        }
        for (unsigned i = 0; i < 2; i++)
                pthread_join(t[i], NULL);
}

static void test_smp(void)
{
        struct guest g;

        guest_new(&g, 2);
        LOAD(&g, blob_smp);
        run_two(&g);
        check(g.result[0] == 80000 && g.result[1] == 80000, "two CPUs count");
        memset(g.memory + DATA, 0, 4096);
        LOAD(&g, blob_cross);
        run_two(&g);
        check(g.result[0] == 1 && g.result[1] == 2, "cross-modified code");
        guest_free(&g);
}

static void print_speed(void)
{
        struct timespec a, b;
        struct guest g;
        double s;

        guest_new(&g, 1);
        clock_gettime(CLOCK_MONOTONIC, &a);
        RUN_ONE(&g, blob_speed);
        clock_gettime(CLOCK_MONOTONIC, &b);
        s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
        printf("%.0f million instructions/s\n", 11 * 2.0 / s);
        guest_free(&g);
}

int main(void)
{
        static const unsigned modes[] = { ENGINE_NEVER_TRANSLATE, 1, 0 };

        for (unsigned k = 0; k < 3; k++) {
                translate_after = modes[k];
                test_basic();
                test_small_cache();
                test_modes();
                test_dirty_log();
                test_kick_and_pause();
                test_smp();
                print_speed();
        }
        return 0;
}
