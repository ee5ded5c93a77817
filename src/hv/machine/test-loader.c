/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The kernel loaders against images made here: good ones, and ones that are wrong in each way that matters. Given file names, it
 * loads those as kernels instead and prints what came of it. */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/bus/check.h"
#include "hv/bus/memory.h"
#include "hv/machine/loader-private.h"
#include "hv/machine/test-loader.h"

static int make_file(const void *data, size_t n)
{
        int fd = memfd_create("image", MFD_CLOEXEC);

        CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
        return fd;
}

void start_at(struct run *run, uint64_t memory, const void *kernel, size_t n, size_t initrd_size, const char *cmdline,
        const uint64_t random[2])
{
        struct loader_input in = { .initrd_fd = -1, .cmdline = cmdline, .rsdp = 0xe0000, .random = random };
        uint8_t *initrd = malloc(initrd_size + 1);

        memset(run, 0, sizeof(*run));
        memset(initrd, 0x5a, initrd_size + 1);
        CHECK(guest_memory_init(&run->mem, memory) == 0);
        in.kernel_fd = make_file(kernel, n);
        if (initrd_size)
                in.initrd_fd = make_file(initrd, initrd_size);
        run->r = loader_load(&run->mem, &in, &run->state, &run->error);
        CHECK((run->r < 0) == (run->error != NULL));
        close(in.kernel_fd);
        if (in.initrd_fd >= 0)
                close(in.initrd_fd);
        free(initrd);
}

void start(struct run *run, uint64_t memory, const void *kernel, size_t n, size_t initrd_size, const char *cmdline)
{
        start_at(run, memory, kernel, n, initrd_size, cmdline, NULL);
}

void stop(struct run *run)
{
        guest_memory_finish(&run->mem);
}

static void expect_error(uint64_t memory, const void *kernel, size_t n, size_t initrd_size, const char *cmdline, const char *part)
{
        struct run run;

        start(&run, memory, kernel, n, initrd_size, cmdline);
        if (run.r >= 0 || !strstr(run.error, part)) {
                fprintf(stderr, "wanted \"%s\", got %d \"%s\"\n", part, run.r, run.error ? run.error : "success");
                exit(1);
        }
        stop(&run);
}

uint64_t peek64(struct run *run, uint64_t gpa)
{
        uint8_t b[8];

        CHECK(guest_read(&run->mem, gpa, b, 8) == 0);
        return le64_load(b);
}

uint32_t peek32(struct run *run, uint64_t gpa)
{
        return (uint32_t)peek64(run, gpa);
}

/* --- bzImage ------------------------------------------------------------------------------------------------- */

uint8_t *make_bzimage(void)
{
        uint8_t *k = calloc(1, BZ_SIZE);

        k[0x1f1] = 4;
        le32_store(k + 0x1f4, 4096 / 16);
        le16_store(k + 0x1fe, 0xaa55);
        k[0x200] = 0xeb;
        k[0x201] = 0x6a;
        memcpy(k + 0x202, "HdrS", 4);
        le16_store(k + 0x206, 0x020f);
        k[0x211] = 1;
        le32_store(k + 0x22c, 0x7fffffff);
        le32_store(k + 0x230, 0x200000);
        k[0x234] = 1;
        le16_store(k + 0x236, 1);
        le32_store(k + 0x238, 2047);
        le64_store(k + 0x250, 0xdeadbeef);
        le64_store(k + 0x258, 0x1000000);
        le32_store(k + 0x260, 0x800000);
        memset(k + 512 * 5, 0xcc, 4096);
        return k;
}

/* The linear address's 2 MiB page maps to itself. */
static void check_identity(struct run *run, uint64_t lin)
{
        uint64_t pdpt = peek64(run, run->state.cr3) & ~0xfffULL;
        uint64_t pd = peek64(run, pdpt + (lin >> 30) * 8) & ~0xfffULL;
        uint64_t pde = peek64(run, pd + (lin >> 21 & 511) * 8);

        CHECK((pde & 0x83) == 0x83 && (pde & ~0xfffULL) == ALIGN_DOWN(lin, MiB(2)));
}

