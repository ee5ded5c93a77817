/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/iscsi-client.h"

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>

#include "storage/backend.h"

#define CALL_SECONDS 15
#define STEP_MS 200
#define REPORT_SIZE (64 << 10)
#define INQUIRY_SIZE 255
#define ALL_UNITS 0

struct IscsiClient {
        const StorageCancel *cancel;
        struct iscsi_context *context;
        char *portal;
        GPtrArray *calls; /* of Call; libiscsi may call back until the context goes */
        bool logged_in;
};

typedef struct {
        bool done;
        int status;
        char **targets;         /* of a discovery */
        struct scsi_task *task; /* of a command */
} Call;

static void free_call(gpointer p)
{
        Call *call = p;

        if (call->task)
                scsi_free_scsi_task(call->task);
        g_strfreev(call->targets);
        g_free(call);
}

static Call *new_call(IscsiClient *client)
{
        Call *call = g_new0(Call, 1);

        g_ptr_array_add(client->calls, call);
        return call;
}

static bool fail(const IscsiClient *client, GError **error)
{
        return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "iSCSI portal '%s': %s", client->portal, iscsi_get_error(client->context));
}

static void on_done(struct iscsi_context *context, int status, void *data, void *opaque)
{
        Call *call = opaque;

        if (!call->done)
                call->status = status;
        call->done = true;
}

/* Serves the connection for a moment. */
static bool serve(IscsiClient *client, gint64 deadline, GError **error)
{
        struct pollfd p[2] = { { .fd = iscsi_get_fd(client->context), .events = (short)iscsi_which_events(client->context) },
                { .fd = client->cancel ? client->cancel->fd : -1, .events = POLLIN } };

        poll(p, 2, STEP_MS);
        if (storage_cancelled(client->cancel, error))
                return false;
        if (g_get_monotonic_time() > deadline)
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "iSCSI portal '%s' does not answer", client->portal);
        return iscsi_service(client->context, p[0].revents) == 0 || fail(client, error);
}

static bool wait_for(IscsiClient *client, const Call *call, GError **error)
{
        gint64 deadline = g_get_monotonic_time() + CALL_SECONDS * G_USEC_PER_SEC;

        while (!call->done) {
                if (!serve(client, deadline, error)) {
                        client->logged_in = false; /* nobody is there to say goodbye to */
                        return false;
                }
        }
        return call->status == SCSI_STATUS_GOOD || fail(client, error);
}

/* --- Sessions --- */

static bool log_in(IscsiClient *client, const char *target, GError **error)
{
        Call *connected = new_call(client), *logged_in = new_call(client);

        if ((target && iscsi_set_targetname(client->context, target) < 0) ||
                iscsi_set_session_type(client->context, target ? ISCSI_SESSION_NORMAL : ISCSI_SESSION_DISCOVERY) < 0 ||
                iscsi_connect_async(client->context, client->portal, on_done, connected) < 0)
                return fail(client, error);
        if (!wait_for(client, connected, error))
                return false;
        if (iscsi_login_async(client->context, on_done, logged_in) < 0)
                return fail(client, error);
        client->logged_in = wait_for(client, logged_in, error);
        return client->logged_in;
}

IscsiClient *iscsi_client_new(const StorageCancel *c, const char *portal, const char *initiator, const char *target, GError **error)
{
        g_autoptr(IscsiClient) client = g_new0(IscsiClient, 1);

        client->cancel = c;
        client->portal = g_strdup(portal);
        client->calls = g_ptr_array_new_with_free_func(free_call);
        client->context = iscsi_create_context(initiator);
        if (!client->context) {
                storage_fail(error, DOMUS_ERROR_INTERNAL, "libiscsi cannot be used");
                return NULL;
        }
        iscsi_set_noautoreconnect(client->context, 1);
        iscsi_set_timeout(client->context, CALL_SECONDS);
        return log_in(client, target, error) ? g_steal_pointer(&client) : NULL;
}

