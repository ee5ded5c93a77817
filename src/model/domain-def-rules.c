/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"

#include <string.h>

/* What <domain> may contain (formatdomain.html): everything else is refused by name. Rows stand in the order in which libvirt writes
 * them. A row means that what the element says is what the guest gets; meanings that a single row cannot express (sums, pairs)
 * are checked by the domain_fill functions. */

enum {
        MANY = 1 << 0, /* may be repeated */
        TEXT = 1 << 1, /* holds text */
        OPAQUE = 1 << 2, /* anything inside */
};

/* values: the accepted ones, parted by '|'; NULL for any, where a domain_fill function looks at it. */
struct attr_rule {
        const char *name;
        const char *values;
};

struct element_rule {
        const char *name;
        unsigned flags;
        const struct attr_rule *attrs;
        const struct element_rule *children;
        const char *text; /* accepted texts, like values */
};

#define ATTRS (const struct attr_rule[])
#define CHILDREN (const struct element_rule[])

#define UNIT ATTRS{ { "unit" }, {} }

/* The machine always has kvm-clock and never an HPET; the tick policies of the RTC and the PIT matter only before the guest
 * has found its local APIC timer, and none of their ticks is dropped while it runs. */
static const struct element_rule timers[] = {
        { "timer", MANY, ATTRS{ { "name" }, { "present" }, { "tickpolicy" }, {} } },
        {},
};

static const struct element_rule os_children[] = {
        { "type", TEXT, ATTRS{ { "arch", "x86_64" }, { "machine", "domus" }, {} }, NULL, "hvm|linux" },
        { "kernel", TEXT },
        { "initrd", TEXT },
        { "cmdline", TEXT },
        /* The kernel is given: what to boot from next is never asked. */
        { "boot", MANY, ATTRS{ { "dev", "fd|hd|cdrom|network" }, {} } },
        { "bootmenu", 0, ATTRS{ { "enable", "no" }, {} } },
        { "bios", 0, ATTRS{ { "useserial", "no" }, {} } },
        {},
};

static const struct element_rule feature_children[] = {
        { "acpi" },
        { "apic" },
        { "pae" },
        { "vmport", 0, ATTRS{ { "state", "off" }, {} } },
        {},
};

static const struct element_rule cpu_children[] = {
        { "topology", 0, ATTRS{ { "sockets" }, { "dies" }, { "cores" }, { "threads" }, {} } },
        {},
};

static const struct element_rule pm_children[] = {
        { "suspend-to-mem", 0, ATTRS{ { "enabled", "no" }, {} } },
        { "suspend-to-disk", 0, ATTRS{ { "enabled", "no" }, {} } },
        {},
};

