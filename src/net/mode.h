/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The kinds of networks, by <forward mode>: one file and one row in mode.c each. Private to src/net. */

#include <stdbool.h>

#include "model/network-def.h"
#include "model/network-port.h"
#include "model/error.h"
#include "net/firewall.h"

struct network_mode {
        const char *name;
        bool own_bridge;  /* we make the bridge, with addresses, rules, dnsmasq */
        bool forwarding;  /* the host has to forward packets, in the families that the network has addresses of */
        DomusPlug plug;   /* how guests are connected */
        /* Before anything is made: is there what the network needs of the host? NULL: it needs nothing. */
        bool (*check)(const DomusNetworkDef *def, GError **error);
        /* Appends what the network wants. def->bridge is the real one. NULL: nothing. */
        void (*rules)(const DomusNetworkDef *def, FirewallRules *r);
};

const struct network_mode *network_mode_of(const DomusNetworkDef *def);

extern const struct network_mode mode_isolated, mode_nat, mode_route, mode_open, mode_bridge, mode_direct;

/* Parts of rules that several modes have in common. */

/* Lets the network's guests talk to each other. */
void mode_rules_cross(const DomusNetworkDef *def, FirewallRules *r);
/* Lets the address's network out, and in: with replies_only, only what answers. */
void mode_rules_routed(const DomusNetworkDef *def, const DomusNetworkIp *ip, bool replies_only, FirewallRules *r);
/* Leads ports of the host to a guest. */
void mode_rules_port_forward(const DomusNetworkDef *def, const DomusPortForward *f, FirewallRules *r);
/* Nothing else passes; comes last. */
void mode_rules_reject(const DomusNetworkDef *def, FirewallRules *r);
/* nft's word for the family: "ip" or "ip6". */
const char *mode_family(const DomusNetworkIp *ip);
