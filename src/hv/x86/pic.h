/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The PC's two cascaded 8259A interrupt controllers at ports 0x20 and 0xa0, with the edge/level control registers at
 * 0x4d0 (Intel 8259A data sheet; 82371AB data sheet, 4.2). Everything but pic_new and pic_free is called with the device
 * lock held. */

#include "hv/bus/bus.h"

struct pic;

/* The INTR output of the master changed. */
typedef void (*pic_output_fn)(void *opaque, int level);

/* Maps the ports. Negative errno. */
int pic_new(struct bus *bus, pic_output_fn output, void *opaque, struct pic **ret);
void pic_free(struct pic *pic);
void pic_reset(struct pic *pic);
/* irq: 0..15 without 2. */
void pic_set_irq(struct pic *pic, unsigned irq, int level);
/* The CPU's interrupt acknowledge cycle: the vector, or -1 if INTR is not raised (any more). */
int pic_ack(struct pic *pic);
