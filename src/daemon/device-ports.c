/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The ports of the host that passt shall forward to a guest. passt itself says nothing when it gets a port for one of IPv4 and IPv6 only, or some ports of a range. */

#include "daemon/device-ports.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "model/error.h"
#include "model/inet.h"

#define N_PORTS 65536u

/* One <portForward>. */
typedef struct {
        bool udp;
        char *address, *device; /* NULL: any */
        uint8_t wanted[N_PORTS / 8];
} Forward;

static void forward_free(Forward *f)
{
        g_free(f->address);
        g_free(f->device);
        g_free(f);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Forward, forward_free)

/* --- passt's notation --- */

/* "20", "20-30", "20-30:40-50"; only what is before the colon is the host's. */
static void put_range(Forward *f, const char *range, bool on)
{
        char *end;
        unsigned long first = strtoul(range, &end, 10), last = *end == '-' ? strtoul(end + 1, NULL, 10) : first;

        for (unsigned long port = first; port <= last && port < N_PORTS; port++)
                f->wanted[port / 8] = (uint8_t)(on ? f->wanted[port / 8] | 1u << port % 8 : f->wanted[port / 8] & ~(1u << port % 8));
}

static void put_ranges(Forward *f, const char *ranges)
{
        g_auto(GStrv) list = g_strsplit(ranges, ",", -1);

        for (char **r = list; *r; r++)
                if (g_ascii_isdigit(**r))
                        put_range(f, *r, true);
        for (char **r = list; *r; r++)
                if (**r == '~')
                        put_range(f, *r + 1, false);
}

/* "tcp ADDRESS%DEVICE/RANGES", or without the place and its slash. A place alone, or "all", is whatever is free. */
static Forward *parse(const char *line)
{
        Forward *f = g_new0(Forward, 1);
        const char *rest = line + strlen("tcp "), *slash = strchr(rest, '/'), *percent = strchr(rest, '%');

        f->udp = g_str_has_prefix(line, "udp ");
        if (slash) {
                const char *end = percent && percent < slash ? percent : slash;

                f->address = end > rest ? g_strndup(rest, (gsize)(end - rest)) : NULL;
                f->device = end < slash ? g_strndup(end + 1, (gsize)(slash - end - 1)) : NULL;
        }
        put_ranges(f, slash ? slash + 1 : rest);
        return f;
}

/* --- Trying --- */

typedef union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
} Address;

static socklen_t make_address(const Forward *f, unsigned port, const DomusInet *inet, Address *ret)
{
        *ret = (Address){ 0 };
        if (inet->family == AF_INET) {
                ret->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
                memcpy(&ret->in.sin_addr, inet->bytes, sizeof(ret->in.sin_addr));
                return sizeof(ret->in);
        }
        ret->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
        memcpy(&ret->in6.sin6_addr, inet->bytes, sizeof(ret->in6.sin6_addr));
        if (f->device && IN6_IS_ADDR_LINKLOCAL(&ret->in6.sin6_addr))
                ret->in6.sin6_scope_id = if_nametoindex(f->device);
        return sizeof(ret->in6);
}

static int try_bind(const Forward *f, unsigned port, const DomusInet *inet, bool *ret_bound)
{
        int DOMUS_CLOSE_FD fd = socket(inet->family, (f->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
        Address address;
        socklen_t size = make_address(f, port, inet, &address);
        int yes = 1;

        if (fd < 0)
                return -errno;
        /* Connections of an earlier listener that are not quite over are none of its. With UDP it would let two have the port. */
        if (!f->udp)
                setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        if (inet->family == AF_INET6)
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
        if (f->device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, f->device, (socklen_t)strlen(f->device)) < 0)
                return -errno;
        if (bind(fd, &address.sa, size) < 0)
                return -errno;
        *ret_bound = true;
        return 0;
}

/* A host may be without IPv6, or without IPv4; an address that is named must be there. */
static int try_port(const Forward *f, unsigned port)
{
        static const char *const any[] = { "0.0.0.0", "::" };
        const char *const *list = f->address ? (const char *const *)&f->address : any;
        int first = 0;
        bool bound = false;

        for (unsigned i = 0; i < (f->address ? 1 : G_N_ELEMENTS(any)); i++) {
                DomusInet inet;
                int r = domus_inet_parse(list[i], 0, &inet) ? try_bind(f, port, &inet, &bound) : -EINVAL;

                if (r == -EADDRINUSE || r == -EACCES)
                        return r;
                if (r < 0 && first == 0)
                        first = r;
        }
        return bound ? 0 : first;
}

static int try_forward(const Forward *f, const char *alias, GError **error)
{
        for (unsigned port = 1; port < N_PORTS; port++) {
                int r = f->wanted[port / 8] & 1u << port % 8 ? try_port(f, port) : 0;

                if (r == 0)
                        continue;
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED,
                        "%s port %u of the host%s%s%s%s cannot be forwarded to interface '%s': %s", f->udp ? "UDP" : "TCP", port,
                        f->address ? ", address " : "", f->address ? f->address : "", f->device ? ", device " : "", f->device ? f->device : "", alias,
                        g_strerror(-r));
                return r;
        }
        return 0;
}

int domus_ports_try(const char *forwards, const char *alias, GError **error)
{
        g_auto(GStrv) lines = g_strsplit(forwards ? forwards : "", "\n", -1);
        int r = 0;

        for (char **l = lines; r == 0 && *l; l++) {
                g_autoptr(Forward) f = **l ? parse(*l) : NULL;

                if (f)
                        r = try_forward(f, alias, error);
        }
        return r;
}
