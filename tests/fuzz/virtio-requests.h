/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Requests to a virtio device as a guest may make them, from a fuzzer's bytes. A request is: the queue; how many pieces there are, for the device to read (low four bits) and to write (high ones); a
 * length of two bytes for each, little-endian; how many bytes of content follow for the first piece; these. */

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "hv/virtio/test-guest.h"

#define FUZZ_QUEUES 3u
#define FUZZ_PIECES_MAX 30u

static struct guest g;
static struct guest_queue queues[FUZZ_QUEUES];

static int fuzz_image(uint64_t size)
{
        int fd = memfd_create("image", MFD_CLOEXEC);

        CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
        return fd;
}

static void fuzz_start(unsigned n_queues)
{
        g.heap = GUEST_HEAP;
        guest_mmio_write(&g, g.common + 0x14, 1, 0);
        while (guest_status(&g) != 0)
                CHECK(guest_run(&g, 5000));
        guest_negotiate(&g, guest_features(&g) & ~VIRTIO_F_RING_EVENT_IDX);
        for (unsigned i = 0; i < n_queues; i++)
                guest_queue_init(&g, &queues[i], i);
        guest_driver_ok(&g);
}

struct fuzz_input {
        const uint8_t *data;
        size_t size;
};

static unsigned fuzz_byte(struct fuzz_input *in)
{
        if (in->size == 0)
                return 0;
        in->size--;
        return *in->data++;
}

/* Pieces of a request, with content; their number. */
static unsigned fuzz_pieces(struct fuzz_input *in, struct guest_piece *pieces)
{
        unsigned counts = fuzz_byte(in), out = counts & 15, n = out + (counts >> 4), content;

        for (unsigned i = 0; i < n; i++) {
                uint32_t len = fuzz_byte(in) | fuzz_byte(in) << 8;

                len = len ? len : 1;
                pieces[i] = (struct guest_piece){ guest_alloc(&g, len), len, i >= out };
        }
        content = fuzz_byte(in);
        for (unsigned i = 0; i < content; i++) {
                unsigned byte = fuzz_byte(in);

                if (n && i < pieces[0].len)
                        guest_ptr(&g, pieces[0].gpa)[i] = (uint8_t)byte;
        }
        return n;
}

/* One request, until it is answered or the device has given up. answered: do requests of that queue get an answer? */
static void fuzz_request(struct fuzz_input *in, unsigned n_queues, bool (*answered)(unsigned queue))
{
        struct guest_piece pieces[FUZZ_PIECES_MAX];
        struct guest_queue *q = &queues[fuzz_byte(in) % n_queues];
        unsigned n = fuzz_pieces(in, pieces), head;
        uint32_t len;

        if (n == 0)
                return;
        guest_add(&g, q, pieces, n);
        guest_kick(&g, q);
        while (answered(q->index) && !guest_used(&g, q, &head, &len) && !(guest_status(&g) & 0x40))
                CHECK(guest_run(&g, 5000));
}

static void fuzz_feed(const uint8_t *data, size_t size, unsigned n_queues, bool (*answered)(unsigned queue))
{
        struct fuzz_input in = { data, size };

        fuzz_start(n_queues);
        for (unsigned i = 0; i < 40 && in.size && !(guest_status(&g) & 0x40) && g.heap < GUEST_RAM / 2; i++)
                fuzz_request(&in, n_queues, answered);
}
