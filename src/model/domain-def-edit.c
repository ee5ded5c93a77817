/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"
#include "model/domain-device-private.h"

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
        xmlNode *serial = nth(devices, "serial", n), *console = n == 0 ? domain_serial_console(devices) : NULL;

        if (serial)
                put_source(serial, path);
        if (console) {
                put_source(console, path);
                xml_set_attr(console, "tty", path);
        }
}

/* The serial port and its second name have one alias. */
static void put_serial_alias(xmlNode *device)
{
        if (device && !xml_child(device, "alias"))
                xml_set_attr(xml_ensure_child(device, "alias"), "name", "serial0");
}

void domus_domain_def_assign_aliases(DomusDomainDef *def)
{
        const xmlNode *devices = xml_child(root_of(def), "devices");

        put_serial_alias(xml_child(devices, "serial"));
        put_serial_alias(domain_serial_console(devices));
        domain_assign_aliases(def);
}
