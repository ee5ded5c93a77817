/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network filters and their bindings. There are none yet. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

static void no_such_name(struct call *call, const void *p)
{
        const struct remote_nwfilter_lookup_by_name_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_NWFILTER, "no nwfilter with matching name '%s'", args->name);
}

static void no_such_uuid(struct call *call, const void *p)
{
        const struct remote_nwfilter_lookup_by_uuid_args *args = p;
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(args->uuid, uuid);
        call_fail_new(call, DOMUS_ERROR_NO_NWFILTER, "no nwfilter with matching uuid '%s'", uuid);
}

/* A filter as an argument begins with its name. */
static void no_such_filter(struct call *call, const void *args)
{
        no_such_name(call, args);
}

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_NUM_OF_NWFILTERS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_NWFILTERS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_ALL_NWFILTERS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_ALL_NWFILTER_BINDINGS, call_reply_empty },
        { REMOTE_PROC_NWFILTER_LOOKUP_BY_NAME, no_such_name },
        { REMOTE_PROC_NWFILTER_LOOKUP_BY_UUID, no_such_uuid },
        { REMOTE_PROC_NWFILTER_GET_XML_DESC, no_such_filter, UINT64_MAX },
        { REMOTE_PROC_NWFILTER_UNDEFINE, no_such_filter },
};

HANDLER_TABLE(nwfilter_handlers, rows);
