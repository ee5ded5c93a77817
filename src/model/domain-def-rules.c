/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"
#include "model/domain-rules.h"

#include <string.h>

/* What <domain> may contain (formatdomain.html): everything else is refused by name. Rows stand in the order in which libvirt writes
 * them. A row means that what the element says is what the guest gets; meanings that a single row cannot express (sums, pairs)
 * are checked by the domain_fill functions. The devices' rules are in their own files (domain-device.h). */

#define UNIT RULE_ATTRS{ { "unit" }, {} }

/* The machine always has kvm-clock and never an HPET; the tick policies of the RTC and the PIT matter only before the guest
 * has found its local APIC timer, and none of their ticks is dropped while it runs. */
static const struct element_rule timers[] = {
        { "timer", RULE_MANY, RULE_ATTRS{ { "name" }, { "present" }, { "tickpolicy" }, {} } },
        {},
};

static const struct element_rule os_children[] = {
        { "type", RULE_TEXT, RULE_ATTRS{ { "arch", "x86_64" }, { "machine", "domus" }, {} }, NULL, "hvm|linux" },
        { "kernel", RULE_TEXT },
        { "initrd", RULE_TEXT },
        { "cmdline", RULE_TEXT },
        /* With <kernel>, what to boot from next is never asked. */
        { "boot", RULE_MANY, RULE_ATTRS{ { "dev", "fd|hd|cdrom|network" }, {} } },
        { "bootmenu", 0, RULE_ATTRS{ { "enable", "no" }, {} } },
        { "bios", 0, RULE_ATTRS{ { "useserial", "no" }, {} } },
        { "smbios", 0, RULE_ATTRS{ { "mode", "emulate|sysinfo" }, {} } },
        {},
};

/* Entries are checked in domain-sysinfo.c. */
static const struct element_rule sysinfo_entries[] = {
        { "entry", RULE_MANY | RULE_TEXT, RULE_ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule oem_strings[] = {
        { "entry", RULE_MANY | RULE_TEXT },
        {},
};

static const struct element_rule sysinfo_children[] = {
        { "bios", 0, NULL, sysinfo_entries },
        { "system", 0, NULL, sysinfo_entries },
        { "baseBoard", 0, NULL, sysinfo_entries },
        { "chassis", 0, NULL, sysinfo_entries },
        { "oemStrings", 0, NULL, oem_strings },
        {},
};

static const struct element_rule feature_children[] = {
        { "acpi" },
        { "apic" },
        { "pae" },
        { "vmport", 0, RULE_ATTRS{ { "state", "off" }, {} } },
        {},
};

static const struct element_rule cpu_children[] = {
        { "topology", 0, RULE_ATTRS{ { "sockets" }, { "dies" }, { "cores" }, { "threads" }, {} } },
        {},
};

static const struct element_rule pm_children[] = {
        { "suspend-to-mem", 0, RULE_ATTRS{ { "enabled", "no" }, {} } },
        { "suspend-to-disk", 0, RULE_ATTRS{ { "enabled", "no" }, {} } },
        {},
};

static const struct element_rule domain_children[] = {
        { "name", RULE_TEXT },
        { "uuid", RULE_TEXT },
        { "title", RULE_TEXT },
        { "description", RULE_TEXT },
        { "metadata", RULE_OPAQUE },
        { "memory", RULE_TEXT, UNIT },
        { "currentMemory", RULE_TEXT, UNIT },
        { "vcpu", RULE_TEXT, RULE_ATTRS{ { "placement", "static" }, { "current" }, {} } },
        { "sysinfo", 0, RULE_ATTRS{ { "type", "smbios" }, {} }, sysinfo_children },
        { "bootloader", RULE_TEXT },
        { "bootloader_args", RULE_TEXT },
        { "os", 0, NULL, os_children },
        { "features", 0, NULL, feature_children },
        { "cpu", 0,
          RULE_ATTRS{ { "mode", "host-passthrough|host-model|maximum" },
                 { "match", "exact" },
                 { "check", "none|partial|full" },
                 { "migratable", "on" },
                 {} },
          cpu_children },
        { "clock", 0, RULE_ATTRS{ { "offset", "utc|localtime" }, {} }, timers },
        { "on_poweroff", RULE_TEXT, NULL, NULL, "destroy|restart|preserve" },
        { "on_reboot", RULE_TEXT, NULL, NULL, "destroy|restart" },
        { "on_crash", RULE_TEXT, NULL, NULL, "destroy|restart|preserve" },
        { "pm", 0, NULL, pm_children },
        { "devices", RULE_DEVICES },
        { "seclabel", RULE_MANY, RULE_ATTRS{ { "type", "none" }, { "model" }, {} } },
        {},
};

static const struct element_rule domain_rule = {
        "domain", 0, RULE_ATTRS{ { "type", "domus|qemu|kvm" }, { "id" }, {} }, domain_children,
};

bool domain_fail(GError **error, DomusError code, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        if (error)
                *error = g_error_new_valist(DOMUS_ERROR, code, fmt, ap);
        va_end(ap);
        return false;
}

bool domain_value_listed(const char *values, const char *value)
{
        g_auto(GStrv) list = NULL;

        if (!values)
                return true;
        list = g_strsplit(values, "|", -1);
        return g_strv_contains((const char *const *)list, value);
}

/* The i-th rule of an element's children, NULL behind the last. */
static const struct element_rule *child_rule(const struct element_rule *parent, unsigned i)
{
        if (parent->flags & RULE_DEVICES)
                return domain_device_rule(i);
        return parent->children && parent->children[i].name ? &parent->children[i] : NULL;
}

static const struct element_rule *find_child_rule(const struct element_rule *parent, const xmlNode *node)
{
        const struct element_rule *r;

        for (unsigned i = 0; (r = child_rule(parent, i)); i++)
                if (xml_is(node, r->name))
                        return r;
        return NULL;
}

static const struct attr_rule *find_attr(const struct attr_rule *rules, const xmlAttr *attr)
{
        for (; rules && rules->name; rules++)
                if (!attr->ns && strcmp(rules->name, (const char *)attr->name) == 0)
                        return rules;
        return NULL;
}

/* "qemu:commandline", as the document has it. */
static char *shown_name(const xmlNs *ns, const xmlChar *name)
{
        return ns && ns->prefix ? g_strdup_printf("%s:%s", ns->prefix, name) : g_strdup((const char *)name);
}

static bool check_attr(const struct element_rule *rule, const xmlNode *node, const xmlAttr *attr, GError **error)
{
        const struct attr_rule *r = find_attr(rule->attrs, attr);
        g_autofree char *shown = shown_name(attr->ns, attr->name);
        g_autofree char *value = NULL;

        if (!r)
                return domain_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                   "attribute '%s' of element <%s> (line %ld) is not supported", shown, node->name,
                                   xmlGetLineNo(node));
        value = xml_attr(node, r->name);
        if (!domain_value_listed(r->values, value))
                return domain_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                   "value '%s' of attribute '%s' of element <%s> (line %ld) is not supported, only %s", value,
                                   shown, node->name, xmlGetLineNo(node), r->values);
        return true;
}

