/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network card, driven as a guest would, with a peer of the test's own behind it: the other end of passt's socket, or a tap in a network namespace of
 * the test's (where it may make one). */
#include "hv/virtio/test-guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/virtio/devices.h"
#include "hv/virtio/virtio-net.h"

#define SLOT 3
#define MAC "52:54:00:12:34:56"
#define BIT(n) (1ull << (n))
#define RX 0
#define TX 1
#define HEADER NETDEV_HEADER_SIZE

struct net {
        struct guest g;
        struct plug *plug;
        int peer;
        struct guest_queue rx, tx, ctrl;
};

static const uint8_t own_mac[] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

static int try_new(struct net *t, struct props *props, char **error)
{
        int r = virtio_net_driver.new(&t->g.env, "net0", SLOT, props, &t->plug, error);

        if (r == 0 && props_left(props)) {
                t->plug->ops->free(t->plug);
                r = -EINVAL;
        }
        props_finish(props);
        return r;
}

static void plug_in(struct net *t, const char *prop, const int *fds, unsigned n, bool link)
{
        struct props props = { 0 };
        char *error = NULL;

        CHECK(props_add_fds(&props, prop, fds, n) == 0);
        CHECK(props_add_string(&props, "mac", MAC) == 0);
        CHECK(props_add_number(&props, "mtu", 1400) == 0);
        CHECK(props_add_bool(&props, "link", link) == 0);
        CHECK_EQ(try_new(t, &props, &error), 0);
}

static void begin(struct net *t)
{
        int fds[2];

        memset(t, 0, sizeof(*t));
        guest_init(&t->g);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        t->peer = fds[0];
        CHECK(fd_set_nonblock(t->peer, true) == 0);
        plug_in(t, "passt", &fds[1], 1, true);
        guest_probe(&t->g, SLOT, true);
}

static void start(struct net *t, uint64_t features)
{
        guest_negotiate(&t->g, VIRTIO_F_VERSION_1 | features);
        guest_queue_init(&t->g, &t->rx, RX);
        guest_queue_init(&t->g, &t->tx, TX);
        if (features & BIT(VNET_F_CTRL_VQ))
                guest_queue_init(&t->g, &t->ctrl, 2);
        guest_driver_ok(&t->g);
}

static void end(struct net *t)
{
        t->plug->ops->free(t->plug);
        fd_close(t->peer);
        guest_finish(&t->g);
}

static void run(struct net *t)
{
        for (unsigned i = 0; i < 8 && guest_run(&t->g, 0); i++) {
        }
}

static void add_stat(void *opaque, const char *name, uint64_t value)
{
        struct prop_entry *e = opaque;

        if (strcmp(name, e->name) == 0)
                e->value = value;
}

static uint64_t stat(struct net *t, const char *name)
{
        struct prop_entry e = { .name = (char *)name, .value = UINT64_MAX };

        t->plug->ops->stats(t->plug, add_stat, &e);
        return e.value;
}

/* A receive buffer. */
static uint64_t add_rx(struct net *t, uint32_t len)
{
        uint64_t gpa = guest_alloc(&t->g, len);

        memset(guest_ptr(&t->g, gpa), 0xee, len);
        guest_add(&t->g, &t->rx, &(struct guest_piece){ gpa, len, true }, 1);
        return gpa;
}

static void peer_sends(struct net *t, const uint8_t *to, uint8_t fill, uint32_t len)
{
        uint8_t buf[4096];

        be32_store(buf, len);
        memset(buf + 4, fill, len);
        memcpy(buf + 4, to, VNET_MAC_SIZE);
        CHECK_EQ(write(t->peer, buf, 4 + len), 4 + len);
}

static void send_packet(struct net *t, uint8_t fill, uint32_t len)
{
        uint64_t gpa = guest_alloc(&t->g, HEADER + len);

        memset(guest_ptr(&t->g, gpa + HEADER), fill, len);
        guest_add(&t->g, &t->tx, (struct guest_piece[]){ { gpa, HEADER, false }, { gpa + HEADER, len, false } }, 2);
}

