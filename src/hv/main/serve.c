/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/main/commands.h"
#include "hv/main/sandbox.h"
#include "hv/main/signals.h"
#include "vmproto/vmproto.h"

/* Between the last signal and the end: the daemon reads the signal before it sees the process go. */
#define EXIT_DELAY_USEC 100000

/* A guest may restart itself once in this time, and so many times before that counts. */
#define RESTART_INTERVAL_USEC 1000000ull
#define RESTARTS_AT_ONCE 10

/* --- What the guest does --- */

void serve_set_state(struct server *s, const char *state, const char *reason)
{
        s->state = state;
        s->reason = reason;
        log_info("machine is %s (%s)", state, reason);
        if (s->bus)
                sd_bus_emit_signal(s->bus, VM_PATH, VM_INTERFACE, VM_STATE_CHANGED, "ss", state, reason);
}

static int on_exit_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        struct server *s = userdata;

        return sd_event_exit(s->loop, strcmp(s->state, VM_STATE_CRASHED) == 0 ? VM_EXIT_GUEST_CRASHED : VM_EXIT_GUEST_SHUTOFF);
}

static void exit_soon(struct server *s)
{
        int r = sd_event_add_time_relative(s->loop, &s->exit_timer, CLOCK_MONOTONIC, EXIT_DELAY_USEC, 0, on_exit_timer, s);

        if (r < 0)
                on_exit_timer(NULL, 0, s);
}

static void restart_now(struct server *s)
{
        for (unsigned i = 0; i < s->config.n_serials; i++)
                console_restart_log(s->consoles[i]);
        if (!s->config.boot_loader && machine_reset(s->machine) < 0) {
                serve_set_state(s, VM_STATE_CRASHED, VM_REASON_ERROR);
                exit_soon(s);
                return;
        }
        log_info("guest restarts");
        if (s->bus)
                sd_bus_emit_signal(s->bus, VM_PATH, VM_INTERFACE, VM_REBOOTED, NULL);
        if (s->config.boot_loader)
                serve_await_kernel(s);
        else if (machine_get_state(s->machine) == MACHINE_RUNNING && strcmp(s->state, VM_STATE_RUNNING) != 0)
                serve_set_state(s, VM_STATE_RUNNING, VM_REASON_BOOTED);
}

static int on_restart_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        restart_now(userdata);
        return 0;
}

/* A restart costs much more than asking for one: the kernel is loaded, the daemon and its clients are told. A guest that does
 * nothing else has to wait. */
static void restart(struct server *s)
{
        uint64_t now = 0;

        sd_event_now(s->loop, CLOCK_MONOTONIC, &now);
        if (s->restart_due < now)
                s->restart_due = now;
        s->restart_due += RESTART_INTERVAL_USEC;
        s->restart_timer = sd_event_source_disable_unref(s->restart_timer);
        if (s->restart_due <= now + RESTARTS_AT_ONCE * RESTART_INTERVAL_USEC ||
                sd_event_add_time(s->loop, &s->restart_timer, CLOCK_MONOTONIC,
                        s->restart_due - RESTARTS_AT_ONCE * RESTART_INTERVAL_USEC, 0, on_restart_timer, s) < 0)
                restart_now(s);
}

/* The guest has stopped: do as on_poweroff, on_reboot or on_crash says. */
static void stopped(struct server *s, enum serve_action action, const char *state, const char *reason)
{
        if (action == SERVE_RESTART) {
                if (strcmp(state, VM_STATE_CRASHED) == 0)
                        serve_set_state(s, state, reason);
                restart(s);
                return;
        }
        serve_set_state(s, state, reason);
        if (action == SERVE_DESTROY)
                exit_soon(s);
}

static void on_machine_event(struct machine *m, enum machine_event event, void *opaque)
{
        struct server *s = opaque;

        switch (event) {
        case MACHINE_EVENT_SHUTDOWN:
        case MACHINE_EVENT_DEBUG_EXIT:
                stopped(s, s->config.on_poweroff, VM_STATE_SHUTOFF, VM_REASON_GUEST);
                break;
        case MACHINE_EVENT_RESET:
                stopped(s, s->config.on_reboot == SERVE_RESTART ? SERVE_RESTART : SERVE_DESTROY, VM_STATE_SHUTOFF,
                        VM_REASON_GUEST);
                break;
        case MACHINE_EVENT_CRASHED:
                stopped(s, s->config.on_crash, VM_STATE_CRASHED, VM_REASON_PANIC);
                break;
        }
}

static void on_serial_output(void *opaque, unsigned n, const uint8_t *buf, size_t len)
{
        struct server *s = opaque;

        if (n < s->config.n_serials && s->consoles[n])
                console_output(s->consoles[n], buf, len);
}

static void on_serial_ready(void *opaque, unsigned n)
{
        struct server *s = opaque;

        if (n < s->config.n_serials && s->consoles[n])
                console_ready(s->consoles[n]);
}

/* --- Configure --- */

