/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* For the tests of virtio devices: a machine without CPUs, and a guest's driver for one device of it, which does everything through configuration space, BARs and
 * RAM as a real one would. The test is the main loop: guest_run dispatches timers and watches. */

#include <poll.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/bus/check.h"
#include "hv/bus/plug.h"
#include "hv/virtio/virtio.h"

#define GUEST_RAM (16u << 20)
#define GUEST_HEAP 0x100000u
#define GUEST_BAR 0xc0000000u /* structures; MSI-X one megabyte higher */
#define GUEST_MSIX (GUEST_BAR + 0x100000u)
#define GUEST_MSI_ADDR 0xfee00000u
#define GUEST_QUEUE_SIZE 64u
#define GUEST_DESC_NEXT 1u
#define GUEST_DESC_WRITE 2u
#define GUEST_DESC_INDIRECT 4u

struct guest_queue {
        unsigned index, size;
        uint64_t desc, avail, used; /* guest physical */
        uint16_t next, seen;        /* the next available entry to fill, the next used one to look at */
        unsigned next_desc;
};

struct guest {
        pthread_mutex_t lock;
        struct bus *bus;
        struct pci_bus *pci;
        struct guest_memory memory;
        struct timer_loop *timers;
        struct watch_loop *watches;
        struct irq_sink irqs;
        struct plug_env env;
        unsigned lines[32], msis[64]; /* by GSI, by vector: the message's data */
        uint64_t written;             /* bytes that devices said they wrote */
        uint64_t heap;
        unsigned slot;
        uint32_t common, isr, config, notify; /* addresses of the structures */
        /* The last event. */
        unsigned n_events;
        enum plug_event event;
        uint64_t event_value;
        char event_text[64];
};

struct guest_piece {
        uint64_t gpa;
        uint32_t len;
        bool write;
};

static inline void guest_line(struct irq_sink *sink, unsigned gsi, int level)
{
        struct guest *g = container_of(sink, struct guest, irqs);

        g->lines[gsi] = (unsigned)level;
}

static inline void guest_msi(struct irq_sink *sink, uint64_t addr, uint32_t data)
{
        struct guest *g = container_of(sink, struct guest, irqs);

        CHECK_EQ(addr, GUEST_MSI_ADDR);
        g->msis[data]++;
}

static inline void guest_written(void *opaque, uint64_t gpa, uint64_t len)
{
        ((struct guest *)opaque)->written += len;
}

static inline void guest_event(void *opaque, struct plug *plug, enum plug_event event, uint64_t value, uint64_t excess, const char *text)
{
        struct guest *g = opaque;

        g->n_events++;
        g->event = event;
        g->event_value = value;
        snprintf(g->event_text, sizeof(g->event_text), "%s", text ? text : "");
}

static inline struct plug *guest_find(void *opaque, const char *id)
{
        return NULL;
}

static inline void guest_init(struct guest *g)
{
        *g = (struct guest){ .lock = PTHREAD_MUTEX_INITIALIZER, .heap = GUEST_HEAP, .irqs = { .set = guest_line, .msi = guest_msi } };
        CHECK_EQ(guest_memory_init(&g->memory, GUEST_RAM), 0);
        g->memory.written = guest_written;
        g->memory.written_opaque = g;
        CHECK_EQ(bus_new(&g->lock, &g->bus), 0);
        CHECK_EQ(pci_bus_new(g->bus, &g->irqs, &g->pci), 0);
        CHECK_EQ(timer_loop_new(&g->lock, &g->timers), 0);
        timer_loop_pause(g->timers, false);
        CHECK_EQ(watch_loop_new(&g->lock, &g->watches), 0);
        g->env = (struct plug_env){
                .lock = &g->lock, .bus = g->bus, .pci = g->pci, .memory = &g->memory, .timers = g->timers, .watches = g->watches, .irqs = &g->irqs,
                .event = guest_event, .find = guest_find, .opaque = g,
        };
}

static inline void guest_finish(struct guest *g)
{
        watch_loop_free(g->watches);
        timer_loop_free(g->timers);
        pci_bus_free(g->pci);
        bus_free(g->bus);
        guest_memory_finish(&g->memory);
}

