/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a running qemu-storage-daemon is told of its image, and tells of it. Its monitor is connected to when it is first needed, and stays so. */

#include "daemon/device.h"

#include <string.h>

#include "base/log.h"
#include "daemon/domlog.h"

/* Of each connection. */
typedef struct {
        DomusDomain *domain; /* which has it */
        char *alias;
        DomusQmp *qmp;
} Monitor;

void domus_qsd_monitor_free(gpointer p)
{
        Monitor *m = p;

        domus_qmp_free(m->qmp);
        g_free(m->alias);
        g_free(m);
}

static uint64_t number(JsonObject *data, const char *name)
{
        gint64 value = data ? json_object_get_int_member_with_default(data, name, 0) : 0;

        return value > 0 ? (uint64_t)value : 0;
}

static void on_event(const char *name, JsonObject *data, gpointer opaque)
{
        const Monitor *m = opaque;

        if (strcmp(name, "BLOCK_WRITE_THRESHOLD") == 0)
                domus_domain_note_threshold(m->domain, m->alias, number(data, "write-threshold"), number(data, "amount-exceeded"));
}

static DomusQmp *monitor_of(DomusDomain *d, const char *alias, GError **error)
{
        Monitor *m = d->monitors ? g_hash_table_lookup(d->monitors, alias) : NULL;
        g_autofree char *path = NULL;

        if (!d->monitors) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "domain is not running");
                return NULL;
        }
        if (m && !domus_qmp_is_closed(m->qmp))
                return m->qmp;
        path = domus_qsd_file(d, alias, DOMUS_QSD_MONITOR);
        m = g_new0(Monitor, 1);
        m->domain = d;
        m->alias = g_strdup(alias);
        m->qmp = domus_qmp_new(d->manager->loop, path, on_event, m, error);
        if (!m->qmp) {
                domus_qsd_monitor_free(m);
                return NULL;
        }
        g_hash_table_replace(d->monitors, m->alias, m);
        return m->qmp;
}

static void send(DomusDomain *d, const char *alias, const char *command, const char *node, const char *name, uint64_t value, DomusQmpReply reply,
        gpointer opaque)
{
        GError *error = NULL;
        DomusQmp *qmp = monitor_of(d, alias, &error);
        JsonObject *arguments;

        if (!qmp) {
                reply(error, opaque);
                g_error_free(error);
                return;
        }
        arguments = json_object_new();
        json_object_set_string_member(arguments, "node-name", node);
        json_object_set_int_member(arguments, name, (gint64)value);
        domus_qmp_send(qmp, command, arguments, reply, opaque);
}

void domus_qsd_resize(DomusDomain *d, const char *alias, uint64_t bytes, DomusQmpReply reply, gpointer opaque)
{
        send(d, alias, "block_resize", DOMUS_QSD_FORMAT_NODE, "size", bytes, reply, opaque);
}

void domus_qsd_set_threshold(DomusDomain *d, const char *alias, uint64_t bytes, DomusQmpReply reply, gpointer opaque)
{
        send(d, alias, "block-set-write-threshold", DOMUS_QSD_FILE_NODE, "write-threshold", bytes, reply, opaque);
}

/* --- Is it there? --- */

typedef struct {
        DomusDomain *domain; /* its job waits */
        char *alias;
        off_t log_start;
        DomusQmpReply done;
        gpointer opaque;
} Wait;

/* What it said last: "--blockdev {...}: the reason". g_free; NULL: nothing. */
static char *complaint(const DomusDomain *d, off_t from)
{
        g_autofree char *line = d->log_path ? domus_log_find_last(d->log_path, from, DOMUS_QSD_PROGRAM ": ") : NULL;
        const char *reason = line ? g_strrstr(line, "}: ") : NULL;

        return reason ? g_strdup(reason + strlen("}: ")) : g_steal_pointer(&line);
}

static GError *describe(const DomusDisk *disk, const char *reason)
{
        g_autofree char *port = disk->host && disk->port ? g_strconcat(":", disk->port, NULL) : g_strdup("");
        g_autofree char *server = disk->host ? g_strdup_printf(" on server '%s%s'", disk->host, port) : g_strdup("");

        return g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "cannot open the image of disk '%s'%s: %s", disk->target, server, reason);
}

GError *domus_qsd_explain(const DomusDomain *d, const char *alias, off_t log_start, const GError *error)
{
        const DomusDevice *disk = d->live ? domus_domain_def_device_by_alias(d->live, alias) : NULL;
        g_autofree char *reason = disk && domus_qsd_serves(d, alias) ? complaint(d, log_start) : NULL;

        return reason ? describe(&disk->disk, reason) : g_error_copy(error);
}

GError *domus_qsd_explain_any(const DomusDomain *d, off_t log_start, const GError *error)
{
        const DomusDevice *disk;

        for (unsigned i = 0; d->live && (disk = domus_domain_def_device(d->live, DOMUS_DEVICE_DISK, i)); i++) {
                g_autofree char *quoted = g_strdup_printf("'%s'", disk->alias);

                if (strstr(error->message, quoted))
                        return domus_qsd_explain(d, disk->alias, log_start, error);
        }
        return g_error_copy(error);
}

static void on_ready(const GError *error, gpointer opaque)
{
        Wait *w = opaque;
        const DomusDevice *disk = w->domain->live ? domus_domain_def_device_by_alias(w->domain->live, w->alias) : NULL;
        g_autofree char *reason = error ? complaint(w->domain, w->log_start) : NULL;
        g_autoptr(GError) own = error && disk ? describe(&disk->disk, reason ? reason : error->message) : NULL;

        w->done(own ? own : error, w->opaque);
        g_free(w->alias);
        g_free(w);
}

void domus_qsd_when_ready(DomusDomain *d, const char *alias, off_t log_start, DomusQmpReply done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        DomusQmp *qmp = domus_qsd_serves(d, alias) ? monitor_of(d, alias, &error) : NULL;
        Wait *w;

        if (!qmp) {
                done(error, opaque);
                return;
        }
        w = g_new0(Wait, 1);
        *w = (Wait){ d, g_strdup(alias), log_start, done, opaque };
        domus_qmp_send(qmp, "query-version", NULL, on_ready, w);
}

void domus_qsd_forget_all(DomusDomain *d)
{
        if (d->monitors)
                g_hash_table_remove_all(d->monitors);
}

void domus_qsd_listen_again(DomusDomain *d)
{
        const DomusDevice *disk;

        for (unsigned i = 0; (disk = domus_domain_def_device(d->live, DOMUS_DEVICE_DISK, i)); i++) {
                g_autoptr(GError) error = NULL;

                if (domus_qsd_serves(d, disk->alias) && !monitor_of(d, disk->alias, &error))
                        log_warning("domain '%s': disk '%s': %s", d->name, disk->disk.target, error->message);
        }
}