static int choose_engine(struct server *s, const struct engine_ops **ret, sd_bus_error *error)
{
        *ret = strcmp(s->config.engine, "dbt") == 0 ? &engine_dbt : strcmp(s->config.engine, "kvm") == 0 ? &engine_kvm : NULL;
        if (!*ret)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "field 'engine': '%s' is not dbt or kvm",
                        s->config.engine);
        if (*ret == &engine_kvm && s->config.kvm_fd < 0)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "field 'kvm' is missing");
        return 0;
}

static int make_consoles(struct server *s)
{
        for (unsigned i = 0; i < s->config.n_serials; i++) {
                struct console_config config = {
                        .master = fd_steal(&s->config.serials[i].master),
                        .slave = fd_steal(&s->config.serials[i].slave),
                        .log_fd = i == 0 ? s->log_fd : -1,
                };
                int r = console_new(s->loop, &config, &s->consoles[i]);

                if (r < 0)
                        return r;
        }
        return 0;
}

static void free_consoles(struct server *s)
{
        for (unsigned i = 0; i < SERVE_SERIALS; i++) {
                console_free(s->consoles[i]);
                s->consoles[i] = NULL;
        }
}

static int make_machine(struct server *s, const struct engine_ops *engine, const char **ret_why)
{
        const struct serve_config *c = &s->config;
        struct machine_config config = {
                .engine = engine, .kvm_fd = c->kvm_fd, .cpus = c->cpus, .memory = c->memory,
                .kernel_fd = c->kernel_fd, .initrd_fd = c->initrd_fd, .cmdline = c->cmdline, .uuid = c->uuid, .smbios = (const char *const *)c->smbios,
                .code_cache = c->code_cache, .rtc_localtime = c->rtc_localtime, .debug_exit = c->debug_exit, .acpi = c->acpi, .ring = s->ring,
                .event = on_machine_event, .plug_event = serve_plug_event, .serial_output = on_serial_output, .serial_ready = on_serial_ready,
                .opaque = s,
        };
        int r;

        *ret_why = "the serial ports cannot be made";
        r = make_consoles(s);
        if (r >= 0)
                r = machine_new(s->loop, &config, &s->machine, ret_why);
        for (unsigned i = 0; r >= 0 && i < c->n_serials; i++) {
                *ret_why = "the serial ports cannot be connected";
                r = console_connect(s->consoles[i], s->machine, i);
        }
        return r;
}

static void unmake_machine(struct server *s)
{
        for (unsigned i = 0; i < SERVE_SERIALS; i++)
                if (s->machine && s->consoles[i])
                        console_disconnect(s->consoles[i]);
        machine_free(s->machine);
        s->machine = NULL;
        free_consoles(s);
}

int serve_configure(struct server *s, sd_bus_error *error)
{
        const struct engine_ops *engine;
        const char *why;
        int r = choose_engine(s, &engine, error);

        if (r < 0)
                return r;
        /* From here on bytes of the guest are looked at. */
        if (!s->confined) {
                r = machine_ring_new(&s->ring);
                if (r < 0)
                        log_warning("no io_uring, so no disks in files: %s", strerror(-r));
                s->confined = sandbox_filter() == 0;
        }
        r = make_machine(s, engine, &why);
        if (r < 0) {
                log_error("%s (%s)", why, strerror(-r));
                sd_bus_error_setf(error, "org.domus.VM1.Error.Failed", "%s (%s)", why, strerror(-r));
        } else {
                r = serve_devices_plug(&s->config.devices, s->machine, error);
                serve_devices_finish(&s->config.devices);
        }
        if (r < 0) {
                unmake_machine(s);
                return r;
        }
        if (s->config.boot_loader)
                serve_forget_kernel(s);
        log_info("machine '%s' configured: %u CPUs, %llu MiB, engine %s", s->config.name, s->config.cpus,
                (unsigned long long)(s->config.memory >> 20), s->config.engine);
        return 0;
}

/* --- The control connection --- */

static void drop_bus(struct server *s)
{
        if (!s->bus)
                return;
        sd_bus_detach_event(s->bus);
        s->bus = sd_bus_close_unref(s->bus);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;

        log_debug("the daemon has gone");
        if (sd_bus_message_get_bus(m) == s->bus)
                drop_bus(s);
        return 0;
}

static int start_bus(struct server *s, sd_bus *bus, int fd)
{
        sd_id128_t id;
        int r = sd_bus_set_fd(bus, fd, fd);

        if (r < 0) {
                fd_close(fd);
                return r;
        }
        r = sd_id128_randomize(&id);
        if (r >= 0)
                r = sd_bus_set_server(bus, 1, id);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, 1);
        if (r >= 0)
                r = sd_bus_set_trusted(bus, 1);
        if (r >= 0)
                r = sd_bus_add_object_vtable(bus, NULL, VM_PATH, VM_INTERFACE, serve_vtable, s);
        if (r >= 0)
                r = sd_bus_match_signal(bus, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
                        "Disconnected", on_disconnected, s);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = sd_bus_attach_event(bus, s->loop, SD_EVENT_PRIORITY_NORMAL);
        return r;
}

