/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changes of volumes that are there: size, removal, wiping. */

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "storage/file.h"
#include "storage/image.h"

/* --- Size --- */

static bool resize_raw(const DomusVolumeDef *vol, uint64_t capacity, unsigned flags, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(vol->path, O_RDWR | O_CLOEXEC);
        struct stat st;
        uint64_t old;

        if (fd < 0 || fstat(fd, &st) < 0)
                return storage_fail_errno(error, errno, "cannot open volume '%s'", vol->path);
        old = (uint64_t)st.st_size;
        if (flags & VIR_STORAGE_VOL_RESIZE_ALLOCATE && capacity > old && fallocate(fd, 0, (off_t)old, (off_t)(capacity - old)) < 0) {
                int errnum = errno;

                if (ftruncate(fd, st.st_size) < 0)
                        errnum = errno;
                return storage_fail_errno(error, errnum, "cannot allocate %" G_GUINT64_FORMAT " bytes in file '%s'", capacity - old, vol->path);
        }
        return ftruncate(fd, (off_t)capacity) == 0 || storage_fail_errno(error, errno, "cannot resize file '%s'", vol->path);
}

static bool resize_image(const StorageCancel *c, const DomusVolumeDef *vol, uint64_t capacity, unsigned flags, GError **error)
{
        g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, capacity);
        const char *argv[12] = { "qemu-img", "resize", "-q", "-f", vol->format };
        size_t n = 5;

        if (flags & VIR_STORAGE_VOL_RESIZE_SHRINK)
                argv[n++] = "--shrink";
        if (flags & VIR_STORAGE_VOL_RESIZE_ALLOCATE)
                argv[n++] = "--preallocation=falloc";
        argv[n++] = vol->path;
        argv[n++] = size;
        return storage_run(c, argv, NULL, 0, NULL, error);
}

bool storage_file_resize(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, uint64_t capacity, unsigned flags,
        GError **error)
{
        if (vol->type == DOMUS_VOLUME_DIR)
                return storage_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "volume '%s' is a folder", vol->name);
        if (strcmp(vol->format, "raw") == 0 || strcmp(vol->format, "iso") == 0)
                return resize_raw(vol, capacity, flags, error);
        return resize_image(c, vol, capacity, flags, error);
}

/* --- Removal --- */

bool storage_file_remove(const StorageCancel *c, const DomusPoolDef *def, const DomusVolumeDef *vol, unsigned flags, GError **error)
{
        int r = vol->type == DOMUS_VOLUME_DIR ? rmdir(vol->path) : unlink(vol->path);

        if (r == 0 || errno == ENOENT)
                return true;
        return storage_fail_errno(error, errno, vol->type == DOMUS_VOLUME_DIR ? "cannot remove directory '%s'" : "cannot unlink file '%s'", vol->path);
}

/* --- Wiping --- */

static bool zero_range(const StorageCancel *c, int fd, const char *path, uint64_t at, uint64_t end, GError **error)
{
        g_autofree char *zeros = g_malloc0(MiB(1));

        while (at < end) {
                ssize_t r = pwrite(fd, zeros, MIN(MiB(1), end - at), (off_t)at);

                if (r <= 0)
                        return storage_fail_errno(error, r < 0 ? errno : EIO, "cannot overwrite volume '%s'", path);
                if (storage_cancelled(c, error))
                        return false;
                at += (uint64_t)r;
        }
        return true;
}

/* Holes hold nothing to overwrite; they stay holes. */
static bool zero_data(const StorageCancel *c, int fd, const char *path, uint64_t size, GError **error)
{
        for (uint64_t at = 0; at < size;) {
                off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

                if (data < 0 && errno == ENXIO)
                        return true;
                if (data < 0)
                        return zero_range(c, fd, path, at, size, error);
                hole = lseek(fd, data, SEEK_HOLE);
                if (!zero_range(c, fd, path, (uint64_t)data, MIN(hole > 0 ? (uint64_t)hole : size, size), error))
                        return false;
                at = hole > 0 ? (uint64_t)hole : size;
        }
        return true;
}

static bool discard(int fd, const DomusVolumeDef *vol, uint64_t size, GError **error)
{
        uint64_t range[2] = { 0, size };
        int r = vol->type == DOMUS_VOLUME_BLOCK ? ioctl(fd, BLKDISCARD, range)
                                                : fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size);

        return r == 0 || storage_fail_errno(error, errno, "cannot discard the data of volume '%s'", vol->path);
}

static bool wipe_here(const StorageCancel *c, const DomusVolumeDef *vol, bool trim, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(vol->path, O_RDWR | O_CLOEXEC);
        off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

        if (end < 0)
                return storage_fail_errno(error, errno, "cannot open volume '%s'", vol->path);
        if (trim ? !discard(fd, vol, (uint64_t)end, error) : !zero_data(c, fd, vol->path, (uint64_t)end, error))
                return false;
        return fdatasync(fd) == 0 || storage_fail_errno(error, errno, "cannot sync volume '%s'", vol->path);
}

/* scrub's names of the patterns. */
static const char *const patterns[] = {
        [VIR_STORAGE_VOL_WIPE_ALG_NNSA] = "nnsa",
        [VIR_STORAGE_VOL_WIPE_ALG_DOD] = "dod",
        [VIR_STORAGE_VOL_WIPE_ALG_BSI] = "bsi",
        [VIR_STORAGE_VOL_WIPE_ALG_GUTMANN] = "gutmann",
        [VIR_STORAGE_VOL_WIPE_ALG_SCHNEIER] = "schneier",
        [VIR_STORAGE_VOL_WIPE_ALG_PFITZNER7] = "pfitzner7",
        [VIR_STORAGE_VOL_WIPE_ALG_PFITZNER33] = "pfitzner33",
        [VIR_STORAGE_VOL_WIPE_ALG_RANDOM] = "random",
};

bool storage_wipe(const StorageCancel *c, const DomusVolumeDef *vol, unsigned algorithm, GError **error)
{
        const char *argv[] = { "scrub", "-f", "-p", NULL, vol->path, NULL };

        if (vol->type == DOMUS_VOLUME_DIR)
                return storage_fail(error, DOMUS_ERROR_OPERATION_UNSUPPORTED, "volume '%s' is a folder", vol->name);
        if (algorithm == VIR_STORAGE_VOL_WIPE_ALG_ZERO || algorithm == VIR_STORAGE_VOL_WIPE_ALG_TRIM)
                return wipe_here(c, vol, algorithm == VIR_STORAGE_VOL_WIPE_ALG_TRIM, error);
        if (algorithm >= G_N_ELEMENTS(patterns) || !patterns[algorithm])
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "unknown wiping algorithm %u", algorithm);
        argv[3] = patterns[algorithm];
        return storage_run(c, argv, NULL, 0, NULL, error);
}
