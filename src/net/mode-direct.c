/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mode='bridge', 'vepa', 'private', 'passthrough' with <interface>: guests are on a device of the host, by macvtap. */
#include "net/link.h"
#include "net/mode.h"

static bool check(const DomusNetworkDef *def, GError **error)
{
        for (char **device = def->devices; *device; device++) {
                if (link_exists(*device))
                        continue;
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "there is no interface '%s'", *device);
                return false;
        }
        return true;
}

const struct network_mode mode_direct = { .name = "direct", .plug = DOMUS_PLUG_DIRECT, .check = check };
