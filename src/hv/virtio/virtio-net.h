/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of the network card (VIRTIO 1.1, 5.1) share. Nobody else includes this. */

#include "hv/bus/plug.h"
#include "hv/netdev/netdev.h"
#include "hv/virtio/virtio.h"

/* Feature bits (5.1.3). */
#define VNET_F_CSUM 0
#define VNET_F_GUEST_CSUM 1
#define VNET_F_CTRL_GUEST_OFFLOADS 2
#define VNET_F_MTU 3
#define VNET_F_MAC 5
#define VNET_F_GUEST_TSO4 7
#define VNET_F_GUEST_TSO6 8
#define VNET_F_GUEST_ECN 9
#define VNET_F_HOST_TSO4 11
#define VNET_F_HOST_TSO6 12
#define VNET_F_HOST_ECN 13
#define VNET_F_MRG_RXBUF 15
#define VNET_F_STATUS 16
#define VNET_F_CTRL_VQ 17
#define VNET_F_CTRL_RX 18
#define VNET_F_GUEST_ANNOUNCE 21
#define VNET_F_MQ 22
#define VNET_F_CTRL_MAC_ADDR 23

/* Configuration space (5.1.4): the address, then these. */
#define VNET_CONFIG_STATUS 6
#define VNET_CONFIG_MAX_PAIRS 8
#define VNET_CONFIG_MTU 10
#define VNET_CONFIG_SIZE 12
#define VNET_S_LINK_UP 1
#define VNET_S_ANNOUNCE 2

#define VNET_QUEUE_SIZE 256
#define VNET_MAC_SIZE 6
#define VNET_MACS_MAX 64
#define VNET_ETHERNET_HEADER 14

/* One turn of the main loop, or of a guest's notification, does not work longer than this on one queue. */
#define VNET_TURN_PACKETS 64u
#define VNET_TURN_BYTES (256u << 10)

struct vnet;

struct vnet_stats {
        uint64_t bytes, packets, errors, dropped;
};

/* Addresses of one kind that the guest wants: those of the table, or all, if there were too many for it. */
struct vnet_macs {
        unsigned n;
        bool all;
        uint8_t mac[VNET_MACS_MAX][VNET_MAC_SIZE];
};

struct vnet_filter {
        bool promisc, allmulti;
        struct vnet_macs unicast, multicast;
};

struct vnet_rx {
        struct virtio_chain *held[VNET_QUEUE_SIZE]; /* popped, for the next packets */
        unsigned n_held, n_iov;
        size_t bytes;
        /* The end of a packet (of spilled_packet bytes) for which the held buffers were too small: what is not copied yet. spill_end is 0 if there is none. */
        uint8_t *spill;
        size_t spill_pos, spill_end, spilled_packet;
};

struct vnet_tx {
        struct virtio_chain *waiting; /* popped, and to be sent first; its header is gone if the back end wants none */
        bool blocked;                 /* the back end has no room */
        bool later;                   /* the main loop goes on with this queue */
};

struct vnet_pair {
        struct vnet *net;
        unsigned n;
        struct vnet_rx rx;
        struct vnet_tx tx;
};

struct vnet {
        struct plug plug;
        struct virtio_device dev;
        struct plug_env env;
        char *id;
        struct netdev *nd;
        bool gone;              /* the back end is */
        bool link;              /* what the user wants */
        uint8_t mac[VNET_MAC_SIZE];
        unsigned n_pairs;       /* offered */
        unsigned n_used;        /* that the guest asked for */
        size_t packet_max;      /* the longest packet that a guest without segmentation offload is sent, with headers */
        unsigned offloads;      /* TUN_F_* that the guest takes */
        struct vnet_filter filter;
        struct vnet_stats rx_stats, tx_stats;
        /* An eventfd that is always ready, to get a turn of the main loop; watched while some queue's tx.later is set. */
        int later_fd;
        struct watch later;
        struct vnet_pair pairs[NETDEV_QUEUES_MAX];
};

/* virtio-net.c */
bool vnet_link_is_up(const struct vnet *net);
bool vnet_has(const struct vnet *net, unsigned feature);
/* TUN_F_* for features of the guest's side. */
unsigned vnet_offloads(uint64_t features);
/* The guest gets packets on pairs below n. */
int vnet_use_pairs(struct vnet *net, unsigned n);

/* virtio-net-rx.c */
/* Receives as long as there are packets, buffers and time. */
void vnet_rx_poll(struct vnet_pair *pair);
/* New buffers, a new back end, or the link is up. */
void vnet_rx_resume(struct vnet_pair *pair);
/* Packets that came while the link was down are not for the guest. */
void vnet_rx_discard(struct vnet_pair *pair);
/* Lets go of the buffers, after the device was stopped. */
void vnet_rx_drop(struct vnet_pair *pair);

/* virtio-net-tx.c */
/* The guest has something to send. */
void vnet_tx_notify(struct vnet_pair *pair);
/* The back end has room again. */
void vnet_tx_writable(struct vnet_pair *pair);
/* A turn of the main loop for all queues that asked for one. */
void vnet_tx_later(void *opaque, uint32_t events);
void vnet_tx_drop(struct vnet_pair *pair);

/* virtio-net-ctrl.c */
void vnet_ctrl_notify(struct vnet *net, struct virtio_queue *q);
/* As after a reset. */
void vnet_filter_init(struct vnet_filter *filter);
/* Does the guest want a packet for this address? */
bool vnet_filter_wants(const struct vnet *net, const uint8_t mac[VNET_MAC_SIZE]);