void check_long_state(struct run *run)
{
        const struct x86_state *s = &run->state;

        CHECK(s->cr0 == (X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE) && s->cr4 == X86_CR4_PAE);
        CHECK(s->efer == (X86_EFER_LME | X86_EFER_LMA) && s->rflags == 2);
        CHECK(s->seg[X86_CS].selector == 0x10 && s->seg[X86_CS].attr == 0xa09b);
        CHECK(s->seg[X86_DS].selector == 0x18 && s->seg[X86_DS].attr == 0xc093);
        CHECK(peek64(run, s->gdtr.base + 0x10) == 0x00af9b000000ffffULL);
        CHECK(peek64(run, s->gdtr.base + 0x18) == 0x00cf93000000ffffULL);
        check_identity(run, 0);
        check_identity(run, 0x1000000);
        check_identity(run, 0xfffff000);
}

static void test_bzimage(void)
{
        uint8_t *k = make_bzimage();
        struct run run;
        uint64_t zp;

        start(&run, MiB(64), k, BZ_SIZE, 5000, "console=ttyS0");
        CHECK(run.r == 0);
        check_long_state(&run);
        CHECK(run.state.rip == 0x1000200);
        zp = run.state.gpr[X86_RSI];
        CHECK(peek64(&run, 0x1000000) == 0xccccccccccccccccULL);
        CHECK(peek64(&run, 0x1000000 + 4096) == 0);
        CHECK(peek32(&run, zp + 0x202) == 0x53726448);
        CHECK(peek32(&run, zp + 0x218) == MiB(64) - 8192 && peek32(&run, zp + 0x21c) == 5000);
        CHECK((peek64(&run, MiB(64) - 8192 + 4999) & 0xffff) == 0x005a);
        CHECK(strcmp(guest_memory_ptr(&run.mem, peek32(&run, zp + 0x228), 14), "console=ttyS0") == 0);
        CHECK((peek32(&run, zp + 0x210) & 0xff) == 0xff);
        CHECK(peek64(&run, zp + 0x250) == 0);
        CHECK(peek64(&run, zp + 0x070) == 0xe0000);
        CHECK((peek32(&run, zp + 0x1e8) & 0xff) == 4);
        CHECK(peek64(&run, zp + 0x2d0 + 3 * 20) == MiB(1) && peek64(&run, zp + 0x2d0 + 3 * 20 + 8) == MiB(63));
        stop(&run);

        /* The initrd stays below what the kernel can reach, and below 3 GiB. */
        le32_store(k + 0x22c, 0x37ffffff);
        start(&run, GiB(5), k, BZ_SIZE, 4096, "");
        CHECK(run.r == 0 && peek32(&run, run.state.gpr[X86_RSI] + 0x218) == 0x37fff000);
        CHECK((peek32(&run, run.state.gpr[X86_RSI] + 0x1e8) & 0xff) == 5);
        CHECK(peek64(&run, run.state.gpr[X86_RSI] + 0x2d0 + 4 * 20) == GiB(4));
        CHECK(peek64(&run, run.state.gpr[X86_RSI] + 0x2d0 + 4 * 20 + 8) == GiB(2));
        stop(&run);
        le32_store(k + 0x22c, 0xffffffff);
        start(&run, GiB(5), k, BZ_SIZE, 4096, "");
        CHECK(run.r == 0 && peek32(&run, run.state.gpr[X86_RSI] + 0x218) == GiB(3) - 4096);
        stop(&run);
        free(k);
}

