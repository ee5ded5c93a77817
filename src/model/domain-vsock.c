/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <vsock> (formatdomain.html#vsock). */

#include "model/domain-device-private.h"

static const struct element_rule vsock_rules[] = {
        { "cid", 0, RULE_ATTRS{ { "auto", "yes|no" }, { "address" }, {} } },
        RULE_ALIAS,
        RULE_PCI_ADDRESS,
        {},
};

static const struct element_rule rule = {
        "vsock", 0, RULE_ATTRS{ { "model", "virtio|virtio-non-transitional" }, {} }, vsock_rules,
};

static bool parse(DomusDevice *d, GError **error)
{
        xmlNode *cid = xml_ensure_child(d->node, "cid");

        xml_set_attr_default(d->node, "model", "virtio");
        if (!device_uint32(cid, "address", UINT32_MAX - 1, &d->vsock.cid, error))
                return false;
        if (!d->vsock.cid)
                xml_set_attr_default(cid, "auto", "yes");
        d->vsock.auto_cid = device_bool(cid, "auto", false);
        if (d->vsock.cid ? d->vsock.cid < 3 : !d->vsock.auto_cid)
                return xml_fail(error, DOMUS_ERROR_XML, "guest CIDs must be >= 3");
        return true;
}

static char *alias(const DomusDevice *d, unsigned n)
{
        return g_strdup_printf("vsock%u", n);
}

static bool matches(const DomusDevice *d, const DomusDevice *wanted)
{
        return !wanted->vsock.cid || wanted->vsock.cid == d->vsock.cid;
}

static void drop_live(xmlNode *node)
{
        xmlNode *cid = xml_child(node, "cid");

        if (device_bool(cid, "auto", false))
                xmlUnsetProp(cid, (const xmlChar *)"address");
}

const struct device_kind domain_vsock_kind = { &rule, DOMUS_DEVICE_VSOCK, parse, device_address_pci, alias, matches, drop_live };

void domus_domain_def_set_cid(DomusDomainDef *def, DomusDevice *d, uint32_t cid)
{
        g_autofree char *text = g_strdup_printf("%u", cid);

        xml_set_attr(xml_ensure_child(d->node, "cid"), "address", text);
        domain_devices_reload(def);
}
