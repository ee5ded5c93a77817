/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* System control port 0x92: fast A20 and reset. */
int system_control_new(const struct device_env *env, struct device **ret);
/* i8042 keyboard controller at 0x60 and 0x64 with neither keyboard nor mouse behind it: enough to be probed quickly,
 * to switch A20 and to pulse the reset line. */
int keyboard_controller_new(const struct device_env *env, struct device **ret);
