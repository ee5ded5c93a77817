/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Devices of domains, with fake-vm (argv[1]) as their VM. */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/device.h"
#include "daemon/test-fixture.h"

static const char *fake_vm_path;

/* How often the host was asked. */
static struct {
        unsigned taps, released, probes;
} asked;

static void on_event(const DomusEvent *e, gpointer opaque)
{
        static const char *const names[] = {
                [DOMUS_EVENT_DEVICE_ADDED] = "added", [DOMUS_EVENT_DEVICE_REMOVED] = "removed",
                [DOMUS_EVENT_DEVICE_REMOVAL_FAILED] = "failed", [DOMUS_EVENT_IO_ERROR] = "io-error", [DOMUS_EVENT_BALLOON] = "balloon",
        };
        Fixture *f = opaque;

        if (e->kind < G_N_ELEMENTS(names) && names[e->kind])
                g_string_append_printf(f->events, "%s:%s ", names[e->kind], e->text ? e->text : "");
}

/* --- A host --- */

static bool open_tap(gpointer opaque, const uint8_t *uuid, const char *name, const DomusInterface *interface, DomusHookTap *ret, GError **error)
{
        if (g_strcmp0(interface->network, "missing") == 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_NETWORK, "no network with matching name 'missing'");
                return false;
        }
        *ret = (DomusHookTap){ .device = g_strdup_printf("vnet%u", asked.taps++), .bridge = g_strdup("virbr0"), .n_fds = 1, .mtu = 1500 };
        ret->fds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
        return true;
}

static void release_tap(gpointer opaque, const DomusInterface *interface)
{
        g_assert_true(g_str_has_prefix(interface->target, "vnet"));
        asked.released++;
}

static char *probe_format(gpointer opaque, const char *path, GError **error)
{
        asked.probes++;
        return g_strdup("raw");
}

static bool resolve_volume(gpointer opaque, const char *pool, const char *volume, DomusHookVolume *ret, GError **error)
{
        Fixture *f = opaque;

        *ret = (DomusHookVolume){ .path = g_strdup(f->image), .format = g_strdup("raw") };
        return true;
}

static char *make_file(Fixture *f, const char *name)
{
        char *path = g_build_filename(f->dir, name, NULL);
        static const char zeros[4096];

        g_assert_true(g_file_set_contents(path, zeros, sizeof(zeros), NULL));
        return path;
}

static void setup(Fixture *f, gconstpointer unused)
{
        asked.taps = asked.released = asked.probes = 0;
        fixture_init(f, fake_vm_path);
        f->image = make_file(f, "image");
        f->on_event = on_event;
        f->hooks = (DomusDomainHooks){ .opaque = f, .net_opaque = f, .open_tap = open_tap, .release_tap = release_tap,
                                       .probe_format = probe_format, .resolve_volume = resolve_volume };
        open_manager(f);
}

static DomusDomain *define(Fixture *f, const char *name, const char *cmdline, const char *devices)
{
        g_autofree char *xml = g_strdup_printf("<domain type='qemu'><name>%s</name><memory unit='MiB'>64</memory><os><type>hvm</type>"
                                               "<kernel>%s</kernel><cmdline>%s</cmdline></os><devices>%s</devices></domain>",
                name, f->kernel, cmdline, devices);

        return define_xml(f, xml);
}

static char *disk(const char *path, const char *target, const char *more)
{
        return g_strdup_printf("<disk type='file'><driver name='qemu' type='raw'/><source file='%s'/><target dev='%s'/>%s</disk>", path, target,
                more);
}

/* --- Tests --- */

#define NET "<interface type='network'><source network='default'/></interface>"
#define RNG "<rng model='virtio'><backend model='random'/></rng>"
#define AGENT "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
#define CD "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"

