/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* MC146818 real-time clock with 128 bytes of CMOS memory at ports 0x70 and 0x71 (Motorola MC146818A data sheet), GSI 8.
 * It shows the host's time, plus what the guest set it off by; the CMOS bytes for the memory size are filled in. */
int rtc_cmos_new(const struct device_env *env, struct device **ret);
