/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/pool-def.h"

#include <string.h>

#include "model/storage-xml.h"

#define ONE(name, attribute) { name, 0, RULE_ATTRS{ { attribute }, {} } }
#define SIZE(name) { name, RULE_TEXT, RULE_ATTRS{ { "unit" }, {} } }

static const struct element_rule feature_rules[] = {
        { "cow", 0, RULE_ATTRS{ { "state", "yes|no" }, {} } },
        {},
};

static const struct element_rule initiator_rules[] = {
        ONE("iqn", "name"),
        {},
};

static const struct element_rule source_rules[] = {
        { "host", 0, RULE_ATTRS{ { "name" }, { "port" }, {} } },
        { "device", RULE_MANY, RULE_ATTRS{ { "path" }, {} } },
        ONE("dir", "path"),
        { "initiator", 0, NULL, initiator_rules },
        { "name", RULE_TEXT },
        ONE("format", "type"),
        ONE("protocol", "ver"),
        ONE("vendor", "name"),
        ONE("product", "name"),
        {},
};

static const struct element_rule target_rules[] = {
        { "path", RULE_TEXT },
        STORAGE_PERMISSIONS_RULE,
        {},
};

static const struct element_rule pool_rules[] = {
        { "name", RULE_TEXT },
        { "uuid", RULE_TEXT },
        SIZE("capacity"),
        SIZE("allocation"),
        SIZE("available"),
        { "features", 0, NULL, feature_rules },
        { "source", 0, NULL, source_rules },
        { "target", 0, NULL, target_rules },
        {},
};

static const struct element_rule pool_rule = { "pool", 0, RULE_ATTRS{ { "type" }, {} }, pool_rules };

/* --- Types --- */

/* What a type's document must say. */
enum {
        NEEDS_HOST = 1 << 0,
        NEEDS_DIR = 1 << 1,
        NEEDS_DEVICE = 1 << 2,
        NEEDS_TARGET = 1 << 3,
        NEEDS_INITIATOR = 1 << 4,
};

static const char *const fs_formats[] = { "auto", "ext2", "ext3", "ext4", "xfs", "vfat", "iso9660", "udf", "btrfs", NULL };
static const char *const netfs_formats[] = { "auto", "nfs", "cifs", NULL };
static const char *const logical_formats[] = { "lvm2", NULL };
static const char *const disk_formats[] = { "gpt", "dos", NULL };
static const char *const file_formats[] = { "raw", "qcow2", "qcow", "qed", "vdi", "vmdk", "vpc", "vhdx", "luks", "iso", "dir", NULL };
static const char *const partition_formats[] = { "none", "linux", "fat16", "fat32", "linux-swap", "linux-lvm", "linux-raid", "extended",
                                                  NULL };

/* The order of formats is that of their numbers nowhere: clients go by names. */
static const DomusPoolTypeInfo types[DOMUS_POOL_TYPES] = {
        [DOMUS_POOL_DIR] = { "dir", NULL, file_formats, NEEDS_TARGET },
        [DOMUS_POOL_FS] = { "fs", fs_formats, file_formats, NEEDS_TARGET | NEEDS_DEVICE },
        [DOMUS_POOL_NETFS] = { "netfs", netfs_formats, file_formats, NEEDS_TARGET | NEEDS_HOST | NEEDS_DIR },
        [DOMUS_POOL_LOGICAL] = { "logical", logical_formats, NULL, 0 },
        [DOMUS_POOL_DISK] = { "disk", disk_formats, partition_formats, NEEDS_TARGET | NEEDS_DEVICE },
        [DOMUS_POOL_ISCSI] = { "iscsi", NULL, NULL, NEEDS_TARGET | NEEDS_HOST | NEEDS_DEVICE },
        [DOMUS_POOL_ISCSI_DIRECT] = { "iscsi-direct", NULL, NULL, NEEDS_HOST | NEEDS_DEVICE | NEEDS_INITIATOR },
};

const DomusPoolTypeInfo *domus_pool_type_info(DomusPoolType type)
{
        return &types[type];
}

const char *domus_pool_type_to_string(DomusPoolType type)
{
        return types[type].name;
}

