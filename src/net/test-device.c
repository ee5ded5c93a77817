/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Networks and guests' devices in a network namespace of the test's own. */
#include <errno.h>
#include <libvirt/libvirt.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "net/link.h"
#include "net/networks.h"
#include "net/tap.h"

#define HEADER 12 /* virtio-net header before each frame */

static const uint8_t mac_a[] = { 0x52, 0x54, 0, 0, 0, 1 }, mac_b[] = { 0x52, 0x54, 0, 0, 0, 2 };

struct fixture {
        char *dir;
        sd_event *loop;
        DomusNetworks *networks;
};

static void open_networks(struct fixture *f)
{
        g_autoptr(GError) error = NULL;
        const DomusNetworksConfig config = { f->dir, f->dir, f->dir, true };

        f->networks = domus_networks_new(f->loop, &config, &error);
        g_assert_no_error(error);
}

static void setup(struct fixture *f, gconstpointer data)
{
        /* a namespace per test; all earlier ones end with their last descriptor */
        g_assert_cmpint(unshare(CLONE_NEWNET), ==, 0);
        g_assert_cmpint(mount("sysfs", "/sys", "sysfs", 0, NULL), ==, 0);
        f->dir = g_dir_make_tmp("domus-net-XXXXXX", NULL);
        g_assert_cmpint(sd_event_new(&f->loop), >=, 0);
        open_networks(f);
}

static void teardown(struct fixture *f, gconstpointer data)
{
        g_autofree char *command = g_strdup_printf("rm -rf %s", f->dir);
        g_autoptr(GPtrArray) list = domus_networks_list(f->networks, 0);

        for (unsigned i = 0; i < list->len; i++)
                domus_network_destroy(list->pdata[i], NULL);
        g_clear_pointer(&list, g_ptr_array_unref);
        domus_networks_free(f->networks);
        sd_event_unref(f->loop);
        g_assert_cmpint(system(command), ==, 0);
        g_free(f->dir);
}

static void started(DomusNetwork *net, const GError *error, gpointer opaque)
{
        g_assert_no_error(error);
        *(bool *)opaque = true;
}

static DomusNetwork *start(struct fixture *f, const char *xml)
{
        g_autoptr(GError) error = NULL;
        DomusNetwork *net = domus_networks_define(f->networks, xml, 0, &error);
        bool done = false;

        g_assert_no_error(error);
        domus_network_start(net, started, &done);
        while (!done)
                g_assert_cmpint(sd_event_run(f->loop, UINT64_MAX), >=, 0);
        return net;
}

static DomusTap open_tap(struct fixture *f, DomusTapRequest request)
{
        g_autoptr(GError) error = NULL;
        DomusTap tap;

        request.domain_name = "vm";
        domus_networks_open_tap(f->networks, &request, &tap, &error);
        g_assert_no_error(error);
        return tap;
}

static void make_frame(uint8_t frame[HEADER + 60], const uint8_t *to, const uint8_t *from)
{
        memset(frame, 0, HEADER + 60);
        memcpy(frame + HEADER, to, 6);
        memcpy(frame + HEADER + 6, from, 6);
        be16_store(frame + HEADER + 12, 0x88b5); /* for local experiments */
}

/* Waits for a frame of our kind from that sender. */
static bool receives(const DomusTap *tap, const uint8_t *from, int timeout_ms)
{
        struct pollfd p[DOMUS_TAP_QUEUES_MAX];
        uint8_t frame[HEADER + 2000];

        for (unsigned i = 0; i < tap->n_fds; i++)
                p[i] = (struct pollfd){ .fd = tap->fds[i], .events = POLLIN };
        while (poll(p, tap->n_fds, timeout_ms) > 0) {
                for (unsigned i = 0; i < tap->n_fds; i++)
                        if (read(p[i].fd, frame, sizeof(frame)) >= HEADER + 60 && memcmp(frame + HEADER + 6, from, 6) == 0 &&
                                be16_load(frame + HEADER + 12) == 0x88b5)
                                return true;
        }
        return false;
}

