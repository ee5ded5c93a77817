/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* The chipset's reset control register 0xcf9 (82371AB data sheet, 4.2.6) and system control port 0x92. */
int reset_control_new(const struct device_env *env, struct device **ret);
/* i8042 keyboard controller at 0x60 and 0x64 with neither keyboard nor mouse behind it: enough to be probed quickly,
 * to switch A20 and to pulse the reset line. */
int keyboard_controller_new(const struct device_env *env, struct device **ret);
