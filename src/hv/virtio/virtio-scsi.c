/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SCSI controller (VIRTIO 1.1, chapter 5.6). A request is a header with the unit's address and the command, data, and for the answer a header with status and sense, and data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/block/iov.h"
#include "hv/virtio/scsi.h"
#include "hv/virtio/devices.h"
#include "hv/virtio/virtio.h"

#define QUEUE_SIZE 512u
#define REQUEST_QUEUES_MAX 32u
enum { CONTROL_QUEUE, EVENT_QUEUE, FIRST_REQUEST_QUEUE };

#define F_HOTPLUG (1ull << 1)
#define F_CHANGE (1ull << 2)

/* The configuration space (5.6.4). */
enum {
        CONFIG_NUM_QUEUES = 0,
        CONFIG_SEG_MAX = 4,
        CONFIG_MAX_SECTORS = 8,
        CONFIG_CMD_PER_LUN = 12,
        CONFIG_EVENT_SIZE = 16,
        CONFIG_SENSE_SIZE = 20,
        CONFIG_CDB_SIZE = 24,
        CONFIG_MAX_CHANNEL = 28,
        CONFIG_MAX_TARGET = 30,
        CONFIG_MAX_LUN = 32,
        CONFIG_END = 36,
};
#define EVENT_SIZE 16u
#define SENSE_DEFAULT 96u
#define SENSE_MAX 256u
#define CDB_DEFAULT 32u
#define CDB_LIMIT 256u

/* A request: lun, id, attribute, priority, CRN, and the command behind it. */
#define LUN_SIZE 8u
#define REQUEST_CDB 19u
/* Its answer: sense length, residual, qualifier, status, response, and the sense behind it. */
#define ANSWER_RESIDUAL 4
#define ANSWER_STATUS 10
#define ANSWER_RESPONSE 11
#define ANSWER_SENSE 12u
/* An answer may lie in so many pieces; a driver has it in one. */
#define ANSWER_PIECES 8u

enum { RESPONSE_OK = 0, RESPONSE_OVERRUN = 1, RESPONSE_ABORTED = 2, RESPONSE_BAD_TARGET = 3, RESPONSE_FAILURE = 9, RESPONSE_SUCCEEDED = 10, RESPONSE_REJECTED = 11, RESPONSE_INCORRECT_LUN = 12 };
enum { CONTROL_TMF = 0, CONTROL_AN_QUERY = 1, CONTROL_AN_SUBSCRIBE = 2 };
enum { TMF_ABORT_TASK, TMF_ABORT_TASK_SET, TMF_CLEAR_ACA, TMF_CLEAR_TASK_SET, TMF_NEXUS_RESET, TMF_UNIT_RESET, TMF_QUERY_TASK, TMF_QUERY_TASK_SET };
#define EVENT_TRANSPORT_RESET 1u
#define EVENT_PARAM_CHANGE 3u
#define EVENT_MISSED 0x80000000u
#define RESET_RESCAN 1u
#define RESET_REMOVED 2u

struct virtio_scsi {
        struct plug plug;
        struct virtio_device dev;
        struct plug_env env;
        struct scsi_bus bus;
        unsigned sense_size, cdb_size;
        unsigned in_flight;
        uint64_t batch; /* queues with something to tell, at the end of the batch */
        bool batching;
        struct block *polled; /* in notify: by linger afterwards */
        bool dropping;   /* requests end without a word to the guest, which has reset the device */
        bool stop_waits; /* for the last one of them */
        bool missed;     /* an event found no buffer */
        struct command *spare;
};

/* A request of the guest's in flight. */
struct command {
        struct scsi_request request;
        struct virtio_scsi *scsi;
        struct virtio_chain *chain;
        uint8_t lun[LUN_SIZE];
        struct iovec answer[ANSWER_PIECES];
        unsigned n_answer;
        size_t written;  /* the whole of the chain's in part */
        size_t expected; /* bytes of data */
        struct command *next;
};

/* --- Addresses ---------------------------------------------------------------------------------------------------------------------------------------- */

/* Target and unit of an address (5.6.6.1): single level or flat. */
static bool parse_lun(const uint8_t *lun, unsigned *target, unsigned *unit)
{
        unsigned value = be16_load(lun + 2);

        if (lun[0] != 1 || le32_load(lun + 4) || (value & 0xc000) > 0x4000)
                return false;
        *target = lun[1];
        *unit = value & 0x3fff;
        return true;
}

