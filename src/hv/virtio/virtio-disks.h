/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Disks: drivers for machine/plugs.c. */

#include "hv/bus/plug.h"

/* block.h's properties, and serial s, queues u, boot-index u. */
extern const struct plug_driver virtio_blk_driver;
/* queues u. */
extern const struct plug_driver virtio_scsi_driver;
/* Below a virtio-scsi: bus s, target u, lun u; block.h's properties, serial s, boot-index u. A CD drive without an image is empty; set takes another one, or eject b, with force b even
 * against the guest's lock. */
extern const struct plug_driver scsi_disk_driver, scsi_cd_driver;
