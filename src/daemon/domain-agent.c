/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The guest agent of a domain: whether there is one to ask, and asking it. */

#include <string.h>

#include "daemon/agent.h"
#include "daemon/domain-private.h"
#include "model/domain-device.h"

#define COMMAND_SECONDS 60

/* A running domain with the agent's channel; NULL with an error. */
static DomusAgent *agent_of(DomusDomain *d, GError **error)
{
        const DomusDevice *channel;

        if (!domus_domain_require_active(d, error))
                return NULL;
        channel = domus_domain_def_channel(d->live, DOMUS_AGENT_CHANNEL);
        if (!channel || channel->channel.pty || !channel->channel.path) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
                return NULL;
        }
        if (d->state != VIR_DOMAIN_RUNNING) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "domain is not running");
                return NULL;
        }
        if (!d->agent)
                d->agent = domus_agent_new(d->manager->loop, channel->channel.path);
        return d->agent;
}

static void send(DomusDomain *d, const char *json, int timeout, bool silent, DomusAgentReply reply, gpointer opaque)
{
        GError *error = NULL;
        DomusAgent *agent = agent_of(d, &error);
        unsigned seconds = timeout > 0 ? (unsigned)timeout : d->agent_timeout > 0 ? (unsigned)d->agent_timeout : COMMAND_SECONDS;

        if (agent) {
                domus_agent_send(agent, json, seconds, silent, reply, opaque);
                return;
        }
        reply(NULL, error, opaque);
        g_error_free(error);
}

void domus_domain_agent_text(DomusDomain *d, const char *json, int timeout, DomusAgentReply reply, gpointer opaque)
{
        send(d, json, timeout, false, reply, opaque);
}

static char *make_command(const char *name, JsonObject *arguments)
{
        g_autoptr(JsonObject) command = json_object_new();
        g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);

        json_object_set_string_member(command, "execute", name);
        if (arguments)
                json_object_set_object_member(command, "arguments", arguments);
        json_node_set_object(root, command);
        return json_to_string(root, FALSE);
}

void domus_domain_agent_call(DomusDomain *d, const char *name, JsonObject *arguments, DomusAgentReply reply, gpointer opaque)
{
        g_autofree char *json = make_command(name, arguments);

        send(d, json, 0, false, reply, opaque);
}

bool domus_domain_set_agent_timeout(DomusDomain *d, int seconds, GError **error)
{
        if (seconds < VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "guest agent timeout '%d' is less than the minimum '%d'", seconds,
                        VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
                return false;
        }
        d->agent_timeout = seconds;
        return true;
}

/* --- Shutdown and reboot --- */

typedef struct {
        DomusDomain *domain; /* referenced */
        DomusDone done;
        gpointer opaque;
} Shutdown;

static void on_shutdown(JsonObject *reply, const GError *error, gpointer opaque)
{
        Shutdown *s = opaque;

        if (s->done)
                s->done(error ? NULL : s->domain, error, s->opaque);
        domus_domain_unref(s->domain);
        g_free(s);
}

bool domus_domain_has_agent(const DomusDomain *d)
{
        const DomusDevice *channel = d->live ? domus_domain_def_channel(d->live, DOMUS_AGENT_CHANNEL) : NULL;

        return channel && channel->channel.path && !channel->channel.pty;
}

void domus_domain_agent_shutdown(DomusDomain *d, bool reboot, DomusDone done, gpointer opaque)
{
        Shutdown *s = g_new0(Shutdown, 1);

        *s = (Shutdown){ domus_domain_ref(d), done, opaque };
        send(d, reboot ? "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"reboot\"}}" :
                         "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"powerdown\"}}",
                0, true, on_shutdown, s);
}
