/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/vmprocess.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon/vmspawn.h"
#include "model/error.h"
#include "vmproto/vmproto.h"

/* Messages that are still taken from a process that has ended: some it sent before, and what sd-bus makes of the end. */
#define LAST_WORDS_MAX 256

/* Far more than a guest's restarts can cause; what the daemon's own calls cause does not count. */
#define SIGNALS_PER_SECOND_MAX 100
#define SIGNALS_PER_CALL 4
#define BACKLOG_MAX (16 << 10)

static int connect_bus(DomusVm *vm);

struct DomusVm {
        sd_event *loop;
        const DomusVmHandlers *handlers;
        gpointer opaque;
        char *dir;
        pid_t pid;
        uint64_t start_time;
        int pidfd;
        sd_event_source *watch;
        sd_bus *bus;       /* NULL: not connected */
        struct list calls; /* Call */
        bool killed;       /* by us: what it still has to say is of no interest */
        gint64 window_start; /* monotonic usec: since when signals are counted */
        unsigned signals;
        bool exited;
        int exit_code, exit_status; /* siginfo's si_code and si_status; 0: unknown */
};

typedef struct {
        struct list node;
        DomusVm *vm;
        sd_bus_slot *slot;
        sd_event_source *timer;
        char *method;
        DomusVmReply reply;
        gpointer opaque;
} Call;

/* --- Calls --- */

static void call_free(Call *c)
{
        list_remove(&c->node);
        sd_bus_slot_unref(c->slot);
        sd_event_source_disable_unref(c->timer);
        g_free(c->method);
        g_free(c);
}

static void call_complete(Call *c, sd_bus_message *message, const GError *error)
{
        DomusVmReply reply = c->reply;
        gpointer opaque = c->opaque;

        call_free(c);
        if (reply)
                reply(message, error, opaque);
}

static GError *error_of_reply(sd_bus_message *message)
{
        const sd_bus_error *e = sd_bus_message_get_error(message);
        const char *text = e->message && e->message[0] ? e->message : e->name;

        /* sd-bus answers so itself when the connection ends. */
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY) || sd_bus_error_has_name(e, SD_BUS_ERROR_DISCONNECTED))
                return g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "domus-vm has closed the connection");
        if (sd_bus_error_has_name(e, VM_ERROR_NO_DEVICE))
                return g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_DEVICE_MISSING, text);
        if (sd_bus_error_has_name(e, VM_ERROR_NO_PROPERTY))
                return g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, text);
        if (sd_bus_error_has_name(e, VM_ERROR_WRONG_STATE))
                return g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, text);
        return g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, text);
}

static int on_reply(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        Call *c = userdata;
        g_autoptr(GError) error = NULL;

        if (sd_bus_message_is_method_error(message, NULL))
                error = error_of_reply(message);
        call_complete(c, error ? NULL : message, error);
        return 1;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        Call *c = userdata;
        g_autoptr(GError) error = NULL;

        error = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_TIMEOUT, "domus-vm (process %d) does not answer to %s",
                (int)c->vm->pid, c->method);
        call_complete(c, NULL, error);
        return 0;
}

static void fail_calls(DomusVm *vm, int code, const char *text)
{
        g_autoptr(GError) error = g_error_new_literal(DOMUS_ERROR, code, text);

        while (!list_empty(&vm->calls))
                call_complete(list_entry(vm->calls.next, Call, node), NULL, error);
}

void domus_vm_abort_calls(DomusVm *vm)
{
        fail_calls(vm, DOMUS_ERROR_OPERATION_ABORTED, "the domain is being destroyed");
}

static int send_call(Call *c, sd_bus_message *message, unsigned timeout_seconds)
{
        int r;

        if (!c->vm->bus)
                return -ENOTCONN;
        c->vm->signals -= MIN(c->vm->signals, SIGNALS_PER_CALL);
        if (!message)
                return -ENOMEM;
        r = sd_event_add_time_relative(c->vm->loop, &c->timer, CLOCK_MONOTONIC, timeout_seconds * UINT64_C(1000000),
                0, on_timeout, c);
        if (r < 0)
                return r;
        return sd_bus_call_async(c->vm->bus, &c->slot, message, on_reply, c, UINT64_MAX);
}