static bool passes(const DomusTap *from, const uint8_t *from_mac, const DomusTap *to, const uint8_t *to_mac, int timeout_ms)
{
        uint8_t frame[HEADER + 60];

        make_frame(frame, to_mac, from_mac);
        g_assert_cmpint(write(from->fds[0], frame, sizeof(frame)), ==, sizeof(frame));
        return receives(to, from_mac, timeout_ms);
}

#define PLAIN "<network><name>n</name><bridge name='tbr0' stp='off'/><mtu size='1400'/></network>"

static void test_taps(struct fixture *f, gconstpointer data)
{
        DomusNetwork *net = start(f, PLAIN);
        DomusTap a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a }), b = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_b, .queues = 4 });
        g_autoptr(GPtrArray) ports = domus_network_ports(net);
        g_autofree char *xml = domus_network_xml(net, 0, NULL), *port = domus_networks_port_of(f->networks, a.device), *master = link_master(a.device);
        DomusTapStats stats;
        uint8_t mac[6];

        g_assert_cmpstr(a.device, ==, "vnet0");
        g_assert_cmpstr(b.device, ==, "vnet1");
        g_assert_cmpstr(a.bridge, ==, "tbr0");
        g_assert_cmpstr(master, ==, "tbr0");
        g_assert_cmpuint(a.mtu, ==, 1400);
        g_assert_cmpuint(a.n_fds, ==, 1);
        g_assert_cmpuint(b.n_fds, ==, 4);
        g_assert_true(link_mac(a.device, mac));
        g_assert_cmpuint(mac[0], ==, 0xfe);
        g_assert_cmpuint(ports->len, ==, 2);
        g_assert_nonnull(strstr(xml, "connections='2'"));
        g_assert_cmpstr(port, ==, a.port_uuid);
        g_assert_true(passes(&a, mac_a, &b, mac_b, 3000));
        g_assert_true(domus_networks_tap_stats(a.device, &stats, NULL));
        g_assert_cmpuint(stats.tx_packets, ==, 1);
        g_assert_cmpuint(stats.tx_bytes, ==, 60);

        g_assert_true(domus_networks_set_link(f->networks, "vnet0", false, NULL));
        g_assert_false(link_statistics("nonsense", &(LinkStatistics){ 0 }, NULL));
        g_assert_true(domus_networks_set_link(f->networks, "vnet0", true, NULL));
        g_assert_true(domus_networks_release_tap(f->networks, a.device, a.port_uuid, NULL));
        domus_tap_clear(&a);
        g_assert_false(link_exists("vnet0"));
        domus_tap_clear(&b);
        domus_networks_release_tap(f->networks, "vnet1", NULL, NULL);
        g_clear_pointer(&ports, g_ptr_array_unref);
        ports = domus_network_ports(net);
        g_assert_cmpuint(ports->len, ==, 0);
}

static void test_isolation(struct fixture *f, gconstpointer data)
{
        DomusTap a, b, c;

        start(f, PLAIN);
        a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a, .isolated = true });
        b = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_b, .isolated = true });
        c = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_b });
        g_assert_true(passes(&a, mac_a, &c, mac_b, 3000));
        g_assert_false(passes(&a, mac_a, &b, mac_b, 200));
        domus_tap_clear(&a);
        domus_tap_clear(&b);
        domus_tap_clear(&c);
}

