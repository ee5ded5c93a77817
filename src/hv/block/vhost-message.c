/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/vhost-message.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/macros.h"

#define TIMEOUT_MS 30000

#define FLAG_VERSION 1u
#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u

struct header {
        uint32_t request, flags, size;
};

struct config {
        uint32_t offset, size, flags;
        uint8_t bytes[256];
};

struct region {
        uint64_t gpa, size, user, offset;
};

union payload {
        uint64_t u64;
        struct {
                uint32_t index, value;
        } state;
        struct {
                uint32_t index, flags;
                uint64_t desc, used, avail, log;
        } addr;
        struct {
                uint32_t n, padding;
                struct region regions[VHOST_REGIONS_MAX];
        } memory;
        struct config config;
};

/* On the wire there is no gap between the two. */
struct message {
        struct header header;
        union payload payload;
};

/* All of it, or an error: messages are far smaller than a socket's buffer. */
static int send_message(int sock, const struct message *m, const int *fds, unsigned n_fds)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(VHOST_REGIONS_MAX * sizeof(int))];
        } control = { 0 };
        size_t size = sizeof(m->header) + m->header.size;
        struct iovec iov[] = {
                { .iov_base = (void *)(uintptr_t)&m->header, .iov_len = sizeof(m->header) },
                { .iov_base = (void *)(uintptr_t)&m->payload, .iov_len = m->header.size },
        };
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov) };
        ssize_t sent;

        if (n_fds) {
                struct cmsghdr *c = &control.align;

                msg.msg_control = control.bytes;
                msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        do
                sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent < 0)
                return -errno;
        return (size_t)sent == size ? 0 : -EPROTO;
}

static int receive(int sock, void *buf, size_t n)
{
        uint8_t *to = buf;

        while (n) {
                struct pollfd p = { .fd = sock, .events = POLLIN };
                int r = poll(&p, 1, TIMEOUT_MS);
                ssize_t got;

                if (r == 0)
                        return -ETIMEDOUT;
                got = r < 0 ? -1 : recv(sock, to, n, 0);
                if (got < 0 && errno != EINTR && errno != EAGAIN)
                        return -errno;
                if (got == 0)
                        return -ECONNRESET;
                if (got > 0) {
                        to += got;
                        n -= (size_t)got;
                }
        }
        return 0;
}

/* The reply to request, whose payload must have size bytes. */
static int receive_reply(int sock, uint32_t request, struct message *m, size_t size)
{
        int r = receive(sock, &m->header, sizeof(m->header));

        if (r < 0)
                return r;
        if (m->header.request != request || !(m->header.flags & FLAG_REPLY) || m->header.size != size)
                return -EPROTO;
        return receive(sock, &m->payload, size);
}

/* Sends and waits for "done". */
static int send_acked(int sock, struct message *m, const int *fds, unsigned n_fds)
{
        uint32_t request = m->header.request;
        int r;

        m->header.flags = FLAG_VERSION | FLAG_NEED_REPLY;
        r = send_message(sock, m, fds, n_fds);
        if (r == 0)
                r = receive_reply(sock, request, m, sizeof(m->payload.u64));
        return r < 0 ? r : m->payload.u64 ? -EREMOTEIO : 0;
}

int vhost_get_u64(int sock, enum vhost_request request, uint64_t *ret)
{
        struct message m = { .header = { request, FLAG_VERSION, 0 } };
        int r = send_message(sock, &m, NULL, 0);

        if (r == 0)
                r = receive_reply(sock, request, &m, sizeof(m.payload.u64));
        if (r == 0)
                *ret = m.payload.u64;
        return r;
}

int vhost_set_u64(int sock, enum vhost_request request, uint64_t value)
{
        struct message m = { .header = { request, FLAG_VERSION, sizeof(value) }, .payload.u64 = value };

        return send_message(sock, &m, NULL, 0);
}

int vhost_set_owner(int sock)
{
        struct message m = { .header = { VHOST_SET_OWNER, FLAG_VERSION, 0 } };

        return send_message(sock, &m, NULL, 0);
}

int vhost_get_config(int sock, void *buf, size_t size)
{
        size_t all = offsetof(struct config, bytes) + size;
        struct message m = { .header = { VHOST_GET_CONFIG, FLAG_VERSION, (uint32_t)all }, .payload.config.size = (uint32_t)size };
        int r = send_message(sock, &m, NULL, 0);

        if (r == 0)
                r = receive_reply(sock, VHOST_GET_CONFIG, &m, all);
        if (r == 0)
                memcpy(buf, m.payload.config.bytes, size);
        return r;
}

int vhost_set_memory(int sock, const struct vhost_region *regions, unsigned n)
{
        struct message m = { .header.request = VHOST_SET_MEM_TABLE, .payload.memory.n = n };
        int fds[VHOST_REGIONS_MAX];

        if (n > VHOST_REGIONS_MAX)
                return -EINVAL;
        m.header.size = (uint32_t)(offsetof(union payload, memory.regions) + n * sizeof(struct region));
        for (unsigned i = 0; i < n; i++) {
                m.payload.memory.regions[i] = (struct region){ regions[i].gpa, regions[i].size, regions[i].user, regions[i].offset };
                fds[i] = regions[i].fd;
        }
        return send_acked(sock, &m, fds, n);
}

static int set_state(int sock, enum vhost_request request, uint32_t value)
{
        struct message m = { .header = { request, 0, sizeof(m.payload.state) }, .payload.state = { 0, value } };

        return send_acked(sock, &m, NULL, 0);
}

int vhost_set_vring_num(int sock, unsigned entries)
{
        return set_state(sock, VHOST_SET_VRING_NUM, entries);
}

int vhost_set_vring_base(int sock, unsigned index)
{
        return set_state(sock, VHOST_SET_VRING_BASE, index);
}

int vhost_set_vring_enable(int sock)
{
        return set_state(sock, VHOST_SET_VRING_ENABLE, 1);
}

int vhost_set_vring_addr(int sock, const struct vhost_vring_addr *addr)
{
        struct message m = {
                .header = { VHOST_SET_VRING_ADDR, 0, sizeof(m.payload.addr) },
                .payload.addr = { .desc = addr->desc, .used = addr->used, .avail = addr->avail },
        };

        return send_acked(sock, &m, NULL, 0);
}

int vhost_set_vring_fd(int sock, enum vhost_request request, int fd)
{
        struct message m = { .header = { request, 0, sizeof(m.payload.u64) } };

        return send_acked(sock, &m, &fd, 1);
}
