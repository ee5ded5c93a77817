/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All pools: tables, lists, definitions. */

#include <libvirt/libvirt.h>
#include <string.h>

#include "base/log.h"
#include "model/listing.h"
#include "storage/pool-private.h"

/* --- Tables --- */

static void unref_pool(gpointer p)
{
        domus_pool_unref(p);
}

DomusPool *pools_add(DomusPools *pools, DomusPoolDef *def)
{
        DomusPool *p = g_new0(DomusPool, 1);

        p->refs = 1;
        p->pools = pools;
        p->name = g_strdup(def->name);
        memcpy(p->uuid, def->uuid, sizeof(p->uuid));
        p->def = domus_pool_def_ref(def);
        p->state.perms.mode = -1;
        p->volumes = g_hash_table_new(g_str_hash, g_str_equal);
        p->raw = storage_store_load_raw(pools->store, p->uuid);
        p->reserved = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_queue_init(&p->jobs);
        g_hash_table_insert(pools->by_name, p->name, p);
        g_hash_table_insert(pools->by_uuid, p->uuid, p);
        return p;
}

void pools_drop(DomusPool *p)
{
        DomusPools *pools = p->pools;

        p->pools = NULL;
        g_hash_table_remove(pools->by_name, p->name);
        g_hash_table_remove(pools->by_uuid, p->uuid);
}

DomusPool *domus_pool_ref(DomusPool *p)
{
        p->refs++;
        return p;
}

void domus_pool_unref(DomusPool *p)
{
        if (!p || --p->refs)
                return;
        domus_pool_def_unref(p->def);
        domus_pool_def_unref(p->next);
        g_hash_table_unref(p->volumes);
        g_hash_table_unref(p->raw);
        g_hash_table_unref(p->reserved);
        g_free(p->name);
        g_free(p);
}

