/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <ip> and <portForward> of an interface of type 'user' (formatdomain.html#userspace-connection-using-passt). */

#include <string.h>
#include <sys/socket.h>

#include "model/domain-device-private.h"
#include "model/inet.h"

#define PORT_MAX 65535
#define DEVICE_MAX 15 /* IFNAMSIZ - 1 */

/* --- Ports --- */

/* One <range> as passt(1) writes it: "20-30:40-50"; "~25" is left out of the others. */
static bool put_range(const DomusDevice *d, const xmlNode *range, GString *out, GError **error)
{
        bool exclude = device_bool(range, "exclude", false);
        unsigned start = 0, end, to;

        if (!device_require(d, range, "range", "start", error) || !device_uint32(range, "start", PORT_MAX, &start, error))
                return false;
        end = to = start;
        if (!device_uint32(range, "end", PORT_MAX, &end, error) || !device_uint32(range, "to", PORT_MAX, &to, error))
                return false;
        if (!start || end < start || !to || to + (end - start) > PORT_MAX)
                return xml_fail(error, DOMUS_ERROR_XML, "<range> of <portForward> needs ports from 1 to %d, in order", PORT_MAX);
        g_string_append_printf(out, exclude ? "~%u" : "%u", start);
        if (end > start)
                g_string_append_printf(out, "-%u", end);
        if (to == start)
                return true;
        if (exclude)
                return xml_fail(error, DOMUS_ERROR_XML, "a <range> that is excluded has no 'to'");
        g_string_append_printf(out, ":%u", to);
        if (end > start)
                g_string_append_printf(out, "-%u", to + (end - start));
        return true;
}

/* Where on the host: an address, a device, both, or everywhere. */
static bool put_place(const xmlNode *node, GString *out, GError **error)
{
        g_autofree char *address = xml_attr(node, "address"), *device = xml_attr(node, "dev");
        DomusInet inet;

        if (address && !domus_inet_parse(address, 0, &inet))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid address '%s' in <portForward>", address);
        if (device && (!*device || strlen(device) > DEVICE_MAX || strpbrk(device, "/:%, \t\r\n")))
                return xml_fail(error, DOMUS_ERROR_XML, "'%s' cannot be the name of a network device", device);
        if (address)
                g_string_append(out, address);
        if (device)
                g_string_append_printf(out, "%%%s", device);
        return true;
}

static bool put_forward(const DomusDevice *d, const xmlNode *node, GString *out, GError **error)
{
        g_autofree char *proto = xml_attr(node, "proto");
        const xmlNode *range = xml_child(node, "range");
        gsize before;

        if (!proto)
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute 'proto' of element <portForward>");
        g_string_append_printf(out, "%s ", proto);
        before = out->len;
        if (!put_place(node, out, error))
                return false;
        if (!range && out->len == before)
                g_string_append(out, "all");
        else if (range && out->len > before)
                g_string_append_c(out, '/');
        for (const char *separator = ""; range; range = xml_next(range, "range"), separator = ",") {
                g_string_append(out, separator);
                if (!put_range(d, range, out, error))
                        return false;
        }
        g_string_append_c(out, '\n');
        return true;
}

static bool parse_forwards(DomusDevice *d, GError **error)
{
        g_autoptr(GString) out = g_string_new(NULL);

        for (const xmlNode *n = xml_child(d->node, "portForward"); n; n = xml_next(n, "portForward"))
                if (!put_forward(d, n, out, error))
                        return false;
        d->interface.forwards = device_string(d, out->len ? out->str : NULL);
        return true;
}

/* --- Addresses --- */

static bool parse_ip(DomusDevice *d, const xmlNode *node, GError **error)
{
        g_autofree char *address = xml_attr(node, "address"), *family = xml_attr(node, "family");
        int wanted = !family ? 0 : g_str_equal(family, "ipv6") ? AF_INET6 : AF_INET;
        DomusInterface *i = &d->interface;
        DomusInet inet;
        bool v6;

        if (!address || !domus_inet_parse(address, wanted, &inet))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid address '%s' in <ip>", address ? address : "");
        v6 = inet.family == AF_INET6;
        if (v6 ? i->ip6 != NULL : i->ip4 != NULL)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "only one %s address per interface is supported", v6 ? "IPv6" : "IPv4");
        *(v6 ? &i->ip6 : &i->ip4) = device_string(d, address);
        return device_uint32(node, "prefix", v6 ? 128 : 32, v6 ? &i->ip6_prefix : &i->ip4_prefix, error);
}

bool domain_user_parse(DomusDevice *d, GError **error)
{
        const char *element = xml_child(d->node, "portForward") ? "portForward" : xml_child(d->node, "ip") ? "ip" : NULL;

        if (element && d->interface.type != DOMUS_INTERFACE_USER)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "<%s> is supported with an interface of type 'user' only", element);
        for (const xmlNode *n = xml_child(d->node, "ip"); n; n = xml_next(n, "ip"))
                if (!parse_ip(d, n, error))
                        return false;
        return parse_forwards(d, error);
}
