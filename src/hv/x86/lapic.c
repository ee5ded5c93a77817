/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Local APIC (Intel SDM vol. 3, chapter 11 "Advanced Programmable Interrupt Controller").
 *
 * There are no locks. What other threads post (IRR, TMR, NMI, INIT, SIPI) and what they read to route a message (ids, mode, enables) is
 * atomic; everything else belongs to the vCPU's own thread. */

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/x86/lapic.h"

enum {
        REG_ID = 0x20, REG_VERSION = 0x30, REG_TPR = 0x80, REG_APR = 0x90, REG_PPR = 0xa0, REG_EOI = 0xb0, REG_LDR = 0xd0,
        REG_DFR = 0xe0, REG_SPIV = 0xf0, REG_ISR = 0x100, REG_TMR = 0x180, REG_IRR = 0x200, REG_ESR = 0x280, REG_ICR = 0x300,
        REG_ICR2 = 0x310, REG_LVT = 0x320, REG_LVT_LAST = 0x370, REG_TMICT = 0x380, REG_TMCCT = 0x390, REG_TDCR = 0x3e0,
        REG_SELF_IPI = 0x3f0,
};

enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

#define LVT_MASKED (1u << 16)
#define VERSION 0x50014u /* integrated, 6 LVT entries */
#define BASE_BSP (1u << 8)
#define BASE_X2APIC (1u << 10)
#define BASE_ENABLE (1u << 11)
#define SPIV_ENABLE (1u << 8)
#define ICR_BUSY (1u << 12)

enum mode { MODE_FIXED, MODE_LOWEST, MODE_SMI, MODE_NMI = 4, MODE_INIT, MODE_SIPI, MODE_EXTINT };
enum timer_mode { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };
enum { ESR_SEND_VECTOR = 1 << 5, ESR_RECV_VECTOR = 1 << 6, ESR_REGISTER = 1 << 7 };

struct lapic {
        struct lapic_bus *bus;
        unsigned index;

        /* Read by senders. */
        _Atomic uint64_t base;
        _Atomic uint32_t ldr, dfr, spiv;
        /* Written by senders. */
        _Atomic uint32_t irr[8], tmr[8];
        _Atomic bool nmi, init;
        _Atomic int sipi; /* vector, -1: none */

        uint32_t isr[8];
        uint32_t lvt[LVTS];
        uint32_t tpr, esr, esr_pending;
        uint32_t icr, icr2;
        uint32_t tdcr, tmict;
        uint64_t timer_start;  /* virtual ns when the count began */
        bool timer_armed;      /* one-shot or periodic */
        uint64_t tsc_deadline; /* 0: not armed */
};

struct lapic_bus {
        struct lapic_callbacks cb;
        void *opaque;
        unsigned n;
        struct lapic apics[];
};

/* --- Bitmaps of 256 vectors ----------------------------------------------------------------------------------- */

static int highest_atomic(const _Atomic uint32_t *map)
{
        for (int i = 7; i >= 0; i--) {
                uint32_t word = atomic_load_explicit(&map[i], memory_order_acquire);

                if (word)
                        return i * 32 + 31 - __builtin_clz(word);
        }
        return -1;
}

static int highest(const uint32_t *map)
{
        for (int i = 7; i >= 0; i--)
                if (map[i])
                        return i * 32 + 31 - __builtin_clz(map[i]);
        return -1;
}

static void set_atomic(_Atomic uint32_t *map, unsigned vector)
{
        atomic_fetch_or(&map[vector / 32], 1u << (vector % 32));
}

static void clear_atomic(_Atomic uint32_t *map, unsigned vector)
{
        atomic_fetch_and(&map[vector / 32], ~(1u << (vector % 32)));
}

static bool test_atomic(const _Atomic uint32_t *map, unsigned vector)
{
        return atomic_load(&map[vector / 32]) >> (vector % 32) & 1;
}

/* --- State --------------------------------------------------------------------------------------------------- */

static bool enabled(const struct lapic *l)
{
        return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_ENABLE;
}

static bool x2apic(const struct lapic *l)
{
        return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_X2APIC;
}

static bool software_enabled(const struct lapic *l)
{
        return enabled(l) && (atomic_load_explicit(&l->spiv, memory_order_relaxed) & SPIV_ENABLE);
}

static uint32_t x2apic_ldr(const struct lapic *l)
{
        return l->index >> 4 << 16 | 1u << (l->index & 15);
}