/* Waits up to timeout ms for a timer or watch, and runs what is ready. False: nothing was. */
static inline bool guest_run(struct guest *g, int timeout)
{
        struct pollfd fds[] = { { .fd = timer_loop_fd(g->timers), .events = POLLIN }, { .fd = watch_loop_fd(g->watches), .events = POLLIN } };
        int n = poll(fds, 2, timeout);

        if (n > 0 && fds[0].revents)
                timer_loop_dispatch(g->timers);
        if (n > 0 && fds[1].revents)
                watch_loop_dispatch(g->watches);
        return n > 0;
}

/* Zeroed RAM for the guest, aligned to 16. */
static inline uint64_t guest_alloc(struct guest *g, size_t len)
{
        uint64_t gpa = g->heap;

        g->heap = (gpa + len + 15) & ~15ull;
        CHECK(g->heap <= GUEST_RAM);
        memset(guest_ram_ptr(&g->memory, gpa, len), 0, len);
        return gpa;
}

static inline uint8_t *guest_ptr(struct guest *g, uint64_t gpa)
{
        return guest_ram_ptr(&g->memory, gpa, 1);
}

static inline uint32_t guest_config_read(struct guest *g, unsigned off, unsigned size)
{
        return pci_config_read(g->pci, g->slot << 3, off, size);
}

static inline void guest_config_write(struct guest *g, unsigned off, unsigned size, uint32_t value)
{
        pci_config_write(g->pci, g->slot << 3, off, size, value);
}

static inline uint32_t guest_mmio_read(struct guest *g, uint64_t addr, unsigned size)
{
        return (uint32_t)bus_read(g->bus, BUS_MMIO, addr, size);
}

static inline void guest_mmio_write(struct guest *g, uint64_t addr, unsigned size, uint32_t value)
{
        bus_write(g->bus, BUS_MMIO, addr, size, value);
}

