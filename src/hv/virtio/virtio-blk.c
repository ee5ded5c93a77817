/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk (VIRTIO 1.1, chapter 5.2): each request is a chain with a header, data, and a status byte at its very end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/block/block.h"
#include "hv/bus/plug.h"
#include "hv/virtio/devices.h"
#include "hv/virtio/virtio.h"

#define QUEUES_MAX 32u
#define QUEUE_SIZE 512u
#define SECTOR 512u
#define SERIAL_SIZE 20u

#define F_SEG_MAX (1ull << 2)
#define F_RO (1ull << 5)
#define F_BLK_SIZE (1ull << 6)
#define F_FLUSH (1ull << 9)
#define F_TOPOLOGY (1ull << 10)
#define F_CONFIG_WCE (1ull << 11)
#define F_MQ (1ull << 12)
#define F_DISCARD (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

/* The configuration space (5.2.4). */
enum {
        CONFIG_CAPACITY = 0, /* sectors */
        CONFIG_SEG_MAX = 12,
        CONFIG_BLK_SIZE = 20,
        CONFIG_PHYSICAL_EXPONENT = 24,
        CONFIG_MIN_IO_SIZE = 26, /* blocks */
        CONFIG_WRITEBACK = 32,
        CONFIG_NUM_QUEUES = 34,
        CONFIG_MAX_DISCARD_SECTORS = 36,
        CONFIG_MAX_DISCARD_SEG = 40,
        CONFIG_DISCARD_ALIGNMENT = 44,
        CONFIG_MAX_ZEROES_SECTORS = 48,
        CONFIG_MAX_ZEROES_SEG = 52,
        CONFIG_ZEROES_MAY_UNMAP = 56,
        CONFIG_END = 60,
};

/* 2 GiB */
#define SPACE_SECTORS_MAX (1u << 22)
/* File systems give space back in units of this size, or several of them. */
#define SPACE_UNIT 4096u

enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8, TYPE_DISCARD = 11, TYPE_WRITE_ZEROES = 13 };
enum { STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPP = 2 };

/* The header, and a segment of DISCARD and WRITE_ZEROES (5.2.6). */
#define HEADER_SIZE 16u
#define HEADER_SECTOR 8
#define SEGMENT_SIZE 16u
#define SEGMENT_SECTORS 8
#define SEGMENT_FLAGS 12
#define SEGMENT_UNMAP 1u

struct virtio_blk {
        struct plug plug;
        struct virtio_device dev;
        struct plug_env env;
        struct block *block;
        char serial[SERIAL_SIZE];
        unsigned boot_index; /* for firmware */
        bool write_through;  /* the mode that the disk begins with */
        unsigned in_flight;
        uint32_t batch;      /* queues with something to tell, at the end of the batch */
        bool batching;
        bool dropping;       /* requests end without a word to the guest, which has reset the device */
        bool stop_waits;     /* for the last one of them */
        struct blk_request *spare;
};

struct blk_request {
        struct block_request request;
        struct virtio_blk *blk;
        struct virtio_chain *chain;
        uint8_t *status; /* in guest memory */
        size_t written;  /* the whole of the chain's in part */
        struct blk_request *next;
};

/* --- The end of a request ----------------------------------------------------------------------------------------------------------------- */

static void free_request(struct virtio_blk *blk, struct blk_request *r)
{
        r->next = blk->spare;
        blk->spare = r;
        blk->in_flight--;
}

static void complete(struct blk_request *r, uint8_t status)
{
        struct virtio_blk *blk = r->blk;
        struct virtio_queue *q = r->chain->queue;

        if (blk->dropping) {
                virtio_chain_drop(r->chain);
                free_request(blk, r);
                if (blk->stop_waits && blk->in_flight == 0) {
                        blk->stop_waits = blk->dropping = false;
                        virtio_device_stopped(&blk->dev);
                }
                return;
        }
        *r->status = status;
        virtio_queue_push(q, r->chain, r->written);
        free_request(blk, r);
        if (blk->batching)
                blk->batch |= 1u << virtio_queue_index(q);
        else
                virtio_queue_interrupt(q);
}

static void on_done(struct block_request *request, int result)
{
        struct blk_request *r = container_of(request, struct blk_request, request);

        complete(r, result == 0 ? STATUS_OK : result == -EOPNOTSUPP ? STATUS_UNSUPP : STATUS_IOERR);
}

/* --- Requests by type --------------------------------------------------------------------------------------------------------------------- */

/* Sectors to bytes; what is beyond all images stays beyond them. */
static uint64_t to_bytes(uint64_t sectors)
{
        return sectors > UINT64_MAX / SECTOR ? UINT64_MAX & ~(uint64_t)(SECTOR - 1) : sectors * SECTOR;
}

