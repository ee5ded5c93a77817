/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What an element of the domain XML may contain: tables that domain_rules_check() reads. Private to src/model. */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>

enum {
        RULE_MANY = 1 << 0,    /* may be repeated */
        RULE_TEXT = 1 << 1,    /* holds text */
        RULE_OPAQUE = 1 << 2,  /* anything inside */
        RULE_DEVICES = 1 << 3, /* its children's rules are those of the device kinds, domain_device_rule() */
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
        const char *text; /* accepted texts, like values */
};

#define RULE_ATTRS (const struct attr_rule[])
#define RULE_CHILDREN (const struct element_rule[])

/* What most devices have at their end. */
#define RULE_ALIAS { "alias", 0, RULE_ATTRS{ { "name" }, {} } }
#define RULE_BOOT { "boot", 0, RULE_ATTRS{ { "order" }, {} } }
#define RULE_PCI_ADDRESS \
        { "address", 0, RULE_ATTRS{ { "type", "pci" }, { "domain" }, { "bus" }, { "slot" }, { "function" }, { "multifunction", "off" }, {} } }

/* The i-th device kind's rule, NULL behind the last. */
const struct element_rule *domain_device_rule(unsigned i);

/* Every element, attribute and value in node, which must be rule's element. */
bool domain_rules_check_element(const struct element_rule *rule, xmlNode *node, GError **error);
