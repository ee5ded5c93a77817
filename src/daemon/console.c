/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "model/error.h"

#define BUFFER_SIZE 16384

/* Bytes on their way from one side to the other. Nothing is read before all of it is written. */
typedef struct {
        char bytes[BUFFER_SIZE];
        size_t start, end;
        bool eof;
} Flow;

typedef struct {
        int fd;
        sd_event_source *source;
        Flow in; /* read from fd, to be written to the other side */
} Side;

struct DomusConsole {
        Side user, guest;
        bool user_left; /* what they typed last may still wait for the guest */
        void (*closed)(gpointer opaque);
        gpointer opaque;
};

static bool flow_empty(const Flow *f)
{
        return f->start == f->end;
}

/* false: nothing more will come from fd. */
static bool flow_fill(Flow *f, int fd)
{
        ssize_t n;

        if (!flow_empty(f) || f->eof)
                return !f->eof;
        n = read(fd, f->bytes, sizeof(f->bytes));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return true;
        f->start = 0;
        f->end = n > 0 ? (size_t)n : 0;
        f->eof = n <= 0;
        return !f->eof;
}

/* false: fd takes nothing any more. */
static bool flow_drain(Flow *f, int fd)
{
        ssize_t n;

        if (flow_empty(f))
                return true;
        n = send(fd, f->bytes + f->start, f->end - f->start, MSG_NOSIGNAL);
        if (n < 0 && errno == ENOTSOCK)
                n = write(fd, f->bytes + f->start, f->end - f->start);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR;
        f->start += (size_t)n;
        return true;
}

static uint32_t wanted(const Flow *in, const Flow *out)
{
        return (flow_empty(in) && !in->eof ? EPOLLIN : 0) | (flow_empty(out) ? 0 : EPOLLOUT);
}

/* Moves what can be moved; false: the relay has ended. */
static bool shuttle(DomusConsole *c)
{
        flow_fill(&c->guest.in, c->guest.fd);
        flow_fill(&c->user.in, c->user.fd);
        if (!flow_drain(&c->guest.in, c->user.fd) || !flow_drain(&c->user.in, c->guest.fd))
                return false;
        if (c->user.in.eof && flow_empty(&c->user.in))
                return false;
        return !(c->guest.in.eof && flow_empty(&c->guest.in));
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        DomusConsole *c = userdata;
        bool goes_on;

        if (fd == c->user.fd && revents & EPOLLHUP && !c->user_left) {
                c->user_left = true;
                sd_event_source_set_enabled(c->user.source, SD_EVENT_OFF); /* it would not stop telling */
        }
        do
                goes_on = shuttle(c);
        while (goes_on && c->user_left && flow_empty(&c->user.in));
        if (!goes_on) {
                c->closed(c->opaque);
                return 0;
        }
        sd_event_source_set_io_events(c->user.source, wanted(&c->user.in, &c->guest.in));
        sd_event_source_set_io_events(c->guest.source, wanted(&c->guest.in, &c->user.in));
        return 0;
}

static int setup(DomusConsole *c, sd_event *loop, const char *tty, int *ret_fd)
{
        int pair[2];
        int r;

        c->guest.fd = open(tty, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (c->guest.fd < 0)
                return -errno;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        c->user.fd = pair[0];
        r = sd_event_add_io(loop, &c->user.source, c->user.fd, EPOLLIN, on_io, c);
        if (r >= 0)
                r = sd_event_add_io(loop, &c->guest.source, c->guest.fd, EPOLLIN, on_io, c);
        if (r < 0)
                fd_close(pair[1]);
        else
                *ret_fd = pair[1];
        return r;
}

DomusConsole *domus_console_open(sd_event *loop, const char *tty, void (*closed)(gpointer opaque), gpointer opaque,
        int *ret_fd, GError **error)
{
        DomusConsole *c = g_new0(DomusConsole, 1);
        int r;

        c->user.fd = c->guest.fd = -1;
        c->closed = closed;
        c->opaque = opaque;
        r = setup(c, loop, tty, ret_fd);
        if (r >= 0)
                return c;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot open the console '%s': %s", tty, g_strerror(-r));
        domus_console_free(c);
        return NULL;
}

bool domus_console_abandoned(DomusConsole *c)
{
        struct pollfd p = { .fd = c->user.fd };

        if (!c->user_left && (poll(&p, 1, 0) <= 0 || !(p.revents & POLLHUP)))
                return false;
        do {
                flow_fill(&c->user.in, c->user.fd);
                flow_drain(&c->user.in, c->guest.fd);
        } while (flow_empty(&c->user.in) && !c->user.in.eof);
        return true;
}

static void side_finish(Side *s)
{
        s->source = sd_event_source_disable_unref(s->source);
        s->fd = fd_close(s->fd);
}

void domus_console_free(DomusConsole *c)
{
        if (!c)
                return;
        side_finish(&c->user);
        side_finish(&c->guest);
        g_free(c);
}
