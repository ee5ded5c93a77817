/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Network interfaces: tap devices from the networks, or passt. */

#include "daemon/device.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "vmproto/vmproto.h"

#define PASST_BUFFER (4 << 20)

static DomusVmDevice *describe(const DomusDevice *d, unsigned mtu)
{
        DomusVmDevice *vm = domus_vm_device_new(VM_DRIVER_VIRTIO_NET, d->alias);
        char mac[DOMUS_MAC_STRING_LEN];

        domus_mac_format(d->interface.mac, mac);
        domus_vm_device_string(vm, VM_PROP_MAC, mac);
        domus_vm_device_bool(vm, VM_PROP_LINK, !d->interface.link_down);
        if (mtu)
                domus_vm_device_u(vm, VM_PROP_MTU, mtu);
        return vm;
}

/* --- passt --- */

/* passt drops what a full socket does not take, and the guest's TCP has to notice. The kernel may allow less. */
static void enlarge_buffer(int fd)
{
        int size = PASST_BUFFER;

        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
                setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static DomusVmDevice *open_user(DomusDomain *d, const DomusDevice *device, GError **error)
{
        int pair[2];
        DomusVmDevice *vm;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make a socket pair: %s", g_strerror(errno));
                return NULL;
        }
        enlarge_buffer(pair[1]);
        domus_passt_start(d, device, pair[1]);
        vm = describe(device, device->interface.mtu);
        domus_vm_device_fd(vm, VM_PROP_PASST, pair[0]);
        return vm;
}

/* --- Taps --- */

/* The kernel lets several open a tap with many queues, or a macvtap, who would take each other's packets. */
static bool check_unmanaged(const DomusDomain *d, const DomusInterface *i, GError **error)
{
        GHashTableIter iter;
        gpointer p;

        if (i->type != DOMUS_INTERFACE_ETHERNET || i->managed)
                return true;
        g_hash_table_iter_init(&iter, d->manager->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                const DomusDomain *other = p;
                const DomusDevice *user = other->live ? domus_domain_def_interface(other->live, i->target) : NULL;

                /* Its own definition has it already. */
                if (!user || (other == d && !g_hash_table_contains(d->taps, user->alias)))
                        continue;
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "network device '%s' is in use by domain '%s'", i->target, other->name);
                return false;
        }
        return true;
}

static DomusVmDevice *open_tap(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        DomusDevice *device = domus_domain_def_device_by_alias(def, alias);
        const DomusDomainHooks *hooks = &d->manager->hooks;
        DomusHookTap tap = { 0 };
        DomusVmDevice *vm;

        if (!hooks->open_tap) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "there are no networks here: an interface must be of type 'user'");
                return NULL;
        }
        if (!check_unmanaged(d, &device->interface, error) || !hooks->open_tap(hooks->net_opaque, d->uuid, d->name, &device->interface, &tap, error))
                return NULL;
        vm = describe(device, tap.mtu);
        if (tap.n_fds > 1)
                domus_vm_device_u(vm, VM_PROP_QUEUES, tap.n_fds);
        domus_vm_device_fds(vm, VM_PROP_FDS, tap.fds, tap.n_fds);
        tap.n_fds = 0; /* the message's now */
        domus_domain_def_set_interface_live(def, device, tap.device, device->interface.type == DOMUS_INTERFACE_NETWORK ? tap.bridge : NULL,
                tap.port_uuid);
        domus_hook_tap_clear(&tap);
        g_hash_table_add(d->taps, g_strdup(alias));
        return vm;
}

DomusVmDevice *domus_device_open_interface(DomusDomain *d, DomusDomainDef *def, const char *alias, GError **error)
{
        const DomusDevice *device = domus_domain_def_device_by_alias(def, alias);

        if (device->interface.type == DOMUS_INTERFACE_USER)
                return open_user(d, device, error);
        return open_tap(d, def, alias, error);
}

/* A device that was not made here, by the name that this one was to have, is somebody else's. */
void domus_device_release_interface(DomusDomain *d, const DomusDevice *device)
{
        const DomusDomainHooks *hooks = &d->manager->hooks;

        g_hash_table_remove(d->passts, device->alias);
        if (g_hash_table_remove(d->taps, device->alias) && hooks->release_tap)
                hooks->release_tap(hooks->net_opaque, &device->interface);
}
