/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define ENTRIES 256

/* Completes what is there; what done() submits is the caller's to send. */
static bool reap_once(struct ring *ring)
{
        struct io_uring_cqe *cqe;
        bool any = false;

        while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
                void *data = io_uring_cqe_get_data(cqe);
                int result = cqe->res;

                io_uring_cqe_seen(&ring->uring, cqe);
                ring->done(ring->opaque, data, result);
                any = true;
        }
        return any;
}

/* The kernel lacks memory or room: the main loop tries again. */
static void try_later(struct ring *ring, int r)
{
        if (r != -EAGAIN && r != -EBUSY && r != -EINTR)
                log_warning("io_uring: %s", strerror(-r));
        eventfd_write(ring->event_fd, 1);
}

/* Submits and completes until there is nothing left of either. */
static void run(struct ring *ring)
{
        do {
                int r = io_uring_sq_ready(&ring->uring) ? io_uring_submit(&ring->uring) : 0;

                if (r < 0) {
                        reap_once(ring);
                        try_later(ring, r);
                        return;
                }
        } while (reap_once(ring) && io_uring_sq_ready(&ring->uring));
}

void ring_submit(struct ring *ring)
{
        if (ring->reaping)
                return; /* from within done(): the loop below goes on */
        ring->reaping = true;
        /* Nobody needs to be woken for what is completed here. */
        io_uring_cq_eventfd_toggle(&ring->uring, false);
        run(ring);
        io_uring_cq_eventfd_toggle(&ring->uring, true);
        atomic_thread_fence(memory_order_seq_cst);
        /* What came between the last look and the switch. */
        if (io_uring_cq_ready(&ring->uring))
                eventfd_write(ring->event_fd, 1);
        ring->reaping = false;
}

static void on_event(void *opaque, uint32_t events)
{
        struct ring *ring = opaque;
        eventfd_t count;

        eventfd_read(ring->event_fd, &count);
        ring_submit(ring);
}

int ring_init(struct ring *ring, struct watch_loop *watches, void (*done)(void *opaque, void *data, int result), void *opaque)
{
        int r = io_uring_queue_init(ENTRIES, &ring->uring, 0);

        if (r < 0)
                return r;
        ring->done = done;
        ring->opaque = opaque;
        ring->reaping = false;
        ring->watch = (struct watch){ 0 };
        ring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = ring->event_fd < 0 ? -errno : io_uring_register_eventfd(&ring->uring, ring->event_fd);
        if (r >= 0)
                r = watch_add(watches, &ring->watch, ring->event_fd, EPOLLIN, on_event, ring);
        if (r < 0)
                ring_finish(ring);
        return r;
}

void ring_finish(struct ring *ring)
{
        watch_remove(&ring->watch);
        io_uring_queue_exit(&ring->uring);
        ring->event_fd = fd_close(ring->event_fd);
}

struct io_uring_sqe *ring_get(struct ring *ring, void *data)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

        if (!sqe) {
                io_uring_submit(&ring->uring);
                sqe = io_uring_get_sqe(&ring->uring);
        }
        if (sqe)
                io_uring_sqe_set_data(sqe, data);
        return sqe;
}

void ring_wait(struct ring *ring)
{
        struct io_uring_cqe *cqe;
        int r = io_uring_submit_and_wait(&ring->uring, 1);

        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
                log_warning("io_uring: %s", strerror(-r));
        if (io_uring_peek_cqe(&ring->uring, &cqe) == 0)
                ring_submit(ring);
}
