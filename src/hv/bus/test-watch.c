/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "hv/bus/check.h"
#include "hv/bus/watch.h"

static struct watch watches[2];
static unsigned calls;

/* Whichever of the two comes first takes both away. */
static void remove_both(void *opaque, uint32_t events)
{
        calls++;
        watch_remove(&watches[0]);
        watch_remove(&watches[1]);
}

static bool is_ready(struct watch_loop *loop)
{
        struct pollfd p = { .fd = watch_loop_fd(loop), .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

int main(void)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct watch_loop *loop;
        int fds[2];

        CHECK(watch_loop_new(&lock, &loop) == 0);
        for (unsigned i = 0; i < 2; i++) {
                fds[i] = eventfd(1, EFD_CLOEXEC);
                CHECK(watch_add(loop, &watches[i], fds[i], 0, remove_both, NULL) == 0);
        }
        CHECK(!is_ready(loop));
        watch_loop_dispatch(loop);
        CHECK(calls == 0);
        for (unsigned i = 0; i < 2; i++)
                CHECK(watch_set(&watches[i], EPOLLIN) == 0);
        CHECK(is_ready(loop));
        watch_loop_dispatch(loop);
        CHECK(calls == 1);
        CHECK(!is_ready(loop));
        CHECK(watch_set(&watches[0], EPOLLIN) < 0);
        watch_loop_free(loop);
        fd_close(fds[0]);
        fd_close(fds[1]);
        return 0;
}
