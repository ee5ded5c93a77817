/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Figures of running domains: CPU time, memory, and all of them at once as typed parameters. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/handlers.h"
#include "libvirt-driver/params.h"
#include "model/domain-device.h"

/* --- CONNECT_GET_ALL_DOMAIN_STATS: the groups, with libvirt's names --- */

struct subject {
        DomusDomain *domain;
        const DomusDomainDef *def;
        const DomusDomainStats *stats;
        GHashTable *devices; /* counters of the VM's devices; NULL: none */
        bool active;
};

static void put_state(struct params *p, const struct subject *s)
{
        int reason, state = domus_domain_state(s->domain, &reason);

        params_add_int(p, state, "state.state");
        params_add_int(p, reason, "state.reason");
}

static void put_cpu(struct params *p, const struct subject *s)
{
        if (!s->active)
                return;
        params_add_ull(p, s->stats->cpu_time_ns, "cpu.time");
        params_add_ull(p, s->stats->user_ns, "cpu.user");
        params_add_ull(p, s->stats->system_ns, "cpu.system");
}

/* In KiB but for faults and the time. */
static const struct {
        const char *counter, *name;
        int tag; /* virDomainMemoryStatTags */
        unsigned unit;
} balloon_counters[] = {
        { "swap-in", "balloon.swap_in", VIR_DOMAIN_MEMORY_STAT_SWAP_IN, 1024 },
        { "swap-out", "balloon.swap_out", VIR_DOMAIN_MEMORY_STAT_SWAP_OUT, 1024 },
        { "major-faults", "balloon.major_fault", VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT, 1 },
        { "minor-faults", "balloon.minor_fault", VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT, 1 },
        { "free-memory", "balloon.unused", VIR_DOMAIN_MEMORY_STAT_UNUSED, 1024 },
        { "total-memory", "balloon.available", VIR_DOMAIN_MEMORY_STAT_AVAILABLE, 1024 },
        { "available-memory", "balloon.usable", VIR_DOMAIN_MEMORY_STAT_USABLE, 1024 },
        { "last-update", "balloon.last-update", VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE, 1 },
        { "disk-caches", "balloon.disk_caches", VIR_DOMAIN_MEMORY_STAT_DISK_CACHES, 1024 },
        { "hugetlb-allocations", "balloon.hugetlb_pgalloc", VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGALLOC, 1 },
        { "hugetlb-failures", "balloon.hugetlb_pgfail", VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGFAIL, 1 },
};

static void put_balloon_counters(struct params *p, const struct subject *s)
{
        const DomusDevice *balloon = domus_domain_def_balloon(s->def);
        uint64_t value;

        for (size_t i = 0; balloon && i < ARRAY_SIZE(balloon_counters); i++)
                if (domus_device_counter(s->devices, balloon->alias, balloon_counters[i].counter, &value))
                        params_add_ull(p, value / balloon_counters[i].unit, "%s", balloon_counters[i].name);
}

static void put_balloon(struct params *p, const struct subject *s)
{
        params_add_ull(p, s->active ? s->stats->memory_kib : s->def->memory_current, "balloon.current");
        params_add_ull(p, s->def->memory_max, "balloon.maximum");
        if (!s->active)
                return;
        put_balloon_counters(p, s);
        params_add_ull(p, s->stats->rss / 1024, "balloon.rss");
}

static void put_vcpus(struct params *p, const struct subject *s)
{
        params_add_uint(p, s->active ? s->stats->n_vcpus : s->def->vcpus_current, "vcpu.current");
        params_add_uint(p, s->def->vcpus_max, "vcpu.maximum");
        for (unsigned i = 0; i < s->stats->n_vcpus; i++) {
                params_add_int(p, s->stats->vcpus[i].state, "vcpu.%u.state", i);
                params_add_ull(p, s->stats->vcpus[i].time_ns, "vcpu.%u.time", i);
                params_add_bool(p, s->stats->vcpus[i].halted, "vcpu.%u.halted", i);
        }
}

/* --- Interfaces and disks --- */

