/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images in files, through a main loop of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/block/block.h"
#include "hv/bus/check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct timer_loop *timers;
static struct watch_loop *watches;
static unsigned stops, reports, resizes;
static uint64_t threshold_seen;

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

static void on_threshold(void *opaque, uint64_t threshold)
{
        threshold_seen = threshold;
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

static int make_file(uint64_t size, int flags)
{
        char path[] = "/var/tmp/domus-test-block-XXXXXX";
        int fd = mkstemp(path), again;

        CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
        again = open(path, O_RDWR | O_CLOEXEC | flags);
        unlink(path);
        fd_close(fd);
        return again;
}

static struct block *make(struct props *props)
{
        const struct block_env env = {
                .timers = timers, .watches = watches, .error = on_error, .resized = on_resized, .threshold = on_threshold
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

static void test_data(int flags, const char *cache)
{
        size_t size = MiB(4);
        struct props props = { 0 };
        uint8_t *image = calloc(1, size), *all = malloc(size);
        int fd = make_file(size, flags), own = dup(fd);
        struct block *b;

        props_add_fds(&props, "fd", &fd, 1);
        props_add_string(&props, "cache", cache);
        props_add_bool(&props, "discard", true);
        b = make(&props);
        CHECK(block_size(b) == size && block_idle(b));
        check_data(b, image, size - 65536);
        CHECK(do_io(b, BLOCK_FLUSH, 0, NULL, 0) == 0);
        CHECK(do_request(b, BLOCK_WRITE_ZEROES, 8192, NULL, 0, MiB(1) + 512) == 0);
        memset(image + 8192, 0, MiB(1) + 512);
        CHECK(do_request(b, BLOCK_DISCARD, MiB(2), NULL, 0, 65536) == 0);
        memset(image + MiB(2), 0, 65536);
        /* Larger than a bounce buffer, and not aligned. */
        all = realloc(all, size + 1);
        CHECK(do_io(b, BLOCK_READ, 0, all + 1, size) == 0);
        CHECK(memcmp(all + 1, image, size) == 0);
        CHECK(fd_pread_full(own, all, 512, 512) == 512 || (flags & O_DIRECT));
        CHECK(block_stats(b)->ops[BLOCK_READ] == 101 && block_stats(b)->errors[BLOCK_READ] == 0);
        CHECK(block_stats(b)->highest > 0 && block_stats(b)->highest <= size);
        block_free(b);
        fd_close(own);
        free(image);
        free(all);
}

static void test_bounds(void)
{
        struct props props = { 0 };
        uint8_t buf[4096];
        int fd = make_file(10000, 0); /* 19.5 sectors */
        struct block *b;

        CHECK(pwrite(fd, "last", 4, 9996) == 4);
        props_add_fds(&props, "fd", &fd, 1);
        b = make(&props);
        CHECK(block_size(b) == 20 * 512);
        CHECK(do_io(b, BLOCK_READ, 20 * 512, buf, 512) == -EINVAL);
        CHECK(do_io(b, BLOCK_READ, 19 * 512, buf, 1024) == -EINVAL);
        CHECK(do_io(b, BLOCK_READ, UINT64_MAX - 511, buf, 512) == -EINVAL);
        CHECK(do_io(b, BLOCK_WRITE, UINT64_MAX - 511, buf, 1024) == -EINVAL);
        CHECK(do_io(b, BLOCK_READ, 1, buf, 512) == -EINVAL);
        CHECK(do_io(b, BLOCK_READ, 0, buf, 100) == -EINVAL);
        CHECK(do_request(b, BLOCK_DISCARD, 512, NULL, 0, UINT64_MAX - 511) == -EINVAL);
        memset(buf, 0xff, sizeof(buf));
        CHECK(do_io(b, BLOCK_READ, 18 * 512, buf, 1024) == 0);
        CHECK(memcmp(buf + 9996 - 18 * 512, "last", 4) == 0 && buf[10000 - 18 * 512] == 0 && buf[1023] == 0);
        fill(buf, 512, 0);
        CHECK(do_io(b, BLOCK_WRITE, 19 * 512, buf, 512) == 0);
        memset(buf + 512, 0, 512);
        CHECK(do_io(b, BLOCK_READ, 19 * 512, buf + 512, 512) == 0);
        CHECK(memcmp(buf, buf + 512, 512) == 0);
        block_free(b);
}

static void test_size(void)
{
        struct props props = { 0 }, change = { 0 };
        uint8_t buf[512] = { 1 };
        int fd = make_file(MiB(1), 0), own = dup(fd);
        struct block *b;
        char *error = NULL;
        struct stat st;

        props_add_fds(&props, "fd", &fd, 1);
        props_add_number(&props, "threshold", 1024);
        b = make(&props);
        props_add_number(&change, "size", MiB(2));
        CHECK(block_set(b, &change, &error) == 0 && block_size(b) == MiB(2) && resizes == 1);
        CHECK(fstat(own, &st) == 0 && st.st_size == (off_t)MiB(2));
        props_finish(&change);
        CHECK(ftruncate(own, (off_t)MiB(3)) == 0);
        props_add_number(&change, "size", 0);
        CHECK(block_set(b, &change, &error) == 0 && block_size(b) == MiB(3) && resizes == 2);
        props_finish(&change);
        props_add_number(&change, "size", 1000);
        CHECK(block_set(b, &change, &error) < 0 && error);
        free(error);
        props_finish(&change);
        CHECK(do_io(b, BLOCK_WRITE, 512, buf, 512) == 0 && threshold_seen == 0);
        CHECK(do_io(b, BLOCK_WRITE, 1024, buf, 512) == 0 && threshold_seen == 1024);
        threshold_seen = 0;
        CHECK(do_io(b, BLOCK_WRITE, 1024, buf, 512) == 0 && threshold_seen == 0);
        /* Somebody else makes the file shorter: an error, not zeroes. */
        CHECK(ftruncate(own, 4096) == 0);
        reports = 0;
        CHECK(do_io(b, BLOCK_READ, 65536, buf, 512) == -EIO && reports == 1);
        block_free(b);
        fd_close(own);
}

static void test_detect_zeroes(void)
{
        struct props props = { 0 };
        uint8_t *buf = malloc(MiB(1));
        int fd = make_file(MiB(1), 0), own = dup(fd);
        struct block *b;
        struct stat before, after;

        props_add_fds(&props, "fd", &fd, 1);
        props_add_string(&props, "detect-zeroes", "unmap");
        props_add_bool(&props, "discard", true);
        b = make(&props);
        fill(buf, MiB(1), 0);
        CHECK(do_io(b, BLOCK_WRITE, 0, buf, MiB(1)) == 0 && do_io(b, BLOCK_FLUSH, 0, NULL, 0) == 0);
        CHECK(fstat(own, &before) == 0);
        memset(buf, 0, MiB(1));
        CHECK(do_io(b, BLOCK_WRITE, 0, buf, MiB(1)) == 0);
        CHECK(fstat(own, &after) == 0 && after.st_blocks < before.st_blocks);
        fill(buf, MiB(1), 0);
        CHECK(do_io(b, BLOCK_READ, 0, buf, MiB(1)) == 0 && buf[0] == 0 && memcmp(buf, buf + 1, MiB(1) - 1) == 0);
        CHECK(block_stats(b)->ops[BLOCK_WRITE] == 2);
        block_free(b);
        fd_close(own);
        free(buf);
}

/* A file that may not grow beyond a limit stands for a full disk. */
static void test_stop(void)
{
        struct props props = { 0 };
        struct test_request t = { 0 };
        uint8_t buf[4096] = { 1 };
        struct iovec iov = { buf, sizeof(buf) };
        int fd = make_file(MiB(1), 0), own = dup(fd);
        struct block *b;

        props_add_fds(&props, "fd", &fd, 1);
        props_add_string(&props, "rerror", "stop");
        b = make(&props);
        CHECK(ftruncate(own, 4096) == 0);
        stops = 0;
        t.request = (struct block_request){ .op = BLOCK_READ, .offset = 8192, .len = 4096, .iov = &iov, .n_iov = 1, .done = on_done };
        block_submit(b, &t.request);
        for (unsigned i = 0; i < 100 && !stops; i++)
                turn(10);
        CHECK(stops == 1 && !t.is_done && !block_idle(b));
        block_retry(b);
        for (unsigned i = 0; i < 100 && stops < 2; i++)
                turn(10);
        CHECK(stops == 2 && !t.is_done);
        CHECK(ftruncate(own, (off_t)MiB(1)) == 0);
        block_retry(b);
        CHECK(finish(&t) == 0 && block_idle(b));
        /* A stopped one is given up by a drain. */
        CHECK(ftruncate(own, 4096) == 0);
        t.is_done = false;
        block_submit(b, &t.request);
        block_drain(b);
        CHECK(t.is_done && t.result == -ECANCELED && block_idle(b));
        block_free(b);
        fd_close(own);
}

static void test_throttle(void)
{
        struct prop_entry table[] = { { (char *)(uintptr_t)"total-iops-sec", 200 } };
        struct test_request t[60];
        struct props props = { 0 };
        uint8_t buf[512];
        struct iovec iov = { buf, sizeof(buf) };
        int fd = make_file(MiB(1), 0);
        uint64_t start = timer_now(timers), took;
        struct block *b;

        props_add_fds(&props, "fd", &fd, 1);
        props_add_table(&props, "iotune", table, 1);
        b = make(&props);
        for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
                t[i] = (struct test_request){ .request = { .op = BLOCK_READ, .len = 512, .iov = &iov, .n_iov = 1, .done = on_done } };
                block_submit(b, &t[i].request);
        }
        CHECK(!t[59].is_done);
        for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
                CHECK(finish(&t[i]) == 0);
        /* 60 at 200 a second, a tenth of a second's worth for nothing. */
        took = timer_now(timers) - start;
        CHECK(took > 150000000 && took < 2000000000);
        for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
                t[i].is_done = false;
                block_submit(b, &t[i].request);
        }
        block_drain(b);
        CHECK(t[59].is_done && t[59].result == -ECANCELED);
        block_free(b);
}

static void test_refused(void)
{
        static const struct {
                const char *name, *value, *text;
        } bad[] = {
                { "cache", "always", "cache cannot be 'always'" },
                { "werror", "panic", "werror cannot be 'panic'" },
                { "rerror", "enospc", "rerror" },
                { "detect-zeroes", "maybe", "detect-zeroes" },
        };
        const struct block_env env = { .timers = timers, .watches = watches, .error = on_error };

        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
                struct props props = { 0 };
                struct block *b = NULL;
                int fd = make_file(MiB(1), 0);
                char *error = NULL;

                props_add_fds(&props, "fd", &fd, 1);
                props_add_string(&props, bad[i].name, bad[i].value);
                CHECK(block_new(&env, &props, &b, &error) == -EINVAL);
                CHECK(error && strstr(error, bad[i].text));
                free(error);
                props_finish(&props);
        }
}

int main(void)
{
        CHECK(timer_loop_new(&lock, &timers) == 0 && watch_loop_new(&lock, &watches) == 0);
        timer_loop_pause(timers, false);
        pthread_mutex_lock(&lock);
        test_data(0, "writeback");
        test_data(0, "writethrough");
        test_data(0, "unsafe");
        test_data(O_DIRECT, "none");
        test_data(0, "directsync");
        test_bounds();
        test_size();
        test_detect_zeroes();
        test_stop();
        test_throttle();
        test_refused();
        pthread_mutex_unlock(&lock);
        watch_loop_free(watches);
        timer_loop_free(timers);
        return 0;
}
