/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Interrupt lines between devices and the interrupt controllers. Called with the device lock held. */

#include <stdint.h>

/* What a line ends in: the machine's routing of global system interrupts to PIC and IOAPIC. */
struct irq_sink {
        void (*set)(struct irq_sink *sink, unsigned gsi, int level);
        /* Message signalled interrupt: address and data as a PCI function would write them. */
        void (*msi)(struct irq_sink *sink, uint64_t addr, uint32_t data);
};

struct irq_line {
        struct irq_sink *sink;
        unsigned gsi;
        int level;
};

static inline void irq_set(struct irq_line *line, int level)
{
        level = !!level;
        if (line->level == level)
                return;
        line->level = level;
        line->sink->set(line->sink, line->gsi, level);
}

static inline void irq_pulse(struct irq_line *line)
{
        irq_set(line, 1);
        irq_set(line, 0);
}
