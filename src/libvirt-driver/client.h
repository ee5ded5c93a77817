/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One connection: packets in, packets out, within bounds.
 *
 * Reading stops while the client has too many calls in flight and waiting, does not read its replies, or
 * sends stream data faster than it is taken. A client whose output grows beyond a bound all the same
 * (events that it never reads) is disconnected. */

#include <sys/types.h>

#include "base/list.h"
#include "libvirt-driver/event.h"
#include "libvirt-driver/packet.h"
#include "libvirt-driver/server.h"

#define CLIENT_RO_PACKET_MAX (4U << 20)    /* on the read-only socket, where nothing long is to be said */
#define CLIENT_CALLS_MAX 64                /* in flight */
#define CLIENT_WAITING_MAX 256             /* read, waiting for one in flight to end */
#define CLIENT_WAITING_BYTES (8U << 20)
#define CLIENT_OUT_HIGH (1U << 20)         /* above: no more calls are taken */
#define CLIENT_OUT_STREAM (256U << 10)     /* above: nothing is read for streams */
#define CLIENT_OUT_MAX (64U << 20)         /* above: disconnect */
#define CLIENT_STREAM_IN_MAX (1U << 20)    /* stream bytes not yet taken; above: no more reading */
#define CLIENT_STREAMS_MAX 256

struct call;

struct client {
        struct server *server;
        struct list link;
        unsigned id;
        int fd;
        uid_t uid;
        pid_t pid;
        sd_event_source *io, *work, *keepalive;

        GByteArray *in;
        GQueue out;              /* of GByteArray */
        size_t out_sent;         /* bytes of the first one that are gone */
        size_t out_bytes;        /* of all, not yet sent */

        struct list calls;       /* in flight */
        unsigned n_calls;
        GQueue waiting;          /* of GByteArray: calls read but not begun */
        size_t waiting_bytes;

        struct list streams;
        unsigned n_streams;
        size_t stream_in_bytes;

        uint64_t last_received;  /* CLOCK_MONOTONIC, µs */
        unsigned pings;          /* sent since */

        bool ro_socket;
        bool read_only;          /* by socket or by the flag at open */
        bool open;               /* CONNECT_OPEN was answered with success */
        bool close_callback;
        bool doomed;             /* to be freed as soon as nothing is on the stack */
        char *uri;               /* as opened, canonical */
        struct client_events events;
};

/* Owns fd, also on failure. */
int client_new(struct server *server, int fd, bool read_only);
void client_free(struct client *c);
/* Takes the packet (packet_end is done here). Dropped if the client is doomed. */
void client_send(struct client *c, GByteArray *packet);
/* Ends the connection soon; reason is for the log. */
void client_doom(struct client *c, const char *reason);
/* Something that held up reading has changed. */
void client_kick(struct client *c);
/* A call of the client's has ended. */
void client_call_ended(struct client *c, struct call *call);
/* Pings after 5 s without a byte from the client, and gives it up after five. */
int client_start_keepalive(struct client *c);
