/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/socket.h>

#include "base/macros.h"
#include "net/link.h"
#include "net/networks-private.h"
#include "net/qos.h"
#include "net/sysctl.h"

static bool has_family(const DomusNetworkDef *def, int family)
{
        for (unsigned i = 0; i < def->ips->len; i++)
                if (((DomusNetworkIp *)def->ips->pdata[i])->family == family)
                        return true;
        return false;
}

/* --- Before anything is made --- */

static bool check_range(const DomusNetworkIp *ip, GError **error)
{
        g_autofree char *found = NULL;
        DomusInet network;

        domus_inet_parse(ip->network, ip->family, &network);
        found = link_find_overlap(&network, ip->prefix, NULL);
        if (!found)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "address range %s/%u is already in use by %s", ip->network, ip->prefix, found);
        return false;
}

static bool check_name(const DomusNetworkDef *def, GError **error)
{
        if (!link_exists(def->bridge))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "bridge name '%s' is already in use by a device of the host", def->bridge);
        return false;
}

/* The kernel forgets what it has learned from router advertisements when it begins to forward, unless accept_ra is 2. */
static bool check_forwarding(const DomusNetworkDef *def, const struct network_mode *mode, GError **error)
{
        g_autofree char *device = NULL, *path = NULL;

        if (!mode->forwarding || !has_family(def, AF_INET6) || sysctl_get("ipv6/conf/all/forwarding") == 1)
                return true;
        device = link_advertised();
        if (!device)
                return true;
        path = g_strdup_printf("ipv6/conf/%s/accept_ra", device);
        if (sysctl_get(path) == 2)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED,
                "interface %s has IPv6 routes from router advertisements, which the host would lose by forwarding IPv6: set net.ipv6.conf.%s.accept_ra to 2 first",
                device, device);
        return false;
}

static bool check(const DomusNetworkDef *def, const struct network_mode *mode, GError **error)
{
        if (!check_name(def, error) || !check_forwarding(def, mode, error))
                return false;
        for (unsigned i = 0; i < def->ips->len; i++)
                if (!check_range(def->ips->pdata[i], error))
                        return false;
        return true;
}

/* --- Making it --- */

/* Guests must not be able to give the host addresses and routes. */
static bool set_ipv6(const DomusNetworkDef *def, GError **error)
{
        static const struct {
                const char *name, *with, *without; /* addresses of IPv6; NULL: untouched */
        } settings[] = { { "disable_ipv6", "0", "1" }, { "accept_ra", "0", NULL }, { "autoconf", "0", NULL } };
        bool with = has_family(def, AF_INET6);

        if (sysctl_get("ipv6/conf/all/forwarding") < 0 && !with)
                return true; /* a host without IPv6 */
        for (unsigned i = 0; i < ARRAY_SIZE(settings); i++) {
                g_autofree char *path = g_strdup_printf("ipv6/conf/%s/%s", def->bridge, settings[i].name);
                const char *value = with ? settings[i].with : settings[i].without;

                if (value && !sysctl_set(path, value, error))
                        return false;
        }
        return true;
}

static bool add_addresses(const DomusNetworkDef *def, GError **error)
{
        for (unsigned i = 0; i < def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];
                DomusInet address;

                domus_inet_parse(ip->address, ip->family, &address);
                if (!link_add_address(def->bridge, &address, ip->prefix, error))
                        return false;
        }
        return true;
}

static bool add_routes(const DomusNetworkDef *def, GError **error)
{
        for (unsigned i = 0; i < def->routes->len; i++) {
                const DomusNetworkRoute *r = def->routes->pdata[i];
                DomusInet network, gateway;

                domus_inet_parse(r->address, r->family, &network);
                domus_inet_parse(r->gateway, r->family, &gateway);
                if (!link_add_route(def->bridge, &network, r->prefix, &gateway, r->metric, error))
                        return false;
        }
        return true;
}

static bool start_forwarding(const DomusNetworkDef *def, const struct network_mode *mode, GError **error)
{
        if (!mode->forwarding)
                return true;
        return (!has_family(def, AF_INET) || sysctl_set("ipv4/ip_forward", "1", error)) &&
               (!has_family(def, AF_INET6) || sysctl_set("ipv6/conf/all/forwarding", "1", error));
}

bool virtual_start(const DomusNetworkDef *def, const struct network_mode *mode, GError **error)
{
        if (!check(def, mode, error) || !link_make_bridge(def->bridge, def->mac, def->stp, def->delay, def->mtu, error))
                return false;
        if (set_ipv6(def, error) && add_addresses(def, error) && link_set_up(def->bridge, true, error) && add_routes(def, error) &&
                qos_set(def->bridge, &def->bandwidth, false, error) && start_forwarding(def, mode, error))
                return true;
        virtual_stop(def);
        return false;
}

bool virtual_is_up(const DomusNetworkDef *def)
{
        uint8_t mac[6];

        return link_is_bridge(def->bridge) && link_mac(def->bridge, mac) && memcmp(mac, def->mac, sizeof(mac)) == 0;
}

void virtual_stop(const DomusNetworkDef *def)
{
        if (!virtual_is_up(def))
                return;
        qos_clear(def->bridge);
        link_delete(def->bridge, NULL);
}