static void put_interface(struct params *p, const struct subject *s, const DomusDevice *d, unsigned i)
{
        DomusHookTapStats t;

        if (d->interface.target)
                params_add_string(p, d->interface.target, "net.%u.name", i);
        if (!s->active || !domus_domain_interface_counters(s->domain, d, s->devices, &t, NULL))
                return;
        params_add_ull(p, t.rx_bytes, "net.%u.rx.bytes", i);
        params_add_ull(p, t.rx_packets, "net.%u.rx.pkts", i);
        params_add_ull(p, t.rx_errs, "net.%u.rx.errs", i);
        params_add_ull(p, t.rx_drop, "net.%u.rx.drop", i);
        params_add_ull(p, t.tx_bytes, "net.%u.tx.bytes", i);
        params_add_ull(p, t.tx_packets, "net.%u.tx.pkts", i);
        params_add_ull(p, t.tx_errs, "net.%u.tx.errs", i);
        params_add_ull(p, t.tx_drop, "net.%u.tx.drop", i);
}

static void put_interfaces(struct params *p, const struct subject *s)
{
        const DomusDevice *d;
        unsigned n = 0;

        while (domus_domain_def_device(s->def, DOMUS_DEVICE_INTERFACE, n))
                n++;
        params_add_uint(p, n, "net.count");
        for (unsigned i = 0; (d = domus_domain_def_device(s->def, DOMUS_DEVICE_INTERFACE, i)); i++)
                put_interface(p, s, d, i);
}

static void put_disk_counters(struct params *p, const struct subject *s, const DomusDevice *d, unsigned i)
{
        static const char *const names[][2] = {
                { "rd-req", "rd.reqs" },   { "rd-bytes", "rd.bytes" },  { "rd-time", "rd.times" },   { "wr-req", "wr.reqs" },
                { "wr-bytes", "wr.bytes" }, { "wr-time", "wr.times" },  { "flush-req", "fl.reqs" }, { "flush-time", "fl.times" },
                { "errors", "errors" },
        };
        uint64_t value;

        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
                if (domus_device_counter(s->devices, d->alias, names[k][0], &value))
                        params_add_ull(p, value, "block.%u.%s", i, names[k][1]);
}

static void put_disk(struct params *p, const struct subject *s, const DomusDevice *d, unsigned i)
{
        const char *path = domus_domain_disk_path(s->domain, d);
        DomusDiskInfo info;

        params_add_string(p, d->disk.target, "block.%u.name", i);
        if (path)
                params_add_string(p, path, "block.%u.path", i);
        if (s->active)
                put_disk_counters(p, s, d, i);
        if (!domus_domain_disk_info(s->domain, d, &info, NULL))
                return;
        params_add_ull(p, info.allocation, "block.%u.allocation", i);
        params_add_ull(p, info.capacity, "block.%u.capacity", i);
        params_add_ull(p, info.physical, "block.%u.physical", i);
}

static void put_disks(struct params *p, const struct subject *s)
{
        const DomusDevice *d;
        unsigned n = 0;

        while (domus_domain_def_device(s->def, DOMUS_DEVICE_DISK, n))
                n++;
        params_add_uint(p, n, "block.count");
        for (unsigned i = 0; (d = domus_domain_def_device(s->def, DOMUS_DEVICE_DISK, i)); i++)
                put_disk(p, s, d, i);
}

static const struct {
        uint32_t bit;
        void (*put)(struct params *p, const struct subject *s);
} groups[] = {
        { VIR_DOMAIN_STATS_STATE, put_state },
        { VIR_DOMAIN_STATS_CPU_TOTAL, put_cpu },
        { VIR_DOMAIN_STATS_BALLOON, put_balloon },
        { VIR_DOMAIN_STATS_VCPU, put_vcpus },
        { VIR_DOMAIN_STATS_INTERFACE, put_interfaces },
        { VIR_DOMAIN_STATS_BLOCK, put_disks },
};
#define DEVICE_GROUPS (VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK)
#define GROUPS (VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_VCPU | DEVICE_GROUPS)

