/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/host-private.h"

#include <string.h>

/* Documentation/ABI/stable/sysfs-devices-system-cpu and sysfs-devices-node. */
#define CPU_DIR "/sys/devices/system/cpu"
#define NODE_DIR "/sys/devices/system/node"

#define LIST_MAX 65535

static bool parse_range(const char *item, GArray *out)
{
        char *end;
        guint64 first = g_ascii_strtoull(item, &end, 10), last = first;

        if (end == item)
                return false;
        if (*end == '-') {
                item = end + 1;
                last = g_ascii_strtoull(item, &end, 10);
                if (end == item)
                        return false;
        }
        if (*end || last < first || last > LIST_MAX)
                return false;
        for (unsigned i = (unsigned)first; i <= last; i++)
                g_array_append_val(out, i);
        return true;
}

GArray *host_parse_list(const char *list)
{
        GArray *out = g_array_new(FALSE, FALSE, sizeof(unsigned));
        g_autofree char *text = g_strstrip(g_strdup(list ? list : ""));
        g_auto(GStrv) items = g_strsplit(text, ",", -1);

        for (char **p = items; *p; p++) {
                if (parse_range(*p, out))
                        continue;
                g_array_set_size(out, 0);
                break;
        }
        return out;
}

static void read_cpu(const char *root, unsigned id, DomusHostCpu *ret)
{
        *ret = (DomusHostCpu){
                .id = id,
                .socket = host_read_uint(0, root, CPU_DIR "/cpu%u/topology/physical_package_id", id),
                .die = host_read_uint(0, root, CPU_DIR "/cpu%u/topology/die_id", id),
                .core = host_read_uint(id, root, CPU_DIR "/cpu%u/topology/core_id", id),
                .siblings = host_read(root, CPU_DIR "/cpu%u/topology/thread_siblings_list", id),
        };
        if (!ret->siblings)
                ret->siblings = g_strdup_printf("%u", id);
}

static void read_cpus(const char *root, DomusHostFacts *f)
{
        g_autofree char *list = host_read(root, CPU_DIR "/online");
        g_autoptr(GArray) ids = host_parse_list(list);
        unsigned zero = 0;

        if (ids->len == 0)
                g_array_append_val(ids, zero);
        f->n_cpus = ids->len;
        f->cpus = g_new0(DomusHostCpu, f->n_cpus);
        for (unsigned i = 0; i < f->n_cpus; i++)
                read_cpu(root, g_array_index(ids, unsigned, i), &f->cpus[i]);
}

static uint64_t total_memory(const char *root)
{
        g_autofree char *text = host_read(root, "/proc/meminfo");
        uint64_t kib = 0;

        if (text)
                host_meminfo_value(text, "MemTotal", &kib);
        return kib;
}

static void read_node(const char *root, unsigned id, DomusHostNode *ret, DomusHostFacts *f)
{
        g_autofree char *text = host_read(root, NODE_DIR "/node%u/meminfo", id);
        g_autofree char *list = host_read(root, NODE_DIR "/node%u/cpulist", id);
        g_autoptr(GArray) ids = host_parse_list(list);

        *ret = (DomusHostNode){ .id = id };
        if (text)
                host_meminfo_value(text, "MemTotal", &ret->memory_kib);
        for (unsigned i = 0; i < f->n_cpus; i++)
                for (unsigned j = 0; j < ids->len; j++)
                        if (f->cpus[i].id == g_array_index(ids, unsigned, j))
                                f->cpus[i].node = id;
}

/* A kernel without NUMA shows no nodes: all is in node 0 then. */
static void read_nodes(const char *root, DomusHostFacts *f)
{
        g_autofree char *list = host_read(root, NODE_DIR "/online");
        g_autoptr(GArray) ids = host_parse_list(list);

        f->n_nodes = ids->len ? ids->len : 1;
        f->nodes = g_new0(DomusHostNode, f->n_nodes);
        for (unsigned i = 0; i < ids->len; i++)
                read_node(root, g_array_index(ids, unsigned, i), &f->nodes[i], f);
        if (f->nodes[0].memory_kib == 0 && f->n_nodes == 1)
                f->nodes[0].memory_kib = total_memory(root);
}

static unsigned siblings_of(const DomusHostCpu *cpu)
{
        g_autoptr(GArray) ids = host_parse_list(cpu->siblings);

        return MAX(ids->len, 1);
}

static unsigned count_distinct(const DomusHostFacts *f, size_t offset)
{
        g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

        for (unsigned i = 0; i < f->n_cpus; i++)
                g_hash_table_add(seen, GUINT_TO_POINTER(*(const unsigned *)((const char *)&f->cpus[i] + offset) + 1));
        return g_hash_table_size(seen);
}

/* Sockets per node, dies per socket, cores per die and threads per core, if their product is the number of CPUs; else one socket of
 * single-threaded cores, as libvirt describes hosts that fit no such box. */
static void count_parts(DomusHostFacts *f)
{
        unsigned sockets = count_distinct(f, offsetof(DomusHostCpu, socket));

        f->dies = count_distinct(f, offsetof(DomusHostCpu, die));
        f->threads = 1;
        for (unsigned i = 0; i < f->n_cpus; i++)
                f->threads = MAX(f->threads, siblings_of(&f->cpus[i]));
        f->sockets = MAX(sockets / f->n_nodes, 1);
        f->cores = f->n_cpus / (f->n_nodes * f->sockets * f->dies * f->threads);
        if (f->cores && f->n_nodes * f->sockets * f->dies * f->cores * f->threads == f->n_cpus)
                return;
        f->sockets = f->dies = f->threads = 1;
        f->cores = f->n_cpus;
}

bool host_read_topology(const char *root, DomusHostFacts *f, GError **error)
{
        if (total_memory(root) == 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "cannot read the size of memory from /proc/meminfo");
                return false;
        }
        read_cpus(root, f);
        read_nodes(root, f);
        count_parts(f);
        return true;
}
