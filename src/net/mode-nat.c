/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mode='nat': guests reach others under the host's address, and get what answers. IPv6 is routed instead, unless <nat ipv6='yes'>. */
#include <sys/socket.h>

#include "net/mode.h"

/* What the source becomes, with ports or without. */
static char *translation(const DomusNetworkDef *def, const DomusNetworkIp *ip, bool ports)
{
        unsigned first = def->nat_port_start ? def->nat_port_start : 1024, last = def->nat_port_end ? def->nat_port_end : 65535;
        g_autofree char *range = ports ? g_strdup_printf(":%u-%u", first, last) : g_strdup("");

        if (!def->nat_start || ip->family != AF_INET)
                return ports ? g_strdup_printf("masquerade to %s", range) : g_strdup("masquerade");
        return g_strdup_printf("snat ip to %s-%s%s", def->nat_start, def->nat_end, range);
}

/* What goes to several at once stays on the link. */
static void keep_local(const DomusNetworkIp *ip, FirewallRules *r)
{
        const char *to = ip->family == AF_INET6 ? "ff00::/8" : "{ 224.0.0.0/24, 255.255.255.255 }";

        g_string_append_printf(r->postrouting, "%s saddr %s/%u %s daddr %s return\n", mode_family(ip), ip->network, ip->prefix, mode_family(ip), to);
}

static void translate(const DomusNetworkDef *def, const DomusNetworkIp *ip, FirewallRules *r)
{
        g_autofree char *with_ports = translation(def, ip, true), *without = translation(def, ip, false);
        g_autofree char *device = def->devices ? g_strdup_printf("oifname \"%s\" ", def->devices[0]) : g_strdup("");
        g_autofree char *match = g_strdup_printf("%s%s saddr %s/%u %s daddr != %s/%u", device, mode_family(ip), ip->network, ip->prefix,
                mode_family(ip), ip->network, ip->prefix);

        keep_local(ip, r);
        g_string_append_printf(r->postrouting, "%s meta l4proto { tcp, udp } %s\n%s %s\n", match, with_ports, match, without);
}

static void rules(const DomusNetworkDef *def, FirewallRules *r)
{
        mode_rules_cross(def, r);
        for (unsigned i = 0; i < def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];
                bool nat = ip->family == AF_INET || def->nat_ipv6;

                mode_rules_routed(def, ip, nat, r);
                if (nat)
                        translate(def, ip, r);
        }
        for (unsigned i = 0; i < def->port_forwards->len; i++)
                mode_rules_port_forward(def, def->port_forwards->pdata[i], r);
        mode_rules_reject(def, r);
}

const struct network_mode mode_nat = {
        .name = "nat", .own_bridge = true, .forwarding = true, .plug = DOMUS_PLUG_NETWORK, .rules = rules,
};
