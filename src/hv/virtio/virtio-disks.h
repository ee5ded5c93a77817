/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Disks: drivers for machine/plugs.c. */

#include "hv/bus/plug.h"

/* block.h's properties, and serial s, queues u, boot-index u. */
extern const struct plug_driver virtio_blk_driver;
