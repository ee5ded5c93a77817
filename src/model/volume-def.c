/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/volume-def.h"

#include <string.h>

#include "model/storage-xml.h"

#define SIZE(name) { name, RULE_TEXT, RULE_ATTRS{ { "unit" }, {} } }
#define FILE_RULES                                                                                                                     \
        { "path", RULE_TEXT }, { "format", 0, RULE_ATTRS{ { "type" }, {} } }, STORAGE_PERMISSIONS_RULE, { "timestamps", RULE_OPAQUE | RULE_ANY_ATTRS }

static const struct element_rule feature_rules[] = {
        { "lazy_refcounts" },
        { "extended_l2" },
        {},
};

static const struct element_rule target_rules[] = {
        FILE_RULES,
        { "compat", RULE_TEXT },
        { "nocow" },
        SIZE("clusterSize"),
        { "features", 0, NULL, feature_rules },
        {},
};

static const struct element_rule backing_rules[] = {
        FILE_RULES,
        {},
};

static const struct element_rule volume_rules[] = {
        { "name", RULE_TEXT },
        { "key", RULE_TEXT },
        { "source", RULE_OPAQUE | RULE_ANY_ATTRS },
        SIZE("capacity"),
        SIZE("allocation"),
        SIZE("physical"),
        { "target", 0, NULL, target_rules },
        { "backingStore", 0, NULL, backing_rules },
        {},
};

static const struct element_rule volume_rule = { "volume", 0, RULE_ATTRS{ { "type" }, {} }, volume_rules };

/* Indexed by DomusVolumeType. */
static const char *const types[] = { "file", "block", "dir", "network" };

static void clear_extent(gpointer p)
{
        g_free(((DomusExtent *)p)->path);
}

DomusVolumeDef *domus_volume_def_new(const char *name)
{
        DomusVolumeDef *def = g_new0(DomusVolumeDef, 1);

        def->name = g_strdup(name);
        def->perms = (DomusPermissions){ -1, -1, -1 };
        def->extents = g_array_new(FALSE, FALSE, sizeof(DomusExtent));
        g_array_set_clear_func(def->extents, clear_extent);
        return def;
}

void domus_volume_def_free(DomusVolumeDef *def)
{
        if (!def)
                return;
        g_free(def->name);
        g_free(def->key);
        g_free(def->path);
        g_free(def->format);
        g_free(def->compat);
        g_free(def->backing_path);
        g_free(def->backing_format);
        g_array_unref(def->extents);
        g_free(def);
}

DomusVolumeDef *domus_volume_def_copy(const DomusVolumeDef *def)
{
        DomusVolumeDef *ret = g_memdup2(def, sizeof(*def));
        char **const strings[] = { &ret->name, &ret->key, &ret->path, &ret->format, &ret->compat, &ret->backing_path,
                                   &ret->backing_format };

        for (unsigned i = 0; i < G_N_ELEMENTS(strings); i++)
                *strings[i] = g_strdup(*strings[i]);
        ret->extents = g_array_copy(def->extents);
        g_array_set_clear_func(ret->extents, clear_extent); /* which is not copied */
        for (guint i = 0; i < ret->extents->len; i++) {
                DomusExtent *e = &g_array_index(ret->extents, DomusExtent, i);

                e->path = g_strdup(e->path);
        }
        return ret;
}

void domus_volume_def_add_extent(DomusVolumeDef *def, const char *path, uint64_t start, uint64_t end)
{
        DomusExtent e = { g_strdup(path), start, end };

        g_array_append_val(def->extents, e);
}

/* --- Reading --- */

static bool parse_sizes(DomusVolumeDef *def, const xmlNode *root, unsigned flags, GError **error)
{
        const xmlNode *capacity = xml_child(root, "capacity"), *allocation = xml_child(root, "allocation");

        if (!capacity && !(flags & DOMUS_VOLUME_DEF_OPTIONAL_CAPACITY) && !xml_child(root, "backingStore"))
                return xml_fail(error, DOMUS_ERROR_XML, "missing capacity element");
        def->has_capacity = capacity;
        def->has_allocation = allocation;
        if (capacity && !storage_parse_size(capacity, &def->capacity, error))
                return false;
        def->allocation = def->capacity;
        return !allocation || storage_parse_size(allocation, &def->allocation, error);
}

static bool parse_features(DomusVolumeDef *def, const xmlNode *target, GError **error)
{
        const xmlNode *features = xml_child(target, "features"), *cluster = xml_child(target, "clusterSize");

        def->compat = storage_text(target, "compat");
        if (def->compat && strcmp(def->compat, "0.10") != 0 && strcmp(def->compat, "1.1") != 0)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "value '%s' of element <compat> is not supported, only 0.10|1.1",
                        def->compat);
        def->lazy_refcounts = xml_child(features, "lazy_refcounts");
        def->extended_l2 = xml_child(features, "extended_l2");
        def->nocow = xml_child(target, "nocow");
        return !cluster || storage_parse_size(cluster, &def->cluster_size, error);
}

static bool parse_type(DomusVolumeDef *def, const xmlNode *root, GError **error)
{
        g_autofree char *type = xml_attr(root, "type");

        for (unsigned i = 0; type && i < G_N_ELEMENTS(types); i++) {
                if (strcmp(types[i], type) == 0) {
                        def->type = i;
                        return true;
                }
        }
        return !type || xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "volume type '%s' is not supported", type);
}

