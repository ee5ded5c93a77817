/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of virtual networks. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/handlers.h"
#include "libvirt-driver/network.h"

/* Borrowed; NULL after answering the call with the error. */
static DomusNetworkPort *call_port(struct call *call, const struct remote_network_port *port, DomusNetwork **ret)
{
        GError *error = NULL;
        DomusNetworkPort *found;

        *ret = call_network(call, &port->net);
        if (!*ret)
                return NULL;
        found = domus_network_port_lookup(*ret, port->uuid, &error);
        if (!found)
                call_fail_take(call, error);
        return found;
}

static void put_port(struct call *call, struct remote_network_port *ret, const DomusNetwork *net, const DomusNetworkPort *port)
{
        call_put_network(call, &ret->net, net);
        memcpy(ret->uuid, port->uuid, sizeof(ret->uuid));
}

/* Takes the error. */
static void reply_port(struct call *call, const DomusNetwork *net, const DomusNetworkPort *port, GError *error)
{
        struct remote_network_port ret;

        if (!port) {
                call_fail_take(call, error);
                return;
        }
        put_port(call, &ret, net, port);
        call_reply(call, &ret);
}

static void list_all(struct call *call, const void *p)
{
        const struct remote_network_list_all_ports_args *args = p;
        DomusNetwork *net = call_network(call, &args->opt_network);
        struct remote_network_list_all_ports_ret ret = { 0 };
        g_autoptr(GPtrArray) list = NULL;

        if (!net)
                return;
        list = domus_network_ports(net);
        ret.ret = list->len;
        ret.ports.n = args->need_results ? MIN(list->len, REMOTE_NETWORK_PORT_LIST_MAX) : 0;
        ret.ports.v = arena_new(&call->arena, struct remote_network_port, ret.ports.n);
        for (guint i = 0; i < ret.ports.n; i++)
                put_port(call, &ret.ports.v[i], net, list->pdata[i]);
        call_reply(call, &ret);
}

static void lookup_by_uuid(struct call *call, const void *p)
{
        const struct remote_network_port_lookup_by_uuid_args *args = p;
        DomusNetwork *net = call_network(call, &args->opt_network);
        const DomusNetworkPort *port;
        GError *error = NULL;

        if (!net)
                return;
        port = domus_network_port_lookup(net, args->uuid, &error);
        reply_port(call, net, port, error);
}

static void create_xml(struct call *call, const void *p)
{
        const struct remote_network_port_create_xml_args *args = p;
        DomusNetwork *net = call_network(call, &args->opt_network);
        const DomusNetworkPort *port;
        GError *error = NULL;

        if (!net)
                return;
        port = domus_network_port_create(net, args->xml, args->flags, &error);
        reply_port(call, net, port, error);
}

static void get_xml_desc(struct call *call, const void *p)
{
        const struct remote_network_port_get_xml_desc_args *args = p;
        DomusNetwork *net;
        DomusNetworkPort *port = call_port(call, &args->port, &net);
        GError *error = NULL;
        char *xml;

        if (!port)
                return;
        xml = domus_network_port_xml(net, port, &error);
        call_reply_string(call, xml, error);
}

static void delete(struct call *call, const void *p)
{
        const struct remote_network_port_delete_args *args = p;
        DomusNetwork *net;
        DomusNetworkPort *port = call_port(call, &args->port, &net);
        GError *error = NULL;

        if (port)
                call_reply_bool(call, domus_network_port_delete(net, port, &error), &error);
}

/* --- Bandwidth as typed parameters --- */

