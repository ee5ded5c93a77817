/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"

#include <libxml/valid.h>
#include <string.h>

/* <metadata> holds one element per application, told apart by namespace (formatdomain.html, "Custom metadata"). */

static const char *uri_of(const xmlNode *node)
{
        return node->ns && node->ns->href ? (const char *)node->ns->href : NULL;
}

static xmlNode *find_by_uri(const xmlNode *metadata, const char *uri)
{
        xmlNode *n = xml_first_element(metadata);

        while (n && g_strcmp0(uri_of(n), uri) != 0)
                n = xml_next_element(n);
        return n;
}

bool domain_check_metadata(const xmlNode *metadata, GError **error)
{
        for (xmlNode *n = xml_first_element(metadata); n; n = xml_next_element(n)) {
                if (!uri_of(n))
                        return xml_fail(error, DOMUS_ERROR_XML, "element <%s> in <metadata> (line %ld) has no namespace",
                                        n->name, xmlGetLineNo(n));
                if (find_by_uri(metadata, uri_of(n)) != n)
                        return xml_fail(error, DOMUS_ERROR_XML, "two elements of namespace '%s' in <metadata> (line %ld)",
                                        uri_of(n), xmlGetLineNo(n));
        }
        return true;
}

/* Next node of the tree below root in document order, or NULL. */
static xmlNode *walk(xmlNode *node, const xmlNode *root)
{
        if (node->children && node->type == XML_ELEMENT_NODE)
                return node->children;
        while (node != root && !node->next)
                node = node->parent;
        return node == root ? NULL : node->next;
}

/* Gives every element without a namespace the one that is declared at root. */
static void inject(xmlNode *root, xmlNs *ns)
{
        for (xmlNode *n = root; n; n = walk(n, root))
                if (n->type == XML_ELEMENT_NODE && !n->ns)
                        xmlSetNs(n, ns);
}

/* The element in xml, with the namespace, as a new node for the document target. */
static xmlNode *parse_element(xmlDoc *target, const char *xml, const char *key, const char *uri, GError **error)
{
        g_autoptr(xmlDoc) doc = NULL;
        xmlNode *root;
        xmlNs *ns;

        if (!key || !*key || xmlValidateNCName((const xmlChar *)key, 0) != 0) {
                xml_fail(error, DOMUS_ERROR_XML, "failed to validate prefix for a new XML namespace");
                return NULL;
        }
        doc = xml_parse(xml, "metadata_xml", error);
        if (!doc)
                return NULL;
        root = xmlDocGetRootElement(doc);
        ns = xmlNewNs(root, (const xmlChar *)uri, (const xmlChar *)key);
        if (!ns)
                ns = xmlSearchNsByHref(doc, root, (const xmlChar *)uri); /* the document declares it already */
        if (!ns) {
                xml_fail(error, DOMUS_ERROR_XML, "failed to create a new XML namespace");
                return NULL;
        }
        inject(root, ns);
        if (g_strcmp0(uri_of(root), uri) != 0)
                xmlSetNs(root, ns);
        return xmlDocCopyNode(root, target, 1);
}

bool domus_domain_def_set_metadata(DomusDomainDef *def, const char *xml, const char *key, const char *uri, GError **error)
{
        xmlNode *root = xmlDocGetRootElement(def->doc);
        xmlNode *metadata = xml_child(root, "metadata"), *fresh = NULL;

        if (!uri || !*uri)
                return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "metadata needs a namespace uri");
        if (xml) {
                fresh = parse_element(def->doc, xml, key, uri, error);
                if (!fresh)
                        return false;
        }
        xml_remove(find_by_uri(metadata, uri));
        if (fresh) {
                metadata = xml_ensure_child(root, "metadata");
                xmlAddChild(metadata, fresh);
        }
        if (metadata && !xml_first_element(metadata))
                xml_remove(metadata);
        domain_rules_sort(root);
        return true;
}

/* Takes the namespace off the elements again. Its declaration goes too, unless an attribute still needs it. */
static void strip(xmlNode *root, const char *uri)
{
        bool needed = false;

        for (xmlNode *n = root; n; n = walk(n, root)) {
                if (n->type != XML_ELEMENT_NODE)
                        continue;
                if (g_strcmp0(uri_of(n), uri) == 0)
                        n->ns = NULL;
                for (xmlAttr *a = n->properties; a; a = a->next)
                        needed |= a->ns && g_strcmp0((const char *)a->ns->href, uri) == 0;
        }
        for (xmlNs **p = &root->nsDef; *p && !needed;) {
                xmlNs *ns = *p;

                if (g_strcmp0((const char *)ns->href, uri) != 0) {
                        p = &ns->next;
                        continue;
                }
                *p = ns->next;
                xmlFreeNs(ns);
        }
}

char *domus_domain_def_get_metadata(const DomusDomainDef *def, const char *uri, GError **error)
{
        xmlNode *found = find_by_uri(xml_child(xmlDocGetRootElement(def->doc), "metadata"), uri), *copy;
        xmlBuffer *buf;
        char *ret;

        if (!found) {
                xml_fail(error, DOMUS_ERROR_NO_METADATA, "Requested metadata element is not present");
                return NULL;
        }
        copy = xmlDocCopyNode(found, def->doc, 1);
        strip(copy, uri);
        buf = xmlBufferCreate();
        xmlNodeDump(buf, def->doc, copy, 0, 0);
        ret = g_strdup((const char *)xmlBufferContent(buf));
        xmlBufferFree(buf);
        xmlFreeNode(copy);
        return ret;
}
