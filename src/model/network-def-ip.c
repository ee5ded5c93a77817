/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/socket.h>

#include "base/macros.h"
#include "model/inet.h"
#include "model/network-def-private.h"

/* --- Addresses with their prefix --- */

static const char *family_name(int family)
{
        return family == AF_INET6 ? "ipv6" : "ipv4";
}

static unsigned class_prefix(const DomusInet *a)
{
        if (a->family == AF_INET6)
                return 64;
        return a->bytes[0] < 128 ? 8 : a->bytes[0] < 192 ? 16 : 24;
}

static bool parse_netmask(const xmlNode *node, const char *text, const DomusInet *a, unsigned *ret, GError **error)
{
        DomusInet mask;

        if (a->family != AF_INET)
                return xml_fail(error, DOMUS_ERROR_XML, "netmask '%s' of element <%s> is for ipv4 only", text, node->name);
        if (domus_inet_parse(text, AF_INET, &mask) && domus_inet_netmask_prefix(&mask, ret))
                return true;
        return xml_fail(error, DOMUS_ERROR_XML, "Invalid netmask '%s' of element <%s>", text, node->name);
}

/* <ip> and <route>: family, address, and prefix or netmask. */
static bool parse_address(const xmlNode *node, const char *network, DomusInet *ret, unsigned *ret_prefix, GError **error)
{
        g_autofree char *address = xml_attr(node, "address"), *family = xml_attr(node, "family"), *netmask = xml_attr(node, "netmask");
        uint64_t prefix;

        if (!address)
                return xml_fail(error, DOMUS_ERROR_XML, "missing address in <%s> of network '%s'", node->name, network);
        if (!domus_inet_parse(address, 0, ret))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid address '%s' in <%s> of network '%s'", address, node->name, network);
        if (ret->family == AF_INET6 ? g_strcmp0(family, "ipv6") != 0 : family && strcmp(family, "ipv4") != 0)
                return xml_fail(error, DOMUS_ERROR_XML, "family '%s' specified for %s address '%s' in <%s> of network '%s'",
                        family ? family : "ipv4", family_name(ret->family), address, node->name, network);
        if (netmask && xmlHasProp(node, (const xmlChar *)"prefix"))
                return xml_fail(error, DOMUS_ERROR_XML, "network '%s' cannot have both prefix='' and a netmask in <%s>", network, node->name);
        if (netmask)
                return parse_netmask(node, netmask, ret, ret_prefix, error);
        if (!network_uint_attr(node, "prefix", domus_inet_bits(ret->family), class_prefix(ret), &prefix, error))
                return false;
        *ret_prefix = (unsigned)prefix;
        return true;
}

/* --- DHCP --- */

static void range_free(gpointer p)
{
        DomusDhcpRange *r = p;

        g_free(r->start);
        g_free(r->end);
        g_free(r);
}

static void dhcp_host_free(gpointer p)
{
        DomusDhcpHost *h = p;

        g_free(h->mac);
        g_free(h->id);
        g_free(h->name);
        g_free(h->ip);
        g_free(h);
}

void network_ip_free(gpointer p)
{
        DomusNetworkIp *ip = p;

        g_free(ip->address);
        g_free(ip->network);
        g_ptr_array_unref(ip->ranges);
        g_ptr_array_unref(ip->hosts);
        g_free(ip->tftp_root);
        g_free(ip->bootp_file);
        g_free(ip->bootp_server);
        g_free(ip);
}

/* The one address, with its network, that ranges and hosts belong to. */
struct subnet {
        DomusInet address;
        unsigned prefix;
        char *shown; /* "192.168.122.0/24" */
};

static bool parse_lease(const xmlNode *parent, DomusLeaseTime *ret, GError **error)
{
        const xmlNode *node = xml_child(parent, "lease");
        g_autofree char *unit = xml_attr(node, "unit");
        uint64_t value, scale = g_strcmp0(unit, "seconds") == 0 ? 1 : g_strcmp0(unit, "hours") == 0 ? 3600 : 60;

        if (!node)
                return true;
        if (!xmlHasProp(node, (const xmlChar *)"expiry"))
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute 'expiry' of element <lease>");
        if (!network_uint_attr(node, "expiry", UINT32_MAX / 3600, 0, &value, error))
                return false;
        *ret = (DomusLeaseTime){ .seconds = value * scale, .given = true };
        if (value && ret->seconds < 120)
                return xml_fail(error, DOMUS_ERROR_XML, "The minimum lease time should be greater than 2 minutes");
        return true;
}

