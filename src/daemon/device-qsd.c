/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Images that are not raw, by qemu-storage-daemon: one process per disk, which exports it as a vhost-user-blk device. It lives as long as the VM
 * uses it, whatever becomes of the daemon, and sees nothing of the host but its image and what lies below that. */

#include "daemon/device.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/unixsocket.h"
#include "daemon/vmspawn.h"

#define SOCKET ".sock"
#define NBD ".nbd"
#define SOCKET_FD "3" /* in the child */
#define MONITOR_FD "4"
#define NBD_FD "5"

/* --- Its files: DIR/ALIAS.pid, ALIAS.sock, ALIAS.qmp, ALIAS.nbd --- */

char *domus_qsd_file(const DomusDomain *d, const char *alias, const char *suffix)
{
        g_autofree char *dir = domus_domain_run_dir(d);
        g_autofree char *name = g_strconcat(alias, suffix, NULL);

        return g_build_filename(dir, name, NULL);
}

static void write_pid(const DomusDomain *d, const char *alias, pid_t pid)
{
        g_autofree char *path = domus_qsd_file(d, alias, ".pid");
        g_autofree char *text = NULL;
        uint64_t start = 0;
        int r = domus_proc_start_time(pid, &start);

        text = g_strdup_printf("%d %" G_GUINT64_FORMAT "\n", (int)pid, start);
        if (r == 0)
                r = file_replace(path, text, strlen(text), 0600);
        if (r < 0)
                log_warning("cannot record process %d: %s", (int)pid, g_strerror(-r));
}

/* The process group, for the sandbox is a process of its own before the program. The number of its leader may have become another process's; as the
 * number of a group it is not given away while there is one. */
static void end_group(const DomusDomain *d, pid_t pid, uint64_t recorded)
{
        uint64_t start = 0;
        int r = domus_proc_start_time(pid, &start);

        if (pid <= 1 || (r == 0 && start != recorded))
                return;
        domus_device_expect_end(d->manager, pid);
        if (kill(-pid, SIGTERM) < 0 && errno != ESRCH)
                log_warning("cannot end process group %d: %s", (int)pid, g_strerror(errno));
}

bool domus_qsd_serves(const DomusDomain *d, const char *alias)
{
        g_autofree char *path = domus_qsd_file(d, alias, ".pid");

        return access(path, F_OK) == 0;
}

bool domus_qsd_serves_any(const DomusDomain *d)
{
        const DomusDevice *disk;

        for (unsigned i = 0; (disk = domus_domain_def_device(d->live, DOMUS_DEVICE_DISK, i)); i++)
                if (domus_qsd_serves(d, disk->alias))
                        return true;
        return false;
}

void domus_qsd_stop(DomusDomain *d, const char *alias)
{
        static const char *const suffixes[] = { ".pid", SOCKET, DOMUS_QSD_MONITOR, NBD };
        g_autofree char *path = domus_qsd_file(d, alias, ".pid");
        uint64_t recorded = 0;
        char *text = NULL, *end = NULL;
        pid_t pid = 0;

        if (file_read(path, 256, &text, NULL) < 0)
                return;
        if (d->monitors)
                g_hash_table_remove(d->monitors, alias);
        pid = (pid_t)strtol(text, &end, 10);
        recorded = end ? strtoull(end, NULL, 10) : 0;
        free(text);
        end_group(d, pid, recorded);
        for (unsigned i = 0; i < G_N_ELEMENTS(suffixes); i++) {
                g_autofree char *file = domus_qsd_file(d, alias, suffixes[i]);

                unlink(file);
        }
}

/* --- What it is told --- */

static void add_json(GString *out, const char *key, const char *value)
{
        g_string_append_printf(out, "%s\"%s\":\"", out->len > 1 && !strchr("{", out->str[out->len - 1]) ? "," : "", key);
        for (const char *p = value; *p; p++) {
                if (*p == '"' || *p == '\\')
                        g_string_append_printf(out, "\\%c", *p);
                else if ((unsigned char)*p < ' ')
                        g_string_append_printf(out, "\\u%04x", (unsigned)*p);
                else
                        g_string_append_c(out, *p);
        }
        g_string_append_c(out, '"');
}

