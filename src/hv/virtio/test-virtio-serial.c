/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of virtio-serial, driven as a guest would, with the host's side in the test. */
#include "hv/virtio/test-guest.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/virtio/devices.h"

#define SLOT 5
#define F_MULTIPORT 2ull
#define BUFFER 256u

enum { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };

struct serial_test {
        struct guest g;
        struct plug *bus;
        struct guest_queue control_in, control_out, in[3], out[3]; /* seen from the guest; ports 0 to 2 */
        uint64_t control_buffer;
        uint64_t in_buffer[3];
};

static struct serial_test *current;

static struct plug *find_plug(void *opaque, const char *id)
{
        return strcmp(id, "serial0") == 0 ? current->bus : NULL;
}

static void begin(struct serial_test *t)
{
        struct props props = { 0 };
        char *error = NULL;

        memset(t, 0, sizeof(*t));
        current = t;
        guest_init(&t->g);
        t->g.env.find = find_plug;
        CHECK(props_add_number(&props, "ports", 3) == 0);
        CHECK_EQ(virtio_serial_driver.new(&t->g.env, "serial0", SLOT, &props, &t->bus, &error), 0);
        CHECK(!props_left(&props));
        props_finish(&props);
        guest_probe(&t->g, SLOT, true);
        CHECK_EQ(guest_mmio_read(&t->g, t->g.config + 4, 4), 3);
}

static void end(struct serial_test *t)
{
        t->bus->ops->free(t->bus);
        guest_finish(&t->g);
}

static void run(struct serial_test *t)
{
        for (unsigned i = 0; i < 16 && guest_run(&t->g, 0); i++) {
        }
}

struct port_props {
        const char *name;
        int nr; /* -1: not given */
        bool console, listen;
        int fd, hold;
};

static int try_port(struct serial_test *t, const struct port_props *p, struct plug **ret)
{
        struct props props = { 0 };
        char *error = NULL;
        int r;

        CHECK(props_add_string(&props, "bus", "serial0") == 0);
        if (p->name)
                CHECK(props_add_string(&props, "name", p->name) == 0);
        if (p->nr >= 0)
                CHECK(props_add_number(&props, "nr", (unsigned)p->nr) == 0);
        CHECK(props_add_bool(&props, "console", p->console) == 0);
        CHECK(props_add_bool(&props, "listen", p->listen) == 0);
        CHECK(props_add_fds(&props, "fd", &p->fd, 1) == 0);
        if (p->hold > 0)
                CHECK(props_add_fds(&props, "hold", &p->hold, 1) == 0);
        r = virtio_serialport_driver.new(&t->g.env, "port", -1, &props, ret, &error);
        CHECK((r < 0) == (error != NULL));
        free(error);
        if (r == 0)
                CHECK(!props_left(&props));
        props_finish(&props);
        return r;
}

static struct plug *add_port(struct serial_test *t, const struct port_props *p)
{
        struct plug *plug;

        CHECK_EQ(try_port(t, p, &plug), 0);
        CHECK(plug->parent == t->bus);
        return plug;
}

static void add_control_buffers(struct serial_test *t, unsigned n)
{
        while (n--) {
                t->control_buffer = guest_alloc(&t->g, 64);
                guest_add(&t->g, &t->control_in, &(struct guest_piece){ t->control_buffer, 64, true }, 1);
        }
        guest_kick(&t->g, &t->control_in);
}

static void start(struct serial_test *t)
{
        guest_negotiate(&t->g, VIRTIO_F_VERSION_1 | F_MULTIPORT);
        guest_queue_init(&t->g, &t->control_in, 2);
        guest_queue_init(&t->g, &t->control_out, 3);
        for (unsigned i = 0; i < 3; i++) {
                guest_queue_init(&t->g, &t->in[i], i == 0 ? 0 : 2 * i + 2);
                guest_queue_init(&t->g, &t->out[i], i == 0 ? 1 : 2 * i + 3);
        }
        guest_driver_ok(&t->g);
        add_control_buffers(t, 8);
}

