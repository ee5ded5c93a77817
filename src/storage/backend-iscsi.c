/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An iSCSI target that the host's initiator logs in to; its volumes are the target's units. */

#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "storage/block.h"
#include "storage/iscsi.h"

#define SESSIONS "/sys/class/iscsi_session"

static const char *target_of(const DomusPoolDef *def)
{
        return def->devices->pdata[0];
}

static void free_volume(gpointer p)
{
        domus_volume_def_free(p);
}

/* --- The session --- */

static bool find_session(const StorageCancel *c, const DomusPoolDef *def, int *ret, GError **error)
{
        const char *argv[] = { "iscsiadm", "--mode", "session", NULL };
        g_autoptr(GError) local = NULL;
        g_autofree char *text = NULL;

        *ret = -1;
        if (storage_run(c, argv, NULL, 0, &text, &local)) {
                *ret = iscsi_find_session(text, target_of(def));
                return true;
        }
        if (strstr(local->message, "No active sessions"))
                return true;
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
}

static bool check(const StorageCancel *c, const DomusPoolDef *def, bool *ret, GError **error)
{
        int session;

        if (!find_session(c, def, &session, error))
                return false;
        *ret = session >= 0;
        return true;
}

/* An interface record of our own carries the initiator's name. */
static bool make_interface(const StorageCancel *c, const DomusPoolDef *def, const char *name, GError **error)
{
        const char *make[] = { "iscsiadm", "--mode", "iface", "--interface", name, "--op", "new", NULL };
        const char *set[] = { "iscsiadm", "--mode", "iface", "--interface", name, "--op", "update", "--name", "iface.initiatorname", "--value",
                              def->initiator, NULL };

        storage_run(c, make, NULL, 0, NULL, NULL); /* it may be there from the last time */
        return storage_run(c, set, NULL, 0, NULL, error);
}

static bool discover(const StorageCancel *c, const char *portal, const char *interface, char **ret, GError **error)
{
        const char *argv[] = { "iscsiadm", "--mode", "discovery", "--type", "sendtargets", "--portal", portal, interface ? "--interface" : NULL,
                               interface, NULL };

        return storage_run(c, argv, NULL, 0, ret, error);
}

static bool node_command(const StorageCancel *c, const DomusPoolDef *def, const char *interface, const char *what, GError **error)
{
        g_autofree char *portal = iscsi_portal(def->host, def->port);
        const char *argv[] = { "iscsiadm", "--mode", "node", "--portal", portal, "--targetname", target_of(def), what,
                               interface ? "--interface" : NULL, interface, NULL };

        return storage_run(c, argv, NULL, 0, NULL, error);
}

static char *interface_of(const DomusPoolDef *def)
{
        return def->initiator ? g_strconcat("domus-", def->name, NULL) : NULL;
}

static bool start(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        g_autofree char *interface = interface_of(def), *portal = iscsi_portal(def->host, def->port), *text = NULL;
        int session;

        if (!find_session(c, def, &session, error))
                return false;
        if (session >= 0)
                return true;
        if ((interface && !make_interface(c, def, interface, error)) || !discover(c, portal, interface, &text, error))
                return false;
        if (!iscsi_has_target(text, target_of(def)))
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "the iSCSI portal '%s' has no target '%s'", portal, target_of(def));
        return node_command(c, def, interface, "--login", error);
}

/* A session that is gone, by the target's doing or somebody else's, needs no logout. */
static bool stop(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        g_autofree char *interface = interface_of(def);
        int session;

        if (!find_session(c, def, &session, error))
                return false;
        return session < 0 || node_command(c, def, interface, "--logout", error);
}

/* --- Units --- */

/* The first entry of a folder that begins so; g_free. */
static char *find_entry(const char *dir, const char *prefix)
{
        g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
        const char *name;

        while (d && (name = g_dir_read_name(d)))
                if (g_str_has_prefix(name, prefix))
                        return g_build_filename(dir, name, NULL);
        return NULL;
}

#define TYPE_DISK "0"
#define TYPE_SIMPLIFIED_DISK "14"

