/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "hv/bus/props.h"

/* A device of the command line. */
struct cmdline_device {
        char *driver, *id;
        int slot; /* -1: any */
        struct props props;
};

struct cmdline_devices {
        struct cmdline_device *list;
        unsigned n;
};

/* DRIVER[,KEY=VALUE...], in which a few keys are more than properties:
 *   id, slot         the device's own
 *   path=FILE        opened as property fd: for reading only if readonly=on or the file does not allow more
 *   fd=N, fds=N:M    descriptors that the caller inherited
 *   tap=NAME         a queue of that tap device as property fds
 *   iotune.KEY=N     an entry of the table iotune
 * Other values are on or off, numbers (K, M, G, T behind them multiply by powers of 1024), else strings. Complains on standard error; -EINVAL. */
int cmdline_device_add(struct cmdline_devices *devices, const char *text);
/* --disk FILE[,KEY=VALUE...] and --net tap=NAME or fd=N, with KEY=VALUE...: short for virtio-blk and virtio-net. */
int cmdline_disk_add(struct cmdline_devices *devices, const char *text);
int cmdline_net_add(struct cmdline_devices *devices, const char *text);
void cmdline_devices_finish(struct cmdline_devices *devices);

struct machine;
/* Plugs all in. */
int cmdline_devices_plug(struct cmdline_devices *devices, struct machine *m);
