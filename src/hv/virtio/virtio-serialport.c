/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A port of virtio-serial, and whom it leads to on the host: somebody connected, one after another that connects to a listening socket, or a pty.
 *
 * Properties: "bus" s (the controller's id), "nr" u (which port; not given: the first free one, for which 0 is left to consoles), "name" s, "console" b, "fd" (a connected
 * stream socket, or a pty's master), "hold" (the pty's slave: while it is held the master does not hang up), "listen" b ("fd" is a listening socket).
 *
 * Flow control: what the host sends stays with the host until the guest's program has the port open and buffers there. What the guest sends stays in its queue until the host
 * takes it; without anybody on the host it is thrown away. A console is different: a guest's kernel waits for its console, spinning, so its output is taken at once into a backlog. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/virtio/devices.h"
#include "hv/virtio/virtio-serial.h"

#define NAME_MAX_LENGTH 255
#define BACKLOG_SIZE 65536u
#define TURN_CHAINS 32u
#define NS_PER_MS 1000000ull
/* How long what a closed connection has sent waits for a guest that does not read, and how often a pty that hung up is looked at. */
#define LINGER_MS 5000
#define PTY_RETRY_MS 500

static void lose_host(struct vport *port);
static void on_ready(void *opaque, uint32_t events);

bool vport_host_open(const struct vport *port)
{
        return port->fd >= 0;
}

static struct virtio_queue *to_guest(const struct vport *port)
{
        return port->bus ? vserial_to_guest(port->bus, port->nr) : NULL;
}

static struct virtio_queue *from_guest(const struct vport *port)
{
        return port->bus ? vserial_from_guest(port->bus, port->nr) : NULL;
}

static void update_watch(struct vport *port)
{
        bool read = port->guest_open && !port->starved;

        watch_set(&port->watch, (read ? (uint32_t)EPOLLIN : 0) | (port->full ? (uint32_t)EPOLLOUT : 0));
}

/* --- From the guest ------------------------------------------------------------------------------------------------------------------ */

static ssize_t write_host(const struct vport *port, const struct iovec *iov, size_t n)
{
        struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
        ssize_t r = port->is_socket ? sendmsg(port->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) : writev(port->fd, iov, (int)n);

        return r < 0 ? -errno : r;
}

static void set_full(struct vport *port, bool full)
{
        port->full = full;
        update_watch(port);
}

/* True: the chain is done with. */
static bool send_chain(struct vport *port, struct virtio_chain *chain)
{
        size_t len = chain->out_len;
        ssize_t r;

        if (port->fd < 0 || len == 0)
                return true;
        r = write_host(port, chain->out, chain->n_out);
        if (r == -EAGAIN || r == -EINTR)
                return false;
        if (r < 0) {
                lose_host(port);
                return true;
        }
        if ((size_t)r < len)
                virtio_chain_skip_out(chain, (size_t)r);
        return (size_t)r == len;
}

static void put_backlog(struct vport *port, const struct virtio_chain *chain)
{
        for (unsigned i = 0; i < chain->n_out; i++) {
                const uint8_t *from = chain->out[i].iov_base;
                size_t len = chain->out[i].iov_len;

                /* Only the end of what is longer than all of it would stay. */
                if (len > BACKLOG_SIZE) {
                        port->overflow = true;
                        from += len - BACKLOG_SIZE;
                        len = BACKLOG_SIZE;
                }
                for (size_t n; len; from += n, len -= n, port->head += n) {
                        size_t at = port->head % BACKLOG_SIZE;

                        n = len < BACKLOG_SIZE - at ? len : BACKLOG_SIZE - at;
                        memcpy(port->backlog + at, from, n);
                }
        }
        if (port->head - port->tail > BACKLOG_SIZE) {
                port->tail = port->head - BACKLOG_SIZE;
                port->overflow = true;
        }
}

/* Where older output was dropped, what the pty still holds and nobody has read is older yet. */
static void drop_stale(struct vport *port)
{
        if (port->overflow && port->keep_fd >= 0)
                tcflush(port->keep_fd, TCIFLUSH);
        port->overflow = false;
}

