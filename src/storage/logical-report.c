/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "storage/json.h"
#include "storage/logical.h"

/* The first letter of lv_attr, lvs(8): what a guest cannot have as its disk. */
#define INTERNAL_KINDS "tTeliIpvD"
/* The fifth: a volume that is not active has no device. */
#define ATTR_STATE 4

static DomusVolumeDef *find_volume(GPtrArray *volumes, const char *name)
{
        for (guint i = volumes->len; i-- > 0;)
                if (strcmp(((DomusVolumeDef *)volumes->pdata[i])->name, name) == 0)
                        return volumes->pdata[i];
        return NULL;
}

static bool is_usable(const char *attr)
{
        return attr && strlen(attr) > ATTR_STATE && !strchr(INTERNAL_KINDS, attr[0]) && attr[ATTR_STATE] == 'a';
}

/* "/dev/sda2(17),/dev/sdb1(0)": devices and the extent that each part begins at. */
static void add_extents(DomusVolumeDef *vol, JsonObject *row)
{
        const char *devices = storage_json_string(row, "devices");
        uint64_t extent = storage_json_number(row, "vg_extent_size"), size = storage_json_number(row, "seg_size");
        g_auto(GStrv) parts = g_strsplit(devices ? devices : "", ",", -1);
        unsigned n = g_strv_length(parts);

        for (char **p = parts; *p; p++) {
                char *open = strrchr(*p, '(');
                uint64_t start;

                if (!open)
                        continue;
                *open = 0;
                start = g_ascii_strtoull(open + 1, NULL, 10) * extent;
                domus_volume_def_add_extent(vol, *p, start, start + size / n);
        }
}

static DomusVolumeDef *make_volume(const DomusPoolDef *def, JsonObject *row, const char *name)
{
        DomusVolumeDef *vol = domus_volume_def_new(name);
        const char *origin = storage_json_string(row, "origin");

        vol->type = DOMUS_VOLUME_BLOCK;
        vol->path = g_build_filename(def->path, name, NULL);
        vol->key = g_strdup(storage_json_string(row, "lv_uuid"));
        vol->format = g_strdup("raw");
        vol->capacity = vol->physical = storage_json_number(row, "lv_size");
        if (origin && *origin) {
                vol->backing_path = g_build_filename(def->path, origin, NULL);
                vol->backing_format = g_strdup("raw");
        }
        return vol;
}

bool logical_parse_lvs(const DomusPoolDef *def, const char *json, GPtrArray *volumes, GError **error)
{
        g_autoptr(JsonNode) root = storage_json_parse("lvs", json, error);
        JsonArray *rows = root ? storage_json_report("lvs", root, "lv", error) : NULL;

        if (!rows)
                return false;
        for (guint i = 0; i < json_array_get_length(rows); i++) {
                JsonObject *row = storage_json_element(rows, i);
                const char *name = storage_json_string(row, "lv_name");
                DomusVolumeDef *vol;

                if (!name || !storage_json_string(row, "lv_uuid"))
                        return storage_fail(error, DOMUS_ERROR_INTERNAL, "lvs names no volume in row %u", i);
                if (!is_usable(storage_json_string(row, "lv_attr")))
                        continue;
                vol = find_volume(volumes, name);
                if (!vol) {
                        vol = make_volume(def, row, name);
                        g_ptr_array_add(volumes, vol);
                }
                vol->allocation += storage_json_number(row, "seg_size");
                add_extents(vol, row);
        }
        return true;
}

bool logical_parse_vgs(const char *json, DomusPoolState *ret, GError **error)
{
        g_autoptr(JsonNode) root = storage_json_parse("vgs", json, error);
        JsonArray *rows = root ? storage_json_report("vgs", root, "vg", error) : NULL;
        JsonObject *row = rows && json_array_get_length(rows) ? storage_json_element(rows, 0) : NULL;

        if (!rows)
                return false;
        if (!storage_json_string(row, "vg_size"))
                return storage_fail(error, DOMUS_ERROR_INTERNAL, "vgs gives no size");
        ret->capacity = storage_json_number(row, "vg_size");
        ret->available = storage_json_number(row, "vg_free");
        ret->allocation = ret->capacity - MIN(ret->capacity, ret->available);
        ret->perms = (DomusPermissions){ -1, -1, -1 };
        return true;
}

static void append_group(JsonArray *rows, const char *group, GString *out)
{
        g_autoptr(GPtrArray) devices = g_ptr_array_new();
        DomusPoolSource source = { .name = group, .format = "lvm2" };

        for (guint i = 0; i < json_array_get_length(rows); i++) {
                JsonObject *row = storage_json_element(rows, i);

                if (g_strcmp0(storage_json_string(row, "vg_name"), group) == 0)
                        g_ptr_array_add(devices, (gpointer)storage_json_string(row, "pv_name"));
        }
        g_ptr_array_add(devices, NULL);
        source.devices = (const char *const *)devices->pdata;
        domus_pool_source_append(out, &source);
}

bool logical_parse_pvs(const char *json, GString *out, GError **error)
{
        g_autoptr(JsonNode) root = storage_json_parse("pvs", json, error);
        JsonArray *rows = root ? storage_json_report("pvs", root, "pv", error) : NULL;
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

        if (!rows)
                return false;
        for (guint i = 0; i < json_array_get_length(rows); i++) {
                const char *group = storage_json_string(storage_json_element(rows, i), "vg_name");

                if (group && *group && g_hash_table_add(seen, (gpointer)group))
                        append_group(rows, group, out);
        }
        return true;
}
