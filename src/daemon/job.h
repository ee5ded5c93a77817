/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A queue of operations of which one runs at a time. A job that waits returns from run() and calls domus_job_finish() later.
 * An urgent job (destroy) overtakes those that wait and asks the one that runs to give up. */

#include <glib.h>
#include <stdbool.h>

typedef struct DomusJob DomusJob;
typedef struct DomusJobQueue DomusJobQueue;

struct DomusJob {
        /* Starts the work; calls domus_job_finish() now or later. */
        void (*run)(DomusJob *job);
        /* Asked to end early: the job shall finish soon, with an error, now or later. NULL: cannot. Called at most once. */
        void (*interrupt)(DomusJob *job);
        /* The result, exactly once; the job itself is freed afterwards by free_fn. */
        void (*finished)(DomusJob *job, const GError *error);
        void (*free_fn)(DomusJob *job);

        DomusJobQueue *queue; /* the queue's own business from here */
        bool interrupted;
};

struct DomusJobQueue {
        DomusJob *current;
        GQueue waiting;
        bool dispatching, closed;
};

void domus_job_queue_init(DomusJobQueue *q);
/* Finishes the waiting jobs and the current one with DOMUS_ERROR_OPERATION_ABORTED; later ones at once, too. */
void domus_job_queue_close(DomusJobQueue *q);

/* Takes the job over; runs it at once if nothing else does. */
void domus_job_submit(DomusJobQueue *q, DomusJob *job, bool urgent);
/* Ends the current job: reports, frees it and runs the next. error is borrowed; NULL: success. */
void domus_job_finish(DomusJob *job, const GError *error);
