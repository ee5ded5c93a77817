/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/link.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/route.h>
#include <string.h>

#include "base/macros.h"
#include "model/error.h"

/* --- Talking to the kernel --- */

static struct nl_sock *open_socket(void)
{
        struct nl_sock *sock = nl_socket_alloc();

        if (sock && nl_connect(sock, NETLINK_ROUTE) < 0) {
                nl_socket_free(sock);
                sock = NULL;
        }
        return sock;
}

static bool fail(GError **error, int nl_error, const char *what, const char *name)
{
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "%s '%s': %s", what, name, nl_geterror(nl_error));
        return false;
}

/* Takes the message, and waits for the kernel's answer. */
static bool transact(struct nl_msg *msg, const char *what, const char *name, GError **error)
{
        struct nl_sock *sock = open_socket();
        int r;

        if (!sock) {
                nlmsg_free(msg);
                return fail(error, NLE_BAD_SOCK, what, name);
        }
        r = nl_send_sync(sock, msg);
        nl_socket_free(sock);
        return r >= 0 || fail(error, r, what, name);
}

/* A message about a link: name for a new one, else its index. */
static struct nl_msg *link_message(int type, int flags, const char *name, struct ifinfomsg info)
{
        struct nl_msg *msg = nlmsg_alloc_simple(type, flags);

        nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO);
        if (!info.ifi_index)
                nla_put_string(msg, IFLA_IFNAME, name);
        return msg;
}

static struct nl_msg *change_message(const char *name, struct ifinfomsg info)
{
        info.ifi_index = (int)if_nametoindex(name); /* with 0, the name in the message says that there is none such */
        return link_message(RTM_NEWLINK, 0, name, info);
}

/* --- Asking --- */

/* NULL: none such. To be put back with rtnl_link_put. */
static struct rtnl_link *get_link(const char *name)
{
        struct nl_sock *sock = open_socket();
        struct rtnl_link *link = NULL;

        if (!sock)
                return NULL;
        if (rtnl_link_get_kernel(sock, 0, name, &link) < 0)
                link = NULL;
        nl_socket_free(sock);
        return link;
}

bool link_exists(const char *name)
{
        return if_nametoindex(name) != 0;
}

static bool is_kind(const char *name, const char *kind)
{
        struct rtnl_link *link = get_link(name);
        bool is = link && g_strcmp0(rtnl_link_get_type(link), kind) == 0;

        rtnl_link_put(link);
        return is;
}

bool link_is_bridge(const char *name)
{
        return is_kind(name, "bridge");
}

bool link_is_macvtap(const char *name)
{
        return is_kind(name, "macvtap");
}

unsigned link_mtu(const char *name)
{
        struct rtnl_link *link = get_link(name);
        unsigned mtu = link ? rtnl_link_get_mtu(link) : 0;

        rtnl_link_put(link);
        return mtu;
}

bool link_mac(const char *name, uint8_t mac[6])
{
        struct rtnl_link *link = get_link(name);
        struct nl_addr *addr = link ? rtnl_link_get_addr(link) : NULL;
        bool ok = addr && nl_addr_get_len(addr) == 6;

        if (ok)
                memcpy(mac, nl_addr_get_binary_addr(addr), 6);
        rtnl_link_put(link);
        return ok;
}

static char *name_of(int index)
{
        char name[IF_NAMESIZE];

        return index > 0 && if_indextoname((unsigned)index, name) ? g_strdup(name) : NULL;
}

char *link_master(const char *name)
{
        struct rtnl_link *link = get_link(name);
        int master = link ? rtnl_link_get_master(link) : 0;

        rtnl_link_put(link);
        return name_of(master);
}

bool link_statistics(const char *name, LinkStatistics *ret, GError **error)
{
        struct rtnl_link *link = get_link(name);

        if (!link)
                return fail(error, NLE_NODEV, "cannot read the counters of", name);
        *ret = (LinkStatistics){
                .rx_bytes = rtnl_link_get_stat(link, RTNL_LINK_RX_BYTES),
                .rx_packets = rtnl_link_get_stat(link, RTNL_LINK_RX_PACKETS),
                .rx_errors = rtnl_link_get_stat(link, RTNL_LINK_RX_ERRORS),
                .rx_dropped = rtnl_link_get_stat(link, RTNL_LINK_RX_DROPPED),
                .tx_bytes = rtnl_link_get_stat(link, RTNL_LINK_TX_BYTES),
                .tx_packets = rtnl_link_get_stat(link, RTNL_LINK_TX_PACKETS),
                .tx_errors = rtnl_link_get_stat(link, RTNL_LINK_TX_ERRORS),
                .tx_dropped = rtnl_link_get_stat(link, RTNL_LINK_TX_DROPPED),
        };
        rtnl_link_put(link);
        return true;
}