static void tell(struct serial_test *t, unsigned nr, unsigned event, unsigned value)
{
        uint64_t gpa = guest_alloc(&t->g, 8);
        uint8_t *p = guest_ptr(&t->g, gpa);
        unsigned head;
        uint32_t len;

        le32_store(p, nr);
        le16_store(p + 4, (uint16_t)event);
        le16_store(p + 6, (uint16_t)value);
        guest_add(&t->g, &t->control_out, &(struct guest_piece){ gpa, 8, false }, 1);
        guest_kick(&t->g, &t->control_out);
        CHECK(guest_used(&t->g, &t->control_out, &head, &len));
}

/* The next message for the guest is this one. */
static uint8_t *hears(struct serial_test *t, unsigned nr, unsigned event, unsigned value)
{
        unsigned head;
        uint32_t len;
        uint8_t *p;

        CHECK(guest_used(&t->g, &t->control_in, &head, &len));
        p = guest_ptr(&t->g, le64_load(guest_ptr(&t->g, t->control_in.desc + head * 16)));
        CHECK_EQ(le32_load(p), nr);
        CHECK_EQ(le16_load(p + 4), event);
        CHECK_EQ(le16_load(p + 6), value);
        add_control_buffers(t, 1);
        p[len] = 0;
        return p + 8;
}

static void hears_nothing(struct serial_test *t)
{
        unsigned head;
        uint32_t len;

        CHECK(!guest_used(&t->g, &t->control_in, &head, &len));
}

static void add_buffer(struct serial_test *t, unsigned nr)
{
        t->in_buffer[nr] = guest_alloc(&t->g, BUFFER);
        guest_add(&t->g, &t->in[nr], &(struct guest_piece){ t->in_buffer[nr], BUFFER, true }, 1);
        guest_kick(&t->g, &t->in[nr]);
}

/* The guest got this text. */
static void reads(struct serial_test *t, unsigned nr, const char *text)
{
        unsigned head;
        uint32_t len;

        guest_wait_used(&t->g, &t->in[nr], &head, &len);
        CHECK_EQ(len, strlen(text));
        CHECK(memcmp(guest_ptr(&t->g, le64_load(guest_ptr(&t->g, t->in[nr].desc + head * 16))), text, len) == 0);
}

static void reads_nothing(struct serial_test *t, unsigned nr)
{
        unsigned head;
        uint32_t len;

        run(t);
        CHECK(!guest_used(&t->g, &t->in[nr], &head, &len));
}

static void writes(struct serial_test *t, unsigned nr, uint8_t fill, uint32_t len)
{
        uint64_t gpa = guest_alloc(&t->g, len);

        memset(guest_ptr(&t->g, gpa), fill, len);
        guest_add(&t->g, &t->out[nr], &(struct guest_piece){ gpa, len, false }, 1);
        guest_kick(&t->g, &t->out[nr]);
}

static unsigned written(struct serial_test *t, unsigned nr)
{
        unsigned n = 0, head;
        uint32_t len;

        while (guest_used(&t->g, &t->out[nr], &head, &len))
                n++;
        return n;
}

/* A pty's bytes arrive a little later. */
static size_t read_all(struct serial_test *t, int fd, uint8_t *buf, size_t size)
{
        size_t n = 0;
        ssize_t r;

        for (unsigned idle = 0; idle < 3;) {
                guest_run(&t->g, idle ? 100 : 0);
                r = read(fd, buf + n, size - n);
                if (r > 0)
                        n += (size_t)r;
                idle = r > 0 ? 0 : idle + 1;
        }
        return n;
}

/* Both ends of a connection; the first is the test's. */
static void make_pair(int fds[2])
{
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        CHECK(fd_set_nonblock(fds[0], true) == 0);
}

/* --- Tests --------------------------------------------------------------------------------------------------------------------------- */

