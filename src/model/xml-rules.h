/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Tables of what a document may contain: everything else is refused by name. Rows stand in the order in which libvirt writes the elements. Private to
 * src/model. */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>

#include "model/error.h"

enum {
        XML_RULE_MANY = 1 << 0,   /* may be repeated */
        XML_RULE_TEXT = 1 << 1,   /* holds text */
        XML_RULE_OPAQUE = 1 << 2, /* anything inside, elements and attributes; somebody else looks at it */
};

/* values: the accepted ones, parted by '|'; NULL for any, where somebody else looks at it. */
struct xml_attr_rule {
        const char *name;
        const char *values;
};

struct xml_rule {
        const char *name;
        unsigned flags;
        const struct xml_attr_rule *attrs;
        const struct xml_rule *children;
        const char *text; /* accepted texts, like values */
};

#define XML_ATTRS (const struct xml_attr_rule[])

/* root is the element that the rule is for. Removes what only lays out the text (white space, comments) outside opaque elements. */
bool xml_rules_check(const struct xml_rule *rule, xmlNode *root, GError **error);
/* Puts the children of every element in the order of the rows. */
void xml_rules_sort(const struct xml_rule *rule, xmlNode *root);

G_GNUC_PRINTF(3, 4)
bool xml_fail(GError **error, DomusError code, const char *fmt, ...);
