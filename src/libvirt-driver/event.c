/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/event-private.h"

#include <string.h>

#include "libvirt-driver/client.h"
#include "libvirt-driver/handlers.h"

/* Of libvirt 9.8. */
#define NETWORK_EVENT_ID_METADATA_CHANGE 1

void client_events_clear(struct client_events *e)
{
        g_clear_pointer(&e->list, g_array_unref);
}

/* --- The list --- */

/* The position of the one that matches, or -1. */
static int find(const struct client_events *e, enum event_object object, bool legacy, int32_t id)
{
        for (guint i = 0; e->list && i < e->list->len; i++) {
                const struct registration *r = &g_array_index(e->list, struct registration, i);

                if (r->object == object && r->legacy == legacy && (legacy ? r->event : r->callback) == id)
                        return (int)i;
        }
        return -1;
}

static void add(struct client_events *e, struct registration r)
{
        if (!e->list)
                e->list = g_array_new(FALSE, FALSE, sizeof(struct registration));
        if (!r.legacy)
                r.callback = e->next_id++;
        g_array_append_val(e->list, r);
}

/* Also answers the call where it fails. */
static bool may_add(struct call *call, int32_t event, int32_t last)
{
        const struct client_events *e = &call->client->events;

        if (event < 0 || event > last) {
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "unsupported event ID %d", event);
                return false;
        }
        if (e->list && e->list->len >= CLIENT_EVENTS_MAX) {
                call_fail_new(call, DOMUS_ERROR_OPERATION_FAILED, "too many event callbacks on this connection");
                return false;
        }
        return true;
}

/* --- Registering --- */

static void register_callback(struct call *call, enum event_object object, int32_t event, int32_t last,
        const uint8_t *uuid)
{
        struct registration r = { .object = object, .event = event, .filtered = uuid };
        struct client_events *e = &call->client->events;

        if (!may_add(call, event, last))
                return;
        if (uuid)
                memcpy(r.uuid, uuid, sizeof(r.uuid));
        add(e, r);
        call_reply_i32(call, e->next_id - 1);
}

static void deregister_callback(struct call *call, enum event_object object, int32_t callback)
{
        struct client_events *e = &call->client->events;
        int i = find(e, object, false, callback);

        if (i < 0) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "event callback %d is not registered", callback);
                return;
        }
        g_array_remove_index(e->list, (guint)i);
        call_reply(call, NULL);
}

static void domain_register(struct call *call, const void *p)
{
        const struct remote_connect_domain_event_callback_register_any_args *args = p;

        register_callback(call, EVENT_DOMAIN, args->event_id, VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE,
                args->dom ? args->dom->uuid : NULL);
}

static void domain_deregister(struct call *call, const void *p)
{
        const struct remote_connect_domain_event_callback_deregister_any_args *args = p;

        deregister_callback(call, EVENT_DOMAIN, args->callback_id);
}

static bool legacy_add(struct call *call, int32_t event)
{
        struct client_events *e = &call->client->events;

        if (!may_add(call, event, VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE))
                return false;
        if (find(e, EVENT_DOMAIN, true, event) >= 0) {
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "domain event %d already registered", event);
                return false;
        }
        add(e, (struct registration){ .object = EVENT_DOMAIN, .event = event, .legacy = true });
        return true;
}

static bool legacy_remove(struct call *call, int32_t event)
{
        struct client_events *e = &call->client->events;
        int i = find(e, EVENT_DOMAIN, true, event);

        if (i < 0) {
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "domain event %d not registered", event);
                return false;
        }
        g_array_remove_index(e->list, (guint)i);
        return true;
}

static void legacy_register(struct call *call, const void *args)
{
        if (legacy_add(call, VIR_DOMAIN_EVENT_ID_LIFECYCLE))
                call_reply_i32(call, 1);
}

static void legacy_deregister(struct call *call, const void *args)
{
        if (legacy_remove(call, VIR_DOMAIN_EVENT_ID_LIFECYCLE))
                call_reply_i32(call, 0);
}

static void legacy_register_any(struct call *call, const void *p)
{
        const struct remote_connect_domain_event_register_any_args *args = p;

        if (legacy_add(call, args->event_id))
                call_reply(call, NULL);
}

