/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mode='open': as route, and what may pass is the host's administrator's business alone. */
#include "net/mode.h"

const struct network_mode mode_open = {
        .name = "open", .own_bridge = true, .forwarding = true, .plug = DOMUS_PLUG_NETWORK,
};