bool domus_pool_type_from_string(const char *s, DomusPoolType *ret)
{
        for (unsigned i = 0; s && i < DOMUS_POOL_TYPES; i++) {
                if (strcmp(types[i].name, s) == 0) {
                        *ret = i;
                        return true;
                }
        }
        return false;
}

/* --- Life --- */

DomusPoolDef *domus_pool_def_ref(DomusPoolDef *def)
{
        return g_atomic_rc_box_acquire(def);
}

static void clear(gpointer p)
{
        DomusPoolDef *def = p;

        g_free(def->name);
        g_free(def->host);
        g_free(def->dir);
        g_ptr_array_unref(def->devices);
        g_free(def->source_name);
        g_free(def->initiator);
        g_free(def->format);
        g_free(def->protocol_version);
        g_free(def->vendor);
        g_free(def->product);
        g_free(def->path);
}

void domus_pool_def_unref(DomusPoolDef *def)
{
        if (def)
                g_atomic_rc_box_release_full(def, clear);
}

/* --- Reading --- */

static bool parse_identity(DomusPoolDef *def, const xmlNode *root, GError **error)
{
        g_autofree char *uuid = storage_text(root, "uuid");

        def->name = storage_text(root, "name");
        if (!def->name)
                def->name = storage_text(root, "source/name");
        if (!storage_check_name("pool", def->name, error))
                return false;
        if (!uuid)
                domus_uuid_generate(def->uuid);
        else if (!domus_uuid_parse(uuid, def->uuid))
                return xml_fail(error, DOMUS_ERROR_XML, "malformed uuid element '%s'", uuid);
        return true;
}

static bool parse_features(DomusPoolDef *def, const xmlNode *root, GError **error)
{
        g_autofree char *state = xml_attr(storage_node(root, "features/cow"), "state");

        if (!state)
                return true;
        def->cow_known = true;
        def->cow = strcmp(state, "yes") == 0;
        if (def->type != DOMUS_POOL_DIR && def->type != DOMUS_POOL_FS)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <cow> is not supported for a pool of type '%s'",
                        types[def->type].name);
        return true;
}

static bool parse_format(DomusPoolDef *def, const xmlNode *source, GError **error)
{
        g_autofree char *format = xml_attr(xml_child(source, "format"), "type");
        const char *const *known = types[def->type].formats;

        if (!known)
                return !format || xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                          "element <format> in <source> is not supported for a pool of type '%s'", types[def->type].name);
        /* libvirt's words for "find out": of what there is for these types, there is nothing else. */
        if (!format || (known != fs_formats && known != netfs_formats && (strcmp(format, "unknown") == 0 || strcmp(format, "auto") == 0)))
                def->format = g_strdup(known[0]);
        else if (g_strv_contains(known, format))
                def->format = g_steal_pointer(&format);
        else
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "pool format '%s' is not supported for a pool of type '%s'", format,
                        types[def->type].name);
        return true;
}

static bool parse_host(DomusPoolDef *def, const xmlNode *source, GError **error)
{
        g_autofree char *port = xml_attr(xml_child(source, "host"), "port");
        uint64_t n = 0;

        def->host = xml_attr(xml_child(source, "host"), "name");
        if (port && !xml_parse_uint(port, 65535, &n))
                return xml_fail(error, DOMUS_ERROR_XML, "'%s' is no port", port);
        def->port = (unsigned)n;
        return true;
}

static bool parse_devices(DomusPoolDef *def, const xmlNode *source, GError **error)
{
        for (const xmlNode *d = xml_child(source, "device"); d; d = xml_next(d, "device")) {
                char *path = xml_attr(d, "path");

                if (!path || !*path) {
                        g_free(path);
                        return xml_fail(error, DOMUS_ERROR_XML, "missing storage pool source device path");
                }
                g_ptr_array_add(def->devices, path);
        }
        return true;
}

static bool parse_source(DomusPoolDef *def, const xmlNode *root, GError **error)
{
        const xmlNode *source = xml_child(root, "source");

        def->dir = xml_attr(xml_child(source, "dir"), "path");
        def->source_name = storage_text(source, "name");
        def->initiator = xml_attr(storage_node(source, "initiator/iqn"), "name");
        def->protocol_version = xml_attr(xml_child(source, "protocol"), "ver");
        def->vendor = xml_attr(xml_child(source, "vendor"), "name");
        def->product = xml_attr(xml_child(source, "product"), "name");
        if (def->type == DOMUS_POOL_LOGICAL && !def->source_name)
                def->source_name = g_strdup(def->name);
        return parse_host(def, source, error) && parse_devices(def, source, error) && parse_format(def, source, error);
}

