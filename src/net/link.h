/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Links, addresses, routes and neighbours of the network namespace that we are in, by rtnetlink(7). Everything is done when a function returns. Private to
 * src/net; errors are DOMUS_ERROR_SYSTEM with the device's name. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/inet.h"

bool link_exists(const char *name);
bool link_is_bridge(const char *name);
bool link_is_macvtap(const char *name);
unsigned link_mtu(const char *name); /* 0: no such link */
bool link_mac(const char *name, uint8_t mac[6]);
char *link_master(const char *name); /* g_free; NULL: none */

/* Fails if the name is taken. delay in seconds. mtu 0: the kernel's. The bridge is down. */
bool link_make_bridge(const char *name, const uint8_t mac[6], bool stp, unsigned delay, unsigned mtu, GError **error);
/* mode: "vepa", "bridge", "private", "passthrough". The link is down. */
bool link_make_macvtap(const char *name, const char *parent, const char *mode, const uint8_t mac[6], GError **error);
/* An intermediate functional block: what is redirected to it passes its queueing discipline. It is up. */
bool link_make_ifb(const char *name, GError **error);
bool link_delete(const char *name, GError **error);

bool link_set_up(const char *name, bool up, GError **error);
bool link_set_mac(const char *name, const uint8_t mac[6], GError **error);
bool link_set_mtu(const char *name, unsigned mtu, GError **error);
/* NULL: none. */
bool link_set_master(const char *name, const char *bridge, GError **error);
/* Of a bridge's port: nothing passes between isolated ports. */
bool link_set_isolated(const char *name, bool isolated, GError **error);

/* The address is usable at once, also while nothing is connected. */
bool link_add_address(const char *name, const DomusInet *address, unsigned prefix, GError **error);
bool link_add_route(const char *name, const DomusInet *network, unsigned prefix, const DomusInet *gateway, unsigned metric, GError **error);

/* What of the host is in the network, or the network in it: "10.0.0.0/8 on eth1" (g_free); NULL: nothing. Default routes and link-local addresses do
 * not count, nor does what belongs to the device own (NULL: none). */
char *link_find_overlap(const DomusInet *network, unsigned prefix, const char *own);
/* A device with IPv6 routes that come from router advertisements, which the kernel would drop as soon as it forwards; g_free; NULL: none. */
char *link_advertised(void);

typedef struct {
        char *device;
        DomusInet address;
} LinkNeighbour;

void link_neighbour_free(LinkNeighbour *n);
/* Array of LinkNeighbour*: who has this address, as far as the host knows. */
GPtrArray *link_neighbours(const uint8_t mac[6], GError **error);

typedef struct {
        uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped; /* of the host's side */
        uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
} LinkStatistics;

bool link_statistics(const char *name, LinkStatistics *ret, GError **error);
