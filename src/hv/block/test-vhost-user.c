/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2 image behind qemu-storage-daemon. */
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "hv/block/test-image.h"
#include "hv/bus/memory.h"

#define SKIPPED 77

static char dir[] = "/var/tmp/domus-test-vhost-XXXXXX";
static char image[64], socket_path[64];

static void run(const char *command)
{
        CHECK(system(command) == 0);
}

static pid_t start_server(const char *options)
{
        char node[192], export[192];
        pid_t pid;

        snprintf(node, sizeof(node), "driver=qcow2,node-name=n,discard=unmap,file.driver=file,file.filename=%s", image);
        snprintf(export, sizeof(export), "type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=%s,%s", socket_path, options);
        pid = fork();
        if (pid == 0) {
                execlp("qemu-storage-daemon", "qemu-storage-daemon", "--blockdev", node, "--export", export, NULL);
                _exit(1);
        }
        return pid;
}

static int connect_server(void)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };

        strcpy(addr.sun_path, socket_path);
        for (unsigned i = 0; i < 500; i++) {
                int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) == 0)
                        return sock;
                fd_close(sock);
                usleep(10000);
        }
        return -1;
}

static void end_server(pid_t pid)
{
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
}

static struct block *make_remote(struct props *props)
{
        int sock = connect_server();

        CHECK(sock >= 0);
        props_add_fds(props, "vhost-user", &sock, 1);
        return make(props);
}

/* Memory that is the guest's goes straight to the server; the test's own goes through the ring's memory (check_data). */
static void check_guest_memory(struct block *b, struct guest_memory *ram)
{
        struct iovec iov[2] = { { ram->regions[0].host + 4096, 1536 }, { ram->regions[0].host + 65537, MiB(1) - 1536 } };

        fill(iov[0].iov_base, iov[0].iov_len, 1);
        fill(iov[1].iov_base, iov[1].iov_len, 2);
        CHECK(do_request(b, BLOCK_WRITE, MiB(5), iov, 2, MiB(1)) == 0);
        CHECK(do_io(b, BLOCK_READ, MiB(5), ram->regions[0].host + MiB(2), MiB(1)) == 0);
        CHECK(memcmp(ram->regions[0].host + MiB(2), iov[0].iov_base, 1536) == 0);
        CHECK(memcmp(ram->regions[0].host + MiB(2) + 1536, iov[1].iov_base, MiB(1) - 1536) == 0);
}

static void check_zeroes(struct block *b)
{
        uint8_t *buf = malloc(MiB(40));

        CHECK(do_request(b, BLOCK_WRITE_ZEROES, 0, NULL, 0, MiB(40)) == 0);
        CHECK(do_request(b, BLOCK_DISCARD, 0, NULL, 0, MiB(40)) == 0);
        memset(buf, 0xff, MiB(40));
        CHECK(do_io(b, BLOCK_READ, 0, buf, MiB(40)) == 0);
        CHECK(buf[0] == 0 && memcmp(buf, buf + 1, MiB(40) - 1) == 0);
        free(buf);
}

static void test_image(struct guest_memory *ram)
{
        pid_t pid = start_server("writable=on");
        struct props props = { 0 };
        uint8_t *mirror = calloc(1, MiB(4)), buf[512];
        struct block *b;

        props_add_bool(&props, "discard", true);
        props_add_string(&props, "werror", "report");
        b = make_remote(&props);
        CHECK(block_size(b) == MiB(64) && block_can_discard(b));
        CHECK(do_io(b, BLOCK_READ, MiB(64), buf, 512) == -EINVAL);
        check_data(b, mirror, MiB(4));
        check_guest_memory(b, ram);
        CHECK(do_io(b, BLOCK_FLUSH, 0, NULL, 0) == 0);
        block_set_write_through(b, true);
        CHECK(do_io(b, BLOCK_WRITE, 0, mirror, 4096) == 0);
        check_zeroes(b);
        check_poll(b);
        /* Its end fails what comes, and does not hang. */
        end_server(pid);
        reports = 0;
        CHECK(do_io(b, BLOCK_READ, 0, buf, 512) == -EIO && reports == 2);
        block_free(b);
        free(mirror);
}

static void test_readonly(void)
{
        pid_t pid = start_server("writable=off");
        const struct block_env env = { .timers = timers, .watches = watches, .memory = memory, .error = on_error };
        struct props props = { 0 };
        struct block *b = NULL;
        int sock = connect_server();
        char *error = NULL;

        props_add_fds(&props, "vhost-user", &sock, 1);
        CHECK(block_new(&env, &props, &b, &error) == -EROFS && strstr(error, "reading only"));
        free(error);
        props_finish(&props);
        end_server(pid);
        pid = start_server("writable=off");
        props_add_bool(&props, "readonly", true);
        b = make_remote(&props);
        CHECK(do_request(b, BLOCK_WRITE_ZEROES, 0, NULL, 0, 512) == -EROFS);
        block_free(b);
        end_server(pid);
}

