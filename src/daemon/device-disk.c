/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Disks: finding the image, its format, opening and locking it. */

#include "daemon/device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmproto/vmproto.h"

/* --- Where the image is --- */

const char *domus_device_disk_path(const DomusDomain *d, const DomusDevice *disk)
{
        if (disk->disk.type == DOMUS_DISK_VOLUME)
                return disk->alias && d->disk_paths ? g_hash_table_lookup(d->disk_paths, disk->alias) : NULL;
        return disk->disk.path;
}

bool domus_device_disk_may_be_missing(const DomusDevice *disk)
{
        return disk->disk.startup_policy && strcmp(disk->disk.startup_policy, "mandatory") != 0;
}

static bool has_medium(const DomusDisk *disk)
{
        return disk->path || disk->volume || disk->protocol;
}

/* *ret: where the volume of a pool is, and what the pool knows of it; of other disks the path alone. domus_hook_volume_clear. */
static bool locate(const DomusManager *m, const DomusDisk *disk, DomusHookVolume *ret, GError **error)
{
        *ret = (DomusHookVolume){ .path = g_strdup(disk->path) };
        if (disk->type != DOMUS_DISK_VOLUME)
                return true;
        if (!m->hooks.resolve_volume) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "there are no storage pools here: disk '%s' cannot be found",
                        disk->target);
                return false;
        }
        if (m->hooks.resolve_volume(m->hooks.opaque, disk->pool, disk->volume, ret, error))
                return true;
        g_prefix_error(error, "disk '%s': ", disk->target);
        return false;
}

/* The disk, as what the volume is found to be; borrows from both. */
static DomusDisk place(const DomusDisk *disk, const DomusHookVolume *v)
{
        DomusDisk found = *disk;

        if (disk->type != DOMUS_DISK_VOLUME)
                return found;
        found.type = v->unit ? DOMUS_DISK_NETWORK : v->block ? DOMUS_DISK_BLOCK : DOMUS_DISK_FILE;
        found.path = v->path;
        if (v->unit) {
                found.protocol = "iscsi";
                found.name = v->unit;
                found.host = v->host;
                found.port = v->port;
                found.initiator = v->initiator;
        }
        return found;
}

bool domus_device_settle_format(const DomusManager *m, DomusDomainDef *def, const char *target, const char *path, const char *known,
        GError **error)
{
        DomusDevice *d = domus_domain_def_disk(def, target);
        g_autofree char *format = NULL;

        if (!d || d->disk.format)
                return true;
        if (known)
                format = g_strdup(known);
        else if (m->hooks.probe_format && path)
                format = m->hooks.probe_format(m->hooks.opaque, path, error);
        else
                format = g_strdup("raw");
        if (!format)
                return false;
        if (!domus_disk_format_known(format)) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "disk '%s': images of format '%s' are not supported", target,
                        format);
                return false;
        }
        domus_domain_def_set_disk_format(def, d, format);
        return true;
}

/* The persistent definition learns the format too, so that no later start looks at what the guest has written. */
static bool settle_format(DomusDomain *d, DomusDomainDef *def, const char *alias, const char *path, const char *known, GError **error)
{
        const DomusDisk *disk = &domus_domain_def_device_by_alias(def, alias)->disk;
        g_autofree char *target = g_strdup(disk->target);
        g_autofree char *format = NULL;
        g_autoptr(DomusDomainDef) config = NULL;
        const DomusDevice *same;

        if (disk->format)
                return true;
        if (!domus_device_settle_format(d->manager, def, target, path, known, error))
                return false;
        format = g_strdup(domus_domain_def_disk(def, target)->disk.format);
        same = d->config ? domus_domain_def_disk(d->config, target) : NULL;
        if (!same || same->disk.format || g_strcmp0(same->disk.path, path) != 0)
                return true;
        config = domus_domain_def_copy(d->config);
        domus_domain_def_set_disk_format(config, domus_domain_def_disk(config, target), format);
        return domus_domain_save_config(d, g_steal_pointer(&config), error);
}

/* --- Opening --- */

static bool fail_open(const DomusDisk *disk, const char *path, int code, GError **error)
{
        bool direct = code == EINVAL && domus_disk_cache_is_direct(disk->cache);

        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM,
                "cannot open image '%s' of disk '%s': %s%s%s%s", path, disk->target, g_strerror(code),
                direct ? ": its file system does not do direct I/O, which cache='" : "", direct ? disk->cache : "", direct ? "' needs" : "");
        return false;
}