static bool parse(DomusVolumeDef *def, const xmlNode *root, unsigned flags, GError **error)
{
        const xmlNode *target = xml_child(root, "target"), *backing = xml_child(root, "backingStore");

        def->name = storage_text(root, "name");
        def->path = storage_text(target, "path");
        def->format = xml_attr(xml_child(target, "format"), "type");
        def->backing_path = storage_text(backing, "path");
        def->backing_format = xml_attr(xml_child(backing, "format"), "type");
        return storage_check_name("volume", def->name, error) && parse_type(def, root, error) && parse_sizes(def, root, flags, error) &&
               storage_parse_permissions(xml_child(target, "permissions"), &def->perms, error) && parse_features(def, target, error);
}

DomusVolumeDef *domus_volume_def_parse(const char *xml, unsigned flags, GError **error)
{
        g_autoptr(xmlDoc) doc = xml_parse(xml, "storage_volume_definition", error);
        g_autoptr(DomusVolumeDef) def = domus_volume_def_new(NULL);
        xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;

        if (!root)
                return NULL;
        if ((flags & DOMUS_VOLUME_DEF_VALIDATE && !xml_schema_check(doc, "storagevol.rng", error)) ||
            !xml_rules_check(&volume_rule, root, error) || !parse(def, root, flags, error))
                return NULL;
        return g_steal_pointer(&def);
}

/* --- Writing --- */

static void append_extents(GString *out, const DomusVolumeDef *def)
{
        const char *device = NULL;

        g_string_append(out, "  <source>\n");
        for (guint i = 0; i < def->extents->len; i++) {
                const DomusExtent *e = &g_array_index(def->extents, DomusExtent, i);

                if (device && strcmp(device, e->path) != 0)
                        g_string_append(out, "    </device>\n");
                if (!device || strcmp(device, e->path) != 0)
                        xml_append(out, "    <device path='%s'>\n", e->path);
                device = e->path;
                g_string_append_printf(out, "      <extent start='%" G_GUINT64_FORMAT "' end='%" G_GUINT64_FORMAT "'/>\n", e->start, e->end);
        }
        g_string_append(out, "    </device>\n  </source>\n");
}

static void append_time(GString *out, const char *name, const struct timespec *t)
{
        if (t->tv_nsec)
                g_string_append_printf(out, "      <%s>%lld.%09ld</%s>\n", name, (long long)t->tv_sec, t->tv_nsec, name);
        else
                g_string_append_printf(out, "      <%s>%lld</%s>\n", name, (long long)t->tv_sec, name);
}

static void append_times(GString *out, const DomusVolumeDef *def)
{
        if (!def->has_times)
                return;
        g_string_append(out, "    <timestamps>\n");
        append_time(out, "atime", &def->atime);
        append_time(out, "mtime", &def->mtime);
        append_time(out, "ctime", &def->ctime);
        append_time(out, "btime", &def->btime);
        g_string_append(out, "    </timestamps>\n");
}

static void append_features(GString *out, const DomusVolumeDef *def)
{
        if (def->compat)
                xml_append(out, "    <compat>%s</compat>\n", def->compat);
        if (def->cluster_size)
                g_string_append_printf(out, "    <clusterSize unit='B'>%" G_GUINT64_FORMAT "</clusterSize>\n", def->cluster_size);
        if (!def->compat)
                return;
        if (!def->lazy_refcounts && !def->extended_l2) {
                g_string_append(out, "    <features/>\n");
                return;
        }
        g_string_append_printf(out, "    <features>\n%s%s    </features>\n", def->lazy_refcounts ? "      <lazy_refcounts/>\n" : "",
                def->extended_l2 ? "      <extended_l2/>\n" : "");
}

static void append_target(GString *out, const DomusVolumeDef *def)
{
        g_string_append(out, "  <target>\n");
        if (def->path)
                xml_append(out, "    <path>%s</path>\n", def->path);
        if (def->format)
                xml_append(out, "    <format type='%s'/>\n", def->format);
        storage_append_permissions(out, &def->perms, 4);
        append_times(out, def);
        append_features(out, def);
        g_string_append(out, "  </target>\n");
}

char *domus_volume_def_format(const DomusVolumeDef *def)
{
        GString *out = g_string_sized_new(1024);

        xml_append(out, "<volume type='%s'>\n  <name>%s</name>\n", types[def->type], def->name);
        if (def->key)
                xml_append(out, "  <key>%s</key>\n", def->key);
        if (def->extents->len)
                append_extents(out, def);
        storage_append_size(out, "capacity", def->capacity);
        storage_append_size(out, "allocation", def->allocation);
        if (def->physical)
                storage_append_size(out, "physical", def->physical);
        append_target(out, def);
        if (def->backing_path) {
                xml_append(out, "  <backingStore>\n    <path>%s</path>\n", def->backing_path);
                if (def->backing_format)
                        xml_append(out, "    <format type='%s'/>\n", def->backing_format);
                g_string_append(out, "  </backingStore>\n");
        }
        g_string_append(out, "</volume>\n");
        return g_string_free(out, FALSE);
}
