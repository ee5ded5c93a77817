/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/capabilities.h"
#include "model/xml-dom.h"

struct entry {
        const char *name, *value;
};

/* Nothing if none of the entries is known. */
static void format_block(GString *out, const char *block, const struct entry *entries, unsigned n)
{
        bool open = false;

        for (unsigned i = 0; i < n; i++) {
                if (!entries[i].value)
                        continue;
                if (!open)
                        xml_append(out, "  <%s>\n", block);
                open = true;
                xml_append(out, "    <entry name='%s'>%s</entry>\n", entries[i].name, entries[i].value);
        }
        if (open)
                xml_append(out, "  </%s>\n", block);
}

char *domus_sysinfo_format(const DomusSysinfo *info)
{
        const struct entry bios[] = {
                { "vendor", info->bios_vendor },
                { "version", info->bios_version },
                { "date", info->bios_date },
        };
        const struct entry system[] = {
                { "manufacturer", info->system_manufacturer },
                { "product", info->system_product },
                { "version", info->system_version },
                { "serial", info->system_serial },
                { "uuid", info->system_uuid },
                { "family", info->system_family },
        };
        GString *out = g_string_new("<sysinfo type='smbios'>\n");

        format_block(out, "bios", bios, G_N_ELEMENTS(bios));
        format_block(out, "system", system, G_N_ELEMENTS(system));
        g_string_append(out, "</sysinfo>\n");
        return g_string_free(out, FALSE);
}

void domus_sysinfo_clear(DomusSysinfo *info)
{
        char **const strings[] = { &info->bios_vendor, &info->bios_version, &info->bios_date, &info->system_manufacturer,
                                   &info->system_product, &info->system_version, &info->system_serial, &info->system_uuid,
                                   &info->system_family };

        for (unsigned i = 0; i < G_N_ELEMENTS(strings); i++)
                g_clear_pointer(strings[i], g_free);
}
