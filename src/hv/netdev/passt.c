/* SPDX-License-Identifier: GPL-2.0-or-later */
/* passt(1), or anybody else who speaks the protocol of QEMU's stream sockets: a byte stream of bare Ethernet frames, each behind its
 * length in 4 bytes, big-endian. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/macros.h"
#include "hv/bus/plug.h"
#include "hv/netdev/netdev.h"

#define LENGTH_SIZE 4u
#define INPUT_SIZE KiB(256) /* several frames per system call; more than the longest one */
#define IOV_MAX_FRAME 1024

struct passt {
        struct netdev nd;
        int fd;
        struct watch watch;
        /* An eventfd that is always ready: switched on, it gives another turn of the main loop to what needs no more of the socket. */
        int again_fd;
        struct watch again;
        bool readable;
        const char *dead;    /* why, or NULL */
        uint8_t *in;         /* INPUT_SIZE; in_pos..in_end is what has come and nobody took */
        size_t in_pos, in_end;
        uint8_t *out;        /* the rest of a frame that the socket took a part of; out_pos..out_end */
        size_t out_pos, out_end;
};

#define BROKEN SIZE_MAX

/* The length of the frame at in_pos, or BROKEN; 0: it is not there yet as a whole. */
static size_t whole_frame(const struct passt *p)
{
        size_t have = p->in_end - p->in_pos;
        size_t len;

        if (have < LENGTH_SIZE)
                return 0;
        len = be32_load(p->in + p->in_pos);
        if (len == 0 || len > NETDEV_PACKET_MAX)
                return BROKEN;
        return have - LENGTH_SIZE >= len ? len : 0;
}

static void update(struct passt *p)
{
        bool again = p->dead || (p->readable && whole_frame(p));

        watch_set(&p->watch, (p->readable ? (uint32_t)EPOLLIN : 0) | (p->out_end ? (uint32_t)EPOLLOUT : 0));
        watch_set(&p->again, again ? EPOLLIN : 0);
}

/* Told from the main loop: who sends or receives is in the middle of something. */
static void die(struct passt *p, const char *why)
{
        if (p->dead)
                return;
        p->dead = why;
        watch_remove(&p->watch);
        update(p);
}

/* --- To the socket --- */

