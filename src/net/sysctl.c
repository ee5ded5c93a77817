/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/file.h"
#include "model/error.h"

static char *read_value(const char *path)
{
        g_autofree char *full = g_strconcat("/proc/sys/net/", path, NULL);
        char *text = NULL, *ret;

        if (file_read(full, 4096, &text, NULL) < 0)
                return NULL;
        ret = g_strstrip(g_strdup(text));
        free(text);
        return ret;
}

int sysctl_get(const char *path)
{
        g_autofree char *text = read_value(path);

        return text ? atoi(text) : -1;
}

bool sysctl_set(const char *path, const char *value, GError **error)
{
        g_autofree char *full = g_strconcat("/proc/sys/net/", path, NULL), *old = read_value(path);
        int DOMUS_CLOSE_FD fd = -1;
        int r = 0;

        if (g_strcmp0(old, value) == 0)
                return true;
        fd = open(full, O_WRONLY | O_CLOEXEC);
        r = fd < 0 ? -errno : fd_write_all(fd, value, strlen(value));
        if (r < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot write '%s' to '%s': %s", value, full, g_strerror(-r));
        return r >= 0;
}
