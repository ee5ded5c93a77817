/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest agent does for a domain: one command each, and its reply in libvirt's form. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/agent.h"
#include "libvirt-driver/handlers.h"
#include "libvirt-driver/params.h"

#define NSEC_PER_SEC INT64_C(1000000000)

void agent_ask(struct call *call, const struct remote_domain *dom, const char *command, JsonObject *arguments, DomusAgentReply reply)
{
        DomusDomain *d = call_domain(call, dom);

        if (d)
                domus_domain_agent_call(d, command, arguments, reply, call);
        else if (arguments)
                json_object_unref(arguments);
}

JsonNode *agent_reply_value(struct call *call, JsonObject *reply, const GError *error, JsonNodeType type)
{
        JsonNode *node = error ? NULL : json_object_get_member(reply, "return");

        if (node && json_node_get_node_type(node) == type)
                return node;
        if (error)
                call_fail(call, error);
        else
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "the guest agent's reply is malformed");
        return NULL;
}

static void on_done(JsonObject *reply, const GError *error, gpointer opaque)
{
        if (error)
                call_fail(opaque, error);
        else
                call_reply(opaque, NULL);
}

/* --- File systems --- */

static JsonObject *string_list(const char *name, const char **v, uint32_t n)
{
        JsonObject *arguments = json_object_new();
        JsonArray *list = json_array_new();

        for (uint32_t i = 0; i < n; i++)
                json_array_add_string_element(list, v[i]);
        json_object_set_array_member(arguments, name, list);
        return arguments;
}

static void on_count(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_VALUE);

        if (node)
                call_reply_i32(call, (int32_t)json_node_get_int(node));
}

static void fsfreeze(struct call *call, const void *p)
{
        const struct remote_domain_fsfreeze_args *args = p;

        if (args->mountpoints.n)
                agent_ask(call, &args->dom, "guest-fsfreeze-freeze-list", string_list("mountpoints", args->mountpoints.v, args->mountpoints.n),
                        on_count);
        else
                agent_ask(call, &args->dom, "guest-fsfreeze-freeze", NULL, on_count);
}

static void fsthaw(struct call *call, const void *p)
{
        const struct remote_domain_fsthaw_args *args = p;

        if (args->mountpoints.n)
                call_fail_new(call, DOMUS_ERROR_OPERATION_UNSUPPORTED, "specifying mountpoints is not supported");
        else
                agent_ask(call, &args->dom, "guest-fsfreeze-thaw", NULL, on_count);
}

static void fstrim(struct call *call, const void *p)
{
        const struct remote_domain_fstrim_args *args = p;
        JsonObject *arguments;

        if (args->mount_point) {
                call_fail_new(call, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "specifying a mount point is not supported");
                return;
        }
        arguments = json_object_new();
        json_object_set_int_member(arguments, "minimum", (gint64)MIN(args->minimum, (uint64_t)G_MAXINT64));
        agent_ask(call, &args->dom, "guest-fstrim", arguments, on_done);
}

/* --- Time --- */

static void on_time(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_VALUE);
        int64_t ns = node ? json_node_get_int(node) : 0;

        if (node)
                call_reply(call, &(struct remote_domain_get_time_ret){ ns / NSEC_PER_SEC, (uint32_t)(ns % NSEC_PER_SEC) });
}

static void get_time(struct call *call, const void *p)
{
        const struct remote_domain_get_time_args *args = p;

        agent_ask(call, &args->dom, "guest-get-time", NULL, on_time);
}

static void set_time(struct call *call, const void *p)
{
        const struct remote_domain_set_time_args *args = p;
        JsonObject *arguments = NULL;

        if (!(args->flags & VIR_DOMAIN_TIME_SYNC)) {
                if (args->seconds < 0 || args->seconds > G_MAXINT64 / NSEC_PER_SEC - 1) {
                        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "the time is too far away");
                        return;
                }
                arguments = json_object_new();
                json_object_set_int_member(arguments, "time", args->seconds * NSEC_PER_SEC + args->nseconds);
        }
        agent_ask(call, &args->dom, "guest-set-time", arguments, on_done);
}

/* --- Users --- */

static void set_user_password(struct call *call, const void *p)
{
        const struct remote_domain_set_user_password_args *args = p;
        const char *password = args->password ? args->password : "";
        g_autofree char *encoded = g_base64_encode((const guchar *)password, strlen(password));
        JsonObject *arguments = json_object_new();

        json_object_set_string_member(arguments, "username", args->user ? args->user : "");
        json_object_set_string_member(arguments, "password", encoded);
        json_object_set_boolean_member(arguments, "crypted", args->flags & VIR_DOMAIN_PASSWORD_ENCRYPTED);
        agent_ask(call, &args->dom, "guest-set-user-password", arguments, on_done);
}

#define KEYS_MAX 2048

