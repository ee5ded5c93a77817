/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of virtual machines: taps on bridges, macvtaps on devices of the host. */
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "net/link.h"
#include "net/networks-private.h"
#include "net/qos.h"
#include "net/tap.h"

/* Where a device is to be connected: decided before anything is made. */
struct place {
        DomusNetwork *net;        /* NULL: directly to what the request says */
        DomusPlug plug;
        const char *bridge, *source, *mode; /* bridge, or source and mode of a macvtap */
        DomusNetworkPort *port;   /* NULL without a network */
        bool isolated;
        DomusBandwidth bandwidth;
};

void domus_tap_clear(DomusTap *tap)
{
        for (unsigned i = 0; i < tap->n_fds; i++)
                fd_close(tap->fds[i]);
        g_free(tap->device);
        g_free(tap->bridge);
        g_free(tap->port_uuid);
        *tap = (DomusTap){ 0 };
}

G_GNUC_PRINTF(3, 4)
static bool fail(GError **error, DomusError code, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        if (error)
                *error = g_error_new_valist(DOMUS_ERROR, code, fmt, ap);
        va_end(ap);
        return false;
}

/* --- Places --- */

static unsigned users_of(const DomusNetwork *net, const char *source)
{
        unsigned n = 0;

        for (unsigned i = 0; i < net->ports->len; i++)
                n += g_strcmp0(((DomusNetworkPort *)net->ports->pdata[i])->def->device, source) == 0;
        return n;
}

/* Guests are spread over a network's devices; passthrough gives each one of its own. */
static const char *choose_source(const DomusNetwork *net, GError **error)
{
        const char *best = NULL;

        for (char **device = net->live->devices; *device; device++)
                if (!best || users_of(net, *device) < users_of(net, best))
                        best = *device;
        if (strcmp(net->live->direct_mode, "passthrough") != 0 || users_of(net, best) == 0)
                return best;
        fail(error, DOMUS_ERROR_OPERATION_FAILED, "network '%s' requires exclusive access to interfaces, but none are available", net->name);
        return NULL;
}

static DomusNetworkPortDef *port_def(const DomusTapRequest *request)
{
        DomusNetworkPortDef *def = g_new0(DomusNetworkPortDef, 1);

        def->owner_name = g_strdup(request->domain_name);
        if (request->domain_uuid)
                memcpy(def->owner_uuid, request->domain_uuid, sizeof(def->owner_uuid));
        def->group = g_strdup(request->portgroup);
        memcpy(def->mac, request->mac, sizeof(def->mac));
        def->isolated = request->isolated;
        if (request->bandwidth)
                def->bandwidth = *request->bandwidth;
        return def;
}

static bool place_on_network(DomusNetworks *n, const DomusTapRequest *request, struct place *ret, GError **error)
{
        DomusNetworkPortDef *def;

        ret->net = domus_networks_lookup_name(n, request->network, error);
        if (!ret->net)
                return false;
        if (!ret->net->live)
                return fail(error, DOMUS_ERROR_OPERATION_INVALID, "network '%s' is not active", request->network);
        ret->plug = network_mode_of(ret->net->live)->plug;
        def = port_def(request);
        if (ret->plug == DOMUS_PLUG_DIRECT) {
                def->plug = ret->plug;
                def->device = g_strdup(choose_source(ret->net, error));
                def->mode = g_strdup(ret->net->live->direct_mode);
                if (!def->device) {
                        domus_network_port_def_free(def);
                        return false;
                }
        }
        ret->port = network_port_add(ret->net, def, error);
        if (!ret->port)
                return false;
        ret->bridge = ret->port->def->bridge;
        ret->source = ret->port->def->device;
        ret->mode = ret->port->def->mode;
        ret->isolated = ret->port->def->isolated;
        ret->bandwidth = ret->port->def->bandwidth;
        return true;
}

