/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Starting a domain: checks, process, handshake, configuration, start. */

#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/device.h"
#include "daemon/domain-boot.h"
#include "daemon/domlog.h"
#include "daemon/runstate.h"
#include "daemon/vmspawn.h"
#include "vmproto/vmproto.h"

/* Together the bound on a start, with that of the boot loader where there is one. Configure reads kernel and initrd; with servers of
 * images it waits for those. */
#define HELLO_SECONDS 8
#define CONFIGURE_SECONDS 15
#define CONFIGURE_SERVED_SECONDS 40
#define START_SECONDS 7
#define QUIT_SECONDS 3

/* --- Failure --- */

/* What was made before there was a process. */
static void undo_prepare(DomusDomain *d)
{
        g_clear_pointer(&d->launch, domus_launch_free);
        g_clear_pointer(&d->ttys, g_ptr_array_unref);
        domus_domain_clear_tables(d);
        g_clear_pointer(&d->live, domus_domain_def_free);
        g_clear_pointer(&d->log_path, g_free);
}

static void fail_early(DomusDomainJob *job, GError *error)
{
        DomusDomain *d = job->domain;
        g_autoptr(GError) own = error;

        undo_prepare(d);
        domus_domain_set_state(d, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
        if (!d->config)
                domus_manager_drop(d->manager, d);
        domus_domain_job_finish(job, own);
}

/* The process must be gone before the domain counts as stopped; then the job ends with this error. */
static void fail_late(DomusDomainJob *job, const GError *error)
{
        DomusDomain *d = job->domain;

        g_clear_error(&d->start_error);
        d->start_error = g_error_copy(error);
        g_prefix_error(&d->start_error, "cannot start domain '%s': ", d->name);
        if (error->code == DOMUS_ERROR_OPERATION_FAILED) /* the VM's own words: it still listens */
                domus_domain_stop(d, job, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED, QUIT_SECONDS, true);
        else
                domus_domain_kill(d, job, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
}

/* --- The conversation --- */

static void on_started(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusDomain *d = job->domain;

        if (d->started) { /* a signal has said so, and the guest may be gone again */
                domus_domain_job_finish(job, NULL);
                return;
        }
        if (error) {
                fail_late(job, error);
                return;
        }
        domus_domain_announce_start(d, job->flags & VIR_DOMAIN_START_PAUSED);
        domus_domain_job_finish(job, NULL);
}

static void on_served(const GError *error, gpointer opaque);

static void start_guest(DomusDomainJob *job)
{
        DomusDomain *d = job->domain;
        sd_bus_message *m;

        if (domus_passts_wait(d, on_served, job))
                return;
        m = domus_vm_message(d->vm, VM_START);
        if (m && sd_bus_message_append(m, "b", !!(job->flags & VIR_DOMAIN_START_PAUSED)) < 0)
                m = sd_bus_message_unref(m);
        domus_vm_call(d->vm, m, START_SECONDS, on_started, job);
}

static void on_served(const GError *error, gpointer opaque)
{
        if (error)
                fail_late(opaque, error);
        else
                start_guest(opaque);
}

static void on_configured(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusDomain *d = job->domain;

        g_clear_pointer(&d->launch, domus_launch_free);
        if (error) {
                g_autoptr(GError) own = domus_qsd_explain_any(d, d->log_devices, error);

                fail_late(job, own);
                return;
        }
        start_guest(job);
}

static void configure(DomusDomainJob *job)
{
        DomusDomain *d = job->domain;
        g_autoptr(GError) local = NULL;
        sd_bus_message *m;
        int r;

        m = domus_vm_message(d->vm, VM_CONFIGURE);
        r = domus_launch_append(d->launch, d->live, m);
        if (r >= 0) {
                domus_vm_call(d->vm, m, domus_qsd_serves_any(d) ? CONFIGURE_SERVED_SECONDS : CONFIGURE_SECONDS, on_configured, job);
                return;
        }
        sd_bus_message_unref(m);
        local = g_error_new(DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make the message: %s", g_strerror(-r));
        fail_late(job, local);
}

static void on_kernel_found(DomusBootKernel *kernel, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusLaunch *l = job->domain->launch;

        if (error) {
                fail_late(job, error);
                return;
        }
        l->kernel_fd = fd_steal(&kernel->kernel_fd);
        l->initrd_fd = fd_steal(&kernel->initrd_fd);
        l->cmdline = g_steal_pointer(&kernel->cmdline);
        configure(job);
}

/* The first call carries no descriptors: sd-bus would wait for the end of authentication before sending some. */
static void on_hello(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;

        if (error)
                fail_late(job, error);
        else if (job->domain->launch->boot_loader)
                domus_boot_start(job->domain, on_kernel_found, job);
        else
                configure(job);
}

/* --- Before it --- */

static void set_ttys(DomusDomain *d)
{
        d->ttys = g_ptr_array_new_with_free_func(g_free);
        domus_domain_def_assign_aliases(d->live);
        for (unsigned i = 0; i < d->launch->ptys->len; i++) {
                const char *path = g_array_index(d->launch->ptys, DomusPty, i).path;

                g_ptr_array_add(d->ttys, g_strdup(path));
                domus_domain_def_set_tty(d->live, i, path);
        }
}

static bool make_run_dir(const char *dir, GError **error)
{
        int DOMUS_CLOSE_FD fd = domus_vm_connect(dir);
        int r;

        if (fd >= 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED,
                        "a VM of this domain still runs and listens in '%s'; its record is lost", dir);
                return false;
        }
        domus_run_state_remove(dir); /* of a VM that is gone */
        r = file_make_dirs(dir, 0700);
        if (r < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot create directory '%s': %s", dir, g_strerror(-r));
        return r == 0;
}

static bool make_alive(DomusLaunch *l, const char *dir, GError **error)
{
        int r = domus_vm_make_alive(dir);

        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make '%s/" VM_ALIVE "': %s", dir, g_strerror(-r));
                return false;
        }
        l->alive_fd = r;
        return true;
}

static bool spawn(DomusDomain *d, const char *dir, int log_fd, GError **error)
{
        const DomusManager *m = d->manager;
        DomusVmLaunch launch = {
                .binary = m->paths.vmm_path, .dir = dir,        .log_fd = log_fd, .alive_fd = d->launch->alive_fd,
                .drop = m->drop_rights,      .uid = m->vmm_uid, .gid = m->vmm_gid,
        };

        domus_log_note(d->log_path, "starting up: domus %s, engine %s", DOMUS_VERSION, d->launch->engine);
        d->log_start = domus_log_size(d->log_path);
        d->vm = domus_vm_spawn(m->loop, &launch, &domus_domain_vm_handlers, d, error);
        return d->vm;
}

/* Everything up to a process that runs and is on record. */
static bool prepare(DomusDomain *d, DomusDomainDef *def, GError **error)
{
        g_autofree char *dir = domus_domain_run_dir(d);
        int DOMUS_CLOSE_FD log_fd = -1;

        d->live = def;
        domus_domain_make_tables(d);
        d->launch = domus_launch_new(def, d->manager->host, d->manager->paths.vmm_path, error);
        if (!d->launch)
                return false;
        set_ttys(d);
        if (!make_run_dir(dir, error) || !make_alive(d->launch, dir, error))
                return false;
        log_fd = domus_log_open(d->manager->paths.log_dir, d->name, &d->log_path, error);
        if (log_fd < 0)
                return false;
        d->log_devices = domus_log_size(d->log_path);
        d->launch->devices = domus_devices_open_all(d, error);
        if (d->launch->devices && spawn(d, dir, log_fd, error))
                return true;
        if (d->launch->devices)
                domus_devices_release_all(d);
        domus_run_state_remove(dir);
        return false;
}

/* A VM that is not on record would be out of reach for the next daemon. */
static bool become_active(DomusDomain *d, GError **error)
{
        d->id = d->manager->next_id++;
        d->started = d->guest_stopped = d->reboot_wanted = d->updated = false;
        d->stop_reason = VIR_DOMAIN_SHUTOFF_CRASHED;
        d->stop_detail = VIR_DOMAIN_EVENT_STOPPED_CRASHED;
        domus_domain_set_state(d, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP);
        return domus_domain_write_status(d, error);
}

void domus_domain_run_start(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        GError *error = NULL;
        DomusDomainDef *def;

        if (domus_domain_is_active(d)) {
                domus_domain_job_fail(job, DOMUS_ERROR_OPERATION_INVALID, "domain is already running");
                return;
        }
        if (!job->def && !d->config) {
                domus_domain_job_fail(job, DOMUS_ERROR_NO_DOMAIN, "domain '%s' is no longer defined", d->name);
                return;
        }
        def = job->def ? g_steal_pointer(&job->def) : domus_domain_def_copy(d->config);
        if (!prepare(d, def, &error)) {
                fail_early(job, error);
                return;
        }
        if (become_active(d, &error)) {
                domus_vm_call_simple(d->vm, VM_GET_STATUS, HELLO_SECONDS, on_hello, job);
                return;
        }
        fail_late(job, error);
        g_error_free(error);
}

void domus_domain_start(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque)
{
        const unsigned known = VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY | VIR_DOMAIN_START_BYPASS_CACHE |
                               VIR_DOMAIN_START_FORCE_BOOT | VIR_DOMAIN_START_RESET_NVRAM;

        if (flags & ~known)
                domus_done_error(done, opaque, g_error_new(DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)",
                                                       flags & ~known));
        else
                domus_domain_submit(d, domus_domain_run_start, false, flags, NULL, done, opaque);
}