static void test_move(struct fixture *f, gconstpointer data)
{
        DomusNetwork *n = start(f, PLAIN), *m = start(f, "<network><name>m</name><bridge name='tbr1' stp='off'/></network>");
        DomusTap a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a }), b = open_tap(f, (DomusTapRequest){ .network = "m", .mac = mac_b });
        g_autoptr(GPtrArray) in_n = NULL, in_m = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *master = NULL, *port = NULL;

        g_assert_false(passes(&a, mac_a, &b, mac_b, 200));
        g_assert_false(domus_networks_move_tap(f->networks, a.device, &(DomusTapRequest){ .network = "x", .mac = mac_a }, &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_NETWORK);
        g_assert_true(domus_networks_move_tap(f->networks, a.device, &(DomusTapRequest){ .network = "m", .mac = mac_a, .domain_name = "vm" }, NULL));
        master = link_master(a.device);
        g_assert_cmpstr(master, ==, "tbr1");
        in_n = domus_network_ports(n);
        in_m = domus_network_ports(m);
        g_assert_cmpuint(in_n->len, ==, 0);
        g_assert_cmpuint(in_m->len, ==, 2);
        port = domus_networks_port_of(f->networks, a.device);
        g_assert_cmpstr(port, !=, a.port_uuid);
        g_assert_true(passes(&a, mac_a, &b, mac_b, 3000));
        domus_tap_clear(&a);
        domus_tap_clear(&b);
}

static void expect_refusal(struct fixture *f, DomusTapRequest request, const char *message)
{
        g_autoptr(GError) error = NULL;
        DomusTap tap;

        request.mac = mac_a;
        g_assert_false(domus_networks_open_tap(f->networks, &request, &tap, &error));
        if (!strstr(error->message, message))
                g_error("'%s' is not '%s'", error->message, message);
        g_assert_null(tap.device);
}

static void test_refusals(struct fixture *f, gconstpointer data)
{
        DomusNetwork *net = start(f, PLAIN);
        g_autoptr(GPtrArray) ports = NULL;
        DomusTap a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a, .target = "mine" });

        expect_refusal(f, (DomusTapRequest){ .network = "x" }, "no network with matching name 'x'");
        expect_refusal(f, (DomusTapRequest){ .network = "n", .target = "mine" }, "cannot make tap device 'mine': File exists");
        expect_refusal(f, (DomusTapRequest){ .network = "n", .portgroup = "p" }, "portgroup 'p' does not exist in network 'n'");
        expect_refusal(f, (DomusTapRequest){ .network = "n", .queues = 17 }, "more than 16");
        expect_refusal(f, (DomusTapRequest){ .network = "n", .bandwidth = &(DomusBandwidth){ .inbound.floor = 5 } }, "has no inbound QoS set");
        expect_refusal(f, (DomusTapRequest){ .bridge = "lo" }, "'lo' is not a bridge");
        expect_refusal(f, (DomusTapRequest){ .bridge = "br7" }, "there is no bridge 'br7'");
        expect_refusal(f, (DomusTapRequest){ .source_device = "eth7" }, "there is no interface 'eth7'");
        ports = domus_network_ports(net);
        g_assert_cmpuint(ports->len, ==, 1);
        g_assert_true(domus_network_destroy(net, NULL));
        expect_refusal(f, (DomusTapRequest){ .network = "n" }, "network 'n' is not active");
        domus_tap_clear(&a);
}

/* Frames of 1,000 bytes per second that get through. */
static unsigned measure_once(const DomusTap *from, const uint8_t *from_mac, const DomusTap *to, const uint8_t *to_mac)
{
        int64_t begin = g_get_monotonic_time(), now = begin;
        uint8_t frame[HEADER + 1000] = { 0 };
        unsigned n = 0;

        make_frame(frame, to_mac, from_mac);
        for (; now < begin + 400000; now = g_get_monotonic_time()) {
                if (write(from->fds[0], frame, sizeof(frame)) < 0)
                        g_usleep(200);
                while (receives(to, from_mac, 0))
                        n++;
        }
        return (unsigned)(n * G_USEC_PER_SEC / (now - begin));
}

/* A busy host sends less than it may: the best of many tries counts. */
#define TRIES 100
static unsigned measure(const DomusTap *from, const uint8_t *from_mac, const DomusTap *to, const uint8_t *to_mac, unsigned enough)
{
        unsigned best = 0;

        for (unsigned i = 0; i < TRIES && best < enough; i++)
                best = MAX(best, measure_once(from, from_mac, to, to_mac));
        return best;
}

