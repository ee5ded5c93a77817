/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/socket.h>

#include "base/macros.h"
#include "model/inet.h"
#include "model/network-def-private.h"

/* --- <forward> --- */

static const struct {
        const char *name;
        DomusForwardMode mode;
} modes[] = {
        { "nat", DOMUS_FORWARD_NAT },       { "route", DOMUS_FORWARD_ROUTE },   { "open", DOMUS_FORWARD_OPEN },
        { "bridge", DOMUS_FORWARD_BRIDGE }, { "private", DOMUS_FORWARD_DIRECT }, { "vepa", DOMUS_FORWARD_DIRECT },
        { "passthrough", DOMUS_FORWARD_DIRECT },
};

static void set_mode(DomusNetworkDef *def, const char *name, bool has_devices, bool has_bridge)
{
        for (unsigned i = 0; i < ARRAY_SIZE(modes); i++)
                if (strcmp(modes[i].name, name) == 0)
                        def->mode = modes[i].mode;
        if (def->mode == DOMUS_FORWARD_BRIDGE && has_devices && !has_bridge)
                def->mode = DOMUS_FORWARD_DIRECT;
        if (def->mode == DOMUS_FORWARD_DIRECT)
                def->direct_mode = g_strdup(name);
}

/* <forward dev='eth0'> is the first <interface>, and the other way round. */
static bool fill_devices(DomusNetworkDef *def, xmlNode *forward, GError **error)
{
        g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
        g_autofree char *dev = xml_attr(forward, "dev");

        if (dev && !xml_child(forward, "interface"))
                xml_set_attr(xmlNewTextChild(forward, NULL, (const xmlChar *)"interface", NULL), "dev", dev);
        for (xmlNode *i = xml_child(forward, "interface"); i; i = xml_next(i, "interface")) {
                g_autofree char *name = xml_attr(i, "dev");

                xmlUnsetProp(i, (const xmlChar *)"connections");
                if (!network_check_device(name, "forward interface", error))
                        return false;
                for (unsigned k = 0; k < list->len; k++)
                        if (strcmp(list->pdata[k], name) == 0)
                                return xml_fail(error, DOMUS_ERROR_XML, "forward interface '%s' is given twice", name);
                g_ptr_array_add(list, g_steal_pointer(&name));
        }
        if (!list->len)
                return true;
        if (dev && strcmp(dev, list->pdata[0]) != 0)
                return xml_fail(error, DOMUS_ERROR_XML, "forward dev '%s' must match first interface element dev '%s' in network '%s'", dev,
                        (char *)list->pdata[0], def->name);
        xml_set_attr(forward, "dev", list->pdata[0]);
        g_ptr_array_add(list, NULL);
        def->devices = (char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
        return true;
}

static bool fill_nat_addresses(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        DomusInet start, end;

        if (!node)
                return true;
        def->nat_start = xml_attr(node, "start");
        def->nat_end = xml_attr(node, "end");
        if (!def->nat_end)
                def->nat_end = g_strdup(def->nat_start);
        if (!domus_inet_parse(def->nat_start, AF_INET, &start))
                return xml_fail(error, DOMUS_ERROR_XML, "Bad ipv4 start address '%s' in <nat> in <forward> in network '%s'",
                        def->nat_start ? def->nat_start : "", def->name);
        if (!domus_inet_parse(def->nat_end, AF_INET, &end) || domus_inet_compare(&start, &end) > 0)
                return xml_fail(error, DOMUS_ERROR_XML, "Bad ipv4 end address '%s' in <nat> in <forward> in network '%s'", def->nat_end,
                        def->name);
        return true;
}

static bool fill_nat_ports(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        uint64_t start, end;

        if (!node)
                return true;
        if (!network_uint_attr(node, "start", 65535, 0, &start, error) || !network_uint_attr(node, "end", 65535, 0, &end, error))
                return false;
        if (!start || !end || start > end)
                return xml_fail(error, DOMUS_ERROR_XML, "<port> in <nat> in <forward> of network '%s' needs 'start' and 'end', 1 to 65535, in order",
                        def->name);
        def->nat_port_start = (unsigned)start;
        def->nat_port_end = (unsigned)end;
        return true;
}

static bool fill_nat(DomusNetworkDef *def, const xmlNode *nat, GError **error)
{
        if (!nat)
                return true;
        if (def->mode != DOMUS_FORWARD_NAT)
                return xml_fail(error, DOMUS_ERROR_XML, "<nat> in <forward> of network '%s' needs mode='nat'", def->name);
        def->nat_ipv6 = network_yes_no(nat, "ipv6", false);
        return fill_nat_addresses(def, xml_child(nat, "address"), error) && fill_nat_ports(def, xml_child(nat, "port"), error);
}

static bool fill_forward(DomusNetworkDef *def, xmlNode *root, GError **error)
{
        xmlNode *forward = xml_child(root, "forward");
        g_autofree char *mode = NULL, *bridge = xml_attr(xml_child(root, "bridge"), "name");

        if (!forward)
                return true;
        xml_set_attr_default(forward, "mode", "nat");
        mode = xml_attr(forward, "mode");
        if (!fill_devices(def, forward, error))
                return false;
        set_mode(def, mode, def->devices != NULL, bridge != NULL);
        return fill_nat(def, xml_child(forward, "nat"), error);
}

/* --- <bridge>, <mac>, <mtu> --- */

static bool own_bridge(const DomusNetworkDef *def)
{
        return def->mode != DOMUS_FORWARD_BRIDGE && def->mode != DOMUS_FORWARD_DIRECT;
}

static bool fill_bridge_options(DomusNetworkDef *def, xmlNode *bridge, GError **error)
{
        g_autofree char *stp = NULL;
        uint64_t delay;

        xml_set_attr_default(bridge, "stp", "on");
        xml_set_attr_default(bridge, "delay", "0");
        stp = xml_attr(bridge, "stp");
        def->stp = strcmp(stp, "on") == 0;
        if (!network_uint_attr(bridge, "delay", 30, 0, &delay, error))
                return false;
        def->delay = (unsigned)delay;
        return true;
}

static bool fill_bridge(DomusNetworkDef *def, xmlNode *root, GError **error)
{
        xmlNode *bridge = own_bridge(def) ? xml_ensure_child(root, "bridge") : xml_child(root, "bridge");

        if (!bridge)
                return true;
        def->bridge = xml_attr(bridge, "name");
        /* "virbr%d" and nothing at all: to be numbered */
        if (def->bridge && (!*def->bridge || strstr(def->bridge, "%d"))) {
                xmlUnsetProp(bridge, (const xmlChar *)"name");
                g_clear_pointer(&def->bridge, g_free);
        }
        if (def->bridge && !network_check_device(def->bridge, "bridge name", error))
                return false;
        if (own_bridge(def))
                return fill_bridge_options(def, bridge, error);
        if (xmlHasProp(bridge, (const xmlChar *)"stp") || xmlHasProp(bridge, (const xmlChar *)"delay"))
                return xml_fail(error, DOMUS_ERROR_XML, "bridge delay/stp options only allowed in route, nat, and isolated mode, not in %s (network '%s')",
                        def->mode == DOMUS_FORWARD_DIRECT ? def->direct_mode : "bridge", def->name);
        return true;
}

static bool fill_mac(DomusNetworkDef *def, xmlNode *root, GError **error)
{
        xmlNode *node = xml_child(root, "mac");
        g_autofree char *text = xml_attr(node, "address");

        if (node) {
                if (!text || !domus_mac_parse(text, def->mac))
                        return xml_fail(error, DOMUS_ERROR_XML, "Invalid bridge mac address '%s' in network '%s'", text ? text : "", def->name);
                if (def->mac[0] & 1)
                        return xml_fail(error, DOMUS_ERROR_XML, "Invalid multicast bridge mac address '%s' in network '%s'", text, def->name);
                def->has_mac = true;
        } else if (own_bridge(def)) {
                uint8_t random[DOMUS_UUID_LEN];

                domus_uuid_generate(random);
                memcpy(def->mac, (const uint8_t[]){ 0x52, 0x54, 0x00, random[0], random[1], random[2] }, 6);
                text = g_strdup_printf("52:54:00:%02x:%02x:%02x", random[0], random[1], random[2]);
                xml_set_attr(xml_ensure_child(root, "mac"), "address", text);
                def->has_mac = true;
        }
        return true;
}

static bool fill_mtu(DomusNetworkDef *def, xmlNode *root, GError **error)
{
        xmlNode *node = xml_child(root, "mtu");
        uint64_t size;

        if (!node)
                return true;
        if (!network_uint_attr(node, "size", 65535, 0, &size, error))
                return false;
        if (size < 68)
                return xml_fail(error, DOMUS_ERROR_XML, "<mtu> of network '%s' needs a size of 68 to 65535", def->name);
        if (!own_bridge(def))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "mtu size only allowed in open, route, nat, and isolated mode (network '%s')",
                        def->name);
        def->mtu = (unsigned)size;
        return true;
}

