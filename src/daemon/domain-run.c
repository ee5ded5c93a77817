/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A running domain: what its VM reports, how it is brought to an end, and what is left to do then. */

#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "daemon/device.h"
#include "daemon/domain-boot.h"
#include "daemon/domlog.h"
#include "daemon/runstate.h"
#include "vmproto/vmproto.h"

#define EXIT_SECONDS 10   /* from the guest's power-off to the end of its process */
#define KILL_SECONDS 15   /* from SIGKILL to giving up */
#define ACTION_SECONDS 10

/* --- The record --- */

char *domus_domain_run_dir(const DomusDomain *d)
{
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(d->uuid, uuid);
        return g_build_filename(d->manager->paths.run_dir, "vm", uuid, NULL);
}

/* Alias, path, alias, path, ..., NULL; borrowed. */
static GPtrArray *list_disk_paths(const DomusDomain *d)
{
        GPtrArray *list = g_ptr_array_new();
        GHashTableIter iter;
        gpointer alias, path;

        g_hash_table_iter_init(&iter, d->disk_paths);
        while (g_hash_table_iter_next(&iter, &alias, &path)) {
                g_ptr_array_add(list, alias);
                g_ptr_array_add(list, path);
        }
        g_ptr_array_add(list, NULL);
        return list;
}

bool domus_domain_write_status(DomusDomain *d, GError **error)
{
        g_autofree char *dir = domus_domain_run_dir(d);
        g_autofree char *xml = domus_domain_def_format(d->live, -1, DOMUS_DEF_SECURE);
        g_autoptr(GPtrArray) ttys = g_ptr_array_new();
        g_autoptr(GPtrArray) disks = NULL;
        DomusRunState s = {
                .xml = xml, .id = d->id, .pid = domus_vm_pid(d->vm), .start_time = domus_vm_start_time(d->vm),
                .state = d->state, .reason = d->reason, .started = d->started, .reboot_wanted = d->reboot_wanted,
                .updated = d->updated, .autodestroy = d->owner, .log_path = d->log_path,
        };

        for (unsigned i = 0; i < d->ttys->len; i++)
                g_ptr_array_add(ttys, d->ttys->pdata[i]);
        g_ptr_array_add(ttys, NULL);
        s.ttys = (char **)ttys->pdata;
        disks = list_disk_paths(d);
        s.disks = (char **)disks->pdata;
        return domus_run_state_save(dir, &s, error);
}

void domus_domain_save_status(DomusDomain *d)
{
        g_autoptr(GError) error = NULL;

        if (!domus_domain_write_status(d, &error))
                log_error("domain '%s': the next daemon will not know its present state: %s", d->name, error->message);
}

/* --- Timers --- */

static int on_kill_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void arm_kill_timer(DomusDomain *d, unsigned seconds, bool may_kill)
{
        d->kill_timer = sd_event_source_disable_unref(d->kill_timer);
        d->may_kill = may_kill;
        sd_event_add_time_relative(d->manager->loop, &d->kill_timer, CLOCK_MONOTONIC, seconds * UINT64_C(1000000), 0,
                on_kill_timer, d);
}

static int on_kill_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        DomusDomain *d = userdata;
        DomusDomainJob *waiter;

        if (d->may_kill) {
                log_warning("domain '%s': process %d does not end, killing it", d->name, (int)domus_vm_pid(d->vm));
                domus_vm_kill(d->vm, SIGKILL);
                arm_kill_timer(d, KILL_SECONDS, false);
                return 0;
        }
        d->stop_reason = VIR_DOMAIN_SHUTOFF_CRASHED;
        d->stop_detail = VIR_DOMAIN_EVENT_STOPPED_CRASHED;
        waiter = g_steal_pointer(&d->stop_waiter);
        if (waiter)
                domus_domain_job_fail(waiter, DOMUS_ERROR_OPERATION_FAILED,
                        "failed to terminate process %d: Device or resource busy", (int)domus_vm_pid(d->vm));
        return 0;
}

/* --- Reports --- */

