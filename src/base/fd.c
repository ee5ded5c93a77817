/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 16

int fd_close(int fd)
{
        int saved_errno = errno;

        if (fd >= 0)
                close(fd);
        errno = saved_errno;
        return -1;
}

static int set_flag(int fd, int get, int set, int flag, bool on)
{
        int flags = fcntl(fd, get);

        if (flags < 0)
                return -errno;
        flags = on ? flags | flag : flags & ~flag;
        return fcntl(fd, set, flags) < 0 ? -errno : 0;
}

int fd_set_nonblock(int fd, bool on)
{
        return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_set_cloexec(int fd, bool on)
{
        return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int fd_write_all(int fd, const void *buf, size_t n)
{
        const char *p = buf;

        while (n) {
                ssize_t r = write(fd, p, n);

                if (r < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                p += r;
                n -= (size_t)r;
        }
        return 0;
}

/* offset NULL: from where the descriptor stands. */
static ssize_t read_full(int fd, void *buf, size_t n, const off_t *offset)
{
        size_t done = 0;

        while (done < n) {
                char *to = (char *)buf + done;
                ssize_t r = offset ? pread(fd, to, n - done, *offset + (off_t)done) : read(fd, to, n - done);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                if (r == 0)
                        break;
                done += (size_t)r;
        }
        return (ssize_t)done;
}

ssize_t fd_read_full(int fd, void *buf, size_t n)
{
        return read_full(fd, buf, n, NULL);
}

ssize_t fd_pread_full(int fd, void *buf, size_t n, off_t offset)
{
        return read_full(fd, buf, n, &offset);
}

union fds_control {
        char buf[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        struct cmsghdr align;
};

int fd_send_fds(int sock, const int *fds, size_t nfds)
{
        char byte = 0;
        struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
        union fds_control control = { 0 };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf };
        struct cmsghdr *c;

        if (nfds == 0 || nfds > FDS_MAX)
                return -EINVAL;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
        return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int fd_recv_fds(int sock, int *fds, size_t max)
{
        char byte;
        struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
        union fds_control control;
        struct msghdr msg = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)
        };
        size_t count = 0;
        ssize_t r = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);

        if (r < 0)
                return -errno;
        if (r == 0)
                return -EPIPE;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (count < max)
                                fds[count++] = fd;
                        else
                                close(fd);
                }
        }
        return (int)count;
}
