/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices that the user chooses. They are in the list in the order in which they came, so that what hangs below another device comes behind it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/block/ring.h"
#include "hv/bus/plug.h"
#include "hv/dev/pci-hotplug.h"
#include "hv/machine/machine-private.h"
#include "hv/virtio/devices.h"

static const struct plug_driver *const drivers[] = {
        &scsi_cd_driver,
        &scsi_disk_driver,
        &virtio_balloon_driver,
        &virtio_blk_driver,
        &virtio_net_driver,
        &virtio_rng_driver,
        &virtio_scsi_driver,
        &virtio_serial_driver,
        &virtio_serialport_driver,
};

/* What a device said last of each kind of event and the main thread has not heard yet. */
struct note {
        bool waits;
        uint64_t value, excess;
        char text[16];
};

struct machine_plug {
        struct list list;
        struct plug *plug; /* NULL while it is being made */
        char *id;
        bool leaving;      /* the guest was asked to let go of it */
        struct note notes[PLUG_EVENTS];
};

static void lock(struct machine *m)
{
        pthread_mutex_lock(&m->device_lock);
}

static void unlock(struct machine *m)
{
        pthread_mutex_unlock(&m->device_lock);
}

static struct machine_plug *find(struct machine *m, const char *id)
{
        list_foreach (l, &m->plugs) {
                struct machine_plug *p = list_entry(l, struct machine_plug, list);

                if (p->plug && strcmp(p->id, id) == 0)
                        return p;
        }
        return NULL;
}

static struct machine_plug *child_of(struct machine *m, const struct plug *parent)
{
        list_foreach (l, &m->plugs) {
                struct machine_plug *p = list_entry(l, struct machine_plug, list);

                if (p->plug && p->plug->parent == parent)
                        return p;
        }
        return NULL;
}

/* --- What devices say ------------------------------------------------------------------------------------------------------------------- */

static void note(struct machine *m, struct machine_plug *p, enum plug_event event, uint64_t value, uint64_t excess, const char *text)
{
        struct note *n = &p->notes[event];

        *n = (struct note){ .waits = true, .value = value, .excess = excess };
        snprintf(n->text, sizeof(n->text), "%s", text ? text : "");
        machine_post(m, MACHINE_POST_PLUG);
}

static void on_event(void *opaque, struct plug *plug, enum plug_event event, uint64_t value, uint64_t excess, const char *text)
{
        if (plug->machine_data)
                note(opaque, plug->machine_data, event, value, excess, text);
}

static struct plug *on_find(void *opaque, const char *id)
{
        struct machine_plug *p = find(opaque, id);

        return p ? p->plug : NULL;
}

void machine_plugs_ejected(struct machine *m, unsigned slot)
{
        list_foreach (l, &m->plugs) {
                struct machine_plug *p = list_entry(l, struct machine_plug, list);

                if (p->plug && p->plug->pci_slot == (int)slot)
                        note(m, p, PLUG_EVENT_RELEASED, 0, 0, NULL);
        }
}

/* Device lock held. */
static void remove_plug(struct machine_plug *p)
{
        list_remove(&p->list);
        if (p->plug)
                p->plug->ops->free(p->plug);
        free(p->id);
        free(p);
}

static void tell(struct machine *m, const char *id, enum plug_event event, const struct note *n)
{
        if (m->config.plug_event)
                m->config.plug_event(m, id, event, n->value, n->excess, n->text, m->config.opaque);
}

/* What hangs below a device goes before it. */
static bool release_child(struct machine *m, const struct machine_plug *p)
{
        struct machine_plug *child = child_of(m, p->plug);

        if (child)
                child->notes[PLUG_EVENT_RELEASED].waits = true;
        return child;
}

/* The next note that the main thread has not heard. A device that is released is gone afterwards. Device lock held. */
static bool take_note(struct machine *m, char **ret_id, enum plug_event *ret_event, struct note *ret)
{
        list_foreach (l, &m->plugs) {
                struct machine_plug *p = list_entry(l, struct machine_plug, list);

                for (unsigned event = PLUG_EVENTS; event-- > 0;) {
                        if (!p->notes[event].waits)
                                continue;
                        if (event == PLUG_EVENT_RELEASED && release_child(m, p))
                                continue;
                        *ret = p->notes[event];
                        *ret_event = event;
                        *ret_id = strdup(p->id);
                        p->notes[event].waits = false;
                        if (event == PLUG_EVENT_RELEASED)
                                remove_plug(p);
                        return true;
                }
        }
        return false;
}

