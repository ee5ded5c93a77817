/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Reading users' XML safely, and small steps in a libxml2 tree. Private to src/model. Elements are matched by local name and must have no
 * namespace; strings returned are the caller's (g_free). */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#define XML_MAX_BYTES (4u << 20)

/* Parses a document of at most XML_MAX_BYTES. No network, no external files; a document type declaration is refused, so that entities
 * cannot be defined. Errors are DOMUS_ERROR_XML, with what (a word like "domain_definition"), line and the offending text. */
xmlDoc *xml_parse(const char *xml, const char *what, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

bool xml_is(const xmlNode *node, const char *name);
/* First child element of that name, or NULL; the next sibling element of that name. parent may be NULL. */
xmlNode *xml_child(const xmlNode *parent, const char *name);
xmlNode *xml_next(const xmlNode *node, const char *name);
xmlNode *xml_first_element(const xmlNode *parent);
xmlNode *xml_next_element(const xmlNode *node);
unsigned xml_count(const xmlNode *parent, const char *name);
/* The child of that name, appended if there is none. */
xmlNode *xml_ensure_child(xmlNode *parent, const char *name);
void xml_remove(xmlNode *node);

/* Text of an element, "" if empty; NULL if node is NULL. */
char *xml_text(const xmlNode *node);
void xml_set_text(xmlNode *node, const char *text);
/* NULL if the attribute, or node, is absent. */
char *xml_attr(const xmlNode *node, const char *name);
void xml_set_attr(xmlNode *node, const char *name, const char *value);
void xml_set_attr_default(xmlNode *node, const char *name, const char *value);

/* Whole text is a decimal number, white space around it allowed. */
bool xml_parse_uint(const char *text, uint64_t max, uint64_t *ret);

/* Appends text escaped for element content or for a value in single quotes. */
void xml_append_escaped(GString *out, const char *text, bool attribute);
/* printf into out; every %s argument is escaped. */
void xml_append(GString *out, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
