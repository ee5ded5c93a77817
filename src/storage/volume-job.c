/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What happens to volumes. A job works on copies of the definitions; the volume takes over the result when it is done. */

#include <errno.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "storage/file.h"
#include "storage/image.h"
#include "storage/pool-private.h"
#include "storage/transfer.h"

struct volume_job {
        bool (*work)(const StorageCancel *c, struct volume_job *job, GError **error);
        /* On the loop, after success: what the volume has become. */
        void (*apply)(struct volume_job *job);
        DomusPool *pool;
        DomusVolume *volume; /* NULL while it is being made */
        DomusVolume *source;
        bool write;
        DomusVolumeDone done;
        gpointer opaque;

        /* The worker's. */
        const DomusPoolBackend *backend;
        DomusPoolDef *pool_def;
        DomusVolumeDef *def, *source_def;
        unsigned flags;
        uint64_t capacity;   /* bytes, for resizing */
        bool raw;            /* its format is settled */
        StorageTransfer transfer;
        DomusPoolState state;
        bool measured;
};

/* --- Use --- */

bool volume_begin(DomusVolume *v, bool write, GError **error)
{
        if (v->gone || !v->pool->pools)
                return storage_fail(error, DOMUS_ERROR_NO_STORAGE_VOL, "no storage vol with matching name '%s'", v->def->name);
        if (!pool_require_active(v->pool, error))
                return false;
        if (v->writing || (write && v->users))
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "volume '%s' is still in use.", v->def->name);
        v->users++;
        v->writing = write;
        v->pool->volume_jobs++;
        return true;
}

void volume_end(DomusVolume *v)
{
        v->users--;
        v->writing = false;
        v->pool->volume_jobs--;
}

/* --- Jobs --- */

static struct volume_job *job_new(DomusPool *p, DomusVolume *v, DomusVolumeDone done, gpointer opaque)
{
        struct volume_job *job = g_new0(struct volume_job, 1);

        job->pool = domus_pool_ref(p);
        job->volume = v ? domus_volume_ref(v) : NULL;
        job->done = done;
        job->opaque = opaque;
        job->backend = storage_backend(p->def->type);
        job->pool_def = domus_pool_def_ref(p->def);
        job->def = v ? domus_volume_def_copy(v->def) : NULL;
        job->raw = v && g_hash_table_contains(p->raw, v->def->name);
        job->transfer.fd = -1;
        return job;
}

static void job_free(struct volume_job *job)
{
        fd_close(job->transfer.fd);
        domus_pool_def_unref(job->pool_def);
        domus_volume_def_free(job->def);
        domus_volume_def_free(job->source_def);
        domus_volume_unref(job->volume);
        domus_volume_unref(job->source);
        domus_pool_unref(job->pool);
        g_free(job);
}

static bool run(const StorageCancel *c, gpointer data, GError **error)
{
        struct volume_job *job = data;

        if (!job->work(c, job, error))
                return false;
        job->measured = job->write && job->backend->measure && job->backend->measure(c, job->pool_def, &job->state, NULL);
        return true;
}

static void release(struct volume_job *job)
{
        if (job->source)
                volume_end(job->source);
        if (job->volume) {
                volume_end(job->volume);
        } else {
                g_hash_table_remove(job->pool->reserved, job->def->name);
                job->pool->volume_jobs--;
        }
}

static void on_done(gpointer data, const GError *error)
{
        struct volume_job *job = data;

        release(job);
        if (job->write)
                job->pool->changes++;
        if (!error) {
                if (job->measured)
                        job->pool->state = job->state;
                job->apply(job);
        }
        if (job->done)
                job->done(error ? NULL : job->volume, error, job->opaque);
        job_free(job);
}

static void begin(struct volume_job *job)
{
        storage_work_begin(job->pool->pools->workers, run, on_done, job);
}

/* The definition that the worker left, which has the volume's name. */
static void take_definition(struct volume_job *job)
{
        DomusVolume *v = job->volume;

        if (v->gone)
                return;
        g_hash_table_steal(v->pool->volumes, v->def->name);
        domus_volume_def_free(v->def);
        v->def = g_steal_pointer(&job->def);
        g_hash_table_insert(v->pool->volumes, v->def->name, v);
}

