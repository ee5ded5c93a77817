/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* File descriptors: ownership, whole reads and writes, passing. All functions return negative errno on failure. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/macros.h"

/* Closes fd if it is >= 0, keeping errno; returns -1, so that "x = fd_close(x)" reads well. */
int fd_close(int fd);

static inline void fd_closep(int *fd)
{
        fd_close(*fd);
}
/* int DOMUS_CLOSE_FD fd = -1; closes it at the end of the scope. */
#define DOMUS_CLOSE_FD DOMUS_CLEANUP(fd_closep)

static inline int fd_steal(int *fd)
{
        int r = *fd;

        *fd = -1;
        return r;
}

int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);

/* Writes all n bytes, repeating on EINTR and short writes; -EAGAIN if a nonblocking fd is full. */
int fd_write_all(int fd, const void *buf, size_t n);
/* Reads until n bytes or end of file; returns the count read. */
ssize_t fd_read_full(int fd, void *buf, size_t n);
/* pread until n bytes or end of file; returns the count read. */
ssize_t fd_pread_full(int fd, void *buf, size_t n, off_t offset);

/* Sends one byte with nfds (1..16) descriptors by SCM_RIGHTS, unix(7). */
int fd_send_fds(int sock, const int *fds, size_t nfds);
/* Receives one byte with up to max descriptors, close-on-exec, into fds; returns their count. */
int fd_recv_fds(int sock, int *fds, size_t max);
