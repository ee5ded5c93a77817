/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A domus-vm without a machine, for the daemon's tests: speaks vmproto, has a thread "vcpu0", echoes its serial port in
 * upper case. Words in the kernel command line make it misbehave; SIGUSR1 is a guest that powers off, SIGUSR2 one that crashes. */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "vmproto/vmproto.h"

struct vm {
        sd_event *loop;
        sd_bus *bus;
        int listen_fd, master, slave;
        const char *state, *reason;
        char cmdline[256], uuid[64];
        char on_poweroff[16], on_crash[16];
        bool boot_loader;
        char ids[32][64]; /* devices */
        int fds[32];
        unsigned n_ids;
};

static bool behaves(const struct vm *vm, const char *word)
{
        return strstr(vm->cmdline, word);
}

static void leave(struct vm *vm, int code)
{
        if (vm->bus)
                sd_bus_flush(vm->bus);
        _exit(code);
}

static void set_state(struct vm *vm, const char *state, const char *reason)
{
        vm->state = state;
        vm->reason = reason;
        if (vm->bus)
                sd_bus_emit_signal(vm->bus, VM_PATH, VM_INTERFACE, VM_STATE_CHANGED, "ss", state, reason);
}

/* The guest has stopped; action: what is configured for that. */
static void stop(struct vm *vm, const char *action, const char *state, const char *reason)
{
        if (strcmp(action, "restart") == 0) {
                if (vm->bus)
                        sd_bus_emit_signal(vm->bus, VM_PATH, VM_INTERFACE, VM_REBOOTED, "");
                if (vm->boot_loader)
                        set_state(vm, VM_STATE_BOOTING, VM_REASON_GUEST);
                return;
        }
        set_state(vm, state, reason);
        if (strcmp(action, "preserve") != 0)
                leave(vm, 0);
}

/* --- Serial port --- */

static int on_serial(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        char buf[256];
        ssize_t n = read(fd, buf, sizeof(buf));

        for (ssize_t i = 0; i < n; i++)
                buf[i] = (char)toupper((unsigned char)buf[i]);
        if (n > 0 && write(fd, buf, (size_t)n) != n)
                log_warning("the serial port is full");
        return 0;
}

static int read_serial(struct vm *vm, sd_bus_message *m)
{
        int r = sd_bus_message_enter_container(m, 'v', "a(hh)");
        int master, slave;

        if (r > 0)
                r = sd_bus_message_enter_container(m, 'a', "(hh)");
        while (r > 0 && (r = sd_bus_message_read(m, "(hh)", &master, &slave)) > 0) {
                vm->master = dup(master);
                vm->slave = dup(slave);
        }
        sd_bus_message_exit_container(m);
        return sd_bus_message_exit_container(m);
}

/* --- Methods --- */

static int read_text(sd_bus_message *m, char *to, size_t size)
{
        const char *s;
        int r = sd_bus_message_read(m, "v", "s", &s);

        if (r > 0)
                snprintf(to, size, "%s", s);
        return r;
}

/* --- Devices: known by id, with whatever else was said of them --- */

static int find_id(const struct vm *vm, const char *id)
{
        for (unsigned i = 0; i < vm->n_ids; i++)
                if (strcmp(vm->ids[i], id) == 0)
                        return (int)i;
        return -1;
}

/* An image stays open, and with it its lock. */
static int keep_fd(sd_bus_message *m, int *ret)
{
        int fd, r = sd_bus_message_read(m, "v", "h", &fd);

        if (r > 0)
                *ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return r;
}

