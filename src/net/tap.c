/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "model/error.h"

#define HEADER_BYTES 12 /* struct virtio_net_hdr_v1, with num_buffers */

static bool fail(GError **error, const char *what, const char *name, int e)
{
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "%s '%s': %s", what, name, g_strerror(e));
        return false;
}

static void close_all(int *fds, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                fds[i] = fd_close(fds[i]);
}

/* The kernel writes the name of a new device into req. 0 or -errno. */
static int attach(int fd, struct ifreq *req)
{
        int header = HEADER_BYTES;

        if (ioctl(fd, TUNSETIFF, req) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
                return -errno;
        return 0;
}

static int open_queue(struct ifreq *req)
{
        int DOMUS_CLOSE_FD fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        int r = fd < 0 ? -errno : attach(fd, req);

        return r < 0 ? r : fd_steal(&fd);
}

/* The flags that a tap device has, from /sys; 0: it is none. */
static unsigned existing_flags(const char *name)
{
        g_autofree char *path = g_strdup_printf("/sys/class/net/%s/tun_flags", name);
        char *text = NULL;
        unsigned flags = 0;

        if (file_read(path, 64, &text, NULL) < 0)
                return 0;
        flags = (unsigned)strtoul(text, NULL, 16);
        free(text);
        return flags;
}

static bool check_existing(const char *name, unsigned flags, unsigned queues, GError **error)
{
        const char *what = !(flags & IFF_TAP)                            ? "is not a tap device" :
                           queues > 1 && !(flags & IFF_MULTI_QUEUE)      ? "is a tap device with one queue only" :
                                                                           NULL;

        if (what)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "'%s' %s", name, what);
        return !what;
}

bool tap_open_existing(const char *name, unsigned queues, int *fds, GError **error)
{
        unsigned flags = existing_flags(name);
        struct ifreq req = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (flags & IFF_MULTI_QUEUE)) };

        if (!check_existing(name, flags, queues, error))
                return false;
        g_strlcpy(req.ifr_name, name, sizeof(req.ifr_name));
        for (unsigned i = 0; i < queues; i++) {
                fds[i] = open_queue(&req);
                if (fds[i] < 0) {
                        int e = -fds[i];

                        close_all(fds, i);
                        return fail(error, "cannot open tap device", name, e);
                }
        }
        return true;
}

bool tap_open(const char *name, unsigned queues, int *fds, char **ret_name, GError **error)
{
        short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        struct ifreq req = { 0 };

        if (queues > 1)
                flags |= IFF_MULTI_QUEUE;
        g_strlcpy(req.ifr_name, name, sizeof(req.ifr_name));
        for (unsigned i = 0; i < queues; i++) {
                /* the first makes the device, which must be new; the kernel writes its name back */
                req.ifr_flags = (short)(i == 0 ? flags | IFF_TUN_EXCL : flags);
                fds[i] = open_queue(&req);
                if (fds[i] < 0) {
                        int e = -fds[i];

                        close_all(fds, i);
                        return fail(error, "cannot make tap device", name, e == EBUSY ? EEXIST : e);
                }
        }
        *ret_name = g_strdup(req.ifr_name);
        return true;
}

/* --- macvtap --- */

/* The device's number, from /sys/class/net/NAME/tapINDEX/dev. */
static bool find_device(const char *name, dev_t *ret, GError **error)
{
        g_autofree char *path = g_strdup_printf("/sys/class/net/%s/tap%u/dev", name, if_nametoindex(name));
        unsigned major_nr, minor_nr;
        char *text = NULL;
        int r = file_read(path, 64, &text, NULL), n;

        if (r < 0)
                return fail(error, "cannot find the device of macvtap", name, -r);
        n = sscanf(text, "%u:%u", &major_nr, &minor_nr);
        free(text);
        if (n != 2)
                return fail(error, "cannot find the device of macvtap", name, EINVAL);
        *ret = makedev(major_nr, minor_nr);
        return true;
}

static int open_macvtap_queue(const char *path, bool multi)
{
        int DOMUS_CLOSE_FD fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        struct ifreq req = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi ? IFF_MULTI_QUEUE : 0)) };
        int r = fd < 0 ? -errno : attach(fd, &req);

        return r < 0 ? r : fd_steal(&fd);
}

static bool open_all(const char *name, const char *path, unsigned queues, int *fds, GError **error)
{
        for (unsigned i = 0; i < queues; i++) {
                fds[i] = open_macvtap_queue(path, queues > 1);
                if (fds[i] < 0) {
                        int e = -fds[i];

                        close_all(fds, i);
                        return fail(error, "cannot open macvtap", name, e);
                }
        }
        return true;
}

/* Where /dev is not the kernel's, or the link not of the first network namespace, there is no /dev/tapINDEX, or it is another one's. */
static bool is_node(const char *path, dev_t device)
{
        struct stat st;

        return stat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == device;
}

bool tap_open_macvtap(const char *name, unsigned queues, int *fds, GError **error)
{
        g_autofree char *node = g_strdup_printf("/dev/tap%u", if_nametoindex(name)), *own = g_strdup_printf("/dev/domus-%s", name);
        dev_t device;
        bool ok;

        if (!find_device(name, &device, error))
                return false;
        if (is_node(node, device))
                return open_all(name, node, queues, fds, error);
        unlink(own);
        if (mknod(own, S_IFCHR | 0600, device) < 0)
                return fail(error, "cannot make device node", own, errno);
        ok = open_all(name, own, queues, fds, error);
        unlink(own);
        return ok;
}
