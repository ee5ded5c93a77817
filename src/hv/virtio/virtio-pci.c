/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI transport (VIRTIO 1.1, chapter 4.1), modern devices only. One BAR has all structures, another one MSI-X. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/bus/plug.h"
#include "hv/virtio/virtio-private.h"

#define VENDOR 0x1af4
#define DEVICE_BASE 0x1040
#define REVISION 1

/* The structures' BAR: a page each, and the notification registers in the last one. */
#define BAR 4
#define MSIX_BAR 1
#define BAR_SIZE 0x4000u
#define PART_SIZE 0x1000u
#define AT_COMMON 0x0000u
#define AT_ISR 0x1000u
#define AT_CONFIG 0x2000u
#define AT_NOTIFY 0x3000u
#define NOTIFY_STEP 4u

/* Capabilities (4.1.4). */
#define CAP_VENDOR 0x09
#define CAP_SIZE 16
#define CAP_TYPE 3
#define CAP_BAR 4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_NOTIFY_STEP 16
#define CAP_ACCESS_DATA 16
enum { TYPE_COMMON = 1, TYPE_NOTIFY, TYPE_ISR, TYPE_CONFIG, TYPE_ACCESS };

/* The common configuration structure (4.1.4.3). */
enum {
        COMMON_FEATURE_SELECT = 0x00,
        COMMON_FEATURE = 0x04,
        COMMON_DRIVER_FEATURE_SELECT = 0x08,
        COMMON_DRIVER_FEATURE = 0x0c,
        COMMON_CONFIG_VECTOR = 0x10,
        COMMON_QUEUES = 0x12,
        COMMON_STATUS = 0x14,
        COMMON_GENERATION = 0x15,
        COMMON_QUEUE_SELECT = 0x16,
        COMMON_QUEUE_SIZE = 0x18,
        COMMON_QUEUE_VECTOR = 0x1a,
        COMMON_QUEUE_ENABLE = 0x1c,
        COMMON_QUEUE_NOTIFY_OFF = 0x1e,
        COMMON_QUEUE_DESC = 0x20,
        COMMON_QUEUE_AVAIL = 0x28,
        COMMON_QUEUE_USED = 0x30,
        COMMON_END = 0x38,
};

#define STATUS_DRIVER_OK 0x04
#define STATUS_FEATURES_OK 0x08
#define STATUS_NEEDS_RESET 0x40

#define ISR_QUEUE 1
#define ISR_CONFIG 2
#define NO_VECTOR 0xffff

struct virtio_pci {
        struct pci_device pci;
        struct pci_msix msix;
        struct virtio_device *dev;
        unsigned n_queues;
        uint16_t queue_size;
        size_t config_size;
        uint64_t offered, accepted;
        uint32_t feature_select, driver_feature_select;
        uint16_t config_vector, queue_select;
        uint8_t status, isr, generation;
        bool started;   /* ops.start was called and ops.stop was not */
        bool stopping;  /* the reset that the guest asked for waits for virtio_device_stopped */
        unsigned access_cap;
        unsigned broken; /* times that the guest broke the rules */
        struct virtio_piece *pieces;
        struct virtio_queue queues[];
};

/* --- Interrupts ------------------------------------------------------------------------------------------------------------------------- */

static void interrupt(struct virtio_pci *vp, uint16_t vector, uint8_t isr)
{
        if (pci_msix_enabled(&vp->msix)) {
                if (vector != NO_VECTOR)
                        pci_msix_raise(&vp->msix, vector);
                return;
        }
        vp->isr |= isr;
        pci_device_set_intx(&vp->pci, 1);
}

void virtio_pci_queue_interrupt(struct virtio_pci *vp, const struct virtio_queue *q)
{
        interrupt(vp, q->vector, ISR_QUEUE);
}

void virtio_config_changed(struct virtio_device *dev)
{
        struct virtio_pci *vp = dev->pci;

        if (!vp)
                return;
        vp->generation++;
        if (vp->status & STATUS_DRIVER_OK)
                interrupt(vp, vp->config_vector, ISR_CONFIG);
}

void virtio_device_broken(struct virtio_device *dev, const char *what)
{
        struct virtio_pci *vp = dev->pci;

        if (vp->status & STATUS_NEEDS_RESET)
                return;
        /* A guest that goes on like this does not fill the log: lines 1, 2, 4, 8, ... */
        vp->broken++;
        if ((vp->broken & (vp->broken - 1)) == 0)
                log_warning("device %s: the guest broke the rules: %s; it does not work until it is reset", dev->name, what);
        dev->running = false;
        vp->status |= STATUS_NEEDS_RESET;
        virtio_config_changed(dev);
}

