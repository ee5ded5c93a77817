/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network card: control commands and packets of a guest's, frames and nonsense of passt's. */
#include "virtio-guest.h"

#include "hv/virtio/devices.h"

static struct fuzz_guest fuzz;

static void make(struct fuzz_guest *f)
{
        struct props props = { 0 };
        int fd = fuzz_socket(f);
        char *error = NULL;

        CHECK(props_add_fds(&props, "passt", &fd, 1) == 0);
        CHECK(props_add_string(&props, "mac", "52:54:00:00:00:01") == 0);
        CHECK(props_add_number(&props, "mtu", 1500) == 0);
        CHECK_EQ(virtio_net_driver.new(&f->g.env, "net", FUZZ_SLOT, &props, &f->plug, &error), 0);
        props_finish(&props);
}

static void unmake(struct fuzz_guest *f)
{
        f->plug->ops->free(f->plug);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        fuzz_device(&fuzz, 3, data, size, make, unmake);
        return 0;
}

/* Step 0x00: queue 0, to receive; 0x10: queue 1, to send; 0x20: queue 2, control. Then bytes out, where to cut them, room in 16 bytes. */
#define CONTROL(n) 0x20, n, 2, 1
#define FRAME 0x0a, 24, 0, 0, 0, 20, 0x52, 0x54, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6
#define RUN 0x0c

static const uint8_t receive_seed[] = { 0xff, 0xff, 0xff, 0x08, 0, 0, 2, 0x08, 0, 0, 1, 0x08, 0, 0, 1, 0x00, 0, 0, 96, FRAME, FRAME, RUN, FRAME, RUN, 0x0f, 0, 0, 0, 0x00, 0, 0, 96, FRAME, RUN };
static const uint8_t send_seed[] = { 0xff, 0xff, 0xff, 0x10, 40, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, RUN };
static const uint8_t control_seed[] = {
        0xff, 0xff, 0xff, CONTROL(3), 0, 0, 0, CONTROL(3), 0, 1, 1, CONTROL(22), 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1,
        CONTROL(8), 1, 1, 2, 2, 2, 2, 2, 2, CONTROL(4), 4, 0, 1, 0, CONTROL(10), 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, CONTROL(2), 3, 0, FRAME, RUN,
};

#define SEED(name) { name, sizeof(name) }
const struct fuzz_seed fuzz_seeds[] = { SEED(receive_seed), SEED(send_seed), SEED(control_seed) };
const size_t fuzz_n_seeds = sizeof(fuzz_seeds) / sizeof(fuzz_seeds[0]);