static void flush(struct passt *p)
{
        ssize_t r = send(p->fd, p->out + p->out_pos, p->out_end - p->out_pos, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (r < 0 && errno != EAGAIN && errno != EINTR)
                die(p, "passt has closed the connection");
        if (r > 0)
                p->out_pos += (size_t)r;
        if (p->out_pos == p->out_end)
                p->out_pos = p->out_end = 0;
}

/* Keeps what lies behind the first done bytes. */
static void keep_rest(struct passt *p, const struct iovec *iov, unsigned n_iov, size_t done)
{
        for (unsigned i = 0; i < n_iov; i++) {
                size_t skip = done < iov[i].iov_len ? done : iov[i].iov_len;

                memcpy(p->out + p->out_end, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
                p->out_end += iov[i].iov_len - skip;
                done -= skip;
        }
}

static size_t total(const struct iovec *iov, unsigned n_iov)
{
        size_t len = 0;

        for (unsigned i = 0; i < n_iov; i++)
                len += iov[i].iov_len;
        return len;
}

static int send_frame(struct passt *p, const struct iovec *iov, unsigned n_iov, size_t len)
{
        struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n_iov };
        ssize_t r = sendmsg(p->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (r < 0 && errno != EAGAIN) {
                die(p, "passt has closed the connection");
                return -EIO;
        }
        if (r < 0)
                r = 0;
        /* Even if nothing went out: this frame is the first of those that wait. */
        if ((size_t)r < len)
                keep_rest(p, iov, n_iov, (size_t)r);
        update(p);
        return 0;
}

static int passt_send(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov)
{
        struct passt *p = container_of(nd, struct passt, nd);
        struct iovec with_length[IOV_MAX_FRAME];
        uint8_t length[LENGTH_SIZE];
        size_t len = total(iov, n_iov);

        if (p->dead)
                return -EIO;
        if (p->out_end)
                return -EAGAIN;
        if (len == 0 || len > NETDEV_PACKET_MAX || n_iov >= IOV_MAX_FRAME)
                return -EMSGSIZE;
        be32_store(length, (uint32_t)len);
        with_length[0] = (struct iovec){ .iov_base = length, .iov_len = LENGTH_SIZE };
        memcpy(&with_length[1], iov, n_iov * sizeof(*iov));
        return send_frame(p, with_length, n_iov + 1, LENGTH_SIZE + len);
}

/* --- From the socket --- */

/* More bytes behind those that are there; 0 or -EAGAIN. */
static int fill(struct passt *p)
{
        ssize_t r;

        memmove(p->in, p->in + p->in_pos, p->in_end - p->in_pos);
        p->in_end -= p->in_pos;
        p->in_pos = 0;
        r = recv(p->fd, p->in + p->in_end, INPUT_SIZE - p->in_end, MSG_DONTWAIT);
        if (r > 0) {
                p->in_end += (size_t)r;
                return 0;
        }
        if (r == 0 || (errno != EAGAIN && errno != EINTR))
                die(p, "passt has closed the connection");
        return -EAGAIN;
}

static bool scatter(const struct iovec *iov, unsigned n_iov, const uint8_t *from, size_t len)
{
        for (unsigned i = 0; i < n_iov && len; i++) {
                size_t n = len < iov[i].iov_len ? len : iov[i].iov_len;

                memcpy(iov[i].iov_base, from, n);
                from += n;
                len -= n;
        }
        return len == 0;
}

static ssize_t take_frame(struct passt *p, size_t len, const struct iovec *iov, unsigned n_iov)
{
        bool fits;

        if (len == BROKEN) {
                p->in_pos = p->in_end = 0;
                die(p, "passt broke the protocol");
                return -EAGAIN;
        }
        fits = scatter(iov, n_iov, p->in + p->in_pos + LENGTH_SIZE, len);
        p->in_pos += LENGTH_SIZE + len;
        return fits ? (ssize_t)len : -EMSGSIZE;
}

static ssize_t passt_receive(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov)
{
        struct passt *p = container_of(nd, struct passt, nd);
        size_t len;
        ssize_t r;

        while ((len = whole_frame(p)) == 0)
                if (p->dead || fill(p) < 0)
                        return -EAGAIN;
        r = take_frame(p, len, iov, n_iov);
        update(p);
        return r;
}

/* --- Events --- */

static void passt_ready(void *opaque, uint32_t events)
{
        struct passt *p = opaque;
        const struct netdev_env *env = &p->nd.env;

        if (p->out_end && (events & EPOLLOUT)) {
                flush(p);
                update(p);
                if (!p->out_end && !p->dead)
                        env->writable(env->opaque, 0);
        }
        if (p->readable && (events & EPOLLIN))
                env->readable(env->opaque, 0);
        else if (events & (EPOLLHUP | EPOLLERR))
                die(p, "passt has closed the connection");
}

static void passt_again(void *opaque, uint32_t events)
{
        struct passt *p = opaque;
        const struct netdev_env *env = &p->nd.env;

        if (p->readable && whole_frame(p)) {
                env->readable(env->opaque, 0);
        } else if (p->dead) {
                watch_remove(&p->again);
                env->gone(env->opaque, p->dead);
        }
}

static void passt_want_readable(struct netdev *nd, unsigned n, bool on)
{
        struct passt *p = container_of(nd, struct passt, nd);

        p->readable = on;
        update(p);
}

static void passt_free(struct netdev *nd)
{
        struct passt *p = container_of(nd, struct passt, nd);

        watch_remove(&p->watch);
        watch_remove(&p->again);
        fd_close(p->fd);
        fd_close(p->again_fd);
        free(p->in);
        free(p->out);
        free(p);
}

static int take_socket(struct passt *p, struct props *props, char **ret_error)
{
        int r = props_take_fd(props, "passt", &p->fd);
        int type;
        socklen_t size = sizeof(type);

        if (r < 0)
                return plug_fail(ret_error, r, "\"passt\" wants one descriptor");
        if (getsockopt(p->fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
                return plug_fail(ret_error, -EINVAL, "the descriptor \"passt\" is no stream socket");
        r = fd_set_nonblock(p->fd, true);
        return r < 0 ? plug_fail(ret_error, r, "passt's socket: %s", strerror(-r)) : 0;
}

static int watch_all(struct passt *p)
{
        int r = watch_add(p->nd.env.watches, &p->watch, p->fd, 0, passt_ready, p);

        if (r < 0)
                return r;
        p->again_fd = eventfd(1, EFD_CLOEXEC);
        if (p->again_fd < 0)
                return -errno;
        return watch_add(p->nd.env.watches, &p->again, p->again_fd, 0, passt_again, p);
}

static int passt_open(const struct netdev_env *env, struct props *props, struct netdev **ret, char **ret_error)
{
        struct passt *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        *p = (struct passt){ .fd = -1, .again_fd = -1, .nd.env = *env, .nd.features.queues = 1 };
        r = take_socket(p, props, ret_error);
        p->in = malloc(INPUT_SIZE);
        p->out = malloc(LENGTH_SIZE + NETDEV_PACKET_MAX);
        if (r == 0 && (!p->in || !p->out))
                r = -ENOMEM;
        if (r == 0)
                r = watch_all(p);
        if (r < 0) {
                passt_free(&p->nd);
                return r;
        }
        *ret = &p->nd;
        return 0;
}

const struct netdev_backend netdev_passt = {
        .prop = "passt",
        .open = passt_open,
        .send = passt_send,
        .receive = passt_receive,
        .want_readable = passt_want_readable,
        .free = passt_free,
};