/* A unit's number (SAM-5, 4.7.3 and 4.7.4): flat where the single level has no room for it, as drivers compare it with what REPORT LUNS told them. */
static void put_unit(uint8_t *at, unsigned unit)
{
        be16_store(at, (uint16_t)(unit > 255 ? unit | 0x4000 : unit));
}

static void put_lun(uint8_t *lun, unsigned target, unsigned unit)
{
        memset(lun, 0, LUN_SIZE);
        lun[0] = 1;
        lun[1] = (uint8_t)target;
        put_unit(lun + 2, unit);
}

struct scsi_unit *scsi_bus_unit(struct scsi_bus *bus, unsigned target, unsigned lun)
{
        list_foreach (l, &bus->units) {
                struct scsi_unit *unit = list_entry(l, struct scsi_unit, list);

                if (unit->target == target && unit->lun == lun)
                        return unit;
        }
        return NULL;
}

static bool has_target(const struct scsi_bus *bus, unsigned target)
{
        list_foreach (l, &bus->units)
                if (list_entry(l, struct scsi_unit, list)->target == target)
                        return true;
        return false;
}

/* --- The end of a request -------------------------------------------------------------------------------------------------------------------------------- */

static void free_command(struct virtio_scsi *scsi, struct command *c)
{
        c->next = scsi->spare;
        scsi->spare = c;
        scsi->in_flight--;
}

static void tell(struct virtio_scsi *scsi, struct virtio_queue *q)
{
        if (scsi->batching)
                scsi->batch |= 1ull << virtio_queue_index(q);
        else
                virtio_queue_interrupt(q);
}

static void drop(struct virtio_scsi *scsi, struct command *c)
{
        virtio_chain_drop(c->chain);
        free_command(scsi, c);
        if (scsi->stop_waits && scsi->in_flight == 0) {
                scsi->stop_waits = scsi->dropping = false;
                virtio_device_stopped(&scsi->dev);
        }
}

static void finish(struct command *c, uint8_t response)
{
        uint8_t answer[ANSWER_SENSE + SENSE_MAX] = { 0 };
        struct virtio_scsi *scsi = c->scsi;
        struct virtio_queue *q = c->chain->queue;
        const struct scsi_request *r = &c->request;

        if (scsi->dropping) {
                drop(scsi, c);
                return;
        }
        answer[ANSWER_RESPONSE] = response;
        if (response == RESPONSE_OK) {
                answer[ANSWER_STATUS] = r->status;
                le32_store(answer + ANSWER_RESIDUAL, (uint32_t)(c->expected - r->transferred));
                if (r->status == SCSI_CHECK_CONDITION) {
                        scsi_put_sense(answer + ANSWER_SENSE, r->sense);
                        le32_store(answer, SCSI_SENSE_SIZE < scsi->sense_size ? SCSI_SENSE_SIZE : scsi->sense_size);
                }
        }
        iov_write(c->answer, c->n_answer, 0, answer, ANSWER_SENSE + scsi->sense_size);
        virtio_queue_push(q, c->chain, c->written);
        free_command(scsi, c);
        tell(scsi, q);
}

static void on_done(struct scsi_request *request)
{
        struct command *c = container_of(request, struct command, request);

        if (request->status == SCSI_TASK_ABORTED)
                finish(c, RESPONSE_ABORTED);
        else
                finish(c, request->overrun ? RESPONSE_OVERRUN : RESPONSE_OK);
}

/* --- Commands without a unit -------------------------------------------------------------------------------------------------------------------------------- */

static void answer_with(struct command *c, const void *data, size_t len, size_t limit)
{
        struct scsi_request *r = &c->request;

        r->status = SCSI_GOOD;
        r->transferred = iov_write(r->in, r->n_in, 0, data, len < limit ? len : limit);
        finish(c, RESPONSE_OK);
}

static void fail_with(struct command *c, uint32_t sense)
{
        c->request.status = SCSI_CHECK_CONDITION;
        c->request.sense = sense;
        finish(c, RESPONSE_OK);
}

#define LUNS_MAX 512u

