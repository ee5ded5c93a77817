/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* ACPI fixed hardware (ACPI 6.4, 4.8): PM1 event and control blocks, PM timer, GPE0, SMI command port, at the addresses of
 * bus/platform.h. Sleep type 0 with SLP_EN is S5: DEVICE_EVENT_SHUTDOWN. */
int acpi_pm_new(const struct device_env *env, struct device **ret);
/* The user pressed the power button. With the device lock held. */
void acpi_pm_power_button(struct device *dev);
/* General purpose event n (0..15) has happened. With the device lock held. */
void acpi_pm_gpe(struct device *dev, unsigned n);
