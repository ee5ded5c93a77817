/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/qmp.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/unixsocket.h"
#include "model/error.h"

#define LINE_MAX_BYTES (1u << 20)
#define REPLY_SECONDS 60

typedef struct {
        char *name;
        DomusQmpReply reply; /* NULL: nobody asks */
        gpointer opaque;
} Command;

struct DomusQmp {
        unsigned refs;
        sd_event *loop;
        int fd; /* -1: closed */
        sd_event_source *io, *timer, *closing;
        GQueue commands; /* of Command, sent or about to be */
        GString *out, *in;
        DomusQmpEvent event;
        gpointer opaque;
};

static void unref(DomusQmp *q)
{
        if (--q->refs)
                return;
        sd_event_unref(q->loop);
        g_string_free(q->in, TRUE);
        g_string_free(q->out, TRUE);
        g_free(q);
}

static void disconnect(DomusQmp *q)
{
        q->io = sd_event_source_disable_unref(q->io);
        q->timer = sd_event_source_disable_unref(q->timer);
        q->closing = sd_event_source_disable_unref(q->closing);
        q->fd = fd_close(q->fd);
}

/* Ends the first command. */
static void complete(DomusQmp *q, const GError *error)
{
        Command *c = g_queue_pop_head(&q->commands);

        if (c->reply)
                c->reply(error, c->opaque);
        g_free(c->name);
        g_free(c);
}

static void close_all(DomusQmp *q, const char *why)
{
        g_autoptr(GError) error = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "qemu-storage-daemon %s", why);

        disconnect(q);
        while (!g_queue_is_empty(&q->commands))
                complete(q, error);
        disconnect(q); /* who was answered may have asked again */
}

/* --- What is said --- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        DomusQmp *q = userdata;

        q->refs++;
        close_all(q, "does not answer");
        unref(q);
        return 0;
}

/* For the first command. */
static void arm(DomusQmp *q)
{
        q->timer = sd_event_source_disable_unref(q->timer);
        if (q->fd >= 0 && !g_queue_is_empty(&q->commands))
                sd_event_add_time_relative(q->loop, &q->timer, CLOCK_MONOTONIC, REPLY_SECONDS * UINT64_C(1000000), 0, on_timer, q);
}

static void write_some(DomusQmp *q)
{
        ssize_t n = q->out->len ? write(q->fd, q->out->str, q->out->len) : 0;

        if (n > 0)
                g_string_erase(q->out, 0, n);
        if (q->io)
                sd_event_source_set_io_events(q->io, q->out->len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void take_answer(DomusQmp *q, JsonObject *answer)
{
        const Command *c = g_queue_peek_head(&q->commands);
        JsonNode *node = json_object_get_member(answer, "error");
        JsonObject *error = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        g_autoptr(GError) failure = NULL;

        if (!c)
                return;
        if (node)
                failure = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "qemu-storage-daemon: %s: %s", c->name,
                        error ? json_object_get_string_member_with_default(error, "desc", "unknown error") : "unknown error");
        complete(q, failure);
        arm(q);
}

/* Greeting, answer or event. */
static void take_object(DomusQmp *q, JsonObject *object)
{
        const char *event = json_object_get_string_member_with_default(object, "event", NULL);
        JsonNode *data = json_object_get_member(object, "data");

        if (event)
                q->event(event, data && JSON_NODE_HOLDS_OBJECT(data) ? json_node_get_object(data) : NULL, q->opaque);
        else if (!json_object_has_member(object, "QMP"))
                take_answer(q, object);
}

/* False: that was no object. */
static bool take_line(DomusQmp *q, const char *line)
{
        g_autoptr(JsonParser) parser = json_parser_new();
        JsonNode *root = json_parser_load_from_data(parser, line, -1, NULL) ? json_parser_get_root(parser) : NULL;

        if (root && JSON_NODE_HOLDS_OBJECT(root))
                take_object(q, json_node_get_object(root));
        return root && JSON_NODE_HOLDS_OBJECT(root);
}

static void take_lines(DomusQmp *q)
{
        char *end;

        while (q->fd >= 0 && (end = memchr(q->in->str, '\n', q->in->len))) {
                g_autofree char *line = g_strndup(q->in->str, (gsize)(end - q->in->str));

                g_string_erase(q->in, 0, end - q->in->str + 1);
                if (!take_line(q, g_strstrip(line)))
                        close_all(q, "says what is no JSON object");
        }
        if (q->in->len > LINE_MAX_BYTES)
                close_all(q, "says too much");
}

static void read_some(DomusQmp *q)
{
        char buf[4096];
        ssize_t n = read(q->fd, buf, sizeof(buf));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                close_all(q, "has ended");
                return;
        }
        g_string_append_len(q->in, buf, n);
        take_lines(q);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        DomusQmp *q = userdata;

        q->refs++;
        if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_some(q);
        if (q->fd >= 0)
                write_some(q);
        unref(q);
        return 0;
}

/* --- Commands --- */

static char *make_line(const char *command, JsonObject *arguments)
{
        g_autoptr(JsonObject) object = json_object_new();
        g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
        g_autofree char *text = NULL;

        json_object_set_string_member(object, "execute", command);
        if (arguments)
                json_object_set_object_member(object, "arguments", arguments);
        json_node_set_object(root, object);
        text = json_to_string(root, FALSE);
        return g_strconcat(text, "\n", NULL);
}

static int on_closed(sd_event_source *source, void *userdata)
{
        return on_timer(source, 0, userdata);
}

void domus_qmp_send(DomusQmp *q, const char *command, JsonObject *arguments, DomusQmpReply reply, gpointer opaque)
{
        g_autofree char *line = make_line(command, arguments);
        Command *c = g_new0(Command, 1);

        *c = (Command){ .name = g_strdup(command), .reply = reply, .opaque = opaque };
        g_queue_push_tail(&q->commands, c);
        if (q->fd < 0) {
                if (!q->closing)
                        sd_event_add_defer(q->loop, &q->closing, on_closed, q);
                return;
        }
        if (q->commands.length == 1)
                arm(q);
        g_string_append(q->out, line);
        write_some(q);
}

bool domus_qmp_is_closed(const DomusQmp *q)
{
        return q->fd < 0;
}

DomusQmp *domus_qmp_new(sd_event *loop, const char *path, DomusQmpEvent event, gpointer opaque, GError **error)
{
        DomusQmp *q;
        int fd = domus_unix_connect(path);

        if (fd < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "cannot reach the qemu-storage-daemon at '%s': %s", path, g_strerror(-fd));
                return NULL;
        }
        q = g_new0(DomusQmp, 1);
        *q = (DomusQmp){ .refs = 1, .loop = sd_event_ref(loop), .fd = fd, .event = event, .opaque = opaque };
        q->in = g_string_new(NULL);
        q->out = g_string_new(NULL);
        g_queue_init(&q->commands);
        if (sd_event_add_io(loop, &q->io, fd, EPOLLIN, on_io, q) < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "cannot watch the qemu-storage-daemon at '%s'", path);
                domus_qmp_free(q);
                return NULL;
        }
        domus_qmp_send(q, "qmp_capabilities", NULL, NULL, NULL);
        return q;
}

void domus_qmp_free(DomusQmp *q)
{
        if (!q)
                return;
        close_all(q, "has been ended");
        unref(q);
}