/* --- Making and removing links --- */

bool link_make_bridge(const char *name, const uint8_t mac[6], bool stp, unsigned delay, unsigned mtu, GError **error)
{
        struct nl_msg *msg = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, name, (struct ifinfomsg){ 0 });
        struct nlattr *info, *data;

        nla_put(msg, IFLA_ADDRESS, 6, mac);
        if (mtu)
                nla_put_u32(msg, IFLA_MTU, mtu);
        info = nla_nest_start(msg, IFLA_LINKINFO);
        nla_put_string(msg, IFLA_INFO_KIND, "bridge");
        data = nla_nest_start(msg, IFLA_INFO_DATA);
        nla_put_u32(msg, IFLA_BR_FORWARD_DELAY, delay * 100); /* USER_HZ */
        nla_put_u32(msg, IFLA_BR_STP_STATE, stp);
        nla_nest_end(msg, data);
        nla_nest_end(msg, info);
        return transact(msg, "cannot make bridge", name, error);
}

static uint32_t macvlan_mode(const char *mode)
{
        static const struct {
                const char *name;
                uint32_t value;
        } modes[] = {
                { "vepa", MACVLAN_MODE_VEPA },
                { "bridge", MACVLAN_MODE_BRIDGE },
                { "private", MACVLAN_MODE_PRIVATE },
                { "passthrough", MACVLAN_MODE_PASSTHRU },
        };

        for (unsigned i = 0; mode && i < ARRAY_SIZE(modes); i++)
                if (strcmp(modes[i].name, mode) == 0)
                        return modes[i].value;
        return MACVLAN_MODE_VEPA;
}

bool link_make_macvtap(const char *name, const char *parent, const char *mode, const uint8_t mac[6], GError **error)
{
        unsigned index = if_nametoindex(parent);
        struct nl_msg *msg;
        struct nlattr *info, *data;

        if (!index)
                return fail(error, NLE_NODEV, "cannot make a macvtap on", parent);
        msg = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, name, (struct ifinfomsg){ 0 });
        nla_put_u32(msg, IFLA_LINK, index);
        nla_put(msg, IFLA_ADDRESS, 6, mac);
        info = nla_nest_start(msg, IFLA_LINKINFO);
        nla_put_string(msg, IFLA_INFO_KIND, "macvtap");
        data = nla_nest_start(msg, IFLA_INFO_DATA);
        nla_put_u32(msg, IFLA_MACVLAN_MODE, macvlan_mode(mode));
        nla_nest_end(msg, data);
        nla_nest_end(msg, info);
        return transact(msg, "cannot make a macvtap on", parent, error);
}

bool link_make_ifb(const char *name, GError **error)
{
        struct nl_msg *msg = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, name,
                (struct ifinfomsg){ .ifi_flags = IFF_UP, .ifi_change = IFF_UP });
        struct nlattr *info = nla_nest_start(msg, IFLA_LINKINFO);

        nla_put_string(msg, IFLA_INFO_KIND, "ifb");
        nla_nest_end(msg, info);
        return transact(msg, "cannot make ifb device", name, error);
}

bool link_delete(const char *name, GError **error)
{
        struct ifinfomsg info = { .ifi_index = (int)if_nametoindex(name) };

        return transact(link_message(RTM_DELLINK, 0, name, info), "cannot remove", name, error);
}

/* --- Changing links --- */

bool link_set_up(const char *name, bool up, GError **error)
{
        struct ifinfomsg info = { .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP };

        return transact(change_message(name, info), up ? "cannot bring up" : "cannot take down", name, error);
}

bool link_set_mac(const char *name, const uint8_t mac[6], GError **error)
{
        struct nl_msg *msg = change_message(name, (struct ifinfomsg){ 0 });

        nla_put(msg, IFLA_ADDRESS, 6, mac);
        return transact(msg, "cannot set the MAC address of", name, error);
}

bool link_set_mtu(const char *name, unsigned mtu, GError **error)
{
        struct nl_msg *msg = change_message(name, (struct ifinfomsg){ 0 });

        nla_put_u32(msg, IFLA_MTU, mtu);
        return transact(msg, "cannot set the MTU of", name, error);
}

bool link_set_master(const char *name, const char *bridge, GError **error)
{
        unsigned index = bridge ? if_nametoindex(bridge) : 0;
        struct nl_msg *msg;

        if (bridge && !index)
                return fail(error, NLE_NODEV, "cannot use bridge", bridge);
        msg = change_message(name, (struct ifinfomsg){ 0 });
        nla_put_u32(msg, IFLA_MASTER, index);
        return transact(msg, "cannot change the bridge of", name, error);
}

