/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* i8254 interval timer at ports 0x40..0x43 with the PC's port 0x61 (Intel 82C54 data sheet). Channel 0 raises GSI 0,
 * channel 2 has its gate and output in port 0x61; no sound comes out. */

#include "hv/bus/bus.h"
#include "hv/bus/irq.h"
#include "hv/bus/timer.h"

#define PIT_HZ 1193182u

struct pit;

/* Maps the ports. Negative errno. */
int pit_new(struct bus *bus, struct timer_loop *timers, struct irq_sink *sink, struct pit **ret);
void pit_free(struct pit *pit);
/* With the device lock held. */
void pit_reset(struct pit *pit);