void domus_vm_call(DomusVm *vm, sd_bus_message *message, unsigned timeout_seconds, DomusVmReply reply, gpointer opaque)
{
        Call *c = g_new0(Call, 1);
        g_autoptr(GError) error = NULL;
        int r;

        *c = (Call){ .vm = vm, .reply = reply, .opaque = opaque };
        c->method = g_strdup(message ? sd_bus_message_get_member(message) : "a call");
        list_append(&vm->calls, &c->node);
        r = send_call(c, message, timeout_seconds);
        sd_bus_message_unref(message);
        if (r >= 0)
                return;
        error = g_error_new(DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "cannot talk to domus-vm (process %d): %s",
                (int)vm->pid, g_strerror(-r));
        call_complete(c, NULL, error);
}

/* domus-vm takes a new connection when the old one has broken. */
static void ensure_bus(DomusVm *vm)
{
        if (vm->exited || (vm->bus && sd_bus_is_open(vm->bus) > 0))
                return;
        sd_bus_close_unref(g_steal_pointer(&vm->bus));
        connect_bus(vm);
}

sd_bus_message *domus_vm_message(DomusVm *vm, const char *method)
{
        sd_bus_message *m = NULL;

        ensure_bus(vm);
        if (vm->bus)
                sd_bus_message_new_method_call(vm->bus, &m, NULL, VM_PATH, VM_INTERFACE, method);
        return m;
}

void domus_vm_call_simple(DomusVm *vm, const char *method, unsigned timeout_seconds, DomusVmReply reply, gpointer opaque)
{
        domus_vm_call(vm, domus_vm_message(vm, method), timeout_seconds, reply, opaque);
}

/* --- Signals --- */

/* A process that does what domus-vm never does has been taken over: end it before it keeps the daemon busy. */
static void misbehaves(DomusVm *vm, const char *how)
{
        if (!vm->killed)
                log_warning("process %d %s, killing it", (int)vm->pid, how);
        domus_vm_kill(vm, SIGKILL);
}

/* What it sent and nobody has read yet, in bytes: more signals than a busy daemon gets round to in a second. */
static bool has_backlog(DomusVm *vm)
{
        int waiting = 0;

        return ioctl(sd_bus_get_fd(vm->bus), FIONREAD, &waiting) == 0 && waiting > BACKLOG_MAX;
}

/* Each signal costs the daemon a written file and its clients an event. */
static bool too_many_signals(DomusVm *vm)
{
        gint64 now = g_get_monotonic_time();

        if (now - vm->window_start > G_USEC_PER_SEC) {
                vm->window_start = now;
                vm->signals = 0;
        }
        if (++vm->signals > SIGNALS_PER_SECOND_MAX || has_backlog(vm))
                misbehaves(vm, "floods the daemon with signals");
        return vm->killed;
}

