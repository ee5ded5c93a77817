/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Secrets. None are kept yet. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

/* For the lookup and for every procedure whose first argument is a secret, which begins with its UUID. */
static void no_such_secret(struct call *call, const void *p)
{
        const struct remote_secret_lookup_by_uuid_args *args = p;
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(args->uuid, uuid);
        call_fail_new(call, DOMUS_ERROR_NO_SECRET, "no secret with matching uuid '%s'", uuid);
}

static void no_such_usage(struct call *call, const void *p)
{
        const struct remote_secret_lookup_by_usage_args *args = p;

        call_fail_new(call, DOMUS_ERROR_NO_SECRET, "no secret with matching usage '%s'", args->usage_id);
}

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_NUM_OF_SECRETS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_SECRETS, call_reply_empty },
        { REMOTE_PROC_CONNECT_LIST_ALL_SECRETS, call_reply_empty,
                VIR_CONNECT_LIST_SECRETS_EPHEMERAL | VIR_CONNECT_LIST_SECRETS_NO_EPHEMERAL |
                        VIR_CONNECT_LIST_SECRETS_PRIVATE | VIR_CONNECT_LIST_SECRETS_NO_PRIVATE },
        { REMOTE_PROC_SECRET_LOOKUP_BY_UUID, no_such_secret },
        { REMOTE_PROC_SECRET_LOOKUP_BY_USAGE, no_such_usage },
        { REMOTE_PROC_SECRET_GET_XML_DESC, no_such_secret, UINT64_MAX },
        { REMOTE_PROC_SECRET_GET_VALUE, no_such_secret, UINT64_MAX },
        { REMOTE_PROC_SECRET_SET_VALUE, no_such_secret, UINT64_MAX },
        { REMOTE_PROC_SECRET_UNDEFINE, no_such_secret },
};

HANDLER_TABLE(secret_handlers, rows);
