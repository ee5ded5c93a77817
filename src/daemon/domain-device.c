/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Attaching and detaching devices. A device that is plugged into a running guest is in the live definition from the moment on at which it is sent
 * to the VM, and out of it again once the VM refuses it or the guest has let go of it. */

#include <string.h>

#include "base/log.h"
#include "daemon/device.h"
#include "daemon/domlog.h"
#include "vmproto/vmproto.h"

#define PLUG_SECONDS 20
#define REMOVAL_SECONDS 5 /* how long a detach waits for the guest; the guest may take longer */

/* One operation. */
typedef struct {
        char *xml;          /* the client's, normalized when attaching */
        char *alias;        /* detach by alias: instead of xml */
        bool live, config;
        DomusDomainDef *changed; /* what the persistent definition will be */
        GPtrArray *sent;    /* attach: char *: aliases of the devices to plug in, buses first */
        unsigned next;      /* the next of them to be opened */
        GPtrArray *devices; /* DomusVmDevice *: those before it, until the VM has them */
        off_t log_start;    /* of the domain's log, when the first was opened */
} Change;

static void change_free(gpointer p)
{
        Change *c = p;

        g_free(c->xml);
        g_free(c->alias);
        domus_domain_def_free(c->changed);
        if (c->sent)
                g_ptr_array_unref(c->sent);
        if (c->devices)
                g_ptr_array_unref(c->devices);
        g_free(c);
}

static void finish_take(DomusDomainJob *job, GError *error)
{
        domus_domain_job_finish(job, error);
        g_clear_error(&error);
}

/* Stores the persistent part, and ends the job. */
static void finish_change(DomusDomainJob *job)
{
        Change *c = job->data;
        GError *error = NULL;

        if (c->changed && !domus_domain_save_config(job->domain, g_steal_pointer(&c->changed), &error)) {
                finish_take(job, error);
                return;
        }
        domus_domain_job_finish(job, NULL);
}

static bool check_flags(unsigned flags, unsigned known, GError **error)
{
        known |= VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG;
        if (flags & ~known)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)", flags & ~known);
        return !(flags & ~known);
}

/* --- Attaching --- */

/* Those of the live definition that known, a set of aliases, does not have; buses first. */
static GPtrArray *list_new(const DomusDomainDef *def, GHashTable *known)
{
        GPtrArray *list = g_ptr_array_new_with_free_func(g_free);

        for (unsigned buses = 0; buses < 2; buses++)
                for (unsigned i = 0; i < def->devices->len; i++) {
                        const DomusDevice *d = def->devices->pdata[i];

                        if ((d->kind == DOMUS_DEVICE_CONTROLLER) == (buses == 0) && !g_hash_table_contains(known, d->alias))
                                g_ptr_array_add(list, g_strdup(d->alias));
                }
        return list;
}

static GHashTable *known_aliases(const DomusDomainDef *def)
{
        GHashTable *known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

        for (unsigned i = 0; i < def->devices->len; i++)
                g_hash_table_add(known, g_strdup(((DomusDevice *)def->devices->pdata[i])->alias));
        return known;
}

/* Of what is not in the VM, nothing stays in the definition. */
static void take_back(DomusDomain *d, const char *alias)
{
        DomusDevice *device = d->live ? domus_domain_def_device_by_alias(d->live, alias) : NULL;

        if (!device)
                return;
        domus_device_release(d, device);
        domus_domain_def_detach(d->live, device);
}

static void fail_attach(DomusDomainJob *job, const GError *error)
{
        DomusDomain *d = job->domain;
        Change *c = job->data;

        for (unsigned i = c->sent->len; i-- > 0;)
                take_back(d, c->sent->pdata[i]);
        domus_domain_save_status(d);
        domus_domain_job_finish_call(job, error);
}

static void on_plugged(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusDomain *d = job->domain;
        Change *c = job->data;

        if (error) {
                g_autoptr(GError) own = domus_qsd_explain(d, c->sent->pdata[c->sent->len - 1], c->log_start, error);

                fail_attach(job, own);
                return;
        }
        domus_domain_save_status(d);
        for (unsigned i = 0; i < c->sent->len; i++)
                domus_domain_emit(d, DOMUS_EVENT_DEVICE_ADDED, 0, c->sent->pdata[i]);
        finish_change(job);
}

