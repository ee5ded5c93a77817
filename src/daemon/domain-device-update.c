/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changing a device in place: another disc in a drive, an interface's cable, network and limits, the balloon's statistics, the rate of an rng. */

#include <string.h>

#include "daemon/device.h"
#include "daemon/domlog.h"
#include "vmproto/vmproto.h"

#define SET_SECONDS 20

/* A guest that has locked its tray is asked to open it: how long it may take for that. */
#define TRAY_TRIES 12
#define TRAY_MSEC 500

typedef struct {
        char *xml;
        bool live, config;
        DomusDomainDef *changed;  /* the persistent definition to be */
        DomusDomainDef *live_def; /* the live one to be */
        char *alias;
        DomusVmDevice *properties; /* of a drive's medium: what is tried */
        unsigned tries;
        sd_event_source *retry;
        bool was_served, is_served; /* the old and the new medium, by a qemu-storage-daemon */
        off_t log_start;            /* of the domain's log, before the new medium was opened */
} Update;

static void update_free(gpointer p)
{
        Update *u = p;

        g_free(u->xml);
        g_free(u->alias);
        domus_vm_device_free(u->properties);
        sd_event_source_disable_unref(u->retry);
        domus_domain_def_free(u->changed);
        domus_domain_def_free(u->live_def);
        g_free(u);
}

static void finish_take(DomusDomainJob *job, GError *error)
{
        domus_domain_job_finish(job, error);
        g_clear_error(&error);
}

static void finish_update(DomusDomainJob *job)
{
        DomusDomain *d = job->domain;
        Update *u = job->data;
        GError *error = NULL;

        if (u->live_def) {
                /* The balloon may have changed while this was under way. */
                domus_domain_def_set_memory(u->live_def, d->live->memory_max, d->live->memory_current, NULL);
                domus_domain_def_free(d->live);
                d->live = g_steal_pointer(&u->live_def);
                domus_domain_save_status(d);
        }
        if (u->changed && !domus_domain_save_config(d, g_steal_pointer(&u->changed), &error)) {
                finish_take(job, error);
                return;
        }
        domus_domain_job_finish(job, NULL);
}

/* --- The VM's part --- */

/* The server of the medium that is not in the drive now. */
static void end_server(DomusDomainJob *job, bool changed)
{
        const Update *u = job->data;

        if (changed ? u->was_served : u->is_served)
                domus_qsd_stop(job->domain, u->alias);
}

static void on_set(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        const Update *u = job->data;
        g_autoptr(GError) own = error && u->is_served ? domus_qsd_explain(job->domain, u->alias, u->log_start, error) : NULL;

        end_server(job, !error);
        if (error)
                domus_domain_job_finish_call(job, own ? own : error);
        else
                finish_update(job);
}

void domus_domain_set_device(DomusDomain *d, const char *alias, const DomusVmDevice *properties, DomusVmReply reply, gpointer opaque)
{
        sd_bus_message *m = domus_vm_message(d->vm, VM_SET_DEVICE);

        if (m && (sd_bus_message_append(m, "s", alias) < 0 || domus_vm_device_append(properties, m) < 0))
                m = sd_bus_message_unref(m);
        domus_vm_call(d->vm, m, SET_SECONDS, reply, opaque);
}

/* --- A drive's medium --- */

static void on_medium(sd_bus_message *reply, const GError *error, gpointer opaque);

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
        DomusDomainJob *job = userdata;
        Update *u = job->data;

        if (domus_domain_job_requires_active(job))
                domus_domain_set_device(job->domain, u->alias, u->properties, on_medium, job);
        return 0;
}

static void on_medium(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        Update *u = job->data;

        if (error && error->code == DOMUS_ERROR_OPERATION_FAILED && ++u->tries < TRAY_TRIES && !job->job.interrupted) {
                u->retry = sd_event_source_disable_unref(u->retry);
                sd_event_add_time_relative(job->domain->manager->loop, &u->retry, CLOCK_MONOTONIC, TRAY_MSEC * UINT64_C(1000), 0, on_retry, job);
                return;
        }
        on_set(reply, error, job);
}

