/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network card (VIRTIO 1.1, 5.1): the device as a whole. Properties: "fds" or "passt" (see netdev.h), "mac" s, "mtu" u, "link" b, "queues" u (pairs, at most and by
 * default as many as there are taps), "offloads" b (checksums and segmentation). Changed later can be the link and the back end. */
#include "hv/virtio/virtio-net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/virtio/devices.h"

#define MTU_MIN 68
#define MTU_MAX 65535
#define MTU_DEFAULT 1500
#define VLAN_TAG 4
#define CLASS_ETHERNET 0x020000
#define BIT(n) (1ull << (n))

static struct vnet *of(struct virtio_device *dev)
{
        return container_of(dev, struct vnet, dev);
}

bool vnet_link_is_up(const struct vnet *net)
{
        return net->link && !net->gone;
}

bool vnet_has(const struct vnet *net, unsigned feature)
{
        return net->dev.features & BIT(feature);
}

unsigned vnet_offloads(uint64_t features)
{
        static const struct {
                uint64_t feature;
                unsigned offload;
        } map[] = {
                { BIT(VNET_F_GUEST_CSUM), TUN_F_CSUM },
                { BIT(VNET_F_GUEST_TSO4), TUN_F_TSO4 },
                { BIT(VNET_F_GUEST_TSO6), TUN_F_TSO6 },
                { BIT(VNET_F_GUEST_ECN), TUN_F_TSO_ECN },
        };
        unsigned offloads = 0;

        for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
                if (features & map[i].feature)
                        offloads |= map[i].offload;
        /* Segments have checksums to be made. */
        return offloads & TUN_F_CSUM ? offloads : 0;
}

static void set_status(struct vnet *net, uint16_t set)
{
        uint8_t *status = net->dev.config + VNET_CONFIG_STATUS;

        le16_store(status, (uint16_t)((vnet_link_is_up(net) ? VNET_S_LINK_UP : 0) | set));
}

/* --- The guest ----------------------------------------------------------------------------------------------------------------------- */

int vnet_use_pairs(struct vnet *net, unsigned n)
{
        int r = netdev_set_queues(net->nd, n);

        if (r < 0)
                return r;
        net->n_used = n;
        for (unsigned i = 0; i < n; i++)
                vnet_rx_resume(&net->pairs[i]);
        return 0;
}

static void net_start(struct virtio_device *dev)
{
        struct vnet *net = of(dev);
        int r;

        net->offloads = vnet_offloads(dev->features);
        r = netdev_set_offloads(net->nd, net->offloads);
        if (r < 0)
                log_warning("%s: the back end refuses the guest's offloads: %s", net->id, strerror(-r));
}

static bool net_stop(struct virtio_device *dev)
{
        struct vnet *net = of(dev);

        for (unsigned i = 0; i < net->n_pairs; i++) {
                netdev_want_readable(net->nd, i, false);
                vnet_rx_drop(&net->pairs[i]);
                vnet_tx_drop(&net->pairs[i]);
        }
        watch_set(&net->later, 0);
        netdev_set_queues(net->nd, 1);
        netdev_set_offloads(net->nd, 0);
        net->n_used = 1;
        net->offloads = 0;
        vnet_filter_init(&net->filter);
        memcpy(dev->config, net->mac, VNET_MAC_SIZE);
        set_status(net, 0);
        return true;
}

/* Without VNET_F_MQ the control queue follows the first pair (5.1.2). */
static void net_notify(struct virtio_device *dev, unsigned n)
{
        struct vnet *net = of(dev);
        unsigned pairs = vnet_has(net, VNET_F_MQ) ? net->n_pairs : 1;
        struct virtio_queue *q = virtio_device_queue(dev, n);

        if (!q)
                return;
        if (n < 2 * pairs && n % 2 == 0)
                vnet_rx_resume(&net->pairs[n / 2]);
        else if (n < 2 * pairs)
                vnet_tx_notify(&net->pairs[n / 2]);
        else if (n == 2 * pairs && vnet_has(net, VNET_F_CTRL_VQ))
                vnet_ctrl_notify(net, q);
}

static const struct virtio_ops net_ops = {
        .start = net_start,
        .stop = net_stop,
        .notify = net_notify,
};

