/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network interfaces of domains: figures, limits, addresses. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/agent.h"
#include "libvirt-driver/handlers.h"
#include "libvirt-driver/params.h"
#include "model/bandwidth.h"
#include "model/domain-device.h"

#define AFFECT_FLAGS (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)

/* --- Counters --- */

struct query {
        struct call *call;
        DomusDomain *domain; /* referenced */
        char *alias;
};

static void on_stats(GHashTable *by_alias, const GError *error, gpointer opaque)
{
        struct query *q = opaque;
        struct call *call = q->call;
        const DomusDevice *d = domus_domain_def_device_by_alias(domus_domain_def(q->domain, false), q->alias);
        GError *local = NULL;
        DomusHookTapStats t;

        if (!d)
                call_fail_new(call, DOMUS_ERROR_OPERATION_INVALID, "the interface is gone");
        else if (!domus_domain_interface_counters(q->domain, d, by_alias, &t, &local))
                call_fail_take(call, local);
        else
                call_reply(call, &(struct remote_domain_interface_stats_ret){
                                         (int64_t)t.rx_bytes, (int64_t)t.rx_packets, (int64_t)t.rx_errs, (int64_t)t.rx_drop,
                                         (int64_t)t.tx_bytes, (int64_t)t.tx_packets, (int64_t)t.tx_errs, (int64_t)t.tx_drop });
        domus_domain_unref(q->domain);
        g_free(q->alias);
        g_free(q);
}

static void interface_stats(struct call *call, const void *p)
{
        const struct remote_domain_interface_stats_args *args = p;
        DomusDomain *d = call_active_domain(call, &args->dom);
        const DomusDevice *interface = d ? domus_domain_def_interface(domus_domain_def(d, false), args->device) : NULL;
        struct query *q;

        if (!d)
                return;
        if (!interface) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "invalid path, '%s' is not a known interface", args->device);
                return;
        }
        q = g_new0(struct query, 1);
        *q = (struct query){ call, domus_domain_ref(d), g_strdup(interface->alias) };
        domus_domain_device_stats(d, q->alias, on_stats, q);
}

/* --- Limits --- */

struct rate_row {
        const char *name;
        size_t offset; /* in DomusBandwidth */
};

static const struct rate_row rate_rows[] = {
        { VIR_DOMAIN_BANDWIDTH_IN_AVERAGE, offsetof(DomusBandwidth, inbound.average) },
        { VIR_DOMAIN_BANDWIDTH_IN_PEAK, offsetof(DomusBandwidth, inbound.peak) },
        { VIR_DOMAIN_BANDWIDTH_IN_BURST, offsetof(DomusBandwidth, inbound.burst) },
        { VIR_DOMAIN_BANDWIDTH_IN_FLOOR, offsetof(DomusBandwidth, inbound.floor) },
        { VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE, offsetof(DomusBandwidth, outbound.average) },
        { VIR_DOMAIN_BANDWIDTH_OUT_PEAK, offsetof(DomusBandwidth, outbound.peak) },
        { VIR_DOMAIN_BANDWIDTH_OUT_BURST, offsetof(DomusBandwidth, outbound.burst) },
};

static uint64_t *rate_value(DomusBandwidth *b, const struct rate_row *row)
{
        return (uint64_t *)(void *)((char *)b + row->offset);
}

/* NULL after answering the call. */
static const DomusDevice *find_interface(struct call *call, DomusDomain *d, bool config, const char *name)
{
        const DomusDomainDef *def = domus_domain_def(d, config);
        const DomusDevice *interface = def ? domus_domain_def_interface(def, name) : NULL;

        if (!def)
                call_fail_new(call, DOMUS_ERROR_OPERATION_INVALID, "the domain has no persistent definition");
        else if (!interface)
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "cannot find interface '%s'", name);
        return interface;
}

static bool read_limits(struct call *call, const struct remote_domain_set_interface_parameters_args *args, DomusBandwidth *b)
{
        for (uint32_t i = 0; i < args->params.n; i++) {
                const struct remote_typed_param *param = &args->params.v[i];
                uint64_t value;
                size_t k = 0;

                while (k < ARRAY_SIZE(rate_rows) && strcmp(rate_rows[k].name, param->field) != 0)
                        k++;
                if (k == ARRAY_SIZE(rate_rows) || !params_number(param, &value)) {
                        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "parameter '%s' is not supported, or not a number", param->field);
                        return false;
                }
                *rate_value(b, &rate_rows[k]) = value;
        }
        return true;
}

/* A direction without an average has no limit, whatever else is said of it (virDomainSetInterfaceParameters). */
static void drop_unlimited(DomusBandwidth *b)
{
        uint64_t floor = b->inbound.floor;

        if (!b->inbound.average)
                b->inbound = (DomusBandwidthRate){ .floor = floor };
        if (!b->outbound.average)
                b->outbound = (DomusBandwidthRate){ 0 };
}

