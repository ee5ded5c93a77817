/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtual networks. */
#include "libvirt-driver/network.h"

#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/handlers.h"

DomusNetworks *call_networks(struct call *call)
{
        return domus_manager_networks(call_manager(call));
}

DomusNetwork *call_network(struct call *call, const struct remote_network *net)
{
        DomusNetwork *ret = domus_networks_lookup_uuid(call_networks(call), net->uuid, NULL);
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(net->uuid, uuid);
        if (!ret)
                call_fail_new(call, DOMUS_ERROR_NO_NETWORK, "no network with matching uuid '%s' (%s)", uuid, net->name);
        return ret;
}

void call_put_network(struct call *call, struct remote_network *ret, const DomusNetwork *net)
{
        ret->name = arena_strdup(&call->arena, domus_network_name(net));
        memcpy(ret->uuid, domus_network_uuid(net), sizeof(ret->uuid));
}

/* --- Finding and listing --- */

/* For all procedures that return a network alone. Takes the error. */
static void reply_network(struct call *call, const DomusNetwork *net, GError *error)
{
        struct remote_network ret;

        if (!net) {
                call_fail_take(call, error);
                return;
        }
        call_put_network(call, &ret, net);
        call_reply(call, &ret);
}

static void lookup_by_uuid(struct call *call, const void *p)
{
        const struct remote_network_lookup_by_uuid_args *args = p;
        GError *error = NULL;
        const DomusNetwork *net = domus_networks_lookup_uuid(call_networks(call), args->uuid, &error);

        reply_network(call, net, error);
}

static void lookup_by_name(struct call *call, const void *p)
{
        const struct remote_network_lookup_by_name_args *args = p;
        GError *error = NULL;
        const DomusNetwork *net = domus_networks_lookup_name(call_networks(call), args->name, &error);

        reply_network(call, net, error);
}

#define LIST_FLAGS                                                                                          \
        (VIR_CONNECT_LIST_NETWORKS_INACTIVE | VIR_CONNECT_LIST_NETWORKS_ACTIVE | VIR_CONNECT_LIST_NETWORKS_PERSISTENT | \
                VIR_CONNECT_LIST_NETWORKS_TRANSIENT | VIR_CONNECT_LIST_NETWORKS_AUTOSTART |                 \
                VIR_CONNECT_LIST_NETWORKS_NO_AUTOSTART)

static void list_all(struct call *call, const void *p)
{
        const struct remote_connect_list_all_networks_args *args = p;
        g_autoptr(GPtrArray) list = domus_networks_list(call_networks(call), args->flags);
        struct remote_connect_list_all_networks_ret ret = { .ret = list->len };

        if (args->need_results) {
                ret.nets.n = list->len;
                ret.nets.v = arena_new(&call->arena, struct remote_network, list->len);
                for (guint i = 0; i < list->len; i++)
                        call_put_network(call, &ret.nets.v[i], list->pdata[i]);
        }
        call_reply(call, &ret);
}

static void count(struct call *call, unsigned flags)
{
        g_autoptr(GPtrArray) list = domus_networks_list(call_networks(call), flags);

        call_reply_i32(call, (int32_t)list->len);
}

static void num_of_networks(struct call *call, const void *args)
{
        count(call, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
}

static void num_of_defined_networks(struct call *call, const void *args)
{
        count(call, VIR_CONNECT_LIST_NETWORKS_INACTIVE);
}

static void list_names(struct call *call, int32_t max, unsigned flags)
{
        g_autoptr(GPtrArray) list = domus_networks_list(call_networks(call), flags);
        struct remote_connect_list_networks_ret ret = { 0 };

        if (max < 0 || max > REMOTE_NETWORK_LIST_MAX) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "%d is no count of networks", max);
                return;
        }
        ret.names.n = MIN(list->len, (guint)max);
        ret.names.v = arena_new(&call->arena, const char *, ret.names.n);
        for (guint i = 0; i < ret.names.n; i++)
                ret.names.v[i] = arena_strdup(&call->arena, domus_network_name(list->pdata[i]));
        call_reply(call, &ret);
}