/* --- The back end -------------------------------------------------------------------------------------------------------------------- */

static void on_readable(void *opaque, unsigned n)
{
        struct vnet *net = opaque;

        vnet_rx_poll(&net->pairs[n]);
}

static void on_writable(void *opaque, unsigned n)
{
        struct vnet *net = opaque;

        vnet_tx_writable(&net->pairs[n]);
}

/* What the guest had queued is dropped from now on. */
static void link_changed(struct vnet *net, uint16_t status)
{
        set_status(net, status);
        virtio_config_changed(&net->dev);
        for (unsigned i = 0; i < net->n_pairs; i++) {
                if (vnet_link_is_up(net) && i < net->n_used)
                        vnet_rx_resume(&net->pairs[i]);
                else
                        netdev_want_readable(net->nd, i, false);
                vnet_tx_writable(&net->pairs[i]);
        }
}

static void on_gone(void *opaque, const char *why)
{
        struct vnet *net = opaque;

        log_warning("%s: %s; the guest's link is down", net->id, why);
        net->gone = true;
        link_changed(net, 0);
}

static int open_netdev(struct vnet *net, struct props *props, struct netdev **ret, char **ret_error)
{
        const struct netdev_env env = {
                .watches = net->env.watches,
                .readable = on_readable,
                .writable = on_writable,
                .gone = on_gone,
                .opaque = net,
        };

        return netdev_new(&env, props, ret, ret_error);
}

/* --- Changes ------------------------------------------------------------------------------------------------------------------------- */

static void set_link(struct vnet *net, bool link)
{
        bool was = vnet_link_is_up(net);

        net->link = link;
        if (vnet_link_is_up(net) == was)
                return;
        if (!was)
                for (unsigned i = 0; i < net->n_used; i++)
                        vnet_rx_discard(&net->pairs[i]);
        link_changed(net, 0);
}

/* What the card has told the guest holds for as long as it is plugged in. */
static int check_replacement(const struct vnet *net, const struct netdev *nd, char **ret_error)
{
        const struct netdev_features *was = netdev_features(net->nd), *is = netdev_features(nd);

        if (is->queues < net->n_pairs)
                return plug_fail(ret_error, -EINVAL, "%s has %u queues; the new back end has %u", net->id, net->n_pairs, is->queues);
        if (was->vnet_hdr != is->vnet_hdr || (net->offloads & ~is->offloads))
                return plug_fail(ret_error, -EINVAL, "the new back end of %s cannot do the offloads that the guest was offered", net->id);
        return 0;
}

/* The guest tells the new network where it is now, by gratuitous ARP. */
static void replace_netdev(struct vnet *net, struct netdev *nd)
{
        bool announce = net->dev.running && vnet_has(net, VNET_F_GUEST_ANNOUNCE);
        struct netdev *old = net->nd;

        net->nd = nd;
        net->gone = false;
        netdev_free(old);
        if (netdev_set_offloads(nd, net->offloads) < 0 || netdev_set_queues(nd, net->n_used) < 0)
                log_warning("%s: the new back end refuses the guest's settings", net->id);
        link_changed(net, announce ? VNET_S_ANNOUNCE : 0);
}

static int net_set(struct plug *plug, struct props *props, char **ret_error)
{
        struct vnet *net = container_of(plug, struct vnet, plug);
        struct netdev *nd = NULL;
        bool link = net->link;
        int r = props_take_bool(props, "link", &link);

        if (r == -EINVAL)
                return plug_fail(ret_error, r, "\"link\" of %s is no boolean", net->id);
        r = netdev_named(props) ? open_netdev(net, props, &nd, ret_error) : 0;
        if (r == 0 && nd)
                r = check_replacement(net, nd, ret_error);
        if (r == 0 && props_left(props))
                r = plug_fail(ret_error, -EINVAL, "\"%s\" of %s cannot be changed", props_left(props), net->id);
        if (r < 0) {
                netdev_free(nd);
                return r;
        }
        if (nd)
                replace_netdev(net, nd);
        set_link(net, link);
        return 0;
}

