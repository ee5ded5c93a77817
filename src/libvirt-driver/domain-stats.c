/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Figures of running domains: CPU time, memory, and all of them at once as typed parameters. */
#include <libvirt/libvirt.h>
#include <stdarg.h>

#include "libvirt-driver/handlers.h"

/* --- Typed parameters --- */

struct params {
        struct arena *arena;
        GArray *array; /* of struct remote_typed_param; the strings are the arena's */
};

static void params_init(struct params *p, struct call *call)
{
        p->arena = &call->arena;
        p->array = g_array_new(FALSE, TRUE, sizeof(struct remote_typed_param));
}

static void params_clear(struct params *p)
{
        g_clear_pointer(&p->array, g_array_unref);
}

static void add(struct params *p, struct xdr_typed_value value, const char *fmt, va_list ap)
{
        struct remote_typed_param param = { arena_take(p->arena, g_strdup_vprintf(fmt, ap)), value };

        g_array_append_val(p->array, param);
}

#define ADDER(suffix, ctype, vtype, member)                                                                 \
        static void add_##suffix(struct params *p, ctype value, const char *fmt, ...) DOMUS_PRINTF(3, 4);   \
        static void add_##suffix(struct params *p, ctype value, const char *fmt, ...)                       \
        {                                                                                                   \
                va_list ap;                                                                                 \
                                                                                                            \
                va_start(ap, fmt);                                                                          \
                add(p, (struct xdr_typed_value){ vtype, { .member = value } }, fmt, ap);                    \
                va_end(ap);                                                                                 \
        }

ADDER(int, int32_t, VIR_TYPED_PARAM_INT, i)
ADDER(uint, uint32_t, VIR_TYPED_PARAM_UINT, ui)
ADDER(ull, uint64_t, VIR_TYPED_PARAM_ULLONG, ul)
ADDER(bool, int32_t, VIR_TYPED_PARAM_BOOLEAN, b)

/* --- CONNECT_GET_ALL_DOMAIN_STATS: the groups, with libvirt's names --- */

struct subject {
        DomusDomain *domain;
        const DomusDomainDef *def;
        const DomusDomainStats *stats;
        bool active;
};

static void put_state(struct params *p, const struct subject *s)
{
        int reason, state = domus_domain_state(s->domain, &reason);

        add_int(p, state, "state.state");
        add_int(p, reason, "state.reason");
}

static void put_cpu(struct params *p, const struct subject *s)
{
        if (!s->active)
                return;
        add_ull(p, s->stats->cpu_time_ns, "cpu.time");
        add_ull(p, s->stats->user_ns, "cpu.user");
        add_ull(p, s->stats->system_ns, "cpu.system");
}

static void put_balloon(struct params *p, const struct subject *s)
{
        add_ull(p, s->active ? s->stats->memory_kib : s->def->memory_current, "balloon.current");
        add_ull(p, s->def->memory_max, "balloon.maximum");
        if (s->active)
                add_ull(p, s->stats->rss / 1024, "balloon.rss");
}

static void put_vcpus(struct params *p, const struct subject *s)
{
        add_uint(p, s->active ? s->stats->n_vcpus : s->def->vcpus_current, "vcpu.current");
        add_uint(p, s->def->vcpus_max, "vcpu.maximum");
        for (unsigned i = 0; i < s->stats->n_vcpus; i++) {
                add_int(p, s->stats->vcpus[i].state, "vcpu.%u.state", i);
                add_ull(p, s->stats->vcpus[i].time_ns, "vcpu.%u.time", i);
                add_bool(p, s->stats->vcpus[i].halted, "vcpu.%u.halted", i);
        }
}

static const struct {
        uint32_t bit;
        void (*put)(struct params *p, const struct subject *s);
} groups[] = {
        { VIR_DOMAIN_STATS_STATE, put_state },
        { VIR_DOMAIN_STATS_CPU_TOTAL, put_cpu },
        { VIR_DOMAIN_STATS_BALLOON, put_balloon },
        { VIR_DOMAIN_STATS_VCPU, put_vcpus },
};
#define GROUPS (VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_VCPU)