static bool look_again(const StorageCancel *c, struct volume_job *job, GError **error)
{
        return !job->backend->update || job->backend->update(c, job->pool_def, job->def, job->raw, error);
}

static bool unsupported(const DomusPool *p, const char *what, GError **error)
{
        return storage_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a pool of type '%s' does not support %s",
                domus_pool_type_to_string(p->def->type), what);
}

/* --- Creation --- */

/* What is copied must be all there, with what it is based on: qemu-img takes what is missing for zeroes. */
static bool check_source(const DomusVolumeDef *source, GError **error)
{
        DomusImage image = { 0 };

        if (!source || source->type != DOMUS_VOLUME_FILE || !source->format || strcmp(source->format, "raw") == 0 || strcmp(source->format, "iso") == 0)
                return true;
        if (!domus_image_probe(source->path, source->format, &image, error))
                return false;
        domus_image_clear(&image);
        return true;
}

static bool work_create(const StorageCancel *c, struct volume_job *job, GError **error)
{
        return check_source(job->source_def, error) && job->backend->create(c, job->pool_def, job->def, job->source_def, job->flags, error);
}

static void apply_create(struct volume_job *job)
{
        pool_set_raw(job->pool, job->def->name, g_strcmp0(job->def->format, "raw") == 0);
        job->volume = domus_volume_ref(volume_new(job->pool, g_steal_pointer(&job->def)));
}

/* What a copy takes over from its source: libvirt's rules for what the document leaves out. */
static void inherit(DomusVolumeDef *def, const DomusVolumeDef *source)
{
        def->capacity = MAX(def->capacity, source->capacity);
        def->has_capacity = true;
        if (!def->has_allocation)
                def->allocation = def->capacity;
        if (!def->format)
                def->format = g_strdup(source->format);
}

/* A backing store that is a volume has the format that is known of it. */
static void settle_backing(DomusPools *pools, DomusVolumeDef *def)
{
        DomusVolume *below = def->backing_path && !def->backing_format ? domus_pools_lookup_volume_path(pools, def->backing_path, NULL) : NULL;

        if (below && below->def->type == DOMUS_VOLUME_FILE && below->def->format)
                def->backing_format = g_strdup(strcmp(below->def->format, "iso") == 0 ? "raw" : below->def->format);
}

static bool check_create(DomusPool *p, const DomusVolumeDef *def, GError **error)
{
        if (!pool_require_active(p, error))
                return false;
        if (!storage_backend(p->def->type)->create)
                return unsupported(p, "volume creation", error);
        if (g_hash_table_contains(p->volumes, def->name) || g_hash_table_contains(p->reserved, def->name))
                return storage_fail(error, DOMUS_ERROR_STORAGE_VOL_EXIST, "'%s'", def->name);
        return true;
}

void domus_pool_create_volume(DomusPool *p, const char *xml, DomusVolume *source, unsigned flags, DomusVolumeDone done, gpointer opaque)
{
        unsigned parse = (flags & VIR_STORAGE_VOL_CREATE_VALIDATE ? DOMUS_VOLUME_DEF_VALIDATE : 0) |
                         (source ? DOMUS_VOLUME_DEF_OPTIONAL_CAPACITY : 0);
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusVolumeDef) def = domus_volume_def_parse(xml, parse, &error);
        struct volume_job *job;

        if (def && source && source->def->type == DOMUS_VOLUME_NETWORK)
                unsupported(source->pool, "copying of volumes", &error);
        if (error || !def || !check_create(p, def, &error) || (source && !volume_begin(source, false, &error))) {
                done(NULL, error, opaque);
                return;
        }
        job = job_new(p, NULL, done, opaque);
        job->work = work_create;
        job->apply = apply_create;
        job->write = true;
        job->flags = flags & ~(unsigned)VIR_STORAGE_VOL_CREATE_VALIDATE;
        if (source) {
                job->source = domus_volume_ref(source);
                job->source_def = domus_volume_def_copy(source->def);
                inherit(def, source->def);
        }
        settle_backing(p->pools, def);
        job->def = g_steal_pointer(&def);
        g_hash_table_add(p->reserved, g_strdup(job->def->name));
        p->volume_jobs++;
        begin(job);
}