static void put_record(struct call *call, DomusDomain *d, GHashTable *devices, uint32_t bits, struct remote_domain_stats_record *ret)
{
        DomusDomainStats stats = { 0 };
        struct subject s = { d, domus_domain_def(d, false), &stats, devices, domus_domain_is_active(d) };
        struct params p;

        params_init(&p, call);
        domus_domain_stats(d, &stats);
        call_put_domain(call, &ret->dom, d);
        for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
                if (bits & groups[i].bit)
                        groups[i].put(&p, &s);
        params_take(&p, call, &ret->params.n, &ret->params.v);
        domus_domain_stats_clear(&stats);
}

/* The domains asked for, as far as they exist and the filters let them; with no list, all that the filters
 * let. */
static GPtrArray *pick_domains(struct call *call, const struct remote_connect_get_all_domain_stats_args *args,
        uint32_t filters)
{
        GPtrArray *all = domus_manager_list(call_manager(call), filters);
        GPtrArray *picked;

        if (!args->doms.n)
                return all;
        picked = g_ptr_array_new_with_free_func((GDestroyNotify)domus_domain_unref);
        for (uint32_t i = 0; i < args->doms.n; i++) {
                DomusDomain *d = domus_manager_lookup_uuid(call_manager(call), args->doms.v[i].uuid, NULL);

                if (d && g_ptr_array_find(all, d, NULL))
                        g_ptr_array_add(picked, domus_domain_ref(d));
        }
        g_ptr_array_unref(all);
        return picked;
}

#define FILTERS                                                                                             \
        (VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE |            \
                VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT | VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT | \
                VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED |      \
                VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF | VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER)
#define STATS_FLAGS                                                                                         \
        (FILTERS | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT | VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING |   \
                VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS)

/* One call for all domains: each VM with devices is asked, and the reply goes out when the last has answered. */
struct gathering {
        struct call *call;
        uint32_t bits;
        GPtrArray *domains;   /* referenced */
        GPtrArray *devices;   /* GHashTable * or NULL, one per domain */
        unsigned pending;
};

struct gathered {
        struct gathering *all;
        guint i;
};

static void finish_gathering(struct gathering *g)
{
        struct remote_connect_get_all_domain_stats_ret ret = { 0 };
        struct call *call = g->call;

        if (--g->pending > 0)
                return;
        ret.ret_stats.n = g->domains->len;
        ret.ret_stats.v = arena_new(&call->arena, struct remote_domain_stats_record, g->domains->len);
        for (guint i = 0; i < g->domains->len; i++)
                put_record(call, g->domains->pdata[i], g->devices->pdata[i], g->bits, &ret.ret_stats.v[i]);
        for (guint i = 0; i < g->devices->len; i++)
                if (g->devices->pdata[i])
                        g_hash_table_unref(g->devices->pdata[i]);
        g_ptr_array_unref(g->devices);
        g_ptr_array_unref(g->domains);
        g_free(g);
        call_reply(call, &ret);
}

static void on_gathered(GHashTable *by_alias, const GError *error, gpointer opaque)
{
        struct gathered *part = opaque;
        struct gathering *g = part->all;

        g->devices->pdata[part->i] = g_hash_table_ref(by_alias);
        g_free(part);
        finish_gathering(g);
}

static void get_all_domain_stats(struct call *call, const void *p)
{
        const struct remote_connect_get_all_domain_stats_args *args = p;
        uint32_t bits = args->stats ? args->stats : GROUPS;
        struct gathering *g;

        if ((args->flags & (uint32_t)VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS) && (bits & ~(uint32_t)GROUPS)) {
                call_fail_new(call, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "Stats types bits 0x%x are not supported by this daemon",
                        bits & ~(uint32_t)GROUPS);
                return;
        }
        g = g_new0(struct gathering, 1);
        *g = (struct gathering){ .call = call, .bits = bits, .domains = pick_domains(call, args, args->flags & FILTERS), .pending = 1 };
        g->devices = g_ptr_array_new();
        g_ptr_array_set_size(g->devices, (gint)g->domains->len);
        for (guint i = 0; (bits & DEVICE_GROUPS) && i < g->domains->len; i++) {
                struct gathered *part = g_new0(struct gathered, 1);

                *part = (struct gathered){ g, i };
                g->pending++;
                domus_domain_device_stats(g->domains->pdata[i], NULL, on_gathered, part);
        }
        finish_gathering(g);
}