static void test_bandwidth(struct fixture *f, gconstpointer data)
{
        /* 2,000 KiB/s are 2,020 frames */
        static const DomusBandwidth in = { .inbound = { .average = 2000, .burst = 8 } }, out = { .outbound = { .average = 2000, .burst = 8 } };
        DomusTap a, b;
        unsigned n;

        start(f, PLAIN);
        a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a });
        b = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_b });
        g_assert_true(passes(&a, mac_a, &b, mac_b, 3000));
        g_assert_cmpuint(measure(&a, mac_a, &b, mac_b, 5000), >=, 5000);

        g_assert_true(domus_networks_set_bandwidth(f->networks, b.device, &in, NULL));
        n = measure(&a, mac_a, &b, mac_b, 1818);
        g_test_message("in: %u frames/s", n);
        g_assert_cmpuint(n, >=, 1818);
        g_assert_cmpuint(n, <=, 2222);
        g_assert_true(domus_networks_set_bandwidth(f->networks, b.device, NULL, NULL));

        g_assert_true(domus_networks_set_bandwidth(f->networks, a.device, &out, NULL));
        g_assert_true(link_exists("q-vnet0"));
        n = measure(&a, mac_a, &b, mac_b, 1818);
        g_test_message("out: %u frames/s", n);
        g_assert_cmpuint(n, >=, 1818);
        g_assert_cmpuint(n, <=, 2222);
        g_assert_true(domus_networks_set_bandwidth(f->networks, a.device, NULL, NULL));
        g_assert_false(link_exists("q-vnet0"));
        g_assert_cmpuint(measure(&a, mac_a, &b, mac_b, 5000), >=, 5000);
        domus_tap_clear(&a);
        domus_tap_clear(&b);
}

static void test_floor(struct fixture *f, gconstpointer data)
{
        static const DomusBandwidth half = { .inbound = { .average = 1000, .floor = 600 } };
        g_autoptr(GError) error = NULL;
        DomusTap a, b;

        start(f, "<network><name>n</name><bridge name='tbr0' stp='off'/><bandwidth><inbound average='1000'/></bandwidth></network>");
        a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a, .bandwidth = &half });
        expect_refusal(f, (DomusTapRequest){ .network = "n", .bandwidth = &half }, "would overcommit");
        domus_networks_release_tap(f->networks, a.device, NULL, NULL);
        domus_tap_clear(&a);
        b = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_b, .bandwidth = &half });
        domus_tap_clear(&b);
}

static void test_macvtap(struct fixture *f, gconstpointer data)
{
        static const DomusBandwidth limit = { .inbound = { .average = 1000 }, .outbound = { .average = 1000 } };
        g_autofree char *name = NULL;
        DomusTap a, b;
        int lower;

        g_assert_true(tap_open("lower", 1, &lower, &name, NULL)); /* any Ethernet device will do */
        g_assert_true(link_set_up("lower", true, NULL));
        start(f, "<network><name>n</name><forward mode='bridge'><interface dev='lower'/></forward></network>");
        a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a, .bandwidth = &limit });
        b = open_tap(f, (DomusTapRequest){ .source_device = "lower", .source_mode = "bridge", .mac = mac_b, .queues = 2 });
        g_assert_cmpstr(a.device, ==, "macvtap0");
        g_assert_null(a.bridge);
        g_assert_null(b.port_uuid);
        g_assert_true(passes(&a, mac_a, &b, mac_b, 3000));
        expect_refusal(f, (DomusTapRequest){ .network = "n", .isolated = true }, "isolated ports need a bridge");
        domus_tap_clear(&b);
        g_assert_true(domus_networks_release_tap(f->networks, "macvtap1", NULL, NULL));
        g_assert_false(link_exists("macvtap1"));
        domus_networks_release_tap(f->networks, a.device, a.port_uuid, NULL);
        domus_tap_clear(&a);
        g_assert_false(link_exists("macvtap0"));
        g_assert_false(link_exists("q-macvtap0"));
        fd_close(lower);
}

static void on_update(DomusNetwork *net, const GError *error, gpointer opaque)
{
        *(GError **)opaque = error ? g_error_copy(error) : NULL;
}

