/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What happens to pools as a whole: one job at a time for each, in the order of asking. */

#include <libvirt/libvirt.h>
#include <string.h>

#include "base/log.h"
#include "storage/pool-private.h"

#define RESCANS_MAX 3

/* In the order in which a worker does them. */
enum {
        STEP_CHECK = 1 << 0, /* is it in use? if not, that is all */
        STEP_BUILD = 1 << 1,
        STEP_START = 1 << 2,
        STEP_SCAN = 1 << 3,
        STEP_STOP = 1 << 4,
        STEP_DESTROY = 1 << 5,
};

struct pool_job {
        DomusPool *pool;
        unsigned steps, flags;
        bool create;            /* the pool is new, and goes again if this fails */
        DomusPoolDone done;
        gpointer opaque;

        /* The worker's, from here. */
        DomusPoolDef *def;
        DomusRawNames *raw;
        DomusPoolScan scan;
        bool active;            /* found so by STEP_CHECK */

        unsigned changes, rescans;
};

/* --- In the worker --- */

static bool start_and_scan(const StorageCancel *c, struct pool_job *job, const DomusPoolBackend *b, GError **error)
{
        if (job->steps & STEP_START && b->start && !b->start(c, job->def, error))
                return false;
        if (!(job->steps & STEP_SCAN) || b->scan(c, job->def, job->raw, &job->scan, error))
                return true;
        if (job->steps & STEP_START && b->stop)
                b->stop(c, job->def, NULL);
        return false;
}

static bool do_steps(const StorageCancel *c, gpointer data, GError **error)
{
        struct pool_job *job = data;
        const DomusPoolBackend *b = storage_backend(job->def->type);

        job->active = true;
        if (job->steps & STEP_CHECK && b->check && !b->check(c, job->def, &job->active, error))
                return false;
        if (!job->active)
                return true;
        if (job->steps & STEP_BUILD && b->build && !b->build(c, job->def, job->flags, error))
                return false;
        if (!start_and_scan(c, job, b, error))
                return false;
        if (job->steps & STEP_STOP && b->stop && !b->stop(c, job->def, error))
                return false;
        return !(job->steps & STEP_DESTROY) || b->destroy(c, job->def, job->flags, error);
}

/* --- On the loop --- */

static void run_next(DomusPool *p);

static void job_free(struct pool_job *job)
{
        storage_scan_clear(&job->scan);
        domus_pool_def_unref(job->def);
        g_clear_pointer(&job->raw, g_hash_table_unref);
        domus_pool_unref(job->pool);
        g_free(job);
}

static void finish(struct pool_job *job, const GError *error)
{
        if (job->done)
                job->done(error ? NULL : job->pool, error, job->opaque);
        job_free(job);
}

static void set_active(DomusPool *p)
{
        p->active = true;
        storage_store_set_active(p->pools->store, p->name, p->def);
}

static void set_inactive(DomusPool *p)
{
        p->active = false;
        p->state = (DomusPoolState){ .perms.mode = -1 };
        pool_drop_volumes(p);
        storage_store_set_active(p->pools->store, p->name, NULL);
        if (p->next) {
                domus_pool_def_unref(p->def);
                p->def = g_steal_pointer(&p->next);
        }
}

static void apply_scan(DomusPool *p, struct pool_job *job)
{
        p->state = job->scan.state;
        pool_take_volumes(p, job->scan.volumes);
}

static void apply_success(DomusPool *p, struct pool_job *job)
{
        if (job->steps & STEP_CHECK && !job->active) {
                log_warning("the storage pool '%s' is not in use any more", p->name);
                set_inactive(p);
                return;
        }
        if (job->steps & STEP_BUILD)
                pools_emit(p, false, VIR_STORAGE_POOL_EVENT_CREATED);
        if (job->steps & (STEP_START | STEP_CHECK))
                set_active(p);
        if (job->steps & STEP_SCAN)
                apply_scan(p, job);
        if (job->steps & STEP_START)
                pools_emit(p, false, VIR_STORAGE_POOL_EVENT_STARTED);
        else if (job->steps == STEP_SCAN)
                pools_emit(p, true, 0);
        if (job->steps & STEP_STOP) {
                set_inactive(p);
                pools_emit(p, false, VIR_STORAGE_POOL_EVENT_STOPPED);
        }
        if (job->steps & STEP_DESTROY)
                pools_emit(p, false, VIR_STORAGE_POOL_EVENT_DELETED);
}

