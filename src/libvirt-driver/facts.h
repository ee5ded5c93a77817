/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The rows of remote.facts at run time; the tables themselves are in the generated remote.c. */

#include <stdint.h>

#include "libvirt-driver/xdr.h"

enum remote_access {
        ACCESS_NONE,   /* also before CONNECT_OPEN */
        ACCESS_READ,   /* on every open connection */
        ACCESS_WRITE,  /* not on a read-only one */
        ACCESS_SECRET, /* as write; gives away a secret */
        ACCESS_EVENT,  /* a message of the server's; never a call */
};

enum remote_stream {
        STREAM_NO,
        STREAM_IN,  /* the client sends */
        STREAM_OUT, /* the server sends, and may receive */
};

struct remote_proc {
        uint32_t number;
        const char *name; /* "domain_create_xml" */
        const char *api;  /* "virDomainCreateXML": for messages */
        uint8_t access, stream;
        const struct xdr_type *args, *ret; /* NULL: nothing on the wire; an event's fields are its args */
        int16_t flags_offset;              /* of the member "flags" in args, or -1 */
        uint8_t flags_size;                /* 4 or 8 bytes */
};

/* Element i is procedure i + 1. */
extern const struct remote_proc remote_procs[], qemu_procs[];
extern const unsigned n_remote_procs, n_qemu_procs;
