/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Domains without <kernel>: the boot loader (domus-bootloader) finds kernel, initrd and command line on the guest's disk, at the start and at every
 * restart of the guest. */

#include "daemon/domain-boot.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/device.h"
#include "daemon/domlog.h"
#include "run/child.h"
#include "vmproto/vmproto.h"

/* The boot loader limits its processor time itself; this is for one that waits, for a disk that does not answer. */
#define BOOT_SECONDS 60
#define SET_KERNEL_SECONDS 30
#define QUIT_SECONDS 3

struct DomusBoot {
        DomusDomain *domain; /* borrowed: it is the domain's */
        DomusChild *child;
        sd_event_source *timer;
        bool timed_out;
        char *target;        /* of the disk */
        DomusBootKernel kernel;
        DomusBootDone done;
        gpointer opaque;
};

void domus_boot_kernel_clear(DomusBootKernel *k)
{
        k->kernel_fd = fd_close(k->kernel_fd);
        k->initrd_fd = fd_close(k->initrd_fd);
        g_clear_pointer(&k->cmdline, g_free);
}

void domus_boot_free(DomusBoot *b)
{
        if (!b)
                return;
        sd_event_source_disable_unref(b->timer);
        domus_child_free(b->child);
        domus_boot_kernel_clear(&b->kernel);
        g_free(b->target);
        g_free(b);
}

/* It is over: one call, after which there is no b. */
static void finish(DomusBoot *b, const GError *error)
{
        g_autoptr(DomusDomain) hold = domus_domain_ref(b->domain);

        b->domain->boot = NULL;
        b->done(error ? NULL : &b->kernel, error, b->opaque);
        domus_boot_free(b);
}

void domus_boot_abort(DomusDomain *d, gconstpointer opaque, const GError *error)
{
        if (d->boot && d->boot->opaque == opaque)
                finish(d->boot, error);
}

void domus_boot_vm_gone(DomusDomain *d)
{
        g_autoptr(GError) error = g_error_new_literal(DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "the VM has gone");

        if (d->boot)
                finish(d->boot, error);
}

/* --- What it says --- */

/* A guest's words, for the log. */
static char *printable(const char *text)
{
        char *copy = g_strdup(text ? text : "?");

        for (char *p = copy; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        *p = '?';
        return copy;
}

static bool read_answer(DomusBoot *b, const DomusChildResult *result, GError **error)
{
        g_autoptr(JsonParser) parser = json_parser_new();
        JsonNode *root = json_parser_load_from_data(parser, result->out, (gssize)result->out_len, NULL) ? json_parser_get_root(parser) : NULL;
        JsonObject *answer = root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
        g_autofree char *path = printable(answer ? json_object_get_string_member_with_default(answer, "kernel", NULL) : NULL);
        struct stat st;

        b->kernel.cmdline = g_strdup(answer ? json_object_get_string_member_with_default(answer, "cmdline", NULL) : NULL);
        if (!b->kernel.cmdline) {
                g_set_error_literal(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "domus-bootloader: its answer is malformed");
                return false;
        }
        if (fstat(b->kernel.initrd_fd, &st) == 0 && st.st_size == 0)
                b->kernel.initrd_fd = fd_close(b->kernel.initrd_fd);
        log_info("domain '%s': boots '%s' of disk '%s'", b->domain->name, path, b->target);
        if (b->domain->log_path)
                domus_log_note(b->domain->log_path, "boot loader: disk '%s', kernel '%s'", b->target, path);
        return true;
}

static void on_exited(const DomusChildResult *result, const GError *error, gpointer opaque)
{
        DomusBoot *b = opaque;
        g_autoptr(GError) local = NULL;

        b->child = NULL;
        if (b->timed_out)
                local = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "domus-bootloader: disk '%s' was not read within %d s", b->target,
                        BOOT_SECONDS);
        else if (error)
                local = g_error_copy(error);
        else
                read_answer(b, result, &local);
        finish(b, local);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
        DomusBoot *b = opaque;

        b->timed_out = true;
        domus_child_kill(b->child, SIGKILL);
        return 0;
}

/* --- Running it --- */

