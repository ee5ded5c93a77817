/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The QEMU guest agent's protocol (docs/interop/qemu-ga-ref of QEMU): JSON lines over a channel's socket, one command at a time. The connection is made for
 * the first of a run of commands and closed after the last, so that others can use the channel too. What comes from the guest is
 * bounded in length and depth. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct DomusAgent DomusAgent;

/* reply: the whole reply object, borrowed; NULL with an error: AGENT_UNRESPONSIVE, or INTERNAL with what the agent says. */
typedef void (*DomusAgentReply)(JsonObject *reply, const GError *error, gpointer opaque);

DomusAgent *domus_agent_new(sd_event *loop, const char *socket_path);
/* Commands that wait fail with AGENT_UNRESPONSIVE. NULL is fine. */
void domus_agent_free(DomusAgent *agent);

/* json: one command, on one line. timeout_seconds: for its reply, once it is sent. silent: it has no reply but an error; success is when none has come for a
 * second, or the guest is gone. reply is called exactly once, never before this returns. */
void domus_agent_send(DomusAgent *agent, const char *json, unsigned timeout_seconds, bool silent, DomusAgentReply reply, gpointer opaque);
