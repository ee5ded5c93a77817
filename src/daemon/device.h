/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The devices of a VM, from the daemon's side: what is opened, made and started for them, and ended with them. Private to src/daemon.
 *
 * A device is known by its alias. The functions that open change the live definition (device names, paths, formats), so that pointers to its
 * devices are void afterwards. */

#include "daemon/device-props.h"
#include "daemon/domain-private.h"
#include "daemon/qmp.h"
#include "model/domain-device.h"

/* Opens one device of def, which is d->live or what it will be. NULL on failure; nothing is left behind then. */
DomusVmDevice *domus_device_open(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error);
/* All of d->live, buses first: DomusVmDevice *. A disk whose startupPolicy lets it be missing is removed from d->live. NULL on failure; nothing is
 * left behind then. */
GPtrArray *domus_devices_open_all(DomusDomain *d, GError **error);
/* Calls done, perhaps at once, when the program that serves the device is ready, or has failed; at once where there is none. log_start: where the lines of the domain's log begin in which it may
 * have said why. */
void domus_device_when_ready(DomusDomain *d, const char *alias, off_t log_start, DomusQmpReply done, gpointer opaque);
/* Ends what was made for the device and is not a descriptor: the VM is gone, or has let go of it. */
void domus_device_release(DomusDomain *d, const DomusDevice *device);
/* The same for all of d->live. */
void domus_devices_release_all(DomusDomain *d);

/* Runs a program that serves the device, with fds (borrowed) as its descriptors 3, 4, ... and the domain's log as its output. Its number, or -1. */
pid_t domus_device_run_child(DomusDomain *d, const char *alias, const char *const *argv, const int *fds, size_t n_fds, GError **error);
/* The same by a process that ends the program when the VM ends, whether there is a daemon or not (domus-vm attend); it leads a process group that has the program. Nor does the program outlive it. */
pid_t domus_device_run_attended(DomusDomain *d, const char *alias, const char *const *argv, const int *fds, size_t n_fds, GError **error);
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

/* device-passt.c */

/* Starts a passt for the interface, at once or when the ports that it forwards are free. fd: its end of the socket, taken over. */
void domus_passt_start(DomusDomain *d, const DomusDevice *device, int fd);
/* Calls done, perhaps at once, when the interface's passt serves, or cannot; at once for an interface without one. */
void domus_passt_when_ready(DomusDomain *d, const char *alias, DomusQmpReply done, gpointer opaque);
/* The same for the next one of the domain that does not serve yet. False: all do, and done is not called. */
bool domus_passts_wait(DomusDomain *d, DomusQmpReply done, gpointer opaque);
/* Who waits for one hears this. */
void domus_passts_abort(DomusDomain *d, const GError *error);
/* What d->passts has. */
void domus_passt_free(gpointer passt);

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

/* Starts one for the disk and connects; the socket, or -1. disk: with path or protocol, not a volume of a pool. */
int domus_qsd_start(DomusDomain *d, const char *alias, const DomusDisk *disk, GError **error);
/* Must it have one request at a time? */
bool domus_qsd_wants_one_request(const DomusDisk *disk);
/* A connection to its NBD server, which it has in domains without <kernel>. -1 on failure. */
int domus_qsd_connect_nbd(DomusDomain *d, const DomusDevice *disk, GError **error);
/* Harmless if there is none. */
void domus_qsd_stop(DomusDomain *d, const char *alias);
/* Is the disk served by one? */
bool domus_qsd_serves(const DomusDomain *d, const char *alias);
/* Any of d->live's? */
bool domus_qsd_serves_any(const DomusDomain *d);
/* Of the disk's files in the domain's run folder, which end so: g_free. */
char *domus_qsd_file(const DomusDomain *d, const char *alias, const char *suffix);
#define DOMUS_QSD_PROGRAM "qemu-storage-daemon"
#define DOMUS_QSD_MONITOR ".qmp"
/* Its block nodes: the image, and the file, device or server below that. */
#define DOMUS_QSD_FORMAT_NODE "disk"
#define DOMUS_QSD_FILE_NODE "file"

/* device-qsd-control.c: what a running one is told, and tells */

/* Gives the image another size, in bytes. */
void domus_qsd_resize(DomusDomain *d, const char *alias, uint64_t bytes, DomusQmpReply reply, gpointer opaque);
/* The first write to the file or device behind that byte is told by DOMUS_EVENT_BLOCK_THRESHOLD; 0: none is. */
void domus_qsd_set_threshold(DomusDomain *d, const char *alias, uint64_t bytes, DomusQmpReply reply, gpointer opaque);
/* Calls done, perhaps at once, when the disk's server has opened its image, or cannot; at once for a disk without one. log_start: where the lines of the domain's log
 * begin in which it may have said why. */
void domus_qsd_when_ready(DomusDomain *d, const char *alias, off_t log_start, DomusQmpReply done, gpointer opaque);
/* A new error: with what the disk's server said, if it did, else a copy. The second is for the disk whose alias the error names. */
GError *domus_qsd_explain(const DomusDomain *d, const char *alias, off_t log_start, const GError *error);
GError *domus_qsd_explain_any(const DomusDomain *d, off_t log_start, const GError *error);
/* The domain stops: who waits hears of it. */
void domus_qsd_forget_all(DomusDomain *d);
/* What d->monitors has. */
void domus_qsd_monitor_free(gpointer monitor);
/* After a restart of the daemon: listens again to those of d->live. */
void domus_qsd_listen_again(DomusDomain *d);
