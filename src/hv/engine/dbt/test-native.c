/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Vector and x87 instructions where the comparison with the host (tests/diff) does not reach: control register and CPUID
 * checks, real-mode environments, operands in MMIO, XSAVE's faults. */

#include <cpuid.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/bus/check.h"
#include "hv/engine/engine.h"

enum { MEMORY = 4 << 20, TABLES = 0x1000, IDT = 0x5000, HANDLERS = 0x6000, CODE = 0x8000, STACK = 0x20000, DATA = 0x100000,
       MMIO = 0x1000000 };

static struct engine_vm *vm;
static struct engine_vcpu *vcpu;
static uint8_t *memory;
static unsigned vector;
static uint64_t mmio_written[2];

/* --- Callbacks: they use the vector registers, as any C code may ----------------------------------------------- */

static void spoil_vectors(void)
{
        __asm__ volatile("pcmpeqd %%xmm0, %%xmm0; movaps %%xmm0, %%xmm1; movaps %%xmm0, %%xmm2; fninit; fldpi"
                : : : "xmm0", "xmm1", "xmm2", "st");
        __asm__ volatile("fstp %%st" : : : "st");
}

static uint64_t pio_read(void *opaque, uint16_t port, unsigned size)
{
        return ~0ULL;
}

static void pio_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
        spoil_vectors();
        vector = (unsigned)value;
        engine_dbt.vcpu_kick(vcpu);
}

static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
        spoil_vectors();
        return size == 8 ? gpa * 3 : (uint32_t)gpa;
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value)
{
        spoil_vectors();
        if (size == 8)
                mmio_written[gpa >> 3 & 1] = value;
}

static void eoi(void *opaque, uint8_t v)
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

/* --- The machine ----------------------------------------------------------------------------------------------- */

static void put64(unsigned gpa, uint64_t value)
{
        memcpy(memory + gpa, &value, 8);
}

static uint64_t get(unsigned gpa, unsigned size)
{
        uint64_t value = 0;

        memcpy(&value, memory + gpa, size);
        return value;
}

/* 1 GiB mapped one to one; every vector's handler writes its number to a port. */
static void make_tables(void)
{
        put64(TABLES, (TABLES + 0x1000) | 3);
        put64(TABLES + 0x1000, 0x83);
        for (unsigned n = 0; n < 32; n++) {
                const uint8_t code[] = {0xb0, (uint8_t)n, 0xe6, 0x80, 0xeb, 0xfe}; /* mov al, n; out 0x80, al; jmp $ */
                unsigned handler = HANDLERS + n * 16;

                memcpy(memory + handler, code, sizeof(code));
                put64(IDT + n * 16, handler | 8 << 16 | 0x8eULL << 40);
        }
        put64(0x4008, 0x00af9b000000ffff);
}

static void drop_feature(struct cpuid_table *t, uint32_t leaf, uint32_t ebx)
{
        for (unsigned k = 0; k < t->n; k++)
                if (t->e[k].leaf == leaf && t->e[k].subleaf == 0)
                        t->e[k].r.ebx &= ~ebx;
}

static void machine_new(uint32_t without_leaf7_ebx)
{
        struct engine_config config = {.cpus = 1, .callbacks = &callbacks, .tsc_khz = 1000000};
        struct cpuid_table cpuid;
        uint32_t pv;

        memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED);
        CHECK_EQ(engine_dbt.vm_new(&config, &vm), 0);
        CHECK_EQ(engine_dbt.map(vm, 0, 0, MEMORY, memory, false), 0);
        CHECK_EQ(engine_dbt.cpuid_supported(vm, &cpuid, &pv), 0);
        drop_feature(&cpuid, 7, without_leaf7_ebx);
        CHECK_EQ(engine_dbt.vcpu_new(vm, 0, &cpuid, &vcpu), 0);
        make_tables();
}

static void machine_free(void)
{
        engine_dbt.vcpu_free(vcpu);
        engine_dbt.vm_free(vm);
        munmap(memory, MEMORY);
}

