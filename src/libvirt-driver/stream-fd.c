/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "libvirt-driver/stream-private.h"

/* Plain bytes, both ways at once: a console. */

#define CHUNK (64U << 10)

struct fd_stream {
        struct stream stream;
        int fd;                      /* -1 after its end of file */
        sd_event_source *io;
        GByteArray *pending;         /* from the client, not yet taken by fd */
        bool finishing;              /* the client has said OK */
};

static struct fd_stream *fd_stream(struct stream *s)
{
        return container_of(s, struct fd_stream, stream);
}

static void release(struct stream *stream)
{
        struct fd_stream *s = fd_stream(stream);

        stream->client->stream_in_bytes -= s->pending->len;
        sd_event_source_disable_unref(s->io);
        fd_close(s->fd);
        g_byte_array_unref(s->pending);
        g_free(s);
}

/* The descriptor has no more bytes. The stream stays until the client finishes it. */
static void end_of_file(struct fd_stream *s)
{
        s->io = sd_event_source_disable_unref(s->io);
        s->fd = fd_close(s->fd);
        s->stream.client->stream_in_bytes -= s->pending->len;
        g_byte_array_set_size(s->pending, 0);
        if (s->finishing)
                stream_end_ok(&s->stream);
        else
                stream_send_data(&s->stream, NULL, 0);
}

/* --- The descriptor --- */

static void watch(struct fd_stream *s)
{
        uint32_t mask = (s->stream.client->out_bytes < CLIENT_OUT_STREAM && !s->finishing ? EPOLLIN : 0) |
                        (s->pending->len ? EPOLLOUT : 0);

        if (!s->io)
                return;
        sd_event_source_set_io_events(s->io, mask);
        /* With no events wanted, a hang-up would still be reported again and again. */
        sd_event_source_set_enabled(s->io, mask ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* False: the stream is gone. */
static bool write_pending(struct fd_stream *s)
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
                s->stream.client->stream_in_bytes -= (size_t)r;
                client_kick(s->stream.client);
        }
        if (s->finishing && !s->pending->len) {
                stream_end_ok(&s->stream);
                return false;
        }
        return true;
}

/* False: the stream is gone, or nothing more comes. */
static bool read_some(struct fd_stream *s)
{
        uint8_t buf[CHUNK];
        ssize_t r = read(s->fd, buf, sizeof(buf));

        if (r < 0 && (errno == EAGAIN || errno == EINTR))
                return true;
        if (r > 0) {
                stream_send_data(&s->stream, buf, (size_t)r);
                return true;
        }
        /* A pty whose other side is closed says EIO. */
        if (r == 0 || errno == EIO || errno == ECONNRESET)
                end_of_file(s);
        else
                stream_end_error(&s->stream, DOMUS_ERROR_SYSTEM, g_strerror(errno));
        return false;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
        struct fd_stream *s = opaque;

        if ((revents & EPOLLOUT) && !write_pending(s))
                return 0;
        if ((revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !read_some(s))
                return 0;
        watch(s);
        return 0;
}

/* --- From the client --- */

static void take_data(struct stream *stream, const uint8_t *data, size_t n)
{
        struct fd_stream *s = fd_stream(stream);

        if (s->finishing) {
                stream_end_error(&s->stream, DOMUS_ERROR_RPC, "stream data after its end");
                return;
        }
        if (s->fd < 0 || n == 0)
                return;
        g_byte_array_append(s->pending, data, (guint)n);
        s->stream.client->stream_in_bytes += n;
        if (write_pending(s))
                watch(s);
}

static void take_hole(struct stream *stream, uint64_t length)
{
        stream_end_error(stream, DOMUS_ERROR_RPC, "holes are not supported on this stream");
}

static void take_finish(struct stream *stream)
{
        struct fd_stream *s = fd_stream(stream);

        if (s->finishing) {
                stream_end_error(&s->stream, DOMUS_ERROR_RPC, "stream finished twice");
                return;
        }
        s->finishing = true;
        if (s->fd < 0)
                stream_end_ok(&s->stream);
        else if (write_pending(s))
                watch(s);
}

/* --- Life --- */

static void resume(struct stream *stream)
{
        watch(fd_stream(stream));
}

static const struct stream_kind kind = {
        .data = take_data, .hole = take_hole, .finish = take_finish, .resume = resume, .release = release
};

bool stream_start(struct call *call, int fd, GError **error)
{
        struct fd_stream *s = g_new0(struct fd_stream, 1);
        int r;

        s->fd = fd;
        s->pending = g_byte_array_new();
        if (!stream_add(&s->stream, &kind, call, error))
                return false;
        r = sd_event_add_io(call->client->server->loop, &s->io, fd, EPOLLIN, on_io, s);
        return stream_check_watched(&s->stream, r, error);
}
