/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Documents about pools: their own, the capabilities, found sources. */

#include "model/pool-def.h"
#include "model/storage-xml.h"

static void append_one(GString *out, const char *element, const char *attribute, const char *value)
{
        if (value)
                xml_append(out, "    <%s %s='%s'/>\n", element, attribute, value);
}

static void append_source(GString *out, const DomusPoolDef *def)
{
        g_string_append(out, "  <source>\n");
        if (def->host && def->port)
                xml_append(out, "    <host name='%s' port='%u'/>\n", def->host, def->port);
        else
                append_one(out, "host", "name", def->host);
        for (guint i = 0; i < def->devices->len; i++)
                append_one(out, "device", "path", def->devices->pdata[i]);
        append_one(out, "dir", "path", def->dir);
        if (def->initiator)
                xml_append(out, "    <initiator>\n      <iqn name='%s'/>\n    </initiator>\n", def->initiator);
        if (def->source_name)
                xml_append(out, "    <name>%s</name>\n", def->source_name);
        append_one(out, "format", "type", def->format);
        append_one(out, "protocol", "ver", def->protocol_version);
        append_one(out, "vendor", "name", def->vendor);
        append_one(out, "product", "name", def->product);
        g_string_append(out, "  </source>\n");
}

static void append_target(GString *out, const DomusPoolDef *def, const DomusPoolState *state)
{
        if (!def->path)
                return;
        g_string_append(out, "  <target>\n");
        xml_append(out, "    <path>%s</path>\n", def->path);
        storage_append_permissions(out, state && state->perms.mode >= 0 ? &state->perms : &def->perms, 4);
        g_string_append(out, "  </target>\n");
}

char *domus_pool_def_format(const DomusPoolDef *def, const DomusPoolState *state)
{
        GString *out = g_string_sized_new(1024);
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(def->uuid, uuid);
        xml_append(out, "<pool type='%s'>\n  <name>%s</name>\n  <uuid>%s</uuid>\n", domus_pool_type_to_string(def->type), def->name, uuid);
        storage_append_size(out, "capacity", state ? state->capacity : 0);
        storage_append_size(out, "allocation", state ? state->allocation : 0);
        storage_append_size(out, "available", state ? state->available : 0);
        if (def->cow_known)
                xml_append(out, "  <features>\n    <cow state='%s'/>\n  </features>\n", def->cow ? "yes" : "no");
        append_source(out, def);
        append_target(out, def, state);
        g_string_append(out, "</pool>\n");
        return g_string_free(out, FALSE);
}

/* --- Capabilities --- */

static void append_formats(GString *out, const char *element, const char *label, const char *const *formats)
{
        if (!formats)
                return;
        xml_append(out, "    <%s>\n      <defaultFormat type='%s'/>\n      <enum name='%s'>\n", element, formats[0], label);
        for (; *formats; formats++)
                xml_append(out, "        <value>%s</value>\n", *formats);
        xml_append(out, "      </enum>\n    </%s>\n", element);
}

char *domus_pool_capabilities(const bool available[DOMUS_POOL_TYPES])
{
        GString *out = g_string_new("<storagepoolCapabilities>\n");

        for (unsigned t = 0; t < DOMUS_POOL_TYPES; t++) {
                const DomusPoolTypeInfo *info = domus_pool_type_info(t);

                xml_append(out, "  <pool type='%s' supported='%s'>\n", info->name, available[t] ? "yes" : "no");
                append_formats(out, "poolOptions", "sourceFormatType", info->formats);
                append_formats(out, "volOptions", "targetFormatType", info->volume_formats);
                g_string_append(out, "  </pool>\n");
        }
        g_string_append(out, "</storagepoolCapabilities>\n");
        return g_string_free(out, FALSE);
}

/* --- Found sources --- */

void domus_pool_source_append(GString *out, const DomusPoolSource *source)
{
        g_string_append(out, "  <source>\n");
        append_one(out, "host", "name", source->host);
        for (const char *const *d = source->devices; d && *d; d++)
                append_one(out, "device", "path", *d);
        append_one(out, "dir", "path", source->dir);
        if (source->name)
                xml_append(out, "    <name>%s</name>\n", source->name);
        append_one(out, "format", "type", source->format);
        g_string_append(out, "  </source>\n");
}
