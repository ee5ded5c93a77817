/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Entropy device (VIRTIO 1.1, chapter 5.4). Properties: fd h: what random bytes are read from (not given: getrandom(2)); rate-bytes t: at most so many bytes per period (0: no
 * limit); rate-period u: ms (1000). */

#include "hv/bus/plug.h"

extern const struct plug_driver virtio_rng_driver;