static void flush_backlog(struct vport *port)
{
        if (port->head != port->tail)
                drop_stale(port);
        while (port->fd >= 0 && !port->hung_up && port->head != port->tail) {
                size_t at = port->tail % BACKLOG_SIZE, n = port->head - port->tail;
                struct iovec iov = { port->backlog + at, n < BACKLOG_SIZE - at ? n : BACKLOG_SIZE - at };
                ssize_t r = write_host(port, &iov, 1);

                if (r == -EAGAIN || r == -EINTR) {
                        set_full(port, true);
                        return;
                }
                if (r < 0) {
                        lose_host(port);
                        return;
                }
                port->tail += (uint64_t)r;
        }
        set_full(port, false);
}

static void send_console(struct vport *port, struct virtio_queue *q)
{
        struct virtio_chain *chain;

        while ((chain = virtio_queue_pop(q))) {
                put_backlog(port, chain);
                virtio_queue_push(q, chain, 0);
        }
        flush_backlog(port);
}

/* The main loop goes on when the host is ready, which may be at once. */
static void send_port(struct vport *port, struct virtio_queue *q)
{
        for (unsigned n = 0;; n++) {
                struct virtio_chain *chain = port->sending ? port->sending : virtio_queue_pop(q);

                if (!chain) {
                        set_full(port, false);
                        return;
                }
                port->sending = NULL;
                if ((n >= TURN_CHAINS && port->fd >= 0) || !send_chain(port, chain)) {
                        port->sending = chain;
                        set_full(port, true);
                        return;
                }
                virtio_queue_push(q, chain, 0);
        }
}

void vport_send(struct vport *port)
{
        struct virtio_queue *q = from_guest(port);

        if (!q)
                return;
        if (port->console)
                send_console(port, q);
        else if (!port->full || port->fd < 0)
                send_port(port, q);
        virtio_queue_interrupt(q);
}

static void host_has_room(struct vport *port)
{
        if (port->console)
                flush_backlog(port);
        else
                set_full(port, false);
        vport_send(port);
}

/* --- To the guest -------------------------------------------------------------------------------------------------------------------- */

/* False: no more for now. */
static bool receive_one(struct vport *port, struct virtio_queue *q)
{
        struct virtio_chain *chain = virtio_queue_pop(q);
        ssize_t r;

        port->starved = !chain;
        if (!chain)
                return false;
        r = readv(port->fd, chain->in, (int)chain->n_in);
        if (r > 0) {
                virtio_queue_push(q, chain, (size_t)r);
                return true;
        }
        if (r == 0 && chain->in_len == 0) {
                virtio_queue_push(q, chain, 0);
                return true;
        }
        if (r < 0)
                r = -errno;
        virtio_queue_unpop(q, chain);
        if (r != -EAGAIN && r != -EINTR)
                lose_host(port);
        return false;
}

/* From the main loop when the host has sent something, or when the guest has buffers for what a closed connection has left. */
static void receive(struct vport *port)
{
        struct virtio_queue *q = to_guest(port);

        if (!q) {
                port->starved = true;
        } else {
                for (unsigned n = 0; n < TURN_CHAINS && port->fd >= 0 && receive_one(port, q); n++) {
                }
                virtio_queue_interrupt(q);
        }
        update_watch(port);
        if (port->fd < 0)
                vport_send(port);
}

void vport_receive(struct vport *port)
{
        port->starved = false;
        if (port->fd >= 0 && port->hung_up && port->guest_open)
                receive(port);
        update_watch(port);
}

void vport_set_guest_open(struct vport *port, bool open)
{
        const struct plug_env *env = &port->bus->env;

        if (port->guest_open == open)
                return;
        port->guest_open = open;
        port->starved = false;
        update_watch(port);
        env->event(env->opaque, &port->plug, PLUG_EVENT_PORT, open, 0, NULL);
}

void vport_stop(struct vport *port)
{
        if (port->sending)
                virtio_chain_drop(port->sending);
        port->sending = NULL;
        if (!port->console)
                set_full(port, false);
        vport_set_guest_open(port, false);
}

/* --- The host ------------------------------------------------------------------------------------------------------------------------ */

static bool is_pty(const struct vport *port)
{
        return !port->is_socket && isatty(port->fd);
}

