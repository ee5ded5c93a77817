/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * TCP between this program and itself at the other end: one byte there and back, and streams in both directions. The environment names the address of the other
 * end (BENCH_PEER), where "bench-net --serve" waits. The streams named -64k go as the devices like it best; for those named -mtu both ends switch the
 * segmentation by the device off, so that each packet is one that fits the MTU of 1500 bytes.
 */

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define PORT 5201
#define LARGE 65536u
#define SEGMENT 1448u /* what a packet of 1500 bytes carries behind the headers of IPv4 and TCP, with time stamps */
#define ROUND (44 * SEGMENT)

enum { TO_SERVER, TO_CLIENT, ECHO };

/* What the server is asked for: units of unit bytes, each of which begins with its number; or bytes, to be sent back. */
struct order {
        uint32_t what, unit, units, segmentation;
};

static int sock = -1;
static uint8_t *buffer;

static void transfer_all(int fd, void *data, size_t len, bool send_it, const char *what)
{
        uint8_t *p = data;

        while (len > 0) {
                ssize_t n = send_it ? send(fd, p, len, MSG_NOSIGNAL) : recv(fd, p, len, MSG_WAITALL);

                if (n <= 0)
                        load_fail(what);
                p += n;
                len -= (size_t)n;
        }
}

static void put(int fd, const void *data, size_t len)
{
        transfer_all(fd, (void *)data, len, true, "send");
}

static void get(int fd, void *data, size_t len)
{
        transfer_all(fd, data, len, false, "recv");
}

/* --- Units: several in one system call, where they are small --- */

static size_t at_once(const struct order *o)
{
        return o->unit < LARGE ? ROUND / o->unit : 1;
}

static uint64_t put_units(int fd, const struct order *o)
{
        uint64_t sum = 0;

        for (uint64_t i = 0; i < o->units;) {
                size_t n = 0;

                for (; n < at_once(o) && i < o->units; n++, i++) {
                        memcpy(buffer + n * o->unit, &i, sizeof(i));
                        sum += i;
                }
                put(fd, buffer, n * o->unit);
        }
        return sum;
}

static uint64_t get_units(int fd, const struct order *o)
{
        uint64_t sum = 0, word;

        for (uint64_t i = 0; i < o->units;) {
                size_t n = o->units - i < at_once(o) ? o->units - i : at_once(o);

                get(fd, buffer, n * o->unit);
                for (size_t k = 0; k < n; k++, i++) {
                        memcpy(&word, buffer + k * o->unit, sizeof(word));
                        sum += word;
                }
        }
        return sum;
}

/* --- The interface of a connection --- */

static void interface_of(int fd, char name[IFNAMSIZ])
{
        struct sockaddr_in own;
        socklen_t len = sizeof(own);
        struct ifaddrs *list;

        if (getsockname(fd, (struct sockaddr *)&own, &len) < 0 || getifaddrs(&list) < 0)
                load_fail("the address of the connection");
        name[0] = 0;
        for (struct ifaddrs *i = list; i; i = i->ifa_next)
                if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && ((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr == own.sin_addr.s_addr)
                        snprintf(name, IFNAMSIZ, "%s", i->ifa_name);
        freeifaddrs(list);
}

/* Segmentation of what is sent there, by the device and by the last step before it. */
static void set_segmentation(int fd, uint32_t on)
{
        static const uint32_t commands[] = { ETHTOOL_STSO, ETHTOOL_SGSO };
        struct ifreq request = { 0 };

        interface_of(fd, request.ifr_name);
        /* GSO can be on without TSO, not the other way round. */
        for (size_t i = 0; i < NELEMENTS(commands); i++) {
                struct ethtool_value value = { .cmd = commands[i], .data = on };

                request.ifr_data = (char *)&value;
                if (ioctl(fd, SIOCETHTOOL, &request) < 0)
                        load_fail("ethtool");
        }
}

/* --- The server: one connection after the other --- */

static void echo(int fd, unsigned n)
{
        uint8_t byte;

        while (n-- > 0) {
                get(fd, &byte, 1);
                put(fd, &byte, 1);
        }
}

/* Carries one order out; the sum of what came is the answer to what was sent here, the switch of the segmentation is to every order. */
static void serve_order(int fd, const struct order *o)
{
        uint64_t sum;

        if (o->unit == 0 || o->unit > LARGE)
                return;
        set_segmentation(fd, o->segmentation);
        put(fd, "+", 1);
        if (o->what == ECHO) {
                echo(fd, o->units);
        } else if (o->what == TO_CLIENT) {
                put_units(fd, o);
        } else {
                sum = get_units(fd, o);
                put(fd, &sum, sizeof(sum));
        }
}

static void no_delay(int fd)
{
        int one = 1;

        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
                load_fail("TCP_NODELAY");
}

static void serve_connection(int fd)
{
        struct order o;

        no_delay(fd);
        while (recv(fd, &o, sizeof(o), MSG_WAITALL) == sizeof(o))
                serve_order(fd, &o);
}

/* A child each, which ends with its connection however that ends: a guest may be killed. */
static int serve(void)
{
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
        int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCHLD, SIG_IGN);
        if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
                bind(listener, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(listener, 4) < 0)
                load_fail("the server's socket");
        puts("domus-bench: serving");
        fflush(stdout);
        for (;;) {
                int fd = accept(listener, NULL, NULL);

                if (fd >= 0 && fork() == 0) {
                        serve_connection(fd);
                        _exit(0);
                }
                if (fd >= 0)
                        close(fd);
        }
}

