/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where the guest finds its devices. What the document says is kept, so that a guest finds its devices at the same place after each start and
 * each change; what it does not say is filled in and stored. */

#include <string.h>

#include "model/domain-device-private.h"

/* Slot 0 is the host bridge, 1 the ISA bridge with power management, 2 is kept for a graphics card, as libvirt has it for this chipset. */
#define SLOT_USER_FIRST 2
#define SLOT_FIRST 3
#define SLOT_LAST 31

#define UNIT_MAX 16383
#define TARGET_MAX 255

DomusAddressType device_address_pci(const DomusDevice *d)
{
        return DOMUS_ADDRESS_PCI;
}

/* --- Reading --- */

static bool parse_hex(const xmlNode *node, const char *attr, uint64_t *ret, GError **error)
{
        g_autofree char *text = xml_attr(node, attr);
        char *end = NULL;

        if (!text)
                return true;
        *ret = g_ascii_strtoull(text, &end, 0);
        if (*text && g_ascii_isxdigit(*text) && !*end)
                return true;
        return xml_fail(error, DOMUS_ERROR_XML, "Invalid value '%s' for attribute '%s' of element <address> (line %ld)", text, attr,
                        xmlGetLineNo(node));
}

static bool parse_pci(DomusDevice *d, const xmlNode *node, GError **error)
{
        uint64_t domain = 0, bus = 0, slot = 0, function = 0;
        g_autofree char *given = xml_attr(node, "slot");

        if (!parse_hex(node, "domain", &domain, error) || !parse_hex(node, "bus", &bus, error) ||
            !parse_hex(node, "slot", &slot, error) || !parse_hex(node, "function", &function, error))
                return false;
        if (domain || bus || function)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "the PCI address of element <%s> (line %ld) is not on domain 0, bus 0, function 0: there is nothing else",
                                d->node->name, xmlGetLineNo(node));
        if (given && (slot < SLOT_USER_FIRST || slot > SLOT_LAST))
                return xml_fail(error, DOMUS_ERROR_XML,
                                "PCI slot 0x%02" G_GINT64_MODIFIER "x of element <%s> (line %ld) is not free for devices: 0x%02x to 0x%02x are",
                                slot, d->node->name, xmlGetLineNo(node), SLOT_USER_FIRST, SLOT_LAST);
        d->address.slot = (unsigned)slot;
        return true;
}

static bool parse_drive(DomusDevice *d, const xmlNode *node, GError **error)
{
        unsigned bus = 0;

        if (!device_uint32(node, "controller", 255, &d->address.controller, error) || !device_uint32(node, "bus", 255, &bus, error) ||
            !device_uint32(node, "target", TARGET_MAX, &d->address.target, error) ||
            !device_uint32(node, "unit", UNIT_MAX, &d->address.unit, error))
                return false;
        return bus == 0 || xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "bus %u of a drive address (line %ld) is not supported", bus,
                                    xmlGetLineNo(node));
}

static bool parse_port(DomusDevice *d, const xmlNode *node, GError **error)
{
        return device_uint32(node, "controller", 255, &d->address.controller, error) &&
               device_uint32(node, "port", 30, &d->address.port, error);
}

bool domain_address_parse(DomusDevice *d, DomusAddressType type, GError **error)
{
        static const char *const names[] = {
                [DOMUS_ADDRESS_NONE] = "", [DOMUS_ADDRESS_PCI] = "pci", [DOMUS_ADDRESS_DRIVE] = "drive",
                [DOMUS_ADDRESS_VIRTIO_SERIAL] = "virtio-serial",
        };
        xmlNode *node = xml_child(d->node, "address");
        g_autofree char *given = xml_attr(node, "type");
        bool ok;

        if (!node)
                return true;
        if (g_strcmp0(given, names[type]) != 0)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "an address of type '%s' does not suit the device <%s> (line %ld)",
                                given ? given : "", d->node->name, xmlGetLineNo(node));
        ok = type == DOMUS_ADDRESS_PCI   ? parse_pci(d, node, error) :
             type == DOMUS_ADDRESS_DRIVE ? parse_drive(d, node, error) :
                                           parse_port(d, node, error);
        /* type='pci' alone asks for any slot. */
        if (ok && (type != DOMUS_ADDRESS_PCI || d->address.slot))
                d->address.type = type;
        return ok;
}

/* --- Writing --- */