static void legacy_deregister_any(struct call *call, const void *p)
{
        const struct remote_connect_domain_event_deregister_any_args *args = p;

        if (legacy_remove(call, args->event_id))
                call_reply(call, NULL);
}

/* The kinds of objects that do not exist here yet: callbacks are taken and have nothing to report. */
#define OBJECT_EVENTS(kind, object, last)                                                                   \
        static void kind##_register(struct call *call, const void *p)                                       \
        {                                                                                                   \
                const struct remote_connect_##kind##_event_register_any_args *args = p;                     \
                                                                                                            \
                register_callback(call, object, args->event_id, last, NULL);                                \
        }                                                                                                   \
        static void kind##_deregister(struct call *call, const void *p)                                     \
        {                                                                                                   \
                const struct remote_connect_##kind##_event_deregister_any_args *args = p;                   \
                                                                                                            \
                deregister_callback(call, object, args->callback_id);                                       \
        }

static void network_register(struct call *call, const void *p)
{
        const struct remote_connect_network_event_register_any_args *args = p;

        register_callback(call, EVENT_NETWORK, args->event_id, NETWORK_EVENT_ID_METADATA_CHANGE, args->net ? args->net->uuid : NULL);
}

static void network_deregister(struct call *call, const void *p)
{
        const struct remote_connect_network_event_deregister_any_args *args = p;

        deregister_callback(call, EVENT_NETWORK, args->callback_id);
}

OBJECT_EVENTS(node_device, EVENT_NODEDEV, VIR_NODE_DEVICE_EVENT_ID_UPDATE)
OBJECT_EVENTS(secret, EVENT_SECRET, VIR_SECRET_EVENT_ID_VALUE_CHANGED)

static void storage_pool_register(struct call *call, const void *p)
{
        const struct remote_connect_storage_pool_event_register_any_args *args = p;

        register_callback(call, EVENT_POOL, args->event_id, VIR_STORAGE_POOL_EVENT_ID_REFRESH, args->pool ? args->pool->uuid : NULL);
}

static void storage_pool_deregister(struct call *call, const void *p)
{
        const struct remote_connect_storage_pool_event_deregister_any_args *args = p;

        deregister_callback(call, EVENT_POOL, args->callback_id);
}

/* --- Telling --- */

void event_send(struct client *client, uint32_t procedure, const void *msg)
{
        GByteArray *packet = packet_begin(&(struct packet_header){
                .program = PROGRAM_REMOTE,
                .version = PROGRAM_VERSION,
                .procedure = procedure,
                .type = PACKET_MESSAGE,
        });

        if (xdr_encode(remote_procs[procedure - 1].args, msg, packet, PACKET_MAX))
                client_send(client, packet);
        else
                g_byte_array_unref(packet);
}

static void tell(struct client *client, const struct registration *r, const struct remote_domain *dom, const DomusEvent *ev)
{
        if (r->object == EVENT_DOMAIN && (!r->filtered || memcmp(r->uuid, dom->uuid, sizeof(r->uuid)) == 0))
                event_tell_domain(client, r, dom, ev);
}

void event_broadcast(const DomusEvent *ev, gpointer opaque)
{
        struct server *server = opaque;
        struct remote_domain dom = { .name = domus_domain_name(ev->domain), .id = domus_domain_id(ev->domain) };

        memcpy(dom.uuid, domus_domain_uuid(ev->domain), sizeof(dom.uuid));
        list_foreach(l, &server->clients) {
                struct client *client = list_entry(l, struct client, link);
                const GArray *list = client->events.list;

                for (guint i = 0; list && i < list->len; i++)
                        tell(client, &g_array_index(list, struct registration, i), &dom, ev);
        }
}

/* --- Storage pools --- */

static void tell_pool(struct client *client, const struct registration *r, const struct remote_storage_pool *pool, const DomusPoolEvent *ev)
{
        int32_t event = ev->refresh ? VIR_STORAGE_POOL_EVENT_ID_REFRESH : VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE;
        struct remote_storage_pool_event_lifecycle_msg lifecycle = { .callback_id = r->callback, .pool = *pool, .event = ev->event };
        struct remote_storage_pool_event_refresh_msg refresh = { .callback_id = r->callback, .pool = *pool };

        if (r->object != EVENT_POOL || r->event != event || (r->filtered && memcmp(r->uuid, pool->uuid, sizeof(r->uuid)) != 0))
                return;
        if (ev->refresh)
                event_send(client, REMOTE_PROC_STORAGE_POOL_EVENT_REFRESH, &refresh);
        else
                event_send(client, REMOTE_PROC_STORAGE_POOL_EVENT_LIFECYCLE, &lifecycle);
}

