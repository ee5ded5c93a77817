/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of the control server share. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "hv/machine/machine.h"
#include "hv/main/console.h"
#include "hv/main/serve-devices.h"

#define SERVE_SERIALS 2

enum serve_action { SERVE_DESTROY, SERVE_RESTART, SERVE_PRESERVE };

/* What Configure said; strings and descriptors are owned. */
struct serve_config {
        char *name, *uuid, *engine, *cmdline;
        char **smbios; /* NULL, or name, value, ..., NULL */
        int kvm_fd, kernel_fd, initrd_fd;
        unsigned cpus;
        uint64_t memory, code_cache; /* bytes; code_cache 0: the engine's choice */
        bool acpi, rtc_localtime, debug_exit, boot_loader;
        struct serve_devices devices; /* until they are plugged in */
        unsigned n_serials;
        struct {
                int master, slave;
        } serials[SERVE_SERIALS];
        enum serve_action on_poweroff, on_reboot, on_crash;
};

struct server {
        sd_event *loop;
        struct signals *signals;
        int control_fd, log_fd;
        int alive_fd; /* -1, or VM_ALIVE: held open, and that is all */
        int statm_fd;               /* /proc/self/statm */
        uid_t start_uid;            /* who started us, besides root, may connect */
        sd_event_source *accept_source, *exit_timer;
        sd_event_source *restart_timer; /* the guest's own restart that waits, if enabled */
        uint64_t restart_due;       /* CLOCK_MONOTONIC, usec: when all restarts so far are paid for */
        bool awaits_kernel, run_then; /* a restart waits for SetKernel; the guest runs after it */
        struct ring *ring;          /* the disks' */
        bool confined;              /* the system call filter is in place */
        sd_bus *bus;                /* the daemon's connection; NULL: away */
        struct serve_config config;
        struct machine *machine;
        struct console *consoles[SERVE_SERIALS];
        const char *state, *reason; /* VM_STATE_*, VM_REASON_* */
};

/* serve-config.c: parses Configure's argument; fills error with a message that names the field. */
int serve_config_read(struct serve_config *config, sd_bus_message *message, sd_bus_error *error);
/* SetKernel's argument, into the kernel's members. */
int serve_config_read_kernel(struct serve_config *config, sd_bus_message *message, sd_bus_error *error);
void serve_config_init(struct serve_config *config);
void serve_config_finish(struct serve_config *config);
/* -EINVAL: not an action. */
int serve_action_parse(const char *word, enum serve_action *ret);

/* serve-bus.c: the methods. */
extern const sd_bus_vtable serve_vtable[];

/* serve-boot.c: restarts with another kernel. */
void serve_await_kernel(struct server *s);
/* The kernel is loaded, and this was its only boot. */
void serve_forget_kernel(struct server *s);
int serve_set_kernel(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* serve.c: called by the methods. */
int serve_configure(struct server *s, sd_bus_error *error);
/* Tells the daemon. */
void serve_set_state(struct server *s, const char *state, const char *reason);
