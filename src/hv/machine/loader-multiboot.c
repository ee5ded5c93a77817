/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Multiboot 1 kernels, ELF or flat: Multiboot Specification 0.6.96. */

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/machine/loader-private.h"

#define HEADER_MAGIC 0x1badb002u
#define BOOT_MAGIC 0x2badb002u
#define HEADER_SIZE 12u
#define HEADER_SIZE_ADDRESSES 32u

/* Header flags. Modules are always page aligned and the memory map always given; there is no video to set up. */
#define HEADER_MANDATORY 0xffffu
#define HEADER_KNOWN 0x7u
#define HEADER_HAS_ADDRESSES 0x10000u

#define INFO_SIZE 116u
#define INFO_MEMORY 0x001u
#define INFO_CMDLINE 0x004u
#define INFO_MODULES 0x008u
#define INFO_MAP 0x040u
#define INFO_LOADER_NAME 0x200u

/* All in the page at LOADER_START_INFO. */
#define MODULE_LIST (LOADER_START_INFO + 0x100)
#define MAP_TABLE (LOADER_START_INFO + 0x200)
#define LOADER_NAME (LOADER_START_INFO + 0x400)
#define MAP_ENTRY_SIZE 24u

/* The offset of the header: 4-byte aligned, wholly in the first 8 KiB. */
static bool find_header(const struct loader_image *img, size_t *ret)
{
        for (size_t i = 0; i + HEADER_SIZE <= img->head_len; i += 4) {
                const uint8_t *h = img->head + i;

                if (le32_load(h) == HEADER_MAGIC && le32_load(h) + le32_load(h + 4) + le32_load(h + 8) == 0) {
                        *ret = i;
                        return true;
                }
        }
        return false;
}

bool loader_is_multiboot(const struct loader_image *img)
{
        size_t at;

        return find_header(img, &at);
}

/* The header gives the addresses itself ("a.out kludge", section 3.1.3). */
static int load_flat(struct loader *l, size_t at, uint32_t *ret_entry, uint64_t *ret_end)
{
        const uint8_t *h = l->kernel.head + at;
        uint32_t header_addr = le32_load(h + 12), load = le32_load(h + 16), load_end = le32_load(h + 20);
        uint32_t bss_end = le32_load(h + 24);
        uint64_t off, n;
        int r;

        if (header_addr < load || header_addr - load > at)
                return loader_fail(l, -ENOEXEC, "the kernel's multiboot load address is malformed");
        off = at - (header_addr - load);
        n = load_end ? (uint64_t)load_end - load : l->kernel.size - off;
        if (load_end && load_end < load)
                return loader_fail(l, -ENOEXEC, "the kernel's multiboot load address is malformed");
        r = loader_copy(l, off, load, n);
        if (r < 0)
                return r;
        *ret_end = load + n;
        if (bss_end > *ret_end) {
                r = loader_check_range(l, load, (uint64_t)bss_end - load);
                if (r < 0)
                        return r;
                *ret_end = bss_end;
        }
        *ret_entry = le32_load(h + 28);
        if (*ret_entry < load || *ret_entry >= *ret_end)
                return loader_fail(l, -ENOEXEC, "the kernel's multiboot entry lies outside of its image");
        return 0;
}

static int load_elf(struct loader *l, uint32_t *ret_entry, uint64_t *ret_end)
{
        struct loader_elf elf;
        uint64_t entry;
        int r;

        if (!loader_is_elf(&l->kernel))
                return loader_fail(l, -ENOEXEC, "the kernel's multiboot header gives no addresses and the image is not ELF");
        r = loader_elf_parse(l, &elf);
        if (r < 0)
                return r;
        entry = loader_elf_entry(&elf);
        if (!loader_elf_contains(&elf, entry))
                return loader_fail(l, -ENOEXEC, "the kernel's multiboot entry lies outside of its image");
        *ret_entry = (uint32_t)entry;
        return loader_elf_copy(l, &elf, ret_end);
}