/* --- <bandwidth>, <port>, <portgroup> --- */

void network_portgroup_free(gpointer p)
{
        DomusPortgroup *g = p;

        g_free(g->name);
        g_free(g);
}

static bool add_portgroup(DomusNetworkDef *def, xmlNode *node, GError **error)
{
        DomusPortgroup *g = g_new0(DomusPortgroup, 1);
        xmlNode *port = xml_child(node, "port");

        g->name = xml_attr(node, "name");
        g->is_default = network_yes_no(node, "default", false);
        g->isolated_given = port != NULL;
        g->isolated = network_yes_no(port, "isolated", false);
        g_ptr_array_add(def->portgroups, g);
        if (!g->name || !*g->name)
                return xml_fail(error, DOMUS_ERROR_XML, "missing required 'name' attribute in <portgroup> of network '%s'", def->name);
        if (!domus_bandwidth_parse(xml_child(node, "bandwidth"), true, &g->bandwidth, error))
                return false;
        for (unsigned i = 0; i + 1 < def->portgroups->len; i++) {
                const DomusPortgroup *other = def->portgroups->pdata[i];

                if (strcmp(other->name, g->name) == 0)
                        return xml_fail(error, DOMUS_ERROR_XML, "multiple <portgroup> elements with the same name (%s) in network '%s'", g->name,
                                def->name);
                if (other->is_default && g->is_default)
                        return xml_fail(error, DOMUS_ERROR_XML, "multiple default <portgroup> elements (%s and %s) in network '%s'", other->name,
                                g->name, def->name);
        }
        return true;
}

