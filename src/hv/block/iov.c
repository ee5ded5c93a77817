/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/iov.h"

#include <string.h>

size_t iov_size(const struct iovec *iov, unsigned n)
{
        size_t size = 0;

        for (unsigned i = 0; i < n; i++)
                size += iov[i].iov_len;
        return size;
}

/* Calls fn for each piece of [off, off + len). */
typedef void (*piece_fn)(uint8_t *piece, size_t len, size_t done, void *opaque);

static size_t each(const struct iovec *iov, unsigned n, size_t off, size_t len, piece_fn fn, void *opaque)
{
        size_t done = 0;

        for (unsigned i = 0; i < n && done < len; i++) {
                size_t part;

                if (off >= iov[i].iov_len) {
                        off -= iov[i].iov_len;
                        continue;
                }
                part = iov[i].iov_len - off;
                if (part > len - done)
                        part = len - done;
                fn((uint8_t *)iov[i].iov_base + off, part, done, opaque);
                done += part;
                off = 0;
        }
        return done;
}

static void copy_out(uint8_t *piece, size_t len, size_t done, void *opaque)
{
        memcpy((uint8_t *)opaque + done, piece, len);
}

static void copy_in(uint8_t *piece, size_t len, size_t done, void *opaque)
{
        memcpy(piece, (uint8_t *)opaque + done, len);
}

static void clear(uint8_t *piece, size_t len, size_t done, void *opaque)
{
        memset(piece, 0, len);
}

static void collect(uint8_t *piece, size_t len, size_t done, void *opaque)
{
        struct iovec **to = opaque;

        *(*to)++ = (struct iovec){ .iov_base = piece, .iov_len = len };
}

size_t iov_read(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len)
{
        return each(iov, n, off, len, copy_out, buf);
}

size_t iov_write(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len)
{
        return each(iov, n, off, len, copy_in, (void *)(uintptr_t)buf);
}

size_t iov_zero(const struct iovec *iov, unsigned n, size_t off, size_t len)
{
        return each(iov, n, off, len, clear, NULL);
}

unsigned iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len, struct iovec *to)
{
        struct iovec *end = to;

        each(iov, n, off, len, collect, &end);
        return (unsigned)(end - to);
}

static bool is_zero(const uint8_t *p, size_t len)
{
        /* All bytes equal the first one, which is zero. */
        return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

bool iov_is_zero(const struct iovec *iov, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (!is_zero(iov[i].iov_base, iov[i].iov_len))
                        return false;
        return true;
}

bool iov_is_aligned(const struct iovec *iov, unsigned n, size_t align)
{
        for (unsigned i = 0; i < n; i++)
                if (((uintptr_t)iov[i].iov_base | iov[i].iov_len) & (align - 1))
                        return false;
        return true;
}