static GPtrArray *make_arguments(const DomusBoot *b)
{
        const DomusManager *m = b->domain->manager;
        GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
        char **options = b->domain->live->bootloader_options;

        g_ptr_array_add(argv, g_strdup(m->paths.bootloader_path));
        g_ptr_array_add(argv, g_strdup_printf("--name=%s", b->target));
        if (m->drop_rights)
                g_ptr_array_add(argv, g_strdup_printf("--user=%u:%u", (unsigned)m->vmm_uid, (unsigned)m->vmm_gid));
        for (unsigned i = 0; options[i]; i++)
                g_ptr_array_add(argv, g_strdup(options[i]));
        g_ptr_array_add(argv, NULL);
        return argv;
}

static int make_memfd(const char *name, GError **error)
{
        int fd = memfd_create(name, MFD_CLOEXEC);

        if (fd < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make a file in memory: %s", g_strerror(errno));
        return fd;
}

static bool run(DomusBoot *b, int image_fd, GError **error)
{
        sd_event *loop = b->domain->manager->loop;
        g_autoptr(GPtrArray) argv = make_arguments(b);
        const int fds[] = { image_fd, b->kernel.kernel_fd, b->kernel.initrd_fd };
        DomusChildConfig config = { .argv = (const char *const *)argv->pdata, .fds = fds, .n_fds = G_N_ELEMENTS(fds) };

        b->child = domus_child_run(loop, &config, on_exited, b, error);
        if (!b->child)
                return false;
        sd_event_add_time_relative(loop, &b->timer, CLOCK_MONOTONIC, BOOT_SECONDS * UINT64_C(1000000), 0, on_timer, b);
        return true;
}

static bool begin(DomusBoot *b, GError **error)
{
        DomusDomain *d = b->domain;
        const DomusDevice *disk = domus_domain_def_boot_disk(d->live, error);
        int DOMUS_CLOSE_FD image_fd = -1;

        if (!disk)
                return false;
        b->target = g_strdup(disk->disk.target);
        image_fd = domus_device_open_to_read(d, disk, error);
        if (image_fd < 0)
                return false;
        b->kernel.kernel_fd = make_memfd("kernel", error);
        if (b->kernel.kernel_fd < 0)
                return false;
        b->kernel.initrd_fd = make_memfd("initrd", error);
        return b->kernel.initrd_fd >= 0 && run(b, image_fd, error);
}

void domus_boot_start(DomusDomain *d, DomusBootDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        DomusBoot *b = g_new0(DomusBoot, 1);

        *b = (DomusBoot){ .domain = d, .kernel = { -1, -1, NULL }, .done = done, .opaque = opaque };
        domus_boot_free(d->boot);
        d->boot = b;
        if (!begin(b, &error))
                finish(b, error);
}

/* --- Restarts --- */

/* There is nobody to be told; a domain without a kernel is at its end. */
static void give_up(DomusDomain *d, const GError *error)
{
        log_error("domain '%s': cannot restart: %s", d->name, error->message);
        if (d->log_path)
                domus_log_note(d->log_path, "cannot restart: %s", error->message);
        if (!d->stop_waiter)
                domus_domain_stop(d, NULL, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED, QUIT_SECONDS, true);
}

static void on_kernel_set(sd_bus_message *reply, const GError *error, gpointer opaque)
{
        DomusDomain *d = opaque;

        if (error && error->code != DOMUS_ERROR_OPERATION_ABORTED && !domus_vm_has_exited(d->vm))
                give_up(d, error);
}

static int append_kernel(const DomusBootKernel *kernel, sd_bus_message *m)
{
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}", VM_CFG_KERNEL, "h", kernel->kernel_fd, VM_CFG_CMDLINE, "s", kernel->cmdline);
        if (r >= 0 && kernel->initrd_fd >= 0)
                r = sd_bus_message_append(m, "{sv}", VM_CFG_INITRD, "h", kernel->initrd_fd);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static void on_found(DomusBootKernel *kernel, const GError *error, gpointer opaque)
{
        DomusDomain *d = opaque;
        sd_bus_message *m;

        if (error) {
                give_up(d, error);
                return;
        }
        m = domus_vm_message(d->vm, VM_SET_KERNEL);
        if (m && append_kernel(kernel, m) < 0)
                m = sd_bus_message_unref(m);
        domus_vm_call(d->vm, m, SET_KERNEL_SECONDS, on_kernel_set, d);
}

void domus_boot_again(DomusDomain *d)
{
        domus_boot_start(d, on_found, d);
}
