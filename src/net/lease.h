/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* dnsmasq's lease file. Private to src/net. */

#include <glib.h>
#include <stdint.h>

/* An empty array of DomusLease*. */
GPtrArray *lease_array(void);
/* Appends what is valid at now (seconds since 1970); device and prefix are left open. Lines that are no leases are passed over. */
void lease_parse_file(const char *text, int64_t now, GPtrArray *ret);