void machine_plugs_dispatch(struct machine *m)
{
        enum plug_event event;
        struct note n;
        char *id;
        bool more;

        for (;;) {
                lock(m);
                more = take_note(m, &id, &event, &n);
                unlock(m);
                if (!more)
                        return;
                if (event == PLUG_EVENT_IO_ERROR && n.value && m->state == MACHINE_RUNNING)
                        machine_pause(m);
                if (id)
                        tell(m, id, event, &n);
                free(id);
        }
}

/* --- Plugging ---------------------------------------------------------------------------------------------------------------------------- */

static const struct plug_driver *find_driver(const char *name)
{
        for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++)
                if (strcmp(drivers[i]->name, name) == 0)
                        return drivers[i];
        return NULL;
}

static int choose_slot(struct machine *m, const struct plug_driver *driver, int *slot, char **ret_error)
{
        if (!driver->pci)
                return *slot < 0 ? 0 : plug_fail(ret_error, -EINVAL, "it is not a PCI device and takes no slot");
        if (*slot >= PCI_SLOTS)
                return plug_fail(ret_error, -EINVAL, "there is no PCI slot %d", *slot);
        if (*slot >= 0)
                return pci_bus_has(m->pci, (unsigned)*slot) ? plug_fail(ret_error, -EBUSY, "PCI slot %d is taken", *slot) : 0;
        for (*slot = 0; *slot < PCI_SLOTS; (*slot)++)
                if (!pci_bus_has(m->pci, (unsigned)*slot))
                        return 0;
        return plug_fail(ret_error, -EBUSY, "all PCI slots are taken");
}

/* The guest runs: it will not look for devices by itself any more. */
static bool guest_runs(const struct machine *m)
{
        return m->state == MACHINE_RUNNING || m->state == MACHINE_PAUSED;
}

static int make(struct machine *m, const struct plug_driver *driver, struct machine_plug *p, int slot, struct props *props, char **ret_error)
{
        const char *left;
        int r;

        if (find(m, p->id))
                return plug_fail(ret_error, -EEXIST, "there is a device with this id already");
        if (guest_runs(m) && driver->pci && !m->pci_hotplug)
                return plug_fail(ret_error, -EOPNOTSUPP, "the machine has no ACPI, so the guest cannot be told of a new PCI device");
        r = choose_slot(m, driver, &slot, ret_error);
        if (r == 0)
                r = driver->new(&m->plug_env, p->id, slot, props, &p->plug, ret_error);
        if (r < 0)
                return r;
        p->plug->id = p->id;
        p->plug->machine_data = p;
        left = props_left(props);
        return left ? plug_fail(ret_error, -ENOENT, "unknown property '%s'", left) : 0;
}

/* Puts the device's id before the sentence. */
static int name_device(int r, const char *id, char **ret_error)
{
        char *why = *ret_error;

        if (r < 0) {
                plug_fail(ret_error, r, "device '%s': %s", id, why ? why : strerror(-r));
                free(why);
        }
        return r;
}

/* At the end of the list. */
static int add(struct machine *m, const struct machine_new_plug *new, char **ret_error)
{
        const struct plug_driver *driver = find_driver(new->driver);
        struct machine_plug *p;
        int r;

        if (!driver)
                return plug_fail(ret_error, -EINVAL, "there is no driver '%s'", new->driver);
        p = calloc(1, sizeof(*p));
        if (!p || !(p->id = strdup(new->id))) {
                free(p);
                return -ENOMEM;
        }
        list_append(&m->plugs, &p->list);
        r = make(m, driver, p, new->slot, new->props, ret_error);
        if (r < 0)
                remove_plug(p);
        return r;
}

static void announce_last(struct machine *m, size_t n)
{
        struct list *l = &m->plugs;

        while (n-- > 0) {
                const struct plug *plug = list_entry(l->prev, struct machine_plug, list)->plug;

                if (plug->pci_slot >= 0)
                        pci_hotplug_filled(m->pci_hotplug, (unsigned)plug->pci_slot);
                l = l->prev;
        }
}

static void remove_last(struct machine *m, size_t n)
{
        while (n-- > 0)
                remove_plug(list_entry(m->plugs.prev, struct machine_plug, list));
}

int machine_plug(struct machine *m, const struct machine_new_plug *list, size_t n, char **ret_error)
{
        size_t made = 0;
        int r = 0;

        *ret_error = NULL;
        lock(m);
        while (made < n && (r = add(m, &list[made], ret_error)) == 0)
                made++;
        if (r < 0)
                remove_last(m, made);
        else if (guest_runs(m))
                announce_last(m, n);
        unlock(m);
        return r < 0 ? name_device(r, list[made].id, ret_error) : 0;
}

