/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The life of domains, with fake-vm (argv[1]) as their VM. */

#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/test-fixture.h"
#include "daemon/vmspawn.h"

static const char *fake_vm_path;

static void on_event(const DomusEvent *e, gpointer opaque)
{
        Fixture *f = opaque;

        if (e->kind == DOMUS_EVENT_REBOOT)
                g_string_append_printf(f->events, "%s:reboot ", domus_domain_name(e->domain));
        else if (e->kind == DOMUS_EVENT_LIFECYCLE)
                g_string_append_printf(f->events, "%s:%d/%d ", domus_domain_name(e->domain), e->a, e->b);
        g_assert_nonnull(domus_domain_def(e->domain, false));
}

static void setup(Fixture *f, gconstpointer unused)
{
        fixture_init(f, fake_vm_path);
        f->on_event = on_event;
        open_manager(f);
}

static void assert_state(DomusDomain *d, int state, int reason)
{
        int real_reason;

        g_assert_cmpint(domus_domain_state(d, &real_reason), ==, state);
        g_assert_cmpint(real_reason, ==, reason);
}

/* --- Domains --- */

static char *xml_of(Fixture *f, const char *name, unsigned uuid, const char *cmdline, const char *more)
{
        return g_strdup_printf("<domain type='qemu'><name>%s</name><uuid>00000000-0000-4000-8000-%012u</uuid>"
                               "<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type>"
                               "<kernel>%s</kernel><cmdline>%s</cmdline></os>%s"
                               "<devices><console type='pty'/></devices></domain>",
                name, uuid, f->kernel, cmdline, more);
}

static DomusDomain *define_more(Fixture *f, const char *name, unsigned uuid, const char *cmdline, const char *more)
{
        g_autofree char *xml = xml_of(f, name, uuid, cmdline, more);

        return define_xml(f, xml);
}

static DomusDomain *define(Fixture *f, const char *name, unsigned uuid, const char *cmdline)
{
        return define_more(f, name, uuid, cmdline, "");
}

static DomusDomain *create(Fixture *f, const char *name, unsigned uuid)
{
        g_autofree char *xml = xml_of(f, name, uuid, "x", "");
        g_auto(Result) r = { 0 };

        domus_manager_create_xml(f->m, xml, 0, on_done, &r);
        EXPECT_OK(f, r);
        return r.domain;
}

static void signal_vm(DomusDomain *d, int sig)
{
        g_assert_cmpint(kill(domus_vm_pid(d->vm), sig), ==, 0);
}

/* --- Definitions --- */

static void test_define(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");

        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_UNKNOWN);
        assert_events(f, "a:0/0 ");
        g_assert_true(define(f, "a", 1, "y") == a);
        assert_events(f, "a:0/1 ");
        g_assert_cmpstr(domus_domain_def(a, true)->cmdline, ==, "y");
        g_assert_true(domus_manager_lookup_name(f->m, "a", NULL) == a);
        g_assert_null(domus_manager_lookup_id(f->m, -1, NULL));
        g_assert_true(domus_domain_undefine(a, 0, NULL));
        assert_events(f, "a:1/0 ");
        g_assert_null(domus_manager_lookup_name(f->m, "a", NULL));
}

static void expect_define_error(Fixture *f, const char *name, unsigned uuid, int code, const char *part)
{
        g_autofree char *xml = xml_of(f, name, uuid, "x", "");
        g_autoptr(GError) error = NULL;

        g_assert_null(domus_manager_define(f->m, xml, 0, &error));
        g_assert_error(error, DOMUS_ERROR, code);
        g_assert_nonnull(strstr(error->message, part));
}

static void test_conflicts(Fixture *f, gconstpointer unused)
{
        define(f, "a", 1, "x");
        define(f, "b", 2, "x");
        expect_define_error(f, "a", 3, DOMUS_ERROR_OPERATION_FAILED,
                "domain 'a' already exists with uuid 00000000-0000-4000-8000-000000000001");
        expect_define_error(f, "c", 1, DOMUS_ERROR_OPERATION_FAILED,
                "domain 'a' is already defined with uuid 00000000-0000-4000-8000-000000000001");
        expect_define_error(f, "a", 2, DOMUS_ERROR_OPERATION_FAILED, "domain 'b' is already defined");
        expect_define_error(f, "..", 4, DOMUS_ERROR_XML, "..");
}

