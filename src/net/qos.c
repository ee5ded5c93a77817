/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/qos.h"

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/class.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/htb.h>
#include <string.h>

#include "base/bytes.h"
#include "model/error.h"
#include "net/link.h"

#define TOP TC_HANDLE(1, 1)     /* the limit of all */
#define REST 2                  /* 1:2, whoever has no guarantee */
#define BURST_MIN 65536         /* bytes: a segmentation-offloaded packet */
#define INGRESS TC_HANDLE(0xffffU, 0)

static bool fail(GError **error, int nl_error, const char *device)
{
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot limit the bandwidth of '%s': %s", device, nl_geterror(nl_error));
        return false;
}

static struct nl_sock *open_socket(void)
{
        struct nl_sock *sock = nl_socket_alloc();

        if (sock && nl_connect(sock, NETLINK_ROUTE) < 0) {
                nl_socket_free(sock);
                sock = NULL;
        }
        return sock;
}

static void set_place(struct rtnl_tc *tc, const char *device, uint32_t parent, uint32_t handle, const char *kind)
{
        rtnl_tc_set_ifindex(tc, (int)if_nametoindex(device));
        rtnl_tc_set_parent(tc, parent);
        if (handle)
                rtnl_tc_set_handle(tc, handle);
        rtnl_tc_set_kind(tc, kind);
}

/* --- Queues --- */

static int add_qdisc(struct nl_sock *sock, const char *device, uint32_t parent, uint32_t handle, const char *kind)
{
        struct rtnl_qdisc *q = rtnl_qdisc_alloc();
        int r;

        set_place(TC_CAST(q), device, parent, handle, kind);
        if (strcmp(kind, "htb") == 0)
                rtnl_htb_set_defcls(q, REST);
        r = rtnl_qdisc_add(sock, q, NLM_F_CREATE | NLM_F_EXCL);
        rtnl_qdisc_put(q);
        return r;
}

static void delete_qdisc(struct nl_sock *sock, const char *device, uint32_t parent, uint32_t handle, const char *kind)
{
        struct rtnl_qdisc *q = rtnl_qdisc_alloc();

        set_place(TC_CAST(q), device, parent, handle, kind);
        rtnl_qdisc_delete(sock, q); /* most often there is none */
        rtnl_qdisc_put(q);
}

static uint32_t burst_bytes(uint64_t rate, uint64_t burst_kib)
{
        return (uint32_t)(burst_kib ? MIN(burst_kib, UINT32_MAX >> 12) << 10 : CLAMP(rate / 100, BURST_MIN, 16U << 20));
}

/* rate, ceil: KiB/s. A burst goes at ceil. */
static int put_class(struct nl_sock *sock, const char *device, uint32_t parent, uint32_t handle, uint64_t rate, uint64_t ceil, uint64_t burst_kib)
{
        struct rtnl_class *c = rtnl_class_alloc();
        uint64_t bytes = MAX(rate, 1) << 10, most = MAX(ceil, MAX(rate, 1)) << 10;
        int r;

        set_place(TC_CAST(c), device, parent, handle, "htb");
        rtnl_htb_set_rate64(c, bytes);
        rtnl_htb_set_ceil64(c, most);
        rtnl_htb_set_rbuffer(c, burst_bytes(bytes, burst_kib));
        rtnl_htb_set_cbuffer(c, burst_bytes(most, most > bytes ? 0 : burst_kib));
        rtnl_htb_set_quantum(c, (uint32_t)CLAMP(bytes / 10, 2000, 60000));
        r = rtnl_class_add(sock, c, NLM_F_CREATE);
        rtnl_class_put(c);
        return r;
}

/* The bucket at the way out of a device. The class below the limit is for guarantees beside it. */
static int shape(struct nl_sock *sock, const char *device, const DomusBandwidthRate *rate)
{
        uint64_t ceil = MAX(rate->peak, rate->average);
        int r = add_qdisc(sock, device, TC_H_ROOT, TC_HANDLE(1, 0), "htb");

        if (r >= 0)
                r = put_class(sock, device, TC_HANDLE(1, 0), TOP, rate->average, ceil, rate->burst);
        if (r >= 0)
                r = put_class(sock, device, TOP, TC_HANDLE(1, REST), rate->average, ceil, rate->burst);
        return r;
}

/* --- What comes in --- */

/* Its helper device: a name of the device's own, that the kernel's limit leaves room for. */
static void helper_name(const char *device, char name[IF_NAMESIZE])
{
        if (strlen(device) + 2 < IF_NAMESIZE)
                snprintf(name, IF_NAMESIZE, "q-%s", device);
        else
                snprintf(name, IF_NAMESIZE, "q-%08x", g_str_hash(device));
}

static int redirect(struct nl_sock *sock, const char *device, const char *helper)
{
        struct rtnl_cls *cls = rtnl_cls_alloc();
        struct rtnl_act *act = rtnl_act_alloc();
        int r;

        set_place(TC_CAST(cls), device, INGRESS, 0, "u32");
        rtnl_cls_set_prio(cls, 1);
        rtnl_cls_set_protocol(cls, ETH_P_ALL);
        rtnl_u32_add_key_uint32(cls, 0, 0, 0, 0);
        rtnl_u32_set_cls_terminal(cls);
        rtnl_tc_set_kind(TC_CAST(act), "mirred");
        rtnl_mirred_set_action(act, TCA_EGRESS_REDIR);
        rtnl_mirred_set_policy(act, TC_ACT_STOLEN);
        rtnl_mirred_set_ifindex(act, if_nametoindex(helper));
        r = rtnl_u32_add_action(cls, act);
        if (r >= 0)
                r = rtnl_cls_add(sock, cls, NLM_F_CREATE);
        rtnl_act_put(act);
        rtnl_cls_put(cls);
        return r;
}

