/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Devices of the control server: dictionaries of vmproto.h in, signals out. */

#include <systemd/sd-bus.h>

#include "hv/machine/machine.h"

struct server;

/* A device as a dictionary has it. */
struct serve_device {
        char *driver, *id;
        int slot; /* -1: not given */
        struct props props;
};

struct serve_devices {
        struct serve_device *list;
        size_t n;
};

/* The value of Configure's field: an array of dictionaries. */
int serve_devices_read(sd_bus_message *m, void *ret);
void serve_devices_finish(struct serve_devices *devices);
/* Plugs all in, or none; fills error. */
int serve_devices_plug(struct serve_devices *devices, struct machine *machine, sd_bus_error *error);

/* What a plugged device said, for struct machine_config; opaque: struct server. */
void serve_plug_event(struct machine *m, const char *id, enum plug_event event, uint64_t value, uint64_t excess, const char *text, void *opaque);

/* The methods of the same names. */
int serve_add_devices(sd_bus_message *m, void *userdata, sd_bus_error *error);
int serve_remove_device(sd_bus_message *m, void *userdata, sd_bus_error *error);
int serve_set_device(sd_bus_message *m, void *userdata, sd_bus_error *error);
int serve_get_device_stats(sd_bus_message *m, void *userdata, sd_bus_error *error);