static void test_rename(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_autoptr(GError) error = NULL;

        define(f, "b", 2, "x");
        g_string_truncate(f->events, 0);
        g_assert_false(domus_domain_rename(a, "b", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID);
        g_assert_true(domus_domain_set_autostart(a, true, NULL));
        g_assert_true(domus_domain_rename(a, "c", NULL));
        assert_events(f, "a:1/1 c:0/2 ");
        g_assert_null(domus_manager_lookup_name(f->m, "a", NULL));
        g_assert_true(domus_manager_lookup_name(f->m, "c", NULL) == a);
        domus_manager_free(f->m);
        open_manager(f);
        a = domus_manager_lookup_name(f->m, "c", NULL);
        g_assert_nonnull(a);
        g_assert_true(domus_domain_get_autostart(a));
}

static void test_list(Fixture *f, gconstpointer unused)
{
        g_autoptr(GPtrArray) all = NULL;
        g_autoptr(GPtrArray) active = NULL;
        g_autoptr(GPtrArray) none = NULL;

        define(f, "b", 2, "x");
        start(f, define(f, "a", 1, "x"), 0);
        create(f, "t", 3);
        all = domus_manager_list(f->m, 0);
        g_assert_cmpuint(all->len, ==, 3);
        g_assert_cmpstr(domus_domain_name(all->pdata[0]), ==, "a");
        active = domus_manager_list(f->m, VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_PERSISTENT);
        g_assert_cmpuint(active->len, ==, 1);
        none = domus_manager_list(f->m, VIR_CONNECT_LIST_DOMAINS_INACTIVE | VIR_CONNECT_LIST_DOMAINS_TRANSIENT);
        g_assert_cmpuint(none->len, ==, 0);
}

static void test_start_off_record(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_autofree char *dir = domus_domain_run_dir(a);
        g_autofree char *in_the_way = g_build_filename(dir, "status", NULL);
        g_auto(Result) r = { 0 };

        g_assert_cmpint(g_mkdir_with_parents(in_the_way, 0700), ==, 0);
        domus_domain_start(a, 0, on_done, &r);
        EXPECT_ERROR(f, r, DOMUS_ERROR_SYSTEM, "cannot write");
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
        g_assert_cmpint(rmdir(in_the_way), ==, 0);
        start(f, a, 0);
        destroy(f, a);
}

/* A VM process that does what domus-vm never does is ended; one that the user drives hard is not. */
static void test_hostile_vm(Fixture *f, gconstpointer unused)
{
        static const char *const attacks[] = { "malformed-signal", "call-daemon", "flood-signals" };

        for (unsigned i = 0; i < G_N_ELEMENTS(attacks); i++) {
                DomusDomain *a = define(f, "a", 1, attacks[i]);
                g_auto(Result) r = { 0 };

                start(f, a, 0);
                for (unsigned n = 0; n < 200; n++) {
                        g_auto(Result) suspended = { 0 };
                        g_auto(Result) resumed = { 0 };

                        domus_domain_suspend(a, on_done, &suspended);
                        EXPECT_OK(f, suspended);
                        domus_domain_resume(a, on_done, &resumed);
                        EXPECT_OK(f, resumed);
                }
                domus_domain_reset(a, on_done, &r);
                WAIT_FOR(f, r.calls && !domus_domain_is_active(a));
                assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED);
        }
}

static void on_memory(DomusDomain *d, const GError *error, gpointer opaque)
{
        GError **ret = opaque;

        *ret = error ? g_error_copy(error) : NULL;
}

static bool set_memory(DomusDomain *d, uint64_t kib, unsigned flags, GError **ret)
{
        GError *error = NULL;

        domus_domain_set_memory(d, kib, flags, on_memory, &error);
        if (!error)
                return true;
        g_propagate_error(ret, error);
        return false;
}

