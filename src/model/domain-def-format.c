/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"

#include <string.h>

static void write_name(GString *out, const xmlNs *ns, const xmlChar *name)
{
        if (ns && ns->prefix)
                g_string_append_printf(out, "%s:", ns->prefix);
        g_string_append(out, (const char *)name);
}

static void write_attribute(GString *out, const char *name, const char *value)
{
        g_string_append_printf(out, " %s='", name);
        xml_append_escaped(out, value, true);
        g_string_append_c(out, '\'');
}

static void write_attributes(GString *out, const xmlNode *node)
{
        for (const xmlNs *ns = node->nsDef; ns; ns = ns->next) {
                g_autofree char *name = ns->prefix ? g_strdup_printf("xmlns:%s", ns->prefix) : g_strdup("xmlns");

                write_attribute(out, name, ns->href ? (const char *)ns->href : "");
        }
        for (const xmlAttr *a = node->properties; a; a = a->next) {
                g_autofree char *value = xml_attr(node, (const char *)a->name);

                write_attribute(out, (const char *)a->name, value ? value : "");
        }
}

static void indent(GString *out, unsigned depth)
{
        g_string_append_printf(out, "%*s", (int)depth * 2, "");
}

/* Each element of <metadata> as libxml2 has it, without new layout, so that its owner finds it unchanged. */
static void write_metadata(GString *out, const xmlNode *metadata)
{
        g_string_append(out, "  <metadata>\n");
        for (xmlNode *n = xml_first_element(metadata); n; n = xml_next_element(n)) {
                xmlBuffer *buf = xmlBufferCreate();

                xmlNodeDump(buf, n->doc, n, 0, 0);
                indent(out, 2);
                g_string_append(out, (const char *)xmlBufferContent(buf));
                g_string_append_c(out, '\n');
                xmlBufferFree(buf);
        }
        g_string_append(out, "  </metadata>\n");
}

static void write_element(GString *out, const xmlNode *node, int id, unsigned depth);

static void write_content(GString *out, const xmlNode *node, unsigned depth)
{
        g_autofree char *text = NULL;

        if (xml_first_element(node)) {
                g_string_append(out, ">\n");
                for (const xmlNode *c = xml_first_element(node); c; c = xml_next_element(c))
                        write_element(out, c, -1, depth + 1);
                indent(out, depth);
        } else {
                text = xml_text(node);
                if (!*text) {
                        g_string_append(out, "/>\n");
                        return;
                }
                g_string_append_c(out, '>');
                xml_append_escaped(out, text, false);
        }
        g_string_append(out, "</");
        write_name(out, node->ns, node->name);
        g_string_append(out, ">\n");
}

static void write_element(GString *out, const xmlNode *node, int id, unsigned depth)
{
        if (depth == 1 && xml_is(node, "metadata")) {
                write_metadata(out, node);
                return;
        }
        indent(out, depth);
        g_string_append_c(out, '<');
        write_name(out, node->ns, node->name);
        write_attributes(out, node);
        if (id >= 0)
                g_string_append_printf(out, " id='%d'", id);
        write_content(out, node, depth);
}

char *domus_domain_def_format(const DomusDomainDef *def, int id, unsigned flags)
{
        g_autoptr(xmlDoc) copy = NULL;
        GString *out = g_string_sized_new(2048);
        xmlDoc *doc = def->doc;

        if (flags & DOMUS_DEF_INACTIVE) {
                doc = copy = xmlCopyDoc(def->doc, 1);
                domain_drop_live(xmlDocGetRootElement(doc));
                id = -1;
        }
        write_element(out, xmlDocGetRootElement(doc), id, 0);
        return g_string_free(out, FALSE);
}
