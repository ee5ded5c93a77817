/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "model/error.h"
#include "run/child.h"

struct outcome {
        sd_event *loop;
        unsigned calls;
        int status;
        char *out, *message;
        size_t len;
};

static void done(const DomusChildResult *result, const GError *error, gpointer opaque)
{
        struct outcome *o = opaque;

        o->calls++;
        o->status = result->status;
        o->out = g_strdup(result->out);
        o->len = result->out_len;
        o->message = error ? g_strdup(error->message) : NULL;
        sd_event_exit(o->loop, 0);
}

static struct outcome run(const char *script, int fd)
{
        const char *argv[] = { "sh", "-c", script, NULL };
        DomusChildConfig config = { .argv = argv, .fds = &fd, .n_fds = fd >= 0 };
        struct outcome o = { 0 };
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(sd_event_new(&o.loop), >=, 0);
        g_assert_nonnull(domus_child_run(o.loop, &config, done, &o, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(o.calls, ==, 0);
        sd_event_loop(o.loop);
        g_assert_cmpuint(o.calls, ==, 1);
        sd_event_unref(o.loop);
        return o;
}

static void outcome_clear(struct outcome *o)
{
        g_free(o->out);
        g_free(o->message);
}

static void test_output(void)
{
        struct outcome o = run("echo out; echo \"$LC_ALL\"; head -c 300000 /dev/zero", -1);

        g_assert_cmpint(o.status, ==, 0);
        g_assert_null(o.message);
        g_assert_cmpuint(o.len, ==, 300000 + strlen("out\nC\n"));
        g_assert_true(g_str_has_prefix(o.out, "out\nC\n"));
        outcome_clear(&o);
}

static void test_failure(void)
{
        struct outcome o = run("echo it is; echo wrong >&2; exit 3", -1);

        g_assert_cmpint(o.status, ==, 3);
        g_assert_cmpstr(o.message, ==, "sh: wrong");
        outcome_clear(&o);
        o = run("kill -9 $$", -1);
        g_assert_cmpint(o.status, ==, -SIGKILL);
        g_assert_cmpstr(o.message, ==, "sh was killed by signal 9");
        outcome_clear(&o);
}

static void test_descriptors(void)
{
        int fds[2];
        char text[3];
        struct outcome o;

        g_assert_cmpint(pipe(fds), ==, 0);
        o = run("echo hi >&3; ls /proc/self/fd | wc -l", fds[1]);
        g_assert_cmpstr(o.out, ==, "5\n"); /* 0 to 3, and the folder itself */
        g_assert_cmpint(read(fds[0], text, sizeof(text)), ==, sizeof(text));
        g_assert_cmpmem(text, 3, "hi\n", 3);
        fd_close(fds[0]);
        fd_close(fds[1]);
        outcome_clear(&o);
}

static void test_missing(void)
{
        const char *argv[] = { "no-such-program", NULL };
        DomusChildConfig config = { .argv = argv };
        g_autoptr(GError) error = NULL;
        sd_event *loop;

        g_assert_cmpint(sd_event_new(&loop), >=, 0);
        g_assert_null(domus_child_run(loop, &config, NULL, NULL, &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM);
        g_assert_cmpstr(error->message, ==, "cannot run no-such-program: No such file or directory");
        sd_event_unref(loop);
}

static void test_free(void)
{
        const char *argv[] = { "sleep", "1000", NULL };
        DomusChildConfig config = { .argv = argv };
        DomusChild *child;
        sd_event *loop;
        pid_t pid;

        g_assert_cmpint(sd_event_new(&loop), >=, 0);
        child = domus_child_run(loop, &config, NULL, NULL, NULL);
        g_assert_nonnull(child);
        pid = domus_child_pid(child);
        domus_child_free(child);
        g_assert_cmpint(kill(pid, 0), ==, -1);
        sd_event_unref(loop);
}

int main(int argc, char **argv)
{
        sigset_t set;

        g_test_init(&argc, &argv, NULL);
        /* As sd-event wants it of who watches children. */
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        g_test_add_func("/child/output", test_output);
        g_test_add_func("/child/failure", test_failure);
        g_test_add_func("/child/descriptors", test_descriptors);
        g_test_add_func("/child/missing", test_missing);
        g_test_add_func("/child/free", test_free);
        return g_test_run();
}
