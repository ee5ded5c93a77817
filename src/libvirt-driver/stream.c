/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/stream.h"

#include <string.h>

#include "base/bytes.h"
#include "libvirt-driver/stream-private.h"

/* A hole on the wire: its length, 8 bytes, and flags, 4 bytes (virNetStreamHole). */
#define HOLE_BYTES 12

static void stream_free(struct stream *s)
{
        struct client *client = s->client;

        list_remove(&s->link);
        client->n_streams--;
        s->kind->release(s);
        client_kick(client);
}

/* --- To the client --- */

static GByteArray *begin(const struct stream *s, enum packet_type type, enum packet_status status)
{
        struct packet_header h = s->header;

        h.type = type;
        h.status = status;
        return packet_begin(&h);
}

void stream_send_data(struct stream *s, const void *data, size_t n)
{
        GByteArray *packet = begin(s, PACKET_STREAM, PACKET_CONTINUE);

        if (n)
                g_byte_array_append(packet, data, (guint)n);
        client_send(s->client, packet);
}

void stream_send_hole(struct stream *s, uint64_t length)
{
        GByteArray *packet = begin(s, PACKET_STREAM_HOLE, PACKET_CONTINUE);
        uint8_t hole[HOLE_BYTES] = { 0 };

        be64_store(hole, length);
        g_byte_array_append(packet, hole, sizeof(hole));
        client_send(s->client, packet);
}

void stream_end_ok(struct stream *s)
{
        client_send(s->client, begin(s, PACKET_STREAM, PACKET_OK));
        stream_free(s);
}

void stream_end_error(struct stream *s, DomusError code, const char *message)
{
        g_autoptr(GError) error = g_error_new_literal(DOMUS_ERROR, (int)code, message);

        client_send_error(s->client, &s->header, PACKET_STREAM, error);
        stream_free(s);
}

/* --- From the client --- */

static struct stream *find(struct client *client, const struct packet_header *h)
{
        list_foreach(l, &client->streams) {
                struct stream *s = list_entry(l, struct stream, link);

                if (s->header.program == h->program && s->header.procedure == h->procedure && s->header.serial == h->serial)
                        return s;
        }
        return NULL;
}

static void take_hole(struct stream *s, const uint8_t *payload, size_t n)
{
        uint64_t length = n == HOLE_BYTES ? be64_load(payload) : UINT64_MAX;

        if (length > INT64_MAX || be32_load(payload + 8) != 0)
                stream_end_error(s, DOMUS_ERROR_RPC, "malformed hole on a stream");
        else
                s->kind->hole(s, length);
}

void stream_packet(struct client *client, const struct packet_header *h, const uint8_t *payload, size_t n)
{
        struct stream *s = find(client, h);

        if (!s)
                return;
        if (h->type == PACKET_STREAM_HOLE) {
                take_hole(s, payload, n);
                return;
        }
        switch (h->status) {
        case PACKET_CONTINUE:
                s->kind->data(s, payload, n);
                break;
        case PACKET_OK:
                s->kind->finish(s);
                break;
        case PACKET_ERROR: /* abort, with or without a reason: nothing is owed to anybody */
                stream_end_ok(s);
                break;
        default:
                stream_end_error(s, DOMUS_ERROR_RPC, "unexpected stream status");
        }
}

void streams_resume(struct client *client)
{
        list_foreach_safe(l, tmp, &client->streams) {
                struct stream *s = list_entry(l, struct stream, link);

                s->kind->resume(s);
        }
}

/* --- Life --- */

bool stream_add(struct stream *s, const struct stream_kind *kind, struct call *call, GError **error)
{
        struct client *client = call->client;

        s->kind = kind;
        s->client = client;
        s->header = call->header;
        list_init(&s->link);
        if (!client || client->n_streams >= CLIENT_STREAMS_MAX || find(client, &call->header)) {
                kind->release(s);
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "too many streams on this connection");
                return false;
        }
        list_append(&client->streams, &s->link);
        client->n_streams++;
        return true;
}

bool stream_check_watched(struct stream *s, int r, GError **error)
{
        if (r >= 0)
                return true;
        stream_free(s);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot watch the stream: %s", g_strerror(-r));
        return false;
}

void streams_free(struct client *client)
{
        list_foreach_safe(l, tmp, &client->streams)
                stream_free(list_entry(l, struct stream, link));
}
