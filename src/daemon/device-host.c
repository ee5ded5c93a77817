/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/device-host.h"

#include "base/fd.h"
#include "base/log.h"
#include "storage/image.h"

static bool resolve_volume(gpointer opaque, const char *pool, const char *volume, DomusHookVolume *ret, GError **error)
{
        DomusVolumeLocation where = { 0 };

        if (!domus_pools_resolve(opaque, pool, volume, &where, error))
                return false;
        *ret = (DomusHookVolume){ .path = g_steal_pointer(&where.path), .format = g_steal_pointer(&where.format), .block = where.block,
                .host = g_steal_pointer(&where.host), .port = g_steal_pointer(&where.port), .unit = g_steal_pointer(&where.unit),
                .initiator = g_steal_pointer(&where.initiator) };
        domus_volume_location_clear(&where);
        return true;
}

static char *probe_format(gpointer opaque, const char *path, GError **error)
{
        DomusImage image = { 0 };
        char *format;

        if (!domus_image_probe(path, NULL, &image, error))
                return NULL;
        format = g_strdup(image.format);
        domus_image_clear(&image);
        return format;
}

static void note_raw(gpointer opaque, const char *path)
{
        domus_pools_note_raw(opaque, path);
}

static char **backing_files(gpointer opaque, const char *path, const char *format, GError **error)
{
        g_autoptr(GStrvBuilder) list = g_strv_builder_new();
        DomusImage image = { 0 };

        if (!domus_image_probe(path, format, &image, error))
                return NULL;
        for (unsigned i = 0; image.chain && i < image.chain->len; i++)
                g_strv_builder_add(list, ((DomusImageLayer *)image.chain->pdata[i])->path);
        domus_image_clear(&image);
        return g_strv_builder_end(list);
}

static bool image_capacity(gpointer opaque, const char *path, const char *format, uint64_t *ret, GError **error)
{
        DomusImage image = { 0 };

        if (!domus_image_probe(path, format, &image, error))
                return false;
        *ret = image.virtual_size;
        domus_image_clear(&image);
        return true;
}

void domus_device_host_storage(DomusPools *pools, DomusDomainHooks *ret)
{
        *ret = (DomusDomainHooks){
                .opaque = pools,
                .resolve_volume = resolve_volume,
                .probe_format = probe_format,
                .note_raw = note_raw,
                .backing_files = backing_files,
                .image_capacity = image_capacity,
        };
}

/* --- Networks --- */

static DomusTapRequest make_request(const uint8_t *uuid, const char *name, const DomusInterface *i)
{
        return (DomusTapRequest){
                .network = i->type == DOMUS_INTERFACE_NETWORK ? i->network : NULL,
                .bridge = i->type == DOMUS_INTERFACE_BRIDGE ? i->bridge : NULL,
                .portgroup = i->portgroup,
                .mac = i->mac,
                .target = i->target,
                .domain_uuid = uuid,
                .domain_name = name,
                .mtu = i->mtu,
                .queues = i->queues,
                .link_down = i->link_down,
                .isolated = i->isolated,
                .bandwidth = domus_bandwidth_is_empty(&i->bandwidth) ? NULL : &i->bandwidth,
                .source_device = i->type == DOMUS_INTERFACE_DIRECT ? i->dev : NULL,
                .source_mode = i->type == DOMUS_INTERFACE_DIRECT ? i->mode : NULL,
                .ethernet = i->type == DOMUS_INTERFACE_ETHERNET,
                .unmanaged = i->type == DOMUS_INTERFACE_ETHERNET && !i->managed,
        };
}

static bool open_tap(gpointer networks, const uint8_t *uuid, const char *name, const DomusInterface *interface, DomusHookTap *ret, GError **error)
{
        DomusTapRequest request = make_request(uuid, name, interface);
        DomusTap tap = { 0 };

        if (!domus_networks_open_tap(networks, &request, &tap, error))
                return false;
        *ret = (DomusHookTap){ .device = g_steal_pointer(&tap.device), .bridge = g_steal_pointer(&tap.bridge),
                               .port_uuid = g_steal_pointer(&tap.port_uuid), .mtu = interface->mtu || tap.mtu != 1500 ? tap.mtu : 0 };
        for (unsigned i = 0; i < tap.n_fds && i < DOMUS_HOOK_QUEUES_MAX; i++)
                ret->fds[ret->n_fds++] = fd_steal(&tap.fds[i]);
        domus_tap_clear(&tap);
        return true;
}

/* What an unmanaged device has of traffic control is ours only if there are limits in the definition. */
static void release_tap(gpointer networks, const DomusInterface *interface)
{
        bool unmanaged = interface->type == DOMUS_INTERFACE_ETHERNET && !interface->managed;
        g_autoptr(GError) error = NULL;

        if (!unmanaged && !domus_networks_release_tap(networks, interface->target, interface->port_uuid, &error))
                log_warning("network device '%s': %s", interface->target, error->message);
        else if (unmanaged && !domus_bandwidth_is_empty(&interface->bandwidth))
                domus_networks_release_unmanaged_tap(networks, interface->target);
}

static bool set_link(gpointer networks, const char *device, bool up, GError **error)
{
        return domus_networks_set_link(networks, device, up, error);
}

static bool set_bandwidth(gpointer networks, const char *device, const DomusBandwidth *bandwidth, GError **error)
{
        return domus_networks_set_bandwidth(networks, device, bandwidth, error);
}

static bool move_tap(gpointer networks, const char *device, const uint8_t *uuid, const char *name, const DomusInterface *interface, DomusHookTap *ret,
                     GError **error)
{
        DomusTapRequest request = make_request(uuid, name, interface);

        if (!domus_networks_move_tap(networks, device, &request, error))
                return false;
        *ret = (DomusHookTap){ .device = g_strdup(device), .bridge = domus_networks_bridge_of(device),
                               .port_uuid = domus_networks_port_of(networks, device) };
        return true;
}

static bool tap_stats(gpointer networks, const char *device, DomusHookTapStats *ret, GError **error)
{
        DomusTapStats s;

        if (!domus_networks_tap_stats(device, &s, error))
                return false;
        *ret = (DomusHookTapStats){ s.rx_bytes, s.rx_packets, s.rx_errs, s.rx_drop, s.tx_bytes, s.tx_packets, s.tx_errs, s.tx_drop };
        return true;
}

static GPtrArray *addresses(gpointer networks, const char *network, const uint8_t *mac, bool arp, GError **error)
{
        g_autoptr(GPtrArray) found = arp ? domus_networks_neighbours_by_mac(networks, mac, error) :
                                           domus_networks_leases_by_mac(networks, network, mac, error);
        GPtrArray *list;

        if (!found)
                return NULL;
        list = g_ptr_array_new_with_free_func(domus_hook_address_free);
        for (unsigned i = 0; i < found->len; i++) {
                const DomusLease *lease = found->pdata[i];
                DomusHookAddress *a = g_new0(DomusHookAddress, 1);

                *a = (DomusHookAddress){ .address = g_strdup(lease->address), .type = lease->type, .prefix = lease->prefix };
                g_ptr_array_add(list, a);
        }
        return list;
}

void domus_device_host_networks(DomusNetworks *networks, DomusDomainHooks *hooks)
{
        hooks->net_opaque = networks;
        hooks->open_tap = open_tap;
        hooks->release_tap = release_tap;
        hooks->set_link = set_link;
        hooks->set_bandwidth = set_bandwidth;
        hooks->move_tap = move_tap;
        hooks->tap_stats = tap_stats;
        hooks->addresses = addresses;
}
