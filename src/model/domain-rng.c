/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <rng> (formatdomain.html#random-number-generator-device). */

#include <string.h>

#include "model/domain-device-private.h"

static const struct element_rule rng_rules[] = {
        { "rate", 0, RULE_ATTRS{ { "bytes" }, { "period" }, {} } },
        { "backend", RULE_TEXT, RULE_ATTRS{ { "model", "random|builtin" }, {} } },
        RULE_ALIAS,
        RULE_PCI_ADDRESS,
        {},
};

static const struct element_rule rule = {
        "rng", RULE_MANY, RULE_ATTRS{ { "model", "virtio|virtio-non-transitional" }, {} }, rng_rules,
};

/* builtin: the host's generator, without a file of one's own choice. */
static bool parse_backend(DomusDevice *d, GError **error)
{
        xmlNode *backend = xml_child(d->node, "backend");
        g_autofree char *model = xml_attr(backend, "model");

        if (!model)
                return xml_fail(error, DOMUS_ERROR_XML, "missing RNG backend model (line %ld)", xmlGetLineNo(d->node));
        if (strcmp(model, "builtin") == 0) {
                d->rng.path = "/dev/urandom";
                return true;
        }
        d->rng.path = device_text(d, backend);
        if (!*d->rng.path) {
                xml_set_text(backend, "/dev/urandom");
                d->rng.path = "/dev/urandom";
        }
        if (!xml_value_listed("/dev/urandom|/dev/random|/dev/hwrng", d->rng.path))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "'%s' as the backend of <rng> is not supported, only /dev/urandom, /dev/random and /dev/hwrng",
                                d->rng.path);
        return true;
}

static bool parse(DomusDevice *d, GError **error)
{
        const xmlNode *rate = xml_child(d->node, "rate");

        d->rng.rate_period = 1000;
        if (!device_uint(rate, "bytes", INT64_MAX, &d->rng.rate_bytes, error) ||
            !device_uint32(rate, "period", 3600000, &d->rng.rate_period, error))
                return false;
        if (rate && (!d->rng.rate_bytes || !d->rng.rate_period))
                return xml_fail(error, DOMUS_ERROR_XML, "invalid RNG rate: bytes and period must not be 0");
        return device_require(d, d->node, "rng", "model", error) && parse_backend(d, error);
}

static char *alias(const DomusDevice *d, unsigned n)
{
        return g_strdup_printf("rng%u", n);
}

static bool matches(const DomusDevice *d, const DomusDevice *wanted)
{
        if (wanted->address.type && wanted->address.slot != d->address.slot)
                return false;
        return strcmp(d->rng.path, wanted->rng.path) == 0 && d->rng.rate_bytes == wanted->rng.rate_bytes &&
               (!d->rng.rate_bytes || d->rng.rate_period == wanted->rng.rate_period);
}

const struct device_kind domain_rng_kind = { &rule, DOMUS_DEVICE_RNG, parse, device_address_pci, alias, matches, NULL };