void domus_domain_announce_start(DomusDomain *d, bool paused)
{
        if (d->started)
                return;
        d->started = true;
        if (paused)
                domus_domain_set_state(d, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
        else
                domus_domain_set_state(d, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);
        domus_domain_save_status(d);
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED);
        if (paused)
                domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
}

void domus_domain_note_running(DomusDomain *d)
{
        int was = d->state;

        if (!d->started || was == VIR_DOMAIN_RUNNING)
                return;
        if (d->guest_stopped && !d->stop_waiter)
                d->kill_timer = sd_event_source_disable_unref(d->kill_timer);
        d->guest_stopped = false;
        g_hash_table_remove_all(d->disk_errors); /* what failed is tried again */
        domus_domain_set_state(d, VIR_DOMAIN_RUNNING,
                was == VIR_DOMAIN_PAUSED ? VIR_DOMAIN_RUNNING_UNPAUSED : VIR_DOMAIN_RUNNING_BOOTED);
        domus_domain_save_status(d);
        if (was == VIR_DOMAIN_PAUSED)
                domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
}

static void note_paused(DomusDomain *d, bool io_error)
{
        if (io_error) /* a disk can fail sooner than the reply to Start comes */
                domus_domain_announce_start(d, false);
        if (!d->started || d->state == VIR_DOMAIN_PAUSED)
                return;
        domus_domain_set_state(d, VIR_DOMAIN_PAUSED, io_error ? VIR_DOMAIN_PAUSED_IOERROR : VIR_DOMAIN_PAUSED_USER);
        domus_domain_save_status(d);
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_SUSPENDED,
                io_error ? VIR_DOMAIN_EVENT_SUSPENDED_IOERROR : VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
}

void domus_domain_note_paused(DomusDomain *d)
{
        note_paused(d, false);
}

/* A guest that stops can be faster than the reply to Start. With action preserve the process stays until it is destroyed; with restart domus-vm
 * goes on by itself. */
static void note_stopped(DomusDomain *d, int state, int reason, DomusAction action)
{
        domus_domain_announce_start(d, false);
        d->guest_stopped = true;
        domus_domain_set_state(d, state, reason);
        domus_domain_save_status(d);
        if (action == DOMUS_ACTION_DESTROY && !d->stop_waiter)
                arm_kill_timer(d, EXIT_SECONDS, true);
}

static void note_shutoff(DomusDomain *d)
{
        if (d->state == VIR_DOMAIN_SHUTDOWN)
                return;
        if (!d->stop_waiter) {
                d->stop_reason = VIR_DOMAIN_SHUTOFF_SHUTDOWN;
                d->stop_detail = VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN;
        }
        note_stopped(d, VIR_DOMAIN_SHUTDOWN, VIR_DOMAIN_SHUTDOWN_USER, d->live->on_poweroff);
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_SHUTDOWN, VIR_DOMAIN_EVENT_SHUTDOWN_GUEST);
}

static void note_crashed(DomusDomain *d)
{
        if (d->state == VIR_DOMAIN_CRASHED)
                return;
        if (!d->stop_waiter) {
                d->stop_reason = VIR_DOMAIN_SHUTOFF_CRASHED;
                d->stop_detail = VIR_DOMAIN_EVENT_STOPPED_CRASHED;
        }
        note_stopped(d, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED, d->live->on_crash);
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_PANICKED);
}

void domus_domain_note_state(DomusDomain *d, const char *state, const char *reason)
{
        log_debug("domain '%s': the VM is %s (%s)", d->name, state, reason);
        if (strcmp(state, VM_STATE_RUNNING) == 0)
                domus_domain_note_running(d);
        else if (strcmp(state, VM_STATE_PAUSED) == 0)
                note_paused(d, strcmp(reason, VM_REASON_IO_ERROR) == 0);
        else if (strcmp(state, VM_STATE_BOOTING) == 0)
                domus_boot_again(d);
        else if (strcmp(state, VM_STATE_SHUTOFF) == 0)
                note_shutoff(d);
        else if (strcmp(state, VM_STATE_CRASHED) == 0)
                note_crashed(d);
}

