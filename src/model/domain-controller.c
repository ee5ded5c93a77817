/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <controller> (formatdomain.html#controllers). */

#include <string.h>

#include "model/domain-device-private.h"

static const struct element_rule controller_rules[] = {
        { "driver", 0, RULE_ATTRS{ { "queues" }, {} } },
        RULE_ALIAS,
        RULE_PCI_ADDRESS,
        {},
};

static const struct element_rule rule = {
        "controller", RULE_MANY,
        RULE_ATTRS{ { "type", "pci|usb|scsi|virtio-serial" }, { "index" }, { "model" }, { "ports" }, { "vectors" }, {} },
        controller_rules,
};

static bool fail_model(const DomusDevice *d, const char *type, const char *model, GError **error)
{
        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                        "element <controller> with type '%s' and model '%s' (line %ld) is not supported", type, model ? model : "default",
                        xmlGetLineNo(d->node));
}

/* There is no USB. Some clients give every guest a USB controller whether anything is plugged into it or not; the document then says that there is
 * none, and a USB device will be refused by its own name. */
static bool parse_usb(DomusDevice *d, GError **error)
{
        xml_set_attr(d->node, "model", "none");
        xml_remove(xml_child(d->node, "address"));
        xmlUnsetProp(d->node, (const xmlChar *)"ports");
        d->controller.type = DOMUS_CONTROLLER_USB_NONE;
        return true;
}

static bool parse_pci(DomusDevice *d, const char *model, GError **error)
{
        if (d->controller.index != 0 || g_strcmp0(model, "pci-root") != 0)
                return fail_model(d, "pci", model, error);
        d->controller.type = DOMUS_CONTROLLER_PCI;
        return true;
}

static bool parse_scsi(DomusDevice *d, const char *model, GError **error)
{
        if (model && !xml_value_listed("auto|virtio-scsi|virtio-non-transitional", model))
                return fail_model(d, "scsi", model, error);
        if (g_strcmp0(model, "virtio-non-transitional") != 0)
                xml_set_attr(d->node, "model", "virtio-scsi");
        d->controller.type = DOMUS_CONTROLLER_SCSI;
        return device_uint32(xml_child(d->node, "driver"), "queues", 64, &d->controller.queues, error);
}

static bool parse_virtio_serial(DomusDevice *d, const char *model, GError **error)
{
        if (model && !xml_value_listed("virtio|virtio-non-transitional", model))
                return fail_model(d, "virtio-serial", model, error);
        d->controller.type = DOMUS_CONTROLLER_VIRTIO_SERIAL;
        d->controller.ports = 31;
        if (!device_uint32(d->node, "ports", 31, &d->controller.ports, error))
                return false;
        return d->controller.ports > 0 || xml_fail(error, DOMUS_ERROR_XML, "Invalid ports: 0");
}

static bool parse(DomusDevice *d, GError **error)
{
        g_autofree char *type = xml_attr(d->node, "type"), *model = xml_attr(d->node, "model");

        if (!type)
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute 'type' of element <controller> (line %ld)",
                                xmlGetLineNo(d->node));
        if (!device_uint32(d->node, "index", 255, &d->controller.index, error))
                return false;
        if (strcmp(type, "usb") == 0 ? !parse_usb(d, error) :
            strcmp(type, "pci") == 0 ? !parse_pci(d, model, error) :
            strcmp(type, "scsi") == 0 ? !parse_scsi(d, model, error) :
                                        !parse_virtio_serial(d, model, error))
                return false;
        xml_set_attr_default(d->node, "index", "0");
        return true;
}

static DomusAddressType address(const DomusDevice *d)
{
        return d->controller.type == DOMUS_CONTROLLER_SCSI || d->controller.type == DOMUS_CONTROLLER_VIRTIO_SERIAL ? DOMUS_ADDRESS_PCI :
                                                                                                                     DOMUS_ADDRESS_NONE;
}

static char *alias(const DomusDevice *d, unsigned n)
{
        switch (d->controller.type) {
        case DOMUS_CONTROLLER_PCI:
                return g_strdup_printf("pci.%u", d->controller.index);
        case DOMUS_CONTROLLER_USB_NONE:
                return d->controller.index ? g_strdup_printf("usb%u", d->controller.index) : g_strdup("usb");
        case DOMUS_CONTROLLER_SCSI:
                return g_strdup_printf("scsi%u", d->controller.index);
        case DOMUS_CONTROLLER_VIRTIO_SERIAL:
                return g_strdup_printf("virtio-serial%u", d->controller.index);
        }
        return NULL;
}

static bool matches(const DomusDevice *d, const DomusDevice *wanted)
{
        return d->controller.type == wanted->controller.type && d->controller.index == wanted->controller.index;
}

const struct device_kind domain_controller_kind = { &rule, DOMUS_DEVICE_CONTROLLER, parse, address, alias, matches, NULL };

DomusDevice *domus_domain_def_controller(const DomusDomainDef *def, DomusControllerType type, unsigned index)
{
        DomusDevice *d;

        for (unsigned i = 0; (d = domus_domain_def_device(def, DOMUS_DEVICE_CONTROLLER, i)); i++)
                if (d->controller.type == type && d->controller.index == index)
                        return d;
        return NULL;
}
