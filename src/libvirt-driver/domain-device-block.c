/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of domains: figures, limits, sizes, errors. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/handlers.h"
#include "libvirt-driver/params.h"
#include "model/domain-device.h"

#define AFFECT_FLAGS (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)

/* By target or path; NULL after answering the call. */
static const DomusDevice *find_disk(struct call *call, const DomusDomainDef *def, const char *name)
{
        const DomusDevice *disk = domus_domain_def_disk(def, name);

        if (!disk)
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "invalid path: %s", name);
        return disk;
}

/* --- Counters --- */

struct query {
        struct call *call;
        char *alias; /* NULL: of all disks together */
        int32_t room;
};

static uint64_t counter(const struct query *q, GHashTable *by_alias, const char *name)
{
        GHashTableIter iter;
        gpointer alias;
        uint64_t sum = 0, value;

        g_hash_table_iter_init(&iter, by_alias);
        while (g_hash_table_iter_next(&iter, &alias, NULL))
                if ((!q->alias || strcmp(q->alias, alias) == 0) && domus_device_counter(by_alias, alias, name, &value))
                        sum += value;
        return sum;
}

static struct call *query_end(struct query *q)
{
        struct call *call = q->call;

        g_free(q->alias);
        g_free(q);
        return call;
}

/* Has the one disk that was asked for answered? Else the call has its answer. */
static bool answered(struct query *q, GHashTable *by_alias, const GError *error)
{
        if (!q->alias || g_hash_table_contains(by_alias, q->alias))
                return true;
        if (error)
                call_fail(query_end(q), error);
        else
                call_fail_new(query_end(q), DOMUS_ERROR_OPERATION_INVALID, "domain is not running");
        return false;
}

static void ask(struct call *call, const struct remote_domain *dom, const char *path, int32_t room, DomusDeviceStatsDone done)
{
        DomusDomain *d = call_active_domain(call, dom);
        const DomusDevice *disk = NULL;
        struct query *q;

        if (!d || (*path && !(disk = find_disk(call, domus_domain_def(d, false), path))))
                return;
        q = g_new0(struct query, 1);
        *q = (struct query){ call, disk ? g_strdup(disk->alias) : NULL, room };
        domus_domain_device_stats(d, q->alias, done, q);
}

static void on_block_stats(GHashTable *by_alias, const GError *error, gpointer opaque)
{
        struct query *q = opaque;
        struct remote_domain_block_stats_ret ret;

        if (!answered(q, by_alias, error))
                return;
        ret = (struct remote_domain_block_stats_ret){
                .rd_req = (int64_t)counter(q, by_alias, "rd-req"), .rd_bytes = (int64_t)counter(q, by_alias, "rd-bytes"),
                .wr_req = (int64_t)counter(q, by_alias, "wr-req"), .wr_bytes = (int64_t)counter(q, by_alias, "wr-bytes"),
                .errs = -1,
        };
        call_reply(query_end(q), &ret);
}

static void block_stats(struct call *call, const void *p)
{
        const struct remote_domain_block_stats_args *args = p;

        ask(call, &args->dom, args->path, 0, on_block_stats);
}

static void on_block_stats_flags(GHashTable *by_alias, const GError *error, gpointer opaque)
{
        static const char *const names[][2] = {
                { "wr-bytes", VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES },       { "wr-req", VIR_DOMAIN_BLOCK_STATS_WRITE_REQ },
                { "rd-bytes", VIR_DOMAIN_BLOCK_STATS_READ_BYTES },        { "rd-req", VIR_DOMAIN_BLOCK_STATS_READ_REQ },
                { "flush-req", VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ },        { "wr-time", VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES },
                { "rd-time", VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES },   { "flush-time", VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES },
        };
        struct query *q = opaque;
        struct remote_domain_block_stats_flags_ret ret = { 0 };
        struct params list;

        if (!answered(q, by_alias, error))
                return;
        params_init(&list, q->call);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                params_add_llong(&list, (int64_t)counter(q, by_alias, names[i][0]), "%s", names[i][1]);
        ret.nparams = params_take_probed(&list, q->call, q->room, &ret.params.n, &ret.params.v);
        call_reply(query_end(q), &ret);
}

static void block_stats_flags(struct call *call, const void *p)
{
        const struct remote_domain_block_stats_flags_args *args = p;

        ask(call, &args->dom, args->path, args->nparams, on_block_stats_flags);
}

