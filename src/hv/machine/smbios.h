/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* SMBIOS tables (DMTF DSP0134, 2.8): who the machine says it is. */

#include <stddef.h>
#include <stdint.h>

#include "hv/machine/loader.h"

/* An image of [LOADER_SMBIOS_BASE, +LOADER_SMBIOS_SIZE), with the entry point at its start. uuid: "c7a5fdbd-…"; NULL: none. strings: name, value, name, value, ..., NULL:
 * names are "system.serial" and the like, or "oem", which may come more than once; strings itself may be NULL. *ret_len: bytes used. -EINVAL: a name is unknown
 * (*ret_name: it) or the uuid malformed; -ENOSPC: they are too long. */
int smbios_build(const char *uuid, const char *const *strings, uint8_t image[LOADER_SMBIOS_SIZE], size_t *ret_len, const char **ret_name);