static void report_luns(struct command *c, unsigned target)
{
        uint8_t data[8 + LUNS_MAX * LUN_SIZE] = { 0 };
        size_t n = 8;

        list_foreach (l, &c->scsi->bus.units) {
                const struct scsi_unit *unit = list_entry(l, struct scsi_unit, list);

                if (unit->target != target || n + LUN_SIZE > sizeof(data))
                        continue;
                put_unit(data + n, unit->lun);
                n += LUN_SIZE;
        }
        be32_store(data, (uint32_t)(n - 8));
        answer_with(c, data, n, be32_load(c->request.cdb + 6));
}

#define OP_INQUIRY 0x12
#define OP_REQUEST_SENSE 0x03
#define OP_REPORT_LUNS 0xa0

/* SPC-4, 4.5.11 and 6.4: the target is there, that unit is not. */
static void without_unit(struct command *c)
{
        const uint8_t *cdb = c->request.cdb;
        uint8_t data[36] = { 0x7f, 0, 6, 2, sizeof(data) - 5 }, sense[SCSI_SENSE_SIZE];

        switch (cdb[0]) {
        case OP_INQUIRY:
                if (cdb[1] & 1)
                        fail_with(c, SCSI_INVALID_LUN);
                else
                        answer_with(c, data, sizeof(data), be16_load(cdb + 3));
                break;
        case OP_REQUEST_SENSE:
                scsi_put_sense(sense, SCSI_INVALID_LUN);
                answer_with(c, sense, sizeof(sense), cdb[4]);
                break;
        default:
                fail_with(c, SCSI_INVALID_LUN);
        }
}

static void run(struct command *c)
{
        struct scsi_bus *bus = &c->scsi->bus;
        struct scsi_unit *unit;
        unsigned target, lun;

        c->request.done = on_done;
        if (!parse_lun(c->lun, &target, &lun) || !has_target(bus, target)) {
                finish(c, RESPONSE_BAD_TARGET);
                return;
        }
        unit = scsi_bus_unit(bus, target, lun);
        if (c->request.cdb[0] == OP_REPORT_LUNS)
                report_luns(c, target);
        else if (unit)
                scsi_execute(unit, &c->request);
        else
                without_unit(c);
}

/* --- Taking requests ------------------------------------------------------------------------------------------------------------------------------------------ */

static struct command *new_command(struct virtio_scsi *scsi, struct virtio_chain *chain)
{
        struct command *c = scsi->spare;

        if (c)
                scsi->spare = c->next;
        else
                c = malloc(sizeof(*c));
        if (!c)
                return NULL;
        *c = (struct command){ .scsi = scsi, .chain = chain, .written = chain->in_len };
        scsi->in_flight++;
        return c;
}

/* How many pieces the answer's header lies in. */
static unsigned count_pieces(const struct virtio_chain *chain, size_t size)
{
        unsigned n = 0;

        for (size_t seen = 0; seen < size && n < chain->n_in; n++)
                seen += chain->in[n].iov_len;
        return n;
}

/* Header and answer leave the chain, data stays. */
static const char *split(struct virtio_scsi *scsi, struct virtio_chain *chain, struct command *c)
{
        uint8_t header[REQUEST_CDB + CDB_LIMIT];
        size_t out = REQUEST_CDB + scsi->cdb_size, in = ANSWER_SENSE + scsi->sense_size;

        if (virtio_chain_read(chain, 0, header, out) != out || chain->in_len < in)
                return "a request without header or room for its answer";
        if (count_pieces(chain, in) > ANSWER_PIECES)
                return "a request with room for its answer in too many pieces";
        memcpy(c->lun, header, LUN_SIZE);
        memcpy(c->request.cdb, header + REQUEST_CDB, scsi->cdb_size < SCSI_CDB_MAX ? scsi->cdb_size : SCSI_CDB_MAX);
        c->n_answer = iov_slice(chain->in, chain->n_in, 0, in, c->answer);
        virtio_chain_skip_out(chain, out);
        virtio_chain_skip_in(chain, in);
        c->request.out = chain->out;
        c->request.n_out = chain->n_out;
        c->request.out_len = chain->out_len;
        c->request.in = chain->in;
        c->request.n_in = chain->n_in;
        c->request.in_len = chain->in_len;
        c->expected = chain->out_len ? chain->out_len : chain->in_len;
        return chain->out_len && chain->in_len ? "a request with data in both directions" : NULL;
}