static void clear_registers(struct lapic *l)
{
        for (unsigned i = 0; i < 8; i++) {
                atomic_store(&l->irr[i], 0);
                atomic_store(&l->tmr[i], 0);
                l->isr[i] = 0;
        }
        for (unsigned i = 0; i < LVTS; i++)
                l->lvt[i] = LVT_MASKED;
        atomic_store(&l->ldr, 0);
        atomic_store(&l->dfr, UINT32_MAX);
        atomic_store(&l->spiv, 0xff);
        l->tpr = l->esr = l->esr_pending = l->icr = l->icr2 = l->tdcr = l->tmict = 0;
        l->timer_armed = false;
        l->tsc_deadline = 0;
        atomic_store(&l->nmi, false);
}

void lapic_reset(struct lapic *l, bool bsp, bool init)
{
        clear_registers(l);
        if (init)
                return; /* the mode stays, and a SIPI that follows the INIT must not be lost */
        atomic_store(&l->base, 0xfee00000 | BASE_ENABLE | (bsp ? BASE_BSP : 0));
        atomic_store(&l->init, false);
        atomic_store(&l->sipi, -1);
}

int lapic_bus_new(unsigned cpus, const struct lapic_callbacks *cb, void *opaque, struct lapic_bus **ret)
{
        struct lapic_bus *bus = calloc(1, sizeof(*bus) + cpus * sizeof(bus->apics[0]));

        if (!bus)
                return -ENOMEM;
        bus->cb = *cb;
        bus->opaque = opaque;
        bus->n = cpus;
        for (unsigned i = 0; i < cpus; i++) {
                bus->apics[i].bus = bus;
                bus->apics[i].index = i;
                lapic_reset(&bus->apics[i], i == 0, false);
        }
        *ret = bus;
        return 0;
}

void lapic_bus_free(struct lapic_bus *bus)
{
        free(bus);
}

struct lapic *lapic_bus_get(struct lapic_bus *bus, unsigned index)
{
        return index < bus->n ? &bus->apics[index] : NULL;
}

uint64_t lapic_base_msr(const struct lapic *l)
{
        return atomic_load_explicit(&l->base, memory_order_relaxed);
}

bool lapic_set_base_msr(struct lapic *l, uint64_t value)
{
        uint64_t old = lapic_base_msr(l), mode = value & (BASE_ENABLE | BASE_X2APIC);

        if ((value & 0x2ff) || mode == BASE_X2APIC)
                return false;
        /* x2APIC mode begins from xAPIC mode only, and ends in disabled only. */
        if (mode == (BASE_ENABLE | BASE_X2APIC) && !(old & BASE_ENABLE))
                return false;
        if (mode == BASE_ENABLE && (old & BASE_X2APIC))
                return false;
        if (mode == 0 && (old & BASE_ENABLE))
                clear_registers(l);
        atomic_store(&l->base, value);
        return true;
}

void lapic_restore_base(struct lapic *l, uint64_t value)
{
        atomic_store(&l->base, value);
}

/* --- Receiving ----------------------------------------------------------------------------------------------- */

static void wake(struct lapic *l)
{
        l->bus->cb.wake(l->bus->opaque, l->index);
}

static void post_vector(struct lapic *l, uint8_t vector, bool level)
{
        if (!software_enabled(l) || vector < 16)
                return;
        if (level)
                set_atomic(l->tmr, vector);
        else
                clear_atomic(l->tmr, vector);
        set_atomic(l->irr, vector);
        wake(l);
}

static void post(struct lapic *l, enum mode mode, uint8_t vector, bool level)
{
        if (!enabled(l))
                return;
        switch (mode) {
        case MODE_FIXED:
        case MODE_LOWEST:
                post_vector(l, vector, level);
                break;
        case MODE_NMI:
                atomic_store(&l->nmi, true);
                wake(l);
                break;
        case MODE_INIT:
                atomic_store(&l->sipi, -1);
                atomic_store(&l->init, true);
                wake(l);
                break;
        case MODE_SIPI:
                atomic_store(&l->sipi, vector);
                wake(l);
                break;
        case MODE_SMI:    /* there is no system management mode */
        case MODE_EXTINT: /* the 8259s are wired to LINT0 */
                break;
        }
}

/* --- Routing ------------------------------------------------------------------------------------------------- */

