/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Settings of single devices: limits of disks and interfaces, the size of an image, the balloon. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/device.h"
#include "vmproto/vmproto.h"

/* A change that the VM is told of first, then the definitions. */
typedef struct {
        char *name;               /* the disk's or interface's */
        DomusIotune iotune;
        unsigned groups;          /* DOMUS_IOTUNE_*: which values of iotune count */
        uint64_t size;            /* bytes */
        DomusBandwidth bandwidth;
        unsigned period;          /* s */
        uint64_t kib;
        bool live, config;
} Setting;

static void setting_free(gpointer p)
{
        Setting *s = p;

        g_free(s->name);
        g_free(s);
}

static void finish_take(DomusDomainJob *job, GError *error)
{
        domus_domain_job_finish(job, error);
        g_clear_error(&error);
}

static DomusDevice *find_disk(const DomusDomainDef *def, const char *name, GError **error)
{
        DomusDevice *d = domus_domain_def_disk(def, name);

        if (!d)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "disk '%s' was not found in the domain config", name);
        return d;
}

static bool resolve(DomusDomainJob *job, GError **error)
{
        Setting *s = job->data;

        return domus_domain_resolve_impact(job->domain, job->flags, &s->live, &s->config, error);
}

/* --- Limits of a disk --- */

/* As libvirt has it: what is not named of a group that is set is no limit any more, other groups stay. */
static void merge(const Setting *s, const DomusIotune *old, DomusIotune *ret)
{
        *ret = s->iotune;
        for (unsigned i = 0; i < DOMUS_RATES; i++) {
                bool bytes = i < DOMUS_RATE_TOTAL_IOPS;

                if (!(s->groups & (bytes ? DOMUS_IOTUNE_BYTES : DOMUS_IOTUNE_IOPS)))
                        ret->rates[i].rate = old->rates[i].rate;
                if (!(s->groups & (bytes ? DOMUS_IOTUNE_BYTES_MAX : DOMUS_IOTUNE_IOPS_MAX)))
                        ret->rates[i].max = ret->rates[i].rate ? old->rates[i].max : 0;
                if (!(s->groups & (bytes ? DOMUS_IOTUNE_BYTES_MAX_LENGTH : DOMUS_IOTUNE_IOPS_MAX_LENGTH)))
                        ret->rates[i].max_length = ret->rates[i].max ? old->rates[i].max_length : 0;
        }
        if (!(s->groups & DOMUS_IOTUNE_SIZE))
                ret->size_iops = old->size_iops;
}

static void iotune_config(DomusDomainJob *job)
{
        DomusDomain *d = job->domain;
        const Setting *s = job->data;
        g_autoptr(DomusDomainDef) def = NULL;
        GError *error = NULL;
        DomusDevice *disk;
        DomusIotune t;

        if (s->config) {
                def = domus_domain_def_copy(d->config);
                disk = find_disk(def, s->name, &error);
                if (disk) {
                        merge(s, &disk->disk.iotune, &t);
                        if (domus_iotune_check(&t, &error)) {
                                domus_domain_def_set_iotune(def, disk, &t);
                                domus_domain_save_config(d, g_steal_pointer(&def), &error);
                        }
                }
        }
        finish_take(job, error);
}

static void on_iotune(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusDomain *d = job->domain;
        const Setting *s = job->data;
        DomusDevice *disk = d->live ? domus_domain_def_disk(d->live, s->name) : NULL;
        DomusIotune t;

        if (error || !disk) {
                domus_domain_job_finish_call(job, error);
                return;
        }
        merge(s, &disk->disk.iotune, &t);
        domus_domain_def_set_iotune(d->live, disk, &t);
        domus_domain_save_status(d);
        iotune_config(job);
}

static void run_iotune(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        const Setting *s = job->data;
        g_autoptr(DomusVmDevice) properties = domus_vm_device_new(NULL, NULL);
        GError *error = NULL;
        const DomusDevice *disk = NULL;
        DomusIotune t;

        if (!resolve(job, &error) || (s->config && !find_disk(d->config, s->name, &error)) ||
                (s->live && !(disk = find_disk(d->live, s->name, &error)))) {
                finish_take(job, error);
                return;
        }
        if (!s->live) {
                iotune_config(job);
                return;
        }
        merge(s, &disk->disk.iotune, &t);
        if (!domus_iotune_check(&t, &error)) {
                finish_take(job, error);
                return;
        }
        domus_device_put_iotune(properties, &t);
        domus_domain_set_device(d, disk->alias, properties, on_iotune, job);
}

void domus_domain_set_iotune(DomusDomain *d, const char *disk, const DomusIotune *iotune, unsigned groups, unsigned flags, DomusDone done,
        gpointer opaque)
{
        Setting *s = g_new0(Setting, 1);

        *s = (Setting){ .name = g_strdup(disk), .iotune = *iotune, .groups = groups };
        domus_domain_submit_data(d, run_iotune, flags, s, setting_free, done, opaque);
}

