/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/network-def-private.h"

/* What <network> may contain (formatnetwork.html). Missing: hostdev and its addresses (no PCI passthrough), vlan tags (Linux bridges and macvtap do not take
 * them from here), virtualport (Open vSwitch, 802.1Qbg), firewalld zones, options for dnsmasq. */

#define MANY RULE_MANY
#define TEXT RULE_TEXT
#define OPAQUE (RULE_OPAQUE | RULE_ANY_ATTRS)
#define ATTRS RULE_ATTRS

#define YES_NO "yes|no"

static const struct element_rule port_forward_children[] = {
        { "range", MANY, ATTRS{ { "start" }, { "end" }, { "to" }, {} } },
        {},
};

static const struct element_rule nat_children[] = {
        { "address", 0, ATTRS{ { "start" }, { "end" }, {} } },
        { "port", 0, ATTRS{ { "start" }, { "end" }, {} } },
        { "portForward", MANY, ATTRS{ { "proto", "tcp|udp" }, { "address" }, { "dev" }, { "target" }, {} }, port_forward_children },
        {},
};

static const struct element_rule forward_children[] = {
        { "nat", 0, ATTRS{ { "ipv6", YES_NO }, {} }, nat_children },
        { "interface", MANY, ATTRS{ { "dev" }, { "connections" }, {} } },
        {},
};

static const struct element_rule dns_host_children[] = {
        { "hostname", MANY | TEXT },
        {},
};

static const struct element_rule dns_children[] = {
        { "forwarder", MANY, ATTRS{ { "domain" }, { "addr" }, {} } },
        { "txt", MANY, ATTRS{ { "name" }, { "value" }, {} } },
        { "srv", MANY,
          ATTRS{ { "service" }, { "protocol" }, { "domain" }, { "target" }, { "port" }, { "priority" }, { "weight" }, {} } },
        { "host", MANY, ATTRS{ { "ip" }, {} }, dns_host_children },
        {},
};

static const struct element_rule lease_children[] = {
        { "lease", 0, ATTRS{ { "expiry" }, { "unit", "seconds|minutes|hours" }, {} } },
        {},
};

static const struct element_rule dhcp_children[] = {
        { "range", MANY, ATTRS{ { "start" }, { "end" }, {} }, lease_children },
        { "host", MANY, ATTRS{ { "mac" }, { "id" }, { "name" }, { "ip" }, {} }, lease_children },
        { "bootp", 0, ATTRS{ { "file" }, { "server" }, {} } },
        {},
};

static const struct element_rule ip_children[] = {
        { "tftp", 0, ATTRS{ { "root" }, {} } },
        { "dhcp", 0, NULL, dhcp_children },
        {},
};

static const struct element_rule portgroup_children[] = {
        { "bandwidth", OPAQUE },
        { "port", 0, ATTRS{ { "isolated", YES_NO }, {} } },
        {},
};

static const struct element_rule network_children[] = {
        { "name", TEXT },
        { "uuid", TEXT },
        { "title", TEXT },
        { "description", TEXT },
        { "metadata", OPAQUE },
        { "forward", 0, ATTRS{ { "dev" }, { "mode", "nat|route|open|bridge|private|vepa|passthrough" }, {} }, forward_children },
        { "bridge", 0,
          ATTRS{ { "name" }, { "stp", "on|off" }, { "delay" }, { "macTableManager", "kernel" }, {} } },
        { "mtu", 0, ATTRS{ { "size" }, {} } },
        { "mac", 0, ATTRS{ { "address" }, {} } },
        { "domain", 0, ATTRS{ { "name" }, { "localOnly", YES_NO }, { "register", "no" }, {} } },
        { "dns", 0, ATTRS{ { "enable", YES_NO }, { "forwardPlainNames", YES_NO }, {} }, dns_children },
        { "bandwidth", OPAQUE },
        { "port", 0, ATTRS{ { "isolated", YES_NO }, {} } },
        { "ip", MANY, ATTRS{ { "family", "ipv4|ipv6" }, { "address" }, { "prefix" }, { "netmask" }, { "localPtr", YES_NO }, {} },
          ip_children },
        { "route", MANY, ATTRS{ { "family", "ipv4|ipv6" }, { "address" }, { "prefix" }, { "netmask" }, { "gateway" }, { "metric" }, {} } },
        { "portgroup", MANY, ATTRS{ { "name" }, { "default", YES_NO }, { "trustGuestRxFilters", "no" }, {} }, portgroup_children },
        {},
};

/* connections is told by us, and is of no account coming in. */
const struct element_rule network_rule = {
        "network", 0, ATTRS{ { "connections" }, { "ipv6", YES_NO }, { "trustGuestRxFilters", "no" }, {} }, network_children,
};
