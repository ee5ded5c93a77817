/* SPDX-License-Identifier: GPL-2.0-or-later */

/* bzImages that the loader unpacks: a small kernel packed in each format, and all that makes the loader leave it to the guest. */

#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/bus/check.h"
#include "hv/machine/loader-private.h"
#include "hv/machine/test-loader.h"

/* A kernel like Linux: text, per-CPU variables linked at 0, data with 60 KiB of zeros behind it, section headers, relocations. */
#define VM_BASE 0x1000000u
#define VM_LINK 0xffffffff81000000ULL
#define VM_ENTRY 0x40u
#define VM_PERCPU 0x4000u
#define VM_DATA 0x8000u
#define VM_PART 4096u
#define VM_TEXT_SMALL VM_PART
#define VM_TEXT_LARGE (MiB(9) + 77)
#define VM_MAX (VM_TEXT_LARGE + 65536)

/* The lists of relocations as the words in the file. */
static const uint32_t relocs3[] = { 0, 0x81000100, 0x81008008, 0, 0x81000401, 0, 0x81000200, 0x81000303, 0x81004010 };
static const uint32_t relocs2[] = { 0, 0x81000100, 0x81008008, 0, 0x81000200, 0x81000303, 0x81004010 };

struct packer {
        uint8_t vm[VM_MAX];
        size_t vm_len;
        uint8_t image[VM_MAX * 2];
        size_t len;
};

/* What lies behind the text is moved by so much. */
static void put_relocations(uint8_t *to, const uint32_t *relocs, size_t n, uint32_t moved)
{
        for (size_t i = 0; i < n; i++)
                le32_store(to + 4 * i, relocs[i] + (relocs[i] >= (uint32_t)VM_LINK + VM_PERCPU ? moved : 0));
}

/* In the file the text comes last. A large one is of more than one LZ4 block, and the other parts are 10 MiB higher. */
static void make_vmlinux(struct packer *p, size_t text, const uint32_t *relocs, size_t n_relocs)
{
        uint8_t *k = p->vm, *t = k + 4096 + 2 * VM_PART;
        Elf64_Ehdr *h = (Elf64_Ehdr *)k;
        Elf64_Phdr *ph = (Elf64_Phdr *)(k + sizeof(*h));

        memset(k, 0, VM_MAX);
        *h = (Elf64_Ehdr){ .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 }, .e_type = ET_EXEC, .e_machine = EM_X86_64,
                .e_entry = VM_BASE + VM_ENTRY, .e_phoff = sizeof(*h), .e_shoff = 4096 + 2 * VM_PART + text, .e_phentsize = sizeof(*ph),
                .e_phnum = 3, .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 2 };
        ph[0] = (Elf64_Phdr){ PT_LOAD, PF_R, 4096 + 2 * VM_PART, VM_LINK, VM_BASE, text, text, 4096 };
        ph[1] = (Elf64_Phdr){ PT_LOAD, PF_R, 4096, 0, VM_BASE + VM_PERCPU, VM_PART, VM_PART, 4096 };
        ph[2] = (Elf64_Phdr){ PT_LOAD, PF_R, 4096 + VM_PART, VM_LINK + VM_DATA, VM_BASE + VM_DATA, VM_PART, 65536, 4096 };
        if (text > VM_PART) {
                ph[1].p_paddr += MiB(10);
                ph[2].p_paddr += MiB(10);
                ph[2].p_vaddr += MiB(10);
        }
        for (size_t i = 0; i < text; i++)
                t[i] = (uint8_t)(i * i >> 7);
        memset(k + 4096, 0x11, 2 * VM_PART);
        le64_store(t + 0x100, VM_LINK + 0x123);
        le64_store(k + 4096 + VM_PART + 8, VM_LINK);
        le32_store(t + 0x401, 0x7f000123);
        le32_store(t + 0x200, 0x81000456);
        le32_store(t + 0x303, 0x81008000);
        le32_store(k + 4096 + 0x10, 0x81000789);
        memset(k + h->e_shoff, 0x22, 2 * sizeof(Elf64_Shdr));
        put_relocations(k + h->e_shoff + 2 * sizeof(Elf64_Shdr), relocs, n_relocs, text > VM_PART ? MiB(10) : 0);
        p->vm_len = h->e_shoff + 2 * sizeof(Elf64_Shdr) + n_relocs * 4;
}

