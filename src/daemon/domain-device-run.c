/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a running VM reports of its devices. */

#include <string.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "daemon/device.h"
#include "daemon/domlog.h"
#include "vmproto/vmproto.h"

static const char *image_name(const DomusDomain *d, const DomusDevice *device)
{
        const char *path = device->kind == DOMUS_DEVICE_DISK ? domus_device_disk_path(d, device) : NULL;

        return path ? path : "";
}

#define FULL_BYTES (1 << 20) /* less than what an image grows by at a time */

/* qemu-storage-daemon does not say why a write failed, but a full file system below the image explains it. */
static bool is_full(const DomusDomain *d, const DomusDevice *device)
{
        struct statvfs s;

        return device->kind == DOMUS_DEVICE_DISK && device->disk.format && strcmp(device->disk.format, "raw") != 0 &&
               statvfs(image_name(d, device), &s) == 0 && (uint64_t)s.f_bavail * s.f_frsize < FULL_BYTES;
}

/* What the guest met, in the words of virDomainEventIOErrorAction. */
static int error_action(const DomusDevice *device, const char *what)
{
        const char *policy = device->kind == DOMUS_DEVICE_DISK ? device->disk.error_policy : NULL;

        if (g_strcmp0(policy, "stop") == 0)
                return VIR_DOMAIN_EVENT_IO_ERROR_PAUSE;
        if (g_strcmp0(policy, "ignore") == 0)
                return VIR_DOMAIN_EVENT_IO_ERROR_NONE;
        if (!policy || strcmp(policy, "enospace") == 0)
                return strcmp(what, VM_DEVERR_NO_SPACE) == 0 ? VIR_DOMAIN_EVENT_IO_ERROR_PAUSE : VIR_DOMAIN_EVENT_IO_ERROR_REPORT;
        return VIR_DOMAIN_EVENT_IO_ERROR_REPORT;
}

void domus_domain_note_device_error(DomusDomain *d, const char *alias, const char *what)
{
        const DomusDevice *device = d->live ? domus_domain_def_device_by_alias(d->live, alias) : NULL;
        bool no_space;

        if (!device)
                return;
        if (strcmp(what, VM_DEVERR_IO) == 0 && is_full(d, device))
                what = VM_DEVERR_NO_SPACE;
        no_space = strcmp(what, VM_DEVERR_NO_SPACE) == 0;
        log_warning("domain '%s': device '%s': %s", d->name, alias, what);
        if (d->log_path)
                domus_log_note(d->log_path, "device '%s': %s", alias, what);
        if (device->kind != DOMUS_DEVICE_DISK)
                return;
        g_hash_table_insert(d->disk_errors, g_strdup(alias), GINT_TO_POINTER(no_space ? VIR_DOMAIN_DISK_ERROR_NO_SPACE : VIR_DOMAIN_DISK_ERROR_UNSPEC));
        domus_domain_emit_device(d, DOMUS_EVENT_IO_ERROR, error_action(device, what), alias, image_name(d, device), no_space ? "enospc" : "eio");
}

void domus_domain_note_balloon(DomusDomain *d, uint64_t bytes)
{
        uint64_t kib = bytes / 1024;

        if (!d->live || kib == 0 || kib > d->live->memory_max || kib == d->live->memory_current)
                return;
        domus_domain_def_set_memory(d->live, d->live->memory_max, kib, NULL);
        domus_domain_save_status(d);
        domus_domain_emit_value(d, DOMUS_EVENT_BALLOON, kib);
}

void domus_domain_note_tray(DomusDomain *d, const char *alias, bool open)
{
        if (d->live && domus_domain_def_device_by_alias(d->live, alias))
                domus_domain_emit(d, DOMUS_EVENT_TRAY, open ? VIR_DOMAIN_EVENT_TRAY_CHANGE_OPEN : VIR_DOMAIN_EVENT_TRAY_CHANGE_CLOSE, alias);
}

void domus_domain_note_port(DomusDomain *d, const char *alias, bool open)
{
        DomusDevice *device = d->live ? domus_domain_def_device_by_alias(d->live, alias) : NULL;

        if (!device || device->kind != DOMUS_DEVICE_CHANNEL)
                return;
        domus_domain_def_set_channel_state(d->live, device, open);
        domus_domain_save_status(d);
        device = domus_domain_def_device_by_alias(d->live, alias);
        if (strcmp(device->channel.name, DOMUS_AGENT_CHANNEL) == 0)
                domus_domain_emit_agent(d, open, VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_CHANNEL);
}

void domus_domain_note_threshold(DomusDomain *d, const char *alias, uint64_t threshold, uint64_t excess)
{
        const DomusDevice *device = d->live ? domus_domain_def_device_by_alias(d->live, alias) : NULL;

        if (device && device->kind == DOMUS_DEVICE_DISK)
                domus_domain_emit_threshold(d, device->disk.target, domus_device_disk_path(d, device), threshold, excess);
}
