/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Operations on a running domain. */

#include "daemon/domain-private.h"
#include "vmproto/vmproto.h"

#define CALL_SECONDS 20
#define DESTROY_SECONDS 3
#define GRACEFUL_SECONDS 15

static void on_reply(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        domus_domain_job_finish_call(opaque, error);
}

static void call(DomusDomainJob *job, const char *method, DomusVmReply reply)
{
        domus_vm_call_simple(job->domain->vm, method, CALL_SECONDS, reply, job);
}

/* --- Suspend, resume --- */

static void on_paused(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;

        if (!error)
                domus_domain_note_paused(job->domain);
        domus_domain_job_finish_call(job, error);
}

static void run_suspend(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;

        if (!domus_domain_job_requires_active(job))
                return;
        if (job->domain->state == VIR_DOMAIN_PAUSED)
                domus_domain_job_finish(job, NULL);
        else if (job->domain->guest_stopped)
                domus_domain_job_fail(job, DOMUS_ERROR_OPERATION_INVALID, "the guest has stopped");
        else
                call(job, VM_PAUSE, on_paused);
}

void domus_domain_suspend(DomusDomain *d, DomusDone done, gpointer opaque)
{
        domus_domain_submit(d, run_suspend, false, 0, NULL, done, opaque);
}

static void on_resumed(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;

        if (!error)
                domus_domain_note_running(job->domain);
        domus_domain_job_finish_call(job, error);
}

static void run_resume(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;

        if (!domus_domain_job_requires_active(job))
                return;
        if (job->domain->state == VIR_DOMAIN_RUNNING)
                domus_domain_job_fail(job, DOMUS_ERROR_OPERATION_INVALID, "domain is already running");
        else if (job->domain->guest_stopped)
                domus_domain_job_fail(job, DOMUS_ERROR_OPERATION_INVALID, "the guest has stopped");
        else
                call(job, VM_RESUME, on_resumed);
}

void domus_domain_resume(DomusDomain *d, DomusDone done, gpointer opaque)
{
        domus_domain_submit(d, run_resume, false, 0, NULL, done, opaque);
}

/* --- Shutdown, reboot --- */

G_STATIC_ASSERT((int)VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN == (int)VIR_DOMAIN_REBOOT_ACPI_POWER_BTN);
G_STATIC_ASSERT((int)VIR_DOMAIN_SHUTDOWN_PARAVIRT == (int)VIR_DOMAIN_REBOOT_PARAVIRT);

/* The flags of shutdown and reboot agree. Several modes mean: whichever is possible; the power button always is. */
static GError *check_mode(unsigned flags)
{
        const unsigned known = VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN | VIR_DOMAIN_SHUTDOWN_GUEST_AGENT |
                               VIR_DOMAIN_SHUTDOWN_INITCTL | VIR_DOMAIN_SHUTDOWN_SIGNAL | VIR_DOMAIN_SHUTDOWN_PARAVIRT;

        if (flags & ~known)
                return g_error_new(DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)", flags & ~known);
        if (flags && !(flags & (VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN | VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)))
                return g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED,
                        "only the modes 'acpi' and 'agent' are supported here");
        return NULL;
}

/* The agent is asked where nothing else is, or where it is asked for and there is one. */
static bool by_agent(const DomusDomain *d, unsigned flags)
{
        return (flags & VIR_DOMAIN_SHUTDOWN_GUEST_AGENT) && (!(flags & VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) || domus_domain_has_agent(d));
}

static void press_button(DomusDomainJob *job)
{
        call(job, VM_POWER_BUTTON, on_reply);
}

static void run_shutdown(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;

        if (!domus_domain_job_requires_active(job))
                return;
        if (d->reboot_wanted) { /* an earlier reboot that the guest did not follow */
                d->reboot_wanted = false;
                domus_domain_send_action(d, VM_ON_POWEROFF, d->live->on_poweroff);
                domus_domain_save_status(d);
        }
        press_button(job);
}

void domus_domain_shutdown(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque)
{
        GError *error = check_mode(flags);

        if (error)
                domus_done_error(done, opaque, error);
        else if (by_agent(d, flags))
                domus_domain_agent_shutdown(d, false, done, opaque);
        else
                domus_domain_submit(d, run_shutdown, false, flags, NULL, done, opaque);
}

