/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a VM is given at its start: the checks before it, and the files and ptys that are opened for it. */

#include <glib.h>
#include <systemd/sd-bus.h>

#include "daemon/host.h"
#include "model/domain-def.h"

typedef struct {
        int master, slave;
        char *path; /* of the slave */
} DomusPty;

typedef struct {
        const char *engine;           /* vmproto's word */
        int kvm_fd, kernel_fd, initrd_fd; /* -1: none */
        int alive_fd;                 /* domus_vm_make_alive()'s; -1: not made yet */
        bool boot_loader;             /* the kernel comes from a disk, with this command line; it is found after this was made */
        char *cmdline;
        GArray *ptys;                 /* DomusPty, one per serial port */
        GPtrArray *devices;           /* DomusVmDevice, owned; NULL: not opened yet */
} DomusLaunch;

/* A fresh pty, raw, master nonblocking. Negative errno. */
int domus_pty_open(DomusPty *ret);
void domus_pty_clear(DomusPty *pty);

/* Chooses the engine, checks the domain against the host and opens everything. vmm_path: the only emulator there is. Errors:
 * CONFIG_UNSUPPORTED, or SYSTEM naming the path that cannot be opened. */
DomusLaunch *domus_launch_new(const DomusDomainDef *def, const DomusHost *host, const char *vmm_path, GError **error);
void domus_launch_free(DomusLaunch *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusLaunch, domus_launch_free)

/* Appends the argument of vmproto's Configure; the message gets its own descriptors. Negative errno. */
int domus_launch_append(const DomusLaunch *l, const DomusDomainDef *def, sd_bus_message *m);
/* domus-vm's word for what on_poweroff, on_reboot or on_crash (which: VM_ON_*) asks for. */
const char *domus_launch_action(const char *which, DomusAction action);
