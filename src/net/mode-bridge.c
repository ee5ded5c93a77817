/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mode='bridge' with <bridge>: guests are on a bridge of the host, which we do not touch. */
#include "net/link.h"
#include "net/mode.h"

static bool check(const DomusNetworkDef *def, GError **error)
{
        if (link_is_bridge(def->bridge))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, link_exists(def->bridge) ? "'%s' is not a bridge" : "there is no bridge '%s'",
                def->bridge);
        return false;
}

const struct network_mode mode_bridge = { .name = "bridge", .plug = DOMUS_PLUG_BRIDGE, .check = check };
