/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/unixsocket.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"

/* *ret_dirfd must stay open while the address is in use. */
static int make_address(const char *path, struct sockaddr_un *ret, int *ret_dirfd)
{
        g_autofree char *dir = g_path_get_dirname(path);
        g_autofree char *name = g_path_get_basename(path);
        int DOMUS_CLOSE_FD fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int n;

        if (fd < 0)
                return -errno;
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", fd, name);
        if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        *ret_dirfd = fd_steal(&fd);
        return 0;
}

static int make_socket(const char *path, struct sockaddr_un *ret, int *ret_dirfd)
{
        int r = make_address(path, ret, ret_dirfd);

        if (r < 0)
                return r;
        r = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return r < 0 ? -errno : r;
}

int domus_unix_listen(const char *path)
{
        int DOMUS_CLOSE_FD dirfd = -1;
        struct sockaddr_un address;
        int DOMUS_CLOSE_FD fd = make_socket(path, &address, &dirfd);

        if (fd < 0)
                return fd;
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, 0600) < 0 || listen(fd, 4) < 0)
                return -errno;
        return fd_steal(&fd);
}

int domus_unix_connect(const char *path)
{
        int DOMUS_CLOSE_FD dirfd = -1;
        struct sockaddr_un address;
        int DOMUS_CLOSE_FD fd = make_socket(path, &address, &dirfd);

        if (fd < 0)
                return fd;
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        return fd_steal(&fd);
}