static void test_config_changes(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_autoptr(GError) error = NULL;

        g_assert_true(set_memory(a, 32768, 0, NULL));
        g_assert_cmpuint(domus_domain_def(a, true)->memory_current, ==, 32768);
        g_assert_false(set_memory(a, 1 << 20, 0, &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG);
        g_clear_error(&error);
        g_assert_true(domus_domain_set_vcpus(a, 4, VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_VCPU_MAXIMUM, NULL));
        g_assert_true(domus_domain_set_vcpus(a, 2, VIR_DOMAIN_AFFECT_CONFIG, NULL));
        g_assert_false(domus_domain_set_vcpus(a, 9, VIR_DOMAIN_VCPU_MAXIMUM, NULL));
        g_assert_false(domus_domain_set_metadata(a, VIR_DOMAIN_METADATA_TITLE, "a\x1b[0m", NULL, NULL, 0, NULL));
        g_assert_false(domus_domain_set_metadata(a, VIR_DOMAIN_METADATA_ELEMENT, "<a/>", "k", "http://\x01", 0, NULL));
        g_assert_true(domus_domain_set_metadata(a, VIR_DOMAIN_METADATA_TITLE, "hello", NULL, NULL, 0, NULL));
        start(f, a, 0);
        g_assert_false(set_memory(a, 65536, 0, &error)); /* there is no balloon */
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID);
        g_assert_false(domus_domain_is_updated(a));
        g_assert_true(set_memory(a, 65536, VIR_DOMAIN_AFFECT_CONFIG, NULL));
        g_assert_true(domus_domain_is_updated(a));
        g_assert_cmpuint(domus_domain_def(a, false)->memory_current, ==, 32768);
        g_assert_cmpuint(domus_domain_def(a, true)->memory_current, ==, 65536);
}

/* --- Life --- */

static void test_life(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_autofree char *live = NULL;
        g_autofree char *inactive = NULL;
        g_auto(Result) again = { 0 };
        g_auto(Result) off = { 0 };

        start(f, a, 0);
        assert_state(a, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);
        g_assert_cmpint(domus_domain_id(a), ==, 1);
        assert_events(f, "a:0/0 a:2/0 ");
        live = domus_domain_xml(a, 0, NULL);
        inactive = domus_domain_xml(a, VIR_DOMAIN_XML_INACTIVE, NULL);
        g_assert_nonnull(strstr(live, "id='1'") ? strstr(live, "id='1'") : strstr(live, "id=\"1\""));
        g_assert_nonnull(strstr(live, "/dev/pts/"));
        g_assert_null(strstr(inactive, "/dev/pts/"));
        domus_domain_start(a, 0, on_done, &again);
        EXPECT_ERROR(f, again, DOMUS_ERROR_OPERATION_INVALID, "already running");
        domus_domain_shutdown(a, 0, on_done, &off);
        EXPECT_OK(f, off);
        WAIT_FOR(f, !domus_domain_is_active(a));
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
        assert_events(f, "a:6/1 a:5/0 ");
        start(f, a, 0);
        g_assert_cmpint(domus_domain_id(a), ==, 2);
        destroy(f, a);
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED);
        assert_events(f, "a:2/0 a:5/1 ");
}

static void test_suspend(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_auto(Result) resumed = { 0 };
        g_auto(Result) twice = { 0 };
        g_auto(Result) suspended = { 0 };

        start(f, a, VIR_DOMAIN_START_PAUSED);
        assert_state(a, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
        assert_events(f, "a:0/0 a:2/0 a:3/0 ");
        domus_domain_resume(a, on_done, &resumed);
        domus_domain_resume(a, on_done, &twice);
        EXPECT_OK(f, resumed);
        EXPECT_ERROR(f, twice, DOMUS_ERROR_OPERATION_INVALID, "already running");
        assert_state(a, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED);
        domus_domain_suspend(a, on_done, &suspended);
        EXPECT_OK(f, suspended);
        assert_state(a, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
        assert_events(f, "a:4/0 a:3/0 ");
}

static void test_reboot(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_auto(Result) reboot = { 0 };
        g_auto(Result) off = { 0 };
        g_auto(Result) agent = { 0 };

        start(f, a, 0);
        g_string_truncate(f->events, 0);
        domus_domain_reboot(a, 0, on_done, &reboot);
        EXPECT_OK(f, reboot);
        WAIT_FOR(f, f->events->len);
        assert_events(f, "a:reboot ");
        g_assert_true(domus_domain_is_active(a));
        domus_domain_shutdown(a, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, on_done, &agent);
        EXPECT_ERROR(f, agent, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "not configured");
        domus_domain_shutdown(a, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, on_done, &off);
        EXPECT_OK(f, off);
        WAIT_FOR(f, !domus_domain_is_active(a));
        assert_events(f, "a:6/1 a:5/0 ");
}

static void test_crashes(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        DomusDomain *b = define_more(f, "b", 2, "x", "<on_crash>preserve</on_crash>");

        start(f, a, 0);
        start(f, b, 0);
        g_string_truncate(f->events, 0);
        signal_vm(a, SIGKILL);
        WAIT_FOR(f, !domus_domain_is_active(a));
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED);
        assert_events(f, "a:5/2 ");
        start(f, a, 0);
        g_string_truncate(f->events, 0);
        signal_vm(a, SIGUSR2);
        WAIT_FOR(f, !domus_domain_is_active(a));
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED);
        assert_events(f, "a:8/0 a:5/2 ");
        signal_vm(b, SIGUSR2);
        WAIT_FOR(f, f->events->len);
        assert_state(b, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED);
        assert_events(f, "b:8/0 ");
        destroy(f, b);
        assert_state(b, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED);
        assert_events(f, "b:5/1 ");
}

