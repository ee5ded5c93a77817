/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/job.h"

#include "model/error.h"

void domus_job_queue_init(DomusJobQueue *q)
{
        *q = (DomusJobQueue){ .waiting = G_QUEUE_INIT };
}

static void complete(DomusJob *job, const GError *error)
{
        job->finished(job, error);
        job->free_fn(job);
}

/* A loop, not a recursion: a job that finishes within run() comes back here through domus_job_finish(). */
static void dispatch(DomusJobQueue *q)
{
        if (q->dispatching)
                return;
        q->dispatching = true;
        while (!q->current && (q->current = g_queue_pop_head(&q->waiting)))
                q->current->run(q->current);
        q->dispatching = false;
}

static void complete_aborted(DomusJob *job)
{
        g_autoptr(GError) error =
                g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED, "the daemon is shutting down");

        complete(job, error);
}

void domus_job_queue_close(DomusJobQueue *q)
{
        DomusJob *job;

        q->closed = true;
        while ((job = g_queue_pop_head(&q->waiting)))
                complete_aborted(job);
        if ((job = g_steal_pointer(&q->current)))
                complete_aborted(job);
}

void domus_job_submit(DomusJobQueue *q, DomusJob *job, bool urgent)
{
        DomusJob *current = q->current;

        if (q->closed) {
                complete_aborted(job);
                return;
        }
        job->queue = q;
        if (urgent)
                g_queue_push_head(&q->waiting, job);
        else
                g_queue_push_tail(&q->waiting, job);
        if (urgent && current && current->interrupt && !current->interrupted) {
                current->interrupted = true;
                current->interrupt(current);
        }
        dispatch(q);
}

void domus_job_finish(DomusJob *job, const GError *error)
{
        DomusJobQueue *q = job->queue;

        if (q->current != job)
                return; /* the queue was closed under it */
        q->current = NULL;
        complete(job, error);
        dispatch(q);
}
