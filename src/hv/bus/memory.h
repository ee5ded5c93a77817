/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Guest physical memory: RAM and ROM regions backed by one memfd or by anonymous host memory. The region table
 * is built before the first vCPU runs and is constant afterwards, so that every thread may read it without a lock.
 * These functions are the only way in for bytes that devices take from the guest. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_REGIONS_MAX 8

struct guest_region {
        uint64_t gpa;    /* guest physical start, page aligned */
        uint64_t size;   /* bytes, page aligned */
        uint8_t *host;   /* host mapping of the whole region */
        uint64_t offset; /* of the region in the memfd */
        bool readonly;   /* ROM: guest writes are dropped */
};

struct guest_memory {
        struct guest_region regions[GUEST_REGIONS_MAX];
        unsigned n_regions;
        int memfd; /* owned; -1 if the RAM is anonymous memory */
        uint64_t ram_size;
        /* Devices have written these bytes: engines that keep what they made of guest code hear of it. Any thread; NULL: nobody wants to know. */
        void (*written)(void *opaque, uint64_t gpa, uint64_t len);
        void *written_opaque;
};

/* Guest RAM below 4 GiB ends at the latest here; the rest continues at 4 GiB. */
#define GUEST_LOW_RAM_END 0xc0000000ULL
#define GUEST_HIGH_RAM_START 0x100000000ULL

/* Makes ram_size bytes (page aligned, at least 1 MiB) of zeroed guest RAM in a sealed memfd. Negative errno. */
int guest_memory_init(struct guest_memory *mem, uint64_t ram_size);
/* Unmaps and closes everything. */
void guest_memory_finish(struct guest_memory *mem);
/* Adds a region over caller-owned host memory (a ROM). */
int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size, uint8_t *host, bool readonly);

/* Host address of [gpa, gpa+len) if that lies wholly in one region, else NULL. The bytes can change under the
 * reader: copy once, then check, then use. */
void *guest_memory_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len);
/* The same for memory that the guest may have a device write: NULL for ROM. */
void *guest_ram_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len);
/* To be called after bytes were written through guest_ram_ptr while the guest runs, before it is told. */
static inline void guest_memory_written(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
        if (mem->written && len)
                mem->written(mem->written_opaque, gpa, len);
}
/* Copy to and from guest RAM, across regions; -EFAULT (nothing or a part copied) if any byte is not RAM. */
int guest_read(const struct guest_memory *mem, uint64_t gpa, void *buf, size_t len);
int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *buf, size_t len);
/* Gives the memory behind [gpa, gpa+len), whole pages, back to the host: it reads as zeros from now on. The engine is told. -EFAULT: not RAM; others: it may be as it was. */
int guest_memory_discard(struct guest_memory *mem, uint64_t gpa, uint64_t len);
/* Zeroes all RAM, giving the pages back to the host (reset). */
void guest_memory_zero(struct guest_memory *mem);
