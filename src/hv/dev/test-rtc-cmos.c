/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/dev/rtc-cmos.h"

#include <time.h>

#include "base/macros.h"
#include "hv/dev/test-env.h"

#define GSI 8

static struct test_env t;
static struct device *dev;

static unsigned reg(unsigned index)
{
        out8(&t, 0x70, index);
        return in8(&t, 0x71);
}

static void set_reg(unsigned index, unsigned value)
{
        out8(&t, 0x70, index);
        out8(&t, 0x71, value);
}

static unsigned bcd(unsigned v)
{
        return (v >> 4) * 10 + (v & 15);
}

static time_t read_time(void)
{
        struct tm tm = {
                .tm_sec = (int)bcd(reg(0)), .tm_min = (int)bcd(reg(2)), .tm_hour = (int)bcd(reg(4)),
                .tm_mday = (int)bcd(reg(7)), .tm_mon = (int)bcd(reg(8)) - 1,
                .tm_year = (int)(bcd(reg(0x32)) * 100 + bcd(reg(9))) - 1900,
        };

        return timegm(&tm);
}

static void test_time(void)
{
        time_t now = time(NULL), shown;

        while (reg(10) & 0x80)
                ;
        shown = read_time();
        CHECK(shown >= now && shown <= now + 2);
        CHECK_EQ(reg(13), 0x80);
        /* Set it, in binary and twelve hours: 2001-02-03 23:59:58. */
        set_reg(11, 0x84);
        set_reg(0, 58);
        set_reg(2, 59);
        set_reg(4, 0x8b);
        set_reg(7, 3);
        set_reg(8, 2);
        set_reg(9, 1);
        set_reg(0x32, 20);
        CHECK_EQ(reg(0), 58); /* the clock stands still while SET */
        set_reg(11, 0x04); /* commits in the format it was written in */
        set_reg(11, 0x02);
        shown = read_time();
        CHECK(shown >= 981244798 && shown <= 981244800);
}

/* A period that passes between two of our looks leaves its timer behind, which then finds nothing to do. */
static void run_until_raised(void)
{
        for (unsigned i = 0; i < 100 && !t.level[GSI]; i++)
                test_run(&t, 1000);
}

static void test_periodic(void)
{
        unsigned before = t.rises[GSI];

        set_reg(10, 0x26); /* 1024 Hz */
        reg(12);
        set_reg(11, 0x42);
        for (unsigned i = 0; i < 3; i++) {
                run_until_raised();
                CHECK_EQ(t.level[GSI], 1);
                CHECK_EQ(reg(12) & 0xc0, 0xc0);
                CHECK_EQ(t.level[GSI], 0);
        }
        CHECK_EQ(t.rises[GSI], before + 3);
        set_reg(11, 0x02);
}

static void test_update_and_alarm(void)
{
        reg(12);
        set_reg(1, 0xff);
        set_reg(3, 0xff);
        set_reg(5, 0xff);
        set_reg(11, 0x32); /* alarm every second */
        test_run(&t, 1500);
        CHECK_EQ(t.level[GSI], 1);
        CHECK_EQ(reg(12) & 0xb0, 0xb0);
        set_reg(11, 0x02);
        CHECK_EQ(t.level[GSI], 0);
}

static void test_memory(void)
{
        CHECK_EQ(reg(0x15) | reg(0x16) << 8, 640);
        CHECK_EQ(reg(0x34) | reg(0x35) << 8, (512 - 16) * 16);
        CHECK_EQ(reg(0x5b) | reg(0x5c) << 8 | reg(0x5d) << 16, 0x14000);
        set_reg(0x40, 0x77);
        CHECK_EQ(reg(0xc0), 0x77); /* the NMI bit is not part of the index */
        CHECK_EQ(in8(&t, 0x70), 0xff);
}

int main(void)
{
        test_env_init(&t);
        t.env.ram_low = MiB(512);
        t.env.ram_high = GiB(5);
        CHECK_EQ(rtc_cmos_new(&t.env, &dev), 0);
        test_time();
        test_periodic();
        test_update_and_alarm();
        test_memory();
        dev->ops->free(dev);
        test_env_finish(&t);
        return 0;
}
