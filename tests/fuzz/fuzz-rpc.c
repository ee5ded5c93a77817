/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes from a client: through the codec as every kind of message in turn, and as a connection to a whole
 * server with one domain. */
#include "smoke.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/domain.h"
#include "libvirt-driver/facts.h"
#include "libvirt-driver/packet.h"
#include "libvirt-driver/server.h"

static const char domain_xml[] =
        "<domain type='domus'><name>seed</name><uuid>11111111-1111-1111-1111-111111111111</uuid><memory>65536</memory>"
        "<os><type>hvm</type><kernel>/nowhere/kernel</kernel></os><devices><console type='pty'/></devices></domain>";

/* --- The codec --- */

/* What was decoded can be encoded again, and takes as many bytes. */
static void check_type(const struct xdr_type *type, const uint8_t *data, size_t size)
{
        struct arena arena = { 0 };
        void *v = arena_alloc(&arena, type ? type->size : 0);

        if (xdr_decode(type, data, size, v, &arena)) {
                g_autoptr(GByteArray) out = g_byte_array_new();

                if (!xdr_encode(type, v, out, PACKET_MAX) || out->len != size)
                        g_error("%s: %zu bytes came back as %u", type ? type->name : "nothing", size, out->len);
        }
        arena_clear(&arena);
}

/* The first two bytes choose the message. */
static void check_codec(const uint8_t *data, size_t size)
{
        const struct remote_proc *p;

        if (size < 2)
                return;
        p = &remote_procs[(data[0] << 8 | data[1]) % n_remote_procs];
        check_type(p->args, data + 2, size - 2);
        check_type(p->ret, data + 2, size - 2);
}

/* --- A server --- */

static char dir[] = "/tmp/domus-fuzz-rpc-XXXXXX";
static sd_event *loop;
static DomusPaths paths;
static DomusHost *host;
static DomusManager *manager;
static struct server *server;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

static void finish(void)
{
        server_free(server);
        domus_manager_free(manager);
        domus_host_free(host);
        g_free(paths.config_dir);
        g_free(paths.run_dir);
        g_free(paths.state_dir);
        g_free(paths.log_dir);
        g_free(paths.vmm_path);
        sd_event_unref(loop);
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void start(void)
{
        g_autoptr(GError) error = NULL;

        log_set_level(LOG_LEVEL_ERROR);
        if (!mkdtemp(dir) || sd_event_new(&loop) < 0)
                g_error("cannot begin");
        paths.config_dir = g_build_filename(dir, "etc", NULL);
        paths.run_dir = g_build_filename(dir, "run", NULL);
        paths.state_dir = g_build_filename(dir, "lib", NULL);
        paths.log_dir = g_build_filename(dir, "log", NULL);
        paths.vmm_path = g_strdup("/bin/false");
        host = domus_host_new(paths.vmm_path, &error);
        if (host)
                manager = domus_manager_new(loop, &paths, host, NULL, &error);
        if (!manager || !domus_manager_define(manager, domain_xml, 0, &error))
                g_error("cannot begin: %s", error->message);
        server = server_new(manager, loop, true);
        atexit(finish);
}

static void drain(int fd)
{
        char buf[65536];

        while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
        }
}

static void check_connection(const uint8_t *data, size_t size)
{
        int fds[2];

        if (!server)
                start();
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 || server_add_client(server, fds[1], false) < 0)
                g_error("cannot connect");
        while (size) {
                ssize_t r = send(fds[0], data, size, MSG_NOSIGNAL);

                if (r < 0 && errno != EAGAIN)
                        break;
                if (r > 0) {
                        data += r;
                        size -= (size_t)r;
                }
                while (sd_event_run(loop, 0) > 0)
                        drain(fds[0]);
        }
        close(fds[0]);
        while (sd_event_run(loop, 0) > 0) {
        }
        if (server->n_clients)
                g_error("a client stayed behind");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        check_codec(data, size);
        check_connection(data, size);
        return 0;
}