static void list_networks(struct call *call, const void *p)
{
        const struct remote_connect_list_networks_args *args = p;

        list_names(call, args->maxnames, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
}

static void list_defined_networks(struct call *call, const void *p)
{
        const struct remote_connect_list_defined_networks_args *args = p;

        list_names(call, args->maxnames, VIR_CONNECT_LIST_NETWORKS_INACTIVE);
}

/* --- Life --- */

static void done(DomusNetwork *net, const GError *error, gpointer opaque)
{
        struct call *call = opaque;

        if (error)
                call_fail(call, error);
        else
                call_reply(call, NULL);
}

static void done_network(DomusNetwork *net, const GError *error, gpointer opaque)
{
        struct call *call = opaque;

        if (error)
                call_fail(call, error);
        else
                reply_network(call, net, NULL);
}

static void define(struct call *call, const char *xml, unsigned flags)
{
        GError *error = NULL;
        const DomusNetwork *net = domus_networks_define(call_networks(call), xml, flags, &error);

        reply_network(call, net, error);
}

static void define_xml(struct call *call, const void *p)
{
        const struct remote_network_define_xml_args *args = p;

        define(call, args->xml, 0);
}

static void define_xml_flags(struct call *call, const void *p)
{
        const struct remote_network_define_xml_flags_args *args = p;

        define(call, args->xml, args->flags);
}

static void create_xml(struct call *call, const void *p)
{
        const struct remote_network_create_xml_args *args = p;

        domus_networks_create_xml(call_networks(call), args->xml, 0, done_network, call);
}

static void create_xml_flags(struct call *call, const void *p)
{
        const struct remote_network_create_xml_flags_args *args = p;

        domus_networks_create_xml(call_networks(call), args->xml, args->flags, done_network, call);
}

static void create(struct call *call, const void *p)
{
        const struct remote_network_create_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);

        if (net)
                domus_network_start(net, done, call);
}

static void destroy(struct call *call, const void *p)
{
        const struct remote_network_destroy_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);
        GError *error = NULL;

        if (net)
                call_reply_bool(call, domus_network_destroy(net, &error), &error);
}

static void undefine(struct call *call, const void *p)
{
        const struct remote_network_undefine_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);
        GError *error = NULL;

        if (net)
                call_reply_bool(call, domus_network_undefine(net, &error), &error);
}

static void update(struct call *call, const void *p)
{
        const struct remote_network_update_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);

        if (net)
                domus_network_update(net, args->command, args->section, args->parent_index, args->xml, args->flags, done, call);
}

/* --- What a network is --- */

static void get_xml_desc(struct call *call, const void *p)
{
        const struct remote_network_get_xml_desc_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);
        GError *error = NULL;
        char *xml;

        if (!net)
                return;
        xml = domus_network_xml(net, args->flags, &error);
        call_reply_string(call, xml, error);
}

static void get_bridge_name(struct call *call, const void *p)
{
        const struct remote_network_get_bridge_name_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);
        GError *error = NULL;
        char *name;

        if (!net)
                return;
        name = domus_network_bridge_name(net, &error);
        call_reply_string(call, name, error);
}

static void get_autostart(struct call *call, const void *p)
{
        const struct remote_network_get_autostart_args *args = p;
        const DomusNetwork *net = call_network(call, &args->net);

        if (net)
                call_reply_i32(call, domus_network_get_autostart(net));
}

static void set_autostart(struct call *call, const void *p)
{
        const struct remote_network_set_autostart_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);
        GError *error = NULL;

        if (net)
                call_reply_bool(call, domus_network_set_autostart(net, args->autostart, &error), &error);
}

static void is_active(struct call *call, const void *p)
{
        const struct remote_network_is_active_args *args = p;
        const DomusNetwork *net = call_network(call, &args->net);

        if (net)
                call_reply_i32(call, domus_network_is_active(net));
}

static void is_persistent(struct call *call, const void *p)
{
        const struct remote_network_is_persistent_args *args = p;
        const DomusNetwork *net = call_network(call, &args->net);

        if (net)
                call_reply_i32(call, domus_network_is_persistent(net));
}

static void get_metadata(struct call *call, const void *p)
{
        const struct remote_network_get_metadata_args *args = p;
        DomusNetwork *net = call_network(call, &args->opt_network);
        GError *error = NULL;
        char *text;

        if (!net)
                return;
        text = domus_network_get_metadata(net, args->type, args->uri, args->flags, &error);
        call_reply_string(call, text, error);
}

static void set_metadata(struct call *call, const void *p)
{
        const struct remote_network_set_metadata_args *args = p;
        DomusNetwork *net = call_network(call, &args->opt_network);
        GError *error = NULL;

        if (net)
                call_reply_bool(call,
                        domus_network_set_metadata(net, args->type, args->metadata, args->key, args->uri, args->flags, &error), &error);
}

/* --- Leases --- */

static char *copy(struct call *call, const char *text)
{
        return text ? arena_strdup(&call->arena, text) : NULL;
}