/* --- Single figures --- */

static void get_cpu_stats(struct call *call, const void *p)
{
        const struct remote_domain_get_cpu_stats_args *args = p;
        struct remote_domain_get_cpu_stats_ret ret = { 0 };
        DomusDomain *d = call_active_domain(call, &args->dom);
        DomusDomainStats stats = { 0 };
        struct params list;

        if (!d)
                return;
        if (args->start_cpu != -1) {
                call_fail_new(call, DOMUS_ERROR_OPERATION_UNSUPPORTED, "time is not counted per host CPU, only in total");
                return;
        }
        domus_domain_stats(d, &stats);
        params_init(&list, call);
        params_add_ull(&list, stats.cpu_time_ns, VIR_DOMAIN_CPU_STATS_CPUTIME);
        params_add_ull(&list, stats.user_ns, VIR_DOMAIN_CPU_STATS_USERTIME);
        params_add_ull(&list, stats.system_ns, VIR_DOMAIN_CPU_STATS_SYSTEMTIME);
        ret.nparams = params_take_probed(&list, call, (int32_t)args->nparams, &ret.params.n, &ret.params.v);
        domus_domain_stats_clear(&stats);
        call_reply(call, &ret);
}

struct memory_query {
        struct call *call;
        DomusDomain *domain; /* referenced */
        uint32_t room;
};

static void add_stat(GArray *stats, int tag, uint64_t value)
{
        struct remote_domain_memory_stat stat = { tag, value };

        g_array_append_val(stats, stat);
}

static void on_memory_stats(GHashTable *by_alias, const GError *error, gpointer opaque)
{
        struct memory_query *q = opaque;
        struct call *call = q->call;
        const DomusDomainDef *def = domus_domain_def(q->domain, false);
        const DomusDevice *balloon = domus_domain_def_balloon(def);
        g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(struct remote_domain_memory_stat));
        struct remote_domain_memory_stats_ret ret = { 0 };
        DomusDomainStats stats = { 0 };
        uint64_t value;

        domus_domain_stats(q->domain, &stats);
        add_stat(list, VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON, stats.memory_kib);
        for (size_t i = 0; balloon && i < ARRAY_SIZE(balloon_counters); i++)
                if (domus_device_counter(by_alias, balloon->alias, balloon_counters[i].counter, &value))
                        add_stat(list, balloon_counters[i].tag, value / balloon_counters[i].unit);
        add_stat(list, VIR_DOMAIN_MEMORY_STAT_RSS, stats.rss / 1024);
        ret.stats.n = MIN(q->room, list->len);
        ret.stats.v = (struct remote_domain_memory_stat *)(void *)list->data;
        domus_domain_stats_clear(&stats);
        domus_domain_unref(q->domain);
        g_free(q);
        call_reply(call, &ret);
}

static void memory_stats(struct call *call, const void *p)
{
        const struct remote_domain_memory_stats_args *args = p;
        DomusDomain *d = call_active_domain(call, &args->dom);
        const DomusDevice *balloon = d ? domus_domain_def_balloon(domus_domain_def(d, false)) : NULL;
        struct memory_query *q;

        if (!d)
                return;
        q = g_new0(struct memory_query, 1);
        *q = (struct memory_query){ call, domus_domain_ref(d), args->max_stats };
        domus_domain_device_stats(d, balloon ? balloon->alias : "", on_memory_stats, q);
}

static void set_memory_stats_period(struct call *call, const void *p)
{
        const struct remote_domain_set_memory_stats_period_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_set_stats_period(d, args->period, args->flags, call_done, call);
}

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_GET_ALL_DOMAIN_STATS, get_all_domain_stats, STATS_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_CPU_STATS, get_cpu_stats, VIR_TYPED_PARAM_STRING_OKAY },
        { REMOTE_PROC_DOMAIN_MEMORY_STATS, memory_stats },
        { REMOTE_PROC_DOMAIN_SET_MEMORY_STATS_PERIOD, set_memory_stats_period, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG },
};

HANDLER_TABLE(domain_stats_handlers, rows);
