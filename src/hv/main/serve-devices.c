/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/serve-devices.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/main/serve.h"
#include "vmproto/vmproto.h"

#define FDS_MAX 64
#define TABLE_MAX 64
#define ERROR_FAILED "org.domus.VM1.Error.Failed"

/* --- Values of properties ----------------------------------------------------------------------------------------------------------------- */

static int read_string(sd_bus_message *m, struct props *props, const char *name)
{
        const char *value;
        int r = sd_bus_message_read_basic(m, 's', &value);

        return r < 0 ? r : props_add_string(props, name, value);
}

static int read_u32(sd_bus_message *m, struct props *props, const char *name)
{
        uint32_t value;
        int r = sd_bus_message_read_basic(m, 'u', &value);

        return r < 0 ? r : props_add_number(props, name, value);
}

static int read_u64(sd_bus_message *m, struct props *props, const char *name)
{
        uint64_t value;
        int r = sd_bus_message_read_basic(m, 't', &value);

        return r < 0 ? r : props_add_number(props, name, value);
}

static int read_bool(sd_bus_message *m, struct props *props, const char *name)
{
        int value, r = sd_bus_message_read_basic(m, 'b', &value);

        return r < 0 ? r : props_add_bool(props, name, value);
}

/* The message's descriptors go with the message. */
static int copy_fd(int fd, int *ret)
{
        *ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return *ret < 0 ? -errno : 0;
}

static int read_fd(sd_bus_message *m, struct props *props, const char *name)
{
        int fd, copy, r = sd_bus_message_read_basic(m, 'h', &fd);

        if (r >= 0)
                r = copy_fd(fd, &copy);
        return r < 0 ? r : props_add_fds(props, name, &copy, 1);
}

