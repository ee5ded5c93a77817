/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "model/domain-def.h"
#include "model/network-def-private.h"
#include "model/xml-values.h"

/* --- Small checks that the parts share --- */

bool network_check_word(const char *text, const char *what, GError **error)
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

        if (text && *text && strlen(text) <= 255 && strspn(text, allowed) == strlen(text) && *text != '-')
                return true;
        return xml_fail(error, DOMUS_ERROR_XML, "Invalid %s '%s'", what, text ? text : "");
}

bool network_yes_no(const xmlNode *node, const char *name, bool fallback)
{
        g_autofree char *value = xml_attr(node, name);

        return value ? strcmp(value, "yes") == 0 : fallback;
}

bool network_uint_attr(const xmlNode *node, const char *name, uint64_t max, uint64_t fallback, uint64_t *ret, GError **error)
{
        g_autofree char *value = xml_attr(node, name);

        *ret = fallback;
        if (!value || xml_parse_uint(value, max, ret))
                return true;
        return xml_fail(error, DOMUS_ERROR_XML, "Invalid value '%s' for attribute '%s' of element <%s>", value, name, node->name);
}

/* What libvirt's schema takes and the kernel does, too. It means nothing but itself in nftables' and dnsmasq's languages. */
bool network_check_device(const char *name, const char *what, GError **error)
{
        bool good = name && *name && strlen(name) < 16 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;

        for (const char *p = name; good && *p; p++)
                good = g_ascii_isalnum(*p) || strchr("._-", *p);
        return good || xml_fail(error, DOMUS_ERROR_XML, "Invalid %s '%s'", what, name ? name : "");
}

/* --- Name, uuid, title, description --- */

static bool fill_identity(DomusNetworkDef *def, GError **error)
{
        xmlNode *root = xmlDocGetRootElement(def->doc);

        def->name = xml_text(xml_child(root, "name"));
        if (!def->name)
                return xml_fail(error, DOMUS_ERROR_XML, "missing name information");
        def->title = xml_text_or_null(xml_child(root, "title"));
        def->description = xml_text_or_null(xml_child(root, "description"));
        if (def->title && strchr(def->title, '\n'))
                return xml_fail(error, DOMUS_ERROR_XML, "Network title can't contain newlines");
        return xml_check_name("network", def->name, error) && xml_fill_uuid(root, def->uuid, error);
}

/* --- Whole definitions --- */

static DomusNetworkDef *new_def(xmlDoc *doc)
{
        DomusNetworkDef *def = g_new0(DomusNetworkDef, 1);

        def->doc = doc;
        def->forwarders = g_ptr_array_new_with_free_func(network_forwarder_free);
        def->txts = g_ptr_array_new_with_free_func(network_txt_free);
        def->srvs = g_ptr_array_new_with_free_func(network_srv_free);
        def->dns_hosts = g_ptr_array_new_with_free_func(network_host_free);
        def->ips = g_ptr_array_new_with_free_func(network_ip_free);
        def->routes = g_ptr_array_new_with_free_func(network_route_free);
        def->portgroups = g_ptr_array_new_with_free_func(network_portgroup_free);
        def->port_forwards = g_ptr_array_new_with_free_func(network_port_forward_free);
        return def;
}

void domus_network_def_free(DomusNetworkDef *def)
{
        if (!def)
                return;
        xmlFreeDoc(def->doc);
        g_free(def->name);
        g_free(def->title);
        g_free(def->description);
        g_free(def->direct_mode);
        g_strfreev(def->devices);
        g_free(def->nat_start);
        g_free(def->nat_end);
        g_free(def->bridge);
        g_free(def->domain);
        g_ptr_array_unref(def->forwarders);
        g_ptr_array_unref(def->txts);
        g_ptr_array_unref(def->srvs);
        g_ptr_array_unref(def->dns_hosts);
        g_ptr_array_unref(def->ips);
        g_ptr_array_unref(def->routes);
        g_ptr_array_unref(def->portgroups);
        g_ptr_array_unref(def->port_forwards);
        g_free(def);
}