/* --- Status: features, start, reset ------------------------------------------------------------------------------------------------------ */

static void clear(struct virtio_pci *vp)
{
        vp->stopping = false;
        vp->status = vp->isr = 0;
        vp->accepted = vp->dev->features = 0;
        vp->feature_select = vp->driver_feature_select = 0;
        vp->config_vector = NO_VECTOR;
        vp->queue_select = 0;
        for (unsigned i = 0; i < vp->n_queues; i++)
                virtio_queue_reset(&vp->queues[i], vp->queue_size);
        pci_device_set_intx(&vp->pci, 0);
}

/* False: virtio_device_stopped follows. */
static bool reset(struct virtio_pci *vp)
{
        bool started = vp->started;

        vp->dev->running = vp->started = false;
        if (vp->stopping)
                return false;
        if (started && vp->dev->ops->stop && !vp->dev->ops->stop(vp->dev)) {
                vp->stopping = true;
                return false;
        }
        clear(vp);
        return true;
}

void virtio_device_stopped(struct virtio_device *dev)
{
        if (dev->pci && dev->pci->stopping)
                clear(dev->pci);
}

static void notify(struct virtio_pci *vp, unsigned n)
{
        if (vp->dev->running && n < vp->n_queues && vp->queues[n].enabled && vp->dev->ops->notify)
                vp->dev->ops->notify(vp->dev, n);
}

static void start(struct virtio_pci *vp)
{
        struct virtio_device *dev = vp->dev;

        dev->features = vp->accepted;
        dev->running = vp->started = true;
        if (dev->ops->start)
                dev->ops->start(dev);
        for (unsigned i = 0; i < vp->n_queues; i++)
                notify(vp, i);
}

/* The bits that a driver adds; NEEDS_RESET is the device's. */
static void write_status(struct virtio_pci *vp, uint8_t value)
{
        uint8_t added = value & (uint8_t)~vp->status;
        bool fine = !(vp->accepted & ~vp->offered) && (vp->accepted & VIRTIO_F_VERSION_1);

        if (value == 0) {
                reset(vp);
                return;
        }
        if ((added & STATUS_FEATURES_OK) && !fine)
                value &= (uint8_t)~STATUS_FEATURES_OK;
        vp->status |= value & (uint8_t)~STATUS_NEEDS_RESET;
        if (!(added & STATUS_DRIVER_OK) || vp->started || (vp->status & STATUS_NEEDS_RESET))
                return;
        if (vp->status & STATUS_FEATURES_OK)
                start(vp);
        else
                virtio_device_broken(vp->dev, "it was started without features");
}

/* --- Common configuration ------------------------------------------------------------------------------------------------------------------ */

static struct virtio_queue *selected(struct virtio_pci *vp)
{
        return vp->queue_select < vp->n_queues ? &vp->queues[vp->queue_select] : NULL;
}

static uint32_t half(uint64_t value, unsigned n)
{
        return n < 2 ? (uint32_t)(value >> (n * 32)) : 0;
}

static void set_half(uint64_t *value, unsigned n, uint32_t half)
{
        if (n < 2)
                *value = (*value & ~(0xffffffffull << (n * 32))) | (uint64_t)half << (n * 32);
}

static uint32_t queue_read(const struct virtio_queue *q, unsigned off)
{
        switch (off) {
        case COMMON_QUEUE_SIZE:
                return q->size;
        case COMMON_QUEUE_VECTOR:
                return q->vector;
        case COMMON_QUEUE_ENABLE:
                return q->enabled;
        case COMMON_QUEUE_NOTIFY_OFF:
                return q->index;
        case COMMON_QUEUE_DESC:
        case COMMON_QUEUE_DESC + 4:
                return half(q->desc_gpa, (off & 4) / 4);
        case COMMON_QUEUE_AVAIL:
        case COMMON_QUEUE_AVAIL + 4:
                return half(q->avail_gpa, (off & 4) / 4);
        case COMMON_QUEUE_USED:
        case COMMON_QUEUE_USED + 4:
                return half(q->used_gpa, (off & 4) / 4);
        default:
                return 0;
        }
}

