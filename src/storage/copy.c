/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Bytes from one file or device to another, without what is zero. */

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "storage/file.h"

#define CHUNK MiB(1)

struct copy {
        const StorageCancel *cancel;
        int from, to;
        const char *from_path, *to_path;
        bool sparse;
        char *buf;
};

static bool is_zero(const char *buf, size_t n)
{
        return n == 0 || (buf[0] == 0 && memcmp(buf, buf + 1, n - 1) == 0);
}

static bool write_at(const struct copy *c, size_t n, uint64_t offset, GError **error)
{
        for (size_t done = 0; done < n;) {
                ssize_t r = pwrite(c->to, c->buf + done, n - done, (off_t)(offset + done));

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return storage_fail_errno(error, r < 0 ? errno : ENOSPC, "cannot write to '%s'", c->to_path);
                done += (size_t)r;
        }
        return true;
}

static bool copy_range(const struct copy *c, uint64_t at, uint64_t end, GError **error)
{
        while (at < end) {
                ssize_t n = fd_pread_full(c->from, c->buf, MIN(CHUNK, end - at), (off_t)at);

                if (storage_cancelled(c->cancel, error))
                        return false;
                if (n < 0)
                        return storage_fail_errno(error, (int)-n, "cannot read '%s'", c->from_path);
                if (n == 0)
                        return true;
                if (!(c->sparse && is_zero(c->buf, (size_t)n)) && !write_at(c, (size_t)n, at, error))
                        return false;
                at += (uint64_t)n;
        }
        return true;
}

/* From data to data, as far as the file system knows of holes. */
static bool copy_data(const struct copy *c, uint64_t length, GError **error)
{
        for (uint64_t at = 0; at < length;) {
                off_t data = lseek(c->from, (off_t)at, SEEK_DATA), hole;

                if (data < 0 && errno == ENXIO)
                        return true;
                if (data < 0) /* it does not */
                        return copy_range(c, at, length, error);
                hole = lseek(c->from, data, SEEK_HOLE);
                if (hole < 0)
                        hole = (off_t)length;
                if (!copy_range(c, (uint64_t)data, MIN((uint64_t)hole, length), error))
                        return false;
                at = (uint64_t)hole;
        }
        return true;
}

bool storage_copy(const StorageCancel *c, int from, const char *from_path, int to, const char *to_path, uint64_t length, bool sparse, GError **error)
{
        struct copy copy = {
                .cancel = c, .from = from, .to = to, .from_path = from_path, .to_path = to_path, .sparse = sparse, .buf = g_malloc(CHUNK)
        };
        bool ok = sparse ? copy_data(&copy, length, error) : copy_range(&copy, 0, length, error);

        g_free(copy.buf);
        return ok;
}
