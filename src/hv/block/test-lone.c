/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes by who waits for them, of files in memory: that they are local is known. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "hv/block/lone.h"
#include "hv/block/test-image.h"

#define PAGE 4096u

static struct block *open_image(int fd, const char *werror, const char *cache)
{
        struct props props = { 0 };

        props_add_fds(&props, "fd", &fd, 1);
        props_add_string(&props, "werror", werror);
        props_add_string(&props, "cache", cache);
        return make(&props);
}

static int make_file(void)
{
        int fd = memfd_create("test", MFD_CLOEXEC);

        CHECK(fd >= 0 && ftruncate(fd, (off_t)MiB(4)) == 0);
        return fd;
}

static void prepare(struct test_request *t, const struct iovec *iov, unsigned n, uint64_t offset)
{
        uint64_t len = 0;

        for (unsigned i = 0; i < n; i++)
                len += iov[i].iov_len;
        *t = (struct test_request){ .request = { .op = BLOCK_WRITE, .offset = offset, .len = len, .iov = iov, .n_iov = n, .done = on_done } };
}

/* As on the thread of a vCPU, until it would let go of the lock. Does it have the work? */
static bool begin(struct block *b, struct test_request *t)
{
        block_plug(b);
        block_submit(b, &t->request);
        block_poll_begin(b);
        block_unplug(b);
        return b->work_kept;
}

/* Until it has the work: after a slow one, on a busy machine, others go by the ring for a while. */
static void must_begin(struct block *b, struct test_request *t)
{
        for (unsigned i = 0; i < 1000 && !begin(b, t); i++) {
                block_poll(b);
                CHECK(finish(t) == 0);
                t->is_done = false;
                usleep(5000);
        }
        CHECK(b->work_kept && !t->is_done);
}

/* Does the work in parts; nobody else has the lock meanwhile. */
static void take_work(struct block *b)
{
        CHECK(b->work_kept && b->backend->begin(b));
        b->work_kept = false;
}

static void limit_files(rlim_t bytes)
{
        CHECK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ .rlim_cur = bytes, .rlim_max = RLIM_INFINITY }) == 0);
}

static void test_written(void)
{
        static uint8_t out[2][8 * PAGE], in[16 * PAGE];
        struct iovec iov[2] = { { out[0], sizeof(out[0]) }, { out[1], sizeof(out[1]) } };
        struct block *b = open_image(make_file(), "report", "writeback");
        struct test_request t;

        for (unsigned i = 0; i < 20; i++) {
                fill(out[0], sizeof(out[0]), i);
                fill(out[1], sizeof(out[1]), i + 1);
                prepare(&t, iov, 2, i * PAGE);
                must_begin(b, &t);
                CHECK(b->in_flight == 1);
                block_poll(b);
                CHECK(t.is_done && t.result == 0 && block_idle(b) && !b->pollers && !b->work_kept);
                CHECK(do_io(b, BLOCK_READ, i * PAGE, in, sizeof(in)) == 0);
                CHECK(memcmp(in, out[0], sizeof(out[0])) == 0 && memcmp(in + sizeof(out[0]), out[1], sizeof(out[1])) == 0);
        }
        CHECK(block_stats(b)->ops[BLOCK_WRITE] >= 20 && block_stats(b)->bytes[BLOCK_WRITE] == block_stats(b)->ops[BLOCK_WRITE] * sizeof(in));
        block_free(b);
}

/* As any other image. */
static void test_data(void)
{
        struct block *b = open_image(make_file(), "report", "writeback");
        uint8_t *image = calloc(1, MiB(4));

        check_data(b, image, MiB(4));
        check_poll(b);
        block_free(b);
        free(image);
}

static void check_other_way(struct block *b, uint64_t offset, size_t len)
{
        struct iovec iov = { calloc(1, len), len };
        struct test_request t;

        prepare(&t, &iov, 1, offset);
        CHECK(!begin(b, &t));
        block_poll(b);
        CHECK(finish(&t) == 0);
        free(iov.iov_base);
}

