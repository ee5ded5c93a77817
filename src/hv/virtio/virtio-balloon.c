/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory balloon (VIRTIO 1.1, 5.5; free page reporting is of version 1.2). The guest gives pages back, which the host then has; they read as zeros when it takes them again.
 *
 * Properties: "deflate-on-oom" b, "free-page-reporting" b; and, also changed later, "target" t (bytes that the guest shall have, at first all) and "stats-interval" u
 * (seconds, 0: statistics of the guest's start only).
 * Figures: "actual" (bytes that the guest has), "last-update" (seconds since the epoch), and those of the guest's that it has told: bytes, but for the two of page faults and the
 * two of huge pages, which are counts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/virtio/devices.h"
#include "hv/virtio/virtio.h"

#define F_STATS_VQ 1
#define F_DEFLATE_ON_OOM 2
#define F_REPORTING 5
#define BIT(n) (1ull << (n))

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, N_QUEUES = 5 };

#define CONFIG_NUM_PAGES 0
#define CONFIG_ACTUAL 4
#define CONFIG_SIZE 8

#define CLASS_OTHER 0xff0000
#define QUEUE_SIZE 128
#define PAGE_SHIFT 12 /* of page numbers, whatever the guest's pages are */
#define PAGES_AT_ONCE 256u
#define NS_PER_SECOND 1000000000ull
#define INTERVAL_MAX 86400
/* The guest's figure changes with every megabyte; whoever listens hears of it this often. */
#define EVENT_NS NS_PER_SECOND

#define STAT_SIZE 10 /* tag in 2 bytes, value in 8 */
#define STATS_AT_ONCE 32u

static const char *const stat_names[] = {
        "swap-in", "swap-out", "major-faults", "minor-faults", "free-memory", "total-memory", "available-memory", "disk-caches", "hugetlb-allocations",
        "hugetlb-failures",
};
#define N_STATS ARRAY_SIZE(stat_names)

struct balloon {
        struct plug plug;
        struct virtio_device dev;
        struct plug_env env;
        char *id;
        unsigned interval;           /* s */
        struct timer stats_timer;
        struct virtio_chain *stats;  /* the guest's buffer, that it wants back to fill it anew */
        uint64_t values[N_STATS];
        bool known[N_STATS];
        uint64_t last_update;        /* s since the epoch */
        struct timer event_timer;    /* armed: there was an event less than EVENT_NS ago */
        uint64_t told;               /* the last event's value */
};

static struct balloon *of(struct virtio_device *dev)
{
        return container_of(dev, struct balloon, dev);
}

/* --- How much the guest has ---------------------------------------------------------------------------------------------------------- */

static uint64_t actual(const struct balloon *b)
{
        uint64_t given = (uint64_t)le32_load(b->dev.config + CONFIG_ACTUAL) << PAGE_SHIFT;

        return given < b->env.memory->ram_size ? b->env.memory->ram_size - given : 0;
}

static void tell(struct balloon *b)
{
        uint64_t value = actual(b);

        if (b->event_timer.heap_pos || value == b->told)
                return;
        b->told = value;
        b->env.event(b->env.opaque, &b->plug, PLUG_EVENT_BALLOON, value, 0, NULL);
        timer_arm(&b->event_timer, timer_now(b->env.timers) + EVENT_NS);
}

static void event_again(void *opaque)
{
        tell(opaque);
}

static int set_target(struct balloon *b, uint64_t target)
{
        uint64_t pages = (b->env.memory->ram_size - target) >> PAGE_SHIFT;

        if (target > b->env.memory->ram_size || pages > UINT32_MAX)
                return -EINVAL;
        le32_store(b->dev.config + CONFIG_NUM_PAGES, (uint32_t)pages);
        virtio_config_changed(&b->dev);
        return 0;
}

/* --- Pages --------------------------------------------------------------------------------------------------------------------------- */

static int compare_pages(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return x < y ? -1 : x > y;
}

static void discard(struct balloon *b, uint64_t gpa, uint64_t len)
{
        int r = guest_memory_discard(b->env.memory, gpa, len);

        if (r == -EFAULT)
                virtio_device_broken(&b->dev, "a page that is not RAM");
        else if (r < 0)
                log_debug("%s: %s", b->id, strerror(-r));
}

/* Neighbours go together. */
static void discard_pages(struct balloon *b, uint32_t *pages, unsigned n)
{
        qsort(pages, n, sizeof(*pages), compare_pages);
        for (unsigned i = 0, end; i < n && b->dev.running; i = end) {
                for (end = i + 1; end < n && pages[end] - pages[end - 1] <= 1; end++) {
                }
                discard(b, (uint64_t)pages[i] << PAGE_SHIFT, ((uint64_t)pages[end - 1] - pages[i] + 1) << PAGE_SHIFT);
        }
}