/* Nobody is there any more. What the guest is sending goes nowhere: vport_send has to follow, or to be what calls. */
static void disconnect(struct vport *port)
{
        watch_remove(&port->watch);
        timer_cancel(&port->retry);
        port->fd = fd_close(port->fd);
        port->hung_up = port->full = false;
        if (port->listen_fd >= 0)
                watch_set(&port->listen_watch, EPOLLIN);
        if (port->bus)
                vserial_tell(port->bus, port->nr, VSERIAL_TELL_OPEN);
}

static void hang_up(struct vport *port, unsigned ms)
{
        watch_remove(&port->watch);
        port->hung_up = true;
        timer_arm(&port->retry, timer_now(port->bus->env.timers) + ms * NS_PER_MS);
}

/* Reading or writing failed. A pty can be opened again. */
static void lose_host(struct vport *port)
{
        if (is_pty(port))
                hang_up(port, PTY_RETRY_MS);
        else
                disconnect(port);
}

static void on_retry(void *opaque)
{
        struct vport *port = opaque;

        port->hung_up = false;
        if (is_pty(port) && watch_add(port->bus->env.watches, &port->watch, port->fd, 0, on_ready, port) == 0) {
                if (port->console)
                        flush_backlog(port);
                update_watch(port);
                return;
        }
        disconnect(port);
        vport_send(port);
}

/* What a closed connection has sent may still be wanted. */
static void other_end_closed(struct vport *port)
{
        if (is_pty(port)) {
                hang_up(port, PTY_RETRY_MS);
        } else if (port->guest_open && port->starved) {
                hang_up(port, LINGER_MS);
        } else {
                disconnect(port);
                vport_send(port);
        }
}

static void on_ready(void *opaque, uint32_t events)
{
        struct vport *port = opaque;

        if ((events & EPOLLOUT) && port->full)
                host_has_room(port);
        if (!port->watch.loop)
                return;
        if ((events & EPOLLIN) && port->guest_open && !port->starved)
                receive(port);
        else if (events & (EPOLLHUP | EPOLLERR))
                other_end_closed(port);
}