static void test_other_ways(void)
{
        static uint8_t buf[PAGE];
        struct iovec iov = { buf, sizeof(buf) };
        struct block *b = open_image(make_file(), "report", "writeback");
        struct test_request t[3];

        check_other_way(b, 512, PAGE);
        check_other_way(b, 0, 512);
        check_other_way(b, 0, MiB(1) + PAGE);
        block_set_write_through(b, true);
        check_other_way(b, 0, PAGE);
        block_set_write_through(b, false);
        /* Nobody waits. */
        prepare(&t[0], &iov, 1, 0);
        block_plug(b);
        block_submit(b, &t[0].request);
        block_unplug(b);
        CHECK(finish(&t[0]) == 0);
        /* It is not alone. */
        block_plug(b);
        for (unsigned i = 0; i < 3; i++) {
                prepare(&t[i], &iov, 1, i * PAGE);
                block_submit(b, &t[i].request);
        }
        block_poll_begin(b);
        CHECK(!b->work_kept);
        block_unplug(b);
        block_poll(b);
        for (unsigned i = 0; i < 3; i++)
                CHECK(finish(&t[i]) == 0);
        block_free(b);
}

static void test_short(void)
{
        static uint8_t out[8 * PAGE], in[8 * PAGE];
        struct iovec iov = { out, sizeof(out) };
        struct block *b = open_image(make_file(), "report", "writeback");
        struct test_request t;

        fill(out, sizeof(out), 1);
        prepare(&t, &iov, 1, 0);
        CHECK(begin(b, &t));
        take_work(b);
        limit_files(3 * PAGE);
        b->backend->work(b);
        limit_files(RLIM_INFINITY);
        CHECK(!t.is_done);
        b->backend->worked(b);
        CHECK(finish(&t) == 0 && block_idle(b));
        CHECK(do_io(b, BLOCK_READ, 0, in, sizeof(in)) == 0 && memcmp(in, out, sizeof(in)) == 0);
        block_free(b);
}

static void test_error(void)
{
        static uint8_t buf[PAGE];
        struct iovec iov = { buf, sizeof(buf) };
        struct block *b = open_image(make_file(), "stop", "writeback");
        struct test_request t;

        stops = 0;
        limit_files(PAGE);
        prepare(&t, &iov, 1, 8 * PAGE);
        CHECK(begin(b, &t));
        block_poll(b);
        CHECK(!t.is_done && stops == 1 && !block_idle(b) && block_stats(b)->errors[BLOCK_WRITE] == 1);
        limit_files(RLIM_INFINITY);
        block_retry(b);
        CHECK(finish(&t) == 0 && block_idle(b));
        block_free(b);
        reports = 0;
        b = open_image(make_file(), "report", "writeback");
        limit_files(PAGE);
        prepare(&t, &iov, 1, 8 * PAGE);
        CHECK(begin(b, &t));
        block_poll(b);
        CHECK(t.is_done && t.result == -EFBIG && reports == 1);
        limit_files(RLIM_INFINITY);
        block_free(b);
}

/* Who has the work finds that it has been done another way. */
static void test_drain_before(void)
{
        static uint8_t buf[PAGE];
        struct iovec iov = { buf, sizeof(buf) };
        struct block *b = open_image(make_file(), "report", "writeback");
        struct test_request t;

        prepare(&t, &iov, 1, 0);
        CHECK(begin(b, &t));
        block_drain(b);
        CHECK(t.is_done && t.result == 0 && block_idle(b));
        block_poll(b);
        CHECK(block_idle(b));
        block_free(b);
}

static void *work_late(void *opaque)
{
        struct block *b = opaque;

        usleep(20000);
        b->backend->work(b);
        return NULL;
}