static int read_fds(sd_bus_message *m, struct props *props, const char *name)
{
        int fds[FDS_MAX], fd, r = sd_bus_message_enter_container(m, 'a', "h");
        size_t n = 0;

        while (r >= 0 && (r = sd_bus_message_read_basic(m, 'h', &fd)) > 0) {
                r = n == FDS_MAX ? -E2BIG : copy_fd(fd, &fds[n]);
                if (r >= 0)
                        n++;
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                return props_add_fds(props, name, fds, n);
        while (n)
                fd_close(fds[--n]);
        return r;
}

static int read_table(sd_bus_message *m, struct props *props, const char *name)
{
        struct prop_entry entries[TABLE_MAX];
        size_t n = 0;
        int r = sd_bus_message_enter_container(m, 'a', "{st}");

        while (r >= 0) {
                const char *key;
                uint64_t value;

                r = sd_bus_message_read(m, "{st}", &key, &value);
                if (r <= 0)
                        break;
                if (n == TABLE_MAX)
                        return -E2BIG;
                entries[n++] = (struct prop_entry){ .name = (char *)key, .value = value };
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r < 0 ? r : props_add_table(props, name, entries, n);
}

static const struct value_type {
        const char *signature;
        int (*read)(sd_bus_message *m, struct props *props, const char *name);
} value_types[] = {
        { "s", read_string }, { "u", read_u32 }, { "t", read_u64 },      { "b", read_bool },
        { "h", read_fd },     { "ah", read_fds }, { "a{st}", read_table },
};

/* The variant that comes next. */
static int read_value(sd_bus_message *m, struct props *props, const char *name)
{
        const char *signature;
        char type;
        int r = sd_bus_message_peek_type(m, &type, &signature);

        if (r < 0)
                return r;
        if (type != 'v')
                return -EBADMSG;
        for (unsigned i = 0; i < ARRAY_SIZE(value_types); i++) {
                if (strcmp(signature, value_types[i].signature) != 0)
                        continue;
                r = sd_bus_message_enter_container(m, 'v', signature);
                if (r >= 0)
                        r = value_types[i].read(m, props, name);
                return r < 0 ? r : sd_bus_message_exit_container(m);
        }
        log_error("property '%s' has type '%s', which is none that properties have", name, signature);
        return -EINVAL;
}

static int read_props(sd_bus_message *m, struct props *props)
{
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *name;

                r = sd_bus_message_read_basic(m, 's', &name);
                if (r >= 0)
                        r = read_value(m, props, name);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* --- Devices ------------------------------------------------------------------------------------------------------------------------------ */

static void device_finish(struct serve_device *d)
{
        free(d->driver);
        free(d->id);
        props_finish(&d->props);
}

static int take_text(struct props *props, const char *name, char **ret)
{
        const char *value = NULL;
        int r = props_take_string(props, name, &value);

        if (r < 0)
                return r;
        *ret = strdup(value);
        return *ret ? 0 : -ENOMEM;
}

/* -ENOENT: no driver or no id. */
static int device_read(sd_bus_message *m, struct serve_device *d)
{
        unsigned slot;
        int r;

        *d = (struct serve_device){ .slot = -1 };
        r = read_props(m, &d->props);
        if (r >= 0)
                r = take_text(&d->props, VM_DEV_DRIVER, &d->driver);
        if (r >= 0)
                r = take_text(&d->props, VM_DEV_ID, &d->id);
        if (r < 0)
                return r;
        r = props_take_unsigned(&d->props, VM_DEV_SLOT, INT32_MAX, &slot);
        if (r == 0)
                d->slot = (int)slot;
        return r == -ENOENT ? 0 : r;
}

int serve_devices_read(sd_bus_message *m, void *ret)
{
        struct serve_devices *devices = ret;
        int r = sd_bus_message_enter_container(m, 'a', "a{sv}");

        while (r >= 0 && sd_bus_message_at_end(m, false) == 0) {
                struct serve_device *list = realloc(devices->list, (devices->n + 1) * sizeof(*list));

                if (!list)
                        return -ENOMEM;
                devices->list = list;
                r = device_read(m, &list[devices->n++]);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

void serve_devices_finish(struct serve_devices *devices)
{
        for (size_t i = 0; i < devices->n; i++)
                device_finish(&devices->list[i]);
        free(devices->list);
        *devices = (struct serve_devices){ 0 };
}

/* Fills error with what a function of machine.h said, whose text is freed. */
static int fail(int r, char *why, sd_bus_error *error)
{
        const char *name = r == -ENODEV ? VM_ERROR_NO_DEVICE : r == -ENOENT ? VM_ERROR_NO_PROPERTY : ERROR_FAILED;

        log_error("%s", why ? why : strerror(-r));
        sd_bus_error_set(error, name, why ? why : strerror(-r));
        free(why);
        return r;
}

int serve_devices_plug(struct serve_devices *devices, struct machine *machine, sd_bus_error *error)
{
        struct machine_new_plug *list = calloc(devices->n ? devices->n : 1, sizeof(*list));
        char *why;
        int r;

        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < devices->n; i++) {
                struct serve_device *d = &devices->list[i];

                list[i] = (struct machine_new_plug){ d->driver, d->id, d->slot, &d->props };
        }
        r = machine_plug(machine, list, devices->n, &why);
        free(list);
        return r < 0 ? fail(r, why, error) : 0;
}

/* --- Methods ------------------------------------------------------------------------------------------------------------------------------ */

static int check_machine(struct server *s, sd_bus_error *error)
{
        return s->machine ? 0 : sd_bus_error_set(error, VM_ERROR_WRONG_STATE, "the machine is not configured");
}

static int bad_dictionary(int r, sd_bus_error *error)
{
        if (r == -ENOENT)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "a device needs a 'driver' and an 'id', both strings");
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "the device's properties cannot be read: %s", strerror(-r));
}

int serve_add_devices(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        struct serve_devices devices = { 0 };
        int r = check_machine(s, error);

        if (r < 0)
                return r;
        r = serve_devices_read(m, &devices);
        r = r < 0 ? bad_dictionary(r, error) : serve_devices_plug(&devices, s->machine, error);
        for (size_t i = 0; r >= 0 && i < devices.n; i++)
                log_info("device '%s' (%s) was plugged in", devices.list[i].id, devices.list[i].driver);
        serve_devices_finish(&devices);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

int serve_remove_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        const char *id;
        char *why;
        int r = check_machine(s, error);

        if (r >= 0)
                r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        r = machine_unplug(s->machine, id, &why);
        return r < 0 ? fail(r, why, error) : sd_bus_reply_method_return(m, NULL);
}

int serve_set_device(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        struct props props = { 0 };
        const char *id;
        char *why;
        int r = check_machine(s, error);

        if (r >= 0)
                r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        r = read_props(m, &props);
        if (r < 0) {
                r = bad_dictionary(r, error);
        } else {
                r = machine_plug_set(s->machine, id, &props, &why);
                if (r < 0)
                        fail(r, why, error);
        }
        props_finish(&props);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}

struct stats {
        sd_bus_message *reply;
        int r;
};

static void append_stat(void *opaque, const char *name, uint64_t value)
{
        struct stats *stats = opaque;

        if (stats->r >= 0)
                stats->r = sd_bus_message_append(stats->reply, "{sv}", name, "t", value);
}

int serve_get_device_stats(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        struct stats stats = { 0 };
        const char *id;
        int r = check_machine(s, error);

        if (r >= 0)
                r = sd_bus_message_read(m, "s", &id);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &stats.reply);
        if (r >= 0)
                r = sd_bus_message_open_container(stats.reply, 'a', "{sv}");
        if (r >= 0 && machine_plug_stats(s->machine, id, append_stat, &stats) == -ENODEV)
                r = sd_bus_error_setf(error, VM_ERROR_NO_DEVICE, "there is no device '%s'", id);
        if (r >= 0)
                r = stats.r;
        if (r >= 0)
                r = sd_bus_message_close_container(stats.reply);
        if (r >= 0)
                r = sd_bus_message_send(stats.reply);
        sd_bus_message_unref(stats.reply);
        return r < 0 ? r : 1;
}

/* --- Signals ------------------------------------------------------------------------------------------------------------------------------ */

static void emit(struct server *s, const char *name, const char *types, const char *id, uint64_t value, const char *text)
{
        if (!s->bus)
                return;
        if (strcmp(types, "s") == 0)
                sd_bus_emit_signal(s->bus, VM_PATH, VM_INTERFACE, name, "s", id);
        else if (strcmp(types, "ss") == 0)
                sd_bus_emit_signal(s->bus, VM_PATH, VM_INTERFACE, name, "ss", id, text);
        else if (strcmp(types, "sb") == 0)
                sd_bus_emit_signal(s->bus, VM_PATH, VM_INTERFACE, name, "sb", id, (int)(value != 0));
        else
                sd_bus_emit_signal(s->bus, VM_PATH, VM_INTERFACE, name, "t", value);
}

static const char *error_word(const char *text)
{
        return strcmp(text, "enospc") == 0 ? VM_DEVERR_NO_SPACE : strcmp(text, "gone") == 0 ? VM_DEVERR_GONE : VM_DEVERR_IO;
}

static void io_error(struct server *s, const char *id, const char *text)
{
        log_error("device '%s': %s", id, error_word(text));
        emit(s, VM_DEVICE_ERROR, "ss", id, 0, error_word(text));
        if (machine_get_state(s->machine) == MACHINE_PAUSED && strcmp(s->state, VM_STATE_RUNNING) == 0)
                serve_set_state(s, VM_STATE_PAUSED, VM_REASON_IO_ERROR);
}

static void threshold_passed(struct server *s, const char *id, uint64_t threshold, uint64_t excess)
{
        if (s->bus)
                sd_bus_emit_signal(s->bus, VM_PATH, VM_INTERFACE, VM_THRESHOLD_PASSED, "stt", id, threshold, excess);
}

void serve_plug_event(struct machine *m, const char *id, enum plug_event event, uint64_t value, uint64_t excess, const char *text, void *opaque)
{
        struct server *s = opaque;

        switch (event) {
        case PLUG_EVENT_RELEASED:
                log_info("device '%s' is gone", id);
                emit(s, VM_DEVICE_REMOVED, "s", id, 0, NULL);
                break;
        case PLUG_EVENT_IO_ERROR:
                io_error(s, id, text);
                break;
        case PLUG_EVENT_BALLOON:
                emit(s, VM_BALLOON_CHANGED, "t", id, value, NULL);
                break;
        case PLUG_EVENT_TRAY:
                emit(s, VM_TRAY_CHANGED, "sb", id, value, NULL);
                break;
        case PLUG_EVENT_PORT:
                emit(s, VM_PORT_OPENED, "sb", id, value, NULL);
                break;
        case PLUG_EVENT_THRESHOLD:
                threshold_passed(s, id, value, excess);
                break;
        case PLUG_EVENTS:
                break;
        }
}
