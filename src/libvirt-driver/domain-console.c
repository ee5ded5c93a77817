/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's console as a stream. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/handlers.h"
#include "libvirt-driver/stream.h"

static void open_console(struct call *call, const void *p)
{
        const struct remote_domain_open_console_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;
        int fd;

        if (!d)
                return;
        fd = domus_domain_open_console(d, args->dev_name, args->flags, &error);
        if (fd < 0)
                call_fail_take(call, error);
        else
                call_reply_bool(call, stream_start(call, fd, &error), &error);
}

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_OPEN_CONSOLE, open_console, VIR_DOMAIN_CONSOLE_FORCE | VIR_DOMAIN_CONSOLE_SAFE },
};

HANDLER_TABLE(domain_console_handlers, rows);
