/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the tests of domains share: a manager in folders of its own, with fake-vm (argv[1]) as the VM of its domains, and waiting for what was asked of
 * them. A test's setup is fixture_init(), what it has of its own, and open_manager(). */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/domain-private.h"

typedef struct {
        char *dir, *kernel;     /* a folder that is removed at the end, and a file in it */
        char *image;            /* the test's; may be NULL */
        DomusPaths paths;
        sd_event *loop;
        DomusDomainHooks hooks;
        DomusEventFn on_event;  /* called with the fixture; may be NULL */
        DomusManager *m;
        GString *events;        /* what on_event wrote of them */
} Fixture;

/* g_test_init(), and the path of fake-vm; false if it is missing. */
static inline bool fixture_program(int argc, char **argv, const char **ret_fake_vm)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL); /* as sd-event wants it */
        g_test_init(&argc, &argv, NULL);
        if (argc < 2)
                g_printerr("usage: %s FAKE-VM\n", argv[0]);
        *ret_fake_vm = argc < 2 ? NULL : argv[1];
        return *ret_fake_vm;
}

static inline void fixture_init(Fixture *f, const char *fake_vm)
{
        f->dir = g_dir_make_tmp("domus-domain-XXXXXX", NULL);
        f->kernel = g_build_filename(f->dir, "kernel", NULL);
        g_assert_true(g_file_set_contents(f->kernel, "k", 1, NULL));
        f->paths = (DomusPaths){
                .config_dir = g_build_filename(f->dir, "etc", NULL), .run_dir = g_build_filename(f->dir, "run", NULL),
                .state_dir = g_build_filename(f->dir, "lib", NULL),  .log_dir = g_build_filename(f->dir, "log", NULL),
                .vmm_path = g_strdup(fake_vm),
        };
        f->events = g_string_new(NULL);
        sd_event_new(&f->loop);
}

/* Again, too: the next daemon, once the manager is freed. */
static inline void open_manager(Fixture *f)
{
        g_autoptr(GError) error = NULL;

        f->m = domus_manager_new(f->loop, &f->paths, NULL, &f->hooks, &error);
        g_assert_no_error(error);
        if (f->on_event)
                domus_manager_event_add(f->m, f->on_event, f);
}

/* --- Waiting --- */

static inline void iterate(Fixture *f)
{
        g_assert_cmpint(sd_event_run(f->loop, 20000), >=, 0);
}

#define WAIT_FOR(f, condition)                                                                                 \
        do {                                                                                                   \
                gint64 end_ = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;                                    \
                while (!(condition)) {                                                                         \
                        g_assert_cmpint(g_get_monotonic_time(), <, end_);                                      \
                        iterate(f);                                                                            \
                }                                                                                              \
        } while (0)

/* What a call ended with. */
typedef struct {
        unsigned calls;
        GError *error;
        DomusDomain *domain;
} Result;

static inline void on_done(DomusDomain *d, const GError *error, gpointer opaque)
{
        Result *r = opaque;

        r->calls++;
        r->domain = d;
        r->error = error ? g_error_copy(error) : NULL;
}

static inline void result_clear(Result *r)
{
        g_assert_cmpuint(r->calls, ==, 1);
        g_clear_error(&r->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Result, result_clear)

#define EXPECT_OK(f, r)                                                                                        \
        do {                                                                                                   \
                WAIT_FOR(f, (r).calls);                                                                        \
                g_assert_no_error((r).error);                                                                  \
        } while (0)
#define EXPECT_ERROR(f, r, code_, part)                                                                        \
        do {                                                                                                   \
                WAIT_FOR(f, (r).calls);                                                                        \
                g_assert_error((r).error, DOMUS_ERROR, code_);                                                 \
                g_test_message("%s", (r).error->message);                                                      \
                g_assert_null((r).domain);                                                                     \
                g_assert_nonnull(strstr((r).error->message, part));                                            \
        } while (0)

/* call_ with the arguments, and on_done() with a result behind them. */
#define OK(f, call_, ...)                                                                                      \
        do {                                                                                                   \
                g_auto(Result) r_ = { 0 };                                                                     \
                call_(__VA_ARGS__, on_done, &r_);                                                              \
                EXPECT_OK(f, r_);                                                                              \
        } while (0)
#define FAILS(f, code_, part, call_, ...)                                                                      \
        do {                                                                                                   \
                g_auto(Result) r_ = { 0 };                                                                     \
                call_(__VA_ARGS__, on_done, &r_);                                                              \
                EXPECT_ERROR(f, r_, code_, part);                                                              \
        } while (0)

static inline void assert_events(Fixture *f, const char *expected)
{
        g_assert_cmpstr(f->events->str, ==, expected);
        g_string_truncate(f->events, 0);
}

static inline void start(Fixture *f, DomusDomain *d, unsigned flags)
{
        OK(f, domus_domain_start, d, flags);
}

static inline void destroy(Fixture *f, DomusDomain *d)
{
        OK(f, domus_domain_destroy, d, 0);
}

static inline void stop_all(Fixture *f)
{
        g_autoptr(GPtrArray) list = domus_manager_list(f->m, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

        for (unsigned i = 0; i < list->len; i++)
                destroy(f, list->pdata[i]);
}

static inline void teardown(Fixture *f, gconstpointer unused)
{
        g_autofree char *command = g_strdup_printf("rm -rf '%s'", f->dir);

        stop_all(f);
        domus_manager_free(f->m);
        sd_event_unref(f->loop);
        g_assert_cmpint(system(command), ==, 0);
        g_string_free(f->events, TRUE);
        g_free(f->paths.config_dir);
        g_free(f->paths.run_dir);
        g_free(f->paths.state_dir);
        g_free(f->paths.log_dir);
        g_free(f->paths.vmm_path);
        g_free(f->paths.bootloader_path);
        g_free(f->kernel);
        g_free(f->image);
        g_free(f->dir);
}

/* --- Domains --- */

static inline DomusDomain *define_xml(Fixture *f, const char *xml)
{
        g_autoptr(GError) error = NULL;
        DomusDomain *d = domus_manager_define(f->m, xml, 0, &error);

        g_assert_no_error(error);
        return d;
}
