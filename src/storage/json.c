/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/json.h"

#include "storage/backend.h"

JsonNode *storage_json_parse(const char *program, const char *text, GError **error)
{
        g_autoptr(GError) local = NULL;
        JsonNode *root = json_from_string(text, &local);

        if (root && JSON_NODE_HOLDS_OBJECT(root))
                return root;
        storage_fail(error, DOMUS_ERROR_INTERNAL, "cannot understand what %s says: %s", program, local ? local->message : "no object");
        g_clear_pointer(&root, json_node_unref);
        return NULL;
}

JsonObject *storage_json_object(JsonObject *o, const char *name)
{
        JsonNode *n = o ? json_object_get_member(o, name) : NULL;

        return n && JSON_NODE_HOLDS_OBJECT(n) ? json_node_get_object(n) : NULL;
}

JsonArray *storage_json_array(JsonObject *o, const char *name)
{
        JsonNode *n = o ? json_object_get_member(o, name) : NULL;

        return n && JSON_NODE_HOLDS_ARRAY(n) ? json_node_get_array(n) : NULL;
}

const char *storage_json_string(JsonObject *o, const char *name)
{
        JsonNode *n = o ? json_object_get_member(o, name) : NULL;

        return n && JSON_NODE_HOLDS_VALUE(n) && json_node_get_value_type(n) == G_TYPE_STRING ? json_node_get_string(n) : NULL;
}

uint64_t storage_json_number(JsonObject *o, const char *name)
{
        JsonNode *n = o ? json_object_get_member(o, name) : NULL;
        const char *text = storage_json_string(o, name);
        gint64 v;

        if (text)
                return g_ascii_strtoull(text, NULL, 10);
        v = n && JSON_NODE_HOLDS_VALUE(n) && json_node_get_value_type(n) == G_TYPE_INT64 ? json_node_get_int(n) : 0;
        return v > 0 ? (uint64_t)v : 0;
}

JsonObject *storage_json_element(JsonArray *a, unsigned i)
{
        JsonNode *n = json_array_get_element(a, i);

        return JSON_NODE_HOLDS_OBJECT(n) ? json_node_get_object(n) : NULL;
}

JsonArray *storage_json_report(const char *program, JsonNode *root, const char *name, GError **error)
{
        JsonArray *reports = storage_json_array(json_node_get_object(root), "report");
        JsonObject *first = reports && json_array_get_length(reports) ? storage_json_element(reports, 0) : NULL;
        JsonArray *ret = storage_json_array(first, name);

        if (!ret)
                storage_fail(error, DOMUS_ERROR_INTERNAL, "%s gives no list '%s'", program, name);
        return ret;
}