static void set_limits(struct call *call, const void *p)
{
        const struct remote_domain_set_interface_parameters_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        const DomusDevice *interface;
        DomusBandwidth b = { 0 };
        GError *error = NULL;

        if (!d)
                return;
        interface = find_interface(call, d, args->flags & VIR_DOMAIN_AFFECT_CONFIG && !(args->flags & VIR_DOMAIN_AFFECT_LIVE), args->device);
        if (!interface)
                return;
        b = interface->interface.bandwidth;
        if (!read_limits(call, args, &b))
                return;
        drop_unlimited(&b);
        if (!domus_bandwidth_check(&b, true, &error)) {
                call_fail_take(call, error);
                return;
        }
        domus_domain_set_bandwidth(d, args->device, &b, args->flags & AFFECT_FLAGS, call_done, call);
}

static void get_limits(struct call *call, const void *p)
{
        const struct remote_domain_get_interface_parameters_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        struct remote_domain_get_interface_parameters_ret ret = { 0 };
        const DomusDevice *interface;
        DomusBandwidth b = { 0 };
        struct params list;

        if (!d)
                return;
        interface = find_interface(call, d, (uint32_t)args->flags & VIR_DOMAIN_AFFECT_CONFIG, args->device);
        if (!interface)
                return;
        b = interface->interface.bandwidth;
        params_init(&list, call);
        for (size_t i = 0; i < ARRAY_SIZE(rate_rows); i++)
                params_add_uint(&list, (uint32_t)MIN(*rate_value(&b, &rate_rows[i]), UINT32_MAX), "%s", rate_rows[i].name);
        ret.nparams = params_take_probed(&list, call, args->nparams, &ret.params.n, &ret.params.v);
        call_reply(call, &ret);
}

/* --- Addresses --- */

static void put_addresses(struct call *call, const DomusDevice *d, const GPtrArray *addresses, struct remote_domain_interface *ret)
{
        char mac[DOMUS_MAC_STRING_LEN];

        domus_mac_format(d->interface.mac, mac);
        *ret = (struct remote_domain_interface){ .name = arena_strdup(&call->arena, d->interface.target ? d->interface.target : d->alias) };
        ret->hwaddr = arena_strdup(&call->arena, mac);
        ret->addrs.n = addresses->len;
        ret->addrs.v = arena_new(&call->arena, struct remote_domain_ip_addr, addresses->len ? addresses->len : 1);
        for (guint i = 0; i < addresses->len; i++) {
                const DomusHookAddress *a = addresses->pdata[i];

                ret->addrs.v[i] = (struct remote_domain_ip_addr){ a->type, arena_strdup(&call->arena, a->address), a->prefix };
        }
}

/* Interfaces of which nothing is known are left out, as libvirt does. */
static void known_addresses(struct call *call, DomusDomain *d, bool arp)
{
        struct remote_domain_interface_addresses_ret ret = { 0 };
        const DomusDomainDef *def = domus_domain_def(d, false);
        const DomusDevice *interface;

        ret.ifaces.v = arena_new(&call->arena, struct remote_domain_interface, def->devices->len + 1);
        for (unsigned i = 0; (interface = domus_domain_def_device(def, DOMUS_DEVICE_INTERFACE, i)); i++) {
                GError *error = NULL;
                g_autoptr(GPtrArray) addresses = domus_domain_interface_addresses(d, interface, arp, &error);

                if (!addresses) {
                        call_fail_take(call, error);
                        return;
                }
                if (addresses->len)
                        put_addresses(call, interface, addresses, &ret.ifaces.v[ret.ifaces.n++]);
        }
        call_reply(call, &ret);
}

static void interface_addresses(struct call *call, const void *p)
{
        const struct remote_domain_interface_addresses_args *args = p;
        DomusDomain *d = call_active_domain(call, &args->dom);

        if (!d)
                return;
        if (args->source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
                domus_domain_agent_call(d, "guest-network-get-interfaces", NULL, agent_put_interfaces, call);
        else if (args->source > VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
                call_fail_new(call, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "Unknown IP address data source %u", args->source);
        else
                known_addresses(call, d, args->source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP);
}

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_INTERFACE_STATS, interface_stats },
        { REMOTE_PROC_DOMAIN_INTERFACE_ADDRESSES, interface_addresses },
        { REMOTE_PROC_DOMAIN_SET_INTERFACE_PARAMETERS, set_limits, AFFECT_FLAGS | VIR_TYPED_PARAM_STRING_OKAY },
        { REMOTE_PROC_DOMAIN_GET_INTERFACE_PARAMETERS, get_limits, AFFECT_FLAGS | VIR_TYPED_PARAM_STRING_OKAY },
};

HANDLER_TABLE(domain_device_net_handlers, rows);
