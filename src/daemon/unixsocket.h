/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* UNIX stream sockets at paths of any length: sun_path holds 107 bytes, so they are reached through /proc/self/fd. Descriptors are nonblocking
 * and close-on-exec; negative errno on failure. */

/* The socket file is the owner's alone. -EADDRINUSE: there is something at path. */
int domus_unix_listen(const char *path);
int domus_unix_connect(const char *path);
