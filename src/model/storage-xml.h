/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the documents of pools and volumes have in common: which elements there may be, sizes, permissions. Private to src/model. */

#include "model/error.h"
#include "model/volume-def.h"
#include "model/xml-dom.h"

enum {
        RULE_TEXT = 1 << 0,   /* holds text */
        RULE_MANY = 1 << 1,   /* may be repeated */
        RULE_OPAQUE = 1 << 2, /* anything inside */
};

/* path: names from below the root, parted by '/'; attrs: names parted by '|', NULL for none. The table ends with a NULL path; the first row
 * has path "" and stands for the root. */
struct storage_rule {
        const char *path;
        unsigned flags;
        const char *attrs;
};

/* Everything below root must have a row; CONFIG_UNSUPPORTED names what has none. */
bool storage_rules_check(const struct storage_rule *rules, const xmlNode *root, GError **error);
/* Against schema (a file name below libvirt's schemas), where that is installed: XML_INVALID. */
bool storage_schema_check(xmlDoc *doc, const char *schema, GError **error);

/* Text of the element at the path below node, stripped; NULL if it is not there or empty. */
char *storage_text(const xmlNode *node, const char *path);
xmlNode *storage_node(const xmlNode *node, const char *path);
/* The name is one of a file, too. what: "pool", "volume". */
bool storage_check_name(const char *what, const char *name, GError **error);
/* An element with a number of bytes and an optional attribute unit (formatstorage.html). */
bool storage_parse_size(const xmlNode *node, uint64_t *ret, GError **error);
/* <permissions>; node may be NULL. */
bool storage_parse_permissions(const xmlNode *node, DomusPermissions *ret, GError **error);
void storage_append_permissions(GString *out, const DomusPermissions *p, unsigned indent);
void storage_append_size(GString *out, const char *name, uint64_t bytes);

G_GNUC_PRINTF(3, 4)
bool storage_xml_fail(GError **error, DomusError code, const char *fmt, ...);
