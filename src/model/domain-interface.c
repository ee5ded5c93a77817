/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <interface> (formatdomain.html#network-interfaces). */

#include <string.h>

#include "model/domain-device-private.h"

#define TARGET_MAX 15 /* IFNAMSIZ - 1 */

static const struct element_rule bandwidth_rules[] = {
        { "inbound", 0, RULE_ATTRS{ { "average" }, { "peak" }, { "burst" }, { "floor" }, {} } },
        { "outbound", 0, RULE_ATTRS{ { "average" }, { "peak" }, { "burst" }, {} } },
        {},
};

static const struct element_rule forward_rules[] = {
        { "range", RULE_MANY, RULE_ATTRS{ { "start" }, { "end" }, { "to" }, { "exclude", "yes|no" }, {} } },
        {},
};

static const struct element_rule interface_rules[] = {
        { "mac", 0, RULE_ATTRS{ { "address" }, {} } },
        { "source", 0,
          RULE_ATTRS{ { "network" },
                      { "portgroup" },
                      { "bridge" },
                      { "dev" },
                      { "mode", "vepa|bridge|private|passthrough" },
                      { "portid" },
                      {} } },
        { "ip", RULE_MANY, RULE_ATTRS{ { "family", "ipv4|ipv6" }, { "address" }, { "prefix" }, {} } },
        { "portForward", RULE_MANY, RULE_ATTRS{ { "proto", "tcp|udp" }, { "address" }, { "dev" }, {} }, forward_rules },
        { "port", 0, RULE_ATTRS{ { "isolated", "yes|no" }, {} } },
        { "target", 0, RULE_ATTRS{ { "dev" }, { "managed", "yes|no" }, {} } },
        { "model", 0, RULE_ATTRS{ { "type", "virtio|virtio-non-transitional" }, {} } },
        { "driver", 0, RULE_ATTRS{ { "name", "qemu|vhost" }, { "queues" }, {} } },
        { "backend", 0, RULE_ATTRS{ { "type", "passt" }, {} } },
        RULE_BOOT,
        { "bandwidth", 0, NULL, bandwidth_rules },
        { "mtu", 0, RULE_ATTRS{ { "size" }, {} } },
        { "link", 0, RULE_ATTRS{ { "state", "up|down" }, {} } },
        RULE_ALIAS,
        RULE_PCI_ADDRESS,
        {},
};

static const struct element_rule rule = {
        "interface", RULE_MANY, RULE_ATTRS{ { "type", "network|bridge|direct|user|ethernet" }, {} }, interface_rules,
};

/* --- MAC --- */

static void generate_mac(uint8_t mac[6])
{
        uint32_t random = g_random_int();

        memcpy(mac, (const uint8_t[]){ 0x52, 0x54, 0x00, (uint8_t)(random >> 16), (uint8_t)(random >> 8), (uint8_t)random }, 6);
}

static bool parse_mac(DomusDevice *d, GError **error)
{
        xmlNode *node = xml_ensure_child(d->node, "mac");
        g_autofree char *text = xml_attr(node, "address");
        char canonical[DOMUS_MAC_STRING_LEN];

        if (!text)
                generate_mac(d->interface.mac);
        else if (!domus_mac_parse(text, d->interface.mac))
                return xml_fail(error, DOMUS_ERROR_XML, "unable to parse mac address '%s'", text);
        if (d->interface.mac[0] & 1)
                return xml_fail(error, DOMUS_ERROR_XML, "expected unicast mac address, found multicast '%s'", text);
        domus_mac_format(d->interface.mac, canonical);
        xml_set_attr(node, "address", canonical);
        return true;
}

/* --- What it is connected to --- */

static bool parse_source(DomusDevice *d, GError **error)
{
        static const struct {
                const char *name, *needs;
        } types[] = {
                [DOMUS_INTERFACE_NETWORK] = { "network", "network" }, [DOMUS_INTERFACE_BRIDGE] = { "bridge", "bridge" },
                [DOMUS_INTERFACE_DIRECT] = { "direct", "dev" },       [DOMUS_INTERFACE_USER] = { "user", NULL },
                [DOMUS_INTERFACE_ETHERNET] = { "ethernet", NULL },
        };
        xmlNode *source = xml_child(d->node, "source");
        DomusInterface *i = &d->interface;
        g_autofree char *type = xml_attr(d->node, "type");

        if (!type)
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute 'type' of element <interface> (line %ld)",
                                xmlGetLineNo(d->node));
        while (strcmp(types[i->type].name, type) != 0)
                i->type++;
        i->network = device_attr(d, source, "network");
        i->portgroup = device_attr(d, source, "portgroup");
        i->bridge = device_attr(d, source, "bridge");
        i->dev = device_attr(d, source, "dev");
        i->port_uuid = device_attr(d, source, "portid");
        if (i->type == DOMUS_INTERFACE_DIRECT)
                xml_set_attr_default(xml_ensure_child(d->node, "source"), "mode", "vepa");
        i->mode = device_attr(d, xml_child(d->node, "source"), "mode");
        return !types[i->type].needs || device_require(d, source, "source", types[i->type].needs, error);
}