static void test_bzimage_errors(void)
{
        char long_line[3000];
        uint8_t *k = make_bzimage();

        memset(long_line, 'a', sizeof(long_line) - 1);
        long_line[sizeof(long_line) - 1] = 0;
        expect_error(MiB(64), k, BZ_SIZE, 0, long_line, "command line is longer");
        expect_error(MiB(64), k, BZ_SIZE - 100, 0, "", "truncated");
        expect_error(MiB(64), k, 0x210, 0, "", "truncated");
        expect_error(MiB(64), k, 512 * 5, 0, "", "truncated");
        expect_error(MiB(16), k, BZ_SIZE, 0, "", "does not fit");
        expect_error(MiB(23), k, BZ_SIZE, 0, "", "does not fit");
        expect_error(MiB(24), k, BZ_SIZE, 4096, "", "initrd does not fit");
        expect_error(MiB(32), k, BZ_SIZE, MiB(9), "", "initrd does not fit");

        le16_store(k + 0x206, 0x020b);
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "too old");
        le16_store(k + 0x206, 0x020c);
        le16_store(k + 0x236, 0);
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "32-bit kernel");
        le16_store(k + 0x236, 1);
        k[0x211] = 0;
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "zImage");
        k[0x211] = 1;
        le32_store(k + 0x230, 0x300000);
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "alignment");
        le32_store(k + 0x230, 0);
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "alignment");
        le32_store(k + 0x230, 0x200000);
        le64_store(k + 0x258, 0xfffffffffffff000ULL);
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "load address");
        k[0x234] = 0;
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "does not fit");
        le64_store(k + 0x258, 0x1000);
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "below 1 MiB");
        le64_store(k + 0x258, 0x1000000);
        le32_store(k + 0x1f4, 0xffffffff);
        expect_error(MiB(64), k, BZ_SIZE, 0, "", "truncated");
        free(k);
}

/* --- ELF ------------------------------------------------------------------------------------------------------ */

#define ELF_SIZE 8192
#define ELF_CODE 4096

/* Code at file offset 4096 for physical 2 MiB with 1 MiB of zeros behind it, linked at 0xffffffff80200000; a PVH note at 512. */
static uint8_t *make_elf64(bool with_note)
{
        uint8_t *k = calloc(1, ELF_SIZE);
        Elf64_Ehdr *h = (Elf64_Ehdr *)k;
        Elf64_Phdr *p = (Elf64_Phdr *)(k + sizeof(*h));

        memcpy(h->e_ident, ELFMAG, SELFMAG);
        h->e_ident[EI_CLASS] = ELFCLASS64;
        h->e_ident[EI_DATA] = ELFDATA2LSB;
        h->e_machine = EM_X86_64;
        h->e_phoff = sizeof(*h);
        h->e_phentsize = sizeof(*p);
        h->e_phnum = 2;
        h->e_entry = 0xffffffff80200010;
        p[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = ELF_CODE, .p_vaddr = 0xffffffff80200000, .p_paddr = MiB(2),
                .p_filesz = ELF_SIZE - ELF_CODE, .p_memsz = MiB(1) };
        p[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = 512, .p_filesz = 44, .p_align = 4 };
        memset(k + ELF_CODE, 0x90, ELF_SIZE - ELF_CODE);
        if (with_note) {
                /* A note of someone else first. */
                le32_store(k + 512, 4);
                le32_store(k + 516, 5);
                le32_store(k + 520, 18);
                memcpy(k + 524, "GNU", 4);
                le32_store(k + 536, 4);
                le32_store(k + 540, 4);
                le32_store(k + 544, 18);
                memcpy(k + 548, "Xen", 4);
                le32_store(k + 552, MiB(2) + 0x20);
        }
        return k;
}

static void check_flat32_state(struct run *run)
{
        const struct x86_state *s = &run->state;

        CHECK(s->cr0 == (X86_CR0_PE | X86_CR0_ET | X86_CR0_NE) && s->cr4 == 0 && s->efer == 0 && s->rflags == 2);
        CHECK(s->seg[X86_CS].attr == 0xc09b && s->seg[X86_CS].limit == 0xffffffff && s->seg[X86_SS].attr == 0xc093);
}

