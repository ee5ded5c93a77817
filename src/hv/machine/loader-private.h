/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the image formats share: the image file, guest low memory, the memory map, and start states. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/bus/memory.h"
#include "hv/machine/loader.h"
#include "hv/x86/state.h"

/* Guest low memory as every start uses it. Images may only claim RAM from LOADER_KERNEL_MIN on, so nothing collides. */
#define LOADER_GDT 0x0800u
#define LOADER_START_INFO 0x6000u /* PVH start info or multiboot info; one page, holds the small lists too */
#define LOADER_ZERO_PAGE 0x7000u
#define LOADER_PAGE_TABLES 0x9000u /* PML4, PDPT and four page directories, up to 0xf000 */
#define LOADER_CMDLINE 0x20000u
#define LOADER_CMDLINE_MAX 0x10000u /* bytes including the NUL */
#define LOADER_CONVENTIONAL_END 0x9fc00u
#define LOADER_KERNEL_MIN 0x100000u

#define LOADER_CODE_SELECTOR 0x10
#define LOADER_DATA_SELECTOR 0x18

/* The first bytes of the image, enough for every format's magic (multiboot: 8 KiB). */
#define LOADER_HEAD_SIZE 8192

struct loader_image {
        int fd;
        uint64_t size;
        uint8_t head[LOADER_HEAD_SIZE];
        size_t head_len;
};

struct loader {
        struct guest_memory *mem;
        const struct loader_input *in;
        struct x86_state *state;
        struct loader_image kernel;
        uint64_t low_end;           /* end of RAM below 4 GiB */
        uint64_t initrd, initrd_size; /* guest physical; size 0: none */
        const char *error;
};

/* Notes the sentence and returns the errno, so that "return loader_fail(l, -ENOEXEC, "...")" reads well. */
int loader_fail(struct loader *l, int err, const char *sentence);

/* Reads n bytes at off of the image; -ENOEXEC with the "truncated" sentence if it is shorter. */
int loader_read(struct loader *l, uint64_t off, void *buf, size_t n);
/* Copies n bytes at off of the image to guest RAM in [LOADER_KERNEL_MIN, low_end). */
int loader_copy(struct loader *l, uint64_t off, uint64_t gpa, uint64_t n);
/* -ENOSPC unless [gpa, gpa+n) is RAM an image may claim. */
int loader_check_range(struct loader *l, uint64_t gpa, uint64_t n);

/* Puts the initrd, if there is one, as high as it fits in [floor, ceiling) and below the end of low RAM. */
int loader_place_initrd(struct loader *l, uint64_t floor, uint64_t ceiling);
/* Writes prefix and the command line as one NUL-terminated string at LOADER_CMDLINE; max counts without the NUL. */
int loader_place_cmdline(struct loader *l, const char *prefix, size_t max);

enum loader_map_type { LOADER_MAP_RAM = 1, LOADER_MAP_RESERVED = 2, LOADER_MAP_ACPI = 3 };

struct loader_map_entry {
        uint64_t addr, size;
        enum loader_map_type type;
};

#define LOADER_MAP_MAX 8
/* The E820 map, ascending; returns the number of entries. */
unsigned loader_memory_map(const struct guest_memory *mem, struct loader_map_entry map[LOADER_MAP_MAX]);

/* Flat 32-bit protected mode without paging, interrupts off, at entry. */
void loader_state_flat32(struct loader *l, uint32_t entry);
/* 64-bit mode with the first 4 GiB mapped to themselves, interrupts off, at entry. */
void loader_state_long(struct loader *l, uint64_t entry);

/* What a bzImage's header says of its payload, and where the kernel in it goes. */
struct loader_payload {
        uint64_t off, size; /* in the image; inside of it */
        uint64_t load;      /* guest physical, the address that it is linked for: [load, load + need) is free RAM */
        uint64_t need;      /* bytes that it uses before it knows its memory */
        uint64_t align;     /* of both addresses */
        bool relocatable;
};

struct loader_vmlinux {
        uint64_t entry;  /* guest physical, for loader_state_long */
        bool randomized; /* the kernel is to be told */
};

/* Unpacks and places the kernel of a bzImage, after the initrd. Negative errno: it cannot be done here, l->error says why ("its payload ..."), and
 * guest memory is as before. */
int loader_load_vmlinux(struct loader *l, const struct loader_payload *p, struct loader_vmlinux *ret);

/* Gets what was unpacked, piece by piece; a negative errno ends it. */
typedef int loader_sink_fn(void *opaque, const uint8_t *data, size_t n);
/* The unpacked size that the payload at [off, off + size) of the image states, bytes. */
int loader_unpacked_size(struct loader *l, uint64_t off, uint64_t size, uint64_t *ret);
/* Unpacks the payload at [off, off + size) of the image: LZ4, gzip, xz or zstd; unpacked: what loader_unpacked_size says of it. Negative errno if it is none
 * of them, damaged, or not of that size; the sink may have got a part by then. */
int loader_unpack(struct loader *l, uint64_t off, uint64_t size, uint64_t unpacked, loader_sink_fn *sink, void *opaque);

/* n zeroed bytes, which go back to the host with loader_unmap_buffer; NULL: out of memory. */
void *loader_map_buffer(struct loader *l, size_t n);
void loader_unmap_buffer(void *p, size_t n);

/* The formats. Each returns 0 with everything placed and the state set. */
bool loader_is_bzimage(const struct loader_image *img);
int loader_load_bzimage(struct loader *l);
bool loader_is_multiboot(const struct loader_image *img);
int loader_load_multiboot(struct loader *l);
int loader_load_pvh(struct loader *l);

/* ELF program headers in one form for both classes. */
#define LOADER_SEGMENTS_MAX 64

struct loader_segment {
        uint32_t type; /* PT_LOAD, PT_NOTE */
        uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct loader_elf {
        uint64_t entry; /* as the header has it: virtual */
        struct loader_segment seg[LOADER_SEGMENTS_MAX];
        unsigned n_seg; /* only PT_LOAD and PT_NOTE are kept */
};

bool loader_is_elf(const struct loader_image *img);
int loader_elf_parse(struct loader *l, struct loader_elf *ret);
/* Copies the PT_LOAD segments to their physical addresses; *ret_end gets the end of the highest. */
int loader_elf_copy(struct loader *l, const struct loader_elf *elf, uint64_t *ret_end);
/* Is gpa inside a PT_LOAD segment's physical range? */
bool loader_elf_contains(const struct loader_elf *elf, uint64_t gpa);
/* The entry as a physical address. */
uint64_t loader_elf_entry(const struct loader_elf *elf);
