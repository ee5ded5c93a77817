/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks and CD drives as plugs on a SCSI controller. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hv/virtio/scsi.h"
#include "hv/virtio/devices.h"

#define CD_BLOCK 2048u
#define MEDIA_EJECT_REQUEST 1
#define MEDIA_NEW 2
#define MEDIA_REMOVED 3

static struct scsi_unit *unit_of(struct plug *plug)
{
        return container_of(plug, struct scsi_unit, plug);
}

/* --- What the image tells ------------------------------------------------------------------------------------------------------------------------- */

static void on_error(void *opaque, bool stop, int error)
{
        struct scsi_unit *unit = opaque;

        unit->env.event(unit->env.opaque, &unit->plug, PLUG_EVENT_IO_ERROR, stop, 0, block_error_text(error));
}

static void on_resized(void *opaque)
{
        struct scsi_unit *unit = opaque;

        unit->attention = unit->cd ? SCSI_MEDIUM_CHANGED : SCSI_CAPACITY_CHANGED;
        if (unit->bus)
                unit->bus->changed(unit->bus, unit, unit->attention);
}

static void on_threshold(void *opaque, uint64_t threshold, uint64_t excess)
{
        struct scsi_unit *unit = opaque;

        unit->env.event(unit->env.opaque, &unit->plug, PLUG_EVENT_THRESHOLD, threshold, excess, NULL);
}

static int open_image(struct scsi_unit *unit, struct props *props, struct block **ret, char **ret_error)
{
        const struct block_env env = {
                .timers = unit->env.timers,
                .watches = unit->env.watches,
                .lock = unit->env.lock,
                .ring = unit->env.ring,
                .memory = unit->env.memory,
                .readonly = unit->cd,
                .error = on_error,
                .resized = on_resized,
                .threshold = on_threshold,
                .opaque = unit,
        };

        return block_new(&env, props, ret, ret_error);
}

/* --- Media ------------------------------------------------------------------------------------------------------------------------------------------ */

static void change_medium(struct scsi_unit *unit, struct block *block)
{
        struct block *old = unit->block;

        scsi_abort_all(unit);
        unit->block = block;
        block_free(old);
        unit->tray_open = false;
        unit->locked = false;
        unit->media_event = block ? MEDIA_NEW : MEDIA_REMOVED;
        unit->attention = block ? SCSI_MEDIUM_CHANGED : 0;
        unit->bus->changed(unit->bus, unit, SCSI_MEDIUM_CHANGED);
}

/* A tray that the guest has locked stays shut, but the guest is asked. */
static int may_change(struct scsi_unit *unit, bool force, char **ret_error)
{
        if (!unit->locked || unit->tray_open || force)
                return 0;
        unit->media_event = MEDIA_EJECT_REQUEST;
        return plug_fail(ret_error, -EBUSY, "the guest has locked the tray; it was asked to open it");
}

static int set_medium(struct scsi_unit *unit, struct props *props, char **ret_error)
{
        struct block *block = NULL;
        bool eject = false, force = false;
        int r = props_take_bool(props, "eject", &eject);

        if (r < 0 && r != -ENOENT)
                return plug_fail(ret_error, r, "eject must be true or false");
        r = props_take_bool(props, "force", &force);
        if (r < 0 && r != -ENOENT)
                return plug_fail(ret_error, r, "force must be true or false");
        if (!eject && !block_is_given(props))
                return 0;
        if (eject && block_is_given(props))
                return plug_fail(ret_error, -EINVAL, "eject goes with no new medium");
        r = may_change(unit, force, ret_error);
        if (r == 0 && !eject)
                r = open_image(unit, props, &block, ret_error);
        if (r == 0)
                change_medium(unit, block);
        return r;
}

/* --- The plug ---------------------------------------------------------------------------------------------------------------------------------------- */

void scsi_unit_reset(struct scsi_unit *unit)
{
        unit->attention = 0;
        unit->locked = false;
        unit->tray_open = false;
        unit->media_event = 0;
}

static void unit_reset(struct plug *plug)
{
        struct scsi_unit *unit = unit_of(plug);

        scsi_abort_all(unit);
        scsi_unit_reset(unit);
}

static int unit_set(struct plug *plug, struct props *props, char **ret_error)
{
        struct scsi_unit *unit = unit_of(plug);

        if (unit->cd) {
                int r = set_medium(unit, props, ret_error);

                if (r < 0)
                        return r;
        }
        return unit->block ? block_set(unit->block, props, ret_error) : 0;
}

static void unit_stats(struct plug *plug, plug_stat_fn fn, void *opaque)
{
        struct scsi_unit *unit = unit_of(plug);

        if (unit->block)
                block_report(unit->block, fn, opaque);
}

