/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single settings of a domain: autostart, memory, vCPUs, actions, metadata, and (not yet changeable) CPU
 * affinity. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/agent.h"
#include "libvirt-driver/handlers.h"

#define AFFECT_FLAGS (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)

static void set_autostart(struct call *call, const void *p)
{
        const struct remote_domain_set_autostart_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;

        if (d)
                call_reply_bool(call, domus_domain_set_autostart(d, args->autostart != 0, &error), &error);
}

static void set_lifecycle_action(struct call *call, const void *p)
{
        const struct remote_domain_set_lifecycle_action_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;

        if (d)
                call_reply_bool(call, domus_domain_set_action(d, args->type, args->action, (unsigned)args->flags, &error), &error);
}

/* --- Metadata --- */

static void set_metadata(struct call *call, const void *p)
{
        const struct remote_domain_set_metadata_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;

        if (d)
                call_reply_bool(call,
                        domus_domain_set_metadata(d, args->type, args->metadata, args->key, args->uri, (unsigned)args->flags, &error),
                        &error);
}

static void get_metadata(struct call *call, const void *p)
{
        const struct remote_domain_get_metadata_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;
        char *text;

        if (!d)
                return;
        text = domus_domain_get_metadata(d, args->type, args->uri, (unsigned)args->flags, &error);
        call_reply_string(call, text, error);
}

/* --- Memory and vCPU count --- */

static void set_memory_with(struct call *call, const struct remote_domain *dom, uint64_t kib, unsigned flags)
{
        DomusDomain *d = call_domain(call, dom);

        if (d)
                domus_domain_set_memory(d, kib, flags, call_done, call);
}

static void set_memory(struct call *call, const void *p)
{
        const struct remote_domain_set_memory_args *args = p;

        set_memory_with(call, &args->dom, args->memory, VIR_DOMAIN_AFFECT_LIVE);
}

static void set_max_memory(struct call *call, const void *p)
{
        const struct remote_domain_set_max_memory_args *args = p;

        set_memory_with(call, &args->dom, args->memory, VIR_DOMAIN_MEM_MAXIMUM);
}

static void set_memory_flags(struct call *call, const void *p)
{
        const struct remote_domain_set_memory_flags_args *args = p;

        set_memory_with(call, &args->dom, args->memory, args->flags);
}

static void set_vcpus_with(struct call *call, const struct remote_domain *dom, uint32_t n, unsigned flags)
{
        DomusDomain *d = flags & VIR_DOMAIN_VCPU_GUEST ? NULL : call_domain(call, dom);
        GError *error = NULL;

        if (flags & VIR_DOMAIN_VCPU_GUEST)
                agent_set_vcpus(call, dom, n);
        else if (d)
                call_reply_bool(call, domus_domain_set_vcpus(d, n, flags, &error), &error);
}

static void set_vcpus(struct call *call, const void *p)
{
        const struct remote_domain_set_vcpus_args *args = p;

        set_vcpus_with(call, &args->dom, args->nvcpus, VIR_DOMAIN_AFFECT_LIVE);
}

static void set_vcpus_flags(struct call *call, const void *p)
{
        const struct remote_domain_set_vcpus_flags_args *args = p;

        set_vcpus_with(call, &args->dom, args->nvcpus, args->flags);
}

/* The definition that flags of virDomainModificationImpact ask for; answers the call itself and returns
 * NULL if there is none. */
static const DomusDomainDef *pick_def(struct call *call, const struct remote_domain *dom, unsigned flags)
{
        bool live = flags & VIR_DOMAIN_AFFECT_LIVE, config = flags & VIR_DOMAIN_AFFECT_CONFIG;
        DomusDomain *d = call_domain(call, dom);

        if (!d)
                return NULL;
        if (live && config)
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG,
                        "flags 'VIR_DOMAIN_AFFECT_LIVE' and 'VIR_DOMAIN_AFFECT_CONFIG' in function %s are mutually exclusive",
                        call->proc->api);
        else if (live && !domus_domain_is_active(d))
                call_fail_new(call, DOMUS_ERROR_OPERATION_INVALID, "domain is not running");
        else if (config && !domus_domain_is_persistent(d))
                call_fail_new(call, DOMUS_ERROR_OPERATION_INVALID, "transient domains do not have any persistent config");
        else
                return domus_domain_def(d, config);
        return NULL;
}

static void get_vcpus_flags(struct call *call, const void *p)
{
        const struct remote_domain_get_vcpus_flags_args *args = p;
        const DomusDomainDef *def;

        if (args->flags & VIR_DOMAIN_VCPU_GUEST) {
                agent_count_vcpus(call, &args->dom, args->flags & VIR_DOMAIN_VCPU_MAXIMUM);
                return;
        }
        def = pick_def(call, &args->dom, args->flags);
        if (def)
                call_reply_i32(call, (int32_t)(args->flags & VIR_DOMAIN_VCPU_MAXIMUM ? def->vcpus_max : def->vcpus_current));
}

static void get_max_vcpus(struct call *call, const void *p)
{
        const struct remote_domain_get_max_vcpus_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                call_reply_i32(call, (int32_t)domus_domain_def(d, false)->vcpus_max);
}

/* --- Affinity: every thread may run on every host CPU --- */

static uint8_t *all_cpus(struct call *call, uint32_t maps, uint32_t maplen)
{
        uint8_t *v = arena_alloc(&call->arena, (size_t)maps * maplen);
        unsigned cpus, online;

        g_free(domus_host_cpu_map(call_host(call), &cpus, &online));
        for (uint32_t m = 0; m < maps; m++)
                for (unsigned i = 0; i < cpus && i / 8 < maplen; i++)
                        v[(size_t)m * maplen + i / 8] |= (uint8_t)(1 << i % 8);
        return v;
}

