/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the documents of pools and volumes have in common: sizes, names, permissions. Private to src/model. */

#include "model/volume-def.h"
#include "model/xml-dom.h"
#include "model/xml-rules.h"

/* Text of the element at the path below node, stripped; NULL if it is not there or empty. */
char *storage_text(const xmlNode *node, const char *path);
xmlNode *storage_node(const xmlNode *node, const char *path);
/* The name is one of a file, too. what: "pool", "volume". */
bool storage_check_name(const char *what, const char *name, GError **error);
/* An element with a number of bytes and an optional attribute unit (formatstorage.html). */
bool storage_parse_size(const xmlNode *node, uint64_t *ret, GError **error);
/* The row of <permissions> for a table of xml_rules. */
extern const struct element_rule storage_permission_rules[];
#define STORAGE_PERMISSIONS_RULE { "permissions", 0, NULL, storage_permission_rules }
/* <permissions>; node may be NULL. */
bool storage_parse_permissions(const xmlNode *node, DomusPermissions *ret, GError **error);
void storage_append_permissions(GString *out, const DomusPermissions *p, unsigned indent);
void storage_append_size(GString *out, const char *name, uint64_t bytes);
