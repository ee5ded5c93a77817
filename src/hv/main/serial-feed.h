/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* From a file descriptor to a serial port, no faster than the guest takes it. Main thread. */

#include <systemd/sd-event.h>

#include "hv/machine/machine.h"

struct serial_feed;

struct serial_feed_handler {
        /* Looks at bytes just read and may change or shorten them in place; returns how many remain. NULL: all pass. */
        size_t (*filter)(void *opaque, uint8_t *buf, size_t n);
        void *opaque;
};

/* Reads fd, which stays the caller's, whenever there is input. End of file ends reading and nothing else. */
int serial_feed_new(sd_event *loop, int fd, struct machine *m, unsigned port, const struct serial_feed_handler *handler,
                    struct serial_feed **ret);
void serial_feed_free(struct serial_feed *f);
/* The port has room again. */
void serial_feed_ready(struct serial_feed *f);
