/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Operations of a domain, as jobs of its queue. */

#include "daemon/device.h"
#include "daemon/domain-boot.h"

static void interrupt(DomusJob *j)
{
        DomusDomain *d = ((DomusDomainJob *)j)->domain;
        g_autoptr(GError) boot = g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED, "the boot loader was interrupted");
        g_autoptr(GError) passt = g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED, "the start of passt was interrupted");

        domus_boot_abort(d, j, boot);
        domus_passts_abort(d, passt);
        if (d->vm)
                domus_vm_abort_calls(d->vm);
        if (d->removal_waiter == (DomusDomainJob *)j)
                domus_domain_end_removal(d);
}

static void finished(DomusJob *j, const GError *error)
{
        DomusDomainJob *job = (DomusDomainJob *)j;

        if (job->done)
                job->done(error ? NULL : job->domain, error, job->opaque);
}

static void job_free(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;

        domus_domain_def_free(job->def);
        if (job->data_free)
                job->data_free(job->data);
        domus_domain_unref(job->domain);
        g_free(job);
}

static DomusDomainJob *job_new(DomusDomain *d, void (*run)(DomusJob *job), unsigned flags, DomusDone done, gpointer opaque)
{
        DomusDomainJob *job = g_new0(DomusDomainJob, 1);

        *job = (DomusDomainJob){
                .job = { .run = run, .interrupt = interrupt, .finished = finished, .free_fn = job_free },
                .domain = domus_domain_ref(d),
                .flags = flags,
                .was_active = domus_domain_is_active(d),
                .done = done,
                .opaque = opaque,
        };
        return job;
}

void domus_domain_submit(DomusDomain *d, void (*run)(DomusJob *job), bool urgent, unsigned flags, DomusDomainDef *def,
        DomusDone done, gpointer opaque)
{
        DomusDomainJob *job = job_new(d, run, flags, done, opaque);
        g_autoptr(DomusDomain) hold = domus_domain_ref(d); /* the queue must outlive its last job */

        job->def = def;
        domus_job_submit(&d->jobs, &job->job, urgent);
}

void domus_domain_submit_data(DomusDomain *d, void (*run)(DomusJob *job), unsigned flags, gpointer data, GDestroyNotify data_free,
        DomusDone done, gpointer opaque)
{
        DomusDomainJob *job = job_new(d, run, flags, done, opaque);
        g_autoptr(DomusDomain) hold = domus_domain_ref(d);

        job->data = data;
        job->data_free = data_free;
        domus_job_submit(&d->jobs, &job->job, false);
}

bool domus_domain_job_requires_active(DomusDomainJob *job)
{
        g_autoptr(GError) error = NULL;

        if (domus_domain_require_active(job->domain, &error))
                return true;
        domus_domain_job_finish(job, error);
        return false;
}

void domus_domain_job_finish_call(DomusDomainJob *job, const GError *error)
{
        const DomusDomain *d = job->domain;

        if (error && error->code == DOMUS_ERROR_INTERNAL && (!d->vm || domus_vm_has_exited(d->vm)))
                domus_domain_job_fail(job, DOMUS_ERROR_OPERATION_INVALID, "domain is not running");
        else
                domus_domain_job_finish(job, error);
}

void domus_domain_job_finish(DomusDomainJob *job, const GError *error)
{
        g_autoptr(DomusDomain) hold = domus_domain_ref(job->domain);

        domus_job_finish(&job->job, error);
}

void domus_domain_job_fail(DomusDomainJob *job, int code, const char *format, ...)
{
        g_autoptr(GError) error = NULL;
        va_list ap;

        va_start(ap, format);
        error = g_error_new_valist(DOMUS_ERROR, code, format, ap);
        va_end(ap);
        domus_domain_job_finish(job, error);
}

void domus_done_error(DomusDone done, gpointer opaque, GError *error)
{
        if (done)
                done(NULL, error, opaque);
        g_error_free(error);
}
