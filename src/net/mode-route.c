/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mode='route': guests are reached under their own addresses, which the host's neighbours must have a route to. */
#include "net/mode.h"

static void rules(const DomusNetworkDef *def, FirewallRules *r)
{
        mode_rules_cross(def, r);
        for (unsigned i = 0; i < def->ips->len; i++)
                mode_rules_routed(def, def->ips->pdata[i], false, r);
        mode_rules_reject(def, r);
}

const struct network_mode mode_route = {
        .name = "route", .own_bridge = true, .forwarding = true, .plug = DOMUS_PLUG_NETWORK, .rules = rules,
};