static void stat(plug_stat_fn fn, void *opaque, const char *dir, const struct vnet_stats *stats)
{
        const struct {
                const char *name;
                uint64_t value;
        } figures[] = { { "bytes", stats->bytes }, { "packets", stats->packets }, { "errors", stats->errors }, { "dropped", stats->dropped } };
        char name[32];

        for (unsigned i = 0; i < ARRAY_SIZE(figures); i++) {
                snprintf(name, sizeof(name), "%s-%s", dir, figures[i].name);
                fn(opaque, name, figures[i].value);
        }
}

static void net_stats(struct plug *plug, plug_stat_fn fn, void *opaque)
{
        const struct vnet *net = container_of(plug, struct vnet, plug);

        stat(fn, opaque, "rx", &net->rx_stats);
        stat(fn, opaque, "tx", &net->tx_stats);
}

static void net_reset(struct plug *plug)
{
        virtio_device_reset(&container_of(plug, struct vnet, plug)->dev);
}

static void net_free(struct plug *plug)
{
        struct vnet *net = container_of(plug, struct vnet, plug);

        if (net->dev.pci)
                virtio_device_reset(&net->dev);
        virtio_device_finish(&net->dev);
        watch_remove(&net->later);
        fd_close(net->later_fd);
        netdev_free(net->nd);
        for (unsigned i = 0; i < NETDEV_QUEUES_MAX; i++)
                free(net->pairs[i].rx.spill);
        free(net->id);
        free(net);
}

static const struct plug_ops net_plug_ops = {
        .driver = "virtio-net",
        .reset = net_reset,
        .set = net_set,
        .stats = net_stats,
        .free = net_free,
};

/* --- Making one ---------------------------------------------------------------------------------------------------------------------- */

struct net_props {
        const char *mac;
        unsigned mtu, queues;
        bool offloads;
        unsigned boot_index; /* nobody boots from a network yet */
};

static bool parse_mac(const char *s, uint8_t mac[VNET_MAC_SIZE])
{
        unsigned b[VNET_MAC_SIZE];
        int end = 0;

        if (!s || sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) != VNET_MAC_SIZE || s[end])
                return false;
        for (unsigned i = 0; i < VNET_MAC_SIZE; i++)
                mac[i] = (uint8_t)b[i];
        return !(mac[0] & 1);
}

static int take_props(struct vnet *net, struct props *props, struct net_props *p, char **ret_error)
{
        *p = (struct net_props){ .offloads = true };
        net->link = true;
        if (props_take_string(props, "mac", &p->mac) < 0 || !parse_mac(p->mac, net->mac))
                return plug_fail(ret_error, -EINVAL, "\"mac\" of %s is not the address of one network card", net->id);
        if (props_take_unsigned(props, "mtu", MTU_MAX, &p->mtu) == -EINVAL || (p->mtu && p->mtu < MTU_MIN))
                return plug_fail(ret_error, -EINVAL, "\"mtu\" of %s is not from %u to %u", net->id, MTU_MIN, MTU_MAX);
        if (props_take_unsigned(props, "queues", NETDEV_QUEUES_MAX, &p->queues) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"queues\" of %s is not from 1 to %u", net->id, NETDEV_QUEUES_MAX);
        if (props_take_unsigned(props, "boot-index", UINT32_MAX, &p->boot_index) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"boot-index\" of %s is no number", net->id);
        if (props_take_bool(props, "link", &net->link) == -EINVAL || props_take_bool(props, "offloads", &p->offloads) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"link\" and \"offloads\" of %s are booleans", net->id);
        return 0;
}

static int choose_queues(struct vnet *net, const struct net_props *p, char **ret_error)
{
        unsigned have = netdev_features(net->nd)->queues;

        net->n_pairs = p->queues ? p->queues : have;
        net->n_used = 1;
        if (net->n_pairs > have)
                return plug_fail(ret_error, -EINVAL, "%s shall have %u queues, but its back end has %u", net->id, p->queues, have);
        for (unsigned i = 0; i < net->n_pairs; i++) {
                net->pairs[i] = (struct vnet_pair){ .net = net, .n = i };
                net->pairs[i].rx.spill = malloc(NETDEV_HEADER_SIZE + NETDEV_PACKET_MAX);
                if (!net->pairs[i].rx.spill)
                        return -ENOMEM;
        }
        return 0;
}

