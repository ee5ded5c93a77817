/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which of its vCPUs a guest uses, by its agent. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/agent.h"
#include "libvirt-driver/handlers.h"
#include "libvirt-driver/params.h"

#define VCPUS_MAX 1024

static gint64 id_of(JsonObject *cpu)
{
        return json_object_get_int_member_with_default(cpu, "logical-id", -1);
}

static bool is(JsonObject *cpu, const char *member)
{
        return json_object_get_boolean_member_with_default(cpu, member, FALSE);
}

/* --- All of them --- */

static char *format_map(const bool *set)
{
        GString *out = g_string_new(NULL);

        for (unsigned i = 0; i < VCPUS_MAX; i++) {
                unsigned first = i;

                if (!set[i])
                        continue;
                while (i + 1 < VCPUS_MAX && set[i + 1])
                        i++;
                g_string_append_printf(out, i > first ? "%s%u-%u" : "%s%u", out->len ? "," : "", first, i);
        }
        return g_string_free(out, FALSE);
}

/* "0-2,5" of the vCPUs for which member is true; without a member, of all. The guest tells them in any order. */
static char *vcpu_map(JsonArray *list, const char *member)
{
        bool set[VCPUS_MAX] = { false };

        for (guint i = 0; i < json_array_get_length(list); i++) {
                JsonObject *cpu = agent_element(list, i);
                gint64 id = cpu && (!member || is(cpu, member)) ? id_of(cpu) : -1;

                if (id >= 0 && id < VCPUS_MAX)
                        set[id] = true;
        }
        return format_map(set);
}

static void on_vcpus(JsonObject *reply, const GError *error, gpointer opaque)
{
        static const char *const maps[][2] = { { NULL, "vcpus" }, { "online", "online" }, { "can-offline", "offlinable" } };
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_ARRAY);
        struct remote_domain_get_guest_vcpus_ret ret = { 0 };
        struct params list;

        if (!node)
                return;
        params_init(&list, call);
        for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
                g_autofree char *map = vcpu_map(json_node_get_array(node), maps[i][0]);

                params_add_string(&list, map, "%s", maps[i][1]);
        }
        params_take(&list, call, &ret.params.n, &ret.params.v);
        call_reply(call, &ret);
}

static void get_guest_vcpus(struct call *call, const void *p)
{
        const struct remote_domain_get_guest_vcpus_args *args = p;

        agent_ask(call, &args->dom, "guest-get-vcpus", NULL, on_vcpus);
}

/* --- Single ones --- */

static void add_vcpu(JsonArray *to, gint64 id, bool online)
{
        JsonObject *cpu = json_object_new();

        json_object_set_int_member(cpu, "logical-id", id);
        json_object_set_boolean_member(cpu, "online", online);
        json_array_add_object_element(to, cpu);
}

/* "0-2,5": false if it is no such map. */
static bool add_vcpus(const char *map, bool online, JsonArray *to)
{
        g_auto(GStrv) parts = g_strsplit(map, ",", 64);

        for (unsigned i = 0; parts[i]; i++) {
                char *end;
                guint64 first = g_ascii_strtoull(parts[i], &end, 10), last = *end == '-' ? g_ascii_strtoull(end + 1, &end, 10) : first;

                if (!g_ascii_isdigit(parts[i][0]) || *end || last < first || last >= VCPUS_MAX)
                        return false;
                for (guint64 n = first; n <= last; n++)
                        add_vcpu(to, (gint64)n, online);
        }
        return true;
}

/* The agent says how many it has changed: fewer than asked if one of them failed. */
static void on_set(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_VALUE);

        if (node && json_node_get_int(node) > 0)
                call_reply(call, NULL);
        else if (node)
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "the guest agent has changed no vCPU");
}

/* Takes list. */
static void send_vcpus(struct call *call, const struct remote_domain *dom, JsonArray *list)
{
        JsonObject *arguments = json_object_new();

        json_object_set_array_member(arguments, "vcpus", list);
        agent_ask(call, dom, "guest-set-vcpus", arguments, on_set);
}

