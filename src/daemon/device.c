/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table of device kinds, and those that need nothing but a message. */

#include "daemon/device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "vmproto/vmproto.h"

/* --- Controllers, rng, balloon --- */

static DomusVmDevice *open_controller(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        const DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        DomusVmDevice *vm;

        if (device->controller.type == DOMUS_CONTROLLER_SCSI) {
                vm = domus_vm_device_new(VM_DRIVER_VIRTIO_SCSI, alias);
                if (device->controller.queues)
                        domus_vm_device_u(vm, VM_PROP_QUEUES, device->controller.queues);
                return vm;
        }
        return domus_vm_device_new(VM_DRIVER_VIRTIO_SERIAL, alias);
}

static int open_path(const char *path, int flags, GError **error)
{
        int fd = open(path, flags | O_CLOEXEC | O_NOCTTY);

        if (fd < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot open '%s': %s", path, g_strerror(errno));
        return fd;
}

static DomusVmDevice *open_rng(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        const DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        int fd = open_path(device->rng.path, O_RDONLY, error);
        DomusVmDevice *vm;

        if (fd < 0)
                return NULL;
        vm = domus_vm_device_new(VM_DRIVER_VIRTIO_RNG, alias);
        domus_vm_device_fd(vm, VM_PROP_FD, fd);
        if (device->rng.rate_bytes) {
                domus_vm_device_t(vm, VM_PROP_RATE_BYTES, device->rng.rate_bytes);
                domus_vm_device_u(vm, VM_PROP_RATE_PERIOD, device->rng.rate_period);
        }
        return vm;
}

static DomusVmDevice *open_balloon(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        const DomusBalloon *balloon = &domus_domain_def_balloon(def)->balloon;
        DomusVmDevice *vm = domus_vm_device_new(VM_DRIVER_VIRTIO_BALLOON, alias);

        domus_vm_device_bool(vm, VM_PROP_DEFLATE_ON_OOM, balloon->deflate_on_oom);
        domus_vm_device_bool(vm, VM_PROP_FREE_PAGE_REPORTING, balloon->free_page_reporting);
        domus_vm_device_u(vm, VM_PROP_STATS_INTERVAL, balloon->stats_period);
        domus_vm_device_t(vm, VM_PROP_TARGET, def->memory_current * 1024);
        return vm;
}

static void release_disk(DomusDomain *d, const DomusDevice *device)
{
        domus_device_release_image(d, device->alias);
}

/* --- The table --- */

static const struct {
        DomusVmDevice *(*open)(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error);
        void (*release)(DomusDomain *d, const DomusDevice *device); /* may be NULL */
} kinds[] = {
        [DOMUS_DEVICE_CONTROLLER] = { open_controller },
        [DOMUS_DEVICE_DISK] = { domus_device_open_disk, release_disk },
        [DOMUS_DEVICE_INTERFACE] = { domus_device_open_interface, domus_device_release_interface },
        [DOMUS_DEVICE_CHANNEL] = { domus_device_open_channel, domus_device_release_channel },
        [DOMUS_DEVICE_CONSOLE] = { domus_device_open_channel },
        [DOMUS_DEVICE_BALLOON] = { open_balloon },
        [DOMUS_DEVICE_RNG] = { open_rng },
};

/* Controllers that are there anyway, or that say that something is not, are nothing to the VM. */
static bool is_for_vm(const DomusDevice *device)
{
        return device->kind != DOMUS_DEVICE_CONTROLLER || device->controller.type == DOMUS_CONTROLLER_SCSI ||
               device->controller.type == DOMUS_CONTROLLER_VIRTIO_SERIAL;
}

DomusVmDevice *domus_device_open(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        const DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        DomusAddress address = device->address;
        unsigned boot = device->boot_order;
        DomusVmDevice *vm = kinds[device->kind].open(d, def, alias, error);

        if (vm && address.type == DOMUS_ADDRESS_PCI)
                domus_vm_device_u(vm, VM_DEV_SLOT, address.slot);
        if (vm && boot)
                domus_vm_device_u(vm, VM_PROP_BOOT_INDEX, boot);
        return vm;
}

void domus_device_when_ready(DomusDomain *d, const char *alias, off_t log_start, DomusQmpReply done, gpointer opaque)
{
        if (domus_domain_def_device_by_alias(d->live, alias)->kind == DOMUS_DEVICE_INTERFACE)
                domus_passt_when_ready(d, alias, done, opaque);
        else
                domus_qsd_when_ready(d, alias, log_start, done, opaque);
}

void domus_device_release(DomusDomain *d, const DomusDevice *device)
{
        if (kinds[device->kind].release)
                kinds[device->kind].release(d, device);
}

void domus_devices_release_all(DomusDomain *d)
{
        for (unsigned i = 0; d->live && i < d->live->devices->len; i++)
                domus_device_release(d, d->live->devices->pdata[i]);
}

/* --- All at once --- */

/* The aliases of what is to be opened, buses first; strings of their own, for opening changes the definition. */
static GPtrArray *list_aliases(const DomusDomainDef *def)
{
        GPtrArray *aliases = g_ptr_array_new_with_free_func(g_free);

        for (unsigned buses = 0; buses < 2; buses++)
                for (unsigned i = 0; i < def->devices->len; i++) {
                        const DomusDevice *device = def->devices->pdata[i];

                        if (is_for_vm(device) && (device->kind == DOMUS_DEVICE_CONTROLLER) == (buses == 0))
                                g_ptr_array_add(aliases, g_strdup(device->alias));
                }
        return aliases;
}

static void leave_out(DomusDomain *d, const char *alias, const GError *error)
{
        DomusDevice *disk = domus_domain_def_device_by_alias(d->live, alias);

        log_warning("domain '%s' starts without disk '%s': %s", d->name, disk->disk.target, error->message);
        domus_domain_def_detach(d->live, disk);
}

static bool open_one(DomusDomain *d, const char *alias, GPtrArray *to, GError **error)
{
        g_autoptr(GError) local = NULL;
        const DomusDevice *device = domus_domain_def_device_by_alias(d->live, alias);
        bool optional = device->kind == DOMUS_DEVICE_DISK && domus_device_disk_may_be_missing(device) && !device->disk.cdrom;
        g_autofree char *path = optional ? g_strdup(device->disk.path) : NULL;
        DomusVmDevice *vm = domus_device_open(d, d->live, alias, &local);

        if (vm) {
                g_ptr_array_add(to, vm);
                return true;
        }
        if (path && access(path, F_OK) < 0 && errno == ENOENT) {
                leave_out(d, alias, local);
                return true;
        }
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
}

GPtrArray *domus_devices_open_all(DomusDomain *d, GError **error)
{
        g_autoptr(GPtrArray) aliases = list_aliases(d->live);
        g_autoptr(GPtrArray) opened = domus_vm_devices_new();

        for (unsigned i = 0; i < aliases->len; i++) {
                if (open_one(d, aliases->pdata[i], opened, error))
                        continue;
                domus_devices_release_all(d);
                return NULL;
        }
        return g_steal_pointer(&opened);
}
