/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The way to ring 3 and back, and the page tables. */
#include "mirror.h"

#define FREE_RAM 0x800000ull
#define CPUID1_XSAVE (1u << 26)
#define CPUID1_AVX (1u << 28)
#define CPUID7_AVX2 (1u << 5)

extern uint8_t image_end[], user_leave[];
extern uint64_t pml4[512];
extern void user_go(const struct frame *f);

struct frame user, before;
uint64_t fault_at;
uint64_t space, other_space;
uint64_t page[8];
bool avx, strict;
static uint64_t next_frame = FREE_RAM;

const uint64_t places[N_PLACES] = {
        0x400000, 0x10000000, 0x60000000, 0x7ff00000, 0xc0000000, 0x7f0000000000 - 0x100000, 0x555555700000, 0x7ffff7000000, 0x7fffffc00000,
};

/* --- ring 3 ----------------------------------------------------------------------------------------------------- */

static void from_user(struct frame *f)
{
        fault_at = read_cr2();
        if (!(f->cs & 3)) {
                print("vector %u error %lx rip %lx cr2 %lx\n", (unsigned)f->vector, f->error, f->rip, fault_at);
                fail("an exception in the kernel");
        }
        user = *f;
        f->rip = (uintptr_t)user_leave;
        f->cs = KERNEL_CS;
        f->ss = KERNEL_DS;
        f->rflags = 2;
}

void go_on(void)
{
        before = user;
        user_go(&before);
}

void start_at(uint64_t rip)
{
        user.rip = rip;
        user.cs = USER_CS;
        user.ss = USER_DS;
        go_on();
}

uint64_t text_of(const uint8_t *program)
{
        return TEXT + (uint64_t)(program - user_text);
}

void start(const uint8_t *program)
{
        start_at(text_of(program));
}

void fresh(void)
{
        uint64_t *r = &user.r15;

        for (unsigned i = 0; i < 15; i++)
                r[i] = 0x1111222233334444ull * (i + 1);
        user.rflags = 2;
        user.rsp = STACK;
}

void expect(bool ok, const char *what, unsigned line)
{
        static unsigned bad;

        check(ok, what);
        if (ok)
                return;
        print("line %u: vector %lx error %lx cr2 %lx rip %lx (text + %lx) rsp %lx rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx rflags %lx\n", line,
                user.vector, user.error, fault_at, user.rip, user.rip - (uint64_t)TEXT, user.rsp, user.rax, user.rbx, user.rcx, user.rdx, user.rsi, user.rdi, user.rflags);
        if (++bad == 20)
                fail("too many failures");
}

bool done(void)
{
        return user.vector == DONE;
}

bool unchanged(void)
{
        return memcmp(&user, &before, 15 * 8) == 0 && user.rip == before.rip && user.rsp == before.rsp && !((user.rflags ^ before.rflags) & ~FLAG_RF);
}

bool fault(uint64_t error, uint64_t address)
{
        /* QEMU's emulator reads first what is to be changed. */
        return user.vector == 14 && fault_at == address && (user.error == error || (!strict && user.error == (error & ~PF_W)));
}

bool faulted(uint64_t error, uint64_t address)
{
        return fault(error, address) && unchanged();
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

void *at(uint64_t phys)
{
        return (void *)(HIGH + phys);
}

uint64_t frame_alloc(void)
{
        uint64_t p = next_frame;

        if (p >= LARGE_A)
                fail("out of memory");
        next_frame += PAGE;
        memset(at(p), 0, PAGE);
        return p;
}

volatile uint64_t *entry_of(uint64_t root, uint64_t va, unsigned level)
{
        uint64_t *table = at(root);

        for (unsigned i = 3; i > level; i--) {
                uint64_t *e = &table[va >> (12 + 9 * i) & 511];

                if (!(*e & PTE_P))
                        *e = frame_alloc() | USER_W;
                table = at(*e & 0xffffffffff000ull);
        }
        return &table[va >> (12 + 9 * level) & 511];
}

volatile uint64_t *pte(uint64_t va)
{
        return entry_of(space, va, 0);
}

void set(uint64_t va, uint64_t entry)
{
        *pte(va) = entry;
        invlpg((void *)va);
}

bool is_present(uint64_t va)
{
        const uint64_t *table = at(space);

        for (unsigned i = 3;; i--) {
                uint64_t e = table[va >> (12 + 9 * i) & 511];

                if (!(e & PTE_P) || i == 0 || (e & PTE_PS))
                        return e & PTE_P;
                table = at(e & 0xffffffffff000ull);
        }
}

void set_pair(uint64_t va, unsigned n, uint64_t flags)
{
        set(va, page[n] | flags);
        set(va + PAGE, page[n + 1] | flags);
}

static uint64_t make_space(void)
{
        uint64_t root = frame_alloc();

        ((uint64_t *)at(root))[256] = pml4[0];
        for (uint64_t a = 0x100000; a < 0x200000; a += PAGE)
                *entry_of(root, a, 0) = a | PTE_P | PTE_W;
        for (uint64_t a = 0x200000; a < IMAGE_END; a += LARGE)
                *entry_of(root, a, 1) = a | PTE_P | PTE_W | PTE_PS;
        for (uint64_t a = 0; a < (uint64_t)(user_text_end - user_text); a += PAGE)
                *entry_of(root, TEXT + a, 0) = ((uintptr_t)user_text + a) | USER;
        *entry_of(root, TEXT + (uint64_t)(user_text_end - user_text), 0) = (uintptr_t)user_data | USER_W;
        for (unsigned i = 1; i <= 4; i++)
                *entry_of(root, STACK - i * PAGE, 0) = frame_alloc() | USER_W;
        return root;
}

void mirror_setup(void)
{
        if ((uintptr_t)image_end > IMAGE_END)
                fail("the image is too large");
        strict = !has_word("lenient");
        pml4[256] = pml4[0];
        write_cr3(read_cr3());
        for (unsigned i = 0; i < sizeof(page) / sizeof(page[0]); i++)
                page[i] = frame_alloc();
        space = make_space();
        other_space = make_space();
        write_cr4(read_cr4() | CR4_PGE);
        if ((cpuid(1, 0).c & CPUID1_XSAVE) && (cpuid(1, 0).c & CPUID1_AVX) && (cpuid(7, 0).b & CPUID7_AVX2)) {
                write_cr4(read_cr4() | CR4_OSXSAVE);
                asm volatile("xsetbv" : : "a"(7), "c"(0), "d"(0));
                avx = true;
        } else {
                print("no AVX2\n");
        }
        write_cr3(space);
        for (unsigned i = 0; i < 32; i++)
                irq_set_handler(i, from_user);
        irq_set_handler(DONE, from_user);
}

uint64_t number(void)
{
        static uint64_t x = 88172645463325252ull;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return x;
}

void fill(uint64_t phys, uint64_t size)
{
        uint64_t *p = at(phys);

        for (uint64_t i = 0; i < size / 8; i++)
                p[i] = number();
}

uint64_t word(uint64_t phys)
{
        return *(volatile uint64_t *)at(phys);
}

void put(uint64_t phys, uint64_t v)
{
        *(volatile uint64_t *)at(phys) = v;
}

void expect_page(uint64_t va, uint64_t phys, unsigned line)
{
        uint64_t v = number();

        put(phys, v);
        fresh();
        user.rsi = va;
        user.rbx = ~v;
        start(u_load_store_load);
        expect(done() && user.rax == v && user.rcx == ~v && word(phys) == ~v, "the program works on the page that is mapped", line);
}
