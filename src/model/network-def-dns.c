/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "model/inet.h"
#include "model/network-def-private.h"

void network_forwarder_free(gpointer p)
{
        DomusDnsForwarder *f = p;

        g_free(f->domain);
        g_free(f->address);
        g_free(f);
}

void network_txt_free(gpointer p)
{
        DomusDnsTxt *t = p;

        g_free(t->name);
        g_free(t->value);
        g_free(t);
}

void network_srv_free(gpointer p)
{
        DomusDnsSrv *s = p;

        g_free(s->service);
        g_free(s->protocol);
        g_free(s->domain);
        g_free(s->target);
        g_free(s);
}

void network_host_free(gpointer p)
{
        DomusDnsHost *h = p;

        g_free(h->ip);
        g_strfreev(h->names);
        g_free(h);
}

static bool add_forwarder(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        DomusDnsForwarder *f = g_new0(DomusDnsForwarder, 1);
        DomusInet a;

        f->domain = xml_attr(node, "domain");
        f->address = xml_attr(node, "addr");
        g_ptr_array_add(def->forwarders, f);
        if (!f->domain && !f->address)
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid forwarder element, must contain at least one of addr or domain");
        if (f->address && !domus_inet_parse(f->address, 0, &a))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid forwarder IP address '%s' in network '%s'", f->address, def->name);
        return !f->domain || network_check_word(f->domain, "domain of <forwarder>", error);
}

static bool add_txt(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        DomusDnsTxt *t = g_new0(DomusDnsTxt, 1);

        t->name = xml_attr(node, "name");
        t->value = xml_attr(node, "value");
        g_ptr_array_add(def->txts, t);
        if (!t->name)
                return xml_fail(error, DOMUS_ERROR_XML, "missing required name attribute in DNS TXT record of network %s", def->name);
        if (!t->value)
                return xml_fail(error, DOMUS_ERROR_XML, "missing required value attribute in DNS TXT record named '%s' of network %s", t->name,
                        def->name);
        for (const char *p = t->value; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return xml_fail(error, DOMUS_ERROR_XML, "control character in DNS TXT record named '%s' of network %s", t->name, def->name);
        if (strlen(t->value) > 255)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "DNS TXT record named '%s' of network %s is longer than 255 bytes", t->name,
                        def->name);
        return network_check_word(t->name, "name of <txt>", error);
}

static bool fill_srv(const DomusNetworkDef *def, DomusDnsSrv *s, const xmlNode *node, GError **error)
{
        uint64_t port, priority, weight;

        if (!s->service || !s->protocol)
                return xml_fail(error, DOMUS_ERROR_XML, "missing required service or protocol attribute in DNS SRV record of network '%s'", def->name);
        if (strcmp(s->protocol, "tcp") != 0 && strcmp(s->protocol, "udp") != 0)
                return xml_fail(error, DOMUS_ERROR_XML, "invalid protocol attribute value '%s' in DNS SRV record of network '%s'", s->protocol,
                        def->name);
        if (!s->target && (xmlHasProp(node, (const xmlChar *)"port") || xmlHasProp(node, (const xmlChar *)"priority") ||
                                  xmlHasProp(node, (const xmlChar *)"weight")))
                return xml_fail(error, DOMUS_ERROR_XML, "DNS SRV port, priority and weight need a target for service '%s' in network '%s'",
                        s->service, def->name);
        if (!network_uint_attr(node, "port", 65535, 0, &port, error) || !network_uint_attr(node, "priority", 65535, 0, &priority, error) ||
                !network_uint_attr(node, "weight", 65535, 0, &weight, error))
                return false;
        s->port = (unsigned)port;
        s->priority = (unsigned)priority;
        s->weight = (unsigned)weight;
        return network_check_word(s->service, "service of <srv>", error) &&
               (!s->domain || network_check_word(s->domain, "domain of <srv>", error)) &&
               (!s->target || network_check_word(s->target, "target of <srv>", error));
}

static bool add_srv(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        DomusDnsSrv *s = g_new0(DomusDnsSrv, 1);

        s->service = xml_attr(node, "service");
        s->protocol = xml_attr(node, "protocol");
        s->domain = xml_attr(node, "domain");
        s->target = xml_attr(node, "target");
        g_ptr_array_add(def->srvs, s);
        return fill_srv(def, s, node, error);
}

static bool add_host(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        g_autoptr(GStrvBuilder) names = g_strv_builder_new();
        DomusDnsHost *h = g_new0(DomusDnsHost, 1);
        DomusInet a;

        h->ip = xml_attr(node, "ip");
        g_ptr_array_add(def->dns_hosts, h);
        for (const xmlNode *n = xml_child(node, "hostname"); n; n = xml_next(n, "hostname")) {
                g_autofree char *text = xml_text(n);

                g_strstrip(text);
                if (!network_check_word(text, "hostname in DNS host record", error))
                        return false;
                g_strv_builder_add(names, text);
        }
        h->names = g_strv_builder_end(names);
        if (!h->ip || !domus_inet_parse(h->ip, 0, &a))
                return xml_fail(error, DOMUS_ERROR_XML, "%s IP address in network '%s' DNS HOST record", h->ip ? "Invalid" : "Missing", def->name);
        if (!h->names[0])
                return xml_fail(error, DOMUS_ERROR_XML, "Missing ip and hostname in network '%s' DNS HOST record", def->name);
        return true;
}

static bool fill_domain(DomusNetworkDef *def, const xmlNode *domain, GError **error)
{
        if (!domain)
                return true;
        def->domain = xml_attr(domain, "name");
        def->domain_local_only = network_yes_no(domain, "localOnly", false);
        return network_check_word(def->domain, "domain name", error);
}

static bool add_record(DomusNetworkDef *def, const xmlNode *node, GError **error)
{
        static const struct {
                const char *name;
                bool (*add)(DomusNetworkDef *def, const xmlNode *node, GError **error);
        } records[] = { { "forwarder", add_forwarder }, { "txt", add_txt }, { "srv", add_srv }, { "host", add_host } };

        for (unsigned i = 0; i < G_N_ELEMENTS(records); i++)
                if (xml_is(node, records[i].name))
                        return records[i].add(def, node, error);
        return true;
}

bool network_fill_dns(DomusNetworkDef *def, GError **error)
{
        const xmlNode *root = xmlDocGetRootElement(def->doc), *dns = xml_child(root, "dns");

        def->dns = network_yes_no(dns, "enable", true);
        def->dns_forward_plain = network_yes_no(dns, "forwardPlainNames", true);
        if (!fill_domain(def, xml_child(root, "domain"), error))
                return false;
        if (!def->dns && xml_first_element(dns))
                return xml_fail(error, DOMUS_ERROR_XML, "Extra data in disabled network '%s'", def->name);
        for (const xmlNode *n = xml_first_element(dns); n; n = xml_next_element(n))
                if (!add_record(def, n, error))
                        return false;
        return true;
}
