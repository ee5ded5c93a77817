/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"
#include "model/domain-device-private.h"

static bool fill(DomusDomainDef *def, unsigned flags, GError **error)
{
        xmlNode *root = xmlDocGetRootElement(def->doc);

        if (!domain_rules_check(root, error))
                return false;
        if (!(flags & DOMUS_DEF_LIVE))
                domain_drop_live(root);
        xmlUnsetProp(root, (const xmlChar *)"id");
        if (!domain_fill_identity(def, error) || !domain_fill_resources(def, error) || !domain_fill_os(def, error) ||
            !domain_fill_sysinfo(def, error) || !domain_fill_devices(def, error))
                return false;
        domain_rules_sort(root);
        return true;
}

DomusDomainDef *domus_domain_def_parse(const char *xml, unsigned flags, GError **error)
{
        g_autoptr(DomusDomainDef) def = g_new0(DomusDomainDef, 1);

        def->doc = xml_parse(xml, "domain_definition", error);
        if (!def->doc)
                return NULL;
        if ((flags & DOMUS_DEF_VALIDATE) && !domain_schema_check(def->doc, error))
                return NULL;
        if (!fill(def, flags, error))
                return NULL;
        return g_steal_pointer(&def);
}

DomusDomainDef *domus_domain_def_copy(const DomusDomainDef *def)
{
        DomusDomainDef *ret = g_memdup2(def, sizeof(*def));
        char **const strings[] = { &ret->name, &ret->title, &ret->description, &ret->os_type, &ret->machine,
                                   &ret->kernel, &ret->initrd, &ret->cmdline, &ret->emulator };

        for (unsigned i = 0; i < G_N_ELEMENTS(strings); i++)
                *strings[i] = g_strdup(*strings[i]);
        ret->smbios = g_strdupv(def->smbios);
        ret->bootloader_options = g_strdupv(def->bootloader_options);
        ret->doc = xmlCopyDoc(def->doc, 1);
        ret->devices = NULL;
        domain_devices_reload(ret);
        return ret;
}

void domus_domain_def_free(DomusDomainDef *def)
{
        if (!def)
                return;
        if (def->devices)
                g_ptr_array_unref(def->devices);
        xmlFreeDoc(def->doc);
        g_free(def->name);
        g_free(def->title);
        g_free(def->description);
        g_free(def->os_type);
        g_free(def->machine);
        g_free(def->kernel);
        g_free(def->initrd);
        g_free(def->cmdline);
        g_strfreev(def->bootloader_options);
        g_strfreev(def->smbios);
        g_free(def->emulator);
        g_free(def);
}

/* The schema knows libvirt's own domain types only; ours means one of them. */
bool domain_schema_check(xmlDoc *doc, GError **error)
{
        g_autoptr(xmlDoc) copy = xmlCopyDoc(doc, 1);
        g_autofree char *type = xml_attr(xmlDocGetRootElement(copy), "type");

        if (g_strcmp0(type, "domus") == 0)
                xml_set_attr(xmlDocGetRootElement(copy), "type", "qemu");
        return xml_schema_check(copy, "domain.rng", error);
}