static void inflate_chain(struct balloon *b, const struct virtio_chain *chain)
{
        uint32_t pages[PAGES_AT_ONCE];
        size_t off = 0, got;

        do {
                got = virtio_chain_read(chain, off, pages, sizeof(pages));
                for (unsigned i = 0; i < got / 4; i++)
                        pages[i] = le32toh(pages[i]);
                discard_pages(b, pages, (unsigned)(got / 4));
                off += got;
        } while (got == sizeof(pages) && b->dev.running);
}

static void report_chain(struct balloon *b, const struct virtio_chain *chain)
{
        for (unsigned i = 0; i < chain->n_in && b->dev.running; i++) {
                uint64_t start = ALIGN_UP(chain->in_gpa[i], 1ull << PAGE_SHIFT);
                uint64_t end = ALIGN_DOWN(chain->in_gpa[i] + chain->in_size[i], 1ull << PAGE_SHIFT);

                if (start < end)
                        discard(b, start, end - start);
        }
}

/* Deflating needs nothing: a page is there again when it is touched. */
static void deflate_chain(struct balloon *b, const struct virtio_chain *chain)
{
}

static void drain(struct balloon *b, struct virtio_queue *q, void (*fn)(struct balloon *b, const struct virtio_chain *chain))
{
        struct virtio_chain *chain;

        while ((chain = virtio_queue_pop(q))) {
                fn(b, chain);
                virtio_queue_push(q, chain, 0);
        }
        virtio_queue_interrupt(q);
}

/* --- Statistics ---------------------------------------------------------------------------------------------------------------------- */

static void read_stats(struct balloon *b, const struct virtio_chain *chain)
{
        uint8_t raw[STAT_SIZE * STATS_AT_ONCE];
        size_t n = virtio_chain_read(chain, 0, raw, sizeof(raw)) / STAT_SIZE;

        for (size_t i = 0; i < n; i++) {
                unsigned tag = le16_load(raw + i * STAT_SIZE);

                if (tag >= N_STATS)
                        continue;
                b->values[tag] = le64_load(raw + i * STAT_SIZE + 2);
                b->known[tag] = true;
        }
        b->last_update = (uint64_t)time(NULL);
}

/* The guest fills its buffer and hands it in; it gets it back when it shall do so again. There is one at a time, but only an empty queue asks for the next notification. */
static void stats_notify(struct balloon *b, struct virtio_queue *q)
{
        struct virtio_chain *chain;

        while ((chain = virtio_queue_pop(q))) {
                read_stats(b, chain);
                if (b->stats) {
                        virtio_queue_push(q, b->stats, 0);
                        virtio_queue_interrupt(q);
                }
                b->stats = chain;
        }
}

static void arm_stats(struct balloon *b)
{
        if (b->interval)
                timer_arm(&b->stats_timer, timer_now(b->env.timers) + b->interval * NS_PER_SECOND);
        else
                timer_cancel(&b->stats_timer);
}

static void stats_due(void *opaque)
{
        struct balloon *b = opaque;
        struct virtio_queue *q = virtio_device_queue(&b->dev, QUEUE_STATS);

        arm_stats(b);
        if (!q || !b->stats)
                return;
        virtio_queue_push(q, b->stats, 0);
        b->stats = NULL;
        virtio_queue_interrupt(q);
}

/* --- The guest ----------------------------------------------------------------------------------------------------------------------- */

/* The specification numbers the queues as if all existed; drivers, and other devices, leave out those that were not negotiated. Free pages come from the last one. */
static void balloon_notify(struct virtio_device *dev, unsigned n)
{
        struct balloon *b = of(dev);
        struct virtio_queue *q = virtio_device_queue(dev, n);

        if (!q)
                return;
        if (n == QUEUE_INFLATE)
                drain(b, q, inflate_chain);
        else if (n == QUEUE_DEFLATE)
                drain(b, q, deflate_chain);
        else if (n == QUEUE_STATS && (dev->features & BIT(F_STATS_VQ)))
                stats_notify(b, q);
        else if (dev->features & BIT(F_REPORTING))
                drain(b, q, report_chain);
}

static bool balloon_stop(struct virtio_device *dev)
{
        struct balloon *b = of(dev);

        if (b->stats)
                virtio_chain_drop(b->stats);
        b->stats = NULL;
        memset(b->known, 0, sizeof(b->known));
        /* A guest that starts anew has all its memory. */
        le32_store(dev->config + CONFIG_ACTUAL, 0);
        tell(b);
        return true;
}

static void balloon_config_written(struct virtio_device *dev, unsigned off, unsigned size)
{
        tell(of(dev));
}

static const struct virtio_ops balloon_ops = {
        .stop = balloon_stop,
        .notify = balloon_notify,
        .config_written = balloon_config_written,
};

/* --- The host ------------------------------------------------------------------------------------------------------------------------ */