static void set_guest_vcpus(struct call *call, const void *p)
{
        const struct remote_domain_set_guest_vcpus_args *args = p;
        JsonArray *list = json_array_new();

        if (add_vcpus(args->cpumap, args->state, list) && json_array_get_length(list)) {
                send_vcpus(call, &args->dom, list);
                return;
        }
        json_array_unref(list);
        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "'%s' is no list of vCPUs", args->cpumap);
}

/* --- So many --- */

static unsigned count(JsonArray *list, bool all)
{
        unsigned n = 0;

        for (guint i = 0; i < json_array_get_length(list); i++) {
                JsonObject *cpu = agent_element(list, i);

                n += cpu && (all || is(cpu, "online"));
        }
        return n;
}

static void on_count(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_ARRAY);

        if (node)
                call_reply_i32(call, (int32_t)count(json_node_get_array(node), false));
}

static void on_count_all(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_ARRAY);

        if (node)
                call_reply_i32(call, (int32_t)count(json_node_get_array(node), true));
}

void agent_count_vcpus(struct call *call, const struct remote_domain *dom, bool all)
{
        agent_ask(call, dom, "guest-get-vcpus", NULL, all ? on_count_all : on_count);
}

/* A call that asks for a number of vCPUs; both live in the call's arena, dom with its arguments. */
struct wish {
        struct call *call;
        const struct remote_domain *dom;
        uint32_t n;
};

/* What has to change for n to be online: the last ones go, and the first ones come. False: so few cannot be. */
static bool choose(JsonArray *cpus, unsigned n, JsonArray *changes)
{
        unsigned online = count(cpus, false), length = json_array_get_length(cpus);

        for (unsigned i = 0; i < length && online < n; i++) {
                JsonObject *cpu = agent_element(cpus, i);

                if (cpu && !is(cpu, "online")) {
                        add_vcpu(changes, id_of(cpu), true);
                        online++;
                }
        }
        for (unsigned i = length; i-- > 0 && online > n;) {
                JsonObject *cpu = agent_element(cpus, i);

                if (cpu && is(cpu, "online") && is(cpu, "can-offline")) {
                        add_vcpu(changes, id_of(cpu), false);
                        online--;
                }
        }
        return online == n;
}

static void on_wish(JsonObject *reply, const GError *error, gpointer opaque)
{
        const struct wish *w = opaque;
        struct call *call = w->call;
        JsonNode *node = agent_reply_value(call, reply, error, JSON_NODE_ARRAY);
        JsonArray *cpus = node ? json_node_get_array(node) : NULL, *changes;

        if (!cpus)
                return;
        if (count(cpus, true) < w->n) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "requested vcpus is greater than what the guest has: %u > %u", w->n, count(cpus, true));
                return;
        }
        changes = json_array_new();
        if (!choose(cpus, w->n, changes)) {
                json_array_unref(changes);
                call_fail_new(call, DOMUS_ERROR_OPERATION_FAILED, "the guest cannot give up that many vCPUs");
        } else if (json_array_get_length(changes) == 0) {
                json_array_unref(changes);
                call_reply(call, NULL);
        } else {
                send_vcpus(call, w->dom, changes);
        }
}

void agent_set_vcpus(struct call *call, const struct remote_domain *dom, uint32_t n)
{
        struct wish *w = arena_new(&call->arena, struct wish, 1);
        DomusDomain *d;

        *w = (struct wish){ call, dom, n };
        if (n == 0)
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "the number of vCPUs must be greater than zero");
        else if ((d = call_domain(call, dom)))
                domus_domain_agent_call(d, "guest-get-vcpus", NULL, on_wish, w);
}

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_GET_GUEST_VCPUS, get_guest_vcpus },
        { REMOTE_PROC_DOMAIN_SET_GUEST_VCPUS, set_guest_vcpus },
};

HANDLER_TABLE(domain_device_agent_vcpu_handlers, rows);