static uint32_t common_read(struct virtio_pci *vp, unsigned off)
{
        const struct virtio_queue *q = selected(vp);

        switch (off) {
        case COMMON_FEATURE_SELECT:
                return vp->feature_select;
        case COMMON_FEATURE:
                return half(vp->offered, vp->feature_select);
        case COMMON_DRIVER_FEATURE_SELECT:
                return vp->driver_feature_select;
        case COMMON_DRIVER_FEATURE:
                return half(vp->accepted, vp->driver_feature_select);
        case COMMON_CONFIG_VECTOR:
                return vp->config_vector;
        case COMMON_QUEUES:
                return vp->n_queues;
        case COMMON_STATUS:
                return vp->status;
        case COMMON_GENERATION:
                return vp->generation;
        case COMMON_QUEUE_SELECT:
                return vp->queue_select;
        default:
                /* A queue that does not exist has size 0. */
                return q ? queue_read(q, off) : 0;
        }
}

/* A vector that does not exist reads back as none. */
static uint16_t valid_vector(const struct virtio_pci *vp, uint32_t value)
{
        return value < vp->msix.n ? (uint16_t)value : NO_VECTOR;
}

static void enable_queue(struct virtio_pci *vp, struct virtio_queue *q)
{
        const char *error = virtio_queue_enable(q, vp->accepted);
        char text[128];

        if (!error)
                return;
        snprintf(text, sizeof(text), "queue %u: %s", q->index, error);
        virtio_device_broken(vp->dev, text);
}

/* What a queue is may not change once it is enabled. */
static void queue_write(struct virtio_pci *vp, struct virtio_queue *q, unsigned off, uint32_t value)
{
        if (off == COMMON_QUEUE_VECTOR)
                q->vector = valid_vector(vp, value);
        if (q->enabled)
                return;
        switch (off) {
        case COMMON_QUEUE_SIZE:
                q->size = value <= vp->queue_size ? (uint16_t)value : 0;
                break;
        case COMMON_QUEUE_ENABLE:
                if (value == 1)
                        enable_queue(vp, q);
                break;
        case COMMON_QUEUE_DESC:
        case COMMON_QUEUE_DESC + 4:
                set_half(&q->desc_gpa, (off & 4) / 4, value);
                break;
        case COMMON_QUEUE_AVAIL:
        case COMMON_QUEUE_AVAIL + 4:
                set_half(&q->avail_gpa, (off & 4) / 4, value);
                break;
        case COMMON_QUEUE_USED:
        case COMMON_QUEUE_USED + 4:
                set_half(&q->used_gpa, (off & 4) / 4, value);
                break;
        }
}

static void common_write(struct virtio_pci *vp, unsigned off, uint32_t value)
{
        struct virtio_queue *q = selected(vp);

        if (vp->stopping)
                return;
        switch (off) {
        case COMMON_FEATURE_SELECT:
                vp->feature_select = value;
                break;
        case COMMON_DRIVER_FEATURE_SELECT:
                vp->driver_feature_select = value;
                break;
        case COMMON_DRIVER_FEATURE:
                if (!(vp->status & STATUS_FEATURES_OK))
                        set_half(&vp->accepted, vp->driver_feature_select, value);
                break;
        case COMMON_CONFIG_VECTOR:
                vp->config_vector = valid_vector(vp, value);
                break;
        case COMMON_STATUS:
                write_status(vp, (uint8_t)value);
                break;
        case COMMON_QUEUE_SELECT:
                vp->queue_select = (uint16_t)value;
                break;
        default:
                if (q)
                        queue_write(vp, q, off, value);
        }
}

/* --- The BAR -------------------------------------------------------------------------------------------------------------------------------- */

static uint8_t read_isr(struct virtio_pci *vp)
{
        uint8_t isr = vp->isr;

        vp->isr = 0;
        pci_device_set_intx(&vp->pci, 0);
        return isr;
}

static uint64_t bar_read(void *opaque, uint64_t off, unsigned size)
{
        struct virtio_pci *vp = opaque;
        unsigned at = off % PART_SIZE;
        uint32_t value = 0;

        switch (off - at) {
        case AT_COMMON:
                return common_read(vp, at);
        case AT_ISR:
                return at == 0 ? read_isr(vp) : 0;
        case AT_CONFIG:
                if (at + size <= vp->config_size)
                        memcpy(&value, vp->dev->config + at, size);
                return le32toh(value);
        default:
                return 0;
        }
}

