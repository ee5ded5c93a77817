/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who has which address: dnsmasq's lease file, and the host's neighbour tables. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "net/lease.h"
#include "net/link.h"
#include "net/networks-private.h"

#define LEASE_FILE_MAX (64U << 20)

void domus_lease_free(DomusLease *l)
{
        if (!l)
                return;
        g_free(l->device);
        g_free(l->mac);
        g_free(l->iaid);
        g_free(l->address);
        g_free(l->hostname);
        g_free(l->client_id);
        g_free(l);
}

static void lease_free(gpointer l)
{
        domus_lease_free(l);
}

GPtrArray *lease_array(void)
{
        return g_ptr_array_new_with_free_func(lease_free);
}

/* "*" is dnsmasq's word for nothing. */
static char *word(const char *text)
{
        return strcmp(text, "*") == 0 ? NULL : g_strdup(text);
}

/* Link-layer addresses are in DUIDs of types 1 (with a time) and 3 (RFC 8415, section 11). */
static char *mac_of_duid(const char *duid)
{
        if (g_str_has_prefix(duid, "00:01:00:01:") && strlen(duid) == 14 * 3 - 1)
                return g_strdup(duid + 8 * 3);
        if (g_str_has_prefix(duid, "00:03:00:01:") && strlen(duid) == 10 * 3 - 1)
                return g_strdup(duid + 4 * 3);
        return NULL;
}

/* "expiry mac address name client-id", and below the "duid" line "expiry iaid address name duid". */
static DomusLease *parse_line(const char *line)
{
        g_auto(GStrv) f = g_strsplit(line, " ", 5);
        DomusLease *l;
        DomusInet a;

        if (g_strv_length(f) != 5 || !domus_inet_parse(f[2], 0, &a))
                return NULL;
        l = g_new0(DomusLease, 1);
        l->expiry = g_ascii_strtoll(f[0], NULL, 10);
        l->type = a.family == AF_INET6 ? VIR_IP_ADDR_TYPE_IPV6 : VIR_IP_ADDR_TYPE_IPV4;
        l->address = g_strdup(f[2]);
        l->hostname = word(f[3]);
        l->client_id = word(f[4]);
        if (a.family == AF_INET6) {
                l->iaid = g_strdup(f[1]);
                l->mac = mac_of_duid(f[4]);
        } else {
                /* "01-" and the like stand before addresses of other hardware than Ethernet */
                l->mac = g_strdup(strchr(f[1], '-') ? strchr(f[1], '-') + 1 : f[1]);
        }
        return l;
}

void lease_parse_file(const char *text, int64_t now, GPtrArray *ret)
{
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

        for (char **line = lines; *line; line++) {
                DomusLease *l = parse_line(*line);

                if (l && (!l->expiry || l->expiry > now))
                        g_ptr_array_add(ret, l);
                else
                        domus_lease_free(l);
        }
}

static void fill_prefix(const DomusNetworkDef *def, DomusLease *l)
{
        DomusInet address, own;

        domus_inet_parse(l->address, 0, &address);
        for (unsigned i = 0; i < def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];

                if (domus_inet_parse(ip->address, ip->family, &own) && domus_inet_same_network(&address, &own, ip->prefix))
                        l->prefix = ip->prefix;
        }
        l->device = g_strdup(def->bridge);
}

static bool is_mac(const DomusLease *l, const uint8_t *mac)
{
        g_autofree char *text = mac ? g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]) : NULL;

        return !mac || (l->mac && g_ascii_strcasecmp(l->mac, text) == 0);
}

char *network_lease_path(const DomusNetwork *net)
{
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(net->uuid, uuid);
        return g_strdup_printf("%s/%s.leases", net->owner->state_dir, uuid);
}

void network_forget_leases(const DomusNetwork *net)
{
        g_autofree char *path = network_lease_path(net);

        unlink(path);
}

static void add_leases(DomusNetwork *net, const uint8_t *mac, GPtrArray *ret)
{
        g_autofree char *path = network_lease_path(net);
        unsigned first = ret->len;
        char *text = NULL;

        if (!net->live || file_read(path, LEASE_FILE_MAX, &text, NULL) < 0)
                return; /* nobody had one yet */
        lease_parse_file(text, g_get_real_time() / G_USEC_PER_SEC, ret);
        free(text);
        for (unsigned i = ret->len; i-- > first;)
                if (is_mac(ret->pdata[i], mac))
                        fill_prefix(net->live, ret->pdata[i]);
                else
                        g_ptr_array_remove_index(ret, i);
}

GPtrArray *domus_network_leases(DomusNetwork *net, const uint8_t *mac, GError **error)
{
        GPtrArray *ret;

        if (!net->live) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network '%s' is not active", net->name);
                return NULL;
        }
        ret = lease_array();
        add_leases(net, mac, ret);
        return ret;
}

GPtrArray *domus_networks_leases_by_mac(DomusNetworks *n, const char *network, const uint8_t *mac, GError **error)
{
        g_autoptr(GPtrArray) list = domus_networks_list(n, 0), ret = lease_array();

        if (network && !domus_networks_lookup_name(n, network, error))
                return NULL;
        for (unsigned i = 0; i < list->len; i++)
                if (!network || strcmp(domus_network_name(list->pdata[i]), network) == 0)
                        add_leases(list->pdata[i], mac, ret);
        return g_steal_pointer(&ret);
}

GPtrArray *domus_networks_neighbours_by_mac(DomusNetworks *n, const uint8_t *mac, GError **error)
{
        g_autoptr(GPtrArray) found = link_neighbours(mac, error), ret = NULL;

        if (!found)
                return NULL;
        ret = lease_array();
        for (unsigned i = 0; i < found->len; i++) {
                const LinkNeighbour *neighbour = found->pdata[i];
                DomusLease *l = g_new0(DomusLease, 1);

                l->device = g_strdup(neighbour->device);
                l->type = neighbour->address.family == AF_INET6 ? VIR_IP_ADDR_TYPE_IPV6 : VIR_IP_ADDR_TYPE_IPV4;
                l->address = domus_inet_format(&neighbour->address);
                l->mac = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
                g_ptr_array_add(ret, l);
        }
        return g_steal_pointer(&ret);
}
