/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One user's connection to a guest's serial port: a relay between the pty and one end of a socket pair, whose other end is the
 * user's. Freeing the relay is what cuts the user off: they read end of file. */

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct DomusConsole DomusConsole;

/* Opens the pty's slave. *ret_fd: the user's end, nonblocking and close-on-exec, the caller's to close. closed is called from the loop when
 * the user or the guest's side has gone; it frees the relay. DOMUS_ERROR_SYSTEM. */
DomusConsole *domus_console_open(sd_event *loop, const char *tty, void (*closed)(gpointer opaque), gpointer opaque,
                                 int *ret_fd, GError **error);
/* Has the user closed their end, even if the loop has not come to see it yet? Then what they typed last is passed on, as far as the guest
 * takes it now, and the console may be freed and given to another. */
bool domus_console_abandoned(DomusConsole *c);
void domus_console_free(DomusConsole *c);
