/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <sysinfo type='smbios'> and <os><smbios/></os>: what the machine's SMBIOS tables say. */

#include <string.h>

#include "model/domain-def-private.h"

/* Together; what the tables have room for, less what is always there. */
#define BYTES_MAX 3072

static const struct {
        const char *block, *entries; /* parted by '|' */
} blocks[] = {
        { "bios", "vendor|version|date" },
        { "system", "manufacturer|product|version|serial|uuid|sku|family" },
        { "baseBoard", "manufacturer|product|version|serial|asset|location" },
        { "chassis", "manufacturer|version|serial|asset|sku" },
};

static bool check_uuid(const DomusDomainDef *def, const char *text, GError **error)
{
        uint8_t uuid[DOMUS_UUID_LEN];

        if (!domus_uuid_parse(text, uuid))
                return xml_fail(error, DOMUS_ERROR_XML, "malformed <sysinfo> uuid element");
        return memcmp(uuid, def->uuid, sizeof(uuid)) == 0 ||
               xml_fail(error, DOMUS_ERROR_XML, "UUID mismatch between <uuid> and <sysinfo>");
}

static bool is_plain(const char *text)
{
        for (const char *p = text; *p; p++)
                if (*p < ' ' || *p > '~')
                        return false;
        return true;
}

static bool add_entry(GPtrArray *list, char *name, const char *value, GError **error)
{
        g_ptr_array_add(list, name);
        g_ptr_array_add(list, g_strdup(value));
        return is_plain(value) || xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "entry '%s' of <sysinfo> may have ASCII characters only", name);
}

static bool read_entry(const DomusDomainDef *def, unsigned block, const xmlNode *entry, GPtrArray *list, GError **error)
{
        g_autofree char *name = xml_attr(entry, "name"), *value = xml_text(entry);

        if (!name || !xml_value_listed(blocks[block].entries, name))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "entry '%s' in <%s> of <sysinfo> is not supported, only %s", name ? name : "",
                                blocks[block].block, blocks[block].entries);
        if (strcmp(name, "uuid") == 0)
                return check_uuid(def, value, error);
        return add_entry(list, g_strdup_printf("%s.%s", blocks[block].block, name), value, error);
}

static bool read_blocks(const DomusDomainDef *def, const xmlNode *sysinfo, GPtrArray *list, GError **error)
{
        for (unsigned i = 0; i < G_N_ELEMENTS(blocks); i++)
                for (xmlNode *e = xml_child(xml_child(sysinfo, blocks[i].block), "entry"); e; e = xml_next(e, "entry"))
                        if (!read_entry(def, i, e, list, error))
                                return false;
        for (xmlNode *e = xml_child(xml_child(sysinfo, "oemStrings"), "entry"); e; e = xml_next(e, "entry")) {
                g_autofree char *value = xml_text(e);

                if (!add_entry(list, g_strdup("oem"), value, error))
                        return false;
        }
        return true;
}

static bool check_size(const GPtrArray *list, GError **error)
{
        size_t n = 0;

        for (unsigned i = 1; i < list->len; i += 2)
                n += strlen(list->pdata[i]) + 1;
        return n <= BYTES_MAX ||
               xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "the entries of <sysinfo> have more than %u bytes", BYTES_MAX);
}

bool domain_fill_sysinfo(DomusDomainDef *def, GError **error)
{
        const xmlNode *root = xmlDocGetRootElement(def->doc), *sysinfo = xml_child(root, "sysinfo");
        g_autofree char *mode = xml_attr(xml_child(xml_child(root, "os"), "smbios"), "mode");
        bool wanted = g_strcmp0(mode, "sysinfo") == 0;
        g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);

        if (wanted != (sysinfo != NULL))
                return xml_fail(error, DOMUS_ERROR_XML, wanted ? "Domain '%s' sysinfo are not available" :
                                                                 "<sysinfo> of domain '%s' needs <smbios mode='sysinfo'/> in <os>", def->name);
        if (!read_blocks(def, sysinfo, list, error) || !check_size(list, error))
                return false;
        g_ptr_array_add(list, NULL);
        def->smbios = (char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
        return true;
}
