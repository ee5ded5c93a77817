/* SPDX-License-Identifier: GPL-2.0-or-later */

/* New files in a pool. A file gets its name when it is complete: whatever fails before, or kills the daemon, leaves nothing behind. */

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "storage/file.h"
#include "storage/image.h"

#define DEFAULT_MODE 0600

/* A file without a name; temporary: the name it has all the same, where the file system knows only those that have. */
struct unnamed {
        int fd;
        char *temporary;
};

/* --- Room --- */

static bool check_room(const DomusPoolDef *def, const DomusVolumeDef *vol, uint64_t bytes, GError **error)
{
        struct statvfs fs;
        uint64_t free_bytes;

        if (statvfs(def->path, &fs) < 0)
                return storage_fail_errno(error, errno, "cannot look at path '%s'", def->path);
        free_bytes = (uint64_t)fs.f_frsize * fs.f_bavail;
        if (bytes <= free_bytes)
                return true;
        return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED,
                "not enough space left in storage pool '%s' for volume '%s': %" G_GUINT64_FORMAT " bytes wanted, %" G_GUINT64_FORMAT " available",
                def->name, vol->name, bytes, free_bytes);
}

static bool write_zeros(const StorageCancel *c, int fd, uint64_t n, int *ret_errno, GError **error)
{
        g_autofree char *zeros = g_malloc0(MiB(1));

        for (uint64_t at = 0; at < n;) {
                ssize_t r = pwrite(fd, zeros, MIN(MiB(1), n - at), (off_t)at);

                *ret_errno = r < 0 ? errno : 0;
                if (r < 0 || storage_cancelled(c, error))
                        return false;
                at += (uint64_t)r;
        }
        return true;
}

/* The first n bytes take their place on the disk now. */
static bool allocate(const StorageCancel *c, int fd, const char *path, uint64_t n, GError **error)
{
        g_autoptr(GError) local = NULL;
        int errnum = 0;

        if (n == 0 || fallocate(fd, 0, 0, (off_t)n) == 0)
                return true;
        errnum = errno;
        if ((errnum == EOPNOTSUPP || errnum == ENOSYS) && write_zeros(c, fd, n, &errnum, &local))
                return true;
        if (local) {
                g_propagate_error(error, g_steal_pointer(&local));
                return false;
        }
        return storage_fail_errno(error, errnum, "cannot allocate %" G_GUINT64_FORMAT " bytes in file '%s'", n, path);
}

/* --- Content --- */

static bool fill_raw(const StorageCancel *c, int fd, const DomusPoolDef *def, const DomusVolumeDef *vol, unsigned flags, GError **error)
{
        uint64_t n = MIN(vol->allocation, vol->capacity);

        if (flags & VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "metadata preallocation is not supported for raw volumes");
        if (!check_room(def, vol, n, error) || !allocate(c, fd, vol->path, n, error))
                return false;
        return ftruncate(fd, (off_t)vol->capacity) == 0 ||
               storage_fail_errno(error, errno, "cannot extend file '%s' to %" G_GUINT64_FORMAT " bytes", vol->path, vol->capacity);
}

static bool same_text(const char *a, const char *b)
{
        return g_strcmp0(a, b) == 0;
}

/* Whether the new volume is the same bytes (in a raw one, and more zeros behind). */
static bool is_plain_copy(const DomusVolumeDef *vol, const DomusVolumeDef *source)
{
        bool raw = same_text(source->format, "raw") || same_text(source->format, "iso");

        if (raw)
                return same_text(vol->format, "raw") || same_text(vol->format, source->format);
        return same_text(vol->format, source->format) && vol->capacity == source->capacity && same_text(vol->backing_path, source->backing_path) &&
               (!vol->compat || same_text(vol->compat, source->compat)) && (!vol->cluster_size || vol->cluster_size == source->cluster_size);
}

static bool copy_bytes(const StorageCancel *c, int fd, const DomusPoolDef *def, const DomusVolumeDef *vol, const DomusVolumeDef *source,
        unsigned flags, GError **error)
{
        int DOMUS_CLOSE_FD from = open(source->path, O_RDONLY | O_CLOEXEC);
        bool sparse = vol->allocation < vol->capacity;

        if (from < 0)
                return storage_fail_errno(error, errno, "cannot open volume '%s'", source->path);
        if (ioctl(fd, FICLONE, from) < 0) {
                if (flags & VIR_STORAGE_VOL_CREATE_REFLINK)
                        return storage_fail_errno(error, errno, "cannot clone '%s' by reference", source->path);
                if (!check_room(def, vol, sparse ? MIN(source->allocation, source->physical) : vol->capacity, error) ||
                    (!sparse && !allocate(c, fd, vol->path, vol->capacity, error)) ||
                    !storage_copy(c, from, source->path, fd, vol->path, source->physical, true, error))
                        return false;
        }
        if (ftruncate(fd, (off_t)MAX(source->physical, same_text(vol->format, "raw") ? vol->capacity : 0)) < 0)
                return storage_fail_errno(error, errno, "cannot extend file '%s'", vol->path);
        return true;
}

static bool fill(const StorageCancel *c, int fd, const DomusPoolDef *def, const DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags,
        GError **error)
{
        bool raw = same_text(vol->format, "raw") || same_text(vol->format, "iso");

        if (source && is_plain_copy(vol, source))
                return copy_bytes(c, fd, def, vol, source, flags, error);
        if (source && flags & VIR_STORAGE_VOL_CREATE_REFLINK)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "a clone by reference has the source's format, size and backing store");
        if (source)
                return check_room(def, vol, source->allocation, error) && storage_qemu_convert(c, fd, vol, source, flags, error);
        if (raw)
                return fill_raw(c, fd, def, vol, flags, error);
        return storage_qemu_create(c, fd, vol, flags, error);
}

