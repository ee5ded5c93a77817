/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Values that documents of several kinds hold: names, uuids, texts, units. Private to src/model. */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/uuid.h"

/* As xml_text(), but NULL for an empty element, too (g_free). */
char *xml_text_or_null(const xmlNode *node);
/* UTF-8 without control characters but line breaks and tabs: what XML can hold, and what does no harm on a terminal. */
bool xml_is_text(const char *s);
/* The name of a domain or a network (what) is also that of the definition's file and of a log, so it has a file name's limits. */
bool xml_check_name(const char *what, const char *name, GError **error);
/* Reads root's <uuid>, or makes one up, and writes it into the document. */
bool xml_fill_uuid(xmlNode *root, uint8_t uuid[DOMUS_UUID_LEN], GError **error);
/* Bytes of a unit, 0 if there is no such: "b", "bytes"; K M G T P E alone or with "iB" are binary, with "B" decimal. In any case of letters, as in
 * libvirt (virScaleInteger). */
uint64_t xml_unit_bytes(const char *unit);
