/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A volume group of LVM; its volumes are logical volumes. They always have all their space: a logical volume that runs out of it is lost. */

#include <errno.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <unistd.h>

#include "storage/block.h"
#include "storage/logical.h"

static void free_volume(gpointer p)
{
        domus_volume_def_free(p);
}

/* --- Reports --- */

static bool report(const StorageCancel *c, const char *program, const char *fields, const char *what, char **ret, GError **error)
{
        const char *argv[] = { program, "--reportformat", "json", "--units", "b", "--nosuffix", "--options", fields, what, NULL };

        return storage_run(c, argv, NULL, 0, ret, error);
}

static bool measure(const StorageCancel *c, const DomusPoolDef *def, DomusPoolState *ret, GError **error)
{
        g_autofree char *json = NULL;

        return report(c, "vgs", LOGICAL_VG_FIELDS, def->source_name, &json, error) && logical_parse_vgs(json, ret, error);
}

static bool scan(const StorageCancel *c, const DomusPoolDef *def, DomusRawNames *raw, DomusPoolScan *ret, GError **error)
{
        g_autofree char *json = NULL;

        if (!measure(c, def, &ret->state, error) || !report(c, "lvs", LOGICAL_LV_FIELDS, def->source_name, &json, error))
                return false;
        ret->volumes = g_ptr_array_new_with_free_func(free_volume);
        if (!logical_parse_lvs(def, json, ret->volumes, error)) {
                storage_scan_clear(ret);
                return false;
        }
        for (guint i = 0; i < ret->volumes->len; i++)
                storage_block_update(c, def, ret->volumes->pdata[i], true, NULL); /* times and owner, where the device is there */
        return true;
}

static bool find(const StorageCancel *c, const char *host, GString *out, GError **error)
{
        g_autofree char *json = NULL;

        return report(c, "pvs", LOGICAL_PV_FIELDS, NULL, &json, error) && logical_parse_pvs(json, out, error);
}

/* --- The group --- */

static bool activate(const StorageCancel *c, const DomusPoolDef *def, bool on, GError **error)
{
        const char *argv[] = { "vgchange", on ? "-aly" : "-aln", def->source_name, NULL };

        return storage_run(c, argv, NULL, 0, NULL, error);
}

static bool check(const StorageCancel *c, const DomusPoolDef *def, bool *ret, GError **error)
{
        DomusPoolState state;

        *ret = measure(c, def, &state, NULL);
        return true;
}

static bool start(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        DomusPoolState state;

        return measure(c, def, &state, error) && activate(c, def, true, error);
}

/* Of a group that somebody has removed, nothing is left to be stopped. */
static bool stop(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        g_autoptr(GError) local = NULL;

        if (activate(c, def, false, &local) || strstr(local->message, "not found"))
                return true;
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
}

static bool make_physical(const StorageCancel *c, const DomusPoolDef *def, const char *device, bool overwrite, GError **error)
{
        const char *wipe[] = { "wipefs", "--all", "--", device, NULL };
        const char *argv[] = { "pvcreate", "--yes", device, NULL };

        if (overwrite ? !storage_run(c, wipe, NULL, 0, NULL, error) : !storage_block_check_empty(c, def, device, error))
                return false;
        return storage_run(c, argv, NULL, 0, NULL, error);
}

static void remove_physical(const StorageCancel *c, const DomusPoolDef *def, guint n)
{
        for (guint i = 0; i < n; i++) {
                const char *argv[] = { "pvremove", "--yes", def->devices->pdata[i], NULL };

                storage_run(c, argv, NULL, 0, NULL, NULL);
        }
}

static bool build(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error)
{
        g_autoptr(GPtrArray) argv = g_ptr_array_new();

        if (!def->devices->len)
                return storage_fail(error, DOMUS_ERROR_XML, "pool '%s' names no device to build a volume group of", def->name);
        g_ptr_array_add(argv, (gpointer) "vgcreate");
        g_ptr_array_add(argv, def->source_name);
        for (guint i = 0; i < def->devices->len; i++) {
                if (!make_physical(c, def, def->devices->pdata[i], flags & VIR_STORAGE_POOL_BUILD_OVERWRITE, error)) {
                        remove_physical(c, def, i);
                        return false;
                }
                g_ptr_array_add(argv, def->devices->pdata[i]);
        }
        g_ptr_array_add(argv, NULL);
        if (storage_run(c, (const char *const *)argv->pdata, NULL, 0, NULL, error))
                return true;
        remove_physical(c, def, def->devices->len);
        return false;
}

