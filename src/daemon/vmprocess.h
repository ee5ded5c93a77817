/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One domus-vm process: started or found again, watched through a pidfd, and spoken to over its control socket
 * (vmproto/vmproto.h). Nothing here waits: calls answer from the loop. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

typedef struct DomusVm DomusVm;

typedef struct {
        /* The VM's signals StateChanged and Rebooted. */
        void (*state_changed)(DomusVm *vm, const char *state, const char *reason, gpointer opaque);
        void (*rebooted)(DomusVm *vm, gpointer opaque);
        /* Its signals on devices, by id. what: VM_DEVERR_*. */
        void (*device_removed)(DomusVm *vm, const char *id, gpointer opaque);
        void (*device_error)(DomusVm *vm, const char *id, const char *what, gpointer opaque);
        void (*balloon_changed)(DomusVm *vm, uint64_t bytes, gpointer opaque);
        void (*tray_changed)(DomusVm *vm, const char *id, bool open, gpointer opaque);
        void (*block_threshold)(DomusVm *vm, const char *id, uint64_t threshold, uint64_t excess, gpointer opaque);
        void (*port_opened)(DomusVm *vm, const char *id, bool open, gpointer opaque);
        /* The process has exited, its last signals were delivered and every pending call has failed. The last callback; it may free the VM. */
        void (*exited)(DomusVm *vm, gpointer opaque);
} DomusVmHandlers;

typedef struct {
        const char *binary;  /* absolute path of domus-vm */
        const char *dir;     /* the VM's directory: exists, gets the control socket */
        int alive_fd;        /* borrowed: domus_vm_make_alive()'s */
        int log_fd;          /* borrowed; also the process's standard output and error */
        bool drop;           /* run it as uid and gid */
        uid_t uid;
        gid_t gid;
} DomusVmLaunch;

/* Starts a process in its own session, so that signals to the daemon's group and terminal do not reach it. DOMUS_ERROR_SYSTEM. */
DomusVm *domus_vm_spawn(sd_event *loop, const DomusVmLaunch *launch, const DomusVmHandlers *handlers, gpointer opaque,
                        GError **error);
/* A process that an earlier daemon started. DOMUS_ERROR_NO_DOMAIN: pid is gone, or another process has it now. */
DomusVm *domus_vm_attach(sd_event *loop, const char *dir, pid_t pid, uint64_t start_time, const DomusVmHandlers *handlers,
                         gpointer opaque, GError **error);
/* The process lives on. Pending calls are dropped without a reply. */
void domus_vm_free(DomusVm *vm);

pid_t domus_vm_pid(const DomusVm *vm);
/* Clock ticks since boot when the process started, proc(5): tells it from a later process of the same number. */
uint64_t domus_vm_start_time(const DomusVm *vm);
/* True perhaps a moment before the handler is called. */
bool domus_vm_has_exited(const DomusVm *vm);
/* What it exited with; -1 if it was killed or that is not ours to know. */
int domus_vm_exit_status(const DomusVm *vm);
/* "exited with status 1", "was killed by signal 9", or "is gone" if it is not ours to know; g_free. */
char *domus_vm_exit_text(const DomusVm *vm);
/* Harmless once the process is gone. */
void domus_vm_kill(DomusVm *vm, int sig);

/* error is borrowed and NULL on success; reply is NULL on failure. OPERATION_FAILED, OPERATION_INVALID (its state): the VM says so; INTERNAL: it has gone or cannot be
 * reached; OPERATION_TIMEOUT, OPERATION_ABORTED. */
typedef void (*DomusVmReply)(sd_bus_message *reply, const GError *error, gpointer opaque);

/* A call message for domus_vm_call to fill in; NULL if there is no connection, which domus_vm_call then reports. */
sd_bus_message *domus_vm_message(DomusVm *vm, const char *method);
/* Sends message (taken over); reply is called exactly once, perhaps before this returns, unless the VM is freed first. It may be NULL. */
void domus_vm_call(DomusVm *vm, sd_bus_message *message, unsigned timeout_seconds, DomusVmReply reply, gpointer opaque);
void domus_vm_call_simple(DomusVm *vm, const char *method, unsigned timeout_seconds, DomusVmReply reply, gpointer opaque);
/* Fails every pending call with DOMUS_ERROR_OPERATION_ABORTED. */
void domus_vm_abort_calls(DomusVm *vm);
