/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What programs say in JSON. Errors name the program: a member that is missing is one. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The root object; NULL on error. */
JsonNode *storage_json_parse(const char *program, const char *text, GError **error);
/* Members of an object, NULL or 0 if they are not there; numbers may be strings of decimal digits, as LVM writes them. Borrowed. */
JsonObject *storage_json_object(JsonObject *o, const char *name);
JsonArray *storage_json_array(JsonObject *o, const char *name);
const char *storage_json_string(JsonObject *o, const char *name);
uint64_t storage_json_number(JsonObject *o, const char *name);
/* Element i, NULL if it is no object. */
JsonObject *storage_json_element(JsonArray *a, unsigned i);
/* report[0].NAME of LVM's tools; NULL with an error. */
JsonArray *storage_json_report(const char *program, JsonNode *root, const char *name, GError **error);