static void test_fast_guest(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "power-off-at-once");
        Result r = { 0 };

        g_string_truncate(f->events, 0);
        domus_domain_start(a, 0, on_done, &r);
        WAIT_FOR(f, r.calls && !domus_domain_is_active(a));
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
        assert_events(f, "a:2/0 a:6/1 a:5/0 ");
        g_clear_error(&r.error);
}

/* --- Starts that fail --- */

static void test_bad_starts(Fixture *f, gconstpointer unused)
{
        static const struct {
                const char *cmdline;
                int code;
                const char *part;
        } cases[] = {
                { "refuse-configure", DOMUS_ERROR_OPERATION_FAILED, "not a kernel at all" },
                { "die-in-configure", DOMUS_ERROR_INTERNAL, "domus-vm died while starting: the machine fell over" },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                DomusDomain *a = define(f, "a", 1, cases[i].cmdline);
                g_auto(Result) r = { 0 };

                g_string_truncate(f->events, 0);
                domus_domain_start(a, 0, on_done, &r);
                EXPECT_ERROR(f, r, cases[i].code, cases[i].part);
                assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
                g_assert_cmpint(domus_domain_id(a), ==, -1);
                assert_events(f, "");
        }
}

static void expect_start_error(Fixture *f, const char *xml, int code, const char *part)
{
        g_auto(Result) r = { 0 };
        g_autoptr(GPtrArray) list = NULL;

        domus_manager_create_xml(f->m, xml, 0, on_done, &r);
        EXPECT_ERROR(f, r, code, part);
        list = domus_manager_list(f->m, 0);
        g_assert_cmpuint(list->len, ==, 0);
}

static char *replace(const char *text, const char *from, const char *to)
{
        g_auto(GStrv) parts = g_strsplit(text, from, -1);

        return g_strjoinv(to, parts);
}

static void test_checks(Fixture *f, gconstpointer unused)
{
        g_autofree char *good = xml_of(f, "a", 1, "x", "");
        g_autofree char *kvm = replace(good, "type='qemu'", "type='kvm'");
        g_autofree char *missing = replace(good, f->kernel, "/no/such/kernel");
        g_autofree char *folder = replace(good, f->kernel, "/usr");
        g_autofree char *device = replace(good, f->kernel, "/dev/zero");
        g_autofree char *big = replace(good, "<memory unit='MiB'>64", "<memory unit='TiB'>1");
        g_autofree char *wide = replace(good, "<vcpu>1<", "<vcpu>9<");

        expect_start_error(f, kvm, DOMUS_ERROR_CONFIG_UNSUPPORTED, "there is no /dev/kvm in tests");
        expect_start_error(f, missing, DOMUS_ERROR_SYSTEM, "'/no/such/kernel': No such file or directory");
        expect_start_error(f, folder, DOMUS_ERROR_SYSTEM, "'/usr': Is a directory");
        expect_start_error(f, device, DOMUS_ERROR_CONFIG_UNSUPPORTED, "'/dev/zero' is not a regular file");
        expect_start_error(f, big, DOMUS_ERROR_CONFIG_UNSUPPORTED, "but the host has 4194304");
        expect_start_error(f, wide, DOMUS_ERROR_CONFIG_UNSUPPORTED, "9 vCPUs");
}

static void test_no_vmm(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_auto(Result) r = { 0 };

        g_free(f->m->paths.vmm_path);
        f->m->paths.vmm_path = g_strdup("/nowhere/fake-vm");
        domus_domain_start(a, 0, on_done, &r);
        EXPECT_ERROR(f, r, DOMUS_ERROR_SYSTEM, "'/nowhere/fake-vm': No such file or directory");
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
}

/* --- Destroy against what hangs --- */

