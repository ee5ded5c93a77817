/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/dev/device.h"

/* How the guest hears of PCI slots that are filled or shall be emptied, and lets go of them: registers at PCI_HOTPLUG_BASE that the DSDT's methods (machine/acpi.c) use,
 * with a bit for each slot, and the event ACPI_GPE_PCI. All are 4 bytes:
 *   0 filled     read: slots that were filled since the last read
 *   4 requested  read: slots that the guest shall let go of
 *   8 eject      write: the guest has let go of these slots */
int pci_hotplug_new(const struct device_env *env, struct device **ret);
/* With the device lock held. */
void pci_hotplug_filled(struct device *dev, unsigned slot);
void pci_hotplug_request(struct device *dev, unsigned slot);
/* Slot was emptied in another way: nothing is told to the guest about it. */
void pci_hotplug_forget(struct device *dev, unsigned slot);