static int take_changes(struct balloon *b, struct props *props, uint64_t *target, unsigned *interval, char **ret_error)
{
        uint64_t all = b->env.memory->ram_size;

        if (props_take_number(props, "target", all, target) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"target\" of %s is not a number of bytes up to the guest's memory, %llu", b->id, (unsigned long long)all);
        if (props_take_unsigned(props, "stats-interval", INTERVAL_MAX, interval) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"stats-interval\" of %s is not from 0 to %u seconds", b->id, INTERVAL_MAX);
        return 0;
}

static int balloon_set(struct plug *plug, struct props *props, char **ret_error)
{
        struct balloon *b = container_of(plug, struct balloon, plug);
        uint64_t target = b->env.memory->ram_size - ((uint64_t)le32_load(b->dev.config + CONFIG_NUM_PAGES) << PAGE_SHIFT);
        unsigned interval = b->interval;
        bool retarget = props_has(props, "target");
        int r = take_changes(b, props, &target, &interval, ret_error);

        if (r == 0 && props_left(props))
                r = plug_fail(ret_error, -EINVAL, "\"%s\" of %s cannot be changed", props_left(props), b->id);
        if (r == 0 && retarget && set_target(b, target) < 0)
                r = plug_fail(ret_error, -EINVAL, "\"target\" of %s is too small", b->id);
        if (r < 0)
                return r;
        b->interval = interval;
        arm_stats(b);
        return 0;
}

static void balloon_stats(struct plug *plug, plug_stat_fn fn, void *opaque)
{
        const struct balloon *b = container_of(plug, struct balloon, plug);
        bool any = false;

        fn(opaque, "actual", actual(b));
        for (unsigned i = 0; i < N_STATS; i++) {
                if (b->known[i])
                        fn(opaque, stat_names[i], b->values[i]);
                any |= b->known[i];
        }
        if (any)
                fn(opaque, "last-update", b->last_update);
}

static void balloon_reset(struct plug *plug)
{
        virtio_device_reset(&container_of(plug, struct balloon, plug)->dev);
}

static void balloon_free(struct plug *plug)
{
        struct balloon *b = container_of(plug, struct balloon, plug);

        if (b->stats)
                virtio_chain_drop(b->stats);
        timer_cancel(&b->stats_timer);
        timer_cancel(&b->event_timer);
        virtio_device_finish(&b->dev);
        free(b->id);
        free(b);
}

static const struct plug_ops balloon_plug_ops = {
        .driver = "virtio-balloon",
        .reset = balloon_reset,
        .set = balloon_set,
        .stats = balloon_stats,
        .free = balloon_free,
};

static int set_up(struct balloon *b, int slot, struct props *props, char **ret_error)
{
        struct virtio_info info = {
                .id = VIRTIO_ID_BALLOON,
                .class = CLASS_OTHER,
                .features = BIT(F_STATS_VQ),
                .n_queues = N_QUEUES,
                .queue_size = QUEUE_SIZE,
                .config_size = CONFIG_SIZE,
        };
        bool deflate_on_oom = false, reporting = false;
        uint64_t target = b->env.memory->ram_size;
        int r;

        if (props_take_bool(props, "deflate-on-oom", &deflate_on_oom) == -EINVAL || props_take_bool(props, "free-page-reporting", &reporting) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "\"deflate-on-oom\" and \"free-page-reporting\" of %s are booleans", b->id);
        r = take_changes(b, props, &target, &b->interval, ret_error);
        if (r == 0 && set_target(b, target) < 0)
                r = plug_fail(ret_error, -EINVAL, "\"target\" of %s is too small", b->id);
        if (r < 0)
                return r;
        info.features |= (deflate_on_oom ? BIT(F_DEFLATE_ON_OOM) : 0) | (reporting ? BIT(F_REPORTING) : 0);
        memset(b->dev.config_writable + CONFIG_ACTUAL, 0xff, 4);
        b->told = actual(b);
        r = virtio_device_init(&b->dev, &b->env, slot, &info);
        if (r < 0)
                return plug_fail(ret_error, r, "cannot make balloon %s: %s", b->id, strerror(-r));
        arm_stats(b);
        return 0;
}

static int balloon_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        struct balloon *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        *b = (struct balloon){ .plug = { .ops = &balloon_plug_ops, .pci_slot = slot }, .env = *env, .id = strdup(id) };
        b->dev = (struct virtio_device){ .ops = &balloon_ops, .name = b->id };
        timer_init(&b->stats_timer, env->timers, stats_due, b);
        timer_init(&b->event_timer, env->timers, event_again, b);
        r = b->id ? set_up(b, slot, props, ret_error) : -ENOMEM;
        if (r < 0) {
                balloon_free(&b->plug);
                return r;
        }
        *ret = &b->plug;
        return 0;
}

const struct plug_driver virtio_balloon_driver = { .name = "virtio-balloon", .new = balloon_new, .pci = true };