static bool same_but_medium(const DomusDevice *old, const DomusDevice *new, GError **error)
{
        const DomusDisk *a = &old->disk, *b = &new->disk;

        if (!a->cdrom || !b->cdrom || a->bus != b->bus)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED,
                        "only the medium of a CD-ROM drive can be changed while the domain runs, and disk '%s' is none", a->target);
        else if (g_strcmp0(a->serial, b->serial) != 0 || old->boot_order != new->boot_order)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "cannot modify the %s of a running domain's drive '%s'",
                        old->boot_order != new->boot_order ? "boot order" : "serial", a->target);
        else
                return true;
        return false;
}

/* The two servers would have one name. */
static bool may_exchange(const DomusDomain *d, const DomusDevice *old, const DomusDevice *new, GError **error)
{
        bool served = new->disk.protocol || g_strcmp0(new->disk.format, "raw") != 0;

        if (!served || !domus_qsd_serves(d, old->alias))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "the medium of drive '%s' has to be ejected before one of format '%s' is inserted",
                new->disk.target, new->disk.protocol ? new->disk.protocol : new->disk.format ? new->disk.format : "auto");
        return false;
}

/* The new medium's image is open; the VM is told when its server, if it has one, has it too. */
static void on_medium_ready(const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        const Update *u = job->data;

        if (error)
                on_set(NULL, error, job);
        else
                domus_domain_set_device(job->domain, u->alias, u->properties, on_medium, job);
}

static void update_disk(DomusDomainJob *job, const DomusDevice *old, DomusDevice *new)
{
        DomusDomain *d = job->domain;
        Update *u = job->data;
        DomusVmDevice *properties = u->properties = domus_vm_device_new(NULL, NULL);
        bool empty = !new->disk.path && !new->disk.volume && !new->disk.protocol;
        GError *error = NULL;

        if (!same_but_medium(old, new, &error) || (!empty && !may_exchange(d, old, new, &error))) {
                finish_take(job, error);
                return;
        }
        if (job->flags & VIR_DOMAIN_DEVICE_MODIFY_FORCE)
                domus_vm_device_bool(properties, VM_PROP_FORCE, true);
        u->was_served = domus_qsd_serves(d, u->alias);
        u->log_start = d->log_path ? domus_log_size(d->log_path) : 0;
        if (empty) {
                domus_vm_device_bool(properties, VM_PROP_EJECT, true);
                g_hash_table_remove(d->disk_paths, u->alias);
        } else if (!domus_device_open_image(d, u->live_def, u->alias, properties, &error)) {
                finish_take(job, error);
                return;
        }
        u->is_served = !empty && !u->was_served && domus_qsd_serves(d, u->alias);
        if (u->is_served)
                domus_qsd_when_ready(d, u->alias, u->log_start, on_medium_ready, job);
        else
                domus_domain_set_device(d, u->alias, properties, on_medium, job);
}

/* --- An interface --- */

static bool same_source(const DomusInterface *a, const DomusInterface *b)
{
        return a->type == b->type && g_strcmp0(a->network, b->network) == 0 && g_strcmp0(a->portgroup, b->portgroup) == 0 &&
               (a->type == DOMUS_INTERFACE_NETWORK || g_strcmp0(a->bridge, b->bridge) == 0) && g_strcmp0(a->dev, b->dev) == 0 &&
               g_strcmp0(a->mode, b->mode) == 0;
}

static bool same_addresses(const DomusInterface *a, const DomusInterface *b)
{
        return g_strcmp0(a->ip4, b->ip4) == 0 && g_strcmp0(a->ip6, b->ip6) == 0 && a->ip4_prefix == b->ip4_prefix && a->ip6_prefix == b->ip6_prefix;
}

