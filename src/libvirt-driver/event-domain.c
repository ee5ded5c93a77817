/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Events of domains: one row and one function each. Those of the old style, which exist for the older events only, have no callback number. */

#include <libvirt/libvirt.h>

#include "libvirt-driver/event-private.h"

struct event {
        struct client *client;
        const struct registration *r;
        const struct remote_domain *dom;
        const DomusEvent *ev;
};

/* msg: a struct with members callback_id and msg, where the old style sends the latter alone. */
#define SEND_BOTH(e, name, msg_)                                                                            \
        do {                                                                                                \
                if ((e)->r->legacy)                                                                         \
                        event_send((e)->client, REMOTE_PROC_DOMAIN_EVENT_##name, &(msg_).msg);              \
                else                                                                                        \
                        event_send((e)->client, REMOTE_PROC_DOMAIN_EVENT_CALLBACK_##name, &(msg_));         \
        } while (0)

static void send_lifecycle(const struct event *e)
{
        struct remote_domain_event_callback_lifecycle_msg msg = {
                .callback_id = e->r->callback, .msg = { .dom = *e->dom, .event = e->ev->a, .detail = e->ev->b },
        };

        SEND_BOTH(e, LIFECYCLE, msg);
}

static void send_reboot(const struct event *e)
{
        struct remote_domain_event_callback_reboot_msg msg = { .callback_id = e->r->callback, .msg = { .dom = *e->dom } };

        SEND_BOTH(e, REBOOT, msg);
}

static void send_metadata(const struct event *e)
{
        struct remote_domain_event_callback_metadata_change_msg msg = {
                .callback_id = e->r->callback, .dom = *e->dom, .type = e->ev->a, .nsuri = e->ev->text,
        };

        if (!e->r->legacy)
                event_send(e->client, REMOTE_PROC_DOMAIN_EVENT_CALLBACK_METADATA_CHANGE, &msg);
}

static void send_device_added(const struct event *e)
{
        struct remote_domain_event_callback_device_added_msg msg = {
                .callback_id = e->r->callback, .dom = *e->dom, .dev_alias = e->ev->text,
        };

        if (!e->r->legacy)
                event_send(e->client, REMOTE_PROC_DOMAIN_EVENT_CALLBACK_DEVICE_ADDED, &msg);
}

static void send_device_removed(const struct event *e)
{
        struct remote_domain_event_callback_device_removed_msg msg = {
                .callback_id = e->r->callback, .msg = { .dom = *e->dom, .dev_alias = e->ev->text },
        };

        SEND_BOTH(e, DEVICE_REMOVED, msg);
}

static void send_removal_failed(const struct event *e)
{
        struct remote_domain_event_callback_device_removal_failed_msg msg = {
                .callback_id = e->r->callback, .dom = *e->dom, .dev_alias = e->ev->text,
        };

        if (!e->r->legacy)
                event_send(e->client, REMOTE_PROC_DOMAIN_EVENT_CALLBACK_DEVICE_REMOVAL_FAILED, &msg);
}

static void send_tray(const struct event *e)
{
        struct remote_domain_event_callback_tray_change_msg msg = {
                .callback_id = e->r->callback, .msg = { .dom = *e->dom, .dev_alias = e->ev->text, .reason = e->ev->a },
        };

        SEND_BOTH(e, TRAY_CHANGE, msg);
}

static void send_io_error(const struct event *e)
{
        struct remote_domain_event_callback_io_error_msg msg = {
                .callback_id = e->r->callback,
                .msg = { .dom = *e->dom, .src_path = e->ev->path, .dev_alias = e->ev->text, .action = e->ev->a },
        };

        SEND_BOTH(e, IO_ERROR, msg);
}

static void send_io_error_reason(const struct event *e)
{
        struct remote_domain_event_callback_io_error_reason_msg msg = {
                .callback_id = e->r->callback,
                .msg = { .dom = *e->dom, .src_path = e->ev->path, .dev_alias = e->ev->text, .action = e->ev->a, .reason = e->ev->reason },
        };

        SEND_BOTH(e, IO_ERROR_REASON, msg);
}

static void send_balloon(const struct event *e)
{
        struct remote_domain_event_callback_balloon_change_msg msg = {
                .callback_id = e->r->callback, .msg = { .dom = *e->dom, .actual = e->ev->value },
        };

        SEND_BOTH(e, BALLOON_CHANGE, msg);
}

static void send_agent(const struct event *e)
{
        struct remote_domain_event_callback_agent_lifecycle_msg msg = {
                .callback_id = e->r->callback, .dom = *e->dom, .state = e->ev->a, .reason = e->ev->b,
        };

        if (!e->r->legacy)
                event_send(e->client, REMOTE_PROC_DOMAIN_EVENT_CALLBACK_AGENT_LIFECYCLE, &msg);
}

static void send_threshold(const struct event *e)
{
        struct remote_domain_event_block_threshold_msg msg = {
                .callback_id = e->r->callback, .dom = *e->dom, .dev = e->ev->text, .path = e->ev->path,
                .threshold = e->ev->value,     .excess = e->ev->excess,
        };

        if (!e->r->legacy)
                event_send(e->client, REMOTE_PROC_DOMAIN_EVENT_BLOCK_THRESHOLD, &msg);
}

static const struct {
        DomusEventKind kind;
        int32_t id; /* virDomainEventID */
        void (*send)(const struct event *e);
} events[] = {
        { DOMUS_EVENT_LIFECYCLE, VIR_DOMAIN_EVENT_ID_LIFECYCLE, send_lifecycle },
        { DOMUS_EVENT_REBOOT, VIR_DOMAIN_EVENT_ID_REBOOT, send_reboot },
        { DOMUS_EVENT_METADATA, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, send_metadata },
        { DOMUS_EVENT_DEVICE_ADDED, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, send_device_added },
        { DOMUS_EVENT_DEVICE_REMOVED, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, send_device_removed },
        { DOMUS_EVENT_DEVICE_REMOVAL_FAILED, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, send_removal_failed },
        { DOMUS_EVENT_TRAY, VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, send_tray },
        { DOMUS_EVENT_IO_ERROR, VIR_DOMAIN_EVENT_ID_IO_ERROR, send_io_error },
        { DOMUS_EVENT_IO_ERROR, VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, send_io_error_reason },
        { DOMUS_EVENT_BALLOON, VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, send_balloon },
        { DOMUS_EVENT_AGENT, VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, send_agent },
        { DOMUS_EVENT_BLOCK_THRESHOLD, VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD, send_threshold },
};

void event_tell_domain(struct client *client, const struct registration *r, const struct remote_domain *dom, const DomusEvent *ev)
{
        struct event e = { client, r, dom, ev };

        for (size_t i = 0; i < ARRAY_SIZE(events); i++)
                if (events[i].kind == ev->kind && events[i].id == r->event)
                        events[i].send(&e);
}
