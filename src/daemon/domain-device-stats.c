/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is known of devices in figures: counters from the VM and from the kernel, sizes of images, errors. Nothing here is a job: queries do not
 * wait for operations, and a VM that does not answer costs its counters only. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/device.h"
#include "vmproto/vmproto.h"

#define STATS_SECONDS 3

/* --- Counters from the VM --- */

typedef struct {
        DomusDomain *domain;    /* referenced */
        GHashTable *by_alias;   /* alias -> DomusDeviceCounters */
        unsigned pending;
        GError *error;          /* the last one */
        DomusDeviceStatsDone done;
        gpointer opaque;
} Query;

typedef struct {
        Query *query;
        char *alias;
} Part;

static void finish_part(Query *q)
{
        if (--q->pending > 0)
                return;
        q->done(q->by_alias, q->error, q->opaque);
        g_hash_table_unref(q->by_alias);
        g_clear_error(&q->error);
        domus_domain_unref(q->domain);
        g_free(q);
}

/* "a{sv}" of numbers; others are passed over. NULL if it is no such thing. */
static GHashTable *read_counters(sd_bus_message *m)
{
        GHashTable *counters = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");
        const char *key, *type;
        uint64_t value;

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r > 0)
                        r = sd_bus_message_peek_type(m, NULL, &type);
                if (r > 0 && strcmp(type, "t") == 0 && (r = sd_bus_message_read(m, "v", "t", &value)) > 0)
                        g_hash_table_insert(counters, g_strdup(key), g_memdup2(&value, sizeof(value)));
                else if (r > 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                return counters;
        g_hash_table_unref(counters);
        return NULL;
}

static void on_counters(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        Part *part = opaque;
        Query *q = part->query;
        GHashTable *counters = error ? NULL : read_counters(reply);

        if (counters)
                g_hash_table_insert(q->by_alias, g_steal_pointer(&part->alias), counters);
        if (error) {
                g_clear_error(&q->error);
                q->error = g_error_copy(error);
        }
        g_free(part->alias);
        g_free(part);
        finish_part(q);
}

static void ask(Query *q, const char *alias)
{
        sd_bus_message *m = domus_vm_message(q->domain->vm, VM_GET_DEVICE_STATS);
        Part *part = g_new0(Part, 1);

        *part = (Part){ .query = q, .alias = g_strdup(alias) };
        q->pending++;
        if (m && sd_bus_message_append(m, "s", alias) < 0)
                m = sd_bus_message_unref(m);
        domus_vm_call(q->domain->vm, m, STATS_SECONDS, on_counters, part);
}

static void counters_free(gpointer counters)
{
        if (counters)
                g_hash_table_unref(counters);
}

static bool has_counters(const DomusDevice *device)
{
        return device->kind == DOMUS_DEVICE_DISK || device->kind == DOMUS_DEVICE_BALLOON ||
               (device->kind == DOMUS_DEVICE_INTERFACE && device->interface.type == DOMUS_INTERFACE_USER);
}

void domus_domain_device_stats(DomusDomain *d, const char *alias, DomusDeviceStatsDone done, gpointer opaque)
{
        Query *q = g_new0(Query, 1);
        g_autoptr(GPtrArray) aliases = g_ptr_array_new_with_free_func(g_free);

        *q = (Query){ .domain = domus_domain_ref(d), .pending = 1, .done = done, .opaque = opaque };
        q->by_alias = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, counters_free);
        for (unsigned i = 0; d->vm && d->live && i < d->live->devices->len; i++) {
                const DomusDevice *device = d->live->devices->pdata[i];

                if (has_counters(device) && (!alias || strcmp(device->alias, alias) == 0))
                        g_ptr_array_add(aliases, g_strdup(device->alias));
        }
        for (unsigned i = 0; i < aliases->len && d->vm; i++)
                ask(q, aliases->pdata[i]);
        finish_part(q);
}

bool domus_device_counter(GHashTable *by_alias, const char *alias, const char *name, uint64_t *ret)
{
        GHashTable *counters = by_alias ? g_hash_table_lookup(by_alias, alias) : NULL;
        const uint64_t *value = counters ? g_hash_table_lookup(counters, name) : NULL;

        if (value)
                *ret = *value;
        return value;
}

