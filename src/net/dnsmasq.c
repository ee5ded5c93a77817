/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/dnsmasq.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "run/child.h"

/* A dnsmasq that dies is started again at once, and ever later if it dies again within a minute. */
#define DELAY_FIRST_US UINT64_C(100000)
#define DELAY_MAX_US UINT64_C(30000000)
#define GOOD_US UINT64_C(60000000)
/* How long one may take to end before it is killed. */
#define TERM_MS 500

/* Who it is once it has its sockets: Debian's package makes the user. Else it is nobody. */
#define USER "dnsmasq"

struct dnsmasq {
        sd_event *loop;
        char *name;
        struct dnsmasq_files files;
        DomusChild *starter;      /* the process that becomes a dnsmasq, until it has */
        dnsmasq_done_fn done;     /* of a start that somebody asked for */
        void *opaque;
        pid_t pid;
        int pidfd;                /* -1: none runs */
        sd_event_source *watch, *timer;
        uint64_t delay, started_at; /* µs */
};

struct dnsmasq *dnsmasq_new(sd_event *loop, const char *name, const char *dir, const char *leases)
{
        struct dnsmasq *d = g_new0(struct dnsmasq, 1);

        d->loop = loop;
        d->name = g_strdup(name);
        d->pidfd = -1;
        d->delay = DELAY_FIRST_US;
        d->files = (struct dnsmasq_files){
                .config = g_build_filename(dir, "dnsmasq.conf", NULL),
                .pid = g_build_filename(dir, "dnsmasq.pid", NULL),
                .started = g_build_filename(dir, "dnsmasq.started", NULL),
                .dhcp_hosts = g_build_filename(dir, "dhcp-hosts", NULL),
                .dns_hosts = g_build_filename(dir, "dns-hosts", NULL),
                .leases = g_strdup(leases),
        };
        return d;
}

static void forget(struct dnsmasq *d)
{
        d->watch = sd_event_source_disable_unref(d->watch);
        d->pidfd = fd_close(d->pidfd);
        d->pid = 0;
}

void dnsmasq_free(struct dnsmasq *d)
{
        if (!d)
                return;
        domus_child_free(d->starter);
        sd_event_source_disable_unref(d->timer);
        forget(d);
        g_free(d->files.config);
        g_free(d->files.pid);
        g_free(d->files.started);
        g_free(d->files.dhcp_hosts);
        g_free(d->files.dns_hosts);
        g_free(d->files.leases);
        g_free(d->name);
        g_free(d);
}

pid_t dnsmasq_pid(const struct dnsmasq *d)
{
        return d->pid;
}

static uint64_t now(void)
{
        return (uint64_t)g_get_monotonic_time();
}

/* --- Files --- */

