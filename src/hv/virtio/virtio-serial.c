/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The controller of virtio-serial ports (VIRTIO 1.1, 5.3): queues and control messages. What the guest has to be told is kept as flags per port, so that a
 * guest that does not listen costs no memory.
 *
 * Property: "ports" u, how many it can have (16). */
#include "hv/virtio/virtio-serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/virtio/devices.h"

#define F_MULTIPORT 1
#define BIT(n) (1ull << (n))

#define CONFIG_MAX_PORTS 4
#define CONFIG_SIZE 12
#define CLASS_SERIAL 0x078000
#define QUEUE_SIZE 128

/* Queues (5.3.2): port 0, control, the other ports; each to the guest, then from it. */
#define QUEUE_CONTROL_TO_GUEST 2
#define QUEUE_CONTROL_FROM_GUEST 3

/* Control messages (5.3.6.2): port in 4 bytes, event and value in 2 each. */
#define MESSAGE_SIZE 8
#define NAME_MAX_LENGTH 255
enum { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };

static struct vserial *of(struct virtio_device *dev)
{
        return container_of(dev, struct vserial, dev);
}

static bool has_control(const struct vserial *bus)
{
        return bus->dev.running && (bus->dev.features & BIT(F_MULTIPORT));
}

static unsigned first_queue(unsigned nr)
{
        return nr == 0 ? 0 : 2 * nr + 2;
}

struct virtio_queue *vserial_to_guest(struct vserial *bus, unsigned nr)
{
        return virtio_device_queue(&bus->dev, first_queue(nr));
}

struct virtio_queue *vserial_from_guest(struct vserial *bus, unsigned nr)
{
        return virtio_device_queue(&bus->dev, first_queue(nr) + 1);
}

/* --- To the guest -------------------------------------------------------------------------------------------------------------------- */

/* The message for one flag. */
static size_t make_message(const struct vserial *bus, unsigned nr, unsigned what, uint8_t *buf)
{
        const struct vport *port = bus->slots[nr].port;
        unsigned event = PORT_OPEN, value = 1;
        size_t extra = 0;

        switch (what) {
        case VSERIAL_TELL_REMOVE:
                event = DEVICE_REMOVE;
                break;
        case VSERIAL_TELL_ADD:
                event = DEVICE_ADD;
                break;
        case VSERIAL_TELL_CONSOLE:
                event = CONSOLE_PORT;
                break;
        case VSERIAL_TELL_NAME:
                event = PORT_NAME;
                extra = strlen(port->name);
                memcpy(buf + MESSAGE_SIZE, port->name, extra);
                break;
        default:
                value = vport_host_open(port);
        }
        le32_store(buf, nr);
        le16_store(buf + 4, (uint16_t)event);
        le16_store(buf + 6, (uint16_t)value);
        return MESSAGE_SIZE + extra;
}

/* False: the guest has no buffer. */
static bool send_message(struct vserial *bus, struct virtio_queue *q, unsigned nr, unsigned what)
{
        struct virtio_chain *chain = virtio_queue_pop(q);
        uint8_t buf[MESSAGE_SIZE + NAME_MAX_LENGTH];
        size_t n;

        if (!chain)
                return false;
        n = make_message(bus, nr, what, buf);
        virtio_queue_push(q, chain, virtio_chain_write(chain, 0, buf, n));
        return true;
}

static void send_messages(struct vserial *bus)
{
        struct virtio_queue *q = virtio_device_queue(&bus->dev, QUEUE_CONTROL_TO_GUEST);

        if (!q || !has_control(bus) || !bus->ready)
                return;
        for (unsigned nr = 0; nr < bus->n_ports; nr++) {
                struct vserial_slot *slot = &bus->slots[nr];

                while (slot->tell) {
                        unsigned what = slot->tell & -slot->tell;

                        if (!send_message(bus, q, nr, what)) {
                                virtio_queue_interrupt(q);
                                return;
                        }
                        slot->tell &= ~what;
                }
        }
        virtio_queue_interrupt(q);
}

