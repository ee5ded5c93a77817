/* SPDX-License-Identifier: GPL-2.0-or-later */

/* passt(1), which speaks for a guest as an ordinary process of the host does. It is started when the ports that it is to forward are free, and waited for until it serves. */

#include "daemon/device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/device-ports.h"
#include "daemon/domlog.h"

/* The passt of a guest that has just ended may need a moment to end, too. */
#define PORTS_TRIES 40
#define PORTS_PAUSE_MS 50
#define PORTS_ACCURACY_MS 5
#define READY_SECONDS 30
#define SOCKET_FD "3" /* in the child */
#define READY_FD "4"

/* One that has not told yet how its start went, or nobody has asked it. */
typedef struct {
        DomusDomain *domain; /* which has it */
        char *alias, *forwards;
        GPtrArray *argv;
        int fd;              /* its end of the socket, until it runs */
        int ready_fd;        /* it writes its number there when it serves */
        unsigned tries;
        sd_event_source *timer, *ready;
        off_t log_start;     /* of the domain's log, when it was started */
        bool serves;
        GError *error;       /* or why it does not */
        DomusQmpReply done;  /* who waits */
        gpointer opaque;
} Passt;

/* --- How it went --- */

static void stop_waiting(Passt *p)
{
        p->timer = sd_event_source_disable_unref(p->timer);
        p->ready = sd_event_source_disable_unref(p->ready);
        p->ready_fd = fd_close(p->ready_fd);
        p->fd = fd_close(p->fd);
}

/* NULL: well. p may be gone afterwards. */
static void finish(Passt *p, const GError *error)
{
        DomusQmpReply done = g_steal_pointer(&p->done);
        g_autoptr(GError) own = error ? g_error_copy(error) : NULL;

        stop_waiting(p);
        p->serves = !error;
        if (done)
                done(own, p->opaque);
        else
                p->error = g_steal_pointer(&own);
}

static void fail(Passt *p, const char *reason)
{
        g_autoptr(GError) error = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "passt for interface '%s' has not started: %s", p->alias, reason);

        finish(p, error);
}

/* Its complaint about a system without a log, and its remark that it is not root any more, explain nothing. */
static char *complaint(const Passt *p)
{
        static const char *const noise[] = { "Failed to send ", "Don't run as root.", NULL };

        return p->domain->log_path ? domus_log_last_line_but(p->domain->log_path, p->log_start, noise) : NULL;
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
        Passt *p = opaque;
        char number[32];
        ssize_t n = read(fd, number, sizeof(number));
        g_autofree char *reason = n > 0 ? NULL : complaint(p);

        if (n > 0)
                finish(p, NULL);
        else
                fail(p, reason ? reason : "it ended");
        return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *opaque)
{
        fail(opaque, "it does not get ready");
        return 0;
}

/* --- Starting --- */

/* Both ends; whoever passt becomes may open the writing one. */
static int open_pipe(int ends[2])
{
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        if (fchmod(ends[1], 0666) == 0)
                return 0;
        fd_close(ends[0]);
        fd_close(ends[1]);
        return -EIO;
}

static void run(Passt *p)
{
        DomusDomain *d = p->domain;
        g_autoptr(GError) error = NULL;
        int ends[2], r = open_pipe(ends), fds[2] = { p->fd, r < 0 ? -1 : ends[1] };

        if (r < 0) {
                fail(p, g_strerror(-r));
                return;
        }
        p->ready_fd = ends[0];
        p->log_start = d->log_path ? domus_log_size(d->log_path) : 0;
        r = domus_device_run_child(d, p->alias, (const char *const *)p->argv->pdata, fds, 2, &error);
        fd_close(ends[1]);
        p->fd = fd_close(p->fd);
        if (r < 0) {
                finish(p, error);
                return;
        }
        sd_event_add_io(d->manager->loop, &p->ready, p->ready_fd, EPOLLIN, on_ready, p);
        sd_event_add_time_relative(d->manager->loop, &p->timer, CLOCK_MONOTONIC, READY_SECONDS * UINT64_C(1000000), 0, on_late, p);
}

static void try(Passt *p);

static int on_next_try(sd_event_source *source, uint64_t usec, void *opaque)
{
        Passt *p = opaque;

        p->timer = sd_event_source_disable_unref(p->timer);
        try(p);
        return 0;
}