#define SIDE_BY_SIDE 8

static void do_side_by_side(struct block *b, enum block_op op, uint8_t buf[SIDE_BY_SIDE][4096])
{
        struct test_request t[SIDE_BY_SIDE];
        struct iovec iov[SIDE_BY_SIDE];

        for (unsigned i = 0; i < SIDE_BY_SIDE; i++) {
                iov[i] = (struct iovec){ buf[i], sizeof(buf[i]) };
                t[i] = (struct test_request){ .request = { .op = op, .offset = i * 4096, .len = 4096, .iov = &iov[i], .n_iov = 1, .done = on_done } };
                block_submit(b, &t[i].request);
        }
        for (unsigned i = 0; i < SIDE_BY_SIDE; i++)
                CHECK(finish(&t[i]) == 0);
}

/* Others wait for the one that the server has. */
static void test_one_request(void)
{
        pid_t pid = start_server("writable=on");
        static uint8_t out[SIDE_BY_SIDE][4096], in[SIDE_BY_SIDE][4096];
        struct props props = { 0 };
        struct block *b;

        props_add_number(&props, "requests", 1);
        b = make_remote(&props);
        for (unsigned i = 0; i < SIDE_BY_SIDE; i++)
                fill(out[i], sizeof(out[i]), i);
        do_side_by_side(b, BLOCK_WRITE, out);
        do_side_by_side(b, BLOCK_READ, in);
        CHECK(memcmp(in, out, sizeof(out)) == 0);
        block_free(b);
        end_server(pid);
}

static void *poll_in_thread(void *opaque)
{
        struct block *b = opaque;
        static uint8_t buf[512];
        struct iovec iov = { buf, sizeof(buf) };
        struct test_request t = { .request = { .op = BLOCK_READ, .len = sizeof(buf), .iov = &iov, .n_iov = 1, .done = on_done } };

        pthread_mutex_lock(&lock);
        submit_polled(b, &t);
        /* It came from who freed the image. */
        CHECK(t.is_done && t.result == -EIO);
        pthread_mutex_unlock(&lock);
        return NULL;
}

/* An image is freed while a vCPU polls for what its server does not do. */
static void test_free_polled(void)
{
        pid_t pid = start_server("writable=on");
        struct props props = { 0 };
        struct block *b;
        pthread_t thread;

        props_add_string(&props, "rerror", "report");
        b = make_remote(&props);
        CHECK(kill(pid, SIGSTOP) == 0 && pthread_create(&thread, NULL, poll_in_thread, b) == 0);
        while (!b->pollers) {
                pthread_mutex_unlock(&lock);
                usleep(1000);
                pthread_mutex_lock(&lock);
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        block_free(b);
        pthread_mutex_unlock(&lock);
        CHECK(pthread_join(thread, NULL) == 0);
        pthread_mutex_lock(&lock);
}

/* A server that is none. */
static void test_nonsense(void)
{
        const struct block_env env = { .timers = timers, .watches = watches, .memory = memory, .error = on_error };
        struct props props = { 0 };
        struct block *b = NULL;
        char *error = NULL;
        int fds[2];

        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        CHECK(write(fds[1], "HTTP/1.1 200 OK\r\n", 17) == 17);
        props_add_fds(&props, "vhost-user", fds, 1);
        CHECK(block_new(&env, &props, &b, &error) == -EPROTO && error);
        free(error);
        props_finish(&props);
        fd_close(fds[1]);
}

int main(void)
{
        struct guest_memory ram;
        char command[128];

        if (system("qemu-storage-daemon --version >/dev/null 2>&1 && qemu-img --version >/dev/null 2>&1") != 0) {
                puts("skipped: no qemu-storage-daemon or qemu-img here");
                return SKIPPED;
        }
        CHECK(mkdtemp(dir) && guest_memory_init(&ram, MiB(16)) == 0);
        snprintf(image, sizeof(image), "%s/image.qcow2", dir);
        snprintf(socket_path, sizeof(socket_path), "%s/socket", dir);
        snprintf(command, sizeof(command), "qemu-img create -q -f qcow2 %s 64M", image);
        run(command);
        memory = &ram;
        start_loops();
        test_image(&ram);
        test_readonly();
        test_one_request();
        test_free_polled();
        test_nonsense();
        end_loops();
        guest_memory_finish(&ram);
        snprintf(command, sizeof(command), "rm -r %s", dir);
        run(command);
        return 0;
}
