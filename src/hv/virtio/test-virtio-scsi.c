/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks and CD drives on a SCSI controller, as a guest's driver sees them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/virtio/scsi.h"
#include "hv/virtio/test-guest.h"
#include "hv/virtio/devices.h"

#define SLOT 4
#define SIZE MiB(8)
#define FEATURES (VIRTIO_F_VERSION_1 | 1ull << 1 | 1ull << 2)
#define DATA_SIZE 65536u
#define OUT 51u
#define IN 108u

static struct guest g;
static struct guest_queue events, requests;
static struct plug *controller, *disk, *cd;
static int image, medium;
static uint64_t data; /* in the guest */

static struct plug *find(void *opaque, const char *id)
{
        return strcmp(id, "scsi0") == 0 ? controller : NULL;
}

static int make_image(uint64_t size)
{
        char path[] = "/var/tmp/domus-test-virtio-scsi-XXXXXX";
        int fd = mkstemp(path);

        CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
        unlink(path);
        return fd;
}

static struct plug *make(const struct plug_driver *driver, struct props *props, int fd, int slot)
{
        struct plug *plug = NULL;
        char *error = NULL;

        if (fd >= 0) {
                fd = dup(fd);
                props_add_fds(props, "fd", &fd, 1);
        }
        if (slot < 0)
                props_add_string(props, "bus", "scsi0");
        if (driver->new(&g.env, "unit", slot, props, &plug, &error) < 0)
                fprintf(stderr, "%s\n", error);
        CHECK(plug && !props_left(props));
        props_finish(props);
        return plug;
}

static void start_driver(void)
{
        struct guest_queue control;

        guest_negotiate(&g, FEATURES);
        guest_queue_init(&g, &control, 0);
        guest_queue_init(&g, &events, 1);
        guest_queue_init(&g, &requests, 2);
        guest_driver_ok(&g);
        data = guest_alloc(&g, DATA_SIZE);
}

static const uint8_t *answer;

/* A command with len bytes of data at data; its SCSI status, or 0x100 and the response if that is not OK. The answer stays. */
static unsigned command(unsigned target, unsigned lun, const void *cdb, size_t cdb_len, uint32_t len, bool write)
{
        uint64_t out = guest_alloc(&g, OUT), in = guest_alloc(&g, IN);
        struct guest_piece pieces[3];
        unsigned n = 0, head;
        uint32_t written;
        uint8_t *header = guest_ptr(&g, out);

        header[0] = 1;
        header[1] = (uint8_t)target;
        be16_store(header + 2, (uint16_t)(lun | 0x4000));
        memcpy(header + 19, cdb, cdb_len);
        pieces[n++] = (struct guest_piece){ out, OUT, false };
        if (len && write)
                pieces[n++] = (struct guest_piece){ data, len, false };
        pieces[n++] = (struct guest_piece){ in, IN, true };
        if (len && !write)
                pieces[n++] = (struct guest_piece){ data, len, true };
        guest_add(&g, &requests, pieces, n);
        guest_kick(&g, &requests);
        guest_wait_used(&g, &requests, &head, &written);
        answer = guest_ptr(&g, in);
        return answer[11] ? 0x100u | answer[11] : answer[10];
}

#define COMMAND(target, len, write, ...) command(target, 0, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), len, write)
#define READ(target, len, ...) COMMAND(target, len, false, __VA_ARGS__)
#define WRITE(target, len, ...) COMMAND(target, len, true, __VA_ARGS__)

static uint32_t sense(void)
{
        CHECK_EQ(le32_load(answer), 18);
        return SCSI_SENSE(answer[12 + 2], answer[12 + 12], answer[12 + 13]);
}

#define FAILS(call, code)                          \
        do {                                       \
                CHECK_EQ(call, SCSI_CHECK_CONDITION); \
                CHECK_EQ(sense(), code);           \
        } while (0)

static uint8_t *buf(void)
{
        return guest_ptr(&g, data);
}