typedef size_t pack_fn(const uint8_t *data, size_t n, uint8_t *to, size_t max);

static size_t pack_lz4(const uint8_t *data, size_t n, uint8_t *to, size_t max)
{
        size_t at = 4;

        le32_store(to, 0x184c2102);
        for (size_t done = 0; done < n; done += MiB(8)) {
                size_t part = n - done < MiB(8) ? n - done : MiB(8);
                int r = LZ4_compress_default((const char *)data + done, (char *)to + at + 4, (int)part, (int)(max - at - 4));

                CHECK(r > 0);
                le32_store(to + at, (uint32_t)r);
                at += 4 + (size_t)r;
        }
        return at;
}

static size_t pack_gzip(const uint8_t *data, size_t n, uint8_t *to, size_t max)
{
        z_stream z = { .next_in = (uint8_t *)data, .avail_in = (uInt)n, .next_out = to, .avail_out = (uInt)max };

        CHECK(deflateInit2(&z, 1, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY) == Z_OK && deflate(&z, Z_FINISH) == Z_STREAM_END);
        n = max - z.avail_out;
        deflateEnd(&z);
        return n - 4; /* the size */
}

static size_t pack_xz(const uint8_t *data, size_t n, uint8_t *to, size_t max)
{
        lzma_options_lzma options;
        lzma_filter filters[] = { { LZMA_FILTER_X86, NULL }, { LZMA_FILTER_LZMA2, &options }, { LZMA_VLI_UNKNOWN, NULL } };
        size_t at = 0;

        CHECK(!lzma_lzma_preset(&options, 0));
        CHECK(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, data, n, to, &at, max) == LZMA_OK);
        return at;
}

static size_t pack_zstd(const uint8_t *data, size_t n, uint8_t *to, size_t max)
{
        size_t r = ZSTD_compress(to, max, data, n, 1);

        CHECK(!ZSTD_isError(r));
        return r;
}

static pack_fn *const packers[] = { pack_lz4, pack_gzip, pack_xz, pack_zstd };

/* A header, 4096 bytes of code, and the payload with its size behind it. */
static void make_packed(struct packer *p, pack_fn *pack)
{
        uint8_t *head = make_bzimage(), *k = p->image;
        size_t n = pack(p->vm, p->vm_len, k + BZ_SIZE, sizeof(p->image) - BZ_SIZE - 64);

        memcpy(k, head, BZ_SIZE);
        free(head);
        le32_store(k + BZ_SIZE + n, (uint32_t)p->vm_len);
        n += 4;
        memset(k + BZ_SIZE + n, 0, 16);
        le32_store(k + 0x248, 4096);
        le32_store(k + 0x24c, (uint32_t)n);
        le32_store(k + 0x1f4, (uint32_t)(4096 + n + 15) / 16);
        le32_store(k + 0x260, MiB(16));
        p->len = BZ_SIZE + ALIGN_UP(n, (size_t)16);
}

/* Looks at those pages only that exist. */
static bool is_zero(struct run *run, uint64_t from, uint64_t to)
{
        static const uint8_t zeros[4096];

        for (;;) {
                off_t at = lseek(run->mem.memfd, (off_t)from, SEEK_DATA);
                uint64_t next;

                if (at < 0 || (uint64_t)at >= to)
                        return true;
                next = ALIGN_DOWN((uint64_t)at, 4096) + 4096 < to ? ALIGN_DOWN((uint64_t)at, 4096) + 4096 : to;
                if (memcmp(guest_memory_ptr(&run->mem, (uint64_t)at, next - (uint64_t)at), zeros, next - (uint64_t)at) != 0)
                        return false;
                from = next;
        }
}