static void put_record(struct call *call, DomusDomain *d, uint32_t bits, struct remote_domain_stats_record *ret)
{
        DomusDomainStats stats = { 0 };
        struct subject s = { d, domus_domain_def(d, false), &stats, domus_domain_is_active(d) };
        struct params p;

        params_init(&p, call);
        domus_domain_stats(d, &stats);
        call_put_domain(call, &ret->dom, d);
        for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
                if (bits & groups[i].bit)
                        groups[i].put(&p, &s);
        ret->params.n = p.array->len;
        ret->params.v = arena_take(&call->arena, g_array_free(g_steal_pointer(&p.array), FALSE));
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

static void get_all_domain_stats(struct call *call, const void *p)
{
        const struct remote_connect_get_all_domain_stats_args *args = p;
        struct remote_connect_get_all_domain_stats_ret ret = { 0 };
        uint32_t bits = args->stats ? args->stats : GROUPS;
        GPtrArray *domains;

        if ((args->flags & (uint32_t)VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS) && (bits & ~(uint32_t)GROUPS)) {
                call_fail_new(call, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "Stats types bits 0x%x are not supported by this daemon",
                        bits & ~(uint32_t)GROUPS);
                return;
        }
        domains = pick_domains(call, args, args->flags & FILTERS);
        ret.ret_stats.n = domains->len;
        ret.ret_stats.v = arena_new(&call->arena, struct remote_domain_stats_record, domains->len);
        for (guint i = 0; i < domains->len; i++)
                put_record(call, domains->pdata[i], bits, &ret.ret_stats.v[i]);
        g_ptr_array_unref(domains);
        call_reply(call, &ret);
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
        add_ull(&list, stats.cpu_time_ns, VIR_DOMAIN_CPU_STATS_CPUTIME);
        add_ull(&list, stats.user_ns, VIR_DOMAIN_CPU_STATS_USERTIME);
        add_ull(&list, stats.system_ns, VIR_DOMAIN_CPU_STATS_SYSTEMTIME);
        /* With nparams 0 the caller asks how many there are. */
        ret.nparams = (int32_t)(args->nparams ? MIN(args->nparams, list.array->len) : list.array->len);
        ret.params.n = args->nparams ? (uint32_t)ret.nparams : 0;
        ret.params.v = (struct remote_typed_param *)(void *)list.array->data;
        domus_domain_stats_clear(&stats);
        call_reply(call, &ret);
        params_clear(&list);
}

static void memory_stats(struct call *call, const void *p)
{
        const struct remote_domain_memory_stats_args *args = p;
        DomusDomain *d = call_active_domain(call, &args->dom);
        struct remote_domain_memory_stat v[2];
        struct remote_domain_memory_stats_ret ret = { .stats = { 0, v } };
        DomusDomainStats stats = { 0 };

        if (!d)
                return;
        domus_domain_stats(d, &stats);
        v[0] = (struct remote_domain_memory_stat){ VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON, stats.memory_kib };
        v[1] = (struct remote_domain_memory_stat){ VIR_DOMAIN_MEMORY_STAT_RSS, stats.rss / 1024 };
        ret.stats.n = MIN(args->max_stats, ARRAY_SIZE(v));
        domus_domain_stats_clear(&stats);
        call_reply(call, &ret);
}

/* --- Devices: a domain has neither disks nor network interfaces yet --- */

static void no_disk(struct call *call, const void *p)
{
        const struct remote_domain_block_stats_args *args = p;

        if (call_domain(call, &args->dom))
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "invalid path: %s", args->path);
}

static void no_disk_flags(struct call *call, const void *p)
{
        const struct remote_domain_block_stats_flags_args *args = p;

        if (call_domain(call, &args->dom))
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "invalid path: %s", args->path);
}

static void no_disk_info(struct call *call, const void *p)
{
        const struct remote_domain_get_block_info_args *args = p;

        if (call_domain(call, &args->dom))
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "invalid path %s not assigned to domain", args->path);
}

static void no_interface(struct call *call, const void *p)
{
        const struct remote_domain_interface_stats_args *args = p;

        if (call_active_domain(call, &args->dom))
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "invalid path, '%s' is not a known interface", args->device);
}

static void interface_addresses(struct call *call, const void *p)
{
        const struct remote_domain_interface_addresses_args *args = p;

        if (!call_active_domain(call, &args->dom))
                return;
        if (args->source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
                call_fail_new(call, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "there is no guest agent to ask");
        else if (args->source > VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
                call_fail_new(call, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "Unknown IP address data source %u", args->source);
        else
                call_reply_empty(call, args);
}

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_GET_ALL_DOMAIN_STATS, get_all_domain_stats, STATS_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_CPU_STATS, get_cpu_stats, VIR_TYPED_PARAM_STRING_OKAY },
        { REMOTE_PROC_DOMAIN_MEMORY_STATS, memory_stats },
        { REMOTE_PROC_DOMAIN_BLOCK_STATS, no_disk },
        { REMOTE_PROC_DOMAIN_BLOCK_STATS_FLAGS, no_disk_flags, VIR_TYPED_PARAM_STRING_OKAY },
        { REMOTE_PROC_DOMAIN_GET_BLOCK_INFO, no_disk_info },
        { REMOTE_PROC_DOMAIN_INTERFACE_STATS, no_interface },
        { REMOTE_PROC_DOMAIN_INTERFACE_ADDRESSES, interface_addresses },
};

HANDLER_TABLE(domain_stats_handlers, rows);
