/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Domains that boot from their disk, with fake-vm (argv[1]) as their VM and a shell script as the boot loader. */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/domain-private.h"

static const char *fake_vm_path;

typedef struct {
        char *dir, *image;
        DomusPaths paths;
        sd_event *loop;
        DomusManager *m;
} Fixture;

static char *probe_format(gpointer opaque, const char *path, GError **error)
{
        return g_strdup("raw");
}

static void open_manager(Fixture *f)
{
        DomusDomainHooks hooks = { .probe_format = probe_format };
        g_autoptr(GError) error = NULL;

        f->m = domus_manager_new(f->loop, &f->paths, NULL, &hooks, &error);
        g_assert_no_error(error);
}

static char *write_file(const Fixture *f, const char *name, const char *text, int mode)
{
        char *path = g_build_filename(f->dir, name, NULL);

        g_assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, mode, NULL));
        return path;
}

static char *read_file(const Fixture *f, const char *name)
{
        g_autofree char *path = g_build_filename(f->dir, name, NULL);
        char *text = NULL;

        return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

/* What the boot loader does from now on. */
static void behave(const Fixture *f, const char *script)
{
        g_free(write_file(f, "behaviour", script, 0600));
}

#define FINDS(cmdline) "head -c 4 <&3 >&4\necho '{\"kernel\": \"/boot/k\\u001b\", \"cmdline\": \"" cmdline "\"}'"
#define WAITS "touch \"$dir\"/waits\nexec sleep 1000"

static void setup(Fixture *f, gconstpointer unused)
{
        g_autofree char *script = NULL;

        f->dir = g_dir_make_tmp("domus-boot-XXXXXX", NULL);
        f->image = write_file(f, "image", "kernel", 0600);
        script = g_strdup_printf("#!/bin/sh\ndir='%s'\necho \"$*\" >\"$dir\"/args\n. \"$dir\"/behaviour\n", f->dir);
        f->paths = (DomusPaths){
                .config_dir = g_build_filename(f->dir, "etc", NULL), .run_dir = g_build_filename(f->dir, "run", NULL),
                .state_dir = g_build_filename(f->dir, "lib", NULL),  .log_dir = g_build_filename(f->dir, "log", NULL),
                .vmm_path = g_strdup(fake_vm_path), .bootloader_path = write_file(f, "domus-bootloader", script, 0700),
        };
        sd_event_new(&f->loop);
        open_manager(f);
}

#define WAIT_FOR(f, condition)                                                                                \
        do {                                                                                                  \
                gint64 end_ = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;                                   \
                while (!(condition)) {                                                                        \
                        g_assert_cmpint(g_get_monotonic_time(), <, end_);                                     \
                        g_assert_cmpint(sd_event_run((f)->loop, 20000), >=, 0);                               \
                }                                                                                             \
        } while (0)

typedef struct {
        bool called;
        GError *error;
} Result;

static void on_done(DomusDomain *d, const GError *error, gpointer opaque)
{
        Result *r = opaque;

        r->called = true;
        r->error = error ? g_error_copy(error) : NULL;
}

static void expect(Fixture *f, Result *r, int code, const char *part)
{
        g_autoptr(GError) error = NULL;

        WAIT_FOR(f, r->called);
        error = g_steal_pointer(&r->error);
        r->called = false;
        if (!part) {
                g_assert_no_error(error);
                return;
        }
        g_assert_error(error, DOMUS_ERROR, code);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, part));
}

static void start(Fixture *f, DomusDomain *d)
{
        Result r = { 0 };

        domus_domain_start(d, 0, on_done, &r);
        expect(f, &r, 0, NULL);
}

static void fails(Fixture *f, DomusDomain *d, const char *script, int code, const char *part)
{
        Result r = { 0 };

        behave(f, script);
        domus_domain_start(d, 0, on_done, &r);
        expect(f, &r, code, part);
        g_assert_false(domus_domain_is_active(d));
        g_assert_cmpint(d->state, ==, VIR_DOMAIN_SHUTOFF);
        g_assert_cmpint(d->reason, ==, VIR_DOMAIN_SHUTOFF_FAILED);
}

static void destroy(Fixture *f, DomusDomain *d)
{
        Result r = { 0 };

        domus_domain_destroy(d, 0, on_done, &r);
        expect(f, &r, 0, NULL);
}

static void reboot(Fixture *f, DomusDomain *d)
{
        Result r = { 0 };

        domus_domain_reboot(d, 0, on_done, &r);
        expect(f, &r, 0, NULL);
}

