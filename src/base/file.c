/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static int sync_parent(const char *path)
{
        char dir[PATH_MAX];
        const char *slash = strrchr(path, '/');
        int DOMUS_CLOSE_FD fd = -1;

        if (!slash)
                snprintf(dir, sizeof(dir), ".");
        else
                snprintf(dir, sizeof(dir), "%.*s", (int)(slash == path ? 1 : slash - path), path);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return fsync(fd) < 0 ? -errno : 0;
}

static int write_and_sync(int fd, const void *data, size_t n, mode_t mode)
{
        int r = fd_write_all(fd, data, n);

        if (r < 0)
                return r;
        if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int file_replace(const char *path, const void *data, size_t n, mode_t mode)
{
        char tmp[PATH_MAX];
        int DOMUS_CLOSE_FD fd = -1;
        int r;

        if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= (int)sizeof(tmp))
                return -ENAMETOOLONG;
        fd = mkostemp(tmp, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = write_and_sync(fd, data, n, mode);
        if (r == 0 && rename(tmp, path) < 0)
                r = -errno;
        if (r < 0) {
                unlink(tmp);
                return r;
        }
        return sync_parent(path);
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
        int DOMUS_CLOSE_FD fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t size = 4096, used = 0;
        char *buf = NULL;

        if (fd < 0)
                return -errno;
        for (;;) {
                char *grown = realloc(buf, size + 1);
                ssize_t r;

                if (!grown) {
                        free(buf);
                        return -ENOMEM;
                }
                buf = grown;
                r = fd_read_full(fd, buf + used, size - used);
                if (r < 0) {
                        free(buf);
                        return (int)r;
                }
                used += (size_t)r;
                if (used > max) {
                        free(buf);
                        return -EFBIG;
                }
                if (used < size)
                        break;
                size *= 2;
        }
        buf[used] = 0;
        *ret = buf;
        if (ret_len)
                *ret_len = used;
        return 0;
}

int file_make_dirs(const char *path, mode_t mode)
{
        char buf[PATH_MAX];

        if (snprintf(buf, sizeof(buf), "%s", path) >= (int)sizeof(buf))
                return -ENAMETOOLONG;
        for (char *p = buf + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = 0;
                if (mkdir(buf, mode) < 0 && errno != EEXIST)
                        return -errno;
                *p = '/';
        }
        if (mkdir(buf, mode) < 0 && errno != EEXIST)
                return -errno;
        return 0;
}