static void interrupt_start(Fixture *f, DomusDomain *a, bool transient)
{
        g_autoptr(DomusDomain) hold = domus_domain_ref(a);
        g_auto(Result) destroyed = { 0 };

        WAIT_FOR(f, a->live && !a->launch);
        assert_state(a, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP);
        domus_domain_destroy(a, 0, on_done, &destroyed);
        EXPECT_OK(f, destroyed);
        g_assert_false(domus_domain_is_active(a));
        g_assert_true(transient == !domus_manager_lookup_name(f->m, "a", NULL));
}

static void test_destroy_hanging_start(Fixture *f, gconstpointer unused)
{
        g_autofree char *xml = xml_of(f, "a", 1, "hang-in-start", "");
        g_auto(Result) created = { 0 };
        g_auto(Result) started = { 0 };
        DomusDomain *a;

        domus_manager_create_xml(f->m, xml, 0, on_done, &created);
        interrupt_start(f, domus_manager_lookup_name(f->m, "a", NULL), true);
        EXPECT_ERROR(f, created, DOMUS_ERROR_OPERATION_ABORTED, "being destroyed");
        a = define(f, "a", 1, "hang-in-start");
        domus_domain_start(a, 0, on_done, &started);
        interrupt_start(f, a, false);
        EXPECT_ERROR(f, started, DOMUS_ERROR_OPERATION_ABORTED, "being destroyed");
}

static void test_destroy_hanging_pause(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "hang-in-pause");
        g_auto(Result) paused = { 0 };
        g_auto(Result) resumed = { 0 };

        start(f, a, 0);
        domus_domain_suspend(a, on_done, &paused);
        domus_domain_resume(a, on_done, &resumed);
        destroy(f, a);
        EXPECT_ERROR(f, paused, DOMUS_ERROR_OPERATION_ABORTED, "being destroyed");
        EXPECT_ERROR(f, resumed, DOMUS_ERROR_OPERATION_INVALID, "not running");
}

/* Kills after a few seconds. */
static void test_destroy_stopped_process(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");

        start(f, a, 0);
        signal_vm(a, SIGSTOP);
        destroy(f, a);
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED);
}

static void test_race(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        Result r[6] = { 0 };

        domus_domain_start(a, 0, on_done, &r[0]);
        domus_domain_start(a, 0, on_done, &r[1]);
        domus_domain_destroy(a, 0, on_done, &r[2]);
        domus_domain_destroy(a, 0, on_done, &r[3]);
        domus_domain_start(a, 0, on_done, &r[4]);
        domus_domain_suspend(a, on_done, &r[5]);
        for (unsigned i = 0; i < G_N_ELEMENTS(r); i++) {
                WAIT_FOR(f, r[i].calls);
                g_clear_error(&r[i].error);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(r); i++)
                g_assert_cmpuint(r[i].calls, ==, 1);
}

/* --- Transient and persistent --- */

static void test_transient(Fixture *f, gconstpointer unused)
{
        g_autofree char *xml = xml_of(f, "t", 1, "x", "");
        g_autoptr(DomusDomain) t = domus_domain_ref(create(f, "t", 1));
        g_autoptr(GError) error = NULL;
        g_auto(Result) again = { 0 };

        assert_events(f, "t:2/0 ");
        g_assert_false(domus_domain_is_persistent(t));
        g_assert_false(domus_domain_set_autostart(t, true, &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID);
        domus_manager_create_xml(f->m, xml, 0, on_done, &again);
        EXPECT_ERROR(f, again, DOMUS_ERROR_OPERATION_INVALID, "domain 't' is already active");
        g_assert_true(define(f, "t", 1, "y") == t);
        assert_events(f, "t:0/0 ");
        g_assert_cmpstr(domus_domain_def(t, false)->cmdline, ==, "x");
        g_assert_true(domus_domain_undefine(t, 0, NULL));
        assert_events(f, "t:1/0 ");
        g_assert_true(domus_manager_lookup_name(f->m, "t", NULL) == t);
        destroy(f, t);
        assert_events(f, "t:5/1 ");
        g_assert_null(domus_manager_lookup_name(f->m, "t", NULL));
        g_assert_cmpstr(domus_domain_name(t), ==, "t");
}

static void test_create_of_defined(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "defined");

        g_assert_true(create(f, "a", 1) == a);
        g_assert_cmpstr(domus_domain_def(a, false)->cmdline, ==, "x");
        g_assert_cmpstr(domus_domain_def(a, true)->cmdline, ==, "defined");
        destroy(f, a);
        g_assert_true(domus_manager_lookup_name(f->m, "a", NULL) == a);
        g_assert_cmpstr(domus_domain_def(a, false)->cmdline, ==, "defined");
}

