/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/pic.h"

#include "hv/bus/check.h"

static struct bus *bus;
static struct pic *pic;
static int intr;

static void output(void *opaque, int level)
{
        CHECK(level != intr);
        intr = level;
}

static void out(uint16_t port, uint8_t value)
{
        bus_write(bus, BUS_PIO, port, 1, value);
}

static uint8_t in(uint16_t port)
{
        return (uint8_t)bus_read(bus, BUS_PIO, port, 1);
}

static void setup(uint8_t icw4)
{
        pic_reset(pic);
        out(0x20, 0x11);
        out(0x21, 0x30);
        out(0x21, 0x04);
        out(0x21, icw4);
        out(0xa0, 0x11);
        out(0xa1, 0x38);
        out(0xa1, 0x02);
        out(0xa1, icw4);
        CHECK_EQ(in(0x21), 0);
}

static void pulse(unsigned irq)
{
        pic_set_irq(pic, irq, 1);
        pic_set_irq(pic, irq, 0);
}

static void test_priority(void)
{
        setup(1);
        CHECK_EQ(pic_ack(pic), -1);
        pulse(4);
        CHECK_EQ(intr, 1);
        pulse(1);
        CHECK_EQ(in(0x20), 0x12); /* IRR */
        CHECK_EQ(pic_ack(pic), 0x31);
        CHECK_EQ(intr, 0); /* 4 waits for the EOI of 1 */
        out(0x20, 0x0b);
        CHECK_EQ(in(0x20), 0x02); /* ISR */
        out(0x20, 0x20);
        CHECK_EQ(intr, 1);
        CHECK_EQ(pic_ack(pic), 0x34);
        pulse(0);
        CHECK_EQ(pic_ack(pic), 0x30); /* nests */
        out(0x20, 0x60);
        out(0x20, 0x64);
        CHECK_EQ(in(0x20), 0);
}

static void test_mask(void)
{
        setup(1);
        out(0x21, 0x10);
        pulse(4);
        CHECK_EQ(intr, 0);
        out(0x21, 0);
        CHECK_EQ(intr, 1);
        out(0x21, 0xff);
        CHECK_EQ(intr, 0);
        CHECK_EQ(pic_ack(pic), -1);
}

static void test_cascade(void)
{
        setup(1);
        pulse(12);
        pulse(8);
        CHECK_EQ(pic_ack(pic), 0x38);
        CHECK_EQ(intr, 0);
        out(0xa0, 0x20);
        CHECK_EQ(intr, 0); /* the master still serves input 2 */
        out(0x20, 0x20);
        CHECK_EQ(intr, 1);
        CHECK_EQ(pic_ack(pic), 0x3c);
        out(0xa0, 0x20);
        out(0x20, 0x20);
        CHECK_EQ(intr, 0);
}

static void test_level(void)
{
        setup(1);
        out(0x4d0, 0xff);
        out(0x4d1, 0xff);
        CHECK_EQ(in(0x4d0), 0xf8);
        CHECK_EQ(bus_read(bus, BUS_PIO, 0x4d0, 2), 0xdef8);
        pic_set_irq(pic, 5, 1);
        CHECK_EQ(pic_ack(pic), 0x35);
        out(0x20, 0x20);
        CHECK_EQ(intr, 1); /* still up */
        CHECK_EQ(pic_ack(pic), 0x35);
        pic_set_irq(pic, 5, 0);
        out(0x20, 0x20);
        CHECK_EQ(intr, 0);
        /* A level that goes away before the acknowledge leaves nothing. */
        pic_set_irq(pic, 10, 1);
        CHECK_EQ(intr, 1);
        pic_set_irq(pic, 10, 0);
        CHECK_EQ(intr, 0);
        CHECK_EQ(pic_ack(pic), -1);
}

static void test_rotation_and_aeoi(void)
{
        setup(3); /* automatic EOI */
        pulse(3);
        CHECK_EQ(pic_ack(pic), 0x33);
        pulse(4);
        CHECK_EQ(pic_ack(pic), 0x34);
        setup(1);
        out(0x20, 0xc3); /* input 3 lowest: 4 is highest */
        pulse(3);
        pulse(4);
        CHECK_EQ(pic_ack(pic), 0x34);
        out(0x20, 0xa0); /* rotate on non-specific EOI: 4 lowest */
        pulse(5);
        CHECK_EQ(pic_ack(pic), 0x35);
        out(0x20, 0x20);
        CHECK_EQ(pic_ack(pic), 0x33);
}

static void test_special_mask_and_poll(void)
{
        setup(1);
        pulse(2 + 1);
        CHECK_EQ(pic_ack(pic), 0x33);
        pulse(6);
        CHECK_EQ(intr, 0);
        out(0x21, 0x08);
        out(0x20, 0x68); /* special mask: a masked in-service input no longer blocks */
        CHECK_EQ(intr, 1);
        out(0x20, 0x0c); /* poll */
        CHECK_EQ(in(0x20), 0x86);
        CHECK_EQ(intr, 0);
        out(0x20, 0x0c);
        CHECK_EQ(in(0x20), 0);
}

int main(void)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

        CHECK_EQ(bus_new(&lock, &bus), 0);
        CHECK_EQ(pic_new(bus, output, NULL, &pic), 0);
        test_priority();
        test_mask();
        test_cascade();
        test_level();
        test_rotation_and_aeoi();
        test_special_mask_and_poll();
        pic_free(pic);
        bus_free(bus);
        return 0;
}
