/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The volumes of a pool: finding them, and keeping the list. */

#include <string.h>

#include "storage/iscsi.h"
#include "storage/pool-private.h"

/* --- Life --- */

DomusVolume *volume_new(DomusPool *p, DomusVolumeDef *def)
{
        DomusVolume *v = g_new0(DomusVolume, 1);

        v->refs = 1;
        v->pool = domus_pool_ref(p);
        v->def = def;
        g_hash_table_replace(p->volumes, v->def->name, v);
        return v;
}

DomusVolume *domus_volume_ref(DomusVolume *v)
{
        v->refs++;
        return v;
}

void domus_volume_unref(DomusVolume *v)
{
        if (!v || --v->refs)
                return;
        domus_volume_def_free(v->def);
        domus_pool_unref(v->pool);
        g_free(v);
}

void volume_set_gone(DomusVolume *v)
{
        if (v->gone)
                return;
        v->gone = true;
        g_hash_table_remove(v->pool->volumes, v->def->name);
        domus_volume_unref(v);
}

DomusPool *domus_volume_pool(const DomusVolume *v)
{
        return v->pool;
}

const DomusVolumeDef *domus_volume_def(const DomusVolume *v)
{
        return v->def;
}

/* --- The list --- */

void pool_drop_volumes(DomusPool *p)
{
        g_autoptr(GList) list = g_hash_table_get_values(p->volumes);

        for (GList *l = list; l; l = l->next)
                volume_set_gone(l->data);
}

static void take_volume(DomusPool *p, DomusVolumeDef *def, GHashTable *missing)
{
        DomusVolume *v = g_hash_table_lookup(p->volumes, def->name);

        g_hash_table_remove(missing, def->name);
        if (g_hash_table_contains(p->reserved, def->name) || (v && v->writing)) {
                domus_volume_def_free(def);
                return;
        }
        if (!v) {
                volume_new(p, def);
                return;
        }
        /* The key of the table is the definition's. */
        g_hash_table_steal(p->volumes, def->name);
        domus_volume_def_free(v->def);
        v->def = def;
        g_hash_table_insert(p->volumes, v->def->name, v);
}

void pool_take_volumes(DomusPool *p, GPtrArray *found)
{
        g_autoptr(GHashTable) missing = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        GHashTableIter iter;
        gpointer name;

        g_hash_table_iter_init(&iter, p->volumes);
        while (g_hash_table_iter_next(&iter, &name, NULL))
                g_hash_table_add(missing, g_strdup(name));
        g_ptr_array_set_free_func(found, NULL); /* they move */
        for (guint i = 0; i < found->len; i++)
                take_volume(p, found->pdata[i], missing);
        g_ptr_array_set_size(found, 0);
        g_hash_table_iter_init(&iter, missing);
        while (g_hash_table_iter_next(&iter, &name, NULL)) {
                DomusVolume *v = g_hash_table_lookup(p->volumes, name);

                if (v && !v->users)
                        volume_set_gone(v);
        }
}

DomusRawNames *pool_raw_names(const DomusPool *p)
{
        GHashTable *copy = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        GHashTableIter iter;
        gpointer name;

        g_hash_table_iter_init(&iter, p->raw);
        while (g_hash_table_iter_next(&iter, &name, NULL))
                g_hash_table_add(copy, g_strdup(name));
        return copy;
}

void pool_set_raw(DomusPool *p, const char *name, bool raw)
{
        bool changed = raw ? g_hash_table_add(p->raw, g_strdup(name)) : g_hash_table_remove(p->raw, name);

        if (changed && p->pools)
                storage_store_save_raw(p->pools->store, p->uuid, p->raw);
}

/* --- Finding --- */

DomusVolume *domus_pool_lookup_volume(DomusPool *p, const char *name, GError **error)
{
        DomusVolume *v;

        if (!p->active) {
                storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "storage pool '%s' is not active", p->name);
                return NULL;
        }
        v = g_hash_table_lookup(p->volumes, name);
        if (!v)
                storage_fail(error, DOMUS_ERROR_NO_STORAGE_VOL, "no storage vol with matching name '%s'", name);
        return v;
}

static const char *key_of(const DomusVolumeDef *def)
{
        return def->key;
}

static const char *path_of(const DomusVolumeDef *def)
{
        return def->path;
}

