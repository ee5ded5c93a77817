/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

/* Looks whether all ports that forwards (DomusInterface.forwards; may be NULL) names could be listened on now. 0, or negative errno of the first that cannot, with
 * DOMUS_ERROR_OPERATION_FAILED that names it; -EADDRINUSE: somebody has it. */
int domus_ports_try(const char *forwards, const char *alias, GError **error);
