/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/console.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/main/serial-feed.h"

#define BACKLOG_SIZE 65536u

/* The boot log keeps this much per start, and this much in a process's life: a guest that reboots for ever does not fill
 * the disk. */
#define LOG_PER_START KiB(256)
#define LOG_TOTAL MiB(4)

struct console {
        sd_event *loop;
        int master, slave, log_fd;
        struct serial_feed *feed;
        int input_fd;               /* dup of master: one event source each for input and output */
        int wake_fd;
        sd_event_source *wake_source, *room_source;
        uint64_t log_left, log_total_left; /* main thread */

        pthread_mutex_t lock;       /* of what follows */
        uint64_t head, tail;        /* bytes ever written and ever taken by the pty */
        uint64_t logged;            /* bytes ever offered to the log; the pty may be ahead */
        bool overflow;              /* something was dropped since the last flush */
        uint8_t ring[BACKLOG_SIZE];
};

static void wake(struct console *c)
{
        uint64_t one = 1;

        if (write(c->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
                log_error("cannot wake the main loop: %m");
}

void console_output(struct console *c, const uint8_t *buf, size_t len)
{
        bool idle;

        pthread_mutex_lock(&c->lock);
        idle = c->head == c->logged;
        for (size_t i = 0; i < len; i++)
                c->ring[c->head++ % BACKLOG_SIZE] = buf[i];
        if (c->head - c->tail > BACKLOG_SIZE) {
                c->tail = c->head - BACKLOG_SIZE;
                c->overflow = true;
        }
        if (c->head - c->logged > BACKLOG_SIZE)
                c->logged = c->head - BACKLOG_SIZE;
        pthread_mutex_unlock(&c->lock);
        if (idle)
                wake(c);
}

static uint64_t position(struct console *c, const uint64_t *pos)
{
        uint64_t value;

        pthread_mutex_lock(&c->lock);
        value = *pos;
        pthread_mutex_unlock(&c->lock);
        return value;
}

static void advance(struct console *c, uint64_t *pos, uint64_t to)
{
        pthread_mutex_lock(&c->lock);
        /* Output that came meanwhile may have pushed it further. */
        if (*pos < to)
                *pos = to;
        pthread_mutex_unlock(&c->lock);
}

/* Copies out up to n bytes that begin at *pos, without moving anything. */
static size_t peek(struct console *c, const uint64_t *pos, uint8_t *buf, size_t n)
{
        size_t got = 0;

        pthread_mutex_lock(&c->lock);
        for (uint64_t p = *pos; p < c->head && got < n; p++)
                buf[got++] = c->ring[p % BACKLOG_SIZE];
        pthread_mutex_unlock(&c->lock);
        return got;
}

/* As far as end: a guest that prints without a pause does not keep the main loop here. */
static void write_log(struct console *c, uint64_t end)
{
        uint8_t buf[4096];
        uint64_t from;
        size_t n;

        while ((from = position(c, &c->logged)) < end && (n = peek(c, &from, buf, sizeof(buf))) > 0) {
                uint64_t left = c->log_left < c->log_total_left ? c->log_left : c->log_total_left;
                size_t keep = n < left ? n : (size_t)left;

                if (keep > 0 && fd_write_all(c->log_fd, buf, keep) < 0)
                        keep = 0;
                c->log_left -= keep;
                c->log_total_left -= keep;
                advance(c, &c->logged, from + n);
        }
}

/* Takes back what the pty holds and nobody has read, when newer output was dropped for it. */
static void drop_stale(struct console *c)
{
        bool overflow;

        pthread_mutex_lock(&c->lock);
        overflow = c->overflow;
        c->overflow = false;
        pthread_mutex_unlock(&c->lock);
        if (overflow && c->slave >= 0)
                tcflush(c->slave, TCIFLUSH);
}

static void write_pty(struct console *c, uint64_t end)
{
        uint8_t buf[4096];
        ssize_t done = 0;
        uint64_t from;

        drop_stale(c);
        while ((from = position(c, &c->tail)) < end) {
                size_t n = peek(c, &from, buf, sizeof(buf));

                done = write(c->master, buf, n);
                if (done <= 0)
                        break;
                advance(c, &c->tail, from + (uint64_t)done);
        }
        sd_event_source_set_enabled(c->room_source, done < 0 && errno == EAGAIN ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* What comes while this runs is for the next turn of the main loop. */
void console_flush(struct console *c)
{
        uint64_t end = position(c, &c->head);

        write_log(c, end);
        write_pty(c, end);
        if (position(c, &c->head) != end)
                wake(c);
}

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        uint64_t count;

        if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
                log_warning("cannot read the console's event descriptor: %m");
        console_flush(userdata);
        return 0;
}

static int on_room(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct console *c = userdata;

        write_pty(c, position(c, &c->head));
        return 0;
}

static int make_sources(struct console *c)
{
        int r;

        c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (c->wake_fd < 0)
                return -errno;
        r = sd_event_add_io(c->loop, &c->wake_source, c->wake_fd, EPOLLIN, on_wake, c);
        if (r >= 0)
                r = sd_event_add_io(c->loop, &c->room_source, c->master, EPOLLOUT, on_room, c);
        if (r >= 0)
                r = sd_event_source_set_enabled(c->room_source, SD_EVENT_OFF);
        return r;
}

int console_new(sd_event *loop, const struct console_config *config, struct console **ret)
{
        struct console *c = calloc(1, sizeof(*c));
        int r;

        if (!c) {
                fd_close(config->master);
                fd_close(config->slave);
                return -ENOMEM;
        }
        c->loop = loop;
        c->master = config->master;
        c->slave = config->slave;
        c->log_fd = config->log_fd;
        c->log_total_left = LOG_TOTAL;
        c->wake_fd = -1;
        c->input_fd = -1;
        pthread_mutex_init(&c->lock, NULL);
        console_restart_log(c);
        r = fd_set_nonblock(c->master, true);
        if (r >= 0)
                r = make_sources(c);
        if (r < 0) {
                console_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

int console_connect(struct console *c, struct machine *m, unsigned port)
{
        c->input_fd = dup(c->master);
        if (c->input_fd < 0)
                return -errno;
        return serial_feed_new(c->loop, c->input_fd, m, port, NULL, &c->feed);
}

void console_disconnect(struct console *c)
{
        serial_feed_free(c->feed);
        c->feed = NULL;
}

void console_free(struct console *c)
{
        if (!c)
                return;
        console_disconnect(c);
        sd_event_source_disable_unref(c->wake_source);
        sd_event_source_disable_unref(c->room_source);
        fd_close(c->input_fd);
        fd_close(c->wake_fd);
        fd_close(c->master);
        fd_close(c->slave);
        pthread_mutex_destroy(&c->lock);
        free(c);
}

void console_ready(struct console *c)
{
        serial_feed_ready(c->feed);
}

void console_restart_log(struct console *c)
{
        c->log_left = c->log_fd >= 0 ? LOG_PER_START : 0;
}
