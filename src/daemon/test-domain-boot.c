/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Domains that boot from their disk, with fake-vm (argv[1]) as their VM and a shell script as the boot loader. */

#include "daemon/test-fixture.h"

static const char *fake_vm_path;

static char *probe_format(gpointer opaque, const char *path, GError **error)
{
        return g_strdup("raw");
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

        fixture_init(f, fake_vm_path);
        f->image = write_file(f, "image", "kernel", 0600);
        script = g_strdup_printf("#!/bin/sh\ndir='%s'\necho \"$*\" >\"$dir\"/args\n. \"$dir\"/behaviour\n", f->dir);
        f->paths.bootloader_path = write_file(f, "domus-bootloader", script, 0700);
        f->hooks.probe_format = probe_format;
        open_manager(f);
}

static void fails(Fixture *f, DomusDomain *d, const char *script, int code, const char *part)
{
        behave(f, script);
        FAILS(f, code, part, domus_domain_start, d, 0);
        g_assert_false(domus_domain_is_active(d));
        g_assert_cmpint(d->state, ==, VIR_DOMAIN_SHUTOFF);
        g_assert_cmpint(d->reason, ==, VIR_DOMAIN_SHUTOFF_FAILED);
}

static void reboot(Fixture *f, DomusDomain *d)
{
        OK(f, domus_domain_reboot, d, 0);
}

static DomusDomain *define(Fixture *f, const char *image)
{
        g_autofree char *xml = g_strdup_printf("<domain type='qemu'><name>a</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><memory unit='MiB'>64</memory>"
                                               "<bootloader/><bootloader_args>--append 'x y'</bootloader_args><os><type>hvm</type></os><devices>"
                                               "<disk><source file='%s'/><target dev='vda'/></disk></devices></domain>", image);

        return define_xml(f, xml);
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
        start(f, d, 0);
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
        g_auto(Result) r = { 0 };

        behave(f, WAITS);
        domus_domain_start(d, 0, on_done, &r);
        WAIT_FOR(f, exists(f, "waits"));
        destroy(f, d);
        EXPECT_ERROR(f, r, DOMUS_ERROR_OPERATION_ABORTED, "the boot loader was interrupted");
        g_assert_false(domus_domain_is_active(d));
}

static void test_vm_dies(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);
        g_auto(Result) r = { 0 };

        behave(f, WAITS);
        domus_domain_start(d, 0, on_done, &r);
        WAIT_FOR(f, exists(f, "waits"));
        domus_vm_kill(d->vm, SIGKILL);
        EXPECT_ERROR(f, r, DOMUS_ERROR_INTERNAL, "cannot start domain 'a'");
        g_assert_false(domus_domain_is_active(d));
}

static void test_failed_restart(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, f->image);

        behave(f, FINDS("first"));
        start(f, d, 0);
        behave(f, "echo 'the disk is damaged' >&2; exit 1");
        reboot(f, d);
        WAIT_FOR(f, !domus_domain_is_active(d));
        g_assert_cmpint(d->reason, ==, VIR_DOMAIN_SHUTOFF_FAILED);
        g_assert_true(log_says(f, "cannot restart: domus-bootloader: the disk is damaged"));
        behave(f, FINDS("first"));
        start(f, d, 0);
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
        start(f, d, 0);
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
        if (!fixture_program(argc, argv, &fake_vm_path))
                return 1;
        g_test_add("/domain-boot/boots", Fixture, NULL, setup, test_boots, teardown);
        g_test_add("/domain-boot/failed-start", Fixture, NULL, setup, test_failed_start, teardown);
        g_test_add("/domain-boot/interrupted", Fixture, NULL, setup, test_interrupted, teardown);
        g_test_add("/domain-boot/vm-dies", Fixture, NULL, setup, test_vm_dies, teardown);
        g_test_add("/domain-boot/failed-restart", Fixture, NULL, setup, test_failed_restart, teardown);
        g_test_add("/domain-boot/daemon-goes", Fixture, NULL, setup, test_daemon_goes, teardown);
        return g_test_run();
}
