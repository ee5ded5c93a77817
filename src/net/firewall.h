/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Packet filtering and address translation: nftables' table "inet domus", ours alone. It is always made anew as a whole, in one transaction, from what the active
 * networks want. Accepting a packet ends our chains only: what other tables of the host drop stays dropped. Private to src/net. */

#include <glib.h>
#include <stdbool.h>

/* Rules in nft(8)'s language, one per line, without the chain. Of a forwarded packet, first "cross" decides (between ports of one network), then "in" (to a
 * network), then "out" (from a network); "postrouting" translates sources, "prerouting" and "output" (of the host's own packets) destinations. */
typedef struct {
        GString *cross, *in, *out, *prerouting, *output, *postrouting;
} FirewallRules;

void firewall_rules_init(FirewallRules *r);
void firewall_rules_clear(FirewallRules *r);

/* Replaces the table; on failure the old one is untouched. NULL: there is none any more. DOMUS_ERROR_OPERATION_FAILED with nftables' words. */
bool firewall_apply(const FirewallRules *r, GError **error);
