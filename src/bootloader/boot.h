/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* From an image to the kernel that its guest would boot. */

#include "bootloader/config.h"
#include "bootloader/partition.h"

#define KERNEL_SIZE_MAX ((uint64_t)256 << 20)
#define INITRD_SIZE_MAX ((uint64_t)1 << 30)

/* What is asked for; NULL: what the guest's configuration says. */
struct boot_request {
        const char *entry;           /* menu_find's words */
        const char *kernel, *initrd; /* paths; with a kernel no configuration is needed */
        const char *args, *append;   /* instead of the configuration's command line; behind it */
        int partition;               /* look at this only; -1: at all. 0 is an image without partitions */
        bool list;                   /* the menu is the answer */
};

/* Descriptors that get the kernel and the initrds, one behind the other on 4-byte boundaries; -1: thrown away. */
struct boot_output {
        int kernel_fd, initrd_fd;
};

/* Writes the files, and to answer the JSON that usage in main.c describes. Negative errno with trouble filled. */
int boot(const struct source *image, const struct boot_request *request, const struct boot_output *output, struct text *answer,
        struct trouble *trouble);
