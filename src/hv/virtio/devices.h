/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The virtio devices, for the table of plugs. */

#include "hv/bus/plug.h"

extern const struct plug_driver virtio_balloon_driver;
extern const struct plug_driver virtio_net_driver;
extern const struct plug_driver virtio_serial_driver;
extern const struct plug_driver virtio_serialport_driver;
