/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Storage pools. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/storage.h"

/* --- Shared with the volumes --- */

DomusPools *call_pools(struct call *call)
{
        DomusPools *pools = domus_manager_pools(call_manager(call));

        if (!pools)
                call_fail_new(call, DOMUS_ERROR_NO_SUPPORT, "%s", call->proc->api);
        return pools;
}

DomusPool *call_pool(struct call *call, const struct remote_storage_pool *pool)
{
        DomusPools *pools = call_pools(call);
        GError *error = NULL;
        DomusPool *p = pools ? domus_pools_lookup_uuid(pools, pool->uuid, &error) : NULL;

        if (pools && !p) {
                g_prefix_error(&error, "'%s': ", pool->name);
                call_fail_take(call, error);
        }
        return p;
}

void call_put_pool(struct call *call, struct remote_storage_pool *ret, const DomusPool *p)
{
        ret->name = arena_strdup(&call->arena, domus_pool_name(p));
        memcpy(ret->uuid, domus_pool_uuid(p), sizeof(ret->uuid));
}

static void done(DomusPool *p, const GError *error, gpointer opaque)
{
        struct call *call = opaque;

        if (error)
                call_fail(call, error);
        else
                call_reply(call, NULL);
}

/* For procedures that return the pool alone. */
static void done_pool(DomusPool *p, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        struct remote_storage_pool ret;

        if (error) {
                call_fail(call, error);
                return;
        }
        call_put_pool(call, &ret, p);
        call_reply(call, &ret);
}

/* --- Finding --- */

/* The error by its address, so that the function that sets it may be called in the argument list. */
static void reply_pool(struct call *call, DomusPool *p, GError **error)
{
        done_pool(p, *error, call);
        g_clear_error(error);
}

static void lookup_by_name(struct call *call, const void *p)
{
        const struct remote_storage_pool_lookup_by_name_args *args = p;
        DomusPools *pools = call_pools(call);
        GError *error = NULL;

        if (pools)
                reply_pool(call, domus_pools_lookup_name(pools, args->name, &error), &error);
}

static void lookup_by_uuid(struct call *call, const void *p)
{
        const struct remote_storage_pool_lookup_by_uuid_args *args = p;
        DomusPools *pools = call_pools(call);
        GError *error = NULL;

        if (pools)
                reply_pool(call, domus_pools_lookup_uuid(pools, args->uuid, &error), &error);
}

static void lookup_by_target_path(struct call *call, const void *p)
{
        const struct remote_storage_pool_lookup_by_target_path_args *args = p;
        DomusPools *pools = call_pools(call);
        GError *error = NULL;

        if (pools)
                reply_pool(call, domus_pools_lookup_target(pools, args->path, &error), &error);
}

static void lookup_by_volume(struct call *call, const void *p)
{
        const struct remote_storage_pool_lookup_by_volume_args *args = p;
        DomusPools *pools = call_pools(call);
        GError *error = NULL;

        if (pools)
                reply_pool(call, domus_pools_lookup_name(pools, args->vol.pool, &error), &error);
}

/* --- Lists --- */

/* Every bit up to the last of the pool types. */
#define LIST_FLAGS (VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI_DIRECT * 2 - 1)

static void list_all(struct call *call, const void *p)
{
        const struct remote_connect_list_all_storage_pools_args *args = p;
        DomusPools *pools = call_pools(call);
        g_autoptr(GPtrArray) list = pools ? domus_pools_list(pools, args->flags) : NULL;
        struct remote_connect_list_all_storage_pools_ret ret = { 0 };

        if (!list)
                return;
        ret.ret = list->len;
        if (args->need_results) {
                ret.pools.n = list->len;
                ret.pools.v = arena_new(&call->arena, struct remote_storage_pool, list->len);
                for (guint i = 0; i < list->len; i++)
                        call_put_pool(call, &ret.pools.v[i], list->pdata[i]);
        }
        call_reply(call, &ret);
}

static void count(struct call *call, unsigned flags)
{
        DomusPools *pools = call_pools(call);
        g_autoptr(GPtrArray) list = pools ? domus_pools_list(pools, flags) : NULL;

        if (list)
                call_reply_i32(call, (int32_t)list->len);
}

