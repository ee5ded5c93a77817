/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/worker.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "model/error.h"
#include "run/child.h"

#define THREADS_MAX 16
#define END_MS 5000

struct StorageWorkers {
        GThreadPool *threads;
        GAsyncQueue *finished; /* of struct work */
        int wake_fd;           /* counts what is put into finished */
        StorageCancel cancel;
        sd_event_source *source;
        unsigned running;      /* begun, not yet done; the loop's */
};

struct work {
        StorageWorkFn fn;
        StorageWorkDone done;
        gpointer data;
        GError *error;
};

static void run_work(gpointer p, gpointer opaque)
{
        struct work *work = p;
        StorageWorkers *w = opaque;

        if (!work->fn(&w->cancel, work->data, &work->error) && !work->error)
                work->error = g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "work failed without saying why");
        g_async_queue_push(w->finished, work);
        eventfd_write(w->wake_fd, 1);
}

static void deliver(StorageWorkers *w)
{
        struct work *work;

        while ((work = g_async_queue_try_pop(w->finished))) {
                w->running--;
                work->done(work->data, work->error);
                g_clear_error(&work->error);
                g_free(work);
        }
}

static int on_wake(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
        eventfd_t n;

        eventfd_read(fd, &n);
        deliver(opaque);
        return 0;
}

static int open_fds(StorageWorkers *w, sd_event *loop)
{
        w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        w->cancel.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->wake_fd < 0 || w->cancel.fd < 0)
                return -errno;
        return sd_event_add_io(loop, &w->source, w->wake_fd, EPOLLIN, on_wake, w);
}

StorageWorkers *storage_workers_new(sd_event *loop, GError **error)
{
        StorageWorkers *w = g_new0(StorageWorkers, 1);
        int r;

        w->finished = g_async_queue_new();
        w->threads = g_thread_pool_new(run_work, w, THREADS_MAX, FALSE, NULL);
        r = open_fds(w, loop);
        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make workers: %s", g_strerror(-r));
                storage_workers_free(w);
                return NULL;
        }
        return w;
}

static void wait_for_end(StorageWorkers *w)
{
        gint64 deadline = g_get_monotonic_time() + END_MS * 1000;

        eventfd_write(w->cancel.fd, 1);
        while (w->running && g_get_monotonic_time() < deadline) {
                struct pollfd p = { .fd = w->wake_fd, .events = POLLIN };
                eventfd_t n;

                poll(&p, 1, END_MS);
                eventfd_read(w->wake_fd, &n);
                deliver(w);
        }
}

void storage_workers_free(StorageWorkers *w)
{
        if (!w)
                return;
        if (w->running)
                wait_for_end(w);
        sd_event_source_disable_unref(w->source);
        if (w->running) { /* its thread still needs the rest */
                log_warning("%u storage operations do not end; leaving them", w->running);
                return;
        }
        g_thread_pool_free(w->threads, FALSE, TRUE);
        g_async_queue_unref(w->finished);
        fd_close(w->wake_fd);
        fd_close(w->cancel.fd);
        g_free(w);
}

void storage_work_begin(StorageWorkers *w, StorageWorkFn fn, StorageWorkDone done, gpointer data)
{
        struct work *work = g_new0(struct work, 1);

        *work = (struct work){ .fn = fn, .done = done, .data = data };
        w->running++;
        g_thread_pool_push(w->threads, work, NULL);
}

bool storage_cancelled(const StorageCancel *cancel, GError **error)
{
        struct pollfd p = { .fd = cancel ? cancel->fd : -1, .events = POLLIN };

        if (poll(&p, 1, 0) <= 0)
                return false;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED, "the daemon is shutting down");
        return true;
}

/* --- Programs --- */

struct program {
        sd_event *loop;
        char *out;
        GError *error;
};

static void on_done(const DomusChildResult *result, const GError *error, gpointer opaque)
{
        struct program *p = opaque;

        p->out = g_strndup(result->out, result->out_len);
        p->error = error ? g_error_copy(error) : NULL;
        sd_event_exit(p->loop, 0);
}

static int on_cancel(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
        return sd_event_exit(opaque, -ECANCELED);
}

static int run_loop(struct program *p, const StorageCancel *cancel, const DomusChildConfig *config, DomusChild **child, GError **error)
{
        int r = sd_event_new(&p->loop);

        if (r >= 0 && cancel)
                r = sd_event_add_io(p->loop, NULL, cancel->fd, EPOLLIN, on_cancel, p->loop);
        if (r < 0)
                return r;
        *child = domus_child_run(p->loop, config, on_done, p, error);
        return *child ? sd_event_loop(p->loop) : 0;
}

bool storage_run(const StorageCancel *cancel, const char *const *argv, const int *fds, size_t n_fds, char **ret_out, GError **error)
{
        DomusChildConfig config = { .argv = argv, .fds = fds, .n_fds = n_fds };
        struct program p = { 0 };
        DomusChild *child = NULL;
        int r = run_loop(&p, cancel, &config, &child, error);

        if (r < 0) {
                domus_child_free(child);
                if (!storage_cancelled(cancel, error))
                        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot run %s: %s", argv[0], g_strerror(-r));
        } else if (child && p.error) {
                g_propagate_error(error, g_steal_pointer(&p.error));
                r = -EIO;
        }
        sd_event_unref(p.loop);
        g_clear_error(&p.error);
        if (r < 0 || !child) {
                g_free(p.out);
                return false;
        }
        if (ret_out)
                *ret_out = p.out;
        else
                g_free(p.out);
        return true;
}