/* --- Looking again --- */

void domus_volume_update(DomusVolume *v, DomusVolumeDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        struct volume_job *job;

        /* While something changes it, what was last known has to do. */
        if (v->writing && !v->gone) {
                done(v, NULL, opaque);
                return;
        }
        if (!volume_begin(v, false, &error)) {
                done(NULL, error, opaque);
                return;
        }
        job = job_new(v->pool, v, done, opaque);
        job->work = look_again;
        job->apply = take_definition;
        begin(job);
}

/* --- Changes --- */

/* NULL, having called done, if it cannot be. */
static struct volume_job *begin_change(DomusVolume *v, bool supported, const char *what, DomusVolumeDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        struct volume_job *job;

        if ((!supported && !unsupported(v->pool, what, &error)) || !volume_begin(v, true, &error)) {
                done(NULL, error, opaque);
                return NULL;
        }
        job = job_new(v->pool, v, done, opaque);
        job->write = true;
        job->apply = take_definition;
        return job;
}

static bool work_delete(const StorageCancel *c, struct volume_job *job, GError **error)
{
        if (job->flags & VIR_STORAGE_VOL_DELETE_ZEROED && !storage_wipe(c, job->def, VIR_STORAGE_VOL_WIPE_ALG_ZERO, error))
                return false;
        return job->backend->remove(c, job->pool_def, job->def, job->flags, error);
}

static void apply_delete(struct volume_job *job)
{
        pool_set_raw(job->pool, job->volume->def->name, false);
        volume_set_gone(job->volume);
}

void domus_volume_delete(DomusVolume *v, unsigned flags, DomusVolumeDone done, gpointer opaque)
{
        struct volume_job *job = begin_change(v, storage_backend(v->pool->def->type)->remove, "volume deletion", done, opaque);

        if (!job)
                return;
        job->work = work_delete;
        job->apply = apply_delete;
        job->flags = flags;
        begin(job);
}

static bool work_resize(const StorageCancel *c, struct volume_job *job, GError **error)
{
        return job->backend->resize(c, job->pool_def, job->def, job->capacity, job->flags, error) && look_again(c, job, error);
}

/* False: the request makes no sense. */
static bool resize_target(const DomusVolume *v, uint64_t capacity, unsigned flags, uint64_t *ret, GError **error)
{
        uint64_t old = v->def->capacity;
        bool shrink = flags & VIR_STORAGE_VOL_RESIZE_SHRINK;

        *ret = capacity;
        if (flags & VIR_STORAGE_VOL_RESIZE_DELTA)
                *ret = shrink ? old - MIN(old, capacity) : old + capacity;
        if (*ret > INT64_MAX || (!shrink && flags & VIR_STORAGE_VOL_RESIZE_DELTA && *ret < old))
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "a capacity of %" G_GUINT64_FORMAT " bytes is too large", *ret);
        if (*ret < old && !shrink)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG,
                        "Can't shrink capacity below current capacity unless shrink flag explicitly specified");
        if (*ret > old && *ret - old > v->pool->state.available &&
            (flags & VIR_STORAGE_VOL_RESIZE_ALLOCATE || v->def->type == DOMUS_VOLUME_BLOCK))
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "Not enough space left in storage pool '%s'", v->pool->name);
        return true;
}

void domus_volume_resize(DomusVolume *v, uint64_t capacity, unsigned flags, DomusVolumeDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        struct volume_job *job;
        uint64_t target;

        if (!storage_backend(v->pool->def->type)->resize)
                unsupported(v->pool, "changing of volume capacity", &error);
        if (error || !resize_target(v, capacity, flags, &target, &error)) {
                done(NULL, error, opaque);
                return;
        }
        job = begin_change(v, storage_backend(v->pool->def->type)->resize, "changing of volume capacity", done, opaque);
        if (!job)
                return;
        job->work = work_resize;
        job->capacity = target;
        job->flags = flags & ~(unsigned)VIR_STORAGE_VOL_RESIZE_DELTA;
        begin(job);
}