static bool in_subnet(const struct subnet *s, const char *text, DomusInet *ret)
{
        return domus_inet_parse(text, s->address.family, ret) && domus_inet_same_network(ret, &s->address, s->prefix);
}

/* The network's own address, and IPv4's broadcast address, are nobody's. */
static bool is_reserved(const struct subnet *s, const DomusInet *a)
{
        DomusInet low = domus_inet_mask(a, s->prefix), last = *a;

        if (s->prefix + 1 >= domus_inet_bits(a->family))
                return false;
        for (unsigned bit = s->prefix; bit < domus_inet_bits(a->family); bit++)
                last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
        return domus_inet_compare(a, &low) == 0 || (a->family == AF_INET && domus_inet_compare(a, &last) == 0);
}

static bool add_range(DomusNetworkIp *ip, const struct subnet *s, const xmlNode *node, GError **error)
{
        DomusDhcpRange *r = g_new0(DomusDhcpRange, 1);
        DomusInet start, end;

        r->start = xml_attr(node, "start");
        r->end = xml_attr(node, "end");
        g_ptr_array_add(ip->ranges, r);
        if (!r->start || !r->end)
                return xml_fail(error, DOMUS_ERROR_XML, "Missing 'start' or 'end' attribute in DHCP range of network %s", s->shown);
        if (!in_subnet(s, r->start, &start) || !in_subnet(s, r->end, &end))
                return xml_fail(error, DOMUS_ERROR_XML, "range %s - %s is not entirely within network %s", r->start, r->end, s->shown);
        if (domus_inet_compare(&start, &end) > 0)
                return xml_fail(error, DOMUS_ERROR_XML, "range %s - %s is reversed", r->start, r->end);
        if (is_reserved(s, &start) || is_reserved(s, &end))
                return xml_fail(error, DOMUS_ERROR_XML, "range %s - %s contains the network's own or its broadcast address (network %s)", r->start,
                        r->end, s->shown);
        return parse_lease(node, &r->lease, error);
}

/* A DUID: bytes in hexadecimal with colons, as dnsmasq writes them. */
static bool is_duid(const char *id)
{
        return *id && strlen(id) <= 3 * 130 && strspn(id, "0123456789abcdefABCDEF:") == strlen(id);
}

static bool check_dhcp_host(const DomusDhcpHost *h, const struct subnet *s, GError **error)
{
        uint8_t mac[6];
        DomusInet a;

        if (h->mac && s->address.family == AF_INET6)
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid to specify MAC address '%s' in IPv6 static host definition", h->mac);
        if (h->mac && !domus_mac_parse(h->mac, mac))
                return xml_fail(error, DOMUS_ERROR_XML, "Cannot parse MAC address '%s' in static host definition", h->mac);
        if (h->mac && (mac[0] & 1))
                return xml_fail(error, DOMUS_ERROR_XML, "expected unicast mac address, found multicast '%s'", h->mac);
        if (h->id && (s->address.family == AF_INET || !is_duid(h->id)))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid id '%s' in static host definition", h->id);
        if (h->name && !network_check_word(h->name, "name in static host definition", error))
                return false;
        if (!h->mac && !h->name && !h->id)
                return xml_fail(error, DOMUS_ERROR_XML, "Static host definition must have mac or name attribute (id or name for IPv6)");
        if (!h->ip)
                return xml_fail(error, DOMUS_ERROR_XML, "Missing IP address in static host definition");
        if (!in_subnet(s, h->ip, &a) || is_reserved(s, &a))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid IP address '%s' in static host definition of network %s", h->ip, s->shown);
        return true;
}

static bool same_text(const char *a, const char *b)
{
        return a && b && g_ascii_strcasecmp(a, b) == 0;
}

