/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What all streams have in common; a kind of stream is one file. */

#include "libvirt-driver/client.h"
#include "libvirt-driver/stream.h"

struct stream;

/* Every function may end the stream: with stream_end_ok or stream_end_error, which free it. */
struct stream_kind {
        /* Bytes from the client; n may be 0. */
        void (*data)(struct stream *s, const uint8_t *data, size_t n);
        void (*hole)(struct stream *s, uint64_t length);
        /* The client has sent all that it will. */
        void (*finish)(struct stream *s);
        /* The client's output queue has room again, or has none any more. */
        void (*resume)(struct stream *s);
        /* Frees the stream itself; the client's count of pending bytes is put right. */
        void (*release)(struct stream *s);
};

/* The first part of a kind's own struct. */
struct stream {
        struct list link;
        struct client *client;
        struct packet_header header; /* of the call */
        const struct stream_kind *kind;
};

/* Makes s one of the client's; on failure it is released. */
bool stream_add(struct stream *s, const struct stream_kind *kind, struct call *call, GError **error);
/* r: what sd_event_add_io said. Releases the stream where that failed. */
bool stream_check_watched(struct stream *s, int r, GError **error);

/* To the client. No bytes: the end of the data. */
void stream_send_data(struct stream *s, const void *data, size_t n);
void stream_send_hole(struct stream *s, uint64_t length);
void stream_end_ok(struct stream *s);
void stream_end_error(struct stream *s, DomusError code, const char *message);