bool link_set_isolated(const char *name, bool isolated, GError **error)
{
        struct nl_msg *msg = link_message(RTM_SETLINK, 0, name,
                (struct ifinfomsg){ .ifi_family = AF_BRIDGE, .ifi_index = (int)if_nametoindex(name) });
        struct nlattr *port = nla_nest_start(msg, IFLA_PROTINFO | NLA_F_NESTED);

        nla_put_u8(msg, IFLA_BRPORT_ISOLATED, isolated);
        nla_nest_end(msg, port);
        return transact(msg, "cannot isolate bridge port", name, error);
}

/* --- Addresses and routes --- */

static struct nl_addr *to_nl(const DomusInet *a, unsigned prefix)
{
        struct nl_addr *ret = nl_addr_build(a->family, a->bytes, domus_inet_bits(a->family) / 8);

        nl_addr_set_prefixlen(ret, (int)prefix);
        return ret;
}

static bool from_nl(const struct nl_addr *a, DomusInet *ret)
{
        *ret = (DomusInet){ .family = a ? nl_addr_get_family(a) : 0 };
        if (ret->family != AF_INET && ret->family != AF_INET6)
                return false;
        memcpy(ret->bytes, nl_addr_get_binary_addr(a), MIN(nl_addr_get_len(a), sizeof(ret->bytes)));
        return true;
}

/* Its duplicate address detection would hold an IPv6 address back until something is connected. */
bool link_add_address(const char *name, const DomusInet *address, unsigned prefix, GError **error)
{
        struct nl_sock *sock = open_socket();
        struct rtnl_addr *addr = rtnl_addr_alloc();
        struct nl_addr *local = to_nl(address, prefix);
        g_autofree char *what = NULL, *text = domus_inet_format(address);
        int r = sock ? 0 : -NLE_BAD_SOCK;

        rtnl_addr_set_ifindex(addr, (int)if_nametoindex(name));
        rtnl_addr_set_local(addr, local);
        if (address->family == AF_INET6) {
                rtnl_addr_set_flags(addr, IFA_F_NODAD);
        } else if (prefix < 31) {
                DomusInet last = *address;
                struct nl_addr *broadcast;

                for (unsigned bit = prefix; bit < 32; bit++)
                        last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
                broadcast = to_nl(&last, 32);
                rtnl_addr_set_broadcast(addr, broadcast);
                nl_addr_put(broadcast);
        }
        if (r == 0)
                r = rtnl_addr_add(sock, addr, 0);
        rtnl_addr_put(addr);
        nl_addr_put(local);
        nl_socket_free(sock);
        what = g_strdup_printf("cannot add address %s/%u to", text, prefix);
        return r >= 0 || fail(error, r, what, name);
}

bool link_add_route(const char *name, const DomusInet *network, unsigned prefix, const DomusInet *gateway, unsigned metric, GError **error)
{
        struct nl_sock *sock = open_socket();
        struct rtnl_route *route = rtnl_route_alloc();
        struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
        struct nl_addr *dst = to_nl(network, prefix), *gw = to_nl(gateway, domus_inet_bits(gateway->family));
        g_autofree char *what = NULL, *text = domus_inet_format(network);
        int r = sock ? 0 : -NLE_BAD_SOCK;

        rtnl_route_set_family(route, (uint8_t)network->family);
        rtnl_route_set_dst(route, dst);
        rtnl_route_set_protocol(route, RTPROT_STATIC);
        if (metric)
                rtnl_route_set_priority(route, metric);
        rtnl_route_nh_set_ifindex(hop, (int)if_nametoindex(name));
        rtnl_route_nh_set_gateway(hop, gw);
        rtnl_route_add_nexthop(route, hop);
        if (r == 0)
                r = rtnl_route_add(sock, route, NLM_F_EXCL);
        rtnl_route_put(route); /* and with it the hop */
        nl_addr_put(dst);
        nl_addr_put(gw);
        nl_socket_free(sock);
        what = g_strdup_printf("cannot add the route to %s/%u to", text, prefix);
        return r >= 0 || fail(error, r, what, name);
}

struct search {
        const DomusInet *network;
        unsigned prefix;
        int own;     /* index, 0: none */
        char *found;
};