/* --- One property of a running disk --- */

static void on_set(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        domus_domain_job_finish_call(opaque, error);
}

/* Tells the VM one property of the disk, and ends the job with its answer. */
static void set_number(DomusDomainJob *job, const DomusDevice *disk, const char *property, uint64_t value)
{
        g_autoptr(DomusVmDevice) properties = domus_vm_device_new(NULL, NULL);

        domus_vm_device_t(properties, property, value);
        domus_domain_set_device(job->domain, disk->alias, properties, on_set, job);
}

/* --- The size of an image --- */

/* A file is made longer or shorter; of a device the guest gets to know the size that it has got. */
static bool resize_image(const char *path, uint64_t size, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        off_t end;

        if (fd < 0 || fstat(fd, &st) < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot open '%s': %s", path, g_strerror(errno));
        else if (S_ISREG(st.st_mode) && ftruncate(fd, (off_t)size) < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot resize '%s': %s", path, g_strerror(errno));
        else if (S_ISBLK(st.st_mode) && ((end = lseek(fd, 0, SEEK_END)) < 0 || (uint64_t)end != size))
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG,
                        "'%s' has %lld bytes: a block device's size can only be changed where it comes from", path, (long long)end);
        else
                return true;
        return false;
}

static bool may_resize(const DomusDevice *disk, GError **error)
{
        const char *what = disk->disk.cdrom                         ? "the disc of a CD-ROM drive" :
                           disk->disk.readonly                      ? "a read-only disk" :
                           disk->disk.type == DOMUS_DISK_NETWORK    ? "a network disk" :
                                                                      NULL;

        if (what)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "%s ('%s') cannot be resized while the domain runs", what,
                        disk->disk.target);
        return !what;
}

/* A server's image has the size now; the VM cannot find that out by itself. */
static void on_resized(const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        const Setting *s = job->data;
        const DomusDevice *disk = !error && job->domain->live ? domus_domain_def_disk(job->domain->live, s->name) : NULL;

        if (disk)
                set_number(job, disk, VM_PROP_SIZE, s->size);
        else
                domus_domain_job_finish(job, error);
}

static void run_resize(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        const Setting *s = job->data;
        const DomusDevice *disk;
        GError *error = NULL;

        if (!domus_domain_job_requires_active(job))
                return;
        disk = find_disk(d->live, s->name, &error);
        if (!disk || !may_resize(disk, &error))
                finish_take(job, error);
        else if (domus_qsd_serves(d, disk->alias))
                domus_qsd_resize(d, disk->alias, s->size, on_resized, job);
        else if (resize_image(domus_device_disk_path(d, disk), s->size, &error))
                set_number(job, disk, VM_PROP_SIZE, 0);
        else
                finish_take(job, error);
}

void domus_domain_block_resize(DomusDomain *d, const char *disk, uint64_t bytes, DomusDone done, gpointer opaque)
{
        Setting *s = g_new0(Setting, 1);

        *s = (Setting){ .name = g_strdup(disk), .size = bytes };
        if (bytes == 0 || bytes % 512 || bytes > INT64_MAX) {
                setting_free(s);
                domus_done_error(done, opaque, g_error_new(DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "the size must be a multiple of 512 bytes, and not 0"));
                return;
        }
        domus_domain_submit_data(d, run_resize, 0, s, setting_free, done, opaque);
}

/* --- A threshold for writes --- */

static void on_threshold_set(const GError *error, gpointer opaque)
{
        domus_domain_job_finish(opaque, error);
}

/* Of the file or device: for an image that a server writes, the server sees those writes. */
static void run_threshold(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        const Setting *s = job->data;
        const DomusDevice *disk;
        GError *error = NULL;

        if (!domus_domain_job_requires_active(job))
                return;
        disk = find_disk(job->domain->live, s->name, &error);
        if (!disk)
                finish_take(job, error);
        else if (domus_qsd_serves(job->domain, disk->alias))
                domus_qsd_set_threshold(job->domain, disk->alias, s->size, on_threshold_set, job);
        else
                set_number(job, disk, VM_PROP_THRESHOLD, s->size);
}

void domus_domain_set_threshold(DomusDomain *d, const char *disk, uint64_t bytes, DomusDone done, gpointer opaque)
{
        Setting *s = g_new0(Setting, 1);

        *s = (Setting){ .name = g_strdup(disk), .size = bytes };
        domus_domain_submit_data(d, run_threshold, 0, s, setting_free, done, opaque);
}

/* --- Limits of an interface --- */

static DomusDevice *find_interface(const DomusDomainDef *def, const char *name, GError **error)
{
        DomusDevice *d = domus_domain_def_interface(def, name);

        if (!d)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "cannot find interface '%s'", name);
        return d;
}

