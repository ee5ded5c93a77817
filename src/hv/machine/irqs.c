/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"
#include "base/macros.h"
#include "hv/machine/machine-private.h"

#define ISA_IRQS 16
#define TIMER_GSI 0
#define TIMER_PIN 2   /* where the MADT's override puts the timer */
#define CASCADE_GSI 2 /* taken by the PICs' cascade; no device has it */

static void route(struct machine *m, unsigned gsi, int level)
{
        if (gsi < ISA_IRQS)
                pic_set_irq(m->pic, gsi, level);
        if (gsi == TIMER_GSI)
                ioapic_set_pin(m->ioapic, TIMER_PIN, level);
        else if (gsi != CASCADE_GSI)
                ioapic_set_pin(m->ioapic, gsi, level);
}

/* Several devices may share a line: it is up while any of them raises it. */
static void irqs_set(struct irq_sink *sink, unsigned gsi, int level)
{
        struct machine *m = container_of(sink, struct machine, irqs);

        if (gsi >= IOAPIC_PINS)
                return;
        if (level) {
                if (m->irq_counts[gsi]++ == 0)
                        route(m, gsi, 1);
        } else if (m->irq_counts[gsi] > 0) {
                if (--m->irq_counts[gsi] == 0)
                        route(m, gsi, 0);
        }
}

static void irqs_msi(struct irq_sink *sink, uint64_t addr, uint32_t data)
{
        struct machine *m = container_of(sink, struct machine, irqs);
        int r = m->engine->msi(m->vm, addr, data);

        if (r < 0)
                log_debug("interrupt message %#llx %#x is lost: error %d", (unsigned long long)addr, data, -r);
}

static void pic_output(void *opaque, int level)
{
        struct machine *m = opaque;

        m->engine->extint(m->vm, level);
}

void machine_irqs_init(struct machine *m)
{
        m->irqs = (struct irq_sink){ .set = irqs_set, .msi = irqs_msi };
}

int machine_irqs_new(struct machine *m)
{
        int r;

        r = pic_new(m->bus, pic_output, m, &m->pic);
        if (r == 0)
                r = ioapic_new(m->bus, &m->irqs, &m->ioapic);
        if (r == 0)
                r = pit_new(m->bus, m->timers, &m->irqs, &m->pit);
        return r;
}

void machine_irqs_reset(struct machine *m)
{
        pit_reset(m->pit);
        ioapic_reset(m->ioapic);
        pic_reset(m->pic);
}

void machine_irqs_free(struct machine *m)
{
        pit_free(m->pit);
        ioapic_free(m->ioapic);
        pic_free(m->pic);
}
