/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A disk with a partition table; its volumes are the partitions. */

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "storage/block.h"
#include "storage/disk.h"

static const char *device_of(const DomusPoolDef *def)
{
        return def->devices->pdata[0];
}

static void free_volume(gpointer p)
{
        domus_volume_def_free(p);
}

/* --- The table --- */

static bool device_size(const char *device, uint64_t *ret, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

        if (end < 0)
                return storage_fail_errno(error, errno, "cannot open the device '%s'", device);
        *ret = (uint64_t)end;
        return true;
}

static bool read_table(const StorageCancel *c, const DomusPoolDef *def, DiskTable *ret, uint64_t *ret_size, GError **error)
{
        const char *argv[] = { "sfdisk", "--json", "--", device_of(def), NULL };
        g_autofree char *json = NULL;

        return device_size(device_of(def), ret_size, error) && storage_run(c, argv, NULL, 0, &json, error) &&
               disk_parse_table(json, *ret_size, ret, error);
}

static void fill_state(const DiskTable *t, uint64_t size, DomusPoolState *ret)
{
        *ret = (DomusPoolState){ .capacity = size, .available = disk_free_bytes(t), .perms = { -1, -1, -1 } };
        for (guint i = 0; i < t->partitions->len; i++) {
                const DiskPartition *p = &g_array_index(t->partitions, DiskPartition, i);

                if (strcmp(disk_partition_format(p->type), "extended") != 0)
                        ret->allocation += p->end - p->start;
        }
}

static bool measure(const StorageCancel *c, const DomusPoolDef *def, DomusPoolState *ret, GError **error)
{
        uint64_t size;
        DiskTable t;

        if (!read_table(c, def, &t, &size, error))
                return false;
        fill_state(&t, size, ret);
        disk_table_clear(&t);
        return true;
}

static void fill_volume(const DomusPoolDef *def, const DiskPartition *p, DomusVolumeDef *vol)
{
        vol->type = DOMUS_VOLUME_BLOCK;
        g_free(vol->path);
        vol->path = storage_block_stable_path(def->path, p->node);
        g_free(vol->key);
        vol->key = g_strdup(vol->path);
        g_free(vol->format);
        vol->format = g_strdup(disk_partition_format(p->type));
        vol->capacity = vol->allocation = vol->physical = p->end - p->start;
        g_array_set_size(vol->extents, 0);
        domus_volume_def_add_extent(vol, device_of(def), p->start, p->end);
}

static bool scan(const StorageCancel *c, const DomusPoolDef *def, DomusRawNames *raw, DomusPoolScan *ret, GError **error)
{
        uint64_t size;
        DiskTable t;

        if (!read_table(c, def, &t, &size, error))
                return false;
        fill_state(&t, size, &ret->state);
        ret->volumes = g_ptr_array_new_with_free_func(free_volume);
        for (guint i = 0; i < t.partitions->len; i++) {
                const DiskPartition *p = &g_array_index(t.partitions, DiskPartition, i);
                g_autofree char *name = g_path_get_basename(p->node);
                DomusVolumeDef *vol = domus_volume_def_new(name);

                fill_volume(def, p, vol);
                g_ptr_array_add(ret->volumes, vol);
        }
        disk_table_clear(&t);
        return true;
}

/* --- The disk --- */

static bool run_script(const StorageCancel *c, const char *mode, const char *device, const char *script, GError **error)
{
        const char *argv[] = { "sh", "-c", "exec sfdisk --quiet --wipe never $1 -- \"$2\" <&3", "sfdisk", mode, device, NULL };
        int DOMUS_CLOSE_FD fd = memfd_create("sfdisk", MFD_CLOEXEC);

        if (fd < 0 || fd_write_all(fd, script, strlen(script)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return storage_fail_errno(error, errno, "cannot write a script for sfdisk");
        return storage_run(c, argv, &fd, 1, NULL, error);
}

/* Has the kernel know the partitions that the table names: not every kernel reads tables itself, and sfdisk(8) leaves it to them. */
static void tell_kernel(const StorageCancel *c, const char *device)
{
        const char *update[] = { "partx", "--update", "--", device, NULL }, *add[] = { "partx", "--add", "--", device, NULL };

        /* Neither is complete: the first leaves out partitions behind a missing number. They fail where nothing is to be done. */
        storage_run(c, update, NULL, 0, NULL, NULL);
        storage_run(c, add, NULL, 0, NULL, NULL);
}

static bool check(const StorageCancel *c, const DomusPoolDef *def, bool *ret, GError **error)
{
        *ret = access(device_of(def), F_OK) == 0;
        return true;
}

static bool start(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        uint64_t size;
        DiskTable t;
        bool ok;

        if (!read_table(c, def, &t, &size, error))
                return false;
        ok = strcmp(t.label, def->format) == 0 || storage_fail(error, DOMUS_ERROR_OPERATION_FAILED,
                                                          "device '%s' has a partition table of type '%s', not '%s'", device_of(def), t.label, def->format);
        disk_table_clear(&t);
        if (ok)
                tell_kernel(c, device_of(def));
        return ok;
}

static bool build(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error)
{
        const char *wipe[] = { "wipefs", "--all", "--", device_of(def), NULL };
        g_autofree char *script = g_strdup_printf("label: %s\n", def->format);

        if (flags & VIR_STORAGE_POOL_BUILD_OVERWRITE ? !storage_run(c, wipe, NULL, 0, NULL, error)
                                                     : !storage_block_check_empty(c, def, device_of(def), error))
                return false;
        return run_script(c, "", device_of(def), script, error);
}

/* The kernel's devices of the partitions go first: that fails where one is in use. */
static bool forget_partitions(const StorageCancel *c, const char *device, GError **error)
{
        const char *argv[] = { "partx", "--delete", "--", device, NULL };
        g_autoptr(GError) local = NULL;

        if (storage_run(c, argv, NULL, 0, NULL, &local) || !strstr(local->message, "busy"))
                return true; /* or it had none */
        tell_kernel(c, device);
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
}

static bool destroy(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error)
{
        const char *wipe[] = { "wipefs", "--all", "--", device_of(def), NULL };

        return forget_partitions(c, device_of(def), error) && storage_run(c, wipe, NULL, 0, NULL, error);
}

/* --- Volumes --- */

static bool check_request(const DomusPoolDef *def, const DiskTable *t, const DomusVolumeDef *vol, unsigned flags, GError **error)
{
        g_autofree char *expected = disk_partition_name(t->device, disk_free_number(t));

        if (strcmp(vol->name, expected) != 0)
                return storage_fail(error, DOMUS_ERROR_XML, "invalid partition name '%s', expected '%s'", vol->name, expected);
        if (vol->backing_path)
                return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "a backing store is not supported in a pool of type 'disk'");
        if (flags)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "a pool of type 'disk' knows neither metadata preallocation nor reflinks");
        return true;
}

