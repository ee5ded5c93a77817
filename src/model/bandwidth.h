/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* <bandwidth> of networks, portgroups, network ports and interfaces (formatnetwork.html, "Quality of service"). Directions are the guests':
 * inbound is what they receive. */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#define DOMUS_BANDWIDTH_MAX (UINT64_C(1) << 40) /* of every value */

typedef struct {
        uint64_t average; /* KiB/s; 0: no limit in this direction */
        uint64_t peak;    /* KiB/s; 0: as average. Without effect on outbound traffic, which is policed, not shaped */
        uint64_t burst;   /* KiB that may go at peak rate; 0: chosen by us */
        uint64_t floor;   /* KiB/s that are guaranteed; inbound of interfaces only; 0: none */
} DomusBandwidthRate;

typedef struct {
        DomusBandwidthRate inbound, outbound;
} DomusBandwidth;

/* No limits and no guarantees. NULL is fine. */
bool domus_bandwidth_is_empty(const DomusBandwidth *b);
bool domus_bandwidth_equal(const DomusBandwidth *a, const DomusBandwidth *b);

/* What the values must fulfil: peak and burst need an average, floor is for inbound of an interface only. DOMUS_ERROR_XML, CONFIG_UNSUPPORTED. */
bool domus_bandwidth_check(const DomusBandwidth *b, bool allow_floor, GError **error);

/* node: the <bandwidth> element, or NULL for none at all. Unknown elements and attributes are refused by name. */
bool domus_bandwidth_parse(const xmlNode *node, bool allow_floor, DomusBandwidth *ret, GError **error);
/* Appends a <bandwidth> element to parent, unless b is empty. The new element, or NULL. */
xmlNode *domus_bandwidth_put(const DomusBandwidth *b, xmlNode *parent);