static bool write_file(const char *path, const char *text, GError **error)
{
        int r = file_replace(path, text, strlen(text), 0644);

        if (r < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot write '%s': %s", path, g_strerror(-r));
        return r == 0;
}

static bool write_hosts(struct dnsmasq *d, const DomusNetworkDef *def, GError **error)
{
        g_autofree char *dhcp = dnsmasq_dhcp_hosts(def), *dns = dnsmasq_dns_hosts(def);

        return write_file(d->files.dhcp_hosts, dhcp, error) && write_file(d->files.dns_hosts, dns, error);
}

/* Field 22 of /proc/PID/stat: what tells the process from a later one of the same number. 0: it is not there, or no dnsmasq. */
static uint64_t start_time(pid_t pid)
{
        g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
        char *text = NULL, *p;
        uint64_t ret = 0;

        if (pid <= 0 || file_read(path, 4096, &text, NULL) < 0)
                return 0;
        p = strstr(text, "(dnsmasq)") ? strrchr(text, ')') : NULL;
        for (int i = 0; p && i < 20; i++)
                p = strchr(p + 1, ' ');
        if (p)
                ret = strtoull(p + 1, NULL, 10);
        free(text);
        return ret;
}

static pid_t read_pid(const char *path)
{
        char *text = NULL;
        pid_t pid = 0;

        if (file_read(path, 64, &text, NULL) == 0)
                pid = (pid_t)strtol(text, NULL, 10);
        free(text);
        return pid;
}

/* By its command line. */
static bool is_ours(const struct dnsmasq *d, pid_t pid)
{
        g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
        char *text = NULL;
        size_t n = 0;
        bool ours = pid > 0 && start_time(pid) && file_read(path, 65536, &text, &n) == 0 &&
                    memmem(text, n, d->files.config, strlen(d->files.config));

        free(text);
        return ours;
}

static void note_started(struct dnsmasq *d)
{
        g_autofree char *text = g_strdup_printf("%d %" G_GUINT64_FORMAT "\n", (int)d->pid, start_time(d->pid));
        g_autoptr(GError) error = NULL;

        if (!write_file(d->files.started, text, &error))
                log_warning("network '%s': %s", d->name, error->message);
}

static pid_t find_started(struct dnsmasq *d)
{
        pid_t unnoted = read_pid(d->files.pid);
        char *text = NULL;
        unsigned long long time = 0;
        int pid = 0;

        if (file_read(d->files.started, 64, &text, NULL) < 0)
                return is_ours(d, unnoted) ? unnoted : 0; /* started while the daemon ended */
        if (sscanf(text, "%d %llu", &pid, &time) != 2 || !time || start_time(pid) != time)
                pid = 0;
        free(text);
        return pid;
}

/* --- Watching --- */

static void start_again_later(struct dnsmasq *d);

static int on_death(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
        struct dnsmasq *d = opaque;

        log_warning("network '%s': dnsmasq (process %d) has died", d->name, (int)d->pid);
        if (now() - d->started_at > GOOD_US)
                d->delay = DELAY_FIRST_US;
        forget(d);
        start_again_later(d);
        return 0;
}

static bool watch(struct dnsmasq *d, pid_t pid)
{
        int fd = pid > 0 ? pidfd_open(pid, 0) : -1;

        if (fd < 0)
                return false;
        forget(d);
        d->pidfd = fd;
        d->pid = pid;
        d->started_at = now();
        return sd_event_add_io(d->loop, &d->watch, fd, EPOLLIN, on_death, d) >= 0;
}

/* --- Starting --- */

static void finish_start(struct dnsmasq *d, const GError *error)
{
        dnsmasq_done_fn done = d->done;

        d->done = NULL;
        if (done)
                done(error, d->opaque);
        else if (error)
                start_again_later(d);
}

/* The process that was run ends when the daemon that it left behind serves, or with its message. */
static void on_daemonized(const DomusChildResult *result, const GError *error, gpointer opaque)
{
        struct dnsmasq *d = opaque;
        g_autoptr(GError) own = NULL;

        d->starter = NULL;
        if (!error && !watch(d, read_pid(d->files.pid)))
                g_set_error(&own, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "dnsmasq has left no process behind");
        if (error || own)
                log_error("network '%s': %s", d->name, error ? error->message : own->message);
        else
                note_started(d);
        finish_start(d, error ? error : own);
}

static bool run(struct dnsmasq *d, GError **error)
{
        g_autofree char *config = g_strconcat("--conf-file=", d->files.config, NULL);
        const char *argv[] = { "dnsmasq", config, getpwnam(USER) ? "--user=" USER : NULL, NULL };
        const DomusChildConfig child = { .argv = argv, .outlive = true };

        unlink(d->files.pid);
        d->starter = domus_child_run(d->loop, &child, on_daemonized, d, error);
        return d->starter != NULL;
}

bool dnsmasq_start(struct dnsmasq *d, const DomusNetworkDef *def, dnsmasq_done_fn done, void *opaque, GError **error)
{
        g_autofree char *config = dnsmasq_config(def, &d->files);

        dnsmasq_stop(d);
        if (!write_file(d->files.config, config, error) || !write_hosts(d, def, error) || !run(d, error))
                return false;
        d->done = done;
        d->opaque = opaque;
        return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
        struct dnsmasq *d = opaque;
        g_autoptr(GError) error = NULL;

        d->timer = sd_event_source_disable_unref(d->timer);
        if (run(d, &error))
                return 0;
        log_error("network '%s': %s", d->name, error->message);
        start_again_later(d);
        return 0;
}

static void start_again_later(struct dnsmasq *d)
{
        d->timer = sd_event_source_disable_unref(d->timer);
        if (sd_event_add_time_relative(d->loop, &d->timer, CLOCK_MONOTONIC, d->delay, 0, on_timer, d) < 0)
                log_error("network '%s': dnsmasq is not started again", d->name);
        d->delay = MIN(d->delay * 2, DELAY_MAX_US);
}

void dnsmasq_find(struct dnsmasq *d)
{
        watch(d, find_started(d));
}

void dnsmasq_adopt(struct dnsmasq *d)
{
        if (!watch(d, find_started(d)))
                start_again_later(d);
}

bool dnsmasq_reload(struct dnsmasq *d, const DomusNetworkDef *def, GError **error)
{
        if (!write_hosts(d, def, error))
                return false;
        if (d->pidfd >= 0)
                pidfd_send_signal(d->pidfd, SIGHUP, NULL, 0);
        return true;
}

/* --- Stopping --- */

static bool is_gone(int pidfd, int timeout_ms)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return poll(&p, 1, timeout_ms) > 0;
}

/* What is half started is waited for, so that no daemon appears afterwards. */
static void stop_starting(struct dnsmasq *d)
{
        pid_t pid = d->starter ? domus_child_pid(d->starter) : 0;
        int DOMUS_CLOSE_FD fd = pid ? pidfd_open(pid, 0) : -1;

        if (!pid)
                return;
        if (fd < 0 || !is_gone(fd, TERM_MS))
                kill(-pid, SIGKILL); /* it leads a session */
        domus_child_free(d->starter);
        d->starter = NULL;
        waitpid(pid, NULL, WNOHANG);
        if (is_ours(d, read_pid(d->files.pid)))
                watch(d, read_pid(d->files.pid));
}

void dnsmasq_stop(struct dnsmasq *d)
{
        d->timer = sd_event_source_disable_unref(d->timer);
        d->done = NULL;
        d->delay = DELAY_FIRST_US;
        stop_starting(d);
        if (d->pidfd >= 0) {
                pidfd_send_signal(d->pidfd, SIGTERM, NULL, 0);
                if (!is_gone(d->pidfd, TERM_MS)) {
                        pidfd_send_signal(d->pidfd, SIGKILL, NULL, 0);
                        is_gone(d->pidfd, TERM_MS);
                }
        }
        forget(d);
        unlink(d->files.started);
}