static void teardown(Fixture *f, gconstpointer unused)
{
        g_autoptr(GPtrArray) list = domus_manager_list(f->m, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
        g_autofree char *command = g_strdup_printf("rm -rf '%s'", f->dir);

        for (unsigned i = 0; i < list->len; i++)
                destroy(f, list->pdata[i]);
        domus_manager_free(f->m);
        sd_event_unref(f->loop);
        g_assert_cmpint(system(command), ==, 0);
        g_free(f->paths.config_dir);
        g_free(f->paths.run_dir);
        g_free(f->paths.state_dir);
        g_free(f->paths.log_dir);
        g_free(f->paths.vmm_path);
        g_free(f->paths.bootloader_path);
        g_free(f->image);
        g_free(f->dir);
}

static DomusDomain *define(Fixture *f, const char *image)
{
        g_autofree char *xml = g_strdup_printf("<domain type='qemu'><name>a</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><memory unit='MiB'>64</memory>"
                                               "<bootloader/><bootloader_args>--append 'x y'</bootloader_args><os><type>hvm</type></os><devices>"
                                               "<disk><source file='%s'/><target dev='vda'/></disk></devices></domain>", image);
        g_autoptr(GError) error = NULL;
        DomusDomain *d = domus_manager_define(f->m, xml, 0, &error);

        g_assert_no_error(error);
        return d;
}

static bool log_says(Fixture *f, const char *words)
{
        g_autofree char *text = read_file(f, "log/a.log");

        return strstr(text, words);
}

static bool exists(Fixture *f, const char *name)
{
        g_autofree char *path = g_build_filename(f->dir, name, NULL);

        return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* --- Tests --- */

static void test_boots(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);
        g_autofree char *args = NULL;

        behave(f, FINDS("first"));
        start(f, d);
        args = read_file(f, "args");
        g_assert_cmpstr(args, ==, "--name=vda --append=x y\n");
        g_assert_true(log_says(f, "boot loader: disk 'vda', kernel '/boot/k?'"));
        behave(f, FINDS("second"));
        reboot(f, d);
        WAIT_FOR(f, log_says(f, "booted again: second"));
        g_assert_true(domus_domain_is_active(d));
        g_assert_null(d->boot);
        g_assert_cmpint(d->state, ==, VIR_DOMAIN_RUNNING);
}

static void test_failed_start(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);

        fails(f, d, "echo \"disk 'vda': no boot\" >&2; exit 1", DOMUS_ERROR_OPERATION_FAILED,
                "cannot start domain 'a': domus-bootloader: disk 'vda': no boot");
        fails(f, d, "kill -9 $$", DOMUS_ERROR_OPERATION_FAILED, "domus-bootloader was killed by signal 9");
        fails(f, d, "echo nonsense", DOMUS_ERROR_OPERATION_FAILED, "malformed");
        fails(f, d, "echo '{\"cmdline\": 7}'", DOMUS_ERROR_OPERATION_FAILED, "malformed");
        fails(f, d, "rm \"$0\"", DOMUS_ERROR_OPERATION_FAILED, "malformed");
        fails(f, d, "", DOMUS_ERROR_SYSTEM, "cannot run");
        fails(f, define(f, "/nonexistent"), "", DOMUS_ERROR_SYSTEM, "cannot open image '/nonexistent'");
}

static void test_interrupted(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);
        Result r = { 0 };

        behave(f, WAITS);
        domus_domain_start(d, 0, on_done, &r);
        WAIT_FOR(f, exists(f, "waits"));
        destroy(f, d);
        expect(f, &r, DOMUS_ERROR_OPERATION_ABORTED, "the boot loader was interrupted");
        g_assert_false(domus_domain_is_active(d));
}

static void test_vm_dies(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);
        Result r = { 0 };

        behave(f, WAITS);
        domus_domain_start(d, 0, on_done, &r);
        WAIT_FOR(f, exists(f, "waits"));
        domus_vm_kill(d->vm, SIGKILL);
        expect(f, &r, DOMUS_ERROR_INTERNAL, "cannot start domain 'a'");
        g_assert_false(domus_domain_is_active(d));
}

static void test_failed_restart(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);

        behave(f, FINDS("first"));
        start(f, d);
        behave(f, "echo 'the disk is damaged' >&2; exit 1");
        reboot(f, d);
        WAIT_FOR(f, !domus_domain_is_active(d));
        g_assert_cmpint(d->reason, ==, VIR_DOMAIN_SHUTOFF_FAILED);
        g_assert_true(log_says(f, "cannot restart: domus-bootloader: the disk is damaged"));
        behave(f, FINDS("first"));
        start(f, d);
        behave(f, FINDS("refuse-kernel"));
        reboot(f, d);
        WAIT_FOR(f, !domus_domain_is_active(d));
        g_assert_true(log_says(f, "cannot restart: kernel: not a kernel at all"));
}

/* The guest waits for the next daemon. */
static void test_daemon_goes(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);

        behave(f, FINDS("first"));
        start(f, d);
        behave(f, WAITS);
        reboot(f, d);
        WAIT_FOR(f, exists(f, "waits"));
        domus_manager_free(f->m);
        behave(f, FINDS("second"));
        open_manager(f);
        WAIT_FOR(f, log_says(f, "booted again: second"));
        d = domus_manager_lookup_name(f->m, "a", NULL);
        WAIT_FOR(f, !d->jobs.current);
        g_assert_cmpint(d->state, ==, VIR_DOMAIN_RUNNING);
}

int main(int argc, char **argv)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL); /* as sd-event wants it */
        g_test_init(&argc, &argv, NULL);
        g_assert_cmpint(argc, ==, 2);
        fake_vm_path = argv[1];
        g_test_add("/domain-boot/boots", Fixture, NULL, setup, test_boots, teardown);
        g_test_add("/domain-boot/failed-start", Fixture, NULL, setup, test_failed_start, teardown);
        g_test_add("/domain-boot/interrupted", Fixture, NULL, setup, test_interrupted, teardown);
        g_test_add("/domain-boot/vm-dies", Fixture, NULL, setup, test_vm_dies, teardown);
        g_test_add("/domain-boot/failed-restart", Fixture, NULL, setup, test_failed_restart, teardown);
        g_test_add("/domain-boot/daemon-goes", Fixture, NULL, setup, test_daemon_goes, teardown);
        return g_test_run();
}
