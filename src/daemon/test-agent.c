/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The guest agent's protocol, with an agent that answers as the test says. */

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/agent.h"
#include "daemon/unixsocket.h"
#include "model/error.h"

typedef struct {
        char *dir, *path;
        sd_event *loop;
        int listen_fd, fd;
        sd_event_source *accept, *io;
        const char *answer; /* to the command; NULL: hang up; "": none */
        bool deaf;          /* does not even answer to the sync */
        GString *heard;
        unsigned connections;
        DomusAgent *agent;
} Fixture;

static void say(Fixture *f, const char *text)
{
        g_assert_cmpint(fd_write_all(f->fd, text, strlen(text)), ==, 0);
}

static void hear_line(Fixture *f, const char *line)
{
        const char *id = strstr(line, "\"id\":");
        g_autofree char *reply = NULL;

        if (id) {
                reply = g_strdup_printf("{\"return\": \"stale\"}\n\xff{\"return\": %d}\n", atoi(id + 5));
                say(f, reply);
                return;
        }
        g_string_append(f->heard, line);
        if (f->answer)
                say(f, f->answer);
        else
                f->io = sd_event_source_disable_unref(f->io), f->fd = fd_close(f->fd);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Fixture *f = userdata;
        char buf[4096];
        ssize_t n = read(fd, buf, sizeof(buf) - 1);
        g_auto(GStrv) lines = NULL;

        if (n <= 0) {
                f->io = sd_event_source_disable_unref(f->io);
                f->fd = fd_close(f->fd);
                return 0;
        }
        buf[n] = 0;
        lines = g_strsplit(buf, "\n", -1);
        for (unsigned i = 0; lines[i] && f->fd >= 0 && !f->deaf; i++)
                if (*lines[i])
                        hear_line(f, lines[i]);
        return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Fixture *f = userdata;

        f->io = sd_event_source_disable_unref(f->io);
        fd_close(f->fd);
        f->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        f->connections++;
        sd_event_add_io(f->loop, &f->io, f->fd, EPOLLIN, on_io, f);
        return 0;
}

static void setup(Fixture *f, gconstpointer unused)
{
        f->dir = g_dir_make_tmp("domus-agent-XXXXXX", NULL);
        f->path = g_build_filename(f->dir, "channel", NULL);
        f->heard = g_string_new(NULL);
        f->fd = -1;
        sd_event_new(&f->loop);
        f->listen_fd = domus_unix_listen(f->path);
        g_assert_cmpint(f->listen_fd, >=, 0);
        sd_event_add_io(f->loop, &f->accept, f->listen_fd, EPOLLIN, on_accept, f);
        f->agent = domus_agent_new(f->loop, f->path);
}

static void teardown(Fixture *f, gconstpointer unused)
{
        domus_agent_free(f->agent);
        sd_event_source_disable_unref(f->accept);
        sd_event_source_disable_unref(f->io);
        fd_close(f->listen_fd);
        fd_close(f->fd);
        unlink(f->path);
        rmdir(f->dir);
        sd_event_unref(f->loop);
        g_string_free(f->heard, TRUE);
        g_free(f->path);
        g_free(f->dir);
}

typedef struct {
        unsigned calls;
        gint64 value;
        GError *error;
} Result;

static void on_reply(JsonObject *reply, const GError *error, gpointer opaque)
{
        Result *r = opaque;

        r->calls++;
        r->value = reply ? json_object_get_int_member_with_default(reply, "return", -1) : -1;
        r->error = error ? g_error_copy(error) : NULL;
}

static void wait_for(Fixture *f, const Result *r)
{
        while (!r->calls)
                g_assert_cmpint(sd_event_run(f->loop, 10000000), >, 0);
}

static Result run(Fixture *f, const char *command, unsigned timeout, bool silent)
{
        Result r = { 0 };

        domus_agent_send(f->agent, command, timeout, silent, on_reply, &r);
        g_assert_cmpuint(r.calls, ==, 0);
        wait_for(f, &r);
        return r;
}