static void unit_resume(struct plug *plug)
{
        struct scsi_unit *unit = unit_of(plug);

        if (unit->block)
                block_retry(unit->block);
}

static void unit_free(struct plug *plug)
{
        struct scsi_unit *unit = unit_of(plug);

        scsi_abort_all(unit);
        if (unit->bus) {
                list_remove(&unit->list);
                unit->bus->removed(unit->bus, unit);
        }
        block_free(unit->block);
        free(unit);
}

static const struct plug_ops disk_ops = {
        .driver = "scsi-disk",
        .reset = unit_reset,
        .set = unit_set,
        .stats = unit_stats,
        .resume = unit_resume,
        .free = unit_free,
};

static const struct plug_ops cd_ops = {
        .driver = "scsi-cd",
        .reset = unit_reset,
        .set = unit_set,
        .stats = unit_stats,
        .resume = unit_resume,
        .free = unit_free,
};

/* --- Making ---------------------------------------------------------------------------------------------------------------------------------------------- */

static int take_bus(struct scsi_unit *unit, struct props *props, struct scsi_bus **ret, char **ret_error)
{
        const char *name;
        struct plug *plug;
        int r = props_take_string(props, "bus", &name);

        if (r < 0)
                return plug_fail(ret_error, -EINVAL, "bus must name a SCSI controller");
        plug = unit->env.find(unit->env.opaque, name);
        *ret = plug ? scsi_bus_of(plug) : NULL;
        return *ret ? 0 : plug_fail(ret_error, -ENODEV, "there is no SCSI controller '%s'", name);
}

static int take_address(struct scsi_unit *unit, struct props *props, struct scsi_bus *bus, char **ret_error)
{
        int r = props_take_unsigned(props, "target", SCSI_TARGETS - 1, &unit->target);

        if (r < 0 && r != -ENOENT)
                return plug_fail(ret_error, -EINVAL, "target must be 0 to %u", SCSI_TARGETS - 1);
        r = props_take_unsigned(props, "lun", SCSI_LUNS - 1, &unit->lun);
        if (r < 0 && r != -ENOENT)
                return plug_fail(ret_error, -EINVAL, "lun must be 0 to %u", SCSI_LUNS - 1);
        if (scsi_bus_unit(bus, unit->target, unit->lun))
                return plug_fail(ret_error, -EBUSY, "target %u, lun %u is taken", unit->target, unit->lun);
        return 0;
}

static int take_identity(struct scsi_unit *unit, struct props *props, char **ret_error)
{
        const char *serial = "";
        int r = props_take_string(props, "serial", &serial);

        if ((r < 0 && r != -ENOENT) || strlen(serial) > SCSI_SERIAL_MAX)
                return plug_fail(ret_error, -EINVAL, "serial must be a string of at most %u characters", SCSI_SERIAL_MAX);
        strcpy(unit->serial, serial);
        r = props_take_unsigned(props, "boot-index", UINT32_MAX, &unit->boot_index);
        return r < 0 && r != -ENOENT ? plug_fail(ret_error, r, "boot-index must be a number") : 0;
}

static int build(struct scsi_unit *unit, struct props *props, char **ret_error)
{
        struct scsi_bus *bus;
        int r = take_bus(unit, props, &bus, ret_error);

        if (r == 0)
                r = take_address(unit, props, bus, ret_error);
        if (r == 0)
                r = take_identity(unit, props, ret_error);
        if (r == 0 && (!unit->cd || block_is_given(props)))
                r = open_image(unit, props, &unit->block, ret_error);
        if (r < 0)
                return r;
        unit->block_size = unit->cd ? CD_BLOCK : block_logical_size(unit->block);
        unit->bus = bus;
        unit->plug.parent = bus->plug;
        list_append(&bus->units, &unit->list);
        bus->added(bus, unit);
        return 0;
}

static int new_unit(const struct plug_env *env, const struct plug_ops *ops, bool cd, struct props *props, struct plug **ret, char **ret_error)
{
        struct scsi_unit *unit = calloc(1, sizeof(*unit));
        int r;

        if (!unit)
                return plug_fail(ret_error, -ENOMEM, "out of memory");
        list_init(&unit->list);
        unit->plug = (struct plug){ .ops = ops, .pci_slot = -1 };
        unit->env = *env;
        unit->cd = cd;
        r = build(unit, props, ret_error);
        if (r < 0) {
                unit_free(&unit->plug);
                return r;
        }
        *ret = &unit->plug;
        return 0;
}

static int disk_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        return new_unit(env, &disk_ops, false, props, ret, ret_error);
}

static int cd_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        return new_unit(env, &cd_ops, true, props, ret, ret_error);
}

const struct plug_driver scsi_disk_driver = { .name = "scsi-disk", .new = disk_new };
const struct plug_driver scsi_cd_driver = { .name = "scsi-cd", .new = cd_new };
