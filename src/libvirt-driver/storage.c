/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Storage pools and volumes. There are none yet: lists are empty, and whatever is asked of a pool or
 * volume, it is not found. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

static void no_pool_name(struct call *call, const void *p)
{
        const struct remote_storage_pool_lookup_by_name_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching name '%s'", args->name);
}

static void no_pool_path(struct call *call, const void *p)
{
        const struct remote_storage_pool_lookup_by_target_path_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching target path '%s'", args->path);
}

static void no_pool_uuid(struct call *call, const void *p)
{
        const struct remote_storage_pool_lookup_by_uuid_args *args = p;
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(args->uuid, uuid);
        call_fail_new(call, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching uuid '%s'", uuid);
}

/* For every procedure whose first argument is a pool. */
static void no_such_pool(struct call *call, const void *args)
{
        const struct remote_storage_pool *pool = args;
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(pool->uuid, uuid);
        call_fail_new(call, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching uuid '%s' (%s)", uuid, pool->name);
}

/* For every procedure whose first argument is a volume, which names its pool. */
static void no_pool_of_volume(struct call *call, const void *args)
{
        const struct remote_storage_vol *vol = args;

        call_fail_new(call, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching name '%s'", vol->pool);
}

static void no_vol_key(struct call *call, const void *p)
{
        const struct remote_storage_vol_lookup_by_key_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_STORAGE_VOL, "no storage vol with matching key %s", args->key);
}

static void no_vol_path(struct call *call, const void *p)
{
        const struct remote_storage_vol_lookup_by_path_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_STORAGE_VOL, "no storage vol with matching path '%s'", args->path);
}

/* virConnectListAllStoragePoolsFlags: every bit up to the last of its pool types. */
#define LIST_FLAGS (VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI_DIRECT * 2 - 1)

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_NUM_OF_STORAGE_POOLS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_STORAGE_POOLS, call_reply_empty },
        { REMOTE_PROC_CONNECT_NUM_OF_DEFINED_STORAGE_POOLS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_DEFINED_STORAGE_POOLS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_ALL_STORAGE_POOLS, call_reply_empty, LIST_FLAGS },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_NAME, no_pool_name },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_UUID, no_pool_uuid },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_TARGET_PATH, no_pool_path },
        { REMOTE_PROC_STORAGE_POOL_LOOKUP_BY_VOLUME, no_pool_of_volume },
        { REMOTE_PROC_STORAGE_POOL_CREATE, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_POOL_BUILD, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_POOL_DESTROY, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_DELETE, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_POOL_UNDEFINE, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_REFRESH, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_POOL_GET_INFO, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_GET_XML_DESC, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_POOL_GET_AUTOSTART, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_SET_AUTOSTART, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_IS_ACTIVE, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_IS_PERSISTENT, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_NUM_OF_VOLUMES, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_LIST_VOLUMES, no_such_pool },
        { REMOTE_PROC_STORAGE_POOL_LIST_ALL_VOLUMES, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_CREATE_XML, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_CREATE_XML_FROM, no_such_pool, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_LOOKUP_BY_NAME, no_such_pool },
        { REMOTE_PROC_STORAGE_VOL_LOOKUP_BY_KEY, no_vol_key },
        { REMOTE_PROC_STORAGE_VOL_LOOKUP_BY_PATH, no_vol_path },
        { REMOTE_PROC_STORAGE_VOL_DELETE, no_pool_of_volume, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_GET_INFO, no_pool_of_volume },
        { REMOTE_PROC_STORAGE_VOL_GET_INFO_FLAGS, no_pool_of_volume, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_GET_XML_DESC, no_pool_of_volume, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_GET_PATH, no_pool_of_volume },
        { REMOTE_PROC_STORAGE_VOL_UPLOAD, no_pool_of_volume, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_DOWNLOAD, no_pool_of_volume, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_WIPE, no_pool_of_volume, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_WIPE_PATTERN, no_pool_of_volume, UINT64_MAX },
        { REMOTE_PROC_STORAGE_VOL_RESIZE, no_pool_of_volume, UINT64_MAX },
};

HANDLER_TABLE(storage_handlers, rows);