/* All or none: the guest sees nothing of a bus whose device is refused. */
static void plug(DomusDomainJob *job)
{
        Change *c = job->data;
        g_autoptr(GPtrArray) devices = g_steal_pointer(&c->devices);
        sd_bus_message *m = domus_vm_message(job->domain->vm, VM_ADD_DEVICES);

        if (m && domus_vm_devices_append(devices, m) < 0)
                m = sd_bus_message_unref(m);
        domus_vm_call(job->domain->vm, m, PLUG_SECONDS, on_plugged, job);
}

static void open_next(DomusDomainJob *job);

static void on_ready(const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        Change *c = job->data;

        if (error) {
                fail_attach(job, error);
                return;
        }
        c->next++;
        open_next(job);
}

/* The VM, and with it the guest, would wait for a server that is not there: so all of them are waited for before. */
static void open_next(DomusDomainJob *job)
{
        Change *c = job->data;
        DomusDomain *d = job->domain;
        g_autoptr(GError) error = NULL;
        DomusVmDevice *device;

        if (c->next == c->sent->len) {
                plug(job);
                return;
        }
        device = domus_device_open(d, d->live, c->sent->pdata[c->next], &error);
        if (!device) {
                fail_attach(job, error);
                return;
        }
        g_ptr_array_add(c->devices, device);
        domus_device_when_ready(d, c->sent->pdata[c->next], c->log_start, on_ready, job);
}

static void attach_live(DomusDomainJob *job)
{
        DomusDomain *d = job->domain;
        Change *c = job->data;
        g_autoptr(GHashTable) known = known_aliases(d->live);
        GError *error = NULL;

        if (!domus_domain_def_attach(d->live, c->xml, &error)) {
                finish_take(job, error);
                return;
        }
        domus_domain_def_assign_aliases(d->live);
        c->sent = list_new(d->live, known);
        c->devices = domus_vm_devices_new();
        c->log_start = d->log_path ? domus_log_size(d->log_path) : 0;
        open_next(job);
}

static void run_attach(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        Change *c = job->data;
        GError *error = NULL;

        if (!domus_domain_resolve_impact(d, job->flags, &c->live, &c->config, &error)) {
                finish_take(job, error);
                return;
        }
        if (c->config) {
                c->changed = domus_domain_def_copy(d->config);
                if (!domus_domain_def_attach(c->changed, c->xml, &error) || !domus_domain_settle_formats(d->manager, d, c->changed, &error)) {
                        finish_take(job, error);
                        return;
                }
        }
        if (c->live && domus_domain_job_requires_active(job))
                attach_live(job);
        else if (!c->live)
                finish_change(job);
}

void domus_domain_attach_device(DomusDomain *d, const char *xml, unsigned flags, DomusDone done, gpointer opaque)
{
        Change *c = g_new0(Change, 1);
        GError *error = NULL;

        if (check_flags(flags, 0, &error))
                c->xml = domus_device_normalize(xml, &error);
        if (c->xml) {
                domus_domain_submit_data(d, run_attach, flags, c, change_free, done, opaque);
                return;
        }
        change_free(c);
        domus_done_error(done, opaque, error);
}

/* --- Detaching --- */

static DomusDevice *find(const DomusDomainDef *def, const Change *c, GError **error)
{
        DomusDevice *device;

        if (c->xml)
                return domus_domain_def_find(def, c->xml, error);
        device = domus_domain_def_device_by_alias(def, c->alias);
        if (!device)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_DEVICE_MISSING, "no device found with alias %s", c->alias);
        return device;
}

static bool in_use(const DomusDomainDef *def, const DomusDevice *controller)
{
        DomusAddressType type = controller->controller.type == DOMUS_CONTROLLER_SCSI ? DOMUS_ADDRESS_DRIVE : DOMUS_ADDRESS_VIRTIO_SERIAL;

        for (unsigned i = 0; i < def->devices->len; i++) {
                const DomusDevice *d = def->devices->pdata[i];

                if (d->address.type == type && d->address.controller == controller->controller.index)
                        return true;
        }
        return false;
}

static bool check_detach(const DomusDomainDef *def, const DomusDevice *device, GError **error)
{
        if (device->kind != DOMUS_DEVICE_CONTROLLER)
                return true;
        if (device->address.type != DOMUS_ADDRESS_PCI)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "this controller cannot be detached");
        else if (in_use(def, device))
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "device cannot be detached: device is busy");
        else
                return true;
        return false;
}