static void test_autodestroy(Fixture *f, gconstpointer unused)
{
        int owner;

        domus_domain_set_autodestroy(create(f, "t", 1), &owner);
        create(f, "u", 2);
        domus_manager_owner_gone(f->m, &owner);
        WAIT_FOR(f, !domus_manager_lookup_name(f->m, "t", NULL));
        g_assert_nonnull(domus_manager_lookup_name(f->m, "u", NULL));
}

/* --- The daemon comes and goes --- */

static void test_reconnect(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_autoptr(GError) error = NULL;
        pid_t dead;

        start(f, a, VIR_DOMAIN_START_PAUSED);
        create(f, "t", 2);
        dead = domus_vm_pid(create(f, "u", 3)->vm);
        define(f, "a", 1, "changed");
        domus_manager_free(f->m);
        kill(dead, SIGKILL);
        g_usleep(100000);
        open_manager(f);
        a = domus_manager_lookup_name(f->m, "a", NULL);
        g_assert_nonnull(a);
        assert_state(a, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
        g_assert_cmpint(domus_domain_id(a), ==, 1);
        g_assert_true(domus_domain_is_updated(a));
        g_assert_cmpstr(domus_domain_def(a, false)->cmdline, ==, "x");
        g_assert_nonnull(domus_manager_lookup_id(f->m, 2, NULL));
        g_string_truncate(f->events, 0);
        WAIT_FOR(f, !domus_manager_lookup_name(f->m, "u", NULL));
        for (int i = 0; i < 2; i++) {
                g_auto(Result) r = { 0 };

                if (i == 0)
                        domus_domain_resume(a, on_done, &r);
                else
                        domus_domain_shutdown(a, 0, on_done, &r);
                EXPECT_OK(f, r);
        }
        WAIT_FOR(f, !domus_domain_is_active(a));
        g_assert_nonnull(strstr(f->events->str, "a:4/0 a:6/1 a:5/0 "));
        start(f, a, 0);
        g_assert_cmpint(domus_domain_id(a), >=, 4);
}

/* Nobody may start a second VM on the files of one that is out of reach. */
static void test_lost_record(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_autofree char *dir = domus_domain_run_dir(a);
        g_autofree char *status = g_build_filename(dir, "status", NULL);
        g_auto(Result) refused = { 0 };
        pid_t lost;

        start(f, a, 0);
        lost = domus_vm_pid(a->vm);
        domus_manager_free(f->m);
        g_assert_true(g_file_set_contents(status, "[vm]\nid=", -1, NULL));
        open_manager(f);
        a = domus_manager_lookup_name(f->m, "a", NULL);
        domus_domain_start(a, 0, on_done, &refused);
        EXPECT_ERROR(f, refused, DOMUS_ERROR_OPERATION_FAILED, "still runs");
        kill(lost, SIGKILL);
        waitpid(lost, NULL, 0);
        start(f, a, 0);
}

static void test_interrupted_start(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "hang-in-start");
        g_auto(Result) r = { 0 };

        domus_domain_start(a, 0, on_done, &r);
        WAIT_FOR(f, a->live && !a->launch);
        domus_manager_free(f->m);
        g_assert_error(r.error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED);
        open_manager(f);
        a = domus_manager_lookup_name(f->m, "a", NULL);
        WAIT_FOR(f, !domus_domain_is_active(a));
        assert_state(a, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
}

static void test_autostart(Fixture *f, gconstpointer unused)
{
        g_autofree char *marker = g_build_filename(f->paths.run_dir, "autostarted", NULL);
        DomusDomain *a = define(f, "a", 1, "x");

        define(f, "b", 2, "x");
        g_assert_true(domus_domain_set_autostart(a, true, NULL));
        domus_manager_free(f->m);
        open_manager(f);
        for (unsigned i = 0; i < 10; i++)
                iterate(f);
        g_assert_false(domus_domain_is_active(domus_manager_lookup_name(f->m, "a", NULL)));
        domus_manager_free(f->m);
        unlink(marker);
        open_manager(f);
        a = domus_manager_lookup_name(f->m, "a", NULL);
        WAIT_FOR(f, domus_domain_state(a, NULL) == VIR_DOMAIN_RUNNING);
        g_assert_false(domus_domain_is_active(domus_manager_lookup_name(f->m, "b", NULL)));
}

/* --- Console and figures --- */

static void expect_bytes(Fixture *f, int fd, const char *bytes)
{
        char buf[64] = "";
        size_t have = 0;
        ssize_t n;

        WAIT_FOR(f, (n = read(fd, buf + have, sizeof(buf) - 1 - have)) > 0 ? (have += (size_t)n, have >= strlen(bytes)) :
                                                                             false);
        g_assert_cmpstr(buf, ==, bytes);
}

static void test_console(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        g_autoptr(GError) error = NULL;
        int first, second, third;
        char byte;

        g_assert_cmpint(domus_domain_open_console(a, NULL, 0, &error), ==, -1);
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID);
        g_clear_error(&error);
        start(f, a, 0);
        g_assert_true(domus_proc_lacks_file(domus_vm_pid(a->vm), "/etc"));
        first = domus_domain_open_console(a, NULL, 0, NULL);
        g_assert_cmpint(write(first, "one", 3), ==, 3);
        expect_bytes(f, first, "ONE");
        g_assert_cmpint(domus_domain_open_console(a, NULL, 0, &error), ==, -1);
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED);
        second = domus_domain_open_console(a, "serial0", VIR_DOMAIN_CONSOLE_FORCE, NULL);
        g_assert_cmpint(read(first, &byte, 1), ==, 0);
        g_assert_cmpint(write(second, "two", 3), ==, 3);
        expect_bytes(f, second, "TWO");
        close(first);
        close(second);
        WAIT_FOR(f, !a->console);
        third = domus_domain_open_console(a, NULL, 0, NULL);
        g_assert_cmpint(write(third, "three", 5), ==, 5);
        expect_bytes(f, third, "THREE");
        destroy(f, a);
        g_assert_cmpint(read(third, &byte, 1), ==, 0);
        close(third);
}