static int load_image(struct loader *l, uint32_t *ret_entry, uint64_t *ret_end)
{
        size_t at;
        uint32_t flags;

        if (!find_header(&l->kernel, &at))
                return loader_fail(l, -ENOEXEC, "the kernel has no multiboot header");
        flags = le32_load(l->kernel.head + at + 4);
        if (flags & HEADER_MANDATORY & ~HEADER_KNOWN)
                return loader_fail(l, -ENOEXEC, "the kernel's multiboot header asks for a feature that does not exist");
        if (!(flags & HEADER_HAS_ADDRESSES))
                return load_elf(l, ret_entry, ret_end);
        if (at + HEADER_SIZE_ADDRESSES > l->kernel.head_len)
                return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
        return load_flat(l, at, ret_entry, ret_end);
}

/* Each entry is preceded by its size, which does not count itself. */
static uint32_t write_map(struct loader *l)
{
        struct loader_map_entry map[LOADER_MAP_MAX];
        unsigned n = loader_memory_map(l->mem, map);

        for (unsigned i = 0; i < n; i++) {
                uint8_t entry[MAP_ENTRY_SIZE];

                le32_store(entry, MAP_ENTRY_SIZE - 4);
                le64_store(entry + 4, map[i].addr);
                le64_store(entry + 12, map[i].size);
                le32_store(entry + 20, map[i].type);
                guest_write(l->mem, MAP_TABLE + i * MAP_ENTRY_SIZE, entry, sizeof(entry));
        }
        return n * MAP_ENTRY_SIZE;
}

static void write_module(struct loader *l)
{
        uint8_t module[16] = { 0 };

        le32_store(module, (uint32_t)l->initrd);
        le32_store(module + 4, (uint32_t)(l->initrd + l->initrd_size));
        /* Its string is empty: the NUL that ends the command line. */
        le32_store(module + 8, LOADER_CMDLINE + (uint32_t)(strlen("kernel ") + strlen(l->in->cmdline)));
        guest_write(l->mem, MODULE_LIST, module, sizeof(module));
}

static void write_info(struct loader *l)
{
        static const char name[] = "domus-vm";
        uint8_t info[INFO_SIZE] = { 0 };
        uint32_t flags = INFO_MEMORY | INFO_CMDLINE | INFO_MAP | INFO_LOADER_NAME;

        le32_store(info + 4, LOADER_CONVENTIONAL_END >> 10);
        le32_store(info + 8, (uint32_t)((l->low_end - LOADER_KERNEL_MIN) >> 10));
        le32_store(info + 16, LOADER_CMDLINE);
        if (l->initrd_size) {
                flags |= INFO_MODULES;
                write_module(l);
                le32_store(info + 20, 1);
                le32_store(info + 24, MODULE_LIST);
        }
        le32_store(info + 44, write_map(l));
        le32_store(info + 48, MAP_TABLE);
        guest_write(l->mem, LOADER_NAME, name, sizeof(name));
        le32_store(info + 64, LOADER_NAME);
        le32_store(info, flags);
        guest_write(l->mem, LOADER_START_INFO, info, sizeof(info));
}

int loader_load_multiboot(struct loader *l)
{
        uint32_t entry = 0;
        uint64_t end = 0;
        int r;

        r = load_image(l, &entry, &end);
        if (r < 0)
                return r;
        /* By custom the first word is the kernel's name, which kernels skip. */
        r = loader_place_cmdline(l, "kernel ", SIZE_MAX);
        if (r < 0)
                return r;
        r = loader_place_initrd(l, end, l->low_end);
        if (r < 0)
                return r;
        write_info(l);
        loader_state_flat32(l, entry);
        l->state->gpr[X86_RAX] = BOOT_MAGIC;
        l->state->gpr[X86_RBX] = LOADER_START_INFO;
        return 0;
}
