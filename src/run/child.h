/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Programs of the host that the daemon runs (qemu-img, lvs, dnsmasq, mkfs, ...), watched from the sd-event loop through a pidfd. Nothing here
 * waits. A child has no standard input, a session of its own and only the descriptors given; PATH has the system directories, LC_ALL is C. */

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

typedef struct DomusChild DomusChild;

typedef struct {
        int status;            /* as of waitid(2): exit status, or -signal if it was killed */
        const char *out, *err; /* what it wrote, NUL-terminated, at most 16 MiB and 64 KiB; "" with keep_output */
        size_t out_len;
} DomusChildResult;

/* The child has exited and its output is complete. error is borrowed: NULL if it exited with 0, else DOMUS_ERROR_OPERATION_FAILED "PROGRAM: what it wrote to its
 * standard error, in one line". result is valid during the call. The child is freed after it. */
typedef void (*DomusChildDone)(const DomusChildResult *result, const GError *error, gpointer opaque);

typedef struct {
        const char *const *argv; /* argv[0]: a name to be found in PATH, or an absolute path */
        const int *fds;          /* borrowed; become 3, 4, ... in the child */
        size_t n_fds;
        int output_fd;           /* both outputs go there, e.g. a log; 0: they are collected for the result */
        bool outlive;            /* it goes on when the DomusChild is freed, e.g. a dnsmasq that survives the daemon */
} DomusChildConfig;

/* NULL with DOMUS_ERROR_SYSTEM naming the program. done is called exactly once, never before this returns, unless domus_child_free comes first. */
DomusChild *domus_child_run(sd_event *loop, const DomusChildConfig *config, DomusChildDone done, gpointer opaque, GError **error);
pid_t domus_child_pid(const DomusChild *child);
/* Harmless once it is gone. */
void domus_child_kill(DomusChild *child, int sig);
/* Without a call of done; the process is killed first unless it shall outlive. NULL is fine. */
void domus_child_free(DomusChild *child);
