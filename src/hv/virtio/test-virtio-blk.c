/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk, as a guest's driver sees it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/virtio/test-guest.h"
#include "hv/virtio/devices.h"

#define SLOT 4
#define SIZE MiB(8)
#define FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_INDIRECT_DESC | 1ull << 9 | 1ull << 11 | 1ull << 13 | 1ull << 14)

enum { OK, IOERR, UNSUPP };

static struct guest g;
static struct guest_queue q;
static struct plug *disk;
static int image; /* the test's own descriptor */

static int make_image(uint64_t size)
{
        char path[] = "/var/tmp/domus-test-virtio-blk-XXXXXX";
        int fd = mkstemp(path);

        CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
        unlink(path);
        return fd;
}

static void make_disk(struct props *props)
{
        char *error = NULL;
        int fd = dup(image);

        props_add_fds(props, "fd", &fd, 1);
        if (virtio_blk_driver.new(&g.env, "vda", SLOT, props, &disk, &error) < 0)
                fprintf(stderr, "%s\n", error);
        CHECK(disk && !props_left(props));
        props_finish(props);
        guest_probe(&g, SLOT, true);
}

static void start_driver(uint64_t features)
{
        guest_negotiate(&g, features & guest_features(&g));
        guest_queue_init(&g, &q, 0);
        guest_driver_ok(&g);
}

/* A request with len bytes at data; its status, or 0xff if there was none. */
static uint8_t request(uint32_t type, uint64_t sector, uint64_t data, uint32_t len)
{
        bool read = type == 0 || type == 8;
        uint64_t header = guest_alloc(&g, 16), status = guest_alloc(&g, 1);
        struct guest_piece pieces[3] = { { header, 16, false } };
        unsigned n = 1, head;
        uint32_t written;

        le32_store(guest_ptr(&g, header), type);
        le64_store(guest_ptr(&g, header + 8), sector);
        *guest_ptr(&g, status) = 0xff;
        if (len)
                pieces[n++] = (struct guest_piece){ data, len, read };
        pieces[n++] = (struct guest_piece){ status, 1, true };
        guest_add(&g, &q, pieces, n);
        guest_kick(&g, &q);
        guest_wait_used(&g, &q, &head, &written);
        CHECK_EQ(written, read ? len + 1 : 1);
        return *guest_ptr(&g, status);
}

static uint8_t space(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
        uint64_t segment = guest_alloc(&g, 16);

        le64_store(guest_ptr(&g, segment), sector);
        le32_store(guest_ptr(&g, segment + 8), sectors);
        le32_store(guest_ptr(&g, segment + 12), flags);
        return request(type, 0, segment, 16);
}

static void test_requests(void)
{
        struct props props = { 0 };
        uint64_t data;

        props_add_string(&props, "serial", "disk-number-1");
        props_add_bool(&props, "discard", true);
        make_disk(&props);
        start_driver(FEATURES);
        data = guest_alloc(&g, 65536);
        CHECK_EQ(guest_mmio_read(&g, g.config, 4), SIZE / 512);
        memset(guest_ptr(&g, data), 0x5a, 4096);
        CHECK_EQ(request(1, 8, data, 4096), OK);
        CHECK_EQ(request(4, 0, 0, 0), OK);
        memset(guest_ptr(&g, data), 0, 4096);
        CHECK_EQ(request(0, 9, data, 512), OK);
        CHECK(guest_ptr(&g, data)[0] == 0x5a && guest_ptr(&g, data)[511] == 0x5a && guest_ptr(&g, data)[512] == 0);
        CHECK_EQ(request(8, 0, data, 20), OK);
        CHECK(strcmp((char *)guest_ptr(&g, data), "disk-number-1") == 0);
        CHECK_EQ(space(13, 9, 1, 1), OK);
        CHECK_EQ(request(0, 9, data, 512), OK);
        CHECK(guest_ptr(&g, data)[0] == 0);
        CHECK_EQ(space(11, 8, 8, 0), OK);
        CHECK_EQ(request(0, 8, data, 512), OK);
        CHECK(guest_ptr(&g, data)[0] == 0);
        CHECK(g.msis[1] > 0);
        /* Wrong ones: an error each, and the device goes on. */
        CHECK_EQ(request(0, SIZE / 512, data, 512), IOERR);
        CHECK_EQ(request(0, SIZE / 512 - 1, data, 1024), IOERR);
        CHECK_EQ(request(1, UINT64_MAX, data, 512), IOERR);
        CHECK_EQ(request(1, UINT64_MAX / 512, data, 512), IOERR);
        CHECK_EQ(request(0, 0, data, 100), IOERR);
        CHECK_EQ(request(99, 0, data, 512), UNSUPP);
        CHECK_EQ(space(11, 8, 8, 1), UNSUPP);
        CHECK_EQ(space(13, 8, 8, 2), UNSUPP);
        CHECK_EQ(space(13, 8, UINT32_MAX, 0), IOERR);
        CHECK_EQ(space(11, SIZE / 512 - 1, 2, 0), IOERR);
        CHECK_EQ(request(13, 0, data, 15), IOERR);
        CHECK_EQ(request(0, 0, data, 512), OK);
        disk->ops->free(disk);
}

