/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/timer.h"

#include <poll.h>
#include <time.h>

#include "base/macros.h"
#include "hv/bus/check.h"

#define MS 1000000u

struct record {
        struct timer t;
        unsigned *order, number, fired;
        uint64_t again; /* re-arm this far after the deadline */
};

static void fire(void *opaque)
{
        struct record *r = opaque;

        CHECK(timer_now(r->t.loop) >= r->t.deadline);
        r->fired++;
        if (r->order)
                CHECK_EQ((*r->order)++, r->number);
        if (r->again)
                timer_arm(&r->t, r->t.deadline + r->again);
}

static bool wait_readable(struct timer_loop *loop, int ms)
{
        struct pollfd p = { .fd = timer_loop_fd(loop), .events = POLLIN };

        return poll(&p, 1, ms) == 1;
}

static void test_order(struct timer_loop *loop)
{
        struct record r[50] = { 0 };
        unsigned order = 0;
        uint64_t base = timer_now(loop) + 5 * MS;

        for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
                unsigned k = i * 7 % ARRAY_SIZE(r);

                r[k].order = &order;
                r[k].number = k;
                timer_init(&r[k].t, loop, fire, &r[k]);
                timer_arm(&r[k].t, base + MS + k);
        }
        timer_arm(&r[49].t, base + 1000 * MS);
        timer_arm(&r[0].t, base);
        timer_cancel(&r[49].t);
        timer_cancel(&r[49].t);
        CHECK(!wait_readable(loop, 0));
        while (order < 49) {
                CHECK(wait_readable(loop, 1000));
                timer_loop_dispatch(loop);
        }
        CHECK_EQ(r[49].fired, 0);
        CHECK(!wait_readable(loop, 0));
}

static void test_pause(struct timer_loop *loop)
{
        struct record r = { 0 };
        uint64_t now;

        timer_init(&r.t, loop, fire, &r);
        timer_loop_pause(loop, true);
        now = timer_now(loop);
        timer_arm(&r.t, now + MS);
        CHECK(!wait_readable(loop, 5));
        CHECK(timer_now(loop) == now);
        timer_loop_dispatch(loop);
        CHECK_EQ(r.fired, 0);
        timer_loop_pause(loop, false);
        CHECK(wait_readable(loop, 1000));
        timer_loop_dispatch(loop);
        CHECK_EQ(r.fired, 1);
}

static void test_rearm(struct timer_loop *loop)
{
        struct record r = { .again = MS }, far = { 0 };

        timer_init(&far.t, loop, fire, &far);
        timer_arm(&far.t, UINT64_MAX);
        timer_init(&r.t, loop, fire, &r);
        timer_arm(&r.t, 0);
        while (r.fired < 5) {
                CHECK(wait_readable(loop, 1000));
                timer_loop_dispatch(loop);
        }
        timer_cancel(&r.t);
        timer_cancel(&far.t);
        CHECK_EQ(far.fired, 0);
}

int main(void)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct timer_loop *loop;

        CHECK_EQ(timer_loop_new(&lock, &loop), 0);
        CHECK(timer_now(loop) == 0);
        timer_loop_pause(loop, false);
        test_order(loop);
        test_pause(loop);
        test_rearm(loop);
        timer_loop_free(loop);
        return 0;
}
