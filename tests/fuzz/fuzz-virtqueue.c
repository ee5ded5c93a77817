/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parser of virtqueues: the input is what a guest wrote into its rings. Every chain that comes out must lie in RAM, be used, and be gone in the end. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hv/virtio/virtio-private.h"
#include "smoke.h"

#define RAM (1u << 20)
#define QUEUE_SIZE 16
#define AT_DESC 0x1000u /* the input's first byte goes here */
#define AT_AVAIL (AT_DESC + QUEUE_SIZE * 16)
#define AT_TABLE (AT_AVAIL + 6 + QUEUE_SIZE * 2 + 10)
#define AT_USED 0x8000u
#define INPUT_MAX 4096

static struct guest_memory memory;
static struct virtio_piece pieces[VIRTIO_CHAIN_MAX];

/* The transport is not part of this. */
void virtio_device_broken(struct virtio_device *dev, const char *what)
{
        dev->running = false;
}

void virtio_pci_queue_interrupt(struct virtio_pci *vp, const struct virtio_queue *q)
{
}

static void check(bool ok)
{
        if (!ok)
                abort();
}

static bool in_ram(const struct iovec *iov)
{
        const uint8_t *p = iov->iov_base, *ram = memory.regions[0].host;

        return iov->iov_len > 0 && p >= ram && iov->iov_len <= RAM && p - ram <= (ptrdiff_t)(RAM - iov->iov_len);
}

static void use_chain(struct virtio_queue *q, struct virtio_chain *c)
{
        size_t out = 0, in = 0;
        uint8_t buf[64];

        check(c->n_out + c->n_in > 0 && c->n_out + c->n_in <= VIRTIO_CHAIN_MAX);
        for (unsigned i = 0; i < c->n_out; i++) {
                check(in_ram(&c->out[i]));
                out += c->out[i].iov_len;
        }
        for (unsigned i = 0; i < c->n_in; i++) {
                check(in_ram(&c->in[i]) && guest_ram_ptr(&memory, c->in_gpa[i], c->in_size[i]) == c->in[i].iov_base);
                in += c->in[i].iov_len;
        }
        check(out == c->out_len && in == c->in_len);
        check(virtio_chain_read(c, out / 2, buf, sizeof(buf)) <= sizeof(buf));
        virtio_chain_skip_out(c, out);
        virtio_chain_skip_in(c, in / 3);
        check(c->n_out == 0 && c->in_len == in - in / 3);
        /* Writing may change the rings: that is the guest's affair. */
        virtio_chain_write(c, 0, "written by the device", 21);
        virtio_queue_push(q, c, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct virtio_device dev = { .running = true };
        struct virtio_queue q;
        struct virtio_chain *c;

        log_set_level(LOG_LEVEL_ERROR);
        if (!memory.ram_size)
                check(guest_memory_init(&memory, RAM) == 0);
        if (size < 1 || size > INPUT_MAX)
                return 0;
        memset(memory.regions[0].host + AT_DESC, 0, AT_USED + 0x1000 - AT_DESC);
        memcpy(memory.regions[0].host + AT_DESC, data + 1, size - 1);
        virtio_queue_init(&q, &dev, &memory, pieces, 0);
        virtio_queue_reset(&q, QUEUE_SIZE);
        q.desc_gpa = AT_DESC;
        q.avail_gpa = AT_AVAIL;
        q.used_gpa = AT_USED;
        check(!virtio_queue_enable(&q, data[0] & 1 ? VIRTIO_F_RING_INDIRECT_DESC : VIRTIO_F_RING_INDIRECT_DESC | VIRTIO_F_RING_EVENT_IDX));
        for (unsigned i = 0; i < 100 && (c = virtio_queue_pop(&q)); i++)
                use_chain(&q, c);
        virtio_queue_interrupt(&q);
        check(q.held == 0);
        virtio_queue_finish(&q);
        return 0;
}

/* Two direct descriptors, one of the two in the indirect table behind the rings; heads 0 and 2 are available. */
#define LE16(v) (v) & 0xff, (v) >> 8
#define LE32(v) LE16((v) & 0xffff), LE16((v) >> 16)
#define DESC(addr, len, flags, next) LE32(addr), 0, 0, 0, 0, LE32(len), LE16(flags), LE16(next)
#define NOTHING DESC(0, 0, 0, 0)

static const uint8_t seed[] = {
        1,
        DESC(0x20000, 16, 1, 1), DESC(0x21000, 512, 3, 3), DESC(AT_TABLE, 48, 4, 0), DESC(0x22000, 1, 2, 0),
        NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING,
        LE16(0), LE16(2), LE16(0), LE16(2), LE16(0), LE16(2), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0),
        LE16(0), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        DESC(0x30000, 16, 1, 1), DESC(0x31000, 4096, 1, 2), DESC(0x32000, 1, 2, 0),
};
_Static_assert(sizeof(seed) == 1 + AT_TABLE - AT_DESC + 48, "the table is where the seed says");

const struct fuzz_seed fuzz_seeds[] = { { seed, sizeof(seed) } };
const size_t fuzz_n_seeds = 1;
