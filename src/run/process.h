/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Starts argv[0] (a name to be found in PATH, or an absolute path) in a session of its own and in /, with no signal blocked or ignored, an empty standard
 * input and no descriptors but fds (borrowed, at most 34), which become 1, 2, 3, ... there. Negative errno. */
int domus_process_spawn(const char *const *argv, const char *const *envp, const int *fds, size_t n_fds, pid_t *ret_pid);