static void test_start(Fixture *f, gconstpointer unused)
{
        g_autofree char *hd = disk(f->image, "vda", ""), *devices = g_strconcat(hd, CD NET RNG AGENT "<memballoon model='virtio'/>", NULL);
        DomusDomain *d = define(f, "a", "x", devices);
        g_autofree char *channel = NULL;
        struct stat st;

        OK(f, domus_domain_start, d, 0);
        g_assert_cmpstr(domus_domain_def_interface(d->live, "vnet0")->alias, ==, "net0");
        channel = g_strdup(domus_domain_def_channel(d->live, "org.qemu.guest_agent.0")->channel.path);
        g_assert_cmpint(stat(channel, &st), ==, 0);
        domus_manager_free(f->m); /* the next daemon finds all of it */
        open_manager(f);
        d = domus_manager_lookup_name(f->m, "a", NULL);
        WAIT_FOR(f, !d->jobs.current);
        g_assert_true(domus_domain_is_active(d));
        g_assert_nonnull(domus_domain_def_interface(d->live, "vnet0"));
        OK(f, domus_domain_destroy, d, 0);
        g_assert_cmpuint(asked.released, ==, 1);
        g_assert_cmpint(stat(channel, &st), ==, -1);
}

static void test_failed_start(Fixture *f, gconstpointer unused)
{
        g_autofree char *hd = disk("/nonexistent/image", "vda", ""), *devices = g_strconcat(NET, hd, NULL);
        g_autofree char *dir = disk(f->dir, "vda", ""), *optional = NULL;
        DomusDomain *d;

        FAILS(f, DOMUS_ERROR_SYSTEM, "cannot open image '/nonexistent/image' of disk 'vda'", domus_domain_start, define(f, "a", "x", devices), 0);
        FAILS(f, DOMUS_ERROR_SYSTEM, "Is a directory", domus_domain_start, define(f, "b", "x", dir), 0);
        FAILS(f, DOMUS_ERROR_NO_NETWORK, "missing", domus_domain_start,
                define(f, "c", "x", "<interface type='network'><source network='missing'/></interface>"), 0);
        g_assert_cmpuint(asked.taps, ==, asked.released);
        optional = g_strdup("<disk><driver type='raw'/><source file='/nonexistent' startupPolicy='optional'/><target dev='vda'/></disk>"
                            "<disk device='cdrom'><driver type='raw'/><source file='/nonexistent' startupPolicy='optional'/>"
                            "<target dev='sda' bus='scsi'/></disk>");
        d = define(f, "d", "x", optional);
        OK(f, domus_domain_start, d, 0);
        g_assert_null(domus_domain_def_disk(d->live, "vda"));
        g_assert_null(domus_domain_def_disk(d->live, "sda")->disk.path);
}

static void test_locks(Fixture *f, gconstpointer unused)
{
        g_autofree char *rw = disk(f->image, "vda", ""), *ro = disk(f->image, "vda", "<readonly/>");
        g_autofree char *shared = disk(f->image, "vda", "<shareable/>");
        DomusDomain *a = define(f, "a", "x", rw), *b = define(f, "b", "x", rw), *c = define(f, "c", "x", ro);
        DomusDomain *s = define(f, "s", "x", shared), *t = define(f, "t", "x", shared);

        OK(f, domus_domain_start, a, 0);
        FAILS(f, DOMUS_ERROR_OPERATION_FAILED, "in use by domain 'a'", domus_domain_start, b, 0);
        FAILS(f, DOMUS_ERROR_OPERATION_FAILED, "in use by domain 'a'", domus_domain_start, c, 0);
        OK(f, domus_domain_destroy, a, 0);
        OK(f, domus_domain_start, s, 0);
        OK(f, domus_domain_start, t, 0);
        FAILS(f, DOMUS_ERROR_OPERATION_FAILED, "in use by domain", domus_domain_start, b, 0);
}

