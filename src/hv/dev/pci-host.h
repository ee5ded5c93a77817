/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* The i440FX-compatible host bridge, 0:0.0, with configuration mechanism 1 at ports 0xcf8 and 0xcfc and, in the same
 * ports as on real chipsets, the reset control register 0xcf9 (82371AB data sheet, 4.2.6). */
int pci_host_new(const struct device_env *env, struct device **ret);
