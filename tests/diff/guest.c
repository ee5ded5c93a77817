/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs a sequence in the engine: 64-bit user mode as under Linux, with page tables, and an IDT whose handlers write to a
 * port. A new machine is made when all code pages are used up: what the test writes from outside is not seen by the engine's
 * decode cache. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "diff.h"
#include "hv/engine/engine.h"

enum {
        PML4 = 0x1000, PDPT_LOW = 0x2000, PD_LOW = 0x3000, PT_LOW = 0x4000, PDPT_HIGH = 0x5000, PD_HIGH = 0x6000,
        GDT = 0x10000, IDT = 0x11000, TSS = 0x12000, HANDLERS = 0x13000, STACK_TOP = 0x16000,
        DATA_GPA = 0x100000, CODE_GPA = 0x200000, MACHINE_CODE_PAGES = 2048,
        MEMORY_SIZE = CODE_GPA + MACHINE_CODE_PAGES * 4096
};
#define SYSTEM_BASE 0xffff800000000000ULL /* supervisor mapping of physical address 0 */

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80 };
#define PTE_NX (1ULL << 63)

static struct {
        struct engine_vm *vm;
        struct engine_vcpu *vcpu;
        uint8_t *mem;
        struct x86_state start;
        unsigned next_code;
        unsigned code_gpa[CODE_PAGES];
        bool translate, hot;
        volatile bool kicked_by_port;
} guest;

/* --- Callbacks ------------------------------------------------------------------------------------------------- */

static uint64_t on_read(void *opaque, uint16_t port, unsigned size)
{
        return ~0ULL;
}

static void on_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
        guest.kicked_by_port = true;
        engine_dbt.vcpu_kick(guest.vcpu);
}

static uint64_t on_mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
        return ~0ULL;
}

static void on_mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value)
{
}

static void on_eoi(void *opaque, uint8_t vector)
{
}

static int on_extint(void *opaque)
{
        return -1;
}

static const struct engine_callbacks callbacks = {
        .pio_read = on_read, .pio_write = on_write, .mmio_read = on_mmio_read, .mmio_write = on_mmio_write,
        .eoi = on_eoi, .extint_ack = on_extint,
};

/* --- Memory ---------------------------------------------------------------------------------------------------- */

static void put64(unsigned gpa, uint64_t value)
{
        memcpy(guest.mem + gpa, &value, 8);
}

/* Neighbours in linear addresses are not neighbours in memory. */
static unsigned data_gpa(unsigned page)
{
        return DATA_GPA + (page * 5 + 3) % 16 * 4096;
}

static void make_page_tables(void)
{
        uint64_t table = PTE_P | PTE_W | PTE_U | PTE_A, leaf = PTE_P | PTE_U | PTE_A | PTE_D;

        put64(PML4, PDPT_LOW | table);
        put64(PDPT_LOW, PD_LOW | table);
        put64(PD_LOW + (DATA_ADDR >> 21) * 8, PT_LOW | table);
        for (unsigned page = 0; page <= DATA_PAGES; page++)
                put64(PT_LOW + page * 8, data_gpa(page) | leaf | PTE_NX | (page < DATA_PAGES ? PTE_W : 0));
        put64(PML4 + 256 * 8, PDPT_HIGH | table);
        put64(PDPT_HIGH, PD_HIGH | table);
        put64(PD_HIGH, PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS);
}

static void make_tables(void)
{
        put64(GDT + 0x10, 0x00209b0000000000ULL); /* kernel code; user segments at Linux's selectors */
        put64(GDT + 0x18, 0x0000930000000000ULL);
        put64(GDT + 0x20, 0x00cffb000000ffffULL);
        put64(GDT + 0x28, 0x00cff3000000ffffULL);
        put64(GDT + 0x30, 0x0020fb0000000000ULL);
        put64(TSS + 4, SYSTEM_BASE + STACK_TOP);
        put64(TSS + 96, 0xffffULL << 48); /* no I/O bitmap */
        for (unsigned n = 0; n < 32; n++) {
                uint64_t handler = SYSTEM_BASE + HANDLERS + n * 16;
                const uint8_t code[] = {0x6a, (uint8_t)n, 0xe6, 0x80, 0xeb, 0xfe}; /* push n; out 0x80, al; jmp $ */

                memcpy(guest.mem + HANDLERS + n * 16, code, sizeof(code));
                put64(IDT + n * 16, (handler & 0xffff) | 0x10 << 16 | 0xeeULL << 40 | (handler >> 16 & 0xffff) << 48);
                put64(IDT + n * 16 + 8, handler >> 32);
        }
}