static void test_attach(Fixture *f, gconstpointer unused)
{
        const unsigned live = VIR_DOMAIN_AFFECT_LIVE, both = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG;
        DomusDomain *d = define(f, "a", "x", "");
        g_autofree char *hd = disk(f->image, "vdb", ""), *sd = disk(f->kernel, "sda", "");

        OK(f, domus_domain_start, d, 0);
        OK(f, domus_domain_attach_device, d, hd, both);
        assert_events(f, "added:virtio-disk1 ");
        g_assert_nonnull(domus_domain_def_disk(d->config, "vdb"));
        FAILS(f, DOMUS_ERROR_CONFIG_UNSUPPORTED, "the target 'vdb'", domus_domain_attach_device, d, hd, live);
        OK(f, domus_domain_attach_device, d, sd, live);
        assert_events(f, "added:scsi0 added:scsi0-0-0-0 ");
        OK(f, domus_domain_attach_device, d, NET, both);
        assert_events(f, "added:net0 ");
        g_assert_cmpmem(domus_domain_def_device(d->live, DOMUS_DEVICE_INTERFACE, 0)->interface.mac, 6,
                domus_domain_def_device(d->config, DOMUS_DEVICE_INTERFACE, 0)->interface.mac, 6);
        FAILS(f, DOMUS_ERROR_OPERATION_FAILED, "device is busy", domus_domain_detach_alias, d, "scsi0", live);
        OK(f, domus_domain_detach_alias, d, "scsi0-0-0-0", live);
        assert_events(f, "removed:scsi0-0-0-0 ");
        OK(f, domus_domain_detach_device, d, NET, both);
        assert_events(f, "removed:net0 ");
        g_assert_cmpuint(asked.released, ==, 1);
        g_assert_null(domus_domain_def_device(d->config, DOMUS_DEVICE_INTERFACE, 0));
        FAILS(f, DOMUS_ERROR_DEVICE_MISSING, "no device found with alias net0", domus_domain_detach_alias, d, "net0", live);
        OK(f, domus_domain_detach_device, d, hd, both);
        OK(f, domus_domain_destroy, d, 0);
        FAILS(f, DOMUS_ERROR_OPERATION_INVALID, "not running", domus_domain_attach_device, d, RNG, live);
        OK(f, domus_domain_attach_device, d, RNG, VIR_DOMAIN_AFFECT_CURRENT);
}

static void test_refused_attach(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, "a", "refuse-device", "");
        g_autofree char *sd = disk(f->image, "sda", "<shareable/>"), *before = NULL, *after = NULL;

        OK(f, domus_domain_start, d, 0);
        before = domus_domain_xml(d, 0, NULL);
        FAILS(f, DOMUS_ERROR_OPERATION_FAILED, "the guest is full", domus_domain_attach_device, d, sd, VIR_DOMAIN_AFFECT_LIVE);
        FAILS(f, DOMUS_ERROR_OPERATION_FAILED, "the guest is full", domus_domain_attach_device, d, NET, VIR_DOMAIN_AFFECT_LIVE);
        after = domus_domain_xml(d, 0, NULL);
        g_assert_cmpstr(after, ==, before);
        g_assert_cmpuint(asked.released, ==, asked.taps);
        assert_events(f, "");
}

/* What was added for a device goes with it: here the controller, which the VM is not told of. */
static void test_failed_attach(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, "a", "x", "");
        g_autofree char *dir = disk(f->dir, "sda", "<shareable/>"), *good = disk(f->image, "sda", ""), *before = NULL, *after = NULL;

        OK(f, domus_domain_start, d, 0);
        before = domus_domain_xml(d, 0, NULL);
        FAILS(f, DOMUS_ERROR_SYSTEM, "Is a directory", domus_domain_attach_device, d, dir, VIR_DOMAIN_AFFECT_LIVE);
        after = domus_domain_xml(d, 0, NULL);
        g_assert_cmpstr(after, ==, before);
        assert_events(f, "");
        OK(f, domus_domain_attach_device, d, good, VIR_DOMAIN_AFFECT_LIVE); /* the VM would refuse a second controller of that name */
        assert_events(f, "added:scsi0 added:scsi0-0-0-0 ");
}

/* The guest does not let go: the call ends all the same, and the device stays. */
static void test_kept(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, "a", "keep-device", RNG);
        g_auto(Result) r = { 0 };

        OK(f, domus_domain_start, d, 0);
        domus_domain_detach_alias(d, "rng0", VIR_DOMAIN_AFFECT_LIVE, on_done, &r);
        g_assert_cmpuint(r.calls, ==, 0);
        OK(f, domus_domain_destroy, d, 0);
        g_assert_cmpuint(r.calls, ==, 1);
}

#define RNG_RATE(bytes, alias) "<rng model='virtio'><rate bytes='" bytes "'/><backend model='random'/>" alias "</rng>"