static void num_of_pools(struct call *call, const void *args)
{
        count(call, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
}

static void num_of_defined_pools(struct call *call, const void *args)
{
        count(call, VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE);
}

static void list_names(struct call *call, int32_t max, unsigned flags)
{
        DomusPools *pools = call_pools(call);
        g_autoptr(GPtrArray) list = pools ? domus_pools_list(pools, flags) : NULL;
        struct remote_connect_list_storage_pools_ret ret = { 0 };

        if (!list)
                return;
        if (max < 0 || max > REMOTE_STORAGE_POOL_LIST_MAX) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "%d is no count of storage pools", max);
                return;
        }
        ret.names.n = MIN(list->len, (guint)max);
        ret.names.v = arena_new(&call->arena, const char *, ret.names.n);
        for (guint i = 0; i < ret.names.n; i++)
                ret.names.v[i] = arena_strdup(&call->arena, domus_pool_name(list->pdata[i]));
        call_reply(call, &ret);
}

static void list_pools(struct call *call, const void *p)
{
        const struct remote_connect_list_storage_pools_args *args = p;

        list_names(call, args->maxnames, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
}

static void list_defined_pools(struct call *call, const void *p)
{
        const struct remote_connect_list_defined_storage_pools_args *args = p;

        list_names(call, args->maxnames, VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE);
}

/* --- The host --- */

static void get_capabilities(struct call *call, const void *args)
{
        DomusPools *pools = call_pools(call);

        if (pools)
                call_reply_string(call, domus_pools_capabilities(pools), NULL);
}

static void sources_done(const char *xml, const GError *error, gpointer opaque)
{
        if (error)
                call_fail(opaque, error);
        else
                call_reply_string(opaque, g_strdup(xml), NULL);
}

static void find_sources(struct call *call, const void *p)
{
        const struct remote_connect_find_storage_pool_sources_args *args = p;
        DomusPools *pools = call_pools(call);

        if (pools)
                domus_pools_find_sources(pools, args->type, args->src_spec, sources_done, call);
}

/* --- Life --- */

static void define_xml(struct call *call, const void *p)
{
        const struct remote_storage_pool_define_xml_args *args = p;
        DomusPools *pools = call_pools(call);
        GError *error = NULL;

        if (pools)
                reply_pool(call, domus_pools_define(pools, args->xml, args->flags, &error), &error);
}

static void create_xml(struct call *call, const void *p)
{
        const struct remote_storage_pool_create_xml_args *args = p;
        DomusPools *pools = call_pools(call);

        if (pools)
                domus_pools_create_xml(pools, args->xml, args->flags, done_pool, call);
}

static void create(struct call *call, const void *p)
{
        const struct remote_storage_pool_create_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                domus_pool_start(pool, args->flags, done, call);
}

static void build(struct call *call, const void *p)
{
        const struct remote_storage_pool_build_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                domus_pool_build(pool, args->flags, done, call);
}

static void destroy(struct call *call, const void *p)
{
        const struct remote_storage_pool_destroy_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                domus_pool_stop(pool, done, call);
}

static void delete(struct call *call, const void *p)
{
        const struct remote_storage_pool_delete_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                domus_pool_delete(pool, args->flags, done, call);
}

static void undefine(struct call *call, const void *p)
{
        const struct remote_storage_pool_undefine_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);
        GError *error = NULL;

        if (pool)
                call_reply_bool(call, domus_pool_undefine(pool, &error), &error);
}

static void refresh(struct call *call, const void *p)
{
        const struct remote_storage_pool_refresh_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                domus_pool_refresh(pool, done, call);
}

/* --- One pool --- */

static void get_info(struct call *call, const void *p)
{
        const struct remote_storage_pool_get_info_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);
        struct remote_storage_pool_get_info_ret ret = { 0 };
        const DomusPoolState *sizes;

        if (!pool)
                return;
        sizes = domus_pool_sizes(pool);
        ret.state = (uint8_t)domus_pool_state(pool);
        ret.capacity = sizes->capacity;
        ret.allocation = sizes->allocation;
        ret.available = sizes->available;
        call_reply(call, &ret);
}