static void take(struct virtio_scsi *scsi, struct virtio_chain *chain)
{
        struct command *c = new_command(scsi, chain);
        const char *error = c ? split(scsi, chain, c) : "no memory is left for requests";

        if (!error) {
                run(c);
                return;
        }
        virtio_device_broken(&scsi->dev, error);
        virtio_chain_drop(chain);
        if (c)
                free_command(scsi, c);
}

/* --- Control -------------------------------------------------------------------------------------------------------------------------------------------------- */

#define TMF_SIZE 24u /* type, subtype, lun, id; the answer is one byte */
#define AN_SIZE 16u  /* type, lun, events; the answer is the events and one byte */
#define AN_ANSWER 5u

static void reset_unit(struct scsi_unit *unit)
{
        scsi_abort_all(unit);
        scsi_unit_reset(unit);
}

static uint8_t task_management(struct virtio_scsi *scsi, const uint8_t *request)
{
        struct scsi_unit *unit;
        unsigned target, lun;

        if (!parse_lun(request + 8, &target, &lun) || !has_target(&scsi->bus, target))
                return RESPONSE_BAD_TARGET;
        unit = scsi_bus_unit(&scsi->bus, target, lun);
        switch (le32_load(request + 4)) {
        case TMF_ABORT_TASK:
        case TMF_ABORT_TASK_SET:
        case TMF_CLEAR_TASK_SET:
                if (!unit)
                        return RESPONSE_INCORRECT_LUN;
                scsi_abort_all(unit);
                return RESPONSE_OK;
        case TMF_UNIT_RESET:
                if (!unit)
                        return RESPONSE_INCORRECT_LUN;
                reset_unit(unit);
                return RESPONSE_OK;
        case TMF_NEXUS_RESET:
                list_foreach (l, &scsi->bus.units)
                        if (list_entry(l, struct scsi_unit, list)->target == target)
                                reset_unit(list_entry(l, struct scsi_unit, list));
                return RESPONSE_OK;
        case TMF_QUERY_TASK:
        case TMF_QUERY_TASK_SET:
                if (!unit)
                        return RESPONSE_INCORRECT_LUN;
                return unit->in_flight ? RESPONSE_SUCCEEDED : RESPONSE_OK;
        default:
                return RESPONSE_REJECTED;
        }
}

/* The answer's length; 0: the request is broken. */
static size_t control(struct virtio_scsi *scsi, struct virtio_chain *chain, uint8_t *answer)
{
        uint8_t request[TMF_SIZE];
        size_t len = virtio_chain_read(chain, 0, request, sizeof(request));
        uint32_t type = len >= 4 ? le32_load(request) : UINT32_MAX;

        memset(answer, 0, AN_ANSWER);
        if (type == CONTROL_TMF && len >= TMF_SIZE) {
                answer[0] = task_management(scsi, request);
                return 1;
        }
        /* No asynchronous notifications: none of those asked for. */
        if ((type == CONTROL_AN_QUERY || type == CONTROL_AN_SUBSCRIBE) && len >= AN_SIZE)
                return AN_ANSWER;
        return 0;
}

static void take_control(struct virtio_scsi *scsi, struct virtio_queue *q)
{
        struct virtio_chain *chain;

        while ((chain = virtio_queue_pop(q))) {
                uint8_t answer[AN_ANSWER];
                size_t n = control(scsi, chain, answer);

                if (n == 0 || chain->in_len < n) {
                        virtio_device_broken(&scsi->dev, "a control request that is none, or has no room for its answer");
                        virtio_chain_drop(chain);
                        return;
                }
                virtio_chain_write(chain, 0, answer, n);
                virtio_queue_push(q, chain, n);
                tell(scsi, q);
        }
}

/* --- Events ---------------------------------------------------------------------------------------------------------------------------------------------------- */

static void send_event(struct virtio_scsi *scsi, uint32_t event, const struct scsi_unit *unit, uint32_t reason)
{
        struct virtio_queue *q = virtio_device_queue(&scsi->dev, EVENT_QUEUE);
        struct virtio_chain *chain;
        uint8_t data[EVENT_SIZE] = { 0 };

        if (!scsi->dev.running)
                return;
        chain = q ? virtio_queue_pop(q) : NULL;
        if (!chain) {
                scsi->missed = true;
                return;
        }
        le32_store(data, event | (scsi->missed ? EVENT_MISSED : 0));
        if (unit)
                put_lun(data + 4, unit->target, unit->lun);
        le32_store(data + 12, reason);
        scsi->missed = false;
        virtio_queue_push(q, chain, virtio_chain_write(chain, 0, data, sizeof(data)));
        tell(scsi, q);
}