static bool is_link_local(const DomusInet *a)
{
        return a->family == AF_INET6 && a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

static void compare(struct search *s, const struct nl_addr *addr, int index)
{
        unsigned prefix = addr ? nl_addr_get_prefixlen(addr) : 0;
        g_autofree char *text = NULL, *name = NULL;
        DomusInet a;

        if (s->found || !prefix || index == s->own || !from_nl(addr, &a) || is_link_local(&a) ||
                !domus_inet_same_network(&a, s->network, MIN(prefix, s->prefix)))
                return;
        a = domus_inet_mask(&a, prefix);
        text = domus_inet_format(&a);
        name = name_of(index);
        s->found = g_strdup_printf("%s/%u on %s", text, prefix, name ? name : "the host");
}

static void compare_address(struct nl_object *object, void *opaque)
{
        struct rtnl_addr *addr = (struct rtnl_addr *)object;

        compare(opaque, rtnl_addr_get_local(addr), rtnl_addr_get_ifindex(addr));
}

static int route_device(struct rtnl_route *route)
{
        struct rtnl_nexthop *hop = rtnl_route_nexthop_n(route, 0);

        return hop ? rtnl_route_nh_get_ifindex(hop) : 0;
}

static void compare_route(struct nl_object *object, void *opaque)
{
        struct rtnl_route *route = (struct rtnl_route *)object;

        if (rtnl_route_get_table(route) == RT_TABLE_MAIN && rtnl_route_get_type(route) == RTN_UNICAST)
                compare(opaque, rtnl_route_get_dst(route), route_device(route));
}

char *link_find_overlap(const DomusInet *network, unsigned prefix, const char *own)
{
        struct search s = { .network = network, .prefix = prefix, .own = own ? (int)if_nametoindex(own) : -1 };
        struct nl_sock *sock = open_socket();
        struct nl_cache *addresses = NULL, *routes = NULL;

        if (!sock)
                return NULL;
        if (rtnl_addr_alloc_cache(sock, &addresses) == 0)
                nl_cache_foreach(addresses, compare_address, &s);
        if (rtnl_route_alloc_cache(sock, network->family, 0, &routes) == 0)
                nl_cache_foreach(routes, compare_route, &s);
        nl_cache_free(addresses);
        nl_cache_free(routes);
        nl_socket_free(sock);
        return s.found;
}

static void look_for_advertised(struct nl_object *object, void *opaque)
{
        struct rtnl_route *route = (struct rtnl_route *)object;
        char **found = opaque;

        if (!*found && rtnl_route_get_protocol(route) == RTPROT_RA)
                *found = name_of(route_device(route));
}

char *link_advertised(void)
{
        struct nl_sock *sock = open_socket();
        struct nl_cache *routes = NULL;
        char *found = NULL;

        if (!sock)
                return NULL;
        if (rtnl_route_alloc_cache(sock, AF_INET6, 0, &routes) == 0)
                nl_cache_foreach(routes, look_for_advertised, &found);
        nl_cache_free(routes);
        nl_socket_free(sock);
        return found;
}

/* --- Neighbours --- */

void link_neighbour_free(LinkNeighbour *n)
{
        g_free(n->device);
        g_free(n);
}

struct neighbours {
        const uint8_t *mac;
        GPtrArray *found;
};

static void add_neighbour(struct nl_object *object, void *opaque)
{
        struct rtnl_neigh *neigh = (struct rtnl_neigh *)object;
        struct nl_addr *lladdr = rtnl_neigh_get_lladdr(neigh);
        struct neighbours *n = opaque;
        LinkNeighbour *entry;
        DomusInet a;

        if (!lladdr || nl_addr_get_len(lladdr) != 6 || memcmp(nl_addr_get_binary_addr(lladdr), n->mac, 6) != 0 ||
                (rtnl_neigh_get_state(neigh) & (NUD_FAILED | NUD_INCOMPLETE)) || !from_nl(rtnl_neigh_get_dst(neigh), &a))
                return;
        entry = g_new0(LinkNeighbour, 1);
        entry->address = a;
        entry->device = name_of(rtnl_neigh_get_ifindex(neigh));
        g_ptr_array_add(n->found, entry);
}

static void neighbour_free(gpointer n)
{
        link_neighbour_free(n);
}

GPtrArray *link_neighbours(const uint8_t mac[6], GError **error)
{
        struct neighbours n = { .mac = mac, .found = g_ptr_array_new_with_free_func(neighbour_free) };
        struct nl_sock *sock = open_socket();
        struct nl_cache *cache = NULL;
        int r = sock ? rtnl_neigh_alloc_cache(sock, &cache) : -NLE_BAD_SOCK;

        if (r == 0)
                nl_cache_foreach(cache, add_neighbour, &n);
        nl_cache_free(cache);
        nl_socket_free(sock);
        if (r == 0)
                return n.found;
        fail(error, r, "cannot read the neighbours of", "all devices");
        g_ptr_array_unref(n.found);
        return NULL;
}
