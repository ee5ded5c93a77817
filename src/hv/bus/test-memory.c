/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "hv/bus/check.h"

static void test_small(void)
{
        struct guest_memory mem;
        static uint8_t rom[8192];
        char buf[16];

        CHECK_EQ(guest_memory_init(&mem, 4096), -EINVAL);
        CHECK_EQ(guest_memory_init(&mem, MiB(2) + 1), -EINVAL);
        CHECK_EQ(guest_memory_init(&mem, MiB(2)), 0);
        CHECK_EQ(mem.n_regions, 1);
        CHECK(ftruncate(mem.memfd, 0) < 0 && errno == EPERM);
        CHECK(ftruncate(mem.memfd, MiB(4)) < 0 && errno == EPERM);

        CHECK_EQ(guest_write(&mem, 0x1000, "hello", 6), 0);
        CHECK_EQ(guest_read(&mem, 0x1000, buf, 6), 0);
        CHECK(strcmp(buf, "hello") == 0);
        CHECK_EQ(guest_write(&mem, MiB(2) - 2, "hello", 6), -EFAULT);
        CHECK_EQ(guest_read(&mem, UINT64_MAX - 1, buf, 6), -EFAULT);
        CHECK(guest_memory_ptr(&mem, 0x1000, 6) == mem.regions[0].host + 0x1000);
        CHECK(guest_memory_ptr(&mem, MiB(2) - 1, 1));
        CHECK(!guest_memory_ptr(&mem, MiB(2) - 1, 2));
        CHECK(!guest_memory_ptr(&mem, MiB(2), 0));
        CHECK(!guest_memory_ptr(&mem, 1, UINT64_MAX));

        memcpy(rom + 4090, "rom", 4);
        CHECK_EQ(guest_memory_add(&mem, MiB(1), sizeof(rom), rom, true), -EBUSY);
        CHECK_EQ(guest_memory_add(&mem, MiB(2), sizeof(rom), rom, true), 0);
        CHECK_EQ(guest_read(&mem, MiB(2) + 4090, buf, 4), 0);
        CHECK(strcmp(buf, "rom") == 0);
        CHECK_EQ(guest_write(&mem, MiB(2), "x", 1), -EFAULT);
        CHECK_EQ(guest_read(&mem, MiB(2) - 8, buf, 16), 0); /* across regions */

        guest_memory_zero(&mem);
        CHECK_EQ(guest_read(&mem, 0x1000, buf, 6), 0);
        CHECK(memcmp(buf, "\0\0\0\0\0\0", 6) == 0);
        CHECK(strcmp((char *)rom + 4090, "rom") == 0);
        guest_memory_finish(&mem);
        CHECK_EQ(mem.n_regions, 0);
}

static uint64_t written_gpa, written_len;

static void on_written(void *opaque, uint64_t gpa, uint64_t len)
{
        written_gpa = gpa;
        written_len = len;
}

static void test_discard(void)
{
        static uint8_t rom[4096];
        struct guest_memory mem;
        char buf[4];

        CHECK_EQ(guest_memory_init(&mem, MiB(2)), 0);
        CHECK_EQ(guest_memory_add(&mem, MiB(2), sizeof(rom), rom, true), 0);
        mem.written = on_written;
        memset(mem.regions[0].host, 0x55, 0x5000);
        CHECK_EQ(guest_memory_discard(&mem, 0x1000, 0x2000), 0);
        CHECK_EQ(written_gpa, 0x1000);
        CHECK_EQ(written_len, 0x2000);
        CHECK_EQ(guest_read(&mem, 0xffe, buf, 4), 0);
        CHECK(memcmp(buf, "\x55\x55\0\0", 4) == 0);
        CHECK_EQ(guest_read(&mem, 0x2ffe, buf, 4), 0);
        CHECK(memcmp(buf, "\0\0\x55\x55", 4) == 0);
        CHECK_EQ(guest_memory_discard(&mem, 0x1001, 0x1000), -EINVAL);
        CHECK_EQ(guest_memory_discard(&mem, 0x1000, 0), -EINVAL);
        CHECK_EQ(guest_memory_discard(&mem, MiB(2) - 0x1000, 0x2000), -EFAULT);
        CHECK_EQ(guest_memory_discard(&mem, MiB(2), 0x1000), -EFAULT);
        CHECK_EQ(guest_memory_discard(&mem, UINT64_MAX & ~0xfffull, 0x1000), -EFAULT);
        guest_memory_finish(&mem);
}

/* 5 GiB, of which nothing is touched but the edges. */
static void test_large(void)
{
        struct guest_memory mem;
        uint32_t v;

        CHECK_EQ(guest_memory_init(&mem, GiB(5)), 0);
        CHECK_EQ(mem.n_regions, 2);
        CHECK_EQ(mem.regions[0].size, GUEST_LOW_RAM_END);
        CHECK_EQ(mem.regions[1].gpa, GUEST_HIGH_RAM_START);
        CHECK_EQ(mem.regions[1].size, GiB(2));
        CHECK_EQ(guest_write(&mem, GUEST_LOW_RAM_END - 2, "abcd", 4), -EFAULT);
        CHECK_EQ(guest_write(&mem, GUEST_HIGH_RAM_START, "abcd", 4), 0);
        CHECK_EQ(guest_write(&mem, GUEST_HIGH_RAM_START + GiB(2) - 4, "abcd", 4), 0);
        CHECK_EQ(pread(mem.memfd, &v, 4, (off_t)GUEST_LOW_RAM_END), 4);
        CHECK(memcmp(&v, "abcd", 4) == 0);
        CHECK(!guest_memory_ptr(&mem, GUEST_LOW_RAM_END, 1));
        guest_memory_finish(&mem);
}

int main(void)
{
        test_small();
        test_discard();
        test_large();
        return 0;
}