static void on_added(struct scsi_bus *bus, struct scsi_unit *unit)
{
        struct virtio_scsi *scsi = container_of(bus, struct virtio_scsi, bus);

        if (scsi->dev.features & F_HOTPLUG)
                send_event(scsi, EVENT_TRANSPORT_RESET, unit, RESET_RESCAN);
}

static void on_removed(struct scsi_bus *bus, struct scsi_unit *unit)
{
        struct virtio_scsi *scsi = container_of(bus, struct virtio_scsi, bus);

        if (scsi->dev.features & F_HOTPLUG)
                send_event(scsi, EVENT_TRANSPORT_RESET, unit, RESET_REMOVED);
}

/* The reason is the additional sense code and its qualifier (5.6.6.3.2). */
static void on_changed(struct scsi_bus *bus, struct scsi_unit *unit, uint32_t sense)
{
        struct virtio_scsi *scsi = container_of(bus, struct virtio_scsi, bus);

        if (scsi->dev.features & F_CHANGE)
                send_event(scsi, EVENT_PARAM_CHANGE, unit, (sense >> 8 & 0xff) | (sense & 0xff) << 8);
}

/* --- The device -------------------------------------------------------------------------------------------------------------------------------------------------- */

static void plug_all(struct virtio_scsi *scsi, void (*fn)(struct block *b))
{
        list_foreach (l, &scsi->bus.units) {
                struct scsi_unit *unit = list_entry(l, struct scsi_unit, list);

                if (unit->block)
                        fn(unit->block);
        }
}

/* Of several disks one that is busy. */
static void begin_poll(struct virtio_scsi *scsi)
{
        list_foreach (l, &scsi->bus.units) {
                struct scsi_unit *unit = list_entry(l, struct scsi_unit, list);

                if (!unit->block || block_idle(unit->block))
                        continue;
                scsi->polled = unit->block;
                block_poll_begin(unit->block);
                return;
        }
}

static void take_requests(struct virtio_scsi *scsi, struct virtio_queue *q)
{
        struct virtio_chain *chain;

        plug_all(scsi, block_plug);
        while ((chain = virtio_queue_pop(q)))
                take(scsi, chain);
        if (scsi->dev.will_linger)
                begin_poll(scsi);
        plug_all(scsi, block_unplug);
}

static void on_notify(struct virtio_device *dev, unsigned n)
{
        struct virtio_scsi *scsi = container_of(dev, struct virtio_scsi, dev);
        struct virtio_queue *q = virtio_device_queue(dev, n);

        if (!q)
                return;
        scsi->batching = true;
        if (n == CONTROL_QUEUE)
                take_control(scsi, q);
        else if (n == EVENT_QUEUE && scsi->missed)
                send_event(scsi, 0, NULL, 0);
        else if (n >= FIRST_REQUEST_QUEUE)
                take_requests(scsi, q);
        scsi->batching = false;
        for (; scsi->batch; scsi->batch &= scsi->batch - 1) {
                q = virtio_device_queue(dev, (unsigned)__builtin_ctzll(scsi->batch));
                if (q)
                        virtio_queue_interrupt(q);
        }
}

static void on_linger(struct virtio_device *dev)
{
        struct virtio_scsi *scsi = container_of(dev, struct virtio_scsi, dev);
        struct block *polled = scsi->polled;

        scsi->polled = NULL;
        if (polled)
                block_poll(polled); /* the device may be gone now */
}

static void set_sizes(struct virtio_scsi *scsi)
{
        uint32_t sense = le32_load(scsi->dev.config + CONFIG_SENSE_SIZE), cdb = le32_load(scsi->dev.config + CONFIG_CDB_SIZE);

        scsi->sense_size = sense < SENSE_MAX ? sense : SENSE_MAX;
        scsi->cdb_size = cdb < CDB_LIMIT ? cdb : CDB_LIMIT;
}

static void on_start(struct virtio_device *dev)
{
        struct virtio_scsi *scsi = container_of(dev, struct virtio_scsi, dev);

        scsi->missed = false;
        set_sizes(scsi);
}

static void default_sizes(struct virtio_scsi *scsi)
{
        le32_store(scsi->dev.config + CONFIG_SENSE_SIZE, SENSE_DEFAULT);
        le32_store(scsi->dev.config + CONFIG_CDB_SIZE, CDB_DEFAULT);
}

