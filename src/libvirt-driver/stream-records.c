/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "libvirt-driver/stream-private.h"
#include "storage/transfer.h"

/* The content of a volume: records to and from a worker. */

struct record_stream {
        struct stream stream;
        int fd;
        sd_event_source *io;
        GQueue pending;   /* of GByteArray: records to the worker */
        bool finishing;   /* the client has said OK */
        bool ended;       /* the worker has said END */
        uint8_t buf[TRANSFER_RECORD_MAX];
};

static struct record_stream *record_stream(struct stream *s)
{
        return container_of(s, struct record_stream, stream);
}

static void drop_record(struct record_stream *s)
{
        GByteArray *record = g_queue_pop_head(&s->pending);

        s->stream.client->stream_in_bytes -= record->len;
        g_byte_array_unref(record);
}

static void release(struct stream *stream)
{
        struct record_stream *s = record_stream(stream);

        while (s->pending.length)
                drop_record(s);
        sd_event_source_disable_unref(s->io);
        fd_close(s->fd);
        g_free(s);
}

static void watch(struct record_stream *s)
{
        uint32_t mask = (s->stream.client->out_bytes < CLIENT_OUT_STREAM && !s->ended ? EPOLLIN : 0) | (s->pending.length ? EPOLLOUT : 0);

        sd_event_source_set_io_events(s->io, mask);
        /* With no events wanted, a hang-up would still be reported again and again. */
        sd_event_source_set_enabled(s->io, mask ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* --- To the worker --- */

/* A worker that takes no more says why by its last record. */
static void send_pending(struct record_stream *s)
{
        GByteArray *record;

        while ((record = g_queue_peek_head(&s->pending))) {
                if (send(s->fd, record->data, record->len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR))
                        break;
                drop_record(s);
        }
        client_kick(s->stream.client);
        watch(s);
}

static void queue_record(struct record_stream *s, enum transfer_record kind, const void *data, size_t n)
{
        GByteArray *record = g_byte_array_sized_new((guint)n + 1);
        uint8_t byte = (uint8_t)kind;

        g_byte_array_append(record, &byte, 1);
        if (n)
                g_byte_array_append(record, data, (guint)n);
        g_queue_push_tail(&s->pending, record);
        s->stream.client->stream_in_bytes += record->len;
}

static void take_data(struct stream *stream, const uint8_t *data, size_t n)
{
        struct record_stream *s = record_stream(stream);

        if (s->finishing) {
                stream_end_error(stream, DOMUS_ERROR_RPC, "stream data after its end");
                return;
        }
        for (size_t part; n; n -= part, data += part) {
                part = MIN(n, (size_t)TRANSFER_DATA_MAX);
                queue_record(s, TRANSFER_DATA, data, part);
        }
        send_pending(s);
}

static void take_hole(struct stream *stream, uint64_t length)
{
        struct record_stream *s = record_stream(stream);

        queue_record(s, TRANSFER_HOLE, &length, sizeof(length));
        send_pending(s);
}

static void take_finish(struct stream *stream)
{
        struct record_stream *s = record_stream(stream);

        if (s->finishing) {
                stream_end_error(stream, DOMUS_ERROR_RPC, "stream finished twice");
                return;
        }
        s->finishing = true;
        if (s->ended) {
                stream_end_ok(stream);
                return;
        }
        queue_record(s, TRANSFER_END, NULL, 0);
        send_pending(s);
}

/* --- From the worker --- */

static void fail(struct record_stream *s, const uint8_t *data, size_t n)
{
        g_autofree char *text = NULL;
        int32_t code;

        if (n < sizeof(code)) {
                stream_end_error(&s->stream, DOMUS_ERROR_INTERNAL, "the storage worker is gone");
                return;
        }
        memcpy(&code, data, sizeof(code));
        text = g_strndup((const char *)data + sizeof(code), n - sizeof(code));
        stream_end_error(&s->stream, (DomusError)code, text);
}

static void end(struct record_stream *s)
{
        s->ended = true;
        if (s->finishing) {
                stream_end_ok(&s->stream);
                return;
        }
        stream_send_data(&s->stream, NULL, 0);
        watch(s);
}

static void take_record(struct record_stream *s, size_t n)
{
        uint64_t length;

        switch (s->buf[0]) {
        case TRANSFER_DATA:
                stream_send_data(&s->stream, s->buf + 1, n - 1);
                break;
        case TRANSFER_HOLE:
                memcpy(&length, s->buf + 1, sizeof(length));
                stream_send_hole(&s->stream, length);
                break;
        case TRANSFER_END:
                end(s);
                return;
        default:
                fail(s, s->buf + 1, n - 1);
                return;
        }
        watch(s);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
        struct record_stream *s = opaque;
        ssize_t n;

        if (revents & EPOLLOUT)
                send_pending(s);
        if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                return 0;
        n = recv(fd, s->buf, sizeof(s->buf), MSG_DONTWAIT);
        /* That the worker left without reading everything is reported once, before what it said last. */
        if (n < 0 && errno == ECONNRESET)
                n = recv(fd, s->buf, sizeof(s->buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n > 0)
                take_record(s, (size_t)n);
        else
                fail(s, NULL, 0);
        return 0;
}

/* --- Life --- */

static void resume(struct stream *stream)
{
        watch(record_stream(stream));
}

static const struct stream_kind kind = {
        .data = take_data, .hole = take_hole, .finish = take_finish, .resume = resume, .release = release
};

bool stream_start_records(struct call *call, int fd, GError **error)
{
        struct record_stream *s = g_new0(struct record_stream, 1);
        int r;

        s->fd = fd;
        g_queue_init(&s->pending);
        if (!stream_add(&s->stream, &kind, call, error))
                return false;
        r = sd_event_add_io(call->client->server->loop, &s->io, fd, EPOLLIN, on_io, s);
        return stream_check_watched(&s->stream, r, error);
}