DomusNetworkDef *network_def_from_doc(xmlDoc *doc, GError **error)
{
        g_autoptr(DomusNetworkDef) def = new_def(doc);
        xmlNode *root = xmlDocGetRootElement(doc);

        if (!xml_rules_check(&network_rule, root, error))
                return NULL;
        xmlUnsetProp(root, (const xmlChar *)"connections");
        if (!fill_identity(def, error) || !network_fill_link(def, error) || !network_fill_addresses(def, error) ||
                !network_fill_port_forwards(def, error) || !network_fill_dns(def, error))
                return NULL;
        xml_rules_sort(&network_rule, root);
        return g_steal_pointer(&def);
}

DomusNetworkDef *domus_network_def_parse(const char *xml, unsigned flags, GError **error)
{
        g_autoptr(xmlDoc) doc = xml_parse(xml, "network_definition", error);

        if (!doc || ((flags & DOMUS_NETWORK_DEF_VALIDATE) && !xml_schema_check(doc, "network.rng", error)))
                return NULL;
        return network_def_from_doc(g_steal_pointer(&doc), error);
}

DomusNetworkDef *domus_network_def_copy(const DomusNetworkDef *def)
{
        return network_def_from_doc(xmlCopyDoc(def->doc, 1), NULL); /* what was accepted once is again */
}

char *domus_network_def_format(const DomusNetworkDef *def, unsigned connections)
{
        g_autoptr(xmlDoc) copy = xmlCopyDoc(def->doc, 1);
        /* The writer of domains lays out any document. */
        const DomusDomainDef any = { .doc = copy };

        if (connections) {
                g_autofree char *text = g_strdup_printf("%u", connections);

                xml_set_attr(xmlDocGetRootElement(copy), "connections", text);
        }
        return domus_domain_def_format(&any, -1, 0);
}

/* --- Changes of single things --- */

void domus_network_def_set_bridge(DomusNetworkDef *def, const char *bridge)
{
        xmlNode *root = xmlDocGetRootElement(def->doc);

        g_free(def->bridge);
        def->bridge = g_strdup(bridge);
        xml_set_attr(xml_ensure_child(root, "bridge"), "name", bridge);
        xml_rules_sort(&network_rule, root);
}

static bool set_text(DomusNetworkDef *def, const char *element, char **slot, const char *text, GError **error)
{
        xmlNode *root = xmlDocGetRootElement(def->doc);

        if (text && !xml_is_text(text))
                return xml_fail(error, DOMUS_ERROR_XML, "network %s must not contain control characters", element);
        g_free(*slot);
        *slot = text && *text ? g_strdup(text) : NULL;
        if (*slot)
                xml_set_text(xml_ensure_child(root, element), text);
        else
                xml_remove(xml_child(root, element));
        xml_rules_sort(&network_rule, root);
        return true;
}

bool domus_network_def_set_title(DomusNetworkDef *def, const char *title, GError **error)
{
        if (title && strchr(title, '\n'))
                return xml_fail(error, DOMUS_ERROR_XML, "Network title can't contain newlines");
        return set_text(def, "title", &def->title, title, error);
}

bool domus_network_def_set_description(DomusNetworkDef *def, const char *description, GError **error)
{
        return set_text(def, "description", &def->description, description, error);
}

/* <metadata> follows the same rules in domains and in networks. */
bool domus_network_def_set_metadata(DomusNetworkDef *def, const char *xml, const char *key, const char *uri, GError **error)
{
        DomusDomainDef any = { .doc = def->doc };
        bool ok = domus_domain_def_set_metadata(&any, xml, key, uri, error);

        xml_rules_sort(&network_rule, xmlDocGetRootElement(def->doc));
        return ok;
}

char *domus_network_def_get_metadata(const DomusNetworkDef *def, const char *uri, GError **error)
{
        const DomusDomainDef any = { .doc = def->doc };
        char *ret = domus_domain_def_get_metadata(&any, uri, NULL);

        if (!ret)
                xml_fail(error, DOMUS_ERROR_NO_NETWORK_METADATA, "Requested metadata element is not present");
        return ret;
}