struct message {
        uint32_t dest;
        bool logical, wide; /* wide: dest has 32 bits (x2APIC senders) */
        enum mode mode;
        uint8_t vector;
        bool level;
        bool lowest;
};

static bool matches_logical(const struct lapic *l, const struct message *m)
{
        uint32_t ldr, dfr;

        if (x2apic(l))
                return x2apic_ldr(l) >> 16 == m->dest >> 16 && (x2apic_ldr(l) & m->dest & 0xffff);
        ldr = atomic_load(&l->ldr) >> 24;
        dfr = atomic_load(&l->dfr) >> 28;
        if (m->dest > 0xff)
                return false;
        if (dfr == 0xf)
                return ldr & m->dest;
        return ldr >> 4 == m->dest >> 4 && (ldr & m->dest & 0xf);
}

static bool matches(const struct lapic *l, const struct message *m)
{
        if (m->wide ? m->dest == UINT32_MAX : m->dest == 0xff && (!m->logical || !x2apic(l)))
                return true;
        return m->logical ? matches_logical(l, m) : m->dest == l->index;
}

static void route(struct lapic_bus *bus, const struct message *m)
{
        for (unsigned i = 0; i < bus->n; i++) {
                struct lapic *l = &bus->apics[i];

                if (!matches(l, m) || (m->lowest && !software_enabled(l)))
                        continue;
                post(l, m->mode, m->vector, m->level);
                if (m->lowest)
                        return;
        }
}

int lapic_bus_msi(struct lapic_bus *bus, uint64_t addr, uint32_t data)
{
        struct message m = {
                .dest = addr >> 12 & 0xff,
                .logical = addr & 4,
                .mode = data >> 8 & 7,
                .vector = (uint8_t)data,
                .level = data >> 15 & 1,
        };

        if (addr >> 20 != 0xfee)
                return -EINVAL;
        m.lowest = m.mode == MODE_LOWEST || ((addr & 8) && m.logical && m.mode == MODE_FIXED);
        route(bus, &m);
        return 0;
}

static void send_ipi(struct lapic *l, uint32_t icr, uint32_t dest)
{
        struct message m = {
                .dest = dest, .wide = x2apic(l), .logical = icr >> 11 & 1, .mode = icr >> 8 & 7,
                .vector = (uint8_t)icr, .lowest = (icr >> 8 & 7) == MODE_LOWEST,
        };
        unsigned shorthand = icr >> 18 & 3;

        if (m.mode == MODE_INIT && (icr & 0xc000) == 0x8000)
                return; /* INIT level de-assert: nothing to do since the P6 family */
        if (m.mode <= MODE_LOWEST && m.vector < 16) {
                l->esr_pending |= ESR_SEND_VECTOR;
                return;
        }
        if (shorthand == 0) {
                route(l->bus, &m);
                return;
        }
        for (unsigned i = 0; i < l->bus->n; i++) {
                bool self = i == l->index;

                if (self ? shorthand != 3 : shorthand != 1)
                        post(&l->bus->apics[i], m.mode, m.vector, false);
        }
}

/* --- Priorities ---------------------------------------------------------------------------------------------- */

static unsigned processor_priority(const struct lapic *l)
{
        int in_service = highest(l->isr);
        unsigned class = in_service < 0 ? 0 : (unsigned)in_service & 0xf0;

        return (l->tpr & 0xf0) >= class ? l->tpr : class;
}

int lapic_pending(struct lapic *l)
{
        int vector = highest_atomic(l->irr);

        if (vector < 0 || !software_enabled(l) || ((unsigned)vector & 0xf0) <= (processor_priority(l) & 0xf0))
                return -1;
        return vector;
}

int lapic_ack(struct lapic *l)
{
        int vector = lapic_pending(l);

        if (vector < 0)
                return -1;
        clear_atomic(l->irr, (unsigned)vector);
        l->isr[vector / 32] |= 1u << (vector % 32);
        return vector;
}

void lapic_eoi(struct lapic *l)
{
        int vector = highest(l->isr);

        if (vector < 0)
                return;
        l->isr[vector / 32] &= ~(1u << (vector % 32));
        if (test_atomic(l->tmr, (unsigned)vector))
                l->bus->cb.eoi(l->bus->opaque, (uint8_t)vector);
}

bool lapic_eoi_calls_back(const struct lapic *l)
{
        int vector = highest(l->isr);

        return vector >= 0 && test_atomic(l->tmr, (unsigned)vector);
}