static bool destroy(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error)
{
        const char *argv[] = { "vgremove", "--force", "--yes", def->source_name, NULL };

        if (!storage_run(c, argv, NULL, 0, NULL, error))
                return false;
        remove_physical(c, def, def->devices->len);
        return true;
}

/* --- Volumes --- */

static char *full_name(const DomusPoolDef *def, const DomusVolumeDef *vol)
{
        return g_strconcat(def->source_name, "/", vol->name, NULL);
}

static bool remove_volume(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, unsigned flags, GError **error)
{
        g_autofree char *name = full_name(def, vol);
        const char *argv[] = { "lvremove", "--force", "--yes", name, NULL };

        return storage_run(c, argv, NULL, 0, NULL, error);
}

static bool check_create(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, uint64_t bytes, unsigned flags, GError **error)
{
        DomusPoolState state;

        if (vol->format && strcmp(vol->format, "raw") != 0)
                return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "format '%s' is not supported in a pool of type 'logical'", vol->format);
        if (flags & (VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA | VIR_STORAGE_VOL_CREATE_REFLINK))
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "a pool of type 'logical' knows neither metadata preallocation nor reflinks");
        if (!measure(c, def, &state, error))
                return false;
        return bytes <= state.available ||
               storage_fail(error, DOMUS_ERROR_OPERATION_FAILED,
                       "not enough space left in storage pool '%s' for volume '%s': %" G_GUINT64_FORMAT " bytes wanted, %" G_GUINT64_FORMAT " available",
                       def->name, vol->name, bytes, state.available);
}

static bool lvcreate(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, uint64_t bytes, GError **error)
{
        g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT "b", bytes);
        const char *plain[] = { "lvcreate", "--yes", "--name", vol->name, "--size", size, def->source_name, NULL };
        const char *snapshot[] = { "lvcreate", "--yes", "--snapshot", "--name", vol->name, "--size", size, vol->backing_path, NULL };

        return storage_run(c, vol->backing_path ? snapshot : plain, NULL, 0, NULL, error);
}

/* The new volume, as lvs says. */
static bool look(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, GError **error)
{
        g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(free_volume);
        g_autofree char *json = NULL, *name = full_name(def, vol);
        DomusVolumeDef swap;

        if (!report(c, "lvs", LOGICAL_LV_FIELDS, name, &json, error) || !logical_parse_lvs(def, json, found, error))
                return false;
        if (found->len != 1)
                return storage_fail(error, DOMUS_ERROR_INTERNAL, "lvs does not find the new volume '%s'", name);
        swap = *vol;
        *vol = *(DomusVolumeDef *)found->pdata[0];
        *(DomusVolumeDef *)found->pdata[0] = swap;
        return storage_block_update(c, def, vol, true, error);
}

static bool create(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags, GError **error)
{
        uint64_t bytes = vol->backing_path && vol->has_allocation ? vol->allocation : vol->capacity;

        if (!check_create(c, def, vol, bytes, flags, error))
                return false;
        g_free(vol->path);
        vol->path = g_build_filename(def->path, vol->name, NULL);
        if (!lvcreate(c, def, vol, bytes, error))
                return false;
        if (storage_block_wait(c, vol->path, error) && storage_block_set_owner(vol, error) && storage_block_fill(c, vol, source, error) &&
            look(c, def, vol, error))
                return true;
        remove_volume(NULL, def, vol, 0, NULL);
        return false;
}

static bool resize(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, uint64_t capacity, unsigned flags, GError **error)
{
        g_autofree char *name = full_name(def, vol), *size = g_strdup_printf("%" G_GUINT64_FORMAT "b", capacity);
        const char *argv[] = { "lvresize", "--force", "--size", size, name, NULL };

        return storage_run(c, argv, NULL, 0, NULL, error);
}

static const char *const programs[] = { "lvs", "vgs", "pvs", "vgchange", "lvcreate", "lvremove", NULL };

const DomusPoolBackend storage_backend_logical = {
        .type = DOMUS_POOL_LOGICAL,
        .programs = programs,
        .needs_privilege = true,
        .check = check,
        .build = build,
        .start = start,
        .stop = stop,
        .destroy = destroy,
        .scan = scan,
        .measure = measure,
        .create = create,
        .remove = remove_volume,
        .resize = resize,
        .update = storage_block_update,
        .find = find,
};
