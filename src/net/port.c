/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports: files RUN/networks/UUID/ports/UUID.xml, and guarantees of bandwidth on the bridge. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "net/link.h"
#include "net/networks-private.h"
#include "net/qos.h"

#define GUARANTEE_FIRST 3 /* see net/qos.h */
#define GUARANTEE_LAST 65535

void network_port_free(gpointer p)
{
        DomusNetworkPort *port = p;

        if (!port)
                return;
        domus_network_port_def_free(port->def);
        g_free(port);
}

static char *file_of(const DomusNetwork *net, const DomusNetworkPort *port)
{
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(port->uuid, uuid);
        return g_strdup_printf("%s/ports/%s.xml", net->run_dir, uuid);
}

bool network_port_save(DomusNetwork *net, DomusNetworkPort *port, GError **error)
{
        g_autofree char *path = file_of(net, port), *xml = domus_network_port_def_format(port->def, true);
        int r = file_replace(path, xml, strlen(xml), 0600);

        if (r < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot write '%s': %s", path, g_strerror(-r));
        return r == 0;
}

/* --- Guarantees --- */

static uint64_t guaranteed(const DomusNetwork *net, const DomusNetworkPort *but)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < net->ports->len; i++) {
                const DomusNetworkPort *p = net->ports->pdata[i];

                if (p != but)
                        sum += p->def->bandwidth.inbound.floor;
        }
        return sum;
}

static bool guarantee_taken(const DomusNetwork *net, unsigned id)
{
        for (unsigned i = 0; i < net->ports->len; i++)
                if (((DomusNetworkPort *)net->ports->pdata[i])->guarantee == id)
                        return true;
        return false;
}

static bool check_floor(const DomusNetwork *net, const DomusNetworkPort *port, uint64_t floor, GError **error)
{
        const DomusBandwidthRate *all = &net->live->bandwidth.inbound;

        if (!network_mode_of(net->live)->own_bridge || !all->average)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED,
                        "Invalid use of 'floor' on interface with MAC address %02x:%02x:%02x:%02x:%02x:%02x - network '%s' has no inbound QoS set",
                        port->def->mac[0], port->def->mac[1], port->def->mac[2], port->def->mac[3], port->def->mac[4], port->def->mac[5], net->name);
        else if (guaranteed(net, port) + floor > all->average)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID,
                        "a floor of %" G_GUINT64_FORMAT " KiB/s would overcommit 'average' of the inbound bandwidth on network '%s'", floor, net->name);
        else
                return true;
        return false;
}

static void drop_guarantee(DomusNetwork *net, DomusNetworkPort *port)
{
        if (port->guarantee)
                qos_unguarantee(net->live->bridge, &net->live->bandwidth, port->guarantee, net->live->bandwidth.inbound.average - guaranteed(net, port));
        port->guarantee = 0;
}

/* By the port's floor. */
static bool apply_guarantee(DomusNetwork *net, DomusNetworkPort *port, GError **error)
{
        uint64_t floor = port->def->bandwidth.inbound.floor;
        unsigned id = port->guarantee ? port->guarantee : GUARANTEE_FIRST;

        if (!floor) {
                drop_guarantee(net, port);
                return true;
        }
        if (!check_floor(net, port, floor, error))
                return false;
        while (!port->guarantee && id < GUARANTEE_LAST && guarantee_taken(net, id))
                id++;
        if (!qos_guarantee(net->live->bridge, &net->live->bandwidth, id, port->def->mac, floor,
                    net->live->bandwidth.inbound.average - guaranteed(net, port) - floor, error))
                return false;
        port->guarantee = id;
        return true;
}

/* --- Adding and removing --- */

/* What the port does not say, its group does; how to connect, the network. */
static bool fill(DomusNetwork *net, DomusNetworkPortDef *def, GError **error)
{
        const struct network_mode *mode = network_mode_of(net->live);
        g_autoptr(GError) inner = NULL;
        const DomusPortgroup *group = domus_network_def_portgroup(net->live, def->group, &inner);

        if (inner) {
                g_propagate_error(error, g_steal_pointer(&inner));
                return false;
        }
        if (group && domus_bandwidth_is_empty(&def->bandwidth))
                def->bandwidth = group->bandwidth;
        def->isolated |= net->live->isolated || (group && group->isolated);
        if (group && !def->group)
                def->group = g_strdup(group->name);
        if (def->plug == DOMUS_PLUG_NONE) {
                def->plug = mode->plug;
                def->bridge = mode->plug == DOMUS_PLUG_DIRECT ? NULL : g_strdup(net->live->bridge);
        }
        if (def->plug == mode->plug)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "the plug type of the port does not fit network '%s'", net->name);
        return false;
}

static bool choose_uuid(DomusNetwork *net, DomusNetworkPort *port, GError **error)
{
        char uuid[DOMUS_UUID_STRING_LEN];

        if (!port->def->has_uuid)
                domus_uuid_generate(port->def->uuid);
        port->def->has_uuid = true;
        memcpy(port->uuid, port->def->uuid, sizeof(port->uuid));
        if (!domus_network_port_lookup(net, port->uuid, NULL))
                return true;
        domus_uuid_format(port->uuid, uuid);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "network '%s' has a port with uuid %s already", net->name, uuid);
        return false;
}