static void add_nbd(GString *out, const DomusDisk *disk)
{
        g_string_append(out, ",\"server\":{");
        add_json(out, "type", disk->socket ? "unix" : "inet");
        if (disk->socket)
                add_json(out, "path", disk->socket);
        else {
                add_json(out, "host", disk->host);
                add_json(out, "port", disk->port ? disk->port : "10809");
        }
        g_string_append_c(out, '}');
        if (disk->name)
                add_json(out, "export", disk->name);
}

/* name: TARGET or TARGET/UNIT. */
static void add_iscsi(GString *out, const DomusDisk *disk)
{
        const char *unit = strrchr(disk->name, '/');
        g_autofree char *target = unit ? g_strndup(disk->name, (gsize)(unit - disk->name)) : g_strdup(disk->name);
        g_autofree char *portal = g_strdup_printf(strchr(disk->host, ':') ? "[%s]:%s" : "%s:%s", disk->host, disk->port ? disk->port : "3260");

        add_json(out, "transport", "tcp");
        add_json(out, "portal", portal);
        add_json(out, "target", target);
        if (disk->initiator)
                add_json(out, "initiator-name", disk->initiator);
        g_string_append_printf(out, ",\"lun\":%lu", unit ? strtoul(unit + 1, NULL, 10) : 0);
}

static void add_url(GString *out, const DomusDisk *disk)
{
        const char *path = disk->name ? disk->name + strspn(disk->name, "/") : "";
        g_autofree char *url = g_strdup_printf(strchr(disk->host, ':') ? "%s://[%s]%s%s/%s%s%s" : "%s://%s%s%s/%s%s%s", disk->protocol, disk->host,
                disk->port ? ":" : "", disk->port ? disk->port : "", path, disk->query ? "?" : "", disk->query ? disk->query : "");

        add_json(out, "url", url);
        if (disk->unverified)
                g_string_append(out, ",\"sslverify\":false");
}

static void add_network(GString *out, const DomusDisk *disk)
{
        if (strcmp(disk->protocol, "nbd") == 0)
                add_nbd(out, disk);
        else if (strcmp(disk->protocol, "iscsi") == 0)
                add_iscsi(out, disk);
        else
                add_url(out, disk);
}

static char *protocol_node(const DomusDisk *disk)
{
        GString *out = g_string_new("{");
        bool direct = domus_disk_cache_is_direct(disk->cache), unsafe = g_strcmp0(disk->cache, "unsafe") == 0;

        add_json(out, "node-name", DOMUS_QSD_FILE_NODE);
        add_json(out, "driver", disk->path ? (disk->type == DOMUS_DISK_BLOCK ? "host_device" : "file") : disk->protocol);
        if (disk->path)
                add_json(out, "filename", disk->path);
        else
                add_network(out, disk);
        g_string_append_printf(out, ",\"read-only\":%s,\"cache\":{\"direct\":%s,\"no-flush\":%s}", disk->readonly ? "true" : "false",
                direct ? "true" : "false", unsafe ? "true" : "false");
        add_json(out, "discard", "unmap");
        /* What is in the page cache is read at once by io_uring; other threads would have to be woken for it. */
        if (disk->path && (!disk->io || direct || strcmp(disk->io, "native") != 0))
                add_json(out, "aio", disk->io ? disk->io : "io_uring");
        g_string_append_c(out, '}');
        return g_string_free(out, FALSE);
}