static void on_state_changed(DomusVm *vm, const char *state, const char *reason, gpointer opaque)
{
        domus_domain_note_state(opaque, state, reason);
}

/* The power-off that a reboot asked for has come: from now on power-offs mean what the definition says. */
static void end_reboot(DomusDomain *d)
{
        if (!d->reboot_wanted)
                return;
        d->reboot_wanted = false;
        domus_domain_send_action(d, VM_ON_POWEROFF, d->live->on_poweroff);
        domus_domain_save_status(d);
}

static void on_rebooted(DomusVm *vm, gpointer opaque)
{
        DomusDomain *d = opaque;

        domus_domain_announce_start(d, false);
        end_reboot(d);
        if (d->state != VIR_DOMAIN_PAUSED)
                domus_domain_note_running(d);
        domus_domain_emit(d, DOMUS_EVENT_REBOOT, 0, NULL);
}

static void on_action_set(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomain *d = opaque;

        if (error && !domus_vm_has_exited(d->vm))
                log_warning("domain '%s': cannot set a lifecycle action: %s", d->name, error->message);
}

void domus_domain_send_action(DomusDomain *d, const char *which, DomusAction action)
{
        sd_bus_message *m = domus_vm_message(d->vm, VM_SET_ACTION);

        if (m && sd_bus_message_append(m, "ss", which, domus_launch_action(which, action)) < 0)
                m = sd_bus_message_unref(m);
        domus_vm_call(d->vm, m, ACTION_SECONDS, on_action_set, d);
}

/* --- The end --- */

static void prepare_stop(DomusDomain *d, DomusDomainJob *job, int reason, int detail)
{
        d->stop_reason = reason;
        d->stop_detail = detail;
        d->stop_waiter = job;
}

static void on_quit(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomain *d = opaque;

        if (error)
                domus_vm_kill(d->vm, SIGTERM);
}

void domus_domain_stop(DomusDomain *d, DomusDomainJob *job, int reason, int detail, unsigned grace_seconds, bool may_kill)
{
        prepare_stop(d, job, reason, detail);
        arm_kill_timer(d, grace_seconds, may_kill);
        domus_vm_call_simple(d->vm, VM_QUIT, grace_seconds, on_quit, d);
}

void domus_domain_kill(DomusDomain *d, DomusDomainJob *job, int reason, int detail)
{
        prepare_stop(d, job, reason, detail);
        arm_kill_timer(d, KILL_SECONDS, false);
        domus_vm_kill(d->vm, SIGKILL);
}

/* Where the process died under the start, its last words say more than the connection's end. */
static void explain_start_error(DomusDomain *d)
{
        g_autofree char *line = NULL;

        if (!d->start_error || d->start_error->code != DOMUS_ERROR_INTERNAL || !d->log_path)
                return;
        line = domus_log_last_line(d->log_path, d->log_start);
        if (!line)
                return;
        g_clear_error(&d->start_error);
        d->start_error = g_error_new(DOMUS_ERROR, DOMUS_ERROR_INTERNAL,
                "cannot start domain '%s': domus-vm died while starting: %s", d->name, line);
}

static void release_resources(DomusDomain *d)
{
        g_autofree char *dir = domus_domain_run_dir(d);

        d->kill_timer = sd_event_source_disable_unref(d->kill_timer);
        g_clear_pointer(&d->agent, domus_agent_free);
        g_clear_pointer(&d->boot, domus_boot_free);
        domus_qsd_forget_all(d);
        domus_devices_release_all(d);
        g_clear_pointer(&d->console, domus_console_free);
        g_clear_pointer(&d->vm, domus_vm_free);
        domus_domain_clear_tables(d);
        g_clear_pointer(&d->launch, domus_launch_free);
        g_clear_pointer(&d->ttys, g_ptr_array_unref);
        g_clear_pointer(&d->log_path, g_free);
        domus_run_state_remove(dir);
        domus_domain_def_free(d->last);
        d->last = g_steal_pointer(&d->live);
}

