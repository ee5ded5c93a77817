/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/serial-feed.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct serial_feed {
        int fd;
        struct machine *machine;
        unsigned port;
        struct serial_feed_handler handler;
        sd_event_source *source;
        uint8_t buf[256];
        size_t start, end; /* bytes the port has not taken yet */
};

static void push(struct serial_feed *f)
{
        if (f->start < f->end)
                f->start += machine_serial_input(f->machine, f->port, f->buf + f->start, f->end - f->start);
        /* While bytes wait here, nothing more is read: the sender feels it. */
        sd_event_source_set_enabled(f->source, f->start == f->end ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int readable(struct serial_feed *f)
{
        ssize_t n = read(f->fd, f->buf, sizeof(f->buf));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                sd_event_source_set_enabled(f->source, SD_EVENT_OFF);
                return 0;
        }
        f->start = 0;
        f->end = f->handler.filter ? f->handler.filter(f->handler.opaque, f->buf, (size_t)n) : (size_t)n;
        push(f);
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        return readable(userdata);
}

static int on_defer(sd_event_source *source, void *userdata)
{
        return readable(userdata);
}

int serial_feed_new(sd_event *loop, int fd, struct machine *m, unsigned port, const struct serial_feed_handler *handler,
                    struct serial_feed **ret)
{
        struct serial_feed *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        f->fd = fd;
        f->machine = m;
        f->port = port;
        if (handler)
                f->handler = *handler;
        r = sd_event_add_io(loop, &f->source, fd, EPOLLIN, on_io, f);
        if (r == -EPERM) { /* a regular file: always readable */
                r = sd_event_add_defer(loop, &f->source, on_defer, f);
                if (r >= 0)
                        r = sd_event_source_set_enabled(f->source, SD_EVENT_ON);
        }
        if (r < 0) {
                free(f);
                return r;
        }
        *ret = f;
        return 0;
}

void serial_feed_free(struct serial_feed *f)
{
        if (!f)
                return;
        sd_event_source_disable_unref(f->source);
        free(f);
}

void serial_feed_ready(struct serial_feed *f)
{
        if (f && f->start < f->end)
                push(f);
}