static void test_stats(Fixture *f, gconstpointer unused)
{
        DomusDomain *a = define(f, "a", 1, "x");
        DomusDomainStats s = { 0 };

        domus_domain_stats(a, &s);
        g_assert_cmpuint(s.n_vcpus, ==, 0);
        start(f, a, 0);
        /* The thread may not have run yet. */
        WAIT_FOR(f, (domus_domain_stats_clear(&s), domus_domain_stats(a, &s), s.n_vcpus == 1 && s.vcpus[0].time_ns > 0));
        g_assert_cmpuint(s.rss, >, 4096);
        g_assert_cmpuint(s.memory_kib, ==, 65536);
        g_assert_true(s.vcpus[0].halted);
        g_assert_cmpint(s.vcpus[0].host_cpu, >=, 0);
        domus_domain_stats_clear(&s);
}

#define TEST(name, fn) g_test_add("/domain/" name, Fixture, NULL, setup, fn, teardown)

int main(int argc, char **argv)
{
        if (!fixture_program(argc, argv, &fake_vm_path))
                return 1;
        TEST("define", test_define);
        TEST("conflicts", test_conflicts);
        TEST("rename", test_rename);
        TEST("list", test_list);
        TEST("start-off-record", test_start_off_record);
        TEST("hostile-vm", test_hostile_vm);
        TEST("config-changes", test_config_changes);
        TEST("life", test_life);
        TEST("suspend", test_suspend);
        TEST("reboot", test_reboot);
        TEST("crashes", test_crashes);
        TEST("fast-guest", test_fast_guest);
        TEST("bad-starts", test_bad_starts);
        TEST("checks", test_checks);
        TEST("no-vmm", test_no_vmm);
        TEST("destroy-hanging-start", test_destroy_hanging_start);
        TEST("destroy-hanging-pause", test_destroy_hanging_pause);
        TEST("destroy-stopped-process", test_destroy_stopped_process);
        TEST("race", test_race);
        TEST("transient", test_transient);
        TEST("create-of-defined", test_create_of_defined);
        TEST("autodestroy", test_autodestroy);
        TEST("reconnect", test_reconnect);
        TEST("lost-record", test_lost_record);
        TEST("interrupted-start", test_interrupted_start);
        TEST("autostart", test_autostart);
        TEST("console", test_console);
        TEST("stats", test_stats);
        return g_test_run();
}