static void test_pvh(void)
{
        uint8_t *k = make_elf64(true);
        struct run run;
        uint64_t info, map;

        start(&run, MiB(16), k, ELF_SIZE, 100, "hello");
        CHECK(run.r == 0);
        check_flat32_state(&run);
        CHECK(run.state.rip == MiB(2) + 0x20);
        info = run.state.gpr[X86_RBX];
        CHECK(peek32(&run, info) == 0x336ec578 && peek32(&run, info + 4) == 1 && peek32(&run, info + 12) == 1);
        CHECK(peek64(&run, peek64(&run, info + 16)) == MiB(16) - 4096 && peek64(&run, peek64(&run, info + 16) + 8) == 100);
        CHECK(strcmp(guest_memory_ptr(&run.mem, peek64(&run, info + 24), 6), "hello") == 0);
        CHECK(peek64(&run, info + 32) == 0xe0000);
        map = peek64(&run, info + 40);
        CHECK(peek32(&run, info + 48) == 4);
        CHECK(peek64(&run, map) == 0 && peek64(&run, map + 8) == 0x9fc00 && peek64(&run, map + 16) == 1);
        CHECK(peek64(&run, map + 48) == 0xe0000 && peek64(&run, map + 64) == 2);
        CHECK(peek64(&run, MiB(2)) == 0x9090909090909090ULL);
        stop(&run);

        start(&run, MiB(16), k, ELF_SIZE, 0, "");
        CHECK(run.r == 0 && peek32(&run, run.state.gpr[X86_RBX] + 12) == 0);
        stop(&run);
        free(k);
}

static void test_pvh_errors(void)
{
        uint8_t *k = make_elf64(false);
        Elf64_Ehdr *h = (Elf64_Ehdr *)k;
        Elf64_Phdr *p = (Elf64_Phdr *)(k + sizeof(*h)), good;

        expect_error(MiB(16), k, ELF_SIZE, 0, "", "neither a PVH entry note");
        free(k);
        k = make_elf64(true);
        h = (Elf64_Ehdr *)k;
        p = (Elf64_Phdr *)(k + sizeof(*h));
        good = p[0];

        expect_error(MiB(16), k, ELF_SIZE - 1, 0, "", "truncated");
        expect_error(MiB(16), k, 60, 0, "", "malformed");
        expect_error(MiB(16), k, 100, 0, "", "truncated");
        expect_error(MiB(2), k, ELF_SIZE, 0, "", "does not fit");
        expect_error(MiB(3), k, ELF_SIZE, 5000, "", "initrd does not fit");
        p[0].p_paddr = 0x8000;
        le32_store(k + 552, 0x8020);
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "below 1 MiB");
        p[0].p_paddr = UINT64_MAX - 4095;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "does not fit");
        p[0] = good;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "entry lies outside");
        le32_store(k + 552, MiB(2) + 0x20);
        p[0].p_memsz = UINT64_MAX;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "does not fit");
        p[0].p_filesz = UINT64_MAX;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "does not fit");
        p[0] = good;
        p[0].p_offset = UINT64_MAX - 100;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "truncated");
        p[0] = good;
        p[0].p_memsz = 100;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "larger in the file");
        p[0] = good;
        le32_store(k + 536, 0xfffffff0);
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "neither a PVH");
        le32_store(k + 536, 4);
        p[1].p_filesz = UINT64_MAX;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "notes are too large");
        p[1].p_filesz = 44;
        h->e_phoff = UINT64_MAX - 8;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "truncated");
        h->e_phoff = sizeof(*h);
        h->e_phnum = 0xffff;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "malformed");
        h->e_phnum = 2;
        h->e_machine = EM_AARCH64;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "not for x86");
        free(k);
}

/* --- multiboot ------------------------------------------------------------------------------------------------- */

static void put_header(uint8_t *p, uint32_t flags)
{
        le32_store(p, 0x1badb002);
        le32_store(p + 4, flags);
        le32_store(p + 8, -(0x1badb002 + flags));
}

