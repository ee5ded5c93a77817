/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtual networks. There are none yet: lists are empty, and whatever is asked of a network, it is not
 * found. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

static void no_such_uuid(struct call *call, const void *p)
{
        const struct remote_network_lookup_by_uuid_args *args = p;
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(args->uuid, uuid);
        call_fail_new(call, DOMUS_ERROR_NO_NETWORK, "no network with matching uuid '%s'", uuid);
}

static void no_such_name(struct call *call, const void *p)
{
        const struct remote_network_lookup_by_name_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_NETWORK, "no network with matching name '%s'", args->name);
}

/* For every procedure whose first argument is a network. */
static void no_such_network(struct call *call, const void *args)
{
        const struct remote_network *net = args;
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(net->uuid, uuid);
        call_fail_new(call, DOMUS_ERROR_NO_NETWORK, "no network with matching uuid '%s' (%s)", uuid, net->name);
}

#define LIST_FLAGS                                                                                          \
        (VIR_CONNECT_LIST_NETWORKS_INACTIVE | VIR_CONNECT_LIST_NETWORKS_ACTIVE | VIR_CONNECT_LIST_NETWORKS_PERSISTENT | \
                VIR_CONNECT_LIST_NETWORKS_TRANSIENT | VIR_CONNECT_LIST_NETWORKS_AUTOSTART |                 \
                VIR_CONNECT_LIST_NETWORKS_NO_AUTOSTART)

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_NUM_OF_NETWORKS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_NETWORKS, call_reply_empty },
        { REMOTE_PROC_CONNECT_NUM_OF_DEFINED_NETWORKS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_DEFINED_NETWORKS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_ALL_NETWORKS, call_reply_empty, LIST_FLAGS },
        { REMOTE_PROC_NETWORK_LOOKUP_BY_NAME, no_such_name },
        { REMOTE_PROC_NETWORK_LOOKUP_BY_UUID, no_such_uuid },
        { REMOTE_PROC_NETWORK_CREATE, no_such_network },
        { REMOTE_PROC_NETWORK_DESTROY, no_such_network },
        { REMOTE_PROC_NETWORK_UNDEFINE, no_such_network },
        { REMOTE_PROC_NETWORK_GET_XML_DESC, no_such_network, UINT64_MAX },
        { REMOTE_PROC_NETWORK_GET_AUTOSTART, no_such_network },
        { REMOTE_PROC_NETWORK_SET_AUTOSTART, no_such_network },
        { REMOTE_PROC_NETWORK_GET_BRIDGE_NAME, no_such_network },
        { REMOTE_PROC_NETWORK_IS_ACTIVE, no_such_network },
        { REMOTE_PROC_NETWORK_IS_PERSISTENT, no_such_network },
        { REMOTE_PROC_NETWORK_UPDATE, no_such_network, UINT64_MAX },
        { REMOTE_PROC_NETWORK_GET_DHCP_LEASES, no_such_network, UINT64_MAX },
        { REMOTE_PROC_NETWORK_LIST_ALL_PORTS, no_such_network, UINT64_MAX },
        { REMOTE_PROC_NETWORK_PORT_LOOKUP_BY_UUID, no_such_network },
        { REMOTE_PROC_NETWORK_GET_METADATA, no_such_network, UINT64_MAX },
        { REMOTE_PROC_NETWORK_SET_METADATA, no_such_network, UINT64_MAX },
};

HANDLER_TABLE(network_handlers, rows);
