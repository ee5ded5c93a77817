/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hv/main/serve.h"
#include "vmproto/vmproto.h"

#define ERROR_FAILED "org.domus.VM1.Error.Failed"

/* Answers with an error that names the state if a machine operation was refused for it. */
static int reply_result(struct server *s, sd_bus_message *m, int r, sd_bus_error *error)
{
        if (r == -EBUSY)
                return sd_bus_error_setf(error, VM_ERROR_WRONG_STATE, "not possible while the machine is %s", s->state);
        if (r == -EOPNOTSUPP)
                return sd_bus_error_set(error, ERROR_FAILED, "the machine has no ACPI, so no power button");
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_FAILED, "%s: %s", sd_bus_message_get_member(m), strerror(-r));
        return sd_bus_reply_method_return(m, NULL);
}

static int check_machine(struct server *s, sd_bus_error *error)
{
        return s->machine ? 0 : sd_bus_error_set(error, VM_ERROR_WRONG_STATE, "the machine is not configured");
}

static int method_configure(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r;

        if (s->machine)
                return sd_bus_error_set(error, VM_ERROR_WRONG_STATE, "the machine is configured already");
        serve_config_finish(&s->config);
        r = serve_config_read(&s->config, m, error);
        if (r >= 0)
                r = serve_configure(s, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

static int method_start(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int paused, r = check_machine(s, error);

        if (r >= 0)
                r = sd_bus_message_read(m, "b", &paused);
        if (r < 0)
                return r;
        if (machine_get_state(s->machine) != MACHINE_CREATED)
                return reply_result(s, m, -EBUSY, error);
        r = paused ? machine_pause(s->machine) : machine_start(s->machine);
        if (r >= 0)
                serve_set_state(s, paused ? VM_STATE_PAUSED : VM_STATE_RUNNING, VM_REASON_BOOTED);
        return reply_result(s, m, r, error);
}

static int method_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r = check_machine(s, error);

        if (r < 0)
                return r;
        if (s->awaits_kernel) {
                s->run_then = false;
                return reply_result(s, m, 0, error);
        }
        if (machine_get_state(s->machine) != MACHINE_RUNNING)
                return reply_result(s, m, -EBUSY, error);
        r = machine_pause(s->machine);
        if (r >= 0)
                serve_set_state(s, VM_STATE_PAUSED, VM_REASON_USER);
        return reply_result(s, m, r, error);
}

static int method_resume(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r = check_machine(s, error);

        if (r < 0)
                return r;
        if (s->awaits_kernel) {
                s->run_then = true;
                return reply_result(s, m, 0, error);
        }
        r = machine_resume(s->machine);
        if (r >= 0)
                serve_set_state(s, VM_STATE_RUNNING, VM_REASON_USER);
        return reply_result(s, m, r, error);
}

static int method_reset(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r = check_machine(s, error);

        if (r < 0)
                return r;
        if (machine_get_state(s->machine) == MACHINE_CREATED)
                return reply_result(s, m, -EBUSY, error);
        s->restart_timer = sd_event_source_disable_unref(s->restart_timer);
        for (unsigned i = 0; i < s->config.n_serials; i++)
                console_restart_log(s->consoles[i]);
        if (s->config.boot_loader) {
                serve_await_kernel(s);
                return reply_result(s, m, 0, error);
        }
        r = machine_reset(s->machine);
        if (r >= 0 && machine_get_state(s->machine) == MACHINE_RUNNING && strcmp(s->state, VM_STATE_RUNNING) != 0)
                serve_set_state(s, VM_STATE_RUNNING, VM_REASON_BOOTED);
        if (r < 0)
                serve_set_state(s, VM_STATE_CRASHED, VM_REASON_ERROR);
        return reply_result(s, m, r, error);
}

static int method_power_button(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r = check_machine(s, error);

        return r < 0 ? r : reply_result(s, m, s->awaits_kernel ? -EBUSY : machine_power_button(s->machine), error);
}

static int method_inject_nmi(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r = check_machine(s, error);

        return r < 0 ? r : reply_result(s, m, machine_nmi(s->machine), error);
}

static int method_quit(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r = sd_bus_reply_method_return(m, NULL);

        sd_event_exit(s->loop, VM_EXIT_OK);
        return r;
}

static int method_set_action(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        const char *which, *word;
        enum serve_action action;
        int r = sd_bus_message_read(m, "ss", &which, &word);

        if (r < 0)
                return r;
        if (serve_action_parse(word, &action) < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "'%s' is not an action", word);
        if (strcmp(which, VM_ON_POWEROFF) == 0)
                s->config.on_poweroff = action;
        else if (strcmp(which, VM_ON_REBOOT) == 0)
                s->config.on_reboot = action;
        else if (strcmp(which, VM_ON_CRASH) == 0)
                s->config.on_crash = action;
        else
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "there is no action for '%s'", which);
        return sd_bus_reply_method_return(m, NULL);
}

