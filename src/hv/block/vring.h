/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The driver's side of a split virtqueue of virtio-blk requests, in memory of its own that another process maps (VIRTIO 1.1, 2.6 and 5.2.6). Each of the ring's descriptors is a slot: an indirect table, the
 * request's header and status, and some room for data. The other process is not trusted: what it writes is looked at before it is used. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VRING_SLOTS 128u
#define VRING_PIECES 1022u /* of data, in one request */
#define VRING_ROOM 65536u  /* bytes for data of a slot's own */

#define VRING_READ 0u
#define VRING_WRITE 1u
#define VRING_FLUSH 4u
#define VRING_DISCARD 11u
#define VRING_WRITE_ZEROES 13u

struct vring_piece {
        uint64_t gpa;
        uint32_t len;
};

struct vring {
        int memfd;
        uint8_t *memory;
        size_t size;
        uint64_t gpa; /* where the other process finds it */
        uint16_t avail, used;
        uint16_t told_avail; /* avail when it was last asked whether the other process has to be told */
        bool event_idx;      /* VIRTIO_F_RING_EVENT_IDX, negotiated; set after vring_init */
        bool want_call;      /* as vring_want_call said last */
        uint16_t free_slots[VRING_SLOTS];
        unsigned n_free;
        void *owners[VRING_SLOTS]; /* of slots in use */
};

/* gpa: page aligned. Negative errno. */
int vring_init(struct vring *r, uint64_t gpa);
void vring_finish(struct vring *r);
/* Before the first request: at most n, and at least one, at a time. */
void vring_limit(struct vring *r, unsigned n);
uint8_t *vring_desc(const struct vring *r), *vring_avail(const struct vring *r), *vring_used(const struct vring *r);

/* A slot, or -1. owner is what vring_next gives back for it. */
int vring_take(struct vring *r, void *owner);
void vring_release(struct vring *r, unsigned slot);
/* Room for VRING_ROOM bytes, and its address for a piece. */
uint8_t *vring_room(const struct vring *r, unsigned slot);
uint64_t vring_room_gpa(const struct vring *r, unsigned slot);

struct vring_request {
        uint32_t type;
        uint64_t sector;
        const struct vring_piece *pieces; /* READ and WRITE: at most VRING_PIECES */
        unsigned n_pieces;
        uint32_t space_sectors, space_flags; /* DISCARD, WRITE_ZEROES */
};
/* Makes it available to the other process; vring_must_kick says whether that has to be told. */
void vring_put(struct vring *r, unsigned slot, const struct vring_request *request);
bool vring_must_kick(struct vring *r);
/* Does the other process have to notify when a request is done? */
void vring_want_call(struct vring *r, bool on);
/* May there be something for vring_next? From any thread. */
bool vring_has(const struct vring *r);
/* The next request that is done: its owner, slot (still in use) and status, or NULL: none. *broken: the other process wrote nonsense. */
void *vring_next(struct vring *r, unsigned *slot, uint8_t *status, bool *broken);
