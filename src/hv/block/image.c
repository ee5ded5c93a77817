/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image is made from its properties, changed, and asked what it is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hv/block/backend.h"
#include "hv/bus/plug.h"

static const struct block_backend *const backends[] = { &block_backend_raw, &block_backend_vhost_user };

/* --- Properties --- */

/* A string property of a fixed set: its index, or fallback if it is not given; negative errno. */
static int take_choice(struct props *props, const char *name, const char *const *values, int fallback, char **ret_error)
{
        const char *value;
        int r = props_take_string(props, name, &value);

        if (r == -ENOENT)
                return fallback;
        if (r < 0)
                return plug_fail(ret_error, r, "%s must be a string", name);
        for (int i = 0; values[i]; i++)
                if (strcmp(values[i], value) == 0)
                        return i;
        return plug_fail(ret_error, -EINVAL, "%s cannot be '%s'", name, value);
}

static int take_bool(struct props *props, const char *name, bool *ret, char **ret_error)
{
        int r = props_take_bool(props, name, ret);

        return r == 0 || r == -ENOENT ? 0 : plug_fail(ret_error, r, "%s must be true or false", name);
}

static int take_number(struct props *props, const char *name, uint64_t *ret, char **ret_error)
{
        int r = props_take_number(props, name, INT64_MAX, ret);

        return r == 0 || r == -ENOENT ? 0 : plug_fail(ret_error, r, "%s must be a number", name);
}

#define BLOCK_SIZE_MIN 512
#define BLOCK_SIZE_MAX 32768

static int take_block_size(struct props *props, const char *name, unsigned *ret, char **ret_error)
{
        int r = props_take_unsigned(props, name, BLOCK_SIZE_MAX, ret);

        if (r == -ENOENT || (r == 0 && *ret == 0))
                return 0;
        if (r < 0 || *ret < BLOCK_SIZE_MIN || (*ret & (*ret - 1)))
                return plug_fail(ret_error, -EINVAL, "%s must be a power of two from 512 to 32768", name);
        return 0;
}

static int take_iotune(struct block *b, struct props *props, char **ret_error)
{
        const struct prop_entry *entries;
        struct limits limits;
        size_t n;
        int r = props_take_table(props, "iotune", &entries, &n);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return plug_fail(ret_error, r, "iotune must be a table");
        r = limits_parse(&limits, entries, n, ret_error);
        if (r < 0)
                return r;
        limits.leaked = timer_now(b->env.timers);
        b->limits = limits;
        return 0;
}

static const char *const cache_modes[] = { "none", "writeback", "writethrough", "directsync", "unsafe", NULL };
static const char *const io_modes[] = { "native", "threads", "io_uring", NULL };
static const char *const detect_modes[] = { "off", "on", "unmap", NULL };
static const char *const actions[] = { "report", "stop", "ignore", "enospc", NULL };

static int take_cache(struct block *b, struct props *props, char **ret_error)
{
        int mode = take_choice(props, "cache", cache_modes, 1, ret_error);

        if (mode < 0)
                return mode;
        b->direct = mode == 0 || mode == 3;
        b->write_through = mode == 2 || mode == 3;
        b->unsafe = mode == 4;
        return 0;
}

static int take_policy(struct block *b, struct props *props, char **ret_error)
{
        int r = take_choice(props, "rerror", actions, BLOCK_REPORT, ret_error);

        if (r < 0)
                return r;
        b->rerror = (enum block_action)r;
        r = take_choice(props, "werror", actions, BLOCK_ENOSPC, ret_error);
        if (r < 0)
                return r;
        b->werror = (enum block_action)r;
        if (b->rerror == BLOCK_ENOSPC)
                return plug_fail(ret_error, -EINVAL, "rerror cannot be 'enospc'");
        return 0;
}

static int take_props(struct block *b, struct props *props, char **ret_error)
{
        int r = take_bool(props, "readonly", &b->readonly, ret_error);

        b->readonly |= b->env.readonly;
        if (r == 0)
                r = take_bool(props, "discard", &b->can_discard, ret_error);
        if (r == 0)
                r = take_block_size(props, "logical-block-size", &b->logical, ret_error);
        if (r == 0)
                r = take_block_size(props, "physical-block-size", &b->physical, ret_error);
        if (r == 0)
                r = take_number(props, "threshold", &b->threshold, ret_error);
        if (r == 0)
                r = take_cache(b, props, ret_error);
        if (r == 0)
                r = take_policy(b, props, ret_error);
        if (r == 0)
                r = take_iotune(b, props, ret_error);
        if (r < 0)
                return r;
        /* A hint that says nothing here: there is one way to do I/O. */
        r = take_choice(props, "io", io_modes, 0, ret_error);
        if (r < 0)
                return r;
        r = take_choice(props, "detect-zeroes", detect_modes, DETECT_OFF, ret_error);
        if (r < 0)
                return r;
        b->detect_zeroes = (enum detect_zeroes)r;
        return 0;
}

/* --- Making and changing --- */

static const struct block_backend *find_backend(const struct props *props)
{
        for (unsigned i = 0; i < ARRAY_SIZE(backends); i++)
                if (props_has(props, backends[i]->prop))
                        return backends[i];
        return NULL;
}

