/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/rtc-cmos.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"

#define PORT 0x70
#define GSI 8
#define NS_PER_S 1000000000ull
#define DAY 86400

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY_OF_MONTH, MONTH, YEAR, A, B, C, D };
#define CENTURY 0x32

#define A_UIP 0x80
#define A_DIVIDER 0x70
#define A_DIVIDER_RESET 0x60 /* 11x: the divider stands still */
#define A_RATE 0x0f
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define D_VALID 0x80

#define HOURS_PM 0x80
#define ALARM_ANY 0xc0 /* alarm bytes from here on match every value */

/* The update cycle announces itself this long before the second ends. */
#define UIP_NS 2228000

struct rtc {
        struct device device;
        const struct device_env *env;
        struct irq_line irq;
        struct timer periodic; /* armed while its interrupt is enabled */
        struct timer second;   /* armed while the alarm or update interrupt is enabled */
        uint8_t index;
        uint8_t regs[128];
        int64_t offset;        /* seconds from the host's UTC to the guest's clock */
        int64_t seen_second;   /* guest time up to which updates and alarms were looked at */
        uint64_t period_base;  /* virtual ns of a period's begin; multiples are the next */
};

static int64_t host_time(uint32_t *ret_ns)
{
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        if (ret_ns)
                *ret_ns = (uint32_t)ts.tv_nsec;
        return ts.tv_sec;
}

static int64_t guest_time(const struct rtc *r)
{
        return host_time(NULL) + r->offset;
}

