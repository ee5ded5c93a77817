/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "model/inet.h"
#include "model/network-def-private.h"

/* virNetworkUpdate on the document: a new element goes in, one goes out, or one is replaced; then the whole is checked as if it came from a user. */

struct section {
        const char *element, *what;
        bool by_ip;                /* below <ip><dhcp> */
        const char *parent;        /* else below this one of <network>, or NULL */
        bool modify;
        const char *keys[4];       /* what tells elements apart; the first that is given counts for modify, all that are given for delete */
};

static const struct section sections[] = {
        [DOMUS_SECTION_DHCP_RANGE] = { "range", "dhcp range", true, NULL, false, { "start", "end" } },
        [DOMUS_SECTION_DHCP_HOST] = { "host", "dhcp host", true, NULL, true, { "mac", "id", "name", "ip" } },
        [DOMUS_SECTION_DNS_HOST] = { "host", "DNS HOST", false, "dns", false, { "ip" } },
        [DOMUS_SECTION_DNS_TXT] = { "txt", "DNS TXT", false, "dns", false, { "name", "value" } },
        [DOMUS_SECTION_DNS_SRV] = { "srv", "DNS SRV", false, "dns", false, { "service", "protocol", "domain", "target" } },
        [DOMUS_SECTION_FORWARD_INTERFACE] = { "interface", "forward interface", false, "forward", false, { "dev" } },
        [DOMUS_SECTION_PORTGROUP] = { "portgroup", "portgroup", false, NULL, true, { "name" } },
};

/* --- Where the element belongs --- */

static xmlNode *nth_ip(xmlNode *root, int index)
{
        xmlNode *ip = xml_child(root, "ip");

        while (ip && index-- > 0)
                ip = xml_next(ip, "ip");
        return ip;
}

/* The one whose network the fragment's address is in; else the one that has DHCP; else the first; all of the address's family, if it has one. */
static int fitting_ip(const DomusNetworkDef *def, const xmlNode *fragment)
{
        g_autofree char *start = xml_attr(fragment, "start"), *address = xml_attr(fragment, "ip");
        int with_dhcp = -1, first = -1;
        DomusInet a, own;

        domus_inet_parse(address ? address : start, 0, &a);
        for (int i = 0; i < (int)def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];

                if (a.family && a.family != ip->family)
                        continue;
                if (domus_inet_parse(ip->address, ip->family, &own) && domus_inet_same_network(&a, &own, ip->prefix))
                        return i;
                if (first < 0)
                        first = i;
                if (with_dhcp < 0 && ip->dhcp)
                        with_dhcp = i;
        }
        return with_dhcp >= 0 ? with_dhcp : first;
}

static xmlNode *find_parent(const DomusNetworkDef *def, const struct section *s, xmlNode *root, int index, const xmlNode *fragment,
        GError **error)
{
        xmlNode *ip;

        if (!s->by_ip)
                return s->parent ? xml_ensure_child(root, s->parent) : root;
        if (index < 0)
                index = fitting_ip(def, fragment);
        ip = index < 0 ? NULL : nth_ip(root, index);
        if (ip)
                return xml_ensure_child(ip, "dhcp");
        xml_fail(error, DOMUS_ERROR_OPERATION_INVALID, "couldn't update %s entry - no matching <ip> element found in network '%s'", s->what, def->name);
        return NULL;
}

/* --- Which element is meant --- */

static bool has_hostname(const xmlNode *node, const char *name)
{
        for (const xmlNode *n = xml_child(node, "hostname"); n; n = xml_next(n, "hostname")) {
                g_autofree char *text = xml_text(n);

                if (g_ascii_strcasecmp(g_strstrip(text), name) == 0)
                        return true;
        }
        return false;
}

/* first_only: by the first key that the fragment has. */
static bool matches(const struct section *s, const xmlNode *node, const xmlNode *fragment, bool first_only)
{
        for (unsigned i = 0; i < G_N_ELEMENTS(s->keys) && s->keys[i]; i++) {
                g_autofree char *wanted = xml_attr(fragment, s->keys[i]), *own = xml_attr(node, s->keys[i]);

                if (!wanted)
                        continue;
                if (!own || g_ascii_strcasecmp(wanted, own) != 0)
                        return false;
                if (first_only)
                        return true;
        }
        for (const xmlNode *n = xml_child(fragment, "hostname"); n; n = xml_next(n, "hostname")) {
                g_autofree char *text = xml_text(n);

                if (!has_hostname(node, g_strstrip(text)))
                        return false;
        }
        return true;
}

static xmlNode *find_match(const struct section *s, const xmlNode *parent, const xmlNode *fragment, bool first_only)
{
        xmlNode *n = xml_child(parent, s->element);

        while (n && !matches(s, n, fragment, first_only))
                n = xml_next(n, s->element);
        return n;
}

