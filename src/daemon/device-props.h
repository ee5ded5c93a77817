/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A device as domus-vm is told of it: driver, id and properties (vmproto/vmproto.h), with the descriptors that go along. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

typedef struct {
        GPtrArray *props;
} DomusVmDevice;

/* driver NULL: properties alone, for SetDevice. */
DomusVmDevice *domus_vm_device_new(const char *driver, const char *id);
/* Closes the descriptors. */
void domus_vm_device_free(DomusVmDevice *device);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusVmDevice, domus_vm_device_free)

/* s: copied; NULL or "" adds nothing. */
void domus_vm_device_string(DomusVmDevice *device, const char *name, const char *s);
void domus_vm_device_u(DomusVmDevice *device, const char *name, uint32_t value);
void domus_vm_device_t(DomusVmDevice *device, const char *name, uint64_t value);
void domus_vm_device_bool(DomusVmDevice *device, const char *name, bool value);
/* Taken over. */
void domus_vm_device_fd(DomusVmDevice *device, const char *name, int fd);
void domus_vm_device_fds(DomusVmDevice *device, const char *name, const int *fds, unsigned n);
/* A dictionary of numbers; pairs with value 0 are left out. */
void domus_vm_device_numbers(DomusVmDevice *device, const char *name);
void domus_vm_device_number(DomusVmDevice *device, const char *key, uint64_t value);

/* Appends an a{sv}; the message has its own descriptors. Negative errno. */
int domus_vm_device_append(const DomusVmDevice *device, sd_bus_message *m);

/* An empty array that owns its devices. */
GPtrArray *domus_vm_devices_new(void);
/* Appends an aa{sv}. */
int domus_vm_devices_append(const GPtrArray *devices, sd_bus_message *m);