DomusNetworkPort *network_port_add(DomusNetwork *net, DomusNetworkPortDef *def, GError **error)
{
        DomusNetworkPort *port = g_new0(DomusNetworkPort, 1);

        port->def = def;
        if (!net->live) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network '%s' is not active", net->name);
        } else if (fill(net, def, error) && choose_uuid(net, port, error) && apply_guarantee(net, port, error)) {
                g_ptr_array_add(net->ports, port);
                if (network_port_save(net, port, error))
                        return port;
                network_port_remove(net, port);
                return NULL;
        }
        network_port_free(port);
        return NULL;
}

void network_port_remove(DomusNetwork *net, DomusNetworkPort *port)
{
        g_autofree char *path = file_of(net, port);

        drop_guarantee(net, port);
        unlink(path);
        g_ptr_array_remove(net->ports, port);
}

bool domus_network_port_set_bandwidth(DomusNetwork *net, DomusNetworkPort *port, const DomusBandwidth *bandwidth, GError **error)
{
        DomusBandwidth old = port->def->bandwidth;

        port->def->bandwidth = *bandwidth;
        if (apply_guarantee(net, port, error) && network_port_save(net, port, error) &&
                (!port->def->target || qos_set(port->def->target, bandwidth, port->def->plug == DOMUS_PLUG_DIRECT, error)))
                return true;
        port->def->bandwidth = old;
        apply_guarantee(net, port, NULL);
        network_port_save(net, port, NULL);
        if (port->def->target)
                qos_set(port->def->target, &old, port->def->plug == DOMUS_PLUG_DIRECT, NULL);
        return false;
}

/* --- For presentations --- */

DomusNetworkPort *domus_network_port_create(DomusNetwork *net, const char *xml, unsigned flags, GError **error)
{
        DomusNetworkPortDef *def = domus_network_port_def_parse(xml, error);

        if (!def)
                return NULL;
        g_clear_pointer(&def->target, g_free);
        return network_port_add(net, def, error);
}

DomusNetworkPort *domus_network_port_lookup(DomusNetwork *net, const uint8_t uuid[DOMUS_UUID_LEN], GError **error)
{
        char text[DOMUS_UUID_STRING_LEN];

        for (unsigned i = 0; i < net->ports->len; i++) {
                DomusNetworkPort *p = net->ports->pdata[i];

                if (memcmp(p->uuid, uuid, DOMUS_UUID_LEN) == 0)
                        return p;
        }
        domus_uuid_format(uuid, text);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_NETWORK_PORT, "Network port with UUID %s does not exist", text);
        return NULL;
}

GPtrArray *domus_network_ports(DomusNetwork *net)
{
        GPtrArray *ret = g_ptr_array_new();

        for (unsigned i = 0; i < net->ports->len; i++)
                g_ptr_array_add(ret, net->ports->pdata[i]);
        return ret;
}

char *domus_network_port_xml(DomusNetwork *net, DomusNetworkPort *port, GError **error)
{
        return domus_network_port_def_format(port->def, false);
}

/* A guest's device keeps its port until it is released. */
bool domus_network_port_delete(DomusNetwork *net, DomusNetworkPort *port, GError **error)
{
        if (port->def->target && link_exists(port->def->target)) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "device '%s' of domain '%s' is connected to the port",
                        port->def->target, port->def->owner_name);
                return false;
        }
        network_port_remove(net, port);
        return true;
}

DomusNetworkPort *networks_find_port(DomusNetworks *n, const char *device, DomusNetwork **ret)
{
        GHashTableIter iter;
        gpointer p;

        g_hash_table_iter_init(&iter, n->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                *ret = p;
                for (unsigned i = 0; i < (*ret)->ports->len; i++) {
                        DomusNetworkPort *port = (*ret)->ports->pdata[i];

                        if (g_strcmp0(port->def->target, device) == 0)
                                return port;
                }
        }
        *ret = NULL;
        return NULL;
}

/* --- After a restart of the daemon --- */

static void load_one(DomusNetwork *net, const char *path)
{
        g_autoptr(GError) error = NULL;
        DomusNetworkPort *port;
        DomusNetworkPortDef *def;
        char *xml = NULL;

        if (file_read(path, 1U << 20, &xml, NULL) < 0)
                return;
        def = domus_network_port_def_parse(xml, &error);
        free(xml);
        /* the guest has gone, and its device with it */
        if (!def || (def->target && !link_exists(def->target))) {
                if (!def)
                        log_error("dropping a port of network '%s': %s", net->name, error->message);
                domus_network_port_def_free(def);
                unlink(path);
                return;
        }
        port = g_new0(DomusNetworkPort, 1);
        port->def = def;
        memcpy(port->uuid, def->uuid, sizeof(port->uuid));
        g_ptr_array_add(net->ports, port);
}

void network_ports_load(DomusNetwork *net)
{
        g_autofree char *path = g_build_filename(net->run_dir, "ports", NULL);
        g_autoptr(GError) error = NULL;
        DIR *dir = opendir(path);
        const struct dirent *e;

        while (dir && (e = readdir(dir))) {
                g_autofree char *file = g_build_filename(path, e->d_name, NULL);

                if (g_str_has_suffix(e->d_name, ".xml"))
                        load_one(net, file);
        }
        if (dir)
                closedir(dir);
        /* guarantees are given anew, with numbers of this daemon's */
        if (net->live->bandwidth.inbound.average && !qos_set(net->live->bridge, &net->live->bandwidth, false, &error)) {
                log_warning("network '%s': %s", net->name, error->message);
                g_clear_error(&error);
        }
        for (unsigned i = 0; i < net->ports->len; i++)
                if (!apply_guarantee(net, net->ports->pdata[i], &error)) {
                        log_warning("network '%s': %s", net->name, error->message);
                        g_clear_error(&error);
                }
}