/* A device below a guest's macvtap stays the network's. */
static void test_device_in_use(struct fixture *f, gconstpointer data)
{
        g_autofree char *name = NULL, *other = NULL;
        g_autoptr(GError) error = NULL;
        DomusNetwork *net;
        int fds[2];
        DomusTap a;

        g_assert_true(tap_open("lower0", 1, &fds[0], &name, NULL));
        g_assert_true(tap_open("lower1", 1, &fds[1], &other, NULL));
        net = start(f, "<network><name>n</name><forward mode='bridge'><interface dev='lower0'/><interface dev='lower1'/></forward></network>");
        a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a, .domain_name = "vm" });
        domus_network_update(net, VIR_NETWORK_UPDATE_COMMAND_DELETE, VIR_NETWORK_SECTION_FORWARD_INTERFACE, -1, "<interface dev='lower0'/>",
                VIR_NETWORK_UPDATE_AFFECT_LIVE, on_update, &error);
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID);
        g_assert_cmpstr(error->message, ==, "interface 'lower0' of network 'n' is in use by domain 'vm'");
        g_clear_error(&error);
        domus_network_update(net, VIR_NETWORK_UPDATE_COMMAND_DELETE, VIR_NETWORK_SECTION_FORWARD_INTERFACE, -1, "<interface dev='lower1'/>",
                VIR_NETWORK_UPDATE_AFFECT_LIVE, on_update, &error);
        g_assert_no_error(error);
        domus_networks_release_tap(f->networks, a.device, a.port_uuid, NULL);
        domus_tap_clear(&a);
        fd_close(fds[0]);
        fd_close(fds[1]);
}

/* A tap that the daemon makes and connects to nothing. */
static void test_ethernet(struct fixture *f, gconstpointer data)
{
        static const DomusBandwidth limit = { .inbound = { .average = 1000 } };
        DomusTap a = open_tap(f, (DomusTapRequest){ .ethernet = true, .mac = mac_a, .mtu = 1400, .bandwidth = &limit, .target = "mine" }),
                 b = open_tap(f, (DomusTapRequest){ .ethernet = true, .mac = mac_b, .queues = 2 });

        g_assert_cmpstr(a.device, ==, "mine");
        g_assert_cmpstr(b.device, ==, "vnet0");
        g_assert_null(a.bridge);
        g_assert_null(a.port_uuid);
        g_assert_cmpuint(a.mtu, ==, 1400);
        g_assert_cmpuint(b.mtu, ==, 1500);
        g_assert_cmpuint(b.n_fds, ==, 2);
        expect_refusal(f, (DomusTapRequest){ .ethernet = true, .target = "mine" }, "cannot make tap device 'mine': File exists");
        expect_refusal(f, (DomusTapRequest){ .ethernet = true, .isolated = true }, "isolated ports need a bridge");
        g_assert_true(domus_networks_release_tap(f->networks, "mine", NULL, NULL));
        domus_tap_clear(&a);
        domus_tap_clear(&b);
        g_assert_false(link_exists("mine"));
}