static void submit(struct blk_request *r, enum block_op op, uint64_t sector, uint64_t len)
{
        r->request.op = op;
        r->request.offset = to_bytes(sector);
        r->request.len = len;
        r->request.done = on_done;
        block_submit(r->blk->block, &r->request);
}

static void do_data(struct blk_request *r, bool write, uint64_t sector)
{
        struct virtio_chain *c = r->chain;

        r->request.iov = write ? c->out : c->in;
        r->request.n_iov = write ? c->n_out : c->n_in;
        submit(r, write ? BLOCK_WRITE : BLOCK_READ, sector, write ? c->out_len : c->in_len);
}

/* The serial number, up to 20 bytes, without an end where it is that long. */
static void do_get_id(struct blk_request *r)
{
        complete(r, virtio_chain_write(r->chain, 0, r->blk->serial, SERIAL_SIZE) ? STATUS_OK : STATUS_IOERR);
}

/* One segment, as the configuration says. */
static void do_space(struct blk_request *r, enum block_op op)
{
        uint8_t segment[SEGMENT_SIZE];
        uint32_t sectors, flags;

        if (!(r->blk->dev.features & (op == BLOCK_DISCARD ? F_DISCARD : F_WRITE_ZEROES))) {
                complete(r, STATUS_UNSUPP);
                return;
        }
        if (r->chain->out_len != SEGMENT_SIZE || virtio_chain_read(r->chain, 0, segment, SEGMENT_SIZE) != SEGMENT_SIZE) {
                complete(r, STATUS_IOERR);
                return;
        }
        sectors = le32_load(segment + SEGMENT_SECTORS);
        flags = le32_load(segment + SEGMENT_FLAGS);
        if (flags & (op == BLOCK_DISCARD ? ~0u : ~SEGMENT_UNMAP)) {
                complete(r, STATUS_UNSUPP);
                return;
        }
        if (sectors > SPACE_SECTORS_MAX) {
                complete(r, STATUS_IOERR);
                return;
        }
        r->request.unmap = flags & SEGMENT_UNMAP;
        submit(r, op, le64_load(segment), to_bytes(sectors));
}

static void run(struct blk_request *r, uint32_t type, uint64_t sector)
{
        switch (type) {
        case TYPE_IN:
        case TYPE_OUT:
                do_data(r, type == TYPE_OUT, sector);
                break;
        case TYPE_FLUSH:
                submit(r, BLOCK_FLUSH, 0, 0);
                break;
        case TYPE_GET_ID:
                do_get_id(r);
                break;
        case TYPE_DISCARD:
                do_space(r, BLOCK_DISCARD);
                break;
        case TYPE_WRITE_ZEROES:
                do_space(r, BLOCK_WRITE_ZEROES);
                break;
        default:
                complete(r, STATUS_UNSUPP);
        }
}

/* --- Taking requests ---------------------------------------------------------------------------------------------------------------------- */

static struct blk_request *new_request(struct virtio_blk *blk, struct virtio_chain *chain)
{
        struct blk_request *r = blk->spare;

        if (r)
                blk->spare = r->next;
        else
                r = malloc(sizeof(*r));
        if (!r)
                return NULL;
        *r = (struct blk_request){ .blk = blk, .chain = chain, .written = chain->in_len };
        blk->in_flight++;
        return r;
}

/* The status byte leaves the chain's in part. */
static uint8_t *cut_status(struct virtio_chain *chain)
{
        struct iovec *last = &chain->in[chain->n_in - 1];

        chain->in_len--;
        last->iov_len--;
        if (last->iov_len == 0)
                chain->n_in--;
        return (uint8_t *)last->iov_base + last->iov_len;
}

static void take(struct virtio_blk *blk, struct virtio_chain *chain)
{
        uint8_t header[HEADER_SIZE];
        struct blk_request *r;

        if (virtio_chain_read(chain, 0, header, HEADER_SIZE) != HEADER_SIZE || chain->in_len == 0) {
                virtio_device_broken(&blk->dev, "a request without header or status");
                virtio_chain_drop(chain);
                return;
        }
        r = new_request(blk, chain);
        if (!r) {
                virtio_device_broken(&blk->dev, "no memory is left for requests");
                virtio_chain_drop(chain);
                return;
        }
        virtio_chain_skip_out(chain, HEADER_SIZE);
        r->status = cut_status(chain);
        run(r, le32_load(header), le64_load(header + HEADER_SECTOR));
}

