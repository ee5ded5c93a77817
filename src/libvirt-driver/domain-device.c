/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices come and go while a domain runs, or in its definition. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"

#define AFFECT_FLAGS (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)

typedef void (*device_fn)(DomusDomain *d, const char *text, unsigned flags, DomusDone done, gpointer opaque);

static void change(struct call *call, const struct remote_domain *dom, const char *text, unsigned flags, device_fn fn)
{
        DomusDomain *d = call_domain(call, dom);

        if (d)
                fn(d, text, flags, call_done, call);
}

/* The functions without flags are for running domains. */
static void attach(struct call *call, const void *p)
{
        const struct remote_domain_attach_device_args *args = p;

        if (call_active_domain(call, &args->dom))
                change(call, &args->dom, args->xml, VIR_DOMAIN_AFFECT_LIVE, domus_domain_attach_device);
}

static void attach_flags(struct call *call, const void *p)
{
        const struct remote_domain_attach_device_flags_args *args = p;

        change(call, &args->dom, args->xml, args->flags, domus_domain_attach_device);
}

static void detach(struct call *call, const void *p)
{
        const struct remote_domain_detach_device_args *args = p;

        if (call_active_domain(call, &args->dom))
                change(call, &args->dom, args->xml, VIR_DOMAIN_AFFECT_LIVE, domus_domain_detach_device);
}

static void detach_flags(struct call *call, const void *p)
{
        const struct remote_domain_detach_device_flags_args *args = p;

        change(call, &args->dom, args->xml, args->flags, domus_domain_detach_device);
}

static void detach_alias(struct call *call, const void *p)
{
        const struct remote_domain_detach_device_alias_args *args = p;

        change(call, &args->dom, args->alias, args->flags, domus_domain_detach_alias);
}

static void update_flags(struct call *call, const void *p)
{
        const struct remote_domain_update_device_flags_args *args = p;

        change(call, &args->dom, args->xml, args->flags, domus_domain_update_device);
}

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_ATTACH_DEVICE, attach },
        { REMOTE_PROC_DOMAIN_ATTACH_DEVICE_FLAGS, attach_flags, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_DETACH_DEVICE, detach },
        { REMOTE_PROC_DOMAIN_DETACH_DEVICE_FLAGS, detach_flags, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_DETACH_DEVICE_ALIAS, detach_alias, AFFECT_FLAGS },
        { REMOTE_PROC_DOMAIN_UPDATE_DEVICE_FLAGS, update_flags, AFFECT_FLAGS | VIR_DOMAIN_DEVICE_MODIFY_FORCE },
};

HANDLER_TABLE(domain_device_handlers, rows);