static void test_config(void)
{
        struct props props = { 0 }, change = { 0 };
        uint64_t data;
        char *error = NULL;

        props_add_number(&props, "queues", 4);
        props_add_number(&props, "logical-block-size", 4096);
        props_add_bool(&props, "readonly", true);
        make_disk(&props);
        start_driver(FEATURES | 1ull << 5);
        data = guest_alloc(&g, 4096);
        CHECK(guest_features(&g) & 1ull << 5 && !(guest_features(&g) & 1ull << 14));
        CHECK_EQ(guest_mmio_read(&g, g.config + 20, 4), 4096);
        CHECK_EQ(guest_mmio_read(&g, g.config + 34, 2), 4);
        CHECK_EQ(request(1, 0, data, 4096), IOERR);
        CHECK_EQ(request(0, 0, data, 512), IOERR);
        CHECK_EQ(request(0, 0, data, 4096), OK);
        CHECK_EQ(guest_mmio_read(&g, g.config + 32, 1), 1);
        guest_mmio_write(&g, g.config + 32, 1, 0);
        CHECK_EQ(guest_mmio_read(&g, g.config + 32, 1), 0);
        /* Another size: the guest hears of it. */
        CHECK(ftruncate(image, (off_t)SIZE * 2) == 0);
        g.msis[0] = 0;
        props_add_number(&change, "size", 0);
        CHECK_EQ(disk->ops->set(disk, &change, &error), 0);
        CHECK_EQ(guest_mmio_read(&g, g.config, 4), SIZE * 2 / 512);
        CHECK_EQ(g.msis[0], 1);
        props_finish(&change);
        disk->ops->reset(disk);
        guest_probe(&g, SLOT, true);
        CHECK_EQ(guest_status(&g), 0);
        CHECK_EQ(guest_mmio_read(&g, g.config + 32, 1), 1);
        disk->ops->free(disk);
        CHECK(ftruncate(image, (off_t)SIZE) == 0);
}

/* A request that fails pauses the machine, and is tried again when that goes on. */
static void test_stop(void)
{
        struct props props = { 0 };
        uint64_t header, data, status;
        struct guest_piece pieces[3];
        unsigned head;
        uint32_t len;

        props_add_string(&props, "rerror", "stop");
        make_disk(&props);
        start_driver(FEATURES);
        header = guest_alloc(&g, 16);
        data = guest_alloc(&g, 4096);
        status = guest_alloc(&g, 1);
        CHECK(ftruncate(image, 512) == 0);
        pieces[0] = (struct guest_piece){ header, 16, false };
        pieces[1] = (struct guest_piece){ data, 4096, true };
        pieces[2] = (struct guest_piece){ status, 1, true };
        guest_add(&g, &q, pieces, 3);
        g.n_events = 0;
        guest_kick(&g, &q);
        while (!g.n_events)
                CHECK(guest_run(&g, 5000));
        CHECK(g.event == PLUG_EVENT_IO_ERROR && g.event_value == 1 && strcmp(g.event_text, "eio") == 0);
        CHECK(!guest_used(&g, &q, &head, &len));
        CHECK(ftruncate(image, (off_t)SIZE) == 0);
        disk->ops->resume(disk);
        guest_wait_used(&g, &q, &head, &len);
        CHECK_EQ(*guest_ptr(&g, status), OK);
        disk->ops->free(disk);
}

/* A guest that resets the device while it works. */
static void test_reset(void)
{
        struct prop_entry table[] = { { (char *)(uintptr_t)"total-iops-sec", 10 } };
        struct props props = { 0 };
        uint64_t header, status;

        props_add_table(&props, "iotune", table, 1);
        make_disk(&props);
        start_driver(FEATURES);
        header = guest_alloc(&g, 16);
        status = guest_alloc(&g, 1);
        for (unsigned i = 0; i < 10; i++) {
                uint64_t data = guest_alloc(&g, 512);
                struct guest_piece pieces[3] = { { header, 16, false }, { data, 512, true }, { status, 1, true } };

                guest_add(&g, &q, pieces, 3);
        }
        guest_kick(&g, &q);
        guest_mmio_write(&g, g.common + 0x14, 1, 0);
        while (guest_status(&g) != 0)
                CHECK(guest_run(&g, 5000));
        start_driver(FEATURES);
        CHECK_EQ(request(4, 0, 0, 0), OK);
        /* A chain that is too short. */
        log_set_level(LOG_LEVEL_ERROR);
        guest_add(&g, &q, &(struct guest_piece){ header, 10, false }, 1);
        guest_kick(&g, &q);
        CHECK(guest_status(&g) & 0x40);
        log_set_level(LOG_LEVEL_INFO);
        disk->ops->free(disk);
}

int main(void)
{
        guest_init(&g);
        image = make_image(SIZE);
        test_requests();
        g.heap = GUEST_HEAP;
        test_config();
        g.heap = GUEST_HEAP;
        test_stop();
        g.heap = GUEST_HEAP;
        test_reset();
        guest_finish(&g);
        fd_close(image);
        return 0;
}
