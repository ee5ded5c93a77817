/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Names of iSCSI portals and units, and what iscsiadm(8) says, which has no machine-readable form; for the back ends and their test. */

#include <glib.h>
#include <stdbool.h>

/* "HOST:PORT", an IPv6 address in brackets; port 0: the usual one. g_free. */
char *iscsi_portal(const char *host, unsigned port);
/* Of a volume "unit:0:0:UNIT". */
unsigned iscsi_unit_of(const char *volume);

/* "tcp: [3] 10.0.0.1:3260,1 iqn.2001-04.com.example:disk (non-flash)" lines: the number of the session with the target, -1 if there is none. */
int iscsi_find_session(const char *text, const char *target);
/* "10.0.0.1:3260,1 iqn.2001-04.com.example:disk" lines, of a discovery: whether the target is there. */
bool iscsi_has_target(const char *text, const char *target);
/* Appends a <source> for each of them. */
void iscsi_append_sources(const char *text, const char *host, GString *out);
