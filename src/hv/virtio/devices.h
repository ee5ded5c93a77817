/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The virtio devices and what hangs below them: drivers for machine/plugs.c, each with its properties and their types as vmproto.h has them. */

#include "hv/bus/plug.h"

/* Entropy device (VIRTIO 1.1, chapter 5.4). fd h: what random bytes are read from (not given: getrandom(2)); rate-bytes t: at most so many bytes per period (0: no
 * limit); rate-period u: ms (1000). */
extern const struct plug_driver virtio_rng_driver;
/* block.h's properties, and serial s, queues u, boot-index u. */
extern const struct plug_driver virtio_blk_driver;
/* queues u. */
extern const struct plug_driver virtio_scsi_driver;
/* Below a virtio-scsi: bus s, target u, lun u; block.h's properties, serial s, boot-index u. A CD drive without an image is empty; set takes another one, or eject b, with force b even
 * against the guest's lock. */
extern const struct plug_driver scsi_disk_driver, scsi_cd_driver;
extern const struct plug_driver virtio_balloon_driver;
extern const struct plug_driver virtio_net_driver;
extern const struct plug_driver virtio_serial_driver;
extern const struct plug_driver virtio_serialport_driver;