static unsigned used(struct net *t, struct guest_queue *q)
{
        unsigned n = 0, head;
        uint32_t len;

        while (guest_used(&t->g, q, &head, &len))
                n++;
        return n;
}

/* --- Tests --------------------------------------------------------------------------------------------------------------------------- */

static void test_config(void)
{
        struct net t;

        begin(&t);
        for (unsigned i = 0; i < 6; i++)
                CHECK_EQ(guest_mmio_read(&t.g, t.g.config + i, 1), own_mac[i]);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + VNET_CONFIG_STATUS, 2), VNET_S_LINK_UP);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + VNET_CONFIG_MAX_PAIRS, 2), 1);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + VNET_CONFIG_MTU, 2), 1400);
        CHECK(guest_features(&t.g) & BIT(VNET_F_MTU));
        CHECK(!(guest_features(&t.g) & (BIT(VNET_F_CSUM) | BIT(VNET_F_MQ))));
        end(&t);
}

static void test_receive(void)
{
        unsigned head;
        uint32_t len;
        struct net t;
        uint64_t gpa;

        begin(&t);
        start(&t, 0);
        /* No buffer yet: it waits. */
        peer_sends(&t, own_mac, 0x11, 100);
        run(&t);
        CHECK(!guest_used(&t.g, &t.rx, &head, &len));
        gpa = add_rx(&t, 2000);
        guest_kick(&t.g, &t.rx);
        run(&t);
        CHECK(guest_used(&t.g, &t.rx, &head, &len));
        CHECK_EQ(len, HEADER + 100);
        for (unsigned i = 0; i < HEADER; i++)
                CHECK_EQ(*guest_ptr(&t.g, gpa + i), i == 10);
        CHECK_EQ(*guest_ptr(&t.g, gpa + HEADER + 99), 0x11);
        CHECK_EQ(*guest_ptr(&t.g, gpa + HEADER + 100), 0xee);
        CHECK_EQ(t.g.msis[RX + 1], 1);
        CHECK(t.g.written >= HEADER + 100);
        /* Without mergeable buffers a long one is lost, and its buffer is used for the next. */
        gpa = add_rx(&t, 200);
        guest_kick(&t.g, &t.rx);
        peer_sends(&t, own_mac, 0x22, 300);
        peer_sends(&t, own_mac, 0x33, 80);
        run(&t);
        CHECK(guest_used(&t.g, &t.rx, &head, &len));
        CHECK_EQ(len, HEADER + 80);
        CHECK_EQ(*guest_ptr(&t.g, gpa + HEADER + 70), 0x33);
        CHECK_EQ(stat(&t, "rx-errors"), 1);
        CHECK_EQ(stat(&t, "rx-packets"), 2);
        CHECK_EQ(stat(&t, "rx-bytes"), 180);
        end(&t);
}

/* A packet over several small buffers, of which some come late. */
static void test_mergeable(void)
{
        uint64_t gpa[8];
        unsigned head;
        uint32_t len;
        struct net t;

        begin(&t);
        start(&t, BIT(VNET_F_MRG_RXBUF));
        for (unsigned i = 0; i < 3; i++)
                gpa[i] = add_rx(&t, 100);
        guest_kick(&t.g, &t.rx);
        peer_sends(&t, own_mac, 0x44, 650);
        run(&t);
        CHECK_EQ(used(&t, &t.rx), 0);
        for (unsigned i = 3; i < 5; i++)
                gpa[i] = add_rx(&t, 100);
        guest_kick(&t.g, &t.rx);
        run(&t);
        CHECK_EQ(used(&t, &t.rx), 0);
        for (unsigned i = 5; i < 8; i++)
                gpa[i] = add_rx(&t, 100);
        guest_kick(&t.g, &t.rx);
        run(&t);
        for (unsigned i = 0; i < 7; i++) {
                CHECK(guest_used(&t.g, &t.rx, &head, &len));
                CHECK_EQ(len, i < 6 ? 100 : 62);
                CHECK_EQ(*guest_ptr(&t.g, gpa[i] + len - 1), 0x44);
        }
        CHECK(!guest_used(&t.g, &t.rx, &head, &len));
        CHECK_EQ(le16_load(guest_ptr(&t.g, gpa[0] + 10)), 7);
        /* The eighth buffer is for the next packet. */
        peer_sends(&t, own_mac, 0x55, 60);
        run(&t);
        CHECK(guest_used(&t.g, &t.rx, &head, &len));
        CHECK_EQ(len, HEADER + 60);
        CHECK_EQ(le16_load(guest_ptr(&t.g, gpa[7] + 10)), 1);
        end(&t);
}