/* The kernel of make_vmlinux runs at place, with its virtual addresses moved by delta. */
static void check_unpacked(struct run *run, const struct packer *p, uint64_t place, uint64_t delta, bool randomized)
{
        const Elf64_Phdr *ph = (const Elf64_Phdr *)(p->vm + sizeof(Elf64_Ehdr));
        uint64_t percpu = place + (ph[1].p_paddr - VM_BASE), data = place + (ph[2].p_paddr - VM_BASE);

        CHECK(run->r == 0);
        check_long_state(run);
        CHECK(run->state.rip == place + VM_ENTRY);
        CHECK((peek32(run, run->state.gpr[X86_RSI] + 0x211) & 2) == (randomized ? 2 : 0));
        CHECK(peek64(run, place + 0x100) == VM_LINK + 0x123 + delta);
        CHECK(peek64(run, data + 8) == VM_LINK + delta);
        CHECK(peek32(run, place + 0x200) == 0x81000456 + delta && peek32(run, place + 0x303) == 0x81008000 + delta);
        CHECK(peek32(run, percpu + 0x10) == 0x81000789 + delta);
        CHECK(memcmp(guest_memory_ptr(&run->mem, place + 0x500, ph[0].p_filesz - 0x500), p->vm + ph[0].p_offset + 0x500,
                      ph[0].p_filesz - 0x500) == 0);
        CHECK(peek64(run, percpu) == 0x1111111111111111ULL && peek64(run, data + VM_PART - 8) == 0x1111111111111111ULL);
        CHECK(is_zero(run, data + VM_PART, MiB(64) - 8192) && is_zero(run, LOADER_KERNEL_MIN, place));
}

static const uint64_t random_3_5[] = { 3, 5 };

static void test_unpacked_formats(struct packer *p)
{
        struct run run;

        for (unsigned i = 0; i < 2 * ARRAY_SIZE(packers); i++) {
                make_vmlinux(p, i % 2 ? VM_TEXT_LARGE : VM_TEXT_SMALL, relocs3, ARRAY_SIZE(relocs3));
                make_packed(p, packers[i / 2]);
                start_at(&run, MiB(64), p->image, p->len, 5000, "console=ttyS0", random_3_5);
                check_unpacked(&run, p, MiB(22), MiB(10), true);
                CHECK(peek32(&run, MiB(22) + 0x401) == 0x7f000123 - MiB(10));
                stop(&run);
        }
}

static void expect_place(struct packer *p, const char *cmdline, const uint64_t *random, uint64_t place, uint64_t delta, bool randomized)
{
        struct run run;

        start_at(&run, MiB(64), p->image, p->len, 5000, cmdline, random);
        check_unpacked(&run, p, place, delta, randomized);
        stop(&run);
}

static void test_unpacked_places(struct packer *p)
{
        struct run run;
        uint64_t place;

        make_vmlinux(p, VM_TEXT_SMALL, relocs3, ARRAY_SIZE(relocs3));
        make_packed(p, pack_lz4);
        expect_place(p, "a nokaslr", random_3_5, MiB(16), 0, false);
        expect_place(p, "nokaslr\tb", random_3_5, MiB(16), 0, false);
        expect_place(p, "nokaslrs xnokaslr=", random_3_5, MiB(22), MiB(10), true);
        expect_place(p, "mem=60M", random_3_5, MiB(16), MiB(10), true);
        expect_place(p, "memmap=1M$60M", random_3_5, MiB(16), MiB(10), true);
        /* 16 places below the initrd; 497 addresses in the 1 GiB of the kernel's text. */
        expect_place(p, "", (const uint64_t[]){ 15, 496 }, MiB(46), MiB(992), true);
        expect_place(p, "", (const uint64_t[]){ 16, 497 }, MiB(16), 0, true);
        expect_place(p, "", (const uint64_t[]){ UINT64_MAX, UINT64_MAX }, MiB(46), UINT64_MAX % 497 * MiB(2), true);

        /* One place above the initrd, 8 below. */
        le32_store(p->image + 0x22c, 0x2ffffff);
        for (unsigned i = 0; i < 9; i++) {
                start_at(&run, MiB(64), p->image, p->len, 5000, "", (const uint64_t[]){ i + 9, 0 });
                CHECK(run.r == 0 && run.state.rip == MiB(i < 8 ? 16 + 2 * i : 48) + VM_ENTRY);
                CHECK((peek64(&run, MiB(48) - 8192 + 4999) & 0xffff) == 0x005a);
                stop(&run);
        }
        start_at(&run, GiB(5), p->image, p->len, 0, "", (const uint64_t[]){ UINT32_MAX, 0 });
        CHECK(run.r == 0 && run.state.rip < GiB(3) - MiB(16) + 4096 && run.state.rip >= MiB(16));
        stop(&run);

        for (unsigned i = 0; i < 8; i++) {
                start(&run, MiB(256), p->image, p->len, 5000, "");
                place = run.state.rip - VM_ENTRY;
                CHECK(run.r == 0 && place % MiB(2) == 0 && place >= MiB(16) && place <= MiB(240));
                CHECK(peek64(&run, place + 0x100) % MiB(2) == 0x123);
                stop(&run);
        }
}