/* Reads a device's dictionary. */
static int read_device(sd_bus_message *m, char *ret_id, size_t size, int *ret_fd)
{
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");
        const char *key;

        *ret_id = 0;
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r > 0)
                        r = strcmp(key, VM_DEV_ID) == 0  ? read_text(m, ret_id, size) :
                            strcmp(key, VM_PROP_FD) == 0 ? keep_fd(m, ret_fd) :
                                                           sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int add_device(struct vm *vm, sd_bus_message *m)
{
        char id[sizeof(vm->ids[0])];
        int fd = -1;
        int r = read_device(m, id, sizeof(id), &fd);

        if (r < 0 || !*id || find_id(vm, id) >= 0 || vm->n_ids == ARRAY_SIZE(vm->ids))
                return -EINVAL;
        vm->fds[vm->n_ids] = fd;
        memcpy(vm->ids[vm->n_ids++], id, sizeof(id));
        return r;
}

static int add_devices(struct vm *vm, sd_bus_message *m)
{
        int r = sd_bus_message_enter_container(m, 'a', "a{sv}");

        while (r >= 0 && sd_bus_message_at_end(m, false) == 0)
                r = add_device(vm, m);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_devices(struct vm *vm, sd_bus_message *m)
{
        int r = sd_bus_message_enter_container(m, 'v', "aa{sv}");

        if (r >= 0)
                r = add_devices(vm, m);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_field(struct vm *vm, sd_bus_message *m, const char *key)
{
        if (strcmp(key, VM_CFG_CMDLINE) == 0)
                return read_text(m, vm->cmdline, sizeof(vm->cmdline));
        if (strcmp(key, VM_CFG_BOOT_LOADER) == 0)
                return vm->boot_loader = true, sd_bus_message_skip(m, "v");
        if (strcmp(key, VM_CFG_UUID) == 0)
                return read_text(m, vm->uuid, sizeof(vm->uuid));
        if (strcmp(key, VM_CFG_ON_POWEROFF) == 0)
                return read_text(m, vm->on_poweroff, sizeof(vm->on_poweroff));
        if (strcmp(key, VM_CFG_ON_CRASH) == 0)
                return read_text(m, vm->on_crash, sizeof(vm->on_crash));
        if (strcmp(key, VM_CFG_SERIAL) == 0)
                return read_serial(vm, m);
        if (strcmp(key, VM_CFG_DEVICES) == 0)
                return read_devices(vm, m);
        return sd_bus_message_skip(m, "v");
}

static int read_fields(struct vm *vm, sd_bus_message *m)
{
        const char *key;
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r > 0)
                        r = read_field(vm, m, key);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static int on_set_kernel(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        int r = read_fields(vm, m);

        if (r < 0)
                return r;
        if (behaves(vm, "refuse-kernel"))
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "kernel: not a kernel at all");
        set_state(vm, VM_STATE_RUNNING, VM_REASON_BOOTED);
        log_info("booted again: %s", vm->cmdline);
        return sd_bus_reply_method_return(m, "");
}

static int on_configure(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        int r = read_fields(vm, m);

        if (r < 0)
                return r;
        if (behaves(vm, "refuse-configure"))
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "kernel: not a kernel at all");
        if (behaves(vm, "die-in-configure")) {
                log_error("the machine fell over");
                _exit(3);
        }
        if (vm->master >= 0)
                sd_event_add_io(vm->loop, NULL, vm->master, EPOLLIN, on_serial, vm);
        return sd_bus_reply_method_return(m, "");
}

static int on_start(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        int paused;

        if (behaves(vm, "hang-in-start"))
                return 1;
        sd_bus_message_read(m, "b", &paused);
        set_state(vm, paused ? VM_STATE_PAUSED : VM_STATE_RUNNING, paused ? VM_REASON_USER : VM_REASON_BOOTED);
        if (behaves(vm, "disk-full")) {
                sd_bus_emit_signal(vm->bus, VM_PATH, VM_INTERFACE, VM_DEVICE_ERROR, "ss", vm->ids[0], VM_DEVERR_NO_SPACE);
                set_state(vm, VM_STATE_PAUSED, VM_REASON_IO_ERROR);
        }
        if (behaves(vm, "power-off-at-once"))
                stop(vm, vm->on_poweroff, VM_STATE_SHUTOFF, VM_REASON_GUEST);
        return sd_bus_reply_method_return(m, "");
}