bool lapic_can_pv_eoi(const struct lapic *l)
{
        int vector = highest(l->isr);

        return vector >= 0 && !test_atomic(l->tmr, (unsigned)vector) && highest_atomic(l->irr) < 0;
}

uint8_t lapic_tpr(const struct lapic *l)
{
        return (uint8_t)l->tpr;
}

void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
        l->tpr = tpr;
}

bool lapic_accepts_extint(const struct lapic *l)
{
        uint32_t lint0 = l->lvt[LVT_LINT0];

        if (!enabled(l))
                return true; /* LINT0 is then the INTR pin */
        return !(lint0 & LVT_MASKED) && (lint0 >> 8 & 7) == MODE_EXTINT;
}

bool lapic_take_nmi(struct lapic *l)
{
        return atomic_load_explicit(&l->nmi, memory_order_relaxed) && atomic_exchange(&l->nmi, false);
}

bool lapic_take_init(struct lapic *l)
{
        return atomic_exchange(&l->init, false);
}

bool lapic_take_sipi(struct lapic *l, uint8_t *ret_vector)
{
        int vector = atomic_exchange(&l->sipi, -1);

        *ret_vector = (uint8_t)vector;
        return vector >= 0;
}

bool lapic_has_init_or_sipi(const struct lapic *l)
{
        return atomic_load_explicit(&l->init, memory_order_relaxed) ||
                atomic_load_explicit(&l->sipi, memory_order_relaxed) >= 0;
}

/* --- Timer --------------------------------------------------------------------------------------------------- */

static enum timer_mode timer_mode(const struct lapic *l)
{
        return l->lvt[LVT_TIMER] >> 17 & 3;
}

/* Bus clocks (ns) per count: encodings 0..6 are 2..128, 7 is 1. */
static uint64_t divisor(const struct lapic *l)
{
        unsigned code = (l->tdcr & 3) | (l->tdcr >> 1 & 4);

        return 1ULL << ((code + 1) & 7);
}

static uint64_t period_ns(const struct lapic *l)
{
        return l->tmict * divisor(l);
}

static uint64_t now(const struct lapic *l)
{
        return l->bus->cb.now(l->bus->opaque);
}

static void timer_start(struct lapic *l, uint32_t count)
{
        l->tmict = count;
        l->timer_start = now(l);
        l->timer_armed = count != 0 && timer_mode(l) != TIMER_TSC_DEADLINE;
}

static uint32_t timer_count(const struct lapic *l)
{
        uint64_t elapsed, period = period_ns(l);

        if (!l->timer_armed)
                return 0;
        elapsed = now(l) - l->timer_start;
        if (elapsed >= period) {
                if (timer_mode(l) == TIMER_ONESHOT)
                        return 0;
                elapsed %= period;
        }
        return (uint32_t)((period - elapsed) / divisor(l));
}

static void timer_fire(struct lapic *l)
{
        if (!(l->lvt[LVT_TIMER] & LVT_MASKED))
                post_vector(l, (uint8_t)l->lvt[LVT_TIMER], false);
}

static uint64_t poll_deadline(struct lapic *l)
{
        uint64_t tsc, left, khz = l->bus->cb.tsc_khz;

        if (!l->tsc_deadline)
                return UINT64_MAX;
        tsc = l->bus->cb.tsc(l->bus->opaque, l->index);
        if (tsc >= l->tsc_deadline) {
                l->tsc_deadline = 0;
                timer_fire(l);
                return 0;
        }
        left = l->tsc_deadline - tsc;
        if (left / 1000000 >= UINT64_MAX / 1000000 / 1000000 || !khz)
                return khz ? UINT64_MAX - 1 : left / 8 + 1; /* without a frequency: early, and asked again */
        return left / khz * 1000000 + left % khz * 1000000 / khz + 1;
}

bool lapic_timer_asks_time(const struct lapic *l)
{
        return timer_mode(l) != TIMER_TSC_DEADLINE;
}

uint64_t lapic_timer_poll(struct lapic *l)
{
        uint64_t elapsed, period = period_ns(l);

        if (timer_mode(l) == TIMER_TSC_DEADLINE)
                return poll_deadline(l);
        if (!l->timer_armed)
                return UINT64_MAX;
        elapsed = now(l) - l->timer_start;
        if (elapsed < period)
                return period - elapsed;
        if (timer_mode(l) == TIMER_PERIODIC)
                l->timer_start += elapsed / period * period; /* missed ticks are one tick */
        else
                l->timer_armed = false;
        timer_fire(l);
        return 0;
}

