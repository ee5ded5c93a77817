/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/network-port.h"

#include <string.h>

#include "model/domain-def.h"
#include "model/inet.h"
#include "model/network-def-private.h"

static const struct element_rule owner_children[] = {
        { "name", RULE_TEXT },
        { "uuid", RULE_TEXT },
        {},
};

/* target is for our own state files. */
static const struct element_rule port_children[] = {
        { "uuid", RULE_TEXT },
        { "owner", 0, NULL, owner_children },
        { "group", RULE_TEXT },
        { "mac", 0, RULE_ATTRS{ { "address" }, {} } },
        { "rxfilters", 0, RULE_ATTRS{ { "trustGuest", "no" }, {} } },
        { "port", 0, RULE_ATTRS{ { "isolated", "yes|no" }, {} } },
        { "bandwidth", RULE_OPAQUE | RULE_ANY_ATTRS },
        { "plug", 0,
          RULE_ATTRS{ { "type", "network|bridge|direct" }, { "bridge" }, { "macTableManager", "kernel" }, { "dev" },
                     { "mode", "bridge|passthrough|private|vepa" }, {} } },
        { "target", 0, RULE_ATTRS{ { "dev" }, {} } },
        {},
};

static const struct element_rule port_rule = { "networkport", 0, NULL, port_children };

static bool fill_uuids(DomusNetworkPortDef *def, const xmlNode *root, GError **error)
{
        g_autofree char *uuid = xml_text(xml_child(root, "uuid")), *owner = xml_text(xml_child(xml_child(root, "owner"), "uuid"));

        def->owner_name = xml_text(xml_child(xml_child(root, "owner"), "name"));
        if (!def->owner_name || !owner || !domus_uuid_parse(owner, def->owner_uuid))
                return xml_fail(error, DOMUS_ERROR_XML, "<owner> of a network port needs a name and a uuid");
        def->has_uuid = uuid != NULL;
        return !uuid || domus_uuid_parse(uuid, def->uuid) || xml_fail(error, DOMUS_ERROR_XML, "Unable to parse UUID '%s'", uuid);
}

static bool fill_plug(DomusNetworkPortDef *def, const xmlNode *plug, GError **error)
{
        g_autofree char *type = xml_attr(plug, "type");

        if (!plug)
                return true;
        if (!type)
                return xml_fail(error, DOMUS_ERROR_XML, "Missing network port plug type");
        def->plug = strcmp(type, "network") == 0 ? DOMUS_PLUG_NETWORK : strcmp(type, "bridge") == 0 ? DOMUS_PLUG_BRIDGE : DOMUS_PLUG_DIRECT;
        def->bridge = xml_attr(plug, "bridge");
        def->device = xml_attr(plug, "dev");
        def->mode = xml_attr(plug, "mode");
        if (def->plug == DOMUS_PLUG_DIRECT)
                return network_check_device(def->device, "network port plug dev", error);
        return network_check_device(def->bridge, "network port plug bridge", error);
}

static bool fill(DomusNetworkPortDef *def, const xmlNode *root, GError **error)
{
        g_autofree char *mac = xml_attr(xml_child(root, "mac"), "address");

        def->group = xml_text(xml_child(root, "group"));
        def->target = xml_attr(xml_child(root, "target"), "dev");
        def->isolated = network_yes_no(xml_child(root, "port"), "isolated", false);
        if (!mac || !domus_mac_parse(mac, def->mac))
                return xml_fail(error, DOMUS_ERROR_XML, "%s MAC address in network port", mac ? "Invalid" : "Missing");
        return fill_uuids(def, root, error) && domus_bandwidth_parse(xml_child(root, "bandwidth"), true, &def->bandwidth, error) &&
               fill_plug(def, xml_child(root, "plug"), error);
}

DomusNetworkPortDef *domus_network_port_def_parse(const char *xml, GError **error)
{
        g_autoptr(DomusNetworkPortDef) def = g_new0(DomusNetworkPortDef, 1);
        g_autoptr(xmlDoc) doc = xml_parse(xml, "networkport", error);

        if (!doc || !xml_rules_check(&port_rule, xmlDocGetRootElement(doc), error) || !fill(def, xmlDocGetRootElement(doc), error))
                return NULL;
        return g_steal_pointer(&def);
}

void domus_network_port_def_free(DomusNetworkPortDef *def)
{
        if (!def)
                return;
        g_free(def->owner_name);
        g_free(def->group);
        g_free(def->bridge);
        g_free(def->device);
        g_free(def->mode);
        g_free(def->target);
        g_free(def);
}

static xmlNode *put(xmlNode *parent, const char *name, const char *text)
{
        return xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

static void put_plug(const DomusNetworkPortDef *def, xmlNode *root)
{
        static const char *const types[] = { [DOMUS_PLUG_BRIDGE] = "bridge", [DOMUS_PLUG_NETWORK] = "network", [DOMUS_PLUG_DIRECT] = "direct" };
        xmlNode *plug;

        if (def->plug == DOMUS_PLUG_NONE)
                return;
        plug = put(root, "plug", NULL);
        xml_set_attr(plug, "type", types[def->plug]);
        if (def->plug == DOMUS_PLUG_DIRECT) {
                xml_set_attr(plug, "dev", def->device);
                xml_set_attr(plug, "mode", def->mode ? def->mode : "vepa");
        } else {
                xml_set_attr(plug, "bridge", def->bridge);
        }
}

static void put_all(const DomusNetworkPortDef *def, xmlNode *root, bool with_target)
{
        char uuid[DOMUS_UUID_STRING_LEN];
        g_autofree char *mac = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", def->mac[0], def->mac[1], def->mac[2], def->mac[3],
                def->mac[4], def->mac[5]);
        xmlNode *owner;

        domus_uuid_format(def->uuid, uuid);
        put(root, "uuid", uuid);
        owner = put(root, "owner", NULL);
        put(owner, "name", def->owner_name);
        domus_uuid_format(def->owner_uuid, uuid);
        put(owner, "uuid", uuid);
        if (def->group)
                put(root, "group", def->group);
        xml_set_attr(put(root, "mac", NULL), "address", mac);
        if (def->isolated)
                xml_set_attr(put(root, "port", NULL), "isolated", "yes");
        domus_bandwidth_put(&def->bandwidth, root);
        put_plug(def, root);
        if (with_target && def->target)
                xml_set_attr(put(root, "target", NULL), "dev", def->target);
}

char *domus_network_port_def_format(const DomusNetworkPortDef *def, bool with_target)
{
        g_autoptr(xmlDoc) doc = xmlNewDoc((const xmlChar *)"1.0");
        /* The writer of domains lays out any document. */
        const DomusDomainDef any = { .doc = doc };

        xmlDocSetRootElement(doc, xmlNewDocNode(doc, NULL, (const xmlChar *)"networkport", NULL));
        put_all(def, xmlDocGetRootElement(doc), with_target);
        return domus_domain_def_format(&any, -1, 0);
}
