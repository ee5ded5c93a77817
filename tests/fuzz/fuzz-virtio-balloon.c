/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A balloon: page numbers, statistics and free pages. */
#include "virtio-guest.h"

#include "hv/virtio/devices.h"

static struct fuzz_guest fuzz;

static void make(struct fuzz_guest *f)
{
        struct props props = { 0 };
        char *error = NULL;

        CHECK(props_add_bool(&props, "free-page-reporting", true) == 0);
        CHECK(props_add_bool(&props, "deflate-on-oom", true) == 0);
        CHECK(props_add_number(&props, "target", GUEST_RAM / 2) == 0);
        CHECK(props_add_number(&props, "stats-interval", 1) == 0);
        CHECK_EQ(virtio_balloon_driver.new(&f->g.env, "balloon", FUZZ_SLOT, &props, &f->plug, &error), 0);
        props_finish(&props);
}

static void count(void *opaque, const char *name, uint64_t value)
{
        ++*(unsigned *)opaque;
}

static void unmake(struct fuzz_guest *f)
{
        unsigned n = 0;

        f->plug->ops->stats(f->plug, count, &n);
        CHECK(n >= 1);
        f->plug->ops->free(f->plug);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        fuzz_device(&fuzz, 5, data, size, make, unmake);
        return 0;
}

/* Pages of the upper half, where the guest of these tests has nothing of its own. */
static const uint8_t pages_seed[] = {
        0xff, 0xff, 0xff, 0x00, 12, 0, 0, 0, 8, 0, 0, 1, 8, 0, 0, 9, 8, 0, 0, 0x00, 8, 3, 0, 2, 8, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 4, 0, 0, 0, 8, 0, 0, 0x4e, 3, 0x5e, 1,
};
static const uint8_t stats_seed[] = { 0xff, 0xff, 0xff, 0x20, 20, 0, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0x20, 10, 0, 0, 9, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0x0c };
static const uint8_t report_seed[] = { 0xff, 0xff, 0xff, 0x30, 0, 0, 255, 0x38, 0, 0, 255, 0x40, 0, 0, 255, 0x30, 5, 0, 9 };

#define SEED(name) { name, sizeof(name) }
const struct fuzz_seed fuzz_seeds[] = { SEED(pages_seed), SEED(stats_seed), SEED(report_seed) };
const size_t fuzz_n_seeds = sizeof(fuzz_seeds) / sizeof(fuzz_seeds[0]);