static bool work_wipe(const StorageCancel *c, struct volume_job *job, GError **error)
{
        return storage_wipe(c, job->def, job->flags, error) && look_again(c, job, error);
}

void domus_volume_wipe(DomusVolume *v, unsigned algorithm, DomusVolumeDone done, gpointer opaque)
{
        struct volume_job *job = begin_change(v, v->def->type != DOMUS_VOLUME_NETWORK, "wiping of volumes", done, opaque);

        if (!job)
                return;
        job->work = work_wipe;
        job->flags = algorithm;
        begin(job);
}

/* --- Streams --- */

static bool work_transfer(const StorageCancel *c, struct volume_job *job, GError **error)
{
        if (!storage_transfer(c, job->def, &job->transfer, error))
                return false;
        /* Whoever uploads says what the image is: its format is read anew, once. */
        if (job->write && job->transfer.offset == 0)
                job->raw = false;
        return !job->write || look_again(c, job, error);
}

static void apply_upload(struct volume_job *job)
{
        DomusVolume *v = job->volume;

        if (job->transfer.offset == 0)
                pool_set_raw(v->pool, v->def->name, g_strcmp0(job->def->format, "raw") == 0);
        take_definition(job);
        pools_emit(v->pool, true, 0);
}

static void apply_nothing(struct volume_job *job)
{
}

/* What the other side is told last. */
struct farewell {
        StorageTransfer transfer;
        GError *error; /* NULL: all went well */
};

static bool work_farewell(const StorageCancel *c, gpointer data, GError **error)
{
        struct farewell *f = data;

        storage_transfer_end(c, &f->transfer, f->error);
        return true;
}

static void on_farewell_done(gpointer data, const GError *error)
{
        struct farewell *f = data;

        fd_close(f->transfer.fd);
        g_clear_error(&f->error);
        g_free(f);
}

/* Only now, when the volume is not in use any more: who hears it may go on with the volume at once. */
static void end_transfer(DomusVolume *v, const GError *error, gpointer opaque)
{
        struct volume_job *job = opaque;
        struct farewell *f;

        if (error)
                log_debug("stream of a storage volume: %s", error->message);
        if (!job->pool->pools)
                return;
        f = g_new0(struct farewell, 1);
        f->transfer = job->transfer;
        f->error = error ? g_error_copy(error) : NULL;
        job->transfer.fd = -1;
        storage_work_begin(job->pool->pools->workers, work_farewell, on_farewell_done, f);
}

static int begin_transfer(DomusVolume *v, StorageTransfer transfer, GError **error)
{
        struct volume_job *job;
        int fds[2];

        if (v->def->type != DOMUS_VOLUME_FILE && v->def->type != DOMUS_VOLUME_BLOCK) {
                storage_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "volume '%s' holds no data that can be streamed", v->def->name);
                return -1;
        }
        if (!volume_begin(v, transfer.upload, error))
                return -1;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
                storage_fail_errno(error, errno, "cannot make a socket");
                volume_end(v);
                return -1;
        }
        fd_set_nonblock(fds[0], true);
        job = job_new(v->pool, v, end_transfer, NULL);
        job->opaque = job;
        job->work = work_transfer;
        job->apply = transfer.upload ? apply_upload : apply_nothing;
        job->write = transfer.upload;
        job->transfer = transfer;
        job->transfer.fd = fds[1];
        begin(job);
        return fds[0];
}

int domus_volume_upload(DomusVolume *v, uint64_t offset, uint64_t length, bool sparse, GError **error)
{
        return begin_transfer(v, (StorageTransfer){ .upload = true, .offset = offset, .length = length, .sparse = sparse }, error);
}

int domus_volume_download(DomusVolume *v, uint64_t offset, uint64_t length, bool sparse, GError **error)
{
        return begin_transfer(v, (StorageTransfer){ .offset = offset, .length = length, .sparse = sparse }, error);
}