DomusPool *domus_pools_lookup_uuid(DomusPools *pools, const uint8_t uuid[DOMUS_UUID_LEN], GError **error)
{
        DomusPool *p = g_hash_table_lookup(pools->by_uuid, uuid);
        char text[DOMUS_UUID_STRING_LEN];

        if (p)
                return p;
        domus_uuid_format(uuid, text);
        storage_fail(error, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching uuid '%s'", text);
        return NULL;
}

DomusPool *domus_pools_lookup_name(DomusPools *pools, const char *name, GError **error)
{
        DomusPool *p = g_hash_table_lookup(pools->by_name, name);

        if (!p)
                storage_fail(error, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching name '%s'", name);
        return p;
}

DomusPool *domus_pools_lookup_target(DomusPools *pools, const char *path, GError **error)
{
        g_autofree char *clean = g_canonicalize_filename(path, "/");
        GHashTableIter iter;
        gpointer p;

        g_hash_table_iter_init(&iter, pools->by_name);
        while (g_hash_table_iter_next(&iter, NULL, &p))
                if (((DomusPool *)p)->active && g_strcmp0(((DomusPool *)p)->def->path, clean) == 0)
                        return p;
        storage_fail(error, DOMUS_ERROR_NO_STORAGE_POOL, "no storage pool with matching target path '%s'", path);
        return NULL;
}

/* --- Lists --- */

static unsigned traits(gconstpointer object)
{
        const DomusPool *p = object;
        static const unsigned types[DOMUS_POOL_TYPES] = {
                [DOMUS_POOL_DIR] = VIR_CONNECT_LIST_STORAGE_POOLS_DIR,         [DOMUS_POOL_FS] = VIR_CONNECT_LIST_STORAGE_POOLS_FS,
                [DOMUS_POOL_NETFS] = VIR_CONNECT_LIST_STORAGE_POOLS_NETFS,     [DOMUS_POOL_LOGICAL] = VIR_CONNECT_LIST_STORAGE_POOLS_LOGICAL,
                [DOMUS_POOL_DISK] = VIR_CONNECT_LIST_STORAGE_POOLS_DISK,       [DOMUS_POOL_ISCSI] = VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI,
                [DOMUS_POOL_ISCSI_DIRECT] = VIR_CONNECT_LIST_STORAGE_POOLS_ISCSI_DIRECT,
        };

        return (p->active ? VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE : VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE) |
               (p->persistent ? VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT : VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT) |
               (p->autostart ? VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART : VIR_CONNECT_LIST_STORAGE_POOLS_NO_AUTOSTART) | types[p->def->type];
}

static gpointer ref_pool(gpointer p)
{
        return domus_pool_ref(p);
}

#define STATES (VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE | VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE)
#define KINDS (VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT | VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT)
#define STARTS (VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART | VIR_CONNECT_LIST_STORAGE_POOLS_NO_AUTOSTART)

GPtrArray *domus_pools_list(DomusPools *pools, unsigned flags)
{
        static const unsigned groups[] = { STATES, KINDS, STARTS, ~(unsigned)(STATES | KINDS | STARTS) /* the types */ };
        static const DomusListing listing = { groups, G_N_ELEMENTS(groups), traits, ref_pool, unref_pool };

        return domus_listing_make(&listing, pools->by_name, flags);
}

/* --- Defining --- */

static bool same(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

static const char *first_device(const DomusPoolDef *def)
{
        return def->devices->len ? def->devices->pdata[0] : NULL;
}

/* Two pools on one source would take each other's space and volumes. */
static bool same_source(const DomusPoolDef *a, const DomusPoolDef *b)
{
        if (a->type != b->type)
                return false;
        switch (a->type) {
        case DOMUS_POOL_DIR:
                return same(a->path, b->path);
        case DOMUS_POOL_FS:
        case DOMUS_POOL_DISK:
                return same(first_device(a), first_device(b));
        case DOMUS_POOL_NETFS:
                return same(a->host, b->host) && same(a->dir, b->dir);
        case DOMUS_POOL_LOGICAL:
                return same(a->source_name, b->source_name);
        case DOMUS_POOL_ISCSI:
        case DOMUS_POOL_ISCSI_DIRECT:
                return same(a->host, b->host) && same(first_device(a), first_device(b)) && g_strcmp0(a->initiator, b->initiator) == 0;
        default:
                return false;
        }
}

static bool source_is_free(DomusPools *pools, const DomusPoolDef *def, GError **error)
{
        GHashTableIter iter;
        gpointer p;

        g_hash_table_iter_init(&iter, pools->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                const DomusPool *other = p;

                if (memcmp(other->uuid, def->uuid, DOMUS_UUID_LEN) != 0 && same_source(other->def, def))
                        return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "Storage source conflict with pool: '%s'", other->name);
        }
        return true;
}

bool pools_match(DomusPools *pools, const DomusPoolDef *def, DomusPool **ret, GError **error)
{
        DomusPool *same_uuid = g_hash_table_lookup(pools->by_uuid, def->uuid), *same_name = g_hash_table_lookup(pools->by_name, def->name);
        char text[DOMUS_UUID_STRING_LEN];

        *ret = same_uuid;
        if (same_uuid && same_uuid != same_name) {
                domus_uuid_format(same_uuid->uuid, text);
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "pool '%s' is already defined with uuid %s", same_uuid->name, text);
        }
        if (same_name && !same_uuid) {
                domus_uuid_format(same_name->uuid, text);
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "pool '%s' already exists with uuid %s", def->name, text);
        }
        return source_is_free(pools, def, error);
}

static void set_definition(DomusPool *p, DomusPoolDef *def)
{
        DomusPoolDef **where = p->active || p->jobs.length ? &p->next : &p->def;

        domus_pool_def_unref(*where);
        *where = domus_pool_def_ref(def);
        p->persistent = true;
}

DomusPool *domus_pools_define(DomusPools *pools, const char *xml, unsigned flags, GError **error)
{
        g_autoptr(DomusPoolDef) def =
                domus_pool_def_parse(xml, flags & VIR_STORAGE_POOL_DEFINE_VALIDATE ? DOMUS_POOL_DEF_VALIDATE : 0, error);
        DomusPool *p;

        if (!def || !pools_match(pools, def, &p, error) || !storage_backend_usable(storage_backend(def->type), pools->privileged, error) ||
            !storage_store_save(pools->store, def, error))
                return NULL;
        if (!p)
                p = pools_add(pools, def);
        set_definition(p, def);
        pools_emit(p, false, VIR_STORAGE_POOL_EVENT_DEFINED);
        return p;
}

bool domus_pool_undefine(DomusPool *p, GError **error)
{
        g_autoptr(DomusPool) hold = domus_pool_ref(p);

        if (p->active || p->jobs.length)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "storage pool '%s' is still active", p->name);
        if (!p->pools || !storage_store_remove(p->pools->store, p->name, error))
                return false;
        g_hash_table_remove_all(p->raw);
        storage_store_save_raw(p->pools->store, p->uuid, p->raw);
        p->persistent = p->autostart = false;
        pools_emit(p, false, VIR_STORAGE_POOL_EVENT_UNDEFINED);
        pools_drop(p);
        return true;
}

