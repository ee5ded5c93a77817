/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where network devices send their packets. A back end is one file and one row in netdev.c's table. Everything is called with the device lock held; nothing blocks. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "hv/bus/props.h"
#include "hv/bus/timer.h"
#include "hv/bus/watch.h"

struct netdev;

/* Offloads that the guest accepts or makes, as TUN_F_* of linux/if_tun.h. */
struct netdev_features {
        bool vnet_hdr;      /* packets have the 12-byte virtio-net header (with num_buffers) in front in both directions; else the device makes and drops it */
        unsigned offloads;  /* TUN_F_* that the back end can take from the guest and give to it */
        unsigned queues;
};

struct netdev_env {
        struct timer_loop *timers;
        struct watch_loop *watches;
        /* Queue n, for which netdev_receive is wanted, has packets, or has room again after netdev_send had none. On the main thread. */
        void (*readable)(void *opaque, unsigned n);
        void (*writable)(void *opaque, unsigned n);
        /* The other end is gone for good (passt died). May be NULL. */
        void (*gone)(void *opaque);
        void *opaque;
};

/* Takes "fds" (taps, one per queue) or "passt" from props. Errors as for struct plug_driver's new. */
int netdev_new(const struct netdev_env *env, struct props *props, struct netdev **ret, char **ret_error);
void netdev_free(struct netdev *nd);
const struct netdev_features *netdev_features(const struct netdev *nd);
/* What the guest takes: TUN_F_*. */
int netdev_set_offloads(struct netdev *nd, unsigned offloads);
/* Queues that are in use; more than features.queues: -EINVAL. */
int netdev_set_queues(struct netdev *nd, unsigned n);

/* One packet (with header if vnet_hdr). 0, -EAGAIN: no room, writable follows; other errors: it is lost. */
int netdev_send(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
/* One packet into iov; its length, -EAGAIN: none. A longer one is cut off and counts as lost: -EMSGSIZE. */
ssize_t netdev_receive(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
/* Whether readable is to be called; at first off. */
void netdev_want_readable(struct netdev *nd, unsigned n, bool on);

/* --- Back ends --- */

struct netdev_backend {
        const char *prop; /* "fds", "passt" */
        int (*open)(struct netdev *nd, struct props *props, char **ret_error);
        int (*set_offloads)(struct netdev *nd, unsigned offloads); /* NULL: none */
        int (*set_queues)(struct netdev *nd, unsigned n);          /* NULL: one */
        int (*send)(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
        ssize_t (*receive)(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
        void (*want_readable)(struct netdev *nd, unsigned n, bool on);
        void (*close)(struct netdev *nd);
};
