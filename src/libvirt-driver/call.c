/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/call.h"

#include <stdarg.h>
#include <string.h>

#include "libvirt-driver/client.h"
#include "libvirt-driver/errors.h"
#include "libvirt-driver/handlers.h"

/* --- Ending a call --- */

static void call_free(struct call *call)
{
        struct client *client = call->client;

        if (client)
                client_call_ended(client, call);
        arena_clear(&call->arena);
        g_free(call);
}

static GByteArray *answer_begin(const struct packet_header *to, enum packet_type type, enum packet_status status)
{
        struct packet_header h = *to;

        h.type = type;
        h.status = status;
        return packet_begin(&h);
}

void client_send_error(struct client *client, const struct packet_header *to, enum packet_type type, const GError *error)
{
        GByteArray *packet = answer_begin(to, type, PACKET_ERROR);
        struct remote_error wire;
        struct arena arena = { 0 };

        error_to_wire(error, &arena, &wire);
        /* Its strings are bounded far below the limits. */
        xdr_encode(&xdr_remote_error, &wire, packet, PACKET_MAX);
        arena_clear(&arena);
        client_send(client, packet);
}

void call_reply(struct call *call, const void *ret)
{
        if (call->client) {
                GByteArray *packet = answer_begin(&call->header, PACKET_REPLY, PACKET_OK);

                if (!xdr_encode(call->proc->ret, ret, packet, PACKET_MAX)) {
                        g_byte_array_unref(packet);
                        call_fail_new(call, DOMUS_ERROR_RPC, "Unable to encode message payload");
                        return;
                }
                client_send(call->client, packet);
        }
        call_free(call);
}

void call_fail(struct call *call, const GError *error)
{
        if (call->client)
                client_send_error(call->client, &call->header, PACKET_REPLY, error);
        call_free(call);
}

void call_fail_take(struct call *call, GError *error)
{
        call_fail(call, error);
        g_error_free(error);
}

void call_fail_new(struct call *call, DomusError code, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        GError *error = g_error_new_valist(DOMUS_ERROR, code, fmt, ap);
        va_end(ap);
        call_fail_take(call, error);
}

void call_orphan(struct call *call)
{
        list_remove(&call->link);
        call->client = NULL;
}

/* --- Beginning one --- */

static void refuse(struct client *client, const struct packet_header *h, const char *fmt, ...) DOMUS_PRINTF(3, 4);

static void refuse(struct client *client, const struct packet_header *h, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        g_autoptr(GError) error = g_error_new_valist(DOMUS_ERROR, DOMUS_ERROR_RPC, fmt, ap);
        va_end(ap);
        client_send_error(client, h, PACKET_REPLY, error);
}

static const struct remote_proc *find_proc(struct client *client, const struct packet_header *h)
{
        bool qemu = h->program == PROGRAM_QEMU;
        const struct remote_proc *table = qemu ? qemu_procs : remote_procs;
        unsigned n = qemu ? n_qemu_procs : n_remote_procs;

        if ((h->program != PROGRAM_REMOTE && !qemu) || h->version != PROGRAM_VERSION) {
                refuse(client, h, "Cannot find program %u version %u", h->program, h->version);
                return NULL;
        }
        if (h->type != PACKET_CALL) {
                refuse(client, h, "Unexpected message type %u", h->type);
                return NULL;
        }
        if (h->status != PACKET_OK) {
                refuse(client, h, "Unexpected message status %u", h->status);
                return NULL;
        }
        if (h->procedure == 0 || h->procedure > n || table[h->procedure - 1].access == ACCESS_EVENT) {
                refuse(client, h, "unknown procedure: %u", h->procedure);
                return NULL;
        }
        return &table[h->procedure - 1];
}

/* Of the calls that need no open connection, asking for a feature is answered for keepalive alone. */
static bool may_call(struct call *call)
{
        const struct client *client = call->client;

        if (!client->open && call->proc->access != ACCESS_NONE) {
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "hypervisor connection not open");
                return false;
        }
        if (client->read_only && (call->proc->access == ACCESS_WRITE || call->proc->access == ACCESS_SECRET)) {
                call_fail_new(call, DOMUS_ERROR_OPERATION_DENIED, "read only access prevents %s", call->proc->api);
                return false;
        }
        return true;
}

