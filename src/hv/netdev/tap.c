/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taps and macvtaps of the host's kernel (Documentation/networking/tuntap.rst): one descriptor per queue, a packet per read and write, with
 * the virtio-net header in front. */
#include <errno.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/bus/plug.h"
#include "hv/netdev/netdev.h"

struct tap_queue {
        struct tap *tap;
        unsigned n;
        int fd;
        struct watch watch; /* in no loop while the queue is not in use: the kernel reports an error for it all the time */
        bool readable, writable; /* what is waited for */
};

struct tap {
        struct netdev nd;
        struct tap_queue queues[NETDEV_QUEUES_MAX];
};

static void tap_gone(struct tap *tap)
{
        for (unsigned i = 0; i < tap->nd.features.queues; i++)
                watch_remove(&tap->queues[i].watch);
        tap->nd.env.gone(tap->nd.env.opaque, "the tap was deleted");
}

static uint32_t wanted(const struct tap_queue *q)
{
        return (q->readable ? (uint32_t)EPOLLIN : 0) | (q->writable ? (uint32_t)EPOLLOUT : 0);
}

static void tap_ready(void *opaque, uint32_t events)
{
        struct tap_queue *q = opaque;
        const struct netdev_env *env = &q->tap->nd.env;

        if (events & (EPOLLERR | EPOLLHUP)) {
                tap_gone(q->tap);
                return;
        }
        if ((events & EPOLLOUT) && q->writable) {
                q->writable = false;
                watch_set(&q->watch, wanted(q));
                env->writable(env->opaque, q->n);
        }
        if ((events & EPOLLIN) && q->readable)
                env->readable(env->opaque, q->n);
}

static int tap_set_offloads(struct netdev *nd, unsigned offloads)
{
        const struct tap *tap = container_of(nd, struct tap, nd);

        /* The queues share the setting. */
        return ioctl(tap->queues[0].fd, TUNSETOFFLOAD, (unsigned long)offloads) < 0 ? -errno : 0;
}

/* Does the kernel spread packets over this queue? A tap with one queue knows no other state. */
static int tap_attach(const struct tap_queue *q, bool on)
{
        struct ifreq ifr = { .ifr_flags = (short)(on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE) };

        if (q->tap->nd.features.queues == 1)
                return 0;
        return ioctl(q->fd, TUNSETQUEUE, &ifr) < 0 ? -errno : 0;
}

static int tap_use(struct tap_queue *q)
{
        int r;

        if (q->watch.loop)
                return 0;
        r = tap_attach(q, true);
        /* It may be in use already. */
        if (r == 0 || r == -EINVAL)
                r = watch_add(q->tap->nd.env.watches, &q->watch, q->fd, wanted(q), tap_ready, q);
        return r;
}

static int tap_unuse(struct tap_queue *q)
{
        watch_remove(&q->watch);
        q->writable = false;
        return tap_attach(q, false);
}

