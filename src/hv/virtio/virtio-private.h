/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the transport (virtio-pci.c) and the rings (virtqueue.c) know of each other. */

#include "hv/pci/msix.h"
#include "hv/virtio/virtio.h"

/* Chains are kept for reuse in classes by the number of their pieces; larger ones are malloced each time. */
#define VIRTIO_CHAIN_CLASSES 3

/* A piece of guest memory that a descriptor names, vetted. */
struct virtio_piece {
        uint64_t gpa;
        void *host;
        uint32_t len;
};

struct virtio_queue {
        struct virtio_device *dev;
        struct guest_memory *memory;
        struct virtio_piece *pieces; /* VIRTIO_CHAIN_MAX of them, shared by the queues of a device: the chain that is being looked at */
        unsigned index;

        /* What the guest chose. */
        uint16_t size, vector;
        bool enabled; /* the rings below are vetted and mapped */
        uint64_t desc_gpa, avail_gpa, used_gpa;
        bool indirect, event_idx;

        uint8_t *desc, *avail, *used; /* in guest RAM */
        uint16_t next_avail;          /* the next entry of the available ring to look at */
        uint16_t next_used;           /* the next entry of the used ring to write */
        uint16_t told_used;           /* next_used when the guest was last asked whether it wants an interrupt */
        bool quiet;                   /* the guest need not notify */
        unsigned held;                /* chains that were popped and not yet pushed */

        struct virtio_chain *spare[VIRTIO_CHAIN_CLASSES];
};

/* An unused queue. */
void virtio_queue_init(struct virtio_queue *q, struct virtio_device *dev, struct guest_memory *memory, struct virtio_piece *pieces, unsigned index);
/* Spare chains are freed. */
void virtio_queue_finish(struct virtio_queue *q);
/* Not enabled, nothing popped, with the given size. */
void virtio_queue_reset(struct virtio_queue *q, uint16_t size);
/* Vets size and addresses; NULL, or what is wrong. features: negotiated. */
const char *virtio_queue_enable(struct virtio_queue *q, uint64_t features);

/* --- virtio-pci.c --- */

/* Interrupts the guest for a queue. */
void virtio_pci_queue_interrupt(struct virtio_pci *vp, const struct virtio_queue *q);
