/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The devices of a VM, from the daemon's side: what is opened, made and started for them, and ended with them. Private to src/daemon.
 *
 * A device is known by its alias. The functions that open change the live definition (device names, paths, formats), so that pointers to its
 * devices are void afterwards. */

#include "daemon/device-props.h"
#include "daemon/domain-private.h"
#include "model/domain-device.h"

/* Opens one device of def, which is d->live or what it will be. NULL on failure; nothing is left behind then. */
DomusVmDevice *domus_device_open(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error);
/* All of d->live, buses first: DomusVmDevice *. A disk whose startupPolicy lets it be missing is removed from d->live. NULL on failure; nothing is
 * left behind then. */
GPtrArray *domus_devices_open_all(DomusDomain *d, GError **error);
/* Ends what was made for the device and is not a descriptor: the VM is gone, or has let go of it. */
void domus_device_release(DomusDomain *d, const DomusDevice *device);
/* The same for all of d->live. */
void domus_devices_release_all(DomusDomain *d);

/* Runs a program that serves the device, with fds (borrowed) as its descriptors 3, 4, ... and the domain's log as its output. Its number, or -1. */
pid_t domus_device_run_child(DomusDomain *d, const char *alias, const char *const *argv, const int *fds, unsigned n_fds, GError **error);
/* The one with that number, if it is ours, is about to be ended. */
void domus_device_expect_end(DomusManager *m, pid_t pid);
/* The manager goes, they go on. */
void domus_devices_forget_children(DomusManager *m);

/* Sends VM_SET_DEVICE. */
void domus_domain_set_device(DomusDomain *d, const char *alias, const DomusVmDevice *properties, DomusVmReply reply, gpointer opaque);

/* --- For the kinds: device-disk.c, device-net.c, device-char.c --- */

DomusVmDevice *domus_device_open_disk(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error);
DomusVmDevice *domus_device_open_interface(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error);
void domus_device_release_interface(DomusDomain *d, const DomusDevice *device);
DomusVmDevice *domus_device_open_channel(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error);
void domus_device_release_channel(DomusDomain *d, const DomusDevice *device);

/* The image alone, as VM_PROP_FD or VM_PROP_VHOST_USER, for a drive that gets another medium. No property where there is no medium. */
bool domus_device_open_image(DomusDomain *d, DomusDomainDef *def, const char *alias, DomusVmDevice *to, GError **error);
void domus_device_release_image(DomusDomain *d, const char *alias);
/* The path of the file or device that the disk has, NULL where it has none (no medium, network). Of a volume only while the domain runs. */
const char *domus_device_disk_path(const DomusDomain *d, const DomusDevice *disk);
/* The image of a disk that the domain has, to be read from outside the VM: raw bytes, or a socket to an NBD server that exports them as "disk". -1 on failure. */
int domus_device_open_to_read(DomusDomain *d, const DomusDevice *disk, GError **error);
void domus_device_put_iotune(DomusVmDevice *to, const DomusIotune *iotune);
/* Is the start allowed to go on without the disk's image? */
bool domus_device_disk_may_be_missing(const DomusDevice *disk);
/* Writes the format of a disk that does not say it into def, having looked at the image. */
bool domus_device_settle_format(const DomusManager *m, DomusDomainDef *def, const char *target, const char *path, const char *known,
        GError **error);

/* device-qsd.c: images of other formats than raw, by qemu-storage-daemon */

/* Starts one for the disk and connects; the socket, or -1. */
int domus_qsd_start(DomusDomain *d, const DomusDevice *disk, const char *path, GError **error);
/* A connection to its NBD server, which it has in domains without <kernel>. -1 on failure. */
int domus_qsd_connect_nbd(DomusDomain *d, const DomusDevice *disk, GError **error);
/* Harmless if there is none. */
void domus_qsd_stop(DomusDomain *d, const char *alias);
