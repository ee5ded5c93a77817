/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the guest to the network. The guest's buffers are written to the back end as they are. Small packets leave on the thread of the vCPU that
 * notified: that is the shortest way for requests and answers. Bulk leaves on the main thread, while the vCPU makes more of it. */
#include <errno.h>
#include <sys/epoll.h>

#include "hv/virtio/virtio-net.h"

#define BULK_BYTES 4096u

enum turn { TURN_VCPU, TURN_MAIN };

static struct virtio_queue *tx_queue(const struct vnet_pair *pair)
{
        return virtio_device_queue(&pair->net->dev, 2 * pair->n + 1);
}

static void count(struct vnet *net, int r, size_t len)
{
        struct vnet_stats *stats = &net->tx_stats;

        if (r == 0) {
                stats->packets++;
                stats->bytes += len;
        } else if (r == -EINVAL || r == -EMSGSIZE) {
                stats->errors++;
        } else {
                stats->dropped++;
        }
}

/* -EAGAIN: no room; else the packet is done with. */
static int send_chain(struct vnet_pair *pair, struct virtio_chain *chain)
{
        struct vnet *net = pair->net;
        size_t header = netdev_features(net->nd)->vnet_hdr ? NETDEV_HEADER_SIZE : 0;
        size_t len = chain->out_len - header;
        int r;

        if (!vnet_link_is_up(net))
                r = -ENETDOWN;
        else if (len > NETDEV_PACKET_MAX)
                r = -EMSGSIZE;
        else
                r = netdev_send(net->nd, pair->n < net->n_used ? pair->n : 0, chain->out, chain->n_out);
        if (r != -EAGAIN)
                count(net, r, len);
        return r;
}

/* The next packet; NULL: none, or the device is broken. */
static struct virtio_chain *next_chain(struct vnet_pair *pair, struct virtio_queue *q)
{
        struct virtio_chain *chain = pair->tx.waiting;

        if (chain)
                return chain;
        chain = virtio_queue_pop(q);
        if (!chain)
                return NULL;
        if (chain->out_len <= NETDEV_HEADER_SIZE) {
                virtio_chain_drop(chain);
                virtio_device_broken(&pair->net->dev, "a packet without a header or without a body");
                return NULL;
        }
        if (!netdev_features(pair->net->nd)->vnet_hdr)
                virtio_chain_skip_out(chain, NETDEV_HEADER_SIZE);
        pair->tx.waiting = chain;
        return chain;
}

static void set_later(struct vnet_pair *pair)
{
        pair->tx.later = true;
        watch_set(&pair->net->later, EPOLLIN);
}

/* All packets are sent. False: more have come in between. */
static bool rest(const struct vnet_pair *pair, struct virtio_queue *q)
{
        if (!pair->net->dev.running || !virtio_queue_want_notify(q, true))
                return true;
        virtio_queue_want_notify(q, false);
        return false;
}

static void transmit(struct vnet_pair *pair, struct virtio_queue *q, enum turn turn)
{
        size_t bytes = 0;

        for (unsigned packets = 0;;) {
                struct virtio_chain *chain = next_chain(pair, q);

                if (!chain) {
                        if (rest(pair, q))
                                break;
                        continue;
                }
                if ((turn == TURN_VCPU && chain->out_len > BULK_BYTES) || packets == VNET_TURN_PACKETS || bytes > VNET_TURN_BYTES) {
                        set_later(pair);
                        break;
                }
                bytes += chain->out_len;
                packets++;
                if (send_chain(pair, chain) == -EAGAIN) {
                        pair->tx.blocked = true;
                        break;
                }
                pair->tx.waiting = NULL;
                virtio_queue_push(q, chain, 0);
        }
        virtio_queue_interrupt(q);
}

static void start(struct vnet_pair *pair, enum turn turn)
{
        struct virtio_queue *q = tx_queue(pair);

        if (!q || !pair->net->dev.running || pair->tx.blocked || pair->tx.later)
                return;
        virtio_queue_want_notify(q, false);
        transmit(pair, q, turn);
}

void vnet_tx_notify(struct vnet_pair *pair)
{
        start(pair, TURN_VCPU);
}

void vnet_tx_writable(struct vnet_pair *pair)
{
        pair->tx.blocked = false;
        start(pair, TURN_MAIN);
}

void vnet_tx_later(void *opaque, uint32_t events)
{
        struct vnet *net = opaque;
        bool more = false;

        for (unsigned i = 0; i < net->n_pairs; i++) {
                struct vnet_pair *pair = &net->pairs[i];

                if (!pair->tx.later)
                        continue;
                pair->tx.later = false;
                start(pair, TURN_MAIN);
                more |= pair->tx.later;
        }
        watch_set(&net->later, more ? EPOLLIN : 0);
}

void vnet_tx_drop(struct vnet_pair *pair)
{
        if (pair->tx.waiting)
                virtio_chain_drop(pair->tx.waiting);
        pair->tx = (struct vnet_tx){ 0 };
}