static void apply_failure(DomusPool *p, struct pool_job *job, const GError *error)
{
        if (!(job->steps & STEP_CHECK))
                return;
        if (g_error_matches(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED))
                return; /* the next daemon looks again */
        log_error("the storage pool '%s' that was active is not usable: %s", p->name, error->message);
        set_inactive(p);
}

/* Volumes came or went while the folder was being read: what was read may be neither before nor after. */
static bool scan_again(DomusPool *p, struct pool_job *job, const GError *error)
{
        if (error || !(job->steps & STEP_SCAN) || p->changes == job->changes || job->rescans >= RESCANS_MAX)
                return false;
        job->rescans++;
        job->steps = STEP_SCAN;
        storage_scan_clear(&job->scan);
        return true;
}

static void on_steps_done(gpointer data, const GError *error);

static void begin(struct pool_job *job)
{
        DomusPool *p = job->pool;

        job->changes = p->changes;
        g_clear_pointer(&job->raw, g_hash_table_unref);
        job->raw = pool_raw_names(p);
        if (!job->def)
                job->def = domus_pool_def_ref(p->def);
        storage_work_begin(p->pools->workers, do_steps, on_steps_done, job);
}

static void on_steps_done(gpointer data, const GError *error)
{
        struct pool_job *job = data;
        g_autoptr(DomusPool) p = domus_pool_ref(job->pool);
        bool drop;

        if (scan_again(p, job, error)) {
                begin(job);
                return;
        }
        g_queue_pop_head(&p->jobs);
        p->pools->jobs--;
        if (error)
                apply_failure(p, job, error);
        else
                apply_success(p, job);
        drop = !p->persistent && !p->active;
        finish(job, error);
        if (drop && p->pools && !p->jobs.length)
                pools_drop(p);
        else if (p->pools)
                run_next(p);
}

/* Whether the job can begin, as things are when its turn comes. */
static bool check(const DomusPool *p, const struct pool_job *job, GError **error)
{
        const DomusPoolBackend *b = storage_backend(p->def->type);

        if (job->steps & STEP_CHECK)
                return true;
        if (job->steps & (STEP_START | STEP_BUILD) && p->active)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "storage pool '%s' is already active", p->name);
        if (job->steps & STEP_DESTROY && p->active)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "storage pool '%s' is still active", p->name);
        if (!(job->steps & (STEP_START | STEP_BUILD | STEP_DESTROY)) && !p->active)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "storage pool '%s' is not active", p->name);
        if (job->steps & STEP_STOP && p->volume_jobs)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "pool '%s' has asynchronous jobs running", p->name);
        if (job->steps & STEP_DESTROY && !b->destroy)
                return storage_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a pool of type '%s' does not support deletion",
                        domus_pool_type_to_string(p->def->type));
        return storage_backend_usable(b, p->pools->privileged, error);
}

static void run_next(DomusPool *p)
{
        g_autoptr(DomusPool) hold = domus_pool_ref(p);
        struct pool_job *job;

        while ((job = g_queue_peek_head(&p->jobs))) {
                g_autoptr(GError) error = NULL;

                if (check(p, job, &error)) {
                        begin(job);
                        return;
                }
                g_queue_pop_head(&p->jobs);
                p->pools->jobs--;
                finish(job, error);
        }
        if (!p->persistent && !p->active && p->pools)
                pools_drop(p);
}

static void submit(DomusPool *p, unsigned steps, unsigned flags, DomusPoolDone done, gpointer opaque)
{
        struct pool_job *job = g_new0(struct pool_job, 1);

        *job = (struct pool_job){ .pool = domus_pool_ref(p), .steps = steps, .flags = flags, .done = done, .opaque = opaque };
        g_queue_push_tail(&p->jobs, job);
        p->pools->jobs++;
        if (p->jobs.length == 1)
                run_next(p);
}

