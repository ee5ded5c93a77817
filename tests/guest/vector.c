/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Exceptions of vector and x87 instructions, each several times, so that translated code raises them, too: at the right instruction, with
 * the arithmetic flags of a comparison just before it. */
#include "guest.h"

#define CR0_MP 0x2ull
#define CR0_NE 0x20ull
#define CR0_TS 0x8ull
#define CR4_OSFXSR 0x200ull
#define CR4_OSXMMEXCPT 0x400ull

#define ROUNDS 20
#define FLAGS 0x8d5ull
#define BORROWED 0x95ull /* of 1 - 2: CF PF AF SF */

/* Between a comparison of 1 with 2 and something that reads the flags: elsewhere the engine need not keep them. */
#define COMPARE "movl $1, %%ecx\n\tcmpl $2, %%ecx\n\t"
#define TRY_AFTER(before, code, ...) TRY_WITH(before COMPARE, code, "pushfq\n\tpopq %%rcx", __VA_ARGS__)
#define TRY_FLAGS(code, ...) TRY_AFTER("", code, __VA_ARGS__)

static uint8_t buffer[64] __attribute__((aligned(64)));
static float one = 1, zero;
static uint32_t signalling = 0x7fa00000;

static bool flags_kept(void)
{
        return (trap.rflags & FLAGS) == BORROWED;
}

static void set_mxcsr(uint32_t v)
{
        asm volatile("ldmxcsr %0" : : "m"(v));
}

static void test_misaligned(void)
{
        TRY_FLAGS("movaps 1(%%rax), %%xmm0", : : "a"(buffer) : "ecx");
        CHECK(trapped(13, 0));
        TRY_FLAGS("paddd 8(%%rax), %%xmm0", : : "a"(buffer) : "ecx");
        CHECK(trapped(13, 0));
        TRY_FLAGS("movups 1(%%rax), %%xmm0", : : "a"(buffer) : "ecx");
        CHECK(trap.vector == -1);
}

static void test_simd(void)
{
        set_mxcsr(0x1f80 & ~0x200u); /* division by zero */
        TRY_AFTER("movss (%%rax), %%xmm0\n\tmovss (%%rdx), %%xmm1\n\t", "divss %%xmm1, %%xmm0", : : "a"(&one), "d"(&zero) : "ecx");
        CHECK(trapped(19, 0));
        CHECK(flags_kept());
        set_mxcsr(0x1f80 & ~0x80u); /* invalid operation, of a signalling NaN */
        TRY_AFTER("movss (%%rax), %%xmm0\n\t", "roundss $0, %%xmm0, %%xmm1", : : "a"(&signalling) : "ecx");
        CHECK(trapped(19, 0));
        set_mxcsr(0x1f80 & ~0x200u);
        write_cr4(read_cr4() & ~CR4_OSXMMEXCPT);
        TRY_AFTER("movss (%%rax), %%xmm0\n\t", "divss (%%rdx), %%xmm0", : : "a"(&one), "d"(&zero) : "ecx");
        CHECK(trapped(6, 0));
        write_cr4(read_cr4() | CR4_OSXMMEXCPT);
        set_mxcsr(0x1f80);
        TRY_AFTER("movss (%%rax), %%xmm0\n\t", "divss (%%rdx), %%xmm0", : : "a"(&one), "d"(&zero) : "ecx");
        CHECK(trap.vector == -1);
}

static void test_trapped(void)
{
        uint64_t cr0 = read_cr0();

        write_cr0(cr0 | CR0_TS);
        TRY_FLAGS("paddd %%xmm0, %%xmm1", : : : "ecx");
        CHECK(trapped(7, 0));
        CHECK(flags_kept());
        TRY_FLAGS("paddd (%%rax), %%xmm1", : : "a"(buffer) : "ecx");
        CHECK(trapped(7, 0));
        TRY_FLAGS("fldz", : : : "ecx");
        CHECK(trapped(7, 0));
        write_cr0(cr0);
}

/* The exception of an x87 instruction comes with the next one. */
static void test_pending(void)
{
        uint16_t unmasked = 0x37f & ~4;

        TRY_AFTER("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\t", "fld1", : : "m"(unmasked) : "ecx");
        CHECK(trapped(16, 0));
        CHECK(flags_kept());
        asm volatile("fnclex");
        TRY_AFTER("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\t", "movq2dq %%mm0, %%xmm0", : : "m"(unmasked) : "ecx");
        CHECK(trapped(16, 0));
        asm volatile("fninit");
}

static void test_pointers(void)
{
        uint32_t env[7];
        uint64_t at;

        asm volatile("fninit\n\tleaq 771f(%%rip), %1\n\tflds %2\n\t771: fmuls %3\n\tfldcw %4\n\tfnstenv %0"
                     : "=m"(env), "=&r"(at) : "m"(one), "m"(zero), "m"((const uint16_t){ 0x37f }));
        CHECK(env[3] == (uint32_t)at);
        CHECK((env[4] & 0xffff) == KERNEL_CS || !(env[4] & 0xffff)); /* newer processors store no selectors */
        if (!(cpuid(7, 0).b & 1 << 6)) /* else the data pointer is that of the last exception */
                CHECK(env[5] == (uint32_t)(uintptr_t)&zero);
        asm volatile("fninit");
}

void guest_main(void)
{
        write_cr0(read_cr0() | CR0_NE | CR0_MP);
        write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
        for (unsigned k = 0; k < ROUNDS; k++) {
                test_misaligned();
                test_simd();
                test_trapped();
                test_pending();
                test_pointers();
        }
}
