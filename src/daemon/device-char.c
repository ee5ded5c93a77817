/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Channels and virtio consoles: sockets that programs of the host connect to, and ptys. */

#include "daemon/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "daemon/unixsocket.h"
#include "vmproto/vmproto.h"

/* --- Sockets --- */

static char *own_path(const DomusDomain *d, const char *name)
{
        g_autofree char *dir = domus_domain_run_dir(d);
        g_autofree char *file = g_strdelimit(g_strdup(name), "/", '_');

        return g_build_filename(dir, "channel", file, NULL);
}

/* A dead socket of an earlier run is replaced, nothing else. */
static bool make_way(const char *path, GError **error)
{
        struct stat st;
        int DOMUS_CLOSE_FD fd = -1;

        if (lstat(path, &st) < 0)
                return true;
        fd = S_ISSOCK(st.st_mode) ? domus_unix_connect(path) : -1;
        if (S_ISSOCK(st.st_mode) && fd < 0 && unlink(path) == 0)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "'%s' is in the way of a channel's socket%s", path,
                fd >= 0 ? ": somebody listens there" : "");
        return false;
}

static int listen_at(const char *path, GError **error)
{
        g_autofree char *dir = g_path_get_dirname(path);
        int fd, r = file_make_dirs(dir, 0755);

        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot create directory '%s': %s", dir, g_strerror(-r));
                return -1;
        }
        if (!make_way(path, error))
                return -1;
        fd = domus_unix_listen(path);
        if (fd < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot listen at '%s': %s", path, g_strerror(-fd));
        return fd;
}

static bool put_socket(DomusDomain *d, DomusDomainDef *def, DomusDevice *device, DomusVmDevice *to, GError **error)
{
        g_autofree char *path = device->channel.path ? g_strdup(device->channel.path) : own_path(d, device->channel.name);
        int fd = listen_at(path, error);

        if (fd < 0)
                return false;
        domus_vm_device_fd(to, VM_PROP_FD, fd);
        domus_vm_device_bool(to, VM_PROP_LISTEN, true);
        domus_domain_def_set_channel_path(def, device, path);
        return true;
}

/* --- Ptys --- */

static bool put_pty(DomusDomainDef *def, DomusDevice *device, DomusVmDevice *to, GError **error)
{
        DomusPty pty = { -1, -1, NULL };
        int r = domus_pty_open(&pty);

        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make a pty for '%s': %s", device->alias, g_strerror(-r));
        } else {
                domus_vm_device_fd(to, VM_PROP_FD, fd_steal(&pty.master));
                domus_vm_device_fd(to, VM_PROP_HOLD, fd_steal(&pty.slave));
                domus_domain_def_set_channel_path(def, device, pty.path);
        }
        domus_pty_clear(&pty);
        return r >= 0;
}

/* --- Both --- */

DomusVmDevice *domus_device_open_channel(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        const DomusDevice *bus = domus_domain_def_controller(def, DOMUS_CONTROLLER_VIRTIO_SERIAL, device->address.controller);
        g_autoptr(DomusVmDevice) vm = domus_vm_device_new(VM_DRIVER_SERIALPORT, alias);

        domus_vm_device_string(vm, VM_PROP_BUS, bus->alias);
        domus_vm_device_u(vm, VM_PROP_NR, device->address.port);
        domus_vm_device_string(vm, VM_PROP_NAME, device->channel.name);
        domus_vm_device_bool(vm, VM_PROP_CONSOLE, device->kind == DOMUS_DEVICE_CONSOLE);
        if (device->channel.pty ? !put_pty(def, device, vm, error) : !put_socket(d, def, device, vm, error))
                return NULL;
        return g_steal_pointer(&vm);
}

void domus_device_release_channel(DomusDomain *d, const DomusDevice *device)
{
        if (!device->channel.pty && device->channel.path)
                unlink(device->channel.path);
}