void event_broadcast_pool(const DomusPoolEvent *ev, gpointer opaque)
{
        struct server *server = opaque;
        struct remote_storage_pool pool = { .name = domus_pool_name(ev->pool) };

        memcpy(pool.uuid, domus_pool_uuid(ev->pool), sizeof(pool.uuid));
        list_foreach(l, &server->clients) {
                struct client *client = list_entry(l, struct client, link);
                const GArray *list = client->events.list;

                for (guint i = 0; list && i < list->len; i++)
                        tell_pool(client, &g_array_index(list, struct registration, i), &pool, ev);
        }
}

/* --- Networks --- */

static void tell_network(struct client *client, const struct registration *r, const struct remote_network *net, const DomusNetworkEvent *ev)
{
        int32_t id = ev->kind == DOMUS_NETWORK_EVENT_METADATA ? NETWORK_EVENT_ID_METADATA_CHANGE : VIR_NETWORK_EVENT_ID_LIFECYCLE;

        if (r->object != EVENT_NETWORK || r->event != id || (r->filtered && memcmp(r->uuid, net->uuid, sizeof(r->uuid)) != 0))
                return;
        if (ev->kind == DOMUS_NETWORK_EVENT_METADATA)
                event_send(client, REMOTE_PROC_NETWORK_EVENT_CALLBACK_METADATA_CHANGE,
                        &(struct remote_network_event_callback_metadata_change_msg){
                                .callback_id = r->callback, .net = *net, .type = ev->a, .nsuri = ev->text });
        else
                event_send(client, REMOTE_PROC_NETWORK_EVENT_LIFECYCLE,
                        &(struct remote_network_event_lifecycle_msg){ .callback_id = r->callback, .net = *net, .event = ev->a });
}

void event_broadcast_network(const DomusNetworkEvent *ev, gpointer opaque)
{
        struct server *server = opaque;
        struct remote_network net = { .name = domus_network_name(ev->network) };

        memcpy(net.uuid, domus_network_uuid(ev->network), sizeof(net.uuid));
        list_foreach(l, &server->clients) {
                struct client *client = list_entry(l, struct client, link);
                const GArray *list = client->events.list;

                for (guint i = 0; list && i < list->len; i++)
                        tell_network(client, &g_array_index(list, struct registration, i), &net, ev);
        }
}

static const struct handler rows[] = {
        { REMOTE_PROC_CONNECT_DOMAIN_EVENT_REGISTER, legacy_register },
        { REMOTE_PROC_CONNECT_DOMAIN_EVENT_DEREGISTER, legacy_deregister },
        { REMOTE_PROC_CONNECT_DOMAIN_EVENT_REGISTER_ANY, legacy_register_any },
        { REMOTE_PROC_CONNECT_DOMAIN_EVENT_DEREGISTER_ANY, legacy_deregister_any },
        { REMOTE_PROC_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY, domain_register },
        { REMOTE_PROC_CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY, domain_deregister },
        { REMOTE_PROC_CONNECT_NETWORK_EVENT_REGISTER_ANY, network_register },
        { REMOTE_PROC_CONNECT_NETWORK_EVENT_DEREGISTER_ANY, network_deregister },
        { REMOTE_PROC_CONNECT_STORAGE_POOL_EVENT_REGISTER_ANY, storage_pool_register },
        { REMOTE_PROC_CONNECT_STORAGE_POOL_EVENT_DEREGISTER_ANY, storage_pool_deregister },
        { REMOTE_PROC_CONNECT_NODE_DEVICE_EVENT_REGISTER_ANY, node_device_register },
        { REMOTE_PROC_CONNECT_NODE_DEVICE_EVENT_DEREGISTER_ANY, node_device_deregister },
        { REMOTE_PROC_CONNECT_SECRET_EVENT_REGISTER_ANY, secret_register },
        { REMOTE_PROC_CONNECT_SECRET_EVENT_DEREGISTER_ANY, secret_deregister },
};

HANDLER_TABLE(event_handlers, rows);
