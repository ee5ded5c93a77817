/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Adding, finding, removing and replacing one device of a definition. A change is made in a copy, read as a whole definition would be, and kept if
 * that goes well. */

#include <string.h>

#include "model/domain-device-private.h"

/* One device's element, by its own rules. NULL on failure; the document owns the node. */
static xmlDoc *read_element(const char *xml, GError **error)
{
        g_autoptr(xmlDoc) doc = xml_parse(xml, "device_definition", error);
        const struct device_kind *kind;
        xmlNode *root;

        if (!doc)
                return NULL;
        root = xmlDocGetRootElement(doc);
        kind = domain_device_kind_of(root);
        if (!kind || !kind->parse) {
                xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "the device <%s> is not supported", root->name);
                return NULL;
        }
        return xml_rules_check(kind->rule, root, error) ? g_steal_pointer(&doc) : NULL;
}

static void swap_contents(DomusDomainDef *a, DomusDomainDef *b)
{
        DomusDomainDef saved = *a;

        *a = *b;
        *b = saved;
}

static xmlNode *devices_of(const DomusDomainDef *def)
{
        return xml_child(xmlDocGetRootElement(def->doc), "devices");
}

/* --- Adding --- */

static bool same_element_twice(const DomusDomainDef *def, const xmlNode *node, GError **error)
{
        const struct device_kind *kind = domain_device_kind_of(node);

        if ((kind->rule->flags & RULE_MANY) || xml_count(devices_of(def), kind->rule->name) == 0)
                return false;
        xml_fail(error, DOMUS_ERROR_OPERATION_INVALID, "the domain has a <%s> already", kind->rule->name);
        return true;
}

static xmlNode *append(DomusDomainDef *def, xmlNode *root)
{
        return xmlAddChild(devices_of(def), xmlDocCopyNode(root, def->doc, 1));
}

static DomusDevice *device_of_node(const DomusDomainDef *def, const xmlNode *node)
{
        for (unsigned i = 0; i < def->devices->len; i++)
                if (((DomusDevice *)def->devices->pdata[i])->node == node)
                        return def->devices->pdata[i];
        return NULL;
}

/* An element that says "none" is no device to add. */
static bool settle(DomusDomainDef *def, const xmlNode *node, GError **error)
{
        if (!domain_devices_fill(def, error))
                return false;
        if (!device_of_node(def, node))
                return xml_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a device <%s> of that kind cannot be attached", node->name);
        domain_rules_sort(xmlDocGetRootElement(def->doc));
        domain_devices_reload(def);
        return true;
}

/* A controller that is always there, or never, is nothing to plug in. */
static bool check_pluggable(const DomusDevice *d, GError **error)
{
        if (d->kind != DOMUS_DEVICE_CONTROLLER || d->controller.type == DOMUS_CONTROLLER_SCSI || d->controller.type == DOMUS_CONTROLLER_VIRTIO_SERIAL)
                return true;
        return xml_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a <controller> of type '%s' cannot be attached",
                        d->controller.type == DOMUS_CONTROLLER_PCI ? "pci" : "usb");
}

DomusDevice *domus_domain_def_attach(DomusDomainDef *def, const char *xml, GError **error)
{
        g_autoptr(xmlDoc) doc = read_element(xml, error);
        g_autoptr(DomusDomainDef) copy = NULL;
        xmlNode *node;

        if (!doc || same_element_twice(def, xmlDocGetRootElement(doc), error))
                return NULL;
        copy = domus_domain_def_copy(def);
        node = append(copy, xmlDocGetRootElement(doc));
        domain_drop_live_of_device(node);
        if (!settle(copy, node, error) || !check_pluggable(device_of_node(copy, node), error))
                return NULL;
        swap_contents(def, copy);
        return device_of_node(def, node);
}

static char *dump(xmlNode *node)
{
        xmlBuffer *buffer = xmlBufferCreate();
        char *text;

        xmlNodeDump(buffer, node->doc, node, 0, 0);
        text = g_strdup((const char *)xmlBufferContent(buffer));
        xmlBufferFree(buffer);
        return text;
}

char *domus_device_normalize(const char *xml, GError **error)
{
        g_autoptr(xmlDoc) doc = read_element(xml, error);
        DomusDevice *device;

        if (!doc || !domain_device_parse(xmlDocGetRootElement(doc), &device, error))
                return NULL;
        domain_device_free(device);
        return dump(xmlDocGetRootElement(doc));
}

/* --- Finding --- */