/* --- Unplugging -------------------------------------------------------------------------------------------------------------------------- */

static int ask_to_leave(struct machine *m, struct machine_plug *p, char **ret_error)
{
        const struct machine_plug *child = child_of(m, p->plug);

        if (child)
                return plug_fail(ret_error, -EBUSY, "device '%s' is connected to it", child->id);
        if (p->plug->pci_slot >= 0 && guest_runs(m)) {
                if (!m->pci_hotplug)
                        return plug_fail(ret_error, -EOPNOTSUPP, "the machine has no ACPI, so the guest cannot be asked to let go of a PCI device");
                p->leaving = true;
                pci_hotplug_request(m->pci_hotplug, (unsigned)p->plug->pci_slot);
                return 0;
        }
        if (p->plug->pci_slot >= 0 || !p->plug->ops->unplug || p->plug->ops->unplug(p->plug))
                note(m, p, PLUG_EVENT_RELEASED, 0, 0, NULL);
        return 0;
}

int machine_unplug(struct machine *m, const char *id, char **ret_error)
{
        struct machine_plug *p;
        int r;

        *ret_error = NULL;
        lock(m);
        p = find(m, id);
        r = p ? ask_to_leave(m, p, ret_error) : plug_fail(ret_error, -ENODEV, "there is no such device");
        unlock(m);
        return name_device(r, id, ret_error);
}

/* --- While they are there ------------------------------------------------------------------------------------------------------------------ */

static int set_locked(struct machine *m, const char *id, struct props *props, char **ret_error)
{
        struct machine_plug *p = find(m, id);
        const char *left;
        int r;

        if (!p)
                return plug_fail(ret_error, -ENODEV, "there is no such device");
        if (!p->plug->ops->set)
                return plug_fail(ret_error, -ENOENT, "nothing of it can be changed");
        r = p->plug->ops->set(p->plug, props, ret_error);
        left = props_left(props);
        if (r == 0 && left)
                return plug_fail(ret_error, -ENOENT, "property '%s' is unknown or cannot be changed", left);
        return r;
}

int machine_plug_set(struct machine *m, const char *id, struct props *props, char **ret_error)
{
        int r;

        *ret_error = NULL;
        lock(m);
        r = set_locked(m, id, props, ret_error);
        unlock(m);
        return name_device(r, id, ret_error);
}

int machine_plug_stats(struct machine *m, const char *id, plug_stat_fn fn, void *opaque)
{
        struct machine_plug *p;

        lock(m);
        p = find(m, id);
        if (p && p->plug->ops->stats)
                p->plug->ops->stats(p->plug, fn, opaque);
        unlock(m);
        return p ? 0 : -ENODEV;
}

void machine_plugs_init(struct machine *m)
{
        list_init(&m->plugs);
}

int machine_ring_new(struct ring **ret)
{
        return ring_new(ret);
}

void machine_ring_free(struct ring *ring)
{
        ring_free(ring);
}

void machine_plugs_start(struct machine *m)
{
        m->plug_env = (struct plug_env){
                .lock = &m->device_lock,
                .bus = m->bus,
                .pci = m->pci,
                .memory = &m->memory,
                .timers = m->timers,
                .watches = m->watches,
                .ring = m->config.ring,
                .irqs = &m->irqs,
                .event = on_event,
                .find = on_find,
                .opaque = m,
        };
}

void machine_plugs_resume(struct machine *m)
{
        lock(m);
        list_foreach (l, &m->plugs) {
                struct plug *plug = list_entry(l, struct machine_plug, list)->plug;

                if (plug->ops->resume)
                        plug->ops->resume(plug);
        }
        unlock(m);
}

/* The guest that was asked to let go of devices is no more. */
void machine_plugs_reset(struct machine *m)
{
        list_foreach (l, &m->plugs) {
                struct machine_plug *p = list_entry(l, struct machine_plug, list);

                p->plug->ops->reset(p->plug);
                if (!p->leaving)
                        continue;
                pci_bus_eject(m->pci, (unsigned)p->plug->pci_slot);
                note(m, p, PLUG_EVENT_RELEASED, 0, 0, NULL);
        }
}

void machine_plugs_free(struct machine *m)
{
        lock(m);
        while (!list_empty(&m->plugs))
                remove_plug(list_entry(m->plugs.prev, struct machine_plug, list));
        unlock(m);
}