static void test_unpacked_relocations(struct packer *p)
{
        static const uint32_t empty[] = { 0, 0, 0 };

        make_vmlinux(p, VM_TEXT_SMALL, relocs2, ARRAY_SIZE(relocs2));
        make_packed(p, pack_gzip);
        expect_place(p, "", random_3_5, MiB(22), MiB(10), true);
        make_vmlinux(p, VM_TEXT_SMALL, relocs3, 0);
        make_packed(p, pack_zstd);
        expect_place(p, "", random_3_5, MiB(16), 0, false);
        make_vmlinux(p, VM_TEXT_SMALL, empty, ARRAY_SIZE(empty));
        make_packed(p, pack_zstd);
        expect_place(p, "", (const uint64_t[]){ 3, 0 }, MiB(22), 0, true);
}

/* The image is started as it is, and the log says why. Nothing is left of what was unpacked. */
static void expect_packed(struct packer *p, const char *reason)
{
        struct run run;
        char log[1000];
        ssize_t n;
        int fd = memfd_create("log", MFD_CLOEXEC);

        CHECK(fd >= 0);
        log_set_fd(fd);
        log_set_level(LOG_LEVEL_DEBUG);
        start_at(&run, MiB(64), p->image, p->len, 5000, "", random_3_5);
        log_set_level(LOG_LEVEL_INFO);
        log_set_fd(STDERR_FILENO);
        n = pread(fd, log, sizeof(log) - 1, 0);
        log[n > 0 ? n : 0] = 0;
        close(fd);
        if (run.r != 0 || run.state.rip != 0x1000200 || !strstr(log, reason)) {
                fprintf(stderr, "wanted \"%s\", got %d, rip %#llx, \"%s\"\n", reason, run.r, (unsigned long long)run.state.rip, log);
                exit(1);
        }
        CHECK((peek32(&run, run.state.gpr[X86_RSI] + 0x211) & 2) == 0);
        CHECK(memcmp(guest_memory_ptr(&run.mem, MiB(16), p->len - BZ_CODE), p->image + BZ_CODE, p->len - BZ_CODE) == 0);
        CHECK(is_zero(&run, MiB(16) + p->len - BZ_CODE, MiB(64) - 8192) && is_zero(&run, LOADER_KERNEL_MIN, MiB(16)));
        stop(&run);
}

static void test_packed_header(struct packer *p)
{
        uint8_t *k = p->image, *payload = k + BZ_SIZE;
        uint32_t size;

        make_vmlinux(p, VM_TEXT_SMALL, relocs3, ARRAY_SIZE(relocs3));
        make_packed(p, pack_lz4);
        size = le32_load(k + 0x24c);
        le16_store(k + 0x206, 0x020e);
        expect_packed(p, "older than Linux 5.5");
        le16_store(k + 0x206, 0x020f);
        le32_store(k + 0x24c, 0);
        expect_packed(p, "no payload");
        le32_store(k + 0x24c, (uint32_t)p->len);
        expect_packed(p, "payload is outside");
        le32_store(k + 0x24c, UINT32_MAX);
        expect_packed(p, "payload is outside");
        le32_store(k + 0x24c, size);
        le32_store(k + 0x248, UINT32_MAX);
        expect_packed(p, "payload is outside");
        le32_store(k + 0x248, 4096);
        le32_store(k + 0x230, 0x1000);
        expect_packed(p, "alignment");
        le32_store(k + 0x230, 0x200000);
        k[0x234] = 0;
        expect_packed(p, "something unknown behind the ELF image");
        k[0x234] = 1;
        le32_store(k + 0x260, KiB(16));
        expect_packed(p, "larger than the memory");
        le32_store(k + 0x260, MiB(16));
        payload[0] = 'B';
        expect_packed(p, "not known here");
        payload[0] = 2;
        expect_place(p, "", random_3_5, MiB(22), MiB(10), true);

        /* A preferred address that is none. */
        le64_store(k + 0x258, 0xff0000);
        expect_packed(p, "preferred address");
}

