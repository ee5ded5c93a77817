/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images in formats that qemu-img knows. It gets the new image as a descriptor, so that it can be a file without a name yet. */

#include <libvirt/libvirt.h>
#include <string.h>

#include "storage/file.h"
#include "storage/image.h"

/* Where a child finds its first descriptor. */
#define CHILD_PATH "/proc/self/fd/3"

static bool is_qcow2(const DomusVolumeDef *vol)
{
        return strcmp(vol->format, "qcow2") == 0;
}

static bool check_options(const DomusVolumeDef *vol, unsigned flags, GError **error)
{
        if (!storage_image_format_known(vol->format) || strcmp(vol->format, "luks") == 0)
                return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "making volumes in format '%s' is not supported", vol->format);
        if (!is_qcow2(vol) && (vol->compat || vol->cluster_size || vol->lazy_refcounts || vol->extended_l2))
                return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                        "elements <compat>, <clusterSize> and <features> are not supported for format '%s'", vol->format);
        if (!is_qcow2(vol) && flags & VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "metadata preallocation is only available with qcow2");
        if (vol->backing_path && flags & VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "metadata preallocation conflicts with a backing store");
        return true;
}

/* Commas in values are doubled. */
static void add_option(GString *out, const char *name, const char *value)
{
        if (out->len)
                g_string_append_c(out, ',');
        g_string_append_printf(out, "%s=", name);
        for (; *value; value++) {
                if (*value == ',')
                        g_string_append_c(out, ',');
                g_string_append_c(out, *value);
        }
}

static char *make_options(const DomusVolumeDef *vol, unsigned flags)
{
        GString *out = g_string_new(NULL);

        if (vol->backing_path) {
                add_option(out, "backing_file", vol->backing_path);
                add_option(out, "backing_fmt", vol->backing_format);
        }
        if (flags & VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)
                add_option(out, "preallocation", vol->has_allocation && vol->allocation >= vol->capacity ? "falloc" : "metadata");
        if (vol->compat)
                add_option(out, "compat", vol->compat);
        if (vol->cluster_size) {
                g_autofree char *n = g_strdup_printf("%" G_GUINT64_FORMAT, vol->cluster_size);

                add_option(out, "cluster_size", n);
        }
        if (vol->lazy_refcounts)
                add_option(out, "lazy_refcounts", "on");
        if (vol->extended_l2)
                add_option(out, "extended_l2", "on");
        return g_string_free(out, FALSE);
}

static void add_options(GPtrArray *argv, char *options)
{
        if (!*options)
                return;
        g_ptr_array_add(argv, (gpointer) "-o");
        g_ptr_array_add(argv, options);
}

static bool run(const StorageCancel *c, int fd, GPtrArray *argv, const char *path, GError **error)
{
        g_autoptr(GError) local = NULL;
        g_auto(GStrv) parts = NULL;
        g_autofree char *text = NULL;

        g_ptr_array_add(argv, NULL);
        if (storage_run(c, (const char *const *)argv->pdata, &fd, 1, NULL, &local))
                return true;
        /* The user knows the volume, not the descriptor. */
        parts = g_strsplit(local->message, CHILD_PATH, -1);
        text = g_strjoinv(path, parts);
        g_set_error_literal(error, local->domain, local->code, text);
        return false;
}

bool storage_qemu_create(const StorageCancel *c, int fd, const DomusVolumeDef *vol, unsigned flags, GError **error)
{
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        g_autofree char *options = NULL, *size = g_strdup_printf("%" G_GUINT64_FORMAT, vol->capacity);

        if (!check_options(vol, flags, error))
                return false;
        options = make_options(vol, flags);
        g_ptr_array_add(argv, (gpointer) "qemu-img");
        g_ptr_array_add(argv, (gpointer) "create");
        g_ptr_array_add(argv, (gpointer) "-q");
        g_ptr_array_add(argv, (gpointer) "-f");
        g_ptr_array_add(argv, vol->format);
        add_options(argv, options);
        g_ptr_array_add(argv, (gpointer)CHILD_PATH);
        if (vol->has_capacity)
                g_ptr_array_add(argv, size);
        return run(c, fd, argv, vol->path, error);
}

static bool grow(const StorageCancel *c, int fd, const DomusVolumeDef *vol, GError **error)
{
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, vol->capacity);

        g_ptr_array_add(argv, (gpointer) "qemu-img");
        g_ptr_array_add(argv, (gpointer) "resize");
        g_ptr_array_add(argv, (gpointer) "-q");
        g_ptr_array_add(argv, (gpointer) "-f");
        g_ptr_array_add(argv, vol->format);
        g_ptr_array_add(argv, (gpointer)CHILD_PATH);
        g_ptr_array_add(argv, size);
        return run(c, fd, argv, vol->path, error);
}

bool storage_qemu_convert(const StorageCancel *c, int fd, const DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags, GError **error)
{
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        g_autofree char *options = NULL;
        bool raw = strcmp(vol->format, "raw") == 0;

        if (!raw && !check_options(vol, flags, error))
                return false;
        options = raw ? g_strdup("") : make_options(vol, flags);
        g_ptr_array_add(argv, (gpointer) "qemu-img");
        g_ptr_array_add(argv, (gpointer) "convert");
        g_ptr_array_add(argv, (gpointer) "-q");
        g_ptr_array_add(argv, (gpointer) "-f");
        g_ptr_array_add(argv, (gpointer)(strcmp(source->format, "iso") == 0 ? "raw" : source->format));
        g_ptr_array_add(argv, (gpointer) "-O");
        g_ptr_array_add(argv, vol->format);
        add_options(argv, options);
        g_ptr_array_add(argv, source->path);
        g_ptr_array_add(argv, (gpointer)CHILD_PATH);
        return run(c, fd, argv, vol->path, error) && (vol->capacity <= source->capacity || grow(c, fd, vol, error));
}
