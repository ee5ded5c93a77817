/* SPDX-License-Identifier: GPL-2.0-or-later */

/* QEMU's monitor protocol, with a monitor that says what the test says. */

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/qmp.h"
#include "daemon/unixsocket.h"
#include "model/error.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define OK "{\"return\": {}}\r\n"

typedef struct {
        char *dir, *path;
        sd_event *loop;
        int listen_fd, fd; /* fd: the monitor's side */
        DomusQmp *qmp;
        unsigned replies, events;
        GError *error; /* of the last reply */
        char *event;
        gint64 value;
        bool frees; /* the reply's callback frees the connection */
} Fixture;

static void on_event(const char *name, JsonObject *data, gpointer opaque)
{
        Fixture *f = opaque;

        f->events++;
        g_free(f->event);
        f->event = g_strdup(name);
        f->value = data ? json_object_get_int_member_with_default(data, "n", 0) : -1;
}

static void on_reply(const GError *error, gpointer opaque)
{
        Fixture *f = opaque;

        f->replies++;
        g_clear_error(&f->error);
        f->error = error ? g_error_copy(error) : NULL;
        if (f->frees)
                g_clear_pointer(&f->qmp, domus_qmp_free);
}

static void setup(Fixture *f, gconstpointer unused)
{
        g_autoptr(GError) error = NULL;

        f->dir = g_dir_make_tmp("domus-qmp-XXXXXX", NULL);
        f->path = g_build_filename(f->dir, "monitor", NULL);
        sd_event_new(&f->loop);
        f->listen_fd = domus_unix_listen(f->path);
        g_assert_cmpint(f->listen_fd, >=, 0);
        f->qmp = domus_qmp_new(f->loop, f->path, on_event, f, &error);
        g_assert_no_error(error);
        f->fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        g_assert_cmpint(f->fd, >=, 0);
}

static void teardown(Fixture *f, gconstpointer unused)
{
        domus_qmp_free(f->qmp);
        fd_close(f->listen_fd);
        fd_close(f->fd);
        unlink(f->path);
        rmdir(f->dir);
        sd_event_unref(f->loop);
        g_clear_error(&f->error);
        g_free(f->event);
        g_free(f->path);
        g_free(f->dir);
}

static void say(Fixture *f, const char *text)
{
        g_assert_cmpint(fd_write_all(f->fd, text, strlen(text)), ==, 0);
}

/* What the other side has sent so far. */
static char *hear(Fixture *f)
{
        char buf[4096];
        ssize_t n = recv(f->fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

        buf[MAX(n, 0)] = 0;
        return g_strdup(buf);
}

static void run_until(Fixture *f, const unsigned *counter, unsigned wanted)
{
        while (*counter < wanted)
                g_assert_cmpint(sd_event_run(f->loop, 10 * G_USEC_PER_SEC), >, 0);
}

static void ask(Fixture *f, const char *name)
{
        JsonObject *arguments = json_object_new();

        json_object_set_int_member(arguments, "size", 42);
        domus_qmp_send(f->qmp, name, arguments, on_reply, f);
}

static void test_commands(Fixture *f, gconstpointer unused)
{
        g_autofree char *text = NULL;

        ask(f, "first");
        ask(f, "second");
        g_assert_cmpuint(f->replies, ==, 0);
        say(f, GREETING OK "{\"event\": \"BEFORE\"}\r\n{\"ret");
        say(f, "urn\": {}}\r\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"no room\"}}\r\n");
        run_until(f, &f->replies, 2);
        g_assert_error(f->error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED);
        g_assert_nonnull(strstr(f->error->message, "second: no room"));
        g_assert_cmpuint(f->events, ==, 1);
        text = hear(f);
        g_assert_nonnull(strstr(text, "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"first\",\"arguments\":{\"size\":42}}\n"));
}

static void test_event(Fixture *f, gconstpointer unused)
{
        say(f, GREETING OK "{\"event\": \"HAPPENED\", \"data\": {\"n\": 7}}\r\n");
        run_until(f, &f->events, 1);
        g_assert_cmpstr(f->event, ==, "HAPPENED");
        g_assert_cmpint(f->value, ==, 7);
}

/* All that wait, and who comes later, hear of the end. */
static void test_end(Fixture *f, gconstpointer unused)
{
        ask(f, "first");
        ask(f, "second");
        f->fd = fd_close(f->fd);
        run_until(f, &f->replies, 2);
        g_assert_nonnull(strstr(f->error->message, "has ended"));
        g_assert_true(domus_qmp_is_closed(f->qmp));
        ask(f, "third");
        g_assert_cmpuint(f->replies, ==, 2);
        run_until(f, &f->replies, 3);
        g_assert_error(f->error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED);
}

static void test_nonsense(Fixture *f, gconstpointer unused)
{
        ask(f, "first");
        say(f, GREETING "HTTP/1.1 200 OK\r\n");
        run_until(f, &f->replies, 1);
        g_assert_nonnull(strstr(f->error->message, "no JSON object"));
}

static void test_free_in_callback(Fixture *f, gconstpointer unused)
{
        f->frees = true;
        ask(f, "first");
        ask(f, "second");
        say(f, GREETING OK OK "{\"event\": \"AFTER\"}\r\n");
        run_until(f, &f->replies, 2);
        g_assert_nonnull(strstr(f->error->message, "has been ended"));
        g_assert_cmpuint(f->events, ==, 0);
        g_assert_null(f->qmp);
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add("/qmp/commands", Fixture, NULL, setup, test_commands, teardown);
        g_test_add("/qmp/event", Fixture, NULL, setup, test_event, teardown);
        g_test_add("/qmp/end", Fixture, NULL, setup, test_end, teardown);
        g_test_add("/qmp/nonsense", Fixture, NULL, setup, test_nonsense, teardown);
        g_test_add("/qmp/free-in-callback", Fixture, NULL, setup, test_free_in_callback, teardown);
        return g_test_run();
}
