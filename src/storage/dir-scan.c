/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is in a pool's folder. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "storage/file.h"
#include "storage/image.h"

static struct timespec statx_time(const struct statx_timestamp *t)
{
        return (struct timespec){ t->tv_sec, t->tv_nsec };
}

static void fill_stat(DomusVolumeDef *vol, const struct statx *st)
{
        vol->perms = (DomusPermissions){ (int)(st->stx_mode & 07777), st->stx_uid, st->stx_gid };
        vol->has_times = true;
        vol->atime = statx_time(&st->stx_atime);
        vol->mtime = statx_time(&st->stx_mtime);
        vol->ctime = statx_time(&st->stx_ctime);
        vol->btime = statx_time(&st->stx_btime);
}

static void set_string(char **where, const char *value)
{
        g_free(*where);
        *where = g_strdup(value);
}

static void fill_image(DomusVolumeDef *vol, const DomusImage *image)
{
        vol->type = image->block ? DOMUS_VOLUME_BLOCK : DOMUS_VOLUME_FILE;
        vol->capacity = image->virtual_size;
        vol->allocation = image->allocation;
        vol->physical = image->physical;
        set_string(&vol->format, image->format);
        set_string(&vol->compat, image->compat);
        vol->cluster_size = image->cluster_size;
        vol->lazy_refcounts = image->lazy_refcounts;
        vol->extended_l2 = image->extended_l2;
        set_string(&vol->backing_path, image->backing_path);
        set_string(&vol->backing_format, image->backing_path && !image->backing_format ? "raw" : image->backing_format);
}

/* A damaged image is a volume all the same: it can be seen, replaced and deleted. What it says is not known; the length stands for the size. */
static void fill_damaged(DomusVolumeDef *vol, int fd, const struct statx *st, const GError *problem)
{
        const char *format = "raw";

        log_warning("storage volume '%s': %s", vol->path, problem->message);
        storage_image_guess(fd, &format);
        fill_image(vol, &(DomusImage){ .format = (char *)format, .virtual_size = st->stx_size, .physical = st->stx_size,
                                       .allocation = st->stx_blocks * 512 });
}

static void fill_directory(DomusVolumeDef *vol, const struct statx *st)
{
        vol->type = DOMUS_VOLUME_DIR;
        vol->capacity = vol->physical = 0;
        vol->allocation = st->stx_blocks * 512;
        set_string(&vol->format, "dir");
}

bool storage_volume_look(DomusVolumeDef *vol, bool raw, bool *ret_skip, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(vol->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        g_autoptr(GError) problem = NULL;
        DomusImage image;
        struct statx st;

        *ret_skip = false;
        if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0) {
                /* Dangling links, sockets, and what vanishes while being looked at. */
                *ret_skip = errno == ENOENT || errno == ELOOP || errno == ENXIO;
                return storage_fail_errno(error, errno, "cannot open volume '%s'", vol->path);
        }
        fill_stat(vol, &st);
        if (S_ISDIR(st.stx_mode)) {
                fill_directory(vol, &st);
                return true;
        }
        if (!S_ISREG(st.stx_mode) && !S_ISBLK(st.stx_mode)) {
                *ret_skip = true;
                return storage_fail(error, DOMUS_ERROR_OPERATION_INVALID, "'%s' is neither a file, a folder nor a block device", vol->path);
        }
        if (storage_image_read(fd, vol->path, raw ? "raw" : NULL, false, &image, &problem)) {
                fill_image(vol, &image);
                domus_image_clear(&image);
        } else {
                fill_damaged(vol, fd, &st, problem);
        }
        return true;
}

bool storage_file_update(const StorageCancel *c, const DomusPoolDef *def, DomusVolumeDef *vol, bool raw, GError **error)
{
        bool skip;

        return storage_volume_look(vol, raw, &skip, error);
}

/* --- The folder --- */

