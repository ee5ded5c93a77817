/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A session of our own with an iSCSI portal, by libiscsi, without the host's initiator. Worker threads; every call ends after some seconds, or when the work shall be
 * given up. Errors are OPERATION_FAILED and name the portal. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/worker.h"

typedef struct IscsiClient IscsiClient;

/* portal: HOST:PORT, an IPv6 address in brackets. target NULL: for iscsi_client_find_targets only. */
IscsiClient *iscsi_client_new(const StorageCancel *c, const char *portal, const char *initiator, const char *target, GError **error);
/* Logs out. NULL is fine. */
void iscsi_client_free(IscsiClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IscsiClient, iscsi_client_free)

/* The names of the portal's targets, NULL-terminated: g_strfreev. */
char **iscsi_client_find_targets(IscsiClient *client, GError **error);
/* The numbers of the target's units: of unsigned, g_array_unref. */
GArray *iscsi_client_find_units(IscsiClient *client, GError **error);
/* *ret_size: bytes, 0 if the unit is no disk. */
bool iscsi_client_unit_size(IscsiClient *client, unsigned unit, uint64_t *ret_size, GError **error);