static bool limit_live(DomusDomain *d, const Setting *s, GError **error)
{
        const DomusDomainHooks *hooks = &d->manager->hooks;
        g_autoptr(DomusDomainDef) def = domus_domain_def_copy(d->live);
        DomusDevice *interface = find_interface(def, s->name, error);

        if (!interface)
                return false;
        if (!interface->interface.target || !hooks->set_bandwidth) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "the interface has no device on the host");
                return false;
        }
        if (!hooks->set_bandwidth(hooks->net_opaque, interface->interface.target, &s->bandwidth, error))
                return false;
        domus_domain_def_set_bandwidth(def, interface, &s->bandwidth);
        domus_domain_def_free(d->live);
        d->live = g_steal_pointer(&def);
        domus_domain_save_status(d);
        return true;
}

static bool limit_config(DomusDomain *d, const Setting *s, GError **error)
{
        g_autoptr(DomusDomainDef) def = domus_domain_def_copy(d->config);
        DomusDevice *interface = find_interface(def, s->name, error);

        if (!interface)
                return false;
        domus_domain_def_set_bandwidth(def, interface, &s->bandwidth);
        return domus_domain_save_config(d, g_steal_pointer(&def), error);
}

static void run_bandwidth(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        const Setting *s = job->data;
        GError *error = NULL;

        /* Nothing is changed if one of the definitions does not have it. */
        if (resolve(job, &error) && (!s->config || find_interface(job->domain->config, s->name, &error)) && (!s->live || limit_live(job->domain, s, &error)) && s->config)
                limit_config(job->domain, s, &error);
        finish_take(job, error);
}

void domus_domain_set_bandwidth(DomusDomain *d, const char *interface, const DomusBandwidth *bandwidth, unsigned flags, DomusDone done, gpointer opaque)
{
        Setting *s = g_new0(Setting, 1);

        *s = (Setting){ .name = g_strdup(interface), .bandwidth = *bandwidth };
        domus_domain_submit_data(d, run_bandwidth, flags, s, setting_free, done, opaque);
}

/* --- The balloon --- */

static const DomusDevice *require_balloon(const DomusDomainDef *def, GError **error)
{
        const DomusDevice *balloon = domus_domain_def_balloon(def);

        if (!balloon)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "the domain has no memory balloon");
        return balloon;
}

static void on_period(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        const Setting *s = job->data;

        if (!error && job->domain->live) {
                domus_domain_def_set_stats_period(job->domain->live, s->period);
                domus_domain_save_status(job->domain);
        }
        domus_domain_job_finish_call(job, error);
}

static bool period_config(DomusDomain *d, unsigned period, GError **error)
{
        g_autoptr(DomusDomainDef) def = domus_domain_def_copy(d->config);

        if (!require_balloon(def, error))
                return false;
        domus_domain_def_set_stats_period(def, period);
        return domus_domain_save_config(d, g_steal_pointer(&def), error);
}

static void run_period(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        const Setting *s = job->data;
        g_autoptr(DomusVmDevice) properties = domus_vm_device_new(NULL, NULL);
        const DomusDevice *balloon = NULL;
        GError *error = NULL;

        if (!resolve(job, &error) || (s->live && !(balloon = require_balloon(d->live, &error))) ||
                (s->config && !period_config(d, s->period, &error)) || !s->live) {
                finish_take(job, error);
                return;
        }
        domus_vm_device_u(properties, VM_PROP_STATS_INTERVAL, s->period);
        domus_domain_set_device(d, balloon->alias, properties, on_period, job);
}

void domus_domain_set_stats_period(DomusDomain *d, int seconds, unsigned flags, DomusDone done, gpointer opaque)
{
        Setting *s;

        if (seconds < 0 || seconds > 86400) {
                domus_done_error(done, opaque, g_error_new(DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "invalid value for collection period"));
                return;
        }
        s = g_new0(Setting, 1);
        s->period = (unsigned)seconds;
        domus_domain_submit_data(d, run_period, flags, s, setting_free, done, opaque);
}

/* What the guest gives back comes as BalloonChanged; what it shall have is noted at once in the persistent definition only. */
static void run_balloon(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        const Setting *s = job->data;
        g_autoptr(DomusVmDevice) properties = NULL;
        const DomusDevice *balloon;
        GError *error = NULL;

        if (!domus_domain_job_requires_active(job))
                return;
        balloon = require_balloon(d->live, &error);
        if (balloon && s->kib > d->live->memory_max)
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "cannot set memory higher than max memory");
        if (error) {
                finish_take(job, error);
                return;
        }
        properties = domus_vm_device_new(NULL, NULL);
        domus_vm_device_t(properties, VM_PROP_TARGET, s->kib * 1024);
        domus_domain_set_device(d, balloon->alias, properties, on_set, job);
}

void domus_domain_set_balloon(DomusDomain *d, uint64_t kib, DomusDone done, gpointer opaque)
{
        Setting *s = g_new0(Setting, 1);

        s->kib = kib;
        domus_domain_submit_data(d, run_balloon, 0, s, setting_free, done, opaque);
}
