/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* 16550A UARTs (National PC16550D data sheet): COM1 at 0x3f8, GSI 4; COM2 at 0x2f8, GSI 3. Output is sent at once,
 * whatever the baud rate says. */

#include "hv/dev/device.h"

int serial_com1_new(const struct device_env *env, struct device **ret);
int serial_com2_new(const struct device_env *env, struct device **ret);

/* Puts received bytes into the FIFO; returns how many it took. With the device lock held. Fewer than len: env's
 * serial_ready is called once there is room. */
size_t serial_input(struct device *dev, const uint8_t *buf, size_t len);