const DomusPortgroup *domus_network_def_portgroup(const DomusNetworkDef *def, const char *name, GError **error)
{
        for (unsigned i = 0; i < def->portgroups->len; i++) {
                const DomusPortgroup *g = def->portgroups->pdata[i];

                if (name ? strcmp(g->name, name) == 0 : g->is_default)
                        return g;
        }
        if (name)
                xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "portgroup '%s' does not exist in network '%s'", name, def->name);
        return NULL;
}

static bool fill_port_options(DomusNetworkDef *def, xmlNode *root, GError **error)
{
        def->guest_ipv6 = network_yes_no(root, "ipv6", false);
        def->isolated = network_yes_no(xml_child(root, "port"), "isolated", false);
        if (!domus_bandwidth_parse(xml_child(root, "bandwidth"), false, &def->bandwidth, error))
                return false;
        for (xmlNode *n = xml_child(root, "portgroup"); n; n = xml_next(n, "portgroup"))
                if (!add_portgroup(def, n, error))
                        return false;
        return true;
}

/* --- What goes with which mode --- */

static bool check_foreign(const DomusNetworkDef *def, xmlNode *root, const char *mode, GError **error)
{
        static const char *const elements[] = { "ip", "route", "dns", "domain", "mac" };

        for (unsigned i = 0; i < ARRAY_SIZE(elements); i++)
                if (xml_child(root, elements[i]))
                        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "Unsupported <%s> element in network %s with forward mode='%s'",
                                elements[i], def->name, mode);
        if (xml_child(root, "bandwidth"))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                        "Unsupported network-wide <bandwidth> element in network %s with forward mode='%s'", def->name, mode);
        if (!def->bridge && !def->devices)
                return xml_fail(error, DOMUS_ERROR_XML, "forward mode='%s' of network '%s' needs a bridge name or an interface", mode, def->name);
        if (xml_child(root, "bridge") && def->devices)
                return xml_fail(error, DOMUS_ERROR_XML,
                        "A network with forward mode='%s' can specify a bridge name or a forward dev, but not both (network '%s')", mode, def->name);
        if (def->mode == DOMUS_FORWARD_DIRECT && !def->devices)
                return xml_fail(error, DOMUS_ERROR_XML, "forward mode='%s' of network '%s' needs an interface", mode, def->name);
        return true;
}

static bool check_own(const DomusNetworkDef *def, xmlNode *root, const char *mode, GError **error)
{
        if ((def->mode == DOMUS_FORWARD_NAT || def->mode == DOMUS_FORWARD_ROUTE) && !xml_child(root, "ip"))
                return xml_fail(error, DOMUS_ERROR_XML, "%s forwarding requested, but no IP address provided for network '%s'", mode, def->name);
        if (def->mode == DOMUS_FORWARD_OPEN && def->devices)
                return xml_fail(error, DOMUS_ERROR_XML, "forward dev not allowed for network '%s' with forward mode='open'", def->name);
        if (def->devices && def->devices[1])
                return xml_fail(error, DOMUS_ERROR_XML, "multiple forwarding interfaces specified for network '%s', only one is supported",
                        def->name);
        return true;
}

static bool check_mode(const DomusNetworkDef *def, xmlNode *root, GError **error)
{
        g_autofree char *mode = xml_attr(xml_child(root, "forward"), "mode");

        return own_bridge(def) ? check_own(def, root, mode, error) : check_foreign(def, root, mode, error);
}

bool network_fill_link(DomusNetworkDef *def, GError **error)
{
        xmlNode *root = xmlDocGetRootElement(def->doc);

        return fill_forward(def, root, error) && fill_bridge(def, root, error) && check_mode(def, root, error) && fill_mac(def, root, error) &&
               fill_mtu(def, root, error) && fill_port_options(def, root, error);
}
