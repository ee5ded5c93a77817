/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/vring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/macros.h"

#define DESC_SIZE 16u
#define DESC_F_NEXT 1u
#define DESC_F_WRITE 2u
#define DESC_F_INDIRECT 4u
#define RING_FLAGS 0u
#define RING_INDEX 2u
#define RING_ENTRIES 4u
#define AVAIL_ENTRY 2u
#define USED_ENTRY 8u
#define USED_F_NO_NOTIFY 1u
#define AVAIL_F_NO_INTERRUPT 1u
/* Behind the entries: from which index of the other ring on each side wants to be told. */
#define AVAIL_EVENT (RING_ENTRIES + VRING_SLOTS * AVAIL_ENTRY)
#define USED_EVENT (RING_ENTRIES + VRING_SLOTS * USED_ENTRY)

/* A slot's header, segment and status. */
#define HEADER_SIZE 16u
#define SEGMENT_SIZE 16u
#define AT_SEGMENT HEADER_SIZE
#define AT_STATUS (HEADER_SIZE + SEGMENT_SIZE)
#define WORDS_SIZE 64u

/* Where things are. */
#define TABLE_SIZE ALIGN_UP((VRING_PIECES + 2) * DESC_SIZE, 4096u)
#define AT_DESC 0u
#define AT_AVAIL 4096u
#define AT_USED 8192u
#define AT_WORDS 12288u
#define AT_TABLES (AT_WORDS + VRING_SLOTS * WORDS_SIZE)
#define AT_ROOMS (AT_TABLES + VRING_SLOTS * TABLE_SIZE)
#define MEMORY_SIZE (AT_ROOMS + VRING_SLOTS * VRING_ROOM)