static char *format_node(const DomusDisk *disk)
{
        GString *out = g_string_new("{");

        add_json(out, "node-name", DOMUS_QSD_FORMAT_NODE);
        add_json(out, "driver", disk->format ? disk->format : "raw");
        add_json(out, "file", DOMUS_QSD_FILE_NODE);
        g_string_append_printf(out, ",\"read-only\":%s", disk->readonly ? "true" : "false");
        add_json(out, "discard", g_strcmp0(disk->discard, "unmap") == 0 ? "unmap" : "ignore");
        if (disk->detect_zeroes)
                add_json(out, "detect-zeroes", disk->detect_zeroes);
        g_string_append_c(out, '}');
        return g_string_free(out, FALSE);
}

static void add_words(GPtrArray *argv, ...)
{
        va_list ap;

        va_start(ap, argv);
        for (const char *word; (word = va_arg(ap, const char *));)
                g_ptr_array_add(argv, g_strdup(word));
        va_end(ap);
}

/* What there is of the host's files: the image and what is below it, or how to reach a server; nothing of it can be executed. */
static void add_files(GPtrArray *argv, const DomusDisk *disk, char **backing)
{
        if (disk->path)
                add_words(argv, "--unshare-net", disk->type == DOMUS_DISK_BLOCK ? "--dev-bind" : disk->readonly ? "--ro-bind" : "--bind", disk->path,
                        disk->path, NULL);
        else if (disk->socket)
                add_words(argv, "--unshare-net", "--bind", disk->socket, disk->socket, NULL);
        else
                add_words(argv, "--ro-bind-try", "/etc/ssl", "/etc/ssl", "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf", "--ro-bind-try",
                        "/etc/hosts", "/etc/hosts", "--ro-bind-try", "/etc/nsswitch.conf", "/etc/nsswitch.conf", NULL);
        for (unsigned i = 0; backing && backing[i]; i++)
                add_words(argv, "--ro-bind", backing[i], backing[i], NULL);
}

/* The process has no rights but to read and write those files, whoever owns them. */
static void add_sandbox(GPtrArray *argv, const DomusDomain *d, const DomusDisk *disk, char **backing)
{
        g_autofree char *uid = g_strdup_printf("--reuid=%u", (unsigned)d->manager->vmm_uid);
        g_autofree char *gid = g_strdup_printf("--regid=%u", (unsigned)d->manager->vmm_gid);

        if (!d->manager->drop_rights)
                return;
        add_words(argv, "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--as-pid-1", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib",
                "/lib", "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev", NULL);
        add_files(argv, disk, backing);
        add_words(argv, "--cap-drop", "ALL", "--cap-add", "CAP_DAC_OVERRIDE", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add",
                "CAP_SETPCAP", "--", "setpriv", uid, gid, "--clear-groups", "--no-new-privs", "--inh-caps=-all,+dac_override",
                "--ambient-caps=-all,+dac_override", "--bounding-set=-all,+dac_override", "--", NULL);
}

/* The boot loader reads the disk as the VM sees it. */
static bool has_reader(const DomusDomain *d)
{
        return !d->live->kernel;
}

/* QEMU 7.2's curl driver loses a read now and then that came while another one was under way, and never answers it. */
bool domus_qsd_wants_one_request(const DomusDisk *disk)
{
        return disk->protocol && g_str_has_prefix(disk->protocol, "http");
}

/* A thread of its own takes requests quicker than the program's main loop. But QEMU 7.2 ends when an NBD client hangs up in one (blockdev-nbd.c), and its curl driver
 * loses a read now and then that was moved there, and never answers it. */
static bool has_thread(const DomusDomain *d, const DomusDisk *disk)
{
        return !has_reader(d) && !domus_qsd_wants_one_request(disk);
}

