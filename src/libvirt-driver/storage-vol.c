/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Storage volumes. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/storage.h"
#include "libvirt-driver/stream.h"

DomusVolume *call_volume(struct call *call, const struct remote_storage_vol *vol)
{
        DomusPools *pools = call_pools(call);
        GError *error = NULL;
        DomusPool *p = pools ? domus_pools_lookup_name(pools, vol->pool, &error) : NULL;
        DomusVolume *v = p ? domus_pool_lookup_volume(p, vol->name, &error) : NULL;

        if (pools && !v)
                call_fail_take(call, error);
        return v;
}

void call_put_volume(struct call *call, struct remote_storage_vol *ret, const DomusVolume *v)
{
        const DomusVolumeDef *def = domus_volume_def(v);

        ret->pool = arena_strdup(&call->arena, domus_pool_name(domus_volume_pool(v)));
        ret->name = arena_strdup(&call->arena, def->name);
        ret->key = arena_strdup(&call->arena, def->key);
}

static void done(DomusVolume *v, const GError *error, gpointer opaque)
{
        struct call *call = opaque;

        if (error)
                call_fail(call, error);
        else
                call_reply(call, NULL);
}

/* For procedures that return the volume alone. */
static void done_volume(DomusVolume *v, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        struct remote_storage_vol ret;

        if (error) {
                call_fail(call, error);
                return;
        }
        call_put_volume(call, &ret, v);
        call_reply(call, &ret);
}

/* --- Finding --- */

/* The error by its address, so that the function that sets it may be called in the argument list. */
static void reply_volume(struct call *call, DomusVolume *v, GError **error)
{
        done_volume(v, *error, call);
        g_clear_error(error);
}

static void lookup_by_name(struct call *call, const void *p)
{
        const struct remote_storage_vol_lookup_by_name_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);
        GError *error = NULL;

        if (pool)
                reply_volume(call, domus_pool_lookup_volume(pool, args->name, &error), &error);
}

static void lookup_by_key(struct call *call, const void *p)
{
        const struct remote_storage_vol_lookup_by_key_args *args = p;
        DomusPools *pools = call_pools(call);
        GError *error = NULL;

        if (pools)
                reply_volume(call, domus_pools_lookup_volume_key(pools, args->key, &error), &error);
}

static void lookup_by_path(struct call *call, const void *p)
{
        const struct remote_storage_vol_lookup_by_path_args *args = p;
        DomusPools *pools = call_pools(call);
        GError *error = NULL;

        if (pools)
                reply_volume(call, domus_pools_lookup_volume_path(pools, args->path, &error), &error);
}

/* --- Lists --- */

/* Also answers the call where it fails. */
static GPtrArray *get_list(struct call *call, const struct remote_storage_pool *pool)
{
        DomusPool *p = call_pool(call, pool);
        GError *error = NULL;
        GPtrArray *list = p ? domus_pool_list_volumes(p, &error) : NULL;

        if (p && !list)
                call_fail_take(call, error);
        return list;
}

static void num_of_volumes(struct call *call, const void *p)
{
        const struct remote_storage_pool_num_of_volumes_args *args = p;
        g_autoptr(GPtrArray) list = get_list(call, &args->pool);

        if (list)
                call_reply_i32(call, (int32_t)list->len);
}

static void list_volumes(struct call *call, const void *p)
{
        const struct remote_storage_pool_list_volumes_args *args = p;
        g_autoptr(GPtrArray) list = get_list(call, &args->pool);
        struct remote_storage_pool_list_volumes_ret ret = { 0 };

        if (!list)
                return;
        if (args->maxnames < 0 || args->maxnames > REMOTE_STORAGE_VOL_LIST_MAX) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "%d is no count of storage volumes", args->maxnames);
                return;
        }
        ret.names.n = MIN(list->len, (guint)args->maxnames);
        ret.names.v = arena_new(&call->arena, const char *, ret.names.n);
        for (guint i = 0; i < ret.names.n; i++)
                ret.names.v[i] = arena_strdup(&call->arena, domus_volume_def(list->pdata[i])->name);
        call_reply(call, &ret);
}

static void list_all_volumes(struct call *call, const void *p)
{
        const struct remote_storage_pool_list_all_volumes_args *args = p;
        g_autoptr(GPtrArray) list = get_list(call, &args->pool);
        struct remote_storage_pool_list_all_volumes_ret ret = { 0 };

        if (!list)
                return;
        ret.ret = list->len;
        if (args->need_results) {
                ret.vols.n = list->len;
                ret.vols.v = arena_new(&call->arena, struct remote_storage_vol, list->len);
                for (guint i = 0; i < list->len; i++)
                        call_put_volume(call, &ret.vols.v[i], list->pdata[i]);
        }
        call_reply(call, &ret);
}

/* --- What a volume is --- */

static void send_info(DomusVolume *v, const GError *error, struct call *call, bool physical)
{
        struct remote_storage_vol_get_info_ret ret = { 0 };
        const DomusVolumeDef *def;

        if (error) {
                call_fail(call, error);
                return;
        }
        def = domus_volume_def(v);
        ret.type = (int8_t)def->type;
        ret.capacity = def->capacity;
        ret.allocation = physical ? def->physical : def->allocation;
        call_reply(call, &ret);
}

static void info_done(DomusVolume *v, const GError *error, gpointer opaque)
{
        send_info(v, error, opaque, false);
}

static void physical_done(DomusVolume *v, const GError *error, gpointer opaque)
{
        send_info(v, error, opaque, true);
}

