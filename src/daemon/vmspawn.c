/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/vmspawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "run/process.h"
#include "vmproto/vmproto.h"

/* Descriptors of the VM process. */
#define CHILD_CONTROL 3
#define CHILD_LOG 4
#define CHILD_ALIVE 5

/* Through /proc/self/fd, for sun_path holds 107 bytes and a directory's path may be longer. */
static int socket_address(const char *dir, struct sockaddr_un *ret, int *ret_dirfd)
{
        int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/" VM_SOCKET, fd);
        *ret_dirfd = fd;
        return 0;
}

int domus_vm_listen(const char *dir)
{
        int DOMUS_CLOSE_FD dirfd = -1;
        int DOMUS_CLOSE_FD fd = -1;
        struct sockaddr_un addr;
        int r = socket_address(dir, &addr, &dirfd);

        if (r < 0)
                return r;
        if (unlinkat(dirfd, VM_SOCKET, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4) < 0)
                return -errno;
        return fd_steal(&fd);
}

int domus_vm_connect(const char *dir)
{
        int DOMUS_CLOSE_FD dirfd = -1;
        int DOMUS_CLOSE_FD fd = -1;
        struct sockaddr_un addr;
        int r = socket_address(dir, &addr, &dirfd);

        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return -errno;
        return fd_steal(&fd);
}

/* Both ends in one, so that nobody has to be there first. */
int domus_vm_make_alive(const char *dir)
{
        g_autofree char *path = g_build_filename(dir, VM_ALIVE, NULL);
        int fd;

        if (mkfifo(path, 0600) < 0)
                return -errno;
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int domus_vm_open_alive(const char *dir)
{
        g_autofree char *path = g_build_filename(dir, VM_ALIVE, NULL);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

/* The daemon's environment is not the VM's business, but for debugging. */
static char **make_environment(void)
{
        static const char *const kept[] = { "DOMUS_DEBUG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS" };
        g_autoptr(GStrvBuilder) b = g_strv_builder_new();

        g_strv_builder_add(b, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
        for (unsigned i = 0; i < G_N_ELEMENTS(kept); i++) {
                const char *value = getenv(kept[i]);
                g_autofree char *entry = g_strconcat(kept[i], "=", value, NULL);

                if (value)
                        g_strv_builder_add(b, entry);
        }
        return g_strv_builder_end(b);
}

static char **make_arguments(const DomusVmLaunch *launch)
{
        g_autofree char *user = g_strdup_printf("%u:%u", (unsigned)launch->uid, (unsigned)launch->gid);
        const char *argv[] = {
                launch->binary, "serve", "--control-fd", G_STRINGIFY(CHILD_CONTROL), "--log-fd",
                G_STRINGIFY(CHILD_LOG), "--alive-fd", G_STRINGIFY(CHILD_ALIVE), launch->drop ? "--user" : NULL, user, NULL,
        };

        return g_strdupv((char **)argv);
}

int domus_vm_exec(const DomusVmLaunch *launch, int listen_fd, pid_t *ret_pid)
{
        g_auto(GStrv) argv = make_arguments(launch);
        g_auto(GStrv) envp = make_environment();
        const int fds[] = { launch->log_fd, launch->log_fd, listen_fd, launch->log_fd, launch->alive_fd };

        return domus_process_spawn((const char *const *)argv, (const char *const *)envp, fds, ARRAY_SIZE(fds), ret_pid);
}

int domus_proc_start_time(pid_t pid, uint64_t *ret)
{
        char path[64];
        char *text, *p;
        int r;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        r = file_read(path, 4096, &text, NULL);
        if (r < 0)
                return r;
        p = strrchr(text, ')'); /* the end of field 2, which may contain anything */
        for (unsigned field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        r = p && sscanf(p, " %" G_GUINT64_FORMAT, ret) == 1 ? 0 : -EBADMSG;
        free(text);
        return r;
}

bool domus_proc_lacks_file(pid_t pid, const char *path)
{
        g_autofree char *dir = g_strdup_printf("/proc/%d/fd", (int)pid);
        g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);
        struct stat wanted, st;

        if (!entries || stat(path, &wanted) < 0)
                return false;
        for (const char *name; (name = g_dir_read_name(entries));) {
                g_autofree char *link = g_build_filename(dir, name, NULL);

                if (stat(link, &st) < 0 ? errno != ENOENT : st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino)
                        return false;
        }
        return true;
}
