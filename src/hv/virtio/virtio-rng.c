/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/virtio/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/virtio/virtio.h"

#define QUEUE_SIZE 8
#define CLASS_OTHER 0xff0000 /* a class that no other driver takes */
/* Bytes for one buffer: the device lock is held meanwhile. */
#define BYTES_MAX 65536u
#define NS_PER_MS 1000000ull
#define RETRY_NS (100 * NS_PER_MS)
#define PERIOD_MS_MAX 3600000u

struct rng {
        struct plug plug;
        struct virtio_device dev;
        const struct plug_env *env;
        int fd;             /* -1: getrandom */
        bool dry;           /* the source has ended or failed */
        struct watch watch; /* while the source has nothing */
        struct timer retry; /* the same for sources that cannot be polled */
        struct timer timer; /* the end of the period */
        uint64_t rate;      /* bytes per period; 0: no limit */
        unsigned period;    /* ms */
        uint64_t left;      /* bytes that this period may still have */
};

static void serve(struct rng *rng);

/* --- The source ------------------------------------------------------------------------------------------------------------------------- */

static ssize_t get_bytes(struct rng *rng, void *buf, size_t len)
{
        ssize_t n = rng->fd < 0 ? getrandom(buf, len, GRND_NONBLOCK) : read(rng->fd, buf, len);

        return n < 0 ? -errno : n;
}

static void on_source(void *opaque, uint32_t events)
{
        struct rng *rng = opaque;

        watch_remove(&rng->watch);
        serve(rng);
}

static void on_retry(void *opaque)
{
        serve(opaque);
}

static void on_period(void *opaque)
{
        struct rng *rng = opaque;

        rng->left = rng->rate;
        serve(rng);
}

/* serve is called again when there may be bytes; files that cannot be polled are asked again after a while. */
static void wait_for_source(struct rng *rng)
{
        if (rng->watch.loop)
                return;
        if (rng->fd >= 0 && watch_add(rng->env->watches, &rng->watch, rng->fd, EPOLLIN, on_source, rng) == 0)
                return;
        timer_arm(&rng->retry, timer_now(rng->env->timers) + RETRY_NS);
}

/* --- The guest's buffers ---------------------------------------------------------------------------------------------------------------- */

/* Bytes into one buffer: how many, or -EAGAIN, other errors, 0: the source has ended. */
static ssize_t fill(struct rng *rng, struct virtio_chain *chain)
{
        size_t want = chain->in_len < BYTES_MAX ? chain->in_len : BYTES_MAX, done = 0;

        if (rng->rate && want > rng->left)
                want = (size_t)rng->left;
        for (unsigned i = 0; i < chain->n_in && done < want; i++) {
                size_t part = chain->in[i].iov_len < want - done ? chain->in[i].iov_len : want - done;
                ssize_t n = get_bytes(rng, chain->in[i].iov_base, part);

                if (n <= 0)
                        return done ? (ssize_t)done : n;
                done += (size_t)n;
                if ((size_t)n < part)
                        break;
        }
        return (ssize_t)done;
}

static void take(struct rng *rng, size_t n)
{
        if (!rng->rate)
                return;
        rng->left -= n;
        if (!rng->timer.heap_pos)
                timer_arm(&rng->timer, timer_now(rng->env->timers) + rng->period * NS_PER_MS);
}

static void source_failed(struct rng *rng, ssize_t n)
{
        rng->dry = true;
        log_warning("device %s: no more random bytes: %s", rng->dev.name, n ? strerror((int)-n) : "the source has ended");
}

/* False: nothing more can be done now. */
static bool serve_one(struct rng *rng, struct virtio_queue *q)
{
        struct virtio_chain *chain = virtio_queue_pop(q);
        ssize_t n;

        if (!chain)
                return false;
        if (chain->n_in == 0) {
                virtio_device_broken(&rng->dev, "a buffer that cannot be written");
                virtio_chain_drop(chain);
                return false;
        }
        n = fill(rng, chain);
        if (n > 0) {
                virtio_queue_push(q, chain, (size_t)n);
                take(rng, (size_t)n);
                return true;
        }
        virtio_queue_unpop(q, chain);
        if (n == -EAGAIN || n == -EINTR)
                wait_for_source(rng);
        else
                source_failed(rng, n);
        return false;
}

