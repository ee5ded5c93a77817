/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/bandwidth.h"

#include <stddef.h>
#include <string.h>

#include "model/error.h"
#include "model/xml-dom.h"

static const struct {
        const char *name;
        size_t offset;
} values[] = {
        { "average", offsetof(DomusBandwidthRate, average) },
        { "peak", offsetof(DomusBandwidthRate, peak) },
        { "floor", offsetof(DomusBandwidthRate, floor) },
        { "burst", offsetof(DomusBandwidthRate, burst) },
};

static uint64_t *value_of(DomusBandwidthRate *rate, unsigned i)
{
        return (uint64_t *)((char *)rate + values[i].offset);
}

static bool fail(GError **error, DomusError code, const char *message)
{
        g_set_error_literal(error, DOMUS_ERROR, code, message);
        return false;
}

bool domus_bandwidth_is_empty(const DomusBandwidth *b)
{
        return !b || (!b->inbound.average && !b->inbound.floor && !b->outbound.average);
}

bool domus_bandwidth_equal(const DomusBandwidth *a, const DomusBandwidth *b)
{
        return memcmp(a, b, sizeof(*a)) == 0; /* numbers only, without gaps */
}

static bool check_rate(const DomusBandwidthRate *r, const char *direction, GError **error)
{
        if (r->average || (!r->peak && !r->burst))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "'peak' and 'burst' of <%s> require 'average' attribute", direction);
        return false;
}

bool domus_bandwidth_check(const DomusBandwidth *b, bool allow_floor, GError **error)
{
        if (b->outbound.floor)
                return fail(error, DOMUS_ERROR_XML, "attribute 'floor' is not allowed in <outbound>");
        if (b->inbound.floor && !allow_floor)
                return fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "attribute 'floor' of element <inbound> is supported for interfaces only");
        return check_rate(&b->inbound, "inbound", error) && check_rate(&b->outbound, "outbound", error);
}

static bool parse_attr(const xmlNode *node, const xmlAttr *attr, DomusBandwidthRate *rate, GError **error)
{
        for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
                g_autofree char *text = NULL;

                if (strcmp(values[i].name, (const char *)attr->name) != 0)
                        continue;
                text = xml_attr(node, values[i].name);
                if (xml_parse_uint(text, DOMUS_BANDWIDTH_MAX, value_of(rate, i)))
                        return true;
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "could not convert bandwidth %s value '%s' of <%s>", values[i].name, text,
                        node->name);
                return false;
        }
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "attribute '%s' of element <%s> (line %ld) is not supported",
                attr->name, node->name, xmlGetLineNo(node));
        return false;
}

static bool parse_rate(const xmlNode *node, DomusBandwidthRate *rate, GError **error)
{
        for (const xmlAttr *a = node->properties; a; a = a->next)
                if (!parse_attr(node, a, rate, error))
                        return false;
        if (rate->average || rate->floor || !node->properties)
                return true;
        /* virsh domiftune says so to take a limit away */
        return check_rate(rate, (const char *)node->name, error);
}

static bool parse_child(const xmlNode *node, DomusBandwidth *b, unsigned *seen, GError **error)
{
        bool in = xml_is(node, "inbound");

        if (!in && !xml_is(node, "outbound")) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <%s> in <bandwidth> (line %ld) is not supported",
                        node->name, xmlGetLineNo(node));
                return false;
        }
        if (*seen & 1U << in) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "element <%s> in <bandwidth> is given twice (line %ld)", node->name,
                        xmlGetLineNo(node));
                return false;
        }
        *seen |= 1U << in;
        return parse_rate(node, in ? &b->inbound : &b->outbound, error);
}

bool domus_bandwidth_parse(const xmlNode *node, bool allow_floor, DomusBandwidth *ret, GError **error)
{
        unsigned seen = 0;

        *ret = (DomusBandwidth){ 0 };
        for (xmlNode *c = xml_first_element(node); c; c = xml_next_element(c))
                if (!parse_child(c, ret, &seen, error))
                        return false;
        return domus_bandwidth_check(ret, allow_floor, error);
}

static void put_rate(const DomusBandwidthRate *rate, const char *name, xmlNode *parent)
{
        DomusBandwidthRate copy = *rate;
        xmlNode *node;

        if (!rate->average && !rate->floor)
                return;
        node = xmlNewTextChild(parent, NULL, (const xmlChar *)name, NULL);
        for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
                g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, *value_of(&copy, i));

                if (*value_of(&copy, i))
                        xml_set_attr(node, values[i].name, text);
        }
}

xmlNode *domus_bandwidth_put(const DomusBandwidth *b, xmlNode *parent)
{
        xmlNode *node;

        if (domus_bandwidth_is_empty(b))
                return NULL;
        node = xmlNewTextChild(parent, NULL, (const xmlChar *)"bandwidth", NULL);
        put_rate(&b->inbound, "inbound", node);
        put_rate(&b->outbound, "outbound", node);
        return node;
}
