/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/block.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "storage/file.h"

#define WAIT_STEPS 100
#define WAIT_STEP_MS 100

bool storage_block_update(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, bool raw, GError **error)
{
        g_autofree char *format = g_strdup(vol->format), *backing = g_strdup(vol->backing_path), *backing_format = g_strdup(vol->backing_format);
        bool skip;

        if (!storage_volume_look(vol, true, &skip, error))
                return false;
        /* Of these the device itself says nothing. */
        g_free(vol->format);
        vol->format = g_steal_pointer(&format);
        vol->backing_path = g_steal_pointer(&backing);
        vol->backing_format = g_steal_pointer(&backing_format);
        return true;
}

/* False, with OPERATION_ABORTED, if the work shall give up. */
static bool wait_step(const StorageCancel *c, GError **error)
{
        struct pollfd p = { .fd = c ? c->fd : -1, .events = POLLIN };

        return poll(&p, 1, WAIT_STEP_MS) <= 0 || !storage_cancelled(c, error);
}

bool storage_block_wait(const StorageCancel *c, const char *path, GError **error)
{
        for (unsigned i = 0; i < WAIT_STEPS; i++) {
                if (access(path, F_OK) == 0)
                        return true;
                if (!wait_step(c, error))
                        return false;
        }
        return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "the device '%s' does not appear", path);
}

static bool copy_raw(const StorageCancel *c, const DomusVolumeDef *vol, const DomusVolumeDef *source, GError **error)
{
        int DOMUS_CLOSE_FD from = open(source->path, O_RDONLY | O_CLOEXEC), DOMUS_CLOSE_FD to = -1;

        if (from < 0)
                return storage_fail_errno(error, errno, "cannot open volume '%s'", source->path);
        to = open(vol->path, O_WRONLY | O_CLOEXEC);
        if (to < 0)
                return storage_fail_errno(error, errno, "cannot open volume '%s'", vol->path);
        return storage_copy(c, from, source->path, to, vol->path, source->physical, false, error) &&
               (fdatasync(to) == 0 || storage_fail_errno(error, errno, "cannot write to '%s'", vol->path));
}

bool storage_block_fill(const StorageCancel *c, const DomusVolumeDef *vol, const DomusVolumeDef *source, GError **error)
{
        const char *argv[] = { "qemu-img", "convert", "-q", "-n", "-f", source ? source->format : NULL, "-O", "raw", source ? source->path : NULL,
                               vol->path, NULL };

        if (!source)
                return true;
        if (source->type == DOMUS_VOLUME_BLOCK || strcmp(source->format, "raw") == 0 || strcmp(source->format, "iso") == 0)
                return copy_raw(c, vol, source, error);
        return storage_run(c, argv, NULL, 0, NULL, error);
}

bool storage_block_set_owner(const DomusVolumeDef *vol, GError **error)
{
        const DomusPermissions *p = &vol->perms;

        if ((p->uid >= 0 || p->gid >= 0) && chown(vol->path, (uid_t)p->uid, (gid_t)p->gid) < 0)
                return storage_fail_errno(error, errno, "cannot set the owner of '%s'", vol->path);
        if (p->mode >= 0 && chmod(vol->path, (mode_t)p->mode) < 0)
                return storage_fail_errno(error, errno, "cannot set the mode of '%s'", vol->path);
        return true;
}

bool storage_block_content(const StorageCancel *c, const char *device, char **ret, GError **error)
{
        const char *argv[] = { "blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", "--", device, NULL };
        g_autoptr(GError) local = NULL;

        *ret = NULL;
        if (access(device, F_OK) < 0)
                return storage_fail_errno(error, errno, "cannot use the source device '%s'", device);
        if (!storage_run(c, argv, NULL, 0, ret, &local)) {
                /* blkid(8) ends with 2 and says nothing when it finds nothing. */
                if (!strstr(local->message, "exited with status 2")) {
                        g_propagate_error(error, g_steal_pointer(&local));
                        return false;
                }
                *ret = g_strdup("");
        }
        g_strdelimit(g_strstrip(*ret), "\n", ' ');
        return true;
}

bool storage_block_check_empty(const StorageCancel *c, const DomusPoolDef *def, const char *device, GError **error)
{
        g_autofree char *found = NULL;

        if (!storage_block_content(c, device, &found, error))
                return false;
        return !*found || storage_fail(error, DOMUS_ERROR_STORAGE_POOL_BUILT, "device '%s' of pool '%s' holds '%s' already", device, def->name, found);
}

/* NULL: there is none. */
static char *find_link(const char *dir, const char *node)
{
        g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
        const char *name;

        while (d && (name = g_dir_read_name(d))) {
                g_autofree char *path = g_build_filename(dir, name, NULL), *real = realpath(path, NULL);

                if (real && strcmp(real, node) == 0)
                        return g_steal_pointer(&path);
        }
        return NULL;
}

char *storage_block_stable_path(const char *dir, const char *node)
{
        char *link = strcmp(dir, "/dev") == 0 ? NULL : find_link(dir, node);

        return link ? link : g_strdup(node);
}

char *storage_block_wait_stable_path(const StorageCancel *c, const char *dir, const char *node)
{
        for (unsigned i = 0; strcmp(dir, "/dev") != 0 && i < WAIT_STEPS; i++) {
                char *link = find_link(dir, node);

                if (link)
                        return link;
                if (!wait_step(c, NULL))
                        break;
        }
        return g_strdup(node);
}