static void try(Passt *p)
{
        g_autoptr(GError) error = NULL;
        int r = domus_ports_try(p->forwards, p->alias, &error);

        if (r == 0)
                run(p);
        else if (r == -EADDRINUSE && ++p->tries < PORTS_TRIES)
                sd_event_add_time_relative(p->domain->manager->loop, &p->timer, CLOCK_MONOTONIC, PORTS_PAUSE_MS * UINT64_C(1000), PORTS_ACCURACY_MS * UINT64_C(1000),
                        on_next_try, p);
        else
                finish(p, error);
}

static void add_option(GPtrArray *argv, const char *option, const char *value)
{
        if (!value)
                return;
        g_ptr_array_add(argv, g_strdup(option));
        g_ptr_array_add(argv, g_strdup(value));
}

static void add_addresses(GPtrArray *argv, const DomusInterface *i)
{
        g_autofree char *prefix = g_strdup_printf("%u", i->ip4_prefix);

        add_option(argv, "--interface", i->dev);
        add_option(argv, "--address", i->ip4);
        add_option(argv, "--netmask", i->ip4 && i->ip4_prefix ? prefix : NULL);
        add_option(argv, "--address", i->ip6);
}

static void add_forwards(GPtrArray *argv, const DomusInterface *i)
{
        g_auto(GStrv) forwards = g_strsplit(i->forwards ? i->forwards : "", "\n", -1);

        for (char **f = forwards; *f; f++)
                if (**f)
                        add_option(argv, g_str_has_prefix(*f, "tcp ") ? "--tcp-ports" : "--udp-ports", *f + strlen("tcp "));
}

/* It ends by itself when the VM closes the socket. */
static GPtrArray *make_arguments(const DomusInterface *i)
{
        static const char *const fixed[] = { "passt", "--foreground", "--quiet", "--stderr", "--fd", SOCKET_FD, "--pid", "/dev/fd/" READY_FD };
        GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);

        for (unsigned k = 0; k < G_N_ELEMENTS(fixed); k++)
                g_ptr_array_add(argv, g_strdup(fixed[k]));
        add_addresses(argv, i);
        add_forwards(argv, i);
        g_ptr_array_add(argv, NULL);
        return argv;
}

void domus_passt_start(DomusDomain *d, const DomusDevice *device, int fd)
{
        Passt *p = g_new0(Passt, 1);

        *p = (Passt){ .domain = d, .fd = fd, .ready_fd = -1 };
        p->alias = g_strdup(device->alias);
        p->forwards = g_strdup(device->interface.forwards);
        p->argv = make_arguments(&device->interface);
        g_hash_table_replace(d->passts, p->alias, p);
        try(p);
}

/* --- Waiting --- */

static void wait_for(Passt *p, DomusQmpReply done, gpointer opaque)
{
        g_autoptr(GError) error = g_steal_pointer(&p->error);

        if (p->serves || error) {
                done(error, opaque);
                return;
        }
        p->done = done;
        p->opaque = opaque;
}

void domus_passt_when_ready(DomusDomain *d, const char *alias, DomusQmpReply done, gpointer opaque)
{
        Passt *p = d->passts ? g_hash_table_lookup(d->passts, alias) : NULL;

        if (p)
                wait_for(p, done, opaque);
        else
                done(NULL, opaque);
}

static Passt *find(DomusDomain *d, bool (*fits)(const Passt *p))
{
        GHashTableIter iter;
        gpointer p;

        if (!d->passts)
                return NULL;
        g_hash_table_iter_init(&iter, d->passts);
        while (g_hash_table_iter_next(&iter, NULL, &p))
                if (fits(p))
                        return p;
        return NULL;
}

static bool is_unready(const Passt *p)
{
        return !p->serves;
}

static bool has_waiter(const Passt *p)
{
        return p->done;
}

bool domus_passts_wait(DomusDomain *d, DomusQmpReply done, gpointer opaque)
{
        Passt *p = find(d, is_unready);

        if (p)
                wait_for(p, done, opaque);
        return p;
}

void domus_passts_abort(DomusDomain *d, const GError *error)
{
        Passt *p = find(d, has_waiter);

        if (p)
                finish(p, error);
}

void domus_passt_free(gpointer passt)
{
        Passt *p = passt;

        stop_waiting(p);
        g_clear_error(&p->error);
        g_ptr_array_unref(p->argv);
        g_free(p->forwards);
        g_free(p->alias);
        g_free(p);
}