static uint16_t load(const uint8_t *p)
{
        return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void store(uint8_t *p, uint16_t value)
{
        __atomic_store_n((uint16_t *)(void *)p, value, __ATOMIC_RELEASE);
}

static int make_memory(struct vring *r)
{
        r->size = MEMORY_SIZE;
        r->memfd = memfd_create("vring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (r->memfd < 0 || ftruncate(r->memfd, (off_t)r->size) < 0 ||
                fcntl(r->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        r->memory = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, r->memfd, 0);
        if (r->memory == MAP_FAILED) {
                r->memory = NULL;
                return -errno;
        }
        madvise(r->memory, r->size, MADV_DONTDUMP);
        return 0;
}

int vring_init(struct vring *r, uint64_t gpa)
{
        int result;

        *r = (struct vring){ .memfd = -1, .gpa = gpa, .want_call = true };
        result = make_memory(r);
        if (result < 0) {
                vring_finish(r);
                return result;
        }
        for (unsigned i = 0; i < VRING_SLOTS; i++)
                r->free_slots[r->n_free++] = (uint16_t)(VRING_SLOTS - 1 - i);
        return 0;
}

void vring_limit(struct vring *r, unsigned n)
{
        if (n && n < r->n_free)
                r->n_free = n;
}

void vring_finish(struct vring *r)
{
        if (r->memory)
                munmap(r->memory, r->size);
        r->memory = NULL;
        r->memfd = fd_close(r->memfd);
}

uint8_t *vring_desc(const struct vring *r)
{
        return r->memory + AT_DESC;
}

uint8_t *vring_avail(const struct vring *r)
{
        return r->memory + AT_AVAIL;
}

uint8_t *vring_used(const struct vring *r)
{
        return r->memory + AT_USED;
}

int vring_take(struct vring *r, void *owner)
{
        unsigned slot;

        if (r->n_free == 0)
                return -1;
        slot = r->free_slots[--r->n_free];
        r->owners[slot] = owner;
        return (int)slot;
}

void vring_release(struct vring *r, unsigned slot)
{
        r->owners[slot] = NULL;
        r->free_slots[r->n_free++] = (uint16_t)slot;
}

static unsigned at_room(unsigned slot)
{
        return AT_ROOMS + slot * VRING_ROOM;
}

uint8_t *vring_room(const struct vring *r, unsigned slot)
{
        return r->memory + at_room(slot);
}

uint64_t vring_room_gpa(const struct vring *r, unsigned slot)
{
        return r->gpa + at_room(slot);
}

/* Descriptor i of a slot's table; it is followed by another one, until the table is closed. */
static void put_desc(uint8_t *table, unsigned i, uint64_t gpa, uint32_t len, bool writable)
{
        uint8_t *d = table + i * DESC_SIZE;

        le64_store(d, gpa);
        le32_store(d + 8, len);
        le16_store(d + 12, (uint16_t)(DESC_F_NEXT | (writable ? DESC_F_WRITE : 0)));
        le16_store(d + 14, (uint16_t)(i + 1));
}

static unsigned fill_table(struct vring *r, unsigned slot, const struct vring_request *request)
{
        uint8_t *table = r->memory + AT_TABLES + slot * TABLE_SIZE;
        unsigned at_words = AT_WORDS + slot * WORDS_SIZE, n = 0;
        uint64_t words = r->gpa + at_words;

        put_desc(table, n++, words, HEADER_SIZE, false);
        if (request->type == VRING_DISCARD || request->type == VRING_WRITE_ZEROES)
                put_desc(table, n++, words + AT_SEGMENT, SEGMENT_SIZE, false);
        for (unsigned i = 0; i < request->n_pieces; i++)
                put_desc(table, n++, request->pieces[i].gpa, request->pieces[i].len, request->type == VRING_READ);
        put_desc(table, n, words + AT_STATUS, 1, true);
        le16_store(table + n * DESC_SIZE + 12, DESC_F_WRITE);
        return n + 1;
}

static void fill_words(struct vring *r, unsigned slot, const struct vring_request *request)
{
        uint8_t *words = r->memory + AT_WORDS + slot * WORDS_SIZE;
        bool space = request->type == VRING_DISCARD || request->type == VRING_WRITE_ZEROES;

        le32_store(words, request->type);
        le32_store(words + 4, 0);
        le64_store(words + 8, space ? 0 : request->sector);
        le64_store(words + AT_SEGMENT, request->sector);
        le32_store(words + AT_SEGMENT + 8, request->space_sectors);
        le32_store(words + AT_SEGMENT + 12, request->space_flags);
        words[AT_STATUS] = 0xff;
}

void vring_put(struct vring *r, unsigned slot, const struct vring_request *request)
{
        uint8_t *desc = vring_desc(r) + slot * DESC_SIZE, *avail = vring_avail(r);
        unsigned n = fill_table(r, slot, request);

        fill_words(r, slot, request);
        le64_store(desc, r->gpa + AT_TABLES + slot * TABLE_SIZE);
        le32_store(desc + 8, n * DESC_SIZE);
        le16_store(desc + 12, DESC_F_INDIRECT);
        le16_store(avail + RING_ENTRIES + (r->avail % VRING_SLOTS) * AVAIL_ENTRY, (uint16_t)slot);
        store(avail + RING_INDEX, ++r->avail);
}

bool vring_must_kick(struct vring *r)
{
        uint16_t old = r->told_avail, new = r->avail;

        r->told_avail = new;
        atomic_thread_fence(memory_order_seq_cst);
        if (!r->event_idx)
                return !(load(vring_used(r) + RING_FLAGS) & USED_F_NO_NOTIFY);
        return (uint16_t)(new - load(vring_used(r) + USED_EVENT) - 1) < (uint16_t)(new - old);
}

void vring_want_call(struct vring *r, bool on)
{
        if (r->event_idx)
                store(vring_avail(r) + AVAIL_EVENT, (uint16_t)(on ? r->used : r->used - 1));
        else
                store(vring_avail(r) + RING_FLAGS, on ? 0 : AVAIL_F_NO_INTERRUPT);
        r->want_call = on;
        /* The other process stores its index, then looks whether it shall notify; here it is the other way round. */
        atomic_thread_fence(memory_order_seq_cst);
}

static uint16_t used_index(const struct vring *r)
{
        return load(vring_used(r) + RING_INDEX);
}

bool vring_has(const struct vring *r)
{
        return used_index(r) != __atomic_load_n(&r->used, __ATOMIC_RELAXED);
}

void *vring_next(struct vring *r, unsigned *slot, uint8_t *status, bool *broken)
{
        const uint8_t *used = vring_used(r);
        uint32_t id;

        *broken = false;
        if (!vring_has(r)) {
                if (r->event_idx && r->want_call)
                        vring_want_call(r, true); /* for the next one */
                if (!vring_has(r))
                        return NULL;
        }
        id = le32_load(used + RING_ENTRIES + (r->used % VRING_SLOTS) * USED_ENTRY);
        atomic_signal_fence(memory_order_seq_cst); /* copied once */
        if (id >= VRING_SLOTS || !r->owners[id]) {
                *broken = true;
                return NULL;
        }
        __atomic_store_n(&r->used, (uint16_t)(r->used + 1), __ATOMIC_RELAXED);
        *slot = id;
        *status = r->memory[AT_WORDS + id * WORDS_SIZE + AT_STATUS];
        return r->owners[id];
}