static void config_write(struct virtio_pci *vp, unsigned off, unsigned size, uint32_t value)
{
        struct virtio_device *dev = vp->dev;

        if (off + size > vp->config_size)
                return;
        for (unsigned i = 0; i < size; i++) {
                uint8_t mask = dev->config_writable[off + i], *p = &dev->config[off + i];

                *p = (uint8_t)((*p & ~mask) | ((value >> (i * 8)) & mask));
        }
        if (dev->ops->config_written)
                dev->ops->config_written(dev, off, size);
}

static void bar_write(void *opaque, uint64_t off, unsigned size, uint64_t value)
{
        struct virtio_pci *vp = opaque;
        unsigned at = off % PART_SIZE;

        switch (off - at) {
        case AT_COMMON:
                common_write(vp, at, (uint32_t)value);
                break;
        case AT_CONFIG:
                config_write(vp, at, size, (uint32_t)value);
                break;
        case AT_NOTIFY:
                notify(vp, at / NOTIFY_STEP);
                break;
        }
}

/* Directly from the bus, which has no use for the device afterwards. */
static void bus_written(void *opaque, uint64_t off, unsigned size, uint64_t value)
{
        struct virtio_pci *vp = opaque;
        struct virtio_device *dev = vp->dev;

        dev->will_linger = off >= AT_NOTIFY && dev->ops->linger;
        bar_write(vp, off, size, value);
        if (!dev->will_linger)
                return;
        dev->will_linger = false;
        dev->ops->linger(dev);
}

static const struct bus_ops bar_ops = { .read = bar_read, .write = bus_written, .max_size = 4 };

/* --- Configuration space -------------------------------------------------------------------------------------------------------------------- */

/* The window onto the BAR (4.1.4.9): true if what the guest wrote into the capability names something in it. */
static bool access_window(const struct virtio_pci *vp, uint32_t *ret_off, uint32_t *ret_size)
{
        const uint8_t *cap = vp->pci.config + vp->access_cap;
        uint32_t off = le32_load(cap + CAP_OFFSET), size = le32_load(cap + CAP_LENGTH);

        *ret_off = off;
        *ret_size = size;
        return cap[CAP_BAR] == BAR && (size == 1 || size == 2 || size == 4) && off % size == 0 && off < BAR_SIZE;
}

static bool is_access_data(const struct virtio_pci *vp, unsigned offset, unsigned size)
{
        unsigned data = vp->access_cap + CAP_ACCESS_DATA;

        return offset < data + 4 && data < offset + size;
}

static void config_reading(struct pci_device *pci, unsigned offset, unsigned size)
{
        struct virtio_pci *vp = container_of(pci, struct virtio_pci, pci);
        uint32_t off, len;

        if (is_access_data(vp, offset, size) && access_window(vp, &off, &len))
                le32_store(pci->config + vp->access_cap + CAP_ACCESS_DATA, (uint32_t)bar_read(vp, off, len));
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
        struct virtio_pci *vp = container_of(pci, struct virtio_pci, pci);
        uint32_t off, len;

        pci_msix_written(&vp->msix, offset, size);
        if (is_access_data(vp, offset, size) && access_window(vp, &off, &len))
                bar_write(vp, off, len, le32_load(pci->config + vp->access_cap + CAP_ACCESS_DATA));
}

static int add_cap(struct virtio_pci *vp, uint8_t type, uint32_t offset, uint32_t length, unsigned extra)
{
        int at = pci_device_add_cap(&vp->pci, CAP_VENDOR, CAP_SIZE + extra);
        uint8_t *cap = vp->pci.config + at;

        if (at < 0)
                return at;
        cap[2] = (uint8_t)(CAP_SIZE + extra);
        cap[CAP_TYPE] = type;
        cap[CAP_BAR] = BAR;
        le32_store(cap + CAP_OFFSET, offset);
        le32_store(cap + CAP_LENGTH, length);
        return at;
}

