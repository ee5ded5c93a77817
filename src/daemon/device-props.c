/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/device-props.h"

#include <string.h>

#include "base/fd.h"
#include "vmproto/vmproto.h"

typedef struct {
        char *key;
        uint64_t value;
} Pair;

typedef struct {
        char *name;
        const char *type; /* D-Bus signature */
        char *s;
        uint64_t n;
        int *fds;
        unsigned n_fds;
        GArray *pairs;
} Prop;

static void prop_free(gpointer p)
{
        Prop *prop = p;

        for (unsigned i = 0; i < prop->n_fds; i++)
                fd_close(prop->fds[i]);
        if (prop->pairs)
                g_array_unref(prop->pairs);
        g_free(prop->fds);
        g_free(prop->s);
        g_free(prop->name);
        g_free(prop);
}

static Prop *add(DomusVmDevice *device, const char *name, const char *type)
{
        Prop *prop = g_new0(Prop, 1);

        prop->name = g_strdup(name);
        prop->type = type;
        g_ptr_array_add(device->props, prop);
        return prop;
}

DomusVmDevice *domus_vm_device_new(const char *driver, const char *id)
{
        DomusVmDevice *device = g_new0(DomusVmDevice, 1);

        device->props = g_ptr_array_new_with_free_func(prop_free);
        domus_vm_device_string(device, VM_DEV_DRIVER, driver);
        domus_vm_device_string(device, VM_DEV_ID, id);
        return device;
}

void domus_vm_device_free(DomusVmDevice *device)
{
        if (!device)
                return;
        g_ptr_array_unref(device->props);
        g_free(device);
}

void domus_vm_device_string(DomusVmDevice *device, const char *name, const char *s)
{
        if (s && *s)
                add(device, name, "s")->s = g_strdup(s);
}

void domus_vm_device_u(DomusVmDevice *device, const char *name, uint32_t value)
{
        add(device, name, "u")->n = value;
}

void domus_vm_device_t(DomusVmDevice *device, const char *name, uint64_t value)
{
        add(device, name, "t")->n = value;
}

void domus_vm_device_bool(DomusVmDevice *device, const char *name, bool value)
{
        add(device, name, "b")->n = value;
}

static void add_fds(DomusVmDevice *device, const char *name, const char *type, const int *fds, unsigned n)
{
        Prop *prop = add(device, name, type);

        prop->fds = g_memdup2(fds, n * sizeof(*fds));
        prop->n_fds = n;
}

void domus_vm_device_fd(DomusVmDevice *device, const char *name, int fd)
{
        add_fds(device, name, "h", &fd, 1);
}

void domus_vm_device_fds(DomusVmDevice *device, const char *name, const int *fds, unsigned n)
{
        add_fds(device, name, "ah", fds, n);
}

static void pair_clear(gpointer p)
{
        g_free(((Pair *)p)->key);
}

void domus_vm_device_numbers(DomusVmDevice *device, const char *name)
{
        Prop *prop = add(device, name, "a{st}");

        prop->pairs = g_array_new(FALSE, FALSE, sizeof(Pair));
        g_array_set_clear_func(prop->pairs, pair_clear);
}

void domus_vm_device_number(DomusVmDevice *device, const char *key, uint64_t value)
{
        Prop *prop = device->props->pdata[device->props->len - 1];
        Pair pair = { value ? g_strdup(key) : NULL, value };

        if (value)
                g_array_append_val(prop->pairs, pair);
}

/* --- The message --- */

static int append_fds(const Prop *prop, sd_bus_message *m)
{
        int r = sd_bus_message_open_container(m, 'a', "h");

        for (unsigned i = 0; r >= 0 && i < prop->n_fds; i++)
                r = sd_bus_message_append(m, "h", prop->fds[i]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_pairs(const Prop *prop, sd_bus_message *m)
{
        int r = sd_bus_message_open_container(m, 'a', "{st}");

        for (unsigned i = 0; r >= 0 && i < prop->pairs->len; i++) {
                const Pair *pair = &g_array_index(prop->pairs, Pair, i);

                r = sd_bus_message_append(m, "{st}", pair->key, pair->value);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_value(const Prop *prop, sd_bus_message *m)
{
        switch (prop->type[0]) {
        case 's':
                return sd_bus_message_append(m, "s", prop->s);
        case 'u':
                return sd_bus_message_append(m, "u", (uint32_t)prop->n);
        case 't':
                return sd_bus_message_append(m, "t", prop->n);
        case 'b':
                return sd_bus_message_append(m, "b", (int)prop->n);
        case 'h':
                return sd_bus_message_append(m, "h", prop->fds[0]);
        default:
                return prop->pairs ? append_pairs(prop, m) : append_fds(prop, m);
        }
}

static int append_prop(const Prop *prop, sd_bus_message *m)
{
        int r = sd_bus_message_open_container(m, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", prop->name);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', prop->type);
        if (r >= 0)
                r = append_value(prop, m);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int domus_vm_device_append(const DomusVmDevice *device, sd_bus_message *m)
{
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        for (unsigned i = 0; r >= 0 && i < device->props->len; i++)
                r = append_prop(device->props->pdata[i], m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static void device_free(gpointer device)
{
        domus_vm_device_free(device);
}

GPtrArray *domus_vm_devices_new(void)
{
        return g_ptr_array_new_with_free_func(device_free);
}

int domus_vm_devices_append(const GPtrArray *devices, sd_bus_message *m)
{
        int r = sd_bus_message_open_container(m, 'a', "a{sv}");

        for (unsigned i = 0; r >= 0 && i < devices->len; i++)
                r = domus_vm_device_append(devices->pdata[i], m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}
