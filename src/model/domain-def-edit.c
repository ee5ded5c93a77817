/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"

#include <string.h>

static xmlNode *root_of(const DomusDomainDef *def)
{
        return xmlDocGetRootElement(def->doc);
}

/* text NULL or "" removes the element. */
static void put_text(DomusDomainDef *def, const char *element, char **field, const char *text)
{
        g_free(*field);
        *field = text && *text ? g_strdup(text) : NULL;
        if (!*field) {
                xml_remove(xml_child(root_of(def), element));
                return;
        }
        xml_set_text(xml_ensure_child(root_of(def), element), text);
        domain_rules_sort(root_of(def));
}

bool domus_domain_def_set_name(DomusDomainDef *def, const char *name, GError **error)
{
        if (!domain_check_name(name, error))
                return false;
        put_text(def, "name", &def->name, name);
        return true;
}

bool domus_domain_def_set_title(DomusDomainDef *def, const char *title, GError **error)
{
        if (title && !domain_check_title(title, error))
                return false;
        put_text(def, "title", &def->title, title);
        return true;
}

bool domus_domain_def_set_description(DomusDomainDef *def, const char *description, GError **error)
{
        if (description && !domain_check_text(description, "description", error))
                return false;
        put_text(def, "description", &def->description, description);
        return true;
}

static xmlNode *nth(xmlNode *devices, const char *name, unsigned n)
{
        xmlNode *c = xml_child(devices, name);

        while (c && n-- > 0)
                c = xml_next(c, name);
        return c;
}

static void put_source(xmlNode *device, const char *path)
{
        xmlNode *source = xml_child(device, "source");

        if (!source) {
                source = xmlNewDocNode(device->doc, NULL, (const xmlChar *)"source", NULL);
                if (device->children)
                        xmlAddPrevSibling(device->children, source);
                else
                        xmlAddChild(device, source);
        }
        xml_set_attr(source, "path", path);
}

void domus_domain_def_set_tty(DomusDomainDef *def, unsigned n, const char *path)
{
        xmlNode *devices = xml_child(root_of(def), "devices");
        xmlNode *serial = nth(devices, "serial", n), *console = n == 0 ? xml_child(devices, "console") : NULL;

        if (serial)
                put_source(serial, path);
        if (console) {
                put_source(console, path);
                xml_set_attr(console, "tty", path);
        }
}

static void put_alias(xmlNode *device, const char *alias)
{
        if (!xml_child(device, "alias"))
                xml_set_attr(xml_ensure_child(device, "alias"), "name", alias);
}

/* libvirt's name for a device of that kind; n counts those before it. */
static char *alias_for(const xmlNode *device, unsigned n)
{
        g_autofree char *type = xml_attr(device, "type"), *index = xml_attr(device, "index");

        if (xml_is(device, "serial") || xml_is(device, "console")) /* the console is the serial port */
                return g_strdup_printf("serial%u", n);
        if (xml_is(device, "controller"))
                return g_str_equal(type, "pci") ? g_strdup_printf("pci.%s", index) : g_strdup(type);
        if (xml_is(device, "audio"))
                return g_strdup("audio1");
        if (xml_is(device, "video"))
                return g_strdup_printf("video%u", n);
        return NULL;
}

static unsigned position(const xmlNode *device)
{
        unsigned n = 0;

        for (const xmlNode *d = device->prev; d; d = d->prev)
                n += d->type == XML_ELEMENT_NODE && strcmp((const char *)d->name, (const char *)device->name) == 0;
        return n;
}

void domus_domain_def_assign_aliases(DomusDomainDef *def)
{
        xmlNode *devices = xml_child(root_of(def), "devices");

        for (xmlNode *d = xml_first_element(devices); d; d = xml_next_element(d)) {
                g_autofree char *alias = alias_for(d, position(d));

                if (alias)
                        put_alias(d, alias);
        }
}
