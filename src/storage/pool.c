/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a pool is. */

#include <libvirt/libvirt.h>

#include "storage/pool-private.h"

const char *domus_pool_name(const DomusPool *p)
{
        return p->name;
}

const uint8_t *domus_pool_uuid(const DomusPool *p)
{
        return p->uuid;
}

bool domus_pool_is_active(const DomusPool *p)
{
        return p->active;
}

bool domus_pool_is_persistent(const DomusPool *p)
{
        return p->persistent;
}

int domus_pool_state(const DomusPool *p)
{
        return p->active ? VIR_STORAGE_POOL_RUNNING : VIR_STORAGE_POOL_INACTIVE;
}

const DomusPoolState *domus_pool_sizes(const DomusPool *p)
{
        return &p->state;
}

bool domus_pool_get_autostart(const DomusPool *p)
{
        return p->autostart;
}

bool domus_pool_set_autostart(DomusPool *p, bool on, GError **error)
{
        if (!p->persistent || !p->pools)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "pool has no config file");
        if (!storage_store_set_autostart(p->pools->store, p->name, on, error))
                return false;
        p->autostart = on;
        return true;
}

char *domus_pool_xml(DomusPool *p, unsigned flags)
{
        const DomusPoolDef *def = flags & VIR_STORAGE_XML_INACTIVE && p->next ? p->next : p->def;

        return domus_pool_def_format(def, p->active && def == p->def ? &p->state : NULL);
}

/* --- Finding sources --- */

struct search {
        const DomusPoolBackend *backend;
        char *host;
        GString *out;
        DomusSourcesDone done;
        gpointer opaque;
};

static bool search(const StorageCancel *c, gpointer data, GError **error)
{
        struct search *s = data;

        return s->backend->find(c, s->host, s->out, error);
}

static void search_done(gpointer data, const GError *error)
{
        struct search *s = data;

        g_string_append(s->out, "</sources>\n");
        s->done(error ? NULL : s->out->str, error, s->opaque);
        g_string_free(s->out, TRUE);
        g_free(s->host);
        g_free(s);
}

static bool find_backend(DomusPools *pools, const char *type, const DomusPoolBackend **ret, GError **error)
{
        DomusPoolType t;

        if (!domus_pool_type_from_string(type, &t))
                return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "storage pool type '%s' is not supported", type);
        *ret = storage_backend(t);
        if (!(*ret)->find)
                return storage_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "pool type '%s' does not support source discovery", type);
        return storage_backend_usable(*ret, pools->privileged, error);
}

void domus_pools_find_sources(DomusPools *pools, const char *type, const char *spec, DomusSourcesDone done, gpointer opaque)
{
        g_autofree char *host = NULL, *format = NULL;
        const DomusPoolBackend *backend = NULL;
        g_autoptr(GError) error = NULL;
        struct search *s;

        if (!find_backend(pools, type, &backend, &error) || !domus_pool_source_parse(spec, &host, &format, &error)) {
                done(NULL, error, opaque);
                return;
        }
        s = g_new0(struct search, 1);
        *s = (struct search){
                .backend = backend, .host = g_steal_pointer(&host), .out = g_string_new("<sources>\n"), .done = done, .opaque = opaque
        };
        storage_work_begin(pools->workers, search, search_done, s);
}