static void log_end(DomusDomain *d)
{
        static const char *const reasons[] = {
                [VIR_DOMAIN_SHUTOFF_UNKNOWN] = "unknown", [VIR_DOMAIN_SHUTOFF_SHUTDOWN] = "shutdown",
                [VIR_DOMAIN_SHUTOFF_DESTROYED] = "destroyed", [VIR_DOMAIN_SHUTOFF_CRASHED] = "crashed",
                [VIR_DOMAIN_SHUTOFF_FAILED] = "failed",
        };
        const char *reason = d->stop_reason < (int)G_N_ELEMENTS(reasons) ? reasons[d->stop_reason] : NULL;
        g_autofree char *text = d->vm ? domus_vm_exit_text(d->vm) : g_strdup("is gone");

        log_info("domain '%s' (id %d) has stopped: %s; its process %s", d->name, d->id, reason ? reason : "?", text);
        if (d->log_path)
                domus_log_note(d->log_path, "shut off, reason: %s; the process %s", reason ? reason : "?", text);
}

void domus_domain_stopped(DomusDomain *d)
{
        g_autoptr(DomusDomain) hold = domus_domain_ref(d);
        DomusDomainJob *waiter = g_steal_pointer(&d->stop_waiter);
        g_autoptr(GError) error = NULL;

        explain_start_error(d);
        domus_domain_end_removal(d);
        error = g_steal_pointer(&d->start_error);
        log_end(d);
        release_resources(d);
        d->id = -1;
        d->updated = d->reboot_wanted = d->guest_stopped = false;
        d->owner = NULL;
        domus_domain_set_state(d, VIR_DOMAIN_SHUTOFF, d->stop_reason);
        if (d->started)
                domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_STOPPED, d->stop_detail);
        d->started = false;
        if (!d->config && d->manager)
                domus_manager_drop(d->manager, d);
        if (waiter)
                domus_domain_job_finish(waiter, error);
}

/* The exit status repeats the last signal, which a broken connection may have swallowed. */
static void on_exited(DomusVm *vm, gpointer opaque)
{
        DomusDomain *d = opaque;
        int status = domus_vm_exit_status(vm);
        g_autoptr(GError) gone = g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "domus-vm has exited");

        domus_passts_abort(d, gone);
        if (!d->started) /* the start's run; its job must hear of it */
                domus_boot_vm_gone(d);
        if (d->started && status == VM_EXIT_GUEST_SHUTOFF)
                note_shutoff(d);
        else if (d->started && status == VM_EXIT_GUEST_CRASHED)
                note_crashed(d);
        domus_domain_stopped(d);
}

static void on_device_removed(DomusVm *vm, const char *id, gpointer opaque)
{
        domus_domain_note_device_removed(opaque, id);
}

static void on_device_error(DomusVm *vm, const char *id, const char *what, gpointer opaque)
{
        domus_domain_note_device_error(opaque, id, what);
}

static void on_balloon_changed(DomusVm *vm, uint64_t bytes, gpointer opaque)
{
        domus_domain_note_balloon(opaque, bytes);
}

static void on_tray_changed(DomusVm *vm, const char *id, bool open, gpointer opaque)
{
        domus_domain_note_tray(opaque, id, open);
}

static void on_port_opened(DomusVm *vm, const char *id, bool open, gpointer opaque)
{
        domus_domain_note_port(opaque, id, open);
}

static void on_block_threshold(DomusVm *vm, const char *id, uint64_t threshold, uint64_t excess, gpointer opaque)
{
        domus_domain_note_threshold(opaque, id, threshold, excess);
}

const DomusVmHandlers domus_domain_vm_handlers = {
        .block_threshold = on_block_threshold,
        .device_removed = on_device_removed,
        .device_error = on_device_error,
        .balloon_changed = on_balloon_changed,
        .tray_changed = on_tray_changed,
        .port_opened = on_port_opened,
        .state_changed = on_state_changed,
        .rebooted = on_rebooted,
        .exited = on_exited,
};
