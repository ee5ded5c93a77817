/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* 82093AA I/O APIC at IOAPIC_BASE: 24 inputs, version 0x20 (with EOI register). It sends its interrupts as MSIs, so
 * that the destination field means what it means there. Everything but ioapic_new and ioapic_free is called with the
 * device lock held. */

#include "hv/bus/bus.h"
#include "hv/bus/irq.h"

#define IOAPIC_PINS 24

struct ioapic;

/* Maps the registers; interrupts leave through sink->msi. Negative errno. */
int ioapic_new(struct bus *bus, struct irq_sink *sink, struct ioapic **ret);
void ioapic_free(struct ioapic *ioapic);
void ioapic_reset(struct ioapic *ioapic);
/* level 1 is asserted, whatever the polarity bit says: our devices and tables agree on it. */
void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, int level);
/* A local APIC ended a level-triggered interrupt with this vector. */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);