static bool add_partition(const StorageCancel *c, const DomusPoolDef *def, const DiskTable *t, const DomusVolumeDef *vol, uint64_t *ret_start,
        GError **error)
{
        uint64_t bytes = ALIGN_UP(MAX(vol->capacity, 1), MiB(1));
        g_autofree char *script = NULL;

        if (!disk_find_gap(t, bytes, ret_start))
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED,
                        "no large enough free extent for volume '%s' on device '%s': %" G_GUINT64_FORMAT " bytes wanted", vol->name, device_of(def), bytes);
        script = g_strdup_printf("%u : start=%" G_GUINT64_FORMAT "KiB, size=%" G_GUINT64_FORMAT "KiB, type=%s\n", disk_free_number(t),
                *ret_start >> 10, bytes >> 10, vol->format && strcmp(vol->format, "linux-swap") == 0 ? "swap" : "linux");
        if (!run_script(c, "--append", device_of(def), script, error))
                return false;
        tell_kernel(c, device_of(def));
        return true;
}

static bool remove_volume(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, unsigned flags, GError **error)
{
        g_autofree char *base = g_path_get_basename(device_of(def));
        g_autofree char *number = g_strdup_printf("%u", disk_partition_number(base, vol->name));
        const char *argv[] = { "sfdisk", "--quiet", "--wipe", "never", "--delete", device_of(def), number, NULL };

        if (strcmp(number, "0") == 0)
                return storage_fail(error, DOMUS_ERROR_INTERNAL, "volume '%s' is no partition of '%s'", vol->name, device_of(def));
        if (!storage_run(c, argv, NULL, 0, NULL, error))
                return false;
        tell_kernel(c, device_of(def));
        return true;
}

static bool take_partition(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, uint64_t start, GError **error)
{
        uint64_t size;
        bool found = false, ok = false;
        DiskTable t;

        if (!read_table(c, def, &t, &size, error))
                return false;
        for (guint i = 0; i < t.partitions->len; i++) {
                const DiskPartition *p = &g_array_index(t.partitions, DiskPartition, i);

                if (p->start != start)
                        continue;
                found = true;
                ok = storage_block_wait(c, p->node, error);
                fill_volume(def, p, vol);
        }
        disk_table_clear(&t);
        return found ? ok : storage_fail(error, DOMUS_ERROR_INTERNAL, "sfdisk did not make volume '%s'", vol->name);
}

static bool create(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags, GError **error)
{
        uint64_t size, begin = 0;
        DiskTable t;
        bool ok;

        if (!read_table(c, def, &t, &size, error))
                return false;
        ok = check_request(def, &t, vol, flags, error) && add_partition(c, def, &t, vol, &begin, error);
        disk_table_clear(&t);
        if (!ok)
                return false;
        if (take_partition(c, def, vol, begin, error) && storage_block_set_owner(vol, error) && storage_block_fill(c, vol, source, error))
                return storage_block_update(c, def, vol, true, error);
        remove_volume(NULL, def, vol, 0, NULL);
        return false;
}

static const char *const programs[] = { "sfdisk", "partx", "blkid", "wipefs", NULL };

const DomusPoolBackend storage_backend_disk = {
        .type = DOMUS_POOL_DISK,
        .programs = programs,
        .needs_privilege = true,
        .check = check,
        .build = build,
        .start = start,
        .destroy = destroy,
        .scan = scan,
        .measure = measure,
        .create = create,
        .remove = remove_volume,
        .update = storage_block_update,
};
