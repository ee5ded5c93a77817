/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/xml-values.h"

#include <string.h>

#include "model/uuid.h"
#include "model/xml-dom.h"
#include "model/xml-rules.h"

#define NAME_MAX_BYTES 240

char *xml_text_or_null(const xmlNode *node)
{
        char *text = xml_text(node);

        if (text && !*text)
                g_clear_pointer(&text, g_free);
        return text;
}

bool xml_is_text(const char *s)
{
        if (!g_utf8_validate(s, -1, NULL))
                return false;
        for (const char *p = s; *p; p = g_utf8_next_char(p)) {
                gunichar c = g_utf8_get_char(p);

                if ((g_unichar_iscntrl(c) && !strchr("\n\r\t", (int)c)) || c == 0xfffe || c == 0xffff)
                        return false;
        }
        return true;
}

bool xml_check_name(const char *what, const char *name, GError **error)
{
        if (!*name)
                return xml_fail(error, DOMUS_ERROR_XML, "%s name must not be empty", what);
        if (strchr(name, '/'))
                return xml_fail(error, DOMUS_ERROR_XML, "name %s cannot contain '/'", name);
        if (strpbrk(name, "\n\r\t"))
                return xml_fail(error, DOMUS_ERROR_XML, "%s name must not contain line breaks or tabs", what);
        if (!xml_is_text(name))
                return xml_fail(error, DOMUS_ERROR_XML, "%s name must not contain control characters", what);
        if (strspn(name, " ") == strlen(name))
                return xml_fail(error, DOMUS_ERROR_XML, "name must contain at least one character other than a space");
        if (strlen(name) > NAME_MAX_BYTES)
                return xml_fail(error, DOMUS_ERROR_XML, "name is longer than %d bytes", NAME_MAX_BYTES);
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return xml_fail(error, DOMUS_ERROR_XML, "name must not be '%s'", name);
        return true;
}

bool xml_fill_uuid(xmlNode *root, uint8_t uuid[DOMUS_UUID_LEN], GError **error)
{
        g_autofree char *text = xml_text(xml_child(root, "uuid"));
        char s[DOMUS_UUID_STRING_LEN];

        if (!text)
                domus_uuid_generate(uuid);
        else if (!domus_uuid_parse(text, uuid))
                return xml_fail(error, DOMUS_ERROR_XML, "malformed uuid element");
        domus_uuid_format(uuid, s);
        xml_set_text(xml_ensure_child(root, "uuid"), s);
        return true;
}

uint64_t xml_unit_bytes(const char *unit)
{
        static const char prefixes[] = "KMGTPE";
        const char *prefix;
        uint64_t base, bytes = 1;

        if (g_ascii_strcasecmp(unit, "b") == 0 || g_ascii_strcasecmp(unit, "bytes") == 0)
                return 1;
        prefix = *unit ? strchr(prefixes, g_ascii_toupper(*unit)) : NULL;
        if (!prefix)
                return 0;
        if (!unit[1] || g_ascii_strcasecmp(unit + 1, "ib") == 0)
                base = 1024;
        else if (g_ascii_strcasecmp(unit + 1, "b") == 0)
                base = 1000;
        else
                return 0;
        for (const char *p = prefixes; p <= prefix; p++)
                bytes *= base;
        return bytes;
}