static bool parse_target(DomusDevice *d, GError **error)
{
        const xmlNode *target = xml_child(d->node, "target");
        DomusInterface *i = &d->interface;

        i->target = device_attr(d, target, "dev");
        i->managed = device_bool(target, "managed", true);
        if (i->target && (!*i->target || strlen(i->target) > TARGET_MAX || strpbrk(i->target, "/: \t\r\n") || i->target[0] == '.'))
                return xml_fail(error, DOMUS_ERROR_XML, "'%s' cannot be the name of a network device", i->target);
        if (i->target && i->type == DOMUS_INTERFACE_USER)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "<target> is not supported with an interface of type 'user'");
        if (i->type == DOMUS_INTERFACE_ETHERNET && !i->managed && !i->target)
                return xml_fail(error, DOMUS_ERROR_XML, "an unmanaged ethernet interface needs <target dev=…/>");
        return true;
}

static bool parse_model(DomusDevice *d, GError **error)
{
        xmlNode *model = xml_ensure_child(d->node, "model");
        xmlNode *driver = xml_child(d->node, "driver");

        xml_set_attr_default(model, "type", "virtio");
        if (!device_uint32(driver, "queues", 8, &d->interface.queues, error))
                return false;
        if (d->interface.queues > 1 && d->interface.type == DOMUS_INTERFACE_USER)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "more than one queue is not supported with an interface of type 'user'");
        return true;
}

static bool parse(DomusDevice *d, GError **error)
{
        DomusInterface *i = &d->interface;
        g_autofree char *state = xml_attr(xml_child(d->node, "link"), "state");
        const xmlNode *mtu = xml_child(d->node, "mtu");

        if (!parse_mac(d, error) || !parse_source(d, error) || !parse_target(d, error) || !parse_model(d, error) ||
            !domain_user_parse(d, error) || !device_uint32(mtu, "size", 65535, &i->mtu, error))
                return false;
        if (mtu && i->mtu < 68)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "an MTU below 68 is not possible");
        i->link_down = g_strcmp0(state, "down") == 0;
        i->isolated = device_bool(xml_child(d->node, "port"), "isolated", false);
        if (!domus_bandwidth_parse(xml_child(d->node, "bandwidth"), true, &i->bandwidth, error))
                return false;
        if (!domus_bandwidth_is_empty(&i->bandwidth) && i->type == DOMUS_INTERFACE_USER)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "<bandwidth> is not supported with an interface of type 'user'");
        return true;
}

static char *alias(const DomusDevice *d, unsigned n)
{
        return g_strdup_printf("net%u", n);
}

/* The client may leave out the MAC; then a wanted interface has a made-up one, and its address must do. */
static bool matches(const DomusDevice *d, const DomusDevice *wanted)
{
        if (wanted->address.type && (wanted->address.slot != d->address.slot))
                return false;
        return memcmp(d->interface.mac, wanted->interface.mac, 6) == 0 || wanted->interface.mac[0] == 0xff;
}

/* Names beginning with these are chosen by the daemon. */
static bool is_own_name(const char *target)
{
        return g_str_has_prefix(target, "vnet") || g_str_has_prefix(target, "macvtap");
}

static void drop_live(xmlNode *node)
{
        xmlNode *source = xml_child(node, "source"), *target = xml_child(node, "target");
        g_autofree char *type = xml_attr(node, "type"), *dev = xml_attr(target, "dev");

        xmlUnsetProp(source, (const xmlChar *)"portid");
        if (g_strcmp0(type, "network") == 0)
                xmlUnsetProp(source, (const xmlChar *)"bridge");
        if (!dev || !is_own_name(dev))
                return;
        xmlUnsetProp(target, (const xmlChar *)"dev");
        if (!target->properties)
                xml_remove(target);
}

const struct device_kind domain_interface_kind = { &rule, DOMUS_DEVICE_INTERFACE, parse, device_address_pci, alias, matches, drop_live };

/* --- Finding and changing --- */

DomusDevice *domus_domain_def_interface(const DomusDomainDef *def, const char *name)
{
        uint8_t mac[6];
        bool by_mac = domus_mac_parse(name, mac);
        DomusDevice *d;

        for (unsigned i = 0; (d = domus_domain_def_device(def, DOMUS_DEVICE_INTERFACE, i)); i++)
                if (by_mac ? memcmp(d->interface.mac, mac, 6) == 0 : g_strcmp0(d->interface.target, name) == 0)
                        return d;
        return NULL;
}

static void finish_change(DomusDomainDef *def)
{
        domain_rules_sort(xmlDocGetRootElement(def->doc));
        domain_devices_reload(def);
}

void domus_domain_def_set_interface_live(DomusDomainDef *def, DomusDevice *d, const char *target, const char *bridge,
                                         const char *port_uuid)
{
        if (target)
                xml_set_attr(xml_ensure_child(d->node, "target"), "dev", target);
        if (bridge)
                xml_set_attr(xml_ensure_child(d->node, "source"), "bridge", bridge);
        if (port_uuid)
                xml_set_attr(xml_ensure_child(d->node, "source"), "portid", port_uuid);
        finish_change(def);
}

void domus_domain_def_set_link(DomusDomainDef *def, DomusDevice *d, bool up)
{
        xml_set_attr(xml_ensure_child(d->node, "link"), "state", up ? "up" : "down");
        finish_change(def);
}

void domus_domain_def_set_bandwidth(DomusDomainDef *def, DomusDevice *d, const DomusBandwidth *bandwidth)
{
        xml_remove(xml_child(d->node, "bandwidth"));
        domus_bandwidth_put(bandwidth, d->node);
        finish_change(def);
}
