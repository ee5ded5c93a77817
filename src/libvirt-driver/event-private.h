/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files that send events share. */

#include "libvirt-driver/call.h"
#include "libvirt-driver/event.h"

enum event_object { EVENT_DOMAIN, EVENT_NETWORK, EVENT_POOL, EVENT_NODEDEV, EVENT_SECRET };

/* One callback of a client's. Those of the old style have no id of their own; the id of the event serves. */
struct registration {
        enum event_object object;
        int32_t event;           /* virDomainEventID and the like */
        int32_t callback;
        bool legacy;
        bool filtered;           /* only for the object with this uuid */
        uint8_t uuid[DOMUS_UUID_LEN];
};

void event_send(struct client *client, uint32_t procedure, const void *msg);
/* Sends ev if it is what r is for. */
void event_tell_domain(struct client *client, const struct registration *r, const struct remote_domain *dom, const DomusEvent *ev);
