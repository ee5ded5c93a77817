/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains come, run and go: define, create, start, stop. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/client.h"
#include "libvirt-driver/handlers.h"

/* --- Definitions --- */

static void define(struct call *call, const char *xml, uint32_t flags)
{
        GError *error = NULL;
        DomusDomain *d = domus_manager_define(call_manager(call), xml, flags, &error);

        call_done_domain(d, error, call);
        g_clear_error(&error);
}

static void define_xml(struct call *call, const void *p)
{
        const struct remote_domain_define_xml_args *args = p;

        define(call, args->xml, 0);
}

static void define_xml_flags(struct call *call, const void *p)
{
        const struct remote_domain_define_xml_flags_args *args = p;

        define(call, args->xml, args->flags);
}

static void undefine_with(struct call *call, const struct remote_domain *dom, uint32_t flags)
{
        DomusDomain *d = call_domain(call, dom);
        GError *error = NULL;

        if (d)
                call_reply_bool(call, domus_domain_undefine(d, flags, &error), &error);
}

static void undefine(struct call *call, const void *p)
{
        const struct remote_domain_undefine_args *args = p;

        undefine_with(call, &args->dom, 0);
}

static void undefine_flags(struct call *call, const void *p)
{
        const struct remote_domain_undefine_flags_args *args = p;

        undefine_with(call, &args->dom, args->flags);
}

static void rename_domain(struct call *call, const void *p)
{
        const struct remote_domain_rename_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;

        if (!d)
                return;
        if (!args->new_name)
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "new_name in virDomainRename must not be NULL");
        else if (domus_domain_rename(d, args->new_name, &error))
                call_reply_i32(call, 0);
        else
                call_fail_take(call, error);
}

/* --- Starting --- */

#define START_FLAGS                                                                                         \
        (VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY | VIR_DOMAIN_START_BYPASS_CACHE |           \
                VIR_DOMAIN_START_FORCE_BOOT | VIR_DOMAIN_START_RESET_NVRAM)
#define CREATE_XML_FLAGS                                                                                    \
        (VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY | VIR_DOMAIN_START_VALIDATE | VIR_DOMAIN_START_RESET_NVRAM)

/* The domain ends with the connection, which may be gone already. */
static void done_autodestroy(DomusDomain *domain, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        DomusManager *manager = call_manager(call);

        if (!error)
                domus_domain_set_autodestroy(domain, call->client ? (void *)call->client : call);
        if (!call->client)
                domus_manager_owner_gone(manager, call);
        call_done_domain(domain, error, call);
}

static DomusDone start_done(uint32_t flags)
{
        return flags & VIR_DOMAIN_START_AUTODESTROY ? done_autodestroy : call_done_domain;
}

static void create_xml(struct call *call, const void *p)
{
        const struct remote_domain_create_xml_args *args = p;

        domus_manager_create_xml(call_manager(call), args->xml_desc, args->flags, start_done(args->flags), call);
}

static void create(struct call *call, const void *p)
{
        const struct remote_domain_create_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_start(d, 0, call_done, call);
}

static void create_with_flags(struct call *call, const void *p)
{
        const struct remote_domain_create_with_flags_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_start(d, args->flags, start_done(args->flags), call);
}

/* --- Stopping and the rest --- */

static void destroy(struct call *call, const void *p)
{
        const struct remote_domain_destroy_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_destroy(d, 0, call_done, call);
}

static void destroy_flags(struct call *call, const void *p)
{
        const struct remote_domain_destroy_flags_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_destroy(d, args->flags, call_done, call);
}

static void shutdown_domain(struct call *call, const void *p)
{
        const struct remote_domain_shutdown_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_shutdown(d, 0, call_done, call);
}

static void shutdown_flags(struct call *call, const void *p)
{
        const struct remote_domain_shutdown_flags_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_shutdown(d, (unsigned)args->flags, call_done, call);
}

static void reboot_domain(struct call *call, const void *p)
{
        const struct remote_domain_reboot_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_reboot(d, (unsigned)args->flags, call_done, call);
}

static void reset(struct call *call, const void *p)
{
        const struct remote_domain_reset_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_reset(d, call_done, call);
}

static void suspend(struct call *call, const void *p)
{
        const struct remote_domain_suspend_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_suspend(d, call_done, call);
}

static void resume(struct call *call, const void *p)
{
        const struct remote_domain_resume_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_resume(d, call_done, call);
}

static void inject_nmi(struct call *call, const void *p)
{
        const struct remote_domain_inject_nmi_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_inject_nmi(d, call_done, call);
}

#define UNDEFINE_FLAGS                                                                                      \
        (VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM | \
                VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_TPM | \
                VIR_DOMAIN_UNDEFINE_KEEP_TPM)
#define SHUTDOWN_FLAGS                                                                                      \
        (VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN | VIR_DOMAIN_SHUTDOWN_GUEST_AGENT | VIR_DOMAIN_SHUTDOWN_INITCTL | \
                VIR_DOMAIN_SHUTDOWN_SIGNAL | VIR_DOMAIN_SHUTDOWN_PARAVIRT)
#define REBOOT_FLAGS                                                                                        \
        (VIR_DOMAIN_REBOOT_ACPI_POWER_BTN | VIR_DOMAIN_REBOOT_GUEST_AGENT | VIR_DOMAIN_REBOOT_INITCTL |     \
                VIR_DOMAIN_REBOOT_SIGNAL | VIR_DOMAIN_REBOOT_PARAVIRT)

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_DEFINE_XML, define_xml },
        { REMOTE_PROC_DOMAIN_DEFINE_XML_FLAGS, define_xml_flags, VIR_DOMAIN_DEFINE_VALIDATE },
        { REMOTE_PROC_DOMAIN_UNDEFINE, undefine },
        { REMOTE_PROC_DOMAIN_UNDEFINE_FLAGS, undefine_flags, UNDEFINE_FLAGS },
        { REMOTE_PROC_DOMAIN_RENAME, rename_domain },
        { REMOTE_PROC_DOMAIN_CREATE_XML, create_xml, CREATE_XML_FLAGS },
        { REMOTE_PROC_DOMAIN_CREATE, create },
        { REMOTE_PROC_DOMAIN_CREATE_WITH_FLAGS, create_with_flags, START_FLAGS },
        { REMOTE_PROC_DOMAIN_DESTROY, destroy },
        { REMOTE_PROC_DOMAIN_DESTROY_FLAGS, destroy_flags, VIR_DOMAIN_DESTROY_GRACEFUL | VIR_DOMAIN_DESTROY_REMOVE_LOGS },
        { REMOTE_PROC_DOMAIN_SHUTDOWN, shutdown_domain },
        { REMOTE_PROC_DOMAIN_SHUTDOWN_FLAGS, shutdown_flags, SHUTDOWN_FLAGS },
        { REMOTE_PROC_DOMAIN_REBOOT, reboot_domain, REBOOT_FLAGS },
        { REMOTE_PROC_DOMAIN_RESET, reset },
        { REMOTE_PROC_DOMAIN_SUSPEND, suspend },
        { REMOTE_PROC_DOMAIN_RESUME, resume },
        { REMOTE_PROC_DOMAIN_INJECT_NMI, inject_nmi },
};

HANDLER_TABLE(domain_life_handlers, rows);