static void test_whole_ring_too_small(void)
{
        struct net t;

        begin(&t);
        start(&t, BIT(VNET_F_MRG_RXBUF));
        for (unsigned i = 0; i < t.rx.size; i++)
                add_rx(&t, 16);
        guest_kick(&t.g, &t.rx);
        peer_sends(&t, own_mac, 1, 1300);
        run(&t);
        CHECK_EQ(used(&t, &t.rx), 0);
        /* The guest cannot add any: the device stays alive and waits. A reset lets it go. */
        t.plug->ops->reset(t.plug);
        guest_probe(&t.g, SLOT, true);
        start(&t, 0);
        add_rx(&t, 2000);
        guest_kick(&t.g, &t.rx);
        peer_sends(&t, own_mac, 1, 60);
        run(&t);
        CHECK_EQ(used(&t, &t.rx), 1);
        end(&t);
}

static void test_send(void)
{
        uint8_t buf[8192];
        struct net t;

        begin(&t);
        start(&t, 0);
        send_packet(&t, 0x66, 60);
        guest_kick(&t.g, &t.tx);
        /* Small ones leave at once. */
        CHECK_EQ(read(t.peer, buf, sizeof(buf)), 64);
        CHECK(be32_load(buf) == 60 && buf[4] == 0x66 && buf[63] == 0x66);
        CHECK_EQ(used(&t, &t.tx), 1);
        /* Bulk leaves by the main loop, and what follows it stays behind it. */
        send_packet(&t, 0x77, 5000);
        send_packet(&t, 0x88, 60);
        guest_kick(&t.g, &t.tx);
        CHECK(read(t.peer, buf, sizeof(buf)) < 0);
        run(&t);
        CHECK_EQ(read(t.peer, buf, sizeof(buf)), 5004 + 64);
        CHECK(buf[4] == 0x77 && buf[5004 + 4] == 0x88);
        CHECK_EQ(used(&t, &t.tx), 2);
        CHECK_EQ(stat(&t, "tx-packets"), 3);
        CHECK_EQ(stat(&t, "tx-bytes"), 5120);
        end(&t);
}

/* A peer that does not read stops the queue; when it reads, everything arrives, in order. */
static void test_send_blocked(void)
{
        static uint8_t in[2 << 20];
        unsigned sent = 0, done = 0;
        size_t got = 0;
        struct net t;

        begin(&t);
        start(&t, 0);
        while (sent < 30) {
                send_packet(&t, (uint8_t)sent++, 9000);
                guest_kick(&t.g, &t.tx);
                run(&t);
        }
        done = used(&t, &t.tx);
        CHECK(done > 0 && done < sent);
        for (unsigned i = 0; i < 200 && got < sent * 9004; i++) {
                ssize_t r = read(t.peer, in + got, sizeof(in) - got);

                got += r > 0 ? (size_t)r : 0;
                run(&t);
        }
        CHECK_EQ(got, sent * 9004);
        for (unsigned i = 0; i < sent; i++)
                CHECK(be32_load(in + i * 9004) == 9000 && in[i * 9004 + 5000] == i);
        CHECK_EQ(done + used(&t, &t.tx), sent);
        end(&t);
}

static void set_link(struct net *t, bool up)
{
        struct props props = { 0 };
        char *error = NULL;

        CHECK(props_add_bool(&props, "link", up) == 0);
        CHECK_EQ(t->plug->ops->set(t->plug, &props, &error), 0);
        props_finish(&props);
}

