/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* ACPI tables (ACPI 6.4 chapter 5, 19, 20): RSDP, XSDT, FADT, FACS, MADT, DSDT with power button, S5, PCI root and its
 * interrupt links. */

#include <stdint.h>

#include "hv/bus/memory.h"
#include "hv/bus/platform.h"

/* Writes the tables into [LOADER_ACPI_BASE, +LOADER_ACPI_SIZE); returns the RSDP's address in *ret_rsdp. */
int acpi_build(struct guest_memory *mem, unsigned cpus, uint64_t *ret_rsdp);