static bool check_interface(const DomusDevice *old, const DomusDevice *new, GError **error)
{
        const DomusInterface *a = &old->interface, *b = &new->interface;
        const char *what = memcmp(a->mac, b->mac, sizeof(a->mac)) != 0     ? "MAC address" :
                           old->address.slot != new->address.slot          ? "PCI address" :
                           a->queues != b->queues                          ? "number of queues" :
                           a->mtu != b->mtu                                ? "MTU" :
                           b->target && g_strcmp0(a->target, b->target) != 0 ? "device name" :
                           a->isolated != b->isolated                      ? "isolation" :
                           g_strcmp0(a->forwards, b->forwards) != 0        ? "port forwards" :
                           !same_addresses(a, b)                           ? "addresses" :
                           old->boot_order != new->boot_order              ? "boot order" :
                                                                             NULL;

        if (!what)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "cannot modify the %s of a running domain's interface", what);
        return false;
}

/* ret stays as it is if the interface is where it was. */
static bool change_host_side(DomusDomain *d, const DomusInterface *old, const DomusInterface *new, DomusHookTap *ret, GError **error)
{
        const DomusDomainHooks *hooks = &d->manager->hooks;

        if (!same_source(old, new)) {
                if (!old->target || !hooks->move_tap || new->type == DOMUS_INTERFACE_USER || new->type == DOMUS_INTERFACE_ETHERNET ||
                        old->type == DOMUS_INTERFACE_ETHERNET) {
                        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED,
                                "cannot change the source of this interface while the domain runs");
                        return false;
                }
                if (!hooks->move_tap(hooks->net_opaque, old->target, d->uuid, d->name, new, ret, error))
                        return false;
        }
        if (!old->target)
                return true;
        if (old->link_down != new->link_down && hooks->set_link &&
                !hooks->set_link(hooks->net_opaque, old->target, !new->link_down, error))
                return false;
        if (!domus_bandwidth_equal(&old->bandwidth, &new->bandwidth) && hooks->set_bandwidth &&
                !hooks->set_bandwidth(hooks->net_opaque, old->target, &new->bandwidth, error))
                return false;
        return true;
}

static void update_interface(DomusDomainJob *job, const DomusDevice *old, DomusDevice *new)
{
        DomusDomain *d = job->domain;
        Update *u = job->data;
        g_autoptr(DomusVmDevice) properties = domus_vm_device_new(NULL, NULL);
        bool link_changes = old->interface.link_down != new->interface.link_down;
        DomusHookTap now = { 0 };
        GError *error = NULL;

        if (!check_interface(old, new, &error) || !change_host_side(d, &old->interface, &new->interface, &now, &error)) {
                domus_hook_tap_clear(&now);
                finish_take(job, error);
                return;
        }
        domus_vm_device_bool(properties, VM_PROP_LINK, !new->interface.link_down);
        if (now.device)
                domus_domain_def_set_interface_live(u->live_def, new, now.device, now.bridge, now.port_uuid);
        else
                domus_domain_def_set_interface_live(u->live_def, new, old->interface.target, old->interface.bridge, old->interface.port_uuid);
        domus_hook_tap_clear(&now);
        if (link_changes)
                domus_domain_set_device(d, u->alias, properties, on_set, job);
        else
                finish_update(job);
}

/* --- The balloon, rng, channels --- */

static bool check_same(bool same, const char *what, const DomusDevice *d, GError **error)
{
        if (!same)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "cannot modify the %s of device '%s' while the domain runs", what, d->alias);
        return same;
}

static void update_balloon(DomusDomainJob *job, const DomusDevice *old, DomusDevice *new)
{
        Update *u = job->data;
        g_autoptr(DomusVmDevice) properties = domus_vm_device_new(NULL, NULL);
        GError *error = NULL;

        if (!check_same(old->balloon.deflate_on_oom == new->balloon.deflate_on_oom, "autodeflate", old, &error) ||
                !check_same(old->balloon.free_page_reporting == new->balloon.free_page_reporting, "freePageReporting", old, &error) ||
                !check_same(old->address.slot == new->address.slot, "PCI address", old, &error)) {
                finish_take(job, error);
                return;
        }
        domus_vm_device_u(properties, VM_PROP_STATS_INTERVAL, new->balloon.stats_period);
        domus_domain_set_device(job->domain, u->alias, properties, on_set, job);
}