static void put(xmlNode *address, const char *name, const char *format, unsigned value)
{
        char text[32];

        g_snprintf(text, sizeof(text), format, value);
        xml_set_attr(address, name, text);
}

static void put_pci(DomusDevice *d, unsigned slot)
{
        xmlNode *node = xml_ensure_child(d->node, "address");

        d->address.type = DOMUS_ADDRESS_PCI;
        d->address.slot = slot;
        xml_set_attr(node, "type", "pci");
        xml_set_attr(node, "domain", "0x0000");
        xml_set_attr(node, "bus", "0x00");
        put(node, "slot", "0x%02x", slot);
        xml_set_attr(node, "function", "0x0");
}

static void put_drive(DomusDevice *d)
{
        xmlNode *node = xml_ensure_child(d->node, "address");

        d->address.type = DOMUS_ADDRESS_DRIVE;
        xml_set_attr(node, "type", "drive");
        put(node, "controller", "%u", d->address.controller);
        xml_set_attr(node, "bus", "0");
        put(node, "target", "%u", d->address.target);
        put(node, "unit", "%u", d->address.unit);
}

static void put_port(DomusDevice *d)
{
        xmlNode *node = xml_ensure_child(d->node, "address");

        d->address.type = DOMUS_ADDRESS_VIRTIO_SERIAL;
        xml_set_attr(node, "type", "virtio-serial");
        put(node, "controller", "%u", d->address.controller);
        xml_set_attr(node, "bus", "0");
        put(node, "port", "%u", d->address.port);
}

/* --- Drives and ports --- */

static DomusAddressType wanted_type(const DomusDevice *d)
{
        const struct device_kind *kind = domain_device_kind_of(d->node);

        return kind->address ? kind->address(d) : DOMUS_ADDRESS_NONE;
}

static bool same_address(const DomusAddress *a, const DomusAddress *b)
{
        if (a->type != b->type)
                return false;
        switch (a->type) {
        case DOMUS_ADDRESS_PCI:
                return a->slot == b->slot;
        case DOMUS_ADDRESS_DRIVE:
                return a->controller == b->controller && a->target == b->target && a->unit == b->unit;
        case DOMUS_ADDRESS_VIRTIO_SERIAL:
                return a->controller == b->controller && a->port == b->port;
        case DOMUS_ADDRESS_NONE:
                break;
        }
        return false;
}

static bool taken(const DomusDomainDef *def, const DomusDevice *self, const DomusAddress *address)
{
        for (unsigned i = 0; i < def->devices->len; i++) {
                const DomusDevice *d = def->devices->pdata[i];

                if (d != self && same_address(&d->address, address))
                        return true;
        }
        return false;
}

/* As libvirt: sda is unit 0, whatever else there is; what is taken is passed over. */
static bool assign_drive(DomusDomainDef *def, DomusDevice *d, GError **error)
{
        DomusAddress a = { .type = DOMUS_ADDRESS_DRIVE };
        const char *letters = strlen(d->disk.target) == 3 ? d->disk.target + 2 : "a";

        a.unit = *letters >= 'a' && *letters <= 'z' ? (unsigned)(*letters - 'a') : 0;
        while (a.unit <= UNIT_MAX && taken(def, d, &a))
                a.unit++;
        d->address = a;
        put_drive(d);
        return true;
}

/* Port 0 is for a console: drivers before multiport know no other. */
static bool assign_port(DomusDomainDef *def, DomusDevice *d, GError **error)
{
        DomusAddress a = { .type = DOMUS_ADDRESS_VIRTIO_SERIAL, .port = d->kind == DOMUS_DEVICE_CONSOLE ? 0 : 1 };

        while (a.port < 31 && taken(def, d, &a))
                a.port++;
        if (a.port == 31)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "no free port is left on the virtio-serial controller");
        d->address = a;
        put_port(d);
        return true;
}

static bool assign_on_bus(DomusDomainDef *def, GError **error)
{
        for (unsigned i = 0; i < def->devices->len; i++) {
                DomusDevice *d = def->devices->pdata[i];
                DomusAddressType type = wanted_type(d);

                if (d->address.type)
                        continue;
                if (type == DOMUS_ADDRESS_DRIVE && !assign_drive(def, d, error))
                        return false;
                if (type == DOMUS_ADDRESS_VIRTIO_SERIAL && !assign_port(def, d, error))
                        return false;
        }
        return true;
}

/* --- Controllers --- */