/* By the alias, where it is what changes that would say which one; the same again is no change; the rest is refused, and not just noted. */
static void test_updates(Fixture *f, gconstpointer unused)
{
        const unsigned live = VIR_DOMAIN_AFFECT_LIVE, config = VIR_DOMAIN_AFFECT_CONFIG;
        g_autofree char *hd = disk(f->image, "vda", ""), *before = NULL, *after = NULL;
        g_autofree char *devices = g_strconcat(hd, RNG RNG_RATE("10", "<alias name='ua-r'/>") AGENT "<memballoon model='virtio'/>", NULL);
        DomusDomain *d = define(f, "a", "x", devices);

        OK(f, domus_domain_start, d, 0);
        OK(f, domus_domain_update_device, d, RNG_RATE("20", "<alias name='ua-r'/>"), live | config);
        g_assert_cmpuint(domus_domain_def_device_by_alias(d->live, "ua-r")->rng.rate_bytes, ==, 20);
        g_assert_cmpuint(domus_domain_def_device_by_alias(d->config, "ua-r")->rng.rate_bytes, ==, 20);
        OK(f, domus_domain_update_device, d, RNG_RATE("30", "<alias name='rng0'/>"), live);
        g_assert_cmpuint(domus_domain_def_device_by_alias(d->live, "rng0")->rng.rate_bytes, ==, 30);
        FAILS(f, DOMUS_ERROR_DEVICE_MISSING, "no device <rng>", domus_domain_update_device, d, RNG_RATE("40", ""), live);
        before = domus_domain_xml(d, 0, NULL);
        OK(f, domus_domain_update_device, d, hd, live);
        OK(f, domus_domain_update_device, d, AGENT, live);
        FAILS(f, DOMUS_ERROR_OPERATION_UNSUPPORTED, "the backend of device 'rng0'", domus_domain_update_device, d,
                "<rng model='virtio'><backend model='random'>/dev/hwrng</backend><alias name='rng0'/></rng>", live);
        FAILS(f, DOMUS_ERROR_OPERATION_UNSUPPORTED, "the name of device 'channel0'", domus_domain_update_device, d,
                "<channel type='unix'><target type='virtio' name='other'/><alias name='channel0'/></channel>", live);
        FAILS(f, DOMUS_ERROR_OPERATION_UNSUPPORTED, "the autodeflate of device 'balloon0'", domus_domain_update_device, d,
                "<memballoon model='virtio' autodeflate='on'/>", live);
        FAILS(f, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a device <controller>", domus_domain_update_device, d,
                "<controller type='virtio-serial' index='0' ports='5'/>", live);
        FAILS(f, DOMUS_ERROR_OPERATION_UNSUPPORTED, "type 'usb' cannot be attached", domus_domain_attach_device, d, "<controller type='usb'/>", live);
        after = domus_domain_xml(d, 0, NULL);
        g_assert_cmpstr(after, ==, before);
}

/* For both definitions or for none. */
static void test_bandwidth(Fixture *f, gconstpointer unused)
{
        const DomusBandwidth limits = { .outbound.average = 500 };
        DomusDomain *d = define(f, "a", "x", "");

        OK(f, domus_domain_start, d, 0);
        OK(f, domus_domain_attach_device, d, NET, VIR_DOMAIN_AFFECT_LIVE);
        FAILS(f, DOMUS_ERROR_INVALID_ARG, "'vnet0'", domus_domain_set_bandwidth, d, "vnet0", &limits, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG);
        g_assert_cmpuint(domus_domain_def_interface(d->live, "vnet0")->interface.bandwidth.outbound.average, ==, 0);
}

static void test_media(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, "a", "x", CD);
        g_autofree char *loaded = g_strdup_printf("<disk type='file' device='cdrom'><driver type='raw'/><source file='%s'/>"
                                                  "<target dev='sda' bus='scsi'/></disk>", f->image);
        g_autofree char *missing = g_strdup("<disk type='file' device='cdrom'><driver type='raw'/><source file='/nonexistent'/>"
                                            "<target dev='sda' bus='scsi'/></disk>");

        OK(f, domus_domain_start, d, 0);
        OK(f, domus_domain_update_device, d, loaded, VIR_DOMAIN_AFFECT_LIVE);
        g_assert_cmpstr(domus_domain_def_disk(d->live, "sda")->disk.path, ==, f->image);
        FAILS(f, DOMUS_ERROR_SYSTEM, "/nonexistent", domus_domain_update_device, d, missing, VIR_DOMAIN_AFFECT_LIVE);
        g_assert_cmpstr(domus_domain_def_disk(d->live, "sda")->disk.path, ==, f->image);
        OK(f, domus_domain_update_device, d, CD, VIR_DOMAIN_AFFECT_LIVE);
        g_assert_null(domus_domain_def_disk(d->live, "sda")->disk.path);
}