static void update_rng(DomusDomainJob *job, const DomusDevice *old, DomusDevice *new)
{
        Update *u = job->data;
        g_autoptr(DomusVmDevice) properties = domus_vm_device_new(NULL, NULL);
        GError *error = NULL;

        if (!check_same(strcmp(old->rng.path, new->rng.path) == 0, "backend", old, &error) ||
                !check_same(old->address.slot == new->address.slot, "PCI address", old, &error)) {
                finish_take(job, error);
                return;
        }
        domus_vm_device_t(properties, VM_PROP_RATE_BYTES, new->rng.rate_bytes);
        domus_vm_device_u(properties, VM_PROP_RATE_PERIOD, new->rng.rate_period);
        domus_domain_set_device(job->domain, u->alias, properties, on_set, job);
}

/* There is nothing of it that could be another, so that it stays as it is in the live definition. */
static void update_channel(DomusDomainJob *job, const DomusDevice *old, DomusDevice *new)
{
        Update *u = job->data;
        GError *error = NULL;

        if (!check_same(strcmp(old->channel.name, new->channel.name) == 0, "name", old, &error) ||
                !check_same(!new->channel.path || g_strcmp0(old->channel.path, new->channel.path) == 0, "source", old, &error) ||
                !check_same(old->address.controller == new->address.controller && old->address.port == new->address.port, "address", old, &error)) {
                finish_take(job, error);
                return;
        }
        g_clear_pointer(&u->live_def, domus_domain_def_free);
        finish_update(job);
}

/* --- All --- */

static const struct {
        DomusDeviceKind kind;
        void (*update)(DomusDomainJob *job, const DomusDevice *old, DomusDevice *new);
} updates[] = {
        { DOMUS_DEVICE_DISK, update_disk },
        { DOMUS_DEVICE_INTERFACE, update_interface },
        { DOMUS_DEVICE_BALLOON, update_balloon },
        { DOMUS_DEVICE_RNG, update_rng },
        { DOMUS_DEVICE_CHANNEL, update_channel },
};

static void update_live(DomusDomainJob *job)
{
        DomusDomain *d = job->domain;
        Update *u = job->data;
        GError *error = NULL;
        DomusDevice *new;
        const DomusDevice *old;

        u->live_def = domus_domain_def_copy(d->live);
        new = domus_domain_def_update(u->live_def, u->xml, &error);
        if (!new) {
                finish_take(job, error);
                return;
        }
        u->alias = g_strdup(new->alias);
        old = domus_domain_def_device_by_alias(d->live, u->alias);
        if (old && domus_device_equal(old, new)) {
                finish_update(job);
                return;
        }
        for (unsigned i = 0; old && i < G_N_ELEMENTS(updates); i++)
                if (updates[i].kind == new->kind) {
                        updates[i].update(job, old, new);
                        return;
                }
        domus_domain_job_fail(job, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a device <%s> cannot be updated while the domain runs", (const char *)new->node->name);
}

static void run_update(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        Update *u = job->data;
        GError *error = NULL;

        if (!domus_domain_resolve_impact(d, job->flags, &u->live, &u->config, &error)) {
                finish_take(job, error);
                return;
        }
        if (u->config) {
                u->changed = domus_domain_def_copy(d->config);
                if (!domus_domain_def_update(u->changed, u->xml, &error) ||
                        !domus_domain_settle_formats(d->manager, d, u->changed, &error)) {
                        finish_take(job, error);
                        return;
                }
        }
        if (u->live && domus_domain_job_requires_active(job))
                update_live(job);
        else if (!u->live)
                finish_update(job);
}

void domus_domain_update_device(DomusDomain *d, const char *xml, unsigned flags, DomusDone done, gpointer opaque)
{
        const unsigned known = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_DEVICE_MODIFY_FORCE;
        Update *u;

        if (flags & ~known) {
                domus_done_error(done, opaque, g_error_new(DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)", flags & ~known));
                return;
        }
        u = g_new0(Update, 1);
        u->xml = g_strdup(xml);
        domus_domain_submit_data(d, run_update, flags, u, update_free, done, opaque);
}
