/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of virtio-serial (VIRTIO 1.1, 5.3) share: the controller and its ports. Nobody else includes this. */

#include "hv/bus/plug.h"
#include "hv/virtio/virtio.h"

#define VSERIAL_PORTS_MAX 16 /* two queues for each, and two for control */

/* What the guest has to be told of a port, in this order. */
enum {
        VSERIAL_TELL_REMOVE = 1 << 0,
        VSERIAL_TELL_ADD = 1 << 1,
        VSERIAL_TELL_CONSOLE = 1 << 2,
        VSERIAL_TELL_NAME = 1 << 3,
        VSERIAL_TELL_OPEN = 1 << 4, /* or closed: as it is when the message goes */
};

struct vport;

struct vserial_slot {
        struct vport *port;
        unsigned tell;
        bool known; /* the guest was told that the port is there, or will be */
};

struct vserial {
        struct plug plug;
        struct virtio_device dev;
        struct plug_env env;
        char *id;
        unsigned n_ports;
        bool ready; /* the guest listens to control messages */
        struct vserial_slot slots[VSERIAL_PORTS_MAX];
};

struct vport {
        struct plug plug;
        struct vserial *bus;   /* NULL: its controller is gone */
        unsigned nr;
        char *id, *name;       /* name may be NULL */
        bool console;
        bool guest_open;

        /* The host's side: fd is who is connected, or -1. */
        int listen_fd, fd;
        int keep_fd;           /* a pty's slave, held so that the master never hangs up; or -1 */
        bool is_socket;
        struct watch listen_watch, watch;
        bool starved;          /* the guest has no buffers for what came from the host */
        bool full;             /* the host takes no more at the moment */
        bool hung_up;          /* fd is not watched: the other end is closed, but what it sent is not all read yet */
        struct timer retry;

        struct virtio_chain *sending; /* from the guest, partly written */
        /* A console's output waits here, where the guest need not wait for it; the oldest is lost when there is too much. */
        uint8_t *backlog;
        uint64_t head, tail;   /* bytes ever put in and taken out */
        bool overflow;
};

/* virtio-serial.c */
/* The controller with that plug; NULL: it is another kind of device. */
struct vserial *vserial_of(struct plug *plug);
/* -EBUSY: the number is taken; -ERANGE: the controller has not so many. */
int vserial_add(struct vserial *bus, struct vport *port);
void vserial_remove(struct vserial *bus, struct vport *port);
void vserial_tell(struct vserial *bus, unsigned nr, unsigned what);
/* Queues of port nr; NULL: the guest has not set it up. */
struct virtio_queue *vserial_to_guest(struct vserial *bus, unsigned nr);
struct virtio_queue *vserial_from_guest(struct vserial *bus, unsigned nr);

/* virtio-serialport.c; called by the controller. */
void vport_set_guest_open(struct vport *port, bool open);
/* The guest has sent something. */
void vport_send(struct vport *port);
/* The guest has buffers. */
void vport_receive(struct vport *port);
/* The device was stopped. */
void vport_stop(struct vport *port);
bool vport_host_open(const struct vport *port);
/* The controller goes away. */
void vport_orphan(struct vport *port);