static void test_inquiry(void)
{
        CHECK_EQ(READ(0, 96, 0x12, 0, 0, 0, 96), SCSI_GOOD);
        CHECK(buf()[0] == 0 && memcmp(buf() + 8, "DOMUS   ", 8) == 0);
        CHECK_EQ(le32_load(answer + 4), 96 - 36);
        CHECK_EQ(READ(0, 96, 0x12, 1, 0, 0, 96), SCSI_GOOD);
        CHECK(buf()[3] == 6 && buf()[4] == 0 && buf()[5] == 0x80 && buf()[9] == 0xb2);
        CHECK_EQ(READ(0, 96, 0x12, 1, 0x80, 0, 96), SCSI_GOOD);
        CHECK(memcmp(buf() + 4, "number-7", 8) == 0);
        CHECK_EQ(READ(0, 96, 0x12, 1, 0xb0, 0, 96), SCSI_GOOD);
        CHECK_EQ(be32_load(buf() + 20), GiB(1) / 512);
        FAILS(READ(0, 96, 0x12, 1, 0x55, 0, 96), SCSI_INVALID_FIELD);
        /* A unit that is not there, on a target that is, and no target. */
        CHECK_EQ(command(0, 3, (const uint8_t[]){ 0x12, 0, 0, 0, 96 }, 5, 96, false), SCSI_GOOD);
        CHECK_EQ(buf()[0], 0x7f);
        CHECK_EQ(command(9, 0, (const uint8_t[]){ 0x12, 0, 0, 0, 96 }, 5, 96, false), 0x103);
        CHECK_EQ(READ(0, 64, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), SCSI_GOOD);
        CHECK_EQ(be32_load(buf()), 8);
        CHECK_EQ(READ(1, 96, 0x12, 0, 0, 0, 96), SCSI_GOOD);
        CHECK(buf()[0] == 5 && buf()[1] == 0x80);
}