/* --- The CPU --------------------------------------------------------------------------------------------------- */

static struct x86_segment segment(uint16_t selector, uint32_t attr)
{
        return (struct x86_segment){.selector = selector, .limit = 0xffffffff, .attr = attr};
}

static void make_start_state(void)
{
        struct x86_state *s = &guest.start;

        x86_state_reset(s, 0, true);
        s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
        s->cr3 = PML4;
        s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_FSGSBASE | X86_CR4_OSXSAVE | X86_CR4_UMIP;
        s->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
        s->xcr0 = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
        for (unsigned k = 0; k < X86_NSREGS; k++)
                s->seg[k] = segment(0, 0xf3 | X86_SEG_UNUSABLE);
        s->ldtr = segment(0, X86_SEG_UNUSABLE);
        s->tr = (struct x86_segment){.selector = 0x40, .base = SYSTEM_BASE + TSS, .limit = 0x67, .attr = 0x8b};
        s->gdtr = (struct x86_table){.base = SYSTEM_BASE + GDT, .limit = 0x37};
        s->idtr = (struct x86_table){.base = SYSTEM_BASE + IDT, .limit = 0x1ff};
}

void guest_free(void)
{
        if (!guest.vm)
                return;
        engine_dbt.vcpu_free(guest.vcpu);
        engine_dbt.vm_free(guest.vm);
        guest.vm = NULL;
}

static int new_machine(void)
{
        /* host.c has signal handlers of its own, which mirroring would keep off their stack. */
        const struct engine_config config = {.cpus = 1, .mirror = ENGINE_MIRROR_NEVER, .exact_flags = compare_exact_flags, .translate_hot = guest.hot, .callbacks = &callbacks,
                .translate_after = guest.translate ? 1 : ENGINE_NEVER_TRANSLATE};
        const struct cpuid_topology topo = {.cpus = 1};
        struct cpuid_table cpuid;
        uint32_t pv;
        int r;

        guest_free();
        r = engine_dbt.vm_new(&config, &guest.vm);
        if (r == 0)
                r = engine_dbt.map(guest.vm, 0, 0, MEMORY_SIZE, guest.mem, false);
        if (r == 0)
                r = engine_dbt.cpuid_supported(guest.vm, &cpuid, &pv);
        if (r < 0)
                return r;
        cpuid_finish(&cpuid, &topo, pv, 0);
        r = engine_dbt.vcpu_new(guest.vm, 0, &cpuid, &guest.vcpu);
        guest.next_code = 0;
        host_take_signals();
        return r;
}

int guest_init(bool translate, bool hot)
{
        guest.translate = translate;
        guest.hot = hot;
        guest.mem = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (guest.mem == MAP_FAILED)
                return -errno;
        make_page_tables();
        make_tables();
        make_start_state();
        return new_machine();
}

static void set_memory(const struct sequence *s, const uint8_t *mem)
{
        uint64_t leaf = PTE_P | PTE_U | PTE_A | PTE_D;
        unsigned n = guest.next_code++;

        for (unsigned page = 0; page <= DATA_PAGES; page++)
                memcpy(guest.mem + data_gpa(page), mem + page * 4096, 4096);
        for (unsigned page = 0; page < CODE_PAGES; page++) {
                unsigned gpa = CODE_GPA + (page ? MACHINE_CODE_PAGES - 1 - n : n) * 4096, from = page * 4096;

                guest.code_gpa[page] = gpa;
                memset(guest.mem + gpa, 0xcc, 4096);
                if (s->length > from)
                        memcpy(guest.mem + gpa, s->code + from, s->length - from < 4096 ? s->length - from : 4096);
                put64(PT_LOW + ((CODE_ADDR - DATA_ADDR) / 4096 + page) * 8, gpa | leaf | (s->writable ? PTE_W : 0));
                put64(PT_LOW + ((ALIAS_ADDR - DATA_ADDR) / 4096 + page) * 8, gpa | leaf | PTE_W | PTE_NX);
        }
}

