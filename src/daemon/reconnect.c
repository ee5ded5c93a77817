/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Finding the VMs of an earlier daemon again. */

#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/device.h"
#include "daemon/domain-private.h"
#include "model/domain-device.h"
#include "daemon/runstate.h"
#include "daemon/vmspawn.h"
#include "vmproto/vmproto.h"

#define STATUS_SECONDS 10

/* --- What the VM says --- */

static bool read_status(sd_bus_message *m, const char **ret_state, const char **ret_reason)
{
        const char *key, *type;

        if (sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
                return false;
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                const char **to = NULL;

                if (sd_bus_message_read(m, "s", &key) < 0 || sd_bus_message_peek_type(m, NULL, &type) < 0)
                        return false;
                if (strcmp(key, VM_STATUS_STATE) == 0)
                        to = ret_state;
                else if (strcmp(key, VM_STATUS_REASON) == 0)
                        to = ret_reason;
                if (to && strcmp(type, "s") == 0 ? sd_bus_message_read(m, "v", "s", to) < 0 : sd_bus_message_skip(m, "v") < 0)
                        return false;
                if (sd_bus_message_exit_container(m) < 0)
                        return false;
        }
        return *ret_state;
}

static void on_status(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusDomain *d = job->domain;
        const char *state = NULL, *reason = "";

        if (!error && !read_status(reply, &state, &reason))
                log_warning("domain '%s': the VM's status is malformed", d->name);
        if (error)
                log_warning("domain '%s' runs, but does not answer: %s", d->name, error->message);
        if (state && strcmp(state, VM_STATE_NEW) == 0) { /* nobody is left who would start it */
                domus_domain_kill(d, job, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
                return;
        }
        if (state) {
                d->started = true;
                domus_domain_note_state(d, state, reason);
        }
        domus_domain_job_finish(job, NULL);
}

static void run_reconnect(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;

        if (job->domain->vm)
                domus_vm_call_simple(job->domain->vm, VM_GET_STATUS, STATUS_SECONDS, on_status, job);
        else
                domus_domain_job_finish(job, NULL);
}

/* --- What the record says --- */

static void restore(DomusDomain *d, const DomusRunState *s, DomusDomainDef *live)
{
        const DomusDevice *device;

        d->live = live;
        d->id = s->id;
        d->started = s->started;
        d->reboot_wanted = s->reboot_wanted;
        d->updated = s->updated && d->config;
        d->guest_stopped = s->state == VIR_DOMAIN_SHUTDOWN || s->state == VIR_DOMAIN_CRASHED;
        d->log_path = g_strdup(s->log_path);
        d->ttys = g_ptr_array_new_with_free_func(g_free);
        for (unsigned i = 0; s->ttys[i]; i++)
                g_ptr_array_add(d->ttys, g_strdup(s->ttys[i]));
        domus_domain_make_tables(d);
        for (unsigned i = 0; (device = domus_domain_def_device(live, DOMUS_DEVICE_INTERFACE, i)); i++)
                g_hash_table_add(d->taps, g_strdup(device->alias));
        for (unsigned i = 0; s->disks[i] && s->disks[i + 1]; i += 2)
                g_hash_table_insert(d->disk_paths, g_strdup(s->disks[i]), g_strdup(s->disks[i + 1]));
        d->stop_reason = VIR_DOMAIN_SHUTOFF_CRASHED;
        d->stop_detail = VIR_DOMAIN_EVENT_STOPPED_CRASHED;
        domus_domain_set_state(d, s->state, s->reason);
        d->manager->next_id = MAX(d->manager->next_id, s->id + 1);
}

/* While nobody watched, the guest may have powered off or the process may have died. */
static void restore_gone(DomusDomain *d, int state)
{
        bool shut_down = state == VIR_DOMAIN_SHUTDOWN, crashed = state == VIR_DOMAIN_CRASHED;

        d->stop_reason = shut_down ? VIR_DOMAIN_SHUTOFF_SHUTDOWN :
                         crashed   ? VIR_DOMAIN_SHUTOFF_CRASHED :
                                     VIR_DOMAIN_SHUTOFF_UNKNOWN;
        d->stop_detail = shut_down ? VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN :
                         crashed   ? VIR_DOMAIN_EVENT_STOPPED_CRASHED :
                                     VIR_DOMAIN_EVENT_STOPPED_FAILED;
        domus_domain_stopped(d);
}

static DomusDomain *domain_of(DomusManager *m, const DomusDomainDef *live, GError **error)
{
        DomusDomain *d;

        if (!domus_manager_match(m, live, &d, error))
                return NULL;
        if (!d)
                d = domus_manager_add(m, live);
        return d;
}

static bool reconnect(DomusManager *m, const char *dir, GError **error)
{
        g_autoptr(DomusDomainDef) live = NULL;
        g_autoptr(GError) gone = NULL;
        DomusRunState s;
        DomusDomain *d;

        if (!domus_run_state_load(dir, &s, error))
                return false;
        live = domus_domain_def_parse(s.xml, DOMUS_DEF_LIVE, error);
        d = live ? domain_of(m, live, error) : NULL;
        if (d) {
                restore(d, &s, g_steal_pointer(&live));
                d->vm = domus_vm_attach(m->loop, dir, s.pid, s.start_time, &domus_domain_vm_handlers, d, &gone);
                if (d->vm) {
                        domus_qsd_listen_again(d);
                        domus_domain_submit(d, run_reconnect, false, 0, NULL, NULL, NULL);
                } else {
                        restore_gone(d, s.state);
                }
                if (d->vm && s.autodestroy) /* its owner was connected to the earlier daemon */
                        domus_domain_destroy(d, 0, NULL, NULL);
        }
        domus_run_state_clear(&s);
        return d;
}

/* Without a record, a VM that lives is left alone; a start of its domain will refuse to make a second one. */
static void give_up(const char *dir, const GError *error)
{
        int fd = domus_vm_connect(dir);

        log_error("%s: %s", fd >= 0 ? "a VM runs, but is out of reach" : "removing what a VM left behind", error->message);
        if (fd < 0)
                domus_run_state_remove(dir);
        fd_close(fd);
}

void domus_manager_reconnect(DomusManager *m)
{
        g_autofree char *vms = g_build_filename(m->paths.run_dir, "vm", NULL);
        g_autoptr(GDir) entries = g_dir_open(vms, 0, NULL);

        for (const char *name; entries && (name = g_dir_read_name(entries));) {
                g_autofree char *dir = g_build_filename(vms, name, NULL);
                g_autoptr(GError) error = NULL;

                if (!reconnect(m, dir, &error))
                        give_up(dir, error);
        }
}
