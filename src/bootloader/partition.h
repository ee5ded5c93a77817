/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

#include "bootloader/source.h"
#include "bootloader/trouble.h"

#define PARTITIONS_MAX 128

struct partition {
        unsigned number; /* as Linux and GRUB count; 0: the whole image */
        bool active;     /* marked for the BIOS to boot */
        struct source bytes;
};

struct partition_table {
        const char *kind; /* "gpt", "msdos", or "none": then the image is its only partition */
        unsigned n;
        struct partition parts[PARTITIONS_MAX];
};

/* Reads the partition table of an image: GPT (UEFI specification 2.10, chapter 5; the second copy if the first is damaged), MBR with logical
 * partitions, or none. What lies beyond the image's end is left out. An error only for a damaged GPT and for what cannot be read. */
int partition_table_read(struct partition_table *t, const struct source *image, struct trouble *trouble);