static void test_link(void)
{
        uint8_t buf[256];
        struct net t;

        begin(&t);
        start(&t, BIT(VNET_F_STATUS));
        set_link(&t, false);
        CHECK_EQ(t.g.msis[0], 1);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + VNET_CONFIG_STATUS, 2), 0);
        send_packet(&t, 1, 60);
        guest_kick(&t.g, &t.tx);
        CHECK(read(t.peer, buf, sizeof(buf)) < 0);
        CHECK_EQ(used(&t, &t.tx), 1);
        CHECK_EQ(stat(&t, "tx-dropped"), 1);
        peer_sends(&t, own_mac, 1, 60);
        add_rx(&t, 2000);
        guest_kick(&t.g, &t.rx);
        run(&t);
        CHECK_EQ(used(&t, &t.rx), 0);
        set_link(&t, true);
        CHECK_EQ(t.g.msis[0], 2);
        run(&t);
        /* What came while it was down stays lost. */
        CHECK_EQ(used(&t, &t.rx), 0);
        CHECK_EQ(stat(&t, "rx-dropped"), 1);
        peer_sends(&t, own_mac, 2, 60);
        run(&t);
        CHECK_EQ(used(&t, &t.rx), 1);
        end(&t);
}

static void test_gone(void)
{
        struct net t;

        begin(&t);
        start(&t, BIT(VNET_F_STATUS));
        t.peer = fd_close(t.peer);
        run(&t);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + VNET_CONFIG_STATUS, 2), 0);
        send_packet(&t, 1, 60);
        guest_kick(&t.g, &t.tx);
        CHECK_EQ(used(&t, &t.tx), 1);
        end(&t);
}

/* Another back end, while a packet for the old one waits. */
static void test_replace(void)
{
        struct props props = { 0 };
        char *error = NULL;
        uint8_t buf[256];
        struct net t;
        int fds[2];

        begin(&t);
        start(&t, BIT(VNET_F_STATUS) | BIT(VNET_F_GUEST_ANNOUNCE) | BIT(VNET_F_CTRL_VQ));
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        CHECK(props_add_fds(&props, "passt", &fds[1], 1) == 0);
        CHECK_EQ(t.plug->ops->set(t.plug, &props, &error), 0);
        props_finish(&props);
        CHECK_EQ(read(t.peer, buf, sizeof(buf)), 0);
        fd_close(t.peer);
        t.peer = fds[0];
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + VNET_CONFIG_STATUS, 2), VNET_S_LINK_UP | VNET_S_ANNOUNCE);
        send_packet(&t, 1, 60);
        guest_kick(&t.g, &t.tx);
        CHECK_EQ(read(t.peer, buf, sizeof(buf)), 64);
        add_rx(&t, 2000);
        guest_kick(&t.g, &t.rx);
        peer_sends(&t, own_mac, 2, 60);
        run(&t);
        CHECK_EQ(used(&t, &t.rx), 1);
        end(&t);
}

static unsigned control(struct net *t, const void *command, uint32_t len)
{
        uint64_t gpa = guest_alloc(&t->g, len + 1);

        memcpy(guest_ptr(&t->g, gpa), command, len);
        *guest_ptr(&t->g, gpa + len) = 0xee;
        guest_add(&t->g, &t->ctrl, (struct guest_piece[]){ { gpa, len, false }, { gpa + len, 1, true } }, 2);
        guest_kick(&t->g, &t->ctrl);
        CHECK_EQ(used(t, &t->ctrl), 1);
        return *guest_ptr(&t->g, gpa + len);
}

static bool receives(struct net *t, const uint8_t *to)
{
        peer_sends(t, to, 0x12, 60);
        run(t);
        if (used(t, &t->rx) == 0)
                return false;
        add_rx(t, 2000);
        guest_kick(&t->g, &t->rx);
        return true;
}

