/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saved state (managed save, snapshots, checkpoints) and long-running jobs of a domain. There are none
 * yet; clients ask before they undefine or while they wait. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

/* For every procedure whose first argument is a domain that may be inactive. */
static void nothing(struct call *call, const void *args)
{
        if (call_domain(call, args))
                call_reply_empty(call, args);
}

/* As nothing(), for an active domain: no job is VIR_DOMAIN_JOB_NONE, zero. */
static void no_job(struct call *call, const void *args)
{
        if (call_active_domain(call, args))
                call_reply_empty(call, args);
}

static void no_job_to_abort(struct call *call, const void *args)
{
        if (call_active_domain(call, args))
                call_fail_new(call, DOMUS_ERROR_OPERATION_INVALID, "no job is active on the domain");
}

static void snapshot_lookup(struct call *call, const void *p)
{
        const struct remote_domain_snapshot_lookup_by_name_args *args = p;

        if (call_domain(call, &args->dom))
                call_fail_new(call, DOMUS_ERROR_NO_SNAPSHOT, "no domain snapshot with matching name '%s'", args->name);
}

static void snapshot_current(struct call *call, const void *p)
{
        const struct remote_domain_snapshot_current_args *args = p;

        if (call_domain(call, &args->dom))
                call_fail_new(call, DOMUS_ERROR_NO_SNAPSHOT, "the domain does not have a current snapshot");
}

#define SNAPSHOT_LIST_FLAGS (VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL * 2 - 1)
#define CHECKPOINT_LIST_FLAGS                                                                               \
        (VIR_DOMAIN_CHECKPOINT_LIST_ROOTS | VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL | VIR_DOMAIN_CHECKPOINT_LIST_LEAVES | \
                VIR_DOMAIN_CHECKPOINT_LIST_NO_LEAVES)
#define JOB_FLAGS (VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED | VIR_TYPED_PARAM_STRING_OKAY)

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_HAS_MANAGED_SAVE_IMAGE, nothing },
        { REMOTE_PROC_DOMAIN_MANAGED_SAVE_REMOVE, nothing },
        { REMOTE_PROC_DOMAIN_SNAPSHOT_NUM, nothing, SNAPSHOT_LIST_FLAGS },
        { REMOTE_PROC_DOMAIN_SNAPSHOT_LIST_NAMES, nothing, SNAPSHOT_LIST_FLAGS },
        { REMOTE_PROC_DOMAIN_LIST_ALL_SNAPSHOTS, nothing, SNAPSHOT_LIST_FLAGS },
        { REMOTE_PROC_DOMAIN_HAS_CURRENT_SNAPSHOT, nothing },
        { REMOTE_PROC_DOMAIN_SNAPSHOT_CURRENT, snapshot_current },
        { REMOTE_PROC_DOMAIN_SNAPSHOT_LOOKUP_BY_NAME, snapshot_lookup },
        { REMOTE_PROC_DOMAIN_LIST_ALL_CHECKPOINTS, nothing, CHECKPOINT_LIST_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_JOB_INFO, no_job },
        { REMOTE_PROC_DOMAIN_GET_JOB_STATS, no_job, JOB_FLAGS },
        { REMOTE_PROC_DOMAIN_ABORT_JOB, no_job_to_abort },
        { REMOTE_PROC_DOMAIN_ABORT_JOB_FLAGS, no_job_to_abort, 1 /* post-copy */ },
};

HANDLER_TABLE(domain_saved_handlers, rows);
