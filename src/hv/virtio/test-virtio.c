/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transport and the rings, with a device that lets the test decide when chains are used. */
#include <errno.h>

#include "base/log.h"
#include "base/macros.h"
#include "hv/pci/msix.h"
#include "hv/virtio/test-guest.h"

#define SLOT 5
#define FEATURE (1ull << 3)
#define ALL (FEATURE | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_INDIRECT_DESC)

struct toy {
        struct virtio_device dev;
        unsigned started, stopped, notified[2], config_writes;
        bool slow_stop;
};

static struct guest g;
static struct toy toy;
static struct guest_queue q;

static void toy_start(struct virtio_device *dev)
{
        container_of(dev, struct toy, dev)->started++;
}

static bool toy_stop(struct virtio_device *dev)
{
        struct toy *t = container_of(dev, struct toy, dev);

        t->stopped++;
        return !t->slow_stop;
}

static void toy_notify(struct virtio_device *dev, unsigned n)
{
        container_of(dev, struct toy, dev)->notified[n]++;
}

static void toy_config_written(struct virtio_device *dev, unsigned off, unsigned size)
{
        container_of(dev, struct toy, dev)->config_writes++;
}

static const struct virtio_ops toy_ops = { .start = toy_start, .stop = toy_stop, .notify = toy_notify, .config_written = toy_config_written };

static void make_toy(void)
{
        struct virtio_info info = { .id = VIRTIO_ID_RNG, .class = 0xff0000, .features = FEATURE, .n_queues = 2, .queue_size = 256, .config_size = 8 };

        toy = (struct toy){ .dev = { .ops = &toy_ops, .name = "toy", .config = { 1, 2, 3, 4, 5, 6, 7, 8 }, .config_writable = { 0, 0x0f } } };
        CHECK_EQ(virtio_device_init(&toy.dev, &g.env, SLOT, &info), 0);
        guest_probe(&g, SLOT, true);
}

/* A running device with queue 0 empty. */
static void start_toy(uint64_t features)
{
        guest_negotiate(&g, features);
        guest_queue_init(&g, &q, 0);
        guest_driver_ok(&g);
        CHECK_EQ(guest_status(&g), 15);
        CHECK(toy.dev.running);
}

static struct virtio_queue *queue(void)
{
        struct virtio_queue *vq = virtio_device_queue(&toy.dev, 0);

        CHECK(vq);
        return vq;
}

