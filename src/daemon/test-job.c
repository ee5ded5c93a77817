/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/job.h"
#include "model/error.h"

typedef struct {
        DomusJob job;
        char name;
        bool at_once;
        GString *log; /* what happened, one character each: name when it runs, lower case when it ends, '!' when it failed */
} TestJob;

static void run(DomusJob *j)
{
        TestJob *t = (TestJob *)j;

        g_string_append_c(t->log, t->name);
        if (t->at_once)
                domus_job_finish(j, NULL);
}

static void interrupt(DomusJob *j)
{
        g_autoptr(GError) error = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED, "interrupted");

        domus_job_finish(j, error);
}

static void finished(DomusJob *j, const GError *error)
{
        TestJob *t = (TestJob *)j;

        g_string_append_c(t->log, g_ascii_tolower(t->name));
        if (error)
                g_string_append_c(t->log, '!');
}

static void job_free(DomusJob *j)
{
        g_free(j);
}

static DomusJob *submit(DomusJobQueue *q, GString *log, char name, bool at_once, bool urgent)
{
        TestJob *t = g_new0(TestJob, 1);

        *t = (TestJob){ .job = { run, interrupt, finished, job_free }, .name = name, .at_once = at_once, .log = log };
        domus_job_submit(q, &t->job, urgent);
        return &t->job;
}

static void test_order(void)
{
        g_autoptr(GString) log = g_string_new(NULL);
        DomusJobQueue q;
        DomusJob *a, *b;

        domus_job_queue_init(&q);
        submit(&q, log, 'X', true, false);
        a = submit(&q, log, 'A', false, false);
        b = submit(&q, log, 'B', false, false);
        submit(&q, log, 'C', true, false);
        g_assert_cmpstr(log->str, ==, "XxA");
        domus_job_finish(a, NULL);
        g_assert_cmpstr(log->str, ==, "XxAaB");
        domus_job_finish(b, NULL);
        g_assert_cmpstr(log->str, ==, "XxAaBbCc");
        domus_job_queue_close(&q);
}

static void test_urgent(void)
{
        g_autoptr(GString) log = g_string_new(NULL);
        DomusJobQueue q;

        domus_job_queue_init(&q);
        submit(&q, log, 'A', false, false);
        submit(&q, log, 'B', true, false);
        submit(&q, log, 'D', true, true);
        g_assert_cmpstr(log->str, ==, "Aa!DdBb");
        domus_job_queue_close(&q);
}

static void test_close(void)
{
        g_autoptr(GString) log = g_string_new(NULL);
        DomusJobQueue q;

        domus_job_queue_init(&q);
        submit(&q, log, 'A', false, false);
        submit(&q, log, 'B', false, false);
        domus_job_queue_close(&q);
        g_assert_cmpstr(log->str, ==, "Ab!a!");
        submit(&q, log, 'C', true, false);
        g_assert_cmpstr(log->str, ==, "Ab!a!c!");
}

static void test_depth(void)
{
        g_autoptr(GString) log = g_string_new(NULL);
        DomusJobQueue q;
        DomusJob *first;

        domus_job_queue_init(&q);
        first = submit(&q, log, 'A', false, false);
        for (unsigned i = 0; i < 200000; i++)
                submit(&q, log, 'B', true, false);
        domus_job_finish(first, NULL);
        g_assert_cmpuint(log->len, ==, 2 + 2 * 200000);
        domus_job_queue_close(&q);
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/job/order", test_order);
        g_test_add_func("/job/urgent", test_urgent);
        g_test_add_func("/job/close", test_close);
        g_test_add_func("/job/many-do-not-recurse", test_depth);
        return g_test_run();
}