static void test_packed_damaged(struct packer *p, pack_fn *pack)
{
        uint8_t *k = p->image, *payload = k + BZ_SIZE;
        uint32_t size, unpacked;

        make_vmlinux(p, VM_TEXT_LARGE, relocs3, ARRAY_SIZE(relocs3));
        make_packed(p, pack);
        size = le32_load(k + 0x24c);
        unpacked = (uint32_t)p->vm_len;
        if (pack != pack_gzip) { /* which has the size in itself */
                le32_store(payload + size - 4, unpacked - 1);
                expect_packed(p, "");
                le32_store(payload + size - 4, 5000);
                expect_packed(p, "");
                le32_store(payload + size - 4, unpacked + 4);
                expect_packed(p, "smaller than it says");
        }
        le32_store(payload + size - 4, UINT32_MAX);
        expect_packed(p, "too large");
        le32_store(payload + size - 4, unpacked);
        /* Cut off in the middle. */
        le32_store(k + 0x24c, size / 2);
        le32_store(payload + size / 2 - 4, unpacked);
        expect_packed(p, "payload is ");
        le32_store(k + 0x24c, 16);
        le32_store(payload + 12, unpacked);
        expect_packed(p, "payload is ");
}

static void expect_bad_vmlinux(struct packer *p, const char *reason)
{
        make_packed(p, pack_lz4);
        expect_packed(p, reason);
}

static void test_packed_vmlinux(struct packer *p)
{
        Elf64_Ehdr *h = (Elf64_Ehdr *)p->vm, good;
        Elf64_Phdr *ph = (Elf64_Phdr *)(p->vm + sizeof(*h)), first;

        make_vmlinux(p, VM_TEXT_SMALL, relocs3, ARRAY_SIZE(relocs3));
        good = *h;
        first = ph[0];
        h->e_ident[0] = 0;
        expect_bad_vmlinux(p, "not a 64-bit x86 ELF");
        *h = good;
        h->e_machine = EM_AARCH64;
        expect_bad_vmlinux(p, "not a 64-bit x86 ELF");
        *h = good;
        h->e_phoff = UINT64_MAX - 8;
        expect_bad_vmlinux(p, "program headers");
        h->e_phoff = 4096 - 100;
        expect_bad_vmlinux(p, "program headers");
        *h = good;
        h->e_shoff = UINT64_MAX - 8;
        expect_bad_vmlinux(p, "section headers");
        *h = good;
        h->e_entry = VM_LINK;
        expect_bad_vmlinux(p, "entry");
        h->e_phnum = 0;
        expect_bad_vmlinux(p, "entry");
        *h = good;
        ph[0].p_paddr = VM_LINK;
        expect_bad_vmlinux(p, "outside of the kernel's memory");
        ph[0].p_paddr = VM_BASE - 4096;
        expect_bad_vmlinux(p, "outside of the kernel's memory");
        ph[0] = first;
        ph[0].p_memsz = MiB(16) + 1;
        expect_bad_vmlinux(p, "outside of the kernel's memory");
        ph[0].p_memsz = UINT64_MAX;
        expect_bad_vmlinux(p, "outside of the kernel's memory");
        ph[0].p_filesz = UINT64_MAX;
        expect_bad_vmlinux(p, "segment of its payload is malformed");
        ph[0] = first;
        ph[0].p_offset = UINT64_MAX - 100;
        expect_bad_vmlinux(p, "segment of its payload is malformed");
        ph[0].p_offset = 5000;
        expect_bad_vmlinux(p, "overlap");
        ph[0] = first;
        ph[0].p_memsz = VM_PERCPU + 1;
        expect_bad_vmlinux(p, "overlap");
        ph[0] = first;
        p->vm_len -= 1;
        expect_bad_vmlinux(p, "something unknown behind the ELF image");
        p->vm_len = 4095;
        *h = (Elf64_Ehdr){ 0 };
        expect_bad_vmlinux(p, "too small");
}