static void test_filter(void)
{
        static const uint8_t other[] = { 2, 0, 0, 0, 0, 1 }, group[] = { 1, 0, 0x5e, 0, 0, 1 }, all[] = { 255, 255, 255, 255, 255, 255 };
        static const uint8_t tables[] = { 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1 };
        uint8_t many[2 + 4 + 65 * 6 + 4] = { 1, 0, 65 };
        struct net t;

        begin(&t);
        start(&t, BIT(VNET_F_CTRL_VQ) | BIT(VNET_F_CTRL_RX) | BIT(VNET_F_CTRL_MAC_ADDR));
        add_rx(&t, 2000);
        guest_kick(&t.g, &t.rx);
        CHECK(receives(&t, other));
        CHECK_EQ(control(&t, "\0\0\0", 3), 0); /* promiscuous no more */
        CHECK(receives(&t, own_mac) && receives(&t, all));
        CHECK(!receives(&t, other) && !receives(&t, group));
        CHECK_EQ(control(&t, tables, sizeof(tables)), 0);
        CHECK(receives(&t, other) && receives(&t, group));
        CHECK_EQ(control(&t, "\1\0\0\0\0\0\0\0\0\0", 10), 0);
        CHECK(!receives(&t, other) && !receives(&t, group));
        CHECK_EQ(control(&t, "\0\1\1", 3), 0);
        CHECK(!receives(&t, other) && receives(&t, group));
        CHECK_EQ(control(&t, many, sizeof(many)), 0); /* too many for the table: all */
        CHECK(receives(&t, other));
        CHECK_EQ(control(&t, "\1\1\2\0\0\0\0\2", 8), 0);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + 5, 1), 2);
        /* Refused: cut off, more than there are, unknown, not negotiated. */
        CHECK_EQ(control(&t, "\0\0", 2), 1);
        CHECK_EQ(control(&t, tables, 8), 1);
        CHECK_EQ(control(&t, "\1\0\xff\xff\xff\xff\0\0\0\0", 10), 1);
        CHECK_EQ(control(&t, "\1\0\x2b\0\0\0\0\0\0\0\0\0\0\0", 14), 1);
        CHECK_EQ(control(&t, "\7\7\1", 3), 1);
        CHECK_EQ(control(&t, "\4\0\1\0", 4), 1);
        end(&t);
}

static void test_broken_guest(void)
{
        struct net t;
        uint64_t gpa;

        begin(&t);
        start(&t, 0);
        gpa = guest_alloc(&t.g, 64);
        guest_add(&t.g, &t.tx, &(struct guest_piece){ gpa, HEADER, false }, 1);
        guest_kick(&t.g, &t.tx);
        CHECK_EQ(guest_status(&t.g), 15 | 0x40);
        start(&t, 0);
        add_rx(&t, HEADER - 1);
        guest_kick(&t.g, &t.rx);
        peer_sends(&t, own_mac, 1, 60);
        run(&t);
        CHECK_EQ(guest_status(&t.g), 15 | 0x40);
        start(&t, BIT(VNET_F_CTRL_VQ));
        guest_add(&t.g, &t.ctrl, &(struct guest_piece){ gpa, 8, false }, 1);
        guest_kick(&t.g, &t.ctrl);
        CHECK_EQ(guest_status(&t.g), 15 | 0x40);
        end(&t);
}

static void test_bad_properties(void)
{
        static const struct {
                const char *mac;
                unsigned mtu, queues;
                const char *part;
        } bad[] = {
                { "52:54:00:12:34", 0, 0, "mac" },
                { "53:54:00:12:34:56", 0, 0, "mac" },
                { "52:54:00:12:34:56:78", 0, 0, "mac" },
                { MAC, 10, 0, "mtu" },
                { MAC, 1500, 2, "2 queues" },
        };

        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
                struct props props = { 0 };
                char *error = NULL;
                struct net t = { 0 };
                int fds[2];

                guest_init(&t.g);
                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
                CHECK(props_add_fds(&props, "passt", &fds[1], 1) == 0);
                CHECK(props_add_string(&props, "mac", bad[i].mac) == 0);
                CHECK(props_add_number(&props, "mtu", bad[i].mtu) == 0);
                CHECK(props_add_number(&props, "queues", bad[i].queues) == 0);
                CHECK(try_new(&t, &props, &error) < 0);
                CHECK(error && strstr(error, bad[i].part));
                free(error);
                fd_close(fds[0]);
                guest_finish(&t.g);
        }
}

