/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <channel>, and <console> and <serial> (formatdomain.html#consoles-serial-parallel-channel-devices). The serial port itself is looked after in
 * domain-def-fill.c. */

#include <string.h>

#include "model/domain-device-private.h"

#define CHANNEL_NAME_MAX 255

/* --- Channels --- */

static const struct element_rule channel_rules[] = {
        { "source", 0, RULE_ATTRS{ { "mode", "bind" }, { "path" }, {} } },
        { "target", 0, RULE_ATTRS{ { "type", "virtio" }, { "name" }, { "state", "connected|disconnected" }, {} } },
        RULE_ALIAS,
        { "address", 0, RULE_ATTRS{ { "type", "virtio-serial" }, { "controller" }, { "bus", "0" }, { "port" }, {} } },
        {},
};

static const struct element_rule channel_rule = { "channel", RULE_MANY, RULE_ATTRS{ { "type", "unix|pty" }, {} }, channel_rules };

static bool parse_channel(DomusDevice *d, GError **error)
{
        xmlNode *source = xml_child(d->node, "source"), *target = xml_child(d->node, "target");
        g_autofree char *type = xml_attr(d->node, "type");

        if (!type)
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute 'type' of element <channel> (line %ld)",
                                xmlGetLineNo(d->node));
        if (!device_require(d, target, "target", "type", error))
                return false;
        d->channel.pty = strcmp(type, "pty") == 0;
        if (!d->channel.pty && source)
                xml_set_attr_default(source, "mode", "bind");
        d->channel.path = device_attr(d, source, "path");
        d->channel.name = device_attr(d, target, "name");
        if (!d->channel.name) /* libvirt's default */
                xml_set_attr(target, "name", d->channel.name = "com.redhat.spice.0");
        if (strlen(d->channel.name) > CHANNEL_NAME_MAX)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "the name of the channel (line %ld) is too long",
                                xmlGetLineNo(d->node));
        if (d->channel.path && !d->channel.pty && !g_path_is_absolute(d->channel.path))
                return xml_fail(error, DOMUS_ERROR_XML, "path '%s' of channel '%s' must be absolute", d->channel.path, d->channel.name);
        return true;
}

static DomusAddressType address(const DomusDevice *d)
{
        return DOMUS_ADDRESS_VIRTIO_SERIAL;
}

static char *alias_channel(const DomusDevice *d, unsigned n)
{
        return g_strdup_printf("channel%u", n);
}

static bool matches_channel(const DomusDevice *d, const DomusDevice *wanted)
{
        return strcmp(d->channel.name, wanted->channel.name) == 0;
}

/* A path that the daemon has chosen lies below a folder "channel" and ends in the channel's name. */
static void drop_live_channel(xmlNode *node)
{
        xmlNode *source = xml_child(node, "source"), *target = xml_child(node, "target");
        g_autofree char *type = xml_attr(node, "type"), *path = xml_attr(source, "path");
        g_autofree char *name = xml_attr(target, "name");
        g_autofree char *own = g_strconcat("/channel/", name, NULL);

        xmlUnsetProp(target, (const xmlChar *)"state");
        if (g_strcmp0(type, "pty") == 0)
                xml_remove(source);
        else if (path && name && g_str_has_suffix(path, own))
                xmlUnsetProp(source, (const xmlChar *)"path");
}

const struct device_kind domain_channel_kind = {
        &channel_rule, DOMUS_DEVICE_CHANNEL, parse_channel, address, alias_channel, matches_channel, drop_live_channel,
};

DomusDevice *domus_domain_def_channel(const DomusDomainDef *def, const char *name)
{
        DomusDevice *d;

        for (unsigned i = 0; (d = domus_domain_def_device(def, DOMUS_DEVICE_CHANNEL, i)); i++)
                if (strcmp(d->channel.name, name) == 0)
                        return d;
        return NULL;
}

void domus_domain_def_set_channel_path(DomusDomainDef *def, DomusDevice *d, const char *path)
{
        xmlNode *source = xml_ensure_child(d->node, "source");

        if (d->kind == DOMUS_DEVICE_CHANNEL && !d->channel.pty)
                xml_set_attr_default(source, "mode", "bind");
        xml_set_attr(source, "path", path);
        if (d->kind == DOMUS_DEVICE_CONSOLE)
                xml_set_attr(d->node, "tty", path);
        domain_rules_sort(xmlDocGetRootElement(def->doc));
        domain_devices_reload(def);
}

void domus_domain_def_set_channel_state(DomusDomainDef *def, DomusDevice *d, bool connected)
{
        xml_set_attr(xml_child(d->node, "target"), "state", connected ? "connected" : "disconnected");
        domain_devices_reload(def);
}

/* --- Consoles and the serial port --- */

static const struct element_rule serial_target_rules[] = {
        { "model", 0, RULE_ATTRS{ { "name", "isa-serial" }, {} } },
        {},
};

static const struct element_rule serial_rules[] = {
        { "source", 0, RULE_ATTRS{ { "path" }, {} } },
        { "target", 0, RULE_ATTRS{ { "type", "isa-serial" }, { "port", "0" }, {} }, serial_target_rules },
        RULE_ALIAS,
        {},
};

static const struct element_rule serial_rule = { "serial", RULE_MANY, RULE_ATTRS{ { "type", "pty" }, {} }, serial_rules };

static const struct element_rule console_rules[] = {
        { "source", 0, RULE_ATTRS{ { "path" }, {} } },
        { "target", 0, RULE_ATTRS{ { "type", "serial|virtio" }, { "port" }, {} } },
        RULE_ALIAS,
        { "address", 0, RULE_ATTRS{ { "type", "virtio-serial" }, { "controller" }, { "bus", "0" }, { "port" }, {} } },
        {},
};

static const struct element_rule console_rule = {
        "console", RULE_MANY, RULE_ATTRS{ { "type", "pty" }, { "tty" }, {} }, console_rules,
};

static void drop_live_tty(xmlNode *node)
{
        xml_remove(xml_child(node, "source")); /* a pty has a path only while it exists */
        xmlUnsetProp(node, (const xmlChar *)"tty");
}

bool domain_console_is_serial(const xmlNode *console)
{
        g_autofree char *type = xml_attr(xml_child(console, "target"), "type");

        return g_strcmp0(type, "virtio") != 0;
}

static bool parse_console(DomusDevice *d, GError **error)
{
        if (domain_console_is_serial(d->node)) {
                d->kind = DOMUS_DEVICE_NONE;
                return true;
        }
        xml_set_attr_default(d->node, "type", "pty");
        d->channel.pty = true;
        d->channel.name = "";
        d->channel.path = device_attr(d, xml_child(d->node, "source"), "path");
        return true;
}

/* console0 is the serial port's second name. */
static char *alias_console(const DomusDevice *d, unsigned n)
{
        return g_strdup_printf("console%u", n + 1);
}

static bool matches_console(const DomusDevice *d, const DomusDevice *wanted)
{
        return wanted->address.type == DOMUS_ADDRESS_NONE || wanted->address.port == d->address.port;
}

const struct device_kind domain_serial_kind = { &serial_rule, DOMUS_DEVICE_NONE, NULL, NULL, NULL, NULL, drop_live_tty };
const struct device_kind domain_console_kind = {
        &console_rule, DOMUS_DEVICE_CONSOLE, parse_console, address, alias_console, matches_console, drop_live_tty,
};
