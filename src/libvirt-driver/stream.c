/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "libvirt-driver/client.h"

#define CHUNK (64U << 10)

struct stream {
        struct list link;
        struct client *client;
        struct packet_header header; /* of the call */
        int fd;                      /* -1 after its end of file */
        sd_event_source *io;
        GByteArray *pending;         /* from the client, not yet taken by fd */
        bool finishing;              /* the client has said OK */
};

static void stream_free(struct stream *s)
{
        s->client->stream_in_bytes -= s->pending->len;
        s->client->n_streams--;
        client_kick(s->client);
        list_remove(&s->link);
        sd_event_source_disable_unref(s->io);
        fd_close(s->fd);
        g_byte_array_unref(s->pending);
        g_free(s);
}

/* --- To the client --- */

static GByteArray *stream_packet_begin(const struct stream *s, enum packet_status status)
{
        struct packet_header h = s->header;

        h.type = PACKET_STREAM;
        h.status = status;
        return packet_begin(&h);
}

static void send_data(struct stream *s, const void *data, size_t n)
{
        GByteArray *packet = stream_packet_begin(s, PACKET_CONTINUE);

        if (n)
                g_byte_array_append(packet, data, (guint)n);
        client_send(s->client, packet);
}

static void end_ok(struct stream *s)
{
        client_send(s->client, stream_packet_begin(s, PACKET_OK));
        stream_free(s);
}

static void end_error(struct stream *s, DomusError code, const char *message)
{
        g_autoptr(GError) error = g_error_new_literal(DOMUS_ERROR, code, message);

        client_send_error(s->client, &s->header, PACKET_STREAM, error);
        stream_free(s);
}

/* The descriptor has no more bytes. The stream stays until the client finishes it. */
static void end_of_file(struct stream *s)
{
        s->io = sd_event_source_disable_unref(s->io);
        s->fd = fd_close(s->fd);
        s->client->stream_in_bytes -= s->pending->len;
        g_byte_array_set_size(s->pending, 0);
        if (s->finishing)
                end_ok(s);
        else
                send_data(s, NULL, 0);
}

/* --- The descriptor --- */

static void watch(struct stream *s)
{
        uint32_t mask = (s->client->out_bytes < CLIENT_OUT_STREAM && !s->finishing ? EPOLLIN : 0) |
                        (s->pending->len ? EPOLLOUT : 0);

        if (!s->io)
                return;
        sd_event_source_set_io_events(s->io, mask);
        /* With no events wanted, a hang-up would still be reported again and again. */
        sd_event_source_set_enabled(s->io, mask ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* False: the stream is gone. */
static bool write_pending(struct stream *s)
{
        while (s->pending->len) {
                ssize_t r = write(s->fd, s->pending->data, s->pending->len);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0 && errno == EAGAIN)
                        break;
                if (r < 0) { /* nobody is there to take it: the reading side will say so */
                        end_of_file(s);
                        return false;
                }
                g_byte_array_remove_range(s->pending, 0, (guint)r);
                s->client->stream_in_bytes -= (size_t)r;
                client_kick(s->client);
        }
        if (s->finishing && !s->pending->len) {
                end_ok(s);
                return false;
        }
        return true;
}

/* False: the stream is gone, or nothing more comes. */
static bool read_some(struct stream *s)
{
        uint8_t buf[CHUNK];
        ssize_t r = read(s->fd, buf, sizeof(buf));

        if (r < 0 && (errno == EAGAIN || errno == EINTR))
                return true;
        if (r > 0) {
                send_data(s, buf, (size_t)r);
                return true;
        }
        /* A pty whose other side is closed says EIO. */
        if (r == 0 || errno == EIO || errno == ECONNRESET)
                end_of_file(s);
        else
                end_error(s, DOMUS_ERROR_SYSTEM, g_strerror(errno));
        return false;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
        struct stream *s = opaque;

        if ((revents & EPOLLOUT) && !write_pending(s))
                return 0;
        if ((revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !read_some(s))
                return 0;
        watch(s);
        return 0;
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

static void take_data(struct stream *s, const uint8_t *data, size_t n)
{
        if (s->finishing) {
                end_error(s, DOMUS_ERROR_RPC, "stream data after its end");
                return;
        }
        if (s->fd < 0 || n == 0)
                return;
        g_byte_array_append(s->pending, data, (guint)n);
        s->client->stream_in_bytes += n;
        if (write_pending(s))
                watch(s);
}

static void take_finish(struct stream *s)
{
        if (s->finishing) {
                end_error(s, DOMUS_ERROR_RPC, "stream finished twice");
                return;
        }
        s->finishing = true;
        if (s->fd < 0)
                end_ok(s);
        else if (write_pending(s))
                watch(s);
}

void stream_packet(struct client *client, const struct packet_header *h, const uint8_t *payload, size_t n)
{
        struct stream *s = find(client, h);

        if (!s)
                return;
        if (h->type == PACKET_STREAM_HOLE) {
                end_error(s, DOMUS_ERROR_RPC, "holes are not supported on this stream");
                return;
        }
        switch (h->status) {
        case PACKET_CONTINUE:
                take_data(s, payload, n);
                break;
        case PACKET_OK:
                take_finish(s);
                break;
        case PACKET_ERROR: /* abort, with or without a reason: nothing is owed to anybody */
                end_ok(s);
                break;
        default:
                end_error(s, DOMUS_ERROR_RPC, "unexpected stream status");
        }
}

void streams_resume(struct client *client)
{
        list_foreach(l, &client->streams)
                watch(list_entry(l, struct stream, link));
}

/* --- Life --- */

bool stream_start(struct call *call, int fd, GError **error)
{
        struct client *client = call->client;
        struct stream *s;
        int r;

        if (!client || client->n_streams >= CLIENT_STREAMS_MAX || find(client, &call->header)) {
                fd_close(fd);
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "too many streams on this connection");
                return false;
        }
        s = g_new0(struct stream, 1);
        s->client = client;
        s->header = call->header;
        s->fd = fd;
        s->pending = g_byte_array_new();
        list_append(&client->streams, &s->link);
        client->n_streams++;
        r = sd_event_add_io(client->server->loop, &s->io, fd, EPOLLIN, on_io, s);
        if (r < 0) {
                stream_free(s);
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot watch the stream: %s", g_strerror(-r));
                return false;
        }
        return true;
}

void streams_free(struct client *client)
{
        list_foreach_safe(l, tmp, &client->streams)
                stream_free(list_entry(l, struct stream, link));
}