static int tap_set_queues(struct netdev *nd, unsigned n)
{
        struct tap *tap = container_of(nd, struct tap, nd);

        for (unsigned i = 0; i < nd->features.queues; i++) {
                bool in_use = tap->queues[i].watch.loop;
                int r = 0;

                if (i < n)
                        r = tap_use(&tap->queues[i]);
                else if (in_use)
                        r = tap_unuse(&tap->queues[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void wait_writable(struct tap_queue *q)
{
        q->writable = true;
        if (q->watch.loop)
                watch_set(&q->watch, wanted(q));
}

static int tap_send(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov)
{
        struct tap_queue *q = &container_of(nd, struct tap, nd)->queues[n];

        if (writev(q->fd, iov, (int)n_iov) >= 0)
                return 0;
        if (errno == EAGAIN)
                wait_writable(q);
        return -errno;
}

static ssize_t tap_receive(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov)
{
        struct tap_queue *q = &container_of(nd, struct tap, nd)->queues[n];
        ssize_t r = readv(q->fd, iov, (int)n_iov);

        return r < 0 ? -errno : r;
}

static void tap_want_readable(struct netdev *nd, unsigned n, bool on)
{
        struct tap_queue *q = &container_of(nd, struct tap, nd)->queues[n];

        q->readable = on;
        if (q->watch.loop)
                watch_set(&q->watch, wanted(q));
}

static void tap_free(struct netdev *nd)
{
        struct tap *tap = container_of(nd, struct tap, nd);

        for (unsigned i = 0; i < nd->features.queues; i++) {
                watch_remove(&tap->queues[i].watch);
                fd_close(tap->queues[i].fd);
        }
        free(tap);
}

/* --- Opening --- */

static int check_queue(const struct tap_queue *q, char **ret_error)
{
        struct ifreq ifr = { 0 };
        int size = NETDEV_HEADER_SIZE;
        int r;

        if (ioctl(q->fd, TUNGETIFF, &ifr) < 0)
                return plug_fail(ret_error, -errno, "descriptor %u of \"fds\" is no tap: %s", q->n, strerror(errno));
        if (!(ifr.ifr_flags & IFF_VNET_HDR) || !(ifr.ifr_flags & IFF_NO_PI) || (ifr.ifr_flags & IFF_TUN))
                return plug_fail(ret_error, -EINVAL, "tap %s is not one with virtio-net headers", ifr.ifr_name);
        if (q->tap->nd.features.queues > 1 && !(ifr.ifr_flags & IFF_MULTI_QUEUE))
                return plug_fail(ret_error, -EINVAL, "tap %s is not one with several queues", ifr.ifr_name);
        if (ioctl(q->fd, TUNSETVNETHDRSZ, &size) < 0)
                return plug_fail(ret_error, -errno, "tap %s: %s", ifr.ifr_name, strerror(errno));
        r = fd_set_nonblock(q->fd, true);
        return r < 0 ? plug_fail(ret_error, r, "tap %s: %s", ifr.ifr_name, strerror(-r)) : 0;
}

/* The kernel says what it can when it is told to. */
static unsigned probe_offloads(const struct tap *tap)
{
        static const unsigned sets[] = { TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, TUN_F_CSUM };
        unsigned found = 0;

        for (unsigned i = 0; !found && i < ARRAY_SIZE(sets); i++)
                if (ioctl(tap->queues[0].fd, TUNSETOFFLOAD, (unsigned long)sets[i]) == 0)
                        found = sets[i];
        ioctl(tap->queues[0].fd, TUNSETOFFLOAD, 0ul);
        return found;
}

static int take_fds(struct tap *tap, struct props *props, char **ret_error)
{
        int fds[NETDEV_QUEUES_MAX];
        size_t n = 0;
        int r = props_take_fds(props, "fds", fds, ARRAY_SIZE(fds), &n);

        if (r < 0 || n == 0)
                return plug_fail(ret_error, -EINVAL, "\"fds\" wants 1 to %u taps", NETDEV_QUEUES_MAX);
        tap->nd.features = (struct netdev_features){ .vnet_hdr = true, .queues = (unsigned)n };
        for (unsigned i = 0; i < n; i++)
                tap->queues[i] = (struct tap_queue){ .tap = tap, .n = i, .fd = fds[i] };
        return 0;
}

static int start(struct tap *tap, char **ret_error)
{
        unsigned n = tap->nd.features.queues;
        int r = 0;

        for (unsigned i = 0; r == 0 && i < n; i++)
                r = check_queue(&tap->queues[i], ret_error);
        if (r < 0)
                return r;
        tap->nd.features.offloads = probe_offloads(tap);
        r = tap_use(&tap->queues[0]);
        /* What is not in use yet shall get no packets. Detached already is fine. */
        for (unsigned i = 1; r == 0 && i < n; i++)
                tap_unuse(&tap->queues[i]);
        return r < 0 ? plug_fail(ret_error, r, "cannot use the tap: %s", strerror(-r)) : 0;
}

static int tap_open(const struct netdev_env *env, struct props *props, struct netdev **ret, char **ret_error)
{
        struct tap *tap = calloc(1, sizeof(*tap));
        int r;

        if (!tap)
                return -ENOMEM;
        tap->nd.env = *env;
        r = take_fds(tap, props, ret_error);
        if (r == 0)
                r = start(tap, ret_error);
        if (r < 0) {
                tap_free(&tap->nd);
                return r;
        }
        *ret = &tap->nd;
        return 0;
}

const struct netdev_backend netdev_tap = {
        .prop = "fds",
        .open = tap_open,
        .set_offloads = tap_set_offloads,
        .set_queues = tap_set_queues,
        .send = tap_send,
        .receive = tap_receive,
        .want_readable = tap_want_readable,
        .free = tap_free,
};