static const struct {
        const char *name;
        size_t offset; /* in DomusBandwidth */
} parameters[] = {
        { VIR_NETWORK_PORT_BANDWIDTH_IN_AVERAGE, offsetof(DomusBandwidth, inbound.average) },
        { VIR_NETWORK_PORT_BANDWIDTH_IN_PEAK, offsetof(DomusBandwidth, inbound.peak) },
        { VIR_NETWORK_PORT_BANDWIDTH_IN_BURST, offsetof(DomusBandwidth, inbound.burst) },
        { VIR_NETWORK_PORT_BANDWIDTH_IN_FLOOR, offsetof(DomusBandwidth, inbound.floor) },
        { VIR_NETWORK_PORT_BANDWIDTH_OUT_AVERAGE, offsetof(DomusBandwidth, outbound.average) },
        { VIR_NETWORK_PORT_BANDWIDTH_OUT_PEAK, offsetof(DomusBandwidth, outbound.peak) },
        { VIR_NETWORK_PORT_BANDWIDTH_OUT_BURST, offsetof(DomusBandwidth, outbound.burst) },
};

static uint64_t *value_of(DomusBandwidth *b, unsigned i)
{
        return (uint64_t *)(void *)((char *)b + parameters[i].offset);
}

static void get_parameters(struct call *call, const void *p)
{
        const struct remote_network_port_get_parameters_args *args = p;
        struct remote_network_port_get_parameters_ret ret = { .nparams = ARRAY_SIZE(parameters) };
        DomusNetwork *net;
        DomusNetworkPort *port = call_port(call, &args->port, &net);

        if (!port)
                return;
        if (args->nparams) {
                ret.params.n = MIN((unsigned)MAX(args->nparams, 0), ARRAY_SIZE(parameters));
                ret.params.v = arena_new(&call->arena, struct remote_typed_param, ret.params.n);
        }
        for (unsigned i = 0; i < ret.params.n; i++) {
                ret.params.v[i].field = parameters[i].name;
                ret.params.v[i].value.type = VIR_TYPED_PARAM_UINT;
                ret.params.v[i].value.u.ui = (uint32_t)MIN(*value_of(&port->def->bandwidth, i), UINT32_MAX);
        }
        call_reply(call, &ret);
}

/* Also answers the call where it fails. */
static bool take_parameter(struct call *call, const struct remote_typed_param *param, DomusBandwidth *b)
{
        for (unsigned i = 0; i < ARRAY_SIZE(parameters); i++) {
                if (strcmp(parameters[i].name, param->field) != 0)
                        continue;
                if (param->value.type != VIR_TYPED_PARAM_UINT) {
                        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "parameter '%s' must be an unsigned int", param->field);
                        return false;
                }
                *value_of(b, i) = param->value.u.ui;
                return true;
        }
        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "parameter '%s' not supported", param->field);
        return false;
}

static void set_parameters(struct call *call, const void *p)
{
        const struct remote_network_port_set_parameters_args *args = p;
        DomusNetwork *net;
        DomusNetworkPort *port = call_port(call, &args->port, &net);
        GError *error = NULL;
        DomusBandwidth b;

        if (!port)
                return;
        b = port->def->bandwidth;
        for (unsigned i = 0; i < args->params.n; i++)
                if (!take_parameter(call, &args->params.v[i], &b))
                        return;
        call_reply_bool(call, domus_bandwidth_check(&b, true, &error) && domus_network_port_set_bandwidth(net, port, &b, &error), &error);
}

static const struct handler rows[] = {
        { REMOTE_PROC_NETWORK_LIST_ALL_PORTS, list_all },
        { REMOTE_PROC_NETWORK_PORT_LOOKUP_BY_UUID, lookup_by_uuid },
        { REMOTE_PROC_NETWORK_PORT_CREATE_XML, create_xml, VIR_NETWORK_PORT_CREATE_RECLAIM },
        { REMOTE_PROC_NETWORK_PORT_GET_XML_DESC, get_xml_desc },
        { REMOTE_PROC_NETWORK_PORT_DELETE, delete },
        { REMOTE_PROC_NETWORK_PORT_GET_PARAMETERS, get_parameters, VIR_TYPED_PARAM_STRING_OKAY },
        { REMOTE_PROC_NETWORK_PORT_SET_PARAMETERS, set_parameters },
};

HANDLER_TABLE(network_port_handlers, rows);