/* --- Events --- */

void domus_pools_set_listener(DomusPools *pools, DomusPoolEventFn fn, gpointer opaque)
{
        pools->listener = fn;
        pools->listener_opaque = opaque;
}

void pools_emit(DomusPool *p, bool refresh, int event)
{
        DomusPoolEvent e = { .pool = p, .refresh = refresh, .event = event };

        if (p->pools && p->pools->listener)
                p->pools->listener(&e, p->pools->listener_opaque);
}

/* --- Life --- */

static void load_defined(DomusPoolDef *def, bool autostart, gpointer opaque)
{
        DomusPools *pools = opaque;
        g_autoptr(GError) error = NULL;
        DomusPool *p;

        if (!pools_match(pools, def, &p, &error) || p) {
                log_error("skipping the storage pool '%s': %s", def->name, error ? error->message : "it is defined twice");
                return;
        }
        p = pools_add(pools, def);
        p->persistent = true;
        p->autostart = autostart;
}

static void load_active(DomusPoolDef *def, bool autostart, gpointer opaque)
{
        DomusPools *pools = opaque;
        g_autoptr(GError) error = NULL;
        DomusPool *p;

        if (!pools_match(pools, def, &p, &error)) {
                log_error("forgetting the active storage pool '%s': %s", def->name, error->message);
                return;
        }
        if (!p) {
                p = pools_add(pools, def);
        } else {
                p->next = p->def;
                p->def = domus_pool_def_ref(def);
        }
        pool_recover(p);
}

DomusPools *domus_pools_new(sd_event *loop, const DomusPoolDirs *dirs, GError **error)
{
        DomusPools *pools = g_new0(DomusPools, 1);

        pools->loop = sd_event_ref(loop);
        pools->privileged = dirs->privileged;
        pools->by_name = g_hash_table_new(g_str_hash, g_str_equal);
        pools->by_uuid = g_hash_table_new_full(domus_uuid_hash, domus_uuid_equal, NULL, unref_pool);
        pools->store = storage_store_new(dirs->config_dir, dirs->run_dir, dirs->state_dir, error);
        pools->workers = pools->store ? storage_workers_new(loop, error) : NULL;
        if (!pools->workers) {
                domus_pools_free(pools);
                return NULL;
        }
        storage_store_load(pools->store, load_defined, pools);
        storage_store_load_active(pools->store, load_active, pools);
        return pools;
}

void domus_pools_free(DomusPools *pools)
{
        GHashTableIter iter;
        gpointer p;

        if (!pools)
                return;
        pools->listener = NULL;
        g_hash_table_iter_init(&iter, pools->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p))
                pool_abort_jobs(p);
        storage_workers_free(pools->workers);
        g_hash_table_iter_init(&iter, pools->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                ((DomusPool *)p)->pools = NULL;
                pool_drop_volumes(p); /* each holds its pool */
                g_hash_table_iter_remove(&iter);
        }
        g_hash_table_unref(pools->by_name);
        g_hash_table_unref(pools->by_uuid);
        storage_store_free(pools->store);
        sd_event_unref(pools->loop);
        g_free(pools);
}

static void log_failed_start(DomusPool *p, const GError *error, gpointer opaque)
{
        g_autofree char *name = opaque;

        if (error)
                log_error("cannot start the storage pool '%s': %s", name, error->message);
}

void domus_pools_autostart(DomusPools *pools, unsigned timeout_ms)
{
        gint64 deadline = g_get_monotonic_time() + (gint64)timeout_ms * 1000, now;
        g_autoptr(GPtrArray) list = domus_pools_list(pools, 0);
        bool first = storage_store_first_start(pools->store);

        for (guint i = 0; first && i < list->len; i++) {
                DomusPool *p = list->pdata[i];

                if (p->autostart && !p->active && !p->jobs.length)
                        domus_pool_start(p, 0, log_failed_start, g_strdup(p->name));
        }
        while (pools->jobs && (now = g_get_monotonic_time()) < deadline && sd_event_get_state(pools->loop) != SD_EVENT_FINISHED)
                if (sd_event_run(pools->loop, (uint64_t)(deadline - now)) < 0)
                        break;
}

char *domus_pools_capabilities(DomusPools *pools)
{
        bool available[DOMUS_POOL_TYPES];

        for (unsigned t = 0; t < DOMUS_POOL_TYPES; t++)
                available[t] = storage_backend_usable(storage_backend(t), pools->privileged, NULL);
        return domus_pool_capabilities(available);
}