static const struct element_rule alias_only[] = {
        { "alias", 0, ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule controller_children[] = {
        { "alias", 0, ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule serial_target_children[] = {
        { "model", 0, ATTRS{ { "name", "isa-serial" }, {} } },
        {},
};

static const struct element_rule serial_children[] = {
        { "source", 0, ATTRS{ { "path" }, {} } },
        { "target", 0, ATTRS{ { "type", "isa-serial" }, { "port", "0" }, {} }, serial_target_children },
        { "alias", 0, ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule console_children[] = {
        { "source", 0, ATTRS{ { "path" }, {} } },
        { "target", 0, ATTRS{ { "type", "serial" }, { "port", "0" }, {} } },
        { "alias", 0, ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule video_children[] = {
        { "model", 0, ATTRS{ { "type", "none" }, {} } },
        { "alias", 0, ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule device_children[] = {
        { "emulator", TEXT },
        { "controller", MANY, ATTRS{ { "type", "pci|usb" }, { "index", "0" }, { "model", "pci-root|none" }, {} },
          controller_children },
        { "serial", MANY, ATTRS{ { "type", "pty" }, {} }, serial_children },
        { "console", MANY, ATTRS{ { "type", "pty" }, { "tty" }, {} }, console_children },
        { "audio", 0, ATTRS{ { "id", "1" }, { "type", "none" }, {} }, alias_only },
        { "video", 0, NULL, video_children },
        { "memballoon", 0, ATTRS{ { "model", "none" }, {} }, alias_only },
        {},
};

static const struct element_rule domain_children[] = {
        { "name", TEXT },
        { "uuid", TEXT },
        { "title", TEXT },
        { "description", TEXT },
        { "metadata", OPAQUE },
        { "memory", TEXT, UNIT },
        { "currentMemory", TEXT, UNIT },
        { "vcpu", TEXT, ATTRS{ { "placement", "static" }, { "current" }, {} } },
        { "os", 0, NULL, os_children },
        { "features", 0, NULL, feature_children },
        { "cpu", 0,
          ATTRS{ { "mode", "host-passthrough|host-model|maximum" },
                 { "match", "exact" },
                 { "check", "none|partial|full" },
                 { "migratable", "on" },
                 {} },
          cpu_children },
        { "clock", 0, ATTRS{ { "offset", "utc|localtime" }, {} }, timers },
        { "on_poweroff", TEXT, NULL, NULL, "destroy|restart|preserve" },
        { "on_reboot", TEXT, NULL, NULL, "destroy|restart" },
        { "on_crash", TEXT, NULL, NULL, "destroy|restart|preserve" },
        { "pm", 0, NULL, pm_children },
        { "devices", 0, NULL, device_children },
        { "seclabel", MANY, ATTRS{ { "type", "none" }, { "model" }, {} } },
        {},
};

static const struct element_rule domain_rule = {
        "domain", 0, ATTRS{ { "type", "domus|qemu|kvm" }, { "id" }, {} }, domain_children,
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

static const struct element_rule *find_element(const struct element_rule *rules, const xmlNode *node)
{
        for (; rules && rules->name; rules++)
                if (xml_is(node, rules->name))
                        return rules;
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

static bool check_element(const struct element_rule *rule, xmlNode *node, GError **error);

static bool check_child(const struct element_rule *parent, xmlNode *node, GError **error)
{
        const struct element_rule *rule = find_element(parent->children, node);
        g_autofree char *shown = shown_name(node->ns, node->name);

        if (!rule)
                return domain_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                   "element <%s> in <%s> (line %ld) is not supported", shown, parent->name,
                                   xmlGetLineNo(node));
        if (!(rule->flags & MANY) && xml_next(node, rule->name))
                return domain_fail(error, DOMUS_ERROR_XML, "element <%s> in <%s> is given twice (line %ld)", rule->name,
                                   parent->name, xmlGetLineNo(xml_next(node, rule->name)));
        return check_element(rule, node, error);
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

static bool check_element(const struct element_rule *rule, xmlNode *node, GError **error)
{
        if (!check_attrs(rule, node, error))
                return false;
        if (rule->flags & OPAQUE)
                return true;
        if (rule->flags & TEXT)
                return check_text(rule, node, error);
        return check_children(rule, node, error);
}

bool domain_rules_check(xmlNode *root, GError **error)
{
        if (!xml_is(root, domain_rule.name))
                return domain_fail(error, DOMUS_ERROR_XML, "unexpected root element <%s>, expecting <domain>", root->name);
        return check_element(&domain_rule, root, error);
}

/* Stable: for each row in turn, its elements go to the end. */
static void sort_children(const struct element_rule *rule, xmlNode *node)
{
        for (const struct element_rule *r = rule->children; r && r->name; r++) {
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

static void drop_live_of_device(xmlNode *device)
{
        xmlNode *alias = xml_child(device, "alias");
        g_autofree char *name = xml_attr(alias, "name");

        if (alias && (!name || !g_str_has_prefix(name, "ua-")))
                xml_remove(alias);
        if (!xml_is(device, "serial") && !xml_is(device, "console"))
                return;
        xml_remove(xml_child(device, "source")); /* a pty has a path only while it exists */
        xmlUnsetProp(device, (const xmlChar *)"tty");
}

void domain_drop_live(xmlNode *root)
{
        xmlUnsetProp(root, (const xmlChar *)"id");
        for (xmlNode *d = xml_first_element(xml_child(root, "devices")); d; d = xml_next_element(d))
                drop_live_of_device(d);
}