static void on_keys(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_OBJECT);
        JsonArray *keys = node ? agent_array(json_node_get_object(node), "keys") : NULL;
        struct remote_domain_authorized_ssh_keys_get_ret ret = { 0 };

        if (!node)
                return;
        ret.keys.n = keys ? MIN(json_array_get_length(keys), KEYS_MAX) : 0;
        ret.keys.v = arena_new(&call->arena, const char *, ret.keys.n + 1);
        for (uint32_t i = 0; i < ret.keys.n; i++)
                ret.keys.v[i] = arena_strdup(&call->arena, agent_string_of(json_array_get_element(keys, i)));
        call_reply(call, &ret);
}

static void get_ssh_keys(struct call *call, const void *p)
{
        const struct remote_domain_authorized_ssh_keys_get_args *args = p;
        JsonObject *arguments = json_object_new();

        json_object_set_string_member(arguments, "username", args->user);
        agent_ask(call, &args->dom, "guest-ssh-get-authorized-keys", arguments, on_keys);
}

static void set_ssh_keys(struct call *call, const void *p)
{
        const struct remote_domain_authorized_ssh_keys_set_args *args = p;
        const uint32_t append = VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND, away = VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE;
        JsonObject *arguments;

        if ((args->flags & append) && (args->flags & away)) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "flags 'append' and 'remove' exclude each other");
                return;
        }
        arguments = string_list("keys", args->keys.v, args->keys.n);
        json_object_set_string_member(arguments, "username", args->user);
        if (!(args->flags & away))
                json_object_set_boolean_member(arguments, "reset", !(args->flags & append));
        agent_ask(call, &args->dom, args->flags & away ? "guest-ssh-remove-authorized-keys" : "guest-ssh-add-authorized-keys", arguments, on_done);
}

/* --- Name --- */

static void on_hostname(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_OBJECT);
        const char *name;

        if (!node)
                return;
        name = agent_string(json_node_get_object(node), "host-name");
        call_reply(call, &(struct remote_domain_get_hostname_ret){ name ? name : "" });
}

/* What the guest says of itself in its leases is not kept by name: the agent is the source, whichever is asked for. */
static void get_hostname(struct call *call, const void *p)
{
        const struct remote_domain_get_hostname_args *args = p;

        if (args->flags & VIR_DOMAIN_GET_HOSTNAME_LEASE)
                call_fail_new(call, DOMUS_ERROR_ARGUMENT_UNSUPPORTED, "the source 'lease' is not supported, only 'agent'");
        else
                agent_ask(call, &args->dom, "guest-get-host-name", NULL, on_hostname);
}

/* --- Anything --- */

static void set_timeout(struct call *call, const void *p)
{
        const struct remote_domain_agent_set_response_timeout_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;

        if (!d)
                return;
        if (domus_domain_set_agent_timeout(d, args->timeout, &error))
                call_reply_i32(call, 0);
        else
                call_fail_take(call, error);
}

static void on_text(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        g_autoptr(JsonNode) root = NULL;
        g_autofree char *text = NULL;

        if (error) {
                call_fail(call, error);
                return;
        }
        root = json_node_new(JSON_NODE_OBJECT);
        json_node_set_object(root, reply);
        text = json_to_string(root, FALSE);
        call_reply(call, &(struct qemu_domain_agent_command_ret){ text });
}

static void agent_command(struct call *call, const void *p)
{
        const struct qemu_domain_agent_command_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_agent_text(d, args->cmd, args->timeout, on_text, call);
}

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_FSFREEZE, fsfreeze },
        { REMOTE_PROC_DOMAIN_FSTHAW, fsthaw },
        { REMOTE_PROC_DOMAIN_FSTRIM, fstrim },
        { REMOTE_PROC_DOMAIN_GET_TIME, get_time },
        { REMOTE_PROC_DOMAIN_SET_TIME, set_time, VIR_DOMAIN_TIME_SYNC },
        { REMOTE_PROC_DOMAIN_SET_USER_PASSWORD, set_user_password, VIR_DOMAIN_PASSWORD_ENCRYPTED },
        { REMOTE_PROC_DOMAIN_AUTHORIZED_SSH_KEYS_GET, get_ssh_keys },
        { REMOTE_PROC_DOMAIN_AUTHORIZED_SSH_KEYS_SET, set_ssh_keys,
          VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND | VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE },
        { REMOTE_PROC_DOMAIN_GET_HOSTNAME, get_hostname, VIR_DOMAIN_GET_HOSTNAME_LEASE | VIR_DOMAIN_GET_HOSTNAME_AGENT },
        { REMOTE_PROC_DOMAIN_AGENT_SET_RESPONSE_TIMEOUT, set_timeout },
};

HANDLER_TABLE(domain_device_agent_handlers, rows);

static const struct handler qemu_rows[] = {
        { QEMU_PROC_DOMAIN_AGENT_COMMAND, agent_command },
};

HANDLER_TABLE(qemu_handlers, qemu_rows);
