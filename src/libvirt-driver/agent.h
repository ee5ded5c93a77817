/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Reading the guest agent's replies, which may hold anything. Strings are borrowed from the reply, and NULL where there is none. */

#include <json-glib/json-glib.h>

#include "daemon/domain.h"
#include "libvirt-driver/call.h"

/* Asks, with the call as the reply's opaque. arguments is taken over. */
void agent_ask(struct call *call, const struct remote_domain *dom, const char *command, JsonObject *arguments, DomusAgentReply reply);
/* What "return" is, borrowed from the reply; NULL, and the call is answered, if that is an error or of another type. */
JsonNode *agent_reply_value(struct call *call, JsonObject *reply, const GError *error, JsonNodeType type);

static inline const char *agent_string_of(JsonNode *node)
{
        const char *s = node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : NULL;

        return s ? s : "";
}

static inline const char *agent_string(JsonObject *object, const char *name)
{
        JsonNode *node = json_object_get_member(object, name);

        return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : NULL;
}

static inline JsonArray *agent_array(JsonObject *object, const char *name)
{
        JsonNode *node = json_object_get_member(object, name);

        return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static inline JsonObject *agent_object(JsonObject *object, const char *name)
{
        JsonNode *node = json_object_get_member(object, name);

        return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/* NULL if the element is no object. */
static inline JsonObject *agent_element(JsonArray *array, guint i)
{
        JsonNode *node = json_array_get_element(array, i);

        return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/* DomusAgentReply of guest-network-get-interfaces; opaque: a call of domain_interface_addresses, which is answered. */
void agent_put_interfaces(JsonObject *reply, const GError *error, gpointer opaque);

/* virDomainSetVcpusFlags and virDomainGetVcpusFlags with VIR_DOMAIN_VCPU_GUEST: so many online; how many are online, or could be (all). */
void agent_set_vcpus(struct call *call, const struct remote_domain *dom, uint32_t n);
void agent_count_vcpus(struct call *call, const struct remote_domain *dom, bool all);
