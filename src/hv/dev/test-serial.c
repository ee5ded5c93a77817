/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/serial.h"

#include "hv/dev/test-env.h"

#define PORT 0x3f8
#define GSI 4

static struct test_env t;
static struct device *dev;

static size_t input(const char *text)
{
        return serial_input(dev, (const uint8_t *)text, strlen(text));
}

static void test_transmit(void)
{
        CHECK_EQ(in8(&t, PORT + 5), 0x60);
        out8(&t, PORT, 'a');
        bus_write(t.env.bus, BUS_PIO, PORT, 1, 'b');
        CHECK_EQ(t.out_len, 2);
        CHECK(memcmp(t.out, "ab", 2) == 0);
        /* The interrupt of an empty transmitter: raised by enabling it, taken back by reading IIR, raised by the next byte. */
        CHECK_EQ(in8(&t, PORT + 2), 0x01);
        out8(&t, PORT + 4, 0x08);
        out8(&t, PORT + 1, 0x02);
        CHECK_EQ(t.level[GSI], 1);
        CHECK_EQ(in8(&t, PORT + 2), 0x02);
        CHECK_EQ(t.level[GSI], 0);
        CHECK_EQ(in8(&t, PORT + 2), 0x01);
        out8(&t, PORT, 'c');
        CHECK_EQ(t.level[GSI], 1);
        out8(&t, PORT + 4, 0x00); /* OUT2 gates the line */
        CHECK_EQ(t.level[GSI], 0);
        out8(&t, PORT + 1, 0x00);
        in8(&t, PORT + 2);
}

static void test_divisor(void)
{
        out8(&t, PORT + 3, 0x83);
        out8(&t, PORT, 0x01);
        out8(&t, PORT + 1, 0x02);
        CHECK_EQ(in8(&t, PORT), 0x01);
        CHECK_EQ(in8(&t, PORT + 1), 0x02);
        out8(&t, PORT + 1, 0x00);
        out8(&t, PORT + 3, 0x03);
        CHECK_EQ(in8(&t, PORT + 1), 0x00);
        CHECK_EQ(in8(&t, PORT + 3), 0x03);
        out8(&t, PORT + 7, 0x5a);
        CHECK_EQ(in8(&t, PORT + 7), 0x5a);
}

static void test_receive(void)
{
        CHECK_EQ(input("x"), 0); /* nobody listens yet */
        CHECK_EQ(t.ready, 0);
        out8(&t, PORT + 2, 0x87); /* FIFOs, trigger at 8 */
        out8(&t, PORT + 1, 0x01);
        CHECK_EQ(t.ready, 1);
        out8(&t, PORT + 4, 0x0a);
        CHECK_EQ(input("0123456"), 7);
        CHECK_EQ(in8(&t, PORT + 5) & 1, 1);
        CHECK_EQ(t.level[GSI], 0);
        CHECK_EQ(in8(&t, PORT + 2), 0xc1);
        test_run(&t, 1000);
        CHECK_EQ(in8(&t, PORT + 2), 0xcc); /* timeout */
        CHECK_EQ(t.level[GSI], 1);
        CHECK_EQ(in8(&t, PORT), '0');
        CHECK_EQ(t.level[GSI], 0);
        CHECK_EQ(input("789abcdefghijklmn"), 10); /* 16 in all */
        CHECK_EQ(in8(&t, PORT + 2), 0xc4);
        CHECK_EQ(t.level[GSI], 1);
        for (unsigned i = 0; i < 16; i++) {
                CHECK_EQ(t.ready, 1);
                CHECK_EQ(in8(&t, PORT), (unsigned)"123456789abcdefg"[i]);
        }
        CHECK_EQ(t.ready, 2);
        CHECK_EQ(in8(&t, PORT + 5), 0x60);
        CHECK_EQ(t.level[GSI], 0);
        CHECK_EQ(input("z"), 1);
        out8(&t, PORT + 2, 0x03); /* clears the receiver */
        CHECK_EQ(in8(&t, PORT + 5) & 1, 0);
}

static void test_loopback(void)
{
        in8(&t, PORT + 6);
        out8(&t, PORT + 4, 0x1a); /* loop, OUT2, RTS */
        CHECK_EQ(in8(&t, PORT + 6) & 0xf0, 0x90);
        out8(&t, PORT, 'l');
        CHECK_EQ(in8(&t, PORT), 'l');
        CHECK_EQ(input("x"), 0);
        for (unsigned i = 0; i < 17; i++)
                out8(&t, PORT, i);
        CHECK_EQ(in8(&t, PORT + 5), 0x63); /* overrun */
        CHECK_EQ(in8(&t, PORT + 5), 0x61);
        out8(&t, PORT + 4, 0x0b);
        CHECK_EQ(in8(&t, PORT + 6) & 0xf0, 0xb0);
        CHECK_EQ(in8(&t, PORT + 6) & 0x0f, 0);
}

int main(void)
{
        test_env_init(&t);
        CHECK_EQ(serial_com1_new(&t.env, &dev), 0);
        test_transmit();
        test_divisor();
        test_receive();
        test_loopback();
        dev->ops->reset(dev);
        CHECK_EQ(in8(&t, PORT + 1), 0);
        CHECK_EQ(t.level[GSI], 0);
        dev->ops->free(dev);
        test_env_finish(&t);
        return 0;
}