static void serve(struct rng *rng)
{
        struct virtio_queue *q = virtio_device_queue(&rng->dev, 0);

        if (!q || rng->dry)
                return;
        while ((!rng->rate || rng->left) && serve_one(rng, q))
                ;
        virtio_queue_interrupt(q);
}

static void rng_notify(struct virtio_device *dev, unsigned n)
{
        serve(container_of(dev, struct rng, dev));
}

static bool rng_stop(struct virtio_device *dev)
{
        struct rng *rng = container_of(dev, struct rng, dev);

        watch_remove(&rng->watch);
        timer_cancel(&rng->retry);
        return true;
}

static const struct virtio_ops virtio_ops = { .stop = rng_stop, .notify = rng_notify };

/* --- The plug --------------------------------------------------------------------------------------------------------------------------- */

static void rng_reset(struct plug *plug)
{
        virtio_device_reset(&container_of(plug, struct rng, plug)->dev);
}

static void rng_free(struct plug *plug)
{
        struct rng *rng = container_of(plug, struct rng, plug);

        watch_remove(&rng->watch);
        timer_cancel(&rng->retry);
        timer_cancel(&rng->timer);
        virtio_device_finish(&rng->dev);
        fd_close(rng->fd);
        free(rng);
}

/* All or nothing. */
static int take_rate(struct rng *rng, struct props *props, char **ret_error)
{
        uint64_t rate = rng->rate;
        unsigned period = rng->period;

        if (props_take_number(props, "rate-bytes", UINT64_MAX, &rate) == -EINVAL)
                return plug_fail(ret_error, -EINVAL, "property 'rate-bytes' is a number of bytes");
        if (props_take_unsigned(props, "rate-period", PERIOD_MS_MAX, &period) == -EINVAL || period == 0)
                return plug_fail(ret_error, -EINVAL, "property 'rate-period' is a number of milliseconds from 1 to %u", PERIOD_MS_MAX);
        rng->rate = rng->left = rate;
        rng->period = period;
        return 0;
}

static int rng_set(struct plug *plug, struct props *props, char **ret_error)
{
        struct rng *rng = container_of(plug, struct rng, plug);
        int r = take_rate(rng, props, ret_error);

        if (r < 0)
                return r;
        timer_cancel(&rng->timer); /* a new period, of the new length */
        serve(rng);
        return 0;
}

static const struct plug_ops plug_ops = { .driver = "virtio-rng", .reset = rng_reset, .set = rng_set, .free = rng_free };

static int take_props(struct rng *rng, struct props *props, char **ret_error)
{
        int r = props_take_fd(props, "fd", &rng->fd);

        if (r == -EINVAL)
                return plug_fail(ret_error, r, "property 'fd' is one descriptor");
        /* The open file is the device's own; a source that has nothing must not hold everything up. */
        if (r == 0 && (r = fd_set_nonblock(rng->fd, true)) < 0)
                return plug_fail(ret_error, r, "property 'fd': %s", strerror(-r));
        return take_rate(rng, props, ret_error);
}

static int rng_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        static const struct virtio_info info = { .id = VIRTIO_ID_RNG, .class = CLASS_OTHER, .n_queues = 1, .queue_size = QUEUE_SIZE };
        struct rng *rng = calloc(1, sizeof(*rng));
        int r;

        if (!rng)
                return plug_fail(ret_error, -ENOMEM, "out of memory");
        rng->plug = (struct plug){ .ops = &plug_ops, .pci_slot = slot };
        rng->dev = (struct virtio_device){ .ops = &virtio_ops, .name = id };
        rng->env = env;
        rng->fd = -1;
        rng->period = 1000;
        timer_init(&rng->retry, env->timers, on_retry, rng);
        timer_init(&rng->timer, env->timers, on_period, rng);
        r = take_props(rng, props, ret_error);
        if (r == 0 && (r = virtio_device_init(&rng->dev, env, slot, &info)) < 0)
                plug_fail(ret_error, r, "cannot be made: %s", strerror(-r));
        if (r < 0) {
                rng_free(&rng->plug);
                return r;
        }
        *ret = &rng->plug;
        return 0;
}

const struct plug_driver virtio_rng_driver = { .name = "virtio-rng", .new = rng_new, .pci = true };
