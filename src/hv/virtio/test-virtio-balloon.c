/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/virtio/test-guest.h"

#include "base/macros.h"
#include "hv/virtio/devices.h"

#define SLOT 4
#define F_STATS (1ull << 1)
#define F_OOM (1ull << 2)
#define F_REPORTING (1ull << 5)
#define PAGE 4096u
#define CONFIG_TARGET 0
#define CONFIG_ACTUAL 4

struct balloon_test {
        struct guest g;
        struct plug *plug;
        struct guest_queue inflate, deflate, stats, report;
};

static void begin(struct balloon_test *t, uint64_t features)
{
        struct props props = { 0 };
        char *error = NULL;

        memset(t, 0, sizeof(*t));
        guest_init(&t->g);
        CHECK(props_add_bool(&props, "deflate-on-oom", true) == 0);
        CHECK(props_add_bool(&props, "free-page-reporting", true) == 0);
        CHECK(props_add_number(&props, "target", GUEST_RAM - 3 * PAGE) == 0);
        CHECK_EQ(virtio_balloon_driver.new(&t->g.env, "balloon0", SLOT, &props, &t->plug, &error), 0);
        CHECK(!props_left(&props));
        props_finish(&props);
        guest_probe(&t->g, SLOT, true);
        CHECK_EQ(guest_features(&t->g) & 0xffffff, F_STATS | F_OOM | F_REPORTING);
        guest_negotiate(&t->g, VIRTIO_F_VERSION_1 | features);
        guest_queue_init(&t->g, &t->inflate, 0);
        guest_queue_init(&t->g, &t->deflate, 1);
        if (features & F_STATS)
                guest_queue_init(&t->g, &t->stats, 2);
        if (features & F_REPORTING)
                guest_queue_init(&t->g, &t->report, features & F_STATS ? 3 : 2);
        guest_driver_ok(&t->g);
}

static void end(struct balloon_test *t)
{
        t->plug->ops->free(t->plug);
        guest_finish(&t->g);
}

static unsigned used(struct balloon_test *t, struct guest_queue *q)
{
        unsigned n = 0, head;
        uint32_t len;

        while (guest_used(&t->g, q, &head, &len))
                n++;
        return n;
}

static int set(struct balloon_test *t, const char *name, uint64_t value)
{
        struct props props = { 0 };
        char *error = NULL;
        int r;

        CHECK(props_add_number(&props, name, value) == 0);
        r = t->plug->ops->set(t->plug, &props, &error);
        CHECK((r < 0) == (error != NULL));
        free(error);
        props_finish(&props);
        return r;
}

static void find_stat(void *opaque, const char *name, uint64_t value)
{
        struct prop_entry *e = opaque;

        if (strcmp(name, e->name) == 0)
                e->value = value;
}

static uint64_t stat(struct balloon_test *t, const char *name)
{
        struct prop_entry e = { .name = (char *)name, .value = UINT64_MAX };

        t->plug->ops->stats(t->plug, find_stat, &e);
        return e.value;
}

static void give(struct balloon_test *t, struct guest_queue *q, const uint32_t *pages, unsigned n)
{
        uint64_t gpa = guest_alloc(&t->g, n * 4);

        memcpy(guest_ptr(&t->g, gpa), pages, n * 4);
        guest_add(&t->g, q, &(struct guest_piece){ gpa, n * 4, false }, 1);
        guest_kick(&t->g, q);
}

static void test_inflate(void)
{
        static const uint32_t pages[] = { 0x802, 0x800, 0x805, 0x801 };
        struct balloon_test t;
        uint64_t written;

        begin(&t, 0);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + CONFIG_TARGET, 4), 3);
        memset(guest_ptr(&t.g, 0x7ff000), 0x77, 8 * PAGE);
        written = t.g.written;
        give(&t, &t.inflate, pages, ARRAY_SIZE(pages));
        CHECK_EQ(used(&t, &t.inflate), 1);
        CHECK(t.g.written - written >= 4 * PAGE);
        for (unsigned i = 0; i < 8; i++) {
                bool gone = (i >= 1 && i <= 3) || i == 6;

                CHECK_EQ(*guest_ptr(&t.g, 0x7ff000 + i * PAGE), gone ? 0 : 0x77);
                CHECK_EQ(*guest_ptr(&t.g, 0x7ff000 + i * PAGE + PAGE - 1), gone ? 0 : 0x77);
        }
        guest_mmio_write(&t.g, t.g.config + CONFIG_ACTUAL, 4, 4);
        CHECK_EQ(t.g.n_events, 1);
        CHECK_EQ(t.g.event, PLUG_EVENT_BALLOON);
        CHECK_EQ(t.g.event_value, GUEST_RAM - 4 * PAGE);
        CHECK_EQ(stat(&t, "actual"), GUEST_RAM - 4 * PAGE);
        /* Not every change is worth an event, but the last one is told. */
        guest_mmio_write(&t.g, t.g.config + CONFIG_ACTUAL, 4, 3);
        guest_mmio_write(&t.g, t.g.config + CONFIG_ACTUAL, 4, 2);
        CHECK_EQ(t.g.n_events, 1);
        CHECK(guest_run(&t.g, 3000));
        CHECK_EQ(t.g.n_events, 2);
        CHECK_EQ(t.g.event_value, GUEST_RAM - 2 * PAGE);
        give(&t, &t.deflate, pages, 2);
        CHECK_EQ(used(&t, &t.deflate), 1);
        /* The guest cannot change the target. */
        guest_mmio_write(&t.g, t.g.config + CONFIG_TARGET, 4, 9);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + CONFIG_TARGET, 4), 3);
        end(&t);
}

