/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* Ports that every PC system touches and that have nothing behind them here: POST codes, delays, DMA, floppy, parallel
 * port, VGA. They read as ones, like any unclaimed port, but are not worth a log line. */
int absent_ports_new(const struct device_env *env, struct device **ret);