/* Nonblocking only until it is known to be no FIFO. */
static bool check_file(int fd, const DomusDisk *disk, const char *path, GError **error)
{
        int flags = fcntl(fd, F_GETFL);
        struct stat st;

        if (fstat(fd, &st) < 0 || flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                return fail_open(disk, path, errno, error);
        if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "image '%s' of disk '%s' is neither a regular file nor a block device",
                path, disk->target);
        return false;
}

static int open_path(const DomusDisk *disk, const char *path, int flags, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

        if (fd < 0)
                fail_open(disk, path, errno, error);
        else if (check_file(fd, disk, path, error))
                return fd_steal(&fd);
        return -1;
}

static int open_image(const DomusDisk *disk, const char *path, GError **error)
{
        return open_path(disk, path, (disk->readonly ? O_RDONLY : O_RDWR) | (domus_disk_cache_is_direct(disk->cache) ? O_DIRECT : 0), error);
}

int domus_device_open_to_read(DomusDomain *d, const DomusDevice *disk, GError **error)
{
        const char *path = domus_device_disk_path(d, disk);

        if (path && g_strcmp0(disk->disk.format, "raw") == 0)
                return open_path(&disk->disk, path, O_RDONLY, error);
        return domus_qsd_connect_nbd(d, disk, error);
}

/* --- Locking --- */

static bool same_file(const char *path, const struct stat *st)
{
        struct stat other;

        if (stat(path, &other) < 0)
                return false;
        if (S_ISBLK(st->st_mode))
                return S_ISBLK(other.st_mode) && st->st_rdev == other.st_rdev;
        return st->st_dev == other.st_dev && st->st_ino == other.st_ino;
}

static const char *disk_user(const DomusDomain *other, const struct stat *st)
{
        for (unsigned i = 0; other->live && i < other->live->devices->len; i++) {
                const DomusDevice *device = other->live->devices->pdata[i];
                const char *path = device->kind == DOMUS_DEVICE_DISK ? domus_device_disk_path(other, device) : NULL;

                if (path && same_file(path, st))
                        return other->name;
        }
        return NULL;
}

/* For the message: a domain of ours that has the image. */
static const char *find_user(const DomusDomain *d, int fd)
{
        GHashTableIter iter;
        gpointer other;
        struct stat st;
        const char *name = NULL;

        if (fstat(fd, &st) < 0)
                return NULL;
        g_hash_table_iter_init(&iter, d->manager->by_uuid);
        while (!name && g_hash_table_iter_next(&iter, NULL, &other))
                name = other != d ? disk_user(other, &st) : NULL;
        return name;
}

/* The lock belongs to the open file, so the VM has it with the descriptor, for as long as it has the disk, whatever becomes of the daemon. It covers the
 * bytes that QEMU's tools lock (100 to 299), so that they refuse the image as well. Writers exclude everybody, unless all share. */
static bool lock_image(const DomusDomain *d, int fd, const DomusDisk *disk, const char *path, GError **error)
{
        struct flock lock = { .l_type = disk->readonly || disk->shareable ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
        const char *user;

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return true;
        if (errno != EAGAIN && errno != EACCES) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot lock image '%s' of disk '%s': %s", path, disk->target,
                        g_strerror(errno));
                return false;
        }
        user = find_user(d, fd);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "image '%s' of disk '%s' is in use by %s%s%s", path, disk->target,
                user ? "domain '" : "another process", user ? user : "", user ? "'" : "");
        return false;
}

/* --- Images on servers, which have no locks --- */

static bool is_exclusive(const DomusDisk *disk)
{
        return !disk->readonly && !disk->shareable;
}

static bool same_remote(const DomusDisk *a, const DomusDisk *b)
{
        if (a->type != b->type)
                return false;
        if (a->type == DOMUS_DISK_VOLUME)
                return g_strcmp0(a->pool, b->pool) == 0 && g_strcmp0(a->volume, b->volume) == 0;
        return a->protocol && g_strcmp0(a->protocol, b->protocol) == 0 && g_strcmp0(a->name, b->name) == 0 && g_strcmp0(a->host, b->host) == 0 &&
               g_strcmp0(a->port, b->port) == 0 && g_strcmp0(a->socket, b->socket) == 0;
}

