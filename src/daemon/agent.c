/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/agent.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/unixsocket.h"
#include "model/error.h"

#define REPLY_MAX (16u << 20)
#define DEPTH_MAX 32
#define SYNC_SECONDS 5
#define SILENCE_SECONDS 1
#define SENTINEL '\xff' /* in front of the reply to guest-sync-delimited */

typedef struct {
        char *text; /* with a newline */
        char *name; /* for messages */
        unsigned timeout;
        bool silent;
        DomusAgentReply reply;
        gpointer opaque;
} Command;

struct DomusAgent {
        sd_event *loop;
        char *path;
        int fd;                  /* -1: not connected */
        sd_event_source *io, *timer, *start;
        GQueue commands;         /* of Command; the first is under way once the connection is */
        enum { IDLE, SYNCING, WAITING } state;
        guint sync_id;
        GString *out;            /* still to be written */
        GString *in;
};

static void run_next(DomusAgent *a);

static void command_free(Command *c)
{
        g_free(c->text);
        g_free(c->name);
        g_free(c);
}

static void disconnect(DomusAgent *a)
{
        a->io = sd_event_source_disable_unref(a->io);
        a->timer = sd_event_source_disable_unref(a->timer);
        a->fd = fd_close(a->fd);
        g_string_truncate(a->in, 0);
        g_string_truncate(a->out, 0);
        a->state = IDLE;
}

/* Ends the command under way. The callback may add others. */
static void complete(DomusAgent *a, JsonObject *reply, const GError *error)
{
        Command *c = g_queue_pop_head(&a->commands);

        a->timer = sd_event_source_disable_unref(a->timer);
        a->state = IDLE;
        if (error)
                disconnect(a);
        c->reply(reply, error, c->opaque);
        command_free(c);
}

