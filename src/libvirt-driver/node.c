/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host: CPUs, memory, NUMA cells. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/handlers.h"

static void get_info(struct call *call, const void *args)
{
        struct remote_node_get_info_ret ret = { 0 };
        DomusNodeInfo info;

        domus_host_node_info(call_host(call), &info);
        g_strlcpy((char *)ret.model, info.model, sizeof(ret.model));
        ret.memory = info.memory_kib;
        ret.cpus = (int32_t)info.cpus;
        ret.mhz = (int32_t)info.mhz;
        ret.nodes = (int32_t)info.nodes;
        ret.sockets = (int32_t)info.sockets;
        ret.cores = (int32_t)info.cores;
        ret.threads = (int32_t)info.threads;
        call_reply(call, &ret);
}

static void get_cpu_map(struct call *call, const void *p)
{
        const struct remote_node_get_cpu_map_args *args = p;
        struct remote_node_get_cpu_map_ret ret = { 0 };
        unsigned cpus, online;
        g_autofree uint8_t *map = domus_host_cpu_map(call_host(call), &cpus, &online);

        ret.ret = (int32_t)cpus;
        if (args->need_online)
                ret.online = online;
        if (args->need_map) {
                ret.cpumap.n = (cpus + 7) / 8;
                ret.cpumap.v = map;
        }
        call_reply(call, &ret);
}

/* Both statistics: the caller first asks how many there are (nparams 0), then for them. */
static void reply_stats(struct call *call, GArray *stats, GError *error, int32_t nparams)
{
        struct remote_node_get_cpu_stats_ret ret = { 0 };

        G_STATIC_ASSERT(sizeof(ret) == sizeof(struct remote_node_get_memory_stats_ret));
        G_STATIC_ASSERT(sizeof(struct remote_node_get_cpu_stats) == sizeof(struct remote_node_get_memory_stats));
        if (!stats) {
                call_fail_take(call, error);
                return;
        }
        ret.nparams = (int32_t)stats->len;
        if (nparams > 0 && (guint)nparams < stats->len) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "nparams is %d, there are %u", nparams, stats->len);
        } else {
                if (nparams > 0) {
                        ret.params.n = stats->len;
                        ret.params.v = arena_new(&call->arena, struct remote_node_get_cpu_stats, stats->len);
                }
                for (guint i = 0; i < ret.params.n; i++) {
                        const DomusNodeStat *s = &g_array_index(stats, DomusNodeStat, i);

                        ret.params.v[i] = (struct remote_node_get_cpu_stats){ s->field, s->value };
                }
                call_reply(call, &ret);
        }
        g_array_unref(stats);
}

static void get_cpu_stats(struct call *call, const void *p)
{
        const struct remote_node_get_cpu_stats_args *args = p;
        GError *error = NULL;
        GArray *stats = domus_host_cpu_stats(call_host(call), args->cpu_num, &error);

        reply_stats(call, stats, error, args->nparams);
}

static void get_memory_stats(struct call *call, const void *p)
{
        const struct remote_node_get_memory_stats_args *args = p;
        GError *error = NULL;
        GArray *stats = domus_host_memory_stats(call_host(call), args->cell_num, &error);

        reply_stats(call, stats, error, args->nparams);
}

static void get_free_memory(struct call *call, const void *args)
{
        uint64_t bytes = domus_host_free_memory(call_host(call));

        call_reply(call, &bytes);
}

static bool valid_cells(struct call *call, int32_t start, int64_t count)
{
        if (start >= 0 && (unsigned)start < domus_host_facts(call_host(call))->n_nodes && count > 0)
                return true;
        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "start cell %d or count %d out of range", start, (int)count);
        return false;
}

static void get_cells_free_memory(struct call *call, const void *p)
{
        const struct remote_node_get_cells_free_memory_args *args = p;
        struct remote_node_get_cells_free_memory_ret ret = { 0 };
        GError *error = NULL;
        unsigned n;

        if (!valid_cells(call, args->start_cell, args->maxcells))
                return;
        n = MIN(domus_host_facts(call_host(call))->n_nodes - (unsigned)args->start_cell, (unsigned)args->maxcells);
        n = MIN(n, REMOTE_NODE_MAX_CELLS);
        ret.cells.v = arena_new(&call->arena, uint64_t, n);
        for (; ret.cells.n < n; ret.cells.n++)
                if (!domus_host_cell_free_memory(call_host(call), (unsigned)args->start_cell + ret.cells.n,
                            &ret.cells.v[ret.cells.n], &error)) {
                        call_fail_take(call, error);
                        return;
                }
        call_reply(call, &ret);
}

/* Labels come from a security module; there is none. Clients copy the strings as they are, so each is
 * there, empty, with its NUL. */
static void get_security_model(struct call *call, const void *args)
{
        int8_t nul = 0;
        struct remote_node_get_security_model_ret ret = { .model = { 1, &nul }, .doi = { 1, &nul } };

        call_reply(call, &ret);
}

static const struct handler rows[] = {
        { REMOTE_PROC_NODE_GET_INFO, get_info },
        { REMOTE_PROC_NODE_GET_CPU_MAP, get_cpu_map },
        { REMOTE_PROC_NODE_GET_CPU_STATS, get_cpu_stats },
        { REMOTE_PROC_NODE_GET_MEMORY_STATS, get_memory_stats },
        { REMOTE_PROC_NODE_GET_FREE_MEMORY, get_free_memory },
        { REMOTE_PROC_NODE_GET_CELLS_FREE_MEMORY, get_cells_free_memory },
        { REMOTE_PROC_NODE_GET_SECURITY_MODEL, get_security_model },
};

HANDLER_TABLE(node_handlers, rows);
