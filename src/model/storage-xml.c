/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/storage-xml.h"

#include <string.h>

#include "model/xml-values.h"

#define NAME_MAX_BYTES 240

/* --- Pieces --- */

xmlNode *storage_node(const xmlNode *node, const char *path)
{
        g_auto(GStrv) names = g_strsplit(path, "/", -1);

        for (char **n = names; *n && node; n++)
                node = xml_child(node, *n);
        return (xmlNode *)node;
}

char *storage_text(const xmlNode *node, const char *path)
{
        char *text = xml_text(storage_node(node, path));

        if (text && !*g_strstrip(text))
                g_clear_pointer(&text, g_free);
        return text;
}

bool storage_check_name(const char *what, const char *name, GError **error)
{
        const char *problem = NULL;

        if (!name || !*name)
                return xml_fail(error, DOMUS_ERROR_XML, "the storage %s has no name", what);
        if (strchr(name, '/'))
                problem = "cannot contain '/'";
        else if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                problem = "cannot be a file's name";
        else if (strlen(name) > NAME_MAX_BYTES)
                problem = "is longer than 240 bytes";
        for (const char *p = name; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 127)
                        problem = "contains a control character";
        return !problem || xml_fail(error, DOMUS_ERROR_XML, "the storage %s name '%s' %s", what, name, problem);
}

bool storage_parse_size(const xmlNode *node, uint64_t *ret, GError **error)
{
        g_autofree char *text = xml_text(node), *unit = xml_attr(node, "unit");
        uint64_t scale = unit ? xml_unit_bytes(unit) : 1, n;

        if (!scale)
                return xml_fail(error, DOMUS_ERROR_XML, "unknown unit '%s' of element <%s>", unit, node->name);
        if (!xml_parse_uint(text, UINT64_MAX, &n))
                return xml_fail(error, DOMUS_ERROR_XML, "value '%s' of element <%s> is no size", text, node->name);
        if (n > (uint64_t)INT64_MAX / scale)
                return xml_fail(error, DOMUS_ERROR_XML, "value '%s' of element <%s> is too large", text, node->name);
        *ret = n * scale;
        return true;
}

const struct element_rule storage_permission_rules[] = {
        { "mode", RULE_TEXT }, { "owner", RULE_TEXT }, { "group", RULE_TEXT }, { "label", RULE_TEXT }, {}
};

static bool parse_id(const xmlNode *node, const char *name, int64_t *ret, GError **error)
{
        g_autofree char *text = storage_text(node, name);
        uint64_t n;

        *ret = -1;
        if (!text || strcmp(text, "-1") == 0)
                return true;
        if (!xml_parse_uint(text, UINT32_MAX - 1, &n))
                return xml_fail(error, DOMUS_ERROR_XML, "value '%s' of element <%s> is no id", text, name);
        *ret = (int64_t)n;
        return true;
}

bool storage_parse_permissions(const xmlNode *node, DomusPermissions *ret, GError **error)
{
        g_autofree char *mode = storage_text(node, "mode");
        guint64 m;

        ret->mode = -1;
        if (mode && (!g_ascii_string_to_unsigned(mode, 8, 0, 07777, &m, NULL)))
                return xml_fail(error, DOMUS_ERROR_XML, "malformed octal mode '%s'", mode);
        if (mode)
                ret->mode = (int)m;
        return parse_id(node, "owner", &ret->uid, error) && parse_id(node, "group", &ret->gid, error);
}

void storage_append_size(GString *out, const char *name, uint64_t bytes)
{
        g_string_append_printf(out, "  <%s unit='bytes'>%" G_GUINT64_FORMAT "</%s>\n", name, bytes, name);
}

void storage_append_permissions(GString *out, const DomusPermissions *p, unsigned indent)
{
        g_autofree char *space = g_strnfill(indent, ' ');

        if (p->mode < 0 && p->uid < 0 && p->gid < 0)
                return;
        g_string_append_printf(out, "%s<permissions>\n", space);
        if (p->mode >= 0)
                g_string_append_printf(out, "%s  <mode>0%o</mode>\n", space, (unsigned)p->mode);
        if (p->uid >= 0)
                g_string_append_printf(out, "%s  <owner>%" G_GINT64_FORMAT "</owner>\n", space, p->uid);
        if (p->gid >= 0)
                g_string_append_printf(out, "%s  <group>%" G_GINT64_FORMAT "</group>\n", space, p->gid);
        g_string_append_printf(out, "%s</permissions>\n", space);
}