/* domus-vm calls nobody. Without an answer, nothing heaps up for a caller that does not read. */
static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        uint8_t type;

        if (sd_bus_message_get_type(message, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
                return 0;
        misbehaves(userdata, "calls a method of the daemon");
        return 1;
}

static int on_state_changed(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;
        const char *state, *reason;

        if (too_many_signals(vm))
                return 0;
        if (sd_bus_message_read(message, "ss", &state, &reason) < 0) {
                misbehaves(vm, "sends a malformed " VM_STATE_CHANGED);
                return 0;
        }
        vm->handlers->state_changed(vm, state, reason, vm->opaque);
        return 0;
}

static int on_rebooted(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;

        if (!too_many_signals(vm))
                vm->handlers->rebooted(vm, vm->opaque);
        return 0;
}

/* Reads the arguments of a signal; false if it is not to be looked at. */
static bool read_signal(DomusVm *vm, sd_bus_message *message, const char *types, ...)
{
        va_list ap;
        int r;

        if (too_many_signals(vm))
                return false;
        va_start(ap, types);
        r = sd_bus_message_readv(message, types, ap);
        va_end(ap);
        if (r <= 0)
                misbehaves(vm, "sends a malformed signal");
        return r > 0;
}

static int on_device_removed(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;
        const char *id;

        if (read_signal(vm, message, "s", &id))
                vm->handlers->device_removed(vm, id, vm->opaque);
        return 0;
}

static int on_device_error(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;
        const char *id, *what;

        if (read_signal(vm, message, "ss", &id, &what))
                vm->handlers->device_error(vm, id, what, vm->opaque);
        return 0;
}

static int on_balloon_changed(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;
        uint64_t bytes;

        if (read_signal(vm, message, "t", &bytes))
                vm->handlers->balloon_changed(vm, bytes, vm->opaque);
        return 0;
}

static int on_tray_changed(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;
        const char *id;
        int open;

        if (read_signal(vm, message, "sb", &id, &open))
                vm->handlers->tray_changed(vm, id, open, vm->opaque);
        return 0;
}

static int on_port_opened(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;
        const char *id;
        int open;

        if (read_signal(vm, message, "sb", &id, &open))
                vm->handlers->port_opened(vm, id, open, vm->opaque);
        return 0;
}

static int on_block_threshold(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
        DomusVm *vm = userdata;
        const char *id;
        uint64_t threshold, excess;

        if (read_signal(vm, message, "stt", &id, &threshold, &excess))
                vm->handlers->block_threshold(vm, id, threshold, excess, vm->opaque);
        return 0;
}

static int match_signals(DomusVm *vm, sd_bus *bus)
{
        static const struct {
                const char *member;
                sd_bus_message_handler_t handler;
        } signals[] = {
                { VM_STATE_CHANGED, on_state_changed },     { VM_REBOOTED, on_rebooted },
                { VM_DEVICE_REMOVED, on_device_removed },   { VM_DEVICE_ERROR, on_device_error },
                { VM_BALLOON_CHANGED, on_balloon_changed }, { VM_TRAY_CHANGED, on_tray_changed },
                { VM_PORT_OPENED, on_port_opened },         { VM_THRESHOLD_PASSED, on_block_threshold },
        };
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < G_N_ELEMENTS(signals); i++)
                r = sd_bus_match_signal(bus, NULL, NULL, VM_PATH, VM_INTERFACE, signals[i].member, signals[i].handler, vm);
        return r;
}

static int connect_bus(DomusVm *vm)
{
        int DOMUS_CLOSE_FD fd = domus_vm_connect(vm->dir);
        sd_bus *bus = NULL;
        int r;

        if (fd < 0)
                return fd;
        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(bus, fd, fd);
        if (r >= 0)
                fd_steal(&fd);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, true);
        if (r >= 0)
                r = sd_bus_add_filter(bus, NULL, on_message, vm);
        if (r >= 0)
                r = match_signals(vm, bus);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = sd_bus_attach_event(bus, vm->loop, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                sd_bus_close_unref(bus);
                return r;
        }
        vm->bus = bus;
        return 0;
}

/* --- The process --- */

static void reap(DomusVm *vm)
{
        siginfo_t si = { 0 };

        if (waitid(P_PIDFD, (id_t)vm->pidfd, &si, WEXITED | WNOHANG) == 0 && si.si_pid) {
                vm->exit_code = si.si_code;
                vm->exit_status = si.si_status;
        }
}

static int on_process_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        DomusVm *vm = userdata;

        vm->exited = true;
        vm->watch = sd_event_source_disable_unref(vm->watch);
        reap(vm);
        /* What it said last is still in the socket. */
        for (unsigned i = 0; i < LAST_WORDS_MAX && vm->bus && sd_bus_process(vm->bus, NULL) > 0; i++)
                ;
        sd_bus_close_unref(g_steal_pointer(&vm->bus));
        fail_calls(vm, DOMUS_ERROR_INTERNAL, "domus-vm has exited");
        vm->handlers->exited(vm, vm->opaque);
        return 0;
}

static int watch(DomusVm *vm)
{
        int r;

        vm->pidfd = pidfd_open(vm->pid, 0);
        if (vm->pidfd < 0)
                return -errno;
        r = domus_proc_start_time(vm->pid, &vm->start_time);
        if (r < 0)
                return r;
        r = sd_event_add_io(vm->loop, &vm->watch, vm->pidfd, EPOLLIN, on_process_exit, vm);
        if (r < 0)
                return r;
        /* After the messages on its socket. */
        return sd_event_source_set_priority(vm->watch, SD_EVENT_PRIORITY_NORMAL + 10);
}

