/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What all virtio devices have in common (Virtual I/O Device (VIRTIO) Version 1.1): features, status, configuration space, split virtqueues, and the PCI
 * transport (4.1, modern only). A device embeds struct virtio_device and fills in its ops. Everything is called with the device lock held, on vCPU threads (what the guest
 * did) and on the main thread (what back ends did).
 *
 * Guest bytes come in by virtqueue.c alone: every index, address and length is looked at there, once. A guest that breaks the rules gets DEVICE_NEEDS_RESET; its queues
 * are dead until it resets the device. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "hv/bus/memory.h"
#include "hv/pci/pci.h"

#define VIRTIO_QUEUES_MAX 34     /* 16 pairs, control, spare */
#define VIRTIO_QUEUE_SIZE_MAX 1024
#define VIRTIO_CHAIN_MAX 1024    /* descriptors in a chain, indirect ones included */
#define VIRTIO_CONFIG_MAX 256

#define VIRTIO_ID_NET 1
#define VIRTIO_ID_BLOCK 2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG 4
#define VIRTIO_ID_BALLOON 5
#define VIRTIO_ID_SCSI 8

#define VIRTIO_F_RING_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_RING_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)

struct virtio_device;
struct virtio_queue;

/* A chain of descriptors that the guest made available: what the device reads, then what it may write, as host memory (guest RAM). The bytes can change under the reader: copy
 * once, check, use. It belongs to who popped it until it is pushed. */
struct virtio_chain {
        struct virtio_chain *next; /* for the holder's lists */
        struct virtio_queue *queue;
        uint16_t head;
        unsigned n_out, n_in;
        size_t out_len, in_len;    /* bytes */
        struct iovec *out, *in;    /* the holder may change them; host pieces are never split at region borders only to be joined again */
        uint64_t *in_gpa;          /* guest physical address of each piece of in, as it was popped */
        size_t *in_size;           /* its size then */
};

struct virtio_ops {
        /* DRIVER_OK: features are final (dev->features), the queues that the guest enabled are ready. May be NULL. */
        void (*start)(struct virtio_device *dev);
        /* The guest reset the device or it goes away: back ends stop. Chains still held may no longer be pushed, they are to be dropped by virtio_chain_drop. True: nothing is in
         * flight that touches guest memory; false: not yet, virtio_device_stopped will be called (the guest sees the reset as not complete until then). */
        bool (*stop)(struct virtio_device *dev);
        /* There may be new chains in queue n. Also called once for every ready queue after start. */
        void (*notify)(struct virtio_device *dev, unsigned n);
        /* On the thread of a vCPU that has notified, after notify: the device may wait a little for what it was asked for, and let go of the device lock meanwhile; whatever else can happen then, the
         * end of the device included. May be NULL. */
        void (*linger)(struct virtio_device *dev);
        /* The guest wrote size bytes of dev->config at off; config_writable decides which take effect. May be NULL. */
        void (*config_written)(struct virtio_device *dev, unsigned off, unsigned size);
};

/* Set by the device before virtio_device_init; constants of its kind. */
struct virtio_info {
        uint16_t id;            /* VIRTIO_ID_* */
        uint32_t class;         /* PCI class code, 24 bits */
        uint64_t features;      /* the device's own; those of rings and VERSION_1 are added */
        unsigned n_queues;
        unsigned queue_size;    /* a power of two up to VIRTIO_QUEUE_SIZE_MAX */
        size_t config_size;
};

struct virtio_device {
        const struct virtio_ops *ops;
        const char *name;       /* for logs: the device's id */
        uint64_t features;      /* negotiated; valid between start and stop */
        uint8_t config[VIRTIO_CONFIG_MAX];          /* little-endian; the device fills it and calls virtio_config_changed after later changes */
        uint8_t config_writable[VIRTIO_CONFIG_MAX]; /* bits that the guest may change */
        bool running;           /* between start and stop, and the guest broke no rule */
        bool will_linger;       /* in notify: linger follows */
        struct virtio_pci *pci; /* the transport's, with the queues */
};

struct plug_env;

/* Makes the PCI function in slot (struct plug_env's bus, memory and interrupts outlive it). -EBUSY: slot taken. */
int virtio_device_init(struct virtio_device *dev, const struct plug_env *env, int slot, const struct virtio_info *info);
/* The device is stopped and nothing is in flight. Harmless if init failed or did not run. */
void virtio_device_finish(struct virtio_device *dev);
/* Power-on state; calls ops.stop. False: in flight I/O remains, as for stop. */
bool virtio_device_reset(struct virtio_device *dev);
/* After stop returned false. */
void virtio_device_stopped(struct virtio_device *dev);
/* The guest's rules broken, seen by the device: DEVICE_NEEDS_RESET, one line in the log, running is false. */
void virtio_device_broken(struct virtio_device *dev, const char *what);
/* dev->config has changed: generation and configuration interrupt. */
void virtio_config_changed(struct virtio_device *dev);

/* NULL if it is not ready. */
struct virtio_queue *virtio_device_queue(struct virtio_device *dev, unsigned n);
unsigned virtio_queue_index(const struct virtio_queue *q);

/* The next chain, or NULL: there is none now, or the guest broke the ring. */
struct virtio_chain *virtio_queue_pop(struct virtio_queue *q);
/* Is there a chain? (for devices that wait for several, such as receive buffers) */
bool virtio_queue_has(struct virtio_queue *q);
/* Gives the last popped chain back as if it had never been popped. */
void virtio_queue_unpop(struct virtio_queue *q, struct virtio_chain *chain);
/* Chain is used, with written bytes at the start of its in part (the rest is untouched); tells the engine that guest memory has changed. The chain is freed. */
void virtio_queue_push(struct virtio_queue *q, struct virtio_chain *chain, size_t written);
/* Several at once, for mergeable receive buffers: the guest sees all or none. */
void virtio_queue_push_many(struct virtio_queue *q, struct virtio_chain *const *chains, const size_t *written, unsigned n);
/* After pushes: interrupts the guest if it wants to know. */
void virtio_queue_interrupt(struct virtio_queue *q);
/* Does the guest have to notify? Off while the device polls anyway. Switching on returns true if chains have come in between: pop again. */
bool virtio_queue_want_notify(struct virtio_queue *q, bool on);
/* Frees a chain that is not pushed, after stop. */
void virtio_chain_drop(struct virtio_chain *chain);

/* Copy between a chain and memory, from byte off of its out or in part; returns the bytes copied, less than len at the end of the chain. */
size_t virtio_chain_read(const struct virtio_chain *chain, size_t off, void *buf, size_t len);
size_t virtio_chain_write(const struct virtio_chain *chain, size_t off, const void *buf, size_t len);
/* Drops bytes at the front of out (or in): n must be there. in_gpa stays as it was popped. */
void virtio_chain_skip_out(struct virtio_chain *chain, size_t n);
void virtio_chain_skip_in(struct virtio_chain *chain, size_t n);
