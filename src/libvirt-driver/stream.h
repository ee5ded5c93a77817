/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Byte streams that belong to a call: bytes of a descriptor go to the client as fast as it reads, the
 * client's go to the descriptor as fast as that takes them.
 *
 * End of file is a packet with no bytes; the client then finishes (OK, answered with OK) or aborts
 * (ERROR). */

#include "libvirt-driver/call.h"

/* Starts a stream for the call; answer the call with success right after. Owns fd (nonblocking), also on
 * failure. */
bool stream_start(struct call *call, int fd, GError **error);
/* The same with a socket that speaks the records of storage/transfer.h: one direction, with holes, and its end is known to have
 * arrived. */
bool stream_start_records(struct call *call, int fd, GError **error);
/* A STREAM packet from the client; payload of n bytes. Packets of streams that are gone are dropped, as
 * they may cross with their end. */
void stream_packet(struct client *client, const struct packet_header *h, const uint8_t *payload, size_t n);
/* The client's output queue has room again. */
void streams_resume(struct client *client);
void streams_free(struct client *client);
