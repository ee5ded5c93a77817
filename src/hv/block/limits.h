/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* I/O limits as libvirt's <iotune> defines them: up to six leaky buckets. A bucket leaks at its rate; a request may go when the bucket is not over its brim, and pours its bytes (or its
 * count) in. The brim is a tenth of a second's worth without a burst, else the burst: -max per second for -max-length seconds. */

#include <stdbool.h>
#include <stdint.h>

#include "hv/bus/props.h"

enum limit_kind { LIMIT_TOTAL_BYTES, LIMIT_READ_BYTES, LIMIT_WRITE_BYTES, LIMIT_TOTAL_IOPS, LIMIT_READ_IOPS, LIMIT_WRITE_IOPS, LIMIT_KINDS };

struct limit {
        uint64_t rate;   /* per second; 0: unlimited */
        uint64_t max;    /* per second, during a burst; 0: no bursts */
        uint64_t length; /* seconds that a burst may last; 0: 1 */
        double level;    /* what has gone beyond rate */
        double burst;    /* what has gone beyond max */
};

struct limits {
        struct limit limit[LIMIT_KINDS];
        uint64_t io_size; /* a request counts as one operation for each begun io_size bytes; 0: as one */
        uint64_t leaked;  /* virtual ns when the buckets were last brought up to date */
        bool active;
};

/* From a table of total-bytes-sec, read-bytes-sec, write-bytes-sec, total-iops-sec, read-iops-sec, write-iops-sec, each also with -max and -max-length, and size-iops-sec. What it does not name
 * is 0. Levels start empty. Errors as for struct plug_driver's new. */
int limits_parse(struct limits *l, const struct prop_entry *entries, size_t n, char **ret_error);
/* How long the next read or write has to wait, in ns from now; 0: it may go. */
uint64_t limits_wait(struct limits *l, uint64_t now, bool write);
/* A request of that many bytes goes. */
void limits_take(struct limits *l, bool write, uint64_t bytes);
