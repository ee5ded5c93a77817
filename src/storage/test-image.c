/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/macros.h"
#include "model/error.h"
#include "storage/image.h"

#define CLUSTER KiB(64)

static char *dir;

static char *file_path(const char *name)
{
        return g_build_filename(dir, name, NULL);
}

static char *write_file(const char *name, const void *data, size_t n, uint64_t size)
{
        char *path = file_path(name);
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

        g_assert_cmpint(fd_write_all(fd, data, n), ==, 0);
        g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
        fd_close(fd);
        return path;
}

/* A qcow2 header with its refcount table in cluster 1 and its L1 table in cluster 2. */
static void make_header(uint8_t *b, uint64_t virtual_size, const char *backing, const char *format)
{
        size_t at = 104;

        memset(b, 0, CLUSTER);
        memcpy(b, "QFI\xfb", 4);
        be32_store(b + 4, 3);
        be32_store(b + 20, 16);
        be64_store(b + 24, virtual_size);
        be32_store(b + 36, 1);
        be64_store(b + 40, 2 * CLUSTER);
        be64_store(b + 48, CLUSTER);
        be32_store(b + 56, 1);
        be32_store(b + 96, 4);
        be32_store(b + 100, 104);
        if (format) {
                be32_store(b + at, 0xe2792aca);
                be32_store(b + at + 4, (uint32_t)strlen(format));
                memcpy(b + at + 8, format, strlen(format));
        }
        if (backing) {
                be64_store(b + 8, 1024);
                be32_store(b + 16, (uint32_t)strlen(backing));
                memcpy(b + 1024, backing, strlen(backing));
        }
}

static char *make_qcow2(const char *name, const char *backing, const char *format)
{
        g_autofree uint8_t *b = g_malloc(CLUSTER);

        make_header(b, GiB(1), backing, format);
        return write_file(name, b, CLUSTER, 3 * CLUSTER);
}

static void test_raw(void)
{
        g_autofree char *path = write_file("raw", "hello", 5, 1 << 20);
        g_autoptr(GError) error = NULL;
        DomusImage image;

        g_assert_true(domus_image_probe(path, NULL, &image, &error));
        g_assert_no_error(error);
        g_assert_cmpstr(image.format, ==, "raw");
        g_assert_cmpuint(image.virtual_size, ==, 1 << 20);
        g_assert_cmpuint(image.chain->len, ==, 0);
        domus_image_clear(&image);
}

static void test_cd(void)
{
        g_autofree char *data = g_malloc0(40000), *path = NULL;
        DomusImage image;
        int fd;

        memcpy(data + 32769, "CD001", 5);
        path = write_file("cd", data, 40000, 40000);
        g_assert_true(domus_image_probe(path, NULL, &image, NULL));
        g_assert_cmpstr(image.format, ==, "raw");
        domus_image_clear(&image);
        fd = open(path, O_RDONLY);
        g_assert_true(storage_image_read(fd, path, NULL, false, &image, NULL));
        g_assert_cmpstr(image.format, ==, "iso");
        domus_image_clear(&image);
        fd_close(fd);
}

/* What a guest has written there does not make a raw image another. */
static void test_raw_is_believed(void)
{
        g_autofree char *path = make_qcow2("guest", "/etc/passwd", "raw");
        DomusImage image;

        g_assert_true(domus_image_probe(path, "raw", &image, NULL));
        g_assert_cmpstr(image.format, ==, "raw");
        g_assert_null(image.backing_path);
        g_assert_cmpuint(image.virtual_size, ==, 3 * CLUSTER);
        domus_image_clear(&image);
}

