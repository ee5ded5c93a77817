/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the network to the guest. The back end's packet is read straight into the guest's buffers: as many are held ready as the longest packet needs. What does not
 * fit, because the guest has too few at the moment, goes to a buffer of our own behind them, and is copied when the guest has added some. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/bytes.h"
#include "hv/virtio/virtio-net.h"

static struct virtio_queue *rx_queue(const struct vnet_pair *pair)
{
        return virtio_device_queue(&pair->net->dev, 2 * pair->n);
}

/* --- Buffers ------------------------------------------------------------------------------------------------------------------------- */

/* The header counts, even if the back end knows none. */
static size_t longest(const struct vnet *net)
{
        return net->offloads & ~1u ? NETDEV_HEADER_SIZE + NETDEV_PACKET_MAX : net->packet_max;
}

static unsigned held_max(const struct vnet *net)
{
        return vnet_has(net, VNET_F_MRG_RXBUF) ? VNET_QUEUE_SIZE : 1;
}

/* One more buffer, unless there are more than max_iov pieces then; false: the guest has none, or there is no place for it. */
static bool hold_one(struct vnet_pair *pair, struct virtio_queue *q, unsigned max_iov)
{
        struct vnet_rx *rx = &pair->rx;
        struct virtio_chain *chain;

        if (rx->n_held == held_max(pair->net))
                return false;
        chain = virtio_queue_pop(q);
        if (!chain)
                return false;
        if (chain->in_len < NETDEV_HEADER_SIZE) {
                virtio_chain_drop(chain);
                virtio_device_broken(&pair->net->dev, "a receive buffer without room for the header");
                return false;
        }
        if (rx->n_held && rx->n_iov + chain->n_in > max_iov) {
                virtio_queue_unpop(q, chain);
                return false;
        }
        rx->held[rx->n_held++] = chain;
        rx->n_iov += chain->n_in;
        rx->bytes += chain->in_len;
        return true;
}

/* The held buffers, and behind them our own. From the byte where the back end's packets begin. */
static unsigned gather(const struct vnet_pair *pair, struct iovec *iov, unsigned max)
{
        const struct vnet_rx *rx = &pair->rx;
        size_t skip = netdev_features(pair->net->nd)->vnet_hdr ? 0 : NETDEV_HEADER_SIZE;
        unsigned n = 0;

        for (unsigned i = 0; i < rx->n_held; i++) {
                const struct virtio_chain *chain = rx->held[i];

                for (unsigned j = 0; j < chain->n_in && n < max - 1; j++) {
                        size_t cut = skip < chain->in[j].iov_len ? skip : chain->in[j].iov_len;

                        skip -= cut;
                        if (chain->in[j].iov_len > cut)
                                iov[n++] = (struct iovec){ (uint8_t *)chain->in[j].iov_base + cut, chain->in[j].iov_len - cut };
                }
        }
        iov[n++] = (struct iovec){ rx->spill, NETDEV_HEADER_SIZE + NETDEV_PACKET_MAX };
        return n;
}

static void copy_from(const struct iovec *iov, size_t off, void *to, size_t len)
{
        uint8_t *p = to;

        for (; len; iov++) {
                size_t n = iov->iov_len - off;

                if (off >= iov->iov_len) {
                        off -= iov->iov_len;
                        continue;
                }
                if (n > len)
                        n = len;
                memcpy(p, (const uint8_t *)iov->iov_base + off, n);
                p += n;
                len -= n;
                off = 0;
        }
}

/* --- Packets ------------------------------------------------------------------------------------------------------------------------- */

/* What the back end does not write, or not as this guest may see it: 5.1.6.4. */
static void finish_header(struct vnet *net, struct virtio_chain *first, unsigned n_buffers)
{
        uint8_t header[NETDEV_HEADER_SIZE] = { 0 };

        le16_store(header + 10, (uint16_t)n_buffers);
        if (netdev_features(net->nd)->vnet_hdr && vnet_has(net, VNET_F_GUEST_CSUM))
                virtio_chain_write(first, 10, header + 10, 2);
        else
                virtio_chain_write(first, 0, header, sizeof(header));
}

/* A packet of len bytes, with its header, lies in the first held buffers. */
static void push_packet(struct vnet_pair *pair, struct virtio_queue *q, size_t len)
{
        struct vnet_rx *rx = &pair->rx;
        struct vnet *net = pair->net;
        size_t written[VNET_QUEUE_SIZE];
        size_t left = len;
        unsigned n = 0;

        do {
                size_t room = rx->held[n]->in_len;

                written[n] = left < room ? left : room;
                left -= written[n];
                rx->bytes -= room;
                rx->n_iov -= rx->held[n]->n_in;
                n++;
        } while (left);
        finish_header(net, rx->held[0], n);
        virtio_queue_push_many(q, rx->held, written, n);
        rx->n_held -= n;
        memmove(rx->held, rx->held + n, rx->n_held * sizeof(rx->held[0]));
        net->rx_stats.packets++;
        net->rx_stats.bytes += len - NETDEV_HEADER_SIZE;
}

