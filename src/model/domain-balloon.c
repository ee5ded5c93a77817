/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <memballoon> (formatdomain.html#memory-balloon-device). */

#include <string.h>

#include "model/domain-device-private.h"

static const struct element_rule balloon_rules[] = {
        RULE_ALIAS,
        { "stats", 0, RULE_ATTRS{ { "period" }, {} } },
        RULE_PCI_ADDRESS,
        {},
};

static const struct element_rule rule = {
        "memballoon", 0,
        RULE_ATTRS{ { "model", "virtio|virtio-non-transitional|none" }, { "autodeflate", "on|off" }, { "freePageReporting", "on|off" }, {} },
        balloon_rules,
};

static bool parse(DomusDevice *d, GError **error)
{
        if (!device_require(d, d->node, "memballoon", "model", error))
                return false;
        d->balloon.model = device_attr(d, d->node, "model");
        d->balloon.deflate_on_oom = device_bool(d->node, "autodeflate", false);
        d->balloon.free_page_reporting = device_bool(d->node, "freePageReporting", false);
        if (strcmp(d->balloon.model, "none") == 0)
                d->kind = DOMUS_DEVICE_NONE;
        return device_uint32(xml_child(d->node, "stats"), "period", 86400, &d->balloon.stats_period, error);
}

static char *alias(const DomusDevice *d, unsigned n)
{
        return g_strdup_printf("balloon%u", n);
}

static bool matches(const DomusDevice *d, const DomusDevice *wanted)
{
        return true;
}

const struct device_kind domain_balloon_kind = { &rule, DOMUS_DEVICE_BALLOON, parse, device_address_pci, alias, matches, NULL };

DomusDevice *domus_domain_def_balloon(const DomusDomainDef *def)
{
        return domus_domain_def_device(def, DOMUS_DEVICE_BALLOON, 0);
}

void domus_domain_def_set_stats_period(DomusDomainDef *def, unsigned seconds)
{
        DomusDevice *d = domus_domain_def_balloon(def);
        g_autofree char *text = g_strdup_printf("%u", seconds);

        if (!d)
                return;
        if (seconds)
                xml_set_attr(xml_ensure_child(d->node, "stats"), "period", text);
        else
                xml_remove(xml_child(d->node, "stats"));
        domain_rules_sort(xmlDocGetRootElement(def->doc));
        domain_devices_reload(def);
}