static bool on_stop(struct virtio_device *dev)
{
        struct virtio_scsi *scsi = container_of(dev, struct virtio_scsi, dev);

        scsi->dropping = true;
        plug_all(scsi, block_cancel);
        default_sizes(scsi);
        scsi->stop_waits = scsi->in_flight > 0;
        scsi->dropping = scsi->stop_waits;
        return !scsi->stop_waits;
}

static const struct virtio_ops virtio_scsi_ops = { .start = on_start, .stop = on_stop, .notify = on_notify, .linger = on_linger };

static void fill_config(struct virtio_scsi *scsi, unsigned queues)
{
        uint8_t *config = scsi->dev.config;

        le32_store(config + CONFIG_NUM_QUEUES, queues);
        le32_store(config + CONFIG_SEG_MAX, QUEUE_SIZE - 2);
        le32_store(config + CONFIG_MAX_SECTORS, 0xffff);
        le32_store(config + CONFIG_CMD_PER_LUN, 128);
        le32_store(config + CONFIG_EVENT_SIZE, EVENT_SIZE);
        default_sizes(scsi);
        le16_store(config + CONFIG_MAX_TARGET, SCSI_TARGETS - 1);
        le32_store(config + CONFIG_MAX_LUN, SCSI_LUNS - 1);
        memset(scsi->dev.config_writable + CONFIG_SENSE_SIZE, 0xff, 4);
        memset(scsi->dev.config_writable + CONFIG_CDB_SIZE, 0xff, 4);
}

/* --- The plug ----------------------------------------------------------------------------------------------------------------------------------------------------- */

static struct virtio_scsi *scsi_of(struct plug *plug)
{
        return container_of(plug, struct virtio_scsi, plug);
}

static void controller_reset(struct plug *plug)
{
        struct virtio_scsi *scsi = scsi_of(plug);

        scsi->dropping = true;
        plug_all(scsi, block_drain);
        virtio_device_reset(&scsi->dev);
        scsi->dropping = false;
}

/* All units have gone before. */
static void controller_free(struct plug *plug)
{
        struct virtio_scsi *scsi = scsi_of(plug);

        virtio_device_finish(&scsi->dev);
        while (scsi->spare) {
                struct command *c = scsi->spare;

                scsi->spare = c->next;
                free(c);
        }
        free(scsi);
}

static const struct plug_ops controller_ops = { .driver = "virtio-scsi", .reset = controller_reset, .free = controller_free };

struct scsi_bus *scsi_bus_of(struct plug *plug)
{
        return plug->ops == &controller_ops ? &scsi_of(plug)->bus : NULL;
}

static int controller_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        struct virtio_info info = {
                .id = VIRTIO_ID_SCSI, .class = 0x010000, .features = F_HOTPLUG | F_CHANGE, .queue_size = QUEUE_SIZE, .config_size = CONFIG_END
        };
        struct virtio_scsi *scsi;
        unsigned queues = 1;
        int r = props_take_unsigned(props, "queues", REQUEST_QUEUES_MAX, &queues);

        if ((r < 0 && r != -ENOENT) || queues == 0)
                return plug_fail(ret_error, -EINVAL, "queues must be 1 to %u", REQUEST_QUEUES_MAX);
        scsi = calloc(1, sizeof(*scsi));
        if (!scsi)
                return plug_fail(ret_error, -ENOMEM, "out of memory");
        scsi->plug = (struct plug){ .ops = &controller_ops, .pci_slot = slot };
        scsi->dev.ops = &virtio_scsi_ops;
        scsi->dev.name = id;
        scsi->env = *env;
        scsi->bus = (struct scsi_bus){ .plug = &scsi->plug, .added = on_added, .removed = on_removed, .changed = on_changed };
        list_init(&scsi->bus.units);
        info.n_queues = FIRST_REQUEST_QUEUE + queues;
        fill_config(scsi, queues);
        r = virtio_device_init(&scsi->dev, env, slot, &info);
        if (r < 0) {
                controller_free(&scsi->plug);
                return plug_fail(ret_error, r, "the controller cannot be put into PCI slot %d: %s", slot, strerror(-r));
        }
        *ret = &scsi->plug;
        return 0;
}

const struct plug_driver virtio_scsi_driver = { .name = "virtio-scsi", .new = controller_new, .pci = true };