static void put_lease(struct call *call, struct remote_network_dhcp_lease *ret, const DomusLease *l)
{
        *ret = (struct remote_network_dhcp_lease){
                .iface = copy(call, l->device),
                .expirytime = l->expiry,
                .type = l->type,
                .mac = copy(call, l->mac),
                .iaid = copy(call, l->iaid),
                .ipaddr = copy(call, l->address),
                .prefix = l->prefix,
                .hostname = copy(call, l->hostname),
                .clientid = copy(call, l->client_id),
        };
}

static bool parse_mac(const char *text, uint8_t mac[6])
{
        unsigned b[6];
        char end;

        if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) != 6)
                return false;
        for (unsigned i = 0; i < 6; i++)
                mac[i] = (uint8_t)b[i];
        return true;
}

static void get_dhcp_leases(struct call *call, const void *p)
{
        const struct remote_network_get_dhcp_leases_args *args = p;
        DomusNetwork *net = call_network(call, &args->net);
        struct remote_network_get_dhcp_leases_ret ret = { 0 };
        g_autoptr(GPtrArray) list = NULL;
        GError *error = NULL;
        uint8_t mac[6];

        if (!net)
                return;
        if (args->mac && !parse_mac(args->mac, mac)) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "'%s' is no MAC address", args->mac);
                return;
        }
        list = domus_network_leases(net, args->mac ? mac : NULL, &error);
        if (!list) {
                call_fail_take(call, error);
                return;
        }
        ret.ret = list->len;
        ret.leases.n = args->need_results ? MIN(list->len, REMOTE_NETWORK_DHCP_LEASES_MAX) : 0;
        ret.leases.v = arena_new(&call->arena, struct remote_network_dhcp_lease, ret.leases.n);
        for (guint i = 0; i < ret.leases.n; i++)
                put_lease(call, &ret.leases.v[i], list->pdata[i]);
        call_reply(call, &ret);
}

#define IMPACT_FLAGS (VIR_NETWORK_UPDATE_AFFECT_LIVE | VIR_NETWORK_UPDATE_AFFECT_CONFIG)

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_NUM_OF_NETWORKS, num_of_networks },
        { REMOTE_PROC_CONNECT_LIST_NETWORKS, list_networks },
        { REMOTE_PROC_CONNECT_NUM_OF_DEFINED_NETWORKS, num_of_defined_networks },
        { REMOTE_PROC_CONNECT_LIST_DEFINED_NETWORKS, list_defined_networks },
        { REMOTE_PROC_CONNECT_LIST_ALL_NETWORKS, list_all, LIST_FLAGS },
        { REMOTE_PROC_NETWORK_LOOKUP_BY_NAME, lookup_by_name },
        { REMOTE_PROC_NETWORK_LOOKUP_BY_UUID, lookup_by_uuid },
        { REMOTE_PROC_NETWORK_DEFINE_XML, define_xml },
        { REMOTE_PROC_NETWORK_DEFINE_XML_FLAGS, define_xml_flags, VIR_NETWORK_DEFINE_VALIDATE },
        { REMOTE_PROC_NETWORK_CREATE_XML, create_xml },
        { REMOTE_PROC_NETWORK_CREATE_XML_FLAGS, create_xml_flags, VIR_NETWORK_CREATE_VALIDATE },
        { REMOTE_PROC_NETWORK_CREATE, create },
        { REMOTE_PROC_NETWORK_DESTROY, destroy },
        { REMOTE_PROC_NETWORK_UNDEFINE, undefine },
        { REMOTE_PROC_NETWORK_GET_XML_DESC, get_xml_desc, VIR_NETWORK_XML_INACTIVE },
        { REMOTE_PROC_NETWORK_GET_AUTOSTART, get_autostart },
        { REMOTE_PROC_NETWORK_SET_AUTOSTART, set_autostart },
        { REMOTE_PROC_NETWORK_GET_BRIDGE_NAME, get_bridge_name },
        { REMOTE_PROC_NETWORK_IS_ACTIVE, is_active },
        { REMOTE_PROC_NETWORK_IS_PERSISTENT, is_persistent },
        { REMOTE_PROC_NETWORK_UPDATE, update, IMPACT_FLAGS },
        { REMOTE_PROC_NETWORK_GET_DHCP_LEASES, get_dhcp_leases },
        { REMOTE_PROC_NETWORK_GET_METADATA, get_metadata, IMPACT_FLAGS },
        { REMOTE_PROC_NETWORK_SET_METADATA, set_metadata, IMPACT_FLAGS },
};

HANDLER_TABLE(network_handlers, rows);
