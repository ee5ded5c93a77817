/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dnsmasq's files (dnsmasq(8)). All words that come from users have been checked by the model: no line breaks, no commas where these part fields. */
#include <string.h>
#include <sys/socket.h>

#include "model/inet.h"
#include "net/dnsmasq.h"

#define LEASES_MAX 65536
#define STATIC_LEASES 1024 /* hosts beside the ranges, so that dnsmasq needs no restart when one is added */

bool dnsmasq_wanted(const DomusNetworkDef *def)
{
        return def->ips->len > 0;
}

/* A value in quotes, in which commas and number signs mean nothing. */
static void append_quoted(GString *out, const char *text)
{
        g_string_append_c(out, '"');
        for (const char *p = text; *p; p++) {
                if (*p == '"' || *p == '\\')
                        g_string_append_c(out, '\\');
                g_string_append_c(out, *p);
        }
        g_string_append_c(out, '"');
}

static void append_lease(GString *out, const DomusLeaseTime *lease)
{
        if (lease->given && !lease->seconds)
                g_string_append(out, ",infinite");
        else if (lease->given)
                g_string_append_printf(out, ",%" G_GUINT64_FORMAT, lease->seconds);
}

/* --- DNS --- */

static void append_forwarders(GString *out, const DomusNetworkDef *def)
{
        bool own = def->mode == DOMUS_FORWARD_NONE;

        for (unsigned i = 0; i < def->forwarders->len; i++) {
                const DomusDnsForwarder *f = def->forwarders->pdata[i];

                g_string_append(out, "server=");
                if (f->domain)
                        g_string_append_printf(out, "/%s/", f->domain);
                else
                        own = true;
                g_string_append_printf(out, "%s\n", f->address ? f->address : "#");
        }
        if (own)
                g_string_append(out, "no-resolv\n");
}

static void append_records(GString *out, const DomusNetworkDef *def)
{
        for (unsigned i = 0; i < def->txts->len; i++) {
                const DomusDnsTxt *t = def->txts->pdata[i];

                g_string_append_printf(out, "txt-record=%s,", t->name);
                append_quoted(out, t->value);
                g_string_append_c(out, '\n');
        }
        for (unsigned i = 0; i < def->srvs->len; i++) {
                const DomusDnsSrv *s = def->srvs->pdata[i];

                g_string_append_printf(out, "srv-host=_%s._%s", s->service, s->protocol);
                if (s->domain)
                        g_string_append_printf(out, ".%s", s->domain);
                if (s->target)
                        g_string_append_printf(out, ",%s,%u,%u,%u", s->target, s->port, s->priority, s->weight);
                g_string_append_c(out, '\n');
        }
}

/* The reverse zone of a network whose prefix ends at a label. */
static void append_reverse(GString *out, const DomusNetworkIp *ip)
{
        DomusInet a;

        domus_inet_parse(ip->network, ip->family, &a);
        g_string_append(out, "local=/");
        if (ip->family == AF_INET)
                for (int i = (int)ip->prefix / 8 - 1; i >= 0; i--)
                        g_string_append_printf(out, "%u.", a.bytes[i]);
        else
                for (int i = (int)ip->prefix / 4 - 1; i >= 0; i--)
                        g_string_append_printf(out, "%x.", i % 2 ? a.bytes[i / 2] & 15 : a.bytes[i / 2] >> 4);
        g_string_append(out, ip->family == AF_INET ? "in-addr.arpa/\n" : "ip6.arpa/\n");
}

static void append_dns(GString *out, const DomusNetworkDef *def, const struct dnsmasq_files *files)
{
        if (!def->dns) {
                g_string_append(out, "port=0\n");
                return;
        }
        append_forwarders(out, def);
        if (!def->dns_forward_plain)
                g_string_append(out, "domain-needed\nlocal=//\n");
        if (def->domain && def->domain_local_only)
                g_string_append_printf(out, "local=/%s/\n", def->domain);
        for (unsigned i = 0; i < def->ips->len; i++)
                if (((DomusNetworkIp *)def->ips->pdata[i])->local_ptr)
                        append_reverse(out, def->ips->pdata[i]);
        append_records(out, def);
        g_string_append_printf(out, "addn-hosts=%s\n", files->dns_hosts);
}

/* --- DHCP --- */

static void append_ranges(GString *out, const DomusNetworkIp *ip)
{
        for (unsigned i = 0; i < ip->ranges->len; i++) {
                const DomusDhcpRange *r = ip->ranges->pdata[i];

                g_string_append_printf(out, "dhcp-range=%s,%s", r->start, r->end);
                if (ip->family == AF_INET6)
                        g_string_append_printf(out, ",%u", ip->prefix);
                append_lease(out, &r->lease);
                g_string_append_c(out, '\n');
        }
        if (!ip->ranges->len && ip->hosts->len) {
                g_string_append_printf(out, "dhcp-range=%s,static", ip->network);
                if (ip->family == AF_INET6)
                        g_string_append_printf(out, ",%u", ip->prefix);
                g_string_append_c(out, '\n');
        }
}

