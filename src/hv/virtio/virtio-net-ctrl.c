/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control queue (VIRTIO 1.1, 5.1.6.5): which packets the guest wants, its address, how many queue pairs it uses, and which offloads. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/virtio/virtio-net.h"

/* Classes, and the numbers of their commands. */
enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_ANNOUNCE = 3, CLASS_MQ = 4, CLASS_GUEST_OFFLOADS = 5 };
enum { RX_PROMISC = 0, RX_ALLMULTI = 1 };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1 };
enum { ANNOUNCE_ACK = 0 };
enum { MQ_PAIRS_SET = 0 };
enum { GUEST_OFFLOADS_SET = 0 };
enum { ACK_OK = 0, ACK_ERROR = 1 };

/* Where the command's data begin: behind its class and number. */
#define DATA 2

/* 0 or negative errno; the guest hears no more than that it failed. */
typedef int (*command_fn)(struct vnet *net, const struct virtio_chain *chain);

struct command {
        unsigned feature; /* that the guest must have negotiated */
        uint8_t class, number;
        command_fn fn;
};

static int read_data(const struct virtio_chain *chain, size_t off, void *buf, size_t len)
{
        return virtio_chain_read(chain, DATA + off, buf, len) == len ? 0 : -EINVAL;
}

/* --- Which packets ------------------------------------------------------------------------------------------------------------------- */

void vnet_filter_init(struct vnet_filter *filter)
{
        memset(filter, 0, sizeof(*filter));
        filter->promisc = true;
}

static bool in_table(const struct vnet_macs *macs, const uint8_t mac[VNET_MAC_SIZE])
{
        for (unsigned i = 0; i < macs->n; i++)
                if (memcmp(macs->mac[i], mac, VNET_MAC_SIZE) == 0)
                        return true;
        return macs->all;
}

static bool is_broadcast(const uint8_t mac[VNET_MAC_SIZE])
{
        static const uint8_t broadcast[VNET_MAC_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

        return memcmp(mac, broadcast, VNET_MAC_SIZE) == 0;
}

bool vnet_filter_wants(const struct vnet *net, const uint8_t mac[VNET_MAC_SIZE])
{
        const struct vnet_filter *f = &net->filter;

        if (f->promisc)
                return true;
        if (mac[0] & 1)
                return f->allmulti || is_broadcast(mac) || in_table(&f->multicast, mac);
        return memcmp(net->dev.config, mac, VNET_MAC_SIZE) == 0 || in_table(&f->unicast, mac);
}

static int set_bool(const struct virtio_chain *chain, bool *ret)
{
        uint8_t value;
        int r = read_data(chain, 0, &value, 1);

        if (r == 0)
                *ret = value;
        return r;
}

static int set_promisc(struct vnet *net, const struct virtio_chain *chain)
{
        return set_bool(chain, &net->filter.promisc);
}

static int set_allmulti(struct vnet *net, const struct virtio_chain *chain)
{
        return set_bool(chain, &net->filter.allmulti);
}

/* A table of addresses at *off, which is moved behind it: a count in 4 bytes, then as many addresses. */
static int read_macs(const struct virtio_chain *chain, size_t *off, struct vnet_macs *macs)
{
        uint8_t raw[4];
        uint32_t n;

        if (read_data(chain, *off, raw, sizeof(raw)) < 0)
                return -EINVAL;
        *off += sizeof(raw);
        n = le32_load(raw);
        if (n > (chain->out_len - DATA - *off) / VNET_MAC_SIZE)
                return -EINVAL;
        macs->all = n > VNET_MACS_MAX;
        macs->n = macs->all ? 0 : n;
        if (read_data(chain, *off, macs->mac, macs->n * VNET_MAC_SIZE) < 0)
                return -EINVAL;
        *off += (size_t)n * VNET_MAC_SIZE;
        return 0;
}

static int set_mac_tables(struct vnet *net, const struct virtio_chain *chain)
{
        struct vnet_macs unicast, multicast;
        size_t off = 0;

        if (read_macs(chain, &off, &unicast) < 0 || read_macs(chain, &off, &multicast) < 0)
                return -EINVAL;
        net->filter.unicast = unicast;
        net->filter.multicast = multicast;
        return 0;
}

static int set_mac(struct vnet *net, const struct virtio_chain *chain)
{
        return read_data(chain, 0, net->dev.config, VNET_MAC_SIZE);
}

/* --- The rest ------------------------------------------------------------------------------------------------------------------------ */

static int acknowledge_announce(struct vnet *net, const struct virtio_chain *chain)
{
        uint8_t *status = net->dev.config + VNET_CONFIG_STATUS;

        *status &= (uint8_t)~VNET_S_ANNOUNCE;
        return 0;
}

static int set_pairs(struct vnet *net, const struct virtio_chain *chain)
{
        uint8_t raw[2];
        unsigned n;

        if (read_data(chain, 0, raw, sizeof(raw)) < 0)
                return -EINVAL;
        n = le16_load(raw);
        return n == 0 || n > net->n_pairs ? -EINVAL : vnet_use_pairs(net, n);
}

/* A choice among those that were negotiated. */
static int set_offloads(struct vnet *net, const struct virtio_chain *chain)
{
        uint8_t raw[8];
        unsigned offloads;
        int r;

        if (read_data(chain, 0, raw, sizeof(raw)) < 0 || (le64_load(raw) & ~net->dev.features))
                return -EINVAL;
        offloads = vnet_offloads(le64_load(raw));
        r = netdev_set_offloads(net->nd, offloads);
        if (r == 0)
                net->offloads = offloads;
        return r;
}

static const struct command commands[] = {
        { VNET_F_CTRL_RX, CLASS_RX, RX_PROMISC, set_promisc },
        { VNET_F_CTRL_RX, CLASS_RX, RX_ALLMULTI, set_allmulti },
        { VNET_F_CTRL_RX, CLASS_MAC, MAC_TABLE_SET, set_mac_tables },
        { VNET_F_CTRL_MAC_ADDR, CLASS_MAC, MAC_ADDR_SET, set_mac },
        { VNET_F_GUEST_ANNOUNCE, CLASS_ANNOUNCE, ANNOUNCE_ACK, acknowledge_announce },
        { VNET_F_MQ, CLASS_MQ, MQ_PAIRS_SET, set_pairs },
        { VNET_F_CTRL_GUEST_OFFLOADS, CLASS_GUEST_OFFLOADS, GUEST_OFFLOADS_SET, set_offloads },
};

static int run_command(struct vnet *net, const struct virtio_chain *chain)
{
        uint8_t header[DATA];

        virtio_chain_read(chain, 0, header, sizeof(header));
        for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
                if (commands[i].class == header[0] && commands[i].number == header[1] && vnet_has(net, commands[i].feature))
                        return commands[i].fn(net, chain);
        return -EOPNOTSUPP;
}

void vnet_ctrl_notify(struct vnet *net, struct virtio_queue *q)
{
        struct virtio_chain *chain;

        while (net->dev.running && (chain = virtio_queue_pop(q))) {
                uint8_t ack;

                if (chain->out_len < DATA || chain->in_len < sizeof(ack)) {
                        virtio_chain_drop(chain);
                        virtio_device_broken(&net->dev, "a control command that is too short");
                        return;
                }
                ack = run_command(net, chain) < 0 ? ACK_ERROR : ACK_OK;
                virtio_chain_write(chain, 0, &ack, sizeof(ack));
                virtio_queue_push(q, chain, sizeof(ack));
        }
        virtio_queue_interrupt(q);
}