static void end_removal(DomusDomain *d, const GError *error)
{
        DomusDomainJob *job = g_steal_pointer(&d->removal_waiter);

        d->removal_timer = sd_event_source_disable_unref(d->removal_timer);
        g_clear_pointer(&d->removal_alias, g_free);
        if (job && error)
                domus_domain_job_finish(job, error);
        else if (job)
                finish_change(job);
}

void domus_domain_end_removal(DomusDomain *d)
{
        end_removal(d, NULL);
}

/* Not a failure: the guest has been asked, and may still do it. */
static int on_removal_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        end_removal(userdata, NULL);
        return 0;
}

void domus_domain_note_device_removed(DomusDomain *d, const char *alias)
{
        DomusDevice *device = d->live ? domus_domain_def_device_by_alias(d->live, alias) : NULL;
        g_autofree char *name = g_strdup(alias); /* alias may be the device's own */

        if (!device)
                return;
        domus_device_release(d, device);
        domus_domain_def_detach(d->live, device);
        g_hash_table_remove(d->disk_errors, name);
        domus_domain_save_status(d);
        domus_domain_emit(d, DOMUS_EVENT_DEVICE_REMOVED, 0, name);
        if (g_strcmp0(d->removal_alias, name) == 0)
                end_removal(d, NULL);
}

static void on_asked(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusDomain *d = job->domain;

        if (d->removal_waiter != job) /* it was quicker than its answer */
                return;
        if (error) {
                domus_domain_emit(d, DOMUS_EVENT_DEVICE_REMOVAL_FAILED, 0, d->removal_alias);
                end_removal(d, error);
                return;
        }
        sd_event_add_time_relative(d->manager->loop, &d->removal_timer, CLOCK_MONOTONIC, REMOVAL_SECONDS * UINT64_C(1000000), 0,
                on_removal_timeout, d);
}

static void detach_live(DomusDomainJob *job)
{
        DomusDomain *d = job->domain;
        GError *error = NULL;
        const DomusDevice *device = find(d->live, job->data, &error);
        sd_bus_message *m;

        if (!device || !check_detach(d->live, device, &error)) {
                finish_take(job, error);
                return;
        }
        d->removal_waiter = job;
        d->removal_alias = g_strdup(device->alias);
        m = domus_vm_message(d->vm, VM_REMOVE_DEVICE);
        if (m && sd_bus_message_append(m, "s", d->removal_alias) < 0)
                m = sd_bus_message_unref(m);
        domus_vm_call(d->vm, m, PLUG_SECONDS, on_asked, job);
}

static bool detach_config(DomusDomainJob *job, GError **error)
{
        Change *c = job->data;
        DomusDevice *device;

        c->changed = domus_domain_def_copy(job->domain->config);
        device = find(c->changed, c, error);
        if (!device || !check_detach(c->changed, device, error))
                return false;
        domus_domain_def_detach(c->changed, device);
        return true;
}

static void run_detach(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        Change *c = job->data;
        GError *error = NULL;

        if (!domus_domain_resolve_impact(job->domain, job->flags, &c->live, &c->config, &error) ||
                (c->config && !detach_config(job, &error))) {
                finish_take(job, error);
                return;
        }
        if (c->live && domus_domain_job_requires_active(job))
                detach_live(job);
        else if (!c->live)
                finish_change(job);
}

static void submit_detach(DomusDomain *d, const char *xml, const char *alias, unsigned flags, DomusDone done, gpointer opaque)
{
        Change *c;
        GError *error = NULL;

        if (!check_flags(flags, 0, &error)) {
                domus_done_error(done, opaque, error);
                return;
        }
        c = g_new0(Change, 1);
        c->xml = g_strdup(xml);
        c->alias = g_strdup(alias);
        domus_domain_submit_data(d, run_detach, flags, c, change_free, done, opaque);
}

void domus_domain_detach_device(DomusDomain *d, const char *xml, unsigned flags, DomusDone done, gpointer opaque)
{
        submit_detach(d, xml, NULL, flags, done, opaque);
}

void domus_domain_detach_alias(DomusDomain *d, const char *alias, unsigned flags, DomusDone done, gpointer opaque)
{
        submit_detach(d, NULL, alias, flags, done, opaque);
}
