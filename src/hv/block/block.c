/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/block.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "hv/block/backend.h"
#include "hv/block/iov.h"

/* --- Lists --- */

static void append(struct request_list *list, struct block_request *request)
{
        if (!list->first)
                list->end = &list->first;
        request->next = NULL;
        *list->end = request;
        list->end = &request->next;
}

static struct block_request *take_first(struct request_list *list)
{
        struct block_request *request = list->first;

        if (request)
                list->first = request->next;
        return request;
}

static struct block_request *take_all(struct request_list *list)
{
        struct block_request *first = list->first;

        list->first = NULL;
        return first;
}

/* --- The way in --- */

static bool is_write(const struct block_request *request)
{
        return request->op != BLOCK_READ && request->op != BLOCK_FLUSH;
}

static bool has_data(const struct block_request *request)
{
        return request->op == BLOCK_READ || request->op == BLOCK_WRITE;
}

static int check(const struct block *b, const struct block_request *request)
{
        if (is_write(request) && b->readonly)
                return -EROFS;
        if (request->op == BLOCK_FLUSH)
                return 0;
        if ((request->offset | request->len) & (b->logical - 1))
                return -EINVAL;
        if (request->offset > b->size || request->len > b->size - request->offset)
                return -EINVAL;
        if (has_data(request) && (request->n_iov > BLOCK_IOV_MAX || iov_size(request->iov, request->n_iov) != request->len))
                return -EINVAL;
        return 0;
}

/* Is there nothing to do? */
static bool is_void(const struct block *b, const struct block_request *request)
{
        if (request->op == BLOCK_FLUSH)
                return b->readonly || b->unsafe;
        return request->len == 0 || (request->op == BLOCK_DISCARD && !b->can_discard);
}

/* Turns what is asked for into what is done for it. */
static void plan(const struct block *b, struct block_request *request)
{
        request->real_op = request->op;
        request->real_unmap = request->unmap && b->can_discard;
        if (request->op == BLOCK_WRITE && b->detect_zeroes != DETECT_OFF && iov_is_zero(request->iov, request->n_iov)) {
                request->real_op = BLOCK_WRITE_ZEROES;
                request->real_unmap = b->detect_zeroes == DETECT_UNMAP && b->can_discard;
        }
}

static void go(struct block *b, struct block_request *request)
{
        b->in_flight++;
        b->poll_op = request->op;
        b->poll_len = request->len;
        b->backend->submit(b, request);
}

static void flush_queue(struct block *b)
{
        if (b->plugged == 0)
                b->backend->flush_queue(b);
}

static bool is_limited(const struct block *b, const struct block_request *request)
{
        return b->limits.active && request->op != BLOCK_FLUSH;
}

static uint64_t limited_bytes(const struct block_request *request)
{
        return request->op == BLOCK_DISCARD ? 0 : request->len;
}

static void arm(struct block *b, uint64_t when)
{
        if (!b->timer.heap_pos || when < b->timer.deadline)
                timer_arm(&b->timer, when);
}

/* Lets through what may go of the reads or the writes that wait. */
static void let_through(struct block *b, bool write)
{
        struct request_list *list = &b->throttled[write];

        while (list->first) {
                uint64_t now = timer_now(b->env.timers), wait = b->limits.active ? limits_wait(&b->limits, now, write) : 0;
                struct block_request *request;

                if (wait) {
                        arm(b, now + wait);
                        return;
                }
                request = take_first(list);
                limits_take(&b->limits, write, limited_bytes(request));
                go(b, request);
        }
}

void block_let_through(struct block *b)
{
        block_plug(b);
        let_through(b, false);
        let_through(b, true);
        block_unplug(b);
}

static void submit(struct block *b, struct block_request *request)
{
        if (is_limited(b, request)) {
                append(&b->throttled[is_write(request)], request);
                let_through(b, is_write(request));
        } else {
                go(b, request);
        }
}

void block_submit(struct block *b, struct block_request *request)
{
        int r = check(b, request);

        request->block = b;
        if (r < 0 || is_void(b, request)) {
                if (r < 0)
                        b->stats.errors[request->op]++;
                else
                        b->stats.ops[request->op]++;
                request->done(request, r);
                return;
        }
        request->started = timer_now(b->env.timers);
        plan(b, request);
        submit(b, request);
        flush_queue(b);
}

void block_plug(struct block *b)
{
        b->plugged++;
}

void block_unplug(struct block *b)
{
        b->plugged--;
        flush_queue(b);
}

/* --- The way out --- */

static void note_write(struct block *b, const struct block_request *request)
{
        uint64_t end = request->offset + request->len, threshold = b->threshold;

        if (end > b->stats.highest)
                b->stats.highest = end;
        if (threshold && end > threshold) {
                b->threshold = 0;
                if (b->env.threshold)
                        b->env.threshold(b->env.opaque, threshold, end - threshold);
        }
}

static void account(struct block *b, const struct block_request *request)
{
        uint64_t took = timer_now(b->env.timers) - request->started;

        b->stats.ops[request->op]++;
        b->stats.bytes[request->op] += request->op == BLOCK_FLUSH ? 0 : request->len;
        b->stats.time_ns[request->op] += took;
        block_poll_learn(b, request, took);
        if (request->op == BLOCK_WRITE || request->op == BLOCK_WRITE_ZEROES)
                note_write(b, request);
}

/* Better a guest that waits once too often than one whose writes are lost because a disk is full. */
static enum block_action action_for(const struct block *b, const struct block_request *request, int error)
{
        enum block_action action = request->op == BLOCK_READ ? b->rerror : b->werror;

        if (action == BLOCK_ENOSPC)
                return error == ENOSPC || error == EDQUOT || b->vague_errors ? BLOCK_STOP : BLOCK_REPORT;
        return action;
}

/* The request failed. True: it is over, with *result. */
static bool handle_error(struct block *b, struct block_request *request, int *result)
{
        enum block_action action = action_for(b, request, -*result);

        b->stats.errors[request->op]++;
        if (*result == -ECANCELED)
                return true;
        if (action == BLOCK_STOP)
                append(&b->stopped, request);
        b->env.error(b->env.opaque, action == BLOCK_STOP, -*result);
        if (action == BLOCK_IGNORE)
                *result = 0;
        return action != BLOCK_STOP;
}

void block_complete(struct block *b, struct block_request *request, int result)
{
        b->in_flight--;
        if (result == 0)
                account(b, request);
        else if (!handle_error(b, request, &result))
                return;
        request->done(request, result);
}

/* --- Waiting --- */

static void fail_all(struct block *b, struct request_list *list)
{
        struct block_request *request = take_all(list);

        while (request) {
                struct block_request *next = request->next;

                b->stats.errors[request->op]++;
                request->done(request, -ECANCELED);
                request = next;
        }
}

void block_cancel(struct block *b)
{
        timer_cancel(&b->timer);
        fail_all(b, &b->throttled[0]);
        fail_all(b, &b->throttled[1]);
        fail_all(b, &b->stopped);
}

void block_drain(struct block *b)
{
        block_cancel(b);
        b->backend->flush_queue(b);
        while (b->in_flight) {
                b->backend->wait(b);
                /* What failed meanwhile, with an action to stop. */
                block_cancel(b);
        }
}

void block_retry(struct block *b)
{
        struct block_request *request = take_all(&b->stopped);

        block_plug(b);
        while (request) {
                struct block_request *next = request->next;

                go(b, request);
                request = next;
        }
        block_unplug(b);
}

bool block_idle(const struct block *b)
{
        return !b->in_flight && !b->throttled[0].first && !b->throttled[1].first && !b->stopped.first;
}
