/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One procedure call on its way. A handler gets it with decoded arguments and ends it exactly once, at
 * once or later, with call_reply or call_fail; both free it, and its arguments with it. It outlives a
 * client that goes away meanwhile: then the answer goes nowhere. */

#include "base/list.h"
#include "base/macros.h"
#include "daemon/domain.h"
#include "libvirt-driver/facts.h"
#include "libvirt-driver/packet.h"
#include "remote.h"

struct client;

struct call {
        DomusManager *manager;
        struct client *client;         /* NULL once the connection is gone */
        struct list link;              /* client's calls */
        struct packet_header header;   /* as the client sent it */
        const struct remote_proc *proc;
        struct arena arena;            /* holds the arguments; results may live here too */
};

/* Decodes and checks a packet that should be a CALL, runs its handler; answers with an error itself where it is not one, or
 * has no handler. The packet stays the caller's. */
void call_dispatch(struct client *client, const uint8_t *packet, size_t n);

/* ret: the procedure's result struct; NULL if it has none. Borrowed. */
void call_reply(struct call *call, const void *ret);
/* error stays the caller's. */
void call_fail(struct call *call, const GError *error);
/* Takes the error: for the end of a handler whose GError is its own. */
void call_fail_take(struct call *call, GError *error);
void call_fail_new(struct call *call, DomusError code, const char *fmt, ...) DOMUS_PRINTF(3, 4);
/* The client is going away: call, and what its handler has begun, go on. */
void call_orphan(struct call *call);

/* A packet in answer to one of the client's, with an error as its payload; type: REPLY or STREAM. */
void client_send_error(struct client *client, const struct packet_header *to, enum packet_type type, const GError *error);

/* --- For the handlers --- */

DomusManager *call_manager(struct call *call);
DomusHost *call_host(struct call *call);
/* Borrowed; NULL after answering the call with the error. */
DomusDomain *call_domain(struct call *call, const struct remote_domain *dom);
/* As call_domain, and inactive domains are "domain is not running". */
DomusDomain *call_active_domain(struct call *call, const struct remote_domain *dom);
/* Fills in name, uuid and id; the name lives in the call's arena. */
void call_put_domain(struct call *call, struct remote_domain *ret, const DomusDomain *d);
/* DomusDone for procedures without results, and for those that return the domain alone; opaque: the call. */
void call_done(DomusDomain *domain, const GError *error, gpointer opaque);
void call_done_domain(DomusDomain *domain, const GError *error, gpointer opaque);
/* Answers a procedure whose only result is one i32 / one string (taken, g_free; NULL: error is answered
 * instead). */
void call_reply_i32(struct call *call, int32_t value);
void call_reply_string(struct call *call, char *s, GError *error);
/* A handler for "there are none": all results are zero and all lists empty. */
void call_reply_empty(struct call *call, const void *args);
/* Success without results, or the error (taken), by a bool function's outcome. By address, so that the
 * function may be called in the argument list. */
void call_reply_bool(struct call *call, bool ok, GError **error);
