/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs programs: where they are, how often, with what in registers and memory; changes and moves their code; takes pages away and handles the faults. All of that
 * depends on the seed alone. */

#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "random-user.h"

/* Shared with enter.S. */
struct context {
        uint64_t gpr[16], flags, entry, saved;
        uint32_t mxcsr, pad;
        uint8_t ymm[16][32];
} context;
_Static_assert(offsetof(struct context, ymm) == 160, "as in enter.S");
void enter(void);

#define MXCSR 0x1f80
#define PAGES_MAX 64
/* Instructions that a program runs in all that is to become hot. */
#define HOT 600000u

static struct program program;
static int area;                     /* memfd of the program */
static uint64_t hash;
static uint64_t fs_base;
static struct { uint64_t page; int normal; } taken[PAGES_MAX]; /* pages that may not be accessed now */
static unsigned n_taken, n_faults;
static uint64_t present_seed;
static bool dumping;

static void mix(uint64_t x)
{
        hash = (hash ^ x) * 0x9fb21c651e98df25;
        hash ^= hash >> 29;
}

static void mix_bytes(const void *from, size_t bytes)
{
        for (const uint64_t *p = from; bytes; bytes -= 8)
                mix(*p++);
}

/* Without errno, which is where FS leads. */
static long call3(long number, uint64_t a, uint64_t b, uint64_t c)
{
        long r;

        __asm__ volatile("syscall" : "=a"(r) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
        return r;
}

static void set_fs(uint64_t base)
{
        call3(SYS_arch_prctl, ARCH_SET_FS, base, 0);
}

static void *address(uint64_t at)
{
        return (void *)(uintptr_t)at;
}

static _Noreturn void fail(const char *what)
{
        fprintf(stderr, "random-user: seed %llu: %s: %s\n", (unsigned long long)present_seed, what, strerror(errno));
        exit(2);
}

/* --- Faults ------------------------------------------------------------------------------------------------------------------ */

static void give_back(unsigned k)
{
        call3(SYS_mprotect, taken[k].page, PAGE, (uint64_t)taken[k].normal);
        taken[k] = taken[--n_taken];
}

static bool allow(uint64_t at)
{
        for (unsigned k = 0; k < n_taken; k++)
                if (taken[k].page == (at & ~(uint64_t)(PAGE - 1))) {
                        give_back(k);
                        return true;
                }
        return false;
}

/* Which of CMPS's operands is looked at first is not specified. */
static bool is_known(uint64_t rip)
{
        uint64_t at = rip - program.base;

        return at >= CODE_SIZE || !program.cmps[at];
}

/* UD2, and DIV ECX. */
static bool skip(int signal, greg_t *rip)
{
        uint64_t at = (uint64_t)*rip - program.base;

        if (at >= CODE_SIZE || memcmp(program.code + at, signal == SIGILL ? "\x0f\x0b" : "\xf7\xf1", 2))
                return false;
        *rip += 2;
        return true;
}

static void mix_vectors(const struct _libc_fpstate *fp)
{
        const uint8_t *xsave = (const uint8_t *)fp;
        const uint64_t *high = (const uint64_t *)(xsave + 576);
        bool has_high = xsave[512] & 4;

        mix_bytes(fp->_xmm, sizeof(fp->_xmm));
        for (unsigned k = 0; k < 32; k++)
                mix(has_high ? high[k] : 0);
        mix(fp->mxcsr);
}

static const uint8_t order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static void print_fault(int signal, const mcontext_t *m, uint64_t at)
{
        printf(" signal %d trap %d at %llx, address %llx, error %llx; code at %llx; hash %016llx\n", signal, (int)m->gregs[REG_TRAPNO], (unsigned long long)m->gregs[REG_RIP],
                (unsigned long long)at, (unsigned long long)m->gregs[REG_ERR], (unsigned long long)program.base, (unsigned long long)hash);
        for (unsigned k = 0; k < 16; k++)
                printf(" %016llx%s", (unsigned long long)m->gregs[order[k]], k % 4 == 3 ? "\n" : "");
}

/* Flags are not looked at: the engine does not keep those that nothing can read but an exception's handler. */
static void on_fault(int signal, siginfo_t *info, void *frame)
{
        mcontext_t *m = &((ucontext_t *)frame)->uc_mcontext;
        uint64_t at = signal == SIGSEGV ? (uint64_t)(uintptr_t)info->si_addr : 0;
        bool expected;

        n_faults++;
        mix((uint64_t)signal);
        mix((uint64_t)m->gregs[REG_RIP]);
        mix(is_known((uint64_t)m->gregs[REG_RIP]) ? at : 0);
        mix((uint64_t)m->gregs[REG_ERR]);
        for (unsigned k = 0; k < 16; k++)
                mix((uint64_t)m->gregs[order[k]]);
        if (dumping) {
                set_fs(fs_base);
                print_fault(signal, m, at);
        }
        mix_vectors(m->fpregs);
        expected = signal == SIGSEGV ? allow(at) : (signal == SIGILL || signal == SIGFPE) && skip(signal, &m->gregs[REG_RIP]);
        if (expected && dumping && program.fs >= 0)
                set_fs(program.far + (uint64_t)program.fs);
        if (expected)
                return;
        set_fs(fs_base);
        printf("seed %llu, unexpected:\n", (unsigned long long)present_seed);
        print_fault(signal, m, at);
        fflush(stdout);
        _exit(3);
}

static void take_page(uint64_t page, int normal, int prot)
{
        for (unsigned k = 0; k < n_taken; k++)
                if (taken[k].page == page)
                        return;
        if (n_taken == PAGES_MAX || mprotect(address(page), PAGE, prot))
                fail("mprotect");
        if (dumping)
                printf(" page %llx: %s\n", (unsigned long long)page, prot ? "only to be read" : "no access");
        taken[n_taken].page = page;
        taken[n_taken++].normal = normal;
}

/* --- Places ------------------------------------------------------------------------------------------------------------------- */

/* Below 2 GiB, across it, below 4 GiB and far above. */
static const uint64_t bases[] = { 0x50000000, 0x7fff4000, 0x90000000, 0x123450000000 };
static const uint64_t fars[] = { 0x60000000, 0xa0000000, 0x345600000000 };

static int code_prot;
#define SEEDS_PER_PLACE 16

static void map_at(uint64_t at, size_t size, int prot, int fd, size_t offset)
{
        void *map = mmap(address(at), size, prot, (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | MAP_FIXED_NOREPLACE, fd, (off_t)offset);

        if (map != address(at))
                fail("mmap");
}

static void map_area(uint64_t base)
{
        program.base = base;
        map_at(base, CODE_SIZE, code_prot, area, 0);
        map_at(base + NEAR_AT, BUFFER_SIZE, PROT_READ | PROT_WRITE, area, NEAR_AT);
        map_at(base + TABLES_AT, PAGE, PROT_READ, area, TABLES_AT);
}

static void fill_tables(void)
{
        for (unsigned k = 0; k < program.n_entries; k++) {
                const struct table_entry *e = &program.entries[k];
                uint64_t value = e->from ? (uint32_t)(e->target - e->from) : program.base + e->target;

                memcpy(program.code + e->at, &value, e->from ? 4 : 8);
        }
}

/* Random bytes, numbers of all sizes and floating point numbers. */
static void fill(struct rng *r, uint64_t *p, size_t bytes)
{
        for (; bytes; bytes -= 8) {
                uint64_t x = rng_next(r);
                double f = (double)(int64_t)x * 0x1p-40;

                switch (x >> 8 & 3) {
                case 0:
                        x &= 0xff;
                        break;
                case 1:
                        memcpy(&x, &f, 8);
                        break;
                default:
                        break;
                }
                *p++ = x;
        }
}

static uint64_t buffer_at(unsigned b)
{
        return b == NEAR ? program.base + NEAR_AT : b == FAR ? program.far : program.far + STACK_AT;
}

static uint64_t any_value(struct rng *r)
{
        static const uint64_t some[] = { 0, 1, ~0ULL, 0x7fffffff, 0x80000000, 0xffffffff, 1ULL << 63, ~0ULL >> 1, 0x100, 0x8000 };
        uint64_t x = rng_next(r);

        switch (x & 7) {
        case 0:
                return some[(x >> 8) % ARRAY_SIZE(some)];
        case 1:
        case 2:
                return x >> 32 & 0xff;
        case 3:
                return (uint64_t)(int64_t)(int32_t)x;
        default:
                return x;
        }
}

/* --- Runs ---------------------------------------------------------------------------------------------------------------------- */

static void set_registers(struct rng *r, uint64_t rounds)
{
        for (unsigned k = 0; k < 16; k++) {
                const struct value *v = &program.initial[k];

                if (v->kind == POINTER)
                        context.gpr[k] = buffer_at(v->buffer) + (uint64_t)v->lo;
                else if (v->kind == SMALL)
                        context.gpr[k] = rng_next(r) & (uint64_t)v->hi;
                else if (rng_percent(r, 50))
                        context.gpr[k] = any_value(r);
        }
        if (program.counter != NONE)
                context.gpr[program.counter] = rounds;
        context.flags = 0x202 | (rng_next(r) & ALL);
        context.mxcsr = MXCSR;
        context.entry = program.base + program.entry;
}

static void run(struct rng *r, uint64_t rounds)
{
        set_registers(r, rounds);
        enter();
        mix_bytes(context.gpr, sizeof(context.gpr));
        mix(context.flags & ~(uint64_t)program.undefined);
        mix(context.mxcsr);
}

static void run_often(struct rng *r, unsigned n, uint64_t rounds)
{
        if (program.fs >= 0)
                set_fs(program.far + (uint64_t)program.fs);
        while (n--)
                run(r, rounds);
        if (program.fs >= 0)
                set_fs(fs_base);
        mix_bytes(context.ymm, sizeof(context.ymm));
}

static void print_registers(const char *when)
{
        static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

        printf("%s: hash %016llx faults %u\n", when, (unsigned long long)hash, n_faults);
        for (unsigned k = 0; k < 16; k++)
                printf(" %3s %016llx%s", names[k], (unsigned long long)context.gpr[k], k % 4 == 3 ? "\n" : "");
        printf(" flags %llx mxcsr %x\n", (unsigned long long)context.flags & ~(unsigned long long)program.undefined, context.mxcsr);
        for (unsigned k = 0; k < 16; k++) {
                printf(" ymm%-2u", k);
                for (unsigned n = 32; n--;)
                        printf("%02x", context.ymm[k][n]);
                printf(k & 1 ? "\n" : " ");
        }
}

static void print_memory(void)
{
        printf("\nmemory:\n");
        for (unsigned b = 0; b < N_BUFFERS; b++)
                for (const uint64_t *p = address(buffer_at(b)), *end = p + BUFFER_SIZE / 8; p != end; p += 4)
                        printf("%llx: %016llx %016llx %016llx %016llx\n", (unsigned long long)(uintptr_t)p, (unsigned long long)p[0], (unsigned long long)p[1], (unsigned long long)p[2],
                                (unsigned long long)p[3]);
}

static void patch(struct rng *r)
{
        unsigned k;
        uint64_t value = rng_next(r);
        uint8_t *code = code_prot & PROT_WRITE && rng_percent(r, 50) ? address(program.base) : program.code;

        if (!program.n_patches)
                return;
        k = rng_below(r, program.n_patches);
        if (dumping)
                printf(" patch %llx with %llx, by way of %s\n", (unsigned long long)program.base + program.patch[k].at, (unsigned long long)value & ((2ULL << (8 * program.patch[k].size - 1)) - 1),
                        code == program.code ? "another mapping" : "the same mapping");
        memcpy(code + program.patch[k].at, &value, program.patch[k].size);
}

static void move(struct rng *r)
{
        uint64_t from = program.base, to = bases[rng_below(r, ARRAY_SIZE(bases))] + (uint64_t)AREA_SIZE * (1 + rng_below(r, 3));

        if (to == from || !program.movable)
                return;
        if (dumping)
                printf(" move to %llx\n", (unsigned long long)to);
        if (rng_percent(r, 50)) {
                munmap(address(from), AREA_SIZE);
                map_area(to);
        } else {
                map_area(to);
                munmap(address(from), AREA_SIZE);
        }
        fill_tables();
}

static void take_pages(struct rng *r)
{
        for (unsigned n = 1 + rng_below(r, 4); n; n--) {
                unsigned page = rng_below(r, 4), b = rng_below(r, 5);

                if (b > 2)
                        take_page(program.base + PAGE * rng_below(r, CODE_SIZE / PAGE), code_prot, rng_percent(r, 50) ? PROT_READ : PROT_NONE);
                else
                        take_page(buffer_at(b) + PAGE * page, PROT_READ | PROT_WRITE, rng_percent(r, 50) ? PROT_READ : PROT_NONE);
        }
}

static void give_all(void)
{
        while (n_taken)
                give_back(0);
}

/* What a seed has beside its code. */
struct plan {
        unsigned hot; /* how often it runs, in units of HOT instructions */
        bool faults, patches, moves;
};

static void event(struct rng *r, const struct plan *plan)
{
        give_all();
        if (plan->patches && rng_percent(r, 30))
                patch(r);
        if (plan->moves && rng_percent(r, 20))
                move(r);
        if (plan->faults && rng_percent(r, 50))
                take_pages(r);
}

static void run_plan(struct rng *r, const struct plan *plan)
{
        unsigned n = plan->hot ? 3 + rng_below(r, 5) : 1 + rng_below(r, 40);
        uint64_t rounds = 1, many = 1 + plan->hot * HOT / n / (program.cost + 10);

        if (many > 20000)
                many = 20000;
        for (unsigned k = 0; k < n; k++) {
                char when[32];

                event(r, plan);
                if (program.counter != NONE)
                        rounds = 1 + rng_below(r, 3);
                run_often(r, 1, rounds);
                snprintf(when, sizeof(when), "run %u", k);
                if (dumping)
                        print_registers(when);
                if (!plan->hot)
                        continue;
                give_all();
                if (program.counter != NONE)
                        run_often(r, 2, many / 2);
                else
                        run_often(r, (unsigned)many, 1);
                if (dumping)
                        print_registers("hot");
        }
        give_all();
}

/* --- Seeds --------------------------------------------------------------------------------------------------------------------- */

static void dump_code(const struct options *o)
{
        FILE *f;

        printf("\ncode at %llx, data at %llx, far %llx, stack %llx, entry %llx; fs %x gs %x\n", (unsigned long long)program.base, (unsigned long long)program.base + NEAR_AT,
                (unsigned long long)program.far, (unsigned long long)program.far + STACK_AT, (unsigned long long)program.base + program.entry, (unsigned)program.fs, (unsigned)program.gs);
        for (unsigned at = 0; at < CODE_SIZE; at++) {
                if (!program.length[at])
                        continue;
                printf("%llx:", (unsigned long long)program.base + at);
                for (unsigned k = 0; k < program.length[at]; k++)
                        printf(" %02x", program.code[at + k]);
                printf("\n");
        }
        if (!o->code_file)
                return;
        f = fopen(o->code_file, "w");
        if (!f || fwrite(program.code, CODE_SIZE, 1, f) != 1 || fclose(f))
                fail(o->code_file);
}

static void unmap(void)
{
        if (!program.base)
                return;
        munmap(address(program.base), AREA_SIZE);
        munmap(address(program.far), BUFFER_SIZE);
        munmap(address(program.far + STACK_AT), BUFFER_SIZE);
}

/* Some seeds in turn are at one place; in half of the cases their memory stays mapped, which is when an engine that learns of a program's pages by and by knows them. */
static void choose_place(uint64_t seed, bool calm)
{
        struct rng r = { .state = seed / SEEDS_PER_PLACE * 0x2545f4914f6cdd1d };
        uint64_t base = bases[rng_below(&r, ARRAY_SIZE(bases))], far = fars[rng_below(&r, ARRAY_SIZE(fars))];
        int prot = PROT_READ | PROT_EXEC | (rng_percent(&r, 30) ? PROT_WRITE : 0);

        if ((calm || rng_percent(&r, 50)) && program.base == base && program.far == far && code_prot == prot)
                return;
        unmap();
        code_prot = prot;
        program.far = far;
        map_area(base);
        map_at(far, BUFFER_SIZE, PROT_READ | PROT_WRITE, -1, 0);
        map_at(far + STACK_AT, BUFFER_SIZE, PROT_READ | PROT_WRITE, -1, 0);
}

static void prepare(struct rng *r, const struct options *o, struct plan *plan, uint64_t seed)
{
        choose_place(o->calm ? 0 : seed, o->calm);
        plan->hot = o->calm ? 4 * rng_percent(r, 70) : rng_percent(r, 10);
        plan->faults = !o->calm && rng_percent(r, 40);
        plan->patches = !o->calm && rng_percent(r, 20);
        plan->moves = program.movable = !o->calm && rng_percent(r, 10);
        program.traps = plan->faults && !plan->hot && rng_percent(r, 50);
        program.fs = rng_percent(r, 12) ? 64 + 8 * (int32_t)rng_below(r, 1000) : -1;
        program.gs = 8 * (int32_t)rng_below(r, 2000);
        program.counter = plan->hot && rng_percent(r, 50) ? (uint8_t)(rng_percent(r, 50) ? R12 + rng_below(r, 4) : RBX) : NONE;
        generate(&program, r, o->features, o->insns);
        fill_tables();
        for (unsigned b = 0; b < N_BUFFERS; b++)
                fill(r, address(buffer_at(b)), BUFFER_SIZE);
        memset(&context, 0, sizeof(context));
        fill(r, (uint64_t *)(void *)context.ymm, sizeof(context.ymm));
        for (unsigned k = 0; k < 16; k++)
                context.gpr[k] = any_value(r);
        call3(SYS_arch_prctl, ARCH_SET_GS, program.far + (uint64_t)program.gs, 0);
}

uint64_t run_seed(const struct options *o, uint64_t seed)
{
        struct rng r = { .state = seed * 0x5851f42d4c957f2d };
        struct plan plan;

        present_seed = seed;
        dumping = o->dump && o->dumped == seed;
        hash = seed;
        n_faults = 0;
        prepare(&r, o, &plan, seed);
        if (dumping)
                dump_code(o);
        run_plan(&r, &plan);
        dumping = false;
        for (unsigned b = 0; b < N_BUFFERS; b++)
                mix_bytes(address(buffer_at(b)), BUFFER_SIZE);
        mix(n_faults);
        if ((o->dump || o->memory) && o->dumped == seed)
                print_memory();
        return hash;
}

void run_init(void)
{
        static uint8_t stack[0x10000];
        static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
        struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };

        call3(SYS_arch_prctl, ARCH_GET_FS, (uint64_t)(uintptr_t)&fs_base, 0);
        if (sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = sizeof(stack) }, NULL))
                fail("sigaltstack");
        for (unsigned k = 0; k < ARRAY_SIZE(signals); k++)
                if (sigaction(signals[k], &action, NULL))
                        fail("sigaction");
        area = memfd_create("random-user", 0);
        if (area < 0 || ftruncate(area, AREA_SIZE))
                fail("memfd_create");
        program.code = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, area, 0);
        if (program.code == MAP_FAILED)
                fail("mmap");
        memset(program.code, 0xcc, CODE_SIZE);
        memset(program.code + TABLES_AT, 0x5a, PAGE);
}
