/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Processes and sockets of domus-vm, without the loop. Negative errno on failure. */

#include "daemon/vmprocess.h"

/* A listening socket at DIR/control.sock; a dead one there is replaced. */
int domus_vm_listen(const char *dir);
int domus_vm_connect(const char *dir);
/* Makes DIR/alive and opens it, as the VM has it; and as who wants to know when the VM is gone. */
int domus_vm_make_alive(const char *dir);
int domus_vm_open_alive(const char *dir);
/* Runs domus-vm with only the listening socket and the log open. *ret_pid: a child, to be reaped. */
int domus_vm_exec(const DomusVmLaunch *launch, int listen_fd, pid_t *ret_pid);
/* Field starttime of /proc/PID/stat. */
int domus_proc_start_time(pid_t pid, uint64_t *ret);

/* Is path none of the files that the process has open? false if that cannot be told. */
bool domus_proc_lacks_file(pid_t pid, const char *path);
