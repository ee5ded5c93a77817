/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of the host. None are listed yet. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

/* For every procedure whose first argument is a device's name. */
static void no_such_device(struct call *call, const void *p)
{
        const struct remote_node_device_lookup_by_name_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_NODE_DEVICE, "no node device with matching name '%s'", args->name);
}

static const struct handler rows[] = {
        { REMOTE_PROC_NODE_NUM_OF_DEVICES, call_reply_empty },
        { REMOTE_PROC_NODE_LIST_DEVICES, call_reply_empty },
        /* A bit for each capability that a device may have, and more with each version. */
        { REMOTE_PROC_CONNECT_LIST_ALL_NODE_DEVICES, call_reply_empty, UINT64_MAX },
        { REMOTE_PROC_NODE_DEVICE_LOOKUP_BY_NAME, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_GET_XML_DESC, no_such_device, UINT64_MAX },
        { REMOTE_PROC_NODE_DEVICE_GET_PARENT, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_NUM_OF_CAPS, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_LIST_CAPS, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_DETTACH, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_DETACH_FLAGS, no_such_device, UINT64_MAX },
        { REMOTE_PROC_NODE_DEVICE_RE_ATTACH, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_RESET, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_DESTROY, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_GET_AUTOSTART, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_SET_AUTOSTART, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_IS_ACTIVE, no_such_device },
        { REMOTE_PROC_NODE_DEVICE_IS_PERSISTENT, no_such_device },
};

HANDLER_TABLE(nodedev_handlers, rows);