static void test_commands(Fixture *f, gconstpointer unused)
{
        Result a = { 0 }, b = { 0 };

        f->answer = "{\"return\": 5}\n";
        domus_agent_send(f->agent, "{\"execute\":\"one\"}", 5, false, on_reply, &a);
        domus_agent_send(f->agent, "{\"execute\":\n\"two\"}", 5, false, on_reply, &b);
        wait_for(f, &a);
        wait_for(f, &b);
        g_assert_cmpint(a.value, ==, 5);
        g_assert_no_error(b.error);
        g_assert_cmpstr(f->heard->str, ==, "{\"execute\":\"one\"}{\"execute\": \"two\"}");
        g_assert_cmpuint(f->connections, ==, 1);
        a = run(f, "{\"execute\":\"three\"}", 5, false); /* the channel was free in between */
        g_assert_cmpuint(f->connections, ==, 2);
        g_assert_cmpint(a.value, ==, 5);
}

static void expect(Fixture *f, const char *answer, int code, const char *part)
{
        Result r;

        f->answer = answer;
        r = run(f, "{\"execute\":\"guest-x\"}", 1, false);
        g_assert_error(r.error, DOMUS_ERROR, code);
        g_test_message("%s", r.error->message);
        g_assert_nonnull(strstr(r.error->message, part));
        g_clear_error(&r.error);
}

static void test_errors(Fixture *f, gconstpointer unused)
{
        g_autofree char *deep = g_strnfill(100000, '[');
        g_autofree char *line = g_strdup_printf("%s\n", deep);

        expect(f, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}}\n", DOMUS_ERROR_INTERNAL,
                "agent command 'guest-x': no such thing");
        expect(f, "nonsense\n", DOMUS_ERROR_INTERNAL, "no JSON object");
        expect(f, "[1]\n", DOMUS_ERROR_INTERNAL, "no JSON object");
        expect(f, line, DOMUS_ERROR_INTERNAL, "no JSON object");
        expect(f, NULL, DOMUS_ERROR_AGENT_UNRESPONSIVE, "closed");
        expect(f, "", DOMUS_ERROR_AGENT_UNRESPONSIVE, "does not answer to guest-x");
}

static void test_silent(Fixture *f, gconstpointer unused)
{
        Result r;

        f->answer = NULL;
        g_assert_no_error(run(f, "{\"execute\":\"guest-shutdown\"}", 1, true).error);
        f->answer = "";
        g_assert_no_error(run(f, "{\"execute\":\"guest-shutdown\"}", 1, true).error);
        f->answer = "{\"error\": {\"desc\": \"not now\"}}\n";
        r = run(f, "{\"execute\":\"guest-shutdown\"}", 1, true);
        g_assert_error(r.error, DOMUS_ERROR, DOMUS_ERROR_INTERNAL);
        g_clear_error(&r.error);
}

static void test_absent(Fixture *f, gconstpointer unused)
{
        Result r;

        f->accept = sd_event_source_disable_unref(f->accept);
        f->listen_fd = fd_close(f->listen_fd);
        r = run(f, "{\"execute\":\"guest-ping\"}", 1, false);
        g_assert_error(r.error, DOMUS_ERROR, DOMUS_ERROR_AGENT_UNRESPONSIVE);
        g_clear_error(&r.error);
}

static void test_freed(Fixture *f, gconstpointer unused)
{
        Result r = { 0 };

        f->deaf = true;
        domus_agent_send(f->agent, "{\"execute\":\"guest-ping\"}", 1, false, on_reply, &r);
        sd_event_run(f->loop, 100000);
        g_clear_pointer(&f->agent, domus_agent_free);
        g_assert_error(r.error, DOMUS_ERROR, DOMUS_ERROR_AGENT_UNRESPONSIVE);
        g_clear_error(&r.error);
}

#define TEST(name, fn) g_test_add("/agent/" name, Fixture, NULL, setup, fn, teardown)

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        TEST("commands", test_commands);
        TEST("errors", test_errors);
        TEST("silent", test_silent);
        TEST("absent", test_absent);
        TEST("freed", test_freed);
        return g_test_run();
}
