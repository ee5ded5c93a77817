/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Gives up what a VM's process does not need. A step that the process is not permitted to do (it runs unprivileged) is
 * logged and left out; everything else goes on. */

#include <stdbool.h>
#include <sys/types.h>

struct sandbox_user {
        bool drop; /* change to uid and gid */
        uid_t uid;
        gid_t gid;
};

/* Before any other thread exists: own mount, network, IPC and host name namespaces, an empty root, then the user. From
 * here on nothing can be opened by its path. Negative errno only if the user cannot be changed though asked for. */
int sandbox_enter(const struct sandbox_user *user);
/* Before the first byte of a guest is looked at: the system call filter, for all threads. Negative errno, and a line in the log,
 * if there is none. */
int sandbox_filter(void);
/* Closes all descriptors above the standard ones but the given, sorted or not (at most 8). */
void sandbox_close_others(const int *keep, unsigned n);
