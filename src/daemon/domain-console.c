/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who uses a domain's console. */

#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "daemon/domain-private.h"
#include "daemon/vmspawn.h"

static void on_closed(gpointer opaque)
{
        DomusDomain *d = opaque;

        g_clear_pointer(&d->console, domus_console_free);
}

/* Serial port 0 goes by the alias of its <serial> and by that of the <console> that stands for it. */
static bool find_device(const DomusDomain *d, const char *dev, GError **error)
{
        bool known = !dev || strcmp(dev, "serial0") == 0 || strcmp(dev, "console0") == 0;

        if (d->ttys->len == 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "the domain has no character device");
        else if (!known)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "cannot find character device %s", dev);
        return known && d->ttys->len > 0;
}

int domus_domain_open_console(DomusDomain *d, const char *dev, unsigned flags, GError **error)
{
        const unsigned known = VIR_DOMAIN_CONSOLE_FORCE | VIR_DOMAIN_CONSOLE_SAFE;
        int fd = -1;

        if (flags & ~known) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)", flags & ~known);
                return -1;
        }
        if (!domus_domain_require_active(d, error) || !find_device(d, dev, error))
                return -1;
        if (d->console && !domus_console_abandoned(d->console) && !(flags & VIR_DOMAIN_CONSOLE_FORCE)) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "Active console session exists for this domain");
                return -1;
        }
        g_clear_pointer(&d->console, domus_console_free);
        d->console = domus_console_open(d->manager->loop, d->ttys->pdata[0], on_closed, d, &fd, error);
        if (!d->console)
                return -1;
        /* The pty's number is held now. Had the VM let go of it before, it could be anybody's by now. */
        if (domus_proc_lacks_file(domus_vm_pid(d->vm), d->ttys->pdata[0])) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "the VM has closed its side of '%s'",
                        (const char *)d->ttys->pdata[0]);
                g_clear_pointer(&d->console, domus_console_free);
                return fd_close(fd);
        }
        return fd;
}
