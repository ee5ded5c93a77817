/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a back end is to block.c, and an image to its back end. */

#include "hv/block/block.h"
#include "hv/block/limits.h"

/* A request goes in by submit and comes back by block_complete, also from within submit. offset, len, iov and access rights have been checked; real_op and real_unmap say
 * what is to be done. */
struct block_backend {
        const char *prop; /* the descriptor property that chooses it: "fd", "vhost-user" */
        /* Sets private, size, logical, physical, readonly and can_discard of b, by what the user asked for, which is there already (readonly; logical, physical: 0 if
         * nothing). Errors as for struct plug_driver's new. After a failure close is not called. */
        int (*open)(struct block *b, struct props *props, char **ret_error);
        void (*submit)(struct block *b, struct block_request *request);
        /* What submit held back goes out. */
        void (*flush_queue)(struct block *b);
        /* Blocks until something in flight has completed. */
        void (*wait)(struct block *b);
        /* For who looks all the time, between quiet(b, true) and quiet(b, false), which nest: may something have completed? Called without the device lock. */
        bool (*ready)(const struct block *b);
        /* On: what completes need not wake the main loop, somebody looks. Off: as before; completes what is there. */
        void (*quiet)(struct block *b, bool on);
        /* NULL, or all four of them. What submit held back is kept for the caller, who does the work itself: begin says whether it still has to, work is called without the device lock, worked afterwards
         * with it, unless the image has been freed. In between, wait waits for the work. False: nothing is held back. */
        bool (*keep)(struct block *b);
        bool (*begin)(struct block *b);
        void (*work)(struct block *b);
        void (*worked)(struct block *b);
        /* Looks at the size again; wanted: bytes that it should have, 0 if whatever it is is right. Sets b->size. Negative errno. */
        int (*look)(struct block *b, uint64_t wanted);
        /* Nothing is in flight. */
        void (*close)(struct block *b);
};

extern const struct block_backend block_backend_raw, block_backend_vhost_user;

enum detect_zeroes { DETECT_OFF, DETECT_ON, DETECT_UNMAP };

struct request_list {
        struct block_request *first, **end;
};

struct block {
        struct block_env env;
        const struct block_backend *backend;
        void *private;
        uint64_t size;
        unsigned logical, physical;
        bool readonly, can_discard, write_through, unsafe;
        bool vague_errors; /* the back end cannot tell a full disk from others */
        bool direct; /* the cache mode wants the host's page cache avoided */
        enum detect_zeroes detect_zeroes;
        enum block_action rerror, werror;
        uint64_t threshold;
        struct limits limits;
        struct timer timer;             /* for what is throttled */
        struct request_list throttled[2]; /* reads, writes */
        struct request_list stopped;
        unsigned in_flight, plugged;
        struct block_poller *pollers;
        bool poll_begun, work_kept;
        unsigned poll_ns[BLOCK_OPS]; /* how long it is worth to wait */
        enum block_op poll_op;       /* of the last request that went to the back end */
        uint64_t poll_len;
        struct block_stats stats;
};

/* For back ends. */
void block_complete(struct block *b, struct block_request *request, int result);
/* poll.c: a request that went to the back end took that many ns. */
void block_poll_learn(struct block *b, const struct block_request *request, uint64_t took);
/* The image goes: nobody polls any more. */
void block_poll_end(struct block *b);
/* Throttled requests whose time has come go. */
void block_let_through(struct block *b);