static bool is_disk(const char *dir)
{
        g_autofree char *path = g_build_filename(dir, "type", NULL), *type = NULL;

        return g_file_get_contents(path, &type, NULL, NULL) && (strcmp(g_strstrip(type), TYPE_DISK) == 0 || strcmp(type, TYPE_SIMPLIFIED_DISK) == 0);
}

/* The kernel makes a disk of a unit, and udev its names, some time after the unit was found. NULL: that does not happen. g_free. */
static char *wait_for_path(const StorageCancel *c, const DomusPoolDef *def, const char *dir)
{
        g_autofree char *block = g_build_filename(dir, "block", NULL), *entry = NULL, *base = NULL, *node = NULL;

        if (!storage_block_wait(c, block, NULL))
                return NULL;
        entry = find_entry(block, "");
        if (!entry)
                return NULL;
        base = g_path_get_basename(entry);
        node = g_build_filename("/dev", base, NULL);
        return storage_block_wait(c, node, NULL) ? storage_block_wait_stable_path(c, def->path, node) : NULL;
}

/* unit: HOST:BUS:TARGET:LUN; dir: its folder in sysfs. Units that are no disks are none of ours. */
static void scan_unit(const StorageCancel *c, const DomusPoolDef *def, const char *unit, const char *dir, DomusPoolScan *ret)
{
        const char *address = strchr(unit, ':');
        g_autofree char *path = address && is_disk(dir) ? wait_for_path(c, def, dir) : NULL, *name = NULL;
        DomusVolumeDef *vol;

        if (!path)
                return;
        name = g_strconcat("unit", address, NULL); /* the host's number changes with every login */
        vol = domus_volume_def_new(name);
        vol->path = g_steal_pointer(&path);
        vol->key = g_strdup(vol->path);
        vol->format = g_strdup("raw");
        if (!storage_block_update(c, def, vol, true, NULL)) {
                domus_volume_def_free(vol);
                return;
        }
        ret->state.capacity += vol->capacity;
        g_ptr_array_add(ret->volumes, vol);
}

static bool rescan(const StorageCancel *c, int session, GError **error)
{
        g_autofree char *number = g_strdup_printf("%d", session);
        const char *argv[] = { "iscsiadm", "--mode", "session", "--sid", number, "--rescan", NULL };

        return storage_run(c, argv, NULL, 0, NULL, error);
}

static void scan_session(const StorageCancel *c, const DomusPoolDef *def, int session, DomusPoolScan *ret)
{
        g_autofree char *dir = g_strdup_printf(SESSIONS "/session%d/device", session), *target = find_entry(dir, "target");
        g_autoptr(GDir) d = target ? g_dir_open(target, 0, NULL) : NULL;
        const char *unit;

        while (d && (unit = g_dir_read_name(d))) {
                g_autofree char *path = g_build_filename(target, unit, NULL);

                if (g_ascii_isdigit(unit[0]))
                        scan_unit(c, def, unit, path, ret);
        }
}

static bool scan(const StorageCancel *c, const DomusPoolDef *def, DomusRawNames *raw, DomusPoolScan *ret, GError **error)
{
        int session;

        if (!find_session(c, def, &session, error))
                return false;
        if (session < 0)
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "there is no iSCSI session with '%s'", target_of(def));
        if (!rescan(c, session, error))
                return false;
        ret->volumes = g_ptr_array_new_with_free_func(free_volume);
        ret->state.perms = (DomusPermissions){ -1, -1, -1 };
        scan_session(c, def, session, ret);
        ret->state.allocation = ret->state.capacity; /* there is no room for more */
        return true;
}

static bool find(const StorageCancel *c, const char *host, GString *out, GError **error)
{
        g_autofree char *portal = host ? iscsi_portal(host, 0) : NULL, *text = NULL;

        if (!host)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "hostname must be specified for iscsi sources");
        if (!discover(c, portal, NULL, &text, error))
                return false;
        iscsi_append_sources(text, host, out);
        return true;
}

static const char *const programs[] = { "iscsiadm", NULL };

const DomusPoolBackend storage_backend_iscsi = {
        .type = DOMUS_POOL_ISCSI,
        .programs = programs,
        .needs_privilege = true,
        .check = check,
        .start = start,
        .stop = stop,
        .scan = scan,
        .update = storage_block_update,
        .find = find,
};