/* Control registers of a run; what is not mentioned is on. */
struct setup {
        uint32_t cr0_set, cr4_clear;
        uint64_t xcr0_clear;
        uint64_t rax, rdx;
        bool real;
};

static void set_long_mode(struct x86_state *s)
{
        s->seg[X86_CS] = (struct x86_segment){.limit = ~0u, .attr = 0xa09b, .selector = 8};
        for (unsigned k = 0; k < X86_NSREGS; k++)
                if (k != X86_CS)
                        s->seg[k] = (struct x86_segment){.limit = ~0u, .attr = 0xc093, .selector = 16};
        s->gdtr = (struct x86_table){.base = 0x4000, .limit = 0x1f};
        s->idtr = (struct x86_table){.base = IDT, .limit = 0x1ff};
        s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_MP;
        s->cr3 = TABLES;
        s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
        s->efer = X86_EFER_LME | X86_EFER_LMA;
        s->xcr0 = 7;
}

/* Runs code, followed by INT3 or, in real mode, by an OUT, at a place of its own. Returns the vector; real mode: 99. */
static unsigned run(const struct setup *setup, const void *code, unsigned size)
{
        static unsigned place = CODE;
        static struct x86_state s;
        static const uint8_t real_end[] = {0xb0, 99, 0xe6, 0x80, 0xeb, 0xfe};

        place += 0x40;
        x86_state_reset(&s, 0, true);
        if (setup->real)
                s.seg[X86_CS].base = s.seg[X86_CS].selector = 0;
        else
                set_long_mode(&s);
        s.cr0 |= setup->cr0_set;
        s.cr4 &= ~(uint64_t)setup->cr4_clear;
        s.xcr0 &= ~setup->xcr0_clear;
        s.rip = place;
        s.gpr[X86_RSP] = STACK;
        s.gpr[X86_RSI] = DATA;
        s.gpr[X86_RAX] = setup->rax;
        s.gpr[X86_RDX] = setup->rdx;
        memcpy(memory + place, code, size);
        if (setup->real)
                memcpy(memory + place + size, real_end, sizeof(real_end));
        else
                memory[place + size] = 0xcc;
        CHECK_EQ(engine_dbt.vcpu_set_state(vcpu, &s), 0);
        vector = 0xff;
        CHECK_EQ(engine_dbt.vcpu_run(vcpu), ENGINE_EXIT_KICK);
        return vector;
}

#define RUN(setup, bytes) run(setup, bytes, sizeof(bytes) - 1)

/* --- Tests ----------------------------------------------------------------------------------------------------- */

#define FLD1 "\xd9\xe8"
#define FWAIT "\x9b"
#define PADDD_MM "\x0f\xfe\xc1"
#define PADDD_XMM "\x66\x0f\xfe\xc1"
#define CVTTSD2SI_MEM "\xf2\x0f\x2c\x06"
#define VPADDD "\xc5\xfd\xfe\xc1"
#define VADDPS "\xc5\xfc\x58\xc1"
#define ANDN "\xc4\xe2\x70\xf2\xc2"
#define FXSAVE "\x0f\xae\x06"
#define XSAVE "\x0f\xae\x26"
#define XRSTOR "\x0f\xae\x2e"

