/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Programs that serve a device: they outlive the daemon, and are reaped while it is there. */

#include "daemon/device.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fd.h"
#include "daemon/vmspawn.h"
#include "base/list.h"
#include "base/log.h"
#include "run/child.h"
#include "vmproto/vmproto.h"

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

#define FIRST_FD 3
#define CHILD_FDS_MAX 8

pid_t domus_device_run_attended(DomusDomain *d, const char *alias, const char *const *argv, const int *fds, size_t n_fds, GError **error)
{
        g_autofree char *dir = domus_domain_run_dir(d), *number = g_strdup_printf("%zu", FIRST_FD + n_fds);
        int DOMUS_CLOSE_FD alive = domus_vm_open_alive(dir);
        g_autoptr(GPtrArray) words = g_ptr_array_new();
        int all[CHILD_FDS_MAX];

        if (alive < 0 || n_fds >= CHILD_FDS_MAX) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot watch the VM by '%s/" VM_ALIVE "': %s", dir, g_strerror(alive < 0 ? -alive : E2BIG));
                return -1;
        }
        for (size_t i = 0; i < n_fds; i++)
                all[i] = fds[i];
        all[n_fds] = alive;
        for (const char *const *word = (const char *const[]){ d->manager->paths.vmm_path, "attend", "--alive-fd", number, "--", NULL }; *word; word++)
                g_ptr_array_add(words, (gpointer)*word);
        for (; *argv; argv++)
                g_ptr_array_add(words, (gpointer)*argv);
        g_ptr_array_add(words, NULL);
        return domus_device_run_child(d, alias, (const char *const *)words->pdata, all, n_fds + 1, error);
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