/* Without double and trailing slashes. */
static char *clean_path(const char *path)
{
        GString *out = g_string_new(NULL);

        for (const char *p = path; *p; p++)
                if (*p != '/' || !out->len || out->str[out->len - 1] != '/')
                        g_string_append_c(out, *p);
        if (out->len > 1 && out->str[out->len - 1] == '/')
                g_string_truncate(out, out->len - 1);
        return g_string_free(out, FALSE);
}

static bool parse_target(DomusPoolDef *def, const xmlNode *root, GError **error)
{
        g_autofree char *path = storage_text(root, "target/path");

        /* The folder that the volume group's devices appear in. */
        if (def->type == DOMUS_POOL_LOGICAL)
                def->path = g_strconcat("/dev/", def->source_name, NULL);
        else if (path)
                def->path = clean_path(path);
        if (def->path && def->path[0] != '/')
                return xml_fail(error, DOMUS_ERROR_XML, "the pool's target path '%s' is not absolute", def->path);
        return storage_parse_permissions(storage_node(root, "target/permissions"), &def->perms, error);
}

static bool check_needs(const DomusPoolDef *def, GError **error)
{
        unsigned needs = types[def->type].needs;

        if (needs & NEEDS_HOST && !def->host)
                return xml_fail(error, DOMUS_ERROR_XML, "missing storage pool source host name");
        if (needs & NEEDS_DIR && !def->dir)
                return xml_fail(error, DOMUS_ERROR_XML, "missing storage pool source path");
        if (needs & NEEDS_DEVICE && def->devices->len != 1)
                return xml_fail(error, DOMUS_ERROR_XML, "a pool of type '%s' needs one source device", types[def->type].name);
        if (needs & NEEDS_INITIATOR && !def->initiator)
                return xml_fail(error, DOMUS_ERROR_XML, "missing storage pool initiator iqn");
        if (needs & NEEDS_TARGET && !def->path)
                return xml_fail(error, DOMUS_ERROR_XML, "missing storage pool target path");
        return true;
}

static bool parse(DomusPoolDef *def, const xmlNode *root, GError **error)
{
        g_autofree char *type = xml_attr(root, "type");

        if (!type)
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute 'type' of element <pool>");
        if (!domus_pool_type_from_string(type, &def->type))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "storage pool type '%s' is not supported", type);
        return parse_identity(def, root, error) && parse_features(def, root, error) && parse_source(def, root, error) &&
               parse_target(def, root, error) && check_needs(def, error);
}

DomusPoolDef *domus_pool_def_parse(const char *xml, unsigned flags, GError **error)
{
        g_autoptr(xmlDoc) doc = xml_parse(xml, "storage_pool_definition", error);
        xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
        g_autoptr(DomusPoolDef) def = g_atomic_rc_box_new0(DomusPoolDef);

        def->devices = g_ptr_array_new_with_free_func(g_free);
        if (!root)
                return NULL;
        if ((flags & DOMUS_POOL_DEF_VALIDATE && !xml_schema_check(doc, "storagepool.rng", error)) ||
            !xml_rules_check(&pool_rule, root, error) || !parse(def, root, error))
                return NULL;
        return g_steal_pointer(&def);
}

bool domus_pool_source_parse(const char *xml, char **ret_host, char **ret_format, GError **error)
{
        g_autoptr(xmlDoc) doc = NULL;
        const xmlNode *root;

        *ret_host = *ret_format = NULL;
        if (!xml || !*xml)
                return true;
        doc = xml_parse(xml, "storage_source_specification", error);
        if (!doc)
                return false;
        root = xmlDocGetRootElement(doc);
        if (!xml_is(root, "source"))
                return xml_fail(error, DOMUS_ERROR_XML, "unexpected root element <%s>, expecting <source>", root->name);
        *ret_host = xml_attr(xml_child(root, "host"), "name");
        *ret_format = xml_attr(xml_child(root, "format"), "type");
        return true;
}
