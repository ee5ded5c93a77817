/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A guest without manners for fuzz targets of virtio devices. The input is a program: which features, then steps of one byte and what belongs to it. The rings are in
 * order (fuzz-virtqueue has those), what is in the chains is not. */

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "hv/virtio/test-guest.h"
#include "smoke.h"

#define FUZZ_SLOT 3
#define FUZZ_QUEUES 8

struct fuzz_input {
        const uint8_t *data;
        size_t size;
};

struct fuzz_guest {
        struct guest g;
        uint64_t heap; /* where it began for this device */
        struct plug *plug;
        int peer;      /* the host's side, or -1 */
        unsigned n_queues;
        struct guest_queue queues[FUZZ_QUEUES];
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
        if (in->size == 0)
                return 0;
        in->size--;
        return *in->data++;
}

static inline size_t fuzz_bytes(struct fuzz_input *in, void *to, size_t n)
{
        if (n > in->size)
                n = in->size;
        if (n)
                memcpy(to, in->data, n);
        in->data += n;
        in->size -= n;
        return n;
}

/* An end for the device and one, nonblocking, for the peer. */
static inline int fuzz_socket(struct fuzz_guest *f)
{
        int fds[2];

        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        CHECK(fd_set_nonblock(fds[0], true) == 0);
        f->peer = fds[0];
        return fds[1];
}

static inline void fuzz_start(struct fuzz_guest *f, struct fuzz_input *in)
{
        uint64_t wanted = fuzz_byte(in) | (uint64_t)fuzz_byte(in) << 8 | (uint64_t)fuzz_byte(in) << 16;

        guest_probe(&f->g, FUZZ_SLOT, true);
        guest_negotiate(&f->g, (guest_features(&f->g) & wanted) | VIRTIO_F_VERSION_1);
        f->g.heap = f->heap;
        for (unsigned i = 0; i < f->n_queues; i++)
                guest_queue_init(&f->g, &f->queues[i], i);
        guest_driver_ok(&f->g);
}

/* A chain of up to 255 bytes out, in one or two pieces, and up to 4 KiB in. */
static inline void fuzz_chain(struct fuzz_guest *f, struct fuzz_input *in, struct guest_queue *q)
{
        uint32_t out = fuzz_byte(in), cut = fuzz_byte(in), room = fuzz_byte(in) * 16u;
        struct guest_piece pieces[3];
        uint64_t gpa;
        unsigned n = 0;

        if (f->g.heap + out + room + 64 > GUEST_RAM / 2 || out + room == 0)
                return;
        gpa = guest_alloc(&f->g, out + room);
        fuzz_bytes(in, guest_ptr(&f->g, gpa), out);
        if (cut < out && cut)
                pieces[n++] = (struct guest_piece){ gpa, cut, false };
        if (out)
                pieces[n] = (struct guest_piece){ gpa + (n ? cut : 0), out - (n ? cut : 0), false };
        n += out > 0;
        if (room)
                pieces[n++] = (struct guest_piece){ gpa + out, room, true };
        guest_add(&f->g, q, pieces, n);
}

static inline void fuzz_run(struct fuzz_guest *f)
{
        uint8_t buf[4096];

        for (unsigned i = 0; i < 4 && guest_run(&f->g, 0); i++) {
        }
        while (f->peer >= 0 && read(f->peer, buf, sizeof(buf)) > 0) {
        }
}

static inline void fuzz_peer(struct fuzz_guest *f, struct fuzz_input *in)
{
        uint8_t buf[255];
        size_t n = fuzz_bytes(in, buf, fuzz_byte(in));

        if (f->peer >= 0 && send(f->peer, buf, n, MSG_NOSIGNAL) < 0)
                f->peer = fd_close(f->peer);
}

static inline void fuzz_step(struct fuzz_guest *f, struct fuzz_input *in)
{
        unsigned step = fuzz_byte(in);
        struct guest_queue *q = &f->queues[(step >> 4) % f->n_queues];

        switch (step & 15) {
        default:
                fuzz_chain(f, in, q);
                guest_kick(&f->g, q);
                break;
        case 8:
        case 9:
                fuzz_chain(f, in, q);
                break;
        case 10:
        case 11:
                fuzz_peer(f, in);
                break;
        case 12:
        case 13:
                fuzz_run(f);
                break;
        case 14:
                guest_mmio_write(&f->g, f->g.config + (step >> 4), 1, fuzz_byte(in));
                break;
        case 15:
                if (step >> 4 == 0)
                        fuzz_start(f, in);
                else if (step >> 4 == 1)
                        f->peer = fd_close(f->peer);
                break;
        }
}

/* Plays the input on a device that make plugs in. */
static inline void fuzz_device(struct fuzz_guest *f, unsigned n_queues, const uint8_t *data, size_t size, void (*make)(struct fuzz_guest *f),
                               void (*unmake)(struct fuzz_guest *f))
{
        struct fuzz_input in = { data, size };

        if (!f->heap) {
                log_set_level(LOG_LEVEL_ERROR);
                guest_init(&f->g);
                f->heap = f->g.heap;
                f->n_queues = n_queues;
        }
        f->peer = -1;
        make(f);
        fuzz_start(f, &in);
        for (unsigned i = 0; i < 256 && in.size; i++)
                fuzz_step(f, &in);
        fuzz_run(f);
        unmake(f);
        f->peer = fd_close(f->peer);
        while (guest_run(&f->g, 0)) {
        }
}