static bool add_dhcp_host(DomusNetworkIp *ip, const struct subnet *s, const xmlNode *node, GError **error)
{
        DomusDhcpHost *h = g_new0(DomusDhcpHost, 1);

        h->mac = xml_attr(node, "mac");
        h->id = xml_attr(node, "id");
        h->name = xml_attr(node, "name");
        h->ip = xml_attr(node, "ip");
        g_ptr_array_add(ip->hosts, h);
        if (!check_dhcp_host(h, s, error))
                return false;
        for (unsigned i = 0; i + 1 < ip->hosts->len; i++) {
                const DomusDhcpHost *o = ip->hosts->pdata[i];

                if (same_text(o->mac, h->mac) || same_text(o->ip, h->ip) || (same_text(o->name, h->name) && !o->mac && !h->mac))
                        return xml_fail(error, DOMUS_ERROR_XML, "there are two dhcp hosts that match \"<host mac='%s' name='%s' ip='%s'/>\"",
                                h->mac ? h->mac : "", h->name ? h->name : "", h->ip);
        }
        return parse_lease(node, &h->lease, error);
}

/* Words that end up in dnsmasq's configuration, quoted. */
static bool check_path(const char *path, const char *what, GError **error)
{
        for (const char *p = path; p && *p; p++)
                if (g_ascii_iscntrl(*p) || *p == '"' || *p == '\\')
                        return xml_fail(error, DOMUS_ERROR_XML, "Invalid %s '%s'", what, path);
        return path ? true : xml_fail(error, DOMUS_ERROR_XML, "missing %s", what);
}

static bool fill_bootp(DomusNetworkIp *ip, const xmlNode *bootp, GError **error)
{
        DomusInet a;

        if (!bootp)
                return true;
        ip->bootp_file = xml_attr(bootp, "file");
        ip->bootp_server = xml_attr(bootp, "server");
        if (ip->family == AF_INET6)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "<bootp> is supported for IPv4 only");
        if (ip->bootp_server && !domus_inet_parse(ip->bootp_server, AF_INET, &a) &&
                !network_check_word(ip->bootp_server, "server of <bootp>", error))
                return false;
        return check_path(ip->bootp_file, "file of <bootp>", error);
}

static bool fill_dhcp(DomusNetworkIp *ip, const struct subnet *s, const xmlNode *dhcp, GError **error)
{
        if (!dhcp)
                return true;
        ip->dhcp = true;
        if (s->address.family == AF_INET6 && s->prefix < 64)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "DHCP on IPv6 network %s needs a prefix of 64 or more", s->shown);
        for (const xmlNode *n = xml_first_element(dhcp); n; n = xml_next_element(n)) {
                if (xml_is(n, "range") && !add_range(ip, s, n, error))
                        return false;
                if (xml_is(n, "host") && !add_dhcp_host(ip, s, n, error))
                        return false;
        }
        return fill_bootp(ip, xml_child(dhcp, "bootp"), error);
}

/* --- <ip>, <route> --- */

static bool fill_ip(DomusNetworkDef *def, DomusNetworkIp *ip, const struct subnet *s, const xmlNode *node, GError **error)
{
        xmlNode *tftp = xml_child(node, "tftp");

        ip->local_ptr = network_yes_no(node, "localPtr", false);
        if (domus_inet_is_multicast(&s->address))
                return xml_fail(error, DOMUS_ERROR_XML, "address %s of network '%s' is a multicast address", ip->address, def->name);
        if (s->prefix == 0)
                return xml_fail(error, DOMUS_ERROR_XML, "prefix 0 of network '%s' would be everything", def->name);
        if (ip->local_ptr && s->prefix % (ip->family == AF_INET ? 8 : 4))
                return xml_fail(error, DOMUS_ERROR_XML, "PTR domain for network '%s' with prefix %u cannot be automatically created", def->name,
                        s->prefix);
        if (tftp) {
                ip->tftp_root = xml_attr(tftp, "root");
                if (!check_path(ip->tftp_root, "root of <tftp>", error))
                        return false;
        }
        return fill_dhcp(ip, s, xml_child(node, "dhcp"), error);
}

