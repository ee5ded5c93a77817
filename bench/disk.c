/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Reads and writes of a disk, one at a time, past the page cache; of a file instead, through it. The environment names it (BENCH_DISK); its every block of 4 KiB
 * begins with its number, as disks.py makes it and as the writes here leave it.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define BLOCK 4096u
#define LARGE (1u << 20)

static int disk = -1;
static uint64_t blocks;
static uint8_t *buffer;

static void prepare(void)
{
        const char *name = getenv("BENCH_DISK");
        off_t size;

        if (disk >= 0)
                return;
        disk = open(name ? name : "/dev/vda", O_RDWR | (name ? 0 : O_DIRECT));
        size = disk < 0 ? -1 : lseek(disk, 0, SEEK_END);
        if (size < (off_t)LARGE || posix_memalign((void **)&buffer, BLOCK, LARGE))
                load_fail("the disk");
        blocks = (uint64_t)size / BLOCK;
        memset(buffer, 0x5a, LARGE);
}

static uint64_t first_word(const uint8_t *block)
{
        uint64_t word;

        memcpy(&word, block, sizeof(word));
        return word;
}

static void number(uint64_t block, size_t len)
{
        for (size_t at = 0; at < len; at += BLOCK, block++)
                memcpy(buffer + at, &block, sizeof(block));
}

static void transfer(bool write, uint64_t block, size_t len)
{
        off_t at = (off_t)(block * BLOCK);

        if ((write ? pwrite(disk, buffer, len, at) : pread(disk, buffer, len, at)) != (ssize_t)len)
                load_fail(write ? "pwrite" : "pread");
}

static uint64_t run_random(bool write, unsigned n)
{
        uint64_t state = 88172645463325252u, sum = 0;

        for (unsigned i = 0; i < n; i++) {
                uint64_t block = load_random(&state) % blocks;

                if (write)
                        number(block, BLOCK);
                transfer(write, block, BLOCK);
                sum += first_word(buffer) ^ block;
        }
        return sum;
}

static uint64_t run_sequence(bool write, unsigned n)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < n; i++) {
                uint64_t block = (uint64_t)i * (LARGE / BLOCK) % blocks;

                if (write)
                        number(block, LARGE);
                transfer(write, block, LARGE);
                sum += first_word(buffer + LARGE - BLOCK) - block;
        }
        return sum;
}

static uint64_t read_random(unsigned n)
{
        return run_random(false, n);
}

static uint64_t write_random(unsigned n)
{
        return run_random(true, n);
}

static uint64_t read_sequence(unsigned n)
{
        return run_sequence(false, n);
}

static uint64_t write_sequence(unsigned n)
{
        return run_sequence(true, n);
}

static const struct load loads[] = {
        { "read-4k", read_random, 256, prepare, NULL },
        { "write-4k", write_random, 256, prepare, NULL },
        { "read-1m", read_sequence, 32, prepare, NULL },
        { "write-1m", write_sequence, 32, prepare, NULL },
};

int main(int argc, char **argv)
{
        return load_main(loads, NELEMENTS(loads), LOAD_TIME, argc, argv);
}