/* Also answers the call where it fails. */
static bool valid_maps(struct call *call, int32_t n, int32_t maplen)
{
        if (n >= 0 && n <= REMOTE_VCPUINFO_MAX && maplen >= 0 && maplen <= REMOTE_CPUMAP_MAX)
                return true;
        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "%d maps of %d bytes are out of range", n, maplen);
        return false;
}

static void get_vcpu_pin_info(struct call *call, const void *p)
{
        const struct remote_domain_get_vcpu_pin_info_args *args = p;
        struct remote_domain_get_vcpu_pin_info_ret ret = { 0 };
        const DomusDomainDef *def;

        if (!valid_maps(call, args->ncpumaps, args->maplen))
                return;
        def = pick_def(call, &args->dom, args->flags);
        if (!def)
                return;
        ret.num = (int32_t)MIN(def->vcpus_current, (unsigned)args->ncpumaps);
        ret.cpumaps.n = (uint32_t)ret.num * (uint32_t)args->maplen;
        ret.cpumaps.v = all_cpus(call, (uint32_t)ret.num, (uint32_t)args->maplen);
        call_reply(call, &ret);
}

static void get_emulator_pin_info(struct call *call, const void *p)
{
        const struct remote_domain_get_emulator_pin_info_args *args = p;
        struct remote_domain_get_emulator_pin_info_ret ret = { 0 };

        if (!valid_maps(call, 1, args->maplen) || !pick_def(call, &args->dom, (unsigned)args->flags))
                return;
        ret.ret = 1;
        ret.cpumaps.n = (uint32_t)args->maplen;
        ret.cpumaps.v = all_cpus(call, 1, (uint32_t)args->maplen);
        call_reply(call, &ret);
}

static void get_vcpus(struct call *call, const void *p)
{
        const struct remote_domain_get_vcpus_args *args = p;
        struct remote_domain_get_vcpus_ret ret = { 0 };
        DomusDomainStats stats = { 0 };
        DomusDomain *d;

        if (!valid_maps(call, args->maxinfo, args->maplen))
                return;
        d = call_active_domain(call, &args->dom);
        if (!d)
                return;
        domus_domain_stats(d, &stats);
        ret.info.n = MIN(stats.n_vcpus, (unsigned)args->maxinfo);
        ret.info.v = arena_new(&call->arena, struct remote_vcpu_info, ret.info.n);
        for (uint32_t i = 0; i < ret.info.n; i++)
                ret.info.v[i] = (struct remote_vcpu_info){
                        i, stats.vcpus[i].state, stats.vcpus[i].time_ns, stats.vcpus[i].host_cpu
                };
        ret.cpumaps.n = ret.info.n * (uint32_t)args->maplen;
        ret.cpumaps.v = all_cpus(call, ret.info.n, (uint32_t)args->maplen);
        domus_domain_stats_clear(&stats);
        call_reply(call, &ret);
}

/* --- Scheduling: the host's, with nothing to set --- */

static void get_scheduler_type(struct call *call, const void *p)
{
        const struct remote_domain_get_scheduler_type_args *args = p;
        struct remote_domain_get_scheduler_type_ret ret = { .type = "posix" };

        if (call_domain(call, &args->dom))
                call_reply(call, &ret);
}

static void no_parameters(struct call *call, const void *args)
{
        if (call_domain(call, args))
                call_reply_empty(call, args);
}

#define VCPU_FLAGS (AFFECT_FLAGS | VIR_DOMAIN_VCPU_MAXIMUM | VIR_DOMAIN_VCPU_GUEST)

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_SET_AUTOSTART, set_autostart },
        { REMOTE_PROC_DOMAIN_SET_LIFECYCLE_ACTION, set_lifecycle_action, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_SET_METADATA, set_metadata, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_METADATA, get_metadata, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_SET_MEMORY, set_memory },
        { REMOTE_PROC_DOMAIN_SET_MAX_MEMORY, set_max_memory },
        { REMOTE_PROC_DOMAIN_SET_MEMORY_FLAGS, set_memory_flags, AFFECT_FLAGS | VIR_DOMAIN_MEM_MAXIMUM },
        { REMOTE_PROC_DOMAIN_SET_VCPUS, set_vcpus },
        { REMOTE_PROC_DOMAIN_SET_VCPUS_FLAGS, set_vcpus_flags, VCPU_FLAGS | VIR_DOMAIN_VCPU_HOTPLUGGABLE },
        { REMOTE_PROC_DOMAIN_GET_VCPUS_FLAGS, get_vcpus_flags, VCPU_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_MAX_VCPUS, get_max_vcpus },
        { REMOTE_PROC_DOMAIN_GET_VCPUS, get_vcpus },
        { REMOTE_PROC_DOMAIN_GET_VCPU_PIN_INFO, get_vcpu_pin_info, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_EMULATOR_PIN_INFO, get_emulator_pin_info, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_SCHEDULER_TYPE, get_scheduler_type },
        { REMOTE_PROC_DOMAIN_GET_SCHEDULER_PARAMETERS, no_parameters },
        { REMOTE_PROC_DOMAIN_GET_SCHEDULER_PARAMETERS_FLAGS, no_parameters, AFFECT_FLAGS | VIR_TYPED_PARAM_STRING_OKAY },
};

HANDLER_TABLE(domain_config_handlers, rows);