/* --- Sizes and errors --- */

static void on_remote_info(GHashTable *by_alias, const GError *error, gpointer opaque)
{
        struct query *q = opaque;
        uint64_t size;

        if (!answered(q, by_alias, error))
                return;
        size = counter(q, by_alias, "size");
        call_reply(query_end(q), &(struct remote_domain_get_block_info_ret){ size, size, size });
}

static void block_info(struct call *call, const void *p)
{
        const struct remote_domain_get_block_info_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        const DomusDevice *disk = d ? find_disk(call, domus_domain_def(d, false), args->path) : NULL;
        DomusDiskInfo info;
        GError *error = NULL;

        if (!disk)
                return;
        if (domus_domain_disk_is_remote(d, disk))
                ask(call, &args->dom, args->path, 0, on_remote_info);
        else if (domus_domain_disk_info(d, disk, &info, &error))
                call_reply(call, &(struct remote_domain_get_block_info_ret){ info.allocation, info.capacity, info.physical });
        else
                call_fail_take(call, error);
}

static void block_resize(struct call *call, const void *p)
{
        const struct remote_domain_block_resize_args *args = p;
        DomusDomain *d = call_active_domain(call, &args->dom);
        bool bytes = args->flags & VIR_DOMAIN_BLOCK_RESIZE_BYTES;

        if (!d)
                return;
        if (!bytes && args->size > UINT64_MAX / 1024)
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "size must be less than %" G_GUINT64_FORMAT, UINT64_MAX / 1024);
        else
                domus_domain_block_resize(d, args->disk, bytes ? args->size : args->size * 1024, call_done, call);
}

static void set_threshold(struct call *call, const void *p)
{
        const struct remote_domain_set_block_threshold_args *args = p;
        DomusDomain *d = call_active_domain(call, &args->dom);

        if (d)
                domus_domain_set_threshold(d, args->dev, args->threshold, call_done, call);
}

static void disk_errors(struct call *call, const void *p)
{
        const struct remote_domain_get_disk_errors_args *args = p;
        DomusDomain *d = call_active_domain(call, &args->dom);
        struct remote_domain_get_disk_errors_ret ret = { 0 };
        const DomusDevice *disk;

        if (!d)
                return;
        ret.errors.v = arena_new(&call->arena, struct remote_domain_disk_error, args->maxerrors ? args->maxerrors : 1);
        for (unsigned i = 0; (disk = domus_domain_def_device(domus_domain_def(d, false), DOMUS_DEVICE_DISK, i)); i++) {
                int code = domus_domain_disk_error(d, disk);

                if (!args->maxerrors)
                        ret.nerrors++; /* so much room is needed */
                else if (code && ret.errors.n < args->maxerrors)
                        ret.errors.v[ret.errors.n++] = (struct remote_domain_disk_error){ arena_strdup(&call->arena, disk->disk.target), code };
        }
        if (args->maxerrors)
                ret.nerrors = (int32_t)ret.errors.n;
        call_reply(call, &ret);
}

/* --- Limits --- */

struct tune_row {
        const char *name; /* libvirt's */
        unsigned rate;    /* DOMUS_RATE_* */
        size_t offset;    /* in DomusRate */
        unsigned group;
};