static void set_segments(struct x86_state *s, unsigned bits)
{
        struct x86_segment data = segment(0x2b, 0xf3 | X86_SEG_DB | X86_SEG_G), code = segment(0x33, 0xfb | X86_SEG_L | X86_SEG_G);

        if (bits == 32)
                code = segment(0x23, 0xfb | X86_SEG_DB | X86_SEG_G);
        if (bits == 16) {
                code = (struct x86_segment){.selector = SELECTOR_CODE16, .base = CODE_ADDR, .limit = 0xffff, .attr = 0xfb};
                data = (struct x86_segment){
                        .selector = SELECTOR_DATA16, .base = DATA_ADDR, .limit = 0xffff, .attr = 0xf3 | X86_SEG_DB
                };
        }
        s->seg[X86_CS] = code;
        s->seg[X86_DS] = s->seg[X86_ES] = s->seg[X86_SS] = data;
}

static void set_state(const struct sequence *seq)
{
        const struct cpu *in = &seq->in;
        struct x86_state *s = &guest.start;
        const uint64_t components = 7;

        memcpy(s->gpr, in->gpr, sizeof(s->gpr));
        s->rip = in->rip;
        set_segments(s, seq->bits);
        s->rflags = in->rflags;
        s->cr2 = 0;
        s->seg[X86_FS].base = in->fs_base;
        s->seg[X86_GS].base = in->gs_base;
        memcpy(s->xsave, in->xsave, XSAVE_SIZE);
        memcpy(s->xsave + 512, &components, 8);
        engine_dbt.vcpu_set_state(guest.vcpu, s);
}

static bool has_error_code(unsigned vector)
{
        return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* From the handler's stack: the vector it pushed, the error code, and the frame. */
static int get_state(struct cpu *out)
{
        static struct x86_state s;
        uint64_t frame[7];
        const uint64_t *p = frame;
        int r = engine_dbt.vcpu_get_state(guest.vcpu, &s);

        if (r < 0 || s.gpr[X86_RSP] < SYSTEM_BASE + STACK_TOP - 64 || s.gpr[X86_RSP] >= SYSTEM_BASE + STACK_TOP)
                return -1;
        memcpy(frame, guest.mem + (s.gpr[X86_RSP] - SYSTEM_BASE), sizeof(frame));
        memcpy(out->gpr, s.gpr, sizeof(out->gpr));
        out->vector = (unsigned)*p++;
        out->error = has_error_code(out->vector) ? *p++ : 0;
        out->rip = p[0];
        out->rflags = p[2];
        out->gpr[X86_RSP] = p[3];
        out->cr2 = s.cr2;
        out->fs_base = s.seg[X86_FS].base;
        out->gs_base = s.seg[X86_GS].base;
        memcpy(out->xsave, s.xsave, XSAVE_SIZE);
        return 0;
}

int guest_run(const struct sequence *s, const uint8_t *mem, struct cpu *out)
{
        int r;

        if (guest.next_code >= MACHINE_CODE_PAGES / CODE_PAGES && (r = new_machine()) < 0)
                return r;
        set_memory(s, mem);
        set_state(s);
        guest.kicked_by_port = false;
        r = engine_dbt.vcpu_run(guest.vcpu);
        if (r != ENGINE_EXIT_KICK || !guest.kicked_by_port)
                return -100 - r;
        return get_state(out);
}

const uint8_t *guest_page(unsigned page)
{
        return guest.mem + data_gpa(page);
}

const uint8_t *guest_code(unsigned page)
{
        return guest.mem + guest.code_gpa[page];
}

void guest_kick(void)
{
        if (guest.vcpu)
                engine_dbt.vcpu_kick(guest.vcpu);
}