void vserial_tell(struct vserial *bus, unsigned nr, unsigned what)
{
        if (!bus->ready)
                return;
        bus->slots[nr].tell |= what;
        send_messages(bus);
}

/* --- From the guest ------------------------------------------------------------------------------------------------------------------ */

static void device_ready(struct vserial *bus, bool fine)
{
        if (!fine) {
                log_warning("%s: the guest's driver failed", bus->id);
                return;
        }
        bus->ready = true;
        for (unsigned nr = 0; nr < bus->n_ports; nr++) {
                if (!bus->slots[nr].port)
                        continue;
                bus->slots[nr].known = true;
                bus->slots[nr].tell |= VSERIAL_TELL_ADD;
        }
}

static void port_ready(struct vserial *bus, struct vport *port, bool fine)
{
        if (!fine) {
                log_warning("%s: the guest could not set up port %u (%s)", bus->id, port->nr, port->id);
                return;
        }
        bus->slots[port->nr].tell |= (port->console ? VSERIAL_TELL_CONSOLE : 0) | (port->name ? VSERIAL_TELL_NAME : 0) |
                                     (vport_host_open(port) ? VSERIAL_TELL_OPEN : 0);
}

static void handle_message(struct vserial *bus, const uint8_t *buf)
{
        uint32_t nr = le32_load(buf);
        unsigned event = le16_load(buf + 4), value = le16_load(buf + 6);
        struct vport *port = nr < bus->n_ports ? bus->slots[nr].port : NULL;

        if (event == DEVICE_READY)
                device_ready(bus, value);
        else if (event == PORT_READY && port)
                port_ready(bus, port, value);
        else if (event == PORT_OPEN && port)
                vport_set_guest_open(port, value);
        else
                log_debug("%s: message %u for port %u", bus->id, event, nr);
}

static void control_notify(struct vserial *bus, struct virtio_queue *q)
{
        struct virtio_chain *chain;
        uint8_t buf[MESSAGE_SIZE];

        while ((chain = virtio_queue_pop(q))) {
                bool whole = virtio_chain_read(chain, 0, buf, sizeof(buf)) == sizeof(buf);

                virtio_queue_push(q, chain, 0);
                if (whole)
                        handle_message(bus, buf);
                else
                        virtio_device_broken(&bus->dev, "a control message that is too short");
        }
        virtio_queue_interrupt(q);
        send_messages(bus);
}

/* What the guest sends to nobody. */
static void discard(struct virtio_queue *q)
{
        struct virtio_chain *chain;

        while ((chain = virtio_queue_pop(q)))
                virtio_queue_push(q, chain, 0);
        virtio_queue_interrupt(q);
}

static void port_notify(struct vserial *bus, struct virtio_queue *q, unsigned nr, bool from_guest)
{
        struct vport *port = bus->slots[nr].port;

        if (port && from_guest)
                vport_send(port);
        else if (port)
                vport_receive(port);
        else if (from_guest)
                discard(q);
}

static void serial_notify(struct virtio_device *dev, unsigned n)
{
        struct vserial *bus = of(dev);
        struct virtio_queue *q = virtio_device_queue(dev, n);

        if (!q)
                return;
        if (n < 2)
                port_notify(bus, q, 0, n & 1);
        else if (!has_control(bus))
                return;
        else if (n == QUEUE_CONTROL_TO_GUEST)
                send_messages(bus);
        else if (n == QUEUE_CONTROL_FROM_GUEST)
                control_notify(bus, q);
        else
                port_notify(bus, q, n / 2 - 1, n & 1);
}

/* Without control messages there is port 0, and it is always open. */
static void serial_start(struct virtio_device *dev)
{
        struct vserial *bus = of(dev);

        if (!has_control(bus) && bus->slots[0].port)
                vport_set_guest_open(bus->slots[0].port, true);
}

static bool serial_stop(struct virtio_device *dev)
{
        struct vserial *bus = of(dev);

        bus->ready = false;
        for (unsigned nr = 0; nr < bus->n_ports; nr++) {
                bus->slots[nr].tell = 0;
                bus->slots[nr].known = false;
                if (bus->slots[nr].port)
                        vport_stop(bus->slots[nr].port);
        }
        return true;
}

