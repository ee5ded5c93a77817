/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define DOMUS_UUID_LEN 16
#define DOMUS_UUID_STRING_LEN 37

bool domus_uuid_parse(const char *s, uint8_t uuid[DOMUS_UUID_LEN]); /* with or without dashes */
void domus_uuid_format(const uint8_t uuid[DOMUS_UUID_LEN], char s[DOMUS_UUID_STRING_LEN]);
void domus_uuid_generate(uint8_t uuid[DOMUS_UUID_LEN]);
/* Of keys of a GHashTable that are uuids. */
guint domus_uuid_hash(gconstpointer uuid);
gboolean domus_uuid_equal(gconstpointer a, gconstpointer b);
