/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/config.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"

static int read_bls(struct config *c, const char *text, size_t n)
{
        return bls_read(c, NULL, NULL);
}

/* In the order of preference. A path that ends in / is a folder. Relative to a file system of its own and to the root. */
static const struct {
        const char *path;
        int (*read)(struct config *c, const char *text, size_t n);
} places[] = {
        { "/boot/grub/grub.cfg", grub_read },
        { "/grub/grub.cfg", grub_read },
        { "/boot/grub2/grub.cfg", grub_read },
        { "/grub2/grub.cfg", grub_read },
        { "/boot/loader/entries/", read_bls },
        { "/loader/entries/", read_bls },
        { "/boot/extlinux/extlinux.conf", extlinux_read },
        { "/extlinux/extlinux.conf", extlinux_read },
        { "/boot/extlinux.conf", extlinux_read },
        { "/extlinux.conf", extlinux_read },
        { "/boot/syslinux/syslinux.cfg", extlinux_read },
        { "/syslinux/syslinux.cfg", extlinux_read },
        { "/syslinux.cfg", extlinux_read },
};

static int read_place(struct config *c, unsigned i)
{
        const char *path = places[i].path;
        char *text = NULL;
        size_t n = 0;
        int r = 0;

        c->path = path;
        if (path[strlen(path) - 1] != '/') {
                r = fs_read_file(c->fs, path, CONFIG_SIZE_MAX, &text, &n, c->trouble);
                if (r < 0)
                        return r;
        }
        r = places[i].read(c, text, n);
        return r < 0 ? r : c->menu->n > 0;
}

int config_read(struct config *c)
{
        for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
                int r = read_place(c, i);

                if (r != 0 && r != -ENOENT)
                        return r;
                c->menu->n = 0;
                c->menu->chosen = NULL;
        }
        return 0;
}