static int shape_incoming(struct nl_sock *sock, const char *device, const DomusBandwidthRate *rate, GError **error)
{
        char helper[IF_NAMESIZE];
        int r;

        helper_name(device, helper);
        if (!link_make_ifb(helper, error))
                return -NLE_FAILURE;
        r = shape(sock, helper, rate);
        if (r >= 0)
                r = add_qdisc(sock, device, TC_H_INGRESS, INGRESS, "ingress");
        if (r >= 0)
                r = redirect(sock, device, helper);
        return r;
}

/* --- Devices --- */

void qos_clear(const char *device)
{
        struct nl_sock *sock = open_socket();
        char helper[IF_NAMESIZE];

        helper_name(device, helper);
        if (sock && link_exists(device)) {
                delete_qdisc(sock, device, TC_H_INGRESS, INGRESS, "ingress");
                delete_qdisc(sock, device, TC_H_ROOT, TC_HANDLE(1, 0), "htb");
        }
        if (link_exists(helper))
                link_delete(helper, NULL);
        nl_socket_free(sock);
}

bool qos_set(const char *device, const DomusBandwidth *b, bool outward, GError **error)
{
        const DomusBandwidthRate *sent = outward ? &b->outbound : &b->inbound, *received = outward ? &b->inbound : &b->outbound;
        g_autoptr(GError) inner = NULL;
        struct nl_sock *sock;
        int r = 0;

        qos_clear(device);
        if (!sent->average && !received->average)
                return true;
        sock = open_socket();
        if (!sock)
                return fail(error, NLE_BAD_SOCK, device);
        if (sent->average)
                r = shape(sock, device, sent);
        if (r >= 0 && received->average)
                r = shape_incoming(sock, device, received, &inner);
        nl_socket_free(sock);
        if (r >= 0)
                return true;
        qos_clear(device);
        if (inner)
                g_propagate_error(error, g_steal_pointer(&inner));
        else
                fail(error, r, device);
        return false;
}

/* --- Guarantees --- */

static struct rtnl_cls *guarantee_filter(const char *bridge, unsigned id)
{
        struct rtnl_cls *cls = rtnl_cls_alloc();

        set_place(TC_CAST(cls), bridge, TC_HANDLE(1, 0), 0, "u32");
        rtnl_cls_set_prio(cls, (uint16_t)id); /* one of its own, to be removed by */
        rtnl_cls_set_protocol(cls, ETH_P_ALL);
        return cls;
}

static int add_filter(struct nl_sock *sock, const char *bridge, unsigned id, const uint8_t mac[6])
{
        struct rtnl_cls *cls = guarantee_filter(bridge, id);
        int r;

        /* the destination address is 14 bytes before the network header */
        rtnl_u32_add_key_uint16(cls, be16_load(mac), 0xffff, -14, 0);
        rtnl_u32_add_key_uint32(cls, be32_load(mac + 2), 0xffffffff, -12, 0);
        rtnl_u32_set_classid(cls, TC_HANDLE(1, id));
        rtnl_u32_set_cls_terminal(cls);
        r = rtnl_cls_add(sock, cls, NLM_F_CREATE);
        rtnl_cls_put(cls);
        return r;
}

static void remove_guarantee(struct nl_sock *sock, const char *bridge, unsigned id)
{
        struct rtnl_cls *cls = guarantee_filter(bridge, id);
        struct rtnl_class *c = rtnl_class_alloc();

        rtnl_cls_delete(sock, cls, 0);
        set_place(TC_CAST(c), bridge, TOP, TC_HANDLE(1, id), "htb");
        rtnl_class_delete(sock, c);
        rtnl_class_put(c);
        rtnl_cls_put(cls);
}

static int set_rest(struct nl_sock *sock, const char *bridge, const DomusBandwidth *limit, uint64_t rest)
{
        return put_class(sock, bridge, TOP, TC_HANDLE(1, REST), rest, MAX(limit->inbound.peak, limit->inbound.average), limit->inbound.burst);
}

bool qos_guarantee(const char *bridge, const DomusBandwidth *limit, unsigned id, const uint8_t mac[6], uint64_t floor, uint64_t rest, GError **error)
{
        struct nl_sock *sock = open_socket();
        int r;

        if (!sock)
                return fail(error, NLE_BAD_SOCK, bridge);
        remove_guarantee(sock, bridge, id);
        r = put_class(sock, bridge, TOP, TC_HANDLE(1, id), floor, MAX(limit->inbound.peak, limit->inbound.average), 0);
        if (r >= 0)
                r = add_filter(sock, bridge, id, mac);
        if (r >= 0)
                r = set_rest(sock, bridge, limit, rest);
        if (r < 0)
                remove_guarantee(sock, bridge, id);
        nl_socket_free(sock);
        return r >= 0 || fail(error, r, bridge);
}

void qos_unguarantee(const char *bridge, const DomusBandwidth *limit, unsigned id, uint64_t rest)
{
        struct nl_sock *sock = open_socket();

        if (!sock)
                return;
        remove_guarantee(sock, bridge, id);
        set_rest(sock, bridge, limit, rest);
        nl_socket_free(sock);
}
