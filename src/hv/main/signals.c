/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"

#define STACK_SIZE (64u << 10)

struct signals {
        sigset_t set;
        pthread_t thread;
        bool started;
        _Atomic bool ends;
        _Atomic int first;
        int fd;
        sd_event_source *source;
        int (*fn)(void *opaque, int signal);
        void *opaque;
        int any; /* one of the set */
};

static void *wait_for_signals(void *opaque)
{
        struct signals *s = opaque;
        int signal;

        pthread_setname_np(pthread_self(), "signals");
        while (sigwait(&s->set, &signal) == 0 && !atomic_load(&s->ends)) {
                int none = 0;

                atomic_compare_exchange_strong(&s->first, &none, signal);
                eventfd_write(s->fd, 1);
        }
        return NULL;
}

static int on_event(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        struct signals *s = userdata;
        eventfd_t count;

        eventfd_read(fd, &count);
        return s->fn(s->opaque, atomic_load(&s->first));
}

static int start(struct signals *s)
{
        pthread_attr_t attr;
        int r = pthread_attr_init(&attr);

        if (r == 0) {
                pthread_attr_setstacksize(&attr, STACK_SIZE);
                r = pthread_create(&s->thread, &attr, wait_for_signals, s);
                pthread_attr_destroy(&attr);
        }
        s->started = r == 0;
        return -r;
}

void signals_free(struct signals *s)
{
        if (!s)
                return;
        if (s->started) {
                atomic_store(&s->ends, true);
                pthread_kill(s->thread, s->any);
                pthread_join(s->thread, NULL);
        }
        sd_event_source_disable_unref(s->source);
        fd_close(s->fd);
        free(s);
}

int signals_new(sd_event *loop, const int *which, unsigned n, int (*fn)(void *opaque, int signal), void *opaque, struct signals **ret)
{
        struct signals *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->fn = fn;
        s->opaque = opaque;
        s->any = which[0];
        sigemptyset(&s->set);
        for (unsigned i = 0; i < n; i++)
                sigaddset(&s->set, which[i]);
        pthread_sigmask(SIG_BLOCK, &s->set, NULL);
        s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = s->fd < 0 ? -errno : sd_event_add_io(loop, &s->source, s->fd, EPOLLIN, on_event, s);
        if (r >= 0)
                r = start(s);
        if (r < 0) {
                signals_free(s);
                return r;
        }
        *ret = s;
        return 0;
}