static uint64_t offload_features(unsigned offloads)
{
        uint64_t f = 0;

        if (offloads & TUN_F_CSUM)
                f |= BIT(VNET_F_CSUM) | BIT(VNET_F_GUEST_CSUM) | BIT(VNET_F_CTRL_GUEST_OFFLOADS);
        if (offloads & TUN_F_TSO4)
                f |= BIT(VNET_F_HOST_TSO4) | BIT(VNET_F_GUEST_TSO4);
        if (offloads & TUN_F_TSO6)
                f |= BIT(VNET_F_HOST_TSO6) | BIT(VNET_F_GUEST_TSO6);
        if (offloads & TUN_F_TSO_ECN)
                f |= BIT(VNET_F_HOST_ECN) | BIT(VNET_F_GUEST_ECN);
        return f;
}

static uint64_t offered(const struct vnet *net, const struct net_props *p)
{
        uint64_t f = BIT(VNET_F_MAC) | BIT(VNET_F_STATUS) | BIT(VNET_F_MRG_RXBUF) | BIT(VNET_F_CTRL_VQ) |
                     BIT(VNET_F_CTRL_RX) | BIT(VNET_F_CTRL_MAC_ADDR) | BIT(VNET_F_GUEST_ANNOUNCE);

        if (p->mtu)
                f |= BIT(VNET_F_MTU);
        if (net->n_pairs > 1)
                f |= BIT(VNET_F_MQ);
        return f | (p->offloads ? offload_features(netdev_features(net->nd)->offloads) : 0);
}

static int attach(struct vnet *net, int slot, const struct net_props *p)
{
        const struct virtio_info info = {
                .id = VIRTIO_ID_NET,
                .class = CLASS_ETHERNET,
                .features = offered(net, p),
                .n_queues = 2 * net->n_pairs + 1,
                .queue_size = VNET_QUEUE_SIZE,
                .config_size = VNET_CONFIG_SIZE,
        };

        net->packet_max = NETDEV_HEADER_SIZE + VNET_ETHERNET_HEADER + VLAN_TAG + (p->mtu ? p->mtu : MTU_DEFAULT);
        memcpy(net->dev.config, net->mac, VNET_MAC_SIZE);
        le16_store(net->dev.config + VNET_CONFIG_MAX_PAIRS, (uint16_t)net->n_pairs);
        le16_store(net->dev.config + VNET_CONFIG_MTU, (uint16_t)p->mtu);
        set_status(net, 0);
        vnet_filter_init(&net->filter);
        return virtio_device_init(&net->dev, &net->env, slot, &info);
}

static int watch_later(struct vnet *net)
{
        net->later_fd = eventfd(1, EFD_CLOEXEC);
        if (net->later_fd < 0)
                return -errno;
        return watch_add(net->env.watches, &net->later, net->later_fd, 0, vnet_tx_later, net);
}

static int set_up(struct vnet *net, int slot, struct props *props, char **ret_error)
{
        struct net_props p;
        int r = take_props(net, props, &p, ret_error);

        if (r == 0)
                r = open_netdev(net, props, &net->nd, ret_error);
        if (r == 0)
                r = choose_queues(net, &p, ret_error);
        if (r == 0)
                r = watch_later(net);
        if (r == 0)
                r = attach(net, slot, &p);
        if (r < 0 && !*ret_error)
                plug_fail(ret_error, r, "cannot make network card %s: %s", net->id, strerror(-r));
        return r;
}

static int net_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        struct vnet *net = calloc(1, sizeof(*net));
        int r;

        if (!net)
                return -ENOMEM;
        *ret_error = NULL;
        *net = (struct vnet){ .plug = { .ops = &net_plug_ops, .pci_slot = slot }, .env = *env, .later_fd = -1, .id = strdup(id) };
        net->dev = (struct virtio_device){ .ops = &net_ops, .name = net->id };
        r = net->id ? set_up(net, slot, props, ret_error) : -ENOMEM;
        if (r < 0) {
                net_free(&net->plug);
                return r;
        }
        *ret = &net->plug;
        return 0;
}

const struct plug_driver virtio_net_driver = { .name = "virtio-net", .new = net_new, .pci = true };
