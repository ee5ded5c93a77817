/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Rows that the tables of devices share. Private to src/model. */

#include "model/xml-rules.h"

/* What most devices have at their end. */
#define RULE_ALIAS { "alias", 0, RULE_ATTRS{ { "name" }, {} } }
#define RULE_BOOT { "boot", 0, RULE_ATTRS{ { "order" }, {} } }
#define RULE_PCI_ADDRESS \
        { "address", 0, RULE_ATTRS{ { "type", "pci" }, { "domain" }, { "bus" }, { "slot" }, { "function" }, { "multifunction", "off" }, {} } }

/* The i-th device kind's rule, NULL behind the last. */
const struct element_rule *domain_device_rule(unsigned i);