static int add_caps(struct virtio_pci *vp)
{
        int notify_cap, access_cap, r;

        r = add_cap(vp, TYPE_COMMON, AT_COMMON, COMMON_END, 0);
        if (r >= 0)
                r = add_cap(vp, TYPE_ISR, AT_ISR, 1, 0);
        if (r >= 0 && vp->config_size)
                r = add_cap(vp, TYPE_CONFIG, AT_CONFIG, (uint32_t)vp->config_size, 0);
        notify_cap = r < 0 ? r : add_cap(vp, TYPE_NOTIFY, AT_NOTIFY, vp->n_queues * NOTIFY_STEP, 4);
        access_cap = notify_cap < 0 ? notify_cap : add_cap(vp, TYPE_ACCESS, 0, 0, 4);
        if (access_cap < 0)
                return access_cap;
        le32_store(vp->pci.config + notify_cap + CAP_NOTIFY_STEP, NOTIFY_STEP);
        vp->access_cap = (unsigned)access_cap;
        vp->pci.config[access_cap + CAP_BAR] = 0;
        vp->pci.writable[access_cap + CAP_BAR] = 0xff;
        memset(vp->pci.writable + access_cap + CAP_OFFSET, 0xff, 12);
        return 0;
}

/* --- Devices ---------------------------------------------------------------------------------------------------------------------------------- */

static struct virtio_pci *alloc(struct virtio_device *dev, const struct plug_env *env, const struct virtio_info *info)
{
        struct virtio_pci *vp = calloc(1, sizeof(*vp) + info->n_queues * sizeof(vp->queues[0]));

        if (!vp)
                return NULL;
        vp->pieces = calloc(VIRTIO_CHAIN_MAX, sizeof(*vp->pieces));
        if (!vp->pieces) {
                free(vp);
                return NULL;
        }
        vp->dev = dev;
        vp->n_queues = info->n_queues;
        vp->queue_size = (uint16_t)info->queue_size;
        vp->config_size = info->config_size;
        vp->offered = info->features | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_INDIRECT_DESC | VIRTIO_F_RING_EVENT_IDX;
        for (unsigned i = 0; i < vp->n_queues; i++)
                virtio_queue_init(&vp->queues[i], dev, env->memory, vp->pieces, i);
        return vp;
}

int virtio_device_init(struct virtio_device *dev, const struct plug_env *env, int slot, const struct virtio_info *info)
{
        struct pci_id id = {
                .vendor = VENDOR,
                .device = (uint16_t)(DEVICE_BASE + info->id),
                .subsystem_vendor = VENDOR,
                .subsystem = (uint16_t)(DEVICE_BASE + info->id),
                .class = info->class,
                .revision = REVISION,
                .pin = 1,
        };
        struct virtio_pci *vp;
        int r;

        if (slot < 0 || info->n_queues == 0 || info->n_queues > VIRTIO_QUEUES_MAX || info->queue_size > VIRTIO_QUEUE_SIZE_MAX ||
                info->config_size > VIRTIO_CONFIG_MAX)
                return -EINVAL;
        vp = alloc(dev, env, info);
        if (!vp)
                return -ENOMEM;
        dev->pci = vp;
        dev->running = false;
        pci_device_init(&vp->pci, dev->name, &id);
        vp->pci.reading = config_reading;
        vp->pci.written = config_written;
        pci_device_add_bar(&vp->pci, BAR, PCI_BAR_MMIO32, BAR_SIZE, &bar_ops, vp);
        r = pci_msix_init(&vp->msix, &vp->pci, env->irqs, info->n_queues + 1, MSIX_BAR);
        if (r == 0)
                r = add_caps(vp);
        if (r == 0)
                r = pci_device_attach(&vp->pci, env->pci, (unsigned)slot);
        if (r < 0)
                virtio_device_finish(dev);
        else
                clear(vp);
        return r;
}

void virtio_device_finish(struct virtio_device *dev)
{
        struct virtio_pci *vp = dev->pci;

        if (!vp)
                return;
        dev->running = false;
        pci_device_detach(&vp->pci);
        for (unsigned i = 0; i < vp->n_queues; i++)
                virtio_queue_finish(&vp->queues[i]);
        free(vp->pieces);
        free(vp);
        dev->pci = NULL;
}

bool virtio_device_reset(struct virtio_device *dev)
{
        struct virtio_pci *vp = dev->pci;
        bool done = reset(vp);

        pci_device_reset(&vp->pci);
        pci_msix_reset(&vp->msix);
        return done;
}

struct virtio_queue *virtio_device_queue(struct virtio_device *dev, unsigned n)
{
        struct virtio_pci *vp = dev->pci;

        return dev->running && n < vp->n_queues && vp->queues[n].enabled ? &vp->queues[n] : NULL;
}