static void test_agent_channel(void)
{
        uint8_t buf[1024];
        struct serial_test t;
        struct plug *port;
        int fds[2];

        begin(&t);
        make_pair(fds);
        port = add_port(&t, &(struct port_props){ .name = "org.qemu.guest_agent.0", .nr = 1, .fd = fds[1] });
        start(&t);
        hears_nothing(&t);
        tell(&t, UINT32_MAX, DEVICE_READY, 1);
        hears(&t, 1, DEVICE_ADD, 1);
        tell(&t, 1, PORT_READY, 1);
        CHECK(strcmp((char *)hears(&t, 1, PORT_NAME, 1), "org.qemu.guest_agent.0") == 0);
        hears(&t, 1, PORT_OPEN, 1);
        hears_nothing(&t);
        /* Nobody in the guest has it open yet. */
        CHECK_EQ(write(fds[0], "ping", 4), 4);
        add_buffer(&t, 1);
        reads_nothing(&t, 1);
        tell(&t, 1, PORT_OPEN, 1);
        CHECK_EQ(t.g.event, PLUG_EVENT_PORT);
        CHECK_EQ(t.g.event_value, 1);
        reads(&t, 1, "ping");
        /* No buffer: it waits in the socket. */
        CHECK_EQ(write(fds[0], "more", 4), 4);
        reads_nothing(&t, 1);
        add_buffer(&t, 1);
        reads(&t, 1, "more");
        writes(&t, 1, 'x', 100);
        CHECK_EQ(written(&t, 1), 1);
        CHECK_EQ(read(fds[0], buf, sizeof(buf)), 100);
        tell(&t, 1, PORT_OPEN, 0);
        CHECK_EQ(t.g.n_events, 2);
        CHECK_EQ(t.g.event_value, 0);
        /* The host goes away: the guest hears so, and writes to nobody. */
        fd_close(fds[0]);
        run(&t);
        hears(&t, 1, PORT_OPEN, 0);
        writes(&t, 1, 'x', 100);
        CHECK_EQ(written(&t, 1), 1);
        port->ops->free(port);
        hears(&t, 1, DEVICE_REMOVE, 1);
        hears_nothing(&t);
        end(&t);
}

/* A host that does not read: the guest's queue stands still, and everything arrives in the end. */
static void test_slow_host(void)
{
        static uint8_t in[1 << 20];
        unsigned sent = 0, done = 0;
        struct serial_test t;
        struct plug *port;
        int fds[2];

        begin(&t);
        make_pair(fds);
        port = add_port(&t, &(struct port_props){ .nr = -1, .fd = fds[1] });
        start(&t);
        while (sent < 50)
                writes(&t, 1, (uint8_t)sent++, 8192);
        run(&t);
        done = written(&t, 1);
        CHECK(done > 0 && done < sent);
        CHECK_EQ(read_all(&t, fds[0], in, sizeof(in)), sent * 8192);
        for (unsigned i = 0; i < sent; i++)
                CHECK(in[i * 8192] == i && in[i * 8192 + 8191] == i);
        CHECK_EQ(done + written(&t, 1), sent);
        /* Again, but now the host gives up. */
        for (sent = 0; sent < 50; sent++)
                writes(&t, 1, 1, 8192);
        fd_close(fds[0]);
        run(&t);
        CHECK_EQ(written(&t, 1), 50);
        /* Gone in the middle of a chain. */
        port->ops->free(port);
        end(&t);
}

static int listen_on(struct sockaddr_un *addr)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t size = sizeof(*addr);

        /* An abstract name of the kernel's choice. */
        *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
        CHECK(fd >= 0 && bind(fd, (struct sockaddr *)addr, sizeof(sa_family_t)) == 0 && listen(fd, 4) == 0);
        CHECK(getsockname(fd, (struct sockaddr *)addr, &size) == 0);
        return fd;
}

static int connect_to(const struct sockaddr_un *addr)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(sa_family_t) + 6) == 0);
        return fd;
}

