/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where network devices send their packets. A back end is one file and one row in netdev.c's table. Everything is called with the
 * device lock held; nothing blocks. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "hv/bus/props.h"
#include "hv/bus/watch.h"

#define NETDEV_QUEUES_MAX 16
/* struct virtio_net_hdr_v1: VIRTIO 1.1, 5.1.6. */
#define NETDEV_HEADER_SIZE 12
/* The longest packet of a back end: an Ethernet header (with a VLAN tag) and 64 KiB of what it carries. */
#define NETDEV_PACKET_MAX (65535 + 18)

struct netdev;

struct netdev_features {
        /* Packets have the virtio-net header in front in both directions; else they are bare frames, with complete checksums. */
        bool vnet_hdr;
        unsigned offloads; /* TUN_F_* of linux/if_tun.h that the back end can take from the guest and give to it */
        unsigned queues;
};

/* All called on the main thread. */
struct netdev_env {
        struct watch_loop *watches;
        /* Queue n, for which netdev_want_readable is on, has packets. Called again and again while it has. */
        void (*readable)(void *opaque, unsigned n);
        /* Queue n has room again after netdev_send had none. */
        void (*writable)(void *opaque, unsigned n);
        /* The other end is gone for good (passt died, the tap was deleted); why is for the log. Nothing else is called afterwards. */
        void (*gone)(void *opaque, const char *why);
        void *opaque;
};

/* Is one of the properties there that name a back end? */
bool netdev_named(const struct props *props);
/* Takes "fds" (taps or macvtaps, one per queue) or "passt" (a connected stream socket) from props. env is copied. 0, or negative errno with
 * *ret_error (malloced) a sentence that names what is wrong. */
int netdev_new(const struct netdev_env *env, struct props *props, struct netdev **ret, char **ret_error);
void netdev_free(struct netdev *nd);
const struct netdev_features *netdev_features(const struct netdev *nd);
/* What the guest takes: TUN_F_*, at first none. */
int netdev_set_offloads(struct netdev *nd, unsigned offloads);
/* How many queues are in use, at first one; more than features.queues, or none: -EINVAL. */
int netdev_set_queues(struct netdev *nd, unsigned n);

/* One packet (with header if vnet_hdr). 0; -EAGAIN: no room, writable follows; other errors: it is lost. */
int netdev_send(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
/* One packet into iov; its length; -EAGAIN: none. A longer one is cut off: its length is then more than iov has, or -EMSGSIZE. */
ssize_t netdev_receive(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
/* Whether readable is to be called; at first off. */
void netdev_want_readable(struct netdev *nd, unsigned n, bool on);

/* --- For back ends --- */

/* All slots but set_offloads and set_queues are set; queues of calls are below features.queues. */
struct netdev_backend {
        const char *prop;  /* that names it and holds its descriptors */
        int (*open)(const struct netdev_env *env, struct props *props, struct netdev **ret, char **ret_error);
        int (*set_offloads)(struct netdev *nd, unsigned offloads); /* NULL: none */
        int (*set_queues)(struct netdev *nd, unsigned n);          /* NULL: one */
        int (*send)(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
        ssize_t (*receive)(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov);
        void (*want_readable)(struct netdev *nd, unsigned n, bool on);
        void (*free)(struct netdev *nd);
};

/* Embedded in each. */
struct netdev {
        const struct netdev_backend *backend;
        struct netdev_env env;
        struct netdev_features features;
        unsigned queues; /* in use */
};

extern const struct netdev_backend netdev_tap, netdev_passt;