static void expect_bad_relocations(struct packer *p, const uint32_t *relocs, size_t n, const char *reason)
{
        make_vmlinux(p, VM_TEXT_SMALL, relocs, n);
        expect_bad_vmlinux(p, reason);
}

static void test_packed_relocations(struct packer *p)
{
        static const char range[] = "not in order or outside", lists[] = "two or three lists";
        uint32_t r[800];

        for (unsigned i = 0; i < ARRAY_SIZE(relocs3); i++) {
                if (relocs3[i] == 0)
                        continue;
                memcpy(r, relocs3, sizeof(relocs3));
                r[i] = 0x81ffffff;
                expect_bad_relocations(p, r, ARRAY_SIZE(relocs3), range);
                r[i] = 0x81000ffe; /* the word is not all in the segment */
                expect_bad_relocations(p, r, ARRAY_SIZE(relocs3), range);
                r[i] = 0x01000100;
                expect_bad_relocations(p, r, ARRAY_SIZE(relocs3), range);
        }
        memcpy(r, relocs3, sizeof(relocs3));
        r[2] = r[1];
        expect_bad_relocations(p, r, ARRAY_SIZE(relocs3), range);
        r[2] = 0;
        expect_bad_relocations(p, r, ARRAY_SIZE(relocs3), lists);
        expect_bad_relocations(p, relocs3, 3, lists);
        expect_bad_relocations(p, relocs3 + 1, ARRAY_SIZE(relocs3) - 1, lists);

        /* Words that are no addresses. */
        memset(r, 0, sizeof(r));
        for (uint32_t i = 3; i < ARRAY_SIZE(r); i++)
                r[i] = 0x81000000 + 4 * i;
        expect_bad_relocations(p, r, ARRAY_SIZE(r), "not the known ones");
}

/* Damages images at random places, packed and in what is packed; the loader may unpack or not, and the sanitizers watch. */
static void test_packed_random(struct packer *p)
{
        unsigned seed = 1;
        struct run run;

        for (unsigned i = 0; i < 800; i++) {
                make_vmlinux(p, VM_TEXT_SMALL, relocs3, ARRAY_SIZE(relocs3));
                for (unsigned j = 0; i % 2 && j < 3; j++)
                        p->vm[(unsigned)rand_r(&seed) % 3 ? (unsigned)rand_r(&seed) % 232 : 4096 + (unsigned)rand_r(&seed) % (p->vm_len - 4096)] =
                                (uint8_t)rand_r(&seed);
                make_packed(p, packers[i / 2 % ARRAY_SIZE(packers)]);
                for (unsigned j = 0; i % 2 == 0 && j < 3; j++)
                        p->image[BZ_SIZE + (unsigned)rand_r(&seed) % (p->len - BZ_SIZE)] = (uint8_t)rand_r(&seed);
                start(&run, MiB(64), p->image, p->len, 4096, "");
                CHECK(run.r == 0);
                stop(&run);
        }
}

void test_unpacked(void)
{
        struct packer *p = malloc(sizeof(*p));

        CHECK(p);
        test_unpacked_formats(p);
        test_unpacked_places(p);
        test_unpacked_relocations(p);
        test_packed_header(p);
        for (unsigned i = 0; i < ARRAY_SIZE(packers); i++)
                test_packed_damaged(p, packers[i]);
        test_packed_vmlinux(p);
        test_packed_relocations(p);
        test_packed_random(p);
        free(p);
}
