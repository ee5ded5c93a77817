/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The boot loader of a domain without <kernel>. Private to src/daemon. */

#include "daemon/domain-private.h"

typedef struct {
        int kernel_fd, initrd_fd; /* initrd_fd -1: none */
        char *cmdline;
} DomusBootKernel;

void domus_boot_kernel_clear(DomusBootKernel *kernel);

/* kernel: what the callee takes of it (fd_steal, g_steal_pointer) is its own; NULL on failure. error is borrowed: OPERATION_FAILED with the boot loader's words, or what the
 * disk could not be opened for. */
typedef void (*DomusBootDone)(DomusBootKernel *kernel, const GError *error, gpointer opaque);

/* Finds the kernel on the live definition's boot disk, without waiting, in place of an earlier run. done is called once, perhaps before this returns, unless
 * domus_boot_free(d->boot) comes first. */
void domus_boot_start(DomusDomain *d, DomusBootDone done, gpointer opaque);
/* Ends a run that was started with opaque, if there is one: its done is called with that error. */
void domus_boot_abort(DomusDomain *d, gconstpointer opaque, const GError *error);
/* The same for any run, with INTERNAL. */
void domus_boot_vm_gone(DomusDomain *d);
/* The VM waits for its next kernel: finds it and hands it over, or stops the domain. */
void domus_boot_again(DomusDomain *d);