static bool has_key(const struct section *s, const xmlNode *fragment)
{
        for (unsigned i = 0; i < G_N_ELEMENTS(s->keys) && s->keys[i]; i++)
                if (xmlHasProp(fragment, (const xmlChar *)s->keys[i]))
                        return true;
        return xml_child(fragment, "hostname") != NULL;
}

/* --- Doing it --- */

static bool add(const struct section *s, const DomusNetworkDef *def, xmlNode *parent, const xmlNode *fragment, bool first, GError **error)
{
        xmlNode *before = xml_child(parent, s->element), *fresh;

        if (find_match(s, parent, fragment, true) && s->modify)
                return xml_fail(error, DOMUS_ERROR_OPERATION_INVALID, "there is an existing %s entry in network '%s' that matches it", s->what,
                        def->name);
        if (find_match(s, parent, fragment, false))
                return xml_fail(error, DOMUS_ERROR_OPERATION_INVALID, "there is already a %s entry in network '%s' that matches it", s->what, def->name);
        fresh = xmlDocCopyNode((xmlNode *)fragment, parent->doc, 1);
        if (first && before)
                xmlAddPrevSibling(before, fresh);
        else
                xmlAddChild(parent, fresh);
        return true;
}

static bool replace(const struct section *s, const DomusNetworkDef *def, xmlNode *parent, const xmlNode *fragment, GError **error)
{
        xmlNode *old = find_match(s, parent, fragment, true);

        if (!s->modify)
                return xml_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "%s entries cannot be modified, only added or deleted", s->what);
        if (!old)
                return xml_fail(error, DOMUS_ERROR_OPERATION_INVALID, "couldn't locate an existing %s entry in network '%s' that matches it", s->what,
                        def->name);
        xmlAddNextSibling(old, xmlDocCopyNode((xmlNode *)fragment, parent->doc, 1));
        xml_remove(old);
        return true;
}

static bool take_out(const struct section *s, const DomusNetworkDef *def, xmlNode *parent, const xmlNode *fragment, GError **error)
{
        xmlNode *old = find_match(s, parent, fragment, false);

        if (!old)
                return xml_fail(error, DOMUS_ERROR_OPERATION_INVALID, "couldn't locate a matching %s entry in network '%s'", s->what, def->name);
        xml_remove(old);
        if (s->by_ip && !xml_first_element(parent))
                xml_remove(parent);
        else if (s->parent && strcmp(s->parent, "forward") == 0)
                xmlUnsetProp(parent, (const xmlChar *)"dev"); /* follows from what is left */
        return true;
}

static bool apply(const struct section *s, const DomusNetworkDef *def, DomusNetworkUpdateCommand command, xmlNode *parent, const xmlNode *fragment,
        GError **error)
{
        if (!xml_is(fragment, s->element))
                return xml_fail(error, DOMUS_ERROR_XML, "unexpected element <%s>, expecting <%s>, while updating network '%s'", fragment->name, s->element,
                        def->name);
        if (!has_key(s, fragment))
                return xml_fail(error, DOMUS_ERROR_XML, "element <%s> tells nothing that entries of network '%s' can be told apart by", s->element,
                        def->name);
        switch (command) {
        case DOMUS_UPDATE_ADD_FIRST:
        case DOMUS_UPDATE_ADD_LAST:
                if (s->parent && strcmp(s->parent, "forward") == 0 && command == DOMUS_UPDATE_ADD_FIRST)
                        xmlUnsetProp(parent, (const xmlChar *)"dev");
                return add(s, def, parent, fragment, command == DOMUS_UPDATE_ADD_FIRST, error);
        case DOMUS_UPDATE_MODIFY:
                return replace(s, def, parent, fragment, error);
        case DOMUS_UPDATE_DELETE:
                return take_out(s, def, parent, fragment, error);
        }
        return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "unknown update command %d", (int)command);
}

DomusNetworkDef *domus_network_def_update(const DomusNetworkDef *def, DomusNetworkUpdateCommand command, DomusNetworkSection section, int parent,
                                          const char *xml, GError **error)
{
        const struct section *s = &sections[section];
        g_autoptr(xmlDoc) fragment = xml_parse(xml, "network_update_xml", error), copy = NULL;
        xmlNode *node;

        if (!fragment)
                return NULL;
        copy = xmlCopyDoc(def->doc, 1);
        node = find_parent(def, s, xmlDocGetRootElement(copy), parent, xmlDocGetRootElement(fragment), error);
        if (!node || !apply(s, def, command, node, xmlDocGetRootElement(fragment), error))
                return NULL;
        return network_def_from_doc(g_steal_pointer(&copy), error);
}