/* --- Seeds --- */

#define W(x) (uint8_t)((uint32_t)(x) >> 24), (uint8_t)((uint32_t)(x) >> 16), (uint8_t)((uint32_t)(x) >> 8), (uint8_t)(x)
#define CALL(procedure, words) W(28 + 4 * (words)), W(PROGRAM_REMOTE), W(1), W(procedure), W(PACKET_CALL), W(1), W(PACKET_OK)
#define OPEN CALL(1, 2), W(0), W(0)
#define NAME W(4), 's', 'e', 'e', 'd'
#define DOMAIN NAME, W(0x11111111), W(0x11111111), W(0x11111111), W(0x11111111), W(-1) /* 7 words */

static const uint8_t connect_seed[] = {
        CALL(66, 0), CALL(60, 1), W(10), OPEN, CALL(60, 1), W(14), CALL(360, 0), CALL(157, 0), CALL(110, 0), CALL(7, 0), CALL(361, 0),
        CALL(2, 0), W(28), W(PROGRAM_KEEPALIVE), W(1), W(KEEPALIVE_PING), W(PACKET_MESSAGE), W(0), W(0),
};
static const uint8_t domain_seed[] = {
        OPEN, CALL(273, 2), W(1), W(0), CALL(23, 2), NAME, CALL(24, 4), W(0x11111111), W(0x11111111), W(0x11111111), W(0x11111111),
        CALL(14, 8), DOMAIN, W(2), CALL(16, 7), DOMAIN, CALL(212, 8), DOMAIN, W(0), CALL(20, 9), DOMAIN, W(4), W(8),
        CALL(344, 10), W(1), DOMAIN, W(0), W(0), CALL(200, 8), DOMAIN, W(6), CALL(230, 10), DOMAIN, W(4), W(8), W(0),
        CALL(265, 10), DOMAIN, W(0), W(0), W(0),
};
static const uint8_t stream_seed[] = {
        OPEN, CALL(201, 9), DOMAIN, W(0), W(1),
        W(32), W(PROGRAM_REMOTE), W(1), W(201), W(PACKET_STREAM), W(1), W(PACKET_CONTINUE), 'd', 'a', 't', 'a',
        W(28), W(PROGRAM_REMOTE), W(1), W(201), W(PACKET_STREAM), W(1), W(PACKET_OK),
};
static const uint8_t event_seed[] = {
        OPEN, CALL(316, 2), W(0), W(0), CALL(316, 9), W(1), W(1), DOMAIN, CALL(317, 1), W(0), CALL(105, 0), CALL(106, 0),
        CALL(167, 1), W(1), CALL(168, 1), W(1), CALL(313, 2), W(0), W(0), CALL(314, 1), W(1), CALL(368, 2), W(1), W(0),
};
static const uint8_t host_seed[] = {
        OPEN, CALL(6, 0), CALL(293, 3), W(1), W(1), W(0), CALL(227, 3), W(-1), W(0), W(0), CALL(228, 3), W(4), W(-1), W(0),
        CALL(101, 2), W(0), W(4), CALL(342, 5), W(0), W(0), W(0), W(0), W(0), CALL(5, 1), W(0), CALL(46, 2), NAME,
        CALL(312, 5), W(6), 'x', '8', '6', '_', '6', '4', 0, 0, W(1), W(0),
};
static const uint8_t params_seed[] = {
        OPEN, CALL(419, 13), W(2), W(1), 'a', 0, 0, 0, W(7), NAME, W(1), 'b', 0, 0, 0, W(4), W(0), W(1), W(0), CALL(57, 8), DOMAIN, W(0),
};

#define SEED(name) { name, sizeof(name) }
const struct fuzz_seed fuzz_seeds[] = {
        SEED(connect_seed), SEED(domain_seed), SEED(stream_seed), SEED(event_seed), SEED(host_seed), SEED(params_seed),
};
const size_t fuzz_n_seeds = sizeof(fuzz_seeds) / sizeof(fuzz_seeds[0]);
