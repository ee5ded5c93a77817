/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Signals that the event loop handles, taken by a thread that waits for them. sd-event's own way is a signalfd, and the kernel wakes who waits
 * for one at every signal in the process: those of the vCPUs' timers would wake the main loop hundreds of times per second. */

#include <systemd/sd-event.h>

struct signals;

/* The signals are blocked in all threads. fn is called in the loop, with the first that came; it returns as an event handler. */
int signals_new(sd_event *loop, const int *which, unsigned n, int (*fn)(void *opaque, int signal), void *opaque, struct signals **ret);
void signals_free(struct signals *s);
