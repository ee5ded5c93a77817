/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A serial port's host side under the daemon: a pty, a backlog for whoever connects later, and the boot log. Nothing here
 * ever holds the guest up: when the backlog is full, the oldest output goes. */

#include <systemd/sd-event.h>

#include "hv/machine/machine.h"

struct console;

struct console_config {
        int master, slave; /* of the pty, master nonblocking; owned from here on. slave may be -1 */
        int log_fd;        /* -1: this port has no boot log */
};

/* On failure the descriptors are closed too. */
int console_new(sd_event *loop, const struct console_config *config, struct console **ret);
/* The machine must not call console_output any more. */
void console_free(struct console *c);
/* Lets input through to a serial port. */
int console_connect(struct console *c, struct machine *m, unsigned port);
/* Ends that, before the machine goes. */
void console_disconnect(struct console *c);
/* machine_config's serial_output and serial_ready. */
void console_output(struct console *c, const uint8_t *buf, size_t len);
void console_ready(struct console *c);
/* The guest starts anew: so does its boot log. */
void console_restart_log(struct console *c);
/* Main thread: moves out what is waiting, as far as it can at once (before the end of the process). */
void console_flush(struct console *c);