static void fail(DomusAgent *a, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void fail(DomusAgent *a, int code, const char *format, ...)
{
        g_autoptr(GError) error = NULL;
        va_list ap;

        va_start(ap, format);
        error = g_error_new_valist(DOMUS_ERROR, code, format, ap);
        va_end(ap);
        complete(a, NULL, error);
        run_next(a);
}

/* --- Reading --- */

/* json-glib recurses, and the guest is not to say how deep. */
static bool shallow(const char *text)
{
        unsigned depth = 0;
        bool quoted = false;

        for (const char *p = text; *p; p++) {
                if (quoted && *p == '\\' && p[1])
                        p++;
                else if (*p == '"')
                        quoted = !quoted;
                else if (!quoted && (*p == '{' || *p == '['))
                        depth++;
                else if (!quoted && (*p == '}' || *p == ']') && depth)
                        depth--;
                if (depth > DEPTH_MAX)
                        return false;
        }
        return true;
}

static void take_sync(DomusAgent *a, JsonObject *reply)
{
        const Command *c = g_queue_peek_head(&a->commands);

        if (!json_object_has_member(reply, "return") || json_object_get_int_member_with_default(reply, "return", -1) != (gint64)a->sync_id)
                return; /* of an earlier connection */
        a->state = WAITING;
        g_string_assign(a->out, c->text);
}

static void take_reply(DomusAgent *a, JsonObject *reply)
{
        const Command *c = g_queue_peek_head(&a->commands);
        JsonNode *node = json_object_get_member(reply, "error");
        JsonObject *error = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        g_autoptr(GError) failure = NULL;

        if (!node) {
                complete(a, reply, NULL);
                return;
        }
        failure = g_error_new(DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "unable to execute QEMU agent command '%s': %s", c->name,
                error ? json_object_get_string_member_with_default(error, "desc", "unknown error") : "unknown error");
        complete(a, NULL, failure);
}

static void take_line(DomusAgent *a, const char *line)
{
        g_autoptr(JsonParser) parser = json_parser_new();
        JsonNode *root;

        if (!*line)
                return;
        if (!shallow(line) || !g_utf8_validate(line, -1, NULL) || !json_parser_load_from_data(parser, line, -1, NULL) ||
                !(root = json_parser_get_root(parser)) || !JSON_NODE_HOLDS_OBJECT(root)) {
                if (a->state == WAITING) /* before that, it may be the rest of an old reply */
                        fail(a, DOMUS_ERROR_INTERNAL, "the guest agent's reply is no JSON object");
                return;
        }
        if (a->state == SYNCING)
                take_sync(a, json_node_get_object(root));
        else if (a->state == WAITING)
                take_reply(a, json_node_get_object(root));
}

static void take_lines(DomusAgent *a)
{
        char *end;

        while (a->fd >= 0 && (end = memchr(a->in->str, '\n', a->in->len))) {
                g_autofree char *line = g_strndup(a->in->str, (gsize)(end - a->in->str));
                char *sentinel = a->state == SYNCING ? strrchr(line, SENTINEL) : NULL;

                g_string_erase(a->in, 0, end - a->in->str + 1);
                take_line(a, g_strstrip(sentinel ? sentinel + 1 : line));
        }
}

/* False if the connection has ended. */
static bool read_some(DomusAgent *a)
{
        char buf[16384];
        ssize_t n = read(a->fd, buf, sizeof(buf));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return true;
        if (n <= 0)
                return false;
        for (ssize_t i = 0; i < n; i++)
                g_string_append_c(a->in, buf[i] ? buf[i] : '\n'); /* nothing is hidden behind a NUL */
        take_lines(a);
        return a->in->len <= REPLY_MAX;
}

/* --- Writing --- */

static void write_some(DomusAgent *a)
{
        ssize_t n = a->out->len ? write(a->fd, a->out->str, a->out->len) : 0;

        if (n > 0)
                g_string_erase(a->out, 0, n);
        if (a->io)
                sd_event_source_set_io_events(a->io, a->out->len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void on_silence(DomusAgent *a)
{
        g_autoptr(JsonObject) empty = json_object_new();

        complete(a, empty, NULL);
        run_next(a);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        DomusAgent *a = userdata;
        const Command *c = g_queue_peek_head(&a->commands);

        if (c->silent && a->state == WAITING)
                on_silence(a);
        else
                fail(a, DOMUS_ERROR_AGENT_UNRESPONSIVE, "the guest agent does not answer%s%s", a->state == WAITING ? " to " : "",
                        a->state == WAITING ? c->name : "");
        return 0;
}

static void arm(DomusAgent *a, unsigned seconds)
{
        a->timer = sd_event_source_disable_unref(a->timer);
        sd_event_add_time_relative(a->loop, &a->timer, CLOCK_MONOTONIC, seconds * UINT64_C(1000000), 0, on_timer, a);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        DomusAgent *a = userdata;
        int before = a->state;
        const Command *c = g_queue_peek_head(&a->commands);
        bool alive = read_some(a);

        if (a->state == WAITING && before == SYNCING)
                arm(a, c->silent ? SILENCE_SECONDS : c->timeout);
        if (!alive && a->state == WAITING && c && c->silent)
                on_silence(a);
        else if (!alive && a->state != IDLE)
                fail(a, DOMUS_ERROR_AGENT_UNRESPONSIVE, "the guest agent's channel was closed");
        else if (!alive)
                disconnect(a);
        if (a->fd >= 0)
                write_some(a);
        if (a->state == IDLE)
                run_next(a);
        return 0;
}

/* --- Commands --- */

static bool connect_channel(DomusAgent *a)
{
        a->fd = domus_unix_connect(a->path);
        if (a->fd >= 0 && sd_event_add_io(a->loop, &a->io, a->fd, EPOLLIN | EPOLLOUT, on_io, a) >= 0)
                return true;
        a->fd = fd_close(a->fd);
        return false;
}

/* Whatever an earlier command left in the channel ends at the reply with this number. */
static void start_sync(DomusAgent *a)
{
        a->sync_id = g_random_int_range(1, G_MAXINT);
        g_string_printf(a->out, "%c{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%u}}\n", SENTINEL, a->sync_id);
        a->state = SYNCING;
        arm(a, SYNC_SECONDS);
        write_some(a);
}

static void run_next(DomusAgent *a)
{
        if (a->state != IDLE)
                return;
        if (g_queue_is_empty(&a->commands)) {
                disconnect(a);
                return;
        }
        if (a->fd < 0 && !connect_channel(a))
                fail(a, DOMUS_ERROR_AGENT_UNRESPONSIVE, "the guest agent's channel cannot be reached");
        else
                start_sync(a);
}

static int on_start(sd_event_source *source, void *userdata)
{
        DomusAgent *a = userdata;

        a->start = sd_event_source_disable_unref(a->start);
        run_next(a);
        return 0;
}

static char *command_name(const char *json)
{
        g_autoptr(JsonParser) parser = json_parser_new();
        JsonNode *root;

        if (!shallow(json) || !json_parser_load_from_data(parser, json, -1, NULL) || !(root = json_parser_get_root(parser)) ||
                !JSON_NODE_HOLDS_OBJECT(root))
                return g_strdup("?");
        return g_strdup(json_object_get_string_member_with_default(json_node_get_object(root), "execute", "?"));
}

void domus_agent_send(DomusAgent *a, const char *json, unsigned timeout_seconds, bool silent, DomusAgentReply reply, gpointer opaque)
{
        Command *c = g_new0(Command, 1);

        *c = (Command){ .timeout = timeout_seconds, .silent = silent, .reply = reply, .opaque = opaque };
        c->name = command_name(json);
        c->text = g_strdelimit(g_strdup_printf("%s ", json), "\r\n", ' ');
        c->text[strlen(c->text) - 1] = '\n';
        g_queue_push_tail(&a->commands, c);
        if (!a->start && a->state == IDLE)
                sd_event_add_defer(a->loop, &a->start, on_start, a);
}

DomusAgent *domus_agent_new(sd_event *loop, const char *socket_path)
{
        DomusAgent *a = g_new0(DomusAgent, 1);

        *a = (DomusAgent){ .loop = sd_event_ref(loop), .path = g_strdup(socket_path), .fd = -1 };
        a->in = g_string_new(NULL);
        a->out = g_string_new(NULL);
        g_queue_init(&a->commands);
        return a;
}

void domus_agent_free(DomusAgent *a)
{
        g_autoptr(GError) error = NULL;

        if (!a)
                return;
        error = g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_AGENT_UNRESPONSIVE, "the domain has stopped");
        while (!g_queue_is_empty(&a->commands))
                complete(a, NULL, error);
        disconnect(a);
        sd_event_source_disable_unref(a->start);
        sd_event_unref(a->loop);
        g_string_free(a->in, TRUE);
        g_string_free(a->out, TRUE);
        g_free(a->path);
        g_free(a);
}
