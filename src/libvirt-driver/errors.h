/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The one place that knows libvirt's error numbers. */

#include "model/error.h"
#include "libvirt-driver/xdr.h"
#include "remote.h"

/* The error as libvirt's clients expect it: number, domain, level and the full message with libvirt's
 * generic words before it. The strings live in the arena. */
void error_to_wire(const GError *error, struct arena *arena, struct remote_error *ret);