static bool is_listable(const char *name)
{
        if (g_str_has_prefix(name, STORAGE_TEMPORARY) || strcmp(name, "lost+found") == 0)
                return false;
        if (!g_utf8_validate(name, -1, NULL))
                return false;
        for (const char *p = name; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 127)
                        return false; /* XML cannot say it */
        return true;
}

static void scan_entry(const DomusPoolDef *def, const char *name, DomusRawNames *raw, DomusPoolScan *ret)
{
        g_autoptr(DomusVolumeDef) vol = NULL;
        g_autoptr(GError) error = NULL;
        bool skip;

        if (!is_listable(name))
                return;
        vol = domus_volume_def_new(name);
        vol->path = g_build_filename(def->path, name, NULL);
        vol->key = g_strdup(vol->path);
        if (storage_volume_look(vol, raw && g_hash_table_contains(raw, name), &skip, &error))
                g_ptr_array_add(ret->volumes, g_steal_pointer(&vol));
        else if (!skip)
                log_warning("storage pool '%s': %s", def->name, error->message);
}

static void free_volume(gpointer p)
{
        domus_volume_def_free(p);
}

bool storage_dir_scan(const StorageCancel *c, const DomusPoolDef *def, DomusRawNames *raw, DomusPoolScan *ret, GError **error)
{
        g_autoptr(GError) local = NULL;
        g_autoptr(GDir) dir = g_dir_open(def->path, 0, &local);

        if (!dir)
                return storage_fail(error, DOMUS_ERROR_SYSTEM, "cannot open path '%s': %s", def->path, local->message);
        if (!storage_dir_measure(c, def, &ret->state, error))
                return false;
        ret->volumes = g_ptr_array_new_with_free_func(free_volume);
        for (const char *name; (name = g_dir_read_name(dir));) {
                if (storage_cancelled(c, error)) {
                        storage_scan_clear(ret);
                        return false;
                }
                scan_entry(def, name, raw, ret);
        }
        return true;
}

bool storage_dir_measure(const StorageCancel *c, const DomusPoolDef *def, DomusPoolState *ret, GError **error)
{
        struct statvfs fs;
        struct stat st;

        if (stat(def->path, &st) < 0 || statvfs(def->path, &fs) < 0)
                return storage_fail_errno(error, errno, "cannot look at path '%s'", def->path);
        if (!S_ISDIR(st.st_mode))
                return storage_fail_errno(error, ENOTDIR, "cannot use path '%s'", def->path);
        ret->capacity = (uint64_t)fs.f_frsize * fs.f_blocks;
        ret->available = (uint64_t)fs.f_frsize * fs.f_bfree;
        ret->allocation = ret->capacity - ret->available;
        ret->perms = (DomusPermissions){ (int)(st.st_mode & 07777), st.st_uid, st.st_gid };
        return true;
}

bool storage_dir_make(const DomusPoolDef *def, GError **error)
{
        const DomusPermissions *p = &def->perms;
        struct stat st;
        int r;

        if (stat(def->path, &st) < 0) {
                r = file_make_dirs(def->path, 0711);
                if (r < 0)
                        return storage_fail_errno(error, -r, "cannot create path '%s'", def->path);
                if (p->mode < 0 && chmod(def->path, 0711) < 0)
                        return storage_fail_errno(error, errno, "cannot set the mode of '%s'", def->path);
        } else if (!S_ISDIR(st.st_mode)) {
                return storage_fail_errno(error, ENOTDIR, "cannot use path '%s'", def->path);
        }
        if (p->mode >= 0 && chmod(def->path, (mode_t)p->mode) < 0)
                return storage_fail_errno(error, errno, "cannot set the mode of '%s'", def->path);
        if ((p->uid >= 0 || p->gid >= 0) && chown(def->path, (uid_t)p->uid, (gid_t)p->gid) < 0)
                return storage_fail_errno(error, errno, "cannot set the owner of '%s'", def->path);
        return true;
}

bool storage_dir_remove(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error)
{
        return rmdir(def->path) == 0 || storage_fail_errno(error, errno, "failed to remove pool '%s'", def->path);
}
