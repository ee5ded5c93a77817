/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "storage/backend.h"

struct transfer {
        const StorageCancel *cancel;
        const StorageTransfer *t;
        const char *path;
        int file;
        uint64_t at, end; /* in the volume; end: behind the last byte that may be moved */
        uint8_t *buf;     /* a record */
};

/* --- Records --- */

/* Waits for the other side, or for being told to give up. */
static bool wait_for(const struct transfer *x, short events, GError **error)
{
        struct pollfd p[2] = { { .fd = x->t->fd, .events = events }, { .fd = x->cancel ? x->cancel->fd : -1, .events = POLLIN } };

        while (poll(p, 2, -1) < 0)
                if (errno != EINTR)
                        return storage_fail_errno(error, errno, "cannot wait for the stream");
        return !storage_cancelled(x->cancel, error);
}

static bool aborted(GError **error)
{
        return storage_fail(error, DOMUS_ERROR_OPERATION_ABORTED, "the stream was aborted");
}

static bool send_record(const struct transfer *x, enum transfer_record kind, size_t n, GError **error)
{
        x->buf[0] = kind;
        if (!wait_for(x, POLLOUT, error))
                return false;
        return send(x->t->fd, x->buf, 1 + n, MSG_NOSIGNAL) == (ssize_t)(1 + n) || aborted(error);
}

/* --- Download --- */

static bool send_hole(struct transfer *x, uint64_t n, GError **error)
{
        memcpy(x->buf + 1, &n, sizeof(n));
        x->at += n;
        return send_record(x, TRANSFER_HOLE, sizeof(n), error);
}

static bool send_data(struct transfer *x, uint64_t end, GError **error)
{
        while (x->at < end) {
                ssize_t n = fd_pread_full(x->file, x->buf + 1, MIN(TRANSFER_DATA_MAX, end - x->at), (off_t)x->at);

                if (n < 0)
                        return storage_fail_errno(error, (int)-n, "cannot read volume '%s'", x->path);
                if (n == 0) {
                        x->at = x->end = MIN(x->end, x->at);
                        return true;
                }
                if (!send_record(x, TRANSFER_DATA, (size_t)n, error))
                        return false;
                x->at += (uint64_t)n;
        }
        return true;
}

static bool download(struct transfer *x, GError **error)
{
        while (x->at < x->end) {
                off_t data = x->t->sparse ? lseek(x->file, (off_t)x->at, SEEK_DATA) : -1, hole;

                if (!x->t->sparse || (data < 0 && errno != ENXIO))
                        return send_data(x, x->end, error);
                if (data < 0 || (uint64_t)data >= x->end)
                        return send_hole(x, x->end - x->at, error);
                if ((uint64_t)data > x->at && !send_hole(x, (uint64_t)data - x->at, error))
                        return false;
                hole = lseek(x->file, data, SEEK_HOLE);
                if (!send_data(x, hole < 0 ? x->end : MIN((uint64_t)hole, x->end), error))
                        return false;
        }
        return true;
}

/* --- Upload --- */

static bool check_room(const struct transfer *x, uint64_t n, GError **error)
{
        return n <= x->end - x->at || storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "more data than volume '%s' takes", x->path);
}

static bool take_data(struct transfer *x, size_t n, GError **error)
{
        const uint8_t *data = x->buf + 1;

        if (!check_room(x, n, error))
                return false;
        while (n) {
                ssize_t r = pwrite(x->file, data, n, (off_t)x->at);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return storage_fail_errno(error, r < 0 ? errno : ENOSPC, "cannot write to volume '%s'", x->path);
                data += r;
                n -= (size_t)r;
                x->at += (uint64_t)r;
        }
        return true;
}

static bool write_zeros(struct transfer *x, uint64_t n, GError **error)
{
        memset(x->buf + 1, 0, TRANSFER_DATA_MAX);
        for (; n; n -= MIN(n, TRANSFER_DATA_MAX))
                if (storage_cancelled(x->cancel, error) || !take_data(x, MIN(n, TRANSFER_DATA_MAX), error))
                        return false;
        return true;
}