static void on_reboot_armed(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;
        DomusDomain *d = job->domain;

        if (error) {
                domus_domain_job_finish_call(job, error);
                return;
        }
        d->reboot_wanted = true;
        domus_domain_save_status(d);
        press_button(job);
}

/* The guest shuts down cleanly, and its power-off starts it again. on_reboot "destroy" wins over that, as in libvirt. */
static void run_reboot(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        DomusDomain *d = job->domain;
        sd_bus_message *m;

        if (!domus_domain_job_requires_active(job))
                return;
        if (d->live->on_reboot == DOMUS_ACTION_DESTROY || d->live->on_reboot == DOMUS_ACTION_PRESERVE) {
                press_button(job);
                return;
        }
        m = domus_vm_message(d->vm, VM_SET_ACTION);
        if (m && sd_bus_message_append(m, "ss", VM_ON_POWEROFF, "restart") < 0)
                m = sd_bus_message_unref(m);
        domus_vm_call(d->vm, m, CALL_SECONDS, on_reboot_armed, job);
}

void domus_domain_reboot(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque)
{
        GError *error = check_mode(flags);

        if (error)
                domus_done_error(done, opaque, error);
        else if (by_agent(d, flags))
                domus_domain_agent_shutdown(d, true, done, opaque);
        else
                domus_domain_submit(d, run_reboot, false, flags, NULL, done, opaque);
}

/* --- Reset, NMI --- */

static void on_reset(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomainJob *job = opaque;

        if (!error)
                domus_domain_emit(job->domain, DOMUS_EVENT_REBOOT, 0, NULL);
        domus_domain_job_finish_call(job, error);
}

static void run_reset(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;

        if (domus_domain_job_requires_active(job))
                call(job, VM_RESET, on_reset);
}

void domus_domain_reset(DomusDomain *d, DomusDone done, gpointer opaque)
{
        domus_domain_submit(d, run_reset, false, 0, NULL, done, opaque);
}

static void run_inject_nmi(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;

        if (domus_domain_job_requires_active(job))
                call(job, VM_INJECT_NMI, on_reply);
}

void domus_domain_inject_nmi(DomusDomain *d, DomusDone done, gpointer opaque)
{
        domus_domain_submit(d, run_inject_nmi, false, 0, NULL, done, opaque);
}

/* --- Destroy --- */

/* A destroy that interrupted a start may find that the start's failure has done the work. */
static void run_destroy(DomusJob *j)
{
        DomusDomainJob *job = (DomusDomainJob *)j;
        bool graceful = job->flags & VIR_DOMAIN_DESTROY_GRACEFUL;

        if (job->was_active && !domus_domain_is_active(job->domain))
                domus_domain_job_finish(job, NULL);
        else if (domus_domain_job_requires_active(job))
                domus_domain_stop(job->domain, job, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED,
                        graceful ? GRACEFUL_SECONDS : DESTROY_SECONDS, !graceful);
}

void domus_domain_destroy(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque)
{
        const unsigned known = VIR_DOMAIN_DESTROY_GRACEFUL | VIR_DOMAIN_DESTROY_REMOVE_LOGS;

        if (flags & ~known)
                domus_done_error(done, opaque, g_error_new(DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)",
                                                       flags & ~known));
        else
                domus_domain_submit(d, run_destroy, domus_domain_is_active(d), flags, NULL, done, opaque);
}

/* --- Domains that go with their owner --- */

void domus_domain_set_autodestroy(DomusDomain *d, const void *owner)
{
        if (!domus_domain_is_active(d))
                return;
        d->owner = owner;
        domus_domain_save_status(d);
}

void domus_manager_owner_gone(DomusManager *m, const void *owner)
{
        g_autoptr(GPtrArray) list = domus_manager_list(m, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

        for (unsigned i = 0; i < list->len; i++) {
                DomusDomain *d = list->pdata[i];

                if (d->owner == owner)
                        domus_domain_destroy(d, 0, NULL, NULL);
        }
}
