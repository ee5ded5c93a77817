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

bool xml_value_listed(const char *values, const char *value)
{
        g_auto(GStrv) list = values ? g_strsplit(values, "|", -1) : NULL;

        return !values || g_strv_contains((const char *const *)list, value);
}

/* The i-th rule of an element's children, NULL behind the last. */
static const struct element_rule *child_rule(const struct element_rule *parent, unsigned i)
{
        if (parent->child)
                return parent->child(i);
        return parent->children && parent->children[i].name ? &parent->children[i] : NULL;
}

static const struct element_rule *find_child_rule(const struct element_rule *parent, const xmlNode *node)
{
        const struct element_rule *r;
        unsigned i = 0;

        while ((r = child_rule(parent, i)) && !xml_is(node, r->name))
                i++;
        return r;
}

/* "qemu:commandline", as the document has it. */
static char *shown_name(const xmlNs *ns, const xmlChar *name)
{
        return ns && ns->prefix ? g_strdup_printf("%s:%s", ns->prefix, name) : g_strdup((const char *)name);
}

static const struct attr_rule *find_attr(const struct attr_rule *rules, const xmlAttr *attr)
{
        for (; rules && rules->name; rules++)
                if (!attr->ns && strcmp(rules->name, (const char *)attr->name) == 0)
                        return rules;
        return NULL;
}

static bool check_attr(const struct element_rule *rule, const xmlNode *node, const xmlAttr *attr, GError **error)
{
        const struct attr_rule *r = find_attr(rule->attrs, attr);
        g_autofree char *shown = shown_name(attr->ns, attr->name), *value = NULL;

        if (!r)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "attribute '%s' of element <%s> (line %ld) is not supported", shown,
                        node->name, xmlGetLineNo(node));
        value = xml_attr(node, r->name);
        return xml_value_listed(r->values, value) ||
               xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "value '%s' of attribute '%s' of element <%s> (line %ld) is not supported, only %s",
                       value, shown, node->name, xmlGetLineNo(node), r->values);
}

static bool check_attrs(const struct element_rule *rule, const xmlNode *node, GError **error)
{
        if (rule->flags & RULE_ANY_ATTRS)
                return true;
        for (const xmlAttr *a = node->properties; a; a = a->next)
                if (!check_attr(rule, node, a, error))
                        return false;
        return true;
}

static bool check_text(const struct element_rule *rule, const xmlNode *node, GError **error)
{
        g_autofree char *text = xml_text(node);

        if (xml_first_element(node))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <%s> in <%s> (line %ld) is not supported",
                        xml_first_element(node)->name, rule->name, xmlGetLineNo(node));
        return xml_value_listed(rule->text, text) ||
               xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "value '%s' of element <%s> (line %ld) is not supported, only %s", text,
                       rule->name, xmlGetLineNo(node), rule->text);
}

static bool check_child(const struct element_rule *parent, xmlNode *node, GError **error)
{
        const struct element_rule *rule = find_child_rule(parent, node);
        g_autofree char *shown = shown_name(node->ns, node->name);

        if (!rule)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <%s> in <%s> (line %ld) is not supported", shown, parent->name,
                        xmlGetLineNo(node));
        if (!(rule->flags & RULE_MANY) && xml_next(node, rule->name))
                return xml_fail(error, DOMUS_ERROR_XML, "element <%s> in <%s> is given twice (line %ld)", rule->name, parent->name,
                        xmlGetLineNo(xml_next(node, rule->name)));
        return xml_rules_check(rule, node, error);
}

/* Text between elements is layout, anything but white space is a mistake. */
static bool check_children(const struct element_rule *rule, xmlNode *node, GError **error)
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

bool xml_rules_check(const struct element_rule *rule, xmlNode *root, GError **error)
{
        if (!xml_is(root, rule->name))
                return xml_fail(error, DOMUS_ERROR_XML, "unexpected root element <%s>, expecting <%s>", root->name, rule->name);
        if (!check_attrs(rule, root, error))
                return false;
        if (rule->flags & RULE_OPAQUE)
                return true;
        return rule->flags & RULE_TEXT ? check_text(rule, root, error) : check_children(rule, root, error);
}

/* Stable: for each row in turn, its elements go to the end. */
void xml_rules_sort(const struct element_rule *rule, xmlNode *root)
{
        const struct element_rule *r;

        for (unsigned i = 0; (r = child_rule(rule, i)); i++) {
                for (unsigned n = xml_count(root, r->name); n > 0; n--) {
                        xmlNode *c = xml_child(root, r->name);

                        xml_rules_sort(r, c);
                        xmlUnlinkNode(c);
                        xmlAddChild(root, c);
                }
        }
}
