/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* For tests: a write to ports 0xf4..0xf7 ends the machine with DEVICE_EVENT_DEBUG_EXIT. */
int debug_exit_new(const struct device_env *env, struct device **ret);
