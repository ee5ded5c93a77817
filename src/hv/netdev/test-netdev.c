/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The back ends against a peer of the test's own: the other end of a socket pair for passt. A tap needs root; tests/guest has guests on one. */
#include "hv/netdev/netdev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/macros.h"
#include "hv/bus/check.h"

struct test {
        pthread_mutex_t lock;
        struct watch_loop *loop;
        struct netdev *nd;
        int peer;
        unsigned readable, writable, gone;
        const char *why;
};

static void on_readable(void *opaque, unsigned n)
{
        struct test *t = opaque;

        CHECK_EQ(n, 0);
        t->readable++;
}

static void on_writable(void *opaque, unsigned n)
{
        struct test *t = opaque;

        t->writable++;
}

static void on_gone(void *opaque, const char *why)
{
        struct test *t = opaque;

        t->gone++;
        t->why = why;
}

static struct netdev_env test_env(struct test *t)
{
        return (struct netdev_env){
                .watches = t->loop, .readable = on_readable, .writable = on_writable, .gone = on_gone, .opaque = t,
        };
}

static void begin(struct test *t)
{
        struct props props = { 0 };
        struct netdev_env env;
        char *error = NULL;
        int fds[2];

        *t = (struct test){ .lock = PTHREAD_MUTEX_INITIALIZER };
        CHECK(watch_loop_new(&t->lock, &t->loop) == 0);
        env = test_env(t);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        t->peer = fds[0];
        CHECK(fd_set_nonblock(t->peer, true) == 0);
        CHECK(props_add_fds(&props, "passt", &fds[1], 1) == 0);
        CHECK(netdev_named(&props));
        CHECK(netdev_new(&env, &props, &t->nd, &error) == 0);
        CHECK(!props_left(&props));
        CHECK(!netdev_features(t->nd)->vnet_hdr && netdev_features(t->nd)->queues == 1);
        props_finish(&props);
}

static void end(struct test *t)
{
        netdev_free(t->nd);
        fd_close(t->peer);
        watch_loop_free(t->loop);
}

/* Until the loop has nothing to do, at most a few turns. */
static void run(struct test *t)
{
        struct pollfd p = { .fd = watch_loop_fd(t->loop), .events = POLLIN };

        for (unsigned i = 0; i < 4 && poll(&p, 1, 0) == 1; i++)
                watch_loop_dispatch(t->loop);
}

static ssize_t receive(struct test *t, void *buf, size_t size)
{
        struct iovec iov[2] = { { buf, 1 }, { (uint8_t *)buf + 1, size - 1 } };

        return netdev_receive(t->nd, 0, iov, 2);
}

static void peer_sends(struct test *t, uint32_t len, uint8_t fill, size_t bytes)
{
        uint8_t buf[2048];

        be32_store(buf, len);
        memset(buf + 4, fill, sizeof(buf) - 4);
        CHECK_EQ(write(t->peer, buf, 4 + bytes), 4 + bytes);
}

static void test_receive(void)
{
        struct test t;
        uint8_t buf[256];

        begin(&t);
        peer_sends(&t, 100, 1, 100);
        run(&t);
        CHECK_EQ(t.readable, 0);
        peer_sends(&t, 60, 2, 60);
        peer_sends(&t, 50, 3, 20);
        netdev_want_readable(t.nd, 0, true);
        run(&t);
        CHECK(t.readable > 0);
        CHECK_EQ(receive(&t, buf, sizeof(buf)), 100);
        CHECK(buf[0] == 1 && buf[99] == 1);
        /* The second one is in memory, not in the socket: it wakes all the same. */
        t.readable = 0;
        run(&t);
        CHECK(t.readable > 0);
        CHECK_EQ(receive(&t, buf, 10), -EMSGSIZE);
        CHECK_EQ(receive(&t, buf, sizeof(buf)), -EAGAIN);
        t.readable = 0;
        run(&t);
        CHECK_EQ(t.readable, 0);
        /* The rest of the third, that came in two pieces. */
        CHECK_EQ(write(t.peer, "abcdefghijklmnopqrstuvwxyz1234", 30), 30);
        run(&t);
        CHECK(t.readable > 0);
        CHECK_EQ(receive(&t, buf, sizeof(buf)), 50);
        CHECK(buf[19] == 3 && buf[20] == 'a' && buf[49] == '4');
        CHECK_EQ(t.gone, 0);
        end(&t);
}

static size_t peer_reads(struct test *t, uint8_t *buf, size_t size)
{
        size_t n = 0;
        ssize_t r;

        while (n < size && (r = read(t->peer, buf + n, size - n)) > 0)
                n += (size_t)r;
        return n;
}

