/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* The descriptors that the caller gives. */
enum { IMAGE_FD = 3, KERNEL_FD = 4, INITRD_FD = 5 };

struct sandbox {
        bool drop; /* become this user and group */
        uid_t uid;
        gid_t gid;
        bool socket; /* the image is read through one */
};

/* The answer is for the process that asked, and a server of the image may never give its part of it: with the end of the parent comes this one's. Negative errno, and a line to standard error. */
int sandbox_end_with_caller(void);

/* Before the first byte of an image is looked at: other descriptors closed, the user changed, memory, processor time and file sizes limited, and a system call
 * filter that knows no way to open, make or reach anything. Negative errno, and a line to standard error, if any of it fails. */
int sandbox_enter(const struct sandbox *s);