static GPtrArray *make_arguments(const DomusDomain *d, const DomusDisk *disk, char **backing)
{
        GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);
        g_autofree char *file = protocol_node(disk);
        g_autofree char *format = format_node(disk);
        bool reader = has_reader(d), thread = has_thread(d, disk);
        g_autofree char *export = g_strdup_printf("vhost-user-blk,id=disk,node-name=" DOMUS_QSD_FORMAT_NODE "%s,addr.type=fd,addr.str=" SOCKET_FD
                                                  ",writable=%s,num-queues=%u,logical-block-size=%u",
                thread ? ",iothread=io" : "", disk->readonly ? "off" : "on", disk->queues ? disk->queues : 1,
                disk->logical_block ? disk->logical_block : 512);

        add_sandbox(argv, d, disk, backing);
        add_words(argv, DOMUS_QSD_PROGRAM, NULL);
        if (thread)
                add_words(argv, "--object", "iothread,id=io", NULL);
        add_words(argv, "--blockdev", file, "--blockdev", format, "--export", export, NULL);
        if (reader)
                add_words(argv, "--nbd-server", "addr.type=fd,addr.str=" NBD_FD, "--export", "nbd,id=reader,node-name=disk,name=disk", NULL);
        add_words(argv, "--chardev", "socket,id=monitor,fd=" MONITOR_FD ",server=on,wait=off", "--monitor", "chardev=monitor", NULL);
        g_ptr_array_add(argv, NULL);
        return argv;
}

/* --- Starting --- */

static bool spawn(DomusDomain *d, const char *alias, const DomusDisk *disk, const int *fds, size_t n_fds, GError **error)
{
        const DomusDomainHooks *hooks = &d->manager->hooks;
        g_auto(GStrv) backing = NULL;
        g_autoptr(GPtrArray) argv = NULL;
        pid_t pid;

        if (disk->path && hooks->backing_files) {
                backing = hooks->backing_files(hooks->opaque, disk->path, disk->format, error);
                if (!backing)
                        return false;
        }
        argv = make_arguments(d, disk, backing);
        pid = domus_device_run_attended(d, alias, (const char *const *)argv->pdata, fds, n_fds, error);
        if (pid < 0)
                return false;
        write_pid(d, alias, pid);
        return true;
}

static int fail_socket(const char *address, int code, GError **error)
{
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make the socket '%s': %s", address, g_strerror(-code));
        return -1;
}

static int listen_at(const DomusDomain *d, const char *alias, const char *suffix, GError **error)
{
        g_autofree char *address = domus_qsd_file(d, alias, suffix);
        int fd;

        unlink(address);
        fd = domus_unix_listen(address);
        return fd < 0 ? fail_socket(address, fd, error) : fd;
}

/* The kernel holds connections until the process accepts them. If it cannot open the image it exits, and the VM meets a closed socket. */
static int connect_to(const DomusDomain *d, const char *alias, const char *suffix, GError **error)
{
        g_autofree char *address = domus_qsd_file(d, alias, suffix);
        int fd = domus_unix_connect(address);

        if (fd < 0)
                return fail_socket(address, fd, error);
        fd_set_nonblock(fd, false);
        return fd;
}

int domus_qsd_start(DomusDomain *d, const char *alias, const DomusDisk *disk, GError **error)
{
        int DOMUS_CLOSE_FD listen_fd = listen_at(d, alias, SOCKET, error);
        int DOMUS_CLOSE_FD monitor_fd = listen_fd < 0 ? -1 : listen_at(d, alias, DOMUS_QSD_MONITOR, error);
        int DOMUS_CLOSE_FD nbd_fd = monitor_fd < 0 || !has_reader(d) ? -1 : listen_at(d, alias, NBD, error);
        const int fds[] = { listen_fd, monitor_fd, nbd_fd };
        int DOMUS_CLOSE_FD fd = -1;

        if (monitor_fd < 0 || (has_reader(d) && nbd_fd < 0))
                return -1;
        fd = connect_to(d, alias, SOCKET, error);
        return fd >= 0 && spawn(d, alias, disk, fds, has_reader(d) ? 3 : 2, error) ? fd_steal(&fd) : -1;
}

int domus_qsd_connect_nbd(DomusDomain *d, const DomusDevice *device, GError **error)
{
        return connect_to(d, device->alias, NBD, error);
}