/* Frames into a socket that nobody reads, until there is no room; then every byte of them comes out, in order. */
static void test_send(void)
{
        static uint8_t frame[9000], in[1 << 20];
        struct iovec iov[2] = { { frame, 14 }, { frame + 14, sizeof(frame) - 14 } };
        unsigned sent = 0;
        size_t got = 0;
        struct test t;
        int r;

        begin(&t);
        while ((r = netdev_send(t.nd, 0, iov, 2)) == 0)
                memset(frame, (int)++sent, sizeof(frame));
        CHECK_EQ(r, -EAGAIN);
        run(&t);
        CHECK_EQ(t.writable, 0);
        for (unsigned i = 0; i < 100 && got < sent * (4 + sizeof(frame)); i++) {
                got += peer_reads(&t, in + got, sizeof(in) - got);
                run(&t);
        }
        CHECK_EQ(got, sent * (4 + sizeof(frame)));
        CHECK_EQ(t.writable, 1);
        for (unsigned i = 0; i < sent; i++) {
                const uint8_t *p = in + i * (4 + sizeof(frame));

                CHECK_EQ(be32_load(p), sizeof(frame));
                CHECK(p[4] == (uint8_t)i && p[4 + sizeof(frame) - 1] == (uint8_t)i);
        }
        CHECK_EQ(netdev_send(t.nd, 0, iov, 0), -EMSGSIZE);
        end(&t);
}

static void test_death(void)
{
        struct iovec iov = { (char[]){ "0123456789abcdef" }, 16 };
        uint8_t buf[256];
        struct test t;

        begin(&t);
        peer_sends(&t, 80, 1, 80);
        t.peer = fd_close(t.peer);
        netdev_want_readable(t.nd, 0, true);
        run(&t);
        CHECK_EQ(receive(&t, buf, sizeof(buf)), 80);
        CHECK_EQ(t.gone, 0);
        CHECK_EQ(receive(&t, buf, sizeof(buf)), -EAGAIN);
        run(&t);
        CHECK_EQ(t.gone, 1);
        CHECK_EQ(netdev_send(t.nd, 0, &iov, 1), -EIO);
        netdev_want_readable(t.nd, 0, false);
        run(&t);
        CHECK_EQ(t.gone, 1);
        end(&t);

        /* Nobody reads or writes. */
        begin(&t);
        t.peer = fd_close(t.peer);
        run(&t);
        CHECK_EQ(t.gone, 1);
        end(&t);
}

static void test_broken(uint32_t len)
{
        uint8_t buf[256];
        struct test t;

        begin(&t);
        netdev_want_readable(t.nd, 0, true);
        peer_sends(&t, len, 1, 80);
        run(&t);
        CHECK(t.readable > 0);
        CHECK_EQ(receive(&t, buf, sizeof(buf)), -EAGAIN);
        CHECK_EQ(receive(&t, buf, sizeof(buf)), -EAGAIN);
        run(&t);
        CHECK_EQ(t.gone, 1);
        CHECK(strstr(t.why, "protocol"));
        end(&t);
}

static void check_refused(const char *name, const int *fds, size_t n, const char *part)
{
        struct test t = { .lock = PTHREAD_MUTEX_INITIALIZER };
        struct props props = { 0 };
        struct netdev_env env;
        char *error = NULL;

        CHECK(watch_loop_new(&t.lock, &t.loop) == 0);
        env = test_env(&t);
        if (name)
                CHECK(props_add_fds(&props, name, fds, n) == 0);
        CHECK(netdev_new(&env, &props, &t.nd, &error) < 0);
        CHECK(error && strstr(error, part));
        free(error);
        props_finish(&props);
        watch_loop_free(t.loop);
}

static int null_fd(void)
{
        return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void test_bad_properties(void)
{
        int many[NETDEV_QUEUES_MAX + 1];

        check_refused(NULL, NULL, 0, "one back end");
        check_refused("fds", (int[]){ null_fd() }, 1, "no tap");
        check_refused("fds", NULL, 0, "1 to 16");
        for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
                many[i] = null_fd();
        check_refused("fds", many, ARRAY_SIZE(many), "1 to 16");
        check_refused("passt", (int[]){ null_fd() }, 1, "no stream socket");
        check_refused("passt", (int[]){ null_fd(), null_fd() }, 2, "one descriptor");
}

int main(void)
{
        test_receive();
        test_send();
        test_death();
        test_broken(0);
        test_broken(0xffffffff);
        test_bad_properties();
        return 0;
}