static void add_controller(DomusDomainDef *def, DomusControllerType type, unsigned index)
{
        xmlNode *devices = xml_child(xmlDocGetRootElement(def->doc), "devices");
        xmlNode *node = xmlNewTextChild(devices, NULL, (const xmlChar *)"controller", NULL);
        DomusDevice *d;

        xml_set_attr(node, "type", type == DOMUS_CONTROLLER_SCSI ? "scsi" : "virtio-serial");
        put(node, "index", "%u", index);
        if (domain_device_parse(node, &d, NULL) && d)
                g_ptr_array_add(def->devices, d);
}

static bool ensure_controllers(DomusDomainDef *def, GError **error)
{
        for (unsigned i = 0; i < def->devices->len; i++) {
                const DomusDevice *d = def->devices->pdata[i];
                DomusControllerType type = d->address.type == DOMUS_ADDRESS_DRIVE ? DOMUS_CONTROLLER_SCSI : DOMUS_CONTROLLER_VIRTIO_SERIAL;
                const DomusDevice *c;

                if (d->address.type != DOMUS_ADDRESS_DRIVE && d->address.type != DOMUS_ADDRESS_VIRTIO_SERIAL)
                        continue;
                c = domus_domain_def_controller(def, type, d->address.controller);
                if (!c)
                        add_controller(def, type, d->address.controller);
                else if (c->controller.type == DOMUS_CONTROLLER_VIRTIO_SERIAL && d->address.port >= c->controller.ports)
                        return xml_fail(error, DOMUS_ERROR_XML, "port %u of the virtio-serial controller %u, which has %u ports",
                                        d->address.port, c->controller.index, c->controller.ports);
        }
        return true;
}

/* --- PCI --- */

static bool assign_slot(DomusDomainDef *def, DomusDevice *d, GError **error)
{
        DomusAddress a = { .type = DOMUS_ADDRESS_PCI, .slot = SLOT_FIRST };

        while (a.slot <= SLOT_LAST && taken(def, d, &a))
                a.slot++;
        if (a.slot > SLOT_LAST)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "no PCI slot is left for the device <%s> (line %ld)",
                                d->node->name, xmlGetLineNo(d->node));
        put_pci(d, a.slot);
        return true;
}

/* The order among those without an address: as libvirt has it. */
static bool assign_pci(DomusDomainDef *def, GError **error)
{
        static const DomusDeviceKind order[] = { DOMUS_DEVICE_INTERFACE, DOMUS_DEVICE_CONTROLLER, DOMUS_DEVICE_DISK,
                                                 DOMUS_DEVICE_BALLOON,   DOMUS_DEVICE_RNG };

        for (unsigned k = 0; k < G_N_ELEMENTS(order); k++)
                for (unsigned i = 0; i < def->devices->len; i++) {
                        DomusDevice *d = def->devices->pdata[i];

                        if (d->kind == order[k] && !d->address.type && wanted_type(d) == DOMUS_ADDRESS_PCI &&
                            !assign_slot(def, d, error))
                                return false;
                }
        return true;
}

static bool check_conflicts(const DomusDomainDef *def, GError **error)
{
        for (unsigned i = 0; i < def->devices->len; i++) {
                const DomusDevice *d = def->devices->pdata[i];

                if (d->address.type == DOMUS_ADDRESS_NONE || !taken(def, d, &d->address))
                        continue;
                if (d->address.type == DOMUS_ADDRESS_PCI)
                        return xml_fail(error, DOMUS_ERROR_XML, "Attempted double use of PCI Address 0000:00:%02x.0", d->address.slot);
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "two devices have the address of the device <%s> (line %ld)",
                                d->node->name, xmlGetLineNo(d->node));
        }
        return true;
}

bool domain_assign_addresses(DomusDomainDef *def, GError **error)
{
        /* Also puts user-given addresses into the canonical form. */
        for (unsigned i = 0; i < def->devices->len; i++) {
                DomusDevice *d = def->devices->pdata[i];

                if (d->address.type == DOMUS_ADDRESS_PCI)
                        put_pci(d, d->address.slot);
                else if (d->address.type == DOMUS_ADDRESS_DRIVE)
                        put_drive(d);
                else if (d->address.type == DOMUS_ADDRESS_VIRTIO_SERIAL)
                        put_port(d);
        }
        return check_conflicts(def, error) && assign_on_bus(def, error) && ensure_controllers(def, error) && assign_pci(def, error);
}
