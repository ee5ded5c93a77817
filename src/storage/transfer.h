/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The content of a volume as a stream: records on a SOCK_SEQPACKET socket between the loop and a worker. A record is a byte that says what it is, and
 * what belongs to it:
 *   DATA   bytes, at most TRANSFER_DATA_MAX
 *   HOLE   its length, 8 bytes in host order
 *   END    nothing; the last one of the side that sends
 *   ERROR  a DomusError's number, 4 bytes in host order, and the text
 * Upload: DATA and HOLE come to the worker, then END, which it answers with END once all is on the disk. Download: the worker sends DATA and HOLE, then
 * END. The worker says ERROR, instead, where it fails, and closes. A socket that is closed without END by the other side means that the stream was
 * aborted. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/volume-def.h"
#include "storage/worker.h"

#define TRANSFER_DATA_MAX (64u << 10)
#define TRANSFER_RECORD_MAX (1 + TRANSFER_DATA_MAX)

enum transfer_record { TRANSFER_DATA = 1, TRANSFER_HOLE, TRANSFER_END, TRANSFER_ERROR };

typedef struct {
        int fd;          /* the worker's end, blocking */
        bool upload;
        bool sparse;     /* holes may be sent */
        uint64_t offset; /* bytes */
        uint64_t length; /* bytes; 0: to the end */
} StorageTransfer;

/* Moves all. */
bool storage_transfer(const StorageCancel *c, const DomusVolumeDef *vol, const StorageTransfer *t, GError **error);
/* Tells the other side that it is done, or how it failed, and closes fd. */
void storage_transfer_end(const StorageCancel *c, StorageTransfer *t, const GError *error);