static void test_listen(void)
{
        struct sockaddr_un addr;
        struct serial_test t;
        struct plug *port;
        char buf[64];
        int a, b;

        begin(&t);
        port = add_port(&t, &(struct port_props){ .name = "x", .nr = 2, .listen = true, .fd = listen_on(&addr) });
        start(&t);
        tell(&t, UINT32_MAX, DEVICE_READY, 1);
        hears(&t, 2, DEVICE_ADD, 1);
        tell(&t, 2, PORT_READY, 1);
        hears(&t, 2, PORT_NAME, 1);
        tell(&t, 2, PORT_OPEN, 1);
        hears_nothing(&t);
        writes(&t, 2, 'n', 10);
        CHECK_EQ(written(&t, 2), 1);
        a = connect_to(&addr);
        run(&t);
        hears(&t, 2, PORT_OPEN, 1);
        writes(&t, 2, 'a', 10);
        CHECK_EQ(read(a, buf, sizeof(buf)), 10);
        CHECK_EQ(buf[0], 'a');
        /* The next one waits. */
        b = connect_to(&addr);
        CHECK_EQ(write(b, "from b", 6), 6);
        add_buffer(&t, 2);
        reads_nothing(&t, 2);
        /* What the first one still sends is read although it is gone. */
        CHECK_EQ(write(a, "from a", 6), 6);
        fd_close(a);
        reads(&t, 2, "from a");
        add_buffer(&t, 2);
        reads(&t, 2, "from b");
        hears(&t, 2, PORT_OPEN, 0);
        hears(&t, 2, PORT_OPEN, 1);
        fd_close(b);
        port->ops->free(port);
        end(&t);
}

/* What a closed connection has sent waits for the guest's buffers. */
static void test_linger(void)
{
        struct serial_test t;
        struct plug *port;
        int fds[2];

        begin(&t);
        make_pair(fds);
        port = add_port(&t, &(struct port_props){ .nr = 1, .fd = fds[1] });
        start(&t);
        tell(&t, UINT32_MAX, DEVICE_READY, 1);
        tell(&t, 1, PORT_OPEN, 1);
        CHECK_EQ(write(fds[0], "last words", 10), 10);
        run(&t);
        fd_close(fds[0]);
        run(&t);
        CHECK(!guest_run(&t.g, 0));
        add_buffer(&t, 1);
        reads(&t, 1, "last words");
        hears(&t, 1, DEVICE_ADD, 1);
        add_buffer(&t, 1);
        run(&t);
        hears(&t, 1, PORT_OPEN, 0);
        port->ops->free(port);
        end(&t);
}

/* A console never makes the guest wait; whoever reads late sees the end. */
static void test_console(void)
{
        static uint8_t in[1 << 18];
        struct serial_test t;
        struct plug *port;
        int master, slave;
        size_t n;

        begin(&t);
        CHECK(openpty(&master, &slave, NULL, &(struct termios){ .c_cflag = CREAD | CS8 }, NULL) == 0);
        port = add_port(&t, &(struct port_props){ .nr = 0, .console = true, .fd = master, .hold = dup(slave) });
        CHECK(fd_set_nonblock(slave, true) == 0);
        start(&t);
        tell(&t, UINT32_MAX, DEVICE_READY, 1);
        hears(&t, 0, DEVICE_ADD, 1);
        tell(&t, 0, PORT_READY, 1);
        hears(&t, 0, CONSOLE_PORT, 1);
        hears(&t, 0, PORT_OPEN, 1);
        tell(&t, 0, PORT_OPEN, 1);
        for (unsigned i = 0; i < 40; i++) {
                writes(&t, 0, (uint8_t)('A' + i), 4096);
                CHECK_EQ(written(&t, 0), 1);
        }
        n = read_all(&t, slave, in, sizeof(in));
        CHECK(n >= 60000 && n < 40 * 4096);
        CHECK(in[n - 1] == 'A' + 39 && in[n - 4096] == 'A' + 39 && in[n - 4097] == 'A' + 38);
        add_buffer(&t, 0);
        CHECK_EQ(write(slave, "key", 3), 3);
        reads(&t, 0, "key");
        port->ops->free(port);
        fd_close(slave);
        end(&t);
}

