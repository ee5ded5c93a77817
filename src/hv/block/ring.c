/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"

#define ENTRIES 256

struct ring {
        struct io_uring uring;
        struct watch watch;
        int event_fd;
        bool reaping;
        unsigned quiet; /* how many look all the time */
        struct ring_op *held, **held_end;
};

static void start_held(struct ring *ring)
{
        struct ring_op *op = ring->held;

        ring->held = NULL;
        while (op) {
                struct ring_op *next = op->next;

                op->start(op);
                op = next;
        }
}

/* Completes what is there; what done() asks for is the caller's to send. */
static bool reap_once(struct ring *ring)
{
        struct io_uring_cqe *cqe;
        bool any = false;

        while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
                struct ring_op *op = io_uring_cqe_get_data(cqe);
                int result = cqe->res;

                io_uring_cqe_seen(&ring->uring, cqe);
                if (op)
                        op->done(op, result);
                any = true;
        }
        if (any && ring->held)
                start_held(ring);
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
                return; /* from within done(): the loop in run goes on */
        ring->reaping = true;
        /* Nobody needs to be woken for what is completed here. */
        io_uring_cq_eventfd_toggle(&ring->uring, false);
        run(ring);
        io_uring_cq_eventfd_toggle(&ring->uring, ring->quiet == 0);
        atomic_thread_fence(memory_order_seq_cst);
        /* What came between the last look and the switch. */
        if (ring->quiet == 0 && io_uring_cq_ready(&ring->uring))
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

/* The operations that images need, and no change of the ring itself. */
static int restrict_ring(struct ring *ring)
{
        static const uint8_t ops[] = {
                IORING_OP_NOP, IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
        };
        struct io_uring_restriction list[ARRAY_SIZE(ops) + 1] = { { .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC } };
        int fd = ring->uring.ring_fd;

        for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
                list[i + 1] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = ops[i] };
        /* Debian 12's liburing has these two in its header only. */
        if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, list, ARRAY_SIZE(list)) < 0 ||
                syscall(SYS_io_uring_register, fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
                return -errno;
        return 0;
}

int ring_new(struct ring **ret)
{
        struct ring *ring = calloc(1, sizeof(*ring));
        int r;

        if (!ring)
                return -ENOMEM;
        r = io_uring_queue_init(ENTRIES, &ring->uring, IORING_SETUP_R_DISABLED);
        if (r < 0) {
                free(ring);
                return r;
        }
        ring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = ring->event_fd < 0 ? -errno : io_uring_register_eventfd(&ring->uring, ring->event_fd);
        if (r >= 0)
                r = restrict_ring(ring);
        if (r < 0) {
                ring_free(ring);
                return r;
        }
        *ret = ring;
        return 0;
}

void ring_free(struct ring *ring)
{
        if (!ring)
                return;
        io_uring_queue_exit(&ring->uring);
        fd_close(ring->event_fd);
        free(ring);
}

int ring_attach(struct ring *ring, struct watch_loop *watches)
{
        return watch_add(watches, &ring->watch, ring->event_fd, EPOLLIN, on_event, ring);
}

void ring_detach(struct ring *ring)
{
        watch_remove(&ring->watch);
}

struct io_uring_sqe *ring_get(struct ring *ring)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

        if (!sqe) {
                io_uring_submit(&ring->uring);
                sqe = io_uring_get_sqe(&ring->uring);
        }
        return sqe;
}

void ring_hold(struct ring *ring, struct ring_op *op)
{
        if (!ring->held)
                ring->held_end = &ring->held;
        op->next = NULL;
        *ring->held_end = op;
        ring->held_end = &op->next;
}

bool ring_ready(const struct ring *ring)
{
        return io_uring_cq_ready(&ring->uring);
}

void ring_quiet(struct ring *ring, bool on)
{
        if (on)
                ring->quiet++;
        else
                ring->quiet--;
        if (on && !ring->reaping)
                io_uring_cq_eventfd_toggle(&ring->uring, false);
        if (!on)
                ring_submit(ring);
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