bool block_is_given(const struct props *props)
{
        return find_backend(props);
}

static void on_timer(void *opaque)
{
        block_let_through(opaque);
}

/* The guest may see less than the whole image. */
static int limit_size(struct block *b, struct props *props, char **ret_error)
{
        uint64_t size = 0;
        int r = take_number(props, "size", &size, ret_error);

        if (r < 0 || size == 0)
                return r;
        if (size > b->size || size % b->logical)
                return plug_fail(ret_error, -EINVAL, "size is beyond the image's end or not a multiple of its blocks");
        b->size = size;
        return 0;
}

static int open_image(struct block *b, struct props *props, char **ret_error)
{
        const struct block_backend *backend = find_backend(props);
        int r;

        if (!backend)
                return plug_fail(ret_error, -EINVAL, "the disk has no image");
        r = take_props(b, props, ret_error);
        if (r < 0)
                return r;
        r = backend->open(b, props, ret_error);
        if (r < 0)
                return r;
        b->backend = backend;
        r = limit_size(b, props, ret_error);
        if (r < 0)
                return r;
        if (b->physical < b->logical)
                b->physical = b->logical;
        return 0;
}

int block_new(const struct block_env *env, struct props *props, struct block **ret, char **ret_error)
{
        struct block *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return plug_fail(ret_error, -ENOMEM, "out of memory");
        b->env = *env;
        timer_init(&b->timer, env->timers, on_timer, b);
        r = open_image(b, props, ret_error);
        if (r < 0) {
                block_free(b);
                return r;
        }
        *ret = b;
        return 0;
}

void block_free(struct block *b)
{
        if (!b)
                return;
        if (b->backend) {
                block_drain(b);
                block_poll_end(b);
                b->backend->close(b);
        }
        timer_cancel(&b->timer);
        free(b);
}

static int set_size(struct block *b, struct props *props, char **ret_error)
{
        uint64_t wanted = 0, before = b->size;
        int r;

        if (!props_has(props, "size"))
                return 0;
        r = take_number(props, "size", &wanted, ret_error);
        if (r < 0)
                return r;
        r = b->backend->look(b, wanted);
        if (r < 0)
                return plug_fail(ret_error, r, "the image cannot get a size of %llu bytes: %s", (unsigned long long)wanted, strerror(-r));
        if (b->size != before && b->env.resized)
                b->env.resized(b->env.opaque);
        return 0;
}

int block_set(struct block *b, struct props *props, char **ret_error)
{
        uint64_t threshold = b->threshold;
        struct limits limits = b->limits;
        int r = take_number(props, "threshold", &threshold, ret_error);

        if (r == 0)
                r = take_iotune(b, props, ret_error);
        if (r == 0)
                r = set_size(b, props, ret_error);
        if (r < 0)
                b->limits = limits;
        else
                b->threshold = threshold;
        block_let_through(b);
        return r;
}

/* --- Asking --- */

const char *block_error_text(int error)
{
        switch (error) {
        case ENOSPC:
        case EDQUOT:
                return "enospc";
        case ECONNRESET:
                return "gone";
        default:
                return "eio";
        }
}

uint64_t block_size(const struct block *b)
{
        return b->size;
}

unsigned block_logical_size(const struct block *b)
{
        return b->logical;
}

unsigned block_physical_size(const struct block *b)
{
        return b->physical;
}

bool block_readonly(const struct block *b)
{
        return b->readonly;
}

bool block_can_discard(const struct block *b)
{
        return b->can_discard;
}

bool block_writes_through(const struct block *b)
{
        return b->write_through;
}

void block_set_write_through(struct block *b, bool on)
{
        b->write_through = on;
}

const struct block_stats *block_stats(const struct block *b)
{
        return &b->stats;
}

void block_report(const struct block *b, void (*fn)(void *opaque, const char *name, uint64_t value), void *opaque)
{
        const struct block_stats *s = &b->stats;
        uint64_t errors = 0;

        for (unsigned i = 0; i < BLOCK_OPS; i++)
                errors += s->errors[i];
        fn(opaque, "rd-req", s->ops[BLOCK_READ]);
        fn(opaque, "rd-bytes", s->bytes[BLOCK_READ]);
        fn(opaque, "rd-time", s->time_ns[BLOCK_READ]);
        fn(opaque, "wr-req", s->ops[BLOCK_WRITE] + s->ops[BLOCK_WRITE_ZEROES]);
        fn(opaque, "wr-bytes", s->bytes[BLOCK_WRITE] + s->bytes[BLOCK_WRITE_ZEROES]);
        fn(opaque, "wr-time", s->time_ns[BLOCK_WRITE] + s->time_ns[BLOCK_WRITE_ZEROES]);
        fn(opaque, "flush-req", s->ops[BLOCK_FLUSH]);
        fn(opaque, "flush-time", s->time_ns[BLOCK_FLUSH]);
        fn(opaque, "unmap-req", s->ops[BLOCK_DISCARD]);
        fn(opaque, "unmap-bytes", s->bytes[BLOCK_DISCARD]);
        fn(opaque, "unmap-time", s->time_ns[BLOCK_DISCARD]);
        fn(opaque, "errors", errors);
        fn(opaque, "wr-highest", s->highest);
        fn(opaque, "size", b->size);
}
