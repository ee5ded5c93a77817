/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The table of device kinds, and reading and finding devices. */

#include <string.h>

#include "model/domain-device-private.h"

static const struct element_rule emulator_rule = { "emulator", RULE_TEXT };
static const struct device_kind emulator_kind = { &emulator_rule, DOMUS_DEVICE_NONE, NULL, NULL, NULL, NULL, NULL };

/* In the order in which libvirt writes their elements. */
static const struct device_kind *const kinds[] = {
        &emulator_kind,       &domain_disk_kind,    &domain_controller_kind, &domain_interface_kind,
        &domain_serial_kind,  &domain_console_kind, &domain_channel_kind,    &domain_audio_kind,
        &domain_video_kind,   &domain_balloon_kind, &domain_rng_kind,
};

const struct element_rule *domain_device_rule(unsigned i)
{
        return i < G_N_ELEMENTS(kinds) ? kinds[i]->rule : NULL;
}

const struct device_kind *domain_device_kind_of(const xmlNode *node)
{
        for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (xml_is(node, kinds[i]->rule->name))
                        return kinds[i];
        return NULL;
}

/* --- For the kinds --- */

const char *device_string(DomusDevice *d, const char *s)
{
        return s ? g_string_chunk_insert_const(d->strings, s) : NULL;
}

const char *device_attr(DomusDevice *d, const xmlNode *node, const char *name)
{
        g_autofree char *value = xml_attr(node, name);

        return device_string(d, value);
}

const char *device_text(DomusDevice *d, const xmlNode *node)
{
        g_autofree char *text = xml_text(node);

        return device_string(d, text ? g_strstrip(text) : NULL);
}

bool device_uint(const xmlNode *node, const char *attr, uint64_t max, uint64_t *ret, GError **error)
{
        g_autofree char *value = xml_attr(node, attr);

        if (!value || xml_parse_uint(value, max, ret))
                return true;
        return xml_fail(error, DOMUS_ERROR_XML, "Invalid value '%s' for attribute '%s' of element <%s> (line %ld)", value, attr,
                        node->name, xmlGetLineNo(node));
}

bool device_uint32(const xmlNode *node, const char *attr, uint32_t max, unsigned *ret, GError **error)
{
        uint64_t value = *ret;

        if (!device_uint(node, attr, max, &value, error))
                return false;
        *ret = (unsigned)value;
        return true;
}

bool device_bool(const xmlNode *node, const char *attr, bool fallback)
{
        g_autofree char *value = xml_attr(node, attr);

        return value ? xml_value_listed("on|yes", value) : fallback;
}

bool device_require(const DomusDevice *d, const xmlNode *node, const char *element, const char *attr, GError **error)
{
        g_autofree char *value = xml_attr(node, attr);

        if (value && *value)
                return true;
        return xml_fail(error, DOMUS_ERROR_XML, "missing attribute '%s' of element <%s> (line %ld)", attr, element,
                        xmlGetLineNo(d->node));
}

/* --- Reading --- */

void domain_device_free(gpointer p)
{
        DomusDevice *d = p;

        if (!d)
                return;
        g_string_chunk_free(d->strings);
        g_free(d);
}

static bool parse_boot(DomusDevice *d, GError **error)
{
        const xmlNode *boot = xml_child(d->node, "boot");

        if (!boot)
                return true;
        if (!device_uint32(boot, "order", 1000, &d->boot_order, error))
                return false;
        return d->boot_order > 0 || xml_fail(error, DOMUS_ERROR_XML, "incorrect boot order in element <%s> (line %ld)",
                                             d->node->name, xmlGetLineNo(d->node));
}

bool domain_device_parse(xmlNode *node, DomusDevice **ret, GError **error)
{
        const struct device_kind *kind = domain_device_kind_of(node);
        DomusDevice *d;

        *ret = NULL;
        if (!kind || !kind->parse)
                return true;
        d = g_new0(DomusDevice, 1);
        d->kind = kind->kind;
        d->node = node;
        d->strings = g_string_chunk_new(256);
        d->alias = device_attr(d, xml_child(node, "alias"), "name");
        if (!kind->parse(d, error) || !parse_boot(d, error) ||
            (kind->address && d->kind && !domain_address_parse(d, kind->address(d), error))) {
                domain_device_free(d);
                return false;
        }
        if (d->kind)
                *ret = d;
        else
                domain_device_free(d);
        return true;
}

static bool parse_all(DomusDomainDef *def, GError **error)
{
        const xmlNode *devices = xml_child(xmlDocGetRootElement(def->doc), "devices");

        g_clear_pointer(&def->devices, g_ptr_array_unref);
        def->devices = g_ptr_array_new_with_free_func(domain_device_free);
        for (xmlNode *n = xml_first_element(devices); n; n = xml_next_element(n)) {
                DomusDevice *d;

                if (!domain_device_parse(n, &d, error))
                        return false;
                if (d)
                        g_ptr_array_add(def->devices, d);
        }
        return true;
}

void domain_devices_reload(DomusDomainDef *def)
{
        g_autoptr(GError) error = NULL;

        if (!parse_all(def, &error))
                g_error("a definition that was accepted is not any more: %s", error->message);
}

/* --- What no element can tell alone --- */

static bool fail_twice(GError **error, const char *what, const char *value)
{
        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "%s '%s' is given to two devices", what, value);
}