/* One that somebody else has made stays as it was. */
static void test_unmanaged(struct fixture *f, gconstpointer data)
{
        static const DomusBandwidth limit = { .outbound = { .average = 1000 } };
        g_autofree char *name = NULL;
        DomusTap a, b;
        uint8_t before[6], after[6];
        int lower;

        g_assert_true(tap_open("theirs", 1, &lower, &name, NULL));
        g_assert_cmpint(ioctl(lower, TUNSETPERSIST, 1), ==, 0);
        expect_refusal(f, (DomusTapRequest){ .ethernet = true, .unmanaged = true, .target = "theirs" }, "cannot open tap device 'theirs': Device or resource busy");
        fd_close(lower);
        g_assert_true(link_mac("theirs", before));
        expect_refusal(f, (DomusTapRequest){ .ethernet = true, .unmanaged = true, .target = "theirs", .queues = 2 }, "with one queue only");
        expect_refusal(f, (DomusTapRequest){ .ethernet = true, .unmanaged = true, .target = "lo" }, "'lo' is not a tap device");
        expect_refusal(f, (DomusTapRequest){ .ethernet = true, .unmanaged = true, .target = "nothing" }, "there is no interface 'nothing'");
        a = open_tap(f, (DomusTapRequest){ .ethernet = true, .unmanaged = true, .target = "theirs", .mac = mac_a, .bandwidth = &limit });
        g_assert_true(link_exists("q-theirs"));
        domus_networks_release_unmanaged_tap(f->networks, "theirs");
        domus_tap_clear(&a);
        g_assert_false(link_exists("q-theirs"));
        g_assert_true(link_mac("theirs", after));
        g_assert_cmpmem(before, 6, after, 6);
        /* A macvtap on it, too. */
        g_assert_true(link_make_macvtap("above", "theirs", "bridge", mac_b, NULL));
        b = open_tap(f, (DomusTapRequest){ .ethernet = true, .unmanaged = true, .target = "above", .mac = mac_b });
        domus_networks_release_unmanaged_tap(f->networks, "above");
        domus_tap_clear(&b);
        g_assert_true(link_exists("above"));
        g_assert_true(link_delete("theirs", NULL));
}

static void test_restart(struct fixture *f, gconstpointer data)
{
        static const DomusBandwidth half = { .inbound = { .average = 1000, .floor = 600 } };
        DomusTap a, gone;
        g_autoptr(GPtrArray) ports = NULL;
        g_autofree char *port = NULL;
        DomusNetwork *net;

        start(f, "<network><name>n</name><bridge name='tbr0' stp='off'/><bandwidth><inbound average='1000'/></bandwidth></network>");
        a = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_a, .bandwidth = &half });
        gone = open_tap(f, (DomusTapRequest){ .network = "n", .mac = mac_b });
        domus_networks_free(f->networks);
        domus_tap_clear(&gone);
        open_networks(f);
        net = domus_networks_lookup_name(f->networks, "n", NULL);
        g_assert_true(domus_network_is_active(net));
        ports = domus_network_ports(net);
        g_assert_cmpuint(ports->len, ==, 1);
        port = domus_networks_port_of(f->networks, a.device);
        g_assert_cmpstr(port, ==, a.port_uuid);
        expect_refusal(f, (DomusTapRequest){ .network = "n", .bandwidth = &half }, "would overcommit");
        domus_tap_clear(&a);
}

static void test_overlap(struct fixture *f, gconstpointer data)
{
        static const uint8_t mac[] = { 0x52, 0x54, 0, 0, 0, 9 };
        DomusInet address, network;
        g_autofree char *found = NULL, *none = NULL;

        domus_inet_parse("10.20.30.1", 0, &address);
        domus_inet_parse("10.20.0.0", 0, &network);
        g_assert_true(link_make_bridge("host0", mac, false, 0, 0, NULL));
        g_assert_true(link_add_address("host0", &address, 24, NULL)); /* down: there is no route yet */
        found = link_find_overlap(&network, 16, NULL);
        g_assert_cmpstr(found, ==, "10.20.30.0/24 on host0");
        domus_inet_parse("10.20.31.0", 0, &network);
        none = link_find_overlap(&network, 24, NULL);
        g_assert_null(none);
}

#define ADD(name, fn) g_test_add("/net-device/" name, struct fixture, NULL, setup, fn, teardown)

int main(int argc, char **argv)
{
        sigset_t set;

        g_test_init(&argc, &argv, NULL);
        if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0) {
                g_print("1..0 # SKIP no network namespace of its own: %s\n", g_strerror(errno));
                return 0;
        }
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        ADD("taps", test_taps);
        ADD("isolation", test_isolation);
        ADD("move", test_move);
        ADD("refusals", test_refusals);
        ADD("bandwidth", test_bandwidth);
        ADD("floor", test_floor);
        ADD("macvtap", test_macvtap);
        ADD("device-in-use", test_device_in_use);
        ADD("ethernet", test_ethernet);
        ADD("unmanaged", test_unmanaged);
        ADD("restart", test_restart);
        ADD("overlap", test_overlap);
        return g_test_run();
}