/* Does the domain use the image, in a way that excludes this use? alias: the disk itself, in its own domain. */
static bool excludes(const DomusDomain *other, const DomusDisk *disk, const char *alias)
{
        for (unsigned i = 0; other->live && i < other->live->devices->len; i++) {
                const DomusDevice *device = other->live->devices->pdata[i];

                if (device->kind == DOMUS_DEVICE_DISK && g_strcmp0(device->alias, alias) != 0 && same_remote(&device->disk, disk) &&
                        (is_exclusive(&device->disk) || is_exclusive(disk)))
                        return true;
        }
        return false;
}

/* As lock_image, among the domains of this daemon. */
static bool check_remote(const DomusDomain *d, const char *alias, const DomusDisk *disk, GError **error)
{
        GHashTableIter iter;
        gpointer p;

        g_hash_table_iter_init(&iter, d->manager->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                const DomusDomain *other = p;

                if (!excludes(other, disk, other == d ? alias : NULL))
                        continue;
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "the image of disk '%s' is in use by domain '%s'", disk->target, other->name);
                return false;
        }
        return true;
}

/* --- Properties --- */

void domus_device_put_iotune(DomusVmDevice *to, const DomusIotune *t)
{
        static const char *const names[DOMUS_RATES] = {
                [DOMUS_RATE_TOTAL_BYTES] = VM_IOTUNE_TOTAL_BYTES, [DOMUS_RATE_READ_BYTES] = VM_IOTUNE_READ_BYTES,
                [DOMUS_RATE_WRITE_BYTES] = VM_IOTUNE_WRITE_BYTES, [DOMUS_RATE_TOTAL_IOPS] = VM_IOTUNE_TOTAL_IOPS,
                [DOMUS_RATE_READ_IOPS] = VM_IOTUNE_READ_IOPS,     [DOMUS_RATE_WRITE_IOPS] = VM_IOTUNE_WRITE_IOPS,
        };

        domus_vm_device_numbers(to, VM_PROP_IOTUNE);
        for (unsigned i = 0; i < DOMUS_RATES; i++) {
                g_autofree char *max = g_strconcat(names[i], VM_IOTUNE_MAX, NULL);
                g_autofree char *length = g_strconcat(names[i], VM_IOTUNE_MAX_LENGTH, NULL);

                domus_vm_device_number(to, names[i], t->rates[i].rate);
                domus_vm_device_number(to, max, t->rates[i].max);
                domus_vm_device_number(to, length, t->rates[i].max_length);
        }
        domus_vm_device_number(to, VM_IOTUNE_SIZE_IOPS, t->size_iops);
}

static bool is_limited(const DomusIotune *t)
{
        for (unsigned i = 0; i < DOMUS_RATES; i++)
                if (t->rates[i].rate)
                        return true;
        return false;
}

static void put_properties(DomusVmDevice *to, const DomusDisk *disk)
{
        if (!disk->cdrom)
                domus_vm_device_bool(to, VM_PROP_READONLY, disk->readonly);
        domus_vm_device_string(to, VM_PROP_CACHE, disk->cache && strcmp(disk->cache, "default") != 0 ? disk->cache : NULL);
        domus_vm_device_string(to, VM_PROP_IO, disk->io);
        domus_vm_device_bool(to, VM_PROP_DISCARD, g_strcmp0(disk->discard, "unmap") == 0);
        domus_vm_device_string(to, VM_PROP_DETECT_ZEROES, disk->detect_zeroes);
        domus_vm_device_string(to, VM_PROP_RERROR, disk->rerror_policy);
        domus_vm_device_string(to, VM_PROP_WERROR, g_strcmp0(disk->error_policy, "enospace") == 0 ? "enospc" : disk->error_policy);
        if (disk->queues)
                domus_vm_device_u(to, VM_PROP_QUEUES, disk->queues);
        if (disk->logical_block)
                domus_vm_device_u(to, VM_PROP_LOGICAL_BLOCK, disk->logical_block);
        if (disk->physical_block)
                domus_vm_device_u(to, VM_PROP_PHYSICAL_BLOCK, disk->physical_block);
        if (is_limited(&disk->iotune))
                domus_device_put_iotune(to, &disk->iotune);
}

