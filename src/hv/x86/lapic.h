/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Local APIC with xAPIC and x2APIC modes, TSC-deadline, one-shot and periodic timer (Intel SDM vol. 3 chapter 11),
 * for engines without one in the kernel. All APICs of a VM form a lapic_bus that routes interrupt messages. Thread-safe by its
 * own (atomic or locked) means; registers of one APIC are accessed by its own vCPU, everything else from any thread. */

#include <stdbool.h>
#include <stdint.h>

#include "hv/x86/state.h"

struct lapic;
struct lapic_bus;

struct lapic_callbacks {
        /* Something changed for APIC index: wake its vCPU and let it look. Any thread. */
        void (*wake)(void *opaque, unsigned index);
        /* EOI of a level-triggered vector, to be sent to the IOAPIC. Own vCPU's thread. */
        void (*eoi)(void *opaque, uint8_t vector);
        /* Guest TSC and virtual time in ns (for the bus-clock timer modes; the APIC timer runs at 1 GHz). */
        uint64_t (*tsc)(void *opaque, unsigned index);
        uint64_t (*now)(void *opaque);
        uint64_t tsc_khz; /* of the guest TSC */
};

int lapic_bus_new(unsigned cpus, const struct lapic_callbacks *cb, void *opaque, struct lapic_bus **ret);
void lapic_bus_free(struct lapic_bus *bus);
struct lapic *lapic_bus_get(struct lapic_bus *bus, unsigned index);
/* MSI address/data format (Intel SDM vol. 3, 11.11), also what the IOAPIC sends. Fixed, lowest priority, NMI, INIT, SIPI, ExtINT. */
int lapic_bus_msi(struct lapic_bus *bus, uint64_t addr, uint32_t data);

void lapic_reset(struct lapic *l, bool bsp, bool init);
uint64_t lapic_base_msr(const struct lapic *l);
/* False: #GP. */
bool lapic_set_base_msr(struct lapic *l, uint64_t value);
/* For restoring state: no transition rules, no reset; before lapic_load. */
void lapic_restore_base(struct lapic *l, uint64_t value);
/* xAPIC page access (offset 0..0xfff) and x2APIC MSRs 0x800..0x8ff. The msr functions return false for #GP. */
uint32_t lapic_mmio_read(struct lapic *l, unsigned offset);
void lapic_mmio_write(struct lapic *l, unsigned offset, uint32_t value);
bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *ret);
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value);
uint8_t lapic_tpr(const struct lapic *l); /* CR8 = TPR >> 4 */
void lapic_set_tpr(struct lapic *l, uint8_t tpr);
bool lapic_set_tsc_deadline(struct lapic *l, uint64_t tsc);
uint64_t lapic_tsc_deadline(const struct lapic *l);

/* None of the functions below and the register accessors use vector registers (the software engine keeps the guest's in them).
 *
 * The vector to deliver now given IRR, ISR and TPR, or -1. */
int lapic_pending(struct lapic *l);
/* Moves the pending vector to ISR and returns it, or -1 (spurious). */
int lapic_ack(struct lapic *l);
void lapic_eoi(struct lapic *l);
/* Will the next EOI call back? */
bool lapic_eoi_calls_back(const struct lapic *l);
/* LINT0 accepts ExtINT from the 8259s now? */
bool lapic_accepts_extint(const struct lapic *l);
/* Takes pending NMI / INIT / SIPI messages; SIPI's vector page to *ret_vector. */
bool lapic_take_nmi(struct lapic *l);
bool lapic_take_init(struct lapic *l);
bool lapic_take_sipi(struct lapic *l, uint8_t *ret_vector);
bool lapic_has_init_or_sipi(const struct lapic *l);
/* Does lapic_timer_poll, as the timer is programmed now, ask for the time? */
bool lapic_timer_asks_time(const struct lapic *l);
/* Fires the timer if due. Returns ns of virtual time until the next expiry, 0: fired or due now, UINT64_MAX: none armed. */
uint64_t lapic_timer_poll(struct lapic *l);
/* PV EOI (KVM): the guest's flag word was found set by the vCPU; handled by the engine with these two. */
bool lapic_can_pv_eoi(const struct lapic *l);

void lapic_save(const struct lapic *l, uint8_t regs[X86_LAPIC_REGS_SIZE]);
void lapic_load(struct lapic *l, const uint8_t regs[X86_LAPIC_REGS_SIZE]);