static void test_control_registers(void)
{
        const struct setup on = {0}, ts = {.cr0_set = X86_CR0_TS}, em = {.cr0_set = X86_CR0_EM};
        const struct setup no_osfxsr = {.cr4_clear = X86_CR4_OSFXSR}, no_osxsave = {.cr4_clear = X86_CR4_OSXSAVE};
        const struct setup no_avx = {.xcr0_clear = 4};

        CHECK_EQ(RUN(&on, FLD1 PADDD_MM "\x0f\x77" PADDD_XMM VPADDD ANDN), X86_BP);
        CHECK_EQ(RUN(&ts, FLD1), X86_NM);
        CHECK_EQ(RUN(&ts, FWAIT), X86_NM); /* MP is set */
        CHECK_EQ(RUN(&ts, PADDD_MM), X86_NM);
        CHECK_EQ(RUN(&ts, PADDD_XMM), X86_NM);
        CHECK_EQ(RUN(&ts, CVTTSD2SI_MEM), X86_NM);
        CHECK_EQ(RUN(&ts, VADDPS), X86_NM);
        CHECK_EQ(RUN(&ts, FXSAVE), X86_NM);
        CHECK_EQ(RUN(&ts, XSAVE), X86_NM);
        CHECK_EQ(RUN(&ts, ANDN), X86_BP);
        CHECK_EQ(RUN(&em, FLD1), X86_NM);
        CHECK_EQ(RUN(&em, FWAIT), X86_BP);
        CHECK_EQ(RUN(&em, PADDD_MM), X86_UD);
        CHECK_EQ(RUN(&em, PADDD_XMM), X86_UD);
        CHECK_EQ(RUN(&em, FXSAVE), X86_NM);
        CHECK_EQ(RUN(&no_osfxsr, PADDD_XMM), X86_UD);
        CHECK_EQ(RUN(&no_osfxsr, CVTTSD2SI_MEM), X86_UD);
        CHECK_EQ(RUN(&no_osfxsr, PADDD_MM FLD1), X86_BP);
        CHECK_EQ(RUN(&no_osxsave, VADDPS), X86_UD);
        CHECK_EQ(RUN(&no_osxsave, XSAVE), X86_UD);
        CHECK_EQ(RUN(&no_osxsave, PADDD_XMM ANDN), X86_BP);
        CHECK_EQ(RUN(&no_avx, VADDPS), X86_UD);
        CHECK_EQ(RUN(&no_avx, PADDD_XMM), X86_BP);
}

/* ldmxcsr [rsi] of ZM unmasked; divps xmm0, xmm1 of 1/0. */
static void test_simd_exception(void)
{
        const struct setup on = {0}, off = {.cr4_clear = X86_CR4_OSXMMEXCPT};
        static const char code[] = "\x0f\xae\x16\x0f\x28\x46\x10\x0f\x57\xc9\x0f\x5e\xc1";

        put64(DATA, 0x1f80 & ~0x200);
        put64(DATA + 16, 0x3f8000003f800000);
        put64(DATA + 24, 0x3f8000003f800000);
        CHECK_EQ(RUN(&on, code), X86_XM);
        CHECK_EQ(RUN(&off, code), X86_UD);
        put64(DATA, 0x1f80 | 1 << 17);
        CHECK_EQ(RUN(&on, code), X86_GP);
}

static void test_no_evex(void)
{
        const struct setup on = {0};

        CHECK_EQ(RUN(&on, "\x62\xf1\x7c\x48\x58\xc1"), X86_UD); /* vaddps zmm0, zmm0, zmm1 */
        CHECK_EQ(RUN(&on, "\xc5\xec\x41\xcb"), X86_UD);         /* kandw k1, k2, k3 */
}

static void test_xrstor_faults(void)
{
        struct setup s = {.rax = 7};

        memset(memory + DATA, 0, 1024);
        CHECK_EQ(RUN(&s, XRSTOR), X86_BP); /* a zero image is valid: MXCSR 0 */
        put64(DATA + 24, 0xffffffff);
        CHECK_EQ(RUN(&s, XRSTOR), X86_GP); /* MXCSR */
        put64(DATA + 24, 0x1f80);
        put64(DATA + 512, 8);
        CHECK_EQ(RUN(&s, XRSTOR), X86_GP); /* component not in XCR0 */
        put64(DATA + 512, 7);
        put64(DATA + 528, 1);
        CHECK_EQ(RUN(&s, XRSTOR), X86_GP); /* reserved */
        put64(DATA + 528, 0);
        put64(DATA + 520, 1ULL << 63 | 3);
        CHECK_EQ(RUN(&s, XRSTOR), X86_GP); /* AVX in use but not in the format */
        put64(DATA + 520, 1ULL << 63 | 7);
        CHECK_EQ(RUN(&s, XRSTOR), X86_BP);
        CHECK_EQ(RUN(&s, "\x0f\xae\x6e\x10"), X86_GP); /* not aligned */
}

