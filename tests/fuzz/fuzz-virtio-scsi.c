/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A controller with a disk of 1 MiB, target 0, and a CD drive, target 1. */
#include "smoke.h"

#include "base/macros.h"
#include "hv/virtio/devices.h"
#include "virtio-requests.h"

static struct plug *controller;

static struct plug *find(void *opaque, const char *id)
{
        return controller;
}

/* Buffers for events wait for some. */
static bool answered(unsigned queue)
{
        return queue != 1;
}

static void add_unit(const struct plug_driver *driver, unsigned target)
{
        struct props props = { 0 };
        struct plug *unit = NULL;
        char *error = NULL;
        int fd = fuzz_image(MiB(1));

        props_add_fds(&props, "fd", &fd, 1);
        props_add_string(&props, "bus", "scsi0");
        props_add_number(&props, "target", target);
        props_add_bool(&props, "discard", true);
        props_add_string(&props, "werror", "report");
        CHECK(driver->new(&g.env, "unit", -1, &props, &unit, &error) == 0);
        props_finish(&props);
}

static void start(void)
{
        struct props props = { 0 };
        char *error = NULL;

        log_set_level(LOG_LEVEL_ERROR);
        guest_init(&g);
        g.env.find = find;
        CHECK(virtio_scsi_driver.new(&g.env, "scsi0", 4, &props, &controller, &error) == 0);
        add_unit(&scsi_disk_driver, 0);
        add_unit(&scsi_cd_driver, 1);
        guest_probe(&g, 4, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!g.bus)
                start();
        fuzz_feed(data, size, 3, answered);
        return 0;
}

#define HEADER(target) 1, (target), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
/* 35 bytes of header and the longest of the commands. */
#define IN(target, ...) 2, 0x21, 51, 0, 108, 0, 0, 4, 35, HEADER(target), __VA_ARGS__
#define OUT(target, ...) 2, 0x12, 51, 0, 0, 4, 108, 0, 35, HEADER(target), __VA_ARGS__
#define TEN(op, b1, lba, n) (op), (b1), 0, 0, 0, (lba), 0, 0, (n), 0, 0, 0, 0, 0, 0, 0
#define SIXTEEN(op, b1, lba, n) (op), (b1), 0, 0, 0, 0, 0, 0, 0, (lba), 0, 0, 0, (n), 0, 0
#define SIX(op, b1, b2, len) (op), (b1), (b2), 0, (len), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0

static const uint8_t inquiry_seed[] = { IN(0, SIX(0x12, 0, 0, 96)), IN(0, SIX(0x12, 1, 0xb0, 96)), IN(1, SIX(0x12, 1, 0x83, 96)), IN(0, SIX(0x1a, 0, 0x3f, 96)),
        IN(1, SIX(0x5a, 0, 0x3f, 96)), IN(0, TEN(0xa0, 0, 0, 1)), IN(0, SIX(3, 0, 0, 18)) };
static const uint8_t block_seed[] = { IN(0, TEN(0x28, 0, 3, 2)), OUT(0, TEN(0x2a, 8, 3, 2)), OUT(0, SIXTEEN(0x8a, 0, 3, 2)), IN(0, SIXTEEN(0x88, 0, 3, 2)), IN(0, SIXTEEN(0x9e, 0x10, 0, 0)),
        IN(0, TEN(0x25, 0, 0, 0)), OUT(0, TEN(0x35, 0, 0, 0)), IN(0, TEN(0x2f, 0, 0, 1)) };
static const uint8_t space_seed[] = { OUT(0, SIXTEEN(0x93, 8, 8, 4)), OUT(0, TEN(0x41, 0, 3, 2)), OUT(0, TEN(0x42, 0, 0, 40)), OUT(0, SIX(0x15, 0x10, 0, 24)) };
static const uint8_t cd_seed[] = { IN(1, TEN(0x43, 2, 0, 20)), IN(1, TEN(0x46, 0, 0, 100)), IN(1, SIX(0x4a, 1, 0, 0x10)), IN(1, TEN(0x51, 0, 0, 34)), IN(1, SIX(0x1e, 0, 0, 1)),
        IN(1, SIX(0x1b, 0, 0, 2)), IN(1, SIX(0x1b, 0, 0, 3)), IN(1, SIX(0, 0, 0, 0)), IN(1, TEN(0x28, 0, 3, 1)), IN(1, TEN(0xbd, 0, 0, 8)) };
static const uint8_t control_seed[] = {
        0, 0x11, 24, 0, 1, 0, 24, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0x11, 16, 0, 5, 0, 16, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0,
        1, 0x10, 16, 0, 0, OUT(0, TEN(0x2a, 8, 3, 2)),
};

#define SEED(name) { name, sizeof(name) }
const struct fuzz_seed fuzz_seeds[] = { SEED(inquiry_seed), SEED(block_seed), SEED(space_seed), SEED(cd_seed), SEED(control_seed) };
const size_t fuzz_n_seeds = ARRAY_SIZE(fuzz_seeds);
