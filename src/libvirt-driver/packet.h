/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The frame around every message: a length (of all of it), six words of header, a payload; all big endian. */

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_HEADER 28                   /* length word and header */
#define PACKET_MAX ((32U << 20) + 4)       /* length word included */
#define PACKET_PAYLOAD_MAX (PACKET_MAX - PACKET_HEADER)

#define PROGRAM_REMOTE 0x20008086U
#define PROGRAM_QEMU 0x20008087U
#define PROGRAM_KEEPALIVE 0x6b656570U
#define PROGRAM_VERSION 1U                 /* of all three */

enum packet_type {
        PACKET_CALL,
        PACKET_REPLY,
        PACKET_MESSAGE,
        PACKET_STREAM,
        PACKET_CALL_FDS,
        PACKET_REPLY_FDS,
        PACKET_STREAM_HOLE,
};

enum packet_status { PACKET_OK, PACKET_ERROR, PACKET_CONTINUE };

enum { KEEPALIVE_PING = 1, KEEPALIVE_PONG = 2 };

struct packet_header {
        uint32_t program, version, procedure;
        uint32_t type, serial, status;
};

/* The length that a packet's first four bytes announce; 0 if no packet can have it. */
uint32_t packet_length(const uint8_t word[4]);
/* packet: at least PACKET_HEADER bytes, from the length word on. */
void packet_header_read(const uint8_t *packet, struct packet_header *ret);
/* A packet with the header and no payload yet; append to it, then packet_end sets its length. */
GByteArray *packet_begin(const struct packet_header *h);
void packet_end(GByteArray *packet);
