/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Port and memory-mapped I/O dispatch.
 *
 * One lock, the device lock, serialises all device code of a machine: the bus takes it around every ops call, the
 * timer loop around every timer, and the control server around what it does to devices. Device code therefore needs
 * no locks, must not block, and must not call into the engine in a way that waits for a vCPU. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum bus_space { BUS_PIO, BUS_MMIO };

struct bus_ops {
        /* off: bytes from the start of the range. size: 1, 2, 4 or 8 (PIO: up to 4); the access lies wholly
         * within the range. read returns the value in its low size bytes. A device treats sizes and offsets that it does
         * not decode as the real one does: reads give all ones or zeros, writes are dropped. */
        uint64_t (*read)(void *dev, uint64_t off, unsigned size);
        void (*write)(void *dev, uint64_t off, unsigned size, uint64_t value);
        /* Larger accesses reach the device as several of this many bytes, lowest address first; 0: as they are. */
        unsigned max_size;
};

struct bus;

/* Negative errno. lock is the machine's device lock; it stays the caller's. */
int bus_new(pthread_mutex_t *lock, struct bus **ret);
void bus_free(struct bus *bus);

/* Maps [start, start+len) of a space to dev. ops, dev and name (for logs) must outlive the mapping. -EBUSY if any part is
 * taken. Callable with or without running vCPUs, with the device lock held or before any vCPU exists. */
int bus_map(struct bus *bus, enum bus_space space, uint64_t start, uint64_t len, const struct bus_ops *ops,
            void *dev, const char *name);
/* Removes the mapping that begins at start; -ENOENT. */
int bus_unmap(struct bus *bus, enum bus_space space, uint64_t start);

/* Called by vCPU threads without the device lock. An access that nobody claims reads all ones; one that crosses the
 * end of a range is split into bytes. */
uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, enum bus_space space, uint64_t addr, unsigned size, uint64_t value);