static bool stopped(const struct rtc *r)
{
        return (r->regs[B] & B_SET) || (r->regs[A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

static uint8_t encode(const struct rtc *r, unsigned n)
{
        return (uint8_t)(r->regs[B] & B_BINARY ? n : n / 10 << 4 | n % 10);
}

static unsigned decode(const struct rtc *r, uint8_t v)
{
        return r->regs[B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
        unsigned h = hour % 12 ? hour % 12 : 12;

        if (r->regs[B] & B_24H)
                return encode(r, hour);
        return encode(r, h) | (hour >= 12 ? HOURS_PM : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t v)
{
        if (r->regs[B] & B_24H)
                return decode(r, v);
        return decode(r, v & 0x7f) % 12 + (v & HOURS_PM ? 12 : 0);
}

/* Fills the time registers from the clock. */
static void show_time(struct rtc *r)
{
        time_t t = guest_time(r);
        struct tm tm;

        if (!gmtime_r(&t, &tm))
                return;
        r->regs[SECONDS] = encode(r, (unsigned)tm.tm_sec);
        r->regs[MINUTES] = encode(r, (unsigned)tm.tm_min);
        r->regs[HOURS] = encode_hour(r, (unsigned)tm.tm_hour);
        r->regs[WEEKDAY] = encode(r, (unsigned)tm.tm_wday + 1);
        r->regs[DAY_OF_MONTH] = encode(r, (unsigned)tm.tm_mday);
        r->regs[MONTH] = encode(r, (unsigned)tm.tm_mon + 1);
        r->regs[YEAR] = encode(r, (unsigned)tm.tm_year % 100);
        r->regs[CENTURY] = encode(r, ((unsigned)tm.tm_year + 1900) / 100);
}

/* Sets the clock from the time registers; nonsense in them is carried over as mktime does. */
static void take_time(struct rtc *r)
{
        struct tm tm = {
                .tm_sec = (int)decode(r, r->regs[SECONDS]),
                .tm_min = (int)decode(r, r->regs[MINUTES]),
                .tm_hour = (int)decode_hour(r, r->regs[HOURS]),
                .tm_mday = (int)decode(r, r->regs[DAY_OF_MONTH]),
                .tm_mon = (int)decode(r, r->regs[MONTH]) - 1,
                .tm_year = (int)(decode(r, r->regs[CENTURY]) * 100 + decode(r, r->regs[YEAR])) - 1900,
        };

        r->offset = timegm(&tm) - host_time(NULL);
        r->seen_second = guest_time(r);
}

static bool alarm_matches(const struct rtc *r, int64_t t)
{
        unsigned s = (unsigned)(((t % DAY) + DAY) % DAY);
        uint8_t want_s = r->regs[SECONDS_ALARM], want_m = r->regs[MINUTES_ALARM], want_h = r->regs[HOURS_ALARM];

        return (want_s >= ALARM_ANY || decode(r, want_s) == s % 60) &&
               (want_m >= ALARM_ANY || decode(r, want_m) == s / 60 % 60) &&
               (want_h >= ALARM_ANY || decode_hour(r, want_h) == s / 3600);
}

static uint64_t period_ns(const struct rtc *r)
{
        unsigned rate = r->regs[A] & A_RATE;

        if (rate == 0)
                return 0;
        /* Rates 1 and 2 are those of 8 and 9 with the usual time base. */
        if (rate <= 2)
                rate += 7;
        return (NS_PER_S << (rate - 1)) / 32768;
}

/* Sets the flags for all that happened since the last look. */
static void catch_up(struct rtc *r)
{
        int64_t now = guest_time(r);
        uint64_t period = period_ns(r), virtual_now = timer_now(r->env->timers);

        if (!stopped(r) && now != r->seen_second) {
                r->regs[C] |= C_UF;
                if (now - r->seen_second > DAY || now < r->seen_second)
                        r->seen_second = now - 1;
                while (r->seen_second < now && !(r->regs[C] & C_AF))
                        if (alarm_matches(r, ++r->seen_second))
                                r->regs[C] |= C_AF;
        }
        r->seen_second = now;
        if (period && virtual_now - r->period_base >= period) {
                r->regs[C] |= C_PF;
                r->period_base = virtual_now - (virtual_now - r->period_base) % period;
        }
}

static void update_irq(struct rtc *r)
{
        bool raised = r->regs[C] & r->regs[B] & (C_PF | C_AF | C_UF);

        r->regs[C] = (uint8_t)((r->regs[C] & ~C_IRQF) | (raised ? C_IRQF : 0));
        irq_set(&r->irq, raised);
}

static void arm_timers(struct rtc *r)
{
        uint64_t now = timer_now(r->env->timers), period = period_ns(r);
        uint32_t ns;

        if ((r->regs[B] & B_PIE) && period)
                timer_arm(&r->periodic, r->period_base + period);
        else
                timer_cancel(&r->periodic);
        if (!(r->regs[B] & (B_AIE | B_UIE)) || stopped(r)) {
                timer_cancel(&r->second);
                return;
        }
        host_time(&ns);
        timer_arm(&r->second, now + NS_PER_S - ns + 1000);
}

static void tick(void *opaque)
{
        struct rtc *r = opaque;

        catch_up(r);
        update_irq(r);
        arm_timers(r);
}

static void write_b(struct rtc *r, uint8_t value)
{
        bool was_set = r->regs[B] & B_SET;

        catch_up(r);
        if (!was_set && (value & B_SET))
                show_time(r);
        /* Setting the clock disables the update interrupt. */
        r->regs[B] = value & B_SET ? value & (uint8_t)~B_UIE : value;
        if (was_set && !(value & B_SET))
                take_time(r);
        /* Flags that were up before their interrupt was enabled count. */
        update_irq(r);
        arm_timers(r);
}

static void write_a(struct rtc *r, uint8_t value)
{
        if ((value ^ r->regs[A]) & A_RATE)
                r->period_base = timer_now(r->env->timers);
        r->regs[A] = value & (uint8_t)~A_UIP;
        arm_timers(r);
}

static void write_time(struct rtc *r, uint8_t value)
{
        if (r->regs[B] & B_SET) {
                r->regs[r->index] = value;
                return;
        }
        show_time(r);
        r->regs[r->index] = value;
        take_time(r);
        arm_timers(r);
}

static void write_register(struct rtc *r, uint8_t value)
{
        switch (r->index) {
        case SECONDS:
        case MINUTES:
        case HOURS:
        case WEEKDAY:
        case DAY_OF_MONTH:
        case MONTH:
        case YEAR:
        case CENTURY:
                write_time(r, value);
                break;
        case A:
                write_a(r, value);
                break;
        case B:
                write_b(r, value);
                break;
        case C:
        case D:
                break;
        default:
                r->regs[r->index] = value;
        }
}

static uint8_t read_a(struct rtc *r)
{
        uint32_t ns;

        host_time(&ns);
        return r->regs[A] | (!stopped(r) && ns >= NS_PER_S - UIP_NS ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *r)
{
        uint8_t value;

        catch_up(r);
        update_irq(r);
        value = r->regs[C];
        r->regs[C] = 0;
        update_irq(r);
        return value;
}

static uint8_t read_register(struct rtc *r)
{
        if (!(r->regs[B] & B_SET))
                show_time(r);
        switch (r->index) {
        case A:
                return read_a(r);
        case C:
                return read_c(r);
        default:
                return r->regs[r->index];
        }
}

static uint64_t rtc_read(void *dev, uint64_t off, unsigned size)
{
        return off == 0 ? 0xff : read_register(dev);
}

static void rtc_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct rtc *r = dev;

        /* The highest bit of the index port masks NMIs on a PC; nobody raises them that way here. */
        if (off == 0)
                r->index = value & 0x7f;
        else
                write_register(r, (uint8_t)value);
}

static const struct bus_ops rtc_ops = { .read = rtc_read, .write = rtc_write, .max_size = 1 };

static void store16(struct rtc *r, unsigned index, uint64_t value)
{
        uint16_t v = (uint16_t)(value > 0xffff ? 0xffff : value);

        r->regs[index] = (uint8_t)v;
        r->regs[index + 1] = (uint8_t)(v >> 8);
}

/* Memory sizes where firmware leaves them: base and extended in KiB, above 16 MiB and above 4 GiB in 64 KiB. */
static void store_memory_size(struct rtc *r)
{
        uint64_t low = r->env->ram_low, high = r->env->ram_high;

        store16(r, 0x15, 640);
        store16(r, 0x17, low > MiB(1) ? (low - MiB(1)) / KiB(1) : 0);
        store16(r, 0x30, low > MiB(1) ? (low - MiB(1)) / KiB(1) : 0);
        store16(r, 0x34, low > MiB(16) ? (low - MiB(16)) / KiB(64) : 0);
        r->regs[0x5b] = (uint8_t)(high / KiB(64));
        r->regs[0x5c] = (uint8_t)(high / KiB(64) >> 8);
        r->regs[0x5d] = (uint8_t)(high / KiB(64) >> 16);
}

/* The clock runs on through a reset, on its battery. */
static void rtc_reset(struct device *dev)
{
        struct rtc *r = container_of(dev, struct rtc, device);

        r->index = 0;
        r->regs[A] = 0x26;
        r->regs[B] &= B_BINARY | B_24H;
        r->regs[C] = 0;
        r->regs[D] = D_VALID;
        r->seen_second = guest_time(r);
        r->period_base = timer_now(r->env->timers);
        store_memory_size(r);
        update_irq(r);
        arm_timers(r);
}

static void rtc_free(struct device *dev)
{
        struct rtc *r = container_of(dev, struct rtc, device);

        timer_cancel(&r->periodic);
        timer_cancel(&r->second);
        bus_unmap(r->env->bus, BUS_PIO, PORT);
        free(r);
}

static const struct device_ops device_ops = { .reset = rtc_reset, .free = rtc_free };

/* The time zone is looked up once: later, the sandbox has no zone files. */
static int64_t zone_offset(void)
{
        time_t t = time(NULL);
        struct tm tm;

        return localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;
}

int rtc_cmos_new(const struct device_env *env, struct device **ret)
{
        struct rtc *r = calloc(1, sizeof(*r));
        int e;

        if (!r)
                return -ENOMEM;
        r->device.ops = &device_ops;
        r->env = env;
        r->irq = (struct irq_line){ .sink = env->irqs, .gsi = GSI };
        r->offset = env->rtc_localtime ? zone_offset() : 0;
        r->regs[B] = B_24H;
        timer_init(&r->periodic, env->timers, tick, r);
        timer_init(&r->second, env->timers, tick, r);
        rtc_reset(&r->device);
        e = bus_map(env->bus, BUS_PIO, PORT, 2, &rtc_ops, r, "rtc-cmos");
        if (e < 0) {
                rtc_free(&r->device);
                return e;
        }
        *ret = &r->device;
        return 0;
}
