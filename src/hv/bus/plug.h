/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Devices that the user chooses: made from a dictionary at the start or while the machine runs, changed, asked for figures, and taken away. One file makes one
 * kind; machine/plugs.c lists the drivers: adding one is a file and a row. Everything is called with the device lock held. */

#include <stdbool.h>
#include <stdint.h>

#include "hv/bus/bus.h"
#include "hv/bus/irq.h"
#include "hv/bus/memory.h"
#include "hv/bus/props.h"
#include "hv/bus/timer.h"
#include "hv/bus/watch.h"

struct pci_bus;
struct ring;
struct plug;

enum plug_event {
        PLUG_EVENT_RELEASED,  /* the guest let go of a device that it was asked to release, or the device has become idle after plug_ops.unplug */
        PLUG_EVENT_IO_ERROR,  /* text: "enospc", "eio", or "gone" for a back end that hung up; the machine pauses if value is set, else it is only reported */
        PLUG_EVENT_BALLOON,   /* value: bytes that the guest has now */
        PLUG_EVENT_TRAY,      /* value: 1 open, 0 closed, by the guest */
        PLUG_EVENT_PORT,      /* a virtio-serial port: value: 1 the guest opened it, 0 closed */
        PLUG_EVENT_THRESHOLD, /* value: the write threshold of a disk that was passed; excess: how far beyond it the write went, bytes */
        PLUG_EVENTS,
};

/* What a device gets from its machine; all of it outlives the device. */
struct plug_env {
        pthread_mutex_t *lock; /* the device lock */
        struct bus *bus;
        struct pci_bus *pci;
        struct guest_memory *memory;
        struct timer_loop *timers;
        struct watch_loop *watches;
        struct ring *ring; /* block/ring.h; NULL: images make their own */
        struct irq_sink *irqs;
        /* Tells the machine something; the main thread acts on it later. Of several of one kind the last one is told; text: at most 15 characters, copied. Not before new() has returned. */
        void (*event)(void *opaque, struct plug *plug, enum plug_event event, uint64_t value, uint64_t excess, const char *text);
        /* The plugged device with that id, to hang below (a disk on its controller); NULL. */
        struct plug *(*find)(void *opaque, const char *id);
        void *opaque;
};

/* name and value of one figure; names are the driver's own, in vmproto's spelling ("rd-bytes"). */
typedef void (*plug_stat_fn)(void *opaque, const char *name, uint64_t value);

struct plug_ops {
        const char *driver;
        /* To the power-on state; no I/O is in flight afterwards (waits for what is: see block.h's drain). */
        void (*reset)(struct plug *plug);
        /* Changes the properties named, all or none. NULL: none can be. Error texts as for plug_driver.new. */
        int (*set)(struct plug *plug, struct props *props, char **ret_error);
        /* May be NULL. */
        void (*stats)(struct plug *plug, plug_stat_fn fn, void *opaque);
        /* The machine was paused because of an I/O error and goes on: what failed is tried again. May be NULL. */
        void (*resume)(struct plug *plug);
        /* The device shall go; not for PCI functions, where the guest is asked. True: it may be freed now; false: PLUG_EVENT_RELEASED follows. NULL: always true. */
        bool (*unplug)(struct plug *plug);
        /* Waits for what is in flight, detaches from PCI or controller and frees. */
        void (*free)(struct plug *plug);
};

/* Embedded in each. */
struct plug {
        const struct plug_ops *ops;
        char *id;             /* set by the machine before new() returns to anyone else; owned by it */
        int pci_slot;         /* -1: not a PCI function */
        struct plug *parent;  /* the controller, or NULL */
        void *machine_data;
};

struct plug_driver {
        const char *name;     /* "virtio-blk" */
        /* Takes its properties from props; those that are left are refused by the caller, which frees the device then. id is the device's, for logs, and outlives it. slot: PCI slot, or -1.
         * 0, or negative errno with *ret_error (malloced) a sentence that names what is wrong. */
        int (*new)(const struct plug_env *env, const char *id, int slot, struct props *props, struct plug **ret, char **ret_error);
        bool pci;             /* needs a slot */
};

/* *ret = malloced text; returns r. */
__attribute__((format(printf, 3, 4))) int plug_fail(char **ret, int r, const char *format, ...);