void iscsi_client_free(IscsiClient *client)
{
        Call *call;

        if (!client)
                return;
        call = new_call(client);
        if (client->logged_in && iscsi_logout_async(client->context, on_done, call) == 0)
                wait_for(client, call, NULL);
        if (client->context)
                iscsi_destroy_context(client->context);
        g_ptr_array_unref(client->calls);
        g_free(client->portal);
        g_free(client);
}

/* --- Targets --- */

static void on_discovered(struct iscsi_context *context, int status, void *data, void *opaque)
{
        g_autoptr(GStrvBuilder) list = g_strv_builder_new();
        Call *call = opaque;

        for (const struct iscsi_discovery_address *a = status == SCSI_STATUS_GOOD ? data : NULL; a; a = a->next)
                g_strv_builder_add(list, a->target_name);
        call->targets = g_strv_builder_end(list);
        on_done(context, status, data, opaque);
}

char **iscsi_client_find_targets(IscsiClient *client, GError **error)
{
        Call *call = new_call(client);

        if (iscsi_discovery_async(client->context, on_discovered, call) < 0) {
                fail(client, error);
                return NULL;
        }
        return wait_for(client, call, error) ? g_steal_pointer(&call->targets) : NULL;
}

/* --- Units --- */

/* What the task's answer says, in the structure for its command; the client's. NULL with error set. */
static const void *answer_of(IscsiClient *client, Call *call, GError **error)
{
        const void *answer;

        if (!call->task) {
                fail(client, error);
                return NULL;
        }
        if (!wait_for(client, call, error))
                return NULL;
        answer = scsi_datain_unmarshall(call->task);
        if (!answer)
                storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "iSCSI portal '%s' gives an answer that is none", client->portal);
        return answer;
}

/* SPC-4, 6.4.2. */
static bool is_disk(IscsiClient *client, unsigned unit, bool *ret, GError **error)
{
        const struct scsi_inquiry_standard *inquiry;
        Call *call = new_call(client);

        call->task = iscsi_inquiry_task(client->context, (int)unit, 0, 0, INQUIRY_SIZE, on_done, call);
        inquiry = answer_of(client, call, error);
        *ret = inquiry && inquiry->qualifier == SCSI_INQUIRY_PERIPHERAL_QUALIFIER_CONNECTED &&
               inquiry->device_type == SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_DIRECT_ACCESS;
        return inquiry;
}

static bool read_capacity(IscsiClient *client, unsigned unit, uint64_t *ret, GError **error)
{
        const struct scsi_readcapacity16 *capacity;
        Call *call = new_call(client);

        call->task = iscsi_readcapacity16_task(client->context, (int)unit, on_done, call);
        capacity = answer_of(client, call, error);
        if (!capacity)
                return false;
        if (!capacity->block_length || capacity->returned_lba >= INT64_MAX / capacity->block_length)
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "iSCSI portal '%s': unit %u has no usable size", client->portal, unit);
        *ret = (capacity->returned_lba + 1) * capacity->block_length;
        return true;
}

/* The first commands may meet unit attentions. */
#define ATTENTIONS 3

bool iscsi_client_unit_size(IscsiClient *client, unsigned unit, uint64_t *ret_size, GError **error)
{
        bool disk;

        *ret_size = 0;
        if (!is_disk(client, unit, &disk, error))
                return false;
        if (!disk)
                return true;
        for (unsigned i = 0; i < ATTENTIONS; i++)
                if (read_capacity(client, unit, ret_size, NULL))
                        return true;
        return read_capacity(client, unit, ret_size, error);
}

GArray *iscsi_client_find_units(IscsiClient *client, GError **error)
{
        const struct scsi_reportluns_list *list;
        Call *call = new_call(client);
        GArray *units;

        call->task = iscsi_reportluns_task(client->context, ALL_UNITS, REPORT_SIZE, on_done, call);
        list = answer_of(client, call, error);
        if (!list)
                return NULL;
        units = g_array_new(FALSE, FALSE, sizeof(unsigned));
        for (uint32_t i = 0; i < list->num; i++) {
                unsigned unit = list->luns[i] & 0x3fff; /* without the mark of the flat form: SAM-5, 4.7.4 */

                g_array_append_val(units, unit);
        }
        return units;
}
