/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Bandwidth limits in the kernel's traffic control (tc(8)). What leaves a device of the host waits in a token bucket (htb). What comes in from one is led through a helper
 * device (ifb) and waits there: so it is shaped, too, not dropped. Private to src/net; errors are DOMUS_ERROR_SYSTEM with the device's name. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/bandwidth.h"

/* Replaces the limits of a guest's device, or of a network's bridge; empty: takes them away. outward: "inbound" is what the device receives, as with macvtap, not what it
 * sends, as with taps and bridges. floor has no effect here. On failure there are no limits. */
bool qos_set(const char *device, const DomusBandwidth *b, bool outward, GError **error);
/* Also after the device has gone. */
void qos_clear(const char *device);

/* Guarantees on a bridge that has an inbound limit: what goes to this MAC address has a rate of its own. id: 3 to 65535, the guarantee's number on this bridge;
 * rest: KiB/s that are left for all others. */
bool qos_guarantee(const char *bridge, const DomusBandwidth *limit, unsigned id, const uint8_t mac[6], uint64_t floor, uint64_t rest, GError **error);
void qos_unguarantee(const char *bridge, const DomusBandwidth *limit, unsigned id, uint64_t rest);
