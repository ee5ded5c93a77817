/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images in files. */
#include "hv/block/ring.h"
#include "hv/block/test-image.h"

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
        check_poll(b);
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
        CHECK(do_io(b, BLOCK_WRITE, 1024, buf, 512) == 0 && threshold_seen == 1024 && excess_seen == 512);
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

/* They are not polled for, and do not tell how long others take. */
static void test_large(void)
{
        struct props props = { 0 };
        struct iovec iov = { calloc(1, MiB(2)), MiB(2) };
        struct test_request t = { .request = { .op = BLOCK_READ, .len = MiB(2), .iov = &iov, .n_iov = 1, .done = on_done } };
        int fd = make_file(MiB(2), 0);
        struct block *b;

        props_add_fds(&props, "fd", &fd, 1);
        b = make(&props);
        b->poll_ns[BLOCK_READ] = 4000000000u;
        block_plug(b);
        block_submit(b, &t.request);
        block_poll_begin(b);
        CHECK(!b->poll_begun);
        block_unplug(b);
        block_poll(b);
        CHECK(finish(&t) == 0 && b->poll_ns[BLOCK_READ] == 4000000000u);
        block_free(b);
        free(iov.iov_base);
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

struct test_op {
        struct ring_op op;
        bool is_done;
        int result;
};

static void on_op_done(struct ring_op *op, int result)
{
        struct test_op *t = container_of(op, struct test_op, op);

        t->is_done = true;
        t->result = result;
}

/* The ring reads and writes, and opens nothing. */
static void test_ring(void)
{
        struct test_op t = { .op = { .done = on_op_done } };
        struct io_uring_sqe *sqe;
        struct ring *ring;

        CHECK(ring_new(&ring) == 0 && ring_attach(ring, watches) == 0);
        sqe = ring_get(ring);
        io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
        io_uring_sqe_set_data(sqe, &t.op);
        ring_submit(ring);
        for (unsigned i = 0; i < 100 && !t.is_done; i++)
                turn(10);
        CHECK(t.is_done && t.result == -EACCES);
        ring_detach(ring);
        ring_free(ring);
}

int main(void)
{
        start_loops();
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
        test_large();
        test_refused();
        test_ring();
        end_loops();
        return 0;
}