static bool check_device(const DomusTapRequest *request, GError **error)
{
        const char *device = request->unmanaged ? request->target : request->source_device;

        if (request->bridge && !link_is_bridge(request->bridge))
                return fail(error, DOMUS_ERROR_OPERATION_FAILED, link_exists(request->bridge) ? "'%s' is not a bridge" : "there is no bridge '%s'",
                        request->bridge);
        if (request->bridge || (request->ethernet && !request->unmanaged) || (device && link_exists(device)))
                return true;
        return fail(error, DOMUS_ERROR_OPERATION_FAILED, "there is no interface '%s'", device ? device : "");
}

static bool place_on_host(const DomusTapRequest *request, struct place *ret, GError **error)
{
        ret->bridge = request->bridge;
        ret->source = request->source_device;
        ret->mode = request->source_mode;
        ret->plug = request->ethernet ? DOMUS_PLUG_NONE : request->bridge ? DOMUS_PLUG_BRIDGE : DOMUS_PLUG_DIRECT;
        ret->isolated = request->isolated;
        if (request->bandwidth)
                ret->bandwidth = *request->bandwidth;
        if (ret->bandwidth.inbound.floor)
                return fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "'floor' of <bandwidth> is supported for interfaces of networks only");
        return check_device(request, error);
}

static void place_leave(struct place *p)
{
        if (p->port)
                network_port_remove(p->net, p->port);
        p->port = NULL;
}

static bool place_find(DomusNetworks *n, const DomusTapRequest *request, struct place *ret, GError **error)
{
        *ret = (struct place){ 0 };
        if (!networks_check_privileged(n, error))
                return false;
        if (request->queues > DOMUS_TAP_QUEUES_MAX)
                return fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "%u queues of an interface are more than %u", request->queues,
                        DOMUS_TAP_QUEUES_MAX);
        if (!(request->network ? place_on_network(n, request, ret, error) : place_on_host(request, ret, error)))
                return false;
        if (!ret->isolated || ret->bridge)
                return true;
        place_leave(ret);
        return fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "isolated ports need a bridge, '%s' has none",
                request->network ? request->network : request->ethernet ? "ethernet" : request->source_device);
}

/* --- Devices --- */

/* As libvirt has it: a bridge that has no address of its own takes its lowest port's, which must not be a guest's. */
static bool set_host_mac(const char *device, const uint8_t *guest, GError **error)
{
        uint8_t mac[6];

        memcpy(mac, guest, sizeof(mac));
        mac[0] = 0xfe;
        return link_set_mac(device, mac, error);
}

static bool connect_tap(const struct place *p, const char *device, GError **error)
{
        if (!p->bridge)
                return true;
        return link_set_master(device, p->bridge, error) && (!p->isolated || link_set_isolated(device, true, error));
}

static bool make_tap(const struct place *p, const DomusTapRequest *request, DomusTap *tap, GError **error)
{
        unsigned queues = MAX(request->queues, 1), mtu = request->mtu || !p->bridge ? request->mtu : link_mtu(p->bridge);

        if (!tap_open(request->target ? request->target : "vnet%d", queues, tap->fds, &tap->device, error))
                return false;
        tap->n_fds = queues;
        tap->bridge = g_strdup(p->bridge);
        return set_host_mac(tap->device, request->mac, error) && (!mtu || link_set_mtu(tap->device, mtu, error)) &&
               connect_tap(p, tap->device, error);
}

static char *free_macvtap_name(void)
{
        for (unsigned i = 0;; i++) {
                g_autofree char *name = g_strdup_printf("macvtap%u", i);

                if (!link_exists(name))
                        return g_steal_pointer(&name);
        }
}

