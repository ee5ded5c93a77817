/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a client wants to be told, and telling it. */

#include <glib.h>

#include "daemon/domain.h"
#include "net/networks.h"
#include "storage/pools.h"

struct client;
struct server;

#define CLIENT_EVENTS_MAX 1024

struct client_events {
        GArray *list;            /* of struct registration; NULL: none yet */
        int32_t next_id;
};

void client_events_clear(struct client_events *e);
/* DomusEventFn; opaque: the server. */
void event_broadcast(const DomusEvent *event, gpointer opaque);
/* DomusNetworkEventFn; opaque: the server. */
void event_broadcast_network(const DomusNetworkEvent *event, gpointer opaque);
/* DomusPoolEventFn; opaque: the server. */
void event_broadcast_pool(const DomusPoolEvent *event, gpointer opaque);
