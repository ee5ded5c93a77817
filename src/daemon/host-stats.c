/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/host-private.h"

#include <string.h>
#include <unistd.h>

bool host_meminfo_value(const char *text, const char *key, uint64_t *ret)
{
        g_autofree char *pattern = g_strdup_printf("%s:", key);
        const char *p = text;

        /* At the start of a line, or after "Node 0 ". */
        while ((p = strstr(p, pattern))) {
                if (p == text || p[-1] == '\n' || p[-1] == ' ')
                        break;
                p++;
        }
        if (!p)
                return false;
        *ret = g_ascii_strtoull(p + strlen(pattern), NULL, 10);
        return true;
}

static void add(GArray *stats, const char *field, uint64_t value)
{
        DomusNodeStat s = { field, value };

        g_array_append_val(stats, s);
}

/* proc(5), /proc/stat: user nice system idle iowait irq softirq, in clock ticks. */
GArray *domus_host_cpu_stats(const DomusHost *h, int cpu, GError **error)
{
        g_autofree char *text = host_read(h->root, "/proc/stat");
        g_autofree char *key = cpu < 0 ? g_strdup("cpu ") : g_strdup_printf("\ncpu%d ", cpu);
        const char *line = text ? strstr(text, key) : NULL;
        uint64_t tick = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK), v[7];
        GArray *stats;

        if (!line) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "there is no CPU %d", cpu);
                return NULL;
        }
        line += strlen(key);
        for (unsigned i = 0; i < G_N_ELEMENTS(v); i++)
                v[i] = g_ascii_strtoull(line, (char **)&line, 10) * tick;
        stats = g_array_new(FALSE, FALSE, sizeof(DomusNodeStat));
        add(stats, "kernel", v[2] + v[5] + v[6]);
        add(stats, "user", v[0] + v[1]);
        add(stats, "idle", v[3]);
        add(stats, "iowait", v[4]);
        return stats;
}

static char *cell_meminfo(const DomusHost *h, unsigned cell)
{
        char *text = host_read(h->root, "/sys/devices/system/node/node%u/meminfo", cell);

        /* Without NUMA all memory is in cell 0. */
        return text || cell != 0 ? text : host_read(h->root, "/proc/meminfo");
}

GArray *domus_host_memory_stats(const DomusHost *h, int cell, GError **error)
{
        static const struct {
                const char *field, *key;
                bool host_only;
        } t[] = { { "total", "MemTotal" }, { "free", "MemFree" }, { "buffers", "Buffers", true }, { "cached", "Cached", true } };
        g_autofree char *text = cell < 0 ? host_read(h->root, "/proc/meminfo") : cell_meminfo(h, (unsigned)cell);
        GArray *stats;
        uint64_t v;

        if (!text) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "there is no NUMA cell %d", cell);
                return NULL;
        }
        stats = g_array_new(FALSE, FALSE, sizeof(DomusNodeStat));
        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++)
                if (!(t[i].host_only && cell >= 0) && host_meminfo_value(text, t[i].key, &v))
                        add(stats, t[i].field, v);
        return stats;
}

uint64_t domus_host_free_memory(const DomusHost *h)
{
        g_autofree char *text = host_read(h->root, "/proc/meminfo");
        uint64_t kib = 0;

        if (text)
                host_meminfo_value(text, "MemFree", &kib);
        return kib * 1024;
}

bool domus_host_cell_free_memory(const DomusHost *h, unsigned cell, uint64_t *ret, GError **error)
{
        g_autofree char *text = cell_meminfo(h, cell);
        uint64_t kib;

        if (!text || !host_meminfo_value(text, "MemFree", &kib)) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "there is no NUMA cell %u", cell);
                return false;
        }
        *ret = kib * 1024;
        return true;
}

uint8_t *domus_host_cpu_map(const DomusHost *h, unsigned *ret_ncpus, unsigned *ret_online)
{
        g_autofree char *present_list = host_read(h->root, "/sys/devices/system/cpu/present");
        g_autoptr(GArray) present = host_parse_list(present_list);
        unsigned last = 0;
        uint8_t *map;

        for (unsigned i = 0; i < present->len; i++)
                last = MAX(last, g_array_index(present, unsigned, i));
        for (unsigned i = 0; i < h->facts.n_cpus; i++)
                last = MAX(last, h->facts.cpus[i].id);
        map = g_malloc0(last / 8 + 1);
        for (unsigned i = 0; i < h->facts.n_cpus; i++)
                map[h->facts.cpus[i].id / 8] |= (uint8_t)(1 << h->facts.cpus[i].id % 8);
        *ret_ncpus = last + 1;
        *ret_online = h->facts.n_cpus;
        return map;
}