static bool make_macvtap(const struct place *p, const DomusTapRequest *request, DomusTap *tap, GError **error)
{
        unsigned queues = MAX(request->queues, 1);

        tap->device = request->target ? g_strdup(request->target) : free_macvtap_name();
        if (link_exists(tap->device)) {
                fail(error, DOMUS_ERROR_SYSTEM, "cannot make macvtap '%s': File exists", tap->device);
                g_clear_pointer(&tap->device, g_free); /* not ours */
                return false;
        }
        if (!link_make_macvtap(tap->device, p->source, p->mode, request->mac, error))
                return false;
        if (request->mtu && !link_set_mtu(tap->device, request->mtu, error))
                return false;
        if (!tap_open_macvtap(tap->device, queues, tap->fds, error))
                return false;
        tap->n_fds = queues;
        return true;
}

/* Its address, size of packets and state are its owner's business. */
static bool use_device(const DomusTapRequest *request, DomusTap *tap, GError **error)
{
        unsigned queues = MAX(request->queues, 1);

        if (!(link_is_macvtap(request->target) ? tap_open_macvtap : tap_open_existing)(request->target, queues, tap->fds, error))
                return false;
        tap->n_fds = queues;
        tap->device = g_strdup(request->target);
        return !request->bandwidth || qos_set(tap->device, request->bandwidth, link_is_macvtap(tap->device), error);
}

/* The port remembers the device, so that it is found by it. */
static bool note_device(const struct place *p, const char *device, GError **error)
{
        if (!p->port)
                return true;
        g_free(p->port->def->target);
        p->port->def->target = g_strdup(device);
        return network_port_save(p->net, p->port, error);
}

static bool make_device(const struct place *p, const DomusTapRequest *request, DomusTap *tap, GError **error)
{
        bool direct = p->plug == DOMUS_PLUG_DIRECT;

        if (request->unmanaged)
                return use_device(request, tap, error);
        return (direct ? make_macvtap(p, request, tap, error) : make_tap(p, request, tap, error)) &&
               qos_set(tap->device, &p->bandwidth, direct, error) && (request->link_down || link_set_up(tap->device, true, error)) &&
               note_device(p, tap->device, error);
}

/* Taps go with their descriptors. */
static void remove_device(const char *device)
{
        qos_clear(device);
        if (link_is_macvtap(device))
                link_delete(device, NULL);
}

bool domus_networks_open_tap(DomusNetworks *n, const DomusTapRequest *request, DomusTap *ret, GError **error)
{
        char uuid[DOMUS_UUID_STRING_LEN];
        struct place p;

        *ret = (DomusTap){ 0 };
        if (!place_find(n, request, &p, error))
                return false;
        if (!make_device(&p, request, ret, error)) {
                if (ret->device && !request->unmanaged)
                        remove_device(ret->device);
                domus_tap_clear(ret);
                place_leave(&p);
                return false;
        }
        if (p.port) {
                domus_uuid_format(p.port->uuid, uuid);
                ret->port_uuid = g_strdup(uuid);
        }
        ret->mtu = link_mtu(ret->device);
        return true;
}

static DomusNetworkPort *find_by_uuid(DomusNetworks *n, const char *text, DomusNetwork **ret)
{
        uint8_t uuid[DOMUS_UUID_LEN];
        GHashTableIter iter;
        gpointer p;

        if (!text || !domus_uuid_parse(text, uuid))
                return NULL;
        g_hash_table_iter_init(&iter, n->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                DomusNetworkPort *port = domus_network_port_lookup(p, uuid, NULL);

                if (port) {
                        *ret = p;
                        return port;
                }
        }
        return NULL;
}

bool domus_networks_release_tap(DomusNetworks *n, const char *device, const char *port_uuid, GError **error)
{
        DomusNetwork *net = NULL;
        DomusNetworkPort *port = find_by_uuid(n, port_uuid, &net);

        if (!port && device)
                port = networks_find_port(n, device, &net);
        if (device && n->privileged)
                remove_device(device);
        if (port)
                network_port_remove(net, port);
        return true;
}

void domus_networks_release_unmanaged_tap(DomusNetworks *n, const char *device)
{
        if (n->privileged)
                qos_clear(device);
}