static const struct virtio_ops serial_ops = {
        .start = serial_start,
        .stop = serial_stop,
        .notify = serial_notify,
};

/* --- Ports --------------------------------------------------------------------------------------------------------------------------- */

int vserial_add(struct vserial *bus, struct vport *port)
{
        struct vserial_slot *slot = &bus->slots[port->nr];

        if (port->nr >= bus->n_ports)
                return -ERANGE;
        if (slot->port)
                return -EBUSY;
        slot->port = port;
        if (bus->ready) {
                slot->known = true;
                vserial_tell(bus, port->nr, VSERIAL_TELL_ADD);
        }
        return 0;
}

/* What the guest had not heard yet is of no interest any more. */
void vserial_remove(struct vserial *bus, struct vport *port)
{
        struct vserial_slot *slot = &bus->slots[port->nr];
        bool never_heard = slot->tell & VSERIAL_TELL_ADD;

        slot->port = NULL;
        slot->tell &= VSERIAL_TELL_REMOVE;
        if (slot->known && !never_heard)
                vserial_tell(bus, port->nr, VSERIAL_TELL_REMOVE);
        slot->known = false;
}

/* --- The plug ------------------------------------------------------------------------------------------------------------------------ */

static void serial_reset(struct plug *plug)
{
        virtio_device_reset(&container_of(plug, struct vserial, plug)->dev);
}

static void serial_free(struct plug *plug)
{
        struct vserial *bus = container_of(plug, struct vserial, plug);

        if (bus->dev.pci)
                virtio_device_reset(&bus->dev);
        for (unsigned nr = 0; nr < bus->n_ports; nr++)
                if (bus->slots[nr].port)
                        vport_orphan(bus->slots[nr].port);
        virtio_device_finish(&bus->dev);
        free(bus->id);
        free(bus);
}

static const struct plug_ops serial_plug_ops = {
        .driver = "virtio-serial",
        .reset = serial_reset,
        .free = serial_free,
};

struct vserial *vserial_of(struct plug *plug)
{
        return plug->ops == &serial_plug_ops ? container_of(plug, struct vserial, plug) : NULL;
}

static int set_up(struct vserial *bus, int slot, struct props *props, char **ret_error)
{
        struct virtio_info info = {
                .id = VIRTIO_ID_CONSOLE,
                .class = CLASS_SERIAL,
                .features = BIT(F_MULTIPORT),
                .queue_size = QUEUE_SIZE,
                .config_size = CONFIG_SIZE,
        };
        int r;

        bus->n_ports = VSERIAL_PORTS_MAX;
        if (props_take_unsigned(props, "ports", VSERIAL_PORTS_MAX, &bus->n_ports) == -EINVAL || bus->n_ports == 0)
                return plug_fail(ret_error, -EINVAL, "\"ports\" of %s is not from 1 to %u", bus->id, VSERIAL_PORTS_MAX);
        info.n_queues = 2 * bus->n_ports + 2;
        le32_store(bus->dev.config + CONFIG_MAX_PORTS, bus->n_ports);
        r = virtio_device_init(&bus->dev, &bus->env, slot, &info);
        return r < 0 ? plug_fail(ret_error, r, "cannot make controller %s: %s", bus->id, strerror(-r)) : 0;
}

static int serial_new(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error)
{
        struct vserial *bus = calloc(1, sizeof(*bus));
        int r;

        if (!bus)
                return -ENOMEM;
        *bus = (struct vserial){ .plug = { .ops = &serial_plug_ops, .pci_slot = slot }, .env = *env, .id = strdup(id) };
        bus->dev = (struct virtio_device){ .ops = &serial_ops, .name = bus->id };
        r = bus->id ? set_up(bus, slot, props, ret_error) : -ENOMEM;
        if (r < 0) {
                serial_free(&bus->plug);
                return r;
        }
        *ret = &bus->plug;
        return 0;
}

const struct plug_driver virtio_serial_driver = { .name = "virtio-serial", .new = serial_new, .pci = true };
