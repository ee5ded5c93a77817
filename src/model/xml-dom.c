/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/xml-dom.h"

#include <libxml/parser.h>
#include <string.h>

#include "model/error.h"

/* What the parser's callbacks found out; hung onto the parser context. */
struct parse {
        const char *what;
        const char *xml;
        char *message;
        bool has_doctype;
};

/* The line of the input with the error, and a caret below the column, as libvirt shows them. */
static char *error_context(const struct parse *p, int line, int column)
{
        const char *start = p->xml, *end;
        g_autofree char *text = NULL;

        for (int i = 1; i < line; i++) {
                const char *nl = strchr(start, '\n');

                if (!nl)
                        break;
                start = nl + 1;
        }
        end = strchrnul(start, '\n');
        if (end - start > 200 || column < 1 || column > end - start + 2)
                return g_strdup("");
        text = g_strndup(start, (gsize)(end - start));
        if (!g_utf8_validate(text, -1, NULL))
                return g_strdup("");
        return g_strdup_printf("\n%s\n%*s", text, column, "^");
}

static void on_error(void *opaque, xmlError *e)
{
        xmlParserCtxt *ctxt = opaque;
        struct parse *p = ctxt->_private;
        g_autofree char *context = NULL, *text = NULL;

        /* The first error is the cause, the rest follows from it. */
        if (p->message || e->level < XML_ERR_ERROR)
                return;
        context = error_context(p, e->line, ctxt->input ? ctxt->input->col : 0);
        text = g_strchomp(g_strdup(e->message ? e->message : "parse error"));
        p->message = g_strdup_printf("(%s):%d: %s%s", p->what, e->line, text, context);
}

/* Called at <!DOCTYPE, before anything in it is read. */
static void on_doctype(void *opaque, const xmlChar *name, const xmlChar *id, const xmlChar *uri)
{
        xmlParserCtxt *ctxt = opaque;
        struct parse *p = ctxt->_private;

        p->has_doctype = true;
        xmlStopParser(ctxt);
}

static xmlDoc *parse_fail(struct parse *p, xmlDoc *doc, GError **error)
{
        if (p->has_doctype)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "(%s): a document type declaration is not allowed", p->what);
        else
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "%s",
                            p->message ? p->message : "the document is not well-formed XML");
        xmlFreeDoc(doc);
        return NULL;
}

xmlDoc *xml_parse(const char *xml, const char *what, GError **error)
{
        struct parse p = { .what = what, .xml = xml };
        size_t len = strlen(xml);
        xmlParserCtxt *ctxt;
        xmlDoc *doc;
        bool ok;

        if (len > XML_MAX_BYTES) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "(%s): larger than %u MiB", what, XML_MAX_BYTES >> 20);
                return NULL;
        }
        ctxt = xmlNewParserCtxt();
        ctxt->_private = &p;
        ctxt->sax->serror = on_error;
        ctxt->sax->internalSubset = on_doctype;
        doc = xmlCtxtReadMemory(ctxt, xml, (int)len, NULL, NULL, XML_PARSE_NONET);
        ok = doc && ctxt->wellFormed && !p.has_doctype && !p.message && xmlDocGetRootElement(doc);
        xmlFreeParserCtxt(ctxt);
        if (!ok)
                doc = parse_fail(&p, doc, error);
        g_free(p.message);
        return doc;
}

bool xml_is(const xmlNode *node, const char *name)
{
        return node && node->type == XML_ELEMENT_NODE && !node->ns && strcmp((const char *)node->name, name) == 0;
}

static xmlNode *find(xmlNode *node, const char *name)
{
        while (node && (name ? !xml_is(node, name) : node->type != XML_ELEMENT_NODE))
                node = node->next;
        return node;
}

xmlNode *xml_child(const xmlNode *parent, const char *name)
{
        return parent ? find(parent->children, name) : NULL;
}

xmlNode *xml_next(const xmlNode *node, const char *name)
{
        return node ? find(node->next, name) : NULL;
}

xmlNode *xml_first_element(const xmlNode *parent)
{
        return parent ? find(parent->children, NULL) : NULL;
}

xmlNode *xml_next_element(const xmlNode *node)
{
        return node ? find(node->next, NULL) : NULL;
}

unsigned xml_count(const xmlNode *parent, const char *name)
{
        unsigned n = 0;

        for (xmlNode *c = xml_child(parent, name); c; c = xml_next(c, name))
                n++;
        return n;
}

xmlNode *xml_ensure_child(xmlNode *parent, const char *name)
{
        xmlNode *c = xml_child(parent, name);

        return c ? c : xmlNewTextChild(parent, NULL, (const xmlChar *)name, NULL);
}

void xml_remove(xmlNode *node)
{
        if (!node)
                return;
        xmlUnlinkNode(node);
        xmlFreeNode(node);
}

char *xml_text(const xmlNode *node)
{
        xmlChar *s;
        char *ret;

        if (!node)
                return NULL;
        s = xmlNodeGetContent(node);
        ret = g_strdup(s ? (const char *)s : "");
        xmlFree(s);
        return ret;
}

void xml_set_text(xmlNode *node, const char *text)
{
        xmlNodeSetContent(node, NULL);
        if (*text)
                xmlNodeAddContent(node, (const xmlChar *)text); /* takes plain text, unlike xmlNodeSetContent */
}

char *xml_attr(const xmlNode *node, const char *name)
{
        xmlChar *s = node ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL;
        char *ret = g_strdup((const char *)s);

        xmlFree(s);
        return ret;
}

void xml_set_attr(xmlNode *node, const char *name, const char *value)
{
        xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

void xml_set_attr_default(xmlNode *node, const char *name, const char *value)
{
        if (!xmlHasProp(node, (const xmlChar *)name))
                xml_set_attr(node, name, value);
}

bool xml_parse_uint(const char *text, uint64_t max, uint64_t *ret)
{
        g_autofree char *s = g_strstrip(g_strdup(text));
        guint64 v;

        if (!g_ascii_string_to_unsigned(s, 10, 0, max, &v, NULL))
                return false;
        *ret = v;
        return true;
}

void xml_append_escaped(GString *out, const char *text, bool attribute)
{
        for (const char *p = text; *p; p++) {
                switch (*p) {
                case '<':
                        g_string_append(out, "&lt;");
                        break;
                case '>':
                        g_string_append(out, "&gt;");
                        break;
                case '&':
                        g_string_append(out, "&amp;");
                        break;
                case '\'':
                        g_string_append(out, "&apos;");
                        break;
                case '"':
                        g_string_append(out, "&quot;");
                        break;
                case '\r':
                        g_string_append(out, "&#13;");
                        break;
                case '\n':
                case '\t': /* would become a space in an attribute (XML 1.0, 3.3.3) */
                        if (attribute) {
                                g_string_append_printf(out, "&#%d;", *p);
                                break;
                        }
                        g_string_append_c(out, *p);
                        break;
                default:
                        g_string_append_c(out, *p);
                }
        }
}

void xml_append(GString *out, const char *fmt, ...)
{
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, fmt);
        text = g_markup_vprintf_escaped(fmt, ap);
        va_end(ap);
        g_string_append(out, text);
}