/* Finds the structures of the device in slot and enables BARs and MSI-X with one message per vector. */
static inline void guest_probe(struct guest *g, unsigned slot, bool msix)
{
        g->slot = slot;
        for (unsigned cap = guest_config_read(g, PCI_CAPABILITIES, 1); cap; cap = guest_config_read(g, cap + 1, 1)) {
                uint32_t *const at[] = { NULL, &g->common, &g->notify, &g->isr, &g->config };
                unsigned type = guest_config_read(g, cap + 3, 1);

                if (guest_config_read(g, cap, 1) == 0x11 && msix)
                        guest_config_write(g, cap + 2, 2, 0x8000);
                if (guest_config_read(g, cap, 1) == 9 && type < 5)
                        *at[type] = GUEST_BAR + guest_config_read(g, cap + 8, 4);
        }
        guest_config_write(g, PCI_BAR0 + 4 * 4, 4, GUEST_BAR);
        guest_config_write(g, PCI_BAR0 + 1 * 4, 4, GUEST_MSIX);
        guest_config_write(g, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        for (unsigned v = 0; msix && v < 40; v++) {
                guest_mmio_write(g, GUEST_MSIX + v * 16, 4, GUEST_MSI_ADDR);
                guest_mmio_write(g, GUEST_MSIX + v * 16 + 8, 4, v);
                guest_mmio_write(g, GUEST_MSIX + v * 16 + 12, 4, 0);
        }
}

static inline uint64_t guest_features(struct guest *g)
{
        uint64_t features;

        guest_mmio_write(g, g->common, 4, 0);
        features = guest_mmio_read(g, g->common + 4, 4);
        guest_mmio_write(g, g->common, 4, 1);
        return features | (uint64_t)guest_mmio_read(g, g->common + 4, 4) << 32;
}

static inline unsigned guest_status(struct guest *g)
{
        return guest_mmio_read(g, g->common + 0x14, 1);
}

/* Reset, ACKNOWLEDGE, DRIVER, features. */
static inline void guest_negotiate(struct guest *g, uint64_t features)
{
        guest_mmio_write(g, g->common + 0x14, 1, 0);
        CHECK_EQ(guest_status(g), 0);
        guest_mmio_write(g, g->common + 0x14, 1, 3);
        guest_mmio_write(g, g->common + 8, 4, 0);
        guest_mmio_write(g, g->common + 12, 4, (uint32_t)features);
        guest_mmio_write(g, g->common + 8, 4, 1);
        guest_mmio_write(g, g->common + 12, 4, (uint32_t)(features >> 32));
        guest_mmio_write(g, g->common + 0x14, 1, 11);
        CHECK_EQ(guest_status(g), 11);
        guest_mmio_write(g, g->common + 0x10, 2, 0);
}

static inline void guest_set_address(struct guest *g, uint32_t off, uint64_t gpa)
{
        guest_mmio_write(g, g->common + off, 4, (uint32_t)gpa);
        guest_mmio_write(g, g->common + off + 4, 4, (uint32_t)(gpa >> 32));
}

/* Queue n with interrupts on vector n + 1. */
static inline void guest_queue_init(struct guest *g, struct guest_queue *q, unsigned n)
{
        *q = (struct guest_queue){ .index = n };
        guest_mmio_write(g, g->common + 0x16, 2, n);
        q->size = guest_mmio_read(g, g->common + 0x18, 2);
        CHECK(q->size > 0);
        if (q->size > GUEST_QUEUE_SIZE)
                q->size = GUEST_QUEUE_SIZE;
        q->desc = guest_alloc(g, q->size * 16);
        q->avail = guest_alloc(g, 6 + q->size * 2);
        q->used = guest_alloc(g, 6 + q->size * 8);
        guest_mmio_write(g, g->common + 0x18, 2, q->size);
        guest_mmio_write(g, g->common + 0x1a, 2, n + 1);
        guest_set_address(g, 0x20, q->desc);
        guest_set_address(g, 0x28, q->avail);
        guest_set_address(g, 0x30, q->used);
        guest_mmio_write(g, g->common + 0x1c, 2, 1);
}

static inline void guest_driver_ok(struct guest *g)
{
        guest_mmio_write(g, g->common + 0x14, 1, 15);
}

static inline void guest_kick(struct guest *g, const struct guest_queue *q)
{
        guest_mmio_write(g, g->notify + q->index * 4, 2, q->index);
}

static inline void guest_put_desc(struct guest *g, uint64_t table, unsigned i, uint64_t gpa, uint32_t len, unsigned flags, unsigned next)
{
        uint8_t *d = guest_ptr(g, table + i * 16);

        le64_store(d, gpa);
        le32_store(d + 8, len);
        le16_store(d + 12, (uint16_t)flags);
        le16_store(d + 14, (uint16_t)next);
}

static inline void guest_make_available(struct guest *g, struct guest_queue *q, unsigned head)
{
        le16_store(guest_ptr(g, q->avail + 4 + (q->next % q->size) * 2), (uint16_t)head);
        q->next++;
        le16_store(guest_ptr(g, q->avail + 2), q->next);
}

/* Makes a chain available, in the next free descriptors (they come around: at most size are in use at a time); its head. */
static inline unsigned guest_add(struct guest *g, struct guest_queue *q, const struct guest_piece *pieces, unsigned n)
{
        unsigned head = q->next_desc % q->size;

        for (unsigned i = 0; i < n; i++, q->next_desc++)
                guest_put_desc(g, q->desc, q->next_desc % q->size, pieces[i].gpa, pieces[i].len,
                        (pieces[i].write ? GUEST_DESC_WRITE : 0) | (i + 1 < n ? GUEST_DESC_NEXT : 0), (q->next_desc + 1) % q->size);
        guest_make_available(g, q, head);
        return head;
}

/* The next used chain: true, its head and length. */
static inline bool guest_used(struct guest *g, struct guest_queue *q, unsigned *ret_head, uint32_t *ret_len)
{
        const uint8_t *e = guest_ptr(g, q->used + 4 + (q->seen % q->size) * 8);

        if (le16_load(guest_ptr(g, q->used + 2)) == q->seen)
                return false;
        *ret_head = le32_load(e);
        *ret_len = le32_load(e + 4);
        q->seen++;
        return true;
}

/* The same, waiting for it. */
static inline void guest_wait_used(struct guest *g, struct guest_queue *q, unsigned *ret_head, uint32_t *ret_len)
{
        while (!guest_used(g, q, ret_head, ret_len))
                CHECK(guest_run(g, 5000));
}
