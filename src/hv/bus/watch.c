/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/fd.h"

#define BATCH 32

struct watch_loop {
        pthread_mutex_t *lock;
        int epoll_fd;
        /* What the current dispatch has to call; data.ptr is NULL for a watch that has been removed since. */
        struct epoll_event batch[BATCH];
        unsigned n_batch;
};

int watch_loop_new(pthread_mutex_t *lock, struct watch_loop **ret)
{
        struct watch_loop *loop = calloc(1, sizeof(*loop));

        if (!loop)
                return -ENOMEM;
        loop->lock = lock;
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (loop->epoll_fd < 0) {
                int r = -errno;

                free(loop);
                return r;
        }
        *ret = loop;
        return 0;
}

void watch_loop_free(struct watch_loop *loop)
{
        if (!loop)
                return;
        fd_close(loop->epoll_fd);
        free(loop);
}

int watch_loop_fd(const struct watch_loop *loop)
{
        return loop->epoll_fd;
}

void watch_loop_dispatch(struct watch_loop *loop)
{
        int n;

        pthread_mutex_lock(loop->lock);
        n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, 0);
        loop->n_batch = n > 0 ? (unsigned)n : 0;
        for (unsigned i = 0; i < loop->n_batch; i++) {
                struct watch *w = loop->batch[i].data.ptr;

                if (w)
                        w->fn(w->opaque, loop->batch[i].events);
        }
        loop->n_batch = 0;
        pthread_mutex_unlock(loop->lock);
}

int watch_add(struct watch_loop *loop, struct watch *w, int fd, uint32_t events, watch_fn fn, void *opaque)
{
        struct epoll_event event = { .events = events, .data.ptr = w };

        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                return -errno;
        *w = (struct watch){ .loop = loop, .fd = fd, .events = events, .fn = fn, .opaque = opaque };
        return 0;
}

int watch_set(struct watch *w, uint32_t events)
{
        struct epoll_event event = { .events = events, .data.ptr = w };

        if (!w->loop)
                return -EINVAL;
        if (w->events == events)
                return 0;
        if (epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &event) < 0)
                return -errno;
        w->events = events;
        return 0;
}

void watch_remove(struct watch *w)
{
        struct watch_loop *loop = w->loop;

        if (!loop)
                return;
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
        for (unsigned i = 0; i < loop->n_batch; i++)
                if (loop->batch[i].data.ptr == w)
                        loop->batch[i].data.ptr = NULL;
        w->loop = NULL;
}