static void test_many_pages(void)
{
        static uint32_t pages[1000];
        struct balloon_test t;

        begin(&t, 0);
        memset(guest_ptr(&t.g, 0x800000), 0x77, 1001 * PAGE);
        for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
                pages[i] = 0x800 + (i * 7) % 1000;
        give(&t, &t.inflate, pages, ARRAY_SIZE(pages));
        CHECK_EQ(used(&t, &t.inflate), 1);
        for (unsigned i = 0; i <= 1000; i++)
                CHECK_EQ(*guest_ptr(&t.g, 0x800000 + i * PAGE), i < 1000 ? 0 : 0x77);
        end(&t);
}

static void test_bad_pages(void)
{
        static const uint32_t pages[] = { 0x800, 0xffffffff };
        struct balloon_test t;

        begin(&t, 0);
        give(&t, &t.inflate, pages, 2);
        CHECK_EQ(guest_status(&t.g), 15 | 0x40);
        end(&t);
}

static void test_report(uint64_t features)
{
        struct balloon_test t;

        begin(&t, features | F_REPORTING);
        memset(guest_ptr(&t.g, 0x800000), 0x77, 16 * PAGE);
        guest_add(&t.g, &t.report, (struct guest_piece[]){ { 0x800000, 4 * PAGE, true }, { 0x808800, 2 * PAGE, true } }, 2);
        guest_kick(&t.g, &t.report);
        CHECK_EQ(used(&t, &t.report), 1);
        CHECK_EQ(*guest_ptr(&t.g, 0x800000), 0);
        CHECK_EQ(*guest_ptr(&t.g, 0x803fff), 0);
        CHECK_EQ(*guest_ptr(&t.g, 0x804000), 0x77);
        /* Whole pages only. */
        CHECK_EQ(*guest_ptr(&t.g, 0x808fff), 0x77);
        CHECK_EQ(*guest_ptr(&t.g, 0x809000), 0);
        CHECK_EQ(*guest_ptr(&t.g, 0x80a000), 0x77);
        end(&t);
}

static void fill_stats(struct balloon_test *t, uint64_t gpa, uint64_t unused)
{
        uint8_t *p = guest_ptr(&t->g, gpa);

        le16_store(p, 4);
        le64_store(p + 2, unused);
        le16_store(p + 10, 2);
        le64_store(p + 12, 17);
        le16_store(p + 20, 999);
        guest_add(&t->g, &t->stats, &(struct guest_piece){ gpa, 30, false }, 1);
        guest_kick(&t->g, &t->stats);
}

static void test_stats(void)
{
        struct balloon_test t;
        uint64_t gpa;

        begin(&t, F_STATS);
        CHECK_EQ(stat(&t, "free-memory"), UINT64_MAX);
        gpa = guest_alloc(&t.g, 30);
        fill_stats(&t, gpa, 123456789);
        CHECK_EQ(used(&t, &t.stats), 0);
        CHECK_EQ(stat(&t, "free-memory"), 123456789);
        CHECK_EQ(stat(&t, "major-faults"), 17);
        CHECK_EQ(stat(&t, "swap-in"), UINT64_MAX);
        CHECK(stat(&t, "last-update") != UINT64_MAX);
        CHECK_EQ(set(&t, "stats-interval", 1), 0);
        CHECK(guest_run(&t.g, 3000));
        CHECK_EQ(used(&t, &t.stats), 1);
        fill_stats(&t, gpa, 5);
        CHECK_EQ(stat(&t, "free-memory"), 5);
        CHECK_EQ(set(&t, "stats-interval", 0), 0);
        t.plug->ops->reset(t.plug);
        CHECK_EQ(stat(&t, "free-memory"), UINT64_MAX);
        end(&t);
}

static void test_set(void)
{
        struct balloon_test t;

        begin(&t, 0);
        CHECK_EQ(set(&t, "target", GUEST_RAM / 2), 0);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + CONFIG_TARGET, 4), GUEST_RAM / 2 / PAGE);
        CHECK_EQ(t.g.msis[0], 1);
        CHECK(set(&t, "target", GUEST_RAM + 1) < 0);
        CHECK(set(&t, "stats-interval", 1000000) < 0);
        CHECK(set(&t, "deflate-on-oom", 1) < 0);
        CHECK_EQ(guest_mmio_read(&t.g, t.g.config + CONFIG_TARGET, 4), GUEST_RAM / 2 / PAGE);
        end(&t);
}

int main(void)
{
        test_inflate();
        test_many_pages();
        test_bad_pages();
        test_report(0);
        test_report(F_STATS);
        test_stats();
        test_set();
        return 0;
}
