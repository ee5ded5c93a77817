/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/host-private.h"

#include <cpuid.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

/* libvirt names CPUs after models in its CPU map (the files x86_….xml): a feature is some bits of a CPUID leaf, a model
 * a set of features. The host is the largest model of its vendor of which it has every feature, plus the features beyond. */

struct map {
        const char *dir;
        GHashTable *features; /* name -> itself: what this CPU has, as far as the map knows */
        char *vendor;         /* "AMD"; NULL if the map does not know it */
        char *model;          /* the best so far */
        GHashTable *model_features;
};

static void free_doc(xmlDoc *doc)
{
        xmlFreeDoc(doc);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, free_doc)

static xmlDoc *read_doc(const char *dir, const char *name)
{
        g_autofree char *path = g_build_filename(dir, name, NULL);

        return xmlReadFile(path, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

static xmlNode *next_element(xmlNode *node, const char *name)
{
        while (node && (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name) != 0))
                node = node->next;
        return node;
}

static char *attr(xmlNode *node, const char *name)
{
        xmlChar *s = xmlGetNoNsProp(node, (const xmlChar *)name);
        char *ret = g_strdup((const char *)s);

        xmlFree(s);
        return ret;
}

static uint32_t number(xmlNode *node, const char *name)
{
        g_autofree char *s = attr(node, name);

        return s ? (uint32_t)g_ascii_strtoull(s, NULL, 0) : 0;
}

static bool has_bits(xmlNode *cpuid)
{
        uint32_t leaf = number(cpuid, "eax_in"), a, b, c, d;

        if (__get_cpuid_max(leaf & 0x80000000, NULL) < leaf)
                return false;
        __cpuid_count(leaf, number(cpuid, "ecx_in"), a, b, c, d);
        return (a & number(cpuid, "eax")) == number(cpuid, "eax") && (b & number(cpuid, "ebx")) == number(cpuid, "ebx") &&
               (c & number(cpuid, "ecx")) == number(cpuid, "ecx") && (d & number(cpuid, "edx")) == number(cpuid, "edx");
}

/* Features kept in model-specific registers need privilege to see: they count as absent. */
static void read_features(struct map *m, xmlNode *root)
{
        for (xmlNode *f = next_element(root->children, "feature"); f; f = next_element(f->next, "feature")) {
                xmlNode *cpuid = next_element(f->children, "cpuid");
                bool has = cpuid;

                for (; cpuid; cpuid = next_element(cpuid->next, "cpuid"))
                        has = has && has_bits(cpuid);
                if (has)
                        g_hash_table_add(m->features, attr(f, "name"));
        }
}

static void read_vendor(struct map *m, xmlNode *root)
{
        uint32_t a, sig[3];
        char here[13] = "";

        __cpuid(0, a, sig[0], sig[2], sig[1]);
        memcpy(here, sig, sizeof(sig));
        for (xmlNode *v = next_element(root->children, "vendor"); v; v = next_element(v->next, "vendor")) {
                g_autofree char *string = attr(v, "string");

                if (g_strcmp0(string, here) == 0 && !m->vendor)
                        m->vendor = attr(v, "name");
        }
}

/* The model's features if the host has them all, else NULL. */
static GHashTable *match(const struct map *m, xmlNode *model)
{
        g_autoptr(GHashTable) set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

        for (xmlNode *f = next_element(model->children, "feature"); f; f = next_element(f->next, "feature")) {
                g_autofree char *name = attr(f, "name");

                if (!name || !g_hash_table_contains(m->features, name))
                        return NULL;
                g_hash_table_add(set, g_steal_pointer(&name));
        }
        return g_steal_pointer(&set);
}

static bool right_vendor(const struct map *m, xmlNode *model)
{
        xmlNode *v = next_element(model->children, "vendor");
        g_autofree char *name = v ? attr(v, "name") : NULL;

        return !name || g_strcmp0(name, m->vendor) == 0;
}

/* Models that are no longer named for hosts have <decode host='off'/>. */
static bool names_hosts(xmlNode *model)
{
        xmlNode *d = next_element(model->children, "decode");
        g_autofree char *host = d ? attr(d, "host") : NULL;

        return g_strcmp0(host, "on") == 0;
}

static void consider(struct map *m, const char *file)
{
        g_autoptr(xmlDoc) doc = read_doc(m->dir, file);
        xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
        xmlNode *model = root ? next_element(root->children, "model") : NULL;
        g_autoptr(GHashTable) set = NULL;

        if (!model || !names_hosts(model) || !right_vendor(m, model))
                return;
        set = match(m, model);
        if (!set || (m->model_features && g_hash_table_size(set) <= g_hash_table_size(m->model_features)))
                return;
        g_free(m->model);
        m->model = attr(model, "name");
        g_clear_pointer(&m->model_features, g_hash_table_unref);
        m->model_features = g_steal_pointer(&set);
}

static void consider_all(struct map *m)
{
        g_autoptr(GDir) dir = g_dir_open(m->dir, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir)))
                if (g_str_has_prefix(name, "x86_") && strcmp(name, "x86_features.xml") != 0 && strcmp(name, "x86_vendors.xml") != 0)
                        consider(m, name);
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **further_features(const struct map *m)
{
        GPtrArray *names = g_ptr_array_new();
        GHashTableIter iter;
        gpointer name;

        g_hash_table_iter_init(&iter, m->features);
        while (g_hash_table_iter_next(&iter, &name, NULL))
                if (!g_hash_table_contains(m->model_features, name))
                        g_ptr_array_add(names, g_strdup(name));
        g_ptr_array_sort(names, compare_names);
        g_ptr_array_add(names, NULL);
        return (char **)g_ptr_array_free(names, FALSE);
}

void host_read_cpu_model(const char *map_dir, DomusHostFacts *facts)
{
        g_autoptr(xmlDoc) features = read_doc(map_dir, "x86_features.xml"), vendors = read_doc(map_dir, "x86_vendors.xml");
        struct map m = { .dir = map_dir, .features = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };

        if (features && vendors) {
                read_features(&m, xmlDocGetRootElement(features));
                read_vendor(&m, xmlDocGetRootElement(vendors));
                consider_all(&m);
        }
        facts->cpu_model = m.model ? m.model : g_strdup("qemu64");
        facts->cpu_vendor = m.vendor;
        if (m.model)
                facts->cpu_features = further_features(&m);
        g_clear_pointer(&m.model_features, g_hash_table_unref);
        g_hash_table_unref(m.features);
}