static void check_multiboot_info(struct run *run, const char *cmdline)
{
        uint64_t info = run->state.gpr[X86_RBX], mods = peek32(run, info + 24), map = peek32(run, info + 48);

        check_flat32_state(run);
        CHECK(run->state.gpr[X86_RAX] == 0x2badb002);
        CHECK(peek32(run, info) == (0x1 | 0x4 | 0x8 | 0x40 | 0x200));
        CHECK(peek32(run, info + 4) == 639 && peek32(run, info + 8) == 15 * 1024);
        CHECK(strcmp(guest_memory_ptr(&run->mem, peek32(run, info + 16), strlen(cmdline) + 1), cmdline) == 0);
        CHECK(peek32(run, info + 20) == 1);
        CHECK(peek32(run, mods) == MiB(16) - 4096 && peek32(run, mods + 4) == MiB(16) - 4096 + 300);
        CHECK(*(char *)guest_memory_ptr(&run->mem, peek32(run, mods + 8), 1) == 0);
        CHECK(peek32(run, info + 44) == 4 * 24 && peek32(run, map) == 20 && peek64(run, map + 12) == 0x9fc00);
}

static void test_multiboot_elf(void)
{
        uint8_t *k = make_elf64(false);
        struct run run;

        put_header(k + ELF_CODE, 7);
        start(&run, MiB(16), k, ELF_SIZE, 300, "a=b");
        CHECK(run.r == 0);
        CHECK(run.state.rip == MiB(2) + 0x10);
        check_multiboot_info(&run, "kernel a=b");
        stop(&run);

        put_header(k + ELF_CODE, 8);
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "feature");
        put_header(k + ELF_CODE, 0);
        ((Elf64_Ehdr *)k)->e_entry = 0x1234;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "entry lies outside");
        k[0] = 0;
        expect_error(MiB(16), k, ELF_SIZE, 0, "", "the image is not ELF");
        free(k);
}

static void test_multiboot_elf32(void)
{
        uint8_t k[2048] = { 0 };
        Elf32_Ehdr *h = (Elf32_Ehdr *)k;
        Elf32_Phdr *p = (Elf32_Phdr *)(k + sizeof(*h));
        struct run run;

        memcpy(h->e_ident, ELFMAG, SELFMAG);
        h->e_ident[EI_CLASS] = ELFCLASS32;
        h->e_ident[EI_DATA] = ELFDATA2LSB;
        h->e_machine = EM_386;
        h->e_phoff = sizeof(*h);
        h->e_phentsize = sizeof(*p);
        h->e_phnum = 1;
        h->e_entry = 0x100010;
        *p = (Elf32_Phdr){ .p_type = PT_LOAD, .p_offset = 1024, .p_vaddr = 0x100000, .p_paddr = 0x100000, .p_filesz = 1024,
                .p_memsz = 1024 };
        put_header(k + 1028, 0);
        start(&run, MiB(16), k, sizeof(k), 300, "x");
        CHECK(run.r == 0 && run.state.rip == 0x100010);
        check_multiboot_info(&run, "kernel x");
        CHECK(peek32(&run, 0x100004) == 0x1badb002);
        stop(&run);
}

static void test_multiboot_flat(void)
{
        uint8_t k[2048] = { 0 };
        uint8_t *h = k + 64;
        struct run run;

        put_header(h, 0x10003);
        le32_store(h + 12, 0x100000 + 64);
        le32_store(h + 16, 0x100000);
        le32_store(h + 20, 0x100000 + 1024);
        le32_store(h + 24, 0x200000);
        le32_store(h + 28, 0x100000 + 128);
        k[1023] = 0x77;
        k[1024] = 0x99;
        start(&run, MiB(16), k, sizeof(k), 300, "");
        CHECK(run.r == 0 && run.state.rip == 0x100000 + 128);
        CHECK((peek32(&run, 0x100000 + 1023) & 0xffff) == 0x0077);
        check_multiboot_info(&run, "kernel ");
        stop(&run);

        le32_store(h + 20, 0x100000 + 4096);
        expect_error(MiB(16), k, sizeof(k), 0, "", "truncated");
        le32_store(h + 20, 0);
        start(&run, MiB(16), k, sizeof(k), 0, "");
        CHECK(run.r == 0 && (peek32(&run, 0x100000 + 1023) & 0xffff) == 0x9977);
        stop(&run);
        le32_store(h + 24, 0xffffffff);
        expect_error(MiB(16), k, sizeof(k), 0, "", "does not fit");
        le32_store(h + 24, 0);
        le32_store(h + 28, 0x100000 + 2048);
        expect_error(MiB(16), k, sizeof(k), 0, "", "entry lies outside");
        le32_store(h + 12, 0x100000 + 65);
        expect_error(MiB(16), k, sizeof(k), 0, "", "load address");
        le32_store(h + 12, 0xfffff);
        expect_error(MiB(16), k, sizeof(k), 0, "", "load address");
        put_header(k + 2048 - 12, 0x10000);
        put_header(h, 0x10000);
        h[0] = 0;
        expect_error(MiB(16), k, sizeof(k), 0, "", "truncated");
}

