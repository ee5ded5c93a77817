/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configured interfaces of the host. None are listed yet. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

static void no_such_interface(struct call *call, const void *p)
{
        const struct remote_interface_lookup_by_name_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_INTERFACE, "couldn't find interface named '%s'", args->name);
}

static void no_such_mac(struct call *call, const void *p)
{
        const struct remote_interface_lookup_by_mac_string_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_INTERFACE, "couldn't find interface with MAC address '%s'", args->mac);
}

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_NUM_OF_INTERFACES, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_INTERFACES, call_reply_empty },
        { REMOTE_PROC_CONNECT_NUM_OF_DEFINED_INTERFACES, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_DEFINED_INTERFACES, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_ALL_INTERFACES, call_reply_empty,
                VIR_CONNECT_LIST_INTERFACES_INACTIVE | VIR_CONNECT_LIST_INTERFACES_ACTIVE },
        { REMOTE_PROC_INTERFACE_LOOKUP_BY_NAME, no_such_interface },
        { REMOTE_PROC_INTERFACE_LOOKUP_BY_MAC_STRING, no_such_mac },
        /* An interface as an argument begins with its name, as the lookup's does. */
        { REMOTE_PROC_INTERFACE_GET_XML_DESC, no_such_interface, UINT64_MAX },
        { REMOTE_PROC_INTERFACE_CREATE, no_such_interface, UINT64_MAX },
        { REMOTE_PROC_INTERFACE_DESTROY, no_such_interface, UINT64_MAX },
        { REMOTE_PROC_INTERFACE_UNDEFINE, no_such_interface },
        { REMOTE_PROC_INTERFACE_IS_ACTIVE, no_such_interface },
};

HANDLER_TABLE(interface_handlers, rows);
