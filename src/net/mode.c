/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/mode.h"

#include <sys/socket.h>

const char *mode_family(const DomusNetworkIp *ip)
{
        return ip->family == AF_INET6 ? "ip6" : "ip";
}

void mode_rules_cross(const DomusNetworkDef *def, FirewallRules *r)
{
        g_string_append_printf(r->cross, "iifname \"%s\" oifname \"%s\" accept\n", def->bridge, def->bridge);
}

static char *device_match(const DomusNetworkDef *def, const char *direction)
{
        return def->devices ? g_strdup_printf("%s \"%s\" ", direction, def->devices[0]) : g_strdup("");
}

void mode_rules_routed(const DomusNetworkDef *def, const DomusNetworkIp *ip, bool replies_only, FirewallRules *r)
{
        g_autofree char *from = device_match(def, "iifname"), *to = device_match(def, "oifname");

        g_string_append_printf(r->in, "oifname \"%s\" %s%s daddr %s/%u %saccept\n", def->bridge, from, mode_family(ip), ip->network, ip->prefix,
                replies_only ? "ct state established,related " : "");
        g_string_append_printf(r->out, "iifname \"%s\" %s%s saddr %s/%u accept\n", def->bridge, to, mode_family(ip), ip->network, ip->prefix);
}

void mode_rules_reject(const DomusNetworkDef *def, FirewallRules *r)
{
        g_string_append_printf(r->in, "oifname \"%s\" reject with icmpx type port-unreachable\n", def->bridge);
        g_string_append_printf(r->out, "iifname \"%s\" reject with icmpx type port-unreachable\n", def->bridge);
}

static const struct network_mode *const modes[] = {
        [DOMUS_FORWARD_NONE] = &mode_isolated,
        [DOMUS_FORWARD_NAT] = &mode_nat,
        [DOMUS_FORWARD_ROUTE] = &mode_route,
        [DOMUS_FORWARD_OPEN] = &mode_open,
        [DOMUS_FORWARD_BRIDGE] = &mode_bridge,
        [DOMUS_FORWARD_DIRECT] = &mode_direct,
};

const struct network_mode *network_mode_of(const DomusNetworkDef *def)
{
        return modes[def->mode];
}
