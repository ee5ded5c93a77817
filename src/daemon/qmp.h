/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* QEMU's monitor protocol (docs/interop/qmp-spec of QEMU) with a qemu-storage-daemon: JSON lines over a UNIX socket. Commands are answered in their order. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct DomusQmp DomusQmp;

/* error: borrowed; NULL if the command was carried out, else OPERATION_FAILED with what the other side says. */
typedef void (*DomusQmpReply)(const GError *error, gpointer opaque);
/* data is borrowed and may be NULL. */
typedef void (*DomusQmpEvent)(const char *name, JsonObject *data, gpointer opaque);

/* Connects to the socket at path. NULL with OPERATION_FAILED. */
DomusQmp *domus_qmp_new(sd_event *loop, const char *path, DomusQmpEvent event, gpointer opaque, GError **error);
/* Commands that wait fail. NULL is fine; so is a call from within a callback. */
void domus_qmp_free(DomusQmp *qmp);

/* Has the other side closed the connection, or said what cannot be understood? All commands fail then. */
bool domus_qmp_is_closed(const DomusQmp *qmp);

/* arguments: taken over; may be NULL. reply is called exactly once, never before this returns. */
void domus_qmp_send(DomusQmp *qmp, const char *command, JsonObject *arguments, DomusQmpReply reply, gpointer opaque);