static void test_io_error(Fixture *f, gconstpointer unused)
{
        g_autofree char *hd = disk(f->image, "vda", "");
        DomusDomain *d = define(f, "a", "disk-full", hd);
        int reason;

        OK(f, domus_domain_start, d, 0);
        WAIT_FOR(f, domus_domain_state(d, NULL) == VIR_DOMAIN_PAUSED);
        domus_domain_state(d, &reason);
        g_assert_cmpint(reason, ==, VIR_DOMAIN_PAUSED_IOERROR);
        assert_events(f, "io-error:virtio-disk0 ");
        g_assert_cmpint(GPOINTER_TO_INT(g_hash_table_lookup(d->disk_errors, "virtio-disk0")), ==, VIR_DOMAIN_DISK_ERROR_NO_SPACE);
        OK(f, domus_domain_resume, d);
        g_assert_cmpuint(g_hash_table_size(d->disk_errors), ==, 0);
}

/* A format is looked at once, and never again after a guest had the image. */
static void test_format(Fixture *f, gconstpointer unused)
{
        g_autofree char *hd = g_strdup_printf("<disk><source file='%s'/><target dev='vda'/></disk>", f->image);
        g_autofree char *late = g_strdup_printf("<disk><source file='%s/late'/><target dev='vda'/></disk>", f->dir);
        g_autofree char *path = NULL;
        DomusDomain *d = define(f, "a", "x", hd);

        g_assert_cmpstr(domus_domain_def_disk(d->config, "vda")->disk.format, ==, "raw");
        g_assert_cmpuint(asked.probes, ==, 1);
        OK(f, domus_domain_start, d, 0);
        g_assert_cmpuint(asked.probes, ==, 1);
        OK(f, domus_domain_destroy, d, 0);
        d = define(f, "b", "x", late);
        g_assert_cmpuint(asked.probes, ==, 1);
        path = make_file(f, "late");
        OK(f, domus_domain_start, d, 0);
        g_assert_cmpuint(asked.probes, ==, 2);
        g_assert_cmpstr(domus_domain_def_disk(d->config, "vda")->disk.format, ==, "raw");
}

static void test_volume(Fixture *f, gconstpointer unused)
{
        DomusDomain *d = define(f, "a", "x", "<disk type='volume'><source pool='p' volume='v'/><target dev='vda'/></disk>");

        OK(f, domus_domain_start, d, 0);
        g_assert_cmpstr(domus_device_disk_path(d, domus_domain_def_disk(d->live, "vda")), ==, f->image);
        domus_manager_free(f->m);
        open_manager(f);
        d = domus_manager_lookup_name(f->m, "a", NULL);
        WAIT_FOR(f, !d->jobs.current);
        g_assert_cmpstr(domus_device_disk_path(d, domus_domain_def_disk(d->live, "vda")), ==, f->image);
}

#define TEST(name, fn) g_test_add("/domain-device/" name, Fixture, NULL, setup, fn, teardown)

int main(int argc, char **argv)
{
        if (!fixture_program(argc, argv, &fake_vm_path))
                return 1;
        TEST("start", test_start);
        TEST("failed-start", test_failed_start);
        TEST("locks", test_locks);
        TEST("attach", test_attach);
        TEST("refused-attach", test_refused_attach);
        TEST("failed-attach", test_failed_attach);
        TEST("kept", test_kept);
        TEST("updates", test_updates);
        TEST("bandwidth", test_bandwidth);
        TEST("media", test_media);
        TEST("io-error", test_io_error);
        TEST("format", test_format);
        TEST("volume", test_volume);
        return g_test_run();
}
