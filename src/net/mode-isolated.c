/* SPDX-License-Identifier: GPL-2.0-or-later */
/* No <forward>: guests reach each other and the host, nobody else. */
#include "net/mode.h"

static void rules(const DomusNetworkDef *def, FirewallRules *r)
{
        mode_rules_cross(def, r);
        mode_rules_reject(def, r);
}

const struct network_mode mode_isolated = {
        .name = "isolated", .own_bridge = true, .plug = DOMUS_PLUG_NETWORK, .rules = rules,
};