static void on_client(void *opaque, uint32_t events)
{
        struct vport *port = opaque;
        int fd = accept4(port->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return;
        if (watch_add(port->bus->env.watches, &port->watch, fd, 0, on_ready, port) < 0) {
                fd_close(fd);
                return;
        }
        port->fd = fd;
        port->is_socket = true;
        /* The others wait in the kernel's queue. */
        watch_set(&port->listen_watch, 0);
        update_watch(port);
        vserial_tell(port->bus, port->nr, VSERIAL_TELL_OPEN);
        if (port->console)
                flush_backlog(port);
}

/* --- The plug ------------------------------------------------------------------------------------------------------------------------ */

void vport_orphan(struct vport *port)
{
        timer_cancel(&port->retry);
        watch_remove(&port->watch);
        watch_remove(&port->listen_watch);
        port->bus = NULL;
}

static void port_reset(struct plug *plug)
{
}

static void port_free(struct plug *plug)
{
        struct vport *port = container_of(plug, struct vport, plug);
        struct virtio_queue *q = from_guest(port);

        timer_cancel(&port->retry);
        watch_remove(&port->watch);
        watch_remove(&port->listen_watch);
        if (port->sending && q) {
                virtio_queue_push(q, port->sending, 0);
                virtio_queue_interrupt(q);
        }
        if (port->bus)
                vserial_remove(port->bus, port);
        fd_close(port->fd);
        fd_close(port->listen_fd);
        fd_close(port->keep_fd);
        free(port->backlog);
        free(port->name);
        free(port->id);
        free(port);
}

static const struct plug_ops port_plug_ops = {
        .driver = "serialport",
        .reset = port_reset,
        .free = port_free,
};

/* --- Making one ---------------------------------------------------------------------------------------------------------------------- */

static int take_host(struct vport *port, const struct plug_env *env, struct props *props, char **ret_error)
{
        bool listen = false;
        int fd = -1, type = 0, listens = 0, r;
        socklen_t size = sizeof(type);

        if (props_take_bool(props, "listen", &listen) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"listen\" of %s is no boolean", port->id);
        if (props_take_fd(props, "fd", &fd) < 0)
                return plug_fail(ret_error, -EINVAL, "\"fd\" of %s is not one descriptor", port->id);
        *(listen ? &port->listen_fd : &port->fd) = fd;
        if (props_take_fd(props, "hold", &port->keep_fd) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"hold\" of %s is not one descriptor", port->id);
        port->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
        if ((listen || port->is_socket) && type != SOCK_STREAM)
                return plug_fail(ret_error, -EINVAL, "\"fd\" of %s is no stream socket", port->id);
        if (listen && (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens))
                return plug_fail(ret_error, -EINVAL, "\"fd\" of %s is no listening socket", port->id);
        r = fd_set_nonblock(fd, true);
        if (r == 0 && listen)
                r = watch_add(env->watches, &port->listen_watch, fd, EPOLLIN, on_client, port);
        else if (r == 0)
                r = watch_add(env->watches, &port->watch, fd, 0, on_ready, port);
        return r < 0 ? plug_fail(ret_error, r, "\"fd\" of %s: %s", port->id, strerror(-r)) : 0;
}

static int find_bus(const struct plug_env *env, const struct vport *port, struct props *props, struct vserial **ret, char **ret_error)
{
        const char *name = NULL;
        struct plug *plug;

        if (props_take_string(props, "bus", &name) < 0)
                return plug_fail(ret_error, -EINVAL, "\"bus\" of %s does not name a controller", port->id);
        plug = env->find(env->opaque, name);
        *ret = plug ? vserial_of(plug) : NULL;
        if (!*ret)
                return plug_fail(ret_error, -ENOENT, "there is no virtio-serial controller \"%s\" for %s", name, port->id);
        return 0;
}

static unsigned free_number(const struct vserial *bus, bool console)
{
        for (unsigned nr = console ? 0 : 1; nr < bus->n_ports; nr++)
                if (!bus->slots[nr].port)
                        return nr;
        return bus->n_ports;
}

static int take_description(struct vport *port, const struct vserial *bus, struct props *props, char **ret_error)
{
        const char *name = NULL;
        int r;

        if (props_take_bool(props, "console", &port->console) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"console\" of %s is no boolean", port->id);
        if (props_take_string(props, "name", &name) == -EINVAL || (name && strlen(name) > NAME_MAX_LENGTH))
                return plug_fail(ret_error, -EINVAL, "\"name\" of %s is no name of up to %u bytes", port->id, NAME_MAX_LENGTH);
        port->nr = free_number(bus, port->console);
        r = props_take_unsigned(props, "nr", UINT32_MAX, &port->nr);
        if (r == -EINVAL || port->nr >= bus->n_ports)
                return plug_fail(ret_error, -ERANGE, "controller %s has no port for %s: it has %u", bus->id, port->id, bus->n_ports);
        if (name && !*name)
                name = NULL;
        port->name = name ? strdup(name) : NULL;
        if (name && !port->name)
                return -ENOMEM;
        if (port->console)
                port->backlog = malloc(BACKLOG_SIZE);
        return port->console && !port->backlog ? -ENOMEM : 0;
}

static int set_up(struct vport *port, const struct plug_env *env, struct props *props, char **ret_error)
{
        struct vserial *bus;
        int r = find_bus(env, port, props, &bus, ret_error);

        if (r == 0)
                r = take_description(port, bus, props, ret_error);
        if (r == 0)
                r = take_host(port, env, props, ret_error);
        if (r < 0)
                return r;
        r = vserial_add(bus, port);
        if (r < 0)
                return plug_fail(ret_error, r, "port %u of controller %s, which %s shall be, is taken", port->nr, bus->id, port->id);
        port->bus = bus;
        port->plug.parent = &bus->plug;
        return 0;
}

static int port_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        struct vport *port = calloc(1, sizeof(*port));
        int r;

        if (!port)
                return -ENOMEM;
        *port = (struct vport){
                .plug = { .ops = &port_plug_ops, .pci_slot = -1 }, .id = strdup(id), .listen_fd = -1, .fd = -1, .keep_fd = -1,
        };
        timer_init(&port->retry, env->timers, on_retry, port);
        r = port->id ? set_up(port, env, props, ret_error) : -ENOMEM;
        if (r < 0) {
                port_free(&port->plug);
                return r;
        }
        *ret = &port->plug;
        return 0;
}

const struct plug_driver virtio_serialport_driver = { .name = "serialport", .new = port_new };