static uint64_t count_leases(const DomusNetworkIp *ip)
{
        uint64_t n = ip->ranges->len || ip->hosts->len ? STATIC_LEASES : 0;
        DomusInet start, end;

        for (unsigned i = 0; i < ip->ranges->len; i++) {
                const DomusDhcpRange *r = ip->ranges->pdata[i];

                domus_inet_parse(r->start, ip->family, &start);
                domus_inet_parse(r->end, ip->family, &end);
                n += domus_inet_range_size(&start, &end, LEASES_MAX);
        }
        return n;
}

static void append_boot(GString *out, const DomusNetworkIp *ip)
{
        if (ip->tftp_root) {
                g_string_append(out, "enable-tftp\ntftp-root=");
                append_quoted(out, ip->tftp_root);
                g_string_append_c(out, '\n');
        }
        if (ip->bootp_file) {
                g_string_append(out, "dhcp-boot=");
                append_quoted(out, ip->bootp_file);
                g_string_append_printf(out, "%s%s\n", ip->bootp_server ? ",," : "", ip->bootp_server ? ip->bootp_server : "");
        }
}

static void append_ip(GString *out, const DomusNetworkIp *ip)
{
        append_ranges(out, ip);
        append_boot(out, ip);
        if (ip->family == AF_INET6 && !ip->ranges->len && !ip->hosts->len)
                g_string_append_printf(out, "dhcp-range=%s,ra-only\n", ip->network);
}

static void append_dhcp(GString *out, const DomusNetworkDef *def, const struct dnsmasq_files *files)
{
        bool ip4 = false, ip6 = false;
        uint64_t leases = 0;

        for (unsigned i = 0; i < def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];

                append_ip(out, ip);
                ip4 |= ip->family == AF_INET && (ip->ranges->len || ip->hosts->len);
                ip6 |= ip->family == AF_INET6;
                leases += count_leases(ip);
        }
        if (ip4)
                g_string_append_printf(out, "dhcp-authoritative\n%s", def->mode == DOMUS_FORWARD_NONE ? "dhcp-option=option:router\n" : "");
        if (ip4 && def->mtu)
                g_string_append_printf(out, "dhcp-option=option:mtu,%u\n", def->mtu);
        if (ip6)
                g_string_append_printf(out, "enable-ra\n%s", def->mode == DOMUS_FORWARD_NONE ? "ra-param=*,0,0\n" : "");
        if (leases)
                g_string_append_printf(out, "dhcp-no-override\ndhcp-lease-max=%" G_GUINT64_FORMAT "\ndhcp-leasefile=%s\ndhcp-hostsfile=%s\n",
                        MIN(leases, LEASES_MAX), files->leases, files->dhcp_hosts);
}

char *dnsmasq_config(const DomusNetworkDef *def, const struct dnsmasq_files *files)
{
        GString *out = g_string_new("# Made by virtdomusd; changes are lost. Use virsh net-edit or net-update.\n");

        g_string_append_printf(out, "strict-order\npid-file=%s\nbind-dynamic\nexcept-interface=lo\ninterface=%s\n", files->pid, def->bridge);
        if (def->domain)
                g_string_append_printf(out, "domain=%s\nexpand-hosts\n", def->domain);
        append_dns(out, def, files);
        append_dhcp(out, def, files);
        return g_string_free(out, FALSE);
}

/* --- Files that are read again --- */

static void append_dhcp_host(GString *out, const DomusNetworkIp *ip, const DomusDhcpHost *h)
{
        if (h->mac)
                g_string_append_printf(out, "%s,", h->mac);
        if (h->id)
                g_string_append_printf(out, "id:%s,", h->id);
        if (h->name)
                g_string_append_printf(out, "%s,", h->name);
        g_string_append_printf(out, ip->family == AF_INET6 ? "[%s]" : "%s", h->ip);
        append_lease(out, &h->lease);
        g_string_append_c(out, '\n');
}

char *dnsmasq_dhcp_hosts(const DomusNetworkDef *def)
{
        GString *out = g_string_new(NULL);

        for (unsigned i = 0; i < def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];

                for (unsigned k = 0; k < ip->hosts->len; k++)
                        append_dhcp_host(out, ip, ip->hosts->pdata[k]);
        }
        return g_string_free(out, FALSE);
}

char *dnsmasq_dns_hosts(const DomusNetworkDef *def)
{
        GString *out = g_string_new(NULL);

        for (unsigned i = 0; i < def->dns_hosts->len; i++) {
                const DomusDnsHost *h = def->dns_hosts->pdata[i];

                g_string_append(out, h->ip);
                for (char **name = h->names; *name; name++)
                        g_string_append_printf(out, "\t%s", *name);
                g_string_append_c(out, '\n');
        }
        return g_string_free(out, FALSE);
}