static bool take_hole(struct transfer *x, GError **error)
{
        off_t length = lseek(x->file, 0, SEEK_END);
        uint64_t n, size = length > 0 ? (uint64_t)length : 0;

        memcpy(&n, x->buf + 1, sizeof(n));
        if (!check_room(x, n, error))
                return false;
        if (n == 0)
                return true;
        /* What is there is punched away; what is behind the end comes into being as a hole. */
        if (x->at < size && fallocate(x->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)x->at, (off_t)MIN(n, size - x->at)) < 0)
                return write_zeros(x, n, error);
        x->at += n;
        if (x->at > size && ftruncate(x->file, (off_t)x->at) < 0)
                return storage_fail_errno(error, errno, "cannot extend volume '%s'", x->path);
        return true;
}

static bool upload(struct transfer *x, GError **error)
{
        for (;;) {
                ssize_t n;

                if (!wait_for(x, POLLIN, error))
                        return false;
                n = recv(x->t->fd, x->buf, TRANSFER_RECORD_MAX, 0);
                if (n <= 0)
                        return aborted(error);
                if (x->buf[0] == TRANSFER_END)
                        return fdatasync(x->file) == 0 || storage_fail_errno(error, errno, "cannot write to volume '%s'", x->path);
                if (x->buf[0] == TRANSFER_HOLE ? !take_hole(x, error) : !take_data(x, (size_t)n - 1, error))
                        return false;
        }
}

/* --- Both --- */

/* An upload may go on behind the end of a file, as far as its length says; not of a device. */
static bool set_range(struct transfer *x, const DomusVolumeDef *vol, GError **error)
{
        off_t size = lseek(x->file, 0, SEEK_END);
        uint64_t limit;

        if (size < 0)
                return storage_fail_errno(error, errno, "cannot seek in volume '%s'", x->path);
        if (x->t->offset > (uint64_t)size)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "offset %" G_GUINT64_FORMAT " is behind the end of volume '%s'", x->t->offset,
                        x->path);
        limit = x->t->upload && vol->type == DOMUS_VOLUME_FILE ? INT64_MAX : (uint64_t)size;
        x->at = x->t->offset;
        x->end = x->t->length && x->t->length < limit - x->at ? x->at + x->t->length : limit;
        return true;
}

bool storage_transfer(const StorageCancel *c, const DomusVolumeDef *vol, const StorageTransfer *t, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(vol->path, (t->upload ? O_RDWR : O_RDONLY) | O_CLOEXEC);
        g_autofree uint8_t *buf = g_malloc(TRANSFER_RECORD_MAX);
        struct transfer x = { .cancel = c, .t = t, .path = vol->path, .file = fd, .buf = buf };

        if (fd < 0)
                return storage_fail_errno(error, errno, "cannot open volume '%s'", vol->path);
        return set_range(&x, vol, error) && (t->upload ? upload(&x, error) : download(&x, error));
}

void storage_transfer_end(const StorageCancel *c, StorageTransfer *t, const GError *error)
{
        g_autoptr(GByteArray) record = g_byte_array_new();
        struct transfer x = { .cancel = c, .t = t };
        uint8_t kind = error ? TRANSFER_ERROR : TRANSFER_END;
        int32_t code = error ? error->code : 0;

        g_byte_array_append(record, &kind, 1);
        if (error) {
                g_byte_array_append(record, (const uint8_t *)&code, sizeof(code));
                g_byte_array_append(record, (const uint8_t *)error->message, (guint)MIN(strlen(error->message), 4096));
        }
        if (wait_for(&x, POLLOUT, NULL))
                send(t->fd, record->data, record->len, MSG_NOSIGNAL);
        t->fd = fd_close(t->fd);
}