/* The newest connection counts: a daemon that restarted. */
static void take_connection(struct server *s, int fd)
{
        sd_bus *bus = NULL;
        int r = sd_bus_new(&bus);

        if (r < 0)
                fd_close(fd);
        else
                r = start_bus(s, bus, fd);
        if (r < 0) {
                log_warning("cannot serve a connection: %s", strerror(-r));
                sd_bus_close_unref(bus);
                return;
        }
        drop_bus(s);
        s->bus = bus;
}

static bool may_connect(const struct server *s, int fd)
{
        struct ucred peer;
        socklen_t len = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return false;
        return peer.uid == 0 || peer.uid == s->start_uid;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct server *s = userdata;
        int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (conn < 0) {
                if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                        log_warning("cannot accept a connection: %m");
                return 0;
        }
        if (!may_connect(s, conn)) {
                log_warning("refused a connection of another user");
                fd_close(conn);
                return 0;
        }
        take_connection(s, conn);
        return 0;
}

/* --- The process --- */

static int parse_fd(const char *s)
{
        char *end;
        long n = strtol(s, &end, 10);

        return end == s || *end || n < 0 || n > 65535 || fcntl((int)n, F_GETFD) < 0 ? -1 : (int)n;
}

static bool parse_user(const char *s, struct sandbox_user *ret)
{
        unsigned uid, gid;
        char rest;

        if (sscanf(s, "%u:%u%c", &uid, &gid, &rest) != 2)
                return false;
        *ret = (struct sandbox_user){ .drop = true, .uid = uid, .gid = gid };
        return true;
}

static int parse(struct server *s, struct sandbox_user *user, int argc, char **argv)
{
        static const struct option options[] = {
                { "control-fd", required_argument, NULL, 'c' },
                { "log-fd", required_argument, NULL, 'l' },
                { "alive-fd", required_argument, NULL, 'a' },
                { "user", required_argument, NULL, 'u' },
                { NULL, 0, NULL, 0 },
        };
        bool ok = true;
        int c;

        while (ok && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == 'c')
                        s->control_fd = parse_fd(optarg);
                else if (c == 'l')
                        s->log_fd = parse_fd(optarg);
                else if (c == 'a')
                        s->alive_fd = parse_fd(optarg);
                else
                        ok = c == 'u' && parse_user(optarg, user);
        }
        if (ok && optind == argc && s->control_fd >= 0 && s->log_fd >= 0)
                return 0;
        fputs("usage: domus-vm serve --control-fd N --log-fd M [--alive-fd O] [--user UID:GID]\n", stderr);
        return -EINVAL;
}

static int on_signal(void *opaque, int signal)
{
        struct server *s = opaque;

        log_info("signal %d: stopping", signal);
        return sd_event_exit(s->loop, VM_EXIT_OK);
}

/* A daemon in a terminal hands its process group's signals down; only SIGTERM is meant for us. */
static int make_sources(struct server *s)
{
        int r = sd_event_new(&s->loop);

        if (r >= 0)
                r = signals_new(s->loop, (const int[]){ SIGTERM }, 1, on_signal, s, &s->signals);
        if (r >= 0)
                r = fd_set_nonblock(s->control_fd, true);
        if (r >= 0)
                r = sd_event_add_io(s->loop, &s->accept_source, s->control_fd, EPOLLIN, on_connection, s);
        return r;
}

static int prepare(struct server *s, int argc, char **argv)
{
        struct sandbox_user user = { 0 };
        int r = parse(s, &user, argc, argv);

        if (r < 0)
                return r;
        log_set_fd(s->log_fd);
        fd_set_cloexec(s->control_fd, true);
        fd_set_cloexec(s->log_fd, true);
        sandbox_close_others((int[]){ s->control_fd, s->log_fd, s->alive_fd }, 3);
        s->start_uid = getuid();
        s->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
        r = sandbox_enter(&user);
        if (r >= 0)
                r = make_sources(s);
        if (r < 0)
                log_error("cannot serve: %s", strerror(-r));
        return r;
}

int command_serve(int argc, char **argv)
{
        struct server s = {
                .control_fd = -1, .log_fd = -1, .alive_fd = -1, .statm_fd = -1, .state = VM_STATE_NEW, .reason = VM_REASON_BOOTED
        };
        int status = VM_EXIT_FAILURE, r;

        serve_config_init(&s.config);
        if (prepare(&s, argc, argv) >= 0) {
                r = sd_event_loop(s.loop);
                status = r < 0 ? VM_EXIT_FAILURE : r;
        }
        for (unsigned i = 0; i < SERVE_SERIALS; i++)
                if (s.consoles[i])
                        console_flush(s.consoles[i]);
        for (unsigned i = 0; i < SERVE_SERIALS; i++)
                if (s.consoles[i])
                        console_disconnect(s.consoles[i]);
        machine_free(s.machine);
        machine_ring_free(s.ring);
        free_consoles(&s);
        sd_event_source_disable_unref(s.exit_timer);
        sd_event_source_disable_unref(s.restart_timer);
        sd_event_source_disable_unref(s.accept_source);
        drop_bus(&s);
        signals_free(s.signals);
        sd_event_unref(s.loop);
        serve_config_finish(&s.config);
        fd_close(s.statm_fd);
        return status;
}
