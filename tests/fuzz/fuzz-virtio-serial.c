/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A controller with a console and a channel: control messages and data. */
#include "virtio-guest.h"

#include "hv/virtio/devices.h"

static struct fuzz_guest fuzz;
static struct plug *ports[2];
static int console_peer;

static struct plug *find(void *opaque, const char *id)
{
        return fuzz.plug;
}

static struct plug *make_port(struct fuzz_guest *f, unsigned nr, const char *name, int fd)
{
        struct props props = { 0 };
        struct plug *port;
        char *error = NULL;

        CHECK(props_add_fds(&props, "fd", &fd, 1) == 0);
        CHECK(props_add_string(&props, "bus", "serial") == 0);
        CHECK(props_add_string(&props, "name", name) == 0);
        CHECK(props_add_number(&props, "nr", nr) == 0);
        CHECK(props_add_bool(&props, "console", nr == 0) == 0);
        CHECK_EQ(virtio_serialport_driver.new(&f->g.env, "port", -1, &props, &port, &error), 0);
        props_finish(&props);
        return port;
}

static void make(struct fuzz_guest *f)
{
        struct props props = { 0 };
        char *error = NULL;

        f->g.env.find = find;
        CHECK(props_add_number(&props, "ports", 3) == 0);
        CHECK_EQ(virtio_serial_driver.new(&f->g.env, "serial", FUZZ_SLOT, &props, &f->plug, &error), 0);
        props_finish(&props);
        ports[0] = make_port(f, 0, "console", fuzz_socket(f));
        console_peer = f->peer;
        ports[1] = make_port(f, 1, "org.qemu.guest_agent.0", fuzz_socket(f));
}

static void unmake(struct fuzz_guest *f)
{
        ports[0]->ops->free(ports[0]);
        ports[1]->ops->free(ports[1]);
        f->plug->ops->free(f->plug);
        fd_close(console_peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        fuzz_device(&fuzz, 8, data, size, make, unmake);
        return 0;
}

/* Queues: 0 and 1 console, 2 and 3 control, 4 and 5 channel; the first of each is to the guest. */
#define MESSAGE(nr, event, value) 0x30, 8, 0, 0, nr, 0, 0, 0, event, 0, value, 0
#define READY 0x30, 8, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0
#define ROOM(queue) (queue) << 4, 0, 0, 4
#define RUN 0x0c

static const uint8_t control_seed[] = {
        2, 0, 0, ROOM(2), ROOM(2), ROOM(2), ROOM(2), ROOM(2), ROOM(2), READY, MESSAGE(0, 3, 1), MESSAGE(1, 3, 1), MESSAGE(1, 6, 1), MESSAGE(0, 6, 1), RUN,
        MESSAGE(1, 6, 0), MESSAGE(9, 6, 1), MESSAGE(1, 3, 0),
};
static const uint8_t data_seed[] = {
        2, 0, 0, READY, MESSAGE(1, 6, 1), 0x0a, 4, 'p', 'i', 'n', 'g', RUN, ROOM(4), RUN, 0x50, 4, 2, 0, 'p', 'o', 'n', 'g', 0x10, 3, 0, 0, 'b', 'y', 'e', RUN,
        0x0a, 4, 'm', 'o', 'r', 'e', RUN, 0x1f, RUN, ROOM(4), RUN,
};
static const uint8_t plain_seed[] = { 0, 0, 0, ROOM(0), 0x10, 3, 0, 0, 'b', 'y', 'e', RUN, 0x0f, 2, 0, 0, READY };

#define SEED(name) { name, sizeof(name) }
const struct fuzz_seed fuzz_seeds[] = { SEED(control_seed), SEED(data_seed), SEED(plain_seed) };
const size_t fuzz_n_seeds = sizeof(fuzz_seeds) / sizeof(fuzz_seeds[0]);