static int on_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;

        if (behaves(vm, "hang-in-pause"))
                return 1;
        set_state(vm, VM_STATE_PAUSED, VM_REASON_USER);
        return sd_bus_reply_method_return(m, "");
}

static int on_resume(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        set_state(userdata, VM_STATE_RUNNING, VM_REASON_USER);
        return sd_bus_reply_method_return(m, "");
}

/* What a process does that has been taken over. */
static void attack(struct vm *vm)
{
        if (behaves(vm, "malformed-signal"))
                sd_bus_emit_signal(vm->bus, VM_PATH, VM_INTERFACE, VM_STATE_CHANGED, "au", 1, 7);
        if (behaves(vm, "call-daemon"))
                sd_bus_call_method_async(vm->bus, NULL, NULL, "/x", "x.y", "Z", NULL, NULL, "");
        for (unsigned i = 0; behaves(vm, "flood-signals") && i < 1000; i++)
                set_state(vm, i % 2 ? VM_STATE_RUNNING : VM_STATE_PAUSED, VM_REASON_USER);
}

static int on_reset(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        attack(userdata);
        return sd_bus_reply_method_return(m, "");
}

static int on_power_button(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        int r = sd_bus_reply_method_return(m, "");

        if (!behaves(vm, "ignore-button"))
                stop(vm, vm->on_poweroff, VM_STATE_SHUTOFF, VM_REASON_GUEST);
        return r;
}

static int on_quit(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        int r = sd_bus_reply_method_return(m, "");

        if (!behaves(vm, "ignore-quit"))
                leave(vm, 0);
        return r;
}

static int on_set_action(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        const char *which, *action;

        if (sd_bus_message_read(m, "ss", &which, &action) < 0)
                return -EINVAL;
        if (strcmp(which, VM_ON_POWEROFF) == 0)
                snprintf(vm->on_poweroff, sizeof(vm->on_poweroff), "%s", action);
        if (strcmp(which, VM_ON_CRASH) == 0)
                snprintf(vm->on_crash, sizeof(vm->on_crash), "%s", action);
        return sd_bus_reply_method_return(m, "");
}

static int on_add_devices(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;

        if (behaves(vm, "refuse-device"))
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "slot: the guest is full");
        if (add_devices(vm, m) < 0)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "id: taken or missing");
        return sd_bus_reply_method_return(m, "");
}

static int on_remove_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        const char *id;
        int i, r;

        if (sd_bus_message_read(m, "s", &id) < 0)
                return -EINVAL;
        i = find_id(vm, id);
        if (i < 0)
                return sd_bus_error_set(error, VM_ERROR_NO_DEVICE, id);
        r = sd_bus_reply_method_return(m, "");
        if (behaves(vm, "keep-device"))
                return r;
        sd_bus_emit_signal(vm->bus, VM_PATH, VM_INTERFACE, VM_DEVICE_REMOVED, "s", id);
        fd_close(vm->fds[i]);
        vm->fds[i] = vm->fds[--vm->n_ids];
        memmove(vm->ids[i], vm->ids[vm->n_ids], sizeof(vm->ids[i]));
        return r;
}

static int on_set_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;
        const char *id, *key;
        uint64_t target;
        int r = sd_bus_message_read(m, "s", &id);

        if (r < 0 || find_id(vm, id) < 0)
                return sd_bus_error_set(error, VM_ERROR_NO_DEVICE, "no such device");
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r > 0 && strcmp(key, VM_PROP_TARGET) == 0 && sd_bus_message_read(m, "v", "t", &target) > 0)
                        sd_bus_emit_signal(vm->bus, VM_PATH, VM_INTERFACE, VM_BALLOON_CHANGED, "t", target);
                else
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return sd_bus_reply_method_return(m, "");
}

