/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Direct kernel boot: puts a kernel into guest memory and makes the bootstrap CPU's start state.
 *
 * Linux bzImage (Documentation/x86/boot.rst), unpacked here if possible, else started by its 64-bit entry; ELF with a PVH note
 * (Xen public/arch-x86/hvm/start_info.h); multiboot 1 ELF or flat (Multiboot Specification 0.6.96). */

#include <stdint.h>

#include "hv/bus/memory.h"
#include "hv/x86/state.h"

struct loader_input {
        int kernel_fd;
        int initrd_fd; /* -1: none */
        const char *cmdline;
        uint64_t rsdp; /* guest physical address of the RSDP, 0: none */
        const uint64_t *random; /* two numbers that place the kernel, for tests; NULL: drawn from the host */
};

/* state: reset state on entry, start state on return. Negative errno, with *ret_error a sentence that names the cause:
 * not a known image, truncated, too large for the memory, 32-bit-only kernel, ... The whole image is bounds-checked; a hostile one harms nobody. */
int loader_load(struct guest_memory *mem, const struct loader_input *in, struct x86_state *state, const char **ret_error);

/* The memory map handed to the guest (E820 types 1 RAM, 2 reserved, 3 ACPI). The loader and ACPI share this layout. */
#define LOADER_ACPI_BASE 0x000e0000ULL /* tables live in [0xe0000, 0x100000), reported as ACPI/reserved */
#define LOADER_ACPI_SIZE 0x0001f000ULL
#define LOADER_SMBIOS_BASE (LOADER_ACPI_BASE + LOADER_ACPI_SIZE) /* from 0xf0000 on, where it is looked for */
#define LOADER_SMBIOS_SIZE 0x00001000ULL