/* --- Images --- */

const char *domus_domain_disk_path(const DomusDomain *d, const DomusDevice *disk)
{
        return domus_device_disk_path(d, disk);
}

static bool fail_stat(const char *path, int code, GError **error)
{
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot look at '%s': %s", path, g_strerror(code));
        return false;
}

static bool block_size(const char *path, uint64_t *ret, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

        if (end < 0)
                return fail_stat(path, errno, error);
        *ret = (uint64_t)end;
        return true;
}

bool domus_domain_disk_is_remote(const DomusDomain *d, const DomusDevice *disk)
{
        bool network = disk->disk.type == DOMUS_DISK_NETWORK || disk->disk.type == DOMUS_DISK_VOLUME;

        return network && d->live && !domus_device_disk_path(d, disk) && domus_qsd_serves(d, disk->alias);
}

bool domus_domain_disk_info(DomusDomain *d, const DomusDevice *disk, DomusDiskInfo *ret, GError **error)
{
        const DomusDomainHooks *hooks = d->manager ? &d->manager->hooks : NULL;
        const char *path = domus_device_disk_path(d, disk);
        bool raw = !disk->disk.format || strcmp(disk->disk.format, "raw") == 0;
        struct stat st;

        *ret = (DomusDiskInfo){ 0 };
        if (!path) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "disk '%s' does not currently have a source assigned", disk->disk.target);
                return false;
        }
        if (stat(path, &st) < 0)
                return fail_stat(path, errno, error);
        ret->physical = (uint64_t)st.st_size;
        ret->allocation = (uint64_t)st.st_blocks * 512;
        if (S_ISBLK(st.st_mode)) {
                if (!block_size(path, &ret->physical, error))
                        return false;
                ret->allocation = ret->physical;
        }
        ret->capacity = ret->physical;
        if (raw || !hooks || !hooks->image_capacity)
                return true;
        return hooks->image_capacity(hooks->opaque, path, disk->disk.format, &ret->capacity, error);
}

int domus_domain_disk_error(const DomusDomain *d, const DomusDevice *disk)
{
        return disk->alias && d->disk_errors ? GPOINTER_TO_INT(g_hash_table_lookup(d->disk_errors, disk->alias)) : VIR_DOMAIN_DISK_ERROR_NONE;
}

/* --- Interfaces --- */

static bool vm_counters(const DomusDevice *interface, GHashTable *by_alias, DomusHookTapStats *ret)
{
        const struct {
                const char *name;
                uint64_t *to;
        } counters[] = {
                { VM_DEVSTAT_RX_BYTES, &ret->rx_bytes },    { VM_DEVSTAT_RX_PACKETS, &ret->rx_packets },
                { VM_DEVSTAT_RX_DROPPED, &ret->rx_drop },   { VM_DEVSTAT_TX_BYTES, &ret->tx_bytes },
                { VM_DEVSTAT_TX_PACKETS, &ret->tx_packets }, { VM_DEVSTAT_TX_DROPPED, &ret->tx_drop },
        };
        bool any = false;

        for (unsigned i = 0; i < G_N_ELEMENTS(counters); i++)
                any |= domus_device_counter(by_alias, interface->alias, counters[i].name, counters[i].to);
        return any;
}

bool domus_domain_interface_counters(DomusDomain *d, const DomusDevice *interface, GHashTable *by_alias, DomusHookTapStats *ret, GError **error)
{
        const DomusDomainHooks *hooks = d->manager ? &d->manager->hooks : NULL;

        *ret = (DomusHookTapStats){ 0 };
        if (interface->interface.target && hooks && hooks->tap_stats)
                return hooks->tap_stats(hooks->net_opaque, interface->interface.target, ret, error);
        if (vm_counters(interface, by_alias, ret))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "the interface has no counters");
        return false;
}

GPtrArray *domus_domain_interface_addresses(DomusDomain *d, const DomusDevice *interface, bool arp, GError **error)
{
        const DomusDomainHooks *hooks = d->manager ? &d->manager->hooks : NULL;

        if (!hooks || !hooks->addresses)
                return g_ptr_array_new_with_free_func(domus_hook_address_free);
        return hooks->addresses(hooks->net_opaque, interface->interface.network, interface->interface.mac, arp, error);
}
