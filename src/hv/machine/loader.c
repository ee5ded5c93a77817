/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/machine/loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/macros.h"
#include "hv/machine/loader-private.h"

#define PTE_PRESENT 0x1u
#define PTE_WRITE 0x2u
#define PTE_LARGE 0x80u

/* Access rights in the layout of struct x86_segment: accessed, readable code or writable data, 4 KiB granular. */
#define ATTR_CODE64 (0xbu | X86_SEG_S | X86_SEG_P | X86_SEG_L | X86_SEG_G)
#define ATTR_CODE32 (0xbu | X86_SEG_S | X86_SEG_P | X86_SEG_DB | X86_SEG_G)
#define ATTR_DATA (0x3u | X86_SEG_S | X86_SEG_P | X86_SEG_DB | X86_SEG_G)
#define ATTR_TSS_BUSY (0xbu | X86_SEG_P)

int loader_fail(struct loader *l, int err, const char *sentence)
{
        l->error = sentence;
        return err;
}

/* Size of a regular file; everything else has no business being a kernel or an initrd. */
static int file_size(int fd, uint64_t *ret)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        *ret = (uint64_t)st.st_size;
        return 0;
}

static int open_image(struct loader *l)
{
        struct loader_image *img = &l->kernel;
        ssize_t n;
        int r;

        img->fd = l->in->kernel_fd;
        r = file_size(img->fd, &img->size);
        if (r < 0)
                return loader_fail(l, r, "the kernel is not a readable regular file");
        n = fd_pread_full(img->fd, img->head, sizeof(img->head), 0);
        if (n < 0)
                return loader_fail(l, (int)n, "the kernel cannot be read");
        img->head_len = (size_t)n;
        return 0;
}

int loader_read(struct loader *l, uint64_t off, void *buf, size_t n)
{
        ssize_t got;

        if (off > l->kernel.size || n > l->kernel.size - off)
                return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
        got = fd_pread_full(l->kernel.fd, buf, n, (off_t)off);
        if (got < 0)
                return loader_fail(l, (int)got, "the kernel cannot be read");
        if ((size_t)got != n)
                return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
        return 0;
}

int loader_check_range(struct loader *l, uint64_t gpa, uint64_t n)
{
        if (gpa < LOADER_KERNEL_MIN)
                return loader_fail(l, -ENOEXEC, "the kernel wants to be loaded below 1 MiB");
        if (gpa > l->low_end || n > l->low_end - gpa)
                return loader_fail(l, -ENOSPC, "the kernel does not fit in the memory of the virtual machine");
        return 0;
}

int loader_copy(struct loader *l, uint64_t off, uint64_t gpa, uint64_t n)
{
        void *to;
        int r;

        r = loader_check_range(l, gpa, n);
        if (r < 0 || n == 0)
                return r;
        to = guest_memory_ptr(l->mem, gpa, n);
        if (!to)
                return loader_fail(l, -ENOSPC, "the kernel does not fit in the memory of the virtual machine");
        return loader_read(l, off, to, (size_t)n);
}

int loader_place_initrd(struct loader *l, uint64_t floor, uint64_t ceiling)
{
        uint64_t size, at;
        ssize_t n;
        int r;

        if (l->in->initrd_fd < 0)
                return 0;
        r = file_size(l->in->initrd_fd, &size);
        if (r < 0)
                return loader_fail(l, r, "the initrd is not a readable regular file");
        if (size == 0)
                return 0;
        if (ceiling > l->low_end)
                ceiling = l->low_end;
        floor = ALIGN_UP(floor, 4096);
        if (size > ceiling || ALIGN_DOWN(ceiling - size, 4096) < floor)
                return loader_fail(l, -ENOSPC,
                        "the initrd does not fit in the memory of the virtual machine beside the kernel");
        at = ALIGN_DOWN(ceiling - size, 4096);
        n = fd_pread_full(l->in->initrd_fd, guest_memory_ptr(l->mem, at, size), (size_t)size, 0);
        if (n < 0)
                return loader_fail(l, (int)n, "the initrd cannot be read");
        if ((uint64_t)n != size)
                return loader_fail(l, -EIO, "the initrd became shorter while it was read");
        l->initrd = at;
        l->initrd_size = size;
        return 0;
}

int loader_place_cmdline(struct loader *l, const char *prefix, size_t max)
{
        size_t n_prefix = strlen(prefix), n = strlen(l->in->cmdline);

        if (max > LOADER_CMDLINE_MAX - 1)
                max = LOADER_CMDLINE_MAX - 1;
        if (n_prefix + n > max)
                return loader_fail(l, -E2BIG, "the kernel command line is longer than the kernel accepts");
        guest_write(l->mem, LOADER_CMDLINE, prefix, n_prefix);
        guest_write(l->mem, LOADER_CMDLINE + n_prefix, l->in->cmdline, n + 1);
        return 0;
}

unsigned loader_memory_map(const struct guest_memory *mem, struct loader_map_entry map[LOADER_MAP_MAX])
{
        uint64_t low = mem->ram_size < GUEST_LOW_RAM_END ? mem->ram_size : GUEST_LOW_RAM_END;
        unsigned n = 0;

        map[n++] = (struct loader_map_entry){ 0, LOADER_CONVENTIONAL_END, LOADER_MAP_RAM };
        map[n++] = (struct loader_map_entry){ LOADER_CONVENTIONAL_END, 0xa0000 - LOADER_CONVENTIONAL_END,
                LOADER_MAP_RESERVED };
        /* Reserved rather than reclaimable: the FACS stays in use as long as the guest runs. */
        map[n++] = (struct loader_map_entry){ LOADER_ACPI_BASE, LOADER_ACPI_SIZE + LOADER_SMBIOS_SIZE, LOADER_MAP_RESERVED };
        if (low > LOADER_KERNEL_MIN)
                map[n++] = (struct loader_map_entry){ LOADER_KERNEL_MIN, low - LOADER_KERNEL_MIN, LOADER_MAP_RAM };
        if (mem->ram_size > low)
                map[n++] = (struct loader_map_entry){ GUEST_HIGH_RAM_START, mem->ram_size - low, LOADER_MAP_RAM };
        return n;
}