static uint64_t get_flags(const struct remote_proc *proc, const void *args)
{
        uint32_t narrow;
        uint64_t wide;

        if (proc->flags_size == 8) {
                memcpy(&wide, (const char *)args + proc->flags_offset, sizeof(wide));
                return wide;
        }
        memcpy(&narrow, (const char *)args + proc->flags_offset, sizeof(narrow));
        return narrow;
}

static bool check_flags(struct call *call, const struct handler *handler, const void *args)
{
        uint64_t unknown;

        if (call->proc->flags_offset < 0)
                return true;
        unknown = get_flags(call->proc, args) & ~handler->flags;
        if (!unknown)
                return true;
        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%" G_GINT64_MODIFIER "x) in function %s", unknown,
                call->proc->api);
        return false;
}

static void run(struct call *call, const uint8_t *payload, size_t n)
{
        const struct remote_proc *proc = call->proc;
        const struct handler *handler = handler_find(call->header.program, proc->number);
        void *args = proc->args ? arena_alloc(&call->arena, proc->args->size) : NULL;

        if (!may_call(call))
                return;
        if (!handler) {
                call_fail_new(call, DOMUS_ERROR_NO_SUPPORT, "%s", proc->api);
                return;
        }
        if (!xdr_decode(proc->args, payload, n, args, &call->arena)) {
                call_fail_new(call, DOMUS_ERROR_RPC, "Unable to decode message payload");
                return;
        }
        if (check_flags(call, handler, args))
                handler->run(call, args);
}

void call_dispatch(struct client *client, const uint8_t *packet, size_t n)
{
        struct packet_header h;
        const struct remote_proc *proc;
        struct call *call;

        packet_header_read(packet, &h);
        proc = find_proc(client, &h);
        if (!proc)
                return;
        call = g_new0(struct call, 1);
        call->manager = client->server->manager;
        call->client = client;
        call->header = h;
        call->proc = proc;
        list_append(&client->calls, &call->link);
        client->n_calls++;
        run(call, packet + PACKET_HEADER, n - PACKET_HEADER);
}

/* --- For the handlers --- */

DomusManager *call_manager(struct call *call)
{
        return call->manager;
}

DomusHost *call_host(struct call *call)
{
        return domus_manager_host(call->manager);
}

DomusDomain *call_domain(struct call *call, const struct remote_domain *dom)
{
        GError *error = NULL;
        DomusDomain *d = domus_manager_lookup_uuid(call_manager(call), dom->uuid, &error);

        if (!d)
                call_fail_take(call, error);
        return d;
}

DomusDomain *call_active_domain(struct call *call, const struct remote_domain *dom)
{
        DomusDomain *d = call_domain(call, dom);

        if (d && !domus_domain_is_active(d)) {
                call_fail_new(call, DOMUS_ERROR_OPERATION_INVALID, "domain is not running");
                return NULL;
        }
        return d;
}

void call_put_domain(struct call *call, struct remote_domain *ret, const DomusDomain *d)
{
        ret->name = arena_strdup(&call->arena, domus_domain_name(d));
        memcpy(ret->uuid, domus_domain_uuid(d), sizeof(ret->uuid));
        ret->id = domus_domain_id(d);
}

void call_done(DomusDomain *domain, const GError *error, gpointer opaque)
{
        struct call *call = opaque;

        if (error)
                call_fail(call, error);
        else
                call_reply(call, NULL);
}

void call_done_domain(DomusDomain *domain, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        /* domain_create_xml, domain_create_with_flags, domain_define_xml and the lookups all return just
         * this. */
        struct remote_domain ret;

        if (error) {
                call_fail(call, error);
                return;
        }
        call_put_domain(call, &ret, domain);
        call_reply(call, &ret);
}

void call_reply_i32(struct call *call, int32_t value)
{
        call_reply(call, &value);
}

void call_reply_string(struct call *call, char *s, GError *error)
{
        const char *ret = s;

        if (!s) {
                call_fail_take(call, error);
                return;
        }
        call_reply(call, &ret);
        g_free(s);
}

void call_reply_empty(struct call *call, const void *args)
{
        call_reply(call, call->proc->ret ? arena_alloc(&call->arena, call->proc->ret->size) : NULL);
}

void call_reply_bool(struct call *call, bool ok, GError **error)
{
        if (ok)
                call_reply(call, NULL);
        else
                call_fail_take(call, *error);
}