static int on_get_device_stats(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const char *id;

        if (sd_bus_message_read(m, "s", &id) < 0 || find_id(userdata, id) < 0)
                return sd_bus_error_set(error, VM_ERROR_NO_DEVICE, "no such device");
        return sd_bus_reply_method_return(m, "a{sv}", 3, VM_DEVSTAT_RD_REQ, "t", UINT64_C(7), VM_DEVSTAT_WR_BYTES, "t", UINT64_C(512),
                VM_DEVSTAT_ACTUAL, "t", UINT64_C(48) << 20);
}

static int on_get_status(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct vm *vm = userdata;

        return sd_bus_reply_method_return(m, "a{sv}", 4, VM_STATUS_VERSION, "u", (uint32_t)VMPROTO_VERSION,
                VM_STATUS_STATE, "s", vm->state, VM_STATUS_REASON, "s", vm->reason, VM_STATUS_UUID, "s", vm->uuid);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD(VM_CONFIGURE, "a{sv}", "", on_configure, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_SET_KERNEL, "a{sv}", "", on_set_kernel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_START, "b", "", on_start, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_PAUSE, "", "", on_pause, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_RESUME, "", "", on_resume, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_RESET, "", "", on_reset, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_POWER_BUTTON, "", "", on_power_button, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_QUIT, "", "", on_quit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_SET_ACTION, "ss", "", on_set_action, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_ADD_DEVICES, "aa{sv}", "", on_add_devices, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_REMOVE_DEVICE, "s", "", on_remove_device, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_SET_DEVICE, "sa{sv}", "", on_set_device, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_GET_DEVICE_STATS, "s", "a{sv}", on_get_device_stats, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD(VM_GET_STATUS, "", "a{sv}", on_get_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

/* --- Connections, signals, main --- */

/* The newest connection counts. */
static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct vm *vm = userdata;
        int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        sd_id128_t id;

        if (conn < 0)
                return 0;
        sd_bus_close_unref(vm->bus);
        sd_id128_randomize(&id);
        sd_bus_new(&vm->bus);
        sd_bus_set_fd(vm->bus, conn, conn);
        sd_bus_set_server(vm->bus, true, id);
        sd_bus_negotiate_fds(vm->bus, true);
        sd_bus_add_object_vtable(vm->bus, NULL, VM_PATH, VM_INTERFACE, vtable, vm);
        sd_bus_start(vm->bus);
        sd_bus_attach_event(vm->bus, vm->loop, 0);
        return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
        struct vm *vm = userdata;

        if (si->ssi_signo == SIGUSR1)
                stop(vm, vm->on_poweroff, VM_STATE_SHUTOFF, VM_REASON_GUEST);
        else
                stop(vm, vm->on_crash, VM_STATE_CRASHED, VM_REASON_PANIC);
        return 0;
}

static void *vcpu(void *arg)
{
        for (;;)
                pause();
        return NULL;
}

int main(int argc, char **argv)
{
        struct vm vm = { .listen_fd = -1, .master = -1, .slave = -1, .state = VM_STATE_NEW, .reason = "" };
        pthread_t thread;
        sigset_t set;

        for (int i = 2; i + 1 < argc; i += 2) {
                if (strcmp(argv[i], "--control-fd") == 0)
                        vm.listen_fd = atoi(argv[i + 1]);
        }
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigaddset(&set, SIGUSR2);
        sigprocmask(SIG_BLOCK, &set, NULL);
        pthread_create(&thread, NULL, vcpu, NULL);
        pthread_setname_np(thread, "vcpu0");
        sd_event_new(&vm.loop);
        sd_event_add_signal(vm.loop, NULL, SIGUSR1, on_signal, &vm);
        sd_event_add_signal(vm.loop, NULL, SIGUSR2, on_signal, &vm);
        sd_event_add_io(vm.loop, NULL, vm.listen_fd, EPOLLIN, on_connection, &vm);
        return sd_event_loop(vm.loop) < 0;
}
