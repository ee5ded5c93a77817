/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues (VIRTIO 1.1, chapter 2.6).
 *
 * The rings lie in guest memory, and the guest's CPUs change them while they are read here. Each index and each descriptor is therefore copied once and
 * the copy is checked. The guest is x86, and so is the host: rings are little-endian in both, and what is left to order are stores before loads of
 * other addresses (full barriers) and the compiler (acquire and release). */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/virtio/virtio-private.h"

#define DESC_SIZE 16u
#define DESC_F_NEXT 1u
#define DESC_F_WRITE 2u
#define DESC_F_INDIRECT 4u

/* Both rings: flags, index, entries, and the event index of the other side. */
#define RING_FLAGS 0
#define RING_INDEX 2
#define RING_ENTRIES 4
#define AVAIL_ENTRY 2u
#define AVAIL_F_NO_INTERRUPT 1u
#define USED_ENTRY 8u
#define USED_F_NO_NOTIFY 1u

struct desc {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
};

/* A chain with room for its pieces behind it. */
struct chain {
        struct virtio_chain public;
        unsigned class;    /* VIRTIO_CHAIN_CLASSES: not kept */
        unsigned popped_in; /* n_in as it was popped */
        struct iovec iov[];
};

static const unsigned class_pieces[VIRTIO_CHAIN_CLASSES] = { 4, 20, 132 };

static struct chain *chain_of(struct virtio_chain *c)
{
        return container_of(c, struct chain, public);
}

/* --- Access to rings ------------------------------------------------------------------------------------------------------------------ */

