/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Tables of what a document may contain: everything else is refused by name. Private to src/model. */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>

#include "model/error.h"

enum {
        RULE_MANY = 1 << 0,      /* may be repeated */
        RULE_TEXT = 1 << 1,      /* holds text */
        RULE_OPAQUE = 1 << 2,    /* anything inside; somebody else looks at it */
        RULE_ANY_ATTRS = 1 << 3, /* the same of its attributes */
};

/* values: the accepted ones, parted by '|'; NULL for any, where the code that reads it looks at it. */
struct attr_rule {
        const char *name;
        const char *values;
};

/* Rows of children stand in the order in which libvirt writes them. */
struct element_rule {
        const char *name;
        unsigned flags;
        const struct attr_rule *attrs;
        const struct element_rule *children;
        const char *text;                                /* accepted texts, like values */
        const struct element_rule *(*child)(unsigned i); /* instead of children: the i-th row, NULL behind the last */
};

#define RULE_ATTRS (const struct attr_rule[])
#define RULE_CHILDREN (const struct element_rule[])

/* root is the element that the rule is for. Removes what only lays out the text (white space, comments) outside opaque elements. */
bool xml_rules_check(const struct element_rule *rule, xmlNode *root, GError **error);
/* Puts the children of every element in the order of the rows. */
void xml_rules_sort(const struct element_rule *rule, xmlNode *root);

/* values: "a|b"; NULL lists everything. */
bool xml_value_listed(const char *values, const char *value);

/* Against schema (a file name below libvirt's schemas), where that is installed: XML_INVALID. The tables are stricter than the schemas anyway. */
bool xml_schema_check(xmlDoc *doc, const char *schema, GError **error);

G_GNUC_PRINTF(3, 4)
bool xml_fail(GError **error, DomusError code, const char *fmt, ...);