char *domus_networks_port_of(DomusNetworks *n, const char *device)
{
        DomusNetwork *net;
        const DomusNetworkPort *port = networks_find_port(n, device, &net);
        char uuid[DOMUS_UUID_STRING_LEN];

        if (!port)
                return NULL;
        domus_uuid_format(port->uuid, uuid);
        return g_strdup(uuid);
}

char *domus_networks_bridge_of(const char *device)
{
        return link_master(device);
}

/* --- Changes while a guest runs --- */

bool domus_networks_set_link(DomusNetworks *n, const char *device, bool up, GError **error)
{
        return networks_check_privileged(n, error) && link_set_up(device, up, error);
}

bool domus_networks_set_bandwidth(DomusNetworks *n, const char *device, const DomusBandwidth *bandwidth, GError **error)
{
        static const DomusBandwidth none;
        DomusNetwork *net;
        DomusNetworkPort *port = networks_find_port(n, device, &net);

        if (!networks_check_privileged(n, error))
                return false;
        if (!link_exists(device))
                return fail(error, DOMUS_ERROR_OPERATION_FAILED, "there is no interface '%s'", device);
        if (!bandwidth)
                bandwidth = &none;
        if (port)
                return domus_network_port_set_bandwidth(net, port, bandwidth, error);
        if (bandwidth->inbound.floor)
                return fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "'floor' needs a network, '%s' has none", device);
        return qos_set(device, bandwidth, link_is_macvtap(device), error);
}

/* Back to where it was; what fails now cannot be helped. */
static void move_back(const char *device, const char *bridge, const DomusNetworkPort *old)
{
        link_set_master(device, bridge, NULL);
        if (old && old->def->isolated)
                link_set_isolated(device, true, NULL);
        if (old)
                qos_set(device, &old->def->bandwidth, false, NULL);
}

static bool move(const struct place *p, const char *device, const DomusTapRequest *request, GError **error)
{
        unsigned mtu = request->mtu ? request->mtu : link_mtu(p->bridge);

        return (!mtu || mtu == link_mtu(device) || link_set_mtu(device, mtu, error)) && connect_tap(p, device, error) &&
               qos_set(device, &p->bandwidth, false, error) && link_set_up(device, !request->link_down, error) && note_device(p, device, error);
}

bool domus_networks_move_tap(DomusNetworks *n, const char *device, const DomusTapRequest *request, GError **error)
{
        DomusNetwork *old_net;
        DomusNetworkPort *old = networks_find_port(n, device, &old_net);
        g_autofree char *bridge = link_master(device);
        struct place p;

        if (!link_exists(device))
                return fail(error, DOMUS_ERROR_OPERATION_FAILED, "there is no interface '%s'", device);
        if (!place_find(n, request, &p, error))
                return false;
        if (p.plug == DOMUS_PLUG_DIRECT || link_is_macvtap(device)) {
                place_leave(&p);
                return fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "'%s' cannot change between a bridge and a device of the host while it is in use",
                        device);
        }
        if (!move(&p, device, request, error)) {
                move_back(device, bridge, old);
                place_leave(&p);
                return false;
        }
        if (old)
                network_port_remove(old_net, old);
        return true;
}

bool domus_networks_tap_stats(const char *device, DomusTapStats *ret, GError **error)
{
        LinkStatistics s;

        if (!link_statistics(device, &s, error))
                return false;
        /* a macvtap receives for the guest, a tap from it */
        if (link_is_macvtap(device))
                *ret = (DomusTapStats){ s.rx_bytes, s.rx_packets, s.rx_errors, s.rx_dropped, s.tx_bytes, s.tx_packets, s.tx_errors, s.tx_dropped };
        else
                *ret = (DomusTapStats){ s.tx_bytes, s.tx_packets, s.tx_errors, s.tx_dropped, s.rx_bytes, s.rx_packets, s.rx_errors, s.rx_dropped };
        return true;
}