static void test_chain(void)
{
        g_autofree char *base = write_file("base", "", 0, 1 << 20), *middle = make_qcow2("middle", "base", "raw");
        g_autofree char *top = make_qcow2("top", middle, "qcow2");
        g_autoptr(GError) error = NULL;
        const DomusImageLayer *layer;
        DomusImage image;

        g_assert_true(domus_image_probe(top, "qcow2", &image, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(image.virtual_size, ==, GiB(1));
        g_assert_cmpuint(image.cluster_size, ==, CLUSTER);
        g_assert_cmpstr(image.compat, ==, "1.1");
        g_assert_cmpuint(image.chain->len, ==, 2);
        layer = image.chain->pdata[0];
        g_assert_cmpstr(layer->path, ==, middle);
        g_assert_cmpstr(layer->format, ==, "qcow2");
        layer = image.chain->pdata[1];
        g_assert_cmpstr(layer->path, ==, base);
        g_assert_cmpstr(layer->format, ==, "raw");
        domus_image_clear(&image);
}

static void expect_error(const char *path, const char *format, const char *text)
{
        g_autoptr(GError) error = NULL;
        DomusImage image;

        g_assert_false(domus_image_probe(path, format, &image, &error));
        if (!strstr(error->message, text) || !strstr(error->message, dir))
                g_error("'%s' does not say '%s'", error->message, text);
}

static void test_cycle(void)
{
        g_autofree char *a = make_qcow2("cycle-a", "cycle-b", "qcow2"), *b = make_qcow2("cycle-b", "cycle-a", "qcow2");
        g_autofree char *self = make_qcow2("self", "./self", "qcow2");

        expect_error(a, "qcow2", "is a cycle");
        expect_error(b, NULL, "is a cycle");
        expect_error(self, NULL, "is a cycle");
}

static void test_backing_problems(void)
{
        g_autofree char *missing = make_qcow2("missing", "nowhere", "raw"), *silent = make_qcow2("silent", "missing", NULL);
        g_autofree char *net = make_qcow2("net", "nbd://host/x", "raw"), *json = make_qcow2("json", "json:{}", "raw");
        g_autofree char *wrong = make_qcow2("wrong", "raw", "qcow2");

        expect_error(missing, NULL, "nowhere");
        expect_error(silent, NULL, "does not say which format");
        expect_error(net, NULL, "nbd://host/x");
        expect_error(json, NULL, "json:{}");
        g_free(write_file("raw", "", 0, 512));
        expect_error(wrong, NULL, "is not in qcow2 format");
}

static void change_and_expect(size_t at, uint32_t value, const char *text)
{
        g_autofree uint8_t *b = g_malloc(CLUSTER);
        g_autofree char *path = NULL;

        make_header(b, GiB(1), NULL, NULL);
        be32_store(b + at, value);
        path = write_file("changed", b, CLUSTER, 3 * CLUSTER);
        expect_error(path, NULL, text);
}

static void test_bad_headers(void)
{
        change_and_expect(4, 4, "version 4");
        change_and_expect(20, 40, "impossible clusters");
        change_and_expect(20, 0, "impossible clusters");
        change_and_expect(24, 0xffffffff, "impossible sizes");
        change_and_expect(36, 0xffffffff, "impossible sizes");
        change_and_expect(100, 0xffffffff, "impossible sizes");
        change_and_expect(44, 0x10000000, "is shorter than its header says");
        change_and_expect(52, 0x10000000, "is shorter than its header says");
        change_and_expect(76, 4, "in another file");
        change_and_expect(76, 2, "marked corrupt");
}

static void test_truncated(void)
{
        g_autofree uint8_t *b = g_malloc0(5 * CLUSTER);
        g_autofree char *path = NULL;
        DomusImage image;

        make_header(b, GiB(1), NULL, NULL);
        be64_store(b + 2 * CLUSTER, 3 * CLUSTER | 1ULL << 63); /* L1: an L2 table in cluster 3 */
        be64_store(b + 3 * CLUSTER, 4 * CLUSTER | 1ULL << 63); /* L2: data in cluster 4 */
        path = write_file("whole", b, 5 * CLUSTER, 5 * CLUSTER);
        g_assert_true(domus_image_probe(path, NULL, &image, NULL));
        domus_image_clear(&image);
        for (uint64_t size = 4 * CLUSTER; size; size -= size < 200 ? 1 : MIN(size - 190, CLUSTER / 3)) {
                g_assert_cmpint(truncate(path, (off_t)size), ==, 0);
                expect_error(path, "qcow2", size < 4 ? "is not in qcow2 format" : "is shorter than its header says");
        }
}

static void test_odd_files(void)
{
        g_autofree char *nowhere = file_path("none"), *fifo = file_path("fifo"), *empty = write_file("empty", "", 0, 0);
        DomusImage image;

        expect_error(nowhere, NULL, "No such file");
        expect_error(dir, NULL, "neither a file nor a block device");
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        expect_error(fifo, NULL, "neither a file nor a block device");
        g_assert_true(domus_image_probe(empty, NULL, &image, NULL));
        g_assert_cmpuint(image.virtual_size, ==, 0);
        domus_image_clear(&image);
        expect_error(empty, "vhd", "'vhd'");
}

/* Whatever bytes a header has, it is read or refused. */
static void test_random_headers(void)
{
        g_autofree uint8_t *b = g_malloc(CLUSTER);

        for (unsigned i = 0; i < 2000; i++) {
                g_autofree char *path = NULL;
                DomusImage image;

                make_header(b, GiB(1), i % 2 ? "base" : NULL, i % 3 ? "raw" : NULL);
                for (unsigned n = g_test_rand_int_range(1, 6); n; n--)
                        b[g_test_rand_int_range(4, 140)] = (uint8_t)g_test_rand_int();
                path = write_file("random", b, CLUSTER, 3 * CLUSTER);
                if (domus_image_probe(path, NULL, &image, NULL))
                        domus_image_clear(&image);
        }
}

int main(int argc, char **argv)
{
        int r;

        g_test_init(&argc, &argv, NULL);
        dir = g_dir_make_tmp("domus-image.XXXXXX", NULL);
        g_test_add_func("/image/raw", test_raw);
        g_test_add_func("/image/cd", test_cd);
        g_test_add_func("/image/raw-is-believed", test_raw_is_believed);
        g_test_add_func("/image/chain", test_chain);
        g_test_add_func("/image/cycle", test_cycle);
        g_test_add_func("/image/backing-problems", test_backing_problems);
        g_test_add_func("/image/bad-headers", test_bad_headers);
        g_test_add_func("/image/truncated", test_truncated);
        g_test_add_func("/image/odd-files", test_odd_files);
        g_test_add_func("/image/random-headers", test_random_headers);
        r = g_test_run();
        for (g_autoptr(GDir) d = g_dir_open(dir, 0, NULL); d;) {
                const char *name = g_dir_read_name(d);
                g_autofree char *path = name ? file_path(name) : NULL;

                if (!path)
                        break;
                unlink(path);
        }
        g_rmdir(dir);
        g_free(dir);
        return r;
}