static bool check_pair(const DomusDevice *a, const DomusDevice *b, GError **error)
{
        char mac[DOMUS_MAC_STRING_LEN];

        if (a->alias && b->alias && strcmp(a->alias, b->alias) == 0)
                return fail_twice(error, "the alias", a->alias);
        if (a->boot_order && a->boot_order == b->boot_order)
                return xml_fail(error, DOMUS_ERROR_XML, "boot order '%u' used for more than one device", a->boot_order);
        if (a->kind != b->kind)
                return true;
        if (a->kind == DOMUS_DEVICE_DISK && strcmp(a->disk.target, b->disk.target) == 0)
                return fail_twice(error, "the target", a->disk.target);
        if (a->kind == DOMUS_DEVICE_CHANNEL && strcmp(a->channel.name, b->channel.name) == 0)
                return fail_twice(error, "the channel name", a->channel.name);
        if (a->kind == DOMUS_DEVICE_CONTROLLER && a->controller.type == b->controller.type && a->controller.index == b->controller.index)
                return xml_fail(error, DOMUS_ERROR_XML, "Multiple controllers of the same type with index '%u'", a->controller.index);
        if (a->kind != DOMUS_DEVICE_INTERFACE)
                return true;
        domus_mac_format(a->interface.mac, mac);
        if (memcmp(a->interface.mac, b->interface.mac, sizeof(a->interface.mac)) == 0)
                return fail_twice(error, "the MAC address", mac);
        if (a->interface.target && g_strcmp0(a->interface.target, b->interface.target) == 0)
                return fail_twice(error, "the target", a->interface.target);
        return true;
}

/* libvirt's rule: the order is told by the devices or by <os>, not by both. */
static bool check_boot(const DomusDomainDef *def, const DomusDevice *d, GError **error)
{
        if (d->boot_order && xml_child(xml_child(xmlDocGetRootElement(def->doc), "os"), "boot"))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "per-device boot elements cannot be used together with os/boot elements");
        return true;
}

static bool check_all(const DomusDomainDef *def, GError **error)
{
        for (unsigned i = 0; i < def->devices->len; i++) {
                if (!check_boot(def, def->devices->pdata[i], error))
                        return false;
                for (unsigned j = 0; j < i; j++)
                        if (!check_pair(def->devices->pdata[i], def->devices->pdata[j], error))
                                return false;
        }
        return true;
}

bool domain_devices_fill(DomusDomainDef *def, GError **error)
{
        return parse_all(def, error) && check_all(def, error) && domain_assign_addresses(def, error);
}

/* --- Live-only parts --- */

void domain_drop_live_of_device(xmlNode *device)
{
        const struct device_kind *kind = domain_device_kind_of(device);
        xmlNode *alias = xml_child(device, "alias");
        g_autofree char *name = xml_attr(alias, "name");

        if (alias && (!name || !g_str_has_prefix(name, "ua-")))
                xml_remove(alias);
        if (kind && kind->drop_live)
                kind->drop_live(device);
}

void domain_drop_live(xmlNode *root)
{
        xmlUnsetProp(root, (const xmlChar *)"id");
        for (xmlNode *d = xml_first_element(xml_child(root, "devices")); d; d = xml_next_element(d))
                domain_drop_live_of_device(d);
}

static void put_alias(xmlNode *device, const char *alias)
{
        if (!xml_child(device, "alias"))
                xml_set_attr(xml_ensure_child(device, "alias"), "name", alias);
}

static bool alias_taken(const DomusDomainDef *def, const char *alias)
{
        const xmlNode *devices = xml_child(xmlDocGetRootElement(def->doc), "devices");

        for (xmlNode *n = xml_first_element(devices); n; n = xml_next_element(n)) {
                g_autofree char *name = xml_attr(xml_child(n, "alias"), "name");

                if (g_strcmp0(name, alias) == 0)
                        return true;
        }
        return false;
}

/* Numbers that are in use, of devices that were there before, are passed over. */
static void assign_alias(DomusDomainDef *def, DomusDevice *d)
{
        const struct device_kind *kind = domain_device_kind_of(d->node);

        for (unsigned n = 0; n < 1000; n++) {
                g_autofree char *alias = kind->alias(d, n);

                if (alias_taken(def, alias))
                        continue;
                put_alias(d->node, alias);
                return;
        }
}

/* libvirt names those too that say that nothing is there. */
static void assign_absent(const xmlNode *devices)
{
        for (xmlNode *n = xml_first_element(devices); n; n = xml_next_element(n)) {
                const struct device_kind *kind = domain_device_kind_of(n);
                g_autofree char *alias = kind && !kind->kind && kind->alias ? kind->alias(NULL, 0) : NULL;

                if (alias)
                        put_alias(n, alias);
        }
}

void domain_assign_aliases(DomusDomainDef *def)
{
        assign_absent(xml_child(xmlDocGetRootElement(def->doc), "devices"));
        for (unsigned i = 0; i < def->devices->len; i++) {
                DomusDevice *d = def->devices->pdata[i];

                if (!xml_child(d->node, "alias"))
                        assign_alias(def, d);
        }
        domain_rules_sort(xmlDocGetRootElement(def->doc));
        domain_devices_reload(def);
}

/* --- Finding --- */

DomusDevice *domus_domain_def_device(const DomusDomainDef *def, DomusDeviceKind kind, unsigned i)
{
        for (unsigned k = 0; k < def->devices->len; k++) {
                DomusDevice *d = def->devices->pdata[k];

                if (d->kind == kind && i-- == 0)
                        return d;
        }
        return NULL;
}

DomusDevice *domus_domain_def_device_by_alias(const DomusDomainDef *def, const char *alias)
{
        for (unsigned k = 0; k < def->devices->len; k++) {
                DomusDevice *d = def->devices->pdata[k];

                if (g_strcmp0(d->alias, alias) == 0)
                        return d;
        }
        return NULL;
}