static DomusVmDevice *describe(const DomusDomainDef *def, const DomusDevice *d)
{
        const DomusDevice *bus;
        DomusVmDevice *vm;

        if (d->disk.bus == DOMUS_DISK_BUS_VIRTIO) {
                vm = domus_vm_device_new(VM_DRIVER_VIRTIO_BLK, d->alias);
        } else {
                bus = domus_domain_def_controller(def, DOMUS_CONTROLLER_SCSI, d->address.controller);
                vm = domus_vm_device_new(d->disk.cdrom ? VM_DRIVER_SCSI_CD : VM_DRIVER_SCSI_DISK, d->alias);
                domus_vm_device_string(vm, VM_PROP_BUS, bus->alias);
                domus_vm_device_u(vm, VM_PROP_TARGET, d->address.target);
                domus_vm_device_u(vm, VM_PROP_LUN, d->address.unit);
        }
        domus_vm_device_string(vm, VM_PROP_SERIAL, d->disk.serial);
        return vm;
}

/* --- Together --- */

static bool open_raw(DomusDomain *d, const DomusDisk *disk, const char *path, DomusVmDevice *to, GError **error)
{
        int DOMUS_CLOSE_FD fd = open_image(disk, path, error);

        if (fd < 0 || !lock_image(d, fd, disk, path, error))
                return false;
        if (d->manager->hooks.note_raw)
                d->manager->hooks.note_raw(d->manager->hooks.opaque, path);
        domus_vm_device_fd(to, VM_PROP_FD, fd_steal(&fd));
        return true;
}

static bool open_other(DomusDomain *d, const char *alias, const DomusDisk *disk, DomusVmDevice *to, GError **error)
{
        int fd = domus_qsd_start(d, alias, disk, error);

        if (fd < 0)
                return false;
        domus_vm_device_fd(to, VM_PROP_VHOST_USER, fd);
        if (domus_qsd_wants_one_request(disk))
                domus_vm_device_u(to, VM_PROP_REQUESTS, 1);
        return true;
}

static bool open_located(DomusDomain *d, DomusDomainDef *def, const char *alias, DomusHookVolume *v, DomusVmDevice *to, GError **error)
{
        const DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        DomusDisk disk;
        bool ok;

        if (v->path && access(v->path, F_OK) < 0)
                return fail_open(&device->disk, v->path, errno, error);
        if ((v->path || v->unit) && !settle_format(d, def, alias, v->path, v->format, error))
                return false;
        device = domus_domain_def_device_by_alias(def, alias);
        if (!v->path && !check_remote(d, alias, &device->disk, error))
                return false;
        disk = place(&device->disk, v);
        ok = v->path && strcmp(disk.format, "raw") == 0 ? open_raw(d, &disk, v->path, to, error) : open_other(d, alias, &disk, to, error);
        if (ok && device->disk.type == DOMUS_DISK_VOLUME && v->path)
                g_hash_table_insert(d->disk_paths, g_strdup(alias), g_steal_pointer(&v->path));
        return ok;
}

bool domus_device_open_image(DomusDomain *d, DomusDomainDef *def, const char *alias, DomusVmDevice *to, GError **error)
{
        const DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        DomusHookVolume v;
        bool ok;

        if (!has_medium(&device->disk))
                return true;
        if (!locate(d->manager, &device->disk, &v, error))
                return false;
        ok = open_located(d, def, alias, &v, to, error);
        domus_hook_volume_clear(&v);
        return ok;
}

/* A drive may start empty where its disc may be missing. */
static bool open_drive(DomusDomain *d, DomusDomainDef *def, const char *alias, DomusVmDevice *to, GError **error)
{
        const DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        g_autofree char *path = device->disk.cdrom && domus_device_disk_may_be_missing(device) ? g_strdup(device->disk.path) : NULL;
        g_autoptr(GError) local = NULL;

        if (domus_device_open_image(d, def, alias, to, &local))
                return true;
        if (path && access(path, F_OK) < 0 && errno == ENOENT) {
                domus_domain_def_clear_medium(def, domus_domain_def_device_by_alias(def, alias));
                return true;
        }
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
}

DomusVmDevice *domus_device_open_disk(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        g_autoptr(DomusVmDevice) vm = describe(def, domus_domain_def_device_by_alias(def, alias));
        const DomusDevice *device;

        if (!open_drive(d, def, alias, vm, error))
                return NULL;
        device = domus_domain_def_device_by_alias(def, alias);
        if (has_medium(&device->disk)) /* all of that is said of an image */
                put_properties(vm, &device->disk);
        return g_steal_pointer(&vm);
}

void domus_device_release_image(DomusDomain *d, const char *alias)
{
        if (d->disk_paths)
                g_hash_table_remove(d->disk_paths, alias);
        domus_qsd_stop(d, alias);
}
