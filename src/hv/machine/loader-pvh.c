/* SPDX-License-Identifier: GPL-2.0-or-later */

/* ELF kernels with a PVH entry: Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h. */

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/machine/loader-private.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTES_MAX 65536u

#define START_INFO_MAGIC 0x336ec578u
#define START_INFO_SIZE 56u
#define MODULE_SIZE 32u
#define MAP_ENTRY_SIZE 24u

/* All in the page at LOADER_START_INFO. */
#define MODULE_LIST (LOADER_START_INFO + 0x100)
#define MAP_TABLE (LOADER_START_INFO + 0x200)

/* Looks through one note segment. Name and descriptor are each padded to 4 bytes (8 in segments aligned to 8). */
static bool find_entry_note(const uint8_t *notes, size_t n, unsigned align, uint32_t *ret)
{
        size_t pos = 0;

        while (n - pos >= 12) {
                uint32_t namesz = le32_load(notes + pos), descsz = le32_load(notes + pos + 4);
                uint32_t type = le32_load(notes + pos + 8);
                size_t name = pos + 12, desc, next;

                if (namesz > n || descsz > n)
                        return false;
                desc = ALIGN_UP(name + namesz, (size_t)align);
                next = ALIGN_UP(desc + descsz, (size_t)align);
                if (desc + descsz > n)
                        return false;
                if (type == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 && memcmp(notes + name, "Xen", 4) == 0) {
                        if (descsz == 4 || (descsz == 8 && le32_load(notes + desc + 4) == 0)) {
                                *ret = le32_load(notes + desc);
                                return true;
                        }
                        return false;
                }
                if (next >= n)
                        return false;
                pos = next;
        }
        return false;
}

static int read_entry(struct loader *l, const struct loader_segment *seg, uint32_t *ret)
{
        uint8_t *notes;
        bool found;
        int r;

        if (seg->filesz > NOTES_MAX)
                return loader_fail(l, -ENOEXEC, "the kernel's ELF notes are too large");
        notes = malloc(seg->filesz ? seg->filesz : 1);
        if (!notes)
                return loader_fail(l, -ENOMEM, "out of memory");
        r = loader_read(l, seg->offset, notes, seg->filesz);
        found = r == 0 && find_entry_note(notes, seg->filesz, seg->align == 8 ? 8 : 4, ret);
        free(notes);
        if (r < 0)
                return r;
        return found ? 0 : -ENOENT;
}

static int find_entry(struct loader *l, const struct loader_elf *elf, uint32_t *ret)
{
        for (unsigned i = 0; i < elf->n_seg; i++) {
                int r = elf->seg[i].type == PT_NOTE ? read_entry(l, &elf->seg[i], ret) : -ENOENT;

                if (r != -ENOENT)
                        return r;
        }
        return loader_fail(l, -ENOEXEC, "the kernel is an ELF image with neither a PVH entry note nor a multiboot header");
}

static unsigned write_map(struct loader *l)
{
        struct loader_map_entry map[LOADER_MAP_MAX];
        unsigned n = loader_memory_map(l->mem, map);

        for (unsigned i = 0; i < n; i++) {
                uint8_t entry[MAP_ENTRY_SIZE] = { 0 };

                le64_store(entry, map[i].addr);
                le64_store(entry + 8, map[i].size);
                le32_store(entry + 16, map[i].type);
                guest_write(l->mem, MAP_TABLE + i * MAP_ENTRY_SIZE, entry, sizeof(entry));
        }
        return n;
}

static void write_start_info(struct loader *l)
{
        uint8_t info[START_INFO_SIZE] = { 0 }, module[MODULE_SIZE] = { 0 };

        le32_store(info, START_INFO_MAGIC);
        le32_store(info + 4, 1); /* version: has the memory map */
        if (l->initrd_size) {
                le64_store(module, l->initrd);
                le64_store(module + 8, l->initrd_size);
                guest_write(l->mem, MODULE_LIST, module, sizeof(module));
                le32_store(info + 12, 1);
                le64_store(info + 16, MODULE_LIST);
        }
        le64_store(info + 24, LOADER_CMDLINE);
        le64_store(info + 32, l->in->rsdp);
        le64_store(info + 40, MAP_TABLE);
        le32_store(info + 48, write_map(l));
        guest_write(l->mem, LOADER_START_INFO, info, sizeof(info));
}

int loader_load_pvh(struct loader *l)
{
        struct loader_elf elf;
        uint32_t entry = 0;
        uint64_t end;
        int r;

        r = loader_elf_parse(l, &elf);
        if (r < 0)
                return r;
        r = find_entry(l, &elf, &entry);
        if (r < 0)
                return r;
        if (!loader_elf_contains(&elf, entry))
                return loader_fail(l, -ENOEXEC, "the kernel's PVH entry lies outside of its image");
        r = loader_elf_copy(l, &elf, &end);
        if (r < 0)
                return r;
        r = loader_place_cmdline(l, "", SIZE_MAX);
        if (r < 0)
                return r;
        r = loader_place_initrd(l, end, l->low_end);
        if (r < 0)
                return r;
        write_start_info(l);
        loader_state_flat32(l, entry);
        l->state->gpr[X86_RBX] = LOADER_START_INFO;
        return 0;
}