static DomusVm *vm_new(sd_event *loop, const char *dir, const DomusVmHandlers *handlers, gpointer opaque)
{
        DomusVm *vm = g_new0(DomusVm, 1);

        *vm = (DomusVm){ .loop = sd_event_ref(loop), .handlers = handlers, .opaque = opaque, .pidfd = -1 };
        vm->dir = g_strdup(dir);
        list_init(&vm->calls);
        return vm;
}

static int spawn(DomusVm *vm, const DomusVmLaunch *launch)
{
        int DOMUS_CLOSE_FD listen_fd = domus_vm_listen(vm->dir);
        int r;

        if (listen_fd < 0)
                return listen_fd;
        r = connect_bus(vm); /* the kernel holds the connection until the process accepts it */
        if (r < 0)
                return r;
        r = domus_vm_exec(launch, listen_fd, &vm->pid);
        if (r < 0)
                return r;
        r = watch(vm);
        if (r < 0) {
                kill(vm->pid, SIGKILL);
                waitpid(vm->pid, NULL, 0);
        }
        return r;
}

DomusVm *domus_vm_spawn(sd_event *loop, const DomusVmLaunch *launch, const DomusVmHandlers *handlers, gpointer opaque,
        GError **error)
{
        DomusVm *vm = vm_new(loop, launch->dir, handlers, opaque);
        int r = spawn(vm, launch);

        if (r >= 0)
                return vm;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot start '%s': %s", launch->binary, g_strerror(-r));
        domus_vm_free(vm);
        return NULL;
}

DomusVm *domus_vm_attach(sd_event *loop, const char *dir, pid_t pid, uint64_t start_time, const DomusVmHandlers *handlers,
        gpointer opaque, GError **error)
{
        DomusVm *vm = vm_new(loop, dir, handlers, opaque);
        int r;

        vm->pid = pid;
        r = watch(vm);
        if (r < 0 || vm->start_time != start_time) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_DOMAIN, "process %d is gone", (int)pid);
                domus_vm_free(vm);
                return NULL;
        }
        r = connect_bus(vm);
        if (r < 0)
                log_warning("process %d lives, but '%s/" VM_SOCKET "' cannot be reached: %s", (int)pid, dir,
                        g_strerror(-r));
        return vm;
}

void domus_vm_free(DomusVm *vm)
{
        if (!vm)
                return;
        while (!list_empty(&vm->calls))
                call_free(list_entry(vm->calls.next, Call, node));
        sd_bus_close_unref(vm->bus);
        sd_event_source_disable_unref(vm->watch);
        fd_close(vm->pidfd);
        sd_event_unref(vm->loop);
        g_free(vm->dir);
        g_free(vm);
}

pid_t domus_vm_pid(const DomusVm *vm)
{
        return vm->pid;
}

uint64_t domus_vm_start_time(const DomusVm *vm)
{
        return vm->start_time;
}

bool domus_vm_has_exited(const DomusVm *vm)
{
        struct pollfd p = { .fd = vm->pidfd, .events = POLLIN };

        return vm->exited || poll(&p, 1, 0) > 0;
}

int domus_vm_exit_status(const DomusVm *vm)
{
        return vm->exit_code == CLD_EXITED ? vm->exit_status : -1;
}

char *domus_vm_exit_text(const DomusVm *vm)
{
        if (vm->exit_code == CLD_EXITED)
                return g_strdup_printf("exited with status %d", vm->exit_status);
        if (vm->exit_code)
                return g_strdup_printf("was killed by signal %d", vm->exit_status);
        return g_strdup("is gone");
}

void domus_vm_kill(DomusVm *vm, int sig)
{
        vm->killed |= sig == SIGKILL;
        if (!vm->exited && pidfd_send_signal(vm->pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
                log_warning("cannot send signal %d to process %d: %s", sig, (int)vm->pid, g_strerror(errno));
}
