/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of the host that lead to guests. */
#include <sys/socket.h>

#include "net/mode.h"

/* The guest's address, with its ports where they are not the host's. */
static char *destination(const DomusPortForward *f)
{
        g_autoptr(GString) map = g_string_new(NULL);

        if (f->to == f->start)
                return g_strdup(f->target);
        for (unsigned port = f->start; port <= f->end; port++)
                g_string_append_printf(map, "%s%u : %u", map->len ? ", " : "", port, f->to + port - f->start);
        return g_strdup_printf("%s : %s dport map { %s }", f->target, f->protocol, map->str);
}

/* Packets to the host itself, or to the one address of it that is meant. */
static char *match(const DomusPortForward *f)
{
        const char *ip = f->family == AF_INET6 ? "ip6" : "ip";
        g_autofree char *address = f->address ? g_strdup_printf("%s daddr %s ", ip, f->address) : g_strdup("");

        return g_strdup_printf("meta nfproto %s %sfib daddr type local %s dport %u-%u", f->family == AF_INET6 ? "ipv6" : "ipv4", address, f->protocol,
                f->start, f->end);
}

void mode_rules_port_forward(const DomusNetworkDef *def, const DomusPortForward *f, FirewallRules *r)
{
        const char *ip = f->family == AF_INET6 ? "ip6" : "ip";
        g_autofree char *to = destination(f), *what = match(f), *device = f->device ? g_strdup_printf("iifname \"%s\" ", f->device) : g_strdup("");

        g_string_append_printf(r->prerouting, "%siifname != \"%s\" %s dnat %s to %s\n", device, def->bridge, what, ip, to);
        /* what comes from the loopback address cannot leave the host */
        if (!f->device)
                g_string_append_printf(r->output, "%s daddr != %s %s dnat %s to %s\n", ip, f->family == AF_INET6 ? "::1" : "127.0.0.0/8", what, ip, to);
        g_string_append_printf(r->in, "oifname \"%s\" %s daddr %s ct status dnat accept\n", def->bridge, ip, f->target);
}