static void get_info(struct call *call, const void *p)
{
        const struct remote_storage_vol_get_info_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                domus_volume_update(v, info_done, call);
}

static void get_info_flags(struct call *call, const void *p)
{
        const struct remote_storage_vol_get_info_flags_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                domus_volume_update(v, args->flags & VIR_STORAGE_VOL_GET_PHYSICAL ? physical_done : info_done, call);
}

static void xml_done(DomusVolume *v, const GError *error, gpointer opaque)
{
        if (error)
                call_fail(opaque, error);
        else
                call_reply_string(opaque, domus_volume_def_format(domus_volume_def(v)), NULL);
}

static void get_xml_desc(struct call *call, const void *p)
{
        const struct remote_storage_vol_get_xml_desc_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                domus_volume_update(v, xml_done, call);
}

static void get_path(struct call *call, const void *p)
{
        const struct remote_storage_vol_get_path_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                call_reply_string(call, g_strdup(domus_volume_def(v)->path), NULL);
}

/* --- Life --- */

static void create_xml(struct call *call, const void *p)
{
        const struct remote_storage_vol_create_xml_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                domus_pool_create_volume(pool, args->xml, NULL, args->flags, done_volume, call);
}

static void create_xml_from(struct call *call, const void *p)
{
        const struct remote_storage_vol_create_xml_from_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);
        DomusVolume *source = pool ? call_volume(call, &args->clonevol) : NULL;

        if (source)
                domus_pool_create_volume(pool, args->xml, source, args->flags, done_volume, call);
}

static void delete(struct call *call, const void *p)
{
        const struct remote_storage_vol_delete_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                domus_volume_delete(v, args->flags, done, call);
}

static void resize(struct call *call, const void *p)
{
        const struct remote_storage_vol_resize_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                domus_volume_resize(v, args->capacity, args->flags, done, call);
}

static void wipe(struct call *call, const void *p)
{
        const struct remote_storage_vol_wipe_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                domus_volume_wipe(v, VIR_STORAGE_VOL_WIPE_ALG_ZERO, done, call);
}

static void wipe_pattern(struct call *call, const void *p)
{
        const struct remote_storage_vol_wipe_pattern_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);

        if (v)
                domus_volume_wipe(v, args->algorithm, done, call);
}

/* --- Content --- */

static void start_stream(struct call *call, int fd, GError **error)
{
        if (fd < 0)
                call_fail_take(call, *error);
        else
                call_reply_bool(call, stream_start_records(call, fd, error), error);
}

static void upload(struct call *call, const void *p)
{
        const struct remote_storage_vol_upload_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);
        GError *error = NULL;

        if (v)
                start_stream(call, domus_volume_upload(v, args->offset, args->length, args->flags & VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM, &error),
                        &error);
}

static void download(struct call *call, const void *p)
{
        const struct remote_storage_vol_download_args *args = p;
        DomusVolume *v = call_volume(call, &args->vol);
        GError *error = NULL;

        if (v)
                start_stream(call, domus_volume_download(v, args->offset, args->length, args->flags & VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM, &error),
                        &error);
}

#define CREATE_FLAGS (VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA | VIR_STORAGE_VOL_CREATE_VALIDATE)
#define RESIZE_FLAGS (VIR_STORAGE_VOL_RESIZE_ALLOCATE | VIR_STORAGE_VOL_RESIZE_DELTA | VIR_STORAGE_VOL_RESIZE_SHRINK)

static const struct handler rows[] = {
        { REMOTE_PROC_STORAGE_POOL_NUM_OF_VOLUMES, num_of_volumes },
        { REMOTE_PROC_STORAGE_POOL_LIST_VOLUMES, list_volumes },
        { REMOTE_PROC_STORAGE_POOL_LIST_ALL_VOLUMES, list_all_volumes },
        { REMOTE_PROC_STORAGE_VOL_LOOKUP_BY_NAME, lookup_by_name },
        { REMOTE_PROC_STORAGE_VOL_LOOKUP_BY_KEY, lookup_by_key },
        { REMOTE_PROC_STORAGE_VOL_LOOKUP_BY_PATH, lookup_by_path },
        { REMOTE_PROC_STORAGE_VOL_CREATE_XML, create_xml, CREATE_FLAGS },
        { REMOTE_PROC_STORAGE_VOL_CREATE_XML_FROM, create_xml_from, CREATE_FLAGS | VIR_STORAGE_VOL_CREATE_REFLINK },
        { REMOTE_PROC_STORAGE_VOL_DELETE, delete, VIR_STORAGE_VOL_DELETE_ZEROED },
        { REMOTE_PROC_STORAGE_VOL_GET_INFO, get_info },
        { REMOTE_PROC_STORAGE_VOL_GET_INFO_FLAGS, get_info_flags, VIR_STORAGE_VOL_GET_PHYSICAL },
        { REMOTE_PROC_STORAGE_VOL_GET_XML_DESC, get_xml_desc },
        { REMOTE_PROC_STORAGE_VOL_GET_PATH, get_path },
        { REMOTE_PROC_STORAGE_VOL_UPLOAD, upload, VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM },
        { REMOTE_PROC_STORAGE_VOL_DOWNLOAD, download, VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM },
        { REMOTE_PROC_STORAGE_VOL_WIPE, wipe },
        { REMOTE_PROC_STORAGE_VOL_WIPE_PATTERN, wipe_pattern },
        { REMOTE_PROC_STORAGE_VOL_RESIZE, resize, RESIZE_FLAGS },
};

HANDLER_TABLE(storage_vol_handlers, rows);