/* --- The name --- */

static bool open_unnamed(const DomusPoolDef *def, struct unnamed *f, GError **error)
{
        f->temporary = NULL;
        f->fd = open(def->path, O_TMPFILE | O_RDWR | O_CLOEXEC, DEFAULT_MODE);
        if (f->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
                f->temporary = g_build_filename(def->path, STORAGE_TEMPORARY "XXXXXX", NULL);
                f->fd = mkostemp(f->temporary, O_CLOEXEC);
                if (f->fd < 0)
                        g_clear_pointer(&f->temporary, g_free);
        }
        return f->fd >= 0 || storage_fail_errno(error, errno, "cannot make a file in '%s'", def->path);
}

static void close_unnamed(struct unnamed *f)
{
        if (f->temporary)
                unlink(f->temporary);
        g_free(f->temporary);
        fd_close(f->fd);
}

static bool give_name(const struct unnamed *f, const DomusPoolDef *def, const DomusVolumeDef *vol, GError **error)
{
        g_autofree char *self = f->temporary ? g_strdup(f->temporary) : g_strdup_printf("/proc/self/fd/%d", f->fd);
        int DOMUS_CLOSE_FD dir = -1;

        if (fsync(f->fd) < 0)
                return storage_fail_errno(error, errno, "cannot write '%s'", vol->path);
        if (linkat(AT_FDCWD, self, AT_FDCWD, vol->path, f->temporary ? 0 : AT_SYMLINK_FOLLOW) < 0) {
                if (errno == EEXIST)
                        return storage_fail(error, DOMUS_ERROR_STORAGE_VOL_EXIST, "'%s' exists already", vol->path);
                return storage_fail_errno(error, errno, "cannot create file '%s'", vol->path);
        }
        dir = open(def->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0)
                fsync(dir);
        return true;
}

static bool set_owner(int fd, const DomusVolumeDef *vol, GError **error)
{
        const DomusPermissions *p = &vol->perms;

        if (fchmod(fd, p->mode >= 0 ? (mode_t)p->mode : DEFAULT_MODE) < 0)
                return storage_fail_errno(error, errno, "cannot set the mode of '%s'", vol->path);
        if ((p->uid >= 0 && (uid_t)p->uid != geteuid()) || (p->gid >= 0 && (gid_t)p->gid != getegid()))
                if (fchown(fd, (uid_t)p->uid, (gid_t)p->gid) < 0)
                        return storage_fail_errno(error, errno, "cannot set the owner of '%s'", vol->path);
        return true;
}

static bool create_dir(const DomusVolumeDef *vol, GError **error)
{
        if (mkdir(vol->path, 0700) < 0)
                return errno == EEXIST ? storage_fail(error, DOMUS_ERROR_STORAGE_VOL_EXIST, "'%s' exists already", vol->path)
                                       : storage_fail_errno(error, errno, "cannot create path '%s'", vol->path);
        if (chmod(vol->path, vol->perms.mode >= 0 ? (mode_t)vol->perms.mode : 0711) == 0)
                return true;
        storage_fail_errno(error, errno, "cannot set the mode of '%s'", vol->path);
        rmdir(vol->path);
        return false;
}

/* btrfs and the like: NOCOW holds for files that are empty when it is set. */
static void set_nocow(int fd)
{
        int attributes;

        if (ioctl(fd, FS_IOC_GETFLAGS, &attributes) < 0)
                return;
        attributes |= FS_NOCOW_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &attributes);
}

static bool check_backing(DomusVolumeDef *vol, GError **error)
{
        DomusImage image;

        if (!vol->backing_path)
                return true;
        if (strcmp(vol->format, "qcow2") != 0)
                return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "a backing store is not supported for format '%s'", vol->format);
        if (vol->backing_path[0] != '/')
                return storage_fail(error, DOMUS_ERROR_XML, "the path of the backing store '%s' is not absolute", vol->backing_path);
        if (!domus_image_probe(vol->backing_path, vol->backing_format, &image, error))
                return false;
        if (!vol->backing_format)
                vol->backing_format = g_strdup(image.format);
        if (!vol->has_capacity) {
                vol->has_capacity = true;
                vol->capacity = image.virtual_size;
        }
        domus_image_clear(&image);
        return true;
}

static bool create_file(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags,
        GError **error)
{
        struct unnamed f;
        bool ok;

        if (!check_backing(vol, error) || !open_unnamed(def, &f, error))
                return false;
        if (vol->nocow)
                set_nocow(f.fd);
        ok = fill(c, f.fd, def, vol, source, flags, error) && set_owner(f.fd, vol, error) && give_name(&f, def, vol, error);
        close_unnamed(&f);
        return ok;
}

bool storage_file_create(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, const DomusVolumeDef *source, unsigned flags,
        GError **error)
{
        bool skip, raw;

        g_free(vol->path);
        vol->path = g_build_filename(def->path, vol->name, NULL);
        g_free(vol->key);
        vol->key = g_strdup(vol->path);
        if (!vol->format)
                vol->format = g_strdup("raw");
        if (access(vol->path, F_OK) == 0)
                return storage_fail(error, DOMUS_ERROR_STORAGE_VOL_EXIST, "'%s' exists already", vol->path);
        if (strcmp(vol->format, "dir") == 0) {
                if (source)
                        return storage_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a folder cannot be cloned");
                return create_dir(vol, error) && storage_volume_look(vol, false, &skip, error);
        }
        raw = strcmp(vol->format, "raw") == 0;
        return create_file(c, def, vol, source, flags, error) && storage_volume_look(vol, raw, &skip, error);
}
