/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An iSCSI target whose units no disks of the host are made of: guests' disks reach them through qemu-storage-daemon, and the pool asks for them itself. */

#include <string.h>

#include "storage/backend.h"
#include "storage/iscsi-client.h"
#include "storage/iscsi.h"

/* Who asks for targets without a pool. */
#define FINDER "iqn.2024-01.org.domus:find"

static void free_volume(gpointer p)
{
        domus_volume_def_free(p);
}

static IscsiClient *connect_to(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        g_autofree char *portal = iscsi_portal(def->host, def->port);

        return iscsi_client_new(c, portal, def->initiator, def->devices->pdata[0], error);
}

static bool start(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        g_autoptr(IscsiClient) client = connect_to(c, def, error);

        return client;
}

/* The names are those that libvirt gives. */
static DomusVolumeDef *make_volume(const DomusPoolDef *def, unsigned unit, uint64_t size)
{
        g_autofree char *name = g_strdup_printf("unit:0:0:%u", unit), *portal = iscsi_portal(def->host, def->port);
        DomusVolumeDef *vol = domus_volume_def_new(name);

        vol->type = DOMUS_VOLUME_NETWORK;
        vol->path = g_strdup_printf("ip-%s-iscsi-%s-lun-%u", portal, (const char *)def->devices->pdata[0], unit);
        vol->key = g_strdup(vol->path);
        vol->format = g_strdup("raw");
        vol->capacity = vol->allocation = vol->physical = size;
        return vol;
}

static bool scan(const StorageCancel *c, const DomusPoolDef *def, DomusRawNames *raw, DomusPoolScan *ret, GError **error)
{
        g_autoptr(IscsiClient) client = connect_to(c, def, error);
        g_autoptr(GArray) units = client ? iscsi_client_find_units(client, error) : NULL;
        g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func(free_volume);

        if (!units)
                return false;
        ret->state.perms = (DomusPermissions){ -1, -1, -1 };
        for (guint i = 0; i < units->len; i++) {
                unsigned unit = g_array_index(units, unsigned, i);
                uint64_t size;

                if (!iscsi_client_unit_size(client, unit, &size, error))
                        return false;
                ret->state.capacity += size;
                if (size)
                        g_ptr_array_add(volumes, make_volume(def, unit, size));
        }
        ret->state.allocation = ret->state.capacity; /* there is no room for more */
        ret->volumes = g_steal_pointer(&volumes);
        return true;
}

static bool update(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, bool raw, GError **error)
{
        g_autoptr(IscsiClient) client = connect_to(c, def, error);
        unsigned unit = iscsi_unit_of(vol->name);
        uint64_t size;

        if (!client || !iscsi_client_unit_size(client, unit, &size, error))
                return false;
        if (!size)
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "volume '%s' is gone", vol->name);
        vol->capacity = vol->allocation = vol->physical = size;
        return true;
}

static bool find(const StorageCancel *c, const char *host, GString *out, GError **error)
{
        g_autofree char *portal = host ? iscsi_portal(host, 0) : NULL;
        g_autoptr(IscsiClient) client = NULL;
        g_auto(GStrv) targets = NULL;

        if (!host)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "hostname must be specified for iscsi-direct sources");
        client = iscsi_client_new(c, portal, FINDER, NULL, error);
        targets = client ? iscsi_client_find_targets(client, error) : NULL;
        for (char **t = targets; t && *t; t++) {
                const char *devices[] = { *t, NULL };
                DomusPoolSource source = { .host = host, .devices = devices };

                domus_pool_source_append(out, &source);
        }
        return targets;
}

const DomusPoolBackend storage_backend_iscsi_direct = {
        .type = DOMUS_POOL_ISCSI_DIRECT,
        .start = start,
        .scan = scan,
        .update = update,
        .find = find,
};