void pool_abort_jobs(DomusPool *p)
{
        g_autoptr(GError) error = NULL;

        storage_fail(&error, DOMUS_ERROR_OPERATION_ABORTED, "the daemon is shutting down");
        while (p->jobs.length > 1)
                finish(g_queue_pop_tail(&p->jobs), error);
}

bool pool_require_active(const DomusPool *p, GError **error)
{
        const struct pool_job *job = g_queue_peek_head((GQueue *)&p->jobs);

        if (!p->active)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "storage pool '%s' is not active", p->name);
        if (job && job->steps & STEP_STOP)
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "storage pool '%s' is being stopped", p->name);
        return true;
}

/* --- The operations --- */

/* virStoragePoolCreateFlags are virStoragePoolBuildFlags and one that asks for building. */
static unsigned build_steps(unsigned flags, unsigned *ret_flags)
{
        *ret_flags = (flags & VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE ? VIR_STORAGE_POOL_BUILD_OVERWRITE : 0) |
                     (flags & VIR_STORAGE_POOL_CREATE_WITH_BUILD_NO_OVERWRITE ? VIR_STORAGE_POOL_BUILD_NO_OVERWRITE : 0);
        return flags & VIR_STORAGE_POOL_CREATE_WITH_BUILD || *ret_flags ? STEP_BUILD : 0;
}

static bool check_build_flags(unsigned flags, GError **error)
{
        const unsigned both = VIR_STORAGE_POOL_BUILD_OVERWRITE | VIR_STORAGE_POOL_BUILD_NO_OVERWRITE;

        return (flags & both) != both ||
               storage_fail(error, DOMUS_ERROR_INVALID_ARG, "flags 'overwrite' and 'no overwrite' are mutually exclusive");
}

void domus_pool_start(DomusPool *p, unsigned flags, DomusPoolDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        unsigned build_flags, steps = build_steps(flags, &build_flags) | STEP_START | STEP_SCAN;

        if (check_build_flags(build_flags, &error))
                submit(p, steps, build_flags, done, opaque);
        else
                done(NULL, error, opaque);
}

void domus_pool_build(DomusPool *p, unsigned flags, DomusPoolDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;

        if (check_build_flags(flags, &error))
                submit(p, STEP_BUILD, flags, done, opaque);
        else
                done(NULL, error, opaque);
}

void domus_pool_refresh(DomusPool *p, DomusPoolDone done, gpointer opaque)
{
        submit(p, STEP_SCAN, 0, done, opaque);
}

void domus_pool_stop(DomusPool *p, DomusPoolDone done, gpointer opaque)
{
        submit(p, STEP_STOP, 0, done, opaque);
}

void domus_pool_delete(DomusPool *p, unsigned flags, DomusPoolDone done, gpointer opaque)
{
        submit(p, STEP_DESTROY, flags, done, opaque);
}

void pool_recover(DomusPool *p)
{
        submit(p, STEP_CHECK | STEP_SCAN, 0, NULL, NULL);
}

static DomusPool *add_new(DomusPools *pools, const char *xml, GError **error)
{
        g_autoptr(DomusPoolDef) def = domus_pool_def_parse(xml, 0, error);
        DomusPool *p;

        if (!def || !pools_match(pools, def, &p, error) || !storage_backend_usable(storage_backend(def->type), pools->privileged, error))
                return NULL;
        if (p && (p->active || p->jobs.length)) {
                storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "pool is already active as '%s'", p->name);
                return NULL;
        }
        if (!p)
                return pools_add(pools, def);
        if (!p->next)
                p->next = p->def;
        else
                domus_pool_def_unref(p->def);
        p->def = domus_pool_def_ref(def);
        return p;
}

void domus_pools_create_xml(DomusPools *pools, const char *xml, unsigned flags, DomusPoolDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        DomusPool *p = add_new(pools, xml, &error);

        if (p)
                domus_pool_start(p, flags, done, opaque);
        else
                done(NULL, error, opaque);
}
