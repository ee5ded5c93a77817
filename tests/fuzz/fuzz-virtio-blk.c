/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk of 1 MiB. */
#include "smoke.h"

#include "base/macros.h"
#include "hv/virtio/devices.h"
#include "virtio-requests.h"

static bool answered(unsigned queue)
{
        return true;
}

static void start(void)
{
        struct props props = { 0 };
        struct plug *disk = NULL;
        char *error = NULL;
        int fd = fuzz_image(MiB(1));

        log_set_level(LOG_LEVEL_ERROR);
        guest_init(&g);
        props_add_fds(&props, "fd", &fd, 1);
        props_add_bool(&props, "discard", true);
        props_add_string(&props, "serial", "fuzz");
        props_add_string(&props, "werror", "report");
        props_add_string(&props, "detect-zeroes", "unmap");
        CHECK(virtio_blk_driver.new(&g.env, "fuzz", 4, &props, &disk, &error) == 0);
        props_finish(&props);
        guest_probe(&g, 4, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!g.bus)
                start();
        fuzz_feed(data, size, 1, answered);
        return 0;
}

#define HEADER(type, sector) (type), 0, 0, 0, 0, 0, 0, 0, (sector), 0, 0, 0, 0, 0, 0, 0
static const uint8_t read_seed[] = { 0, 0x21, 16, 0, 0, 2, 1, 0, 16, HEADER(0, 3), 0, 0x31, 16, 0, 200, 0, 56, 1, 1, 0, 16, HEADER(0, 8) };
static const uint8_t write_seed[] = { 0, 0x12, 16, 0, 0, 4, 1, 0, 16, HEADER(1, 3), 0, 0x11, 16, 4, 1, 0, 16, HEADER(1, 9), 0, 0x11, 16, 0, 1, 0, 16, HEADER(4, 0) };
static const uint8_t space_seed[] = {
        0, 0x11, 32, 0, 1, 0, 32, HEADER(11, 0), 8, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0,
        0, 0x11, 32, 0, 1, 0, 32, HEADER(13, 0), 8, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0,
        0, 0x21, 16, 0, 20, 0, 1, 0, 16, HEADER(8, 0), 0, 0x11, 16, 0, 1, 0, 16, HEADER(77, 0),
};

#define SEED(name) { name, sizeof(name) }
const struct fuzz_seed fuzz_seeds[] = { SEED(read_seed), SEED(write_seed), SEED(space_seed) };
const size_t fuzz_n_seeds = ARRAY_SIZE(fuzz_seeds);