static void on_notify(struct virtio_device *dev, unsigned n)
{
        struct virtio_blk *blk = container_of(dev, struct virtio_blk, dev);
        struct virtio_queue *q = virtio_device_queue(dev, n);
        struct virtio_chain *chain;

        if (!q)
                return;
        block_plug(blk->block);
        blk->batching = true;
        while ((chain = virtio_queue_pop(q)))
                take(blk, chain);
        if (dev->will_linger)
                block_poll_begin(blk->block);
        block_unplug(blk->block);
        blk->batching = false;
        for (; blk->batch; blk->batch &= blk->batch - 1) {
                q = virtio_device_queue(dev, (unsigned)__builtin_ctz(blk->batch));
                if (q)
                        virtio_queue_interrupt(q);
        }
}

static void on_linger(struct virtio_device *dev)
{
        struct virtio_blk *blk = container_of(dev, struct virtio_blk, dev);

        block_poll(blk->block); /* the device may be gone now */
}

/* --- Start, stop, configuration ------------------------------------------------------------------------------------------------------------- */

static void show_cache(struct virtio_blk *blk)
{
        blk->dev.config[CONFIG_WRITEBACK] = !block_writes_through(blk->block);
}

/* A driver that cannot flush gets writes that are on the disk when they are done (5.2.6.2). */
static void on_start(struct virtio_device *dev)
{
        struct virtio_blk *blk = container_of(dev, struct virtio_blk, dev);

        if (!(dev->features & (F_FLUSH | F_CONFIG_WCE)))
                block_set_write_through(blk->block, true);
}

static bool on_stop(struct virtio_device *dev)
{
        struct virtio_blk *blk = container_of(dev, struct virtio_blk, dev);

        blk->dropping = true;
        block_cancel(blk->block);
        block_set_write_through(blk->block, blk->write_through);
        show_cache(blk);
        blk->stop_waits = blk->in_flight > 0;
        blk->dropping = blk->stop_waits;
        return !blk->stop_waits;
}

static void on_config_written(struct virtio_device *dev, unsigned off, unsigned size)
{
        struct virtio_blk *blk = container_of(dev, struct virtio_blk, dev);

        dev->config[CONFIG_WRITEBACK] &= 1;
        block_set_write_through(blk->block, !dev->config[CONFIG_WRITEBACK]);
}

static const struct virtio_ops virtio_blk_ops = {
        .start = on_start,
        .stop = on_stop,
        .notify = on_notify,
        .linger = on_linger,
        .config_written = on_config_written,
};

static void show_size(struct virtio_blk *blk)
{
        le64_store(blk->dev.config + CONFIG_CAPACITY, block_size(blk->block) / SECTOR);
}

static void fill_config(struct virtio_blk *blk, unsigned queues)
{
        unsigned logical = block_logical_size(blk->block), physical = block_physical_size(blk->block);
        uint8_t *config = blk->dev.config;

        show_size(blk);
        show_cache(blk);
        le32_store(config + CONFIG_SEG_MAX, QUEUE_SIZE - 2);
        le32_store(config + CONFIG_BLK_SIZE, logical);
        config[CONFIG_PHYSICAL_EXPONENT] = (uint8_t)(__builtin_ctz(physical) - __builtin_ctz(logical));
        le16_store(config + CONFIG_MIN_IO_SIZE, (uint16_t)(physical / logical));
        le16_store(config + CONFIG_NUM_QUEUES, (uint16_t)queues);
        le32_store(config + CONFIG_MAX_DISCARD_SECTORS, SPACE_SECTORS_MAX);
        le32_store(config + CONFIG_MAX_DISCARD_SEG, 1);
        le32_store(config + CONFIG_DISCARD_ALIGNMENT, (physical > SPACE_UNIT ? physical : SPACE_UNIT) / SECTOR);
        le32_store(config + CONFIG_MAX_ZEROES_SECTORS, SPACE_SECTORS_MAX);
        le32_store(config + CONFIG_MAX_ZEROES_SEG, 1);
        config[CONFIG_ZEROES_MAY_UNMAP] = block_can_discard(blk->block);
        blk->dev.config_writable[CONFIG_WRITEBACK] = 1;
}

static uint64_t features(const struct virtio_blk *blk, unsigned queues)
{
        uint64_t f = F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH | F_CONFIG_WCE;

        if (queues > 1)
                f |= F_MQ;
        if (block_readonly(blk->block))
                return f | F_RO;
        if (block_can_discard(blk->block))
                f |= F_DISCARD;
        return f | F_WRITE_ZEROES;
}

/* --- What the image tells --------------------------------------------------------------------------------------------------------------------- */

static void on_error(void *opaque, bool stop, int error)
{
        struct virtio_blk *blk = opaque;

        blk->env.event(blk->env.opaque, &blk->plug, PLUG_EVENT_IO_ERROR, stop, 0, block_error_text(error));
}