static void get_xml_desc(struct call *call, const void *p)
{
        const struct remote_storage_pool_get_xml_desc_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                call_reply_string(call, domus_pool_xml(pool, args->flags), NULL);
}

static void get_autostart(struct call *call, const void *p)
{
        const struct remote_storage_pool_get_autostart_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                call_reply_i32(call, domus_pool_get_autostart(pool));
}

static void set_autostart(struct call *call, const void *p)
{
        const struct remote_storage_pool_set_autostart_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);
        GError *error = NULL;

        if (pool)
                call_reply_bool(call, domus_pool_set_autostart(pool, args->autostart != 0, &error), &error);
}

static void is_active(struct call *call, const void *p)
{
        const struct remote_storage_pool_is_active_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                call_reply_i32(call, domus_pool_is_active(pool));
}

static void is_persistent(struct call *call, const void *p)
{
        const struct remote_storage_pool_is_persistent_args *args = p;
        DomusPool *pool = call_pool(call, &args->pool);

        if (pool)
                call_reply_i32(call, domus_pool_is_persistent(pool));
}

#define BUILD_FLAGS (VIR_STORAGE_POOL_BUILD_OVERWRITE | VIR_STORAGE_POOL_BUILD_NO_OVERWRITE)
#define START_FLAGS                                                                                         \
        (VIR_STORAGE_POOL_CREATE_WITH_BUILD | VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE |                \
                VIR_STORAGE_POOL_CREATE_WITH_BUILD_NO_OVERWRITE)

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_NUM_OF_STORAGE_POOLS, num_of_pools },
        { REMOTE_PROC_CONNECT_LIST_STORAGE_POOLS, list_pools },
        { REMOTE_PROC_CONNECT_NUM_OF_DEFINED_STORAGE_POOLS, num_of_defined_pools },
        { REMOTE_PROC_CONNECT_LIST_DEFINED_STORAGE_POOLS, list_defined_pools },
        { REMOTE_PROC_CONNECT_LIST_ALL_STORAGE_POOLS, list_all, LIST_FLAGS },
        { REMOTE_PROC_CONNECT_GET_STORAGE_POOL_CAPABILITIES, get_capabilities },
        { REMOTE_PROC_CONNECT_FIND_STORAGE_POOL_SOURCES, find_sources },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_NAME, lookup_by_name },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_UUID, lookup_by_uuid },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_TARGET_PATH, lookup_by_target_path },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_VOLUME, lookup_by_volume },
        { REMOTE_PROC_STORAGE_POOL_DEFINE_XML, define_xml, VIR_STORAGE_POOL_DEFINE_VALIDATE },
        { REMOTE_PROC_STORAGE_POOL_CREATE_XML, create_xml, START_FLAGS },
        { REMOTE_PROC_STORAGE_POOL_CREATE, create, START_FLAGS },
        { REMOTE_PROC_STORAGE_POOL_BUILD, build, BUILD_FLAGS },
        { REMOTE_PROC_STORAGE_POOL_DESTROY, destroy },
        { REMOTE_PROC_STORAGE_POOL_DELETE, delete, VIR_STORAGE_POOL_DELETE_ZEROED },
        { REMOTE_PROC_STORAGE_POOL_UNDEFINE, undefine },
        { REMOTE_PROC_STORAGE_POOL_REFRESH, refresh },
        { REMOTE_PROC_STORAGE_POOL_GET_INFO, get_info },
        { REMOTE_PROC_STORAGE_POOL_GET_XML_DESC, get_xml_desc, VIR_STORAGE_XML_INACTIVE },
        { REMOTE_PROC_STORAGE_POOL_GET_AUTOSTART, get_autostart },
        { REMOTE_PROC_STORAGE_POOL_SET_AUTOSTART, set_autostart },
        { REMOTE_PROC_STORAGE_POOL_IS_ACTIVE, is_active },
        { REMOTE_PROC_STORAGE_POOL_IS_PERSISTENT, is_persistent },
};

HANDLER_TABLE(storage_pool_handlers, rows);
