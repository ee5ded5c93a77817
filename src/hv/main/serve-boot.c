/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Restarts of a guest whose kernel the daemon finds on its disk each time. */

#include <string.h>

#include "base/fd.h"
#include "hv/main/serve.h"
#include "vmproto/vmproto.h"

void serve_await_kernel(struct server *s)
{
        if (s->awaits_kernel)
                return;
        s->run_then = machine_get_state(s->machine) != MACHINE_PAUSED;
        s->awaits_kernel = true;
        machine_hold(s->machine);
        serve_set_state(s, VM_STATE_BOOTING, VM_REASON_GUEST);
}

void serve_forget_kernel(struct server *s)
{
        s->config.kernel_fd = fd_close(s->config.kernel_fd);
        s->config.initrd_fd = fd_close(s->config.initrd_fd);
        machine_forget_kernel(s->machine);
}

static int boot(struct server *s, sd_bus_error *error)
{
        const struct serve_config *c = &s->config;
        const char *why;
        int r = machine_boot(s->machine, c->kernel_fd, c->initrd_fd, c->cmdline, &why);

        if (r < 0)
                return sd_bus_error_setf(error, "org.domus.VM1.Error.Failed", "%s (%s)", why, strerror(-r));
        s->awaits_kernel = false;
        if (s->run_then)
                r = machine_resume(s->machine);
        serve_set_state(s, s->run_then ? VM_STATE_RUNNING : VM_STATE_PAUSED, s->run_then ? VM_REASON_BOOTED : VM_REASON_USER);
        return r;
}

int serve_set_kernel(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        struct server *s = userdata;
        int r;

        if (!s->awaits_kernel)
                return sd_bus_error_setf(error, VM_ERROR_WRONG_STATE, "not possible while the machine is %s", s->state);
        r = serve_config_read_kernel(&s->config, m, error);
        if (r >= 0)
                r = boot(s, error);
        serve_forget_kernel(s);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}