static int send_and_unref(sd_bus_message *reply, int r)
{
        if (r >= 0)
                r = sd_bus_message_send(reply);
        sd_bus_message_unref(reply);
        return r < 0 ? r : 1;
}

static int method_get_status(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        const char *uuid = s->config.uuid ? s->config.uuid : "", *engine = s->config.engine ? s->config.engine : "";
        sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(m, &reply);

        if (r >= 0)
                r = sd_bus_message_append(reply, "a{sv}", 6, VM_STATUS_VERSION, "u", (uint32_t)VMPROTO_VERSION,
                        VM_STATUS_STATE, "s", s->state, VM_STATUS_REASON, "s", s->reason, VM_STATUS_UUID, "s", uuid,
                        VM_STATUS_ENGINE, "s", engine, VM_STATUS_PID, "u", (uint32_t)getpid());
        return send_and_unref(reply, r);
}

static uint64_t timeval_ns(struct timeval tv)
{
        return (uint64_t)tv.tv_sec * 1000000000u + (uint64_t)tv.tv_usec * 1000u;
}

static int append_vcpus(struct server *s, sd_bus_message *reply)
{
        struct machine_vcpu_stats v;
        int r = sd_bus_message_open_container(reply, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(reply, "s", VM_STATS_VCPUS);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "a(tibu)");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(tibu)");
        for (unsigned i = 0; r >= 0 && s->machine && machine_vcpu_stats(s->machine, i, &v) >= 0; i++)
                r = sd_bus_message_append(reply, "(tibu)", v.time_ns, (int32_t)v.host_cpu, (int)v.halted, (uint32_t)v.tid);
        for (unsigned i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

/* The second number of proc(5)'s statm: resident pages. */
static uint64_t resident_bytes(const struct server *s)
{
        char text[128];
        ssize_t n = pread(s->statm_fd, text, sizeof(text) - 1, 0);
        unsigned long long pages;

        if (n <= 0)
                return 0;
        text[n] = 0;
        return sscanf(text, "%*u %llu", &pages) == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static int append_process(struct server *s, sd_bus_message *reply)
{
        struct rusage usage = { 0 };
        uint64_t user, system;

        getrusage(RUSAGE_SELF, &usage);
        user = timeval_ns(usage.ru_utime);
        system = timeval_ns(usage.ru_stime);
        return sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}", VM_STATS_CPU_TIME, "t", user + system, VM_STATS_CPU_USER,
                "t", user, VM_STATS_CPU_SYSTEM, "t", system, VM_STATS_RSS, "t", resident_bytes(s));
}

static int method_get_stats(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(m, &reply);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = append_process(userdata, reply);
        if (r >= 0)
                r = append_vcpus(userdata, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return send_and_unref(reply, r);
}

/* Who may connect is checked at accept; who is connected may do everything. */
#define METHOD(name, in, out, fn) SD_BUS_METHOD(name, in, out, fn, SD_BUS_VTABLE_UNPRIVILEGED)

const sd_bus_vtable serve_vtable[] = {
        SD_BUS_VTABLE_START(0),
        METHOD(VM_CONFIGURE, "a{sv}", "", method_configure),
        METHOD(VM_START, "b", "", method_start),
        METHOD(VM_PAUSE, "", "", method_pause),
        METHOD(VM_RESUME, "", "", method_resume),
        METHOD(VM_RESET, "", "", method_reset),
        METHOD(VM_SET_KERNEL, "a{sv}", "", serve_set_kernel),
        METHOD(VM_POWER_BUTTON, "", "", method_power_button),
        METHOD(VM_INJECT_NMI, "", "", method_inject_nmi),
        METHOD(VM_QUIT, "", "", method_quit),
        METHOD(VM_SET_ACTION, "ss", "", method_set_action),
        METHOD(VM_GET_STATUS, "", "a{sv}", method_get_status),
        METHOD(VM_GET_STATS, "", "a{sv}", method_get_stats),
        METHOD(VM_ADD_DEVICES, "aa{sv}", "", serve_add_devices),
        METHOD(VM_REMOVE_DEVICE, "s", "", serve_remove_device),
        METHOD(VM_SET_DEVICE, "sa{sv}", "", serve_set_device),
        METHOD(VM_GET_DEVICE_STATS, "s", "a{sv}", serve_get_device_stats),
        SD_BUS_SIGNAL(VM_STATE_CHANGED, "ss", 0),
        SD_BUS_SIGNAL(VM_REBOOTED, "", 0),
        SD_BUS_SIGNAL(VM_DEVICE_REMOVED, "s", 0),
        SD_BUS_SIGNAL(VM_DEVICE_ERROR, "ss", 0),
        SD_BUS_SIGNAL(VM_BALLOON_CHANGED, "t", 0),
        SD_BUS_SIGNAL(VM_TRAY_CHANGED, "sb", 0),
        SD_BUS_SIGNAL(VM_PORT_OPENED, "sb", 0),
        SD_BUS_SIGNAL(VM_THRESHOLD_PASSED, "stt", 0),
        SD_BUS_VTABLE_END,
};
