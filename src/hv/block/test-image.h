/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* For tests of images: a main loop, and requests that wait until they are done. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/block/backend.h"
#include "hv/bus/check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct timer_loop *timers;
static struct watch_loop *watches;
static const struct guest_memory *memory;
static unsigned stops, reports, resizes;
static uint64_t threshold_seen, excess_seen;

static void on_error(void *opaque, bool stop, int error)
{
        if (stop)
                stops++;
        else
                reports++;
}

static void on_resized(void *opaque)
{
        resizes++;
}

static void on_threshold(void *opaque, uint64_t threshold, uint64_t excess)
{
        threshold_seen = threshold;
        excess_seen = excess;
}

/* The device lock is held by the test but while the loops run. */
static void turn(int timeout_ms)
{
        struct pollfd p[] = { { watch_loop_fd(watches), POLLIN, 0 }, { timer_loop_fd(timers), POLLIN, 0 } };

        pthread_mutex_unlock(&lock);
        poll(p, 2, timeout_ms);
        watch_loop_dispatch(watches);
        timer_loop_dispatch(timers);
        pthread_mutex_lock(&lock);
}

static struct block *make(struct props *props)
{
        const struct block_env env = {
                .timers = timers, .watches = watches, .lock = &lock, .memory = memory, .error = on_error, .resized = on_resized, .threshold = on_threshold
        };
        struct block *b = NULL;
        char *error = NULL;
        int r = block_new(&env, props, &b, &error);

        if (r < 0)
                fprintf(stderr, "%s\n", error);
        CHECK(r == 0 && !props_left(props));
        props_finish(props);
        return b;
}

struct test_request {
        struct block_request request;
        bool is_done;
        int result;
};

static void on_done(struct block_request *request, int result)
{
        struct test_request *t = container_of(request, struct test_request, request);

        CHECK(!t->is_done);
        t->is_done = true;
        t->result = result;
}

static int finish(struct test_request *t)
{
        for (unsigned i = 0; i < 1000 && !t->is_done; i++)
                turn(10);
        CHECK(t->is_done);
        return t->result;
}

static int do_request(struct block *b, enum block_op op, uint64_t offset, const struct iovec *iov, unsigned n, uint64_t len)
{
        struct test_request t = { .request = { .op = op, .offset = offset, .len = len, .iov = iov, .n_iov = n, .done = on_done } };

        t.request.unmap = true;
        block_submit(b, &t.request);
        return finish(&t);
}

static int do_io(struct block *b, enum block_op op, uint64_t offset, void *buf, size_t len)
{
        struct iovec iov = { .iov_base = buf, .iov_len = len };

        return do_request(b, op, offset, &iov, 1, len);
}

static void fill(uint8_t *buf, size_t n, unsigned seed)
{
        for (size_t i = 0; i < n; i++)
                buf[i] = (uint8_t)(i * 7 + i / 256 + seed + 1);
}

/* A request that is polled for, as by a vCPU that has patience. It may be done afterwards. */
static void submit_polled(struct block *b, struct test_request *t)
{
        b->poll_ns[t->request.op] = 4000000000u;
        block_plug(b);
        block_submit(b, &t->request);
        block_poll_begin(b);
        block_unplug(b);
        block_poll(b);
}

static void check_poll(struct block *b)
{
        uint8_t out[4096], in[4096];
        struct iovec iov[2] = { { out, sizeof(out) }, { in, sizeof(in) } };
        unsigned n_polled = 0;

        for (unsigned i = 0; i < 64; i++) {
                struct test_request t[] = {
                        { .request = { .op = BLOCK_WRITE, .offset = i * 4096, .len = 4096, .iov = &iov[0], .n_iov = 1, .done = on_done } },
                        { .request = { .op = BLOCK_FLUSH, .done = on_done } },
                        { .request = { .op = BLOCK_READ, .offset = i * 4096, .len = 4096, .iov = &iov[1], .n_iov = 1, .done = on_done } },
                };

                fill(out, sizeof(out), i);
                for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
                        submit_polled(b, &t[k]);
                        n_polled += t[k].is_done;
                        CHECK(finish(&t[k]) == 0 && !b->pollers && !b->poll_begun);
                }
                CHECK(memcmp(in, out, sizeof(out)) == 0);
        }
        CHECK(n_polled > 0);
        /* Who does not poll is told as before. */
        CHECK(do_io(b, BLOCK_WRITE, 0, out, sizeof(out)) == 0 && do_io(b, BLOCK_FLUSH, 0, NULL, 0) == 0);
}

/* Reads and writes of many shapes give back what was written. */
static void check_data(struct block *b, uint8_t *image, size_t size)
{
        uint8_t *buf = malloc(size);

        for (unsigned i = 0; i < 200; i++) {
                size_t off = (size_t)rand() % (size / 512) * 512, len = (1 + (size_t)rand() % 40) * 512, cut;
                struct iovec iov[2];

                if (len > size - off)
                        len = size - off;
                cut = 1 + (size_t)rand() % (len - 1);
                iov[0] = (struct iovec){ buf + 1, cut };
                iov[1] = (struct iovec){ buf + 1 + cut + 3, len - cut };
                if (i % 2) {
                        fill(image + off, len, i);
                        memcpy(iov[0].iov_base, image + off, cut);
                        memcpy(iov[1].iov_base, image + off + cut, len - cut);
                        CHECK(do_request(b, BLOCK_WRITE, off, iov, 2, len) == 0);
                } else {
                        CHECK(do_request(b, BLOCK_READ, off, iov, 2, len) == 0);
                        CHECK(memcmp(iov[0].iov_base, image + off, cut) == 0);
                        CHECK(memcmp(iov[1].iov_base, image + off + cut, len - cut) == 0);
                }
        }
        free(buf);
}

static void start_loops(void)
{
        CHECK(timer_loop_new(&lock, &timers) == 0 && watch_loop_new(&lock, &watches) == 0);
        timer_loop_pause(timers, false);
        pthread_mutex_lock(&lock);
}

static void end_loops(void)
{
        pthread_mutex_unlock(&lock);
        watch_loop_free(watches);
        timer_loop_free(timers);
}
