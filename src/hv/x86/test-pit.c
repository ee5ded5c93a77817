/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/pit.h"

#include <poll.h>
#include <time.h>

#include "hv/bus/check.h"

static struct bus *bus;
static struct timer_loop *timers;
static struct pit *pit;
static unsigned edges;

static void sink_set(struct irq_sink *sink, unsigned gsi, int level)
{
        CHECK_EQ(gsi, 0);
        edges += (unsigned)level;
}

static void out(uint16_t port, uint8_t value)
{
        bus_write(bus, BUS_PIO, port, 1, value);
}

static uint8_t in(uint16_t port)
{
        return (uint8_t)bus_read(bus, BUS_PIO, port, 1);
}

static unsigned read16(uint16_t port)
{
        unsigned low = in(port);

        return low | (unsigned)in(port) << 8;
}

static void sleep_ns(long ns)
{
        nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

static void run(unsigned wanted)
{
        struct pollfd p = { .fd = timer_loop_fd(timers), .events = POLLIN };

        while (edges < wanted) {
                CHECK_EQ(poll(&p, 1, 1000), 1);
                timer_loop_dispatch(timers);
        }
}

static void test_periodic(void)
{
        uint64_t t0;

        edges = 0;
        out(0x43, 0x34); /* channel 0, mode 2 */
        out(0x40, 0x2e);
        CHECK_EQ(edges, 0);
        out(0x40, 0x12); /* 4654: 3.9 ms */
        t0 = timer_now(timers);
        run(3);
        CHECK(timer_now(timers) - t0 >= 11 * 1000000);
        out(0x43, 0x34); /* stops it */
        edges = 0;
        sleep_ns(5000000);
        timer_loop_dispatch(timers);
        CHECK_EQ(edges, 0);
}

static void test_one_shot(void)
{
        edges = 0;
        out(0x43, 0x30); /* mode 0 */
        out(0x43, 0xe2); /* status of channel 0 */
        CHECK_EQ(in(0x40), 0x70); /* OUT low, null count */
        out(0x40, 0x00);
        out(0x40, 0x04);
        run(1);
        out(0x43, 0xe2);
        CHECK_EQ(in(0x40), 0xb0); /* OUT high, counting on */
        sleep_ns(2000000);
        timer_loop_dispatch(timers);
        CHECK_EQ(edges, 1);
}

static void test_latch(void)
{
        unsigned a, b;

        timer_loop_pause(timers, true);
        out(0x43, 0x34);
        out(0x40, 0);
        out(0x40, 0);
        CHECK_EQ(read16(0x40), 0);
        timer_loop_pause(timers, false);
        sleep_ns(1000000);
        out(0x43, 0x00);
        sleep_ns(1000000);
        out(0x43, 0x00); /* a second latch before the read changes nothing */
        a = read16(0x40);
        b = read16(0x40);
        CHECK(((a - b) & 0xffff) >= 1190);
        /* Read-back of status and count together: status comes first. */
        sleep_ns(10000); /* a dozen ticks, so that the latched count is another */
        out(0x43, 0xc2);
        CHECK_EQ(in(0x40), 0xb4);
        CHECK(read16(0x40) != b);
        out(0x43, 0x35); /* BCD */
        out(0x40, 0x00);
        out(0x40, 0x10);
        sleep_ns(100000);
        a = read16(0x40);
        CHECK((a & 0xf) < 10 && (a >> 4 & 0xf) < 10 && (a >> 8 & 0xf) < 10 && a <= 0x1000);
        out(0x43, 0x34);
}

static void test_speaker_channel(void)
{
        uint8_t a = in(0x61), b = in(0x61);

        CHECK_EQ((a ^ b) & 0x10, 0x10); /* refresh toggles */
        out(0x61, 0x00);
        out(0x43, 0xb0); /* channel 2, mode 0 */
        out(0x42, 0x10);
        out(0x42, 0x01);
        sleep_ns(1000000);
        CHECK_EQ(in(0x61) & 0x20, 0); /* gate closed: does not count */
        CHECK_EQ(read16(0x42), 0x0110);
        out(0x61, 0x01);
        sleep_ns(1000000);
        CHECK_EQ(in(0x61) & 0x21, 0x21);
        out(0x61, 0x00);
        out(0x43, 0xb2); /* mode 1: the gate starts it */
        out(0x42, 0x00);
        out(0x42, 0x80);
        CHECK_EQ(in(0x61) & 0x20, 0x20);
        out(0x61, 0x01);
        CHECK_EQ(in(0x61) & 0x20, 0);
        sleep_ns(30000000);
        CHECK_EQ(in(0x61) & 0x20, 0x20);
}

int main(void)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct irq_sink sink = { .set = sink_set };

        CHECK_EQ(bus_new(&lock, &bus), 0);
        CHECK_EQ(timer_loop_new(&lock, &timers), 0);
        timer_loop_pause(timers, false);
        CHECK_EQ(pit_new(bus, timers, &sink, &pit), 0);
        test_periodic();
        test_one_shot();
        test_latch();
        test_speaker_channel();
        pit_free(pit);
        timer_loop_free(timers);
        bus_free(bus);
        return 0;
}