static void test_config_space(void)
{
        unsigned cap = guest_config_read(&g, PCI_CAPABILITIES, 1);

        CHECK_EQ(guest_config_read(&g, 0, 4), 0x10441af4);
        CHECK_EQ(guest_config_read(&g, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES, PCI_STATUS_CAPABILITIES);
        CHECK_EQ(guest_config_read(&g, cap, 1), 0x11);
        CHECK_EQ(guest_config_read(&g, cap + 2, 2), 0x8002);
        CHECK_EQ(guest_features(&g), ALL | VIRTIO_F_RING_EVENT_IDX);
        CHECK_EQ(guest_mmio_read(&g, g.common + 0x12, 2), 2);
        CHECK_EQ(guest_mmio_read(&g, g.config, 4), 0x04030201);
        CHECK_EQ(guest_mmio_read(&g, g.config + 7, 1), 8);
        CHECK_EQ(guest_mmio_read(&g, g.config + 8, 1), 0);
        guest_mmio_write(&g, g.config, 4, 0xffffffff);
        CHECK_EQ(guest_mmio_read(&g, g.config, 4), 0x04030f01);
        CHECK_EQ(toy.config_writes, 1);
}

/* The window in configuration space onto the BAR. */
static void test_window(void)
{
        unsigned cap = guest_config_read(&g, PCI_CAPABILITIES, 1);

        while (guest_config_read(&g, cap, 1) != 9 || guest_config_read(&g, cap + 3, 1) != 5)
                cap = guest_config_read(&g, cap + 1, 1);
        guest_config_write(&g, cap + 4, 1, 4);
        guest_config_write(&g, cap + 8, 4, g.config - GUEST_BAR + 4);
        guest_config_write(&g, cap + 12, 4, 2);
        CHECK_EQ(guest_config_read(&g, cap + 16, 4), 0x0605);
        guest_config_write(&g, cap + 8, 4, g.common - GUEST_BAR + 0x16);
        guest_config_write(&g, cap + 16, 4, 1);
        CHECK_EQ(guest_mmio_read(&g, g.common + 0x16, 2), 1);
        /* Beyond the BAR, another BAR, odd sizes: nothing happens. */
        guest_config_write(&g, cap + 8, 4, 0xfffffffc);
        guest_config_write(&g, cap + 12, 4, 4);
        guest_config_read(&g, cap + 16, 4);
        guest_config_write(&g, cap + 16, 4, 1);
        guest_config_write(&g, cap + 12, 4, 3);
        guest_config_read(&g, cap + 16, 4);
        guest_config_write(&g, cap + 4, 1, 0);
}

static void test_negotiation(void)
{
        guest_mmio_write(&g, g.common + 0x14, 1, 0);
        guest_mmio_write(&g, g.common + 8, 4, 0);
        guest_mmio_write(&g, g.common + 12, 4, 1); /* not offered */
        guest_mmio_write(&g, g.common + 0x14, 1, 11);
        CHECK_EQ(guest_status(&g), 3);
        guest_mmio_write(&g, g.common + 12, 4, 0); /* without VERSION_1 */
        guest_mmio_write(&g, g.common + 0x14, 1, 11);
        CHECK_EQ(guest_status(&g), 3);
        guest_mmio_write(&g, g.common + 0x14, 1, 15);
        CHECK_EQ(guest_status(&g), 0x47);
        CHECK_EQ(toy.started, 0);

        start_toy(ALL);
        CHECK_EQ(toy.started, 1);
        CHECK_EQ(toy.notified[0], 1);
        CHECK_EQ(toy.notified[1], 0);
        CHECK_EQ(toy.dev.features, ALL);
        CHECK(!virtio_device_queue(&toy.dev, 1));
        guest_kick(&g, &q);
        CHECK_EQ(toy.notified[0], 2);
        guest_mmio_write(&g, g.notify + 4, 2, 1);
        guest_mmio_write(&g, g.notify + 400, 2, 100);
        CHECK_EQ(toy.notified[1], 0);
}

static void test_slow_stop(void)
{
        start_toy(ALL);
        toy.slow_stop = true;
        guest_mmio_write(&g, g.common + 0x14, 1, 0);
        CHECK_EQ(guest_status(&g), 15);
        CHECK(!toy.dev.running);
        guest_mmio_write(&g, g.common + 0x14, 1, 1);
        CHECK_EQ(guest_status(&g), 15);
        virtio_device_stopped(&toy.dev);
        CHECK_EQ(guest_status(&g), 0);
        toy.slow_stop = false;
}

static void test_chain(void)
{
        uint64_t out = guest_alloc(&g, 64), in = guest_alloc(&g, 64), in2 = guest_alloc(&g, 32);
        struct guest_piece pieces[] = { { out, 40 }, { in, 64, true }, { in2, 32, true } };
        struct virtio_chain *c;
        char text[100];
        unsigned head;
        uint32_t len;

        start_toy(ALL);
        CHECK(!virtio_queue_pop(queue()));
        memcpy(guest_ptr(&g, out), "what the device reads is forty bytes.", 38);
        guest_add(&g, &q, pieces, 3);
        CHECK(virtio_queue_has(queue()));
        c = virtio_queue_pop(queue());
        CHECK(c && c->n_out == 1 && c->n_in == 2 && c->out_len == 40 && c->in_len == 96);
        CHECK_EQ(c->in_gpa[1], in2);
        CHECK_EQ(virtio_chain_read(c, 5, text, sizeof(text)), 35);
        CHECK(memcmp(text, "the device", 10) == 0);
        CHECK_EQ(virtio_chain_write(c, 60, "abcdefgh", 8), 8);
        CHECK(memcmp(guest_ptr(&g, in + 60), "abcd", 4) == 0 && memcmp(guest_ptr(&g, in2), "efgh", 4) == 0);
        virtio_queue_unpop(queue(), c);
        c = virtio_queue_pop(queue());
        CHECK(c);
        virtio_chain_skip_in(c, 70);
        CHECK(c->n_in == 1 && c->in_len == 26 && virtio_chain_write(c, 0, "x", 1) == 1 && *guest_ptr(&g, in2 + 6) == 'x');
        virtio_chain_skip_out(c, 40);
        CHECK(c->n_out == 0 && c->out_len == 0);

        g.written = g.msis[1] = 0;
        virtio_queue_push(queue(), c, 71);
        CHECK_EQ(g.written, 71 + 2 + 8);
        virtio_queue_interrupt(queue());
        virtio_queue_interrupt(queue());
        CHECK_EQ(g.msis[1], 1);
        CHECK(guest_used(&g, &q, &head, &len) && head == 0 && len == 71);
        CHECK(!guest_used(&g, &q, &head, &len));
}

static void test_indirect(void)
{
        uint64_t table = guest_alloc(&g, 64), data = guest_alloc(&g, 256);
        struct virtio_chain *c;

        start_toy(ALL);
        guest_put_desc(&g, table, 0, data, 16, GUEST_DESC_NEXT, 2);
        guest_put_desc(&g, table, 2, data + 16, 32, GUEST_DESC_NEXT | GUEST_DESC_WRITE, 1);
        guest_put_desc(&g, table, 1, data + 64, 8, GUEST_DESC_WRITE, 0);
        guest_put_desc(&g, q.desc, 0, data + 128, 4, GUEST_DESC_NEXT, 1);
        guest_put_desc(&g, q.desc, 1, table, 48, GUEST_DESC_INDIRECT, 0);
        guest_make_available(&g, &q, 0);
        c = virtio_queue_pop(queue());
        CHECK(c && c->n_out == 2 && c->n_in == 2 && c->out_len == 20 && c->in_len == 40 && c->in_gpa[1] == data + 64);
        virtio_chain_drop(c);
}

/* Many at once, around the ring's end, with chains used in another order than they came. */
static void test_many(void)
{
        struct guest_piece piece = { guest_alloc(&g, 64), 64, true };
        struct virtio_chain *chains[GUEST_QUEUE_SIZE];
        size_t written[GUEST_QUEUE_SIZE];
        unsigned head;
        uint32_t len;

        start_toy(ALL);
        for (unsigned round = 0; round < 2000; round++) {
                unsigned n = 1 + round % GUEST_QUEUE_SIZE;

                for (unsigned i = 0; i < n; i++)
                        guest_add(&g, &q, &piece, 1);
                for (unsigned i = 0; i < n; i++) {
                        chains[n - 1 - i] = virtio_queue_pop(queue());
                        written[i] = i;
                        CHECK(chains[n - 1 - i]);
                }
                virtio_queue_push_many(queue(), chains, written, n);
                for (unsigned i = 0; i < n; i++)
                        CHECK(guest_used(&g, &q, &head, &len) && len == i);
        }
        CHECK_EQ(guest_status(&g), 15);
}

static void test_event_idx(void)
{
        struct guest_piece piece = { guest_alloc(&g, 64), 64, true };
        uint8_t *avail_event, *used_event;

        start_toy(ALL | VIRTIO_F_RING_EVENT_IDX);
        avail_event = guest_ptr(&g, q.used + 4 + q.size * 8);
        used_event = guest_ptr(&g, q.avail + 4 + q.size * 2);
        g.msis[1] = 0;
        for (unsigned i = 0; i < 3; i++)
                guest_add(&g, &q, &piece, 1);
        le16_store(used_event, 1);
        for (unsigned i = 0; i < 3; i++)
                virtio_queue_push(queue(), virtio_queue_pop(queue()), 0);
        CHECK_EQ(le16_load(avail_event), 0);
        CHECK(!virtio_queue_pop(queue()));
        CHECK_EQ(le16_load(avail_event), 3);
        virtio_queue_interrupt(queue());
        CHECK_EQ(g.msis[1], 1);
        guest_add(&g, &q, &piece, 1);
        virtio_queue_push(queue(), virtio_queue_pop(queue()), 0);
        virtio_queue_interrupt(queue());
        CHECK_EQ(g.msis[1], 1);
        virtio_queue_want_notify(queue(), false);
        CHECK(!virtio_queue_pop(queue()));
        CHECK_EQ(le16_load(avail_event), 3);
        guest_add(&g, &q, &piece, 1);
        CHECK(virtio_queue_want_notify(queue(), true));
        CHECK_EQ(le16_load(avail_event), 4);
}

static void test_flags(void)
{
        struct guest_piece piece = { guest_alloc(&g, 64), 64, true };

        start_toy(ALL);
        virtio_queue_want_notify(queue(), false);
        CHECK_EQ(le16_load(guest_ptr(&g, q.used)), 1);
        CHECK(!virtio_queue_want_notify(queue(), true));
        CHECK_EQ(le16_load(guest_ptr(&g, q.used)), 0);
        g.msis[1] = 0;
        le16_store(guest_ptr(&g, q.avail), 1);
        guest_add(&g, &q, &piece, 1);
        virtio_queue_push(queue(), virtio_queue_pop(queue()), 0);
        virtio_queue_interrupt(queue());
        CHECK_EQ(g.msis[1], 0);
        /* Masked: pending until unmasked. */
        le16_store(guest_ptr(&g, q.avail), 0);
        guest_mmio_write(&g, GUEST_MSIX + 16 + 12, 4, 1);
        guest_add(&g, &q, &piece, 1);
        virtio_queue_push(queue(), virtio_queue_pop(queue()), 0);
        virtio_queue_interrupt(queue());
        CHECK_EQ(g.msis[1], 0);
        CHECK_EQ(guest_mmio_read(&g, GUEST_MSIX + PCI_MSIX_PENDING, 4), 2);
        guest_mmio_write(&g, GUEST_MSIX + 16 + 12, 4, 0);
        CHECK_EQ(g.msis[1], 1);
        CHECK_EQ(guest_mmio_read(&g, GUEST_MSIX + PCI_MSIX_PENDING, 4), 0);
        /* A change of the configuration. */
        g.msis[0] = 0;
        virtio_config_changed(&toy.dev);
        CHECK_EQ(g.msis[0], 1);
}

static void test_intx(void)
{
        struct guest_piece piece = { guest_alloc(&g, 64), 64, true };
        unsigned gsi, cap = guest_config_read(&g, PCI_CAPABILITIES, 1);

        gsi = 16 + (SLOT & 7);
        guest_config_write(&g, cap + 2, 2, 0);
        start_toy(ALL);
        guest_add(&g, &q, &piece, 1);
        virtio_queue_push(queue(), virtio_queue_pop(queue()), 0);
        virtio_queue_interrupt(queue());
        CHECK_EQ(g.lines[gsi], 1);
        virtio_config_changed(&toy.dev);
        CHECK_EQ(guest_mmio_read(&g, g.isr, 1), 3);
        CHECK_EQ(g.lines[gsi], 0);
        CHECK_EQ(guest_mmio_read(&g, g.isr, 1), 0);
        guest_config_write(&g, cap + 2, 2, 0x8000);
}

/* What a guest may not do: each makes the device ask for reset, and after that it works again. */
enum { BAD_HEAD, BAD_NEXT, BAD_LOOP, BAD_EMPTY, BAD_ADDRESS, BAD_WRAP, BAD_ORDER, BAD_JUMP, BAD_TABLE, BAD_TABLE_LENGTH, BAD_NESTED, BAD_INDIRECT_NEXT, BAD_INDIRECT_LOOP,
        BAD_HELD, BAD_END };

static struct virtio_chain *held[GUEST_QUEUE_SIZE];

static void break_rule(unsigned rule)
{
        uint64_t data = guest_alloc(&g, 64), table = guest_alloc(&g, 64);

        guest_put_desc(&g, q.desc, 0, data, 16, 0, 0);
        guest_put_desc(&g, table, 0, data, 16, 0, 0);
        switch (rule) {
        case BAD_HEAD:
                guest_make_available(&g, &q, q.size);
                return;
        case BAD_NEXT:
                guest_put_desc(&g, q.desc, 0, data, 16, GUEST_DESC_NEXT, q.size);
                break;
        case BAD_LOOP:
                guest_put_desc(&g, q.desc, 0, data, 16, GUEST_DESC_NEXT, 1);
                guest_put_desc(&g, q.desc, 1, data, 16, GUEST_DESC_NEXT, 0);
                break;
        case BAD_EMPTY:
                guest_put_desc(&g, q.desc, 0, data, 0, 0, 0);
                break;
        case BAD_ADDRESS:
                guest_put_desc(&g, q.desc, 0, GUEST_RAM - 8, 16, 0, 0);
                break;
        case BAD_WRAP:
                guest_put_desc(&g, q.desc, 0, UINT64_MAX - 8, 16, 0, 0);
                break;
        case BAD_ORDER:
                guest_put_desc(&g, q.desc, 0, data, 16, GUEST_DESC_NEXT | GUEST_DESC_WRITE, 1);
                guest_put_desc(&g, q.desc, 1, data, 16, 0, 0);
                break;
        case BAD_JUMP:
                q.next = (uint16_t)(q.next + q.size);
                break;
        case BAD_TABLE:
                guest_put_desc(&g, q.desc, 0, GUEST_RAM, 16, GUEST_DESC_INDIRECT, 0);
                break;
        case BAD_TABLE_LENGTH:
                guest_put_desc(&g, q.desc, 0, table, 24, GUEST_DESC_INDIRECT, 0);
                break;
        case BAD_NESTED:
                guest_put_desc(&g, table, 0, table, 16, GUEST_DESC_INDIRECT, 0);
                guest_put_desc(&g, q.desc, 0, table, 16, GUEST_DESC_INDIRECT, 0);
                break;
        case BAD_INDIRECT_NEXT:
                guest_put_desc(&g, q.desc, 0, table, 16, GUEST_DESC_INDIRECT | GUEST_DESC_NEXT, 1);
                break;
        case BAD_INDIRECT_LOOP:
                guest_put_desc(&g, table, 0, data, 16, GUEST_DESC_NEXT, 0);
                guest_put_desc(&g, q.desc, 0, table, 16, GUEST_DESC_INDIRECT, 0);
                break;
        case BAD_HELD:
                for (unsigned i = 0; i < q.size; i++) {
                        guest_make_available(&g, &q, 0);
                        held[i] = virtio_queue_pop(queue());
                        CHECK(held[i]);
                }
                break;
        }
        guest_make_available(&g, &q, 0);
}

static void test_broken_rules(void)
{
        for (unsigned rule = 0; rule < BAD_END; rule++) {
                struct virtio_queue *vq;

                start_toy(ALL);
                vq = queue();
                g.msis[0] = 0;
                break_rule(rule);
                CHECK(!virtio_queue_pop(vq));
                CHECK_EQ(guest_status(&g), 0x4f);
                CHECK(!toy.dev.running && !virtio_device_queue(&toy.dev, 0));
                CHECK_EQ(g.msis[0], 1);
        }
        for (unsigned i = 0; i < GUEST_QUEUE_SIZE; i++)
                virtio_chain_drop(held[i]);
}

static void test_bad_rings(void)
{
        static const struct {
                unsigned off;
                uint64_t gpa;
        } bad[] = {
                { 0x20, GUEST_HEAP + 8 }, { 0x20, GUEST_RAM }, { 0x28, GUEST_HEAP + 1 }, { 0x28, GUEST_RAM - 4 }, { 0x30, GUEST_HEAP + 2 }, { 0x30, UINT64_MAX - 3 },
        };

        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
                guest_negotiate(&g, ALL);
                for (unsigned off = 0x20; off < 0x38; off += 8)
                        guest_set_address(&g, off, GUEST_HEAP);
                guest_set_address(&g, bad[i].off, bad[i].gpa);
                guest_mmio_write(&g, g.common + 0x1c, 2, 1);
                CHECK_EQ(guest_status(&g), 0x4b);
                CHECK_EQ(guest_mmio_read(&g, g.common + 0x1c, 2), 0);
        }
        guest_negotiate(&g, ALL);
        guest_mmio_write(&g, g.common + 0x18, 2, 48);
        guest_mmio_write(&g, g.common + 0x1c, 2, 1);
        CHECK_EQ(guest_status(&g), 0x4b);
}

static void test_machine_reset(void)
{
        start_toy(ALL);
        CHECK(virtio_device_reset(&toy.dev));
        CHECK(!toy.dev.running);
        CHECK_EQ(guest_config_read(&g, PCI_COMMAND, 2), 0);
        CHECK_EQ(guest_mmio_read(&g, g.common + 0x14, 1), 0xff);
        guest_probe(&g, SLOT, true);
        CHECK_EQ(guest_status(&g), 0);
}

int main(void)
{
        log_set_level(LOG_LEVEL_ERROR);
        guest_init(&g);
        make_toy();
        test_config_space();
        test_window();
        test_negotiation();
        test_slow_stop();
        test_chain();
        test_indirect();
        test_many();
        test_event_idx();
        test_flags();
        test_intx();
        test_machine_reset();
        test_bad_rings();
        test_broken_rules();
        virtio_device_finish(&toy.dev);
        CHECK_EQ(guest_config_read(&g, 0, 4), 0xffffffff);
        guest_finish(&g);
        return 0;
}
