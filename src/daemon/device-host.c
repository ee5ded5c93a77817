/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/device-host.h"

#include "storage/image.h"

static bool resolve_volume(gpointer opaque, const char *pool, const char *volume, DomusHookVolume *ret, GError **error)
{
        DomusVolumeLocation where = { 0 };

        if (!domus_pools_resolve(opaque, pool, volume, &where, error))
                return false;
        *ret = (DomusHookVolume){ .path = g_steal_pointer(&where.path), .format = g_steal_pointer(&where.format), .block = where.block };
        domus_volume_location_clear(&where);
        return true;
}

static char *probe_format(gpointer opaque, const char *path, GError **error)
{
        DomusImage image = { 0 };
        char *format;

        if (!domus_image_probe(path, NULL, &image, error))
                return NULL;
        format = g_strdup(image.format);
        domus_image_clear(&image);
        return format;
}

static void note_raw(gpointer opaque, const char *path)
{
        domus_pools_note_raw(opaque, path);
}

static char **backing_files(gpointer opaque, const char *path, const char *format, GError **error)
{
        g_autoptr(GStrvBuilder) list = g_strv_builder_new();
        DomusImage image = { 0 };

        if (!domus_image_probe(path, format, &image, error))
                return NULL;
        for (unsigned i = 0; image.chain && i < image.chain->len; i++)
                g_strv_builder_add(list, ((DomusImageLayer *)image.chain->pdata[i])->path);
        domus_image_clear(&image);
        return g_strv_builder_end(list);
}

static bool image_capacity(gpointer opaque, const char *path, const char *format, uint64_t *ret, GError **error)
{
        DomusImage image = { 0 };

        if (!domus_image_probe(path, format, &image, error))
                return false;
        *ret = image.virtual_size;
        domus_image_clear(&image);
        return true;
}

void domus_device_host_hooks(DomusPools *pools, DomusDomainHooks *ret)
{
        *ret = (DomusDomainHooks){
                .opaque = pools,
                .resolve_volume = resolve_volume,
                .probe_format = probe_format,
                .note_raw = note_raw,
                .backing_files = backing_files,
                .image_capacity = image_capacity,
        };
}