static void test_blocks(void)
{
        CHECK_EQ(READ(0, 0, 0x00, 0, 0, 0, 0, 0), SCSI_GOOD);
        CHECK_EQ(READ(0, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_GOOD);
        CHECK_EQ(be32_load(buf()), SIZE / 512 - 1);
        CHECK_EQ(READ(0, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), SCSI_GOOD);
        CHECK_EQ(be64_load(buf()), SIZE / 512 - 1);
        CHECK_EQ(buf()[14], 0x80);
        memset(buf(), 0x77, 1024);
        CHECK_EQ(WRITE(0, 1024, 0x2a, 0, 0, 0, 0, 16, 0, 0, 2, 0), SCSI_GOOD);
        CHECK_EQ(WRITE(0, 512, 0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 18, 0, 0, 0, 1), SCSI_GOOD); /* FUA */
        CHECK_EQ(WRITE(0, 0, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_GOOD);
        memset(buf(), 0, 4096);
        CHECK_EQ(READ(0, 512, 0x08, 0, 0, 17, 1, 0), SCSI_GOOD);
        CHECK(buf()[0] == 0x77 && buf()[511] == 0x77 && buf()[512] == 0);
        CHECK_EQ(READ(0, 4096, 0xa8, 0, 0, 0, 0, 16, 0, 0, 0, 4, 0, 0), SCSI_GOOD);
        CHECK(buf()[1535] == 0x77 && buf()[1536] == 0);
        CHECK_EQ(le32_load(answer + 4), 4096 - 2048);
        FAILS(READ(0, 512, 0x28, 0, 0xff, 0, 0, 0, 0, 0, 1, 0), SCSI_LBA_OUT_OF_RANGE);
        FAILS(READ(0, 1024, 0x28, 0, 0, 0, 0x3f, 0xff, 0, 0, 2, 0), SCSI_LBA_OUT_OF_RANGE);
        FAILS(READ(0, 512, 0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2), SCSI_LBA_OUT_OF_RANGE);
        CHECK_EQ(READ(0, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0), 0x101); /* overrun */
        CHECK_EQ(WRITE(0, 0, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0x101);
        FAILS(READ(0, 0, 0xff, 0, 0, 0), SCSI_INVALID_OPCODE);
}

static void test_space(void)
{
        /* WRITE SAME of a pattern, then of zeroes, then UNMAP. */
        memset(buf(), 0x33, 512);
        CHECK_EQ(WRITE(0, 512, 0x93, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 1, 0, 0, 0), SCSI_GOOD);
        CHECK_EQ(READ(0, 512, 0x28, 0, 0, 0, 1, 31, 0, 0, 1, 0), SCSI_GOOD);
        CHECK(buf()[0] == 0x33 && buf()[511] == 0x33);
        memset(buf(), 0, 512);
        CHECK_EQ(WRITE(0, 512, 0x41, 8, 0, 0, 0, 32, 0, 0, 16, 0), SCSI_GOOD);
        CHECK_EQ(READ(0, 512, 0x28, 0, 0, 0, 0, 47, 0, 0, 1, 0), SCSI_GOOD);
        CHECK(buf()[0] == 0);
        CHECK_EQ(READ(0, 512, 0x28, 0, 0, 0, 0, 48, 0, 0, 1, 0), SCSI_GOOD);
        CHECK(buf()[0] == 0x33);
        FAILS(WRITE(0, 512, 0x41, 8, 0, 0, 0, 32, 0, 0, 0, 0), SCSI_INVALID_FIELD);
        memset(buf(), 0, 64);
        be16_store(buf(), 38);
        be16_store(buf() + 2, 32);
        be64_store(buf() + 8, 48);
        be32_store(buf() + 16, 8);
        be64_store(buf() + 24, 64);
        be32_store(buf() + 32, 8);
        CHECK_EQ(WRITE(0, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), SCSI_GOOD);
        be64_store(buf() + 24, UINT64_MAX);
        FAILS(WRITE(0, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), SCSI_LBA_OUT_OF_RANGE);
        be16_store(buf() + 2, 48);
        FAILS(WRITE(0, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), SCSI_INVALID_PARAMETER);
        CHECK_EQ(READ(0, 512, 0x28, 0, 0, 0, 0, 48, 0, 0, 1, 0), SCSI_GOOD);
        CHECK(buf()[0] == 0);
}

static void test_mode(void)
{
        CHECK_EQ(READ(0, 192, 0x1a, 0, 0x3f, 0, 192, 0), SCSI_GOOD);
        CHECK(buf()[3] == 8 && buf()[12] == 0x01);
        CHECK_EQ(READ(0, 192, 0x5a, 8, 8, 0, 0, 0, 0, 0, 192, 0), SCSI_GOOD);
        CHECK(buf()[8] == 8 && buf()[9] == 18 && buf()[10] == 4);
        FAILS(READ(0, 192, 0x1a, 0, 0x15, 0, 192, 0), SCSI_INVALID_FIELD);
        /* The write cache off, and on again. */
        memset(buf(), 0, 24);
        buf()[4] = 8;
        buf()[5] = 18;
        CHECK_EQ(WRITE(0, 24, 0x15, 0x10, 0, 0, 24, 0), SCSI_GOOD);
        CHECK_EQ(READ(0, 192, 0x1a, 8, 8, 0, 192, 0), SCSI_GOOD);
        CHECK_EQ(buf()[6], 0);
        buf()[0] = buf()[2] = 0;
        buf()[4] = 9;
        FAILS(WRITE(0, 24, 0x15, 0x10, 0, 0, 24, 0), SCSI_INVALID_PARAMETER);
}

static void set_cd(const char *name, bool force, int fd, int wanted)
{
        struct props change = { 0 };
        char *error = NULL;

        if (fd >= 0) {
                fd = dup(fd);
                props_add_fds(&change, "fd", &fd, 1);
        } else {
                props_add_bool(&change, name, true);
        }
        if (force)
                props_add_bool(&change, "force", true);
        CHECK_EQ(cd->ops->set(cd, &change, &error), wanted);
        free(error);
        CHECK(wanted < 0 || !props_left(&change));
        props_finish(&change);
}

static void test_cd(void)
{
        FAILS(READ(1, 0, 0x00, 0, 0, 0, 0, 0), SCSI_NOT_PRESENT);
        CHECK_EQ(READ(1, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), SCSI_GOOD);
        CHECK(buf()[2] == 4 && buf()[5] == 0);
        set_cd("fd", false, medium, 0);
        CHECK_EQ(READ(1, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), SCSI_GOOD);
        CHECK(buf()[4] == 2 && buf()[5] == 2);
        FAILS(READ(1, 0, 0x00, 0, 0, 0, 0, 0), SCSI_MEDIUM_CHANGED);
        CHECK_EQ(READ(1, 0, 0x00, 0, 0, 0, 0, 0), SCSI_GOOD);
        CHECK_EQ(READ(1, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_GOOD);
        CHECK(be32_load(buf()) == MiB(1) / 2048 - 1 && be32_load(buf() + 4) == 2048);
        CHECK_EQ(READ(1, 2048, 0x28, 0, 0, 0, 0, 16, 0, 0, 1, 0), SCSI_GOOD);
        CHECK(memcmp(buf(), "sixteen", 7) == 0);
        FAILS(WRITE(1, 2048, 0x2a, 0, 0, 0, 0, 16, 0, 0, 1, 0), SCSI_INVALID_OPCODE);
        CHECK_EQ(READ(1, 20, 0x43, 0, 0, 0, 0, 0, 0, 0, 20, 0), SCSI_GOOD);
        CHECK(be16_load(buf()) == 18 && buf()[6] == 1 && buf()[14] == 0xaa && be32_load(buf() + 16) == MiB(1) / 2048);
        CHECK_EQ(READ(1, 128, 0x46, 0, 0, 0, 0, 0, 0, 0, 128, 0), SCSI_GOOD);
        CHECK_EQ(be16_load(buf() + 6), 8);
        CHECK_EQ(READ(1, 34, 0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0), SCSI_GOOD);
        CHECK_EQ(READ(1, 128, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128, 0), SCSI_GOOD);
        CHECK_EQ(buf()[8], 0x2a);
        /* Locked: the user cannot change it, and the guest cannot open it. */
        CHECK_EQ(READ(1, 0, 0x1e, 0, 0, 0, 1, 0), SCSI_GOOD);
        FAILS(READ(1, 0, 0x1b, 0, 0, 0, 2, 0), SCSI_REMOVAL_PREVENTED);
        set_cd("eject", false, -1, -EBUSY);
        CHECK_EQ(READ(1, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), SCSI_GOOD);
        CHECK_EQ(buf()[4], 1);
        CHECK_EQ(READ(1, 0, 0x1e, 0, 0, 0, 0, 0), SCSI_GOOD);
        g.n_events = 0;
        CHECK_EQ(READ(1, 0, 0x1b, 0, 0, 0, 2, 0), SCSI_GOOD);
        CHECK(g.n_events == 1 && g.event == PLUG_EVENT_TRAY && g.event_value == 1);
        FAILS(READ(1, 0, 0x00, 0, 0, 0, 0, 0), SCSI_NOT_PRESENT_OPEN);
        CHECK_EQ(READ(1, 0, 0x1b, 0, 0, 0, 3, 0), SCSI_GOOD);
        FAILS(READ(1, 0, 0x00, 0, 0, 0, 0, 0), SCSI_MEDIUM_CHANGED);
        CHECK_EQ(READ(1, 0, 0x1e, 0, 0, 0, 1, 0), SCSI_GOOD);
        set_cd("eject", true, -1, 0);
        FAILS(READ(1, 0, 0x00, 0, 0, 0, 0, 0), SCSI_NOT_PRESENT);
}

static uint32_t take_event(uint64_t at)
{
        unsigned head;
        uint32_t len;

        guest_wait_used(&g, &events, &head, &len);
        CHECK_EQ(len, 16);
        return le32_load(guest_ptr(&g, at));
}

static void test_events(void)
{
        struct props change = { 0 }, props = { 0 };
        struct guest_piece piece = { guest_alloc(&g, 16), 16, true };
        char *error = NULL;
        struct plug *more;

        /* Those of the media found no buffer. */
        guest_add(&g, &events, &piece, 1);
        guest_kick(&g, &events);
        CHECK_EQ(take_event(piece.gpa), 0x80000000u);
        guest_add(&g, &events, &piece, 1);
        guest_kick(&g, &events);
        CHECK(ftruncate(image, (off_t)SIZE * 2) == 0);
        props_add_number(&change, "size", 0);
        CHECK_EQ(disk->ops->set(disk, &change, &error), 0);
        props_finish(&change);
        CHECK_EQ(take_event(piece.gpa), 3);
        CHECK_EQ(be32_load(guest_ptr(&g, piece.gpa + 4)), 0x01000000); /* target 0, unit 0 of a single level */
        CHECK_EQ(le32_load(guest_ptr(&g, piece.gpa + 12)), 0x2a | 0x09 << 8);
        FAILS(READ(0, 0, 0x00, 0, 0, 0, 0, 0), SCSI_CAPACITY_CHANGED);
        CHECK_EQ(READ(0, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_GOOD);
        CHECK_EQ(be32_load(buf()), SIZE * 2 / 512 - 1);
        /* One comes, one goes; the second event finds no buffer and is told of later. */
        guest_add(&g, &events, &piece, 1);
        props_add_number(&props, "target", 5);
        props_add_number(&props, "lun", 300);
        more = make(&scsi_disk_driver, &props, image, -1);
        CHECK_EQ(take_event(piece.gpa), 1);
        CHECK(guest_ptr(&g, piece.gpa)[5] == 5 && be16_load(guest_ptr(&g, piece.gpa + 6)) == (300 | 0x4000));
        CHECK_EQ(le32_load(guest_ptr(&g, piece.gpa + 12)), 1);
        CHECK_EQ(command(5, 300, (const uint8_t[]){ 0, 0, 0, 0, 0, 0 }, 6, 0, false), SCSI_GOOD);
        more->ops->free(more);
        CHECK_EQ(command(5, 300, (const uint8_t[]){ 0, 0, 0, 0, 0, 0 }, 6, 0, false), 0x103);
        guest_add(&g, &events, &piece, 1);
        guest_kick(&g, &events);
        CHECK_EQ(take_event(piece.gpa), 0x80000000u);
        /* One with a small number, which is the same in REPORT LUNS. */
        guest_add(&g, &events, &piece, 1);
        props_add_number(&props, "target", 5);
        props_add_number(&props, "lun", 7);
        more = make(&scsi_disk_driver, &props, image, -1);
        CHECK_EQ(take_event(piece.gpa), 1);
        CHECK(guest_ptr(&g, piece.gpa)[5] == 5 && be16_load(guest_ptr(&g, piece.gpa + 6)) == 7);
        guest_add(&g, &events, &piece, 1);
        more->ops->free(more);
        CHECK_EQ(take_event(piece.gpa), 1);
        CHECK_EQ(be16_load(guest_ptr(&g, piece.gpa + 6)), 7);
}

static void test_refused(void)
{
        struct props props = { 0 };
        struct plug *plug = NULL;
        char *error = NULL;

        props_add_string(&props, "bus", "scsi7");
        CHECK_EQ(scsi_cd_driver.new(&g.env, "x", -1, &props, &plug, &error), -ENODEV);
        CHECK(strstr(error, "'scsi7'"));
        free(error);
        props_finish(&props);
        props_add_string(&props, "bus", "scsi0");
        CHECK_EQ(scsi_cd_driver.new(&g.env, "x", -1, &props, &plug, &error), -EBUSY);
        free(error);
        props_finish(&props);
        props_add_string(&props, "bus", "scsi0");
        props_add_number(&props, "target", 2);
        CHECK_EQ(scsi_disk_driver.new(&g.env, "x", -1, &props, &plug, &error), -EINVAL);
        CHECK(strstr(error, "no image"));
        free(error);
        props_finish(&props);
}

int main(void)
{
        struct props props = { 0 };

        guest_init(&g);
        g.env.find = find;
        image = make_image(SIZE);
        medium = make_image(MiB(1));
        CHECK(pwrite(medium, "sixteen", 7, 16 * 2048) == 7);
        controller = make(&virtio_scsi_driver, &props, -1, SLOT);
        props_add_string(&props, "serial", "number-7");
        props_add_bool(&props, "discard", true);
        disk = make(&scsi_disk_driver, &props, image, -1);
        props_add_number(&props, "target", 1);
        cd = make(&scsi_cd_driver, &props, -1, -1);
        guest_probe(&g, SLOT, true);
        start_driver();
        test_inquiry();
        test_blocks();
        test_space();
        test_mode();
        test_cd();
        test_events();
        test_refused();
        controller->ops->reset(controller);
        disk->ops->reset(disk);
        cd->ops->free(cd);
        disk->ops->free(disk);
        controller->ops->free(controller);
        guest_finish(&g);
        fd_close(image);
        fd_close(medium);
        return 0;
}
