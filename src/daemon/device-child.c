/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Programs that serve a device: they outlive the daemon, and are reaped while it is there. */

#include "daemon/device.h"

#include <fcntl.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "run/child.h"

typedef struct {
        struct list node; /* the manager's children */
        DomusChild *child;
        char *what;
        bool unwanted; /* its end is no news */
} Helper;

static void helper_free(Helper *h)
{
        list_remove(&h->node);
        g_free(h->what);
        g_free(h);
}

static void on_exited(const DomusChildResult *result, const GError *error, gpointer opaque)
{
        Helper *h = opaque;

        if (error && !h->unwanted)
                log_warning("%s ended: %s", h->what, error->message);
        helper_free(h);
}

pid_t domus_device_run_child(DomusDomain *d, const char *alias, const char *const *argv, const int *fds, size_t n_fds, GError **error)
{
        int DOMUS_CLOSE_FD log_fd = d->log_path ? open(d->log_path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
        DomusChildConfig config = { .argv = argv, .fds = fds, .n_fds = n_fds, .output_fd = MAX(log_fd, 0), .outlive = true };
        Helper *h = g_new0(Helper, 1);

        h->what = g_strdup_printf("domain '%s': the process for device '%s'", d->name, alias);
        list_append(&d->manager->children, &h->node);
        h->child = domus_child_run(d->manager->loop, &config, on_exited, h, error);
        if (h->child)
                return domus_child_pid(h->child);
        helper_free(h);
        return -1;
}

void domus_devices_forget_children(DomusManager *m)
{
        list_foreach_safe(l, next, &m->children) {
                Helper *h = list_entry(l, Helper, node);

                domus_child_free(h->child);
                helper_free(h);
        }
}

void domus_device_expect_end(DomusManager *m, pid_t pid)
{
        list_foreach(l, &m->children) {
                Helper *h = list_entry(l, Helper, node);

                h->unwanted |= domus_child_pid(h->child) == pid;
        }
}