/* --- anything --------------------------------------------------------------------------------------------------- */

static void test_unknown(void)
{
        uint8_t k[9000] = { 0 };
        struct loader_input in = { .kernel_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), .initrd_fd = -1, .cmdline = "" };
        struct guest_memory mem;
        struct x86_state state;
        const char *error;

        expect_error(MiB(16), k, 0, 0, "", "not a bzImage");
        expect_error(MiB(16), k, 1, 0, "", "not a bzImage");
        expect_error(MiB(16), k, sizeof(k), 0, "", "not a bzImage");
        CHECK(guest_memory_init(&mem, MiB(16)) == 0);
        CHECK(loader_load(&mem, &in, &state, &error) < 0 && strstr(error, "regular file"));
        close(in.kernel_fd);
        in.kernel_fd = -1;
        CHECK(loader_load(&mem, &in, &state, &error) == -EBADF && strstr(error, "regular file"));
        guest_memory_finish(&mem);
}

/* Damages good images at random places; the loader may accept or refuse, and the sanitizers watch. */
static void test_damaged(void)
{
        uint8_t *images[] = { make_bzimage(), make_elf64(true), make_elf64(false) };
        static const size_t sizes[] = { BZ_SIZE, ELF_SIZE, ELF_SIZE };
        unsigned seed = 1;

        put_header(images[2] + ELF_CODE, 0);
        for (unsigned i = 0; i < 3000; i++) {
                uint8_t *k = images[i % 3], *copy = malloc(sizes[i % 3]);
                struct run run;

                memcpy(copy, k, sizes[i % 3]);
                for (unsigned j = 0; j < 6; j++) {
                        unsigned at = (unsigned)rand_r(&seed) % 640;

                        copy[at] = (uint8_t)((unsigned)rand_r(&seed) % 4 ? rand_r(&seed) : 0xff);
                }
                start(&run, MiB(20), copy, sizes[i % 3], 4096, "");
                stop(&run);
                free(copy);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(images); i++)
                free(images[i]);
}

static int load_file(const char *path)
{
        struct loader_input in = { .kernel_fd = open(path, O_RDONLY | O_CLOEXEC), .initrd_fd = -1, .cmdline = "" };
        struct guest_memory mem;
        struct x86_state state = { 0 };
        const char *error;
        int r;

        CHECK(guest_memory_init(&mem, MiB(256)) == 0);
        r = loader_load(&mem, &in, &state, &error);
        printf("%s: %d %s, rip %#llx\n", path, r, r < 0 ? error : "loaded", (unsigned long long)state.rip);
        guest_memory_finish(&mem);
        return r < 0;
}

int main(int argc, char **argv)
{
        for (int i = 1; i < argc; i++)
                if (load_file(argv[i]))
                        return 1;
        if (argc > 1)
                return 0;
        test_bzimage();
        test_bzimage_errors();
        test_unpacked();
        test_pvh();
        test_pvh_errors();
        test_multiboot_elf();
        test_multiboot_elf32();
        test_multiboot_flat();
        test_unknown();
        test_damaged();
        return 0;
}