/* Copies what did not fit into buffers that have come since. False: they are not enough yet. */
static bool finish_spill(struct vnet_pair *pair, struct virtio_queue *q)
{
        struct vnet_rx *rx = &pair->rx;
        size_t len = rx->spilled_packet;

        while (rx->spill_pos < rx->spill_end) {
                if (rx->n_held == held_max(pair->net)) {
                        pair->net->rx_stats.errors++;
                        rx->spill_end = 0;
                        return true;
                }
                if (!hold_one(pair, q, UINT_MAX))
                        return false;
                rx->spill_pos += virtio_chain_write(
                        rx->held[rx->n_held - 1], 0, rx->spill + rx->spill_pos, rx->spill_end - rx->spill_pos);
        }
        rx->spill_end = 0;
        push_packet(pair, q, len);
        return true;
}

/* Is this packet, of which len bytes lie in iov, one for the guest? */
static bool wanted(struct vnet *net, const struct iovec *iov, size_t len)
{
        size_t off = netdev_features(net->nd)->vnet_hdr ? NETDEV_HEADER_SIZE : 0;
        uint8_t mac[VNET_MAC_SIZE];

        if (len < off + VNET_ETHERNET_HEADER) {
                net->rx_stats.errors++;
                return false;
        }
        copy_from(iov, off, mac, sizeof(mac));
        return vnet_filter_wants(net, mac);
}

/* One packet of the back end's. Its length, or -EAGAIN: there is none, or it waits for more buffers. */
static ssize_t receive_one(struct vnet_pair *pair, struct virtio_queue *q)
{
        struct vnet *net = pair->net;
        struct vnet_rx *rx = &pair->rx;
        struct iovec iov[IOV_MAX];
        unsigned n = gather(pair, iov, IOV_MAX);
        ssize_t r = netdev_receive(net->nd, pair->n, iov, n);
        size_t len;

        if (r == -EMSGSIZE) {
                net->rx_stats.errors++;
                return 0;
        }
        if (r < 0)
                return -EAGAIN;
        if (!wanted(net, iov, (size_t)r))
                return r;
        len = (size_t)r + (netdev_features(net->nd)->vnet_hdr ? 0 : NETDEV_HEADER_SIZE);
        if (len > rx->bytes) {
                rx->spilled_packet = len;
                rx->spill_pos = 0;
                rx->spill_end = len - rx->bytes;
                return finish_spill(pair, q) ? r : -EAGAIN;
        }
        push_packet(pair, q, len);
        return r;
}

/* Are there buffers for another packet? A guest whose whole ring does not hold the longest one shall get the shorter ones. */
static bool hold_enough(struct vnet_pair *pair, struct virtio_queue *q)
{
        size_t want = longest(pair->net);

        if (pair->rx.spill_end && !finish_spill(pair, q))
                return false;
        while (pair->rx.bytes < want && hold_one(pair, q, IOV_MAX - 1)) {
        }
        return pair->rx.n_held > 0;
}

/* Waits for buffers. False: they have come in between. */
static bool starve(struct vnet_pair *pair, struct virtio_queue *q)
{
        if (pair->net->dev.running && virtio_queue_want_notify(q, true)) {
                virtio_queue_want_notify(q, false);
                return false;
        }
        netdev_want_readable(pair->net->nd, pair->n, false);
        return true;
}

void vnet_rx_poll(struct vnet_pair *pair)
{
        struct virtio_queue *q = rx_queue(pair);
        size_t bytes = 0;
        unsigned packets = 0;

        if (!q || !pair->net->dev.running || !vnet_link_is_up(pair->net)) {
                netdev_want_readable(pair->net->nd, pair->n, false);
                return;
        }
        while (packets < VNET_TURN_PACKETS && bytes < VNET_TURN_BYTES) {
                ssize_t r;

                if (!hold_enough(pair, q)) {
                        if (starve(pair, q))
                                break;
                        continue;
                }
                r = receive_one(pair, q);
                if (r < 0 && !pair->rx.spill_end)
                        break;
                packets++;
                bytes += r > 0 ? (size_t)r : 0;
        }
        virtio_queue_interrupt(q);
}

void vnet_rx_resume(struct vnet_pair *pair)
{
        struct virtio_queue *q = rx_queue(pair);

        if (!q || !pair->net->dev.running || !vnet_link_is_up(pair->net))
                return;
        virtio_queue_want_notify(q, false);
        netdev_want_readable(pair->net->nd, pair->n, true);
        /* No other packet may come to finish this one. */
        if (pair->rx.spill_end)
                vnet_rx_poll(pair);
}

void vnet_rx_discard(struct vnet_pair *pair)
{
        struct iovec iov = { pair->rx.spill, NETDEV_HEADER_SIZE + NETDEV_PACKET_MAX };

        if (pair->rx.spill_end)
                return;
        /* More than a tap's queue of the usual length has. */
        for (unsigned i = 0; i < 1024; i++) {
                ssize_t r = netdev_receive(pair->net->nd, pair->n, &iov, 1);

                if (r < 0 && r != -EMSGSIZE)
                        break;
                pair->net->rx_stats.dropped++;
        }
}

void vnet_rx_drop(struct vnet_pair *pair)
{
        struct vnet_rx *rx = &pair->rx;

        for (unsigned i = 0; i < rx->n_held; i++)
                virtio_chain_drop(rx->held[i]);
        rx->n_held = rx->n_iov = 0;
        rx->bytes = rx->spill_end = 0;
}