/* What a guest with the host's vendor sees as the last opcode: Intel's CPUs keep it for unmasked exceptions only (SDM vol. 1, 8.1.9.1). */
static uint64_t last_opcode(uint64_t opcode)
{
        unsigned eax, ebx = 0, ecx, edx;

        __get_cpuid(0, &eax, &ebx, &ecx, &edx);
        return ebx == 0x756e6547 ? 0 : opcode;
}

/* x87 environments of real mode hold linear addresses and the opcode (Intel SDM vol. 1, figures 8-10 and 8-12). */
static void test_real_mode(void)
{
        const struct setup real = {.real = true};
        unsigned fip;

        CHECK_EQ(RUN(&real, "\xd9\xe8\xd9\x36\x00\x30"), 99); /* fld1; fnstenv [0x3000] */
        CHECK_EQ(get(0x3000, 2), 0x37f);
        fip = (unsigned)get(0x3006, 2);
        CHECK(fip >= CODE && fip < CODE + 0x4000);
        CHECK_EQ(get(fip, 2), 0xe8d9);
        CHECK_EQ(get(0x3008, 2), last_opcode(0x1e8));
        CHECK_EQ(RUN(&real, "\xd9\xe8\x66\xd9\x36\x00\x30"), 99);
        fip = (unsigned)get(0x300c, 4);
        CHECK_EQ(get(fip, 2), 0xe8d9);
        CHECK_EQ(get(0x3010, 4), last_opcode(0x1e8));
        /* addps has no operand size: movups xmm0, [0x3000]; addps xmm0, xmm0; SSE needs no more than OSFXSR */
        CHECK_EQ(RUN(&real, "\x0f\x20\xe0\x66\x0d\x00\x02\x00\x00\x0f\x22\xe0\x0f\x10\x06\x00\x30\x0f\x58\xc0"), 99);
}

/* movups xmm0, [MMIO + 8]; movups [rsi], xmm0; movups [MMIO], xmm0; then the same x87 stack as before. */
static void test_mmio(void)
{
        const struct setup on = {0};

        CHECK_EQ(RUN(&on, "\xd9\xee\xd9\xe8" "\x0f\x10\x04\x25\x08\x00\x00\x01" "\x0f\x28\xc8" "\x0f\x11\x06"
                          "\x0f\x11\x0c\x25\x00\x00\x00\x01" "\xdd\x5e\x20" "\x0f\x11\x4e\x10"),
                X86_BP);
        CHECK_EQ(get(DATA, 8), (MMIO + 8) * 3ULL);
        CHECK_EQ(get(DATA + 8, 8), (MMIO + 16) * 3ULL);
        CHECK_EQ(get(DATA + 16, 8), (MMIO + 8) * 3ULL);
        CHECK_EQ(mmio_written[0], (MMIO + 8) * 3ULL);
        CHECK_EQ(mmio_written[1], (MMIO + 16) * 3ULL);
        CHECK_EQ(get(DATA + 0x20, 8), 0x3ff0000000000000); /* fldz, fld1; fstp [rsi + 0x20] */
}

/* What CPUID does not offer does not exist. */
static void test_cpuid(void)
{
        const struct setup on = {0};

        machine_free();
        machine_new(1u << 5 | 1u << 3); /* AVX2, BMI1 */
        CHECK_EQ(RUN(&on, VPADDD), X86_UD);
        CHECK_EQ(RUN(&on, ANDN), X86_UD);
        CHECK_EQ(RUN(&on, VADDPS), X86_BP);
}

int main(void)
{
        machine_new(0);
        test_control_registers();
        test_simd_exception();
        test_no_evex();
        test_xrstor_faults();
        test_real_mode();
        test_mmio();
        test_cpuid();
        machine_free();
        return 0;
}