static void test_drain_meanwhile(void)
{
        static uint8_t out[PAGE], in[PAGE];
        struct iovec iov = { out, sizeof(out) };
        struct block *b = open_image(make_file(), "report", "writeback");
        struct test_request t, other;
        pthread_t thread;

        fill(out, sizeof(out), 3);
        for (unsigned i = 0; i < 2; i++) {
                prepare(&t, &iov, 1, 0);
                must_begin(b, &t);
                take_work(b);
                CHECK(pthread_create(&thread, NULL, work_late, b) == 0);
                /* Others go on; they are not lone. */
                prepare(&other, &iov, 1, PAGE);
                CHECK(!begin(b, &other));
                if (i == 1)
                        CHECK(finish(&other) == 0);
                block_drain(b);
                CHECK(t.is_done && t.result == 0 && finish(&other) == 0 && block_idle(b));
                pthread_join(thread, NULL);
                b->backend->worked(b);
                CHECK(block_idle(b));
                CHECK(do_io(b, BLOCK_READ, 0, in, sizeof(in)) == 0 && memcmp(in, out, sizeof(in)) == 0);
        }
        block_free(b);
}

struct vcpu {
        struct block *block; /* NULL: it is gone */
        unsigned n_done;
};

/* Writes until the image is gone. */
static void *write_on(void *opaque)
{
        static uint8_t buf[PAGE];
        struct iovec iov = { buf, sizeof(buf) };
        struct vcpu *vcpu = opaque;
        struct test_request t;

        pthread_mutex_lock(&lock);
        while (vcpu->block) {
                prepare(&t, &iov, 1, vcpu->n_done % 64 * PAGE);
                begin(vcpu->block, &t);
                block_poll(vcpu->block);
                while (!t.is_done)
                        turn(1);
                vcpu->n_done++;
        }
        pthread_mutex_unlock(&lock);
        return NULL;
}

static void test_free_meanwhile(void)
{
        for (unsigned i = 0; i < 30; i++) {
                struct vcpu vcpu = { .block = open_image(make_file(), "report", "writeback") };
                pthread_t thread;

                CHECK(pthread_create(&thread, NULL, write_on, &vcpu) == 0);
                for (unsigned before = 0; before < 20; before = vcpu.n_done) {
                        pthread_mutex_unlock(&lock);
                        usleep(i * 7);
                        pthread_mutex_lock(&lock);
                }
                block_free(vcpu.block);
                vcpu.block = NULL;
                pthread_mutex_unlock(&lock);
                pthread_join(thread, NULL);
                pthread_mutex_lock(&lock);
        }
}

static void pass(struct lone *lone, uint64_t took, uint64_t now)
{
        int result;

        lone_hold(lone, -1, NULL, 0, 0);
        CHECK(lone_keep(lone) && lone_begin(lone) && !lone_take_result(lone, now, &result));
        lone_run(lone, timers);
        lone->took = took;
        CHECK(lone_take_result(lone, now, &result) && result == -EBADF && !lone_take_result(lone, now, &result));
}

/* Who was slow is left alone, longer each time. */
static void test_slow(void)
{
        struct lone lone = { .possible = true };
        uint64_t now = 1000, away = 0;

        CHECK(lone_suits(&lone, 0, PAGE, now));
        pass(&lone, 5000, now);
        CHECK(lone_suits(&lone, 0, PAGE, now));
        for (unsigned i = 0; i < 20; i++) {
                pass(&lone, 200000000, now);
                CHECK(!lone_suits(&lone, 0, PAGE, now) && !lone_suits(&lone, 0, PAGE, lone.away_until - 1));
                CHECK(lone.away_until - now >= away && lone_suits(&lone, 0, PAGE, lone.away_until));
                away = lone.away_until - now;
                now = lone.away_until;
        }
        CHECK(away == 2000000000);
        for (unsigned i = 0; i < 1000; i++)
                pass(&lone, 5000, now);
        pass(&lone, 200000000, now);
        CHECK(lone.away_until - now < away / 10);
}

int main(void)
{
        signal(SIGXFSZ, SIG_IGN);
        start_loops();
        test_written();
        test_data();
        test_other_ways();
        test_short();
        test_error();
        test_drain_before();
        test_drain_meanwhile();
        test_free_meanwhile();
        test_slow();
        end_loops();
        return 0;
}