bool lapic_set_tsc_deadline(struct lapic *l, uint64_t tsc)
{
        if (timer_mode(l) == TIMER_TSC_DEADLINE)
                l->tsc_deadline = tsc;
        return true;
}

uint64_t lapic_tsc_deadline(const struct lapic *l)
{
        return timer_mode(l) == TIMER_TSC_DEADLINE ? l->tsc_deadline : 0;
}

/* --- Registers ----------------------------------------------------------------------------------------------- */

static const uint32_t lvt_writable[LVTS] = {
        [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
        [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff, [LVT_ERROR] = 0x100ff,
};

static void write_lvt(struct lapic *l, enum lvt i, uint32_t value)
{
        enum timer_mode old = timer_mode(l);

        value &= lvt_writable[i];
        if (!(atomic_load(&l->spiv) & SPIV_ENABLE))
                value |= LVT_MASKED;
        l->lvt[i] = value;
        if (i == LVT_TIMER && timer_mode(l) != old &&
                (old == TIMER_TSC_DEADLINE || timer_mode(l) == TIMER_TSC_DEADLINE)) {
                l->timer_armed = false;
                l->tsc_deadline = 0;
        }
}

static void write_spiv(struct lapic *l, uint32_t value)
{
        atomic_store(&l->spiv, value & 0x3ff);
        if (value & SPIV_ENABLE)
                return;
        for (unsigned i = 0; i < LVTS; i++)
                l->lvt[i] |= LVT_MASKED;
}

static void write_esr(struct lapic *l)
{
        l->esr = l->esr_pending;
        l->esr_pending = 0;
}

static uint32_t read_register(struct lapic *l, unsigned off)
{
        switch (off) {
        case REG_ID:
                return x2apic(l) ? l->index : l->index << 24;
        case REG_VERSION:
                return VERSION;
        case REG_TPR:
                return l->tpr;
        case REG_PPR:
                return processor_priority(l);
        case REG_LDR:
                return x2apic(l) ? x2apic_ldr(l) : atomic_load(&l->ldr);
        case REG_DFR:
                return atomic_load(&l->dfr);
        case REG_SPIV:
                return atomic_load(&l->spiv);
        case REG_ISR ... REG_ISR + 0x7f:
                return l->isr[(off - REG_ISR) / 16];
        case REG_TMR ... REG_TMR + 0x7f:
                return atomic_load(&l->tmr[(off - REG_TMR) / 16]);
        case REG_IRR ... REG_IRR + 0x7f:
                return atomic_load(&l->irr[(off - REG_IRR) / 16]);
        case REG_ESR:
                return l->esr;
        case REG_ICR:
                return l->icr;
        case REG_ICR2:
                return l->icr2;
        case REG_LVT ... REG_LVT_LAST:
                return l->lvt[(off - REG_LVT) / 16];
        case REG_TMICT:
                return l->tmict;
        case REG_TMCCT:
                return timer_count(l);
        case REG_TDCR:
                return l->tdcr;
        default:
                return 0;
        }
}

/* Registers that both modes write alike. */
static void write_register(struct lapic *l, unsigned off, uint32_t value)
{
        switch (off) {
        case REG_TPR:
                l->tpr = value & 0xff;
                break;
        case REG_EOI:
                lapic_eoi(l);
                break;
        case REG_SPIV:
                write_spiv(l, value);
                break;
        case REG_ESR:
                write_esr(l);
                break;
        case REG_LVT ... REG_LVT_LAST:
                write_lvt(l, (off - REG_LVT) / 16, value);
                break;
        case REG_TMICT:
                if (timer_mode(l) != TIMER_TSC_DEADLINE)
                        timer_start(l, value);
                break;
        case REG_TDCR:
                l->tdcr = value & 0xb;
                break;
        }
}

uint32_t lapic_mmio_read(struct lapic *l, unsigned offset)
{
        return offset & 0xf ? 0 : read_register(l, offset);
}

void lapic_mmio_write(struct lapic *l, unsigned offset, uint32_t value)
{
        if (offset & 0xf)
                return;
        switch (offset) {
        case REG_LDR:
                atomic_store(&l->ldr, value & 0xff000000);
                break;
        case REG_DFR:
                atomic_store(&l->dfr, value | 0x0fffffff);
                break;
        case REG_ICR:
                l->icr = value & ~ICR_BUSY;
                send_ipi(l, l->icr, l->icr2 >> 24);
                break;
        case REG_ICR2:
                l->icr2 = value & 0xff000000;
                break;
        default:
                write_register(l, offset, value);
        }
}

static bool x2apic_readable(unsigned off)
{
        switch (off) {
        case REG_ID:
        case REG_VERSION:
        case REG_TPR:
        case REG_PPR:
        case REG_LDR:
        case REG_SPIV:
        case REG_ISR ... REG_ESR:
        case REG_LVT ... REG_TMCCT:
        case REG_TDCR:
                return true;
        default:
                return false;
        }
}

bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *ret)
{
        unsigned off = (msr - 0x800) << 4;

        if (!x2apic(l))
                return false;
        if (off == REG_ICR) {
                *ret = l->icr | (uint64_t)l->icr2 << 32;
                return true;
        }
        if (!x2apic_readable(off))
                return false;
        *ret = read_register(l, off);
        return true;
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
        unsigned off = (msr - 0x800) << 4;

        if (!x2apic(l))
                return false;
        if (off == REG_ICR) {
                l->icr = (uint32_t)value & ~ICR_BUSY;
                l->icr2 = (uint32_t)(value >> 32);
                send_ipi(l, l->icr, l->icr2);
                return true;
        }
        if (value >> 32)
                return false;
        switch (off) {
        case REG_EOI:
        case REG_ESR:
                if (value)
                        return false;
                break;
        case REG_SELF_IPI:
                if (value > 0xff)
                        return false;
                post_vector(l, (uint8_t)value, false);
                return true;
        case REG_TPR:
        case REG_SPIV:
        case REG_LVT ... REG_TMICT:
        case REG_TDCR:
                break;
        default:
                return false;
        }
        write_register(l, off, (uint32_t)value);
        return true;
}

/* --- Save and load ------------------------------------------------------------------------------------------- */

void lapic_save(const struct lapic *l, uint8_t regs[X86_LAPIC_REGS_SIZE])
{
        for (unsigned off = 0; off < X86_LAPIC_REGS_SIZE; off += 16) {
                for (unsigned i = 0; i < 16; i++)
                        regs[off + i] = 0;
                le32_store(regs + off, read_register((struct lapic *)l, off));
        }
}

static void load_map(_Atomic uint32_t *map, const uint8_t *regs)
{
        for (unsigned i = 0; i < 8; i++)
                atomic_store(&map[i], le32_load(regs + i * 16));
}

/* Goes on counting from the saved current count. */
static void load_timer(struct lapic *l, uint32_t initial, uint32_t current)
{
        uint64_t period;

        timer_start(l, initial);
        period = period_ns(l);
        if (timer_mode(l) == TIMER_ONESHOT && !current)
                l->timer_armed = false;
        if (current && current * divisor(l) <= period)
                l->timer_start -= period - current * divisor(l);
}

void lapic_load(struct lapic *l, const uint8_t regs[X86_LAPIC_REGS_SIZE])
{
        clear_registers(l);
        l->tpr = regs[REG_TPR];
        atomic_store(&l->ldr, le32_load(regs + REG_LDR));
        atomic_store(&l->dfr, le32_load(regs + REG_DFR) | 0x0fffffff);
        atomic_store(&l->spiv, le32_load(regs + REG_SPIV) & 0x3ff);
        load_map(l->irr, regs + REG_IRR);
        load_map(l->tmr, regs + REG_TMR);
        for (unsigned i = 0; i < 8; i++)
                l->isr[i] = le32_load(regs + REG_ISR + i * 16);
        for (unsigned i = 0; i < LVTS; i++)
                l->lvt[i] = le32_load(regs + REG_LVT + i * 16) & lvt_writable[i];
        l->esr = le32_load(regs + REG_ESR);
        l->icr = le32_load(regs + REG_ICR) & ~ICR_BUSY;
        l->icr2 = le32_load(regs + REG_ICR2);
        l->tdcr = le32_load(regs + REG_TDCR) & 0xb;
        load_timer(l, le32_load(regs + REG_TMICT), le32_load(regs + REG_TMCCT));
}
