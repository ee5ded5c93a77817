/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Tap devices: Ethernet devices of the host whose other end is a descriptor (Documentation/networking/tuntap.rst). Private to src/net. */

#include <glib.h>
#include <stdbool.h>

/* Makes a tap device with a descriptor (close-on-exec, nonblocking) per queue; frames have a virtio-net header of 12 bytes. name: may end in "%d"; g_free *ret_name.
 * The device is gone when the last descriptor is closed. A name that is taken is an error. */
bool tap_open(const char *name, unsigned queues, int *fds, char **ret_name, GError **error);
/* The same for a tap device that exists, and stays if it is a persistent one; queues > 1 only if it was made for several. */
bool tap_open_existing(const char *name, unsigned queues, int *fds, GError **error);
/* The same for a macvtap link, which stays when the descriptors are closed. */
bool tap_open_macvtap(const char *name, unsigned queues, int *fds, GError **error);