static bool check_other_ips(const DomusNetworkDef *def, const struct subnet *s, const DomusNetworkIp *ip, GError **error)
{
        for (unsigned i = 0; i + 1 < def->ips->len; i++) {
                const DomusNetworkIp *o = def->ips->pdata[i];
                DomusInet other;

                if (o->family != ip->family)
                        continue;
                if (o->dhcp && ip->dhcp)
                        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "Multiple %s dhcp sections found -- dhcp is supported only for a single %s address on each network",
                                ip->family == AF_INET6 ? "IPv6" : "IPv4", ip->family == AF_INET6 ? "IPv6" : "IPv4");
                if (domus_inet_parse(o->network, o->family, &other) && domus_inet_same_network(&other, &s->address, MIN(o->prefix, s->prefix)))
                        return xml_fail(error, DOMUS_ERROR_XML, "two addresses of network '%s' are in network %s", def->name, s->shown);
        }
        return true;
}

static bool add_ip(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        struct subnet s = { 0 };
        DomusNetworkIp *ip;
        DomusInet low;
        bool ok;

        if (!parse_address(node, def->name, &s.address, &s.prefix, error))
                return false;
        ip = g_new0(DomusNetworkIp, 1);
        low = domus_inet_mask(&s.address, s.prefix);
        ip->family = s.address.family;
        ip->prefix = s.prefix;
        ip->address = domus_inet_format(&s.address);
        ip->network = domus_inet_format(&low);
        ip->ranges = g_ptr_array_new_with_free_func(range_free);
        ip->hosts = g_ptr_array_new_with_free_func(dhcp_host_free);
        g_ptr_array_add(def->ips, ip);
        s.shown = g_strdup_printf("%s/%u", ip->network, ip->prefix);
        ok = fill_ip(def, ip, &s, node, error) && check_other_ips(def, &s, ip, error);
        g_free(s.shown);
        return ok;
}

void network_route_free(gpointer p)
{
        DomusNetworkRoute *r = p;

        g_free(r->address);
        g_free(r->gateway);
        g_free(r);
}

static bool is_reachable(const DomusNetworkDef *def, const DomusInet *gateway)
{
        for (unsigned i = 0; i < def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];
                DomusInet a;

                if (domus_inet_parse(ip->address, ip->family, &a) && domus_inet_same_network(&a, gateway, ip->prefix))
                        return true;
        }
        return false;
}

static bool add_route(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        DomusNetworkRoute *r = g_new0(DomusNetworkRoute, 1);
        DomusInet address, low, gateway;
        uint64_t metric;

        g_ptr_array_add(def->routes, r);
        if (!parse_address(node, def->name, &address, &r->prefix, error) || !network_uint_attr(node, "metric", UINT32_MAX, 0, &metric, error))
                return false;
        if (xmlHasProp(node, (const xmlChar *)"metric") && !metric)
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid value '0' for attribute 'metric' of element <route>");
        low = domus_inet_mask(&address, r->prefix);
        r->family = address.family;
        r->metric = (unsigned)metric;
        r->address = domus_inet_format(&low);
        r->gateway = xml_attr(node, "gateway");
        if (domus_inet_compare(&low, &address) != 0)
                return xml_fail(error, DOMUS_ERROR_XML, "address of <route> of network '%s' is not a network address, %s/%u would be one", def->name,
                        r->address, r->prefix);
        if (!r->gateway || !domus_inet_parse(r->gateway, r->family, &gateway))
                return xml_fail(error, DOMUS_ERROR_XML, "%s gateway in <route> of network '%s'", r->gateway ? "Invalid" : "Missing", def->name);
        if (!is_reachable(def, &gateway))
                return xml_fail(error, DOMUS_ERROR_XML, "unreachable static route gateway '%s' specified for network '%s'", r->gateway, def->name);
        return true;
}

bool network_fill_addresses(DomusNetworkDef *def, GError **error)
{
        const xmlNode *root = xmlDocGetRootElement(def->doc);

        for (const xmlNode *n = xml_child(root, "ip"); n; n = xml_next(n, "ip"))
                if (!add_ip(def, n, error))
                        return false;
        for (const xmlNode *n = xml_child(root, "route"); n; n = xml_next(n, "route"))
                if (!add_route(def, n, error))
                        return false;
        return true;
}