static DomusVolume *find_volume(DomusPools *pools, const char *(*value_of)(const DomusVolumeDef *), const char *value)
{
        GHashTableIter iter, inner;
        gpointer p, v;

        g_hash_table_iter_init(&iter, pools->by_name);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                g_hash_table_iter_init(&inner, ((DomusPool *)p)->volumes);
                while (g_hash_table_iter_next(&inner, NULL, &v))
                        if (g_strcmp0(value_of(((DomusVolume *)v)->def), value) == 0)
                                return v;
        }
        return NULL;
}

DomusVolume *domus_pools_lookup_volume_key(DomusPools *pools, const char *key, GError **error)
{
        DomusVolume *v = find_volume(pools, key_of, key);

        if (!v)
                storage_fail(error, DOMUS_ERROR_NO_STORAGE_VOL, "no storage vol with matching key %s", key);
        return v;
}

DomusVolume *domus_pools_lookup_volume_path(DomusPools *pools, const char *path, GError **error)
{
        g_autofree char *clean = path[0] == '/' ? g_canonicalize_filename(path, "/") : g_strdup(path);
        DomusVolume *v = find_volume(pools, path_of, clean);

        if (!v)
                storage_fail(error, DOMUS_ERROR_NO_STORAGE_VOL, "no storage vol with matching path '%s'", path);
        return v;
}

static int by_name_order(gconstpointer a, gconstpointer b)
{
        return strcmp((*(DomusVolume *const *)a)->def->name, (*(DomusVolume *const *)b)->def->name);
}

static void unref_volume(gpointer v)
{
        domus_volume_unref(v);
}

GPtrArray *domus_pool_list_volumes(DomusPool *p, GError **error)
{
        GPtrArray *list;
        GHashTableIter iter;
        gpointer v;

        if (!pool_require_active(p, error))
                return NULL;
        list = g_ptr_array_new_with_free_func(unref_volume);
        g_hash_table_iter_init(&iter, p->volumes);
        while (g_hash_table_iter_next(&iter, NULL, &v))
                g_ptr_array_add(list, domus_volume_ref(v));
        g_ptr_array_sort(list, by_name_order);
        return list;
}

/* --- For domains --- */

/* Of a pool of type iscsi-direct. */
static void locate_unit(const DomusPoolDef *def, const DomusVolumeDef *vol, DomusVolumeLocation *ret)
{
        ret->host = g_strdup(def->host);
        ret->port = def->port ? g_strdup_printf("%u", def->port) : NULL;
        ret->unit = g_strdup_printf("%s/%u", (const char *)def->devices->pdata[0], iscsi_unit_of(vol->name));
        ret->initiator = g_strdup(def->initiator);
}

bool domus_pools_resolve(DomusPools *pools, const char *pool, const char *volume, DomusVolumeLocation *ret, GError **error)
{
        DomusPool *p = domus_pools_lookup_name(pools, pool, error);
        DomusVolume *v = p && pool_require_active(p, error) ? domus_pool_lookup_volume(p, volume, error) : NULL;
        const char *format;

        if (!v)
                return false;
        if (v->def->type == DOMUS_VOLUME_DIR)
                return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "volume '%s' of storage pool '%s' is no disk", volume, pool);
        if (v->writing)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "volume '%s' is still in use.", volume);
        /* What is in the partitions of a disk, or on a CD, is nothing that the guest's disk is wrapped in. */
        format = v->def->format && v->def->type == DOMUS_VOLUME_FILE && strcmp(v->def->format, "iso") != 0 ? v->def->format : "raw";
        if (strcmp(format, "raw") == 0)
                pool_set_raw(p, volume, true);
        *ret = (DomusVolumeLocation){ .format = g_strdup(format), .block = v->def->type == DOMUS_VOLUME_BLOCK };
        if (v->def->type == DOMUS_VOLUME_NETWORK)
                locate_unit(p->def, v->def, ret);
        else
                ret->path = g_strdup(v->def->path);
        return true;
}

void domus_volume_location_clear(DomusVolumeLocation *l)
{
        g_free(l->path);
        g_free(l->format);
        g_free(l->host);
        g_free(l->port);
        g_free(l->unit);
        g_free(l->initiator);
        *l = (DomusVolumeLocation){ 0 };
}

void domus_pools_note_raw(DomusPools *pools, const char *path)
{
        DomusVolume *v = domus_pools_lookup_volume_path(pools, path, NULL);

        if (v)
                pool_set_raw(v->pool, v->def->name, true);
}