/* A pty whose other side is opened and closed, and is nobody's in between. */
static void test_pty_hang_up(void)
{
        struct serial_test t;
        struct plug *port;
        int master, slave;
        uint8_t buf[64];
        char path[64];

        begin(&t);
        CHECK(openpty(&master, &slave, path, &(struct termios){ .c_cflag = CREAD | CS8 }, NULL) == 0);
        fd_close(slave);
        port = add_port(&t, &(struct port_props){ .nr = 0, .console = true, .fd = master });
        start(&t);
        run(&t);
        CHECK(!guest_run(&t.g, 0)); /* does not spin */
        slave = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        CHECK(slave >= 0);
        CHECK(guest_run(&t.g, 2000));
        run(&t);
        writes(&t, 0, 'z', 5);
        CHECK_EQ(read_all(&t, slave, buf, sizeof(buf)), 5);
        fd_close(slave);
        port->ops->free(port);
        end(&t);
}

static void test_hotplug_and_reset(void)
{
        struct serial_test t;
        struct plug *a, *b;
        int x[2], y[2];

        begin(&t);
        start(&t);
        tell(&t, UINT32_MAX, DEVICE_READY, 1);
        hears_nothing(&t);
        make_pair(x);
        a = add_port(&t, &(struct port_props){ .nr = 1, .fd = x[1] });
        hears(&t, 1, DEVICE_ADD, 1);
        make_pair(y);
        CHECK_EQ(try_port(&t, &(struct port_props){ .nr = 1, .fd = y[1] }, &b), -EBUSY);
        a->ops->free(a);
        fd_close(y[0]);
        make_pair(y);
        b = add_port(&t, &(struct port_props){ .nr = 1, .fd = y[1] });
        hears(&t, 1, DEVICE_REMOVE, 1);
        hears(&t, 1, DEVICE_ADD, 1);
        tell(&t, 1, PORT_OPEN, 1);
        writes(&t, 1, 1, 10);
        t.bus->ops->reset(t.bus);
        CHECK_EQ(t.g.event_value, 0);
        guest_probe(&t.g, SLOT, true);
        start(&t);
        tell(&t, UINT32_MAX, DEVICE_READY, 1);
        hears(&t, 1, DEVICE_ADD, 1);
        /* A port outlives its controller, if it has to. */
        t.bus->ops->free(t.bus);
        b->ops->free(b);
        guest_finish(&t.g);
        fd_close(x[0]);
        fd_close(y[0]);
}

static void test_bad_properties(void)
{
        struct serial_test t;
        struct plug *port;
        int fds[2];

        begin(&t);
        make_pair(fds);
        CHECK_EQ(try_port(&t, &(struct port_props){ .nr = 3, .fd = dup(fds[1]) }, &port), -ERANGE);
        CHECK_EQ(try_port(&t, &(struct port_props){ .nr = 1, .fd = dup(fds[1]), .listen = true }, &port), -EINVAL);
        CHECK(try_port(&t, &(struct port_props){ .nr = 1, .fd = open("/dev/null", O_RDWR | O_CLOEXEC), .listen = true }, &port) < 0);
        fd_close(fds[0]);
        fd_close(fds[1]);
        end(&t);
}

static void test_broken_guest(void)
{
        struct serial_test t;
        uint64_t gpa;

        begin(&t);
        start(&t);
        tell(&t, 77, PORT_OPEN, 1);
        tell(&t, 1, PORT_READY, 1);
        tell(&t, 1, 999, 1);
        writes(&t, 1, 1, 10);
        CHECK_EQ(written(&t, 1), 1);
        CHECK_EQ(guest_status(&t.g), 15);
        gpa = guest_alloc(&t.g, 8);
        guest_add(&t.g, &t.control_out, &(struct guest_piece){ gpa, 7, false }, 1);
        guest_kick(&t.g, &t.control_out);
        CHECK_EQ(guest_status(&t.g), 15 | 0x40);
        end(&t);
}

int main(void)
{
        test_agent_channel();
        test_slow_host();
        test_listen();
        test_linger();
        test_console();
        test_pty_hang_up();
        test_hotplug_and_reset();
        test_bad_properties();
        test_broken_guest();
        return 0;
}