/* --- The loads --- */

static void prepare(void)
{
        struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(PORT) };
        const char *address = getenv("BENCH_PEER");

        if (sock >= 0)
                return;
        if (!address || inet_pton(AF_INET, address, &peer.sin_addr) != 1)
                load_fail("BENCH_PEER");
        sock = socket(AF_INET, SOCK_STREAM, 0);
        if (sock < 0 || connect(sock, (struct sockaddr *)&peer, sizeof(peer)) < 0)
                load_fail("connect");
        no_delay(sock);
}

static void order(uint32_t what, uint32_t unit, unsigned units, uint32_t segmentation, struct order *ret)
{
        uint8_t ready;

        *ret = (struct order){ .what = what, .unit = unit, .units = units, .segmentation = segmentation };
        set_segmentation(sock, segmentation);
        put(sock, ret, sizeof(*ret));
        get(sock, &ready, 1);
}

static uint64_t send_stream(uint32_t unit, unsigned n, uint32_t segmentation)
{
        struct order o;
        uint64_t sum, theirs;

        order(TO_SERVER, unit, n, segmentation, &o);
        sum = put_units(sock, &o);
        get(sock, &theirs, sizeof(theirs));
        return sum == theirs ? sum : ~sum;
}

static uint64_t receive_stream(uint32_t unit, unsigned n, uint32_t segmentation)
{
        struct order o;

        order(TO_CLIENT, unit, n, segmentation, &o);
        return get_units(sock, &o);
}

static uint64_t request_response(unsigned n)
{
        uint64_t sum = 0;
        struct order o;

        order(ECHO, 1, n, 1, &o);
        for (unsigned i = 0; i < n; i++) {
                uint8_t byte = (uint8_t)i, back;

                put(sock, &byte, 1);
                get(sock, &back, 1);
                sum = load_sum(sum, &back, 1);
        }
        return sum;
}

static uint64_t send_large(unsigned n)
{
        return send_stream(LARGE, n, 1);
}

static uint64_t receive_large(unsigned n)
{
        return receive_stream(LARGE, n, 1);
}

static uint64_t send_packets(unsigned n)
{
        return send_stream(SEGMENT, n, 0);
}

static uint64_t receive_packets(unsigned n)
{
        return receive_stream(SEGMENT, n, 0);
}

static const struct load loads[] = {
        { "rr-1", request_response, 512, prepare, NULL },
        { "send-64k", send_large, 256, prepare, NULL },
        { "recv-64k", receive_large, 256, prepare, NULL },
        { "send-mtu", send_packets, 2048, prepare, NULL },
        { "recv-mtu", receive_packets, 2048, prepare, NULL },
};

int main(int argc, char **argv)
{
        buffer = calloc(1, LARGE);
        if (!buffer)
                load_fail("memory");
        if (argc == 2 && !strcmp(argv[1], "--serve"))
                return serve();
        return load_main(loads, NELEMENTS(loads), LOAD_TIME, argc, argv);
}
