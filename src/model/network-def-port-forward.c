/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <sys/socket.h>

#include "model/inet.h"
#include "model/network-def-private.h"

#define PORTS_MAX 1024 /* of one range whose ports change */

void network_port_forward_free(gpointer p)
{
        DomusPortForward *f = p;

        g_free(f->protocol);
        g_free(f->address);
        g_free(f->device);
        g_free(f->target);
        g_free(f);
}

static bool fill_ports(DomusPortForward *f, const xmlNode *range, GError **error)
{
        uint64_t start, end, to;

        if (!network_uint_attr(range, "start", 65535, 0, &start, error) || !network_uint_attr(range, "end", 65535, start, &end, error) ||
                !network_uint_attr(range, "to", 65535, start, &to, error))
                return false;
        if (!start || end < start || !to || to + (end - start) > 65535)
                return xml_fail(error, DOMUS_ERROR_XML, "<range> of <portForward> needs ports from 1 to 65535, in order");
        if (to != start && end - start >= PORTS_MAX)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "<range> of <portForward> with other ports at the guest has more than %d ports",
                        PORTS_MAX);
        f->start = (unsigned)start;
        f->end = (unsigned)end;
        f->to = (unsigned)to;
        return true;
}

static bool is_guest(const DomusNetworkDef *def, const DomusInet *a)
{
        for (unsigned i = 0; i < def->ips->len; i++) {
                const DomusNetworkIp *ip = def->ips->pdata[i];
                DomusInet own;

                domus_inet_parse(ip->address, ip->family, &own);
                if (domus_inet_same_network(&own, a, ip->prefix))
                        return domus_inet_compare(&own, a) != 0;
        }
        return false;
}

static bool fill_addresses(DomusNetworkDef *def, DomusPortForward *f, GError **error)
{
        DomusInet target, address;

        if (!f->protocol || !f->target)
                return xml_fail(error, DOMUS_ERROR_XML, "<portForward> of network '%s' needs 'proto' and 'target'", def->name);
        if (!domus_inet_parse(f->target, 0, &target) || !is_guest(def, &target))
                return xml_fail(error, DOMUS_ERROR_XML, "target '%s' of <portForward> is no guest's address on network '%s'", f->target, def->name);
        f->family = target.family;
        if (f->family == AF_INET6 && !def->nat_ipv6)
                return xml_fail(error, DOMUS_ERROR_XML, "<portForward> to '%s' needs <nat ipv6='yes'> in network '%s'", f->target, def->name);
        if (f->address && !domus_inet_parse(f->address, f->family, &address))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid address '%s' of <portForward> to '%s'", f->address, f->target);
        return !f->device || network_check_device(f->device, "device of <portForward>", error);
}

static bool add(DomusNetworkDef *def, const xmlNode *node, const xmlNode *range, GError **error)
{
        DomusPortForward *f = g_new0(DomusPortForward, 1);

        f->protocol = xml_attr(node, "proto");
        f->address = xml_attr(node, "address");
        f->device = xml_attr(node, "dev");
        f->target = xml_attr(node, "target");
        g_ptr_array_add(def->port_forwards, f);
        return fill_addresses(def, f, error) && fill_ports(f, range, error);
}

bool network_fill_port_forwards(DomusNetworkDef *def, GError **error)
{
        const xmlNode *nat = xml_child(xml_child(xmlDocGetRootElement(def->doc), "forward"), "nat");

        for (const xmlNode *n = xml_child(nat, "portForward"); n; n = xml_next(n, "portForward")) {
                if (!xml_child(n, "range"))
                        return xml_fail(error, DOMUS_ERROR_XML, "<portForward> of network '%s' needs a <range>", def->name);
                for (const xmlNode *r = xml_child(n, "range"); r; r = xml_next(r, "range"))
                        if (!add(def, n, r, error))
                                return false;
        }
        return true;
}