static uint16_t load(const uint8_t *p)
{
        return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void store(uint8_t *p, uint16_t value)
{
        __atomic_store_n((uint16_t *)(void *)p, value, __ATOMIC_RELEASE);
}

static uint16_t avail_index(const struct virtio_queue *q)
{
        return load(q->avail + RING_INDEX);
}

/* Where the guest says at which used index it wants an interrupt, and where the device says at which available index it wants to hear. */
static uint8_t *used_event(const struct virtio_queue *q)
{
        return q->avail + RING_ENTRIES + q->size * AVAIL_ENTRY;
}

static uint8_t *avail_event(const struct virtio_queue *q)
{
        return q->used + RING_ENTRIES + q->size * USED_ENTRY;
}

/* The descriptor, copied: the compiler shall not look at guest memory again. */
static struct desc load_desc(const uint8_t *p)
{
        uint8_t raw[DESC_SIZE];

        memcpy(raw, p, sizeof(raw));
        atomic_signal_fence(memory_order_seq_cst);
        return (struct desc){ .addr = le64_load(raw), .len = le32_load(raw + 8), .flags = le16_load(raw + 12), .next = le16_load(raw + 14) };
}

/* --- Set-up --------------------------------------------------------------------------------------------------------------------------- */

void virtio_queue_init(struct virtio_queue *q, struct virtio_device *dev, struct guest_memory *memory, struct virtio_piece *pieces, unsigned index)
{
        *q = (struct virtio_queue){ .dev = dev, .memory = memory, .pieces = pieces, .index = index };
}

void virtio_queue_finish(struct virtio_queue *q)
{
        for (unsigned i = 0; i < VIRTIO_CHAIN_CLASSES; i++)
                while (q->spare[i]) {
                        struct virtio_chain *c = q->spare[i];

                        q->spare[i] = c->next;
                        free(chain_of(c));
                }
}

void virtio_queue_reset(struct virtio_queue *q, uint16_t size)
{
        q->enabled = q->indirect = q->event_idx = q->quiet = false;
        q->size = size;
        q->vector = UINT16_MAX;
        q->desc_gpa = q->avail_gpa = q->used_gpa = 0;
        q->desc = q->avail = q->used = NULL;
        q->next_avail = q->next_used = q->told_used = 0;
}

static uint8_t *ring(const struct virtio_queue *q, uint64_t gpa, uint64_t len, unsigned align)
{
        return gpa % align ? NULL : guest_ram_ptr(q->memory, gpa, len);
}

const char *virtio_queue_enable(struct virtio_queue *q, uint64_t features)
{
        if (q->size == 0 || q->size > VIRTIO_QUEUE_SIZE_MAX || (q->size & (q->size - 1)))
                return "its size is not a power of two in range";
        q->desc = ring(q, q->desc_gpa, q->size * DESC_SIZE, 16);
        q->avail = ring(q, q->avail_gpa, RING_ENTRIES + q->size * AVAIL_ENTRY + 2, 2);
        q->used = ring(q, q->used_gpa, RING_ENTRIES + q->size * USED_ENTRY + 2, 4);
        if (!q->desc)
                return "its descriptor table is misaligned or not in RAM";
        if (!q->avail)
                return "its available ring is misaligned or not in RAM";
        if (!q->used)
                return "its used ring is misaligned or not in RAM";
        q->indirect = features & VIRTIO_F_RING_INDIRECT_DESC;
        q->event_idx = features & VIRTIO_F_RING_EVENT_IDX;
        q->enabled = true;
        return NULL;
}

unsigned virtio_queue_index(const struct virtio_queue *q)
{
        return q->index;
}

/* --- The parser: from a head to vetted pieces ------------------------------------------------------------------------------------------- */

struct walk {
        const uint8_t *table;
        uint32_t table_len; /* descriptors */
        uint32_t seen;      /* of this table: more than it has is a loop */
        uint32_t at;
        bool indirect;
        unsigned n_out, n_in;
        uint64_t bytes;
};

/* The walk goes on in the table that d names. */
static const char *enter_indirect(const struct virtio_queue *q, struct walk *w, const struct desc *d)
{
        if (!q->indirect)
                return "an indirect descriptor without the feature";
        if (w->indirect)
                return "an indirect descriptor in an indirect table";
        if (d->flags & DESC_F_NEXT)
                return "an indirect descriptor that is not the last";
        if (d->len == 0 || d->len % DESC_SIZE || d->len / DESC_SIZE > VIRTIO_CHAIN_MAX)
                return "an indirect table of a wrong length";
        w->table = guest_ram_ptr(q->memory, d->addr, d->len);
        if (!w->table)
                return "an indirect table that is not in RAM";
        *w = (struct walk){ .table = w->table, .table_len = d->len / DESC_SIZE, .indirect = true, .n_out = w->n_out, .n_in = w->n_in, .bytes = w->bytes };
        return NULL;
}

static const char *add_piece(const struct virtio_queue *q, struct walk *w, const struct desc *d)
{
        struct virtio_piece *piece = &q->pieces[w->n_out + w->n_in];

        if (w->n_out + w->n_in == VIRTIO_CHAIN_MAX)
                return "a chain of too many descriptors";
        if (d->len == 0)
                return "a descriptor without length";
        if (!(d->flags & DESC_F_WRITE) && w->n_in)
                return "a readable descriptor behind a writable one";
        w->bytes += d->len;
        if (w->bytes > UINT32_MAX)
                return "a chain of more than 4 GiB";
        *piece = (struct virtio_piece){ .gpa = d->addr, .host = guest_ram_ptr(q->memory, d->addr, d->len), .len = d->len };
        if (!piece->host)
                return "a buffer that is not in RAM";
        if (d->flags & DESC_F_WRITE)
                w->n_in++;
        else
                w->n_out++;
        return NULL;
}

/* Fills q->pieces; NULL, or what is wrong. */
static const char *walk_chain(const struct virtio_queue *q, uint16_t head, struct walk *w)
{
        *w = (struct walk){ .table = q->desc, .table_len = q->size, .at = head };
        for (;;) {
                const char *error;
                struct desc d;

                if (w->at >= w->table_len)
                        return "a descriptor beyond the table";
                if (w->seen++ == w->table_len)
                        return "a chain that loops";
                d = load_desc(w->table + w->at * DESC_SIZE);
                error = d.flags & DESC_F_INDIRECT ? enter_indirect(q, w, &d) : add_piece(q, w, &d);
                if (error)
                        return error;
                if (d.flags & DESC_F_INDIRECT)
                        continue;
                if (!(d.flags & DESC_F_NEXT))
                        return NULL;
                w->at = d.next;
        }
}

/* --- Chains ----------------------------------------------------------------------------------------------------------------------------- */

static size_t chain_size(unsigned pieces)
{
        return sizeof(struct chain) + pieces * (sizeof(struct iovec) + sizeof(uint64_t) + sizeof(size_t));
}

static struct chain *chain_alloc(struct virtio_queue *q, unsigned pieces)
{
        unsigned class = 0;
        struct chain *c;

        while (class < VIRTIO_CHAIN_CLASSES && class_pieces[class] < pieces)
                class++;
        if (class < VIRTIO_CHAIN_CLASSES && q->spare[class]) {
                c = chain_of(q->spare[class]);
                q->spare[class] = c->public.next;
                return c;
        }
        c = malloc(chain_size(class < VIRTIO_CHAIN_CLASSES ? class_pieces[class] : pieces));
        if (c)
                c->class = class;
        return c;
}

static void chain_free(struct virtio_queue *q, struct chain *c)
{
        q->held--;
        if (c->class == VIRTIO_CHAIN_CLASSES) {
                free(c);
                return;
        }
        c->public.next = q->spare[c->class];
        q->spare[c->class] = &c->public;
}

static void fill_chain(struct virtio_queue *q, struct chain *c, uint16_t head, const struct walk *w)
{
        struct virtio_chain *p = &c->public;
        unsigned n = w->n_out + w->n_in;

        *p = (struct virtio_chain){ .queue = q, .head = head, .n_out = w->n_out, .n_in = w->n_in, .out = c->iov, .in = c->iov + w->n_out };
        p->in_gpa = (uint64_t *)(c->iov + n);
        p->in_size = (size_t *)(p->in_gpa + w->n_in);
        c->popped_in = w->n_in;
        for (unsigned i = 0; i < n; i++) {
                const struct virtio_piece *piece = &q->pieces[i];

                c->iov[i] = (struct iovec){ .iov_base = piece->host, .iov_len = piece->len };
                if (i < w->n_out) {
                        p->out_len += piece->len;
                        continue;
                }
                p->in_len += piece->len;
                p->in_gpa[i - w->n_out] = piece->gpa;
                p->in_size[i - w->n_out] = piece->len;
        }
}

/* --- Taking ----------------------------------------------------------------------------------------------------------------------------- */

static bool usable(const struct virtio_queue *q)
{
        return q->enabled && q->dev->running;
}

static void broken(struct virtio_queue *q, const char *what)
{
        char text[128];

        snprintf(text, sizeof(text), "queue %u: %s", q->index, what);
        virtio_device_broken(q->dev, text);
}

/* From now on the guest notifies for the next chain it makes available. True: it has made some already. */
static bool ask_for_notification(struct virtio_queue *q)
{
        if (q->event_idx)
                store(avail_event(q), q->next_avail);
        else
                store(q->used + RING_FLAGS, 0);
        /* The guest stores its index, then looks whether it shall notify; here it is the other way round. */
        atomic_thread_fence(memory_order_seq_cst);
        return avail_index(q) != q->next_avail;
}

/* How many chains wait; when there are none the guest is asked to notify, if the device wants that. */
static unsigned waiting(struct virtio_queue *q)
{
        uint16_t n = (uint16_t)(avail_index(q) - q->next_avail);

        if (n == 0 && !q->quiet && q->event_idx && ask_for_notification(q))
                n = (uint16_t)(avail_index(q) - q->next_avail);
        if (n <= q->size)
                return n;
        broken(q, "more chains are available than the queue has descriptors");
        return 0;
}

bool virtio_queue_has(struct virtio_queue *q)
{
        return usable(q) && waiting(q);
}

struct virtio_chain *virtio_queue_pop(struct virtio_queue *q)
{
        const char *error;
        struct chain *c;
        struct walk w;
        uint16_t head;

        if (!usable(q) || !waiting(q))
                return NULL;
        if (q->held >= q->size) {
                broken(q, "more chains are in use than the queue has descriptors");
                return NULL;
        }
        head = load(q->avail + RING_ENTRIES + (q->next_avail & (q->size - 1u)) * AVAIL_ENTRY);
        error = walk_chain(q, head, &w);
        if (error) {
                broken(q, error);
                return NULL;
        }
        c = chain_alloc(q, w.n_out + w.n_in);
        if (!c) {
                broken(q, "no memory is left for its chains");
                return NULL;
        }
        fill_chain(q, c, head, &w);
        q->next_avail++;
        q->held++;
        return &c->public;
}

void virtio_queue_unpop(struct virtio_queue *q, struct virtio_chain *chain)
{
        if (usable(q))
                q->next_avail--;
        chain_free(q, chain_of(chain));
}

bool virtio_queue_want_notify(struct virtio_queue *q, bool on)
{
        q->quiet = !on;
        if (!usable(q))
                return false;
        if (on)
                return ask_for_notification(q);
        if (!q->event_idx)
                store(q->used + RING_FLAGS, USED_F_NO_NOTIFY);
        return false;
}

/* --- Giving back ------------------------------------------------------------------------------------------------------------------------ */

/* Tells the engine of the first bytes of a chain's in part. */
static void memory_written(const struct virtio_queue *q, const struct chain *c, size_t bytes)
{
        for (unsigned i = 0; i < c->popped_in && bytes; i++) {
                size_t n = c->public.in_size[i] < bytes ? c->public.in_size[i] : bytes;

                guest_memory_written(q->memory, c->public.in_gpa[i], n);
                bytes -= n;
        }
}

void virtio_chain_drop(struct virtio_chain *chain)
{
        struct chain *c = chain_of(chain);

        /* What the device wrote before it gave up is not known here. */
        memory_written(chain->queue, c, SIZE_MAX);
        chain_free(chain->queue, c);
}

/* Puts a chain into the used ring, not yet for the guest to see. */
static void put_used(struct virtio_queue *q, struct virtio_chain *chain, size_t written)
{
        uint8_t *entry = q->used + RING_ENTRIES + (q->next_used & (q->size - 1u)) * USED_ENTRY;

        le32_store(entry, chain->head);
        le32_store(entry + 4, (uint32_t)written);
        q->next_used++;
        memory_written(q, chain_of(chain), written);
        chain_free(q, chain_of(chain));
}

void virtio_queue_push_many(struct virtio_queue *q, struct virtio_chain *const *chains, const size_t *written, unsigned n)
{
        uint16_t first = q->next_used;

        if (!usable(q)) {
                for (unsigned i = 0; i < n; i++)
                        virtio_chain_drop(chains[i]);
                return;
        }
        for (unsigned i = 0; i < n; i++)
                put_used(q, chains[i], written[i]);
        store(q->used + RING_INDEX, q->next_used);
        guest_memory_written(q->memory, q->used_gpa + RING_INDEX, 2);
        for (; first != q->next_used; first++)
                guest_memory_written(q->memory, q->used_gpa + RING_ENTRIES + (first & (q->size - 1u)) * USED_ENTRY, USED_ENTRY);
}

void virtio_queue_push(struct virtio_queue *q, struct virtio_chain *chain, size_t written)
{
        virtio_queue_push_many(q, &chain, &written, 1);
}

/* Does the guest want to hear of the used entries from told_used on? */
static bool wants_interrupt(struct virtio_queue *q)
{
        uint16_t old = q->told_used, new = q->next_used;

        q->told_used = new;
        if (old == new)
                return false;
        /* The guest says what it wants, then looks at the index; here it is the other way round. */
        atomic_thread_fence(memory_order_seq_cst);
        if (!q->event_idx)
                return !(load(q->avail + RING_FLAGS) & AVAIL_F_NO_INTERRUPT);
        return (uint16_t)(new - load(used_event(q)) - 1) < (uint16_t)(new - old);
}

void virtio_queue_interrupt(struct virtio_queue *q)
{
        if (usable(q) && wants_interrupt(q))
                virtio_pci_queue_interrupt(q->dev->pci, q);
}

/* --- Bytes of chains -------------------------------------------------------------------------------------------------------------------- */

/* Calls memcpy for each part of [off, off + len) of the pieces. */
static size_t copy(const struct iovec *iov, unsigned n, size_t off, uint8_t *buf, size_t len, bool to_chain)
{
        size_t done = 0;

        for (unsigned i = 0; i < n && done < len; i++) {
                size_t part;

                if (off >= iov[i].iov_len) {
                        off -= iov[i].iov_len;
                        continue;
                }
                part = iov[i].iov_len - off < len - done ? iov[i].iov_len - off : len - done;
                if (to_chain)
                        memcpy((uint8_t *)iov[i].iov_base + off, buf + done, part);
                else
                        memcpy(buf + done, (uint8_t *)iov[i].iov_base + off, part);
                done += part;
                off = 0;
        }
        return done;
}

size_t virtio_chain_read(const struct virtio_chain *chain, size_t off, void *buf, size_t len)
{
        size_t done = copy(chain->out, chain->n_out, off, buf, len, false);

        atomic_signal_fence(memory_order_seq_cst); /* copied once */
        return done;
}

size_t virtio_chain_write(const struct virtio_chain *chain, size_t off, const void *buf, size_t len)
{
        return copy(chain->in, chain->n_in, off, (uint8_t *)buf, len, true);
}

static void skip(struct iovec **iov, unsigned *n, size_t *total, size_t bytes)
{
        *total -= bytes;
        while (*n && bytes >= (*iov)->iov_len) {
                bytes -= (*iov)->iov_len;
                (*iov)++;
                (*n)--;
        }
        if (*n) {
                (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
                (*iov)->iov_len -= bytes;
        }
}

void virtio_chain_skip_out(struct virtio_chain *chain, size_t n)
{
        skip(&chain->out, &chain->n_out, &chain->out_len, n);
}

void virtio_chain_skip_in(struct virtio_chain *chain, size_t n)
{
        skip(&chain->in, &chain->n_in, &chain->in_len, n);
}