/* Is what is to become of a device enough to tell which one it is? Disks have targets and interfaces MACs, whatever else is said. */
static bool same_place(const DomusDevice *d, const DomusDevice *wanted)
{
        if (d->kind == DOMUS_DEVICE_DISK || d->kind == DOMUS_DEVICE_INTERFACE)
                return false;
        if (wanted->alias && d->alias)
                return true;
        return wanted->address.type == DOMUS_ADDRESS_PCI && d->address.type == DOMUS_ADDRESS_PCI && wanted->address.slot == d->address.slot;
}

/* changed: wanted has other properties than what is looked for. */
static bool matches(const DomusDevice *d, const DomusDevice *wanted, bool changed)
{
        const struct device_kind *kind = domain_device_kind_of(d->node);

        if (d->kind != wanted->kind)
                return false;
        if (wanted->alias && d->alias && strcmp(wanted->alias, d->alias) != 0)
                return false;
        return kind->matches && ((changed && same_place(d, wanted)) || kind->matches(d, wanted));
}

/* A MAC that was made up when the element was read is none to look for. */
static void mark_missing_mac(DomusDevice *wanted, bool had_mac)
{
        if (wanted->kind == DOMUS_DEVICE_INTERFACE && !had_mac)
                wanted->interface.mac[0] = 0xff;
}

static DomusDevice *find_in(const DomusDomainDef *def, const DomusDevice *wanted, bool changed, GError **error)
{
        DomusDevice *found = NULL;

        for (unsigned i = 0; i < def->devices->len; i++) {
                DomusDevice *d = def->devices->pdata[i];

                if (!matches(d, wanted, changed))
                        continue;
                if (found) {
                        xml_fail(error, DOMUS_ERROR_OPERATION_FAILED, "more than one device <%s> matches", wanted->node->name);
                        return NULL;
                }
                found = d;
        }
        if (!found)
                xml_fail(error, DOMUS_ERROR_DEVICE_MISSING, "no device <%s> matches", wanted->node->name);
        return found;
}

static DomusDevice *find(const DomusDomainDef *def, xmlNode *root, bool changed, GError **error)
{
        bool had_mac = xml_child(root, "mac");
        DomusDevice *wanted, *found;

        if (!domain_device_parse(root, &wanted, error))
                return NULL;
        if (!wanted) {
                xml_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a device <%s> of that kind cannot be changed", root->name);
                return NULL;
        }
        mark_missing_mac(wanted, had_mac);
        found = find_in(def, wanted, changed, error);
        domain_device_free(wanted);
        return found;
}

DomusDevice *domus_domain_def_find(const DomusDomainDef *def, const char *xml, GError **error)
{
        g_autoptr(xmlDoc) doc = read_element(xml, error);

        return doc ? find(def, xmlDocGetRootElement(doc), false, error) : NULL;
}

/* --- Removing and replacing --- */

void domus_domain_def_detach(DomusDomainDef *def, DomusDevice *device)
{
        xml_remove(device->node);
        domain_devices_reload(def);
}

/* The new element has the old one's place in the guest, unless it names another, which is then a change like others. */
static void inherit(xmlNode *node, const xmlNode *old)
{
        static const char *const kept[] = { "alias", "address", "mac" };

        for (unsigned i = 0; i < G_N_ELEMENTS(kept); i++) {
                xmlNode *child = xml_child(old, kept[i]);

                if (child && !xml_child(node, kept[i]))
                        xmlAddChild(node, xmlDocCopyNode(child, node->doc, 1));
        }
}

DomusDevice *domus_domain_def_update(DomusDomainDef *def, const char *xml, GError **error)
{
        g_autoptr(xmlDoc) doc = read_element(xml, error);
        g_autoptr(DomusDomainDef) copy = NULL;
        DomusDevice *old;
        xmlNode *node;

        if (!doc)
                return NULL;
        copy = domus_domain_def_copy(def);
        node = xmlDocCopyNode(xmlDocGetRootElement(doc), copy->doc, 1);
        old = find(copy, xmlDocGetRootElement(doc), true, error);
        if (!old) {
                xmlFreeNode(node);
                return NULL;
        }
        inherit(node, old->node);
        xmlReplaceNode(old->node, node);
        xmlFreeNode(old->node);
        if (!settle(copy, node, error))
                return NULL;
        swap_contents(def, copy);
        return device_of_node(def, node);
}

bool domus_device_equal(const DomusDevice *a, const DomusDevice *b)
{
        g_autofree char *first = dump(a->node), *second = dump(b->node);

        return strcmp(first, second) == 0;
}
