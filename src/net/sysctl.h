/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Settings below /proc/sys/net, of the network namespace that we are in. Private to src/net. */

#include <glib.h>
#include <stdbool.h>

/* path: below /proc/sys/net. Nothing is written if the value is there already. DOMUS_ERROR_SYSTEM. */
bool sysctl_set(const char *path, const char *value, GError **error);
/* -1: there is none such. */
int sysctl_get(const char *path);