static void on_resized(void *opaque)
{
        struct virtio_blk *blk = opaque;

        show_size(blk);
        virtio_config_changed(&blk->dev);
}

static void on_threshold(void *opaque, uint64_t threshold, uint64_t excess)
{
        struct virtio_blk *blk = opaque;

        blk->env.event(blk->env.opaque, &blk->plug, PLUG_EVENT_THRESHOLD, threshold, excess, NULL);
}

/* --- The plug --------------------------------------------------------------------------------------------------------------------------------- */

static struct virtio_blk *blk_of(struct plug *plug)
{
        return container_of(plug, struct virtio_blk, plug);
}

static void blk_reset(struct plug *plug)
{
        struct virtio_blk *blk = blk_of(plug);

        blk->dropping = true;
        block_drain(blk->block);
        virtio_device_reset(&blk->dev);
        blk->dropping = false;
}

static int blk_set(struct plug *plug, struct props *props, char **ret_error)
{
        return block_set(blk_of(plug)->block, props, ret_error);
}

static void blk_stats(struct plug *plug, plug_stat_fn fn, void *opaque)
{
        block_report(blk_of(plug)->block, fn, opaque);
}

static void blk_resume(struct plug *plug)
{
        block_retry(blk_of(plug)->block);
}

static void blk_free(struct plug *plug)
{
        struct virtio_blk *blk = blk_of(plug);

        blk->dropping = true;
        block_free(blk->block);
        virtio_device_finish(&blk->dev);
        while (blk->spare) {
                struct blk_request *r = blk->spare;

                blk->spare = r->next;
                free(r);
        }
        free(blk);
}

static const struct plug_ops blk_plug_ops = {
        .driver = "virtio-blk",
        .reset = blk_reset,
        .set = blk_set,
        .stats = blk_stats,
        .resume = blk_resume,
        .free = blk_free,
};

static int take_props(struct virtio_blk *blk, struct props *props, unsigned *queues, char **ret_error)
{
        const char *serial = "";
        int r = props_take_string(props, "serial", &serial);

        if (r < 0 && r != -ENOENT)
                return plug_fail(ret_error, r, "serial must be a string");
        memcpy(blk->serial, serial, strnlen(serial, SERIAL_SIZE));
        r = props_take_unsigned(props, "queues", QUEUES_MAX, queues);
        if ((r < 0 && r != -ENOENT) || *queues == 0)
                return plug_fail(ret_error, -EINVAL, "queues must be 1 to %u", QUEUES_MAX);
        r = props_take_unsigned(props, "boot-index", UINT32_MAX, &blk->boot_index);
        if (r < 0 && r != -ENOENT)
                return plug_fail(ret_error, r, "boot-index must be a number");
        return 0;
}

static int build(struct virtio_blk *blk, int slot, struct props *props, char **ret_error)
{
        const struct block_env env = {
                .timers = blk->env.timers,
                .watches = blk->env.watches,
                .lock = blk->env.lock,
                .ring = blk->env.ring,
                .memory = blk->env.memory,
                .error = on_error,
                .resized = on_resized,
                .threshold = on_threshold,
                .opaque = blk,
        };
        struct virtio_info info = {
                .id = VIRTIO_ID_BLOCK, .class = 0x010000, .queue_size = QUEUE_SIZE, .config_size = CONFIG_END, .n_queues = 1
        };
        int r = take_props(blk, props, &info.n_queues, ret_error);

        if (r == 0)
                r = block_new(&env, props, &blk->block, ret_error);
        if (r < 0)
                return r;
        blk->write_through = block_writes_through(blk->block);
        info.features = features(blk, info.n_queues);
        fill_config(blk, info.n_queues);
        r = virtio_device_init(&blk->dev, &blk->env, slot, &info);
        return r < 0 ? plug_fail(ret_error, r, "the disk cannot be put into PCI slot %d: %s", slot, strerror(-r)) : 0;
}

static int blk_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        struct virtio_blk *blk = calloc(1, sizeof(*blk));
        int r;

        if (!blk)
                return plug_fail(ret_error, -ENOMEM, "out of memory");
        blk->plug = (struct plug){ .ops = &blk_plug_ops, .pci_slot = slot };
        blk->dev.ops = &virtio_blk_ops;
        blk->dev.name = id;
        blk->env = *env;
        r = build(blk, slot, props, ret_error);
        if (r < 0) {
                blk_free(&blk->plug);
                return r;
        }
        *ret = &blk->plug;
        return 0;
}

const struct plug_driver virtio_blk_driver = { .name = "virtio-blk", .new = blk_new, .pci = true };