/* --- On a tap ------------------------------------------------------------------------------------------------------------------------ */

static int open_tap(const char *name)
{
        struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE };
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

        strcpy(ifr.ifr_name, name);
        if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) < 0)
                fd = fd_close(fd);
        return fd;
}

/* Raw packets from and to the host's side of the tap. */
static int open_peer(const char *name)
{
        int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htobe16(ETH_P_ALL));
        struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htobe16(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name) };
        struct ifreq ifr = { .ifr_flags = IFF_UP };

        strcpy(ifr.ifr_name, name);
        CHECK(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0);
        CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
        return fd;
}

/* The host itself sends nothing through a device that comes up. */
static void be_silent(void)
{
        int fd = open("/proc/sys/net/ipv6/conf/all/disable_ipv6", O_WRONLY | O_CLOEXEC);

        if (fd >= 0)
                CHECK(write(fd, "1", 1) == 1);
        fd_close(fd);
}

static void test_tap(void)
{
        static uint8_t frame[1000] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 2, 2, 2, 2, 2, 0x88, 0xb5, 0x99 };
        const uint64_t features = BIT(VNET_F_MRG_RXBUF) | BIT(VNET_F_CTRL_VQ) | BIT(VNET_F_MQ) | BIT(VNET_F_CSUM) | BIT(VNET_F_GUEST_CSUM) |
                                  BIT(VNET_F_GUEST_TSO4) | BIT(VNET_F_HOST_TSO4);
        unsigned head;
        uint32_t len;
        struct net t;
        uint64_t gpa;
        int fds[2];

        memset(&t, 0, sizeof(t));
        fds[0] = unshare(CLONE_NEWNET) < 0 ? -1 : open_tap("t0");
        if (fds[0] < 0) {
                printf("no network namespace or tap here: %m\n");
                return;
        }
        fds[1] = open_tap("t0");
        be_silent();
        guest_init(&t.g);
        t.peer = open_peer("t0");
        plug_in(&t, "fds", fds, 2, true);
        guest_probe(&t.g, SLOT, true);
        CHECK_EQ(guest_features(&t.g) & features, features);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + VNET_CONFIG_MAX_PAIRS, 2), 2);
        guest_negotiate(&t.g, VIRTIO_F_VERSION_1 | features);
        guest_queue_init(&t.g, &t.rx, RX);
        guest_queue_init(&t.g, &t.tx, TX);
        guest_queue_init(&t.g, &t.ctrl, 4);
        guest_driver_ok(&t.g);
        CHECK_EQ(control(&t, "\4\0\2\0", 4), 0);
        CHECK_EQ(control(&t, "\4\0\3\0", 4), 1);
        CHECK_EQ(control(&t, "\4\0\1\0", 4), 0);
        gpa = add_rx(&t, 500);
        add_rx(&t, 600);
        guest_kick(&t.g, &t.rx);
        run(&t);
        CHECK_EQ(send(t.peer, frame, sizeof(frame), 0), sizeof(frame));
        run(&t);
        CHECK(guest_used(&t.g, &t.rx, &head, &len));
        CHECK_EQ(len, 500);
        CHECK(guest_used(&t.g, &t.rx, &head, &len));
        CHECK_EQ(len, HEADER + sizeof(frame) - 500);
        CHECK_EQ(le16_load(guest_ptr(&t.g, gpa + 10)), 2);
        CHECK_EQ(*guest_ptr(&t.g, gpa + HEADER + 14), 0x99);
        send_packet(&t, 0x42, 200);
        guest_kick(&t.g, &t.tx);
        do
                CHECK((len = (uint32_t)recv(t.peer, frame, sizeof(frame), 0)) != (uint32_t)-1);
        while (len != 200);
        CHECK_EQ(frame[0], 0x42);
        end(&t);
}

int main(void)
{
        test_config();
        test_receive();
        test_mergeable();
        test_whole_ring_too_small();
        test_send();
        test_send_blocked();
        test_link();
        test_gone();
        test_replace();
        test_filter();
        test_broken_guest();
        test_bad_properties();
        test_tap();
        return 0;
}