static bool check_attrs(const struct element_rule *rule, const xmlNode *node, GError **error)
{
        for (const xmlAttr *a = node->properties; a; a = a->next)
                if (!check_attr(rule, node, a, error))
                        return false;
        return true;
}

static bool check_text(const struct element_rule *rule, const xmlNode *node, GError **error)
{
        g_autofree char *text = xml_text(node);

        if (xml_first_element(node))
                return domain_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                   "element <%s> in <%s> (line %ld) is not supported", xml_first_element(node)->name,
                                   rule->name, xmlGetLineNo(node));
        if (!rule->text)
                return true;
        if (!domain_value_listed(rule->text, text))
                return domain_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                   "value '%s' of element <%s> (line %ld) is not supported, only %s", text, rule->name,
                                   xmlGetLineNo(node), rule->text);
        return true;
}


static bool check_child(const struct element_rule *parent, xmlNode *node, GError **error)
{
        const struct element_rule *rule = find_child_rule(parent, node);
        g_autofree char *shown = shown_name(node->ns, node->name);

        if (!rule)
                return domain_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                   "element <%s> in <%s> (line %ld) is not supported", shown, parent->name,
                                   xmlGetLineNo(node));
        if (!(rule->flags & RULE_MANY) && xml_next(node, rule->name))
                return domain_fail(error, DOMUS_ERROR_XML, "element <%s> in <%s> is given twice (line %ld)", rule->name,
                                   parent->name, xmlGetLineNo(xml_next(node, rule->name)));
        return domain_rules_check_element(rule, node, error);
}

/* Elements in an element: text between them is layout, anything but white space is a mistake. */
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
                        return domain_fail(error, DOMUS_ERROR_XML, "unexpected text in <%s> (line %ld)", rule->name,
                                           xmlGetLineNo(c));
                xml_remove(c);
        }
        return true;
}

bool domain_rules_check_element(const struct element_rule *rule, xmlNode *node, GError **error)
{
        if (!check_attrs(rule, node, error))
                return false;
        if (rule->flags & RULE_OPAQUE)
                return true;
        if (rule->flags & RULE_TEXT)
                return check_text(rule, node, error);
        return check_children(rule, node, error);
}

bool domain_rules_check(xmlNode *root, GError **error)
{
        if (!xml_is(root, domain_rule.name))
                return domain_fail(error, DOMUS_ERROR_XML, "unexpected root element <%s>, expecting <domain>", root->name);
        return domain_rules_check_element(&domain_rule, root, error);
}

/* Stable: for each row in turn, its elements go to the end. */
static void sort_children(const struct element_rule *rule, xmlNode *node)
{
        const struct element_rule *r;

        for (unsigned i = 0; (r = child_rule(rule, i)); i++) {
                for (unsigned n = xml_count(node, r->name); n > 0; n--) {
                        xmlNode *c = xml_child(node, r->name);

                        sort_children(r, c);
                        xmlUnlinkNode(c);
                        xmlAddChild(node, c);
                }
        }
}

void domain_rules_sort(xmlNode *root)
{
        sort_children(&domain_rule, root);
}