/* The words of the BIOS data area that systems look at: where the extended area starts, and the KiB below it. */
static void write_bios_data(struct guest_memory *mem)
{
        uint8_t word[2];

        le16_store(word, LOADER_CONVENTIONAL_END >> 4);
        guest_write(mem, 0x40e, word, 2);
        le16_store(word, LOADER_CONVENTIONAL_END >> 10);
        guest_write(mem, 0x413, word, 2);
}

static uint64_t descriptor(uint32_t attr)
{
        /* Base 0, limit 0xfffff in units of 4 KiB. */
        return 0x000f00000000ffffULL | (uint64_t)attr << 40;
}

static struct x86_segment flat_segment(uint16_t selector, uint32_t attr)
{
        return (struct x86_segment){ .base = 0, .limit = 0xffffffff, .attr = attr, .selector = selector };
}

static void set_segments(struct loader *l, uint32_t code_attr)
{
        struct x86_state *s = l->state;
        uint8_t gdt[4 * 8] = { 0 };

        le64_store(gdt + LOADER_CODE_SELECTOR, descriptor(code_attr));
        le64_store(gdt + LOADER_DATA_SELECTOR, descriptor(ATTR_DATA));
        guest_write(l->mem, LOADER_GDT, gdt, sizeof(gdt));

        for (unsigned i = 0; i < X86_NSREGS; i++)
                s->seg[i] = flat_segment(LOADER_DATA_SELECTOR, ATTR_DATA);
        s->seg[X86_CS] = flat_segment(LOADER_CODE_SELECTOR, code_attr);
        s->gdtr = (struct x86_table){ .base = LOADER_GDT, .limit = sizeof(gdt) - 1 };
        s->idtr = (struct x86_table){ .base = 0, .limit = 0 };
        s->tr = (struct x86_segment){ .base = 0, .limit = 0x67, .attr = ATTR_TSS_BUSY };
        s->ldtr = (struct x86_segment){ .attr = X86_SEG_UNUSABLE };
}

void loader_state_flat32(struct loader *l, uint32_t entry)
{
        struct x86_state *s = l->state;

        set_segments(l, ATTR_CODE32);
        s->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
        s->cr3 = 0;
        s->cr4 = 0;
        s->efer = 0;
        s->rflags = 2;
        memset(s->gpr, 0, sizeof(s->gpr));
        s->rip = entry;
}

/* PML4 -> PDPT -> four page directories of 2 MiB pages. */
static void write_identity_map(struct guest_memory *mem)
{
        uint32_t pdpt = LOADER_PAGE_TABLES + 4096, pd = pdpt + 4096;
        uint8_t entry[8];

        le64_store(entry, pdpt | PTE_PRESENT | PTE_WRITE);
        guest_write(mem, LOADER_PAGE_TABLES, entry, 8);
        for (unsigned i = 0; i < 4; i++) {
                le64_store(entry, (pd + i * 4096) | PTE_PRESENT | PTE_WRITE);
                guest_write(mem, pdpt + i * 8, entry, 8);
        }
        for (unsigned i = 0; i < 4 * 512; i++) {
                le64_store(entry, (uint64_t)i << 21 | PTE_PRESENT | PTE_WRITE | PTE_LARGE);
                guest_write(mem, pd + i * 8, entry, 8);
        }
}

void loader_state_long(struct loader *l, uint64_t entry)
{
        struct x86_state *s = l->state;

        loader_state_flat32(l, 0);
        set_segments(l, ATTR_CODE64);
        write_identity_map(l->mem);
        s->cr0 |= X86_CR0_PG;
        s->cr3 = LOADER_PAGE_TABLES;
        s->cr4 = X86_CR4_PAE;
        s->efer = X86_EFER_LME | X86_EFER_LMA;
        s->rip = entry;
}

static int load_any(struct loader *l)
{
        int r;

        r = open_image(l);
        if (r < 0)
                return r;
        if (loader_is_bzimage(&l->kernel))
                return loader_load_bzimage(l);
        if (loader_is_multiboot(&l->kernel))
                return loader_load_multiboot(l);
        if (loader_is_elf(&l->kernel))
                return loader_load_pvh(l);
        return loader_fail(l, -ENOEXEC, "the kernel is not a bzImage, PVH ELF or multiboot image");
}

int loader_load(struct guest_memory *mem, const struct loader_input *in, struct x86_state *state, const char **ret_error)
{
        struct loader *l = calloc(1, sizeof(*l));
        int r;

        *ret_error = "out of memory";
        if (!l)
                return -ENOMEM;
        l->mem = mem;
        l->in = in;
        l->state = state;
        l->low_end = mem->ram_size < GUEST_LOW_RAM_END ? mem->ram_size : GUEST_LOW_RAM_END;
        write_bios_data(mem);
        r = load_any(l);
        *ret_error = r < 0 ? l->error : NULL;
        free(l);
        return r;
}
