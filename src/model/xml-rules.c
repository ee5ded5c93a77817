/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/xml-rules.h"

#include <string.h>

#include "model/xml-dom.h"

bool xml_fail(GError **error, DomusError code, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        if (error)
                *error = g_error_new_valist(DOMUS_ERROR, code, fmt, ap);
        va_end(ap);
        return false;
}

static bool listed(const char *values, const char *value)
{
        g_auto(GStrv) list = values ? g_strsplit(values, "|", -1) : NULL;

        return !values || g_strv_contains((const char *const *)list, value);
}

/* "dnsmasq:options", as the document has it. */
static char *shown_name(const xmlNs *ns, const xmlChar *name)
{
        return ns && ns->prefix ? g_strdup_printf("%s:%s", ns->prefix, name) : g_strdup((const char *)name);
}

static const struct xml_attr_rule *find_attr(const struct xml_attr_rule *rules, const xmlAttr *attr)
{
        for (; rules && rules->name; rules++)
                if (!attr->ns && strcmp(rules->name, (const char *)attr->name) == 0)
                        return rules;
        return NULL;
}

static bool check_attr(const struct xml_rule *rule, const xmlNode *node, const xmlAttr *attr, GError **error)
{
        const struct xml_attr_rule *r = find_attr(rule->attrs, attr);
        g_autofree char *shown = shown_name(attr->ns, attr->name), *value = NULL;

        if (!r)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "attribute '%s' of element <%s> (line %ld) is not supported", shown,
                        node->name, xmlGetLineNo(node));
        value = xml_attr(node, r->name);
        return listed(r->values, value) ||
               xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "value '%s' of attribute '%s' of element <%s> (line %ld) is not supported, only %s",
                       value, shown, node->name, xmlGetLineNo(node), r->values);
}

static bool check_text(const struct xml_rule *rule, const xmlNode *node, GError **error)
{
        g_autofree char *text = xml_text(node);

        if (xml_first_element(node))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <%s> in <%s> (line %ld) is not supported",
                        xml_first_element(node)->name, rule->name, xmlGetLineNo(node));
        return listed(rule->text, text) ||
               xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "value '%s' of element <%s> (line %ld) is not supported, only %s", text,
                       rule->name, xmlGetLineNo(node), rule->text);
}

static bool check_child(const struct xml_rule *parent, xmlNode *node, GError **error)
{
        const struct xml_rule *rule = parent->children;
        g_autofree char *shown = shown_name(node->ns, node->name);

        while (rule && rule->name && !xml_is(node, rule->name))
                rule++;
        if (!rule || !rule->name)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <%s> in <%s> (line %ld) is not supported", shown, parent->name,
                        xmlGetLineNo(node));
        if (!(rule->flags & XML_RULE_MANY) && xml_next(node, rule->name))
                return xml_fail(error, DOMUS_ERROR_XML, "element <%s> in <%s> is given twice (line %ld)", rule->name, parent->name,
                        xmlGetLineNo(xml_next(node, rule->name)));
        return xml_rules_check(rule, node, error);
}

/* Text between elements is layout, anything but white space is a mistake. */
static bool check_children(const struct xml_rule *rule, xmlNode *node, GError **error)
{
        for (xmlNode *c = node->children, *next; c; c = next) {
                next = c->next;
                if (c->type == XML_ELEMENT_NODE) {
                        if (!check_child(rule, c, error))
                                return false;
                        continue;
                }
                if (c->type != XML_COMMENT_NODE && c->type != XML_PI_NODE && !xmlIsBlankNode(c))
                        return xml_fail(error, DOMUS_ERROR_XML, "unexpected text in <%s> (line %ld)", rule->name, xmlGetLineNo(c));
                xml_remove(c);
        }
        return true;
}

bool xml_rules_check(const struct xml_rule *rule, xmlNode *root, GError **error)
{
        if (!xml_is(root, rule->name))
                return xml_fail(error, DOMUS_ERROR_XML, "unexpected root element <%s>, expecting <%s>", root->name, rule->name);
        if (rule->flags & XML_RULE_OPAQUE)
                return true;
        for (const xmlAttr *a = root->properties; a; a = a->next)
                if (!check_attr(rule, root, a, error))
                        return false;
        return rule->flags & XML_RULE_TEXT ? check_text(rule, root, error) : check_children(rule, root, error);
}

/* Stable: for each row in turn, its elements go to the end. */
void xml_rules_sort(const struct xml_rule *rule, xmlNode *root)
{
        for (const struct xml_rule *r = rule->children; r && r->name; r++) {
                for (unsigned n = xml_count(root, r->name); n > 0; n--) {
                        xmlNode *c = xml_child(root, r->name);

                        xml_rules_sort(r, c);
                        xmlUnlinkNode(c);
                        xmlAddChild(root, c);
                }
        }
}