#define RATE(NAME, RATE_, KIND)                                                                                            \
        { VIR_DOMAIN_BLOCK_IOTUNE_##NAME, RATE_, offsetof(DomusRate, rate), DOMUS_IOTUNE_##KIND },                         \
        { VIR_DOMAIN_BLOCK_IOTUNE_##NAME##_MAX, RATE_, offsetof(DomusRate, max), DOMUS_IOTUNE_##KIND##_MAX },              \
        { VIR_DOMAIN_BLOCK_IOTUNE_##NAME##_MAX_LENGTH, RATE_, offsetof(DomusRate, max_length), DOMUS_IOTUNE_##KIND##_MAX_LENGTH }

static const struct tune_row tune_rows[] = {
        RATE(TOTAL_BYTES_SEC, DOMUS_RATE_TOTAL_BYTES, BYTES), RATE(READ_BYTES_SEC, DOMUS_RATE_READ_BYTES, BYTES),
        RATE(WRITE_BYTES_SEC, DOMUS_RATE_WRITE_BYTES, BYTES), RATE(TOTAL_IOPS_SEC, DOMUS_RATE_TOTAL_IOPS, IOPS),
        RATE(READ_IOPS_SEC, DOMUS_RATE_READ_IOPS, IOPS),      RATE(WRITE_IOPS_SEC, DOMUS_RATE_WRITE_IOPS, IOPS),
};

static uint64_t *tune_value(DomusIotune *t, const struct tune_row *row)
{
        return (uint64_t *)(void *)((char *)&t->rates[row->rate] + row->offset);
}

static bool read_tune_param(const struct remote_typed_param *param, DomusIotune *t, unsigned *groups)
{
        uint64_t value;

        if (!params_number(param, &value))
                return false;
        if (strcmp(param->field, VIR_DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC) == 0) {
                t->size_iops = value;
                *groups |= DOMUS_IOTUNE_SIZE;
                return true;
        }
        for (size_t i = 0; i < ARRAY_SIZE(tune_rows); i++) {
                if (strcmp(param->field, tune_rows[i].name) != 0)
                        continue;
                *tune_value(t, &tune_rows[i]) = value;
                *groups |= tune_rows[i].group;
                return true;
        }
        return false;
}

static void set_iotune(struct call *call, const void *p)
{
        const struct remote_domain_set_block_io_tune_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        DomusIotune t = { 0 };
        unsigned groups = 0;

        if (!d)
                return;
        for (uint32_t i = 0; i < args->params.n; i++) {
                if (read_tune_param(&args->params.v[i], &t, &groups))
                        continue;
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "parameter '%s' is not supported, or not a number", args->params.v[i].field);
                return;
        }
        domus_domain_set_iotune(d, args->disk, &t, groups, args->flags & AFFECT_FLAGS, call_done, call);
}

static void put_iotune(struct call *call, const DomusDevice *disk, int32_t room)
{
        struct remote_domain_get_block_io_tune_ret ret = { 0 };
        DomusIotune t = disk ? disk->disk.iotune : (DomusIotune){ 0 };
        struct params list;

        params_init(&list, call);
        for (unsigned length = 0; length < 3; length++) /* libvirt's order: rates, bursts, lengths of bursts */
                for (size_t i = length; i < ARRAY_SIZE(tune_rows); i += 3) {
                        if (length == 2 && i == 2)
                                params_add_ull(&list, t.size_iops, "%s", VIR_DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC);
                        params_add_ull(&list, *tune_value(&t, &tune_rows[i]), "%s", tune_rows[i].name);
                }
        ret.nparams = params_take_probed(&list, call, room, &ret.params.n, &ret.params.v);
        call_reply(call, &ret);
}

static void get_iotune(struct call *call, const void *p)
{
        const struct remote_domain_get_block_io_tune_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        const DomusDomainDef *def = d ? domus_domain_def(d, args->flags & VIR_DOMAIN_AFFECT_CONFIG) : NULL;
        const DomusDevice *disk = NULL;

        if (!d)
                return;
        if (!def || ((args->flags & VIR_DOMAIN_AFFECT_LIVE) && !domus_domain_is_active(d)))
                call_fail_new(call, DOMUS_ERROR_OPERATION_INVALID, def ? "domain is not running" : "the domain has no persistent definition");
        else if (!args->disk || (disk = find_disk(call, def, args->disk)))
                put_iotune(call, disk, args->nparams);
}

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_BLOCK_STATS, block_stats },
        { REMOTE_PROC_DOMAIN_BLOCK_STATS_FLAGS, block_stats_flags, VIR_TYPED_PARAM_STRING_OKAY },
        { REMOTE_PROC_DOMAIN_GET_BLOCK_INFO, block_info },
        { REMOTE_PROC_DOMAIN_BLOCK_RESIZE, block_resize, VIR_DOMAIN_BLOCK_RESIZE_BYTES },
        { REMOTE_PROC_DOMAIN_GET_DISK_ERRORS, disk_errors },
        { REMOTE_PROC_DOMAIN_SET_BLOCK_THRESHOLD, set_threshold },
        { REMOTE_PROC_DOMAIN_SET_BLOCK_IO_TUNE, set_iotune, AFFECT_FLAGS | VIR_TYPED_PARAM_STRING_OKAY },
        { REMOTE_PROC_DOMAIN_GET_BLOCK_IO_TUNE, get_iotune, AFFECT_FLAGS | VIR_TYPED_PARAM_STRING_OKAY },
};

HANDLER_TABLE(domain_device_block_handlers, rows);
